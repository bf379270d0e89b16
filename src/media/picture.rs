//! A decoded picture: FFmpeg's reference-counted frame seen as planes, with its colour description settled.
//! Knows nothing of files, clocks or the GPU.

use ffmpeg_next::color::{self, Range, Space, TransferCharacteristic};
use ffmpeg_next::format::Pixel;
use ffmpeg_next::util::chroma::Location;
use ffmpeg_next::util::frame::side_data;
use ffmpeg_next::{self as ffmpeg, frame};

use super::error::MediaError;
use super::raw::{self, Scaler};
use crate::frame::{
    ChromaSiting, ColorInfo, Hdr, HdrTransfer, Matrix, PixelLayout, Plane, Planes, Primaries, RgbImage, display_size,
};

/// A decoded picture. The planes are the decoder's own memory, not copies, for every common planar format.
pub struct VideoFrame {
    frame: frame::Video,
    layout: PixelLayout,
    color: ColorInfo,
    hdr: Option<Hdr>,
    pts_secs: f64,
    duration_secs: f64,
    orientation: Orientation,
    pixel_aspect: f64,
}

/// How a picture is turned when shown: first mirrored or not, then rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Orientation {
    /// Left and right change places.
    pub(crate) mirrored: bool,
    /// Then a clockwise rotation: 0, 90, 180 or 270.
    pub(crate) degrees: u16,
}

impl Orientation {
    /// Reads a display matrix, to the nearest quarter turn: nine 32-bit numbers, row by row, in the machine's byte
    /// order, that take a stored position as a row vector to the shown one.
    pub(crate) fn of_matrix(bytes: &[u8]) -> Self {
        let number = |i: usize| {
            let four = bytes.get(i * 4..i * 4 + 4)?;
            Some(f64::from(i32::from_ne_bytes(four.try_into().ok()?)))
        };
        let (Some(a), Some(b), Some(c), Some(d)) = (number(0), number(1), number(3), number(4)) else {
            return Self::default();
        };
        let mirrored = a * d - b * c < 0.0;
        let (a, b) = if mirrored { (-a, -b) } else { (a, b) };
        let (scale_x, scale_y) = (a.hypot(c), b.hypot(d));
        if scale_x == 0.0 || scale_y == 0.0 {
            return Self::default();
        }
        let degrees = (b / scale_y).atan2(a / scale_x).to_degrees();
        Self { mirrored, degrees: (((degrees / 90.0).round() as i32).rem_euclid(4) * 90) as u16 }
    }
}

/// What the stream says about every frame of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Presentation {
    /// How to turn a frame that says nothing about it itself.
    pub(crate) orientation: Orientation,
    /// Sample width ÷ sample height from the container, where the frame itself says nothing.
    pub(crate) pixel_aspect: f64,
}

impl VideoFrame {
    /// Wraps a decoded frame, converting it first if its layout is one that no shader reads.
    pub(crate) fn new(
        decoded: frame::Video,
        pts_secs: f64,
        duration_secs: f64,
        how: Presentation,
        converter: &mut Option<Scaler>,
    ) -> Result<Self, MediaError> {
        let format = decoded.format();
        let color = color_of(&decoded);
        let hdr = hdr_of(&decoded);
        let pixel_aspect = aspect(decoded.aspect_ratio()).unwrap_or(how.pixel_aspect);
        // A photograph's EXIF orientation comes with the frame, a film's with the stream.
        let own = decoded.side_data(side_data::Type::DisplayMatrix).map(|d| Orientation::of_matrix(d.data()));
        let orientation = own.unwrap_or(how.orientation);
        let shared = |frame, layout, color| Self {
            frame,
            layout,
            color,
            hdr,
            pts_secs,
            duration_secs,
            orientation,
            pixel_aspect,
        };
        if let Some(layout) = native_layout(format) {
            let direct = shared(decoded, layout, color);
            if direct.try_planes().is_some() {
                return Ok(direct);
            }
            return direct.converted(format, layout, color, converter);
        }
        let (target, layout) = nearest(format);
        shared(decoded, layout, color).converted(target, layout, color, converter)
    }

