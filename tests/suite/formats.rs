//! Formats: one table of codecs and containers through probe, linear decode, exact seeks and the model's sample, each
//! against the `ffmpeg` command line; orientation, interlacing, HDR. Knows nothing of colours (see `colour`) or of
//! resampling (see `sound`).
#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

use modalens::clip::ClipSpec;
use modalens::export::snapshot::{Snapshot, snapshot};
use modalens::frame::{Planes, RgbImage};
use modalens::media::{self, VideoReader};

use crate::media::{Clips, all_frames, digest, error_db, in_two, probe_times, psnr, sample};

/// What `ffmpeg` can do here: its answer to `-encoders`, `-decoders` or `-filters`, as words.
fn ffmpeg_has(what: &str, name: &str) -> bool {
    let out = Command::new("ffmpeg").args(["-hide_banner", "-v", "error", what]).output().unwrap();
    String::from_utf8_lossy(&out.stdout).lines().any(|l| l.split_whitespace().nth(1) == Some(name))
}

/// Debian's FFmpeg has every encoder of these tables: there, nothing may be skipped.
fn is_debian() -> bool {
    std::fs::read_to_string("/etc/os-release").is_ok_and(|t| t.lines().any(|l| l == "ID=debian"))
}

/// Whether the encoders are there; says which format is skipped where one is missing.
pub(crate) fn can_make(name: &str, encoders: &[&str]) -> bool {
    let missing = encoders.iter().find(|e| !ffmpeg_has("-encoders", e));
    if let Some(encoder) = missing {
        assert!(!is_debian(), "{name}: no encoder {encoder}");
        eprintln!("skipped: {name}: this ffmpeg has no encoder {encoder}");
    }
    missing.is_none()
}

/// All frames as `ffmpeg` shows them, as RGB.
fn ffmpeg_frames(path: &Path, filters: &str) -> Vec<u8> {
    let out = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-threads", "1", "-i"])
        .arg(path)
        .args(["-map", "0:v:0", "-vsync", "passthrough", "-vf"])
        .arg(format!("{filters}scale=flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp,format=rgb24"))
        .args(["-f", "rawvideo", "-"])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

/// Brightness alone: where chroma sits is not what is tested here.
fn luma(rgb: &[u8]) -> Vec<u8> {
    let of = |p: &[u8]| (77 * u32::from(p[0]) + 150 * u32::from(p[1]) + 29 * u32::from(p[2])) / 256;
    rgb.chunks_exact(3).map(|p| of(p) as u8).collect()
}

/// A row of the table.
struct Format {
    file: &'static str,
    /// Encoders that are needed, and their options.
    encoders: &'static [&'static str],
    args: &'static str,
    /// Codec names as the probe gives them; no sound where there is none.
    video: &'static str,
    audio: Option<&'static str>,
}

const fn format(
    file: &'static str,
    encoders: &'static [&'static str],
    args: &'static str,
    video: &'static str,
    audio: Option<&'static str>,
) -> Format {
    Format { file, encoders, args, video, audio }
}

