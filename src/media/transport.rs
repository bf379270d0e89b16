//! What the audio callback and the rest of the program tell each other: where time is and where it is to go, in single
//! atomic values and one sequence lock. Nobody waits for anybody. Knows nothing of samples.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

/// What the callback and the rest of the program tell each other: single atomic values only.
pub(crate) struct Transport {
    /// Which call to play time runs by; 0 while it should not run.
    pub(super) play: AtomicU64,
    plays: AtomicU64,
    /// Set by the mixer when it stopped at the end by itself: the seek whose end it was, else 0.
    pub(crate) ended_seek: AtomicU64,
    /// The newest seek whose first picture is ready: sound waits for it.
    pub(crate) picture_ready: AtomicU64,
    /// The newest seek asked for: what belongs to older ones fades out, and their end is no end.
    pub(crate) wanted_seek: AtomicU64,
    /// Callbacks in which samples were missing.
    pub(crate) underruns: AtomicU64,
    /// Whether the end is the end of a loop: time waits there for the jump instead of stopping.
    pub(crate) looping: AtomicBool,
    start_secs: AtomicU64,
    stop_secs: AtomicU64,
    volume: AtomicU32,
    muted: AtomicBool,
    // A sequence lock over a `Reading`: the writer never waits, readers retry.
    sequence: AtomicU32,
    seek: AtomicU64,
    from_secs: AtomicU64,
    before_until_secs: AtomicU64,
    before_speed: AtomicU64,
    end_secs: AtomicU64,
    heard_at_secs: AtomicU64,
    speed: AtomicU64,
}

/// Where playing is: a line of time over the clock, and the line before it, of which the ear may still hear the end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Reading {
    /// The seek this belongs to; 0 before the first.
    pub(super) seek: u64,
    /// Where the line begins: the seek's target, or where the line before it ended.
    pub(super) from_secs: f64,
    /// When (on the clock) the last of the line before it is heard.
    pub(super) before_until_secs: f64,
    /// That line's speed; 0 after a jump, when it no longer counts.
    pub(super) before_speed: f64,
    /// Time of the end of what was handed to the device.
    pub(super) end_secs: f64,
    /// When (on the clock) that end is heard.
    pub(super) heard_at_secs: f64,
    /// Seconds of the clip per second of the clock.
    pub(super) speed: f64,
}

impl Reading {
    /// The time that is heard at `now_secs` of the clock.
    fn at(&self, now_secs: f64) -> f64 {
        if now_secs < self.before_until_secs {
            return self.from_secs - (self.before_until_secs - now_secs) * self.before_speed;
        }
        let t = self.end_secs - (self.heard_at_secs - now_secs).max(0.0) * self.speed;
        if self.speed < 0.0 { t.min(self.from_secs) } else { t.max(self.from_secs) }
    }
}

impl Transport {
    pub(crate) fn new() -> Self {
        Self {
            play: AtomicU64::new(0),
            plays: AtomicU64::new(0),
            ended_seek: AtomicU64::new(0),
            picture_ready: AtomicU64::new(0),
            wanted_seek: AtomicU64::new(0),
            underruns: AtomicU64::new(0),
            looping: AtomicBool::new(false),
            start_secs: AtomicU64::new(f64::NEG_INFINITY.to_bits()),
            stop_secs: AtomicU64::new(f64::INFINITY.to_bits()),
            volume: AtomicU32::new(1f32.to_bits()),
            muted: AtomicBool::new(false),
            sequence: AtomicU32::new(0),
            seek: AtomicU64::new(0),
            from_secs: AtomicU64::new(0),
            before_until_secs: AtomicU64::new(0),
            before_speed: AtomicU64::new(0),
            end_secs: AtomicU64::new(0),
            heard_at_secs: AtomicU64::new(0),
            speed: AtomicU64::new(0),
        }
    }

    /// Whether time should run.
    pub(crate) fn is_playing(&self) -> bool {
        self.play.load(Ordering::Acquire) != 0
    }

    /// Lets time run.
    pub(crate) fn start(&self) {
        let play = self.plays.fetch_add(1, Ordering::AcqRel) + 1;
        self.play.store(play, Ordering::Release);
    }

    /// Lets time stand.
    pub(crate) fn stop(&self) {
        self.play.store(0, Ordering::Release);
    }

    /// Sets where playing stops by itself, in seconds.
    pub(crate) fn set_stop(&self, secs: f64) {
        self.stop_secs.store(secs.to_bits(), Ordering::Release);
    }

    /// Sets where playing backwards stops by itself, in seconds.
    pub(crate) fn set_start(&self, secs: f64) {
        self.start_secs.store(secs.to_bits(), Ordering::Release);
    }

    /// Where playing stops by itself, backwards and forwards, in seconds.
    pub(super) fn bounds(&self) -> [f64; 2] {
        [&self.start_secs, &self.stop_secs].map(|bound| f64::from_bits(bound.load(Ordering::Acquire)))
    }

    pub(crate) fn set_volume(&self, volume: f32) {
        let volume = if volume.is_finite() { volume.clamp(0.0, 2.0) } else { 1.0 };
        self.volume.store(volume.to_bits(), Ordering::Relaxed);
    }

    pub(crate) fn volume(&self) -> f32 {
        f32::from_bits(self.volume.load(Ordering::Relaxed))
    }

    pub(crate) fn set_muted(&self, muted: bool) {
        self.muted.store(muted, Ordering::Relaxed);
    }

    pub(crate) fn muted(&self) -> bool {
        self.muted.load(Ordering::Relaxed)
    }

    pub(super) fn level(&self) -> f32 {
        if self.muted() { 0.0 } else { self.volume() }
    }

    pub(super) fn publish(&self, reading: Reading) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.seek.store(reading.seek, Ordering::Relaxed);
        for (slot, value) in [
            (&self.from_secs, reading.from_secs),
            (&self.before_until_secs, reading.before_until_secs),
            (&self.before_speed, reading.before_speed),
            (&self.end_secs, reading.end_secs),
            (&self.heard_at_secs, reading.heard_at_secs),
            (&self.speed, reading.speed),
        ] {
            slot.store(value.to_bits(), Ordering::Relaxed);
        }
        self.sequence.store(sequence.wrapping_add(2), Ordering::Release);
    }

    fn read(&self) -> Reading {
        loop {
            let before = self.sequence.load(Ordering::Acquire);
            let number = |slot: &AtomicU64| f64::from_bits(slot.load(Ordering::Relaxed));
            let reading = Reading {
                seek: self.seek.load(Ordering::Relaxed),
                from_secs: number(&self.from_secs),
                before_until_secs: number(&self.before_until_secs),
                before_speed: number(&self.before_speed),
                end_secs: number(&self.end_secs),
                heard_at_secs: number(&self.heard_at_secs),
                speed: number(&self.speed),
            };
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.sequence.load(Ordering::Relaxed) == before {
                return reading;
            }
            std::hint::spin_loop();
        }
    }

    /// The time that is heard at `now_secs` of the clock, if `seek` has reached the device: what was played less what
    /// is still on its way to the ear.
    pub(crate) fn position(&self, seek: u64, now_secs: f64) -> Option<f64> {
        let r = self.read();
        (r.seek == seek).then(|| r.at(now_secs))
    }
}