    fn converted(
        mut self,
        target: Pixel,
        layout: PixelLayout,
        color: ColorInfo,
        converter: &mut Option<Scaler>,
    ) -> Result<Self, MediaError> {
        let source = (self.frame.format(), self.frame.width(), self.frame.height());
        let wanted = (target, source.1, source.2);
        if converter.as_ref().is_none_or(|c| c.source() != source || c.target() != wanted) {
            *converter = Some(Scaler::new(source, wanted, color)?);
        }
        let mut out = frame::Video::new(target, source.1, source.2);
        if let Some(scaler) = converter {
            scaler.convert_frame(&self.frame, &mut out);
        }
        self.frame = out;
        self.layout = layout;
        if self.try_planes().is_none() {
            return Err(MediaError::Library(format!("no memory for a {}×{} picture", source.1, source.2)));
        }
        Ok(self)
    }

    /// The same picture at another time, until the next; no pixel is copied. `None` when memory ran out.
    pub(crate) fn shown_at(&self, pts_secs: f64) -> Option<Self> {
        Some(Self { frame: raw::shared(&self.frame)?, pts_secs, duration_secs: 0.0, ..*self })
    }

    /// How long the frame is shown, in seconds; 0 when the file does not say.
    pub fn duration_secs(&self) -> f64 {
        self.duration_secs
    }

    fn try_planes(&self) -> Option<Vec<Plane<'_>>> {
        let (w, h) = (self.frame.width(), self.frame.height());
        let plane = |index: usize, width: u32, height: u32, sample_bytes: u32| {
            let (data, stride) = raw::plane_rows(&self.frame, index, (width * sample_bytes) as usize, height as usize)?;
            Some(Plane { data, stride, width, height })
        };
        let half_up = |n: u32, log2: u8| (n + (1 << log2) - 1) >> log2;
        match self.layout {
            PixelLayout::Yuv { log2_chroma_w, log2_chroma_h, bits } => {
                let bytes = 1 + u32::from(bits > 8);
                let (cw, ch) = (half_up(w, log2_chroma_w), half_up(h, log2_chroma_h));
                Some(vec![plane(0, w, h, bytes)?, plane(1, cw, ch, bytes)?, plane(2, cw, ch, bytes)?])
            }
            PixelLayout::Nv12 => Some(vec![plane(0, w, h, 1)?, plane(1, half_up(w, 1), half_up(h, 1), 2)?]),
            PixelLayout::Gray { bits } => Some(vec![plane(0, w, h, 1 + u32::from(bits > 8))?]),
            PixelLayout::Rgba8 => Some(vec![plane(0, w, h, 4)?]),
        }
    }
}

impl Planes for VideoFrame {
    fn size(&self) -> [u32; 2] {
        [self.frame.width(), self.frame.height()]
    }
    fn layout(&self) -> PixelLayout {
        self.layout
    }
    fn color(&self) -> ColorInfo {
        self.color
    }
    fn planes(&self) -> Vec<Plane<'_>> {
        // Checked when the frame was wrapped; frames do not change afterwards.
        self.try_planes().unwrap_or_default()
    }
    fn pts_secs(&self) -> f64 {
        self.pts_secs
    }
    fn rotation_degrees(&self) -> u16 {
        self.orientation.degrees
    }
    fn mirrored(&self) -> bool {
        self.orientation.mirrored
    }
    fn hdr(&self) -> Option<Hdr> {
        self.hdr
    }
    fn pixel_aspect(&self) -> f64 {
        self.pixel_aspect
    }
}

/// Bytes of a picture's planes.
pub(crate) fn bytes_of(frame: &dyn Planes) -> usize {
    frame.planes().iter().map(|p| p.data.len()).sum()
}

