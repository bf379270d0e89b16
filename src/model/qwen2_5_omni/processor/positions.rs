//! TMRoPE positions of a prompt from its ids and grids, by the model's own rule.
//! Knows nothing of text or media.

use crate::model::qwen2_5_omni::config::{Config, audio_tokens};

/// What surrounds the ids when positions are computed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Media<'a> {
    /// Grids (t, h, w in patches) of the stills in order.
    pub images: &'a [[usize; 3]],
    /// Grids of the videos in order.
    pub videos: &'a [[usize; 3]],
    /// Seconds per grid step of each video.
    pub second_per_grid: &'a [f64],
    /// Valid mel frames of each sound.
    pub audio_frames: &'a [usize],
    /// Whether every video carries its sound interleaved.
    pub audio_in_video: bool,
}

/// Splits times (in position ids) into chunks: at each token at most one boundary, so a step longer than a chunk
/// gives chunks of one token.
pub fn chunks(times: impl Iterator<Item = f64>, per_chunk: f64) -> Vec<std::ops::Range<usize>> {
    let (mut out, mut start, mut chunk, mut n) = (Vec::new(), 0, 1.0, 0);
    for (i, t) in times.enumerate() {
        if t >= chunk * per_chunk {
            out.push(start..i);
            start = i;
            chunk += 1.0;
        }
        n = i + 1;
    }
    out.push(start..n);
    out
}

/// A row of positions (t, h, w) under construction.
struct Row {
    axes: [Vec<u32>; 3],
    /// Largest position of the last piece appended.
    last: Option<u32>,
}

impl Row {
    /// Where the next piece starts: behind the LAST piece appended, which need not hold the largest position.
    fn next(&self) -> u32 {
        self.last.map_or(0, |m| m + 1)
    }

    fn push(&mut self, pieces: impl Iterator<Item = [u32; 3]>) {
        let mut max = None;
        for piece in pieces {
            for (axis, p) in self.axes.iter_mut().zip(piece) {
                axis.push(p);
                max = max.max(Some(p));
            }
        }
        if max.is_some() {
            self.last = max;
        }
    }

    fn text(&mut self, n: usize) {
        let start = self.next();
        self.push((0..n as u32).map(|i| [start + i; 3]));
    }
}

/// Positions stay below this: far beyond any model's, and nothing that is added to one overflows.
const MOST: u32 = 1 << 30;

/// Temporal positions of the grid steps of a video, relative to its start; a still takes one second per step.
///
/// The reference multiplies in f32 and truncates; near whole numbers only the same arithmetic agrees. Errors where a
/// position is no number that a prompt can have.
pub fn step_times(steps: usize, second_per_grid: f64, per_second: f64) -> Result<Vec<u32>, String> {
    let time = |i: usize| {
        let time = i as f32 * second_per_grid as f32 * per_second as f32;
        // Infinities and NaN are out of the range as well.
        if (0.0..MOST as f32).contains(&time) {
            Ok(time as u32)
        } else {
            Err(format!("{second_per_grid} seconds per grid step put step {i} of a picture at position {time}"))
        }
    };
    (0..steps).map(time).collect()
}

