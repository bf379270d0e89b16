//! Playing as a person works it: speeds, backwards, loops, scrubbing, another sound for as long as a key is held. Time
//! is the test's: nothing waits for a clock. Knows nothing of windows.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test by panicking")]

use modalens::clip::{AudioSource, ClipSpec, FrameEdit, SoundEdit};
use modalens::media::{self, MediaEvent};
use modalens::settings::Sampling;
use modalens::time::Span;

use crate::media::{Clips, Player, all_frames, digest, telling};

/// Gives the decoder the time that real playing would give it: until a frame is ready that is not due yet.
fn let_it_decode(player: &Player, until_secs: f64) {
    loop {
        let at = player.playback.position_secs();
        // What is left after this is not due.
        player.playback.frame_at(at);
        if at >= until_secs || player.playback.next_pts().is_some() || !player.playback.is_playing() {
            return;
        }
        std::thread::yield_now();
    }
}

fn p95(values: Vec<f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().map(f64::abs).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() * 95 / 100]
}

#[test]
fn time_runs_at_every_speed_and_the_sound_with_it() {
    let clips = Clips::new();
    let player = Player::open(ClipSpec::original(telling(&clips, "telling.mov", 4)));
    let playback = &player.playback;
    playback.play();
    for speed in [0.25, 0.5, 1.5, 2.0, 4.0, 1.0, 3.0, 0.75] {
        playback.set_speed(speed);
        assert_eq!(playback.speed(), speed);
        player.seek(0.5);
        player.play_to(0.6);
        let mut off = Vec::new();
        while playback.position_secs() < 3.4 {
            let before = playback.position_secs();
            // A device that is faster than any other waits for the decoder.
            while player.output.ready() < 960 {
                std::thread::yield_now();
            }
            let out = player.pump();
            let position = playback.position_secs();
            assert!(position >= before && position - before < 0.0101 * speed, "{before} to {position} at {speed}");
            // A block that was played whole says what time it is.
            if (position - before - 0.01 * speed).abs() < 1e-6 && out[959].abs() > 0.01 {
                off.push((f64::from(out[958]) * 4.0 - position) / speed);
            }
            std::thread::yield_now();
        }
        assert!(off.len() > 10, "{} blocks at {speed}", off.len());
        // A ramp gives the overlapping pieces nothing to align by: they may be anywhere in their search range.
        assert!(p95(off.clone()) < if speed == 1.0 { 2e-3 } else { 0.045 }, "{} s at {speed}", p95(off));
    }
    // Out of range is the nearest that is in range; nonsense is the sound's own speed.
    for (asked, got) in [(100.0, 4.0), (0.0, 0.25), (-9.0, -4.0), (f64::NAN, 1.0)] {
        playback.set_speed(asked);
        assert_eq!(playback.speed().abs(), f64::abs(got));
    }
}

