//! CPU kernels of the eager mode: each knows its own gradient, where the library's fused twin cuts it and its plain
//! twin walks memory a dozen times. Other devices use the plain twin. Knows nothing of layers.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, D, DType, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{contiguous, host, simd};
use crate::model::nn::pass::Mode;

/// Rows that one task takes. Sums over rows are added up task by task, so that a gradient is the same to the last
/// bit whatever the number of threads.
const ROWS: usize = 64;

/// Scores this low are "no key at all" in the plain path, which must not meet −∞ − (−∞).
const NOTHING: f64 = -1e30;

fn fused(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32
}

/// `softmax(scale · s)` over the last dimension of `scores` `[batch, rows, keys]` f32. With `causal = Some(first)`,
/// row `r` sees the first `first + r + 1` keys only. A row without any finite score becomes all zeros; other devices
/// must be told (`gaps`) that there may be one. They take their fused kernel in [`Mode::Answer`].
pub fn softmax(scores: &Tensor, scale: f64, causal: Option<usize>, gaps: bool, mode: Mode) -> Result<Tensor> {
    if fused(scores) {
        return scores.contiguous()?.apply_op1(Softmax { scale: scale as f32, causal });
    }
    let (_, rows, keys) = scores.dims3()?;
    let mut scores = scores.affine(scale, 0.0)?;
    if gaps {
        scores = scores.maximum(NOTHING)?;
    }
    if let Some(first) = causal.filter(|first| first + 1 < keys) {
        let mask: Vec<f32> = (0..rows)
            .flat_map(|r| (0..keys).map(move |k| if k <= first + r { 0.0 } else { 2.0 * NOTHING as f32 }))
            .collect();
        scores =
            scores.broadcast_add(&Tensor::from_vec(mask, (rows, keys), scores.device())?.to_dtype(scores.dtype())?)?;
    }
    let probs = match mode {
        Mode::Answer => candle_nn::ops::softmax_last_dim(&scores)?,
        Mode::Eager => candle_nn::ops::softmax(&scores, D::Minus1)?,
    };
    if !gaps {
        return Ok(probs);
    }
    let alive = scores.max_keepdim(D::Minus1)?.gt(NOTHING / 2.0)?.to_dtype(probs.dtype())?;
    probs.broadcast_mul(&alive)
}

/// `w · x / rms(x)` over the last dimension of `x` `[rows, width]`; `eps` is added to the mean square.
pub fn rms_norm(x: &Tensor, w: &Tensor, eps: f32) -> Result<Tensor> {
    if fused(x) {
        return x.contiguous()?.apply_op2(w, RmsNorm { eps });
    }
    let dtype = x.dtype();
    let x = x.to_dtype(DType::F32)?;
    let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + f64::from(eps))?.sqrt()?.recip()?;
    x.broadcast_mul(&scale)?.to_dtype(dtype)?.broadcast_mul(w)
}

/// `w · (x − mean) / std + b` over the last dimension of `x` `[rows, width]`; `eps` is added to the variance.
pub fn layer_norm(x: &Tensor, w: &Tensor, b: &Tensor, eps: f32) -> Result<Tensor> {
    if fused(x) {
        return x.contiguous()?.apply_op3(w, b, LayerNorm { eps });
    }
    candle_nn::ops::layer_norm_slow(x, w, b, eps)
}

/// Half rotation of `x` `[heads, tokens, head_dim]` by `cos` and `sin` `[tokens, head_dim / 2]`, which are constants.
pub fn rope(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    if fused(x) {
        return x.contiguous()?.apply_op1(Rope { cos: cos.clone(), sin: sin.clone() });
    }
    candle_nn::rotary_emb::rope_slow(&x.unsqueeze(0)?, cos, sin)?.squeeze(0)
}

/// `x [rows, width] + b [width]`.
pub fn add_bias(x: &Tensor, b: &Tensor) -> Result<Tensor> {
    if fused(x) {
        return x.contiguous()?.apply_op2(b, AddBias);
    }
    x.broadcast_add(b)
}

/// Adds up the tasks' sums in their order.
fn add_up(partials: &[Vec<f32>], width: usize) -> Vec<f32> {
    let mut all = vec![0f32; width];
    for partial in partials {
        simd::add_rows(partial, &mut all);
    }
    all
}

