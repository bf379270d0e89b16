//! Lanes over time through `shaders/strip.wgsl`: heat strips, waveforms and spectrograms, and the reduction of
//! long signals to at most one column per pixel. Knows nothing of sound or attention: any numbers over time fit.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

use super::STRIP_WGSL;
use super::colormap::{ColorMap, ColorPoints};
use super::pipeline::{DataTexture, Pipeline, Reads};
use crate::time::Span;

/// What a lane shows behind its heat.
#[derive(Debug, Clone, PartialEq)]
pub enum Background {
    /// Only the heat.
    Heat,
    /// `[2, columns]`: lowest, then highest sample per column, −1…1.
    Wave(Arc<[f32]>),
    /// `[rows, columns]` in 0…1, row 0 at the bottom.
    Image {
        /// Rows.
        rows: usize,
        /// The values.
        values: Arc<[f32]>,
    },
}

impl Background {
    /// Whether this is the very same allocation: comparing a spectrogram value by value would cost more than its upload.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Heat, Self::Heat) => true,
            (Self::Wave(a), Self::Wave(b)) => Arc::ptr_eq(a, b),
            (Self::Image { rows: r, values: a }, Self::Image { rows: s, values: b }) => r == s && Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// One lane, reduced to columns.
#[derive(Debug, Clone, PartialEq)]
pub struct StripFrame {
    /// Columns over the visible span.
    pub columns: usize,
    /// What is behind the heat.
    pub background: Background,
    /// `[columns]` weights; negative where there is no token. Empty = no heat.
    pub heat: Arc<[f32]>,
    /// The weight that takes the end of the colour map; 0 = no heat.
    pub scale: f32,
    /// Exponent on the scaled weight.
    pub gamma: f32,
    /// Strength of the heat, 0…1.
    pub opacity: f32,
    /// Colour map.
    pub map: ColorMap,
    /// Colour of empty ground, gamma-encoded RGB.
    pub ground: [f32; 3],
    /// Colour of the signal, gamma-encoded RGB.
    pub signal: [f32; 3],
}

/// The uniform of `shaders/strip.wgsl`; a test compares its layout with the shader's.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct StripUniform {
    /// Ground colour.
    pub ground: [f32; 4],
    /// Signal colour.
    pub signal: [f32; 4],
    /// Columns.
    pub columns: f32,
    /// Rows of the background.
    pub rows: f32,
    /// Weight at the end of the colour map.
    pub scale: f32,
    /// Exponent.
    pub gamma: f32,
    /// Strength of the heat.
    pub opacity: f32,
    /// Height in target pixels.
    pub pixels_high: f32,
    /// 0 heat, 1 waveform, 2 image.
    pub mode: u32,
    /// Keeps what follows where the shader has it.
    pub unused: u32,
    /// The colour map's points.
    pub colors: ColorPoints,
}

/// Spreads weights with time spans over `columns` columns of `view`: each column takes the largest weight that
/// touches it, so that a narrow peak never vanishes; −1 where no span reaches. Spans need not be sorted.
pub fn heat_columns(weights: &[f32], spans: impl Iterator<Item = Span>, view: Span, columns: usize) -> Vec<f32> {
    let mut out = vec![-1.0f32; columns];
    let per_column = view.duration_secs() / columns.max(1) as f64;
    if per_column <= 0.0 {
        return out;
    }
    for (weight, span) in weights.iter().zip(spans) {
        let first = ((span.start_secs - view.start_secs) / per_column).floor();
        // A span that ends inside a column's first half-pixel leaves that column to the next span.
        let after = ((span.end_secs - view.start_secs) / per_column).round().max(first + 1.0);
        if after <= 0.0 || first >= columns as f64 {
            continue;
        }
        for column in &mut out[first.max(0.0) as usize..(after as usize).min(columns)] {
            *column = column.max(*weight);
        }
    }
    out
}

/// Lowest and highest sample per column, `[2, columns]`, of a signal that starts at `start_secs` and has `rate`
/// values per second; silence (0, 0) outside it.
pub fn wave_columns(samples: &[f32], start_secs: f64, rate: f64, view: Span, columns: usize) -> Vec<f32> {
    let mut out = vec![0.0f32; 2 * columns];
    let per_column = view.duration_secs() / columns.max(1) as f64;
    for column in 0..columns {
        let t = view.start_secs + column as f64 * per_column - start_secs;
        let first = (t * rate).floor().max(0.0) as usize;
        let after = (((t + per_column) * rate).ceil().max(0.0) as usize).min(samples.len());
        if first < after {
            let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
            for s in &samples[first..after] {
                low = low.min(*s);
                high = high.max(*s);
            }
            out[column] = low;
            out[columns + column] = high;
        }
    }
    out
}