/// Ten minutes of it, with seeks and changes of speed: picture and sound stay together by the clock's own log, in each
/// phase by itself, and the clock agrees with what is heard.
#[test]
fn picture_and_sound_stay_together() {
    let clips = Clips::new();
    let picture = "-f lavfi -i color=gray:size=32x32:rate=10:duration=640";
    let sound = "-f lavfi -i aevalsrc=mod(t\\,4)/4|mod(t\\,4)/4:s=8000:d=640";
    let path = clips.make("long.mov", &format!("{picture} {sound} -c:v mpeg4 -g 20 -c:a pcm_f32le"));
    let player = Player::open(ClipSpec::original(&path));
    let playback = &player.playback;
    playback.play();
    let phases: [(f64, Option<f64>, f64); 8] = [
        (590.0, None, 1.0),
        (3.0, Some(20.0), 1.0),
        (3.0, None, 2.0),
        (3.0, Some(300.0), 0.5),
        (4.0, None, 0.25),
        (3.0, Some(611.0), 1.5),
        (3.0, Some(1.0), 4.0),
        (3.0, None, 1.0),
    ];
    for (secs, seek, speed) in phases {
        let phase = format!("{secs} s at {speed} from {seek:?}");
        playback.set_speed(speed);
        seek.map(|t| player.seek(t));
        // Until the new speed is heard, time still runs by the one before.
        player.play_to(playback.position_secs() + 0.3 * speed);
        let (mut told, mut looks, mut frames) = (Vec::new(), 0, 0);
        let mut shown = playback.frame_at(playback.position_secs()).map(|f| f.pts_secs());
        // A look in which the decoder was late is one in which time stood.
        let until = playback.position_secs() + secs * speed;
        while playback.position_secs() < until {
            let_it_decode(&player, 639.0);
            // What is about to run dry is ramped, and tells no time: the decoder is given a while. (Where the mixer has
            // samples to skip, they go by playing only.)
            let whole = (0..100_000).any(|_| {
                std::thread::yield_now();
                player.output.ready() >= 960
            });
            let before = playback.position_secs();
            let out = player.pump();
            let position = playback.position_secs();
            let now = playback.frame_at(position).map(|f| f.pts_secs());
            looks += 1;
            frames += usize::from(now != shown);
            shown = now;
            let second = f64::from(out[958]) * 4.0;
            if speed == 1.0 && whole && position - before > 0.0099 && (0.1..3.9).contains(&second) {
                told.push(second - position % 4.0);
            }
        }
        assert!(speed != 1.0 || told.len() as f64 > secs * 80.0, "{phase}: {} blocks", told.len());
        assert!(told.is_empty() || p95(told.clone()) < 2e-3, "{phase}: heard {} s from what the clock says", p95(told));
        // The logs' ends are this phase's: they hold fewer frames and looks than the first phase has.
        let end = |log: Vec<f64>, count: usize| log[log.len() - count.min(log.len())..].to_vec();
        let late = end(playback.late_secs(), frames);
        let wanted = (secs * 9.0 * speed) as usize;
        assert!(
            frames > wanted && late.len() > wanted.min(4_000),
            "{phase}: {frames} frames, {} of them logged",
            late.len()
        );
        assert!(p95(late.clone()) <= 0.015, "{phase}: frames came {} s late", p95(late));
        // Whenever a frame was shown, it was the one of what was heard.
        let off = end(playback.off_secs(), looks);
        assert!(off.len() >= looks.min(4_000), "{phase}: {looks} looks, {} of them logged", off.len());
        assert!(p95(off.clone()) <= 0.015, "{phase}: the picture was {} s off", p95(off));
    }
}

/// A tick every quarter of a second is heard when the clock says so. The bound is that of the stretch itself (see
/// `stretch.rs`): a piece is moved by at most 7 ms and is 24 ms long. Slowly played it takes as many times as long to go by,
/// so it is media time that counts there; played fast, it covers more of the clip, so it is time of playing.
#[test]
fn ticks_are_heard_when_the_clock_says_so_at_every_speed() {
    let clips = Clips::new();
    let picture = "-f lavfi -i color=gray:size=32x32:rate=10:duration=20";
    let sound = "-f lavfi -i aevalsrc=0.8*lt(mod(t\\,0.25)\\,0.002)|0.8*lt(mod(t\\,0.25)\\,0.002):s=48000:d=20";
    let path = clips.make("ticks.mov", &format!("{picture} {sound} -c:v mpeg4 -g 20 -c:a pcm_f32le"));
    let player = Player::open(ClipSpec::original(&path));
    let playback = &player.playback;
    playback.play();
    for (speed, until) in [(1.0, 8.0), (0.25, 6.0), (0.5, 8.0), (1.5, 16.0), (2.0, 18.0), (4.0, 19.0)] {
        playback.set_speed(speed);
        player.seek(0.6);
        // Each tick's weight and moment, where it belongs to the nearest one.
        let mut ticks = std::collections::BTreeMap::<i64, (f64, f64)>::new();
        player.play_whole(|out, position| {
            playback.frame_at(position);
            for (i, frame) in out.chunks(2).enumerate().filter(|(_, frame)| frame[0].abs() > 0.01) {
                let media = position - (479.5 - i as f64) / 48_000.0 * speed;
                let tick = ticks.entry(((media - 0.001) / 0.25).round() as i64).or_default();
                let weight = f64::from(frame[0].abs());
                *tick = (tick.0 + weight, tick.1 + weight * media);
            }
            position >= until
        });
        let (first, last) = ((0.6 / 0.25) as i64 + 1, (until / 0.25) as i64 - 1);
        let off: Vec<f64> = (first..=last)
            .filter_map(|tick| ticks.get(&tick).map(|(weight, moment)| (tick, moment / weight)))
            .map(|(tick, heard)| (heard - (tick as f64 * 0.25 + 0.001)) / speed.max(1.0))
            .collect();
        // Played fast, some fall between two pieces.
        let all = (last - first + 1) as usize;
        assert!(off.len() == all || speed > 1.9 && off.len() > all / 4, "{} of {all} ticks at {speed}", off.len());
        let far = p95(off.clone());
        assert!(far < 0.015, "heard {far} s from what the clock says at {speed}: {off:?}");
    }
}

