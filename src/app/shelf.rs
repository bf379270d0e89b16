//! What was computed about long files, on disk, so that it is computed once: outlines, spectra and filmstrips. Files are
//! named by what they are of (path, size, time of change, and what is done to it); all share one bounded folder, from
//! which the oldest are dropped. Knows nothing of how any of it is made or drawn; a file that cannot be read is no file.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use super::folders::{self, Kind};
use crate::clip::{AudioSource, ClipSpec};
use crate::export::write_whole;

/// Shorter files are read faster than they would be found.
pub(super) const SHORTEST_SECS: f64 = 60.0;
/// Bytes kept on disk.
const MOST_BYTES: u64 = 256 << 20;
/// A larger file is none of ours.
const MOST_FILE_BYTES: u64 = 128 << 20;

/// What is kept about a file: its files' ending, and what they begin with (format and version).
#[derive(Debug, Clone, Copy)]
struct Form {
    ending: &'static str,
    magic: &'static [u8; 8],
}

const OUTLINE: Form = Form { ending: "outline", magic: b"MLENSOL1" };
const SPECTRUM: Form = Form { ending: "spectrum", magic: b"MLENSMS1" };

const FILM: Form = Form { ending: "filmstrip", magic: b"MLENSFM1" };

/// Full scale of a stored sample: louder ones are possible, and clipped at twice of it.
const SCALE: f32 = 16_383.0;

/// The folder, if there is one.
#[derive(Debug, Clone, Default)]
pub(super) struct Shelf(Option<PathBuf>);

impl Shelf {
    /// Keeps files in `folder`.
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Self(folder)
    }

    /// The entry of a sound as its file is now; `None` for what has no file of its own, or without a folder.
    pub(super) fn of_sound(&self, sound: &ClipSpec) -> Option<Entry> {
        let AudioSource::File { path, .. } = &sound.audio else { return None };
        self.entry(path, &serde_json::to_vec(sound).ok()?)
    }

    /// The entry of a film as its file is now; `None` without a folder.
    pub(super) fn of_film(&self, path: &Path) -> Option<Entry> {
        self.entry(path, b"filmstrip")
    }

    fn entry(&self, path: &Path, what: &[u8]) -> Option<Entry> {
        let folder = self.0.as_ref()?;
        Some(Entry { stem: folder.join(named(path, what)?) })
    }
}

/// What is on the shelf about one file as it was when this entry was taken. Taken before the file is read, it never names
/// a newer file for what was read of an older one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its files, without their endings.
    stem: PathBuf,
}

impl Entry {
    /// The outline of a sound, if it is known.
    pub(super) fn outline(&self) -> Option<Vec<[f32; 2]>> {
        let bytes = self.get(OUTLINE)?;
        let (body, []) = bytes.as_chunks::<4>() else { return None };
        let number = |low: u8, high: u8| match i16::from_le_bytes([low, high]) {
            i16::MIN => None,
            n => Some(f32::from(n) / SCALE),
        };
        let empty = [f32::INFINITY, f32::NEG_INFINITY];
        Some(
            body.iter().map(|[a, b, c, d]| number(*a, *b).zip(number(*c, *d)).map_or(empty, |(l, h)| [l, h])).collect(),
        )
    }

    /// The codes of a sound's spectrum, `[steps, bins]`, if they are known.
    pub(super) fn spectrum(&self, bins: usize) -> Option<Vec<u8>> {
        let codes = self.get(SPECTRUM)?;
        codes.len().is_multiple_of(bins.max(1)).then_some(codes)
    }

    /// Keeps what is known of a sound that is so long.
    pub(super) fn put_sound(&self, secs: f64, pairs: &[[f32; 2]], spectrum: Option<&[u8]>) {
        if secs < SHORTEST_SECS {
            return;
        }
        let stored = |x: f32| if x.is_finite() { (x * SCALE).clamp(-32_767.0, 32_767.0) as i16 } else { i16::MIN };
        let bytes: Vec<u8> = pairs.iter().flatten().flat_map(|x| stored(*x).to_le_bytes()).collect();
        self.put(OUTLINE, &bytes);
        if let Some(codes) = spectrum {
            self.put(SPECTRUM, codes);
        }
    }

    /// The pictures of a film as [`put_film`](Self::put_film) got them, if they are known.
    pub(super) fn film(&self) -> Option<Vec<u8>> {
        self.get(FILM)
    }

    /// Keeps the pictures of a film.
    pub(super) fn put_film(&self, pictures: &[u8]) {
        self.put(FILM, pictures);
    }

