//! Which model is loaded: in the engine, from a folder, through the picker's commands. Knows nothing of how models are
//! fetched or loaded.

use std::path::PathBuf;

use super::App;
use crate::command::ModelsCommand;
use crate::engine::LoadOptions;
use crate::event::Event;
use crate::state::Model;

impl App {
    /// Has a model loaded in the place of the one there is.
    pub(super) fn load(&mut self, model: LoadOptions) {
        self.state.apply(Event::ModelLoading { id: model.id.clone() }, 0.0);
        self.asked_for = Some(model.clone());
        if let Some(engine) = &self.engine {
            engine.load(model);
        }
    }

    /// Loads a checkpoint in the place of the one there is, in the same way.
    pub(super) fn load_folder(&mut self, id: String, dir: PathBuf) {
        self.load(LoadOptions { dir, id, ..self.loading.clone() });
    }

    /// Does what a command of the model picker asks of workers.
    pub(super) fn models(&mut self, command: &ModelsCommand) {
        let notify = self.notify();
        match command {
            ModelsCommand::Toggle if self.state.models.open => {
                self.downloads.list(self.loading.device, notify);
            }
            ModelsCommand::Hold(dtype) => {
                self.loading.hold = (*dtype).into();
                // The one that is on its way, else the one that is there.
                match (&self.asked_for, &self.state.model) {
                    (Some(model), _) => self.load_folder(model.id.clone(), model.dir.clone()),
                    (None, Model::Ready(info)) => self.load_folder(info.id.clone(), info.dir.clone()),
                    _ => {}
                }
            }
            ModelsCommand::Load(id, dir) => self.load_folder(id.clone(), dir.clone()),
            ModelsCommand::LookUp(id) => self.downloads.look_up(self.state.models.number, id.clone(), notify),
            ModelsCommand::Start => self.downloads.start(self.state.models.number, notify),
            ModelsCommand::Pause | ModelsCommand::Cancel => self.downloads.stop(),
            ModelsCommand::Toggle | ModelsCommand::Type(_) => {}
        }
    }
}