/// Turns frames into upright RGB in square pixels, all of one size: the first one's unless one is given.
#[derive(Default)]
pub(crate) struct ToRgb {
    size: Option<[u32; 2]>,
    scaler: Option<(Scaler, ColorInfo)>,
}

impl ToRgb {
    /// Pictures of `size`, upright and in square pixels.
    pub(crate) fn sized(size: [u32; 2]) -> Self {
        Self { size: Some(size), scaler: None }
    }

    /// Converts one frame. RGB is full range, by the frame's own matrix, range and chroma siting.
    pub(crate) fn convert(&mut self, frame: &VideoFrame) -> Result<RgbImage, MediaError> {
        let [out_w, out_h] = *self.size.get_or_insert_with(|| display_size(frame));
        let turned = frame.orientation.degrees % 180 == 90;
        let (w, h) = if turned { (out_h, out_w) } else { (out_w, out_h) };
        let source = (frame.frame.format(), frame.frame.width(), frame.frame.height());
        let fits = |(s, color): &(Scaler, ColorInfo)| {
            s.source() == source && s.target() == (Pixel::RGB24, w, h) && *color == frame.color
        };
        if !self.scaler.as_ref().is_some_and(fits) {
            self.scaler = Some((Scaler::new(source, (Pixel::RGB24, w, h), frame.color)?, frame.color));
        }
        // swscale's vector code may write a little past a row's end: rows get room, and are moved together after.
        let row = w as usize * 3;
        let stride = (row + 64).next_multiple_of(64);
        let mut data = vec![0; stride * h as usize];
        if let Some((scaler, _)) = &mut self.scaler {
            scaler.convert_packed(&frame.frame, &mut data, stride);
        }
        if frame.orientation != Orientation::default() {
            let rows = data.chunks_exact(stride).map(|r| &r[..row]);
            return Ok(turn(rows, w as usize, h as usize, frame.orientation));
        }
        // In place: a second copy of an 8K picture would be another 100 MB.
        for y in 1..h as usize {
            data.copy_within(y * stride..y * stride + row, y * row);
        }
        data.truncate(row * h as usize);
        Ok(RgbImage { width: w as usize, height: h as usize, data })
    }
}

/// Copies rows of RGB into a tight picture, turned.
fn turn<'a>(rows: impl Iterator<Item = &'a [u8]>, w: usize, h: usize, how: Orientation) -> RgbImage {
    let Orientation { mirrored, degrees } = how;
    let (out_w, out_h) = if degrees % 180 == 90 { (h, w) } else { (w, h) };
    let mut data = vec![0; w * h * 3];
    for (y, row) in rows.enumerate() {
        if degrees == 0 && !mirrored {
            data[y * w * 3..][..w * 3].copy_from_slice(row);
            continue;
        }
        for (x, pixel) in row.chunks_exact(3).enumerate() {
            let x = if mirrored { w - 1 - x } else { x };
            let (ox, oy) = match degrees {
                0 => (x, y),
                90 => (h - 1 - y, x),
                180 => (w - 1 - x, h - 1 - y),
                _ => (y, w - 1 - x),
            };
            data[(oy * out_w + ox) * 3..][..3].copy_from_slice(pixel);
        }
    }
    RgbImage { width: out_w, height: out_h, data }
}

/// A sane sample aspect ratio as width ÷ height.
pub(crate) fn aspect(ratio: ffmpeg::Rational) -> Option<f64> {
    let value = super::source::positive(ratio)?;
    (0.05..=20.0).contains(&value).then_some(value)
}

