//! One case against its golden: the prompt from raw media, then every stage of the model on the golden's inputs.
//! Knows nothing of files.

use std::ops::Range;

use anyhow::{Result, ensure};
use candle_core::Tensor;

use crate::lens::recorder::Recorder;
use crate::model::nn::mask::Mask;
use crate::model::nn::pass::Pass;
use crate::model::nn::tap::{Observed, Rows, Site, Tap, Tower};
use crate::model::qwen2_5_omni::config::audio_tokens;
use crate::model::qwen2_5_omni::processor::{Inputs, Processor};
use crate::model::qwen2_5_omni::thinker::Thinker;
use crate::verify::FileReport;
use crate::verify::golden::{Golden, difference};
use crate::verify::inputs::{missing, prepared_inputs};
use crate::verify::prompt;

/// Tolerances of the goldens, f32.
const TOWER: f64 = 5e-5;
const ATTENTION: f64 = 1e-4;
const LOGITS: f64 = 5e-4;
/// Greedy tokens must agree where the best logit leads by more than this.
const MARGIN: f64 = 1e-3;
/// Query rows kept of each attention map in the lean files.
const LAST_ROWS: usize = 16;

/// Compares everything that a case's golden holds, and everything that it must hold.
///
/// Required are the ids and the inputs of every medium, positions, the towers' outputs, the last attention rows (or the
/// whole maps) of every layer, logits, and the greedy tokens with their logits and attention rows. Intermediate results
/// are compared where the file has them; of a series all must be there.
pub fn compare(thinker: &Thinker, processor: &Processor, mut golden: Golden) -> Result<FileReport> {
    let config = thinker.config();
    let missing = missing(&golden, config)?;
    if !missing.is_empty() {
        // Without its inputs nothing of the case can be run.
        for name in &missing {
            golden.missing(name);
        }
        return Ok(golden.report());
    }
    let inputs = prepared_inputs(&golden, config)?;
    prompt::compare(processor, config, &inputs, &mut golden)?;
    positions(&inputs, &mut golden)?;
    let embeddings = towers(thinker, &inputs, &mut golden)?;
    language_model(thinker, &inputs, &embeddings, &mut golden)?;
    generation(thinker, &inputs, &embeddings, &mut golden)?;
    Ok(golden.report())
}

fn positions(inputs: &Inputs, golden: &mut Golden) -> Result<()> {
    let ours: Vec<f64> = inputs.positions.iter().flatten().map(|p| f64::from(*p)).collect();
    golden.compare("position_ids", &[3, 1, inputs.ids.len()], &ours, 0.0)?;
    let largest = inputs.positions.iter().flatten().copied().max().unwrap_or_default();
    golden.compare("rope_deltas", &[1, 1], &[f64::from(largest) + 1.0 - inputs.ids.len() as f64], 0.0)
}

/// Numbers of ours with their shape.
#[derive(Default)]
struct Ours {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Ours {
    fn new(tensor: &Tensor) -> crate::model::Result<Self> {
        Ok(Self { shape: tensor.dims().to_vec(), values: floats(tensor)? })
    }

