//! The folder of a small Qwen2.5-Omni Thinker in the published layout: configuration, preprocessing, a byte-level
//! BPE tokenizer of its own, and weights. Knows nothing of how the weights were found.

use std::collections::BTreeMap;
use std::path::Path;

use crate::model::bpe::Bpe;
use crate::model::qwen2_5_omni::processor::{DEFAULT_SYSTEM, ProcessorError};
use crate::tune::TuneError;
use crate::tune::variables::Vars;
use crate::world::clip::{Clip, caption};
use crate::world::rng::{Rng, Stream};
use crate::world::{Captions, Class, Condition, Kind, NONE_OF_THE_ABOVE, Question};
use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};

/// Tokens that are not text, named as in the released tokenizer.
const SPECIAL: [&str; 11] = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|AUDIO|>",
    "<|audio_bos|>",
    "<|audio_eos|>",
    "<|vision_bos|>",
    "<|vision_eos|>",
    "<|vision_pad|>",
    "<|IMAGE|>",
    "<|VIDEO|>",
];

/// The numbers of a small Thinker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Width of the language model.
    pub width: usize,
    /// Layers of the language model.
    pub layers: usize,
    /// Query heads; key and value heads are half as many.
    pub heads: usize,
    /// Width of the language model's MLP.
    pub mlp: usize,
    /// Width of the vision tower; its heads are 32 wide.
    pub vision_width: usize,
    /// Blocks of the vision tower; every second one sees the whole grid step.
    pub vision_layers: usize,
    /// Width of the audio tower; its heads are 32 wide.
    pub audio_width: usize,
    /// Layers of the audio tower.
    pub audio_layers: usize,
    /// Edge in pixels that a square video is resized to.
    pub edge: usize,
    /// Words and parts of words that the tokenizer may learn, bytes included.
    pub vocabulary: usize,
}

impl Shape {
    /// The bundled model: under four million parameters.
    pub const BUNDLED: Self = Self {
        width: 192,
        layers: 6,
        heads: 4,
        mlp: 384,
        vision_width: 128,
        vision_layers: 4,
        audio_width: 128,
        audio_layers: 3,
        edge: 112,
        vocabulary: 640,
    };

    /// A model for tests: every part is there and nothing is large.
    pub const TINY: Self = Self {
        width: 48,
        layers: 2,
        heads: 2,
        mlp: 64,
        vision_width: 32,
        vision_layers: 2,
        audio_width: 32,
        audio_layers: 1,
        edge: 56,
        vocabulary: 500,
    };
}

/// Writes everything but the weights into `dir`, which must exist.
pub fn write_skeleton(dir: &Path, shape: &Shape) -> Result<(), TuneError> {
    let tokenizer = Bpe::learn(corpus(), shape.vocabulary, &SPECIAL).map_err(ProcessorError::from)?;
    let id = |token: &str| tokenizer.id(token).unwrap_or_default();
    // A little room keeps the table's height a round number.
    let vocab = tokenizer.size().next_multiple_of(16);
    write(dir, "tokenizer.json", tokenizer.json().map_err(ProcessorError::from)?.as_bytes())?;
    write_json(dir, "tokenizer_config.json", &tokenizer_config(&tokenizer))?;
    write_json(dir, "config.json", &config(shape, vocab, &id))?;
    write_json(
        dir,
        "generation_config.json",
        &json!({"eos_token_id": [id("<|im_end|>"), id("<|endoftext|>")], "pad_token_id": id("<|endoftext|>"), "do_sample": false}),
    )?;
    let pixels = shape.edge * shape.edge;
    write_json(
        dir,
        "preprocessor_config.json",
        &json!({
            "chunk_length": 300, "dither": 0.0, "feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 128,
            "hop_length": 160, "image_mean": [0.481_454_66, 0.457_827_5, 0.408_210_73], "image_processor_type": "Qwen2VLImageProcessor",
            "image_std": [0.268_629_54, 0.261_302_58, 0.275_777_11], "max_pixels": pixels, "merge_size": 2, "min_pixels": pixels / 2,
            "n_fft": 400, "n_samples": 4_800_000, "nb_max_frames": 30_000, "padding_side": "right", "padding_value": 0.0,
            "patch_size": 14, "processor_class": "Qwen2_5OmniProcessor", "return_attention_mask": true, "sampling_rate": 16_000,
            "temporal_patch_size": 2,
        }),
    )?;
    write_json(
        dir,
        "video_preprocessor_config.json",
        &json!({
            "do_convert_rgb": true, "do_normalize": true, "do_rescale": true, "do_resize": true,
            "image_mean": [0.481_454_66, 0.457_827_5, 0.408_210_73], "image_std": [0.268_629_54, 0.261_302_58, 0.275_777_11],
            "max_pixels": pixels, "merge_size": 2, "min_pixels": pixels / 2, "patch_size": 14,
            "size": {"shortest_edge": pixels / 2, "longest_edge": pixels}, "temporal_patch_size": 2,
            "video_processor_type": "Qwen2VLVideoProcessor",
        }),
    )?;
    write_json(dir, "chat_template.json", &json!({"chat_template": CHAT_TEMPLATE}))
}

