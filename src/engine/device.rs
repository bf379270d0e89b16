//! Devices: which one a choice comes to, what memory it has, and how it is set up. Knows nothing of models.

use anyhow::{Context, Result, bail};
use candle_core::Device;

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

/// Memory in bytes, where the system says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// What can be had now without swapping.
    pub free: Option<u64>,
    /// What there is.
    pub total: Option<u64>,
}

/// Finds the device for a choice; asking for one that is not there is an error, `auto` falls back and says so.
pub fn choose_device(choice: DeviceChoice) -> Result<ChosenDevice> {
    let cpu = |why: &str| ChosenDevice { device: Device::Cpu, name: "cpu".into(), why: why.into() };
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
        DeviceChoice::Auto => Ok(cpu(match nvidia_driver() {
            true => {
                "this build uses the CPU only; an NVIDIA driver is here, so a build with `--features cuda` could use it"
            }
            false if cfg!(target_os = "macos") => {
                "this build uses the CPU only; a build with `--features metal` could use the Apple GPU"
            }
            false => "this build uses the CPU only",
        })),
    }
}

fn cuda() -> Result<ChosenDevice> {
    if !candle_core::utils::cuda_is_available() {
        bail!("this build has no CUDA support; build with `--features cuda`, or use --device cpu");
    }
    // A stream of its own: requests may run on any thread of the pool, and the default stream is one per thread.
    let device =
        Device::new_cuda_with_stream(0).context("no usable NVIDIA device; check the driver, or use --device cpu")?;
    keep_freed_memory(&device);
    Ok(ChosenDevice { device, name: "cuda:0".into(), why: "the first NVIDIA device".into() })
}

fn metal() -> Result<ChosenDevice> {
    if !candle_core::utils::metal_is_available() {
        bail!("this build has no Metal support; build with `--features metal`, or use --device cpu");
    }
    let device = Device::new_metal(0).context("no usable Metal device; use --device cpu")?;
    Ok(ChosenDevice { device, name: "metal:0".into(), why: "the first Metal device".into() })
}

/// Whether the kernel has an NVIDIA driver loaded: what a build without CUDA can still see.
fn nvidia_driver() -> bool {
    std::path::Path::new("/proc/driver/nvidia/version").exists()
}

/// Keeps what is freed on the device in its pool, for the next allocation: given back after every token, each token would
/// wait for the driver. A refusal only costs time.
fn keep_freed_memory(device: &Device) {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(cuda) = device {
        use candle_core::cuda_backend::cudarc::driver::{result, sys::CUmemPool_attribute_enum as Attribute};
        let mut threshold = u64::MAX;
        #[allow(unsafe_code, reason = "the pool's threshold has no safe binding")]
        // SAFETY: the device is a live context's own; the attribute takes a pointer to a u64, which is read during the call.
        let set = unsafe {
            result::device::get_default_mem_pool(cuda.cuda_stream().context().cu_device()).and_then(|pool| {
                let attribute = Attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
                result::mem_pool::set_attribute(pool, attribute, (&raw mut threshold).cast())
            })
        };
        if let Err(e) = set {
            log::warn!("the device's memory pool stays as it is: {e:?}");
        }
    }
    #[cfg(not(feature = "cuda"))]
    let _ = device;
}

/// Gives what the device's pool holds and nobody uses back to the driver: to other programs, and to what is not allocated
/// from the pool. A refusal changes nothing.
pub fn give_back(device: &Device) {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(cuda) = device {
        use candle_core::cuda_backend::cudarc::driver::result;
        let stream = cuda.cuda_stream();
        #[allow(unsafe_code, reason = "trimming a pool has no safe binding")]
        // SAFETY: the device is a live context's own; only memory that nobody uses is given back.
        let done = stream.synchronize().and_then(|()| unsafe {
            let pool = result::device::get_default_mem_pool(stream.context().cu_device())?;
            result::mem_pool::trim_to(pool, 0)
        });
        if let Err(e) = done {
            log::warn!("the device's memory pool keeps what it has: {e:?}");
        }
    }
    #[cfg(not(feature = "cuda"))]
    let _ = device;
}

/// Bytes that the device's pool holds and nobody uses; 0 where it does not say.
#[cfg(feature = "cuda")]
fn kept(device: &candle_core::CudaDevice) -> u64 {
    use candle_core::cuda_backend::cudarc::driver::{result, sys::CUmemPool_attribute_enum as Attribute};
    let read = |attribute| {
        let mut bytes = 0u64;
        #[allow(unsafe_code, reason = "the pool's figures have no safe binding")]
        // SAFETY: the device is a live context's own; the attribute is written to a u64 during the call.
        let done = unsafe {
            result::device::get_default_mem_pool(device.cuda_stream().context().cu_device())
                .and_then(|pool| result::mem_pool::get_attribute(pool, attribute, (&raw mut bytes).cast()))
        };
        done.map_or(0, |()| bytes)
    };
    let held = read(Attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
    held.saturating_sub(read(Attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT))
}

/// Memory of a device; of the machine, or of the container that it is, for the CPU.
pub fn memory(device: &Device) -> Memory {
    match device {
        Device::Cpu => host_memory(),
        #[cfg(feature = "cuda")]
        Device::Cuda(cuda) => match cuda.cuda_stream().context().mem_get_info() {
            // What the pool keeps for the next allocation is as good as free.
            Ok((free, total)) => Memory { free: Some(free as u64 + kept(cuda)), total: Some(total as u64) },
            Err(_) => Memory::default(),
        },
        #[cfg(feature = "metal")]
        Device::Metal(metal) => {
            let total = metal.metal_device().recommended_max_working_set_size() as u64;
            let used = metal.metal_device().current_allocated_size() as u64;
            Memory { free: Some(total.saturating_sub(used)), total: Some(total) }
        }
        #[allow(unreachable_patterns, reason = "devices that this build cannot make")]
        _ => Memory::default(),
    }
}

/// Memory of the machine, or of the control group that this process may not leave.
pub fn host_memory() -> Memory {
    let Ok(mut system) = sysinfo::System::new() else { return Memory::default() };
    system.refresh_memory();
    let (mut free, mut total) = (system.available_memory(), system.total_memory());
    if let Some(limits) = system.cgroup_limits() {
        free = free.min(limits.free_memory);
        total = total.min(limits.total_memory);
    }
    let known = |bytes: u64| (bytes > 0).then_some(bytes);
    Memory { free: known(free), total: known(total) }
}
