//! What the user asked for when a model is loaded. Knows nothing of what that comes to.

use std::path::PathBuf;

use crate::engine::device::DeviceChoice;
use crate::engine::fit::HoldChoice;
use crate::model::nn::weights::Holding;

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
    /// How each matrix is held, where that is to differ from what the family does for `hold`: for measuring.
    pub holding: Option<Holding>,
    /// Draw the weights on the device instead of reading them: for timing.
    pub random: bool,
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
        Self {
            dir,
            id,
            device: DeviceChoice::Auto,
            hold: HoldChoice::Auto,
            holding: None,
            random: false,
            threads: None,
            background: false,
        }
    }
}

/// Peak resident memory of this process in MiB; 0 where the system does not say.
pub fn peak_rss_mib() -> u64 {
    status_kib("VmHWM:") / 1024
}

/// [`peak_rss_mib`] in KiB without the pages of files, such as this program's own code: the system drops these when it needs
/// memory, and brings in as many at a time as it sees fit.
pub fn peak_without_files_kib() -> u64 {
    status_kib("VmHWM:").saturating_sub(status_kib("RssFile:"))
}

/// A line of what Linux says of this process.
fn status_kib(name: &str) -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|s| s.lines().find_map(|l| l.strip_prefix(name)?.split_whitespace().next()?.parse().ok()))
        .unwrap_or(0)
}
