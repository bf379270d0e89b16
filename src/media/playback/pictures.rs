//! The picture thread: decodes a few frames ahead of what is shown, newest seek first.
//! Knows nothing of sound or of who shows the frames.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::super::ending::Ends;
use super::super::error::MediaError;
use super::super::picture::{VideoFrame, bytes_of};
use super::super::reader::{EPSILON_SECS, VideoReader};
use super::super::slots::Slots;
use super::super::source::Source;
use super::{MediaEvent, Opened, Shared, State};
use crate::clip::{AudioSource, ClipSpec, FrameEdit};
use crate::frame::{Planes, RgbaFrame, display_size};
use crate::settings::Sampling;

/// How long a still is shown that nothing else gives a length.
const STILL_SECS: f64 = 0.04;
/// Most frames decoded ahead.
const MOST_FRAMES: usize = 8;
/// Most bytes of frames decoded ahead: very large pictures get a shorter queue.
const MOST_BYTES: usize = 256 << 20;

/// Most bytes of frames held to be shown backwards.
const MOST_BYTES_BACK: usize = 192 << 20;
/// The shortest and the longest stretch decoded at once to be shown backwards, in seconds.
const BACK_SECS: [f64; 2] = [0.4, 4.0];

/// Behind the sound by more than this, in seconds of playing, frames that no other is made of are not decoded.
const HURRY_SECS: f64 = 0.25;
/// Behind by more than this, decoding goes on where the sound is. (Backwards both are seconds of the clip.)
const LEAP_SECS: f64 = 1.0;

/// Reads a file that does not say how long it is to its end, beside everything else, and makes known where that is.
fn count_length(shared: &Arc<Shared>, path: PathBuf, version: u64) {
    let counting = Arc::clone(shared);
    let run = move || {
        let stale = |state: &State| state.quit || state.picture_version != version;
        let ends = Source::open(&path).and_then(|mut file| Ends::counted(&mut file, &|| stale(&counting.lock())));
        let mut state = counting.lock();
        if stale(&state) {
            return;
        }
        let (Ok(ends), Some(opened)) = (ends, state.opened.as_mut()) else { return };
        (opened.whole, opened.picture) = (ends.whole_secs, ends.picture_secs);
        counting.renew_bounds(&mut state);
        drop(state);
        (counting.notify)(MediaEvent::Length);
    };
    // Not joined: it ends with its next packet. Without it the length is known once the clip was played to its end.
    if let Err(e) = std::thread::Builder::new().name("modalens-length".to_owned()).spawn(run) {
        log::warn!("how long a file is cannot be counted: {e}");
    }
}

/// Where frames come from.
enum Pictures {
    Nothing,
    File(Box<VideoReader>, Backwards),
    /// One picture for all times, and whether it was given.
    Same(Arc<dyn Planes>, bool),
    /// A still, which is decoded once, and whether it was given.
    Still(Arc<dyn Planes>, bool),
    /// Frames that changed places, and the slot that comes next.
    Slots(Box<Slots>, usize),
}

/// Frames decoded forwards to be shown backwards.
#[derive(Default)]
struct Backwards {
    /// The earliest frame shown so far: what comes next is before it.
    until_secs: f64,
    /// Frames before it, in order.
    frames: VecDeque<Arc<VideoFrame>>,
    bytes: usize,
    /// How long a stretch is decoded at once.
    stretch_secs: f64,
}

impl Backwards {
    /// The frame before the earliest one shown; `None` at the start, or when it is no longer wanted. Where time has gone
    /// on to `at_secs` meanwhile, what is over is passed over.
    fn previous(
        &mut self,
        reader: &mut VideoReader,
        at_secs: f64,
        stale: &dyn Fn() -> bool,
    ) -> Result<Option<Arc<VideoFrame>>, MediaError> {
        loop {
            while let Some(frame) = self.frames.pop_back() {
                self.bytes -= bytes_of(&*frame);
                self.until_secs = frame.pts_secs();
                if self.frames.back().is_none_or(|before| before.pts_secs() <= at_secs + HURRY_SECS) {
                    return Ok(Some(frame));
                }
            }
            // One frame is wanted that began before now.
            if self.until_secs > at_secs + LEAP_SECS {
                self.until_secs = at_secs + EPSILON_SECS * 4.0;
            }
            let mut held_all = true;
            let from_secs = (self.until_secs - self.stretch_secs).max(0.0);
            if !reader.seek_unless(from_secs, stale)? {
                return Ok(None);
            }
            while let Some(frame) = reader.next_frame()? {
                if stale() {
                    return Ok(None);
                }
                if frame.pts_secs() >= self.until_secs - EPSILON_SECS {
                    break;
                }
                self.bytes += bytes_of(&frame);
                self.frames.push_back(Arc::new(frame));
                // The later ones are shown first; the others are decoded once more when their time comes.
                while self.bytes > MOST_BYTES_BACK && self.frames.len() > 1 {
                    self.bytes -= self.frames.pop_front().map_or(0, |f| bytes_of(&*f));
                    held_all = false;
                }
            }
            self.stretch_secs *= 2.0;
            if let Some(first) = self.frames.front().filter(|_| !held_all) {
                // No more is decoded at once than can be held.
                self.stretch_secs = (self.until_secs - first.pts_secs()).clamp(BACK_SECS[0] / 4.0, BACK_SECS[1]);
            } else if !self.frames.is_empty() {
                self.stretch_secs = self.stretch_secs.min(BACK_SECS[1]);
            } else if from_secs <= 0.0 {
                return Ok(None);
            }
        }
    }
}

