//! The clip with its attention laid over it: a video with sound, and the one frame that drew most.
//! Knows nothing of models; draws with the same shaders as the window, off screen.

mod pictures;
mod sound;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};

use crate::capture::project;
use crate::clip::ClipSpec;
use crate::event::Answer;
use crate::export::write_png;
use crate::gpu::headless::HEADLESS_FORMAT;
use crate::gpu::strip::{Background, heat_columns};
use crate::gpu::{Headless, OverlayFrame, OverlayStyle, StripFrame, StripRenderer};
use crate::heatmap::{HeatMap, Scales};
use crate::media::{EncodeSpeed, Encoder, VideoParams};
use crate::provenance::{AudioLine, Provenance};
use crate::settings::{Sampling, View};
use crate::time::Span;

use pictures::{Extent, Pictures, SAME_SECS};
use sound::{SOUND, Sound, stop_if};

/// Longest part that is drawn beside an answer on the command line, in seconds; a longer clip is cut here.
const MOST_SECS: f64 = 600.0;
/// Most pixels of the picture: what the encoder takes, less room for the lane.
const MOST_PIXELS: u32 = 60 << 20;
/// Longest side that encoders take, in pixels.
const MOST_SIDE: u32 = 16_384;
/// Height of the sound lane in pixels.
const LANE: u32 = 72;
/// Colours of the sound lane, gamma-encoded RGB.
const GROUND: [f32; 3] = [0.07, 0.08, 0.10];
const SIGNAL: [f32; 3] = [0.62, 0.66, 0.72];

/// Attention maps placed on a clip.
#[derive(Debug, Clone)]
pub struct PlacedMap<'a> {
    /// The map.
    pub map: HeatMap,
    /// Where its cells lie.
    pub provenance: &'a Provenance,
    /// How cells are drawn.
    pub style: OverlayStyle,
    quantile: f32,
    scales: Scales,
}

impl<'a> PlacedMap<'a> {
    /// A key distribution `[keys]` put back on picture and sound, in the style that the window begins with.
    pub fn new(mean: &[f32], provenance: &'a Provenance) -> Self {
        Self::of(project(mean, provenance), provenance, OverlayStyle::default(), View::DEFAULT_QUANTILE)
    }

    /// A map as it is. Its scales end at `quantile` of its cells: a single cell that takes it all would leave the others
    /// dark.
    pub fn of(map: HeatMap, provenance: &'a Provenance, style: OverlayStyle, quantile: f32) -> Self {
        let scales = Scales::of(&map);
        Self { map, provenance, style, quantile, scales }
    }

    /// The map over the picture that is on screen at `t_secs`; the scale is that of the whole clip.
    pub fn picture_at(&self, t_secs: f64) -> Option<OverlayFrame> {
        self.step(self.provenance.videos.first()?.step_at(t_secs)?)
    }

    /// The map over a step of the picture; the scale is that of the whole clip.
    pub(super) fn step(&self, step: usize) -> Option<OverlayFrame> {
        let grid = self.provenance.videos.first()?;
        let cells = grid.rows * grid.cols;
        let weights = self.map.videos.first()?.get(step * cells..(step + 1) * cells)?.to_vec();
        Some(OverlayFrame {
            rows: grid.rows,
            cols: grid.cols,
            weights,
            scale: self.scales.video(self.quantile),
            style: self.style,
        })
    }

    /// The weight at the end of the sound's colour map.
    pub(super) fn audio_scale(&self) -> f32 {
        self.scales.audio(self.quantile)
    }

    /// The instant of the frame within `span` whose grid step holds most attention, in seconds.
    fn strongest_secs(&self, span: Span) -> Option<f64> {
        let grid = self.provenance.videos.first()?;
        let steps = self.map.videos.first()?.chunks((grid.rows * grid.cols).max(1));
        let sums = grid.steps.iter().map(|s| s.pts_secs[0]).zip(steps.map(|s| s.iter().sum::<f32>()));
        let drawn = sums.filter(|(secs, _)| *secs < span.end_secs);
        drawn.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(secs, _)| secs)
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Encoder of the pictures.
    pub video_encoder: &'static str,
    /// Encoder of the sound, where the clip has any.
    pub audio_encoder: Option<&'static str>,
    /// Width and height in pixels.
    pub size: [u32; 2],
}

