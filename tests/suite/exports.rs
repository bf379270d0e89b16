//! What is written for the user: overlay videos of a whole clip or a part, at the clip's own size and rate, with sound in
//! step, from the command line and out of the window; and that nothing is left behind where it fails or is stopped.
//! Knows nothing of how it is drawn (see `shaders`).

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Output};

use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use modalens::clip::{AudioSource, ClipSpec, FrameEdit};
use modalens::command::Command;
use modalens::event::Event;
use modalens::export::overlay::{Overlay, Progress};
use modalens::export::snapshot::{Snapshot, snapshot};
use modalens::exports::{ExportNews, ExportsCommand, Saving};
use modalens::frame::Planes;
use modalens::media::{AudioReader, MediaError, VideoReader, probe};
use modalens::settings::Sampling;
use modalens::state::State;
use modalens::time::Span;
use modalens::ui::{self, Memory, Scene};

use crate::checkpoint::fixture;
use crate::media::Clips;
use crate::ui::{CLIP, Window, model, ready};

/// Gray that brightens by 2 levels a frame; at 1.5 s a white flash of 0.2 s and, with it, a tone.
const TELLING: &str = "-f lavfi -i color=black:size=162x122:rate=25:duration=4,geq=lum='if(between(T,1.5,1.6999),235,20+2*N)':cb=128:cr=128 \
    -f lavfi -i aevalsrc='if(between(t,1.5,1.7),0.5*sin(2*PI*1000*t),0)':s=48000:d=4 \
    -c:v libx264 -qp 4 -pix_fmt yuv420p -c:a pcm_f32le";

fn telling(clips: &Clips) -> PathBuf {
    clips.make("telling.mov", TELLING)
}

/// Mean luma of each frame's upper part (above the sound's lane), with its time.
fn lumas(path: &Path, rows: usize) -> Vec<(f64, f64)> {
    let mut reader = VideoReader::open(path).unwrap();
    let mut all = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        let plane = frame.planes()[0];
        let bytes = plane.data.chunks(plane.stride).take(rows).flat_map(|row| &row[..plane.width as usize]);
        let (sum, count) = bytes.fold((0.0, 0.0), |(s, n), b| (s + f64::from(*b), n + 1.0));
        all.push((frame.pts_secs(), sum / count));
    }
    all
}

/// When the first loud sample is heard, in seconds.
fn onset(path: &Path) -> f64 {
    let mut reader = AudioReader::open(path, None, 48_000, 1).unwrap();
    while let Some(chunk) = reader.next_chunk().unwrap() {
        if let Some(i) = chunk.samples.iter().position(|s| s.abs() > 0.2) {
            return (chunk.start + i as i64) as f64 / 48_000.0;
        }
    }
    panic!("nothing is heard in {}", path.display());
}

fn write(clip: &ClipSpec, span: Option<Span>, path: &Path) -> (usize, [u32; 2]) {
    let sampling = Sampling::default();
    let what = Overlay { clip, sampling: &sampling, map: None, span };
    let mut seen: Vec<Progress> = Vec::new();
    let (written, _) = what.write(path, None, &|| false, &mut |p| seen.push(p)).unwrap();
    assert!(seen.iter().enumerate().all(|(i, p)| p.done == i + 1 && p.all == seen.len()), "{seen:?}");
    (seen.len(), written.size)
}

