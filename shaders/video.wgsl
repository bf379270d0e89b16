// One decoded picture, plane by plane, to RGB: matrix and range as one affine map of raw samples, chroma
// siting as an offset of the sampling position, rotation as a map of coordinates. Integer textures and
// hand-made bilinear sampling, so that 8 to 16 bits take one path that needs no optional feature.

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
    // 0 three planes, 1 two planes (UV interleaved), 2 gray, 3 RGBA.
    kind: u32,
    // Samples per axis and target pixel: above 1 when the picture is shrunk by more than 2.
    taps: u32,
}

@group(0) @binding(0) var<uniform> video: Video;
@group(0) @binding(1) var plane_0: texture_2d<u32>;
@group(0) @binding(2) var plane_1: texture_2d<u32>;
@group(0) @binding(3) var plane_2: texture_2d<u32>;

// Sample i covers [i, i + 1); `at` is in samples.
fn bilinear(plane: texture_2d<u32>, at: vec2<f32>) -> vec4<f32> {
    let last = vec2<i32>(textureDimensions(plane)) - vec2<i32>(1);
    let p = at - vec2<f32>(0.5);
    let base = floor(p);
    let f = p - base;
    let a = clamp(vec2<i32>(base), vec2<i32>(0), last);
    let b = clamp(vec2<i32>(base) + vec2<i32>(1), vec2<i32>(0), last);
    let top = mix(vec4<f32>(textureLoad(plane, a, 0)), vec4<f32>(textureLoad(plane, vec2<i32>(b.x, a.y), 0)), f.x);
    let bottom = mix(vec4<f32>(textureLoad(plane, vec2<i32>(a.x, b.y), 0)), vec4<f32>(textureLoad(plane, b, 0)), f.x);
    return mix(top, bottom, f.y);
}

fn rgb_at(uv: vec2<f32>) -> vec3<f32> {
    let display = vec3<f32>(uv, 1.0);
    let source = vec2<f32>(
        dot(video.source_from_display[0].xyz, display),
        dot(video.source_from_display[1].xyz, display),
    );
    let at = source * video.size;
    let first = bilinear(plane_0, at);
    var yuv = vec4<f32>(first.x, 0.0, 0.0, 1.0);
    if video.kind == 3u {
        yuv = vec4<f32>(first.xyz, 1.0);
    } else if video.kind == 1u {
        let uv_pair = bilinear(plane_1, at * video.chroma_scale + video.chroma_offset);
        yuv = vec4<f32>(first.x, uv_pair.xy, 1.0);
    } else if video.kind == 0u {
        let chroma = at * video.chroma_scale + video.chroma_offset;
        yuv = vec4<f32>(first.x, bilinear(plane_1, chroma).x, bilinear(plane_2, chroma).x, 1.0);
    }
    let rgb = vec3<f32>(
        dot(video.rgb_from_yuv[0], yuv),
        dot(video.rgb_from_yuv[1], yuv),
        dot(video.rgb_from_yuv[2], yuv),
    );
    return clamp(rgb, vec3<f32>(0.0), vec3<f32>(1.0));
}

@fragment
fn show_video(in: Varyings) -> @location(0) vec4<f32> {
    let across = dpdx(in.uv);
    let down = dpdy(in.uv);
    var sum = vec3<f32>(0.0);
    for (var j = 0u; j < video.taps; j++) {
        for (var i = 0u; i < video.taps; i++) {
            let step = (vec2<f32>(f32(i), f32(j)) + 0.5) / f32(video.taps) - 0.5;
            sum += rgb_at(in.uv + across * step.x + down * step.y);
        }
    }
    return to_target(sum / f32(video.taps * video.taps), 1.0);
}
