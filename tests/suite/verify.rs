//! `modalens verify`: passes on the fixtures, and fails as soon as one compared number is off.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use modalens::verify::{FileReport, TensorReport, Verifier, verify};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

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
        let report = verify(&Verifier::open(&model).unwrap(), &goldens).unwrap();
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

/// Tensors of a golden file, to be changed: type, shape, bytes.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// A copy of a golden file and its notes with other tensors.
fn edited(path: &Path, edit: impl FnOnce(&mut Tensors)) -> (tempfile::TempDir, PathBuf) {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let owned = |view: &TensorView<'_>| (view.dtype(), view.shape().to_vec(), view.data().to_vec());
    let mut tensors: Tensors = file.tensors().iter().map(|(name, view)| (name.clone(), owned(view))).collect();
    edit(&mut tensors);
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join(path.file_name().unwrap());
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, data))| (name.as_str(), TensorView::new(*dtype, shape.clone(), data).unwrap()));
    safetensors::serialize_to_file(views, None, &copy).unwrap();
    std::fs::copy(path.with_extension("json"), copy.with_extension("json")).unwrap();
    (dir, copy)
}

/// Moves one number by `by`, or a whole number by one.
fn moved((dtype, _, data): &mut (Dtype, Vec<usize>, Vec<u8>), by: f64) {
    // The middle one: ends are where a sloppy comparison would look last.
    let length = data.len();
    let at = |size: usize| length / size / 2 * size;
    match dtype {
        Dtype::F32 => {
            let value: &mut [u8; 4] = (&mut data[at(4)..][..4]).try_into().unwrap();
            *value = (f32::from_le_bytes(*value) + by as f32).to_le_bytes();
        }
        Dtype::F64 => {
            let value: &mut [u8; 8] = (&mut data[at(8)..][..8]).try_into().unwrap();
            *value = (f64::from_le_bytes(*value) + by).to_le_bytes();
        }
        Dtype::I64 => {
            let value: &mut [u8; 8] = (&mut data[at(8)..][..8]).try_into().unwrap();
            *value = (i64::from_le_bytes(*value) + 1).to_le_bytes();
        }
        Dtype::U8 => data[at(1)] ^= 1,
        other => panic!("type {other:?}"),
    }
}

