//! Sound to log-mel frames, as the reference's Whisper feature extractor computes them.
//! Knows nothing of tokens.

use std::sync::Arc;

use rayon::prelude::*;
use realfft::{RealFftPlanner, RealToComplex};

/// The numbers of `preprocessor_config.json` that shape the log-mel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MelSpec {
    /// Samples per second.
    pub rate: usize,
    /// Samples per window.
    pub window: usize,
    /// Samples from one frame to the next.
    pub hop: usize,
    /// Mel bins.
    pub bins: usize,
    /// Samples that a clip is padded (or cut) to.
    pub padded: usize,
}

/// Computes log-mel spectrograms.
pub struct LogMel {
    spec: MelSpec,
    /// Periodic Hann window.
    hann: Vec<f64>,
    /// Per mel bin: first FFT bin and the weights from there.
    filters: Vec<(usize, Vec<f32>)>,
    fft: Arc<dyn RealToComplex<f64>>,
}

impl std::fmt::Debug for LogMel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogMel").field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl LogMel {
    /// Prepares window, filters and FFT.
    pub fn new(spec: MelSpec) -> Self {
        let hann = (0..spec.window)
            .map(|i| 0.5 - 0.5 * (std::f64::consts::TAU * i as f64 / spec.window as f64).cos())
            .collect();
        Self { spec, hann, filters: filters(&spec), fft: RealFftPlanner::new().plan_fft_forward(spec.window) }
    }

    /// Valid frames of `samples` samples: one per started hop, at most what the padded clip has.
    pub fn frames(&self, samples: usize) -> usize {
        samples.min(self.spec.padded).div_ceil(self.spec.hop)
    }

    /// `[bins, frames]` row-major of mono samples. What lies beyond the padded length is not heard.
    ///
    /// The clip counts as padded with silence to the full length; frames are centred with reflection at the ends,
    /// the floor is eight decades of power below the loudest frame.
    pub fn compute(&self, samples: &[f32]) -> Vec<f32> {
        let spec = &self.spec;
        let samples = &samples[..samples.len().min(spec.padded)];
        let frames = self.frames(samples.len());
        // Windows just behind the valid frames still touch the sound and can set the floor; later ones are silent.
        let touched = (frames + spec.window.div_ceil(2 * spec.hop)).min(spec.padded / spec.hop);
        let at = |i: i64| -> f64 {
            let last = spec.padded as i64 - 1;
            let i = if i < 0 {
                -i
            } else if i > last {
                2 * last - i
            } else {
                i
            };
            usize::try_from(i).ok().and_then(|i| samples.get(i)).map_or(0.0, |s| f64::from(*s))
        };
        let log_mels: Vec<Vec<f32>> = (0..touched)
            .into_par_iter()
            .map_init(
                || (self.fft.make_input_vec(), self.fft.make_output_vec(), self.fft.make_scratch_vec()),
                |(input, spectrum, scratch), frame| {
                    let start = (frame * spec.hop) as i64 - (spec.window / 2) as i64;
                    for (k, (value, window)) in input.iter_mut().zip(&self.hann).enumerate() {
                        *value = at(start + k as i64) * window;
                    }
                    // The buffers were made by this very plan, so their lengths fit.
                    let _ = self.fft.process_with_scratch(input, spectrum, scratch);
                    let power: Vec<f32> = spectrum.iter().map(|c| c.norm_sqr() as f32).collect();
                    let mel = |(first, weights): &(usize, Vec<f32>)| {
                        let band = power[*first..].iter().zip(weights);
                        let energy: f64 = band.map(|(p, w)| f64::from(*p) * f64::from(*w)).sum();
                        (energy as f32).max(1e-10).log10()
                    };
                    self.filters.iter().map(mel).collect()
                },
            )
            .collect();
        let loudest = log_mels.iter().flatten().copied().fold(f32::NEG_INFINITY, f32::max);
        let floor = loudest - 8.0;
        let mut out = vec![0f32; spec.bins * frames];
        for (frame, mels) in log_mels.iter().take(frames).enumerate() {
            for (bin, value) in mels.iter().enumerate() {
                out[bin * frames + frame] = (value.max(floor) + 4.0) / 4.0;
            }
        }
        out
    }
}

/// Slaney's mel scale: linear below 1 kHz, logarithmic above.
fn mel_of(hertz: f64) -> f64 {
    if hertz < 1000.0 { 3.0 * hertz / 200.0 } else { 15.0 + (hertz / 1000.0).ln() * 27.0 / 6.4f64.ln() }
}

fn hertz_of(mel: f64) -> f64 {
    if mel < 15.0 { 200.0 * mel / 3.0 } else { 1000.0 * (6.4f64.ln() / 27.0 * (mel - 15.0)).exp() }
}

/// Triangular filters of unit area from 0 Hz to half the sampling rate (8 kHz).
fn filters(spec: &MelSpec) -> Vec<(usize, Vec<f32>)> {
    let nyquist = spec.rate as f64 / 2.0;
    let top = mel_of(nyquist);
    let corners: Vec<f64> = (0..spec.bins + 2).map(|i| hertz_of(top * i as f64 / (spec.bins + 1) as f64)).collect();
    let fft_bins = spec.window / 2 + 1;
    let hertz = |bin: usize| nyquist * bin as f64 / (fft_bins - 1) as f64;
    (0..spec.bins)
        .map(|m| {
            let (low, center, high) = (corners[m], corners[m + 1], corners[m + 2]);
            let weight = |bin: usize| {
                let f = hertz(bin);
                let slope = ((f - low) / (center - low)).min((high - f) / (high - center)).max(0.0);
                (slope * 2.0 / (high - low)) as f32
            };
            let all: Vec<f32> = (0..fft_bins).map(weight).collect();
            let first = all.iter().position(|w| *w > 0.0).unwrap_or(0);
            let end = all.iter().rposition(|w| *w > 0.0).map_or(first, |i| i + 1);
            (first, all[first..end].to_vec())
        })
        .collect()
}
