//! Training through the same model code that answers: variables in place of files, the eager mode of the
//! attention door, and a loss on the answer's tokens. Knows nothing of windows, engines or the command line.

pub mod answer;
pub mod bundle;
pub mod checkpoint;
pub mod material;
pub mod optimizer;
pub mod results;
pub mod tower;
pub mod train;
pub mod variables;

pub use results::{Results, Score, evaluate, evaluate_folder};
pub use train::{Notice, Report, TrainOptions, train};

use std::path::PathBuf;

use crate::model::nn::weights::WeightError;

/// Why training stopped.
#[derive(Debug, thiserror::Error)]
pub enum TuneError {
    /// The options contradict each other or the material.
    #[error("{0}")]
    Options(String),
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A checkpoint does not belong to this run.
    #[error("cannot resume from this checkpoint: {0}")]
    Resume(String),
    /// The numbers ran away.
    #[error("training cannot go on at step {step}: {what}; lower the learning rate or start anew")]
    Diverged {
        /// What went wrong.
        what: String,
        /// At which step.
        step: usize,
    },
    /// A finished checkpoint folder.
    #[error(transparent)]
    Load(#[from] crate::model::qwen2_5_omni::thinker::LoadError),
    /// The weights of a checkpoint folder.
    #[error(transparent)]
    Weights(#[from] WeightError),
    /// A configuration.
    #[error(transparent)]
    Config(#[from] crate::model::qwen2_5_omni::config::ConfigError),
    /// The model.
    #[error(transparent)]
    Model(#[from] crate::model::ModelError),
    /// Preprocessing.
    #[error(transparent)]
    Processor(#[from] crate::model::qwen2_5_omni::processor::ProcessorError),
    /// The clips.
    #[error(transparent)]
    World(#[from] crate::world::WorldError),
    /// Decoding a clip.
    #[error(transparent)]
    Media(#[from] crate::media::MediaError),
    /// There is no memory for a canvas.
    #[error("no memory for a picture of the toy world")]
    Canvas,
    /// The caller asked to stop; the state is on disk.
    #[error("cancelled at step {step}; the same command goes on from there")]
    Cancelled {
        /// Steps made in the current stage.
        step: usize,
    },
    /// A tensor operation.
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
}
