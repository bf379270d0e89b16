//! A loaded model and everything it remembers between questions. Runs on one thread, in order.
//! Knows nothing of queues or of who asks.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context, Result};
use candle_core::Tensor;

use crate::capture::{AttentionRow, Share, ShareDetail};
use crate::engine::device::{choose_device, give_back};
use crate::engine::fit::{self, Need, choose_hold};
use crate::engine::options::LoadOptions;
use crate::engine::reuse::{Blocks, EncoderCache, TokenKey, common_prefix};
use crate::engine::sampler::{Sampler, log_prob};
use crate::event::{Answer, AnswerToken, Finish, ModelInfo, Request, Reuse, Stage, Timing};
use crate::fed::Fed;
use crate::lens::courier::Courier;
use crate::lens::recorder::{PendingRow, Recorder};
use crate::media::{glance, sample_clip_with};
use crate::model::ModelError;
use crate::model::nn::cache::KvCache;
use crate::model::nn::edit::Edit;
use crate::model::nn::mask::Mask;
use crate::model::nn::pass::{Mode, Pass};
use crate::model::nn::weights::{Random, fingerprint, weight_files};
use crate::model::qwen2_5_omni::config::Config;
use crate::model::qwen2_5_omni::processor::{Inputs, Processor};
use crate::model::qwen2_5_omni::thinker::Thinker;
use crate::model::tokenizer::StreamDecoder;
use crate::prompt::Part;
use crate::provenance::{Kind, Provenance, Source, Token};
use crate::settings::Decoding;

/// Prompt tokens per language-model pass: bounds the widest intermediate, long enough for full GEMM speed.
pub(super) const PREFILL_CHUNK: usize = 512;
/// Patches per vision pass: bounds memory and the time to notice a cancel.
pub(super) const PATCHES_PER_PASS: usize = 8192;
/// Bytes of encoder outputs kept for reuse.
pub(super) const ENCODER_CACHE_BYTES: usize = 256 << 20;

/// News from a running answer.
#[derive(Debug, Clone)]
pub enum Update {
    /// A stage began.
    Stage(Stage),
    /// The prompt is laid out.
    Prompt(Arc<Provenance>),
    /// What the towers are fed, where it was asked for.
    Fed(Arc<Fed>),
    /// A token was generated.
    Token(AnswerToken),
}

/// A loaded model with its caches.
#[derive(Debug)]
pub struct Session {
    pub(super) thinker: Thinker,
    /// `None` where only prepared inputs are run.
    processor: Option<Arc<Processor>>,
    info: Arc<ModelInfo>,
    need: Need,
    load_ms: f64,
    cache: KvCache,
    /// What the cached tokens are; as long as the cache.
    cached: Vec<TokenKey>,
    /// The edits the cached tokens were computed under.
    cached_edits: Vec<Edit>,
    pub(super) encoders: EncoderCache,
    courier: Courier,
    /// Whether the next pass is begun before a token is reported: where passes run beside the host.
    ahead: bool,
}

/// What surrounds a run: who hears of it and who may stop it.
pub struct Run<'a> {
    /// Set to stop at the next layer.
    pub cancel: &'a AtomicBool,
    /// Hears of stages, the prompt and tokens as they come.
    pub notify: &'a mut dyn FnMut(Update),
    /// Changes of the attention; empty for none.
    pub edits: &'a [Edit],
    /// Whether attention rows are captured; without, tokens carry empty rows and no shares.
    pub capture: bool,
    /// Whether what the towers are fed is told.
    pub fed: bool,
    /// Whether stop tokens are ignored, so that an answer has exactly the length asked for.
    pub until_length: bool,
    /// An answer to give instead of the model's own: its log-probabilities and attention are read all the same.
    pub forced: Option<Forced<'a>>,
}

/// An answer that is put into the model's mouth.
#[derive(Debug)]
pub struct Forced<'a> {
    /// Its tokens; the answer is as long as they are.
    pub tokens: &'a [u32],
    /// What the model would have said at each step.
    pub chosen: Vec<u32>,
}

impl<'a> Run<'a> {
    /// A run with capture and without edits.
    pub fn new(cancel: &'a AtomicBool, notify: &'a mut dyn FnMut(Update)) -> Self {
        Self { cancel, notify, edits: &[], capture: true, fed: false, until_length: false, forced: None }
    }
}

