//! How instruments, machines and weather look and move, in unit coordinates: about −1…1 both ways, ground at
//! y = 1. Knows nothing of where on the picture they stand.

use crate::world::canvas::{DARK, Ink, Pen, WHITE, arc, blob, curve};
use crate::world::rng::{PI, TAU, cos, exp, sin};
use crate::world::scene::Look;
use crate::world::score::Motion;

/// The fractional part.
fn fract(x: f64) -> f64 {
    x - libm::floor(x)
}

/// Arcs that run away from a sounding thing.
fn waves(pen: &mut Pen, center: [f64; 2], toward: f64, m: &Motion, ink: Ink) {
    if m.open < 0.05 {
        return;
    }
    pen.aside(|pen| {
        for k in 0..3 {
            let grow = fract(m.t * 2.6 + f64::from(k) / 3.0);
            let r = 0.12 + 0.42 * grow;
            pen.line(&arc(center, [r, r], toward - 0.6, toward + 0.6), 0.05, ink.alpha(m.open * (1.0 - grow)));
        }
    });
}

/// A church bell in a frame; bell and clapper swing against each other.
pub fn bell(pen: &mut Pen, m: &Motion, look: &Look) {
    let (metal, dark, light) = (look.body, look.body.shade(-0.35), look.body.shade(0.5));
    let wood = look.second;
    pen.block([-0.95, -0.98, 0.95, -0.82], 0.05, wood);
    for side in [-1.0, 1.0] {
        pen.block([side * 0.88 - 0.08, -0.9, side * 0.88 + 0.08, 1.0], 0.03, wood.shade(-0.15));
        pen.line(&[[side * 0.82, -0.5], [side * 0.5, -0.86]], 0.07, wood.shade(-0.3));
    }
    // Each stroke pushes it to the other side; left alone it comes to rest.
    let side = if m.count.is_multiple_of(2) { -1.0 } else { 1.0 };
    let swing = if m.count == 0 { 0.0 } else { side * 0.5 * cos(m.since * 6.2) * exp(-m.since * 0.9) };
    pen.with([0.0, -0.84], swing, [1.0, 1.0], |pen| {
        pen.block([-0.1, -0.04, 0.1, 0.16], 0.05, dark);
        pen.with([0.0, 0.3], -1.5 * swing, [1.0, 1.0], |pen| {
            pen.line(&[[0.0, 0.0], [0.0, 0.98]], 0.06, dark);
            pen.disc([0.0, 1.04], 0.13, dark.shade(-0.2));
        });
        let mut shape = curve(&[[-0.2, 0.12], [-0.36, 0.34], [-0.42, 0.8], [-0.66, 1.16]]);
        let mut other: Vec<_> = shape.iter().rev().map(|[x, y]| [-x, *y]).collect();
        shape.append(&mut other);
        pen.polygon(&shape, metal);
        pen.polygon(
            &curve(&[
                [-0.12, 0.16],
                [-0.24, 0.36],
                [-0.3, 0.8],
                [-0.46, 1.12],
                [-0.3, 1.12],
                [-0.17, 0.8],
                [-0.12, 0.36],
            ]),
            light.alpha(0.8),
        );
        pen.block([-0.7, 1.1, 0.7, 1.22], 0.06, dark);
        pen.line(&[[-0.4, 0.72], [0.4, 0.72]], 0.05, dark);
    });
    waves(pen, [-0.72, 0.1], PI, m, light);
    waves(pen, [0.72, 0.1], 0.0, m, light);
}

