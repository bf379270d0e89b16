//! The packets between a key frame and the frame that is sought: read ahead until it is certain which frame that is, so
//! that frames before it which no other is made of need not be decoded. Knows nothing of decoders.

use std::collections::VecDeque;

use ffmpeg_next::Packet;

use super::source::Source;

/// Frames before the one that is sought which are decoded whatever they are: its neighbours.
const NEIGHBOURS: usize = 3;
/// Most packets, and bytes of them, that are held.
const MOST: (usize, usize) = (1_000, 32 << 20);

/// Packets that were read ahead, and what they told.
#[derive(Default)]
pub(super) struct Way {
    packets: VecDeque<Packet>,
    /// Frames before this time, in ticks, may be passed over where no other is made of them.
    passes_before: Option<i64>,
}

impl Way {
    /// Reads on in `stream` until the newest frame that is shown in time is certain. Where packets do not tell, nothing is
    /// passed over. `in_time` says whether a frame of this time in ticks is not after the time that is sought.
    pub(super) fn look(&mut self, source: &mut Source, stream: usize, in_time: &dyn Fn(i64) -> bool) {
        let mut before = Vec::new();
        let mut bytes = 0;
        let certain = loop {
            if self.packets.len() >= MOST.0 || bytes > MOST.1 {
                break false;
            }
            let Some(packet) = source.read(stream) else { break true };
            let (shown, decoded) = (packet.pts(), packet.dts());
            bytes += packet.size();
            self.packets.push_back(packet);
            // Nothing is shown before it is decoded, unless the file is wrong about one or the other.
            let Some(shown) = shown.filter(|shown| decoded.is_none_or(|decoded| decoded <= *shown)) else {
                break false;
            };
            if in_time(shown) {
                before.push(shown);
            }
            if decoded.is_some_and(|decoded| !in_time(decoded)) {
                break true;
            }
        };
        before.sort_unstable();
        self.passes_before = before.len().checked_sub(NEIGHBOURS).filter(|_| certain).map(|i| before[i]);
    }

    /// The next packet of `stream`, read ahead or not.
    pub(super) fn next(&mut self, source: &mut Source, stream: usize) -> Option<Packet> {
        self.packets.pop_front().or_else(|| source.read(stream))
    }

    /// Whether what is in the packet may be passed over where no other frame is made of it.
    pub(super) fn passes(&self, packet: &Packet) -> bool {
        self.passes_before.zip(packet.pts()).is_some_and(|(limit, shown)| shown < limit)
    }

    /// Forgets everything: reading goes on elsewhere.
    pub(super) fn clear(&mut self) {
        self.packets.clear();
        self.passes_before = None;
    }
}
