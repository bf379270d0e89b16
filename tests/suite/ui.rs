//! The window through its accessible names, with real parts: FFmpeg decodes, the small checkpoint answers, the shaders
//! draw on a software GPU; only the sound device and the window are stand-ins. Nothing sleeps: the test waits for the
//! workers' own events.

use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::sync::Arc;
use std::time::Duration;

use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use modalens::app::{App, Options};
use modalens::clip::AudioSource;
use modalens::command::{ACTIONS, Command, GESTURES};
use modalens::engine::LoadOptions;
use modalens::event::{Event, Finish};
use modalens::heatmap::HeatMap;
use modalens::media::{ManualOutput, Output};
use modalens::provenance::Provenance;
use modalens::state::{End, Media, Model, State, sound_file};

use crate::checkpoint::fixture;

/// Longest wait for a worker: only a hang takes this long.
const HANG: Duration = Duration::from_mins(2);

pub(crate) struct Window {
    pub(crate) harness: Harness<'static, App>,
    pub(crate) sound: ManualOutput,
    pub(crate) files: tempfile::TempDir,
}

/// Makes a file with the `ffmpeg` command line.
pub(crate) fn make(folder: &Path, name: &str, args: &str) -> PathBuf {
    let path = folder.join(name);
    let status = Process::new("ffmpeg")
        .args(["-v", "error", "-y", "-nostdin", "-threads", "1"])
        .args(args.split_whitespace())
        .arg(&path)
        .status()
        .expect("the ffmpeg command line is needed for these tests: install the package ffmpeg");
    assert!(status.success(), "ffmpeg failed to make {name}");
    path
}

pub(crate) const CLIP: &str = "-f lavfi -i testsrc2=size=160x120:rate=25:duration=2 \
                    -f lavfi -i sine=frequency=440:sample_rate=44100:duration=2";

impl Window {
    pub(crate) fn open(file: Option<(&str, &str)>, model: Result<LoadOptions, String>) -> Self {
        let files = tempfile::tempdir().unwrap();
        let file = file.map(|(name, args)| make(files.path(), name, args));
        Self::open_file(files, file, model)
    }

    pub(crate) fn open_file(
        files: tempfile::TempDir,
        file: Option<PathBuf>,
        model: Result<LoadOptions, String>,
    ) -> Self {
        Self::start(files, Options::new(file, model))
    }

    pub(crate) fn start(files: tempfile::TempDir, mut options: Options) -> Self {
        let sound = ManualOutput::default();
        options.output = Output::Manual(sound.clone());
        let harness = Harness::builder()
            .with_size([1280.0, 720.0])
            .with_render_cursor(false)
            .allow_missing_glyphs() // a random model writes all sorts of characters
            .wgpu()
            .build_eframe(|cc| App::new(cc, options));
        Self { harness, sound, files }
    }

    pub(crate) fn state(&self) -> &State {
        self.harness.state().state()
    }

    /// Draws, and waits for the workers, until `done`.
    pub(crate) fn until(&mut self, what: &str, done: impl Fn(&State) -> bool) {
        loop {
            self.harness.step();
            if done(self.state()) {
                return;
            }
            assert!(self.harness.state_mut().wait_for_event(HANG), "nothing more happened while waiting for {what}");
        }
    }

    /// Lets the sound device play, in small pieces as a device does.
    pub(crate) fn play_secs(&mut self, secs: f64) {
        let frames = (secs * f64::from(ManualOutput::RATE)) as usize / 480;
        for _ in 0..frames {
            self.sound.pump(&mut [0.0; 2 * 480]);
            // The sound thread may be behind this stand-in device, which has no pace of its own.
            self.harness.step();
        }
    }

    pub(crate) fn click(&mut self, label: &str) {
        self.harness.get_by_label(label).click();
        self.harness.step();
        self.harness.step();
    }

    pub(crate) fn has(&self, label: &str) -> bool {
        self.harness.query_all_by_label(label).next().is_some()
    }
}

