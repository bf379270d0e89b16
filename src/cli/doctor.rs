//! `modalens doctor`: what this machine offers and what was chosen, with the reason.

use anyhow::Result;
use serde::Serialize;

use crate::cli::{Outcome, checkpoint, print_json};
use crate::engine::options;
use crate::engine::{DeviceChoice, HoldChoice};

/// Arguments of `modalens doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    features: Vec<&'static str>,
    system: String,
    cores: usize,
    memory_free_mib: Option<u64>,
    device: String,
    device_why: String,
    dtype_for_3b: String,
    ffmpeg: String,
    display: String,
    bundled_model: String,
    hub_cache: String,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Outcome> {
    let device = options::choose_device(DeviceChoice::Auto)?;
    // The Thinker of the released 3B checkpoint: the smallest real one.
    let hold = options::choose_hold(HoldChoice::Auto, 4_703_464_448, &device.device);
    let features = [
        ("cuda", cfg!(feature = "cuda")),
        ("metal", cfg!(feature = "metal")),
        ("mkl", cfg!(feature = "mkl")),
        ("accelerate", cfg!(feature = "accelerate")),
    ];
    let display = ["WAYLAND_DISPLAY", "DISPLAY"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()).map(|v| format!("{name}={v}")));
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        features: features.into_iter().filter(|(_, on)| *on).map(|(name, _)| name).collect(),
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory_free_mib: options::available_memory().map(|b| b >> 20),
        device: device.name,
        device_why: device.why,
        dtype_for_3b: format!("{} ({})", hold.hold.name(), hold.why),
        ffmpeg: crate::media::ffmpeg_version(),
        display: display.unwrap_or_else(|| "none: the window cannot open, `ask --out` writes a report instead".into()),
        bundled_model: checkpoint::find("bundled").map_or_else(|e| format!("{e:#}"), |d| d.display().to_string()),
        hub_cache: checkpoint::hub_cache().display().to_string(),
    };
    if args.json {
        print_json(&report)?;
        return Ok(Outcome::Fine);
    }
    let line = |name: &str, value: &str| println!("{name:14} {value}");
    let built_with = if report.features.is_empty() { "CPU only".into() } else { report.features.join(", ") };
    line("modalens", &format!("{} ({built_with})", report.version));
    line("system", &format!("{}, {} cores", report.system, report.cores));
    line("memory free", &report.memory_free_mib.map_or("unknown".into(), |m| format!("{m} MiB")));
    line("device", &format!("{}: {}", report.device, report.device_why));
    line("a 3B model", &report.dtype_for_3b);
    line("FFmpeg", &report.ffmpeg);
    line("display", &report.display);
    line("bundled model", &report.bundled_model);
    line("hub cache", &report.hub_cache);
    Ok(Outcome::Fine)
}
