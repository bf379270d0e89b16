//! A heat map over the picture through `shaders/overlay.wgsl`, and the same arithmetic in plain Rust.
//! Knows nothing of attention: any weight per cell fits.

use bytemuck::{Pod, Zeroable};

use super::OVERLAY_WGSL;
use super::colormap::{ColorMap, ColorPoints};
use super::pipeline::{DataTexture, Pipeline, Reads};

/// How a heat map is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OverlayStyle {
    /// Colour map.
    pub map: ColorMap,
    /// Opacity of the strongest cell, 0…1.
    pub opacity: f32,
    /// The part of `opacity` that a cell of weight zero keeps, 0…1.
    pub floor: f32,
    /// Exponent on the scaled weight; below 1 lifts weak cells.
    pub gamma: f32,
    /// Bilinear between cell centres instead of true cells. It suggests a precision the model does not have.
    pub smooth: bool,
    /// Lines between cells.
    pub lines: bool,
    /// Lines at a quarter, half and three quarters of the scale.
    pub contour: bool,
}

impl Default for OverlayStyle {
    fn default() -> Self {
        Self {
            map: ColorMap::default(),
            opacity: 0.75,
            floor: 0.35,
            gamma: 1.0,
            smooth: false,
            lines: false,
            contour: false,
        }
    }
}

/// One picture's heat map with its scale and style.
#[derive(Debug, Clone, PartialEq)]
pub struct OverlayFrame {
    /// Rows of the token grid.
    pub rows: usize,
    /// Columns of the token grid.
    pub cols: usize,
    /// `[rows, cols]`, row-major.
    pub weights: Vec<f32>,
    /// The weight that takes the end of the colour map; 0 draws nothing.
    pub scale: f32,
    /// How it is drawn.
    pub style: OverlayStyle,
}

/// The uniform of `shaders/overlay.wgsl`; a test compares its layout with the shader's.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct OverlayUniform {
    /// Columns and rows.
    pub grid: [f32; 2],
    /// Target pixels.
    pub pixels: [f32; 2],
    /// Weight at the end of the colour map.
    pub scale: f32,
    /// Exponent.
    pub gamma: f32,
    /// Opacity of the strongest cell.
    pub opacity: f32,
    /// Part of it kept at weight zero.
    pub floor: f32,
    /// Keeps what follows where the shader has it.
    pub unused: u32,
    /// 1 = bilinear.
    pub interpolate: u32,
    /// 1 = cell borders.
    pub lines: u32,
    /// 1 = contour lines.
    pub contour: u32,
    /// The colour map's points.
    pub colors: ColorPoints,
}

impl OverlayFrame {
    /// The uniform for a viewport of `pixels`.
    fn uniform(&self, pixels: [f32; 2]) -> OverlayUniform {
        OverlayUniform {
            grid: [self.cols as f32, self.rows as f32],
            pixels: pixels.map(|n| n.max(1.0)),
            scale: self.scale,
            gamma: self.style.gamma,
            opacity: self.style.opacity,
            floor: self.style.floor,
            unused: 0,
            interpolate: u32::from(self.style.smooth),
            lines: u32::from(self.style.lines),
            contour: u32::from(self.style.contour),
            colors: self.style.map.points(),
        }
    }

    fn cell(&self, col: f32, row: f32) -> f32 {
        let clamp = |x: f32, n: usize| (x as i64).clamp(0, n as i64 - 1) as usize;
        self.weights[clamp(row, self.rows) * self.cols + clamp(col, self.cols)]
    }

    fn smooth_weight(&self, at: [f32; 2]) -> f32 {
        let p = at.map(|x| x - 0.5);
        let base = p.map(f32::floor);
        let f = [p[0] - base[0], p[1] - base[1]];
        let mix = |a: f32, b: f32, t: f32| a * (1.0 - t) + b * t;
        let row = |r: f32| mix(self.cell(base[0], r), self.cell(base[0] + 1.0, r), f[0]);
        mix(row(base[1]), row(base[1] + 1.0), f[1])
    }

    /// The position on the colour map (0…1) of a weight.
    pub fn level(&self, weight: f32) -> f32 {
        (weight / self.scale.max(1e-12)).clamp(0.0, 1.0).powf(self.style.gamma)
    }

