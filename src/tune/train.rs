//! A whole run: towers first, then everything on questions, with checkpoints, held-out accuracy and the finished
//! folder. Knows nothing of the command line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use candle_core::Device;

use crate::model::nn::pass::Pass;
use crate::model::nn::weights::Variables;
use crate::model::qwen2_5_omni::config::Config;
use crate::model::qwen2_5_omni::processor::Processor;
use crate::model::qwen2_5_omni::thinker::Thinker;
use crate::tune::TuneError;
use crate::tune::answer;
use crate::tune::bundle::{self, Shape};
use crate::tune::checkpoint::{self, Progress};
use crate::tune::material::{self, Mix, Sample};
use crate::tune::optimizer::{AdamW, Optimizer, Schedule};
use crate::tune::results::{Results, Score, evaluate, pick_other};
use crate::tune::tower::{self, Sense};
use crate::tune::variables::{self, Vars};
use crate::world::rng::{Rng, Stream};

/// Name of the last stage.
const ANSWER: &str = "answer";

/// What to train, on what, and how long.
#[derive(Debug, Clone)]
pub struct TrainOptions {
    /// A `VideoFolder` of aligned clips, as `modalens world` writes them.
    pub data: PathBuf,
    /// Another one, with another seed, for held-out accuracy.
    pub held_out: Option<PathBuf>,
    /// The checkpoint folder to write.
    pub out: PathBuf,
    /// Folder for the state of the run; an unfinished run in it goes on.
    pub work: PathBuf,
    /// A checkpoint folder to start from instead of random weights; towers are then not pretrained.
    pub from: Option<PathBuf>,
    /// Numbers of a new model; ignored with `from`.
    pub shape: Shape,
    /// Seed of weights and order.
    pub seed: u64,
    /// Steps of pretraining for the vision tower and for the audio tower, which learns faster.
    pub tower_steps: [usize; 2],
    /// Clips in a step of pretraining.
    pub tower_batch: usize,
    /// Highest learning rate of pretraining.
    pub tower_rate: f64,
    /// Steps on questions.
    pub steps: usize,
    /// Clips in a step on questions.
    pub batch: usize,
    /// Questions about each clip.
    pub questions: usize,
    /// Highest learning rate on questions.
    pub rate: f64,
    /// Factor on it for the towers.
    pub tower_scale: f64,
    /// Steps between checkpoints.
    pub save_every: usize,
    /// Where to compute.
    pub device: Device,
}

impl TrainOptions {
    /// The bundled model's recipe for a data set and an output folder; the state lies beside the output.
    pub fn new(data: impl Into<PathBuf>, out: impl Into<PathBuf>) -> Self {
        let out = out.into();
        let mut work = out.clone().into_os_string();
        work.push(".run");
        Self {
            data: data.into(),
            held_out: None,
            out,
            work: work.into(),
            from: None,
            shape: Shape::BUNDLED,
            seed: 1,
            tower_steps: [1600, 400],
            tower_batch: 32,
            tower_rate: 2e-3,
            steps: 2800,
            batch: 8,
            questions: 3,
            rate: 1e-3,
            tower_scale: 0.3,
            save_every: 100,
            device: Device::Cpu,
        }
    }

    /// Everything that a resumed stage must share with the one it continues. What only later stages need may change.
    fn recipe(&self, stage: &str) -> String {
        let Self { shape, seed, tower_steps: [see, hear], tower_batch, tower_rate, .. } = self;
        let towers = format!("{shape:?} seed {seed} towers {see}+{hear}x{tower_batch} at {tower_rate}");
        if stage != ANSWER {
            return towers;
        }
        let Self { steps, batch, questions, rate, tower_scale, from, data, .. } = self;
        let data = data.display();
        format!("{towers} answers {steps}x{batch}x{questions} at {rate} towers {tower_scale} from {from:?} data {data}")
    }
}

/// How a run is going, after every step.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// `see`, `hear` or `answer`.
    pub stage: &'static str,
    /// Steps made in this stage, and in all of it.
    pub step: usize,
    /// Steps of this stage.
    pub steps: usize,
    /// Loss of this step.
    pub loss: f64,
    /// Length of the gradient before clipping.
    pub gradient: f64,
    /// Learning rate.
    pub rate: f64,
    /// Accuracy so far since the last line worth printing, per kind of question (or of the tower's tokens).
    pub accuracy: BTreeMap<String, f64>,
    /// Seconds this stage will still take at the pace so far.
    pub secs_left: f64,
}

