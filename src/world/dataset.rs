//! Writes clips of the toy world as a Hugging Face `VideoFolder`: `metadata.jsonl` beside a folder of mp4 files.
//! Knows nothing of models; a data set appears whole or not at all.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::media::{AudioParams, EncodeSpeed, Encoder, MediaError, VideoParams};
use crate::world::cast::Condition;
use crate::world::clip::{Clip, FPS, FRAMES, Truth};
use crate::world::question::Kind;
use crate::world::scene::SIZE;
use crate::world::sound::RATE;

/// Most clips of one data set: far beyond any use, far below what fills a disk by a slip of the finger.
pub const MAX_COUNT: u64 = 1_000_000;

/// Why a data set was not written.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// The options make no sense.
    #[error("{0}")]
    Options(String),
    /// The folder is in use.
    #[error("this folder already exists and is not empty; name a new one ({})", .0.display())]
    Exists(PathBuf),
    /// A file or folder could not be written.
    #[error("cannot write the clips to {}", path.display())]
    Write {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file could not be read.
    #[error("cannot read the clips: {message} ({})", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// A clip could not be encoded.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// There is no memory for a canvas.
    #[error("no memory for a picture of {SIZE} × {SIZE} pixels")]
    Canvas,
    /// The caller asked to stop; nothing was left behind.
    #[error("cancelled")]
    Cancelled,
}

/// What to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The folder to make.
    pub out: PathBuf,
    /// How many clips.
    pub count: u64,
    /// Seed; the same seed gives the same clips.
    pub seed: u64,
    /// The condition of every clip; `None` = the four conditions take turns, round by round of the classes.
    pub condition: Option<Condition>,
    /// Encoder's effort; [`EncodeSpeed::Fast`] unless a great many clips are wanted.
    pub speed: EncodeSpeed,
}

impl Options {
    /// The condition of clip `index`.
    pub fn condition_of(&self, index: u64) -> Condition {
        // Whole rounds of classes share a condition, so that every condition sees every class equally often.
        self.condition.unwrap_or(Condition::ALL[(index / 12 % 4) as usize])
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The folder.
    pub out: PathBuf,
    /// Number of clips.
    pub clips: u64,
    /// Bytes of all clips together.
    pub bytes: u64,
}

/// A line of `metadata.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The clip, relative to the folder.
    pub file_name: String,
    /// What is true of it.
    #[serde(flatten)]
    pub truth: Truth,
    /// The true answers to the plain questions; null where a question makes no sense.
    pub answers: Answers,
}

/// The true answer per kind of question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "named like the kinds of questions")]
pub struct Answers {
    pub see: Option<String>,
    pub hear: Option<String>,
    #[serde(rename = "match")]
    pub matches: Option<String>,
    #[serde(rename = "where")]
    pub place: Option<String>,
    #[serde(rename = "when")]
    pub time: Option<String>,
}

impl Answers {
    fn of(truth: &Truth) -> Self {
        let answer = |kind: Kind| kind.answer(truth).map(str::to_owned);
        Self {
            see: answer(Kind::See),
            hear: answer(Kind::Hear),
            matches: answer(Kind::Match),
            place: answer(Kind::Where),
            time: answer(Kind::When),
        }
    }
}

