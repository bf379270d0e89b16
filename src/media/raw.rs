//! The few FFmpeg fields and calls that the safe bindings do not reach, each behind a safe function; the log
//! capture and the process-wide limits. Knows nothing of files, clips or playback.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;

use ffmpeg_next::format::Pixel;
use ffmpeg_next::packet::Ref as _;
use ffmpeg_next::{self as ffmpeg, Stream, ffi, frame};

use super::error::MediaError;
use crate::frame::{ChromaSiting, ColorInfo, Matrix};

/// Largest single block FFmpeg may allocate: an 8K picture at 16 bits and 4:4:4 fits, a hostile header does not.
const MAX_ALLOC_BYTES: usize = 512 << 20;

/// swscale's own "not given" for a chroma position.
const UNSET: i64 = -513;

/// `AV_NOPTS_VALUE`: no time given.
const NO_TIME: i64 = i64::MIN;

/// Prepares FFmpeg for this process, once: its log goes to ours, its allocations have a ceiling.
///
/// # Errors
/// [`MediaError::Library`] when FFmpeg refuses to start.
pub(crate) fn init() -> Result<(), MediaError> {
    static DONE: OnceLock<Result<(), String>> = OnceLock::new();
    DONE.get_or_init(|| {
        ffmpeg::init().map_err(|e| e.to_string())?;
        #[allow(unsafe_code, reason = "the bindings have no safe log callback and no allocation limit")]
        // SAFETY: both set a process-wide value; the callback is a plain function that is valid for ever.
        unsafe {
            ffi::av_log_set_callback(Some(on_log));
            ffi::av_max_alloc(MAX_ALLOC_BYTES);
        }
        Ok(())
    })
    .clone()
    .map_err(MediaError::Library)
}

thread_local! {
    /// The last warning or error FFmpeg logged on this thread.
    static LAST_LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Forgets the last line FFmpeg logged on this thread.
pub(crate) fn clear_last_line() {
    LAST_LINE.with_borrow_mut(String::clear);
}

/// Whether the container's length is only guessed, from how large it is and how many bits its first seconds take.
pub(crate) fn length_is_guessed(input: &ffmpeg::format::context::Input) -> bool {
    #[allow(unsafe_code, reason = "the bindings do not reach this field")]
    // SAFETY: the pointer is valid as long as `input` is borrowed, and the field is a plain number.
    let how = unsafe { (*input.as_ptr()).duration_estimation_method };
    how == ffi::AVDurationEstimationMethod::AVFMT_DURATION_FROM_BITRATE
}

/// What FFmpeg calls a codec.
pub(crate) fn codec_name(id: ffmpeg::codec::Id) -> &'static str {
    if id == ffmpeg::codec::Id::None { "a codec that it does not know" } else { id.name() }
}

/// The error in words: FFmpeg's last logged line on this thread if there is one, else the error's own text.
pub(crate) fn describe(error: ffmpeg::Error) -> String {
    let line = LAST_LINE.with_borrow_mut(std::mem::take);
    if line.is_empty() { error.to_string() } else { line }
}

#[cfg(all(target_arch = "x86_64", not(windows)))]
type VaList = *mut ffi::__va_list_tag;
#[cfg(not(all(target_arch = "x86_64", not(windows))))]
type VaList = ffi::va_list;

#[allow(unsafe_code, reason = "FFmpeg calls this with a C argument list, which only FFmpeg can format")]
unsafe extern "C" fn on_log(object: *mut c_void, level: c_int, format: *const c_char, args: VaList) {
    if level > ffi::AV_LOG_INFO {
        return;
    }
    let mut line: [c_char; 512] = [0; 512];
    let mut print_prefix: c_int = 1;
    // SAFETY: FFmpeg hands over a valid format and argument list; the buffer's true size is given, and the
    // function always terminates it with a zero byte.
    let text = unsafe {
        ffi::av_log_format_line2(
            object,
            level,
            format,
            args,
            line.as_mut_ptr(),
            line.len() as c_int,
            &raw mut print_prefix,
        );
        CStr::from_ptr(line.as_ptr()).to_string_lossy()
    };
    // `[mov,mp4 @ 0x55…] moov atom not found` → `moov atom not found`: addresses tell a user nothing.
    let text = text.trim();
    let short = match (text.starts_with('['), text.find("] ")) {
        (true, Some(end)) => text[end + 2..].trim(),
        _ => text,
    };
    if short.is_empty() {
        return;
    }
    log::debug!(target: "ffmpeg", "{text}");
    if level <= ffi::AV_LOG_WARNING {
        // A destructor of this thread may be what is logging: then there is no line to keep.
        let _ = LAST_LINE.try_with(|last| {
            if let Ok(mut last) = last.try_borrow_mut() {
                last.clear();
                last.push_str(short);
            }
        });
    }
}