const TABLE: &[Format] = &[
    format("h264.mp4", &["libx264", "aac"], "-c:v libx264 -bf 3 -g 20 -c:a aac", "h264", Some("aac")),
    format(
        "hevc.mp4",
        &["libx265", "aac"],
        "-c:v libx265 -x265-params log-level=none:keyint=20:bframes=3 -c:a aac",
        "hevc",
        Some("aac"),
    ),
    format(
        "hevc10.mkv",
        &["libx265", "flac"],
        "-c:v libx265 -pix_fmt yuv420p10le -x265-params log-level=none:keyint=20 -c:a flac",
        "hevc",
        Some("flac"),
    ),
    format(
        "vp8.webm",
        &["libvpx", "libvorbis"],
        "-c:v libvpx -deadline realtime -cpu-used 8 -g 20 -c:a libvorbis",
        "vp8",
        Some("vorbis"),
    ),
    format(
        "vp9.webm",
        &["libvpx-vp9", "libopus"],
        "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 20 -c:a libopus",
        "vp9",
        Some("opus"),
    ),
    format(
        "av1.mp4",
        &["libaom-av1", "libopus"],
        "-c:v libaom-av1 -cpu-used 8 -usage realtime -g 20 -c:a libopus",
        "av1",
        Some("opus"),
    ),
    format("av1.mkv", &["libsvtav1"], "-c:v libsvtav1 -preset 12 -g 20 -an", "av1", None),
    format(
        "mpeg1.mpg",
        &["mpeg1video", "mp2"],
        "-c:v mpeg1video -bf 2 -g 15 -q:v 3 -c:a mp2",
        "mpeg1video",
        Some("mp2"),
    ),
    format(
        "mpeg2.mpg",
        &["mpeg2video", "ac3"],
        "-c:v mpeg2video -bf 2 -g 15 -q:v 3 -c:a ac3 -f vob",
        "mpeg2video",
        Some("ac3"),
    ),
    format(
        "mpeg2.ts",
        &["mpeg2video", "mp2"],
        "-c:v mpeg2video -bf 2 -g 15 -q:v 3 -c:a mp2",
        "mpeg2video",
        Some("mp2"),
    ),
    format(
        "h264.ts",
        &["libx264", "aac"],
        "-c:v libx264 -bf 2 -g 20 -c:a aac -output_ts_offset 7",
        "h264",
        Some("aac"),
    ),
    format(
        "mpeg4.avi",
        &["mpeg4", "libmp3lame"],
        "-c:v mpeg4 -bf 2 -g 20 -q:v 3 -c:a libmp3lame",
        "mpeg4",
        Some("mp3"),
    ),
    format("prores.mov", &["prores_ks", "pcm_s16le"], "-c:v prores_ks -c:a pcm_s16le", "prores", Some("pcm_s16le")),
    format(
        "dnxhr.mov",
        &["dnxhd", "pcm_s24le"],
        "-vf scale=256x128,setsar=1 -c:v dnxhd -profile:v dnxhr_sq -pix_fmt yuv422p -c:a pcm_s24le",
        "dnxhd",
        Some("pcm_s24le"),
    ),
    format("theora.ogv", &["libtheora", "libvorbis"], "-c:v libtheora -g 20 -c:a libvorbis", "theora", Some("vorbis")),
    format("mjpeg.avi", &["mjpeg", "pcm_s16le"], "-c:v mjpeg -q:v 2 -c:a pcm_s16le", "mjpeg", Some("pcm_s16le")),
    format("ffv1.mkv", &["ffv1", "pcm_f32le"], "-c:v ffv1 -c:a pcm_f32le", "ffv1", Some("pcm_f32le")),
    format("huffyuv.avi", &["huffyuv"], "-c:v huffyuv -an", "huffyuv", None),
    format("flash.flv", &["flv", "libmp3lame"], "-c:v flv -g 20 -c:a libmp3lame -ar 44100", "flv1", Some("mp3")),
    format("windows.wmv", &["wmv2", "wmav2"], "-c:v wmv2 -g 20 -q:v 3 -c:a wmav2", "wmv2", Some("wmav2")),
    format("phone.3gp", &["mpeg4", "aac"], "-c:v mpeg4 -g 20 -q:v 3 -c:a aac", "mpeg4", Some("aac")),
    format(
        "studio.mxf",
        &["mpeg2video", "pcm_s16le"],
        "-c:v mpeg2video -g 12 -q:v 3 -c:a pcm_s16le -ar 48000",
        "mpeg2video",
        Some("pcm_s16le"),
    ),
    format(
        "raw.nut",
        &["rawvideo", "pcm_s16le"],
        "-c:v rawvideo -pix_fmt yuv420p -c:a pcm_s16le",
        "rawvideo",
        Some("pcm_s16le"),
    ),
    format("plain.y4m", &["wrapped_avframe"], "-pix_fmt yuv420p -an", "rawvideo", None),
    format("palette.gif", &["gif"], "-an", "gif", None),
    format("animated.png", &["apng"], "-c:v apng -f apng -plays 1 -an", "apng", None),
    format("alpha.mov", &["qtrle"], "-c:v qtrle -pix_fmt argb -an", "qtrle", None),
    format("image.ivf", &["libvpx-vp9"], "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 20 -an", "vp9", None),
];

