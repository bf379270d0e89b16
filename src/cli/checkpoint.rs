//! The options that choose a model, shared by every command that runs one.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::cli::download;
use crate::engine::{DeviceChoice, LoadOptions};
use crate::model::hub::{Hub, HubId};
use crate::settings::Dtype;

/// Which model, where and how.
#[derive(Debug, Clone, clap::Args)]
pub struct ModelArgs {
    /// Checkpoint folder, hub id such as Qwen/Qwen2.5-Omni-3B (fetched into the hub's cache), or `bundled`
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

impl ValueEnum for Dtype {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(self.about()))
    }
}

impl ModelArgs {
    /// Finds the checkpoint, fetching it where needed, and turns the arguments into what the engine wants.
    pub fn load_options(&self) -> Result<LoadOptions> {
        Ok(self.options_for(&self.model, find(&self.model)?))
    }

    /// The arguments for a checkpoint in a folder.
    pub fn options_for(&self, id: &str, dir: PathBuf) -> LoadOptions {
        LoadOptions {
            id: id.to_owned(),
            device: self.device.into(),
            hold: self.dtype.into(),
            threads: self.threads.map(usize::from),
            ..LoadOptions::new(dir)
        }
    }
}

/// The folder behind `--model`; a hub id that is not in the cache is fetched first.
pub fn find(model: &str) -> Result<PathBuf> {
    match place(model)? {
        Place::Here(dir) => Ok(dir),
        Place::Hub(hub, id) => download::fetch(&hub, &id),
    }
}

/// Where a checkpoint is.
pub enum Place {
    /// In this folder.
    Here(PathBuf),
    /// Not here, but a hub may have it.
    Hub(Box<Hub>, HubId),
}

/// What `--model` names, without fetching anything.
pub fn place(model: &str) -> Result<Place> {
    if model == "bundled" {
        return bundled().map(Place::Here);
    }
    let path = Path::new(model);
    if path.is_dir() {
        return Ok(Place::Here(path.to_owned()));
    }
    if path.exists() {
        bail!("--model wants the checkpoint's folder, not a file in it ({model})");
    }
    if !HubId::is_meant(model) {
        bail!("no such checkpoint folder ({model})");
    }
    let id: HubId = model.parse()?;
    let hub = Hub::from_env();
    Ok(hub.cached(&id).map_or_else(|| Place::Hub(Box::new(hub), id), Place::Here))
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
