//! The picture with its heat map, and the transport bar under it. Knows nothing of decoding: it gets the frame that
//! is due.

use std::fmt::Write as _;
use std::sync::Arc;

use egui::{
    Align, Align2, Color32, Layout, Pos2, Rect, RichText, Role, Sense, Stroke, StrokeKind, Ui, Vec2, WidgetInfo,
};

use super::icons::{self, Icon};
use super::{Scene, sources, theme};
use crate::clip::FrameEdit;
use crate::command::{Command, keys_of};
use crate::event::FileUse;
use crate::frame::{Planes, display_size};
use crate::gpu::colormap::ColorMap;
use crate::gpu::{OverlayFrame, OverlayStyle, callback};
use crate::settings::View;
use crate::state::{Media, SPEEDS, State, speed_text};

/// The largest rectangle of the picture's shape inside `area`, on whole pixels.
fn fit(area: Rect, [w, h]: [u32; 2], pixels_per_point: f32) -> Rect {
    let scale = (area.width() / w as f32).min(area.height() / h as f32);
    let size = Vec2::new(w as f32 * scale, h as f32 * scale);
    let rect = Rect::from_center_size(area.center(), size);
    let snap = |v: f32| (v * pixels_per_point).round() / pixels_per_point;
    Rect::from_min_max(rect.min.to_vec2().map(snap).to_pos2(), rect.max.to_vec2().map(snap).to_pos2())
}

trait MapVec {
    fn map(self, f: impl Fn(f32) -> f32) -> Vec2;
}

impl MapVec for Vec2 {
    fn map(self, f: impl Fn(f32) -> f32) -> Vec2 {
        Vec2::new(f(self.x), f(self.y))
    }
}

/// How the view's numbers become an overlay style.
pub fn overlay_style(view: &View) -> OverlayStyle {
    OverlayStyle {
        map: ColorMap::ALL[view.map.min(ColorMap::ALL.len() - 1)],
        opacity: view.opacity,
        gamma: view.gamma,
        smooth: view.smooth,
        lines: view.lines,
        ..OverlayStyle::default()
    }
}

/// The heat map that belongs to the frame on screen, and a line that says which grid step it is.
pub fn overlay(state: &State) -> Option<(OverlayFrame, String)> {
    // A map of other frames does not belong on these.
    let shown = state.shown().filter(|_| state.view.heat && state.picture_as_asked())?;
    let (grid, weights) = shown.provenance.videos.first().zip(shown.map.videos.first())?;
    // One frame for all time stands for whatever time it is.
    let one = matches!(state.clip.frames, FrameEdit::Black | FrameEdit::Freeze);
    let at = state.playback.frame_pts_secs.filter(|_| !one).unwrap_or(state.playback.position_secs);
    let step = grid.step_at(at)?;
    let cells = grid.rows * grid.cols;
    let weights = weights.get(step * cells..(step + 1) * cells)?.to_vec();
    let s = &grid.steps[step];
    let mut caption = format!("Step {} of {}", step + 1, grid.steps.len());
    if state.changed_since_asked() {
        caption.insert_str(0, "Before the change   ");
    } else {
        // Writing to a string cannot fail.
        let _ = write!(
            caption,
            "   frames at {:.2} s and {:.2} s   model time {:.1}–{:.1} s   {} × {} tokens",
            s.pts_secs[0], s.pts_secs[1], s.nominal.start_secs, s.nominal.end_secs, grid.cols, grid.rows,
        );
    }
    let frame = OverlayFrame {
        rows: grid.rows,
        cols: grid.cols,
        weights,
        scale: shown.video_scale,
        style: overlay_style(&state.view),
    };
    Some((frame, caption))
}

/// The picture, or what there is instead of one.
pub fn picture(ui: &mut Ui, state: &State, scene: &Scene, commands: &mut Vec<Command>) {
    let area = ui.available_rect_before_wrap();
    ui.painter().rect_filled(area, 8, theme::INSET);
    match (&scene.frame, state.media) {
        (_, Media::Empty) => drop_zone(ui, area, commands),
        (Some(frame), Media::Open { .. } | Media::Opening) => {
            let rect = fit(area, display_size(&**frame), ui.ctx().pixels_per_point());
            show_frame(ui, [area, rect], state, scene.stand_in.as_ref().unwrap_or(frame), commands);
        }
        (None, Media::Open { picture: false, .. }) => message(ui, area, "Sound only", "This clip has no picture."),
        (_, Media::Broken) => broken(ui, area, state, commands),
        _ => {
            message(ui, area, "Opening…", &state.title().unwrap_or_default());
        }
    }
    ui.allocate_rect(area, Sense::hover());
}

