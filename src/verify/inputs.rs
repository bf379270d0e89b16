//! The inputs that a golden prepares: its ids, pixels and mel frames, checked against each other and complete.
//! Knows nothing of what is computed from them.

use anyhow::{Result, bail, ensure};

use crate::model::qwen2_5_omni::config::{Config, audio_tokens};
use crate::model::qwen2_5_omni::processor::positions::{Media, rope_positions};
use crate::model::qwen2_5_omni::processor::{Inputs, MelInput, PictureInput};
use crate::prompt::Part;
use crate::provenance::{AudioLine, GridStep, Provenance, Source, Token, VideoGrid};
use crate::time::Span;
use crate::verify::golden::Golden;

/// Pictures or sounds that a conversation shows: stills, videos, sounds (with the soundtracks of its videos).
pub fn shown(golden: &Golden) -> [usize; 3] {
    let notes = golden.notes();
    let pieces = notes["conversation"].as_array().into_iter().flatten().filter_map(|turn| turn["content"].as_array());
    let mut counts = [0; 3];
    for piece in pieces.flatten() {
        match piece["type"].as_str() {
            Some("image") => counts[0] += 1,
            Some("video") => {
                counts[1] += 1;
                counts[2] += usize::from(notes["use_audio_in_video"] == true);
            }
            Some("audio") => counts[2] += 1,
            _ => {}
        }
    }
    counts
}

/// Names of the inputs that the file must hold and does not: those of every medium that its ids, its conversation or
/// another of its tensors speaks of.
pub fn missing(golden: &Golden, config: &Config) -> Result<Vec<String>> {
    let ids = if golden.has("input_ids") { golden.whole("input_ids")? } else { Vec::new() };
    let [images, videos, audios] = shown(golden);
    let series = golden.series("input_features.", "");
    let mut names = vec!["input_ids".to_owned()];
    for (count, id, inputs, output) in [
        (images, config.image_token_index, &["image_grid_thw", "pixel_values"][..], "vision_image.out"),
        (
            videos,
            config.video_token_index,
            &["video_grid_thw", "pixel_values_videos", "video_second_per_grid"],
            "vision_video.out",
        ),
        (audios.max(series), config.audio_token_index, &["feature_lens"], "audio.out"),
    ] {
        let spoken_of = inputs.iter().any(|name| golden.has(name)) || golden.has(output);
        if count > 0 || spoken_of || ids.contains(&(id as usize)) {
            names.extend(inputs.iter().map(|name| (*name).to_owned()));
            if id == config.audio_token_index {
                let lengths =
                    if golden.has("feature_lens") { golden.shape("feature_lens")?.iter().product() } else { 1 };
                ensure!(lengths <= 1 << 10, "feature_lens has {lengths} sounds, more than any case");
                names.extend((0..count.max(lengths)).map(|i| format!("input_features.{i}")));
            }
        }
    }
    names.retain(|name| !golden.has(name));
    Ok(names)
}

/// The grids of the stills or videos, which cut `pixels` into whole tokens.
fn grids(golden: &Golden, name: &str, pixels: &str, config: &Config) -> Result<Vec<[usize; 3]>> {
    if !golden.has(name) {
        return Ok(Vec::new());
    }
    let numbers = golden.whole(name)?;
    ensure!(numbers.len().is_multiple_of(3), "{name} holds {} numbers, which are no grids of three", numbers.len());
    let grids: Vec<[usize; 3]> = numbers.as_chunks().0.to_vec();
    let merge = config.vision.spatial_merge_size;
    let mut need = Some(0usize);
    for [t, h, w] in &grids {
        ensure!([t, h, w].iter().all(|n| (1..=1 << 16).contains(*n)), "{name} holds {:?}, which is no grid", [t, h, w]);
        ensure!(
            h.is_multiple_of(merge) && w.is_multiple_of(merge),
            "{name} is not in whole tokens of {merge} × {merge} patches"
        );
        need = need.and_then(|sum| sum.checked_add(t * h * w));
    }
    let (shape, dim) = (golden.shape(pixels)?, config.vision.patch_dim());
    let fits = need.is_some_and(|rows| shape == [rows, dim]);
    ensure!(fits, "{pixels} has shape {shape:?}; {name} and config.json need {need:?} patches of {dim}");
    Ok(grids)
}

