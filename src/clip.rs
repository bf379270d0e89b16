//! What is seen and heard: one value that the player shows, the model is fed and the library files.
//! Knows nothing of how files are decoded.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A clip as an experiment sees it: a picture source, a sound source and what was done to them.
///
/// The same value drives playback, the model's input and what is stored, so that nothing shown can
/// differ from what the model got.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ClipSpec {
    /// The file whose picture is shown; `None` for sound or text alone.
    pub video: Option<PathBuf>,
    /// Where the sound comes from.
    pub audio: AudioSource,
    /// What is done to the frames before anyone sees them.
    pub frames: FrameEdit,
    /// Start of the part that is used, in seconds from the container's start; `None` = the beginning.
    pub start_secs: Option<f64>,
    /// End of the part that is used, in seconds; `None` = the end.
    pub end_secs: Option<f64>,
}

/// Where a clip's sound comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum AudioSource {
    /// The video file's own sound; the best track unless `track` names one (0-based among audio tracks).
    Original {
        /// Which audio track; `None` lets the demuxer choose.
        track: Option<usize>,
    },
    /// No sound at all: the model gets no audio part.
    #[default]
    None,
    /// Another file's sound. With a video it takes the place of the video's own audio and is cut to the
    /// video's length, never padded.
    File {
        /// The file that has the sound.
        path: PathBuf,
        /// Which of its audio tracks; `None` lets the demuxer choose.
        track: Option<usize>,
    },
}

/// What is done to the picture before it is shown and sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrameEdit {
    /// The frames as they are.
    #[default]
    Keep,
    /// Every pixel black: the picture says nothing, the frame grid stays.
    Black,
    /// The first frame, all the time.
    Freeze,
    /// The sampled frames in a fixed shuffled order.
    Shuffle,
}

impl ClipSpec {
    /// A video with its own sound.
    pub fn original(video: impl Into<PathBuf>) -> Self {
        Self { video: Some(video.into()), audio: AudioSource::Original { track: None }, ..Self::default() }
    }
}
