//! The window as an instrument: speeds, loops, the selection on the axis, sounds and words, worked by keys and mouse.
//! Knows nothing of pixels beyond where a lane lies.

use egui::{Key, Modifiers};
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use modalens::app::Options;
use modalens::clip::{AudioSource, FrameEdit, SoundEdit};
use modalens::command::Command;
use modalens::export::snapshot::{Snapshot, snapshot};
use modalens::state::{Media, State};
use modalens::time::Span;

use crate::ui::{CLIP, Window, make, model, ready};

fn open() -> Window {
    let mut w = Window::open(Some(("clip.mp4", CLIP)), Err("none".to_owned()));
    w.until("the clip and its lanes", |s| matches!(s.media, Media::Open { .. }) && !s.lanes_pending);
    w.until("the first frame", |s| s.playback.frame_pts_secs == Some(0.0));
    w
}

impl Window {
    fn press(&mut self, key: Key) {
        self.harness.key_press(key);
        self.harness.run_steps(2);
    }

    fn span(&self) -> Option<Span> {
        self.state().selection.map(|s| s.span)
    }
}

#[test]
fn speeds_follow_their_keys() {
    let mut w = open();
    let speed = |w: &Window| (w.state().playback.chosen_speed, w.state().playback.speed);
    w.press(Key::CloseBracket);
    assert_eq!(speed(&w), (1.25, 1.25));
    w.press(Key::OpenBracket);
    w.press(Key::OpenBracket);
    assert_eq!(speed(&w), (0.75, 0.75));
    assert!(w.has("Speed"));
    w.press(Key::Backspace);
    assert_eq!(speed(&w), (1.0, 1.0));
    // L plays, again faster; J turns round; K stops, and what follows is the chosen speed again.
    w.press(Key::L);
    assert!(w.state().playback.playing);
    w.press(Key::L);
    assert_eq!(speed(&w), (1.0, 2.0));
    w.play_secs(0.3);
    w.press(Key::J);
    assert_eq!(speed(&w), (1.0, -1.0));
    w.press(Key::K);
    assert_eq!((w.state().playback.playing, speed(&w)), (false, (1.0, 1.0)));
    // The speed can be picked, too.
    w.click("Speed");
    w.click("0.5×");
    assert_eq!(speed(&w), (0.5, 0.5));
}

#[test]
fn a_selection_is_made_looped_moved_and_cleared() {
    let mut w = open();
    w.harness.key_press(Key::I);
    w.harness.run_steps(2);
    assert_eq!(w.span(), Some(Span::new(0.0, 2.0)));
    w.press(Key::X);
    assert_eq!(w.span(), None);
    assert!(!w.has("Do not loop the selection"));

    // Shift+drag on the axis makes one; dragging its edge moves that edge; the playhead stays.
    let lane = w.harness.get_by_label("Timeline").rect();
    let x = |part: f32| egui::pos2(lane.left() + 64.0 + (lane.width() - 64.0) * part, lane.center().y);
    let drag = |w: &mut Window, from: f32, to: f32, modifiers: Modifiers| {
        w.harness.hover_at(x(from));
        w.harness.step();
        w.harness.event(egui::Event::ModifiersChanged(modifiers));
        w.harness.drag_at(x(from));
        w.harness.step();
        w.harness.hover_at(x(f32::midpoint(from, to)));
        w.harness.step();
        w.harness.hover_at(x(to));
        w.harness.step();
        w.harness.drop_at(x(to));
        w.harness.step();
        w.harness.event(egui::Event::ModifiersChanged(Modifiers::NONE));
        w.harness.run_steps(2);
    };
    drag(&mut w, 0.25, 0.5, Modifiers::SHIFT);
    let near = |span: Option<Span>, from: f64, to: f64| {
        let s = span.unwrap();
        assert!((s.start_secs - from).abs() < 0.02 && (s.end_secs - to).abs() < 0.02, "{s:?}");
    };
    near(w.span(), 0.5, 1.0);
    assert_eq!(w.state().playback.position_secs, 0.0);
    drag(&mut w, 0.5, 0.75, Modifiers::NONE);
    near(w.span(), 0.5, 1.5);
    // A drag elsewhere moves the playhead.
    drag(&mut w, 0.6, 0.3, Modifiers::NONE);
    assert!((w.state().playback.position_secs - 0.6).abs() < 0.02, "{}", w.state().playback.position_secs);
    near(w.span(), 0.5, 1.5);
    w.until("the exact frame", |s: &State| s.playback.frame_pts_secs.is_some_and(|t| (t - 0.6).abs() < 0.041));

    // Playing stays in it.
    w.press(Key::Space);
    let mut turns = 0;
    let mut last = w.state().playback.position_secs;
    for _ in 0..400 {
        w.play_secs(0.03);
        let at = w.state().playback.position_secs;
        turns += u32::from(at < last);
        assert!((0.48..1.53).contains(&at), "{at}");
        last = at;
        if turns == 2 {
            break;
        }
    }
    assert_eq!(turns, 2, "it never turned");
    w.click("Do not loop the selection");
    assert!(!w.state().selection.unwrap().looping);
    w.press(Key::X);
    assert_eq!(w.span(), None);
}

