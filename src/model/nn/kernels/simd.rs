//! The inner loops of the CPU kernels, written so that they vectorise, compiled once for the baseline and once for
//! AVX2. Knows nothing of tensors.

use half::f16;

/// Independent accumulators hide the latency of the fused multiply-add.
const LANES: usize = 32;

macro_rules! dispatch {
    ($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*) $body:block) => {
        $(#[$doc])*
        #[allow(unsafe_code, reason = "the AVX2 copy may only run where the processor has AVX2")]
        #[allow(clippy::too_many_arguments, reason = "an inner loop takes its slices one by one")]
        #[inline]
        pub fn $name($($arg: $ty),*) {
            // `FUSED` says whether the processor has a fused multiply-add; without it, `mul_add` is a slow call.
            #[inline(always)]
            #[allow(clippy::inline_always, reason = "the body must be compiled with the caller's features")]
            #[allow(clippy::too_many_arguments, reason = "as above")]
            fn body<const FUSED: bool>($($arg: $ty),*) $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma,f16c")]
                #[allow(clippy::too_many_arguments, reason = "as above")]
                fn avx2($($arg: $ty),*) { body::<true>($($arg),*); }
                if std::arch::is_x86_feature_detected!("avx2")
                    && std::arch::is_x86_feature_detected!("fma")
                    && std::arch::is_x86_feature_detected!("f16c")
                {
                    // SAFETY: the three features were just detected.
                    return unsafe { avx2($($arg),*) };
                }
            }
            body::<{ cfg!(target_arch = "aarch64") }>($($arg),*);
        }
    };
}

#[inline(always)]
#[allow(clippy::inline_always, reason = "the body must be compiled with the caller's features")]
fn fma<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

#[inline(always)]
#[allow(clippy::inline_always, reason = "the body must be compiled with the caller's features")]
fn sum(lanes: &[f32; LANES]) -> f32 {
    let mut lanes = *lanes;
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
    }
    lanes[0]
}

dispatch! {
    /// `y[o] = x · w[o]` for the rows of `w`.
    dot_rows(x: &[f32], w: &[f32], y: &mut [f32]) {
        for (y, w) in y.iter_mut().zip(w.chunks_exact(x.len().max(1))) {
            *y = dot::<FUSED>(x, w);
        }
    }
}

dispatch! {
    /// `y[o] = x · w[o]` for the rows of `w` in f16.
    dot_rows_f16(x: &[f32], w: &[f16], y: &mut [f32]) {
        for (y, w) in y.iter_mut().zip(w.chunks_exact(x.len().max(1))) {
            let mut lanes = [0f32; LANES];
            let (xs, xr) = x.as_chunks::<LANES>();
            let (ws, wr) = w.as_chunks::<LANES>();
            for (x, w) in xs.iter().zip(ws) {
                for i in 0..LANES {
                    lanes[i] = fma::<FUSED>(x[i], widen(w[i]), lanes[i]);
                }
            }
            let rest: f32 = xr.iter().zip(wr).map(|(x, w)| x * widen(*w)).sum();
            *y = sum(&lanes) + rest;
        }
    }
}

/// A finite f16 as f32 by shifting its bits and scaling by 2¹¹²: exact, subnormals included, and it vectorises.
#[inline(always)]
#[allow(clippy::inline_always, reason = "the body must be compiled with the caller's features")]
fn widen(h: f16) -> f32 {
    let bits = u32::from(h.to_bits());
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
    f32::from_bits(magnitude.to_bits() | ((bits & 0x8000) << 16))
}

/// `e^x` to about two units in the last place: 2^n · e^r with |r| ≤ ln 2 / 2 and a polynomial of degree 6.
/// Underflows to 0 below −87; −∞ gives 0.
#[inline(always)]
#[allow(clippy::inline_always, reason = "the body must be compiled with the caller's features")]
fn exp<const FUSED: bool>(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding and subtracting 1.5·2²³ rounds to the nearest integer without a library call.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.0, 88.0);
    let n = fma::<FUSED>(clamped, std::f32::consts::LOG2_E, ROUND) - ROUND;
    let r = fma::<FUSED>(n, -LN2_LOW, fma::<FUSED>(n, -LN2_HIGH, clamped));
    let mut p = 1.388_888_9e-3f32;
    p = fma::<FUSED>(p, r, 8.333_334e-3);
    p = fma::<FUSED>(p, r, 4.166_666_6e-2);
    p = fma::<FUSED>(p, r, 0.166_666_67);
    p = fma::<FUSED>(p, r, 0.5);
    p = fma::<FUSED>(p, r, 1.0);
    p = fma::<FUSED>(p, r, 1.0);
    let scaled = p * f32::from_bits(((n as i32 + 127) << 23) as u32);
    if x < -87.0 { 0.0 } else { scaled }
}