/// A drum on legs, beaten by two sticks in turn.
pub fn drum(pen: &mut Pen, m: &Motion, look: &Look) {
    let (shell, hoop) = (look.body, look.accent);
    for x in [-0.55, 0.55] {
        pen.line(&[[x, 0.7], [x * 1.2, 0.98]], 0.09, DARK);
    }
    let dent = 0.05 * m.pulse;
    pen.polygon(&[[-0.78, -0.1], [0.78, -0.1], [0.72, 0.72], [0.4, 0.84], [-0.4, 0.84], [-0.72, 0.72]], shell);
    pen.polygon(&[[-0.78, -0.1], [-0.44, 0.04], [-0.4, 0.84], [-0.72, 0.72]], shell.shade(0.25));
    for i in 0..5 {
        let x = -0.66 + 0.264 * f64::from(i);
        pen.line(&[[x, 0.08], [x + 0.132, 0.74], [x + 0.264, 0.08]], 0.03, WHITE);
    }
    pen.line(&arc([0.0, 0.68], [0.74, 0.16], 0.0, PI), 0.1, hoop);
    pen.ellipse([0.0, -0.1], [0.82, 0.26], hoop);
    pen.ellipse([0.0, -0.12], [0.73, 0.2], Ink::rgb8(250, 240, 220));
    pen.ellipse([0.0, -0.12 + dent], [0.35 + 0.3 * m.pulse, 0.1 + 0.06 * m.pulse], Ink::rgb8(226, 208, 180));
    if m.pulse > 0.05 {
        let r = 0.3 + 2.4 * m.since;
        pen.aside(|pen| pen.line(&arc([0.0, -0.2], [r, r * 0.4], PI, TAU), 0.045, hoop.alpha(m.pulse)));
    }
    for (i, side) in [(0, -1.0), (1, 1.0)] {
        // The stick whose turn it is comes down; the other waits above.
        let down = if m.count > 0 && (m.count + i).is_multiple_of(2) { m.pulse } else { 0.0 };
        let lift = 0.55 + 0.05 * sin(m.t * 3.0 + side) + 0.12 * m.active;
        let angle = side * lift * (1.0 - down);
        pen.with([side * 0.86, -0.42], -angle, [side, 1.0], |pen| {
            pen.line(&[[0.1, -0.03], [-0.66, 0.22]], 0.07, Ink::rgb8(205, 150, 92));
            pen.disc([-0.68, 0.22], 0.085, Ink::rgb8(150, 98, 56));
        });
    }
}

/// A pendulum clock with a round face.
pub fn clock(pen: &mut Pen, m: &Motion, look: &Look) {
    let (case, dark) = (look.body, look.body.shade(-0.4));
    pen.polygon(&[[-0.56, -0.86], [0.0, -1.0], [0.56, -0.86], [0.56, -0.7], [-0.56, -0.7]], dark);
    pen.block([-0.52, -0.8, 0.52, 0.9], 0.06, case);
    pen.block([-0.62, 0.84, 0.62, 1.0], 0.04, dark);
    pen.block([-0.3, 0.2, 0.3, 0.8], 0.05, dark.shade(-0.4));
    // Each tick throws the pendulum to the other side; while it does not tick, it hangs.
    let side = if m.count.is_multiple_of(2) { -1.0 } else { 1.0 };
    let swing = if m.count == 0 { 0.0 } else { side * m.active * 0.36 * cos((m.since / 0.27).min(1.0) * PI) };
    pen.with([0.0, 0.16], swing, [1.0, 1.0], |pen| {
        pen.line(&[[0.0, 0.0], [0.0, 0.44]], 0.045, Ink::rgb8(250, 214, 100));
        pen.disc([0.0, 0.48], 0.13, Ink::rgb8(250, 214, 100));
        pen.disc([-0.04, 0.44], 0.04, WHITE);
    });
    pen.disc([0.0, -0.28], 0.46, dark);
    pen.disc([0.0, -0.28], 0.4, Ink::rgb8(252, 247, 232));
    for hour in 0..12 {
        let a = f64::from(hour) * TAU / 12.0;
        let long = if hour % 3 == 0 { 0.28 } else { 0.32 };
        pen.line(&[[0.36 * cos(a), -0.28 + 0.36 * sin(a)], [long * cos(a), -0.28 + long * sin(a)]], 0.04, DARK);
    }
    let jump = m.count as f64 - 0.3 * m.pulse;
    let hand = |pen: &mut Pen, turn: f64, length: f64, width: f64, ink: Ink| {
        pen.line(&[[0.0, -0.28], [length * sin(turn), -0.28 - length * cos(turn)]], width, ink);
    };
    hand(pen, look.phase * TAU, 0.2, 0.06, DARK);
    hand(pen, look.phase * 12.0 * TAU, 0.29, 0.045, DARK);
    hand(pen, (look.phase * 60.0 + jump) * TAU / 24.0, 0.33, 0.025, look.accent);
    pen.disc([0.0, -0.28], 0.05, look.accent);
}