/// The container's start time in microseconds, if it says one.
pub(crate) fn start_time_us(input: &ffmpeg::format::context::Input) -> Option<i64> {
    #[allow(unsafe_code, reason = "the bindings do not expose AVFormatContext.start_time")]
    // SAFETY: the context is alive as long as `input` is borrowed, and the field is a plain integer.
    let start = unsafe { (*input.as_ptr()).start_time };
    (start != NO_TIME).then_some(start)
}

/// A time value as FFmpeg writes it, `None` for "unknown".
pub(crate) fn known(time: i64) -> Option<i64> {
    (time != NO_TIME).then_some(time)
}

/// What a video stream's header says, before any frame is decoded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct VideoHeader {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) format: Pixel,
    pub(crate) space: ffmpeg::color::Space,
    pub(crate) range: ffmpeg::color::Range,
    pub(crate) primaries: ffmpeg::color::Primaries,
    pub(crate) transfer: ffmpeg::color::TransferCharacteristic,
    pub(crate) siting: ffmpeg::util::chroma::Location,
    pub(crate) interlaced: bool,
    pub(crate) sample_aspect: (i32, i32),
}

/// Reads a video stream's header.
pub(crate) fn video_header(stream: &Stream<'_>) -> VideoHeader {
    #[allow(unsafe_code, reason = "the bindings do not expose AVCodecParameters' picture fields")]
    // SAFETY: stream and its parameters live as long as the context `stream` borrows. `format` is −1 or a value
    // that this very FFmpeg chose, so it is one of the enum's.
    unsafe {
        let stream_ptr = stream.as_ptr();
        let p = &*(*stream_ptr).codecpar;
        let format = if p.format < 0 {
            Pixel::None
        } else {
            Pixel::from(std::mem::transmute::<c_int, ffi::AVPixelFormat>(p.format))
        };
        let aspect =
            if p.sample_aspect_ratio.num > 0 { p.sample_aspect_ratio } else { (*stream_ptr).sample_aspect_ratio };
        VideoHeader {
            width: p.width.max(0) as u32,
            height: p.height.max(0) as u32,
            format,
            space: p.color_space.into(),
            range: p.color_range.into(),
            primaries: p.color_primaries.into(),
            transfer: p.color_trc.into(),
            siting: p.chroma_location.into(),
            interlaced: matches!(
                p.field_order,
                ffi::AVFieldOrder::AV_FIELD_TT
                    | ffi::AVFieldOrder::AV_FIELD_BB
                    | ffi::AVFieldOrder::AV_FIELD_TB
                    | ffi::AVFieldOrder::AV_FIELD_BT
            ),
            sample_aspect: (aspect.num, aspect.den),
        }
    }
}

/// The name of a high-dynamic-range transfer characteristic, `None` for an ordinary one.
pub(crate) fn hdr_name(transfer: ffmpeg::color::TransferCharacteristic) -> Option<&'static str> {
    match transfer {
        ffmpeg::color::TransferCharacteristic::SMPTE2084 => Some("PQ"),
        ffmpeg::color::TransferCharacteristic::ARIB_STD_B67 => Some("HLG"),
        _ => None,
    }
}

/// Another reference to the same picture: no pixel is copied. `None` when memory ran out.
pub(crate) fn shared(frame: &frame::Video) -> Option<frame::Video> {
    let mut other = frame::Video::empty();
    #[allow(unsafe_code, reason = "the bindings' clone copies every pixel")]
    // SAFETY: `other` is an empty frame of its own; the call adds a reference to each of the source's buffers.
    let result = unsafe { ffi::av_frame_ref(other.as_mut_ptr(), frame.as_ptr()) };
    (result >= 0).then_some(other)
}

