//! The tokenizer of a checkpoint: text to ids with byte ranges, and streaming text back. Knows nothing of chat
//! templates.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What is wrong with a tokenizer, or with a text for it.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// `tokenizer.json` could not be read as one.
    #[error("cannot read the tokenizer: {message} ({})", path.display())]
    Load {
        /// Which file.
        path: PathBuf,
        /// What the parser said.
        message: String,
    },
    /// A special token that the model needs is not there.
    #[error("the tokenizer has no special token {what} ({})", path.display())]
    NoSpecial {
        /// The token, or the config field and id that promise it.
        what: String,
        /// Which file.
        path: PathBuf,
    },
    /// A text could not be encoded.
    #[error("cannot encode the text: {0}")]
    Encode(String),
}

/// A byte-level BPE tokenizer (`tokenizer.json`).
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// The bytes each id stands for; special tokens stand for none.
    bytes: HashMap<u32, Vec<u8>>,
    path: PathBuf,
}

/// A token of a text: its id and the bytes of the text it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Vocabulary id.
    pub id: u32,
    /// Bytes of the encoded text.
    pub bytes: Range<usize>,
}

impl Tokenizer {
    /// Reads `dir/tokenizer.json`.
    pub fn load(dir: &Path) -> Result<Self, TokenizerError> {
        let path = dir.join("tokenizer.json");
        let text =
            std::fs::read(&path).map_err(|e| TokenizerError::Load { path: path.clone(), message: e.to_string() })?;
        let mut inner = tokenizers::Tokenizer::from_bytes(&text)
            .map_err(|e| TokenizerError::Load { path: path.clone(), message: e.to_string() })?;
        // What a user types is words, even if it looks like a control token.
        inner.set_encode_special_tokens(true);
        let special = inner.get_added_tokens_decoder();
        let unmap = byte_of_char();
        let bytes = inner
            .get_vocab(true)
            .into_iter()
            .map(|(token, id)| {
                let bytes = match special.get(&id) {
                    Some(added) if added.special => Vec::new(),
                    Some(_) => token.into_bytes(),
                    // A character outside the byte alphabet can only be itself.
                    None => token
                        .chars()
                        .flat_map(|c| unmap.get(&c).map_or_else(|| c.to_string().into_bytes(), |b| vec![*b]))
                        .collect(),
                };
                (id, bytes)
            })
            .collect();
        Ok(Self { inner, bytes, path })
    }

    /// The id of a special token by its text.
    pub fn special(&self, token: &str) -> Result<u32, TokenizerError> {
        let added = self.inner.get_added_tokens_decoder();
        self.inner
            .token_to_id(token)
            .filter(|id| added.get(id).is_some_and(|t| t.special))
            .ok_or_else(|| TokenizerError::NoSpecial { what: token.to_owned(), path: self.path.clone() })
    }

    /// Fails unless `id`, promised by `field` of config.json, is a special token here.
    pub fn check_special(&self, field: &str, id: u32) -> Result<(), TokenizerError> {
        if self.inner.get_added_tokens_decoder().get(&id).is_some_and(|t| t.special) {
            return Ok(());
        }
        Err(TokenizerError::NoSpecial {
            what: format!("{id}, which config.json calls {field}"),
            path: self.path.clone(),
        })
    }

    /// Largest id plus one.
    pub fn size(&self) -> usize {
        self.bytes.keys().max().map_or(0, |id| *id as usize + 1)
    }

    /// Encodes plain text; special tokens written in it are text like any other.
    pub fn encode(&self, text: &str) -> Result<Vec<Piece>, TokenizerError> {
        let encoding = self.inner.encode(text, false).map_err(|e| TokenizerError::Encode(e.to_string()))?;
        let offsets = encoding.get_offsets();
        Ok(encoding
            .get_ids()
            .iter()
            .zip(offsets)
            .map(|(id, (start, end))| Piece { id: *id, bytes: *start..*end })
            .collect())
    }

    /// The text of one token, lossy where it ends inside a UTF-8 character; empty for special tokens.
    pub fn token_text(&self, id: u32) -> String {
        self.bytes.get(&id).map(|b| String::from_utf8_lossy(b).into_owned()).unwrap_or_default()
    }

    /// How a special token is written; empty for an unknown id.
    pub fn name(&self, id: u32) -> String {
        self.inner.id_to_token(id).unwrap_or_default()
    }

    /// A decoder for tokens that come one at a time.
    pub fn stream(&self) -> StreamDecoder<'_> {
        StreamDecoder { tokenizer: self, pending: Vec::new() }
    }
}

/// Turns tokens into text as they come, never splitting a UTF-8 character.
#[derive(Debug)]
pub struct StreamDecoder<'a> {
    tokenizer: &'a Tokenizer,
    /// The bytes of a character that is not complete yet.
    pending: Vec<u8>,
}

impl StreamDecoder<'_> {
    /// The text that `id` completes; empty while a character is incomplete.
    pub fn push(&mut self, id: u32) -> String {
        if let Some(bytes) = self.tokenizer.bytes.get(&id) {
            self.pending.extend_from_slice(bytes);
        }
        let mut text = String::new();
        loop {
            match std::str::from_utf8(&self.pending) {
                Ok(whole) => {
                    text.push_str(whole);
                    self.pending.clear();
                    return text;
                }
                Err(e) => {
                    let valid = e.valid_up_to();
                    text.push_str(&String::from_utf8_lossy(&self.pending[..valid]));
                    match e.error_len() {
                        // The end of input inside a character: the rest may still come.
                        None => {
                            self.pending.drain(..valid);
                            return text;
                        }
                        Some(bad) => {
                            text.push(char::REPLACEMENT_CHARACTER);
                            self.pending.drain(..valid + bad);
                        }
                    }
                }
            }
        }
    }

    /// What is left at the end: empty, or a replacement for a character that never became complete.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}

/// Byte-level BPE writes every byte as a printable character (GPT-2's table); this is the way back.
fn byte_of_char() -> HashMap<char, u8> {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut shifted = 0;
    (0..=255u8)
        .map(|b| {
            if printable(b) {
                (char::from(b), b)
            } else {
                shifted += 1;
                (char::from_u32(255 + shifted).unwrap_or_default(), b)
            }
        })
        .collect()
}
