//! Whether a flash and a burst that were written together are found together: in real containers and codecs, with edit
//! lists, offsets and starts of their own, by the model and by the player, each against the `ffmpeg` command line.
//! Knows nothing of what is drawn.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

use modalens::clip::ClipSpec;
use modalens::frame::Planes;

use crate::media::{Clips, Player, in_two, probe_times, sample};

/// Three frames of a black picture are white: from 1.48 s to 1.6 s.
const FLASH: &str = "-f lavfi -i color=black:size=96x64:rate=25:duration=3,drawbox=w=96:h=64:t=fill:c=white:enable='between(n\\,37\\,39)'";
/// A tone of 1 kHz that begins with it.
const BURST: &str = "-f lavfi -i aevalsrc=0.8*sin(2*PI*1000*(t-1.48))*between(t\\,1.48\\,1.56):s=48000:d=3";
const H264: &str = "-c:v libx264 -bf 2 -g 10";
/// A sample that belongs to the burst: what codecs smear before it is quieter.
const LOUD: f32 = 0.1;
/// How far an onset may be from where FFmpeg has it.
const CLOSE_SECS: f64 = 0.005;

/// When what begins, in seconds from the container's start.
#[derive(Debug, Clone, Copy)]
struct Moments {
    flash_secs: f64,
    burst_secs: f64,
}

fn is(a_secs: f64, b_secs: f64) -> bool {
    (a_secs - b_secs).abs() < 2e-6
}

