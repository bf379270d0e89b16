//! Reads a video stream frame by frame and seeks in it exactly, by presentation time.
//! Knows nothing of clocks, clips or what the frames are for.

use std::collections::VecDeque;
use std::path::Path;

use ffmpeg_next::codec::discard::Discard;
use ffmpeg_next::codec::{self, threading};
use ffmpeg_next::packet::side_data;
use ffmpeg_next::{self as ffmpeg, decoder, frame};

use super::deinterlace::Deinterlacer;
use super::error::MediaError;
use super::picture::{Orientation, Presentation, VideoFrame, aspect};
use super::raw::{self, Scaler};
use super::source::{Source, frame_secs, tick_secs};
use super::way::Way;
use crate::frame::MAX_PIXELS;

/// Two times closer than this are the same: half of the container's own microsecond.
pub(crate) const EPSILON_SECS: f64 = 0.5e-6;
/// Packets in a row that may go in without a frame coming out.
const MAX_BARREN_PACKETS: u32 = 5_000;
/// Ahead by less than this, decoding on is cheaper than seeking.
const DECODE_ON_SECS: f64 = 0.6;

/// A decoder of one file's video stream.
///
/// Times are seconds from the container's start. One thread owns it; dropping it closes the file.
#[allow(clippy::struct_excessive_bools, reason = "independent facts about a stream and where reading is in it")]
pub struct VideoReader {
    source: Source,
    stream: usize,
    decoder: decoder::Video,
    tick_secs: f64,
    nominal_frame_secs: f64,
    presentation: Presentation,
    converter: Option<Scaler>,
    /// Frames decoded while seeking that come next.
    ready: VecDeque<VideoFrame>,
    /// Presentation time, in ticks, of the last frame decoded.
    last_ticks: Option<i64>,
    /// Presentation time of the last frame handed out.
    last_secs: Option<f64>,
    draining: bool,
    /// Whether any packet came, and any frame.
    fed: bool,
    decoded_any: bool,
    /// Whether the stream says that it is interlaced, or a frame has said so.
    interlaced: bool,
    /// Makes whole pictures from the first interlaced one on.
    deinterlacer: Option<Deinterlacer>,
    /// The last decoded frame, which an interlaced one after it needs as its neighbour.
    neighbour: Option<frame::Video>,
    /// A frame of another size than those in the deinterlacer, which come out first.
    held: Option<(frame::Video, i64)>,
    /// Whether reading began in the middle, so that the first frame's neighbour is missing.
    jumped: bool,
    /// Whether packets are passed over until one says that it needs none before it.
    awaits_key: bool,
    /// What lies on the way to a frame that is sought.
    way: Way,
    /// Whether frames that no other is made of are passed over, and whether any were since the last seek.
    hurry: bool,
    thinned: bool,
    /// The same file once more, to look for key frames ahead without moving here.
    scout: Option<Source>,
}

impl VideoReader {
    /// Opens the video stream of `path` (never its cover art).
    ///
    /// # Errors
    /// When the file cannot be opened, has no picture, is too large, or no decoder fits.
    pub fn open(path: &Path) -> Result<Self, MediaError> {
        Self::of(Source::open(path)?)
    }

    pub(crate) fn of(mut source: Source) -> Result<Self, MediaError> {
        let stream = source.video_stream().ok_or_else(|| MediaError::NoVideo(source.path().to_owned()))?;
        let header = raw::video_header(&stream);
        check_size(source.path(), header.width, header.height)?;
        let index = stream.index();
        let tick_secs = tick_secs(stream.time_base());
        let nominal_frame_secs = frame_secs(&stream).unwrap_or(0.04);
        let presentation = Presentation {
            orientation: orientation(&stream),
            pixel_aspect: aspect(ffmpeg::Rational::new(header.sample_aspect.0, header.sample_aspect.1)).unwrap_or(1.0),
        };
        let decoder = open_decoder(&source, &stream)?;
        source.keep_only(index);
        Ok(Self {
            source,
            stream: index,
            decoder,
            tick_secs,
            nominal_frame_secs,
            presentation,
            converter: None,
            ready: VecDeque::new(),
            last_ticks: None,
            last_secs: None,
            draining: false,
            fed: false,
            decoded_any: false,
            interlaced: header.interlaced,
            deinterlacer: None,
            neighbour: None,
            held: None,
            jumped: false,
            awaits_key: false,
            way: Way::default(),
            hurry: false,
            thinned: false,
            scout: None,
        })
    }

