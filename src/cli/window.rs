//! `modalens [FILE]`: opens the window.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::app;
use crate::cli::{Outcome, checkpoint};

/// Arguments of the window.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Video, still or sound file to open
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Play and answer for SECS seconds, print the interface's own CPU time per frame, and end
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(f64))]
    frame_stats: Option<f64>,
    #[command(flatten)]
    checkpoint: checkpoint::ModelArgs,
}

/// Opens the window and runs it until it is closed.
pub fn run(args: &Args) -> Result<Outcome> {
    if !app::has_display() {
        bail!(
            "there is no display (neither DISPLAY nor WAYLAND_DISPLAY is set); `modalens ask --video FILE --out DIR` \
             writes the same as a report"
        );
    }
    let model = args.checkpoint.load_options().map_err(|e| format!("{e:#}"));
    let mut options = app::Options::new(args.file.clone(), model);
    options.frame_stats_secs = args.frame_stats;
    app::run(options)?;
    Ok(Outcome::Fine)
}
