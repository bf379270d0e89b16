//! What a playback's threads share: where it is, what was asked for, the frames that are ready. Knows nothing of how frames
//! and sound are made.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{LOGGED, MediaEvent};
use crate::clip::{AudioSource, ClipSpec, SoundEdit};
use crate::frame::Planes;
use crate::media::clock::Clock;
use crate::media::error::MediaError;
use crate::media::reader::EPSILON_SECS;
use crate::media::transport::Transport;
use crate::settings::Sampling;
use crate::time::Span;

/// Near frames that take longer are too slow to follow a hand.
const SLOW: Duration = Duration::from_millis(50);
/// How long a hand waits for one before it is shown another picture.
const PATIENCE: Duration = Duration::from_millis(30);

pub(super) struct Shared {
    pub(super) transport: Arc<Transport>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) state: Mutex<State>,
    pub(super) wake_picture: Condvar,
    pub(super) wake_sound: Condvar,
    pub(super) notify: Box<dyn Fn(MediaEvent) + Send + Sync>,
}

#[allow(clippy::struct_excessive_bools, reason = "independent facts, each read by one thread")]
pub(super) struct State {
    pub(super) clip: ClipSpec,
    pub(super) sampling: Sampling,
    pub(super) quit: bool,
    // Where time is to go: `seek` counts every jump, and the sound of older ones is stale. The frames in `queue` belong to
    // `picture_seek`, which is `seek` but for steps to frames that were in the queue already: these move time and sound
    // alone, so picture_seek ≤ seek. `shown` belongs to `shown_seek`, and to the newest jump once shown_seek ≥ picture_seek.
    // `steps` and `snaps` say what else is to be done once the first frame of `picture_seek` is there.
    /// Counts seeks; sound of older ones is stale.
    pub(super) seek: u64,
    /// The newest seek that the frames in `queue` belong to: a step to a frame that is ready moves the sound alone.
    pub(super) picture_seek: u64,
    /// Steps forward (or back, when negative) that wait for their frames.
    pub(super) steps: i32,
    /// The newest seek went to the frame before another one: time is that frame's once it is known.
    pub(super) snaps: bool,
    /// A step has shown a frame that the owner has not been told of.
    pub(super) announce: bool,
    /// Frames were passed over since the newest seek, to keep up with time: what is shown is not exact.
    pub(super) hurried: bool,
    pub(super) target_secs: f64,
    /// The seek is one of many while a hand moves: any near frame will do at first, and time stands.
    pub(super) rough: bool,
    /// Seconds of the clip per second of playing; negative runs backwards, without sound.
    pub(super) speed: f64,
    /// What is played again and again.
    pub(super) repeat: Option<Span>,
    /// The video's own sound is heard in place of the clip's.
    pub(super) own_sound: bool,
    /// Counts changes of the picture's source.
    pub(super) picture_version: u64,
    /// Counts what the sound thread has to do: seeks and soundtracks.
    pub(super) sound_version: u64,
    pub(super) keep_time: bool,
    /// What opening found out; `None` before.
    pub(super) opened: Option<Opened>,
    pub(super) sound_duration_secs: Option<f64>,
    pub(super) queue: VecDeque<Arc<dyn Planes>>,
    pub(super) picture_done: bool,
    pub(super) shown: Option<Arc<dyn Planes>>,
    pub(super) shown_seek: u64,
    pub(super) last_position: (u64, f64),
    /// How late frames were taken while playing, in seconds of playing, newest last.
    pub(super) late_secs: VecDeque<f64>,
    /// How far the time that was heard lay outside the shown frame's own time whenever a frame was asked for while
    /// playing, in seconds of playing, newest last.
    pub(super) off_secs: VecDeque<f64>,
    /// How long the frame that was shown before lasted, in seconds.
    pub(super) frame_secs: f64,
    /// When a hand moved last, while it holds on.
    pub(super) scrubbed: Option<Instant>,
    /// How long the newest near frame took that was shown to a moving hand.
    pub(super) near_time: Option<Duration>,
    pub(super) error: Option<String>,
    pub(super) output: &'static str,
}

/// Lengths by the picture's file, in seconds; `None` for stills, sound alone and raw streams.
#[derive(Clone, Copy, Default)]
pub(super) struct Opened {
    /// Of everything in it.
    pub(super) whole: Option<f64>,
    /// Of its picture.
    pub(super) picture: Option<f64>,
    /// Where the frames turned out to end.
    pub(super) counted: Option<f64>,
    /// Whether there are frames in time: a picture that is no still.
    pub(super) moving: bool,
}