dispatch! {
    /// `y = silu(gate) · up`.
    silu_mul(gate: &[f32], up: &[f32], y: &mut [f32]) {
        for ((y, g), u) in y.iter_mut().zip(gate).zip(up) {
            *y = g / (1.0 + exp::<FUSED>(-g)) * u;
        }
    }
}

dispatch! {
    /// `row = softmax(scale · row)`; all zeros where no score is finite.
    softmax(row: &mut [f32], scale: f32) {
        let mut max = f32::NEG_INFINITY;
        for s in row.iter() {
            max = if *s > max { *s } else { max };
        }
        if max == f32::NEG_INFINITY {
            row.fill(0.0);
            return;
        }
        for s in row.iter_mut() {
            *s = exp::<FUSED>((*s - max) * scale);
        }
        let inverse = 1.0 / total(row);
        for s in row.iter_mut() {
            *s *= inverse;
        }
    }
}

/// Σ a·b over two equally long slices.
#[inline(always)]
#[allow(clippy::inline_always, reason = "the body must be compiled with the caller's features")]
fn dot<const FUSED: bool>(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let ((a, ar), (b, br)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            lanes[i] = fma::<FUSED>(a[i], b[i], lanes[i]);
        }
    }
    sum(&lanes) + ar.iter().zip(br).map(|(a, b)| a * b).sum::<f32>()
}

/// Σ a·b·c over three equally long slices.
#[inline(always)]
#[allow(clippy::inline_always, reason = "the body must be compiled with the caller's features")]
fn dot3<const FUSED: bool>(a: &[f32], b: &[f32], c: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let ((a, ar), (b, br), (c, cr)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>(), c.as_chunks::<LANES>());
    for ((a, b), c) in a.iter().zip(b).zip(c) {
        for i in 0..LANES {
            lanes[i] = fma::<FUSED>(a[i] * b[i], c[i], lanes[i]);
        }
    }
    sum(&lanes) + ar.iter().zip(br).zip(cr).map(|((a, b), c)| a * b * c).sum::<f32>()
}

/// Σ a.
#[inline(always)]
#[allow(clippy::inline_always, reason = "the body must be compiled with the caller's features")]
fn total(a: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let (a, rest) = a.as_chunks::<LANES>();
    for a in a {
        for i in 0..LANES {
            lanes[i] += a[i];
        }
    }
    sum(&lanes) + rest.iter().sum::<f32>()
}

dispatch! {
    /// `y = gelu(x)` with the error function.
    gelu(x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = 0.5 * x * (1.0 + erf::<FUSED>(x * std::f32::consts::FRAC_1_SQRT_2));
        }
    }
}

dispatch! {
    /// `dx = g · gelu'(x)`.
    gelu_back(x: &[f32], g: &[f32], dx: &mut [f32]) {
        /// 1 / √(2π).
        const DENSITY: f32 = 0.398_942_3;
        for ((dx, x), g) in dx.iter_mut().zip(x).zip(g) {
            let below = 0.5 * (1.0 + erf::<FUSED>(x * std::f32::consts::FRAC_1_SQRT_2));
            *dx = g * fma::<FUSED>(x * DENSITY, exp::<FUSED>(-0.5 * x * x), below);
        }
    }
}

/// The error function to 1.5e-7 (Abramowitz and Stegun, 7.1.26).
#[inline(always)]
#[allow(clippy::inline_always, reason = "the body must be compiled with the caller's features")]
fn erf<const FUSED: bool>(x: f32) -> f32 {
    let size = x.abs();
    let t = 1.0 / fma::<FUSED>(0.327_591_1, size, 1.0);
    let mut p = 1.061_405_4f32;
    p = fma::<FUSED>(p, t, -1.453_152);
    p = fma::<FUSED>(p, t, 1.421_413_7);
    p = fma::<FUSED>(p, t, -0.284_496_72);
    p = fma::<FUSED>(p, t, 0.254_829_6);
    (1.0 - p * t * exp::<FUSED>(-size * size)).copysign(x)
}

dispatch! {
    /// Gradient of `silu(gate) · up` for one row: into `dgate` and `dup`.
    silu_mul_back(gate: &[f32], up: &[f32], g: &[f32], dgate: &mut [f32], dup: &mut [f32]) {
        for ((((gate, up), g), dgate), dup) in gate.iter().zip(up).zip(g).zip(dgate).zip(dup) {
            let sigmoid = 1.0 / (1.0 + exp::<FUSED>(-gate));
            *dup = g * gate * sigmoid;
            *dgate = g * up * sigmoid * fma::<FUSED>(*gate, 1.0 - sigmoid, 1.0);
        }
    }
}

