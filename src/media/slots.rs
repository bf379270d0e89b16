//! The pictures of a clip whose sampled frames change places: which slot of time shows which frame, each decoded when it is
//! wanted, so that memory is bounded whatever the file. Knows nothing of clocks or of who shows them.

use std::collections::VecDeque;

use super::error::MediaError;
use super::picture::{VideoFrame, bytes_of};
use super::reader::{EPSILON_SECS, VideoReader};
use super::sample::{Plan, Stamp, Stamped, decode_stamps, order, stamped};
use super::source::Source;
use crate::clip::ClipSpec;
use crate::frame::Planes;
use crate::settings::Sampling;

/// Most bytes of frames that are kept to be shown (again).
const MOST_BYTES: usize = 192 << 20;

/// The frames that a model is given of a clip, in the order in which it is given them, each shown until the next.
///
/// One thread owns it.
pub struct Slots {
    reader: VideoReader,
    clip: ClipSpec,
    sampling: Sampling,
    /// When each slot begins, in seconds, in order.
    begins_secs: Vec<f64>,
    /// Which of `frames` each shows.
    shows: Vec<usize>,
    /// All frames that are shown, in the file's order.
    frames: Vec<Wanted>,
    /// Whether the frames were counted by decoding, since the packets told wrong.
    counted: bool,
    /// Frames that were decoded, by their number in `frames`, the newest last.
    kept: VecDeque<(usize, VideoFrame)>,
    kept_bytes: usize,
    most_bytes: usize,
}

/// A frame that some slot shows.
struct Wanted {
    /// Its time in the file.
    secs: f64,
    /// The first of the wanted frames that are decoded from the same key frame.
    first: usize,
}

impl Slots {
    /// Opens the video of a clip and learns its frames' times, without decoding where packets tell them.
    ///
    /// # Errors
    /// When the file cannot be used, or the range is empty.
    pub fn open(clip: &ClipSpec, sampling: &Sampling, cancel: &dyn Fn() -> bool) -> Result<Self, MediaError> {
        let path = clip.video.as_deref().unwrap_or_else(|| std::path::Path::new(""));
        let Stamped { reader, stamps, exact } = stamped(Source::open(path)?, cancel)?;
        let mut slots = Self {
            reader,
            clip: clip.clone(),
            sampling: *sampling,
            begins_secs: Vec::new(),
            shows: Vec::new(),
            frames: Vec::new(),
            counted: exact,
            kept: VecDeque::new(),
            kept_bytes: 0,
            most_bytes: MOST_BYTES,
        };
        slots.plan(&stamps)?;
        Ok(slots)
    }

    /// Counts the frames by decoding all of them.
    fn count(&mut self, cancel: &dyn Fn() -> bool) -> Result<(), MediaError> {
        let stamps = decode_stamps(&mut self.reader, cancel)?;
        self.counted = true;
        self.plan(&stamps)
    }

    fn plan(&mut self, stamps: &[Stamp]) -> Result<(), MediaError> {
        let plan = Plan::new(&self.reader, stamps, &self.clip, &self.sampling)?;
        let secs = |i: &usize| self.reader.secs(stamps[*i].ticks);
        self.begins_secs = plan.wanted.iter().map(secs).collect();
        let mut distinct = plan.wanted.clone();
        distinct.dedup();
        let (mut frames, mut key, mut at) = (Vec::<Wanted>::with_capacity(distinct.len()), None, 0);
        for index in &distinct {
            let newest_key = stamps[at..=*index].iter().rposition(|s| s.key).map(|i| at + i);
            at = index + 1;
            let goes_on = frames.last().filter(|_| newest_key.is_none() || newest_key == key);
            let first = goes_on.map_or(frames.len(), |before| before.first);
            key = newest_key.or(key);
            frames.push(Wanted { secs: secs(index), first });
        }
        let number = |index: &usize| distinct.partition_point(|d| d < index);
        let order = order(self.clip.frames, plan.wanted.len());
        self.shows = order.into_iter().map(|slot| number(&plan.wanted[slot])).collect();
        self.frames = frames;
        self.kept.clear();
        self.kept_bytes = 0;
        Ok(())
    }

    /// The number of the slot that is on screen at a time: the first one before it begins.
    pub fn at(&self, t_secs: f64) -> usize {
        self.begins_secs.partition_point(|begin| *begin <= t_secs + EPSILON_SECS).saturating_sub(1)
    }

    /// The picture of a slot, with the slot's time as its own; `None` beyond the last, and once `stale` says that it is not
    /// wanted any more.
    ///
    /// # Errors
    /// When the file gives no pictures (any more).
    pub fn get(&mut self, slot: usize, stale: &dyn Fn() -> bool) -> Result<Option<VideoFrame>, MediaError> {
        let Some(mut number) = self.shows.get(slot).copied() else { return Ok(None) };
        if !self.kept.iter().any(|(n, _)| *n == number) && !self.decode(number, stale)? {
            if stale() {
                return Ok(None);
            }
            // The decoder gives other frames than the packets promised (hidden frames, damage): count them truly.
            match self.count(stale) {
                Err(MediaError::Cancelled) => return Ok(None),
                counted => counted?,
            }
            let Some(shown) = self.shows.get(slot).copied() else { return Ok(None) };
            number = shown;
            self.decode(number, stale)?;
        }
        let frame = self.kept.iter().find(|(n, _)| *n == number);
        Ok(frame.zip(self.begins_secs.get(slot)).and_then(|((_, frame), begins)| frame.shown_at(*begins)))
    }

