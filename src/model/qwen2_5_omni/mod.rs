//! The Qwen2.5-Omni Thinker (arXiv 2503.20215): three towers configured from config.json. Knows nothing of
//! media files.

pub mod audio;
pub mod config;
pub mod processor;
pub mod text;
pub mod thinker;
pub mod vision;
