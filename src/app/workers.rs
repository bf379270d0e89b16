//! Work that must not run on the interface's thread: file dialogs, looking into files, reading a clip's sound for its
//! lanes, projecting attention rows to maps. Each tells the window through `notify`. Knows nothing of panels.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, TrySendError};

use super::shelf::{Entry, Shelf};
use super::spectrum::{MEL, SpectrumBuilder};
use crate::capture::project;
use crate::clip::{AudioSource, ClipSpec};
use crate::engine::mailbox::{Mailbox, Taken};
use crate::event::{Event, FileFacts, FileUse, Outline, SoundLanes, Tracks};
use crate::media::{self, MediaError, MediaEvent, Peaks, Probe};
use crate::model::qwen2_5_omni::processor::mel::LogMel;
use crate::provenance::Provenance;
use crate::sampled::SAMPLE_RATE;
use crate::settings::Sampling;
use crate::spectrum::Spectrum;
use crate::state::file_name;

/// A dialog that closes faster than anyone can press a key was never shown.
pub(super) const NEVER_SHOWN: Duration = Duration::from_millis(250);

/// Requests to look into files that may wait.
const MOST_REQUESTS: usize = 8;
/// The longest file that becomes a question when it is dropped.
const MOST_TEXT_BYTES: u64 = 64 << 10;
/// What is done to a sound again and again, as when a number is dragged, is read once it has rested for so long.
const RESTED: Duration = Duration::from_millis(120);

/// What is said when no dialog can be shown.
const NO_DIALOG: &str = "No file dialog could be opened: this desktop has no file portal. Install xdg-desktop-portal \
with a backend (such as xdg-desktop-portal-gtk) or zenity.";

