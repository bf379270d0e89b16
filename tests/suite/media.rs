//! Media against the `ffmpeg` command line: probing, exact seeking, sampling, encoding, playback, damaged files.
//! Knows nothing of models or windows. Every clip is generated here.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

use modalens::clip::{AudioSource, ClipSpec, FrameEdit};
use modalens::frame::{PixelLayout, Planes};
use modalens::media::{
    self, AudioParams, EncodeSpeed, Encoder, ManualOutput, MediaError, MediaEvent, Output, Playback, VideoParams,
    VideoReader,
};
use modalens::settings::Sampling;

/// A folder of generated clips, removed at the end.
pub(crate) struct Clips(tempfile::TempDir);

impl Clips {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes a clip with the `ffmpeg` command line: `args` is split at spaces.
    pub(crate) fn make(&self, name: &str, args: &str) -> PathBuf {
        crate::ui::make(self.0.path(), name, args)
    }
}

/// What `check` says of all cases, two at a time: most of it is waiting for programs to start.
pub(crate) fn in_two<T: Sync>(cases: &[T], check: impl Fn(&[T]) -> Vec<String> + Sync) -> Vec<String> {
    let (first, second) = cases.split_at(cases.len() / 2);
    std::thread::scope(|scope| {
        let second = scope.spawn(|| check(second));
        let mut said = check(first);
        said.extend(second.join().unwrap());
        said
    })
}

const PICTURE: &str = "-f lavfi -i testsrc2=size=160x120:rate=25:duration=2";
const SOUND: &str = "-f lavfi -i sine=frequency=440:sample_rate=44100:duration=2";

fn never() -> bool {
    false
}

pub(crate) fn sample(clip: &ClipSpec, fps: f64) -> Result<(modalens::sampled::SampledClip, Vec<String>), MediaError> {
    media::sample_clip(clip, &Sampling { fps: Some(fps), ..Sampling::default() }, &never)
}

/// All frames of a file: time and a digest of the planes' visible bytes.
pub(crate) fn all_frames(path: &Path) -> Vec<(f64, u64)> {
    let mut reader = VideoReader::open(path).unwrap();
    let mut frames = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        frames.push((frame.pts_secs(), digest(&frame)));
    }
    frames
}

pub(crate) fn digest(frame: &dyn Planes) -> u64 {
    use std::hash::Hasher;
    let mut hasher = std::hash::DefaultHasher::new();
    for (i, plane) in frame.planes().into_iter().enumerate() {
        // What `width` counts takes this many bytes; what follows them in a row is nobody's.
        let bytes = match frame.layout() {
            PixelLayout::Yuv { bits, .. } | PixelLayout::Gray { bits } => 1 + usize::from(bits > 8),
            PixelLayout::Nv12 => 1 + usize::from(i > 0),
            PixelLayout::Rgba8 => 4,
        };
        for y in 0..plane.height as usize {
            hasher.write(&plane.data[y * plane.stride..][..plane.width as usize * bytes]);
        }
    }
    hasher.finish()
}

/// Presentation times by `ffprobe`, in seconds from the container's start.
pub(crate) fn probe_times(path: &Path) -> Vec<f64> {
    let run = |args: &[&str]| {
        let out = Command::new("ffprobe").args(["-v", "error"]).args(args).arg(path).output().unwrap();
        String::from_utf8(out.stdout).unwrap()
    };
    let start: f64 = run(&["-show_entries", "format=start_time", "-of", "csv=p=0"]).trim().parse().unwrap_or(0.0);
    run(&["-select_streams", "v:0", "-show_entries", "frame=best_effort_timestamp_time", "-of", "csv=p=0"])
        .lines()
        .filter_map(|l| l.trim_end_matches(',').parse::<f64>().ok())
        .map(|t| t - start)
        .collect()
}

#[test]
fn probe_names_what_is_in_a_file() {
    let clips = Clips::new();
    let both = clips.make(
        "both.mp4",
        &format!(
            "{PICTURE} {SOUND} -vf setsar=2/1 -c:v libx264 -bf 2 -pix_fmt yuv420p -c:a aac -metadata:s:a:0 language=deu"
        ),
    );
    let probe = media::probe(&both).unwrap();
    assert!(probe.container.contains("mp4"));
    assert!((probe.duration_secs.unwrap() - 2.0).abs() < 0.05);
    let video = probe.video.unwrap();
    assert_eq!((video.codec.as_str(), video.width, video.height), ("h264", 160, 120));
    assert_eq!((video.display_width, video.display_height, video.pixel_aspect), (320, 120, 2.0));
    assert_eq!((video.fps, video.frames, video.bit_depth), (Some(25.0), Some(50), 8));
    assert_eq!((video.matrix, video.matrix_tagged, video.range), ("bt601", false, "limited"));
    let [audio] = &probe.audio[..] else { panic!("one track") };
    assert_eq!((audio.codec.as_str(), audio.sample_rate, audio.channels), ("aac", 44_100, 1));
    assert_eq!((audio.layout.as_str(), audio.language.as_deref(), audio.decodable), ("mono", Some("deu"), true));

    let cover = clips.make("cover.png", "-f lavfi -i color=red:size=64x64 -frames:v 1");
    let still = media::probe(&cover).unwrap();
    assert!(still.still && still.duration_secs.is_none() && still.video.is_some());
    let song = clips.make(
        "song.mp3",
        &format!(
            "{SOUND} -i {} -map 0:a -map 1:v -c:a libmp3lame -c:v copy -disposition:v attached_pic",
            cover.display()
        ),
    );
    let song = media::probe(&song).unwrap();
    assert!(song.video.is_none(), "cover art is not a video");
    assert_eq!(song.audio.len(), 1);
    assert!(serde_json::to_string(&song).unwrap().contains("\"mp3\""));
}

