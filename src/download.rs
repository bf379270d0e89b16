//! Getting a checkpoint from a hub, as plain data: what would be fetched, how far it is, what is there already. Knows
//! nothing of networks, files or windows.

use std::path::PathBuf;

/// What a download would fetch, known before it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// `organisation/name`, with `@revision` where another than `main` was asked for.
    pub id: String,
    /// The files, in the order they are fetched.
    pub files: Vec<OfferedFile>,
    /// Where they are put.
    pub place: PathBuf,
    /// Free bytes there; `None` where the system does not say.
    pub free_bytes: Option<u64>,
}

/// A file of an [`Offer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedFile {
    /// Its name in the repository.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Bytes of it that are here already.
    pub done_bytes: u64,
}

/// Room that is left free beside what is fetched: folders, links and other programs need some.
const SPARE_BYTES: u64 = 32 << 20;

impl Offer {
    /// Size of all files in bytes.
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, f| sum.saturating_add(f.bytes))
    }

    /// Bytes that are here already.
    pub fn done_bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, f| sum.saturating_add(f.done_bytes))
    }

    /// Bytes still to fetch.
    pub fn left_bytes(&self) -> u64 {
        self.total_bytes().saturating_sub(self.done_bytes())
    }

    /// Bytes that must be free, if there are fewer.
    pub fn lacks_room(&self) -> Option<u64> {
        let need = self.left_bytes().saturating_add(SPARE_BYTES);
        self.free_bytes.filter(|free| *free < need && self.left_bytes() > 0).map(|_| need)
    }

    /// One line: how much, how many files, how much room.
    pub fn summary(&self) -> String {
        let files = self.files.len();
        let left = bytes_text(self.left_bytes());
        // A configuration that was looked at before is no news.
        let news = self.done_bytes() > self.total_bytes() / 50;
        let of = if news { format!(" of {}", bytes_text(self.total_bytes())) } else { String::new() };
        let many = if files == 1 { "" } else { "s" };
        let free = self.free_bytes.map(|free| format!(", {} free on the disk", bytes_text(free))).unwrap_or_default();
        format!("{left} to fetch{of} in {files} file{many}{free}")
    }
}

/// What a download is doing.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Asking what there is.
    Asking,
    /// Reading again what an earlier call left, for the checksum.
    Checking,
    /// Bytes are coming.
    Fetching,
    /// Something failed and is tried again.
    Waiting {
        /// Which try failed, from 1.
        attempt: u32,
        /// Of how many without progress.
        of: u32,
        /// Pause before the next, in seconds.
        secs: f64,
        /// What failed.
        why: String,
    },
}

/// How far a download is.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// What is being done.
    pub step: Step,
    /// The file it is done to.
    pub file: String,
    /// Bytes of all files that are here.
    pub done_bytes: u64,
    /// Size of all files.
    pub total_bytes: u64,
    /// Pace of the last seconds, once there is one.
    pub bytes_per_s: Option<f64>,
}

impl Progress {
    /// Time left at the pace of the last seconds.
    pub fn left_secs(&self) -> Option<f64> {
        let pace = self.bytes_per_s.filter(|b| *b > 0.0)?;
        Some(self.total_bytes.saturating_sub(self.done_bytes) as f64 / pace)
    }

    /// Share that is here, 0…1.
    pub fn share(&self) -> f32 {
        if self.total_bytes == 0 { 0.0 } else { (self.done_bytes as f64 / self.total_bytes as f64) as f32 }
    }

    /// One line: how much of how much, pace, time left; or what is being waited for.
    pub fn line(&self) -> String {
        let amount = format!("{} of {}", bytes_text(self.done_bytes), bytes_text(self.total_bytes));
        match &self.step {
            Step::Asking | Step::Fetching if self.total_bytes == 0 => "Asking for files and sizes".to_owned(),
            Step::Asking => "Asking for files and sizes".to_owned(),
            Step::Checking => format!("{amount} · checking what is here of {}", self.file),
            Step::Waiting { attempt, of, secs, why } => {
                format!("{amount} · {why}; trying again in {secs:.0} s ({attempt} of {of})")
            }
            Step::Fetching => {
                let pace = self.bytes_per_s.map(|b| format!(" · {}/s", bytes_text(b as u64))).unwrap_or_default();
                let left = self.left_secs().map(|s| format!(" · {} left", duration_text(s))).unwrap_or_default();
                format!("{amount}{pace}{left}")
            }
        }
    }
}

