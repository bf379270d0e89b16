//! What workers tell the rest of the program. The inference thread and the media threads send these;
//! `State::apply` and the command line consume them. Knows nothing of threads or channels.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::capture::{AttentionRow, Share, ShareDetail};
use crate::clip::ClipSpec;
use crate::download::News;
use crate::exports::ExportNews;
use crate::fed::Fed;
use crate::film::FilmNews;
use crate::heatmap::HeatMap;
use crate::prompt::{Prompt, PromptText};
use crate::provenance::Provenance;
use crate::settings::{Decoding, Dtype, Sampling};
use crate::spectrum::Spectrum;
use crate::time::{Span, level_for};

/// One question about one clip.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Newest wins: events of older epochs are stale.
    pub epoch: u64,
    /// What is seen and heard.
    pub clip: ClipSpec,
    /// What is asked.
    pub prompt: Prompt,
    /// How the clip is sampled.
    pub sampling: Sampling,
    /// How the answer is decoded.
    pub decoding: Decoding,
}

/// What a loaded model is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelInfo {
    /// `bundled`, a hub id, or the folder's path.
    pub id: String,
    /// SHA-256 of the weights file (of all shards in order), lower-case hex.
    pub sha256: String,
    /// How the weights are held: `f32`, `f16`, `q8_0`, …
    pub dtype: String,
    /// `cpu`, `cuda:0`, `metal:0`.
    pub device: String,
    /// The checkpoint's folder.
    #[serde(skip)]
    pub dir: PathBuf,
}

/// A step of answering, for the stage line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Reading and sampling the media.
    Decode,
    /// The vision tower.
    Vision,
    /// The audio tower.
    Audio,
    /// The language model over the prompt.
    Prefill,
    /// Generating tokens.
    Answer,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// A stop token.
    Stop,
    /// `max_new_tokens` reached.
    Length,
    /// Cancelled by the user or by a newer request.
    Cancelled,
}

/// How long the parts of an answer took, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Timing {
    /// Loading the checkpoint; 0 when it was loaded already.
    pub load: f64,
    /// Decoding, sampling and preprocessing the media.
    pub decode: f64,
    /// Vision tower.
    pub vision: f64,
    /// Audio tower.
    pub audio: f64,
    /// Language model over the prompt.
    pub prefill: f64,
    /// From the end of decoding to the first token.
    pub first_token: f64,
    /// From the request to the last token.
    pub total: f64,
}

/// What earlier work was reused for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Reuse {
    /// Prompt tokens whose keys and values were still in the cache.
    pub prefix_tokens: usize,
    /// Picture blocks (grid steps) taken from the encoder cache.
    pub video_blocks: usize,
    /// Audio blocks taken from the encoder cache.
    pub audio_blocks: usize,
}

/// One generated token and the attention row that predicted it.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerToken {
    /// Vocabulary id.
    pub id: u32,
    /// Text this token adds to the answer; empty while it ends inside a UTF-8 character.
    pub text: String,
    /// Natural-log probability under the model's own distribution (before temperature).
    pub logprob: f64,
    /// Attention shares of the row that predicted the token, mean over layers and heads.
    pub share: Share,
    /// The row itself, all layers and heads.
    pub row: Arc<AttentionRow>,
}

/// A finished answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The whole text, special tokens left out.
    pub text: String,
    /// The tokens in order, the stop token left out.
    pub tokens: Vec<AnswerToken>,
    /// Why it ended.
    pub finish: Finish,
    /// Mean of the tokens' shares.
    pub share: Share,
    /// The parts of `share.text`.
    pub share_detail: ShareDetail,
    /// Share ÷ share of tokens (AEI).
    pub density: Share,
    /// Prompt and answer tokens.
    pub provenance: Arc<Provenance>,
    /// Prompt tokens (the rest of `provenance.tokens` is the answer).
    pub prompt_tokens: usize,
    /// Timing.
    pub timing: Timing,
    /// What was reused.
    pub reuse: Reuse,
    /// Generated tokens per second, the first one not counted; 0 for fewer than two.
    pub tokens_per_s: f64,
}

/// A clip's sound as its lanes show it: exactly the samples the model is given, reduced to pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct SoundLanes {
    /// Mono samples in −1…1, `rate` per second.
    pub samples: Vec<f32>,
    /// Samples per second.
    pub rate: f64,
    /// `[frames, bins]` log-mel as the model hears it, scaled to 0…1; bin 0 is the lowest.
    pub log_mel: Vec<f32>,
    /// Mel bins.
    pub bins: usize,
    /// Log-mel frames per second.
    pub frame_rate: f64,
    /// Time of the first sample on the clip's axis, in seconds.
    pub start_secs: f64,
}

