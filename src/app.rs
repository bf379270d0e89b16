//! The composition root of the window: wires playback, engine, dialogs and panels together. The only part of the
//! window that knows threads; everything it is told goes through [`State::apply`], everything it is asked through
//! [`Command`]s. It deliberately draws nothing itself.

mod clips;
mod downloads;
mod exports;
mod film;
mod folders;
mod fonts;
mod models;
mod places;
mod roll;
mod shelf;
mod spectrum;
mod stats;
mod transport;
mod workers;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::Result;
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::command::{Command, ModelsCommand};
use crate::engine::{Engine, LoadOptions, Words};
use crate::event::{Event, FileUse, ModelInfo, Request};
use crate::media::{Output, Playback};
use crate::model::hub::{Hub, HubId};
use crate::prompt::Draft;
use crate::settings::{Decoding, Sampling};
use crate::state::{Media, Model, Run, State};
use crate::ui;

use downloads::Downloads;
use exports::Exporter;
use film::FilmReader;
use places::Places;
use shelf::Shelf;
use stats::FrameStats;
use workers::{Files, SoundReader};

/// Events taken per frame: a burst of tokens never makes a long frame.
const EVENTS_PER_FRAME: usize = 128;
/// Events on their way; a worker that is further ahead waits.
const QUEUE: usize = 1024;
/// How often the window repaints while an answer is being made, for the stage times.
const TICK: Duration = Duration::from_millis(100);
/// How often the playhead moves where there is no picture to keep time with.
const PLAYHEAD_TICK: Duration = Duration::from_millis(33);

/// What the window starts with.
pub struct Options {
    /// A file to open.
    pub file: Option<PathBuf>,
    /// A file whose sound takes the place of that file's own.
    pub sound: Option<PathBuf>,
    /// The model to load, or why there is none.
    pub model: Result<LoadOptions, String>,
    /// Where sound goes.
    pub output: Output,
    /// The file that remembers where long clips were left; `None` remembers nothing.
    pub places: Option<PathBuf>,
    /// The hub that models are fetched from, and its cache.
    pub hub: Hub,
    /// A checkpoint of the hub to look up first.
    pub fetch: Option<HubId>,
    /// The folder that keeps what was computed about long sounds; `None` keeps nothing.
    pub cache: Option<PathBuf>,
    /// Play, seek, ask again and again, print what a frame costs and how far picture and sound are apart after so many
    /// seconds, and end.
    pub frame_stats_secs: Option<f64>,
}

impl Options {
    /// A window with `model` that leaves one core to the interface and gives way to it.
    pub fn new(file: Option<PathBuf>, model: Result<LoadOptions, String>) -> Self {
        let model = model.map(background);
        Self {
            file,
            sound: None,
            model,
            output: Output::Device,
            places: None,
            cache: None,
            hub: Hub::from_env(),
            fetch: None,
            frame_stats_secs: None,
        }
    }
}

/// Leaves one core to the interface and gives way to it.
fn background(model: LoadOptions) -> LoadOptions {
    LoadOptions { threads: model.threads.or_else(spare_threads), background: true, ..model }
}

/// All cores but one, so that decoding and drawing have theirs.
fn spare_threads() -> Option<usize> {
    std::thread::available_parallelism().ok().map(|n| n.get().saturating_sub(1).max(1))
}

/// The window's application.
pub struct App {
    // Dropped first: a worker that waits for room in the queue is let go before it is joined.
    events: Receiver<Event>,
    sender: Sender<Event>,
    state: State,
    memory: ui::Memory,
    player: Option<Playback>,
    engine: Option<Engine>,
    output: Output,
    dialog_open: Arc<AtomicBool>,
    files: Files,
    /// The words that were laid out last, and by which model.
    laid_out: Option<(Words, Arc<ModelInfo>)>,
    downloads: Downloads,
    exporter: Exporter,
    /// How models are loaded: where, in which form, on how many threads.
    loading: LoadOptions,
    /// The model that was asked for and is not settled yet.
    asked_for: Option<LoadOptions>,
    /// The one that the engine is loading, or loaded last.
    attempt: String,
    places: Places,
    film: FilmReader,
    sounds: SoundReader,
    fullscreen: bool,
    /// What the window manager says of it.
    fills_screen: bool,
    /// Where playback was when the window was drawn last.
    seen_secs: f64,
    /// Where a clip was left that is not open yet.
    left_at: Option<(u64, f64)>,
    fallback_font: bool,
    started: Instant,
    ctx: egui::Context,
    stats: Option<FrameStats>,
}

