//! Monotonic time as a value that can be handed around, so that playback can be tested without waiting.
//! Knows nothing of sound or frames.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A clock that never goes back.
pub trait Clock: Send + Sync {
    /// Seconds since some fixed moment.
    fn now_secs(&self) -> f64;
}

/// The operating system's monotonic clock.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl SystemClock {
    /// Starts at 0.
    pub fn new() -> Self {
        Self(Instant::now())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now_secs(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}

/// A clock that stands still until it is told to move: time in tests.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// Moves on.
    pub fn advance(&self, secs: f64) {
        let nanos = (secs.max(0.0) * 1e9).round() as u64;
        self.0.fetch_add(nanos, Ordering::AcqRel);
    }
}

impl Clock for ManualClock {
    fn now_secs(&self) -> f64 {
        self.0.load(Ordering::Acquire) as f64 * 1e-9
    }
}
