//! Saving out of the window: a frame as a PNG, the clip with its heat map as a video. Asks where in a dialog of the
//! desktop (or has the path typed where there is none), works beside the player at a lower priority, tells the window by
//! event, and leaves no half-written file, also when the window is closed meanwhile. Knows nothing of panels.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::App;
use super::workers::{NEVER_SHOWN, spawn};
use crate::clip::ClipSpec;
use crate::engine::worker::lower_priority;
use crate::event::Event;
use crate::export::overlay::{Overlay, PlacedMap, Written};
use crate::export::write_png;
use crate::exports::{ExportNews, ExportsCommand, Saving};
use crate::frame::{Planes, display_size};
use crate::gpu::{Headless, OverlayFrame, OverlayStyle};
use crate::heatmap::HeatMap;
use crate::media::MediaError;
use crate::provenance::Provenance;
use crate::settings::Sampling;
use crate::time::Span;
use crate::ui;

/// How often the window is told how far a video is.
const PROGRESS: Duration = Duration::from_millis(150);

/// The worker that writes a video, if there is one.
#[derive(Default)]
pub(super) struct Exporter {
    cancel: Arc<AtomicBool>,
    /// Set once there is something to leave behind; before that a dialog is open, which nobody can close but the user.
    writing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.cancel.store(true, Ordering::Relaxed);
        if self.writing.load(Ordering::Acquire)
            && let Some(thread) = self.thread.take()
        {
            // It ends at the next frame; a fault of its own has been told already.
            let _ = thread.join();
        }
    }
}

/// The map on show, as it is shown.
struct Map {
    heat: HeatMap,
    provenance: Arc<Provenance>,
    style: OverlayStyle,
    quantile: f32,
}

/// A video to be written.
struct Job {
    clip: ClipSpec,
    map: Option<Map>,
    span: Option<Span>,
}

impl App {
    /// Saves what is on the picture's place: the frame as the clip has it, and its heat map.
    pub(super) fn save_frame(&mut self, to: Option<PathBuf>) {
        self.state.exports.asked = None;
        let position = self.state.playback.position_secs;
        let Some(frame) = self.player.as_ref().and_then(|p| p.frame_at(position)) else { return };
        let heat = ui::player::overlay(&self.state).map(|(heat, _)| heat);
        let title = self.state.title().unwrap_or_default();
        let stem = title.rsplit_once('.').map_or(title.as_str(), |(stem, _)| stem);
        let proposal = beside(&self.state.clip, format!("{stem} {:.3} s.png", frame.pts_secs()));
        let dialog = Arc::clone(&self.dialog_open);
        save_frame(frame, heat, to, proposal, dialog, self.notify());
    }

    /// Carries out what a command asks of the worker.
    pub(super) fn export(&mut self, command: &ExportsCommand) {
        match command {
            ExportsCommand::Video(to) => match self.state.why_not_export() {
                Some(why) => self.state.notice(false, format!("{why}.")),
                None => self.export_video(to.clone()),
            },
            ExportsCommand::Stop => self.exporter.cancel.store(true, Ordering::Relaxed),
            ExportsCommand::Type(_) | ExportsCommand::PutAway => {}
        }
    }

    fn export_video(&mut self, to: Option<PathBuf>) {
        let Some(run) = &self.state.run else { return };
        let view = self.state.view;
        let shown = self.state.shown().filter(|_| view.heat).zip(run.provenance.clone());
        let map = shown.map(|(shown, provenance)| Map {
            heat: shown.map.clone(),
            provenance,
            style: ui::player::overlay_style(&view),
            quantile: view.clip_quantile,
        });
        // What the answer is about, which need not be what is open by now.
        let job = Job { clip: run.clip.clone(), map, span: self.state.export_span() };
        let proposal = beside(&job.clip, self.state.export_name());
        let number = self.state.begin_export();
        let notify = self.notify();
        let report = move |news| notify(Event::Export { number, news });
        let (cancel, writing) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let dialog = Arc::clone(&self.dialog_open);
        let (stop, begun) = (Arc::clone(&cancel), Arc::clone(&writing));
        let failed = report.clone();
        let thread = std::thread::Builder::new().name("export video".to_owned()).spawn(move || {
            let Some(path) = place(Saving::Video, to, proposal, &dialog, &report) else { return };
            if stop.load(Ordering::Relaxed) {
                return report(ExportNews::Stopped);
            }
            begun.store(true, Ordering::Release);
            report(ExportNews::Begun { path: path.clone() });
            lower_priority();
            let written = catch_unwind(AssertUnwindSafe(|| write_video(&job, &path, &stop, &report)));
            report(match written {
                Ok(Ok(written)) => ExportNews::Done { message: done(&path, &written) },
                Ok(Err(e)) if matches!(e.downcast_ref(), Some(MediaError::Cancelled)) => ExportNews::Stopped,
                Ok(Err(e)) => ExportNews::Failed { message: format!("The video was not written: {e:#}") },
                Err(_) => ExportNews::Failed { message: "The video was not written: an internal fault".to_owned() },
            });
        });
        match thread {
            Ok(thread) => self.exporter = Exporter { cancel, writing, thread: Some(thread) },
            Err(e) => failed(ExportNews::Failed { message: format!("The system gave no thread for the video: {e}") }),
        }
    }
}

