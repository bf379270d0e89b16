//! When things happen: the barks, strikes and puffs of one clip, which both the picture and the sound follow.
//! Knows nothing of how either is made.

use crate::world::cast::{Class, When};
use crate::world::rng::{Rng, exp, smoothstep};

/// Length of every clip in seconds.
pub const DURATION_SECS: f64 = 4.0;

/// Silences shorter than this do not end a sounding interval, in seconds.
const GAP_SECS: f64 = 0.4;

/// One bark, strike, puff or shower.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Event {
    /// First audible instant, in seconds.
    pub start: f64,
    /// Last audible instant, in seconds.
    pub end: f64,
    /// Loudness, 1 = full.
    pub accent: f64,
    /// A small individual shift of pitch, as a factor.
    pub pitch: f64,
}

/// Everything that one actor does in one clip.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Who does it.
    pub class: Class,
    /// In which third of the clip.
    pub when: When,
    /// What happens, in time order; never empty.
    pub events: Vec<Event>,
}

impl Score {
    /// Events of `class` in a window of 1.1 to 1.6 s in a random third of the clip.
    pub fn compose(class: Class, rng: &mut Rng) -> Self {
        let when = *rng.pick(&When::ALL);
        let third = DURATION_SECS / 3.0;
        let length = rng.range(1.1, 1.6);
        let center = third * (when as usize as f64 + 0.5) + rng.range(-0.08, 0.08);
        let start = (center - length / 2.0).clamp(0.08, DURATION_SECS - length - 0.08);
        let end = start + length;
        let tempo = rng.range(0.85, 1.2);
        let mut events = Vec::new();
        let mut add = |start: f64, length: f64, accent: f64, pitch: f64| {
            if events.is_empty() || start + length <= end + 0.02 {
                events.push(Event { start, end: start + length, accent, pitch });
            }
        };
        match class {
            Class::Rain | Class::Fire => add(start, length, 1.0, 1.0),
            Class::Bird => {
                let mut t = start;
                while t + 0.3 < end {
                    let chirps = 3 + rng.below(3);
                    let pitch = rng.range(0.9, 1.15);
                    for chirp in 0..chirps {
                        let length = rng.range(0.06, 0.09);
                        add(t, length, rng.range(0.75, 1.0), pitch * (1.0 + 0.04 * chirp as f64));
                        t += length + 0.035 / tempo;
                    }
                    t += rng.range(0.15, 0.25) / tempo;
                }
            }
            _ => {
                // Length of an event and pause after it, in seconds: lowest and highest.
                let (length, pause) = match class {
                    Class::Dog => ([0.15, 0.22], [0.14, 0.3]),
                    Class::Cat => ([0.55, 0.75], [0.12, 0.2]),
                    Class::Frog => ([0.26, 0.38], [0.12, 0.22]),
                    Class::Bell => ([0.42, 0.5], [0.0, 0.0]),
                    Class::Drum => ([0.13, 0.13], [0.02, 0.1]),
                    Class::Clock => ([0.07, 0.07], [0.2, 0.2]),
                    Class::Car => ([0.3, 0.5], [0.08, 0.14]),
                    Class::Train => ([0.17, 0.17], [0.05, 0.05]),
                    _ => ([0.45, 0.7], [0.07, 0.12]),
                };
                // Machines keep their beat; animals do not.
                let steady = matches!(class, Class::Bell | Class::Clock | Class::Train);
                let beat = [rng.range(length[0], length[1]), rng.range(pause[0], pause[1])];
                let mut t = start;
                let mut n = 0;
                while t < end {
                    let [on, off] =
                        if steady { beat } else { [rng.range(length[0], length[1]), rng.range(pause[0], pause[1])] };
                    let accent = match class {
                        Class::Clock => [1.0, 0.7][n % 2],
                        Class::Train => [1.0, 0.6, 0.75, 0.6][n % 4],
                        _ => rng.range(0.75, 1.0),
                    };
                    add(t, on, accent, if steady { 1.0 } else { rng.range(0.94, 1.06) });
                    t += on + off / tempo;
                    n += 1;
                }
            }
        }
        Self { class, when, events }
    }

    /// The intervals in which it sounds, in seconds; short pauses belong to them.
    pub fn sounding(&self) -> Vec<[f64; 2]> {
        let mut spans: Vec<[f64; 2]> = Vec::new();
        for event in &self.events {
            match spans.last_mut() {
                Some(span) if event.start - span[1] < GAP_SECS => span[1] = span[1].max(event.end),
                _ => spans.push([event.start, event.end]),
            }
        }
        spans
    }

    /// What the actor is doing at `t` seconds.
    pub fn motion(&self, t: f64) -> Motion {
        let last = self.events.iter().rposition(|e| e.start <= t);
        let (first, end) = (self.events[0].start, self.events[self.events.len() - 1].end);
        let mut motion = Motion {
            t,
            active: smoothstep(first - 0.12, first + 0.05, t) * (1.0 - smoothstep(end, end + 0.25, t)),
            open: 0.0,
            pulse: 0.0,
            since: t - first,
            count: last.map_or(0, |i| i + 1),
        };
        if let Some(event) = last.map(|i| self.events[i]) {
            motion.since = t - event.start;
            motion.open =
                smoothstep(-0.01, 0.05, motion.since) * (1.0 - smoothstep(event.end - 0.06, event.end + 0.04, t));
            motion.open *= event.accent;
            motion.pulse = event.accent * exp(-motion.since / 0.13);
        }
        motion
    }
}

/// What an actor is doing at one instant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Motion {
    /// Seconds since the clip's start.
    pub t: f64,
    /// 1 while it is at work, 0 while it waits.
    pub active: f64,
    /// 1 while a note sounds: mouths are open, valves blow.
    pub open: f64,
    /// 1 at the start of each event, then fading fast.
    pub pulse: f64,
    /// Seconds since the last event began (negative before the first).
    pub since: f64,
    /// Events begun so far.
    pub count: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::rng::Stream;

    #[test]
    fn every_score_lies_in_its_third_and_in_the_clip() {
        for class in Class::ALL {
            for index in 0..60 {
                let score = Score::compose(class, &mut Rng::new(5, index, Stream::Score));
                let spans = score.sounding();
                assert!(spans.windows(2).all(|w| w[0][1] < w[1][0]));
                let (start, end) = (spans[0][0], spans[spans.len() - 1][1]);
                assert!(start >= 0.0 && end <= DURATION_SECS, "{class:?} {start} {end}");
                let middle = spans.iter().map(|s| s[1] * s[1] - s[0] * s[0]).sum::<f64>()
                    / spans.iter().map(|s| s[1] - s[0]).sum::<f64>()
                    / 2.0;
                let third = (middle / (DURATION_SECS / 3.0)) as usize;
                assert_eq!(third, score.when as usize, "{class:?} {index}: middle of the sound at {middle}");
                assert!(score.motion(start + 0.04).open > 0.2 && score.motion(0.0).open == 0.0 || start < 0.06);
            }
        }
    }
}