/// A small car from the side; it bounces and flashes when it honks.
pub fn car(pen: &mut Pen, m: &Motion, look: &Look) {
    let (paint, dark, light) = (look.body, look.body.shade(-0.3), look.body.shade(0.4));
    let shake = 0.03 * m.open * sin(m.t * 52.0) + 0.008 * sin(m.t * 31.0);
    if m.open > 0.05 {
        pen.aside(|pen| {
            pen.polygon(
                &[[-0.98, 0.42], [-1.7, 0.24], [-1.7, 0.76], [-0.98, 0.56]],
                Ink::rgb8(255, 236, 140).alpha(0.5 * m.open),
            );
        });
    }
    pen.with([0.0, shake], 0.0, [1.0, 1.0], |pen| {
        pen.polygon(
            &curve(&[[-0.62, 0.24], [-0.4, -0.24], [-0.1, -0.34], [0.34, -0.32], [0.6, 0.0], [0.74, 0.24]]),
            dark,
        );
        let glass = Ink::rgb8(190, 228, 244);
        pen.polygon(&[[-0.48, 0.2], [-0.32, -0.16], [-0.06, -0.22], [-0.06, 0.2]], glass);
        pen.polygon(&[[0.04, 0.2], [0.04, -0.22], [0.3, -0.2], [0.52, 0.2]], glass);
        pen.polygon(&[[-0.36, 0.2], [-0.24, -0.1], [-0.16, -0.12], [-0.28, 0.2]], WHITE.alpha(0.6));
        // A driver.
        pen.disc([-0.22, 0.06], 0.11, Ink::rgb8(240, 196, 160));
        pen.line(&arc([-0.22, 0.03], [0.11, 0.1], PI, TAU), 0.07, look.accent);
        pen.block([-1.0, 0.16, 1.0, 0.72], 0.2, paint);
        pen.block([-0.94, 0.2, 0.94, 0.3], 0.05, light);
        pen.line(&[[-0.02, 0.26], [-0.02, 0.66]], 0.025, dark);
        pen.block([0.06, 0.36, 0.2, 0.41], 0.02, dark);
        pen.disc([-0.9, 0.46], 0.1, if m.open > 0.2 { Ink::rgb8(255, 246, 170) } else { Ink::rgb8(240, 232, 200) });
        pen.block([0.9, 0.38, 1.0, 0.52], 0.03, Ink::rgb8(226, 60, 60));
        pen.block([-1.04, 0.62, 1.04, 0.74], 0.05, Ink::rgb8(180, 184, 192));
    });
    for x in [-0.58, 0.58] {
        pen.disc([x, 0.76], 0.24, DARK);
        pen.disc([x, 0.76], 0.12, Ink::rgb8(205, 210, 218));
        let turn = m.t * 1.5;
        for spoke in 0..4 {
            let a = turn + f64::from(spoke) * PI / 4.0;
            pen.line(&[[x + 0.1 * cos(a), 0.76 + 0.1 * sin(a)], [x - 0.1 * cos(a), 0.76 - 0.1 * sin(a)]], 0.02, DARK);
        }
    }
    waves(pen, [-1.0, 0.1], PI * 1.1, m, look.accent);
}