/// Positions t, h, w of every id and the position of the first generated token.
///
/// Source: `get_rope_index` of the reference. Text and audio alone use 0…N−1. Errors name what does not fit.
pub fn rope_positions(config: &Config, ids: &[u32], media: &Media<'_>) -> Result<([Vec<u32>; 3], u32), String> {
    let n = ids.len();
    if media.images.is_empty() && media.videos.is_empty() {
        let line: Vec<u32> = (0..n as u32).collect();
        return Ok(([line.clone(), line.clone(), line], n as u32));
    }
    let merge = config.vision.spatial_merge_size;
    let per_second = config.position_id_per_seconds;
    let cells = |grid: [usize; 3]| (grid[0], grid[1] / merge, grid[2] / merge);
    // How many tokens a grid has, and that they fit between the opening mark and the end, before any is laid out.
    let fits = |found: usize, tokens: Option<usize>| {
        let end = tokens.and_then(|tokens| tokens.checked_add(found)).filter(|end| *end < n);
        end.ok_or_else(|| format!("the picture or sound at token {found} does not end within the prompt of {n} tokens"))
    };
    let area =
        |(t, h, w): (usize, usize, usize)| t.checked_mul(h).and_then(|n| n.checked_mul(w)).filter(|tokens| *tokens > 0);
    let grid_at = |times: Vec<u32>, (_, h, w): (usize, usize, usize), start: u32| {
        times.into_iter().flat_map(move |t| {
            (0..h as u32).flat_map(move |y| (0..w as u32).map(move |x| [t + start, y + start, x + start]))
        })
    };
    let mut row = Row { axes: [Vec::with_capacity(n), Vec::with_capacity(n), Vec::with_capacity(n)], last: None };
    let (mut image, mut video, mut audio, mut at) = (0, 0, 0, 0);
    let is_media =
        |id: u32| id == config.audio_token_index || id == config.image_token_index || id == config.video_token_index;
    let audio_frames = |i: usize| {
        media
            .audio_frames
            .get(i)
            .copied()
            .ok_or_else(|| format!("the ids have more than {i} sounds, the inputs have not"))
    };
    while let Some(found) = ids[at..].iter().position(|id| is_media(*id)).map(|i| at + i) {
        let id = ids[found];
        let before = |marks: usize| {
            (found - at).checked_sub(marks).ok_or_else(|| format!("token {found} is media without its opening mark"))
        };
        if id == config.audio_token_index {
            let tokens = audio_tokens(audio_frames(audio)?);
            let end = fits(found, Some(tokens))?;
            row.text(before(1)?);
            row.text(1);
            row.text(tokens);
            row.text(1);
            at = end + 1;
            audio += 1;
        } else if id == config.image_token_index {
            let grid = *media.images.get(image).ok_or("the ids have more stills than the inputs")?;
            let end = fits(found, area(cells(grid)))?;
            row.text(before(1)?);
            row.text(1);
            row.push(grid_at(step_times(grid[0], 1.0, per_second)?, cells(grid), row.next()));
            row.text(1);
            at = end + 1;
            image += 1;
        } else {
            let grid = *media.videos.get(video).ok_or("the ids have more videos than the inputs")?;
            let second = *media.second_per_grid.get(video).ok_or("a video has no seconds per grid step")?;
            let end = fits(found, area(cells(grid)))?;
            let times = step_times(grid[0], second, per_second)?;
            if media.audio_in_video {
                row.text(before(2)?);
                let start = row.next();
                row.push([[start; 3]; 2].into_iter());
                let start = row.next();
                let tokens = audio_tokens(audio_frames(audio)?);
                let end = fits(end, tokens.checked_add(1))?;
                let seen: Vec<[u32; 3]> = grid_at(times, cells(grid), start).collect();
                let heard: Vec<[u32; 3]> = (0..tokens as u32).map(|i| [start + i; 3]).collect();
                let per_chunk = (per_second * config.seconds_per_chunk).trunc();
                let relative = |p: &[u32; 3]| f64::from(p[0] - start);
                let seen_chunks = chunks(seen.iter().map(relative), per_chunk);
                let heard_chunks = chunks(heard.iter().map(relative), per_chunk);
                for i in 0..seen_chunks.len().max(heard_chunks.len()) {
                    for (piece, chunks) in [(&seen, &seen_chunks), (&heard, &heard_chunks)] {
                        if let Some(range) = chunks.get(i) {
                            row.push(piece[range.clone()].iter().copied());
                        }
                    }
                }
                let start = row.next();
                row.push([[start; 3]; 2].into_iter());
                at = end + 1;
                audio += 1;
            } else {
                row.text(before(1)?);
                row.text(1);
                row.push(grid_at(times, cells(grid), row.next()));
                row.text(1);
                at = end + 1;
            }
            video += 1;
        }
        if row.next() > MOST {
            return Err(format!("the pictures and sounds reach position {}, beyond any model's", row.next()));
        }
    }
    row.text(n - at);
    if row.axes[0].len() != n {
        return Err(format!("{} positions for {n} tokens", row.axes[0].len()));
    }
    // The last prompt token is text, so its three positions are one; the first answer token follows it.
    let next = row.axes[0].last().map_or(0, |p| p + 1);
    Ok((row.axes, next))
}