/// Looks that are further apart than the frames that are kept ready reach: the picture follows the sound all the same.
#[test]
fn the_picture_keeps_up_however_seldom_one_looks() {
    let clips = Clips::new();
    let picture = "-f lavfi -i testsrc2=size=64x48:rate=60:duration=20 -f lavfi -i sine=duration=20";
    let path = clips.make("fast.mp4", &format!("{picture} -c:v libx264 -preset ultrafast -g 60 -c:a aac"));
    let player = Player::open(ClipSpec::original(path));
    let playback = &player.playback;
    playback.set_speed(2.0);
    playback.play();
    for round in 0..8 {
        // More than a second of the clip goes by: more frames than are ever kept ready.
        let from = playback.position_secs();
        while playback.position_secs() < from + 1.2 {
            player.pump();
            std::thread::yield_now();
        }
        // Without another look the right frame comes to be ready.
        let at = playback.position_secs();
        let hang = std::time::Instant::now() + std::time::Duration::from_mins(1);
        while playback.next_pts().is_none_or(|next| next < at - 0.02) {
            assert!(std::time::Instant::now() < hang, "round {round}: {:?} at {at}", playback.next_pts());
            std::thread::yield_now();
        }
        let shown = playback.frame_at(at).unwrap().pts_secs();
        assert!((at - shown).abs() < 0.04, "round {round}: {shown} at {at}");
    }
}

/// Time that runs away from the decoder, however fast that is: twenty seconds go by in as many milliseconds. What lies
/// between is passed over, not decoded frame by frame, and the picture is soon where time is.
#[test]
fn a_picture_that_is_left_behind_goes_on_where_time_is() {
    let clips = Clips::new();
    let picture = "-f lavfi -i testsrc2=size=480x270:rate=60:duration=40";
    let path = clips.make("long.mp4", &format!("{picture} -c:v libx264 -preset ultrafast -bf 0 -g 600"));
    let clip = ClipSpec { audio: AudioSource::None, ..ClipSpec::original(path) };
    for (speed, from, to) in [(4.0, 2.0, 22.0), (-4.0, 38.0, 18.0)] {
        let player = Player::open(clip.clone());
        let playback = &player.playback;
        playback.set_speed(speed);
        player.seek(from);
        playback.play();
        let ran = |at: f64| if speed > 0.0 { at >= to } else { at <= to };
        while !ran(playback.position_secs()) {
            player.pump();
        }
        let at = playback.position_secs();
        assert!((at - to).abs() < 0.05 && playback.is_playing(), "{at} at {speed}");
        // Nobody looks before; from now on everything that comes is looked at, until it is the frame of this time.
        let mut seen = std::collections::BTreeSet::new();
        let hang = std::time::Instant::now() + std::time::Duration::from_mins(1);
        loop {
            seen.extend(playback.next_pts().map(|t| (t * 60.0).round() as i64));
            let shown = playback.frame_at(at).unwrap().pts_secs();
            seen.insert((shown * 60.0).round() as i64);
            if (-1e-6..0.0168).contains(&(at - shown)) {
                break;
            }
            assert!(std::time::Instant::now() < hang, "{shown} is shown at {at}, at {speed}");
            std::thread::yield_now();
        }
        assert!(seen.len() < 300, "{} of 1200 frames came by at {speed}", seen.len());
    }
}