#[test]
fn every_format_is_probed_decoded_sought_and_sampled() {
    let wrong = in_two(TABLE, check_all);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn check_all(formats: &[Format]) -> Vec<String> {
    let clips = Clips::new();
    let possible = formats.iter().filter(|f| can_make(f.file, f.encoders));
    possible.filter_map(|f| check(&clips, f).err().map(|e| format!("{}: {e}", f.file))).collect()
}

fn check(clips: &Clips, format: &Format) -> Result<(), String> {
    let picture = "-f lavfi -i testsrc2=size=96x64:rate=25:duration=1.6";
    let sound = "-f lavfi -i sine=frequency=440:sample_rate=48000:duration=1.6";
    let path = clips.make(format.file, &format!("{picture} {sound} {}", format.args));
    let err = |e: media::MediaError| e.to_string();
    let must = |fine: bool, what: &str| if fine { Ok(()) } else { Err(what.to_owned()) };

    let probe = media::probe(&path).map_err(err)?;
    if let Some(declared) = probe.declared_secs {
        return Err(format!("{}: ends at {:?} s instead of {declared} s", path.display(), probe.duration_secs));
    }
    let video = probe.video.ok_or("no picture")?;
    must(video.codec == format.video, &format!("the picture is {}", video.codec))?;
    must(probe.audio.first().map(|a| a.codec.as_str()) == format.audio, &format!("the sound is {:?}", probe.audio))?;
    must(!probe.still, "it counts as a still")?;
    must(probe.audio.iter().all(|a| a.decodable && a.sample_rate > 0), "its sound cannot be decoded")?;

    // Every frame, at FFmpeg's times. An AVI's last B-frame has no time of its own: ffprobe leaves it out, we count on.
    let frames = all_frames(&path);
    let times = probe_times(&path);
    must((39..=41).contains(&frames.len()), &format!("{} frames", frames.len()))?;
    let untimed = usize::from(format.file == "mpeg4.avi");
    must(frames.len() - untimed == times.len(), &format!("{} frames, ffprobe has {}", frames.len(), times.len()))?;
    for ((ours, _), theirs) in frames.iter().zip(&times) {
        must((ours - theirs).abs() < 2e-6, &format!("a frame at {ours} instead of {theirs}"))?;
    }
    let mut digests: Vec<u64> = frames.iter().map(|f| f.1).collect();
    digests.sort_unstable();
    digests.dedup();
    must(digests.len() == frames.len(), "two frames look the same: the marker marks nothing")?;

    // Seeks backwards, forwards, on frames and between them.
    let mut reader = VideoReader::open(&path).map_err(err)?;
    for i in [39usize, 0, 25, 24, 26, 3, 38, 19, 20, 21, 1, 30, 12, 13] {
        let at = i.min(frames.len() - 1);
        for nudge in [0.0, 0.013] {
            reader.seek(frames[at].0 + nudge).map_err(err)?;
            let got = reader.next_frame().map_err(err)?.ok_or(format!("nothing at frame {at}"))?;
            let same = (got.pts_secs() - frames[at].0).abs() < 1e-6 && digest(&got) == frames[at].1;
            must(same, &format!("frame {at} is another one after a seek: {} s", got.pts_secs()))?;
        }
    }

    // What the model gets: FFmpeg's own frames, found by their time.
    let (clip, notes) = sample(&ClipSpec::original(&path), 4.0).map_err(err)?;
    must(notes.iter().all(|n| n.contains("no sound")), &format!("{notes:?}"))?;
    let sampled = clip.video.ok_or("no sampled picture")?;
    must((6..=8).contains(&sampled.frames.len()), &format!("{} sampled frames", sampled.frames.len()))?;
    let theirs = ffmpeg_frames(&path, "");
    let size = sampled.frames[0].data.len();
    for (image, pts) in sampled.frames.iter().zip(&sampled.pts_secs) {
        let index = frames.iter().position(|f| (f.0 - pts).abs() < 1e-6).ok_or(format!("no frame at {pts}"))?;
        let reference = theirs.get(index * size..(index + 1) * size).ok_or(format!("FFmpeg has no frame {index}"))?;
        let db = psnr(&luma(&image.data), &luma(reference));
        must(db > 40.0, &format!("sampled frame {index} is {db:.1} dB from FFmpeg's"))?;
    }
    if format.audio.is_some() {
        let sound = clip.audio.ok_or("no sampled sound")?.samples;
        must((24_000..=27_500).contains(&sound.len()), &format!("{} samples", sound.len()))?;
        let power = sound[4000..20_000].iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / 16_000.0;
        // FFmpeg's sine has an amplitude of 1/8.
        must((power.sqrt() - 0.125 / 2f64.sqrt()).abs() < 0.01, &format!("a level of {}", power.sqrt()))?;
    }
    Ok(())
}

/// Stills in every container that a camera, a browser or a paint program writes.
#[test]
fn still_pictures_are_clips_of_one_frame() {
    let clips = Clips::new();
    let table: [(&str, &[&str], &str); 9] = [
        ("a.png", &["png"], ""),
        ("b.jpg", &["mjpeg"], "-q:v 1 -pix_fmt yuvj444p"),
        ("c.bmp", &["bmp"], ""),
        ("d.tiff", &["tiff"], ""),
        ("e.webp", &["libwebp"], "-lossless 1"),
        ("f.ppm", &["ppm"], ""),
        ("g.jp2", &["jpeg2000"], "-pix_fmt rgb24 -q:v 1"),
        ("h.qoi", &["qoi"], ""),
        ("i.pcx", &["pcx"], ""),
    ];
    for (name, encoders, args) in table {
        if !can_make(name, encoders) {
            continue;
        }
        let path = clips.make(name, &format!("-f lavfi -i testsrc2=size=96x64:rate=1 -frames:v 1 {args}"));
        let probe = media::probe(&path).unwrap();
        assert!(probe.still && probe.duration_secs.is_none(), "{name}: {probe:?}");
        let video = sample(&ClipSpec::original(&path), 2.0).unwrap().0.video.unwrap();
        assert_eq!(video.frames.len(), 1, "{name}");
        let db = psnr(&luma(&video.frames[0].data), &luma(&ffmpeg_frames(&path, "")));
        assert!(db > 40.0, "{name}: {db:.1} dB");
        let mut reader = VideoReader::open(&path).unwrap();
        for t in [0.0, 5.0, 0.0] {
            reader.seek(t).unwrap();
            assert_eq!(reader.next_frame().unwrap().unwrap().pts_secs(), 0.0, "{name} at {t}");
        }
    }
}

/// Where pixel `(x, y)` of a stored picture is shown, by EXIF orientation 1 to 8 (TIFF 6.0, tag 274).
fn by_exif(orientation: u8, stored: &RgbImage) -> RgbImage {
    let (w, h) = (stored.width, stored.height);
    let (width, height) = if orientation >= 5 { (h, w) } else { (w, h) };
    let mut data = vec![0; w * h * 3];
    for y in 0..h {
        for x in 0..w {
            let (ox, oy) = match orientation {
                1 => (x, y),
                2 => (w - 1 - x, y),
                3 => (w - 1 - x, h - 1 - y),
                4 => (x, h - 1 - y),
                5 => (y, x),
                6 => (h - 1 - y, x),
                7 => (h - 1 - y, w - 1 - x),
                _ => (y, w - 1 - x),
            };
            data[(oy * width + ox) * 3..][..3].copy_from_slice(&stored.data[(y * w + x) * 3..][..3]);
        }
    }
    RgbImage { width, height, data }
}

/// What `modalens snapshot` draws of the first frame.
fn drawn(clips: &Clips, path: &Path) -> RgbImage {
    let out = clips.path("drawn.png");
    snapshot(&Snapshot { video: path.to_owned(), at_secs: 0.0, heat: None }, &out).unwrap();
    let mut reader =
        png::Decoder::new(std::io::BufReader::new(std::fs::File::open(&out).unwrap())).read_info().unwrap();
    let mut data = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut data).unwrap();
    let data = data.chunks_exact(info.color_type.samples()).flat_map(|p| [p[0], p[1], p[2]]).collect();
    RgbImage { width: info.width as usize, height: info.height as usize, data }
}

