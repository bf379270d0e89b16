//! `modalens compare`: what another form of the weights changes. The same questions are put to the model as f32 and in
//! each other form: how often the answer is the same, and, with the f32 answer put into its mouth, how far
//! log-probabilities and attention are from f32's. Knows nothing of how weights are quantised.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail, ensure};
use rayon::ThreadPool;
use serde::Serialize;

use crate::cli::checkpoint;
use crate::cli::{Outcome, print_json};
use crate::clip::ClipSpec;
use crate::engine::session::{Forced, Run, Session};
use crate::engine::{HoldChoice, LoadOptions, worker};
use crate::event::{Answer, AnswerToken, Request};
use crate::model::nn::weights::{Hold, Holding};
use crate::model::qwen2_5_omni::processor::Inputs;
use crate::model::qwen2_5_omni::thinker::Thinker;
use crate::prompt::Prompt;
use crate::settings::{Decoding, Dtype, Sampling};

/// Arguments of `modalens compare`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    checkpoint: checkpoint::ModelArgs,
    /// Forms to compare with f32: `q8_0`, or with exceptions `q4k+thinker.visual=f16+thinker.lm_head=q8_0`
    #[arg(long, value_delimiter = ',', required = true)]
    forms: Vec<String>,
    /// Clips to ask about
    #[arg(long, num_args = 1.., conflicts_with = "inputs")]
    video: Vec<PathBuf>,
    /// Questions to ask about each clip
    #[arg(long, num_args = 1.., requires = "video")]
    question: Vec<String>,
    /// Prepared inputs instead of clips
    #[arg(long, value_name = "FILE")]
    inputs: Option<PathBuf>,
    /// Tokens of an answer, at most
    #[arg(long, default_value_t = 16)]
    new: usize,
    /// Print JSON instead of a Markdown table
    #[arg(long)]
    json: bool,
}

/// What the model is asked.
enum Case {
    Clip(Box<Request>),
    Prepared(Box<Inputs>),
}

