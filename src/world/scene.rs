//! The picture of one clip: a background, silent bystanders and one actor, drawn at any instant.
//! Knows nothing of sound; only the score says when the actor acts.

use crate::frame::RgbImage;
use crate::world::animals;
use crate::world::canvas::{Bounds, DARK, Ink, Pen, WHITE, curve};
use crate::world::cast::{Class, Position};
use crate::world::rng::{PI, Rng, TAU, cos, sin};
use crate::world::score::{Motion, Score};
use crate::world::things;

/// Edge of every clip's picture in pixels.
pub const SIZE: usize = 224;

/// An actor's colours and habits. Every class may have any of them, so that colour gives nothing away.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// Main colour.
    pub body: Ink,
    /// Colour of large secondary parts.
    pub second: Ink,
    /// Colour of small parts.
    pub accent: Ink,
    /// Random in 0…1: where idle movements begin.
    pub phase: f64,
    /// Random bits for optional details.
    pub variant: u64,
}

/// Things that stand around and make no sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prop {
    Tree,
    Bush,
    Flower,
    Mushroom,
    House,
    Balloon,
    Cactus,
    Gift,
    Ball,
    Fence,
}

const PROPS: [Prop; 10] = [
    Prop::Tree,
    Prop::Bush,
    Prop::Flower,
    Prop::Mushroom,
    Prop::House,
    Prop::Balloon,
    Prop::Cactus,
    Prop::Gift,
    Prop::Ball,
    Prop::Fence,
];

/// A bystander and where it stands (pixels of the foot, half height).
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bystander {
    prop: Prop,
    foot: [f64; 2],
    scale: f64,
    ink: Ink,
    accent: Ink,
    phase: f64,
}

/// What lies behind everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backdrop {
    Hills,
    Room,
    Beach,
    City,
    Stripes,
}

/// Everything about a picture that does not move by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// What the picture shows.
    pub class: Class,
    /// Where it stands.
    pub position: Position,
    score: Score,
    look: Look,
    center: [f64; 2],
    /// Half the actor's height in pixels.
    scale: f64,
    mirror: bool,
    backdrop: Backdrop,
    sky: [Ink; 2],
    ground: Ink,
    horizon: f64,
    details: Vec<[f64; 3]>,
    bystanders: Vec<Bystander>,
    night: bool,
}

impl Scene {
    /// A random picture of the score's class.
    pub fn compose(score: Score, rng: &mut Rng) -> Self {
        let size = SIZE as f64;
        let position = *rng.pick(&Position::ALL);
        let scale = size * rng.range(0.18, 0.25);
        let third = size / 3.0;
        let x = third * (position as usize as f64 + 0.5) + rng.range(-0.045, 0.045) * size;
        let x = x.clamp(scale * 1.06, size - scale * 1.06);
        let horizon = size * rng.range(0.6, 0.74);
        let foot = (horizon + rng.range(0.04, 0.2) * size).min(size * 0.95);

        let night = rng.chance(0.25);
        let sky_hue = rng.unit();
        let (saturation, lightness) = if night {
            (rng.range(0.25, 0.5), rng.range(0.16, 0.26))
        } else {
            (rng.range(0.3, 0.7), rng.range(0.76, 0.88))
        };
        let sky = Ink::hsl(sky_hue, saturation, lightness);
        let ground_hue = rng.unit();
        let ground =
            Ink::hsl(ground_hue, rng.range(0.2, 0.5), if night { rng.range(0.24, 0.34) } else { rng.range(0.6, 0.74) });
        // The actor's hue keeps away from the sky's and the ground's.
        let mut hue = rng.unit();
        for _ in 0..8 {
            let near = |other: f64| ((hue - other + 1.5) - libm::floor(hue - other + 1.5) - 0.5).abs() < 0.1;
            if !near(sky_hue) && !near(ground_hue) {
                break;
            }
            hue = rng.unit();
        }
        let look = Look {
            body: Ink::hsl(
                hue,
                rng.range(0.45, 0.8),
                if night { rng.range(0.52, 0.66) } else { rng.range(0.42, 0.58) },
            ),
            second: Ink::hsl(hue + rng.range(0.3, 0.7), rng.range(0.3, 0.6), rng.range(0.4, 0.55)),
            accent: Ink::hsl(hue + rng.range(0.25, 0.75), rng.range(0.6, 0.85), rng.range(0.5, 0.62)),
            phase: rng.unit(),
            variant: rng.word(),
        };
        let backdrop =
            *rng.pick(&[Backdrop::Hills, Backdrop::Room, Backdrop::Beach, Backdrop::City, Backdrop::Stripes]);
        let details = (0..12).map(|_| [rng.unit(), rng.unit(), rng.unit()]).collect();
        let mut bystanders = Vec::new();
        let mut others: Vec<Position> = Position::ALL.into_iter().filter(|p| *p != position).collect();
        rng.shuffle(&mut others);
        others.truncate(rng.below(3));
        for place in others {
            let x = third * (place as usize as f64 + 0.5) + rng.range(-0.08, 0.08) * size;
            bystanders.push(Bystander {
                prop: *rng.pick(&PROPS),
                foot: [x, horizon + rng.range(0.02, 0.16) * size],
                scale: size * rng.range(0.07, 0.12),
                ink: Ink::hsl(rng.unit(), rng.range(0.35, 0.7), rng.range(0.4, 0.6)),
                accent: Ink::hsl(rng.unit(), rng.range(0.5, 0.8), rng.range(0.5, 0.7)),
                phase: rng.unit(),
            });
        }
        bystanders.sort_by(|a, b| a.foot[1].total_cmp(&b.foot[1]));
        Self {
            class: score.class,
            position,
            look,
            center: [x, foot - scale],
            scale,
            mirror: rng.chance(0.5),
            backdrop,
            sky: [sky.shade(if night { -0.3 } else { 0.25 }), sky],
            ground,
            horizon,
            details,
            bystanders,
            night,
            score,
        }
    }

