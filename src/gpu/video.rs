//! Uploads a decoded picture plane by plane and draws it through `shaders/video.wgsl`.
//! Knows nothing of decoding or of where on the screen it lands: it fills the viewport of the pass.

use std::borrow::Cow;

use bytemuck::{Pod, Zeroable};

use super::pipeline::{DataTexture, Pipeline, Reads};
use super::{GpuError, VIDEO_WGSL};
use crate::frame::{ChromaSiting, ColorInfo, Hdr, HdrTransfer, Matrix, PixelLayout, Plane, Planes, Primaries};

/// The uniform of `shaders/video.wgsl`; a test compares its layout with the shader's.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct VideoUniform {
    /// Raw samples to RGB, as rows of an affine map.
    pub rgb_from_yuv: [[f32; 4]; 3],
    /// Upright (u, v, 1) to source (s, t), as rows.
    pub source_from_display: [[f32; 4]; 2],
    /// Width and height of the first plane in samples.
    pub size: [f32; 2],
    /// Chroma samples per luma sample.
    pub chroma_scale: [f32; 2],
    /// Chroma position of luma position zero.
    pub chroma_offset: [f32; 2],
    /// 0 three planes, 1 NV12, 2 gray, 3 RGBA; 4 and 5 are 0 and 1 with bicubic chroma.
    pub kind: u32,
    /// Samples per axis and target pixel.
    pub taps: u32,
    /// Linear light to BT.709's primaries, as rows; the last of each row is its primary's luminance weight.
    pub gamut: [[f32; 4]; 3],
    /// 0 ordinary, 1 PQ, 2 HLG.
    pub transfer: u32,
    /// The brightest light, 1 = 100 cd/m².
    pub peak: f32,
    /// Fills the struct up to what the shader expects.
    pub unused: [u32; 2],
}

/// What 1 is in linear light, in cd/m².
const UNIT_NITS: f32 = 100.0;

/// Linear light of some primaries to BT.709's, as rows, with each primary's luminance weight at the end of its row
/// (from the primaries' chromaticities and D65, ITU-R BT.2087).
pub const fn gamut(primaries: Primaries) -> [[f32; 4]; 3] {
    match primaries {
        Primaries::Bt709 => [[1.0, 0.0, 0.0, 0.2126], [0.0, 1.0, 0.0, 0.7152], [0.0, 0.0, 1.0, 0.0722]],
        Primaries::Bt2020 => [
            [1.660_491, -0.587_641, -0.072_85, 0.2627],
            [-0.124_55, 1.132_9, -0.008_349, 0.678],
            [-0.018_151, -0.100_579, 1.118_73, 0.0593],
        ],
        Primaries::P3 => [
            [1.224_94, -0.224_94, 0.0, 0.228_975],
            [-0.042_057, 1.042_057, 0.0, 0.691_739],
            [-0.019_638, -0.078_636, 1.098_274, 0.079_287],
        ],
    }
}

/// Twin of the shader's `tone_mapped`: a high-dynamic-range colour (codes in 0…1) as an ordinary display shows it.
///
/// The curve is John Hable's ("Uncharted 2: HDR Lighting", GDC 2010), applied to the strongest primary as in FFmpeg's
/// filter `tonemap=hable:desat=0`; light is 1 at 100 cd/m², as in its `zscale=t=linear:npl=100`; HLG is shown as on a
/// display of 1,000 cd/m² (ITU-R BT.2100); the result is for a display of gamma 2.4 (ITU-R BT.1886).
pub fn tone_mapped(code: [f32; 3], hdr: Hdr) -> [f32; 3] {
    let rows = gamut(hdr.primaries);
    let light = match hdr.transfer {
        HdrTransfer::Pq => code.map(|e| {
            let p = e.powf(1.0 / 78.843_75);
            ((p - 0.835_937_5).max(0.0) / (18.851_563 - 18.6875 * p)).powf(1.0 / 0.159_301_76) * 10_000.0 / UNIT_NITS
        }),
        HdrTransfer::Hlg => {
            let scene = code.map(|e| {
                if e <= 0.5 { e * e / 3.0 } else { (((e - 0.559_910_7) / 0.178_832_77).exp() + 0.284_668_92) / 12.0 }
            });
            let luminance: f32 = rows.iter().zip(scene).map(|(row, s)| row[3] * s).sum();
            scene.map(|s| s * luminance.max(1e-6).powf(0.2) * 1_000.0 / UNIT_NITS)
        }
    };
    let rgb = rows.map(|row| row.iter().zip(light).map(|(m, l)| m * l).sum::<f32>());
    let strongest = rgb[0].max(rgb[1]).max(rgb[2]).max(1e-6);
    let scale = hable(strongest) / hable(hdr.peak_nits / UNIT_NITS) / strongest;
    rgb.map(|c| (c * scale).clamp(0.0, 1.0).powf(1.0 / 2.4))
}

