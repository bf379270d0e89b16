//! The time lanes: small pictures, the answer's tokens, attention over the video's steps, the waveform and the log-mel
//! with the sound's attention, all on one axis with the playhead. Click or drag seeks, Shift+drag selects, the wheel
//! zooms, Shift+wheel pans. Knows nothing of playback.

mod tokens;

use std::sync::Arc;

use egui::{Align2, Color32, FontId, PointerButton, Pos2, Rect, Sense, Stroke, Ui, Vec2, WidgetInfo};

use super::selection::{self, Held};
use super::{filmstrip, player, theme};
use crate::command::Command;
use crate::event::{Outline, SoundLanes};
use crate::gpu::colormap::{ColorMap, Modality};
use crate::gpu::strip::{Background, heat_columns, image_columns, wave_columns};
use crate::gpu::{StripFrame, StripRenderer, callback};
use crate::spectrum::Spectrum;
use crate::state::{Media, Shown, State, fit_time};
use crate::time::Span;

/// Width of the names at the left.
const GUTTER: f32 = 64.0;
const RULER: f32 = 18.0;
/// Space between lanes.
const GAP: f32 = 4.0;
/// Height of a folded lane.
const FOLDED: f32 = 9.0;
/// Width from which on an empty stretch says why it is empty.
const ROOM_FOR_A_HINT: f32 = 180.0;

/// Views longer than this are drawn from the outline of the whole sound, shorter ones from its samples.
const CLOSE_SECS: f64 = 40.0;

/// The lanes' columns, kept while sound, span and width stay.
#[derive(Default)]
pub struct Cache {
    of: Option<Drawn>,
    wave: Arc<[f32]>,
    own: Arc<[f32]>,
    mel: Arc<[f32]>,
    /// Rows of `mel`; 0 where there is none.
    bins: usize,
    held: Option<Held>,
    film: filmstrip::Textures,
    tokens: tokens::Places,
}

/// What columns were made of.
struct Drawn {
    lanes: Option<Arc<SoundLanes>>,
    outlines: [Option<Arc<Outline>>; 2],
    spectrum: Option<Arc<Spectrum>>,
    view: Span,
    columns: usize,
}

impl Drawn {
    fn is(&self, state: &State, view: Span, columns: usize) -> bool {
        fn same<T>(a: Option<&Arc<T>>, b: Option<&Arc<T>>) -> bool {
            a.map(Arc::as_ptr) == b.map(Arc::as_ptr)
        }
        (self.view, self.columns) == (view, columns)
            && same(self.lanes.as_ref(), state.lanes.as_ref())
            && same(self.spectrum.as_ref(), state.spectrum.as_ref())
            && (0..2).all(|i| same(self.outlines[i].as_ref(), state.outlines[i].as_ref()))
    }
}

impl Cache {
    fn update(&mut self, state: &State, view: Span, columns: usize) {
        if self.of.as_ref().is_some_and(|of| of.is(state, view, columns)) {
            return;
        }
        let outline = |i: usize| state.outlines[i].as_ref().map(|o| o.columns(view, columns));
        // Close by, every sample counts, as far as the model hears; from afar, and beyond, the reductions do.
        let close = state.lanes.as_ref().filter(|lanes| covers(state, lanes, view));
        self.wave = match (close, outline(0), &state.lanes) {
            (Some(lanes), ..) | (None, None, Some(lanes)) => {
                wave_columns(&lanes.samples, lanes.start_secs, lanes.rate, view, columns).into()
            }
            (None, Some(outline), _) => outline.into(),
            (None, None, None) => vec![0.0; 2 * columns].into(),
        };
        self.own = outline(1).unwrap_or_default().into();
        (self.bins, self.mel) = match (close, &state.spectrum, &state.lanes) {
            (Some(lanes), ..) | (None, None, Some(lanes)) => {
                let (start, rate) = (lanes.start_secs, lanes.frame_rate);
                (lanes.bins, image_columns(&lanes.log_mel, lanes.bins, start, rate, view, columns).into())
            }
            (None, Some(spectrum), _) => (spectrum.bins(), spectrum.columns(view, columns).into()),
            (None, None, None) => (0, Arc::default()),
        };
        let spectrum = state.spectrum.clone();
        let (lanes, outlines) = (state.lanes.clone(), state.outlines.clone());
        self.of = Some(Drawn { lanes, outlines, spectrum, view, columns });
    }
}

