//! The text that words become: the template with its special tokens, and how many tokens each field takes. Lays out as
//! for an answer, with empty media. Knows nothing of pictures or sounds.

use crate::frame::RgbImage;
use crate::model::qwen2_5_omni::processor::{Piece, Processor, ProcessorError, template};
use crate::prompt::{Media, Part, Prompt, PromptPiece, PromptText};
use crate::provenance::Source;
use crate::sampled::{SampledAudio, SampledClip, SampledVideo};
use crate::settings::Sampling;

impl Processor {
    /// The text of a prompt as the model reads it. Media stand as one piece each: how many tokens they have depends on
    /// the clip.
    pub fn prompt_text(&self, prompt: &Prompt, media: Media) -> Result<PromptText, ProcessorError> {
        let pieces = self.pieces(prompt, media)?;
        let tokens = |part: Part, pieces: &[PromptPiece]| -> usize {
            pieces.iter().filter(|p| p.part == Some(part)).map(|p| p.tokens).sum()
        };
        let question = tokens(Part::Question, &pieces);
        // Options are written into the question's text: they take what it would not take without them.
        let options = if prompt.options.is_empty() {
            0
        } else {
            let open = Prompt { options: Vec::new(), ..prompt.clone() };
            question.saturating_sub(tokens(Part::Question, &self.pieces(&open, media)?))
        };
        Ok(PromptText {
            system: tokens(Part::System, &pieces),
            caption: tokens(Part::Caption, &pieces),
            question: question - options,
            options,
            context: tokens(Part::Context, &pieces),
            most: self.config.text.max_position_embeddings,
            pieces,
        })
    }

    fn pieces(&self, prompt: &Prompt, media: Media) -> Result<Vec<PromptPiece>, ProcessorError> {
        let empty = || RgbImage { width: 0, height: 0, data: Vec::new() };
        // One frame is a still, two are a video.
        let frames = usize::from(media.picture) * if media.still { 1 } else { 2 };
        let video = media.picture.then(|| SampledVideo {
            frames: (0..frames).map(|_| empty()).collect(),
            pts_secs: vec![0.0; frames],
            fps: Sampling::DEFAULT_FPS,
        });
        let audio = media.sound.then(|| SampledAudio { samples: Vec::new(), start_secs: 0.0 });
        let messages = self.case_messages(SampledClip { video, audio }, prompt);
        let c = &self.config;
        let laid = template::Layout::new(self).conversation(&messages, |piece| {
            let framed = |start: u32, inner: &[u32], end: u32| {
                let ids = std::iter::once(start).chain(inner.iter().copied()).chain([end]);
                ids.map(|id| (id, Source::Special)).collect::<Vec<_>>()
            };
            let (video, audio) = (c.video_token_index, c.audio_token_index);
            let (seen, heard) =
                ([c.vision_start_token_id, c.vision_end_token_id], [c.audio_start_token_id, c.audio_end_token_id]);
            Ok(match piece {
                Piece::Text(..) => Vec::new(),
                Piece::Image(_) => framed(seen[0], &[c.image_token_index], seen[1]),
                Piece::Video(_, None) => framed(seen[0], &[video], seen[1]),
                Piece::Video(_, Some(_)) => framed(seen[0], &[heard[0], video, audio, heard[1]], seen[1]),
                Piece::Audio(_) => framed(heard[0], &[audio], heard[1]),
            })
        })?;
        let media = [c.image_token_index, c.video_token_index, c.audio_token_index];
        let mut pieces: Vec<PromptPiece> = Vec::new();
        let mut text = self.tokenizer.stream();
        for (id, token) in laid.ids.iter().zip(&laid.provenance.tokens) {
            let (part, words) = match &token.source {
                Source::Text { part, .. } => (Some(*part), text.push(*id)),
                _ => (None, self.tokenizer.name(*id)),
            };
            if let Some(piece) = pieces.last_mut().filter(|p| part.is_some() && p.part == part) {
                piece.text.push_str(&words);
                piece.tokens += 1;
            } else {
                let medium = media.contains(id);
                pieces.push(PromptPiece { part, medium, text: words, tokens: usize::from(!medium) });
            }
        }
        Ok(pieces)
    }
}