/// The layouts that go to the GPU as they are.
fn native_layout(format: Pixel) -> Option<PixelLayout> {
    let yuv = |w, h, bits| Some(PixelLayout::Yuv { log2_chroma_w: w, log2_chroma_h: h, bits });
    match format {
        Pixel::YUV420P | Pixel::YUVJ420P | Pixel::YUVA420P => yuv(1, 1, 8),
        Pixel::YUV422P | Pixel::YUVJ422P | Pixel::YUVA422P => yuv(1, 0, 8),
        Pixel::YUV444P | Pixel::YUVJ444P | Pixel::YUVA444P => yuv(0, 0, 8),
        Pixel::YUV440P | Pixel::YUVJ440P => yuv(0, 1, 8),
        Pixel::YUV411P | Pixel::YUVJ411P => yuv(2, 0, 8),
        Pixel::YUV410P => yuv(2, 2, 8),
        Pixel::YUV420P9LE => yuv(1, 1, 9),
        Pixel::YUV422P9LE => yuv(1, 0, 9),
        Pixel::YUV444P9LE => yuv(0, 0, 9),
        Pixel::YUV420P10LE => yuv(1, 1, 10),
        Pixel::YUV422P10LE => yuv(1, 0, 10),
        Pixel::YUV444P10LE => yuv(0, 0, 10),
        Pixel::YUV420P12LE => yuv(1, 1, 12),
        Pixel::YUV422P12LE => yuv(1, 0, 12),
        Pixel::YUV444P12LE => yuv(0, 0, 12),
        Pixel::YUV420P14LE => yuv(1, 1, 14),
        Pixel::YUV422P14LE => yuv(1, 0, 14),
        Pixel::YUV444P14LE => yuv(0, 0, 14),
        Pixel::YUV420P16LE => yuv(1, 1, 16),
        Pixel::YUV422P16LE => yuv(1, 0, 16),
        Pixel::YUV444P16LE => yuv(0, 0, 16),
        Pixel::NV12 => Some(PixelLayout::Nv12),
        Pixel::GRAY8 => Some(PixelLayout::Gray { bits: 8 }),
        Pixel::GRAY10LE => Some(PixelLayout::Gray { bits: 10 }),
        Pixel::GRAY12LE => Some(PixelLayout::Gray { bits: 12 }),
        Pixel::GRAY16LE => Some(PixelLayout::Gray { bits: 16 }),
        Pixel::RGBA => Some(PixelLayout::Rgba8),
        _ => None,
    }
}

/// What any other format becomes: the planar layout with the same subsampling and depth, else RGBA.
fn nearest(format: Pixel) -> (Pixel, PixelLayout) {
    let yuv = |w, h, bits| PixelLayout::Yuv { log2_chroma_w: w, log2_chroma_h: h, bits };
    let rgba = (Pixel::RGBA, PixelLayout::Rgba8);
    let Some(descriptor) = format.descriptor() else { return rgba };
    if raw::is_rgb(format) || descriptor.nb_components() < 3 {
        return rgba;
    }
    match (descriptor.log2_chroma_w(), descriptor.log2_chroma_h(), raw::bit_depth(format)) {
        (1, 1, ..=8) => (Pixel::YUV420P, yuv(1, 1, 8)),
        (1, 0, ..=8) => (Pixel::YUV422P, yuv(1, 0, 8)),
        (0, 0, ..=8) => (Pixel::YUV444P, yuv(0, 0, 8)),
        (1, 1, 9 | 10) => (Pixel::YUV420P10LE, yuv(1, 1, 10)),
        (1, 0, 9 | 10) => (Pixel::YUV422P10LE, yuv(1, 0, 10)),
        (0, 0, 9 | 10) => (Pixel::YUV444P10LE, yuv(0, 0, 10)),
        (1, 1, _) => (Pixel::YUV420P16LE, yuv(1, 1, 16)),
        (1, 0, _) => (Pixel::YUV422P16LE, yuv(1, 0, 16)),
        (0, 0, _) => (Pixel::YUV444P16LE, yuv(0, 0, 16)),
        _ => rgba,
    }
}