    fn get(&self, form: Form) -> Option<Vec<u8>> {
        let file = self.stem.with_extension(form.ending);
        if std::fs::metadata(&file).ok()?.len() > MOST_FILE_BYTES {
            return None;
        }
        let mut bytes = std::fs::read(file).ok()?;
        bytes.starts_with(form.magic).then(|| bytes.split_off(form.magic.len()))
    }

    fn put(&self, form: Form, body: &[u8]) {
        let Some(folder) = self.stem.parent() else { return };
        let file = self.stem.with_extension(form.ending);
        let written = std::fs::create_dir_all(folder).map_err(anyhow::Error::from).and_then(|()| {
            write_whole(&file, |out| {
                out.write_all(form.magic)?;
                Ok(out.write_all(body)?)
            })
        });
        if let Err(e) = written {
            log::info!("what was computed is not kept: {e:#}");
        }
        sweep(folder, MOST_BYTES);
    }
}

/// The name of what is known about a file as it is now, and about what is done to it.
fn named(path: &Path, what: &[u8]) -> Option<String> {
    let about = std::fs::metadata(path).ok()?;
    let changed = about.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let mut hash = Sha256::new();
    hash.update(what);
    hash.update(std::fs::canonicalize(path).ok()?.as_os_str().as_encoded_bytes());
    hash.update(about.len().to_le_bytes());
    hash.update(changed.as_nanos().to_le_bytes());
    let name: u128 = hash.finalize().iter().take(16).fold(0, |n, b| (n << 8) | u128::from(*b));
    Some(format!("{name:032x}"))
}

/// Removes the oldest of our files beyond a number of bytes.
fn sweep(folder: &Path, most: u64) {
    let ours = |path: &Path| [OUTLINE, SPECTRUM, FILM].iter().any(|f| path.extension().is_some_and(|e| e == f.ending));
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let path = entry.path();
            let about = entry.metadata().ok().filter(|_| ours(&path))?;
            Some((about.modified().ok()?, about.len(), path))
        })
        .collect();
    files.sort_by_key(|f| std::cmp::Reverse(f.0));
    let mut bytes = 0;
    for (_, size, path) in files {
        bytes += size;
        if bytes > most {
            // It may be in use elsewhere, or gone already.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The folder for it. Its name is older than spectra and filmstrips.
pub(super) fn default_folder() -> Option<PathBuf> {
    Some(folders::folder(Kind::Cache)?.join("modalens/outlines"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &Path) -> ClipSpec {
        ClipSpec { audio: AudioSource::File { path: path.to_owned(), track: None }, ..ClipSpec::default() }
    }

    #[test]
    fn what_is_known_of_a_sound_comes_back_until_its_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long.wav");
        std::fs::write(&path, "sound").unwrap();
        let shelf = Shelf::new(Some(folder.path().join("cache")));
        let mut pairs = vec![[-0.25, 0.5]; 6_000];
        pairs[7] = [f32::INFINITY, f32::NEG_INFINITY];
        let codes: Vec<u8> = (0..=255).collect();
        let sound = || shelf.of_sound(&of(&path)).unwrap();
        let first = sound();
        assert_eq!(first.outline(), None);
        first.put_sound(60.0, &pairs, Some(&codes));
        let back = sound().outline().unwrap();
        assert_eq!((back.len(), back[7]), (pairs.len(), pairs[7]));
        assert!(back.iter().zip(&pairs).all(|(a, b)| a == b || (a[0] - b[0]).abs() + (a[1] - b[1]).abs() < 2e-4));
        assert_eq!(sound().spectrum(128), Some(codes));
        assert_eq!(sound().spectrum(100), None);
        // Louder is another sound, a broken outline none, a short one is not kept.
        let louder = ClipSpec { sound: crate::clip::SoundEdit { gain_db: 1.0, ..Default::default() }, ..of(&path) };
        assert_eq!(shelf.of_sound(&louder).unwrap().outline(), None);
        let file = first.stem.with_extension("outline");
        std::fs::write(&file, "MLENSOL1abc").unwrap();
        assert_eq!(sound().outline(), None);
        first.put_sound(59.0, &pairs, None);
        assert_eq!(sound().outline(), None);
        // A changed file is another file: what was read before it changed is not kept under its name.
        std::fs::write(&path, "other sound").unwrap();
        first.put_sound(60.0, &pairs, None);
        assert!(first.outline().is_some() && sound() != first);
        assert_eq!(sound().outline(), None);
        // Bounded: the oldest goes, what is not ours stays.
        let other = folder.path().join("cache/other.txt");
        std::fs::write(&other, "x").unwrap();
        sweep(&folder.path().join("cache"), 0);
        assert!(!file.exists() && other.exists());
        assert_eq!(Shelf::default().of_sound(&of(&path)), None);
    }
}
