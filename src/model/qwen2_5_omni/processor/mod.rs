//! From pictures, sound and words to the model's inputs, with provenance for every token. Knows nothing of
//! tensors on a device.

pub mod mel;
pub mod pixels;
pub mod positions;
mod settings;
mod template;
mod words;

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::fed::{Fed, FedAudio, FedVideo};
use crate::frame::RgbImage;
use crate::model::qwen2_5_omni::config::{Config, audio_tokens};
use crate::model::qwen2_5_omni::processor::mel::LogMel;
use crate::model::qwen2_5_omni::processor::pixels::{PatchLayout, patchify, resize, smart_resize, unpatchify};
use crate::model::qwen2_5_omni::processor::positions::{Media, chunks, rope_positions};
use crate::model::tokenizer::{StreamDecoder, Tokenizer, TokenizerError};
use crate::prompt::{Part, Prompt};
use crate::provenance::{AudioLine, GridStep, Provenance, Source, Token, VideoGrid};
use crate::sampled::{SampledAudio, SampledClip, SampledVideo};
use crate::settings::Sampling;
use crate::time::Span;

pub use settings::PixelLimits;

/// The reference's default system prompt.
pub const DEFAULT_SYSTEM: &str = "You are Qwen, a virtual human developed by the Qwen Team, Alibaba Group, capable of perceiving auditory and visual inputs, as well as generating text and speech.";

/// What can go wrong before the model runs.
#[derive(Debug, thiserror::Error)]
pub enum ProcessorError {
    /// A settings file could not be read.
    #[error("cannot read the preprocessing settings: {message} ({})", path.display())]
    Settings {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A picture that no grid fits.
    #[error("a picture of {width}×{height} pixels is more than 200 times longer than wide; crop it first")]
    Aspect {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
    },
    /// The prompt does not fit the model.
    #[error(
        "the prompt has {tokens} tokens ({video} video, {audio} audio), the model takes at most {most}; use a shorter clip, fewer frames per second or fewer pixels"
    )]
    TooLong {
        /// All tokens.
        tokens: usize,
        /// Video tokens.
        video: usize,
        /// Audio tokens.
        audio: usize,
        /// What the model takes.
        most: usize,
    },
    /// Ids and grids do not fit each other.
    #[error("the prompt cannot be laid out: {0}")]
    Layout(String),
}

/// Everything the model runs on.
#[derive(Debug, Clone, PartialEq)]
pub struct Inputs {
    /// Token ids `[n]`.
    pub ids: Vec<u32>,
    /// TMRoPE positions t, h, w, `[n]` each.
    pub positions: [Vec<u32>; 3],
    /// Position of the first generated token, on all three axes.
    pub next_position: u32,
    /// Stills in order of appearance.
    pub images: Vec<PictureInput>,
    /// Videos in order of appearance.
    pub videos: Vec<PictureInput>,
    /// Sounds in order of appearance.
    pub audios: Vec<MelInput>,
    /// Where every token comes from.
    pub provenance: Provenance,
}

/// A video or still as patches.
#[derive(Debug, Clone, PartialEq)]
pub struct PictureInput {
    /// Grid steps, patch rows, patch columns.
    pub grid: [usize; 3],
    /// `[t·h·w, patch_dim]` row-major, normalised.
    pub pixels: Vec<f32>,
    /// Nominal seconds per grid step.
    pub second_per_grid: f64,
}

/// A sound as log-mel frames.
#[derive(Debug, Clone, PartialEq)]
pub struct MelInput {
    /// Valid frames.
    pub frames: usize,
    /// `[bins, frames]` row-major.
    pub mel: Vec<f32>,
}

/// Who speaks a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The system prompt.
    System,
    /// The user.
    User,
    /// The model, in an earlier turn.
    Assistant,
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said and shown, in order.
    pub pieces: Vec<Piece>,
}

/// A piece of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// Words of a field.
    Text(Part, String),
    /// A still.
    Image(RgbImage),
    /// A video; with sound, that is interleaved as its soundtrack.
    Video(SampledVideo, Option<SampledAudio>),
    /// A sound of its own.
    Audio(SampledAudio),
}

/// A checkpoint's preprocessing.
#[derive(Debug)]
pub struct Processor {
    config: Config,
    tokenizer: Tokenizer,
    settings: settings::Settings,
    table: Box<[[f32; 256]; 3]>,
    mel: LogMel,
    start: u32,
    end: u32,
    stop: Vec<u32>,
}

