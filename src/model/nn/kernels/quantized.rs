//! Products with quantised weights on a CPU. A few rows multiply the blocks as they are, in integers; many rows widen a slab
//! of the weights to f32 at a time, which the general product then reads from the cache. Knows nothing of layers.
//!
//! The blocks are those of ggml ([`BlockQ8_0`](candle_core::quantized::k_quants::BlockQ8_0) and its kin): Q8_0 holds 32
//! weights as an f16 scale and 32 signed bytes; Q4K holds 256 as two f16 scales, eight pairs of 6-bit scales and minima,
//! and 256 nibbles. Activations become 15-bit integers with a scale per 32, which rounds them by less than f16 would.

use std::ops::Range;

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Module, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{contiguous, host};

/// Rows from which widening pays: below, each row reads the blocks once.
const MANY_ROWS: usize = 12;
/// Weight rows widened at a time for the general product: 16 MB at a width of 2,048.
const SLAB: usize = 2048;
/// Weight rows that a thread takes at a time.
const ROWS: usize = 32;
/// Activations that share a scale, and weights of a Q8_0 block.
const BLOCK: usize = 32;

/// `x [rows, in] · Wᵀ` → `[rows, out]` f32, for quantised `w` `[out, in]`; `x` in f32.
pub fn quantized_product(x: &Tensor, w: &QMatMul) -> Result<Tensor> {
    let x = x.contiguous()?;
    let QMatMul::QTensor(blocks) = w else { return w.forward(&x) };
    if !x.device().is_cpu() {
        return w.forward(&x);
    }
    if x.dim(0)? >= MANY_ROWS {
        return slabs(&x, blocks.shape().dims2()?, |rows| {
            let ids: Vec<u32> = rows.map(|row| row as u32).collect();
            blocks.embedding(&Tensor::from_slice(&ids, ids.len(), x.device())?)
        });
    }
    match Kind::of(blocks.dtype()) {
        Some(kind) => x.apply_op1_no_bwd(&Few { weights: blocks, kind }),
        None => w.forward(&x),
    }
}

/// `x [rows, in] · Wᵀ` → `[rows, out]` f32, for `w` `[out, in]` in a two-byte type; `x` in f32.
pub fn widened_product(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    slabs(x, w.dims2()?, |rows| w.narrow(0, rows.start, rows.len())?.to_dtype(DType::F32))
}

/// The product with weights `[out, in]` of which `piece` gives rows as f32.
fn slabs(
    x: &Tensor,
    (out, input): (usize, usize),
    piece: impl Fn(Range<usize>) -> Result<Tensor> + Sync,
) -> Result<Tensor> {
    let mut products = Vec::with_capacity(out.div_ceil(SLAB));
    for start in (0..out).step_by(SLAB) {
        let rows = SLAB.min(out - start);
        let mut numbers = vec![0f32; rows * input];
        numbers.par_chunks_mut(ROWS * input).enumerate().try_for_each(|(i, to)| {
            let first = start + i * ROWS;
            let from = piece(first..first + to.len() / input)?;
            to.copy_from_slice(host(&from)?.numbers());
            Ok::<_, candle_core::Error>(())
        })?;
        let slab = Tensor::from_vec(numbers, (rows, input), x.device())?;
        products.push(x.matmul(&slab.t()?)?);
    }
    if products.len() == 1 { Ok(products.swap_remove(0)) } else { Tensor::cat(&products, 1) }
}

/// Blocks that there is a product in integers for, on a processor that can.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Q8_0,
    Q4K,
}

impl Kind {
    /// `None`: the general product of the library is used.
    fn of(dtype: GgmlDType) -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c") {
            return match dtype {
                GgmlDType::Q8_0 => Some(Self::Q8_0),
                GgmlDType::Q4K => Some(Self::Q4K),
                _ => None,
            };
        }
        let _ = dtype;
        None
    }

    /// Bytes of a row of `input` weights.
    fn row_bytes(self, input: usize) -> usize {
        match self {
            Self::Q8_0 => input / BLOCK * 34,
            Self::Q4K => input / 256 * 144,
        }
    }
}

/// A product of few rows.
struct Few<'a> {
    weights: &'a QTensor,
    kind: Kind,
}

