//! Preprocessing against its goldens: log-mel of awkward lengths, resampling, patches.
//! Knows nothing of the model.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::frame::RgbImage;
use crate::model::qwen2_5_omni::config::{Config, audio_tokens};
use crate::model::qwen2_5_omni::processor::pixels::{resize, smart_resize};
use crate::model::qwen2_5_omni::processor::positions::step_times;
use crate::model::qwen2_5_omni::processor::{Inputs, Message, PictureInput, Piece, Processor, Role};
use crate::sampled::{SampledAudio, SampledVideo};
use crate::settings::Sampling;
use crate::verify::FileReport;
use crate::verify::golden::{Golden, difference};

/// Names that only a preprocessing golden has.
const VIDEOS: [&str; 4] = ["video_small", "video_exact", "video_default", "video_down"];

/// Whether this is a preprocessing golden and not a case.
pub fn is_preprocessing(golden: &Golden) -> bool {
    let medium = |prefix: &str| has_any(golden, &format!("{prefix}.")) || !golden.notes()[prefix].is_null();
    !golden.has("input_ids") && ["mel", "resize", "image"].iter().chain(&VIDEOS).any(|prefix| medium(prefix))
}

/// Compares everything in a preprocessing golden: what comes out of every raw medium in it, and the tables in its notes.
pub fn compare(processor: &Processor, config: &Config, mut golden: Golden) -> Result<FileReport> {
    for i in 0..members(&golden, "mel", &[".wave", ".out"])? {
        let (wave, out) = (format!("mel.{i}.wave"), format!("mel.{i}.out"));
        if !golden.has(&wave) {
            golden.missing(&wave);
            continue;
        }
        let samples = golden.floats(&wave)?;
        let inputs = process(processor, Piece::Audio(SampledAudio { samples, start_secs: 0.0 }), &Sampling::default())?;
        let audio = inputs.audios.first().context("no sound came out")?;
        golden.compare_floats(&out, &[config.audio.num_mel_bins, audio.frames], &audio.mel, 1e-4)?;
    }
    for i in 0..members(&golden, "resize", &[".in", ".v2_uint8"])? {
        let (input, name) = (format!("resize.{i}.in"), format!("resize.{i}.v2_uint8"));
        if let Some(absent) = [&input, &name].into_iter().find(|name| !golden.has(name)) {
            golden.missing(absent);
            continue;
        }
        let image = images(&golden, &input)?.swap_remove(0);
        let shape = golden.shape(&name)?;
        let ([height, width, 3], true) = (&shape[..], !shape.contains(&0)) else {
            anyhow::bail!("{name} has shape {shape:?}, which is no picture")
        };
        let ours: Vec<f64> = resize(&image, *height, *width).data.iter().map(|b| f64::from(*b)).collect();
        golden.compare(&name, &shape, &ours, 0.0)?;
    }
    if has_any(&golden, "image.") {
        still(processor, config, &mut golden)?;
    }
    for name in VIDEOS {
        if has_any(&golden, &format!("{name}.")) || !golden.notes()[name].is_null() {
            video(processor, config, &mut golden, name)?;
        }
    }
    tables(config, &mut golden)?;
    Ok(golden.report())
}

/// How long a series is. (The notes also speak of sounds that are too long to keep.)
fn members(golden: &Golden, prefix: &str, suffixes: &[&str]) -> Result<usize> {
    let dotted = format!("{prefix}.");
    let there = suffixes.iter().map(|suffix| golden.series(&dotted, suffix)).max().unwrap_or_default();
    ensure!(there <= 1 << 10, "{prefix} has {there} members, which no golden has");
    Ok(there)
}

fn has_any(golden: &Golden, prefix: &str) -> bool {
    golden.names().iter().any(|name| name.starts_with(prefix))
}

fn still(processor: &Processor, config: &Config, golden: &mut Golden) -> Result<()> {
    if !golden.has("image.in") {
        golden.missing("image.in");
        return Ok(());
    }
    let image = images(golden, "image.in")?.swap_remove(0);
    let inputs = process(processor, Piece::Image(image), &Sampling::default())?;
    let picture = inputs.images.first().context("no still came out")?;
    picture_of(golden, config, picture, "image.grid_thw", "image.pixel_values")
}

