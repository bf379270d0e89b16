//! Where a file and the picture in it end: by what it says, by its last packets where it says more than there is (cut off,
//! or with a header that lies) or does not say it of the picture, by all of them where it says nothing. Decodes nothing.
//! Knows nothing of who asks.

use std::collections::BTreeMap;

use ffmpeg_next::{Packet, Stream};

use super::error::MediaError;
use super::known::Known;
use super::raw;
use super::source::{Source, frame_secs, tick_secs};

/// Files round, and the last picture may stand for a while: only what is missing beyond this share of the length, and
/// beyond these seconds, is missing.
const SHARE: f64 = 0.95;
const SLACK_SECS: f64 = 0.5;
/// Halvings that find where the last packets are: to a four-thousandth of what the file says.
const HALVINGS: usize = 12;
/// Most bytes of packets that are read from there on.
const MOST_BYTES: usize = 64 << 20;

/// Where what is in a file ends, in seconds. Nothing is known of stills.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[allow(clippy::struct_field_names, reason = "units in names")]
pub(super) struct Ends {
    /// Of everything in it.
    pub(super) whole_secs: Option<f64>,
    /// Of its picture, which another sound is cut to.
    pub(super) picture_secs: Option<f64>,
    /// What the file says in place of `whole_secs`, where that is wrong.
    pub(super) declared_secs: Option<f64>,
}

/// What was counted.
static COUNTED: Known<Ends> = Known::new();

impl Ends {
    /// Finds out what can be known at a glance: of a file that does not say how long it is, such as a recording of a browser
    /// or a raw stream, only what was counted before. Reading stands elsewhere afterwards.
    pub(super) fn of(source: &mut Source) -> Self {
        if source.is_still() {
            return Self::default();
        }
        let Some(says) = source.duration_secs() else {
            return COUNTED.get(source.path(), |_| true).unwrap_or_default();
        };
        let played = played(source);
        if source.length_is_loose() {
            let found = last_of(source, says, &|stream| played.contains(&stream), &|_| false);
            let whole = if let LastEnd::At(end) = found { end } else { says };
            let picture_secs = picture_end(source, whole).map(|end| end.min(whole));
            return Self { whole_secs: Some(whole), picture_secs, declared_secs: None };
        }
        let enough = |end| !is_early(end, says);
        let early = match last_of(source, says, &|stream| played.contains(&stream), &enough) {
            LastEnd::At(end) => Some(end).filter(|end| is_early(*end, says)),
            LastEnd::Nowhere | LastEnd::TooFar => None,
        };
        let whole = early.unwrap_or(says);
        let picture_secs = picture_end(source, whole).map(|end| early.map_or(end, |early| end.min(early)));
        Self { whole_secs: Some(whole), picture_secs, declared_secs: early.map(|_| says) }
    }

    /// [`of`](Self::of), and where a file does not say how long it is, what all of its packets say, which are read for it once
    /// while it stays as it is: `source` stands at its beginning. `cancel` is asked between packets.
    ///
    /// # Errors
    /// [`MediaError::Cancelled`].
    pub(super) fn counted(source: &mut Source, cancel: &dyn Fn() -> bool) -> Result<Self, MediaError> {
        if source.is_still() || source.duration_secs().is_some() {
            return Ok(Self::of(source));
        }
        let path = source.path().to_owned();
        COUNTED.get_or(&path, |_| true, || Self::count(source, cancel))
    }

    fn count(source: &mut Source, cancel: &dyn Fn() -> bool) -> Result<Self, MediaError> {
        let (picture, played) = (source.video_stream().map(|s| s.index()), played(source));
        let mut ends = BTreeMap::<usize, f64>::new();
        while let Some(packet) = source.read_any() {
            if cancel() {
                return Err(MediaError::Cancelled);
            }
            let Some(stream) = source.input().stream(packet.stream()).filter(|s| played.contains(&s.index())) else {
                continue;
            };
            if raw::is_discarded(&packet) {
                continue;
            }
            let end = ends.entry(stream.index()).or_insert(0.0);
            // Without times, one packet comes after the other.
            *end = end_of(&stream, &packet, source.start_secs())
                .map_or(*end + lasts_secs(&stream, &packet), |known| known.max(*end));
        }
        let end_of = |stream: usize| ends.get(&stream).copied().filter(|end| *end > 0.0);
        let whole_secs = ends.values().copied().filter(|end| *end > 0.0).reduce(f64::max);
        Ok(Self { whole_secs, picture_secs: picture.and_then(end_of), declared_secs: None })
    }
}

