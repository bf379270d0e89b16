//! What the model saw, as it is shown: read off the numbers that its towers were fed, in the window and in the files of
//! `modalens ask --out`. Knows nothing of how it is laid out.

use std::process::Command as Process;

use egui::Key;
use egui_kittest::kittest::Queryable as _;
use modalens::clip::{AudioSource, FrameEdit};
use modalens::command::Command;
use modalens::state::{Media, State};

use crate::checkpoint::fixture;
use crate::media::Clips;
use crate::ui::{CLIP, Window, model, ready};

fn answered(state: &State) -> bool {
    state.run.as_ref().is_some_and(|r| r.end.is_some())
}

#[test]
fn the_models_view_shows_what_was_fed_and_where_the_answer_looked() {
    let mut w = Window::open(Some(("clip.mp4", CLIP)), Ok(model()));
    w.until("clip, lanes and model", ready);
    w.until("the first frame", |s| s.playback.frame_pts_secs == Some(0.0));
    // Nothing was asked yet: it says how to get there.
    w.harness.key_press(Key::V);
    w.harness.run_steps(2);
    assert!(w.state().view.model_view);
    assert!(w.harness.query_all_by_label_contains("Model frame").next().is_none());
    w.click("Ask");
    w.until("the answer", answered);
    w.harness.run_steps(2);
    let run = w.state().run.as_ref().unwrap();
    let (fed, provenance) = (run.fed.clone().unwrap(), run.provenance.clone().unwrap());
    let (video, grid) = (&fed.videos[0], &provenance.videos[0]);
    assert_eq!(video.frames.len(), grid.steps.len() * video.per_step);
    assert!(video.frames.iter().all(|f| [f.width, f.height] == grid.resized));
    // Each sound token is four frames of the log-mel.
    assert_eq!(fed.audios[0].frames().div_ceil(4), provenance.audios[0].tokens);
    assert!(w.has("Log-mel as the model was fed"));
    // Larger by a whole factor on demand, and as large as fits again.
    let width = |w: &Window| w.harness.get_by_label("Model frame 1 at 0.00 s").rect().width();
    let fit = width(&w);
    w.click("Larger model frames");
    w.harness.run_steps(3);
    let larger = width(&w) / grid.resized[0] as f32;
    assert!(width(&w) > fit && larger.fract() == 0.0, "{fit} → {larger} times the model's size");
    w.click("Fit model frames");
    w.harness.run_steps(3);
    assert_eq!(width(&w), fit);
    // A click on a frame goes to its time; the switch leads back.
    let last = video.frames.len();
    let secs = grid.steps.last().unwrap().pts_secs[1];
    w.click(&format!("Model frame {last} at {secs:.2} s"));
    w.until("the frame's time", |s| s.playback.frame_pts_secs.is_some_and(|t| (t - secs).abs() < 0.03));
    w.click("Show the video");
    assert!(!w.state().view.model_view && !w.has("Log-mel as the model was fed"));

    // Black frames and no sound: that is what was fed, also where all of it was known before.
    w.harness.state_mut().perform(&Command::SetFrames(FrameEdit::Black));
    w.harness.state_mut().perform(&Command::SetAudio(AudioSource::None));
    w.click("Show what the model saw");
    w.harness.state_mut().perform(&Command::Ask);
    w.until("the answer", answered);
    let black = w.state().run.as_ref().unwrap().fed.clone().unwrap();
    assert!(black.audios.is_empty() && !w.has("Log-mel as the model was fed"));
    assert!(black.videos[0].frames.iter().all(|f| f.data.iter().all(|x| *x == 0)));
    assert!(video.frames.iter().any(|f| f.data.iter().any(|x| *x > 99)));
    // Reversed: the same pictures, the other way round.
    w.harness.state_mut().perform(&Command::SetFrames(FrameEdit::Reverse));
    w.harness.state_mut().perform(&Command::Ask);
    w.until("the answer", answered);
    let reversed = w.state().run.as_ref().unwrap().fed.clone().unwrap();
    assert!(reversed.videos[0].frames.iter().eq(video.frames.iter().rev()));
    assert!(matches!(w.state().media, Media::Open { .. }));
}

#[test]
fn what_the_model_saw_lies_beside_the_report() {
    let clips = Clips::new();
    let clip = clips.make("clip.mp4", CLIP);
    let out = clips.path("out");
    let asked = Process::new(env!("CARGO_BIN_EXE_modalens"))
        .args(["ask", "--max-new-tokens", "2", "--model"])
        .arg(fixture())
        .arg("--video")
        .arg(&clip)
        .arg("--out")
        .arg(&out)
        .output()
        .unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("from left to right and top to bottom, at 0.00"), "{page}");
    assert!(page.contains("src=model_saw.png") && page.contains("log-mel frames of 128 bins"), "{page}");
    let decoder = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(out.join("model_saw.png")).unwrap()));
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    // The log-mel is two pixels a bin, under at least one row of frames.
    assert!(info.height > 2 * 128 + 100 && info.width > 100, "{info:?}");
    let colours: std::collections::HashSet<_> = pixels.chunks_exact(4).collect();
    assert!(colours.len() > 500, "{} colours", colours.len());
    // Words alone: there is nothing that was seen or heard.
    let words = clips.path("words");
    let asked = Process::new(env!("CARGO_BIN_EXE_modalens"))
        .args(["ask", "--max-new-tokens", "1", "--question", "What is a dog?", "--model"])
        .arg(fixture())
        .arg("--out")
        .arg(&words)
        .output()
        .unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    assert!(words.join("report.html").exists() && !words.join("model_saw.png").exists());
    assert!(!std::fs::read_to_string(words.join("report.html")).unwrap().contains("What the model saw"));
}
