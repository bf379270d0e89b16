//! Writes a video file: RGBA pictures and f32 sound in, MP4 or WebM out, whole or not at all.
//! Knows nothing of what is drawn or where the sound comes from.

use std::path::{Path, PathBuf};

use ffmpeg_next::codec::{self, flag};
use ffmpeg_next::format::Pixel;
use ffmpeg_next::format::context::Output;
use ffmpeg_next::format::sample::{Sample, Type};
use ffmpeg_next::software::resampling;
use ffmpeg_next::{self as ffmpeg, ChannelLayout, Dictionary, Packet, Rational, encoder, frame};

use super::error::MediaError;
use super::raw::{self, Scaler};
use super::unfinished::Unfinished;
use crate::frame::{ChromaSiting, ColorInfo, Matrix, RgbImage};

/// Pictures of a file to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoParams {
    /// Pixels per row, 1…16,384. Odd sizes grow by one repeated column: 4:2:0 needs even ones.
    pub width: u32,
    /// Rows, 1…16,384; as for the width.
    pub height: u32,
    /// Frames per second as a fraction, such as `(30, 1)` or `(30_000, 1_001)`.
    pub fps: (u32, u32),
    /// x264's constant rate factor: 0 lossless, 18 looks the same, 23 its default. Other encoders get what is alike.
    pub crf: u8,
    /// Effort against speed.
    pub speed: EncodeSpeed,
    /// Encoder threads; 0 lets the encoder choose. Many small files are best written with 1 each.
    pub threads: usize,
}

impl VideoParams {
    /// Pictures of a size and rate, in good quality at normal effort.
    pub fn new(width: u32, height: u32, fps: (u32, u32)) -> Self {
        Self { width, height, fps, crf: 18, speed: EncodeSpeed::Normal, threads: 0 }
    }
}

/// How much effort goes into a small file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncodeSpeed {
    /// For thousands of clips: x264 `ultrafast`.
    Fastest,
    /// x264 `veryfast`.
    Fast,
    /// x264 `medium`.
    Normal,
}

/// Sound of a file to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioParams {
    /// Samples per second of what is pushed.
    pub rate: u32,
    /// Channels of what is pushed: 1 or 2.
    pub channels: usize,
}

/// A file being written.
///
/// The container follows the extension: `.mp4` holds H.264, which plays everywhere, and AAC, its index at the front;
/// `.webm` holds VP9 and Opus. The encoder is the first of a list, best first, that this FFmpeg has and that opens:
/// libx264, libopenh264, the system's own (macOS, Windows), VP9. Pictures are converted and tagged as BT.709, limited
/// range, 4:2:0. Everything goes to a temporary file beside the target, which takes its name in
/// [`finish`](Self::finish); dropping an unfinished encoder leaves nothing.
pub struct Encoder {
    path: PathBuf,
    // Closed before the temporary file is renamed or removed.
    output: Option<Output>,
    unfinished: Unfinished,
    video: VideoTrack,
    audio: Option<AudioTrack>,
}

struct VideoTrack {
    encoder: encoder::Video,
    name: &'static str,
    index: usize,
    tick: Rational,
    params: VideoParams,
    rgba: frame::Video,
    scaler: Scaler,
    next_pts: i64,
}

struct AudioTrack {
    encoder: encoder::Audio,
    name: &'static str,
    index: usize,
    rate: u32,
    channels: usize,
    layout: ChannelLayout,
    planar: bool,
    frame_samples: usize,
    resampler: Option<resampling::Context>,
    /// Interleaved samples at the encoder's rate that do not fill a frame yet.
    pending: Vec<f32>,
    next_pts: i64,
}