/// Writes `model.safetensors` in half precision.
pub fn write_weights(dir: &Path, vars: &Vars) -> Result<(), TuneError> {
    let mut tensors = vars
        .iter()
        .map(|(name, var)| Ok((name.clone(), var.as_tensor().detach().to_dtype(DType::F16)?)))
        .collect::<Result<BTreeMap<String, Tensor>, TuneError>>()?;
    // The released files hold a table that nothing reads; the reference calls a file without it incomplete.
    let width = vars.get("thinker.model.norm.weight").map_or(1, |v| v.elem_count());
    let unread = Tensor::zeros((2, width), DType::F16, &Device::Cpu)?;
    tensors.insert("thinker.audio_tower.audio_bos_eos_token.weight".to_owned(), unread);
    let metadata = [("format".to_owned(), "pt".to_owned())].into_iter().collect();
    let bytes = safetensors::serialize(&tensors, Some(metadata)).map_err(|e| TuneError::Options(e.to_string()))?;
    write(dir, "model.safetensors", &bytes)
}

/// Replaces a file in one move.
pub fn write(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), TuneError> {
    let path = dir.join(name);
    let failed = |source: std::io::Error| TuneError::Write { path: path.clone(), source };
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
    std::io::Write::write_all(&mut file, bytes).map_err(failed)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).map_err(failed)?;
    }
    file.persist(&path).map_err(|e| failed(e.error))?;
    Ok(())
}

fn write_json(dir: &Path, name: &str, value: &Value) -> Result<(), TuneError> {
    let text = serde_json::to_string_pretty(value).map_err(|e| TuneError::Options(e.to_string()))?;
    write(dir, name, format!("{text}\n").as_bytes())
}

fn config(shape: &Shape, vocab: usize, id: &dyn Fn(&str) -> u32) -> Value {
    let head = shape.width / shape.heads;
    // Time and height need few frequencies, width many slow ones: sound and words advance on all three axes, so the
    // last section also carries distances in time.
    let section = [head / 12, head / 12, head / 2 - head / 12 * 2];
    json!({
        "architectures": ["Qwen2_5OmniModel"], "enable_audio_output": false, "enable_talker": false,
        "model_type": "qwen2_5_omni", "torch_dtype": "float16",
        "thinker_config": {
            "model_type": "qwen2_5_omni_thinker", "architectures": ["Qwen2OmniNaViTThinkerForConditionalGeneration"],
            "audio_config": {
                "model_type": "qwen2_5_omni_audio_encoder", "activation_dropout": 0.0, "activation_function": "gelu",
                "attention_dropout": 0.0, "dropout": 0.0, "initializer_range": 0.02, "output_dim": shape.width,
                "scale_embedding": false, "num_hidden_layers": shape.audio_layers, "num_mel_bins": 128,
                "encoder_layers": shape.audio_layers, "encoder_attention_heads": shape.audio_width / 32,
                "encoder_ffn_dim": 3 * shape.audio_width, "d_model": shape.audio_width, "max_source_positions": 1500,
                "n_window": 100,
            },
            "vision_config": {
                "model_type": "qwen2_5_omni_vision_encoder", "embed_dim": shape.vision_width, "hidden_act": "silu",
                "in_channels": 3, "in_chans": 3, "initializer_range": 0.02, "out_hidden_size": shape.width,
                "spatial_patch_size": 14, "tokens_per_second": 25, "depth": shape.vision_layers,
                "hidden_size": shape.vision_width, "intermediate_size": 2 * shape.vision_width,
                "num_heads": shape.vision_width / 32, "patch_size": 14, "temporal_patch_size": 2,
                "spatial_merge_size": 2, "window_size": 56,
                "fullatt_block_indexes": (0..shape.vision_layers).filter(|l| l % 2 == 1).collect::<Vec<_>>(),
            },
            "text_config": {
                "model_type": "qwen2_5_omni_text", "attention_dropout": 0.0, "hidden_act": "silu",
                "initializer_range": 0.02, "max_position_embeddings": 8192, "max_window_layers": shape.layers,
                "rope_scaling": {"mrope_section": section, "rope_type": "default", "type": "default"},
                "sliding_window": 8192, "tie_word_embeddings": true, "use_cache": true, "use_sliding_window": false,
                "vocab_size": vocab, "hidden_size": shape.width, "intermediate_size": shape.mlp,
                "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads,
                "num_key_value_heads": shape.heads / 2, "rms_norm_eps": 1e-6, "rope_theta": 100.0,
            },
            "audio_end_token_id": id("<|audio_eos|>"), "audio_start_token_id": id("<|audio_bos|>"),
            "audio_token_index": id("<|AUDIO|>"), "bos_token_id": id("<|im_start|>"), "eos_token_id": id("<|im_end|>"),
            "ignore_index": -100, "image_token_index": id("<|IMAGE|>"), "init_std": 0.02,
            "pad_token_id": id("<|endoftext|>"), "position_id_per_seconds": 25, "seconds_per_chunk": 2,
            "tie_word_embeddings": true, "torch_dtype": "float16", "use_cache": true,
            "user_token_id": id("user"), "video_token_index": id("<|VIDEO|>"),
            "vision_end_token_id": id("<|vision_eos|>"), "vision_start_token_id": id("<|vision_bos|>"),
            "vision_token_id": id("<|vision_pad|>"),
        },
    })
}

