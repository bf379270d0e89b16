//! Frames to patches: the size the model sees, the reference's fixed-point resampling, normalisation and patch
//! order. Knows nothing of tokens.

use rayon::prelude::*;

use crate::frame::RgbImage;

/// Height and width that the model sees: multiples of `factor`, within the pixel limits, aspect kept as well as
/// that allows. `None` for a picture more than 200 times longer than wide.
///
/// Source: `smart_resize` of the reference's Qwen2-VL image processor (rounding half to even).
pub fn smart_resize(
    height: usize,
    width: usize,
    factor: usize,
    min_pixels: usize,
    max_pixels: usize,
) -> Option<[usize; 2]> {
    let (h, w, f) = (height as f64, width as f64, factor as f64);
    if height == 0 || width == 0 || h.max(w) / h.min(w) > 200.0 {
        return None;
    }
    let (min, max) = (min_pixels as f64, max_pixels as f64);
    let (mut hb, mut wb) = ((h / f).round_ties_even() * f, (w / f).round_ties_even() * f);
    if hb * wb > max {
        let beta = (h * w / max).sqrt();
        hb = f.max((h / beta / f).floor() * f);
        wb = f.max((w / beta / f).floor() * f);
    } else if hb * wb < min {
        let beta = (min / (h * w)).sqrt();
        hb = (h * beta / f).ceil() * f;
        wb = (w * beta / f).ceil() * f;
    }
    Some([hb as usize, wb as usize])
}

/// One output sample's window of input samples and its fixed-point weights.
struct Tap {
    first: usize,
    weights: Vec<i32>,
}

/// The weights of one axis and how many fraction bits they have.
struct Taps {
    taps: Vec<Tap>,
    bits: u32,
}

/// Bicubic kernel with a = −0.5.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// Antialiased bicubic weights from `input` to `output` samples, as signed 16-bit fixed point.
fn taps(input: usize, output: usize) -> Taps {
    let scale = input as f64 / output as f64;
    let stretch = scale.max(1.0);
    let support = 2.0 * stretch;
    let exact: Vec<(usize, Vec<f64>)> = (0..output)
        .map(|i| {
            let center = scale * (i as f64 + 0.5);
            let first = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(input);
            let weights: Vec<f64> = (first..end).map(|j| cubic((j as f64 - center + 0.5) / stretch)).collect();
            let sum: f64 = weights.iter().sum();
            (first, weights.into_iter().map(|w| w / sum).collect())
        })
        .collect();
    let largest = exact.iter().flat_map(|(_, w)| w).copied().fold(0.0, f64::max);
    let mut bits = 0;
    while bits < 22 && ((0.5 + largest * f64::from(1u32 << (bits + 1))) as i64) < (1 << 15) {
        bits += 1;
    }
    let one = f64::from(1u32 << bits);
    let fixed = |w: f64| if w < 0.0 { (w * one - 0.5) as i32 } else { (w * one + 0.5) as i32 };
    let taps = exact
        .into_iter()
        .map(|(first, weights)| Tap { first, weights: weights.into_iter().map(fixed).collect() })
        .collect();
    Taps { taps, bits }
}

/// Bicubic, antialiased, 8 bits in and out: horizontal pass, rounded to 8 bits, vertical pass.
///
/// Bit-equal to torchvision's v2 `resize` of a uint8 tensor on a CPU.
pub fn resize(image: &RgbImage, height: usize, width: usize) -> RgbImage {
    let horizontal = if image.width == width { None } else { Some(across(image, width)) };
    let image = horizontal.as_ref().unwrap_or(image);
    if image.height == height { image.clone() } else { down(image, height) }
}

fn across(image: &RgbImage, width: usize) -> RgbImage {
    let Taps { taps, bits } = taps(image.width, width);
    let half = 1i32 << bits >> 1;
    let mut data = vec![0; width * image.height * 3];
    data.par_chunks_mut(width * 3).zip(image.data.par_chunks(image.width * 3)).for_each(|(out, row)| {
        for (pixel, tap) in out.as_chunks_mut::<3>().0.iter_mut().zip(&taps) {
            let mut sum = [half; 3];
            let window = &row[tap.first * 3..(tap.first + tap.weights.len()) * 3];
            for (sample, weight) in window.as_chunks::<3>().0.iter().zip(&tap.weights) {
                for c in 0..3 {
                    sum[c] += weight * i32::from(sample[c]);
                }
            }
            *pixel = sum.map(|s| (s >> bits).clamp(0, 255) as u8);
        }
    });
    RgbImage { width, height: image.height, data }
}

