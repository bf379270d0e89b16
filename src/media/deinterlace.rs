//! Makes whole pictures of interlaced ones with FFmpeg's bwdif filter: one out for each one in, progressive ones
//! untouched. Knows nothing of files, times or seeking.

use std::collections::VecDeque;

use ffmpeg_next::format::Pixel;
use ffmpeg_next::{self as ffmpeg, filter, frame};

use super::raw;

/// A picture on its way through.
struct Pending {
    number: i64,
    ticks: i64,
    /// False for a picture that is only another one's neighbour.
    wanted: bool,
}

/// The filter, and which pictures are in it.
///
/// A picture's missing lines are made of the fields before and after it, so its two neighbours decide what it looks
/// like: whoever wants the same picture after a seek as before it must put the same neighbours in.
pub(crate) struct Deinterlacer {
    graph: filter::Graph,
    shape: (Pixel, u32, u32),
    pending: VecDeque<Pending>,
    count: i64,
}

impl Deinterlacer {
    /// A filter for pictures like this one.
    pub(crate) fn new(like: &frame::Video) -> Result<Self, ffmpeg::Error> {
        let shape = (like.format(), like.width(), like.height());
        let find = |name| filter::find(name).ok_or(ffmpeg::Error::FilterNotFound);
        let mut graph = filter::Graph::new();
        let format = ffmpeg::ffi::AVPixelFormat::from(shape.0) as i32;
        let source = format!("video_size={}x{}:pix_fmt={format}:time_base=1/1000:pixel_aspect=1/1", shape.1, shape.2);
        let mut source = graph.add(&find("buffer")?, "in", &source)?;
        let mut whole = graph.add(&find("bwdif")?, "whole", "mode=send_frame:parity=auto:deint=interlaced")?;
        let mut sink = graph.add(&find("buffersink")?, "out", "")?;
        source.link(0, &mut whole, 0);
        whole.link(0, &mut sink, 0);
        graph.validate()?;
        Ok(Self { graph, shape, pending: VecDeque::new(), count: 0 })
    }

    /// Whether pictures of this shape can go in.
    pub(crate) fn fits(&self, frame: &frame::Video) -> bool {
        self.shape == (frame.format(), frame.width(), frame.height())
    }

    /// Puts a picture in. One that is not `wanted` does not come out.
    pub(crate) fn push(&mut self, mut frame: frame::Video, ticks: i64, wanted: bool) -> Result<(), ffmpeg::Error> {
        let number = self.count;
        self.count += 1;
        frame.set_pts(Some(number));
        self.pending.push_back(Pending { number, ticks, wanted });
        let mut source = self.graph.get("in").ok_or(ffmpeg::Error::Bug)?;
        source.source().add(&frame)
    }

    /// Says that nothing follows: what is left comes out.
    pub(crate) fn finish(&mut self) {
        if let Some(mut source) = self.graph.get("in") {
            // A filter that cannot be closed gives nothing more, which `pull` then says.
            let _ = source.source().close(self.count);
        }
    }

    /// The next whole picture and its ticks; `None` when more has to go in first.
    pub(crate) fn pull(&mut self) -> Option<(frame::Video, i64)> {
        let mut sink = self.graph.get("out")?;
        loop {
            let mut out = frame::Video::empty();
            let mut sink = sink.sink();
            sink.frame(&mut out).ok()?;
            // The filter counts in a finer time base than it was given.
            let base = sink.time_base();
            let scale = 1000.0 * f64::from(base.numerator()) / f64::from(base.denominator().max(1));
            let number = raw::known(out.pts().unwrap_or(0)).map_or(0, |pts| (pts as f64 * scale).round() as i64);
            // The filter repeats a progressive first picture.
            while self.pending.front().is_some_and(|p| p.number < number) {
                self.pending.pop_front();
            }
            let Some(front) = self.pending.pop_front_if(|p| p.number == number) else { continue };
            if front.wanted {
                return Some((out, front.ticks));
            }
        }
    }
}
