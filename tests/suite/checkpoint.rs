//! Checkpoints as they should be and as they should not: what the loader expects, and what it says.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;

use candle_core::{DType, Device, Tensor};
use modalens::model::nn::weights::Hold;
use modalens::model::qwen2_5_omni::thinker::{Thinker, unread_on_purpose};

use crate::tiny::numbers;

/// The small checkpoint of the fixtures.
pub fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny/ckpt")
}

/// A private copy of the small checkpoint.
fn copy() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    dir
}

fn weights(dir: &Path) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(dir.join("model.safetensors"), &Device::Cpu).unwrap()
}

fn save(dir: &Path, tensors: &HashMap<String, Tensor>) {
    candle_core::safetensors::save(tensors, dir.join("model.safetensors")).unwrap();
}

/// Asks through the command line and returns its one line of complaint.
fn complaint(model: &Path) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_modalens"))
        .env("HF_HUB_OFFLINE", "1")
        .args(["ask", "--question", "Hi?", "--max-new-tokens", "1", "--model"])
        .arg(model)
        .output()
        .unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "more than one line: {said}");
    assert!(out.stdout.is_empty());
    said
}

#[track_caller]
fn says(model: &Path, words: &[&str]) {
    let said = complaint(model);
    for word in words {
        assert!(said.contains(word), "{word:?} is not in {said:?}");
    }
}

/// The loader asks for exactly the tensors that the published 3B and 7B files hold, with their shapes.
#[test]
fn the_released_checkpoints_have_what_the_loader_asks_for() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/released");
    for name in ["3b", "7b"] {
        let config = modalens::model::released(&format!("Qwen/Qwen2.5-Omni-{}", name.to_uppercase())).unwrap();
        let mut asked: BTreeMap<String, (Vec<usize>, usize)> = BTreeMap::new();
        for (tensor, shape) in Thinker::manifest(&config).unwrap().shapes() {
            let pattern: Vec<&str> =
                tensor.split('.').map(|part| if part.parse::<usize>().is_ok() { "*" } else { part }).collect();
            // Positions in the merger's list are names, not layers.
            let pattern = pattern.join(".");
            let pattern = if tensor.contains("merger.mlp") { tensor.clone() } else { pattern };
            asked.entry(pattern).or_insert((shape, 0)).1 += 1;
        }
        let text = std::fs::read_to_string(dir.join(format!("{name}.manifest.json"))).unwrap();
        let mut held: BTreeMap<String, (Vec<usize>, usize)> = serde_json::from_str(&text).unwrap();
        held.retain(|tensor, _| !unread_on_purpose(tensor));
        assert_eq!(asked, held, "{name}");
    }
}

#[test]
fn shards_and_half_precision_give_the_same_model() {
    let whole = Thinker::open(&fixture(), Hold::F32, &Device::Cpu).unwrap();
    let dir = copy();
    let tensors = weights(dir.path());
    let mut names: Vec<_> = tensors.keys().cloned().collect();
    names.sort();
    let (first, second) = names.split_at(names.len() / 2);
    let mut map = BTreeMap::new();
    for (shard, names) in [("a.safetensors", first), ("b.safetensors", second)] {
        let part: HashMap<String, Tensor> = names.iter().map(|n| (n.clone(), tensors[n].clone())).collect();
        candle_core::safetensors::save(&part, dir.path().join(shard)).unwrap();
        map.extend(names.iter().map(|n| (n.clone(), shard)));
    }
    std::fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    let index = serde_json::json!({"metadata": {}, "weight_map": map});
    std::fs::write(dir.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
    let sharded = Thinker::open(dir.path(), Hold::F32, &Device::Cpu).unwrap();
    let ids = [1, 2, 3, 4];
    let hidden = |model: &Thinker| {
        let x = model.embeddings(&ids, &[], &[], &[]).unwrap();
        let mut pass = modalens::model::nn::pass::Pass::default();
        numbers(&model.forward_all(&x, [&[0, 1, 2, 3]; 3], &mut pass).unwrap())
    };
    assert_eq!(hidden(&whole), hidden(&sharded));

    let dir = copy();
    let half = tensors.iter().map(|(n, t)| (n.clone(), t.to_dtype(DType::BF16).unwrap())).collect();
    save(dir.path(), &half);
    let exact = hidden(&whole);
    for hold in [Hold::F32, Hold::F16, Hold::Q8_0] {
        let close = hidden(&Thinker::open(dir.path(), hold, &Device::Cpu).unwrap());
        let worst = exact.iter().zip(&close).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst > 0.0 && worst < 0.5, "{}: {worst}", hold.name());
    }
}

