//! How well a model answers about clips it never saw, per condition and question, and whom its answers followed.
//! Knows nothing of training.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Device;
use serde::Serialize;

use crate::model::nn::pass::Pass;
use crate::model::nn::weights::Hold;
use crate::model::qwen2_5_omni::processor::Processor;
use crate::model::qwen2_5_omni::thinker::Thinker;
use crate::tune::TuneError;
use crate::tune::answer;
use crate::tune::material::{self, Case, Mix, Sample};
use crate::world::rng::{Rng, Stream};
use crate::world::{Class, Condition, Kind, NONE_OF_THE_ABOVE, Question};

/// Accuracy with its counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Score {
    /// Questions answered exactly.
    pub right: usize,
    /// Questions asked.
    pub asked: usize,
}

impl Score {
    /// Right per asked.
    pub fn accuracy(&self) -> f64 {
        self.right as f64 / self.asked.max(1) as f64
    }

    /// 95 % Wilson interval of the accuracy.
    pub fn interval(&self) -> [f64; 2] {
        const Z: f64 = 1.959_964;
        let n = self.asked.max(1) as f64;
        let p = self.accuracy();
        let center = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
        let half = Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        [(center - half).max(0.0), (center + half).min(1.0)]
    }
}

/// Whom an answer to a class question followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Followed {
    /// The sense that was asked for.
    Asked,
    /// The other sense.
    Other,
    /// The caption.
    Caption,
    /// None of the above.
    Abstained,
    /// Nothing that was there.
    Else,
}

/// One line of the table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Exact answers.
    pub score: Score,
    /// For class questions: how many answers followed whom. The first word decides.
    pub followed: BTreeMap<Followed, usize>,
}

/// Results by condition (or `misleading-caption`) and kind of question.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Results {
    /// Condition → kind of question → line.
    pub lines: BTreeMap<String, BTreeMap<String, Line>>,
}

impl Results {
    /// The line of a condition and a kind of question, empty when nothing was asked.
    pub fn line(&self, condition: &str, kind: Kind) -> Line {
        self.lines.get(condition).and_then(|kinds| kinds.get(kind.name())).cloned().unwrap_or_default()
    }

    /// Accuracy on "do they match", half aligned, half swapped.
    pub fn balanced_match(&self) -> f64 {
        let of = |condition: &str| self.line(condition, Kind::Match).score.accuracy();
        f64::midpoint(of("aligned"), of("swapped"))
    }

    /// The table in Markdown.
    pub fn markdown(&self) -> String {
        let mut out = String::from(
            "| condition | question | right | of | accuracy (95 % interval) | followed: asked · other sense · caption · abstained · else |\n|---|---|--:|--:|---|---|\n",
        );
        for (condition, kinds) in &self.lines {
            for (kind, Line { score, followed }) in kinds {
                let [low, high] = score.interval();
                let count = |who| followed.get(&who).copied().unwrap_or_default();
                let who = if followed.is_empty() {
                    "–".to_owned()
                } else {
                    [Followed::Asked, Followed::Other, Followed::Caption, Followed::Abstained, Followed::Else]
                        .map(|w| count(w).to_string())
                        .join(" · ")
                };
                let _ = writeln!(
                    out,
                    "| {condition} | {kind} | {} | {} | {:.1} % ({:.1}–{:.1}) | {who} |",
                    score.right,
                    score.asked,
                    100.0 * score.accuracy(),
                    100.0 * low,
                    100.0 * high
                );
            }
        }
        let _ = writeln!(out, "\nMatch, half aligned and half swapped: {:.1} %", 100.0 * self.balanced_match());
        out
    }
}

/// Results of the checkpoint in `model` on the aligned clips of the `VideoFolder` `data`; the other conditions are
/// made from them. `seed` chooses the swaps and captions.
pub fn evaluate_folder(
    model: &Path,
    data: &Path,
    seed: u64,
    device: &Device,
    cancel: &AtomicBool,
) -> Result<Results, TuneError> {
    let thinker = Thinker::open(model, Hold::F32, device)?;
    let processor = Processor::load(model, thinker.config())?;
    let samples = material::load(data, &processor)?;
    evaluate(&thinker, &processor, &samples, seed, cancel)
}

/// Exactness of greedy answers to the plain questions about every sample under every condition.
pub fn evaluate(
    thinker: &Thinker,
    processor: &Processor,
    samples: &[Sample],
    seed: u64,
    cancel: &AtomicBool,
) -> Result<Results, TuneError> {
    let mut results = Results::default();
    let mixes = [
        ("aligned", Mix::Plain(Condition::Aligned)),
        ("swapped", Mix::Plain(Condition::Swapped)),
        ("sound-only", Mix::Plain(Condition::SoundOnly)),
        ("picture-only", Mix::Plain(Condition::PictureOnly)),
        ("misleading-caption", Mix::Misled(Condition::Aligned)),
    ];
    for (name, mix) in mixes {
        let kinds = results.lines.entry(name.to_owned()).or_default();
        for (i, group) in samples.chunks(8).enumerate() {
            if cancel.load(Ordering::Relaxed) {
                return Err(TuneError::Cancelled { step: 0 });
            }
            let cases = group
                .iter()
                .enumerate()
                .map(|(j, sample)| {
                    let mut rng = Rng::new(seed, (i * 8 + j) as u64, Stream::Words);
                    let other = pick_other(samples, sample, &mut rng);
                    material::case(sample, other, mix, Kind::ALL.len(), processor, &mut rng)
                })
                .collect::<Result<Vec<_>, _>>()?;
            let outcome = answer::run(thinker, processor, &cases, &mut Pass::default())?;
            let asked = cases.iter().flat_map(|case| case.questions.iter().map(move |q| (case, q)));
            for ((case, question), verdict) in asked.zip(outcome.answers) {
                let line = kinds.entry(question.kind.name().to_owned()).or_default();
                line.score.asked += 1;
                line.score.right += usize::from(verdict.right);
                if matches!(question.kind, Kind::See | Kind::Hear) {
                    let said = processor.tokenizer().token_text(verdict.first);
                    *line.followed.entry(followed(case, question, &said)).or_default() += 1;
                }
            }
        }
    }
    Ok(results)
}

/// Whom an answer that begins with `said` followed.
fn followed(case: &Case, question: &Question, said: &str) -> Followed {
    let (asked, other) = match question.kind {
        Kind::See => (case.seen, case.heard),
        _ => (case.heard, case.seen),
    };
    let is = |class: Option<Class>| class.is_some_and(|c| c.name() == said);
    let captioned = question
        .prompt
        .caption
        .as_ref()
        .is_some_and(|caption| caption.to_lowercase().split(|c: char| !c.is_alphabetic()).any(|word| word == said));
    if is(asked) {
        Followed::Asked
    } else if is(other) {
        Followed::Other
    } else if captioned {
        Followed::Caption
    } else if !said.is_empty() && NONE_OF_THE_ABOVE.starts_with(said) {
        Followed::Abstained
    } else {
        Followed::Else
    }
}

/// A clip of another class.
pub(super) fn pick_other<'a>(samples: &'a [Sample], sample: &'a Sample, rng: &mut Rng) -> &'a Sample {
    let start = rng.below(samples.len());
    let order = (0..samples.len()).map(|i| &samples[(start + i) % samples.len()]);
    order.into_iter().find(|s| s.truth.audio_class != sample.truth.audio_class).unwrap_or(sample)
}
