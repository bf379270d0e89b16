//! What the model saw and heard: the frames at the size it got them with their token grid, and the exact log-mel, with
//! the attention of the answer (or of one token) on their cells. Knows nothing of tensors: pictures and numbers come as
//! they were fed.

use std::collections::HashMap;
use std::sync::Arc;

use egui::{
    Align2, Color32, ColorImage, FontId, Mesh, Pos2, Rect, RichText, Role, ScrollArea, Sense, Stroke, StrokeKind,
    TextureHandle, TextureOptions, Ui, Vec2, WidgetInfo,
};

use super::{player, theme};
use crate::command::{Command, keys_of};
use crate::fed::{Fed, FedAudio, FedVideo};
use crate::gpu::colormap::{ColorMap, Modality};
use crate::gpu::strip::{Background, heat_columns, image_columns};
use crate::gpu::{OverlayFrame, OverlayStyle, StripFrame, StripRenderer, callback};
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

/// What is kept between frames: textures of what is on screen, and the log-mel's columns.
#[derive(Default)]
pub struct Cache {
    of: Option<Arc<Fed>>,
    textures: HashMap<usize, TextureHandle>,
    /// `[frames, bins]`, scaled to 0…1.
    drawn: Vec<f32>,
    columns: Option<(Span, usize, Arc<[f32]>)>,
}