/// What an overlay video shows.
#[derive(Debug, Clone, Copy)]
pub struct Overlay<'a> {
    /// The clip.
    pub clip: &'a ClipSpec,
    /// How the model sampled it: shuffled frames are drawn as the model got them.
    pub sampling: &'a Sampling,
    /// The map over picture and sound; `None` draws the clip alone.
    pub map: Option<&'a PlacedMap<'a>>,
    /// The part that is drawn; `None` = the part of the clip that is used.
    pub span: Option<Span>,
}

/// How far a video is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Frames written.
    pub done: usize,
    /// Frames in all.
    pub all: usize,
}

/// Writes `video` (the clip with the answer's mean attention moving over picture and sound) and `still` (its
/// strongest frame). `None` when the clip has neither picture nor sound.
pub fn overlay_files(
    clip: &ClipSpec,
    sampling: &Sampling,
    answer: &Answer,
    video: &Path,
    still: &Path,
) -> Result<Option<Written>> {
    let placed = PlacedMap::new(&answer.mean_attention(), &answer.provenance);
    let mut what = Overlay { clip, sampling, map: Some(&placed), span: None };
    let Some(span) = what.whole(&|| false)? else { return Ok(None) };
    if span.duration_secs() > MOST_SECS {
        let minutes = MOST_SECS / 60.0;
        log::warn!("the overlay video shows the first {minutes} minutes; --start and --end choose others");
    }
    let span = Span::new(span.start_secs, span.end_secs.min(span.start_secs + MOST_SECS));
    what.span = Some(span);
    let (written, rgba) = what.write(video, placed.strongest_secs(span), &|| false, &mut |_| {})?;
    write_png(still, written.size, &rgba)?;
    Ok(Some(written))
}

