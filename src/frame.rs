//! A decoded picture as its planes, so that `gpu` can upload it without knowing `media`.
//! Knows nothing of FFmpeg or wgpu.

/// How the samples of a picture are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PixelLayout {
    /// Three planes Y, U, V; chroma is subsampled by `2^log2_chroma_w` and `2^log2_chroma_h`.
    Yuv {
        /// log2 of horizontal chroma subsampling (0 or 1 or 2).
        log2_chroma_w: u8,
        /// log2 of vertical chroma subsampling (0 or 1 or 2).
        log2_chroma_h: u8,
        /// Bits per sample; above 8 each sample takes two little-endian bytes, low-aligned.
        bits: u8,
    },
    /// Two planes: Y, then U and V interleaved, at half size both ways (NV12).
    Nv12,
    /// One plane of luma.
    Gray {
        /// Bits per sample; above 8 each sample takes two little-endian bytes, low-aligned.
        bits: u8,
    },
    /// One plane of 8-bit R, G, B, A.
    Rgba8,
}

/// The matrix that makes RGB of YUV.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Matrix {
    /// ITU-R BT.601.
    Bt601,
    /// ITU-R BT.709.
    Bt709,
    /// ITU-R BT.2020, non-constant luminance.
    Bt2020,
}

/// Where a chroma sample sits, relative to its luma samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChromaSiting {
    /// Level with the left luma sample, half-way vertically (MPEG-2, H.264 default).
    Left,
    /// In the middle of its luma samples (MPEG-1, JPEG).
    Center,
    /// On the top-left luma sample (BT.2020 default).
    TopLeft,
}

/// How a picture's numbers become colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ColorInfo {
    /// YUV → RGB matrix.
    pub matrix: Matrix,
    /// `true` = full range (0…255), `false` = limited (16…235 / 240).
    pub full_range: bool,
    /// Chroma sample position.
    pub siting: ChromaSiting,
}

/// How a high-dynamic-range picture's numbers become light.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HdrTransfer {
    /// Perceptual quantiser (SMPTE ST 2084): absolute, up to 10,000 cd/m².
    Pq,
    /// Hybrid log-gamma (ARIB STD-B67): relative, shown on a display of 1,000 cd/m².
    Hlg,
}

/// The red, green and blue that a picture's numbers are shares of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Primaries {
    /// ITU-R BT.709.
    Bt709,
    /// ITU-R BT.2020.
    Bt2020,
    /// Display P3 (SMPTE EG 432-1, white D65).
    P3,
}

/// What must be known to show a high-dynamic-range picture on an ordinary display.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hdr {
    /// Its transfer characteristic.
    pub transfer: HdrTransfer,
    /// Its primaries.
    pub primaries: Primaries,
    /// The brightest light in it, in cd/m².
    pub peak_nits: f32,
}

/// One plane's bytes.
#[derive(Debug, Clone, Copy)]
pub struct Plane<'a> {
    /// Rows of `stride` bytes; at least `stride * (height − 1) + row bytes` long.
    pub data: &'a [u8],
    /// Bytes from one row to the next.
    pub stride: usize,
    /// Samples per row (pairs for the second plane of NV12, pixels for RGBA).
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// A decoded picture that can be uploaded plane by plane.
pub trait Planes: Send + Sync {
    /// Width and height in samples as coded, before rotation and pixel aspect.
    fn size(&self) -> [u32; 2];
    /// Layout of the samples.
    fn layout(&self) -> PixelLayout;
    /// Colour description.
    fn color(&self) -> ColorInfo;
    /// The planes, in the order of [`PixelLayout`].
    fn planes(&self) -> Vec<Plane<'_>>;
    /// Presentation time in seconds from the container's start.
    fn pts_secs(&self) -> f64;
    /// Clockwise rotation to apply when shown: 0, 90, 180 or 270 degrees.
    fn rotation_degrees(&self) -> u16;
    /// Whether left and right change places when shown, before the rotation.
    fn mirrored(&self) -> bool {
        false
    }
    /// How its numbers become light, when its dynamic range is high; ordinary pictures say nothing.
    fn hdr(&self) -> Option<Hdr> {
        None
    }
    /// Width of a sample divided by its height (1.0 for square pixels).
    fn pixel_aspect(&self) -> f64;
}

