//! The Thinker as a whole: towers, the row of embeddings they fill, and the language model over it.
//! Knows nothing of threads, reuse or sampling.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};

use crate::model::nn::mask::Mask;
use crate::model::nn::pass::Pass;
use crate::model::nn::weights::{Checkpoint, Hold, Holding, Manifest, Scope, Source, WeightError};
use crate::model::qwen2_5_omni::audio::AudioTower;
use crate::model::qwen2_5_omni::config::{Config, ConfigError};
use crate::model::qwen2_5_omni::text::LanguageModel;
use crate::model::qwen2_5_omni::vision::VisionTower;
use crate::model::{ModelError, Result};

/// Every Thinker tensor's name starts with this in a released checkpoint.
const PREFIX: &str = "thinker";

/// Why a checkpoint could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The path is not a folder.
    #[error("no such checkpoint folder; give the folder that holds config.json ({})", .0.display())]
    NotAFolder(PathBuf),
    /// config.json.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The weights.
    #[error(transparent)]
    Weights(#[from] WeightError),
}

/// A loaded Thinker.
#[derive(Debug)]
pub struct Thinker {
    /// The vision tower.
    pub vision: VisionTower,
    /// The audio tower.
    pub audio: AudioTower,
    /// The language model.
    pub text: LanguageModel,
    config: Config,
    dtype: DType,
    device: Device,
}

impl Thinker {
    /// Loads a checkpoint folder; every tensor in it must be known, and every tensor needed must be there.
    pub fn open(dir: &Path, holding: impl Into<Holding>, device: &Device) -> Result<Self, LoadError> {
        if !dir.is_dir() {
            return Err(LoadError::NotAFolder(dir.to_owned()));
        }
        let config = Config::load(dir)?;
        let checkpoint = Checkpoint::open(dir, holding, device)?;
        let thinker = Self::load(&checkpoint, &config)?;
        checkpoint.finish(unread_on_purpose)?;
        Ok(thinker)
    }

    /// How a checkpoint's matrices are held when most of them are held as `hold`.
    ///
    /// In q4k the towers stay q8_0: they hold a quarter of the 3B model's weights and most of what q4k would move (measured
    /// with `modalens compare`, figures in README).
    pub fn holding(hold: Hold) -> Holding {
        let exceptions = match hold {
            Hold::Q4K => ["visual", "audio_tower"].map(|tower| (format!("{PREFIX}.{tower}"), Hold::Q8_0)).to_vec(),
            _ => Vec::new(),
        };
        Holding { most: hold, exceptions }
    }

    /// Builds the model from any source of weights.
    pub fn load(source: &dyn Source, config: &Config) -> Result<Self, WeightError> {
        let scope = Scope::new(source, PREFIX);
        Ok(Self {
            vision: VisionTower::load(&scope.pp("visual"), &config.vision)?,
            audio: AudioTower::load(&scope.pp("audio_tower"), &config.audio)?,
            text: LanguageModel::load(&scope, &config.text, config.tied())?,
            config: config.clone(),
            dtype: source.dtype(),
            device: source.device().clone(),
        })
    }

