//! The shaders against plain Rust: every .wgsl parses and validates, uniforms have the sizes the shaders expect,
//! colours come out as the standards say, overlays and lanes as their twins compute. Needs a Vulkan driver
//! (a software one is enough); knows nothing of windows.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock};

use modalens::frame::{ChromaSiting, ColorInfo, Matrix, PixelLayout, Plane, Planes};
use modalens::gpu::colormap::{ColorMap, Modality};
use modalens::gpu::headless::HEADLESS_FORMAT;
use modalens::gpu::overlay::OverlayUniform;
use modalens::gpu::strip::{Background, StripUniform};
use modalens::gpu::video::VideoUniform;
use modalens::gpu::{self, GpuError, Headless, OverlayFrame, OverlayStyle, StripFrame, StripRenderer};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

fn headless() -> MutexGuard<'static, Headless> {
    static DEVICE: OnceLock<Mutex<Headless>> = OnceLock::new();
    let device = DEVICE.get_or_init(|| Mutex::new(Headless::new().unwrap_or_else(|e| panic!("{e}"))));
    device.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

struct Picture {
    size: [u32; 2],
    layout: PixelLayout,
    color: ColorInfo,
    planes: Vec<(Vec<u8>, usize, [u32; 2])>,
    rotation: u16,
    mirrored: bool,
    aspect: f64,
}

impl Planes for Picture {
    fn size(&self) -> [u32; 2] {
        self.size
    }
    fn layout(&self) -> PixelLayout {
        self.layout
    }
    fn color(&self) -> ColorInfo {
        self.color
    }
    fn planes(&self) -> Vec<Plane<'_>> {
        self.planes
            .iter()
            .map(|(data, stride, [width, height])| Plane { data, stride: *stride, width: *width, height: *height })
            .collect()
    }
    fn pts_secs(&self) -> f64 {
        0.0
    }
    fn rotation_degrees(&self) -> u16 {
        self.rotation
    }
    fn mirrored(&self) -> bool {
        self.mirrored
    }
    fn pixel_aspect(&self) -> f64 {
        self.aspect
    }
}

/// A plane of random samples of `bits`, rows padded by an odd number of samples to try the stride.
fn noise(rng: &mut ChaCha8Rng, [w, h]: [u32; 2], bits: u8) -> (Vec<u8>, usize, [u32; 2]) {
    let bytes = if bits > 8 { 2 } else { 1 };
    let stride = (w as usize + 3) * bytes;
    let mut data = vec![0xAA; stride * h as usize];
    for y in 0..h as usize {
        for x in 0..w as usize {
            let sample: u32 = rng.random_range(0..1u32 << bits);
            let at = y * stride + x * bytes;
            data[at..at + bytes].copy_from_slice(&sample.to_le_bytes()[..bytes]);
        }
    }
    (data, stride, [w, h])
}

fn sample(plane: &(Vec<u8>, usize, [u32; 2]), x: i64, y: i64, bits: u8) -> f64 {
    let [w, h] = plane.2;
    let (x, y) = (x.clamp(0, i64::from(w) - 1) as usize, y.clamp(0, i64::from(h) - 1) as usize);
    let bytes = if bits > 8 { 2 } else { 1 };
    let at = y * plane.1 + x * bytes;
    plane.0[at..at + bytes].iter().rev().fold(0.0, |v, b| v * 256.0 + f64::from(*b))
}

/// Bilinear sample at a position in samples (sample i is centred on i + 0.5).
fn bilinear(plane: &(Vec<u8>, usize, [u32; 2]), x: f64, y: f64, bits: u8) -> f64 {
    let (x, y) = (x - 0.5, y - 0.5);
    let (x0, y0) = (x.floor(), y.floor());
    let (fx, fy) = (x - x0, y - y0);
    let at = |dx: i64, dy: i64| sample(plane, x0 as i64 + dx, y0 as i64 + dy, bits);
    (at(0, 0) * (1.0 - fx) + at(1, 0) * fx) * (1.0 - fy) + (at(0, 1) * (1.0 - fx) + at(1, 1) * fx) * fy
}