/// What one form changes.
#[derive(Debug, Serialize)]
struct Row {
    form: String,
    weights_mib: f64,
    answers: usize,
    /// Share of answers that are the same, token by token.
    same_answers: f64,
    /// Share of steps at which the form would have chosen f32's token, given what f32 said before.
    same_tokens: f64,
    /// Mean and largest distance of log-probabilities of f32's tokens, in nats.
    logprob_mean: f64,
    logprob_max: f64,
    /// Mean total variation between attention rows, over tokens, layers and heads; 0 = the same, 1 = disjoint.
    attention: f64,
    /// Largest difference of an answer's share of video, audio or text.
    share_max: f64,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Outcome> {
    let options = args.checkpoint.load_options()?;
    let forms = args.forms.iter().map(|form| Ok((form, holding(form)?))).collect::<Result<Vec<_>>>()?;
    let pool = worker::thread_pool(options.threads, false)?;
    let mut exact = open(args, &options, Holding::from(Hold::F32), &pool)?;
    let cases = cases(args, &exact)?;
    let truth =
        cases.iter().map(|case| Ok(ask(&mut exact, case, args.new, None, &pool)?.0)).collect::<Result<Vec<_>>>()?;
    drop(exact);
    let mut rows = Vec::new();
    for (form, holding) in forms {
        let mut session = open(args, &options, holding, &pool)?;
        let mut sums = Sums::default();
        for (case, truth) in cases.iter().zip(&truth) {
            let (free, _) = ask(&mut session, case, args.new, None, &pool)?;
            let ids: Vec<u32> = truth.tokens.iter().map(|t| t.id).collect();
            let (forced, chosen) = ask(&mut session, case, args.new, Some(&ids), &pool)?;
            sums.add(truth, &free, &forced, &chosen);
        }
        rows.push(sums.row(form, session.need().weights));
    }
    if args.json {
        print_json(&rows)?;
        return Ok(Outcome::Fine);
    }
    say!("| weights | MiB | answers | same | same tokens | Δ log p, mean | max | attention moved | Δ share, max |");
    say!("|---|---|---|---|---|---|---|---|---|");
    for r in rows {
        say!(
            "| {} | {:.0} | {} | {:.1} % | {:.1} % | {:.4} | {:.3} | {:.2} % | {:.2} % |",
            r.form,
            r.weights_mib,
            r.answers,
            100.0 * r.same_answers,
            100.0 * r.same_tokens,
            r.logprob_mean,
            r.logprob_max,
            100.0 * r.attention,
            100.0 * r.share_max
        );
    }
    Ok(Outcome::Fine)
}

/// `most+prefix=form+…`; what is not named is held as the family holds it.
fn holding(form: &str) -> Result<Holding> {
    let hold = |name: &str| -> Result<Hold> {
        let dtype = <Dtype as clap::ValueEnum>::from_str(name, false).ok();
        match dtype.map(HoldChoice::from) {
            Some(HoldChoice::Fixed(hold)) => Ok(hold),
            _ => bail!("{name:?} is not a form of weights (f32, f16, bf16, q8_0, q4k)"),
        }
    };
    let mut pieces = form.split('+');
    let most = hold(pieces.next().unwrap_or_default())?;
    let exceptions = pieces.map(|piece| {
        let (prefix, form) = piece.split_once('=').with_context(|| format!("{piece:?} is not PREFIX=FORM"))?;
        Ok((prefix.to_owned(), hold(form)?))
    });
    let mut exceptions = exceptions.collect::<Result<Vec<_>>>()?;
    exceptions.extend(Thinker::holding(most).exceptions);
    Ok(Holding { most, exceptions })
}

fn open(args: &Args, options: &LoadOptions, holding: Holding, pool: &ThreadPool) -> Result<Session> {
    let options = LoadOptions { hold: HoldChoice::Fixed(holding.most), holding: Some(holding), ..options.clone() };
    pool.install(|| if args.inputs.is_some() { Session::open_bare(&options) } else { Session::open(&options) })
}

fn cases(args: &Args, session: &Session) -> Result<Vec<Case>> {
    if let Some(file) = &args.inputs {
        let inputs = crate::verify::inputs_of_file(file, session.thinker().config())?;
        return Ok(vec![Case::Prepared(Box::new(inputs))]);
    }
    ensure!(!args.question.is_empty(), "give --video FILE… and --question TEXT…, or --inputs FILE");
    let decoding = Decoding { max_new_tokens: args.new, ..Decoding::default() };
    let pairs = args.video.iter().flat_map(|video| args.question.iter().map(move |question| (video, question)));
    let cases = pairs.map(|(video, question)| {
        Case::Clip(Box::new(Request {
            epoch: 0,
            clip: ClipSpec { video: Some(video.clone()), ..ClipSpec::default() },
            prompt: Prompt { question: question.clone(), ..Prompt::default() },
            sampling: Sampling::default(),
            decoding,
        }))
    });
    Ok(cases.collect())
}

/// The answer to a case and what the model chose at each step: its own answer, or, with `forced`, that one.
fn ask(
    session: &mut Session,
    case: &Case,
    new: usize,
    forced: Option<&[u32]>,
    pool: &ThreadPool,
) -> Result<(Answer, Vec<u32>)> {
    let cancel = AtomicBool::new(false);
    // Each answer stands alone: nothing is reused from the one before.
    session.forget();
    pool.install(|| {
        let mut ignore = |_| ();
        let mut run = Run::new(&cancel, &mut ignore);
        run.forced = forced.map(|tokens| Forced { tokens, chosen: Vec::new() });
        let answer = match case {
            Case::Clip(request) => session.answer(request, &mut run)?,
            Case::Prepared(inputs) => {
                run.until_length = true;
                let decoding = Decoding { max_new_tokens: new, ..Decoding::default() };
                session.generate(inputs, &decoding, &mut run)?
            }
        };
        Ok((answer, run.forced.map(|f| f.chosen).unwrap_or_default()))
    })
}

#[derive(Default)]
struct Sums {
    answers: usize,
    same_answers: usize,
    steps: usize,
    same_tokens: usize,
    logprob: f64,
    logprob_max: f64,
    attention: f64,
    share_max: f64,
}

impl Sums {
    fn add(&mut self, truth: &Answer, free: &Answer, forced: &Answer, chosen: &[u32]) {
        let ids = |answer: &Answer| answer.tokens.iter().map(|t| t.id).collect::<Vec<_>>();
        self.answers += 1;
        self.same_answers += usize::from(ids(truth) == ids(free));
        for ((a, b), chosen) in truth.tokens.iter().zip(&forced.tokens).zip(chosen) {
            self.steps += 1;
            self.same_tokens += usize::from(a.id == *chosen);
            let distance = (a.logprob - b.logprob).abs();
            self.logprob += distance;
            self.logprob_max = self.logprob_max.max(distance);
            self.attention += variation(a, b);
        }
        let shares = |answer: &Answer| [answer.share.video, answer.share.audio, answer.share.text];
        let apart = shares(truth).into_iter().zip(shares(forced)).map(|(a, b)| (a - b).abs());
        self.share_max = apart.fold(self.share_max, f64::max);
    }

    fn row(&self, form: &str, weights: u64) -> Row {
        let (answers, steps) = (self.answers.max(1) as f64, self.steps.max(1) as f64);
        Row {
            form: form.to_owned(),
            weights_mib: weights as f64 / f64::from(1 << 20),
            answers: self.answers,
            same_answers: self.same_answers as f64 / answers,
            same_tokens: self.same_tokens as f64 / steps,
            logprob_mean: self.logprob / steps,
            logprob_max: self.logprob_max,
            attention: self.attention / steps,
            share_max: self.share_max,
        }
    }
}

/// Total variation between two tokens' rows, mean over layers and heads.
fn variation(a: &AnswerToken, b: &AnswerToken) -> f64 {
    let rows = (a.row.layers * a.row.heads).max(1) as f64;
    let apart = a.row.probs.iter().zip(&b.row.probs).map(|(a, b)| f64::from((a - b).abs()));
    0.5 * apart.sum::<f64>() / rows
}