fn show_frame(
    ui: &mut Ui,
    [area, rect]: [Rect; 2],
    state: &State,
    frame: &Arc<dyn Planes>,
    commands: &mut Vec<Command>,
) {
    let overlay = overlay(state);
    let (heat, caption) = overlay.map_or((None, None), |(h, c)| (Some(h), Some(c)));
    callback::picture(ui, rect, frame, heat);
    let response = ui.interact(rect, ui.scope_id().with("picture"), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, "Video picture"));
    if response.double_clicked() {
        // The first click of the two is taken back.
        commands.extend([Command::TogglePlay, Command::ToggleFullscreen]);
    } else if response.clicked() {
        commands.push(Command::TogglePlay);
    }
    sources::badges(ui, state, rect);
    if let Some(caption) = caption {
        let galley = ui.painter().layout_no_wrap(caption, egui::FontId::proportional(11.0), theme::STRONG);
        // Beyond a narrow picture's sides where it must be.
        let left = if galley.size().x + 16.0 < rect.width() {
            rect.left() + 8.0
        } else {
            (rect.center().x - galley.size().x / 2.0).max(area.left() + 8.0)
        };
        let at = Pos2::new(left, rect.bottom() - 8.0 - galley.size().y);
        let back = Rect::from_min_size(at, galley.size()).expand2(Vec2::new(6.0, 3.0));
        if back.width() < area.width() {
            ui.painter().rect_filled(back, 4, Color32::from_black_alpha(170));
            ui.painter().galley(at, galley, theme::STRONG);
        }
    }
}

/// A heading and a line in the middle of an area.
pub(super) fn message(ui: &Ui, area: Rect, heading: &str, text: &str) {
    let p = ui.painter();
    p.text(area.center() - Vec2::new(0.0, 10.0), Align2::CENTER_CENTER, heading, theme::semibold(16.0), theme::TEXT);
    let at = area.center() + Vec2::new(0.0, 14.0);
    p.text(at, Align2::CENTER_CENTER, text, egui::FontId::proportional(13.0), theme::WEAK);
}

fn broken(ui: &mut Ui, area: Rect, state: &State, commands: &mut Vec<Command>) {
    let name = state.title().unwrap_or_default();
    message(ui, area.translate(Vec2::new(0.0, -20.0)), "This clip cannot be played", &name);
    let at = Rect::from_center_size(area.center() + Vec2::new(0.0, 34.0), Vec2::new(150.0, 30.0));
    if ui.place(at, egui::Button::new("Open another…")).clicked() {
        commands.push(Command::Choose(FileUse::Clip));
    }
}

fn drop_zone(ui: &mut Ui, area: Rect, commands: &mut Vec<Command>) {
    let zone = Rect::from_center_size(area.center(), (area.size() - Vec2::splat(48.0)).min(Vec2::new(560.0, 300.0)));
    let hovering = ui.ctx().input(|i| !i.raw.hovered_files.is_empty());
    let color = if hovering { theme::ACCENT } else { theme::LINE };
    let corners = [zone.left_top(), zone.right_top(), zone.right_bottom(), zone.left_bottom(), zone.left_top()];
    ui.painter().extend(egui::Shape::dashed_line(&corners, Stroke::new(1.5, color), 7.0, 6.0));
    let icon = Rect::from_center_size(zone.center() - Vec2::new(0.0, 72.0), Vec2::new(44.0, 36.0));
    icons::paint(ui.painter(), Icon::Film, icon, theme::WEAK);
    let text = |dy: f32, text: &str, font: egui::FontId, color: Color32| {
        ui.painter().text(zone.center() + Vec2::new(0.0, dy), Align2::CENTER_CENTER, text, font, color)
    };
    text(-24.0, "Drop a video here", theme::semibold(20.0), theme::STRONG);
    let note = egui::FontId::proportional(13.0);
    text(4.0, "Then ask about it, and see which sense drove the answer", note.clone(), theme::WEAK);
    text(88.0, "A sound file dropped on an open clip takes the place of its sound", note, theme::WEAK);
    let at = Rect::from_center_size(zone.center() + Vec2::new(0.0, 46.0), Vec2::new(150.0, 32.0));
    let open = egui::Button::new(RichText::new("Open a video…").color(theme::GROUND).font(theme::semibold(13.0)))
        .fill(theme::ACCENT);
    if ui.place(at, open).clicked() {
        commands.push(Command::Choose(FileUse::Clip));
    }
}

/// A dashed frame over everything while a file is dragged over the window.
pub fn drag_hint(ui: &Ui, state: &State) {
    let hovering = ui.ctx().input(|i| !i.raw.hovered_files.is_empty());
    if hovering && state.media != Media::Empty {
        let rect = ui.ctx().content_rect().shrink(8.0);
        let p = ui.ctx().layer_painter(egui::LayerId::new(egui::Order::Foreground, egui::Id::unique("drag hint")));
        p.rect_filled(rect, 10, Color32::from_black_alpha(170));
        p.rect_stroke(rect, 10, Stroke::new(2.0, theme::ACCENT), StrokeKind::Inside);
        p.text(
            rect.center(),
            Align2::CENTER_CENTER,
            "Drop a video for a new clip, a sound file to swap the sound",
            theme::semibold(18.0),
            theme::STRONG,
        );
    }
}

