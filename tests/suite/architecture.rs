//! Holds the map: who may import whom, which outside packages stay where, and that every file says what it is.
//! Reads the sources as text, so it knows nothing of types; the checker itself is shown to fail on violations.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Plain data, imported by everyone.
const VOCABULARY: &[&str] = &[
    "time",
    "clip",
    "prompt",
    "film",
    "frame",
    "provenance",
    "capture",
    "heatmap",
    "settings",
    "command",
    "event",
    "fed",
    "sampled",
    "download",
    "exports",
    "spectrum",
];

/// What each part may import besides itself and the vocabulary.
const PARTS: &[(&str, &[&str])] = &[
    ("state", &[]),
    ("media", &[]),
    ("gpu", &[]),
    ("library", &[]),
    ("model", &[]),
    ("lens", &["model"]),
    ("engine", &["media", "model", "lens"]),
    ("world", &["media"]),
    ("tune", &["model", "world", "media"]),
    ("export", &["media", "gpu"]),
    ("bench", &["engine", "library"]),
    ("ui", &["state", "gpu"]),
];

/// Where everything comes together: these may import every part. Parts never import them.
const ROOTS: &[&str] = &["app", "cli", "verify"];

/// Outside packages that belong to some parts only: crate names, then parts or files (below `src/`, without `.rs`).
const OUTSIDE: &[(&[&str], &[&str])] = &[
    (&["ffmpeg_next", "ffmpeg_sys_next"], &["media"]),
    (&["cpal"], &["media/sink"]),
    // `verify` compares tensors; it is the engine's judge, not its user.
    (&["candle_core", "candle_nn", "candle_transformers"], &["model", "lens", "engine", "tune", "verify"]),
    (&["tokenizers"], &["model"]),
    // HTTP has one home: nothing else can speak to anybody.
    (&["hf_hub", "ureq", "reqwest", "rustls"], &["model/hub"]),
    (&["egui", "eframe", "egui_wgpu", "egui_extras", "egui_plot", "egui_tiles"], &["app", "ui", "gpu"]),
    (&["wgpu"], &["app", "gpu"]),
    (&["rfd"], &["app"]),
    (&["rusqlite"], &["library"]),
    (&["clap"], &["cli"]),
    // Parts have error enums; where they come together a message is enough.
    (&["anyhow"], &["app", "cli", "engine", "export", "bench", "verify"]),
];

// ------------------------------------------------------------------------------------------------------- reading

/// The words and marks of a source, without comments and the contents of strings.
fn tokens(source: &str) -> Vec<String> {
    let chars: Vec<char> = source.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let mut out = Vec::new();
    let mut i = 0;
    while i < chars.len() {
        let c = at(i);
        if c == '/' && at(i + 1) == '/' {
            while i < chars.len() && at(i) != '\n' {
                i += 1;
            }
        } else if c == '/' && at(i + 1) == '*' {
            let mut depth = 0;
            while i < chars.len() {
                if at(i) == '/' && at(i + 1) == '*' {
                    depth += 1;
                    i += 1;
                } else if at(i) == '*' && at(i + 1) == '/' {
                    depth -= 1;
                    i += 1;
                }
                i += 1;
                if depth == 0 {
                    break;
                }
            }
        } else if c == '"' {
            i += 1;
            while i < chars.len() && at(i) != '"' {
                i += if at(i) == '\\' { 2 } else { 1 };
            }
            i += 1;
        } else if c == '\'' {
            // A character, or else a lifetime, whose name is then read as a word.
            if at(i + 1) == '\\' {
                i += 3;
                while i < chars.len() && at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            } else if at(i + 2) == '\'' {
                i += 3;
            } else {
                i += 1;
            }
        } else if word(c) {
            let start = i;
            while word(at(i)) {
                i += 1;
            }
            let text: String = chars[start..i].iter().collect();
            let hashes = chars[i..].iter().take_while(|c| **c == '#').count();
            if matches!(text.as_str(), "r" | "br" | "cr") && at(i + hashes) == '"' {
                let end: String = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
                i += hashes + 1;
                while i < chars.len() && !chars[i..].iter().take(hashes + 1).copied().eq(end.chars()) {
                    i += 1;
                }
                i += hashes + 1;
            } else {
                out.push(text);
            }
        } else {
            if c == ':' && at(i + 1) == ':' {
                out.push("::".to_owned());
                i += 1;
            } else if !c.is_whitespace() {
                out.push(c.to_string());
            }
            i += 1;
        }
    }
    out
}