/// Hable's curve with his own numbers, not yet scaled to end at 1.
fn hable(x: f32) -> f32 {
    (x * (0.15 * x + 0.05) + 0.004) / (x * (0.15 * x + 0.5) + 0.06) - 0.02 / 0.3
}

/// The luma weights of red and blue.
pub const fn luma_weights(matrix: Matrix) -> [f64; 2] {
    match matrix {
        Matrix::Bt601 => [0.299, 0.114],
        Matrix::Bt709 => [0.2126, 0.0722],
        Matrix::Bt2020 => [0.2627, 0.0593],
    }
}

/// The affine map from raw integer samples `(y, u, v, 1)` to RGB in 0…1, rows R, G, B
/// (ITU-R BT.601-7, BT.709-6, BT.2020-2).
pub fn rgb_from_yuv(layout: PixelLayout, color: ColorInfo) -> [[f32; 4]; 3] {
    let (bits, has_chroma) = match layout {
        PixelLayout::Yuv { bits, .. } => (bits, true),
        PixelLayout::Nv12 => (8, true),
        PixelLayout::Gray { bits } => (bits, false),
        PixelLayout::Rgba8 => {
            let s = 1.0 / 255.0;
            return [[s, 0.0, 0.0, 0.0], [0.0, s, 0.0, 0.0], [0.0, 0.0, s, 0.0]];
        }
    };
    let unit = 2f64.powi(i32::from(bits) - 8);
    let top = 2f64.powi(i32::from(bits)) - 1.0;
    let (y_zero, y_range, c_range) =
        if color.full_range { (0.0, top, top) } else { (16.0 * unit, 219.0 * unit, 224.0 * unit) };
    let c_zero = 128.0 * unit;
    let [kr, kb] = luma_weights(color.matrix);
    let kg = 1.0 - kr - kb;
    let (cb, cr) = if has_chroma { (1.0 / c_range, 1.0 / c_range) } else { (0.0, 0.0) };
    let row = |u: f64, v: f64| {
        let (u, v) = (u * cb, v * cr);
        [1.0 / y_range, u, v, -y_zero / y_range - (u + v) * c_zero].map(|x| x as f32)
    };
    [
        row(0.0, 2.0 * (1.0 - kr)),
        row(-2.0 * kb * (1.0 - kb) / kg, -2.0 * kr * (1.0 - kr) / kg),
        row(2.0 * (1.0 - kb), 0.0),
    ]
}

/// The map from upright (u, v) to source (s, t) for a picture that is mirrored (or not) and then turned clockwise when
/// shown.
pub fn source_from_display(rotation_degrees: u16, mirrored: bool) -> [[f32; 4]; 2] {
    let [s, t] = match rotation_degrees % 360 {
        90 => [[0.0, 1.0, 0.0, 0.0], [-1.0, 0.0, 1.0, 0.0]],
        180 => [[-1.0, 0.0, 1.0, 0.0], [0.0, -1.0, 1.0, 0.0]],
        270 => [[0.0, -1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]],
        _ => [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]],
    };
    if mirrored { [[-s[0], -s[1], 1.0 - s[2], 0.0], t] } else { [s, t] }
}

