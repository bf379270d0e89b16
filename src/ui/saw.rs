//! What the model saw and heard: the frames at the size it got them with their token grid, and the exact log-mel, with
//! the attention of the answer (or of one token) on their cells. Knows nothing of tensors: pictures and numbers come as
//! they were fed.

mod sound;

use std::collections::HashMap;
use std::sync::Arc;

use egui::{
    Align2, Color32, ColorImage, FontId, Mesh, Pos2, Rect, RichText, Role, ScrollArea, Sense, Stroke, StrokeKind,
    TextureHandle, TextureOptions, Ui, Vec2, WidgetInfo,
};

use sound::Heard;

use super::{player, theme};
use crate::command::{Command, keys_of};
use crate::fed::{Fed, FedAudio, FedVideo};
use crate::gpu::strip::image_columns;
use crate::gpu::{OverlayFrame, OverlayStyle, callback};
use crate::provenance::{AudioLine, Provenance, Source, VideoGrid};
use crate::state::{Run, Shown, State};
use crate::time::Span;

/// The lane that the log-mel is drawn by, after those of the time axis.
const LANE: usize = callback::LANES - 1;
/// Space between steps, and between the frames of one.
const GAPS: [f32; 2] = [10.0, 2.0];
/// Height of the line over a step.
const CAPTION: f32 = 15.0;
/// Least height of a frame in points; where all frames would be smaller, they scroll.
const LEAST_HEIGHT: f32 = 84.0;
/// Cells smaller than this, in points, have no lines between them.
const LEAST_CELL: f32 = 5.0;
/// Width of the scroll bars' room.
const BAR: f32 = 10.0;
/// Least and largest enlargement, in points per pixel of the model's.
const ZOOMS: [f32; 2] = [0.125, 8.0];
/// Size of the switch, and of the buttons beside it.
const SWITCH: Vec2 = Vec2::new(158.0, 26.0);
const ZOOM_BUTTONS: f32 = 100.0;

/// What is kept between frames: textures of what is on screen, and the log-mel's columns.
#[derive(Default)]
pub struct Cache {
    of: Option<Arc<Fed>>,
    textures: HashMap<usize, TextureHandle>,
    /// `[frames, bins]`, scaled to 0…1.
    drawn: Vec<f32>,
    columns: Option<(Span, usize, Arc<[f32]>)>,
    zoom: Zoom,
    /// The step under the playhead when it was last drawn, the one under the pointer, and the one in the middle of
    /// those in sight (the playhead's where it is in sight).
    now: Option<usize>,
    pointed: Option<usize>,
    middle: Option<usize>,
}

/// How large frames are shown.
#[derive(Clone, Copy, Default)]
struct Zoom {
    /// Points per pixel of the model's as chosen; `None`: so that all frames fit.
    chosen: Option<f32>,
    /// Points per pixel as last drawn.
    drawn: f32,
    /// Whether it was changed since it was drawn.
    changed: bool,
}

impl Zoom {
    fn choose(&mut self, scale: Option<f32>) {
        self.chosen = scale.map(|s| s.clamp(ZOOMS[0], ZOOMS[1]));
        self.changed = true;
    }

    /// One size up or down: whole factors, and halves below.
    fn step(&mut self, up: bool) {
        let now = whole(self.drawn);
        self.choose(Some(match up {
            true if now >= 1.0 => now + 1.0,
            true => (2.0f32).powf((now.log2() + 0.01).floor() + 1.0),
            false if now > 1.0 => now - 1.0,
            false => (2.0f32).powf((now.log2() - 0.01).ceil() - 1.0),
        }));
    }
}

/// The scale that is drawn where `scale` is wanted: the model's own pixels can be told apart at whole factors.
fn whole(scale: f32) -> f32 {
    if scale >= 1.0 { scale.round() } else { scale }
}

impl Cache {
    fn begin(&mut self, fed: &Arc<Fed>) {
        if self.of.as_ref().is_some_and(|of| Arc::ptr_eq(of, fed)) {
            return;
        }
        *self = Self { of: Some(Arc::clone(fed)), zoom: self.zoom, ..Self::default() };
        if let Some(audio) = fed.audios.first() {
            self.drawn = audio.drawn();
        }
    }