/// All paths of a source, each as its segments: those of `use` trees written out, and those in between.
fn paths(source: &str) -> Vec<Vec<String>> {
    let tokens = tokens(source);
    let is_word = |t: &str| t.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_');
    let mut found = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        if tokens[i] == "use" || (tokens[i] == "crate" && i > 0 && tokens[i - 1] == "extern") {
            i += 1;
            let mut prefixes: Vec<Vec<String>> = vec![Vec::new()];
            let mut path: Vec<String> = Vec::new();
            while i < tokens.len() && tokens[i] != ";" {
                match tokens[i].as_str() {
                    "::" => {}
                    "{" => prefixes.push(std::mem::take(&mut path)),
                    "," | "}" => {
                        if !path.is_empty() {
                            found.push(prefixes.concat().into_iter().chain(std::mem::take(&mut path)).collect());
                        }
                        if tokens[i] == "}" {
                            prefixes.pop();
                        }
                    }
                    "as" => i += 1,
                    segment => path.push(segment.to_owned()),
                }
                i += 1;
            }
            if !path.is_empty() {
                found.push(prefixes.concat().into_iter().chain(path).collect());
            }
        } else if is_word(&tokens[i]) && tokens.get(i + 1).is_some_and(|t| t == "::") {
            let mut path = vec![tokens[i].clone()];
            while tokens.get(i + 1).is_some_and(|t| t == "::") && tokens.get(i + 2).is_some_and(|t| is_word(t)) {
                path.push(tokens[i + 2].clone());
                i += 2;
            }
            found.push(path);
        }
        i += 1;
    }
    found
}

// ------------------------------------------------------------------------------------------------------ checking

fn known(part: &str) -> bool {
    VOCABULARY.contains(&part) || ROOTS.contains(&part) || PARTS.iter().any(|(name, _)| *name == part)
}

fn may_import(from: &str, to: &str) -> bool {
    if from == to || VOCABULARY.contains(&to) || from == "main" || ROOTS.contains(&from) {
        return true;
    }
    PARTS.iter().find(|(name, _)| *name == from).is_some_and(|(_, allowed)| allowed.contains(&to))
}

