//! The filmstrip's pictures of one film as far as they were read, on the shelf and off it. Knows nothing of decoders.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::shelf::{Entry, SHORTEST_SECS, Shelf};
use crate::film::{FilmPicture, slot_secs};
use crate::media::Thumbnails;

/// Bytes of pictures kept of one film, about 300 of them.
const MOST_BYTES: usize = 8 << 20;
/// Bytes before a picture's colours: slot, time, whether it is exact, width, height.
const HEAD: usize = 8 + 8 + 1 + 2 + 2;

/// Pictures of a film, by slot.
#[derive(Default)]
pub(super) struct Roll {
    /// Where they are kept: what is read of the film from now on is of the file that this names.
    kept: Option<Entry>,
    pictures: BTreeMap<u64, Arc<FilmPicture>>,
    changed: bool,
}

impl Roll {
    /// What the shelf has of a film.
    pub(super) fn of(path: &Path, shelf: &Shelf) -> Self {
        let kept = shelf.of_film(path);
        let pictures = kept.as_ref().and_then(|entry| read(&entry.film()?)).unwrap_or_default();
        Self { kept, pictures, changed: false }
    }

    /// The picture of a slot, if there is one that is close enough where slots are `spacing_secs` apart.
    pub(super) fn get(&self, slot: u64, spacing_secs: f64) -> Option<&Arc<FilmPicture>> {
        self.pictures.get(&slot).filter(|picture| picture.serves(spacing_secs))
    }

    /// Adds a picture.
    pub(super) fn put(&mut self, picture: &Arc<FilmPicture>) {
        self.pictures.insert(picture.slot, Arc::clone(picture));
        self.changed = true;
        // Slots between others go first: what is left is the film from afar.
        while self.pictures.values().map(|p| p.rgb.len() + HEAD).sum::<usize>() > MOST_BYTES {
            let Some(finest) = self.pictures.keys().min_by_key(|slot| slot.trailing_zeros()).copied() else { return };
            self.pictures.remove(&finest);
        }
    }

    /// Puts what is new on the shelf.
    pub(super) fn keep(&mut self) {
        let long = self.pictures.keys().next_back().is_some_and(|slot| slot_secs(*slot) >= SHORTEST_SECS);
        if let Some(kept) = self.kept.as_ref().filter(|_| std::mem::take(&mut self.changed) && long) {
            kept.put_film(&written(&self.pictures));
        }
    }
}

fn written(pictures: &BTreeMap<u64, Arc<FilmPicture>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for picture in pictures.values() {
        // Both are at most a few hundred.
        let size = [picture.width, picture.height].map(|side| (side as u16).to_le_bytes());
        bytes.extend(picture.slot.to_le_bytes());
        bytes.extend(picture.pts_secs.to_le_bytes());
        bytes.push(u8::from(picture.exact));
        bytes.extend(size.as_flattened());
        bytes.extend(&picture.rgb);
    }
    bytes
}

/// What was written; `None` when it is anything else.
fn read(mut bytes: &[u8]) -> Option<BTreeMap<u64, Arc<FilmPicture>>> {
    let mut pictures = BTreeMap::new();
    while !bytes.is_empty() {
        let (slot, rest) = bytes.split_first_chunk()?;
        let (pts, rest) = rest.split_first_chunk()?;
        let ([exact], rest) = rest.split_first_chunk()?;
        let (width, rest) = rest.split_first_chunk()?;
        let (height, rest) = rest.split_first_chunk()?;
        let (slot, pts_secs) = (u64::from_le_bytes(*slot), f64::from_le_bytes(*pts));
        let [width, height] = [width, height].map(|side| u16::from_le_bytes(*side));
        let fits = |side: u16, most| (1..=most).contains(&u32::from(side));
        if !fits(width, Thumbnails::MOST_COLUMNS) || !fits(height, Thumbnails::MOST_ROWS) || !pts_secs.is_finite() {
            return None;
        }
        let (width, height) = (usize::from(width), usize::from(height));
        let (rgb, rest) = rest.split_at_checked(width * height * 3)?;
        let exact = *exact == 1;
        pictures.insert(slot, Arc::new(FilmPicture { slot, pts_secs, exact, width, height, rgb: rgb.to_vec() }));
        bytes = rest;
    }
    Some(pictures)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(slot: u64) -> Arc<FilmPicture> {
        let rgb = (0..4 * 3 * 3).map(|i| (slot + i) as u8).collect();
        Arc::new(FilmPicture { slot, pts_secs: slot_secs(slot) - 0.4, exact: false, width: 4, height: 3, rgb })
    }

    #[test]
    fn a_long_films_pictures_come_back_until_its_file_changes() {
        let folder = tempfile::tempdir().expect("a folder");
        let film = folder.path().join("film.mp4");
        std::fs::write(&film, "film").expect("a file");
        let shelf = Shelf::new(Some(folder.path().join("cache")));
        let mut roll = Roll::of(&film, &shelf);
        for slot in [0, 64 * 59] {
            roll.put(&picture(slot));
        }
        roll.keep();
        assert!(Roll::of(&film, &shelf).pictures.is_empty(), "short");
        roll.put(&picture(64 * 60));
        roll.keep();
        let back = Roll::of(&film, &shelf);
        assert_eq!(back.pictures, roll.pictures);
        // Half a second off is close enough from afar only.
        assert!(back.get(64 * 60, 1.0).is_some() && back.get(64 * 60, 0.5).is_none() && back.get(64, 1.0).is_none());
        // Anything else in its place is nothing, and is written over.
        let file = std::fs::read_dir(folder.path().join("cache")).expect("a folder").next().expect("one").expect("it");
        let whole = std::fs::read(file.path()).expect("readable");
        for broken in
            [&whole[..whole.len() - 1], &whole[..9], b"MLENSFM1 and then something else altogether, long enough"]
        {
            std::fs::write(file.path(), broken).expect("writable");
            assert!(Roll::of(&film, &shelf).pictures.is_empty());
        }
        roll.put(&picture(64 * 61));
        roll.keep();
        assert_eq!(Roll::of(&film, &shelf).pictures.len(), 4);
        // A changed file is another film: what was read before it changed is not kept under its name.
        std::fs::write(&film, "another film").expect("a file");
        roll.put(&picture(64 * 62));
        roll.keep();
        assert!(Roll::of(&film, &shelf).pictures.is_empty());
    }

    #[test]
    fn the_finest_slots_make_room() {
        let mut roll = Roll::default();
        let large = |slot| {
            let rgb = vec![0; 160 * 72 * 3];
            Arc::new(FilmPicture { slot, pts_secs: 0.0, exact: true, width: 160, height: 72, rgb })
        };
        for slot in 0..400 {
            roll.put(&large(slot));
        }
        let left = roll.pictures.len();
        assert!((230..250).contains(&left), "{left}");
        assert_eq!(roll.pictures.keys().filter(|slot| slot.is_multiple_of(2)).count(), 200);
    }
}