/// `modalens FILE --audio OTHER` opens with the sound already swapped.
#[test]
fn a_clip_can_open_with_another_sound() {
    let files = tempfile::tempdir().unwrap();
    let clip = make(files.path(), "clip.mp4", CLIP);
    let other = make(files.path(), "other.wav", "-f lavfi -i sine=frequency=880:duration=1");
    let options = Options { sound: Some(other.clone()), ..Options::new(Some(clip.clone()), Err("none".into())) };
    let mut window = Window::start(files, options);
    window.until("the other sound", |state| sound_file(&state.clip.audio) == Some(&other));
    assert_eq!(window.state().clip.video.as_ref(), Some(&clip));
    // Dropped together, in whatever order: the film with the sound.
    let film = make(window.files.path(), "film.mkv", CLIP);
    let tone = make(window.files.path(), "tone.wav", "-f lavfi -i sine=frequency=220:duration=1");
    let dropped = Command::Use(modalens::event::FileUse::ByContent, vec![tone.clone(), film.clone()]);
    window.harness.state_mut().perform(&dropped);
    window.until("the film with the sound", |state| {
        state.clip.video.as_ref() == Some(&film) && sound_file(&state.clip.audio) == Some(&tone)
    });
}

pub(crate) fn model() -> LoadOptions {
    LoadOptions::new(fixture())
}

pub(crate) fn ready(state: &State) -> bool {
    matches!(state.model, Model::Ready(_)) && matches!(state.media, Media::Open { .. }) && !state.lanes_pending
}

