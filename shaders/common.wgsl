// What every pipeline shares: a triangle over the whole viewport, the colour maps and the last step
// to the target. Put before each other shader by plain concatenation. The tables are the twins of
// src/gpu/colormap.rs and a test compares them.

// 1 when the target encodes to sRGB itself; colours are then handed over as linear light.
override target_is_srgb: u32 = 0u;

struct Varyings {
    @builtin(position) position: vec4<f32>,
    // 0…1 over the viewport, y down.
    @location(0) uv: vec2<f32>,
}

@vertex
fn whole_viewport(@builtin(vertex_index) index: u32) -> Varyings {
    let corner = vec2<f32>(f32((index << 1u) & 2u), f32(index & 2u));
    var out: Varyings;
    out.uv = corner;
    out.position = vec4<f32>(corner.x * 2.0 - 1.0, 1.0 - corner.y * 2.0, 0.0, 1.0);
    return out;
}

fn linear_of(c: vec3<f32>) -> vec3<f32> {
    let low = c / 12.92;
    let high = pow((max(c, vec3<f32>(0.0)) + 0.055) / 1.055, vec3<f32>(2.4));
    return select(high, low, c <= vec3<f32>(0.04045));
}

// Premultiplied output of a gamma-encoded colour.
fn to_target(rgb: vec3<f32>, alpha: f32) -> vec4<f32> {
    var c = clamp(rgb, vec3<f32>(0.0), vec3<f32>(1.0));
    if target_is_srgb == 1u {
        c = linear_of(c);
    }
    return vec4<f32>(c * alpha, alpha);
}

