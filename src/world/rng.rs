//! Random numbers and elementary functions that are the same on every platform and in every release of the
//! crates below: `ChaCha` words, and `libm` instead of the system's mathematics. Knows nothing of what is drawn.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// π.
pub const PI: f64 = std::f64::consts::PI;
/// 2π.
pub const TAU: f64 = std::f64::consts::TAU;

/// What a stream of random numbers is for: changing how one is used never moves another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Stream {
    /// Which classes, which condition, which caption.
    Cast = 1,
    /// The look of the picture.
    Picture = 2,
    /// The sound.
    Sound = 3,
    /// When things happen.
    Score = 4,
    /// Wordings of questions.
    Words = 5,
    /// When the other sound of a swapped clip happens.
    SwapScore = 6,
    /// The order of classes in a round.
    Round = 7,
    /// Initial weights of a model.
    Weights = 8,
    /// The order of training material.
    Batch = 9,
}

/// A seeded source of random numbers.
#[derive(Debug, Clone)]
pub struct Rng(ChaCha8Rng);

impl Rng {
    /// The numbers of one stream of one clip.
    pub fn new(seed: u64, index: u64, stream: Stream) -> Self {
        let mut key = [0u8; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&index.to_le_bytes());
        key[16..24].copy_from_slice(&(stream as u64).to_le_bytes());
        key[24..].copy_from_slice(b"toyworld");
        Self(ChaCha8Rng::from_seed(key))
    }

    /// A 64-bit word.
    pub fn word(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.word() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `[low, high)`.
    pub fn range(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Uniform in `0..n`; `n` must not be 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.word()) * n as u128) >> 64) as usize
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// One of `items`; there must be one.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// A random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

/// A small fast generator for noise samples, seeded by an [`Rng`].
#[derive(Debug, Clone)]
pub struct Noise(u64);

impl Noise {
    /// Starts from a random word.
    pub fn new(rng: &mut Rng) -> Self {
        Self(rng.word() | 1)
    }

    /// Uniform in −1…1.
    pub fn sample(&mut self) -> f64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let word = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D);
        (word >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

/// Sine.
pub fn sin(x: f64) -> f64 {
    libm::sin(x)
}

/// Cosine.
pub fn cos(x: f64) -> f64 {
    libm::cos(x)
}

/// e to the `x`.
pub fn exp(x: f64) -> f64 {
    libm::exp(x)
}

/// 2 to the `x`.
pub fn exp2(x: f64) -> f64 {
    libm::exp2(x)
}

/// 0 below `a`, 1 above `b`, smooth between (3x² − 2x³).
pub fn smoothstep(a: f64, b: f64, x: f64) -> f64 {
    let x = ((x - a) / (b - a)).clamp(0.0, 1.0);
    x * x * (3.0 - 2.0 * x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_fixed_for_ever() {
        // A new crate version that changes these words would change every published clip.
        let mut rng = Rng::new(1, 2, Stream::Cast);
        let words: Vec<_> = (0..3).map(|_| rng.word()).collect();
        assert_eq!(words, WORDS, "{words:#x?}");
        let mut other = Rng::new(1, 2, Stream::Sound);
        assert_ne!(other.word(), words[0]);
    }

    const WORDS: [u64; 3] = [0xf98f_739f_87be_d130, 0xe8e9_2274_65c3_3730, 0x1445_42cb_57aa_5e7b];

    #[test]
    fn ranges_hold_and_reach_both_ends() {
        let mut rng = Rng::new(3, 0, Stream::Cast);
        let mut seen = [0; 5];
        for _ in 0..2000 {
            seen[rng.below(5)] += 1;
            let x = rng.range(-2.0, 3.0);
            assert!((-2.0..3.0).contains(&x));
        }
        assert!(seen.iter().all(|n| (300..500).contains(n)), "{seen:?}");
        let mut noise = Noise::new(&mut rng);
        let mean = (0..10_000).map(|_| noise.sample()).sum::<f64>() / 10_000.0;
        assert!(mean.abs() < 0.03, "{mean}");
    }
}
