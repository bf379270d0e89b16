//! From logits to a token: greedy or sampled, with the log-probability under the model's own distribution.
//! Knows nothing of stop tokens or text.

use candle_core::{DType, Tensor};
use candle_transformers::generation::{LogitsProcessor, Sampling};

use crate::model::Result;
use crate::settings::Decoding;

/// Chooses answer tokens.
pub struct Sampler {
    processor: LogitsProcessor,
    greedy: bool,
}

impl Sampler {
    /// A sampler for `decoding`; temperature 0 is greedy.
    pub fn new(decoding: &Decoding) -> Self {
        let sampling = if decoding.temperature > 0.0 {
            Sampling::All { temperature: decoding.temperature }
        } else {
            Sampling::ArgMax
        };
        let greedy = decoding.temperature <= 0.0;
        Self { processor: LogitsProcessor::from_sampling(decoding.seed, sampling), greedy }
    }

    /// Chooses a token of `logits` `[vocab]` (f32) and gives its log-probability in nats, before temperature.
    pub fn next(&mut self, logits: &Tensor) -> Result<(u32, f64)> {
        if self.greedy && !logits.device().is_cpu() {
            return greedy(logits);
        }
        let id = self.processor.sample(logits)?;
        Ok((id, log_prob(&logits.to_vec1::<f32>()?, id)))
    }
}

/// The best token and its log-probability, found where the logits are: two numbers leave the device, not a vocabulary.
fn greedy(logits: &Tensor) -> Result<(u32, f64)> {
    let best = logits.argmax(0)?;
    let largest = logits.max_keepdim(0)?;
    let rest = logits.broadcast_sub(&largest)?.exp()?.sum_all()?.log()?;
    // One trip to the host for both: an f32 holds every whole number up to 2^24, and no vocabulary is as large.
    let both = Tensor::stack(&[best.to_dtype(DType::F32)?, rest], 0)?.to_vec1::<f32>()?;
    // The best token's own logit is the largest: its log-probability is what the sum leaves of 0.
    Ok((both[0] as u32, -f64::from(both[1])))
}

/// `log softmax(logits)[id]`, in nats.
pub fn log_prob(logits: &[f32], id: u32) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|l| f64::from(l - max).exp()).sum();
    f64::from(logits[id as usize] - max) - sum.ln()
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;

    /// What devices compute for themselves is what the host would.
    #[test]
    fn the_best_token_is_found_where_the_logits_are() {
        for seed in 0..20 {
            let logits: Vec<f32> = (0..997).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 50.0).collect();
            let tensor = Tensor::new(logits.as_slice(), &Device::Cpu).unwrap();
            let (id, logprob) = greedy(&tensor).unwrap();
            let on_host = Sampler::new(&Decoding::default()).next(&tensor).unwrap();
            assert_eq!(id, on_host.0);
            assert!((logprob - on_host.1).abs() < 1e-5, "{logprob} {}", on_host.1);
        }
    }
}