fn first_sampled(path: &Path) -> RgbImage {
    let only = ClipSpec { video: Some(path.to_owned()), ..ClipSpec::default() };
    sample(&only, 1.0).unwrap().0.video.unwrap().frames.swap_remove(0)
}

#[test]
fn photographs_are_turned_as_their_exif_says() {
    let clips = Clips::new();
    let plain = clips.make("plain.jpg", "-f lavfi -i testsrc2=size=96x64:rate=1 -frames:v 1 -q:v 1 -pix_fmt yuvj444p");
    let bytes = std::fs::read(&plain).unwrap();
    let stored = first_sampled(&plain);
    for orientation in 1..=8u8 {
        // APP1 with one tag: 0x0112, SHORT, count 1.
        let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
        exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
        let mut jpeg = vec![0xff, 0xd8, 0xff, 0xe1];
        jpeg.extend(((exif.len() + 2) as u16).to_be_bytes());
        jpeg.extend(&exif);
        jpeg.extend(&bytes[2..]);
        let path = clips.path(&format!("exif{orientation}.jpg"));
        std::fs::write(&path, jpeg).unwrap();
        let wanted = by_exif(orientation, &stored);
        assert!(first_sampled(&path) == wanted, "orientation {orientation}: the model gets another picture");
        let drawn = drawn(&clips, &path);
        assert_eq!((drawn.width, drawn.height), (wanted.width, wanted.height), "orientation {orientation}");
        let db = psnr(&drawn.data, &wanted.data);
        assert!(db > 45.0, "orientation {orientation}: {db:.1} dB");
        let video = media::probe(&path).unwrap().video.unwrap();
        let shown = (video.display_width as usize, video.display_height as usize);
        assert_eq!(shown, (wanted.width, wanted.height), "orientation {orientation}");
        assert_eq!(video.mirrored, [2, 4, 5, 7].contains(&orientation), "orientation {orientation}");
    }
}

