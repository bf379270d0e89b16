//! What the audio callback does: takes samples from a lock-free ring, ramps them in and out, and counts what was
//! played, which is the time. It never locks, allocates, frees, logs or waits.
//! Knows nothing of devices, files or FFmpeg.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rtrb::{Consumer, Producer, RingBuffer};

use super::transport::{Reading, Transport};

/// Channels of everything between decoder and device: left and right.
pub(crate) const CHANNELS: usize = 2;
/// Length of every ramp: start, stop, seek, swap, volume. Short enough to feel immediate, long enough not to click.
const RAMP_SECS: f64 = 0.005;
/// Segments on their way to the mixer and back.
const MAILBOX: usize = 8;

/// A stretch of sound on the clip's axis: what plays from one seek (or swap) to the next.
pub(crate) struct Segment {
    /// Interleaved stereo samples.
    pub(crate) samples: Consumer<f32>,
    /// Set by the producer after its last sample: an empty ring is then silence, not an underrun.
    pub(crate) complete: Arc<AtomicBool>,
    /// Time of the first sample, in seconds.
    pub(crate) base_secs: f64,
    /// The seek this belongs to.
    pub(crate) seek: u64,
    /// Time goes on from where it is (another soundtrack) instead of jumping to `base_secs`.
    pub(crate) keep_time: bool,
    /// Seconds of the clip per second of playing: the samples are stretched so already. Negative runs backwards.
    pub(crate) speed: f64,
}

/// The sending side of a mixer's mailbox.
pub(crate) struct MixerLink {
    segments: Producer<Segment>,
    spent: Consumer<Segment>,
}

impl MixerLink {
    /// Hands over a segment; gives it back when the mixer has not taken the earlier ones yet.
    pub(crate) fn send(&mut self, segment: Segment) -> Result<(), Segment> {
        self.sweep();
        self.segments.push(segment).map_err(|rtrb::PushError::Full(s)| s)
    }

    /// Frees what the mixer has done with; the callback itself frees nothing.
    pub(crate) fn sweep(&mut self) {
        while self.spent.pop().is_ok() {}
    }
}

/// The audio callback's state.
pub(crate) struct Mixer {
    transport: Arc<Transport>,
    incoming: Consumer<Segment>,
    spent: Producer<Segment>,
    current: Option<Segment>,
    next: Option<Segment>,
    rate: f64,
    /// Frames played of the current segment.
    played: u64,
    /// Frames to throw away, since time went on while a new soundtrack was prepared.
    skip: u64,
    /// The transport's gain, 0 when stopped.
    fade: f32,
    /// The volume as it is now.
    level: f32,
    /// Below 1 where the ring is about to run dry, so that a hole begins with a ramp too.
    supply: f32,
    step: f32,
    heard_at_secs: f64,
    /// When the last of the segment before this one is heard, and its speed (0 after a jump).
    before_until_secs: f64,
    before_speed: f64,
}

impl Mixer {
    /// A mixer for a device rate, and the link that feeds it.
    pub(crate) fn new(transport: Arc<Transport>, rate: u32) -> (Self, MixerLink) {
        let (segments, incoming) = RingBuffer::new(MAILBOX);
        let (spent, done) = RingBuffer::new(MAILBOX * 2);
        let rate = f64::from(rate.max(1));
        let level = transport.level();
        let mixer = Self {
            transport,
            incoming,
            spent,
            current: None,
            next: None,
            rate,
            played: 0,
            skip: 0,
            fade: 0.0,
            level,
            supply: 1.0,
            step: (1.0 / (RAMP_SECS * rate)) as f32,
            heard_at_secs: 0.0,
            before_until_secs: 0.0,
            before_speed: 0.0,
        };
        (mixer, MixerLink { segments, spent: done })
    }