fn tokenizer_config(tokenizer: &Bpe) -> Value {
    let added: serde_json::Map<String, Value> = SPECIAL
        .iter()
        .filter_map(|token| {
            let value = json!({"content": token, "lstrip": false, "normalized": false, "rstrip": false, "single_word": false, "special": true});
            Some((tokenizer.id(token)?.to_string(), value))
        })
        .collect();
    json!({
        "add_bos_token": false, "add_prefix_space": false, "added_tokens_decoder": added, "bos_token": null,
        "audio_bos_token": "<|audio_bos|>", "audio_eos_token": "<|audio_eos|>", "audio_token": "<|AUDIO|>",
        "clean_up_tokenization_spaces": false, "eos_token": "<|im_end|>", "errors": "replace",
        "extra_special_tokens": {
            "image_token": "<|IMAGE|>", "audio_token": "<|AUDIO|>", "video_token": "<|VIDEO|>",
            "vision_bos_token": "<|vision_bos|>", "vision_eos_token": "<|vision_eos|>",
            "audio_bos_token": "<|audio_bos|>", "audio_eos_token": "<|audio_eos|>",
        },
        "image_token": "<|IMAGE|>", "model_max_length": 8192, "pad_token": "<|endoftext|>",
        "processor_class": "Qwen2_5OmniProcessor", "split_special_tokens": false, "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": null, "video_token": "<|VIDEO|>", "vision_bos_token": "<|vision_bos|>",
        "vision_eos_token": "<|vision_eos|>", "chat_template": CHAT_TEMPLATE,
    })
}

/// Texts that the model will read and write, the frequent ones often.
fn corpus() -> Vec<String> {
    let mut texts = Vec::new();
    for _ in 0..400 {
        texts.push(format!("system\n{DEFAULT_SYSTEM}"));
        texts.push("\nuser\n\nassistant\n".to_owned());
    }
    let mut rng = Rng::new(0, 0, Stream::Words);
    for kind in Kind::ALL {
        for wording in kind.wordings() {
            for _ in 0..100 {
                texts.push((*wording).to_owned());
            }
        }
        for answer in kind.answers() {
            for _ in 0..100 {
                texts.push(answer.to_owned());
                texts.push(format!(" {answer}"));
            }
        }
    }
    for _ in 0..100 {
        texts.push(NONE_OF_THE_ABOVE.to_owned());
        texts.push(format!(", {NONE_OF_THE_ABOVE}."));
        texts.push("Video_caption: A".to_owned());
        texts.push(" Answer using a single class name.".to_owned());
    }
    for seen in Class::ALL {
        for heard in Class::ALL {
            for condition in Condition::ALL {
                texts.extend((0..4).map(|_| caption(&mut rng, condition, seen, heard)));
            }
        }
    }
    for index in 0..400 {
        let condition = Condition::ALL[index as usize % 4];
        let truth = Clip::new(0, index, condition).truth(Vec::new());
        for kind in Kind::ALL {
            if let Some(q) = Question::random(kind, &truth, Captions::True, &mut rng) {
                texts.push(q.prompt.user_text().text);
            }
        }
    }
    texts
}

const CHAT_TEMPLATE: &str = "{% set audio_count = namespace(value=0) %}{% set image_count = namespace(value=0) %}{% set video_count = namespace(value=0) %}{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}{% for content in message['content'] %}{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}{% set image_count.value = image_count.value + 1 %}{% if add_vision_id %}Picture {{ image_count.value }}: {% endif %}<|vision_bos|><|IMAGE|><|vision_eos|>{% elif content['type'] == 'audio' or 'audio' in content or 'audio_url' in content %}{% set audio_count.value = audio_count.value + 1 %}{% if add_audio_id %}Audio {{ audio_count.value }}: {% endif %}<|audio_bos|><|AUDIO|><|audio_eos|>{% elif content['type'] == 'video' or 'video' in content %}{% set video_count.value = video_count.value + 1 %}{% if add_vision_id %}Video {{ video_count.value }}: {% endif %}<|vision_bos|><|VIDEO|><|vision_eos|>{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
