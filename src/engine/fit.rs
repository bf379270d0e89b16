//! What a model needs of a device's memory, known from its configuration alone: whether it fits, in which form, and what
//! to do where it does not. Estimates; `make soak` holds a real run against them. Knows nothing of files or queues.

use anyhow::{Result, bail};
use candle_core::Device;

use crate::download::bytes_text;
use crate::engine::device::{Memory, memory};
use crate::engine::session::{ENCODER_CACHE_BYTES, PATCHES_PER_PASS, PREFILL_CHUNK};
use crate::model::nn::attention::QUERY_BLOCK;
use crate::model::nn::weights::{Hold, Holding};
use crate::model::qwen2_5_omni::config::Config;
use crate::model::qwen2_5_omni::thinker::Thinker;
use crate::settings::Dtype;

/// `--dtype`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HoldChoice {
    /// The most exact form that fits the memory.
    #[default]
    Auto,
    /// This one.
    Fixed(Hold),
}

impl From<Dtype> for HoldChoice {
    fn from(dtype: Dtype) -> Self {
        Self::Fixed(match dtype {
            Dtype::Auto => return Self::Auto,
            Dtype::F32 => Hold::F32,
            Dtype::F16 => Hold::F16,
            Dtype::Bf16 => Hold::Bf16,
            Dtype::Q8_0 => Hold::Q8_0,
            Dtype::Q4K => Hold::Q4K,
        })
    }
}

impl From<HoldChoice> for Dtype {
    fn from(choice: HoldChoice) -> Self {
        match choice {
            HoldChoice::Auto => Self::Auto,
            HoldChoice::Fixed(Hold::F32) => Self::F32,
            HoldChoice::Fixed(Hold::F16) => Self::F16,
            HoldChoice::Fixed(Hold::Bf16) => Self::Bf16,
            HoldChoice::Fixed(Hold::Q8_0) => Self::Q8_0,
            HoldChoice::Fixed(Hold::Q4K) => Self::Q4K,
        }
    }
}

/// A prompt and an answer that "fits" is judged by: about a minute of video with its sound, and a short answer.
pub const TYPICAL: Load = Load { prompt: 4096, answer: 64 };

/// Length of a request in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Tokens of the answer, at most.
    pub answer: usize,
}

/// What a model takes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// The weights as they are held.
    pub weights: u64,
    /// Keys and values of one token.
    cache_per_token: u64,
    /// The captured attention of one answer token to one key; always in host memory.
    capture_per_pair: u64,
    /// Intermediate results that do not grow with the prompt.
    working: u64,
    /// Intermediate results per token of the prompt.
    working_per_token: u64,
    /// The encoders' outputs per token, kept for reuse up to a limit.
    kept_per_token: u64,
}

impl Need {
    /// The need of a checkpoint of this configuration, held so on `device`.
    pub fn of(config: &Config, holding: &Holding, device: &Device) -> Result<Self> {
        let (text, vision) = (&config.text, &config.vision);
        let number = holding.most.compute_dtype(device).size_in_bytes() as u64;
        let product = |numbers: &[usize]| numbers.iter().map(|n| *n as u64).product::<u64>();
        let layers_heads = product(&[text.num_hidden_layers, text.num_attention_heads]);
        // Per row: the residual stream, its normalised copy, queries, keys, values and their turned copies, attended
        // values, gate and up, their product.
        let row = |width: usize, mlp: usize| (9 * width + 3 * mlp) as u64 * number;
        let text_pass = row(text.hidden_size, text.intermediate_size) * PREFILL_CHUNK as u64;
        let vision_pass = (row(vision.hidden_size, vision.intermediate_size) + 4 * vision.patch_dim() as u64)
            * PATCHES_PER_PASS as u64;
        Ok(Self {
            weights: Thinker::manifest(config)?.bytes(holding, device),
            cache_per_token: product(&[2, text.num_hidden_layers, text.num_key_value_heads, text.head_dim()]) * number,
            capture_per_pair: layers_heads * 4,
            working: text_pass.max(vision_pass),
            // The row of embeddings twice, and the scores of one block of queries twice.
            working_per_token: 2 * text.hidden_size as u64 * number
                + 2 * 4 * product(&[QUERY_BLOCK, text.num_attention_heads]),
            kept_per_token: text.hidden_size as u64 * number,
        })
    }