    fn columns(&mut self, audio: &FedAudio, line: &AudioLine, view: Span, columns: usize) -> Arc<[f32]> {
        if let Some((of, n, values)) = &self.columns
            && (*of, *n) == (view, columns)
        {
            return Arc::clone(values);
        }
        let rate = 1.0 / audio.secs_per_frame;
        let values: Arc<[f32]> = image_columns(&self.drawn, audio.bins, line.start_secs, rate, view, columns).into();
        self.columns = Some((view, columns, Arc::clone(&values)));
        values
    }
}

/// The switch between the video and this, at the top right of `area`.
pub fn switch(ui: &mut Ui, state: &State, area: Rect, commands: &mut Vec<Command>) {
    let rect = Rect::from_min_size(Pos2::new(area.right() - SWITCH.x - 8.0, area.top() + 8.0), SWITCH);
    ui.painter().rect_filled(rect, 6, theme::PANEL.gamma_multiply(0.92));
    let keys = keys_of(&Command::ToggleModelView).unwrap_or_default();
    let names = [
        ("Video", "Show the video", "The video as it plays", 54.0),
        (
            "Model's view",
            "Show what the model saw",
            "The frames and the log-mel that the model was fed, token by token",
            100.0,
        ),
    ];
    let mut left = rect.left() + 2.0;
    for (i, (name, called, hint, width)) in names.into_iter().enumerate() {
        let chosen = state.view.model_view == (i == 1);
        let at = Rect::from_min_size(Pos2::new(left, rect.top() + 2.0), Vec2::new(width, rect.height() - 4.0));
        left += width;
        let button = egui::Button::selectable(chosen, RichText::new(name).size(12.0));
        let response = ui.place(at, button).accessible_name(called).on_hover_text(format!("{hint}  ({keys})"));
        if response.clicked() && !chosen {
            commands.push(Command::ToggleModelView);
        }
    }
}

/// What the model saw, over the space there is.
pub fn show(ui: &mut Ui, state: &State, cache: &mut Cache, commands: &mut Vec<Command>) {
    let area = ui.available_rect_before_wrap();
    ui.painter().rect_filled(area, 8, theme::INSET);
    ui.allocate_rect(area, Sense::hover());
    let of_run = state.run.as_ref().and_then(|run| Some((run, run.fed.as_ref()?, run.provenance.as_deref()?)));
    let Some((run, fed, provenance)) = of_run else {
        let (heading, text) = match &state.run {
            Some(run) if run.running() => ("Preparing", "Frames and sound are on their way to the model."),
            _ => ("Nothing fed yet", "Ask a question: the frames and the sound that the model gets will stand here."),
        };
        return player::message(ui, area, heading, text);
    };
    cache.begin(fed);
    let shown = state.shown().filter(|_| state.view.heat);
    header(ui, state, run, fed, provenance, area);
    if !fed.videos.is_empty() {
        zoom_buttons(ui, area, &mut cache.zoom);
    }
    let inner = Rect::from_min_max(area.min + Vec2::new(12.0, 40.0), area.max - Vec2::splat(10.0));
    let video = fed.videos.first().zip(provenance.videos.first());
    let audio = fed.audios.first().zip(provenance.audios.first());
    let mel_height = match (video, audio) {
        (_, None) => 0.0,
        (Some(_), Some(_)) => (inner.height() * 0.26).clamp(48.0, 150.0),
        (None, Some(_)) => inner.height(),
    };
    if let Some((video, grid)) = video {
        let rect = Rect::from_min_max(inner.min, inner.max - Vec2::new(0.0, mel_height + 8.0));
        let style = player::overlay_style(&state.view);
        let pictures = Pictures { video, grid, shown: shown.as_ref(), style, provenance };
        pictures.show(ui, rect, state, cache, commands);
    }
    if let Some((audio, line)) = audio {
        let rect = Rect::from_min_max(Pos2::new(inner.left(), inner.bottom() - mel_height), inner.max);
        sound::show(ui, rect, state, &Heard { audio, line, shown: shown.as_ref(), provenance }, cache, commands);
    }
    if video.is_none() && audio.is_none() {
        player::message(ui, area, "Words alone", "The model was given neither picture nor sound.");
    }
}