    /// Presentation time of the newest frame handed out, in seconds; `None` after a seek.
    pub(crate) fn last_secs(&self) -> Option<f64> {
        self.last_secs
    }

    /// Passes over frames that no other is made of, or no longer. Those of an interlaced picture are all needed.
    pub(crate) fn set_hurry(&mut self, hurry: bool) {
        self.hurry = hurry && !self.interlaced;
    }

    /// Whether decoding can go on nearer to `t_secs` than it is: at a key frame that lies ahead.
    pub(crate) fn key_ahead(&mut self, t_secs: f64) -> bool {
        let Some(last_secs) = self.last_secs.filter(|_| !self.cannot_restart()) else { return false };
        if self.scout.is_none() {
            self.scout = Source::open(self.source.path()).ok();
            if let Some(scout) = &mut self.scout {
                scout.keep_only(self.stream);
            }
        }
        let Some(scout) = &mut self.scout else { return false };
        let key = if scout.seek(t_secs) { scout.read(self.stream) } else { None };
        let ticks = key.filter(ffmpeg::Packet::is_key).and_then(|key| key.pts().or(key.dts()));
        ticks.is_some_and(|ticks| self.secs(ticks) > last_secs + EPSILON_SECS)
    }

    /// The file being read.
    pub fn path(&self) -> &Path {
        self.source.path()
    }

    /// Whether the file is one still image.
    pub fn is_still(&self) -> bool {
        self.source.is_still()
    }

    /// Whether frames had to be converted, since no shader reads the layout that the decoder gives. All others are the
    /// decoder's own memory.
    pub fn converts(&self) -> bool {
        self.converter.is_some()
    }

    /// The next frame in presentation order; `None` at the end (also where a damaged file ends early).
    ///
    /// # Errors
    /// When the picture grows beyond [`MAX_PIXELS`], nothing at all can be decoded, or memory runs out.
    pub fn next_frame(&mut self) -> Result<Option<VideoFrame>, MediaError> {
        let frame = match self.ready.pop_front() {
            Some(frame) => Some(frame),
            None => self.decode()?.map(|(frame, ticks)| self.present(frame, ticks)).transpose()?,
        };
        if let Some(frame) = &frame {
            self.last_secs = Some(crate::frame::Planes::pts_secs(frame));
        }
        Ok(frame)
    }

    /// Goes to `t_secs`: the next [`next_frame`](Self::next_frame) gives the frame shown then, which is the newest
    /// one whose time is not after `t_secs`, or the first one when there is none.
    ///
    /// # Errors
    /// As for [`next_frame`](Self::next_frame).
    pub fn seek(&mut self, t_secs: f64) -> Result<(), MediaError> {
        self.seek_unless(t_secs, &|| false).map(|_| ())
    }

    /// The frame that a part of the clip begins with, which is what freezing it shows: the first one from `start_secs` on,
    /// or the one that is on screen then where none follows before `end_secs`. It is the first that a model is given.
    ///
    /// # Errors
    /// As for [`next_frame`](Self::next_frame).
    pub fn first_of(&mut self, start_secs: f64, end_secs: f64) -> Result<Option<VideoFrame>, MediaError> {
        use crate::frame::Planes as _;
        self.seek(start_secs)?;
        let Some(on_screen) = self.next_frame()? else { return Ok(None) };
        if on_screen.pts_secs() >= start_secs - EPSILON_SECS {
            return Ok(Some(on_screen));
        }
        let next = self.next_frame()?.filter(|next| next.pts_secs() < end_secs - EPSILON_SECS);
        Ok(Some(next.unwrap_or(on_screen)))
    }