/// Columns of an image over time, `[rows, columns]`: the largest of each column's frames. `frames` is
/// `[count, rows]`, `rate` frames per second from `start_secs`.
pub fn image_columns(frames: &[f32], rows: usize, start_secs: f64, rate: f64, view: Span, columns: usize) -> Vec<f32> {
    let mut out = vec![0.0f32; rows * columns];
    let count = frames.len().checked_div(rows).unwrap_or(0);
    let per_column = view.duration_secs() / columns.max(1) as f64;
    for column in 0..columns {
        let t = view.start_secs + column as f64 * per_column - start_secs;
        if t + per_column <= 0.0 {
            continue;
        }
        let first = (t * rate).floor().max(0.0) as usize;
        let after = (((t + per_column) * rate).ceil().max(0.0) as usize).min(count);
        for frame in frames.chunks_exact(rows.max(1)).take(after).skip(first) {
            for (row, value) in frame.iter().enumerate() {
                let slot = &mut out[row * columns + column];
                *slot = slot.max(*value);
            }
        }
    }
    out
}

impl StripFrame {
    fn uniform(&self, pixels_high: f32) -> StripUniform {
        let (mode, rows) = match &self.background {
            Background::Heat => (0, 1),
            Background::Wave(_) => (1, 2),
            Background::Image { rows, .. } => (2, *rows),
        };
        let rgb = |[r, g, b]: [f32; 3]| [r, g, b, 1.0];
        StripUniform {
            ground: rgb(self.ground),
            signal: rgb(self.signal),
            columns: self.columns as f32,
            rows: rows as f32,
            scale: if self.heat.is_empty() { 0.0 } else { self.scale },
            gamma: self.gamma,
            opacity: self.opacity,
            pixels_high,
            mode,
            unused: 0,
            colors: self.map.points(),
        }
    }

    /// The twin of the fragment shader: the colour at `uv` (0…1, y down) of a lane `pixels_high` pixels tall.
    pub fn color(&self, uv: [f32; 2], pixels_high: f32) -> [f32; 3] {
        let column = ((uv[0] * self.columns as f32) as usize).min(self.columns.saturating_sub(1));
        let weight = self.heat.get(column).copied().unwrap_or(-1.0);
        let has_heat = weight >= 0.0 && self.scale > 0.0;
        let level = (weight / self.scale.max(1e-12)).clamp(0.0, 1.0).powf(self.gamma);
        let hot = self.map.rgb(level);
        let mix = |a: [f32; 3], b: [f32; 3], t: f32| std::array::from_fn(|c| a[c] * (1.0 - t) + b[c] * t);
        let heat = |color: [f32; 3], t: f32| if has_heat { mix(color, hot, t) } else { color };
        match &self.background {
            Background::Heat => heat(self.ground, self.opacity),
            Background::Wave(peaks) => {
                let half_pixel = 1.0 / pixels_high;
                let y = 1.0 - 2.0 * uv[1];
                if y >= peaks[column] - half_pixel && y <= peaks[self.columns + column] + half_pixel {
                    heat(self.signal, self.opacity * level)
                } else {
                    heat(self.ground, 0.30 * self.opacity * level)
                }
            }
            Background::Image { rows, values } => {
                let row = (((1.0 - uv[1]) * *rows as f32) as usize).min(rows.saturating_sub(1));
                let value = values[row * self.columns + column].clamp(0.0, 1.0);
                heat(mix(self.ground, self.signal, value), self.opacity * level * 0.7)
            }
        }
    }
}

/// Draws one lane; each lane on screen has its own.
pub struct StripRenderer {
    pipeline: Pipeline,
    background: Option<DataTexture>,
    heat: Option<DataTexture>,
    bind_group: Option<wgpu::BindGroup>,
    shown: Option<StripFrame>,
}

impl StripRenderer {
    /// Most columns a lane may have; wider windows stretch them.
    pub const MAX_COLUMNS: usize = 4096;

    /// Prepares the pipeline for targets of `format`.
    pub fn new(device: &wgpu::Device, format: wgpu::TextureFormat) -> Self {
        let pipeline = Pipeline::new(
            device,
            format,
            "strip",
            STRIP_WGSL,
            "show_strip",
            &[wgpu::TextureSampleType::Float { filterable: false }; 2],
            Reads::Texels,
            bytemuck::bytes_of(&StripUniform::zeroed()),
        );
        Self { pipeline, background: None, heat: None, bind_group: None, shown: None }
    }