fn video(processor: &Processor, config: &Config, golden: &mut Golden, name: &str) -> Result<()> {
    let input = format!("{name}.in");
    if !golden.has(&input) {
        golden.missing(&input);
        return Ok(());
    }
    let frames = images(golden, &input)?;
    let size = |key: &str| usize::try_from(golden.notes()[name]["size"][key].as_u64()?).ok();
    let sampling = Sampling { fps: None, min_pixels: size("shortest_edge"), max_pixels: size("longest_edge") };
    let video = SampledVideo { pts_secs: vec![0.0; frames.len()], frames, fps: Sampling::DEFAULT_FPS };
    let inputs = process(processor, Piece::Video(video, None), &sampling)?;
    let picture = inputs.videos.first().context("no video came out")?;
    let (grid, pixels) = (format!("{name}.video_grid_thw"), format!("{name}.pixel_values_videos"));
    picture_of(golden, config, picture, &grid, &pixels)
}

fn picture_of(golden: &mut Golden, config: &Config, ours: &PictureInput, grid: &str, pixels: &str) -> Result<()> {
    golden.compare(grid, &[1, 3], &ours.grid.map(|n| n as f64), 0.0)?;
    let dim = config.vision.patch_dim();
    golden.compare_floats(pixels, &[ours.pixels.len() / dim, dim], &ours.pixels, 1e-6)
}

/// The tables in the notes: sizes after resizing, audio tokens by mel frames, temporal positions by frame rate.
fn tables(config: &Config, golden: &mut Golden) -> Result<()> {
    let notes = golden.notes().clone();
    let number = |row: &Value, key: &str| {
        let n = row[key].as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| *n < 1 << 40);
        n.with_context(|| format!("a row of a table in the notes has no {key}"))
    };
    if let Some(rows) = notes["smart_resize"].as_array() {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for row in rows {
            let [h, w, factor] = [number(row, "h")?, number(row, "w")?, number(row, "factor")?];
            let size = smart_resize(h, w, factor.max(1), number(row, "min_pixels")?, number(row, "max_pixels")?);
            // A picture that the reference refuses has the name of its error for a size.
            ours.extend(size.map_or([0.0; 2], |size| size.map(|n| n as f64)));
            let out = &row["out"];
            theirs.extend(if out.is_string() {
                [0.0; 2]
            } else {
                [&out[0], &out[1]].map(|n| n.as_f64().unwrap_or(-1.0))
            });
        }
        golden.record("notes: smart_resize", difference(&ours, &theirs), 0.0);
    }
    if let Some(counts) = notes["audio_tokens_by_frames"].as_array() {
        let ours: Vec<f64> = (0..counts.len()).map(|frames| audio_tokens(frames) as f64).collect();
        let theirs: Vec<f64> = counts.iter().map(|n| n.as_f64().unwrap_or(-1.0)).collect();
        golden.record("notes: audio_tokens_by_frames", difference(&ours, &theirs), 0.0);
    }
    if let Some(rows) = notes["time_table"].as_array() {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for row in rows {
            let times = row["t_index"].as_array().context("a row of time_table in the notes has no t_index")?;
            let second = row["second_per_grid"].as_f64().unwrap_or(f64::NAN);
            let steps = step_times(times.len(), second, config.position_id_per_seconds).map_err(anyhow::Error::msg)?;
            ours.extend(steps.into_iter().map(f64::from));
            theirs.extend(times.iter().map(|n| n.as_f64().unwrap_or(-1.0)));
        }
        golden.record("notes: time_table", difference(&ours, &theirs), 0.0);
    }
    Ok(())
}

/// One medium alone, through the whole of preprocessing.
pub fn process(processor: &Processor, piece: Piece, sampling: &Sampling) -> Result<Inputs> {
    Ok(processor.process(&[Message { role: Role::User, pieces: vec![piece] }], sampling)?)
}

/// Pictures `[h, w, 3]` or `[t, h, w, 3]` of 8-bit samples.
pub fn images(golden: &Golden, name: &str) -> Result<Vec<RgbImage>> {
    let shape = golden.shape(name)?;
    let ([h, w, 3] | [_, h, w, 3]) = shape[..] else {
        anyhow::bail!("{name} has shape {shape:?}, which is no picture")
    };
    ensure!(h > 0 && w > 0, "{name} has no pixels");
    let bytes: Vec<u8> = golden
        .numbers(name)?
        .into_iter()
        .map(|x| {
            ensure!((0.0..=255.0).contains(&x) && x.fract() == 0.0, "{name} holds {x}, which is no 8-bit sample");
            Ok(x as u8)
        })
        .collect::<Result<_>>()?;
    let images: Vec<_> =
        bytes.chunks_exact(h * w * 3).map(|data| RgbImage { width: w, height: h, data: data.to_vec() }).collect();
    ensure!(!images.is_empty(), "{name} has no pictures");
    Ok(images)
}
