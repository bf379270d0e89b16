//! Pretraining of one tower with a throw-away head: every token of a picture or sound says what is there.
//! Knows nothing of the language model.

use candle_core::{Device, Tensor, Var};

use crate::model::nn::pass::Pass;
use crate::model::qwen2_5_omni::processor::{Message, Piece, Processor, Role};
use crate::model::qwen2_5_omni::thinker::Thinker;
use crate::sampled::{SAMPLE_RATE, SampledAudio, SampledVideo};
use crate::settings::Sampling;
use crate::tune::TuneError;
use crate::tune::variables::{Vars, normal};
use crate::world::clip::Clip;
use crate::world::rng::{Rng, Stream};
use crate::world::{Class, Condition};

/// Label of a token where nothing is to be seen or heard.
const NOTHING: u32 = Class::ALL.len() as u32;

/// Which tower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sense {
    /// The vision tower.
    See,
    /// The audio tower.
    Hear,
}

impl Sense {
    /// Name of the stage.
    pub fn name(self) -> &'static str {
        match self {
            Self::See => "see",
            Self::Hear => "hear",
        }
    }

    /// Start of the tower's tensor names.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::See => "thinker.visual.",
            Self::Hear => "thinker.audio_tower.",
        }
    }
}

/// The head's variables, by names no checkpoint has.
pub fn head(width: usize, seed: u64, device: &Device) -> Result<Vars, TuneError> {
    let classes = NOTHING as usize + 1;
    let weight = Tensor::from_vec(
        normal(classes * width, 1.0 / (width as f64).sqrt(), seed, 1 << 20),
        (classes, width),
        device,
    )?;
    let mut vars = Vars::new();
    vars.insert("head.weight".to_owned(), Var::from_tensor(&weight)?);
    vars.insert("head.bias".to_owned(), Var::zeros(classes, weight.dtype(), device)?);
    Ok(vars)
}

/// Loss and accuracy of one batch of fresh clips `first..first + count` of `seed`, never written to a file. The
/// accuracy counts only tokens where there is something.
pub fn step(
    thinker: &Thinker,
    processor: &Processor,
    head: &Vars,
    sense: Sense,
    seed: u64,
    first: u64,
    count: u64,
) -> Result<(Tensor, f64), TuneError> {
    let mut pass = Pass::eager();
    let (tokens, labels) = match sense {
        Sense::See => see(thinker, processor, seed, first, count, &mut pass)?,
        Sense::Hear => hear(thinker, processor, seed, first, count, &mut pass)?,
    };
    let logits = tokens.matmul(&head["head.weight"].t()?)?.broadcast_add(&head["head.bias"])?;
    let target = Tensor::from_slice(&labels, labels.len(), logits.device())?;
    let loss = candle_nn::loss::cross_entropy(&logits, &target)?;
    let best = logits.detach().argmax(1)?.to_vec1::<u32>()?;
    let there: Vec<_> = best.iter().zip(&labels).filter(|(_, label)| **label != NOTHING).collect();
    let right = there.iter().filter(|(b, l)| b == l).count();
    Ok((loss, right as f64 / there.len().max(1) as f64))
}

fn see(
    thinker: &Thinker,
    processor: &Processor,
    seed: u64,
    first: u64,
    count: u64,
    pass: &mut Pass<'_>,
) -> Result<(Tensor, Vec<u32>), TuneError> {
    let sampling = Sampling::default();
    let mut frames = Vec::new();
    let mut truths = Vec::new();
    for index in first..first + count {
        let mut rng = Rng::new(seed, index, Stream::Batch);
        let condition = if rng.chance(0.06) { Condition::SoundOnly } else { Condition::Aligned };
        let clip = Clip::new(seed, index, condition);
        let t = rng.range(0.0, 3.3);
        let mut bounds = None;
        for t in [t, t + 0.58] {
            let (image, here) = clip.frame(t).ok_or(TuneError::Canvas)?;
            frames.push(processor.shrink(&image, 1, &sampling)?);
            bounds = here;
        }
        truths.push((clip.truth(Vec::new()).visual_class, bounds));
    }
    // One long "video" whose grid steps are the frame pairs: steps never see each other.
    let pts_secs = vec![0.0; frames.len()];
    let inputs = media(processor, Piece::Video(SampledVideo { frames, pts_secs, fps: 2.0 }, None))?;
    let picture = &inputs.videos[0];
    let tokens = thinker.encode_picture(&picture.pixels, picture.grid, pass)?;
    let grid = &inputs.provenance.videos[0];
    let (rows, cols) = (grid.rows, grid.cols);
    let mut labels = Vec::with_capacity(truths.len() * rows * cols);
    for (class, bounds) in truths {
        for row in 0..rows {
            for col in 0..cols {
                let overlap = bounds.map_or(0.0, |[x0, y0, x1, y1]| {
                    let span = |low: f64, high: f64, cell: usize, cells: usize| {
                        let (a, b) = (cell as f64 / cells as f64, (cell + 1) as f64 / cells as f64);
                        ((high.min(b) - low.max(a)) * cells as f64).max(0.0)
                    };
                    span(x0, x1, col, cols) * span(y0, y1, row, rows)
                });
                labels.push(class.filter(|_| overlap > 0.35).map_or(NOTHING, |c| c as u32));
            }
        }
    }
    Ok((tokens, labels))
}

fn hear(
    thinker: &Thinker,
    processor: &Processor,
    seed: u64,
    first: u64,
    count: u64,
    pass: &mut Pass<'_>,
) -> Result<(Tensor, Vec<u32>), TuneError> {
    let mut chunks = Vec::new();
    let mut lengths = Vec::new();
    let mut labels = Vec::new();
    for index in first..first + count {
        let clip = Clip::new(seed, index, Condition::Aligned);
        let truth = clip.truth(Vec::new());
        let samples = clip.pcm_at(SAMPLE_RATE).unwrap_or_default();
        let inputs = media(processor, Piece::Audio(SampledAudio { samples, start_secs: 0.0 }))?;
        let sound = &inputs.audios[0];
        let own = thinker.audio_chunks(&sound.mel, sound.frames)?;
        lengths.push(own.len());
        chunks.extend(own);
        let line = inputs.provenance.audios[0];
        for token in 0..line.tokens {
            let span = line.span(token);
            let sounds = truth.sounding.iter().any(|[a, b]| span.start_secs < *b && span.end_secs > *a);
            labels.push(truth.audio_class.filter(|_| sounds).map_or(NOTHING, |c| c as u32));
        }
    }
    let states = thinker.audio.encode_chunks(&chunks, pass)?;
    let mut start = 0;
    let tokens = lengths
        .iter()
        .map(|n| {
            start += n;
            thinker.audio.finish(&states[start - n..start], pass.mode)
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok((Tensor::cat(&tokens, 0)?, labels))
}

/// One medium through the processor.
fn media(processor: &Processor, piece: Piece) -> Result<crate::model::qwen2_5_omni::processor::Inputs, TuneError> {
    let message = Message { role: Role::User, pieces: vec![piece] };
    Ok(processor.process(&[message], &Sampling::default())?)
}