/// Scale and offset of one axis: chroma position = luma position · scale + offset, both in samples. `luma` and
/// `chroma` are the planes' lengths along it.
///
/// An odd length has half a chroma sample too many. Like FFmpeg's scaler, through which a model's frames go, this
/// spreads the chroma plane evenly over the luma plane, so both see the same colours at the far edge.
pub fn chroma_axis([luma, chroma]: [u32; 2], log2: u8, cosited: bool) -> [f32; 2] {
    let scale = chroma as f32 / luma.max(1) as f32;
    [scale, if cosited { 0.5 - 0.5 / f32::from(1u16 << log2.min(8)) } else { 0.0 }]
}

/// What a plane of a layout must look like.
struct PlaneShape {
    width: u32,
    height: u32,
    format: wgpu::TextureFormat,
    texel_bytes: u32,
}

fn shapes(layout: PixelLayout, [w, h]: [u32; 2]) -> Vec<PlaneShape> {
    use wgpu::TextureFormat::{R8Uint, R16Uint, Rg8Uint, Rgba8Uint};
    let plane = |width: u32, height: u32, format, texel_bytes| PlaneShape { width, height, format, texel_bytes };
    let deep = |bits: u8| if bits > 8 { (R16Uint, 2) } else { (R8Uint, 1) };
    match layout {
        PixelLayout::Yuv { log2_chroma_w, log2_chroma_h, bits } => {
            let (format, bytes) = deep(bits);
            let (cw, ch) = (w.div_ceil(1 << log2_chroma_w.min(8)), h.div_ceil(1 << log2_chroma_h.min(8)));
            vec![plane(w, h, format, bytes), plane(cw, ch, format, bytes), plane(cw, ch, format, bytes)]
        }
        PixelLayout::Nv12 => vec![plane(w, h, R8Uint, 1), plane(w.div_ceil(2), h.div_ceil(2), Rg8Uint, 2)],
        PixelLayout::Gray { bits } => {
            let (format, bytes) = deep(bits);
            vec![plane(w, h, format, bytes)]
        }
        PixelLayout::Rgba8 => vec![plane(w, h, Rgba8Uint, 4)],
    }
}

/// Every `step`-th sample of every `step`-th row: how a picture beyond the device's texture limit is made to fit.
/// Returns the bytes, tightly packed, and the new width and height.
fn thin_out<'a>(plane: &Plane<'a>, shape: &PlaneShape, step: u32) -> (Cow<'a, [u8]>, u32, u32, u32) {
    let bytes = shape.texel_bytes as usize;
    if step <= 1 {
        return (Cow::Borrowed(plane.data), plane.stride as u32, shape.width, shape.height);
    }
    let (width, height) = (shape.width.div_ceil(step), shape.height.div_ceil(step));
    let mut out = Vec::with_capacity(width as usize * height as usize * bytes);
    for y in (0..shape.height).step_by(step as usize) {
        let row = &plane.data[y as usize * plane.stride..];
        for x in (0..shape.width).step_by(step as usize) {
            let at = x as usize * bytes;
            out.extend_from_slice(&row[at..at + bytes]);
        }
    }
    (Cow::Owned(out), width * shape.texel_bytes, width, height)
}

/// Draws the newest uploaded picture.
pub struct VideoRenderer {
    pipeline: Pipeline,
    planes: [Option<DataTexture>; 3],
    nothing: DataTexture,
    bind_group: Option<wgpu::BindGroup>,
    uniform: VideoUniform,
    /// The shader's case for the uploaded layout, with bilinear chroma.
    plain_kind: u32,
    /// Whether chroma is subsampled, so that its interpolation matters.
    subsampled: bool,
    cubic_chroma: bool,
    display_size: [u32; 2],
}