#[test]
fn films_are_turned_and_mirrored_by_their_matrix() {
    let clips = Clips::new();
    let plain = clips
        .make("plain.mp4", "-f lavfi -i testsrc2=size=96x64:rate=5:duration=1 -c:v libx264 -qp 4 -pix_fmt yuv444p");
    let bytes = std::fs::read(&plain).unwrap();
    // The track header's matrix: 40 bytes after its version and flags.
    let matrix = bytes.windows(4).position(|w| w == b"tkhd").unwrap() + 44;
    for (a, b, c, d) in
        [(0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0), (-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0)]
    {
        let mut bytes = bytes.clone();
        for (at, value) in [(0, a), (4, b), (12, c), (16, d)] {
            bytes[matrix + at..][..4].copy_from_slice(&(value * 65_536i32).to_be_bytes());
        }
        let path = clips.path("turned.mp4");
        std::fs::write(&path, bytes).unwrap();
        let ours = first_sampled(&path);
        let what = format!("matrix {a} {b} {c} {d}");
        let turned = a == 0;
        assert_eq!((ours.width, ours.height), if turned { (64, 96) } else { (96, 64) }, "{what}");
        let theirs = ffmpeg_frames(&path, "");
        let db = psnr(&ours.data, &theirs[..ours.data.len()]);
        assert!(db > 45.0, "{what}: the model's frame {db:.1} dB");
        let db = psnr(&drawn(&clips, &path).data, &theirs[..ours.data.len()]);
        assert!(db > 45.0, "{what}: the snapshot {db:.1} dB");
        let video = media::probe(&path).unwrap().video.unwrap();
        assert_eq!(video.mirrored, a * d - b * c < 0, "{what}");
    }
}