/// Runs until the playback is dropped.
pub(super) fn run(shared: &Arc<Shared>) {
    let mut pictures = Pictures::Nothing;
    let mut version = 0;
    let mut seek = 0;
    let mut most = MOST_FRAMES;
    // No frame of the newest seek has been handed over yet.
    let mut first = true;
    let mut backwards = false;
    let mut end_secs = None;
    loop {
        let mut state = shared.lock();
        while !state.quit
            && version == state.picture_version
            && seek == state.picture_seek
            && !state.announce
            && (state.picture_done || state.queue.len() >= most)
        {
            // Where nobody looks for a while, what is over makes room: else the picture would fall behind the sound by
            // more with every look that is further away than a full queue reaches.
            let Some(room_in) = shared.drop_overdue(&mut state) else {
                state = shared.wake_picture.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            if !room_in.is_zero() {
                let woken = shared.wake_picture.wait_timeout(state, room_in);
                state = woken.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        if state.quit {
            return;
        }
        if std::mem::take(&mut state.announce) {
            drop(state);
            (shared.notify)(MediaEvent::FrameReady);
            continue;
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
                    end_secs = None;
                    let mut state = shared.lock();
                    if state.picture_version != version {
                        continue;
                    }
                    state.opened = Some(opened);
                    state.error = None;
                    shared.renew_bounds(&mut state);
                    let duration_secs = state.duration_secs();
                    let unknown = state.clip.video.clone().filter(|_| opened.moving && opened.whole.is_none());
                    drop(state);
                    if let Some(path) = unknown {
                        count_length(shared, path, version);
                    }
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
        if seek != state.picture_seek {
            seek = state.picture_seek;
            first = true;
            let (target, rough) = (state.target_secs, state.rough);
            backwards = state.backwards();
            drop(state);
            let stale = || {
                let state = shared.lock();
                state.quit || state.picture_seek != seek
            };
            if rough {
                let asked = Instant::now();
                if let Some(near) = pictures.near(target) {
                    // Something to look at while the exact frame is decoded.
                    let mut state = shared.lock();
                    state.near_time = Some(asked.elapsed());
                    if state.picture_seek == seek {
                        state.queue.push_back(near);
                    } else if state.rough && state.picture_version == version {
                        // A hand that moves faster than pictures come still sees where it was just now.
                        (state.shown, state.shown_seek) = (Some(near), seek);
                    } else {
                        continue;
                    }
                    drop(state);
                    (shared.notify)(MediaEvent::FrameReady);
                }
            }
            if let Err(error) = pictures.seek(target, &stale) {
                // A picture that has no frames is none.
                let none = matches!(error, MediaError::NoVideo(_));
                if !none || shared.lock().clip.audio == AudioSource::None {
                    shared.fail(&error);
                }
                pictures = Pictures::Nothing;
            }
            continue;
        }
        drop(state);
        let stale = || {
            let state = shared.lock();
            state.quit || state.picture_seek != seek
        };
        // Where time runs on without waiting for frames, they follow it.
        let at_secs = shared.running_secs().filter(|_| !first);
        let mut hurried = false;
        let decoded = match (backwards && !first, at_secs) {
            (true, at) => pictures.previous(at.map_or(f64::INFINITY, |(at, _)| at), &stale),
            (false, Some((at, speed))) => pictures.follow(at, speed, &stale).and_then(|hurries| {
                hurried = hurries;
                pictures.next(&stale)
            }),
            // The first frame is the one that is shown at the target, whichever way time runs.
            (false, None) => {
                pictures.take_time();
                pictures.next(&stale)
            }
        };
        let next = match decoded {
            Ok(next) => next,
            Err(error) => {
                shared.fail(&error);
                pictures = Pictures::Nothing;
                None
            }
        };
        let mut state = shared.lock();
        if state.picture_seek != seek || state.picture_version != version {
            continue;
        }
        state.hurried |= hurried;
        let ready = first;
        let mut found_end = false;
        if let Some(frame) = next {
            if !backwards {
                end_secs = pictures.frame_secs().map(|secs| frame.pts_secs() + secs);
            }
            most = (MOST_BYTES / bytes_of(&*frame).max(1)).clamp(2, MOST_FRAMES);
            let pts_secs = frame.pts_secs();
            state.queue.push_back(frame);
            if ready {
                shared.arrived(&mut state, pts_secs);
                if state.picture_seek != seek {
                    continue;
                }
            }
        } else {
            state.picture_done = true;
            // A raw stream or a still says no length: it ends where its frames end, unless its sound is longer.
            // A still with another sound is shown for as long as that.
            let endless = matches!(pictures, Pictures::Still(..)) && state.sound_fills();
            let ends = end_secs.filter(|_| !backwards && !endless);
            // Where frames were passed over, the last of them may be missing: better than no end at all.
            let sure = !state.hurried;
            let news = |opened: &Opened| ends.is_some() && opened.counted != ends && (sure || opened.counted.is_none());
            if let Some(opened) = state.opened.as_mut().filter(|opened| news(opened)) {
                opened.counted = ends;
                shared.renew_bounds(&mut state);
                found_end = true;
            }
        }
        shared.take_steps(&mut state);
        if ready {
            first = false;
            if !state.rough {
                // From here on time may run: there is something to show.
                shared.transport.picture_ready.store(state.seek, Ordering::Release);
            }
        }
        drop(state);
        if ready {
            (shared.notify)(MediaEvent::FrameReady);
        }
        if found_end {
            (shared.notify)(MediaEvent::Length);
        }
    }
}

fn open_pictures(
    clip: &ClipSpec,
    sampling: &Sampling,
    stale: &dyn Fn() -> bool,
) -> Result<(Pictures, Opened), MediaError> {
    let Some(path) = &clip.video else { return Ok((Pictures::Nothing, Opened::default())) };
    let mut source = Source::open(path)?;
    let ends = Ends::of(&mut source);
    let whole = ends.whole_secs;
    if source.video_stream().is_none() {
        if matches!(clip.audio, AudioSource::None) {
            return Err(MediaError::NoVideo(path.clone()));
        }
        return Ok((Pictures::Nothing, Opened { whole, ..Opened::default() }));
    }
    let mut reader = VideoReader::of(source)?;
    reader.rewind()?;
    let still = reader.is_still();
    let opened = if still {
        Opened::default()
    } else {
        Opened { whole, picture: ends.picture_secs, moving: true, ..Opened::default() }
    };
    let pictures = match clip.frames {
        FrameEdit::Keep if still => match reader.next_frame()? {
            None => Pictures::Nothing,
            Some(frame) => Pictures::Still(Arc::new(frame), false),
        },
        FrameEdit::Keep => Pictures::File(Box::new(reader), Backwards::default()),
        FrameEdit::Black | FrameEdit::Freeze => {
            match reader.first_of(clip.start_secs.unwrap_or(0.0), clip.end_secs.unwrap_or(f64::INFINITY))? {
                None => Pictures::Nothing,
                Some(frame) if clip.frames == FrameEdit::Freeze => Pictures::Same(Arc::new(frame), false),
                Some(frame) => {
                    Pictures::Same(Arc::new(RgbaFrame::black(display_size(&frame), frame.pts_secs())), false)
                }
            }
        }
        FrameEdit::Shuffle { .. } | FrameEdit::Reverse => {
            Pictures::Slots(Box::new(Slots::open(clip, sampling, stale)?), 0)
        }
    };
    Ok((pictures, opened))
}

impl Pictures {
    fn seek(&mut self, t_secs: f64, stale: &dyn Fn() -> bool) -> Result<(), MediaError> {
        match self {
            Self::File(reader, back) => {
                *back = Backwards::default();
                reader.seek_unless(t_secs, stale).map(|_| ())
            }
            Self::Slots(slots, next) => {
                *next = slots.at(t_secs);
                Ok(())
            }
            Self::Same(_, given) | Self::Still(_, given) => {
                *given = false;
                Ok(())
            }
            Self::Nothing => Ok(()),
        }
    }

    /// A frame near a time that can be had at once, if that is not the exact one.
    fn near(&mut self, t_secs: f64) -> Option<Arc<dyn Planes>> {
        match self {
            // What is wrong with the file is said by the exact seek that follows.
            Self::File(reader, _) => reader.key_frame_before(t_secs).ok()?.map(|f| Arc::new(f) as Arc<dyn Planes>),
            _ => None,
        }
    }

    /// Seconds a frame is shown, nominally; `None` where the last frame says nothing of an end.
    fn frame_secs(&self) -> Option<f64> {
        match self {
            Self::File(reader, _) => Some(reader.nominal_frame_secs()),
            Self::Still(..) => Some(STILL_SECS),
            _ => None,
        }
    }

    /// Keeps up with time that is at `at_secs` and runs at `speed`, where decoding every frame is too slow: the next frame
    /// is not far behind, at the cost of others. Whether others are passed over.
    fn follow(&mut self, at_secs: f64, speed: f64, stale: &dyn Fn() -> bool) -> Result<bool, MediaError> {
        let Self::File(reader, _) = self else { return Ok(false) };
        let behind_secs = reader.last_secs().map_or(0.0, |last| (at_secs - last) / speed);
        let hurries = behind_secs > HURRY_SECS;
        if behind_secs > LEAP_SECS && reader.key_ahead(at_secs) {
            reader.seek_unless(at_secs, stale)?;
        }
        reader.set_hurry(hurries);
        Ok(hurries)
    }

    /// Decodes every frame again.
    fn take_time(&mut self) {
        if let Self::File(reader, _) = self {
            reader.set_hurry(false);
        }
    }

    fn next(&mut self, stale: &dyn Fn() -> bool) -> Result<Option<Arc<dyn Planes>>, MediaError> {
        Ok(match self {
            Self::Nothing => None,
            Self::File(reader, back) => {
                let frame = reader.next_frame()?.map(Arc::new);
                if let Some(frame) = &frame {
                    back.until_secs = frame.pts_secs();
                    back.stretch_secs = BACK_SECS[0];
                }
                frame.map(|f| f as Arc<dyn Planes>)
            }
            // It stands for all time: once is enough.
            Self::Same(frame, given) | Self::Still(frame, given) => {
                (!std::mem::replace(given, true)).then(|| Arc::clone(frame))
            }
            Self::Slots(slots, next) => {
                *next += 1;
                slots.get(*next - 1, stale)?.map(|f| Arc::new(f) as Arc<dyn Planes>)
            }
        })
    }

    /// The frame before the one that was given last; see [`Backwards::previous`].
    fn previous(&mut self, at_secs: f64, stale: &dyn Fn() -> bool) -> Result<Option<Arc<dyn Planes>>, MediaError> {
        Ok(match self {
            Self::Nothing | Self::Same(..) | Self::Still(..) => None,
            Self::File(reader, back) => back.previous(reader, at_secs, stale)?.map(|f| f as Arc<dyn Planes>),
            Self::Slots(slots, next) => {
                // `next` is one after the slot given last.
                let Some(slot) = next.checked_sub(2) else { return Ok(None) };
                *next = slot + 1;
                slots.get(slot, stale)?.map(|f| Arc::new(f) as Arc<dyn Planes>)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::process::Command;

    use super::*;

    #[test]
    fn backwards_ends_at_the_first_frame_however_late_it_comes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("late.mkv");
        let made = Command::new("ffmpeg")
            .args("-v error -nostdin -f lavfi -i sine=duration=32".split(' '))
            .args("-itsoffset 30 -f lavfi -i testsrc2=size=64x48:rate=10:duration=2 -c:v libx264 -g 10".split(' '))
            .arg(&path)
            .status();
        assert!(made.expect("ffmpeg").success());
        let mut reader = VideoReader::open(&path).expect("opens");
        let mut back = Backwards { until_secs: 31.0, stretch_secs: BACK_SECS[0], ..Backwards::default() };
        let asked = Cell::new(0);
        let stale = || asked.replace(asked.get() + 1) > 1_000;
        let mut times = Vec::new();
        while let Some(frame) = back.previous(&mut reader, f64::INFINITY, &stale).expect("decodes") {
            times.push((frame.pts_secs() * 10.0).round() as u64);
        }
        assert_eq!(times, (300..310).rev().collect::<Vec<_>>());
        assert!(!stale(), "it goes on looking");
    }
}
