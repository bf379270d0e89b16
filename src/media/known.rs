//! What was found out about files at some cost, kept while they stay as they are. Knows nothing of what it is.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Findings kept of each kind; the oldest make room.
const MOST: usize = 16;

/// A file as it was.
#[derive(Debug, PartialEq)]
struct Identity {
    path: PathBuf,
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Identity {
    /// `None` where the file is gone.
    fn of(path: &Path) -> Option<Self> {
        let about = std::fs::metadata(path).ok()?;
        Some(Self { path: path.to_owned(), bytes: about.len(), modified: about.modified().ok() })
    }
}

/// The newest findings of one kind: one clip's files are opened by the player, the model and the lanes, and anew at every
/// change.
pub(super) struct Known<T>(Mutex<VecDeque<(Identity, T)>>);

impl<T: Clone> Known<T> {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Identity, T)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The finding about a file that `fits`, if it still holds.
    pub(super) fn get(&self, path: &Path, fits: impl Fn(&T) -> bool) -> Option<T> {
        let file = Identity::of(path)?;
        self.lock().iter().find(|(of, found)| *of == file && fits(found)).map(|(_, found)| found.clone())
    }

    /// [`get`](Self::get), or what `find` finds, which is kept. A file that changes meanwhile is found out about again.
    pub(super) fn get_or<E>(
        &self,
        path: &Path,
        fits: impl Fn(&T) -> bool,
        find: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        if let Some(found) = self.get(path, fits) {
            return Ok(found);
        }
        let file = Identity::of(path);
        let found = find()?;
        if let Some(file) = file {
            let mut all = self.lock();
            all.push_front((file, found.clone()));
            all.truncate(MOST);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_holds_while_the_file_stays_as_it_is() {
        static LENGTHS: Known<usize> = Known::new();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let asked = |wrong: bool| {
            let length = || if wrong { Err("asked again") } else { Ok(std::fs::read(&path).unwrap().len()) };
            LENGTHS.get_or(&path, |_| true, length)
        };
        std::fs::write(&path, "some").unwrap();
        assert_eq!((asked(false), asked(true)), (Ok(4), Ok(4)));
        std::fs::write(&path, "more than that").unwrap();
        assert_eq!((LENGTHS.get(&path, |_| true), asked(true), asked(false)), (None, Err("asked again"), Ok(14)));
        assert_eq!(LENGTHS.get(&path, |length| *length != 14), None);
        for i in 0..MOST {
            let other = folder.path().join(i.to_string());
            std::fs::write(&other, "x").unwrap();
            assert_eq!(LENGTHS.get_or(&other, |_| true, || Ok::<_, ()>(i)), Ok(i));
        }
        assert_eq!(LENGTHS.get(&path, |_| true), None, "the oldest made room");
    }
}
