//! Plays sound faster or slower at its own pitch: pieces of 24 ms, each centred where it belongs in time and moved by
//! at most 7 ms to where it continues the one before (WSOLA: Verhelst and Roelands, ICASSP 1993). Knows nothing of time
//! axes, devices, files or FFmpeg, whose own filter wanders by up to 30 ms.

use super::mixer::CHANNELS;

/// Seconds from one piece to the next; a piece is twice as long, and fades into its neighbours.
const HOP_SECS: f64 = 0.012;
/// How far a piece may be moved: with both directions, a period of the lowest voices.
const REACH_SECS: f64 = 0.007;
/// Samples between those that are compared first; the best place is then looked at closely.
const COARSE: usize = 6;
/// What moving a piece all the way must gain to be worth it.
const RELUCTANCE: f32 = 0.1;
/// Below this energy there is nothing to align.
const SILENT: f32 = 1e-9;
/// Consumed input is let go in pieces of this many frames.
const SWEEP: usize = 48_000;

/// A running stretch of interleaved stereo.
pub(crate) struct Stretch {
    tempo: f64,
    hop: usize,
    reach: isize,
    /// Input from frame `base` on.
    input: Vec<[f32; CHANNELS]>,
    base: usize,
    /// The second half of the piece before, to be faded out.
    tail: Vec<[f32; CHANNELS]>,
    /// The next piece.
    piece: u64,
    /// Frames given out.
    given: u64,
}

impl Stretch {
    /// Sound at `rate` samples per second, played `tempo` times as fast.
    pub(crate) fn new(rate: u32, tempo: f64) -> Self {
        let hop = ((f64::from(rate) * HOP_SECS) as usize).max(COARSE);
        let reach = (f64::from(rate) * REACH_SECS) as isize;
        Self { tempo, hop, reach, input: Vec::new(), base: 0, tail: Vec::new(), piece: 0, given: 0 }
    }

