//! Plays a clip: a picture thread keeps a few frames ready, a sound thread keeps the device's ring full, and the
//! samples played are the time. The owner pulls frames by time and never waits.
//! Knows nothing of windows or the GPU.
//!
//! What is shown and heard is the [`ClipSpec`]: a swapped soundtrack, black or frozen frames. Shuffled and reversed
//! frames are shown as the model gets them: each sampling slot shows the picture that was put there, until the next slot.

mod output;
mod pictures;
mod shared;
mod sound;

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::clock::{Clock, SystemClock};
use super::error::MediaError;
use super::reader::EPSILON_SECS;
use super::transport::Transport;
use crate::clip::{AudioSource, ClipSpec, FrameEdit};
use crate::frame::Planes;
use crate::settings::Sampling;
use crate::time::Span;

use shared::{Opened, Shared, State};

pub use output::{ManualOutput, Output};

/// Frames whose lateness is remembered.
const LOGGED: usize = 1 << 16;

/// The shortest span that is played again and again.
const SHORTEST_LOOP_SECS: f64 = 0.02;
/// The end of a loop that was passed by less than this is where the loop turns.
const JUST_SECS: f64 = 0.25;

/// What a playback tells its owner. Sent from its threads; the receiver only has to take note and repaint.
#[derive(Debug, Clone, PartialEq)]
pub enum MediaEvent {
    /// The clip is open.
    Opened {
        /// Its length, if known.
        duration_secs: Option<f64>,
        /// Whether it has a picture.
        picture: bool,
    },
    /// The first frame after opening or seeking is ready to be shown.
    FrameReady,
    /// The clip's length became known, or another.
    Length,
    /// Playing reached the end and stopped.
    Ended,
    /// Something the user should know and can live with, such as a file without sound.
    Note(String),
    /// The clip, or its sound, cannot be played: one line.
    Failed(String),
}

/// A clip being played. Dropping it stops the sound and joins its threads.
pub struct Playback {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Playback {
    /// Opens a clip, paused at its start. Returns at once; opening happens on the picture thread, which then sends
    /// [`MediaEvent::Opened`] or [`MediaEvent::Failed`].
    ///
    /// # Errors
    /// [`MediaError::EmptyClip`] for a clip of words alone, [`MediaError::Library`] when no thread can be had.
    pub fn start(
        clip: ClipSpec,
        sampling: Sampling,
        notify: impl Fn(MediaEvent) + Send + Sync + 'static,
    ) -> Result<Self, MediaError> {
        Self::start_on(clip, sampling, Output::Device, notify)
    }

    /// [`start`](Self::start) with a choice of where the sound goes.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn start_on(
        clip: ClipSpec,
        sampling: Sampling,
        output: Output,
        notify: impl Fn(MediaEvent) + Send + Sync + 'static,
    ) -> Result<Self, MediaError> {
        if clip.video.is_none() && !matches!(clip.audio, AudioSource::File { .. }) {
            return Err(MediaError::EmptyClip);
        }
        let clock: Arc<dyn Clock> = match &output {
            Output::Manual(manual) => manual.clock.clone(),
            Output::Device | Output::Null => Arc::new(SystemClock::new()),
        };
        let start_secs = clip.start_secs.unwrap_or(0.0).max(0.0);
        let shared = Arc::new(Shared {
            transport: Arc::new(Transport::new()),
            clock,
            state: Mutex::new(State {
                clip,
                sampling,
                quit: false,
                seek: 1,
                picture_seek: 1,
                steps: 0,
                snaps: false,
                announce: false,
                hurried: false,
                target_secs: start_secs,
                rough: false,
                speed: 1.0,
                repeat: None,
                own_sound: false,
                picture_version: 1,
                sound_version: 1,
                keep_time: false,
                opened: None,
                sound_duration_secs: None,
                queue: VecDeque::new(),
                picture_done: false,
                shown: None,
                shown_seek: 0,
                last_position: (0, 0.0),
                late_secs: VecDeque::new(),
                off_secs: VecDeque::new(),
                frame_secs: 0.0,
                near_time: None,
                scrubbed: None,
                error: None,
                output: "",
            }),
            wake_picture: Condvar::new(),
            wake_sound: Condvar::new(),
            notify: Box::new(notify),
        });
        if let Output::Manual(manual) = &output {
            manual.fed_by(&shared);
        }
        let mut playback = Self { shared, threads: Vec::new() };
        let picture = Arc::clone(&playback.shared);
        playback.spawn("modalens-picture", move || pictures::run(&picture))?;
        let sound = Arc::clone(&playback.shared);
        playback.spawn("modalens-sound", move || sound::SoundThread::new(sound, output).run())?;
        Ok(playback)
    }

