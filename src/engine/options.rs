//! Where a model runs and how its weights are held: what the user asked for and what that comes to here.
//! Knows nothing of models beyond their size.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use candle_core::Device;

use crate::model::nn::weights::Hold;

/// `--device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The best device this build can use.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// The first NVIDIA card.
    Cuda,
    /// The Apple GPU.
    Metal,
}

/// `--dtype`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HoldChoice {
    /// The most exact form that fits the memory.
    #[default]
    Auto,
    /// This one.
    Fixed(Hold),
}

/// What to load and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadOptions {
    /// The checkpoint folder.
    pub dir: PathBuf,
    /// What the model is called in reports: `bundled`, a hub id or the folder.
    pub id: String,
    /// Where it runs.
    pub device: DeviceChoice,
    /// How its weights are held.
    pub hold: HoldChoice,
    /// Threads of the CPU; `None` = all cores.
    pub threads: Option<usize>,
    /// Give way to the rest of the program: lower thread priority.
    pub background: bool,
}

impl LoadOptions {
    /// A folder with every choice left open.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        let id = dir.display().to_string();
        Self { dir, id, device: DeviceChoice::Auto, hold: HoldChoice::Auto, threads: None, background: false }
    }
}

/// A device and the sentence that explains the choice.
#[derive(Debug, Clone)]
pub struct ChosenDevice {
    /// The device.
    pub device: Device,
    /// `cpu`, `cuda:0`, `metal:0`.
    pub name: String,
    /// Why this one.
    pub why: String,
}

/// Finds the device for a choice; asking for one that is not there is an error, `auto` falls back and says so.
pub fn choose_device(choice: DeviceChoice) -> Result<ChosenDevice> {
    let cpu = |why: &str| ChosenDevice { device: Device::Cpu, name: "cpu".into(), why: why.into() };
    let cuda = || -> Result<ChosenDevice> {
        if !candle_core::utils::cuda_is_available() {
            bail!("this build has no CUDA support; build with `--features cuda`, or use --device cpu");
        }
        let device = Device::new_cuda(0).context("no usable NVIDIA device; check the driver, or use --device cpu")?;
        Ok(ChosenDevice { device, name: "cuda:0".into(), why: "the first NVIDIA device".into() })
    };
    let metal = || -> Result<ChosenDevice> {
        if !candle_core::utils::metal_is_available() {
            bail!("this build has no Metal support; build with `--features metal`, or use --device cpu");
        }
        let device = Device::new_metal(0).context("no usable Metal device; use --device cpu")?;
        Ok(ChosenDevice { device, name: "metal:0".into(), why: "the first Metal device".into() })
    };
    match choice {
        DeviceChoice::Cpu => Ok(cpu("asked for")),
        DeviceChoice::Cuda => cuda(),
        DeviceChoice::Metal => metal(),
        DeviceChoice::Auto if cfg!(feature = "cuda") => {
            Ok(cuda().unwrap_or_else(|e| cpu(&format!("CUDA was tried first: {e:#}"))))
        }
        DeviceChoice::Auto if cfg!(feature = "metal") => {
            Ok(metal().unwrap_or_else(|e| cpu(&format!("Metal was tried first: {e:#}"))))
        }
        DeviceChoice::Auto => Ok(cpu("this build uses the CPU only")),
    }
}

/// How the weights of a checkpoint will be held, and the sentence that explains it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenHold {
    /// The form.
    pub hold: Hold,
    /// Why this one.
    pub why: String,
}

/// Picks how `parameters` weights, stored in `stored_bytes`, are held on `device`.
///
/// On a CPU bf16 is never multiplied natively here (ten times slower than f32), so `auto` takes f32 where it fits
/// into 80 % of the free memory, else f16, else q8_0. On a GPU it keeps two-byte weights as bf16.
pub fn choose_hold(choice: HoldChoice, parameters: u64, device: &Device) -> ChosenHold {
    if let HoldChoice::Fixed(hold) = choice {
        if hold == Hold::Bf16 && device.is_cpu() {
            return ChosenHold { hold: Hold::F32, why: "bf16 is slow on a CPU; its exact f32 copy is used".into() };
        }
        return ChosenHold { hold, why: "asked for".into() };
    }
    if !device.is_cpu() {
        return ChosenHold { hold: Hold::Bf16, why: "the released precision".into() };
    }
    let gib = |bytes: f64| bytes / f64::from(1 << 30);
    let Some(free) = available_memory() else {
        return ChosenHold { hold: Hold::F32, why: "free memory is unknown".into() };
    };
    let room = free as f64 * 0.8;
    for hold in [Hold::F32, Hold::F16, Hold::Q8_0] {
        let need = parameters as f64 * hold.bytes_per_weight();
        if need <= room || hold == Hold::Q8_0 {
            let why = format!("{} needs {:.1} GiB, {:.1} GiB are free", hold.name(), gib(need), gib(free as f64));
            return ChosenHold { hold, why };
        }
    }
    unreachable!("the loop ends with q8_0")
}

/// Memory that can be had without swapping, in bytes; `None` where the system does not say.
pub fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("MemAvailable:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Peak resident memory of this process in MiB; 0 where the system does not say.
pub fn peak_rss_mib() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|s| {
            let line = s.lines().find(|l| l.starts_with("VmHWM:"))?.to_owned();
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        })
        .map_or(0, |kib| kib / 1024)
}
