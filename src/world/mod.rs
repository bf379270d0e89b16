//! The toy world: procedural clips with sound and ground truth. Knows nothing of models.
