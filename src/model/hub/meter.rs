//! How far a download is and how fast it goes. Knows nothing of where bytes come from.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Control;
use crate::download::{Progress, Step};

/// The pace is that of the last seconds: long enough to be steady, short enough to follow the line.
const WINDOW: Duration = Duration::from_secs(5);
/// Shortest time between two reports.
const REPORT: Duration = Duration::from_millis(100);

/// Counts bytes.
pub(super) struct Meter {
    total: u64,
    done: u64,
    samples: VecDeque<(Instant, u64)>,
    reported: Option<Instant>,
}

impl Meter {
    pub(super) fn new(total: u64, done: u64) -> Self {
        Self { total, done, samples: VecDeque::new(), reported: None }
    }

    /// Bytes came.
    pub(super) fn add(&mut self, bytes: u64) {
        self.done += bytes;
        let now = Instant::now();
        if self.samples.back().is_none_or(|(at, _)| now - *at >= REPORT) {
            self.samples.push_back((now, self.done));
        }
        while self.samples.len() > 2 && self.samples.front().is_some_and(|(at, _)| now - *at > WINDOW) {
            self.samples.pop_front();
        }
    }

    /// Bytes that were counted were thrown away.
    pub(super) fn lose(&mut self, bytes: u64) {
        self.done = self.done.saturating_sub(bytes);
        self.samples.clear();
    }

    fn pace(&self) -> Option<f64> {
        let ((from, before), (to, after)) = (self.samples.front()?, self.samples.back()?);
        let secs = (*to - *from).as_secs_f64();
        (secs >= 0.3).then(|| after.saturating_sub(*before) as f64 / secs)
    }

    /// Reports, unless that was done just before.
    pub(super) fn tick(&mut self, step: &Step, file: &str, control: &mut Control<'_>) {
        if self.reported.is_none_or(|at| at.elapsed() >= REPORT) {
            self.report(step.clone(), file, control);
        }
    }

    /// Reports.
    pub(super) fn report(&mut self, step: Step, file: &str, control: &mut Control<'_>) {
        self.reported = Some(Instant::now());
        if !matches!(step, Step::Fetching) {
            // A pause is no pace.
            self.samples.clear();
        }
        (control.notify)(Progress {
            step,
            file: file.to_owned(),
            done_bytes: self.done,
            total_bytes: self.total,
            bytes_per_s: self.pace(),
        });
    }
}
