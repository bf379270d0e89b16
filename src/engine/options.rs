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

/// [`peak_rss_mib`] in KiB without this program's own code and its libraries': of these the system brings in as much at a
/// time as it sees fit. Other files that are mapped, such as a checkpoint, count.
pub fn peak_without_code_kib() -> u64 {
    let program = std::env::current_exe().map(|path| path.display().to_string()).unwrap_or_default();
    let mut code = 0;
    let mut ours = false;
    for line in std::fs::read_to_string("/proc/self/smaps").unwrap_or_default().lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("Rss:"), Some(kib)) if ours => code += kib.parse().unwrap_or(0),
            // A mapping: its addresses, rights, offset, device, number, and what is mapped.
            (Some(addresses), Some(_)) if !addresses.ends_with(':') => {
                ours = words.nth(3).is_some_and(|path| path == program || path.contains(".so"));
            }
            _ => {}
        }
    }
    status_kib("VmHWM:").saturating_sub(code)
}

/// A line of what Linux says of this process.
fn status_kib(name: &str) -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|s| s.lines().find_map(|l| l.strip_prefix(name)?.split_whitespace().next()?.parse().ok()))
        .unwrap_or(0)
}
