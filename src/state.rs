//! What the interface shows, and the only ways it changes: events from workers and commands of the user.
//! Knows nothing of threads, toolkits, files or models; times are handed in, so that tests need no clock.

mod exports;
mod film;
mod history;
mod models;
mod presets;
mod run;
mod transport;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::clip::{AudioSource, ClipSpec};
use crate::command::Command;
use crate::event::{Event, FileFacts, FileUse, ModelInfo, Outline, SoundLanes, Stage, Tracks};
use crate::exports::ExportsCommand;
use crate::prompt::{self, Draft, PromptText};
use crate::settings::{Dtype, View};
use crate::spectrum::Spectrum;

pub use exports::{Asked, Exports, Job};
pub use film::Film;
pub use models::{Download, Models, Stage as DownloadStage};
pub use presets::{Condition, QUESTIONS};
pub use run::{End, Run, Shown};
pub use transport::{SPEEDS, Selection, fit_time, speed_text};

/// Most notices kept; older ones make room.
const MOST_NOTICES: usize = 6;

/// Everything the panels read.
#[derive(Debug, Clone, Default)]
#[allow(clippy::struct_excessive_bools, reason = "what is open over the window, each for itself")]
pub struct State {
    /// What is seen and heard.
    pub clip: ClipSpec,
    /// Counts clips: media events of older ones are stale.
    pub clip_id: u64,
    /// Counts sounds: lanes of older ones are stale.
    pub sound_id: u64,
    /// Whether and how the clip is open.
    pub media: Media,
    /// What was found in the clip's file.
    pub facts: Option<FileFacts>,
    /// The audio tracks of other files that were looked into for their sound.
    pub sound_tracks: BTreeMap<PathBuf, Tracks>,
    /// The sound's lanes; `None` while they are computed or when there is nothing to hear.
    pub lanes: Option<Arc<SoundLanes>>,
    /// The outline of the whole sound, and of the video's own where another is heard.
    pub outlines: [Option<Arc<Outline>>; 2],
    /// The spectrum of the whole sound, as far as it is computed.
    pub spectrum: Option<Arc<Spectrum>>,
    /// Whether the lanes are being computed.
    pub lanes_pending: bool,
    /// The video's small pictures.
    pub film: Film,
    /// Where playback is; copied from the player before every frame.
    pub playback: Playback,
    /// The part of the time axis that is selected.
    pub selection: Option<Selection>,
    /// The words as they stand in their fields.
    pub draft: Draft,
    /// The text that the words become, once a checkpoint has laid them out.
    pub words: Option<Arc<PromptText>>,
    /// The model.
    pub model: Model,
    /// The models that can be chosen, and the one that is being fetched.
    pub models: Models,
    /// What is being saved.
    pub exports: Exports,
    /// The newest question and what came of it.
    pub run: Option<Run>,
    /// Counts requests: events of older ones are stale.
    pub epoch: u64,
    /// The answer token under the pointer.
    pub hovered: Option<usize>,
    /// The answer token whose maps are kept.
    pub locked: Option<usize>,
    /// How maps and lanes are shown.
    pub view: View,
    /// Messages that stay until dismissed, oldest first.
    pub notices: Vec<Notice>,
    /// Whether the key sheet is shown.
    pub key_sheet: bool,
    /// Whether the list of commands that is searched by typing is shown.
    pub palette: bool,
    /// Whether the window fills the screen.
    pub fullscreen: bool,
    /// The interface's time in seconds, for stage times.
    pub now_secs: f64,
    next_notice: u64,
    history: history::History,
}

/// Whether and how a clip is open.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Media {
    /// There is no clip.
    #[default]
    Empty,
    /// It is being opened.
    Opening,
    /// It can be played.
    Open {
        /// Its length in seconds, if known.
        duration_secs: Option<f64>,
        /// Whether it has a picture.
        picture: bool,
    },
    /// It could not be opened; a notice says why.
    Broken,
}

/// Where playback is.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts about the player, each shown for itself")]
pub struct Playback {
    /// The time that is heard and seen, in seconds.
    pub position_secs: f64,
    /// The clip's length in seconds; some files say it only once they have been read to their end.
    pub duration_secs: Option<f64>,
    /// Presentation time of the frame on screen, in seconds.
    pub frame_pts_secs: Option<f64>,
    /// Whether time runs.
    pub playing: bool,
    /// Seconds of the clip per second; negative while it plays backwards.
    pub speed: f64,
    /// The speed that playing begins with.
    pub chosen_speed: f64,
    /// Whether the video's own sound is heard in place of the clip's.
    pub own_sound: bool,
    /// Whether the sound is silenced.
    pub muted: bool,
    /// Loudness, 0…1.
    pub volume: f32,
    /// Whether a sound device plays; without one, time runs in silence.
    pub audible: bool,
}

