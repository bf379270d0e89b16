//! Finds a font of the system for scripts that the bundled faces lack (answers may be Chinese, Japanese or Korean, and
//! such fonts are too large to ship), and adds it when the first such character turns up.
//! Knows nothing of what is written with it.

use std::path::{Path, PathBuf};

use egui::epaint::text::{FontInsert, FontPriority, InsertFontFamily};
use egui::{FontData, FontFamily};

use super::folders::{self, Kind};

/// Beginnings of file names (lower case) of fonts with wide coverage, best first.
const WANTED: &[&str] = &[
    "notosanscjk-regular",
    "notosanscjksc-regular",
    "notosanscjk",
    "sourcehansans",
    "notosanssc",
    "wqy-microhei",
    "wqy-zenhei",
    "droidsansfallbackfull",
    "droidsansfallback",
    "pingfang",
    "hiragino sans gb",
    "arialunicode",
    "arial unicode",
    "msyh",
    "malgun",
    "yugoth",
    "simsun",
];

/// Fonts larger than this are left alone.
const MOST_BYTES: u64 = 64 << 20;
/// Folders below a font folder that are searched.
const DEPTH: usize = 4;

/// Whether a text has characters that the bundled faces lack and a font of the system may have.
pub(super) fn needs_fallback(text: &str) -> bool {
    text.chars().any(|c| matches!(u32::from(c), 0x1100..=0x11ff | 0x2e80..=0xd7ff | 0xf900..=0xfaff | 0xfe30..=0xfe4f | 0xff00..=0xffef | 0x20000..=0x3ffff))
}

fn folders() -> Vec<PathBuf> {
    let home = folders::home();
    let in_home = |rest: &str| home.as_ref().map(|h| h.join(rest));
    let windows = std::env::var_os("WINDIR").map(|w| PathBuf::from(w).join("Fonts"));
    [
        folders::folder(Kind::Data).map(|data| data.join("fonts")),
        in_home(".fonts"),
        in_home("Library/Fonts"),
        Some("/usr/local/share/fonts".into()),
        Some("/usr/share/fonts".into()),
        Some("/System/Library/Fonts".into()),
        Some("/Library/Fonts".into()),
        windows,
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The best font file in `folders`: its rank in [`WANTED`] and its path.
fn best(folder: &Path, depth: usize, found: &mut Option<(usize, PathBuf)>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if depth > 0 {
                best(&path, depth - 1, found);
            }
            continue;
        }
        let name = entry.file_name().to_string_lossy().to_lowercase();
        let is_font = [".ttf", ".otf", ".ttc"].iter().any(|e| name.ends_with(e));
        let Some(rank) = WANTED.iter().position(|w| name.starts_with(w)).filter(|_| is_font) else { continue };
        if found.as_ref().is_none_or(|(r, _)| rank < *r) && entry.metadata().is_ok_and(|m| m.len() <= MOST_BYTES) {
            *found = Some((rank, path));
        }
    }
}

/// Looks for a font on a thread of its own and adds it behind all others; without one, boxes stand for the characters.
pub(super) fn add_fallback(ctx: egui::Context) {
    let work = move || {
        let mut found = None;
        for folder in folders() {
            best(&folder, DEPTH, &mut found);
        }
        let Some((_, path)) = found else {
            log::info!("no font for Chinese, Japanese or Korean was found (fonts-noto-cjk has one)");
            return;
        };
        match std::fs::read(&path) {
            Ok(bytes) => {
                let families = [FontFamily::Proportional, FontFamily::Monospace];
                let families = families.map(|family| InsertFontFamily { family, priority: FontPriority::Lowest });
                ctx.add_font(FontInsert::new("system fallback", FontData::from_owned(bytes), families.to_vec()));
                ctx.request_repaint();
            }
            Err(e) => log::info!("{} cannot be read: {e}", path.display()),
        }
    };
    if let Err(e) = std::thread::Builder::new().name("find font".to_owned()).spawn(work) {
        log::info!("no thread to look for fonts: {e}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_font_wins_wherever_it_lies() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("opentype/noto");
        std::fs::create_dir_all(&deep).unwrap();
        for file in [dir.path().join("wqy-zenhei.ttc"), deep.join("NotoSansCJK-Regular.ttc"), deep.join("Other.ttf")] {
            std::fs::write(file, b"").unwrap();
        }
        let mut found = None;
        best(dir.path(), DEPTH, &mut found);
        assert_eq!(found, Some((0, deep.join("NotoSansCJK-Regular.ttc"))));
        assert!(needs_fallback("它是一只猫") && needs_fallback("고양이") && !needs_fallback("naïve – “x” → ё"));
    }
}
