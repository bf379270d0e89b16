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
    /// Width of a sample divided by its height (1.0 for square pixels).
    fn pixel_aspect(&self) -> f64;
}

/// Size in square pixels as shown: pixel aspect applied (to the width), then rotation.
pub fn display_size(frame: &dyn Planes) -> [u32; 2] {
    let [w, h] = frame.size();
    let w = ((f64::from(w) * frame.pixel_aspect()).round().max(1.0)) as u32;
    if frame.rotation_degrees() % 180 == 90 { [h, w] } else { [w, h] }
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