/// A steam engine; it puffs and its rods turn with the beat.
pub fn train(pen: &mut Pen, m: &Motion, look: &Look) {
    let (paint, dark) = (look.body, look.body.shade(-0.35));
    let brass = Ink::rgb8(240, 200, 90);
    // Puffs leave the chimney with every stroke.
    pen.aside(|pen| {
        for k in 0..5 {
            let age = m.since + 0.22 * f64::from(k);
            let alive = m.count > k as usize && age < 1.1;
            if alive {
                let r = 0.1 + 0.22 * age;
                let x = -0.62 + 0.55 * age + 0.06 * sin(age * 9.0 + f64::from(k));
                pen.disc([x, -0.86 - 0.75 * age], r, WHITE.shade(-0.08).alpha(0.9 * (1.0 - age / 1.1)));
            }
        }
    });
    let turn = (m.count as f64 + (m.since / 0.22).clamp(0.0, 1.0)) * PI / 2.0 * if m.count > 0 { 1.0 } else { 0.0 };
    let jolt = 0.025 * m.pulse;
    pen.line(&[[-1.0, 0.98], [1.0, 0.98]], 0.05, Ink::rgb8(120, 110, 104));
    pen.with([0.0, -jolt], 0.0, [1.0, 1.0], |pen| {
        // Chimney, dome, boiler, cab, cow-catcher.
        pen.polygon(&[[-0.72, -0.3], [-0.78, -0.78], [-0.46, -0.78], [-0.52, -0.3]], dark);
        pen.block([-0.84, -0.86, -0.4, -0.74], 0.04, dark.shade(-0.3));
        pen.ellipse([-0.16, -0.28], [0.13, 0.17], brass);
        pen.block([-0.86, -0.3, 0.4, 0.34], 0.18, paint);
        for x in [-0.5, -0.2, 0.1] {
            pen.line(&[[x, -0.27], [x, 0.31]], 0.04, brass);
        }
        pen.ellipse([-0.87, 0.02], [0.09, 0.27], dark);
        pen.disc([-0.93, -0.12], 0.09, Ink::rgb8(255, 244, 180));
        pen.block([0.3, -0.7, 0.92, 0.4], 0.04, dark);
        pen.block([0.2, -0.8, 1.0, -0.66], 0.05, look.accent);
        pen.block([0.42, -0.5, 0.78, -0.12], 0.05, Ink::rgb8(255, 232, 150));
        pen.disc([0.6, -0.26], 0.11, Ink::rgb8(240, 196, 160));
        pen.block([0.48, -0.42, 0.72, -0.32], 0.03, look.accent);
        pen.block([-0.9, 0.34, 0.94, 0.5], 0.03, dark.shade(-0.3));
        pen.polygon(&[[-0.84, 0.42], [-1.06, 0.92], [-0.7, 0.92]], look.accent);
    });
    let wheels = [(-0.44, 0.72, 0.23), (0.08, 0.72, 0.23), (0.64, 0.68, 0.28)];
    for (x, y, r) in wheels {
        pen.disc([x, y], r, look.accent.shade(-0.25));
        pen.disc([x, y], r * 0.72, look.accent.shade(0.2));
        for spoke in 0..4 {
            let a = turn + f64::from(spoke) * PI / 4.0;
            let (dx, dy) = (r * 0.8 * cos(a), r * 0.8 * sin(a));
            pen.line(&[[x - dx, y - dy], [x + dx, y + dy]], 0.035, look.accent.shade(-0.25));
        }
        pen.disc([x, y], r * 0.22, DARK);
    }
    let (dx, dy) = (0.13 * cos(turn), 0.13 * sin(turn));
    pen.line(&[[-0.44 + dx, 0.72 + dy], [0.64 + dx, 0.7 + dy]], 0.065, Ink::rgb8(196, 200, 208));
}