impl Encoder {
    /// Starts a file.
    ///
    /// # Errors
    /// [`MediaError::BadOutput`] for parameters or a path that cannot work, [`MediaError::Encode`] when no encoder
    /// or no room is there.
    pub fn create(path: &Path, video: VideoParams, audio: Option<AudioParams>) -> Result<Self, MediaError> {
        raw::init()?;
        let bad = |detail: &str| MediaError::BadOutput { path: path.to_owned(), detail: detail.to_owned() };
        let failed = |e: ffmpeg::Error| MediaError::Encode { path: path.to_owned(), detail: raw::describe(e) };
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("").to_ascii_lowercase();
        let webm = match extension.as_str() {
            "mp4" | "m4v" | "mov" => false,
            "webm" => true,
            _ => return Err(bad("name it .mp4 or .webm")),
        };
        let side = 1..=16_384;
        if !side.contains(&video.width) || !side.contains(&video.height) || video.width * video.height > 64 << 20 {
            return Err(bad("the picture size must be 1 to 16384 each way and at most 67 million pixels"));
        }
        let rate = f64::from(video.fps.0) / f64::from(video.fps.1);
        if !(0.01..=1000.0).contains(&rate) || video.fps.0 > 1 << 24 || video.fps.1 > 1 << 24 {
            return Err(bad("the frame rate must be 0.01 to 1000 per second"));
        }
        if audio.is_some_and(|a| !(4_000..=384_000).contains(&a.rate) || !(1..=2).contains(&a.channels)) {
            return Err(bad("sound must have 1 or 2 channels and 4,000 to 384,000 samples per second"));
        }
        let unfinished = Unfinished::beside(path)
            .map_err(|e| MediaError::Encode { path: path.to_owned(), detail: e.to_string() })?;
        let Some(name) = unfinished.path().to_str() else {
            return Err(bad("its folder's name is not valid UTF-8; choose another folder"));
        };
        raw::clear_last_line();
        let format = if webm { "webm" } else { "mp4" };
        let mut output = ffmpeg::format::output_as(&format!("file:{name}"), format).map_err(failed)?;
        let names = if webm { WEBM_VIDEO } else { MP4_VIDEO };
        let video = VideoTrack::new(&mut output, video, names).map_err(|e| not_made(path, names, e))?;
        let audio = audio
            .map(|a| {
                let wanted = if webm { &["libopus", "libvorbis"] } else { &["aac", "libopus"] };
                AudioTrack::new(&mut output, a, webm).map_err(|e| not_made(path, wanted, e))
            })
            .transpose()?;
        let mut options = Dictionary::new();
        if !webm {
            options.set("movflags", "+faststart");
        }
        output.write_header_with(options).map_err(failed)?;
        log::debug!("writing {} with {}", path.display(), video.name);
        Ok(Self { path: path.to_owned(), output: Some(output), unfinished, video, audio })
    }

