//! The same pipelines inside an egui window: paint callbacks that hand frames, heat maps and lanes to egui's render
//! pass. Knows nothing of layout.

use std::sync::Arc;

use egui::{PaintCallbackInfo, Rect, Ui};
use egui_wgpu::{Callback, CallbackResources, CallbackTrait, RenderState, ScreenDescriptor};

use super::{OverlayFrame, OverlayRenderer, StripFrame, StripRenderer, VideoRenderer};
use crate::frame::Planes;

/// The player's pipelines and the frame they hold.
struct Player {
    video: VideoRenderer,
    overlay: OverlayRenderer,
    uploaded: Option<Arc<dyn Planes>>,
}

/// Lanes on screen: those of the time axis, and the log-mel of what the model saw.
pub const LANES: usize = 5;

/// The lanes' pipelines, by lane.
struct Lanes([StripRenderer; LANES]);

/// Compiles everything that is drawn in a window, so that no frame has to wait for it later.
pub fn prepare(state: &RenderState) {
    let (device, format) = (&state.device, state.target_format);
    let strip = StripRenderer::new(device, format);
    let lanes = Lanes(std::array::from_fn(|_| strip.another(device)));
    let player = Player {
        video: VideoRenderer::new(device, format),
        overlay: OverlayRenderer::new(device, format),
        uploaded: None,
    };
    let resources = &mut state.renderer.write().callback_resources;
    resources.insert(lanes);
    resources.insert(player);
}

/// One picture with its heat map.
struct Picture {
    frame: Arc<dyn Planes>,
    heat: Option<OverlayFrame>,
    pixels: [f32; 2],
}

/// One lane.
struct Lane {
    index: usize,
    frame: StripFrame,
    pixels_high: f32,
}

fn pixels(ui: &Ui, rect: Rect) -> [f32; 2] {
    let scale = ui.ctx().pixels_per_point();
    [rect.width() * scale, rect.height() * scale]
}

/// Draws a frame over `rect`, with its heat map. Nothing is drawn where [`prepare`] was not called.
pub fn picture(ui: &Ui, rect: Rect, frame: &Arc<dyn Planes>, heat: Option<OverlayFrame>) {
    let callback = Picture { frame: Arc::clone(frame), heat, pixels: pixels(ui, rect) };
    ui.painter().add(Callback::new_paint_callback(rect, callback));
}

/// Draws lane `index` (below [`LANES`]) over `rect`. Nothing is drawn where [`prepare`] was not called.
pub fn lane(ui: &Ui, rect: Rect, index: usize, frame: StripFrame) {
    let callback = Lane { index, frame, pixels_high: pixels(ui, rect)[1] };
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
        let strip = resources.get_mut::<Lanes>().and_then(|lanes| lanes.0.get_mut(self.index));
        let Some(strip) = strip else { return Vec::new() };
        strip.prepare(device, queue, &self.frame, self.pixels_high);
        Vec::new()
    }

    fn paint(&self, _: PaintCallbackInfo, pass: &mut wgpu::RenderPass<'static>, resources: &CallbackResources) {
        if let Some(strip) = resources.get::<Lanes>().and_then(|lanes| lanes.0.get(self.index)) {
            strip.draw(pass);
        }
    }
}
