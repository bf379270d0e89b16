//! The selection on the time axis: a band with edges to drag, its length written on it, and a menu. Knows nothing of
//! what lies on the axis.

use egui::{Align2, Color32, CursorIcon, FontId, Pos2, Rect, Response, Stroke, Ui, Vec2};

use super::icons::{self, Icon};
use super::{player, theme};
use crate::command::Command;
use crate::state::{Selection, State};
use crate::time::Span;

/// How close to an edge the pointer must be to take hold of it, in points.
const GRIP: f32 = 5.0;

/// What the pointer holds while it moves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Held {
    /// The playhead.
    Playhead,
    /// A selection from here to the pointer.
    From(f64),
}

/// Draws the selection between the left edge `x0` of the axis and the right edge of `area`.
pub fn draw(ui: &Ui, selection: Selection, area: Rect, x0: f32, ruler: f32, x_of: &dyn Fn(f64) -> f32) {
    let [from, to] = [selection.span.start_secs, selection.span.end_secs].map(x_of);
    let (left, right) = (from.max(x0), to.min(area.right()));
    if right <= left {
        return;
    }
    let painter = ui.painter();
    let color = if selection.looping { theme::ACCENT } else { theme::WEAK };
    let band = Rect::from_min_max(Pos2::new(left, area.top()), Pos2::new(right, area.bottom()));
    painter.rect_filled(band, 0, color.gamma_multiply(0.10));
    let bar = Rect::from_min_max(band.min, Pos2::new(right, area.top() + ruler - 2.0));
    painter.rect_filled(bar, 3, color.gamma_multiply(0.35));
    for (x, shown) in [(from, from >= x0), (to, to <= area.right())] {
        if shown {
            painter.line_segment([Pos2::new(x, area.top()), Pos2::new(x, area.bottom())], Stroke::new(1.0, color));
        }
    }
    let text = format!("{:.2} s", selection.span.duration_secs());
    let galley = painter.layout_no_wrap(text, FontId::proportional(10.5), theme::STRONG);
    if galley.size().x + 8.0 < bar.width() {
        let at = Align2::CENTER_CENTER.anchor_size(bar.center(), galley.size()).min;
        painter.rect_filled(Rect::from_min_size(at, galley.size()).expand2(Vec2::new(4.0, 0.0)), 2, theme::GROUND);
        painter.galley(at, galley, Color32::WHITE);
    }
}

/// What can be done with the selection, beside it; where there is none but only a part is asked about, the way back to
/// the whole.
pub fn handles(
    ui: &mut Ui,
    state: &State,
    area: Rect,
    x0: f32,
    ruler: f32,
    x_of: &dyn Fn(f64) -> f32,
    commands: &mut Vec<Command>,
) {
    let part = part_of(state);
    let span = match (state.selection, part) {
        (Some(selection), _) => selection.span,
        (None, Some(part)) => Span::new(part.0, part.1.min(state.duration_secs().unwrap_or(part.1))),
        (None, None) => return,
    };
    let used = part.is_some_and(|part| part == (span.start_secs, span.end_secs));
    let [from, to] = [span.start_secs, span.end_secs].map(|t| x_of(t).clamp(x0, area.right()));
    let wide = if state.selection.is_some() { WIDE } else { WIDE_ALONE };
    // After the selection, before it, or on it: wherever there is room.
    let left = if to + wide < area.right() {
        to + 4.0
    } else if from - wide > x0 {
        from - wide
    } else {
        (to - wide - 4.0).max(x0)
    };
    let row = Rect::from_min_size(Pos2::new(left, area.top()), Vec2::new(wide, ruler - 2.0));
    ui.painter().rect_filled(row, 4, theme::PANEL);
    ui.painter().rect_stroke(row, 4, Stroke::new(1.0, theme::LINE), egui::StrokeKind::Inside);
    let mut x = row.left();
    let mut button = |what: Handle<'_>, (name, keys): (&str, &str), width: f32, on: bool| {
        let rect = Rect::from_min_size(Pos2::new(x, row.top()), Vec2::new(width, row.height()));
        x += width;
        let response = ui.interact(rect, ui.scope_id().with(name), egui::Sense::click());
        response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, true, name));
        let color = match (on, response.hovered() || response.has_focus()) {
            (true, _) => theme::ACCENT,
            (false, true) => theme::STRONG,
            (false, false) => theme::TEXT,
        };
        match what {
            Handle::Text(text) => {
                ui.painter().text(rect.center(), Align2::CENTER_CENTER, text, FontId::proportional(11.0), color);
            }
            Handle::Close => {
                let place = Rect::from_center_size(rect.center(), Vec2::splat(8.0));
                icons::paint(ui.painter(), Icon::Close, place, color);
            }
        }
        response.on_hover_text(format!("{name}  ({keys})")).clicked()
    };
    if let Some(selection) = state.selection {
        if button(Handle::Text("Loop"), ("Loop the selection", "R"), 40.0, selection.looping) {
            commands.push(Command::ToggleLoop);
        }
        if !used && button(Handle::Text("Ask about it"), ("Ask about the selection only", "A"), 84.0, false) {
            commands.push(Command::UseSelection);
        }
    }
    if (used || state.selection.is_none())
        && button(Handle::Text("Whole clip"), ("Ask about the whole clip", "Shift+A"), 84.0, used)
    {
        commands.push(Command::UsePart(None));
    }
    if state.selection.is_some() && button(Handle::Close, ("Clear the selection", "X"), 22.0, false) {
        commands.push(Command::Select(None));
    }
}

