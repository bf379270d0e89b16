//! The spectrum of a whole sound in levels of detail, for the time axis. Knows nothing of how it is computed or drawn.

use std::sync::Arc;

use crate::time::{Span, level_for};

/// The log-mel spectrum of a whole soundtrack, however long, at several levels of detail.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Spectrum {
    /// `[steps, bins]`: the loudest frame of each step, as [`Spectrum::code`]s; every level's step is
    /// [`Spectrum::FACTOR`] times the one before.
    levels: Vec<Arc<[u8]>>,
    bins: usize,
    step_secs: f64,
    top: u8,
    /// Whether more is to come.
    pub growing: bool,
}

impl Spectrum {
    /// How much coarser a level is than the one before.
    const FACTOR: usize = 4;
    /// The extractor's numbers that the codes 0 and 255 stand for: (log10 of power + 4) ÷ 4, from its own floor up.
    const RANGE: [f32; 2] = [-1.5, 2.5];

    /// The code of a number of the extractor.
    pub fn code(value: f32) -> u8 {
        let [low, high] = Self::RANGE;
        ((value - low) / (high - low) * 255.0).round().clamp(0.0, 255.0) as u8
    }

    /// Builds the levels over the finest one, `[steps, bins]`.
    pub fn new(steps: Vec<u8>, bins: usize, step_secs: f64, growing: bool) -> Self {
        let bins = bins.max(1);
        let top = steps.iter().copied().max().unwrap_or(0);
        let mut levels: Vec<Arc<[u8]>> = vec![steps.into()];
        while let Some(last) = levels.last().filter(|l| l.len() > Self::FACTOR * bins) {
            let mut next = Vec::with_capacity(last.len() / Self::FACTOR + bins);
            for group in last.chunks(Self::FACTOR * bins) {
                let at = next.len();
                next.resize(at + bins, 0);
                for step in group.chunks_exact(bins) {
                    next[at..].iter_mut().zip(step).for_each(|(most, code)| *most = (*most).max(*code));
                }
            }
            levels.push(next.into());
        }
        Self { levels, bins, step_secs, top, growing }
    }

    /// Mel bins.
    pub fn bins(&self) -> usize {
        self.bins
    }

    /// The finest level, `[steps, bins]`.
    pub fn steps(&self) -> &[u8] {
        self.levels.first().map_or(&[], |l| l)
    }

    /// Where it ends, in seconds.
    pub fn end_secs(&self) -> f64 {
        (self.steps().len() / self.bins.max(1)) as f64 * self.step_secs
    }

    /// `[bins, columns]` in 0…1, the loudest of each column, 1 for the loudest of all and 0 from eight decades of power
    /// below it; 0 where there is no sound. Costs a few steps per column, however long the sound is.
    pub fn columns(&self, view: Span, columns: usize) -> Vec<f32> {
        let per_column = view.duration_secs() / columns.max(1) as f64;
        let (level, step) = level_for(per_column, self.step_secs, Self::FACTOR, self.levels.len());
        let codes = self.levels.get(level).map_or(&[][..], |l| l);
        let count = codes.len() / self.bins.max(1);
        let per_code = (Self::RANGE[1] - Self::RANGE[0]) / 255.0;
        let shade: Vec<f32> = (0..=255u8)
            .map(|code| ((f32::from(code) - f32::from(self.top)) * per_code / 2.0 + 1.0).clamp(0.0, 1.0))
            .collect();
        let mut out = vec![0.0; self.bins * columns];
        let mut most = vec![0u8; self.bins];
        for column in 0..columns {
            let from = view.start_secs + column as f64 * per_column;
            let first = (from / step).max(0.0) as usize;
            let end = (((from + per_column) / step).ceil().max(0.0) as usize).max(first + 1).min(count);
            if from + per_column <= 0.0 || first >= end {
                continue;
            }
            most.fill(0);
            for codes in codes[first * self.bins..end * self.bins].chunks_exact(self.bins) {
                most.iter_mut().zip(codes).for_each(|(most, code)| *most = (*most).max(*code));
            }
            for (row, code) in most.iter().enumerate() {
                out[row * columns + column] = shade[usize::from(*code)];
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_of_a_spectrum_shows_the_same_peak() {
        let bins = 4;
        let mut steps = vec![Spectrum::code(-1.0); 45_000 * bins];
        steps[12_345 * bins + 2] = Spectrum::code(1.0);
        let spectrum = Spectrum::new(steps, bins, 0.08, false);
        assert!((spectrum.end_secs() - 3_600.0).abs() < 1e-6);
        for view in [Span::new(0.0, 3_600.0), Span::new(900.0, 1_100.0), Span::new(987.0, 988.0)] {
            let columns = spectrum.columns(view, 300);
            let (at, most) = columns.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
            assert_eq!(at / 300, 2, "in {view:?}");
            assert!((most - 1.0).abs() < 1e-6);
            let t = view.start_secs + (at % 300) as f64 / 300.0 * view.duration_secs();
            assert!((t - 987.6).abs() <= view.duration_secs() / 150.0 + 0.08, "{t} in {view:?}");
            // Two below in the extractor's numbers is black.
            assert!(columns[0] < 0.01);
        }
        assert!(spectrum.columns(Span::new(4_000.0, 5_000.0), 7).iter().all(|v| *v == 0.0));
        assert!(Spectrum::default().columns(Span::new(0.0, 1.0), 3).is_empty());
    }
}
