//! Uploads a decoded picture plane by plane and draws it through `shaders/video.wgsl`.
//! Knows nothing of decoding or of where on the screen it lands: it fills the viewport of the pass.

use std::borrow::Cow;

use bytemuck::{Pod, Zeroable};

use super::pipeline::{DataTexture, Pipeline, Reads};
use super::{GpuError, VIDEO_WGSL};
use crate::frame::{ChromaSiting, ColorInfo, Matrix, PixelLayout, Plane, Planes};

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