/// A time to the hundredth: `1:02.30`, `1:00:02.30`.
pub fn clock(secs: f64) -> String {
    let centi = (secs.max(0.0) * 100.0).round() as u64;
    format!("{}.{:02}", whole_clock((centi / 100) as f64), centi % 100)
}

/// A time to the second below: `1:02`, `1:00:02`.
pub fn whole_clock(secs: f64) -> String {
    let secs = secs.max(0.0) as u64;
    match secs / 3600 {
        0 => format!("{}:{:02}", secs / 60, secs % 60),
        hours => format!("{hours}:{:02}:{:02}", secs / 60 % 60, secs % 60),
    }
}

fn icon_command(ui: &mut Ui, commands: &mut Vec<Command>, icon: Icon, label: &str, command: Command, enabled: bool) {
    if icons::button(ui, icon, label, keys_of(&command), enabled).clicked() {
        commands.push(command);
    }
}

/// Width below which the transport bar leaves out what is elsewhere, too: the length is on the ruler, loudness on keys.
const NARROW: f32 = 800.0;
/// Below this, Home and End are keys only.
const TIGHT: f32 = 590.0;

/// Play, frames, time, sound.
pub fn transport(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    let open = matches!(state.media, Media::Open { .. });
    // What need not be there gives way where there is little room.
    let hours = if state.duration_secs().is_some_and(|secs| secs >= 3600.0) { 90.0 } else { 0.0 };
    let handle = if state.selection.is_some() { 34.0 } else { 0.0 };
    let narrow = ui.available_width() < NARROW + hours + handle;
    let tight = ui.available_width() < TIGHT + handle;
    ui.horizontal_centered(|ui| {
        ui.spacing_mut().item_spacing.x = 2.0;
        if !tight {
            icon_command(ui, commands, Icon::Start, "Go to the start", Command::Home, open);
        }
        icon_command(ui, commands, Icon::PreviousFrame, "Previous frame", Command::StepFrame(-1), open);
        let (shape, label) = if state.playback.playing { (Icon::Pause, "Pause") } else { (Icon::Play, "Play") };
        icon_command(ui, commands, shape, label, Command::TogglePlay, open);
        icon_command(ui, commands, Icon::NextFrame, "Next frame", Command::StepFrame(1), open);
        if !tight {
            icon_command(ui, commands, Icon::End, "Go to the end", Command::End, open);
        }
        ui.add_space(8.0);
        let monospace = |text: String, color| RichText::new(text).monospace().color(color);
        if open {
            ui.label(monospace(clock(state.playback.position_secs), theme::STRONG));
            if let Some(duration) = state.duration_secs().filter(|_| !narrow) {
                ui.label(monospace(format!(" / {}", clock(duration)), theme::WEAK));
            }
            ui.add_space(6.0);
            speed_button(ui, state, commands);
            loop_button(ui, state, commands);
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.spacing_mut().item_spacing.x = 6.0;
            icon_command(ui, commands, Icon::Fullscreen, "Full screen", Command::ToggleFullscreen, true);
            if !narrow {
                let mut volume = state.playback.volume;
                ui.spacing_mut().slider_width = 70.0;
                ui.spacing_mut().interact_size.y = 18.0;
                let slider = egui::Slider::new(&mut volume, 0.0..=1.0).show_value(false);
                let response = ui.add_enabled(open, slider).accessible_name("Volume");
                if response.changed() {
                    commands.push(Command::SetVolume(volume));
                }
            }
            let (shape, label) = if state.playback.muted { (Icon::Muted, "Unmute") } else { (Icon::Sound, "Mute") };
            if icons::button(ui, shape, label, keys_of(&Command::ToggleMute), open).clicked() {
                commands.push(Command::ToggleMute);
            }
            ui.add_space(6.0);
            sources::choice(ui, state, narrow, commands);
        });
    });
}

/// How fast time runs, and the speeds there are.
fn speed_button(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    let playback = &state.playback;
    let speed = if playback.playing { playback.speed } else { playback.chosen_speed };
    let color = if speed == 1.0 { theme::WEAK } else { theme::ACCENT };
    let text = RichText::new(speed_text(speed)).monospace().color(color);
    let button = egui::Button::new(text).frame_when_inactive(false).min_size(Vec2::new(46.0, 26.0));
    let response =
        ui.add(button).accessible_name("Speed").on_hover_text("Speed, at the same pitch  ([ slower, ] faster)");
    egui::Popup::menu(&response).show(|ui| {
        ui.set_min_width(90.0);
        for speed in SPEEDS {
            let chosen = playback.chosen_speed == speed;
            if ui.add(egui::Button::selectable(chosen, RichText::new(speed_text(speed)).monospace())).clicked() {
                commands.push(Command::SetSpeed(speed));
            }
        }
    });
}

