//! Every action by its keys, in a window with an open clip; the palette, the wheel over the lanes, loudness. Knows nothing
//! of how anything is drawn.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test by panicking")]

use egui::{Event, Key, Modifiers, Pos2, Vec2};
use egui_kittest::kittest::Queryable as _;
use modalens::app::Options;
use modalens::clip::{AudioSource, FrameEdit};
use modalens::command::{ACTIONS, Chord, Command};
use modalens::event::FileUse;
use modalens::media::ManualOutput;
use modalens::state::{Media, State};
use modalens::time::Span;

use crate::ui::{CLIP, Window, make, model, ready};

/// Keys are pressed with what must be held, as egui names them.
fn key_of(chord: Chord) -> (Key, Modifiers) {
    let name = match format!("{:?}", chord.key).as_str() {
        "Zero" => "0".to_owned(),
        "Question" => "Questionmark".to_owned(),
        name => name.to_owned(),
    };
    let key = Key::from_name(&name).unwrap_or_else(|| panic!("egui has no key {name}"));
    let ctrl = if chord.ctrl { Modifiers::COMMAND } else { Modifiers::NONE };
    (key, if chord.shift { ctrl | Modifiers::SHIFT } else { ctrl })
}

fn give(w: &mut Window, command: &Command) {
    w.harness.state_mut().perform(command);
    w.harness.run_steps(2);
}

fn shows(state: &State, secs: f64) -> bool {
    state.playback.frame_pts_secs.is_some_and(|t| (t - secs).abs() < 1e-3)
}

/// Goes to a frame and waits for it and for the one after it, so that a step is taken at once.
fn go(w: &mut Window, secs: f64) {
    give(w, &Command::Seek(secs));
    w.until("the frame", |s| shows(s, secs));
}

