//! `modalens verify`: this build against reference tensors.

use std::path::PathBuf;

use anyhow::Result;

use crate::cli::{Outcome, checkpoint, print_json};

/// Arguments of `modalens verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Checkpoint folder the reference tensors were made with
    #[arg(long, value_name = "DIR")]
    model: String,
    /// Files of reference tensors, or folders of such files
    #[arg(long, value_name = "FILE|DIR", required = true, num_args = 1..)]
    golden: Vec<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command; a difference above its tolerance is a "no".
pub fn run(args: &Args) -> Result<Outcome> {
    let report = crate::verify::verify(&checkpoint::find(&args.model)?, &args.golden)?;
    if args.json {
        print_json(&report)?;
    } else {
        println!("{report}");
    }
    Ok(if report.passed() { Outcome::Fine } else { Outcome::No })
}