    fn spawn(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), MediaError> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
        self.threads.push(thread.map_err(|e| MediaError::Library(e.to_string()))?);
        Ok(())
    }

    /// Plays on; from the beginning when it is at the end.
    pub fn play(&self) {
        let at = self.position_secs();
        let mut state = self.shared.lock();
        let stop = state.stop_secs(at);
        if state.backwards() && at <= 1e-3 {
            // Backwards from the start there is nothing.
            return;
        }
        let forwards = !state.backwards();
        let ends_here = |end: f64| forwards && (at - end).abs() < 1e-3;
        let part = (state.clip.start_secs.unwrap_or(0.0).max(0.0), state.clip.end_secs.unwrap_or(f64::INFINITY));
        let rough = std::mem::replace(&mut state.rough, false);
        if let Some(l) = state.repeat.filter(|l| ends_here(l.end_secs)) {
            self.shared.seek_to(&mut state, l.start_secs);
        } else if ends_here(part.1) {
            self.shared.seek_to(&mut state, part.0);
        } else if rough {
            // The hand is gone without saying where it let go.
            self.shared.seek_to(&mut state, at);
        } else if at >= stop - 1e-3 && !state.backwards() {
            self.shared.seek_to(&mut state, if part.0 < stop - 1e-3 { part.0 } else { 0.0 });
        } else {
            self.shared.set_bounds(&state, at);
        }
        // Under the lock: the sound thread decides under it whether to sleep until it is woken.
        self.shared.transport.start();
        drop(state);
        self.shared.wake_picture.notify_all();
        self.shared.wake_sound.notify_all();
    }

    /// Stops where it is.
    pub fn pause(&self) {
        let mut state = self.shared.lock();
        self.shared.transport.stop();
        self.shared.stopped(&mut state);
    }

    /// Goes to a time, exactly; plays on from there if it was playing.
    pub fn seek(&self, t_secs: f64) {
        self.go(t_secs, false);
    }

    /// Goes to a time while a hand moves: the nearest key frame is shown first, the exact frame as soon as the hand
    /// rests, and time stands until the next [`seek`](Self::seek).
    pub fn scrub(&self, t_secs: f64) {
        self.go(t_secs, true);
    }

    fn go(&self, t_secs: f64, rough: bool) {
        let mut state = self.shared.lock();
        let end = state.duration_secs().unwrap_or(f64::INFINITY);
        let t = match t_secs {
            t if t.is_finite() => t.clamp(0.0, end.max(0.0)),
            // The end, where there is one that is known.
            t if t > 0.0 && end.is_finite() => end,
            t if t > 0.0 => return,
            _ => 0.0,
        };
        if rough && state.rough && t == state.target_secs {
            // A hand that rests: the exact frame is on its way.
            return;
        }
        state.rough = rough;
        state.scrubbed = rough.then(Instant::now);
        self.shared.seek_to(&mut state, t);
    }

    /// Sets how fast time runs: 0.25 to 4 with the sound at its own pitch, −4 to −0.25 backwards and in silence.
    pub fn set_speed(&self, speed: f64) {
        let size = if speed.is_finite() { speed.abs().clamp(0.25, 4.0) } else { 1.0 };
        let speed = size.copysign(speed);
        let at = self.position_secs();
        let mut state = self.shared.lock();
        let old = std::mem::replace(&mut state.speed, speed);
        if old == speed {
            return;
        }
        if (old < 0.0) != (speed < 0.0) {
            // What is decoded lies on the other side.
            self.shared.seek_to(&mut state, at);
            return;
        }
        state.sound_version += 1;
        state.keep_time = true;
        drop(state);
        self.shared.wake_sound.notify_all();
    }

    /// How fast time runs.
    pub fn speed(&self) -> f64 {
        self.shared.lock().speed
    }

    /// Plays a span again and again once time is in it, or nothing.
    pub fn set_repeat(&self, span: Option<Span>) {
        let at = self.position_secs();
        let mut state = self.shared.lock();
        state.repeat = span.filter(|s| s.duration_secs() >= SHORTEST_LOOP_SECS);
        // An end that was set while playing has just gone by.
        let passed = |l: &Span| !state.backwards() && (0.0..JUST_SECS).contains(&(at - l.end_secs + 1e-3));
        match state.repeat.filter(passed).filter(|_| self.is_playing()) {
            Some(l) => self.shared.seek_to(&mut state, l.start_secs),
            None => self.shared.set_bounds(&state, at),
        }
    }

    /// Lets the video's own sound be heard in place of the clip's, for as long as a key is held.
    pub fn hear_own_sound(&self, own: bool) {
        let mut state = self.shared.lock();
        if state.own_sound == own {
            return;
        }
        state.own_sound = own;
        state.sound_version += 1;
        state.keep_time = true;
        drop(state);
        self.shared.wake_sound.notify_all();
    }

    /// Whether the video's own sound is heard in place of the clip's.
    pub fn hears_own_sound(&self) -> bool {
        self.shared.lock().own_sound
    }

    /// Shows the frame after the one that is shown, as soon as it is decoded; stops playing. Nothing happens after the
    /// last one.
    pub fn step_forward(&self) {
        self.pause();
        let mut state = self.shared.lock();
        if state.backwards() {
            return;
        }
        state.steps = state.steps.saturating_add(1);
        self.shared.take_steps(&mut state);
    }

    /// Shows the frame before the one that is shown; stops playing.
    pub fn step_back(&self) {
        self.pause();
        let mut state = self.shared.lock();
        let moving = state.opened.unwrap_or_default().moving;
        if !moving || matches!(state.clip.frames, FrameEdit::Black | FrameEdit::Freeze) {
            // One picture for all time has none before it.
            return;
        }
        match state.shown_now().or(state.queue.front()).map(|f| f.pts_secs()) {
            // What is on screen counts, and not how far forwards it was to go.
            Some(shown) if state.steps >= 0 => self.shared.step_before(&mut state, shown, 0),
            // On the way to a frame, it is that frame which the step goes back from.
            _ => state.steps = state.steps.min(0).saturating_sub(1),
        }
    }

    /// Changes what is played. Another soundtrack goes on at the same time without touching the picture; anything
    /// else opens anew at the same time.
    pub fn set_clip(&self, clip: ClipSpec, sampling: Sampling) {
        let at = self.position_secs();
        let mut state = self.shared.lock();
        let old = std::mem::replace(&mut state.clip, clip);
        let old_sampling = std::mem::replace(&mut state.sampling, sampling);
        let clip = &state.clip;
        let reshuffled = matches!(clip.frames, FrameEdit::Shuffle { .. } | FrameEdit::Reverse)
            && (old_sampling != sampling || old.start_secs != clip.start_secs || old.end_secs != clip.end_secs);
        let refrozen = clip.frames == FrameEdit::Freeze && old.start_secs != clip.start_secs;
        let same_picture = old.video == clip.video && old.frames == clip.frames && !reshuffled && !refrozen;
        let same_sound =
            old.audio == clip.audio && old.sound == clip.sound && (same_picture || old.video == clip.video);
        if !same_picture {
            state.picture_version += 1;
            if old.video != state.clip.video {
                state.opened = None;
                state.sound_duration_secs = None;
                state.shown = None;
            }
            self.shared.seek_to(&mut state, at);
        } else if !same_sound {
            if state.clip.video.is_none() {
                state.sound_duration_secs = None;
            }
            state.sound_version += 1;
            state.keep_time = true;
        }
        self.shared.renew_bounds(&mut state);
        drop(state);
        self.shared.wake_picture.notify_all();
        self.shared.wake_sound.notify_all();
    }

    /// Sets the loudness: 0 silent, 1 as recorded, at most 2.
    pub fn set_volume(&self, volume: f32) {
        self.shared.transport.set_volume(volume);
    }

    /// The loudness.
    pub fn volume(&self) -> f32 {
        self.shared.transport.volume()
    }

    /// Silences the sound without touching the volume.
    pub fn set_muted(&self, muted: bool) {
        self.shared.transport.set_muted(muted);
    }

    /// Whether it is silenced.
    pub fn is_muted(&self) -> bool {
        self.shared.transport.muted()
    }

    /// Whether time runs.
    pub fn is_playing(&self) -> bool {
        self.shared.transport.is_playing()
    }

    /// The time that is heard (and should be seen) now, in seconds: samples played less what is still on its way to
    /// the ear. Right after a seek it is the seek's target. Between two seeks it never turns round.
    pub fn position_secs(&self) -> f64 {
        let mut state = self.shared.lock();
        let at = self.shared.heard_secs(&state);
        let (seek, last) = state.last_position;
        let at = match seek == state.seek {
            true if state.backwards() => at.min(last),
            true => at.max(last),
            false => at,
        };
        state.last_position = (state.seek, at);
        at
    }

    /// The clip's length in seconds, once it is open and if it is known.
    pub fn duration_secs(&self) -> Option<f64> {
        self.shared.lock().duration_secs()
    }

    /// The newest frame whose time is not after `t_secs`, or the first one after a seek. Never waits: until a frame of
    /// the newest seek is decoded, it is the frame that was shown before.
    pub fn frame_at(&self, t_secs: f64) -> Option<Arc<dyn Planes>> {
        let mut state = self.shared.lock();
        let mut taken = false;
        let mut due_secs = None;
        while let Some(front) = state.queue.front() {
            let pts = front.pts_secs();
            let shown = state.shown_now().map(|f| f.pts_secs());
            // Backwards a frame is due when the one after it is over.
            let due = if state.backwards() { shown } else { Some(pts).filter(|_| shown.is_some()) };
            let over = match due {
                // The exact frame takes the place of a near one that a hand was shown.
                Some(due) if state.backwards() => {
                    t_secs < due - EPSILON_SECS || (pts > due + EPSILON_SECS && pts <= t_secs + EPSILON_SECS)
                }
                Some(due) => t_secs + EPSILON_SECS >= due,
                None => true,
            };
            if !over {
                break;
            }
            // A picture that stands for all time is never late.
            due_secs = due.filter(|_| shown != Some(pts));
            state.shown = state.queue.pop_front();
            state.shown_seek = state.seek;
            taken = true;
        }
        if let Some(due) = due_secs.filter(|_| self.is_playing()) {
            let late = (t_secs - due) / state.speed;
            state.late_secs.push_back(late);
            if state.late_secs.len() > LOGGED {
                state.late_secs.pop_front();
            }
        }
        if self.is_playing() {
            state.log_offset(t_secs);
        }
        let shown = state.shown.clone();
        drop(state);
        if taken {
            self.shared.wake_picture.notify_all();
        }
        shown
    }

    /// Whether nothing of what a hand [scrubs](Self::scrub) to is there yet and, by the one before, will be soon: a small
    /// picture from elsewhere would follow the hand better than the frame that is shown.
    pub fn lags_behind_hand(&self) -> bool {
        self.shared.lock().near_late_in().is_some_and(|left| left.is_zero())
    }

    /// In how long a hand that scrubs will have waited too long for a frame; `None` where it does not wait, or has.
    pub fn near_awaited_in(&self) -> Option<Duration> {
        self.shared.lock().near_late_in().filter(|left| !left.is_zero())
    }

    /// When the next frame is due, in seconds: `None` when none is decoded yet or none follows.
    pub fn next_pts(&self) -> Option<f64> {
        self.shared.lock().queue.front().map(|f| f.pts_secs())
    }

    /// In how many seconds of playing the next frame is due, if it is known; 0 when it is overdue.
    pub fn next_frame_in_secs(&self) -> Option<f64> {
        let at = self.position_secs();
        let state = self.shared.lock();
        let next = state.queue.front()?.pts_secs();
        let due = if state.backwards() { state.shown.as_ref()?.pts_secs() } else { next };
        Some(((due - at) / state.speed).max(0.0))
    }

    /// The newest frames' lateness against the sound that was heard when they were taken, in seconds: the clock's own
    /// log of how far apart picture and sound were. Some ten thousand at most, oldest first.
    pub fn late_secs(&self) -> Vec<f64> {
        self.shared.lock().late_secs.iter().copied().collect()
    }

    /// How far the time that was heard lay outside the shown frame's own time (from its presentation time to the next
    /// frame's), each time a frame was asked for while playing, in seconds of playing: 0 = the right frame. Where few
    /// frames are presented, this is how far apart picture and sound are; [`late_secs`](Self::late_secs) then says how
    /// seldom one looked. Some ten thousand at most, oldest first.
    pub fn off_secs(&self) -> Vec<f64> {
        self.shared.lock().off_secs.iter().copied().collect()
    }

    /// Times the device ran out of samples.
    pub fn underruns(&self) -> u64 {
        self.shared.transport.underruns.load(Ordering::Relaxed)
    }

    /// Where the sound goes: `device`, `null` (nothing is heard) or `manual`; empty until it is known.
    pub fn output(&self) -> &'static str {
        self.shared.lock().output
    }

    /// Why the clip, or its sound, does not play.
    pub fn error(&self) -> Option<String> {
        self.shared.lock().error.clone()
    }
}

impl Drop for Playback {
    fn drop(&mut self) {
        self.shared.lock().quit = true;
        self.shared.wake_picture.notify_all();
        self.shared.wake_sound.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so already; there is nothing to add while closing.
            let _ = thread.join();
        }
    }
}