#[test]
fn a_part_is_written_at_the_clips_own_size_and_rate_with_sound_in_step() {
    let clips = Clips::new();
    let path = telling(&clips);
    let clip = ClipSpec::original(&path);
    let out = clips.path("part.mp4");
    // Between two frames: the one that stands there comes first.
    let (frames, size) = write(&clip, Some(Span::new(1.03, 3.03)), &out);
    assert_eq!((frames, size), (50, [162, 122 + 72]));
    let about = probe(&out).unwrap();
    let video = about.video.unwrap();
    assert_eq!((video.width, video.height, video.fps), (162, 194, Some(25.0)));
    assert_eq!(video.matrix, "bt709");
    assert!((about.duration_secs.unwrap() - 2.0).abs() < 0.03, "{:?}", about.duration_secs);
    let lumas = lumas(&out, 120);
    assert_eq!(lumas.len(), 50);
    // The frame of 1.00 s is the 25th: 20 + 2·25; limited range stays as it is.
    for (i, (pts, luma)) in lumas.iter().enumerate() {
        let n = 25 + i;
        let want = if (38..43).contains(&n) { 235.0 } else { 20.0 + 2.0 * n as f64 };
        assert!((luma - want).abs() < 3.0, "frame {i}: {luma} for {want}");
        assert!((pts - i as f64 / 25.0).abs() < 1e-3, "frame {i} at {pts}");
    }
    // The tone begins at 1.5 s of the clip, 0.47 s of the part.
    assert!((onset(&out) - 0.47).abs() < 0.004, "the sound begins at {}", onset(&out));

    // The whole of it, as WebM; the used part of the clip where nothing else is said.
    let used = ClipSpec { start_secs: Some(1.0), end_secs: Some(2.0), ..clip };
    let webm = clips.path("used.webm");
    assert_eq!(write(&used, None, &webm), (25, [162, 194]));
    assert!((onset(&webm) - 0.5).abs() < 0.01, "the sound begins at {}", onset(&webm));
    assert!((probe(&webm).unwrap().duration_secs.unwrap() - 1.0).abs() < 0.05);
}

#[test]
fn sizes_rates_and_frame_edits_are_the_clips_own() {
    let clips = Clips::new();
    // Odd, large, turned, not square, a television rate, fast.
    for (name, args, size, fps) in [
        (
            "odd.mkv",
            "-f lavfi -i testsrc=size=97x63:rate=30000/1001:duration=0.4 -c:v ffv1",
            [97, 63],
            30_000.0 / 1_001.0,
        ),
        (
            "large.mp4",
            "-f lavfi -i testsrc2=size=2050x1026:rate=10:duration=0.2 -c:v libx264 -preset ultrafast",
            [2_050, 1_026],
            10.0,
        ),
        ("wide.mkv", "-f lavfi -i testsrc2=size=96x64:rate=60:duration=0.2,setsar=2/1 -c:v ffv1", [192, 64], 60.0),
    ] {
        let clip = ClipSpec { video: Some(clips.make(name, args)), ..ClipSpec::default() };
        let out = clips.path("own.mp4");
        assert_eq!(write(&clip, None, &out).1, size, "{name}");
        let video = probe(&out).unwrap().video.unwrap();
        // 4:2:0 needs even sizes: one column or row is repeated.
        assert_eq!([video.width, video.height], size.map(|n: u32| n.next_multiple_of(2)), "{name}");
        assert!((video.fps.unwrap() - fps).abs() < 1e-3, "{name}: {:?}", video.fps);
    }
    // Black, frozen at the start of the used part, another sound (cut to the picture), sound alone, a still.
    let path = telling(&clips);
    let long = clips.make("long.wav", "-f lavfi -i sine=frequency=300:duration=9");
    let other = AudioSource::File { path: long.clone(), track: None };
    let black = ClipSpec { frames: FrameEdit::Black, audio: other.clone(), ..ClipSpec::original(&path) };
    let out = clips.path("black.mp4");
    write(&black, Some(Span::new(3.0, 6.0)), &out);
    assert!(lumas(&out, 120).iter().all(|(_, luma)| *luma < 18.0));
    let frozen = ClipSpec { frames: FrameEdit::Freeze, start_secs: Some(2.0), ..ClipSpec::original(&path) };
    write(&frozen, Some(Span::new(3.0, 3.4)), &out);
    assert!(lumas(&out, 120).iter().all(|(_, luma)| (luma - 120.0).abs() < 3.0), "{:?}", lumas(&out, 120));
    let swapped = ClipSpec { audio: other.clone(), ..ClipSpec::original(&path) };
    assert_eq!(write(&swapped, None, &out).0, 100);
    let alone = ClipSpec { audio: other.clone(), ..ClipSpec::default() };
    assert_eq!(write(&alone, None, &out), (135, [960, 72]));
    let still = clips.make("still.png", "-f lavfi -i color=red:size=64x48 -frames:v 1");
    let still = ClipSpec { audio: other, ..ClipSpec { video: Some(still), ..ClipSpec::default() } };
    assert_eq!(write(&still, Some(Span::new(1.0, 2.0)), &out), (15, [64, 120]));
    assert_eq!(write(&still, None, &out).0, 135, "a still lasts as long as its sound");
}

