//! The sound of a clip on the clip's own axis: another file's, noise or silence, shifted, repeated and made louder as the clip
//! says. The one place that does so: what is heard, what the model is given and what is written into a video come
//! from here. Knows nothing of devices, models or pictures.

use std::path::{Path, PathBuf};

use super::audio::{AudioChunk, AudioReader};
use super::ending::Ends;
use super::error::MediaError;
use super::known::Known;
use crate::clip::{AudioSource, ClipSpec, SoundEdit};
use crate::sampled::SAMPLE_RATE;

/// Frames of noise made at a time.
const NOISE_FRAMES: usize = 4_096;
/// The longest sound that is repeated: it is decoded once to know its length.
const LONGEST_REPEATED_SECS: f64 = 3_600.0;

/// What is shifted or amplified further is beyond any clip, and beyond what can be counted in samples.
const MOST_OFFSET_SECS: f64 = 1e8;
const MOST_GAIN_DB: f64 = 200.0;

/// A clip's sound, read in order from wherever [`seek`](Self::seek) went.
pub struct Soundtrack {
    path: PathBuf,
    source: Source,
    rate: u32,
    channels: usize,
    offset_secs: f64,
    gain: Option<f32>,
    /// How long the file is, where the sound is all there is or the file does not say it.
    length_secs: Option<f64>,
    /// Where the newest samples of the file ended, and where the last of all did, for files that do not say.
    heard_secs: Option<f64>,
    found_secs: Option<f64>,
    /// Length of one round in seconds, for a sound that is repeated.
    period_secs: Option<f64>,
    round: u64,
    /// Whether this round gave anything so far, and rounds in a row that did not: two of them end it.
    gave: bool,
    barren: u8,
}

enum Source {
    File {
        reader: Box<AudioReader>,
        /// The file has one channel: it goes to all of ours as it is, at the level the model gets it.
        mono: bool,
    },
    /// Silence is noise of no amplitude.
    Noise { seed: u64, amplitude: f32, next: i64 },
}

impl Soundtrack {
    /// Opens the sound of a clip at `rate` with 1 or 2 channels; `None` for a clip without any. `cancel` is asked while
    /// the length of a sound is counted that is repeated or does not say it.
    ///
    /// # Errors
    /// When the file cannot be used, [`MediaError::NoAudio`] when it has no sound, [`MediaError::NoLength`] for noise
    /// without a picture or an end to fill.
    pub fn open(
        clip: &ClipSpec,
        rate: u32,
        channels: usize,
        cancel: &dyn Fn() -> bool,
    ) -> Result<Option<Self>, MediaError> {
        let of = |path: PathBuf, source, period_secs| {
            let mut sound = Self {
                path,
                source,
                rate: rate.max(1),
                channels,
                offset_secs: 0.0,
                gain: None,
                length_secs: None,
                heard_secs: None,
                found_secs: None,
                period_secs,
                round: 0,
                gave: false,
                barren: 0,
            };
            sound.set_edit(clip.sound);
            sound
        };
        let (path, track) = match (&clip.audio, &clip.video) {
            (AudioSource::None, _) | (AudioSource::Original { .. }, None) => return Ok(None),
            (made_up @ (AudioSource::Silence | AudioSource::Noise { .. }), video) => {
                let (seed, level_db) = match made_up {
                    AudioSource::Noise { seed, level_db } => (*seed, f64::from(*level_db)),
                    _ => (0, f64::NEG_INFINITY),
                };
                if video.is_none() && clip.end_secs.is_none() {
                    return Err(MediaError::NoLength);
                }
                // Evenly spread samples have a third of their peak's power.
                let amplitude = 3f64.sqrt() * 10f64.powf(level_db / 20.0);
                let source = Source::Noise { seed, amplitude: amplitude.min(1.0) as f32, next: 0 };
                return Ok(Some(of(video.clone().unwrap_or_default(), source, None)));
            }
            (AudioSource::Original { track }, Some(path)) | (AudioSource::File { path, track }, _) => (path, *track),
        };
        let mut reader = AudioReader::open(path, track, rate, channels)?;
        let mono = channels > 1 && reader.source_channels() == 1;
        if mono {
            reader = AudioReader::open(path, track, rate, 1)?;
        }
        // Without a picture or an end to fill, once is enough.
        let fills = clip.video.is_some() || clip.end_secs.is_some();
        let period_secs = if clip.sound.repeat && fills { Some(length_secs(path, track, cancel)?) } else { None };
        let period_secs = period_secs.filter(|p| *p > 0.0);
        let mut sound = of(path.clone(), Source::File { reader: Box::new(reader), mono }, period_secs);
        // The length of a film that does not say it is the picture's business.
        if clip.video.is_none() || (sound.end_secs().is_none() && clip.video.as_ref() != Some(path)) {
            sound.length_secs = Ends::counted(&mut super::source::Source::open(path)?, cancel)?.whole_secs;
        }
        Ok(Some(sound))
    }

