//! Attention over many short stretches of tokens that never see each other, with its gradient: frames' windows,
//! sound chunks, and the packed questions of a training step. One stretch and head is one task on one thread, which
//! keeps its scores in the cache; as batched products they would be padded, copied and spread over threads one by
//! one. Knows nothing of towers or of who watches.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{contiguous, host, simd};

/// A trunk of consecutive tokens and the twigs behind it, each of which sees the trunk and itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Island {
    /// First token.
    pub start: usize,
    /// Tokens of the trunk.
    pub trunk: usize,
    /// Tokens of each twig.
    pub twigs: Vec<usize>,
    /// Whether a token sees only itself and those before it.
    pub causal: bool,
}

impl Island {
    /// Tokens in all.
    pub fn len(&self) -> usize {
        self.trunk + self.twigs.iter().sum::<usize>()
    }

    /// Whether there is no token at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Queries with the keys they see: rows of the island, the trunk's rows, and the rows of the queries themselves.
    fn stretches(&self) -> impl Iterator<Item = Stretch> + '_ {
        let trunk = Stretch { before: 0, own: 0..self.trunk };
        let mut end = self.trunk;
        std::iter::once(trunk).chain(self.twigs.iter().map(move |length| {
            end += length;
            Stretch { before: self.trunk, own: end - length..end }
        }))
    }
}

/// Rows `own` of an island look at its first `before` rows and at themselves.
struct Stretch {
    before: usize,
    own: Range<usize>,
}

/// Scaled dot-product attention within islands that follow each other and cover every token.
///
/// `q` `[heads, n, d]`, `k` and `v` `[kv_heads, n, d]`, f32 in host memory → `[n, heads · d]`.
pub fn attend_islands(q: &Tensor, k: &Tensor, v: &Tensor, islands: Vec<Island>) -> Result<Tensor> {
    let n = q.dim(1)?;
    let mut next = 0;
    for island in &islands {
        if island.start != next {
            candle_core::bail!("islands must follow each other: token {} where {next} was due", island.start);
        }
        next += island.len();
    }
    if next != n {
        candle_core::bail!("islands of {next} tokens do not cover {n}");
    }
    q.contiguous()?.apply_op3(&k.contiguous()?, &v.contiguous()?, Islands { islands })
}

/// The probabilities that [`attend_islands`] weighs the values of an island without twigs by, `[heads, rows, rows]`.
pub fn island_probs(q: &Tensor, k: &Tensor, island: &Island) -> Result<Tensor> {
    let (q, k) = (q.contiguous()?, k.contiguous()?);
    let (heads, rows) = (q.dim(0)?, island.trunk);
    let (queries, keys) = (host(&q)?, host(&k)?);
    let [queries, keys] = [Heads::new(queries.numbers(), q.shape())?, Heads::new(keys.numbers(), k.shape())?];
    let group = heads / keys.count.max(1);
    let mut all = Vec::with_capacity(heads * rows * rows);
    let mut probs = Vec::new();
    for head in 0..heads {
        let own = keys.rows(head / group, island.start, &(0..rows));
        let queries = queries.rows(head, island.start, &(0..rows));
        probabilities(queries, [&[], own], keys.d, island.causal, &mut probs);
        all.extend_from_slice(&probs);
    }
    Tensor::from_vec(all, (heads, rows, rows), q.device())
}

struct Islands {
    islands: Vec<Island>,
}

/// Numbers of `[heads, n, d]` with its shape.
#[derive(Clone, Copy)]
struct Heads<'a> {
    numbers: &'a [f32],
    count: usize,
    n: usize,
    d: usize,
}

impl<'a> Heads<'a> {
    fn new(numbers: &'a [f32], shape: &Shape) -> Result<Self> {
        let (heads, n, d) = shape.dims3()?;
        Ok(Self { numbers, count: heads, n, d })
    }

    /// Rows of one head, counted from `base`.
    fn rows(&self, head: usize, base: usize, rows: &Range<usize>) -> &'a [f32] {
        let at = |row| (head * self.n + base + row) * self.d;
        &self.numbers[at(rows.start)..at(rows.end)]
    }
}

impl Islands {
    /// Runs `task` for every island and kv head, and gives the results with them, in order.
    fn each<T: Send>(&self, kv_heads: usize, task: impl Fn(&Island, usize) -> T + Sync) -> Vec<(&Island, usize, T)> {
        let units: Vec<_> = self.islands.iter().flat_map(|i| (0..kv_heads).map(move |head| (i, head))).collect();
        units.into_par_iter().map(|(island, head)| (island, head, task(island, head))).collect()
    }
}