impl App {
    /// Builds the application in a window (or in a test's stand-in for one) and starts loading what `options` name.
    pub fn new(cc: &eframe::CreationContext<'_>, options: Options) -> Self {
        ui::theme::install(&cc.egui_ctx);
        if let Some(render_state) = &cc.wgpu_render_state {
            crate::gpu::callback::prepare(render_state);
        }
        let (sender, events) = bounded(QUEUE);
        let files = Files::new(notify(&sender, &cc.egui_ctx));
        let shelf = Shelf::new(options.cache);
        let mut app = Self {
            events,
            sender,
            state: State::default(),
            memory: ui::Memory::default(),
            player: None,
            engine: None,
            output: options.output,
            dialog_open: Arc::new(AtomicBool::new(false)),
            laid_out: None,
            downloads: Downloads::new(options.hub),
            exporter: Exporter::default(),
            loading: options.model.clone().unwrap_or_else(|_| background(LoadOptions::new(""))),
            asked_for: None,
            attempt: String::new(),
            files,
            places: Places::new(options.places),
            film: FilmReader::new(shelf.clone()),
            sounds: SoundReader::new(shelf),
            fullscreen: false,
            fills_screen: false,
            seen_secs: 0.0,
            left_at: None,
            fallback_font: false,
            started: Instant::now(),
            ctx: cc.egui_ctx.clone(),
            stats: options.frame_stats_secs.map(FrameStats::new),
        };
        app.state.models.dtype = app.loading.hold.into();
        let notify = workers::with_maps(app.notify());
        match Engine::spawn(notify) {
            Ok(engine) => app.engine = Some(engine),
            Err(e) => app.state.notice(true, format!("{e:#}")),
        }
        match options.model {
            Ok(model) => app.load(model),
            Err(message) => app.state.apply(Event::ModelFailed { message }, 0.0),
        }
        if let Some(id) = options.fetch {
            app.perform(&Command::Models(ModelsCommand::Toggle));
            app.perform(&Command::Models(ModelsCommand::LookUp(id.to_string())));
        }
        if let Some(file) = options.file {
            app.look_into(FileUse::Clip, vec![file]);
            if let Some(sound) = options.sound {
                app.look_into(FileUse::Sound, vec![sound]);
            }
        }
        app
    }

    /// What is shown.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Waits for the next event of a worker and applies it; `false` after `timeout`. For whoever drives the
    /// application without a window's event loop.
    pub fn wait_for_event(&mut self, timeout: Duration) -> bool {
        match self.events.recv_timeout(timeout) {
            Ok(event) => {
                self.apply(event);
                true
            }
            Err(_) => false,
        }
    }

    fn now_secs(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Sends an event and wakes the window.
    fn notify(&self) -> impl Fn(Event) + Send + Sync + Clone + 'static {
        notify(&self.sender, &self.ctx)
    }