/// A window that looks seldom takes frames long after they were due, yet shows the right ones; the log tells both, and
/// tells a picture that does not follow the sound.
#[test]
fn the_log_tells_a_seldom_look_from_a_picture_that_lags() {
    let clips = Clips::new();
    let player = Player::open(ClipSpec::original(telling(&clips, "telling.mov", 4)));
    let playback = &player.playback;
    playback.play();
    while playback.position_secs() < 3.0 {
        // 0.13 s go by between two looks; what is due then is decoded by then.
        for _ in 0..13 {
            player.pump();
        }
        let at = playback.position_secs();
        playback.frame_at(at);
        while playback.next_pts().is_none_or(|next| next <= at) && playback.is_playing() {
            playback.frame_at(at);
            std::thread::yield_now();
        }
    }
    let late = playback.late_secs();
    assert!(late.iter().any(|l| *l > 0.02) && late.iter().all(|l| *l < 0.14), "{late:?}");
    // Looking on until the frame is there is logged, too: the last look of each round is right.
    let off = playback.off_secs();
    let right = off.iter().filter(|o| **o < 1e-6).count();
    assert!(right >= 15, "{right} of {off:?}");
    // A picture asked for at another time than what its frame is for.
    let before = playback.off_secs().len();
    playback.frame_at(playback.position_secs() - 0.5);
    let off = playback.off_secs();
    assert!(off.len() == before + 1 && off[before] > 0.45, "{off:?}");
}

#[test]
fn backwards_shows_every_frame_in_silence_and_stops_at_the_start() {
    let clips = Clips::new();
    let path = telling(&clips, "telling.mov", 3);
    for (speed, from) in [(-1.0, 2.5), (-2.0, 1.01), (-4.0, 2.99)] {
        let player = Player::open(ClipSpec::original(&path));
        let playback = &player.playback;
        player.seek(from);
        while player.events.try_recv().is_ok() {}
        playback.set_speed(speed);
        player.until(|e| *e == MediaEvent::FrameReady);
        assert_eq!(playback.position_secs(), from);
        playback.play();
        let mut seen: Vec<i64> = Vec::new();
        while playback.is_playing() {
            let at = playback.position_secs();
            if let Some(frame) = playback.frame_at(at) {
                let pts = frame.pts_secs();
                seen.push((pts * 25.0).round() as i64);
                assert!(pts <= at + 1e-6 || playback.next_pts().is_none(), "{pts} shown at {at}");
            }
            // Before the first frame there is none to wait for.
            if seen.last() != Some(&0) {
                let_it_decode(&player, f64::INFINITY);
            }
            assert!(player.pump().iter().all(|s| *s == 0.0), "backwards is silent");
            let after = playback.position_secs();
            assert!(after <= at && at - after <= 0.0101 * speed.abs(), "{at} to {after}");
        }
        player.until(|e| *e == MediaEvent::Ended);
        assert!(playback.position_secs() < 0.05, "stopped at {}", playback.position_secs());
        seen.dedup();
        assert!(seen.is_sorted_by(|a, b| a > b), "{seen:?}");
        assert_eq!((seen[0], seen[seen.len() - 1]), ((from * 25.0 + 1e-6) as i64, 0), "{seen:?}");
        if speed > -4.0 {
            assert_eq!(seen.len() as i64, seen[0] + 1, "every frame");
        }
        // Forwards again from there.
        playback.set_speed(1.0);
        playback.play();
        player.play_to(0.2);
    }
}