/// Bits per sample of a pixel format's first component; 0 when unknown.
pub(crate) fn bit_depth(format: Pixel) -> u8 {
    let Some(descriptor) = format.descriptor() else { return 0 };
    #[allow(unsafe_code, reason = "the bindings do not expose component depths")]
    // SAFETY: descriptors are static tables inside FFmpeg.
    let depth = unsafe { (*descriptor.as_ptr()).comp[0].depth };
    depth.clamp(0, 32) as u8
}

/// Whether a pixel format holds RGB or palette colours (no matrix applies).
pub(crate) fn is_rgb(format: Pixel) -> bool {
    let Some(descriptor) = format.descriptor() else { return false };
    #[allow(unsafe_code, reason = "the bindings do not expose format flags")]
    // SAFETY: descriptors are static tables inside FFmpeg.
    let flags = unsafe { (*descriptor.as_ptr()).flags };
    let mask = (ffi::AV_PIX_FMT_FLAG_RGB | ffi::AV_PIX_FMT_FLAG_PAL) as u64;
    flags & mask != 0
}

/// Tells the demuxer not to return packets of any stream but `keep`.
pub(crate) fn discard_others(input: &mut ffmpeg::format::context::Input, keep: usize) {
    for index in 0..input.nb_streams() as usize {
        if index == keep {
            continue;
        }
        if let Some(mut stream) = input.stream_mut(index) {
            #[allow(unsafe_code, reason = "the bindings have no setter for AVStream.discard")]
            // SAFETY: the stream is exclusively borrowed through its context.
            unsafe {
                (*stream.as_mut_ptr()).discard = ffi::AVDiscard::AVDISCARD_ALL;
            }
        }
    }
}

/// Whether the demuxer marks a packet as decoded for reference only, not to be shown (edit lists).
pub(crate) fn is_discarded(packet: &ffmpeg::Packet) -> bool {
    #[allow(unsafe_code, reason = "the bindings drop AV_PKT_FLAG_DISCARD")]
    // SAFETY: the packet is borrowed and the field is a plain integer.
    let flags = unsafe { (*packet.as_ptr()).flags };
    flags & ffi::AV_PKT_FLAG_DISCARD as c_int != 0
}

/// One plane's rows: the bytes and the stride. `None` when the plane is absent, stored bottom-up or too short.
pub(crate) fn plane_rows(frame: &frame::Video, index: usize, row_bytes: usize, rows: usize) -> Option<(&[u8], usize)> {
    if index >= 8 || rows == 0 || row_bytes == 0 {
        return None;
    }
    #[allow(unsafe_code, reason = "the bindings' plane access ignores negative strides and the last row's true length")]
    // SAFETY: the decoder allocated at least `stride` bytes for every row but the last and `row_bytes` for that
    // one (libavutil/frame.h); the slice borrows the frame, which keeps its reference-counted buffers alive and,
    // being shared by no writer after decoding, unchanged.
    unsafe {
        let raw = frame.as_ptr();
        let data = (*raw).data[index];
        let stride = (*raw).linesize[index];
        if data.is_null() || stride <= 0 || (stride as usize) < row_bytes {
            return None;
        }
        let stride = stride as usize;
        Some((std::slice::from_raw_parts(data, stride * (rows - 1) + row_bytes), stride))
    }
}

/// Sets the colour tags that the safe encoder interface lacks.
pub(crate) fn tag_bt709(context: &mut ffmpeg::codec::Context) {
    #[allow(unsafe_code, reason = "the bindings have no setters for primaries, transfer and siting")]
    // SAFETY: the context is exclusively borrowed and not yet opened.
    unsafe {
        let raw = context.as_mut_ptr();
        (*raw).color_primaries = ffi::AVColorPrimaries::AVCOL_PRI_BT709;
        (*raw).color_trc = ffi::AVColorTransferCharacteristic::AVCOL_TRC_BT709;
        (*raw).colorspace = ffi::AVColorSpace::AVCOL_SPC_BT709;
        (*raw).color_range = ffi::AVColorRange::AVCOL_RANGE_MPEG;
        (*raw).chroma_sample_location = ffi::AVChromaLocation::AVCHROMA_LOC_LEFT;
    }
}