#[test]
fn bad_weights_are_named() {
    let name = "thinker.model.layers.0.self_attn.q_proj.weight";
    let dir = copy();
    let good = weights(dir.path());
    let with = |change: &dyn Fn(&mut HashMap<String, Tensor>)| {
        let mut tensors = good.clone();
        change(&mut tensors);
        save(dir.path(), &tensors);
    };
    with(&|t| drop(t.remove(name)));
    says(dir.path(), &[name, "missing", "model.safetensors"]);
    with(&|t| drop(t.insert("thinker.model.extra".into(), t[name].clone())));
    says(dir.path(), &["thinker.model.extra", "1 tensor(s)", "model.safetensors"]);
    with(&|t| drop(t.insert(name.into(), t[name].narrow(0, 0, 3).unwrap().contiguous().unwrap())));
    says(dir.path(), &[name, "shape", "[3, "]);
    with(&|t| {
        let n = t[name].elem_count();
        let mut values = numbers(&t[name]);
        values[n / 2] = f32::NAN;
        t.insert(name.into(), Tensor::from_vec(values, t[name].shape(), &Device::Cpu).unwrap());
    });
    says(dir.path(), &[name, "not finite"]);
    with(&|t| drop(t.insert(name.into(), t[name].to_dtype(DType::U8).unwrap())));
    says(dir.path(), &[name, "not a weight type"]);

    save(dir.path(), &good);
    let file = dir.path().join("model.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    for length in [0, 5, 8, 200, bytes.len() - 1] {
        std::fs::write(&file, &bytes[..length]).unwrap();
        says(dir.path(), &["model.safetensors"]);
    }
    // A header that promises more than any memory holds.
    let mut liar = u64::MAX.to_le_bytes().to_vec();
    liar.extend(b"{}");
    std::fs::write(&file, liar).unwrap();
    says(dir.path(), &["model.safetensors"]);
    std::fs::remove_file(&file).unwrap();
    says(dir.path(), &["no model.safetensors"]);
    let index = dir.path().join("model.safetensors.index.json");
    std::fs::write(&index, r#"{"weight_map": {"x": "../../etc/passwd"}}"#).unwrap();
    says(dir.path(), &["not the name of a file in this folder"]);
    std::fs::write(&index, r#"{"weight_map": {"x": "gone.safetensors"}}"#).unwrap();
    says(dir.path(), &["gone.safetensors"]);
    std::fs::write(&index, "[]").unwrap();
    says(dir.path(), &["model.safetensors.index.json", "not a usable shard index"]);

    // Shards: one tensor in both, and one in neither.
    std::fs::write(&index, r#"{"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}"#).unwrap();
    let shards = |first: &HashMap<String, Tensor>, second: &HashMap<String, Tensor>| {
        candle_core::safetensors::save(first, dir.path().join("a.safetensors")).unwrap();
        candle_core::safetensors::save(second, dir.path().join("b.safetensors")).unwrap();
    };
    let only: HashMap<_, _> = [(name.to_owned(), good[name].clone())].into_iter().collect();
    shards(&good, &only);
    says(dir.path(), &[name, "in two files", "a.safetensors", "b.safetensors"]);
    let mut rest = good.clone();
    rest.remove(name);
    shards(&rest, &HashMap::new());
    says(dir.path(), &[name, "missing", "model.safetensors.index.json"]);
}

#[test]
fn impossible_configurations_are_named() {
    let dir = copy();
    let path = dir.path().join("config.json");
    let good: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    for (pointer, value) in [
        ("text_config/num_hidden_layers", 0i64),
        ("text_config/num_hidden_layers", 1 << 40),
        ("text_config/vocab_size", 1 << 60),
        ("text_config/num_attention_heads", 7),
        ("text_config/num_key_value_heads", 3),
        ("text_config/hidden_size", -4),
        ("vision_config/patch_size", 0),
        ("vision_config/spatial_merge_size", 9999),
        ("vision_config/num_heads", 5),
        ("vision_config/window_size", 3),
        ("vision_config/out_hidden_size", 5),
        ("vision_config/temporal_patch_size", 0),
        ("audio_config/n_window", 0),
        ("audio_config/d_model", 1 << 40),
        ("audio_config/encoder_attention_heads", 5),
        ("audio_config/output_dim", 1),
        ("audio_config/max_source_positions", 1),
        ("audio_token_index", 1 << 31),
        ("seconds_per_chunk", 0),
        ("position_id_per_seconds", -1),
    ] {
        let mut config = good.clone();
        let field = config.pointer_mut(&format!("/thinker_config/{pointer}")).unwrap();
        *field = value.into();
        std::fs::write(&path, config.to_string()).unwrap();
        assert_ne!(config, good, "{pointer} is {value} in the fixture");
        let said = complaint(dir.path());
        let name = pointer.rsplit('/').next().unwrap();
        let names_it = said.contains(name) || said.contains("mrope_section");
        assert!(names_it && said.contains("config.json"), "{pointer} = {value}: {said}");
    }
    for (pointer, value) in [
        ("text_config/hidden_size", serde_json::json!("wide")),
        ("text_config/rope_scaling/mrope_section", serde_json::json!([1, -2, 3])),
        ("vision_config/fullatt_block_indexes", serde_json::json!([1u64 << 63])),
        ("vision_config/depth", serde_json::json!(0.5)),
        ("audio_config", serde_json::json!(null)),
        ("image_token_index", serde_json::json!(1u64 << 32)),
    ] {
        let mut config = good.clone();
        *config.pointer_mut(&format!("/thinker_config/{pointer}")).unwrap() = value;
        std::fs::write(&path, config.to_string()).unwrap();
        says(dir.path(), &[&pointer.replace('/', "."), "config.json"]);
    }
    for text in ["", "{", "[]", r#"{"model_type": "llama"}"#] {
        std::fs::write(&path, text).unwrap();
        says(dir.path(), &["not a Qwen2.5-Omni configuration", "config.json"]);
    }
}

#[test]
fn what_is_no_checkpoint_is_said_to_be_none() {
    says(Path::new("/nowhere/at/all"), &["no such checkpoint folder", "/nowhere/at/all"]);
    let empty = tempfile::tempdir().unwrap();
    says(empty.path(), &["config.json"]);
    let file = fixture().join("config.json");
    says(&file, &["not a file in it"]);
    let said = complaint(Path::new("nobody/nothing"));
    assert!(said.contains("not in the local hub cache") && said.contains("hf download nobody/nothing"), "{said}");

    let dir = copy();
    std::fs::remove_file(dir.path().join("tokenizer.json")).unwrap();
    says(dir.path(), &["tokenizer.json"]);
    std::fs::write(dir.path().join("tokenizer.json"), "{}").unwrap();
    says(dir.path(), &["tokenizer.json"]);

    let dir = copy();
    let path = dir.path().join("tokenizer.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["added_tokens"].as_array_mut().unwrap().retain(|t| t["content"] != "<|VIDEO|>");
    std::fs::write(&path, json.to_string()).unwrap();
    says(dir.path(), &["video_token_index", "tokenizer.json"]);

    let dir = copy();
    let path = dir.path().join("preprocessor_config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    for (from, to, word) in [
        ("\"hop_length\": 160", "\"hop_length\": 0", "hop_length"),
        ("\"feature_size\": 128", "\"feature_size\": 64", "feature_size"),
        ("\"patch_size\": 14", "\"patch_size\": 16", "patch_size"),
        ("\"min_pixels\": 784", "\"min_pixels\": 0", "pixel limits"),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text, "{from} is not in the fixture");
        std::fs::write(&path, changed).unwrap();
        says(dir.path(), &[word, "preprocessor_config.json"]);
    }
}

/// A checkpoint of some 25 million parameters, bf16, whose widths every form of weights can split.
fn sizeable() -> tempfile::TempDir {
    let dir = copy();
    let mut config: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(dir.path().join("config.json")).unwrap()).unwrap();
    let text = &mut config["thinker_config"]["text_config"];
    for (field, value) in [("hidden_size", 512), ("intermediate_size", 2048), ("num_attention_heads", 8)] {
        text[field] = value.into();
    }
    text["num_hidden_layers"] = 6.into();
    text["num_key_value_heads"] = 2.into();
    text["rope_scaling"]["mrope_section"] = serde_json::json!([8, 12, 12]);
    config["thinker_config"]["vision_config"]["out_hidden_size"] = 512.into();
    config["thinker_config"]["audio_config"]["output_dim"] = 512.into();
    let text = config.to_string();
    std::fs::write(dir.path().join("config.json"), &text).unwrap();
    let config = modalens::model::qwen2_5_omni::config::Config::parse(&text, dir.path()).unwrap();
    let mut state = 1u32;
    let tensors: HashMap<String, Tensor> = Thinker::manifest(&config)
        .unwrap()
        .shapes()
        .into_iter()
        .map(|(name, shape)| {
            let count: usize = shape.iter().product();
            let numbers: Vec<half::bf16> = (0..count)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    // Between 2⁻⁶ and 2⁻⁵ in size, either sign.
                    half::bf16::from_bits((state >> 16) as u16 & 0x807f | 0x3c80)
                })
                .collect();
            (name, Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap())
        })
        .collect();
    save(dir.path(), &tensors);
    dir
}