/// A cloud over puddles; it pours while it sounds and only drips otherwise.
pub fn rain(pen: &mut Pen, m: &Motion, look: &Look) {
    let cloud = look.body.mix(Ink::rgb8(150, 158, 175), 0.35);
    let water = look.accent.mix(Ink::rgb8(90, 160, 230), 0.4);
    pen.ellipse([0.0, 0.92], [0.9, 0.09], water.shade(0.25));
    for k in 0..34 {
        let column = fract(f64::from(k) * 0.618_034 + look.phase);
        let heavy = k % 7 == 0;
        let strength = if heavy { 0.55 + 0.45 * m.active } else { m.active };
        let speed = 1.5 + 0.5 * fract(f64::from(k) * 0.37);
        let fall = fract(m.t * speed + f64::from(k) * 0.731);
        if strength < 0.1 {
            continue;
        }
        let (x, y) = (-0.7 + 1.4 * column - 0.14 * fall, -0.2 + 1.12 * fall);
        pen.line(&[[x, y], [x - 0.035, y + 0.17]], 0.042, water.alpha(strength));
        if fall > 0.86 {
            let r = 0.1 * (fall - 0.86) / 0.14 + 0.03;
            pen.line(&arc([x, 0.92], [r, r * 0.35], PI, TAU), 0.025, WHITE.alpha(0.8 * strength));
        }
    }
    let bob = 0.02 * sin(m.t * 2.0 + look.phase * TAU) + 0.02 * m.active * sin(m.t * 23.0);
    pen.with([bob, 0.5 * bob], 0.0, [1.0, 1.0], |pen| {
        for (x, y, r, tone) in [
            (-0.5, -0.42, 0.32, -0.18),
            (0.52, -0.4, 0.34, -0.18),
            (0.0, -0.44, 0.38, -0.1),
            (-0.3, -0.66, 0.32, 0.1),
            (0.24, -0.72, 0.36, 0.18),
        ] {
            pen.disc([x, y], r, cloud.shade(tone));
        }
        pen.block([-0.84, -0.44, 0.86, -0.12], 0.16, cloud.shade(-0.18));
        pen.ellipse([0.16, -0.86], [0.16, 0.07], WHITE.alpha(0.45));
        // A frown that opens while it pours.
        pen.eye([-0.2, -0.46], 0.075, 1.0);
        pen.eye([0.2, -0.46], 0.075, 1.0);
        if m.active > 0.3 {
            pen.ellipse([0.0, -0.29], [0.08, 0.05], DARK);
        } else {
            pen.line(&arc([0.0, -0.3], [0.1, 0.05], 0.1, PI - 0.1), 0.035, DARK);
        }
    });
}

/// A camp fire of any colour; it blazes and throws sparks while it crackles.
pub fn fire(pen: &mut Pen, m: &Motion, look: &Look) {
    let wood = Ink::rgb8(116, 78, 54);
    pen.aside(|pen| {
        for ring in 1..=6 {
            let r = 0.18 * f64::from(ring) * (0.8 + 0.2 * m.active);
            pen.disc([0.0, 0.35], r, look.body.shade(0.5).alpha(0.03 + 0.04 * m.active));
        }
    });
    pen.line(&[[-0.7, 0.74], [0.66, 0.94]], 0.2, wood.shade(-0.25));
    let height = 0.62 + 0.38 * m.active;
    for (layer, (width, tall, ink)) in [
        (0.62, 1.72, look.body.shade(-0.08)),
        (0.45, 1.28, look.body.mix(look.accent, 0.55).shade(0.1)),
        (0.28, 0.86, look.accent.shade(0.35)),
        (0.14, 0.48, WHITE.alpha(0.9)),
    ]
    .into_iter()
    .enumerate()
    {
        let phase = layer as f64 * 1.7 + look.phase * TAU;
        let lick = |k: f64| sin(m.t * (7.0 + 1.6 * k) + phase + k * 2.1) * (0.06 + 0.06 * m.active);
        let top = 0.84 - tall * height * (1.0 + lick(3.0));
        let mid = 0.84 - tall * height * 0.5;
        pen.polygon(
            &blob(&[
                [0.0, 0.88],
                [-width * 0.85, 0.74],
                [-width * 1.05 + lick(1.0), mid + 0.12],
                [-width * 0.42 + lick(2.0), mid - 0.1],
                [lick(4.0) * 2.2, top],
                [width * 0.4 + lick(5.0), mid - 0.02],
                [width * 1.0 + lick(6.0), mid + 0.18],
                [width * 0.8, 0.76],
            ]),
            ink,
        );
    }
    pen.line(&[[-0.66, 0.94], [0.7, 0.74]], 0.2, wood);
    pen.disc([0.7, 0.74], 0.09, wood.shade(0.4));
    pen.disc([-0.7, 0.74], 0.08, wood.shade(0.3));
    for (x, r) in [(-0.9, 0.11), (-0.3, 0.1), (0.3, 0.12), (0.9, 0.1)] {
        pen.ellipse([x, 0.96], [r, r * 0.6], Ink::rgb8(134, 136, 144));
    }
    if m.active > 0.1 {
        pen.aside(|pen| {
            for k in 0..9 {
                let rise = fract(m.t * (0.9 + 0.1 * f64::from(k % 4)) + f64::from(k) * 0.377);
                let x = sin(f64::from(k) * 2.4) * 0.5 + 0.14 * sin(m.t * 5.0 + f64::from(k));
                pen.disc([x, 0.2 - 1.5 * rise], 0.035, look.accent.shade(0.5).alpha(m.active * (1.0 - rise)));
            }
        });
    }
}

