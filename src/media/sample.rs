//! What a model is given of a clip: frames by the sampling rule and 16 kHz mono sound, both placed by presentation
//! time. Knows nothing of any model's own preprocessing.

use std::path::Path;

use super::ending::is_early;
use super::error::MediaError;
use super::picture::ToRgb;
use super::raw;
use super::reader::{EPSILON_SECS, VideoReader};
use super::soundtrack::Soundtrack;
use super::source::Source;
use crate::clip::{AudioSource, ClipSpec, FrameEdit};
use crate::frame::{Planes, RgbImage, display_size};
use crate::sampled::{SAMPLE_RATE, SampledAudio, SampledClip, SampledVideo, frame_indices};
use crate::settings::Sampling;

/// Most seconds of sound a model is given; what is beyond is cut, with a note.
pub const MAX_AUDIO_SECS: f64 = 300.0;
/// Most bytes of sampled frames held at once.
const MAX_FRAME_BYTES: u64 = 3 << 30;
/// Packets a video stream may have (an hour at 60 per second is 216,000).
const MAX_PACKETS: usize = 4_000_000;
/// From this many frames on, key frames are used to skip what is not needed.
const SKIP_FROM: usize = 2_000;
/// The longest time that a frame is shown.
const LONGEST_FRAME_SECS: f64 = 3600.0;
/// Sound that starts later than this after the picture is preceded by silence, so that both stay level.
const LEAD_SECS: f64 = 0.04;

/// Samples a clip: frames by `frame_indices`, upright, in square pixels, RGB; sound at 16 kHz, mono.
///
/// Returns the clip and notes for the user (sound cut, nothing to hear, file cut off), each one sentence. With
/// [`FrameEdit::Shuffle`] and [`FrameEdit::Reverse`] the pictures change places and the times stay in order: slot `i`
/// shows another slot's picture, which is also what the player shows.
///
/// `cancel` is asked between packets.
///
/// # Errors
/// When a file cannot be used, the range is empty, or the frames would take too much memory.
pub fn sample_clip(
    clip: &ClipSpec,
    sampling: &Sampling,
    cancel: &dyn Fn() -> bool,
) -> Result<(SampledClip, Vec<String>), MediaError> {
    sample_clip_with(clip, sampling, cancel, &mut |image, _| Ok(image))
}

/// Takes a frame as it is decoded, and how many there will be in all; gives what is kept of it, or refuses.
pub type Intake<'a> = dyn FnMut(RgbImage, usize) -> Result<RgbImage, Box<dyn std::error::Error + Send + Sync>> + 'a;

/// [`sample_clip`] with `each` applied to every frame as it is decoded, so that a caller who only needs a smaller
/// picture never holds the large ones, and one who wants fewer says so at the first.
pub fn sample_clip_with(
    clip: &ClipSpec,
    sampling: &Sampling,
    cancel: &dyn Fn() -> bool,
    each: &mut Intake<'_>,
) -> Result<(SampledClip, Vec<String>), MediaError> {
    let mut notes = Vec::new();
    let mut video = None;
    let mut still = false;
    // Where the picture ends: a swapped soundtrack is cut there.
    let mut picture_end = None;
    let mut duration = None;
    let original = matches!(clip.audio, AudioSource::Original { .. });
    // Why there is no picture in a part in which there may still be sound.
    let mut no_picture = None;
    if let Some(path) = &clip.video {
        let source = Source::open(path)?;
        duration = source.duration_secs().filter(|_| !source.length_is_loose());
        still = source.is_still();
        let sampled = match source.video_stream() {
            Some(_) => sample_video(path, source, clip, sampling, cancel, each, &mut notes),
            None => Err(MediaError::NoVideo(path.clone())),
        };
        match sampled {
            Ok((sampled, end_secs)) => {
                video = Some(sampled);
                picture_end = (!still).then_some(end_secs);
            }
            Err(MediaError::NoVideo(_)) if !matches!(clip.audio, AudioSource::None) => {
                notes.push(format!("{} has no picture: only its sound is used.", name(path)));
            }
            Err(error @ MediaError::EmptyRange { .. }) if original => no_picture = Some(error),
            Err(error) => return Err(error),
        }
    }
    let range = range_of(clip);
    if still && clip.audio.is_made_up() && clip.end_secs.is_none() {
        return Err(MediaError::NoLength);
    }
    let opened = if still && original { Ok(None) } else { Soundtrack::open(clip, SAMPLE_RATE, 1, cancel) };
    let audio = match opened {
        Err(MediaError::NoAudio(_)) if no_picture.is_some() => None,
        Err(MediaError::NoAudio(path)) if original && video.is_some() => {
            notes.push(format!("{} has no sound: only its picture is used.", name(&path)));
            None
        }
        Err(error) => return Err(error),
        Ok(None) => None,
        Ok(Some(sound)) => {
            let limit = if original { duration } else { picture_end };
            match sample_audio(sound, range, limit, video.is_some(), picture_end, cancel, &mut notes) {
                Err(MediaError::EmptyRange { .. }) if no_picture.is_some() => None,
                sampled => Some(sampled?),
            }
        }
    };
    if let (Some(error), Some(path)) = (no_picture, &clip.video) {
        if audio.is_none() {
            return Err(error);
        }
        notes.push(format!("The picture of {} ends before this part: only its sound is used.", name(path)));
    }
    Ok((SampledClip { video, audio }, notes))
}

