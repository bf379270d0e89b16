//! Sound output where there is no device: the mixer runs at the pace of the monotonic clock, so that playing,
//! seeking and ending work as with a device. What it fakes: nothing is heard, latency is zero, and time is the system
//! clock's instead of a sound card's. Knows nothing of what is played.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::clock::Clock;
use super::mixer::{CHANNELS, Mixer};

/// Samples per second of the null sink.
pub(crate) const NULL_RATE: u32 = 48_000;
/// How often it plays, like a device with small buffers.
const PERIOD: Duration = Duration::from_millis(10);
/// Most frames played at once: after a stall (a suspended laptop) time goes on instead of racing.
const MOST: usize = 4_800;

/// A thread that plays into nothing; dropping it ends the thread.
pub(crate) struct NullSink {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl NullSink {
    /// Starts to play. `None` when no thread can be had.
    pub(crate) fn start(mut mixer: Mixer, clock: Arc<dyn Clock>) -> Option<Self> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let stopped = Arc::clone(&stop);
        let run = move || {
            let mut block = vec![0.0; MOST * CHANNELS];
            let mut played_until = clock.now_secs();
            let mut flag = stopped.0.lock().unwrap_or_else(PoisonError::into_inner);
            while !*flag {
                flag = stopped.1.wait_timeout(flag, PERIOD).unwrap_or_else(PoisonError::into_inner).0;
                let now = clock.now_secs();
                let due = ((now - played_until) * f64::from(NULL_RATE)).max(0.0) as usize;
                let frames = due.min(MOST);
                if due > MOST {
                    played_until = now;
                } else {
                    played_until += frames as f64 / f64::from(NULL_RATE);
                }
                mixer.fill(&mut block[..frames * CHANNELS], now);
            }
        };
        let thread = std::thread::Builder::new().name("modalens-null-sink".to_owned()).spawn(run).ok()?;
        Some(Self { stop, thread: Some(thread) })
    }
}

impl Drop for NullSink {
    fn drop(&mut self) {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
