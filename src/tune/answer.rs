//! The loss on answers: questions about clips as one packed batch through towers and language model.
//! Knows nothing of where clips come from or of updates.

use candle_core::{D, Tensor};

use crate::model::nn::mask::{Mask, Tree};
use crate::model::nn::pass::Pass;
use crate::model::qwen2_5_omni::processor::{Processor, ProcessorError};
use crate::model::qwen2_5_omni::thinker::Thinker;
use crate::provenance::Kind;
use crate::tune::TuneError;
use crate::tune::material::Case;

/// What came of one batch.
#[derive(Debug)]
pub struct Outcome {
    /// Mean over questions of the mean negative log-probability of their answers' tokens.
    pub loss: Tensor,
    /// Per question, in the order of cases and their questions.
    pub answers: Vec<Verdict>,
}

/// How one question was answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Whether every token of the answer is the most likely one, which is exactly when greedy decoding gives that
    /// answer and stops.
    pub right: bool,
    /// The token that greedy decoding begins with.
    pub first: u32,
}

/// Runs a batch. `pass` decides whether gradients can be had.
pub fn run(
    thinker: &Thinker,
    processor: &Processor,
    cases: &[Case],
    pass: &mut Pass<'_>,
) -> Result<Outcome, TuneError> {
    let media = encode(thinker, cases, pass)?;
    let stop = processor.tokenizer().special("<|im_end|>").map_err(ProcessorError::from)?;

    let mut plans = cases
        .iter()
        .zip(&media)
        .map(|(case, (videos, audios))| plan(thinker, processor, case, videos, audios, stop))
        .collect::<Result<Vec<_>, _>>()?;
    let questions = plans.iter().map(|p| p.branches.len()).sum::<usize>();
    let mut rows: [Vec<u32>; 3] = Default::default();
    let mut pieces = Vec::new();
    let mut trees = Vec::with_capacity(plans.len());
    let (mut wanted, mut targets, mut weights) = (Vec::new(), Vec::new(), Vec::new());
    // Which question each run of targets belongs to, as (case, question).
    let mut asked = Vec::with_capacity(questions);
    for (case, plan) in plans.iter_mut().enumerate() {
        let branches = plan.branches.iter().map(|b| b.positions[0].len()).collect();
        trees.push(Tree { prefix: plan.prefix, branches });
        let trunk = rows[0].len() as u32;
        pieces.push(plan.trunk.clone());
        for (row, axis) in rows.iter_mut().zip(&mut plan.positions) {
            row.append(axis);
        }
        for (i, branch) in plan.branches.iter().enumerate() {
            let start = rows[0].len() as u32;
            pieces.push(branch.embeddings.clone());
            for (row, axis) in rows.iter_mut().zip(&branch.positions) {
                row.extend(axis);
            }
            for (k, token) in branch.answer.iter().enumerate() {
                // The row before an answer's token predicts it; before the branch lies the prefix's last row.
                wanted.push(if branch.before + k == 0 {
                    trunk + plan.prefix as u32 - 1
                } else {
                    start + (branch.before + k) as u32 - 1
                });
                targets.push(*token);
                weights.push(1.0 / (branch.answer.len() * questions) as f32);
            }
            asked.push((case, i, branch.answer.len()));
        }
    }
    let embeddings = Tensor::cat(&pieces, 0)?;
    let states = thinker.text.forward(&embeddings, [&rows[0], &rows[1], &rows[2]], Mask::Trees(&trees), None, pass)?;
    let device = thinker.device();
    let wanted = Tensor::from_slice(&wanted, wanted.len(), device)?;
    let states = thinker.text.normalise(&states.index_select(&wanted, 0)?, pass)?;
    let logits = thinker.text.logits(&states)?;
    let best = logits.detach().argmax(D::Minus1)?.to_vec1::<u32>()?;
    let mut answers: Vec<Vec<Verdict>> = cases.iter().map(|c| vec![Verdict::default(); c.questions.len()]).collect();
    let mut at = 0;
    for (case, question, length) in asked {
        answers[case][question] = Verdict { right: best[at..at + length] == targets[at..at + length], first: best[at] };
        at += length;
    }
    let answers = answers.concat();
    let log_probs = candle_nn::ops::log_softmax(&logits, D::Minus1)?;
    let index = Tensor::from_slice(&targets, (targets.len(), 1), device)?;
    let weights = Tensor::from_slice(&weights, (weights.len(), 1), device)?;
    let loss = (log_probs.gather(&index, 1)? * weights)?.sum_all()?.neg()?;
    Ok(Outcome { loss, answers })
}