#[test]
fn a_loop_turns_round_both_ways_and_what_lies_beyond_it_plays_on() {
    let clips = Clips::new();
    let player = Player::open(ClipSpec::original(telling(&clips, "telling.mov", 3)));
    let playback = &player.playback;
    playback.set_repeat(Some(Span::new(0.52, 0.92)));
    player.seek(0.6);
    playback.play();
    let turns = |forwards: bool| {
        let (mut turns, mut last) = (0, playback.position_secs());
        while turns < 4 {
            player.pump();
            let at = playback.position_secs();
            assert!(playback.is_playing() && (0.519..=0.921).contains(&at), "{at}");
            turns += u32::from(if forwards { at < last } else { at > last });
            last = at;
            std::thread::yield_now();
        }
    };
    turns(true);
    playback.set_speed(-1.0);
    turns(false);
    playback.set_speed(1.0);
    // Time that is past the loop plays on, as does time without one.
    player.seek(1.5);
    player.play_to(1.7);
    player.seek(0.8);
    playback.set_repeat(None);
    player.play_to(1.2);
    // An end that is set while playing turns at once; one that is no longer than a blink is none.
    let at = playback.position_secs();
    playback.set_repeat(Some(Span::new(0.5, at)));
    assert_eq!(playback.position_secs(), 0.5);
    playback.set_repeat(Some(Span::new(0.7, 0.701)));
    player.play_to(0.9);
}

#[test]
fn scrubbing_shows_something_near_at_once_and_the_exact_frame_in_the_end() {
    let clips = Clips::new();
    let picture = "-f lavfi -i testsrc2=size=96x64:rate=25:duration=8";
    let path = clips.make("sparse.mp4", &format!("{picture} -c:v libx264 -g 100 -keyint_min 100 -sc_threshold 0"));
    let player = Player::open(ClipSpec::original(&path));
    let playback = &player.playback;
    playback.play();
    player.play_to(0.1);
    while player.events.try_recv().is_ok() {}
    playback.scrub(7.5);
    let at = playback.position_secs();
    assert_eq!(at, 7.5);
    player.until(|e| *e == MediaEvent::FrameReady);
    let first = playback.frame_at(at).unwrap().pts_secs();
    assert!((first - 4.0).abs() < 1e-6 || (first - 7.48).abs() < 1e-6, "the key frame or the exact one, not {first}");
    while (playback.frame_at(at).unwrap().pts_secs() - 7.48).abs() > 0.021 {
        std::thread::yield_now();
    }
    // Time stands while the hand moves, and goes on from where it lets go.
    for i in 0..20 {
        playback.scrub(f64::from(i) * 0.3);
        player.pump();
        assert_eq!(playback.position_secs(), f64::from(i) * 0.3);
    }
    assert!(playback.is_playing());
    let frame = player.seek(3.01);
    assert!((frame.pts_secs() - 3.0).abs() < 1e-6, "{}", frame.pts_secs());
    player.play_to(3.2);
}

#[test]
fn a_hand_that_never_rests_sees_where_it_was_just_now() {
    let clips = Clips::new();
    let picture = "-f lavfi -i testsrc2=size=640x480:rate=25:duration=8";
    let path = clips.make("film.mp4", &format!("{picture} -c:v libx264 -preset ultrafast -g 25"));
    let player = Player::open(ClipSpec::original(&path));
    let playback = &player.playback;
    player.seek(0.0);
    let mut seen = std::collections::BTreeSet::new();
    // Faster than anything can be decoded; the limit only keeps a broken build from hanging.
    for i in 0..3_000_000u32 {
        playback.scrub(f64::from(i * 37 % 800) / 100.0);
        let shown = playback.frame_at(playback.position_secs()).unwrap();
        seen.insert((shown.pts_secs() * 25.0).round() as i64);
        if seen.len() > 4 {
            break;
        }
    }
    assert!(seen.len() > 4, "{seen:?}");
    // Where it rests at last, the exact frame.
    let frame = player.seek(3.01);
    assert!((frame.pts_secs() - 3.0).abs() < 1e-6, "{}", frame.pts_secs());
}