    /// Appends along the first axis.
    fn extend(&mut self, tensor: &Tensor) -> crate::model::Result<()> {
        if self.shape.is_empty() {
            self.shape = tensor.dims().to_vec();
        } else {
            self.shape[0] += tensor.dims()[0];
        }
        self.values.extend(floats(tensor)?);
        Ok(())
    }
}

/// Keeps the residual stream behind every layer of one tower.
struct Layers {
    tower: Tower,
    outputs: Vec<Ours>,
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
            if site.layer == self.outputs.len() {
                self.outputs.push(Ours::default());
            }
            self.outputs[site.layer].extend(states)?;
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
        let mut patches = Ours::default();
        for picture in list {
            let mut pass = Pass { tap: Some(&mut layers), ..Pass::default() };
            tokens.push(thinker.encode_picture(&picture.pixels, picture.grid, &mut pass)?);
            patches.extend(&thinker.embed_patches(&picture.pixels, picture.grid)?)?;
        }
        if !tokens.is_empty() {
            required(golden, &format!("vision_{kind}.out"), &Ours::new(&Tensor::cat(&tokens, 0)?)?, TOWER)?;
            intermediate(golden, &format!("vision_{kind}.patch_embed"), &patches)?;
            series(golden, &format!("vision_{kind}.block_out."), &layers.outputs)?;
        }
        encoded.push(tokens);
    }
    let mut layers = Layers { tower: Tower::Audio, outputs: Vec::new() };
    let (mut audios, mut convolved) = (Vec::new(), Ours::default());
    for audio in inputs.audios.iter().filter(|a| audio_tokens(a.frames) > 0) {
        let mut pass = Pass { tap: Some(&mut layers), ..Pass::default() };
        audios.push(thinker.encode_audio(&audio.mel, audio.frames, &mut pass)?);
        for chunk in thinker.audio_chunks(&audio.mel, audio.frames)? {
            convolved.extend(&thinker.audio.convolve(&chunk.unsqueeze(0)?, pass.mode)?.flatten(0, 1)?)?;
        }
    }
    if !audios.is_empty() {
        required(golden, "audio.out", &Ours::new(&Tensor::cat(&audios, 0)?)?, TOWER)?;
        intermediate(golden, "audio.conv_out", &convolved)?;
        series(golden, "audio.layer_out.", &layers.outputs)?;
    }
    let embeddings = thinker.embeddings(&inputs.ids, &encoded[0], &encoded[1], &audios)?;
    intermediate(golden, "lm.inputs_embeds", &Ours::new(&embeddings)?)?;
    Ok(embeddings)
}

/// Compares with a tensor that must be there.
fn required(golden: &mut Golden, name: &str, ours: &Ours, tolerance: f64) -> Result<()> {
    golden.compare_floats(name, &ours.shape, &ours.values, tolerance)
}

/// Compares with an intermediate result if the file has it.
fn intermediate(golden: &mut Golden, name: &str, ours: &Ours) -> Result<()> {
    if !golden.has(name) {
        return Ok(());
    }
    let tolerance = golden.scaled_tolerance(name)?;
    required(golden, name, ours, tolerance)
}

/// Compares with a series of intermediate results: none of it is there, or all of it and no more.
fn series(golden: &mut Golden, prefix: &str, ours: &[Ours]) -> Result<()> {
    let theirs = golden.series(prefix, "");
    if theirs == 0 {
        return Ok(());
    }
    for (i, ours) in ours.iter().enumerate() {
        let name = format!("{prefix}{i}");
        if golden.has(&name) {
            intermediate(golden, &name, ours)?;
        } else {
            golden.missing(&name);
        }
    }
    surplus(golden, prefix, "", ours.len(), theirs);
    Ok(())
}

/// Reports members of a series beyond the last that the model has.
fn surplus(golden: &mut Golden, prefix: &str, suffix: &str, ours: usize, theirs: usize) {
    for name in (ours..theirs).map(|i| format!("{prefix}{i}{suffix}")) {
        if golden.has(&name) {
            golden.problem(&name, 0.0, format!("does not belong to this model, which has {ours} of them"));
        }
    }
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
    let whole = golden.series("attn.", "");
    let suffix = if whole > 0 { String::new() } else { format!(".last{LAST_ROWS}") };
    let mut maps = Maps {
        first: if whole > 0 { 0 } else { n.saturating_sub(LAST_ROWS) },
        n,
        heads: text.num_attention_heads,
        layers: Vec::new(),
        hidden: Layers { tower: Tower::Text, outputs: Vec::new() },
    };
    let axes = inputs.positions.each_ref().map(Vec::as_slice);
    let mut pass = Pass { tap: Some(&mut maps), ..Pass::default() };
    let states = thinker.forward_all(embeddings, axes, &mut pass)?;
    let normalised = thinker.text.normalise(&states, &pass)?;
    let shape = [maps.heads, n - maps.first, n];
    for (i, ours) in maps.layers.iter().enumerate() {
        golden.compare_floats(&format!("attn.{i}{suffix}"), &shape, ours, ATTENTION)?;
    }
    let theirs = golden.series("attn.", &suffix);
    surplus(golden, "attn.", &suffix, maps.layers.len(), theirs);
    series(golden, "lm.layer_out.", &maps.hidden.outputs)?;
    let rope = thinker.text.rope(axes)?;
    let (cos, sin) = rope.tables();
    let tables = [("lm.rope_cos", cos), ("lm.rope_sin", sin)];
    if tables.iter().any(|(name, _)| golden.has(name)) {
        for (name, table) in tables {
            // The reference repeats the table for the second half of a head.
            let ours = Ours::new(&Tensor::cat(&[table, table], 1)?)?;
            if golden.has(name) {
                intermediate(golden, name, &ours)?;
            } else {
                golden.missing(name);
            }
        }
    }
    intermediate(golden, "lm.final_norm", &Ours::new(&normalised)?)?;
    required(golden, "logits", &Ours::new(&thinker.text.logits(&normalised)?)?, LOGITS)
}

