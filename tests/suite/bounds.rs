//! Memory that does not grow with the file: an hour of 4K and an 8192×4320 picture through player, filmstrip, sampler and outline,
//! each in a process of its own that stays below a gigabyte. Knows nothing of speed.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test by panicking")]

use std::path::PathBuf;
use std::process::Command;

use modalens::clip::{ClipSpec, FrameEdit};
use modalens::frame::RgbImage;
use modalens::media::{self, Peaks, Thumbnails};
use modalens::settings::Sampling;

use crate::media::{Clips, Player};

/// Resident memory that no file may need: a gigabyte.
const MOST_MIB: usize = 1_000_000_000 >> 20;

/// The most memory this process had at once, in MiB, since it began or since [`reset_peak`]; `None` where the system
/// does not say.
pub(crate) fn peak_mib() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse::<usize>().ok().map(|kib| kib / 1024)
}

/// Forgets the peak; without this right the peak is that of the whole process, which is stricter.
pub(crate) fn reset_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Runs a test of this module again in a process of its own, for its memory to be its own. Returns the file it is
/// given there, and `None` in the parent, where it has already passed.
fn alone(test: &str, make: impl FnOnce(&Clips) -> PathBuf) -> Option<PathBuf> {
    let marker = "MODALENS_TEST_BOUNDS";
    if let Some(path) = std::env::var_os(marker) {
        return Some(path.into());
    }
    let clips = Clips::new();
    let path = make(&clips);
    let out = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("bounds::{test}"), "--test-threads=1", "--nocapture"])
        .env(marker, path)
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{stdout}\n{stderr}");
    eprint!("{stderr}");
    None
}

/// What the engine does with a sampled frame: makes it small at once.
fn small(image: &RgbImage) -> RgbImage {
    let (w, h) = (64, 36);
    let pixel = |x: usize, y: usize| &image.data[(y * image.height / h * image.width + x * image.width / w) * 3..][..3];
    let data = (0..h).flat_map(|y| (0..w).flat_map(move |x| pixel(x, y).to_vec())).collect();
    RgbImage { width: w, height: h, data }
}

fn within(what: &str) {
    if let Some(peak) = peak_mib() {
        eprintln!("{what}: {peak} MiB at most");
        assert!(peak < MOST_MIB, "{what}: {peak} MiB");
    }
}

#[test]
fn an_hour_of_4k_stays_below_a_gigabyte() {
    let make = |clips: &Clips| {
        let second = clips.make(
            "second.mp4",
            // As films are: ten bits, frames made of several others in both directions.
            "-f lavfi -i testsrc2=size=3840x2160:rate=8:duration=1 -f lavfi -i sine=frequency=440:sample_rate=8000:duration=1 \
             -c:v libx264 -preset ultrafast -crf 40 -g 8 -bf 3 -refs 4 -pix_fmt yuv420p10le -c:a aac",
        );
        clips.make("hour.mp4", &format!("-stream_loop 3599 -i {} -c copy", second.display()))
    };
    let Some(path) = alone("an_hour_of_4k_stays_below_a_gigabyte", make) else { return };
    let probe = media::probe(&path).unwrap();
    assert!(probe.duration_secs.unwrap() > 3590.0);
    let clip = ClipSpec::original(&path);
    let player = Player::open(clip.clone());
    player.playback.play();
    player.play_to(1.5);
    for t in [3500.0, 12.3, 1800.7, 3599.5] {
        let shown = player.seek(t);
        assert!(shown.pts_secs() <= t && t - shown.pts_secs() < 0.13, "{} at {t}", shown.pts_secs());
    }
    within("playing an hour of 4K");
    player.seek(1800.0);
    player.playback.set_speed(-4.0);
    while player.playback.position_secs() > 1794.0 {
        player.pump();
        player.playback.frame_at(player.playback.position_secs());
        std::thread::yield_now();
    }
    within("playing an hour of 4K backwards");
    drop(player);
    let mut film = Thumbnails::open(&path).unwrap();
    for i in 0..40 {
        let t = f64::from(i) * 90.0 + 0.7;
        let picture = film.near(t, 45.0, &|| false).unwrap().unwrap();
        assert!((picture.pts_secs - t).abs() <= 45.0, "{} at {t}", picture.pts_secs);
    }
    drop(film);
    within("the filmstrip of an hour of 4K");
    // At most 768 frames are sampled: one every 4.7 seconds.
    for frames in [FrameEdit::Reverse, FrameEdit::Shuffle { seed: 0 }] {
        let player = Player::open(ClipSpec { frames, ..clip.clone() });
        player.playback.play();
        player.play_to(3.0);
        for t in [3599.4, 0.2, 1800.7] {
            let shown = player.seek(t);
            assert!(shown.pts_secs() <= t && t - shown.pts_secs() < 4.8, "{} at {t}", shown.pts_secs());
        }
    }
    within("playing an hour of 4K with its frames in another order");
    let sampling = Sampling { fps: Some(0.004), ..Sampling::default() };
    let (sampled, _) = media::sample_clip_with(&clip, &sampling, &|| false, &mut |image, _| Ok(small(&image))).unwrap();
    let frames = sampled.video.unwrap();
    assert!(frames.frames.len() >= 12 && frames.pts_secs.last().unwrap() > &3500.0);
    within("sampling an hour of 4K");
    let peaks = Peaks::of(&clip, &|| false).unwrap().unwrap();
    assert!(peaks.end_secs() > 3500.0);
    within("the outline of an hour");
}

#[test]
fn an_8192_by_4320_film_stays_below_a_gigabyte() {
    let make = |clips: &Clips| {
        clips.make(
            "huge.mp4",
            "-f lavfi -i color=teal:size=8192x4320:rate=4:duration=2 -c:v libx264 -preset ultrafast -g 4 -pix_fmt yuv420p",
        )
    };
    let Some(path) = alone("an_8192_by_4320_film_stays_below_a_gigabyte", make) else { return };
    let clip = ClipSpec::original(&path);
    let player = Player::open(clip.clone());
    player.playback.play();
    player.play_to(0.6);
    for t in [1.6, 0.3, 1.1] {
        let shown = player.seek(t);
        assert_eq!(shown.size(), [8192, 4320]);
        assert!(shown.pts_secs() <= t && t - shown.pts_secs() < 0.26, "{} at {t}", shown.pts_secs());
    }
    drop(player);
    let player = Player::open(ClipSpec { frames: FrameEdit::Reverse, ..clip.clone() });
    for t in [0.1, 1.6, 0.6, 1.1] {
        assert_eq!(player.seek(t).size(), [8192, 4320]);
    }
    within("playing 8192x4320");
    let sampling = Sampling { fps: Some(2.0), ..Sampling::default() };
    let (sampled, _) = media::sample_clip_with(&clip, &sampling, &|| false, &mut |image, _| Ok(small(&image))).unwrap();
    assert_eq!(sampled.video.unwrap().frames.len(), 4);
    within("sampling 8192x4320");
}