impl State {
    pub(super) fn duration_secs(&self) -> Option<f64> {
        let Opened { whole, picture, counted, moving } = self.opened.unwrap_or_default();
        let sound = self.sound_duration_secs;
        match self.clip.audio {
            // A still is as long as another sound, whatever it is by itself.
            _ if !moving => whole.or(sound.filter(|secs| *secs > 0.0)).or(counted.filter(|_| !self.sound_fills())),
            // A soundtrack of its own may outlast the picture, or the picture it: the longer one is known once both are.
            AudioSource::Original { .. } => whole.or_else(|| sound.zip(counted).map(|(a, b)| a.max(b))).or(picture),
            // Another one is cut to the picture.
            AudioSource::None | AudioSource::File { .. } | AudioSource::Silence | AudioSource::Noise { .. } => {
                picture.or(counted).or(whole)
            }
        }
    }

    /// Where playing stops that starts at `from_secs`: at the end of the loop, of the used part, or of everything.
    pub(super) fn stop_secs(&self, from_secs: f64) -> f64 {
        let all = self.duration_secs().unwrap_or(f64::INFINITY);
        let before = |end: &f64| from_secs < end - 1e-3;
        let end = self.repeat.map(|l| l.end_secs).filter(before).or(self.clip.end_secs.filter(before));
        end.map_or(all, |end| end.min(all))
    }

    /// Where playing backwards stops that starts at `from_secs`.
    pub(super) fn start_secs(&self, from_secs: f64) -> f64 {
        let after = |start: &f64| from_secs > start - 1e-3;
        self.repeat.map(|l| l.start_secs).filter(after).unwrap_or(0.0)
    }

    /// Whether a picture that stands still is shown for as long as a sound that is not its own.
    pub(super) fn sound_fills(&self) -> bool {
        matches!(self.clip.audio, AudioSource::File { .. }) || self.clip.audio.is_made_up()
    }

    /// The clip whose sound is heard: the clip, or the same with the video's own sound.
    pub(super) fn heard(&self) -> ClipSpec {
        let mut clip = self.clip.clone();
        if self.own_sound && clip.video.is_some() {
            (clip.audio, clip.sound) = (AudioSource::Original { track: None }, SoundEdit::default());
        }
        clip
    }

    /// In how long a hand will have moved without seeing what it moves to for longer than [`PATIENCE`], at once where near
    /// frames take longer than [`SLOW`]; `None` where it sees it.
    pub(super) fn near_late_in(&self) -> Option<Duration> {
        let awaited = self.rough && self.shown_seek < self.picture_seek && self.queue.is_empty();
        let slow = self.near_time.is_some_and(|took| took > SLOW);
        let waited = self.scrubbed.filter(|_| awaited)?.elapsed();
        Some(if slow { Duration::ZERO } else { PATIENCE.saturating_sub(waited) })
    }

    pub(super) fn backwards(&self) -> bool {
        self.speed < 0.0
    }

    /// The frame that is shown, if it belongs to the newest seek.
    pub(super) fn shown_now(&self) -> Option<&Arc<dyn Planes>> {
        self.shown.as_ref().filter(|_| self.shown_seek >= self.picture_seek)
    }

