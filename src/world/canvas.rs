//! A pen on a software canvas: polygons, discs, strokes and curves in an object's own coordinates, with the
//! box of what it drew. Curves become short lines here, with `libm`, so that every platform fills the same
//! polygons. Knows nothing of what is drawn.

use tiny_skia::{Color, FillRule, LineCap, LineJoin, Paint, PathBuilder, Pixmap, Stroke, Transform};

use crate::frame::RgbImage;
use crate::world::rng::{PI, TAU, cos, sin};

/// A colour: red, green, blue, alpha in 0…1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ink {
    /// Red, green, blue.
    pub rgb: [f64; 3],
    /// Opacity.
    pub alpha: f64,
}

impl Ink {
    /// From 8-bit components.
    pub const fn rgb8(r: u8, g: u8, b: u8) -> Self {
        Self { rgb: [r as f64 / 255.0, g as f64 / 255.0, b as f64 / 255.0], alpha: 1.0 }
    }

    /// From hue in turns, saturation and lightness in 0…1.
    pub fn hsl(hue: f64, saturation: f64, lightness: f64) -> Self {
        let amplitude = saturation * lightness.min(1.0 - lightness);
        let channel = |offset: f64| {
            let k = offset + (hue - libm::floor(hue)) * 12.0;
            let k = if k >= 12.0 { k - 12.0 } else { k };
            lightness - amplitude * (k - 3.0).min(9.0 - k).clamp(-1.0, 1.0)
        };
        Self { rgb: [channel(0.0), channel(8.0), channel(4.0)], alpha: 1.0 }
    }

    /// Towards black (negative) or white (positive) by `amount` in −1…1.
    #[must_use]
    pub fn shade(self, amount: f64) -> Self {
        let to = if amount > 0.0 { 1.0 } else { 0.0 };
        Self { rgb: self.rgb.map(|c| c + (to - c) * amount.abs()), alpha: self.alpha }
    }

    /// A mixture: 0 = this, 1 = `other`.
    #[must_use]
    pub fn mix(self, other: Self, amount: f64) -> Self {
        let mut rgb = self.rgb;
        for (c, o) in rgb.iter_mut().zip(other.rgb) {
            *c += (o - *c) * amount;
        }
        Self { rgb, alpha: self.alpha + (other.alpha - self.alpha) * amount }
    }

    /// The same with another opacity.
    #[must_use]
    pub fn alpha(self, alpha: f64) -> Self {
        Self { alpha, ..self }
    }

    fn paint(self) -> Paint<'static> {
        let mut paint = Paint { anti_alias: true, ..Paint::default() };
        let byte = |x: f64| libm::round(x.clamp(0.0, 1.0) * 255.0) as u8;
        paint.set_color(Color::from_rgba8(byte(self.rgb[0]), byte(self.rgb[1]), byte(self.rgb[2]), byte(self.alpha)));
        paint
    }
}

/// White.
pub const WHITE: Ink = Ink::rgb8(255, 255, 255);
/// A soft black for eyes and outlines.
pub const DARK: Ink = Ink::rgb8(38, 32, 44);

/// A point in an object's coordinates (x right, y down).
pub type Point = [f64; 2];

/// Where an object's coordinates lie on the canvas: scaled, turned, mirrored, moved.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Place {
    /// Columns of the linear part and the origin, in pixels.
    x: [f64; 2],
    y: [f64; 2],
    origin: [f64; 2],
}

impl Place {
    fn at(&self, [px, py]: Point) -> Point {
        [self.origin[0] + self.x[0] * px + self.y[0] * py, self.origin[1] + self.x[1] * px + self.y[1] * py]
    }

    fn scale(&self) -> f64 {
        libm::sqrt((self.x[0] * self.y[1] - self.x[1] * self.y[0]).abs())
    }
}

/// A box in pixels: x0, y0, x1, y1.
pub type Bounds = [f64; 4];

/// A canvas and the transformation its strokes go through.
pub struct Pen {
    pixmap: Pixmap,
    place: Place,
    bounds: Option<Bounds>,
    tracking: bool,
}

impl Pen {
    /// A canvas of `size` × `size` pixels whose coordinates are pixels; `None` for sizes that no picture has.
    pub fn new(size: usize) -> Option<Self> {
        let pixmap = Pixmap::new(u32::try_from(size).ok()?, u32::try_from(size).ok()?)?;
        let place = Place { x: [1.0, 0.0], y: [0.0, 1.0], origin: [0.0, 0.0] };
        Some(Self { pixmap, place, bounds: None, tracking: false })
    }