    /// Names and shapes of every tensor that a checkpoint of this configuration must hold and that is read.
    pub fn manifest(config: &Config) -> Result<Manifest, WeightError> {
        let manifest = Manifest::default();
        Self::load(&manifest, config)?;
        Ok(manifest)
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where the model runs.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The type activations are computed in.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Tokens of a video or still: `pixels` `[t · h · w, patch_dim]` row-major, `grid` = t, h, w in patches.
    pub fn encode_picture(&self, pixels: &[f32], grid: [usize; 3], pass: &mut Pass<'_>) -> Result<Tensor> {
        let [t, h, w] = grid;
        let pixels = self.tensor(pixels, t * h * w, self.config.vision.patch_dim())?;
        self.vision.encode_steps(&pixels, h, w, pass)
    }

    /// One chunk for [`AudioTower::encode_chunks`]: `mel` `[mels, frames]` row-major.
    pub fn audio_chunk(&self, mel: &[f32]) -> Result<Tensor> {
        self.tensor(mel, self.audio.mels(), mel.len() / self.audio.mels())
    }

    /// The chunks that the audio tower treats apart: `mel` `[mels, frames]` row-major → `[mels, ≤ 2·n_window]` each.
    pub fn audio_chunks(&self, mel: &[f32], frames: usize) -> Result<Vec<Tensor>> {
        let mel = self.tensor(mel, self.audio.mels(), frames)?;
        let size = self.config.audio.chunk_frames();
        (0..frames)
            .step_by(size)
            .map(|start| Ok(mel.narrow(1, start, size.min(frames - start))?.contiguous()?))
            .collect()
    }

    /// The patch embedding alone, `[patches, width]`, in patch order: a stage to compare with the reference.
    pub fn embed_patches(&self, pixels: &[f32], grid: [usize; 3]) -> Result<Tensor> {
        let pixels = self.tensor(pixels, grid.iter().product(), self.config.vision.patch_dim())?;
        self.vision.embed_patches(&pixels)
    }

    /// Tokens of one sound: `mel` `[mels, frames]` row-major → `[tokens, width]`.
    pub fn encode_audio(&self, mel: &[f32], frames: usize, pass: &mut Pass<'_>) -> Result<Tensor> {
        let states = self.audio.encode_chunks(&self.audio_chunks(mel, frames)?, pass)?;
        self.audio.finish(&states, pass.mode)
    }

    /// The row of embeddings of a prompt: words from the table, media tokens from the towers' outputs in order
    /// of appearance. `[ids, width]`.
    pub fn embeddings(&self, ids: &[u32], images: &[Tensor], videos: &[Tensor], audios: &[Tensor]) -> Result<Tensor> {
        let c = &self.config;
        let mut pools = [
            Pool::new("image", c.image_token_index, images)?,
            Pool::new("video", c.video_token_index, videos)?,
            Pool::new("audio", c.audio_token_index, audios)?,
        ];
        if let Some(id) = ids.iter().find(|id| **id as usize >= c.text.vocab_size) {
            return Err(ModelError::Input(format!("token id {id} is outside the vocabulary of {}", c.text.vocab_size)));
        }
        let kind = |id: u32| pools_index(c, id);
        let mut pieces = Vec::new();
        let mut start = 0;
        while start < ids.len() {
            let this = kind(ids[start]);
            let length = ids[start..].iter().take_while(|id| kind(**id) == this).count();
            pieces.push(match this {
                Some(pool) => pools[pool].take(length)?,
                None => self.text.embed(&ids[start..start + length])?,
            });
            start += length;
        }
        for pool in &pools {
            pool.finished()?;
        }
        Ok(Tensor::cat(&pieces, 0)?)
    }

    /// The whole prompt without a cache: residual stream after the last block, `[ids, width]`.
    pub fn forward_all(&self, embeddings: &Tensor, positions: [&[u32]; 3], pass: &mut Pass<'_>) -> Result<Tensor> {
        self.text.forward(embeddings, positions, Mask::Causal, None, pass)
    }

    /// Host numbers `[rows, cols]` as a tensor in the compute type on the device.
    fn tensor(&self, values: &[f32], rows: usize, cols: usize) -> Result<Tensor> {
        if values.len() != rows * cols {
            return Err(ModelError::Input(format!("{} numbers are not {rows} × {cols}", values.len())));
        }
        Ok(Tensor::from_slice(values, (rows, cols), &self.device)?.to_dtype(self.dtype)?)
    }
}

/// Which pool of [`Thinker::embeddings`] an id draws from; `None` for words.
fn pools_index(config: &Config, id: u32) -> Option<usize> {
    [config.image_token_index, config.video_token_index, config.audio_token_index].iter().position(|m| *m == id)
}

/// The outputs of one tower, handed out in order.
struct Pool {
    name: &'static str,
    id: u32,
    rows: Option<Tensor>,
    next: usize,
}

impl Pool {
    fn new(name: &'static str, id: u32, outputs: &[Tensor]) -> Result<Self> {
        let rows = if outputs.is_empty() { None } else { Some(Tensor::cat(outputs, 0)?) };
        Ok(Self { name, id, rows, next: 0 })
    }

    fn take(&mut self, n: usize) -> Result<Tensor> {
        let have = self.rows.as_ref().map_or(Ok(0), |r| r.dim(0))?;
        match &self.rows {
            Some(rows) if self.next + n <= have => {
                let taken = rows.narrow(0, self.next, n)?;
                self.next += n;
                Ok(taken)
            }
            _ => Err(ModelError::Input(format!(
                "the prompt has more {} tokens (id {}) than the {have} that the pictures and sounds give",
                self.name, self.id
            ))),
        }
    }

    fn finished(&self) -> Result<()> {
        let have = self.rows.as_ref().map_or(Ok(0), |r| r.dim(0))?;
        if self.next == have {
            return Ok(());
        }
        Err(ModelError::Input(format!("the prompt uses {} of {have} {} tokens (id {})", self.next, self.name, self.id)))
    }
}

/// Tensors of a released checkpoint that the Thinker leaves alone: the speech half, a table the reference never
/// uses, and rotary tables that are computed.
pub fn unread_on_purpose(name: &str) -> bool {
    name.starts_with("talker.")
        || name.starts_with("token2wav.")
        || name == "thinker.audio_tower.audio_bos_eos_token.weight"
        || name.ends_with(".inv_freq")
}
