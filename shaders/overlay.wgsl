// A heat map over the picture: one weight per cell of the model's token grid. Cells are shown as they are
// unless smoothing is asked for. Twin: src/gpu/overlay.rs.

struct Overlay {
    // Columns and rows of the token grid.
    grid: vec2<f32>,
    // Size of the drawn rectangle in target pixels, for lines one pixel wide.
    pixels: vec2<f32>,
    // A weight of `scale` or more takes the end of the colour map; 0 draws nothing.
    scale: f32,
    gamma: f32,
    // Opacity of the strongest cell, and the part of it that a cell of weight zero keeps.
    opacity: f32,
    floor: f32,
    unused: u32,
    interpolate: u32,
    lines: u32,
    contour: u32,
    // The colour map's points; w unused.
    colors: array<vec4<f32>, 33>,
}

@group(0) @binding(0) var<uniform> overlay: Overlay;
// [rows, cols] weights.
@group(0) @binding(1) var cells: texture_2d<f32>;

fn cell(at: vec2<i32>) -> f32 {
    let last = vec2<i32>(overlay.grid) - vec2<i32>(1);
    return textureLoad(cells, clamp(at, vec2<i32>(0), last), 0).x;
}

fn smooth_weight(at: vec2<f32>) -> f32 {
    let p = at - vec2<f32>(0.5);
    let base = floor(p);
    let f = p - base;
    let a = vec2<i32>(base);
    let top = mix(cell(a), cell(a + vec2<i32>(1, 0)), f.x);
    let bottom = mix(cell(a + vec2<i32>(0, 1)), cell(a + vec2<i32>(1, 1)), f.x);
    return mix(top, bottom, f.y);
}

fn level_of(weight: f32) -> f32 {
    return pow(clamp(weight / max(overlay.scale, 1e-12), 0.0, 1.0), overlay.gamma);
}

// t in 0…1 on the colour map.
fn color_of(t: f32) -> vec3<f32> {
    let at = map_position(t);
    return mix(overlay.colors[at.index].xyz, overlay.colors[at.index + 1u].xyz, at.part);
}

@fragment
fn show_overlay(in: Varyings) -> @location(0) vec4<f32> {
    if deciding(u32(overlay.scale <= 0.0), in.uv) == 1u {
        return vec4<f32>(0.0);
    }
    let at = in.uv * overlay.grid;
    var weight = cell(vec2<i32>(floor(at)));
    if deciding(overlay.interpolate, in.uv) == 1u {
        weight = smooth_weight(at);
    }
    let level = level_of(weight);
    var color = color_of(level);
    var alpha = overlay.opacity * mix(overlay.floor, 1.0, level);

    let pixel = overlay.grid / overlay.pixels;
    if deciding(overlay.lines, in.uv) == 1u {
        // A pixel whose span crosses an inner cell border.
        let border = floor(at - 0.5 * pixel) != floor(at + 0.5 * pixel);
        if any(border) {
            color = vec3<f32>(1.0);
            alpha = 0.25;
        }
    }
    if deciding(overlay.contour, in.uv) == 1u {
        // Borders between quarters of the scale, found by looking half a pixel to each side.
        let x0 = floor(4.0 * level_of(smooth_weight(at - vec2<f32>(0.75 * pixel.x, 0.0))));
        let x1 = floor(4.0 * level_of(smooth_weight(at + vec2<f32>(0.75 * pixel.x, 0.0))));
        let y0 = floor(4.0 * level_of(smooth_weight(at - vec2<f32>(0.0, 0.75 * pixel.y))));
        let y1 = floor(4.0 * level_of(smooth_weight(at + vec2<f32>(0.0, 0.75 * pixel.y))));
        if x0 != x1 || y0 != y1 {
            color = vec3<f32>(1.0);
            alpha = 0.9;
        }
    }
    return to_target(color, alpha);
}