#[test]
fn a_file_is_as_long_as_what_is_in_it() {
    let clips = Clips::new();
    let film = "-f lavfi -i testsrc2=size=96x64:rate=25:duration=20 -f lavfi -i sine=duration=20 -c:v libx264 -g 50";
    let damaged = |name: &str, args: &str, damage: &dyn Fn(&mut Vec<u8>)| {
        let path = clips.make(name, args);
        let whole = media::probe(&path).unwrap();
        assert!(
            whole.declared_secs.is_none() && (whole.duration_secs.unwrap() - 20.0).abs() < 0.1,
            "{name}: {whole:?}"
        );
        let mut bytes = std::fs::read(&path).unwrap();
        damage(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        (path, whole.duration_secs)
    };
    let cut = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() * 2 / 5);
    let lie = |bytes: &mut Vec<u8>| {
        // The element Duration, eight bytes long.
        let at = bytes.windows(3).position(|w| w == b"\x44\x89\x88").unwrap() + 3;
        bytes[at..at + 8].copy_from_slice(&9e15f64.to_be_bytes());
    };
    let (front, says) = damaged("cut.mp4", &format!("{film} -c:a aac -movflags +faststart"), &cut);
    let (sound, _) = damaged("cut.flac", "-f lavfi -i sine=duration=20", &cut);
    let (lied, _) = damaged("lied.mkv", &format!("{film} -c:a aac"), &lie);
    for (path, ends, declared) in
        [(front, 2.0..12.0, says), (sound.clone(), 4.0..12.0, Some(20.0)), (lied, 19.9..20.1, Some(9e12))]
    {
        let name = path.display();
        let probe = media::probe(&path).unwrap();
        let end = probe.duration_secs.filter(|end| ends.contains(end)).unwrap_or_else(|| panic!("{name}: {probe:?}"));
        assert_eq!(probe.declared_secs, declared, "{name}");
        let clip = if path == sound {
            ClipSpec { audio: AudioSource::File { path: sound.clone(), track: None }, ..ClipSpec::default() }
        } else {
            ClipSpec::original(&path)
        };
        let player = Player::open(clip);
        player.seek_only(end - 0.4);
        // A sound alone says its length once it is open.
        while player.playback.duration_secs().is_none() {
            std::thread::yield_now();
        }
        assert!(player.playback.duration_secs().is_some_and(|d| (d - end).abs() < 0.05), "{name}");
        player.playback.play();
        while player.playback.is_playing() {
            player.pump();
        }
        player.until(|e| *e == MediaEvent::Ended);
        assert!((player.playback.position_secs() - end).abs() < 0.05, "{name}: {}", player.playback.position_secs());
    }
}

#[test]
fn the_videos_own_sound_is_one_key_away() {
    let clips = Clips::new();
    let path = telling(&clips, "telling.mov", 4);
    let other = clips.make("other.wav", "-f lavfi -i aevalsrc=-0.5|-0.5:s=48000:d=5 -c:a pcm_f32le");
    let swapped = ClipSpec { audio: AudioSource::File { path: other, track: None }, ..ClipSpec::original(&path) };
    let player = Player::open(swapped.clone());
    let playback = &player.playback;
    playback.play();
    player.play_to(0.5);
    let mut steepest = 0f32;
    let mut previous = None::<f32>;
    for own in [true, false, true] {
        playback.hear_own_sound(own);
        assert_eq!(playback.hears_own_sound(), own);
        loop {
            let (underruns, before) = (playback.underruns(), playback.position_secs());
            let out = player.pump();
            let position = playback.position_secs();
            assert!(position >= before && position < 3.5, "{own}: it never came");
            if playback.underruns() == underruns {
                for frame in out.chunks(2) {
                    steepest = steepest.max((frame[0] - previous.unwrap_or(frame[0])).abs());
                    previous = Some(frame[0]);
                }
            } else {
                previous = None;
            }
            let heard = f64::from(out[958]);
            if if own { (heard * 4.0 - position).abs() < 1e-3 } else { (heard + 0.5).abs() < 1e-3 } {
                break;
            }
            std::thread::yield_now();
        }
    }
    assert!(steepest < 0.02, "a click of {steepest}");
    // What the model gets is not touched by it.
    playback.set_clip(swapped, Sampling::default());
    assert!(playback.hears_own_sound());
}