/// Bicubic sample (a = −0.6) at a position in samples.
fn bicubic(plane: &(Vec<u8>, usize, [u32; 2]), x: f64, y: f64, bits: u8) -> f64 {
    let kernel = |d: f64| {
        let (a, d) = (-0.6, d.abs());
        if d < 1.0 {
            (a + 2.0) * d.powi(3) - (a + 3.0) * d.powi(2) + 1.0
        } else {
            a * (d.powi(3) - 5.0 * d.powi(2) + 8.0 * d - 4.0)
        }
    };
    let (x, y) = (x - 0.5, y - 0.5);
    let (x0, y0) = (x.floor(), y.floor());
    let mut sum = 0.0;
    for dy in -1..=2 {
        for dx in -1..=2 {
            let weight = kernel(x - x0 - f64::from(dx)) * kernel(y - y0 - f64::from(dy));
            sum += weight * sample(plane, x0 as i64 + i64::from(dx), y0 as i64 + i64::from(dy), bits);
        }
    }
    sum
}

/// The textbook conversion (BT.601-7 / BT.709-6 / BT.2020-2), 8-bit RGB out.
fn rgb_of(y: f64, u: f64, v: f64, bits: u8, color: ColorInfo) -> [f64; 3] {
    let unit = f64::from(1u32 << (bits - 8));
    let top = f64::from(1u32 << bits) - 1.0;
    let (y, cb, cr) = if color.full_range {
        (y / top, (u - 128.0 * unit) / top, (v - 128.0 * unit) / top)
    } else {
        ((y / unit - 16.0) / 219.0, (u / unit - 128.0) / 224.0, (v / unit - 128.0) / 224.0)
    };
    let (kr, kb) = match color.matrix {
        Matrix::Bt601 => (0.299, 0.114),
        Matrix::Bt709 => (0.2126, 0.0722),
        Matrix::Bt2020 => (0.2627, 0.0593),
    };
    let r = y + 2.0 * (1.0 - kr) * cr;
    let b = y + 2.0 * (1.0 - kb) * cb;
    let g = (y - kr * r - kb * b) / (1.0 - kr - kb);
    [r, g, b].map(|c| c.clamp(0.0, 1.0) * 255.0)
}

fn assert_close(got: &[u8], want: impl Fn(usize, usize) -> [f64; 3], [w, h]: [u32; 2], tolerance: f64, what: &str) {
    for y in 0..h as usize {
        for x in 0..w as usize {
            let pixel = &got[(y * w as usize + x) * 4..][..4];
            let want = want(x, y);
            for c in 0..3 {
                let error = (f64::from(pixel[c]) - want[c]).abs();
                assert!(error <= tolerance, "{what}: pixel ({x}, {y}) channel {c}: {} for {:.2}", pixel[c], want[c]);
            }
            assert_eq!(pixel[3], 255, "{what}: alpha");
        }
    }
}

#[test]
fn every_shader_parses_and_validates() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "wgsl") {
            continue;
        }
        let own = std::fs::read_to_string(&path).unwrap();
        let common = path.file_stem().is_some_and(|s| s == "common");
        let source = if common { own } else { format!("{}\n{own}", gpu::COMMON_WGSL) };
        validated(&path.display().to_string(), &source);
        seen += 1;
    }
    assert!(seen >= 4, "found only {seen} shaders");
}

fn validated(name: &str, source: &str) -> naga::Module {
    let module =
        naga::front::wgsl::parse_str(source).unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(source)));
    let mut validator =
        naga::valid::Validator::new(naga::valid::ValidationFlags::all(), naga::valid::Capabilities::empty());
    validator.validate(&module).unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(source)));
    module
}

