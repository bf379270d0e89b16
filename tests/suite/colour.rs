//! Colours: `snapshot` (the real shaders on a software Vulkan) and the model's frames against FFmpeg's own conversion,
//! over layouts, depths, matrices, ranges, chroma sitings and odd sizes. Knows nothing of seeking or sound.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test by panicking")]

use std::path::Path;
use std::process::Command;

use modalens::clip::ClipSpec;
use modalens::export::snapshot::{Snapshot, snapshot};

use crate::formats::can_make;
use crate::media::{Clips, in_two, psnr, sample};

/// How a picture is stored.
#[derive(Debug, Clone, Copy)]
struct Case {
    /// FFmpeg's name of the pixel format.
    format: &'static str,
    /// Container and encoder: lossless.
    file: (&'static str, &'static str),
    /// FFmpeg's names of the matrix and the range.
    matrix: &'static str,
    range: &'static str,
    /// Chroma siting, as it is tagged and as swscale wants it (−513 = centred).
    siting: (&'static str, i32, i32),
    size: (u32, u32),
}

const FFV1: (&str, &str) = ("mkv", "ffv1");
const RAW: (&str, &str) = ("mkv", "rawvideo -allow_raw_vfw 1");
const LEFT: (&str, i32, i32) = ("left", 0, -513);
const CENTER: (&str, i32, i32) = ("center", -513, -513);
const TOP_LEFT: (&str, i32, i32) = ("topleft", 0, 0);
const EVEN: (u32, u32) = (96, 64);
const ODD: (u32, u32) = (97, 65);

impl Case {
    const fn new(format: &'static str, matrix: &'static str, range: &'static str) -> Self {
        Self { format, file: FFV1, matrix, range, siting: LEFT, size: EVEN }
    }
    const fn at(self, siting: (&'static str, i32, i32)) -> Self {
        Self { siting, ..self }
    }
    const fn odd(self) -> Self {
        Self { size: ODD, ..self }
    }
    const fn raw(self) -> Self {
        Self { file: RAW, ..self }
    }

    /// log2 of horizontal and vertical chroma subsampling.
    fn subsampling(&self) -> (u8, u8) {
        match self.format {
            f if f.contains("420") || f == "nv12" || f == "p010le" => (1, 1),
            f if f.contains("422") => (1, 0),
            f if f.contains("440") => (0, 1),
            f if f.contains("411") => (2, 0),
            f if f.contains("410") => (2, 2),
            _ => (0, 0),
        }
    }

    /// Makes the file.
    fn file(&self, clips: &Clips) -> std::path::PathBuf {
        let Self { format, file: (extension, codec), matrix, range, siting, size } = *self;
        let space = match matrix {
            "bt601" => "smpte170m",
            "bt2020" => "bt2020nc",
            other => other,
        };
        clips.make(
            &format!("{format}-{matrix}-{range}-{}-{}.{extension}", siting.0, size.0),
            &format!(
                "-f lavfi -i testsrc2=size={}x{}:rate=1 -frames:v 1 \
                 -vf format=rgb24,crop={}:{}:0:0,scale=out_color_matrix={matrix}:out_range={range}:flags=accurate_rnd+full_chroma_int+full_chroma_inp,format={format} \
                 -c:v {codec} -colorspace {space} -color_range {range} -chroma_sample_location {}",
                size.0.max(98),
                size.1.max(66),
                size.0,
                size.1,
                siting.0
            ),
        )
    }

    /// FFmpeg's own RGB of the file, told this matrix and range.
    fn reference(&self, path: &Path, matrix: &str, range: &str) -> Vec<u8> {
        let (log2_w, log2_h) = self.subsampling();
        // A position is given only in directions that are subsampled: elsewhere it would shift the plane.
        let position = |name: &str, log2: u8, at: i32| {
            if log2 > 0 && at >= 0 { format!(":in_{name}_chr_pos={at}") } else { String::new() }
        };
        let place = position("h", log2_w, self.siting.1) + &position("v", log2_h, self.siting.2);
        let convert = format!(
            "scale=flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp:in_color_matrix={matrix}:in_range={range}{place},format=rgb24"
        );
        let out = Command::new("ffmpeg")
            .args(["-v", "error", "-nostdin", "-threads", "1", "-i"])
            .arg(path)
            .args(["-vf", &convert, "-frames:v", "1", "-f", "rawvideo", "-"])
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        out.stdout
    }
}

/// RGB of a PNG.
fn read_png(path: &Path) -> ((u32, u32), Vec<u8>) {
    let mut reader =
        png::Decoder::new(std::io::BufReader::new(std::fs::File::open(path).unwrap())).read_info().unwrap();
    let mut data = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut data).unwrap();
    let channels = info.color_type.samples();
    let rgb = data.chunks_exact(channels).flat_map(|p| [p[0], p[1], p[2]]).collect();
    ((info.width, info.height), rgb)
}

/// What `modalens snapshot` draws of a file's first frame.
fn drawn(clips: &Clips, path: &Path) -> ((u32, u32), Vec<u8>) {
    let out = clips.path("snapshot.png");
    snapshot(&Snapshot { video: path.to_owned(), at_secs: 0.0, heat: None }, &out).unwrap();
    read_png(&out)
}

/// BT.709's luma of RGB, rounded: the error of brightness alone.
fn luma(rgb: &[u8]) -> Vec<u8> {
    let of = |p: &[u8]| 0.2126 * f64::from(p[0]) + 0.7152 * f64::from(p[1]) + 0.0722 * f64::from(p[2]);
    rgb.chunks_exact(3).map(|p| of(p).round() as u8).collect()
}

#[test]
fn snapshots_have_ffmpegs_colours_in_every_layout() {
    let cases = [
        // 8 bit: every subsampling, matrix, range and siting.
        Case::new("yuv444p", "bt601", "tv"),
        Case::new("yuv444p", "bt709", "tv").odd(),
        Case::new("yuv444p", "bt2020", "pc"),
        Case::new("yuv420p", "bt601", "tv"),
        Case::new("yuv420p", "bt709", "tv").odd(),
        Case::new("yuv420p", "bt709", "pc").at(CENTER),
        Case::new("yuv420p", "bt2020", "tv").at(TOP_LEFT),
        Case::new("yuv420p", "bt601", "pc").at(TOP_LEFT).odd(),
        Case::new("yuv420p", "bt601", "tv").at(CENTER).odd(),
        Case::new("yuv422p", "bt709", "tv"),
        Case::new("yuv422p", "bt601", "pc").odd(),
        Case::new("yuv440p", "bt601", "tv").at(CENTER),
        Case::new("yuv411p", "bt601", "tv").at(CENTER),
        Case::new("yuv410p", "bt601", "tv").at(CENTER),
        // 9 to 16 bit.
        Case::new("yuv420p9le", "bt709", "tv"),
        Case::new("yuv420p10le", "bt709", "tv"),
        Case::new("yuv420p10le", "bt2020", "tv").at(TOP_LEFT).odd(),
        Case::new("yuv420p10le", "bt2020", "pc").at(TOP_LEFT),
        Case::new("yuv422p10le", "bt709", "tv").odd(),
        Case::new("yuv422p10le", "bt601", "pc"),
        Case::new("yuv444p10le", "bt709", "tv"),
        Case::new("yuv444p10le", "bt2020", "pc").odd(),
        Case::new("yuv420p12le", "bt2020", "tv").at(TOP_LEFT),
        Case::new("yuv422p12le", "bt709", "tv"),
        Case::new("yuv444p12le", "bt709", "tv").odd(),
        Case::new("yuv444p12le", "bt601", "pc"),
        Case::new("yuv444p16le", "bt709", "tv"),
        // Two planes, packed samples.
        Case::new("nv12", "bt601", "tv").raw(),
        Case::new("nv12", "bt709", "tv").raw().odd(),
        Case::new("yuyv422", "bt601", "tv").raw(),
        Case::new("uyvy422", "bt709", "tv").raw(),
        // Gray.
        Case::new("gray", "bt601", "pc").odd(),
        Case::new("gray", "bt601", "tv"),
        Case::new("gray10le", "bt601", "tv").odd(),
        Case::new("gray12le", "bt601", "pc"),
        Case::new("gray16le", "bt709", "tv"),
        // RGB, also with alpha and more than 8 bits, and a palette.
        Case::new("gbrp", "bt601", "pc").odd(),
        Case::new("gbrp10le", "bt601", "pc"),
        Case::new("gbrp12le", "bt601", "pc").odd(),
        Case::new("bgr0", "bt601", "pc"),
        Case::new("bgra", "bt601", "pc"),
        Case::new("rgb48le", "bt601", "pc").odd(),
        Case { file: ("png", "png"), ..Case::new("rgb24", "bt601", "pc").odd() },
        Case { file: ("png", "png"), ..Case::new("pal8", "bt601", "pc") },
        Case { file: ("png", "png"), ..Case::new("monob", "bt601", "pc").odd() },
        Case { file: ("gif", "gif"), ..Case::new("rgb8", "bt601", "pc").odd() },
    ];
    let wrong = in_two(&cases, compare);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whatever an encoder has made of the picture, it is decoded to what FFmpeg decodes it to, tagged or not.
#[test]
fn snapshots_have_ffmpegs_colours_of_every_codec() {
    let as_made = |format, matrix, range, file| Case { file, ..Case::new(format, matrix, range) };
    // Some encoders know only the rates of television; of one picture a rate says nothing.
    let cases = [
        ("libx264", as_made("yuv420p", "bt709", "tv", ("mp4", "libx264"))),
        ("libx264", as_made("yuv444p", "bt601", "pc", ("mkv", "libx264"))),
        ("libx264", as_made("yuv422p10le", "bt709", "tv", ("mp4", "libx264"))),
        ("libx265", as_made("yuv420p", "bt601", "tv", ("mp4", "libx265 -x265-params log-level=none"))),
        ("libx265", as_made("yuv420p10le", "bt2020", "tv", ("mkv", "libx265 -x265-params log-level=none"))),
        ("libvpx", as_made("yuv420p", "bt601", "tv", ("webm", "libvpx"))),
        ("libvpx-vp9", as_made("yuv420p", "bt709", "tv", ("webm", "libvpx-vp9"))),
        ("libvpx-vp9", as_made("yuv444p", "bt601", "tv", ("webm", "libvpx-vp9"))),
        ("libvpx-vp9", as_made("yuv420p10le", "bt709", "pc", ("webm", "libvpx-vp9"))),
        ("libvpx-vp9", as_made("yuv420p", "bt601", "tv", ("ivf", "libvpx-vp9"))),
        ("libaom-av1", as_made("yuv420p", "bt709", "tv", ("mp4", "libaom-av1 -cpu-used 8 -usage realtime"))),
        ("libsvtav1", as_made("yuv420p10le", "bt709", "tv", ("mkv", "libsvtav1 -preset 12"))),
        ("mpeg1video", as_made("yuv420p", "bt601", "tv", ("mpg", "mpeg1video -r 25 -q:v 3")).at(CENTER)),
        ("mpeg2video", as_made("yuv420p", "bt601", "tv", ("ts", "mpeg2video -r 25 -q:v 3"))),
        ("mpeg2video", as_made("yuv422p", "bt709", "tv", ("mxf", "mpeg2video -r 25 -q:v 3"))),
        ("mpeg4", as_made("yuv420p", "bt601", "tv", ("avi", "mpeg4 -r 25 -q:v 3"))),
        ("prores_ks", as_made("yuv422p10le", "bt601", "tv", ("mov", "prores_ks"))),
        ("prores_ks", as_made("yuv444p10le", "bt601", "tv", ("mov", "prores_ks"))),
        ("prores_ks", as_made("yuva444p10le", "bt601", "tv", ("mov", "prores_ks"))),
        ("dnxhd", Case { size: (256, 128), ..as_made("yuv422p", "bt709", "tv", ("mov", "dnxhd -profile:v dnxhr_sq")) }),
        ("libtheora", as_made("yuv420p", "bt601", "tv", ("ogv", "libtheora -r 25")).at(CENTER)),
        ("mjpeg", as_made("yuvj420p", "bt601", "pc", ("avi", "mjpeg -q:v 2")).at(CENTER)),
        ("mjpeg", as_made("yuvj422p", "bt601", "pc", ("mov", "mjpeg -q:v 2")).at(CENTER)),
        ("mjpeg", as_made("yuvj444p", "bt601", "pc", ("avi", "mjpeg -q:v 2")).at(CENTER)),
        ("huffyuv", as_made("yuv422p", "bt601", "tv", ("avi", "huffyuv"))),
        ("flv", as_made("yuv420p", "bt601", "tv", ("flv", "flv -r 25"))),
        ("wmv2", as_made("yuv420p", "bt601", "tv", ("wmv", "wmv2 -r 25 -q:v 3"))),
        ("rawvideo", as_made("yuv420p", "bt601", "tv", ("nut", "rawvideo"))),
        ("wrapped_avframe", as_made("yuv420p", "bt601", "tv", ("y4m", "wrapped_avframe"))),
        ("apng", as_made("rgb24", "bt601", "pc", ("png", "apng -f apng -plays 1"))),
        ("qtrle", as_made("argb", "bt601", "pc", ("mov", "qtrle"))),
    ];
    let cases: Vec<Case> =
        cases.into_iter().filter(|(encoder, case)| can_make(case.file.1, &[encoder])).map(|(_, case)| case).collect();
    let wrong = in_two(&cases, compare);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Which of these cases differ too much, in words.
fn compare(cases: &[Case]) -> Vec<String> {
    let clips = Clips::new();
    let mut wrong = Vec::new();
    for case in cases {
        let path = if case.format == "pal8" { palette(&clips) } else { case.file(&clips) };
        let theirs = case.reference(&path, case.matrix, case.range);
        let (size, ours) = drawn(&clips, &path);
        assert_eq!(size, case.size, "{case:?}");
        // What is shown is what a model is given.
        let only = ClipSpec { video: Some(path), ..ClipSpec::default() };
        let given = sample(&only, 1.0).unwrap().0.video.unwrap();
        let given = psnr(&given.frames[0].data, &theirs);
        let (bright, all) = (psnr(&luma(&ours), &luma(&theirs)), psnr(&ours, &theirs));
        let wanted = if case.subsampling() == (0, 0) { 45.0 } else { 38.0 };
        if bright < 45.0 || all < wanted || given < 45.0 {
            wrong.push(format!("{case:?}: luma {bright:.1} dB, all {all:.1} dB, the model's {given:.1} dB"));
        }
    }
    wrong
}

/// A picture with a palette, made of the test picture's own colours.
fn palette(clips: &Clips) -> std::path::PathBuf {
    let turn = "split[a][b];[a]palettegen[p];[b][p]paletteuse";
    clips.make("palette.png", &format!("-f lavfi -i testsrc2=size=96x64:rate=1:duration=1 -vf {turn} -frames:v 1"))
}

#[test]
fn another_matrix_range_or_siting_is_seen() {
    // The comparison above means something only if it fails for the wrong colours.
    let clips = Clips::new();
    for case in [Case::new("yuv444p", "bt709", "tv"), Case::new("yuv420p", "bt601", "pc")] {
        let path = case.file(&clips);
        let (_, ours) = drawn(&clips, &path);
        for (matrix, range) in [("bt601", "tv"), ("bt709", "tv"), ("bt2020", "tv"), ("bt601", "pc"), ("bt709", "pc")] {
            let db = psnr(&ours, &case.reference(&path, matrix, range));
            if (matrix, range) == (case.matrix, case.range) {
                assert!(db > 45.0, "{case:?} against {matrix} {range}: {db:.1} dB");
            } else {
                assert!(db < 40.0, "{case:?} against {matrix} {range}: {db:.1} dB");
            }
        }
    }
    let case = Case::new("yuv420p", "bt601", "tv").at(TOP_LEFT);
    let path = case.file(&clips);
    let (_, ours) = drawn(&clips, &path);
    let right = psnr(&ours, &case.reference(&path, "bt601", "tv"));
    let wrong = psnr(&ours, &case.at(CENTER).reference(&path, "bt601", "tv"));
    assert!(right > 45.0 && wrong < 38.0, "{right:.1} and {wrong:.1} dB");
}

#[test]
fn the_command_draws_the_same_picture() {
    let clips = Clips::new();
    let case = Case::new("yuv420p", "bt709", "tv").odd();
    let path = case.file(&clips);
    let out = clips.path("by-command.png");
    let status = Command::new(env!("CARGO_BIN_EXE_modalens"))
        .arg("snapshot")
        .arg("--video")
        .arg(&path)
        .args(["--at", "0", "--out"])
        .arg(&out)
        .output()
        .unwrap();
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    assert!(read_png(&out) == drawn(&clips, &path));
}
