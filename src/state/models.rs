//! The models that can be chosen and the download on its way, and how both change. Knows nothing of hubs.

use std::path::PathBuf;

use crate::command::ModelsCommand;
use crate::download::{Choice, Ended, News, Offer, Progress, Step};
use crate::settings::Dtype;

/// The models that can be chosen, and the download on its way.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Models {
    /// Whether they are shown.
    pub open: bool,
    /// How their weights are held.
    pub dtype: Dtype,
    /// The hub id that is being typed.
    pub typed: String,
    /// What can be chosen; `None` until that was looked for.
    pub choices: Option<Vec<Choice>>,
    /// The download on its way.
    pub download: Option<Download>,
    /// Counts downloads: news of older ones is stale.
    pub number: u64,
}

/// A download.
#[derive(Debug, Clone, PartialEq)]
pub struct Download {
    /// The checkpoint.
    pub id: String,
    /// What will be fetched, once that is known.
    pub offer: Option<Offer>,
    /// How far it is, once it was started.
    pub progress: Option<Progress>,
    /// What goes on.
    pub stage: Stage,
}

/// What a download is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Sizes are being asked for.
    Asking,
    /// The user is shown what it would cost.
    Offered,
    /// Bytes come.
    Running,
    /// It was asked to stop.
    Stopping,
    /// It can go on.
    Paused,
    /// It failed; one line says why.
    Failed(String),
}

impl Models {
    /// Takes a worker's news.
    pub(super) fn apply(&mut self, news: News) {
        let current = self.number;
        match (news, &mut self.download) {
            (News::Choices(choices), _) => self.choices = Some(choices),
            (News::Offered { number, offer }, Some(download)) if number == current => {
                download.offer = Some(offer);
                self.typed.clear();
                download.stage = Stage::Offered;
            }
            (News::Progress { number, progress }, Some(download)) if number == current => {
                download.progress = Some(progress);
            }
            (News::Ended { number, end }, Some(download)) if number == current => match end {
                Ended::Done(_) => {
                    self.download = None;
                    self.typed.clear();
                }
                Ended::Stopped => download.stage = Stage::Paused,
                Ended::Failed(why) => download.stage = Stage::Failed(why),
            },
            _ => {}
        }
    }

    /// The checkpoint that news says is complete, if it is the one that is waited for.
    pub fn done(&self, news: &News) -> Option<(String, PathBuf)> {
        match (news, &self.download) {
            (News::Ended { number, end: Ended::Done(dir) }, Some(download)) if *number == self.number => {
                Some((download.id.clone(), dir.clone()))
            }
            _ => None,
        }
    }

    /// Carries out what a command changes here.
    pub(super) fn perform(&mut self, command: &ModelsCommand) {
        match command {
            ModelsCommand::Toggle => self.open = !self.open,
            ModelsCommand::Type(text) => self.typed.clone_from(text),
            ModelsCommand::Hold(dtype) => self.dtype = *dtype,
            ModelsCommand::Load(..) => self.open = false,
            ModelsCommand::LookUp(id) => {
                self.number += 1;
                let id = id.clone();
                self.download = Some(Download { id, offer: None, progress: None, stage: Stage::Asking });
            }
            ModelsCommand::Start => self.to(Stage::Running),
            ModelsCommand::Pause => self.to(Stage::Stopping),
            ModelsCommand::Cancel => {
                self.number += 1;
                self.download = None;
            }
        }
    }

    /// Whether a download must end, or be put away, before another can begin.
    pub fn busy(&self) -> bool {
        let stage = self.download.as_ref().map(|d| &d.stage);
        matches!(stage, Some(Stage::Asking | Stage::Running | Stage::Stopping))
    }

    fn to(&mut self, stage: Stage) {
        if let Some(download) = &mut self.download {
            download.stage = stage;
        }
    }

    /// The download in a few letters, and whether it needs looking at; nothing while there is nothing to tell.
    pub fn badge(&self) -> Option<(String, bool)> {
        let download = self.download.as_ref()?;
        let percent = download.progress.as_ref().map_or(0.0, |p| (p.share() * 100.0).floor());
        let waits = download.progress.as_ref().is_some_and(|p| matches!(p.step, Step::Waiting { .. }));
        match &download.stage {
            Stage::Asking | Stage::Offered => None,
            Stage::Running if waits => Some((format!("fetching {percent:.0} %, retrying"), true)),
            Stage::Running | Stage::Stopping => Some((format!("fetching {percent:.0} %"), false)),
            Stage::Paused => Some((format!("paused at {percent:.0} %"), false)),
            Stage::Failed(_) => Some(("download failed".to_owned(), true)),
        }
    }
}
