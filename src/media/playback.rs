//! Plays a clip: a picture thread keeps a few frames ready, a sound thread keeps the device's ring full, and the
//! samples played are the time. The owner pulls frames by time and never waits.
//! Knows nothing of windows or the GPU.
//!
//! What is shown and heard is the [`ClipSpec`]: a swapped soundtrack, black or frozen frames. Shuffled frames are shown
//! as the model gets them: each sampling slot shows the picture that was put there, until the next slot.

mod pictures;
mod sound;

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::clock::{Clock, ManualClock, SystemClock};
use super::error::MediaError;
use super::mixer::{CHANNELS, Mixer, Transport};
use super::null_sink::NULL_RATE;
use super::reader::EPSILON_SECS;
use crate::clip::{AudioSource, ClipSpec, FrameEdit};
use crate::frame::Planes;
use crate::settings::Sampling;

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
    /// Playing reached the end and stopped.
    Ended,
    /// Something the user should know and can live with, such as a file without sound.
    Note(String),
    /// The clip, or its sound, cannot be played: one line.
    Failed(String),
}

/// Where sound goes.
#[derive(Clone)]
pub enum Output {
    /// The default device; without one, nothing is heard and time goes on all the same.
    Device,
    /// Nothing is heard; time is the clock's.
    Null,
    /// Whoever holds the other end decides when samples are played: for tests.
    Manual(ManualOutput),
}

/// A sound device that plays when it is told to, and the clock that goes with it.
#[derive(Clone, Default)]
pub struct ManualOutput {
    mixer: Arc<Mutex<Option<Mixer>>>,
    /// The clock, moved by what is played.
    pub clock: Arc<ManualClock>,
}

impl ManualOutput {
    /// Samples per second.
    pub const RATE: u32 = NULL_RATE;

    /// Plays interleaved stereo into `out`, as a device's callback would, and moves the clock on by as much.
    pub fn pump(&self, out: &mut [f32]) {
        let mut mixer = self.mixer.lock().unwrap_or_else(PoisonError::into_inner);
        out.fill(0.0);
        if let Some(mixer) = mixer.as_mut() {
            mixer.fill(out, self.clock.now_secs());
        }
        self.clock.advance((out.len() / CHANNELS) as f64 / f64::from(Self::RATE));
    }
}

/// A clip being played. Dropping it stops the sound and joins its threads.
pub struct Playback {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    transport: Arc<Transport>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    wake_picture: Condvar,
    wake_sound: Condvar,
    notify: Box<dyn Fn(MediaEvent) + Send + Sync>,
}

struct State {
    clip: ClipSpec,
    sampling: Sampling,
    quit: bool,
    /// Counts seeks; frames and sound of older ones are stale.
    seek: u64,
    target_secs: f64,
    /// Counts changes of the picture's source.
    picture_version: u64,
    /// Counts what the sound thread has to do: seeks and soundtracks.
    sound_version: u64,
    keep_time: bool,
    /// What opening found out; `None` before.
    opened: Option<Opened>,
    sound_duration_secs: Option<f64>,
    queue: VecDeque<Arc<dyn Planes>>,
    picture_done: bool,
    shown: Option<Arc<dyn Planes>>,
    shown_seek: u64,
    last_position: (u64, f64),
    error: Option<String>,
    output: &'static str,
}

/// Lengths by the picture's file, in seconds; `None` for stills, sound alone and raw streams.
#[derive(Clone, Copy, Default)]
struct Opened {
    /// Of everything in it.
    whole: Option<f64>,
    /// Of its picture.
    picture: Option<f64>,
    /// Where the frames turned out to end, for files that do not say.
    counted: Option<f64>,
}

impl State {
    fn duration_secs(&self) -> Option<f64> {
        let opened = self.opened.unwrap_or_default();
        // A soundtrack of its own may outlast the picture; another one is cut to it.
        let by_picture = match self.clip.audio {
            AudioSource::Original { .. } => opened.whole.or(opened.picture),
            AudioSource::None | AudioSource::File { .. } => opened.picture.or(opened.whole),
        };
        by_picture.or(self.sound_duration_secs).or(opened.counted)
    }