/// Decoding through the KV cache, teacher-forced with the golden's own tokens.
fn generation(thinker: &Thinker, inputs: &Inputs, embeddings: &Tensor, golden: &mut Golden) -> Result<()> {
    if !golden.has("gen.tokens") {
        golden.missing("gen.tokens");
        return Ok(());
    }
    let tokens = golden.whole("gen.tokens")?;
    let (vocab, most) = (thinker.config().text.vocab_size, thinker.config().text.max_position_embeddings);
    ensure!(!tokens.is_empty(), "gen.tokens is empty");
    ensure!(
        inputs.ids.len() + tokens.len() <= most,
        "gen.tokens has {} tokens after a prompt of {}, the model takes at most {most}",
        tokens.len(),
        inputs.ids.len()
    );
    ensure!(tokens.iter().all(|t| *t < vocab), "gen.tokens holds an id outside the vocabulary of {vocab}");
    let (layers, heads) = (thinker.config().text.num_hidden_layers, thinker.config().text.num_attention_heads);
    let axes = inputs.positions.each_ref().map(Vec::as_slice);
    let mut cache = thinker.text.new_cache();
    let mut pass = Pass::default();
    let states = thinker.text.forward(embeddings, axes, Mask::Causal, Some(&mut cache), &mut pass)?;
    let last = states.narrow(0, inputs.ids.len() - 1, 1)?;
    let mut rows = vec![floats(&thinker.text.logits(&thinker.text.normalise(&last, &pass)?)?)?];
    let steps = tokens.len() - 1;
    for (k, token) in tokens.iter().enumerate().take(steps) {
        let mut recorder = Recorder::new(inputs.ids.len() + k);
        let mut pass = Pass { tap: Some(&mut recorder), ..Pass::default() };
        let position = [inputs.next_position + k as u32];
        let x = thinker.text.embed(&[*token as u32])?;
        let states = thinker.text.forward(&x, [&position; 3], Mask::Causal, Some(&mut cache), &mut pass)?;
        rows.push(floats(&thinker.text.logits(&thinker.text.normalise(&states, &pass)?)?)?);
        let row = recorder.take(layers)?;
        let shape = [layers, heads, inputs.ids.len() + k + 1];
        golden.compare_floats(&format!("gen.attn.{k}"), &shape, &row.probs, ATTENTION)?;
    }
    // The file may keep the row of the last token too, which predicts nothing that it holds.
    let theirs = golden.series("gen.attn.", "");
    surplus(golden, "gen.attn.", "", steps + 1, theirs);
    // A token may only differ where the reference itself nearly ties.
    let (mut agreed, mut theirs) = (Vec::new(), Vec::new());
    for (logits, token) in rows.iter().zip(&tokens) {
        let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let ours = logits.iter().position(|l| *l == best).unwrap_or_default();
        let lead = f64::from(best - logits[*token]);
        agreed.push(if lead <= MARGIN * golden.looseness { *token as f64 } else { ours as f64 });
        theirs.push(*token as f64);
    }
    let shape = golden.shape("gen.tokens")?;
    if shape == [tokens.len()] {
        golden.record("gen.tokens", difference(&agreed, &theirs), 0.0);
    } else {
        golden.problem("gen.tokens", 0.0, format!("has shape {shape:?}, not {:?}", [tokens.len()]));
    }
    let ours = Ours { shape: vec![tokens.len(), vocab], values: rows.into_iter().flatten().collect() };
    let tolerance = if golden.has("gen.logits") { golden.scaled_tolerance("gen.logits")? } else { 0.0 };
    required(golden, "gen.logits", &ours, tolerance)
}

fn floats(tensor: &Tensor) -> crate::model::Result<Vec<f32>> {
    Ok(tensor.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1()?)
}