impl Default for Playback {
    fn default() -> Self {
        Self {
            position_secs: 0.0,
            duration_secs: None,
            frame_pts_secs: None,
            playing: false,
            speed: 1.0,
            chosen_speed: 1.0,
            own_sound: false,
            muted: false,
            volume: 1.0,
            audible: true,
        }
    }
}

/// The model's state.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Model {
    /// None was asked for.
    #[default]
    None,
    /// Being loaded.
    Loading {
        /// What is being loaded.
        id: String,
    },
    /// Ready to answer.
    Ready(Arc<ModelInfo>),
    /// It could not be loaded; a notice says why.
    Failed,
}

/// A message that stays until it is dismissed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// For [`Command::Dismiss`].
    pub id: u64,
    /// Whether something failed (or is only worth knowing).
    pub error: bool,
    /// One line.
    pub text: String,
    /// The form of the model that would leave more memory, where that is a way out.
    pub smaller: Option<Dtype>,
}

impl State {
    /// Takes a worker's message. `now_secs` is the interface's time.
    pub fn apply(&mut self, event: Event, now_secs: f64) {
        self.now_secs = now_secs;
        match event {
            Event::ModelLoading { id } => {
                self.words = None;
                self.model = Model::Loading { id };
            }
            Event::ModelReady(info) => self.model = Model::Ready(info),
            Event::ModelFailed { message } => {
                self.model = Model::Failed;
                self.notice(true, format!("The model could not be loaded: {message}"));
            }
            Event::ModelLost => self.model = Model::Failed,
            Event::Stage { epoch, stage } => {
                if let Some(run) = self.run_of(epoch) {
                    run.stages.push((stage, now_secs));
                }
            }
            Event::Prompt { epoch, provenance } => {
                if let Some(run) = self.run_of(epoch) {
                    run.provenance = Some(provenance);
                }
            }
            Event::Fed { epoch, fed } => {
                if let Some(run) = self.run_of(epoch) {
                    run.fed = Some(fed);
                }
            }
            Event::Token { epoch, token } => {
                if let Some(run) = self.run_of(epoch) {
                    run.tokens.push(token);
                }
            }
            Event::TokenMap { epoch, index, map } => {
                if let Some(run) = self.run_of(epoch).filter(|run| run.maps.len() == index) {
                    run.add_map(map);
                }
            }
            Event::Answered { epoch, answer } => {
                if let Some(run) = self.run_of(epoch) {
                    run.end = Some(End::Answered(answer));
                    run.stages.push((Stage::Answer, now_secs));
                }
            }
            Event::AskStopped { epoch } => {
                if let Some(run) = self.run_of(epoch) {
                    run.end = Some(End::Stopped);
                    run.stages.push((Stage::Answer, now_secs));
                }
            }
            Event::AskFailed { epoch, message, smaller } => {
                if let Some(run) = self.run_of(epoch) {
                    let stopped = run.stopping;
                    run.end = Some(if stopped { End::Stopped } else { End::Failed });
                    run.stages.push((Stage::Answer, now_secs));
                    if !stopped {
                        self.notice(true, format!("No answer: {message}"));
                        if let Some(notice) = self.notices.last_mut() {
                            notice.smaller = smaller;
                        }
                    }
                }
            }
            Event::FileChosen { .. } | Event::TextDropped { .. } | Event::LeftAt { .. } | Event::FrameReady => {}
            Event::ClipOpened { clip_id, duration_secs, picture } => {
                if clip_id == self.clip_id {
                    self.media = Media::Open { duration_secs, picture };
                }
            }
            Event::Lanes { sound_id, lanes } => {
                if sound_id == self.sound_id {
                    self.lanes = lanes;
                    self.lanes_pending = false;
                }
            }
            Event::Outline { sound_id, own, outline } => {
                if sound_id == self.sound_id {
                    self.outlines[usize::from(own)] = outline;
                }
            }
            Event::Film { clip_id, news } => {
                if clip_id == self.clip_id {
                    self.film.apply(news);
                }
            }
            Event::Spectrum { sound_id, spectrum } => {
                if sound_id == self.sound_id {
                    self.spectrum = Some(spectrum);
                }
            }
            Event::Words { prompt, text } => {
                if prompt == self.draft.prompt() {
                    self.words = Some(text);
                }
            }
            Event::Models(news) => self.models.apply(news),
            Event::Export { number, news } => self.apply_export(number, news, now_secs),
            Event::Note { message } => self.notice(false, message),
            Event::ClipFailed { clip_id, message } => {
                if clip_id == self.clip_id {
                    if self.media == Media::Opening {
                        self.media = Media::Broken;
                    }
                    self.notice(true, message);
                }
            }
            Event::Failed { message } => self.notice(true, message),
        }
    }

