//! One case against its golden: the prompt from raw media, then every stage of the model on the golden's inputs.
//! Knows nothing of files.

use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;

use crate::lens::recorder::Recorder;
use crate::model::nn::mask::Mask;
use crate::model::nn::pass::Pass;
use crate::model::nn::tap::{Observed, Rows, Site, Tap, Tower};
use crate::model::qwen2_5_omni::config::{Config, audio_tokens};
use crate::model::qwen2_5_omni::processor::positions::{Media, rope_positions};
use crate::model::qwen2_5_omni::processor::{Inputs, MelInput, Message, PictureInput, Piece, Processor, Role};
use crate::model::qwen2_5_omni::thinker::Thinker;
use crate::prompt::Part;
use crate::provenance::{AudioLine, GridStep, Provenance, Source, Token, VideoGrid};
use crate::sampled::{SampledAudio, SampledVideo};
use crate::settings::Sampling;
use crate::time::Span;
use crate::verify::FileReport;
use crate::verify::golden::{Golden, difference};
use crate::verify::preproc::images;

/// Tolerances of the goldens, f32.
const MEL: f64 = 1e-4;
const PIXELS: f64 = 1e-6;
const TOWER: f64 = 5e-5;
const ATTENTION: f64 = 1e-4;
const LOGITS: f64 = 5e-4;
/// Greedy tokens must agree where the best logit leads by more than this.
const MARGIN: f64 = 1e-3;
/// Query rows kept of each attention map in the lean files.
const LAST_ROWS: usize = 16;

/// Compares everything in a case's golden.
pub fn compare(thinker: &Thinker, processor: &Processor, mut golden: Golden) -> Result<FileReport> {
    let config = thinker.config();
    if golden.notes().get("conversation").is_some() {
        prompt(processor, config, &mut golden)?;
    }
    let inputs = prepared_inputs(&golden, config)?;
    positions(&inputs, &mut golden)?;
    let embeddings = towers(thinker, &inputs, &mut golden)?;
    language_model(thinker, &inputs, &embeddings, &mut golden)?;
    generation(thinker, &inputs, &embeddings, &mut golden)?;
    Ok(golden.report())
}

