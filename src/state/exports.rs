//! The video that is being written, and the path that is typed where no dialog can be shown. Knows nothing of files or
//! encoders.

use std::path::{Path, PathBuf};

use super::{State, file_name};
use crate::exports::{ExportNews, ExportsCommand, Saving};
use crate::time::Span;

/// What is being saved.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exports {
    /// The video that is being written, or for which a dialog is open.
    pub job: Option<Job>,
    /// The path that is asked for in the window.
    pub asked: Option<Asked>,
    number: u64,
    /// The notice about what was saved last.
    told: Option<u64>,
}

/// A video that is being written.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its number: news of older ones is stale.
    pub number: u64,
    /// The file, once it is known.
    pub path: Option<PathBuf>,
    /// Frames written, and frames in all (0 before that is known).
    pub frames: [usize; 2],
    /// When writing began, on the interface's clock.
    pub began_secs: f64,
    /// The user asked to stop it.
    pub stopping: bool,
}

/// A path that is typed, because no dialog can be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What is to be saved.
    pub what: Saving,
    /// The path as it is typed.
    pub path: String,
}

impl Job {
    /// The share that is done, 0…1.
    pub fn share(&self) -> f32 {
        let [done, all] = self.frames;
        if all == 0 { 0.0 } else { done as f32 / all as f32 }
    }

    /// Frames per second so far, once it can be told.
    pub fn fps(&self, now_secs: f64) -> Option<f64> {
        let secs = now_secs - self.began_secs;
        (self.frames[0] > 0 && secs > 0.25).then(|| self.frames[0] as f64 / secs)
    }

    /// `42 %  ·  128 of 300 frames  ·  31 frames/s  ·  6 s left`.
    pub fn line(&self, now_secs: f64) -> String {
        let [done, all] = self.frames;
        if self.stopping {
            return "Stopping…".to_owned();
        }
        if all == 0 {
            return "Preparing…".to_owned();
        }
        let mut parts = vec![format!("{:.0} %", self.share() * 100.0), format!("{done} of {all} frames")];
        if let Some(fps) = self.fps(now_secs) {
            parts.push(if fps < 9.95 { format!("{fps:.1} frames/s") } else { format!("{fps:.0} frames/s") });
            let left = (all - done.min(all)) as f64 / fps;
            parts.push(if done >= all { "finishing…".to_owned() } else { format!("{} left", duration(left)) });
        }
        parts.join("  ·  ")
    }
}

/// `8 s`, `2 min 05 s`, `1 h 12 min`.
fn duration(secs: f64) -> String {
    let secs = secs.max(0.0).ceil() as u64;
    match secs {
        0..60 => format!("{secs} s"),
        60..3_600 => format!("{} min {:02} s", secs / 60, secs % 60),
        _ => format!("{} h {:02} min", secs / 3_600, secs / 60 % 60),
    }
}

impl State {
    /// Why no video can be written now; `None` when one can.
    pub fn why_not_export(&self) -> Option<&'static str> {
        let run = self.run.as_ref().filter(|run| !run.maps.is_empty());
        match run {
            _ if self.exports.job.is_some() => Some("A video is being written already"),
            None => Some("Ask a question first: the video shows where its answer looked"),
            Some(run) if run.running() => Some("The answer is still being given"),
            Some(run) if run.clip.video.is_none() && run.clip.audio == crate::clip::AudioSource::None => {
                Some("The answer was about words alone: there is nothing to show")
            }
            Some(_) => None,
        }
    }

    /// The part that a video would show: what is selected; `None` = the part that was asked about.
    pub fn export_span(&self) -> Option<Span> {
        self.selection.map(|s| s.span)
    }

    /// The name that is proposed for a file about this clip: the clip's, what it shows, and the part.
    pub fn export_name(&self) -> String {
        let clip = self.run.as_ref().map_or(&self.clip, |run| &run.clip);
        let stem =
            clip.file().and_then(Path::file_stem).map_or_else(|| "clip".to_owned(), |s| s.to_string_lossy().into());
        let token = self.focus().map_or_else(String::new, |t| format!(" token {}", t + 1));
        let part = self.export_span().map_or_else(String::new, |s| format!(" {:.2}-{:.2} s", s.start_secs, s.end_secs));
        format!("{stem} attention{token}{part}.mp4")
    }

    /// Begins to write a video; returns its number.
    pub fn begin_export(&mut self) -> u64 {
        self.exports.number += 1;
        self.exports.asked = None;
        let number = self.exports.number;
        self.exports.job = Some(Job { number, path: None, frames: [0, 0], began_secs: self.now_secs, stopping: false });
        number
    }

    /// Takes news of what is being saved. News of a frame has number 0.
    pub(super) fn apply_export(&mut self, number: u64, news: ExportNews, now_secs: f64) {
        if number != 0 && self.exports.job.as_ref().is_none_or(|job| job.number != number) {
            return;
        }
        match news {
            ExportNews::NoDialog { what, proposal } => {
                if what == Saving::Video {
                    self.exports.job = None;
                }
                self.exports.asked = Some(Asked { what, path: proposal.display().to_string() });
            }
            ExportNews::NotNow | ExportNews::Stopped if number == 0 => {}
            ExportNews::NotNow => self.exports.job = None,
            ExportNews::Stopped => {
                let name = self.exports.job.take().and_then(|job| job.path).map(|p| file_name(&p));
                let name = name.unwrap_or_else(|| "The video".to_owned());
                self.notice(false, format!("{name} was not written: stopped. Nothing was left behind."));
            }
            ExportNews::Begun { path } => {
                if let Some(job) = &mut self.exports.job {
                    job.path = Some(path);
                    job.began_secs = now_secs;
                }
            }
            ExportNews::Progress { done, all } => {
                if let Some(job) = &mut self.exports.job {
                    if job.frames[1] == 0 {
                        // Reading the sound before the first frame is no measure of the rest.
                        job.began_secs = now_secs;
                    }
                    job.frames = [done, all];
                }
            }
            ExportNews::Done { message } => {
                if number != 0 {
                    self.exports.job = None;
                }
                // One line about what was saved last: they would soon take the picture's place.
                if let Some(id) = self.exports.told.take() {
                    self.notices.retain(|n| n.id != id);
                }
                self.notice(false, message);
                self.exports.told = self.notices.last().map(|n| n.id);
            }
            ExportNews::Failed { message } => {
                if number != 0 {
                    self.exports.job = None;
                }
                self.notice(true, message);
            }
        }
    }

    /// Carries out what a command changes here.
    pub(super) fn perform_export(&mut self, command: &ExportsCommand) {
        match command {
            ExportsCommand::Video(_) => {}
            ExportsCommand::Stop => {
                // Where a dialog is open nothing is written yet; its answer will be stale.
                self.exports.job.take_if(|job| job.path.is_none());
                if let Some(job) = &mut self.exports.job {
                    job.stopping = true;
                }
            }
            ExportsCommand::Type(path) => {
                if let Some(asked) = &mut self.exports.asked {
                    asked.path.clone_from(path);
                }
            }
            ExportsCommand::PutAway => self.exports.asked = None,
        }
    }
}