/// Trains a model and writes its folder. `notify` gets every step and lines about what goes on; `cancel` stops
/// the run between steps, after a checkpoint.
///
/// Returns the results on held-out clips, when such clips were named.
pub fn train(
    options: &TrainOptions,
    notify: &mut dyn FnMut(Notice),
    cancel: &AtomicBool,
) -> Result<Results, TuneError> {
    check(options)?;
    // Before hours of pretraining, not after them.
    for folder in std::iter::once(&options.data).chain(&options.held_out) {
        material::rows(folder)?;
    }
    for dir in [&options.out, &options.work] {
        std::fs::create_dir_all(dir).map_err(|source| TuneError::Write { path: dir.clone(), source })?;
    }
    match &options.from {
        None => bundle::write_skeleton(&options.out, &options.shape)?,
        Some(from) => copy_skeleton(from, &options.out)?,
    }
    let config = Config::load(&options.out)?;
    let processor = Processor::load(&options.out, &config)?;
    let vars = match &options.from {
        None => variables::random(&config, options.seed, &options.device)?,
        Some(from) => variables::load(&config, from, &options.device)?,
    };
    notify(Notice::Line(format!(
        "{} parameters in {} tensors on {:?}",
        variables::parameters(&vars),
        vars.len(),
        options.device.location()
    )));
    let source = Variables::new(vars, &options.device);
    let thinker = Thinker::load(&source, &config)?;
    let run = Run { options, vars: source.vars(), thinker: &thinker, processor: &processor, cancel };
    if options.from.is_none() {
        run.tower(Sense::See, notify)?;
        run.tower(Sense::Hear, notify)?;
    }
    run.answers(notify)?;
    bundle::write_weights(&options.out, source.vars())?;
    match &options.held_out {
        None => Ok(Results::default()),
        Some(folder) => {
            let samples = material::load(folder, &processor)?;
            evaluate(&thinker, &processor, &samples, options.seed, cancel)
        }
    }
}

/// What [`train`] says while it works.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// A step was made.
    Step(Report),
    /// Something worth a line.
    Line(String),
}

fn check(options: &TrainOptions) -> Result<(), TuneError> {
    let wrong = |what: &str| Err(TuneError::Options(what.to_owned()));
    if options.batch == 0 || options.tower_batch == 0 || options.questions == 0 {
        return wrong("a batch needs at least one clip and one question");
    }
    if options.save_every == 0 {
        return wrong("checkpoints every 0 steps make no sense; give a large number instead");
    }
    if ![options.rate, options.tower_rate].iter().all(|r| r.is_finite() && *r > 0.0 && *r < 1.0) {
        return wrong("a learning rate lies between 0 and 1");
    }
    if options.from.as_ref().is_some_and(|from| from == &options.out) {
        return wrong("the new model cannot replace the one it starts from; name another folder");
    }
    Ok(())
}

/// Everything of a checkpoint folder but its weights.
fn copy_skeleton(from: &Path, to: &Path) -> Result<(), TuneError> {
    const FILES: [&str; 7] = [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "preprocessor_config.json",
        "video_preprocessor_config.json",
        "chat_template.json",
    ];
    for name in FILES {
        let path = from.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => bundle::write(to, name, &bytes)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && name.contains("video") => {}
            Err(source) => return Err(TuneError::Read { path, source }),
        }
    }
    Ok(())
}

/// What every stage needs.
struct Run<'a> {
    options: &'a TrainOptions,
    vars: &'a Vars,
    thinker: &'a Thinker,
    processor: &'a Processor,
    cancel: &'a AtomicBool,
}

/// What one step of a stage computed.
struct Step {
    loss: candle_core::Tensor,
    /// Kind → right, asked.
    scores: BTreeMap<String, Score>,
}

