// One decoded picture, plane by plane, to RGB: matrix and range as one affine map of raw samples, chroma
// siting as an offset of the sampling position, rotation as a map of coordinates. Integer textures and
// hand-made bilinear and bicubic sampling, so that 8 to 16 bits take one path that needs no optional feature.

struct Video {
    // rgb = (rows · (y, u, v, 1)), raw integer samples in, 0…1 out.
    rgb_from_yuv: array<vec4<f32>, 3>,
    // source (s, t) in 0…1 = (row · (u, v, 1)) of the upright picture's (u, v).
    source_from_display: array<vec4<f32>, 2>,
    // Width and height of the first plane, in samples.
    size: vec2<f32>,
    // Chroma position in chroma samples = luma position · scale + offset.
    chroma_scale: vec2<f32>,
    chroma_offset: vec2<f32>,
    // 0 three planes, 1 two planes (UV interleaved), 2 gray, 3 RGBA; 4 and 5 are 0 and 1 with bicubic chroma.
    kind: u32,
    // Samples per axis and target pixel: above 1 when the picture is shrunk by more than 2.
    taps: u32,
    // Linear light of the picture's primaries to BT.709's, rows; w holds the luminance weight of each primary.
    gamut: array<vec4<f32>, 3>,
    // 0 ordinary, 1 PQ (SMPTE ST 2084), 2 HLG (ARIB STD-B67).
    transfer: u32,
    // The brightest light, 1 = 100 cd/m².
    peak: f32,
    unused: vec2<u32>,
}

@group(0) @binding(0) var<uniform> video: Video;
@group(0) @binding(1) var plane_0: texture_2d<u32>;
@group(0) @binding(2) var plane_1: texture_2d<u32>;
@group(0) @binding(3) var plane_2: texture_2d<u32>;
// Only for gathers: nothing is filtered, edges are repeated.
@group(0) @binding(4) var nearest: sampler;

// Sample i covers [i, i + 1); `at` is in samples. The four neighbours in one gather at the corner where they meet, half
// a sample from where any other four would be taken: their raw values come back exactly, edges repeated.
struct Corner {
    uv: vec2<f32>,
    part: vec2<f32>,
}

fn corner(plane: texture_2d<u32>, at: vec2<f32>) -> Corner {
    let p = at - vec2<f32>(0.5);
    let base = floor(p);
    return Corner((base + vec2<f32>(1.0)) / vec2<f32>(textureDimensions(plane)), p - base);
}

// A gather's order: bottom left, bottom right, top right, top left.
fn mixed(four: vec4<u32>, part: vec2<f32>) -> f32 {
    let v = vec4<f32>(four);
    return mix(mix(v.w, v.z, part.x), mix(v.x, v.y, part.x), part.y);
}

fn bilinear(plane: texture_2d<u32>, at: vec2<f32>) -> f32 {
    let c = corner(plane, at);
    return mixed(textureGather(0, plane, nearest, c.uv), c.part);
}

fn bilinear_two(plane: texture_2d<u32>, at: vec2<f32>) -> vec2<f32> {
    let c = corner(plane, at);
    return vec2<f32>(
        mixed(textureGather(0, plane, nearest, c.uv), c.part),
        mixed(textureGather(1, plane, nearest, c.uv), c.part),
    );
}

// Bicubic weights of the four samples around a position, `part` of the way from the second to the third: the kernel
// that FFmpeg's scaler uses (a = -0.6).
fn cubic_weights(part: f32) -> vec4<f32> {
    let a = -0.6;
    let d = vec4<f32>(1.0 + part, part, 1.0 - part, 2.0 - part);
    let near = ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0;
    let far = ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a;
    return vec4<f32>(far.x, near.y, near.z, far.w);
}

// Two rows of two texels each, in a gather's order, weighted.
fn weighted(four: vec4<u32>, across: vec2<f32>, down: vec2<f32>) -> f32 {
    let v = vec4<f32>(four);
    return dot(across, v.wz) * down.x + dot(across, v.xy) * down.y;
}

// The sixteen texels around `at` in four gathers: bicubic, edges repeated.
struct Sixteen {
    uv: vec2<f32>,
    step: vec2<f32>,
    across: vec4<f32>,
    down: vec4<f32>,
}

fn sixteen(plane: texture_2d<u32>, at: vec2<f32>) -> Sixteen {
    let p = at - vec2<f32>(0.5);
    let base = floor(p);
    let part = p - base;
    let size = vec2<f32>(textureDimensions(plane));
    return Sixteen(base / size, vec2<f32>(2.0) / size, cubic_weights(part.x), cubic_weights(part.y));
}

fn bicubic(plane: texture_2d<u32>, at: vec2<f32>) -> f32 {
    let s = sixteen(plane, at);
    let right = vec2<f32>(s.step.x, 0.0);
    let below = vec2<f32>(0.0, s.step.y);
    return weighted(textureGather(0, plane, nearest, s.uv), s.across.xy, s.down.xy)
        + weighted(textureGather(0, plane, nearest, s.uv + right), s.across.zw, s.down.xy)
        + weighted(textureGather(0, plane, nearest, s.uv + below), s.across.xy, s.down.zw)
        + weighted(textureGather(0, plane, nearest, s.uv + s.step), s.across.zw, s.down.zw);
}

