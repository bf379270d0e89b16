//! The filmstrip's small pictures: which are in view, which are missing, which make room. Knows nothing of who makes
//! or draws them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::film::{FilmNews, FilmPicture, FilmView};

/// What the filmstrip shows.
#[derive(Debug, Clone, Default)]
pub struct Film {
    /// Which part is in view.
    pub view: Option<FilmView>,
    /// Why there are no pictures (any more), where they cannot be read.
    pub failed: Option<String>,
    pictures: BTreeMap<u64, Kept>,
    /// Counts views, to tell what was not looked at for long.
    looks: u64,
}

#[derive(Debug, Clone)]
struct Kept {
    picture: Arc<FilmPicture>,
    looked_at: u64,
}

impl Film {
    /// Most pictures kept (about 17 MB); the ones not looked at for longest make room.
    pub const MOST: usize = 512;
    /// Coarser levels whose pictures stand in for missing ones.
    const STAND_INS: u8 = 8;

    /// Another part is in view.
    pub(super) fn look(&mut self, view: FilmView) {
        self.view = Some(view);
        self.looks += 1;
        for slot in view.slots() {
            if let Some(kept) = self.pictures.get_mut(&slot) {
                kept.looked_at = self.looks;
            }
        }
    }

    /// Takes news of the file that is open.
    pub(super) fn apply(&mut self, news: FilmNews) {
        match news {
            FilmNews::Failed(message) => self.failed = Some(message),
            FilmNews::Picture(picture) => {
                self.pictures.insert(picture.slot, Kept { picture, looked_at: self.looks });
                while self.pictures.len() > Self::MOST {
                    let oldest = self.pictures.iter().min_by_key(|(_, kept)| kept.looked_at).map(|(slot, _)| *slot);
                    oldest.map(|slot| self.pictures.remove(&slot));
                }
            }
        }
    }

    /// The slots in view without a picture that is close enough, coarse to fine.
    pub fn missing(&self) -> Vec<u64> {
        let Some(view) = self.view else { return Vec::new() };
        let served = |slot: &u64| self.pictures.get(slot).is_some_and(|k| k.picture.serves(view.spacing_secs()));
        view.slots().into_iter().filter(|slot| !served(slot)).collect()
    }

    /// The picture for a slot, and whether it is its own; else the one of a coarser slot not far before it.
    pub fn at(&self, slot: u64) -> Option<(&Arc<FilmPicture>, bool)> {
        let level = self.view.map_or(0, |v| v.level);
        (level..=level + Self::STAND_INS).find_map(|level| {
            let coarser = slot >> level << level;
            Some((&self.pictures.get(&coarser)?.picture, coarser == slot))
        })
    }

    /// The picture for a time, where it is nearer to it than `other_secs` is.
    pub fn nearer(&self, t_secs: f64, other_secs: f64) -> Option<&Arc<FilmPicture>> {
        let (picture, _) = self.at(self.view?.nearest(t_secs))?;
        ((picture.pts_secs - t_secs).abs() < (other_secs - t_secs).abs()).then_some(picture)
    }

    /// Every picture there is, by time.
    pub fn pictures(&self) -> impl ExactSizeIterator<Item = &Arc<FilmPicture>> {
        self.pictures.values().map(|kept| &kept.picture)
    }

    /// Width by height of the pictures; 16 to 9 before there is one.
    pub fn aspect(&self) -> f32 {
        self.pictures.values().next().map_or(16.0 / 9.0, |k| k.picture.width as f32 / k.picture.height.max(1) as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    fn picture(slot: u64, exact: bool, pts_secs: f64) -> FilmNews {
        FilmNews::Picture(Arc::new(FilmPicture { slot, pts_secs, exact, width: 1, height: 1, rgb: vec![0; 3] }))
    }

    #[test]
    fn what_was_not_looked_at_for_longest_makes_room() {
        let mut film = Film::default();
        let views = [0u64, 400, 800].map(|first| FilmView { level: 0, first, end: first + 300 });
        for view in views {
            film.look(view);
            for slot in view.slots() {
                film.apply(picture(slot, true, 0.0));
            }
            assert!(film.missing().is_empty());
            assert!(film.pictures().len() <= Film::MOST);
        }
        // The newest is whole, the one before it in part, the oldest is gone.
        film.look(views[1]);
        assert_eq!(film.missing().len(), 600 - Film::MOST);
        film.look(views[0]);
        assert_eq!(film.missing().len(), 300);
    }

    #[test]
    fn a_near_picture_serves_from_afar_and_is_asked_for_again_close_by() {
        let mut film = Film::default();
        film.look(FilmView::of(Span::new(0.0, 64.0), 16.0));
        film.apply(picture(0, true, 0.0));
        film.apply(picture(32 * 64, false, 28.0));
        assert!(!film.missing().contains(&(32 * 64)));
        // It stands in for the slot after it.
        assert_eq!(film.at(48 * 64).map(|(p, own)| (p.slot, own)), Some((32 * 64, false)));
        assert_eq!(film.at(32 * 64).map(|(p, own)| (p.slot, own)), Some((32 * 64, true)));
        // For a time it is taken where what is there instead is farther off.
        let nearer = |other| film.nearer(33.0, other).map(|p| p.slot);
        assert_eq!((nearer(27.0), nearer(29.0), nearer(39.0)), (Some(32 * 64), None, Some(32 * 64)));
        film.look(FilmView::of(Span::new(30.0, 34.0), 1.0));
        assert!(film.missing().contains(&(32 * 64)));
        film.apply(picture(32 * 64, true, 31.99));
        assert!(!film.missing().contains(&(32 * 64)));
    }
}