#[test]
fn an_overlay_ends_where_what_it_shows_does() {
    let clips = Clips::new();
    let end = |clip: &ClipSpec| {
        let sampling = Sampling::default();
        let what = Overlay { clip, sampling: &sampling, map: None, span: None };
        what.whole(&|| false).unwrap().unwrap().end_secs
    };
    // A sound that takes the place of one that outlasts the picture is cut to the picture.
    let long = clips.make(
        "long.mp4",
        "-f lavfi -i testsrc2=size=64x48:rate=25:duration=1 -f lavfi -i sine=duration=3 -c:v libx264 -c:a aac",
    );
    let other = AudioSource::File { path: clips.make("other.wav", "-f lavfi -i sine=duration=5"), track: None };
    assert!((end(&ClipSpec { audio: other, ..ClipSpec::original(&long) }) - 1.0).abs() < 0.05);
    assert!(end(&ClipSpec::original(&long)) > 2.9);
    // A raw stream says no length; it is not over after a second.
    let raw = clips.make("raw.h264", "-f lavfi -i testsrc2=size=64x48:rate=25:duration=2 -c:v libx264 -f h264");
    assert!((end(&ClipSpec::original(&raw)) - 2.0).abs() < 0.1);
}

#[test]
fn what_is_stopped_or_fails_leaves_nothing_behind() {
    let clips = Clips::new();
    let clip = ClipSpec::original(telling(&clips));
    let folder = tempfile::tempdir().unwrap();
    let sampling = Sampling::default();
    let what = Overlay { clip: &clip, sampling: &sampling, map: None, span: None };
    let files = || std::fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().file_name()).collect::<Vec<_>>();
    let path = folder.path().join("out.mp4");
    std::fs::write(&path, "an older one").unwrap();
    for after in [0, 1, 30] {
        let done = Cell::new(0);
        let stop = || done.get() >= after;
        let stopped = what.write(&path, None, &stop, &mut |p| done.set(p.done)).unwrap_err();
        assert!(matches!(stopped.downcast_ref(), Some(MediaError::Cancelled)), "{stopped:#}");
        assert_eq!(done.get(), after);
        assert_eq!(files(), ["out.mp4"]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "an older one");
    }
    let missing = folder.path().join("no such folder/out.mp4");
    for (path, said) in [(missing, "No such file"), (folder.path().join("out.avi"), ".mp4 or .webm")] {
        let error = format!("{:#}", what.write(&path, None, &|| false, &mut |_| {}).unwrap_err());
        assert!(error.contains(said) && error.contains(&*path.to_string_lossy()), "{error}");
        assert_eq!(files(), ["out.mp4"]);
    }
}

fn ask(video: &Path, out: &Path, before: &str, more: &[&str]) -> Output {
    let mut process = Process::new("sh");
    process.args(["-c", &format!("{before} exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_modalens"), "ask"]);
    process.args(["--device", "cpu", "--max-new-tokens", "2", "--question", "What?", "--video"]).arg(video);
    process.arg("--model").arg(fixture()).arg("--out").arg(out).args(more).output().unwrap()
}

