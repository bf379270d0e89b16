//! Opens a local file for demuxing, safely: its own descriptor (never a name FFmpeg could take for an address), an
//! allow-list of containers, bounded probing, and one clear error for each way a file can be wrong.
//! Knows nothing of decoding.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ffmpeg_next::format::context::{Input, StreamIo};
use ffmpeg_next::format::stream::Disposition;
use ffmpeg_next::{self as ffmpeg, Dictionary, Packet, Rational, Stream, media};

use super::error::MediaError;
use super::raw;

/// Containers and still images that hold their own data. Left out on purpose: whatever names other files or
/// addresses (HLS, DASH, concat, SDP, image sequences, …), devices, and text rendered as video.
const ALLOWED_DEMUXERS: &str = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,live_flv,mpeg,mpegts,mpegvideo,m4v,h264,hevc,\
ivf,av1,obu,ogg,wav,w64,aiff,au,caf,flac,mp3,aac,ac3,eac3,dts,dtshd,truehd,amr,amrnb,amrwb,asf,gif,apng,yuv4mpegpipe,nut,mxf,wv,ape,\
tta,tak,dv,rm,mjpeg,vc1,vc1test,oma,voc,swf,mpc,mpc8,loas,gxf,h261,h263,dirac,dnxhd,png_pipe,jpeg_pipe,jpegls_pipe,\
j2k_pipe,bmp_pipe,webp_pipe,tiff_pipe,ppm_pipe,pgm_pipe,pbm_pipe,pam_pipe,qoi_pipe,gif_pipe,jpegxl_pipe,dpx_pipe,\
exr_pipe,pcx_pipe,sgi_pipe,psd_pipe,pfm_pipe,pgmyuv_pipe,sunrast_pipe,xwd_pipe";

/// Bytes read to recognise a file and its streams.
const PROBE_BYTES: &str = "5000000";
/// Media time read to find frame rates and codecs, in microseconds.
const ANALYSE_US: &str = "5000000";
/// Streams a container may have.
const MAX_STREAMS: &str = "128";
/// Opening a local file takes milliseconds; one that leads the demuxer in circles is given up after this.
const OPEN_DEADLINE: Duration = Duration::from_secs(15);
/// Damaged packets in a row after which reading ends.
const MAX_BAD_READS: u32 = 1_000;

/// An open container.
pub(crate) struct Source {
    path: PathBuf,
    input: Input,
    start_us: i64,
    bad_reads: u32,
    still: bool,
}

impl Source {
    /// Opens `path`.
    ///
    /// # Errors
    /// One line for each way a file can be missing, empty, foreign or damaged.
    pub(crate) fn open(path: &Path) -> Result<Self, MediaError> {
        let input = demux(path)?;
        let start_us = raw::start_time_us(&input).unwrap_or(0);
        let mut source = Self { path: path.to_owned(), input, start_us, bad_reads: 0, still: false };
        source.still = source.holds_one_picture()?;
        Ok(source)
    }

