//! The exact log-mel that the model heard, with its tokens' edges and the attention on them. Knows nothing of pictures.

use egui::{Rect, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo};

use super::{Cache, LANE, LEAST_CELL, attention};
use crate::command::Command;
use crate::fed::FedAudio;
use crate::gpu::colormap::{ColorMap, Modality};
use crate::gpu::strip::{Background, heat_columns};
use crate::gpu::{StripFrame, StripRenderer, callback};
use crate::provenance::{AudioLine, Provenance, Source};
use crate::state::{Shown, State};
use crate::time::Span;
use crate::ui::theme;

/// A sound as it was fed.
pub(super) struct Heard<'a> {
    pub(super) audio: &'a FedAudio,
    pub(super) line: &'a AudioLine,
    pub(super) shown: Option<&'a Shown<'a>>,
    pub(super) provenance: &'a Provenance,
}

/// Draws the log-mel over `rect`.
pub(super) fn show(
    ui: &mut Ui,
    rect: Rect,
    state: &State,
    heard: &Heard<'_>,
    cache: &mut Cache,
    commands: &mut Vec<Command>,
) {
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
        let stroke = Stroke::new(1.0, theme::hue(Modality::Audio).gamma_multiply(0.22));
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
    if let Some(index) = heard.token_at(t) {
        let span = line.span(index);
        let token = Rect::from_x_y_ranges(x_of(span.start_secs)..=x_of(span.end_secs), rect.y_range());
        ui.painter().rect_stroke(token.intersect(rect), 0, Stroke::new(1.5, theme::STRONG), StrokeKind::Inside);
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
    /// The token that hears what sounds at a time; none where there is no sound.
    fn token_at(&self, t_secs: f64) -> Option<usize> {
        let since = t_secs - self.line.start_secs;
        let frame = (since / self.audio.secs_per_frame).floor();
        let index = ((since.max(0.0) / self.line.secs_per_token) as usize).min(self.line.tokens.checked_sub(1)?);
        (since >= 0.0 && (frame as usize) < self.audio.frames()).then_some(index)
    }

    /// What is known of a place, in lines; none where there is no sound.
    fn about(&self, t_secs: f64, bin: usize) -> Vec<String> {
        let Some(index) = self.token_at(t_secs) else { return Vec::new() };
        let frame = ((t_secs - self.line.start_secs) / self.audio.secs_per_frame) as usize;
        let mut lines: Vec<String> = (self.audio.log_mel.get(bin * self.audio.frames() + frame))
            .map(|value| format!("Log-mel {value:.3}   frame {frame} bin {bin}   {t_secs:.3} s"))
            .into_iter()
            .collect();
        let of = Source::Audio { medium: 0, index };
        if let Some(token) = self.provenance.tokens.iter().position(|t| t.source == of) {
            let span = self.line.span(index);
            lines.push(format!("Prompt token {token}   {:.2}–{:.2} s", span.start_secs, span.end_secs));
        }
        if let Some(weight) = self.shown.and_then(|s| s.map.audios.first()).and_then(|w| w.get(index)) {
            lines.push(attention(*weight, self.provenance));
        }
        lines
    }
}