/// The outline of a whole soundtrack, however long, at several levels of detail.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outline {
    /// Lowest and highest sample per step, from t = 0; every level's step is [`Outline::FACTOR`] times the one before.
    levels: Vec<Vec<[f32; 2]>>,
    /// Seconds of a step of the first level.
    step_secs: f64,
    /// Whether more is to come.
    pub growing: bool,
}

impl Outline {
    /// How much coarser a level is than the one before.
    const FACTOR: usize = 8;

    /// Builds the levels over the finest one.
    pub fn new(pairs: Vec<[f32; 2]>, step_secs: f64, growing: bool) -> Self {
        let widest = |pairs: &[[f32; 2]]| {
            pairs.iter().fold([f32::INFINITY, f32::NEG_INFINITY], |[l, h], p| [l.min(p[0]), h.max(p[1])])
        };
        let mut levels = vec![pairs];
        while let Some(last) = levels.last().filter(|l| l.len() > Self::FACTOR) {
            let next = last.chunks(Self::FACTOR).map(widest).collect();
            levels.push(next);
        }
        Self { levels, step_secs, growing }
    }

    /// The finest level.
    pub fn pairs(&self) -> &[[f32; 2]] {
        self.levels.first().map_or(&[], Vec::as_slice)
    }

    /// Where it ends, in seconds.
    pub fn end_secs(&self) -> f64 {
        self.pairs().len() as f64 * self.step_secs
    }

    /// Lowest and highest sample per column, `[2, columns]`; 0 where there is no sound. Costs a few pairs per column,
    /// however long the sound is.
    pub fn columns(&self, view: Span, columns: usize) -> Vec<f32> {
        let per_column = view.duration_secs() / columns.max(1) as f64;
        let (level, step) = level_for(per_column, self.step_secs, Self::FACTOR, self.levels.len());
        let pairs = self.levels.get(level).map_or(&[][..], Vec::as_slice);
        let mut out = vec![0.0; 2 * columns];
        for column in 0..columns {
            let from = view.start_secs + column as f64 * per_column;
            if from + per_column <= 0.0 {
                continue;
            }
            let first = (from / step).max(0.0) as usize;
            let end = (((from + per_column) / step).ceil() as usize).max(first + 1);
            let part = pairs.get(first..end.min(pairs.len())).unwrap_or_default();
            let [low, high] =
                part.iter().fold([f32::INFINITY, f32::NEG_INFINITY], |[l, h], p| [l.min(p[0]), h.max(p[1])]);
            if low <= high {
                (out[column], out[columns + column]) = (low, high);
            }
        }
        out
    }
}

/// What a file is to be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileUse {
    /// A new clip, or a new sound for the one that is open: by what is in the file.
    ByContent,
    /// The new clip.
    Clip,
    /// The sound of the clip that is open.
    Sound,
    /// A checkpoint folder.
    Model,
}

/// The audio tracks of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tracks {
    /// One line about each, in the order in which they are numbered.
    pub about: Vec<String>,
    /// The number (from 0) of the one that is played where none is named.
    pub played: usize,
}

/// What was found in a file.
#[derive(Debug, Clone, PartialEq)]
pub struct FileFacts {
    /// The file.
    pub path: PathBuf,
    /// Whether it has a picture.
    pub picture: bool,
    /// Whether it has sound.
    pub sound: bool,
    /// Its audio tracks.
    pub tracks: Tracks,
    /// Whether it is one picture.
    pub still: bool,
    /// One line about it: size, rate, codec.
    pub summary: String,
}

impl Answer {
    /// Mean attention over answer tokens, layers and heads, one weight per token of the provenance.
    pub fn mean_attention(&self) -> Vec<f32> {
        let mut mean = vec![0f32; self.provenance.tokens.len()];
        for token in &self.tokens {
            for (sum, weight) in mean.iter_mut().zip(token.row.mean()) {
                *sum += weight / self.tokens.len() as f32;
            }
        }
        mean
    }
}

