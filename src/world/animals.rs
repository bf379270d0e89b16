//! How the animals look and move, in unit coordinates: about −1…1 both ways, feet at y = 1.
//! Knows nothing of where on the picture they stand.

use crate::world::canvas::{DARK, Ink, Pen, WHITE, arc, blob, curve};
use crate::world::rng::{PI, TAU, sin};
use crate::world::scene::Look;
use crate::world::score::Motion;

/// 1 = open, with a short blink every few seconds.
fn blink(m: &Motion, look: &Look) -> f64 {
    let beat = m.t * 0.6 + look.phase;
    if beat - libm::floor(beat) < 0.07 { 0.0 } else { 1.0 }
}

/// A sitting dog that throws its head up when it barks.
pub fn dog(pen: &mut Pen, m: &Motion, look: &Look) {
    let (coat, dark, light) = (look.body, look.body.shade(-0.3), look.body.shade(0.55));
    let wag = sin(m.t * (7.0 + 9.0 * m.active)) * 0.22;
    pen.line(&curve(&[[0.45, 0.72], [0.78, 0.5], [0.86 + wag, 0.12]]), 0.16, dark);
    // Body, haunches, front legs.
    pen.polygon(&blob(&[[-0.36, 0.1], [0.3, 0.06], [0.6, 0.62], [0.5, 1.0], [-0.42, 1.0], [-0.5, 0.6]]), coat);
    pen.ellipse([0.38, 0.8], [0.3, 0.2], dark);
    pen.block([-0.38, 0.4, -0.16, 1.0], 0.1, coat.shade(0.12));
    pen.block([-0.04, 0.4, 0.18, 1.0], 0.1, coat.shade(0.12));
    pen.ellipse([-0.3, 0.95], [0.17, 0.075], light);
    pen.ellipse([0.04, 0.95], [0.17, 0.075], light);
    pen.ellipse([-0.1, 0.42], [0.2, 0.22], light);
    // Head.
    let lift = 0.07 * m.open + 0.015 * sin(m.t * 2.4 + look.phase * TAU);
    pen.with([-0.1, -0.3 - lift], -0.16 * m.open, [1.0, 1.0], |pen| {
        pen.block([-0.34, 0.28, 0.34, 0.4], 0.06, look.accent);
        pen.disc([0.0, 0.42], 0.075, Ink::rgb8(250, 214, 80));
        pen.ellipse([0.0, 0.0], [0.47, 0.43], coat);
        // Long ears that fly with the bark.
        let flap = 0.35 * m.open;
        pen.leaf([-0.47, 0.05 - 0.08 * m.open], [0.16, 0.38], 0.3 + flap, dark);
        pen.leaf([0.47, 0.05 - 0.08 * m.open], [0.16, 0.38], -0.3 - flap, dark);
        if look.variant & 1 == 1 {
            pen.ellipse([0.19, -0.08], [0.2, 0.22], light);
        }
        pen.eye([-0.18, -0.08], 0.105, blink(m, look));
        pen.eye([0.2, -0.08], 0.105, blink(m, look));
        // Muzzle: an open mouth below the nose.
        if m.open > 0.05 {
            pen.ellipse([0.0, 0.29], [0.17, 0.05 + 0.16 * m.open], DARK);
            pen.ellipse([0.0, 0.33 + 0.06 * m.open], [0.1, 0.08 * m.open], Ink::rgb8(240, 110, 130));
        }
        pen.ellipse([0.0, 0.17], [0.26, 0.17], light);
        pen.ellipse([0.0, 0.08], [0.115, 0.08], DARK);
        pen.disc([-0.03, 0.06], 0.025, WHITE);
        pen.line(&[[0.0, 0.14], [0.0, 0.22]], 0.03, DARK);
        pen.line(&arc([-0.07, 0.2], [0.07, 0.06], 0.1, PI), 0.03, DARK);
        pen.line(&arc([0.07, 0.2], [0.07, 0.06], 0.0, PI - 0.1), 0.03, DARK);
    });
}

