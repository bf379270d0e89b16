//! `modalens snapshot`: one frame through the real shaders, off screen.

use std::path::PathBuf;

use anyhow::Result;

use crate::cli::{Outcome, seconds};
use crate::export::snapshot::{Snapshot, snapshot};

/// Arguments of `modalens snapshot`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Video file
    #[arg(long, value_name = "FILE")]
    video: PathBuf,
    /// The instant in seconds; the newest frame that is not later is drawn
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    at: f64,
    /// An attention.safetensors to lay over the frame
    #[arg(long, value_name = "FILE")]
    heat: Option<PathBuf>,
    /// The picture to write
    #[arg(long, value_name = "PNG")]
    out: PathBuf,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Outcome> {
    let what = Snapshot { video: args.video.clone(), at_secs: args.at, heat: args.heat.clone() };
    let pts = snapshot(&what, &args.out)?;
    say!("frame of {pts:.3} s written to {}", args.out.display());
    Ok(Outcome::Fine)
}
