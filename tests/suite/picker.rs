//! The models' sheet through its accessible names, with real parts and a server that plays the hub: from a typed name to
//! an answer, with everything in between that goes wrong. Nothing sleeps: pauses between tries wait for the test.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use modalens::app::{App, Options};
use modalens::command::Command;
use modalens::download::{ChoiceKind, Step};
use modalens::engine::LoadOptions;
use modalens::event::Event;
use modalens::media::{ManualOutput, Output};
use modalens::model::hub::{Hub, System};
use modalens::settings::Dtype;
use modalens::state::{DownloadStage, End, Model, State};

use crate::checkpoint::fixture;
use crate::hub::{FIRST, Fault, NAME, SECOND, Server};

/// Longest wait for a worker: only a hang takes this long.
const HANG: Duration = Duration::from_mins(2);

struct Window {
    harness: Harness<'static, App>,
    server: Server,
    cache: tempfile::TempDir,
    /// Dropped to let every wait between two tries end.
    gate: Option<Sender<()>>,
}

impl Window {
    fn open(change: impl FnOnce(&mut Hub)) -> Self {
        let server = Server::start();
        let cache = tempfile::tempdir().unwrap();
        let (gate, wait): (Sender<()>, Receiver<()>) = unbounded();
        let system = System {
            wait: Arc::new(move |_| {
                let _ = wait.recv_timeout(HANG);
            }),
            ..System::default()
        };
        let mut hub = Hub {
            cache: cache.path().join("hub"),
            endpoint: server.endpoint(),
            token: None,
            authorities: None,
            offline: false,
            system,
        };
        change(&mut hub);
        let mut options = Options::new(None, Ok(LoadOptions::new(fixture())));
        options.output = Output::Manual(ManualOutput::default());
        options.hub = hub;
        let harness = Harness::builder()
            .with_size([1280.0, 720.0])
            .with_render_cursor(false)
            .allow_missing_glyphs()
            .wgpu()
            .build_eframe(|cc| App::new(cc, options));
        Self { harness, server, cache, gate: Some(gate) }
    }

    fn state(&self) -> &State {
        self.harness.state().state()
    }

    fn stage(&self) -> Option<&DownloadStage> {
        self.state().models.download.as_ref().map(|d| &d.stage)
    }

    fn until(&mut self, what: &str, done: impl Fn(&State) -> bool) {
        loop {
            self.harness.step();
            if done(self.state()) {
                self.harness.run_steps(2);
                return;
            }
            assert!(
                self.harness.state_mut().wait_for_event(HANG),
                "nothing more happened while waiting for {what}: {:?}",
                self.state().models
            );
        }
    }

    fn click(&mut self, label: &str) {
        self.harness.get_by_label(label).click();
        self.harness.run_steps(2);
    }

    fn shows(&self, part: &str) -> bool {
        self.harness.query_all_by_label_contains(part).next().is_some()
    }

    /// Opens the sheet by its key, and types a hub id.
    fn look_up(&mut self, id: &str) {
        self.harness.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::L);
        self.until("the models", |s| s.models.open && s.models.choices.is_some());
        self.harness.get_by_role_and_label(egui::Role::TextInput, "Hub id").focus();
        self.harness.run_steps(2);
        self.harness.get_by_role_and_label(egui::Role::TextInput, "Hub id").type_text(id);
        self.harness.run_steps(2);
        self.harness.key_press(egui::Key::Enter);
        self.harness.run_steps(2);
    }
}

fn ready(state: &State, id: &str) -> bool {
    matches!(&state.model, Model::Ready(info) if info.id == id)
}

fn offered(state: &State) -> bool {
    state.models.download.as_ref().is_some_and(|d| d.stage == DownloadStage::Offered)
}

fn waits(state: &State) -> bool {
    let progress = state.models.download.as_ref().and_then(|d| d.progress.as_ref());
    progress.is_some_and(|p| matches!(p.step, Step::Waiting { .. }))
}

