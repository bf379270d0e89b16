//! Whose sound is played: a track of the clip's own, another file's, a film's, silence. Told by its pitch, while time
//! runs and in the window. Knows nothing of how sound is resampled.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test by panicking")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use egui_kittest::kittest::Queryable as _;
use modalens::clip::{AudioSource, ClipSpec};
use modalens::media;
use modalens::settings::Sampling;
use modalens::state::{Media, State};
use modalens::time::Span;

use crate::media::{Clips, Player};
use crate::ui::Window;

/// A film with a tone on each track.
fn film(clips: &Clips, name: &str, tones: &[u32], args: &str) -> PathBuf {
    let sound = |f: &u32| format!("-f lavfi -i sine=frequency={f}:sample_rate=48000:duration=4");
    let sounds: Vec<String> = tones.iter().map(sound).collect();
    let maps: Vec<String> = (0..=tones.len()).map(|i| format!("-map {i}")).collect();
    let picture = "-f lavfi -i color=gray:size=64x48:rate=10:duration=4";
    clips.make(name, &format!("{picture} {} {} -c:v mpeg4 {args}", sounds.join(" "), maps.join(" ")))
}

/// Plays until a tone of this pitch has been heard for a fifth of a second without a hole; 0 is silence.
fn hear(player: &Player, hertz: f64, what: &str) {
    let hang = Instant::now() + Duration::from_mins(1);
    let mut heard: Vec<f32> = Vec::new();
    let mut pitch = f64::NAN;
    while Instant::now() < hang {
        let (before, underruns) = (player.playback.position_secs(), player.playback.underruns());
        let out = player.pump();
        // A hole, or the turn of the loop that keeps time from ending.
        if player.playback.position_secs() <= before || player.playback.underruns() != underruns {
            heard.clear();
        } else {
            heard.extend(out.chunks(2).map(|frame| frame[0]));
        }
        if heard.len() >= 9_600 {
            let crossed = heard.windows(2).filter(|w| (w[0] < 0.0) != (w[1] < 0.0)).count();
            pitch = crossed as f64 / 2.0 / (heard.len() as f64 / 48_000.0);
            let silent = heard.iter().all(|s| *s == 0.0);
            if silent == (hertz == 0.0) && (pitch - hertz).abs() <= 10.0 {
                return;
            }
            heard.clear();
        }
        std::thread::yield_now();
    }
    panic!("{what}: {pitch} Hz instead of {hertz} Hz");
}

#[test]
fn each_sound_that_can_be_chosen_is_the_one_that_is_played() {
    let clips = Clips::new();
    let own = film(&clips, "own.mkv", &[300, 700, 1500], "-c:a flac");
    let other = film(&clips, "other.mkv", &[400, 900], "-c:a flac");
    let plain = film(&clips, "plain.mp4", &[1100], "-c:a aac");
    let player = Player::open(ClipSpec::original(&own));
    player.playback.set_repeat(Some(Span::new(0.0, 3.8)));
    player.playback.play();
    hear(&player, 300.0, "the first track");
    let file = |path: &PathBuf, track| AudioSource::File { path: path.clone(), track };
    for (audio, hertz) in [
        (AudioSource::Original { track: Some(1) }, 700.0),
        (AudioSource::Original { track: Some(2) }, 1500.0),
        (file(&other, Some(1)), 900.0),
        (file(&other, None), 400.0),
        (file(&plain, None), 1100.0),
        (AudioSource::Silence, 0.0),
        (file(&own, Some(1)), 700.0),
        (AudioSource::Original { track: None }, 300.0),
    ] {
        let clip = ClipSpec { audio, ..ClipSpec::original(&own) };
        player.playback.set_clip(clip.clone(), Sampling::default());
        hear(&player, hertz, &format!("{:?}", clip.audio));
        assert_eq!(player.playback.error(), None);
        // The same is what a model hears.
        let sound = media::sample_clip(&clip, &Sampling::default(), &|| false).unwrap().0.audio.unwrap().samples;
        assert!((sound.len() as i64 - 64_000).abs() < 400, "{:?}: {} samples", clip.audio, sound.len());
        let middle = &sound[16_000..48_000];
        let crossed = middle.windows(2).filter(|w| (w[0] < 0.0) != (w[1] < 0.0)).count();
        assert!((crossed as f64 / 4.0 - hertz).abs() < 5.0, "{:?}: {crossed} crossings in 2 s", clip.audio);
        assert_eq!(sound.iter().all(|s| *s == 0.0), hertz == 0.0, "{:?}", clip.audio);
    }
}

/// What the window pumps is the tone that its state names.
#[test]
fn the_window_names_the_track_that_is_played_and_takes_another() {
    for (default, tones) in [(0usize, [300.0, 700.0]), (1, [700.0, 300.0])] {
        let files = tempfile::tempdir().unwrap();
        let clips = Clips::new();
        let disposition = format!("-disposition:a:{} 0 -disposition:a:{default} default", 1 - default);
        let path = film(&clips, "two.mkv", &[300, 700], &format!("-c:a flac {disposition}"));
        let player = Player::open(ClipSpec::original(&path));
        player.playback.set_repeat(Some(Span::new(0.0, 3.8)));
        player.playback.play();
        hear(&player, tones[0], &format!("track {default} is the default"));
        drop(player);

        let mut w = Window::open_file(files, Some(path), Err("none".to_owned()));
        w.until("the clip and its tracks", |s: &State| matches!(s.media, Media::Open { .. }) && s.tracks().is_some());
        assert_eq!(w.state().clip.audio, AudioSource::Original { track: None });
        assert_eq!(w.state().tracks().unwrap().1, default, "the default track is the one that is marked");
        w.click("Sound details");
        let chosen = 1 - default;
        let name = format!("Track {}: ", chosen + 1);
        w.harness.get_by_label_contains(&name).click();
        w.harness.run_steps(2);
        assert_eq!(w.state().clip.audio, AudioSource::Original { track: Some(chosen) });
        assert_eq!(w.state().tracks().unwrap().1, chosen, "the chosen track is the one that is marked");
        let clip = w.state().clip.clone();
        let player = Player::open(clip);
        player.playback.set_repeat(Some(Span::new(0.0, 3.8)));
        player.playback.play();
        hear(&player, tones[1], "the clip of the window");
    }
}