#[test]
fn frames_and_seeks_are_exact_on_every_kind_of_file() {
    let clips = Clips::new();
    let long = "-f lavfi -i testsrc2=size=96x64:rate=30000/1001:duration=6";
    let files = [
        clips.make("bframes.mp4", &format!("{long} -c:v libx264 -bf 3 -g 40 -x264-params b-pyramid=normal:open-gop=1")),
        clips.make("bframes.mkv", &format!("{long} -c:v libx264 -bf 3 -g 60")),
        clips.make("broadcast.ts", &format!("{long} -c:v mpeg2video -bf 2 -g 15 -q:v 3")),
        clips.make(
            "web.webm",
            &format!("{long} {SOUND} -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 50 -c:a libopus"),
        ),
        // A variable rate: frames 3, 6 … are dropped, and the rest is stretched unevenly.
        clips.make(
            "vfr.mp4",
            &format!("{long} -vf select=mod(n\\,3),setpts=PTS+0.004*mod(N\\,5)/TB -vsync vfr -c:v libx264 -bf 2 -g 30"),
        ),
        clips.make("vfr.mkv", &format!("{long} -vf select=lt(mod(n\\,7)\\,4) -vsync vfr -c:v libx264 -bf 2 -g 30")),
        // An edit list that starts inside a group of pictures, and one that starts late.
        clips.make("cut.mp4", &format!("-ss 1.3 -i {} -c copy", clips.path("bframes.mp4").display())),
        clips.make(
            "late.mp4",
            &format!("-itsoffset 0.5 -i {} {SOUND} -map 0:v -map 1:a -c:v copy", clips.path("bframes.mp4").display()),
        ),
        clips.make("old.avi", &format!("{long} -c:v mpeg4 -bf 2 -g 25 -q:v 4")),
        clips.make("loop.gif", "-f lavfi -i testsrc2=size=96x64:rate=10:duration=3"),
        clips.make("raw.h264", &format!("{long} -c:v libx264 -bf 0 -g 30 -f h264")),
        clips.make("intra.mov", "-f lavfi -i testsrc2=size=96x64:rate=25:duration=2 -c:v mjpeg"),
    ];
    for path in &files {
        let name = path.file_name().unwrap().to_string_lossy();
        let frames = all_frames(path);
        assert!(frames.len() > 20, "{name}: {} frames", frames.len());
        let expected = probe_times(path);
        // Raw streams have no times: ours are counted at the nominal rate.
        if !name.starts_with("raw") {
            // An AVI's last B-frame has no time of its own: ffprobe leaves it out, we count on.
            assert_eq!(frames.len() - usize::from(name.ends_with(".avi")), expected.len(), "{name}");
            for ((ours, _), theirs) in frames.iter().zip(&expected) {
                assert!((ours - theirs).abs() < 2e-6, "{name}: {ours} instead of {theirs}");
            }
        }
        let mut reader = VideoReader::open(path).unwrap();
        let end = frames.last().unwrap().0 + 0.5;
        // Forward, backward and in place, between frames and exactly on them.
        let mut targets: Vec<f64> = (0..24).map(|i| f64::from(i * 37 % 24) / 24.0 * end).collect();
        targets.extend(frames.iter().step_by(11).map(|f| f.0));
        targets.extend(frames.iter().rev().step_by(17).flat_map(|f| [f.0, f.0 + 0.01, f.0 + 0.2, f.0 + 0.21]));
        targets.push(-1.0);
        for t in targets {
            reader.seek(t).unwrap();
            let at = frames.partition_point(|f| f.0 <= t + 1e-6).saturating_sub(1);
            for expected in frames.iter().skip(at).take(3) {
                let got = reader.next_frame().unwrap().unwrap_or_else(|| panic!("{name}: nothing at {t}"));
                assert!(
                    (got.pts_secs() - expected.0).abs() < 1e-6,
                    "{name} at {t}: {} not {}",
                    got.pts_secs(),
                    expected.0
                );
                assert_eq!(digest(&got), expected.1, "{name}: another picture at {}", expected.0);
            }
        }
    }
}

#[test]
fn sampling_gives_upright_square_frames_and_level_sound() {
    let clips = Clips::new();
    let both = clips
        .make("both.mp4", &format!("{PICTURE} {SOUND} -vf setsar=2/1 -c:v libx264 -bf 2 -pix_fmt yuv420p -c:a aac"));
    let (clip, notes) = sample(&ClipSpec::original(&both), 2.0).unwrap();
    assert!(notes.is_empty(), "{notes:?}");
    let video = clip.video.unwrap();
    assert_eq!(video.frames.len(), 4);
    assert!(video.frames.iter().all(|f| (f.width, f.height, f.data.len()) == (320, 120, 320 * 120 * 3)));
    assert_eq!(video.fps, 2.0);
    // linspace(0, 49, 4), rounded: 0, 16, 33, 49.
    let frames: Vec<f64> = video.pts_secs.iter().map(|t| (t * 25.0).round()).collect();
    assert_eq!(frames, [0.0, 16.0, 33.0, 49.0]);
    let audio = clip.audio.unwrap();
    assert_eq!(audio.start_secs, 0.0);
    assert!((audio.samples.len() as i64 - 32_000).abs() < 400, "{}", audio.samples.len());

    // A part of it: frames and sound of that part alone.
    let part = ClipSpec { start_secs: Some(0.5), end_secs: Some(1.5), ..ClipSpec::original(&both) };
    let (clip, _) = sample(&part, 4.0).unwrap();
    let video = clip.video.unwrap();
    assert!(video.pts_secs.iter().all(|t| (0.5..1.5).contains(t)), "{:?}", video.pts_secs);
    let audio = clip.audio.unwrap();
    assert_eq!((audio.start_secs, audio.samples.len()), (0.5, 16_000));
}

/// Peak signal-to-noise ratio of two 8-bit pictures, in dB.
pub(crate) fn psnr(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let squares: f64 = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    10.0 * (255.0 * 255.0 * a.len() as f64 / squares.max(1e-9)).log10()
}

#[test]
fn rotation_is_applied_as_ffmpeg_applies_it() {
    let clips = Clips::new();
    // Full chroma: no siting is involved.
    let plain = clips.make("plain.mp4", &format!("{PICTURE} -c:v libx264 -bf 2 -pix_fmt yuv444p"));
    let mut seen = Vec::new();
    for tag in [90, 180, 270] {
        let name = format!("turned{tag}.mp4");
        let turned = clips.make(&name, &format!("-i {} -c copy -metadata:s:v:0 rotate={tag}", plain.display()));
        let upright = clips.make(
            &format!("{tag}.png"),
            &format!(
                "-i {} -vf scale=flags=accurate_rnd+full_chroma_int+bicubic,format=rgb24 -frames:v 1",
                turned.display()
            ),
        );
        let only = |path| ClipSpec { video: Some(path), ..ClipSpec::default() };
        seen.push(media::probe(&turned).unwrap().video.unwrap().rotation_degrees);
        let (ours, _) = sample(&only(turned), 2.0).unwrap();
        let (theirs, _) = sample(&only(upright), 2.0).unwrap();
        let (ours, theirs) = (&ours.video.unwrap().frames[0], &theirs.video.unwrap().frames[0]);
        assert_eq!((ours.width, ours.height), (theirs.width, theirs.height), "{tag}");
        let db = psnr(&ours.data, &theirs.data);
        assert!(db > 45.0, "{tag}: {db} dB");
    }
    seen.sort_unstable();
    assert_eq!(seen, [90, 180, 270]);
}

/// The mean-square difference in dB below the reference's own power.
pub(crate) fn error_db(ours: &[f32], theirs: &[f32]) -> f64 {
    let power: f64 = theirs.iter().map(|s| f64::from(*s).powi(2)).sum();
    let error: f64 = ours.iter().zip(theirs).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    10.0 * (error.max(1e-30) / power).log10()
}