impl Session {
    /// Reads what is small of a checkpoint: most of what can be wrong with one is known without its weights.
    pub fn check(options: &LoadOptions) -> Result<()> {
        let config = Config::load(&options.dir).map_err(|e| missing_checkpoint(e, &options.dir))?;
        Processor::load(&options.dir, &config)?;
        if !options.random {
            weight_files(&options.dir)?;
        }
        Ok(())
    }

    /// Loads a checkpoint.
    pub fn open(options: &LoadOptions) -> Result<Self> {
        let config = Config::load(&options.dir).map_err(|e| missing_checkpoint(e, &options.dir))?;
        // Small files first: what is wrong with them is known before gigabytes are read.
        let processor = Processor::load(&options.dir, &config)?;
        let mut session = Self::open_bare(options)?;
        session.processor = Some(Arc::new(processor));
        Ok(session)
    }

    /// Loads a model without tokenizer and preprocessing, for prepared inputs only.
    pub fn open_bare(options: &LoadOptions) -> Result<Self> {
        let started = Instant::now();
        let chosen = choose_device(options.device)?;
        log::info!("device {}: {}", chosen.name, chosen.why);
        let config = Config::load(&options.dir).map_err(|e| missing_checkpoint(e, &options.dir))?;
        let hold = choose_hold(options.hold, &config, &chosen.device)?;
        log::info!("weights held as {}: {}", hold.hold.name(), hold.why);
        let holding = options.holding.clone().unwrap_or_else(|| Thinker::holding(hold.hold));
        let need = Need::of(&config, &holding, &chosen.device)?;
        let (thinker, sha256) = if options.random {
            (Thinker::load(&Random::new(hold.hold, &chosen.device), &config)?, "random".to_owned())
        } else {
            // Hashing reads the same pages as loading: side by side they cost one read of the disk.
            let (thinker, sha256) =
                rayon::join(|| Thinker::open(&options.dir, holding, &chosen.device), || fingerprint(&options.dir));
            (thinker?, sha256?)
        };
        let dtype = hold.hold.name().to_owned();
        let info = Arc::new(ModelInfo {
            id: options.id.clone(),
            sha256,
            dtype,
            device: chosen.name,
            dir: options.dir.clone(),
        });
        let cache = thinker.text.new_cache();
        Ok(Self {
            thinker,
            processor: None,
            info,
            need,
            load_ms: ms(started),
            cache,
            cached: Vec::new(),
            cached_edits: Vec::new(),
            encoders: EncoderCache::new(ENCODER_CACHE_BYTES),
            courier: Courier::default(),
            ahead: !chosen.device.is_cpu(),
        })
    }

    /// What is loaded.
    pub fn info(&self) -> &Arc<ModelInfo> {
        &self.info
    }

    /// What the model takes of the device's memory.
    pub fn need(&self) -> &Need {
        &self.need
    }

    /// How long loading took, in milliseconds.
    pub fn load_ms(&self) -> f64 {
        self.load_ms
    }

    /// The model.
    pub fn thinker(&self) -> &Thinker {
        &self.thinker
    }

    /// The checkpoint's preprocessing.
    pub fn processor(&self) -> Result<&Processor> {
        self.processor.as_deref().context("this model was loaded without its tokenizer")
    }

    /// The checkpoint's preprocessing, to be shared with other threads.
    pub(super) fn shared_processor(&self) -> Option<Arc<Processor>> {
        self.processor.clone()
    }

    /// Forgets everything that could be reused.
    pub fn forget(&mut self) {
        self.cache.truncate(0);
        self.cached.clear();
        self.encoders.clear();
    }

    /// Forgets it and gives the memory back.
    pub fn release(&mut self) {
        self.forget();
        self.cache = self.thinker.text.new_cache();
        give_back(self.thinker.device());
    }