    /// Carries out what a command changes here; what it asks of workers is the application's business.
    pub fn perform(&mut self, command: &Command) {
        match command {
            Command::Hover(token) => self.hovered = *token,
            Command::Lock(token) => self.locked = *token,
            Command::SetView(view) => self.view = **view,
            Command::ToggleModelView => self.view.model_view = !self.view.model_view,
            Command::LookAtFilm(view) => self.film.look(*view),
            Command::ToggleHeat => self.view.heat = !self.view.heat,
            Command::ToggleKeySheet => self.key_sheet = !self.key_sheet,
            Command::TogglePalette => self.palette = !self.palette,
            Command::ToggleFullscreen => self.fullscreen = !self.fullscreen,
            Command::Escape => {
                if self.palette {
                    self.palette = false;
                } else if self.exports.asked.is_some() {
                    self.exports.asked = None;
                } else if self.models.open {
                    self.models.open = false;
                } else if self.key_sheet {
                    self.key_sheet = false;
                } else if self.fullscreen {
                    self.fullscreen = false;
                } else {
                    self.locked = None;
                }
            }
            Command::Stop => {
                if let Some(run) = &mut self.run {
                    run.stopping = true;
                }
            }
            Command::Models(command) => self.models.perform(command),
            Command::Exports(command) => self.perform_export(command),
            Command::Dismiss(id) => self.notices.retain(|n| n.id != *id),
            _ => {
                self.perform_transport(command);
                self.perform_edit(command);
            }
        }
    }

    /// Begins a new clip; returns its number.
    pub fn begin_clip(&mut self, clip: ClipSpec, facts: FileFacts) -> u64 {
        self.clip = clip;
        self.clip_id += 1;
        self.sound_id += 1;
        self.media = Media::Opening;
        self.facts = Some(facts);
        self.lanes = None;
        self.outlines = [None, None];
        self.spectrum = None;
        self.film = Film::default();
        self.lanes_pending = true;
        self.playback.duration_secs = None;
        self.view.timeline = None;
        self.selection = None;
        self.forget_history();
        self.run = None;
        self.hovered = None;
        self.locked = None;
        self.clip_id
    }

    /// Begins a new question about the clip as it is; returns its number.
    pub fn begin_run(&mut self, now_secs: f64) -> u64 {
        self.epoch += 1;
        let mut run = Run::new(self.epoch, self.clip.clone(), self.draft.prompt(), now_secs);
        run.model = if let Model::Ready(info) = &self.model { Some(Arc::clone(info)) } else { None };
        self.run = Some(run);
        self.hovered = None;
        self.locked = None;
        self.epoch
    }

    /// Adds a message; the same one again replaces the earlier, and what follows from an error that is shown already
    /// is not told apart from it.
    pub fn notice(&mut self, error: bool, text: String) {
        if !error && self.notices.iter().any(|n| n.error && text.contains(&n.text)) {
            return;
        }
        self.notices.retain(|n| n.text != text && (n.error || !error || !n.text.contains(&text)));
        self.notices.push(Notice { id: self.next_notice, error, text, smaller: None });
        self.next_notice += 1;
        if self.notices.len() > MOST_NOTICES {
            // An error stays longer than what is only worth knowing.
            let least = self.notices.iter().position(|n| !n.error).unwrap_or(0);
            self.notices.remove(least);
        }
    }

    /// What media stand before the words.
    pub fn prompt_media(&self) -> prompt::Media {
        let facts = self.facts.as_ref();
        let picture = self.clip.video.is_some() && facts.is_some_and(|f| f.picture);
        let still = picture && facts.is_some_and(|f| f.still);
        let sound = match self.clip.audio {
            AudioSource::None => false,
            AudioSource::Original { .. } => !still && facts.is_some_and(|f| f.sound),
            AudioSource::File { .. } | AudioSource::Silence | AudioSource::Noise { .. } => true,
        };
        prompt::Media { picture, still, sound }
    }