    /// Logs how far `t_secs` lies outside the shown frame's own time. Nothing is known before the first frame after a
    /// seek, and backwards, where frames are shown until they are over, nothing is logged.
    pub(super) fn log_offset(&mut self, t_secs: f64) {
        let Some(shown) = self.shown_now().filter(|_| !self.backwards()) else {
            return;
        };
        let start = shown.pts_secs();
        match self.queue.front() {
            Some(next) => self.frame_secs = next.pts_secs() - start,
            // The last frame stands, and so does one for all time.
            None if self.picture_done => return,
            None => {}
        }
        let off = (start - t_secs).max(t_secs - start - self.frame_secs).max(0.0);
        self.off_secs.push_back(off / self.speed);
        if self.off_secs.len() > LOGGED {
            self.off_secs.pop_front();
        }
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn seek_to(&self, state: &mut State, t_secs: f64) {
        self.move_time(state, t_secs);
        state.picture_seek = state.seek;
        (state.steps, state.snaps, state.hurried) = (0, false, false);
        state.queue.clear();
        state.picture_done = false;
        self.wake_picture.notify_all();
    }

    /// Time goes on elsewhere: what the sound does of a seek.
    fn move_time(&self, state: &mut State, t_secs: f64) {
        state.seek += 1;
        self.transport.wanted_seek.store(state.seek, Ordering::Release);
        state.target_secs = t_secs;
        state.sound_version += 1;
        state.keep_time = false;
        self.set_bounds(state, t_secs);
        self.wake_sound.notify_all();
    }

    /// Goes to the frame before the one that begins at `pts_secs`, and then back by as many as still wait.
    pub(super) fn step_before(&self, state: &mut State, pts_secs: f64, waiting: i32) {
        self.seek_to(state, (pts_secs - 4.0 * EPSILON_SECS).max(0.0));
        (state.steps, state.snaps, state.rough) = (-waiting, true, false);
    }

    /// The first frame of the newest seek, which begins at `pts_secs`, is ready.
    pub(super) fn arrived(&self, state: &mut State, pts_secs: f64) {
        if state.steps < 0 {
            let waiting = -state.steps - 1;
            self.step_before(state, pts_secs, waiting);
        } else if std::mem::take(&mut state.snaps) {
            self.move_time(state, pts_secs);
        }
    }

    /// Time stands: where frames were passed over to keep up with it, the exact one is sought.
    pub(super) fn stopped(&self, state: &mut State) {
        if state.hurried {
            let at_secs = self.heard_secs(state);
            self.seek_to(state, at_secs);
        }
    }

    /// Shows the frames that steps forward wait for, as far as they are ready: nothing is decoded anew.
    pub(super) fn take_steps(&self, state: &mut State) {
        while state.steps > 0 {
            // The frame of the newest seek comes before the one after it.
            if state.shown_seek < state.picture_seek
                && let Some(first) = state.queue.pop_front()
            {
                (state.shown, state.shown_seek) = (Some(first), state.seek);
            }
            let Some(next) = state.queue.pop_front() else { break };
            state.steps -= 1;
            state.rough = false;
            self.move_time(state, next.pts_secs());
            (state.shown, state.shown_seek) = (Some(next), state.seek);
            self.transport.picture_ready.store(state.seek, Ordering::Release);
            state.announce = true;
        }
        if state.picture_done {
            // Nothing follows the last frame.
            state.steps = state.steps.min(0);
        }
        self.wake_picture.notify_all();
    }

    /// Takes frames out of a queue that nobody looks at: those whose successor is due already. Returns how long until
    /// there is one, zero when there was; `None` when time does not run that way or no frame follows.
    pub(super) fn drop_overdue(&self, state: &mut State) -> Option<Duration> {
        if !self.transport.is_playing() || state.backwards() || state.picture_done {
            return None;
        }
        let next = state.queue.get(1)?.pts_secs();
        // Until the sound has begun, time stands.
        let at = self.heard_secs(state);
        if next <= at + EPSILON_SECS {
            state.queue.pop_front();
            return Some(Duration::ZERO);
        }
        Some(Duration::from_secs_f64(((next - at) / state.speed).clamp(0.001, 0.1)))
    }

    /// The time that is heard now and its speed, where it runs.
    pub(super) fn running_secs(&self) -> Option<(f64, f64)> {
        let state = self.lock();
        self.transport.is_playing().then(|| (self.heard_secs(&state), state.speed))
    }

    /// Whether what the sound thread does for a version is no longer wanted.
    pub(super) fn stale(&self, sound_version: u64) -> bool {
        let state = self.lock();
        state.quit || state.sound_version != sound_version
    }

    /// The time that is heard now: until the sound has begun, where the newest seek goes.
    pub(super) fn heard_secs(&self, state: &State) -> f64 {
        self.transport.position(state.seek, self.clock.now_secs()).unwrap_or(state.target_secs)
    }

    /// A length became known or changed: tells the mixer where time that runs now stops, and comes back to what is left
    /// where time is beyond it.
    pub(super) fn renew_bounds(&self, state: &mut State) {
        if self.transport.ended_seek.load(Ordering::Acquire) == state.seek {
            // It has just stopped or turns round.
            return;
        }
        let at_secs = self.heard_secs(state);
        match state.duration_secs().filter(|end| at_secs > end + 1e-3) {
            Some(end) => self.seek_to(state, end),
            None => self.set_bounds(state, at_secs),
        }
    }

    /// Tells the mixer where time that runs from `from_secs` stops.
    pub(super) fn set_bounds(&self, state: &State, from_secs: f64) {
        let (start, stop) = (state.start_secs(from_secs), state.stop_secs(from_secs));
        self.transport.set_start(start);
        self.transport.set_stop(stop);
        let looping = state.repeat.is_some_and(|l| {
            let end = l.end_secs.min(state.duration_secs().unwrap_or(f64::INFINITY));
            if state.backwards() { start == l.start_secs && from_secs > start - 1e-3 } else { stop == end }
        });
        self.transport.looping.store(looping, Ordering::Release);
    }

    /// At the end of a loop: goes to its beginning. False when there is none to go on with.
    pub(super) fn loop_back(&self, state: &mut State) -> bool {
        let looping = self.transport.looping.load(Ordering::Acquire);
        let Some(span) = state.repeat.filter(|_| looping) else { return false };
        let to = if state.backwards() { span.end_secs } else { span.start_secs };
        self.seek_to(state, to);
        true
    }

    pub(super) fn fail(&self, error: &MediaError) {
        let line = error.to_string();
        self.lock().error = Some(line.clone());
        (self.notify)(MediaEvent::Failed(line));
    }
}
