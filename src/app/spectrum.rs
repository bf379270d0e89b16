//! The log-mel of a sound of any length while it is read: pieces with a margin go through the model's own extractor, so
//! that every frame is the one that a single pass would give; of every few frames the loudest is kept.
//! Knows nothing of files or of how it is drawn.

use rayon::ThreadPool;

use crate::engine::worker::lower_priority;
use crate::model::qwen2_5_omni::processor::mel::{LogMel, MelSpec};
use crate::spectrum::Spectrum;

/// The log-mel of the released checkpoints (Whisper's): 25-ms windows every 10 ms, 128 bins, at most 300 s.
pub(super) const MEL: MelSpec = MelSpec { rate: 16_000, window: 400, hop: 160, bins: 128, padded: 4_800_000 };

/// Frames of which the loudest is kept: 80 ms.
const PER_STEP: usize = 8;
/// Steps that are kept: ten hours (58 MB); what is beyond is not drawn.
const MOST_STEPS: usize = 450_000;
/// Frames computed at a time: 20 s.
const PIECE: usize = 2_000;
/// Frames on either side of a piece that its windows may touch.
const MARGIN: usize = 3;

/// Takes a sound in pieces.
pub(super) struct SpectrumBuilder {
    mel: LogMel,
    /// One thread that gives way to everything else; without it the caller's own does it.
    pool: Option<ThreadPool>,
    /// Samples from `first` on that are not all used yet.
    samples: Vec<f32>,
    first: usize,
    /// Frames that are done.
    done: usize,
    steps: Vec<u8>,
}

impl SpectrumBuilder {
    /// Seconds per kept step.
    pub(super) const STEP_SECS: f64 = (PER_STEP * MEL.hop) as f64 / MEL.rate as f64;

