//! The Qwen2.5-Omni Thinker: three towers configured from config.json. Knows nothing of media files.

pub mod config;
pub mod processor;
