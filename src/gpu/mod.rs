//! Drawing with wgpu, in a window or without one: video planes, heat maps over them, lanes over time.
//! Knows nothing of layout, FFmpeg or models: planes and plain numbers in, pixels out. Only [`callback`] knows egui.

pub mod callback;
pub mod colormap;
pub mod headless;
pub mod overlay;
mod pipeline;
pub mod strip;
pub mod video;

pub use headless::Headless;
pub use overlay::{OverlayFrame, OverlayRenderer, OverlayStyle};
pub use strip::{StripFrame, StripRenderer};
pub use video::VideoRenderer;

/// The prefix of every shader.
pub const COMMON_WGSL: &str = include_str!("../../shaders/common.wgsl");
/// `shaders/video.wgsl`, without the prefix.
pub const VIDEO_WGSL: &str = include_str!("../../shaders/video.wgsl");
/// `shaders/overlay.wgsl`, without the prefix.
pub const OVERLAY_WGSL: &str = include_str!("../../shaders/overlay.wgsl");
/// `shaders/strip.wgsl`, without the prefix.
pub const STRIP_WGSL: &str = include_str!("../../shaders/strip.wgsl");

/// What can go wrong on the way to the GPU and back.
#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    /// No Vulkan, Metal, Direct3D or GL driver answered.
    #[error(
        "no graphics adapter found ({0}): install the graphics driver of this machine, or for software rendering \
         the packages libvulkan1 and mesa-vulkan-drivers"
    )]
    NoAdapter(String),
    /// The adapter refused a device.
    #[error("the graphics adapter {adapter} gave no device: {reason}")]
    NoDevice {
        /// The adapter's name.
        adapter: String,
        /// What wgpu said.
        reason: String,
    },
    /// A picture whose planes do not fit its layout.
    #[error("plane {plane} of a {width}×{height} picture is unusable: {reason}")]
    BadPlane {
        /// Which plane, from 0.
        plane: usize,
        /// Width of the picture in samples.
        width: u32,
        /// Height of the picture in samples.
        height: u32,
        /// What does not fit.
        reason: String,
    },
    /// The target is larger than the device can draw.
    #[error("a picture of {width}×{height} pixels is larger than this graphics device can draw ({limit} a side)")]
    TargetTooLarge {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// `max_texture_dimension_2d`.
        limit: u32,
    },
    /// The device was lost or did not answer.
    #[error("reading the picture back from the graphics device failed: {0}")]
    Readback(String),
}
