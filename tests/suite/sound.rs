//! The way of sound: resampling and mixing down against FFmpeg's own, sample by sample, for the model and for playing;
//! no clicks at pause, seek and swap; a callback that cannot lock. Knows nothing of pictures.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test by panicking")]

use std::path::{Path, PathBuf};

use modalens::clip::{AudioSource, ClipSpec};
use modalens::media::AudioReader;
use modalens::settings::Sampling;

use crate::media::{Clips, Player, error_db};

/// A second and a bit of a different chord on each channel.
fn chords(rate: u32, layout: &str, channels: usize) -> String {
    let tones: Vec<String> =
        (0..channels).map(|c| format!("0.2*sin(2*PI*t*{})+0.1*sin(2*PI*t*t*{})", 220 + 83 * c, 300 + 50 * c)).collect();
    format!("-f lavfi -i aevalsrc={}:c={layout}:s={rate}:d=1.2", tones.join("|"))
}

/// All samples of a file and the index of the first.
fn read(path: &Path, rate: u32, channels: usize) -> (i64, Vec<f32>) {
    let mut reader = AudioReader::open(path, None, rate, channels).unwrap();
    let mut first = None;
    let mut samples = Vec::new();
    while let Some(chunk) = reader.next_chunk().unwrap() {
        let from = *first.get_or_insert(chunk.start);
        assert_eq!(chunk.start, from + (samples.len() / channels) as i64, "{}: a hole", path.display());
        samples.extend(chunk.samples);
    }
    (first.unwrap(), samples)
}

