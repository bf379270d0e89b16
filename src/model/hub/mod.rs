//! Getting checkpoints from the Hugging Face hub (or a mirror of it) into the standard cache that other programs share:
//! only the Thinker's files, resumable, verified. The only place that speaks HTTP. Knows nothing of models beyond which
//! files one needs, and sends nothing but requests for what the user named.
//!
//! What is cached is never asked for again: a complete checkpoint is used without any request.

mod cache;
mod client;
mod error;
mod id;
mod meter;
mod plan;
mod transfer;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::download::Progress;

pub use error::HubError;
pub use id::HubId;
pub use plan::Plan;

/// The hub that is used unless `HF_ENDPOINT` names another.
const ENDPOINT: &str = "https://huggingface.co";

/// A hub and the local cache of it.
#[derive(Clone)]
pub struct Hub {
    /// The cache: `models--organisation--name/{blobs,refs,snapshots}`.
    pub cache: PathBuf,
    /// Address of the hub, without a slash at its end.
    pub endpoint: String,
    /// Sent to the hub, and to nobody else.
    pub token: Option<String>,
    /// A PEM file of the certificate authorities to trust in place of the built-in ones.
    pub authorities: Option<PathBuf>,
    /// Never use the network.
    pub offline: bool,
    /// What of the system can be put in the place of the real thing.
    pub system: System,
}

/// Tells the free bytes where a folder is or would be.
type FreeBytes = dyn Fn(&Path) -> Option<u64> + Send + Sync;
/// Called with the file and the bytes to append to it.
type Append = dyn Fn(&mut File, &[u8]) -> io::Result<()> + Send + Sync;

/// The parts of the system that tests replace: they cannot wait, and cannot fill a disk.
#[derive(Clone)]
pub struct System {
    /// Waits before a retry, a tenth of a second at a time.
    pub wait: Arc<dyn Fn(Duration) + Send + Sync>,
    /// Free bytes where a folder is or would be.
    pub free_bytes: Arc<FreeBytes>,
    /// Appends to a file.
    pub append: Arc<Append>,
}

impl Default for System {
    fn default() -> Self {
        Self {
            wait: Arc::new(std::thread::sleep),
            free_bytes: Arc::new(cache::free_bytes),
            append: Arc::new(io::Write::write_all),
        }
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token stays out of every log.
        let token = self.token.as_ref().map(|_| "…");
        f.debug_struct("Hub")
            .field("cache", &self.cache)
            .field("endpoint", &self.endpoint)
            .field("token", &token)
            .field("authorities", &self.authorities)
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}

impl Hub {
    /// The hub as the environment describes it: `HF_ENDPOINT`, `HF_TOKEN` (else the token that `hf auth login` keeps),
    /// `HF_HUB_CACHE`, `HF_HOME`, `HF_HUB_OFFLINE`, and `SSL_CERT_FILE` as other programs read it.
    pub fn from_env() -> Self {
        let text = |name: &str| std::env::var(name).ok().map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let on = |name: &str| {
            text(name).is_some_and(|v| matches!(v.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on"))
        };
        let kept = || {
            let path = text("HF_TOKEN_PATH").map_or_else(|| cache::home().join("token"), PathBuf::from);
            let token = std::fs::read_to_string(path).ok()?.trim().to_owned();
            (!token.is_empty()).then_some(token)
        };
        Self {
            cache: cache::folder(),
            endpoint: text("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned()).trim_end_matches('/').to_owned(),
            token: text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN")).or_else(kept),
            authorities: text("SSL_CERT_FILE").map(PathBuf::from),
            offline: on("HF_HUB_OFFLINE") || on("TRANSFORMERS_OFFLINE"),
            system: System::default(),
        }
    }
}

/// What surrounds a download: who may stop it and who hears of it.
pub struct Control<'a> {
    /// Set to stop; what is here is kept, and the next call goes on from there.
    pub stop: &'a AtomicBool,
    /// Hears how far it is, at most ten times a second.
    pub notify: &'a mut dyn FnMut(Progress),
}

impl Control<'_> {
    fn check(&self) -> Result<(), HubError> {
        if self.stop.load(Ordering::Relaxed) { Err(HubError::Stopped) } else { Ok(()) }
    }
}