#[test]
fn ask_writes_the_part_that_was_asked_about() {
    let clips = Clips::new();
    let path = telling(&clips);
    let out = clips.path("out");
    let asked = ask(&path, &out, "", &["--start", "1.2", "--end", "2.8"]);
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let video = out.join("overlay.mp4");
    let about = probe(&video).unwrap();
    assert!((about.duration_secs.unwrap() - 1.6).abs() < 0.03, "{:?}", about.duration_secs);
    assert_eq!(lumas(&video, 120).len(), 40);
    assert!((onset(&video) - 0.3).abs() < 0.004, "the sound begins at {}", onset(&video));
    // The first frame is the one of 1.2 s with its map over it, as a snapshot draws it.
    let png = clips.path("snapshot.png");
    let heat = Some(out.join("attention.safetensors"));
    let pts = snapshot(&Snapshot { video: path, at_secs: 1.2, heat }, &png).unwrap();
    assert!((pts - 1.2).abs() < 1e-3, "{pts}");
    let rgb = |path: &Path, crop: &str| {
        let mut ffmpeg = Process::new("ffmpeg");
        ffmpeg.args(["-v", "error", "-nostdin", "-i"]).arg(path);
        let raw = ["-frames:v", "1", "-vf", crop, "-pix_fmt", "rgb24", "-f", "rawvideo", "-"];
        ffmpeg.args(raw).output().unwrap().stdout
    };
    let crop = "crop=160:120:0:0,scale=out_color_matrix=bt709:in_color_matrix=bt709";
    let (a, b) = (rgb(&video, crop), rgb(&png, crop));
    assert_eq!((a.len(), b.len()), (160 * 120 * 3, 160 * 120 * 3));
    let error: f64 = a.iter().zip(&b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    let rms = (error / a.len() as f64).sqrt();
    assert!(rms < 6.0, "{rms} levels from the snapshot");
}

/// A disk that is full on the way, as a limit on the size of a file.
#[test]
#[cfg(unix)]
fn a_full_disk_is_one_line_and_no_file() {
    let clips = Clips::new();
    let noise =
        "-f lavfi -i nullsrc=size=640x480:rate=25:duration=2,geq=random(1)*255:128:128 -c:v libx264 -preset ultrafast";
    let video = clips.make("noise.mp4", noise);
    let out = clips.path("full");
    let asked = ask(&video, &out, "trap '' XFSZ; ulimit -f 900;", &["--audio", "none"]);
    let said = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert_eq!(asked.status.code(), Some(2), "{said}");
    assert!(said.contains("nothing was left behind") && said.contains("overlay.mp4"), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "{said}");
    let left: Vec<_> = std::fs::read_dir(&out).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(left, ["attention.safetensors"]);
}

/// Ctrl-C while the video is being written.
#[test]
#[cfg(unix)]
fn a_process_that_is_told_to_end_takes_its_unfinished_file_with_it() {
    let clips = Clips::new();
    let video =
        clips.make("long.mp4", "-f lavfi -i testsrc2=size=640x480:rate=30:duration=60 -c:v libx264 -preset ultrafast");
    for signal in ["INT", "TERM"] {
        let out = clips.path(signal);
        let mut asked = Process::new(env!("CARGO_BIN_EXE_modalens"))
            .args(["ask", "--device", "cpu", "--max-new-tokens", "1", "--fps", "0.1", "--question", "What?", "--video"])
            .arg(&video)
            .arg("--model")
            .arg(fixture())
            .arg("--out")
            .arg(&out)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let unfinished = || {
            let names = std::fs::read_dir(&out).into_iter().flatten().map(|f| f.unwrap().file_name());
            names.filter(|name| name.to_string_lossy().ends_with(".part")).count()
        };
        while unfinished() == 0 {
            assert_eq!(asked.try_wait().unwrap(), None, "it ended before a file was begun");
            std::thread::yield_now();
        }
        let kill = Process::new("kill").args([format!("-{signal}"), asked.id().to_string()]).status().unwrap();
        assert!(kill.success());
        let ended = asked.wait().unwrap();
        assert!(!ended.success(), "{ended:?}");
        assert_eq!(unfinished(), 0, "{signal}");
        assert!(!out.join("overlay.mp4").exists());
    }
}

/// What has the name and is no file stays what it is; a link still leads where it led.
#[cfg(unix)]
#[test]
fn a_picture_takes_the_place_of_a_file_and_of_nothing_else() {
    use std::os::unix::fs::FileTypeExt as _;
    let clips = Clips::new();
    let film = clips.make("film.mp4", "-f lavfi -i testsrc2=size=64x48:rate=10:duration=1");
    let to = |name: &str| snapshot(&Snapshot { video: film.clone(), at_secs: 0.0, heat: None }, &clips.path(name));
    let pipe = clips.path("pipe.png");
    assert!(Process::new("mkfifo").arg(&pipe).status().unwrap().success());
    let line = format!("{:#}", to("pipe.png").unwrap_err());
    assert!(line.contains("pipe.png") && line.contains("no file"), "{line}");
    assert!(std::fs::metadata(&pipe).unwrap().file_type().is_fifo(), "the pipe was replaced");
    std::os::unix::fs::symlink("nowhere.png", clips.path("lost.png")).unwrap();
    let line = format!("{:#}", to("lost.png").unwrap_err());
    assert!(line.contains("lost.png") && line.contains("leads nowhere"), "{line}");
    assert!(clips.path("lost.png").is_symlink(), "the link was replaced");
    std::fs::create_dir(clips.path("elsewhere")).unwrap();
    std::fs::write(clips.path("elsewhere/there.png"), "before").unwrap();
    std::os::unix::fs::symlink("elsewhere/there.png", clips.path("link.png")).unwrap();
    to("link.png").unwrap();
    assert!(clips.path("link.png").is_symlink(), "the link was replaced");
    assert!(std::fs::read(clips.path("elsewhere/there.png")).unwrap().starts_with(b"\x89PNG"));
}

/// `modalens … | head`: whoever stops reading is no fault of ours.
#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let clips = Clips::new();
    let film = clips.make("film.mp4", "-f lavfi -i testsrc2=size=64x48:rate=10:duration=1");
    let film = film.to_str().unwrap();
    for args in [vec!["probe", film], vec!["probe", "--json", film], vec!["doctor"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let out = Process::new(env!("CARGO_BIN_EXE_modalens")).args(&args).stdout(writer).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() && !said.contains("fault"), "{args:?}: {said}");
    }
}

