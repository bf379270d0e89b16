//! The audio tower: log-mel chunks through two convolutions and pre-norm blocks, then pooled over the clip.
//! Knows nothing of waveforms or of the language model.

use candle_core::{DType, Device, Tensor};

use crate::model::Result;
use crate::model::nn::block::{Biases, Block, BlockSpec, MlpKind, Names};
use crate::model::nn::kernels;
use crate::model::nn::linear::Linear;
use crate::model::nn::mask::Mask;
use crate::model::nn::norm::{Norm, NormKind};
use crate::model::nn::pass::{Mode, Pass};
use crate::model::nn::tap::{Site, Tower};
use crate::model::nn::weights::{Scope, WeightError};
use crate::model::qwen2_5_omni::config::AudioConfig;

/// LayerNorm epsilon of the tower; the reference never configures it.
const EPS: f64 = 1e-5;

/// The audio tower.
#[derive(Debug)]
pub struct AudioTower {
    conv1: (Tensor, Tensor),
    conv2: (Tensor, Tensor),
    /// Sinusoidal positions of a chunk, `[n_window, width]`.
    positions: Tensor,
    blocks: Vec<Block>,
    post_norm: Norm,
    projection: Linear,
    width: usize,
    mels: usize,
}

impl AudioTower {
    /// Reads the tower's weights.
    pub fn load(scope: &Scope<'_>, config: &AudioConfig) -> Result<Self, WeightError> {
        let width = config.d_model;
        let conv = |name: &str, input: usize| -> Result<_, WeightError> {
            let scope = scope.pp(name);
            Ok((scope.tensor("weight", &[width, input, 3])?, scope.vector("bias", width)?))
        };
        let spec = BlockSpec {
            width,
            heads: config.encoder_attention_heads,
            kv_heads: config.encoder_attention_heads,
            mlp_width: config.encoder_ffn_dim,
            norm: NormKind::Layer(EPS),
            mlp: MlpKind::Gelu,
            bias: Biases { qv: true, k: false, o: true, mlp: true },
            names: Names {
                attention_norm: "self_attn_layer_norm",
                attention: "self_attn",
                qkvo: ["q_proj", "k_proj", "v_proj", "out_proj"],
                mlp_norm: "final_layer_norm",
                mlp: ["fc1", "fc2", ""],
            },
        };
        let place = |source| WeightError::Place { name: scope.name("positions"), source };
        let positions = sinusoid(config.n_window, width, scope.source().dtype(), scope.source().device());
        Ok(Self {
            conv1: conv("conv1", config.num_mel_bins)?,
            conv2: conv("conv2", width)?,
            positions: positions.map_err(place)?,
            blocks: (0..config.encoder_layers)
                .map(|layer| {
                    let site = Site { tower: Tower::Audio, layer };
                    Block::load(&scope.pp("layers").pp(layer), &spec, site)
                })
                .collect::<Result<_, _>>()?,
            post_norm: Norm::load(&scope.pp("ln_post"), width, NormKind::Layer(EPS))?,
            projection: Linear::load(&scope.pp("proj"), width, config.output_dim, true)?,
            width,
            mels: config.num_mel_bins,
        })
    }

    /// Runs independent chunks of mel frames, each `[mels, frames]` with `frames` ≤ 2 · `n_window`, and returns
    /// their states before pooling, `[positions, width]` each. A chunk's states depend on nothing but the chunk.
    pub fn encode_chunks(&self, chunks: &[Tensor], pass: &mut Pass<'_>) -> Result<Vec<Tensor>> {
        let mut packed = Vec::new();
        let mut lengths = Vec::with_capacity(chunks.len());
        let mut next = 0;
        while next < chunks.len() {
            pass.check()?;
            let frames = chunks[next].dim(1)?;
            let mut count = 0;
            for chunk in &chunks[next..] {
                if chunk.dim(1)? != frames {
                    break;
                }
                count += 1;
            }
            let batch = Tensor::stack(&chunks[next..next + count], 0)?; // [c, mels, frames]
            let states = self.convolve(&batch, pass.mode)?; // [c, positions, width]
            let positions = states.dim(1)?;
            lengths.extend(std::iter::repeat_n(positions, count));
            packed.push(states.reshape((count * positions, self.width))?);
            next += count;
        }
        if packed.is_empty() {
            return Ok(Vec::new());
        }
        let mut x = Tensor::cat(&packed, 0)?;
        for block in &self.blocks {
            x = block.forward(&x, None, Mask::Blocks(&lengths), None, pass)?;
        }
        let mut start = 0;
        lengths
            .iter()
            .map(|n| {
                let states = x.narrow(0, start, *n)?;
                start += n;
                Ok(states)
            })
            .collect()
    }