fn ffmpeg_sound(clips: &Clips, path: &Path, args: &str) -> Vec<f32> {
    let raw = clips.make(
        "reference.f32",
        &format!("-i {} {args} -af aresample=rematrix_maxval=1 -ac 1 -ar 16000 -f f32le", path.display()),
    );
    let bytes = std::fs::read(raw).unwrap();
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

#[test]
fn sound_equals_ffmpegs_own_resampler() {
    let clips = Clips::new();
    let sweep = "-f lavfi -i aevalsrc=0.4*sin(2*PI*t*(200+900*t))|0.3*sin(2*PI*t*523):s=";
    let files = [
        clips.make("aac.mp4", &format!("{sweep}44100:d=3 -c:a aac")),
        clips.make("opus.webm", &format!("{sweep}48000:d=3 -c:a libopus")),
        clips.make("pcm.wav", &format!("{sweep}22050:d=3 -c:a pcm_s16le")),
        clips.make("low.flac", &format!("{sweep}8000:d=3")),
        clips.make("song.mp3", &format!("{sweep}44100:d=3 -c:a libmp3lame")),
        clips.make("vorbis.ogg", &format!("{sweep}48000:d=3 -c:a libvorbis")),
        clips.make("surround.mkv", &format!("{sweep}48000:d=3 -ac 6 -c:a ac3")),
    ];
    for path in &files {
        let name = path.file_name().unwrap().to_string_lossy();
        let (clip, notes) = sample(&ClipSpec::original(path), 2.0).unwrap();
        assert!(notes.iter().all(|n| n.contains("no picture")), "{notes:?}");
        let ours = clip.audio.unwrap();
        let theirs = ffmpeg_sound(&clips, path, "");
        let db = error_db(&ours.samples, &theirs);
        assert!(db < -80.0, "{name}: {db} dB");
        // AAC's padding after the last sample is not sound: ours is trimmed to the duration.
        let missing = theirs.len() as i64 - ours.samples.len() as i64;
        let padding = if name.ends_with(".mp4") { 0..400 } else { -2..3 };
        assert!(padding.contains(&missing), "{name}: {} {}", ours.samples.len(), theirs.len());
        assert!(ours.start_secs.abs() < 0.03, "{name}: {}", ours.start_secs);
        // A part, reached by seeking, is the same sound.
        let part = ClipSpec { start_secs: Some(1.25), end_secs: Some(2.0), ..ClipSpec::original(path) };
        let part = sample(&part, 2.0).unwrap().0.audio.unwrap();
        assert_eq!((part.start_secs, part.samples.len()), (1.25, 12_000), "{name}");
        let from = 20_000 - (ours.start_secs * 16_000.0).round() as usize;
        // Matroska rounds times to a millisecond: there a seek can be off by that much, which is 16 samples.
        let rounded = name.ends_with(".webm") || name.ends_with(".mkv");
        let (shift, wanted) = if rounded { (16, -8.0) } else { (0, -80.0) };
        let best = (from - shift..=from + shift).map(|at| error_db(&part.samples, &ours.samples[at..]));
        let best = best.fold(f64::INFINITY, f64::min);
        assert!(best < wanted, "{name}: part {best} dB");
    }
}

#[test]
fn a_swapped_soundtrack_is_cut_to_the_picture_and_never_padded() {
    let clips = Clips::new();
    let video = clips.make("video.mp4", &format!("{PICTURE} {SOUND} -c:v libx264 -bf 2 -c:a aac"));
    let silent = clips.make("silent.mp4", &format!("{PICTURE} -c:v libx264"));
    let long = clips.make("long.wav", "-f lavfi -i sine=frequency=990:sample_rate=48000:duration=5");
    let short = clips.make("short.wav", "-f lavfi -i sine=frequency=990:sample_rate=48000:duration=0.5");
    let swap = |video: &PathBuf, path: &PathBuf| ClipSpec {
        video: Some(video.clone()),
        audio: AudioSource::File { path: path.clone(), track: None },
        ..ClipSpec::default()
    };
    let own = sample(&ClipSpec::original(&video), 2.0).unwrap().0;
    let cut = sample(&swap(&video, &long), 2.0).unwrap().0;
    assert_eq!(cut.video, own.video, "swapping the sound changes no pixel");
    assert_eq!(cut.audio.unwrap().samples.len(), 32_000);
    assert_eq!(sample(&swap(&silent, &short), 2.0).unwrap().0.audio.unwrap().samples.len(), 8_000);
    let part = ClipSpec { start_secs: Some(1.0), ..swap(&video, &long) };
    assert_eq!(sample(&part, 2.0).unwrap().0.audio.unwrap().samples.len(), 16_000);

    let (clip, notes) = sample(&ClipSpec::original(&silent), 2.0).unwrap();
    assert!(clip.audio.is_none() && clip.video.is_some());
    assert!(notes[0].contains("no sound"), "{notes:?}");
    assert!(matches!(sample(&swap(&video, &silent), 2.0), Err(MediaError::NoAudio(p)) if p == silent));
    let beyond = AudioSource::Original { track: Some(3) };
    let error = sample(&ClipSpec { audio: beyond, ..ClipSpec::original(&video) }, 2.0).unwrap_err();
    assert!(error.to_string().contains("no audio track 3"), "{error}");

    // Five minutes and one second: cut, and said.
    let endless = clips.make("endless.flac", "-f lavfi -i sine=frequency=100:sample_rate=8000:duration=301");
    let alone = ClipSpec { audio: AudioSource::File { path: endless, track: None }, ..ClipSpec::default() };
    let (clip, notes) = sample(&alone, 2.0).unwrap();
    assert_eq!(clip.audio.unwrap().samples.len(), 300 * 16_000);
    assert!(notes[0].contains("cut to its first 300 s"), "{notes:?}");
}

#[test]
fn frame_edits_change_the_pictures_and_nothing_else() {
    let clips = Clips::new();
    let video = clips.make("video.mp4", &format!("{PICTURE} {SOUND} -c:v libx264 -bf 2 -c:a aac"));
    let with = |frames| sample(&ClipSpec { frames, ..ClipSpec::original(&video) }, 8.0).unwrap().0;
    let plain = with(FrameEdit::Keep);
    let before = plain.video.as_ref().unwrap();
    assert_eq!(before.frames.len(), 16);
    for edit in [FrameEdit::Black, FrameEdit::Freeze, FrameEdit::Shuffle { seed: 0 }] {
        let clip = with(edit);
        let after = clip.video.unwrap();
        assert_eq!(after.pts_secs, before.pts_secs);
        assert_eq!(clip.audio, plain.audio);
        match edit {
            FrameEdit::Black => assert!(after.frames.iter().all(|f| f.data.iter().all(|b| *b == 0))),
            FrameEdit::Freeze => assert!(after.frames.iter().all(|f| *f == before.frames[0])),
            _ => {
                assert_ne!(after.frames, before.frames);
                let count = after.frames.iter().filter(|f| before.frames.contains(f)).count();
                assert_eq!(count, 16, "the same pictures in another order");
            }
        }
    }
}

#[test]
fn stills_and_animations_are_clips() {
    let clips = Clips::new();
    let png = clips.make("still.png", "-f lavfi -i testsrc2=size=64x48 -frames:v 1");
    let jpg = clips.make("still.jpg", "-f lavfi -i testsrc2=size=64x48 -frames:v 1 -q:v 2");
    let one = clips.make("one.png", "-f lavfi -i color=0x804020:size=4x4 -vf format=rgb24,crop=1:1:0:0 -frames:v 1");
    let gif = clips.make("loop.gif", "-f lavfi -i testsrc2=size=64x48:rate=10:duration=2");
    for (path, count, size) in [(&png, 1, (64, 48)), (&jpg, 1, (64, 48)), (&one, 1, (1, 1)), (&gif, 4, (64, 48))] {
        let (clip, _) = sample(&ClipSpec::original(path), 2.0).unwrap();
        let video = clip.video.unwrap();
        assert_eq!(video.frames.len(), count, "{}", path.display());
        assert_eq!((video.frames[0].width, video.frames[0].height), size);
        assert_eq!(video.pts_secs[0], 0.0);
    }
    let (clip, _) = sample(&ClipSpec::original(&one), 2.0).unwrap();
    let pixel = clip.video.unwrap().frames[0].data.clone();
    assert!(pixel.iter().zip([0x80, 0x40, 0x20]).all(|(a, b)| a.abs_diff(b) <= 3), "{pixel:?}");
    // A still with a soundtrack is as long as the sound.
    let sound = clips.make("sound.wav", SOUND);
    let both = ClipSpec { audio: AudioSource::File { path: sound, track: None }, ..ClipSpec::original(&png) };
    let (clip, _) = sample(&both, 2.0).unwrap();
    assert_eq!(clip.audio.unwrap().samples.len(), 32_000);
    // A range of such a clip is the sound's: the picture has no time.
    let part = ClipSpec { start_secs: Some(0.5), end_secs: Some(1.5), ..both };
    let (clip, _) = sample(&part, 2.0).unwrap();
    assert_eq!((clip.audio.unwrap().samples.len(), clip.video.unwrap().frames.len()), (16_000, 1));
    // What a part begins with, between two frames: the one that a model is given first.
    let film = clips.make("film.mp4", PICTURE);
    let first = |start: f64, end: f64| {
        VideoReader::open(&film).unwrap().first_of(start, end).unwrap().map(|f| (f.pts_secs() * 100.0).round())
    };
    assert_eq!([first(0.0, 9.0), first(0.48, 9.0), first(0.51, 9.0)], [Some(0.0), Some(48.0), Some(52.0)]);
    assert_eq!([first(0.51, 0.515), first(1.99, 9.0)], [Some(48.0), Some(196.0)]);
}

#[test]
fn colours_follow_matrix_range_and_the_size_rule() {
    let clips = Clips::new();
    // Known colours, turned into YUV with a known matrix and range, with and without tags.
    let colors = [(200, 30, 40), (20, 180, 60), (40, 60, 220), (128, 128, 128), (255, 255, 255), (0, 0, 0)];
    for (size, tagged, matrix, range) in [
        ("64x48", true, "bt709", "limited"),
        ("64x48", true, "bt601", "limited"),
        ("64x48", true, "bt2020", "limited"),
        ("64x48", true, "bt709", "full"),
        ("64x48", false, "bt601", "limited"),
        ("1280x64", false, "bt709", "limited"),
        ("64x600", false, "bt709", "limited"),
    ] {
        for (i, (r, g, b)) in colors.iter().enumerate() {
            let tag = match (tagged, matrix) {
                (false, _) => "",
                (true, "bt601") => "-colorspace smpte170m",
                (true, "bt2020") => "-colorspace bt2020nc",
                (true, _) => "-colorspace bt709",
            };
            let range_tag = if range == "full" { "-color_range pc" } else { "" };
            let name = format!("{size}-{matrix}-{range}-{tagged}-{i}.mp4");
            let path = clips.make(
                &name,
                &format!(
                    "-f lavfi -i color=0x{r:02x}{g:02x}{b:02x}:size={size}:duration=0.1:rate=10,format=rgb24 -vf \
                     scale=out_color_matrix={matrix}:out_range={range}:flags=accurate_rnd+full_chroma_int,format=yuv420p {tag} {range_tag} \
                     -c:v libx264 -preset ultrafast -qp 0"
                ),
            );
            let (clip, _) = sample(&ClipSpec { video: Some(path), ..ClipSpec::default() }, 2.0).unwrap();
            let image = &clip.video.unwrap().frames[0];
            let middle = &image.data[(image.height / 2 * image.width + image.width / 2) * 3..][..3];
            for (got, want) in middle.iter().zip([r, g, b]) {
                assert!((i32::from(*got) - want).abs() <= 3, "{name}: {middle:?} instead of {:?}", (r, g, b));
            }
        }
    }
}

#[test]
fn every_wrong_file_gets_one_clear_line() {
    let clips = Clips::new();
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(clips.path(name), bytes).unwrap();
        clips.path(name)
    };
    let video = clips.make("video.mp4", &format!("{PICTURE} -c:v libx264"));
    let bytes = std::fs::read(&video).unwrap();
    let secret = write("secret.txt", b"nobody reads this");
    let cases = [
        (clips.path("nowhere.mp4"), "no such file"),
        (clips.0.path().to_owned(), "folder"),
        (write("empty.mp4", b""), "empty"),
        (write("text.mp4", b"Dear reader,\nthis is a letter and no film.\n"), "not audio, video or an image"),
        (write("noise.mkv", &bytes[bytes.len() / 2..][..4096]), ""),
        // The index is at the end of this file, so a cut-off copy has none.
        (write("cut.mp4", &bytes[..bytes.len() / 2]), "cut off before its index"),
        (write("list.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nvideo.mp4\n"), "playlists"),
        (write("words.srt", b"1\n00:00:00,000 --> 00:00:02,000\nhello\n"), "subtitles"),
        (write("list.ffconcat", b"ffconcat version 1.0\nfile video.mp4\n"), "playlists"),
        (write("session.sdp", b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nt=0 0\nm=video 5004 RTP/AVP 96\n"), ""),
        (PathBuf::from("/dev/null"), "not a regular file"),
    ];
    for (path, part) in cases {
        for error in [media::probe(&path).unwrap_err(), sample(&ClipSpec::original(&path), 2.0).unwrap_err()] {
            let line = error.to_string();
            assert!(line.contains(part), "{line}");
            assert!(line.contains(&path.display().to_string()), "{line}");
            assert!(!line.contains('\n') && line.contains(';'), "no way out: {line}");
        }
    }
    drop(secret);
    let empty = ClipSpec { start_secs: Some(50.0), ..ClipSpec::original(&video) };
    let line = sample(&empty, 2.0).unwrap_err().to_string();
    assert!(line.contains("nothing from 50.000 s on"), "{line}");
    let empty = ClipSpec { end_secs: Some(60.0), ..empty };
    let line = sample(&empty, 2.0).unwrap_err().to_string();
    assert!(line.contains("nothing between 50.000 s and 60.000 s"), "{line}");
    // A header that promises a picture of two gigapixels.
    let huge = clips.make("huge.bmp", "-f lavfi -i color=red:size=8x8 -frames:v 1");
    let mut bytes = std::fs::read(&huge).unwrap();
    bytes[18..22].copy_from_slice(&40_000i32.to_le_bytes());
    bytes[22..26].copy_from_slice(&50_000i32.to_le_bytes());
    let huge = write("huge.bmp", &bytes);
    assert!(sample(&ClipSpec::original(&huge), 2.0).is_err());
    assert!(
        matches!(sample(&ClipSpec { video: Some(video), ..ClipSpec::default() }, 2.0), Ok((c, _)) if c.audio.is_none())
    );
    let cancelled = media::sample_clip(&ClipSpec::original(clips.path("video.mp4")), &Sampling::default(), &|| true);
    assert!(matches!(cancelled, Err(MediaError::Cancelled)));
    // Whoever takes the frames hears at the first how many there will be, and may say no.
    let (mut seen, clip) = (Vec::new(), ClipSpec::original(clips.path("video.mp4")));
    let refused = media::sample_clip_with(&clip, &Sampling::default(), &|| false, &mut |_, frames| {
        seen.push(frames);
        Err("no".into())
    });
    assert!(matches!(refused, Err(MediaError::Refused(why)) if why.to_string() == "no"));
    assert_eq!(seen, [sample(&clip, 2.0).unwrap().0.video.unwrap().frames.len()]);
}

/// A picture of one colour with a white square that moves one pixel to the right per frame.
fn drawn(width: usize, height: usize, n: usize, color: [u8; 3]) -> Vec<u8> {
    let mut rgba = [color[0], color[1], color[2], 255].repeat(width * height);
    for y in 0..4 {
        for x in n..n + 4 {
            rgba[(y * width + x.min(width - 1)) * 4..][..4].fill(255);
        }
    }
    rgba
}

#[test]
fn what_is_encoded_comes_back() {
    let clips = Clips::new();
    let color = [200, 60, 30];
    for (name, size, rate, channels) in [
        ("a.mp4", (64, 48), 44_100, 2),
        ("b.webm", (64, 48), 44_100, 1),
        ("odd.mp4", (63, 37), 16_000, 1),
        ("rare.mp4", (32, 32), 37_800, 2),
    ] {
        let path = clips.path(name);
        std::fs::write(&path, b"an older file of that name").unwrap();
        let params =
            VideoParams { crf: 8, speed: EncodeSpeed::Fast, ..VideoParams::new(size.0, size.1, (30_000, 1_001)) };
        let mut encoder = Encoder::create(&path, params, Some(AudioParams { rate, channels })).unwrap();
        assert!(!encoder.video_encoder().is_empty() && encoder.audio_encoder().is_some());
        for n in 0..30 {
            encoder.push_frame(&drawn(size.0 as usize, size.1 as usize, n, color)).unwrap();
        }
        // A second of sound: a tone from 0.4 s to 0.6 s.
        let tone: Vec<f32> = (0..rate as usize)
            .flat_map(|i| {
                let t = i as f64 / f64::from(rate);
                let on = (0.4..0.6).contains(&t);
                let s = if on { (t * 880.0 * std::f64::consts::TAU).sin() as f32 * 0.5 } else { 0.0 };
                vec![s; channels]
            })
            .collect();
        for piece in tone.chunks(1000 * channels) {
            encoder.push_audio(piece).unwrap();
        }
        encoder.finish().unwrap();

        let probe = media::probe(&path).unwrap();
        let video = probe.video.unwrap();
        assert_eq!((video.matrix, video.matrix_tagged, video.range), ("bt709", true, "limited"), "{name}");
        assert_eq!((video.width, video.height), (size.0.next_multiple_of(2), size.1.next_multiple_of(2)), "{name}");
        assert!((video.fps.unwrap() - 29.97).abs() < 0.05, "{name}: {:?}", video.fps);
        let frames = all_frames(&path);
        assert_eq!(frames.len(), 30, "{name}");
        let first = frames[0].0;
        for (i, (t, _)) in frames.iter().enumerate() {
            assert!((t - first - i as f64 * 1001.0 / 30_000.0).abs() < 0.0011, "{name}: frame {i} at {t}");
        }
        let (clip, _) = sample(&ClipSpec::original(&path), 4.0).unwrap();
        let image = &clip.video.unwrap().frames[0];
        let below = &image.data[((image.height - 8) * image.width + 20) * 3..][..3];
        assert!(below.iter().zip(color).all(|(a, b)| a.abs_diff(b) <= 4), "{name}: {below:?}");
        let corner = &image.data[(image.width + 1) * 3..][..3];
        assert!(corner.iter().all(|v| *v > 225), "{name}: {corner:?}");
        let audio = clip.audio.unwrap();
        let at = |t: f64| ((t - audio.start_secs) * 16_000.0) as usize;
        let loudness = |from: f64, to: f64| {
            let part = &audio.samples[at(from)..at(to)];
            (part.iter().map(|s| s * s).sum::<f32>() / part.len() as f32).sqrt()
        };
        assert!(loudness(0.43, 0.57) > 0.3, "{name}: {}", loudness(0.43, 0.57));
        assert!(loudness(0.1, 0.37) < 0.02 && loudness(0.63, 0.9) < 0.02, "{name}");
        if path.extension().is_some_and(|e| e == "mp4") {
            let bytes = std::fs::read(&path).unwrap();
            let find = |tag: &[u8]| bytes.windows(4).position(|w| w == tag).unwrap();
            assert!(find(b"moov") < find(b"mdat"), "{name}: the index comes first");
        }
    }
    let left: Vec<_> = std::fs::read_dir(clips.0.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 4, "nothing else is left: {left:?}");
}

#[test]
fn an_unfinished_file_leaves_nothing_and_bad_parameters_are_refused() {
    let clips = Clips::new();
    let path = clips.path("half.mp4");
    std::fs::write(&path, b"kept").unwrap();
    let mut encoder = Encoder::create(&path, VideoParams::new(32, 32, (25, 1)), None).unwrap();
    encoder.push_frame(&drawn(32, 32, 0, [1, 2, 3])).unwrap();
    assert!(matches!(encoder.push_frame(&[0; 7]), Err(MediaError::BadOutput { .. })));
    drop(encoder);
    assert_eq!(std::fs::read(&path).unwrap(), b"kept");
    assert_eq!(std::fs::read_dir(clips.0.path()).unwrap().count(), 1);
    let refused = |name: &str, params: VideoParams, audio| match Encoder::create(&clips.path(name), params, audio) {
        Err(e) => e.to_string(),
        Ok(_) => panic!("{name} was taken"),
    };
    assert!(refused("x.avi", VideoParams::new(32, 32, (25, 1)), None).contains(".mp4 or .webm"));
    assert!(refused("x.mp4", VideoParams::new(0, 32, (25, 1)), None).contains("picture size"));
    assert!(refused("x.mp4", VideoParams::new(32, 32, (25, 0)), None).contains("frame rate"));
    assert!(
        refused("x.mp4", VideoParams::new(32, 32, (25, 1)), Some(AudioParams { rate: 1, channels: 1 }))
            .contains("sound")
    );
    assert!(refused("no/such/folder/x.mp4", VideoParams::new(32, 32, (25, 1)), None).contains("writing failed"));
}

/// Counts what a thread allocates and frees while it asks for it.
struct Counting;

thread_local! {
    static COUNTED: std::cell::Cell<Option<u64>> = const { std::cell::Cell::new(None) };
}

fn count_one() {
    let _ = COUNTED.try_with(|c| c.set(c.get().map(|n| n + 1)));
}

#[allow(unsafe_code, reason = "a counting allocator can only be written so")]
// SAFETY: every call is handed to the system's allocator unchanged.
unsafe impl std::alloc::GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: std::alloc::Layout) -> *mut u8 {
        count_one();
        unsafe { std::alloc::System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: std::alloc::Layout) {
        count_one();
        unsafe { std::alloc::System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Runs something and counts this thread's allocations and frees in it.
fn allocations(run: impl FnOnce()) -> u64 {
    COUNTED.set(Some(0));
    run();
    COUNTED.replace(None).unwrap()
}

/// A playback whose time is the test's.
pub struct Player {
    pub playback: Playback,
    pub output: ManualOutput,
    pub events: std::sync::mpsc::Receiver<MediaEvent>,
}

impl Player {
    pub fn open(clip: ClipSpec) -> Self {
        let (send, events) = std::sync::mpsc::channel();
        let output = ManualOutput::default();
        let notify = move |event| drop(send.send(event));
        let playback = Playback::start_on(clip, Sampling::default(), Output::Manual(output.clone()), notify).unwrap();
        let player = Self { playback, output, events };
        player.until(|e| matches!(e, MediaEvent::FrameReady | MediaEvent::Failed(_)));
        player
    }

    /// Waits for an event; the limit only keeps a broken build from hanging.
    pub fn until(&self, wanted: impl Fn(&MediaEvent) -> bool) -> MediaEvent {
        loop {
            let event = self.events.recv_timeout(std::time::Duration::from_mins(1)).expect("the event never came");
            if wanted(&event) {
                return event;
            }
        }
    }

    /// Plays 10 ms.
    pub fn pump(&self) -> Vec<f32> {
        let mut out = vec![0.0; 960];
        self.output.pump(&mut out);
        out
    }

    /// Plays until two blocks in a row were played whole (this is faster than real time, so the decoder may be late);
    /// the second one, and the time after it.
    pub fn whole_block(&self) -> (Vec<f32>, f64) {
        let mut whole = 0;
        loop {
            let before = self.playback.position_secs();
            let out = self.pump();
            let position = self.playback.position_secs();
            whole = if position - before > 0.009_99 { whole + 1 } else { 0 };
            if whole == 2 {
                return (out, position);
            }
            assert!(self.playback.is_playing(), "it stopped at {position}");
            std::thread::yield_now();
        }
    }

    /// Waits until 10 ms are there to be played, and as much again, since what is about to run dry is ramped: a device that
    /// is faster than any other waits for the decoder. The limit only keeps a broken build from hanging.
    pub fn wait_for_sound(&self) {
        let hang = std::time::Instant::now() + std::time::Duration::from_mins(1);
        while self.output.ready() < 960 && self.playback.is_playing() {
            assert!(std::time::Instant::now() < hang, "no more sound comes: {:?}", self.playback.error());
            std::thread::yield_now();
        }
    }

    /// Plays on until time runs, then 10 ms at a time whenever as much is there. `heard` is given what was played and the
    /// time at its end; it ends when it says so.
    pub fn play_whole(&self, mut heard: impl FnMut(&[f32], f64) -> bool) {
        let from = self.playback.position_secs();
        // What a seek left behind is not filled up any more: there is nothing to wait for.
        while self.playback.position_secs() == from {
            self.pump();
            std::thread::yield_now();
        }
        loop {
            self.wait_for_sound();
            let out = self.pump();
            if heard(&out, self.playback.position_secs()) {
                return;
            }
        }
    }

    /// Plays until a time is reached.
    pub fn play_to(&self, secs: f64) {
        while self.playback.position_secs() < secs {
            self.pump();
            std::thread::yield_now();
        }
    }

    /// Seeks and waits for the frame.
    pub fn seek(&self, secs: f64) -> std::sync::Arc<dyn Planes> {
        self.seek_only(secs);
        self.playback.frame_at(self.playback.position_secs()).unwrap()
    }

    /// Seeks and waits until it is there; a clip need not have a picture.
    pub fn seek_only(&self, secs: f64) {
        while self.events.try_recv().is_ok() {}
        self.playback.seek(secs);
        self.until(|e| *e == MediaEvent::FrameReady);
    }
}

/// A clip whose sound says what time it is: a quarter of the time in seconds, on the left; its negative, on the right.
pub fn telling(clips: &Clips, name: &str, seconds: u32) -> PathBuf {
    let sound = format!("-f lavfi -i aevalsrc=t/4|-t/4:s=48000:d={seconds}");
    let picture = format!("-f lavfi -i testsrc2=size=96x64:rate=25:duration={seconds}");
    clips.make(name, &format!("{picture} {sound} -c:v libx264 -bf 2 -g 20 -c:a pcm_f32le"))
}

#[test]
fn sound_picture_and_clock_agree() {
    let clips = Clips::new();
    let player = Player::open(ClipSpec::original(telling(&clips, "telling.mov", 3)));
    let playback = &player.playback;
    assert_eq!(playback.duration_secs().map(|d| (d * 100.0).round()), Some(300.0));
    assert_eq!(playback.frame_at(0.0).unwrap().pts_secs(), 0.0);
    assert_eq!(playback.position_secs(), 0.0);
    player.pump();
    assert_eq!(playback.position_secs(), 0.0, "paused: time stands still");

    playback.play();
    let mut last = 0.0;
    while last < 2.95 {
        let (out, position) = player.whole_block();
        assert!(position > last, "time never goes back");
        last = position;
        // The last sample of the block is the sound of the block's end.
        let (left, right) = (f64::from(out[958]) * 4.0, f64::from(out[959]) * -4.0);
        if position > 0.03 && position < 2.98 {
            assert!((left - position).abs() < 1e-3 && (right - position).abs() < 1e-3, "{left} heard at {position}");
        }
        // The decoder gets the time that real playing would give it; then the frame is the right one.
        while position < 2.9 && playback.next_pts().is_none_or(|next| next <= position) {
            playback.frame_at(position);
            std::thread::yield_now();
        }
        let late = position - playback.frame_at(position).unwrap().pts_secs();
        assert!(position >= 2.9 || (-1e-6..0.0401).contains(&late), "{late} at {position}");
    }
    while playback.is_playing() {
        player.pump();
        std::thread::yield_now();
    }
    player.until(|e| *e == MediaEvent::Ended);
    assert!((playback.position_secs() - 3.0).abs() < 0.05);
    // Play at the end begins again.
    playback.play();
    player.until(|e| *e == MediaEvent::FrameReady);
    player.play_to(0.1);
    assert!(playback.position_secs() < 0.5);
}

#[test]
fn seeking_shows_the_right_frame_paused_and_playing() {
    let clips = Clips::new();
    let path = telling(&clips, "telling.mov", 3);
    let frames = all_frames(&path);
    let player = Player::open(ClipSpec::original(&path));
    for t in [2.0, 0.5, 0.51, 0.539_999, 0.54, 2.99, 0.0, 1.234] {
        let shown = player.seek(t);
        let expected = frames[frames.partition_point(|f| f.0 <= t + 1e-6) - 1];
        assert_eq!(player.playback.position_secs(), t, "the time is the seek's, at once");
        assert!((shown.pts_secs() - expected.0).abs() < 1e-6, "{} at {t}", shown.pts_secs());
        assert_eq!(digest(&*shown), expected.1);
    }
    // One frame on, one frame back.
    player.seek(1.0);
    for (step, expected) in [(1, 1.04), (1, 1.08), (-1, 1.04), (-1, 1.0), (-1, 0.96)] {
        while player.events.try_recv().is_ok() {}
        if step > 0 {
            player.playback.step_forward();
        } else {
            player.playback.step_back();
        }
        player.until(|e| *e == MediaEvent::FrameReady);
        let shown = player.playback.frame_at(player.playback.position_secs()).unwrap();
        assert!((shown.pts_secs() - expected).abs() < 1e-6, "{} instead of {expected}", shown.pts_secs());
    }
    // Steps faster than frames are decoded are all taken, from where the seek goes and not from what is still shown.
    let until = |expected: f64| {
        while (player.playback.frame_at(player.playback.position_secs()).unwrap().pts_secs() - expected).abs() > 1e-6 {
            std::thread::yield_now();
        }
        assert_eq!(player.playback.position_secs(), player.playback.frame_at(0.0).unwrap().pts_secs());
    };
    player.playback.seek(2.0);
    (0..10).for_each(|_| player.playback.step_forward());
    until(2.4);
    player.playback.seek(1.0);
    player.playback.step_back();
    until(0.96);
    // Beyond the last frame there is none, and what was asked for too often is not waited for.
    player.playback.seek(2.9);
    (0..10).for_each(|_| player.playback.step_forward());
    until(2.96);
    player.playback.step_back();
    until(2.92);
    // The sound steps along.
    player.playback.play();
    let (out, position) = player.whole_block();
    assert!((f64::from(out[958]) * 4.0 - position).abs() < 2e-3 || !player.playback.is_playing());
    player.seek(1.0);
    // Playing: the sound after the seek is the sound of that time.
    player.playback.play();
    player.play_to(1.1);
    player.seek(2.5);
    player.play_to(2.53);
    let (out, position) = player.whole_block();
    assert!((f64::from(out[958]) * 4.0 - position).abs() < 2e-3, "{} at {position}", out[958] * 4.0);
    // Many seeks at once: the newest wins.
    for i in 0..50 {
        player.playback.seek(f64::from(i) * 0.05);
    }
    assert!((player.playback.position_secs() - 2.45).abs() < 1e-9);
    player.play_to(2.5);
    assert!(player.playback.frame_at(player.playback.position_secs()).unwrap().pts_secs() >= 2.4);
}

#[test]
fn a_swapped_soundtrack_goes_on_at_the_same_time() {
    let clips = Clips::new();
    let path = telling(&clips, "telling.mov", 3);
    let other = clips.make("other.wav", "-f lavfi -i aevalsrc=0.9-t/4|0.9-t/4:s=48000:d=5 -c:a pcm_f32le");
    let player = Player::open(ClipSpec::original(&path));
    player.playback.play();
    player.play_to(0.5);
    let shown = player.playback.frame_at(player.playback.position_secs()).unwrap();
    let swapped = ClipSpec { audio: AudioSource::File { path: other, track: None }, ..ClipSpec::original(&path) };
    player.playback.set_clip(swapped.clone(), Sampling::default());
    let mut last = player.playback.position_secs();
    let mut steepest = 0f32;
    let mut previous = None;
    loop {
        let underruns = player.playback.underruns();
        let out = player.pump();
        let position = player.playback.position_secs();
        assert!(position >= last && position - last < 0.011, "time goes on: {last} to {position}");
        last = position;
        if player.playback.underruns() != underruns {
            // Played faster than it could be decoded: a hole has edges of its own.
            previous = None;
            continue;
        }
        for frame in out.chunks(2) {
            steepest = steepest.max((frame[0] - previous.unwrap_or(frame[0])).abs());
            previous = Some(frame[0]);
        }
        let right = f64::from(out[959]);
        if right > 0.1 && (right - (0.9 - position / 4.0)).abs() < 1e-3 {
            break;
        }
        assert!(position < 2.9, "the other sound never came");
        std::thread::yield_now();
    }
    assert!(steepest < 0.02, "a click of {steepest}");
    assert!(player.playback.frame_at(last).unwrap().pts_secs() >= shown.pts_secs());
    // Five seconds of other sound: cut to three seconds of picture.
    assert!((player.playback.duration_secs().unwrap() - 3.0).abs() < 0.01);
    let silent = ClipSpec { audio: AudioSource::None, ..swapped };
    player.playback.set_clip(silent, Sampling::default());
    while player.whole_block().0.iter().any(|s| *s != 0.0) {
        assert!(player.playback.position_secs() < 2.9, "it never fell silent");
    }
    assert!(player.playback.is_playing());
}

#[test]
fn what_is_shown_is_what_the_model_gets() {
    let clips = Clips::new();
    let path = telling(&clips, "telling.mov", 2);
    let with = |frames| ClipSpec { frames, ..ClipSpec::original(&path) };
    let black = Player::open(with(FrameEdit::Black));
    let frame = black.seek(1.5);
    assert_eq!(frame.size(), [96, 64]);
    assert!(frame.planes()[0].data.chunks(4).all(|p| p == [0, 0, 0, 255]));
    let frozen = Player::open(with(FrameEdit::Freeze));
    assert_eq!(digest(&*frozen.seek(1.5)), all_frames(&path)[0].1);
    // It is given once, so that nobody waits for another, and a step leads nowhere.
    frozen.playback.play();
    frozen.play_to(1.7);
    assert!(frozen.playback.frame_at(1.7).is_some());
    assert_eq!(frozen.playback.next_pts(), None);
    frozen.playback.step_forward();
    assert!(frozen.playback.position_secs() > 1.6);
    let shuffled = Player::open(with(FrameEdit::Shuffle { seed: 0 }));
    let sampled = |frames| sample(&with(frames), 2.0).unwrap().0.video.unwrap();
    let (video, kept) = (sampled(FrameEdit::Shuffle { seed: 0 }), sampled(FrameEdit::Keep));
    let stored = all_frames(&path);
    for (t, slot) in [(0.0, 0), (1.0, 1), (1.99, 3), (0.1, 0)] {
        let shown = shuffled.seek(t);
        assert_eq!(shown.pts_secs(), video.pts_secs[slot]);
        let fed = kept.frames.iter().position(|f| *f == video.frames[slot]).unwrap();
        let same = stored.iter().find(|(t, _)| *t == kept.pts_secs[fed]).unwrap();
        assert_eq!(digest(&*shown), same.1, "slot {slot}");
    }
    // Sound alone, picture alone, a still, and what cannot be played.
    let sound = clips.make("sound.wav", SOUND);
    let alone = Player::open(ClipSpec::original(&sound));
    alone.playback.play();
    alone.play_to(1.0);
    assert!(alone.playback.frame_at(1.0).is_none());
    let silent = Player::open(ClipSpec { audio: AudioSource::None, ..ClipSpec::original(&path) });
    silent.playback.play();
    silent.play_to(1.0);
    assert_eq!(silent.playback.underruns(), 0);
    let png = clips.make("still.png", "-f lavfi -i testsrc2=size=64x48 -frames:v 1");
    let still = ClipSpec { audio: AudioSource::File { path: sound, track: None }, ..ClipSpec::original(png) };
    // With a sound that is repeated it goes on for ever.
    let sound = modalens::clip::SoundEdit { repeat: true, ..still.sound };
    let endless = Player::open(ClipSpec { sound, ..still.clone() });
    endless.playback.play();
    endless.play_to(2.5);
    assert_eq!(endless.playback.duration_secs(), None);
    let still = Player::open(still);
    still.playback.play();
    still.play_to(1.9);
    assert!(still.playback.frame_at(1.9).is_some());
    let broken = Player::open(ClipSpec::original(clips.path("nowhere.mp4")));
    assert!(broken.playback.error().unwrap().contains("no such file"));
    assert!(Playback::start(ClipSpec::default(), Sampling::default(), |_| {}).is_err());
}

#[test]
fn the_audio_callback_allocates_and_frees_nothing() {
    let clips = Clips::new();
    let path = telling(&clips, "telling.mov", 6);
    // The same on both sides; the film's own sound is opposite on both.
    let other = clips.make("other.wav", "-f lavfi -i sine=frequency=440:sample_rate=44100:duration=9");
    let player = Player::open(ClipSpec::original(&path));
    let playback = &player.playback;
    let swapped = ClipSpec { audio: AudioSource::File { path: other, track: None }, ..ClipSpec::original(&path) };
    let mut out = vec![0.0; 960];
    // Plays under the counter until a change has come through: `seen` is given what was played and the time before and
    // after it.
    let mut watch = |what: &str, seen: &dyn Fn(&[f32], f64, f64) -> bool| {
        let hang = std::time::Instant::now() + std::time::Duration::from_mins(1);
        loop {
            let before = playback.position_secs();
            assert_eq!(allocations(|| player.output.pump(&mut out)), 0, "{what}");
            let after = playback.position_secs();
            playback.frame_at(after);
            if seen(&out, before, after) {
                return;
            }
            assert!(std::time::Instant::now() < hang, "{what}: nothing of it came, at {after}");
            std::thread::yield_now();
        }
    };
    let loud = |out: &[f32]| out.iter().all(|s| s.is_finite()) && out[900..].iter().any(|s| s.abs() > 0.02);
    let own = |out: &[f32], after: f64| {
        let (left, right) = (f64::from(out[958]) * 4.0, f64::from(out[959]) * -4.0);
        (left - after).abs() < 2e-3 && (right - after).abs() < 2e-3
    };
    let others = |out: &[f32]| loud(out) && out.chunks(2).all(|frame| frame[0] == frame[1]);
    let silent = |out: &[f32]| out.iter().all(|s| *s == 0.0);
    playback.play();
    watch("playing", &|out, before, after| after > before && after > 0.1 && own(out, after));
    playback.seek(1.0);
    watch("after a seek", &|out, _, after| after > 1.0 && own(out, after));
    playback.pause();
    watch("paused", &|out, before, after| silent(out) && before == after);
    playback.seek(0.5);
    watch("a seek while paused", &|out, _, after| silent(out) && after == 0.5);
    playback.play();
    watch("playing again", &|out, before, after| after > before && own(out, after));
    playback.set_muted(true);
    watch("muted", &|out, before, after| silent(out) && after > before);
    playback.set_muted(false);
    watch("not muted", &|out, _, after| own(out, after));
    playback.set_volume(0.5);
    watch("half as loud", &|out, _, after| (f64::from(out[958]) * 8.0 - after).abs() < 2e-3);
    playback.set_volume(1.0);
    watch("as loud as before", &|out, _, after| own(out, after));
    playback.set_clip(swapped, Sampling::default());
    watch("another sound", &|out, _, _| others(out));
    playback.hear_own_sound(true);
    watch("the video's own sound", &|out, _, after| loud(out) && own(out, after));
    playback.hear_own_sound(false);
    watch("the other sound again", &|out, _, _| others(out));
    playback.set_clip(ClipSpec::original(&path), Sampling::default());
    playback.seek(0.5);
    playback.set_speed(2.0);
    watch("twice as fast", &|out, before, after| (after - before - 0.02).abs() < 1e-6 && loud(out));
    playback.set_speed(-1.0);
    watch("backwards", &|out, before, after| silent(out) && (before - after - 0.01).abs() < 1e-6);
    playback.set_speed(1.0);
    playback.seek(0.6);
    watch("forwards again", &|out, _, after| own(out, after));
    playback.set_repeat(Some(modalens::time::Span::new(0.5, 0.9)));
    watch("a loop's turn", &|_, before, after| after < before);
    watch("after the turn", &|out, _, after| (0.5..0.9).contains(&after) && own(out, after));
    playback.set_repeat(None);
    playback.seek(5.9);
    watch("the end", &|out, before, after| silent(out) && before == after && !playback.is_playing() && after > 5.9);
    assert_eq!(allocations(|| drop(vec![1u8])), 2, "the counter counts");
}

/// The number of entries of a folder in `/proc/self`.
fn own(folder: &str) -> usize {
    std::fs::read_dir(format!("/proc/self/{folder}")).unwrap().count()
}

fn resident_mib() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() / 256
}

#[test]
fn two_hundred_cycles_leak_nothing() {
    // Other tests run beside this one in the same process: it counts in a process of its own.
    let child = "MODALENS_TEST_CYCLES";
    let Some(path) = std::env::var_os(child) else {
        let clips = Clips::new();
        let path = clips.make("clip.mp4", &format!("{PICTURE} {SOUND} -c:v libx264 -bf 2 -g 20 -c:a aac"));
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "media::two_hundred_cycles_leak_nothing", "--test-threads=1", "--nocapture"])
            .env(child, path)
            .status()
            .unwrap();
        assert!(status.success());
        return;
    };
    let cycle = |i: u32| {
        let player = Player::open(ClipSpec::original(PathBuf::from(&path)));
        player.playback.play();
        player.pump();
        for k in 0..3 {
            player.playback.seek(f64::from((i * 7 + k * 5) % 19) / 10.0);
            player.pump();
        }
        if i.is_multiple_of(2) {
            player.seek(f64::from(i % 20) / 10.0);
        }
    };
    (0..20).for_each(cycle);
    let before = (own("task"), own("fd"), resident_mib());
    (0..200).for_each(cycle);
    let after = (own("task"), own("fd"), resident_mib());
    assert_eq!((before.0, before.1), (after.0, after.1), "threads, files");
    assert!(after.2 < before.2 + 32, "memory grew from {} to {} MiB", before.2, after.2);
}

#[test]
fn waveforms_are_the_soundtracks_outline() {
    let clips = Clips::new();
    let path = telling(&clips, "telling.mov", 2);
    // Left and right cancel in the mix: use a sound of one channel.
    assert!(
        media::waveform(&ClipSpec::original(&path), 10, &never).unwrap().unwrap().iter().all(|[l, h]| h - l < 1e-3)
    );
    let ramp = clips.make("ramp.wav", "-f lavfi -i aevalsrc=t/2*sin(2*PI*500*t):s=16000:d=2 -c:a pcm_f32le");
    let outline = media::waveform(&ClipSpec::original(&ramp), 20, &never).unwrap().unwrap();
    assert_eq!(outline.len(), 20);
    for (i, [low, high]) in outline.iter().enumerate() {
        let loudest = (i + 1) as f32 / 20.0;
        assert!((high - loudest).abs() < 0.03 && (low + loudest).abs() < 0.03, "bucket {i}: {low} {high}");
    }
    let silent = clips.make("silent.mp4", &format!("{PICTURE} -c:v libx264"));
    assert!(media::waveform(&ClipSpec::original(&silent), 10, &never).unwrap().is_none());
    assert!(matches!(media::waveform(&ClipSpec::original(&ramp), 10, &|| true), Err(MediaError::Cancelled)));
}
