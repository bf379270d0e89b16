//! Reads the filmstrip's pictures on a thread of their own: what is in view now, coarse to fine; what no longer is, is
//! dropped; what the shelf has is not read again. Knows nothing of drawing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::App;
use super::roll::Roll;
use super::shelf::Shelf;
use crate::clip::FrameEdit;
use crate::engine::mailbox::{Mailbox, Taken};
use crate::engine::worker::lower_priority;
use crate::event::Event;
use crate::film::{FilmNews, FilmPicture, slot_secs};
use crate::frame::{Planes, RgbaFrame};
use crate::gpu::video::tone_mapped;
use crate::media::{MediaError, Thumbnail, Thumbnails};

/// A file that nobody has asked about for so long is closed, and its decoder's memory given back.
const IDLE: Duration = Duration::from_secs(3);
/// Where key frames are this many times farther apart than the wanted pictures, one pass in the order of time is
/// quicker than coarse to fine.
const RARE_KEYS: f64 = 8.0;

/// Pictures that are wanted now; everything wanted before is not.
pub(super) struct Wanted {
    /// Of which clip.
    pub(super) clip_id: u64,
    /// Its video.
    pub(super) path: PathBuf,
    /// Slots, the most wanted first.
    pub(super) slots: Vec<u64>,
    /// How far apart they are, in seconds: half of it is how far off a picture may be.
    pub(super) spacing_secs: f64,
}

/// Has the thread read what is wanted last; the thread ends with it.
pub(super) struct FilmReader {
    wants: Option<Arc<Mailbox<Wanted>>>,
    shelf: Shelf,
}

impl FilmReader {
    /// A reader that keeps long films' pictures on `shelf`.
    pub(super) fn new(shelf: Shelf) -> Self {
        Self { wants: None, shelf }
    }

    /// Has pictures read; the thread is started with the first of them.
    pub(super) fn want(&mut self, wanted: Wanted, notify: impl Fn(Event) + Clone + Send + 'static) {
        let wants = self.wants.get_or_insert_with(|| {
            let wants = Arc::new(Mailbox::default());
            let (served, report, shelf) = (Arc::clone(&wants), notify.clone(), self.shelf.clone());
            super::workers::spawn("filmstrip", &notify, move || {
                lower_priority();
                serve(&served, &shelf, &report);
            });
            wants
        });
        wants.put(|_| wanted);
    }
}

impl Drop for FilmReader {
    fn drop(&mut self) {
        if let Some(wants) = &self.wants {
            wants.close();
        }
    }
}

impl App {
    /// Has the filmstrip's missing pictures read. Also with none missing, so that none of another view are.
    pub(super) fn read_film(&mut self, spacing_secs: f64) {
        let Some(path) = self.state.clip.video.clone().filter(|_| self.state.film.failed.is_none()) else { return };
        let wanted = Wanted { clip_id: self.state.clip_id, path, slots: self.state.film.missing(), spacing_secs };
        let notify = self.notify();
        self.film.want(wanted, notify);
    }

    /// What follows a hand that moves faster than the decoder: the filmstrip's picture.
    pub(super) fn stand_in(&self, position: f64, shown_secs: f64) -> Option<Arc<dyn Planes>> {
        let late = self.player.as_ref()?.lags_behind_hand() && self.state.clip.frames == FrameEdit::Keep;
        let near = self.state.film.nearer(position, shown_secs).filter(|_| late)?;
        Some(Arc::new(RgbaFrame::of_rgb(near.width, &near.rgb, near.pts_secs)))
    }
}

/// Serves what is wanted until nobody can want any more.
fn serve(wants: &Mailbox<Wanted>, shelf: &Shelf, report: &dyn Fn(Event)) {
    let mut film: Option<Film> = None;
    loop {
        let wanted = match wants.take_within(IDLE) {
            Taken::Value(wanted) => wanted,
            Taken::Closed => return,
            Taken::Late => {
                if let Some(mut film) = film.take() {
                    film.roll.keep();
                }
                let Some(wanted) = wants.take() else { return };
                wanted
            }
        };
        let clip_id = wanted.clip_id;
        // A file that was opened again may have been written again.
        if let Some(mut other) = film.take_if(|film| film.clip_id != clip_id) {
            other.roll.keep();
        }
        let film = film.get_or_insert_with(|| Film { clip_id, roll: Roll::of(&wanted.path, shelf), open: None });
        let tell = |news| report(Event::Film { clip_id, news });
        if let Err(e) = read(film, wanted, wants, &tell) {
            film.open = None;
            tell(FilmNews::Failed(e.to_string()));
        }
    }
}

/// A film: what is known of it, and its file where that was not enough.
struct Film {
    clip_id: u64,
    roll: Roll,
    open: Option<Thumbnails>,
}

/// Reads what is wanted, until something else is.
fn read(
    Film { roll, open, .. }: &mut Film,
    mut wanted: Wanted,
    wants: &Mailbox<Wanted>,
    tell: &dyn Fn(FilmNews),
) -> Result<(), MediaError> {
    wanted.slots.retain(|slot| {
        let known = roll.get(*slot, wanted.spacing_secs);
        if let Some(picture) = known {
            tell(FilmNews::Picture(Arc::clone(picture)));
        }
        known.is_none()
    });
    wanted.slots.reverse();
    while let Some(slot) = wanted.slots.pop() {
        let film = match open.take() {
            Some(ready) => open.insert(ready),
            None => open.insert(Thumbnails::open(&wanted.path)?),
        };
        // What is on its way goes on where the newer view wants it, too.
        let stale = || {
            wants.look(|newer, closed| {
                closed || newer.is_some_and(|n| n.clip_id != wanted.clip_id || !n.slots.contains(&slot))
            })
        };
        if let Some(picture) = film.near(slot_secs(slot), wanted.spacing_secs / 2.0, &stale)? {
            let picture = Arc::new(shown(slot, picture));
            roll.put(&picture);
            tell(FilmNews::Picture(picture));
        }
        if wants.look(|newer, closed| closed || newer.is_some()) {
            break;
        }
        if film.key_gap_secs() > RARE_KEYS * wanted.spacing_secs {
            wanted.slots.sort_unstable_by_key(|slot| std::cmp::Reverse(*slot));
        }
    }
    Ok(())
}