/// What is wrong with the source of a file (its path below `src/`), one line each.
fn complaints(file: &str, source: &str) -> Vec<String> {
    let module = file.trim_end_matches(".rs").trim_end_matches("/mod");
    let part = module.split('/').next().unwrap_or_default();
    let depth = module.split('/').count();
    let mut wrong = BTreeSet::new();
    if !source.starts_with("//!") {
        wrong.insert(format!("{file} does not open with `//!`: say what the file does and what it does not know"));
    }
    if part == "lib" {
        return wrong.into_iter().collect();
    }
    if part != "main" && !known(part) {
        wrong.insert(format!("{file} belongs to no part of the map: add `{part}` to tests/suite/architecture.rs"));
    }
    for path in paths(source) {
        let supers = path.iter().take_while(|s| *s == "super").count();
        let inner = match path[0].as_str() {
            "crate" | "modalens" => path.get(1),
            // Enough `super`s reach the root of the crate.
            "super" if supers >= depth => path.get(supers).filter(|name| known(name)),
            outside => {
                let at = |place: &str| {
                    let below = module.strip_prefix(place);
                    place.contains('/') && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                };
                for (names, places) in OUTSIDE {
                    if names.contains(&outside) && !places.iter().any(|p| *p == part || at(p)) {
                        wrong.insert(format!("{file} uses {outside}, which belongs to {}", places.join(", ")));
                    }
                }
                continue;
            }
        };
        let Some(inner) = inner else { continue };
        if inner == "*" || inner == "self" {
            wrong.insert(format!("{file} imports the whole crate: name the part"));
        } else if known(inner) && !may_import(part, inner) {
            wrong.insert(format!("{file} imports crate::{inner}, which {part} may not"));
        }
    }
    wrong.into_iter().collect()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

// --------------------------------------------------------------------------------------------------------- tests

#[test]
fn every_source_keeps_to_the_map() {
    let src = root().join("src");
    let mut wrong = Vec::new();
    let mut read = 0;
    for path in sources(&src) {
        let file = path.strip_prefix(&src).unwrap().to_str().unwrap().replace('\\', "/");
        wrong.extend(complaints(&file, &std::fs::read_to_string(&path).unwrap()));
        read += 1;
    }
    assert!(read > 50, "only {read} sources were found");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_test_file_says_what_it_is() {
    for path in sources(&root().join("tests")) {
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("//!"), "{} has no `//!`", path.display());
    }
}

#[test]
fn every_top_level_module_is_on_the_map() {
    let lib = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let tokens = tokens(&lib);
    let modules: Vec<&String> = tokens.windows(3).filter(|w| w[0] == "mod" && w[2] == ";").map(|w| &w[1]).collect();
    assert!(modules.len() > 15, "{modules:?}");
    for module in modules {
        assert!(known(module), "add `{module}` to tests/suite/architecture.rs, with what it may import");
    }
}

#[test]
fn the_map_has_no_circles() {
    // A part is settled once all that it imports is.
    let mut open: BTreeMap<&str, &[&str]> = PARTS.iter().copied().collect();
    while !open.is_empty() {
        let settled: Vec<&str> = open
            .iter()
            .filter(|(_, needs)| needs.iter().all(|n| !open.contains_key(n)))
            .map(|(name, _)| *name)
            .collect();
        assert!(!settled.is_empty(), "these import each other: {:?}", open.keys());
        open.retain(|name, _| !settled.contains(name));
    }
}

#[test]
fn only_the_attention_door_soft_maxes() {
    let src = root().join("src/model");
    for path in sources(&src) {
        let source = std::fs::read_to_string(&path).unwrap();
        let file = path.strip_prefix(&src).unwrap().to_str().unwrap().replace('\\', "/");
        let found = tokens(&source).iter().any(|t| t.contains("softmax") && t != "log_softmax");
        let door = file == "nn/attention.rs" || file.starts_with("nn/kernels/");
        assert!(!found || door, "model/{file} has a soft-max of its own: go through model/nn/attention.rs");
    }
}

#[test]
fn the_checker_sees_every_way_to_break_the_map() {
    let broken = [
        ("media/audio.rs", "use crate::model::nn::mask::Mask;"),
        ("media/audio.rs", "use crate::{clip::ClipSpec, model::{nn, hub}};"),
        ("media/audio.rs", "fn f() -> crate::engine::Worker { todo() }"),
        ("media/audio.rs", "use super::super::engine::worker;"),
        ("media/mod.rs", "use super::model;"),
        ("ui/panel.rs", "use crate::engine::session::Session;"),
        ("model/nn/mask.rs", "use crate::lens::Recorder;"),
        ("clip.rs", "use crate::media::probe;"),
        ("clip.rs", "use crate::state::State;"),
        ("engine/mod.rs", "use crate::cli::ask;"),
        ("world/mod.rs", "use crate::*;"),
        ("ui/panel.rs", "use candle_core::Tensor;"),
        ("ui/panel.rs", "fn f(t: &candle_core::Tensor) {}"),
        ("ui/panel.rs", "fn f(t: &::candle_core::Tensor) {}"),
        ("engine/mod.rs", "use {std::fs, ffmpeg_next as ffmpeg};"),
        ("engine/mod.rs", "extern crate ffmpeg_next;"),
        ("media/mod.rs", "use cpal::Stream;"),
        ("media/probe.rs", "/* use of /* nested */ comments */ use anyhow::Result;"),
        ("state.rs", "use egui::Ui;"),
        ("model/tokenizer.rs", "use ureq::Agent;"),
        ("model/hubris.rs", "use ureq::Agent;"),
        ("cli/ask.rs", "use hf_hub::Cache;"),
        ("ui/picker.rs", "use crate::model::hub::Hub;"),
        ("novelty/mod.rs", "fn f() {}"),
    ];
    for (file, source) in broken {
        let wrong = complaints(file, &format!("//! A file.\n{source}\n"));
        assert_eq!(wrong.len(), 1, "{file}: {source}: {wrong:?}");
    }
    assert_eq!(complaints("media/probe.rs", "use std::fs;").len(), 1, "a file without `//!`");
}

#[test]
fn the_checker_lets_good_sources_be() {
    let fine = [
        ("media/audio.rs", "use super::probe::Probe; use crate::clip::ClipSpec; use ffmpeg_next as ffmpeg;"),
        ("media/sink.rs", "use cpal::Stream;"),
        ("model/hub/client.rs", "use ureq::Agent; use super::HubError; use crate::download::Step;"),
        ("model/hub/mod.rs", "use hf_hub::Cache;"),
        ("media/probe.rs", "// use crate::engine::Worker;\nconst S: &str = \"crate::engine::Worker\";"),
        (
            "media/probe.rs",
            "const S: &str = r#\"use \" crate::engine::Worker;\"#; const C: char = '\"'; const D: char = '\\'';",
        ),
        ("media/probe.rs", "fn f<'a>(x: &'a str) -> &'a str { x } /// [`crate::engine`]\nfn g() {}"),
        ("media/mod.rs", "mod tests { use super::*; use super::probe::Probe; }"),
        ("engine/worker.rs", "use crate::{media::probe, model::{nn::tap::Tap, Result}, lens::Recorder};"),
        ("cli/ask.rs", "use crate::engine::session; use crate::export; use clap::Args;"),
        ("gpu/video.rs", "use wgpu::Device; use crate::frame::Planes;"),
        ("main.rs", "fn main() -> std::process::ExitCode { modalens::cli::main() }"),
        ("lens/mod.rs", "use crate::model::Result; pub use recorder::Recorder; use candle_core::Tensor;"),
    ];
    for (file, source) in fine {
        assert_eq!(complaints(file, &format!("//! A file.\n{source}\n")), Vec::<String>::new(), "{file}: {source}");
    }
}