/// Name, offset of each member, and the size of a struct in a shader.
fn layout_of(source: &str, name: &str) -> (Vec<(String, u32)>, u32) {
    let module = validated(name, &format!("{}\n{source}", gpu::COMMON_WGSL));
    let found = module.types.iter().find(|(_, t)| t.name.as_deref() == Some(name)).map(|(_, t)| &t.inner);
    let Some(naga::TypeInner::Struct { members, span }) = found else { panic!("no struct {name}") };
    (members.iter().map(|m| (m.name.clone().unwrap_or_default(), m.offset)).collect(), *span)
}

macro_rules! assert_same_layout {
    ($source:expr, $name:literal, $rust:ty { $($field:ident),+ $(,)? }) => {{
        let (members, span) = layout_of($source, $name);
        let rust = vec![$((stringify!($field).to_string(), std::mem::offset_of!($rust, $field) as u32)),+];
        assert_eq!(members, rust, "members of {}", $name);
        assert_eq!(span as usize, std::mem::size_of::<$rust>(), "size of {}", $name);
    }};
}

#[test]
fn uniforms_have_the_layout_of_their_shaders() {
    assert_same_layout!(
        gpu::VIDEO_WGSL,
        "Video",
        VideoUniform {
            rgb_from_yuv,
            source_from_display,
            size,
            chroma_scale,
            chroma_offset,
            kind,
            taps,
            gamut,
            transfer,
            peak,
            unused
        }
    );
    assert_same_layout!(
        gpu::OVERLAY_WGSL,
        "Overlay",
        OverlayUniform { grid, pixels, scale, gamma, opacity, floor, unused, interpolate, lines, contour, colors }
    );
    assert_same_layout!(
        gpu::STRIP_WGSL,
        "Strip",
        StripUniform { ground, signal, columns, rows, scale, gamma, opacity, pixels_high, mode, unused, colors }
    );
}

#[test]
fn every_matrix_range_and_depth_converts_as_the_standard_says() {
    let mut gpu = headless();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let size = [37, 11];
    for matrix in [Matrix::Bt601, Matrix::Bt709, Matrix::Bt2020] {
        for full_range in [false, true] {
            for bits in [8u8, 10, 12, 16] {
                let color = ColorInfo { matrix, full_range, siting: ChromaSiting::Left };
                let planes: Vec<_> = (0..3).map(|_| noise(&mut rng, size, bits)).collect();
                let layout = PixelLayout::Yuv { log2_chroma_w: 0, log2_chroma_h: 0, bits };
                let picture = Picture { size, layout, color, planes, rotation: 0, mirrored: false, aspect: 1.0 };
                let got = gpu.render_rgba(&picture, None, size).unwrap();
                let want = |x: usize, y: usize| {
                    let at = |p: usize| sample(&picture.planes[p], x as i64, y as i64, bits);
                    rgb_of(at(0), at(1), at(2), bits, color)
                };
                // Half a level of rounding, and a little for f32 coordinates.
                assert_close(&got, want, size, 0.56, &format!("{color:?} {bits} bits"));
            }
        }
    }
}