#[test]
fn a_long_clip_goes_on_where_it_was_left() {
    let files = tempfile::tempdir().unwrap();
    let long = make(files.path(), "long.mp4", "-f lavfi -i color=gray:size=32x32:rate=5:duration=90");
    let other = make(files.path(), "other.mp4", "-f lavfi -i color=red:size=32x32:rate=5:duration=1");
    let places = files.path().join("state/places.json");
    let options = Options { places: Some(places.clone()), ..Options::new(Some(long.clone()), Err("none".into())) };
    let mut w = Window::start(files, options);
    w.until("the clip", |s| matches!(s.media, Media::Open { .. }));
    assert_eq!(w.state().playback.position_secs, 0.0);
    w.harness.state_mut().perform(&Command::Seek(42.0));
    w.until("the place", |s| s.playback.frame_pts_secs.is_some_and(|t| (t - 42.0).abs() < 0.3));
    let use_file = |w: &mut Window, path: &std::path::Path| {
        let command = Command::Use(modalens::event::FileUse::Clip, vec![path.to_owned()]);
        let before = w.state().clip_id;
        w.harness.state_mut().perform(&command);
        w.until("another clip", |s| s.clip_id > before && matches!(s.media, Media::Open { .. }));
    };
    use_file(&mut w, &other);
    assert!(places.is_file());
    use_file(&mut w, &long);
    w.until("where it was left", |s| s.playback.frame_pts_secs.is_some_and(|t| (t - 42.0).abs() < 0.3));
    assert!(w.state().notices.iter().any(|n| n.text.contains("0:42")), "{:?}", w.state().notices);
}

#[test]
fn sound_and_frames_are_changed_undone_and_redone() {
    let mut w = open();
    let first = w.state().case();
    // Noise, with another seed.
    w.click("Sound details");
    w.click("Noise");
    w.until("the noise", |s| s.clip.audio == AudioSource::Noise { seed: 0, level_db: -20 } && s.lanes.is_some());
    // It has no end of its own: its lanes end with the picture.
    let lanes = w.state().lanes.clone().unwrap();
    assert!((lanes.samples.len() as f64 / lanes.rate - 2.0).abs() < 0.05, "{}", lanes.samples.len());
    w.click("Seed 0");
    w.click("Repeat it when it is shorter than the video");
    let sound = SoundEdit { repeat: true, ..SoundEdit::default() };
    assert_eq!((&w.state().clip.audio, w.state().clip.sound), (&AudioSource::Noise { seed: 1, level_db: -20 }, sound));
    w.press(Key::Escape);
    // The frames, too: what is shown is black, and the picture says so.
    w.click("Frames");
    w.click("Black");
    assert_eq!(w.state().clip.frames, FrameEdit::Black);
    w.press(Key::Escape);
    let last = w.state().case();
    assert!(w.state().playback.frame_pts_secs.is_some());

    let mut steps = 0;
    while w.state().can_undo()[0] {
        w.harness.key_press_modifiers(Modifiers::COMMAND, Key::Z);
        w.harness.run_steps(2);
        steps += 1;
    }
    assert_eq!((steps, w.state().case()), (4, first));
    w.until("the sound as it was", |s| s.lanes.is_some());
    for _ in 0..steps {
        w.harness.key_press_modifiers(Modifiers::COMMAND | Modifiers::SHIFT, Key::Z);
        w.harness.run_steps(2);
    }
    assert_eq!(w.state().case(), last);
    // Buttons do the same; in a text field, too, Ctrl+Z takes back what was typed.
    w.click("Undo");
    assert_eq!(w.state().clip.frames, FrameEdit::Keep);
    w.click("Redo");
    let field = w.harness.get_by_role_and_label(egui::accesskit::Role::TextInput, "Caption");
    field.click();
    w.harness.step();
    w.harness.get_by_role_and_label(egui::accesskit::Role::TextInput, "Caption").type_text("a dog");
    w.harness.run_steps(2);
    assert_eq!(w.state().draft.caption, "a dog");
    w.harness.key_press_modifiers(Modifiers::COMMAND, Key::Z);
    w.harness.run_steps(2);
    assert_eq!(w.state().draft.caption, "");
    assert_eq!(w.state().case(), last);
}