/// The clip's range in seconds; unbounded ends are infinite.
fn range_of(clip: &ClipSpec) -> (f64, f64) {
    (clip.start_secs.unwrap_or(f64::NEG_INFINITY), clip.end_secs.unwrap_or(f64::INFINITY))
}

fn name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned())
}

/// One frame of the file, known by its time stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) ticks: i64,
    /// How many ticks it is shown, as far as the file says it; 0 where it does not.
    lasts: u32,
    pub(super) key: bool,
}

/// Samples the picture; also returns when it ends, in seconds.
fn sample_video(
    path: &Path,
    source: Source,
    clip: &ClipSpec,
    sampling: &Sampling,
    cancel: &dyn Fn() -> bool,
    each: &mut Intake<'_>,
    notes: &mut Vec<String>,
) -> Result<(SampledVideo, f64), MediaError> {
    let declared = source.duration_secs().filter(|_| !source.length_is_loose());
    let still = source.is_still();
    if let Some(hdr) = source.video_stream().and_then(|s| raw::hdr_name(raw::video_header(&s).transfer)) {
        notes.push(format!(
            "{} is HDR ({hdr}): it is shown tone-mapped, but the model gets its colours as they are stored, not tone-mapped, \
             as the reference does it; to it they look flat.",
            name(path)
        ));
    }
    let Stamped { mut reader, mut stamps, mut exact } = stamped(source, cancel)?;
    loop {
        let plan = Plan::new(&reader, &stamps, clip, sampling)?;
        match collect(&mut reader, &stamps, &plan, clip.frames, cancel, each)? {
            Some(frames) => {
                let whole = clip.end_secs.is_none() && !still;
                if let Some(declared) = declared.filter(|d| whole && is_early(plan.stream_end_secs, *d)) {
                    let end_secs = plan.stream_end_secs;
                    notes.push(format!("The picture of {} ends at {end_secs:.2} s of {declared:.2} s.", name(path)));
                }
                let pts_secs = plan.wanted.iter().map(|i| reader.secs(stamps[*i].ticks)).collect();
                let video = SampledVideo { frames, pts_secs, fps: sampling.fps() };
                return Ok((video, plan.end_secs));
            }
            // The decoder gives other frames than the packets promised (hidden frames, damage): count them truly.
            None if !exact => {
                exact = true;
                stamps = decode_stamps(&mut reader, cancel)?;
            }
            None => {
                let detail = "frames come differently every time".to_owned();
                return Err(MediaError::Decode { path: path.to_owned(), detail });
            }
        }
    }
}

/// A video whose frames' times are known.
pub(super) struct Stamped {
    /// At its first frame.
    pub(super) reader: VideoReader,
    /// In order.
    pub(super) stamps: Vec<Stamp>,
    /// Whether they were counted by decoding.
    pub(super) exact: bool,
}

/// Learns the times of a video's frames, from its packets where these tell them.
pub(super) fn stamped(mut source: Source, cancel: &dyn Fn() -> bool) -> Result<Stamped, MediaError> {
    let promised = if source.is_still() { None } else { scan_packets(&mut source, cancel)? };
    let mut reader = VideoReader::of(source)?;
    let exact = promised.is_none();
    let stamps = match promised {
        Some(stamps) => {
            reader.rewind()?;
            stamps
        }
        None => decode_stamps(&mut reader, cancel)?,
    };
    Ok(Stamped { reader, stamps, exact })
}

fn lasts(ticks: i64) -> u32 {
    u32::try_from(ticks.max(0)).unwrap_or(u32::MAX)
}

