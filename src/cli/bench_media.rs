//! `modalens bench-media`: decoding and exact seeking in turns with the `ffmpeg` command line on the same file, so that
//! whatever else the machine does falls on both, and how long a hand that scrubs waits for a frame. Knows nothing of models.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use crate::cli::bench::cpu_seconds;
use crate::cli::{Outcome, print_json};
use crate::clip::ClipSpec;
use crate::frame::{Planes, RgbaFrame};
use crate::media::{MediaEvent, Output, Playback, Thumbnail, Thumbnails, VideoReader, glance};
use crate::settings::Sampling;

/// How long there may be no news.
const PATIENCE: Duration = Duration::from_secs(10);

/// Arguments of `modalens bench-media`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Video file
    #[arg(long, value_name = "FILE")]
    video: PathBuf,
    /// Rounds; of each time the smallest counts
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// Seeks per round
    #[arg(long, value_name = "N", default_value_t = 15)]
    seeks: usize,
    /// Exit with 1 where decoding is below 90 % of ffmpeg's speed, an exact seek takes more than 1.2 times as long (or, up
    /// to 720 lines, 60 ms in the median), or what a moving hand is shown first takes more than 60 ms
    #[arg(long)]
    check: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What was measured. FFmpeg's times are those of its option `-benchmark`, in milliseconds: without its start and the
/// opening of the file, as ours are.
#[derive(Debug, Serialize)]
struct Report {
    height: u32,
    frames: usize,
    threads: usize,
    /// Whether frames are copied once before they are uploaded, since no shader reads their layout.
    frames_converted: bool,
    decode_s: f64,
    decode_cpu_s: f64,
    ffmpeg_decode_s: f64,
    ffmpeg_decode_cpu_s: f64,
    /// Our frames per second ÷ FFmpeg's.
    decode_speed: f64,
    seek_ms_median: f64,
    seek_ms_worst: f64,
    ffmpeg_seek_ms_median: f64,
    /// Our time ÷ FFmpeg's: the median over the seeks.
    seek_time: f64,
    /// The same of CPU time, which other programs disturb less.
    seek_cpu: f64,
    /// From a move of a hand that scrubs to the first picture that it is shown: a frame of the player, or one of the
    /// filmstrip's where that takes too long. Of all moves.
    preview_ms_median: f64,
    preview_ms_p95: f64,
    preview_ms_worst: f64,
    /// The share of moves that were shown the filmstrip's.
    preview_from_film: f64,
}

impl Report {
    /// What is beyond its bar, in words.
    fn beyond(&self) -> Vec<String> {
        [
            (self.decode_speed < 0.9, format!("decoding is at {:.0} % of ffmpeg's speed", self.decode_speed * 100.0)),
            (self.seek_time > 1.2, format!("an exact seek takes {:.2} times as long as ffmpeg", self.seek_time)),
            (
                self.height <= 720 && self.seek_ms_median > 60.0,
                format!("an exact seek takes {:.0} ms in the median", self.seek_ms_median),
            ),
            (self.preview_ms_worst > 60.0, format!("a scrubbing hand waited {:.0} ms", self.preview_ms_worst)),
        ]
        .into_iter()
        .filter_map(|(beyond, what)| beyond.then_some(what))
        .collect()
    }
}

/// Wall and CPU seconds.
type Times = (f64, f64);