/// A referee's whistle; it shakes, and its pea whirls.
pub fn whistle(pen: &mut Pen, m: &Motion, look: &Look) {
    let (body, dark, light) = (look.body, look.body.shade(-0.35), look.body.shade(0.5));
    let shake = 0.03 * m.open * sin(m.t * 70.0);
    let float = 0.04 * sin(m.t * 2.1 + look.phase * TAU);
    // The cord.
    pen.line(&curve(&[[0.52, 0.34], [0.8, 0.7], [0.4, 0.96], [-0.3, 0.9], [-0.7, 0.98]]), 0.06, look.accent);
    pen.with([shake, float], -0.18 - 0.12 * m.open, [1.0 + 0.04 * m.open, 1.0], |pen| {
        pen.line(&arc([0.62, 0.22], [0.13, 0.13], 0.0, TAU), 0.055, Ink::rgb8(190, 196, 206));
        // Mouthpiece and chamber.
        pen.polygon(&[[-1.0, -0.5], [0.3, -0.5], [0.3, 0.0], [-0.2, 0.0], [-1.0, -0.16]], body);
        pen.block([-1.06, -0.54, -0.86, -0.12], 0.05, dark);
        pen.disc([0.22, 0.06], 0.56, body);
        pen.disc([0.22, 0.06], 0.44, light.alpha(0.55));
        pen.polygon(&[[-0.34, -0.52], [-0.1, -0.52], [-0.2, -0.2], [-0.3, -0.2]], DARK);
        let spin = if m.open > 0.1 { m.t * 40.0 } else { PI / 2.0 };
        pen.disc([0.22 + 0.26 * cos(spin), 0.06 + 0.26 * sin(spin)], 0.14, look.accent);
        pen.disc([0.22 + 0.26 * cos(spin) - 0.04, 0.02 + 0.26 * sin(spin)], 0.04, WHITE);
        pen.line(&arc([0.22, 0.06], [0.5, 0.5], PI * 1.55, PI * 1.95), 0.05, WHITE.alpha(0.8));
        pen.line(&[[-0.8, -0.42], [-0.45, -0.42]], 0.05, WHITE.alpha(0.7));
    });
    if m.open > 0.05 {
        pen.aside(|pen| {
            for k in 0..5 {
                let a = -PI * (0.25 + 0.14 * f64::from(k));
                let near = 0.66 + 0.3 * fract(m.t * 3.1 + f64::from(k) * 0.4);
                let at = |r: f64| [-0.22 + r * cos(a), -0.3 + r * sin(a)];
                pen.line(&[at(near), at(near + 0.22)], 0.055, look.accent.alpha(m.open));
            }
        });
    }
}