impl VideoRenderer {
    /// Prepares the pipeline for targets of `format`.
    pub fn new(device: &wgpu::Device, format: wgpu::TextureFormat) -> Self {
        let uniform = VideoUniform::zeroed();
        let pipeline = Pipeline::new(
            device,
            format,
            "video",
            VIDEO_WGSL,
            "show_video",
            &[wgpu::TextureSampleType::Uint; 3],
            Reads::Gathers,
            bytemuck::bytes_of(&uniform),
        );
        let nothing = DataTexture::new(device, 1, 1, wgpu::TextureFormat::R8Uint);
        // Sixteen texels instead of four per chroma sample are nothing to a graphics card, and much to a processor that
        // plays one.
        let cubic_chroma = device.adapter_info().device_type != wgpu::DeviceType::Cpu;
        Self {
            pipeline,
            planes: [None, None, None],
            nothing,
            bind_group: None,
            uniform,
            plain_kind: 0,
            subsampled: false,
            cubic_chroma,
            display_size: [0, 0],
        }
    }

    /// Chooses how subsampled chroma is brought to full size: bicubic, as FFmpeg does it, or bilinear. A new renderer
    /// takes bicubic unless the device is a processor.
    pub fn set_cubic_chroma(&mut self, cubic: bool) {
        self.cubic_chroma = cubic;
    }

    /// Copies the planes to the device, rows of `stride` bytes as they are. A picture beyond the device's texture
    /// limit is thinned out by a whole factor.
    pub fn upload(&mut self, device: &wgpu::Device, queue: &wgpu::Queue, frame: &dyn Planes) -> Result<(), GpuError> {
        let [width, height] = frame.size();
        let layout = frame.layout();
        let planes = frame.planes();
        let shapes = shapes(layout, [width, height]);
        let bad = |plane: usize, reason: String| GpuError::BadPlane { plane, width, height, reason };
        if width == 0 || height == 0 {
            return Err(bad(0, "it has no pixels".into()));
        }
        if planes.len() != shapes.len() {
            return Err(bad(planes.len(), format!("{} planes given, {} needed", planes.len(), shapes.len())));
        }
        for (index, (plane, shape)) in planes.iter().zip(&shapes).enumerate() {
            let row = shape.width as usize * shape.texel_bytes as usize;
            if plane.stride < row {
                return Err(bad(index, format!("rows of {} bytes, {row} needed", plane.stride)));
            }
            let needed = plane.stride * (shape.height as usize - 1) + row;
            if plane.data.len() < needed {
                return Err(bad(index, format!("{} bytes, {needed} needed", plane.data.len())));
            }
        }

        let limit = device.limits().max_texture_dimension_2d;
        let step = width.max(height).div_ceil(limit).max(1);
        let mut renewed = self.bind_group.is_none();
        let mut uploaded = [[width, height]; 2];
        for (index, (plane, shape)) in planes.iter().zip(&shapes).enumerate() {
            let aligned = (plane.stride as u32).is_multiple_of(shape.texel_bytes);
            let (data, bytes_per_row, w, h) = if aligned || step > 1 {
                thin_out(plane, shape, step)
            } else {
                // A stride that is no whole number of texels: pack the rows.
                let row = (shape.width * shape.texel_bytes) as usize;
                let rows = plane.data.chunks(plane.stride).take(shape.height as usize);
                (Cow::Owned(rows.flat_map(|r| &r[..row]).copied().collect()), row as u32, shape.width, shape.height)
            };
            if index < 2 {
                uploaded[index] = [w, h];
            }
            renewed |= DataTexture::ensure(&mut self.planes[index], device, w, h, shape.format);
            if let Some(texture) = &self.planes[index] {
                texture.write(queue, &data, bytes_per_row);
            }
        }
        for slot in &mut self.planes[shapes.len()..] {
            renewed |= slot.take().is_some();
        }
        if renewed {
            let views = self.planes.each_ref().map(|t| &t.as_ref().unwrap_or(&self.nothing).view);
            self.bind_group = Some(self.pipeline.bind(device, &views));
        }

        let color = frame.color();
        let (kind, log2) = match layout {
            PixelLayout::Yuv { log2_chroma_w, log2_chroma_h, .. } => (0, [log2_chroma_w, log2_chroma_h]),
            PixelLayout::Nv12 => (1, [1, 1]),
            PixelLayout::Gray { .. } => (2, [0, 0]),
            PixelLayout::Rgba8 => (3, [0, 0]),
        };
        let [luma, chroma] = uploaded;
        let [sx, ox] = chroma_axis([luma[0], chroma[0]], log2[0], color.siting != ChromaSiting::Center);
        let [sy, oy] = chroma_axis([luma[1], chroma[1]], log2[1], color.siting == ChromaSiting::TopLeft);
        self.plain_kind = kind;
        self.subsampled = log2 != [0, 0];
        self.uniform = VideoUniform {
            rgb_from_yuv: rgb_from_yuv(layout, color),
            source_from_display: source_from_display(frame.rotation_degrees(), frame.mirrored()),
            size: luma.map(|n| n as f32),
            chroma_scale: [sx, sy],
            chroma_offset: [ox, oy],
            kind,
            taps: 1,
            gamut: gamut(frame.hdr().map_or(Primaries::Bt709, |hdr| hdr.primaries)),
            transfer: match frame.hdr().map(|hdr| hdr.transfer) {
                None => 0,
                Some(HdrTransfer::Pq) => 1,
                Some(HdrTransfer::Hlg) => 2,
            },
            peak: frame.hdr().map_or(1.0, |hdr| hdr.peak_nits / UNIT_NITS),
            unused: [0; 2],
        };
        self.display_size = crate::frame::display_size(frame);
        Ok(())
    }

