//! What a model was fed of a clip: pictures and log-mel as the numbers that went into its towers have them, not as the
//! media files do. A family's processor reads it off its inputs; knows nothing of either.

use crate::frame::RgbImage;
use crate::provenance::Provenance;

/// The media of one prompt, in the order of [`Provenance::videos`](crate::provenance::Provenance::videos) and
/// [`audios`](crate::provenance::Provenance::audios).
///
/// It is as large as the model's positions allow: 32,768 tokens of two frames of 28 × 28 pixels are 154 MB.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fed {
    /// Videos and stills.
    pub videos: Vec<FedVideo>,
    /// Sounds.
    pub audios: Vec<FedAudio>,
}

impl Fed {
    /// What was fed, in numbers.
    pub fn summary(&self, provenance: &Provenance) -> String {
        let mut parts = Vec::new();
        for (video, grid) in self.videos.iter().zip(&provenance.videos) {
            let [width, height] = grid.resized;
            parts.push(format!(
                "{} of {width} × {height} pixels: {} of {} × {} tokens",
                plural(video.frames.len(), "frame"),
                plural(grid.steps.len(), "step"),
                grid.cols,
                grid.rows
            ));
        }
        for (audio, line) in self.audios.iter().zip(&provenance.audios) {
            let frames = plural(audio.frames(), "log-mel frame");
            parts.push(format!("{frames} of {} bins: {}", audio.bins, plural(line.tokens, "token")));
        }
        parts.join("; ")
    }
}

fn plural(n: usize, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}

/// A video or still as it was fed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FedVideo {
    /// The frames of every grid step in order, as many for each. A frame that fills a step up is there twice, as it was
    /// for the model.
    pub frames: Vec<RgbImage>,
    /// Frames per grid step.
    pub per_step: usize,
}

/// A sound as it was fed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FedAudio {
    /// `[bins, frames]` row-major; bin 0 is the lowest.
    pub log_mel: Vec<f32>,
    /// Mel bins.
    pub bins: usize,
    /// Seconds from one frame to the next.
    pub secs_per_frame: f64,
}

impl FedAudio {
    /// How many frames there are.
    pub fn frames(&self) -> usize {
        self.log_mel.len().checked_div(self.bins).unwrap_or(0)
    }

    /// `[frames, bins]`, its smallest value 0 and its largest 1: to be drawn.
    pub fn drawn(&self) -> Vec<f32> {
        let ([low, high], frames) = (self.range(), self.frames());
        let value = |frame: usize, bin: usize| (self.log_mel[bin * frames + frame] - low) / (high - low).max(1e-6);
        (0..frames).flat_map(|frame| (0..self.bins).map(move |bin| value(frame, bin))).collect()
    }

    /// The smallest and the largest value; 0 and 1 where there are none.
    fn range(&self) -> [f32; 2] {
        let finite = || self.log_mel.iter().copied().filter(|x| x.is_finite());
        match (finite().reduce(f32::min), finite().reduce(f32::max)) {
            (Some(low), Some(high)) => [low, high],
            _ => [0.0, 1.0],
        }
    }
}