    /// Fills interleaved stereo; the first frame of `out` will be heard at `heard_at_secs` of the clock.
    pub(crate) fn fill(&mut self, out: &mut [f32], heard_at_secs: f64) {
        self.receive();
        let play = self.transport.play.load(Ordering::Acquire);
        let playing = play != 0;
        let level = self.transport.level();
        let bounds = self.transport.bounds();
        let mut missing = false;
        let mut stopped = false;
        let mut last_played = None;
        for (i, frame) in out.as_chunks_mut::<CHANNELS>().0.iter_mut().enumerate() {
            *frame = [0.0; CHANNELS];
            if self.fade == 0.0 && self.next.is_some() {
                self.install();
            }
            let run = playing && !stopped && self.next.is_none() && self.may_run();
            let target = if run { 1.0 } else { 0.0 };
            self.fade = approach(self.fade, target, self.step);
            if self.fade == 0.0 {
                continue;
            }
            let left_secs = self.left_secs(bounds);
            match self.take(left_secs) {
                Taken::Frame(samples, ahead) => {
                    self.level = approach(self.level, level, self.step);
                    let enough = (ahead as f32 * self.step).min(1.0);
                    self.supply = enough.min(approach(self.supply, 1.0, self.step));
                    let ending = (left_secs / RAMP_SECS).min(1.0) as f32;
                    let gain = self.fade * self.level * self.supply.min(ending);
                    *frame = samples.map(|s| s * gain);
                    last_played = Some(i + 1);
                }
                Taken::Missing => {
                    missing = true;
                    (self.fade, self.supply) = (0.0, 1.0);
                }
                Taken::End => {
                    stopped = self.is_wanted();
                    self.fade = 0.0;
                }
            }
        }
        if self.fade == 0.0 {
            self.level = level;
        }
        if missing {
            self.transport.underruns.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(current) = self.current.as_ref().filter(|_| stopped && playing) {
            // In this order: whoever sees that playing stopped also sees why.
            self.transport.ended_seek.store(current.seek, Ordering::Release);
            if !self.transport.looping.load(Ordering::Acquire) {
                // Unless somebody has just begun to play anew.
                let _ = self.transport.play.compare_exchange(play, 0, Ordering::AcqRel, Ordering::Relaxed);
            }
        }
        if let Some(frames) = last_played {
            self.heard_at_secs = heard_at_secs + frames as f64 / self.rate;
        }
        if let Some(current) = &self.current {
            self.transport.publish(Reading {
                seek: current.seek,
                from_secs: current.base_secs,
                before_until_secs: self.before_until_secs,
                before_speed: self.before_speed,
                end_secs: self.end_secs(),
                heard_at_secs: self.heard_at_secs,
                speed: current.speed,
            });
        }
    }

    /// Takes the newest segment out of the mailbox; older ones are stale.
    fn receive(&mut self) {
        while self.spent.slots() > 1 {
            let Ok(newer) = self.incoming.pop() else { return };
            if let Some(mut stale) = self.next.replace(newer) {
                // A new soundtrack right after a seek: the seek's jump must not be lost.
                if let Some(next) = self.next.as_mut().filter(|next| next.keep_time && !stale.keep_time) {
                    next.keep_time = false;
                    std::mem::swap(&mut next.base_secs, &mut stale.base_secs);
                }
                // There is room: checked above.
                let _ = self.spent.push(stale);
            }
        }
    }

    fn install(&mut self) {
        if self.spent.slots() == 0 {
            return;
        }
        let Some(mut next) = self.next.take() else { return };
        self.skip = 0;
        (self.before_until_secs, self.before_speed) = (0.0, 0.0);
        if next.keep_time {
            let now = self.end_secs();
            if let Some(old) = &self.current {
                let ahead_secs = ((now - next.base_secs) / next.speed).max(0.0);
                self.skip = (ahead_secs * self.rate).round() as u64;
                next.base_secs = now;
                (self.before_until_secs, self.before_speed) = (self.heard_at_secs, old.speed);
            }
        } else {
            // What is still on its way to the ear belongs to before the jump.
            self.heard_at_secs = 0.0;
        }
        self.played = 0;
        if let Some(old) = self.current.replace(next) {
            let _ = self.spent.push(old);
        }
    }

    /// Frames that are ready to be played; `usize::MAX` where none is missing.
    pub(crate) fn ready(&self) -> usize {
        self.current.as_ref().map_or(0, |current| {
            let complete = current.complete.load(Ordering::Acquire);
            if complete { usize::MAX } else { (current.samples.slots() / CHANNELS).saturating_sub(self.skip as usize) }
        })
    }

    fn may_run(&self) -> bool {
        let ready = self.transport.picture_ready.load(Ordering::Acquire);
        self.is_wanted() && self.current.as_ref().is_some_and(|c| ready >= c.seek)
    }

    fn is_wanted(&self) -> bool {
        let wanted = self.transport.wanted_seek.load(Ordering::Acquire);
        self.current.as_ref().is_some_and(|c| c.seek >= wanted)
    }

    fn end_secs(&self) -> f64 {
        self.current.as_ref().map_or(0.0, |c| c.base_secs + self.played as f64 / self.rate * c.speed)
    }

    /// Seconds of playing until it stops by itself.
    fn left_secs(&self, [start, stop]: [f64; 2]) -> f64 {
        let speed = self.current.as_ref().map_or(1.0, |c| c.speed);
        (if speed < 0.0 { start } else { stop } - self.end_secs()) / speed
    }

    fn take(&mut self, left_secs: f64) -> Taken {
        let Some(current) = &mut self.current else { return Taken::Missing };
        if left_secs <= 0.0 {
            return Taken::End;
        }
        while self.skip > 0 && current.samples.slots() >= CHANNELS {
            let _ = (current.samples.pop(), current.samples.pop());
            self.skip -= 1;
        }
        // Read before the ring: everything pushed before it was set is then seen.
        let complete = current.complete.load(Ordering::Acquire);
        if current.samples.slots() < CHANNELS || self.skip > 0 {
            if !complete {
                return Taken::Missing;
            }
            self.skip = 0;
            self.played += 1;
            return Taken::Frame([0.0; CHANNELS], usize::MAX);
        }
        self.played += 1;
        let ahead = if complete { usize::MAX } else { current.samples.slots() / CHANNELS - 1 };
        let mut next = || current.samples.pop().unwrap_or(0.0);
        Taken::Frame([next(), next()], ahead)
    }
}

enum Taken {
    /// A frame, and how many are there after it.
    Frame([f32; CHANNELS], usize),
    Missing,
    End,
}

fn approach(from: f32, to: f32, step: f32) -> f32 {
    if from < to { (from + step).min(to) } else { (from - step).max(to) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 48_000;

    fn segment(samples: &[f32], seek: u64, base_secs: f64) -> Segment {
        let (mut producer, consumer) = RingBuffer::new(samples.len().max(1));
        for s in samples {
            producer.push(*s).unwrap();
        }
        let complete = Arc::new(AtomicBool::new(true));
        Segment { samples: consumer, complete, base_secs, seek, keep_time: false, speed: 1.0 }
    }

    fn start() -> (Arc<Transport>, Mixer, MixerLink) {
        let transport = Arc::new(Transport::new());
        transport.start();
        transport.picture_ready.store(u64::MAX, Ordering::Release);
        let (mixer, link) = Mixer::new(Arc::clone(&transport), RATE);
        (transport, mixer, link)
    }

    #[test]
    fn time_is_what_was_played_less_what_is_not_heard_yet() {
        let (transport, mut mixer, mut link) = start();
        assert_eq!(transport.position(1, 0.0), None, "nothing has reached the device");
        assert!(link.send(segment(&vec![0.5; 2 * 4800], 1, 10.0)).is_ok());
        let mut out = [0.0; 960];
        // 10 ms, heard 20 ms after the callback at 5.0.
        mixer.fill(&mut out, 5.02);
        assert_eq!(transport.position(1, 5.0), Some(10.0), "never before the seek's target");
        assert!((transport.position(1, 5.025).unwrap() - 10.005).abs() < 1e-9);
        assert!((transport.position(1, 6.0).unwrap() - 10.01).abs() < 1e-9, "never ahead of what was played");
        assert_eq!(transport.position(2, 6.0), None, "a newer seek is not there yet");
    }

    #[test]
    fn every_change_is_a_ramp() {
        let (transport, mut mixer, mut link) = start();
        assert!(link.send(segment(&vec![0.8; 2 * 48_000], 1, 0.0)).is_ok());
        let mut all = Vec::new();
        let mut run = |mixer: &mut Mixer, frames: usize| {
            let mut out = vec![0.0; frames * 2];
            mixer.fill(&mut out, 0.0);
            all.extend(out.chunks(2).map(|f| f[0]));
        };
        run(&mut mixer, 600);
        transport.stop();
        run(&mut mixer, 600);
        transport.start();
        run(&mut mixer, 600);
        transport.set_muted(true);
        run(&mut mixer, 600);
        transport.set_muted(false);
        run(&mut mixer, 600);
        assert!(link.send(segment(&vec![-0.8; 2 * 48_000], 2, 3.0)).is_ok());
        run(&mut mixer, 900);
        let steepest = all.windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max);
        assert!(steepest < 0.8 * 1.01 / (0.005 * 48_000.0) as f32, "{steepest}");
        assert_eq!((all[599], all[1199], all[1799], all[2399]), (0.8, 0.0, 0.8, 0.0));
        assert_eq!(all.last(), Some(&-0.8));
        assert!(transport.position(2, 1e9).unwrap() > 3.0);
        assert_eq!(transport.underruns.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn missing_samples_are_counted_and_stop_time() {
        let (transport, mut mixer, mut link) = start();
        let short = segment(&[0.1; 2 * 100], 1, 0.0);
        let complete = Arc::clone(&short.complete);
        complete.store(false, Ordering::Release);
        assert!(link.send(short).is_ok());
        let mut out = [0.0; 2 * 480];
        mixer.fill(&mut out, 0.0);
        assert_eq!(transport.underruns.load(Ordering::Relaxed), 1);
        let held = transport.position(1, 1e9).unwrap();
        assert!((held - 100.0 / 48_000.0).abs() < 1e-9);
        mixer.fill(&mut out, 0.0);
        assert_eq!(transport.position(1, 1e9), Some(held));
        // Once the producer is done, silence is right and time goes on.
        complete.store(true, Ordering::Release);
        mixer.fill(&mut out, 0.0);
        assert!(transport.position(1, 1e9).unwrap() > held);
    }

    #[test]
    fn a_hole_begins_and_ends_with_a_ramp() {
        let (transport, mut mixer, mut link) = start();
        let (mut producer, samples) = RingBuffer::new(2 * 9_600);
        let complete = Arc::new(AtomicBool::new(false));
        let given = Segment { samples, complete, base_secs: 0.0, seek: 1, keep_time: false, speed: 1.0 };
        assert!(link.send(given).is_ok());
        let mut all = Vec::new();
        for _ in 0..3 {
            for _ in 0..2 * 1_000 {
                producer.push(0.8).unwrap();
            }
            for _ in 0..4 {
                let mut out = vec![0.0; 2 * 480];
                mixer.fill(&mut out, 0.0);
                all.extend(out.chunks(2).map(|f| f[0]));
            }
        }
        assert_eq!(transport.underruns.load(Ordering::Relaxed), 6);
        let as_it_was = all.iter().filter(|s| **s == 0.8).count();
        assert!((3 * 519..=3 * 521).contains(&as_it_was), "{as_it_was}: only the ramps are quieter");
        let steepest = all.windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max);
        assert!(steepest < 0.8 * 1.01 / (0.005 * 48_000.0) as f32, "{steepest}");
    }

    #[test]
    fn playing_stops_at_the_end_by_itself() {
        let (transport, mut mixer, mut link) = start();
        transport.set_stop(0.005);
        assert!(link.send(segment(&[0.0; 2 * 480], 1, 0.0)).is_ok());
        mixer.fill(&mut [0.0; 2 * 480], 0.0);
        assert_eq!(transport.position(1, 1e9), Some(0.005));
        assert_eq!(transport.ended_seek.load(Ordering::Acquire), 1);
        assert!(!transport.is_playing());
    }

    #[test]
    fn the_end_of_what_was_left_by_a_seek_is_no_end() {
        let (transport, mut mixer, mut link) = start();
        transport.set_stop(0.02);
        assert!(link.send(segment(&vec![0.5; 2 * 4800], 1, 0.0)).is_ok());
        mixer.fill(&mut [0.0; 2 * 480], 0.0);
        // A seek is asked for, and its segment takes a while: the old one must neither play on nor stop playing.
        transport.wanted_seek.store(2, Ordering::Release);
        let mut out = [0.0; 2 * 960];
        mixer.fill(&mut out, 0.0);
        assert_eq!(out[2 * 959], 0.0);
        assert!(transport.is_playing());
        assert_eq!(transport.ended_seek.load(Ordering::Acquire), 0);
        assert!(link.send(segment(&vec![0.5; 2 * 4800], 2, 0.0)).is_ok());
        mixer.fill(&mut [0.0; 2 * 480], 0.0);
        assert!((transport.position(2, 1e9).unwrap() - 0.01).abs() < 1e-9);
    }

    #[test]
    fn sound_waits_for_the_picture() {
        let (transport, mut mixer, mut link) = start();
        transport.picture_ready.store(0, Ordering::Release);
        assert!(link.send(segment(&vec![0.5; 2 * 4800], 1, 0.0)).is_ok());
        mixer.fill(&mut [0.0; 2 * 480], 0.0);
        assert_eq!(transport.position(1, 1e9), Some(0.0));
        transport.picture_ready.store(1, Ordering::Release);
        mixer.fill(&mut [0.0; 2 * 480], 0.0);
        assert!((transport.position(1, 1e9).unwrap() - 0.01).abs() < 1e-9);
    }

    #[test]
    fn another_soundtrack_goes_on_at_the_same_time() {
        let (transport, mut mixer, mut link) = start();
        assert!(link.send(segment(&vec![0.5; 2 * 48_000], 1, 0.0)).is_ok());
        mixer.fill(&mut vec![0.0; 2 * 4800], 0.0);
        // A ramp of sample numbers that was prepared for 0.05 s: what comes must be what belongs to the time it comes.
        let numbers: Vec<f32> = (0..48_000).flat_map(|i| [i as f32 / 48_000.0; 2]).collect();
        let mut other = segment(&numbers, 1, 0.05);
        other.keep_time = true;
        assert!(link.send(other).is_ok());
        mixer.fill(&mut vec![0.0; 2 * 4800], 0.0);
        let mut out = vec![0.0; 2 * 48];
        let before = transport.position(1, 1e9).unwrap();
        mixer.fill(&mut out, 0.0);
        assert!((f64::from(out[0]) - (before - 0.05)).abs() < 2e-4, "{} at {before}", out[0]);
        // The old sound ran out, one ramp long, before the new one took over.
        assert!((0.195..=0.2).contains(&before), "{before}");
    }
}