    /// Decodes a frame, and keeps those on the way to it that are shown, too. False when that was given up, or where there
    /// is another frame.
    fn decode(&mut self, number: usize, stale: &dyn Fn() -> bool) -> Result<bool, MediaError> {
        let one = self.kept.back().map_or(0, |(_, frame)| bytes_of(frame));
        // Not more than fit: they would push each other out.
        let room = self.most_bytes.checked_div(one).map_or(usize::MAX, |fit| fit.max(1) - 1);
        let from = self.frames[number].first.max(number.saturating_sub(room));
        let from = (from..number).find(|n| !self.kept.iter().any(|(k, _)| k == n)).unwrap_or(number);
        if !self.reader.seek_unless(self.frames[from].secs, stale)? {
            return Ok(false);
        }
        for wanted in from..=number {
            let secs = self.frames[wanted].secs;
            loop {
                if stale() {
                    return Ok(false);
                }
                let Some(frame) = self.reader.next_frame()? else { return Ok(false) };
                let late = frame.pts_secs() - secs;
                if late.abs() <= EPSILON_SECS || (self.counted && late > 0.0) {
                    self.keep(wanted, frame);
                    break;
                }
                if late > 0.0 || wanted == from && !self.counted {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Keeps a frame; the oldest ones make room.
    fn keep(&mut self, number: usize, frame: VideoFrame) {
        if self.kept.iter().any(|(n, _)| *n == number) {
            return;
        }
        self.kept_bytes += bytes_of(&frame);
        self.kept.push_back((number, frame));
        while self.kept_bytes > self.most_bytes && self.kept.len() > 1 {
            self.kept_bytes -= self.kept.pop_front().map_or(0, |(_, frame)| bytes_of(&frame));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use rand::{RngExt as _, SeedableRng as _};

    use super::*;
    use crate::clip::{AudioSource, FrameEdit};

    /// Three seconds at 10 per second with a key frame each second, every frame another picture.
    fn film(folder: &Path, name: &str, codec: &str) -> PathBuf {
        let path = folder.join(name);
        let made = Command::new("ffmpeg")
            .args("-v error -nostdin -f lavfi -i testsrc2=size=64x48:rate=10:duration=3".split(' '))
            .args(codec.split(' '))
            .arg(&path)
            .status();
        assert!(made.expect("ffmpeg").success());
        path
    }

    fn bytes(frame: &VideoFrame) -> Vec<u8> {
        frame
            .planes()
            .iter()
            .flat_map(|p| (0..p.height as usize).flat_map(|y| &p.data[y * p.stride..][..p.width as usize]))
            .copied()
            .collect()
    }

    fn sampled(path: &Path) -> (ClipSpec, Sampling) {
        let clip =
            ClipSpec { audio: AudioSource::None, frames: FrameEdit::Shuffle { seed: 3 }, ..ClipSpec::original(path) };
        (clip, Sampling { fps: Some(5.0), ..Sampling::default() })
    }

    #[test]
    fn every_slot_shows_its_frame_in_any_order_and_in_little_memory() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, codec) in [
            ("film.mp4", "-c:v libx264 -g 10 -bf 2"),
            // Frames that are never shown, each in a packet of its own.
            ("film.webm", "-c:v libvpx -g 10 -auto-alt-ref 1 -lag-in-frames 8 -b:v 100k"),
        ] {
            let path = film(folder.path(), name, codec);
            let mut reader = VideoReader::open(&path).expect("opens");
            let stored: Vec<Vec<u8>> =
                std::iter::from_fn(|| reader.next_frame().expect("decodes")).map(|f| bytes(&f)).collect();
            assert_eq!(stored.len(), 30);
            let (clip, sampling) = sampled(&path);
            let mut slots = Slots::open(&clip, &sampling, &|| false).expect("opens");
            let first = slots.get(0, &|| false).expect("decodes").expect("a frame");
            let one = bytes_of(&first);
            let count = slots.begins_secs.len();
            let wanted = crate::sampled::frame_indices(30, 10.0, 5.0);
            let shows: Vec<usize> = order(clip.frames, count).into_iter().map(|slot| wanted[slot]).collect();
            assert!(count >= 14 && shows.len() == count, "{name}: {count} slots");
            let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(7);
            for most in [1, one, 3 * one, usize::MAX] {
                (slots.kept, slots.kept_bytes, slots.most_bytes) = (VecDeque::new(), 0, most);
                for slot in (0..count).chain((0..count).rev()).chain((0..40).map(|_| random.random_range(0..count))) {
                    let frame = slots.get(slot, &|| false).expect("decodes").expect("a frame");
                    assert_eq!(bytes(&frame), stored[shows[slot]], "{name}, slot {slot}, at most {most} bytes");
                    assert_eq!((frame.pts_secs(), slots.at(frame.pts_secs())), (slots.begins_secs[slot], slot));
                    assert!(slots.kept_bytes <= most.max(one), "{} bytes of {most}", slots.kept_bytes);
                    assert_eq!(slots.kept_bytes, slots.kept.iter().map(|(_, f)| bytes_of(f)).sum::<usize>());
                }
                assert!(slots.get(count, &|| false).expect("no error").is_none());
            }
            // With room for all of them each was decoded once.
            assert_eq!(slots.kept.len(), count);
        }
    }

    #[test]
    fn what_is_no_longer_wanted_is_not_decoded() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = film(folder.path(), "film.mp4", "-c:v libx264 -g 10");
        let (clip, sampling) = sampled(&path);
        let mut slots = Slots::open(&clip, &sampling, &|| false).expect("opens");
        assert!(slots.get(5, &|| true).expect("no error").is_none());
        assert!(slots.kept.is_empty() && !slots.counted);
        assert!(slots.get(5, &|| false).expect("no error").is_some());
    }
}