/// The gradient of a norm: `back(x, w, g, dx, sums)` fills one task's rows of `dx` and adds to its `sums`, `width`
/// numbers for each of the norm's `N` vectors. Gives the gradient of `x`, then of the vectors.
fn norm_back<const N: usize>(
    x: &Tensor,
    w: &Tensor,
    g: &Tensor,
    back: impl Fn(&[f32], &[f32], &[f32], &mut [f32], &mut [f32]) + Sync,
) -> Result<(Tensor, [Tensor; N])> {
    let g = g.contiguous()?;
    let mut dx = vec![0f32; x.elem_count()];
    let (values, gains, slopes) = (host(x)?, host(w)?, host(&g)?);
    let (values, w, g) = (values.numbers(), gains.numbers(), slopes.numbers());
    let (width, task) = (w.len(), (ROWS * w.len()).max(1));
    let partials: Vec<_> = dx
        .par_chunks_mut(task)
        .zip(values.par_chunks(task))
        .zip(g.par_chunks(task))
        .map(|((dx, x), g)| {
            let mut sums = vec![0f32; N * width];
            back(x, w, g, dx, &mut sums);
            sums
        })
        .collect();
    let sums = Tensor::from_vec(add_up(&partials, N * width), (N, width), x.device())?;
    let mut vectors = Vec::with_capacity(N);
    for i in 0..N {
        vectors.push(sums.get(i)?);
    }
    let Ok(vectors) = vectors.try_into() else { candle_core::bail!("a norm has {N} vectors") };
    Ok((Tensor::from_vec(dx, x.shape(), x.device())?, vectors))
}

struct Softmax {
    scale: f32,
    causal: Option<usize>,
}

impl CustomOp1 for Softmax {
    fn name(&self) -> &'static str {
        "eager_softmax"
    }

    fn cpu_fwd(&self, scores: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, rows, keys) = l.shape().dims3()?;
        let mut probs = contiguous::<f32>(scores, l)?.to_vec();
        probs.par_chunks_mut(keys.max(1)).enumerate().for_each(|(i, row)| {
            let seen = self.causal.map_or(keys, |first| (first + i % rows + 1).min(keys));
            let (seen, hidden) = row.split_at_mut(seen);
            simd::softmax(seen, self.scale);
            hidden.fill(0.0);
        });
        Ok((CpuStorage::F32(probs), l.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, probs: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let g = g.contiguous()?;
        let keys = probs.dim(D::Minus1)?.max(1);
        let mut ds = vec![0f32; probs.elem_count()];
        let (p, slopes) = (host(probs)?, host(&g)?);
        let rows = ds.par_chunks_mut(keys).zip(p.numbers().par_chunks(keys)).zip(slopes.numbers().par_chunks(keys));
        rows.for_each(|((ds, p), g)| simd::softmax_back(p, g, self.scale, ds));
        Ok(Some(Tensor::from_vec(ds, probs.shape(), probs.device())?))
    }
}

struct RmsNorm {
    eps: f32,
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "eager_rms_norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, w: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, w) = (contiguous::<f32>(x, lx)?, contiguous::<f32>(w, lw)?);
        let mut y = vec![0f32; x.len()];
        let task = (ROWS * w.len()).max(1);
        let tasks = y.par_chunks_mut(task).zip(x.par_chunks(task));
        tasks.for_each(|(y, x)| simd::rms_norm(x, w, self.eps, y));
        Ok((CpuStorage::F32(y), lx.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let back = |x: &[f32], w: &[f32], g: &[f32], dx: &mut [f32], dw: &mut [f32]| {
            simd::rms_norm_back(x, w, g, self.eps, dx, dw);
        };
        let (dx, [dw]) = norm_back(x, w, g, back)?;
        Ok((Some(dx), Some(dw)))
    }
}

struct LayerNorm {
    eps: f32,
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "eager_layer_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, w, b) = (contiguous::<f32>(x, lx)?, contiguous::<f32>(w, lw)?, contiguous::<f32>(b, lb)?);
        let mut y = vec![0f32; x.len()];
        let task = (ROWS * w.len()).max(1);
        let tasks = y.par_chunks_mut(task).zip(x.par_chunks(task));
        tasks.for_each(|(y, x)| simd::layer_norm(x, w, b, self.eps, y));
        Ok((CpuStorage::F32(y), lx.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let back = |x: &[f32], w: &[f32], g: &[f32], dx: &mut [f32], sums: &mut [f32]| {
            let (dw, db) = sums.split_at_mut(w.len());
            simd::layer_norm_back(x, w, g, self.eps, &mut vec![0f32; w.len()], dx, dw, db);
        };
        let (dx, [dw, db]) = norm_back(x, w, g, back)?;
        Ok((Some(dx), Some(dw), Some(db)))
    }
}

struct Rope {
    cos: Tensor,
    sin: Tensor,
}

impl Rope {
    fn turn(&self, x: &[f32], half: usize, turn: f32) -> Result<Vec<f32>> {
        let (cos, sin) = (host(&self.cos)?, host(&self.sin)?);
        let (cos, sin) = (cos.numbers(), sin.numbers());
        let mut y = vec![0f32; x.len()];
        // One head at a time: its rows are the table's rows.
        let head = (2 * cos.len()).max(1);
        y.par_chunks_mut(head).zip(x.par_chunks(head)).for_each(|(y, x)| simd::rope(x, cos, sin, half, turn, y));
        Ok(y)
    }
}

impl CustomOp1 for Rope {
    fn name(&self) -> &'static str {
        "eager_rope"
    }