    /// Answers a request: samples the clip, lays out the prompt, runs the model.
    pub fn answer(&mut self, request: &Request, run: &mut Run<'_>) -> Result<Answer> {
        let started = Instant::now();
        (run.notify)(Update::Stage(Stage::Decode));
        let cancelled = || run.cancel.load(std::sync::atomic::Ordering::Relaxed);
        // Frames shrink to the model's size as they are decoded: a long clip never stands in memory at full size.
        // A still has limits of its own and is only one.
        let still = request.clip.video.as_deref().is_some_and(|path| glance(path).is_ok_and(|p| p.still));
        let (processor, sampling) = (self.processor()?, &request.sampling);
        let mut shrink =
            |image, frames| if still { Ok(image) } else { Ok(processor.shrink(&image, frames, sampling)?) };
        let (clip, notes) = sample_clip_with(&request.clip, sampling, &cancelled, &mut shrink)?;
        for note in notes {
            log::warn!("{note}");
        }
        let messages = processor.case_messages(clip, &request.prompt);
        let inputs = processor.process(&messages, sampling)?;
        let decode = ms(started);
        self.run(&inputs, &request.decoding, run, started, decode)
    }

    /// Runs the model on inputs that are laid out already.
    pub fn generate(&mut self, inputs: &Inputs, decoding: &Decoding, run: &mut Run<'_>) -> Result<Answer> {
        self.run(inputs, decoding, run, Instant::now(), 0.0)
    }

    fn run(
        &mut self,
        inputs: &Inputs,
        decoding: &Decoding,
        run: &mut Run<'_>,
        started: Instant,
        decode_ms: f64,
    ) -> Result<Answer> {
        let mut timing = Timing { decode: decode_ms, ..Timing::default() };
        let mut reuse = Reuse::default();
        let mut provenance = inputs.provenance.clone();
        (run.notify)(Update::Prompt(Arc::new(provenance.clone())));
        if let (true, Some(processor)) = (run.fed, &self.processor) {
            (run.notify)(Update::Fed(Arc::new(processor.fed(inputs))));
        }
        let first_from = Instant::now();
        let mut answered = Answered::default();
        let finish = match self.decode_loop(inputs, decoding, run, &mut timing, &mut reuse, &mut answered, first_from) {
            Ok(finish) => finish,
            Err(e) if matches!(e.downcast_ref(), Some(ModelError::Cancelled)) => Finish::Cancelled,
            Err(e) => return Err(e),
        };
        if let Some(last) = answered.tokens.last_mut() {
            last.text.push_str(&answered.decoder_tail);
        }
        let text: String = answered.tokens.iter().map(|t| t.text.as_str()).collect();
        let mut bytes = 0;
        for token in &answered.tokens {
            let end = bytes + token.text.len();
            let source = Source::Text { part: Part::Answer, bytes: bytes..end };
            provenance.tokens.push(Token { id: token.id, text: token.text.clone(), source });
            bytes = end;
        }
        let share = Share::mean_of(answered.tokens.iter().map(|t| &t.share));
        let share_detail = ShareDetail::mean_of(&answered.details);
        let counts = inputs.provenance.counts();
        let tokens = [Kind::Video, Kind::Audio].map(|k| counts[k as usize]);
        let density = share.density([tokens[0], tokens[1], inputs.ids.len() - tokens[0] - tokens[1]]);
        timing.total = ms(started);
        let later = answered.tokens.len().saturating_sub(1);
        Ok(Answer {
            text,
            finish,
            share,
            share_detail,
            density,
            prompt_tokens: inputs.ids.len(),
            provenance: Arc::new(provenance),
            timing,
            reuse,
            tokens_per_s: if later > 0 && answered.decode_s > 0.0 { later as f64 / answered.decode_s } else { 0.0 },
            tokens: answered.tokens,
        })
    }