    /// The tracks of the file that the sound comes from, and which of them it is; `None` where it comes from none.
    pub fn tracks(&self) -> Option<(&Tracks, usize)> {
        let (tracks, chosen) = match &self.clip.audio {
            AudioSource::Original { track } => (&self.facts.as_ref()?.tracks, *track),
            AudioSource::File { path, track } => {
                let own = self.facts.as_ref().filter(|facts| facts.path == *path).map(|facts| &facts.tracks);
                (own.or_else(|| self.sound_tracks.get(path))?, *track)
            }
            AudioSource::None | AudioSource::Silence | AudioSource::Noise { .. } => return None,
        };
        Some((tracks, chosen.unwrap_or(tracks.played)))
    }

    /// Whether something lies over the window that has the keys.
    pub fn is_covered(&self) -> bool {
        self.models.open || self.key_sheet || self.palette || self.exports.asked.is_some()
    }

    /// Whether a command would do anything now: what would not is not offered.
    pub fn can(&self, command: &Command) -> bool {
        let open = matches!(self.media, Media::Open { .. });
        let has = |what: fn(&FileFacts) -> bool| self.facts.as_ref().is_some_and(what);
        let video = open && self.clip.video.is_some() && has(|f| f.picture);
        match command {
            Command::SetAudio(AudioSource::Original { .. }) => video && has(|f| f.sound && !f.still),
            Command::SetAudio(AudioSource::Silence | AudioSource::Noise { .. }) => video && has(|f| !f.still),
            Command::SetAudio(AudioSource::None)
            | Command::SetFrames(_)
            | Command::ToggleModelView
            | Command::SaveFrame(_) => video,
            Command::SetAudio(AudioSource::File { .. })
            | Command::Choose(FileUse::Sound)
            | Command::TogglePlay
            | Command::Halt
            | Command::Shuttle(_)
            | Command::StepSpeed(_)
            | Command::SetSpeed(_)
            | Command::StepFrame(_)
            | Command::Skip(_)
            | Command::Home
            | Command::End
            | Command::SelectFrom
            | Command::SelectTo
            | Command::ZoomTime(_)
            | Command::HearOwnSound(_)
            | Command::ToggleMute
            | Command::StepVolume(_) => open,
            Command::Select(None) | Command::ToggleLoop | Command::UseSelection | Command::ShowSelection => {
                self.selection.is_some()
            }
            Command::UsePart(None) => self.clip.start_secs.is_some() || self.clip.end_secs.is_some(),
            Command::ShowAllTime => self.view.timeline.is_some(),
            Command::Undo => self.can_undo()[0],
            Command::Redo => self.can_undo()[1],
            Command::Ask => self.why_not_ask().is_none(),
            Command::Stop => self.run.as_ref().is_some_and(Run::running),
            Command::Exports(ExportsCommand::Video(_)) => self.why_not_export().is_none(),
            _ => true,
        }
    }

    /// Why the model cannot be asked now; `None` when it can.
    pub fn why_not_ask(&self) -> Option<&'static str> {
        match &self.model {
            Model::None => Some("no model is loaded"),
            Model::Loading { .. } => Some("the model is still being loaded"),
            Model::Failed => Some("the model could not be loaded"),
            Model::Ready(_) if self.draft.prompt().user_text().text.is_empty() => Some("there is no question"),
            Model::Ready(_) if matches!(self.media, Media::Opening) => Some("the clip is still being opened"),
            Model::Ready(_) if matches!(self.media, Media::Broken) => Some("the clip could not be opened"),
            Model::Ready(_) => None,
        }
    }

    /// The clip's length in seconds, as far as it is known by now.
    pub fn duration_secs(&self) -> Option<f64> {
        match self.media {
            Media::Open { duration_secs, .. } => self.playback.duration_secs.or(duration_secs),
            _ => None,
        }
    }

    /// The name of the clip for the title line.
    pub fn title(&self) -> Option<String> {
        self.clip.file().map(file_name)
    }

    fn run_of(&mut self, epoch: u64) -> Option<&mut Run> {
        self.run.as_mut().filter(|run| run.epoch == epoch && run.end.is_none())
    }
}

/// The last part of a path, as shown to people.
pub fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned())
}

/// The file a sound comes from, when it is not the clip's own.
pub fn sound_file(audio: &AudioSource) -> Option<&PathBuf> {
    match audio {
        AudioSource::File { path, .. } => Some(path),
        _ => None,
    }
}
