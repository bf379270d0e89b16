//! A byte-level BPE tokenizer of our own, learnt from texts, in the released tokenizer's form. Knows nothing of what
//! the texts are about.

use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, TokenizerBuilder};

use crate::model::tokenizer::TokenizerError;

/// How words are split before merges: the released tokenizer's own rule.
const WORDS: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A tokenizer that has every byte, the merges that its texts called for, and special tokens behind them.
#[derive(Debug)]
pub struct Bpe(tokenizers::Tokenizer);

impl Bpe {
    /// Learns at most `size` bytes and merges from `texts`; the same texts give the same tokenizer.
    pub fn learn(texts: Vec<String>, size: usize, special: &[&str]) -> Result<Self, TokenizerError> {
        let split = Split::new(SplitPattern::Regex(WORDS.to_owned()), SplitDelimiterBehavior::Isolated, false);
        let bytes = ByteLevel::new(false, false, false);
        let mut tokenizer = TokenizerBuilder::new()
            .with_model(BPE::default())
            .with_normalizer(Some(NFC))
            .with_pre_tokenizer(Some(Sequence::new(vec![split.map_err(failed)?.into(), bytes.into()])))
            .with_post_processor(Some(bytes))
            .with_decoder(Some(bytes))
            .build()
            .map_err(failed)?;
        let mut trainer = BpeTrainerBuilder::new()
            .show_progress(false)
            .vocab_size(size)
            .min_frequency(2)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        tokenizer.train(&mut trainer, texts.into_iter()).map_err(failed)?;
        // From the typed builder to the general tokenizer that files hold.
        let text = tokenizer.to_string(false).map_err(failed)?;
        let mut tokenizer: tokenizers::Tokenizer = text.parse().map_err(failed)?;
        let special: Vec<AddedToken> = special.iter().map(|t| AddedToken::from(*t, true)).collect();
        tokenizer.add_special_tokens(special).map_err(failed)?;
        Ok(Self(tokenizer))
    }

    /// The id of a token by its text in the file.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.0.token_to_id(token)
    }

    /// Number of tokens, special ones included.
    pub fn size(&self) -> usize {
        self.0.get_vocab_size(true)
    }

    /// The text of `tokenizer.json`.
    pub fn json(&self) -> Result<String, TokenizerError> {
        self.0.to_string(true).map_err(failed)
    }
}

#[allow(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn failed(error: tokenizers::Error) -> TokenizerError {
    TokenizerError::Encode(error.to_string())
}
