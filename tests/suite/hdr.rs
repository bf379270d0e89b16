//! High dynamic range: the shader's tone mapping beside its twin and beside FFmpeg's own filters, where this FFmpeg has
//! them; and that what the model is given stays as it is stored. Knows nothing of how ordinary pictures are drawn (see
//! `shaders` and `colour`).

use std::process::Command;

use modalens::clip::{ClipSpec, FrameEdit};
use modalens::export::overlay::Overlay;
use modalens::export::snapshot::{Snapshot, snapshot};
use modalens::frame::{ChromaSiting, ColorInfo, Hdr, HdrTransfer, Matrix, PixelLayout, Plane, Planes, Primaries};
use modalens::gpu::Headless;
use modalens::gpu::video::tone_mapped;
use modalens::media::{ManualOutput, Output, Playback, VideoReader};
use modalens::settings::Sampling;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::formats::can_make;
use crate::media::{Clips, psnr, sample};

const SIDE: u32 = 64;

/// RGB codes as they are, with what they mean.
struct Codes {
    rgba: Vec<u8>,
    hdr: Option<Hdr>,
}

impl Planes for Codes {
    fn size(&self) -> [u32; 2] {
        [SIDE, SIDE]
    }
    fn layout(&self) -> PixelLayout {
        PixelLayout::Rgba8
    }
    fn color(&self) -> ColorInfo {
        ColorInfo { matrix: Matrix::Bt2020, full_range: true, siting: ChromaSiting::Center }
    }
    fn planes(&self) -> Vec<Plane<'_>> {
        vec![Plane { data: &self.rgba, stride: SIDE as usize * 4, width: SIDE, height: SIDE }]
    }
    fn pts_secs(&self) -> f64 {
        0.0
    }
    fn rotation_degrees(&self) -> u16 {
        0
    }
    fn hdr(&self) -> Option<Hdr> {
        self.hdr
    }
    fn pixel_aspect(&self) -> f64 {
        1.0
    }
}

#[test]
fn the_shader_tone_maps_as_its_twin() {
    let mut gpu = Headless::new().unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut rgba: Vec<u8> = (0..SIDE * SIDE).flat_map(|_| [rng.random(), rng.random(), rng.random(), 255]).collect();
    // Grays, too.
    for (i, pixel) in rgba.chunks_exact_mut(4).take(256).enumerate() {
        pixel[..3].fill(i as u8);
    }
    let ordinary = gpu.render_rgba(&Codes { rgba: rgba.clone(), hdr: None }, None, [SIDE, SIDE]).unwrap();
    assert_eq!(ordinary, rgba, "an ordinary picture is not touched");
    for transfer in [HdrTransfer::Pq, HdrTransfer::Hlg] {
        for primaries in [Primaries::Bt709, Primaries::Bt2020, Primaries::P3] {
            for peak_nits in [400.0, 1_000.0, 4_000.0] {
                let hdr = Hdr { transfer, primaries, peak_nits };
                let codes = Codes { rgba: rgba.clone(), hdr: Some(hdr) };
                let got = gpu.render_rgba(&codes, None, [SIDE, SIDE]).unwrap();
                for (got, code) in got.chunks_exact(4).zip(rgba.chunks_exact(4)) {
                    let code: [f32; 3] = std::array::from_fn(|i| f32::from(code[i]) / 255.0);
                    for (got, want) in got.iter().zip(tone_mapped(code, hdr)) {
                        let error = f32::from(*got) - want * 255.0;
                        assert!(error.abs() < 1.2, "{hdr:?} {code:?}: {got} for {}", want * 255.0);
                    }
                }
            }
        }
    }
}

/// Codes that are colours: beyond red, green and blue in 0…1, which no camera gives, FFmpeg's filters go on and we clip.
const INSIDE: &str = "-vf format=yuv444p,eq=saturation=0.5:contrast=0.7 -c:v ffv1 -pix_fmt yuv444p10le";

fn make(clips: &Clips, name: &str, transfer: &str, more: &str) -> std::path::PathBuf {
    let picture = "-f lavfi -i testsrc2=size=160x120:rate=5:duration=1";
    let tags = format!("-color_trc {transfer} -color_primaries bt2020 -colorspace bt2020nc -color_range tv");
    clips.make(name, &format!("{picture} {more} {tags}"))
}

/// RGB of the first frame through a chain of FFmpeg's filters; `None` where this FFmpeg lacks one of them.
fn by_ffmpeg(path: &std::path::Path, filters: &str) -> Option<Vec<u8>> {
    let list = Command::new("ffmpeg").args(["-hide_banner", "-filters"]).output().unwrap().stdout;
    let list = String::from_utf8_lossy(&list);
    if !["zscale", "tonemap"].iter().all(|name| list.lines().any(|l| l.split_whitespace().nth(1) == Some(name))) {
        eprintln!("this ffmpeg has no zscale or tonemap: compared with the twin only");
        return None;
    }
    let out = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(path)
        .args(["-frames:v", "1", "-vf", filters, "-f", "rawvideo", "-"])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Some(out.stdout)
}