/// Runs the command.
pub fn run(args: &Args) -> Result<Outcome> {
    let times = all_times(&args.video)?;
    ensure!(times.len() > 1, "this file has only one frame ({})", args.video.display());
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).min(4);
    // Scattered, so that no seek is near the one before it.
    let targets: Vec<f64> = (0..args.seeks.max(1)).map(|i| times[(i * 7_919 + 97) % times.len()]).collect();
    let mut decode = [Vec::new(), Vec::new()];
    let mut seeks = vec![[Vec::new(), Vec::new()]; targets.len()];
    let film = film(&args.video, times[times.len() - 1])?;
    let (mut previews, mut from_film) = (Vec::new(), 0);
    let mut frames_converted = false;
    for _ in 0..args.rounds.max(1) {
        let (started, cpu) = (Instant::now(), cpu_seconds());
        let mut reader = VideoReader::open(&args.video)?;
        while reader.next_frame()?.is_some() {}
        decode[0].push((started.elapsed().as_secs_f64(), cpu_seconds() - cpu));
        frames_converted |= reader.converts();
        decode[1].push(ffmpeg(&args.video, threads, &[], &[])?);
        for (target, [ours, theirs]) in targets.iter().zip(&mut seeks) {
            let (started, cpu) = (Instant::now(), cpu_seconds());
            reader.seek(*target)?;
            let frame = reader.next_frame()?.context("no frame after a seek")?;
            ours.push((started.elapsed().as_secs_f64(), cpu_seconds() - cpu));
            ensure!((frame.pts_secs() - target).abs() < 1e-6, "{} instead of {target}", frame.pts_secs());
            let at = format!("{:.6}", target - 0.001);
            theirs.push(ffmpeg(&args.video, threads, &["-ss", &at], &["-frames:v", "1"])?);
        }
        drop(reader);
        let (waited, stood_in) = scrub(&args.video, &targets, &film)?;
        previews.extend(waited);
        from_film += stood_in;
    }
    let (ours, theirs) = (least(&decode[0]), least(&decode[1]));
    let our_seeks: Vec<f64> = seeks.iter().map(|s| least(&s[0]).0 * 1e3).collect();
    let their_seeks: Vec<f64> = seeks.iter().map(|s| least(&s[1]).0 * 1e3).collect();
    let ratios: Vec<f64> = our_seeks.iter().zip(&their_seeks).map(|(a, b)| a / b).collect();
    let cpu_ratios: Vec<f64> = seeks.iter().map(|s| least(&s[0]).1 / least(&s[1]).1).collect();
    let report = Report {
        height: glance(&args.video)?.video.map_or(0, |video| video.height),
        frames: times.len(),
        threads,
        frames_converted,
        decode_s: ours.0,
        decode_cpu_s: ours.1,
        ffmpeg_decode_s: theirs.0,
        ffmpeg_decode_cpu_s: theirs.1,
        decode_speed: theirs.0 / ours.0,
        seek_ms_median: median(&our_seeks),
        seek_ms_worst: worst(&our_seeks),
        ffmpeg_seek_ms_median: median(&their_seeks),
        seek_time: median(&ratios),
        seek_cpu: median(&cpu_ratios),
        preview_ms_median: median(&previews),
        preview_ms_p95: quantile(&previews, 0.95),
        preview_ms_worst: worst(&previews),
        preview_from_film: from_film as f64 / previews.len() as f64,
    };
    if args.json {
        print_json(&report)?;
    } else {
        let frames = report.frames as f64;
        say!(
            "{}: {} frames with {threads} threads{}",
            args.video.display(),
            report.frames,
            if frames_converted { ", each converted before its upload" } else { ", none copied before its upload" }
        );
        say!(
            "  decode       {:.0} frames/s ({:.2} CPU s), ffmpeg {:.0} ({:.2} CPU s): {:.0} % of its speed",
            frames / report.decode_s,
            report.decode_cpu_s,
            frames / report.ffmpeg_decode_s,
            report.ffmpeg_decode_cpu_s,
            report.decode_speed * 100.0
        );
        say!(
            "  exact seek   median {:.1} ms, worst {:.1} ms, ffmpeg from the key frame {:.1} ms: {:.2} of its time, {:.2} of its CPU time",
            report.seek_ms_median,
            report.seek_ms_worst,
            report.ffmpeg_seek_ms_median,
            report.seek_time,
            report.seek_cpu
        );
        say!(
            "  scrubbing    a picture to look at: median {:.1} ms, 95 % within {:.1} ms, worst {:.1} ms; {:.0} % the filmstrip's",
            report.preview_ms_median,
            report.preview_ms_p95,
            report.preview_ms_worst,
            report.preview_from_film * 100.0
        );
    }
    let beyond = report.beyond();
    if args.check && !beyond.is_empty() {
        eprintln!("{}: {}", args.video.display(), beyond.join("; "));
        return Ok(Outcome::No);
    }
    Ok(Outcome::Fine)
}

/// The filmstrip's pictures of a whole file, one for each second, as the window has them ready.
fn film(path: &Path, end_secs: f64) -> Result<Vec<Thumbnail>> {
    let mut film = Thumbnails::open(path)?;
    let seconds = (0..=end_secs as u32).map(f64::from);
    seconds.filter_map(|t| film.near(t, 0.5, &|| false).transpose()).map(|picture| Ok(picture?)).collect()
}