    /// The colour that a weight is drawn in, gamma-encoded RGB, and its opacity.
    pub fn tint(&self, weight: f32) -> ([f32; 3], f32) {
        let level = self.level(weight);
        (self.style.map.rgb(level), self.style.opacity * (self.style.floor * (1.0 - level) + level))
    }

    /// The twin of the fragment shader: what the pixel at `uv` (0…1, y down) of a `pixels`-sized target becomes,
    /// given the gamma-encoded RGB `under` it.
    pub fn blend(&self, uv: [f32; 2], pixels: [f32; 2], under: [f32; 3]) -> [f32; 3] {
        if self.scale <= 0.0 || self.weights.is_empty() {
            return under;
        }
        let grid = [self.cols as f32, self.rows as f32];
        let at = [uv[0] * grid[0], uv[1] * grid[1]];
        let weight = if self.style.smooth { self.smooth_weight(at) } else { self.cell(at[0].floor(), at[1].floor()) };
        let (mut color, mut alpha) = self.tint(weight);
        let pixel = [grid[0] / pixels[0], grid[1] / pixels[1]];
        if self.style.lines && (0..2).any(|i| (at[i] - 0.5 * pixel[i]).floor() != (at[i] + 0.5 * pixel[i]).floor()) {
            color = [1.0; 3];
            alpha = 0.25;
        }
        if self.style.contour {
            let quarter = |x: f32, y: f32| (4.0 * self.level(self.smooth_weight([x, y]))).floor();
            let [dx, dy] = pixel.map(|p| 0.75 * p);
            if quarter(at[0] - dx, at[1]) != quarter(at[0] + dx, at[1])
                || quarter(at[0], at[1] - dy) != quarter(at[0], at[1] + dy)
            {
                color = [1.0; 3];
                alpha = 0.9;
            }
        }
        std::array::from_fn(|c| under[c] * (1.0 - alpha) + color[c].clamp(0.0, 1.0) * alpha)
    }
}

/// Draws the newest heat map.
pub struct OverlayRenderer {
    pipeline: Pipeline,
    cells: Option<DataTexture>,
    bind_group: Option<wgpu::BindGroup>,
    shown: Option<OverlayFrame>,
}

impl OverlayRenderer {
    /// Prepares the pipeline for targets of `format`.
    pub fn new(device: &wgpu::Device, format: wgpu::TextureFormat) -> Self {
        let pipeline = Pipeline::new(
            device,
            format,
            "overlay",
            OVERLAY_WGSL,
            "show_overlay",
            &[wgpu::TextureSampleType::Float { filterable: false }],
            Reads::Texels,
            bytemuck::bytes_of(&OverlayUniform::zeroed()),
        );
        Self { pipeline, cells: None, bind_group: None, shown: None }
    }

    /// Takes `frame` (or nothing) for a viewport of `pixels`; copies cells only when they changed.
    pub fn prepare(
        &mut self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        frame: Option<&OverlayFrame>,
        pixels: [f32; 2],
    ) {
        let limit = device.limits().max_texture_dimension_2d as usize;
        let Some(frame) = frame.filter(|f| {
            f.rows > 0 && f.cols > 0 && f.rows <= limit && f.cols <= limit && f.weights.len() == f.rows * f.cols
        }) else {
            self.shown = None;
            return;
        };
        let (w, h) = (frame.cols as u32, frame.rows as u32);
        let renewed = DataTexture::ensure(&mut self.cells, device, w, h, wgpu::TextureFormat::R32Float);
        if let Some(cells) = &self.cells {
            if renewed || self.bind_group.is_none() {
                self.bind_group = Some(self.pipeline.bind(device, &[&cells.view]));
            }
            if renewed || self.shown.as_ref().is_none_or(|s| s.weights != frame.weights) {
                cells.write(queue, bytemuck::cast_slice(&frame.weights), w * 4);
            }
        }
        queue.write_buffer(&self.pipeline.uniform, 0, bytemuck::bytes_of(&frame.uniform(pixels)));
        self.shown = Some(frame.clone());
    }

    /// Blends the map over the whole viewport of `pass`.
    pub fn draw(&self, pass: &mut wgpu::RenderPass<'_>) {
        if let (Some(bind_group), true) = (&self.bind_group, self.shown.is_some()) {
            self.pipeline.draw(pass, bind_group);
        }
    }
}
