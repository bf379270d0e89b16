//! The filmstrip's terms: slots of time at power-of-two spacing, the part of them that is in view, and the small
//! pictures that go there. Knows nothing of decoders or of drawing.

use std::sync::Arc;

use crate::time::Span;

/// Seconds between slots of the finest level; a slot's number counts these.
pub const FINEST_SECS: f64 = 1.0 / 64.0;
/// The coarsest level: a slot every 97 days.
const COARSEST: u8 = 29;
/// Most slots of a view: more are never told apart.
pub const MOST_SLOTS: u64 = 512;
/// Views with slots this many seconds apart are served coarse to fine, a seek for each; finer ones mostly in the order
/// of time, since the decoder passes one picture on the way to the next.
const SEEK_SECS: f64 = 4.0;

/// Which pictures are in view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilmView {
    /// Slots of this level are 2^level times the finest spacing apart, so that every second one is also the next
    /// level's.
    pub level: u8,
    /// The first slot in view, counted in slots of the level.
    pub first: u64,
    /// The one after the last.
    pub end: u64,
}

impl FilmView {
    /// What a view of `span` needs where each picture takes the width of `per_picture_secs`: the coarsest level with at
    /// least one slot for each.
    pub fn of(span: Span, per_picture_secs: f64) -> Self {
        let mut level = 0;
        while level < COARSEST && spacing_secs(level + 1) <= per_picture_secs {
            level += 1;
        }
        let slots = |secs: f64| (secs / spacing_secs(level)).clamp(0.0, 1e15);
        let first = slots(span.start_secs).floor() as u64;
        let end = slots(span.end_secs).ceil() as u64 + 1;
        Self { level, first, end: end.min(first + MOST_SLOTS) }
    }

    /// Seconds between its slots.
    pub fn spacing_secs(&self) -> f64 {
        spacing_secs(self.level)
    }

    /// The number of its slot nearest to a time.
    pub fn nearest(&self, secs: f64) -> u64 {
        let slot = (secs / self.spacing_secs()).round().max(0.0) as u64;
        slot.clamp(self.first, self.end.saturating_sub(1).max(self.first)) << self.level
    }

    /// Its slots' numbers in the order in which they are worth having: coarse to fine.
    pub fn slots(&self) -> Vec<u64> {
        let mut slots: Vec<u64> = (self.first..self.end).collect();
        let seeks = self.spacing_secs() >= SEEK_SECS;
        slots.sort_by_key(|slot| {
            let halvings = slot.trailing_zeros().min(8);
            (if seeks { 8 - halvings } else { u32::from(halvings < 3) }, *slot)
        });
        slots.iter().map(|slot| slot << self.level).collect()
    }
}

/// Seconds between the slots of a level.
fn spacing_secs(level: u8) -> f64 {
    FINEST_SECS * f64::from(1u32 << level.min(COARSEST))
}

/// The time of a slot, in seconds.
pub fn slot_secs(slot: u64) -> f64 {
    slot as f64 * FINEST_SECS
}

/// One small picture: upright, in square pixels, in the colours it is shown in.
#[derive(Debug, Clone, PartialEq)]
pub struct FilmPicture {
    /// Its slot's number.
    pub slot: u64,
    /// Its own time in the file, in seconds.
    pub pts_secs: f64,
    /// Whether it is the very picture shown at the slot's time, not only one near it.
    pub exact: bool,
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `[height, width, 3]` bytes.
    pub rgb: Vec<u8>,
}

impl FilmPicture {
    /// Whether it is close enough where slots are `spacing_secs` apart.
    pub fn serves(&self, spacing_secs: f64) -> bool {
        self.exact || (slot_secs(self.slot) - self.pts_secs).abs() <= spacing_secs / 2.0 + 1e-6
    }
}

/// What the reader of small pictures tells.
#[derive(Debug, Clone)]
pub enum FilmNews {
    /// A picture.
    Picture(Arc<FilmPicture>),
    /// The file gives no pictures (any more): one line about why.
    Failed(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zooming_in_asks_for_finer_slots_and_keeps_the_coarse_ones() {
        let hour = Span::new(0.0, 3_600.0);
        let far = FilmView::of(hour, 100.0);
        assert_eq!((far.spacing_secs(), far.first, far.end), (64.0, 0, 58));
        let near = FilmView::of(Span::new(640.0, 1_280.0), 20.0);
        assert_eq!(near.spacing_secs(), 16.0);
        let (far_slots, near_slots) = (far.slots(), near.slots());
        assert_eq!(near_slots.iter().filter(|s| far_slots.contains(s)).count(), 11);
        // Every slot once, the coarsest first.
        let mut sorted = far_slots.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..58).map(|i| i << 12).collect::<Vec<u64>>());
        assert_eq!(far_slots[..3], [0, 32 << 12, 16 << 12]);
        // As close as it gets, as far as it gets, and nonsense: bounded.
        assert_eq!(FilmView::of(Span::new(1.0, 1.01), 1e-5).level, 0);
        assert_eq!(FilmView::of(Span::new(0.0, f64::INFINITY), 0.1).slots().len() as u64, MOST_SLOTS);
        assert_eq!(FilmView::of(Span::new(f64::NAN, f64::NAN), f64::NAN).slots(), [0]);
    }

    #[test]
    fn the_nearest_slot_is_one_of_the_view() {
        let view = FilmView::of(Span::new(10.0, 20.0), 1.0);
        assert_eq!(slot_secs(view.nearest(12.4)), 12.0);
        assert_eq!(slot_secs(view.nearest(12.6)), 13.0);
        assert_eq!(slot_secs(view.nearest(99.0)), 20.0);
    }
}
