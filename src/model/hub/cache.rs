//! The cache as all programs of the hub share it: `models--organisation--name/{blobs,refs,snapshots}`. Knows nothing of
//! networks.

use std::path::{Path, PathBuf};

use hf_hub::{Cache, CacheRepo, Repo, RepoType};

use super::{Hub, HubError, HubId};
use crate::download::Held;
use crate::model::nn::weights::weight_files;
use crate::model::qwen2_5_omni::config::Config;

/// What a partly written blob is called: the same as in Python's library.
pub(super) const PARTIAL: &str = "incomplete";

/// Where the hub's programs keep what is theirs: `HF_HOME`, else `huggingface` in the user's cache.
pub(super) fn home() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("HF_HOME").unwrap_or_else(|| {
        let cache = set("XDG_CACHE_HOME").or_else(|| Some(std::env::home_dir()?.join(".cache")));
        cache.unwrap_or_default().join("huggingface")
    })
}

/// The cache of models: `HF_HUB_CACHE`, else `hub` in [`home`].
pub(super) fn folder() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("HF_HUB_CACHE").or_else(|| set("HUGGINGFACE_HUB_CACHE")).unwrap_or_else(|| home().join("hub"))
}

impl Hub {
    /// The repository as the crate of the hub's makers sees it.
    pub(super) fn repo(id: &HubId) -> Repo {
        Repo::with_revision(id.name().to_owned(), RepoType::Model, id.revision().to_owned())
    }

    pub(super) fn cached_repo(&self, id: &HubId) -> CacheRepo {
        Cache::new(self.cache.clone()).repo(Self::repo(id))
    }

    /// The repository's folder in the cache.
    pub fn folder_of(&self, id: &HubId) -> PathBuf {
        self.cache.join(Self::repo(id).folder_name())
    }

    /// The snapshot that a revision points to, whatever is in it.
    fn snapshot(&self, id: &HubId) -> Option<PathBuf> {
        let named = self.folder_of(id).join("refs").join(id.revision());
        let commit = match std::fs::read_to_string(named) {
            Ok(commit) => commit.trim().to_owned(),
            Err(_) if is_commit(id.revision()) => id.revision().to_owned(),
            Err(_) => return None,
        };
        // The file could name anything.
        let plain = !commit.is_empty() && commit.chars().all(|c| c.is_ascii_alphanumeric());
        plain.then(|| self.cached_repo(id).pointer_path(&commit)).filter(|dir| dir.is_dir())
    }

    /// The checkpoint's folder, if everything that is loaded is there.
    pub fn cached(&self, id: &HubId) -> Option<PathBuf> {
        self.snapshot(id).filter(|dir| is_complete(dir))
    }

    /// The files that are not here, as far as that can be known without asking.
    pub(super) fn missing(&self, id: &HubId) -> String {
        let small = super::plan::SMALL.join(", ");
        let every = format!("its {small} and the model*.safetensors that hold thinker.* tensors");
        let Some(dir) = self.snapshot(id) else { return every };
        match weight_files(&dir) {
            Ok(files) => {
                let config = dir.join("config.json");
                let missing = std::iter::once(&config).chain(&files).filter(|f| !f.is_file());
                let names: Vec<_> =
                    missing.filter_map(|f| Some(f.file_name()?.to_string_lossy().into_owned())).collect();
                format!("{} (the rest is in {})", names.join(", "), dir.display())
            }
            Err(_) => every,
        }
    }

    /// The Thinkers in the cache, by name; those that are not complete too.
    pub fn held(&self) -> Vec<Held> {
        let mut held = Vec::new();
        for repository in entries(&self.cache) {
            let name = repository.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let Some(name) = name.strip_prefix("models--").map(|n| n.replacen("--", "/", 1)) else { continue };
            for reference in entries(&repository.join("refs")) {
                let revision = reference.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
                let Ok(id) = format!("{name}@{revision}").parse::<HubId>() else { continue };
                let Some(dir) = self.snapshot(&id) else { continue };
                if Config::load(&dir).is_err() {
                    continue;
                }
                let complete = is_complete(&dir);
                let size = |path: &PathBuf| std::fs::metadata(path).map_or(0, |m| m.len());
                let bytes = if complete {
                    entries(&dir).iter().map(size).sum()
                } else {
                    entries(&repository.join("blobs")).iter().map(size).sum()
                };
                held.push(Held { id: id.to_string(), dir, complete, bytes });
            }
        }
        held.sort_by(|a, b| a.id.cmp(&b.id));
        held
    }
}

/// Whether a revision can only be a commit.
fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.chars().all(|c| c.is_ascii_hexdigit())
}

fn is_complete(dir: &Path) -> bool {
    let weights = weight_files(dir).is_ok_and(|files| !files.is_empty() && files.iter().all(|f| f.is_file()));
    weights && dir.join("config.json").is_file()
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).collect()
}

/// Makes `name` in a snapshot show a blob: a relative link, as other programs of the hub make it, so that the cache can
/// be moved; a copy where there are no links.
pub(super) fn link(blob: &Path, name: &Path) -> Result<(), HubError> {
    let failed = |source| HubError::Cache { path: name.to_owned(), source };
    let beside = name.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(beside).map_err(failed)?;
    let target = Path::new("../../blobs").join(blob.file_name().unwrap_or_default());
    if std::fs::read_link(name).is_ok_and(|there| there == target) {
        return Ok(());
    }
    // Made beside and moved into place, so that nobody sees it half-made.
    let made = name.with_extension(PARTIAL);
    let _ = std::fs::remove_file(&made);
    #[cfg(unix)]
    let linked = std::os::unix::fs::symlink(&target, &made);
    #[cfg(windows)]
    let linked = std::os::windows::fs::symlink_file(&target, &made);
    linked.or_else(|_| std::fs::copy(blob, &made).map(|_| ())).map_err(failed)?;
    std::fs::rename(&made, name).map_err(failed)
}

/// Free bytes where a folder is or would be; `None` where the system does not say.
pub(super) fn free_bytes(folder: &Path) -> Option<u64> {
    let there = folder.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("."));
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let path = std::ffi::CString::new(there.as_os_str().as_bytes()).ok()?;
        #[allow(unsafe_code, reason = "the standard library does not tell how much of a disk is free")]
        // SAFETY: `path` is a C string that outlives the call, `stat` is plain data that the call fills; it is read only
        // when the call says that it did.
        let stat = unsafe {
            let mut stat = std::mem::zeroed::<libc::statvfs>();
            (libc::statvfs(path.as_ptr(), &raw mut stat) == 0).then_some(stat)
        }?;
        #[allow(clippy::useless_conversion, clippy::unnecessary_cast, reason = "the fields differ between systems")]
        Some((stat.f_bavail as u64).saturating_mul(stat.f_frsize as u64))
    }
    #[cfg(not(unix))]
    {
        let _ = there;
        None
    }
}
