//! The sound of one clip, synthesised from its score: partials, glides, filtered noise and clicks.
//! Knows nothing of pictures or codecs.

use crate::world::cast::Class;
use crate::world::rng::{Noise, PI, Rng, TAU, cos, exp, exp2, sin, smoothstep};
use crate::world::score::{DURATION_SECS, Event, Score};

/// Sample rate of written clips in hertz.
pub const RATE: u32 = 32_000;

/// How one clip's actor sounds, and the room it is in.
#[derive(Debug, Clone)]
pub struct Sound {
    score: Score,
    /// Factor on every frequency.
    pitch: f64,
    /// Spectral colour in 0…1.
    timbre: f64,
    /// Loudness of the actor, peak.
    level: f64,
    /// Root mean square of the background noise.
    hiss: f64,
    /// Colour of the background noise in 0 (dull) … 1 (white).
    color: f64,
    rng: Rng,
}

impl Sound {
    /// A random sound that follows `score`.
    pub fn compose(score: Score, rng: &mut Rng) -> Self {
        Self {
            score,
            pitch: exp2(rng.range(-0.25, 0.25)),
            timbre: rng.unit(),
            level: rng.range(0.35, 0.85),
            hiss: exp2(rng.range(-11.0, -6.5)),
            color: rng.range(0.05, 0.6),
            rng: rng.clone(),
        }
    }

    /// Who makes it.
    pub fn score(&self) -> &Score {
        &self.score
    }

    /// Mono samples in −1…1 at `rate` hertz, as long as the clip. Written clips use [`RATE`]; the same sound can
    /// be rendered at another rate for a model, though its noise is then other noise.
    pub fn render(&self, rate: u32) -> Vec<f32> {
        let rate = f64::from(rate);
        let mut rng = self.rng.clone();
        let mut out = vec![0.0; (DURATION_SECS * rate) as usize];
        for event in &self.score.events {
            let voice = self.voice(*event, rate, &mut rng);
            let start = (event.start * rate) as usize;
            for (slot, sample) in out.iter_mut().skip(start).zip(voice) {
                *slot += sample;
            }
        }
        let peak = out.iter().fold(1e-9_f64, |a, b| a.max(b.abs()));
        let mut noise = Noise::new(&mut rng);
        let mut low = 0.0;
        // Keeps the noise's power whatever its colour.
        let makeup = self.hiss * 3.0f64.sqrt() * ((2.0 - self.color) / self.color).sqrt();
        out.iter()
            .map(|x| {
                low += self.color * (noise.sample() - low);
                let y = x / peak * self.level + makeup * low;
                (y / (1.0 + 0.1 * y.abs())).clamp(-1.0, 1.0) as f32
            })
            .collect()
    }

