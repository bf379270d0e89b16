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
    let about = media::glance(&path).unwrap();
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

/// Nobody has to play a file to its end to learn how long it is, nor is a guess of the demuxer's believed.
#[test]
fn the_length_is_counted_where_the_file_does_not_say_it_or_only_guesses() {
    let clips = Clips::new();
    let vp8 = "-c:v libvpx -c:a libopus";
    // Noise takes many more bits than the tone after it: from its first seconds the rest is guessed too short.
    let uneven = "-f lavfi -i anoisesrc=duration=6:sample_rate=44100 -f lavfi -i sine=duration=24:sample_rate=44100 \
                  -filter_complex [0][1]concat=n=2:v=0:a=1";
    let files = [
        (recorded(&clips, "live.webm", &format!("{PICTURE} {} {vp8}", tone(2))), 2.0),
        (recorded(&clips, "longer.webm", &format!("{PICTURE} {} {vp8}", tone(5))), 5.0),
        (clips.make("raw.h264", &format!("{PICTURE} -c:v libx264 -bf 2")), 2.0),
        (clips.make("raw.m1v", &format!("{PICTURE} -r 25 -c:v mpeg1video")), 2.0),
        (clips.make("turning.apng", &format!("{PICTURE} -plays 0")), 2.0),
        (clips.make("uneven.mp3", &format!("{uneven} -c:a libmp3lame -q:a 4 -write_xing 0")), 30.0),
        (clips.make("uneven.aac", &format!("{uneven} -c:a aac -q:a 1")), 30.0),
    ];
    for (path, secs) in files {
        let name = path.file_name().unwrap().to_string_lossy();
        assert_eq!(media::glance(&path).unwrap().duration_secs, None, "{name} says how long it is");
        let about = media::probe(&path).unwrap();
        assert!(near(about.duration_secs.unwrap(), secs), "{name}: {:?}", about.duration_secs);
        // It is counted once; a player finds it out for itself, of a file that nobody has counted.
        assert_eq!(media::glance(&path).unwrap().duration_secs, about.duration_secs, "{name}");
        let fresh = path.with_file_name(format!("fresh {name}"));
        std::fs::copy(&path, &fresh).unwrap();
        let path = fresh;
        let clip = match about.video {
            Some(_) => ClipSpec::original(&path),
            None => ClipSpec { audio: AudioSource::File { path: path.clone(), track: None }, ..ClipSpec::default() },
        };
        let player = Player::open(clip.clone());
        while !player.playback.duration_secs().is_some_and(|length| near(length, secs)) {
            player.until(|e| *e == MediaEvent::Length);
        }
        assert_eq!(player.playback.position_secs(), 0.0, "{name} was not played");
        if clip.video.is_some() {
            // Other frames of the same file: its length stays known.
            let black = ClipSpec { frames: modalens::clip::FrameEdit::Black, ..clip.clone() };
            for other in [black, clip.clone()] {
                player.playback.set_clip(other, Sampling::default());
                let opened = player.until(|e| matches!(e, MediaEvent::Opened { .. }));
                let MediaEvent::Opened { duration_secs, .. } = opened else { unreachable!() };
                assert!(duration_secs.is_some_and(|length| near(length, secs)), "{name}: {duration_secs:?}");
            }
        }
        player.playback.seek(f64::INFINITY);
        assert!(near(player.playback.position_secs(), secs), "{name}: {}", player.playback.position_secs());
        player.playback.seek(secs - 0.5);
        let ended = end_of(&player);
        assert!(near(ended, secs), "{name} ended at {ended} s");
        // The model hears it to its end.
        let heard = media::sample_clip(&clip, &Sampling::default(), &|| false).unwrap().0.audio;
        let long = heard.map(|sound| sound.start_secs + sound.samples.len() as f64 / 16_000.0);
        assert!(long.is_none_or(|long| near(long, secs)), "{name}: the model hears {long:?} s");
    }
}

