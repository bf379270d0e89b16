//! `modalens ask`: one question about one clip, answered with attention shares.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::Serialize;

use crate::capture::{Share, ShareDetail};
use crate::cli::{Outcome, checkpoint, number, print_json, seconds};
use crate::clip::{AudioSource, ClipSpec, FrameEdit, SoundEdit};
use crate::engine::session::{Run, Update};
use crate::engine::{options, trouble, worker};
use crate::event::{Answer, Finish, ModelInfo, Request, Reuse, Timing};
use crate::export;
use crate::fed::Fed;
use crate::prompt::{DEFAULT_QUESTION, Prompt};
use crate::provenance::Kind;
use crate::settings::{Decoding, Sampling};

/// Arguments of `modalens ask`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Video, still or sound file
    #[arg(long, value_name = "FILE")]
    video: Option<PathBuf>,
    /// Sound: another file's, `none`, `silence`, `noise` (also `noise:DB` or `noise:DB:SEED`), or `original` [default:
    /// original]
    #[arg(long, value_name = "FILE|none|silence|noise|original")]
    audio: Option<String>,
    /// How much later the sound starts, in seconds; negative: earlier
    #[arg(long, value_name = "S", value_parser = number, allow_negative_numbers = true, default_value_t = 0.0)]
    audio_offset: f64,
    /// How much louder the sound is, in decibels; negative: quieter
    #[arg(long, value_name = "DB", value_parser = number, allow_negative_numbers = true, default_value_t = 0.0)]
    audio_gain: f64,
    /// A sound that is shorter than the picture begins again
    #[arg(long)]
    audio_loop: bool,
    /// Which audio track of the file the sound comes from, from 0
    #[arg(long, value_name = "N")]
    audio_track: Option<usize>,
    /// What is done to the picture
    #[arg(long, value_enum)]
    frames: Option<Frames>,
    /// Which order `--frames shuffle` takes; the same number, the same order
    #[arg(long, value_name = "N", default_value_t = 0)]
    shuffle_seed: u64,
    /// Start of the part that is used, in seconds
    #[arg(long, value_name = "S", value_parser = seconds)]
    start: Option<f64>,
    /// End of the part that is used, in seconds
    #[arg(long, value_name = "S", value_parser = seconds)]
    end: Option<f64>,
    /// System prompt [default: the model's own]
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Caption put before the question
    #[arg(long, value_name = "TEXT")]
    caption: Option<String>,
    /// File with further text, put after the question
    #[arg(long, value_name = "FILE")]
    context: Option<PathBuf>,
    /// The question [default: "What do you hear?"]
    #[arg(long, value_name = "TEXT")]
    question: Option<String>,
    /// Closed-set options, listed after the question
    #[arg(long, value_name = "A,B,…", value_delimiter = ',')]
    options: Vec<String>,
    /// Frames per second the model sees [default: 2]
    #[arg(long, value_name = "N", value_parser = rate)]
    fps: Option<f64>,
    /// Fewest pixels of a frame the model sees [default: the checkpoint's]
    #[arg(long, value_name = "N", value_parser = pixels)]
    min_pixels: Option<usize>,
    /// Most pixels of a frame the model sees [default: the checkpoint's]
    #[arg(long, value_name = "N", value_parser = pixels)]
    max_pixels: Option<usize>,
    #[command(flatten)]
    checkpoint: checkpoint::ModelArgs,
    /// Most tokens of an answer
    #[arg(long, value_name = "N", default_value_t = Decoding::default().max_new_tokens)]
    max_new_tokens: usize,
    /// 0 = greedy
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = temperature)]
    temperature: f64,
    /// Seed of the sampler
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Folder for overlay.mp4, overlay.png, report.html and attention.safetensors
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// `--frames`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Frames {
    /// All black
    Black,
    /// The first frame throughout
    Freeze,
    /// In shuffled order
    Shuffle,
    /// From the last to the first
    Reverse,
}

/// Noise as loud as speech, unless it is said otherwise.
const NOISE_DB: i32 = -20;