/// Sets how many threads an encoder uses; 0 lets it choose.
pub(crate) fn set_threads(context: &mut ffmpeg::codec::Context, count: usize) {
    #[allow(unsafe_code, reason = "the bindings set the count only together with a threading kind")]
    // SAFETY: the context is exclusively borrowed and not yet opened.
    unsafe {
        (*context.as_mut_ptr()).thread_count = count.min(64) as c_int;
    }
}

/// The first error met while writing to a file, such as a full disk.
pub(crate) fn write_error(output: &ffmpeg::format::context::Output) -> Option<ffmpeg::Error> {
    #[allow(unsafe_code, reason = "the bindings do not show the I/O context's error")]
    // SAFETY: an output context owns its I/O context until it is dropped; the field is a plain integer.
    let error = unsafe {
        let io = (*output.as_ptr()).pb;
        if io.is_null() { 0 } else { (*io).error }
    };
    (error < 0).then(|| ffmpeg::Error::from(error))
}

/// A swscale context: one conversion between two picture formats, with matrix, range and chroma siting given.
pub(crate) struct Scaler {
    context: *mut ffi::SwsContext,
    source: (Pixel, u32, u32),
    target: (Pixel, u32, u32),
}

#[allow(unsafe_code, reason = "an owned C context that no thread but its owner's touches")]
// SAFETY: swscale contexts are not tied to a thread; `Scaler` is not `Sync` and is only used through `&mut`.
unsafe impl Send for Scaler {}

impl Scaler {
    /// A conversion from `source` to `target`, each `(format, width, height)`. `color` describes the YUV side,
    /// whichever it is; RGB is full range. Bicubic, accurate rounding, chroma at full resolution.
    pub(crate) fn new(
        source: (Pixel, u32, u32),
        target: (Pixel, u32, u32),
        color: ColorInfo,
    ) -> Result<Self, MediaError> {
        let failed = || {
            MediaError::Library(format!(
                "no conversion from {}×{} {} to {}×{} {}",
                source.1,
                source.2,
                format_name(source.0),
                target.1,
                target.2,
                format_name(target.0)
            ))
        };
        let flags = ffmpeg::software::scaling::Flags::BICUBIC
            | ffmpeg::software::scaling::Flags::ACCURATE_RND
            | ffmpeg::software::scaling::Flags::FULL_CHR_H_INT
            | ffmpeg::software::scaling::Flags::FULL_CHR_H_INP;
        let from_yuv = !is_rgb(source.0);
        let subsampled = if from_yuv { source.0 } else { target.0 }.descriptor();
        // In 1/256 of a luma sample, and only in directions that are subsampled: elsewhere it would shift the plane.
        // Centred, for any subsampling, is what swscale does when it is told nothing.
        let (x, y) = match color.siting {
            ChromaSiting::Left => (0, UNSET),
            ChromaSiting::Center => (UNSET, UNSET),
            ChromaSiting::TopLeft => (0, 0),
        };
        let x = if subsampled.is_some_and(|d| d.log2_chroma_w() > 0) { x } else { UNSET };
        let y = if subsampled.is_some_and(|d| d.log2_chroma_h() > 0) { y } else { UNSET };
        let side = if from_yuv { (c"src_h_chr_pos", c"src_v_chr_pos") } else { (c"dst_h_chr_pos", c"dst_v_chr_pos") };
        let full = |yuv: bool| i64::from(!yuv || color.full_range);
        let options: [(&CStr, i64); 11] = [
            (c"srcw", i64::from(source.1)),
            (c"srch", i64::from(source.2)),
            (c"src_format", ffi::AVPixelFormat::from(source.0) as i64),
            (c"dstw", i64::from(target.1)),
            (c"dsth", i64::from(target.2)),
            (c"dst_format", ffi::AVPixelFormat::from(target.0) as i64),
            (c"src_range", full(from_yuv)),
            (c"dst_range", full(!is_rgb(target.0))),
            (c"sws_flags", i64::from(flags.bits())),
            (side.0, x),
            (side.1, y),
        ];
        let matrix = match color.matrix {
            Matrix::Bt601 => ffi::SWS_CS_ITU601,
            Matrix::Bt709 => ffi::SWS_CS_ITU709,
            Matrix::Bt2020 => ffi::SWS_CS_BT2020,
        };
        #[allow(unsafe_code, reason = "the bindings cannot set swscale's matrix, range and siting")]
        // SAFETY: the context is freshly allocated and owned here; every option name is a zero-terminated
        // literal; the coefficient tables are static; on failure the context is freed by `drop`.
        unsafe {
            let context = ffi::sws_alloc_context();
            if context.is_null() {
                return Err(failed());
            }
            let scaler = Self { context, source, target };
            for (name, value) in options {
                if ffi::av_opt_set_int(context.cast(), name.as_ptr(), value, 0) < 0 {
                    return Err(failed());
                }
            }
            if ffi::sws_init_context(context, std::ptr::null_mut(), std::ptr::null_mut()) < 0 {
                return Err(failed());
            }
            let table = ffi::sws_getCoefficients(matrix as c_int);
            // A refusal here means that no matrix is involved (RGB to RGB), which is fine.
            ffi::sws_setColorspaceDetails(
                context,
                table,
                full(from_yuv) as c_int,
                table,
                full(!is_rgb(target.0)) as c_int,
                0,
                1 << 16,
                1 << 16,
            );
            Ok(scaler)
        }
    }