impl Processor {
    /// Reads tokenizer and preprocessing settings of a checkpoint folder.
    pub fn load(dir: &Path, config: &Config) -> Result<Self, ProcessorError> {
        let tokenizer = Tokenizer::load(dir)?;
        for (field, id) in [
            ("audio_token_index", config.audio_token_index),
            ("image_token_index", config.image_token_index),
            ("video_token_index", config.video_token_index),
            ("audio_start_token_id", config.audio_start_token_id),
            ("audio_end_token_id", config.audio_end_token_id),
            ("vision_start_token_id", config.vision_start_token_id),
            ("vision_end_token_id", config.vision_end_token_id),
        ] {
            tokenizer.check_special(field, id)?;
        }
        if tokenizer.size() > config.text.vocab_size {
            return Err(ProcessorError::Settings {
                path: dir.join("tokenizer.json"),
                message: format!(
                    "its largest id is {}, text_config.vocab_size in config.json is {}",
                    tokenizer.size() - 1,
                    config.text.vocab_size
                ),
            });
        }
        let settings = settings::Settings::load(dir, config)?;
        let (start, end) = (tokenizer.special("<|im_start|>")?, tokenizer.special("<|im_end|>")?);
        let mut stop = vec![end];
        stop.extend(config.eos_token_id);
        stop.extend(config.pad_token_id);
        stop.extend(settings.eos.iter().copied());
        stop.sort_unstable();
        stop.dedup();
        Ok(Self {
            table: Box::new(pixels::normalisation(settings.mean, settings.std)),
            mel: LogMel::new(settings.mel),
            config: config.clone(),
            tokenizer,
            settings,
            start,
            end,
            stop,
        })
    }

    /// Ids that end an answer.
    pub fn stop_tokens(&self) -> &[u32] {
        &self.stop
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// A decoder for the answer's tokens.
    pub fn stream_decoder(&self) -> StreamDecoder<'_> {
        self.tokenizer.stream()
    }

    /// The messages of one case: system prompt, then the clip followed by the words.
    pub fn case_messages(&self, clip: SampledClip, prompt: &Prompt) -> Vec<Message> {
        let mut pieces = Vec::new();
        match clip.video {
            // One frame is a still: it has no soundtrack to interleave, a sound beside it stands alone.
            Some(mut video) if video.frames.len() == 1 => {
                pieces.push(Piece::Image(video.frames.swap_remove(0)));
                pieces.extend(clip.audio.map(Piece::Audio));
            }
            Some(video) => pieces.push(Piece::Video(video, clip.audio)),
            None => pieces.extend(clip.audio.map(Piece::Audio)),
        }
        let words = prompt.user_text();
        pieces.extend(words.parts.into_iter().map(|(part, range)| Piece::Text(part, words.text[range].to_owned())));
        let system = prompt.system.as_deref().unwrap_or(DEFAULT_SYSTEM);
        vec![
            Message { role: Role::System, pieces: vec![Piece::Text(Part::System, system.to_owned())] },
            Message { role: Role::User, pieces },
        ]
    }

    /// Lays out a conversation that the model answers next.
    ///
    /// Either every video carries its sound or none does: the model's positions know one rule per prompt.
    pub fn process(&self, messages: &[Message], sampling: &Sampling) -> Result<Inputs, ProcessorError> {
        let layout = template::Layout::new(self);
        let mut media = MediaInputs::default();
        let mut laid = layout.conversation(messages, |piece| self.medium(piece, sampling, &mut media))?;
        let counts = laid.provenance.counts();
        let tokens = laid.ids.len();
        let most = self.config.text.max_position_embeddings;
        if tokens > most {
            return Err(ProcessorError::TooLong { tokens, video: counts[1], audio: counts[2], most });
        }
        let grids = |list: &[PictureInput]| list.iter().map(|p| p.grid).collect::<Vec<_>>();
        let (images, videos) = (grids(&media.images), grids(&media.videos));
        let second_per_grid: Vec<f64> = media.videos.iter().map(|v| v.second_per_grid).collect();
        let audio_frames: Vec<usize> = media.audios.iter().map(|a| a.frames).collect();
        let about = Media {
            images: &images,
            videos: &videos,
            second_per_grid: &second_per_grid,
            audio_frames: &audio_frames,
            audio_in_video: media.audio_in_video,
        };
        let (positions, next_position) =
            rope_positions(&self.config, &laid.ids, &about).map_err(ProcessorError::Layout)?;
        laid.provenance.videos = media.grids;
        laid.provenance.audios = media.lines;
        Ok(Inputs {
            ids: laid.ids,
            positions,
            next_position,
            images: media.images,
            videos: media.videos,
            audios: media.audios,
            provenance: laid.provenance,
        })
    }

