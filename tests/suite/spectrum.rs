//! The spectrum of a sound that is longer than the model hears, through real parts: FFmpeg reads it, the model's own
//! extractor computes it, and the second time it comes from the disk.

use egui_kittest::kittest::Queryable as _;
use modalens::app::Options;
use modalens::command::Command;
use modalens::settings::View;
use modalens::state::State;
use modalens::time::Span;

use crate::ui::{Window, make};

/// The bin that is loudest over a view.
fn loudest(columns: &[f32], bins: usize) -> usize {
    let width = columns.len() / bins;
    let sum = |bin: usize| columns[bin * width..(bin + 1) * width].iter().sum::<f32>();
    (0..bins).max_by(|a, b| sum(*a).total_cmp(&sum(*b))).unwrap()
}

#[test]
fn the_log_mel_goes_on_where_the_model_stops_hearing() {
    let files = tempfile::tempdir().unwrap();
    let cache = files.path().join("cache");
    let picture = "-f lavfi -i color=gray:size=32x32:rate=1:duration=340";
    let sound = "-f lavfi -i aevalsrc=0.5*sin(2*PI*t*if(lt(t\\,310)\\,500\\,3000)):s=8000:d=340";
    let long = make(files.path(), "long.mkv", &format!("{picture} {sound} -c:v mpeg4 -c:a pcm_s16le"));
    let options = || Options { cache: Some(cache.clone()), ..Options::new(Some(long.clone()), Err("none".into())) };
    let whole = |s: &State| s.spectrum.as_ref().is_some_and(|s| !s.growing) && !s.lanes_pending;
    let mut w = Window::start(tempfile::tempdir().unwrap(), options());
    w.until("the whole spectrum", whole);
    let spectrum = w.state().spectrum.clone().unwrap();
    assert!((spectrum.end_secs() - 340.0).abs() < 0.2, "{}", spectrum.end_secs());
    let bin = |from: f64, to: f64| loudest(&spectrum.columns(Span::new(from, to), 50), spectrum.bins());
    // Where the model hears, it is what the model hears; what is beyond is there too.
    let lanes = w.state().lanes.clone().unwrap();
    let heard: Vec<f32> = (0..lanes.bins).map(|b| lanes.log_mel[20_000 * lanes.bins + b]).collect();
    assert_eq!(bin(199.0, 201.0), loudest(&heard, lanes.bins));
    assert!(bin(320.0, 330.0) > bin(199.0, 201.0) + 20, "{} and {}", bin(320.0, 330.0), bin(199.0, 201.0));
    // The second time it comes from the disk, the very same.
    drop(w);
    let mut again = Window::start(tempfile::tempdir().unwrap(), options());
    again.until("the spectrum again", whole);
    assert_eq!(again.state().spectrum.clone().unwrap(), spectrum);
    // It is drawn there too: beyond 5:10 the bright line stands elsewhere than before, under the veil.
    let view = View { timeline: Some(Span::new(305.0, 315.0)), ..again.state().view };
    again.harness.state_mut().perform(&Command::SetView(Box::new(view)));
    again.harness.run_steps(2);
    let timeline = again.harness.get_by_role_and_label(egui::Role::Slider, "Timeline").rect();
    let name = again.harness.get_by_role_and_label(egui::Role::Button, "Log-mel lane").rect();
    let shot = again.harness.render().unwrap();
    let brightest = |share: f32| {
        let x = timeline.left() + 80.0 + (timeline.width() - 80.0) * share;
        let rows = (name.top() as u32 + 2)..(name.bottom() as u32 - 2);
        rows.max_by_key(|y| shot.get_pixel(x as u32, *y).0[0]).unwrap()
    };
    let (before, after) = (brightest(0.1), brightest(0.9));
    assert!(after + 5 < before, "the pitch rises, so the line does: {before} and {after}");
}
