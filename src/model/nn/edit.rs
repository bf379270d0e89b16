//! Editing attention: gain or knock-out per key set, query set, layers and heads.
//! Knows nothing of where edits come from.

use std::ops::Range;

use candle_core::{Device, Tensor};

use crate::model::Result;

/// A set of absolute token positions as sorted, non-overlapping ranges.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenSet(Vec<Range<usize>>);

impl TokenSet {
    /// Every position.
    pub fn all() -> Self {
        Self(std::iter::once(0..usize::MAX).collect())
    }

    /// The positions in `range`.
    pub fn range(range: Range<usize>) -> Self {
        Self::from_ranges([range])
    }

    /// The union of ranges.
    pub fn from_ranges(ranges: impl IntoIterator<Item = Range<usize>>) -> Self {
        let mut ranges: Vec<_> = ranges.into_iter().filter(|r| !r.is_empty()).collect();
        ranges.sort_by_key(|r| r.start);
        let mut merged: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        Self(merged)
    }

    /// Whether `position` is in the set.
    pub fn contains(&self, position: usize) -> bool {
        let i = self.0.partition_point(|r| r.end <= position);
        self.0.get(i).is_some_and(|r| r.contains(&position))
    }

    /// Whether any position of `range` is in the set.
    pub fn overlaps(&self, range: &Range<usize>) -> bool {
        self.0.iter().any(|r| r.start < range.end && range.start < r.end)
    }
}

impl FromIterator<usize> for TokenSet {
    fn from_iter<I: IntoIterator<Item = usize>>(positions: I) -> Self {
        Self::from_ranges(positions.into_iter().map(|p| p..p + 1))
    }
}

/// A set of query heads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeadSet {
    /// Every head.
    All,
    /// These heads.
    Some(Vec<usize>),
}

impl HeadSet {
    /// Whether `head` is in the set.
    pub fn contains(&self, head: usize) -> bool {
        match self {
            Self::All => true,
            Self::Some(heads) => heads.contains(&head),
        }
    }
}

/// A change of the language model's attention scores before the soft-max: `w' ∝ gain · w`.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    /// Keys (sources) it applies to.
    pub keys: TokenSet,
    /// Queries (targets) it applies to.
    pub queries: TokenSet,
    /// Layers it applies to.
    pub layers: Range<usize>,
    /// Query heads it applies to.
    pub heads: HeadSet,
    /// Natural logarithm of the gain, added to the scores: 0 changes nothing, −∞ knocks out.
    pub log_gain: f32,
}

/// The sum of all edits for one layer, `[heads, queries, keys]` f32, or `None` where no edit reaches.
///
/// Positions are absolute; several edits of one score add up, as gains multiply.
pub fn bias(
    edits: &[Edit],
    layer: usize,
    heads: usize,
    queries: &Range<usize>,
    keys: &Range<usize>,
    device: &Device,
) -> Result<Option<Tensor>> {
    let active: Vec<_> = edits
        .iter()
        .filter(|e| {
            e.log_gain != 0.0 && e.layers.contains(&layer) && e.queries.overlaps(queries) && e.keys.overlaps(keys)
        })
        .collect();
    if active.is_empty() {
        return Ok(None);
    }
    let (rows, cols) = (queries.len(), keys.len());
    let mut out = vec![0f32; heads * rows * cols];
    for edit in active {
        let columns: Vec<_> =
            keys.clone().enumerate().filter(|(_, k)| edit.keys.contains(*k)).map(|(i, _)| i).collect();
        for head in (0..heads).filter(|h| edit.heads.contains(*h)) {
            for (row, _) in queries.clone().enumerate().filter(|(_, q)| edit.queries.contains(*q)) {
                let start = (head * rows + row) * cols;
                for column in &columns {
                    out[start + column] += edit.log_gain;
                }
            }
        }
    }
    Ok(Some(Tensor::from_vec(out, (heads, rows, cols), device)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_sets_merge_and_answer() {
        let set = TokenSet::from_ranges([5..7, 1..3, 2..4]);
        let members: Vec<_> = (0..9).filter(|p| set.contains(*p)).collect();
        assert_eq!(members, [1, 2, 3, 5, 6]);
        assert!(set.overlaps(&(3..5)) && !set.overlaps(&(4..5)));
        assert_eq!(TokenSet::from_iter([2, 1, 4]), TokenSet::from_ranges([1..3, 4..5]));
    }
}