fn bicubic_two(plane: texture_2d<u32>, at: vec2<f32>) -> vec2<f32> {
    let s = sixteen(plane, at);
    let right = vec2<f32>(s.step.x, 0.0);
    let below = vec2<f32>(0.0, s.step.y);
    let u = weighted(textureGather(0, plane, nearest, s.uv), s.across.xy, s.down.xy)
        + weighted(textureGather(0, plane, nearest, s.uv + right), s.across.zw, s.down.xy)
        + weighted(textureGather(0, plane, nearest, s.uv + below), s.across.xy, s.down.zw)
        + weighted(textureGather(0, plane, nearest, s.uv + s.step), s.across.zw, s.down.zw);
    let v = weighted(textureGather(1, plane, nearest, s.uv), s.across.xy, s.down.xy)
        + weighted(textureGather(1, plane, nearest, s.uv + right), s.across.zw, s.down.xy)
        + weighted(textureGather(1, plane, nearest, s.uv + below), s.across.xy, s.down.zw)
        + weighted(textureGather(1, plane, nearest, s.uv + s.step), s.across.zw, s.down.zw);
    return vec2<f32>(u, v);
}

fn rgb_at(uv: vec2<f32>) -> vec3<f32> {
    let display = vec3<f32>(uv, 1.0);
    let source = vec2<f32>(
        dot(video.source_from_display[0].xyz, display),
        dot(video.source_from_display[1].xyz, display),
    );
    let at = source * video.size;
    let chroma = at * video.chroma_scale + video.chroma_offset;
    var yuv = vec4<f32>(0.0, 0.0, 0.0, 1.0);
    switch deciding(video.kind, uv) {
        case 0u: {
            yuv = vec4<f32>(bilinear(plane_0, at), bilinear(plane_1, chroma), bilinear(plane_2, chroma), 1.0);
        }
        case 1u: {
            yuv = vec4<f32>(bilinear(plane_0, at), bilinear_two(plane_1, chroma), 1.0);
        }
        case 4u: {
            yuv = vec4<f32>(bilinear(plane_0, at), bicubic(plane_1, chroma), bicubic(plane_2, chroma), 1.0);
        }
        case 5u: {
            yuv = vec4<f32>(bilinear(plane_0, at), bicubic_two(plane_1, chroma), 1.0);
        }
        case 2u: {
            yuv.x = bilinear(plane_0, at);
        }
        default: {
            let c = corner(plane_0, at);
            let blue = mixed(textureGather(2, plane_0, nearest, c.uv), c.part);
            yuv = vec4<f32>(bilinear_two(plane_0, at), blue, 1.0);
        }
    }
    let rgb = vec3<f32>(
        dot(video.rgb_from_yuv[0], yuv),
        dot(video.rgb_from_yuv[1], yuv),
        dot(video.rgb_from_yuv[2], yuv),
    );
    return clamp(rgb, vec3<f32>(0.0), vec3<f32>(1.0));
}

// SMPTE ST 2084: code to light, 1 = 10,000 cd/m².
fn pq_light(code: vec3<f32>) -> vec3<f32> {
    let p = pow(code, vec3<f32>(1.0 / 78.84375));
    let shares = max(p - 0.8359375, vec3<f32>(0.0)) / (18.8515625 - 18.6875 * p);
    return pow(shares, vec3<f32>(1.0 / 0.1593017578125));
}

// ARIB STD-B67: code to the light of the scene, 1 = white at its brightest.
fn hlg_scene(code: vec3<f32>) -> vec3<f32> {
    let low = code * code / 3.0;
    let high = (exp((code - 0.55991073) / 0.17883277) + 0.28466892) / 12.0;
    return select(high, low, code <= vec3<f32>(0.5));
}

// John Hable's filmic curve.
fn hable(x: f32) -> f32 {
    return (x * (0.15 * x + 0.05) + 0.004) / (x * (0.15 * x + 0.5) + 0.06) - 0.02 / 0.3;
}

// A high-dynamic-range colour as an ordinary display shows it: to light (1 = 100 cd/m²), to BT.709's primaries, the
// strongest of them through the curve and the others with it, to the code of a display with gamma 2.4.
// Twin: src/gpu/video.rs.
fn tone_mapped(code: vec3<f32>, transfer: u32) -> vec3<f32> {
    var light: vec3<f32>;
    if transfer == 1u {
        light = pq_light(code) * 100.0;
    } else {
        // BT.2100's opto-optical transfer for a display of 1,000 cd/m².
        let scene = hlg_scene(code);
        let luminance = dot(scene, vec3<f32>(video.gamut[0].w, video.gamut[1].w, video.gamut[2].w));
        light = scene * pow(max(luminance, 1e-6), 0.2) * 10.0;
    }
    let rgb = vec3<f32>(
        dot(video.gamut[0].xyz, light),
        dot(video.gamut[1].xyz, light),
        dot(video.gamut[2].xyz, light),
    );
    let strongest = max(max(rgb.x, rgb.y), max(rgb.z, 1e-6));
    let scale = hable(strongest) / hable(video.peak) / strongest;
    return pow(clamp(rgb * scale, vec3<f32>(0.0), vec3<f32>(1.0)), vec3<f32>(1.0 / 2.4));
}

@fragment
fn show_video(in: Varyings) -> @location(0) vec4<f32> {
    let across = dpdx(in.uv);
    let down = dpdy(in.uv);
    var sum = vec3<f32>(0.0);
    let taps = deciding(video.taps, in.uv);
    for (var j = 0u; j < taps; j++) {
        for (var i = 0u; i < taps; i++) {
            let step = (vec2<f32>(f32(i), f32(j)) + 0.5) / f32(video.taps) - 0.5;
            sum += rgb_at(in.uv + across * step.x + down * step.y);
        }
    }
    var rgb = sum / f32(video.taps * video.taps);
    let transfer = deciding(video.transfer, in.uv);
    if transfer != 0u {
        rgb = tone_mapped(rgb, transfer);
    }
    return to_target(rgb, 1.0);
}
