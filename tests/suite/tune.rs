//! Training: gradients reach every variable and are right, packing changes nothing, runs learn and resume exactly.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{Device, Tensor, Var};
use modalens::media::EncodeSpeed;
use modalens::model::nn::pass::Pass;
use modalens::model::nn::weights::{Hold, Variables};
use modalens::model::qwen2_5_omni::config::Config;
use modalens::model::qwen2_5_omni::processor::Processor;
use modalens::model::qwen2_5_omni::thinker::Thinker;
use modalens::sampled::{SAMPLE_RATE, SampledAudio, SampledClip, SampledVideo};
use modalens::settings::Sampling;
use modalens::tune::bundle::{self, Shape};
use modalens::tune::material::{self, Case, Mix, Sample};
use modalens::tune::{Notice, TrainOptions, TuneError, answer, evaluate_folder, train, variables};
use modalens::world::clip::Clip;
use modalens::world::rng::{Rng, Stream};
use modalens::world::{Condition, Kind, Options, write_dataset};

/// A tiny model with random weights.
struct Rig {
    folder: tempfile::TempDir,
    config: Config,
    processor: Processor,
    source: Variables,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        bundle::write_skeleton(folder.path(), &Shape::TINY).unwrap();
        let config = Config::load(folder.path()).unwrap();
        let processor = Processor::load(folder.path(), &config).unwrap();
        let source = Variables::new(variables::random(&config, 3, &Device::Cpu).unwrap(), &Device::Cpu);
        Self { folder, config, processor, source }
    }

    fn thinker(&self) -> Thinker {
        Thinker::load(&self.source, &self.config).unwrap()
    }

    /// A clip straight from the world, without a codec.
    fn sample(&self, index: u64) -> Sample {
        let clip = Clip::new(5, index, Condition::Aligned);
        let times: Vec<f64> = (0..4).map(|i| f64::from(i) * 1.3).collect();
        let frames = times
            .iter()
            .map(|t| self.processor.shrink(&clip.frame(*t).unwrap().0, 4, &Sampling::default()).unwrap())
            .collect();
        let samples = clip.pcm_at(SAMPLE_RATE).unwrap();
        let clip_given = SampledClip {
            video: Some(SampledVideo { frames, pts_secs: times, fps: 2.0 }),
            audio: Some(SampledAudio { samples, start_secs: 0.0 }),
        };
        Sample { clip: clip_given, truth: clip.truth(Vec::new()) }
    }

    fn case(&self, index: u64, mix: Mix, questions: usize) -> Case {
        let mut rng = Rng::new(9, index, Stream::Batch);
        let (sample, other) = (self.sample(index), self.sample(index + 1));
        material::case(&sample, &other, mix, questions, &self.processor, &mut rng).unwrap()
    }

    /// One case of every condition.
    fn cases(&self) -> Vec<Case> {
        Condition::ALL.iter().zip(0..).map(|(c, i)| self.case(2 * i, Mix::Plain(*c), 5)).collect()
    }
}

fn loss(rig: &Rig, thinker: &Thinker, cases: &[Case]) -> Tensor {
    answer::run(thinker, &rig.processor, cases, &mut Pass::eager()).unwrap().loss
}

/// Several fused operations cut gradients without a word; and a gradient that exists may still be wrong. Along its
/// own gradient a variable's slope must be the gradient's length.
#[test]
fn every_variable_has_a_gradient_and_it_is_the_slope() {
    let rig = Rig::new();
    let thinker = rig.thinker();
    let cases = rig.cases();
    let value = |t: &Tensor| f64::from(t.to_scalar::<f32>().unwrap());
    let total = loss(&rig, &thinker, &cases);
    let grads = total.backward().unwrap();
    let mut checked = 0;
    for (name, var) in rig.source.vars() {
        let grad = grads.get(var.as_tensor()).unwrap_or_else(|| panic!("{name} has no gradient"));
        let length = value(&grad.sqr().unwrap().sum_all().unwrap()).sqrt();
        assert!(length.is_finite() && length > 1e-9, "the gradient of {name} has length {length}");
        // Where the loss hardly changes, single precision cannot tell a slope.
        if length < 2e-3 {
            continue;
        }
        let original = var.as_tensor().copy().unwrap();
        let reach = 4e-3 / length.max(0.4);
        let at = |sign: f64| {
            var.set(&(&original + (grad * (sign * reach / length)).unwrap()).unwrap()).unwrap();
            value(&loss(&rig, &thinker, &cases))
        };
        let slope = (at(1.0) - at(-1.0)) / (2.0 * reach);
        var.set(&original).unwrap();
        let tolerance = 0.06 * length + 4e-4;
        assert!((slope - length).abs() < tolerance, "{name}: slope {slope}, gradient {length}");
        checked += 1;
    }
    assert!(checked > 60, "only {checked} variables were steep enough to check");
}