    /// The picture at `t` seconds and the actor's box, x0, y0, x1, y1 in 0…1; `None` if no canvas can be had.
    pub fn draw(&self, t: f64) -> Option<(RgbImage, [f64; 4])> {
        let size = SIZE as f64;
        let mut pen = Pen::new(SIZE)?;
        self.background(&mut pen, t);
        for bystander in &self.bystanders {
            bystander.draw(&mut pen, t);
        }
        let motion = self.score.motion(t);
        let foot = self.center[1] + self.scale;
        pen.ellipse([self.center[0], foot], [self.scale * 0.85, self.scale * 0.11], DARK.alpha(0.22));
        let flip = if self.mirror { -self.scale } else { self.scale };
        let bounds = pen.tracked(|pen| {
            pen.with(self.center, 0.0, [flip, self.scale], |pen| act(self.class, pen, &motion, &self.look));
        });
        let [x0, y0, x1, y1]: Bounds = bounds?;
        Some((pen.image(), [x0, y0, x1, y1].map(|v| (v / size).clamp(0.0, 1.0))))
    }

    fn background(&self, pen: &mut Pen, t: f64) {
        let size = SIZE as f64;
        let bands = 14;
        for band in 0..bands {
            let k = f64::from(band) / f64::from(bands);
            pen.block([0.0, self.horizon * k, size, size], 0.0, self.sky[0].mix(self.sky[1], k));
        }
        let far = self.ground.mix(self.sky[1], 0.45);
        match self.backdrop {
            Backdrop::Hills | Backdrop::Beach => {
                let [sx, sy, _] = self.details[0];
                let sun = if self.night { Ink::rgb8(244, 240, 214) } else { Ink::rgb8(255, 240, 180) };
                pen.disc([size * (0.1 + 0.8 * sx), size * (0.08 + 0.14 * sy)], size * 0.055, sun);
                self.stars(pen, t);
            }
            Backdrop::City => self.stars(pen, t),
            Backdrop::Room | Backdrop::Stripes => {}
        }
        match self.backdrop {
            Backdrop::Hills => {
                for [x, h, w] in &self.details[1..5] {
                    let (rx, ry) = (size * (0.2 + 0.2 * w), size * (0.08 + 0.16 * h));
                    pen.ellipse([size * x, self.horizon + 4.0], [rx, ry], far.shade(0.1 * h - 0.05));
                }
            }
            Backdrop::Beach => {
                let sea = self.sky[1].mix(Ink::hsl(0.55, 0.5, if self.night { 0.3 } else { 0.6 }), 0.6);
                pen.block([0.0, self.horizon - 26.0, size, size], 0.0, sea);
                for (i, [x, y, w]) in self.details[1..8].iter().enumerate() {
                    let drift = 3.0 * sin(t * 1.3 + i as f64);
                    let (x, y) = (size * x + drift, self.horizon - 22.0 + 18.0 * y);
                    pen.line(&[[x, y], [x + 10.0 + 16.0 * w, y]], 1.4, WHITE.alpha(0.45));
                }
            }
            Backdrop::City => {
                for (i, [h, w, lit]) in self.details.iter().enumerate() {
                    let (left, width) = (size * (i as f64 / 12.0) - 6.0, size * (0.07 + 0.05 * w));
                    let top = self.horizon - size * (0.08 + 0.24 * h);
                    pen.block([left, top, left + width, size], 1.0, far.shade(0.12 * lit - 0.06));
                    for row in 0..3 {
                        let y = top + 6.0 + 9.0 * f64::from(row);
                        pen.block([left + 3.5, y, left + 7.0, y + 4.0], 0.0, WHITE.alpha(0.18 + 0.25 * lit));
                    }
                }
            }
            Backdrop::Room => {
                for [x, y, r] in &self.details[1..9] {
                    pen.disc([size * x, self.horizon * y], 3.0 + 5.0 * r, far.alpha(0.35));
                }
                pen.block([0.0, self.horizon - 5.0, size, size], 0.0, self.ground.shade(-0.2));
            }
            Backdrop::Stripes => {
                let step = size / (6.0 + libm::floor(5.0 * self.details[1][0]));
                let mut x = -step * self.details[1][1];
                while x < size {
                    pen.block([x, 0.0, x + step / 2.0, self.horizon + 2.0], 0.0, far.alpha(0.3));
                    x += step;
                }
            }
        }
        pen.block([0.0, self.horizon, size, size], 0.0, self.ground);
        pen.block([0.0, self.horizon + (size - self.horizon) * 0.55, size, size], 0.0, self.ground.shade(-0.06));
        for [x, y, w] in &self.details[6..] {
            let (x, y) = (size * x, self.horizon + 6.0 + (size - self.horizon) * 0.85 * y);
            pen.line(&[[x, y], [x + 4.0 + 8.0 * w, y]], 1.8, self.ground.shade(-0.16));
        }
    }