    /// [`seek`](Self::seek), given up as soon as `stale` says so: then false, and only another seek makes sense.
    pub(crate) fn seek_unless(&mut self, t_secs: f64, stale: &dyn Fn() -> bool) -> Result<bool, MediaError> {
        let t_secs = if t_secs.is_finite() { t_secs + EPSILON_SECS } else { 0.0 };
        self.hurry = false;
        let near = |last: &f64| !self.thinned && *last <= t_secs && t_secs - last < DECODE_ON_SECS;
        if let Some(last) = self.last_secs.filter(near) {
            // Only with a frame in hand that is later than the last one is the way forward certain.
            if self.forward_from(last, t_secs, stale)? {
                return Ok(true);
            }
        }
        let mut back_secs = 0.0;
        loop {
            if stale() {
                return Ok(false);
            }
            // An interlaced frame needs the one before it: see `decode`.
            let lead_secs = if self.interlaced { self.nominal_frame_secs * 1.5 } else { 0.0 };
            let target = t_secs - back_secs - lead_secs;
            let from_start = target <= 0.0 || !self.jump(target);
            if from_start {
                self.rewind()?;
            }
            let (tick_secs, start_secs) = (self.tick_secs, self.source.start_secs());
            self.way.look(&mut self.source, self.stream, &|ticks| ticks as f64 * tick_secs - start_secs <= t_secs);
            let first = match self.decode() {
                // From the middle that says nothing about the file: what comes first decides.
                Err(MediaError::NothingDecoded { .. }) if !from_start => None,
                decoded => decoded?,
            };
            let Some(first) = first else {
                if from_start {
                    return Ok(true);
                }
                // Nothing decodes from that key frame on: try an earlier one.
                back_secs = next_back(back_secs);
                continue;
            };
            let first_secs = self.secs(first.1);
            if first_secs > t_secs && !from_start {
                back_secs = next_back(back_secs);
                continue;
            }
            return self.settle(first, t_secs, stale);
        }
    }

    /// The key frame at or before `t_secs`, for a first glance before [`seek`](Self::seek); `None` where decoding on
    /// from where the reader stands is as quick.
    pub(crate) fn key_frame_before(&mut self, t_secs: f64) -> Result<Option<VideoFrame>, MediaError> {
        let t_secs = if t_secs.is_finite() { t_secs + EPSILON_SECS } else { 0.0 };
        if self.last_secs.is_some_and(|last| last <= t_secs && t_secs - last < DECODE_ON_SECS) {
            return Ok(None);
        }
        if t_secs <= 0.0 || !self.jump(t_secs) {
            self.rewind()?;
        }
        let Some((frame, ticks)) = self.decode()? else { return Ok(None) };
        let frame = self.present(frame, ticks)?;
        self.last_secs = Some(crate::frame::Planes::pts_secs(&frame));
        Ok(Some(frame))
    }

    /// Decodes on until a frame later than `t_secs`, keeping the one before it and that one; or until one exactly then.
    fn settle(
        &mut self,
        first: (frame::Video, i64),
        t_secs: f64,
        stale: &dyn Fn() -> bool,
    ) -> Result<bool, MediaError> {
        let mut shown = first;
        let mut next = None;
        // A frame exactly at the target is it: the one after it need not be decoded to know.
        let exact = |reader: &Self, ticks| reader.secs(ticks) >= t_secs - 2.0 * EPSILON_SECS;
        if !exact(self, shown.1) {
            while let Some(frame) = self.decode()? {
                if stale() {
                    self.ready.clear();
                    self.last_secs = None;
                    return Ok(false);
                }
                if self.secs(frame.1) > t_secs {
                    next = Some(frame);
                    break;
                }
                shown = frame;
                if exact(self, shown.1) {
                    break;
                }
            }
        }
        self.ready.clear();
        for (frame, ticks) in std::iter::once(shown).chain(next) {
            let frame = self.present(frame, ticks)?;
            self.ready.push_back(frame);
        }
        Ok(true)
    }