    /// The video encoder that was chosen, such as `libx264`.
    pub fn video_encoder(&self) -> &'static str {
        self.video.name
    }

    /// The audio encoder that was chosen.
    pub fn audio_encoder(&self) -> Option<&'static str> {
        self.audio.as_ref().map(|a| a.name)
    }

    /// Appends one picture: `rgba` holds `height` rows of `width` pixels of 4 bytes; alpha is ignored.
    ///
    /// # Errors
    /// [`MediaError::BadOutput`] when the length does not fit, [`MediaError::Encode`] when encoding fails.
    pub fn push_frame(&mut self, rgba: &[u8]) -> Result<(), MediaError> {
        self.push_pixels(rgba, 4)
    }

    /// Appends one RGB picture of the file's size.
    ///
    /// # Errors
    /// As for [`push_frame`](Self::push_frame).
    pub fn push_rgb(&mut self, image: &RgbImage) -> Result<(), MediaError> {
        let size = (self.video.params.width as usize, self.video.params.height as usize);
        if (image.width, image.height) != size {
            let detail = format!("a frame is {}×{}, not {}×{}", image.width, image.height, size.0, size.1);
            return Err(MediaError::BadOutput { path: self.path.clone(), detail });
        }
        self.push_pixels(&image.data, 3)
    }

    fn push_pixels(&mut self, pixels: &[u8], bytes: usize) -> Result<(), MediaError> {
        let wanted = self.video.params.width as usize * self.video.params.height as usize * bytes;
        if pixels.len() != wanted {
            let detail = format!("a frame has {} bytes, not {wanted}", pixels.len());
            return Err(MediaError::BadOutput { path: self.path.clone(), detail });
        }
        let Some(output) = &mut self.output else { return Ok(()) };
        self.video.push(output, pixels, bytes).map_err(|e| in_file(&self.path, e))?;
        // A full disk is known here long before the end.
        raw::write_error(output).map_or(Ok(()), |e| Err(in_file(&self.path, e)))
    }

    /// Appends sound: interleaved samples in −1…1 at the rate and channel count given in the beginning. Ignored in a
    /// file without sound.
    ///
    /// # Errors
    /// [`MediaError::Encode`] when encoding fails.
    pub fn push_audio(&mut self, samples: &[f32]) -> Result<(), MediaError> {
        let (Some(audio), Some(output)) = (&mut self.audio, &mut self.output) else { return Ok(()) };
        audio.push(output, samples).map_err(|e| in_file(&self.path, e))
    }

    /// Completes the file and gives it its name, replacing what was there.
    ///
    /// # Errors
    /// [`MediaError::Encode`]; then nothing is left and an older file of that name is untouched.
    pub fn finish(mut self) -> Result<(), MediaError> {
        let Some(mut output) = self.output.take() else { return Ok(()) };
        let mut end = || -> Result<(), ffmpeg::Error> {
            raw::clear_last_line();
            self.video.finish(&mut output)?;
            if let Some(audio) = &mut self.audio {
                audio.finish(&mut output)?;
            }
            output.write_trailer()?;
            raw::write_error(&output).map_or(Ok(()), Err)
        };
        end().map_err(|e| in_file(&self.path, e))?;
        drop(output);
        self.unfinished.finish().map_err(|e| MediaError::Encode { path: self.path.clone(), detail: e.to_string() })
    }
}

/// Encoders of pictures in MP4, best first.
const MP4_VIDEO: &[&str] = &["libx264", "libopenh264", "h264_videotoolbox", "h264_mf", "libvpx-vp9"];
/// Encoders of pictures in WebM, best first.
const WEBM_VIDEO: &[&str] = &["libvpx-vp9", "libvpx"];

/// What to say when no encoder of a list would open.
fn not_made(path: &Path, wanted: &[&str], error: ffmpeg::Error) -> MediaError {
    match error {
        ffmpeg::Error::EncoderNotFound => MediaError::NoEncoder { path: path.to_owned(), wanted: wanted.join(", ") },
        error => in_file(path, error),
    }
}

fn in_file(path: &Path, error: ffmpeg::Error) -> MediaError {
    MediaError::Encode { path: path.to_owned(), detail: raw::describe(error) }
}

/// Sends everything the encoder has ready to the file.
fn drain(
    encoder: &mut encoder::Encoder,
    output: &mut Output,
    index: usize,
    tick: Rational,
) -> Result<(), ffmpeg::Error> {
    let mut packet = Packet::empty();
    let stream_tick = output.stream(index).map_or(tick, |s| s.time_base());
    loop {
        match encoder.receive_packet(&mut packet) {
            Ok(()) => {
                packet.set_stream(index);
                packet.rescale_ts(tick, stream_tick);
                packet.write_interleaved(output)?;
            }
            Err(ffmpeg::Error::Eof | ffmpeg::Error::Other { errno: ffmpeg::error::EAGAIN }) => return Ok(()),
            Err(e) => return Err(e),
        }
    }
}