    /// Whether there is a picture to draw.
    pub fn has_picture(&self) -> bool {
        self.bind_group.is_some()
    }

    /// Sets the uniform for a viewport of `target` pixels. Call it once per frame before [`Self::draw`].
    pub fn prepare(&mut self, queue: &wgpu::Queue, target: [f32; 2]) {
        let [w, h] = self.display_size.map(|n| n as f32);
        let shrink = (w / target[0].max(1.0)).max(h / target[1].max(1.0));
        // Two bilinear neighbours cover a shrink by 2; beyond that more samples are averaged.
        self.uniform.taps = ((shrink / 2.0).ceil() as u32).clamp(1, 8);
        // Where samples are averaged anyway, the finer kernel changes nothing.
        let cubic = self.cubic_chroma && self.subsampled && self.uniform.taps == 1;
        self.uniform.kind = self.plain_kind + if cubic { 4 } else { 0 };
        queue.write_buffer(&self.pipeline.uniform, 0, bytemuck::bytes_of(&self.uniform));
    }

    /// Draws the picture over the whole viewport of `pass`; nothing when none was uploaded.
    pub fn draw(&self, pass: &mut wgpu::RenderPass<'_>) {
        if let Some(bind_group) = &self.bind_group {
            self.pipeline.draw(pass, bind_group);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limited_range_black_and_white_are_exact() {
        let color = ColorInfo { matrix: Matrix::Bt709, full_range: false, siting: ChromaSiting::Left };
        for bits in [8u8, 10, 12, 16] {
            let m = rgb_from_yuv(PixelLayout::Yuv { log2_chroma_w: 1, log2_chroma_h: 1, bits }, color);
            let unit = 2f32.powi(i32::from(bits) - 8);
            for (y, want) in [(16.0, 0.0), (235.0, 1.0)] {
                for row in m {
                    let got = row[0] * y * unit + (row[1] + row[2]) * 128.0 * unit + row[3];
                    assert!((got - want).abs() < 1e-5, "{bits} bits: {got} for {want}");
                }
            }
        }
    }

    /// The matrix from RGB to XYZ by the chromaticities of the primaries and D65.
    fn xyz(red: [f64; 2], green: [f64; 2], blue: [f64; 2]) -> [[f64; 3]; 3] {
        let up = |[x, y]: [f64; 2]| [x / y, 1.0, (1.0 - x - y) / y];
        let columns = [up(red), up(green), up(blue)];
        let m: [[f64; 3]; 3] = std::array::from_fn(|i| std::array::from_fn(|j| columns[j][i]));
        let scale = times(inverse(m), up([0.3127, 0.3290]));
        std::array::from_fn(|i| std::array::from_fn(|j| m[i][j] * scale[j]))
    }

    fn times(m: [[f64; 3]; 3], v: [f64; 3]) -> [f64; 3] {
        m.map(|row| row.iter().zip(v).map(|(a, b)| a * b).sum())
    }

    fn inverse(m: [[f64; 3]; 3]) -> [[f64; 3]; 3] {
        let minor = |r: usize, c: usize| {
            let at = |i: usize, j: usize| m[(r + i) % 3][(c + j) % 3];
            at(1, 1) * at(2, 2) - at(1, 2) * at(2, 1)
        };
        let whole: f64 = (0..3).map(|c| m[0][c] * minor(0, c)).sum();
        std::array::from_fn(|i| std::array::from_fn(|j| minor(j, i) / whole))
    }

    #[test]
    fn gamuts_are_those_of_their_chromaticities() {
        let blue = [0.15, 0.06];
        let narrow = inverse(xyz([0.64, 0.33], [0.30, 0.60], blue));
        for (primaries, wide) in [
            (Primaries::Bt709, xyz([0.64, 0.33], [0.30, 0.60], blue)),
            (Primaries::Bt2020, xyz([0.708, 0.292], [0.170, 0.797], [0.131, 0.046])),
            (Primaries::P3, xyz([0.680, 0.320], [0.265, 0.690], blue)),
        ] {
            for (i, row) in gamut(primaries).into_iter().enumerate() {
                for j in 0..3 {
                    let want: f64 = (0..3).map(|k| narrow[i][k] * wide[k][j]).sum();
                    assert!((f64::from(row[j]) - want).abs() < 2e-5, "{primaries:?} {i} {j}: {} for {want}", row[j]);
                }
                assert!((f64::from(row[3]) - wide[1][i]).abs() < 1e-4, "{primaries:?} weight {i}");
            }
        }
    }

    #[test]
    fn tone_mapping_keeps_black_gray_and_order() {
        for transfer in [HdrTransfer::Pq, HdrTransfer::Hlg] {
            let hdr = Hdr { transfer, primaries: Primaries::Bt2020, peak_nits: 1_000.0 };
            assert!(tone_mapped([0.0; 3], hdr).iter().all(|c| *c < 0.01));
            let mut last = -1.0;
            for i in 0..=100 {
                let [r, g, b] = tone_mapped([i as f32 / 100.0; 3], hdr);
                assert!((r - g).abs() < 2e-3 && (g - b).abs() < 2e-3, "gray stays gray: {r} {g} {b}");
                assert!(g >= last, "{g} after {last}");
                last = g;
            }
            assert!((last - 1.0).abs() < 1e-3, "the peak is white: {last}");
        }
        // PQ of 203 cd/m², diffuse white of ITU-R BT.2408: bright, with room above.
        let hdr = Hdr { transfer: HdrTransfer::Pq, primaries: Primaries::Bt2020, peak_nits: 1_000.0 };
        let [white, ..] = tone_mapped([0.5807; 3], hdr);
        assert!((0.7..0.8).contains(&white), "{white}");
    }

    #[test]
    fn chroma_positions_follow_the_siting() {
        // Half-width chroma: a left-sited sample 0 lies on the centre of luma sample 0, a centred one between 0 and 1.
        let [scale, offset] = chroma_axis([8, 4], 1, true);
        assert!((0.5f32.mul_add(scale, offset) - 0.5).abs() < 1e-6);
        let [scale, offset] = chroma_axis([8, 4], 1, false);
        assert!((1.0f32.mul_add(scale, offset) - 0.5).abs() < 1e-6);
        assert_eq!(chroma_axis([8, 8], 0, true), [1.0, 0.0]);
    }
}