    /// Seeks forward without touching the demuxer. False when the shown frame cannot be had that way.
    fn forward_from(&mut self, last_secs: f64, t_secs: f64, stale: &dyn Fn() -> bool) -> Result<bool, MediaError> {
        use crate::frame::Planes;
        if self.ready.front().is_none_or(|f| f.pts_secs() > t_secs) {
            // The frame shown at `t_secs` is the one already handed out, or unknown: go the sure way.
            if !self.ready.is_empty() || t_secs - last_secs < EPSILON_SECS * 4.0 {
                return Ok(false);
            }
            let Some(frame) = self.decode()? else { return Ok(false) };
            if self.secs(frame.1) > t_secs {
                return Ok(false);
            }
            return self.settle(frame, t_secs, stale);
        }
        while self.ready.get(1).is_some_and(|f| f.pts_secs() <= t_secs) {
            self.ready.pop_front();
        }
        if self.ready.len() == 1 {
            // The one frame in hand may not be the newest before `t_secs`.
            while let Some((frame, ticks)) = self.decode()? {
                let later = self.secs(ticks) > t_secs;
                let frame = self.present(frame, ticks)?;
                if !later {
                    self.ready.clear();
                }
                self.ready.push_back(frame);
                if later {
                    break;
                }
            }
        }
        Ok(true)
    }

    fn jump(&mut self, target_secs: f64) -> bool {
        let moved = self.source.seek(target_secs);
        if moved {
            self.forget();
            self.jumped = true;
            self.awaits_key = true;
        }
        moved
    }

    /// Starts again at the first frame.
    ///
    /// # Errors
    /// When the file cannot be opened any more.
    pub fn rewind(&mut self) -> Result<(), MediaError> {
        // Far before the start, since demuxers that look for decoding times would otherwise land after it.
        if self.cannot_restart() || !self.source.seek(-10.0) {
            self.source.reopen()?;
            self.source.keep_only(self.stream);
            let stream = self.source.input().stream(self.stream);
            let stream = stream.ok_or_else(|| MediaError::NoVideo(self.source.path().to_owned()))?;
            self.decoder = open_decoder(&self.source, &stream)?;
        }
        self.forget();
        Ok(())
    }

    /// Containers without an index (single images, raw streams) claim to seek and then read nothing.
    fn cannot_restart(&self) -> bool {
        let format = self.source.input().format();
        let name = format.name();
        self.source.is_still() || matches!(name, "h264" | "hevc" | "m4v" | "mjpeg" | "mpegvideo" | "obu" | "vc1")
    }

    fn forget(&mut self) {
        // FFmpeg's decoder of this family still refers to what came before when it is only flushed.
        let stale = matches!(self.decoder.id(), codec::Id::THEORA | codec::Id::VP3 | codec::Id::VP4);
        let stream = self.source.input().stream(self.stream).filter(|_| stale);
        match stream.map(|s| open_decoder(&self.source, &s)) {
            Some(Ok(fresh)) => self.decoder = fresh,
            _ => self.decoder.flush(),
        }
        self.ready.clear();
        self.last_ticks = None;
        self.last_secs = None;
        self.draining = false;
        self.deinterlacer = None;
        self.neighbour = None;
        self.held = None;
        self.jumped = false;
        self.awaits_key = false;
        (self.hurry, self.thinned) = (false, false);
        self.way.clear();
    }

