//! Where a file and the picture in it end: by what it says, by its last packets where it says more than there is (cut off,
//! or with a header that lies) or does not say it of the picture, by all of them where it says nothing. Decodes nothing.
//! Knows nothing of who asks.

use std::collections::BTreeMap;

use ffmpeg_next::media::Type;
use ffmpeg_next::{Packet, Stream};

use super::error::MediaError;
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

impl Ends {
    /// Finds out what can be known at a glance: nothing of a file that does not say how long it is, such as a recording of a
    /// browser or a raw stream. Reading stands elsewhere afterwards.
    pub(super) fn of(source: &mut Source) -> Self {
        let Some(says) = source.duration_secs().filter(|_| !source.is_still()) else { return Self::default() };
        let early = ends_early(source);
        let whole = early.unwrap_or(says);
        let picture_secs = picture_end(source, whole).map(|end| early.map_or(end, |early| end.min(early)));
        Self { whole_secs: Some(whole), picture_secs, declared_secs: early.map(|_| says) }
    }

    /// [`of`](Self::of), and where a file does not say how long it is, what all of its packets say, which are read for it:
    /// `source` stands at its beginning. `cancel` is asked between packets.
    ///
    /// # Errors
    /// [`MediaError::Cancelled`].
    pub(super) fn counted(source: &mut Source, cancel: &dyn Fn() -> bool) -> Result<Self, MediaError> {
        if source.is_still() || source.duration_secs().is_some() {
            return Ok(Self::of(source));
        }
        let picture = source.video_stream().map(|s| s.index());
        let played = |s: &Stream<'_>| Some(s.index()) == picture || s.parameters().medium() == Type::Audio;
        let mut ends = BTreeMap::<usize, f64>::new();
        while let Some(packet) = source.read_any() {
            if cancel() {
                return Err(MediaError::Cancelled);
            }
            let Some(stream) = source.input().stream(packet.stream()).filter(played) else { continue };
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
    match last_end(source, whole_secs, &|packet| packet == index, &|_| false) {
        LastEnd::At(end) => Some(end),
        LastEnd::Nowhere | LastEnd::TooFar => None,
    }
}

/// Whether something that ends at `end_secs` ends early where `declared_secs` are promised.
pub(super) fn is_early(end_secs: f64, declared_secs: f64) -> bool {
    end_secs + SLACK_SECS < declared_secs * SHARE
}

/// Where the packets of a file end, in seconds, when that is long before what it says; `None` when they reach its end,
/// when it does not say one, and where nothing can be told. Reading stands elsewhere afterwards.
///
/// Costs a seek and the packets from the last key frame on; only a file that ends early costs more.
fn ends_early(source: &mut Source) -> Option<f64> {
    let declared_secs = source.duration_secs()?;
    let enough = |end| !is_early(end, declared_secs);
    let last = |source: &mut Source, from| match last_end(source, from, &|_| true, &enough) {
        LastEnd::Nowhere => None,
        LastEnd::At(end) => Some(end),
        // What the file says is as good.
        LastEnd::TooFar => Some(declared_secs),
    };
    let ends = last(source, declared_secs).or_else(|| {
        // What the file says is beyond all of its packets.
        let (mut within, mut beyond) = (0.0, declared_secs);
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(within, beyond);
            if source.seek(middle) && source.read_any().is_some() { within = middle } else { beyond = middle }
        }
        last(source, within)
    });
    ends.filter(|end| is_early(*end, declared_secs))
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
