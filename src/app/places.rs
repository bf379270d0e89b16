//! Where long clips were left, so that they go on there: a short list in the user's state folder. Knows nothing of
//! playing; a list that cannot be read or written is no list.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, bounded};
use serde::{Deserialize, Serialize};

use super::folders::{self, Kind};
use crate::event::Event;
use crate::export::write_whole;

/// Clips remembered; the oldest make room.
const MOST: usize = 200;
/// Shorter clips begin at their beginning.
const LONG_SECS: f64 = 60.0;
/// This close to either end there is nothing to go on with.
const EDGE_SECS: f64 = 5.0;

/// What may wait to be looked up or written.
const MOST_JOBS: usize = 16;
/// How long a window that is closed waits for its list to be written.
const PATIENCE: Duration = Duration::from_secs(2);

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
struct List {
    file: Option<PathBuf>,
    list: Vec<Place>,
}

/// The list on a thread of its own: a file on a disk that does not answer must not hold up the window.
pub(super) struct Places {
    jobs: Option<Sender<Job>>,
    done: Receiver<()>,
}

enum Job {
    Ask { path: PathBuf, tell: Box<dyn FnOnce(f64) + Send> },
    Leave { path: PathBuf, at_secs: f64, duration_secs: Option<f64> },
}

impl Places {
    /// The list in `file`; `None` remembers nothing beyond the window's life.
    pub(super) fn new(file: Option<PathBuf>) -> Self {
        let (jobs, waiting) = bounded::<Job>(MOST_JOBS);
        let (ended, done) = bounded(0);
        let run = move || {
            // Dropped when everything is written.
            let _ended: Sender<()> = ended;
            let mut list = List::load(file);
            for job in waiting {
                match job {
                    Job::Ask { path, tell } => {
                        if let Some(at_secs) = list.of(&path) {
                            tell(at_secs);
                        }
                    }
                    Job::Leave { path, at_secs, duration_secs } => list.leave(&path, at_secs, duration_secs),
                }
            }
        };
        let thread = std::thread::Builder::new().name("places".to_owned()).spawn(run);
        let jobs = thread.inspect_err(|e| log::warn!("where clips are left is not remembered: {e}")).ok().map(|_| jobs);
        Self { jobs, done }
    }

    /// Asks where a clip was left, which is told as [`Event::LeftAt`].
    pub(super) fn ask(&self, clip_id: u64, path: PathBuf, notify: impl Fn(Event) + Send + 'static) {
        let tell = Box::new(move |at_secs| notify(Event::LeftAt { clip_id, at_secs }));
        self.give(Job::Ask { path, tell });
    }

    /// Takes note of where a clip is left, and writes the list.
    pub(super) fn leave(&self, path: PathBuf, at_secs: f64, duration_secs: Option<f64>) {
        self.give(Job::Leave { path, at_secs, duration_secs });
    }

    fn give(&self, job: Job) {
        // What waits behind a disk that does not answer is not worth more waiting.
        if let Some(Err(e)) = self.jobs.as_ref().map(|jobs| jobs.try_send(job)) {
            log::warn!("where a clip was left is not remembered: {e}");
        }
    }

    /// Waits until everything is written, but not for ever.
    pub(super) fn finish(&mut self) {
        self.jobs = None;
        let _ = self.done.recv_timeout(PATIENCE);
    }
}

impl List {
    fn load(file: Option<PathBuf>) -> Self {
        let list = file.as_ref().and_then(|file| {
            let bytes = std::fs::read(file).ok()?;
            serde_json::from_slice(&bytes).inspect_err(|e| log::warn!("{} is ignored: {e}", file.display())).ok()
        });
        Self { file, list: list.unwrap_or_default() }
    }

    /// Where a clip was left; `None` where it should begin at its beginning.
    fn of(&self, path: &Path) -> Option<f64> {
        let file = Identity::of(path)?;
        self.list.iter().rev().find(|p| p.file == file).map(|p| p.at_secs)
    }

    /// Takes note of where a clip is left, and writes the list.
    fn leave(&mut self, path: &Path, at_secs: f64, duration_secs: Option<f64>) {
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
        let mut places = List::load(Some(list.clone()));
        places.leave(&clip, 70.0, Some(600.0));
        assert_eq!(List::load(Some(list.clone())).of(&clip), Some(70.0));
        // Near the ends, in a short clip, and in a file that changed there is nothing to go on with.
        for (at, length) in [(70.0, Some(72.0)), (2.0, Some(600.0)), (20.0, Some(59.0)), (70.0, None)] {
            places.leave(&clip, 70.0, Some(600.0));
            places.leave(&clip, at, length);
            assert_eq!(List::load(Some(list.clone())).of(&clip), None, "{at} of {length:?}");
        }
        places.leave(&clip, 70.0, Some(600.0));
        std::fs::write(&clip, "some more bytes").unwrap();
        assert_eq!(places.of(&clip), None);
        // The list is bounded, and a broken one is no list.
        for i in 0..MOST + 5 {
            let other = folder.path().join(format!("{i}.mp4"));
            std::fs::write(&other, "x").unwrap();
            places.leave(&other, 70.0, Some(600.0));
        }
        assert_eq!(List::load(Some(list.clone())).list.len(), MOST);
        std::fs::write(&list, "{").unwrap();
        assert!(List::load(Some(list)).list.is_empty());
        List::load(None).leave(&clip, 70.0, Some(600.0));
    }

    #[test]
    fn what_was_left_last_is_on_disk_when_the_window_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("places.json");
        let clip = folder.path().join("clip.mp4");
        std::fs::write(&clip, "some bytes").unwrap();
        let mut places = Places::new(Some(list.clone()));
        places.leave(clip.clone(), 70.0, Some(600.0));
        places.leave(clip.clone(), 80.0, Some(600.0));
        places.finish();
        let places = Places::new(Some(list));
        let (tell, told) = bounded(1);
        places.ask(7, clip, move |event| {
            if let Event::LeftAt { clip_id, at_secs } = event {
                let _ = tell.send((clip_id, at_secs));
            }
        });
        assert_eq!(told.recv(), Ok((7, 80.0)));
    }
}
