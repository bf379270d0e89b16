//! `modalens probe`: what is in a media file.

use std::path::PathBuf;

use anyhow::Result;

use crate::cli::{Outcome, print_json};

/// Arguments of `modalens probe`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Outcome> {
    let probe = crate::media::probe::probe(&args.file)?;
    if args.json {
        print_json(&probe)?;
    } else {
        println!("{probe}");
    }
    Ok(Outcome::Fine)
}