    #[allow(clippy::too_many_arguments, reason = "one caller; the arguments are the answer's own accumulators")]
    fn decode_loop(
        &mut self,
        inputs: &Inputs,
        decoding: &Decoding,
        run: &mut Run<'_>,
        timing: &mut Timing,
        reuse: &mut Reuse,
        answered: &mut Answered,
        first_from: Instant,
    ) -> Result<Finish> {
        let n = inputs.ids.len();
        let room = self.thinker.config().text.max_position_embeddings.saturating_sub(inputs.next_position as usize);
        let most = run.forced.as_ref().map_or(decoding.max_new_tokens, |f| f.tokens.len()).min(room);
        let (mut logits, mut row) = self.prefill(inputs, most, run, timing, reuse)?;
        let mut sampler = Sampler::new(decoding);
        let processor = self.processor.clone();
        let mut decoder = processor.as_deref().map(Processor::stream_decoder);
        let stop = match &processor {
            Some(processor) if !run.until_length && run.forced.is_none() => processor.stop_tokens(),
            _ => &[],
        };
        (run.notify)(Update::Stage(Stage::Answer));
        let mut first_token_at = Instant::now();
        let mut last_token_at = first_token_at;
        let finish = loop {
            if answered.tokens.len() >= most {
                break Finish::Length;
            }
            let (mut id, mut logprob) = sampler.next(&logits)?;
            if let Some(forced) = &mut run.forced {
                forced.chosen.push(id);
                id = forced.tokens[answered.tokens.len()];
                logprob = log_prob(&logits.to_vec1()?, id);
            }
            if answered.tokens.is_empty() {
                timing.first_token = ms(first_from);
                first_token_at = Instant::now();
            }
            if stop.contains(&id) {
                break Finish::Stop;
            }
            let k = answered.tokens.len();
            let last = k + 1 >= most;
            // The row of this token travels, and the host reads it, while the device is busy with the next one.
            let next = if self.ahead && !last {
                Some(self.step(id, n + k, inputs.next_position + k as u32, run))
            } else {
                None
            };
            let arrived = row.map_or_else(|| Ok(empty_row()), |row| row.arrive(&mut self.courier))?;
            let mean = arrived.mean();
            let token = AnswerToken {
                id,
                text: decoder.as_mut().map(|d| d.push(id)).unwrap_or_default(),
                logprob,
                share: Share::of(&mean, &inputs.provenance),
                row: Arc::new(arrived),
            };
            (run.notify)(Update::Token(token.clone()));
            answered.tokens.push(token);
            answered.details.push(ShareDetail::of(&mean, &inputs.provenance));
            last_token_at = Instant::now();
            if last {
                break Finish::Length;
            }
            (logits, row) = match next {
                Some(next) => next?,
                None => self.step(id, n + k, inputs.next_position + k as u32, run)?,
            };
        };
        answered.decoder_tail = decoder.map(StreamDecoder::finish).unwrap_or_default();
        answered.decode_s = (last_token_at - first_token_at).as_secs_f64();
        Ok(finish)
    }

    /// Appends an answer token to the KV cache; its logits `[vocab]` and attention.
    fn step(&mut self, id: u32, query: usize, position: u32, run: &Run<'_>) -> Result<(Tensor, Option<PendingRow>)> {
        let mut recorder = run.capture.then(|| Recorder::new(query));
        let mut pass = pass_of(run, recorder.as_mut());
        let x = self.thinker.text.embed(&[id])?;
        let at = [position];
        let states = self.thinker.text.forward(&x, [&at, &at, &at], Mask::Causal, Some(&mut self.cache), &mut pass)?;
        let logits = self.head(&states, &pass)?;
        self.cached.push(TokenKey::word(id, [position; 3]));
        Ok((logits, self.send_row(recorder)?))
    }

    /// Sends a captured row on its way; nothing where nothing was to be captured.
    fn send_row(&mut self, recorder: Option<Recorder>) -> Result<Option<PendingRow>> {
        let layers = self.thinker.config().text.num_hidden_layers;
        Ok(recorder.map(|r| r.send(layers, &mut self.courier)).transpose()?)
    }

