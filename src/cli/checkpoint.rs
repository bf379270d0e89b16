//! The options that choose a model, shared by every command that runs one.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::engine::{DeviceChoice, HoldChoice, LoadOptions};
use crate::model::nn::weights::Hold;

/// Which model, where and how.
#[derive(Debug, Clone, clap::Args)]
pub struct ModelArgs {
    /// Checkpoint folder, hub id (looked up in the local cache), or `bundled`
    #[arg(long, value_name = "DIR|HUB-ID|bundled", default_value = "bundled")]
    pub model: String,
    /// Where the model runs
    #[arg(long, value_enum, default_value = "auto")]
    pub device: Device,
    /// How weights are held in memory
    #[arg(long, value_enum, default_value = "auto")]
    pub dtype: Dtype,
    /// CPU threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

/// `--device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Device {
    /// The best there is
    Auto,
    /// The processor
    Cpu,
    /// The first NVIDIA card
    Cuda,
    /// The Apple GPU
    Metal,
}

impl From<Device> for DeviceChoice {
    fn from(device: Device) -> Self {
        match device {
            Device::Auto => Self::Auto,
            Device::Cpu => Self::Cpu,
            Device::Cuda => Self::Cuda,
            Device::Metal => Self::Metal,
        }
    }
}

/// `--dtype`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Dtype {
    /// The most exact form that fits
    Auto,
    /// 4 bytes a weight
    F32,
    /// 2 bytes a weight
    F16,
    /// 2 bytes a weight
    Bf16,
    /// About 1 byte a weight
    #[value(name = "q8_0")]
    Q8_0,
    /// About half a byte a weight
    #[value(name = "q4k")]
    Q4K,
}

impl Dtype {
    /// What it asks the engine for.
    pub fn choice(self) -> HoldChoice {
        HoldChoice::Fixed(match self {
            Self::Auto => return HoldChoice::Auto,
            Self::F32 => Hold::F32,
            Self::F16 => Hold::F16,
            Self::Bf16 => Hold::Bf16,
            Self::Q8_0 => Hold::Q8_0,
            Self::Q4K => Hold::Q4K,
        })
    }
}

impl ModelArgs {
    /// Finds the checkpoint and turns the arguments into what the engine wants.
    pub fn load_options(&self) -> Result<LoadOptions> {
        let dir = find(&self.model)?;
        let hold = self.dtype.choice();
        Ok(LoadOptions {
            id: self.model.clone(),
            device: self.device.into(),
            hold,
            threads: self.threads.map(usize::from),
            ..LoadOptions::new(dir)
        })
    }
}

/// The folder behind `--model`.
pub fn find(model: &str) -> Result<PathBuf> {
    if model == "bundled" {
        return bundled();
    }
    let path = Path::new(model);
    if path.is_dir() {
        return Ok(path.to_owned());
    }
    if path.exists() {
        bail!("--model wants the checkpoint's folder, not a file in it ({model})");
    }
    let is_hub_id = model.split('/').count() == 2 && !model.starts_with(['.', '/', '~']);
    if !is_hub_id {
        bail!("no such checkpoint folder ({model})");
    }
    match cached_snapshot(model) {
        Some(dir) => Ok(dir),
        None => bail!(
            "{model} is not in the local hub cache ({}); fetch it there with `hf download {model}`, or give a folder",
            hub_cache().display()
        ),
    }
}

/// The model that ships with the program.
fn bundled() -> Result<PathBuf> {
    const NAME: &str = "assets/model";
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_owned()));
    let places = [
        beside.as_ref().map(|dir| dir.join(NAME)),
        beside.as_ref().map(|dir| dir.join("../share/modalens").join(NAME)),
        Some(Path::new(env!("CARGO_MANIFEST_DIR")).join(NAME)),
    ];
    let found = places.into_iter().flatten().find(|dir| dir.join("config.json").is_file());
    found.ok_or_else(|| anyhow::anyhow!(
            "the bundled model is not where it belongs: put the folder {NAME} of the source beside the program, or give a \
             checkpoint with --model DIR"
        ))
}

/// Where the hub keeps its files: `HF_HUB_CACHE`, else `HF_HOME/hub`, else `~/.cache/huggingface/hub`.
pub fn hub_cache() -> PathBuf {
    if let Some(dir) = std::env::var_os("HF_HUB_CACHE") {
        return dir.into();
    }
    let home = std::env::var_os("HF_HOME").map(PathBuf::from).or_else(|| {
        std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))
            .map(|cache| cache.join("huggingface"))
    });
    home.unwrap_or_default().join("hub")
}

/// The snapshot that `main` points to.
fn cached_snapshot(id: &str) -> Option<PathBuf> {
    let repository = hub_cache().join(format!("models--{}", id.replace('/', "--")));
    let revision = std::fs::read_to_string(repository.join("refs/main")).ok()?;
    let dir = repository.join("snapshots").join(revision.trim());
    dir.join("config.json").is_file().then_some(dir)
}
