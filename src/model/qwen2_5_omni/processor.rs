//! From pictures, sound and words to the model's inputs, with provenance for every token. Knows nothing of tensors on a device.