    /// Changes how far the sound is shifted and how loud it is, from the next [`seek`](Self::seek) on. Whether it is
    /// repeated stays as it was opened.
    pub(super) fn set_edit(&mut self, SoundEdit { offset_secs, gain_db, repeat: _ }: SoundEdit) {
        self.offset_secs =
            if offset_secs.is_finite() { offset_secs.clamp(-MOST_OFFSET_SECS, MOST_OFFSET_SECS) } else { 0.0 };
        let gain_db = if gain_db.is_finite() { gain_db.clamp(-MOST_GAIN_DB, MOST_GAIN_DB) } else { 0.0 };
        self.gain = (gain_db != 0.0).then(|| 10f64.powf(gain_db / 20.0) as f32);
    }

    /// The file the sound comes from; for noise and silence, the picture's.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the sound ends on the clip's axis, in seconds; `None` when it has no end, or does not say it and has not been
    /// read to it.
    pub fn end_secs(&self) -> Option<f64> {
        match &self.source {
            Source::File { reader, .. } if self.period_secs.is_none() => {
                let length = self.length_secs.or_else(|| reader.duration_secs()).or(self.found_secs)?;
                Some((length + self.offset_secs).max(0.0))
            }
            _ => None,
        }
    }

    /// Goes to a time of the clip: the next chunk starts at the first sample that is not before it.
    ///
    /// # Errors
    /// When the file cannot be opened any more.
    pub fn seek(&mut self, t_secs: f64) -> Result<(), MediaError> {
        let rate = f64::from(self.rate);
        match &mut self.source {
            Source::Noise { next, .. } => *next = (t_secs.max(self.offset_secs) * rate).round() as i64,
            Source::File { reader, .. } => {
                let mut at = (t_secs - self.offset_secs).max(0.0);
                self.round = 0;
                if let Some(period) = self.period_secs {
                    let rounds = (at / period + 1e-9).floor();
                    self.round = rounds as u64;
                    at = (at - rounds * period).max(0.0);
                }
                (self.gave, self.barren, self.heard_secs) = (false, 0, None);
                reader.seek(at)?;
            }
        }
        Ok(())
    }

