//! What is seen and heard: one value that the player shows, the model is fed and the library files.
//! Knows nothing of how files are decoded.

use std::path::{Path, PathBuf};

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
    /// What is done to the sound before anyone hears it.
    #[serde(default)]
    pub sound: SoundEdit,
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
    /// Silence as long as the picture: the model gets an audio part in which nothing is heard.
    Silence,
    /// White noise as long as the picture.
    Noise {
        /// The same seed gives the same noise.
        seed: u64,
        /// Its level (root mean square) in decibels below full scale; −20 is loud speech.
        level_db: i32,
    },
}

/// What is done to a clip's sound before it is heard and sampled.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct SoundEdit {
    /// How much later the sound starts, in seconds; earlier when negative.
    pub offset_secs: f64,
    /// How much louder it is, in decibels; beyond full scale it is clipped.
    pub gain_db: f64,
    /// A sound that is shorter than the picture begins again.
    pub repeat: bool,
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
    /// The sampled frames in a shuffled order.
    Shuffle {
        /// The same seed gives the same order.
        seed: u64,
    },
    /// The sampled frames from the last to the first.
    Reverse,
}

impl AudioSource {
    /// Noise as loud as speech.
    pub const NOISE: Self = Self::Noise { seed: 0, level_db: -20 };

    /// Whether it is made up rather than read: it has no length of its own and fills the picture's.
    pub fn is_made_up(&self) -> bool {
        matches!(self, Self::Silence | Self::Noise { .. })
    }
}

impl ClipSpec {
    /// The file that the clip is called by: its video, else its sound.
    pub fn file(&self) -> Option<&Path> {
        self.video.as_deref().or(match &self.audio {
            AudioSource::File { path, .. } => Some(path),
            AudioSource::Original { .. } | AudioSource::None | AudioSource::Silence | AudioSource::Noise { .. } => None,
        })
    }

    /// A video with its own sound.
    pub fn original(video: impl Into<PathBuf>) -> Self {
        Self { video: Some(video.into()), audio: AudioSource::Original { track: None }, ..Self::default() }
    }
}
