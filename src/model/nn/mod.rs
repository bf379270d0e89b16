//! Building blocks every model family shares: one attention, one block, weights with names. Knows nothing
//! of any family.

pub mod attention;
pub mod block;
pub mod cache;
pub mod edit;
pub mod kernels;
pub mod linear;
pub mod mask;
pub mod norm;
pub mod pass;
pub mod rope;
pub mod tap;
pub mod weights;