/// Ids, pixels and mel frames from the raw media and the conversation.
fn prompt(processor: &Processor, config: &Config, golden: &mut Golden) -> Result<()> {
    let notes = golden.notes().clone();
    let fps = notes.get("fps").and_then(serde_json::Value::as_f64).unwrap_or(Sampling::DEFAULT_FPS);
    let limit = |key: &str| notes.get(key).and_then(serde_json::Value::as_u64).and_then(|n| usize::try_from(n).ok());
    let with_sound = notes.get("use_audio_in_video").and_then(serde_json::Value::as_bool).unwrap_or(false);
    let (mut image, mut video, mut audio) = (0, 0, 0);
    let mut raw = [true; 3];
    let mut messages = Vec::new();
    for turn in notes["conversation"].as_array().context("the conversation is no list")? {
        let role = match turn["role"].as_str() {
            Some("system") => Role::System,
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            other => bail!("unknown role {other:?} in the conversation"),
        };
        let mut pieces = Vec::new();
        let content = match &turn["content"] {
            serde_json::Value::String(text) => vec![serde_json::json!({"type": "text", "text": text})],
            other => other.as_array().context("a message without content")?.clone(),
        };
        for piece in &content {
            pieces.push(match piece["type"].as_str() {
                Some("text") => {
                    Piece::Text(Part::Question, piece["text"].as_str().context("a text without words")?.to_owned())
                }
                Some("image") => {
                    image += 1;
                    raw[0] &= golden.has(&format!("raw.image.{}", image - 1));
                    Piece::Image(pictures(golden, config, "image", image - 1)?.swap_remove(0))
                }
                Some("audio") => {
                    audio += 1;
                    Piece::Audio(sound(golden, audio - 1, &mut raw[2])?)
                }
                Some("video") => {
                    video += 1;
                    raw[1] &= golden.has(&format!("raw.video.{}", video - 1));
                    let frames = pictures(golden, config, "video", video - 1)?;
                    let sound = if with_sound {
                        audio += 1;
                        Some(sound(golden, audio - 1, &mut raw[2])?)
                    } else {
                        None
                    };
                    Piece::Video(SampledVideo { pts_secs: vec![0.0; frames.len()], frames, fps }, sound)
                }
                other => bail!("unknown piece {other:?} in the conversation"),
            });
        }
        messages.push(Message { role, pieces });
    }
    // Stand-ins for media that the file does not keep have the golden's own size already: no limit may change it.
    let sampling = Sampling {
        fps: Some(fps),
        min_pixels: Some(if raw[1] { limit("video_min_pixels").unwrap_or(1) } else { 1 }),
        max_pixels: Some(if raw[1] { limit("video_max_pixels").unwrap_or(1 << 28) } else { 1 << 28 }),
    };
    let stills = Sampling { fps: Some(fps), min_pixels: None, max_pixels: None };
    let sampling = if video == 0 && raw[0] { stills } else { sampling };
    let inputs = processor.process(&messages, &sampling)?;
    let ids: Vec<f64> = inputs.ids.iter().map(|id| f64::from(*id)).collect();
    golden.compare("input_ids", &ids, 0.0)?;
    for (list, present, pixels, grids) in [
        (&inputs.images, raw[0] && video == 0, "pixel_values", "image_grid_thw"),
        (&inputs.videos, raw[1], "pixel_values_videos", "video_grid_thw"),
    ] {
        if golden.has(grids) {
            let ours: Vec<f64> = list.iter().flat_map(|p| p.grid).map(|n| n as f64).collect();
            golden.compare(grids, &ours, 0.0)?;
        }
        if golden.has(pixels) && present {
            let ours: Vec<f32> = list.iter().flat_map(|p| &p.pixels).copied().collect();
            golden.compare_floats(pixels, &ours, PIXELS)?;
        }
    }
    if golden.has("video_second_per_grid") {
        let ours: Vec<f64> = inputs.videos.iter().map(|v| v.second_per_grid).collect();
        // The reference passes the value through f32.
        golden.compare("video_second_per_grid", &ours, 1e-6)?;
    }
    if golden.has("feature_lens") {
        let ours: Vec<f64> = inputs.audios.iter().map(|a| a.frames as f64).collect();
        golden.compare("feature_lens", &ours, 0.0)?;
    }
    if raw[2] {
        for (i, audio) in inputs.audios.iter().enumerate() {
            golden.compare_floats(&format!("input_features.{i}"), &audio.mel, MEL)?;
        }
    }
    Ok(())
}

/// The raw pictures of a medium, or blank ones of the golden's grid where the file does not keep them.
fn pictures(golden: &Golden, config: &Config, kind: &str, i: usize) -> Result<Vec<crate::frame::RgbImage>> {
    let name = format!("raw.{kind}.{i}");
    if golden.has(&name) {
        return images(golden, &name);
    }
    let grids = grids(golden, &format!("{kind}_grid_thw"))?;
    let [t, h, w] = *grids.get(i).with_context(|| format!("no grid for {kind} {i}"))?;
    let patch = config.vision.patch_size;
    let (width, height) = (w * patch, h * patch);
    let blank = crate::frame::RgbImage { width, height, data: vec![0; width * height * 3] };
    Ok(vec![blank; t * config.vision.temporal_patch_size])
}

/// The raw sound, or silence with as many mel frames as the golden has.
fn sound(golden: &Golden, i: usize, raw: &mut bool) -> Result<SampledAudio> {
    let name = format!("raw.audio.{i}");
    if golden.has(&name) {
        return Ok(SampledAudio { samples: golden.floats(&name)?, start_secs: 0.0 });
    }
    *raw = false;
    let frames = golden.shape(&format!("input_features.{i}"))?.get(1).copied().unwrap_or_default();
    ensure!(frames <= 30_000, "input_features.{i} has {frames} frames, more than any clip");
    Ok(SampledAudio { samples: vec![0.0; frames * 160], start_secs: 0.0 })
}