    /// `[chunks, mels, frames]` → `[chunks, positions, width]` with positions added.
    pub fn convolve(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let conv = |x: &Tensor, (weight, bias): &(Tensor, Tensor), stride| -> Result<Tensor> {
            let y = match mode {
                Mode::Answer => x.conv1d(weight, 1, stride, 1, 1)?,
                Mode::Eager => convolve_by_product(x, weight, stride)?,
            };
            Ok(y.broadcast_add(&bias.reshape((1, self.width, 1))?)?)
        };
        let x = kernels::gelu(&conv(x, &self.conv1, 1)?)?;
        let x = kernels::gelu(&conv(&x, &self.conv2, 2)?)?;
        let x = x.transpose(1, 2)?.contiguous()?;
        let positions = self.positions.narrow(0, 0, x.dim(1)?)?;
        Ok(x.broadcast_add(&positions.unsqueeze(0)?)?)
    }

    /// Pools one clip's chunk states in order (pairs run across chunks, an odd last position is dropped), then
    /// norm and projection: `[tokens, output]`.
    pub fn finish(&self, chunks: &[Tensor], mode: Mode) -> Result<Tensor> {
        let x = Tensor::cat(chunks, 0)?;
        let pairs = x.dim(0)? / 2;
        let x = x.narrow(0, 0, 2 * pairs)?.reshape((pairs, 2, self.width))?.mean(1)?;
        self.projection.forward(&self.post_norm.forward(&x, mode)?)
    }

    /// Mel bins of the input.
    pub fn mels(&self) -> usize {
        self.mels
    }
}

/// A convolution of kernel 3 and padding 1 as one product: `x` `[chunks, in, frames]`, `weight` `[out, in, 3]` →
/// `[chunks, out, ⌈frames / stride⌉]`. The library's own convolution is faster forwards and many times slower backwards.
fn convolve_by_product(x: &Tensor, weight: &Tensor, stride: usize) -> Result<Tensor> {
    let (chunks, input, frames) = x.dims3()?;
    let output = weight.dim(0)?;
    let padded = x.transpose(1, 2)?.pad_with_zeros(1, 1, 1)?; // [chunks, frames + 2, in]
    let taps = (0..3).map(|k| padded.narrow(1, k, frames)).collect::<candle_core::Result<Vec<_>>>()?;
    let mut columns = Tensor::cat(&taps, 2)?.contiguous()?; // [chunks, frames, 3 · in]
    if stride > 1 {
        let kept: Vec<u32> = (0..frames as u32).step_by(stride).collect();
        columns = columns.index_select(&Tensor::from_slice(&kept, kept.len(), x.device())?, 1)?;
    }
    let steps = columns.dim(1)?;
    let kernel = weight.transpose(1, 2)?.reshape((output, 3 * input))?;
    let y = columns.reshape((chunks * steps, 3 * input))?.matmul(&kernel.t()?)?;
    Ok(y.reshape((chunks, steps, output))?.transpose(1, 2)?.contiguous()?)
}

/// `[rows, width]`: sines, then cosines, of positions over geometrically spaced time scales.
fn sinusoid(rows: usize, width: usize, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
    let half = width / 2;
    let increment = 10_000f64.ln() / (half as f64 - 1.0);
    let inverse: Vec<f32> = (0..half).map(|i| (-(increment as f32) * i as f32).exp()).collect();
    let mut table = Vec::with_capacity(rows * width);
    for row in 0..rows {
        table.extend(inverse.iter().map(|f| (row as f32 * f).sin()));
        table.extend(inverse.iter().map(|f| (row as f32 * f).cos()));
    }
    Tensor::from_vec(table, (rows, width), device)?.to_dtype(dtype)
}