/// Questions that share their clip's tokens are answered as if each were asked alone.
#[test]
fn packing_questions_changes_nothing() {
    let rig = Rig::new();
    let thinker = rig.thinker();
    for mix in [Mix::Plain(Condition::Aligned), Mix::Misled(Condition::PictureOnly), Mix::Plain(Condition::SoundOnly)] {
        let case = rig.case(4, mix, 5);
        let together = loss(&rig, &thinker, std::slice::from_ref(&case)).to_scalar::<f32>().unwrap();
        let questions = case.questions.len();
        let apart: f32 = (0..questions)
            .map(|i| {
                // Each alone, the plain way: one prompt, one causal run.
                let inputs = &case.inputs[i];
                let mut ids = inputs.ids.clone();
                let mut answer: Vec<u32> =
                    rig.processor.tokenizer().encode(&case.questions[i].answer).unwrap().iter().map(|p| p.id).collect();
                answer.push(rig.processor.tokenizer().special("<|im_end|>").unwrap());
                ids.extend(&answer);
                let mut pass = Pass::default();
                let videos: Vec<Tensor> = inputs
                    .videos
                    .iter()
                    .map(|v| thinker.encode_picture(&v.pixels, v.grid, &mut pass).unwrap())
                    .collect();
                let audios: Vec<Tensor> =
                    inputs.audios.iter().map(|a| thinker.encode_audio(&a.mel, a.frames, &mut pass).unwrap()).collect();
                let embeddings = thinker.embeddings(&ids, &[], &videos, &audios).unwrap();
                let mut positions = inputs.positions.clone();
                for axis in &mut positions {
                    axis.extend((0..answer.len() as u32).map(|k| inputs.next_position + k));
                }
                let [t, h, w] = &positions;
                let states = thinker.forward_all(&embeddings, [t, h, w], &mut pass).unwrap();
                let rows = states.narrow(0, inputs.ids.len() - 1, answer.len()).unwrap();
                let logits = thinker.text.logits(&thinker.text.normalise(&rows, &pass).unwrap()).unwrap();
                let log_probs = candle_nn::ops::log_softmax(&logits, 1).unwrap().to_vec2::<f32>().unwrap();
                let nll: f32 = log_probs.iter().zip(&answer).map(|(row, id)| -row[*id as usize]).sum();
                nll / answer.len() as f32 / questions as f32
            })
            .sum();
        assert!((together - apart).abs() < 2e-4, "{mix:?}: {together} together, {apart} apart");
    }
}

fn data(folder: &Path, count: u64) {
    let options = Options {
        out: folder.join("clips"),
        count,
        seed: 4,
        condition: Some(Condition::Aligned),
        speed: EncodeSpeed::Fastest,
    };
    write_dataset(&options, &|_, _| {}, &AtomicBool::new(false)).unwrap();
}

fn short(folder: &Path, out: &str) -> TrainOptions {
    TrainOptions {
        held_out: Some(folder.join("clips")),
        shape: Shape::TINY,
        tower_steps: [3, 3],
        tower_batch: 2,
        steps: 24,
        batch: 3,
        questions: 2,
        rate: 4e-3,
        save_every: 100,
        ..TrainOptions::new(folder.join("clips"), folder.join(out))
    }
}

#[test]
fn a_short_run_learns_and_an_interrupted_one_ends_the_same() {
    let folder = tempfile::tempdir().unwrap();
    data(folder.path(), 4);
    let mut losses = Vec::new();
    let straight = short(folder.path(), "straight");
    let mut notify = |notice: Notice| {
        if let Notice::Step(report) = notice
            && report.stage == "answer"
        {
            losses.push(report.loss);
        }
    };
    let table = train(&straight, &mut notify, &AtomicBool::new(false)).unwrap();
    assert_eq!(table.line("aligned", Kind::See).score.asked, 4);
    let line = table.line("swapped", Kind::Hear);
    assert_eq!(line.followed.values().sum::<usize>(), 4, "every class answer followed someone: {line:?}");
    assert!(table.markdown().contains("| misleading-caption | see |"));
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (before, after) = (mean(&losses[..4]), mean(&losses[20..]));
    assert!(after < 0.7 * before, "the loss went from {before} to {after}");

    // Interrupted in the middle of every stage, twice in the last.
    let broken = short(folder.path(), "broken");
    let mut calls = 0;
    for (stage, at) in [("see", 2), ("hear", 1), ("answer", 7), ("answer", 19)] {
        let cancel = AtomicBool::new(false);
        let mut stop = |notice: Notice| {
            if let Notice::Step(report) = notice
                && (report.stage, report.step) == (stage, at)
            {
                cancel.store(true, Ordering::Relaxed);
            }
        };
        assert!(matches!(train(&broken, &mut stop, &cancel), Err(TuneError::Cancelled { step }) if step == at));
        calls += 1;
    }
    assert_eq!(calls, 4);
    let same = TrainOptions { work: broken.work.clone(), ..broken };
    train(&same, &mut |_| {}, &AtomicBool::new(false)).unwrap();
    let weights = |out: &str| std::fs::read(folder.path().join(out).join("model.safetensors")).unwrap();
    assert!(weights("straight") == weights("broken"), "the resumed run ended elsewhere");

    // Other settings do not continue this run; the finished folder is an ordinary checkpoint and a warm start.
    let other = TrainOptions { rate: 1e-4, ..short(folder.path(), "broken") };
    assert!(matches!(train(&other, &mut |_| {}, &AtomicBool::new(false)), Err(TuneError::Resume(_))));
    Thinker::open(&folder.path().join("straight"), Hold::F32, &Device::Cpu).unwrap();
    let warm = TrainOptions {
        from: Some(folder.path().join("straight")),
        steps: 1,
        held_out: None,
        ..short(folder.path(), "warm")
    };
    let mut first = None;
    let mut notify = |notice: Notice| {
        if let Notice::Step(report) = notice {
            first.get_or_insert(report.loss);
        }
    };
    train(&warm, &mut notify, &AtomicBool::new(false)).unwrap();
    assert!(first.unwrap() < 0.8 * before, "a warm start began at {first:?}, a cold one at {before}");
}