/// What the player plays of a clip, by sample number at 48 kHz from t = 0; `None` where it was faster than the decoder.
fn played(clip: &ClipSpec, until_secs: f64) -> Vec<Option<[f32; 2]>> {
    let player = Player::open(clip.clone());
    player.playback.play();
    let mut all = Vec::new();
    let mut calm = 0;
    while player.playback.position_secs() < until_secs {
        let (before, underruns) = (player.playback.position_secs(), player.playback.underruns());
        let out = player.pump();
        let moved = ((player.playback.position_secs() - before) * 48_000.0).round() as usize;
        // After a hole the sound is faded in again.
        calm = if player.playback.underruns() == underruns { calm + 1 } else { 0 };
        let first = (before * 48_000.0).round() as usize;
        all.resize(first, None);
        all.extend(out.chunks(2).take(moved).map(|f| (calm > 1).then_some([f[0], f[1]])));
        std::thread::yield_now();
    }
    all
}

#[test]
fn what_is_heard_is_what_the_model_gets() {
    let clips = Clips::new();
    let video = telling(&clips, "telling.mov", 2);
    let sine = "0.4*sin(2*PI*200*t)";
    let long = clips.make("long.wav", &format!("-f lavfi -i aevalsrc={sine}|{sine}:s=44100:d=3"));
    let short = clips.make("short.wav", &format!("-f lavfi -i aevalsrc={sine}:s=16000:d=0.7"));
    let file = |path: &std::path::Path| AudioSource::File { path: path.to_owned(), track: None };
    let edit = |offset_secs, gain_db, repeat| SoundEdit { offset_secs, gain_db, repeat };
    let cases = [
        (file(&long), edit(0.0, 0.0, false)),
        (file(&long), edit(0.25, -6.0, false)),
        (file(&long), edit(-0.4, 12.0, false)),
        (file(&short), edit(0.0, 0.0, false)),
        (file(&short), edit(0.1, 3.0, true)),
        (file(&short), edit(-0.3, 0.0, true)),
        (AudioSource::Noise { seed: 7, level_db: -12 }, edit(0.0, 0.0, false)),
        (AudioSource::Noise { seed: 8, level_db: -30 }, edit(0.5, 6.0, false)),
    ];
    for (audio, sound) in cases {
        let clip = ClipSpec { audio: audio.clone(), sound, ..ClipSpec::original(&video) };
        let (sampled, _) = media::sample_clip(&clip, &Sampling::default(), &|| false).unwrap();
        let model = sampled.audio.unwrap();
        let heard = played(&clip, 1.98);
        assert_eq!(model.start_secs, 0.0, "{audio:?} {sound:?}");
        let mut compared = 0;
        let mut wrong = Vec::new();
        for t in (1_000..30_000).filter(|t| heard.get(t * 3).is_some_and(Option::is_some)) {
            let fed = model.samples.get(t).copied().unwrap_or(0.0);
            let [left, right] = heard[t * 3].unwrap();
            compared += 1;
            if (fed - left).abs() > 4e-3 || left != right {
                wrong.push((t, fed, left, right));
            }
        }
        assert!(compared > 5_000, "{compared} samples of {audio:?} {sound:?}");
        // At the edges of a sound the two resamplers ring differently.
        assert!(wrong.len() < compared / 200, "{audio:?} {sound:?}: {} of {compared}, {:?}", wrong.len(), &wrong[..5]);
    }
}

