//! `modalens train`: a small Thinker on clips of the toy world.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cli::Outcome;
use crate::cli::checkpoint::Device;
use crate::engine::DeviceChoice;
use crate::engine::device::choose_device;
use crate::engine::worker::thread_pool;
use crate::tune::results::evaluate_folder;
use crate::tune::train::{Notice, TrainOptions, train};

/// Arguments of `modalens train`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of aligned clips to learn from, made by `modalens world`
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Folder of clips with another seed, for the accuracies at the end
    #[arg(long, value_name = "DIR")]
    held_out: Option<PathBuf>,
    /// Checkpoint folder to write; an interrupted run with the same arguments goes on where it stopped
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Checkpoint folder to start from instead of random weights
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Seed of weights and order
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Train nothing: ask the model in OUT every question about the aligned clips in DATA, as they are, swapped, with
    /// one sense taken away and with a misleading caption, and print the table
    #[arg(long, conflicts_with_all = ["held_out", "from", "work"])]
    evaluate: bool,
    /// Folder for the state of the run [default: OUT.run]
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// Steps of pretraining for the vision tower
    #[arg(long, value_name = "N", default_value_t = defaults().tower_steps[0])]
    see_steps: usize,
    /// Steps of pretraining for the audio tower
    #[arg(long, value_name = "N", default_value_t = defaults().tower_steps[1])]
    hear_steps: usize,
    /// Clips in a step of pretraining
    #[arg(long, value_name = "N", default_value_t = defaults().tower_batch)]
    tower_batch: usize,
    /// Highest learning rate of pretraining
    #[arg(long, value_name = "RATE", default_value_t = defaults().tower_rate)]
    tower_rate: f64,
    /// Steps on questions
    #[arg(long, value_name = "N", default_value_t = defaults().steps)]
    steps: usize,
    /// Clips in a step on questions
    #[arg(long, value_name = "N", default_value_t = defaults().batch)]
    batch: usize,
    /// Questions about each clip of a step
    #[arg(long, value_name = "N", default_value_t = defaults().questions)]
    questions: usize,
    /// Highest learning rate on questions
    #[arg(long, value_name = "RATE", default_value_t = defaults().rate)]
    rate: f64,
    /// Factor on that rate for the towers
    #[arg(long, value_name = "FACTOR", default_value_t = defaults().tower_scale)]
    tower_scale: f64,
    /// Steps between checkpoints
    #[arg(long, value_name = "N", default_value_t = defaults().save_every)]
    save_every: usize,
    /// Where to compute
    #[arg(long, value_enum, default_value = "auto")]
    device: Device,
    /// CPU threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

/// The bundled model's recipe, whatever it is trained on.
fn defaults() -> TrainOptions {
    TrainOptions::new("", "")
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Outcome> {
    let device = choose_device(DeviceChoice::from(args.device))?;
    eprintln!("device {}: {}", device.name, device.why);
    let mut options = TrainOptions::new(&args.data, &args.out);
    options.held_out.clone_from(&args.held_out);
    options.from.clone_from(&args.from);
    options.seed = args.seed;
    if let Some(work) = &args.work {
        options.work.clone_from(work);
    }
    options.tower_steps = [args.see_steps, args.hear_steps];
    options.tower_batch = args.tower_batch;
    options.tower_rate = args.tower_rate;
    options.steps = args.steps;
    options.batch = args.batch;
    options.questions = args.questions;
    options.rate = args.rate;
    options.tower_scale = args.tower_scale;
    options.save_every = args.save_every;
    options.device = device.device;
    let pool = thread_pool(args.threads.map(usize::from), false)?;
    if args.evaluate {
        let never = AtomicBool::new(false);
        let results = pool.install(|| evaluate_folder(&args.out, &args.data, args.seed, &options.device, &never))?;
        say!("{}", results.markdown());
        return Ok(Outcome::Fine);
    }
    let results = pool.install(|| {
        let mut said = Instant::now();
        let mut notify = |notice| match notice {
            Notice::Line(line) => eprintln!("{line}"),
            Notice::Step(step) if step.step == step.steps || said.elapsed() > Duration::from_secs(10) => {
                said = Instant::now();
                let accuracy: Vec<_> =
                    step.accuracy.iter().map(|(kind, a)| format!("{kind} {:.0} %", a * 100.0)).collect();
                eprintln!(
                    "{} {}/{}  loss {:.4}  {}  {:.0} min left",
                    step.stage,
                    step.step,
                    step.steps,
                    step.loss,
                    accuracy.join("  "),
                    step.secs_left / 60.0
                );
            }
            Notice::Step(_) => {}
        };
        train(&options, &mut notify, &AtomicBool::new(false))
    })?;
    if args.held_out.is_some() {
        say!("{}", results.markdown());
    }
    say!("checkpoint in {}", args.out.display());
    Ok(Outcome::Fine)
}
