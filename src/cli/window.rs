//! `modalens [FILE]`: opens the window.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::app;
use crate::cli::checkpoint::Place;
use crate::cli::{Outcome, ask, checkpoint};
use crate::clip::{AudioSource, ClipSpec};
use crate::event::Request;
use crate::prompt::{DEFAULT_QUESTION, Prompt};
use crate::settings::{Decoding, Sampling};

/// Arguments of the window.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Video, still or sound file to open
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// A file whose sound takes the place of FILE's own
    #[arg(long, value_name = "FILE", requires = "file")]
    audio: Option<PathBuf>,
    /// Play, seek and answer for SECS seconds, print what a frame costs and how far picture and sound are apart, and end
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(f64))]
    frame_stats: Option<f64>,
    #[command(flatten)]
    checkpoint: checkpoint::ModelArgs,
}

/// Opens the window and runs it until it is closed; without a display the same demo is written as a report.
pub fn run(args: &Args) -> Result<Outcome> {
    if !app::has_display() {
        return report(args);
    }
    // What is not here is looked up and fetched in the window, which meanwhile has the bundled model.
    let (fetch, place) = match checkpoint::place(&args.checkpoint.model) {
        Ok(Place::Hub(_, id)) => (Some(id), checkpoint::place("bundled")),
        place => (None, place),
    };
    let id = if fetch.is_some() { "bundled" } else { &args.checkpoint.model };
    let model = place.and_then(|place| match place {
        Place::Here(dir) => Ok(args.checkpoint.options_for(id, dir)),
        Place::Hub(_, id) => bail!("{id} is not here"),
    });
    let mut options = app::Options::new(args.file.clone(), model.map_err(|e| format!("{e:#}")));
    options.fetch = fetch;
    options.sound.clone_from(&args.audio);
    options.frame_stats_secs = args.frame_stats;
    app::run(options)?;
    Ok(Outcome::Fine)
}

/// Folder of the report, below the current one.
const REPORT: &str = "modalens-report";

fn report(args: &Args) -> Result<Outcome> {
    let file = args.file.clone().context(
        "there is no display (neither DISPLAY nor WAYLAND_DISPLAY is set) and no clip to write a report about; \
         give one: modalens FILE",
    )?;
    eprintln!(
        "There is no display (neither DISPLAY nor WAYLAND_DISPLAY is set): the answer goes into a report instead."
    );
    let mut clip = ClipSpec::original(file);
    if let Some(path) = args.audio.clone() {
        clip.audio = AudioSource::File { path, track: None };
    }
    let request = Request {
        epoch: 0,
        clip,
        prompt: Prompt::question(DEFAULT_QUESTION),
        sampling: Sampling::default(),
        decoding: Decoding::default(),
    };
    let out = PathBuf::from(REPORT);
    ask::answer(&request, &args.checkpoint, Some(&out), false)?;
    let out = std::fs::canonicalize(&out).unwrap_or(out);
    say!("report: {}", out.join("report.html").display());
    Ok(Outcome::Fine)
}
