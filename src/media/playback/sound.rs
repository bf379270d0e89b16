//! The sound thread: owns the output, decodes into the newest segment's ring, and sends segments to the mixer.
//! Knows nothing of pictures; the callback itself is the mixer's.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rtrb::{Producer, RingBuffer};

use super::super::error::MediaError;
use super::super::mixer::{CHANNELS, Mixer, MixerLink, Segment};
use super::super::null_sink::{NULL_RATE, NullSink};
use super::super::sink::{Device, DeviceStream};
use super::super::soundtrack::Soundtrack;
use super::super::stretch::Stretch;
use super::{ManualOutput, MediaEvent, Output, Shared};
use crate::clip::{AudioSource, ClipSpec, FrameEdit, SoundEdit};

/// Sound decoded ahead, in seconds.
const AHEAD_SECS: f64 = 0.5;
/// How often the sound thread looks after the ring while playing; it holds many times as much.
const REFILL: Duration = Duration::from_millis(20);

/// Keeps the device or its stand-in alive.
enum Running {
    Device(DeviceStream),
    Null { _sink: Option<NullSink> },
    Manual,
}

/// The thread's state.
pub(super) struct SoundThread {
    shared: Arc<Shared>,
    wanted: Output,
    running: Running,
    link: Option<MixerLink>,
    rate: u32,
    version: u64,
    /// The newest sound first: between two, such as a swapped one and the video's own, nothing is opened anew.
    readers: VecDeque<(ClipSpec, Soundtrack)>,
    /// Whether the first of them is what is heard.
    sounding: bool,
    /// A video that turned out to have no sound.
    mute_file: Option<PathBuf>,
    feed: Option<Feed>,
}

/// Sounds kept open.
const READERS: usize = 2;
/// Frames of silence handed on at a time.
const SILENCE: usize = 4_096;

/// The ring of the newest segment.
struct Feed {
    ring: Producer<f32>,
    complete: Arc<AtomicBool>,
    /// Changes the tempo, unless it is the sound's own.
    stretch: Option<Stretch>,
    /// Index (on the clip's axis, at the device's rate) of the next sample to take.
    next: i64,
    /// Taken and not stretched yet: frames of silence, then samples.
    silence: usize,
    taken: Vec<f32>,
    /// Stretched and not pushed yet.
    pending: Vec<f32>,
    used: usize,
    /// The sound has ended and the stretch has given what it held.
    finished: bool,
}

impl SoundThread {
    pub(super) fn new(shared: Arc<Shared>, wanted: Output) -> Self {
        let running = Running::Manual;
        Self {
            shared,
            wanted,
            running,
            link: None,
            rate: NULL_RATE,
            version: 0,
            readers: VecDeque::new(),
            sounding: false,
            mute_file: None,
            feed: None,
        }
    }

