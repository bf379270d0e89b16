//! Random tiny Thinkers for property tests: any shape the configuration allows, seeded weights.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor, Var};
use modalens::model::nn::weights::Variables;
use modalens::model::qwen2_5_omni::config::Config;
use modalens::model::qwen2_5_omni::thinker::Thinker;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use serde_json::json;

/// The numbers that shape a tiny Thinker.
#[derive(Debug, Clone)]
pub struct Shape {
    pub layers: usize,
    pub kv_heads: usize,
    pub group: usize,
    pub half: usize,
    pub merge: usize,
    pub patch: usize,
    pub window: usize,
    pub n_window: usize,
    pub tied: bool,
    pub seed: u64,
}

pub fn shapes() -> impl Strategy<Value = Shape> {
    (
        (1..4usize, 1..3usize, 1..4usize, 3..7usize),
        (1..4usize, 2..5usize, 1..4usize, 4..30usize),
        any::<bool>(),
        any::<u64>(),
    )
        .prop_map(|((layers, kv_heads, group, half), (merge, patch, window, n_window), tied, seed)| Shape {
            layers,
            kv_heads,
            group,
            half,
            merge,
            patch,
            window,
            n_window,
            tied,
            seed,
        })
}

pub const VOCAB: usize = 97;
pub const AUDIO: u32 = 90;
pub const IMAGE: u32 = 91;
pub const VIDEO: u32 = 92;

impl Shape {
    pub fn heads(&self) -> usize {
        self.kv_heads * self.group
    }

    pub fn config(&self) -> Config {
        let hidden = self.heads() * 2 * self.half;
        let h = self.half / 3;
        let json = json!({ "thinker_config": {
            "text_config": {
                "vocab_size": VOCAB, "hidden_size": hidden, "intermediate_size": 24, "num_hidden_layers": self.layers,
                "num_attention_heads": self.heads(), "num_key_value_heads": self.kv_heads, "rms_norm_eps": 1e-6,
                "rope_theta": 1e4, "rope_scaling": {"mrope_section": [self.half - 2 * h, h, h]},
                "max_position_embeddings": 4096
            },
            "vision_config": {
                "depth": 2, "hidden_size": 16, "intermediate_size": 20, "num_heads": 2, "patch_size": self.patch,
                "temporal_patch_size": 2, "spatial_merge_size": self.merge,
                "window_size": self.window * self.merge * self.patch, "out_hidden_size": hidden,
                "fullatt_block_indexes": [1]
            },
            "audio_config": {
                "num_mel_bins": 12, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 20,
                "d_model": 16, "max_source_positions": 64, "n_window": self.n_window, "output_dim": hidden
            },
            "audio_token_index": AUDIO, "image_token_index": IMAGE, "video_token_index": VIDEO,
            "audio_start_token_id": 93, "audio_end_token_id": 94, "vision_start_token_id": 95,
            "vision_end_token_id": 96, "position_id_per_seconds": 25, "seconds_per_chunk": 2,
            "tie_word_embeddings": self.tied
        }});
        Config::parse(&json.to_string(), Path::new("tiny")).unwrap()
    }

    /// Seeded weights by name, of the size that keeps activations near one.
    pub fn variables(&self) -> BTreeMap<String, Var> {
        let mut rng = rand::rngs::StdRng::seed_from_u64(self.seed);
        Thinker::manifest(&self.config())
            .unwrap()
            .shapes()
            .into_iter()
            .map(|(name, shape)| {
                let fan: usize = shape.iter().skip(1).product();
                let scale = if shape.len() == 1 { 0.2 } else { 1.7 / (fan as f32).sqrt() };
                let mean = if name.ends_with("norm.weight") || name.contains("norm") && name.ends_with("weight") {
                    1.0
                } else {
                    0.0
                };
                let n = shape.iter().product();
                let values: Vec<f32> = (0..n).map(|_| mean + scale * rng.random_range(-1.0..1.0)).collect();
                let tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
                (name, Var::from_tensor(&tensor).unwrap())
            })
            .collect()
    }

    pub fn thinker(&self) -> Thinker {
        Thinker::load(&Variables::new(self.variables(), &Device::Cpu), &self.config()).unwrap()
    }
}

/// Largest absolute difference.
pub fn worst(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    let diff = (a - b).unwrap().abs().unwrap().flatten_all().unwrap();
    diff.max(0).unwrap().to_scalar().unwrap()
}

/// All numbers, in order.
pub fn numbers(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}