fn grids(golden: &Golden, name: &str) -> Result<Vec<[usize; 3]>> {
    if !golden.has(name) {
        return Ok(Vec::new());
    }
    let numbers = golden.whole(name)?;
    let grids: Vec<[usize; 3]> = numbers.as_chunks().0.to_vec();
    ensure!(
        grids.iter().all(|g| g.iter().all(|n| (1..=1 << 16).contains(n))),
        "{name} holds {grids:?}, which are no grids"
    );
    Ok(grids)
}

/// The inputs that the file prepares: its ids, pixels and mel frames, with positions of ours.
pub fn prepared_inputs(golden: &Golden, config: &Config) -> Result<Inputs> {
    let ids: Vec<u32> = golden.whole("input_ids")?.into_iter().map(|id| id as u32).collect();
    let seconds =
        if golden.has("video_second_per_grid") { golden.numbers("video_second_per_grid")? } else { Vec::new() };
    let dim = config.vision.patch_dim();
    let media = |pixels: &str, grid_name: &str, seconds: &[f64]| -> Result<Vec<PictureInput>> {
        let grids = grids(golden, grid_name)?;
        if grids.is_empty() {
            return Ok(Vec::new());
        }
        let all = golden.floats(pixels)?;
        let need: usize = grids.iter().map(|[t, h, w]| t * h * w * dim).sum();
        ensure!(all.len() == need, "{pixels} has {} numbers, {grid_name} needs {need}", all.len());
        let merge = config.vision.spatial_merge_size;
        ensure!(
            grids.iter().all(|[_, h, w]| h.is_multiple_of(merge) && w.is_multiple_of(merge)),
            "{grid_name} is not in whole tokens of {merge} × {merge} patches"
        );
        let mut rest = all.as_slice();
        Ok(grids
            .iter()
            .enumerate()
            .map(|(i, grid)| {
                let (own, after) = rest.split_at(grid.iter().product::<usize>() * dim);
                rest = after;
                PictureInput {
                    grid: *grid,
                    pixels: own.to_vec(),
                    second_per_grid: seconds.get(i).copied().unwrap_or(1.0),
                }
            })
            .collect())
    };
    let images = media("pixel_values", "image_grid_thw", &[])?;
    let videos = media("pixel_values_videos", "video_grid_thw", &seconds)?;
    let names: Vec<String> = if golden.has("input_features") {
        vec!["input_features".into()]
    } else {
        (0..golden.count("input_features.", "")).map(|i| format!("input_features.{i}")).collect()
    };
    let mut audios = Vec::new();
    for name in &names {
        let shape = golden.shape(name)?;
        let [bins, frames] = shape[..] else { bail!("{name} has shape {shape:?}, not [mels, frames]") };
        ensure!(
            bins == config.audio.num_mel_bins,
            "{name} has {bins} mel bins, the model {}",
            config.audio.num_mel_bins
        );
        audios.push(MelInput { frames, mel: golden.floats(name)? });
    }
    // A video whose sound is interleaved opens with both marks.
    let audio_in_video =
        ids.windows(2).any(|w| w[0] == config.audio_start_token_id && w[1] == config.video_token_index);
    let grid_list = |list: &[PictureInput]| list.iter().map(|p| p.grid).collect::<Vec<_>>();
    let about = Media {
        images: &grid_list(&images),
        videos: &grid_list(&videos),
        second_per_grid: &videos.iter().map(|v| v.second_per_grid).collect::<Vec<_>>(),
        audio_frames: &audios.iter().map(|a| a.frames).collect::<Vec<_>>(),
        audio_in_video,
    };
    let (positions, next_position) = rope_positions(config, &ids, &about).map_err(anyhow::Error::msg)?;
    let provenance = bare_provenance(config, &ids, &images, &videos, &audios);
    Ok(Inputs { ids, positions, next_position, images, videos, audios, provenance })
}

