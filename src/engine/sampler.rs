//! From logits to a token: greedy or sampled, with the log-probability under the model's own distribution.
//! Knows nothing of stop tokens or text.

use candle_core::Tensor;
use candle_transformers::generation::{LogitsProcessor, Sampling};

use crate::model::Result;
use crate::settings::Decoding;

/// Chooses answer tokens.
pub struct Sampler {
    processor: LogitsProcessor,
}

impl Sampler {
    /// A sampler for `decoding`; temperature 0 is greedy.
    pub fn new(decoding: &Decoding) -> Self {
        let sampling = if decoding.temperature > 0.0 {
            Sampling::All { temperature: decoding.temperature }
        } else {
            Sampling::ArgMax
        };
        Self { processor: LogitsProcessor::from_sampling(decoding.seed, sampling) }
    }

    /// Chooses a token of `logits` `[vocab]` (f32) and gives its log-probability in nats, before temperature.
    pub fn next(&mut self, logits: &Tensor) -> Result<(u32, f64)> {
        let id = self.processor.sample(logits)?;
        Ok((id, log_prob(&logits.to_vec1::<f32>()?, id)))
    }
}

/// `log softmax(logits)[id]`, in nats.
pub fn log_prob(logits: &[f32], id: u32) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|l| f64::from(l - max).exp()).sum();
    f64::from(logits[id as usize] - max) - sum.ln()
}