/// Starts a thread for one job.
pub(super) fn spawn(
    name: &str,
    notify: &(impl Fn(Event) + Clone + Send + 'static),
    work: impl FnOnce() + Send + 'static,
) {
    if let Err(e) = std::thread::Builder::new().name(name.to_owned()).spawn(work) {
        notify(Event::Failed { message: format!("the system gave no thread ({name}): {e}") });
    }
}

/// Adds each token's map to the engine's events, on the engine's own thread.
pub(super) fn with_maps(notify: impl Fn(Event) + Send + Sync + 'static) -> impl Fn(Event) + Send + Sync + 'static {
    struct Current {
        epoch: u64,
        provenance: Arc<Provenance>,
        tokens: usize,
    }
    let current: Mutex<Option<Current>> = Mutex::new(None);
    move |event| {
        let mut after = None;
        {
            let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
            match &event {
                Event::Prompt { epoch, provenance } => {
                    *current = Some(Current { epoch: *epoch, provenance: Arc::clone(provenance), tokens: 0 });
                }
                Event::Token { epoch, token } => {
                    if let Some(c) = current.as_mut().filter(|c| c.epoch == *epoch) {
                        let map = Arc::new(project(&token.row.mean(), &c.provenance));
                        after = Some(Event::TokenMap { epoch: *epoch, index: c.tokens, map });
                        c.tokens += 1;
                    }
                }
                _ => {}
            }
        }
        notify(event);
        if let Some(map) = after {
            notify(map);
        }
    }
}

/// Turns the player's events into the window's.
pub(super) fn media_events(
    clip_id: u64,
    notify: impl Fn(Event) + Send + Sync + 'static,
) -> impl Fn(MediaEvent) + Send + Sync + 'static {
    move |event| {
        notify(match event {
            MediaEvent::Opened { duration_secs, picture } => Event::ClipOpened { clip_id, duration_secs, picture },
            MediaEvent::FrameReady | MediaEvent::Length | MediaEvent::Ended => Event::FrameReady,
            MediaEvent::Note(message) => Event::Note { message },
            MediaEvent::Failed(message) => Event::ClipFailed { clip_id, message },
        });
    }
}

/// What is said when no more files can be looked into.
pub(super) const BUSY: &str = "Other files are still being looked into: a disk or a network may not answer.";

/// Finds out what is in files, one request after another, so that what was asked for last is what stays.
#[derive(Clone)]
pub(super) struct Files(Sender<(FileUse, Vec<PathBuf>)>);

impl Files {
    /// Starts the thread; it ends when the last of these is dropped.
    pub(super) fn new(notify: impl Fn(Event) + Clone + Send + 'static) -> Self {
        let (asked, requests) = crossbeam_channel::bounded::<(FileUse, Vec<PathBuf>)>(MOST_REQUESTS);
        let report = notify.clone();
        spawn("look into files", &notify, move || {
            for (purpose, paths) in requests {
                let mut found: Vec<_> =
                    paths.into_iter().filter_map(|path| look_into(purpose, path, &report)).collect();
                // A sound that comes with a picture takes the place of the picture's own.
                found.sort_by_key(|facts| !facts.picture);
                for facts in found {
                    report(Event::FileChosen { purpose, facts });
                }
            }
        });
        Self(asked)
    }

    /// Has files looked into, each reported as [`Event::FileChosen`]; false when earlier ones still wait (for a disk that
    /// does not answer, say).
    #[must_use]
    pub(super) fn look_into(&self, purpose: FileUse, paths: Vec<PathBuf>) -> bool {
        // Without a thread, which was said, nothing can be looked into.
        !matches!(self.0.try_send((purpose, paths)), Err(TrySendError::Full(_)))
    }
}

/// What is in a file; `None` when it cannot be used, which is reported.
fn look_into(purpose: FileUse, path: PathBuf, report: &dyn Fn(Event)) -> Option<FileFacts> {
    if purpose == FileUse::Model {
        let (tracks, summary) = (Tracks::default(), String::new());
        return Some(FileFacts { path, picture: false, sound: false, tracks, still: false, summary });
    }
    let probe = match media::glance(&path) {
        Ok(probe) => probe,
        Err(e) => {
            if let Some(text) = text_of(&path).filter(|_| purpose == FileUse::ByContent) {
                report(Event::TextDropped { text });
                return None;
            }
            report(Event::Failed { message: e.to_string() });
            return None;
        }
    };
    let facts = FileFacts {
        picture: probe.video.is_some(),
        sound: probe.audio.iter().any(|a| a.decodable),
        tracks: Tracks {
            about: probe.audio.iter().map(track).collect(),
            played: probe.played_track.unwrap_or_default(),
        },
        still: probe.still,
        summary: summary(&probe),
        path,
    };
    let name = file_name(&facts.path);
    if !facts.picture && !facts.sound {
        report(Event::Failed { message: format!("{name} has neither picture nor sound that can be read") });
        return None;
    }
    if let Some(hdr) = probe.video.as_ref().and_then(|v| v.hdr).filter(|_| purpose != FileUse::Sound) {
        let message = format!(
            "{name} is HDR ({hdr}): you see it tone-mapped; the model gets its colours as they are stored, \
             as the reference does it, and to it they look flat."
        );
        report(Event::Note { message });
    }
    if let Some((ends, says)) = probe.duration_secs.zip(probe.declared_secs) {
        let message =
            format!("{name} ends at {ends:.2} s though it says {says:.2} s: it is cut off, or its header is wrong.");
        report(Event::Note { message });
    }
    Some(facts)
}

/// What is in a short file of plain text, by its name and by what is in it; `None` for any other.
fn text_of(path: &Path) -> Option<String> {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    extension.is_none_or(|e| matches!(e.as_str(), "txt" | "text" | "md")).then_some(())?;
    std::fs::metadata(path).ok().filter(|about| about.is_file() && about.len() <= MOST_TEXT_BYTES)?;
    let text = String::from_utf8(std::fs::read(path).ok()?).ok()?;
    let plain = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    let text = text.trim_start_matches('\u{feff}').trim();
    (!text.is_empty() && text.chars().all(plain)).then(|| text.to_owned())
}

/// `1280 × 720 · 30 fps · h264 · aac 44.1 kHz`.
fn summary(probe: &Probe) -> String {
    let mut parts = Vec::new();
    if let Some(v) = &probe.video {
        parts.push(format!("{} × {}", v.display_width, v.display_height));
        if let Some(fps) = v.fps.filter(|_| !probe.still) {
            parts.push(format!("{} fps", (fps * 100.0).round() / 100.0));
        }
        parts.push(v.codec.clone());
        if let Some(hdr) = v.hdr {
            parts.push(format!("HDR ({hdr}), tone-mapped"));
        }
    }
    match probe.played_track.and_then(|track| probe.audio.get(track)) {
        Some(a) => parts.push(format!("{} {} kHz", a.codec, f64::from(a.sample_rate) / 1000.0)),
        None => parts.push("no sound".to_owned()),
    }
    parts.join(" · ")
}

/// `eng: aac 44.1 kHz, stereo`.
fn track(audio: &media::AudioInfo) -> String {
    let language = audio.language.as_ref().map_or_else(String::new, |language| format!("{language}: "));
    let rate = f64::from(audio.sample_rate) / 1000.0;
    let unusable = if audio.decodable { "" } else { " (cannot be decoded)" };
    format!("{language}{} {rate} kHz, {}{unusable}", audio.codec, audio.layout)
}

/// Asks for a file in a dialog of the desktop. One dialog at a time.
pub(super) fn choose(
    purpose: FileUse,
    files: &Files,
    open: &Arc<AtomicBool>,
    notify: impl Fn(Event) + Clone + Send + 'static,
) {
    if open.swap(true, Ordering::AcqRel) {
        return;
    }
    let (files, open) = (files.clone(), Arc::clone(open));
    let report = notify.clone();
    spawn("file dialog", &notify, move || {
        let asked = Instant::now();
        let dialog = rfd::FileDialog::new();
        let chosen = match purpose {
            FileUse::Model => dialog.set_title("Choose a checkpoint folder").pick_folder(),
            FileUse::Sound => dialog.set_title("Choose a sound").pick_file(),
            FileUse::Clip | FileUse::ByContent => dialog.set_title("Open a video, a picture or a sound").pick_file(),
        };
        open.store(false, Ordering::Release);
        let Some(path) = chosen else {
            if asked.elapsed() < NEVER_SHOWN {
                report(Event::Failed {
                    message: format!("{NO_DIALOG} Or drop the file on the window, or give it on the command line."),
                });
            }
            return;
        };
        if !files.look_into(purpose, vec![path]) {
            report(Event::Failed { message: BUSY.to_owned() });
        }
    });
}

/// Reads clips' sounds for their lanes, on a thread of its own: the newest one, once it has rested.
pub(super) struct SoundReader {
    wants: Option<Arc<Mailbox<(u64, ClipSpec)>>>,
    shelf: Shelf,
}

impl SoundReader {
    /// A reader that keeps long sounds' outlines on `shelf`.
    pub(super) fn new(shelf: Shelf) -> Self {
        Self { wants: None, shelf }
    }

    /// Has a clip's sound read as the model is given it and reduced to lanes, which is reported as [`Event::Lanes`] and
    /// the events that follow it; the thread is started with the first one.
    pub(super) fn want(&mut self, sound_id: u64, clip: ClipSpec, notify: impl Fn(Event) + Clone + Send + 'static) {
        let wants = self.wants.get_or_insert_with(|| {
            let wants = Arc::new(Mailbox::default());
            let (served, report, shelf) = (Arc::clone(&wants), notify.clone(), self.shelf.clone());
            spawn("read sound", &notify, move || serve_sounds(&served, &shelf, &report));
            wants
        });
        wants.put(|_| (sound_id, clip));
    }
}

impl Drop for SoundReader {
    fn drop(&mut self) {
        if let Some(wants) = &self.wants {
            wants.close();
        }
    }
}

fn serve_sounds(wants: &Mailbox<(u64, ClipSpec)>, shelf: &Shelf, report: &dyn Fn(Event)) {
    let mut before: Option<ClipSpec> = None;
    while let Some((mut sound_id, mut clip)) = wants.take() {
        // Another sound is wanted at once; the same one, moved or made louder, when the hand rests.
        while before.as_ref().is_some_and(|b| b.video == clip.video && b.audio == clip.audio) {
            match wants.take_within(RESTED) {
                Taken::Value(newer) => (sound_id, clip) = newer,
                Taken::Late => break,
                Taken::Closed => return,
            }
        }
        read_sound(&clip, sound_id, &|| wants.look(|newer, closed| closed || newer.is_some()), shelf, report);
        before = Some(clip);
    }
}

/// Reads a clip's sound as the model is given it and reduces it to lanes, then reports [`Event::Lanes`].
fn read_sound(clip: &ClipSpec, sound_id: u64, stale: &dyn Fn() -> bool, shelf: &Shelf, report: &dyn Fn(Event)) {
    let whole = sound_alone(clip, stale);
    let lanes = if whole.audio == AudioSource::None {
        Ok(None)
    } else {
        let ends = [clip.end_secs, whole.end_secs].into_iter().flatten();
        let part = ClipSpec { start_secs: clip.start_secs, end_secs: ends.min_by(f64::total_cmp), ..whole.clone() };
        match media::sample_clip(&part, &Sampling::default(), stale) {
            // The part that is asked about begins after the sound's end.
            Err(MediaError::EmptyRange { .. }) => Ok(None),
            sampled => sampled.map(|(sampled, _)| sampled.audio),
        }
    };
    if stale() {
        return;
    }
    match lanes {
        Ok(audio) => {
            let lanes = audio.map(|audio| {
                let mel = LogMel::new(MEL);
                let frames = mel.frames(audio.samples.len());
                let log_mel = to_columns(&mel.compute(&audio.samples), MEL.bins, frames);
                Arc::new(SoundLanes {
                    samples: audio.samples,
                    rate: f64::from(SAMPLE_RATE),
                    log_mel,
                    bins: MEL.bins,
                    frame_rate: MEL.rate as f64 / MEL.hop as f64,
                    start_secs: audio.start_secs,
                })
            });
            report(Event::Lanes { sound_id, lanes });
        }
        Err(e) => {
            report(Event::Lanes { sound_id, lanes: None });
            for own in [false, true] {
                report(Event::Outline { sound_id, own, outline: None });
            }
            report(Event::Note { message: format!("The sound's lanes cannot be drawn: {e}") });
            return;
        }
    }
    // The whole of it, and the video's own sound beside another.
    outline(&whole, false, sound_id, shelf, stale, report);
    let own = clip.video.as_ref().map(|path| sound_alone(&ClipSpec::original(path), stale));
    match own.filter(|own| *own != whole) {
        Some(own) => outline(&own, true, sound_id, shelf, stale, report),
        // What was done to it is taken back.
        None => report(Event::Outline { sound_id, own: true, outline: None }),
    }
}

/// The sound of a clip without its picture, so that nothing is decoded twice. Another sound ends where the picture does.
fn sound_alone(clip: &ClipSpec, stale: &dyn Fn() -> bool) -> ClipSpec {
    let fills = !matches!(clip.audio, AudioSource::Original { .. } | AudioSource::None);
    let picture_secs = |path| media::probe_unless(path, stale).ok()?.picture_secs;
    let end_secs = clip.video.as_deref().filter(|_| fills).and_then(picture_secs);
    let audio = match (&clip.audio, &clip.video) {
        (AudioSource::Original { track }, Some(path)) => AudioSource::File { path: path.clone(), track: *track },
        (AudioSource::Original { .. }, None) => AudioSource::None,
        (audio, _) => audio.clone(),
    };
    ClipSpec { audio, sound: clip.sound, end_secs, ..ClipSpec::default() }
}

/// Outlines a whole sound and computes its spectrum, in one pass, or takes them from the shelf; reports them as they
/// grow. Of the video's own sound beside another only the outline is shown.
fn outline(
    sound: &ClipSpec,
    own: bool,
    sound_id: u64,
    shelf: &Shelf,
    stale: &dyn Fn() -> bool,
    report: &dyn Fn(Event),
) {
    if sound.audio == AudioSource::None {
        return report(Event::Outline { sound_id, own, outline: None });
    }
    let tell = |pairs: Vec<[f32; 2]>, growing| {
        let outline = Some(Arc::new(Outline::new(pairs, Peaks::STEP_SECS, growing)));
        report(Event::Outline { sound_id, own, outline });
    };
    let tell_spectrum = |spectrum: Spectrum| report(Event::Spectrum { sound_id, spectrum: Arc::new(spectrum) });
    let kept = shelf.of_sound(sound);
    let codes = kept.as_ref().filter(|_| !own).and_then(|entry| entry.spectrum(MEL.bins));
    let pairs = kept.as_ref().filter(|_| own || codes.is_some()).and_then(Entry::outline);
    if let Some(pairs) = pairs {
        if let Some(codes) = codes {
            tell_spectrum(Spectrum::new(codes, MEL.bins, SpectrumBuilder::STEP_SECS, false));
        }
        return tell(pairs, false);
    }
    let builder = RefCell::new((!own).then(SpectrumBuilder::new));
    let spectrum = |growing| builder.borrow_mut().as_mut().map(|builder| builder.spectrum(growing));
    let mut heard = |start: usize, samples: &[f32]| {
        if let Some(builder) = builder.borrow_mut().as_mut() {
            builder.hear(start, samples);
        }
    };
    let mut grown = |peaks: &Peaks| {
        tell(peaks.pairs().to_vec(), true);
        if let Some(spectrum) = spectrum(true) {
            tell_spectrum(spectrum);
        }
    };
    match Peaks::of_with(sound, stale, &mut heard, &mut grown) {
        Ok(Some(peaks)) if !stale() => {
            let spectrum = spectrum(false);
            let codes = spectrum.as_ref().map(Spectrum::steps);
            if let Some(entry) = kept {
                entry.put_sound(peaks.end_secs(), peaks.pairs(), codes);
            }
            if let Some(spectrum) = spectrum {
                tell_spectrum(spectrum);
            }
            tell(peaks.pairs().to_vec(), false);
        }
        Ok(_) => {}
        // What is wrong with a sound is said by its player and its lanes.
        Err(e) => log::debug!("no outline: {e}"),
    }
}

/// `[bins, frames]` of log-mel to `[frames, bins]` in 0…1; the extractor's own range is 2 wide (eight decades of power,
/// divided by four).
fn to_columns(mel: &[f32], bins: usize, frames: usize) -> Vec<f32> {
    let top = mel.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut out = vec![0.0; bins * frames];
    for (bin, row) in mel.chunks_exact(frames.max(1)).enumerate() {
        for (frame, value) in row.iter().enumerate() {
            out[frame * bins + bin] = ((value - top) / 2.0 + 1.0).clamp(0.0, 1.0);
        }
    }
    out
}