/// Reads every packet's time stamp without decoding. `None` when the packets have none.
fn scan_packets(source: &mut Source, cancel: &dyn Fn() -> bool) -> Result<Option<Vec<Stamp>>, MediaError> {
    let Some(stream) = source.video_stream().map(|s| s.index()) else { return Ok(None) };
    source.keep_only(stream);
    let mut stamps = Vec::new();
    while let Some(packet) = source.read(stream) {
        if cancel() {
            return Err(MediaError::Cancelled);
        }
        if raw::is_discarded(&packet) {
            continue;
        }
        let Some(ticks) = packet.pts() else { return Ok(None) };
        stamps.push(Stamp { ticks, lasts: lasts(packet.duration()), key: packet.is_key() });
        if stamps.len() > MAX_PACKETS {
            let detail = format!("more than {MAX_PACKETS} frames");
            return Err(MediaError::Decode { path: source.path().to_owned(), detail });
        }
    }
    if stamps.is_empty() {
        return Err(source.without_packets(stream));
    }
    stamps.sort_by_key(|s| s.ticks);
    Ok(Some(stamps))
}

/// Decodes the whole stream for its time stamps alone.
pub(super) fn decode_stamps(reader: &mut VideoReader, cancel: &dyn Fn() -> bool) -> Result<Vec<Stamp>, MediaError> {
    reader.rewind()?;
    let mut stamps = Vec::new();
    while let Some((frame, ticks)) = reader.decode_as_stored()? {
        if cancel() {
            return Err(MediaError::Cancelled);
        }
        stamps.push(Stamp { ticks, lasts: lasts(frame.packet().duration), key: frame.is_key() });
        if stamps.len() > MAX_PACKETS {
            let detail = format!("more than {MAX_PACKETS} frames");
            return Err(MediaError::Decode { path: reader.path().to_owned(), detail });
        }
    }
    reader.rewind()?;
    Ok(stamps)
}

/// Which frames are wanted, as indices into the stamps.
pub(super) struct Plan {
    pub(super) wanted: Vec<usize>,
    /// Where the used part of the picture ends.
    end_secs: f64,
    /// Where the whole picture ends.
    stream_end_secs: f64,
}

impl Plan {
    pub(super) fn new(
        reader: &VideoReader,
        stamps: &[Stamp],
        clip: &ClipSpec,
        sampling: &Sampling,
    ) -> Result<Self, MediaError> {
        let path = || reader.path().to_owned();
        let secs = |s: &Stamp| reader.secs(s.ticks);
        let nominal = reader.nominal_frame_secs();
        let Some(last) = stamps.last() else {
            return Err(MediaError::NothingDecoded { path: path(), detail: "no frame in it".to_owned() });
        };
        // The last picture may stand for long. An hour is more than any does.
        let says = reader.secs(last.ticks.saturating_add(last.lasts.into())) - secs(last);
        let stream_end_secs = secs(last) + if says > 0.0 { says.min(LONGEST_FRAME_SECS) } else { nominal };
        if reader.is_still() {
            // It has no time of its own: a range is its sound's.
            return Ok(Self { wanted: vec![0], end_secs: stream_end_secs, stream_end_secs });
        }
        let (start, end) = range_of(clip);
        if end <= start || start >= stream_end_secs {
            return Err(MediaError::EmptyRange {
                path: path(),
                start_secs: start.max(0.0),
                end_secs: end,
                duration_secs: stream_end_secs,
            });
        }
        let mut from = stamps.partition_point(|s| secs(s) < start - EPSILON_SECS);
        let to = stamps.partition_point(|s| secs(s) < end - EPSILON_SECS);
        if from >= to {
            // Between two frames: the one that is on screen.
            from = to.saturating_sub(1);
        }
        let to = to.max(from + 1);
        let part = &stamps[from..to];
        // A constant rate is taken from the container, as the reference does; with a variable one it is counted.
        let counted = (secs(&part[part.len() - 1]) - secs(&part[0])) / (part.len().max(2) - 1) as f64;
        let varies = part.windows(2).any(|w| ((secs(&w[1]) - secs(&w[0])) - nominal).abs() > nominal * 0.25 + 0.0015);
        let frame_secs = if varies && counted > 0.0 { counted } else { nominal };
        let wanted = frame_indices(part.len(), 1.0 / frame_secs, sampling.fps());
        let wanted = wanted.into_iter().map(|i| from + i.min(part.len() - 1)).collect();
        Ok(Self { wanted, end_secs: stream_end_secs.min(end), stream_end_secs })
    }
}

