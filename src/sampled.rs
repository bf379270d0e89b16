//! What a model is given of a clip before any model's own preprocessing: sampled frames and 16 kHz sound.
//! `media` makes it, a family's processor reads it; knows nothing of either.

use crate::frame::RgbImage;

/// Sample rate of [`SampledAudio`], in hertz.
pub const SAMPLE_RATE: u32 = 16_000;

/// The sampled picture and sound of a clip. With both, the sound is the video's soundtrack (interleaved prompt).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SampledClip {
    /// The picture, when the clip has one.
    pub video: Option<SampledVideo>,
    /// The sound, when the clip has one.
    pub audio: Option<SampledAudio>,
}

/// Frames taken from a video, upright, square pixels, all of one size.
#[derive(Debug, Clone, PartialEq)]
pub struct SampledVideo {
    /// The frames in time order (a still is one frame).
    pub frames: Vec<RgbImage>,
    /// Presentation time of each frame in seconds from the container's start.
    pub pts_secs: Vec<f64>,
    /// The sampling rate that was ASKED for, in frames per second: TMRoPE's nominal time uses this one.
    pub fps: f64,
}

/// Mono sound at [`SAMPLE_RATE`].
#[derive(Debug, Clone, PartialEq)]
pub struct SampledAudio {
    /// Samples in −1…1.
    pub samples: Vec<f32>,
    /// Time of the first sample on the clip's axis, in seconds.
    pub start_secs: f64,
}
