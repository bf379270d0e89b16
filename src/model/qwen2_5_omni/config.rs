//! `config.json` of a Thinker checkpoint: every constant of the architecture, checked before use.
//! Knows nothing of weights; nothing else in the family holds a number that belongs here.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::model::json;

/// What is wrong with a configuration file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the model configuration ({})", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not the JSON of a Thinker.
    #[error("not a Qwen2.5-Omni configuration: {message} ({})", path.display())]
    Parse {
        /// Which file.
        path: PathBuf,
        /// What the parser said.
        message: String,
    },
    /// A number that no Thinker can have.
    #[error("impossible {field}: {why} ({})", path.display())]
    Impossible {
        /// Which file.
        path: PathBuf,
        /// Dotted name of the field.
        field: &'static str,
        /// What is wrong with its value.
        why: String,
    },
}

/// The `thinker_config` of a released checkpoint's `config.json`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Config {
    /// Language model.
    #[serde(rename = "text_config")]
    pub text: TextConfig,
    /// Vision tower.
    #[serde(rename = "vision_config")]
    pub vision: VisionConfig,
    /// Audio tower.
    #[serde(rename = "audio_config")]
    pub audio: AudioConfig,
    /// Id of the audio placeholder.
    pub audio_token_index: u32,
    /// Id of the still-image placeholder.
    pub image_token_index: u32,
    /// Id of the video placeholder.
    pub video_token_index: u32,
    /// Id that opens an audio part.
    pub audio_start_token_id: u32,
    /// Id that closes an audio part.
    pub audio_end_token_id: u32,
    /// Id that opens a picture or video part.
    pub vision_start_token_id: u32,
    /// Id that closes a picture or video part.
    pub vision_end_token_id: u32,
    /// Id that ends a turn.
    #[serde(default)]
    pub eos_token_id: Option<u32>,
    /// Id used for padding; also ends an answer.
    #[serde(default)]
    pub pad_token_id: Option<u32>,
    /// Temporal positions per second of video or audio (25 in the releases).
    pub position_id_per_seconds: f64,
    /// Length of an interleaving chunk in seconds (2 in the releases).
    pub seconds_per_chunk: f64,
    /// Whether `lm_head` is the embedding matrix.
    #[serde(default)]
    pub tie_word_embeddings: bool,
}

/// The language model.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct TextConfig {
    /// Vocabulary size (rows of the embedding).
    pub vocab_size: usize,
    /// Width.
    pub hidden_size: usize,
    /// Width of the gated MLP.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key/value heads; divides the query heads.
    pub num_key_value_heads: usize,
    /// RMSNorm epsilon.
    pub rms_norm_eps: f64,
    /// Rotary base.
    #[serde(default = "default_rope_theta")]
    pub rope_theta: f64,
    /// How the rotary dimensions are split over t, h, w.
    pub rope_scaling: RopeScaling,
    /// Most positions a prompt may use.
    pub max_position_embeddings: usize,
    /// Tied embeddings may be stated here instead of at the top.
    #[serde(default)]
    pub tie_word_embeddings: bool,
    /// Activation of the MLP.
    #[serde(default = "default_silu")]
    pub hidden_act: String,
}

/// TMRoPE's split of the rotary dimensions.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RopeScaling {
    /// Rotary pairs for t, h and w; they sum to `head_dim / 2`.
    pub mrope_section: Vec<usize>,
}

/// The vision tower.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct VisionConfig {
    /// Blocks.
    pub depth: usize,
    /// Width.
    pub hidden_size: usize,
    /// Width of the gated MLP.
    pub intermediate_size: usize,
    /// Heads.
    pub num_heads: usize,
    /// Colour channels.
    #[serde(default = "default_channels")]
    pub in_channels: usize,
    /// Patch edge in pixels.
    pub patch_size: usize,
    /// Frames per patch.
    pub temporal_patch_size: usize,
    /// Patches per token along each edge.
    pub spatial_merge_size: usize,
    /// Attention window edge in pixels.
    pub window_size: usize,
    /// Width of the tower's output: the language model's.
    pub out_hidden_size: usize,
    /// Blocks that attend over a whole grid step instead of a window.
    pub fullatt_block_indexes: Vec<usize>,
    /// Activation of the MLP.
    #[serde(default = "default_silu")]
    pub hidden_act: String,
}