fn header(ui: &Ui, state: &State, run: &Run, fed: &Fed, provenance: &Provenance, area: Rect) {
    let mut text = fed.summary(provenance);
    let older = state.changed_since_asked();
    if older {
        text = format!("Fed for “{}”, before the last change   ·   {text}", player::shorten(&run.prompt.question, 24));
    }
    let color = if older { theme::ACCENT } else { theme::WEAK };
    let room = (area.width() - SWITCH.x - ZOOM_BUTTONS - 48.0).max(80.0);
    let galley = ui.painter().layout(text, FontId::proportional(11.0), color, room);
    ui.painter().galley(Pos2::new(area.left() + 12.0, area.top() + 20.0 - galley.size().y / 2.0), galley, color);
}

/// The buttons for smaller and larger frames, beside the switch.
fn zoom_buttons(ui: &mut Ui, area: Rect, zoom: &mut Zoom) {
    let left = area.right() - SWITCH.x - 8.0 - ZOOM_BUTTONS - 6.0;
    let rect = Rect::from_min_size(Pos2::new(left, area.top() + 8.0), Vec2::new(ZOOM_BUTTONS, SWITCH.y));
    ui.painter().rect_filled(rect, 6, theme::PANEL.gamma_multiply(0.92));
    let place = |from: f32, width: f32| {
        Rect::from_min_size(Pos2::new(left + from, rect.top() + 2.0), Vec2::new(width, rect.height() - 4.0))
    };
    let size = match zoom.chosen {
        None => "Fit".to_owned(),
        Some(scale) if scale >= 1.0 => format!("{:.0}×", whole(scale)),
        Some(scale) => format!("{:.0} %", scale * 100.0),
    };
    let buttons = [
        ("−".to_owned(), "Smaller model frames", "Smaller  (Ctrl+wheel)", 2.0, 26.0, false),
        (
            size,
            "Fit model frames",
            "How large a pixel of the model's is shown; a click goes back to as many frames as fit",
            28.0,
            44.0,
            zoom.chosen.is_none(),
        ),
        ("+".to_owned(), "Larger model frames", "Larger  (Ctrl+wheel)", 72.0, 26.0, false),
    ];
    for (i, (text, called, hint, from, width, chosen)) in buttons.into_iter().enumerate() {
        let button = egui::Button::selectable(chosen, RichText::new(text).size(12.0));
        if ui.place(place(from, width), button).accessible_name(called).on_hover_text(hint).clicked() {
            match i {
                1 => zoom.choose(None),
                _ => zoom.step(i == 2),
            }
            // The label was drawn before the click.
            ui.ctx().request_repaint();
        }
    }
}

/// A video's frames as they were fed.
struct Pictures<'a> {
    video: &'a FedVideo,
    grid: &'a VideoGrid,
    shown: Option<&'a Shown<'a>>,
    style: OverlayStyle,
    provenance: &'a Provenance,
}

/// How steps are laid out: how many beside each other, and points per pixel of the model's.
fn lay_out(steps: usize, step_size: Vec2, room: Vec2, chosen: Option<f32>) -> (usize, f32) {
    let beside = |scale: f32| (((room.x + GAPS[0]) / (step_size.x * scale + GAPS[0])) as usize).max(1);
    if let Some(scale) = chosen {
        let scale = whole(scale);
        return (beside(scale), scale);
    }
    let scale_for = |columns: usize| {
        let rows = steps.div_ceil(columns);
        let wide = (room.x - GAPS[0] * (columns - 1) as f32) / columns as f32 / step_size.x;
        let high = (room.y / rows as f32 - CAPTION - GAPS[0]) / step_size.y;
        wide.min(high)
    };
    let best = (1..=steps.max(1)).map(scale_for).fold(0.0, f32::max);
    if best * step_size.y < LEAST_HEIGHT {
        // Too small to see anything: as many as fit beside each other at the least height, and the rest scrolls.
        let scale = (LEAST_HEIGHT / step_size.y).min(room.x / step_size.x);
        return (beside(scale), scale);
    }
    let scale = if best >= 1.0 { best.floor().min(4.0) } else { best };
    // Of all that hold them at this scale, the fewest rows, and as full as can be.
    let rows = |columns: usize| steps.div_ceil(columns);
    let fits = (1..=steps.max(1)).filter(|columns| scale_for(*columns) >= scale * 0.999);
    let columns = fits.min_by_key(|columns| (rows(*columns), *columns)).unwrap_or(1);
    (columns, scale)
}