/// In every file of every configuration: each tensor that is compared is moved, taken out and given another shape.
#[test]
fn whatever_is_compared_can_fail() {
    for (model, goldens) in sets(&fixtures()) {
        let verifier = Verifier::open(&model).unwrap();
        for golden in goldens {
            let whole = verifier.file(&golden).unwrap();
            assert!(whole.passed() && whole.tensors.len() > 3, "{}", golden.display());
            let tensors = whole.tensors.iter().filter(|t| !t.name.starts_with("notes: "));
            for TensorReport { name, tolerance, .. } in tensors {
                let about = format!("{name} of {}", golden.display());
                let (_dir, path) = edited(&golden, |t| moved(t.get_mut(name).unwrap(), 10.5 * tolerance));
                match verifier.file(&path) {
                    Ok(report) => assert!(!report.passed(), "moved {about}"),
                    // Ids and grids that make no sense may also be refused outright.
                    Err(e) => assert!(*tolerance == 0.0, "moved {about}: {e:#}"),
                }
            }
            // What the model runs on is taken out or reshaped one by one, results all at once.
            let results = |name: &str| {
                name.contains("attn.")
                    || name.ends_with("logits")
                    || ["audio.out", "vision_image.out", "vision_video.out"].contains(&name)
            };
            let names: Vec<&str> = whole.tensors.iter().map(|t| t.name.as_str()).collect();
            let (results, others): (Vec<&str>, Vec<&str>) =
                names.into_iter().filter(|n| !n.starts_with("notes: ")).partition(|name| results(name));
            let alone = others.iter().map(std::slice::from_ref);
            for group in std::iter::once(results.as_slice()).chain(alone).filter(|group| !group.is_empty()) {
                let about = format!("{group:?} of {}", golden.display());
                let (_dir, path) = edited(&golden, |t| t.retain(|name, _| !group.contains(&name.as_str())));
                let report = verifier.file(&path).unwrap();
                let problems = |report: FileReport| -> Vec<(String, String)> {
                    assert!(!report.passed());
                    report.tensors.into_iter().filter_map(|t| Some((t.name, t.problem?))).collect()
                };
                let missing = problems(report);
                for name in group {
                    assert!(missing.iter().any(|(n, p)| n == name && p == "is missing from the file"), "no {about}");
                }
                let (_dir, path) = edited(&golden, |t| {
                    for name in group {
                        t.get_mut(*name).unwrap().1.push(1);
                    }
                });
                match verifier.file(&path) {
                    Ok(report) => {
                        let reshaped = problems(report);
                        let all =
                            group.iter().all(|name| reshaped.iter().any(|(n, p)| n == name && p.contains("shape")));
                        assert!(all, "other shapes of {about}");
                    }
                    // The shape of an input is also looked at before it is used.
                    Err(e) => assert!(format!("{e:#}").contains("shape"), "{e:#}: other shapes of {about}"),
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

    let (_dir, path) = edited(golden, |t| moved(t.get_mut("logits").unwrap(), 0.01));
    assert_eq!(run(&path).status.code(), Some(1));
    let (dir, path) = edited(golden, |t| drop(t.remove("logits")));
    let bad = run(&path);
    assert_eq!(bad.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&bad.stdout).unwrap();
    let tensors = report["files"][0]["tensors"].as_array().unwrap();
    let logits = tensors.iter().find(|t| t["name"] == "logits").unwrap();
    assert_eq!(logits["problem"], "is missing from the file");

    // A folder stands for the files in it.
    let all = run(golden.parent().unwrap());
    assert_eq!(all.status.code(), Some(0), "{}", String::from_utf8_lossy(&all.stderr));
    let report: serde_json::Value = serde_json::from_slice(&all.stdout).unwrap();
    assert_eq!(report["files"].as_array().unwrap().len(), goldens.len());
    std::fs::remove_file(&path).unwrap();
    for (folder, word) in [(model.as_path(), "holds a checkpoint"), (dir.path(), "no .safetensors files")] {
        let out = run(folder);
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2));
        assert!(said.contains(word) && said.lines().count() == 1, "{said}");
    }

    let nonsense = dir.path().join("nonsense.safetensors");
    for bytes in [&b""[..], b"not a file of tensors", &[255; 64]] {
        std::fs::write(&nonsense, bytes).unwrap();
        let out = run(&nonsense);
        assert_eq!(out.status.code(), Some(2));
        assert_eq!(String::from_utf8_lossy(&out.stderr).lines().count(), 1);
    }
    assert_eq!(run(Path::new("/no/such/file")).status.code(), Some(2));
}

/// Goldens whose numbers contradict each other or would overflow: an error or a "no", and never a panic.
#[test]
fn hostile_numbers_are_refused() {
    let (model, goldens) = sets(&fixtures()).pop().unwrap();
    let verifier = Verifier::open(&model).unwrap();
    let case = |name: &str| goldens.iter().find(|g| g.file_stem().unwrap() == name).unwrap();
    let whole = |values: &[i64]| values.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
    let says = |file: &str, words: &str, edit: &dyn Fn(&mut Tensors)| {
        let (_dir, path) = edited(case(file), |t| edit(t));
        let said = format!("{:#}", verifier.file(&path).expect_err(words));
        assert!(said.contains(words), "{words:?} is not in {said:?}");
    };
    for second in [1e30, f64::MAX, f64::INFINITY, f64::NAN, -1e9] {
        for file in ["video", "interleaved", "turns"] {
            says(file, "seconds per grid step", &|t| {
                t.get_mut("video_second_per_grid").unwrap().2 = second.to_le_bytes().to_vec();
            });
        }
    }
    says("text", "input_ids is empty", &|t| drop(t.insert("input_ids".into(), (Dtype::I64, vec![0], vec![]))));
    says("text", "outside the vocabulary", &|t| {
        t.insert("input_ids".into(), (Dtype::I64, vec![1], whole(&[1 << 20])));
    });
    says("text", "no count or id", &|t| drop(t.insert("input_ids".into(), (Dtype::I64, vec![1], whole(&[-1])))));
    says("text", "gen.tokens is empty", &|t| drop(t.insert("gen.tokens".into(), (Dtype::I64, vec![0], vec![]))));
    for grid in [[1 << 16, 1 << 16, 1 << 16], [1 << 40, 3, 3], [0, 3, 3], [3, 3, 4], [3, 3, -3]] {
        says("video", "video_grid_thw", &|t| t.get_mut("video_grid_thw").unwrap().2 = whole(&grid));
    }
    says("video", "pixel_values_videos", &|t| {
        t.insert("pixel_values_videos".into(), (Dtype::F32, vec![1 << 30, 0], vec![]));
    });
    says("audio", "mel bins", &|t| drop(t.insert("input_features.0".into(), (Dtype::F32, vec![1, 0], vec![]))));
    says("audio", "feature_lens", &|t| drop(t.insert("feature_lens".into(), (Dtype::U8, vec![9999], vec![1; 9999]))));
    for shape in [vec![0, 8, 3], vec![2, 0, 8, 3], vec![0, 2, 8, 3], vec![1 << 31, 1 << 31, 0]] {
        says("video", "raw.video.0", &|t| drop(t.insert("raw.video.0".into(), (Dtype::U8, shape.clone(), vec![]))));
    }
    says("preproc", "video_small.in", &|t| {
        t.insert("video_small.in".into(), (Dtype::U8, vec![0, 4, 4, 3], vec![]));
    });
    says("preproc", "no picture", &|t| {
        t.insert("resize.0.in".into(), (Dtype::U8, vec![1, 1, 3], vec![0; 3]));
        t.insert("resize.0.v2_uint8".into(), (Dtype::U8, vec![4, 0, 3], vec![]));
    });

    // Notes are input too.
    let (_dir, path) = edited(case("video"), |_| {});
    let notes = path.with_extension("json");
    let good: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&notes).unwrap()).unwrap();
    for (key, value, words) in [
        ("fps", serde_json::json!(1e-300), "frames per second"),
        ("fps", serde_json::json!(-2), "frames per second"),
        ("video_min_pixels", serde_json::json!(u64::MAX), "tokens"),
        ("conversation", serde_json::json!(7), "no list"),
        ("conversation", serde_json::json!([{"role": "pope", "content": []}]), "pope"),
    ] {
        let mut bad = good.clone();
        bad[key] = value;
        std::fs::write(&notes, bad.to_string()).unwrap();
        let said = format!("{:#}", verifier.file(&path).expect_err(words));
        assert!(said.contains(words), "{words:?} is not in {said:?}");
    }
}

