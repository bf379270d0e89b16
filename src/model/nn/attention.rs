//! The attention door: the only place that masks, soft-maxes, is observed and is edited. Model families
//! configure it; none writes its own. Knows nothing of projections, norms or positions.

use std::ops::Range;

use candle_core::{D, DType, Tensor};

use crate::model::Result;
use crate::model::nn::edit;
use crate::model::nn::kernels::{self, Island};
use crate::model::nn::mask::{Mask, Tree};
use crate::model::nn::pass::{Mode, Pass};
use crate::model::nn::tap::{Observed, Rows, Site, Tower};

/// Query rows computed at a time: bounds the scores to rows × keys whatever the prompt's length, and keeps one
/// block of them near the cache.
pub const QUERY_BLOCK: usize = 128;

/// Scaled dot-product attention with grouped key/value heads.
///
/// `q` `[heads, n, d]`, `k` and `v` `[kv_heads, m, d]`, rotated already; head `h` reads kv head
/// `h / (heads / kv_heads)`. Returns `[n, heads · d]`. With [`Mask::Causal`] the queries are the last `n` of `m`
/// tokens. Probabilities are computed in f32.
pub fn attend(q: &Tensor, k: &Tensor, v: &Tensor, mask: Mask<'_>, site: Site, pass: &mut Pass<'_>) -> Result<Tensor> {
    let (heads, n, d) = q.dims3()?;
    let m = k.dim(1)?;
    // Short stretches have a kernel of their own where there is one; what follows is its twin for other devices.
    let in_host_memory = q.device().is_cpu() && q.dtype() == DType::F32;
    if let Some(islands) = islands(mask).filter(|_| in_host_memory) {
        for island in islands.iter().filter(|i| i.twigs.is_empty()) {
            let tokens = island.start..island.start + island.trunk;
            if wanted(pass, site, &tokens).is_some() {
                observe(&kernels::island_probs(q, k, island)?, site, &tokens, &tokens, pass)?;
            }
        }
        return Ok(kernels::attend_islands(q, k, v, islands)?);
    }
    let out = match mask {
        Mask::Causal => causal(q, k, v, m - n, site, pass)?,
        Mask::Blocks(lengths) => blocks(q, k, v, lengths, site, pass)?,
        Mask::Trees(list) => trees(q, k, v, list, site, pass)?,
    };
    Ok(out.transpose(0, 1)?.contiguous()?.reshape((n, heads * d))?)
}

/// The mask as stretches that never see each other; `None` where all is one stretch.
fn islands(mask: Mask<'_>) -> Option<Vec<Island>> {
    let (blocks, causal) = match mask {
        Mask::Causal => return None,
        Mask::Blocks(lengths) => (lengths.iter().map(|l| (*l, Vec::new())).collect::<Vec<_>>(), false),
        Mask::Trees(list) => (list.iter().map(|t| (t.prefix, t.branches.clone())).collect(), true),
    };
    let mut next = 0;
    let island = |(trunk, twigs)| {
        let island = Island { start: next, trunk, twigs, causal };
        next += island.len();
        island
    };
    Some(blocks.into_iter().map(island).collect())
}

/// `[heads, n, d]`: queries in blocks, each against the keys it may see.
fn causal(q: &Tensor, k: &Tensor, v: &Tensor, offset: usize, site: Site, pass: &mut Pass<'_>) -> Result<Tensor> {
    let (heads, n, d) = q.dims3()?;
    let kv_heads = k.dim(0)?;
    let mut outputs = Vec::with_capacity(n.div_ceil(QUERY_BLOCK));
    for start in (0..n).step_by(QUERY_BLOCK) {
        let rows = QUERY_BLOCK.min(n - start);
        let queries = offset + start..offset + start + rows;
        let keys = queries.end;
        let q = q.narrow(1, start, rows)?.contiguous()?.reshape((kv_heads, heads / kv_heads * rows, d))?;
        let (k, v) = (k.narrow(1, 0, keys)?, v.narrow(1, 0, keys)?);
        let bias = match site.tower {
            Tower::Text => edit::bias(pass.edits, site.layer, heads, &queries, &(0..keys), q.device())?,
            Tower::Vision | Tower::Audio => None,
        };
        let shape = [heads, rows, keys];
        let probs = probabilities(&q, &k, shape, Some(queries.start), bias.as_ref(), pass.mode)?;
        observe(&probs, site, &queries, &(0..keys), pass)?;
        outputs.push(weigh(&probs, &v, kv_heads)?.reshape((heads, rows, d))?);
    }
    Ok(if outputs.len() == 1 { outputs.swap_remove(0) } else { Tensor::cat(&outputs, 1)? })
}