#[test]
fn a_clip_plays_is_asked_about_and_shows_where_the_answer_looked() {
    let mut w = Window::open(Some(("clip.mp4", CLIP)), Ok(model()));
    w.until("clip, lanes and model", ready);
    w.until("the first frame", |s| s.playback.frame_pts_secs == Some(0.0));
    assert!(w.state().lanes.as_ref().unwrap().samples.len() > 30_000);

    // Play moves time and picture; pause stops both.
    w.click("Play");
    assert!(w.state().playback.playing);
    for _ in 0..200 {
        w.play_secs(0.05);
        if w.state().playback.frame_pts_secs.is_some_and(|t| t > 0.3) {
            break;
        }
    }
    let pts = w.state().playback.frame_pts_secs.unwrap();
    assert!(pts > 0.3, "still at {pts}");
    assert!(pts <= w.state().playback.position_secs + 1e-6, "a frame was shown before its time");
    w.click("Pause");
    assert!(!w.state().playback.playing);

    // Keys: to the start, one frame on.
    w.harness.key_press(egui::Key::Home);
    w.until("the start", |s| s.playback.frame_pts_secs == Some(0.0));
    let second = (0..1000).any(|_| {
        // The frame after may not be decoded yet; then the key does nothing.
        w.harness.key_press(egui::Key::ArrowRight);
        w.harness.step();
        w.harness.state_mut().wait_for_event(Duration::from_millis(20));
        w.harness.step();
        w.state().playback.frame_pts_secs.is_some_and(|t| t > 0.0)
    });
    let pts = w.state().playback.frame_pts_secs.unwrap();
    assert!(second && (pts - 0.04).abs() < 1e-3, "the frame after the first is at {pts}");

    // Ask, from inside the question's field.
    let field = w.harness.get_by_role_and_label(egui::Role::MultilineTextInput, "Question");
    field.click();
    w.harness.step();
    w.harness.get_by_role_and_label(egui::Role::MultilineTextInput, "Question").type_text(" Now?");
    w.harness.step();
    assert!(w.state().draft.question.contains("Now?"), "typed: {}", w.state().draft.question);
    w.harness.key_press_modifiers(egui::Modifiers::SHIFT, egui::Key::Enter);
    w.harness.step();
    assert!(w.state().draft.question.ends_with('\n') && w.state().run.is_none(), "Shift+Return is a new line");
    w.harness.key_press(egui::Key::Enter);
    w.harness.step();
    assert!(w.state().run.is_some(), "Return asks");
    assert_eq!(w.state().draft.question.matches('\n').count(), 1, "Return is no new line");
    assert!(w.has("Stop"));
    w.until("the answer", |s| s.run.as_ref().is_some_and(|r| r.end.is_some()));
    w.until("all maps", |s| s.run.as_ref().is_some_and(|r| r.maps.len() == r.tokens.len()));
    let run = w.state().run.as_ref().unwrap();
    assert!(matches!(run.end, Some(End::Answered(_))), "{:?}", w.state().notices);
    assert!(run.tokens.len() > 1);
    let question = run.prompt.question.clone();
    assert!(question.contains("Now?"));

    // Every map holds all of its row's mass, and so does their mean.
    for map in run.maps.iter().map(|m| &**m).chain([&run.mean]) {
        assert!((map.total() - 1.0).abs() < 1e-3, "{}", map.total());
    }

    // The map is on the picture: hiding it changes what is drawn.
    w.harness.get_by_label("Show").scroll_to_me();
    w.harness.run_steps(8);
    let shown = w.harness.render().unwrap();
    w.click("Show");
    assert!(!w.state().view.heat);
    let hidden = w.harness.render().unwrap();
    let picture = w.harness.get_by_label("Video picture").rect();
    let different = {
        let (x0, y0) = (picture.left() as u32, picture.top() as u32);
        let (x1, y1) = (picture.right() as u32, picture.bottom() as u32);
        let pixels = (x0..x1).step_by(7).flat_map(|x| (y0..y1).step_by(7).map(move |y| (x, y)));
        pixels.filter(|(x, y)| shown.get_pixel(*x, *y) != hidden.get_pixel(*x, *y)).count()
    };
    assert!(different > 100, "the heat map does not show");
    w.click("Show");

    // Hover shows that token's map and share, click keeps it, Esc lets go.
    w.harness.get_by_label("Ask").scroll_to_me();
    w.harness.run_steps(8);
    let first = w.harness.query_all_by_label_contains("Answer token ").next().unwrap().rect().center();
    w.harness.hover_at(first);
    w.harness.run_steps(2);
    let token = w.state().focus().expect("hovering focuses a token");
    let share = w.state().shown().unwrap().share;
    assert_eq!(share, w.state().run.as_ref().unwrap().tokens[token].share);
    assert!((share.video + share.audio + share.text - 1.0).abs() < 1e-3);
    assert!(w.harness.query_by_label_contains("Attention share: Video").is_some());
    w.harness.drag_at(first);
    w.harness.drop_at(first);
    w.harness.run_steps(2);
    assert_eq!(w.state().locked, Some(token));
    w.harness.hover_at(egui::pos2(5.0, 5.0));
    w.harness.run_steps(2);
    assert_eq!((w.state().hovered, w.state().focus()), (None, Some(token)));
    w.harness.key_press(egui::Key::Escape);
    w.harness.run_steps(2);
    assert_eq!(w.state().focus(), None, "Esc lets go");

    // Another sound: a dropped sound file takes the place of the video's own, the answer stays until asked again.
    let sound = make(w.files.path(), "noise.wav", "-f lavfi -i anoisesrc=duration=1:sample_rate=16000:seed=1");
    w.harness.input_mut().dropped_files.push(Arc::new(Dropped(sound.clone())));
    w.until("the swap", |s| s.clip.audio == AudioSource::File { path: sound.clone(), track: None });
    w.until("the new lanes", |s| !s.lanes_pending);
    assert!(w.state().clip.video.is_some() && w.state().run.is_some());
    w.click("None");
    w.until("silence", |s| s.clip.audio == AudioSource::None && !s.lanes_pending);
    assert!(w.state().lanes.is_none());
    w.click("Original");
    w.until("the original", |s| s.lanes.is_some());
    assert_eq!(w.state().clip.audio, AudioSource::Original { track: None });
    assert!(w.state().notices.is_empty(), "{:?}", w.state().notices);
}

/// A file dropped on the window.
#[derive(Debug)]
struct Dropped(PathBuf);

