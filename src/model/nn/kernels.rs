//! CPU kernels for the few operations where plain tensor operations leave a core idle or walk memory twice:
//! matrix–vector product, gated SiLU, GELU and the masked soft-max. Each has a plain-operation twin for other
//! devices, and a test compares the two. Knows nothing of layers.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, InplaceOp1, Layout, Result, Shape, Tensor, WithDType};
use half::f16;
use rayon::prelude::*;

/// `x [1, in] · Wᵀ [in, out]` → `[1, out]`, rows of `W` spread over the threads; `W` in f32 or f16, `x` in f32.
pub fn matvec(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op2_no_bwd(w, &MatVec)
}

/// `[tokens, 2·width]` (gate, then up) → `silu(gate) · up`, `[tokens, width]`.
pub fn silu_mul(gate_up: &Tensor) -> Result<Tensor> {
    if gate_up.device().is_cpu() && gate_up.dtype() == DType::F32 {
        return gate_up.contiguous()?.apply_op1_no_bwd(&SiluMul);
    }
    let width = gate_up.dim(1)? / 2;
    gate_up.narrow(1, 0, width)?.silu()? * gate_up.narrow(1, width, width)?
}

/// GELU with the error function, elementwise.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() && x.dtype() == DType::F32 {
        return x.contiguous()?.apply_op1_no_bwd(&Gelu);
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
}

struct Gelu;

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = contiguous::<f32>(x, l)?;
        let mut y = vec![0f32; x.len()];
        y.par_chunks_mut(4096).zip(x.par_chunks(4096)).for_each(|(y, x)| {
            for (y, x) in y.iter_mut().zip(x) {
                *y = 0.5 * x * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2));
            }
        });
        Ok((CpuStorage::F32(y), l.shape().clone()))
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

fn contiguous<'a, T: WithDType>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<T>()?[start..end]),
        None => candle_core::bail!("this kernel needs a contiguous tensor"),
    }
}

/// The inner loops, written so that they vectorise, compiled once for the baseline and once for AVX2.
mod simd {
    use half::f16;

    /// Independent accumulators hide the latency of the fused multiply-add.
    const LANES: usize = 32;