/// The pixels of a still count also where a video is in the same prompt.
#[test]
fn every_medium_is_compared_with_its_raw_form() {
    for (model, goldens) in sets(&fixtures()) {
        let turns = goldens.iter().find(|g| g.file_stem().unwrap() == "turns").unwrap();
        let report = Verifier::open(&model).unwrap().file(turns).unwrap();
        let compared: Vec<_> = report.tensors.iter().map(|t| t.name.as_str()).collect();
        for name in ["pixel_values", "image_grid_thw", "pixel_values_videos", "video_grid_thw", "input_features.1"] {
            assert!(compared.contains(&name), "{name} is not compared");
        }
        // Nothing is left over but the raw media themselves.
        assert!(report.not_compared.iter().all(|name| name.starts_with("raw.")), "{:?}", report.not_compared);
    }
}

/// A series of intermediate results that is there in part must be there as a whole, and no longer than the model is.
#[test]
fn a_series_with_a_gap_fails() {
    let (model, goldens) = sets(&fixtures()).swap_remove(0);
    let verifier = Verifier::open(&model).unwrap();
    let text = goldens.iter().find(|g| g.file_stem().unwrap() == "text").unwrap();
    let n = SafeTensors::deserialize(&std::fs::read(text).unwrap()).unwrap().tensor("input_ids").unwrap().shape()[0];
    let problem = |name: &str, problem: &str, edit: &dyn Fn(&mut Tensors)| {
        let (_dir, path) = edited(text, |t| edit(t));
        let report = verifier.file(&path).unwrap();
        let found = report.tensors.iter().find(|t| t.name == name && t.problem.is_some());
        assert!(found.is_some_and(|t| !t.passed && t.problem.as_deref().unwrap().contains(problem)), "{name}");
        assert!(!report.passed());
    };
    let one = |shape: Vec<usize>| {
        let bytes = vec![0; 4 * shape.iter().product::<usize>()];
        (Dtype::F32, shape, bytes)
    };
    for (there, absent) in [("lm.layer_out.1", "lm.layer_out.0"), ("lm.rope_cos", "lm.rope_sin"), ("attn.1", "attn.0")]
    {
        problem(absent, "missing", &|t| drop(t.insert(there.into(), one(vec![n, n]))));
    }
    problem("attn.9.last16", "does not belong", &|t| drop(t.insert("attn.9.last16".into(), one(vec![4, 16, n]))));
    problem("gen.attn.2", "missing", &|t| drop(t.remove("gen.attn.2")));
}