/// Said before there is an answer to lose.
#[cfg(target_os = "linux")]
#[test]
fn a_folder_whose_name_ffmpeg_cannot_take_is_refused_at_once() {
    use std::os::unix::ffi::OsStrExt as _;
    let clips = Clips::new();
    let film = clips.make("film.mp4", "-f lavfi -i testsrc2=size=64x48:rate=10:duration=1");
    let folder = clips.path("").join(std::ffi::OsStr::from_bytes(b"o\xff"));
    let out = ask(&film, &folder, "", &[]);
    let line = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && line.contains("not valid UTF-8"), "{line}");
    assert!(out.stdout.is_empty(), "it answered first");
    assert!(!folder.exists());
}

#[test]
fn the_window_writes_what_it_shows_while_it_plays() {
    let mut w = Window::open(Some(("clip.mp4", CLIP)), Ok(model()));
    w.until("clip, lanes and model", ready);
    // Without an answer there is nothing to export, and the key says why.
    w.harness.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::E);
    w.harness.run_steps(2);
    assert!(w.state().notices.iter().any(|n| n.text.contains("Ask a question first")), "{:?}", w.state().notices);
    assert!(w.harness.get_by_label("Export video…").accesskit_node().is_disabled());
    w.harness.state_mut().perform(&Command::Ask);
    w.until("an answer", |s| s.run.as_ref().is_some_and(|r| !r.running()) && s.shown().is_some());
    assert!(!w.harness.get_by_label("Export video…").accesskit_node().is_disabled());

    // A part of it, with the map of the first token.
    w.harness.state_mut().perform(&Command::Select(Some(Span::new(0.5, 1.5))));
    w.harness.state_mut().perform(&Command::Lock(Some(0)));
    let path = w.files.path().join("out.mp4");
    w.click("Play");
    w.harness.state_mut().perform(&Command::Exports(ExportsCommand::Video(Some(path.clone()))));
    let before = w.state().playback.position_secs;
    let mut shares = Vec::new();
    while w.state().exports.job.is_some() {
        shares.extend(w.state().exports.job.as_ref().map(modalens::state::Job::share));
        w.play_secs(0.01);
        w.harness.state_mut().wait_for_event(std::time::Duration::from_millis(20));
    }
    assert!(w.state().playback.position_secs > before, "it plays on meanwhile");
    assert!(shares.is_sorted() && shares.iter().any(|s| *s > 0.0), "{shares:?}");
    let said = &w.state().notices.last().unwrap().text;
    assert!(said.contains("out.mp4") && said.contains("160 × 192"), "{said}");
    let about = probe(&path).unwrap();
    assert!((about.duration_secs.unwrap() - 1.0).abs() < 0.03);
    let shown = lumas(&path, 120);
    assert_eq!(shown.len(), 25);

    // Hidden, the map is not written either.
    w.harness.state_mut().perform(&Command::ToggleHeat);
    let plain = w.files.path().join("plain.mp4");
    w.harness.state_mut().perform(&Command::Exports(ExportsCommand::Video(Some(plain.clone()))));
    w.until("the plain video", |s| s.exports.job.is_none());
    let bare = lumas(&plain, 120);
    assert!(shown.iter().zip(&bare).all(|(a, b)| (a.1 - b.1).abs() > 1.0), "{shown:?} {bare:?}");

    // Stopped: a line, no file; the folder is as it was.
    let stopped = w.files.path().join("stopped.mp4");
    w.harness.state_mut().perform(&Command::Exports(ExportsCommand::Video(Some(stopped.clone()))));
    w.until("the first frame", |s| s.exports.job.as_ref().is_none_or(|j| j.path.is_some()));
    w.click("Stop the export");
    w.until("the end of it", |s| s.exports.job.is_none());
    assert!(w.state().notices.last().unwrap().text.contains("Nothing was left behind"));
    let mut files: Vec<_> = std::fs::read_dir(w.files.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["clip.mp4", "out.mp4", "plain.mp4"]);

    // A frame, too; and what cannot be written is said.
    let png = w.files.path().join("frame.png");
    w.harness.state_mut().perform(&Command::SaveFrame(Some(png.clone())));
    w.until("the frame", |s| s.notices.last().is_some_and(|n| n.text.contains("frame.png")));
    assert_eq!(probe(&png).unwrap().video.unwrap().display_width, 160);
    let nowhere = w.files.path().join("nowhere/x.mp4");
    w.harness.state_mut().perform(&Command::Exports(ExportsCommand::Video(Some(nowhere))));
    w.until("the failure", |s| s.notices.last().is_some_and(|n| n.error && n.text.contains("nowhere/x.mp4")));
    assert!(w.state().exports.job.is_none());
}