/// Decodes the wanted frames. `None` when the decoder gives other time stamps than expected.
fn collect(
    reader: &mut VideoReader,
    stamps: &[Stamp],
    plan: &Plan,
    edit: FrameEdit,
    cancel: &dyn Fn() -> bool,
    each: &mut Intake<'_>,
) -> Result<Option<Vec<RgbImage>>, MediaError> {
    let mut to_rgb = ToRgb::default();
    let mut frames: Vec<RgbImage> = Vec::with_capacity(plan.wanted.len());
    // Black needs a size and freezing one picture: the first frame is enough for both.
    let needed = match edit {
        FrameEdit::Keep | FrameEdit::Shuffle { .. } | FrameEdit::Reverse => plan.wanted.len(),
        FrameEdit::Black | FrameEdit::Freeze => 1,
    };
    let mut at = 0;
    let skipping = stamps.len() >= SKIP_FROM;
    reader.rewind()?;
    for &index in &plan.wanted[..needed] {
        if cancel() {
            return Err(MediaError::Cancelled);
        }
        let between = at..index.saturating_sub(1).max(at);
        if skipping && stamps[between].iter().any(|s| s.key) {
            if !reader.seek_unless(reader.secs(stamps[index].ticks), cancel)? {
                return Err(MediaError::Cancelled);
            }
            let Some(frame) = reader.next_frame()? else { return Ok(None) };
            if (frame.pts_secs() - reader.secs(stamps[index].ticks)).abs() > EPSILON_SECS {
                return Ok(None);
            }
            keep(&frame, &mut to_rgb, each, plan, reader.path(), &mut frames)?;
            at = index + 1;
            continue;
        }
        loop {
            if cancel() {
                return Err(MediaError::Cancelled);
            }
            if at > index {
                // The rule names a frame twice: it is given twice.
                if let Some(last) = frames.last().cloned() {
                    frames.push(last);
                }
                break;
            }
            let Some(frame) = reader.next_frame()? else { return Ok(None) };
            if (frame.pts_secs() - reader.secs(stamps[at].ticks)).abs() > EPSILON_SECS {
                return Ok(None);
            }
            at += 1;
            if at == index + 1 {
                keep(&frame, &mut to_rgb, each, plan, reader.path(), &mut frames)?;
                break;
            }
        }
    }
    Ok(Some(edited(frames, edit, plan.wanted.len())))
}

fn keep(
    frame: &super::picture::VideoFrame,
    to_rgb: &mut ToRgb,
    each: &mut Intake<'_>,
    plan: &Plan,
    path: &Path,
    frames: &mut Vec<RgbImage>,
) -> Result<(), MediaError> {
    let image = each(to_rgb.convert(frame)?, plan.wanted.len()).map_err(MediaError::Refused)?;
    if frames.is_empty() {
        let bytes = image.data.len() as u64 * plan.wanted.len() as u64;
        if bytes > MAX_FRAME_BYTES {
            let [w, h] = display_size(frame);
            log::info!("{} frames of {w}×{h}", plan.wanted.len());
            return Err(MediaError::TooManyPixels { path: path.to_owned(), gib: bytes as f64 / f64::from(1 << 30) });
        }
    }
    frames.push(image);
    Ok(())
}

/// Applies a frame edit to the sampled frames.
fn edited(mut frames: Vec<RgbImage>, edit: FrameEdit, count: usize) -> Vec<RgbImage> {
    match edit {
        FrameEdit::Keep => frames,
        FrameEdit::Black => {
            for frame in &mut frames {
                frame.data.fill(0);
            }
            repeat(&frames, count)
        }
        FrameEdit::Freeze => repeat(&frames, count),
        FrameEdit::Shuffle { .. } | FrameEdit::Reverse => {
            let mut slots: Vec<_> = frames.into_iter().map(Some).collect();
            order(edit, count).into_iter().filter_map(|i| slots.get_mut(i).and_then(Option::take)).collect()
        }
    }
}

/// Which frame of `count` is in each slot.
pub(super) fn order(edit: FrameEdit, count: usize) -> Vec<usize> {
    match edit {
        FrameEdit::Shuffle { seed } => shuffled(count, seed),
        FrameEdit::Reverse => (0..count).rev().collect(),
        FrameEdit::Keep | FrameEdit::Black | FrameEdit::Freeze => (0..count).collect(),
    }
}

