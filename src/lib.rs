//! Modalens shows which sense drove a multimodal model's answer.
//!
//! A local audio-visual language model is given a clip and a question; what it attends to while it answers is laid over
//! the picture, the sound and the words, with causal evidence beside it. This page is the map of the code: what the parts
//! are, what always holds, which thread owns what, and how data flows. It deliberately says nothing of how to use the
//! program (README.md) or of how a part works inside (that part's own page).
//!
//! # Principles
//!
//! 1. *One attention.* [`model::nn::attention`] is the only place that masks, soft-maxes, is observed and is edited.
//!    Towers and model families configure it; none has its own.
//! 2. *Provenance is a type.* Every token of a prompt knows where it came from ([`provenance::Source`]): a patch of a
//!    frame pair, 40 ms of sound, bytes of a text part, or a special token. Maps are arithmetic on that.
//! 3. *One clip.* What is seen, heard, fed to the model and filed is the same [`clip::ClipSpec`] and [`prompt::Prompt`],
//!    so nothing that is shown can differ from what the model got.
//! 4. *Exactness.* The model is the published one: tensors named and computed as in the reference, proven tensor by
//!    tensor by [`verify`]. Observing never changes an answer.
//! 5. *State, command, event.* Workers send [`event::Event`]s, the interface reads the state and returns commands, and
//!    nothing else changes it. Window and command line use the same [`engine`].
//! 6. *Never wait.* Every queue is bounded, the newest request wins, and a cancel is one atomic read per layer and token.
//!    Tensors never leave the inference thread; what leaves is plain data ([`capture::AttentionRow`], [`event::Answer`]).
//! 7. *Everything runs without GPU, network, sound card or downloaded weights*, through real parts (software Vulkan, a
//!    small checkpoint in the released format), never through stand-ins in the product.
//!
//! # Map
//!
//! The vocabulary is plain data that every part may name and that imports nothing of ours but itself:
//! [`time`], [`clip`], [`prompt`], [`frame`], [`sampled`], [`fed`], [`provenance`], [`capture`], [`heatmap`], [`settings`],
//! [`command`], [`event`], [`download`], [`spectrum`].
//!
//! | part | what it is | may import, besides the vocabulary |
//! |---|---|---|
//! | [`media`] | FFmpeg: probing, frames by presentation time, placed sound, what a model is given, writing files | – |
//! | [`model`] | candle: [`model::nn`], the family [`model::qwen2_5_omni`], tokenizer, weights; [`model::hub`] fetches them | – |
//! | [`gpu`] | wgpu: video upload, overlay, strips, colour maps; with and without a window | – |
//! | [`lens`] | what is read out of a running model: [`lens::recorder`] | `model` |
//! | [`engine`] | the inference thread: [`engine::mailbox`], [`engine::session`], [`engine::reuse`], [`engine::sampler`], [`engine::device`], [`engine::fit`] | `media`, `model`, `lens` |
//! | [`world`] | the toy world: procedural clips with sound and ground truth | `media` |
//! | [`tune`] | training | `model`, `world`, `media` |
//! | [`export`] | files for others: attention tensors, overlay video, report, snapshot | `media`, `gpu` |
//! | [`state`] | what the interface shows, changed by events only | – |
//! | [`ui`] | one file per panel | `state`, `gpu` |
//! | [`verify`] | this build against reference tensors | everything |
//! | [`cli`], [`app`] | where the parts come together: the command line, the window | everything |
//!
//! Nobody imports `cli`, `app` or `verify`, except each other. Outside packages have homes too: FFmpeg in `media`, cpal in
//! `media/sink.rs`, candle in `model`, `lens`, `engine` and `tune` (and `verify`, which compares tensors), egui in `app`,
//! `ui` and `gpu`. `tests/suite/architecture.rs` holds all of this.
//!
//! # The attention door
//!
//! Whoever wants to see attention hands a [`model::nn::tap::Tap`] to a [`model::nn::pass::Pass`]; whoever wants to change
//! it, a list of [`model::nn::edit::Edit`]s: a gain, or a knock-out, per set of keys, set of queries, range of layers and
//! set of heads. A tap says which rows it wants *before* they are computed, and only those are: the cost of watching is
//! rows × keys, never keys². (28 layers of 28 heads over 4,096 tokens: all maps are 53 GB, the last row is 13 MB.)
//!
//! What always holds, each with a property test in `tests/suite/attention.rs` or a golden:
//!
//! - a row sums to 1, and is zero wherever the mask ([`model::nn::mask::Mask`]) forbids;
//! - with and without a tap the answer is the same bit for bit, and so it is with an edit whose gain is 1;
//! - observed probabilities times V are the attention's output;
//! - prefill in chunks, prefill and decode, and a reused prefix give what one fresh run gives, within rounding;
//! - provenance covers every token exactly once, and projecting a row onto picture, sound and text conserves its mass
//!   ([`capture::project`], [`capture::ShareDetail`]);
//! - another soundtrack changes no pixel that the model is given.
//!
//! # Data flow
//!
//! ```text
//! file ── media::sample_clip ── SampledClip ── processor ── Inputs + Provenance ── embeddings
//!                                                                                     │
//! Request ── mailbox (newest wins) ── session ── encoder cache, prefix reuse ── forward(Pass { tap, edits })
//!                                        │                                            │
//!                            Event::… ◄──┴── sampler ◄── logits          Recorder ── AttentionRow ── HeatMap, Share
//! ```
//!
//! A [`event::Request`] names a clip and a prompt. [`media`] decodes what the model sees ([`sampled::SampledClip`]), the
//! family's [`processor`](model::qwen2_5_omni::processor) turns it into ids, pixels, mel frames and positions with a
//! provenance, [`engine::session::Session`] runs the model and sends every token as it comes, and the rows that
//! [`lens::recorder::Recorder`] keeps become shares and maps by plain arithmetic in [`capture`].
//!
//! Reuse is by content: a picture or sound block is cached under a digest of the numbers that feed it, and the language
//! model keeps the longest common prefix of (token id, position, block). So editing the question runs the end of the text
//! only, and swapping the sound keeps every picture. What changed shows up as a miss; nothing is guessed.
//!
//! # Threads
//!
//! | thread | owns | rule |
//! |---|---|---|
//! | the caller (window or command line) | state, GPU | drains events; never blocks |
//! | `inference` ([`engine::Engine`]) | device, weights, KV cache, its own decoder | one run at a time; a panic is caught, reported, and the thread goes on |
//! | `words` ([`engine::words`]) | nothing; it shares the tokenizer | lays out what is typed while the model is busy; the newest words win |
//! | tensor threads | nothing | one pool, sized by `--threads`, used by the inference thread alone |
//! | picture ([`media::Playback`]) | FFmpeg's contexts for the picture | a bounded queue of frames; a seek makes what is queued stale |
//! | sound ([`media::Playback`]) | FFmpeg's contexts for the sound, the writing end of a ring | fills the ring ahead of what is heard |
//! | audio callback, or a clock without a sound card | the reading end | no lock, no allocation, no log; silence on underrun |
//! | one each for looking into files, lanes, the filmstrip, where clips were left; one per dialog and per file that is saved | its job | the newest wish wins; tells the window by event; a video is written at a lower priority |
//!
//! # Errors
//!
//! Parts have `thiserror` enums that say what was tried, what was wrong and what to do, with paths last. Where parts come
//! together there is `anyhow`, and an error is printed once, as one line. Bad input ends with exit code 2 and leaves no
//! half-written file ([`export::write_whole`]); an answer of "no" (verify failed) is 1, a fault of ours 3.

pub mod app;
pub mod capture;
pub mod cli;
pub mod clip;
pub mod command;
pub mod download;
pub mod engine;
pub mod event;
pub mod export;
pub mod exports;
pub mod fed;
pub mod film;
pub mod frame;
pub mod gpu;
pub mod heatmap;
pub mod lens;
pub mod media;
pub mod model;
pub mod prompt;
pub mod provenance;
pub mod sampled;
pub mod settings;
pub mod spectrum;
pub mod state;
pub mod time;
pub mod tune;
pub mod ui;
pub mod verify;
pub mod world;