    /// One event's samples from its start.
    fn voice(&self, event: Event, rate: f64, rng: &mut Rng) -> Vec<f64> {
        let length = event.end - event.start;
        let base = self.pitch * event.pitch;
        let tone = Tone { rate, length, noise: Noise::new(rng) };
        let mut out = match self.score.class {
            // A rough harmonic burst that falls, through a mouth that opens.
            Class::Dog => tone.harmonics(
                |u| base * (470.0 + 260.0 * sin(PI * u.min(0.75)) - 190.0 * u),
                |f, u| formant(f, 900.0 + 500.0 * sin(PI * u), 500.0) + 0.4 * formant(f, 2300.0, 700.0),
                0.35 + 0.3 * self.timbre,
            ),
            // A long vowel that glides up and down: "ee-ow".
            Class::Cat => tone.harmonics(
                |u| base * (560.0 + 330.0 * sin(PI * exp2(-0.4) * u) - 170.0 * u) * (1.0 + 0.012 * sin(TAU * 6.0 * u)),
                |f, u| formant(f, 2100.0 - 1100.0 * u, 450.0) + 0.6 * formant(f, 850.0 + 200.0 * sin(PI * u), 350.0),
                0.04,
            ),
            // Fast whistled sweeps.
            Class::Bird => {
                let up = if self.timbre < 0.5 { 1.0 } else { -1.0 };
                tone.harmonics(
                    |u| base * (4200.0 + up * 1300.0 * (u - 0.5) + 500.0 * sin(PI * u)),
                    |f, _| exp(-f / 6000.0),
                    0.0,
                )
            }
            // A low pulse train: every pulse rings a dull resonance.
            Class::Frog => {
                let (pulses, ring) = (46.0 * base, base * (520.0 + 260.0 * self.timbre));
                tone.sampled(|t, u, _| {
                    let since = (t * pulses - libm::floor(t * pulses)) / pulses;
                    let swell = 0.45 + 0.55 * u;
                    swell * exp(-since * 190.0) * (sin(TAU * ring * since) + 0.5 * sin(TAU * 2.7 * ring * since))
                })
            }
            // Inharmonic partials of a church bell: hum, prime, tierce, quint, nominal …
            Class::Bell => {
                let prime = base * 620.0;
                let partials = [
                    (0.5, 0.5, 1.6),
                    (1.0, 0.9, 2.4),
                    (1.19, 0.75, 2.8),
                    (1.5, 0.4, 3.5),
                    (2.0, 0.9, 3.4),
                    (2.74, 0.5, 5.0),
                    (3.76, 0.35, 7.0),
                    (5.1, 0.2, 9.0),
                ];
                tone.sampled(|t, _, _| {
                    partials
                        .iter()
                        .map(|(ratio, gain, decay)| gain * exp(-decay * t) * sin(TAU * prime * ratio * t))
                        .sum::<f64>()
                })
            }
            // A thump that drops in pitch, and the skin's slap.
            Class::Drum => {
                let low = base * 95.0;
                tone.sampled(|t, _, noise| {
                    let phase = low * (t + 0.035 * (1.0 - exp(-t / 0.02)));
                    exp(-t * 18.0) * sin(TAU * phase) + 0.45 * exp(-t * 75.0) * noise
                })
            }
            // Dry wooden clicks, alternating between two pitches.
            Class::Clock => {
                let ring = base * if event.accent > 0.9 { 2500.0 } else { 1800.0 };
                tone.sampled(|t, _, noise| {
                    let second = (t - 0.018).max(0.0);
                    let tail =
                        if t > 0.018 { 0.6 * exp(-second * 260.0) * sin(TAU * 1.3 * ring * second) } else { 0.0 };
                    exp(-t * 190.0) * (sin(TAU * ring * t) + 0.5 * noise) + tail
                })
            }
            // Two reeds a third apart, held.
            Class::Car => {
                let (a, b) = (base * 405.0, base * 405.0 * (1.2 + 0.06 * self.timbre));
                let reeds = |u: f64| [a, b].map(|f| f * (0.97 + 0.03 * smoothstep(0.0, 0.08, u)));
                let reed = |f: f64| {
                    tone.clone().harmonics(|u| reeds(u)[usize::from(f != a)], |f, _| 1.0 / (1.0 + f / 1800.0), 0.0)
                };
                reed(a).iter().zip(reed(b)).map(|(x, y)| x + y).collect()
            }
            // A puff of steam: noise through a resonance that sinks.
            Class::Train => {
                let mut band = Band::default();
                tone.sampled(|t, u, noise| {
                    let center = base * (1500.0 - 700.0 * u);
                    let steam = band.pass(noise, center, 1.1, rate);
                    (exp(-t * 17.0) * 1.3 + 0.12) * steam + 0.35 * exp(-t * 30.0) * sin(TAU * 70.0 * base * t)
                })
            }
            // Bright steady noise with single drops.
            Class::Rain => {
                let mut drops = Drops::new(120.0, [1800.0 * base, 6500.0 * base], 0.004, rng);
                let mut before = 0.0;
                tone.sampled(|_, _, noise| {
                    let bright = noise - 0.75 * before;
                    before = noise;
                    0.55 * bright + 0.5 * drops.next(rate)
                })
            }
            // A dull roar and sparse hard crackles.
            Class::Fire => {
                let mut crackles = Drops::new(26.0, [700.0 * base, 4200.0 * base], 0.0022, rng);
                let mut low = 0.0;
                tone.sampled(|t, _, noise| {
                    low += 0.035 * (noise - low) * (48_000.0 / rate).min(2.0);
                    1.5 * low * (0.8 + 0.2 * sin(TAU * 2.3 * t)) + 1.1 * crackles.next(rate)
                })
            }
            // A shrill tone chopped by the pea, with breath.
            Class::Whistle => {
                let (high, trill) = (base * 2650.0, 26.0 + 12.0 * self.timbre);
                let mut phase = 0.0;
                tone.sampled(|t, _, noise| {
                    let chop = 0.5 + 0.5 * sin(TAU * trill * t);
                    phase += high * (1.0 + 0.035 * chop) / rate;
                    (0.35 + 0.65 * chop) * (sin(TAU * phase) + 0.25 * sin(2.0 * TAU * phase)) + 0.06 * noise
                })
            }
        };
        // No clicks at the ends; instruments that are struck start at once.
        let struck = matches!(self.score.class, Class::Bell | Class::Drum | Class::Clock);
        let (attack, release) = match self.score.class {
            Class::Rain | Class::Fire => (0.08, 0.12),
            _ if struck => (0.001, 0.03),
            _ => (0.012, 0.04),
        };
        for (i, sample) in out.iter_mut().enumerate() {
            let t = i as f64 / rate;
            *sample *= event.accent * smoothstep(0.0, attack, t) * (1.0 - smoothstep(length - release, length, t));
        }
        // Quiet classes by nature are normalised, loud ones too: no class is known by its peak alone.
        let peak = out.iter().fold(1e-9_f64, |a, b| a.max(b.abs()));
        for x in &mut out {
            *x *= event.accent / peak;
        }
        out
    }
}