/// Loading holds little beside the weights, whatever form they take, and the estimate of their size is exact.
#[test]
fn loading_never_holds_much_more_than_the_weights() {
    let dir = sizeable();
    for form in ["f32", "f16", "q8_0", "q4k"] {
        let out = Command::new(env!("CARGO_BIN_EXE_modalens"))
            .args(["bench", "--json", "--threads", "2", "--dtype", form, "--model"])
            .arg(dir.path())
            .output()
            .unwrap();
        assert!(out.status.success(), "{form}: {}", String::from_utf8_lossy(&out.stderr));
        let said: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        let (weights, peak) = (said["weights_mib"].as_f64().unwrap(), said["load_peak_mib"].as_f64().unwrap());
        let parameters = 25.0;
        let bytes =
            [("f32", 4.0), ("f16", 2.1), ("q8_0", 1.1), ("q4k", 0.6)].into_iter().find(|f| f.0 == form).unwrap().1;
        assert!((parameters * 0.8..parameters * 1.6).contains(&(weights / bytes)), "{form}: {weights} MiB");
        if cfg!(target_os = "linux") {
            // Two threads' pieces, thread stacks, and what the shard's header takes.
            assert!(peak <= 1.15 * weights + 10.0, "{form}: {peak} MiB for {weights} MiB of weights");
            assert!(peak >= 0.9 * weights, "{form}: {peak} MiB cannot hold {weights} MiB of weights");
        }
    }
}