/// Some containers say where they end, and not how long that is after their start; some count subtitles, too. What is seen
/// and heard decides, and none of these is called cut off.
#[test]
fn a_length_is_that_of_picture_and_sound_wherever_they_start_and_whatever_else_there_is() {
    let clips = Clips::new();
    let h264 = "-c:v libx264 -g 10 -bf 2 -c:a aac";
    let whole =
        clips.make("whole.mp4", &format!("-f lavfi -i testsrc2=size=64x48:rate=10:duration=4 {} {h264}", tone(4)));
    let whole = whole.display();
    let words = clips.path("words.srt");
    std::fs::write(&words, "1\n00:00:01,000 --> 00:00:12,000\nhello\n").unwrap();
    let words = words.display();
    let more = format!("-f lavfi -i testsrc2=size=64x48:rate=10:duration=4 {}", tone(9));
    let files = [
        ("later.mkv", format!("-i {whole} -c copy -output_ts_offset 10"), 4.0, 4.0),
        ("later.mp4", format!("-i {whole} -c copy -output_ts_offset 10"), 4.0, 4.0),
        ("later.ts", format!("-i {whole} -c copy -output_ts_offset 10"), 4.0, 4.0),
        (
            "earlier.mkv",
            format!("-itsoffset -0.5 -i {whole} -i {whole} -map 0:a -map 1:v -c copy -avoid_negative_ts disabled"),
            4.5,
            4.5,
        ),
        ("words.mkv", format!("-i {whole} -i {words} -c copy -c:s srt"), 4.0, 4.0),
        ("words.mp4", format!("-i {whole} -i {words} -c copy -c:s mov_text"), 4.0, 4.0),
        ("plain.flv", format!("-i {whole} -c copy"), 4.0, 4.0),
        ("piped.flv", format!("{more} {h264} -flvflags no_duration_filesize"), 9.0, 4.0),
        ("more.flv", format!("{more} {h264}"), 9.0, 4.0),
    ];
    for (name, args, secs, picture) in files {
        let path = clips.make(name, &args);
        let about = media::probe(&path).unwrap();
        let found = (about.duration_secs.unwrap(), about.picture_secs.unwrap());
        // A frame lasts a tenth of a second, and the sound's last packet a little longer than the sound.
        assert!((found.0 - secs).abs() < 0.15 && (found.1 - picture).abs() < 0.15, "{name}: {found:?}");
        assert_eq!(about.declared_secs, None, "{name} is called cut off");
        let player = Player::open(ClipSpec::original(&path));
        let shown = player.seek(f64::INFINITY).pts_secs();
        let last = crate::media::all_frames(&path).last().unwrap().0;
        assert_eq!(shown, last, "{name}: the end shows another frame than the last");
        let (_, notes) = media::sample_clip(&ClipSpec::original(&path), &Sampling::default(), &|| false).unwrap();
        assert!(notes.is_empty(), "{name}: {notes:?}");
    }
}

/// A picture that stays on screen is there until it is over, for player and model alike.
#[test]
fn the_last_frame_is_as_long_as_the_file_says() {
    let clips = Clips::new();
    let long = clips.make("long.wav", &tone(12));
    // The last of ten frames, a fifth of a second each, stays for four seconds more.
    let held = "-f lavfi -i testsrc2=size=64x48:rate=5:duration=2 -vf setpts=PTS+gte(N\\,9)*0 -final_delay 420";
    let path = clips.make("held.gif", held);
    let about = media::probe(&path).unwrap();
    assert!(near(about.duration_secs.unwrap(), 6.0), "{:?}", about.duration_secs);
    let clip = ClipSpec { audio: AudioSource::File { path: long, track: None }, ..ClipSpec::original(&path) };
    let player = Player::open(clip.clone());
    assert!(near(player.playback.duration_secs().unwrap(), 6.0), "{:?}", player.playback.duration_secs());
    let given = |clip: &ClipSpec| media::sample_clip(clip, &Sampling::default(), &|| false).unwrap();
    let (sampled, notes) = given(&clip);
    let heard = sampled.audio.unwrap().samples.len() as f64 / 16_000.0;
    assert!(near(heard, 6.0), "the model hears {heard} s");
    assert!(notes.is_empty(), "{notes:?}");
    let part = ClipSpec { start_secs: Some(3.0), end_secs: Some(5.0), ..clip };
    let sampled = given(&part).0;
    assert!(near(sampled.audio.unwrap().samples.len() as f64 / 16_000.0, 2.0));
    assert!(sampled.video.unwrap().pts_secs.iter().all(|t| near(*t, 1.8)), "the frame that is on screen");
}

