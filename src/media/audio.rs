//! Reads an audio track as interleaved f32 at a chosen rate, every sample placed by presentation time.
//! Knows nothing of devices, clips or models.

use std::collections::VecDeque;
use std::path::Path;

use ffmpeg_next::format::sample::{Sample, Type};
use ffmpeg_next::software::resampling;
use ffmpeg_next::{self as ffmpeg, ChannelLayout, codec, decoder, frame};

use super::error::MediaError;
use super::raw;
use super::source::{Source, tick_secs};

/// Time stamps may wander by this much before they count as a gap or an overlap (a Matroska tick is 1 ms, an AAC
/// frame 23 ms).
const SLACK_SECS: f64 = 0.04;
/// Decoded before a seek's target and thrown away: codecs with overlapping blocks need a run-up.
const RUN_UP_SECS: f64 = 0.12;
/// Packets in a row that may go in without a sample coming out.
const MAX_BARREN_PACKETS: u32 = 5_000;

/// A run of consecutive samples.
#[derive(Debug, Clone, PartialEq)]
pub struct AudioChunk {
    /// Index of the first sample (frame of all channels), counted from t = 0 at the reader's rate; may be negative.
    pub start: i64,
    /// `[samples, channels]`, interleaved.
    pub samples: Vec<f32>,
}

/// A decoder of one file's audio track, resampled to one rate and channel count.
///
/// Times are seconds from the container's start. Chunks come in order and never overlap; where the file has a gap,
/// `start` jumps.
pub struct AudioReader {
    source: Source,
    stream: usize,
    decoder: decoder::Audio,
    tick_secs: f64,
    rate: u32,
    layout: ChannelLayout,
    channels: usize,
    resampler: Option<(InputShape, resampling::Context)>,
    /// Where the next input sample should be by count, in seconds.
    expected_secs: Option<f64>,
    /// Index of the next output sample by count.
    next_out: i64,
    /// Output before this index is not wanted (after a seek) or already given.
    not_before: i64,
    /// A packet that was read already.
    first: Option<ffmpeg::Packet>,
    queue: VecDeque<AudioChunk>,
    draining: bool,
    finished: bool,
    decoded_any: bool,
}

#[derive(Clone, Copy, PartialEq)]
struct InputShape {
    format: Sample,
    layout: ChannelLayout,
    rate: u32,
}

impl AudioReader {
    /// Opens an audio track (`None` = the demuxer's choice) to be read at `rate` with 1 or 2 channels.
    ///
    /// # Errors
    /// When the file cannot be opened, has no such track, or no decoder fits.
    pub fn open(path: &Path, track: Option<usize>, rate: u32, channels: usize) -> Result<Self, MediaError> {
        let mut source = Source::open(path)?;
        let stream = source.audio_stream(track)?;
        let index = stream.index();
        let tick_secs = tick_secs(stream.time_base());
        let parameters = stream.parameters();
        let counted = stream.frames() > 0;
        let id = parameters.id();
        let codec = decoder::find(id)
            .ok_or_else(|| MediaError::NoDecoder { path: path.to_owned(), codec: raw::codec_name(id).to_owned() })?;
        raw::clear_last_line();
        let wrong = |e| MediaError::NothingDecoded { path: path.to_owned(), detail: raw::describe(e) };
        let mut context = codec::Context::from_parameters(parameters).map_err(wrong)?.decoder();
        context.set_packet_time_base(stream.time_base());
        let decoder = context.open_as(codec).and_then(decoder::Opened::audio).map_err(wrong)?;
        source.keep_only(index);
        // A track whose packets no header counts can be there without any.
        let first = if counted { None } else { source.read(index) };
        if first.is_none() && !counted {
            return Err(MediaError::NoAudio(path.to_owned()));
        }
        let layout = if channels == 1 { ChannelLayout::MONO } else { ChannelLayout::STEREO };
        Ok(Self {
            source,
            stream: index,
            decoder,
            tick_secs,
            rate: rate.max(1),
            layout,
            channels: if channels == 1 { 1 } else { 2 },
            resampler: None,
            expected_secs: None,
            next_out: 0,
            not_before: i64::MIN,
            first,
            queue: VecDeque::new(),
            draining: false,
            finished: false,
            decoded_any: false,
        })
    }

    /// The container's declared duration, in seconds.
    pub fn duration_secs(&self) -> Option<f64> {
        self.source.duration_secs()
    }

