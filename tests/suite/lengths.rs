//! How long a clip is, whoever is asked: files that do not say it, files whose sound and picture are not equally long, and
//! another sound, which is cut to the picture. Knows nothing of windows.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test by panicking")]

use std::path::Path;

use modalens::clip::{AudioSource, ClipSpec, SoundEdit};
use modalens::export::overlay::Overlay;
use modalens::media::{self, MediaEvent};
use modalens::settings::Sampling;
use modalens::time::Span;

use crate::media::{Clips, Player};

const PICTURE: &str = "-f lavfi -i testsrc2=size=64x48:rate=10:duration=2";

fn tone(secs: u32) -> String {
    format!("-f lavfi -i sine=frequency=440:sample_rate=48000:duration={secs}")
}

/// Plays to where it ends by itself, and says where that is.
fn end_of(player: &Player) -> f64 {
    player.playback.play();
    while player.playback.is_playing() {
        player.playback.frame_at(player.playback.position_secs());
        player.pump();
        std::thread::yield_now();
    }
    player.until(|e| *e == MediaEvent::Ended);
    player.playback.position_secs()
}

fn near(secs: f64, wanted: f64) -> bool {
    (secs - wanted).abs() < 0.06
}

#[test]
fn another_sound_is_cut_to_the_picture_in_every_container() {
    let clips = Clips::new();
    let long = clips.make("long.wav", &tone(6));
    // The containers whose tracks say how long they are, and those where only the whole does.
    for (name, codecs) in [("six.mp4", "-c:a aac"), ("six.mkv", "-c:a aac"), ("six.webm", "-c:v libvpx -c:a libopus")] {
        let path = clips.make(name, &format!("{PICTURE} {} {codecs}", tone(6)));
        let own = ClipSpec::original(&path);
        let player = Player::open(own.clone());
        assert!(near(player.playback.duration_secs().unwrap(), 6.0), "{name}: {:?}", player.playback.duration_secs());
        let probe = media::probe(&path).unwrap();
        assert!(near(probe.picture_secs.unwrap(), 2.0), "{name}: {:?}", probe.picture_secs);
        for audio in [
            AudioSource::File { path: long.clone(), track: None },
            AudioSource::NOISE,
            AudioSource::Silence,
            AudioSource::None,
        ] {
            let clip = ClipSpec { audio: audio.clone(), ..own.clone() };
            let player = Player::open(clip.clone());
            let length = player.playback.duration_secs().unwrap();
            assert!(near(length, 2.0), "{name} with {audio:?} plays {length} s");
            let ended = end_of(&player);
            assert!(near(ended, 2.0), "{name} with {audio:?} ended at {ended} s");
            // What the model is given and what is written ends there, too.
            let sampling = Sampling::default();
            let (sampled, _) = media::sample_clip(&clip, &sampling, &|| false).unwrap();
            let heard = sampled.audio.map(|audio| audio.samples.len() as f64 / 16_000.0);
            assert_eq!(heard.is_some(), audio != AudioSource::None);
            assert!(heard.is_none_or(|secs| near(secs, 2.0)), "{name} with {audio:?}: {heard:?}");
            let overlay = Overlay { clip: &clip, sampling: &sampling, map: None, span: None };
            let written = overlay.whole(&|| false).unwrap().unwrap();
            assert!(near(written.end_secs, 2.0), "{name} with {audio:?}: {written:?}");
        }
    }
}

/// What is written into a pipe, as browsers record, cannot say how long it is.
fn recorded(clips: &Clips, name: &str, args: &str) -> std::path::PathBuf {
    let path = clips.make(name, &format!("{args} -f webm -live 1"));
    let about = media::probe(&path).unwrap();
    assert_eq!(about.duration_secs, None, "{name} says how long it is");
    path
}

#[test]
fn a_recording_that_does_not_say_how_long_it_is_ends_where_it_ends() {
    let clips = Clips::new();
    let vp8 = "-c:v libvpx -c:a libopus";
    let sound = recorded(&clips, "sound.webm", &format!("{} -c:a libopus", tone(3)));
    let alone = |path: &Path| ClipSpec {
        audio: AudioSource::File { path: path.to_owned(), track: None },
        ..ClipSpec::default()
    };
    let lengths = [
        ("sound", alone(&sound), 3.0),
        ("both", ClipSpec::original(recorded(&clips, "both.webm", &format!("{PICTURE} {} {vp8}", tone(2)))), 2.0),
        ("more sound", ClipSpec::original(recorded(&clips, "more.webm", &format!("{PICTURE} {} {vp8}", tone(3)))), 3.0),
        ("less sound", ClipSpec::original(recorded(&clips, "less.webm", &format!("{PICTURE} {} {vp8}", tone(1)))), 2.0),
        ("mute", ClipSpec::original(recorded(&clips, "mute.webm", &format!("{PICTURE} -c:v libvpx"))), 2.0),
    ];
    for (name, clip, secs) in &lengths {
        let player = Player::open(clip.clone());
        let ended = end_of(&player);
        assert!(near(ended, *secs), "{name} ended at {ended} s");
        let length = player.playback.duration_secs().unwrap();
        assert!(near(length, *secs), "{name} is {length} s long");
        // The end is a place to go to now.
        player.playback.seek(f64::INFINITY);
        assert!(near(player.playback.position_secs(), *secs), "{name}: {}", player.playback.position_secs());
        // And it stays known, wherever one goes and however fast.
        for change in [|p: &Player| p.playback.seek(0.5), |p: &Player| p.playback.set_speed(2.0)] {
            change(&player);
            player.playback.play();
            player.play_to(0.8);
            let length = player.playback.duration_secs();
            assert!(length.is_some_and(|length| near(length, *secs)), "{name} is {length:?} s long after all");
        }
    }
    // Before it is known, there is no such place, and nothing moves.
    let player = Player::open(lengths[0].1.clone());
    player.playback.seek(1.0);
    player.playback.seek(f64::INFINITY);
    assert_eq!(player.playback.position_secs(), 1.0);
    // Another sound is cut to its picture as soon as that has been counted.
    let long = clips.make("long.wav", &tone(6));
    let swapped = ClipSpec { audio: AudioSource::File { path: long, track: None }, ..lengths[1].1.clone() };
    let ended = end_of(&Player::open(swapped));
    assert!(near(ended, 2.0), "with another sound it ended at {ended} s");
    let short = clips.make("short.wav", &tone(1));
    let swapped = ClipSpec { audio: AudioSource::File { path: short, track: None }, ..lengths[1].1.clone() };
    let ended = end_of(&Player::open(swapped));
    assert!(near(ended, 2.0), "with a shorter sound it ended at {ended} s");
}