/// What is wrong with the clips is said before hours of pretraining, and the other conditions are made from aligned
/// clips only.
#[test]
fn clips_that_cannot_be_learnt_from_are_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut stages = 0;
    let mut notify = |_: Notice| stages += 1;
    let nowhere = short(folder.path(), "out");
    assert!(train(&nowhere, &mut notify, &AtomicBool::new(false)).is_err());
    let options = Options {
        out: folder.path().join("clips"),
        count: 2,
        seed: 4,
        condition: Some(Condition::Swapped),
        speed: EncodeSpeed::Fastest,
    };
    write_dataset(&options, &|_, _| {}, &AtomicBool::new(false)).unwrap();
    let swapped = short(folder.path(), "out");
    assert!(matches!(train(&swapped, &mut notify, &AtomicBool::new(false)), Err(TuneError::Options(_))));
    assert_eq!(stages, 0);
    assert!(!folder.path().join("out").exists(), "nothing is written for a run that cannot begin");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/model");
    let judged = evaluate_folder(&model, &options.out, 1, &Device::Cpu, &AtomicBool::new(false));
    assert!(matches!(judged, Err(TuneError::Options(_))));
}

#[test]
fn the_tokenizer_covers_any_text_and_knows_the_worlds_words() {
    let rig = Rig::new();
    let tokenizer = rig.processor.tokenizer();
    for text in ["What do you hear?", "None of the above", "Größe 42 – 漢字 🐕\n\t\u{7f}", "dog", " whistle"] {
        let pieces = tokenizer.encode(text).unwrap();
        let mut stream = tokenizer.stream();
        let mut back: String = pieces.iter().map(|p| stream.push(p.id)).collect();
        back.push_str(&stream.finish());
        assert_eq!(back, text);
    }
    let folder = tempfile::tempdir().unwrap();
    bundle::write_skeleton(folder.path(), &Shape::BUNDLED).unwrap();
    let config = Config::load(folder.path()).unwrap();
    let processor = Processor::load(folder.path(), &config).unwrap();
    for class in modalens::world::Class::ALL {
        for text in [class.name().to_owned(), format!(" {}", class.name())] {
            assert_eq!(processor.tokenizer().encode(&text).unwrap().len(), 1, "{text:?} is not one token");
        }
    }
    // Made twice, it is the same.
    let again = tempfile::tempdir().unwrap();
    bundle::write_skeleton(again.path(), &Shape::BUNDLED).unwrap();
    for name in ["tokenizer.json", "config.json"] {
        assert_eq!(std::fs::read(folder.path().join(name)).unwrap(), std::fs::read(again.path().join(name)).unwrap());
    }
    assert!(rig.folder.path().is_dir());
}

/// The optimiser refuses numbers that ran away instead of spreading them.
#[test]
fn a_gradient_that_is_not_finite_changes_nothing() {
    let var = Var::from_vec(vec![1.0f32, 2.0], 2, &Device::Cpu).unwrap();
    let vars: BTreeMap<String, Var> = [("x".to_owned(), var.clone())].into_iter().collect();
    let mut optimizer =
        modalens::tune::optimizer::Optimizer::new(&vars, modalens::tune::optimizer::AdamW::default(), |_| 1.0).unwrap();
    let bad = (var.as_tensor() * f64::INFINITY).unwrap().sum_all().unwrap();
    assert!(matches!(optimizer.step(&bad.backward().unwrap(), 0.1), Err(TuneError::Diverged { .. })));
    assert_eq!(var.to_vec1::<f32>().unwrap(), [1.0, 2.0]);
}