/// A window that is closed while a video is written leaves nothing half-written.
#[test]
fn closing_the_window_stops_the_export() {
    let mut w = Window::open(Some(("clip.mp4", CLIP)), Ok(model()));
    w.until("clip, lanes and model", ready);
    w.harness.state_mut().perform(&Command::Ask);
    w.until("an answer", |s| s.run.as_ref().is_some_and(|r| !r.running()) && s.shown().is_some());
    let path = w.files.path().join("out.mp4");
    w.harness.state_mut().perform(&Command::Exports(ExportsCommand::Video(Some(path))));
    w.until("the first frame", |s| s.exports.job.as_ref().is_none_or(|j| j.frames[0] > 0));
    let Window { harness, files, .. } = w;
    drop(harness);
    let left: Vec<_> = std::fs::read_dir(files.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".part")), "{left:?}");
}

/// Where the desktop has no dialog, the path is typed.
#[test]
fn a_path_is_typed_where_there_is_no_dialog() {
    let mut state = State::default();
    let proposal = PathBuf::from("/videos/clip attention.mp4");
    state.apply(Event::Export { number: 0, news: ExportNews::NoDialog { what: Saving::Frame, proposal } }, 0.0);
    let mut memory = Memory::default();
    let mut dressed = false;
    let mut harness = Harness::builder().with_size([1280.0, 720.0]).build_ui_state(
        move |ui, (state, commands): &mut (State, Vec<Command>)| {
            // Fonts are there from the next frame on.
            if !std::mem::replace(&mut dressed, true) {
                return ui::theme::install(ui.ctx());
            }
            for command in ui::show(ui, state, &Scene::default(), &mut memory) {
                state.perform(&command);
                commands.push(command);
            }
        },
        (state, Vec::new()),
    );
    harness.run_steps(3);
    assert_eq!(harness.get_by_label("Path").value().as_deref(), Some("/videos/clip attention.mp4"));
    harness.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::A);
    harness.step();
    harness.get_by_label("Path").type_text("/tmp/x.png");
    harness.run_steps(3);
    harness.get_by_label("Save").click();
    harness.run_steps(2);
    let (_, commands) = harness.state();
    assert!(commands.contains(&Command::SaveFrame(Some(PathBuf::from("/tmp/x.png")))), "{commands:?}");
    // Escape puts it away.
    harness.key_press(egui::Key::Escape);
    harness.run_steps(2);
    assert_eq!(harness.state().0.exports.asked, None);
    assert!(harness.query_by_label("Path").is_none());
}
