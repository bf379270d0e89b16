// What every pipeline shares: a triangle over the whole viewport, the way into a colour map and the last step
// to the target. Put before each other shader by plain concatenation.

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

// A number of a uniform that decides which way a shader goes, mixed with what only the pixel knows (`uv` is never below
// -1). Mesa's software renderer would otherwise compile the whole shader anew for its value, at every single draw, and
// keep what it compiled: a third of a second and 1.5 MB each.
fn deciding(value: u32, uv: vec2<f32>) -> u32 {
    return select(value, 0u, uv.x < -1.0);
}

// Points of a colour map, linear between. The points themselves come with the uniform of whoever draws: as constants
// they would be copied to the stack of every single pixel where there is no graphics card.
const MAP_POINTS: u32 = 33u;

// Where t in 0…1 lies among the points of a colour map: the point before it, and how far it is to the next.
struct MapPosition {
    index: u32,
    part: f32,
}

fn map_position(t: f32) -> MapPosition {
    let x = clamp(t, 0.0, 1.0) * f32(MAP_POINTS - 1u);
    let index = min(u32(x), MAP_POINTS - 2u);
    return MapPosition(index, x - f32(index));
}
