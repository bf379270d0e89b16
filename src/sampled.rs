//! What a model is given of a clip before any model's own preprocessing: sampled frames and 16 kHz sound.
//! `media` makes it, a family's processor reads it; knows nothing of either.

use crate::frame::RgbImage;

/// Sample rate of [`SampledAudio`], in hertz.
pub const SAMPLE_RATE: u32 = 16_000;

/// The sampled picture and sound of a clip. With both, the sound is the video's soundtrack (interleaved prompt).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SampledClip {
    /// The picture, when the clip has one.
    pub video: Option<SampledVideo>,
    /// The sound, when the clip has one.
    pub audio: Option<SampledAudio>,
}

/// Frames taken from a video, upright, square pixels, all of one size.
#[derive(Debug, Clone, PartialEq)]
pub struct SampledVideo {
    /// The frames in time order (a still is one frame).
    pub frames: Vec<RgbImage>,
    /// Presentation time of each frame in seconds from the container's start.
    pub pts_secs: Vec<f64>,
    /// The sampling rate that was ASKED for, in frames per second: TMRoPE's nominal time uses this one.
    pub fps: f64,
}

/// Mono sound at [`SAMPLE_RATE`].
#[derive(Debug, Clone, PartialEq)]
pub struct SampledAudio {
    /// Samples in −1…1.
    pub samples: Vec<f32>,
    /// Time of the first sample on the clip's axis, in seconds.
    pub start_secs: f64,
}

/// Fewest frames taken from a video that has as many.
const MIN_FRAMES: f64 = 4.0;
/// Most frames taken from a video.
const MAX_FRAMES: f64 = 768.0;

/// Which frames of a video with `total` frames at `video_fps` are taken when `fps` are asked for: an even number, at
/// least 4 and at most 768 where there are as many, spread evenly from the first frame to the last. Fewer than 2
/// frames are a still. Never more than `total` indices, never out of range, in order.
///
/// Source: the released helper package of Qwen2.5-Omni (`smart_nframes` and a rounded `torch.linspace`, in f32, which
/// decides the ties).
pub fn frame_indices(total: usize, video_fps: f64, fps: f64) -> Vec<usize> {
    if total < 2 {
        return (0..total).collect();
    }
    let asked = total as f64 / video_fps * fps;
    let count = if asked.is_finite() { asked.clamp(MIN_FRAMES, MAX_FRAMES) } else { MIN_FRAMES };
    let count = (count.min(total as f64) as usize / 2 * 2).max(2);
    // As torch does it: from the front in the first half, from the back in the second.
    let last = (total - 1) as f32;
    let step = last / (count - 1) as f32;
    let at = |i: usize| if i < count / 2 { step * i as f32 } else { last - step * (count - 1 - i) as f32 };
    (0..count).map(|i| (at(i).round_ties_even() as usize).min(total - 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::frame_indices;

    #[test]
    fn frames_are_spread_from_the_first_to_the_last() {
        // torch.linspace(0, total − 1, n).round(), with n by the reference's rule.
        assert_eq!(frame_indices(50, 25.0, 2.0), [0, 16, 33, 49]);
        assert_eq!(frame_indices(300, 30.0, 2.0).len(), 20);
        assert_eq!(frame_indices(299, 30_000.0 / 1001.0, 2.0).len(), 18);
        assert_eq!(frame_indices(3, 30.0, 2.0), [0, 2]);
        assert_eq!(frame_indices(2, 30.0, 2.0), [0, 1]);
        assert_eq!(frame_indices(1, 30.0, 2.0), [0]);
        assert!(frame_indices(0, 30.0, 2.0).is_empty());
        assert_eq!(frame_indices(1_000_000, 30.0, 2.0).len(), 768);
        assert_eq!(frame_indices(30, 30.0, 1000.0), (0..30).collect::<Vec<_>>());
    }

    #[test]
    fn no_input_leads_out_of_range() {
        for total in [1, 2, 5, 17, 769, 40_000_000] {
            for fps in [0.0, -1.0, 1e-9, 2.0, 1e30, f64::NAN, f64::INFINITY] {
                for video_fps in [0.0, 1e-9, 29.97, f64::NAN] {
                    let indices = frame_indices(total, video_fps, fps);
                    assert!(!indices.is_empty() && indices.iter().all(|i| *i < total));
                    assert!(indices.is_sorted());
                }
            }
        }
    }
}