#[test]
fn subsampled_chroma_is_interpolated_at_its_siting() {
    let mut gpu = headless();
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    // Odd, so that chroma rounds up and is spread over the luma plane, as FFmpeg's scaler does it; and even.
    for (size, cubic) in [([21u32, 13u32], true), ([21, 13], false), ([24, 16], true)] {
        gpu.set_cubic_chroma(cubic);
        for siting in [ChromaSiting::Left, ChromaSiting::Center, ChromaSiting::TopLeft] {
            for (log2_w, log2_h) in [(1u8, 1u8), (1, 0), (2, 0), (0, 1)] {
                for bits in [8u8, 10] {
                    let color = ColorInfo { matrix: Matrix::Bt709, full_range: false, siting };
                    let chroma = [size[0].div_ceil(1 << log2_w), size[1].div_ceil(1 << log2_h)];
                    let planes =
                        vec![noise(&mut rng, size, bits), noise(&mut rng, chroma, bits), noise(&mut rng, chroma, bits)];
                    let layout = PixelLayout::Yuv { log2_chroma_w: log2_w, log2_chroma_h: log2_h, bits };
                    let picture = Picture { size, layout, color, planes, rotation: 0, mirrored: false, aspect: 1.0 };
                    let got = gpu.render_rgba(&picture, None, size).unwrap();
                    let want = |x: usize, y: usize| {
                        // A cosited sample lies on the first luma sample of its own, a centred one in their middle.
                        let axis = |i: usize, d: usize, log2: u8, cosited: bool| {
                            let s = f64::from(size[d]) / f64::from(chroma[d]);
                            let first = 0.5 / f64::from(1u32 << log2);
                            (i as f64 + 0.5) / s + if cosited { 0.5 - first } else { 0.0 }
                        };
                        let cx = axis(x, 0, log2_w, siting != ChromaSiting::Center);
                        let cy = axis(y, 1, log2_h, siting == ChromaSiting::TopLeft);
                        let luma = sample(&picture.planes[0], x as i64, y as i64, bits);
                        let kernel = if cubic { bicubic } else { bilinear };
                        let c = |p: usize| kernel(&picture.planes[p], cx, cy, bits);
                        rgb_of(luma, c(1), c(2), bits, color)
                    };
                    let what = format!("{siting:?} {log2_w}:{log2_h} {bits} bits, bicubic {cubic}");
                    assert_close(&got, want, size, 0.6, &what);
                }
            }
        }
    }
    gpu.set_cubic_chroma(true);
}

#[test]
fn nv12_gray_and_rgba_take_their_own_paths() {
    let mut gpu = headless();
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let size = [18, 10];
    let color = ColorInfo { matrix: Matrix::Bt601, full_range: false, siting: ChromaSiting::Left };

    // NV12 is three planes with the last two interleaved: both must draw the same.
    let (y, u, v) = (noise(&mut rng, size, 8), noise(&mut rng, [9, 5], 8), noise(&mut rng, [9, 5], 8));
    let mut pairs = Vec::new();
    for row in 0..5 {
        for col in 0..9 {
            pairs.extend([u.0[row * u.1 + col], v.0[row * v.1 + col]]);
        }
    }
    let layout = PixelLayout::Yuv { log2_chroma_w: 1, log2_chroma_h: 1, bits: 8 };
    let planar =
        Picture { size, layout, color, planes: vec![y.clone(), u, v], rotation: 0, mirrored: false, aspect: 1.0 };
    let nv12 = Picture {
        size,
        layout: PixelLayout::Nv12,
        color,
        planes: vec![y, (pairs, 18, [9, 5])],
        rotation: 0,
        mirrored: false,
        aspect: 1.0,
    };
    let want = gpu.render_rgba(&planar, None, size).unwrap();
    assert_eq!(gpu.render_rgba(&nv12, None, size).unwrap(), want);

    for bits in [8u8, 16] {
        for full_range in [false, true] {
            let color = ColorInfo { full_range, ..color };
            let planes = vec![noise(&mut rng, size, bits)];
            let gray = Picture {
                size,
                layout: PixelLayout::Gray { bits },
                color,
                planes,
                rotation: 0,
                mirrored: false,
                aspect: 1.0,
            };
            let got = gpu.render_rgba(&gray, None, size).unwrap();
            let middle = f64::from(128u32 << (bits - 8));
            let want = |x: usize, y: usize| {
                rgb_of(sample(&gray.planes[0], x as i64, y as i64, bits), middle, middle, bits, color)
            };
            assert_close(&got, want, size, 0.56, &format!("gray {bits} bits, full range {full_range}"));
        }
    }

    let bytes: Vec<u8> = (0..18 * 10 * 4).map(|_| rng.random()).collect();
    let rgba = Picture {
        size,
        layout: PixelLayout::Rgba8,
        color,
        planes: vec![(bytes.clone(), 72, size)],
        rotation: 0,
        mirrored: false,
        aspect: 1.0,
    };
    let got = gpu.render_rgba(&rgba, None, size).unwrap();
    let want = |x: usize, y: usize| {
        let at = (y * 18 + x) * 4;
        [bytes[at], bytes[at + 1], bytes[at + 2]].map(f64::from)
    };
    assert_close(&got, want, size, 0.1, "rgba");
}

