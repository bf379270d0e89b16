//! Where every model token comes from: a patch of a frame pair, a stretch of audio, bytes of a text
//! part, or a special token. Knows nothing of models; maps are arithmetic on these values.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::prompt::Part;
use crate::time::Span;

/// The coarse kind of a token, as stored in `attention.safetensors`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Kind {
    /// Words, and the template's text around them.
    Text = 0,
    /// A patch group of a video grid step or a still.
    Video = 1,
    /// A stretch of audio.
    Audio = 2,
    /// A special token: roles, bos and eos marks.
    Special = 3,
}

/// Where one token comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Source {
    /// A cell of a video (or still) grid.
    Video {
        /// Which medium of [`Provenance::videos`].
        medium: usize,
        /// Grid step (frame pair) in time.
        step: usize,
        /// Row of the token grid.
        row: usize,
        /// Column of the token grid.
        col: usize,
    },
    /// A token of an audio stream.
    Audio {
        /// Which medium of [`Provenance::audios`].
        medium: usize,
        /// Index of the token in its stream.
        index: usize,
    },
    /// Bytes of a text part.
    Text {
        /// Which field the bytes belong to.
        part: Part,
        /// Byte range in that field's text as it stands in the prompt (for [`Part::Answer`], in the answer).
        bytes: Range<usize>,
    },
    /// A special token of the template or of a medium's frame (bos, eos, im_start, …).
    Special,
}

impl Source {
    /// The coarse kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Video { .. } => Kind::Video,
            Self::Audio { .. } => Kind::Audio,
            Self::Text { .. } => Kind::Text,
            Self::Special => Kind::Special,
        }
    }
}

/// One prompt or answer token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Vocabulary id.
    pub id: u32,
    /// The token's own text (lossy where it ends inside a UTF-8 character); empty for media tokens.
    pub text: String,
    /// Where it comes from.
    pub source: Source,
}

/// One grid step of a video: a pair of source frames and the time the model believes they have.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GridStep {
    /// Presentation times of the source frames that made this step, in seconds.
    pub pts_secs: [f64; 2],
    /// The nominal (TMRoPE) time span of the step, in seconds.
    pub nominal: Span,
}

/// The token grid of one video or still.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VideoGrid {
    /// Grid steps in time order.
    pub steps: Vec<GridStep>,
    /// Token rows.
    pub rows: usize,
    /// Token columns.
    pub cols: usize,
    /// Width and height in pixels that the model sees.
    pub resized: [usize; 2],
}

impl VideoGrid {
    /// Number of tokens: steps × rows × columns.
    pub fn tokens(&self) -> usize {
        self.steps.len() * self.rows * self.cols
    }

    /// The step whose source frames are on screen at `t_secs`: the last one whose first frame is not later.
    pub fn step_at(&self, t_secs: f64) -> Option<usize> {
        let after = self.steps.partition_point(|s| s.pts_secs[0] <= t_secs);
        (!self.steps.is_empty()).then(|| after.saturating_sub(1))
    }
}

/// The token line of one audio stream.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AudioLine {
    /// Number of tokens.
    pub tokens: usize,
    /// Length of one token in seconds (0.04 in the released checkpoints).
    pub secs_per_token: f64,
    /// Time of the stream's first sample on the clip's axis, in seconds.
    pub start_secs: f64,
}

impl AudioLine {
    /// The time span of token `index`, in seconds.
    pub fn span(&self, index: usize) -> Span {
        let at = |i: usize| self.start_secs + i as f64 * self.secs_per_token;
        Span::new(at(index), at(index + 1))
    }
}

/// Every token of a prompt (and of the answer so far), exactly once and in order.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Provenance {
    /// The tokens in sequence order.
    pub tokens: Vec<Token>,
    /// Video and still grids that [`Source::Video`] refers to.
    pub videos: Vec<VideoGrid>,
    /// Audio streams that [`Source::Audio`] refers to.
    pub audios: Vec<AudioLine>,
}

impl Provenance {
    /// How many tokens are of each kind, in the order of [`Kind`]: text, video, audio, special.
    pub fn counts(&self) -> [usize; 4] {
        let mut counts = [0; 4];
        for token in &self.tokens {
            counts[token.source.kind() as usize] += 1;
        }
        counts
    }
}