/// Where a sound is over, or has not begun, there is silence: to hear, to write and for the model.
#[test]
fn a_part_in_which_nothing_is_heard_is_silent() {
    let clips = Clips::new();
    let picture = "-f lavfi -i testsrc2=size=64x48:rate=10:duration=8";
    let early = clips.make("early.mp4", &format!("{picture} {} -c:a aac", tone(1)));
    let late = clips.make("late.mkv", &format!("{picture} -itsoffset 5 {} -c:a flac", tone(2)));
    let mute = clips.make("mute.mp4", picture);
    let short = clips.make("short.wav", &tone(1));
    let part = |path: &Path, from: f64, to: f64| ClipSpec {
        start_secs: Some(from),
        end_secs: Some(to),
        ..ClipSpec::original(path)
    };
    let swapped = ClipSpec { audio: AudioSource::File { path: short.clone(), track: None }, ..part(&mute, 3.0, 5.0) };
    let shifted = SoundEdit { offset_secs: 20.0, ..SoundEdit::default() };
    let shifted = ClipSpec { sound: shifted, start_secs: None, end_secs: None, ..swapped.clone() };
    for (name, clip, secs) in [
        ("over", part(&early, 3.0, 6.0), 3.0),
        ("not begun", part(&late, 0.0, 2.0), 2.0),
        ("swapped", swapped, 2.0),
        ("shifted away", shifted, 8.0),
    ] {
        let (sampled, notes) = media::sample_clip(&clip, &Sampling::default(), &|| false).unwrap();
        let sound = sampled.audio.unwrap_or_else(|| panic!("{name}: no sound")).samples;
        assert!(near(sound.len() as f64 / 16_000.0, secs), "{name}: {} samples", sound.len());
        assert!(sound.iter().all(|s| *s == 0.0), "{name}: something is heard");
        assert!(notes.iter().any(|n| n.contains("silent")), "{name}: {notes:?}");
        let player = Player::open(clip.clone());
        player.seek(clip.start_secs.unwrap_or(0.0) + 0.1);
        player.playback.play();
        let (out, _) = player.whole_block();
        assert!(out.iter().all(|s| *s == 0.0), "{name}: something is played");
        assert_eq!(player.playback.error(), None, "{name}");
        let sampling = Sampling::default();
        let overlay = Overlay { clip: &clip, sampling: &sampling, map: None, span: None };
        let written = clips.path("written.mp4");
        overlay.write(&written, None, &|| false, &mut |_| {}).unwrap();
        assert!(near(media::probe(&written).unwrap().duration_secs.unwrap(), secs), "{name}");
    }
    // The other way round: behind the picture's end there is sound.
    let picture = "-f lavfi -i testsrc2=size=64x48:rate=10:duration=2";
    let longer = clips.make("longer.mp4", &format!("{picture} {} -c:a aac", tone(6)));
    let (sampled, notes) = media::sample_clip(&part(&longer, 3.0, 5.0), &Sampling::default(), &|| false).unwrap();
    assert!(sampled.video.is_none() && near(sampled.audio.unwrap().samples.len() as f64 / 16_000.0, 2.0));
    assert!(notes.iter().any(|n| n.contains("ends before this part")), "{notes:?}");
    let line = media::sample_clip(&part(&longer, 7.0, 8.0), &Sampling::default(), &|| false).unwrap_err().to_string();
    assert!(line.contains("nothing between 7.000 s and 8.000 s"), "{line}");
    // Where it is all there is, there is nothing.
    let alone = ClipSpec {
        audio: AudioSource::File { path: short, track: None },
        start_secs: Some(3.0),
        end_secs: Some(5.0),
        ..ClipSpec::default()
    };
    let line = media::sample_clip(&alone, &Sampling::default(), &|| false).unwrap_err().to_string();
    assert!(line.contains("nothing between 3.000 s and 5.000 s"), "{line}");
}