#[test]
fn rotation_turns_clockwise() {
    let mut gpu = headless();
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let [w, h] = [6u32, 4u32];
    let color = ColorInfo { matrix: Matrix::Bt709, full_range: true, siting: ChromaSiting::Left };
    let plane = noise(&mut rng, [w, h], 8);
    for (rotation, mirrored) in [0u16, 90, 180, 270].into_iter().flat_map(|r| [(r, false), (r, true)]) {
        let layout = PixelLayout::Gray { bits: 8 };
        let planes = vec![plane.clone()];
        let picture = Picture { size: [w, h], layout, color, planes, rotation, mirrored, aspect: 1.0 };
        let shown = modalens::frame::display_size(&picture);
        let got = gpu.render_rgba(&picture, None, shown).unwrap();
        let (lx, ly) = (w as usize - 1, h as usize - 1);
        let want = |x: usize, y: usize| {
            let (sx, sy) = match rotation {
                0 => (x, y),
                90 => (y, ly - x), // the top-left sample ends up at the top right
                180 => (lx - x, ly - y),
                _ => (lx - y, x),
            };
            let sx = if mirrored { lx - sx } else { sx };
            [sample(&plane, sx as i64, sy as i64, 8); 3]
        };
        assert_close(&got, want, shown, 0.56, &format!("rotated by {rotation}, mirrored {mirrored}"));
    }
}

#[test]
fn a_shrunk_picture_is_averaged_not_skipped() {
    // One-pixel stripes shrunk by 8 must become gray; skipping samples would give black or white.
    let mut gpu = headless();
    let size = [256u32, 64u32];
    let data: Vec<u8> = (0..256 * 64).map(|i| if i % 2 == 0 { 0 } else { 255 }).collect();
    let color = ColorInfo { matrix: Matrix::Bt709, full_range: true, siting: ChromaSiting::Left };
    let layout = PixelLayout::Gray { bits: 8 };
    let picture =
        Picture { size, layout, color, planes: vec![(data, 256, size)], rotation: 0, mirrored: false, aspect: 1.0 };
    let got = gpu.render_rgba(&picture, None, [32, 8]).unwrap();
    assert_close(&got, |_, _| [127.5; 3], [32, 8], 2.0, "stripes");
}

#[test]
fn a_picture_beyond_the_texture_limit_is_thinned_out_and_keeps_its_place() {
    let mut gpu = headless();
    let limit = gpu.device().limits().max_texture_dimension_2d;
    let size = [limit * 2 - 2, 2];
    // Left half dark, right half bright.
    let data: Vec<u8> = (0..2).flat_map(|_| (0..size[0]).map(|x| if x < size[0] / 2 { 10 } else { 200 })).collect();
    let color = ColorInfo { matrix: Matrix::Bt709, full_range: true, siting: ChromaSiting::Left };
    let layout = PixelLayout::Gray { bits: 8 };
    let stride = size[0] as usize;
    let picture =
        Picture { size, layout, color, planes: vec![(data, stride, size)], rotation: 0, mirrored: false, aspect: 1.0 };
    let got = gpu.render_rgba(&picture, None, [16, 1]).unwrap();
    assert_close(&got, |x, _| if x < 8 { [10.0; 3] } else { [200.0; 3] }, [16, 1], 0.6, "thinned");
}