impl Pictures<'_> {
    fn show(&self, ui: &mut Ui, rect: Rect, state: &State, cache: &mut Cache, commands: &mut Vec<Command>) {
        let per_step = self.video.per_step.max(1);
        let [width, height] = self.grid.resized.map(|n| n as f32);
        let steps = self.grid.steps.len();
        let step_size = Vec2::new(width * per_step as f32, height);
        let over = ui.rect_contains_pointer(rect);
        let by = if over { ui.input(egui::InputState::zoom_delta) } else { 1.0 };
        if by != 1.0 {
            let from = cache.zoom.chosen.unwrap_or(cache.zoom.drawn);
            cache.zoom.choose(Some(from * by));
        }
        let room = rect.size() - Vec2::splat(BAR + 4.0);
        let (columns, scale) = lay_out(steps, step_size, room, cache.zoom.chosen);
        cache.zoom.drawn = scale;
        let frame = Vec2::new(width, height) * scale;
        let card = Vec2::new(frame.x * per_step as f32 + GAPS[1] * (per_step - 1) as f32, frame.y + CAPTION);
        let now = self.grid.step_at(state.playback.position_secs);
        // What is looked at stays in sight: the step that is pointed at when sizes change, else the playhead's.
        let kept = match (std::mem::take(&mut cache.zoom.changed), now != cache.now) {
            (true, _) => cache.pointed.filter(|_| over).or(cache.middle),
            (false, true) => now,
            (false, false) => None,
        };
        (cache.now, cache.pointed) = (now, None);
        let mut used = Vec::new();
        let mut seen = Vec::new();
        let mut ui = ui.new_child(egui::UiBuilder::new().max_rect(rect));
        ScrollArea::both().id_salt("model's view").auto_shrink([false, false]).show(&mut ui, |ui| {
            let rows = steps.div_ceil(columns);
            let wide = columns as f32 * (card.x + GAPS[0]) - GAPS[0] + 4.0;
            let all = Vec2::new(wide.max(room.x + 4.0), rows as f32 * (card.y + GAPS[0]) - GAPS[0] + 4.0);
            let (place, _) = ui.allocate_exact_size(all, Sense::hover());
            for step in 0..steps {
                let (row, column) = (step / columns, step % columns);
                let at = place.min
                    + Vec2::splat(2.0)
                    + Vec2::new(column as f32 * (card.x + GAPS[0]), row as f32 * (card.y + GAPS[0]));
                let card = Rect::from_min_size(at.round(), card);
                if kept == Some(step) {
                    ui.scroll_to_rect(card.expand(2.0), None);
                }
                if !ui.is_rect_visible(card) {
                    continue;
                }
                seen.push((card.distance_to_pos(rect.center()), step));
                self.caption(ui, card, step, now == Some(step));
                for k in 0..per_step {
                    let index = step * per_step + k;
                    let left = card.left() + (frame.x + GAPS[1]) * k as f32;
                    let rect = Rect::from_min_size(Pos2::new(left, card.top() + CAPTION), frame);
                    used.push(index);
                    if self.frame(ui, rect, step, index, &mut cache.textures, commands) {
                        cache.pointed = Some(step);
                    }
                }
                if now == Some(step) {
                    let around = Rect::from_min_max(card.min + Vec2::new(0.0, CAPTION), card.max);
                    ui.painter().rect_stroke(around, 2, Stroke::new(2.0, theme::ACCENT), StrokeKind::Outside);
                }
            }
        });
        let middle = seen.iter().min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, step)| *step);
        cache.middle = now.filter(|now| seen.iter().any(|(_, step)| step == now)).or(middle);
        cache.textures.retain(|index, _| used.contains(index));
    }

    fn caption(&self, ui: &Ui, card: Rect, step: usize, now: bool) {
        let about = &self.grid.steps[step];
        let color = if now { theme::ACCENT } else { theme::WEAK };
        let [first, last] = about.pts_secs;
        let times = match (first == last, self.video.per_step) {
            (true, 2..) => format!("{first:.2} s, twice"),
            (true, _) => format!("{first:.2} s"),
            (false, _) => format!("{first:.2} s, {last:.2} s"),
        };
        let text = format!("{}   {times}", step + 1);
        let clip = ui.painter().with_clip_rect(card.intersect(ui.clip_rect()));
        clip.text(card.min, Align2::LEFT_TOP, text, FontId::proportional(10.5), color);
    }

    /// Draws a frame; says whether it is pointed at.
    fn frame(
        &self,
        ui: &Ui,
        rect: Rect,
        step: usize,
        index: usize,
        textures: &mut HashMap<usize, TextureHandle>,
        commands: &mut Vec<Command>,
    ) -> bool {
        let Some(image) = self.video.frames.get(index) else { return false };
        let texture = textures.entry(index).or_insert_with(|| {
            let image = ColorImage::from_rgb([image.width, image.height], &image.data);
            // The model's own pixels: no smoothing where they are enlarged.
            let options = TextureOptions { magnification: egui::TextureFilter::Nearest, ..TextureOptions::LINEAR };
            ui.ctx().load_texture(format!("fed {index}"), image, options)
        });
        let whole = Rect::from_min_max(Pos2::ZERO, Pos2::new(1.0, 1.0));
        ui.painter().image(texture.id(), rect, whole, Color32::WHITE);
        let (rows, cols) = (self.grid.rows, self.grid.cols);
        let cell = Vec2::new(rect.width() / cols as f32, rect.height() / rows as f32);
        let at = |row: usize, col: usize| rect.min + Vec2::new(col as f32 * cell.x, row as f32 * cell.y);
        if let Some(heat) = self.heat(step) {
            let mut mesh = Mesh::default();
            for (i, weight) in heat.weights.iter().enumerate() {
                let ([r, g, b], alpha) = heat.tint(*weight);
                let [r, g, b, a] = [r, g, b, alpha].map(|x| (x.clamp(0.0, 1.0) * 255.0).round() as u8);
                let min = at(i / cols, i % cols);
                let cell = Rect::from_min_max(min, at(i / cols + 1, i % cols + 1));
                mesh.add_colored_rect(cell, Color32::from_rgba_unmultiplied(r, g, b, a));
            }
            ui.painter().add(mesh);
        }
        if cell.x.min(cell.y) >= LEAST_CELL {
            // A light line beside a dark one: seen on bright pictures and on dark ones.
            let alpha = if self.style.lines { 150 } else { 64 };
            for (beside, color) in [(0.0, Color32::from_white_alpha(alpha)), (1.0, Color32::from_black_alpha(alpha))] {
                let line = Stroke::new(1.0, color);
                for col in 1..cols {
                    ui.painter().vline(at(0, col).x + beside, rect.y_range(), line);
                }
                for row in 1..rows {
                    ui.painter().hline(rect.x_range(), at(row, 0).y + beside, line);
                }
            }
        }
        let response = ui.interact(rect, ui.scope_id().with(("fed frame", index)), Sense::click());
        let secs = self.secs(step, index);
        response.widget_info(|| {
            WidgetInfo::labeled(Role::Button, true, format!("Model frame {} at {secs:.2} s", index + 1))
        });
        if response.clicked() {
            commands.push(Command::Seek(secs));
        }
        let pointer = response.hover_pos();
        if let Some(pointer) = pointer {
            let place = (pointer - rect.min) / cell;
            let (row, col) = ((place.y as usize).min(rows - 1), (place.x as usize).min(cols - 1));
            let cell = Rect::from_min_max(at(row, col), at(row + 1, col + 1));
            ui.painter().rect_stroke(cell, 0, Stroke::new(1.5, theme::STRONG), StrokeKind::Outside);
            response.on_hover_ui_at_pointer(|ui| {
                for line in self.about(step, index, row, col) {
                    ui.label(line);
                }
            });
        }
        pointer.is_some()
    }

    /// When frame `index` of step `step` is shown.
    fn secs(&self, step: usize, index: usize) -> f64 {
        let [first, last] = self.grid.steps[step].pts_secs;
        let (k, per_step) = (index % self.video.per_step.max(1), self.video.per_step.max(2));
        first + (last - first) * k as f64 / (per_step - 1) as f64
    }

    fn heat(&self, step: usize) -> Option<OverlayFrame> {
        let shown = self.shown?;
        let cells = self.grid.rows * self.grid.cols;
        let weights = shown.map.videos.first()?.get(step * cells..(step + 1) * cells)?.to_vec();
        Some(OverlayFrame {
            rows: self.grid.rows,
            cols: self.grid.cols,
            weights,
            scale: shown.video_scale,
            style: self.style,
        })
    }

    /// What is known of a cell, in lines.
    fn about(&self, step: usize, index: usize, row: usize, col: usize) -> Vec<String> {
        let of = Source::Video { medium: 0, step, row, col };
        let token = self.provenance.tokens.iter().position(|t| t.source == of);
        let number = token.map_or_else(String::new, |i| format!("Prompt token {i}   "));
        let mut lines = vec![
            format!("{number}row {} of {}, column {} of {}", row + 1, self.grid.rows, col + 1, self.grid.cols),
            format!(
                "Step {} of {}, frame {} at {:.2} s",
                step + 1,
                self.grid.steps.len(),
                index + 1,
                self.secs(step, index)
            ),
        ];
        let weights = self.shown.and_then(|s| s.map.videos.first());
        if let Some(weight) = weights.and_then(|w| w.get((step * self.grid.rows + row) * self.grid.cols + col)) {
            lines.push(attention(*weight, self.provenance));
        }
        lines
    }
}