    /// Everything that answering `load` takes beside the weights: on the device, and in host memory.
    pub fn answering(&self, load: Load) -> (u64, u64) {
        let (prompt, answer) = (load.prompt as u64, load.answer as u64);
        let kept = (ENCODER_CACHE_BYTES as u64).min(self.kept_per_token * prompt);
        let on_device =
            self.cache_per_token * (prompt + answer) + self.working + self.working_per_token * prompt + kept;
        (on_device, self.capture_per_pair * answer * (prompt + answer / 2))
    }

    /// All that the device must hold for `load`; on a CPU that is host memory too.
    pub fn total(&self, load: Load, device: &Device) -> u64 {
        let (on_device, on_host) = self.answering(load);
        self.weights + on_device + if device.is_cpu() { on_host } else { 0 }
    }
}

/// How the weights of a checkpoint will be held, and the sentence that explains it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenHold {
    /// The form.
    pub hold: Hold,
    /// Why this one.
    pub why: String,
}

/// One form of a model beside the memory there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fit {
    /// The form.
    pub hold: Hold,
    /// The weights alone, in bytes.
    pub weights: u64,
    /// Weights and a [`TYPICAL`] request, in bytes.
    pub all: u64,
}

/// Every form that makes sense on `device`, the most exact first.
pub fn forms(config: &Config, device: &Device) -> Result<Vec<Fit>> {
    let holds: &[Hold] = if device.is_cpu() {
        &[Hold::F32, Hold::F16, Hold::Q8_0, Hold::Q4K]
    } else {
        &[Hold::Bf16, Hold::Q8_0, Hold::Q4K]
    };
    holds.iter().map(|hold| fit(config, *hold, device)).collect()
}

/// A model in one form.
pub fn fit(config: &Config, hold: Hold, device: &Device) -> Result<Fit> {
    let need = Need::of(config, &Thinker::holding(hold), device)?;
    Ok(Fit { hold, weights: need.weights, all: need.total(TYPICAL, device) })
}

/// Picks how the weights of a checkpoint of this configuration are held on `device`: the most exact form that fits beside
/// a [`TYPICAL`] request. Fails where not even the weights fit, instead of letting the system kill the program.
///
/// On a CPU bf16 is never multiplied natively here (ten times slower than f32), so there `auto` starts at f32.
pub fn choose_hold(choice: HoldChoice, config: &Config, device: &Device) -> Result<ChosenHold> {
    let room = memory(device);
    match choice {
        HoldChoice::Auto => pick(&forms(config, device)?, room),
        HoldChoice::Fixed(Hold::Bf16) if device.is_cpu() => {
            let chosen = asked_for(fit(config, Hold::F32, device)?, &forms(config, device)?, room)?;
            Ok(ChosenHold { why: "bf16 is slow on a CPU; its exact f32 copy is used".into(), ..chosen })
        }
        HoldChoice::Fixed(hold) => asked_for(fit(config, hold, device)?, &forms(config, device)?, room),
    }
}

