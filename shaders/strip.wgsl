// A lane over time: columns of the visible span, already reduced to at most one per pixel. A lane is a plain
// heat strip, a waveform or an image (log-mel), and the last two can be tinted by a heat line.
// Twin: src/gpu/strip.rs.

struct Strip {
    // Colour behind everything and colour of the signal, gamma-encoded; w unused.
    ground: vec4<f32>,
    signal: vec4<f32>,
    // Columns, and rows of the background image (2 for a waveform: lowest and highest sample).
    columns: f32,
    rows: f32,
    scale: f32,
    gamma: f32,
    opacity: f32,
    // Height of the drawn rectangle in target pixels.
    pixels_high: f32,
    // 0 heat, 1 waveform, 2 image.
    mode: u32,
    unused: u32,
    // The colour map's points; w unused.
    colors: array<vec4<f32>, 33>,
}

@group(0) @binding(0) var<uniform> strip: Strip;
// [rows, columns]: waveform extremes in −1…1, or image values in 0…1 with row 0 at the bottom.
@group(0) @binding(1) var background: texture_2d<f32>;
// [1, columns]: weights; negative where there is no token.
@group(0) @binding(2) var heat: texture_2d<f32>;

// t in 0…1 on the colour map.
fn color_of(t: f32) -> vec3<f32> {
    let at = map_position(t);
    return mix(strip.colors[at.index].xyz, strip.colors[at.index + 1u].xyz, at.part);
}

@fragment
fn show_strip(in: Varyings) -> @location(0) vec4<f32> {
    let column = clamp(i32(in.uv.x * strip.columns), 0, i32(strip.columns) - 1);
    let weight = textureLoad(heat, vec2<i32>(column, 0), 0).x;
    let has_heat = weight >= 0.0 && strip.scale > 0.0;
    let level = pow(clamp(weight / max(strip.scale, 1e-12), 0.0, 1.0), strip.gamma);
    let hot = color_of(level);
    var color = strip.ground.xyz;
    let mode = deciding(strip.mode, in.uv);
    if mode == 0u {
        if has_heat {
            color = mix(color, hot, strip.opacity);
        }
    } else if mode == 1u {
        let low = textureLoad(background, vec2<i32>(column, 0), 0).x;
        let high = textureLoad(background, vec2<i32>(column, 1), 0).x;
        // At least half a pixel each way, so that silence is a line.
        let half_pixel = 1.0 / strip.pixels_high;
        let y = 1.0 - 2.0 * in.uv.y;
        let inside = y >= low - half_pixel && y <= high + half_pixel;
        // The heat's own strength shows behind the wave too, faintly.
        if has_heat {
            color = mix(color, hot, 0.30 * strip.opacity * level);
        }
        if inside {
            color = strip.signal.xyz;
            if has_heat {
                color = mix(color, hot, strip.opacity * level);
            }
        }
    } else {
        let row = clamp(i32((1.0 - in.uv.y) * strip.rows), 0, i32(strip.rows) - 1);
        let value = textureLoad(background, vec2<i32>(column, row), 0).x;
        color = mix(strip.ground.xyz, strip.signal.xyz, clamp(value, 0.0, 1.0));
        if has_heat {
            color = mix(color, hot, strip.opacity * level * 0.7);
        }
    }
    return to_target(color, 1.0);
}
