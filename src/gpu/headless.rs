//! The same pipelines without a window: finds an adapter, draws one picture with or without its heat map and
//! reads it back. Knows nothing of files.

use std::sync::mpsc;
use std::time::Duration;

use super::{GpuError, OverlayFrame, OverlayRenderer, VideoRenderer};
use crate::frame::Planes;

/// Format of off-screen targets: what is read back is plain 8-bit RGBA.
pub const HEADLESS_FORMAT: wgpu::TextureFormat = wgpu::TextureFormat::Rgba8Unorm;

/// How long a picture may take to come back, also on a busy software renderer.
const READBACK_TIMEOUT: Duration = Duration::from_mins(1);

/// A graphics device without a window, with the pipelines made once.
pub struct Headless {
    device: wgpu::Device,
    queue: wgpu::Queue,
    adapter_name: String,
    video: VideoRenderer,
    overlay: OverlayRenderer,
}

impl Headless {
    /// Opens the best adapter there is (`WGPU_BACKEND` narrows the choice, as in the window).
    pub fn new() -> Result<Self, GpuError> {
        // GL last and only if need be: without a display its libraries complain on stderr while they are probed.
        let open = |backends: wgpu::Backends| {
            let mut wanted = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
            wanted.backends &= backends;
            let instance = wgpu::Instance::new(wanted);
            pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))
        };
        let adapter = open(wgpu::Backends::PRIMARY)
            .or_else(|_| open(wgpu::Backends::SECONDARY))
            .map_err(|e| GpuError::NoAdapter(e.to_string()))?;
        let info = adapter.get_info();
        let adapter_name = format!("{} ({})", info.name, info.backend);
        let limits = wgpu::Limits::downlevel_defaults().using_resolution(adapter.limits());
        let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("off screen"),
            required_limits: limits,
            ..Default::default()
        }))
        .map_err(|e| GpuError::NoDevice { adapter: adapter_name.clone(), reason: e.to_string() })?;
        let mut video = VideoRenderer::new(&device, HEADLESS_FORMAT);
        // What is written to a file is exact, whatever draws it.
        video.set_cubic_chroma(true);
        let overlay = OverlayRenderer::new(&device, HEADLESS_FORMAT);
        Ok(Self { device, queue, adapter_name, video, overlay })
    }

    /// Name and backend of the adapter.
    pub fn adapter_name(&self) -> &str {
        &self.adapter_name
    }

    /// The device, for further pipelines.
    pub fn device(&self) -> &wgpu::Device {
        &self.device
    }

    /// The device's queue.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.queue
    }

    /// Bicubic chroma (how it begins) or bilinear: see [`VideoRenderer::set_cubic_chroma`].
    pub fn set_cubic_chroma(&mut self, cubic: bool) {
        self.video.set_cubic_chroma(cubic);
    }

    /// Draws `frame` upright at `size` (width, height) with `heat` over it; returns `[height, width, 4]` bytes of
    /// RGBA, alpha 255. [`crate::frame::display_size`] is the natural size.
    pub fn render_rgba(
        &mut self,
        frame: &dyn Planes,
        heat: Option<&OverlayFrame>,
        size: [u32; 2],
    ) -> Result<Vec<u8>, GpuError> {
        self.check_size(size)?;
        let pixels = size.map(|n| n as f32);
        self.video.upload(&self.device, &self.queue, frame)?;
        self.video.prepare(&self.queue, pixels);
        self.overlay.prepare(&self.device, &self.queue, heat, pixels);
        draw_and_read(&self.device, &self.queue, size, |pass| {
            self.video.draw(pass);
            self.overlay.draw(pass);
        })
    }

    /// Draws whatever `draw` draws on black at `size`; returns `[height, width, 4]` bytes of RGBA.
    pub fn read_pass(&self, size: [u32; 2], draw: impl FnOnce(&mut wgpu::RenderPass<'_>)) -> Result<Vec<u8>, GpuError> {
        self.check_size(size)?;
        draw_and_read(&self.device, &self.queue, size, draw)
    }

    fn check_size(&self, [width, height]: [u32; 2]) -> Result<(), GpuError> {
        let limit = self.device.limits().max_texture_dimension_2d;
        if width == 0 || height == 0 || width > limit || height > limit {
            return Err(GpuError::TargetTooLarge { width, height, limit });
        }
        Ok(())
    }
}

fn draw_and_read(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    [width, height]: [u32; 2],
    draw: impl FnOnce(&mut wgpu::RenderPass<'_>),
) -> Result<Vec<u8>, GpuError> {
    let size = wgpu::Extent3d { width, height, depth_or_array_layers: 1 };
    let target = device.create_texture(&wgpu::TextureDescriptor {
        label: Some("off-screen target"),
        size,
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: HEADLESS_FORMAT,
        usage: wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::COPY_SRC,
        view_formats: &[],
    });
    let view = target.create_view(&wgpu::TextureViewDescriptor::default());
    let row = width * 4;
    let padded = row.next_multiple_of(wgpu::COPY_BYTES_PER_ROW_ALIGNMENT);
    let buffer = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("read back"),
        size: u64::from(padded) * u64::from(height),
        usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
        mapped_at_creation: false,
    });
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    {
        let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
            label: Some("off screen"),
            color_attachments: &[Some(wgpu::RenderPassColorAttachment {
                view: &view,
                depth_slice: None,
                resolve_target: None,
                ops: wgpu::Operations { load: wgpu::LoadOp::Clear(wgpu::Color::BLACK), store: wgpu::StoreOp::Store },
            })],
            ..Default::default()
        });
        draw(&mut pass);
    }
    encoder.copy_texture_to_buffer(
        target.as_image_copy(),
        wgpu::TexelCopyBufferInfo {
            buffer: &buffer,
            layout: wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(padded), rows_per_image: None },
        },
        size,
    );
    let submission = queue.submit([encoder.finish()]);
    let (done, mapped) = mpsc::channel();
    buffer.slice(..).map_async(wgpu::MapMode::Read, move |result| {
        // The receiver is only gone when the wait below has failed already.
        let _ = done.send(result);
    });
    device
        .poll(wgpu::PollType::Wait { submission_index: Some(submission), timeout: Some(READBACK_TIMEOUT) })
        .map_err(|e| GpuError::Readback(e.to_string()))?;
    mapped.recv().map_err(|e| GpuError::Readback(e.to_string()))?.map_err(|e| GpuError::Readback(e.to_string()))?;
    let bytes = buffer.slice(..).get_mapped_range().map_err(|e| GpuError::Readback(e.to_string()))?;
    // Row by row: byte by byte takes longer than drawing.
    let mut rgba = Vec::with_capacity(row as usize * height as usize);
    for padded_row in bytes.chunks(padded as usize) {
        rgba.extend_from_slice(&padded_row[..row as usize]);
    }
    Ok(rgba)
}
