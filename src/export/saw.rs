//! What the model saw and heard as one picture: the frames as they were fed with the answer's mean attention on their
//! cells, and under them the log-mel. Knows nothing of how they were fed.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;

use crate::export::overlay::PlacedMap;
use crate::export::write_png;
use crate::fed::{Fed, FedAudio, FedVideo};
use crate::frame::RgbImage;
use crate::gpu::colormap::ColorMap;
use crate::gpu::strip::{Background, heat_columns, image_columns};
use crate::gpu::{OverlayFrame, OverlayStyle, StripFrame};
use crate::provenance::{AudioLine, VideoGrid};
use crate::time::Span;

/// Width that steps are laid out in, in pixels; one step alone may be wider.
const WIDTH: usize = 1_600;
/// Most frames drawn.
const MOST_FRAMES: usize = 256;
/// Pixels between steps, and under the frames.
const GAP: usize = 8;
/// Pixels per mel bin.
const BIN: usize = 2;
/// Frames lower than this grow by whole factors.
const LOW: usize = 240;
const GROUND: [f32; 3] = [0.08, 0.086, 0.1];

/// An RGB picture that is drawn into.
struct Sheet {
    width: usize,
    rows: Vec<Vec<u8>>,
}

impl Sheet {
    fn new(width: usize) -> Self {
        Self { width, rows: Vec::new() }
    }

    fn grow(&mut self, height: usize) {
        let ground = GROUND.map(|x| (x * 255.0) as u8);
        let row: Vec<u8> = [ground[0], ground[1], ground[2], 255].repeat(self.width);
        self.rows.resize(self.rows.len().max(height), row);
    }

    fn put(&mut self, x: usize, y: usize, rgb: [f32; 3]) {
        let out = &mut self.rows[y][x * 4..x * 4 + 3];
        for (out, value) in out.iter_mut().zip(rgb) {
            *out = (value.clamp(0.0, 1.0) * 255.0).round() as u8;
        }
    }
}

/// Writes the picture to `path`; false when the model was fed neither picture nor sound.
pub(super) fn saw_file(fed: &Fed, placed: &PlacedMap<'_>, path: &Path) -> Result<bool> {
    let video = fed.videos.first().zip(placed.provenance.videos.first());
    let audio = fed.audios.first().zip(placed.provenance.audios.first());
    let mut sheet = match video {
        Some((video, grid)) => pictures(video, grid, placed),
        None => Sheet::new(WIDTH),
    };
    if let Some((audio, line)) = audio {
        log_mel(&mut sheet, audio, *line, placed);
    }
    if sheet.rows.is_empty() {
        return Ok(false);
    }
    let size = [sheet.width as u32, sheet.rows.len() as u32];
    write_png(path, size, &sheet.rows.concat())?;
    Ok(true)
}

/// How many of a video's steps are drawn.
pub(super) fn drawn_steps(video: &FedVideo, grid: &VideoGrid) -> usize {
    grid.steps.len().min((MOST_FRAMES / video.per_step.max(1)).max(1))
}

fn pictures(video: &FedVideo, grid: &VideoGrid, placed: &PlacedMap<'_>) -> Sheet {
    let [width, height] = grid.resized;
    let grow = (LOW / height.max(1)).clamp(1, 4);
    let per_step = video.per_step.max(1);
    let [frame_wide, frame_high] = [width * grow, height * grow];
    let step_wide = frame_wide * per_step;
    let steps = drawn_steps(video, grid);
    let columns = ((WIDTH + GAP) / (step_wide + GAP)).clamp(1, steps.max(1));
    let mut sheet = Sheet::new(columns * (step_wide + GAP) - GAP);
    sheet.grow(steps.div_ceil(columns) * (frame_high + GAP));
    for step in 0..steps {
        let [left, top] = [step % columns * (step_wide + GAP), step / columns * (frame_high + GAP)];
        let heat = placed.step(step);
        let heat = heat.map(|heat| OverlayFrame { style: OverlayStyle { lines: true, ..heat.style }, ..heat });
        let frames = video.frames.iter().skip(step * per_step).take(per_step).enumerate();
        for (k, image) in frames {
            frame(&mut sheet, [left + k * frame_wide, top], image, grow, heat.as_ref());
        }
    }
    sheet
}

fn frame(sheet: &mut Sheet, [left, top]: [usize; 2], image: &RgbImage, grow: usize, heat: Option<&OverlayFrame>) {
    let [wide, high] = [image.width * grow, image.height * grow];
    let pixels = [wide as f32, high as f32];
    for y in 0..high {
        for x in 0..wide {
            let at = (y / grow * image.width + x / grow) * 3;
            let under = [0, 1, 2].map(|c| f32::from(image.data[at + c]) / 255.0);
            let uv = [(x as f32 + 0.5) / pixels[0], (y as f32 + 0.5) / pixels[1]];
            let color = heat.map_or(under, |heat| heat.blend(uv, pixels, under));
            sheet.put(left + x, top + y, color);
        }
    }
}

fn log_mel(sheet: &mut Sheet, audio: &FedAudio, line: AudioLine, placed: &PlacedMap<'_>) {
    let view = Span::new(line.start_secs, line.start_secs + audio.frames() as f64 * audio.secs_per_frame);
    let columns = sheet.width;
    let values = image_columns(&audio.drawn(), audio.bins, line.start_secs, 1.0 / audio.secs_per_frame, view, columns);
    let weights = placed.map.audios.first().map_or(&[][..], Vec::as_slice);
    let heat = heat_columns(weights, (0..weights.len()).map(|i| line.span(i)), view, columns);
    let strip = StripFrame {
        columns,
        background: Background::Image { rows: audio.bins, values: Arc::from(values) },
        heat: Arc::from(heat),
        scale: placed.audio_scale(),
        gamma: 1.0,
        opacity: 1.0,
        map: ColorMap::default(),
        ground: GROUND,
        signal: [0.72, 0.75, 0.8],
    };
    let (top, high) = (sheet.rows.len(), audio.bins * BIN);
    sheet.grow(top + high);
    for y in 0..high {
        for x in 0..columns {
            let uv = [(x as f32 + 0.5) / columns as f32, (y as f32 + 0.5) / high as f32];
            sheet.put(x, top + y, strip.color(uv, high as f32));
        }
    }
}