    /// A renderer of another lane, which shares what was compiled.
    pub fn another(&self, device: &wgpu::Device) -> Self {
        let pipeline = self.pipeline.another(device, bytemuck::bytes_of(&StripUniform::zeroed()));
        Self { pipeline, background: None, heat: None, bind_group: None, shown: None }
    }

    /// Takes `frame` for a viewport `pixels_high` pixels tall; copies only what changed. A frame whose arrays do not
    /// fit its columns draws nothing.
    pub fn prepare(&mut self, device: &wgpu::Device, queue: &wgpu::Queue, frame: &StripFrame, pixels_high: f32) {
        const NOTHING: &[f32] = &[0.0];
        let (values, rows): (&[f32], usize) = match &frame.background {
            Background::Heat => (NOTHING, 1),
            Background::Wave(peaks) => (peaks, 2),
            Background::Image { rows, values } => (values, *rows),
        };
        let width = if frame.background == Background::Heat { 1 } else { frame.columns };
        let limit = device.limits().max_texture_dimension_2d as usize;
        let fits = frame.columns > 0
            && frame.columns <= limit
            && rows > 0
            && rows <= limit
            && values.len() == rows * width
            && (frame.heat.is_empty() || frame.heat.len() == frame.columns);
        if !fits {
            self.shown = None;
            return;
        }
        let format = wgpu::TextureFormat::R32Float;
        let new_background = DataTexture::ensure(&mut self.background, device, width as u32, rows as u32, format);
        let heat: &[f32] = if frame.heat.is_empty() { &[-1.0] } else { &frame.heat };
        let new_heat = DataTexture::ensure(&mut self.heat, device, heat.len() as u32, 1, format);
        if let (Some(background), Some(line)) = (&self.background, &self.heat) {
            if new_background || self.shown.as_ref().is_none_or(|s| !s.background.is_same(&frame.background)) {
                background.write(queue, bytemuck::cast_slice(values), width as u32 * 4);
            }
            if new_heat || self.shown.as_ref().is_none_or(|s| s.heat != frame.heat) {
                line.write(queue, bytemuck::cast_slice(heat), heat.len() as u32 * 4);
            }
            if new_background || new_heat || self.bind_group.is_none() {
                self.bind_group = Some(self.pipeline.bind(device, &[&background.view, &line.view]));
            }
        }
        queue.write_buffer(&self.pipeline.uniform, 0, bytemuck::bytes_of(&frame.uniform(pixels_high.max(1.0))));
        self.shown = Some(frame.clone());
    }

    /// Draws the lane over the whole viewport of `pass`.
    pub fn draw(&self, pass: &mut wgpu::RenderPass<'_>) {
        if let (Some(bind_group), true) = (&self.bind_group, self.shown.is_some()) {
            self.pipeline.draw(pass, bind_group);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_keep_every_peak() {
        let spans = (0..100).map(|i| Span::new(f64::from(i) * 0.04, f64::from(i + 1) * 0.04));
        let mut weights = vec![0.0; 100];
        weights[57] = 1.0;
        let columns = heat_columns(&weights, spans, Span::new(0.0, 4.0), 10);
        assert_eq!(columns.iter().position(|w| *w == 1.0), Some(5));
        assert!(columns.iter().all(|w| *w >= 0.0));
        let outside = heat_columns(&[1.0], std::iter::once(Span::new(9.0, 10.0)), Span::new(0.0, 4.0), 10);
        assert!(outside.iter().all(|w| *w < 0.0));
    }

    #[test]
    fn wave_and_image_columns_are_extremes_of_what_they_cover() {
        let samples = [0.1, -0.5, 0.9, 0.2];
        assert_eq!(wave_columns(&samples, 0.0, 2.0, Span::new(0.0, 2.0), 2), [-0.5, 0.2, 0.1, 0.9]);
        assert_eq!(wave_columns(&samples, 5.0, 2.0, Span::new(0.0, 2.0), 2), [0.0; 4]);
        let frames = [0.1, 0.2, 0.3, 0.4]; // two frames of two rows
        assert_eq!(image_columns(&frames, 2, 0.0, 1.0, Span::new(0.0, 2.0), 1), [0.3, 0.4]);
    }
}