/// A message from a worker.
#[derive(Debug, Clone)]
pub enum Event {
    /// A checkpoint is being loaded.
    ModelLoading {
        /// What is being loaded.
        id: String,
    },
    /// A checkpoint is ready.
    ModelReady(Arc<ModelInfo>),
    /// A checkpoint could not be loaded.
    ModelFailed {
        /// One line: what was tried, what was wrong, what to do.
        message: String,
    },
    /// The model is gone with its device; the request that met it says why.
    ModelLost,
    /// An answer entered a stage.
    Stage {
        /// Of which request.
        epoch: u64,
        /// Which stage.
        stage: Stage,
    },
    /// The prompt is laid out: from here on tokens have provenance.
    Prompt {
        /// Of which request.
        epoch: u64,
        /// The prompt's tokens.
        provenance: Arc<Provenance>,
    },
    /// What the model's towers are fed.
    Fed {
        /// Of which request.
        epoch: u64,
        /// Pictures and sounds.
        fed: Arc<Fed>,
    },
    /// A token was generated.
    Token {
        /// Of which request.
        epoch: u64,
        /// The token.
        token: AnswerToken,
    },
    /// An answer is complete (or cancelled with what there was).
    Answered {
        /// Of which request.
        epoch: u64,
        /// The answer.
        answer: Arc<Answer>,
    },
    /// An answer was given up before there was anything to keep: it was stopped, or what was to answer is no longer there.
    AskStopped {
        /// Of which request.
        epoch: u64,
    },
    /// An answer failed.
    AskFailed {
        /// Of which request.
        epoch: u64,
        /// One line: what was tried, what was wrong, what to do.
        message: String,
        /// The form of the model that would leave more memory, where memory is what lacked.
        smaller: Option<Dtype>,
    },
    /// The heat map of an answer token, projected off the interface's thread.
    TokenMap {
        /// Of which request.
        epoch: u64,
        /// Index of the token in the answer.
        index: usize,
        /// The map, mean over layers and heads.
        map: Arc<HeatMap>,
    },
    /// A file or folder was chosen, and looked into where it is a file.
    FileChosen {
        /// What it is for.
        purpose: FileUse,
        /// What was found.
        facts: FileFacts,
    },
    /// A short text was dropped.
    TextDropped {
        /// The text.
        text: String,
    },
    /// Where a long clip was left when it was open last.
    LeftAt {
        /// Counts clips: events of older ones are stale.
        clip_id: u64,
        /// The time, in seconds.
        at_secs: f64,
    },
    /// The clip that plays is open.
    ClipOpened {
        /// Counts clips: events of older ones are stale.
        clip_id: u64,
        /// Its length in seconds, if known.
        duration_secs: Option<f64>,
        /// Whether it has a picture.
        picture: bool,
    },
    /// The clip, or its sound, cannot be played.
    ClipFailed {
        /// Of which clip.
        clip_id: u64,
        /// One line: what was tried, what was wrong, what to do.
        message: String,
    },
    /// A frame can be shown: only a reason to draw.
    FrameReady,
    /// The clip's sound, ready for its lanes; `None` when there is nothing to hear.
    Lanes {
        /// Counts sounds: events of older ones are stale.
        sound_id: u64,
        /// The lanes.
        lanes: Option<Arc<SoundLanes>>,
    },
    /// The outline of the clip's whole sound, or of the video's own beside another.
    Outline {
        /// Counts sounds: events of older ones are stale.
        sound_id: u64,
        /// Whether it is the video's own sound, for comparison.
        own: bool,
        /// The outline; `None` when there is nothing to hear.
        outline: Option<Arc<Outline>>,
    },
    /// News of the filmstrip.
    Film {
        /// Counts clips: news of older ones is stale.
        clip_id: u64,
        /// What happened.
        news: FilmNews,
    },
    /// The spectrum of the clip's whole sound.
    Spectrum {
        /// Counts sounds: events of older ones are stale.
        sound_id: u64,
        /// The spectrum, as far as it is computed.
        spectrum: Arc<Spectrum>,
    },
    /// The text that words become.
    Words {
        /// Of which words.
        prompt: Prompt,
        /// The text.
        text: Arc<PromptText>,
    },
    /// News of models and downloads.
    Models(News),
    /// News of what is being saved.
    Export {
        /// Counts videos: news of older ones is stale. 0 for a frame.
        number: u64,
        /// What happened.
        news: ExportNews,
    },
    /// Something the user should know and can live with.
    Note {
        /// One line.
        message: String,
    },
    /// Something outside of answers failed: a file, a dialog, a device.
    Failed {
        /// One line: what was tried, what was wrong, what to do.
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_of_an_outline_shows_the_same_extremes() {
        // An hour at a hundredth of a second, silent but for one sample.
        let mut pairs = vec![[0.0f32, 0.0]; 360_000];
        pairs[123_456] = [-0.5, 0.75];
        let outline = Outline::new(pairs, 0.01, false);
        assert_eq!(outline.end_secs(), 3_600.0);
        for span in [Span::new(0.0, 3_600.0), Span::new(1_200.0, 1_300.0), Span::new(1_234.0, 1_235.0)] {
            let columns = outline.columns(span, 500);
            let low = columns[..500].iter().copied().fold(0.0, f32::min);
            let high = columns[500..].iter().copied().fold(0.0, f32::max);
            assert_eq!((low, high), (-0.5, 0.75), "{span:?}");
            let at = columns[500..].iter().position(|h| *h > 0.0).unwrap() as f64 / 500.0;
            let t = span.start_secs + at * span.duration_secs();
            assert!((t - 1_234.56).abs() <= span.duration_secs() / 250.0 + 0.01, "{t} in {span:?}");
        }
        assert!(outline.columns(Span::new(5_000.0, 6_000.0), 10).iter().all(|v| *v == 0.0));
        assert!(Outline::default().columns(Span::new(0.0, 1.0), 3).iter().all(|v| *v == 0.0));
    }
}