    /// Takes interleaved samples and appends what comes out to `out`; a little is kept until more is known.
    pub(crate) fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        self.input.extend_from_slice(samples.as_chunks::<CHANNELS>().0);
        while self.base + self.input.len() >= self.needed() {
            self.step(out, u64::MAX);
        }
    }

    /// Appends what is left; after that nothing more may be pushed.
    pub(crate) fn finish(&mut self, out: &mut Vec<f32>) {
        let all = ((self.base + self.input.len()) as f64 / self.tempo).round() as u64;
        while self.given < all {
            self.step(out, all);
        }
    }

    /// Where the next piece would begin if it were not moved.
    fn nominal(&self) -> isize {
        (self.piece as f64 * self.hop as f64 * self.tempo).round() as isize - self.hop as isize
    }

    /// Frames of input that must be there for the next piece.
    fn needed(&self) -> usize {
        (self.nominal() + self.reach).max(0) as usize + 2 * self.hop
    }

    /// Adds a piece to what is given out, up to frame `most` of the output.
    fn step(&mut self, out: &mut Vec<f32>, most: u64) {
        let start = self.nominal() + if self.piece == 0 { 0 } else { self.best() };
        if self.piece > 0 {
            let room = most.saturating_sub(self.given).min(self.hop as u64) as usize;
            for i in 0..room {
                let fade = (i as f32 + 0.5) / self.hop as f32;
                let (old, new) = (self.tail[i], self.frame(start + i as isize));
                out.extend(std::array::from_fn::<f32, CHANNELS, _>(|c| old[c] + (new[c] - old[c]) * fade));
            }
            self.given += room as u64;
        }
        let half = start + self.hop as isize;
        self.tail = (0..self.hop).map(|i| self.frame(half + i as isize)).collect();
        self.piece += 1;
        // At a high tempo the next piece can begin beyond what is held: what is not here yet cannot be done with.
        let done = ((self.nominal() - self.reach).max(0) as usize).min(self.base + self.input.len());
        if done > self.base + SWEEP {
            self.input.drain(..done - self.base);
            self.base = done;
        }
    }

    /// A frame of the input; silence before its beginning and after its end.
    fn frame(&self, at: isize) -> [f32; CHANNELS] {
        let at = usize::try_from(at).ok().and_then(|at| at.checked_sub(self.base));
        at.and_then(|at| self.input.get(at)).copied().unwrap_or([0.0; CHANNELS])
    }

    /// How far the next piece is moved so that its first half is most like the second half of the one before.
    fn best(&self) -> isize {
        let first = self.nominal() - self.reach;
        let around: Vec<[f32; CHANNELS]> =
            (0..2 * self.reach + self.hop as isize).map(|i| self.frame(first + i)).collect();
        // Cosine of the angle between the two, compared at every `stride`th frame.
        let likeness = |by: isize, stride: usize| {
            let (mut product, mut energy) = (0f32, 0f32);
            let place = &around[(self.reach + by) as usize..];
            for ([t0, t1], [x0, x1]) in self.tail.iter().zip(place).step_by(stride) {
                product += t0 * x0 + t1 * x1;
                energy += x0 * x0 + x1 * x1;
            }
            if energy < SILENT {
                return 0.0;
            }
            let far = by.unsigned_abs() as f32 / self.reach.max(1) as f32;
            product / energy.sqrt() * (1.0 - RELUCTANCE * far)
        };
        let best_of = |places: &mut dyn Iterator<Item = isize>, stride: usize, centre: isize| {
            let mut best = (likeness(centre, stride), centre);
            for by in places {
                let like = likeness(by, stride);
                if like > best.0 {
                    best = (like, by);
                }
            }
            best.1
        };
        let coarse = COARSE as isize;
        let steps = self.reach / coarse;
        let near = best_of(&mut (-steps..=steps).map(|i| i * coarse), COARSE, 0);
        let mut closely = (near - coarse + 1).max(-self.reach)..=(near + coarse - 1).min(self.reach);
        best_of(&mut closely, 2, near)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 48_000;

    fn stretched(samples: &[f32], tempo: f64) -> Vec<f32> {
        let mut stretch = Stretch::new(RATE, tempo);
        let mut out = Vec::new();
        for piece in samples.chunks(2 * 1024) {
            stretch.push(piece, &mut out);
        }
        stretch.finish(&mut out);
        out
    }

    /// Zero crossings per second of the left channel: the pitch of a sine, twice.
    fn crossings(samples: &[f32]) -> f64 {
        let left: Vec<f32> = samples.chunks(2).map(|f| f[0]).collect();
        let crossed = left.windows(2).filter(|w| (w[0] < 0.0) != (w[1] < 0.0)).count();
        crossed as f64 / (left.len() as f64 / f64::from(RATE))
    }

    #[test]
    fn a_tone_keeps_its_pitch_and_changes_its_length() {
        let sine: Vec<f32> = (0..RATE)
            .flat_map(|i| {
                let x = 0.5 * (f64::from(i) * 440.0 * std::f64::consts::TAU / f64::from(RATE)).sin() as f32;
                [x, -x]
            })
            .collect();
        for tempo in [0.25, 0.5, 0.75, 1.25, 1.5, 2.0, 3.0, 4.0] {
            let out = stretched(&sine, tempo);
            let secs = out.len() as f64 / 2.0 / f64::from(RATE);
            assert!((secs - 1.0 / tempo).abs() < 1e-4, "{secs} s at {tempo}");
            let middle = &out[out.len() / 8 * 2..out.len() / 8 * 6];
            assert!((crossings(middle) - 880.0).abs() < 20.0, "{} at {tempo}", crossings(middle));
            let loudest = middle.iter().fold(0f32, |m, s| m.max(s.abs()));
            assert!((0.45..0.56).contains(&loudest), "{loudest} at {tempo}");
        }
    }

    #[test]
    fn a_piece_is_moved_as_far_as_it_may_be_and_no_further() {
        // A low tone that sweeps: somewhere each way of moving a piece is the best one.
        let sweep = |rate: u32| -> Vec<f32> {
            let mut phase = 0f64;
            (0..rate * 2)
                .flat_map(|i| {
                    phase += (30.0 + 50.0 * f64::from(i) / f64::from(rate)) / f64::from(rate);
                    [0.5 * (phase * std::f64::consts::TAU).sin() as f32; 2]
                })
                .collect()
        };
        for rate in [8_000, 11_025, 48_000] {
            let sound = sweep(rate);
            let (mut least, mut most) = (0, 0);
            for tempo in [0.75, 1.5, 4.0] {
                let mut stretch = Stretch::new(rate, tempo);
                stretch.input = sound.as_chunks().0.to_vec();
                let mut out = Vec::new();
                while stretch.needed() < sound.len() / 2 {
                    if stretch.piece > 0 {
                        let by = stretch.best();
                        (least, most) = (by.min(least), by.max(most));
                    }
                    stretch.step(&mut out, u64::MAX);
                }
            }
            let reach = (f64::from(rate) * REACH_SECS) as isize;
            assert!(least >= -reach && most <= reach, "{least} to {most} at {rate}");
            let near = reach - reach / 10;
            assert!(least <= -near && most >= near, "{least} to {most} at {rate}: nothing was tried");
        }
    }

    /// However long it plays, and in whatever portions the decoder gives the sound, nothing adds up.
    #[test]
    fn the_last_of_two_minutes_is_where_it_belongs() {
        let mut ticks = vec![0f32; 2 * RATE as usize * 120];
        for (i, frame) in ticks.chunks_mut(2).enumerate() {
            if i % 12_000 < 480 {
                frame.fill(0.8);
            }
        }
        for (tempo, portion) in [(3.5, 1024), (4.0, 1024), (4.0, 480), (4.0, 1115), (0.25, 1115)] {
            let mut stretch = Stretch::new(RATE, tempo);
            let mut out = Vec::new();
            for piece in ticks.chunks(2 * portion) {
                stretch.push(piece, &mut out);
            }
            stretch.finish(&mut out);
            // The ticks of the last seconds: each is somewhere, and its distance from the nearest quarter is what it is off.
            let from = ((110.0 / tempo) * f64::from(RATE)) as usize;
            let mut off = Vec::new();
            for (i, frame) in out.chunks(2).enumerate().skip(from).filter(|(_, frame)| frame[0] > 0.1) {
                assert_eq!(frame[0], frame[1]);
                let media = i as f64 / f64::from(RATE) * tempo;
                off.push((media / 0.25 - (media / 0.25).round()) * 0.25);
            }
            assert!(off.len() > 1_000, "{} samples at {tempo}", off.len());
            let mean = off.iter().sum::<f64>() / off.len() as f64;
            assert!((mean - 0.005).abs() < 0.03, "{mean} s at {tempo} in portions of {portion}");
        }
    }

    #[test]
    fn what_is_heard_stays_where_it_belongs() {
        // A tick every quarter of a second: wherever one comes out, it belongs to that time.
        let mut ticks = vec![0f32; 2 * RATE as usize * 6];
        for (i, frame) in ticks.chunks_mut(2).enumerate() {
            if i % 12_000 < 96 {
                frame.fill(0.8);
            }
        }
        for tempo in [0.25, 0.5, 1.25, 1.5, 2.0, 4.0] {
            let out = stretched(&ticks, tempo);
            // Each tick's centre of gravity, where it was not skipped. On the finer of the two axes: a piece has a length,
            // and slowly played it takes as many times as long to go by.
            let mut off: Vec<f64> = Vec::new();
            for tick in 1..23 {
                let at = |secs: f64| ((secs / tempo) * f64::from(RATE)) as usize;
                let centre = f64::from(tick) * 0.25 + 0.001;
                let (mut weight, mut moment) = (0.0, 0.0);
                for i in at(centre - 0.1)..at(centre + 0.1) {
                    weight += f64::from(out[2 * i]);
                    moment += f64::from(out[2 * i]) * i as f64;
                }
                if weight > 1.0 {
                    let media = moment / weight / f64::from(RATE) * tempo;
                    off.push((media - centre) / tempo.max(1.0));
                }
            }
            assert!(off.len() == 22 || tempo > 1.9, "{} ticks at {tempo}", off.len());
            assert!(off.len() > 5, "{} ticks at {tempo}", off.len());
            off.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
            let p95 = off[off.len() * 95 / 100].abs();
            assert!(p95 < 0.015, "{p95} s at {tempo}: {off:?}");
        }
    }
}
