//! `preprocessor_config.json` (or `processor_config.json`), `video_preprocessor_config.json` and
//! `generation_config.json` of a checkpoint, checked before use. Knows nothing of what they are used for.

use std::path::Path;

use serde::Deserialize;

use crate::model::json;
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

/// The file of the released checkpoints: sound and pictures in one object.
const RELEASED: &str = "preprocessor_config.json";

/// What recent versions of the reference write instead: an object for each kind of medium.
const SAVED: &str = "processor_config.json";

/// Settings for videos alone, where a checkpoint has them.
const VIDEOS: &str = "video_preprocessor_config.json";

/// The fields about pictures that matter here.
#[derive(Debug, Deserialize)]
struct Picture {
    image_mean: [f32; 3],
    image_std: [f32; 3],
    patch_size: Option<usize>,
    merge_size: Option<usize>,
    temporal_patch_size: Option<usize>,
    #[serde(flatten)]
    limits: Limits,
}

/// The fields about sound that matter here.
#[derive(Debug, Deserialize)]
struct Sound {
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

/// `preprocessor_config.json`.
#[derive(Debug, Deserialize)]
struct Released {
    #[serde(flatten)]
    picture: Picture,
    #[serde(flatten)]
    sound: Sound,
}

/// `processor_config.json`.
#[derive(Debug, Deserialize)]
struct Saved {
    feature_extractor: Sound,
    image_processor: Picture,
    video_processor: Option<Limits>,
}

/// Pixel limits in the old and in the new spelling.
#[derive(Debug, Clone, Default, Deserialize)]
struct Limits {
    min_pixels: Option<usize>,
    max_pixels: Option<usize>,
    size: Option<Size>,
}

#[derive(Debug, Clone, Deserialize)]
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
        let (name, picture, sound, video) = if let Some(file) = optional::<Released>(dir, RELEASED)? {
            (RELEASED, file.picture, file.sound, None)
        } else if let Some(file) = optional::<Saved>(dir, SAVED)? {
            (SAVED, file.image_processor, file.feature_extractor, file.video_processor)
        } else {
            let message = format!("neither this file nor {SAVED} is there");
            return Err(ProcessorError::Settings { path: dir.join(RELEASED), message });
        };
        let path = dir.join(name);
        let wrong = |message: String| ProcessorError::Settings { path: path.clone(), message };
        let v = &config.vision;
        for (field, stated, known) in [
            ("patch_size", picture.patch_size, v.patch_size),
            ("merge_size", picture.merge_size, v.spatial_merge_size),
            ("temporal_patch_size", picture.temporal_patch_size, v.temporal_patch_size),
            ("feature_size", Some(sound.feature_size), config.audio.num_mel_bins),
        ] {
            if stated.is_some_and(|s| s != known) {
                return Err(wrong(format!("{field} is {}, config.json has {known}", stated.unwrap_or_default())));
            }
        }
        let rate = crate::sampled::SAMPLE_RATE as usize;
        for (field, value, least, most) in [
            ("sampling_rate", sound.sampling_rate, rate, rate),
            ("n_fft", sound.n_fft, 16, 1 << 14),
            ("hop_length", sound.hop_length, 1, sound.n_fft),
            ("chunk_length", sound.chunk_length, 1, 36_000),
        ] {
            if !(least..=most).contains(&value) {
                return Err(wrong(format!("impossible {field}: {value} is not in {least}…{most}")));
            }
        }
        let (mean, std) = (picture.image_mean, picture.image_std);
        if mean.iter().any(|m| !m.is_finite()) || std.iter().any(|s| !(*s > 0.0 && s.is_finite())) {
            return Err(wrong("impossible image_mean or image_std".into()));
        }
        let image = picture.limits.or(PixelLimits { min: 56 * 56, max: 28 * 28 * 1280 });
        // A release has no limits for videos; saving it again copies those for stills, which the reference ignores.
        let own = video.map(|limits| limits.or(VIDEO_LIMITS)).filter(|limits| *limits != image);
        let videos_own = optional::<Limits>(dir, VIDEOS)?;
        let file_of_video = if videos_own.is_some() { dir.join(VIDEOS) } else { path.clone() };
        let video = videos_own.unwrap_or_default().or(own.unwrap_or(VIDEO_LIMITS));
        for (name, limits, path) in [("image", image, &path), ("video", video, &file_of_video)] {
            if limits.min == 0 || limits.min > limits.max || limits.max > 1 << 28 {
                let message = format!("impossible {name} pixel limits {}…{}", limits.min, limits.max);
                return Err(ProcessorError::Settings { path: path.clone(), message });
            }
        }
        let eos = match optional::<Generation>(dir, "generation_config.json")?.and_then(|g| g.eos_token_id) {
            None => Vec::new(),
            Some(OneOrMany::One(id)) => vec![id],
            Some(OneOrMany::Many(ids)) => ids,
        };
        let mel = MelSpec {
            rate: sound.sampling_rate,
            window: sound.n_fft,
            hop: sound.hop_length,
            bins: sound.feature_size,
            padded: sound.chunk_length * sound.sampling_rate,
        };
        Ok(Self { mean, std, image, video, mel, eos })
    }
}

fn optional<T: for<'a> Deserialize<'a>>(dir: &Path, name: &str) -> Result<Option<T>, ProcessorError> {
    let path = dir.join(name);
    let wrong = |message: String| ProcessorError::Settings { path: path.clone(), message };
    match std::fs::read_to_string(&path) {
        Ok(text) => json::parse(&text).map(Some).map_err(wrong),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(wrong(e.to_string())),
    }
}
