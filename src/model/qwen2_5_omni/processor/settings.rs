//! `preprocessor_config.json`, `video_preprocessor_config.json` and `generation_config.json` of a checkpoint,
//! checked before use. Knows nothing of what they are used for.

use std::path::Path;

use serde::Deserialize;

use crate::model::qwen2_5_omni::config::Config;
use crate::model::qwen2_5_omni::processor::ProcessorError;
use crate::model::qwen2_5_omni::processor::mel::MelSpec;

/// Fewest and most pixels of a resized picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelLimits {
    /// Fewest.
    pub min: usize,
    /// Most.
    pub max: usize,
}

/// The reference's default for videos, used unless the checkpoint says otherwise.
const VIDEO_LIMITS: PixelLimits = PixelLimits { min: 128 * 28 * 28, max: 768 * 28 * 28 };

/// A checkpoint's preprocessing numbers.
#[derive(Debug)]
pub struct Settings {
    pub mean: [f32; 3],
    pub std: [f32; 3],
    pub image: PixelLimits,
    pub video: PixelLimits,
    pub mel: MelSpec,
    /// Ids that end an answer, from `generation_config.json`.
    pub eos: Vec<u32>,
}

/// The fields of `preprocessor_config.json` that matter here.
#[derive(Debug, Deserialize)]
struct File {
    image_mean: [f32; 3],
    image_std: [f32; 3],
    patch_size: Option<usize>,
    merge_size: Option<usize>,
    temporal_patch_size: Option<usize>,
    #[serde(flatten)]
    limits: Limits,
    #[serde(default = "default_rate")]
    sampling_rate: usize,
    #[serde(default = "default_window")]
    n_fft: usize,
    #[serde(default = "default_hop")]
    hop_length: usize,
    feature_size: usize,
    #[serde(default = "default_seconds")]
    chunk_length: usize,
}

/// Pixel limits in the old and in the new spelling.
#[derive(Debug, Default, Deserialize)]
struct Limits {
    min_pixels: Option<usize>,
    max_pixels: Option<usize>,
    size: Option<Size>,
}

#[derive(Debug, Deserialize)]
struct Size {
    shortest_edge: Option<usize>,
    longest_edge: Option<usize>,
}

#[derive(Debug, Deserialize)]
struct Generation {
    eos_token_id: Option<OneOrMany>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

fn default_rate() -> usize {
    16_000
}

fn default_window() -> usize {
    400
}

fn default_hop() -> usize {
    160
}

fn default_seconds() -> usize {
    300
}

impl Limits {
    /// What the file says, `otherwise` where it says nothing.
    fn or(&self, otherwise: PixelLimits) -> PixelLimits {
        let size = self.size.as_ref();
        PixelLimits {
            min: self.min_pixels.or(size.and_then(|s| s.shortest_edge)).unwrap_or(otherwise.min),
            max: self.max_pixels.or(size.and_then(|s| s.longest_edge)).unwrap_or(otherwise.max),
        }
    }
}

impl Settings {
    /// Reads and checks the files of `dir`.
    pub fn load(dir: &Path, config: &Config) -> Result<Self, ProcessorError> {
        let file: File = required(dir, "preprocessor_config.json")?;
        let path = dir.join("preprocessor_config.json");
        let wrong = |message: String| ProcessorError::Settings { path: path.clone(), message };
        let v = &config.vision;
        for (field, stated, known) in [
            ("patch_size", file.patch_size, v.patch_size),
            ("merge_size", file.merge_size, v.spatial_merge_size),
            ("temporal_patch_size", file.temporal_patch_size, v.temporal_patch_size),
            ("feature_size", Some(file.feature_size), config.audio.num_mel_bins),
        ] {
            if stated.is_some_and(|s| s != known) {
                return Err(wrong(format!("{field} is {}, config.json has {known}", stated.unwrap_or_default())));
            }
        }
        for (field, value, least, most) in [
            (
                "sampling_rate",
                file.sampling_rate,
                crate::sampled::SAMPLE_RATE as usize,
                crate::sampled::SAMPLE_RATE as usize,
            ),
            ("n_fft", file.n_fft, 16, 1 << 14),
            ("hop_length", file.hop_length, 1, file.n_fft),
            ("chunk_length", file.chunk_length, 1, 36_000),
        ] {
            if !(least..=most).contains(&value) {
                return Err(wrong(format!("impossible {field}: {value} is not in {least}…{most}")));
            }
        }
        if file.image_mean.iter().any(|m| !m.is_finite()) || file.image_std.iter().any(|s| !(*s > 0.0 && s.is_finite()))
        {
            return Err(wrong("impossible image_mean or image_std".into()));
        }
        let image = file.limits.or(PixelLimits { min: 56 * 56, max: 28 * 28 * 1280 });
        let video = optional::<Limits>(dir, "video_preprocessor_config.json")?.unwrap_or_default().or(VIDEO_LIMITS);
        for (name, limits) in [("image", image), ("video", video)] {
            if limits.min == 0 || limits.min > limits.max || limits.max > 1 << 28 {
                return Err(wrong(format!("impossible {name} pixel limits {}…{}", limits.min, limits.max)));
            }
        }
        let eos = match optional::<Generation>(dir, "generation_config.json")?.and_then(|g| g.eos_token_id) {
            None => Vec::new(),
            Some(OneOrMany::One(id)) => vec![id],
            Some(OneOrMany::Many(ids)) => ids,
        };
        let mel = MelSpec {
            rate: file.sampling_rate,
            window: file.n_fft,
            hop: file.hop_length,
            bins: file.feature_size,
            padded: file.chunk_length * file.sampling_rate,
        };
        Ok(Self { mean: file.image_mean, std: file.image_std, image, video, mel, eos })
    }
}

fn required<T: for<'a> Deserialize<'a>>(dir: &Path, name: &str) -> Result<T, ProcessorError> {
    let path = dir.join(name);
    optional(dir, name)?.ok_or(ProcessorError::Settings { path, message: "no such file".into() })
}

fn optional<T: for<'a> Deserialize<'a>>(dir: &Path, name: &str) -> Result<Option<T>, ProcessorError> {
    let path = dir.join(name);
    let wrong = |message: String| ProcessorError::Settings { path: path.clone(), message };
    match std::fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).map(Some).map_err(|e| wrong(e.to_string())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(wrong(e.to_string())),
    }
}
