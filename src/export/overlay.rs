//! The clip with its attention laid over it: a video with sound, and the one frame that drew most.
//! Knows nothing of models; draws with the same shaders as the window.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::capture::project;
use crate::clip::{AudioSource, ClipSpec, FrameEdit};
use crate::event::Answer;
use crate::export::write_png;
use crate::frame::{ChromaSiting, ColorInfo, Matrix, PixelLayout, Plane, Planes, RgbImage, display_size};
use crate::gpu::colormap::ColorMap;
use crate::gpu::headless::HEADLESS_FORMAT;
use crate::gpu::strip::{Background, heat_columns, wave_columns};
use crate::gpu::{Headless, OverlayFrame, OverlayStyle, StripFrame, StripRenderer};
use crate::heatmap::{HeatMap, Scales};
use crate::media::{
    AudioParams, EncodeSpeed, Encoder, MediaError, Soundtrack, VideoParams, VideoReader, probe, sample_clip,
};
use crate::provenance::{AudioLine, Provenance};
use crate::settings::{Sampling, View};
use crate::time::Span;

/// Longest part that is drawn, in seconds; a longer clip is cut here.
const MOST_SECS: f64 = 600.0;
/// Largest picture of the overlay video.
const MOST_SIZE: [f64; 2] = [1280.0, 720.0];
/// Height of the sound lane in pixels.
const LANE: u32 = 72;
/// Sound of the overlay video.
const SOUND: AudioParams = AudioParams { rate: 48_000, channels: 2 };
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
    scales: Scales,
}

/// The scales end at this quantile of the cells, as in the window: a single cell that takes it all would leave the
/// others dark.
const QUANTILE: f32 = View::DEFAULT_QUANTILE;

impl<'a> PlacedMap<'a> {
    /// A key distribution `[keys]` put back on picture and sound.
    pub fn new(mean: &[f32], provenance: &'a Provenance) -> Self {
        let map = project(mean, provenance);
        let scales = Scales::of(&map);
        Self { map, provenance, style: OverlayStyle::default(), scales }
    }

    /// The map over the picture that is on screen at `t_secs`; the scale is that of the whole clip.
    pub fn picture_at(&self, t_secs: f64) -> Option<OverlayFrame> {
        let grid = self.provenance.videos.first()?;
        let cells = grid.rows * grid.cols;
        let step = grid.step_at(t_secs)?;
        let weights = self.map.videos.first()?.get(step * cells..(step + 1) * cells)?.to_vec();
        Some(OverlayFrame {
            rows: grid.rows,
            cols: grid.cols,
            weights,
            scale: self.scales.video(QUANTILE),
            style: self.style,
        })
    }

