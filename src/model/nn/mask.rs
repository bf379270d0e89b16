//! Which keys a query may see, as an intent instead of a matrix. Knows nothing of scores.

/// The attention pattern of a packed sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask<'a> {
    /// Queries are the LAST tokens of the keys; each sees itself and everything before it.
    Causal,
    /// Consecutive blocks of these lengths; full attention inside a block, none across.
    Blocks(&'a [usize]),
    /// Consecutive blocks of these lengths; causal attention inside a block, none across (packed training).
    CausalBlocks(&'a [usize]),
}
