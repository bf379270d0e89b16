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
}

/// Sorted weights of a map's cells, so that any quantile is at hand.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scales {
    video: Vec<f32>,
    audio: Vec<f32>,
}

impl Scales {
    /// Of all cells of a map.
    pub fn of(map: &HeatMap) -> Self {
        let sorted = |media: &[Vec<f32>]| {
            let mut all: Vec<f32> = media.iter().flatten().copied().collect();
            all.sort_unstable_by(f32::total_cmp);
            all
        };
        Self { video: sorted(&map.videos), audio: sorted(&map.audios) }
    }

    fn quantile(sorted: &[f32], q: f32) -> f32 {
        let last = sorted.len().saturating_sub(1);
        sorted.get((q.clamp(0.0, 1.0) * last as f32).round() as usize).copied().unwrap_or(0.0)
    }

    /// The video weight at quantile `q`; the largest one where that is 0.
    pub fn video(&self, q: f32) -> f32 {
        let at = Self::quantile(&self.video, q);
        if at > 0.0 { at } else { Self::quantile(&self.video, 1.0) }
    }

    /// The audio weight at quantile `q`; the largest one where that is 0.
    pub fn audio(&self, q: f32) -> f32 {
        let at = Self::quantile(&self.audio, q);
        if at > 0.0 { at } else { Self::quantile(&self.audio, 1.0) }
    }
}