/// The audio tower.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct AudioConfig {
    /// Mel bins.
    pub num_mel_bins: usize,
    /// Layers.
    pub encoder_layers: usize,
    /// Heads.
    pub encoder_attention_heads: usize,
    /// Width of the MLP.
    pub encoder_ffn_dim: usize,
    /// Width.
    pub d_model: usize,
    /// Rows of the sinusoidal table.
    pub max_source_positions: usize,
    /// Half the length of an attention chunk, in mel frames.
    pub n_window: usize,
    /// Width of the tower's output: the language model's.
    pub output_dim: usize,
    /// Activation of the MLP.
    #[serde(default = "default_gelu")]
    pub activation_function: String,
}

fn default_rope_theta() -> f64 {
    1e6
}

fn default_channels() -> usize {
    3
}

fn default_silu() -> String {
    "silu".to_owned()
}

fn default_gelu() -> String {
    "gelu".to_owned()
}

impl TextConfig {
    /// Width of a head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }
}

impl VisionConfig {
    /// Width of a head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_heads
    }

    /// Numbers in a patch: channels × frames × edge².
    pub fn patch_dim(&self) -> usize {
        self.in_channels * self.temporal_patch_size * self.patch_size * self.patch_size
    }

    /// Edge of a token in pixels.
    pub fn token_edge(&self) -> usize {
        self.patch_size * self.spatial_merge_size
    }

    /// Edge of an attention window in tokens.
    pub fn window_tokens(&self) -> usize {
        self.window_size / self.spatial_merge_size / self.patch_size
    }
}

impl AudioConfig {
    /// Length of an attention chunk in mel frames.
    pub fn chunk_frames(&self) -> usize {
        2 * self.n_window
    }
}

/// Number of audio tokens of `frames` valid mel frames (two strided steps, then pairs); 0 for two or fewer.
pub fn audio_tokens(frames: usize) -> usize {
    let conv = (frames as i64 - 1).div_euclid(2) + 1;
    ((conv - 2).div_euclid(2) + 1).max(0) as usize
}

impl Config {
    /// Reads and checks `dir/config.json`.
    pub fn load(dir: &Path) -> Result<Self, ConfigError> {
        let path = dir.join("config.json");
        let text = std::fs::read_to_string(&path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        Self::parse(&text, &path)
    }

    /// Parses the text of a `config.json`; `path` is for messages only.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        #[derive(Deserialize)]
        struct Outer {
            thinker_config: Config,
        }
        let outer: Outer =
            json::parse(text).map_err(|message| ConfigError::Parse { path: path.to_owned(), message })?;
        let config = outer.thinker_config;
        config.check().map_err(|(field, why)| ConfigError::Impossible { path: path.to_owned(), field, why })?;
        Ok(config)
    }