fn down(image: &RgbImage, height: usize) -> RgbImage {
    let Taps { taps, bits } = taps(image.height, height);
    let stride = image.width * 3;
    let half = 1i32 << bits >> 1;
    let mut data = vec![0; height * stride];
    data.par_chunks_mut(stride).zip(taps.par_iter()).for_each(|(out, tap)| {
        let mut sums = vec![half; stride];
        for (k, weight) in tap.weights.iter().enumerate() {
            let row = &image.data[(tap.first + k) * stride..(tap.first + k + 1) * stride];
            for (sum, sample) in sums.iter_mut().zip(row) {
                *sum += weight * i32::from(*sample);
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = (sum >> bits).clamp(0, 255) as u8;
        }
    });
    RgbImage { width: image.width, height, data }
}

/// Normalised value of every 8-bit sample per channel: `(x − 255·mean) / (255·std)` in f32, fused as the
/// reference does it.
pub fn normalisation(mean: [f32; 3], std: [f32; 3]) -> [[f32; 256]; 3] {
    // The reference divides by its rescale factor, which is 1/255 rounded.
    let scale = (1.0 / 0.003_921_568_627_450_98_f64) as f32;
    std::array::from_fn(|c| {
        let (m, s) = (mean[c] * scale, std[c] * scale);
        std::array::from_fn(|x| (x as f32 - m) / s)
    })
}

/// How frames are cut into patches.
#[derive(Debug, Clone, Copy)]
pub struct PatchLayout {
    /// Patch edge in pixels.
    pub patch: usize,
    /// Patches per token along each edge.
    pub merge: usize,
    /// Frames per patch.
    pub temporal: usize,
}

/// Frames of one size (multiples of patch·merge) → `[t·h·w, 3·temporal·patch²]` row-major and the grid t, h, w.
///
/// Patch order `[t][h/merge][w/merge][merge][merge]`, each `[channel][frame][y][x]`; a last group that is short
/// repeats the last frame.
pub fn patchify(frames: &[RgbImage], layout: PatchLayout, table: &[[f32; 256]; 3]) -> (Vec<f32>, [usize; 3]) {
    let PatchLayout { patch, merge, temporal } = layout;
    let (h, w) = (frames[0].height / patch, frames[0].width / patch);
    let t = frames.len().div_ceil(temporal);
    let dim = 3 * temporal * patch * patch;
    let mut pixels = vec![0f32; t * h * w * dim];
    pixels.par_chunks_mut(h * w * dim).enumerate().for_each(|(step, out)| {
        let mut patches = out.chunks_exact_mut(dim);
        for (row, col) in (0..h / merge).flat_map(|r| (0..w / merge).map(move |c| (r, c))) {
            for (dy, dx) in (0..merge).flat_map(|y| (0..merge).map(move |x| (y, x))) {
                let Some(out) = patches.next() else { return };
                let (top, left) = ((row * merge + dy) * patch, (col * merge + dx) * patch);
                let mut next = out.iter_mut();
                for (channel, values) in table.iter().enumerate() {
                    for k in 0..temporal {
                        let frame = &frames[(step * temporal + k).min(frames.len() - 1)];
                        for y in top..top + patch {
                            let start = (y * frame.width + left) * 3 + channel;
                            let samples = frame.data[start..].iter().step_by(3).take(patch);
                            // `samples` first: zip asks its left side first, and must not take a place it cannot fill.
                            for (sample, value) in samples.zip(next.by_ref()) {
                                *value = values[usize::from(*sample)];
                            }
                        }
                    }
                }
            }
        }
    });
    (pixels, [t, h, w])
}

/// The inverse of [`patchify`]: frames of every grid step, those that fill a step up included.
///
/// `grid` is t, h, w in patches. Every 8-bit sample comes back as it was: the values of a channel lie 255 equal steps
/// apart, and a value is far closer to its own step than to the next.
pub fn unpatchify(pixels: &[f32], grid: [usize; 3], layout: PatchLayout, table: &[[f32; 256]; 3]) -> Vec<RgbImage> {
    let PatchLayout { patch, merge, temporal } = layout;
    let [t, h, w] = grid;
    let (width, height, dim) = (w * patch, h * patch, 3 * temporal * patch * patch);
    let sample = |channel: usize, value: f32| {
        let [first, .., last] = &table[channel];
        ((value - first) / (last - first) * 255.0).round().clamp(0.0, 255.0) as u8
    };
    let frame = |step: usize, k: usize| {
        let mut data = vec![0; width * height * 3];
        let patches = pixels[step * h * w * dim..(step + 1) * h * w * dim].chunks_exact(dim);
        let places = (0..h / merge).flat_map(|r| (0..w / merge).map(move |c| (r, c)));
        let places = places.flat_map(|(r, c)| {
            (0..merge).flat_map(move |dy| (0..merge).map(move |dx| (r * merge + dy, c * merge + dx)))
        });
        for (values, (row, col)) in patches.zip(places) {
            for channel in 0..3 {
                let plane = &values[(channel * temporal + k) * patch * patch..][..patch * patch];
                for (y, line) in plane.chunks_exact(patch).enumerate() {
                    let start = ((row * patch + y) * width + col * patch) * 3 + channel;
                    for (out, value) in data[start..].iter_mut().step_by(3).zip(line) {
                        *out = sample(channel, *value);
                    }
                }
            }
        }
        RgbImage { width, height, data }
    };
    (0..t * temporal).into_par_iter().map(|i| frame(i / temporal, i % temporal)).collect()
}
