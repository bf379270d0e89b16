//! CPU kernels for the few operations where plain tensor operations leave a core idle or walk memory many times:
//! matrix–vector product, products with quantised weights, gated SiLU, GELU, the masked soft-max, and what training
//! adds (norms, rotation, bias with their gradients). Each has a plain-operation twin for other devices, and a test
//! compares the two. Knows nothing of layers.

mod eager;
mod islands;
mod quantized;
mod simd;

pub use eager::{add_bias, layer_norm, rms_norm, rope, softmax};
pub use islands::{Island, attend_islands, island_probs};
pub use quantized::{quantized_product, widened_product};

use std::ops::{Deref, Range};

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, DType, InplaceOp1, Layout, Result, Shape, Storage, Tensor, WithDType,
};
use half::f16;
use rayon::prelude::*;

/// `x [1, in] · Wᵀ [in, out]` → `[1, out]`, rows of `W` spread over the threads; `W` in f32 or f16, `x` in f32.
pub fn matvec(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op2_no_bwd(w, &MatVec)
}

/// `[tokens, 2·width]` (gate, then up) → `silu(gate) · up`, `[tokens, width]`.
pub fn silu_mul(gate_up: &Tensor) -> Result<Tensor> {
    if gate_up.device().is_cpu() && gate_up.dtype() == DType::F32 {
        return gate_up.contiguous()?.apply_op1(SiluMul);
    }
    let width = gate_up.dim(1)? / 2;
    gate_up.narrow(1, 0, width)?.silu()? * gate_up.narrow(1, width, width)?
}

/// GELU with the error function, elementwise.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() && x.dtype() == DType::F32 {
        return x.contiguous()?.apply_op1(Gelu);
    }
    x.gelu_erf()
}

/// Turns scores into probabilities in place: `softmax(scale · s)` over the last dimension.
///
/// `scores` is `[batch, rows, keys]` f32 on the CPU, contiguous. With `causal = Some(first)`, row `r` sees the
/// first `first + r + 1` keys only. A row without any finite score becomes all zeros.
pub fn softmax_in_place(scores: &Tensor, scale: f32, causal: Option<usize>) -> Result<()> {
    scores.inplace_op1(&Softmax { scale, causal, rows: scores.dim(1)? })
}

struct MatVec;

/// Rows each thread takes at a time: long enough to amortise scheduling, short enough to balance.
const ROW_CHUNK: usize = 64;

impl CustomOp2 for MatVec {
    fn name(&self) -> &'static str {
        "matvec"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, w: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        let (out, input) = lw.shape().dims2()?;
        let x = contiguous::<f32>(x, lx)?;
        let mut y = vec![0f32; out];
        if let CpuStorage::F32(_) = w {
            let w = contiguous::<f32>(w, lw)?;
            y.par_chunks_mut(ROW_CHUNK).zip(w.par_chunks(ROW_CHUNK * input)).for_each(|(y, w)| {
                simd::dot_rows(x, w, y);
            });
        } else {
            let w = contiguous::<f16>(w, lw)?;
            y.par_chunks_mut(ROW_CHUNK).zip(w.par_chunks(ROW_CHUNK * input)).for_each(|(y, w)| {
                simd::dot_rows_f16(x, w, y);
            });
        }
        Ok((CpuStorage::F32(y), (1, out).into()))
    }
}

struct SiluMul;

impl CustomOp1 for SiluMul {
    fn name(&self) -> &'static str {
        "silu_mul"
    }

    fn cpu_fwd(&self, x: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = l.shape().dims2()?;
        let half = width / 2;
        let x = contiguous::<f32>(x, l)?;
        let mut y = vec![0f32; rows * half];
        y.par_chunks_mut(half.max(1)).zip(x.par_chunks(width.max(1))).for_each(|(y, x)| {
            let (gate, up) = x.split_at(half);
            simd::silu_mul(gate, up, y);
        });
        Ok((CpuStorage::F32(y), (rows, half).into()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let g = g.contiguous()?;
        let half = x.dim(1)? / 2;
        let mut dx = vec![0f32; x.elem_count()];
        let (values, slopes) = (host(x)?, host(&g)?);
        let rows = dx.par_chunks_mut((2 * half).max(1)).zip(values.numbers().par_chunks((2 * half).max(1)));
        rows.zip(slopes.numbers().par_chunks(half.max(1))).for_each(|((dx, x), g)| {
            let ((gate, up), (dgate, dup)) = (x.split_at(half), dx.split_at_mut(half));
            simd::silu_mul_back(gate, up, g, dgate, dup);
        });
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}

struct Gelu;

/// Numbers each thread takes at a time in elementwise kernels.
const CHUNK: usize = 4096;

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = contiguous::<f32>(x, l)?;
        let mut y = vec![0f32; x.len()];
        y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| simd::gelu(x, y));
        Ok((CpuStorage::F32(y), l.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let g = g.contiguous()?;
        let mut dx = vec![0f32; x.elem_count()];
        let (values, slopes) = (host(x)?, host(&g)?);
        let inputs = values.numbers().par_chunks(CHUNK).zip(slopes.numbers().par_chunks(CHUNK));
        let parts = dx.par_chunks_mut(CHUNK).zip(inputs);
        parts.for_each(|(dx, (x, g))| simd::gelu_back(x, g, dx));
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}

struct Softmax {
    scale: f32,
    causal: Option<usize>,
    rows: usize,
}

impl InplaceOp1 for Softmax {
    fn name(&self) -> &'static str {
        "masked_softmax"
    }

    fn cpu_fwd(&self, scores: &mut CpuStorage, l: &Layout) -> Result<()> {
        let keys = l.dims()[l.dims().len() - 1];
        let Some((start, end)) = l.contiguous_offsets() else {
            candle_core::bail!("masked_softmax needs contiguous scores");
        };
        let CpuStorage::F32(scores) = scores else { candle_core::bail!("masked_softmax needs f32 scores") };
        scores[start..end].par_chunks_mut(keys.max(1)).enumerate().for_each(|(i, row)| {
            let seen = self.causal.map_or(keys, |first| (first + i % self.rows + 1).min(keys));
            let (seen, hidden) = row.split_at_mut(seen);
            simd::softmax(seen, self.scale);
            hidden.fill(0.0);
        });
        Ok(())
    }
}

/// The numbers of a contiguous f32 tensor in host memory, for gradients that need several tensors at once.
struct Host<G> {
    storage: G,
    range: Range<usize>,
}

fn host(tensor: &Tensor) -> Result<Host<impl Deref<Target = Storage> + '_>> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("this kernel needs a contiguous tensor");
    };
    if !matches!(&*storage, Storage::Cpu(CpuStorage::F32(_))) {
        candle_core::bail!("this kernel needs f32 numbers in host memory");
    }
    Ok(Host { storage, range: start..end })
}