/// Reading straight into blocks gives the blocks that quantising the whole matrix would.
#[test]
fn quantised_pieces_are_the_whole_quantised() {
    use candle_core::Module;
    use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
    use modalens::model::nn::weights::{Checkpoint, Matrix, Source};
    let dir = sizeable();
    let path = "thinker.model.layers.0.mlp";
    let parts = [(format!("{path}.gate_proj.weight"), 2048), (format!("{path}.up_proj.weight"), 2048)];
    let x = Tensor::randn(0f32, 1., (3, 512), &Device::Cpu).unwrap();
    for (hold, block) in [(Hold::Q8_0, GgmlDType::Q8_0), (Hold::Q4K, GgmlDType::Q4K)] {
        let Matrix::Quantized(read) =
            Checkpoint::open(dir.path(), hold, &Device::Cpu).unwrap().matrix(&parts, 512).unwrap()
        else {
            panic!("{} is not quantised", hold.name());
        };
        let whole = Checkpoint::open(dir.path(), Hold::F32, &Device::Cpu).unwrap();
        let both: Vec<Tensor> = parts.iter().map(|(name, rows)| whole.tensor(name, &[*rows, 512]).unwrap()).collect();
        let whole = QTensor::quantize(&Tensor::cat(&both, 0).unwrap(), block).unwrap();
        let whole = QMatMul::from_qtensor(whole).unwrap();
        assert_eq!(numbers(&read.forward(&x).unwrap()), numbers(&whole.forward(&x).unwrap()), "{}", hold.name());
    }
}
