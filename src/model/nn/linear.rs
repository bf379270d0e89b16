//! A linear layer whose weights may be dense, half-precision, quantised or trained apart.
//! Knows nothing of where it stands.

use candle_core::{DType, Tensor};

use crate::model::nn::kernels;
use crate::model::nn::weights::{Matrix, Scope, WeightError};
use crate::model::{ModelError, Result};

/// `y = x · Wᵀ + b`, possibly several layers of one input fused along their outputs.
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Matrix,
    /// `[out]`; fused layers without a bias of their own hold zeros here.
    bias: Option<Tensor>,
}

/// One of the layers fused into a [`Linear`]: name, output width, whether it has a bias.
pub type Part<'a> = (&'a str, usize, bool);

impl Linear {
    /// Reads `weight` `[out, in]` (and `bias` `[out]`).
    pub fn load(scope: &Scope<'_>, input: usize, output: usize, bias: bool) -> Result<Self, WeightError> {
        let weight = scope.source().matrix(&[(scope.name("weight"), output)], input)?;
        let bias = if bias { Some(scope.vector("bias", output)?) } else { None };
        Ok(Self { weight, bias })
    }

    /// Reads several layers of the same input as one.
    pub fn load_fused(scope: &Scope<'_>, input: usize, parts: &[Part<'_>]) -> Result<Self, WeightError> {
        let names: Vec<_> = parts.iter().map(|(name, out, _)| (scope.pp(name).name("weight"), *out)).collect();
        let weight = scope.source().matrix(&names, input)?;
        let mut bias = None;
        if parts.iter().any(|(_, _, has)| *has) {
            let source = scope.source();
            let place = |source| WeightError::Place { name: scope.name("bias"), source };
            let pieces = parts
                .iter()
                .map(|(name, out, has)| {
                    if *has {
                        scope.pp(name).vector("bias", *out)
                    } else {
                        Tensor::zeros(*out, source.dtype(), source.device()).map_err(place)
                    }
                })
                .collect::<Result<Vec<_>, _>>()?;
            bias = Some(match &weight {
                // Fusing the variables themselves would cut each step's gradients off the next step's values.
                Matrix::Parts(_) => return Ok(Self { weight, bias: None }.with_parts(pieces)),
                _ => Tensor::cat(&pieces, 0).map_err(place)?,
            });
        }
        Ok(Self { weight, bias })
    }

    /// The embedding table used as output layer.
    pub fn tied(table: Tensor) -> Self {
        Self { weight: Matrix::Dense(table), bias: None }
    }

    /// Appends per-part biases behind the parts: `[w0, w1, …, b0, b1, …]`.
    fn with_parts(mut self, biases: Vec<Tensor>) -> Self {
        if let Matrix::Parts(parts) = &mut self.weight {
            parts.extend(biases);
        }
        self
    }

    /// The outputs of layers fused by [`Self::load_fused`], as heads of width `dim`: `[tokens, heads, dim]` for each
    /// number in `heads`.
    pub fn forward_heads<const N: usize>(&self, x: &Tensor, heads: [usize; N], dim: usize) -> Result<[Tensor; N]> {
        let tokens = x.dim(0)?;
        let mut outputs = Vec::with_capacity(N);
        if let Matrix::Parts(parts) = &self.weight {
            // Apart: the gradient of a slice of a fused output would be a whole output of zeros, once per slice.
            let (weights, biases): (Vec<_>, Vec<_>) = parts.iter().partition(|p| p.rank() == 2);
            for (i, (w, heads)) in weights.iter().zip(heads).enumerate() {
                let y = x.matmul(&w.t()?)?;
                let y = match biases.get(i) {
                    Some(b) => kernels::add_bias(&y, b)?,
                    None => y,
                };
                outputs.push(y.reshape((tokens, heads, dim))?);
            }
        } else {
            let y = self.forward(x)?.reshape((tokens, heads.iter().sum::<usize>(), dim))?;
            let mut start = 0;
            for heads in heads {
                outputs.push(y.narrow(1, start, heads)?);
                start += heads;
            }
        }
        outputs.try_into().map_err(|_| ModelError::Input(format!("this layer has not {N} parts")))
    }

    /// `[tokens, in]` → `[tokens, out]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = match &self.weight {
            Matrix::Dense(w) => dense(x, w)?,
            Matrix::Quantized(w) => kernels::quantized_product(&x.to_dtype(DType::F32)?, w)?.to_dtype(x.dtype())?,
            // Fused anew in every run: the parts are what is trained.
            Matrix::Parts(parts) => {
                let (weights, biases): (Vec<_>, Vec<_>) = parts.iter().partition(|p| p.rank() == 2);
                let y = x.matmul(&Tensor::cat(&weights, 0)?.t()?)?;
                if biases.is_empty() { y } else { kernels::add_bias(&y, &Tensor::cat(&biases, 0)?)? }
            }
        };
        Ok(match &self.bias {
            Some(b) => kernels::add_bias(&y, b)?,
            None => y,
        })
    }
}

fn dense(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() && x.dtype() == DType::F32 {
        if x.dim(0)? == 1 && matches!(w.dtype(), DType::F32 | DType::F16) {
            return Ok(kernels::matvec(x, w)?);
        }
        if w.dtype() != DType::F32 {
            return Ok(kernels::widened_product(x, w)?);
        }
    }
    Ok(x.matmul(&w.t()?)?)
}