#[test]
fn unusable_pictures_and_targets_are_errors_not_panics() {
    let mut gpu = headless();
    let color = ColorInfo { matrix: Matrix::Bt709, full_range: true, siting: ChromaSiting::Left };
    let gray = |size: [u32; 2], data: Vec<u8>, stride: usize| Picture {
        size,
        layout: PixelLayout::Gray { bits: 8 },
        color,
        planes: vec![(data, stride, size)],
        rotation: 0,
        mirrored: false,
        aspect: 1.0,
    };
    let short = gray([8, 8], vec![0; 60], 8);
    assert!(matches!(gpu.render_rgba(&short, None, [8, 8]), Err(GpuError::BadPlane { plane: 0, .. })));
    let narrow = gray([8, 8], vec![0; 64], 7);
    assert!(matches!(gpu.render_rgba(&narrow, None, [8, 8]), Err(GpuError::BadPlane { .. })));
    let empty = gray([0, 8], vec![], 0);
    assert!(matches!(gpu.render_rgba(&empty, None, [8, 8]), Err(GpuError::BadPlane { .. })));
    let mut two = gray([8, 8], vec![0; 64], 8);
    two.layout = PixelLayout::Nv12;
    assert!(matches!(gpu.render_rgba(&two, None, [8, 8]), Err(GpuError::BadPlane { plane: 1, .. })));
    let fine = gray([1, 1], vec![77], 1);
    assert_eq!(gpu.render_rgba(&fine, None, [1, 1]).unwrap(), [77, 77, 77, 255]);
    assert!(matches!(gpu.render_rgba(&fine, None, [0, 1]), Err(GpuError::TargetTooLarge { .. })));
    assert!(matches!(gpu.render_rgba(&fine, None, [1 << 20, 1]), Err(GpuError::TargetTooLarge { .. })));
}

#[test]
fn overlay_matches_its_twin_in_every_style() {
    let mut gpu = headless();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let size = [64u32, 40u32];
    let color = ColorInfo { matrix: Matrix::Bt709, full_range: true, siting: ChromaSiting::Left };
    let under = noise(&mut rng, size, 8);
    let layout = PixelLayout::Gray { bits: 8 };
    let picture =
        Picture { size, layout, color, planes: vec![under.clone()], rotation: 0, mirrored: false, aspect: 1.0 };
    let weights: Vec<f32> = (0..5 * 7).map(|_| rng.random_range(0.0..1.3)).collect();
    let default = OverlayStyle::default();
    let styles = [
        default,
        OverlayStyle { map: ColorMap::Viridis, smooth: true, ..default },
        OverlayStyle { map: ColorMap::Cividis, gamma: 0.5, floor: 0.0, opacity: 1.0, ..default },
        OverlayStyle { lines: true, ..default },
        OverlayStyle { contour: true, smooth: true, ..default },
    ];
    for style in styles {
        for scale in [1.0, 0.4, 0.0] {
            let heat = OverlayFrame { rows: 5, cols: 7, weights: weights.clone(), scale, style };
            let got = gpu.render_rgba(&picture, Some(&heat), size).unwrap();
            let pixels = size.map(|n| n as f32);
            let mut off = 0;
            for y in 0..size[1] as usize {
                for x in 0..size[0] as usize {
                    let base = sample(&under, x as i64, y as i64, 8) as f32 / 255.0;
                    let uv = [(x as f32 + 0.5) / pixels[0], (y as f32 + 0.5) / pixels[1]];
                    let want = heat.blend(uv, pixels, [base; 3]);
                    let at = (y * size[0] as usize + x) * 4;
                    // Fixed-function blending may round colour, alpha and the sum to 8 bits: three half levels.
                    off += usize::from((0..3).any(|c| (f32::from(got[at + c]) - want[c] * 255.0).abs() > 1.6));
                }
            }
            // Lines and contours stand on comparisons of floats: single pixels on an edge may differ.
            let allowed = if style.lines || style.contour { 8 } else { 0 };
            assert!(off <= allowed, "{style:?}, scale {scale}: {off} pixels differ");
        }
    }
}

