//! The toy world: procedural clips of things that look and sound, with the truth about each clip, written as a
//! Hugging Face `VideoFolder`. Deterministic: a seed and an index give the same pixels and samples everywhere.
//! Knows nothing of models; only `dataset` knows that clips become files.
//!
//! Uses: material for training the bundled model (`tune`), and a test rig, because any map can be judged
//! against the true box and the true interval.

pub mod animals;
pub mod canvas;
pub mod cast;
pub mod clip;
pub mod dataset;
pub mod question;
pub mod rng;
pub mod scene;
pub mod score;
pub mod sound;
pub mod things;

pub use cast::{Class, Condition, Position, When};
pub use clip::{Clip, Truth};
pub use dataset::{Options, Report, Row, WorldError, read_metadata, write_dataset};
pub use question::{Captions, Kind, NONE_OF_THE_ABOVE, Question};
