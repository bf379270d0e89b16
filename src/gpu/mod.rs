//! wgpu: video upload, overlay, strips and colour maps, with and without a window. Knows nothing of FFmpeg or models.
