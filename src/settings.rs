//! Every number a user can choose about sampling and decoding, in one place.
//! Knows nothing of where the numbers are used.

use serde::{Deserialize, Serialize};

/// How a clip is sampled before the model sees it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Sampling {
    /// Frames per second asked for; `None` = the reference's 2.
    pub fps: Option<f64>,
    /// Fewest pixels a resized frame may have; `None` = the checkpoint's own limit.
    pub min_pixels: Option<usize>,
    /// Most pixels a resized frame may have; `None` = the checkpoint's own limit.
    pub max_pixels: Option<usize>,
}

impl Sampling {
    /// The reference's default sampling rate, in frames per second.
    pub const DEFAULT_FPS: f64 = 2.0;

    /// The sampling rate to use, in frames per second.
    pub fn fps(&self) -> f64 {
        self.fps.unwrap_or(Self::DEFAULT_FPS)
    }
}

/// How answer tokens are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Decoding {
    /// Most tokens an answer may have.
    pub max_new_tokens: usize,
    /// 0 = greedy.
    pub temperature: f64,
    /// Seed of the sampler; the same seed gives the same answer.
    pub seed: u64,
}

impl Default for Decoding {
    fn default() -> Self {
        Self { max_new_tokens: 64, temperature: 0.0, seed: 0 }
    }
}