#[test]
fn an_overlay_drawn_once_is_gone_in_the_next_picture() {
    let mut gpu = headless();
    let color = ColorInfo { matrix: Matrix::Bt709, full_range: true, siting: ChromaSiting::Left };
    let layout = PixelLayout::Gray { bits: 8 };
    let picture = Picture {
        size: [4, 4],
        layout,
        color,
        planes: vec![(vec![90; 16], 4, [4, 4])],
        rotation: 0,
        mirrored: false,
        aspect: 1.0,
    };
    let heat = OverlayFrame { rows: 1, cols: 1, weights: vec![1.0], scale: 1.0, style: OverlayStyle::default() };
    let bare = gpu.render_rgba(&picture, None, [4, 4]).unwrap();
    assert_ne!(gpu.render_rgba(&picture, Some(&heat), [4, 4]).unwrap(), bare);
    assert_eq!(gpu.render_rgba(&picture, None, [4, 4]).unwrap(), bare);
}

#[test]
fn strips_match_their_twin() {
    let gpu = headless();
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let mut strip = StripRenderer::new(gpu.device(), HEADLESS_FORMAT);
    let columns = 50;
    let mut random =
        |n: usize, low: f32, high: f32| -> Vec<f32> { (0..n).map(|_| rng.random_range(low..high)).collect() };
    let lows = random(columns, -1.0, 0.0);
    let highs = random(columns, 0.0, 1.0);
    let heat = random(columns, -0.2, 1.2);
    let image = random(columns * 16, 0.0, 1.0);
    let backgrounds = [
        Background::Heat,
        Background::Wave([lows, highs].concat().into()),
        Background::Image { rows: 16, values: image.into() },
    ];
    for background in backgrounds {
        for heat in [heat.clone(), Vec::new()] {
            let frame = StripFrame {
                columns,
                background: background.clone(),
                heat: heat.into(),
                scale: 0.9,
                gamma: 0.7,
                opacity: 0.85,
                map: ColorMap::Magma,
                ground: [0.08, 0.09, 0.1],
                signal: [0.6, 0.65, 0.7],
            };
            let size = [100u32, 33u32];
            strip.prepare(gpu.device(), gpu.queue(), &frame, size[1] as f32);
            let got = gpu.read_pass(size, |pass| strip.draw(pass)).unwrap();
            let mut off = 0;
            for y in 0..size[1] {
                for x in 0..size[0] {
                    let uv = [(x as f32 + 0.5) / size[0] as f32, (y as f32 + 0.5) / size[1] as f32];
                    let want = frame.color(uv, size[1] as f32);
                    let at = (y * size[0] + x) as usize * 4;
                    off += usize::from((0..3).any(|c| (f32::from(got[at + c]) - want[c] * 255.0).abs() > 1.1));
                }
            }
            // A sample exactly on the wave's edge may fall to either side.
            assert!(off <= 4, "{off} pixels differ in {:?}", frame.background);
        }
    }
    // Arrays that do not fit draw nothing instead of reading outside.
    let broken = StripFrame {
        columns: 9,
        background: Background::Wave(vec![0.0; 4].into()),
        heat: Vec::new().into(),
        scale: 1.0,
        gamma: 1.0,
        opacity: 1.0,
        map: ColorMap::Magma,
        ground: [1.0; 3],
        signal: [1.0; 3],
    };
    strip.prepare(gpu.device(), gpu.queue(), &broken, 2.0);
    let got = gpu.read_pass([2, 2], |pass| strip.draw(pass)).unwrap();
    assert!(got.chunks(4).all(|p| p[..3] == [0, 0, 0]));
}