/// How long a hand that moves to each time waits for a picture, in milliseconds, and how often it was the filmstrip's. It
/// moves on as soon as it sees one.
fn scrub(path: &Path, targets: &[f64], film: &[Thumbnail]) -> Result<(Vec<f64>, usize)> {
    let (send, events) = std::sync::mpsc::channel();
    // Nobody listens any more once this is over.
    let notify = move |event| drop(send.send(event));
    let player = Playback::start_on(ClipSpec::original(path), Sampling::default(), Output::Null, notify)?;
    // Whether there is news of a frame within a while.
    let news = |within: Duration| -> Result<bool> {
        match events.recv_timeout(within) {
            Ok(MediaEvent::FrameReady) => Ok(true),
            Ok(MediaEvent::Failed(why)) => bail!("{why}"),
            Ok(_) | Err(RecvTimeoutError::Timeout) => Ok(false),
            Err(e) => bail!("the player is gone: {e}"),
        }
    };
    while !news(PATIENCE)? {}
    let (mut waited, mut stood_in) = (Vec::new(), 0);
    for target in targets {
        let before = player.frame_at(player.position_secs()).map(|f| f.pts_secs());
        let started = Instant::now();
        player.scrub(*target);
        loop {
            let far = |picture: &&Thumbnail| (picture.pts_secs - target).abs();
            let near = film.iter().min_by(|a, b| far(a).total_cmp(&far(b))).filter(|_| player.lags_behind_hand());
            if let Some(Thumbnail { image, pts_secs, .. }) = near {
                std::hint::black_box(RgbaFrame::of_rgb(image.width, &image.data, *pts_secs));
                stood_in += 1;
                break;
            }
            // News of the place before can come late.
            if news(player.near_awaited_in().unwrap_or(PATIENCE))?
                && player.frame_at(*target).map(|f| f.pts_secs()) != before
            {
                break;
            }
        }
        waited.push(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok((waited, stood_in))
}

fn all_times(path: &Path) -> Result<Vec<f64>> {
    let mut reader = VideoReader::open(path)?;
    let mut times = Vec::new();
    while let Some(frame) = reader.next_frame()? {
        times.push(frame.pts_secs());
    }
    Ok(times)
}

/// One run of `ffmpeg` that decodes into nothing: the times it says itself, which begin when the file is open.
fn ffmpeg(path: &Path, threads: usize, before: &[&str], after: &[&str]) -> Result<Times> {
    let output = Command::new("ffmpeg")
        .args(["-hide_banner", "-nostats", "-nostdin", "-benchmark", "-threads", &threads.to_string()])
        .args(before)
        .arg("-i")
        .arg(path)
        .args(["-map", "0:v:0"])
        .args(after)
        .args(["-f", "null", "-"])
        .output()
        .context("the ffmpeg command line is what this compares with: install the package ffmpeg")?;
    ensure!(output.status.success(), "ffmpeg failed on {}", path.display());
    said_times(&String::from_utf8_lossy(&output.stderr)).context("ffmpeg -benchmark says no times")
}

/// The times in FFmpeg's line `bench: utime=0.160s stime=0.025s rtime=0.130s`, which are whole milliseconds: at least one.
fn said_times(log: &str) -> Option<Times> {
    let line = log.lines().find_map(|l| l.split_once("bench: utime=").map(|(_, times)| times))?;
    let mut secs = line.split('s').filter_map(|part| part.rsplit('=').next()?.parse::<f64>().ok());
    let (user, system, wall) = (secs.next()?, secs.next()?, secs.next()?);
    Some((wall.max(1e-3), (user + system).max(1e-3)))
}

/// The smallest of each: what is more is other programs'.
fn least(times: &[Times]) -> Times {
    times.iter().fold((f64::INFINITY, f64::INFINITY), |a, b| (a.0.min(b.0), a.1.min(b.1)))
}

fn worst(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get((sorted.len() as f64 * q) as usize).or(sorted.last()).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ffmpegs_own_times_are_read() {
        let log = "frame=    1 fps=0.0\nbench: utime=0.160s stime=0.025s rtime=0.130s\nbench: maxrss=64628kB\n";
        let (wall, cpu) = said_times(log).expect("times");
        assert!((wall - 0.130).abs() < 1e-9 && (cpu - 0.185).abs() < 1e-9, "{wall} {cpu}");
        assert!(said_times("video:0kB audio:0kB").is_none());
    }
}