/// `[heads, n, d]`: independent blocks; consecutive ones of equal length run as one batch.
fn blocks(q: &Tensor, k: &Tensor, v: &Tensor, lengths: &[usize], site: Site, pass: &mut Pass<'_>) -> Result<Tensor> {
    let (heads, n, d) = q.dims3()?;
    let kv_heads = k.dim(0)?;
    let group = heads / kv_heads;
    let mut outputs = Vec::new();
    let (mut start, mut next) = (0, 0);
    while next < lengths.len() {
        let length = lengths[next];
        let count = lengths[next..].iter().take_while(|l| **l == length).count();
        next += count;
        if length == 0 {
            continue;
        }
        let tokens = count * length;
        let q = q.narrow(1, start, tokens)?.contiguous()?.reshape((kv_heads, group, count, length, d))?;
        let q = if group == 1 { q } else { q.transpose(1, 2)?.contiguous()? };
        let q = q.reshape((kv_heads * count, group * length, d))?;
        let split = |x: &Tensor| -> Result<Tensor> {
            Ok(x.narrow(1, start, tokens)?.contiguous()?.reshape((kv_heads * count, length, d))?)
        };
        let (k, v) = (split(k)?, split(v)?);
        let shape = [kv_heads * count * group, length, length];
        let probs = probabilities(&q, &k, shape, None, None, pass.mode)?;
        if pass.tap.is_some() {
            // [kv_heads, count, group, length, length]
            let split = probs.reshape((kv_heads, count, group, length * length))?;
            for block in 0..count {
                let one = split.narrow(1, block, 1)?.contiguous()?.reshape((heads, length, length))?;
                let at = start + block * length..start + (block + 1) * length;
                observe(&one, site, &at, &at, pass)?;
            }
        }
        let out = weigh(&probs, &v, kv_heads * count)?.reshape((kv_heads, count, group, length, d))?;
        let out = if group == 1 { out } else { out.transpose(1, 2)?.contiguous()? };
        outputs.push(out.reshape((heads, tokens, d))?);
        start += tokens;
    }
    if start != n {
        return Err(crate::model::ModelError::Input(format!("blocks of {start} tokens do not cover {n}")));
    }
    Ok(if outputs.len() == 1 { outputs.swap_remove(0) } else { Tensor::cat(&outputs, 1)? })
}

/// `[heads, n, d]`: packed trees, stretch by stretch.
fn trees(q: &Tensor, k: &Tensor, v: &Tensor, list: &[Tree], site: Site, pass: &mut Pass<'_>) -> Result<Tensor> {
    let (heads, n, d) = q.dims3()?;
    let kv_heads = k.dim(0)?;
    let covered: usize = list.iter().map(Tree::len).sum();
    if covered != n {
        return Err(crate::model::ModelError::Input(format!("trees of {covered} tokens do not cover {n}")));
    }
    let mut outputs = Vec::new();
    let mut start = 0;
    for tree in list {
        let mut own = start;
        for (before, rows) in std::iter::once((0, tree.prefix)).chain(tree.branches.iter().map(|b| (tree.prefix, *b))) {
            if rows == 0 {
                continue;
            }
            let behind = |x: &Tensor| -> Result<Tensor> {
                Ok(Tensor::cat(&[x.narrow(1, start, before)?, x.narrow(1, own, rows)?], 1)?)
            };
            let (k, v) = (behind(k)?, behind(v)?);
            let q = q.narrow(1, own, rows)?.contiguous()?.reshape((kv_heads, heads / kv_heads * rows, d))?;
            let probs = probabilities(&q, &k, [heads, rows, before + rows], Some(before), None, pass.mode)?;
            if tree.branches.is_empty() {
                observe(&probs, site, &(own..own + rows), &(own..own + rows), pass)?;
            }
            outputs.push(weigh(&probs, &v, kv_heads)?.reshape((heads, rows, d))?);
            own += rows;
        }
        start = own;
    }
    Ok(Tensor::cat(&outputs, 1)?)
}

/// Attention probabilities `[heads, rows, keys]` f32 of `q` `[batch, group · rows, d]` and `k` `[batch, keys, d]`.
///
/// `causal = Some(first)`: row `r` sees keys `0..=first + r`. `bias` `[heads, rows, keys]` is added to the scaled
/// scores. A row with nothing left is zero.
fn probabilities(
    q: &Tensor,
    k: &Tensor,
    shape: [usize; 3],
    causal: Option<usize>,
    bias: Option<&Tensor>,
    mode: Mode,
) -> Result<Tensor> {
    let scale = 1.0 / (q.dim(D::Minus1)? as f64).sqrt();
    let scores = q.matmul(&k.t()?)?.to_dtype(DType::F32)?.reshape(&shape)?;
    if mode == Mode::Answer && scores.device().is_cpu() {
        if let Some(bias) = bias {
            let scores = (scores.affine(scale, 0.0)? + bias)?;
            kernels::softmax_in_place(&scores, 1.0, causal)?;
            return Ok(scores);
        }
        kernels::softmax_in_place(&scores, scale as f32, causal)?;
        return Ok(scores);
    }
    match bias {
        Some(bias) => Ok(kernels::softmax(&(scores.affine(scale, 0.0)? + bias)?, 1.0, causal, true, mode)?),
        None => Ok(kernels::softmax(&scores, scale, causal, false, mode)?),
    }
}

/// `probs [heads, rows, keys]` · `v [batch, keys, d]` → `[batch, heads/batch · rows, d]`.
fn weigh(probs: &Tensor, v: &Tensor, batch: usize) -> Result<Tensor> {
    let (heads, rows, keys) = probs.dims3()?;
    let probs = probs.reshape((batch, heads / batch * rows, keys))?.to_dtype(v.dtype())?;
    Ok(probs.matmul(v)?)
}

/// Hands the wanted rows to the tap. The values are those that weigh `v`, or what the same kernel computes again from the
/// same numbers: watching cannot differ from doing.
fn observe(probs: &Tensor, site: Site, queries: &Range<usize>, keys: &Range<usize>, pass: &mut Pass<'_>) -> Result<()> {
    let Some(rows) = wanted(pass, site, queries) else { return Ok(()) };
    let Some(tap) = pass.tap.as_deref_mut() else { return Ok(()) };
    let probs = &probs.narrow(1, rows.start - queries.start, rows.len())?;
    tap.record(site, &Observed { queries: rows, keys: keys.clone(), probs })
}

/// Those of `queries` that are watched, if any.
fn wanted(pass: &Pass<'_>, site: Site, queries: &Range<usize>) -> Option<Range<usize>> {
    let Rows::Range(wanted) = pass.tap.as_deref()?.rows(site, queries.clone()) else { return None };
    let rows = wanted.start.max(queries.start)..wanted.end.min(queries.end);
    (!rows.is_empty()).then_some(rows)
}