fn rgb(path: &std::path::Path) -> Vec<u8> {
    by_ffmpeg_plain(path, "format=rgb24")
}

fn by_ffmpeg_plain(path: &std::path::Path, filters: &str) -> Vec<u8> {
    let args = ["-frames:v", "1", "-vf", filters, "-f", "rawvideo", "-"];
    Command::new("ffmpeg").args(["-v", "error", "-nostdin", "-i"]).arg(path).args(args).output().unwrap().stdout
}

#[test]
fn pictures_look_as_ffmpegs_tone_mapping_makes_them() {
    let clips = Clips::new();
    for transfer in ["smpte2084", "arib-std-b67"] {
        let path = make(&clips, &format!("{transfer}.mkv"), transfer, INSIDE);
        let png = clips.path("snapshot.png");
        snapshot(&Snapshot { video: path.clone(), at_secs: 0.0, heat: None }, &png).unwrap();
        let ours = rgb(&png);
        // agamma=0: HLG's display light by luminance, as BT.2100 has it.
        let chain = format!(
            "zscale=tin={transfer}:pin=2020:min=2020_ncl:rin=limited:t=linear:npl=100:agamma=0,format=gbrpf32le,\
             zscale=p=709:agamma=0,tonemap=hable:desat=0:peak=10,zscale=t=709:r=full:agamma=0,format=gbrp,format=rgb24"
        );
        if let Some(theirs) = by_ffmpeg(&path, &chain) {
            let db = psnr(&ours, &theirs);
            assert!(db > 60.0, "{transfer}: {db:.1} dB from FFmpeg's");
        }
        // Not as it is stored, which is what the model gets.
        let (clip, notes) = sample(&ClipSpec::original(&path), 2.0).unwrap();
        let given = &clip.video.unwrap().frames[0].data;
        let stored = by_ffmpeg_plain(
            &path,
            "scale=in_color_matrix=bt2020:in_range=tv:out_range=pc:flags=accurate_rnd+full_chroma_int,format=rgb24",
        );
        assert!(psnr(given, &stored) > 45.0, "the model gets the codes: {:.1} dB", psnr(given, &stored));
        assert!(psnr(given, &ours) < 25.0, "what is shown is something else: {:.1} dB", psnr(given, &ours));
        assert!(notes.iter().any(|n| n.contains("shown tone-mapped") && n.contains("not tone-mapped")), "{notes:?}");
    }
}

/// The brightest light is what the file says, and what is shuffled, played or exported is tone-mapped like the rest.
#[test]
fn every_way_to_the_screen_knows_the_range() {
    let clips = Clips::new();
    if !can_make("cll.mp4", &["libx265"]) {
        return;
    }
    let x265 = "-c:v libx265 -pix_fmt yuv420p10le -x265-params log-level=none:hdr10=1:repeat-headers=1:max-cll=";
    for (said, peak) in [("600,200", 600.0), ("0,0", 1_000.0)] {
        let path = make(&clips, "cll.mp4", "smpte2084", &format!("{x265}{said}"));
        let frame = VideoReader::open(&path).unwrap().next_frame().unwrap().unwrap();
        let hdr = frame.hdr().unwrap();
        assert_eq!(hdr, Hdr { transfer: HdrTransfer::Pq, primaries: Primaries::Bt2020, peak_nits: peak });
    }
    let path = clips.path("cll.mp4");
    let light = VideoReader::open(&path).unwrap().next_frame().unwrap().unwrap().hdr();
    assert!(light.is_some());
    for frames in [FrameEdit::Keep, FrameEdit::Freeze, FrameEdit::Reverse] {
        let clip = ClipSpec { video: Some(path.clone()), frames, ..ClipSpec::default() };
        let (tell, told) = std::sync::mpsc::channel();
        let output = Output::Manual(ManualOutput::default());
        let playback =
            Playback::start_on(clip.clone(), Sampling::default(), output, move |e| drop(tell.send(e))).unwrap();
        let frame = loop {
            if let Some(frame) = playback.frame_at(0.0) {
                break frame;
            }
            told.recv().unwrap();
        };
        assert_eq!(frame.hdr(), light, "{frames:?}");
        // The overlay video shows what a snapshot shows: light, not codes.
        let sampling = Sampling::default();
        let what = Overlay { clip: &clip, sampling: &sampling, map: None, span: None };
        let (_, rgba) = what.write(&clips.path("out.mp4"), None, &|| false, &mut |_| {}).unwrap();
        let drawn = Headless::new().unwrap().render_rgba(&*frame, None, [160, 120]).unwrap();
        assert!(psnr(&rgba, &drawn) > 45.0, "{frames:?}: {:.1} dB", psnr(&rgba, &drawn));
    }
}
