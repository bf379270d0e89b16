//! `modalens train`: a small Thinker on clips of the toy world.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cli::Outcome;
use crate::cli::checkpoint::Device;
use crate::engine::DeviceChoice;
use crate::engine::options::choose_device;
use crate::engine::worker::thread_pool;
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
    /// Steps of pretraining for each tower [default: the bundled model's]
    #[arg(long, value_name = "N")]
    tower_steps: Option<usize>,
    /// Steps on questions [default: the bundled model's]
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Clips in a step on questions [default: the bundled model's]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Where to compute
    #[arg(long, value_enum, default_value = "auto")]
    device: Device,
    /// CPU threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Outcome> {
    let device = choose_device(DeviceChoice::from(args.device))?;
    eprintln!("device {}: {}", device.name, device.why);
    let mut options = TrainOptions::new(&args.data, &args.out);
    options.held_out.clone_from(&args.held_out);
    options.from.clone_from(&args.from);
    options.seed = args.seed;
    options.tower_steps = args.tower_steps.unwrap_or(options.tower_steps);
    options.steps = args.steps.unwrap_or(options.steps);
    options.batch = args.batch.unwrap_or(options.batch);
    options.device = device.device;
    let pool = thread_pool(args.threads.map(usize::from), false)?;
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
        println!("{}", results.markdown());
    }
    println!("checkpoint in {}", args.out.display());
    Ok(Outcome::Fine)
}