fn output_of(program: &str, args: &[&str]) -> Vec<u8> {
    let out = Command::new(program).args(["-v", "error"]).args(args).output().unwrap();
    assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

/// What the command lines find: the picture's times by `ffprobe`, the sound's by FFmpeg's own filling up from the
/// container's zero. Both are on the container's axis, whose start is then taken off. Also the times of all white frames.
fn by_ffmpeg(path: &Path) -> (Moments, Vec<f64>) {
    let name = path.to_str().unwrap();
    let gray = ["-nostdin", "-i", name, "-map", "0:v", "-vsync", "passthrough", "-pix_fmt", "gray", "-f", "rawvideo"];
    let pictures = output_of("ffmpeg", &[&gray[..], &["-"]].concat());
    let times = probe_times(path).into_iter().zip(pictures.chunks(96 * 64));
    let white: Vec<f64> = times.filter(|(_, picture)| picture[0] > 128).map(|(t, _)| t).collect();
    assert_eq!(white.len(), 3, "{name}: {white:?} by ffmpeg");
    let start = output_of("ffprobe", &["-show_entries", "format=start_time", "-of", "csv=p=0", name]);
    let start_secs: f64 = String::from_utf8(start).unwrap().trim().parse().unwrap();
    let fill = "aresample=48000:async=1:first_pts=0";
    let args = ["-nostdin", "-copyts", "-i", name, "-map", "0:a", "-af", fill, "-ac", "1", "-f", "f32le", "-"];
    let sound = output_of("ffmpeg", &args);
    let loud = sound.as_chunks::<4>().0.iter().position(|s| f32::from_le_bytes(*s).abs() > LOUD).unwrap();
    (Moments { flash_secs: white[0], burst_secs: loud as f64 / 48_000.0 - start_secs }, white)
}

/// What a model is given: of its frames, those are white that are so at their time. (Their number is even, so that not
/// every frame need be among them.)
fn by_the_model(path: &Path, white: &[f64]) -> Result<Moments, String> {
    let (clip, _) = sample(&ClipSpec::original(path), 25.0).map_err(|e| e.to_string())?;
    let (video, audio) = (clip.video.ok_or("no picture")?, clip.audio.ok_or("no sound")?);
    let seen = || video.frames.iter().zip(&video.pts_secs).map(|(frame, t)| (frame.data[0] > 128, *t));
    let among = |t: f64| white.iter().any(|w| is(*w, t));
    if let Some((is_white, t)) = seen().find(|(is_white, t)| *is_white != among(*t)) {
        return Err(format!("a frame at {t} is {}", if is_white { "white" } else { "black" }));
    }
    let flash_secs = seen().find(|frame| frame.0).ok_or("no white frame")?.1;
    let loud = audio.samples.iter().position(|s| s.abs() > LOUD).ok_or("no burst")?;
    Ok(Moments { flash_secs, burst_secs: audio.start_secs + loud as f64 / 16_000.0 })
}

fn is_white(frame: &dyn Planes) -> bool {
    frame.planes()[0].data[0] > 128
}

/// What is played from where the player is: the first loud sample by the clock, and the white frame by its own time and
/// by the clock when it is first shown.
fn by_playing(player: &Player, until_secs: f64) -> (Moments, f64) {
    let playback = &player.playback;
    playback.play();
    let (mut flash, mut burst) = (None, None);
    player.play_whole(|out, at| {
        if burst.is_none() {
            let loud = out.chunks(2).position(|frame| frame[0].abs() > LOUD);
            burst = loud.map(|i| at - (480 - i) as f64 / 48_000.0);
        }
        let mut shown = playback.frame_at(at);
        while playback.is_playing() && playback.next_pts().is_none_or(|next| next <= at) {
            std::thread::yield_now();
            shown = playback.frame_at(at);
        }
        if flash.is_none() {
            flash = shown.filter(|frame| is_white(&**frame)).map(|frame| (frame.pts_secs(), at));
        }
        assert!(at < until_secs && playback.is_playing(), "by {at}: flash {flash:?}, burst {burst:?}");
        flash.is_some() && burst.is_some()
    });
    let ((flash_secs, shown_secs), burst_secs) = (flash.unwrap(), burst.unwrap());
    (Moments { flash_secs, burst_secs }, shown_secs)
}

/// What is wrong with one file, in words.
fn check(path: &Path) -> Vec<String> {
    let name = path.file_name().unwrap().to_string_lossy();
    let (right, white) = by_ffmpeg(path);
    let mut wrong = Vec::new();
    match by_the_model(path, &white) {
        Ok(found) if (found.burst_secs - right.burst_secs).abs() < CLOSE_SECS => {}
        found => wrong.push(format!("{name}: the model has {found:?}, ffmpeg {right:?}")),
    }
    let first = right.flash_secs.min(right.burst_secs);
    let last = right.flash_secs.max(right.burst_secs) + 0.1;
    let player = Player::open(ClipSpec::original(path));
    // From the start, after a seek back to shortly before, and from the middle of a frame between key frames.
    for from_secs in [None, Some(first - 0.31), Some(first - 0.13)] {
        if let Some(secs) = from_secs {
            player.seek(secs);
        }
        let (found, shown_secs) = by_playing(&player, last);
        // It is shown with the block in which its time comes.
        let shown = (-1e-6..0.0101).contains(&(shown_secs - right.flash_secs));
        let heard = (found.burst_secs - right.burst_secs).abs() < CLOSE_SECS;
        if !(shown && heard && is(found.flash_secs, right.flash_secs)) {
            wrong.push(format!(
                "{name}: from {from_secs:?} is played {found:?}, the flash shown at {shown_secs}; ffmpeg has {right:?}"
            ));
        }
    }
    wrong
}

#[test]
fn a_flash_and_its_burst_are_where_ffmpeg_has_them() {
    let clips = Clips::new();
    let make = |name: &str, args: &str| clips.make(name, args);
    let plain = make("plain.mp4", &format!("{FLASH} {BURST} {H264} -c:a aac"));
    let files: Vec<PathBuf> = vec![
        // An edit list that begins between two packets of sound.
        make("cut.mp4", &format!("-ss 0.7 -i {} -c copy", plain.display())),
        plain,
        make("opus.mkv", &format!("{FLASH} {BURST} {H264} -c:a libopus")),
        make("web.webm", &format!("{FLASH} {BURST} -c:v libvpx -deadline realtime -g 10 -c:a libvorbis")),
        // Nothing in these three says that an encoder put silence before the sound: FFmpeg plays it, and so do we.
        make("old.avi", &format!("{FLASH} {BURST} -c:v mpeg4 -g 10 -c:a libmp3lame")),
        make("broadcast.ts", &format!("{FLASH} {BURST} {H264} -c:a aac -output_ts_offset 7")),
        make("program.mpg", &format!("{FLASH} {BURST} -c:v mpeg2video -bf 2 -g 10 -q:v 2 -c:a ac3")),
        make("late-sound.mp4", &format!("{FLASH} -itsoffset 0.32 {BURST} {H264} -c:a aac")),
        make("late-picture.mp4", &format!("-itsoffset 0.32 {FLASH} {BURST} {H264} -c:a aac")),
        make("late-sound.mkv", &format!("{FLASH} -itsoffset 0.32 {BURST} {H264} -c:a libopus")),
        make("late-picture.ts", &format!("-itsoffset 0.32 {FLASH} {BURST} {H264} -c:a mp2")),
    ];
    let wrong = in_two(&files, |files| files.iter().flat_map(|file| check(file)).collect());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The comparison means something only where FFmpeg itself finds the two together, or as far apart as they were put.
    for (name, apart_secs) in [("plain.mp4", 0.0), ("late-sound.mp4", 0.32), ("late-picture.mp4", -0.32)] {
        let Moments { flash_secs, burst_secs } = by_ffmpeg(&clips.path(name)).0;
        let found = burst_secs - flash_secs;
        assert!((found - apart_secs).abs() < CLOSE_SECS, "{name}: the burst is {found} s after the flash");
    }
}