    /// What `inputs` feed to the towers, as pictures and sound frames: read off the very numbers.
    pub fn fed(&self, inputs: &Inputs) -> Fed {
        let c = &self.config;
        let layout = self.patches();
        let [mut images, mut videos] = [inputs.images.iter(), inputs.videos.iter()];
        let mut pictures = Vec::new();
        for token in &inputs.provenance.tokens {
            if let Source::Video { medium, .. } = token.source
                && medium == pictures.len()
            {
                // Stills and videos are kept apart; their tokens say which a medium is.
                let list = if token.id == c.image_token_index { &mut images } else { &mut videos };
                pictures.extend(list.next());
            }
        }
        let videos = pictures.into_iter().map(|p| FedVideo {
            frames: unpatchify(&p.pixels, p.grid, layout, &self.table),
            per_step: layout.temporal,
        });
        let mel = &self.settings.mel;
        let audios = inputs.audios.iter().map(|a| FedAudio {
            log_mel: a.mel.clone(),
            bins: mel.bins,
            secs_per_frame: mel.hop as f64 / mel.rate as f64,
        });
        Fed { videos: videos.collect(), audios: audios.collect() }
    }

    fn patches(&self) -> PatchLayout {
        let c = &self.config.vision;
        PatchLayout { patch: c.patch_size, merge: c.spatial_merge_size, temporal: c.temporal_patch_size }
    }

    /// Samples of a sound that gives `frames` mel frames.
    pub fn samples_of(&self, frames: usize) -> usize {
        frames.saturating_mul(self.settings.mel.hop).min(self.settings.mel.padded)
    }

    /// The pixel limits in force for videos or for stills.
    pub fn pixel_limits(&self, video: bool, sampling: &Sampling) -> PixelLimits {
        let own = if video { self.settings.video } else { self.settings.image };
        let min = sampling.min_pixels.unwrap_or(own.min);
        PixelLimits { min, max: sampling.max_pixels.unwrap_or(own.max).max(min) }
    }

    /// One of `frames` video frames at the size the model sees; preprocessing it again changes nothing.
    ///
    /// Fails where no grid fits it, or where the frames have more tokens together than the model takes.
    pub fn shrink(&self, image: &RgbImage, frames: usize, sampling: &Sampling) -> Result<RgbImage, ProcessorError> {
        let [height, width] = self.grid_size(image, frames, self.pixel_limits(true, sampling))?;
        Ok(resize(image, height, width))
    }

    /// The height and width in pixels that `frames` frames like this one are resized to.
    ///
    /// Known before anything is resized: limits that a user chose may ask for more than any memory holds.
    fn grid_size(&self, first: &RgbImage, frames: usize, limits: PixelLimits) -> Result<[usize; 2], ProcessorError> {
        let c = &self.config.vision;
        let size = smart_resize(first.height, first.width, c.token_edge(), limits.min, limits.max)
            .ok_or(ProcessorError::Aspect { width: first.width, height: first.height })?;
        let tokens = self.step_tokens(size).saturating_mul(frames.div_ceil(c.temporal_patch_size));
        let most = self.config.text.max_position_embeddings;
        if tokens > most {
            return Err(ProcessorError::TooLong { tokens, video: tokens, audio: 0, most });
        }
        Ok(size)
    }

    /// Tokens of a grid step of this height and width in pixels.
    fn step_tokens(&self, [height, width]: [usize; 2]) -> usize {
        let edge = self.config.vision.token_edge();
        (height / edge).saturating_mul(width / edge)
    }

    /// Preprocesses a medium and gives the tokens that stand for it, marks included.
    fn medium(
        &self,
        piece: &Piece,
        sampling: &Sampling,
        media: &mut MediaInputs,
    ) -> Result<Vec<(u32, Source)>, ProcessorError> {
        let c = &self.config;
        let framed = |start: u32, inner: Vec<(u32, Source)>, end: u32| {
            let mut tokens = vec![(start, Source::Special)];
            tokens.extend(inner);
            tokens.push((end, Source::Special));
            tokens
        };
        Ok(match piece {
            Piece::Text(..) => Vec::new(),
            Piece::Image(image) => {
                // A still repeats along the patch's time.
                let frames = vec![image.clone(); c.vision.temporal_patch_size];
                let video = SampledVideo { pts_secs: vec![0.0; frames.len()], frames, fps: Sampling::DEFAULT_FPS };
                let limits = self.pixel_limits(false, sampling);
                let (picture, cells) = self.picture(&video, limits, c.image_token_index, media)?;
                media.images.push(picture);
                framed(c.vision_start_token_id, cells, c.vision_end_token_id)
            }
            Piece::Video(video, sound) => {
                let limits = self.pixel_limits(true, sampling);
                let (picture, cells) = self.picture(video, limits, c.video_token_index, media)?;
                let second = picture.second_per_grid;
                media.videos.push(picture);
                let inner = match sound {
                    None => cells,
                    Some(sound) => {
                        media.audio_in_video = true;
                        let heard = self.sound(sound, media);
                        let inner = self.interleave(&cells, second, &heard);
                        framed(c.audio_start_token_id, inner, c.audio_end_token_id)
                    }
                };
                framed(c.vision_start_token_id, inner, c.vision_end_token_id)
            }
            Piece::Audio(sound) => framed(c.audio_start_token_id, self.sound(sound, media), c.audio_end_token_id),
        })
    }

