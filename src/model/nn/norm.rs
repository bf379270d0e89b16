//! RMSNorm and LayerNorm, fast or differentiable. Knows nothing of where they stand.

use candle_core::Tensor;
use candle_nn::ops;

use crate::model::Result;
use crate::model::nn::kernels;
use crate::model::nn::pass::Mode;
use crate::model::nn::weights::{Scope, WeightError};

/// A normalisation over the last dimension, computed in f32.
#[derive(Debug, Clone)]
pub enum Norm {
    /// `w · x / rms(x)`.
    Rms {
        /// Gain, `[width]`.
        weight: Tensor,
        /// Added to the mean square.
        eps: f32,
    },
    /// `w · (x − mean) / std + b`.
    Layer {
        /// Gain, `[width]`.
        weight: Tensor,
        /// Offset, `[width]`.
        bias: Tensor,
        /// Added to the variance.
        eps: f32,
    },
}

/// Which normalisation a block uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NormKind {
    /// RMSNorm with this epsilon.
    Rms(f64),
    /// LayerNorm with this epsilon.
    Layer(f64),
}

impl Norm {
    /// Reads `weight` (and `bias`) of `[width]`.
    pub fn load(scope: &Scope<'_>, width: usize, kind: NormKind) -> Result<Self, WeightError> {
        let weight = scope.vector("weight", width)?;
        Ok(match kind {
            NormKind::Rms(eps) => Self::Rms { weight, eps: eps as f32 },
            NormKind::Layer(eps) => Self::Layer { weight, bias: scope.vector("bias", width)?, eps: eps as f32 },
        })
    }

    /// `[tokens, width]` → the same.
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let x = x.contiguous()?;
        Ok(match (self, mode) {
            (Self::Rms { weight, eps }, Mode::Answer) => ops::rms_norm(&x, weight, *eps)?,
            (Self::Layer { weight, bias, eps }, Mode::Answer) => ops::layer_norm(&x, weight, bias, *eps)?,
            (Self::Rms { weight, eps }, Mode::Eager) => kernels::rms_norm(&x, weight, *eps)?,
            (Self::Layer { weight, bias, eps }, Mode::Eager) => kernels::layer_norm(&x, weight, bias, *eps)?,
        })
    }
}