    /// Where playing stops that starts at `from_secs`: at the end of the used part, or of everything.
    fn stop_secs(&self, from_secs: f64) -> f64 {
        let all = self.duration_secs().unwrap_or(f64::INFINITY);
        match self.clip.end_secs {
            Some(end) if from_secs < end - 1e-3 => end.min(all),
            _ => all,
        }
    }
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
            Output::Manual(manual) => Arc::<ManualClock>::clone(&manual.clock),
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
                target_secs: start_secs,
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
                error: None,
                output: "",
            }),
            wake_picture: Condvar::new(),
            wake_sound: Condvar::new(),
            notify: Box::new(notify),
        });
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
        if at >= stop - 1e-3 {
            let start = state.clip.start_secs.unwrap_or(0.0).max(0.0);
            self.shared.seek_to(&mut state, if start < stop - 1e-3 { start } else { 0.0 });
        } else {
            self.shared.transport.set_stop(stop);
        }
        // Under the lock: the sound thread decides under it whether to sleep until it is woken.
        self.shared.transport.playing.store(true, Ordering::Release);
        drop(state);
        self.shared.wake_sound.notify_all();
    }

    /// Stops where it is.
    pub fn pause(&self) {
        self.shared.transport.playing.store(false, Ordering::Release);
    }

    /// Goes to a time, exactly; plays on from there if it was playing.
    pub fn seek(&self, t_secs: f64) {
        let mut state = self.shared.lock();
        let end = state.duration_secs().unwrap_or(f64::INFINITY);
        let t = if t_secs.is_finite() { t_secs.clamp(0.0, end.max(0.0)) } else { 0.0 };
        self.shared.seek_to(&mut state, t);
    }

    /// Shows the frame after the one that is shown; stops playing. Nothing happens after the last one.
    pub fn step_forward(&self) {
        self.pause();
        let mut state = self.shared.lock();
        if let Some(next) = state.queue.front().map(|f| f.pts_secs()) {
            self.shared.seek_to(&mut state, next);
        }
    }

    /// Shows the frame before the one that is shown; stops playing.
    pub fn step_back(&self) {
        self.pause();
        let mut state = self.shared.lock();
        if let Some(shown) = state.shown.as_ref().map(|f| f.pts_secs()) {
            self.shared.seek_to(&mut state, (shown - 4.0 * EPSILON_SECS).max(0.0));
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
        let reshuffled = clip.frames == FrameEdit::Shuffle
            && (old_sampling != sampling || old.start_secs != clip.start_secs || old.end_secs != clip.end_secs);
        let refrozen = clip.frames == FrameEdit::Freeze && old.start_secs != clip.start_secs;
        let same_picture = old.video == clip.video && old.frames == clip.frames && !reshuffled && !refrozen;
        let same_sound = old.audio == clip.audio && (same_picture || old.video == clip.video);
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
        self.shared.transport.set_stop(state.stop_secs(at));
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
        self.shared.transport.playing.load(Ordering::Acquire)
    }

    /// The time that is heard (and should be seen) now, in seconds: samples played less what is still on its way to
    /// the ear. Right after a seek it is the seek's target. Between two seeks it never goes back.
    pub fn position_secs(&self) -> f64 {
        let mut state = self.shared.lock();
        let now = self.shared.clock.now_secs();
        let at = self.shared.transport.position(state.seek, now).unwrap_or(state.target_secs);
        let (seek, last) = state.last_position;
        let at = if seek == state.seek { at.max(last) } else { at };
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
        while let Some(front) = state.queue.front() {
            if state.shown_seek == state.seek && front.pts_secs() > t_secs + EPSILON_SECS {
                break;
            }
            state.shown = state.queue.pop_front();
            state.shown_seek = state.seek;
            taken = true;
        }
        let shown = state.shown.clone();
        drop(state);
        if taken {
            self.shared.wake_picture.notify_all();
        }
        shown
    }

    /// When the next frame is due, in seconds: `None` when none is decoded yet or none follows.
    pub fn next_pts(&self) -> Option<f64> {
        self.shared.lock().queue.front().map(|f| f.pts_secs())
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

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seek_to(&self, state: &mut State, t_secs: f64) {
        state.seek += 1;
        self.transport.wanted_seek.store(state.seek, Ordering::Release);
        state.target_secs = t_secs;
        state.sound_version += 1;
        state.keep_time = false;
        state.queue.clear();
        state.picture_done = false;
        self.transport.set_stop(state.stop_secs(t_secs));
        self.wake_picture.notify_all();
        self.wake_sound.notify_all();
    }

    fn fail(&self, error: &MediaError) {
        let line = error.to_string();
        self.lock().error = Some(line.clone());
        (self.notify)(MediaEvent::Failed(line));
    }
}
