//! Captured attention rows as plain arrays, and the arithmetic on them: sums per modality, per part and
//! projection to maps. Knows nothing of tensors or models, so the interface can hover without either.

use serde::{Deserialize, Serialize};

use crate::heatmap::HeatMap;
use crate::prompt::Part;
use crate::provenance::{Kind, Provenance, Source};

/// The attention of one query token over all its keys, in every layer and head.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionRow {
    /// Sequence position of the query.
    pub query: usize,
    /// Layers of the language model.
    pub layers: usize,
    /// Query heads per layer.
    pub heads: usize,
    /// Keys, `query + 1` under a causal mask.
    pub keys: usize,
    /// `[layers, heads, keys]`, each `keys` row summing to 1 (or 0 where everything was knocked out).
    pub probs: Vec<f32>,
}

impl AttentionRow {
    /// The probabilities of one layer and head, `[keys]`.
    pub fn head(&self, layer: usize, head: usize) -> &[f32] {
        let start = (layer * self.heads + head) * self.keys;
        &self.probs[start..start + self.keys]
    }

    /// Mean over all layers and heads, `[keys]`.
    pub fn mean(&self) -> Vec<f32> {
        let mut mean = vec![0.0f64; self.keys];
        for row in self.probs.chunks_exact(self.keys.max(1)) {
            for (sum, p) in mean.iter_mut().zip(row) {
                *sum += f64::from(*p);
            }
        }
        let count = (self.layers * self.heads).max(1) as f64;
        mean.into_iter().map(|sum| (sum / count) as f32).collect()
    }
}

/// Attention mass per modality. `text` is all that is neither video nor audio, so the three sum to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Share {
    /// Mass on video tokens.
    pub video: f64,
    /// Mass on audio tokens.
    pub audio: f64,
    /// Mass on everything else.
    pub text: f64,
}

/// The parts of a [`Share`]'s text. Sums to `share.text`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct ShareDetail {
    /// Mass on the system prompt's words.
    pub system: f64,
    /// Mass on the caption.
    pub caption: f64,
    /// Mass on the context.
    pub context: f64,
    /// Mass on the question and its options.
    pub question: f64,
    /// Mass on special tokens and the template's own text.
    pub special: f64,
    /// Mass on the answer so far.
    pub answer: f64,
}

impl Share {
    /// Sums a key distribution `[keys]` over modalities; keys beyond the provenance count as text.
    pub fn of(mean: &[f32], provenance: &Provenance) -> Self {
        let mut share = Self::default();
        for (i, p) in mean.iter().enumerate() {
            let kind = provenance.tokens.get(i).map_or(Kind::Text, |t| t.source.kind());
            *match kind {
                Kind::Video => &mut share.video,
                Kind::Audio => &mut share.audio,
                Kind::Text | Kind::Special => &mut share.text,
            } += f64::from(*p);
        }
        share
    }

    /// The mean of several shares; zero for none.
    pub fn mean_of<'a>(shares: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut sum = Self::default();
        let mut count = 0.0;
        for s in shares {
            sum.video += s.video;
            sum.audio += s.audio;
            sum.text += s.text;
            count += 1.0;
        }
        let n = if count > 0.0 { count } else { 1.0 };
        Self { video: sum.video / n, audio: sum.audio / n, text: sum.text / n }
    }

    /// Attention share ÷ token share of each modality (AEI, arXiv 2508.10552); 0 where a modality has no token.
    /// `tokens` are counts of video, audio and all other tokens.
    pub fn density(&self, tokens: [usize; 3]) -> Self {
        let total = tokens.iter().sum::<usize>() as f64;
        let per = |mass: f64, n: usize| if n == 0 { 0.0 } else { mass * total / n as f64 };
        Self { video: per(self.video, tokens[0]), audio: per(self.audio, tokens[1]), text: per(self.text, tokens[2]) }
    }
}

impl ShareDetail {
    /// Splits the text mass of a key distribution `[keys]` by part; keys beyond the provenance are the answer's.
    pub fn of(mean: &[f32], provenance: &Provenance) -> Self {
        let mut detail = Self::default();
        for (i, p) in mean.iter().enumerate() {
            let slot = match provenance.tokens.get(i).map(|t| &t.source) {
                Some(Source::Video { .. } | Source::Audio { .. }) => continue,
                Some(Source::Special) => &mut detail.special,
                Some(Source::Text { part, .. }) => match part {
                    Part::System => &mut detail.system,
                    Part::Caption => &mut detail.caption,
                    Part::Context => &mut detail.context,
                    Part::Question => &mut detail.question,
                    Part::Template => &mut detail.special,
                    Part::Answer => &mut detail.answer,
                },
                None => &mut detail.answer,
            };
            *slot += f64::from(*p);
        }
        detail
    }

    /// The mean of several; zero for none.
    pub fn mean_of(details: &[Self]) -> Self {
        let mean = |part: fn(&Self) -> f64| details.iter().map(part).sum::<f64>() / details.len().max(1) as f64;
        Self {
            system: mean(|d| d.system),
            caption: mean(|d| d.caption),
            context: mean(|d| d.context),
            question: mean(|d| d.question),
            special: mean(|d| d.special),
            answer: mean(|d| d.answer),
        }
    }
}

/// Puts a key distribution `[keys]` back on picture, sound and words. Mass is conserved: the maps' cells
/// and the token weights together hold every key once.
pub fn project(mean: &[f32], provenance: &Provenance) -> HeatMap {
    let mut map = HeatMap {
        videos: provenance.videos.iter().map(|g| vec![0.0; g.tokens()]).collect(),
        audios: provenance.audios.iter().map(|a| vec![0.0; a.tokens]).collect(),
        words: vec![0.0; mean.len()],
    };
    for (i, p) in mean.iter().enumerate() {
        match provenance.tokens.get(i).map(|t| &t.source) {
            Some(Source::Video { medium, step, row, col }) => {
                let grid = &provenance.videos[*medium];
                map.videos[*medium][(step * grid.rows + row) * grid.cols + col] += p;
            }
            Some(Source::Audio { medium, index }) => map.audios[*medium][*index] += p,
            _ => map.words[i] += p,
        }
    }
    map
}