impl egui::DroppedFile for Dropped {
    fn path(&self) -> &Path {
        &self.0
    }
    fn bytes(&self) -> Result<Vec<u8>, String> {
        std::fs::read(&self.0).map_err(|e| e.to_string())
    }
}

#[test]
fn errors_are_shown_copied_and_dismissed() {
    let files = tempfile::tempdir().unwrap();
    let text = files.path().join("notes.mp4");
    std::fs::write(&text, "This is no video.").unwrap();
    let mut w = Window::open_file(files, Some(text), Err("there is no folder /nowhere".to_owned()));
    w.until("both errors", |s| s.notices.len() == 2);
    w.harness.step();
    assert!(w.harness.query_by_label_contains("there is no folder /nowhere").is_some());
    assert!(w.harness.query_by_label_contains("notes.mp4").is_some(), "{:?}", w.state().notices);
    assert!(w.has("Open a video…"), "the drop zone is still there");

    w.harness.query_all_by_label("Copy").next().unwrap().click();
    let newest = w.state().notices.last().unwrap().text.clone();
    let copied = (0..5).any(|_| {
        w.harness.step();
        let commands = &w.harness.output().platform_output.commands;
        commands.iter().any(|c| matches!(c, egui::OutputCommand::CopyText(t) if *t == newest))
    });
    assert!(copied, "nothing was copied");

    for left in [1, 0] {
        w.harness.query_all_by_label("Dismiss").next().unwrap().click();
        w.harness.run_steps(2);
        assert_eq!(w.state().notices.len(), left);
    }
    assert!(!w.has("Dismiss"));
    // Without a model there is nothing to ask, and the window says why.
    assert!(w.has("The model could not be loaded"));
    w.harness.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::Enter);
    w.harness.step();
    assert!(w.state().run.is_none());
}

