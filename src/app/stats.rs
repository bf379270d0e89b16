//! `--frame-stats`: the interface thread's own CPU time per frame, and presented frames per second.
//! Knows nothing of what the frames show.

use std::time::{Duration, Instant};

/// Frames before this are not counted: pipelines are compiled and fonts are laid out.
const WARM_UP: Duration = Duration::from_secs(1);

/// Measures frames for a while.
pub(super) struct FrameStats {
    started: Instant,
    measure: Duration,
    last_cpu: Option<Duration>,
    cpu: Vec<Duration>,
    done: bool,
}

impl FrameStats {
    /// Measures for `secs` seconds after a warm-up.
    pub(super) fn new(secs: f64) -> Self {
        let measure = Duration::try_from_secs_f64(secs).unwrap_or(Duration::from_secs(10));
        Self { started: Instant::now(), measure, last_cpu: None, cpu: Vec::new(), done: false }
    }

    /// Called once at the start of every frame; `true` once, when the time is over and the figures are printed.
    pub(super) fn frame(&mut self) -> bool {
        let now = thread_cpu_time();
        let elapsed = self.started.elapsed();
        if let (Some(now), Some(last)) = (now, self.last_cpu)
            && elapsed > WARM_UP
        {
            self.cpu.push(now.saturating_sub(last));
        }
        self.last_cpu = now;
        if self.done || elapsed < WARM_UP + self.measure {
            return false;
        }
        self.done = true;
        self.print(elapsed.saturating_sub(WARM_UP));
        true
    }

    fn print(&mut self, elapsed: Duration) {
        self.cpu.sort_unstable();
        let at = |q: f64| {
            let index = ((self.cpu.len().saturating_sub(1)) as f64 * q).round() as usize;
            self.cpu.get(index).map_or(f64::NAN, |d| d.as_secs_f64() * 1e3)
        };
        println!(
            "frames {}  presented {:.1} fps  interface thread CPU per frame: p50 {:.2} ms  p99 {:.2} ms  max {:.2} ms",
            self.cpu.len(),
            self.cpu.len() as f64 / elapsed.as_secs_f64(),
            at(0.5),
            at(0.99),
            at(1.0),
        );
    }
}

/// Prints how late frames were taken against the sound that was heard.
pub(super) fn print_lateness(mut late_secs: Vec<f64>) {
    late_secs.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    if let Some(p95) = late_secs.get(late_secs.len() * 95 / 100) {
        println!("picture against sound: {} frames, p95 {:.1} ms", late_secs.len(), p95.abs() * 1e3);
    }
}

/// CPU time of the calling thread; `None` where the system does not say.
fn thread_cpu_time() -> Option<Duration> {
    #[cfg(unix)]
    {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        #[allow(unsafe_code, reason = "there is no safe binding for the thread's CPU clock")]
        // SAFETY: `time` is a valid, writable timespec for the whole call.
        let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
        (result == 0).then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }
    #[cfg(not(unix))]
    None
}