/// The inputs that the file prepares: its ids, pixels and mel frames, with positions of ours.
pub fn prepared_inputs(golden: &Golden, config: &Config) -> Result<Inputs> {
    let ids: Vec<u32> = golden.whole("input_ids")?.into_iter().map(|id| id as u32).collect();
    let (vocab, most) = (config.text.vocab_size, config.text.max_position_embeddings);
    ensure!(!ids.is_empty(), "input_ids is empty");
    ensure!(ids.len() <= most, "input_ids has {} tokens, the model takes at most {most}", ids.len());
    ensure!(ids.iter().all(|id| (*id as usize) < vocab), "input_ids holds an id outside the vocabulary of {vocab}");
    let seconds =
        if golden.has("video_second_per_grid") { golden.numbers("video_second_per_grid")? } else { Vec::new() };
    let dim = config.vision.patch_dim();
    let media = |pixels: &str, grid_name: &str, seconds: &[f64]| -> Result<Vec<PictureInput>> {
        let grids = grids(golden, grid_name, pixels, config)?;
        if grids.is_empty() {
            return Ok(Vec::new());
        }
        ensure!(
            seconds.is_empty() || seconds.len() == grids.len(),
            "video_second_per_grid has {} numbers for {} videos",
            seconds.len(),
            grids.len()
        );
        let all = golden.floats(pixels)?;
        let mut rest = all.as_slice();
        Ok(grids
            .iter()
            .enumerate()
            .map(|(i, grid)| {
                let (own, after) = rest.split_at(grid.iter().product::<usize>() * dim);
                rest = after;
                PictureInput {
                    grid: *grid,
                    pixels: own.to_vec(),
                    second_per_grid: seconds.get(i).copied().unwrap_or(1.0),
                }
            })
            .collect())
    };
    let images = media("pixel_values", "image_grid_thw", &[])?;
    let videos = media("pixel_values_videos", "video_grid_thw", &seconds)?;
    let names: Vec<String> = if golden.has("input_features") {
        vec!["input_features".into()]
    } else {
        (0..golden.series("input_features.", "")).map(|i| format!("input_features.{i}")).collect()
    };
    let mut audios = Vec::new();
    for name in &names {
        let shape = golden.shape(name)?;
        let [bins, frames] = shape[..] else { bail!("{name} has shape {shape:?}, not [mels, frames]") };
        ensure!(
            bins == config.audio.num_mel_bins,
            "{name} has {bins} mel bins, the model {}",
            config.audio.num_mel_bins
        );
        audios.push(MelInput { frames, mel: golden.floats(name)? });
    }
    // A video whose sound is interleaved opens with both marks.
    let audio_in_video =
        ids.windows(2).any(|w| w[0] == config.audio_start_token_id && w[1] == config.video_token_index);
    let grid_list = |list: &[PictureInput]| list.iter().map(|p| p.grid).collect::<Vec<_>>();
    let about = Media {
        images: &grid_list(&images),
        videos: &grid_list(&videos),
        second_per_grid: &videos.iter().map(|v| v.second_per_grid).collect::<Vec<_>>(),
        audio_frames: &audios.iter().map(|a| a.frames).collect::<Vec<_>>(),
        audio_in_video,
    };
    let (positions, next_position) = rope_positions(config, &ids, &about).map_err(anyhow::Error::msg)?;
    let provenance = bare_provenance(config, &ids, &images, &videos, &audios);
    Ok(Inputs { ids, positions, next_position, images, videos, audios, provenance })
}

/// Provenance as far as ids and grids tell it: which cell or stretch, but no times of real frames.
fn bare_provenance(
    config: &Config,
    ids: &[u32],
    images: &[PictureInput],
    videos: &[PictureInput],
    audios: &[MelInput],
) -> Provenance {
    let merge = config.vision.spatial_merge_size;
    let mut out = Provenance::default();
    let mut cells = |list: &[PictureInput]| -> Vec<Source> {
        let mut sources = Vec::new();
        for picture in list {
            let [t, h, w] = picture.grid;
            let (rows, cols, medium) = (h / merge, w / merge, out.videos.len());
            let at = |g: usize| g as f64 * picture.second_per_grid;
            let step = |g| GridStep { pts_secs: [at(g), at(g)], nominal: Span::new(at(g), at(g + 1)) };
            let edge = config.vision.patch_size;
            out.videos.push(VideoGrid { steps: (0..t).map(step).collect(), rows, cols, resized: [w * edge, h * edge] });
            for step in 0..t {
                for row in 0..rows {
                    sources.extend((0..cols).map(|col| Source::Video { medium, step, row, col }));
                }
            }
        }
        sources
    };
    let (images, videos) = (cells(images), cells(videos));
    let mut sounds = Vec::new();
    for (medium, audio) in audios.iter().enumerate() {
        let tokens = audio_tokens(audio.frames);
        out.audios.push(AudioLine { tokens, secs_per_token: 0.04, start_secs: 0.0 });
        sounds.extend((0..tokens).map(|index| Source::Audio { medium, index }));
    }
    let mut pools = [
        (config.image_token_index, images.into_iter()),
        (config.video_token_index, videos.into_iter()),
        (config.audio_token_index, sounds.into_iter()),
    ];
    out.tokens = ids
        .iter()
        .map(|id| {
            let pool = pools.iter_mut().find(|(media, _)| media == id);
            let source = pool.and_then(|(_, sources)| sources.next());
            let words = Source::Text { part: Part::Question, bytes: 0..0 };
            Token { id: *id, text: String::new(), source: source.unwrap_or(words) }
        })
        .collect();
    out
}