    /// The instant of the frame whose grid step holds most attention, in seconds.
    fn strongest_secs(&self) -> Option<f64> {
        let grid = self.provenance.videos.first()?;
        let steps = self.map.videos.first()?.chunks((grid.rows * grid.cols).max(1));
        let sums = steps.map(|s| s.iter().sum::<f32>()).enumerate();
        let (step, _) = sums.max_by(|a, b| a.1.total_cmp(&b.1))?;
        Some(grid.steps.get(step)?.pts_secs[0])
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
    let mut gpu = Headless::new()?;
    let sound = Sound::of(clip)?;
    let mut pictures = Pictures::open(clip, sampling)?;
    if matches!(pictures, Pictures::None) && sound.is_none() {
        return Ok(None);
    }
    let span = span_of(clip, &pictures, sound.as_ref());
    let fps = pictures.fps();
    let size = pictures.size()?;
    let lane = sound.as_ref().map(|s| s.lane(&mut gpu, &placed, span, size[0])).transpose()?;
    let canvas = [size[0], if pictures.exist() { size[1] } else { 0 } + lane.as_ref().map_or(0, |_| LANE)];
    let params = VideoParams { speed: EncodeSpeed::Fast, ..VideoParams::new(canvas[0], canvas[1], fps) };
    let mut encoder = Encoder::create(video, params, sound.is_some().then_some(SOUND))?;
    let step = f64::from(fps.1) / f64::from(fps.0);
    let frames = ((span.duration_secs() / step).round() as usize).max(1);
    let mut best: Option<(f64, Vec<u8>)> = None;
    let wanted = placed.strongest_secs().unwrap_or(span.start_secs);
    for i in 0..frames {
        let t = span.start_secs + i as f64 * step;
        let mut rgba = Vec::with_capacity((canvas[0] * canvas[1] * 4) as usize);
        // Half a step of slack: a rounded frame rate must not show the frame before.
        if let Some(frame) = pictures.at(t + 0.5 * step)? {
            rgba = gpu.render_rgba(frame, placed.picture_at(t + 0.5 * step).as_ref(), size)?;
        }
        if let Some(lane) = &lane {
            push_lane(&mut rgba, lane, canvas[0], (t - span.start_secs) / span.duration_secs().max(1e-9));
        }
        rgba.resize((canvas[0] * canvas[1] * 4) as usize, 0);
        encoder.push_frame(&rgba)?;
        if best.as_ref().is_none_or(|(at, _)| (t - wanted).abs() < (at - wanted).abs()) {
            best = Some((t, rgba));
        }
    }
    if let Some(sound) = &sound {
        encoder.push_audio(sound.part(span))?;
    }
    let written =
        Written { video_encoder: encoder.video_encoder(), audio_encoder: encoder.audio_encoder(), size: canvas };
    encoder.finish()?;
    if let Some((_, rgba)) = best {
        write_png(still, canvas, &rgba)?;
    }
    Ok(Some(written))
}

/// The part of the clip that is drawn.
fn span_of(clip: &ClipSpec, pictures: &Pictures, sound: Option<&Sound>) -> Span {
    let start = clip.start_secs.unwrap_or(0.0);
    let length = pictures.end_secs().or_else(|| sound.map(Sound::end_secs)).unwrap_or(start + 1.0);
    let end = clip.end_secs.unwrap_or(f64::INFINITY).min(length).min(start + MOST_SECS);
    Span::new(start, end.max(start))
}

/// Appends the lane's rows with the playhead at `at` (0…1) of its width.
fn push_lane(rgba: &mut Vec<u8>, lane: &[u8], width: u32, at: f64) {
    let head = (at.clamp(0.0, 1.0) * f64::from(width.saturating_sub(2))) as usize;
    for row in lane.chunks_exact(width as usize * 4) {
        let start = rgba.len();
        rgba.extend_from_slice(row);
        rgba[start + head * 4..start + (head + 2) * 4].fill(255);
    }
}

/// A clip's sound at the overlay video's rate.
struct Sound {
    /// `[samples, 2]`, interleaved, from t = 0.
    samples: Vec<f32>,
}

impl Sound {
    fn of(clip: &ClipSpec) -> Result<Option<Self>> {
        let mut reader = match Soundtrack::open(clip, SOUND.rate, SOUND.channels, &|| false) {
            Err(MediaError::NoAudio(_)) if matches!(clip.audio, AudioSource::Original { .. }) => return Ok(None),
            opened => match opened? {
                None => return Ok(None),
                Some(sound) => sound,
            },
        };
        let most = (MOST_SECS * f64::from(SOUND.rate)) as usize * SOUND.channels;
        let mut samples = Vec::new();
        while let Some(chunk) = reader.next_chunk()? {
            let at = chunk.start.max(0) as usize * SOUND.channels;
            if at >= most {
                break;
            }
            let skip = (-chunk.start).max(0) as usize * SOUND.channels;
            // A gap in the file is silence.
            samples.resize(at, 0.0);
            samples.extend(chunk.samples.iter().skip(skip).take(most - at));
        }
        Ok(Some(Self { samples }))
    }