/// A row: the keys as the sheet writes them, what is done before they are pressed, and what is so afterwards and was not
/// so before.
type Row = (&'static str, fn(&mut Window), fn(&State) -> bool);

const AS_IT_IS: fn(&mut Window) = |_| {};

const ROWS: &[Row] = &[
    ("Space", AS_IT_IS, |s| s.playback.playing && s.playback.speed == 1.0),
    ("Ctrl+Space", |w| type_in(w, "x"), |s| s.playback.playing),
    ("L", AS_IT_IS, |s| s.playback.playing && s.playback.speed == 1.0),
    ("J", |w| go(w, 1.0), |s| s.playback.playing && s.playback.speed == -1.0),
    ("K", |w| give(w, &Command::TogglePlay), |s| !s.playback.playing),
    ("[", AS_IT_IS, |s| s.playback.chosen_speed == 0.75),
    ("]", AS_IT_IS, |s| s.playback.chosen_speed == 1.25),
    ("Backspace", |w| give(w, &Command::SetSpeed(2.0)), |s| s.playback.chosen_speed == 1.0),
    ("←", |w| go(w, 1.0), |s| shows(s, 0.96)),
    ("→", |w| go(w, 1.0), |s| shows(s, 1.04)),
    (",", |w| go(w, 1.0), |s| shows(s, 0.96)),
    (".", |w| go(w, 1.0), |s| shows(s, 1.04)),
    ("Shift+←", |w| go(w, 1.6), |s| shows(s, 0.6) && (s.playback.position_secs - 0.6).abs() < 1e-6),
    ("Shift+→", |w| go(w, 0.4), |s| shows(s, 1.4) && (s.playback.position_secs - 1.4).abs() < 1e-6),
    ("Home", |w| go(w, 1.0), |s| shows(s, 0.0) && s.playback.position_secs == 0.0),
    ("End", |w| go(w, 1.0), |s| shows(s, 1.96) && s.playback.position_secs > 1.99),
    ("I", |w| go(w, 0.4), |s| selected(s, 0.4, 2.0)),
    ("O", |w| go(w, 1.2), |s| selected(s, 0.0, 1.2)),
    ("R", |w| select(w, 0.5, 1.0), |s| s.selection.is_some_and(|s| !s.looping)),
    ("A", |w| select(w, 0.5, 1.0), |s| (s.clip.start_secs, s.clip.end_secs) == (Some(0.5), Some(1.0))),
    (
        "Shift+A",
        |w| give(w, &Command::UsePart(Some(Span::new(0.5, 1.0)))),
        |s| (s.clip.start_secs, s.clip.end_secs) == (None, None),
    ),
    ("X", |w| select(w, 0.5, 1.0), |s| s.selection.is_none()),
    ("+", AS_IT_IS, |s| s.view.timeline.is_some_and(|t| (t.duration_secs() - 1.0).abs() < 0.05)),
    ("-", |w| zoom(w, 0.5), |s| s.view.timeline.is_some_and(|t| (t.duration_secs() - 1.0).abs() < 1e-6)),
    ("0", |w| zoom(w, 0.5), |s| s.view.timeline.is_none()),
    ("B (hold)", |w| give(w, &Command::SetAudio(AudioSource::None)), |s| s.playback.own_sound),
    ("M", AS_IT_IS, |s| s.playback.muted),
    ("↑", |w| give(w, &Command::SetVolume(0.5)), |s| (0.51..0.7).contains(&s.playback.volume)),
    ("↓", |w| give(w, &Command::SetVolume(0.5)), |s| (0.3..0.49).contains(&s.playback.volume)),
    ("H", AS_IT_IS, |s| !s.view.heat),
    ("V", AS_IT_IS, |s| s.view.model_view),
    ("S", AS_IT_IS, |s| s.exports.asked.is_some()),
    ("Ctrl+Enter", AS_IT_IS, |s| s.run.is_some()),
    ("Ctrl+Z", |w| give(w, &Command::SetFrames(FrameEdit::Black)), |s| s.clip.frames == FrameEdit::Keep),
    ("Ctrl+Shift+Z", undone, |s| s.clip.frames == FrameEdit::Black),
    ("Ctrl+Y", undone, |s| s.clip.frames == FrameEdit::Black),
    ("Ctrl+O", AS_IT_IS, |s| s.notices.iter().any(|n| n.text.contains("No file dialog"))),
    ("Ctrl+E", answered, |s| s.exports.asked.is_some()),
    ("Ctrl+L", AS_IT_IS, |s| s.models.open),
    ("F", AS_IT_IS, |s| s.fullscreen),
    ("Ctrl+K", AS_IT_IS, |s| s.palette),
    ("Esc", |w| give(w, &Command::ToggleFullscreen), |s| !s.fullscreen),
    ("?", AS_IT_IS, |s| s.key_sheet),
];

/// These ask where in a dialog of the desktop: only where there is none do they answer by themselves.
const ASKS_THE_DESKTOP: [&str; 3] = ["S", "Ctrl+O", "Ctrl+E"];

fn type_in(w: &mut Window, text: &str) {
    let question = |w: &Window| w.harness.get_by_role_and_label(egui::Role::MultilineTextInput, "Question").rect();
    let at = question(w).center();
    w.harness.hover_at(at);
    w.harness.get_by_role_and_label(egui::Role::MultilineTextInput, "Question").click();
    w.harness.step();
    w.harness.get_by_role_and_label(egui::Role::MultilineTextInput, "Question").type_text(text);
    w.harness.run_steps(2);
    assert!(w.state().draft.question.contains(text), "{:?}", w.state().draft.question);
}

fn answered(w: &mut Window) {
    give(w, &Command::Ask);
    w.until("the answer", |s| s.run.as_ref().is_some_and(|r| r.end.is_some()));
}

fn undone(w: &mut Window) {
    give(w, &Command::SetFrames(FrameEdit::Black));
    give(w, &Command::Undo);
}

fn select(w: &mut Window, from: f64, to: f64) {
    give(w, &Command::Select(Some(Span::new(from, to))));
}

fn selected(state: &State, from: f64, to: f64) -> bool {
    let near = |s: Span| (s.start_secs - from).abs() < 1e-3 && (s.end_secs - to).abs() < 0.05;
    state.selection.is_some_and(|s| near(s.span))
}

fn zoom(w: &mut Window, secs: f64) {
    let view = modalens::settings::View { timeline: Some(Span::new(0.5, 0.5 + secs)), ..w.state().view };
    give(w, &Command::SetView(Box::new(view)));
}

fn open() -> Window {
    let mut w = Window::open(Some(("clip.mp4", CLIP)), Err("none".to_owned()));
    w.until("the clip and its lanes", |s| matches!(s.media, Media::Open { .. }) && !s.lanes_pending);
    w.until("the first frame", |s| s.playback.frame_pts_secs == Some(0.0));
    w
}

#[test]
fn every_action_that_has_keys_is_done_by_them() {
    let desktop =
        ["DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "WAYLAND_DISPLAY"].iter().any(|v| std::env::var_os(v).is_some());
    let asks = desktop || !cfg!(target_os = "linux");
    let mut w = Window::open(Some(("clip.mp4", CLIP)), Ok(model()));
    w.until("clip, lanes and model", ready);
    w.until("the first frame", |s| s.playback.frame_pts_secs == Some(0.0));
    let first = w.state().case();
    for action in ACTIONS {
        let Some((chord, keys)) = action.keys else { continue };
        let row = ROWS.iter().find(|row| row.0 == keys);
        let (_, before, after) = row.unwrap_or_else(|| panic!("{}: no row says what {keys} does", action.label));
        if asks && ASKS_THE_DESKTOP.contains(&keys) {
            eprintln!("skipped: {keys}: it would open a dialog on this desktop");
            continue;
        }
        before(&mut w);
        assert!(!after(w.state()), "{keys}: so it was before");
        let (key, modifiers) = key_of(chord);
        w.harness.event(Event::ModifiersChanged(modifiers));
        let press = |pressed| Event::Key { key, physical_key: None, pressed, repeat: false, modifiers };
        w.harness.event(press(true));
        w.harness.step();
        w.until(&format!("{keys}: {}", action.label), after);
        w.harness.event(press(false));
        w.harness.event(Event::ModifiersChanged(Modifiers::NONE));
        w.harness.run_steps(2);
        if keys.ends_with("(hold)") {
            assert!(!after(w.state()), "{keys}: it goes on after the key was let go");
        }
        // As it was before the row: nothing has the keyboard, and what lies over the window is closed.
        w.harness.ctx.memory_mut(|m| m.focused().into_iter().for_each(|id| m.surrender_focus(id)));
        for _ in 0..3 {
            w.harness.state_mut().perform(&Command::Escape);
        }
        if w.state().run.as_ref().is_some_and(|r| r.end.is_none()) {
            w.until("the answer's end", |s| s.run.as_ref().is_some_and(|r| r.end.is_some()));
        }
        let mut back = vec![Command::Halt, Command::Select(None), Command::ShowAllTime];
        back.extend([Command::SetSpeed(1.0), Command::SetVolume(1.0), Command::SetCase(Box::new(first.clone()))]);
        let toggles = [
            (w.state().playback.muted, Command::ToggleMute),
            (!w.state().view.heat, Command::ToggleHeat),
            (w.state().view.model_view, Command::ToggleModelView),
        ];
        back.extend(toggles.into_iter().filter(|(changed, _)| *changed).map(|(_, command)| command));
        for command in &back {
            w.harness.state_mut().perform(command);
        }
        go(&mut w, 0.0);
    }
    let unknown: Vec<_> =
        ROWS.iter().filter(|row| !ACTIONS.iter().any(|a| a.keys.is_some_and(|(_, keys)| keys == row.0))).collect();
    assert!(unknown.is_empty(), "{} rows are about no action: {}", unknown.len(), unknown[0].0);
}

#[test]
fn the_palette_does_what_was_typed_and_closes() {
    let mut w = open();
    w.harness.key_press_modifiers(Modifiers::COMMAND, Key::K);
    w.harness.run_steps(2);
    assert!(w.state().palette, "Ctrl+K opens it");
    w.harness.get_by_role_and_label(egui::Role::TextInput, "Search commands").type_text("black");
    w.harness.run_steps(2);
    w.harness.key_press(Key::Enter);
    w.harness.run_steps(2);
    assert_eq!((w.state().clip.frames, w.state().palette), (FrameEdit::Black, false));
    // A fast hand on a slow machine: the word and Return in one frame.
    w.harness.key_press_modifiers(Modifiers::COMMAND, Key::K);
    w.harness.run_steps(2);
    let (key, modifiers) = (Key::Enter, Modifiers::NONE);
    let events = [
        Event::Text("as they are".to_owned()),
        Event::Key { key, physical_key: None, pressed: true, repeat: false, modifiers },
    ];
    w.harness.input_mut().events.extend(events);
    w.harness.run_steps(2);
    assert_eq!((w.state().clip.frames, w.state().palette), (FrameEdit::Keep, false));
}

#[test]
fn a_key_that_is_held_toggles_once() {
    let mut w = open();
    let space = |pressed, repeat| Event::Key {
        key: Key::Space,
        physical_key: None,
        pressed,
        repeat,
        modifiers: Modifiers::NONE,
    };
    for playing in [true, false] {
        w.harness.event(space(true, false));
        w.harness.run_steps(2);
        assert_eq!(w.state().playback.playing, playing, "a press is one");
        for _ in 0..5 {
            w.harness.event(space(true, true));
            w.harness.run_steps(2);
            assert_eq!(w.state().playback.playing, playing, "a repeated event is no press");
        }
        w.harness.event(space(false, false));
        w.harness.run_steps(2);
    }
    // A step is taken again and again.
    go(&mut w, 0.4);
    for (repeat, secs) in [(false, 0.44), (true, 0.48), (true, 0.52)] {
        let modifiers = Modifiers::NONE;
        w.harness.event(Event::Key { key: Key::ArrowRight, physical_key: None, pressed: true, repeat, modifiers });
        w.harness.step();
        w.until("the next frame", |s| shows(s, secs));
    }
}

#[test]
fn the_wheel_zooms_around_the_pointer_and_moves_along() {
    let mut w = open();
    let lane = w.harness.get_by_label("Timeline").rect();
    let (x0, width) = (lane.left() + 64.0, f64::from(lane.width() - 64.0));
    let view = |w: &Window| w.state().view.timeline.unwrap_or(Span::new(0.0, 2.0));
    let at = Pos2::new(x0 + width as f32 * 0.3, lane.center().y);
    let under = |w: &Window| {
        let view = view(w);
        view.start_secs + view.duration_secs() * f64::from(at.x - x0) / width
    };
    let wheel = |w: &mut Window, delta: Vec2, modifiers: Modifiers| {
        w.harness.event(Event::ModifiersChanged(modifiers));
        let (unit, phase) = (egui::MouseWheelUnit::Point, egui::TouchPhase::Move);
        w.harness.event(Event::MouseWheel { unit, delta, phase, source: egui::MouseWheelSource::Wheel, modifiers });
        // A wheel turns smoothly, over several frames.
        for _ in 0..60 {
            w.harness.step();
        }
        w.harness.event(Event::ModifiersChanged(Modifiers::NONE));
        w.harness.run_steps(2);
    };
    w.harness.hover_at(at);
    w.harness.run_steps(2);
    let before = under(&w);
    for _ in 0..3 {
        let long = view(&w).duration_secs();
        wheel(&mut w, Vec2::new(0.0, 60.0), Modifiers::NONE);
        let now = view(&w).duration_secs();
        assert!(now < long * 0.9, "from {long} s to {now} s");
        let moved = (under(&w) - before).abs() / now * width;
        assert!(moved < 1.0, "what was under the pointer moved by {moved} px");
    }
    let (from, t) = (view(&w), under(&w));
    wheel(&mut w, Vec2::new(0.0, -80.0), Modifiers::SHIFT);
    let now = view(&w);
    assert!(now.start_secs > from.start_secs + 1e-3, "{from:?} to {now:?}");
    assert!((now.duration_secs() - from.duration_secs()).abs() < 1e-6, "its length stays: {from:?} to {now:?}");
    assert!(under(&w) > t, "later times come under the pointer");
    wheel(&mut w, Vec2::new(0.0, 80.0), Modifiers::SHIFT);
    assert!(view(&w).start_secs < now.start_secs, "and back");
    // A double click on the ruler shows all.
    let ruler = Pos2::new(at.x, lane.top() + 8.0);
    w.harness.hover_at(ruler);
    w.harness.step();
    // In one frame: two of this harness's are further apart than the clicks of a hand.
    for pressed in [true, false, true, false] {
        let (button, modifiers) = (egui::PointerButton::Primary, Modifiers::NONE);
        w.harness.input_mut().events.push(Event::PointerButton { pos: ruler, button, pressed, modifiers });
    }
    w.harness.run_steps(3);
    assert_eq!(w.state().view.timeline, None, "all of it is shown");
}

/// Plays a tenth of a second as a device does; its root mean square, from when the loudness has settled.
fn loudness(w: &mut Window) -> f64 {
    let mut heard: Vec<f32> = Vec::new();
    // The sound thread may be behind this stand-in device: a block with a hole does not count.
    while heard.len() < 20 * 960 {
        w.harness.step();
        if w.sound.ready() < 480 {
            w.sound.pump(&mut [0.0; 2]);
            std::thread::yield_now();
            continue;
        }
        let mut out = [0.0; 960];
        w.sound.pump(&mut out);
        heard.extend(out);
        assert!(w.state().playback.playing, "it stopped");
    }
    let settled = &heard[10 * 960..];
    (settled.iter().map(|s| f64::from(s * s)).sum::<f64>() / settled.len() as f64).sqrt()
}

#[test]
fn loudness_is_as_it_was_set_and_stays_for_the_next_file() {
    let files = tempfile::tempdir().unwrap();
    let tone = "-f lavfi -i sine=frequency=500:sample_rate=48000:duration=60";
    let first = make(files.path(), "first.wav", tone);
    let second = make(files.path(), "second.wav", tone);
    let mut w = Window::start(files, Options::new(Some(first), Err("none".into())));
    let opened = |s: &State| matches!(s.media, Media::Open { .. }) && !s.lanes_pending;
    w.until("the sound", opened);
    give(&mut w, &Command::TogglePlay);
    let whole = loudness(&mut w);
    // FFmpeg's sine has an amplitude of 1/8.
    assert!((whole - 0.125 / 2f64.sqrt()).abs() < 2e-3, "{whole}");
    give(&mut w, &Command::SetVolume(0.5));
    let half = loudness(&mut w);
    assert!((half / whole - 0.5).abs() < 0.01, "{half} of {whole}");
    let use_file = |w: &mut Window, path: &std::path::Path| {
        let id = w.state().clip_id;
        give(w, &Command::Use(FileUse::Clip, vec![path.to_owned()]));
        w.until("the next file", |s| s.clip_id > id && opened(s));
        if !w.state().playback.playing {
            give(w, &Command::TogglePlay);
        }
    };
    use_file(&mut w, &second);
    assert_eq!(w.state().playback.volume, 0.5);
    let next = loudness(&mut w);
    assert!((next / whole - 0.5).abs() < 0.01, "{next} of {whole}: the volume stays");
    give(&mut w, &Command::ToggleMute);
    let path = w.state().clip.file().unwrap().with_file_name("first.wav");
    use_file(&mut w, &path);
    assert!(w.state().playback.muted);
    assert_eq!(loudness(&mut w), 0.0, "it stays muted");
}

#[test]
fn space_plays_forwards_after_j_came_to_the_start() {
    let mut w = open();
    go(&mut w, 0.2);
    w.harness.key_press(Key::J);
    w.harness.run_steps(2);
    assert_eq!((w.state().playback.playing, w.state().playback.speed), (true, -1.0));
    for _ in 0..2_000 {
        w.play_secs(0.02);
        if !w.state().playback.playing {
            break;
        }
    }
    assert!(!w.state().playback.playing && w.state().playback.position_secs < 0.05, "J ends at the start");
    w.harness.key_press(Key::Space);
    w.harness.run_steps(2);
    assert_eq!((w.state().playback.playing, w.state().playback.speed), (true, 1.0));
    for _ in 0..2_000 {
        w.play_secs(0.02);
        if w.state().playback.position_secs > 0.2 {
            break;
        }
    }
    assert!(w.state().playback.position_secs > 0.2, "time runs forwards");
}

#[test]
fn the_buttons_beside_the_selection_choose_what_is_asked_about() {
    let mut w = open();
    select(&mut w, 0.5, 1.0);
    w.harness.run_steps(2);
    let part = |w: &Window| (w.state().clip.start_secs, w.state().clip.end_secs);
    w.click("Ask about the selection only");
    assert_eq!(part(&w), (Some(0.5), Some(1.0)));
    w.harness.run_steps(2);
    assert!(!w.has("Ask about the selection only"), "it is asked about already");
    w.click("Ask about the whole clip");
    assert_eq!(part(&w), (None, None));
    // Without the selection, what is asked about can still be given up.
    w.click("Ask about the selection only");
    give(&mut w, &Command::Select(None));
    w.click("Ask about the whole clip");
    assert_eq!(part(&w), (None, None));
}

/// The model hears 300 s of a sound; the window plays all of it.
#[test]
fn a_long_sound_alone_is_as_long_as_it_is() {
    let files = tempfile::tempdir().unwrap();
    let long = make(files.path(), "long.wav", "-f lavfi -i sine=frequency=300:sample_rate=8000:duration=400");
    let mut w = Window::start(files, Options::new(Some(long), Err("none".into())));
    w.until("the sound and its lanes", |s| {
        matches!(s.media, Media::Open { .. }) && s.lanes.is_some() && !s.lanes_pending
    });
    w.until("its length", |s| s.duration_secs().is_some_and(|d| (d - 400.0).abs() < 0.01));
    let lanes = w.state().lanes.clone().unwrap();
    assert!(
        (lanes.samples.len() as f64 / lanes.rate - 300.0).abs() < 0.01,
        "the model hears {} samples",
        lanes.samples.len()
    );
    give(&mut w, &Command::End);
    assert!((w.state().playback.position_secs - 400.0).abs() < 0.01, "{}", w.state().playback.position_secs);
    give(&mut w, &Command::Seek(390.0));
    give(&mut w, &Command::TogglePlay);
    let heard = loudness(&mut w);
    assert!(heard > 0.05, "beyond what the model hears, {heard} is heard");
    assert_eq!(ManualOutput::RATE, 48_000);
}
