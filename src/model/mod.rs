//! Models on candle: the one attention, the families that configure it, and loading. Knows nothing of media files, windows or threads.

pub mod nn;
pub mod qwen2_5_omni;
pub mod tokenizer;