    /// Whether `lm_head` is the embedding matrix.
    pub fn tied(&self) -> bool {
        self.tie_word_embeddings || self.text.tie_word_embeddings
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        // Far above anything published, far below what would make an allocation run away.
        const WIDTH: usize = 1 << 17;
        const DEPTH: usize = 1 << 10;
        let range = |field, value: usize, most: usize| {
            if (1..=most).contains(&value) { Ok(()) } else { Err((field, format!("{value} is not in 1…{most}"))) }
        };
        let divides = |field, whole: usize, part: usize| {
            if whole.is_multiple_of(part) { Ok(()) } else { Err((field, format!("{part} does not divide {whole}"))) }
        };
        let t = &self.text;
        range("text_config.vocab_size", t.vocab_size, 1 << 22)?;
        range("text_config.hidden_size", t.hidden_size, WIDTH)?;
        range("text_config.intermediate_size", t.intermediate_size, 1 << 20)?;
        range("text_config.num_hidden_layers", t.num_hidden_layers, DEPTH)?;
        range("text_config.num_attention_heads", t.num_attention_heads, DEPTH)?;
        range("text_config.num_key_value_heads", t.num_key_value_heads, t.num_attention_heads)?;
        range("text_config.max_position_embeddings", t.max_position_embeddings, 1 << 24)?;
        divides("text_config.num_attention_heads", t.hidden_size, t.num_attention_heads)?;
        divides("text_config.num_key_value_heads", t.num_attention_heads, t.num_key_value_heads)?;
        let sections = &t.rope_scaling.mrope_section;
        if sections.len() != 3 || sections.iter().try_fold(0usize, |a, b| a.checked_add(*b)) != Some(t.head_dim() / 2) {
            return Err((
                "text_config.rope_scaling.mrope_section",
                format!("{sections:?} are not three numbers that sum to half the head width, {}", t.head_dim() / 2),
            ));
        }
        let v = &self.vision;
        range("vision_config.depth", v.depth, DEPTH)?;
        range("vision_config.hidden_size", v.hidden_size, WIDTH)?;
        range("vision_config.intermediate_size", v.intermediate_size, 1 << 20)?;
        range("vision_config.num_heads", v.num_heads, DEPTH)?;
        range("vision_config.patch_size", v.patch_size, 256)?;
        range("vision_config.temporal_patch_size", v.temporal_patch_size, 16)?;
        range("vision_config.spatial_merge_size", v.spatial_merge_size, 16)?;
        range("vision_config.window_size", v.window_size, 1 << 16)?;
        divides("vision_config.num_heads", v.hidden_size, v.num_heads)?;
        if v.in_channels != 3 {
            return Err(("vision_config.in_channels", format!("{} is not 3", v.in_channels)));
        }
        if !v.head_dim().is_multiple_of(4) {
            return Err((
                "vision_config.num_heads",
                format!("a head of {} cannot be rotated in two axes", v.head_dim()),
            ));
        }
        if let Some(block) = v.fullatt_block_indexes.iter().find(|block| **block >= v.depth) {
            return Err(("vision_config.fullatt_block_indexes", format!("there is no block {block} of {}", v.depth)));
        }
        if v.window_tokens() == 0 {
            return Err(("vision_config.window_size", format!("{} is smaller than a token", v.window_size)));
        }
        let a = &self.audio;
        range("audio_config.num_mel_bins", a.num_mel_bins, 1 << 12)?;
        range("audio_config.encoder_layers", a.encoder_layers, DEPTH)?;
        range("audio_config.encoder_attention_heads", a.encoder_attention_heads, DEPTH)?;
        range("audio_config.encoder_ffn_dim", a.encoder_ffn_dim, 1 << 20)?;
        range("audio_config.d_model", a.d_model, WIDTH)?;
        range("audio_config.n_window", a.n_window, 1 << 16)?;
        range("audio_config.max_source_positions", a.max_source_positions, 1 << 20)?;
        divides("audio_config.encoder_attention_heads", a.d_model, a.encoder_attention_heads)?;
        if a.d_model < 4 || !a.d_model.is_multiple_of(2) {
            return Err(("audio_config.d_model", format!("{} is not an even number of at least 4", a.d_model)));
        }
        if a.max_source_positions < a.n_window {
            return Err((
                "audio_config.max_source_positions",
                format!("{} positions do not cover a chunk of {}", a.max_source_positions, a.n_window),
            ));
        }
        for (field, width) in
            [("vision_config.out_hidden_size", v.out_hidden_size), ("audio_config.output_dim", a.output_dim)]
        {
            if width != t.hidden_size {
                return Err((field, format!("{width} differs from the language model's width {}", t.hidden_size)));
            }
        }
        for (field, act, want) in [
            ("text_config.hidden_act", &t.hidden_act, "silu"),
            ("vision_config.hidden_act", &v.hidden_act, "silu"),
            ("audio_config.activation_function", &a.activation_function, "gelu"),
        ] {
            if act != want {
                return Err((field, format!("{act:?} is not {want:?}")));
            }
        }
        for (field, x, most) in [
            ("position_id_per_seconds", self.position_id_per_seconds, 1e6),
            ("seconds_per_chunk", self.seconds_per_chunk, 1e6),
            ("text_config.rope_theta", t.rope_theta, 1e12),
            ("text_config.rms_norm_eps", t.rms_norm_eps, 1.0),
        ] {
            if !(x > 0.0 && x <= most) {
                return Err((field, format!("{x} is not a positive number up to {most}")));
            }
        }
        let mut ids = vec![
            ("audio_token_index", self.audio_token_index),
            ("image_token_index", self.image_token_index),
            ("video_token_index", self.video_token_index),
            ("audio_start_token_id", self.audio_start_token_id),
            ("audio_end_token_id", self.audio_end_token_id),
            ("vision_start_token_id", self.vision_start_token_id),
            ("vision_end_token_id", self.vision_end_token_id),
        ];
        ids.sort_by_key(|(_, id)| *id);
        for pair in ids.windows(2) {
            if pair[0].1 == pair[1].1 {
                return Err((pair[1].0, format!("id {} is also {}", pair[1].1, pair[0].0)));
            }
        }
        for (field, id) in ids {
            if id as usize >= t.vocab_size {
                return Err((field, format!("id {id} is outside the vocabulary of {}", t.vocab_size)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audio_token_counts_of_short_clips() {
        let counts: Vec<_> = (0..9).map(audio_tokens).collect();
        assert_eq!(counts, [0, 0, 0, 1, 1, 1, 1, 2, 2]);
    }
}
