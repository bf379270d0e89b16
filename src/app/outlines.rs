//! Outlines of long sounds on disk, so that a long file is read once: named by what they are of (path, size, time of
//! change, and what is done to the sound), bounded, the oldest dropped. Knows nothing of how outlines are made or drawn;
//! a file that cannot be read is no file.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use crate::clip::{AudioSource, ClipSpec};
use crate::export::write_whole;

/// Shorter sounds are read faster than they would be found: pairs of a hundredth of a second.
const FEWEST_PAIRS: usize = 6_000;
/// Bytes kept on disk.
const MOST_BYTES: u64 = 128 << 20;
/// What a file begins with: format and version.
const MAGIC: &[u8; 8] = b"MLENSOL1";
/// Full scale of a stored sample: louder ones are possible, and clipped at twice of it.
const SCALE: f32 = 16_383.0;

/// The folder, if there is one.
#[derive(Debug, Clone, Default)]
pub(super) struct OutlineCache(Option<PathBuf>);

impl OutlineCache {
    /// Keeps files in `folder`.
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Self(folder)
    }

    /// The pairs of a sound, if they are known.
    pub(super) fn get(&self, sound: &ClipSpec) -> Option<Vec<[f32; 2]>> {
        let bytes = std::fs::read(self.file(sound)?).ok()?;
        let (body, []) = bytes.strip_prefix(MAGIC)?.as_chunks::<4>() else { return None };
        let number = |low: u8, high: u8| match i16::from_le_bytes([low, high]) {
            i16::MIN => None,
            n => Some(f32::from(n) / SCALE),
        };
        let empty = [f32::INFINITY, f32::NEG_INFINITY];
        Some(
            body.iter().map(|[a, b, c, d]| number(*a, *b).zip(number(*c, *d)).map_or(empty, |(l, h)| [l, h])).collect(),
        )
    }

    /// Keeps the pairs of a sound.
    pub(super) fn put(&self, sound: &ClipSpec, pairs: &[[f32; 2]]) {
        let Some(file) = self.file(sound).filter(|_| pairs.len() >= FEWEST_PAIRS) else { return };
        let stored = |x: f32| if x.is_finite() { (x * SCALE).clamp(-32_767.0, 32_767.0) as i16 } else { i16::MIN };
        let bytes: Vec<u8> =
            MAGIC.iter().copied().chain(pairs.iter().flatten().flat_map(|x| stored(*x).to_le_bytes())).collect();
        let Some(folder) = &self.0 else { return };
        let written = std::fs::create_dir_all(folder)
            .map_err(anyhow::Error::from)
            .and_then(|()| write_whole(&file, |out| Ok(out.write_all(&bytes)?)));
        if let Err(e) = written {
            log::info!("an outline is not kept: {e:#}");
        }
        sweep(folder, MOST_BYTES);
    }

    /// The file of a sound; `None` for what has no file of its own.
    fn file(&self, sound: &ClipSpec) -> Option<PathBuf> {
        let folder = self.0.as_ref()?;
        let AudioSource::File { path, .. } = &sound.audio else { return None };
        let about = std::fs::metadata(path).ok()?;
        let changed = about.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        let mut hash = Sha256::new();
        hash.update(serde_json::to_vec(sound).ok()?);
        hash.update(std::fs::canonicalize(path).ok()?.as_os_str().as_encoded_bytes());
        hash.update(about.len().to_le_bytes());
        hash.update(changed.as_nanos().to_le_bytes());
        let name: u128 = hash.finalize().iter().take(16).fold(0, |n, b| (n << 8) | u128::from(*b));
        Some(folder.join(format!("{name:032x}.outline")))
    }
}

/// Removes the oldest outlines beyond a number of bytes.
fn sweep(folder: &Path, most: u64) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let path = entry.path();
            let about = entry.metadata().ok().filter(|_| path.extension().is_some_and(|e| e == "outline"))?;
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

/// The folder for it: below `XDG_CACHE_HOME`, else `~/.cache`.
pub(super) fn default_folder() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let cache = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("modalens/outlines"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outline_comes_back_until_its_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long.wav");
        std::fs::write(&path, "sound").unwrap();
        let cache = OutlineCache::new(Some(folder.path().join("cache")));
        let of = |path: &Path| ClipSpec {
            audio: AudioSource::File { path: path.to_owned(), track: None },
            ..ClipSpec::default()
        };
        let mut pairs = vec![[-0.25, 0.5]; FEWEST_PAIRS];
        pairs[7] = [f32::INFINITY, f32::NEG_INFINITY];
        assert_eq!(cache.get(&of(&path)), None);
        cache.put(&of(&path), &pairs);
        let back = cache.get(&of(&path)).unwrap();
        assert_eq!((back.len(), back[7]), (pairs.len(), pairs[7]));
        assert!(back.iter().zip(&pairs).all(|(a, b)| a == b || (a[0] - b[0]).abs() + (a[1] - b[1]).abs() < 2e-4));
        // Louder is another sound, a changed file another file, a broken outline none, a short one is not kept.
        let louder = ClipSpec { sound: crate::clip::SoundEdit { gain_db: 1.0, ..Default::default() }, ..of(&path) };
        assert_eq!(cache.get(&louder), None);
        let file = cache.file(&of(&path)).unwrap();
        std::fs::write(&file, "MLENSOL1abc").unwrap();
        assert_eq!(cache.get(&of(&path)), None);
        cache.put(&of(&path), &pairs[..10]);
        assert_eq!(cache.get(&of(&path)), None);
        std::fs::write(&path, "other sound").unwrap();
        assert_ne!(cache.file(&of(&path)).unwrap(), file);
        // Bounded: the oldest goes.
        sweep(&folder.path().join("cache"), 0);
        assert!(!file.exists());
        assert_eq!(OutlineCache::default().get(&of(&path)), None);
    }
}