/// The first of `forms` that fits.
fn pick(forms: &[Fit], room: Memory) -> Result<ChosenHold> {
    let [first, .., last] = forms else { bail!("no form to choose from") };
    let Some(free) = room.free else {
        return Ok(ChosenHold { hold: first.hold, why: "free memory is unknown".into() });
    };
    if let Some(fits) = forms.iter().find(|form| form.all <= free) {
        let larger = forms.iter().take_while(|form| form.all > free).last();
        let (name, need, free) = (fits.hold.name(), bytes_text(fits.all), bytes_text(free));
        let why = match larger {
            None => format!("{name} needs {need} with a minute of video, {free} are free"),
            Some(larger) => format!(
                "{name} needs {need} with a minute of video and fits; {} needs {}, {free} are free",
                larger.hold.name(),
                bytes_text(larger.all)
            ),
        };
        return Ok(ChosenHold { hold: fits.hold, why });
    }
    if last.weights <= free {
        let (name, all, free) = (last.hold.name(), bytes_text(last.all), bytes_text(free));
        let why = format!("{name} is the smallest form; {all} with a minute of video is more than the {free} free");
        return Ok(ChosenHold { hold: last.hold, why });
    }
    bail!("{}", too_large(*last, forms, free))
}

/// A form that the user named, unless its weights alone are more than there is room for.
fn asked_for(wanted: Fit, forms: &[Fit], room: Memory) -> Result<ChosenHold> {
    match room.free {
        Some(free) if wanted.weights > free => bail!("{}", too_large(wanted, forms, free)),
        _ => Ok(ChosenHold { hold: wanted.hold, why: "asked for".into() }),
    }
}

fn too_large(wanted: Fit, forms: &[Fit], free: u64) -> String {
    let way_out = match forms.iter().find(|form| form.weights <= free) {
        Some(smaller) => format!("--dtype {} needs {}", smaller.hold.name(), bytes_text(smaller.weights)),
        None => "free some memory, or take a smaller model".into(),
    };
    let (name, weights, free) = (wanted.hold.name(), bytes_text(wanted.weights), bytes_text(free));
    format!("the weights need {weights} as {name}, {free} are free: {way_out}")
}

/// What fits and what does not, in one line for a list of models: `needs 9.4 GB as f16, 8.00 GB free: q4k fits (3.9 GB)`.
pub fn summary(config: &Config, device: &Device) -> Result<String> {
    Ok(line(&forms(config, device)?, memory(device)))
}

fn line(forms: &[Fit], room: Memory) -> String {
    let (Some(first), Some(free)) = (forms.first(), room.free) else {
        return forms.iter().map(|f| format!("{} {}", f.hold.name(), bytes_text(f.all))).collect::<Vec<_>>().join(", ");
    };
    let fits = forms.iter().find(|form| form.all <= free);
    // What the files are in: the form that people name a model's size by.
    let usual = forms.iter().find(|form| matches!(form.hold, Hold::F16 | Hold::Bf16)).unwrap_or(first);
    let loads = forms.last().is_some_and(|least| least.weights <= free);
    let (name, need, free) = (usual.hold.name(), bytes_text(usual.all), bytes_text(free));
    match fits {
        Some(form) if form.hold == usual.hold || form.hold == Hold::F32 => {
            format!("needs {} as {}, {free} free: fits", bytes_text(form.all), form.hold.name())
        }
        Some(form) => {
            format!("needs {need} as {name}, {free} free: {} fits ({})", form.hold.name(), bytes_text(form.all))
        }
        None => {
            let least = forms.last().unwrap_or(first);
            let verdict = if loads { "short clips only" } else { "too large" };
            format!("needs {} even as {}, {free} free: {verdict}", bytes_text(least.all), least.hold.name())
        }
    }
}

/// A request that does not fit beside the loaded model.
#[derive(Debug, thiserror::Error)]
#[error(
    "a prompt of {tokens} tokens needs {wanted} beside the model, {free} are free: give a shorter clip, fewer frames (--fps) \
     or smaller ones (--max-pixels)"
)]
pub struct NoRoom {
    pub(super) tokens: usize,
    pub(super) wanted: String,
    pub(super) free: String,
}