    fn end_secs(&self) -> f64 {
        self.samples.len() as f64 / SOUND.channels as f64 / f64::from(SOUND.rate)
    }

    /// The samples of a span, interleaved.
    fn part(&self, span: Span) -> &[f32] {
        let at = |t: f64| ((t * f64::from(SOUND.rate)).round() as usize * SOUND.channels).min(self.samples.len());
        &self.samples[at(span.start_secs)..at(span.end_secs)]
    }

    /// The lane's pixels, `[LANE, width, 4]`: waveform with the audio tokens' attention.
    fn lane(&self, gpu: &mut Headless, placed: &PlacedMap<'_>, span: Span, width: u32) -> Result<Vec<u8>> {
        let mono: Vec<f32> = self.samples.as_chunks::<2>().0.iter().map(|[l, r]| f32::midpoint(*l, *r)).collect();
        let columns = (width as usize).min(StripRenderer::MAX_COLUMNS);
        let wave = wave_columns(&mono, 0.0, f64::from(SOUND.rate), span, columns);
        let line: Option<(&AudioLine, &Vec<f32>)> = placed.provenance.audios.first().zip(placed.map.audios.first());
        let heat =
            line.map(|(line, weights)| heat_columns(weights, (0..weights.len()).map(|i| line.span(i)), span, columns));
        let frame = StripFrame {
            columns,
            background: Background::Wave(wave.into()),
            heat: heat.map_or_else(|| Arc::from([]), Arc::from),
            scale: placed.scales.audio(QUANTILE),
            gamma: 1.0,
            opacity: 1.0,
            map: ColorMap::default(),
            ground: GROUND,
            signal: SIGNAL,
        };
        let mut strip = StripRenderer::new(gpu.device(), HEADLESS_FORMAT);
        strip.prepare(gpu.device(), gpu.queue(), &frame, LANE as f32);
        Ok(gpu.read_pass([width, LANE], |pass| strip.draw(pass))?)
    }
}

/// The pictures of a clip as they are shown: what the frame edit makes of the file.
enum Pictures {
    /// No picture.
    None,
    /// Frames of a file, in order.
    File {
        reader: Box<VideoReader>,
        shown: Option<Box<dyn Planes>>,
        next: Option<Box<dyn Planes>>,
        end_secs: f64,
        fps: f64,
    },
    /// Frames held in memory (shuffled, or one for all time), each shown from its time on.
    List { frames: Vec<Held>, end_secs: f64 },
}

impl Pictures {
    fn open(clip: &ClipSpec, sampling: &Sampling) -> Result<Self> {
        let Some(path) = &clip.video else { return Ok(Self::None) };
        let about = probe(path)?;
        let Some(video) = &about.video else { return Ok(Self::None) };
        let end_secs = about.duration_secs.unwrap_or(1.0);
        if matches!(clip.frames, FrameEdit::Shuffle { .. } | FrameEdit::Reverse) {
            // What the model got, in the order it got it.
            let silent = ClipSpec { audio: AudioSource::None, ..clip.clone() };
            let (sampled, _) = sample_clip(&silent, sampling, &|| false)?;
            let sampled = sampled.video.context("the clip has no frames")?;
            let frames = sampled.frames.into_iter().zip(sampled.pts_secs).map(|(f, t)| Held::new(&f, t)).collect();
            return Ok(Self::List { frames, end_secs });
        }
        let mut reader = VideoReader::open(path)?;
        if let Some(start) = clip.start_secs {
            reader.seek(start)?;
        }
        let first =
            reader.next_frame()?.with_context(|| format!("no frame in the chosen part ({})", path.display()))?;
        if clip.frames == FrameEdit::Black {
            let [width, height] = display_size(&first).map(|n| n as usize);
            let black = RgbImage { width, height, data: vec![0; width * height * 3] };
            return Ok(Self::List { frames: vec![Held::new(&black, f64::NEG_INFINITY)], end_secs });
        }
        let mut file = Self::File {
            reader: Box::new(reader),
            shown: Some(Box::new(first)),
            next: None,
            end_secs,
            fps: video.fps.unwrap_or(25.0),
        };
        if let (Self::File { reader, next, .. }, FrameEdit::Keep) = (&mut file, clip.frames) {
            *next = reader.next_frame()?.map(|f| Box::new(f) as _);
        }
        Ok(file)
    }