/// Writes a data set. Everything goes to a temporary folder beside `out`, which takes its name when complete.
/// `progress(done, all)` is called from several threads after each clip; `cancel` stops the work between clips.
pub fn write_dataset(
    options: &Options,
    progress: &(dyn Fn(u64, u64) + Sync),
    cancel: &AtomicBool,
) -> Result<Report, WorldError> {
    if options.count == 0 || options.count > MAX_COUNT {
        return Err(WorldError::Options(format!("cannot make {} clips: ask for 1 to {MAX_COUNT}", options.count)));
    }
    let out = &options.out;
    if out.file_name().is_none() {
        return Err(WorldError::Options(format!("this is no name for a new folder ({})", out.display())));
    }
    if occupied(out) {
        return Err(WorldError::Exists(out.clone()));
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| WorldError::Write { path, source }
    };
    let parent = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(failed(parent))?;
    let temporary = tempfile::Builder::new().prefix(".modalens-world-").tempdir_in(parent).map_err(failed(parent))?;
    let folder = temporary.path().join("clips");
    std::fs::create_dir(&folder).map_err(failed(&folder))?;

    let (done, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
    let rows = (0..options.count)
        .into_par_iter()
        .map(|index| {
            if cancel.load(Ordering::Relaxed) {
                return Err(WorldError::Cancelled);
            }
            let file_name = format!("clips/{index:06}.mp4");
            let path = temporary.path().join(&file_name);
            let truth = write_clip(&Clip::new(options.seed, index, options.condition_of(index)), &path, options.speed)?;
            bytes.fetch_add(std::fs::metadata(&path).map_err(failed(&path))?.len(), Ordering::Relaxed);
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, options.count);
            let answers = Answers::of(&truth);
            Ok(Row { file_name, truth, answers })
        })
        .collect::<Result<Vec<_>, _>>()?;

    let mut lines = String::new();
    for row in &rows {
        let line = serde_json::to_string(row).map_err(|e| WorldError::Options(e.to_string()))?;
        let _ = writeln!(lines, "{line}");
    }
    let metadata = temporary.path().join("metadata.jsonl");
    std::fs::write(&metadata, lines).map_err(failed(&metadata))?;

    // An empty folder may be replaced; anything else that came meanwhile stays.
    if out.is_dir() {
        std::fs::remove_dir(out).map_err(|_| WorldError::Exists(out.clone()))?;
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // Temporary folders are private; the result is an ordinary one.
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(temporary.path(), open).map_err(failed(temporary.path()))?;
    }
    std::fs::rename(temporary.path(), out).map_err(failed(out))?;
    let _ = temporary.keep();
    Ok(Report { out: out.clone(), clips: options.count, bytes: bytes.into_inner() })
}

/// Whether `out` exists and is anything but an empty folder.
fn occupied(out: &Path) -> bool {
    match std::fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => out.symlink_metadata().is_ok(),
    }
}

/// Renders and encodes one clip; returns the truth about it.
pub fn write_clip(clip: &Clip, path: &Path, speed: EncodeSpeed) -> Result<Truth, WorldError> {
    let pcm = clip.pcm();
    let params = VideoParams { speed, threads: 1, ..VideoParams::new(SIZE as u32, SIZE as u32, (FPS, 1)) };
    let audio = pcm.as_ref().map(|_| AudioParams { rate: RATE, channels: 1 });
    let mut encoder = Encoder::create(path, params, audio)?;
    let mut boxes = Vec::with_capacity(FRAMES);
    for i in 0..FRAMES {
        let (image, bounds) = clip.frame(Clip::frame_time(i)).ok_or(WorldError::Canvas)?;
        boxes.extend(bounds.map(|b| b.map(|x| libm::round(x * 1e4) / 1e4)));
        encoder.push_rgb(&image)?;
        if let Some(pcm) = &pcm {
            let at = |i: usize| pcm.len() * i / FRAMES;
            encoder.push_audio(&pcm[at(i)..at(i + 1)])?;
        }
    }
    encoder.finish()?;
    Ok(clip.truth(boxes))
}

/// The rows of a data set's `metadata.jsonl`, in file order.
pub fn read_metadata(folder: &Path) -> Result<Vec<Row>, WorldError> {
    let path = folder.join("metadata.jsonl");
    let read = |message: String| WorldError::Read { path: path.clone(), message };
    let text = std::fs::read_to_string(&path).map_err(|e| read(e.to_string()))?;
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(i, line)| serde_json::from_str(line).map_err(|e| read(format!("line {}: {e}", i + 1))))
        .collect()
}
