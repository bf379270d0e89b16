//! Time spans in seconds on a clip's own axis (0 = the container's start).
//! Knows nothing of clocks, frame rates or time bases: those belong to `media`.

use serde::{Deserialize, Serialize};

/// A half-open span `[start_secs, end_secs)` in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// First instant of the span, in seconds.
    pub start_secs: f64,
    /// First instant after the span, in seconds.
    pub end_secs: f64,
}

impl Span {
    /// The span from `start_secs` to `end_secs`.
    pub const fn new(start_secs: f64, end_secs: f64) -> Self {
        Self { start_secs, end_secs }
    }

    /// Length in seconds; 0 for an empty or reversed span.
    pub fn duration_secs(&self) -> f64 {
        (self.end_secs - self.start_secs).max(0.0)
    }

    /// Whether `t_secs` lies inside the span.
    pub fn contains(&self, t_secs: f64) -> bool {
        self.start_secs <= t_secs && t_secs < self.end_secs
    }
}

/// Of `levels` levels of detail, each `factor` times coarser than the one before from steps of `finest_secs` on: the
/// coarsest whose steps are no longer than half of `column_secs`, and its step in seconds.
pub fn level_for(column_secs: f64, finest_secs: f64, factor: usize, levels: usize) -> (usize, f64) {
    let mut step = finest_secs.max(1e-9);
    let mut level = 0;
    while level + 1 < levels && step * factor as f64 <= column_secs / 2.0 {
        step *= factor as f64;
        level += 1;
    }
    (level, step)
}
