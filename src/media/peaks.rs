//! The outline of a soundtrack, for drawing a waveform: lowest and highest sample per hundredth of a second.
//! Knows nothing of how it is drawn.

use super::error::MediaError;
use super::soundtrack::Soundtrack;
use crate::clip::{AudioSource, ClipSpec};
use crate::time::Span;

/// Rate at which the outline is taken, in hertz.
const RATE: u32 = 16_000;
/// Samples per stored pair: a hundredth of a second.
const PER_PAIR: usize = 160;
/// Pairs kept: ten hours (29 MB); what is beyond is not drawn.
const MOST_PAIRS: usize = 3_600_000;

/// Pairs after which a growing outline is shown: five minutes.
const GROWN_PAIRS: usize = 30_000;

/// Lowest and highest sample of every hundredth of a second of a soundtrack, mixed to mono.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Peaks {
    pairs: Vec<[f32; 2]>,
}

impl Peaks {
    /// Rate of the samples that are looked at, in hertz.
    pub const RATE: u32 = RATE;
    /// Seconds per stored pair.
    pub const STEP_SECS: f64 = PER_PAIR as f64 / RATE as f64;

    /// Reads the soundtrack a clip is heard with; `None` for a clip without sound. Takes as long as decoding does, so
    /// it belongs on a thread of its own; `cancel` is asked after every piece.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn of(clip: &ClipSpec, cancel: &dyn Fn() -> bool) -> Result<Option<Self>, MediaError> {
        Self::of_with(clip, cancel, &mut |_, _| {}, &mut |_| {})
    }

    /// [`of`](Self::of), with what is there so far handed to `grown` after every few minutes of sound, and the samples
    /// themselves, as they come, to `heard`: the number of the first one since t = 0, at [`RATE`](Self::RATE), mono.
    ///
    /// # Errors
    /// As for [`of`](Self::of).
    pub fn of_with(
        clip: &ClipSpec,
        cancel: &dyn Fn() -> bool,
        heard: &mut dyn FnMut(usize, &[f32]),
        grown: &mut dyn FnMut(&Self),
    ) -> Result<Option<Self>, MediaError> {
        let opened = Soundtrack::open(clip, RATE, 1, cancel);
        let mut reader = match opened {
            Err(MediaError::NoAudio(_)) if matches!(clip.audio, AudioSource::Original { .. }) => return Ok(None),
            opened => match opened? {
                None => return Ok(None),
                Some(sound) => sound,
            },
        };
        // Noise, and what is repeated, end where the clip does.
        let end = clip.end_secs.map_or(i64::MAX, |t| (t.clamp(0.0, 1e9) * f64::from(RATE)) as i64);
        let mut told = GROWN_PAIRS;
        let mut peaks = Self::default();
        while let Some(chunk) = reader.next_chunk()? {
            if cancel() {
                return Err(MediaError::Cancelled);
            }
            if chunk.start >= end {
                break;
            }
            let room = usize::try_from(end - chunk.start).unwrap_or(0).min(chunk.samples.len());
            // What lies before t = 0 is not heard.
            let early = usize::try_from(-chunk.start).unwrap_or(0).min(room);
            let samples = &chunk.samples[early..room];
            let start = usize::try_from(chunk.start).unwrap_or(0);
            heard(start, samples);
            for (i, sample) in samples.iter().enumerate() {
                let at = (start + i) / PER_PAIR;
                if at >= MOST_PAIRS {
                    return Ok(Some(peaks));
                }
                let pairs = &mut peaks.pairs;
                if at >= pairs.len() {
                    pairs.resize(at + 1, [f32::INFINITY, f32::NEG_INFINITY]);
                }
                let [low, high] = &mut pairs[at];
                *low = low.min(*sample);
                *high = high.max(*sample);
            }
            if peaks.pairs.len() >= told {
                told += GROWN_PAIRS;
                grown(&peaks);
            }
        }
        Ok(Some(peaks))
    }

    /// The pairs, one per [`STEP_SECS`](Self::STEP_SECS) from t = 0; infinities where there was no sample.
    pub fn pairs(&self) -> &[[f32; 2]] {
        &self.pairs
    }

    /// Where the sound ends, in seconds.
    pub fn end_secs(&self) -> f64 {
        self.pairs.len() as f64 * Self::STEP_SECS
    }

    /// Lowest and highest sample in each of `buckets` equal parts of a span; 0 and 0 where there is no sound.
    pub fn buckets(&self, span: Span, buckets: usize) -> Vec<[f32; 2]> {
        let step = span.duration_secs() / buckets.max(1) as f64;
        let index = |secs: f64| ((secs / Self::STEP_SECS).max(0.0)) as usize;
        (0..buckets)
            .map(|b| {
                let from = span.start_secs + b as f64 * step;
                if from + step <= 0.0 {
                    return [0.0; 2];
                }
                let (first, end) = (index(from), index(from + step).max(index(from) + 1));
                let part = self.pairs.get(first..end.min(self.pairs.len())).unwrap_or_default();
                let widen = |[l, h]: [f32; 2], p: &[f32; 2]| [l.min(p[0]), h.max(p[1])];
                let [low, high] = part.iter().fold([f32::INFINITY, f32::NEG_INFINITY], widen);
                if low <= high { [low, high] } else { [0.0; 2] }
            })
            .collect()
    }
}

/// The outline of a clip's whole sound in `buckets` parts: [`Peaks::of`] and [`Peaks::buckets`] in one call.
///
/// # Errors
/// As for [`Peaks::of`].
pub fn waveform(
    clip: &ClipSpec,
    buckets: usize,
    cancel: &dyn Fn() -> bool,
) -> Result<Option<Vec<[f32; 2]>>, MediaError> {
    let peaks = Peaks::of(clip, cancel)?;
    Ok(peaks.map(|p| p.buckets(Span::new(0.0, p.end_secs()), buckets)))
}
