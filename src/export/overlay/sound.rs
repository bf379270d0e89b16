//! The sound of an overlay video: read twice, once for its outline and once into the encoder, so that no length of it is
//! ever held in memory. Knows nothing of pictures or maps.

use anyhow::Result;

use crate::clip::{AudioSource, ClipSpec};
use crate::gpu::strip::wave_columns;
use crate::media::{AudioChunk, AudioParams, MediaError, Soundtrack};
use crate::time::Span;

/// How the sound is written.
pub(super) const SOUND: AudioParams = AudioParams { rate: 48_000, channels: 2 };
/// Samples of an outline that are looked at together.
const OUTLINE_BLOCK: usize = 1 << 16;

/// A clip's sound from some time on, in order.
pub(super) struct Sound {
    track: Soundtrack,
    /// What was decoded and not taken yet, `[frames, 2]` interleaved.
    pending: Vec<f32>,
    /// The sample, counted from t = 0 of the clip, at which `pending` begins.
    at: i64,
    /// A chunk that begins after a gap longer than what was taken.
    ahead: Option<AudioChunk>,
}

fn sample_at(t_secs: f64) -> i64 {
    (t_secs * f64::from(SOUND.rate)).round() as i64
}

/// The clip's soundtrack; `None` for a clip that has none.
fn track(clip: &ClipSpec, cancel: &dyn Fn() -> bool) -> Result<Option<Soundtrack>> {
    match Soundtrack::open(clip, SOUND.rate, SOUND.channels, cancel) {
        Err(MediaError::NoAudio(_)) if matches!(clip.audio, AudioSource::Original { .. }) => Ok(None),
        opened => Ok(opened?),
    }
}

/// Where the sound ends, in seconds: as its file says, else as it turns out. `None` for silence, infinite for what has
/// no end of its own.
pub(super) fn end_secs(clip: &ClipSpec, cancel: &dyn Fn() -> bool) -> Result<Option<f64>> {
    let Some(mut track) = track(clip, cancel)? else { return Ok(None) };
    if let Some(end) = track.end_secs() {
        return Ok(Some(end));
    }
    if clip.audio.is_made_up() || clip.sound.repeat {
        return Ok(Some(f64::INFINITY));
    }
    let mut end = 0;
    while let Some(chunk) = track.next_chunk()? {
        stop_if(cancel)?;
        end = chunk.start + (chunk.samples.len() / SOUND.channels) as i64;
    }
    Ok(Some(end.max(0) as f64 / f64::from(SOUND.rate)))
}

pub(super) fn stop_if(cancel: &dyn Fn() -> bool) -> Result<(), MediaError> {
    if cancel() { Err(MediaError::Cancelled) } else { Ok(()) }
}

impl Sound {
    /// The sound from `start_secs` on; `None` for a clip without any.
    pub(super) fn open(clip: &ClipSpec, start_secs: f64, cancel: &dyn Fn() -> bool) -> Result<Option<Self>> {
        let Some(mut track) = track(clip, cancel)? else { return Ok(None) };
        track.seek(start_secs)?;
        Ok(Some(Self { track, pending: Vec::new(), at: sample_at(start_secs), ahead: None }))
    }

    /// Interleaved samples from where the last call ended up to `t_secs`; fewer at the end of the sound. Gaps are silent.
    pub(super) fn until(&mut self, t_secs: f64) -> Result<Vec<f32>> {
        let wanted = usize::try_from(sample_at(t_secs) - self.at).unwrap_or(0) * SOUND.channels;
        while self.pending.len() < wanted {
            let next = self.at + (self.pending.len() / SOUND.channels) as i64;
            let Some(mut chunk) = self.ahead.take().map_or_else(|| self.track.next_chunk(), |c| Ok(Some(c)))? else {
                break;
            };
            if chunk.start < next {
                let early = (next - chunk.start) as usize * SOUND.channels;
                chunk.samples.drain(..early.min(chunk.samples.len()));
                chunk.start = next;
            }
            let gap = (chunk.start - next) as usize * SOUND.channels;
            let room = wanted - self.pending.len();
            self.pending.resize(self.pending.len() + gap.min(room), 0.0);
            if gap > room {
                self.ahead = Some(chunk);
            } else {
                self.pending.append(&mut chunk.samples);
            }
        }
        let taken: Vec<f32> = self.pending.drain(..wanted.min(self.pending.len())).collect();
        self.at += (taken.len() / SOUND.channels) as i64;
        Ok(taken)
    }

    /// Lowest and highest sample per column, `[2, columns]`, of a clip's sound between the ends of `span`.
    pub(super) fn outline(
        clip: &ClipSpec,
        span: Span,
        columns: usize,
        cancel: &dyn Fn() -> bool,
    ) -> Result<Option<Vec<f32>>> {
        let Some(mut sound) = Self::open(clip, span.start_secs, cancel)? else { return Ok(None) };
        let rate = f64::from(SOUND.rate);
        let mut out = vec![0.0f32; 2 * columns];
        let mut from = span.start_secs;
        while from < span.end_secs {
            stop_if(cancel)?;
            let to = (from + OUTLINE_BLOCK as f64 / rate).min(span.end_secs);
            let start_secs = sound.at as f64 / rate;
            let block = sound.until(to)?;
            if block.is_empty() {
                break;
            }
            let mono: Vec<f32> = block.as_chunks::<2>().0.iter().map(|[l, r]| f32::midpoint(*l, *r)).collect();
            // A column can lie in two blocks.
            for (i, value) in wave_columns(&mono, start_secs, rate, span, columns).into_iter().enumerate() {
                out[i] = if i < columns { out[i].min(value) } else { out[i].max(value) };
            }
            from = to;
        }
        Ok(Some(out))
    }
}