/// The lanes from top to bottom; also their places in [`View::folded`](crate::settings::View::folded).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    Pictures,
    Tokens,
    Video,
    Sound,
    Original,
    LogMel,
}

impl Lane {
    const ALL: [Self; 6] = [Self::Pictures, Self::Tokens, Self::Video, Self::Sound, Self::Original, Self::LogMel];

    fn name(self) -> &'static str {
        match self {
            Self::Pictures => "Pictures",
            Self::Tokens => "Tokens",
            Self::Video => "Video",
            Self::Sound => "Sound",
            Self::Original => "Original",
            Self::LogMel => "Log-mel",
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::Pictures => "Small pictures of the file, each at its time",
            Self::Tokens => tokens::MEANING,
            Self::Video => "Attention on the picture over time; ticks are the frames that the model saw",
            Self::Sound => "The waveform of what is heard, with the attention on it",
            Self::Original => "The waveform of the video's own sound, which another one takes the place of",
            Self::LogMel => {
                "The spectrum as the model's extractor computes it, with the attention on it; from afar and beyond what the model hears, the loudest of every 80 ms or more"
            }
        }
    }

    fn color(self) -> egui::Color32 {
        match self {
            Self::Video => theme::hue(Modality::Video),
            Self::Sound => theme::hue(Modality::Audio),
            _ => theme::WEAK,
        }
    }

    /// Its height where that does not depend on the others', and its part of what they leave.
    fn size(self, panel: f32) -> (f32, f32) {
        match self {
            Self::Pictures => (filmstrip::height(panel, true), 0.0),
            Self::Tokens => (tokens::height(panel), 0.0),
            Self::Video => ((panel * 0.11).clamp(16.0, 30.0), 0.0),
            Self::Sound => (0.0, 0.42),
            Self::Original => (0.0, 0.2),
            Self::LogMel => (0.0, 0.5),
        }
    }
}

/// Where the lanes lie in a panel, and which are folded.
struct Rows([Option<(Rect, bool)>; 6]);

impl Rows {
    fn new(panel: Rect, x0: f32, folded: [bool; 6], present: impl Fn(Lane) -> bool) -> Self {
        let height = panel.height();
        let there = || Lane::ALL.into_iter().filter(|lane| present(*lane) && lane.size(height) != (0.0, 0.0));
        let open = |lane: &Lane| !folded[*lane as usize];
        let gaps = there().count() as f32 * GAP;
        let fixed: f32 = there().map(|lane| if open(&lane) { lane.size(height).0 } else { FOLDED }).sum();
        let rest = (height - RULER - gaps - fixed - 4.0).max(36.0);
        let parts: f32 = there().filter(open).map(|lane| lane.size(height).1).sum();
        let mut top = panel.top() + RULER;
        let mut rows = Self([None; 6]);
        for lane in there() {
            let (own, part) = lane.size(height);
            let high = if open(&lane) { own + rest * part / parts.max(1e-6) } else { FOLDED };
            let rect = Rect::from_min_max(Pos2::new(x0, top), Pos2::new(panel.right(), top + high));
            rows.0[lane as usize] = Some((rect, !open(&lane)));
            top += high + GAP;
        }
        rows
    }

    /// Where a lane is drawn; `None` where it is folded or absent.
    fn open(&self, lane: Lane) -> Option<Rect> {
        self.0[lane as usize].filter(|row| !row.1).map(|row| row.0)
    }

    /// Names at the left, which fold their lanes, and the grounds.
    fn names(&self, ui: &Ui, state: &State, left: f32, commands: &mut Vec<Command>) {
        for lane in Lane::ALL {
            let Some((rect, folded)) = self.0[lane as usize] else { continue };
            ui.painter().rect_filled(rect, 3, if folded { theme::PANEL } else { theme::INSET });
            let name = Rect::from_min_max(Pos2::new(left, rect.top()), Pos2::new(rect.left() - 4.0, rect.bottom()));
            let response = ui.interact(name, ui.scope_id().with(("lane", lane as usize)), Sense::click());
            response.widget_info(|| {
                WidgetInfo::selected(egui::Role::Button, true, !folded, format!("{} lane", lane.name()))
            });
            let strong = response.hovered() || response.has_focus();
            let color = if strong { theme::STRONG } else { lane.color() };
            let font = FontId::proportional(if folded { 9.0 } else { 11.0 });
            ui.painter().text(name.left_center(), Align2::LEFT_CENTER, lane.name(), font, color);
            if response.clicked() {
                let mut view = state.view;
                view.folded[lane as usize] = !folded;
                commands.push(Command::SetView(Box::new(view)));
            }
            let does = if folded { "Click to show it" } else { "Click to fold it away" };
            response.on_hover_text(format!("{}\n{does}", lane.meaning()));
        }
    }
}

