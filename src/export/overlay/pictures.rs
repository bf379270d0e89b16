//! The pictures of an overlay video: what a clip's frame edit makes of its file, by time. Knows nothing of maps or
//! encoders.

use std::path::Path;

use anyhow::{Context, Result};

use super::sound::stop_if;
use crate::clip::{AudioSource, ClipSpec, FrameEdit};
use crate::frame::{Planes, RgbaFrame, display_size};
use crate::media::{Slots, VideoFrame, VideoReader, glance, probe_unless};
use crate::settings::Sampling;

/// Two times closer than this are the same: containers round to milliseconds.
pub(super) const SAME_SECS: f64 = 2e-3;

/// The pictures of a clip as they are shown: what the frame edit makes of the file.
pub(super) enum Pictures {
    /// No picture.
    None,
    /// Frames of a file, in order.
    File { reader: Box<VideoReader>, shown: Box<dyn Planes>, next: Option<Box<dyn Planes>>, fps: f64 },
    /// One frame for all time.
    Same { frame: Box<dyn Planes>, fps: f64 },
    /// Frames that changed places, and the one shown.
    Slots { slots: Box<Slots>, shown: (usize, VideoFrame), fps: f64 },
}

impl Pictures {
    /// The pictures of `clip`, to be read from `start_secs` on (by default from the start of its used part).
    pub(super) fn open(
        clip: &ClipSpec,
        sampling: &Sampling,
        start_secs: Option<f64>,
        cancel: &dyn Fn() -> bool,
    ) -> Result<Self> {
        let Some(path) = &clip.video else { return Ok(Self::None) };
        let about = glance(path)?;
        let Some(video) = &about.video else { return Ok(Self::None) };
        let fps = video.fps.filter(|_| !about.still).unwrap_or(Self::STILL_FPS);
        if matches!(clip.frames, FrameEdit::Shuffle { .. } | FrameEdit::Reverse) {
            // What the model gets, in the order in which it gets it.
            let mut slots = Box::new(Slots::open(clip, sampling, cancel)?);
            let slot = start_secs.map_or(0, |from| slots.at(from + SAME_SECS));
            let first = slots.get(slot, cancel)?;
            stop_if(cancel)?;
            let shown = (slot, first.context("the clip has no frames")?);
            return Ok(Self::Slots { slots, shown, fps });
        }
        let mut reader = VideoReader::open(path)?;
        let first = if clip.frames == FrameEdit::Freeze {
            // The first frame of the used part, whichever part of it is drawn.
            reader.first_of(clip.start_secs.unwrap_or(0.0), clip.end_secs.unwrap_or(f64::INFINITY))?
        } else {
            if let Some(from) = start_secs.or(clip.start_secs) {
                reader.seek(from + SAME_SECS)?;
            }
            reader.next_frame()?
        };
        stop_if(cancel)?;
        let first = first.with_context(|| format!("no frame in the chosen part ({})", path.display()))?;
        let for_all_time: Box<dyn Planes> = match clip.frames {
            FrameEdit::Black => Box::new(RgbaFrame::black(display_size(&first), 0.0)),
            FrameEdit::Freeze => Box::new(first),
            _ => {
                let next = reader.next_frame()?.map(|f| Box::new(f) as _);
                return Ok(Self::File { reader: Box::new(reader), shown: Box::new(first), next, fps });
            }
        };
        Ok(Self::Same { frame: for_all_time, fps })
    }

    /// Frames per second where the pictures have none of their own: what a moving playhead needs.
    const STILL_FPS: f64 = 15.0;
    /// Slowest and fastest rate that is written.
    const FPS: [f64; 2] = [10.0, 120.0];