    /// The next frame as it is shown, whole, and its time in ticks.
    ///
    /// The missing lines of an interlaced frame are made of its neighbours' fields, so to be the same however it is
    /// reached, it always has both: reading starts one frame early, and that one is thrown away.
    fn decode(&mut self) -> Result<Option<(frame::Video, i64)>, MediaError> {
        loop {
            if let Some(whole) = self.deinterlacer.as_mut().and_then(Deinterlacer::pull) {
                return Ok(Some(whole));
            }
            let stored = match self.held.take() {
                None => self.decode_as_stored()?,
                held => held,
            };
            let Some((frame, ticks)) = stored else {
                let Some(deinterlacer) = &mut self.deinterlacer else { return Ok(None) };
                deinterlacer.finish();
                let last = deinterlacer.pull();
                if last.is_none() {
                    self.deinterlacer = None;
                }
                return Ok(last);
            };
            if let Some(full) = self.deinterlacer.as_mut().filter(|d| !d.fits(&frame)) {
                // The picture changes its size on the way: a new filter for what follows, which has no neighbour.
                full.finish();
                let last = full.pull();
                self.held = Some((frame, ticks));
                if last.is_some() {
                    return Ok(last);
                }
                self.deinterlacer = None;
                self.neighbour = None;
                continue;
            }
            if self.deinterlacer.is_none() {
                if !frame.is_interlaced() {
                    self.neighbour = raw::shared(&frame);
                    return Ok(Some((frame, ticks)));
                }
                self.interlaced = true;
                // Layouts that the filter does not know are shown as they are stored.
                let Ok(mut made) = Deinterlacer::new(&frame) else { return Ok(Some((frame, ticks))) };
                let before = self.neighbour.take();
                let alone = before.is_none() && self.jumped;
                let fed = before.map_or(Ok(()), |b| if made.fits(&b) { made.push(b, 0, false) } else { Ok(()) });
                fed.and_then(|()| made.push(frame, ticks, !alone)).map_err(|e| self.broken(e))?;
                self.deinterlacer = Some(made);
                continue;
            }
            if let Some(deinterlacer) = &mut self.deinterlacer {
                deinterlacer.push(frame, ticks, true).map_err(|e| self.broken(e))?;
            }
        }
    }

    fn broken(&self, error: ffmpeg::Error) -> MediaError {
        MediaError::Decode { path: self.source.path().to_owned(), detail: raw::describe(error) }
    }

    /// The next decoded frame as the file has it, and its time in ticks.
    pub(crate) fn decode_as_stored(&mut self) -> Result<Option<(frame::Video, i64)>, MediaError> {
        if self.is_still() && self.last_ticks.is_some() {
            // What comes after a photograph's picture in its file (smaller ones, depth) is not shown.
            return self.end();
        }
        let mut barren = 0;
        loop {
            let mut frame = frame::Video::empty();
            match self.decoder.receive_frame(&mut frame) {
                Ok(()) => {
                    if frame.width() == 0 || frame.height() == 0 {
                        continue;
                    }
                    check_size(self.source.path(), frame.width(), frame.height())?;
                    self.decoded_any = true;
                    if self.jumped && self.last_ticks.is_none() && frame.timestamp().is_none() {
                        // Reading began in the middle, and this frame does not say where that is.
                        continue;
                    }
                    let step = (self.nominal_frame_secs / self.tick_secs).round().max(1.0) as i64;
                    let ticks = frame
                        .timestamp()
                        .or_else(|| self.last_ticks.map(|last| last.saturating_add(step)))
                        .unwrap_or_else(|| (self.source.start_secs() / self.tick_secs).round() as i64);
                    self.last_ticks = Some(ticks);
                    return Ok(Some((frame, ticks)));
                }
                Err(ffmpeg::Error::Eof) => return self.end(),
                Err(ffmpeg::Error::Other { errno: ffmpeg::error::EAGAIN }) => {
                    if self.draining {
                        return self.end();
                    }
                }
                // A damaged frame: the next packets may do better.
                Err(_) => barren += 1,
            }
            if barren > MAX_BARREN_PACKETS {
                return self.end();
            }
            match self.way.next(&mut self.source, self.stream) {
                Some(packet) => {
                    barren += 1;
                    self.fed = true;
                    // Some demuxers, such as Ogg's, can land between key frames.
                    self.awaits_key &= !packet.is_key();
                    if self.awaits_key {
                        continue;
                    }
                    self.thinned |= self.hurry;
                    let passed = self.hurry || self.way.passes(&packet);
                    self.decoder.skip_frame(if passed { Discard::NonReference } else { Discard::Default });
                    raw::clear_last_line();
                    // Errors are of this packet alone; if none decodes, `end` says so.
                    let _ = self.decoder.send_packet(&packet);
                }
                None if self.draining => return self.end(),
                None => {
                    self.draining = true;
                    let _ = self.decoder.send_eof();
                }
            }
        }
    }