/// `noise`, `noise:DB`, `noise:DB:SEED`.
fn noise(text: &str) -> Result<AudioSource> {
    let mut parts = text.split(':').skip(1);
    let level_db = parts.next().map_or(Ok(NOISE_DB), str::parse).ok().filter(|db| (-120..=0).contains(db));
    let seed = parts.next().map_or(Ok(0), str::parse).ok();
    match (level_db, seed, parts.next()) {
        (Some(level_db), Some(seed), None) => Ok(AudioSource::Noise { seed, level_db }),
        _ => bail!("--audio {text} is not noise, noise:DB or noise:DB:SEED with DB from -120 to 0"),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let fps = number(text)?;
    if (0.01..=240.0).contains(&fps) { Ok(fps) } else { Err("not between 0.01 and 240 frames per second".into()) }
}

fn pixels(text: &str) -> Result<usize, String> {
    // A quarter of a gigapixel is beyond every camera and every model.
    let n = text.parse().map_err(|_| "not a whole number".to_owned())?;
    if (1..=1 << 28).contains(&n) { Ok(n) } else { Err("not between 1 and 268435456 pixels".into()) }
}

fn temperature(text: &str) -> Result<f64, String> {
    let t = number(text)?;
    if (0.0..=100.0).contains(&t) { Ok(t) } else { Err("not between 0 and 100".into()) }
}

impl Args {
    /// The clip that the arguments describe.
    fn clip(&self) -> Result<ClipSpec> {
        let track = self.audio_track;
        let audio = match self.audio.as_deref() {
            None if self.video.is_none() => AudioSource::None,
            None | Some("original") => AudioSource::Original { track },
            Some("none") => AudioSource::None,
            Some("silence") => AudioSource::Silence,
            Some(text) if text == "noise" || text.starts_with("noise:") => noise(text)?,
            Some(file) => AudioSource::File { path: file.into(), track },
        };
        if audio == (AudioSource::Original { track }) && self.video.is_none() {
            bail!("--audio original needs --video");
        }
        if track.is_some() && audio == AudioSource::None {
            bail!("--audio-track names a track, but there is no sound to take it from");
        }
        if audio.is_made_up() && (self.video.is_none() || track.is_some()) {
            bail!("--audio noise and --audio silence fill the length of --video and have no tracks");
        }
        if !self.audio_offset.is_finite() || !self.audio_gain.is_finite() {
            bail!("--audio-offset and --audio-gain are plain numbers");
        }
        if self.frames.is_some() && self.video.is_none() {
            bail!("--frames needs --video");
        }
        if let (Some(start), Some(end)) = (self.start, self.end)
            && end <= start
        {
            bail!("--end {end} is not after --start {start}");
        }
        Ok(ClipSpec {
            video: self.video.clone(),
            audio,
            sound: SoundEdit { offset_secs: self.audio_offset, gain_db: self.audio_gain, repeat: self.audio_loop },
            frames: match self.frames {
                None => FrameEdit::Keep,
                Some(Frames::Black) => FrameEdit::Black,
                Some(Frames::Freeze) => FrameEdit::Freeze,
                Some(Frames::Shuffle) => FrameEdit::Shuffle { seed: self.shuffle_seed },
                Some(Frames::Reverse) => FrameEdit::Reverse,
            },
            start_secs: self.start,
            end_secs: self.end,
        })
    }

    fn request(&self) -> Result<Request> {
        if self.video.is_none() && self.audio.is_none() && self.question.is_none() {
            bail!("nothing to ask about: give at least one of --video, --audio and --question");
        }
        if let (Some(min), Some(max)) = (self.min_pixels, self.max_pixels)
            && min > max
        {
            bail!("--min-pixels {min} is more than --max-pixels {max}");
        }
        let context = self
            .context
            .as_ref()
            .map(|path| {
                std::fs::read_to_string(path).with_context(|| format!("cannot read --context ({})", path.display()))
            })
            .transpose()?;
        Ok(Request {
            epoch: 0,
            clip: self.clip()?,
            prompt: Prompt {
                system: self.system.clone(),
                caption: self.caption.clone(),
                context,
                question: self.question.clone().unwrap_or_else(|| DEFAULT_QUESTION.into()),
                options: self.options.iter().map(|o| o.trim().to_owned()).collect(),
            },
            sampling: Sampling { fps: self.fps, min_pixels: self.min_pixels, max_pixels: self.max_pixels },
            decoding: Decoding { max_new_tokens: self.max_new_tokens, temperature: self.temperature, seed: self.seed },
        })
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Outcome> {
    // Everything that can be wrong with the arguments is said before a model is loaded.
    let request = args.request()?;
    answer(&request, &args.checkpoint, args.out.as_deref(), args.json)?;
    Ok(Outcome::Fine)
}

/// Loads the model, answers `request` on stdout and writes what belongs to it into `out`.
pub fn answer(request: &Request, checkpoint: &checkpoint::ModelArgs, out: Option<&Path>, json: bool) -> Result<()> {
    if let Some(dir) = out {
        export::prepare_folder(dir)?;
    }
    let (pool, mut session) = worker::load(&checkpoint.load_options()?)?;
    let cancel = AtomicBool::new(false);
    let mut stream = Stream { quiet: json, fed: Arc::default() };
    let mut answer = pool.install(|| {
        let mut notify = |update| stream.take(update);
        let answered = session.answer(request, &mut Run { fed: out.is_some(), ..Run::new(&cancel, &mut notify) });
        answered.map_err(|e| trouble::after(e, &mut session).error)
    })?;
    answer.timing.load = session.load_ms();
    if let Some(dir) = out {
        export::case_files(request, &answer, &stream.fed, session.info(), dir)?;
    }
    if json { print_json(&Report::new(&answer, session.info())) } else { print_summary(&answer) }
}

/// Prints the answer while it comes, and keeps what the model was fed.
struct Stream {
    quiet: bool,
    fed: Arc<Fed>,
}

impl Stream {
    fn take(&mut self, update: Update) {
        match update {
            Update::Fed(fed) => self.fed = fed,
            Update::Token(token) if !self.quiet => {
                let mut out = std::io::stdout().lock();
                // A closed pipe shows up again when the summary is printed.
                let _ = write!(out, "{}", token.text).and_then(|()| out.flush());
            }
            Update::Token(_) | Update::Stage(_) | Update::Prompt(_) => {}
        }
    }
}

fn print_summary(answer: &Answer) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let percent = |x: f64| x * 100.0;
    let Share { video, audio, text } = answer.share;
    writeln!(out)?;
    writeln!(
        out,
        "attention share  video {:.1} %  audio {:.1} %  text {:.1} %",
        percent(video),
        percent(audio),
        percent(text)
    )?;
    write!(out, "{} prompt tokens, first token after {:.0} ms", answer.prompt_tokens, answer.timing.first_token)?;
    // One token has no pace.
    if answer.tokens_per_s > 0.0 {
        write!(out, ", {:.1} tokens/s", answer.tokens_per_s)?;
    }
    writeln!(out)?;
    Ok(())
}

/// The JSON of the contract.
#[derive(Debug, Serialize)]
struct Report<'a> {
    answer: &'a str,
    finish: Finish,
    tokens: Vec<TokenReport<'a>>,
    share: Share,
    share_detail: ShareDetail,
    density: Share,
    prompt_tokens: Counts,
    timing_ms: Timing,
    reuse: Reuse,
    tokens_per_s: f64,
    peak_rss_mib: u64,
    model: &'a ModelInfo,
    explain: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Serialize)]