impl VideoTrack {
    fn new(output: &mut Output, params: VideoParams, names: &[&'static str]) -> Result<Self, ffmpeg::Error> {
        let mut last = ffmpeg::Error::EncoderNotFound;
        for &name in names {
            match Self::with(output, params, name) {
                Ok(track) => return Ok(track),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    fn with(output: &mut Output, params: VideoParams, name: &'static str) -> Result<Self, ffmpeg::Error> {
        let codec = encoder::find_by_name(name).ok_or(ffmpeg::Error::EncoderNotFound)?;
        let (width, height) = (params.width.next_multiple_of(2), params.height.next_multiple_of(2));
        let fps = Rational::new(params.fps.0 as i32, params.fps.1 as i32);
        let tick = fps.invert();
        let mut video = codec::Context::new_with_codec(codec).encoder().video()?;
        video.set_width(width);
        video.set_height(height);
        video.set_format(Pixel::YUV420P);
        video.set_time_base(tick);
        video.set_frame_rate(Some(fps));
        // A key frame every two seconds keeps seeking quick at little cost.
        video.set_gop((f64::from(fps) * 2.0).ceil().clamp(1.0, 600.0) as u32);
        video.set_aspect_ratio(Rational::new(1, 1));
        raw::tag_bt709(&mut video);
        raw::set_threads(&mut video, params.threads);
        if output.format().flags().contains(ffmpeg::format::Flags::GLOBAL_HEADER) {
            video.set_flags(flag::Flags::GLOBAL_HEADER);
        }
        let pixels_per_sec = f64::from(width) * f64::from(height) * f64::from(fps);
        let mut options = Dictionary::new();
        match name {
            "libx264" => {
                let preset = match params.speed {
                    EncodeSpeed::Fastest => "ultrafast",
                    EncodeSpeed::Fast => "veryfast",
                    EncodeSpeed::Normal => "medium",
                };
                options.set("preset", preset);
                options.set("crf", &params.crf.min(51).to_string());
            }
            "libvpx-vp9" | "libvpx" => {
                // VP9's quantizer runs to 63 where x264's runs to 51, and looks alike at about this ratio.
                options.set("crf", &(u32::from(params.crf.min(51)) * 63 / 51 + 6).min(63).to_string());
                video.set_bit_rate(0);
                let (deadline, effort) = match params.speed {
                    EncodeSpeed::Fastest => ("realtime", "8"),
                    EncodeSpeed::Fast => ("realtime", "6"),
                    EncodeSpeed::Normal => ("good", "4"),
                };
                options.set("deadline", deadline);
                options.set("cpu-used", effort);
                if name == "libvpx" {
                    video.set_bit_rate((pixels_per_sec * 0.15) as usize);
                }
            }
            _ => video.set_bit_rate((pixels_per_sec * 0.15) as usize),
        }
        let encoder = video.open_as_with(codec, options)?;
        let mut stream = output.add_stream(codec)?;
        stream.set_parameters(&encoder);
        stream.set_time_base(tick);
        stream.set_avg_frame_rate(fps);
        let index = stream.index();
        let color = ColorInfo { matrix: Matrix::Bt709, full_range: false, siting: ChromaSiting::Left };
        let scaler = Scaler::new((Pixel::RGBA, width, height), (Pixel::YUV420P, width, height), color)
            .map_err(|_| ffmpeg::Error::Bug)?;
        let rgba = frame::Video::new(Pixel::RGBA, width, height);
        Ok(Self { encoder, name, index, tick, params, rgba, scaler, next_pts: 0 })
    }

    fn push(&mut self, output: &mut Output, pixels: &[u8], bytes: usize) -> Result<(), ffmpeg::Error> {
        let (w, h) = (self.params.width as usize, self.params.height as usize);
        let (even_w, even_h) = (w.next_multiple_of(2), h.next_multiple_of(2));
        let stride = self.rgba.stride(0);
        let rows = self.rgba.data_mut(0);
        for y in 0..even_h {
            let from = &pixels[y.min(h - 1) * w * bytes..][..w * bytes];
            let to = &mut rows[y * stride..][..even_w * 4];
            if bytes == 4 {
                // Alpha is ignored by the conversion that follows.
                to[..w * 4].copy_from_slice(from);
            } else {
                for (to, from) in to.chunks_exact_mut(4).zip(from.chunks_exact(bytes)) {
                    to.copy_from_slice(&[from[0], from[1], from[2], 255]);
                }
            }
            if even_w > w {
                to.copy_within((w - 1) * 4..w * 4, w * 4);
            }
        }
        // The encoder may keep the frame for a while: each gets its own.
        let mut yuv = frame::Video::new(Pixel::YUV420P, even_w as u32, even_h as u32);
        self.scaler.convert_frame(&self.rgba, &mut yuv);
        yuv.set_pts(Some(self.next_pts));
        self.next_pts += 1;
        self.encoder.send_frame(&yuv)?;
        drain(&mut self.encoder, output, self.index, self.tick)
    }

    fn finish(&mut self, output: &mut Output) -> Result<(), ffmpeg::Error> {
        self.encoder.send_eof()?;
        drain(&mut self.encoder, output, self.index, self.tick)
    }
}

impl AudioTrack {
    fn new(output: &mut Output, params: AudioParams, webm: bool) -> Result<Self, ffmpeg::Error> {
        // (encoder, planar, rates it takes)
        let opus = ("libopus", false, &[48_000u32, 24_000, 16_000, 12_000, 8_000][..]);
        let aac_rates =
            &[48_000, 44_100, 96_000, 88_200, 64_000, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000][..];
        let choices = if webm { [opus, ("libvorbis", true, &[48_000])] } else { [("aac", true, aac_rates), opus] };
        let mut last = ffmpeg::Error::EncoderNotFound;
        for (name, planar, rates) in choices {
            match Self::with(output, params, name, planar, rates) {
                Ok(track) => return Ok(track),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    fn with(
        output: &mut Output,
        params: AudioParams,
        name: &'static str,
        planar: bool,
        rates: &[u32],
    ) -> Result<Self, ffmpeg::Error> {
        let codec = encoder::find_by_name(name).ok_or(ffmpeg::Error::EncoderNotFound)?;
        let rate = if rates.contains(&params.rate) { params.rate } else { rates[0] };
        let layout = if params.channels == 1 { ChannelLayout::MONO } else { ChannelLayout::STEREO };
        let mut audio = codec::Context::new_with_codec(codec).encoder().audio()?;
        audio.set_rate(rate as i32);
        audio.set_channel_layout(layout);
        let format = Sample::F32(if planar { Type::Planar } else { Type::Packed });
        audio.set_format(format);
        audio.set_bit_rate(if params.channels == 1 { 96_000 } else { 160_000 });
        audio.set_time_base(Rational::new(1, rate as i32));
        if output.format().flags().contains(ffmpeg::format::Flags::GLOBAL_HEADER) {
            audio.set_flags(flag::Flags::GLOBAL_HEADER);
        }
        let encoder = audio.open_as(codec)?;
        let mut stream = output.add_stream(codec)?;
        stream.set_parameters(&encoder);
        stream.set_time_base(Rational::new(1, rate as i32));
        let index = stream.index();
        let packed = Sample::F32(Type::Packed);
        let resampler = (rate != params.rate)
            .then(|| resampling::Context::get(packed, layout, params.rate, packed, layout, rate))
            .transpose()?;
        let frame_samples = match encoder.frame_size() {
            0 => 1024,
            n => n as usize,
        };
        Ok(Self {
            encoder,
            name,
            index,
            rate,
            channels: params.channels,
            layout,
            planar,
            frame_samples,
            resampler,
            pending: Vec::new(),
            next_pts: 0,
        })
    }

    fn push(&mut self, output: &mut Output, samples: &[f32]) -> Result<(), ffmpeg::Error> {
        let safe = |s: &f32| if s.is_finite() { s.clamp(-1.0, 1.0) } else { 0.0 };
        match &mut self.resampler {
            None => self.pending.extend(samples.iter().map(safe)),
            Some(resampler) => {
                for piece in samples.chunks(8192 * self.channels) {
                    let count = piece.len() / self.channels;
                    let mut input = frame::Audio::new(Sample::F32(Type::Packed), count, self.layout);
                    input.set_rate(resampler.input().rate);
                    for (to, from) in input.data_mut(0).as_chunks_mut::<4>().0.iter_mut().zip(piece) {
                        *to = safe(from).to_ne_bytes();
                    }
                    let held = resampler.delay().map_or(0, |d| d.output.max(0) as usize);
                    let room = count * self.rate as usize / resampler.input().rate as usize + held + 256;
                    let mut out = frame::Audio::new(Sample::F32(Type::Packed), room, self.layout);
                    resampler.run(&input, &mut out)?;
                    take(&out, self.channels, &mut self.pending);
                }
            }
        }
        self.encode(output, false)
    }

    fn encode(&mut self, output: &mut Output, all: bool) -> Result<(), ffmpeg::Error> {
        let whole = self.frame_samples * self.channels;
        let mut used = 0;
        while self.pending.len() - used >= if all { 1 } else { whole } {
            let piece = &self.pending[used..(used + whole).min(self.pending.len())];
            let count = piece.len() / self.channels;
            if count == 0 {
                break;
            }
            let format = Sample::F32(if self.planar { Type::Planar } else { Type::Packed });
            let mut frame = frame::Audio::new(format, count, self.layout);
            frame.set_rate(self.rate);
            frame.set_pts(Some(self.next_pts));
            self.next_pts += count as i64;
            if self.planar {
                for channel in 0..self.channels {
                    let to = frame.data_mut(channel).as_chunks_mut::<4>().0.iter_mut();
                    for (to, from) in to.zip(piece.iter().skip(channel).step_by(self.channels)) {
                        *to = from.to_ne_bytes();
                    }
                }
            } else {
                for (to, from) in frame.data_mut(0).as_chunks_mut::<4>().0.iter_mut().zip(piece) {
                    *to = from.to_ne_bytes();
                }
            }
            used += piece.len();
            self.encoder.send_frame(&frame)?;
            drain(&mut self.encoder, output, self.index, Rational::new(1, self.rate as i32))?;
        }
        self.pending.drain(..used);
        Ok(())
    }

    fn finish(&mut self, output: &mut Output) -> Result<(), ffmpeg::Error> {
        if let Some(mut resampler) = self.resampler.take() {
            while let Some(delay) = resampler.delay() {
                let room = delay.output.max(0) as usize + 256;
                let mut out = frame::Audio::new(Sample::F32(Type::Packed), room, self.layout);
                resampler.flush(&mut out)?;
                if out.samples() == 0 {
                    break;
                }
                take(&out, self.channels, &mut self.pending);
            }
        }
        self.encode(output, true)?;
        self.encoder.send_eof()?;
        drain(&mut self.encoder, output, self.index, Rational::new(1, self.rate as i32))
    }
}

/// Appends a packed f32 frame's samples.
fn take(frame: &frame::Audio, channels: usize, to: &mut Vec<f32>) {
    if frame.samples() > 0 {
        let floats = frame.data(0).as_chunks::<4>().0.iter().map(|b| f32::from_ne_bytes(*b));
        to.extend(floats.take(frame.samples() * channels));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ffmpeg_without_encoders_says_which_would_do() {
        raw::init().expect("FFmpeg starts");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.mp4");
        let mut output = ffmpeg::format::output_as(&path.display().to_string(), "mp4").expect("an output");
        let params = VideoParams::new(16, 16, (25, 1));
        let error = VideoTrack::new(&mut output, params, &["no-such-encoder", "nor-this"]).err().expect("no encoder");
        let said = not_made(&path, &["no-such-encoder", "nor-this"], error).to_string();
        assert!(said.contains("no-such-encoder, nor-this") && said.contains("out.mp4"), "{said}");
        // The first of the list that opens is taken.
        assert!(VideoTrack::new(&mut output, params, &["no-such-encoder", "mpeg4"]).is_ok_and(|t| t.name == "mpeg4"));
    }
}