/// Whether a view is short, and what the model hears is all there is to show in it.
fn covers(state: &State, lanes: &SoundLanes, view: Span) -> bool {
    let end = lanes.start_secs + lanes.samples.len() as f64 / lanes.rate;
    let sound_end = state.spectrum.as_ref().filter(|s| !s.growing && state.clip.end_secs.is_none());
    view.duration_secs() < CLOSE_SECS
        && (state.clip.start_secs.is_none() || lanes.start_secs <= view.start_secs + 1e-3)
        && (view.end_secs <= end + 1e-3 || sound_end.is_some_and(|s| s.end_secs() <= end + 0.1))
}

/// When each step of the first video's grid is on screen.
fn step_spans(shown: &Shown<'_>, end_secs: f64) -> Vec<Span> {
    let Some(grid) = shown.provenance.videos.first() else { return Vec::new() };
    let starts: Vec<f64> = grid.steps.iter().map(|s| s.pts_secs[0]).collect();
    (0..starts.len())
        .map(|i| {
            let end = starts.get(i + 1).copied().unwrap_or_else(|| end_secs.max(grid.steps[i].pts_secs[1]));
            Span::new(if i == 0 { starts[0].min(0.0) } else { starts[i] }, end)
        })
        .collect()
}

/// Mass of each step of the first video: what the strip shows.
fn step_mass(shown: &Shown<'_>) -> Vec<f32> {
    let (Some(grid), Some(weights)) = (shown.provenance.videos.first(), shown.map.videos.first()) else {
        return Vec::new();
    };
    weights.chunks((grid.rows * grid.cols).max(1)).map(|step| step.iter().sum()).collect()
}

/// Columns of the sound's attention; empty without any.
fn sound_heat(shown: &Shown<'_>, view: Span, columns: usize) -> Vec<f32> {
    let mut all = Vec::new();
    for (line, weights) in shown.provenance.audios.iter().zip(&shown.map.audios) {
        let of_line = heat_columns(weights, (0..line.tokens).map(|i| line.span(i)), view, columns);
        if all.is_empty() {
            all = of_line;
        } else {
            for (a, b) in all.iter_mut().zip(of_line) {
                *a = f32::max(*a, b);
            }
        }
    }
    all
}