fn floats(path: &Path) -> Vec<f32> {
    std::fs::read(path).unwrap().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// Compares a file with FFmpeg's own conversion: 16 kHz mono as the model hears it, 48 kHz stereo as it is played.
/// What is wrong, in words.
fn compare(clips: &Clips, path: &Path) -> Option<String> {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let mono = clips.path(&format!("{name}.mono"));
    // Channels are averaged, as the reference has it; to floats, FFmpeg by itself adds them up.
    let mix = "-map 0:a -af aresample=rematrix_maxval=1";
    let args = format!(
        "-i {} {mix} -ac 1 -ar 16000 -f f32le {} {mix} -ac 2 -ar 48000 -f f32le",
        path.display(),
        mono.display()
    );
    let stereo = clips.make(&format!("{name}.stereo"), &args);
    for (reference, rate, channels) in [(mono, 16_000, 1), (stereo, 48_000, 2)] {
        let theirs = floats(&reference);
        let (_, ours) = read(path, rate, channels);
        // A container may cut the last packet's padding, which the command line plays.
        let missing = (theirs.len() as i64 - ours.len() as i64) / channels as i64;
        if !(-3..=i64::from(rate) / 20).contains(&missing) {
            return Some(format!("{name} at {rate} Hz: {} samples instead of {}", ours.len(), theirs.len()));
        }
        let db = error_db(&ours, &theirs[..theirs.len().min(ours.len())]);
        if db >= -80.0 {
            return Some(format!("{name} at {rate} Hz, {channels} channels: {db:.1} dB"));
        }
    }
    None
}

#[test]
fn every_rate_and_layout_is_resampled_as_ffmpeg_does_it() {
    let clips = Clips::new();
    let mut files: Vec<PathBuf> = Vec::new();
    for rate in [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 88_200, 96_000, 176_400, 192_000] {
        files.push(clips.make(&format!("{rate}.wav"), &format!("{} -c:a pcm_f32le", chords(rate, "stereo", 2))));
    }
    for (layout, channels) in
        [("mono", 1), ("2.1", 3), ("quad", 4), ("5.0", 5), ("5.1", 6), ("5.1(side)", 6), ("6.1", 7), ("7.1", 8)]
    {
        let name = format!("{}.wav", layout.replace(['(', ')'], ""));
        files.push(clips.make(&name, &format!("{} -c:a pcm_s16le", chords(48_000, layout, channels))));
    }
    files.push(clips.make("7.1-192.wav", &format!("{} -c:a pcm_s24le", chords(192_000, "7.1", 8))));
    files.push(clips.make("5.1-44.wav", &format!("{} -c:a pcm_s16le", chords(44_100, "5.1", 6))));
    files.push(clips.make("mono-8.wav", &format!("{} -c:a pcm_u8", chords(8_000, "mono", 1))));
    let wrong: Vec<String> = files.iter().filter_map(|f| compare(&clips, f)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_codec_sounds_as_ffmpeg_decodes_it() {
    let clips = Clips::new();
    let table = [
        ("a.m4a", 44_100, "stereo", 2, "-c:a aac"),
        ("b.aac", 48_000, "stereo", 2, "-c:a aac"),
        ("c.mp3", 44_100, "stereo", 2, "-c:a libmp3lame"),
        ("d.opus", 48_000, "stereo", 2, "-c:a libopus"),
        ("e.ogg", 44_100, "stereo", 2, "-c:a libvorbis"),
        ("f.flac", 96_000, "stereo", 2, "-c:a flac"),
        ("g.ac3", 48_000, "5.1(side)", 6, "-c:a ac3"),
        ("h.eac3", 48_000, "5.1(side)", 6, "-c:a eac3"),
        ("i.mp2", 32_000, "mono", 1, "-c:a mp2"),
        ("j.aiff", 22_050, "stereo", 2, "-c:a pcm_s16be"),
        ("k.au", 8_000, "mono", 1, "-c:a pcm_mulaw"),
        ("l.caf", 44_100, "stereo", 2, "-c:a alac"),
        ("m.wv", 44_100, "stereo", 2, "-c:a wavpack"),
        ("n.tta", 44_100, "stereo", 2, "-c:a tta"),
        ("o.w64", 48_000, "stereo", 2, "-c:a pcm_s32le"),
        ("p.wma", 44_100, "stereo", 2, "-c:a wmav2"),
        ("q.mka", 48_000, "7.1", 8, "-c:a pcm_f64le"),
        ("r.webm", 48_000, "stereo", 2, "-c:a libvorbis"),
    ];
    let files = table.map(|(name, rate, layout, channels, args)| {
        clips.make(name, &format!("{} {args}", chords(rate, layout, channels)))
    });
    let wrong: Vec<String> = files.iter().filter_map(|f| compare(&clips, f)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is played of a file from its first sample to its last.
fn played(path: &Path) -> Vec<f32> {
    let player = Player::open(ClipSpec::original(path));
    // Time stands until it plays; a device that is faster than any other waits for the decoder.
    while player.output.ready() < 480 {
        player.pump();
        std::thread::yield_now();
    }
    player.playback.play();
    let mut all = Vec::new();
    while player.playback.is_playing() {
        player.wait_for_sound();
        let before = player.playback.position_secs();
        let out = player.pump();
        let frames = ((player.playback.position_secs() - before) * 48_000.0).round() as usize;
        all.extend(&out[..frames * 2]);
    }
    assert_eq!(player.playback.underruns(), 0, "{}: a hole", path.display());
    all
}

#[test]
fn what_is_played_is_ffmpegs_own_conversion() {
    let clips = Clips::new();
    let surround = clips.make("surround.ac3", &format!("{} -c:a ac3", chords(48_000, "5.1(side)", 6)));
    let stereo = clips.make("stereo.flac", &format!("{} -c:a flac", chords(44_100, "stereo", 2)));
    let mono = clips.make("mono.wav", &format!("{} -c:a pcm_s16le", chords(8_000, "mono", 1)));
    for (path, lossless) in [(surround, false), (stereo, true), (mono, true)] {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // One channel is played on both sides, as loud as the model hears it; FFmpeg by itself takes 3 dB off.
        let one = name.starts_with("mono");
        let mix = if one { "aresample=48000,pan=stereo|c0=c0|c1=c0" } else { "aresample=rematrix_maxval=1" };
        let args = format!("-i {} -af {mix} -ac 2 -ar 48000 -f f32le", path.display());
        let theirs = floats(&clips.make(&format!("{name}.f32"), &args));
        let ours = played(&path);
        let missing = (theirs.len() as i64 - ours.len() as i64) / 2;
        // A codec's last packet may be longer than the file says it is.
        let allowed = if lossless { 0..=3 } else { -3..=1_536 };
        assert!(allowed.contains(&missing), "{name}: {} samples of {}", ours.len() / 2, theirs.len() / 2);
        // Between the ramps of 5 ms that it begins and ends with.
        let whole = 2 * 241..ours.len().min(theirs.len()) - 2 * 241;
        let db = error_db(&ours[whole.clone()], &theirs[whole]);
        assert!(db < -80.0, "{name}: what is played is {db:.1} dB from FFmpeg's");
        let ramp = |at: usize| ours[at].abs() <= theirs[at].abs() + 1e-3;
        assert!((0..482).all(ramp), "{name}: it begins with something else");
    }
}

/// The largest step between neighbouring samples of a channel.
fn steepest(samples: &[f32]) -> f32 {
    samples.as_chunks::<2>().0.windows(2).map(|w| (w[1][0] - w[0][0]).abs()).fold(0.0, f32::max)
}

#[test]
fn pause_seek_and_swap_do_not_click() {
    let clips = Clips::new();
    let sine = |name: &str, f: u32| {
        clips.make(
            name,
            &format!("-f lavfi -i aevalsrc=0.5*sin(2*PI*t*{f})|0.5*sin(2*PI*t*{f}):s=48000:d=6 -c:a pcm_f32le"),
        )
    };
    let (first, second) = (sine("first.wav", 200), sine("second.wav", 333));
    let with = |path: &PathBuf| ClipSpec {
        audio: AudioSource::File { path: path.clone(), track: None },
        ..ClipSpec::default()
    };
    let player = Player::open(with(&first));
    let mut heard: Vec<f32> = Vec::new();
    // A block in which the decoder was late has edges of its own: what was heard begins anew after it.
    let mut steps = 0f32;
    let mut listen = |blocks: usize, heard: &mut Vec<f32>| {
        for _ in 0..blocks {
            let before = player.playback.underruns();
            let out = player.pump();
            if player.playback.underruns() == before {
                heard.extend(out);
            } else {
                steps = steps.max(steepest(heard));
                heard.clear();
            }
            std::thread::yield_now();
        }
        steps = steps.max(steepest(heard));
    };
    player.playback.play();
    listen(20, &mut heard);
    for round in 0..12 {
        player.playback.pause();
        listen(3, &mut heard);
        player.playback.play();
        listen(3 + round % 3, &mut heard);
        player.playback.seek(0.37 * f64::from(round as u32) + 0.0013);
        listen(6, &mut heard);
        player.playback.set_clip(with(if round % 2 == 0 { &second } else { &first }), Sampling::default());
        listen(6, &mut heard);
        player.playback.set_volume(if round % 2 == 0 { 0.6 } else { 1.0 });
        listen(2, &mut heard);
        player.playback.set_muted(round % 4 == 1);
        listen(2, &mut heard);
    }
    player.playback.set_muted(false);
    player.playback.play();
    let (out, _) = player.whole_block();
    assert!(out.iter().any(|s| s.abs() > 0.2), "nothing is heard at the end: the test tests nothing");
    // The steepest slope of the louder sine, and a ramp of 5 ms over its amplitude (two may coincide).
    let slope = 0.5 * std::f32::consts::TAU * 333.0 / 48_000.0;
    let ramp = 0.5 / (0.005 * 48_000.0);
    assert!(steps <= slope + 2.0 * ramp, "a click of {steps}; {} allowed", slope + 2.0 * ramp);
    assert!(steps > slope * 0.5, "{steps}: the sine was never heard");
}

/// From a line that begins with `first` to the next line that is `last`.
fn part<'a>(source: &'a str, first: &str, last: &str) -> &'a str {
    let from = source.find(first).unwrap_or_else(|| panic!("there is no {first}"));
    let length = source[from..].find(last).unwrap_or_else(|| panic!("{first} has no end"));
    &source[from..][..length]
}

#[test]
fn the_callbacks_source_names_nothing_that_locks_or_waits() {
    // Allocation is counted in `media`; a lock cannot be counted, but it cannot be had without its name.
    let product = |source: &'static str| source.split("#[cfg(test)]").next().unwrap();
    let mixer = product(include_str!("../../src/media/mixer.rs"));
    let clock = product(include_str!("../../src/media/clock.rs"));
    // Of the device's file, what runs on its thread.
    let sink = product(include_str!("../../src/media/sink.rs"));
    let callback = part(sink, "let fill = move |", "\n        };");
    let body = part(sink, "fn play<", "\n}\n");
    let spread = part(sink, "fn spread<", "\n}\n");
    assert!(
        callback.contains("play(") && body.contains("mixer.fill(") && body.contains("spread("),
        "{callback}\n{body}"
    );
    for (name, source) in
        [("mixer", mixer), ("clock", clock), ("the callback", callback), ("play", body), ("spread", spread)]
    {
        let code: Vec<&str> = source.lines().filter(|l| !l.trim_start().starts_with("//")).collect();
        assert!(code.len() > 3, "{name}: {code:?}");
        for word in [
            "Mutex",
            "RwLock",
            "Condvar",
            ".lock(",
            "mpsc",
            "crossbeam",
            "println!",
            "log::",
            "sleep",
            "park(",
            "File",
            "recv(",
        ] {
            let found: Vec<_> = code.iter().filter(|l| l.contains(word)).collect();
            assert!(found.is_empty(), "{name}, {word}: {found:?}");
        }
        // The mixer's making allocates its rings; what the device calls does not.
        let on_the_thread = !matches!(name, "mixer" | "clock");
        for word in ["Box", "Vec", "vec!", "format!", "to_owned", "to_string", "clone(", "collect"] {
            let found: Vec<_> = code.iter().filter(|l| on_the_thread && l.contains(word)).collect();
            assert!(found.is_empty(), "{name}, {word}: {found:?}");
        }
    }
}