    /// Takes a worker's news.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::FileChosen { purpose, facts } => self.use_file(purpose, facts),
            Event::TextDropped { text } => {
                let draft = Draft { question: text, ..self.state.draft.clone() };
                self.perform(&Command::Edit(Box::new(draft)));
            }
            Event::LeftAt { clip_id, at_secs } => self.resume(clip_id, at_secs),
            Event::Models(news) => {
                let done = self.state.models.done(&news);
                let now = self.now_secs();
                self.state.apply(Event::Models(news), now);
                if let Some((id, dir)) = done {
                    self.load_folder(id, dir);
                    self.downloads.list(self.loading.device, self.notify());
                }
            }
            event => {
                if let Event::Token { token, .. } = &event {
                    self.look_for_font(&token.text);
                }
                match &event {
                    Event::ModelLoading { id } => self.attempt.clone_from(id),
                    // It was loaded, or the one before is back: what was asked for is settled, unless it still waits.
                    Event::ModelReady(_) => drop(self.asked_for.take_if(|model| model.id == self.attempt)),
                    _ => {}
                }
                let now = self.now_secs();
                self.state.apply(event, now);
                if let Some((clip_id, at_secs)) = self.left_at.take() {
                    self.resume(clip_id, at_secs);
                }
            }
        }
    }

    /// Adds a font of the system once a text needs one.
    fn look_for_font(&mut self, text: &str) {
        if !self.fallback_font && fonts::needs_fallback(text) {
            self.fallback_font = true;
            fonts::add_fallback(self.ctx.clone());
        }
    }

    fn ask(&mut self) {
        let (None, Some(engine)) = (self.state.why_not_ask(), &self.engine) else { return };
        let epoch = self.state.begin_run(self.started.elapsed().as_secs_f64());
        engine.ask(Request {
            epoch,
            clip: self.state.clip.clone(),
            prompt: self.state.draft.prompt(),
            sampling: Sampling::default(),
            decoding: Decoding::default(),
        });
    }

    /// Carries out a command: what workers have to do is done here, the rest in the state.
    pub fn perform(&mut self, command: &Command) {
        match command {
            Command::Choose(purpose) => workers::choose(*purpose, &self.files, &self.dialog_open, self.notify()),
            Command::Use(purpose, paths) => self.look_into(*purpose, paths.clone()),
            Command::Ask => self.ask(),
            Command::Stop => {
                if let Some(engine) = &self.engine {
                    engine.cancel();
                }
            }
            Command::Edit(draft) => {
                let texts = [&draft.question, &draft.caption, &draft.options, &draft.context, &draft.system];
                for text in texts {
                    self.look_for_font(text);
                }
            }
            Command::SaveFrame(path) => self.save_frame(path.clone()),
            Command::Exports(command) => self.export(command),
            Command::Copy(text) => self.ctx.copy_text(text.clone()),
            _ => {}
        }
        let open = matches!(self.state.media, Media::Open { .. });
        if let Some(player) = self.player.as_ref().filter(|_| open) {
            transport::before(player, &self.state, command);
        }
        if matches!(command, Command::Ask)
            && let Some(why) = self.state.why_not_ask()
        {
            self.state.notice(false, format!("Nothing was asked: {why}."));
        }
        if let Some(player) = &self.player {
            // Several keys can come in one frame: each counts from where the one before it led.
            self.state.playback.position_secs = player.position_secs();
        }
        let (clip, sound_id) = (self.state.clip.clone(), self.state.sound_id);
        self.state.perform(command);
        match command {
            Command::Models(command) => self.models(command),
            Command::LookAtFilm(view) => self.read_film(view.spacing_secs()),
            _ => {}
        }
        if self.state.clip != clip
            && let Some(player) = &self.player
        {
            player.set_clip(self.state.clip.clone(), Sampling::default());
        }
        if self.state.sound_id != sound_id {
            self.read_sound();
        }
        if let Some(player) = self.player.as_ref().filter(|_| open) {
            transport::after(player, &self.state, command);
        }
        if self.fullscreen != self.state.fullscreen {
            self.fullscreen = self.state.fullscreen;
            self.ctx.send_viewport_cmd(egui::ViewportCommand::Fullscreen(self.fullscreen));
        }
    }

    /// Has the words laid out when they, what stands before them, or the model changed.
    fn lay_out_words(&mut self) {
        let (Some(engine), Model::Ready(model)) = (&self.engine, &self.state.model) else { return };
        let words = Words { prompt: self.state.draft.prompt(), media: self.state.prompt_media() };
        let laid_out = (words, Arc::clone(model));
        let same = |(words, model): &(Words, Arc<ModelInfo>)| *words == laid_out.0 && Arc::ptr_eq(model, &laid_out.1);
        if !self.laid_out.as_ref().is_some_and(same) {
            engine.lay_out(laid_out.0.clone());
            self.laid_out = Some(laid_out);
        }
    }

    /// Copies where playback is into the state.
    fn read_player(&mut self) {
        self.state.now_secs = self.now_secs();
        let Some(player) = &self.player else { return };
        let playback = &mut self.state.playback;
        playback.position_secs = player.position_secs();
        let before_secs = std::mem::replace(&mut self.seen_secs, playback.position_secs);
        playback.duration_secs = player.duration_secs();
        playback.playing = player.is_playing();
        playback.speed = player.speed();
        playback.own_sound = player.hears_own_sound();
        playback.muted = player.is_muted();
        playback.volume = player.volume();
        playback.audible = player.output() == "device";
        self.state.follow_time(before_secs);
    }

    /// When the window must be drawn next, without any input.
    fn repaint_after(&self) -> Option<Duration> {
        let answering = self.state.run.as_ref().is_some_and(Run::running).then_some(TICK);
        let frame = self.player.as_ref().filter(|p| p.is_playing()).map(|player| {
            player
                .next_frame_in_secs()
                .map_or(PLAYHEAD_TICK, |secs| Duration::from_secs_f64(secs.clamp(0.0, PLAYHEAD_TICK.as_secs_f64())))
        });
        // A hand that waits for a picture gets the filmstrip's.
        let scrub = self.player.as_ref().and_then(Playback::near_awaited_in);
        [answering, frame, scrub].into_iter().flatten().min()
    }
}