/// Provenance as far as ids and grids tell it: which cell or stretch, but no times of real frames.
fn bare_provenance(
    config: &Config,
    ids: &[u32],
    images: &[PictureInput],
    videos: &[PictureInput],
    audios: &[MelInput],
) -> Provenance {
    let merge = config.vision.spatial_merge_size;
    let mut out = Provenance::default();
    let mut cells = |list: &[PictureInput]| -> Vec<Source> {
        let mut sources = Vec::new();
        for picture in list {
            let [t, h, w] = picture.grid;
            let (rows, cols, medium) = (h / merge, w / merge, out.videos.len());
            let at = |g: usize| g as f64 * picture.second_per_grid;
            let step = |g| GridStep { pts_secs: [at(g), at(g)], nominal: Span::new(at(g), at(g + 1)) };
            let edge = config.vision.patch_size;
            out.videos.push(VideoGrid { steps: (0..t).map(step).collect(), rows, cols, resized: [w * edge, h * edge] });
            for step in 0..t {
                for row in 0..rows {
                    sources.extend((0..cols).map(|col| Source::Video { medium, step, row, col }));
                }
            }
        }
        sources
    };
    let (images, videos) = (cells(images), cells(videos));
    let mut sounds = Vec::new();
    for (medium, audio) in audios.iter().enumerate() {
        let tokens = audio_tokens(audio.frames);
        out.audios.push(AudioLine { tokens, secs_per_token: 0.04, start_secs: 0.0 });
        sounds.extend((0..tokens).map(|index| Source::Audio { medium, index }));
    }
    let mut pools = [
        (config.image_token_index, images.into_iter()),
        (config.video_token_index, videos.into_iter()),
        (config.audio_token_index, sounds.into_iter()),
    ];
    out.tokens = ids
        .iter()
        .map(|id| {
            let pool = pools.iter_mut().find(|(media, _)| media == id);
            let source = pool.and_then(|(_, sources)| sources.next());
            let words = Source::Text { part: Part::Question, bytes: 0..0 };
            Token { id: *id, text: String::new(), source: source.unwrap_or(words) }
        })
        .collect();
    out
}

fn positions(inputs: &Inputs, golden: &mut Golden) -> Result<()> {
    if golden.has("position_ids") {
        let ours: Vec<f64> = inputs.positions.iter().flatten().map(|p| f64::from(*p)).collect();
        golden.compare("position_ids", &ours, 0.0)?;
    }
    if golden.has("rope_deltas") {
        let largest = inputs.positions.iter().flatten().copied().max().unwrap_or_default();
        golden.compare("rope_deltas", &[f64::from(largest) + 1.0 - inputs.ids.len() as f64], 0.0)?;
    }
    Ok(())
}

/// Keeps the residual stream behind every layer of one tower.
struct Layers {
    tower: Tower,
    outputs: Vec<Vec<f32>>,
}

impl Tap for Layers {
    fn rows(&self, _: Site, _: Range<usize>) -> Rows {
        Rows::None
    }

    fn record(&mut self, _: Site, _: &Observed<'_>) -> crate::model::Result<()> {
        Ok(())
    }

    fn hidden(&mut self, site: Site, states: &Tensor) -> crate::model::Result<()> {
        if site.tower == self.tower {
            let states = floats(states)?;
            if site.layer == self.outputs.len() {
                self.outputs.push(states);
            } else {
                self.outputs[site.layer].extend(states);
            }
        }
        Ok(())
    }
}