/// What is drawn on a handle.
enum Handle<'a> {
    Text(&'a str),
    Close,
}

/// Width of the handles, with a selection and without one.
const WIDE: f32 = 146.0;
const WIDE_ALONE: f32 = 84.0;

/// The part that is asked about, in seconds; `None` for the whole clip.
fn part_of(state: &State) -> Option<(f64, f64)> {
    let (start, end) = (state.clip.start_secs, state.clip.end_secs);
    (start.is_some() || end.is_some()).then(|| (start.unwrap_or(0.0), end.unwrap_or(f64::INFINITY)))
}

/// Dims what the model is not asked about.
pub fn dim_unused(ui: &Ui, state: &State, area: Rect, x0: f32, x_of: &dyn Fn(f64) -> f32) {
    let dim = |from: f32, to: f32| {
        let (left, right) = (from.max(x0), to.min(area.right()));
        if right > left {
            let rect = Rect::from_min_max(Pos2::new(left, area.top()), Pos2::new(right, area.bottom()));
            ui.painter().rect_filled(rect, 0, Color32::from_black_alpha(150));
        }
    };
    if let Some(start) = state.clip.start_secs {
        dim(x0, x_of(start));
    }
    if let Some(end) = state.clip.end_secs {
        dim(x_of(end), area.right());
    }
}

/// What a press at `x` takes hold of: an edge (then the selection goes on from the other one), or with Shift a new
/// selection, or else the playhead.
pub fn take_hold(state: &State, x: f32, shift: bool, x_of: &dyn Fn(f64) -> f32, t: f64) -> Held {
    if let Some(span) = state.selection.map(|s| s.span).filter(|_| !shift) {
        if (x - x_of(span.start_secs)).abs() <= GRIP {
            return Held::From(span.end_secs);
        }
        if (x - x_of(span.end_secs)).abs() <= GRIP {
            return Held::From(span.start_secs);
        }
    }
    if shift { Held::From(t) } else { Held::Playhead }
}

/// Shows that an edge can be taken hold of.
pub fn cursor(ui: &Ui, state: &State, x: f32, x_of: &dyn Fn(f64) -> f32) {
    let near = |t: f64| (x - x_of(t)).abs() <= GRIP;
    if state.selection.is_some_and(|s| near(s.span.start_secs) || near(s.span.end_secs)) {
        ui.ctx().set_cursor_icon(CursorIcon::ResizeHorizontal);
    }
}

/// The menu of the axis.
pub fn menu(response: &Response, state: &State, full: Span, commands: &mut Vec<Command>) {
    response.context_menu(|ui| {
        ui.set_min_width(210.0);
        let part = part_of(state);
        let mut whole = |ui: &mut Ui| {
            if part.is_some() && ui.button("Ask about the whole clip  (Shift+A)").clicked() {
                commands.push(Command::UsePart(None));
                ui.close();
            }
        };
        whole(ui);
        let Some(selection) = state.selection else {
            if ui.button("Select all").clicked() {
                commands.push(Command::Select(Some(full)));
            }
            if ui.button("Select from the playhead on  (I)").clicked() {
                commands.push(Command::SelectFrom);
            }
            return;
        };
        let span = selection.span;
        let mut looping = selection.looping;
        if ui.checkbox(&mut looping, "Loop the selection  (R)").clicked() {
            commands.push(Command::ToggleLoop);
        }
        let used = part == Some((span.start_secs, span.end_secs));
        if !used && ui.button("Ask about this part only  (A)").clicked() {
            commands.push(Command::UseSelection);
            ui.close();
        }
        if ui.button("Zoom to the selection").clicked() {
            commands.push(Command::ShowSelection);
            ui.close();
        }
        if ui.button("Go to its start").clicked() {
            commands.push(Command::Seek(span.start_secs));
            ui.close();
        }
        if ui.button("Clear  (X)").clicked() {
            commands.push(Command::Select(None));
            ui.close();
        }
        ui.label(
            egui::RichText::new(format!("{} – {}", player::clock(span.start_secs), player::clock(span.end_secs)))
                .small()
                .color(theme::WEAK),
        );
    });
}