struct TokenReport<'a> {
    id: u32,
    text: &'a str,
    logprob: f64,
    share: Share,
}

#[derive(Debug, Serialize)]
struct Counts {
    video: usize,
    audio: usize,
    text: usize,
}

impl<'a> Report<'a> {
    fn new(answer: &'a Answer, model: &'a ModelInfo) -> Self {
        let kinds = answer.provenance.tokens.iter().take(answer.prompt_tokens).map(|t| t.source.kind());
        let (mut video, mut audio) = (0, 0);
        for kind in kinds {
            video += usize::from(kind == Kind::Video);
            audio += usize::from(kind == Kind::Audio);
        }
        Self {
            answer: &answer.text,
            finish: answer.finish,
            tokens: answer
                .tokens
                .iter()
                .map(|t| TokenReport { id: t.id, text: &t.text, logprob: t.logprob, share: t.share })
                .collect(),
            share: answer.share,
            share_detail: answer.share_detail,
            density: answer.density,
            prompt_tokens: Counts { video, audio, text: answer.prompt_tokens - video - audio },
            timing_ms: answer.timing,
            reuse: answer.reuse,
            tokens_per_s: answer.tokens_per_s,
            peak_rss_mib: options::peak_rss_mib(),
            model,
            explain: serde_json::Map::new(),
        }
    }
}
