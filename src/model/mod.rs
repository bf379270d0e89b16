//! Models on candle: the one attention, the families that configure it, and loading. Knows nothing of
//! media files, windows or threads.

pub mod bpe;
pub mod hub;
mod json;
pub mod nn;
pub mod qwen2_5_omni;
pub mod tokenizer;

/// Published checkpoints by hub id, with the text of their configuration: what one would need can be said before anything
/// is downloaded.
pub const RELEASED: [(&str, &str); 2] = [
    ("Qwen/Qwen2.5-Omni-3B", include_str!("../../assets/released/qwen2.5-omni-3b.json")),
    ("Qwen/Qwen2.5-Omni-7B", include_str!("../../assets/released/qwen2.5-omni-7b.json")),
];

/// The configuration of one of [`RELEASED`].
pub fn released(id: &str) -> Option<qwen2_5_omni::config::Config> {
    let (_, text) = RELEASED.into_iter().find(|(known, _)| *known == id)?;
    qwen2_5_omni::config::Config::parse(text, std::path::Path::new(id)).ok()
}

/// What can go wrong while a model runs.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The caller asked to stop; what was computed so far is dropped.
    #[error("cancelled")]
    Cancelled,
    /// The inputs do not fit the model or each other.
    #[error("the model cannot take this input: {0}")]
    Input(String),
    /// A tensor operation failed: out of memory on a device, or a fault of ours.
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// Result of running a model, unless another error is named.
pub type Result<T, E = ModelError> = std::result::Result<T, E>;