/// Runs both towers on the golden's inputs and returns the embeddings `[n, width]`.
fn towers(thinker: &Thinker, inputs: &Inputs, golden: &mut Golden) -> Result<Tensor> {
    let mut encoded = Vec::new();
    for (kind, list) in [("image", &inputs.images), ("video", &inputs.videos)] {
        let mut layers = Layers { tower: Tower::Vision, outputs: Vec::new() };
        let mut tokens = Vec::new();
        let mut patches = Vec::new();
        for picture in list {
            let mut pass = Pass { tap: Some(&mut layers), ..Pass::default() };
            tokens.push(thinker.encode_picture(&picture.pixels, picture.grid, &mut pass)?);
            patches.extend(floats(&thinker.embed_patches(&picture.pixels, picture.grid)?)?);
        }
        if !tokens.is_empty() {
            output(golden, &format!("vision_{kind}.out"), &floats(&Tensor::cat(&tokens, 0)?)?, Some(TOWER))?;
            output(golden, &format!("vision_{kind}.patch_embed"), &patches, None)?;
            layer_outputs(golden, &format!("vision_{kind}.block_out"), &layers)?;
        }
        encoded.push(tokens);
    }
    let mut layers = Layers { tower: Tower::Audio, outputs: Vec::new() };
    let (mut audios, mut convolved) = (Vec::new(), Vec::new());
    for audio in inputs.audios.iter().filter(|a| audio_tokens(a.frames) > 0) {
        let mut pass = Pass { tap: Some(&mut layers), ..Pass::default() };
        audios.push(thinker.encode_audio(&audio.mel, audio.frames, &mut pass)?);
        for chunk in thinker.audio_chunks(&audio.mel, audio.frames)? {
            convolved.extend(floats(&thinker.audio.convolve(&chunk.unsqueeze(0)?, pass.mode)?)?);
        }
    }
    if !audios.is_empty() {
        output(golden, "audio.out", &floats(&Tensor::cat(&audios, 0)?)?, Some(TOWER))?;
        output(golden, "audio.conv_out", &convolved, None)?;
        layer_outputs(golden, "audio.layer_out", &layers)?;
    }
    let embeddings = thinker.embeddings(&inputs.ids, &encoded[0], &encoded[1], &audios)?;
    output(golden, "lm.inputs_embeds", &floats(&embeddings)?, None)?;
    Ok(embeddings)
}

/// Compares with a tensor if the file has it; without a fixed tolerance the scaled one holds.
fn output(golden: &mut Golden, name: &str, ours: &[f32], tolerance: Option<f64>) -> Result<()> {
    if !golden.has(name) {
        return Ok(());
    }
    let tolerance = tolerance.map_or_else(|| golden.scaled_tolerance(name), Ok)?;
    golden.compare_floats(name, ours, tolerance)
}

fn layer_outputs(golden: &mut Golden, prefix: &str, layers: &Layers) -> Result<()> {
    for (i, ours) in layers.outputs.iter().enumerate() {
        output(golden, &format!("{prefix}.{i}"), ours, None)?;
    }
    Ok(())
}

/// Keeps the language model's attention maps from row `first` on, `[heads, rows, n]` per layer.
struct Maps {
    first: usize,
    n: usize,
    heads: usize,
    layers: Vec<Vec<f32>>,
    hidden: Layers,
}

impl Tap for Maps {
    fn rows(&self, site: Site, queries: Range<usize>) -> Rows {
        if site.tower == Tower::Text { Rows::Range(self.first.max(queries.start)..queries.end) } else { Rows::None }
    }

    fn record(&mut self, site: Site, observed: &Observed<'_>) -> crate::model::Result<()> {
        let rows = self.n - self.first;
        if site.layer == self.layers.len() {
            self.layers.push(vec![0.0; self.heads * rows * self.n]);
        }
        let keys = observed.keys.len();
        for (i, row) in floats(observed.probs)?.chunks(keys).enumerate() {
            let (head, row_in) = (i / observed.queries.len(), i % observed.queries.len());
            let at = (head * rows + observed.queries.start + row_in - self.first) * self.n;
            self.layers[site.layer][at..at + keys].copy_from_slice(row);
        }
        Ok(())
    }

    fn hidden(&mut self, site: Site, states: &Tensor) -> crate::model::Result<()> {
        self.hidden.hidden(site, states)
    }
}