/// Draws the lanes over the space there is.
pub fn show(ui: &mut Ui, state: &State, cache: &mut Cache, commands: &mut Vec<Command>) {
    let area = ui.available_rect_before_wrap();
    let response = ui.allocate_rect(area, Sense::click_and_drag());
    let full = Span::new(0.0, state.duration_secs().filter(|d| *d > 0.0).unwrap_or(0.0));
    let view = state.view.timeline.unwrap_or(full);
    let x0 = area.left() + GUTTER;
    let width = (area.right() - x0).max(1.0);
    let x_of = |t: f64| x0 + ((t - view.start_secs) / view.duration_secs().max(1e-9)) as f32 * width;
    let t_of = |x: f32| view.start_secs + f64::from((x - x0) / width) * view.duration_secs();
    let position = state.playback.position_secs;
    response.widget_info(|| WidgetInfo::slider(true, position, "Timeline"));
    let active = matches!(state.media, Media::Open { .. }) && full.duration_secs() > 0.0;

    let picture = matches!(state.media, Media::Open { picture: true, .. });
    let rows = Rows::new(area, x0, state.view.folded, |lane| match lane {
        Lane::Pictures => picture,
        Lane::Original => state.outlines[1].is_some(),
        _ => true,
    });
    rows.names(ui, state, area.left(), commands);
    if !active {
        if matches!(state.media, Media::Open { .. }) {
            let (at, font) = (Pos2::new(f32::midpoint(x0, area.right()), area.center().y), FontId::proportional(12.0));
            let text = "Reading the file to find out how long it is…";
            ui.painter().text(at, Align2::CENTER_CENTER, text, font, theme::WEAK);
        }
        return;
    }
    ruler(ui, Rect::from_min_max(Pos2::new(x0, area.top()), Pos2::new(area.right(), area.top() + RULER)), view, &x_of);

    if let Some(film) = rows.open(Lane::Pictures) {
        filmstrip::show(ui, state, film, view, &mut cache.film, commands);
    }
    let columns = ((width * ui.ctx().pixels_per_point()).round() as usize).clamp(1, StripRenderer::MAX_COLUMNS);
    let shown = state.shown().filter(|_| state.view.heat);
    // A map of other frames, or of another sound, does not belong on these.
    let seen = shown.as_ref().filter(|_| state.picture_as_asked());
    let heard = shown.as_ref().filter(|_| state.sound_as_asked());
    let map = ColorMap::ALL[state.view.map.min(ColorMap::ALL.len() - 1)];
    let strip = |background, heat: Vec<f32>, scale, opacity| StripFrame {
        columns,
        background,
        heat: heat.into(),
        scale,
        gamma: state.view.gamma,
        opacity,
        map,
        ground: theme::to_rgb(theme::INSET),
        signal: [0.47, 0.51, 0.57],
    };
    let hint = |rect: Rect, text: &str| {
        ui.painter().text(rect.center(), Align2::CENTER_CENTER, text, FontId::proportional(11.0), theme::WEAK);
    };
    if let Some((shown, video)) = seen.zip(rows.open(Lane::Video)) {
        let mass = step_mass(shown);
        let scale = mass.iter().copied().fold(0.0, f32::max);
        let heat = heat_columns(&mass, step_spans(shown, full.end_secs).into_iter(), view, columns);
        callback::lane(ui, video, 0, strip(Background::Heat, heat, scale, 1.0));
    }
    cache.update(state, view, columns);
    let heat = heard.map(|s| sound_heat(s, view, columns)).unwrap_or_default();
    let scale = heard.map_or(0.0, |s| s.audio_scale);
    if let Some(wave) = rows.open(Lane::Sound)
        && (state.lanes.is_some() || state.outlines[0].is_some())
    {
        callback::lane(ui, wave, 1, strip(Background::Wave(Arc::clone(&cache.wave)), heat.clone(), scale, 1.0));
    }
    if let Some(own) = rows.open(Lane::Original) {
        callback::lane(ui, own, 3, strip(Background::Wave(Arc::clone(&cache.own)), Vec::new(), 0.0, 0.6));
    }
    if let Some(mel) = rows.open(Lane::LogMel) {
        if cache.bins > 0 {
            let image = Background::Image { rows: cache.bins, values: Arc::clone(&cache.mel) };
            callback::lane(ui, mel, 2, strip(image, heat, scale, 0.9));
        }
        if let Some(lanes) = &state.lanes {
            // What is not read yet is black, and no silence.
            let reading = state.outlines[0].as_ref().is_some_and(|outline| outline.growing);
            deaf(ui, mel, x_of(lanes.start_secs + lanes.samples.len() as f64 / lanes.rate), reading);
        } else {
            hint(mel, if state.lanes_pending { "Reading the sound…" } else { "No sound" });
        }
    }
    if let Some((outline, wave)) = state.outlines[0].as_ref().filter(|o| o.growing).zip(rows.open(Lane::Sound)) {
        let unread = Rect::from_min_max(Pos2::new(x_of(outline.end_secs()).max(x0), wave.top()), wave.max);
        if unread.width() > ROOM_FOR_A_HINT {
            hint(unread, "Reading the sound…");
        }
    }
    if let Some(video) = rows.open(Lane::Video) {
        if seen.is_none() {
            let why = match (state.view.heat, shown.is_some()) {
                (false, _) => "Heat maps are hidden",
                (true, true) => "The answer is about other frames: ask again",
                (true, false) => "Attention over time appears with an answer",
            };
            hint(video, why);
        }
        if state.picture_as_asked() {
            model_frames(ui, state, video, view, &x_of);
        }
    }
    selection::dim_unused(ui, state, area, x0, &x_of);
    if let Some(selected) = state.selection {
        selection::draw(ui, selected, area, x0, RULER, &x_of);
    }
    playhead(ui, area, x0, x_of(position));
    if let Some(lane) = rows.open(Lane::Tokens) {
        if state.run.as_ref().is_none_or(|run| run.maps.is_empty()) {
            hint(lane, "Answer tokens appear at the time they look at most");
        }
        tokens::show(ui, state, lane, &x_of, &mut cache.tokens, commands);
    }
    let axis = Axis { full, view, x0, x_of: &x_of, t_of: &t_of };
    hold(ui, &response, state, &axis, &mut cache.held, commands);
    selection::handles(ui, state, area, x0, RULER, &x_of, commands);
    selection::menu(&response, state, full, commands);
    look(ui, &response, state, &axis, commands);
}

