//! `modalens verify`: passes on the fixtures, and fails as soon as one compared number is off.

use std::path::{Path, PathBuf};
use std::process::Command;

use modalens::verify::verify;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Folders with a checkpoint and golden files.
fn sets(root: &Path) -> Vec<(PathBuf, Vec<PathBuf>)> {
    let mut sets: Vec<_> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|dir| dir.join("ckpt/config.json").is_file())
        .map(|dir| {
            let mut goldens: Vec<_> = std::fs::read_dir(&dir)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
                .collect();
            goldens.sort();
            (dir.join("ckpt"), goldens)
        })
        .collect();
    sets.sort();
    sets
}

fn assert_passes(root: &Path) -> usize {
    let mut compared = 0;
    for (model, goldens) in sets(root) {
        let report = verify(&model, &goldens).unwrap();
        assert!(report.passed(), "{report}");
        compared += report.files.iter().map(|f| f.tensors.len()).sum::<usize>();
    }
    compared
}

#[test]
fn the_fixtures_agree() {
    assert!(sets(&fixtures()).len() >= 2, "two configurations at least");
    assert!(assert_passes(&fixtures()) > 100);
}

/// The larger goldens, where they are at hand.
#[test]
fn the_larger_goldens_agree() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/goldens");
    if shared.is_dir() {
        assert!(assert_passes(&shared) > 500);
    }
}

/// A file with one number of one tensor moved by ten times its tolerance.
fn perturbed(path: &Path, name: &str, by: f64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join(path.file_name().unwrap());
    std::fs::copy(path.with_extension("json"), copy.with_extension("json")).unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    let (header, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let info = metadata.info(name).unwrap();
    let (start, end) = info.data_offsets;
    let data = &mut bytes[header + 8 + start..header + 8 + end];
    // The middle one: ends are where a sloppy comparison would look last.
    match info.dtype {
        safetensors::Dtype::F32 => {
            let at = data.len() / 8 * 4;
            let old = f32::from_le_bytes(data[at..at + 4].try_into().unwrap());
            data[at..at + 4].copy_from_slice(&(old + by as f32).to_le_bytes());
        }
        safetensors::Dtype::F64 => {
            let at = data.len() / 16 * 8;
            let old = f64::from_le_bytes(data[at..at + 8].try_into().unwrap());
            data[at..at + 8].copy_from_slice(&(old + by).to_le_bytes());
        }
        safetensors::Dtype::I64 => {
            let at = data.len() / 16 * 8;
            let old = i64::from_le_bytes(data[at..at + 8].try_into().unwrap());
            data[at..at + 8].copy_from_slice(&(old + 1).to_le_bytes());
        }
        safetensors::Dtype::U8 => data[data.len() / 2] ^= 1,
        other => panic!("{name} has type {other:?}"),
    }
    std::fs::write(&copy, bytes).unwrap();
    dir
}

#[test]
fn any_compared_number_that_is_off_fails() {
    for (model, goldens) in sets(&fixtures()) {
        // One case with everything in it is enough per configuration: the interleaved one, and preprocessing.
        let chosen = goldens.iter().filter(|g| {
            let name = g.file_stem().unwrap().to_string_lossy();
            name.contains("interleaved") || name == "preproc"
        });
        for golden in chosen {
            let whole = verify(&model, std::slice::from_ref(golden)).unwrap();
            assert!(!whole.files[0].tensors.is_empty());
            for tensor in &whole.files[0].tensors {
                let by = (10.0 * tensor.tolerance).max(1e-3);
                let dir = perturbed(golden, &tensor.name, by);
                let moved = dir.path().join(golden.file_name().unwrap());
                // Ids and grids that make no sense may also be refused outright.
                if let Ok(report) = verify(&model, &[moved]) {
                    assert!(!report.passed(), "{} of {}", tensor.name, golden.display());
                }
            }
        }
    }
}

#[test]
fn the_command_line_says_no_with_one_and_nonsense_with_two() {
    let (model, goldens) = sets(&fixtures()).swap_remove(0);
    let golden = goldens.iter().find(|g| g.to_string_lossy().contains("text")).unwrap();
    let run = |golden: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_modalens"));
        command.args(["verify", "--json", "--model"]).arg(&model).arg("--golden").arg(golden);
        command.output().unwrap()
    };
    let good = run(golden);
    assert_eq!(good.status.code(), Some(0), "{}", String::from_utf8_lossy(&good.stderr));
    let report: serde_json::Value = serde_json::from_slice(&good.stdout).unwrap();
    assert_eq!(report["passed"], true);
    assert!(report["files"][0]["tensors"].as_array().unwrap().len() > 5);

    let dir = perturbed(golden, "logits", 0.01);
    let bad = run(&dir.path().join(golden.file_name().unwrap()));
    assert_eq!(bad.status.code(), Some(1));

    let nonsense = dir.path().join("nonsense.safetensors");
    for bytes in [&b""[..], b"not a file of tensors", &[255; 64]] {
        std::fs::write(&nonsense, bytes).unwrap();
        let out = run(&nonsense);
        assert_eq!(out.status.code(), Some(2));
        assert_eq!(String::from_utf8_lossy(&out.stderr).lines().count(), 1);
    }
    assert_eq!(run(Path::new("/no/such/file")).status.code(), Some(2));
}
