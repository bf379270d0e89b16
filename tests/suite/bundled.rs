//! The model that ships: it is the published architecture, number by number, and answers what is true.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use modalens::media::EncodeSpeed;
use modalens::verify::{Verifier, verify};
use modalens::world::{Condition, Kind, Options, read_metadata, write_dataset};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// What the reference computes on these very weights (`tests/fixtures/make.py --checkpoint assets/model`).
#[test]
fn it_is_the_published_architecture() {
    let goldens = ["interleaved", "turns"].map(|n| root().join(format!("tests/fixtures/bundled/{n}.safetensors")));
    let report = verify(&Verifier::open(&root().join("assets/model")).unwrap(), &goldens).unwrap();
    assert!(report.passed(), "{report}");
    let compared: usize = report.files.iter().map(|f| f.tensors.len()).sum();
    assert!(compared > 40, "only {compared} tensors were compared");
}

/// Clips that it never saw, through the codec and the command line, with no model named.
#[test]
fn it_answers_what_is_true_of_fresh_clips() {
    let folder = tempfile::tempdir().unwrap();
    for (condition, asked) in [
        (Condition::Aligned, [Kind::See, Kind::Hear]),
        (Condition::PictureOnly, [Kind::See, Kind::Where]),
        (Condition::SoundOnly, [Kind::Hear, Kind::When]),
    ] {
        let out = folder.path().join(condition.name());
        let options = Options {
            out: out.clone(),
            count: 2,
            seed: 424_242,
            condition: Some(condition),
            speed: EncodeSpeed::Fastest,
        };
        write_dataset(&options, &|_, _| {}, &AtomicBool::new(false)).unwrap();
        for row in read_metadata(&out).unwrap() {
            for kind in asked {
                let output = Command::new(env!("CARGO_BIN_EXE_modalens"))
                    .args(["ask", "--json", "--question", kind.wordings()[0], "--video"])
                    .arg(out.join(&row.file_name))
                    .output()
                    .unwrap();
                let stderr = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{stderr}");
                let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
                assert_eq!(
                    answer["answer"].as_str(),
                    kind.answer(&row.truth),
                    "{} {}: {stderr}",
                    out.display(),
                    kind.name()
                );
                assert_eq!(answer["model"]["id"], "bundled");
            }
        }
    }
}
