//! The same pipelines inside an egui window: paint callbacks that hand frames, heat maps and lanes to egui's render
//! pass. Knows nothing of layout.

use std::collections::HashMap;
use std::sync::Arc;

use egui::{PaintCallbackInfo, Rect, Ui};
use egui_wgpu::{Callback, CallbackResources, CallbackTrait, ScreenDescriptor};

use super::{OverlayFrame, OverlayRenderer, StripFrame, StripRenderer, TargetFormat, VideoRenderer};
use crate::frame::Planes;

/// The player's pipelines and the frame they hold.
struct Player {
    video: VideoRenderer,
    overlay: OverlayRenderer,
    uploaded: Option<Arc<dyn Planes>>,
}

/// The lanes' pipelines, by lane.
#[derive(Default)]
struct Lanes(HashMap<u32, StripRenderer>);

/// One picture with its heat map.
struct Picture {
    frame: Arc<dyn Planes>,
    heat: Option<OverlayFrame>,
    pixels: [f32; 2],
    format: TargetFormat,
}

/// One lane.
struct Lane {
    index: u32,
    frame: StripFrame,
    pixels_high: f32,
    format: TargetFormat,
}

fn pixels(ui: &Ui, rect: Rect) -> [f32; 2] {
    let scale = ui.ctx().pixels_per_point();
    [rect.width() * scale, rect.height() * scale]
}

/// Draws a frame over `rect`, with its heat map.
pub fn picture(ui: &Ui, rect: Rect, format: TargetFormat, frame: &Arc<dyn Planes>, heat: Option<OverlayFrame>) {
    let callback = Picture { frame: Arc::clone(frame), heat, pixels: pixels(ui, rect), format };
    ui.painter().add(Callback::new_paint_callback(rect, callback));
}

/// Draws lane `index` over `rect`.
pub fn lane(ui: &Ui, rect: Rect, format: TargetFormat, index: u32, frame: StripFrame) {
    let callback = Lane { index, frame, pixels_high: pixels(ui, rect)[1], format };
    ui.painter().add(Callback::new_paint_callback(rect, callback));
}

impl CallbackTrait for Picture {
    fn prepare(
        &self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        _screen: &ScreenDescriptor,
        _encoder: &mut wgpu::CommandEncoder,
        resources: &mut CallbackResources,
    ) -> Vec<wgpu::CommandBuffer> {
        if !resources.contains::<Player>() {
            resources.insert(Player {
                video: VideoRenderer::new(device, self.format),
                overlay: OverlayRenderer::new(device, self.format),
                uploaded: None,
            });
        }
        let Some(player) = resources.get_mut::<Player>() else { return Vec::new() };
        // The same frame is drawn many times when the window repaints more often than the video.
        if !player.uploaded.as_ref().is_some_and(|f| Arc::ptr_eq(f, &self.frame)) {
            if let Err(e) = player.video.upload(device, queue, &*self.frame) {
                log::warn!("a frame cannot be shown: {e}");
            }
            player.uploaded = Some(Arc::clone(&self.frame));
        }
        player.video.prepare(queue, self.pixels);
        player.overlay.prepare(device, queue, self.heat.as_ref(), self.pixels);
        Vec::new()
    }

    fn paint(&self, _: PaintCallbackInfo, pass: &mut wgpu::RenderPass<'static>, resources: &CallbackResources) {
        if let Some(player) = resources.get::<Player>() {
            player.video.draw(pass);
            player.overlay.draw(pass);
        }
    }
}

impl CallbackTrait for Lane {
    fn prepare(
        &self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        _screen: &ScreenDescriptor,
        _encoder: &mut wgpu::CommandEncoder,
        resources: &mut CallbackResources,
    ) -> Vec<wgpu::CommandBuffer> {
        if !resources.contains::<Lanes>() {
            resources.insert(Lanes::default());
        }
        let Some(lanes) = resources.get_mut::<Lanes>() else { return Vec::new() };
        let strip = lanes.0.entry(self.index).or_insert_with(|| StripRenderer::new(device, self.format));
        strip.prepare(device, queue, &self.frame, self.pixels_high);
        Vec::new()
    }

    fn paint(&self, _: PaintCallbackInfo, pass: &mut wgpu::RenderPass<'static>, resources: &CallbackResources) {
        if let Some(strip) = resources.get::<Lanes>().and_then(|lanes| lanes.0.get(&self.index)) {
            strip.draw(pass);
        }
    }
}