    /// Channels of the file's own track; 0 when it does not say.
    pub fn source_channels(&self) -> usize {
        usize::from(self.decoder.channels())
    }

    /// Channels of every chunk.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Goes to `t_secs`: the next chunk starts at the first sample that is not before it.
    ///
    /// # Errors
    /// When the file cannot be opened any more.
    pub fn seek(&mut self, t_secs: f64) -> Result<(), MediaError> {
        let t_secs = if t_secs.is_finite() { t_secs } else { 0.0 };
        let run_up = t_secs - RUN_UP_SECS;
        if (run_up <= 0.0 || !self.source.seek(run_up)) && !self.source.seek(-10.0) {
            self.source.reopen()?;
            self.source.keep_only(self.stream);
        }
        self.decoder.flush();
        self.resampler = None;
        self.expected_secs = None;
        self.not_before = (t_secs * f64::from(self.rate)).round() as i64;
        self.first = None;
        self.queue.clear();
        self.draining = false;
        self.finished = false;
        Ok(())
    }

    /// The next run of samples; `None` at the end.
    ///
    /// # Errors
    /// When nothing at all can be decoded, or the channel layout cannot be mixed down.
    pub fn next_chunk(&mut self) -> Result<Option<AudioChunk>, MediaError> {
        let mut barren = 0;
        loop {
            if let Some(chunk) = self.queue.pop_front() {
                return Ok(Some(chunk));
            }
            if self.finished || barren > MAX_BARREN_PACKETS {
                return self.end();
            }
            let mut frame = frame::Audio::empty();
            match self.decoder.receive_frame(&mut frame) {
                Ok(()) => {
                    self.take(&mut frame)?;
                    continue;
                }
                Err(ffmpeg::Error::Other { errno: ffmpeg::error::EAGAIN }) if !self.draining => {}
                Err(ffmpeg::Error::Eof | ffmpeg::Error::Other { errno: ffmpeg::error::EAGAIN }) => {
                    self.flush_resampler()?;
                    self.finished = true;
                    continue;
                }
                Err(_) => {}
            }
            barren += 1;
            match self.first.take().or_else(|| self.source.read(self.stream)) {
                Some(packet) => {
                    raw::clear_last_line();
                    let _ = self.decoder.send_packet(&packet);
                }
                None if self.draining => {
                    self.flush_resampler()?;
                    self.finished = true;
                }
                None => {
                    self.draining = true;
                    let _ = self.decoder.send_eof();
                }
            }
        }
    }

    fn end(&mut self) -> Result<Option<AudioChunk>, MediaError> {
        if !self.decoded_any && self.not_before > 0 {
            // Beyond the last sample there is none. That nothing can be decoded is only so where nothing can from the start.
            self.seek(0.0)?;
            self.next_chunk()?;
            self.queue.clear();
            self.finished = true;
        }
        if self.decoded_any {
            return Ok(None);
        }
        let detail = raw::describe(ffmpeg::Error::InvalidData);
        Err(MediaError::NothingDecoded { path: self.source.path().to_owned(), detail })
    }

