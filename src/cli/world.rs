//! `modalens world`: clips of the toy world as a Hugging Face VideoFolder.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use clap::ValueEnum;

use crate::cli::{Outcome, progress};
use crate::media::EncodeSpeed;
use crate::world::Condition;
use crate::world::dataset::{Options, write_dataset};

/// Arguments of `modalens world`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder to make; it must not exist yet
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How many clips
    #[arg(long, value_name = "N")]
    count: u64,
    /// The same seed gives the same clips
    #[arg(long, value_name = "S")]
    seed: u64,
    /// How picture and sound relate
    #[arg(long, value_enum, default_value = "aligned")]
    condition: Choice,
}

/// `--condition`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Choice {
    /// Picture and sound show the same thing
    Aligned,
    /// The sound is another class's
    Swapped,
    /// Every frame is black
    SoundOnly,
    /// There is no sound
    PictureOnly,
    /// The four in turns
    All,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Outcome> {
    let condition = match args.condition {
        Choice::Aligned => Some(Condition::Aligned),
        Choice::Swapped => Some(Condition::Swapped),
        Choice::SoundOnly => Some(Condition::SoundOnly),
        Choice::PictureOnly => Some(Condition::PictureOnly),
        Choice::All => None,
    };
    let options =
        Options { out: args.out.clone(), count: args.count, seed: args.seed, condition, speed: EncodeSpeed::Fast };
    let report = write_dataset(&options, &|done, all| progress("clip", done, all), &AtomicBool::new(false))?;
    say!("{} clips, {:.1} MB in {}", report.clips, report.bytes as f64 / 1e6, report.out.display());
    Ok(Outcome::Fine)
}