    /// What this context converts from.
    pub(crate) fn source(&self) -> (Pixel, u32, u32) {
        self.source
    }

    /// What this context converts to.
    pub(crate) fn target(&self) -> (Pixel, u32, u32) {
        self.target
    }

    /// Converts a whole picture into one interleaved plane of `stride` bytes per row.
    ///
    /// # Panics
    /// When `input` is not what the context was made for or `output` is too small (a bug in the caller).
    pub(crate) fn convert_packed(&mut self, input: &frame::Video, output: &mut [u8], stride: usize) {
        assert_eq!(self.source, (input.format(), input.width(), input.height()), "scaler made for another picture");
        let pixel_bytes = match self.target.0 {
            Pixel::RGB24 => 3,
            Pixel::RGBA => 4,
            other => unreachable!("{other:?} is not a packed format used here"),
        };
        assert!(stride >= self.target.1 as usize * pixel_bytes && output.len() >= stride * self.target.2 as usize);
        let planes = [output.as_mut_ptr(), std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut()];
        let strides = [stride as c_int, 0, 0, 0];
        #[allow(unsafe_code, reason = "swscale writes through plain pointers")]
        // SAFETY: the input frame matches the context (checked above) and owns its planes; the output slice
        // holds `stride` bytes for each of the target's rows (checked above).
        unsafe {
            let raw = input.as_ptr();
            ffi::sws_scale(
                self.context,
                (*raw).data.as_ptr().cast(),
                (*raw).linesize.as_ptr(),
                0,
                self.source.2 as c_int,
                planes.as_ptr(),
                strides.as_ptr(),
            );
        }
    }

    /// Converts a whole picture into another frame, which must have the target's format and size.
    pub(crate) fn convert_frame(&mut self, input: &frame::Video, output: &mut frame::Video) {
        assert_eq!(self.source, (input.format(), input.width(), input.height()), "scaler made for another picture");
        assert_eq!(self.target, (output.format(), output.width(), output.height()), "target of another format");
        #[allow(unsafe_code, reason = "swscale writes through plain pointers")]
        // SAFETY: both frames match the context (checked above) and own their planes; `output` is exclusive.
        unsafe {
            let raw = input.as_ptr();
            let out = output.as_mut_ptr();
            ffi::sws_scale(
                self.context,
                (*raw).data.as_ptr().cast(),
                (*raw).linesize.as_ptr(),
                0,
                self.source.2 as c_int,
                (*out).data.as_ptr(),
                (*out).linesize.as_ptr(),
            );
        }
    }
}

impl Drop for Scaler {
    fn drop(&mut self) {
        #[allow(unsafe_code, reason = "owned C context")]
        // SAFETY: allocated by `sws_alloc_context` and freed exactly once.
        unsafe {
            ffi::sws_freeContext(self.context);
        }
    }
}

/// A pixel format's name, `unknown` for none.
pub(crate) fn format_name(format: Pixel) -> &'static str {
    format.descriptor().map_or("unknown", ffmpeg::util::format::pixel::Descriptor::name)
}