/// Fifty fields a second, woven into interlaced frames.
fn interlaced(clips: &Clips, name: &str, encoder: &str) -> PathBuf {
    let source = "-f lavfi -i testsrc2=size=96x64:rate=50:duration=2 -vf tinterlace=interleave_top,setfield=tff";
    clips.make(name, &format!("{source} {encoder}"))
}

#[test]
fn interlaced_frames_are_made_whole_one_for_one_and_the_same_after_every_seek() {
    let clips = Clips::new();
    let mut files = vec![
        interlaced(&clips, "mpeg2.ts", "-c:v mpeg2video -flags +ildct+ilme -g 12 -bf 2 -q:v 2"),
        interlaced(&clips, "h264.mp4", "-c:v libx264 -flags +ildct+ilme -x264-params tff=1 -g 12 -bf 2"),
        interlaced(&clips, "prores.mov", "-c:v prores_ks -flags +ildct+ilme"),
    ];
    // Progressive, then interlaced: only the latter is touched.
    clips.make(
        "calm.ts",
        "-f lavfi -i testsrc2=size=96x64:rate=25:duration=1 -c:v mpeg2video -g 12 -bf 2 -q:v 2 -flags +cgop -sc_threshold 1000000000",
    );
    let list = clips.path("list.ffconcat");
    std::fs::write(&list, "ffconcat version 1.0\nfile calm.ts\nfile mpeg2.ts\n").unwrap();
    let path = clips.make("both.mkv", &format!("-f concat -i {} -c copy", list.display()));
    files.push(path);
    for path in &files {
        let name = path.file_name().unwrap().to_string_lossy();
        let mixed = name == "both.mkv";
        if !mixed {
            assert!(media::probe(path).unwrap().video.unwrap().interlaced, "{name}");
        }
        let frames = all_frames(path);
        let times = probe_times(path);
        assert_eq!(frames.len(), times.len(), "{name}: one for one");
        assert!(frames.len() >= 48, "{name}: {}", frames.len());
        for ((ours, _), theirs) in frames.iter().zip(&times) {
            assert!((ours - theirs).abs() < 2e-6, "{name}: {ours} instead of {theirs}");
        }
        let mut reader = VideoReader::open(path).unwrap();
        for i in 0..60 {
            let at = i * 31 % frames.len();
            reader.seek(frames[at].0 + if i % 2 == 0 { 0.0 } else { 0.011 }).unwrap();
            for expected in frames.iter().skip(at).take(3) {
                let got = reader.next_frame().unwrap().unwrap();
                assert!((got.pts_secs() - expected.0).abs() < 1e-6, "{name}: {} not {}", got.pts_secs(), expected.0);
                assert_eq!(digest(&got), expected.1, "{name}: another picture at {}", expected.0);
            }
        }
        // The pictures are those of FFmpeg's filter, and not the woven ones.
        let (clip, _) = sample(&ClipSpec { video: Some(path.clone()), ..ClipSpec::default() }, 4.0).unwrap();
        let sampled = clip.video.unwrap();
        let whole = ffmpeg_frames(path, "bwdif=mode=send_frame:deint=interlaced,");
        let stored = ffmpeg_frames(path, "");
        let size = sampled.frames[0].data.len();
        for (image, pts) in sampled.frames.iter().zip(&sampled.pts_secs) {
            let index = frames.iter().position(|f| (f.0 - pts).abs() < 1e-6).unwrap();
            let db = |all: &[u8]| psnr(&luma(&image.data), &luma(&all[index * size..][..size]));
            // The command line's filter repeats a progressive first frame.
            let doubled = whole.len().saturating_sub(stored.len()) / size;
            let right = db(&whole[doubled * size..]);
            assert!(right > 42.0, "{name}: frame {index} is {right:.1} dB from FFmpeg's");
            let woven = db(&stored);
            if mixed && *pts < 0.9 {
                assert!(woven > 42.0, "{name}: progressive frame {index} was touched: {woven:.1} dB");
            } else {
                assert!(woven < 36.0, "{name}: frame {index} still shows both fields: {woven:.1} dB");
            }
        }
    }
}