    /// Fills the KV cache with the prompt, reusing what it holds, and returns the last row's logits `[vocab]` and
    /// attention.
    fn prefill(
        &mut self,
        inputs: &Inputs,
        new_tokens: usize,
        run: &mut Run<'_>,
        timing: &mut Timing,
        reuse: &mut Reuse,
    ) -> Result<(Tensor, Option<PendingRow>)> {
        let config = self.thinker.config().clone();
        let n = inputs.ids.len();
        let blocks = Blocks::of(inputs, &config);
        let keys = blocks.token_keys(inputs, &config);
        if self.cached_edits != run.edits {
            self.cached.clear();
            self.cached_edits = run.edits.to_vec();
        }
        // The last token always runs: its row and its logits are wanted.
        let prefix = common_prefix(&self.cached, &keys).min(n - 1);
        self.cached.truncate(prefix);
        self.cache.truncate(prefix);
        reuse.prefix_tokens = prefix;
        let load = fit::Load { prompt: n, answer: new_tokens };
        fit::check_request(&self.need, load, self.cache.bytes() as u64, self.thinker.device())?;
        let embeddings = self.embeddings(inputs, &blocks, prefix, run, timing, reuse)?;

        (run.notify)(Update::Stage(Stage::Prefill));
        let started = Instant::now();
        self.cache.reserve(n + new_tokens)?;
        let mut recorder = run.capture.then(|| Recorder::new(n - 1));
        let mut pass = pass_of(run, recorder.as_mut());
        let mut last = None;
        for start in (prefix..n).step_by(PREFILL_CHUNK) {
            let end = (start + PREFILL_CHUNK).min(n);
            let x = embeddings.narrow(0, start - prefix, end - start)?;
            let positions = inputs.positions.each_ref().map(|p| &p[start..end]);
            let states = self.thinker.text.forward(&x, positions, Mask::Causal, Some(&mut self.cache), &mut pass)?;
            self.cached.extend_from_slice(&keys[start..end]);
            last = Some(states.narrow(0, end - start - 1, 1)?);
        }
        let last = last.context("an empty prompt")?;
        let logits = self.head(&last, &pass)?;
        let row = self.send_row(recorder)?;
        timing.prefill = ms(started);
        Ok((logits, row))
    }

    /// Logits `[vocab]` of one row of the residual stream.
    fn head(&self, states: &Tensor, pass: &Pass<'_>) -> Result<Tensor> {
        Ok(self.thinker.text.logits(&self.thinker.text.normalise(states, pass)?)?.squeeze(0)?)
    }
}

/// What the decode loop has produced so far; kept when it is cancelled.
#[derive(Default)]
struct Answered {
    tokens: Vec<AnswerToken>,
    /// How each token's attention to the text splits by part, one per token.
    details: Vec<ShareDetail>,
    /// Bytes of an unfinished character at the end, made printable.
    decoder_tail: String,
    /// Seconds between the first and the last token.
    decode_s: f64,
}

/// The pass of a run, watched by `recorder` if there is one.
fn pass_of<'b>(run: &'b Run<'_>, recorder: Option<&'b mut Recorder>) -> Pass<'b> {
    Pass { mode: Mode::Answer, tap: recorder.map(|r| r as _), edits: run.edits, cancel: Some(run.cancel) }
}

/// The row of a token whose attention was not to be captured.
fn empty_row() -> AttentionRow {
    AttentionRow { query: 0, layers: 0, heads: 0, keys: 0, probs: Vec::new() }
}

fn missing_checkpoint(error: crate::model::qwen2_5_omni::config::ConfigError, dir: &std::path::Path) -> anyhow::Error {
    if dir.is_dir() {
        return error.into();
    }
    crate::model::qwen2_5_omni::thinker::LoadError::NotAFolder(dir.to_owned()).into()
}

/// Milliseconds since `from`.
pub(super) fn ms(from: Instant) -> f64 {
    from.elapsed().as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clip::ClipSpec;
    use crate::prompt::Prompt;
    use crate::settings::Sampling;

    /// The order that suits a device which computes beside the host gives the same answer.
    #[test]
    fn a_pass_begun_ahead_changes_nothing() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tiny/ckpt");
        let mut session = Session::open(&LoadOptions::new(folder)).unwrap();
        let request = Request {
            epoch: 1,
            clip: ClipSpec::default(),
            prompt: Prompt { question: "What do you hear?".into(), ..Prompt::default() },
            sampling: Sampling::default(),
            decoding: Decoding { max_new_tokens: 5, ..Decoding::default() },
        };
        let mut answers = Vec::new();
        for ahead in [false, true] {
            session.forget();
            session.ahead = ahead;
            let mut heard = 0;
            let mut count = |update| heard += usize::from(matches!(update, Update::Token(_)));
            let cancel = AtomicBool::new(false);
            let mut run = Run { until_length: true, ..Run::new(&cancel, &mut count) };
            let answer = session.answer(&request, &mut run).unwrap();
            assert_eq!((heard, answer.tokens.len(), session.cached.len()), (5, 5, answer.prompt_tokens + 4));
            answers.push(answer.tokens.into_iter().map(|t| (t.id, t.logprob, t.row.probs.clone())).collect::<Vec<_>>());
        }
        assert_eq!(answers[0], answers[1]);
    }
}
