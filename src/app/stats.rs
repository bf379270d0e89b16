//! `--frame-stats`: the interface thread's own CPU time per frame, presented frames per second, and how far apart picture
//! and sound are after seeks and changes of speed.
//! Knows nothing of what the frames show.

use std::time::{Duration, Instant};

use super::App;
use crate::command::Command;
use crate::state::{Media, Run};
use crate::time::Span;

/// Frames before this are not counted: pipelines are compiled and fonts are laid out.
const WARM_UP: Duration = Duration::from_secs(1);

/// Measures frames for a while.
pub(super) struct FrameStats {
    started: Instant,
    measure: Duration,
    last_cpu: Option<Duration>,
    cpu: Vec<Duration>,
    disturbed: u32,
    done: bool,
}

/// What a measured window goes through, again and again: a seek to a share of the clip, a speed, a part of the time axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Disturbance {
    /// Go to this share of the clip.
    Seek(f64),
    /// Play at this speed.
    Speed(f64),
    /// Show this share of the time axis from this share of the clip on, and pan from there.
    Look(f64, f64),
}

/// How often something is disturbed.
const EVERY: Duration = Duration::from_secs(2);
/// What happens then, in turn.
const PLAN: [Disturbance; 10] = [
    Disturbance::Seek(0.6),
    Disturbance::Look(0.2, 0.3),
    Disturbance::Speed(2.0),
    Disturbance::Seek(0.1),
    Disturbance::Look(0.5, 0.003),
    Disturbance::Speed(0.5),
    Disturbance::Seek(0.35),
    Disturbance::Look(0.0, 1.0),
    Disturbance::Speed(1.5),
    Disturbance::Speed(1.0),
];

impl FrameStats {
    /// Measures for `secs` seconds after a warm-up.
    pub(super) fn new(secs: f64) -> Self {
        let measure = Duration::try_from_secs_f64(secs).unwrap_or(Duration::from_secs(10));
        Self { started: Instant::now(), measure, last_cpu: None, cpu: Vec::new(), disturbed: 0, done: false }
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

    /// What is to be disturbed now, if anything.
    pub(super) fn disturbance(&mut self) -> Option<Disturbance> {
        let due = EVERY * (self.disturbed + 1);
        (self.started.elapsed() >= due).then(|| {
            self.disturbed += 1;
            PLAN[(self.disturbed - 1) as usize % PLAN.len()]
        })
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

impl App {
    /// Keeps a measured window busy: playing in a loop, seeking, changing speed and answering.
    pub(super) fn keep_busy(&mut self) {
        if matches!(self.state.media, Media::Open { .. }) && !self.state.playback.playing {
            self.perform(&Command::TogglePlay);
        }
        if !self.state.run.as_ref().is_some_and(Run::running) {
            self.ask();
        }
        if let Some(view) = self.state.view.timeline {
            let by = view.duration_secs() * 0.01;
            self.state.show_time(Span::new(view.start_secs + by, view.end_secs + by));
        }
        let end_secs = self.state.duration_secs().unwrap_or_default();
        match self.stats.as_mut().and_then(FrameStats::disturbance) {
            Some(Disturbance::Seek(share)) => self.perform(&Command::Seek(share * end_secs)),
            Some(Disturbance::Look(from, length)) => {
                self.state.show_time(Span::new(from * end_secs, (from + length) * end_secs));
            }
            Some(Disturbance::Speed(speed)) => self.perform(&Command::SetSpeed(speed)),
            None => {}
        }
    }
}

/// Prints how far apart picture and sound were by the player's own log. `off_secs`: by how much the sound that was heard
/// lay outside the shown frame's own time, at each presentation. `late_secs`: how long after it was due a frame was taken,
/// which is at most as long as a frame lasts, and as long as that where frames are presented seldom.
pub(super) fn print_offsets(off_secs: &[f64], late_secs: &[f64]) {
    let line = |what: &str, values: &[f64]| {
        let mut sizes: Vec<f64> = values.iter().map(|v| v.abs() * 1e3).collect();
        sizes.sort_by(f64::total_cmp);
        let Some(last) = sizes.len().checked_sub(1) else { return };
        let at = |q: usize| sizes[(last * q).div_ceil(100)];
        println!("{what}: {} times, p50 {:.1} ms  p95 {:.1} ms  max {:.1} ms", sizes.len(), at(50), at(95), at(100));
    };
    line("sound outside the shown frame's own time", off_secs);
    line("frames taken after they were due", late_secs);
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