#[test]
fn hdr_is_named_as_what_it_is() {
    let clips = Clips::new();
    for (transfer, name) in [("smpte2084", "PQ"), ("arib-std-b67", "HLG")] {
        let path = clips.make(
            &format!("{name}.mkv"),
            &format!(
                "-f lavfi -i testsrc2=size=64x48:rate=5:duration=1 -c:v ffv1 -pix_fmt yuv420p10le -color_trc {transfer} \
                 -color_primaries bt2020 -colorspace bt2020nc -color_range tv"
            ),
        );
        let video = media::probe(&path).unwrap().video.unwrap();
        assert_eq!((video.hdr, video.transfer.as_deref(), video.matrix), (Some(name), Some(transfer), "bt2020"));
        let (_, notes) = sample(&ClipSpec::original(&path), 2.0).unwrap();
        let told = notes.iter().any(|n| n.contains(&format!("HDR ({name})")) && n.contains("not tone-mapped"));
        assert!(told, "{notes:?}");
        let out = Command::new(env!("CARGO_BIN_EXE_modalens")).arg("probe").arg(&path).output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(text.contains(&format!("HDR ({name})")) && text.contains("not tone-mapped"), "{text}");
    }
    let plain = clips.make("plain.mp4", "-f lavfi -i testsrc2=size=64x48:rate=5:duration=1 -c:v libx264");
    assert_eq!(media::probe(&plain).unwrap().video.unwrap().hdr, None);
}

#[test]
fn pixels_that_are_not_square_are_shown_in_their_shape() {
    let clips = Clips::new();
    for (ratio, shown) in [("2/1", (192, 64)), ("1/2", (48, 64)), ("16/15", (102, 64))] {
        let path = clips.make(
            "wide.mp4",
            &format!(
                "-f lavfi -i testsrc2=size=96x64:rate=5:duration=1,setsar={ratio} -c:v libx264 -pix_fmt yuv444p -qp 4"
            ),
        );
        let video = media::probe(&path).unwrap().video.unwrap();
        assert_eq!((video.display_width, video.display_height), shown, "{ratio}");
        let (ours, drawn) = (first_sampled(&path), drawn(&clips, &path));
        assert_eq!((ours.width, ours.height), (shown.0 as usize, 64), "{ratio}");
        assert_eq!((drawn.width, drawn.height), (shown.0 as usize, 64), "{ratio}");
        let theirs = ffmpeg_frames(&path, &format!("scale={}:64:flags=bicubic+accurate_rnd,", shown.0));
        let db = psnr(&ours.data, &theirs[..ours.data.len()]);
        assert!(db > 38.0, "{ratio}: {db:.1} dB");
    }
}

#[test]
fn one_of_several_tracks_can_be_chosen() {
    let clips = Clips::new();
    let tone = |f: u32| format!("-f lavfi -i sine=frequency={f}:sample_rate=16000:duration=1");
    let path = clips.make(
        "tracks.mkv",
        &format!(
            "-f lavfi -i testsrc2=size=64x48:rate=5:duration=1 {} {} {} -map 0 -map 1 -map 2 -map 3 -c:v libx264 -c:a flac",
            tone(300), tone(700), tone(1500)
        ),
    );
    assert_eq!(media::probe(&path).unwrap().audio.len(), 3);
    for (track, frequency) in [300.0, 700.0, 1500.0].into_iter().enumerate() {
        let audio = modalens::clip::AudioSource::Original { track: Some(track) };
        let sound = sample(&ClipSpec { audio, ..ClipSpec::original(&path) }, 2.0).unwrap().0.audio.unwrap();
        let expected: Vec<f32> = (0..sound.samples.len())
            .map(|i| (0.125 * (std::f64::consts::TAU * frequency * i as f64 / 16_000.0).sin()) as f32)
            .collect();
        let db = error_db(&sound.samples, &expected);
        assert!(db < -50.0, "track {track}: {db:.1} dB");
    }
}
