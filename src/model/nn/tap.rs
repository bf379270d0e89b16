//! Watching attention while a model runs: which rows are wanted, and where they go.
//! Knows nothing of how scores are computed; watching never changes an answer.

use std::ops::Range;

use candle_core::Tensor;

use crate::model::Result;

/// A tower of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tower {
    /// The language model.
    Text,
    /// The vision tower.
    Vision,
    /// The audio tower.
    Audio,
}

/// One attention layer of one tower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Site {
    /// Which tower.
    pub tower: Tower,
    /// Layer index in the tower, from 0.
    pub layer: usize,
}

/// The query rows a tap wants at a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rows {
    /// None; costs nothing.
    None,
    /// Those queries of the range that the layer computes, as absolute sequence positions.
    Range(Range<usize>),
}

/// Attention rows as they were computed, still on the device.
#[derive(Debug)]
pub struct Observed<'a> {
    /// Absolute sequence positions of the rows.
    pub queries: Range<usize>,
    /// Absolute sequence positions of the keys.
    pub keys: Range<usize>,
    /// `[heads, rows, keys]`, f32; each row sums to 1 (0 where an edit knocked everything out).
    pub probs: &'a Tensor,
}

/// Something that watches a model run.
///
/// `queries` and positions are absolute: position 0 is the first token of the sequence, whatever part of it a
/// pass computes. A layer may hand over the wanted rows in several pieces, in order.
pub trait Tap {
    /// Which of `queries` are wanted at `site`.
    fn rows(&self, site: Site, queries: Range<usize>) -> Rows;

    /// Takes rows that were wanted.
    fn record(&mut self, site: Site, observed: &Observed<'_>) -> Result<()>;

    /// Takes the residual stream after a block, `[tokens, width]`. Ignored unless overridden.
    fn hidden(&mut self, _site: Site, _states: &Tensor) -> Result<()> {
        Ok(())
    }
}
