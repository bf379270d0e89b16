//! The picture thread: decodes a few frames ahead of what is shown, newest seek first.
//! Knows nothing of sound or of who shows the frames.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::super::error::MediaError;
use super::super::picture::RgbaFrame;
use super::super::reader::{EPSILON_SECS, VideoReader};
use super::super::sample::sample_clip;
use super::super::source::Source;
use super::{MediaEvent, Opened, Shared};
use crate::clip::{AudioSource, ClipSpec, FrameEdit};
use crate::frame::{Planes, RgbImage, display_size};
use crate::settings::Sampling;

/// Most frames decoded ahead.
const MOST_FRAMES: usize = 8;
/// Most bytes of frames decoded ahead: very large pictures get a shorter queue.
const MOST_BYTES: usize = 256 << 20;

/// Where frames come from.
enum Pictures {
    Nothing,
    File(Box<VideoReader>),
    /// One picture for all times.
    Same(Arc<dyn Planes>),
    /// Pictures in slots of their own.
    Slots {
        frames: Vec<RgbImage>,
        pts_secs: Vec<f64>,
        next: usize,
    },
}

/// Runs until the playback is dropped.
pub(super) fn run(shared: &Shared) {
    let mut pictures = Pictures::Nothing;
    let mut version = 0;
    let mut seek = 0;
    let mut most = MOST_FRAMES;
    // No frame of the newest seek has been handed over yet.
    let mut first = true;
    let mut end_secs = None;
    loop {
        let mut state = shared.lock();
        while !state.quit
            && version == state.picture_version
            && seek == state.seek
            && (state.picture_done || state.queue.len() >= most)
        {
            state = shared.wake_picture.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.quit {
            return;
        }
        if version != state.picture_version {
            version = state.picture_version;
            seek = 0;
            let (clip, sampling) = (state.clip.clone(), state.sampling);
            drop(state);
            let stale = || {
                let state = shared.lock();
                state.quit || state.picture_version != version
            };
            match open_pictures(&clip, &sampling, &stale) {
                Ok((found, opened)) => {
                    let picture = !matches!(found, Pictures::Nothing);
                    pictures = found;
                    let mut state = shared.lock();
                    if state.picture_version != version {
                        continue;
                    }
                    state.opened = Some(opened);
                    state.error = None;
                    let stop = state.stop_secs(state.target_secs);
                    shared.transport.set_stop(stop);
                    let duration_secs = state.duration_secs();
                    drop(state);
                    shared.wake_sound.notify_all();
                    (shared.notify)(MediaEvent::Opened { duration_secs, picture });
                }
                Err(MediaError::Cancelled) => {}
                Err(error) => {
                    pictures = Pictures::Nothing;
                    shared.fail(&error);
                }
            }
            continue;
        }
        if seek != state.seek {
            seek = state.seek;
            first = true;
            let target = state.target_secs;
            drop(state);
            let stale = || {
                let state = shared.lock();
                state.quit || state.seek != seek
            };
            if let Err(error) = pictures.seek(target, &stale) {
                shared.fail(&error);
                pictures = Pictures::Nothing;
            }
            continue;
        }
        drop(state);
        let next = match pictures.next() {
            Ok(next) => next,
            Err(error) => {
                shared.fail(&error);
                pictures = Pictures::Nothing;
                None
            }
        };
        let mut state = shared.lock();
        if state.seek != seek || state.picture_version != version {
            continue;
        }
        let ready = first;
        if let Some(frame) = next {
            end_secs = Some(frame.pts_secs() + pictures.frame_secs());
            let bytes: usize = frame.planes().iter().map(|p| p.data.len()).sum();
            most = (MOST_BYTES / bytes.max(1)).clamp(2, MOST_FRAMES);
            state.queue.push_back(frame);
        } else {
            state.picture_done = true;
            // A raw stream or a still says no length: it ends where its frames end, unless its sound is longer.
            if let Some(opened) = &mut state.opened {
                opened.counted = end_secs;
            }
            shared.transport.set_stop(state.stop_secs(state.target_secs));
        }
        drop(state);
        if ready {
            first = false;
            // From here on time may run: there is something to show.
            shared.transport.picture_ready.store(seek, Ordering::Release);
            (shared.notify)(MediaEvent::FrameReady);
        }
    }
}

fn open_pictures(
    clip: &ClipSpec,
    sampling: &Sampling,
    stale: &dyn Fn() -> bool,
) -> Result<(Pictures, Opened), MediaError> {
    let Some(path) = &clip.video else { return Ok((Pictures::Nothing, Opened::default())) };
    let source = Source::open(path)?;
    let whole = source.duration_secs();
    if source.video_stream().is_none() {
        if matches!(clip.audio, AudioSource::None) {
            return Err(MediaError::NoVideo(path.clone()));
        }
        return Ok((Pictures::Nothing, Opened { whole, ..Opened::default() }));
    }
    let mut reader = VideoReader::of(source)?;
    let opened =
        if reader.is_still() { Opened::default() } else { Opened { whole, picture: reader.end_secs(), counted: None } };
    let pictures = match clip.frames {
        FrameEdit::Keep => Pictures::File(Box::new(reader)),
        FrameEdit::Black | FrameEdit::Freeze => {
            reader.seek(clip.start_secs.unwrap_or(0.0))?;
            match reader.next_frame()? {
                None => Pictures::Nothing,
                Some(frame) if clip.frames == FrameEdit::Freeze => Pictures::Same(Arc::new(frame)),
                Some(frame) => Pictures::Same(Arc::new(RgbaFrame::black(display_size(&frame), frame.pts_secs()))),
            }
        }
        FrameEdit::Shuffle => {
            let silent = ClipSpec { audio: AudioSource::None, ..clip.clone() };
            match sample_clip(&silent, sampling, stale)?.0.video {
                None => Pictures::Nothing,
                Some(video) => Pictures::Slots { frames: video.frames, pts_secs: video.pts_secs, next: 0 },
            }
        }
    };
    Ok((pictures, opened))
}

impl Pictures {
    fn seek(&mut self, t_secs: f64, stale: &dyn Fn() -> bool) -> Result<(), MediaError> {
        match self {
            Self::File(reader) => reader.seek_unless(t_secs, stale).map(|_| ()),
            Self::Slots { pts_secs, next, .. } => {
                *next = pts_secs.partition_point(|p| *p <= t_secs + EPSILON_SECS).saturating_sub(1);
                Ok(())
            }
            Self::Nothing | Self::Same(_) => Ok(()),
        }
    }

    /// Seconds a frame is shown, nominally.
    fn frame_secs(&self) -> f64 {
        match self {
            Self::File(reader) => reader.nominal_frame_secs(),
            _ => 0.0,
        }
    }

    fn next(&mut self) -> Result<Option<Arc<dyn Planes>>, MediaError> {
        Ok(match self {
            Self::Nothing => None,
            Self::File(reader) => reader.next_frame()?.map(|f| Arc::new(f) as Arc<dyn Planes>),
            Self::Same(frame) => Some(Arc::clone(frame)),
            Self::Slots { frames, pts_secs, next } => {
                let slot = *next;
                *next += 1;
                let image = frames.get(slot).zip(pts_secs.get(slot));
                image.map(|(image, pts)| Arc::new(RgbaFrame::from_rgb(image, *pts)) as Arc<dyn Planes>)
            }
        })
    }
}
