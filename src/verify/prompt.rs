//! The prompt of a case against its golden: ids from the conversation, pixels and mel frames from the raw media.
//! Knows nothing of the model.

use anyhow::{Context, Result, bail, ensure};

use crate::frame::RgbImage;
use crate::model::qwen2_5_omni::config::Config;
use crate::model::qwen2_5_omni::processor::{Inputs, Message, PictureInput, Piece, Processor, Role};
use crate::prompt::Part;
use crate::sampled::{SampledAudio, SampledVideo};
use crate::settings::Sampling;
use crate::verify::golden::Golden;
use crate::verify::preproc::{images, process};

/// Tolerances of the goldens, f32.
const MEL: f64 = 1e-4;
const PIXELS: f64 = 1e-6;

/// Compares ids, grids, pixels and mel frames with what this build makes of conversation and raw media. `inputs` are the
/// golden's own.
pub fn compare(processor: &Processor, config: &Config, inputs: &Inputs, golden: &mut Golden) -> Result<()> {
    let notes = golden.notes().clone();
    let fps = notes["fps"].as_f64().unwrap_or(Sampling::DEFAULT_FPS);
    ensure!((1e-3..=1e3).contains(&fps), "the notes give {fps} frames per second, which no clip has");
    let limit = |key: &str| notes[key].as_u64().and_then(|n| usize::try_from(n).ok());
    let limits =
        Sampling { fps: Some(fps), min_pixels: limit("video_min_pixels"), max_pixels: limit("video_max_pixels") };

    if notes["conversation"].is_null() {
        // Without the words nothing can be laid out; the ids are then inputs like the pixels.
    } else {
        let messages = conversation(processor, config, inputs, &notes, fps)?;
        // The stand-ins have the golden's own size already: no limit may change it.
        let unlimited = Sampling { fps: Some(fps), min_pixels: Some(1), max_pixels: Some(1 << 28) };
        let laid = processor.process(&messages, &unlimited)?;
        let ids: Vec<f64> = laid.ids.iter().map(|id| f64::from(*id)).collect();
        golden.compare("input_ids", &[ids.len()], &ids, 0.0)?;
        if !laid.videos.is_empty() {
            let ours: Vec<f64> = laid.videos.iter().map(|v| v.second_per_grid).collect();
            // The reference passes the value through f32.
            golden.compare("video_second_per_grid", &[ours.len()], &ours, 1e-6)?;
        }
    }

    let kept = raw(processor, golden, "image", inputs.images.len(), &Sampling::default(), |mut frames| {
        Piece::Image(frames.swap_remove(0))
    })?;
    pictures(golden, config, kept, &inputs.images, "pixel_values", "image_grid_thw")?;
    // Which limits a video was resized under, only the notes tell.
    if limits.min_pixels.is_some() && limits.max_pixels.is_some() {
        let kept = raw(processor, golden, "video", inputs.videos.len(), &limits, |frames| {
            Piece::Video(SampledVideo { pts_secs: vec![0.0; frames.len()], frames, fps }, None)
        })?;
        pictures(golden, config, kept, &inputs.videos, "pixel_values_videos", "video_grid_thw")?;
    }

    if !inputs.audios.is_empty() {
        let ours: Vec<f64> = inputs.audios.iter().map(|a| a.frames as f64).collect();
        golden.compare("feature_lens", &[ours.len()], &ours, 0.0)?;
    }
    for i in 0..inputs.audios.len() {
        let name = format!("raw.audio.{i}");
        if golden.has(&name) {
            let samples = golden.floats(&name)?;
            let made =
                process(processor, Piece::Audio(SampledAudio { samples, start_secs: 0.0 }), &Sampling::default())?;
            let audio = made.audios.first().context("no sound came out")?;
            let shape = [config.audio.num_mel_bins, audio.frames];
            golden.compare_floats(&format!("input_features.{i}"), &shape, &audio.mel, MEL)?;
        }
    }
    Ok(())
}