/// Settles how a frame's numbers become colours: its tags where it has them, else the usual guesses by format and
/// size (untagged = BT.709 from 1280 wide or above 576 high, else BT.601).
fn color_of(frame: &frame::Video) -> ColorInfo {
    let (format, width, height) = (frame.format(), frame.width(), frame.height());
    color_info(format, [width, height], frame.color_space(), frame.color_range(), frame.chroma_location())
}

/// The brightest light of pictures that do not say it, in cd/m²: what they are usually made for, and HLG's own.
const USUAL_PEAK_NITS: f32 = 1_000.0;

/// What a frame says about its dynamic range. Its brightest light is that of the content, else that of the display it
/// was made on.
fn hdr_of(frame: &frame::Video) -> Option<Hdr> {
    let mut hdr = hdr_info(frame.color_transfer_characteristic(), frame.color_primaries())?;
    if hdr.transfer == HdrTransfer::Pq {
        let content = frame.side_data(side_data::Type::ContentLightLevel).and_then(|d| {
            let bytes = d.data().first_chunk()?;
            Some(u32::from_ne_bytes(*bytes) as f32)
        });
        let display =
            || frame.side_data(side_data::Type::MasteringDisplayMetadata).and_then(|d| mastering_peak(d.data()));
        let said = content.filter(|nits| *nits > 0.0).or_else(display);
        hdr.peak_nits = said.unwrap_or(USUAL_PEAK_NITS).clamp(200.0, 10_000.0);
    }
    Some(hdr)
}

/// The brightest light of `AVMasteringDisplayMetadata`, in cd/m²: eight chromaticities, the least and the most light (all
/// fractions of two 32-bit numbers), and whether chromaticities and lights are given.
fn mastering_peak(bytes: &[u8]) -> Option<f32> {
    let number = |i: usize| Some(i32::from_ne_bytes(*bytes.get(i * 4..)?.first_chunk()?));
    let (num, den, given) = (number(18)?, number(19)?, number(21)?);
    (given != 0 && num > 0 && den > 0).then(|| num as f32 / den as f32)
}

/// What transfer characteristic and primaries say about the dynamic range; `None` for an ordinary one.
fn hdr_info(transfer: TransferCharacteristic, primaries: color::Primaries) -> Option<Hdr> {
    let transfer = match transfer {
        TransferCharacteristic::SMPTE2084 => HdrTransfer::Pq,
        TransferCharacteristic::ARIB_STD_B67 => HdrTransfer::Hlg,
        _ => return None,
    };
    let primaries = match primaries {
        color::Primaries::BT709 => Primaries::Bt709,
        color::Primaries::SMPTE432 => Primaries::P3,
        // Both standards are made for it.
        _ => Primaries::Bt2020,
    };
    Some(Hdr { transfer, primaries, peak_nits: USUAL_PEAK_NITS })
}