impl Cache {
    fn begin(&mut self, fed: &Arc<Fed>) {
        if self.of.as_ref().is_some_and(|of| Arc::ptr_eq(of, fed)) {
            return;
        }
        *self = Self { of: Some(Arc::clone(fed)), ..Self::default() };
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
    let size = Vec2::new(158.0, 26.0);
    let rect = Rect::from_min_size(Pos2::new(area.right() - size.x - 8.0, area.top() + 8.0), size);
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
        pictures.show(ui, rect, state, &mut cache.textures, commands);
    }
    if let Some((audio, line)) = audio {
        let rect = Rect::from_min_max(Pos2::new(inner.left(), inner.bottom() - mel_height), inner.max);
        log_mel(ui, rect, state, &Heard { audio, line, shown: shown.as_ref(), provenance }, cache, commands);
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
    let room = (area.width() - 158.0 - 40.0).max(80.0);
    let galley = ui.painter().layout(text, FontId::proportional(11.0), color, room);
    ui.painter().galley(Pos2::new(area.left() + 12.0, area.top() + 20.0 - galley.size().y / 2.0), galley, color);
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
fn lay_out(steps: usize, step_size: Vec2, room: Vec2) -> (usize, f32) {
    let scale_for = |columns: usize| {
        let rows = steps.div_ceil(columns);
        let wide = (room.x - GAPS[0] * (columns - 1) as f32) / columns as f32 / step_size.x;
        let high = (room.y / rows as f32 - CAPTION - GAPS[0]) / step_size.y;
        wide.min(high)
    };
    let mut columns = (1..=steps.max(1)).max_by(|a, b| scale_for(*a).total_cmp(&scale_for(*b))).unwrap_or(1);
    let mut scale = scale_for(columns);
    if scale * step_size.y < LEAST_HEIGHT {
        // Too small to see anything: as many as fit beside each other at the least height, and the rest scrolls.
        scale = (LEAST_HEIGHT / step_size.y).min(room.x / step_size.x);
        columns = (((room.x + GAPS[0]) / (step_size.x * scale + GAPS[0])) as usize).max(1);
    }
    // The model's own pixels can be told apart at whole factors.
    (columns, if scale >= 1.0 { scale.floor().min(4.0) } else { scale })
}

impl Pictures<'_> {
    fn show(
        &self,
        ui: &mut Ui,
        rect: Rect,
        state: &State,
        textures: &mut HashMap<usize, TextureHandle>,
        commands: &mut Vec<Command>,
    ) {
        let per_step = self.video.per_step.max(1);
        let [width, height] = self.grid.resized.map(|n| n as f32);
        let steps = self.grid.steps.len();
        let step_size = Vec2::new(width * per_step as f32, height);
        let (columns, scale) = lay_out(steps, step_size, rect.size() - Vec2::new(10.0, 0.0));
        let frame = Vec2::new(width, height) * scale;
        let card = Vec2::new(frame.x * per_step as f32 + GAPS[1] * (per_step - 1) as f32, frame.y + CAPTION);
        let now = self.grid.step_at(state.playback.position_secs);
        let mut used = Vec::new();
        let mut ui = ui.new_child(egui::UiBuilder::new().max_rect(rect));
        ScrollArea::vertical().id_salt("model's view").auto_shrink([false, false]).show(&mut ui, |ui| {
            let rows = steps.div_ceil(columns);
            let all = Vec2::new(rect.width() - 10.0, rows as f32 * (card.y + GAPS[0]));
            let (place, _) = ui.allocate_exact_size(all, Sense::hover());
            for step in 0..steps {
                let (row, column) = (step / columns, step % columns);
                let at = place.min + Vec2::new(column as f32 * (card.x + GAPS[0]), row as f32 * (card.y + GAPS[0]));
                let card = Rect::from_min_size(at.round(), card);
                if !ui.is_rect_visible(card) {
                    continue;
                }
                self.caption(ui, card, step, now == Some(step));
                for k in 0..per_step {
                    let index = step * per_step + k;
                    let left = card.left() + (frame.x + GAPS[1]) * k as f32;
                    let rect = Rect::from_min_size(Pos2::new(left, card.top() + CAPTION), frame);
                    used.push(index);
                    self.frame(ui, rect, step, index, textures, commands);
                }
                if now == Some(step) {
                    let around = Rect::from_min_max(card.min + Vec2::new(0.0, CAPTION), card.max);
                    ui.painter().rect_stroke(around, 2, Stroke::new(2.0, theme::ACCENT), StrokeKind::Outside);
                }
            }
        });
        textures.retain(|index, _| used.contains(index));
    }

    fn caption(&self, ui: &Ui, card: Rect, step: usize, now: bool) {
        let about = &self.grid.steps[step];
        let color = if now { theme::ACCENT } else { theme::WEAK };
        let [first, last] = about.pts_secs;
        let times = if first == last { format!("{first:.2} s") } else { format!("{first:.2} s, {last:.2} s") };
        let text = format!("{}   {times}", step + 1);
        let clip = ui.painter().with_clip_rect(card.intersect(ui.clip_rect()));
        clip.text(card.min, Align2::LEFT_TOP, text, FontId::proportional(10.5), color);
    }

    fn frame(
        &self,
        ui: &Ui,
        rect: Rect,
        step: usize,
        index: usize,
        textures: &mut HashMap<usize, TextureHandle>,
        commands: &mut Vec<Command>,
    ) {
        let Some(image) = self.video.frames.get(index) else { return };
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
            let line = Stroke::new(1.0, Color32::from_white_alpha(36));
            for col in 1..cols {
                ui.painter().vline(at(0, col).x, rect.y_range(), line);
            }
            for row in 1..rows {
                ui.painter().hline(rect.x_range(), at(row, 0).y, line);
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
        if let Some(pointer) = response.hover_pos() {
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
            format!("Step {} of {}, frame {}", step + 1, self.grid.steps.len(), index + 1),
        ];
        let weights = self.shown.and_then(|s| s.map.videos.first());
        if let Some(weight) = weights.and_then(|w| w.get((step * self.grid.rows + row) * self.grid.cols + col)) {
            lines.push(format!("{:.4} % of the attention", weight * 100.0));
        }
        lines
    }
}

/// A sound as it was fed.
struct Heard<'a> {
    audio: &'a FedAudio,
    line: &'a AudioLine,
    shown: Option<&'a Shown<'a>>,
    provenance: &'a Provenance,
}

fn log_mel(ui: &mut Ui, rect: Rect, state: &State, heard: &Heard<'_>, cache: &mut Cache, commands: &mut Vec<Command>) {
    let Heard { audio, line, shown, .. } = *heard;
    let end = line.start_secs + audio.frames() as f64 * audio.secs_per_frame;
    let all = Span::new(line.start_secs.min(0.0), end.max(line.start_secs + 1e-3));
    let view = state.view.timeline.unwrap_or(all);
    let columns = ((rect.width() * ui.ctx().pixels_per_point()).round() as usize).clamp(1, StripRenderer::MAX_COLUMNS);
    let values = cache.columns(audio, line, view, columns);
    let weights = shown.and_then(|s| s.map.audios.first());
    let heat = weights
        .map_or_else(Vec::new, |weights| heat_columns(weights, (0..line.tokens).map(|i| line.span(i)), view, columns));
    let strip = StripFrame {
        columns,
        background: Background::Image { rows: audio.bins, values },
        heat: heat.into(),
        scale: shown.map_or(0.0, |s| s.audio_scale),
        gamma: state.view.gamma,
        opacity: 0.9,
        map: ColorMap::ALL[state.view.map.min(ColorMap::ALL.len() - 1)],
        ground: theme::to_rgb(theme::INSET),
        signal: [0.62, 0.66, 0.72],
    };
    callback::lane(ui, rect, LANE, strip);
    let x_of = |t: f64| rect.left() + ((t - view.start_secs) / view.duration_secs()) as f32 * rect.width();
    let t_of = |x: f32| view.start_secs + f64::from((x - rect.left()) / rect.width()) * view.duration_secs();
    // A token's edges, where they can be told apart.
    let token_points = (line.secs_per_token / view.duration_secs()) as f32 * rect.width();
    if token_points >= LEAST_CELL {
        let stroke = Stroke::new(1.0, theme::hue(Modality::Audio).gamma_multiply(0.35));
        for i in 0..=line.tokens {
            let x = x_of(line.start_secs + i as f64 * line.secs_per_token);
            if rect.x_range().contains(x) {
                ui.painter().vline(x, rect.y_range(), stroke);
            }
        }
    }
    let x = x_of(state.playback.position_secs);
    if rect.x_range().contains(x) {
        ui.painter().vline(x, rect.y_range(), Stroke::new(1.5, theme::ACCENT));
    }
    let response = ui.interact(rect, ui.scope_id().with("fed log-mel"), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, "Log-mel as the model was fed"));
    let Some(pointer) = response.hover_pos() else { return };
    let t = t_of(pointer.x);
    if response.clicked() {
        commands.push(Command::Seek(t.max(0.0)));
    }
    let bin = ((rect.bottom() - pointer.y) / rect.height() * audio.bins as f32).max(0.0) as usize;
    let lines = heard.about(t, bin.min(audio.bins.saturating_sub(1)));
    if !lines.is_empty() {
        response.on_hover_ui_at_pointer(|ui| {
            for line in lines {
                ui.label(line);
            }
        });
    }
}