#[test]
fn the_videos_own_sound_is_heard_while_a_key_is_held() {
    let mut w = open();
    w.harness.state_mut().perform(&Command::SetAudio(AudioSource::None));
    w.harness.key_down(Key::B);
    w.harness.run_steps(3);
    assert!(w.state().playback.own_sound);
    assert_eq!(w.state().clip.audio, AudioSource::None, "the case is as it was");
    w.harness.key_up(Key::B);
    w.harness.run_steps(3);
    assert!(!w.state().playback.own_sound);
}

#[test]
fn words_show_what_they_become_and_conditions_change_one_thing() {
    let mut w = Window::open(Some(("clip.mp4", CLIP)), Ok(model()));
    w.until("clip, lanes and model", ready);
    w.until("the words", |s| s.words.is_some());
    let text = w.state().words.clone().unwrap();
    let whole: String = text.pieces.iter().map(|p| p.text.as_str()).collect();
    // The template of the released checkpoints, word for word.
    let end = "<|vision_bos|><|audio_bos|><|VIDEO|><|AUDIO|><|audio_eos|><|vision_eos|>What do you hear?<|im_end|>\n\
               <|im_start|>assistant\n";
    assert!(whole.starts_with("<|im_start|>system\nYou are Qwen, a virtual human") && whole.ends_with(end), "{whole}");
    assert!(text.question > 0 && text.system > text.question && text.caption == 0 && text.options == 0);

    // What is counted is what is asked: the prompt's text tokens of a run are these.
    w.click("Ask");
    w.until("the prompt", |s| s.run.as_ref().is_some_and(|r| r.provenance.is_some()));
    assert_eq!(w.state().run.as_ref().unwrap().counts()[2], text.tokens());
    w.until("the answer", |s| s.run.as_ref().is_some_and(|r| r.end.is_some()));

    // Escape closes the menu, and only the menu.
    let stale = "Words, sound, picture or model have changed since: ask again";
    w.harness.state_mut().perform(&Command::Lock(Some(0)));
    w.click("Try…");
    assert!(w.has("Misleading caption"));
    w.press(Key::Escape);
    w.harness.run_steps(2);
    assert!(!w.has("Misleading caption") && w.state().locked == Some(0) && !w.has(stale));
    w.press(Key::Escape);
    assert_eq!(w.state().locked, None);

    let choose = |w: &mut Window, name: &str| {
        w.click("Try…");
        w.click(name);
    };
    choose(&mut w, "Misleading caption");
    w.until("the caption's tokens", |s| s.words.as_ref().is_some_and(|t| t.caption > 0));
    assert!(w.state().draft.caption.len() > 2);
    // The answer that stands there was to something else, until that is back.
    assert!(w.has(stale));
    w.click("Undo");
    assert!(!w.has(stale));
    w.click("Redo");
    choose(&mut w, "What is heard, of 61 classes");
    w.until("the options' tokens", |s| s.words.as_ref().is_some_and(|t| t.options > 60));
    choose(&mut w, "Sound removed");
    assert_eq!((w.state().draft.caption.as_str(), &w.state().clip.audio), ("", &AudioSource::None));
    w.until("words without sound", |s| {
        s.words.as_ref().is_some_and(|t| t.caption == 0 && !t.pieces.iter().any(|p| p.text.contains("AUDIO")))
    });
    choose(&mut w, "Frames black");
    assert_eq!(w.state().clip.frames, FrameEdit::Black);
    choose(&mut w, "Long context: 1000 letters");
    w.until("the context's tokens", |s| s.words.as_ref().is_some_and(|t| t.context >= 1_000));
    choose(&mut w, "Aligned: the clip as it is");
    assert_eq!(w.state().clip.audio, AudioSource::Original { track: None });
    // Each was one step.
    for _ in 0..6 {
        assert!(w.state().can_undo()[0]);
        w.harness.state_mut().perform(&Command::Undo);
    }
    assert_eq!((w.state().draft.caption.as_str(), w.state().can_undo()[0]), ("", false));
}