impl Run<'_> {
    fn tower(&self, sense: Sense, notify: &mut dyn FnMut(Notice)) -> Result<(), TuneError> {
        let o = self.options;
        let width = self.thinker.config().text.hidden_size;
        let head = tower::head(width, o.seed, &o.device)?;
        let mut vars: Vars = self
            .vars
            .iter()
            .filter(|(n, _)| n.starts_with(sense.prefix()))
            .map(|(n, v)| (n.clone(), v.clone()))
            .collect();
        vars.extend(head.iter().map(|(n, v)| (n.clone(), v.clone())));
        let steps = o.tower_steps[sense as usize];
        let schedule = Schedule { peak: o.tower_rate, warmup: (steps / 20).clamp(1, 100), steps };
        // Pretraining clips share no seed with any data set: theirs has the top bit set.
        let seed = o.seed | 1 << 63;
        self.stage(
            sense.name(),
            &vars,
            schedule,
            |_| 1.0,
            notify,
            |step| {
                let count = o.tower_batch as u64;
                let (loss, accuracy) =
                    tower::step(self.thinker, self.processor, &head, sense, seed, step as u64 * count, count)?;
                let score = Score { right: (accuracy * 1000.0).round() as usize, asked: 1000 };
                Ok(Step { loss, scores: [("tokens".to_owned(), score)].into_iter().collect() })
            },
        )
    }

    fn answers(&self, notify: &mut dyn FnMut(Notice)) -> Result<(), TuneError> {
        let o = self.options;
        let samples = material::load(&o.data, self.processor)?;
        notify(Notice::Line(format!("{} clips decoded", samples.len())));
        let schedule = Schedule { peak: o.rate, warmup: (o.steps / 20).clamp(1, 200), steps: o.steps };
        let scale = |name: &str| if name.starts_with("thinker.model.") { 1.0 } else { o.tower_scale };
        self.stage(ANSWER, self.vars, schedule, scale, notify, |step| {
            let cases = self.cases(&samples, step)?;
            let outcome = answer::run(self.thinker, self.processor, &cases, &mut Pass::eager())?;
            let mut scores = BTreeMap::new();
            let kinds = cases.iter().flat_map(|c| c.questions.iter().map(|q| q.kind));
            for (kind, answer) in kinds.zip(&outcome.answers) {
                let score: &mut Score = scores.entry(kind.name().to_owned()).or_default();
                score.asked += 1;
                score.right += usize::from(answer.right);
            }
            Ok(Step { loss: outcome.loss, scores })
        })
    }

    /// The batch of one step: a function of the seed and the step alone, so that a resumed run sees the same.
    fn cases(&self, samples: &[Sample], step: usize) -> Result<Vec<material::Case>, TuneError> {
        let o = self.options;
        (0..o.batch)
            .map(|i| {
                let nth = step * o.batch + i;
                let (epoch, place) = (nth / samples.len(), nth % samples.len());
                let mut order: Vec<usize> = (0..samples.len()).collect();
                Rng::new(o.seed, epoch as u64, Stream::Round).shuffle(&mut order);
                let sample = &samples[order[place]];
                let mut rng = Rng::new(o.seed, nth as u64, Stream::Batch);
                let other = pick_other(samples, sample, &mut rng);
                material::case(sample, other, Mix::Base, o.questions, self.processor, &mut rng)
            })
            .collect()
    }

    /// Runs the steps of one stage from wherever its checkpoint stands.
    fn stage(
        &self,
        name: &'static str,
        vars: &Vars,
        schedule: Schedule,
        scale: impl Fn(&str) -> f64,
        notify: &mut dyn FnMut(Notice),
        mut compute: impl FnMut(usize) -> Result<Step, TuneError>,
    ) -> Result<(), TuneError> {
        let o = self.options;
        let path = o.work.join(format!("{name}.safetensors"));
        let mut optimizer = Optimizer::new(vars, AdamW::default(), scale)?;
        let recipe = o.recipe(name);
        let mut step = 0;
        if let Some(progress) = checkpoint::restore(&path, vars, &mut optimizer, &o.device)? {
            if progress.recipe != recipe {
                return Err(TuneError::Resume(format!(
                    "it was made with other settings; remove it or repeat them: {} ({})",
                    progress.recipe,
                    path.display()
                )));
            }
            step = progress.step;
            notify(Notice::Line(format!("stage {name} goes on at step {step}")));
        }
        let (began, first) = (Instant::now(), step);
        let mut totals: BTreeMap<String, Score> = BTreeMap::new();
        while step < schedule.steps {
            let Step { loss, scores } = compute(step)?;
            let rate = schedule.rate(step);
            let value = f64::from(loss.to_scalar::<f32>()?);
            if !value.is_finite() {
                return Err(TuneError::Diverged { what: format!("the loss is {value}"), step });
            }
            let gradient = optimizer.step(&loss.backward()?, rate)?;
            step += 1;
            if step % 50 == 1 {
                totals.clear();
            }
            for (kind, score) in scores {
                let total = totals.entry(kind).or_default();
                total.right += score.right;
                total.asked += score.asked;
            }
            let pace = began.elapsed().as_secs_f64() / (step - first) as f64;
            notify(Notice::Step(Report {
                stage: name,
                step,
                steps: schedule.steps,
                loss: value,
                gradient,
                rate,
                accuracy: totals.iter().map(|(kind, score)| (kind.clone(), score.accuracy())).collect(),
                secs_left: pace * (schedule.steps - step) as f64,
            }));
            let stop = self.cancel.load(Ordering::Relaxed);
            if stop || step == schedule.steps || step.is_multiple_of(o.save_every) {
                let progress = Progress { stage: name.to_owned(), step, recipe: recipe.clone() };
                checkpoint::save(&path, vars, &optimizer, &progress)?;
            }
            if stop && step < schedule.steps {
                return Err(TuneError::Cancelled { step });
            }
        }
        Ok(())
    }
}
