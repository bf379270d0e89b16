//! A model's weights as trainable variables: seeded random ones, or those of a checkpoint folder.
//! Knows nothing of data, losses or steps.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};

use crate::model::nn::weights::{Checkpoint, Hold, Source as _};
use crate::model::qwen2_5_omni::config::Config;
use crate::model::qwen2_5_omni::thinker::Thinker;
use crate::tune::TuneError;
use crate::world::rng::{PI, Rng, Stream, cos};

/// Variables by tensor name.
pub type Vars = BTreeMap<String, Var>;

/// Seeded random weights of a Thinker: unit gains, zero biases, matrices of variance 1 / inputs, and smaller ones
/// where a block writes to the residual stream, so that depth does not make it grow.
pub fn random(config: &Config, seed: u64, device: &Device) -> Result<Vars, TuneError> {
    let layers = |name: &str| {
        if name.contains(".visual.") {
            config.vision.depth
        } else if name.contains(".audio_tower.") {
            config.audio.encoder_layers
        } else {
            config.text.num_hidden_layers
        }
    };
    Thinker::manifest(config)?
        .shapes()
        .into_iter()
        .enumerate()
        .map(|(i, (name, shape))| {
            let count: usize = shape.iter().product();
            let tensor = if name.rsplit('.').next() == Some("bias") {
                Tensor::zeros(shape, DType::F32, device)?
            } else if shape.len() == 1 {
                Tensor::ones(shape, DType::F32, device)?
            } else {
                let inputs: usize = shape[1..].iter().product();
                let writes =
                    ["o_proj", "out_proj", "attn.proj", "down_proj", "fc2"].iter().any(|part| name.contains(part));
                let std = if name.ends_with("embed_tokens.weight") {
                    // Tied to the output layer: logits of a fresh model stay below one in size.
                    0.05
                } else {
                    let std = 1.0 / (inputs as f64).sqrt();
                    if writes { std / (2.0 * layers(&name) as f64).sqrt() } else { std }
                };
                Tensor::from_vec(normal(count, std, seed, i as u64), shape, device)?
            };
            Ok((name, Var::from_tensor(&tensor)?))
        })
        .collect()
}

/// The weights in a checkpoint folder, in f32.
pub fn load(config: &Config, dir: &Path, device: &Device) -> Result<Vars, TuneError> {
    let checkpoint = Checkpoint::open(dir, Hold::F32, device)?;
    Thinker::manifest(config)?
        .shapes()
        .into_iter()
        .map(|(name, shape)| {
            let var = Var::from_tensor(&checkpoint.tensor(&name, &shape)?)?;
            Ok((name, var))
        })
        .collect()
}

/// Normally distributed numbers (Box–Muller), the same on every platform.
pub fn normal(count: usize, std: f64, seed: u64, index: u64) -> Vec<f32> {
    let mut rng = Rng::new(seed, index, Stream::Weights);
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        let radius = (-2.0 * libm::log(1.0 - rng.unit())).sqrt() * std;
        let angle = 2.0 * PI * rng.unit();
        values.push((radius * cos(angle)) as f32);
        values.push((radius * cos(angle - PI / 2.0)) as f32);
    }
    values.truncate(count);
    values
}

/// How many numbers the variables hold.
pub fn parameters(vars: &Vars) -> usize {
    vars.values().map(|v| v.elem_count()).sum()
}