impl Heard<'_> {
    /// What is known of a place, in lines; none where there is no sound.
    fn about(&self, t_secs: f64, bin: usize) -> Vec<String> {
        let since = t_secs - self.line.start_secs;
        let frame = (since / self.audio.secs_per_frame).floor();
        let value = |frame: usize| self.audio.log_mel.get(bin * self.audio.frames() + frame);
        if since < 0.0 || frame as usize >= self.audio.frames() {
            return Vec::new();
        }
        let mut lines: Vec<String> = value(frame as usize)
            .map(|value| format!("Log-mel {value:.3}   frame {} bin {bin}   {t_secs:.3} s", frame as usize))
            .into_iter()
            .collect();
        let index = ((since / self.line.secs_per_token) as usize).min(self.line.tokens.saturating_sub(1));
        let of = Source::Audio { medium: 0, index };
        if let Some(token) = self.provenance.tokens.iter().position(|t| t.source == of) {
            let span = self.line.span(index);
            lines.push(format!("Prompt token {token}   {:.2}–{:.2} s", span.start_secs, span.end_secs));
        }
        if let Some(weight) = self.shown.and_then(|s| s.map.audios.first()).and_then(|w| w.get(index)) {
            lines.push(format!("{:.4} % of the attention", weight * 100.0));
        }
        lines
    }
}