/// The streams that are seen or heard: what else there is (subtitles, data) may end later, and nobody waits for it.
fn played(source: &Source) -> Vec<usize> {
    source.video_stream().into_iter().chain(source.audio_streams()).map(|stream| stream.index()).collect()
}

/// How long a packet lasts: where it does not say, as long as the others do on average; 0 where that is unknown.
fn lasts_secs(stream: &Stream<'_>, packet: &Packet) -> f64 {
    let says = Some(packet.duration() as f64 * tick_secs(stream.time_base())).filter(|secs| *secs > 0.0);
    says.or_else(|| frame_secs(stream)).unwrap_or(0.0)
}

/// When a packet ends, in seconds from the container's start; `None` where it does not say when it begins.
fn end_of(stream: &Stream<'_>, packet: &Packet, start_secs: f64) -> Option<f64> {
    let ticks = packet.pts().or(packet.dts())?;
    Some(ticks as f64 * tick_secs(stream.time_base()) + lasts_secs(stream, packet) - start_secs)
}

/// Where the picture ends in a file that ends at `whole_secs`: by its stream's own word, else by its last packets.
fn picture_end(source: &mut Source, whole_secs: f64) -> Option<f64> {
    let stream = source.video_stream()?;
    let (index, tick) = (stream.index(), tick_secs(stream.time_base()));
    if let Some(length) = raw::known(stream.duration()).filter(|length| *length > 0) {
        let start = raw::known(stream.start_time()).map_or(0.0, |t| t as f64 * tick - source.start_secs());
        return Some(start + length as f64 * tick);
    }
    if source.audio_streams().next().is_none() {
        return Some(whole_secs);
    }
    match last_of(source, whole_secs, &|stream| stream == index, &|_| false) {
        LastEnd::At(end) => Some(end),
        LastEnd::Nowhere | LastEnd::TooFar => None,
    }
}

/// Whether something that ends at `end_secs` ends early where `declared_secs` are promised.
pub(super) fn is_early(end_secs: f64, declared_secs: f64) -> bool {
    end_secs + SLACK_SECS < declared_secs * SHARE
}

/// Where the last packet ends.
enum LastEnd {
    /// There is no packet.
    Nowhere,
    /// At this time, in seconds.
    At(f64),
    /// There are too many packets to read on the way.
    TooFar,
}

/// The end of the last packet of the streams that `counts` names in a file that says that it ends at `says_secs`; as soon as
/// an end is `enough`, that one. Reading stands elsewhere afterwards.
///
/// Costs a seek and the packets from the last key frame on; only where there are none of these it costs more.
fn last_of(
    source: &mut Source,
    says_secs: f64,
    counts: &dyn Fn(usize) -> bool,
    enough: &dyn Fn(f64) -> bool,
) -> LastEnd {
    let last = last_end(source, says_secs, counts, enough);
    if !matches!(last, LastEnd::Nowhere) {
        return last;
    }
    // What the file says is beyond all of them.
    let (mut within, mut beyond) = (0.0, says_secs);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(within, beyond);
        let any = matches!(last_end(source, middle, counts, &|_| true), LastEnd::At(_));
        if any { within = middle } else { beyond = middle }
    }
    last_end(source, within, counts, enough)
}

/// The end of the last packet of the streams that `counts` names, of those from the key frame before `from_secs` on; as
/// soon as an end is `enough`, that one.
fn last_end(
    source: &mut Source,
    from_secs: f64,
    counts: &dyn Fn(usize) -> bool,
    enough: &dyn Fn(f64) -> bool,
) -> LastEnd {
    if !source.seek(from_secs) {
        return LastEnd::Nowhere;
    }
    let (mut last, mut bytes) = (None, 0);
    while bytes < MOST_BYTES {
        let Some(packet) = source.read_any() else {
            return last.map_or(LastEnd::Nowhere, LastEnd::At);
        };
        bytes += packet.size();
        let Some(stream) = source.input().stream(packet.stream()).filter(|s| counts(s.index())) else { continue };
        let Some(end) = end_of(&stream, &packet, source.start_secs()) else { continue };
        let newest = f64::max(end, last.unwrap_or(end));
        if enough(newest) {
            return LastEnd::At(newest);
        }
        last = Some(newest);
    }
    LastEnd::TooFar
}
