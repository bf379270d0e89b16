//! The chat template: roles and marks around the pieces, and the tokens of the words between them.
//! Knows nothing of how media are preprocessed.

use std::ops::Range;

use crate::model::qwen2_5_omni::processor::{Message, Piece, Processor, ProcessorError, Role};
use crate::prompt::Part;
use crate::provenance::{Provenance, Source};

/// What the template says when a conversation does not begin with a system prompt.
const SYSTEM_IF_NONE: &str = "You are a helpful assistant.";

/// Ids and provenance as they are laid out.
#[derive(Debug, Default)]
pub struct Laid {
    pub ids: Vec<u32>,
    pub provenance: Provenance,
}

/// Lays out one conversation.
pub struct Layout<'a> {
    processor: &'a Processor,
    laid: Laid,
    /// Words since the last special token: the tokenizer sees them as one text.
    words: String,
    /// Which bytes of `words` belong to which field.
    parts: Vec<(Part, Range<usize>)>,
}

impl<'a> Layout<'a> {
    pub fn new(processor: &'a Processor) -> Self {
        Self { processor, laid: Laid::default(), words: String::new(), parts: Vec::new() }
    }

    /// Every message, then the opening of the answer. `medium` gives the tokens of a picture or sound.
    pub fn conversation(
        mut self,
        messages: &[Message],
        mut medium: impl FnMut(&Piece) -> Result<Vec<(u32, Source)>, ProcessorError>,
    ) -> Result<Laid, ProcessorError> {
        if messages.first().is_none_or(|m| m.role != Role::System) {
            self.open("system")?;
            self.words(Part::System, SYSTEM_IF_NONE);
            self.close()?;
        }
        for message in messages {
            self.open(match message.role {
                Role::System => "system",
                Role::User => "user",
                Role::Assistant => "assistant",
            })?;
            for piece in &message.pieces {
                if let Piece::Text(part, text) = piece {
                    self.words(*part, text);
                } else {
                    self.flush()?;
                    for (id, source) in medium(piece)? {
                        self.push(id, &source);
                    }
                }
            }
            self.close()?;
        }
        self.open("assistant")?;
        self.flush()?;
        Ok(self.laid)
    }

    fn open(&mut self, role: &str) -> Result<(), ProcessorError> {
        self.special(self.processor.start)?;
        self.words(Part::Template, role);
        self.words(Part::Template, "\n");
        Ok(())
    }

    fn close(&mut self) -> Result<(), ProcessorError> {
        self.special(self.processor.end)?;
        self.words(Part::Template, "\n");
        Ok(())
    }

    fn words(&mut self, part: Part, text: &str) {
        let start = self.words.len();
        self.words.push_str(text);
        if !text.is_empty() {
            self.parts.push((part, start..self.words.len()));
        }
    }

    fn special(&mut self, id: u32) -> Result<(), ProcessorError> {
        self.flush()?;
        self.push(id, &Source::Special);
        Ok(())
    }

    fn push(&mut self, id: u32, source: &Source) {
        self.laid.ids.push(id);
        self.laid.provenance.tokens.push(self.processor.shown(id, source));
    }

    /// Tokenizes the words collected so far. A token belongs to the field that its first byte belongs to.
    fn flush(&mut self) -> Result<(), ProcessorError> {
        let words = std::mem::take(&mut self.words);
        let parts = std::mem::take(&mut self.parts);
        if words.is_empty() {
            return Ok(());
        }
        for piece in self.processor.tokenizer.encode(&words)? {
            let at = parts.partition_point(|(_, range)| range.end <= piece.bytes.start);
            let Some((part, range)) = parts.get(at) else {
                return Err(ProcessorError::Layout("a token lies outside the text".into()));
            };
            let start = piece.bytes.start - range.start;
            let end = piece.bytes.end.min(range.end).max(piece.bytes.start) - range.start;
            self.push(piece.id, &Source::Text { part: *part, bytes: start..end });
        }
        Ok(())
    }
}
