//! Small pictures of a video at given times, for a strip of them: a near key frame where that is close enough, else
//! the frame itself. Knows nothing of which times are wanted, and keeps none of what it gives.

use std::path::Path;

use super::error::MediaError;
use super::picture::{ToRgb, VideoFrame};
use super::reader::{EPSILON_SECS, VideoReader};
use crate::frame::{Hdr, Planes, RgbImage, display_size};

/// Ahead by less than this, decoding on is cheaper than seeking, whatever the distance of key frames.
const DECODE_ON_SECS: f64 = 0.6;

/// A small picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Thumbnail {
    /// The picture, upright and in square pixels, its colours as they are stored.
    pub image: RgbImage,
    /// Its own time, in seconds.
    pub pts_secs: f64,
    /// Whether it is the very frame shown at the time that was asked for.
    pub exact: bool,
    /// How its numbers become light, when its dynamic range is high.
    pub hdr: Option<Hdr>,
}

/// Reads small pictures of one file with a decoder of its own.
pub struct Thumbnails {
    reader: VideoReader,
    /// The newest frame at or before where reading is.
    last: Option<VideoFrame>,
    /// The one after it, where it was decoded already.
    next: Option<VideoFrame>,
    /// The longest way seen from a key frame to a wanted time.
    key_gap_secs: f64,
    to_rgb: ToRgb,
    size: [u32; 2],
}

impl Thumbnails {
    /// Most rows of a small picture.
    pub const MOST_ROWS: u32 = 72;
    /// Most pixels of its rows.
    pub const MOST_COLUMNS: u32 = 160;

    /// Opens a file's video stream.
    ///
    /// # Errors
    /// As for [`VideoReader::open`].
    pub fn open(path: &Path) -> Result<Self, MediaError> {
        let reader = VideoReader::open(path)?;
        Ok(Self { reader, last: None, next: None, key_gap_secs: 0.0, to_rgb: ToRgb::default(), size: [0; 2] })
    }

    /// How far key frames are apart, in seconds, as far as it was met: at least that.
    pub fn key_gap_secs(&self) -> f64 {
        self.key_gap_secs
    }

    /// The picture at `t_secs`, or an earlier one that is within `tolerance_secs` of it where that is quicker; at the end
    /// the last one. `None` once `stale` says so (it is asked after every frame), or where nothing decodes.
    ///
    /// # Errors
    /// When the file gives no pictures at all, or too large ones.
    pub fn near(
        &mut self,
        t_secs: f64,
        tolerance_secs: f64,
        stale: &dyn Fn() -> bool,
    ) -> Result<Option<Thumbnail>, MediaError> {
        let t_secs = t_secs + EPSILON_SECS;
        let on = self.last.as_ref().is_some_and(|last| {
            let ahead = t_secs - last.pts_secs();
            (0.0..(self.key_gap_secs / 2.0).max(DECODE_ON_SECS)).contains(&ahead)
        });
        if !on && !self.jump(t_secs, stale)? {
            return Ok(None);
        }
        let mut exact = false;
        while let Some(last) = &self.last {
            if (t_secs - last.pts_secs()).abs() <= tolerance_secs {
                break;
            }
            if stale() {
                return Ok(None);
            }
            let next = match self.next.take() {
                None => self.reader.next_frame()?,
                next => next,
            };
            match next {
                Some(next) if next.pts_secs() <= t_secs => self.last = Some(next),
                later => {
                    self.next = later;
                    exact = true;
                    break;
                }
            }
        }
        let Some(frame) = self.last.take() else { return Ok(None) };
        let image = self.shrink(&frame);
        let (pts_secs, hdr) = (frame.pts_secs(), frame.hdr());
        self.last = Some(frame);
        Ok(Some(Thumbnail { image: image?, pts_secs, exact, hdr }))
    }

    /// Goes to the key frame before a time. False when that was given up.
    fn jump(&mut self, t_secs: f64, stale: &dyn Fn() -> bool) -> Result<bool, MediaError> {
        (self.last, self.next) = (None, None);
        match self.reader.key_frame_before(t_secs) {
            Ok(Some(frame)) if frame.pts_secs() <= t_secs => {
                self.key_gap_secs = self.key_gap_secs.max(t_secs - frame.pts_secs());
                self.last = Some(frame);
                return Ok(true);
            }
            // From the middle that says nothing about the file.
            Ok(_) | Err(MediaError::NothingDecoded { .. }) => {}
            Err(e) => return Err(e),
        }
        if stale() || !self.reader.seek_unless(t_secs, stale)? {
            return Ok(false);
        }
        self.last = self.reader.next_frame()?;
        Ok(true)
    }

    fn shrink(&mut self, frame: &VideoFrame) -> Result<RgbImage, MediaError> {
        let [w, h] = display_size(frame).map(f64::from);
        let scale = (f64::from(Self::MOST_COLUMNS) / w).min(f64::from(Self::MOST_ROWS) / h).min(1.0);
        let size = [w, h].map(|side| ((side * scale).round() as u32).max(1));
        if size != self.size {
            self.size = size;
            self.to_rgb = ToRgb::sized(size);
        }
        self.to_rgb.convert(frame)
    }
}
