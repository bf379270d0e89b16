//! Rotary embeddings as tables of cosines and sines; TMRoPE and 2-D vision angles only differ in how the
//! table is filled. Knows nothing of attention.

use candle_core::{DType, Device, Tensor};
use candle_nn::rotary_emb;

use crate::model::Result;
use crate::model::nn::kernels;
use crate::model::nn::pass::Mode;

/// Cosines and sines per token, half rotation (first half against second half of a head).
#[derive(Debug, Clone)]
pub struct RopeTable {
    /// `[tokens, head_dim / 2]`.
    cos: Tensor,
    /// `[tokens, head_dim / 2]`.
    sin: Tensor,
}

impl RopeTable {
    /// A table from angles in radians, `[tokens, half]` row-major, computed in f32 as the reference does.
    pub fn from_angles(angles: &[f32], half: usize, dtype: DType, device: &Device) -> Result<Self> {
        let tokens = angles.len() / half;
        let table = |f: fn(f32) -> f32| -> Result<Tensor> {
            let values: Vec<f32> = angles.iter().map(|a| f(*a)).collect();
            Ok(Tensor::from_vec(values, (tokens, half), device)?.to_dtype(dtype)?)
        };
        Ok(Self { cos: table(f32::cos)?, sin: table(f32::sin)? })
    }

    /// Cosines and sines, each `[tokens, head_dim / 2]`.
    pub fn tables(&self) -> (&Tensor, &Tensor) {
        (&self.cos, &self.sin)
    }

    /// Rotates `[heads, tokens, head_dim]` (contiguous).
    pub fn apply(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        Ok(match mode {
            Mode::Answer => rotary_emb::rope(&x.unsqueeze(0)?, &self.cos, &self.sin)?.squeeze(0)?,
            Mode::Eager => kernels::rope(x, &self.cos, &self.sin)?,
        })
    }
}

/// `base^(−2i/dim)` for `i` in `0..dim/2`, in f32 as the reference computes them.
pub fn inverse_frequencies(base: f64, dim: usize) -> Vec<f32> {
    (0..dim / 2).map(|i| 1.0 / (base as f32).powf((2 * i) as f32 / dim as f32)).collect()
}