    /// Opens the same file again, from its beginning.
    pub(crate) fn reopen(&mut self) -> Result<(), MediaError> {
        self.input = demux(&self.path)?;
        self.bad_reads = 0;
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn input(&self) -> &Input {
        &self.input
    }

    /// The container's start in seconds on FFmpeg's own axis: what t = 0 means.
    pub(crate) fn start_secs(&self) -> f64 {
        self.start_us as f64 * 1e-6
    }

    /// The container's declared duration in seconds, if it says one: a guess from its first seconds is none.
    pub(crate) fn duration_secs(&self) -> Option<f64> {
        let us = raw::known(self.input.duration()).filter(|_| !raw::length_is_guessed(&self.input))?;
        // Some say where they end on their own axis, and not how long that is after their start.
        let us = if self.counts_from_zero() { us.saturating_sub(self.start_us) } else { us };
        (us > 0).then_some(us as f64 * 1e-6)
    }

    fn counts_from_zero(&self) -> bool {
        let format = self.input.format();
        let name = format.name();
        name.starts_with("mov,") || name.starts_with("matroska,")
    }

    /// Whether the declared duration need not be that of picture and sound, so that their last packets decide: where it
    /// counts from elsewhere, where something else (subtitles, data) may be longer, and in FLV, whose last tag need not be
    /// the latest.
    pub(crate) fn length_is_loose(&self) -> bool {
        let other = |s: Stream<'_>| matches!(s.parameters().medium(), media::Type::Subtitle | media::Type::Data);
        let elsewhere = self.start_us != 0 && self.counts_from_zero();
        elsewhere || self.input.format().name().contains("flv") || self.input.streams().any(other)
    }

    /// The video stream to show: the demuxer's best one that is not cover art; `None` without a picture.
    pub(crate) fn video_stream(&self) -> Option<Stream<'_>> {
        let real = |s: &Stream<'_>| {
            s.parameters().medium() == media::Type::Video && !s.disposition().contains(Disposition::ATTACHED_PIC)
        };
        let best = self.input.streams().best(media::Type::Video).filter(real);
        best.or_else(|| self.input.streams().find(real))
    }

    /// The audio streams in the order in which tracks are numbered.
    pub(crate) fn audio_streams(&self) -> impl Iterator<Item = Stream<'_>> {
        self.input.streams().filter(|s| s.parameters().medium() == media::Type::Audio)
    }

    /// The audio stream of a track number, or the demuxer's best one.
    pub(crate) fn audio_stream(&self, track: Option<usize>) -> Result<Stream<'_>, MediaError> {
        match track {
            None => self
                .input
                .streams()
                .best(media::Type::Audio)
                .or_else(|| self.audio_streams().next())
                .ok_or_else(|| MediaError::NoAudio(self.path.clone())),
            Some(track) => {
                let count = self.audio_streams().count();
                self.audio_streams().nth(track).ok_or_else(|| MediaError::NoSuchTrack {
                    path: self.path.clone(),
                    track,
                    count,
                })
            }
        }
    }

    /// What is wrong with a video stream of which no packet came from the file's beginning on: where a header counts some,
    /// the file is cut off, else there is none.
    pub(crate) fn without_packets(&self, stream: usize) -> MediaError {
        let path = self.path.clone();
        match self.input.stream(stream).filter(|stream| stream.frames() > 0) {
            Some(_) => MediaError::NothingDecoded { path, detail: "no frame in it".to_owned() },
            None => MediaError::NoVideo(path),
        }
    }

    /// Makes the demuxer skip every stream but this one.
    pub(crate) fn keep_only(&mut self, stream: usize) {
        raw::discard_others(&mut self.input, stream);
    }

    /// Whether the file is one still image: a PNG, a JPEG, an AVIF; also a GIF with one frame, and a video without sound
    /// whose header counts one.
    pub(crate) fn is_still(&self) -> bool {
        self.still
    }

    fn holds_one_picture(&mut self) -> Result<bool, MediaError> {
        let format = self.input.format();
        let name = format.name();
        let Some(stream) = self.video_stream().filter(|_| self.audio_streams().next().is_none()) else {
            return Ok(false);
        };
        let index = stream.index();
        if stream.frames() == 1 || name.starts_with("gif") || name == "apng" {
            // Only a second packet tells; what a header counts need not be all there is.
            let one = self.read(index).is_some() && self.read(index).is_none();
            self.reopen()?;
            return Ok(one);
        }
        let brand = self.input.metadata().get("major_brand").map(str::to_owned);
        Ok(name.ends_with("_pipe") || brand.as_deref() == Some("avif"))
    }

    /// The next packet of `stream`; `None` at the end of the file, also when the file is cut off there.
    pub(crate) fn read(&mut self, stream: usize) -> Option<Packet> {
        loop {
            let packet = self.read_any()?;
            if packet.stream() == stream {
                return Some(packet);
            }
        }
    }

    /// The next packet of any stream; `None` as for [`read`](Self::read).
    pub(crate) fn read_any(&mut self) -> Option<Packet> {
        let mut packet = Packet::empty();
        loop {
            match packet.read(&mut self.input) {
                Ok(()) => {
                    self.bad_reads = 0;
                    return Some(packet);
                }
                Err(ffmpeg::Error::InvalidData) if self.bad_reads < MAX_BAD_READS => self.bad_reads += 1,
                // A file that is cut off ends in an I/O error or a plain end: both end the stream.
                Err(_) => return None,
            }
        }
    }

    /// Seeks so that reading goes on at a key frame at or before `t_secs` (container time). False when it cannot.
    pub(crate) fn seek(&mut self, t_secs: f64) -> bool {
        let us = self.start_us.saturating_add((t_secs.clamp(-1e9, 1e9) * 1e6).floor() as i64);
        self.bad_reads = 0;
        self.input.seek(us, ..us.saturating_add(1)).is_ok()
    }
}