/// What this build makes of each raw still or video that the file keeps, each alone.
fn raw(
    processor: &Processor,
    golden: &Golden,
    kind: &str,
    count: usize,
    sampling: &Sampling,
    piece: impl Fn(Vec<RgbImage>) -> Piece,
) -> Result<Vec<Option<PictureInput>>> {
    let one = |i| {
        let name = format!("raw.{kind}.{i}");
        if !golden.has(&name) {
            return Ok(None);
        }
        let made = process(processor, piece(images(golden, &name)?), sampling)?;
        let picture = made.images.into_iter().chain(made.videos).next();
        Ok(Some(picture.with_context(|| format!("nothing came out of {name}"))?))
    };
    (0..count).map(one).collect()
}

/// Compares grids and pixels. A medium whose raw form the file does not keep stands for itself.
fn pictures(
    golden: &mut Golden,
    config: &Config,
    kept: Vec<Option<PictureInput>>,
    own: &[PictureInput],
    pixels_name: &str,
    grids_name: &str,
) -> Result<()> {
    if kept.iter().all(Option::is_none) {
        return Ok(());
    }
    let made: Vec<PictureInput> = kept.into_iter().zip(own).map(|(kept, own)| kept.unwrap_or(own.clone())).collect();
    let grids: Vec<f64> = made.iter().flat_map(|p| p.grid).map(|n| n as f64).collect();
    golden.compare(grids_name, &[made.len(), 3], &grids, 0.0)?;
    let pixels: Vec<f32> = made.iter().flat_map(|p| &p.pixels).copied().collect();
    let dim = config.vision.patch_dim();
    golden.compare_floats(pixels_name, &[pixels.len() / dim, dim], &pixels, PIXELS)
}

/// The conversation with a stand-in for every medium: a blank picture or silence that takes as many tokens.
fn conversation(
    processor: &Processor,
    config: &Config,
    inputs: &Inputs,
    notes: &serde_json::Value,
    fps: f64,
) -> Result<Vec<Message>> {
    let with_sound = notes["use_audio_in_video"] == true;
    let (mut images, mut videos, mut audios) = (inputs.images.iter(), inputs.videos.iter(), inputs.audios.iter());
    let mut silence = || -> Result<SampledAudio> {
        let audio = audios.next().context("the conversation has more sounds than the file")?;
        Ok(SampledAudio { samples: vec![0.0; processor.samples_of(audio.frames)], start_secs: 0.0 })
    };
    let blank = |[_, h, w]: [usize; 3]| {
        let (width, height) = (w * config.vision.patch_size, h * config.vision.patch_size);
        RgbImage { width, height, data: vec![0; width * height * 3] }
    };
    let mut messages = Vec::new();
    for turn in notes["conversation"].as_array().context("the conversation is no list")? {
        let role = match turn["role"].as_str() {
            Some("system") => Role::System,
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            other => bail!("unknown role {other:?} in the conversation"),
        };
        let mut pieces = Vec::new();
        let content = match &turn["content"] {
            serde_json::Value::String(text) => vec![serde_json::json!({"type": "text", "text": text})],
            other => other.as_array().context("a message without content")?.clone(),
        };
        for piece in &content {
            pieces.push(match piece["type"].as_str() {
                Some("text") => {
                    Piece::Text(Part::Question, piece["text"].as_str().context("a text without words")?.to_owned())
                }
                Some("image") => {
                    let image = images.next().context("the conversation has more stills than the file")?;
                    Piece::Image(blank(image.grid))
                }
                Some("audio") => Piece::Audio(silence()?),
                Some("video") => {
                    let video = videos.next().context("the conversation has more videos than the file")?;
                    let frames = vec![blank(video.grid); video.grid[0] * config.vision.temporal_patch_size];
                    let sound = if with_sound { Some(silence()?) } else { None };
                    Piece::Video(SampledVideo { pts_secs: vec![0.0; frames.len()], frames, fps }, sound)
                }
                other => bail!("unknown piece {other:?} in the conversation"),
            });
        }
        messages.push(Message { role, pieces });
    }
    Ok(messages)
}
