//! The thread that lays out words while the model is busy: what is typed becomes the text that the model would read,
//! with token counts. It has the checkpoint's tokenizer and template, and nothing of its weights.

use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::mailbox::Mailbox;
use crate::event::Event;
use crate::model::qwen2_5_omni::processor::Processor;
use crate::prompt::{Media, Prompt};

/// Words to lay out.
#[derive(Debug, Clone, PartialEq)]
pub struct Words {
    /// The words.
    pub prompt: Prompt,
    /// What stands before them.
    pub media: Media,
}

/// What the inference thread and this one share.
#[derive(Debug, Default)]
pub(super) struct Desk {
    pub(super) mailbox: Mailbox<Words>,
    processor: Mutex<Option<Arc<Processor>>>,
}

impl Desk {
    /// From now on words are laid out as this checkpoint does it; without one they are not.
    pub(super) fn set(&self, processor: Option<Arc<Processor>>) {
        *self.processor.lock().unwrap_or_else(PoisonError::into_inner) = processor;
    }

    /// Lays out what is asked for until the mailbox is closed.
    pub(super) fn serve(&self, notify: &dyn Fn(Event)) {
        while let Some(words) = self.mailbox.take() {
            let processor = self.processor.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let Some(processor) = processor else { continue };
            match processor.prompt_text(&words.prompt, words.media) {
                Ok(text) => notify(Event::Words { prompt: words.prompt, text: Arc::new(text) }),
                // The same words would fail when asked, where it is said.
                Err(e) => log::debug!("the words cannot be laid out: {e}"),
            }
        }
    }
}