pub(crate) fn color_info(
    format: Pixel,
    [width, height]: [u32; 2],
    space: Space,
    range: Range,
    location: Location,
) -> ColorInfo {
    let matrix = match space {
        Space::BT709 | Space::SMPTE240M => Matrix::Bt709,
        Space::BT470BG | Space::SMPTE170M | Space::FCC => Matrix::Bt601,
        Space::BT2020NCL | Space::BT2020CL => Matrix::Bt2020,
        _ if width >= 1280 || height > 576 => Matrix::Bt709,
        _ => Matrix::Bt601,
    };
    // JPEG's own formats are full range whatever the tag says; so is plain gray for FFmpeg's scaler, through which a
    // model's frames go.
    let jpeg = matches!(
        format,
        Pixel::YUVJ420P | Pixel::YUVJ422P | Pixel::YUVJ444P | Pixel::YUVJ440P | Pixel::YUVJ411P | Pixel::GRAY8
    );
    let gray_or_rgb = raw::is_rgb(format) || format.descriptor().is_some_and(|d| d.nb_components() < 3);
    let full_range = match range {
        Range::JPEG => true,
        Range::MPEG => jpeg,
        Range::Unspecified => jpeg || gray_or_rgb,
    };
    let siting = match location {
        Location::TopLeft => ChromaSiting::TopLeft,
        Location::Center | Location::Top | Location::Bottom => ChromaSiting::Center,
        Location::Unspecified if jpeg => ChromaSiting::Center,
        Location::Unspecified if matrix == Matrix::Bt2020 => ChromaSiting::TopLeft,
        Location::Left | Location::BottomLeft | Location::Unspecified => ChromaSiting::Left,
    };
    ColorInfo { matrix, full_range, siting }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(a: i32, b: i32, c: i32, d: i32) -> Vec<u8> {
        [a, b, 0, c, d, 0, 0, 0, 1 << 30].iter().flat_map(|n| n.to_ne_bytes()).collect()
    }

    #[test]
    fn common_layouts_are_the_decoders_own_memory() {
        let how = Presentation { orientation: Orientation::default(), pixel_aspect: 1.0 };
        for (format, own) in [
            (Pixel::YUV420P, true),
            (Pixel::YUV422P, true),
            (Pixel::YUV444P10LE, true),
            (Pixel::NV12, true),
            (Pixel::GRAY8, true),
            (Pixel::UYVY422, false),
        ] {
            let decoded = frame::Video::new(format, 65, 33);
            let memory = decoded.data(0).as_ptr();
            let frame = VideoFrame::new(decoded, 0.0, 0.0, how, &mut None).expect("a small picture");
            assert_eq!(frame.planes()[0].data.as_ptr() == memory, own, "{format:?}");
        }
    }

    #[test]
    fn display_matrices_turn_clockwise() {
        let one = 1 << 16;
        let turned = |degrees| Orientation { mirrored: false, degrees };
        assert_eq!(Orientation::of_matrix(&matrix(one, 0, 0, one)), turned(0));
        assert_eq!(Orientation::of_matrix(&matrix(0, one, -one, 0)), turned(90));
        assert_eq!(Orientation::of_matrix(&matrix(-one, 0, 0, -one)), turned(180));
        assert_eq!(Orientation::of_matrix(&matrix(0, -one, one, 0)), turned(270));
        assert_eq!(Orientation::of_matrix(&[0; 36]), turned(0));
        assert_eq!(Orientation::of_matrix(&[1, 2, 3]), turned(0));
    }

    #[test]
    fn mirrored_matrices_are_a_mirror_and_then_a_turn() {
        let one = 1 << 16;
        // Left and right, up and down, and the two diagonals.
        for (bytes, degrees) in [
            (matrix(-one, 0, 0, one), 0),
            (matrix(one, 0, 0, -one), 180),
            (matrix(0, one, one, 0), 270),
            (matrix(0, -one, -one, 0), 90),
        ] {
            let how = Orientation::of_matrix(&bytes);
            assert_eq!(how, Orientation { mirrored: true, degrees });
            // Where a pixel goes by the matrix is where `turn` puts it.
            let (w, h) = (3, 2);
            let number = |i: usize| i32::from_ne_bytes(bytes[i * 4..][..4].try_into().expect("four bytes")) / one;
            let rows: Vec<Vec<u8>> = (0..h).map(|y| (0..w).flat_map(|x| [x as u8, y as u8, 7]).collect()).collect();
            let out = turn(rows.iter().map(Vec::as_slice), w, h, how);
            let at = |x: i32, y: i32| (number(0) * x + number(3) * y, number(1) * x + number(4) * y);
            let corners = [at(0, 0), at(w as i32 - 1, h as i32 - 1)];
            let least = (corners[0].0.min(corners[1].0), corners[0].1.min(corners[1].1));
            for y in 0..h as i32 {
                for x in 0..w as i32 {
                    let (ox, oy) = at(x, y);
                    let index = ((oy - least.1) as usize * out.width + (ox - least.0) as usize) * 3;
                    assert_eq!(out.data[index..index + 2], [x as u8, y as u8]);
                }
            }
        }
    }
}