/// How much attention a token gets, and how that compares with the others.
fn attention(weight: f32, provenance: &Provenance) -> String {
    let times = weight * provenance.tokens.len() as f32;
    format!("{:.4} % of the attention, {times:.2}× the average", weight * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_fill_the_room_in_even_rows_and_scroll_where_they_are_too_many() {
        let room = Vec2::new(840.0, 320.0);
        // Four steps of two frames of 112 pixels: two rows of two, not three and one.
        assert_eq!(lay_out(4, Vec2::new(224.0, 112.0), room, None), (2, 1.0));
        assert_eq!(lay_out(1, Vec2::new(224.0, 112.0), room, None), (1, 2.0));
        for steps in 1..200 {
            let size = Vec2::new(1288.0, 364.0);
            let (columns, scale) = lay_out(steps, size, room, None);
            let wide = columns as f32 * (size.x * scale + GAPS[0]) - GAPS[0];
            assert!(columns >= 1 && wide <= room.x + 0.5, "{steps}: {columns} at {scale}");
            let high = steps.div_ceil(columns) as f32 * (size.y * scale + CAPTION + GAPS[0]);
            assert!(high <= room.y + 0.5 || size.y * scale <= LEAST_HEIGHT + 0.5, "{steps}: {columns} at {scale}");
        }
        // The model's own size, on demand, however many there are.
        assert_eq!(lay_out(90, Vec2::new(1288.0, 364.0), room, Some(1.0)), (1, 1.0));
    }

    #[test]
    fn sizes_go_by_whole_factors_and_halves() {
        let mut zoom = Zoom { drawn: 0.3, ..Zoom::default() };
        let mut seen = Vec::new();
        for up in [true, true, true, true, false, false, false] {
            zoom.step(up);
            zoom.drawn = zoom.chosen.unwrap();
            seen.push(zoom.drawn);
        }
        assert_eq!(seen, [0.5, 1.0, 2.0, 3.0, 2.0, 1.0, 0.5]);
    }
}