impl CustomOp1 for Few<'_> {
    fn name(&self) -> &'static str {
        "quantized_product"
    }

    fn cpu_fwd(&self, x: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, input) = l.shape().dims2()?;
        let (out, width) = self.weights.shape().dims2()?;
        if width != input {
            candle_core::bail!("{input} columns do not meet weights of {width}");
        }
        let bytes = self.weights.data()?;
        let row_bytes = self.kind.row_bytes(input);
        if bytes.len() != out * row_bytes {
            candle_core::bail!("{} bytes are not {out} rows of {input} quantised weights", bytes.len());
        }
        let mut y = vec![0f32; rows * out];
        for (x, y) in contiguous::<f32>(x, l)?.chunks_exact(input.max(1)).zip(y.chunks_mut(out.max(1))) {
            let x = Activations::of(x);
            y.par_chunks_mut(ROWS).zip(bytes.par_chunks(ROWS * row_bytes)).for_each(|(y, rows)| {
                for (y, row) in y.iter_mut().zip(rows.chunks_exact(row_bytes)) {
                    *y = x.dot(self.kind, row);
                }
            });
        }
        Ok((CpuStorage::F32(y), (rows, out).into()))
    }
}

/// One row of activations as integers: `x[i] ≈ scales[i / 32] · numbers[i]`.
struct Activations {
    numbers: Vec<i16>,
    scales: Vec<f32>,
    /// The sum of each 32 of `scales · numbers`: what a block's minimum multiplies.
    sums: Vec<f32>,
}

impl Activations {
    fn of(x: &[f32]) -> Self {
        let blocks = x.len() / BLOCK;
        let mut all = Self {
            numbers: Vec::with_capacity(x.len()),
            scales: Vec::with_capacity(blocks),
            sums: Vec::with_capacity(blocks),
        };
        for block in x.chunks_exact(BLOCK) {
            let largest = block.iter().fold(0f32, |most, x| most.max(x.abs()));
            let scale = largest / f32::from(i16::MAX);
            let inverse = if scale > 0.0 { scale.recip() } else { 0.0 };
            let mut sum = 0i32;
            all.numbers.extend(block.iter().map(|x| {
                let n = (x * inverse).round() as i16;
                sum += i32::from(n);
                n
            }));
            all.scales.push(scale);
            all.sums.push(scale * sum as f32);
        }
        all
    }