/// A case laid out for the language model: what all its questions share, and what follows for each.
struct Plan {
    /// Tokens that the questions share: everything up to the last mark around the media.
    prefix: usize,
    /// Embeddings of the prefix.
    trunk: Tensor,
    positions: [Vec<u32>; 3],
    branches: Vec<Branch>,
}

struct Branch {
    embeddings: Tensor,
    positions: [Vec<u32>; 3],
    /// Tokens of the branch before the answer.
    before: usize,
    answer: Vec<u32>,
}

fn plan(
    thinker: &Thinker,
    processor: &Processor,
    case: &Case,
    videos: &[Tensor],
    audios: &[Tensor],
    stop: u32,
) -> Result<Plan, TuneError> {
    let Some(first) = case.inputs.first() else {
        return Err(TuneError::Options("a case without questions".to_owned()));
    };
    let tokens = &first.provenance.tokens;
    let media = |kind: Kind| matches!(kind, Kind::Video | Kind::Audio);
    let last = tokens.iter().rposition(|t| media(t.source.kind())).map_or(0, |i| i + 1);
    let marks = tokens[last..].iter().take_while(|t| t.source.kind() == Kind::Special).count();
    let prefix = (last + marks).max(1);
    let trunk = thinker.embeddings(&first.ids[..prefix], &[], videos, audios)?;
    let positions = first.positions.each_ref().map(|axis| axis[..prefix].to_vec());
    let branches = case
        .questions
        .iter()
        .zip(&case.inputs)
        .map(|(question, inputs)| {
            let pieces = processor.tokenizer().encode(&question.answer).map_err(ProcessorError::from)?;
            let mut answer: Vec<u32> = pieces.iter().map(|piece| piece.id).collect();
            answer.push(stop);
            // The last token of the answer is only ever predicted.
            let spoken = &answer[..answer.len() - 1];
            let ids = [&inputs.ids[prefix..], spoken].concat();
            let mut positions = inputs.positions.each_ref().map(|axis| axis[prefix..].to_vec());
            for axis in &mut positions {
                axis.extend((0..spoken.len() as u32).map(|k| inputs.next_position + k));
            }
            let embeddings = thinker.text.embed(&ids)?;
            Ok(Branch { embeddings, positions, before: inputs.ids.len() - prefix, answer })
        })
        .collect::<Result<_, TuneError>>()?;
    Ok(Plan { prefix, trunk, positions, branches })
}

/// The towers' outputs per case: videos and sounds. All cases run as one batch.
#[allow(clippy::type_complexity, reason = "a pair of lists per case, used once")]
fn encode(
    thinker: &Thinker,
    cases: &[Case],
    pass: &mut Pass<'_>,
) -> Result<Vec<(Vec<Tensor>, Vec<Tensor>)>, TuneError> {
    let mut pixels: Vec<f32> = Vec::new();
    let mut grids = Vec::new();
    let mut chunks = Vec::new();
    let mut counts = Vec::new();
    for case in cases {
        // Every question of a case has the same media.
        let Some(inputs) = case.inputs.first() else { continue };
        for video in &inputs.videos {
            pixels.extend(&video.pixels);
            grids.push(video.grid);
        }
        for sound in &inputs.audios {
            let own = thinker.audio_chunks(&sound.mel, sound.frames)?;
            counts.push(own.len());
            chunks.extend(own);
        }
    }
    let seen = match grids.first() {
        None => None,
        Some([_, h, w]) if grids.iter().all(|g| g[1..] == [*h, *w]) => {
            Some(thinker.encode_picture(&pixels, [grids.iter().map(|g| g[0]).sum(), *h, *w], pass)?)
        }
        Some(_) => return Err(TuneError::Options("all clips of a data set must have one picture size".to_owned())),
    };
    let heard = thinker.audio.encode_chunks(&chunks, pass)?;
    let merge = thinker.config().vision.spatial_merge_size;
    let (mut video_at, mut row, mut sound_at, mut chunk) = (0, 0, 0, 0);
    cases
        .iter()
        .map(|case| {
            let Some(inputs) = case.inputs.first() else { return Ok((Vec::new(), Vec::new())) };
            let mut videos = Vec::new();
            for _ in &inputs.videos {
                let [t, h, w] = grids[video_at];
                let tokens = t * h * w / (merge * merge);
                if let Some(seen) = &seen {
                    videos.push(seen.narrow(0, row, tokens)?);
                }
                row += tokens;
                video_at += 1;
            }
            let mut audios = Vec::new();
            for _ in &inputs.audios {
                audios.push(thinker.audio.finish(&heard[chunk..chunk + counts[sound_at]], pass.mode)?);
                chunk += counts[sound_at];
                sound_at += 1;
            }
            Ok((videos, audios))
        })
        .collect()
}