    fn cpu_fwd(&self, x: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let half = self.cos.dim(1)?;
        let y = self.turn(contiguous::<f32>(x, l)?, half, 1.0)?;
        Ok((CpuStorage::F32(y), l.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let g = g.contiguous()?;
        let dx = self.turn(host(&g)?.numbers(), self.cos.dim(1)?, -1.0)?;
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}

struct AddBias;

impl CustomOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add_bias"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, b: &CpuStorage, lb: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, b) = (contiguous::<f32>(x, lx)?, contiguous::<f32>(b, lb)?);
        let mut y = x.to_vec();
        y.par_chunks_mut(b.len().max(1)).for_each(|row| simd::add_rows(b, row));
        Ok((CpuStorage::F32(y), lx.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, b: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let g = g.contiguous()?;
        let width = b.elem_count();
        let partials: Vec<_> = host(&g)?
            .numbers()
            .par_chunks((ROWS * width).max(1))
            .map(|g| {
                let mut sum = vec![0f32; width];
                simd::add_rows(g, &mut sum);
                sum
            })
            .collect();
        let db = Tensor::from_vec(add_up(&partials, width), width, g.device())?;
        Ok((Some(g.clone()), Some(db)))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::super::{gelu, silu_mul};
    use super::*;

    /// Values and gradients of `f` in f32, where the kernels are, against f64, where the plain twins are.
    fn agree(shapes: &[&[usize]], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
        let inputs: Vec<Tensor> = shapes.iter().map(|s| Tensor::randn(0f64, 1.5, *s, &Device::Cpu).unwrap()).collect();
        let run = |dtype: DType| -> Vec<Vec<f64>> {
            let vars: Vec<Var> =
                inputs.iter().map(|t| Var::from_tensor(&t.to_dtype(dtype).unwrap()).unwrap()).collect();
            let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
            let y = f(&tensors).unwrap();
            let slope = (0..y.elem_count()).map(|i| (i as f64 * 0.7).sin()).collect();
            let slope = Tensor::from_vec(slope, y.shape(), y.device()).unwrap().to_dtype(dtype).unwrap();
            let grads = (&y * slope).unwrap().sum_all().unwrap().backward().unwrap();
            let all = std::iter::once(y).chain(tensors.iter().map(|t| grads.get(t).unwrap().clone()));
            all.map(|t| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()).collect()
        };
        for (kernel, plain) in run(DType::F32).iter().zip(run(DType::F64)) {
            assert_eq!(kernel.len(), plain.len());
            for (a, b) in kernel.iter().zip(plain) {
                assert!((a - b).abs() < 2e-4 * (1.0 + b.abs()), "kernel {a}, plain {b}");
            }
        }
    }

    #[test]
    fn kernels_and_their_gradients_match_plain_operations() {
        agree(&[&[70, 33], &[33]], |t| rms_norm(&t[0], &t[1], 1e-6));
        agree(&[&[70, 65], &[65], &[65]], |t| layer_norm(&t[0], &t[1], &t[2], 1e-5));
        agree(&[&[130, 7], &[7]], |t| add_bias(&t[0], &t[1]));
        agree(&[&[9, 38]], |t| silu_mul(&t[0]));
        agree(&[&[9, 37]], |t| gelu(&t[0]));
        for causal in [None, Some(0), Some(11)] {
            agree(&[&[2, 26, 37]], |t| softmax(&t[0], 0.6, causal, causal.is_none(), Mode::Eager));
        }
        let angles = Tensor::arange(0f64, 35.0, &Device::Cpu).unwrap().reshape((7, 5)).unwrap();
        agree(&[&[3, 7, 10]], |t| {
            let dtype = t[0].dtype();
            rope(&t[0], &angles.cos()?.to_dtype(dtype)?, &angles.sin()?.to_dtype(dtype)?)
        });
    }

    #[test]
    fn a_row_with_nothing_left_is_zero_and_has_no_slope() {
        let row = vec![f32::NEG_INFINITY; 5];
        let scores = Var::from_vec(row, (1, 1, 5), &Device::Cpu).unwrap();
        let probs = softmax(&scores, 0.5, None, true, Mode::Eager).unwrap();
        let slope = probs.sum_all().unwrap().backward().unwrap().get(&scores).unwrap().clone();
        for t in [probs, slope] {
            assert_eq!(t.flatten_all().unwrap().to_vec1::<f32>().unwrap(), [0.0; 5]);
        }
    }
}
