//! A question and what came of it: its stages, tokens and maps, and the map that is on show. Knows nothing of how answers
//! are made.

use std::sync::Arc;

use super::State;
use crate::capture::Share;
use crate::clip::ClipSpec;
use crate::event::{Answer, AnswerToken, ModelInfo, Stage};
use crate::fed::Fed;
use crate::heatmap::{HeatMap, Scales};
use crate::prompt::Prompt;
use crate::provenance::{Kind, Provenance};

/// One question and what came of it so far.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its number.
    pub epoch: u64,
    /// What was seen and heard.
    pub clip: ClipSpec,
    /// What was asked.
    pub prompt: Prompt,
    /// The model that was asked.
    pub model: Option<Arc<ModelInfo>>,
    /// When it was asked.
    pub started_secs: f64,
    /// The stages entered and when.
    pub stages: Vec<(Stage, f64)>,
    /// The prompt's tokens, once they are laid out.
    pub provenance: Option<Arc<Provenance>>,
    /// What the model was fed.
    pub fed: Option<Arc<Fed>>,
    /// The answer's tokens so far.
    pub tokens: Vec<AnswerToken>,
    /// Their maps, in the same order; a map may come after its token.
    pub maps: Vec<Arc<HeatMap>>,
    /// The mean of `maps`.
    pub mean: HeatMap,
    /// Scales of the maps: see [`Scales`].
    pub scales: Vec<Scales>,
    /// How it ended.
    pub end: Option<End>,
    /// The user asked to stop it.
    pub stopping: bool,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// With an answer (perhaps a cancelled one).
    Answered(Arc<Answer>),
    /// Stopped by the user before there was anything to keep.
    Stopped,
    /// With an error; a notice says which.
    Failed,
}

/// The map that is on show, with everything its legend says.
#[derive(Debug, Clone)]
pub struct Shown<'a> {
    /// The token, or `None` for the mean over the answer.
    pub token: Option<usize>,
    /// The map.
    pub map: &'a HeatMap,
    /// Where its cells lie.
    pub provenance: &'a Provenance,
    /// Shares of the three senses.
    pub share: Share,
    /// Weight at the end of the video's colour map.
    pub video_scale: f32,
    /// Weight at the end of the audio's colour map.
    pub audio_scale: f32,
}

impl Run {
    pub(super) fn new(epoch: u64, clip: ClipSpec, prompt: Prompt, now_secs: f64) -> Self {
        Self {
            epoch,
            clip,
            prompt,
            model: None,
            started_secs: now_secs,
            stages: Vec::new(),
            provenance: None,
            fed: None,
            tokens: Vec::new(),
            maps: Vec::new(),
            mean: HeatMap::default(),
            scales: vec![Scales::default()],
            end: None,
            stopping: false,
        }
    }

    /// Whether it is still going on.
    pub fn running(&self) -> bool {
        self.end.is_none()
    }

    /// The answer so far.
    pub fn text(&self) -> String {
        self.tokens.iter().map(|t| t.text.as_str()).collect()
    }

    /// Prompt tokens of video, audio and everything else.
    pub fn counts(&self) -> [usize; 3] {
        let c = self.provenance.as_ref().map_or([0; 4], |p| p.counts());
        let of = |kind: Kind| c[kind as usize];
        [of(Kind::Video), of(Kind::Audio), of(Kind::Text) + of(Kind::Special)]
    }

    pub(super) fn add_map(&mut self, map: Arc<HeatMap>) {
        let n = self.maps.len() as f32;
        let blend = |mean: &mut Vec<f32>, new: &[f32]| {
            mean.resize(new.len().max(mean.len()), 0.0);
            for (i, m) in mean.iter_mut().enumerate() {
                *m = (*m * n + new.get(i).copied().unwrap_or(0.0)) / (n + 1.0);
            }
        };
        self.mean.videos.resize(map.videos.len(), Vec::new());
        self.mean.audios.resize(map.audios.len(), Vec::new());
        for (mean, new) in self.mean.videos.iter_mut().zip(&map.videos) {
            blend(mean, new);
        }
        for (mean, new) in self.mean.audios.iter_mut().zip(&map.audios) {
            blend(mean, new);
        }
        blend(&mut self.mean.words, &map.words);
        self.scales[0] = Scales::of(&self.mean);
        self.scales.push(Scales::of(&map));
        self.maps.push(map);
    }
}

impl State {
    /// Whether the answer on show is about another case than the one that stands in the window, or another model's.
    pub fn changed_since_asked(&self) -> bool {
        let model = if let super::Model::Ready(info) = &self.model { Some(info) } else { None };
        let other_model = |run: &Run| model.is_some() && run.model.as_ref() != model;
        self.run
            .as_ref()
            .is_some_and(|run| run.clip != self.clip || run.prompt != self.draft.prompt() || other_model(run))
    }

    /// Whether the picture that the answer is about is the one that is shown: else its map does not belong on it.
    pub fn picture_as_asked(&self) -> bool {
        let seen = |clip: &ClipSpec| (clip.video.clone(), clip.frames);
        self.run.as_ref().is_some_and(|run| seen(&run.clip) == seen(&self.clip))
    }

    /// Whether the sound that the answer is about is the one that is heard.
    pub fn sound_as_asked(&self) -> bool {
        let heard = |clip: &ClipSpec| (clip.video.clone(), clip.audio.clone(), clip.sound);
        self.run.as_ref().is_some_and(|run| heard(&run.clip) == heard(&self.clip))
    }

    /// The token whose maps are shown: under the pointer, else locked.
    pub fn focus(&self) -> Option<usize> {
        let tokens = self.run.as_ref().map_or(0, |r| r.maps.len());
        self.hovered.or(self.locked).filter(|t| *t < tokens)
    }

    /// The maps on show: the focused token's, else the mean over the answer.
    pub fn shown(&self) -> Option<Shown<'_>> {
        let run = self.run.as_ref()?;
        let provenance = run.provenance.as_deref()?;
        if run.maps.is_empty() {
            return None;
        }
        let token = self.focus();
        let (map, scales, share) = if let Some(t) = token {
            (&*run.maps[t], &run.scales[t + 1], run.tokens[t].share)
        } else {
            let shares = run.tokens.iter().take(run.maps.len()).map(|t| &t.share);
            (&run.mean, &run.scales[0], Share::mean_of(shares))
        };
        let q = self.view.clip_quantile;
        let (video_scale, audio_scale) = (scales.video(q), scales.audio(q));
        Some(Shown { token, map, provenance, share, video_scale, audio_scale })
    }
}