/// Probabilities `[rows, before + rows]` of one stretch and head, into `probs`.
fn probabilities(q: &[f32], k: [&[f32]; 2], d: usize, causal: bool, probs: &mut Vec<f32>) {
    let [rows, before] = [q.len() / d, k[0].len() / d];
    let keys = before + rows;
    probs.clear();
    probs.resize(rows * keys, 0.0);
    product(probs, keys, false, View::new(q, d), View::new(k[0], d).t());
    product(&mut probs[before..], keys, false, View::new(q, d), View::new(k[1], d).t());
    let scale = scale(d);
    for (r, row) in probs.chunks_exact_mut(keys.max(1)).enumerate() {
        let (seen, hidden) = row.split_at_mut(if causal { before + r + 1 } else { keys });
        simd::softmax(seen, scale);
        hidden.fill(0.0);
    }
}

fn scale(d: usize) -> f32 {
    (1.0 / (d as f64).sqrt()) as f32
}

impl CustomOp3 for Islands {
    fn name(&self) -> &'static str {
        "attend_islands"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        lq: &Layout,
        k: &CpuStorage,
        lk: &Layout,
        v: &CpuStorage,
        lv: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let q = Heads::new(contiguous(q, lq)?, lq.shape())?;
        let k = Heads::new(contiguous(k, lk)?, lk.shape())?;
        let v = Heads::new(contiguous(v, lv)?, lv.shape())?;
        let (d, group) = (q.d, q.count / k.count.max(1));
        let done = self.each(k.count, |island, kv_head| {
            // [group, tokens, d]
            let mut out = vec![0f32; group * island.len() * d];
            let mut probs = Vec::new();
            for Stretch { before, own } in island.stretches().filter(|s| !s.own.is_empty()) {
                let [keys, values] =
                    [k, v].map(|x| [x.rows(kv_head, island.start, &(0..before)), x.rows(kv_head, island.start, &own)]);
                for g in 0..group {
                    probabilities(q.rows(kv_head * group + g, island.start, &own), keys, d, island.causal, &mut probs);
                    let keys = before + own.len();
                    let at = (g * island.len() + own.start) * d;
                    let out = &mut out[at..at + own.len() * d];
                    let weights = View::new(&probs, keys);
                    product(out, d, false, weights.columns(before..keys), View::new(values[1], d));
                    product(out, d, true, weights.columns(0..before), View::new(values[0], d));
                }
            }
            out
        });
        let mut out = vec![0f32; q.n * q.count * d];
        for (island, kv_head, values) in done {
            for (i, row) in values.chunks_exact(d).enumerate() {
                let (g, token) = (i / island.len(), i % island.len());
                let at = ((island.start + token) * q.count + kv_head * group + g) * d;
                out[at..at + d].copy_from_slice(row);
            }
        }
        Ok((CpuStorage::F32(out), (q.n, q.count * d).into()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _: &Tensor,
        slope: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let slope = slope.contiguous()?;
        let tensors = (q, k, v);
        let (q, k, v, slope) = (host(q)?, host(k)?, host(v)?, host(&slope)?);
        let q = Heads::new(q.numbers(), tensors.0.shape())?;
        let k = Heads::new(k.numbers(), tensors.1.shape())?;
        let v = Heads::new(v.numbers(), tensors.2.shape())?;
        let slope = slope.numbers();
        let (d, group, heads) = (q.d, q.count / k.count.max(1), q.count);
        let done = self.each(k.count, |island, kv_head| {
            let length = island.len();
            // [group, tokens, d], [tokens, d], [tokens, d]
            let mut dq = vec![0f32; group * length * d];
            let (mut dk, mut dv) = (vec![0f32; length * d], vec![0f32; length * d]);
            let (mut probs, mut dprobs, mut dscores) = (Vec::new(), Vec::new(), Vec::new());
            for Stretch { before, own } in island.stretches().filter(|s| !s.own.is_empty()) {
                let keys = before + own.len();
                let [key_rows, values] =
                    [k, v].map(|x| [x.rows(kv_head, island.start, &(0..before)), x.rows(kv_head, island.start, &own)]);
                for g in 0..group {
                    let head = kv_head * group + g;
                    let queries = q.rows(head, island.start, &own);
                    probabilities(queries, key_rows, d, island.causal, &mut probs);
                    // The slope of this head's rows: d numbers in every row of [n, heads · d].
                    let from = ((island.start + own.start) * heads + head) * d;
                    let slope = View { numbers: &slope[from..], rows: own.len(), columns: d, steps: [heads * d, 1] };
                    dprobs.clear();
                    dprobs.resize(own.len() * keys, 0.0);
                    product(&mut dprobs, keys, false, slope, View::new(values[0], d).t());
                    product(&mut dprobs[before..], keys, false, slope, View::new(values[1], d).t());
                    dscores.clear();
                    dscores.resize(own.len() * keys, 0.0);
                    let of_rows = probs.chunks_exact(keys).zip(dprobs.chunks_exact(keys));
                    for ((p, dp), ds) in of_rows.zip(dscores.chunks_exact_mut(keys)) {
                        simd::softmax_back(p, dp, scale(d), ds);
                    }
                    let (weights, dscores) = (View::new(&probs, keys), View::new(&dscores, keys));
                    let at = (g * length + own.start) * d;
                    let dq = &mut dq[at..at + own.len() * d];
                    for (columns, rows, key_rows) in
                        [(0..before, 0..before, key_rows[0]), (before..keys, own.clone(), key_rows[1])]
                    {
                        let (weights, dscores) = (weights.columns(columns.clone()), dscores.columns(columns));
                        product(dq, d, true, dscores, View::new(key_rows, d));
                        let at = rows.start * d..rows.end * d;
                        product(&mut dk[at.clone()], d, true, dscores.t(), View::new(queries, d));
                        product(&mut dv[at], d, true, weights.t(), slope);
                    }
                }
            }
            (dq, dk, dv)
        });
        let mut all = [vec![0f32; q.numbers.len()], vec![0f32; k.numbers.len()], vec![0f32; v.numbers.len()]];
        for (island, kv_head, (dq, dk, dv)) in done {
            let size = island.len() * d;
            let mut put = |which: usize, head: usize, values: &[f32]| {
                let at = (head * q.n + island.start) * d;
                all[which][at..at + size].copy_from_slice(values);
            };
            for (g, values) in dq.chunks_exact(size.max(1)).enumerate() {
                put(0, kv_head * group + g, values);
            }
            put(1, kv_head, &dk);
            put(2, kv_head, &dv);
        }
        let [dq, dk, dv] = all;
        let device = tensors.0.device();
        Ok((
            Some(Tensor::from_vec(dq, tensors.0.shape(), device)?),
            Some(Tensor::from_vec(dk, tensors.1.shape(), device)?),
            Some(Tensor::from_vec(dv, tensors.2.shape(), device)?),
        ))
    }
}

/// A matrix inside a slice; `steps` from row to row and from column to column.
#[derive(Clone, Copy)]
struct View<'a> {
    numbers: &'a [f32],
    rows: usize,
    columns: usize,
    steps: [usize; 2],
}