fn language_model(thinker: &Thinker, inputs: &Inputs, embeddings: &Tensor, golden: &mut Golden) -> Result<()> {
    let n = inputs.ids.len();
    let text = &thinker.config().text;
    let full = golden.has("attn.0");
    let mut maps = Maps {
        first: if full { 0 } else { n.saturating_sub(LAST_ROWS) },
        n,
        heads: text.num_attention_heads,
        layers: Vec::new(),
        hidden: Layers { tower: Tower::Text, outputs: Vec::new() },
    };
    let axes = inputs.positions.each_ref().map(Vec::as_slice);
    let mut pass = Pass { tap: Some(&mut maps), ..Pass::default() };
    let states = thinker.forward_all(embeddings, axes, &mut pass)?;
    let normalised = thinker.text.normalise(&states, &pass)?;
    for (i, ours) in maps.layers.iter().enumerate() {
        let name = if full { format!("attn.{i}") } else { format!("attn.{i}.last16") };
        output(golden, &name, ours, Some(ATTENTION))?;
    }
    layer_outputs(golden, "lm.layer_out", &maps.hidden)?;
    let rope = thinker.text.rope(axes)?;
    let (cos, sin) = rope.tables();
    for (name, table) in [("lm.rope_cos", cos), ("lm.rope_sin", sin)] {
        // The reference repeats the table for the second half of a head.
        output(golden, name, &floats(&Tensor::cat(&[table, table], 1)?)?, None)?;
    }
    output(golden, "lm.final_norm", &floats(&normalised)?, None)?;
    output(golden, "logits", &floats(&thinker.text.logits(&normalised)?)?, Some(LOGITS))
}

/// Decoding through the KV cache, teacher-forced with the golden's own tokens.
fn generation(thinker: &Thinker, inputs: &Inputs, embeddings: &Tensor, golden: &mut Golden) -> Result<()> {
    if !golden.has("gen.tokens") {
        return Ok(());
    }
    let tokens = golden.whole("gen.tokens")?;
    let vocab = thinker.config().text.vocab_size;
    ensure!(tokens.iter().all(|t| *t < vocab), "gen.tokens holds an id outside the vocabulary of {vocab}");
    let layers = thinker.config().text.num_hidden_layers;
    let axes = inputs.positions.each_ref().map(Vec::as_slice);
    let mut cache = thinker.text.new_cache();
    let mut pass = Pass::default();
    let states = thinker.text.forward(embeddings, axes, Mask::Causal, Some(&mut cache), &mut pass)?;
    let last = states.narrow(0, inputs.ids.len() - 1, 1)?;
    let mut rows = vec![floats(&thinker.text.logits(&thinker.text.normalise(&last, &pass)?)?)?];
    for (k, token) in tokens.iter().enumerate().take(tokens.len().saturating_sub(1)) {
        let mut recorder = Recorder::new(inputs.ids.len() + k);
        let mut pass = Pass { tap: Some(&mut recorder), ..Pass::default() };
        let position = [inputs.next_position + k as u32];
        let x = thinker.text.embed(&[*token as u32])?;
        let states = thinker.text.forward(&x, [&position; 3], Mask::Causal, Some(&mut cache), &mut pass)?;
        rows.push(floats(&thinker.text.logits(&thinker.text.normalise(&states, &pass)?)?)?);
        let row = recorder.take(layers)?;
        output(golden, &format!("gen.attn.{k}"), &row.probs, Some(ATTENTION))?;
    }
    // A token may only differ where the reference itself nearly ties.
    let (mut agreed, mut theirs) = (Vec::new(), Vec::new());
    for (logits, token) in rows.iter().zip(&tokens) {
        let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let ours = logits.iter().position(|l| *l == best).unwrap_or_default();
        let lead = f64::from(best - logits[*token]);
        agreed.push(if lead <= MARGIN { *token as f64 } else { ours as f64 });
        theirs.push(*token as f64);
    }
    golden.record("gen.tokens", difference(&agreed, &theirs), 0.0);
    if golden.has("gen.logits") {
        let ours: Vec<f32> = rows.into_iter().flatten().collect();
        let tolerance = golden.scaled_tolerance("gen.logits")?;
        golden.compare_floats("gen.logits", &ours, tolerance)?;
    }
    Ok(())
}

fn floats(tensor: &Tensor) -> crate::model::Result<Vec<f32>> {
    Ok(tensor.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1()?)
}
