//! `modalens verify`: this build against reference tensors.

use std::path::PathBuf;

use anyhow::Result;

use crate::cli::{Outcome, checkpoint, print_json};
use crate::engine::{HoldChoice, device};
use crate::model::nn::weights::Hold;
use crate::settings::Dtype;
use crate::verify::Verifier;

/// Arguments of `modalens verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Checkpoint folder the reference tensors were made with
    #[arg(long, value_name = "DIR")]
    model: String,
    /// Files of reference tensors, or folders of such files
    #[arg(long, value_name = "FILE|DIR", required = true, num_args = 1..)]
    golden: Vec<PathBuf>,
    /// Where the model runs; the tolerances are those of f32 on any device
    #[arg(long, value_enum, default_value = "cpu")]
    device: checkpoint::Device,
    /// How weights are held; tolerances of anything but f32 are 200 times as wide
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Dtype,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command; a difference above its tolerance is a "no".
pub fn run(args: &Args) -> Result<Outcome> {
    let model = checkpoint::find(&args.model)?;
    let device = device::choose_device(args.device.into())?.device;
    let hold = match args.dtype.into() {
        HoldChoice::Fixed(hold) => hold,
        HoldChoice::Auto => Hold::F32,
    };
    let report = crate::verify::verify(&Verifier::on(&model, hold, &device)?, &args.golden)?;
    if args.json {
        print_json(&report)?;
    } else {
        say!("{report}");
    }
    Ok(if report.passed() { Outcome::Fine } else { Outcome::No })
}