/// Tracks that are declared and empty are none.
#[test]
fn a_track_without_anything_in_it_is_no_track() {
    let clips = Clips::new();
    let nothing = clips.make("nothing.wav", "-f lavfi -i anullsrc=duration=0 -t 0");
    let mute = clips.make("mute.mkv", &format!("{PICTURE} -i {} -c:v libx264 -c:a pcm_s16le", nothing.display()));
    assert_eq!(media::probe(&mute).unwrap().audio.len(), 1, "the track is declared");
    let clip = ClipSpec::original(&mute);
    let (sampled, notes) = media::sample_clip(&clip, &Sampling::default(), &|| false).unwrap();
    assert!(sampled.video.is_some() && sampled.audio.is_none(), "{notes:?}");
    assert!(near(end_of(&Player::open(clip)), 2.0));
    let swapped = ClipSpec { audio: AudioSource::File { path: nothing, track: None }, ..ClipSpec::original(&mute) };
    let line = media::sample_clip(&swapped, &Sampling::default(), &|| false).unwrap_err().to_string();
    assert!(line.contains("there is no sound in it") && line.contains("nothing.wav"), "{line}");
    let sound = tone(2);
    let blind = clips.make(
        "blind.mkv",
        &format!("{PICTURE} {sound} -filter_complex [0]trim=end_frame=0[v] -map [v] -map 1 -c:v ffv1 -c:a flac"),
    );
    assert!(media::probe(&blind).unwrap().video.is_some(), "the track is declared");
    let clip = ClipSpec::original(&blind);
    let (sampled, notes) = media::sample_clip(&clip, &Sampling::default(), &|| false).unwrap();
    assert!(sampled.video.is_none() && sampled.audio.is_some(), "{notes:?}");
    let player = Player::open(clip);
    let ended = end_of(&player);
    assert!(near(ended, 2.0) && player.playback.error().is_none(), "{ended}, {:?}", player.playback.error());
}

/// One picture is a still, whatever it is kept in, and the first one where there are more behind it.
#[test]
fn a_file_with_one_picture_is_a_still() {
    let clips = Clips::new();
    let one = "-f lavfi -i testsrc2=size=64x48 -frames:v 1";
    let mut files = vec![
        clips.make("one.gif", one),
        clips.make("one.mp4", &format!("{one} -c:v libx264")),
        clips.make("one.apng", one),
    ];
    if crate::formats::can_make("one.avif", &["libaom-av1"]) {
        files.push(clips.make("one.avif", &format!("{one} -c:v libaom-av1 -cpu-used 8")));
    }
    // As cameras append a smaller picture, or a map of depths.
    let first = clips.make("first.jpg", "-f lavfi -i testsrc2=size=320x240 -frames:v 1 -q:v 2");
    let second = clips.make("second.jpg", "-f lavfi -i color=red:size=320x240 -frames:v 1");
    let (first, second) = (std::fs::read(first).unwrap(), std::fs::read(second).unwrap());
    // Behind the 20 bytes that every JFIF begins with, a header says that there are more.
    let more = [&b"\xff\xe2\x00\x10MPF\0"[..], &[0; 10]].concat();
    let both = [&first[..20], &more, &first[20..], &second].concat();
    files.push(clips.path("both.jpg"));
    std::fs::write(clips.path("both.jpg"), both).unwrap();
    let sound = clips.make("three.wav", &tone(3));
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy();
        assert!(media::probe(&path).unwrap().still, "{name}");
        assert_eq!(crate::media::all_frames(&path).len(), 1, "{name}");
        let clip = ClipSpec {
            video: Some(path.clone()),
            audio: AudioSource::File { path: sound.clone(), track: None },
            ..ClipSpec::default()
        };
        let (sampled, _) = media::sample_clip(&clip, &Sampling::default(), &|| false).unwrap();
        assert!(near(sampled.audio.unwrap().samples.len() as f64 / 16_000.0, 3.0), "{name}");
        let ended = end_of(&Player::open(clip));
        assert!(near(ended, 3.0), "{name} ended at {ended} s");
    }
    // Two frames are a film.
    let two = clips.make("two.gif", "-f lavfi -i testsrc2=size=64x48 -frames:v 2");
    assert!(!media::probe(&two).unwrap().still);
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
