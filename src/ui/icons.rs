//! Icons drawn as shapes, so that they look the same on every system, and the buttons that carry them: every icon
//! button has a name for screen readers and tests, and a tooltip with its keys. Knows nothing of what buttons do.

use std::f32::consts::TAU;

use egui::{Color32, CornerRadius, Painter, Pos2, Rect, Response, Role, Sense, Shape, Stroke, Ui, Vec2, WidgetInfo};

use super::theme;

/// What can be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Icon {
    /// A triangle.
    Play,
    /// Two bars.
    Pause,
    /// A bar and a triangle to the left.
    PreviousFrame,
    /// A triangle to the right and a bar.
    NextFrame,
    /// To the start.
    Start,
    /// To the end.
    End,
    /// A loudspeaker.
    Sound,
    /// A crossed loudspeaker.
    Muted,
    /// Four corners.
    Fullscreen,
    /// A cross.
    Close,
    /// A question mark in a circle.
    Help,
    /// A film strip.
    Film,
    /// Two arrows in a circle.
    Loop,
    /// Three lines with a knob each.
    Sliders,
    /// An arrow that turns back.
    Undo,
    /// An arrow that turns forward again.
    Redo,
}

/// A square button with an icon. `keys` (such as `M`) stand in the tooltip.
pub fn button(ui: &mut Ui, icon: Icon, label: &str, keys: Option<&str>, enabled: bool) -> Response {
    let size = Vec2::splat(28.0);
    let sense = if enabled { Sense::click() } else { Sense::hover() };
    let (rect, response) = ui.allocate_exact_size(size, sense);
    response.widget_info(|| WidgetInfo::labeled(Role::Button, enabled, label));
    if ui.is_rect_visible(rect) {
        let color = match (enabled, response.hovered() || response.has_focus()) {
            (false, _) => theme::WEAK.gamma_multiply(0.45),
            (true, false) => theme::TEXT,
            (true, true) => theme::STRONG,
        };
        if enabled && response.hovered() {
            ui.painter().rect_filled(rect, 6, ui.visuals().widgets.hovered.bg_fill);
        }
        if response.has_focus() {
            let stroke = Stroke::new(1.5, theme::ACCENT);
            ui.painter().rect_stroke(rect, 6, stroke, egui::StrokeKind::Inside);
        }
        paint(ui.painter(), icon, rect.shrink(7.0), color);
    }
    let tip = keys.map_or_else(|| label.to_owned(), |k| format!("{label}  ({k})"));
    response.on_hover_text(tip)
}