/// Most pixels a picture may have (an 8K frame has 35 million).
pub const MAX_PIXELS: u32 = 64 << 20;

/// Size in square pixels as shown: pixel aspect applied, then rotation. The width follows the aspect, but where that
/// would make more than [`MAX_PIXELS`] the height does.
pub fn display_size(frame: &dyn Planes) -> [u32; 2] {
    let [w, h] = frame.size();
    let [w, h] = square_pixels([w, h], frame.pixel_aspect());
    if frame.rotation_degrees() % 180 == 90 { [h, w] } else { [w, h] }
}

/// A size in square pixels for one whose pixels have an aspect (width ÷ height).
pub(crate) fn square_pixels([w, h]: [u32; 2], aspect: f64) -> [u32; 2] {
    let scaled = |n: u32, by: f64| (f64::from(n) * by).round().max(1.0) as u32;
    let wide = scaled(w, aspect);
    if u64::from(wide) * u64::from(h) > u64::from(MAX_PIXELS) { [w, scaled(h, 1.0 / aspect)] } else { [wide, h] }
}

/// A picture that no decoder gave: upright, in square pixels.
pub struct RgbaFrame {
    size: [u32; 2],
    data: Vec<u8>,
    pts_secs: f64,
}

impl RgbaFrame {
    /// A black picture of a size.
    pub fn black([width, height]: [u32; 2], pts_secs: f64) -> Self {
        let data = [0, 0, 0, 255].repeat(width as usize * height as usize);
        Self { size: [width, height], data, pts_secs }
    }

    /// A picture of `[height, width, 3]` bytes; what is missing of them is left out, row by row.
    pub fn of_rgb(width: usize, rgb: &[u8], pts_secs: f64) -> Self {
        let width = width.max(1);
        let height = rgb.len() / (width * 3);
        let pixels = rgb.as_chunks::<3>().0.iter().take(width * height);
        let data = pixels.flat_map(|[r, g, b]| [*r, *g, *b, 255]).collect();
        Self { size: [width as u32, height as u32], data, pts_secs }
    }
}

impl Planes for RgbaFrame {
    fn size(&self) -> [u32; 2] {
        self.size
    }
    fn layout(&self) -> PixelLayout {
        PixelLayout::Rgba8
    }
    fn color(&self) -> ColorInfo {
        ColorInfo { matrix: Matrix::Bt709, full_range: true, siting: ChromaSiting::Center }
    }
    fn planes(&self) -> Vec<Plane<'_>> {
        let [width, height] = self.size;
        vec![Plane { data: &self.data, stride: width as usize * 4, width, height }]
    }
    fn pts_secs(&self) -> f64 {
        self.pts_secs
    }
    fn rotation_degrees(&self) -> u16 {
        0
    }
    fn pixel_aspect(&self) -> f64 {
        1.0
    }
}

/// An interleaved 8-bit RGB picture, `[height, width, 3]`, upright and in square pixels or as coded
/// (whoever makes it says which).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RgbImage {
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `height * width * 3` bytes.
    pub data: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_as_wide_as_its_pixels_say_but_never_beyond_all_bounds() {
        assert_eq!(square_pixels([720, 576], 64.0 / 45.0), [1024, 576]);
        assert_eq!(square_pixels([1440, 1080], 4.0 / 3.0), [1920, 1080]);
        assert_eq!(square_pixels([1, 1], 0.05), [1, 1]);
        // A small file can claim both.
        assert_eq!(square_pixels([8192, 8192], 20.0), [8192, 410]);
    }
}
