//! Where a file ends that ends long before it says: cut off, or with a header that lies. Reads packets and decodes
//! nothing. Knows nothing of who asks.

use super::source::{Source, tick_secs};

/// Files round, and the last picture may stand for a while: only what is missing beyond this share of the length, and
/// beyond these seconds, is missing.
const SHARE: f64 = 0.95;
const SLACK_SECS: f64 = 0.5;
/// Halvings that find where the last packets are: to a four-thousandth of what the file says.
const HALVINGS: usize = 12;
/// Most packets that are read from there on.
const MOST_PACKETS: usize = 200_000;

/// Whether something that ends at `end_secs` ends early where `declared_secs` are promised.
pub(super) fn is_early(end_secs: f64, declared_secs: f64) -> bool {
    end_secs + SLACK_SECS < declared_secs * SHARE
}

/// Where the packets of a file end, in seconds, when that is long before what it says; `None` when they reach its end,
/// when it does not say one, and where nothing can be told. Reading stands elsewhere afterwards.
///
/// Costs a seek and the packets from the last key frame on; only a file that ends early costs more.
pub(super) fn ends_early(source: &mut Source) -> Option<f64> {
    let declared_secs = source.duration_secs().filter(|_| !source.is_still())?;
    let ends = last_end(source, declared_secs, declared_secs).or_else(|| {
        // What the file says is beyond all of its packets.
        let (mut within, mut beyond) = (0.0, declared_secs);
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(within, beyond);
            if source.seek(middle) && source.read_any().is_some() { within = middle } else { beyond = middle }
        }
        last_end(source, within, declared_secs)
    });
    ends.filter(|end| is_early(*end, declared_secs))
}

/// Where the last packet ends of those from the key frame before `from_secs` on; as soon as that is not early, any such
/// end. `None` where there is no packet.
fn last_end(source: &mut Source, from_secs: f64, declared_secs: f64) -> Option<f64> {
    if !source.seek(from_secs) {
        return None;
    }
    let mut last = None;
    for _ in 0..MOST_PACKETS {
        let Some(packet) = source.read_any() else { return last };
        let Some(stream) = source.input().stream(packet.stream()) else { continue };
        let Some(ticks) = packet.pts().or(packet.dts()) else { continue };
        let end =
            (ticks as f64 + packet.duration().max(0) as f64) * tick_secs(stream.time_base()) - source.start_secs();
        last = Some(f64::max(end, last.unwrap_or(end)));
        if !is_early(end, declared_secs) {
            return last;
        }
    }
    // Too many: what the file says is as good.
    Some(declared_secs)
}