#[test]
fn lanes_show_all_of_a_long_sound_and_the_original_beside_another() {
    let files = tempfile::tempdir().unwrap();
    let picture = "-f lavfi -i color=gray:size=32x32:rate=1:duration=400";
    let sound = "-f lavfi -i sine=frequency=300:sample_rate=8000:duration=400";
    let long = make(files.path(), "long.mkv", &format!("{picture} {sound} -c:v mpeg4 -c:a pcm_s16le"));
    let cache = files.path().join("cache");
    let options = Options { cache: Some(cache.clone()), ..Options::new(Some(long.clone()), Err("none".into())) };
    let whole = |s: &State| {
        s.outlines[0].as_ref().is_some_and(|o| !o.growing && (o.end_secs() - 400.0).abs() < 0.1) && !s.lanes_pending
    };
    let mut w = Window::start(files, options);
    w.until("the whole outline", whole);
    // The model hears no more than 300 s of it; the lane shows all.
    let lanes = w.state().lanes.clone().unwrap();
    assert!((lanes.samples.len() as f64 / lanes.rate - 300.0).abs() < 0.01);
    let outline = w.state().outlines[0].clone().unwrap();
    let loud = outline.columns(Span::new(390.0, 399.0), 100);
    assert!(loud[100..].iter().all(|h| *h > 0.05), "{loud:?}");
    assert!(w.state().outlines[1].is_none(), "there is nothing to compare it with");
    w.harness.run_steps(2);

    // Another sound: its own outline, and beside it the original's, which now comes from the disk: the same to the
    // precision that it is kept with.
    let kept = std::fs::read_dir(&cache).unwrap().map(|f| f.unwrap().path());
    assert_eq!(kept.filter(|f| f.extension().is_some_and(|e| e == "outline")).count(), 1);
    let short = make(w.files.path(), "short.wav", "-f lavfi -i sine=frequency=500:duration=1");
    w.harness.state_mut().perform(&Command::SetAudio(AudioSource::File { path: short, track: None }));
    w.until("both outlines", |s| s.outlines.iter().all(Option::is_some));
    let [other, own] = w.state().outlines.clone().map(Option::unwrap);
    assert!((other.end_secs() - 1.0).abs() < 0.05);
    let near = |a: &[f32; 2], b: &[f32; 2]| (a[0] - b[0]).abs().max((a[1] - b[1]).abs()) < 2e-4;
    assert!(
        own.pairs().len() == outline.pairs().len() && own.pairs().iter().zip(outline.pairs()).all(|(a, b)| near(a, b))
    );
    w.harness.run_steps(2);
}

/// Size and bytes of a PNG.
fn pixels(path: &std::path::Path) -> ((u32, u32), Vec<u8>) {
    let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let mut data = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut data).unwrap();
    ((info.width, info.height), data)
}