/// Stay in the selection or not; shown when there is one.
fn loop_button(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    let Some(selection) = state.selection else { return };
    let label = if selection.looping { "Do not loop the selection" } else { "Loop the selection" };
    let response = icons::button(ui, Icon::Loop, label, keys_of(&Command::ToggleLoop), true);
    if selection.looping {
        icons::paint(ui.painter(), Icon::Loop, response.rect.shrink(7.0), theme::ACCENT);
    }
    if response.clicked() {
        commands.push(Command::ToggleLoop);
    }
}

/// What full screen shows of the transport bar: nothing while the pointer rests.
#[derive(Default)]
pub struct Screen {
    /// Where the pointer is, and when it moved last.
    at: Option<egui::Pos2>,
    moved_secs: f64,
}

/// How long the pointer and the bar stay after the pointer moved, in seconds.
const STAYS_SECS: f64 = 2.0;

/// The transport bar over a picture that fills the screen, and a line of time above it. They leave with the pointer.
pub fn over_picture(ui: &mut Ui, state: &State, screen: &mut Screen, commands: &mut Vec<Command>) {
    let now = ui.ctx().input(|i| i.time);
    let at = ui.ctx().pointer_latest_pos();
    if std::mem::replace(&mut screen.at, at) != at || ui.ctx().input(|i| i.pointer.any_down()) {
        screen.moved_secs = now;
    }
    let whole = ui.ctx().content_rect();
    let bar = Rect::from_min_max(whole.left_bottom() - Vec2::new(0.0, 62.0), whole.max);
    let near = ui.ctx().pointer_hover_pos().is_some_and(|at| bar.contains(at));
    let left = STAYS_SECS - (now - screen.moved_secs);
    if left <= 0.0 && !near && !state.is_covered() && !egui::Popup::is_any_open(ui.ctx()) {
        ui.ctx().set_cursor_icon(egui::CursorIcon::None);
        return;
    }
    ui.ctx().request_repaint_after(std::time::Duration::from_secs_f64(left.max(0.1)));
    egui::Area::new(egui::Id::unique("transport over the picture")).fixed_pos(bar.min).order(egui::Order::Middle).show(
        ui.ctx(),
        |ui| {
            ui.set_min_size(bar.size());
            ui.painter().rect_filled(bar, 0, Color32::from_black_alpha(190));
            let line = Rect::from_min_size(bar.min + Vec2::new(14.0, 6.0), Vec2::new(bar.width() - 28.0, 14.0));
            time_line(ui, line, state, commands);
            let row = Rect::from_min_max(bar.min + Vec2::new(14.0, 22.0), bar.max - Vec2::new(14.0, 2.0));
            ui.scope_builder(egui::UiBuilder::new().max_rect(row), |ui| transport(ui, state, commands));
        },
    );
}

/// All of time as a line: where it is, and a place to take hold of it.
fn time_line(ui: &Ui, rect: Rect, state: &State, commands: &mut Vec<Command>) {
    let Some(end) = state.duration_secs().filter(|end| *end > 0.0) else { return };
    let response = ui.interact(rect, ui.scope_id().with("time line"), Sense::click_and_drag());
    response.widget_info(|| WidgetInfo::slider(true, state.playback.position_secs, "Time"));
    let track = Rect::from_center_size(rect.center(), Vec2::new(rect.width(), 4.0));
    let x = track.left() + (state.playback.position_secs / end).clamp(0.0, 1.0) as f32 * track.width();
    ui.painter().rect_filled(track, 2, theme::LINE);
    ui.painter().rect_filled(track.with_max_x(x), 2, theme::ACCENT);
    ui.painter().circle_filled(egui::pos2(x, track.center().y), 6.0, theme::ACCENT);
    if let Some(at) = response.interact_pointer_pos() {
        let t = f64::from((at.x - track.left()) / track.width()).clamp(0.0, 1.0) * end;
        if response.clicked() || response.drag_stopped() {
            commands.push(Command::Seek(t));
        } else if response.dragged() {
            commands.push(Command::Scrub(t));
        }
    }
}

/// At most `most` characters, the middle left out.
pub fn shorten(text: &str, most: usize) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= most {
        return text.to_owned();
    }
    let head = (most - 1) / 2;
    let tail = most - 1 - head;
    chars[..head].iter().chain(&['…']).chain(&chars[chars.len() - tail..]).collect()
}