    fn take(&mut self, frame: &mut frame::Audio) -> Result<(), MediaError> {
        let rate = frame.rate();
        if frame.samples() == 0 || rate == 0 || frame.channels() == 0 {
            return Ok(());
        }
        self.decoded_any = true;
        if frame.channel_layout().is_empty() {
            frame.set_channel_layout(ChannelLayout::default(i32::from(frame.channels())));
        }
        let mut here = frame.timestamp().map(|t| t as f64 * self.tick_secs - self.source.start_secs());
        if let (Some(at), None, true) = (here, self.expected_secs, self.not_before > i64::MIN) {
            // After a seek the resampler starts on the grid it would be on had it run from t = 0: the same samples.
            let skip = to_common_grid((at * f64::from(rate)).round() as i64, rate, self.rate) as usize;
            if skip >= frame.samples() {
                return Ok(());
            }
            if skip > 0 {
                *frame = without_front(frame, skip);
                here = Some(at + skip as f64 / f64::from(rate));
            }
        }
        let samples = frame.samples();
        let jumped = match (here, self.expected_secs) {
            (Some(here), Some(expected)) => (here - expected).abs() > SLACK_SECS,
            (_, None) => true,
            (None, Some(_)) => false,
        };
        let shape = InputShape { format: frame.format(), layout: frame.channel_layout(), rate };
        if jumped || self.resampler.as_ref().is_some_and(|(s, _)| *s != shape) {
            self.flush_resampler()?;
        }
        if jumped {
            let at = here.unwrap_or(0.0);
            self.next_out = (at.clamp(-1e8, 1e8) * f64::from(self.rate)).round() as i64;
            self.expected_secs = Some(at);
        }
        self.expected_secs = self.expected_secs.map(|e| e + samples as f64 / f64::from(rate));
        let wrong = |e: ffmpeg::Error| MediaError::Decode {
            path: self.source.path().to_owned(),
            detail: format!("{} Hz with {} channels: {}", rate, frame.channels(), raw::describe(e)),
        };
        raw::clear_last_line();
        let resampler = match &mut self.resampler {
            Some((_, resampler)) => resampler,
            none => {
                let output = Sample::F32(Type::Packed);
                // Channels are averaged, not added up: one of two alike is as loud as both, as the reference has it.
                // (To floats, FFmpeg by itself adds them: stereo would reach the model 3 dB too loud.)
                let mut mix = ffmpeg::Dictionary::new();
                mix.set("rematrix_maxval", "1");
                let (from, to) = (shape.layout, self.layout);
                let made = resampling::Context::get_with(shape.format, from, rate, output, to, self.rate, mix);
                &mut none.insert((shape, made.map_err(wrong)?)).1
            }
        };
        let held = resampler.delay().map_or(0, |d| d.output.max(0) as usize);
        let capacity = (samples as u64 * u64::from(self.rate) / u64::from(rate)) as usize + held + 256;
        let mut out = frame::Audio::new(Sample::F32(Type::Packed), capacity, self.layout);
        resampler.run(frame, &mut out).map_err(wrong)?;
        self.give(&out);
        Ok(())
    }

    /// Takes what the resampler still holds and forgets it.
    fn flush_resampler(&mut self) -> Result<(), MediaError> {
        let Some((_, mut resampler)) = self.resampler.take() else { return Ok(()) };
        loop {
            let Some(delay) = resampler.delay() else { return Ok(()) };
            let capacity = delay.output.max(0) as usize + 256;
            let mut out = frame::Audio::new(Sample::F32(Type::Packed), capacity, self.layout);
            let more = resampler
                .flush(&mut out)
                .map_err(|e| MediaError::Decode { path: self.source.path().to_owned(), detail: raw::describe(e) })?;
            if out.samples() == 0 {
                return Ok(());
            }
            self.give(&out);
            if more.is_none() {
                return Ok(());
            }
        }
    }

    /// Queues what the resampler made, without what is not wanted or was already given.
    fn give(&mut self, out: &frame::Audio) {
        let count = out.samples();
        if count == 0 {
            return;
        }
        let start = self.next_out;
        self.next_out += count as i64;
        let skip = self.not_before.saturating_sub(start).clamp(0, count as i64) as usize;
        if skip == count {
            return;
        }
        let Some(bytes) = out.data(0).get(skip * self.channels * 4..count * self.channels * 4) else { return };
        // A damaged stream can decode to NaN or to values far beyond full scale: neither may reach an ear or a model.
        let samples = bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_ne_bytes(*b))
            .map(|s| if s.is_finite() { s.clamp(-8.0, 8.0) } else { 0.0 })
            .collect();
        self.not_before = self.next_out;
        self.queue.push_back(AudioChunk { start: start + skip as i64, samples });
    }
}

/// How many input samples to leave out, from input sample `at` on, until one falls on an output sample; 0 where that
/// would take too long.
fn to_common_grid(at: i64, rate_in: u32, rate_out: u32) -> i64 {
    let (mut a, mut b) = (rate_in, rate_out);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    let period = i64::from(rate_in / a.max(1));
    if period as f64 > RUN_UP_SECS / 2.0 * f64::from(rate_in) { 0 } else { (-at).rem_euclid(period) }
}

/// A copy of a frame without its first `skip` samples.
fn without_front(frame: &frame::Audio, skip: usize) -> frame::Audio {
    let left = frame.samples() - skip;
    let mut rest = frame::Audio::new(frame.format(), left, frame.channel_layout());
    rest.set_rate(frame.rate());
    let interleaved = if frame.is_packed() { usize::from(frame.channels()) } else { 1 };
    let bytes = frame.format().bytes() * interleaved;
    for plane in 0..frame.planes().min(rest.planes()) {
        if let (Some(from), Some(to)) =
            (frame.data(plane).get(skip * bytes..frame.samples() * bytes), rest.data_mut(plane).get_mut(..left * bytes))
        {
            to.copy_from_slice(from);
        }
    }
    rest
}