    /// The product with one row of weights.
    fn dot(&self, kind: Kind, row: &[u8]) -> f32 {
        #[cfg(target_arch = "x86_64")]
        {
            #[allow(unsafe_code, reason = "functions for one instruction set are unsafe to call elsewhere")]
            // SAFETY: a `Kind` is only made where these instructions were found.
            unsafe {
                match kind {
                    Kind::Q8_0 => x86::dot_q8_0(row, self),
                    Kind::Q4K => x86::dot_q4k(row, self),
                }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        unreachable!("{kind:?} is not made on this processor: {} bytes", row.len())
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m128i, __m256, __m256i, _mm_cvtph_ps, _mm_cvtsi32_si128, _mm_cvtss_f32, _mm_loadu_si128, _mm_set_epi64x,
        _mm_setr_epi16, _mm256_add_epi32, _mm256_add_ps, _mm256_and_si256, _mm256_cvtepi8_epi16, _mm256_cvtepi32_ps,
        _mm256_cvtepu8_epi16, _mm256_cvtepu8_epi32, _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_fnmadd_ps,
        _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_mul_ps, _mm256_permutevar8x32_ps,
        _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps, _mm256_srli_epi16, _mm256_storeu_ps,
    };

    use super::{Activations, BLOCK};

    /// `Σ scale · weight · x` over a row of Q8_0 blocks.
    #[target_feature(enable = "avx2,fma,f16c")]
    pub fn dot_q8_0(row: &[u8], x: &Activations) -> f32 {
        let (blocks, _) = row.as_chunks::<34>();
        let (numbers, _) = x.numbers.as_chunks::<BLOCK>();
        // Eight blocks at a time: their scales are converted and multiplied at once.
        let (blocks, last_blocks) = blocks.as_chunks::<8>();
        let (numbers, last_numbers) = numbers.as_chunks::<8>();
        let (scales, last_scales) = x.scales.as_chunks::<8>();
        let mut sums = [_mm256_setzero_ps(); 4];
        for ((blocks, numbers), scales) in blocks.iter().zip(numbers).zip(scales) {
            let [a, b, c, d, e, f, g, h] = blocks.each_ref().map(|block| i16::from_le_bytes([block[0], block[1]]));
            let scales = _mm256_mul_ps(_mm256_cvtph_ps(_mm_setr_epi16(a, b, c, d, e, f, g, h)), floats(scales));
            for (i, (block, numbers)) in blocks.iter().zip(numbers).enumerate() {
                let scale = _mm256_permutevar8x32_ps(scales, _mm256_set1_epi32(i as i32));
                sums[i % 4] = _mm256_fmadd_ps(block_sum(block, numbers), scale, sums[i % 4]);
            }
        }
        for ((block, numbers), scale) in last_blocks.iter().zip(last_numbers).zip(last_scales) {
            let scale = _mm256_set1_ps(half(block, 0) * scale);
            sums[0] = _mm256_fmadd_ps(block_sum(block, numbers), scale, sums[0]);
        }
        total(_mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3])))
    }

    /// The products of a Q8_0 block's weights, summed to eight.
    #[target_feature(enable = "avx2")]
    fn block_sum(block: &[u8; 34], numbers: &[i16; BLOCK]) -> __m256 {
        let low = _mm256_madd_epi16(_mm256_cvtepi8_epi16(sixteen(block, 2)), words(numbers, 0));
        let high = _mm256_madd_epi16(_mm256_cvtepi8_epi16(sixteen(block, 18)), words(numbers, 16));
        _mm256_cvtepi32_ps(_mm256_add_epi32(low, high))
    }

    /// `Σ (scale · weight − minimum) · x` over a row of Q4K blocks.
    #[target_feature(enable = "avx2,fma,f16c")]
    pub fn dot_q4k(row: &[u8], x: &Activations) -> f32 {
        let (blocks, _) = row.as_chunks::<144>();
        let (numbers, _) = x.numbers.as_chunks::<256>();
        let (scales, _) = x.scales.as_chunks::<8>();
        let (totals, _) = x.sums.as_chunks::<8>();
        let nibble = _mm256_set1_epi16(0x0f);
        let mut sums = [_mm256_setzero_ps(); 2];
        for (((block, numbers), scales), totals) in blocks.iter().zip(numbers).zip(scales).zip(totals) {
            let [of_scales, of_minima] = six_bits(block);
            let own = _mm256_mul_ps(eight(of_scales), _mm256_set1_ps(half(block, 0)));
            let own = _mm256_mul_ps(own, floats(scales));
            let least = _mm256_mul_ps(eight(of_minima), _mm256_set1_ps(half(block, 2)));
            sums[1] = _mm256_fnmadd_ps(least, floats(totals), sums[1]);
            // 64 weights at a time: the low nibbles of 32 bytes are the first 32 of them, the high ones the others.
            for part in 0..4 {
                let bytes = [0, 16].map(|i| _mm256_cvtepu8_epi16(sixteen(block, 16 + 32 * part + i)));
                for (side, shift) in [false, true].into_iter().enumerate() {
                    let nibbles =
                        bytes.map(|b| if shift { _mm256_srli_epi16::<4>(b) } else { _mm256_and_si256(b, nibble) });
                    let at = 64 * part + 32 * side;
                    let low = _mm256_madd_epi16(nibbles[0], words(numbers, at));
                    let high = _mm256_madd_epi16(nibbles[1], words(numbers, at + 16));
                    let scale = _mm256_permutevar8x32_ps(own, _mm256_set1_epi32((2 * part + side) as i32));
                    sums[0] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_add_epi32(low, high)), scale, sums[0]);
                }
            }
        }
        total(_mm256_add_ps(sums[0], sums[1]))
    }

    /// Eight scales and eight minima of six bits each, packed into bytes 4 to 16 of a Q4K block, a byte each.
    fn six_bits(block: &[u8; 144]) -> [u64; 2] {
        let word = |i: usize| u64::from(u32::from_le_bytes([block[i], block[i + 1], block[i + 2], block[i + 3]]));
        let [a, b, c] = [word(4), word(8), word(12)];
        let (six, four, two) = (0x3f3f_3f3f, 0x0f0f_0f0f, 0x0303_0303);
        let scales = (a & six) | ((c & four) | ((a >> 6) & two) << 4) << 32;
        let minima = (b & six) | (((c >> 4) & four) | ((b >> 6) & two) << 4) << 32;
        [scales, minima]
    }

    /// Eight bytes as eight numbers.
    #[target_feature(enable = "avx2")]
    fn eight(bytes: u64) -> __m256 {
        _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_set_epi64x(0, bytes as i64)))
    }

    /// The f16 at byte `at`.
    #[target_feature(enable = "f16c")]
    fn half<const N: usize>(block: &[u8; N], at: usize) -> f32 {
        let bits = u16::from_le_bytes([block[at], block[at + 1]]);
        _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(bits))))
    }

    /// Sixteen bytes from `at` on.
    #[target_feature(enable = "avx2")]
    fn sixteen<const N: usize>(block: &[u8; N], at: usize) -> __m128i {
        let bytes = &block[at..at + 16];
        #[allow(unsafe_code, reason = "a load takes a pointer")]
        // SAFETY: `bytes` is sixteen bytes long, and the load needs no alignment.
        unsafe {
            _mm_loadu_si128(bytes.as_ptr().cast())
        }
    }

    /// Sixteen integers from `at` on.
    #[target_feature(enable = "avx2")]
    fn words<const N: usize>(numbers: &[i16; N], at: usize) -> __m256i {
        let words = &numbers[at..at + 16];
        #[allow(unsafe_code, reason = "a load takes a pointer")]
        // SAFETY: `words` is 32 bytes long, and the load needs no alignment.
        unsafe {
            _mm256_loadu_si256(words.as_ptr().cast())
        }
    }

    #[target_feature(enable = "avx2")]
    fn floats(numbers: &[f32; 8]) -> __m256 {
        #[allow(unsafe_code, reason = "a load takes a pointer")]
        // SAFETY: eight numbers are 32 bytes, and the load needs no alignment.
        unsafe {
            _mm256_loadu_ps(numbers.as_ptr())
        }
    }

    #[target_feature(enable = "avx2")]
    fn total(lanes: __m256) -> f32 {
        let mut out = [0f32; 8];
        #[allow(unsafe_code, reason = "a store takes a pointer")]
        // SAFETY: `out` holds eight numbers, and the store needs no alignment.
        unsafe {
            _mm256_storeu_ps(out.as_mut_ptr(), lanes);
        }
        out.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// Few rows and many, both kinds, against the dequantised weights in f64: what is left is the activations' rounding.
    #[test]
    fn products_are_those_of_the_dequantised_weights() {
        for (dtype, input, out) in
            [(GgmlDType::Q8_0, 32, 5), (GgmlDType::Q8_0, 352, 70), (GgmlDType::Q4K, 256, 33), (GgmlDType::Q4K, 1024, 9)]
        {
            let w = Tensor::randn(0.3f32, 1., (out, input), &Device::Cpu).unwrap();
            let w = QTensor::quantize(&w, dtype).unwrap();
            let exact = w.dequantize(&Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
            let w = QMatMul::from_qtensor(w).unwrap();
            for rows in [1, 3, MANY_ROWS - 1, MANY_ROWS, 40] {
                let x = (Tensor::randn(0f32, 1., (rows, input), &Device::Cpu).unwrap() * 3.).unwrap();
                let expected = x.to_dtype(DType::F64).unwrap().matmul(&exact.t().unwrap()).unwrap();
                let ours = quantized_product(&x, &w).unwrap().to_dtype(DType::F64).unwrap();
                let worst = (ours - expected).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap();
                let worst: f64 = worst.to_scalar().unwrap();
                // The library's own kernel, on processors without ours, rounds activations to eight bits.
                let tolerance = if Kind::of(dtype).is_some() { 1e-3 } else { 0.5 } * (input as f64).sqrt();
                assert!(worst < tolerance, "{dtype:?} {rows} × {input} × {out}: {worst}");
            }
        }
    }

    #[test]
    fn rows_of_zeros_give_zeros() {
        let w = Tensor::randn(0f32, 1., (4, 256), &Device::Cpu).unwrap();
        for dtype in [GgmlDType::Q8_0, GgmlDType::Q4K] {
            let w = QMatMul::from_qtensor(QTensor::quantize(&w, dtype).unwrap()).unwrap();
            let y = quantized_product(&Tensor::zeros((1, 256), DType::F32, &Device::Cpu).unwrap(), &w).unwrap();
            assert_eq!(y.flatten_all().unwrap().to_vec1::<f32>().unwrap(), vec![0.0; 4]);
        }
    }

    #[test]
    fn two_byte_weights_are_widened() {
        let w = Tensor::randn(0f32, 1., (SLAB + 3, 8), &Device::Cpu).unwrap().to_dtype(DType::F16).unwrap();
        let x = Tensor::randn(0f32, 1., (5, 8), &Device::Cpu).unwrap();
        let expected = x.matmul(&w.to_dtype(DType::F32).unwrap().t().unwrap()).unwrap();
        let ours = widened_product(&x, &w).unwrap();
        let worst = (ours - expected).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap();
        assert!(worst.to_scalar::<f32>().unwrap() < 1e-5);
    }
}