    /// Runs until the playback is dropped.
    pub(super) fn run(mut self) {
        loop {
            let mut state = self.shared.lock();
            loop {
                if state.quit {
                    return;
                }
                if state.opened.is_some() && (self.version != state.sound_version || self.has_work()) {
                    break;
                }
                // While playing, the callback uses up the ring and may reach the end without waking anyone. It says
                // that it reached the end before it stops, so reading in the other order misses nothing.
                let playing = self.shared.transport.is_playing();
                // The end of what was played before a seek is no end.
                if self.shared.transport.ended_seek.swap(0, Ordering::AcqRel) == state.seek {
                    if self.shared.loop_back(&mut state) {
                        continue;
                    }
                    self.shared.stopped(&mut state);
                    drop(state);
                    (self.shared.notify)(MediaEvent::Ended);
                    state = self.shared.lock();
                } else if playing {
                    let waited = self.shared.wake_sound.wait_timeout(state, REFILL);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                } else {
                    state = self.shared.wake_sound.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
            drop(state);
            self.look_after_output();
            let version = self.shared.lock().sound_version;
            if version != self.version {
                self.version = version;
                self.begin();
            } else if let Err(error) = self.fill() {
                self.silent_for(&error);
            }
        }
    }

    fn has_work(&self) -> bool {
        let room = |feed: &Feed| !feed.complete.load(Ordering::Acquire) && feed.ring.slots() >= self.rate as usize / 8;
        self.feed.as_ref().is_some_and(room) || matches!(&self.running, Running::Device(d) if d.failed())
    }

    /// Opens the output when there is none, and replaces a device that went away.
    fn look_after_output(&mut self) {
        let failed = matches!(&self.running, Running::Device(d) if d.failed());
        if self.link.is_some() && !failed {
            return;
        }
        let transport = &self.shared.transport;
        let mut started = None;
        if let (Output::Device, false) = (&self.wanted, failed) {
            started = Device::default_output()
                .and_then(|device| {
                    let rate = device.rate();
                    let (mixer, link) = Mixer::new(Arc::clone(transport), rate);
                    let stream = device.start(mixer, Arc::clone(&self.shared.clock))?;
                    Ok((Running::Device(stream), link, rate, "device"))
                })
                .inspect_err(|e| log::info!("no sound is heard: {e}"))
                .ok();
        }
        let (running, link, rate, name) = started.unwrap_or_else(|| {
            let (mixer, link) = Mixer::new(Arc::clone(transport), NULL_RATE);
            if let Output::Manual(manual) = &self.wanted {
                manual.plug_in(mixer);
                return (Running::Manual, link, ManualOutput::RATE, "manual");
            }
            let sink = NullSink::start(mixer, Arc::clone(&self.shared.clock));
            (Running::Null { _sink: sink }, link, NULL_RATE, "null")
        });
        self.running = running;
        self.link = Some(link);
        self.rate = rate;
        self.readers.clear();
        self.sounding = false;
        self.feed = None;
        let mut state = self.shared.lock();
        state.output = name;
        if failed {
            // Everything on its way to the old device is lost: begin again where it was, or where the newest seek goes
            // when nothing has been heard of it yet.
            if state.last_position.0 == state.seek {
                state.target_secs = state.last_position.1;
            }
            state.sound_version += 1;
            state.keep_time = false;
            drop(state);
            let line = "The sound device went away: playing goes on without sound.".to_owned();
            (self.shared.notify)(MediaEvent::Note(line));
        }
    }

    /// Starts a segment for the newest seek or soundtrack.
    fn begin(&mut self) {
        let (clip, own_sound, speed, seek, keep_time, base_secs) = {
            let state = self.shared.lock();
            let now = self.shared.transport.position(state.seek, self.shared.clock.now_secs());
            // A soundtrack asked for before its seek reached the device is simply that seek's sound.
            let keep = state.keep_time && now.is_some();
            let base_secs = if keep { now.unwrap_or(0.0) } else { state.target_secs };
            (state.heard(), state.own_sound, state.speed, state.seek, keep, base_secs)
        };
        if !keep_time {
            // What was heard before a jump is over.
            self.feed = None;
        }
        // Backwards there is nothing to hear.
        let mut opened = if speed > 0.0 { self.open_sound(&clip) } else { Ok(false) };
        if matches!(opened, Err(MediaError::Cancelled)) {
            // Something newer is wanted; until that is there, what is heard goes on.
            return;
        }
        if speed > 0.0 && !own_sound {
            // The clip is not longer or shorter for a sound that is heard as long as a key is held.
            let mute = matches!(clip.audio, AudioSource::Original { .. }).then_some(0.0);
            let sound = self.readers.front().filter(|_| self.sounding);
            self.know_end(sound.map_or(mute, |(_, sound)| sound.end_secs()));
        }
        // Time may have gone on while a sound was opened beside the one that is heard.
        let base_secs = {
            let state = self.shared.lock();
            let now = self.shared.transport.position(state.seek, self.shared.clock.now_secs());
            now.filter(|_| keep_time && state.seek == seek).unwrap_or(base_secs)
        };
        let (ring, samples) = RingBuffer::new((f64::from(self.rate) * AHEAD_SECS) as usize * CHANNELS);
        let complete = Arc::new(AtomicBool::new(false));
        let next = (base_secs * f64::from(self.rate)).round() as i64;
        self.feed = Some(Feed {
            ring,
            complete: Arc::clone(&complete),
            stretch: (speed > 0.0 && speed != 1.0).then(|| Stretch::new(self.rate, speed)),
            next,
            silence: 0,
            taken: Vec::new(),
            pending: Vec::new(),
            used: 0,
            finished: false,
        });
        if let Ok(true) = opened
            && let Some((_, sound)) = self.readers.front_mut()
        {
            opened = sound.seek(base_secs.max(0.0)).map(|()| true);
        }
        match opened {
            Ok(true) => {
                // A segment arrives with something in it, so that a seek while playing does not start with a hole.
                if let Err(error) = self.fill() {
                    self.silent_for(&error);
                }
            }
            Ok(false) => complete.store(true, Ordering::Release),
            Err(error) => self.silent_for(&error),
        }
        let mut segment = Segment { samples, complete, base_secs, seek, keep_time, speed };
        let Some(link) = &mut self.link else { return };
        while let Err(back) = link.send(segment) {
            // The device has not called for a while; it will, or the playback ends.
            let state = self.shared.lock();
            if state.quit || state.sound_version != self.version {
                return;
            }
            drop(self.shared.wake_sound.wait_timeout(state, REFILL));
            segment = back;
        }
    }

    /// Has the clip's sound be the first of the readers. False when there is no sound. What is heard goes on meanwhile.
    fn open_sound(&mut self, clip: &ClipSpec) -> Result<bool, MediaError> {
        let heard_before = std::mem::replace(&mut self.sounding, false);
        let original = matches!(clip.audio, AudioSource::Original { .. });
        if original && self.mute_file.is_some() && self.mute_file == clip.video {
            return Ok(false);
        }
        // What a sound is opened for; how far it is shifted and how loud it is can change on the way.
        let sound = SoundEdit { repeat: clip.sound.repeat, ..SoundEdit::default() };
        let heard = ClipSpec { frames: FrameEdit::Keep, start_secs: None, sound, ..clip.clone() };
        if let Some(known) = self.readers.iter().position(|(of, _)| *of == heard) {
            self.readers.swap(0, known);
        } else {
            let (version, shared) = (self.version, &*self.shared);
            let before = self.readers.front_mut().filter(|_| heard_before).map(|(_, sound)| sound);
            let before = RefCell::new(self.feed.as_mut().zip(before));
            let stale = || {
                if let Some((feed, sound)) = before.borrow_mut().as_mut() {
                    // Whatever is wrong with it will soon be of no interest.
                    let _ = feed.fill(sound, &|| shared.stale(version));
                }
                shared.stale(version)
            };
            match Soundtrack::open(clip, self.rate, CHANNELS, &stale) {
                // A video without sound plays in silence.
                Err(MediaError::NoAudio(path)) if original => {
                    self.mute_file = Some(path);
                    return Ok(false);
                }
                Err(MediaError::Cancelled) => {
                    self.sounding = heard_before;
                    return Err(MediaError::Cancelled);
                }
                opened => match opened? {
                    None => return Ok(false),
                    Some(sound) => self.readers.push_front((heard, sound)),
                },
            }
            self.readers.truncate(READERS);
        }
        let Some((_, sound)) = self.readers.front_mut() else { return Ok(false) };
        sound.set_edit(clip.sound);
        self.sounding = true;
        Ok(true)
    }

    /// Takes note of where the sound ends, if that is known; 0 for a file that has none.
    fn know_end(&self, end_secs: Option<f64>) {
        let mut state = self.shared.lock();
        if state.sound_duration_secs != end_secs {
            state.sound_duration_secs = end_secs;
            self.shared.renew_bounds(&mut state);
            drop(state);
            (self.shared.notify)(MediaEvent::Length);
        }
    }

    /// Pushes decoded sound until the ring is full, the file ends, or something newer is wanted.
    fn fill(&mut self) -> Result<(), MediaError> {
        let sound = self.readers.front_mut().filter(|_| self.sounding);
        let (Some(feed), Some((_, sound))) = (&mut self.feed, sound) else { return Ok(()) };
        if let Some(link) = &mut self.link {
            link.sweep();
        }
        let (version, shared) = (self.version, &*self.shared);
        feed.fill(sound, &|| shared.stale(version))?;
        let end_secs = sound.end_secs().filter(|_| feed.finished);
        let unknown = {
            let state = self.shared.lock();
            state.sound_duration_secs.is_none() && !state.own_sound
        };
        if end_secs.is_some() && unknown {
            // A recording that does not say how long it is ends where its sound does.
            self.know_end(end_secs);
        }
        Ok(())
    }

    /// The sound cannot be played: says so, and lets time run in silence.
    fn silent_for(&mut self, error: &MediaError) {
        if let Some(feed) = &self.feed {
            feed.complete.store(true, Ordering::Release);
        }
        if self.sounding {
            self.readers.pop_front();
        }
        self.sounding = false;
        self.shared.fail(error);
    }
}

impl Feed {
    /// Takes from `sound` until the ring is full, the sound ends, or it is stale.
    fn fill(&mut self, sound: &mut Soundtrack, stale: &dyn Fn() -> bool) -> Result<(), MediaError> {
        while self.push() {
            if self.finished {
                self.complete.store(true, Ordering::Release);
                break;
            }
            if stale() {
                break;
            }
            match sound.next_chunk()? {
                Some(chunk) => self.take(chunk.start, chunk.samples),
                None => self.finish(),
            }
        }
        Ok(())
    }

    /// Takes a run of samples whose first one has index `start`: a hole before it becomes silence, what is too late
    /// is dropped.
    fn take(&mut self, start: i64, mut samples: Vec<f32>) {
        let hole = start - self.next;
        self.silence = hole.max(0) as usize;
        let late = ((-hole).max(0) as usize * CHANNELS).min(samples.len());
        self.next = self.next.max(start + (samples.len() / CHANNELS) as i64);
        samples.drain(..late);
        self.taken = samples;
    }

    /// The sound has ended: what the stretch holds is pending now.
    fn finish(&mut self) {
        self.finished = true;
        (self.used, self.pending) = (0, Vec::new());
        if let Some(stretch) = &mut self.stretch {
            stretch.finish(&mut self.pending);
        }
    }

    /// Pushes what was taken; true when all of it went in.
    fn push(&mut self) -> bool {
        loop {
            let (_, rest) = self.ring.push_partial_slice(&self.pending[self.used..]);
            self.used = self.pending.len() - rest.len();
            if !rest.is_empty() {
                return false;
            }
            let piece = if self.silence > 0 {
                let frames = self.silence.min(SILENCE);
                self.silence -= frames;
                vec![0.0; frames * CHANNELS]
            } else if self.taken.is_empty() {
                return true;
            } else {
                std::mem::take(&mut self.taken)
            };
            self.used = 0;
            if let Some(stretch) = &mut self.stretch {
                self.pending.clear();
                stretch.push(&piece, &mut self.pending);
            } else {
                self.pending = piece;
            }
        }
    }
}