/// Opens a file's container at its beginning.
fn demux(path: &Path) -> Result<Input, MediaError> {
    raw::init()?;
    let meta = std::fs::metadata(path).map_err(|e| MediaError::io(path, &e))?;
    if meta.is_dir() {
        return Err(MediaError::Directory(path.to_owned()));
    }
    if !meta.is_file() {
        return Err(MediaError::NotAFile(path.to_owned()));
    }
    if meta.len() == 0 {
        return Err(MediaError::Empty(path.to_owned()));
    }
    let file = File::open(path).map_err(|e| MediaError::io(path, &e))?;
    let opened = Arc::new(AtomicBool::new(false));
    let interrupt = {
        let (opened, deadline) = (Arc::clone(&opened), Instant::now() + OPEN_DEADLINE);
        move || !opened.load(Ordering::Relaxed) && Instant::now() > deadline
    };
    let mut options = Dictionary::new();
    options.set("protocol_whitelist", "file,pipe");
    options.set("format_whitelist", ALLOWED_DEMUXERS);
    options.set("probesize", PROBE_BYTES);
    options.set("analyzeduration", ANALYSE_US);
    options.set("max_streams", MAX_STREAMS);
    raw::clear_last_line();
    let io = StreamIo::from_read_seek(file).map_err(|e| MediaError::Library(raw::describe(e)))?;
    // No name is given to FFmpeg: content alone decides, and no pattern or address can hide in a name.
    let input = ffmpeg::format::input_from_stream_with_interrupt(io, None, Some(options), interrupt)
        .map_err(|e| open_error(path, e))?;
    opened.store(true, Ordering::Relaxed);
    Ok(input)
}

/// Seconds per unit of a stream's time base; 0 never happens, a missing base counts as microseconds.
pub(crate) fn tick_secs(base: Rational) -> f64 {
    let (num, den) = (base.numerator(), base.denominator());
    if num <= 0 || den <= 0 { 1e-6 } else { f64::from(num) / f64::from(den) }
}

/// Seconds per frame by a stream's average rate, or by its rate; `None` where neither makes sense.
pub(crate) fn frame_secs(stream: &Stream<'_>) -> Option<f64> {
    let rate = positive(stream.avg_frame_rate()).or_else(|| positive(stream.rate()))?;
    (0.01..=1000.0).contains(&rate).then_some(1.0 / rate)
}

/// A rational as a number, `None` unless positive.
pub(crate) fn positive(ratio: Rational) -> Option<f64> {
    let (num, den) = (ratio.numerator(), ratio.denominator());
    (num > 0 && den > 0).then(|| f64::from(num) / f64::from(den))
}

fn open_error(path: &Path, error: ffmpeg::Error) -> MediaError {
    let detail = raw::describe(error);
    if detail.contains("not on whitelist") {
        return MediaError::NotAllowed(path.to_owned());
    }
    if detail.contains("moov atom not found") {
        return MediaError::CutOff(path.to_owned());
    }
    let detail = match error {
        ffmpeg::Error::InvalidData if detail == error.to_string() => "its content is of no known format".to_owned(),
        ffmpeg::Error::Exit => "reading it leads nowhere".to_owned(),
        _ => detail,
    };
    MediaError::NotMedia { path: path.to_owned(), detail }
}
