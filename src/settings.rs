//! Every number a user can choose about sampling and decoding, in one place.
//! Knows nothing of where the numbers are used.

use serde::{Deserialize, Serialize};

use crate::time::Span;

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

/// How a model's weights are held in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dtype {
    /// The most exact form that fits.
    #[default]
    Auto,
    /// 4 bytes a weight.
    F32,
    /// 2 bytes a weight.
    F16,
    /// 2 bytes a weight, with the range of f32.
    Bf16,
    /// Blocks of 32 weights in 34 bytes.
    Q8_0,
    /// Blocks of 256 weights in 144 bytes.
    Q4K,
}

impl Dtype {
    /// All of them, the largest first.
    pub const ALL: [Self; 6] = [Self::Auto, Self::F32, Self::F16, Self::Bf16, Self::Q8_0, Self::Q4K];

    /// The name used on the command line, in the window and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Q4K => "q4k",
        }
    }

    /// What it means, in a few words.
    pub fn about(self) -> &'static str {
        match self {
            Self::Auto => "The most exact form that fits",
            Self::F32 => "4 bytes a weight",
            Self::F16 | Self::Bf16 => "2 bytes a weight",
            Self::Q8_0 => "About 1 byte a weight",
            Self::Q4K => "About half a byte a weight",
        }
    }
}

/// How maps are drawn; the numbers of `gpu::OverlayStyle`, without the GPU.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "independent choices of what is drawn")]
pub struct View {
    /// Whether heat maps are shown at all.
    pub heat: bool,
    /// Index into the colour maps: 0 viridis, 1 magma, 2 cividis.
    pub map: usize,
    /// Opacity of the strongest cell, 0…1.
    pub opacity: f32,
    /// Exponent on the scaled weight.
    pub gamma: f32,
    /// Bilinear between cells instead of true cells.
    pub smooth: bool,
    /// Lines between cells.
    pub lines: bool,
    /// Weights above this quantile of the map's cells take the end of the colour map (1 = the largest cell).
    pub clip_quantile: f32,
    /// Whether what the model saw stands in the place of the video.
    pub model_view: bool,
    /// Which of the time lanes are folded away, from top to bottom.
    pub folded: [bool; 6],
    /// The part of the time axis that the lanes show; `None` = all of it.
    pub timeline: Option<Span>,
}

impl View {
    /// Where colour scales end by default, as a quantile of the cells.
    pub const DEFAULT_QUANTILE: f32 = 0.99;
}

impl Default for View {
    fn default() -> Self {
        Self {
            heat: true,
            map: 1,
            opacity: 0.75,
            gamma: 1.0,
            smooth: false,
            lines: false,
            clip_quantile: Self::DEFAULT_QUANTILE,
            model_view: false,
            folded: [false; 6],
            timeline: None,
        }
    }
}