/// A slim cat with pricked ears, whiskers and a tail that curls.
pub fn cat(pen: &mut Pen, m: &Motion, look: &Look) {
    let (fur, dark, light) = (look.body, look.body.shade(-0.35), look.body.shade(0.6));
    let sway = sin(m.t * (2.2 + 3.0 * m.active) + look.phase * TAU) * 0.18;
    pen.line(
        &curve(&[[0.28, 0.9], [0.72, 0.86], [0.86, 0.45], [0.7 + sway, 0.1], [0.84 + 1.4 * sway, -0.22]]),
        0.13,
        dark,
    );
    pen.polygon(&blob(&[[-0.24, 0.0], [0.2, 0.0], [0.42, 0.62], [0.38, 1.0], [-0.4, 1.0], [-0.42, 0.6]]), fur);
    pen.polygon(&blob(&[[-0.14, 0.2], [0.12, 0.2], [0.15, 0.6], [0.0, 0.8], [-0.16, 0.6]]), light);
    pen.line(&[[-0.01, 0.72], [-0.01, 0.96]], 0.03, dark);
    pen.ellipse([-0.17, 0.96], [0.16, 0.07], fur.shade(0.2));
    pen.ellipse([0.17, 0.96], [0.16, 0.07], fur.shade(0.2));
    let tilt = 0.12 * m.open + 0.04 * sin(m.t * 1.7 + look.phase * 5.0);
    pen.with([0.0, -0.3 - 0.03 * m.open], tilt, [1.0, 1.0], |pen| {
        for side in [-1.0, 1.0] {
            pen.with([0.0, 0.0], 0.0, [side, 1.0], |pen| {
                pen.polygon(&[[0.1, -0.3], [0.5, 0.02], [0.47, -0.66]], fur);
                pen.polygon(&[[0.21, -0.32], [0.42, -0.12], [0.42, -0.52]], Ink::rgb8(245, 150, 165));
            });
        }
        pen.ellipse([0.0, 0.0], [0.5, 0.38], fur);
        for x in [-0.12, 0.0, 0.12] {
            pen.line(&[[x, -0.36], [x * 0.7, -0.2]], 0.05, dark);
        }
        // Slit eyes, shut while it sings.
        let open = blink(m, look) * (1.0 - m.open);
        for x in [-0.2, 0.2] {
            if open < 0.4 {
                pen.line(&arc([x, -0.06], [0.1, 0.07], PI, TAU), 0.045, DARK);
            } else {
                pen.ellipse([x, -0.06], [0.115, 0.1], Ink::rgb8(226, 240, 120));
                pen.ellipse([x, -0.06], [0.035, 0.09], DARK);
            }
        }
        if m.open > 0.05 {
            pen.ellipse([0.0, 0.2], [0.1 + 0.03 * m.open, 0.04 + 0.12 * m.open], DARK);
            pen.ellipse([0.0, 0.24], [0.06, 0.06 * m.open], Ink::rgb8(240, 110, 130));
        }
        pen.ellipse([-0.09, 0.12], [0.12, 0.085], light);
        pen.ellipse([0.09, 0.12], [0.12, 0.085], light);
        pen.polygon(&[[-0.06, 0.03], [0.06, 0.03], [0.0, 0.1]], Ink::rgb8(235, 110, 130));
        for side in [-1.0, 1.0] {
            for (y, end) in [(0.08, 0.0), (0.12, 0.12), (0.16, 0.22)] {
                pen.line(&[[side * 0.16, y], [side * 0.62, end]], 0.018, DARK.alpha(0.75));
            }
        }
    });
}

/// A round bird on a twig; it hops, flaps and opens its beak.
pub fn bird(pen: &mut Pen, m: &Motion, look: &Look) {
    let (down, dark, light) = (look.body, look.body.shade(-0.3), look.body.shade(0.6));
    let wood = Ink::rgb8(122, 84, 56);
    pen.line(&curve(&[[-1.0, 0.78], [-0.3, 0.7], [0.4, 0.76], [1.0, 0.66]]), 0.12, wood);
    pen.line(&curve(&[[0.55, 0.74], [0.7, 0.86], [0.74, 1.0]]), 0.07, wood);
    pen.leaf([-0.78, 0.62], [0.17, 0.08], -0.6, Ink::rgb8(96, 170, 90));
    pen.leaf([0.86, 0.56], [0.15, 0.07], 0.7, Ink::rgb8(120, 190, 96));
    let hop = 0.1 * m.pulse + 0.02 * sin(m.t * 3.0 + look.phase * TAU);
    pen.with([0.0, -hop], -0.08 * m.open, [1.0, 1.0], |pen| {
        // Tail, legs, body.
        pen.polygon(&[[0.4, 0.12], [1.0, -0.06 - 0.1 * m.open], [0.98, 0.14], [0.42, 0.42]], dark);
        for x in [-0.1, 0.14] {
            pen.line(&[[x, 0.44], [x, 0.7 + hop]], 0.05, Ink::rgb8(236, 150, 60));
            pen.line(&[[x - 0.1, 0.71 + hop], [x + 0.06, 0.71 + hop]], 0.05, Ink::rgb8(236, 150, 60));
        }
        pen.ellipse([0.04, 0.12], [0.56, 0.42], down);
        pen.ellipse([-0.14, 0.24], [0.32, 0.26], light);
        pen.disc([-0.34, -0.34], 0.36, down);
        pen.line(&curve(&[[-0.3, -0.66], [-0.22, -0.84], [-0.06, -0.86]]), 0.07, look.accent);
        pen.line(&curve(&[[-0.36, -0.66], [-0.38, -0.86], [-0.26, -0.96]]), 0.07, look.accent);
        pen.ellipse([-0.28, -0.2], [0.11, 0.07], Ink::rgb8(250, 140, 140).alpha(0.7));
        pen.eye([-0.42, -0.4], 0.1, blink(m, look));
        // Beak: two wedges that part.
        let gape = 0.14 * m.open;
        let beak = Ink::rgb8(244, 168, 52);
        pen.polygon(&[[-0.64, -0.42], [-0.62, -0.28], [-1.0, -0.33 - gape]], beak);
        pen.polygon(&[[-0.64, -0.3], [-0.58, -0.18], [-0.94, -0.26 + gape]], beak.shade(-0.15));
        let flap = -0.9 * m.pulse + 0.15 * sin(m.t * 2.0);
        pen.with([0.12, 0.0], flap, [1.0, 1.0], |pen| {
            pen.polygon(&blob(&[[-0.12, -0.08], [0.3, 0.02], [0.56, 0.26], [0.24, 0.3], [-0.08, 0.2]]), dark);
            pen.line(&curve(&[[0.1, 0.18], [0.3, 0.2], [0.44, 0.24]]), 0.03, light);
        });
    });
}