#[test]
fn a_checkpoint_is_found_fetched_paused_resumed_loaded_and_answers() {
    let mut w = Window::open(|_| {});
    let first = fixture().display().to_string();
    w.until("the first model", |s| ready(s, &first));

    // Opening the sheet asks nobody.
    w.harness.query_all_by_label_contains("Model: ").next().unwrap().click();
    w.until("the models", |s| s.models.choices.is_some());
    let kinds: Vec<_> = w.state().models.choices.as_ref().unwrap().iter().map(|c| (c.id.clone(), c.kind)).collect();
    let suggested = |name: &str| (format!("Qwen/Qwen2.5-Omni-{name}"), ChoiceKind::Suggested);
    assert_eq!(kinds, [("bundled".to_owned(), ChoiceKind::Bundled), suggested("3B"), suggested("7B")]);
    assert!(w.shows("9.41 GB or more to fetch") && w.shows("Load bundled") && w.shows("Open folder…"));
    assert!(w.shows("f16"), "what it needs is said");
    assert_eq!(w.server.requests(), 0);
    w.harness.key_press(egui::Key::Escape);
    w.harness.run_steps(2);
    assert!(!w.state().models.open && !w.shows("Open folder…"));

    // What it costs is shown before a byte of the weights comes.
    w.look_up(NAME);
    w.until("the offer", offered);
    assert!(w.shows("to fetch in 12 files") && w.shows("free on the disk"));
    assert!(w.server.ranges(FIRST).is_empty());

    // A retry is shown; then it is paused, and goes on where it was.
    w.server.fault(FIRST, [Fault::Cut(20_000), Fault::Status(503, "")]);
    w.harness.query_all_by_label_contains("Fetch 6").next().unwrap().click();
    w.until("the retry", waits);
    assert!(w.shows("trying again in 1 s (1 of 6)"));
    w.click("Pause");
    drop(w.gate.take());
    w.until("the pause", |s| s.models.download.as_ref().is_some_and(|d| d.stage == DownloadStage::Paused));
    assert!(ready(w.state(), &first), "the old model is still there");
    // Also without the sheet it can be seen.
    w.harness.key_press(egui::Key::Escape);
    w.harness.run_steps(2);
    assert!(w.shows("paused at "));
    w.harness.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::L);
    w.harness.run_steps(3);
    w.click("Resume");
    w.until("the new model", |s| ready(s, NAME));
    assert_eq!(w.server.ranges(FIRST).last().unwrap().as_deref(), Some("bytes=20000-"));
    assert!(w.stage().is_none() && w.state().notices.is_empty(), "{:?}", w.state().notices);
    w.until("the new list", |s| s.models.choices.as_ref().unwrap().iter().any(|c| c.id == NAME));
    assert!(w.shows("In use"));

    // It answers.
    w.harness.key_press(egui::Key::Escape);
    w.harness.run_steps(2);
    w.click("Ask");
    w.until("the answer", |s| s.run.as_ref().is_some_and(|r| r.end.is_some()));
    assert!(matches!(w.state().run.as_ref().unwrap().end, Some(End::Answered(_))), "{:?}", w.state().notices);

    // Another one is one click away, and this one is here without asking again.
    let asked = w.server.requests();
    w.harness.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::L);
    w.harness.run_steps(3);
    w.click("Load bundled");
    w.until("the bundled model", |s| ready(s, "bundled"));
    w.look_up(NAME);
    w.until("the cached model", |s| ready(s, NAME));
    assert_eq!(w.server.requests(), asked);
}