/// Veils a lane from `x` on, where a sound has ended or goes on without the model, and says so.
fn deaf(ui: &Ui, lane: Rect, x: f32, reading: bool) {
    let rest = Rect::from_min_max(Pos2::new(x.clamp(lane.left(), lane.right()), lane.top()), lane.max);
    ui.painter().rect_filled(rest, 0, Color32::from_black_alpha(120));
    if rest.width() > ROOM_FOR_A_HINT {
        let text = if reading { "Reading the sound…" } else { "The model hears nothing here" }.to_owned();
        let galley = ui.painter().layout_no_wrap(text, FontId::proportional(11.0), theme::TEXT);
        let at = Align2::CENTER_CENTER.anchor_size(rest.center(), galley.size());
        ui.painter().rect_filled(at.expand2(Vec2::new(6.0, 2.0)), 4, Color32::from_black_alpha(200));
        ui.painter().galley(at.min, galley, theme::TEXT);
    }
}

/// The moments of the frames that the model saw, as ticks.
fn model_frames(ui: &Ui, state: &State, rect: Rect, view: Span, x_of: &dyn Fn(f64) -> f32) {
    let Some(provenance) = state.run.as_ref().and_then(|r| r.provenance.as_deref()) else { return };
    for t in provenance.videos.iter().flat_map(|g| &g.steps).flat_map(|s| s.pts_secs) {
        if view.contains(t) {
            let x = x_of(t);
            let stroke = Stroke::new(1.0, theme::hue(Modality::Video));
            ui.painter().line_segment([Pos2::new(x, rect.bottom() - 4.0), Pos2::new(x, rect.bottom())], stroke);
        }
    }
}

fn playhead(ui: &Ui, area: Rect, x0: f32, x: f32) {
    if x >= x0 - 0.5 && x <= area.right() + 0.5 {
        let stroke = Stroke::new(1.5, theme::ACCENT);
        let top = area.top() + RULER - 5.0;
        ui.painter().line_segment([Pos2::new(x, top), Pos2::new(x, area.bottom())], stroke);
        let tip = [(-5.0, -5.0), (5.0, -5.0), (0.0, 3.0)].map(|(dx, dy)| Pos2::new(x + dx, top + dy));
        ui.painter().add(egui::Shape::convex_polygon(tip.to_vec(), theme::ACCENT, Stroke::NONE));
    }
}

/// Seconds between the ruler's ticks where they are to be `wanted` seconds apart at least.
fn tick_secs(wanted: f64) -> f64 {
    const STEPS: [f64; 14] = [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 300.0, 600.0, 1800.0];
    // Beyond an hour in doublings: a file can claim any length.
    STEPS.into_iter().find(|s| *s >= wanted).unwrap_or_else(|| 3600.0 * (wanted / 3600.0).log2().ceil().max(0.0).exp2())
}

fn ruler(ui: &Ui, rect: Rect, view: Span, x_of: &dyn Fn(f64) -> f32) {
    let step = tick_secs(view.duration_secs() / f64::from((rect.width() / 80.0).max(1.0)));
    let mut i = (view.start_secs / step).ceil();
    while i * step <= view.end_secs + 1e-9 {
        let t = i * step;
        let x = x_of(t);
        let bottom = rect.bottom() - 2.0;
        ui.painter().line_segment([Pos2::new(x, bottom - 4.0), Pos2::new(x, bottom)], Stroke::new(1.0, theme::LINE));
        let text = match step {
            s if s < 0.1 => format!("{t:.2}"),
            s if s < 1.0 => format!("{t:.1}"),
            _ if t >= 60.0 => player::whole_clock(t),
            _ => format!("{t:.0} s"),
        };
        // Labels at the edges stay inside.
        let align = if x > rect.right() - 16.0 {
            Align2::RIGHT_CENTER
        } else if x < rect.left() + 8.0 {
            Align2::LEFT_CENTER
        } else {
            Align2::CENTER_CENTER
        };
        let at = Pos2::new(x, rect.top() + 6.0);
        ui.painter().text(at, align, text, FontId::proportional(10.5), theme::WEAK);
        i += 1.0;
    }
}

/// The axis of the panel.
struct Axis<'a> {
    full: Span,
    view: Span,
    /// Its left edge.
    x0: f32,
    x_of: &'a dyn Fn(f64) -> f32,
    t_of: &'a dyn Fn(f32) -> f64,
}