    macro_rules! dispatch {
        ($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*) $body:block) => {
            $(#[$doc])*
            #[allow(unsafe_code, reason = "the AVX2 copy may only run where the processor has AVX2")]
            #[inline]
            pub fn $name($($arg: $ty),*) {
                // `FUSED` says whether the processor has a fused multiply-add; without it, `mul_add` is a slow call.
                #[inline(always)]
                #[allow(clippy::inline_always, reason = "the body must be compiled with the caller's features")]
                fn body<const FUSED: bool>($($arg: $ty),*) $body
                #[cfg(target_arch = "x86_64")]
                {
                    #[target_feature(enable = "avx2,fma,f16c")]
                    fn avx2($($arg: $ty),*) { body::<true>($($arg),*); }
                    if std::arch::is_x86_feature_detected!("avx2")
                        && std::arch::is_x86_feature_detected!("fma")
                        && std::arch::is_x86_feature_detected!("f16c")
                    {
                        // SAFETY: the three features were just detected.
                        return unsafe { avx2($($arg),*) };
                    }
                }
                body::<{ cfg!(target_arch = "aarch64") }>($($arg),*);
            }
        };
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "the body must be compiled with the caller's features")]
    fn fma<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
        if FUSED { a.mul_add(b, c) } else { a * b + c }
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "the body must be compiled with the caller's features")]
    fn sum(lanes: &[f32; LANES]) -> f32 {
        let mut lanes = *lanes;
        let mut width = LANES;
        while width > 1 {
            width /= 2;
            for i in 0..width {
                lanes[i] += lanes[i + width];
            }
        }
        lanes[0]
    }

    dispatch! {
        /// `y[o] = x · w[o]` for the rows of `w`.
        dot_rows(x: &[f32], w: &[f32], y: &mut [f32]) {
            for (y, w) in y.iter_mut().zip(w.chunks_exact(x.len().max(1))) {
                let mut lanes = [0f32; LANES];
                let (xs, xr) = x.as_chunks::<LANES>();
                let (ws, wr) = w.as_chunks::<LANES>();
                for (x, w) in xs.iter().zip(ws) {
                    for i in 0..LANES {
                        lanes[i] = fma::<FUSED>(x[i], w[i], lanes[i]);
                    }
                }
                let rest: f32 = xr.iter().zip(wr).map(|(x, w)| x * w).sum();
                *y = sum(&lanes) + rest;
            }
        }
    }

    dispatch! {
        /// `y[o] = x · w[o]` for the rows of `w` in f16.
        dot_rows_f16(x: &[f32], w: &[f16], y: &mut [f32]) {
            for (y, w) in y.iter_mut().zip(w.chunks_exact(x.len().max(1))) {
                let mut lanes = [0f32; LANES];
                let (xs, xr) = x.as_chunks::<LANES>();
                let (ws, wr) = w.as_chunks::<LANES>();
                for (x, w) in xs.iter().zip(ws) {
                    for i in 0..LANES {
                        lanes[i] = fma::<FUSED>(x[i], widen(w[i]), lanes[i]);
                    }
                }
                let rest: f32 = xr.iter().zip(wr).map(|(x, w)| x * widen(*w)).sum();
                *y = sum(&lanes) + rest;
            }
        }
    }

    /// A finite f16 as f32 by shifting its bits and scaling by 2¹¹²: exact, subnormals included, and it vectorises.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "the body must be compiled with the caller's features")]
    fn widen(h: f16) -> f32 {
        let bits = u32::from(h.to_bits());
        let magnitude = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
        f32::from_bits(magnitude.to_bits() | ((bits & 0x8000) << 16))
    }

    /// `e^x` to about two units in the last place: 2^n · e^r with |r| ≤ ln 2 / 2 and a polynomial of degree 6.
    /// Underflows to 0 below −87; −∞ gives 0.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "the body must be compiled with the caller's features")]
    fn exp<const FUSED: bool>(x: f32) -> f32 {
        const LN2_HIGH: f32 = 0.693_359_4;
        const LN2_LOW: f32 = -2.121_944_4e-4;
        // Adding and subtracting 1.5·2²³ rounds to the nearest integer without a library call.
        const ROUND: f32 = 12_582_912.0;
        let clamped = x.clamp(-87.0, 88.0);
        let n = fma::<FUSED>(clamped, std::f32::consts::LOG2_E, ROUND) - ROUND;
        let r = fma::<FUSED>(n, -LN2_LOW, fma::<FUSED>(n, -LN2_HIGH, clamped));
        let mut p = 1.388_888_9e-3f32;
        p = fma::<FUSED>(p, r, 8.333_334e-3);
        p = fma::<FUSED>(p, r, 4.166_666_6e-2);
        p = fma::<FUSED>(p, r, 0.166_666_67);
        p = fma::<FUSED>(p, r, 0.5);
        p = fma::<FUSED>(p, r, 1.0);
        p = fma::<FUSED>(p, r, 1.0);
        let scaled = p * f32::from_bits(((n as i32 + 127) << 23) as u32);
        if x < -87.0 { 0.0 } else { scaled }
    }

    dispatch! {
        /// `y = silu(gate) · up`.
        silu_mul(gate: &[f32], up: &[f32], y: &mut [f32]) {
            for ((y, g), u) in y.iter_mut().zip(gate).zip(up) {
                *y = g / (1.0 + exp::<FUSED>(-g)) * u;
            }
        }
    }

    dispatch! {
        /// `row = softmax(scale · row)`; all zeros where no score is finite.
        softmax(row: &mut [f32], scale: f32) {
            let mut max = f32::NEG_INFINITY;
            for s in row.iter() {
                max = if *s > max { *s } else { max };
            }
            if max == f32::NEG_INFINITY {
                row.fill(0.0);
                return;
            }
            for s in row.iter_mut() {
                *s = exp::<FUSED>((*s - max) * scale);
            }
            let mut lanes = [0f32; LANES];
            let (chunks, rest) = row.as_chunks::<LANES>();
            for chunk in chunks {
                for i in 0..LANES {
                    lanes[i] += chunk[i];
                }
            }
            let total = sum(&lanes) + rest.iter().sum::<f32>();
            let inverse = 1.0 / total;
            for s in row.iter_mut() {
                *s *= inverse;
            }
        }
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