impl Overlay<'_> {
    /// The part of the clip that is used, from its start to its end; `None` when there is neither picture nor sound.
    ///
    /// # Errors
    /// When a file cannot be read, or has no end.
    pub fn whole(&self, cancel: &dyn Fn() -> bool) -> Result<Option<Span>> {
        let start = self.clip.start_secs.unwrap_or(0.0);
        // Another sound is cut to the picture's length; a still lasts as long as its sound.
        let end = match Extent::of(self.clip, cancel)? {
            Extent::Until(end) => Some(end),
            Extent::Endless => Some(sound::end_secs(self.clip, cancel)?.unwrap_or(start + STILL_SECS)),
            Extent::None => sound::end_secs(self.clip, cancel)?,
        };
        let Some(end) = end else { return Ok(None) };
        let end = self.clip.end_secs.unwrap_or(f64::INFINITY).min(end);
        if !end.is_finite() {
            bail!("this clip has no end of its own: choose the part to write");
        }
        Ok(Some(Span::new(start, end.max(start))))
    }

    /// Writes the video at the clip's own size and frame rate, the sound's lane below it: whole or not at all. Returns
    /// what was written and the RGBA pixels of the first frame that shows what is on screen at `still_secs` (by default
    /// the first). `cancel` is asked before every frame, `progress` is told after it.
    ///
    /// # Errors
    /// [`MediaError::Cancelled`](crate::media::MediaError::Cancelled) when `cancel` said so; when the clip cannot be
    /// read, drawn or written.
    pub fn write(
        &self,
        video: &Path,
        still_secs: Option<f64>,
        cancel: &dyn Fn() -> bool,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Written, Vec<u8>)> {
        let span = match self.span {
            Some(span) => span,
            None => match self.whole(cancel)? {
                Some(span) => span,
                None => bail!("the clip has neither picture nor sound"),
            },
        };
        let mut gpu = Headless::new()?;
        let mut pictures = Pictures::open(self.clip, self.sampling, Some(span.start_secs), cancel)?;
        let side = gpu.device().limits().max_texture_dimension_2d.min(MOST_SIDE);
        let size = pictures.size([side - LANE, MOST_PIXELS]);
        let fps = pictures.fps();
        let lane = self.lane(&mut gpu, span, size[0], cancel)?;
        let mut sound = if lane.is_some() { Sound::open(self.clip, span.start_secs, cancel)? } else { None };
        let canvas = [size[0], if pictures.exist() { size[1] } else { 0 } + if lane.is_some() { LANE } else { 0 }];
        let params = VideoParams { speed: EncodeSpeed::Fast, ..VideoParams::new(canvas[0], canvas[1], fps) };
        let mut encoder = Encoder::create(video, params, sound.is_some().then_some(SOUND))?;
        let step = f64::from(fps.1) / f64::from(fps.0);
        let all = ((span.duration_secs() / step).round() as usize).max(1);
        let wanted = still_secs.unwrap_or(span.start_secs);
        let (mut still, mut settled) = (Vec::new(), false);
        let bytes = canvas[0] as usize * canvas[1] as usize * 4;
        for done in 0..all {
            stop_if(cancel)?;
            let t = span.start_secs + done as f64 * step;
            let mut rgba = Vec::with_capacity(bytes);
            if let Some((frame, at)) = pictures.at(t)? {
                let heat = self.map.and_then(|map| map.picture_at(at));
                rgba = gpu.render_rgba(frame, heat.as_ref(), size)?;
            }
            if let Some(lane) = &lane {
                push_lane(&mut rgba, lane, canvas[0], done as f64 * step / span.duration_secs().max(1e-9));
            }
            rgba.resize(bytes, 0);
            encoder.push_frame(&rgba)?;
            if let Some(sound) = &mut sound {
                // Beside its pictures, so that neither waits for the other in memory.
                encoder.push_audio(&sound.until((t + step).min(span.end_secs))?)?;
            }
            if !settled {
                settled = t + SAME_SECS >= wanted;
                still = rgba;
            }
            progress(Progress { done: done + 1, all });
        }
        let written =
            Written { video_encoder: encoder.video_encoder(), audio_encoder: encoder.audio_encoder(), size: canvas };
        encoder.finish()?;
        Ok((written, still))
    }

    /// The pixels of the sound's lane, `[LANE, width, 4]`: waveform with the audio tokens' attention. `None` for a clip
    /// without sound.
    fn lane(&self, gpu: &mut Headless, span: Span, width: u32, cancel: &dyn Fn() -> bool) -> Result<Option<Vec<u8>>> {
        let columns = (width as usize).min(StripRenderer::MAX_COLUMNS);
        let Some(wave) = Sound::outline(self.clip, span, columns, cancel)? else { return Ok(None) };
        let line: Option<(&AudioLine, &Vec<f32>)> =
            self.map.and_then(|placed| placed.provenance.audios.first().zip(placed.map.audios.first()));
        let heat =
            line.map(|(line, weights)| heat_columns(weights, (0..weights.len()).map(|i| line.span(i)), span, columns));
        let style = self.map.map(|placed| placed.style).unwrap_or_default();
        let frame = StripFrame {
            columns,
            background: Background::Wave(wave.into()),
            heat: heat.map_or_else(|| Arc::from([]), Arc::from),
            scale: self.map.map_or(0.0, PlacedMap::audio_scale),
            gamma: style.gamma,
            opacity: 1.0,
            map: style.map,
            ground: GROUND,
            signal: SIGNAL,
        };
        let mut strip = StripRenderer::new(gpu.device(), HEADLESS_FORMAT);
        strip.prepare(gpu.device(), gpu.queue(), &frame, LANE as f32);
        Ok(Some(gpu.read_pass([width, LANE], |pass| strip.draw(pass))?))
    }
}

/// How long a picture without any sound is shown, in seconds.
const STILL_SECS: f64 = 1.0;

/// Appends the lane's rows with the playhead at `at` (0…1) of its width.
fn push_lane(rgba: &mut Vec<u8>, lane: &[u8], width: u32, at: f64) {
    let head = (at.clamp(0.0, 1.0) * f64::from(width.saturating_sub(2))) as usize;
    for row in lane.chunks_exact(width as usize * 4) {
        let start = rgba.len();
        rgba.extend_from_slice(row);
        rgba[start + head * 4..start + (head + 2).min(width as usize) * 4].fill(255);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provenance::{GridStep, VideoGrid};

    #[test]
    fn the_strongest_frame_is_one_that_is_drawn() {
        let step = |t: f64| GridStep { pts_secs: [t, t + 0.5], nominal: Span::new(t, t + 1.0) };
        let steps = [0.0, 300.0, 700.0].map(step).to_vec();
        let videos = vec![VideoGrid { steps, rows: 1, cols: 1, resized: [28, 28] }];
        let provenance = Provenance { videos, ..Provenance::default() };
        let heat = HeatMap { videos: vec![vec![0.1, 0.2, 0.7]], ..HeatMap::default() };
        let placed = PlacedMap::of(heat, &provenance, OverlayStyle::default(), 1.0);
        assert_eq!(placed.strongest_secs(Span::new(0.0, 800.0)), Some(700.0));
        assert_eq!(placed.strongest_secs(Span::new(0.0, 600.0)), Some(300.0));
    }
}