#[test]
fn color_maps_match_their_twin_and_rise_in_lightness() {
    let gpu = headless();
    let mut strip = StripRenderer::new(gpu.device(), HEADLESS_FORMAT);
    for map in ColorMap::ALL {
        let ramp: Vec<f32> = (0..256).map(|i| i as f32 / 255.0).collect();
        let frame = StripFrame {
            columns: 256,
            background: Background::Heat,
            heat: ramp.clone().into(),
            scale: 1.0,
            gamma: 1.0,
            opacity: 1.0,
            map,
            ground: [0.0; 3],
            signal: [0.0; 3],
        };
        strip.prepare(gpu.device(), gpu.queue(), &frame, 1.0);
        let got = gpu.read_pass([256, 1], |pass| strip.draw(pass)).unwrap();
        let mut before = -1.0f32;
        for (x, t) in ramp.iter().enumerate() {
            let want = map.rgb(*t);
            for c in 0..3 {
                let error = (f32::from(got[x * 4 + c]) - want[c] * 255.0).abs();
                assert!(error <= 0.6, "{map:?} at {t}: {} for {}", got[x * 4 + c], want[c] * 255.0);
            }
            let luma = 0.2126 * want[0].powf(2.2) + 0.7152 * want[1].powf(2.2) + 0.0722 * want[2].powf(2.2);
            assert!(luma > before - 2e-3, "{map:?} falls in lightness at {t}");
            before = luma;
        }
    }
    // Published end points (matplotlib's tables).
    let near = |a: [f32; 3], b: [f32; 3]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 0.002);
    assert!(near(ColorMap::Viridis.rgb(0.0), [0.267, 0.0049, 0.3294]));
    assert!(near(ColorMap::Magma.rgb(1.0), [0.9871, 0.9914, 0.7495]));
    assert!(near(ColorMap::Cividis.rgb(0.0), [0.0, 0.1351, 0.3048]));
    // Okabe and Ito's sky blue, orange and bluish green.
    assert_eq!(
        Modality::ALL.map(|m| m.hue().map(|c| (c * 255.0).round() as u8)),
        [[86, 180, 233], [230, 159, 0], [0, 158, 115]]
    );
}

/// Some software renderers compile a shader anew for the value of each uniform that decides its way, at every draw, and
/// keep what they compiled. Ours must not lead them to.
#[test]
#[cfg(target_os = "linux")]
fn drawing_again_and_again_keeps_nothing() {
    // Other tests run beside this one in the same process: it counts in a process of its own.
    let child = "MODALENS_TEST_DRAWS";
    if std::env::var_os(child).is_none() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "shaders::drawing_again_and_again_keeps_nothing", "--test-threads=1", "--nocapture"])
            .env(child, "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let resident_mib = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() / 256
    };
    let mut gpu = headless();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let size = [64, 48];
    let layout = PixelLayout::Yuv { log2_chroma_w: 0, log2_chroma_h: 0, bits: 8 };
    let color = ColorInfo { matrix: Matrix::Bt709, full_range: false, siting: ChromaSiting::Left };
    let planes = (0..3).map(|_| noise(&mut rng, size, 8)).collect();
    let picture = Picture { size, layout, color, planes, rotation: 0, mirrored: false, aspect: 1.0 };
    let style = OverlayStyle { smooth: true, lines: true, contour: true, ..OverlayStyle::default() };
    let heat = OverlayFrame { rows: 2, cols: 2, weights: vec![0.1, 0.2, 0.3, 0.4], scale: 0.4, style };
    let lane = StripFrame {
        columns: 64,
        background: Background::Wave(vec![0.5; 128].into()),
        heat: vec![0.2; 64].into(),
        scale: 0.4,
        gamma: 1.0,
        opacity: 1.0,
        map: ColorMap::default(),
        ground: [0.0; 3],
        signal: [1.0; 3],
    };
    let mut strip = StripRenderer::new(gpu.device(), HEADLESS_FORMAT);
    let mut draw = |i: u32| {
        // Shrunk and not, with the map and without: all that is decided while it runs.
        let target = if i.is_multiple_of(2) { size } else { [12, 8] };
        gpu.render_rgba(&picture, i.is_multiple_of(3).then_some(&heat), target).unwrap();
        strip.prepare(gpu.device(), gpu.queue(), &lane, 32.0);
        gpu.read_pass([64, 32], |pass| strip.draw(pass)).unwrap();
    };
    (0..12).for_each(&mut draw);
    let before = resident_mib();
    (0..60).for_each(&mut draw);
    let after = resident_mib();
    assert!(after < before + 24, "memory grew from {before} to {after} MiB in 60 draws");
}