impl<'a> View<'a> {
    /// Row-major, `columns` wide.
    fn new(numbers: &'a [f32], columns: usize) -> Self {
        Self { numbers, rows: numbers.len() / columns.max(1), columns, steps: [columns, 1] }
    }

    fn t(self) -> Self {
        Self { rows: self.columns, columns: self.rows, steps: [self.steps[1], self.steps[0]], ..self }
    }

    fn columns(self, range: Range<usize>) -> Self {
        let numbers = &self.numbers[(range.start * self.steps[1]).min(self.numbers.len())..];
        Self { numbers, columns: range.len(), ..self }
    }
}

/// `out [+]= a · b` on this thread; `out` has `a.rows` rows, `step` numbers apart.
///
/// # Panics
/// When the inner sizes differ or a slice is too short for its shape: a mistake of this file.
fn product(out: &mut [f32], step: usize, add: bool, a: View<'_>, b: View<'_>) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    let reach = |rows: usize, columns: usize, steps: [usize; 2]| (rows - 1) * steps[0] + (columns - 1) * steps[1];
    assert_eq!(k, b.rows, "inner sizes");
    assert!(reach(m, n, [step, 1]) < out.len() && n <= step, "output");
    assert!(reach(m, k, a.steps) < a.numbers.len() && reach(k, n, b.steps) < b.numbers.len(), "inputs");
    #[allow(unsafe_code, reason = "the product crate takes pointers and strides")]
    // SAFETY: the furthest element of each of the three matrices was just checked to lie inside its slice, strides are
    // not negative, `out` is borrowed exclusively, and its rows do not overlap.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            step as isize,
            add,
            a.numbers.as_ptr(),
            a.steps[1] as isize,
            a.steps[0] as isize,
            b.numbers.as_ptr(),
            b.steps[1] as isize,
            b.steps[0] as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor, Var};

    use super::*;

    /// The same with plain operations over a matrix of who sees whom.
    fn plain(q: &Tensor, k: &Tensor, v: &Tensor, islands: &[Island]) -> Result<Tensor> {
        let (heads, n, d) = q.dims3()?;
        let group = heads / k.dim(0)?;
        let mut mask = vec![-1e30f64; n * n];
        for island in islands {
            for Stretch { before, own } in island.stretches() {
                for row in own.clone() {
                    for key in (0..before).chain(own.clone()) {
                        if !island.causal || key <= row {
                            mask[(island.start + row) * n + island.start + key] = 0.0;
                        }
                    }
                }
            }
        }
        let mask = Tensor::from_vec(mask, (1, n, n), q.device())?.to_dtype(q.dtype())?;
        let wide = |x: &Tensor| -> Result<Tensor> {
            let kv_heads = x.dim(0)?;
            x.unsqueeze(1)?.broadcast_as((kv_heads, group, n, d))?.contiguous()?.reshape((heads, n, d))
        };
        let scores = (q.matmul(&wide(k)?.t()?)? / (d as f64).sqrt())?.broadcast_add(&mask)?;
        let probs = candle_nn::ops::softmax(&scores, 2)?;
        probs.matmul(&wide(v)?)?.transpose(0, 1)?.contiguous()?.reshape((n, heads * d))
    }

    #[test]
    fn islands_and_their_gradients_match_plain_operations() {
        let island = |start, trunk, twigs: &[usize], causal| Island { start, trunk, twigs: twigs.to_vec(), causal };
        for islands in [
            vec![island(0, 5, &[3, 1, 4], true), island(13, 2, &[], true), island(15, 1, &[2, 2], true)],
            vec![island(0, 7, &[], false), island(7, 7, &[], false), island(14, 1, &[], false)],
            vec![island(0, 0, &[4], true), island(4, 0, &[], true), island(4, 9, &[], true)],
        ] {
            let n = islands.iter().map(Island::len).sum::<usize>();
            let random = |heads: usize| Tensor::randn(0f64, 1.0, (heads, n, 6), &Device::Cpu).unwrap();
            let inputs = [random(4), random(2), random(2)];
            let run = |dtype: DType, ours: bool| -> Vec<Vec<f64>> {
                let [q, k, v] = inputs.each_ref().map(|t| Var::from_tensor(&t.to_dtype(dtype).unwrap()).unwrap());
                let y = if ours {
                    attend_islands(&q, &k, &v, islands.clone()).unwrap()
                } else {
                    plain(&q, &k, &v, &islands).unwrap()
                };
                let slope = (0..y.elem_count()).map(|i| (i as f64 * 0.7).sin()).collect();
                let slope = Tensor::from_vec(slope, y.shape(), y.device()).unwrap().to_dtype(dtype).unwrap();
                let grads = (&y * slope).unwrap().sum_all().unwrap().backward().unwrap();
                let all =
                    [y, grads.get(&q).unwrap().clone(), grads.get(&k).unwrap().clone(), grads.get(&v).unwrap().clone()];
                all.map(|t| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()).to_vec()
            };
            for (ours, plain) in run(DType::F32, true).iter().zip(run(DType::F64, false)) {
                for (a, b) in ours.iter().zip(plain) {
                    assert!((a - b).abs() < 1e-5, "island {a}, plain {b}");
                }
            }
        }
    }

    #[test]
    fn islands_that_leave_tokens_out_are_refused() {
        let x = Tensor::zeros((1, 4, 2), DType::F32, &Device::Cpu).unwrap();
        let island = |start, trunk| Island { start, trunk, twigs: Vec::new(), causal: false };
        assert!(attend_islands(&x, &x, &x, vec![island(0, 3)]).is_err());
        assert!(attend_islands(&x, &x, &x, vec![island(0, 2), island(3, 1)]).is_err());
        assert!(attend_islands(&x, &x, &x, vec![island(0, 2), island(2, 2)]).is_ok());
    }
}