/// Draws an icon into `rect`.
pub fn paint(painter: &Painter, icon: Icon, rect: Rect, color: Color32) {
    let at = |x: f32, y: f32| Pos2::new(rect.left() + x * rect.width(), rect.top() + y * rect.height());
    let fill = |points: Vec<Pos2>| painter.add(Shape::convex_polygon(points, color, Stroke::NONE));
    let bar = |x0: f32, x1: f32| painter.rect_filled(Rect::from_min_max(at(x0, 0.04), at(x1, 0.96)), 1, color);
    let stroke = Stroke::new(1.5, color);
    let line = |a: Pos2, b: Pos2| painter.line_segment([a, b], stroke);
    match icon {
        Icon::Play => {
            fill(vec![at(0.14, 0.0), at(0.98, 0.5), at(0.14, 1.0)]);
        }
        Icon::Pause => {
            bar(0.12, 0.38);
            bar(0.62, 0.88);
        }
        Icon::PreviousFrame => {
            bar(0.82, 0.96);
            fill(vec![at(0.68, 0.05), at(0.68, 0.95), at(0.02, 0.5)]);
        }
        Icon::NextFrame => {
            bar(0.04, 0.18);
            fill(vec![at(0.32, 0.05), at(0.98, 0.5), at(0.32, 0.95)]);
        }
        Icon::Start => {
            bar(0.02, 0.15);
            fill(vec![at(0.58, 0.05), at(0.58, 0.95), at(0.18, 0.5)]);
            fill(vec![at(0.98, 0.05), at(0.98, 0.95), at(0.58, 0.5)]);
        }
        Icon::End => {
            bar(0.85, 0.98);
            fill(vec![at(0.42, 0.05), at(0.82, 0.5), at(0.42, 0.95)]);
            fill(vec![at(0.02, 0.05), at(0.42, 0.5), at(0.02, 0.95)]);
        }
        Icon::Sound | Icon::Muted => {
            fill(vec![at(0.0, 0.34), at(0.22, 0.34), at(0.22, 0.66), at(0.0, 0.66)]);
            fill(vec![at(0.22, 0.34), at(0.5, 0.06), at(0.5, 0.94), at(0.22, 0.66)]);
            if icon == Icon::Muted {
                line(at(0.66, 0.34), at(1.0, 0.68));
                line(at(1.0, 0.34), at(0.66, 0.68));
            } else {
                for radius in [0.24, 0.46] {
                    let arc = (0..=8).map(|i| {
                        let angle = (i as f32 / 8.0 - 0.5) * TAU * 0.27;
                        at(0.54 + radius * angle.cos(), 0.5 + radius * angle.sin())
                    });
                    painter.add(Shape::line(arc.collect(), stroke));
                }
            }
        }
        Icon::Fullscreen => {
            for (x, y) in [(0.02, 0.02), (0.98, 0.02), (0.02, 0.98), (0.98, 0.98)] {
                let toward = |v: f32| if v < 0.5 { 0.32 } else { -0.32 };
                line(at(x, y), at(x + toward(x), y));
                line(at(x, y), at(x, y + toward(y)));
            }
        }
        Icon::Close => {
            line(at(0.15, 0.15), at(0.85, 0.85));
            line(at(0.85, 0.15), at(0.15, 0.85));
        }
        Icon::Help => {
            painter.circle_stroke(rect.center(), rect.width() * 0.55, stroke);
            painter.text(rect.center(), egui::Align2::CENTER_CENTER, "?", theme::semibold(11.0), color);
        }
        Icon::Sliders => {
            for (y, x) in [(0.18, 0.68), (0.5, 0.3), (0.82, 0.58)] {
                line(at(0.02, y), at(0.98, y));
                painter.circle_filled(at(x, y), rect.width() * 0.14, color);
            }
        }
        Icon::Undo | Icon::Redo => {
            let side = |x: f32| if icon == Icon::Undo { x } else { 1.0 - x };
            let arc = (0..=10).map(|i| {
                let angle = (i as f32 / 10.0 * 0.58 - 0.25) * TAU;
                at(side(0.56 + 0.36 * angle.cos()), 0.60 + 0.34 * angle.sin())
            });
            painter.add(Shape::line(arc.collect(), stroke));
            line(at(side(0.56), 0.26), at(side(0.14), 0.26));
            fill(vec![at(side(0.0), 0.26), at(side(0.30), 0.02), at(side(0.30), 0.50)]);
        }
        Icon::Loop => {
            // Two half circles, each ending in an arrow head.
            for turn in [0.0, 0.5] {
                let point = |part: f32, radius: f32| {
                    let angle = (turn + part) * TAU;
                    at(0.5 + radius * angle.cos(), 0.5 + radius * angle.sin())
                };
                painter.add(Shape::line((0..=8).map(|i| point(i as f32 / 8.0 * 0.38, 0.42)).collect(), stroke));
                fill(vec![point(0.34, 0.66), point(0.34, 0.18), point(0.46, 0.42)]);
            }
        }
        Icon::Film => {
            painter.rect_stroke(rect, CornerRadius::same(3), stroke, egui::StrokeKind::Inside);
            for x in [0.22, 0.78] {
                line(at(x, 0.02), at(x, 0.98));
                for y in [0.26, 0.5, 0.74] {
                    let (a, b) = if x < 0.5 { (0.02, x) } else { (x, 0.98) };
                    line(at(a, y), at(b, y));
                }
            }
        }
    }
}