#[test]
fn sounds_are_shifted_repeated_and_made_of_noise_exactly() {
    let clips = Clips::new();
    let video = telling(&clips, "telling.mov", 2);
    // A sound that says how old it is.
    let ramp = clips.make("ramp.wav", "-f lavfi -i aevalsrc=t:s=16000:d=0.6 -c:a pcm_f32le");
    let with = |audio: AudioSource, sound| {
        let clip = ClipSpec { audio, sound, ..ClipSpec::original(&video) };
        media::sample_clip(&clip, &Sampling::default(), &|| false).unwrap().0.audio.unwrap().samples
    };
    let file = || AudioSource::File { path: ramp.clone(), track: None };
    let at = |samples: &[f32], t: f64| f64::from(samples[(t * 16_000.0).round() as usize]);
    let later = with(file(), SoundEdit { offset_secs: 0.5, ..SoundEdit::default() });
    assert_eq!((later.len(), at(&later, 0.4)), (17_600, 0.0));
    assert!((at(&later, 0.8) - 0.3).abs() < 1e-4);
    let earlier = with(file(), SoundEdit { offset_secs: -0.2, ..SoundEdit::default() });
    assert!(earlier.len() == 6_400 && (at(&earlier, 0.1) - 0.3).abs() < 1e-4);
    let repeated = with(file(), SoundEdit { offset_secs: 0.1, repeat: true, gain_db: -6.020_6 });
    assert_eq!(repeated.len(), 32_000, "as long as the picture");
    for (t, age) in [(0.05, 0.0), (0.2, 0.1), (0.69, 0.59), (0.75, 0.05), (1.5, 0.2), (1.95, 0.05)] {
        assert!((at(&repeated, t) - age / 2.0).abs() < 1e-4, "{} at {t}", at(&repeated, t));
    }
    // Whatever a case says: what is shifted away is silence, as it is heard, and nothing is louder than full scale.
    for offset_secs in [1e300, -1e300] {
        let silence = with(file(), SoundEdit { offset_secs, ..SoundEdit::default() });
        assert!(silence.len() == 32_000 && silence.iter().all(|s| *s == 0.0), "{} samples", silence.len());
    }
    let loudest = with(file(), SoundEdit { gain_db: 1e300, ..SoundEdit::default() });
    assert!(at(&loudest, 0.0) == 0.0 && at(&loudest, 0.3) == 1.0);
    // Noise: its level, its seed, and no end but the picture's.
    let noise = |seed, level_db| with(AudioSource::Noise { seed, level_db }, SoundEdit::default());
    let (a, b, quiet) = (noise(1, -20), noise(2, -20), noise(1, -40));
    assert_eq!((a.len(), &a), (32_000, &noise(1, -20)));
    let rms = |s: &[f32]| 20.0 * (s.iter().map(|x| f64::from(x * x)).sum::<f64>() / s.len() as f64).sqrt().log10();
    assert!((rms(&a) + 20.0).abs() < 0.2 && (rms(&quiet) + 40.0).abs() < 0.2, "{} {}", rms(&a), rms(&quiet));
    let alike = a.iter().zip(&b).map(|(x, y)| f64::from(x * y)).sum::<f64>() / a.len() as f64 / 0.01;
    assert!(alike.abs() < 0.05, "two seeds are alike by {alike}");
    let alone = ClipSpec { audio: AudioSource::Noise { seed: 1, level_db: -20 }, ..ClipSpec::default() };
    let error = media::sample_clip(&alone, &Sampling::default(), &|| false).unwrap_err().to_string();
    assert!(error.contains("give a video"), "{error}");

    // The frames from the last to the first, at the same times; another seed, another order.
    let frames = |frames| {
        let clip = ClipSpec { frames, audio: AudioSource::None, ..ClipSpec::original(&video) };
        let sampling = Sampling { fps: Some(8.0), ..Sampling::default() };
        media::sample_clip(&clip, &sampling, &|| false).unwrap().0.video.unwrap()
    };
    let (kept, turned) = (frames(FrameEdit::Keep), frames(FrameEdit::Reverse));
    assert_eq!(kept.pts_secs, turned.pts_secs);
    assert!(kept.frames.iter().rev().eq(&turned.frames));
    let shuffled = |seed| frames(FrameEdit::Shuffle { seed }).frames;
    assert!(shuffled(1) == shuffled(1) && shuffled(1) != shuffled(2));
    let player = Player::open(ClipSpec { frames: FrameEdit::Reverse, ..ClipSpec::original(&video) });
    let shown = player.seek(0.0);
    let sampled = media::sample_clip(&ClipSpec::original(&video), &Sampling::default(), &|| false).unwrap().0;
    let last = *sampled.video.unwrap().pts_secs.last().unwrap();
    assert_eq!(shown.pts_secs(), 0.0);
    let as_stored = all_frames(&video).into_iter().find(|(t, _)| *t == last).unwrap().1;
    assert_eq!(digest(&*shown), as_stored, "the player shows the last frame first");
}
