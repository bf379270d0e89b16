//! Preprocessing against its goldens: log-mel of awkward lengths, resampling, patches.
//! Knows nothing of the model.

use anyhow::{Context, Result, ensure};

use crate::frame::RgbImage;
use crate::model::qwen2_5_omni::processor::pixels::resize;
use crate::model::qwen2_5_omni::processor::{Inputs, Message, Piece, Processor, Role};
use crate::sampled::{SampledAudio, SampledVideo};
use crate::settings::Sampling;
use crate::verify::FileReport;
use crate::verify::golden::Golden;

/// Compares everything in a preprocessing golden.
pub fn compare(processor: &Processor, mut golden: Golden) -> Result<FileReport> {
    for i in 0..golden.count("mel.", ".wave") {
        let samples = golden.floats(&format!("mel.{i}.wave"))?;
        let inputs = process(processor, Piece::Audio(SampledAudio { samples, start_secs: 0.0 }), &Sampling::default())?;
        let mel = inputs.audios.first().map(|a| a.mel.as_slice()).unwrap_or_default();
        golden.compare_floats(&format!("mel.{i}.out"), mel, 1e-4)?;
    }
    for i in 0..golden.count("resize.", ".in") {
        let image = images(&golden, &format!("resize.{i}.in"))?.swap_remove(0);
        let name = format!("resize.{i}.v2_uint8");
        let [height, width, _] = golden.shape(&name)?[..] else { anyhow::bail!("{name} is not a picture") };
        let ours: Vec<f64> = resize(&image, height, width).data.iter().map(|b| f64::from(*b)).collect();
        golden.compare(&name, &ours, 0.0)?;
    }
    if golden.has("image.in") {
        let image = images(&golden, "image.in")?.swap_remove(0);
        let inputs = process(processor, Piece::Image(image), &Sampling::default())?;
        let picture = inputs.images.first().context("no still came out")?;
        golden.compare("image.grid_thw", &picture.grid.map(|n| n as f64), 0.0)?;
        golden.compare_floats("image.pixel_values", &picture.pixels, 1e-6)?;
    }
    for name in ["video_small", "video_exact", "video_default", "video_down"] {
        let input = format!("{name}.in");
        if !golden.has(&input) {
            continue;
        }
        let frames = images(&golden, &input)?;
        let size = |key: &str| {
            let value = golden.notes().get(name)?.get("size")?.get(key)?.as_u64()?;
            usize::try_from(value).ok()
        };
        let sampling = Sampling { fps: None, min_pixels: size("shortest_edge"), max_pixels: size("longest_edge") };
        let video = SampledVideo { pts_secs: vec![0.0; frames.len()], frames, fps: Sampling::DEFAULT_FPS };
        let inputs = process(processor, Piece::Video(video, None), &sampling)?;
        let picture = inputs.videos.first().context("no video came out")?;
        golden.compare(&format!("{name}.video_grid_thw"), &picture.grid.map(|n| n as f64), 0.0)?;
        golden.compare_floats(&format!("{name}.pixel_values_videos"), &picture.pixels, 1e-6)?;
    }
    Ok(golden.report())
}

fn process(processor: &Processor, piece: Piece, sampling: &Sampling) -> Result<Inputs> {
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
