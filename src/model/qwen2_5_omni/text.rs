//! The language model with TMRoPE. Knows nothing of pictures or sound: its input is a row of embeddings with
//! three-dimensional positions.

use candle_core::{DType, Device, Tensor};

use crate::model::Result;
use crate::model::nn::block::{Biases, Block, BlockSpec, MlpKind, Names};
use crate::model::nn::cache::KvCache;
use crate::model::nn::linear::Linear;
use crate::model::nn::mask::Mask;
use crate::model::nn::norm::{Norm, NormKind};
use crate::model::nn::pass::Pass;
use crate::model::nn::rope::{RopeTable, inverse_frequencies};
use crate::model::nn::tap::{Site, Tower};
use crate::model::nn::weights::{Scope, WeightError};
use crate::model::qwen2_5_omni::config::TextConfig;

/// The language model.
#[derive(Debug)]
pub struct LanguageModel {
    embedding: Tensor,
    blocks: Vec<Block>,
    norm: Norm,
    head: Linear,
    frequencies: Vec<f32>,
    sections: [usize; 3],
    config: TextConfig,
    dtype: DType,
    device: Device,
}

impl LanguageModel {
    /// Reads the weights: `model.*` and, unless `tied`, `lm_head.weight`, below `scope`.
    pub fn load(scope: &Scope<'_>, config: &TextConfig, tied: bool) -> Result<Self, WeightError> {
        let model = scope.pp("model");
        let norm = NormKind::Rms(config.rms_norm_eps);
        let spec = BlockSpec {
            width: config.hidden_size,
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            mlp_width: config.intermediate_size,
            norm,
            mlp: MlpKind::GatedSilu,
            bias: Biases { qv: true, k: true, o: false, mlp: false },
            names: Names {
                attention_norm: "input_layernorm",
                attention: "self_attn",
                qkvo: ["q_proj", "k_proj", "v_proj", "o_proj"],
                mlp_norm: "post_attention_layernorm",
                mlp: ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"],
            },
        };
        let source = scope.source();
        let table = model.name("embed_tokens.weight");
        let embedding = source.table(&table, config.vocab_size, config.hidden_size)?;
        let head = if tied {
            Linear::tied(embedding.clone())
        } else {
            Linear::load(&scope.pp("lm_head"), config.hidden_size, config.vocab_size, false)?
        };
        let [t, h, w] = config.rope_scaling.mrope_section[..] else {
            unreachable!("Config::load refuses a split that has not three sections");
        };
        Ok(Self {
            embedding,
            blocks: (0..config.num_hidden_layers)
                .map(|layer| {
                    let site = Site { tower: Tower::Text, layer };
                    Block::load(&model.pp("layers").pp(layer), &spec, site)
                })
                .collect::<Result<_, _>>()?,
            norm: Norm::load(&model.pp("norm"), config.hidden_size, norm)?,
            head,
            frequencies: inverse_frequencies(config.rope_theta, config.head_dim()),
            sections: [t, h, w],
            config: config.clone(),
            dtype: source.dtype(),
            device: source.device().clone(),
        })
    }

    /// An empty KV cache of this model.
    pub fn new_cache(&self) -> KvCache {
        let c = &self.config;
        KvCache::new(c.num_hidden_layers, c.num_key_value_heads, c.head_dim(), self.dtype, &self.device)
    }

    /// Rows of the embedding table, `[ids, width]`, in the compute type.
    pub fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        let ids = Tensor::from_slice(ids, ids.len(), &self.device)?;
        Ok(self.embedding.index_select(&ids, 0)?.to_dtype(self.dtype)?)
    }

    /// Rotary tables of tokens at `positions` (t, h, w; equally long).
    pub fn rope(&self, positions: [&[u32]; 3]) -> Result<RopeTable> {
        let half = self.frequencies.len();
        let mut angles = Vec::with_capacity(positions[0].len() * half);
        for ((t, h), w) in positions[0].iter().zip(positions[1]).zip(positions[2]) {
            let mut start = 0;
            for (position, section) in [t, h, w].into_iter().zip(self.sections) {
                angles.extend(self.frequencies[start..start + section].iter().map(|f| *position as f32 * f));
                start += section;
            }
        }
        RopeTable::from_angles(&angles, half, self.dtype, &self.device)
    }

    /// `[tokens, width]` embeddings → residual stream after the last block, before the final norm.
    ///
    /// With a cache the tokens follow those cached and become part of it; the cache is unchanged on error.
    pub fn forward(
        &self,
        embeddings: &Tensor,
        positions: [&[u32]; 3],
        mask: Mask<'_>,
        mut cache: Option<&mut KvCache>,
        pass: &mut Pass<'_>,
    ) -> Result<Tensor> {
        let rope = self.rope(positions)?;
        let mut x = embeddings.clone();
        for block in &self.blocks {
            x = block.forward(&x, Some(&rope), mask, cache.as_deref_mut(), pass)?;
        }
        if let Some(cache) = cache {
            cache.advance(embeddings.dim(0)?);
        }
        Ok(x)
    }

    /// The final norm of chosen rows, `[rows, width]`.
    pub fn normalise(&self, states: &Tensor, pass: &Pass<'_>) -> Result<Tensor> {
        self.norm.forward(states, pass.mode)
    }

    /// Logits of normalised rows, `[rows, vocab]` f32.
    pub fn logits(&self, normalised: &Tensor) -> Result<Tensor> {
        Ok(self.head.forward(normalised)?.to_dtype(DType::F32)?)
    }
}