    pub(super) fn exist(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// Frame rate of the overlay video: the file's own.
    pub(super) fn fps(&self) -> (u32, u32) {
        match self {
            Self::File { fps, .. } | Self::Same { fps, .. } | Self::Slots { fps, .. } => {
                exact_rate(fps.clamp(Self::FPS[0], Self::FPS[1]))
            }
            Self::None => (Self::STILL_FPS as u32, 1),
        }
    }

    /// Size of the drawn picture: the clip's own as shown, made smaller only where it is beyond `most` pixels a side or
    /// in all.
    pub(super) fn size(&self, most: [u32; 2]) -> [u32; 2] {
        let natural = match self {
            Self::None => [SOUND_ALONE_WIDTH, 0],
            Self::File { shown, .. } => display_size(&**shown),
            Self::Same { frame, .. } => display_size(&**frame),
            Self::Slots { shown: (_, frame), .. } => display_size(frame),
        };
        let [w, h] = natural.map(f64::from);
        let [most_side, most_pixels] = most.map(f64::from);
        let shrink = (most_side / w.max(h)).min((most_pixels / (w * h).max(1.0)).sqrt()).min(1.0);
        if shrink < 1.0 { [w, h].map(|n| (n * shrink).floor() as u32) } else { natural }
    }

    /// The newest frame that is not later than `t_secs` (the first one before that), and the time it stands for.
    pub(super) fn at(&mut self, t_secs: f64) -> Result<Option<(&dyn Planes, f64)>> {
        let t_secs = t_secs + SAME_SECS;
        match self {
            Self::None => Ok(None),
            Self::Same { frame, .. } => Ok(Some((&**frame, t_secs))),
            Self::Slots { slots, shown, .. } => {
                let slot = slots.at(t_secs);
                if slot != shown.0
                    && let Some(frame) = slots.get(slot, &|| false)?
                {
                    *shown = (slot, frame);
                }
                Ok(Some((&shown.1, t_secs)))
            }
            Self::File { reader, shown, next, .. } => {
                while let Some(frame) = next.take_if(|f| f.pts_secs() <= t_secs) {
                    *shown = frame;
                    *next = reader.next_frame()?.map(|f| Box::new(f) as _);
                }
                let pts = shown.pts_secs();
                Ok(Some((&**shown, pts)))
            }
        }
    }
}

/// Whether a clip has pictures, and where they end, without decoding them where the file says it.
pub(super) enum Extent {
    /// There are none.
    None,
    /// One for as long as it is wanted: a still.
    Endless,
    /// A film that ends at this time, in seconds.
    Until(f64),
}

impl Extent {
    /// The extent of a clip's pictures.
    pub(super) fn of(clip: &ClipSpec, cancel: &dyn Fn() -> bool) -> Result<Self> {
        let Some(path) = &clip.video else { return Ok(Self::None) };
        let about = probe_unless(path, cancel)?;
        let Some(video) = &about.video else { return Ok(Self::None) };
        if about.still {
            return Ok(Self::Endless);
        }
        // Another sound is cut to the picture, not to what else the file has.
        let own = matches!(clip.audio, AudioSource::Original { .. });
        let end = if own { about.duration_secs } else { about.picture_secs };
        // Where the packets have no times either, the frames are counted.
        let end = match end {
            None => counted_end(path, video.fps, cancel)?,
            end => end,
        };
        Ok(end.map_or(Self::None, Self::Until))
    }
}

/// Where the frames of a file end whose packets do not say it.
fn counted_end(path: &Path, fps: Option<f64>, cancel: &dyn Fn() -> bool) -> Result<Option<f64>> {
    let mut reader = VideoReader::open(path)?;
    let mut last = None;
    while let Some(frame) = reader.next_frame()? {
        stop_if(cancel)?;
        last = Some(frame.pts_secs());
    }
    Ok(last.map(|last| last + 1.0 / fps.unwrap_or(25.0)))
}

/// Width of the video of a sound alone.
const SOUND_ALONE_WIDTH: u32 = 960;

/// A frame rate as the fraction it was meant to be: whole, of television (`30000/1001`), or else in thousandths.
fn exact_rate(fps: f64) -> (u32, u32) {
    let near = |x: f64| (x - x.round()).abs() < 2e-3;
    if near(fps) {
        (fps.round() as u32, 1)
    } else if near(fps * 1.001) {
        ((fps * 1.001).round() as u32 * 1_000, 1_001)
    } else {
        ((fps * 1_000.0).round() as u32, 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_rates_are_what_they_were_meant_to_be() {
        for (fps, rate) in [
            (25.0, (25, 1)),
            (30_000.0 / 1_001.0, (30_000, 1_001)),
            (29.97, (30_000, 1_001)),
            (23.976, (24_000, 1_001)),
            (59.94, (60_000, 1_001)),
            (12.5, (12_500, 1_000)),
        ] {
            assert_eq!(exact_rate(fps), rate, "{fps}");
        }
    }
}