#[test]
fn every_odd_file_plays_or_is_named_and_the_window_lives_on() {
    let mut w = Window::open(Some(("clip.mp4", CLIP)), Err("none".to_owned()));
    w.until("the clip", |s| matches!(s.media, Media::Open { .. }));
    let folder = w.files.path().to_owned();
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.join(name), bytes).unwrap();
        folder.join(name)
    };
    let whole = std::fs::read(folder.join("clip.mp4")).unwrap();
    let broken = [
        (write("empty.mp4", b""), "empty"),
        (write("text.mp4", b"Dear reader,\nthis is a letter.\n"), "not audio, video or an image"),
        (write("cut.mp4", &whole[..whole.len() / 2]), "cut off before its index"),
        (write("list.mp4", b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nclip.mp4\n"), "playlists"),
        (make(&folder, "zero.mp4", "-f lavfi -i testsrc2=size=64x48:rate=10 -t 0"), "neither picture nor sound"),
        (folder.clone(), "folder"),
        (folder.join("nowhere.mp4"), "no such file"),
    ];
    let clip_id = w.state().clip_id;
    for (path, part) in broken {
        w.harness.input_mut().dropped_files.push(Arc::new(Dropped(path.clone())));
        let name = path.display().to_string();
        w.until(&name, |s| s.notices.iter().any(|n| n.error && n.text.contains(part) && n.text.contains(&name)));
        // What was open stays open, and can be played.
        assert_eq!(w.state().clip_id, clip_id);
        assert!(matches!(w.state().media, Media::Open { .. }));
    }
    w.play_secs(0.1);
    while w.has("Dismiss") {
        w.harness.query_all_by_label("Dismiss").next().unwrap().click();
        w.harness.run_steps(2);
    }

    let tone = "-f lavfi -i sine=frequency=440:sample_rate=16000:duration=1";
    let small = "-f lavfi -i testsrc2=size=64x48:rate=10:duration=1";
    let strange = [
        (make(&folder, "one frame.mp4", "-f lavfi -i testsrc2=size=64x48:rate=10:duration=0.1"), true, false),
        (make(&folder, "silent.mp4", small), true, false),
        (make(&folder, "point.mkv", &format!("{small} {tone} -vf scale=1:1 -c:v ffv1 -pix_fmt yuv444p")), true, true),
        (
            make(&folder, "large.mp4", "-f lavfi -i color=red:size=8192x4320:rate=2:duration=1 -preset ultrafast"),
            true,
            false,
        ),
        (make(&folder, "still.png", "-f lavfi -i testsrc2=size=64x48 -frames:v 1"), true, false),
        // The index is at the front: what is there plays.
        (
            {
                let whole = make(&folder, "whole.mp4", &format!("{CLIP} -movflags +faststart"));
                let bytes = std::fs::read(whole).unwrap();
                write("half.mp4", &bytes[..bytes.len() / 2])
            },
            true,
            true,
        ),
        (make(&folder, "deleted.mp4", &format!("{small} {tone}")), true, true),
    ];
    for (path, picture, sound) in strange {
        let name = path.display().to_string();
        let before = w.state().clip_id;
        w.harness.input_mut().dropped_files.push(Arc::new(Dropped(path.clone())));
        w.until(&name, |s| s.clip_id > before && matches!(s.media, Media::Open { .. }) && !s.lanes_pending);
        w.until(&name, |s| s.playback.frame_pts_secs.is_some());
        assert_eq!(w.state().facts.as_ref().map(|f| (f.picture, f.sound)), Some((picture, sound)), "{name}");
        w.click("Play");
        // A software renderer takes its time over 35 million pixels.
        w.play_secs(if name.contains("large") { 0.02 } else { 0.3 });
        if name.contains("deleted") {
            std::fs::remove_file(&path).unwrap();
            // Playing goes on, seeking too.
            w.harness.key_press(egui::Key::Home);
            w.until("the start again", |s| s.playback.frame_pts_secs == Some(0.0));
        }
        // What is cut off plays to its end, and is said to be.
        if name.contains("half") {
            assert!(w.state().notices.iter().any(|n| !n.error && n.text.contains("cut off")));
            w.click("Dismiss");
        }
        assert!(w.state().notices.is_empty(), "{name}: {:?}", w.state().notices);
    }
    // Sound alone takes the place of a picture's sound; on its own it is a clip.
    let mut w = Window::open(Some(("sound.m4a", tone)), Err("none".to_owned()));
    let sound_alone = |s: &State| matches!(s.media, Media::Open { picture: false, .. }) && s.lanes.is_some();
    w.until("sound alone", sound_alone);
    assert!(w.has("Play"));
}

#[test]
fn a_failing_old_clip_does_not_break_the_new_one() {
    let mut state = State::default();
    (state.clip_id, state.media) = (2, Media::Opening);
    state.apply(Event::ClipFailed { clip_id: 1, message: "stale".to_owned() }, 0.0);
    state.apply(Event::Failed { message: "another file".to_owned() }, 0.0);
    assert_eq!((state.media, state.notices.len()), (Media::Opening, 1));
    state.apply(Event::ClipFailed { clip_id: 2, message: "damaged".to_owned() }, 0.0);
    assert_eq!(state.media, Media::Broken);
    // What follows from it is not a second message, whichever comes first.
    state.apply(Event::Note { message: "No lanes: damaged".to_owned() }, 0.0);
    assert_eq!(state.notices.len(), 2);
    state.apply(Event::Note { message: "No lanes: cut off".to_owned() }, 0.0);
    state.apply(Event::ClipFailed { clip_id: 2, message: "cut off".to_owned() }, 0.0);
    assert_eq!(
        state.notices.iter().map(|n| n.text.as_str()).collect::<Vec<_>>(),
        ["another file", "damaged", "cut off"]
    );
}

#[test]
fn the_key_sheet_lists_every_command() {
    let mut w = Window::open(None, Err("none".to_owned()));
    w.harness.step();
    w.harness.event(egui::Event::Text("?".to_owned()));
    w.harness.run_steps(3);
    assert!(w.state().key_sheet);
    for action in ACTIONS {
        assert!(w.has(action.label), "{} is missing", action.label);
        let same = ACTIONS.iter().filter(|a| a.label == action.label).filter_map(|a| Some(a.keys?.1));
        let keys = same.collect::<Vec<_>>().join("  ");
        assert!(keys.is_empty() || w.has(&keys), "{keys} is missing");
    }
    for (_, hand, label) in GESTURES {
        assert!(w.has(hand) && w.has(label), "{hand} is missing");
    }
    w.harness.key_press(egui::Key::Escape);
    w.harness.run_steps(3);
    assert!(!w.state().key_sheet);
    w.click("Keys");
    assert!(w.state().key_sheet);
}

#[test]
fn every_control_has_a_name() {
    let mut w = Window::open(Some(("clip.mp4", CLIP)), Ok(model()));
    w.until("clip and model", ready);
    w.harness.run_steps(2);
    assert_eq!(w.harness.unnamed_widgets(), Vec::<String>::new());
    for name in [
        "Go to the start",
        "Previous frame",
        "Play",
        "Next frame",
        "Go to the end",
        "Mute",
        "Volume",
        "Timeline",
        "Full screen",
        "Original",
        "None",
        "Caption",
        "Question",
        "Options",
        "Ask",
        "Opacity",
        "Gamma",
        "Keys",
    ] {
        assert!(w.has(name), "{name} is missing");
    }
}

#[test]
fn stopping_keeps_what_there_is() {
    let mut w = Window::open(Some(("clip.mp4", CLIP)), Ok(model()));
    w.until("clip and model", ready);
    // In one breath: the small checkpoint may answer before a button could be drawn.
    w.harness.state_mut().perform(&Command::Ask);
    w.harness.state_mut().perform(&Command::Stop);
    w.until("the end", |s| s.run.as_ref().is_some_and(|r| r.end.is_some()));
    let run = w.state().run.as_ref().unwrap();
    match &run.end {
        // It was too fast for us, it had begun to speak, or it had not.
        Some(End::Answered(answer)) => assert!(answer.finish == Finish::Cancelled || answer.finish == Finish::Length),
        Some(End::Stopped) => assert!(run.tokens.is_empty()),
        other => panic!("{other:?}: {:?}", w.state().notices),
    }
    assert!(w.state().notices.is_empty());
    assert!(w.has("Ask"));
}

#[test]
fn events_of_older_requests_and_clips_change_nothing() {
    let mut state = State::default();
    let old = state.begin_run(0.0);
    let new = state.begin_run(1.0);
    let provenance = Arc::new(Provenance::default());
    state.apply(Event::Prompt { epoch: old, provenance: Arc::clone(&provenance) }, 2.0);
    state.apply(Event::AskFailed { epoch: old, message: "stale".to_owned(), smaller: None }, 2.0);
    let run = state.run.as_ref().unwrap();
    assert!(run.provenance.is_none() && run.running() && state.notices.is_empty());
    state.apply(Event::Prompt { epoch: new, provenance }, 3.0);
    assert!(state.run.as_ref().unwrap().provenance.is_some());
    // Maps come in order; one out of order is not mixed in.
    let map = |w: f32| Arc::new(HeatMap { videos: vec![], audios: vec![vec![w]], words: vec![1.0 - w] });
    state.apply(Event::TokenMap { epoch: new, index: 0, map: map(0.2) }, 4.0);
    state.apply(Event::TokenMap { epoch: new, index: 2, map: map(0.9) }, 4.0);
    state.apply(Event::TokenMap { epoch: new, index: 1, map: map(0.4) }, 4.0);
    let run = state.run.as_ref().unwrap();
    assert_eq!(run.maps.len(), 2);
    assert!((run.mean.audios[0][0] - 0.3).abs() < 1e-6 && (run.mean.words[0] - 0.7).abs() < 1e-6);

    state.clip_id = 5;
    state.media = Media::Opening;
    state.apply(Event::ClipOpened { clip_id: 4, duration_secs: Some(1.0), picture: true }, 5.0);
    assert_eq!(state.media, Media::Opening);
}