    pub(super) fn new() -> Self {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).start_handler(|_| lower_priority()).build().ok();
        Self { mel: LogMel::new(MEL), pool, samples: Vec::new(), first: 0, done: 0, steps: Vec::new() }
    }

    /// Takes samples that begin at number `start`, at [`MEL`]'s rate; what is missing before them is silence.
    pub(super) fn hear(&mut self, start: usize, samples: &[f32]) {
        let most = MOST_STEPS * PER_STEP * MEL.hop;
        let mut end = self.first + self.samples.len();
        let until = start.min(most);
        if until.saturating_sub(end) > 3 * PIECE * MEL.hop {
            // A long silence is not computed: once what came before it is done, what is held is silence too.
            self.samples.resize(self.samples.len() + 2 * PIECE * MEL.hop, 0.0);
            self.compute(false);
            self.done = until / MEL.hop - PIECE / 2;
            self.first = (self.done - MARGIN) * MEL.hop;
            self.samples = vec![0.0; until - self.first];
        } else {
            self.samples.resize(self.samples.len() + until.saturating_sub(end), 0.0);
        }
        end = end.max(until);
        if end >= most {
            return;
        }
        // What was heard already is not heard again.
        self.samples.extend_from_slice(samples.get(end.saturating_sub(start)..).unwrap_or_default());
        self.compute(false);
    }

    /// What there is, and with the last pieces once the sound has ended.
    pub(super) fn spectrum(&mut self, growing: bool) -> Spectrum {
        if !growing {
            self.compute(true);
        }
        Spectrum::new(self.steps.clone(), MEL.bins, Self::STEP_SECS, growing)
    }

    fn compute(&mut self, ended: bool) {
        loop {
            let lead = self.done.min(MARGIN);
            let begin = (self.done - lead) * MEL.hop;
            let held = self.samples.get(begin.saturating_sub(self.first)..).unwrap_or_default();
            let whole = (lead + PIECE + MARGIN) * MEL.hop;
            let frames = if held.len() >= whole {
                PIECE
            } else if ended {
                held.len().div_ceil(MEL.hop).saturating_sub(lead).min(PIECE)
            } else {
                return;
            };
            if frames == 0 {
                return;
            }
            let piece = &held[..held.len().min(whole)];
            let computed = self.mel.frames(piece.len());
            let mel = match &self.pool {
                Some(pool) => pool.install(|| self.mel.compute(piece)),
                None => self.mel.compute(piece),
            };
            for frame in 0..frames {
                let step = (self.done + frame) / PER_STEP;
                self.steps.resize((step + 1) * MEL.bins, 0);
                for (bin, code) in self.steps[step * MEL.bins..].iter_mut().enumerate() {
                    *code = (*code).max(Spectrum::code(mel[bin * computed + lead + frame]));
                }
            }
            self.done += frames;
            // What the next piece's first windows touch stays.
            let keep = (self.done.saturating_sub(MARGIN)) * MEL.hop;
            let drop = keep.saturating_sub(self.first).min(self.samples.len());
            self.samples.drain(..drop);
            self.first += drop;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In pieces of odd lengths, with a hole, as in one pass of the model's own extractor.
    #[test]
    fn pieces_give_what_one_pass_gives() {
        let rate = MEL.rate as f32;
        let mut sound: Vec<f32> =
            (0..26 * MEL.rate + 77).map(|i| (i as f32 * (0.02 + i as f32 / rate * 0.004)).sin() * 0.5).collect();
        sound[100_000..140_000].fill(0.0);
        let mut builder = SpectrumBuilder::new();
        let mut at = 0;
        for n in (0..).map(|i| 1_000 + i * 997 % 40_000) {
            let end = (at + n).min(sound.len());
            if at < 100_000 || end > 140_000 {
                builder.hear(at, &sound[at..end]);
            }
            at = end;
            if at == sound.len() {
                break;
            }
        }
        let growing = builder.spectrum(true);
        assert!(growing.growing && growing.end_secs() < 26.0 && growing.end_secs() > 19.0);
        let spectrum = builder.spectrum(false);
        let mel = LogMel::new(MEL);
        let (frames, whole) = (mel.frames(sound.len()), mel.compute(&sound));
        assert_eq!(spectrum.steps().len(), frames.div_ceil(PER_STEP) * MEL.bins);
        let loudest = whole.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for (i, code) in spectrum.steps().iter().enumerate() {
            let (step, bin) = (i / MEL.bins, i % MEL.bins);
            let part = step * PER_STEP..((step + 1) * PER_STEP).min(frames);
            let exact = part.map(|f| whole[bin * frames + f]).fold(f32::NEG_INFINITY, f32::max);
            // A piece's own floor is at or below the whole sound's.
            let floored = (*code).max(Spectrum::code(loudest - 2.0));
            assert!(floored.abs_diff(Spectrum::code(exact)) <= 1, "step {step}, bin {bin}: {floored}");
        }
    }

    #[test]
    fn a_long_silence_costs_nothing_and_the_sound_behind_it_is_where_it_was() {
        let tone: Vec<f32> = (0..16_000).map(|i| (i as f32 * 0.5).sin()).collect();
        let mut builder = SpectrumBuilder::new();
        builder.hear(0, &tone);
        // Two hours later, then absurdly late.
        builder.hear(7_200 * MEL.rate, &tone);
        let spectrum = builder.spectrum(false);
        assert!((spectrum.end_secs() - 7_201.0).abs() < 0.1, "{}", spectrum.end_secs());
        let loud = |t: f64| {
            let at = (t / SpectrumBuilder::STEP_SECS) as usize * MEL.bins;
            spectrum.steps()[at..at + MEL.bins].iter().copied().max().unwrap() > 150
        };
        assert!(loud(0.5) && !loud(2.0) && !loud(3_600.0) && !loud(7_199.5) && loud(7_200.5));
        builder.hear(usize::MAX / 2, &tone);
        assert!(builder.spectrum(false).steps().len() <= MOST_STEPS * MEL.bins);
    }
}