/// A wide frog whose throat swells with each croak.
pub fn frog(pen: &mut Pen, m: &Motion, look: &Look) {
    let (skin, dark, light) = (look.body, look.body.shade(-0.3), look.body.shade(0.6));
    let squash = 0.05 * m.open + 0.012 * sin(m.t * 3.0 + look.phase * TAU);
    // A lily pad.
    pen.ellipse([0.0, 0.9], [0.98, 0.14], look.accent.shade(-0.2));
    pen.ellipse([0.0, 0.87], [0.92, 0.11], look.accent);
    pen.with([0.0, 0.88], 0.0, [1.0 + squash, 1.0 - squash], |pen| {
        for side in [-1.0, 1.0] {
            pen.with([0.0, 0.0], 0.0, [side, 1.0], |pen| {
                pen.polygon(&blob(&[[0.4, -0.5], [0.82, -0.5], [0.92, -0.14], [0.62, 0.0], [0.36, -0.06]]), dark);
                for toe in [0.62, 0.78, 0.94] {
                    pen.line(&[[0.66, -0.06], [toe, 0.02]], 0.07, dark);
                }
            });
        }
        pen.polygon(
            &blob(&[[-0.42, -0.86], [0.42, -0.86], [0.68, -0.4], [0.5, 0.0], [-0.5, 0.0], [-0.68, -0.4]]),
            skin,
        );
        pen.polygon(&blob(&[[-0.34, -0.42], [0.34, -0.42], [0.4, -0.08], [0.0, 0.0], [-0.4, -0.08]]), light);
        for (x, y, r) in [(-0.5, -0.5, 0.06), (0.52, -0.42, 0.07), (0.4, -0.62, 0.045), (-0.36, -0.66, 0.04)] {
            pen.disc([x, y], r, dark);
        }
        // The throat.
        if m.open > 0.03 {
            pen.ellipse([0.0, -0.24 + 0.06 * m.open], [0.22 + 0.3 * m.open, 0.1 + 0.28 * m.open], light.shade(0.35));
            pen.leaf([-0.12, -0.3], [0.06, 0.03 + 0.08 * m.open], 0.5, WHITE.alpha(0.8));
        }
        pen.line(
            &curve(&[[-0.52, -0.58], [-0.3, -0.46], [0.0, -0.43], [0.3, -0.46], [0.52, -0.58]]),
            0.045,
            dark.shade(-0.3),
        );
        for x in [-0.36, 0.36] {
            pen.disc([x, -0.98], 0.24, skin);
            pen.eye([x, -1.0], 0.17, blink(m, look));
        }
        for x in [-0.08, 0.08] {
            pen.disc([x, -0.66], 0.025, dark);
        }
        for side in [-1.0, 1.0] {
            pen.line(
                &curve(&[[side * 0.36, -0.34], [side * 0.46, -0.14], [side * 0.34, 0.0]]),
                0.13,
                skin.shade(-0.12),
            );
            pen.ellipse([side * 0.32, 0.0], [0.15, 0.05], skin.shade(-0.12));
        }
    });
}
