//! Building blocks every model family shares: one attention, one block, weights with names. Knows nothing of any family.