    fn stars(&self, pen: &mut Pen, t: f64) {
        if self.night {
            for [x, y, phase] in &self.details {
                let glow = 0.55 + 0.35 * sin(t * 2.0 + phase * TAU);
                pen.disc([SIZE as f64 * x, self.horizon * 0.7 * y], 1.3, WHITE.alpha(glow));
            }
        }
    }
}

fn act(class: Class, pen: &mut Pen, motion: &Motion, look: &Look) {
    let draw = match class {
        Class::Dog => animals::dog,
        Class::Cat => animals::cat,
        Class::Bird => animals::bird,
        Class::Frog => animals::frog,
        Class::Bell => things::bell,
        Class::Drum => things::drum,
        Class::Clock => things::clock,
        Class::Car => things::car,
        Class::Train => things::train,
        Class::Rain => things::rain,
        Class::Fire => things::fire,
        Class::Whistle => things::whistle,
    };
    draw(pen, motion, look);
}

impl Bystander {
    fn draw(&self, pen: &mut Pen, t: f64) {
        let sway = 0.04 * sin(t * 1.4 + self.phase * TAU);
        pen.with(self.foot, 0.0, [self.scale, self.scale], |pen| {
            let (ink, accent) = (self.ink, self.accent);
            let wood = Ink::rgb8(120, 86, 62);
            match self.prop {
                Prop::Tree => {
                    pen.block([-0.12, -0.8, 0.12, 0.0], 0.03, wood);
                    pen.with([0.0, -0.6], sway, [1.0, 1.0], |pen| {
                        for (y, w) in [(0.0, 0.75), (-0.5, 0.58), (-0.95, 0.4)] {
                            pen.polygon(&[[-w, y], [w, y], [0.0, y - 0.8]], ink.shade(-0.1 * y));
                        }
                    });
                }
                Prop::Bush => {
                    for (x, y, r) in [(-0.5, -0.3, 0.4), (0.5, -0.3, 0.42), (0.0, -0.5, 0.52)] {
                        pen.disc([x + sway, y], r, ink);
                    }
                    for (x, y) in [(-0.4, -0.4), (0.1, -0.7), (0.4, -0.25)] {
                        pen.disc([x + sway, y], 0.09, accent);
                    }
                }
                Prop::Flower => {
                    pen.line(&curve(&[[0.0, 0.0], [0.05, -0.5], [sway * 3.0, -1.0]]), 0.1, Ink::rgb8(88, 150, 84));
                    for k in 0..6 {
                        let a = f64::from(k) * PI / 3.0 + self.phase;
                        pen.disc([sway * 3.0 + 0.3 * cos(a), -1.0 + 0.3 * sin(a)], 0.21, ink);
                    }
                    pen.disc([sway * 3.0, -1.0], 0.2, accent);
                }
                Prop::Mushroom => {
                    pen.block([-0.2, -0.6, 0.2, 0.0], 0.1, Ink::rgb8(244, 232, 210));
                    pen.polygon(&curve(&[[-0.75, -0.5], [-0.55, -1.0], [0.0, -1.2], [0.55, -1.0], [0.75, -0.5]]), ink);
                    for (x, y) in [(-0.35, -0.8), (0.1, -0.98), (0.38, -0.7)] {
                        pen.disc([x, y], 0.1, WHITE);
                    }
                }
                Prop::House => {
                    pen.block([-0.7, -0.9, 0.7, 0.0], 0.02, ink);
                    pen.polygon(&[[-0.9, -0.85], [0.9, -0.85], [0.0, -1.6]], accent);
                    pen.block([-0.18, -0.5, 0.18, 0.0], 0.03, wood);
                    pen.block([0.3, -0.65, 0.55, -0.4], 0.02, Ink::rgb8(255, 240, 180));
                }
                Prop::Balloon => {
                    let y = -1.6 - 2.0 * sway;
                    pen.line(&curve(&[[0.0, 0.0], [0.12, -0.5], [sway * 2.0, y + 0.6]]), 0.04, DARK);
                    pen.ellipse([sway * 2.0, y], [0.5, 0.62], ink);
                    pen.leaf([sway * 2.0 - 0.18, y - 0.22], [0.09, 0.17], 0.5, WHITE.alpha(0.6));
                }
                Prop::Cactus => {
                    pen.block([-0.2, -1.4, 0.2, 0.0], 0.2, ink);
                    pen.line(&curve(&[[0.1, -0.5], [0.5, -0.55], [0.55, -0.95]]), 0.24, ink);
                    pen.line(&curve(&[[-0.1, -0.7], [-0.48, -0.72], [-0.52, -1.1]]), 0.22, ink);
                    pen.disc([0.0, -1.4], 0.12, accent);
                }
                Prop::Gift => {
                    pen.block([-0.55, -0.85, 0.55, 0.0], 0.03, ink);
                    pen.block([-0.1, -0.85, 0.1, 0.0], 0.0, accent);
                    pen.block([-0.62, -0.98, 0.62, -0.75], 0.03, ink.shade(0.15));
                    pen.leaf([-0.2, -1.1], [0.24, 0.11], 0.5, accent);
                    pen.leaf([0.2, -1.1], [0.24, 0.11], -0.5, accent);
                }
                Prop::Ball => {
                    pen.disc([0.0, -0.5], 0.5, ink);
                    pen.line(&curve(&[[-0.42, -0.72], [0.0, -0.5], [0.42, -0.72]]), 0.09, accent);
                    pen.line(&curve(&[[-0.42, -0.28], [0.0, -0.42], [0.42, -0.28]]), 0.09, accent);
                }
                Prop::Fence => {
                    for x in [-0.75, -0.25, 0.25, 0.75] {
                        pen.polygon(
                            &[[x - 0.14, 0.0], [x - 0.14, -0.8], [x, -0.98], [x + 0.14, -0.8], [x + 0.14, 0.0]],
                            ink.shade(0.5),
                        );
                    }
                    pen.block([-1.0, -0.62, 1.0, -0.5], 0.02, ink.shade(0.35));
                    pen.block([-1.0, -0.28, 1.0, -0.16], 0.02, ink.shade(0.35));
                }
            }
        });
    }
}
