//! What is written for the user out of the window, as plain data: what was asked for, how far it is, how it ended.
//! Knows nothing of files, encoders or dialogs.

use std::path::PathBuf;

/// What the user wants of a video that is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportsCommand {
    /// Write the clip with the map on show as a video, here or where a dialog says.
    Video(Option<PathBuf>),
    /// Stop writing it; nothing is left behind.
    Stop,
    /// The path that is typed where there is no dialog changed.
    Type(String),
    /// Put the question for a path away.
    PutAway,
}

/// What can be saved to a file that the user names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Saving {
    /// The frame on screen.
    Frame,
    /// The clip with its heat map.
    Video,
}

/// News of what is being saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportNews {
    /// No dialog can be shown here: the path must be typed. The video that waited for it is off.
    NoDialog {
        /// What was to be saved.
        what: Saving,
        /// A path that would do.
        proposal: PathBuf,
    },
    /// The dialog was closed without a path.
    NotNow,
    /// The place is known and writing begins.
    Begun {
        /// The file.
        path: PathBuf,
    },
    /// Frames were written.
    Progress {
        /// So many.
        done: usize,
        /// Of so many.
        all: usize,
    },
    /// The file is there.
    Done {
        /// One line: where, and what is in it.
        message: String,
    },
    /// It was stopped; nothing is left.
    Stopped,
    /// It failed; nothing is left.
    Failed {
        /// One line: what was tried, what was wrong, what to do.
        message: String,
    },
}