    /// The next run of samples on the clip's axis; `None` at the end. Noise and what is repeated have none.
    ///
    /// # Errors
    /// When nothing at all can be decoded.
    pub fn next_chunk(&mut self) -> Result<Option<AudioChunk>, MediaError> {
        let rate = f64::from(self.rate);
        let mut chunk = match &mut self.source {
            Source::Noise { seed, amplitude, next } => {
                let start = (*next).max((self.offset_secs * rate).ceil() as i64);
                let samples = (start..start + NOISE_FRAMES as i64)
                    .map(|n| noise(*seed, n as f64 / rate - self.offset_secs) * *amplitude)
                    .flat_map(|s| std::iter::repeat_n(s, self.channels))
                    .collect();
                *next = start + NOISE_FRAMES as i64;
                AudioChunk { start, samples }
            }
            Source::File { reader, mono } => loop {
                let Some(mut chunk) = reader.next_chunk()? else {
                    self.barren = if self.gave { 0 } else { self.barren + 1 };
                    if self.period_secs.is_none() || self.barren > 1 {
                        self.found_secs = self.found_secs.or(self.heard_secs);
                        return Ok(None);
                    }
                    self.round += 1;
                    self.gave = false;
                    reader.seek(0.0)?;
                    continue;
                };
                let ours = if *mono { 1 } else { self.channels };
                self.heard_secs = Some((chunk.start + (chunk.samples.len() / ours) as i64) as f64 / rate);
                let mut shift = self.offset_secs;
                if let Some(period) = self.period_secs {
                    // A round is what lies between its beginning and its end, to the sample.
                    let end =
                        ((self.round + 1) as f64 * period * rate).round() - (self.round as f64 * period * rate).round();
                    let before = (-chunk.start).max(0) as usize * ours;
                    chunk.samples.drain(..before.min(chunk.samples.len()));
                    chunk.start = chunk.start.max(0);
                    let room = (end as i64 - chunk.start).max(0) as usize * ours;
                    chunk.samples.truncate(room);
                    if chunk.samples.is_empty() {
                        continue;
                    }
                    self.gave = true;
                    shift += self.round as f64 * period;
                }
                chunk.start += (shift * rate).round() as i64;
                if *mono {
                    chunk.samples = chunk.samples.iter().flat_map(|s| std::iter::repeat_n(*s, self.channels)).collect();
                }
                break chunk;
            },
        };
        if let Some(gain) = self.gain {
            // As a device would clip it; the model gets it no other way.
            chunk.samples.iter_mut().for_each(|s| *s = (*s * gain).clamp(-1.0, 1.0));
        }
        Ok(Some(chunk))
    }
}

/// The lengths of tracks that were counted.
static LENGTHS: Known<(Option<usize>, f64)> = Known::new();

/// How long a file's sound is, counted at one rate whoever asks, in whole milliseconds, so that every rate repeats it at
/// the same times. Counted once while the file stays as it is.
fn length_secs(path: &Path, track: Option<usize>, cancel: &dyn Fn() -> bool) -> Result<f64, MediaError> {
    let count = || Ok((track, count_secs(path, track, cancel)?));
    LENGTHS.get_or(path, |(of, _)| *of == track, count).map(|(_, secs)| secs)
}

fn count_secs(path: &Path, track: Option<usize>, cancel: &dyn Fn() -> bool) -> Result<f64, MediaError> {
    let mut reader = AudioReader::open(path, track, SAMPLE_RATE, 1)?;
    let mut end = 0;
    while let Some(chunk) = reader.next_chunk()? {
        if cancel() {
            return Err(MediaError::Cancelled);
        }
        end = chunk.start + chunk.samples.len() as i64;
        if end as f64 > LONGEST_REPEATED_SECS * f64::from(SAMPLE_RATE) {
            break;
        }
    }
    Ok((end.max(0) / i64::from(SAMPLE_RATE / 1_000)) as f64 / 1_000.0)
}

/// Noise at a time of its own, in −1…1: white at the model's sample rate, straight lines between, so that a device plays
/// the very samples that a model gets.
fn noise(seed: u64, t_secs: f64) -> f32 {
    let at = t_secs * f64::from(SAMPLE_RATE);
    // Times that are a sample's own but for rounding are that sample's.
    let near = at.round();
    let (index, part) = if (at - near).abs() < 1e-6 { (near, 0.0) } else { (at.floor(), at - at.floor()) };
    let sample = |i: i64| {
        // SplitMix64 (Steele, Lea, Flood, 2014) over seed and index.
        let mut x =
            seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add((i as u64).wrapping_mul(0xbf58_476d_1ce4_e5b9));
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        (x >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let (a, b) = (sample(index as i64), sample(index as i64 + 1));
    a + (b - a) * part as f32
}