    /// Draws with the origin moved to (`x`, `y`), turned by `turn` radians, scaled by (`sx`, `sy`).
    pub fn with(&mut self, [x, y]: Point, turn: f64, [sx, sy]: [f64; 2], draw: impl FnOnce(&mut Self)) {
        let outer = self.place;
        let (c, s) = (cos(turn), sin(turn));
        let inner = |v: [f64; 2]| [outer.x[0] * v[0] + outer.y[0] * v[1], outer.x[1] * v[0] + outer.y[1] * v[1]];
        self.place = Place { origin: outer.at([x, y]), x: inner([c * sx, s * sx]), y: inner([-s * sy, c * sy]) };
        draw(self);
        self.place = outer;
    }

    /// Draws and returns the pixel box of everything drawn.
    pub fn tracked(&mut self, draw: impl FnOnce(&mut Self)) -> Option<Bounds> {
        (self.tracking, self.bounds) = (true, None);
        draw(self);
        self.tracking = false;
        self.bounds.take()
    }

    /// Draws something that does not count for the box: smoke, drops in the air, waves.
    pub fn aside(&mut self, draw: impl FnOnce(&mut Self)) {
        let before = std::mem::replace(&mut self.tracking, false);
        draw(self);
        self.tracking = before;
    }

    /// A filled polygon.
    pub fn polygon(&mut self, points: &[Point], ink: Ink) {
        if let Some(path) = self.path(points, true, 0.0) {
            self.pixmap.fill_path(&path, &ink.paint(), FillRule::Winding, Transform::identity(), None);
        }
    }

    /// A line through `points` with round ends, `width` in object units.
    pub fn line(&mut self, points: &[Point], width: f64, ink: Ink) {
        let width = width * self.place.scale();
        if let Some(path) = self.path(points, false, width / 2.0) {
            let stroke = Stroke {
                width: width as f32,
                line_cap: LineCap::Round,
                line_join: LineJoin::Round,
                ..Stroke::default()
            };
            self.pixmap.stroke_path(&path, &ink.paint(), &stroke, Transform::identity(), None);
        }
    }

    /// A filled ellipse.
    pub fn ellipse(&mut self, center: Point, [rx, ry]: [f64; 2], ink: Ink) {
        self.polygon(&arc(center, [rx, ry], 0.0, TAU), ink);
    }

    /// A filled disc.
    pub fn disc(&mut self, center: Point, r: f64, ink: Ink) {
        self.ellipse(center, [r, r], ink);
    }

    /// An ellipse turned about its centre by `turn` radians.
    pub fn leaf(&mut self, center: Point, radii: [f64; 2], turn: f64, ink: Ink) {
        self.with(center, turn, [1.0, 1.0], |pen| pen.ellipse([0.0, 0.0], radii, ink));
    }

    /// A filled rectangle with rounded corners.
    pub fn block(&mut self, [x0, y0, x1, y1]: [f64; 4], radius: f64, ink: Ink) {
        let r = radius.min((x1 - x0).abs() / 2.0).min((y1 - y0).abs() / 2.0);
        let mut points = Vec::new();
        for (cx, cy, from) in
            [(x1 - r, y1 - r, 0.0), (x0 + r, y1 - r, PI / 2.0), (x0 + r, y0 + r, PI), (x1 - r, y0 + r, 1.5 * PI)]
        {
            points.extend(arc([cx, cy], [r, r], from, from + PI / 2.0));
        }
        self.polygon(&points, ink);
    }

    /// An eye that looks at you; `open` in 0…1.
    pub fn eye(&mut self, [x, y]: Point, r: f64, open: f64) {
        if open < 0.2 {
            self.line(&arc([x, y - r * 0.3], [r, r * 0.6], 0.15 * PI, 0.85 * PI), r * 0.35, DARK);
            return;
        }
        self.ellipse([x, y], [r, r * open], WHITE);
        self.ellipse([x, y + r * 0.08], [r * 0.68, r * 0.72 * open], DARK);
        self.disc([x - r * 0.22, y - r * 0.25 * open], r * 0.26, WHITE);
    }