    fn end(&mut self) -> Result<Option<(frame::Video, i64)>, MediaError> {
        self.draining = true;
        if self.decoded_any {
            return Ok(None);
        }
        if !self.fed && !self.jumped {
            return Err(self.source.without_packets(self.stream));
        }
        let detail = raw::describe(ffmpeg::Error::InvalidData);
        Err(MediaError::NothingDecoded { path: self.source.path().to_owned(), detail })
    }

    /// A tick time in seconds from the container's start.
    pub(crate) fn secs(&self, ticks: i64) -> f64 {
        ticks as f64 * self.tick_secs - self.source.start_secs()
    }

    pub(crate) fn present(&mut self, frame: frame::Video, ticks: i64) -> Result<VideoFrame, MediaError> {
        let duration = (frame.packet().duration.max(0) as f64 * self.tick_secs).min(3600.0);
        let secs = self.secs(ticks);
        VideoFrame::new(frame, secs, duration, self.presentation, &mut self.converter)
    }

    /// Seconds per frame by the stream's average rate.
    pub(crate) fn nominal_frame_secs(&self) -> f64 {
        self.nominal_frame_secs
    }
}

fn next_back(back_secs: f64) -> f64 {
    if back_secs == 0.0 { 1.0 } else { back_secs * 3.0 }
}

fn check_size(path: &Path, width: u32, height: u32) -> Result<(), MediaError> {
    if u64::from(width) * u64::from(height) > u64::from(MAX_PIXELS) {
        let limit = MAX_PIXELS / 1_000_000;
        return Err(MediaError::TooLarge { path: path.to_owned(), width, height, limit });
    }
    Ok(())
}

fn open_decoder(source: &Source, stream: &ffmpeg::Stream<'_>) -> Result<decoder::Video, MediaError> {
    let path = || source.path().to_owned();
    let parameters = stream.parameters();
    let id = parameters.id();
    let codec = decoder::find(id)
        .ok_or_else(|| MediaError::NoDecoder { path: path(), codec: raw::codec_name(id).to_owned() })?;
    let wrong = |e| MediaError::NothingDecoded { path: path(), detail: raw::describe(e) };
    let mut context = codec::Context::from_parameters(parameters).map_err(wrong)?;
    // Frame threads hold one frame each: few are enough for 4K, and large pictures should not multiply.
    let header = raw::video_header(stream);
    let large = u64::from(header.width) * u64::from(header.height) > 9_000_000;
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let count = if source.is_still() { 1 } else { cores.min(if large { 2 } else { 4 }) };
    context.set_threading(threading::Config { kind: threading::Type::Frame, count, ..threading::Config::default() });
    let mut decoder = context.decoder();
    decoder.set_packet_time_base(stream.time_base());
    let mut options = ffmpeg::Dictionary::new();
    options.set("max_pixels", &MAX_PIXELS.to_string());
    raw::clear_last_line();
    decoder.open_as_with(codec, options).and_then(decoder::Opened::video).map_err(wrong)
}

/// How the stream's display matrix turns its pictures.
pub(crate) fn orientation(stream: &ffmpeg::Stream<'_>) -> Orientation {
    let matrix = stream.side_data().find(|data| data.kind() == side_data::Type::DisplayMatrix);
    matrix.map_or_else(Orientation::default, |data| Orientation::of_matrix(data.data()))
}