    fn picture(
        &self,
        video: &SampledVideo,
        limits: PixelLimits,
        id: u32,
        media: &mut MediaInputs,
    ) -> Result<(PictureInput, Vec<(u32, Source)>), ProcessorError> {
        let c = &self.config.vision;
        let first = video.frames.first().ok_or_else(|| ProcessorError::Layout("a video without frames".into()))?;
        let [height, width] = self.grid_size(first, video.frames.len(), limits)?;
        let frames: Vec<RgbImage> = video.frames.par_iter().map(|f| resize(f, height, width)).collect();
        let (pixels, grid) = patchify(&frames, self.patches(), &self.table);
        let second_per_grid = c.temporal_patch_size as f64 / video.fps;
        let (rows, cols) = (grid[1] / c.spatial_merge_size, grid[2] / c.spatial_merge_size);
        let last = video.pts_secs.len().saturating_sub(1);
        let pts = |i: usize| video.pts_secs.get(i.min(last)).copied().unwrap_or_default();
        let steps = (0..grid[0])
            .map(|g| GridStep {
                pts_secs: [pts(g * c.temporal_patch_size), pts((g + 1) * c.temporal_patch_size - 1)],
                nominal: Span::new(g as f64 * second_per_grid, (g + 1) as f64 * second_per_grid),
            })
            .collect();
        let medium = media.grids.len();
        media.grids.push(VideoGrid { steps, rows, cols, resized: [width, height] });
        let cells = (0..grid[0])
            .flat_map(|step| (0..rows).flat_map(move |row| (0..cols).map(move |col| (step, row, col))))
            .map(|(step, row, col)| (id, Source::Video { medium, step, row, col }))
            .collect();
        Ok((PictureInput { grid, pixels, second_per_grid }, cells))
    }

    fn sound(&self, sound: &SampledAudio, media: &mut MediaInputs) -> Vec<(u32, Source)> {
        let frames = self.mel.frames(sound.samples.len());
        let tokens = audio_tokens(frames);
        let medium = media.lines.len();
        // Two strided steps halve the mel rate twice.
        let secs_per_token = (4 * self.settings.mel.hop) as f64 / self.settings.mel.rate as f64;
        media.lines.push(AudioLine { tokens, secs_per_token, start_secs: sound.start_secs });
        media.audios.push(MelInput { frames, mel: self.mel.compute(&sound.samples) });
        (0..tokens).map(|index| (self.config.audio_token_index, Source::Audio { medium, index })).collect()
    }

    /// Video and audio tokens in turns, chunk by chunk, by the processor's rule: exact times, where the model's
    /// positions truncate. The two can disagree; the ids follow this one, as in the reference.
    fn interleave(&self, seen: &[(u32, Source)], second_per_grid: f64, heard: &[(u32, Source)]) -> Vec<(u32, Source)> {
        let per_second = self.config.position_id_per_seconds;
        let per_chunk = (per_second * self.config.seconds_per_chunk).trunc();
        let time = |token: &(u32, Source)| match token.1 {
            Source::Video { step, .. } => step as f64 * second_per_grid * per_second,
            Source::Audio { index, .. } => index as f64,
            _ => 0.0,
        };
        let seen_chunks = chunks(seen.iter().map(time), per_chunk);
        let heard_chunks = chunks(heard.iter().map(time), per_chunk);
        let mut out = Vec::with_capacity(seen.len() + heard.len());
        for i in 0..seen_chunks.len().max(heard_chunks.len()) {
            for (tokens, chunks) in [(seen, &seen_chunks), (heard, &heard_chunks)] {
                if let Some(range) = chunks.get(i) {
                    out.extend_from_slice(&tokens[range.clone()]);
                }
            }
        }
        out
    }

    /// The text of a token as it is shown: its own, or nothing for media and special tokens.
    fn shown(&self, id: u32, source: &Source) -> Token {
        let text = match source {
            Source::Text { .. } => self.tokenizer.token_text(id),
            _ => String::new(),
        };
        Token { id, text, source: source.clone() }
    }
}

/// Media of a prompt as they are preprocessed.
#[derive(Debug, Default)]
struct MediaInputs {
    images: Vec<PictureInput>,
    videos: Vec<PictureInput>,
    audios: Vec<MelInput>,
    grids: Vec<VideoGrid>,
    lines: Vec<AudioLine>,
    audio_in_video: bool,
}