/// A picture in the colours it is shown in.
fn shown(slot: u64, Thumbnail { mut image, pts_secs, exact, hdr }: Thumbnail) -> FilmPicture {
    if let Some(hdr) = hdr {
        for pixel in image.data.as_chunks_mut::<3>().0 {
            let color = tone_mapped(pixel.map(|c| f32::from(c) / 255.0), hdr);
            *pixel = color.map(|c| (c.clamp(0.0, 1.0) * 255.0).round() as u8);
        }
    }
    FilmPicture { slot, pts_secs, exact, width: image.width, height: image.height, rgb: image.data }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;
    use std::sync::Mutex;

    use super::*;
    use crate::frame::{Hdr, HdrTransfer, Primaries, RgbImage};

    fn clip(folder: &Path) -> PathBuf {
        let path = folder.join("clip.mp4");
        let made = Command::new("ffmpeg")
            .args("-v error -nostdin -f lavfi -i testsrc2=size=64x48:rate=10:duration=20 -c:v libx264 -g 10".split(' '))
            .arg(&path)
            .status();
        assert!(made.expect("ffmpeg").success());
        path
    }

    fn wanted(clip_id: u64, path: &Path, seconds: std::ops::Range<u64>) -> Wanted {
        Wanted { clip_id, path: path.to_owned(), slots: seconds.map(|s| s * 64).collect(), spacing_secs: 1.0 }
    }

    #[test]
    fn a_newer_view_drops_the_older_one_and_a_broken_file_does_not_end_the_thread() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = clip(folder.path());
        let broken = folder.path().join("broken.mp4");
        std::fs::write(&broken, "nothing").expect("a file");
        let wants = Mailbox::default();
        wants.put(|_| wanted(1, &broken, 0..3));
        let told = Mutex::new(Vec::new());
        let report = |event| {
            let Event::Film { clip_id, news } = event else { return };
            let slot = match news {
                FilmNews::Picture(picture) => Some(picture.slot / 64),
                FilmNews::Failed(_) => None,
            };
            told.lock().expect("lock").push((clip_id, slot));
            match (clip_id, slot) {
                (1, None) => wants.put(|_| wanted(2, &path, 0..20)),
                // Twenty are wanted; after the second of them, only three others are, and after these no more.
                (2, Some(1)) => wants.put(|_| wanted(3, &path, 15..18)),
                (3, Some(17)) => wants.close(),
                _ => {}
            }
        };
        serve(&wants, &Shelf::default(), &report);
        let told = told.into_inner().expect("lock");
        let (third, before) = ([(3, Some(15)), (3, Some(16)), (3, Some(17))], [(1, None), (2, Some(0)), (2, Some(1))]);
        assert_eq!(told, [before, third].concat());
    }

    #[test]
    fn what_was_read_of_a_long_film_is_kept_and_not_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = clip(folder.path());
        let broken = folder.path().join("broken.mp4");
        std::fs::write(&broken, "nothing").expect("a file");
        let shelf = Shelf::new(Some(folder.path().join("cache")));
        let wants = Mailbox::default();
        // Beyond the end is the last picture.
        wants.put(|_| wanted(1, &path, 70..71));
        let told = Mutex::new(Vec::new());
        let report = |event| {
            let Event::Film { clip_id, news } = event else { return };
            let known = match news {
                FilmNews::Picture(picture) => Some(picture),
                FilmNews::Failed(_) => None,
            };
            told.lock().expect("lock").push((clip_id, known.clone()));
            match (clip_id, known) {
                (1, Some(picture)) => {
                    // A file that cannot be read any more, of which this picture is known.
                    let mut roll = Roll::of(&broken, &shelf);
                    roll.put(&picture);
                    roll.keep();
                    wants.put(|_| wanted(2, &broken, 70..71));
                }
                (2, Some(_)) => wants.put(|_| wanted(3, &broken, 70..72)),
                (3, None) => wants.close(),
                _ => {}
            }
        };
        serve(&wants, &shelf, &report);
        let told = told.into_inner().expect("lock");
        let first = told[0].1.clone();
        assert!(first.is_some());
        assert_eq!(told[1..], [(2, first.clone()), (3, first.clone()), (3, None)]);
        assert_eq!(Roll::of(&path, &shelf).get(70 * 64, 1.0), first.as_ref());
    }

    #[test]
    fn bright_pictures_are_shown_as_the_shader_shows_them() {
        let hdr = Hdr { transfer: HdrTransfer::Pq, primaries: Primaries::Bt2020, peak_nits: 1000.0 };
        let image = RgbImage { width: 1, height: 1, data: vec![150, 100, 50] };
        let picture = |hdr| Thumbnail { image: image.clone(), pts_secs: 0.0, exact: true, hdr };
        assert_eq!(shown(0, picture(None)).rgb, [150, 100, 50]);
        let expected = tone_mapped([150.0 / 255.0, 100.0 / 255.0, 50.0 / 255.0], hdr);
        let bright = shown(0, picture(Some(hdr))).rgb;
        assert!(bright[0] > 180, "{bright:?}");
        for (c, e) in bright.iter().zip(expected) {
            assert!((f32::from(*c) / 255.0 - e.clamp(0.0, 1.0)).abs() < 0.003);
        }
    }
}