// Colour maps sampled at 33 even points (viridis and magma by S. van der Walt and N. Smith, cividis by
// J. Nunez, C. Anderton and R. Renslow), linear between.
const MAP_POINTS: u32 = 33u;
var<private> VIRIDIS: array<vec3<f32>, 33> = array<vec3<f32>, 33>(
    vec3<f32>(0.267, 0.005, 0.329),
    vec3<f32>(0.277, 0.050, 0.376),
    vec3<f32>(0.282, 0.095, 0.417),
    vec3<f32>(0.283, 0.135, 0.453),
    vec3<f32>(0.279, 0.175, 0.483),
    vec3<f32>(0.271, 0.213, 0.507),
    vec3<f32>(0.259, 0.251, 0.524),
    vec3<f32>(0.245, 0.287, 0.537),
    vec3<f32>(0.230, 0.321, 0.545),
    vec3<f32>(0.215, 0.354, 0.551),
    vec3<f32>(0.200, 0.386, 0.555),
    vec3<f32>(0.186, 0.417, 0.557),
    vec3<f32>(0.173, 0.447, 0.558),
    vec3<f32>(0.161, 0.477, 0.558),
    vec3<f32>(0.150, 0.506, 0.557),
    vec3<f32>(0.138, 0.536, 0.555),
    vec3<f32>(0.128, 0.565, 0.551),
    vec3<f32>(0.121, 0.594, 0.544),
    vec3<f32>(0.120, 0.624, 0.534),
    vec3<f32>(0.131, 0.653, 0.521),
    vec3<f32>(0.155, 0.682, 0.503),
    vec3<f32>(0.193, 0.710, 0.481),
    vec3<f32>(0.241, 0.737, 0.455),
    vec3<f32>(0.299, 0.762, 0.423),
    vec3<f32>(0.363, 0.787, 0.387),
    vec3<f32>(0.433, 0.809, 0.345),
    vec3<f32>(0.508, 0.829, 0.299),
    vec3<f32>(0.587, 0.847, 0.249),
    vec3<f32>(0.669, 0.862, 0.195),
    vec3<f32>(0.753, 0.875, 0.143),
    vec3<f32>(0.836, 0.886, 0.102),
    vec3<f32>(0.917, 0.896, 0.101),
    vec3<f32>(0.993, 0.906, 0.144),
);
var<private> MAGMA: array<vec3<f32>, 33> = array<vec3<f32>, 33>(
    vec3<f32>(0.001, 0.000, 0.014),
    vec3<f32>(0.014, 0.012, 0.068),
    vec3<f32>(0.039, 0.031, 0.133),
    vec3<f32>(0.074, 0.052, 0.202),
    vec3<f32>(0.112, 0.065, 0.276),
    vec3<f32>(0.158, 0.068, 0.351),
    vec3<f32>(0.210, 0.062, 0.417),
    vec3<f32>(0.264, 0.060, 0.461),
    vec3<f32>(0.315, 0.071, 0.485),
    vec3<f32>(0.364, 0.090, 0.498),
    vec3<f32>(0.413, 0.110, 0.504),
    vec3<f32>(0.461, 0.129, 0.508),
    vec3<f32>(0.511, 0.147, 0.508),
    vec3<f32>(0.560, 0.165, 0.505),
    vec3<f32>(0.611, 0.181, 0.499),
    vec3<f32>(0.662, 0.197, 0.490),
    vec3<f32>(0.713, 0.214, 0.476),
    vec3<f32>(0.764, 0.232, 0.459),
    vec3<f32>(0.814, 0.254, 0.438),
    vec3<f32>(0.860, 0.281, 0.414),
    vec3<f32>(0.901, 0.316, 0.390),
    vec3<f32>(0.935, 0.361, 0.370),
    vec3<f32>(0.959, 0.414, 0.360),
    vec3<f32>(0.976, 0.471, 0.363),
    vec3<f32>(0.986, 0.530, 0.380),
    vec3<f32>(0.992, 0.589, 0.407),
    vec3<f32>(0.996, 0.648, 0.442),
    vec3<f32>(0.997, 0.706, 0.483),
    vec3<f32>(0.997, 0.763, 0.530),
    vec3<f32>(0.995, 0.821, 0.580),
    vec3<f32>(0.993, 0.878, 0.634),
    vec3<f32>(0.990, 0.935, 0.690),
    vec3<f32>(0.987, 0.991, 0.750),
);
var<private> CIVIDIS: array<vec3<f32>, 33> = array<vec3<f32>, 33>(
    vec3<f32>(0.000, 0.135, 0.305),
    vec3<f32>(0.000, 0.158, 0.357),
    vec3<f32>(0.000, 0.179, 0.414),
    vec3<f32>(0.017, 0.198, 0.441),
    vec3<f32>(0.102, 0.220, 0.436),
    vec3<f32>(0.153, 0.242, 0.430),
    vec3<f32>(0.194, 0.264, 0.426),
    vec3<f32>(0.230, 0.286, 0.424),
    vec3<f32>(0.263, 0.307, 0.423),
    vec3<f32>(0.294, 0.329, 0.424),
    vec3<f32>(0.323, 0.350, 0.426),
    vec3<f32>(0.352, 0.372, 0.430),
    vec3<f32>(0.380, 0.394, 0.435),
    vec3<f32>(0.407, 0.416, 0.442),
    vec3<f32>(0.434, 0.439, 0.451),
    vec3<f32>(0.460, 0.461, 0.461),
    vec3<f32>(0.487, 0.484, 0.471),
    vec3<f32>(0.516, 0.507, 0.473),
    vec3<f32>(0.546, 0.530, 0.472),
    vec3<f32>(0.576, 0.554, 0.469),
    vec3<f32>(0.607, 0.578, 0.464),
    vec3<f32>(0.638, 0.602, 0.457),
    vec3<f32>(0.669, 0.627, 0.449),
    vec3<f32>(0.701, 0.652, 0.438),
    vec3<f32>(0.733, 0.678, 0.425),
    vec3<f32>(0.766, 0.704, 0.410),
    vec3<f32>(0.799, 0.731, 0.392),
    vec3<f32>(0.833, 0.759, 0.371),
    vec3<f32>(0.867, 0.786, 0.346),
    vec3<f32>(0.902, 0.815, 0.317),
    vec3<f32>(0.937, 0.844, 0.281),
    vec3<f32>(0.973, 0.874, 0.234),
    vec3<f32>(0.996, 0.909, 0.218),
);

fn map_point(map: u32, index: u32) -> vec3<f32> {
    switch map {
        case 1u: { return MAGMA[index]; }
        case 2u: { return CIVIDIS[index]; }
        default: { return VIRIDIS[index]; }
    }
}

// map: 0 viridis, 1 magma, 2 cividis; t in 0…1.
fn color_of(map: u32, t: f32) -> vec3<f32> {
    let x = clamp(t, 0.0, 1.0) * f32(MAP_POINTS - 1u);
    let index = min(u32(x), MAP_POINTS - 2u);
    return mix(map_point(map, index), map_point(map, index + 1u), x - f32(index));
}

// Okabe–Ito hues of the modalities: 0 video, 1 audio, 2 text.
fn modality_hue(modality: u32) -> vec3<f32> {
    switch modality {
        case 0u: { return vec3<f32>(0.337, 0.706, 0.914); }
        case 1u: { return vec3<f32>(0.902, 0.624, 0.0); }
        default: { return vec3<f32>(0.0, 0.620, 0.451); }
    }
}