    fn path(&mut self, points: &[Point], close: bool, margin: f64) -> Option<tiny_skia::Path> {
        let mut builder = PathBuilder::new();
        for (i, point) in points.iter().enumerate() {
            let [x, y] = self.place.at(*point);
            if self.tracking {
                let b = self.bounds.get_or_insert([x, y, x, y]);
                *b = [b[0].min(x - margin), b[1].min(y - margin), b[2].max(x + margin), b[3].max(y + margin)];
            }
            if i == 0 {
                builder.move_to(x as f32, y as f32);
            } else {
                builder.line_to(x as f32, y as f32);
            }
        }
        if close {
            builder.close();
        }
        builder.finish()
    }

    /// The picture so far.
    pub fn image(&self) -> RgbImage {
        let data = self.pixmap.pixels().iter().flat_map(|p| [p.red(), p.green(), p.blue()]).collect();
        RgbImage { width: self.pixmap.width() as usize, height: self.pixmap.height() as usize, data }
    }
}

/// Points along an elliptic arc, angles in radians, y down.
pub fn arc([cx, cy]: Point, [rx, ry]: [f64; 2], from: f64, to: f64) -> Vec<Point> {
    let steps = (((to - from).abs() / TAU * 40.0) as usize).max(3);
    (0..=steps)
        .map(|i| {
            let a = from + (to - from) * i as f64 / steps as f64;
            [cx + rx * cos(a), cy + ry * sin(a)]
        })
        .collect()
}

/// Points along a smooth curve through `knots` (Catmull–Rom).
pub fn curve(knots: &[Point]) -> Vec<Point> {
    const STEPS: usize = 8;
    let mut points = Vec::with_capacity(knots.len() * STEPS);
    for i in 0..knots.len().saturating_sub(1) {
        let at = |j: isize| knots[(i as isize + j).clamp(0, knots.len() as isize - 1) as usize];
        points.extend(span([at(-1), at(0), at(1), at(2)], STEPS));
    }
    points.extend(knots.last());
    points
}

/// Points along a closed smooth curve through `knots`.
pub fn blob(knots: &[Point]) -> Vec<Point> {
    let n = knots.len();
    (0..n).flat_map(|i| span([knots[(i + n - 1) % n], knots[i], knots[(i + 1) % n], knots[(i + 2) % n]], 8)).collect()
}

fn span([a, b, c, d]: [Point; 4], steps: usize) -> impl Iterator<Item = Point> {
    (0..steps).map(move |s| {
        let t = s as f64 / steps as f64;
        let axis = |k: usize| {
            let (a, b, c, d) = (a[k], b[k], c[k], d[k]);
            b + 0.5 * t * (c - a + t * (2.0 * a - 5.0 * b + 4.0 * c - d + t * (3.0 * (b - c) + d - a)))
        };
        [axis(0), axis(1)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_colour_circle_has_its_corners() {
        let close = |ink: Ink, want: [f64; 3]| ink.rgb.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-9);
        assert!(close(Ink::hsl(0.0, 1.0, 0.5), [1.0, 0.0, 0.0]), "{:?}", Ink::hsl(0.0, 1.0, 0.5));
        assert!(close(Ink::hsl(1.0 / 3.0, 1.0, 0.5), [0.0, 1.0, 0.0]), "{:?}", Ink::hsl(1.0 / 3.0, 1.0, 0.5));
        assert!(close(Ink::hsl(2.0 / 3.0, 1.0, 0.5), [0.0, 0.0, 1.0]), "{:?}", Ink::hsl(2.0 / 3.0, 1.0, 0.5));
        assert!(close(Ink::hsl(0.3, 0.0, 0.4), [0.4, 0.4, 0.4]));
    }

    #[test]
    fn the_box_is_that_of_the_pixels() {
        let mut pen = Pen::new(64).unwrap();
        pen.disc([5.0, 5.0], 4.0, WHITE); // untracked
        let bounds = pen.tracked(|pen| {
            pen.with([32.0, 40.0], 0.7, [-10.0, 10.0], |pen| {
                pen.disc([0.0, 0.0], 1.0, WHITE);
                pen.aside(|pen| pen.disc([-2.5, 0.0], 0.2, WHITE));
            });
        });
        let [x0, y0, x1, y1] = bounds.unwrap();
        assert!(
            (x0 - 22.0).abs() < 0.1 && (x1 - 42.0).abs() < 0.1 && (y0 - 30.0).abs() < 0.1 && (y1 - 50.0).abs() < 0.1
        );
        let image = pen.image();
        let lit = |x: usize, y: usize| image.data[(y * 64 + x) * 3] > 128;
        assert!(lit(32, 40) && lit(24, 40) && !lit(20, 40) && !lit(43, 40));
    }
}
