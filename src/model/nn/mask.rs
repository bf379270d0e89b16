//! Which keys a query may see, as an intent instead of a matrix. Knows nothing of scores.

/// The attention pattern of a packed sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask<'a> {
    /// Queries are the LAST tokens of the keys; each sees itself and everything before it.
    Causal,
    /// Consecutive blocks of these lengths; full attention inside a block, none across.
    Blocks(&'a [usize]),
    /// Consecutive trees, none of which sees another: causal attention, in which every branch follows the prefix as if
    /// it were the only one (several questions about one clip, packed for training). Branches cannot be watched.
    Trees(&'a [Tree]),
}

/// A prefix and the branches that follow it, laid out one behind the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Tokens that all branches share.
    pub prefix: usize,
    /// Tokens of each branch.
    pub branches: Vec<usize>,
}

impl Tree {
    /// Tokens in all.
    pub fn len(&self) -> usize {
        self.prefix + self.branches.iter().sum::<usize>()
    }

    /// Whether there is no token at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