dispatch! {
    /// `ds = scale · p · (g − Σ g·p)`: the gradient of one row of a soft-max.
    softmax_back(p: &[f32], g: &[f32], scale: f32, ds: &mut [f32]) {
        let mean = dot::<FUSED>(p, g);
        for ((ds, p), g) in ds.iter_mut().zip(p).zip(g) {
            *ds = scale * p * (g - mean);
        }
    }
}

dispatch! {
    /// `y = w · x / rms(x)` for each row.
    rms_norm(x: &[f32], w: &[f32], eps: f32, y: &mut [f32]) {
        let width = w.len().max(1);
        for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
            let inverse = 1.0 / (dot::<FUSED>(x, x) / width as f32 + eps).sqrt();
            for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
                *y = x * inverse * w;
            }
        }
    }
}

dispatch! {
    /// Gradients of [`rms_norm`]: `dx` per row; added to `dw`.
    rms_norm_back(x: &[f32], w: &[f32], g: &[f32], eps: f32, dx: &mut [f32], dw: &mut [f32]) {
        let width = w.len().max(1);
        for ((x, g), dx) in x.chunks_exact(width).zip(g.chunks_exact(width)).zip(dx.chunks_exact_mut(width)) {
            let inverse = 1.0 / (dot::<FUSED>(x, x) / width as f32 + eps).sqrt();
            let pull = dot3::<FUSED>(x, w, g) / width as f32 * inverse * inverse * inverse;
            for ((((dx, x), w), g), dw) in dx.iter_mut().zip(x).zip(w).zip(g).zip(&mut *dw) {
                *dx = fma::<FUSED>(w * g, inverse, -pull * x);
                *dw = fma::<FUSED>(x * inverse, *g, *dw);
            }
        }
    }
}

dispatch! {
    /// `y = w · (x − mean) / std + b` for each row.
    layer_norm(x: &[f32], w: &[f32], b: &[f32], eps: f32, y: &mut [f32]) {
        let width = w.len().max(1);
        for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
            let mean = total(x) / width as f32;
            for (y, x) in y.iter_mut().zip(x) {
                *y = x - mean;
            }
            let inverse = 1.0 / (dot::<FUSED>(y, y) / width as f32 + eps).sqrt();
            for ((y, w), b) in y.iter_mut().zip(w).zip(b) {
                *y = fma::<FUSED>(*y * inverse, *w, *b);
            }
        }
    }
}

dispatch! {
    /// Gradients of [`layer_norm`]: `dx` per row; added to `dw` and `db`. `unit` is room for one row.
    layer_norm_back(
        x: &[f32], w: &[f32], g: &[f32], eps: f32, unit: &mut [f32], dx: &mut [f32], dw: &mut [f32], db: &mut [f32]
    ) {
        let width = w.len().max(1);
        for ((x, g), dx) in x.chunks_exact(width).zip(g.chunks_exact(width)).zip(dx.chunks_exact_mut(width)) {
            let mean = total(x) / width as f32;
            for (u, x) in unit.iter_mut().zip(x) {
                *u = x - mean;
            }
            let inverse = 1.0 / (dot::<FUSED>(unit, unit) / width as f32 + eps).sqrt();
            for u in unit.iter_mut() {
                *u *= inverse;
            }
            let shift = dot::<FUSED>(w, g) / width as f32;
            let pull = dot3::<FUSED>(unit, w, g) / width as f32;
            for (((((dx, u), w), g), dw), db) in
                dx.iter_mut().zip(&*unit).zip(w).zip(g).zip(&mut *dw).zip(&mut *db)
            {
                *dx = inverse * (w * g - shift - u * pull);
                *dw = fma::<FUSED>(*u, *g, *dw);
                *db += g;
            }
        }
    }
}

dispatch! {
    /// Adds each row of `g` to `out`.
    add_rows(g: &[f32], out: &mut [f32]) {
        for g in g.chunks_exact(out.len().max(1)) {
            for (out, g) in out.iter_mut().zip(g) {
                *out += g;
            }
        }
    }
}

dispatch! {
    /// Half rotation of rows `[head_dim]` by `cos` and `sin` `[head_dim / 2]` per row; `turn` −1 rotates back.
    rope(x: &[f32], cos: &[f32], sin: &[f32], half: usize, turn: f32, y: &mut [f32]) {
        let rows = x.chunks_exact(2 * half).zip(y.chunks_exact_mut(2 * half));
        for ((x, y), (cos, sin)) in rows.zip(cos.chunks_exact(half).zip(sin.chunks_exact(half))) {
            let ((a, b), (ya, yb)) = (x.split_at(half), y.split_at_mut(half));
            for (((((a, b), cos), sin), ya), yb) in a.iter().zip(b).zip(cos).zip(sin).zip(ya).zip(yb) {
                let sin = turn * sin;
                *ya = a * cos - b * sin;
                *yb = fma::<FUSED>(*a, sin, b * cos);
            }
        }
    }
}