    fn exist(&self) -> bool {
        !matches!(self, Self::None)
    }

    fn end_secs(&self) -> Option<f64> {
        match self {
            Self::None => None,
            Self::File { end_secs, .. } | Self::List { end_secs, .. } => Some(*end_secs),
        }
    }

    /// Frame rate of the overlay video: the file's own up to 30, or what a moving playhead needs.
    fn fps(&self) -> (u32, u32) {
        match self {
            Self::File { fps, .. } => ((fps.clamp(10.0, 30.0) * 1000.0).round() as u32, 1000),
            Self::None | Self::List { .. } => (15, 1),
        }
    }

    /// Size of the drawn picture: as shown, within bounds, even.
    fn size(&self) -> Result<[u32; 2]> {
        let natural = match self {
            Self::None => [960, 0],
            Self::File { shown, .. } => display_size(shown.as_deref().context("no frame")?),
            Self::List { frames, .. } => display_size(frames.first().context("no frame")?),
        };
        let [w, h] = natural.map(f64::from);
        let shrink = (MOST_SIZE[0] / w).min(MOST_SIZE[1] / h.max(1.0)).min(1.0);
        // Small clips grow by whole factors, so that the token grid and the lane can be read.
        let grow = if h > 0.0 { (480.0 / h).floor().clamp(1.0, 4.0) } else { 1.0 };
        Ok([w, h].map(|n| ((n * shrink * grow / 2.0).round() * 2.0) as u32))
    }

    /// The newest frame that is not later than `t_secs`; the first one before that.
    fn at(&mut self, t_secs: f64) -> Result<Option<&dyn Planes>> {
        match self {
            Self::None => Ok(None),
            Self::List { frames, .. } => {
                let after = frames.partition_point(|f| f.pts_secs <= t_secs);
                Ok(frames.get(after.saturating_sub(1)).map(|f| f as _))
            }
            Self::File { reader, shown, next, .. } => {
                while next.as_ref().is_some_and(|f| f.pts_secs() <= t_secs) {
                    *shown = next.take();
                    *next = reader.next_frame()?.map(|f| Box::new(f) as _);
                }
                Ok(shown.as_deref())
            }
        }
    }
}

/// An upright picture in square pixels, held in memory.
struct Held {
    width: u32,
    height: u32,
    rgba: Vec<u8>,
    pts_secs: f64,
}

impl Held {
    fn new(image: &RgbImage, pts_secs: f64) -> Self {
        let rgba = image.data.as_chunks::<3>().0.iter().flat_map(|[r, g, b]| [*r, *g, *b, 255]).collect();
        Self { width: image.width as u32, height: image.height as u32, rgba, pts_secs }
    }
}

impl Planes for Held {
    fn size(&self) -> [u32; 2] {
        [self.width, self.height]
    }

    fn layout(&self) -> PixelLayout {
        PixelLayout::Rgba8
    }

    fn color(&self) -> ColorInfo {
        ColorInfo { matrix: Matrix::Bt709, full_range: true, siting: ChromaSiting::Center }
    }

    fn planes(&self) -> Vec<Plane<'_>> {
        vec![Plane { data: &self.rgba, stride: self.width as usize * 4, width: self.width, height: self.height }]
    }

    fn pts_secs(&self) -> f64 {
        self.pts_secs
    }

    fn rotation_degrees(&self) -> u16 {
        0
    }

    fn pixel_aspect(&self) -> f64 {
        1.0
    }
}
