//! Media: files in (probe, exact frames, placed sound, what a model is given), files out (encoder). The only part that
//! names FFmpeg, and `sink` the only file that names cpal. Knows nothing of models, windows or the library; times are
//! seconds from the container's start everywhere.
//!
//! - [`probe`] says what is in a file; [`VideoReader`] and [`AudioReader`] decode it by presentation time.
//! - [`sample_clip`] turns a [`ClipSpec`](crate::clip::ClipSpec) into what a model is given.
//! - [`Playback`] plays one: frames pulled by time, sound whose played samples are the time; [`Peaks`] outlines it.
//! - [`Encoder`] writes a file, whole or not at all.

mod audio;
mod clock;
mod deinterlace;
mod encode;
mod ending;
mod error;
mod known;
mod mixer;
mod null_sink;
mod peaks;
mod picture;
mod playback;
mod probe;
mod raw;
mod reader;
mod sample;
mod sink;
mod slots;
mod soundtrack;
mod source;
mod stretch;
mod thumbnails;
mod transport;
mod unfinished;
mod way;

pub use audio::{AudioChunk, AudioReader};
pub use clock::{Clock, ManualClock, SystemClock};
pub use encode::{AudioParams, EncodeSpeed, Encoder, VideoParams};
pub use error::MediaError;
pub use peaks::{Peaks, waveform};
pub use picture::VideoFrame;
pub use playback::{ManualOutput, MediaEvent, Output, Playback};
pub use probe::{AudioInfo, Probe, VideoInfo, glance, probe, probe_unless};
pub use reader::VideoReader;
pub use sample::{Intake, MAX_AUDIO_SECS, sample_clip, sample_clip_with};
pub use slots::Slots;
pub use soundtrack::Soundtrack;
pub use thumbnails::{Thumbnail, Thumbnails};
pub use unfinished::Unfinished;

/// FFmpeg's version, as the libraries that are loaded say it.
pub fn ffmpeg_version() -> String {
    let version = ffmpeg_next::format::version();
    format!("libavformat {}.{}.{}", version >> 16, (version >> 8) & 0xff, version & 0xff)
}