#[test]
fn a_frame_is_saved_as_it_is_shown() {
    let mut w = open();
    let path = w.files.path().join("frame.png");
    let saved = |w: &mut Window, path: &std::path::Path| {
        let path = path.display().to_string();
        w.harness.state_mut().perform(&Command::SaveFrame(Some(path.clone().into())));
        w.until("the file", |s| s.notices.iter().any(|n| n.text.contains(&path)));
        let notice = w.state().notices.iter().find(|n| n.text.contains(&path)).unwrap().clone();
        (notice.error, notice.text)
    };
    let (error, text) = saved(&mut w, &path);
    assert!(!error && text.contains("frame.png"), "{text}");
    // The first frame, and another one that was gone to: each pixel for pixel what `snapshot` draws of that time.
    let drawn = w.files.path().join("drawn.png");
    let film = w.state().clip.video.clone().unwrap();
    let mut pictures = Vec::new();
    for at_secs in [0.0, 1.0] {
        w.harness.state_mut().perform(&Command::Seek(at_secs));
        w.until("the frame", |s| s.playback.frame_pts_secs.is_some_and(|t| (t - at_secs).abs() < 1e-3));
        let path = w.files.path().join(format!("frame at {at_secs}.png"));
        let (error, text) = saved(&mut w, &path);
        assert!(!error, "{text}");
        snapshot(&Snapshot { video: film.clone(), at_secs, heat: None }, &drawn).unwrap();
        let (size, shown) = pixels(&path);
        assert_eq!(size, (160, 120));
        assert!((size, &shown) == (pixels(&drawn).0, &pixels(&drawn).1), "another picture is saved at {at_secs} s");
        pictures.push(shown);
    }
    assert!(pictures[0] != pictures[1], "both are the same: the comparison compares nothing");
    let nowhere = w.files.path().join("no such folder/frame.png");
    let (error, text) = saved(&mut w, &nowhere);
    assert!(error && text.contains("no such folder"), "{text}");
}

#[test]
fn answer_tokens_stand_on_the_axis_and_lanes_fold() {
    let mut w = Window::open(Some(("clip.mp4", CLIP)), Ok(model()));
    w.until("clip, lanes and model", ready);
    w.until("the first frame", |s| s.playback.frame_pts_secs == Some(0.0));
    w.click("Ask");
    w.until("the answer", |s| s.run.as_ref().is_some_and(|r| r.end.is_some()));
    w.harness.run_steps(2);
    let lane = w.harness.get_by_label("Timeline").rect();
    let chip = w.harness.query_all_by_label_contains("on the axis").next().expect("a token on the axis");
    let (name, rect) = (chip.accesskit_node().label().unwrap(), chip.rect());
    assert!(lane.contains_rect(rect), "{rect:?} in {lane:?}");
    let token: usize = name.split_whitespace().nth(1).unwrap().parse().unwrap();
    // Pointing at it shows its maps, a click keeps them, as among the answer's own tokens.
    w.harness.hover_at(rect.center());
    w.harness.run_steps(3);
    assert_eq!(w.state().hovered, Some(token - 1));
    w.click(&name);
    assert_eq!(w.state().locked, Some(token - 1));
    // A folded lane leaves its room to the others and comes back.
    w.click("Tokens lane");
    assert!(w.state().view.folded[1]);
    assert!(w.harness.query_all_by_label_contains("on the axis").next().is_none());
    w.click("Tokens lane");
    assert!(!w.state().view.folded[1]);
    assert!(w.harness.query_all_by_label_contains("on the axis").next().is_some());
    let height = |w: &Window, name: &str| w.harness.get_by_label(name).rect().height();
    let sound = height(&w, "Sound lane");
    w.click("Log-mel lane");
    w.harness.run_steps(2);
    assert!(height(&w, "Sound lane") > sound + 10.0, "{sound} before");
    w.click("Log-mel lane");
    for name in ["Pictures lane", "Video lane", "Sound lane", "Log-mel lane"] {
        w.click(name);
    }
    w.harness.run_steps(2);
    assert_eq!(w.state().view.folded, [true, false, true, true, false, true]);
}