/// A checkpoint in the local cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// `organisation/name`, with `@revision` for another than `main`.
    pub id: String,
    /// Its folder.
    pub dir: PathBuf,
    /// Whether everything that is loaded is there.
    pub complete: bool,
    /// Bytes that are there.
    pub bytes: u64,
}

/// A model that can be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// `bundled` or a hub id.
    pub id: String,
    /// Where it comes from, and whether it is here.
    pub kind: ChoiceKind,
    /// Its folder; `None` where it is not here as a whole.
    pub dir: Option<PathBuf>,
    /// Bytes that are here, or for a suggestion the least there is to fetch.
    pub bytes: u64,
    /// What it needs beside what there is, in one line.
    pub fit: Option<String>,
}

/// Where a model that can be chosen comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChoiceKind {
    /// Ships with the program.
    Bundled,
    /// In the hub's cache, complete.
    Complete,
    /// In the hub's cache, not complete.
    Partial,
    /// Not here.
    Suggested,
}

/// What a worker tells of models and downloads. `number` counts downloads: news of older ones is stale.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// What can be chosen.
    Choices(Vec<Choice>),
    /// What a download would fetch.
    Offered {
        /// Of which download.
        number: u64,
        /// The files and their sizes.
        offer: Offer,
    },
    /// How far a download is.
    Progress {
        /// Of which download.
        number: u64,
        /// How far.
        progress: Progress,
    },
    /// A download ended.
    Ended {
        /// Which one.
        number: u64,
        /// How.
        end: Ended,
    },
}

/// How a download ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The checkpoint's folder.
    Done(PathBuf),
    /// Stopped by the user; what came is kept.
    Stopped,
    /// One line: what was tried, what was wrong, what to do.
    Failed(String),
}

/// Bytes as people say them, in decimal units: `9.41 GB`.
pub fn bytes_text(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    // What would be rounded up to 1000 is 1 of the next.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// Seconds as people say them: `3 min 20 s`.
pub fn duration_text(secs: f64) -> String {
    // Beyond that a number says nothing.
    let secs = secs.clamp(0.0, 100.0 * 86400.0).ceil() as u64;
    match secs {
        0..60 => format!("{secs} s"),
        60..3600 => format!("{} min {} s", secs / 60, secs % 60),
        3600..86400 => format!("{} h {} min", secs / 3600, secs % 3600 / 60),
        _ => format!("{} days", secs / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_say_them() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (635_328, "635 kB"),
            (999_999, "1.00 MB"),
            (9_406_928_896, "9.41 GB"),
            (17_863_627_776, "17.9 GB"),
            (u64::MAX, "18447 PB"),
        ] {
            assert_eq!(bytes_text(bytes), text);
        }
        for (secs, text) in [(0.2, "1 s"), (200.0, "3 min 20 s"), (7260.0, "2 h 1 min"), (1e12, "100 days")] {
            assert_eq!(duration_text(secs), text);
        }
    }

    #[test]
    fn a_disk_that_is_too_small_is_noticed_and_no_size_overflows() {
        let file = |bytes, done_bytes| OfferedFile { name: "a".into(), bytes, done_bytes };
        let mut offer = Offer {
            id: "a/b".into(),
            files: vec![file(1 << 30, 0), file(1 << 30, 1 << 30)],
            place: PathBuf::new(),
            free_bytes: Some(2 << 30),
        };
        assert_eq!((offer.left_bytes(), offer.lacks_room()), (1 << 30, None));
        offer.free_bytes = Some(1 << 30);
        assert_eq!(offer.lacks_room(), Some((1 << 30) + SPARE_BYTES));
        offer.files.push(file(u64::MAX, 0));
        assert!(offer.lacks_room().is_some());
        offer.free_bytes = None;
        assert_eq!(offer.lacks_room(), None);
    }
}
