//! A heat map over picture, sound and words. Knows nothing of attention: any per-token weight fits.

/// One weight per model token, laid out where the token comes from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HeatMap {
    /// Per video medium: `[steps, rows, cols]`, row-major.
    pub videos: Vec<Vec<f32>>,
    /// Per audio medium: `[tokens]`.
    pub audios: Vec<Vec<f32>>,
    /// Per sequence position: the weight of text and special tokens, 0 at media tokens.
    pub words: Vec<f32>,
}

impl HeatMap {
    /// The sum of all weights.
    pub fn total(&self) -> f64 {
        let media = self.videos.iter().chain(&self.audios).flatten();
        media.chain(&self.words).map(|w| f64::from(*w)).sum()
    }

    /// The largest cell of all videos, for a scale shared by every step; 0 when there is none.
    pub fn video_max(&self) -> f32 {
        self.videos.iter().flatten().copied().fold(0.0, f32::max)
    }

    /// The largest cell of all audio lines; 0 when there is none.
    pub fn audio_max(&self) -> f32 {
        self.audios.iter().flatten().copied().fold(0.0, f32::max)
    }
}
