//! The vision tower: patches of frame pairs through windowed blocks, merged into tokens.
//! Knows nothing of frames, time or the language model.

use candle_core::Tensor;

use crate::model::Result;
use crate::model::nn::block::{Biases, Block, BlockSpec, MlpKind, Names};
use crate::model::nn::kernels;
use crate::model::nn::linear::Linear;
use crate::model::nn::mask::Mask;
use crate::model::nn::norm::{Norm, NormKind};
use crate::model::nn::pass::Pass;
use crate::model::nn::rope::{RopeTable, inverse_frequencies};
use crate::model::nn::tap::{Site, Tower};
use crate::model::nn::weights::{Scope, WeightError};
use crate::model::qwen2_5_omni::config::VisionConfig;

/// RMSNorm epsilon of the tower; the reference never configures it.
const EPS: f64 = 1e-6;
/// Rotary base of the tower; the reference never configures it.
const ROPE_BASE: f64 = 10_000.0;

/// The vision tower.
#[derive(Debug)]
pub struct VisionTower {
    patch_embed: Linear,
    blocks: Vec<Block>,
    merger_norm: Norm,
    merger: [Linear; 2],
    config: VisionConfig,
}

/// The order in which a grid step's patches run through the blocks, and what belongs to it.
struct Windows {
    /// For each position in window order, the token (merge group) it comes from, `[tokens]`.
    order: Vec<u32>,
    /// Where each token went: the inverse of `order`.
    inverse: Vec<u32>,
    /// Patches per window.
    lengths: Vec<usize>,
    /// Rotary angles per patch in window order, `[patches, head_dim / 2]`.
    angles: Vec<f32>,
}

impl VisionTower {
    /// Reads the tower's weights.
    pub fn load(scope: &Scope<'_>, config: &VisionConfig) -> Result<Self, WeightError> {
        let width = config.hidden_size;
        let spec = BlockSpec {
            width,
            heads: config.num_heads,
            kv_heads: config.num_heads,
            mlp_width: config.intermediate_size,
            norm: NormKind::Rms(EPS),
            mlp: MlpKind::GatedSilu,
            bias: Biases { qv: true, k: true, o: true, mlp: true },
            names: Names {
                attention_norm: "norm1",
                attention: "attn",
                qkvo: ["q", "k", "v", "proj"],
                mlp_norm: "norm2",
                mlp: ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"],
            },
        };
        let group = width * config.spatial_merge_size * config.spatial_merge_size;
        let merger = scope.pp("merger");
        let (t, p) = (config.temporal_patch_size, config.patch_size);
        // A convolution whose stride is its kernel is one product per patch.
        let kernel = scope.pp("patch_embed.proj").tensor("weight", &[width, config.in_channels, t, p, p])?;
        let place = |source| WeightError::Place { name: scope.name("patch_embed.proj.weight"), source };
        Ok(Self {
            patch_embed: Linear::tied(kernel.reshape((width, config.patch_dim())).map_err(place)?),
            blocks: (0..config.depth)
                .map(|layer| {
                    let site = Site { tower: Tower::Vision, layer };
                    Block::load(&scope.pp("blocks").pp(layer), &spec, site)
                })
                .collect::<Result<_, _>>()?,
            merger_norm: Norm::load(&merger.pp("ln_q"), width, NormKind::Rms(EPS))?,
            merger: [
                Linear::load(&merger.pp("mlp.0"), group, group, true)?,
                Linear::load(&merger.pp("mlp.2"), group, config.out_hidden_size, true)?,
            ],
            config: config.clone(),
        })
    }

    /// Runs `steps` independent grid steps of `h` × `w` patches: `[steps · h · w, patch_dim]` →
    /// `[steps · h/merge · w/merge, output]`. A step's tokens depend on nothing but the step's patches.
    pub fn encode_steps(&self, pixels: &Tensor, h: usize, w: usize, pass: &mut Pass<'_>) -> Result<Tensor> {
        let (patches, width) = (pixels.dim(0)?, self.config.hidden_size);
        let steps = patches / (h * w);
        let group = self.config.spatial_merge_size * self.config.spatial_merge_size;
        let tokens = h * w / group;
        let windows = self.windows(h, w);
        let device = pixels.device();
        let repeat = |order: &[u32]| -> Result<Tensor> {
            let all: Vec<u32> = (0..steps).flat_map(|s| order.iter().map(move |i| i + (s * tokens) as u32)).collect();
            Ok(Tensor::from_vec(all, steps * tokens, device)?)
        };
        let x = self.patch_embed.forward(pixels)?;
        let x = x.reshape((steps * tokens, group * width))?.index_select(&repeat(&windows.order)?, 0)?;
        let mut x = x.reshape((patches, width))?;
        let half = self.config.head_dim() / 2;
        let rope = RopeTable::from_angles(&windows.angles.repeat(steps), half, x.dtype(), device)?;
        let window_lengths = windows.lengths.repeat(steps);
        let step_lengths = vec![h * w; steps];
        for (i, block) in self.blocks.iter().enumerate() {
            // "Full" attention still stays within one grid step.
            let full = self.config.fullatt_block_indexes.contains(&i);
            let mask = Mask::Blocks(if full { &step_lengths } else { &window_lengths });
            x = block.forward(&x, Some(&rope), mask, None, pass)?;
        }
        let x = self.merger_norm.forward(&x, pass.mode)?.reshape((steps * tokens, group * width))?;
        let x = self.merger[0].forward(&x)?;
        Ok(self.merger[1].forward(&kernels::gelu(&x)?)?.index_select(&repeat(&windows.inverse)?, 0)?)
    }

    /// The patch embedding alone, `[patches, width]`, for parity tests.
    pub fn embed_patches(&self, pixels: &Tensor) -> Result<Tensor> {
        self.patch_embed.forward(pixels)
    }

    /// Window order of one grid step of `h` × `w` patches.
    fn windows(&self, h: usize, w: usize) -> Windows {
        let merge = self.config.spatial_merge_size;
        let edge = self.config.window_tokens();
        let (rows, cols) = (h / merge, w / merge);
        let mut order = Vec::with_capacity(rows * cols);
        let mut lengths = Vec::new();
        for top in (0..rows).step_by(edge) {
            for left in (0..cols).step_by(edge) {
                let before = order.len();
                for row in top..(top + edge).min(rows) {
                    order.extend((left..(left + edge).min(cols)).map(|col| (row * cols + col) as u32));
                }
                lengths.push((order.len() - before) * merge * merge);
            }
        }
        let mut inverse = vec![0; order.len()];
        for (to, from) in order.iter().enumerate() {
            inverse[*from as usize] = to as u32;
        }
        // A head's rotary half is split evenly between the row and the column of the patch.
        let frequencies = inverse_frequencies(ROPE_BASE, self.config.head_dim() / 2);
        let mut angles = Vec::with_capacity(h * w * 2 * frequencies.len());
        for token in &order {
            let (row, col) = (*token as usize / cols * merge, *token as usize % cols * merge);
            for patch in 0..merge * merge {
                angles.extend(frequencies.iter().map(|f| (row + patch / merge) as f32 * f));
                angles.extend(frequencies.iter().map(|f| (col + patch % merge) as f32 * f));
            }
        }
        Windows { order, inverse, lengths, angles }
    }
}