/// Sends an event and wakes the window.
fn notify(sender: &Sender<Event>, ctx: &egui::Context) -> impl Fn(Event) + Send + Sync + Clone + 'static {
    let (sender, ctx) = (sender.clone(), ctx.clone());
    move |event| {
        // The window is closing when nobody listens any more.
        if sender.send(event).is_ok() {
            ctx.request_repaint();
        }
    }
}

impl eframe::App for App {
    fn logic(&mut self, ctx: &egui::Context, _frame: &mut eframe::Frame) {
        if let Some(stats) = &mut self.stats
            && stats.frame()
        {
            if let Some(player) = &self.player {
                stats::print_offsets(&player.off_secs(), &player.late_secs());
            }
            ctx.send_viewport_cmd(egui::ViewportCommand::Close);
        }
        for _ in 0..EVENTS_PER_FRAME {
            let Ok(event) = self.events.try_recv() else { break };
            self.apply(event);
        }
        if !self.events.is_empty() {
            ctx.request_repaint();
        }
        if self.stats.is_some() {
            self.keep_busy();
            // Also where there is nothing to draw, the time ends.
            ctx.request_repaint_after(TICK);
        }
        // Whoever leaves full screen by the window manager's means leaves ours.
        let fills_screen = ctx.input(|i| i.viewport().fullscreen.unwrap_or(false));
        if std::mem::replace(&mut self.fills_screen, fills_screen) && !fills_screen {
            (self.state.fullscreen, self.fullscreen) = (false, false);
        }
        self.read_player();
        self.lay_out_words();
    }

    fn on_exit(&mut self) {
        self.leave();
        self.places.finish();
    }

    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        let position = self.state.playback.position_secs;
        let frame = self.player.as_ref().and_then(|p| p.frame_at(position));
        let stand_in = frame.as_ref().and_then(|frame| self.stand_in(position, frame.pts_secs()));
        self.state.playback.frame_pts_secs = stand_in.as_ref().or(frame.as_ref()).map(|f| f.pts_secs());
        let scene = ui::Scene { frame, stand_in };
        let commands = ui::show(ui, &self.state, &scene, &mut self.memory);
        // egui may lay a frame out twice with the same input: what the user did counts once.
        if ui.ctx().current_pass_index() == 0 {
            for command in commands {
                self.perform(&command);
            }
        }
        if let Some(after) = self.repaint_after() {
            ui.ctx().request_repaint_after(after);
        }
    }
}

/// Whether a window can be opened at all.
pub fn has_display() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    !cfg!(all(unix, not(target_os = "macos"))) || set("DISPLAY") || set("WAYLAND_DISPLAY") || set("WAYLAND_SOCKET")
}

/// Opens the window and runs it until it is closed.
pub fn run(mut options: Options) -> Result<()> {
    options.places = options.places.or_else(places::default_file);
    options.cache = options.cache.or_else(shelf::default_folder);
    let viewport = egui::ViewportBuilder::default()
        .with_title("Modalens")
        .with_app_id("modalens")
        .with_inner_size([1280.0, 720.0])
        .with_min_inner_size([960.0, 600.0])
        .with_drag_and_drop(true)
        .with_icon(icon());
    let native = eframe::NativeOptions {
        viewport,
        renderer: eframe::Renderer::Wgpu,
        system_font_fallback: false,
        ..Default::default()
    };
    eframe::run_native("Modalens", native, Box::new(|cc| Ok(Box::new(App::new(cc, options)))))
        .map_err(|e| anyhow::anyhow!("the window could not be opened: {e}; `modalens doctor` shows what is missing"))
}

/// Three bars in the hues of the senses.
fn icon() -> egui::IconData {
    const SIDE: usize = 64;
    let mut rgba = vec![0u8; SIDE * SIDE * 4];
    let bars = crate::gpu::colormap::Modality::ALL.map(|m| ui::theme::hue(m).to_array());
    for (i, pixel) in rgba.chunks_exact_mut(4).enumerate() {
        let (x, y) = (i % SIDE, i / SIDE);
        let bar = x.saturating_sub(6) / 18;
        let top = [10, 24, 36][bar.min(2)];
        let inside = x >= 6 && (x - 6) % 18 < 14 && bar < 3 && (top..56).contains(&y);
        pixel.copy_from_slice(if inside { &bars[bar] } else { &[13, 15, 18, 255] });
    }
    egui::IconData { rgba, width: SIDE as u32, height: SIDE as u32 }
}