fn repeat(frames: &[RgbImage], count: usize) -> Vec<RgbImage> {
    frames.first().map_or_else(Vec::new, |first| vec![first.clone(); count])
}

/// A permutation of `0..count`, never the identity from two on. It depends on `count` and the seed alone, so the same
/// clip is always shuffled the same way.
pub(crate) fn shuffled(count: usize, seed: u64) -> Vec<usize> {
    use rand::SeedableRng;
    use rand::seq::SliceRandom;
    let mut order: Vec<usize> = (0..count).collect();
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(0x6d6f_6461 ^ seed);
    order.shuffle(&mut random);
    if count > 1 && order.iter().enumerate().all(|(i, n)| i == *n) {
        order.rotate_left(1);
    }
    order
}

/// Samples the sound of a file in a range of the clip's axis, cut at `limit_secs`. Beside a moving picture, which ends at
/// `picture_secs`, a part in which nothing is heard is silence.
fn sample_audio(
    mut sound: Soundtrack,
    (start, end): (f64, f64),
    limit_secs: Option<f64>,
    with_picture: bool,
    picture_secs: Option<f64>,
    cancel: &dyn Fn() -> bool,
    notes: &mut Vec<String>,
) -> Result<SampledAudio, MediaError> {
    let rate = f64::from(SAMPLE_RATE);
    let length = sound.end_secs();
    let from_secs = start.max(0.0);
    let stop_secs = end.min(limit_secs.unwrap_or(f64::INFINITY));
    let empty = |sound: &Soundtrack| MediaError::EmptyRange {
        path: sound.path().to_owned(),
        start_secs: from_secs,
        end_secs: end,
        duration_secs: length.unwrap_or(0.0),
    };
    if stop_secs <= from_secs {
        return Err(empty(&sound));
    }
    let from = (from_secs * rate).round() as i64;
    let stop = if stop_secs < 1e9 { (stop_secs * rate).round() as i64 } else { i64::MAX };
    let longest = (MAX_AUDIO_SECS * rate) as i64;
    if from > 0 {
        sound.seek(from_secs)?;
    }
    let mut samples: Vec<f32> = Vec::new();
    let mut first = None;
    let mut cut = false;
    while let Some(chunk) = sound.next_chunk()? {
        if cancel() {
            return Err(MediaError::Cancelled);
        }
        if chunk.start >= stop {
            break;
        }
        if first.is_none() {
            let begins = chunk.start.max(from);
            if chunk.start + (chunk.samples.len() as i64) <= from {
                continue;
            }
            // A late start is silence, except for a codec's own few milliseconds of priming.
            let padded = with_picture && (begins - from) as f64 > LEAD_SECS * rate;
            first = Some(if padded { from } else { begins });
        }
        let Some(first) = first else { continue };
        let at = (chunk.start - first).max(0);
        if at >= longest {
            cut = true;
            break;
        }
        // A hole in the file is silence; an overlap was already given.
        let at = at as usize;
        if at > samples.len() {
            samples.resize(at, 0.0);
        }
        let skip = (first - chunk.start).max(0) as usize + (samples.len() - at);
        let room = (stop.saturating_sub(first)).min(longest) as usize - samples.len();
        let fresh = chunk.samples.get(skip.min(chunk.samples.len())..).unwrap_or_default();
        samples.extend_from_slice(&fresh[..fresh.len().min(room)]);
        if fresh.len() > room {
            cut = samples.len() as i64 >= longest;
            break;
        }
    }
    let Some(first) = first.filter(|_| !samples.is_empty()) else {
        // As it is heard. Of a still, time is its sound's: there is none.
        let silent_secs = picture_secs.map_or(0.0, |end| end.min(stop_secs) - from_secs).min(MAX_AUDIO_SECS);
        let silent = (silent_secs * rate).round() as usize;
        if silent == 0 {
            return Err(empty(&sound));
        }
        let until_secs = from_secs + silent_secs;
        notes.push(format!(
            "The sound of {} is silent from {from_secs:.2} s to {until_secs:.2} s: the model gets silence.",
            name(sound.path())
        ));
        return Ok(SampledAudio { samples: vec![0.0; silent], start_secs: from_secs });
    };
    if cut {
        let all = length.map_or_else(String::new, |l| format!(" of {l:.0} s"));
        notes.push(format!("The sound of {} is cut to its first {MAX_AUDIO_SECS:.0} s{all}.", name(sound.path())));
    }
    Ok(SampledAudio { samples, start_secs: first as f64 / rate })
}