/// Fails when a request does not fit beside the loaded model: a refusal is better than being killed half-way.
/// `held` bytes of the device's memory are the request's already (the KV cache as it stands).
pub fn check_request(need: &Need, load: Load, held: u64, device: &Device) -> Result<(), NoRoom> {
    let (on_device, on_host) = need.answering(load);
    let host = if device.is_cpu() { on_device.saturating_sub(held) + on_host } else { on_host };
    let pairs = [(host, memory(&Device::Cpu)), (on_device.saturating_sub(held), memory(device))];
    for (wanted, room) in &pairs[..if device.is_cpu() { 1 } else { 2 }] {
        if let Some(free) = room.free.filter(|free| wanted > free) {
            let (tokens, wanted, free) = (load.prompt, bytes_text(*wanted), bytes_text(free));
            return Err(NoRoom { tokens, wanted, free });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1_000_000_000;

    /// Four forms that need so many GB, of which one is not the weights.
    fn sizes(all: [u64; 4]) -> Vec<Fit> {
        let holds = [Hold::F32, Hold::F16, Hold::Q8_0, Hold::Q4K];
        holds.into_iter().zip(all).map(|(hold, all)| Fit { hold, weights: (all - 1) * GB, all: all * GB }).collect()
    }

    fn room(free: u64) -> Memory {
        Memory { free: Some(free * GB), total: None }
    }

    #[test]
    fn the_most_exact_form_that_fits_is_taken_and_the_reason_given() {
        let forms = sizes([20, 10, 6, 4]);
        for (free, hold) in [(30, Hold::F32), (20, Hold::F32), (19, Hold::F16), (9, Hold::Q8_0), (5, Hold::Q4K)] {
            assert_eq!(pick(&forms, room(free)).unwrap().hold, hold, "{free} GB");
        }
        let why = pick(&forms, room(9)).unwrap().why;
        assert!(
            why.contains("6.00 GB") && why.contains("f16 needs 10.0 GB") && why.contains("9.00 GB are free"),
            "{why}"
        );
        // The weights fit, a minute of video may not: loaded, and said.
        assert!(pick(&forms, Memory { free: Some(3 * GB + 1), total: None }).unwrap().why.contains("more than"));
        let refused = pick(&forms, room(2)).unwrap_err().to_string();
        assert!(refused.contains("3.00 GB as q4k") && refused.contains("2.00 GB are free"), "{refused}");
        assert_eq!(pick(&forms, Memory::default()).unwrap().hold, Hold::F32);
    }

    #[test]
    fn a_form_that_was_asked_for_is_refused_only_where_its_weights_have_no_room() {
        let forms = sizes([20, 10, 6, 4]);
        assert_eq!(asked_for(forms[1], &forms, room(9)).unwrap().hold, Hold::F16);
        let refused = asked_for(forms[1], &forms, room(8)).unwrap_err().to_string();
        assert!(refused.contains("9.00 GB as f16") && refused.contains("--dtype q8_0 needs 5.00 GB"), "{refused}");
        let refused = asked_for(forms[0], &forms, room(1)).unwrap_err().to_string();
        assert!(refused.contains("smaller model"), "{refused}");
    }

    #[test]
    fn a_line_says_what_fits() {
        let forms = sizes([20, 10, 6, 4]);
        assert_eq!(line(&forms, room(30)), "needs 20.0 GB as f32, 30.0 GB free: fits");
        assert_eq!(line(&forms, room(12)), "needs 10.0 GB as f16, 12.0 GB free: fits");
        assert_eq!(line(&forms, room(8)), "needs 10.0 GB as f16, 8.00 GB free: q8_0 fits (6.00 GB)");
        assert_eq!(line(&forms, room(3)), "needs 4.00 GB even as q4k, 3.00 GB free: short clips only");
        assert_eq!(line(&forms, room(2)), "needs 4.00 GB even as q4k, 2.00 GB free: too large");
        assert_eq!(line(&forms, Memory::default()), "f32 20.0 GB, f16 10.0 GB, q8_0 6.00 GB, q4k 4.00 GB");
    }
}