#[test]
fn what_fails_stays_until_dismissed_and_the_old_model_runs_on() {
    let mut w = Window::open(|_| {});
    drop(w.gate.take());
    let first = fixture().display().to_string();
    w.until("the first model", |s| ready(s, &first));
    let failed = |s: &State| matches!(s.models.download.as_ref().map(|d| &d.stage), Some(DownloadStage::Failed(_)));

    for (id, words) in [("nonsense", "is no hub id"), ("tiny/nothing", "no model tiny/nothing")] {
        w.look_up(id);
        w.until("the failure", failed);
        assert!(w.shows(words), "{:?}", w.stage());
        w.harness.key_press(egui::Key::Escape);
        w.harness.run_steps(2);
        assert!(w.shows("download failed"));
        w.harness.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::L);
        w.harness.run_steps(3);
        w.click("Dismiss");
        assert!(w.stage().is_none());
        w.harness.get_by_role_and_label(egui::Role::TextInput, "Hub id").focus();
        w.harness.run_steps(2);
        w.harness.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::A);
        w.harness.key_press(egui::Key::Backspace);
        w.harness.run_steps(2);
        w.harness.key_press(egui::Key::Escape);
        w.harness.run_steps(2);
    }

    // A damaged file is named, can be copied, and is fetched again.
    w.server.fault(SECOND, [Fault::Garble]);
    w.look_up(NAME);
    w.until("the offer", offered);
    w.harness.query_all_by_label_contains("Fetch 6").next().unwrap().click();
    w.until("the failure", failed);
    assert!(w.shows("arrived damaged") && w.shows(SECOND));
    let Some(DownloadStage::Failed(why)) = w.stage().cloned() else { unreachable!() };
    w.harness.get_by_label("Copy").click();
    let copied = (0..5).any(|_| {
        w.harness.step();
        let commands = &w.harness.output().platform_output.commands;
        commands.iter().any(|c| matches!(c, egui::OutputCommand::CopyText(t) if *t == why))
    });
    assert!(copied, "nothing was copied");
    w.click("Try again");
    w.until("the offer", offered);
    assert!(w.shows("to fetch of"), "what came is not fetched again");
    w.click("Cancel");
    assert!(w.stage().is_none());

    // What came is in the list, to go on with.
    w.harness.key_press(egui::Key::Escape);
    w.harness.run_steps(2);
    w.harness.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::L);
    w.until("the part", |s| {
        s.models.choices.as_ref().unwrap().iter().any(|c| c.id == NAME && c.kind == ChoiceKind::Partial)
    });
    assert!(w.shows("not complete") && w.shows("Resume… tiny/thinker"));
    w.harness.key_press(egui::Key::Escape);
    w.harness.run_steps(2);

    // Folders that are no checkpoints, found out early and late: the old model stays, or comes back, and answers.
    let late = w.cache.path().join("late");
    std::fs::create_dir(&late).unwrap();
    for entry in std::fs::read_dir(fixture()).unwrap().flatten() {
        std::fs::copy(entry.path(), late.join(entry.file_name())).unwrap();
    }
    std::fs::write(late.join("model.safetensors"), [0; 100]).unwrap();
    for (folder, words) in [(w.cache.path().to_owned(), "config.json"), (late, "model.safetensors")] {
        let load = modalens::command::ModelsCommand::Load("broken".to_owned(), folder);
        w.harness.state_mut().perform(&modalens::command::Command::Models(load));
        w.until("the error", |s| s.notices.iter().any(|n| n.error && n.text.contains(words)) && ready(s, &first));
    }
    w.click("Ask");
    w.until("the answer", |s| s.run.as_ref().is_some_and(|r| r.end.is_some()));
    assert!(matches!(w.state().run.as_ref().unwrap().end, Some(End::Answered(_))));
}

#[test]
fn a_disk_that_is_too_small_is_said_before_it_starts() {
    let mut w = Window::open(|hub| hub.system.free_bytes = Arc::new(|_: &Path| Some(1000)));
    w.look_up(NAME);
    w.until("the offer", offered);
    assert!(w.shows("1.00 kB free on the disk") && w.shows("must be free"));
    w.harness.query_all_by_label_contains("Fetch 6").next().unwrap().click();
    w.harness.run_steps(3);
    assert_eq!(w.stage(), Some(&DownloadStage::Offered), "there is nothing to press");
    assert!(w.server.ranges(FIRST).is_empty());
}

#[test]
fn weights_are_held_as_chosen_and_smaller_where_memory_lacks() {
    let mut w = Window::open(|_| {});
    let dtype = |s: &State| match &s.model {
        Model::Ready(info) => info.dtype.clone(),
        _ => String::new(),
    };
    w.until("the model", |s| dtype(s) == "f32");
    w.harness.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::L);
    w.until("the models", |s| s.models.open);
    let place = |w: &Window| w.harness.get_by_role_and_label(egui::Role::ComboBox, "Weights as").rect();
    let before = place(&w);
    w.until("the list", |s| s.models.choices.is_some());
    assert_eq!(place(&w), before, "the sheet moved under the pointer");
    let weights = |w: &mut Window| {
        w.harness.get_by_role_and_label(egui::Role::ComboBox, "Weights as").click();
        w.harness.run_steps(2);
    };
    weights(&mut w);
    w.click("q8_0");
    w.until("the model as q8_0", |s| dtype(s) == "q8_0");
    // Escape closes what is open, one after the other.
    weights(&mut w);
    w.harness.key_press(egui::Key::Escape);
    w.harness.run_steps(2);
    assert!(w.state().models.open && !w.shows("q4k"));
    w.harness.key_press(egui::Key::Escape);
    w.harness.run_steps(2);
    assert!(!w.state().models.open);

    // A device without room: the way out is a button, and what it loads is what stays.
    w.harness.state_mut().perform(&Command::Ask);
    let epoch = w.state().epoch;
    let message = "cpu ran out of memory".to_owned();
    w.harness.state_mut().apply(Event::AskFailed { epoch, message, smaller: Some(Dtype::Q4K) });
    w.harness.run_steps(2);
    w.click("Hold the model as q4k");
    w.until("the model as q4k", |s| dtype(s) == "q4k");
    assert!(w.state().notices.iter().all(|n| n.smaller.is_none()));
}