fn write_video(job: &Job, path: &Path, stop: &AtomicBool, report: &impl Fn(ExportNews)) -> Result<Written> {
    let placed = job.map.as_ref().map(|m| PlacedMap::of(m.heat.clone(), &m.provenance, m.style, m.quantile));
    let sampling = Sampling::default();
    let what = Overlay { clip: &job.clip, sampling: &sampling, map: placed.as_ref(), span: job.span };
    let mut told: Option<Instant> = None;
    let (written, _) = what.write(path, None, &|| stop.load(Ordering::Relaxed), &mut |progress| {
        if told.is_none_or(|at| at.elapsed() >= PROGRESS) || progress.done == progress.all {
            told = Some(Instant::now());
            report(ExportNews::Progress { done: progress.done, all: progress.all });
        }
    })?;
    Ok(written)
}

fn done(path: &Path, written: &Written) -> String {
    let [width, height] = written.size;
    let sound = written.audio_encoder.map_or_else(|| "no sound".to_owned(), |name| format!("sound by {name}"));
    format!("The video is in {} ({width} × {height}, pictures by {}, {sound})", path.display(), written.video_encoder)
}

/// A file of that name in the folder of a clip.
fn beside(clip: &ClipSpec, name: String) -> PathBuf {
    let folder = clip.file().and_then(Path::parent).filter(|p| !p.as_os_str().is_empty());
    let folder = folder.map_or_else(|| std::env::current_dir().unwrap_or_default(), Path::to_owned);
    std::path::absolute(folder.join(&name)).unwrap_or_else(|_| folder.join(name))
}

/// Where to write: as given, else as a dialog says. `None` when there is no answer; then the window has been told why.
fn place(
    what: Saving,
    given: Option<PathBuf>,
    proposal: PathBuf,
    open: &AtomicBool,
    report: &impl Fn(ExportNews),
) -> Option<PathBuf> {
    let (title, kind, extensions) = match what {
        Saving::Frame => ("Save the frame", "PNG picture", &["png"][..]),
        Saving::Video => ("Export the video", "Video", &["mp4", "webm", "m4v", "mov"][..]),
    };
    let path = if let Some(path) = given {
        at_home(path)
    } else {
        if open.swap(true, Ordering::AcqRel) {
            // One dialog at a time.
            report(ExportNews::NotNow);
            return None;
        }
        let asked = Instant::now();
        let mut dialog = rfd::FileDialog::new().set_title(title).add_filter(kind, extensions);
        if let Some(folder) = proposal.parent() {
            dialog = dialog.set_directory(folder);
        }
        if let Some(name) = proposal.file_name() {
            dialog = dialog.set_file_name(name.to_string_lossy());
        }
        let chosen = dialog.save_file();
        open.store(false, Ordering::Release);
        match chosen {
            Some(path) => path,
            None if asked.elapsed() < NEVER_SHOWN => {
                report(ExportNews::NoDialog { what, proposal });
                return None;
            }
            None => {
                report(ExportNews::NotNow);
                return None;
            }
        }
    };
    Some(named(path, extensions))
}

/// A path with one of the extensions that say what is written; where it has another one, or none, the first is added.
fn named(path: PathBuf, extensions: &[&str]) -> PathBuf {
    let has = |known: &&str| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(known));
    if extensions.iter().any(has) {
        return path;
    }
    // Not in the place of what follows a dot: `2.40 s` is a time.
    let mut name = path.into_os_string();
    name.push(".");
    name.push(extensions[0]);
    PathBuf::from(name)
}

/// `~/` is the user's own folder, as in a shell.
fn at_home(path: PathBuf) -> PathBuf {
    match (path.strip_prefix("~"), std::env::var_os("HOME")) {
        (Ok(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => path,
    }
}

/// Writes a frame as a PNG through the shaders, with its heat map if it has one; asks where when there is no path.
fn save_frame(
    frame: Arc<dyn Planes>,
    heat: Option<OverlayFrame>,
    to: Option<PathBuf>,
    proposal: PathBuf,
    dialog: Arc<AtomicBool>,
    notify: impl Fn(Event) + Clone + Send + 'static,
) {
    let tell = notify.clone();
    let report = move |news| tell(Event::Export { number: 0, news });
    spawn("save frame", &notify, move || {
        let Some(path) = place(Saving::Frame, to, proposal, &dialog, &report) else { return };
        let size = display_size(&*frame);
        let saved = Headless::new()
            .and_then(|mut gpu| gpu.render_rgba(&*frame, heat.as_ref(), size))
            .map_err(anyhow::Error::from)
            .and_then(|rgba| write_png(&path, size, &rgba));
        report(match saved {
            Ok(()) => ExportNews::Done { message: format!("The frame is in {}", path.display()) },
            Err(e) => ExportNews::Failed { message: format!("The frame was not saved: {e:#}") },
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_is_in_the_file() {
        let video = |path: &str| named(path.into(), &["mp4", "webm"]).display().to_string();
        assert_eq!(video("a/b.MP4"), "a/b.MP4");
        assert_eq!(video("b.webm"), "b.webm");
        assert_eq!(video("clip 1.20-2.40 s"), "clip 1.20-2.40 s.mp4");
        assert_eq!(video("b.avi"), "b.avi.mp4");
        assert_eq!(named("frame.jpg".into(), &["png"]), PathBuf::from("frame.jpg.png"));
        assert_eq!(at_home("a/~/b".into()), PathBuf::from("a/~/b"));
    }
}
