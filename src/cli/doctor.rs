//! `modalens doctor`: what this machine offers and what was chosen, with the reason.

use anyhow::Result;
use serde::Serialize;

use crate::cli::{Outcome, checkpoint, print_json};
use crate::download::bytes_text;
use crate::engine::{DeviceChoice, device, fit};
use crate::model;
use crate::model::hub::Hub;

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
    device_memory_free_mib: Option<u64>,
    device: String,
    device_why: String,
    models: Vec<ModelFit>,
    ffmpeg: String,
    display: String,
    bundled_model: String,
    hub_cache: String,
}

/// What one published model would need here.
#[derive(Debug, Serialize)]
struct ModelFit {
    id: &'static str,
    /// In one sentence.
    summary: String,
    /// The most exact form first; bytes of the weights, and with a minute of video.
    forms: Vec<Form>,
    /// What will be slow, if anything.
    speed: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Form {
    dtype: &'static str,
    weights_bytes: u64,
    needed_bytes: u64,
}

fn model_fits(chosen: &device::ChosenDevice) -> Result<Vec<ModelFit>> {
    let device = &chosen.device;
    let known = model::RELEASED.into_iter().filter_map(|(id, _)| Some((id, model::released(id)?)));
    let fits = known.map(|(id, config)| {
        let forms = fit::forms(&config, device)?;
        let form = |f: fit::Fit| Form { dtype: f.hold.name(), weights_bytes: f.weights, needed_bytes: f.all };
        Ok(ModelFit {
            id,
            summary: fit::summary(&config, device)?,
            forms: forms.into_iter().map(form).collect(),
            speed: device.is_cpu().then_some("on a CPU: minutes for a video, a few tokens a second"),
        })
    });
    fits.collect()
}

/// Where the hub's cache is, which checkpoints are in it, and which hub it is of.
fn hub_cache(hub: &Hub) -> String {
    let place = hub.cache.display();
    let held = hub.held().into_iter().map(|held| {
        let (part, bytes) = (if held.complete { "" } else { ", incomplete" }, bytes_text(held.bytes));
        format!(", {} ({bytes}{part})", held.id)
    });
    let held: String = held.collect();
    let token = if hub.token.is_some() { "with a token" } else { "no token" };
    let from = if hub.offline { "offline (HF_HUB_OFFLINE)".into() } else { format!("from {}, {token}", hub.endpoint) };
    format!("{place}{held}; {from}")
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Outcome> {
    let device = device::choose_device(DeviceChoice::Auto)?;
    let models = model_fits(&device)?;
    let mib = |bytes: Option<u64>| bytes.map(|b| b >> 20);
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
        memory_free_mib: mib(device::host_memory().free),
        device_memory_free_mib: mib(device::memory(&device.device).free),
        device: device.name,
        device_why: device.why,
        models,
        ffmpeg: crate::media::ffmpeg_version(),
        display: display.unwrap_or_else(|| "none: the window cannot open, `ask --out` writes a report instead".into()),
        bundled_model: checkpoint::find("bundled").map_or_else(|e| format!("{e:#}"), |d| d.display().to_string()),
        hub_cache: hub_cache(&Hub::from_env()),
    };
    if args.json {
        print_json(&report)?;
        return Ok(Outcome::Fine);
    }
    let line = |name: &str, value: &str| -> Result<()> {
        say!("{name:14} {value}");
        Ok(())
    };
    let built_with = if report.features.is_empty() { "CPU only".into() } else { report.features.join(", ") };
    line("modalens", &format!("{} ({built_with})", report.version))?;
    line("system", &format!("{}, {} cores", report.system, report.cores))?;
    line("memory free", &report.memory_free_mib.map_or("unknown".into(), |m| format!("{m} MiB")))?;
    line("device", &format!("{}: {}", report.device, report.device_why))?;
    for model in &report.models {
        let name = model.id.rsplit('-').next().map_or_else(String::new, |size| format!("Omni {size}"));
        line(&name, &model.summary)?;
        let forms = model.forms.iter().map(|f| format!("{} {}", f.dtype, bytes_text(f.needed_bytes)));
        line("", &format!("{} (with a minute of video)", forms.collect::<Vec<_>>().join(", ")))?;
        if let Some(speed) = model.speed {
            line("", speed)?;
        }
    }
    line("FFmpeg", &report.ffmpeg)?;
    line("display", &report.display)?;
    line("bundled model", &report.bundled_model)?;
    line("hub cache", &report.hub_cache)?;
    Ok(Outcome::Fine)
}