/// A resonance of a mouth: 1 at `center`, falling on both sides.
fn formant(frequency: f64, center: f64, width: f64) -> f64 {
    let x = (frequency - center) / width;
    1.0 / (1.0 + x * x)
}

/// What every voice needs to know.
#[derive(Clone)]
struct Tone {
    rate: f64,
    length: f64,
    noise: Noise,
}

impl Tone {
    /// Samples of `f(t seconds, u = t / length, white noise)`.
    fn sampled(mut self, mut f: impl FnMut(f64, f64, f64) -> f64) -> Vec<f64> {
        let n = (self.length * self.rate) as usize;
        (0..n)
            .map(|i| {
                let t = i as f64 / self.rate;
                f(t, t / self.length, self.noise.sample())
            })
            .collect()
    }

    /// Harmonics of `pitch(u)` hertz below the Nyquist frequency and 7 kHz, each as loud as `color(hertz, u)`, and
    /// `breath` times noise.
    fn harmonics(self, pitch: impl Fn(f64) -> f64, color: impl Fn(f64, f64) -> f64, breath: f64) -> Vec<f64> {
        let rate = self.rate;
        let top = 7000.0f64.min(0.45 * rate);
        let mut phase = 0.0;
        // Loudness changes slowly: it is computed anew every few milliseconds.
        let block = (rate * 0.004) as usize;
        let (mut gains, mut i) = (Vec::new(), 0);
        self.sampled(move |_, u, noise| {
            let f = pitch(u);
            if i % block == 0 {
                gains = (1..=((top / f) as usize).max(1)).map(|k| color(f * k as f64, u)).collect();
            }
            i += 1;
            phase += f / rate;
            phase -= libm::floor(phase);
            // sin(kθ) by Chebyshev's recurrence: one sine and one cosine for all harmonics.
            let (s, c) = (sin(TAU * phase), 2.0 * cos(TAU * phase));
            let (mut now, mut last, mut sum) = (s, 0.0, 0.0);
            for gain in &gains {
                sum += gain * now;
                (now, last) = (c * now - last, now);
            }
            sum + breath * noise
        })
    }
}

/// A resonant band-pass (state-variable filter).
#[derive(Default)]
struct Band {
    low: f64,
    band: f64,
}

impl Band {
    fn pass(&mut self, x: f64, center: f64, q: f64, rate: f64) -> f64 {
        let f = 2.0 * sin(PI * (center / rate).min(0.16));
        self.low += f * self.band;
        let high = x - self.low - self.band / q;
        self.band += f * high;
        self.band
    }
}

/// Random decaying blips.
struct Drops {
    rng: Rng,
    per_second: f64,
    pitch: [f64; 2],
    decay: f64,
    frequency: f64,
    gain: f64,
    age: f64,
    wait: f64,
}

impl Drops {
    fn new(per_second: f64, pitch: [f64; 2], decay: f64, rng: &mut Rng) -> Self {
        let mut own = rng.clone();
        own.word();
        rng.word();
        Self { rng: own, per_second, pitch, decay, frequency: 1000.0, gain: 0.0, age: 0.0, wait: 0.01 }
    }

    fn next(&mut self, rate: f64) -> f64 {
        self.wait -= 1.0 / rate;
        if self.wait <= 0.0 {
            self.wait = -libm::log(1.0 - self.rng.unit()) / self.per_second;
            self.frequency = self.rng.range(self.pitch[0], self.pitch[1]).min(0.45 * rate);
            self.gain = self.rng.range(0.25, 1.0);
            self.age = 0.0;
        }
        self.age += 1.0 / rate;
        self.gain * exp(-self.age / self.decay) * sin(TAU * self.frequency * self.age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::rng::Stream;

    #[test]
    fn every_class_sounds_inside_its_intervals_and_nowhere_else() {
        for class in Class::ALL {
            let score = Score::compose(class, &mut Rng::new(11, class as u64, Stream::Score));
            let mut sound = Sound::compose(score, &mut Rng::new(11, class as u64, Stream::Sound));
            sound.hiss = 1e-6;
            let rate = 16_000;
            let pcm = sound.render(rate);
            assert_eq!(pcm.len(), 64_000);
            let spans = sound.score().sounding();
            let (mut inside, mut outside) = (0.0f64, 0.0f64);
            for (i, x) in pcm.iter().enumerate() {
                assert!(x.is_finite() && x.abs() <= 1.0);
                let t = i as f64 / f64::from(rate);
                if spans.iter().any(|[a, b]| (a - 0.001..b + 0.001).contains(&t)) {
                    inside = inside.max(f64::from(x.abs()));
                } else {
                    outside = outside.max(f64::from(x.abs()));
                }
            }
            assert!(inside > 0.2 && outside < 1e-3, "{class:?}: {inside} inside, {outside} outside");
        }
    }
}
