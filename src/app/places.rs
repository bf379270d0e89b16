//! Where long clips were left, so that they go on there: a short list in the user's state folder. Knows nothing of
//! playing; a list that cannot be read or written is no list.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::folders::{self, Kind};
use crate::export::write_whole;

/// Clips remembered; the oldest make room.
const MOST: usize = 200;
/// Shorter clips begin at their beginning.
const LONG_SECS: f64 = 60.0;
/// This close to either end there is nothing to go on with.
const EDGE_SECS: f64 = 5.0;

/// A file as it was when it was left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    path: PathBuf,
    bytes: u64,
    modified_secs: u64,
}

impl Identity {
    fn of(path: &Path) -> Option<Self> {
        let path = std::fs::canonicalize(path).ok()?;
        let about = std::fs::metadata(&path).ok()?;
        let modified_secs = about.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_secs();
        Some(Self { path, bytes: about.len(), modified_secs })
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Place {
    file: Identity,
    at_secs: f64,
}

/// The list, newest last.
#[derive(Debug, Default)]
pub(super) struct Places {
    file: Option<PathBuf>,
    list: Vec<Place>,
}

impl Places {
    /// Reads the list in `file`; `None` remembers nothing beyond the window's life.
    pub(super) fn load(file: Option<PathBuf>) -> Self {
        let list = file.as_ref().and_then(|file| {
            let bytes = std::fs::read(file).ok()?;
            serde_json::from_slice(&bytes).inspect_err(|e| log::warn!("{} is ignored: {e}", file.display())).ok()
        });
        Self { file, list: list.unwrap_or_default() }
    }

    /// Where a clip of a length was left; `None` where it should begin at its beginning.
    pub(super) fn of(&self, path: &Path, duration_secs: Option<f64>) -> Option<f64> {
        let file = Identity::of(path)?;
        let at_secs = self.list.iter().rev().find(|p| p.file == file)?.at_secs;
        resumable(at_secs, duration_secs).then_some(at_secs)
    }

    /// Takes note of where a clip is left, and writes the list.
    pub(super) fn leave(&mut self, path: &Path, at_secs: f64, duration_secs: Option<f64>) {
        let Some(file) = Identity::of(path) else { return };
        let known = self.list.len();
        self.list.retain(|p| p.file.path != file.path);
        if resumable(at_secs, duration_secs) {
            self.list.push(Place { file, at_secs });
        } else if self.list.len() == known {
            return;
        }
        let over = self.list.len().saturating_sub(MOST);
        self.list.drain(..over);
        if let Err(e) = self.write() {
            log::warn!("where clips were left is not remembered: {e:#}");
        }
    }

    fn write(&self) -> anyhow::Result<()> {
        let Some(path) = &self.file else { return Ok(()) };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let json = serde_json::to_vec(&self.list)?;
        write_whole(path, |file| Ok(file.write_all(&json)?))
    }
}

fn resumable(at_secs: f64, duration_secs: Option<f64>) -> bool {
    duration_secs.is_some_and(|d| d >= LONG_SECS && (EDGE_SECS..d - EDGE_SECS).contains(&at_secs))
}

/// The list's own file.
pub(super) fn default_file() -> Option<PathBuf> {
    Some(folders::folder(Kind::State)?.join("modalens/places.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_clips_go_on_where_they_were_left_and_others_begin_anew() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("deep/places.json");
        let clip = folder.path().join("clip.mp4");
        std::fs::write(&clip, "some bytes").unwrap();
        let mut places = Places::load(Some(list.clone()));
        places.leave(&clip, 70.0, Some(600.0));
        assert_eq!(Places::load(Some(list.clone())).of(&clip, Some(600.0)), Some(70.0));
        // Near the ends, in a short clip, and in a file that changed there is nothing to go on with.
        assert_eq!(places.of(&clip, Some(72.0)), None);
        assert_eq!(places.of(&clip, None), None);
        places.leave(&clip, 2.0, Some(600.0));
        assert_eq!(Places::load(Some(list.clone())).of(&clip, Some(600.0)), None);
        places.leave(&clip, 70.0, Some(600.0));
        std::fs::write(&clip, "some more bytes").unwrap();
        assert_eq!(places.of(&clip, Some(600.0)), None);
        // The list is bounded, and a broken one is no list.
        for i in 0..MOST + 5 {
            let other = folder.path().join(format!("{i}.mp4"));
            std::fs::write(&other, "x").unwrap();
            places.leave(&other, 70.0, Some(600.0));
        }
        assert_eq!(Places::load(Some(list.clone())).list.len(), MOST);
        std::fs::write(&list, "{").unwrap();
        assert!(Places::load(Some(list)).list.is_empty());
        Places::load(None).leave(&clip, 70.0, Some(600.0));
    }
}