impl<G: Deref<Target = Storage>> Host<G> {
    fn numbers(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(numbers)) => &numbers[self.range.clone()],
            _ => &[],
        }
    }
}

fn contiguous<'a, T: WithDType>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<T>()?[start..end]),
        None => candle_core::bail!("this kernel needs a contiguous tensor"),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, IndexOp, Tensor};

    use super::*;

    fn worst(a: &Tensor, b: &Tensor) -> f32 {
        let diff = (a - b).unwrap().abs().unwrap().flatten_all().unwrap();
        diff.max(0).unwrap().to_scalar().unwrap()
    }

    #[test]
    fn matvec_is_the_product() {
        for (out, input) in [(1, 1), (7, 33), (130, 64), (65, 200)] {
            let x = Tensor::randn(0f32, 1., (1, input), &Device::Cpu).unwrap();
            let w = Tensor::randn(0f32, 1., (out, input), &Device::Cpu).unwrap();
            let expected = x.matmul(&w.t().unwrap()).unwrap();
            assert!(worst(&matvec(&x, &w).unwrap(), &expected) < 1e-4);
            let narrow = w.to_dtype(DType::F16).unwrap();
            let expected = x.matmul(&narrow.to_dtype(DType::F32).unwrap().t().unwrap()).unwrap();
            assert!(worst(&matvec(&x, &narrow).unwrap(), &expected) < 1e-4);
        }
    }

    #[test]
    fn gated_silu_and_gelu_match_plain_operations() {
        let x = (Tensor::randn(0f32, 1., (5, 38), &Device::Cpu).unwrap() * 20.).unwrap();
        let plain = (x.narrow(1, 0, 19).unwrap().silu().unwrap() * x.narrow(1, 19, 19).unwrap()).unwrap();
        assert!(worst(&silu_mul(&x).unwrap(), &plain) < 1e-4);
        let small = (&x / 10.).unwrap();
        assert!(worst(&gelu(&small).unwrap(), &small.gelu_erf().unwrap()) < 1e-5);
    }

    #[test]
    fn softmax_masks_scales_and_survives_empty_rows() {
        let scores = Tensor::randn(0f32, 3., (2, 3, 37), &Device::Cpu).unwrap();
        let plain = candle_nn::ops::softmax(&(&scores * 0.5).unwrap(), 2).unwrap();
        let ours = scores.copy().unwrap();
        softmax_in_place(&ours, 0.5, None).unwrap();
        assert!(worst(&ours, &plain) < 1e-6);

        let causal = scores.copy().unwrap();
        softmax_in_place(&causal, 0.5, Some(4)).unwrap();
        for row in 0..3 {
            let seen = scores.i((1, row, ..row + 5)).unwrap();
            let plain = candle_nn::ops::softmax(&(seen * 0.5).unwrap(), 0).unwrap();
            assert!(worst(&causal.i((1, row, ..row + 5)).unwrap(), &plain) < 1e-6);
            let hidden: f32 =
                causal.i((1, row, row + 5..)).unwrap().abs().unwrap().sum_all().unwrap().to_scalar().unwrap();
            assert_eq!(hidden, 0.0);
        }

        let empty = Tensor::full(f32::NEG_INFINITY, (1, 1, 9), &Device::Cpu).unwrap();
        softmax_in_place(&empty, 1.0, None).unwrap();
        assert_eq!(empty.flatten_all().unwrap().to_vec1::<f32>().unwrap(), vec![0.0; 9]);
    }
}