#[test]
fn a_still_is_as_long_as_the_sound_that_is_put_to_it() {
    let clips = Clips::new();
    let alone = ClipSpec {
        video: Some(clips.make("still.png", "-f lavfi -i testsrc2=size=64x48 -frames:v 1")),
        ..ClipSpec::default()
    };
    let sound = clips.make("three.wav", &tone(3));
    let recorded = recorded(&clips, "three.webm", &format!("{} -c:a libopus", tone(3)));
    let player = Player::open(alone.clone());
    let playback = &player.playback;
    let becomes = |wanted: f64| {
        while !playback.duration_secs().is_some_and(|secs| near(secs, wanted)) {
            player.until(|e| *e == MediaEvent::Length);
        }
    };
    becomes(0.04);
    playback.set_clip(
        ClipSpec { audio: AudioSource::File { path: sound, track: None }, ..alone.clone() },
        Sampling::default(),
    );
    becomes(3.0);
    playback.play();
    player.play_to(0.5);
    // A picture has no sound of its own: that is silence for as long as it is asked for, and no end.
    playback.hear_own_sound(true);
    player.play_to(1.0);
    playback.hear_own_sound(false);
    player.play_to(1.2);
    playback.step_back();
    assert!(playback.position_secs() > 1.1, "one picture has none before it, {}", playback.position_secs());
    playback.set_clip(alone.clone(), Sampling::default());
    becomes(0.04);
    assert!(playback.position_secs() < 0.1, "{}", playback.position_secs());
    // One that does not say how long it is.
    let unknown = ClipSpec { audio: AudioSource::File { path: recorded, track: None }, ..alone };
    playback.set_clip(unknown, Sampling::default());
    let ended = end_of(&player);
    assert!(near(ended, 3.0), "it ended at {ended} s");
}

#[test]
fn a_sound_that_changes_on_the_way_turns_no_loop_that_lies_behind() {
    let clips = Clips::new();
    let path =
        clips.make("clip.mp4", &format!("-f lavfi -i testsrc2=size=64x48:rate=10:duration=4 {} -c:a aac", tone(4)));
    let other = clips.make("other.wav", &tone(3));
    let own = ClipSpec::original(&path);
    let player = Player::open(own.clone());
    let playback = &player.playback;
    playback.play();
    player.play_to(1.5);
    // A loop drawn where time has been: it goes on, whatever is done to the sound meanwhile and to the very end.
    playback.set_repeat(Some(Span::new(0.2, 0.6)));
    let swapped = ClipSpec { audio: AudioSource::File { path: other, track: None }, ..own.clone() };
    let louder = ClipSpec { sound: SoundEdit { gain_db: 6.0, ..SoundEdit::default() }, ..swapped.clone() };
    let mut before = playback.position_secs();
    let mut changes = [swapped, louder, own].into_iter();
    while playback.is_playing() {
        if before > 4.0 - changes.len() as f64 * 0.7
            && let Some(clip) = changes.next()
        {
            playback.set_clip(clip, Sampling::default());
        }
        playback.frame_at(playback.position_secs());
        player.pump();
        let at = playback.position_secs();
        assert!(at >= before, "from {before} to {at}");
        before = at;
        std::thread::yield_now();
    }
    assert_eq!(changes.len(), 0);
    assert!(near(before, 4.0), "it ended at {before}");
}

#[test]
fn the_part_that_is_used_begins_anew_when_it_is_over() {
    let clips = Clips::new();
    let path = clips.make("clip.mp4", &format!("{PICTURE} {} -c:a aac", tone(2)));
    let part = ClipSpec { start_secs: Some(0.5), end_secs: Some(1.0), ..ClipSpec::original(&path) };
    let player = Player::open(part);
    assert!(near(end_of(&player), 1.0));
    player.playback.play();
    assert_eq!(player.playback.position_secs(), 0.5);
    assert!(near(end_of(&player), 1.0));
    // Beyond it, what is not used plays as well.
    player.seek(1.2);
    assert!(near(end_of(&player), 2.0));
}

#[test]
fn a_picture_that_claims_to_be_as_wide_as_a_house_is_small_all_the_same() {
    let clips = Clips::new();
    let path = clips.make("wide.png", "-f lavfi -i color=teal:size=8000x8000:duration=1 -vf setsar=20 -frames:v 1");
    let video = media::probe(&path).unwrap().video.unwrap();
    assert!(video.pixel_aspect > 19.0, "{}", video.pixel_aspect);
    assert_eq!([video.display_width, video.display_height], [8000, 400]);
    let (sampled, _) = media::sample_clip(&ClipSpec::original(&path), &Sampling::default(), &|| false).unwrap();
    let frame = &sampled.video.unwrap().frames[0];
    assert_eq!([frame.width, frame.height], [8000, 400]);
}