/// Clicks and drags: the playhead follows a hand roughly and lands exactly; with Shift, or at an edge, the selection is
/// drawn.
fn hold(
    ui: &Ui,
    response: &egui::Response,
    state: &State,
    axis: &Axis<'_>,
    held: &mut Option<Held>,
    commands: &mut Vec<Command>,
) {
    let Some(at) = response.interact_pointer_pos() else {
        *held = None;
        return;
    };
    let t = (axis.t_of)(at.x.max(axis.x0)).clamp(axis.full.start_secs, axis.full.end_secs);
    let ruler = at.y < response.rect.top() + RULER;
    if response.double_clicked_by(PointerButton::Primary) && ruler {
        commands.push(Command::ShowAllTime);
    } else if response.clicked_by(PointerButton::Primary) {
        commands.push(Command::Seek(t));
    } else if response.drag_started_by(PointerButton::Primary) {
        // Where the button went down, not where the pointer is by now.
        let from = ui.ctx().input(|i| i.pointer.press_origin()).unwrap_or(at);
        let shift = ui.ctx().input(|i| i.modifiers.shift);
        *held = Some(selection::take_hold(state, from.x, shift, axis.x_of, (axis.t_of)(from.x.max(axis.x0))));
    }
    let moves = response.dragged_by(PointerButton::Primary);
    match held {
        Some(Held::From(other)) if moves => commands.push(Command::Select(Some(Span::new(*other, t)))),
        Some(Held::Playhead) if moves => commands.push(Command::Scrub(t)),
        Some(Held::Playhead) if response.drag_stopped() => commands.push(Command::Seek(t)),
        _ => {}
    }
    if response.drag_stopped() {
        *held = None;
    }
}

/// The pointer's time, and the wheel: zoom and pan.
fn look(ui: &Ui, response: &egui::Response, state: &State, axis: &Axis<'_>, commands: &mut Vec<Command>) {
    let Axis { full, view, x0, t_of, .. } = *axis;
    let Some(at) = response.hover_pos() else { return };
    selection::cursor(ui, state, at.x, axis.x_of);
    if at.x >= x0 {
        let t = t_of(at.x);
        let x = at.x;
        let stroke = Stroke::new(1.0, theme::STRONG.gamma_multiply(0.35));
        ui.painter()
            .line_segment([Pos2::new(x, response.rect.top() + RULER), Pos2::new(x, response.rect.bottom())], stroke);
        let galley = ui.painter().layout_no_wrap(player::clock(t), FontId::monospace(10.5), theme::STRONG);
        let place =
            Pos2::new((x + 6.0).min(response.rect.right() - galley.size().x - 4.0), response.rect.top() + RULER + 2.0);
        let back = Rect::from_min_size(place, galley.size()).expand2(Vec2::new(4.0, 2.0));
        ui.painter().rect_filled(back, 3, egui::Color32::from_black_alpha(190));
        ui.painter().galley(place, galley, theme::STRONG);
    }
    let scroll = ui.ctx().input(egui::InputState::smooth_scroll_delta);
    if scroll == Vec2::ZERO {
        return;
    }
    let length = view.duration_secs();
    let mut next = view;
    if scroll.y != 0.0 {
        let around = t_of(at.x.max(x0));
        let factor = f64::from((-scroll.y * 0.004).exp());
        let new = fit_time(Span::new(0.0, length * factor), full.end_secs).map_or(full.end_secs, |s| s.duration_secs());
        let left = (around - view.start_secs) / length.max(1e-9);
        next = Span::new(around - left * new, around + (1.0 - left) * new);
    }
    if scroll.x != 0.0 {
        let by = -f64::from(scroll.x / response.rect.width()) * length;
        next = Span::new(next.start_secs + by, next.end_secs + by);
    }
    let timeline = fit_time(next, full.end_secs);
    if timeline != state.view.timeline {
        commands.push(Command::SetView(Box::new(crate::settings::View { timeline, ..state.view })));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_keep_their_distance_in_a_file_of_any_length() {
        for (wanted, expected) in [(0.0, 0.05), (0.3, 0.5), (1800.0, 1800.0), (1801.0, 3600.0), (3601.0, 7200.0)] {
            assert_eq!(tick_secs(wanted), expected);
        }
        for wanted in [1e6, 9.3e12] {
            assert!((1.0..2.0).contains(&(tick_secs(wanted) / wanted)), "{wanted}");
        }
    }
}
