//! The answer's tokens on the time axis: each stands where most of its attention per second lies, on picture and sound
//! together. Knows nothing of how the other lanes are drawn.

use egui::{Align2, FontId, Pos2, Rect, Role, Sense, Stroke, Ui, Vec2, WidgetInfo};

use crate::command::Command;
use crate::event::AnswerToken;
use crate::heatmap::HeatMap;
use crate::provenance::Provenance;
use crate::state::State;
use crate::time::Span;
use crate::ui::theme;

/// What the lane's place means, for who points at its name.
pub const MEANING: &str = "Each answer token stands at the time that most of its attention per second went to, in picture \
and sound together. It tells where the model looked, not why it answered.";

/// Height of a row of chips.
const ROW: f32 = 16.0;
/// Room on either side of a chip's text, and between chips.
const PADDING: f32 = 4.0;
const BETWEEN: f32 = 2.0;
/// Resolution of the time axis in seconds: a sound token's length.
const STEP_SECS: f64 = 0.04;
/// Most steps that are looked at; longer clips are looked at more coarsely.
const MOST_STEPS: usize = 20_000;
/// Less than this part of the attention on picture and sound is nowhere.
const NOWHERE: f32 = 1e-6;

/// Where the tokens of a run stand, kept while the run goes on.
#[derive(Default)]
pub struct Places {
    epoch: u64,
    secs: Vec<Option<f64>>,
}

impl Places {
    fn update(&mut self, state: &State) {
        let Some(run) = &state.run else { return *self = Self::default() };
        if self.epoch != run.epoch {
            *self = Self { epoch: run.epoch, secs: Vec::new() };
        }
        if let Some(provenance) = &run.provenance {
            let new = run.maps.iter().skip(self.secs.len());
            self.secs.extend(new.map(|map| peak_secs(map, provenance)).collect::<Vec<_>>());
        }
    }
}

/// When each step of a video is on screen: until the next one, the last one as long as the one before it.
fn step_spans(times: &[[f64; 2]]) -> Vec<Span> {
    let start = |i: usize| times[i][0];
    let usual = if times.len() > 1 { start(times.len() - 1) - start(times.len() - 2) } else { 1.0 };
    (0..times.len())
        .map(|i| {
            let end = if i + 1 < times.len() { start(i + 1) } else { (start(i) + usual).max(times[i][1]) };
            Span::new(start(i), end)
        })
        .collect()
}

/// The time that most attention per second went to, in the middle of the stretch that shares it; `None` for a map without
/// any attention on picture and sound.
fn peak_secs(map: &HeatMap, provenance: &Provenance) -> Option<f64> {
    let mut parts: Vec<(Span, f64)> = Vec::new();
    for (grid, weights) in provenance.videos.iter().zip(&map.videos) {
        let times: Vec<[f64; 2]> = grid.steps.iter().map(|s| s.pts_secs).collect();
        let steps = weights.chunks((grid.rows * grid.cols).max(1));
        let mass = steps.map(|step| step.iter().map(|w| f64::from(*w)).sum());
        parts.extend(step_spans(&times).into_iter().zip(mass));
    }
    for (line, weights) in provenance.audios.iter().zip(&map.audios) {
        parts.extend(weights.iter().enumerate().map(|(i, w)| (line.span(i), f64::from(*w))));
    }
    parts.retain(|(span, _)| span.duration_secs() > 0.0);
    if parts.iter().map(|p| p.1).sum::<f64>() < f64::from(NOWHERE) {
        return None;
    }
    let start = parts.iter().map(|p| p.0.start_secs).fold(f64::INFINITY, f64::min);
    let end = parts.iter().map(|p| p.0.end_secs).fold(f64::NEG_INFINITY, f64::max);
    let step_secs = STEP_SECS.max((end - start) / MOST_STEPS as f64);
    let count = (((end - start) / step_secs).ceil() as usize).clamp(1, MOST_STEPS);
    // What comes and goes at each step; its running sum is the density.
    let mut change = vec![0.0; count + 1];
    for (span, mass) in &parts {
        let at = |t: f64| (((t - start) / step_secs).round() as usize).min(count);
        let (from, to) = (at(span.start_secs).min(count - 1), at(span.end_secs));
        let density = mass / span.duration_secs();
        change[from] += density;
        change[to.max(from + 1)] -= density;
    }
    let mut density = Vec::with_capacity(count);
    let mut now = 0.0;
    for step in &change[..count] {
        now += step;
        density.push(now);
    }
    let most = density.iter().copied().fold(0.0, f64::max);
    let first = density.iter().position(|d| *d >= most * 0.999)?;
    let run = density[first..].iter().take_while(|d| **d >= most * 0.999).count();
    Some(start + (first as f64 + run as f64 / 2.0) * step_secs)
}

/// A token in a few letters.
fn text_of(token: &AnswerToken) -> String {
    let text: String = token.text.trim().chars().filter(|c| !c.is_control()).take(14).collect();
    if text.is_empty() { format!("#{}", token.id) } else { text }
}

/// Height of the lane for a panel of a height.
pub fn height(panel: f32) -> f32 {
    if panel > 250.0 { 2.0 * ROW + 2.0 } else { ROW + 2.0 }
}

/// Where chips go that each want to be around a place, in the order of places: the left edge and the row of each, no row
/// for those that no row has room for. None lies over another.
fn arrange(wanted: &[(f32, f32)], within: egui::Rangef, rows: usize) -> Vec<(f32, Option<usize>)> {
    let mut ends = vec![f32::NEG_INFINITY; rows];
    let place = |&(x, width): &(f32, f32)| {
        let left = (x - width / 2.0).clamp(within.min, (within.max - width).max(within.min));
        let row = ends.iter().position(|end| left >= *end);
        if let Some(row) = row {
            ends[row] = left + width + BETWEEN;
        }
        (left, row)
    };
    wanted.iter().map(place).collect()
}

/// Draws the lane. Pointing at a chip shows its token's maps, a click keeps them.
pub fn show(
    ui: &Ui,
    state: &State,
    rect: Rect,
    x_of: &dyn Fn(f64) -> f32,
    places: &mut Places,
    commands: &mut Vec<Command>,
) {
    places.update(state);
    let Some(run) = state.run.as_ref().filter(|_| !places.secs.is_empty()) else { return };
    let rows = ((rect.height() / ROW) as usize).max(1);
    let mut hidden = 0;
    let chip = |(i, secs): (usize, &Option<f64>)| {
        let token = &run.tokens[i];
        let x = secs.map(x_of).filter(|x| rect.x_range().contains(*x))?;
        // A token without text of its own stands nowhere in the answer either.
        let text = (!token.text.is_empty()).then(|| text_of(token))?;
        let color = if state.focus() == Some(i) { theme::STRONG } else { theme::TEXT };
        Some((x, i, ui.painter().layout_no_wrap(text, FontId::proportional(11.0), color)))
    };
    let mut chips: Vec<_> = places.secs.iter().enumerate().filter_map(chip).collect();
    chips.sort_by(|a, b| a.0.total_cmp(&b.0));
    let wanted: Vec<_> = chips.iter().map(|(x, _, text)| (*x, text.size().x + 2.0 * PADDING)).collect();
    let arranged = arrange(&wanted, rect.x_range(), rows);
    for ((x, i, galley), (left, row)) in chips.into_iter().zip(arranged) {
        let focus = state.focus() == Some(i);
        let Some(row) = row else {
            hidden += 1;
            let (radius, color) = if focus { (3.0, theme::ACCENT) } else { (1.5, theme::WEAK) };
            ui.painter().circle_filled(Pos2::new(x, rect.bottom() - radius), radius, color);
            continue;
        };
        let top = rect.top() + 1.0 + row as f32 * ROW;
        let chip = Rect::from_min_size(Pos2::new(left, top), Vec2::new(galley.size().x + 2.0 * PADDING, ROW - 2.0));
        let fill = if focus { theme::ACCENT.gamma_multiply(0.45) } else { theme::CARD };
        ui.painter().rect_filled(chip, 3, fill);
        let edge = if state.locked == Some(i) { theme::ACCENT } else { theme::LINE };
        ui.painter().rect_stroke(chip, 3, Stroke::new(1.0, edge), egui::StrokeKind::Inside);
        ui.painter().vline(x, chip.bottom()..=rect.bottom(), Stroke::new(1.0, edge));
        ui.painter().galley(
            chip.min + Vec2::new(PADDING, (chip.height() - galley.size().y) / 2.0),
            galley,
            theme::TEXT,
        );
        let response = ui.interact(chip, ui.scope_id().with(("token on the axis", i)), Sense::click());
        let secs = places.secs[i].unwrap_or_default();
        response.widget_info(|| {
            let name = format!("Token {} on the axis: {} at {secs:.2} s", i + 1, run.tokens[i].text);
            WidgetInfo::selected(Role::Button, true, state.locked == Some(i), name)
        });
        if response.hovered() || response.has_focus() {
            commands.push(Command::Hover(Some(i)));
        }
        if response.clicked() {
            commands.push(Command::Lock((state.locked != Some(i)).then_some(i)));
        }
        response.on_hover_text(format!("“{}”   looks most at {secs:.2} s", run.tokens[i].text.escape_debug()));
    }
    let nowhere = places.secs.iter().filter(|s| s.is_none()).count();
    let mut notes = Vec::new();
    if hidden > 0 {
        notes.push(format!("+{hidden}"));
    }
    if nowhere > 0 {
        notes.push(format!("{nowhere} look at words only"));
    }
    if !notes.is_empty() {
        // Over the chips where there is no room beside them: what is left out is always said.
        let galley = ui.painter().layout_no_wrap(notes.join(", "), FontId::proportional(10.0), theme::TEXT);
        let at = Align2::RIGHT_CENTER.anchor_size(rect.right_center() - Vec2::new(4.0, 0.0), galley.size());
        ui.painter().rect_filled(at.expand2(Vec2::new(4.0, 1.0)), 3, theme::PANEL);
        ui.painter().galley(at.min, galley, theme::TEXT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provenance::{AudioLine, GridStep, VideoGrid};

    fn provenance() -> Provenance {
        let step = |t: f64| GridStep { pts_secs: [t, t + 0.5], nominal: Span::new(t, t + 1.0) };
        Provenance {
            videos: vec![VideoGrid {
                steps: vec![step(0.0), step(1.0), step(3.0)],
                rows: 1,
                cols: 2,
                resized: [56, 28],
            }],
            audios: vec![AudioLine { tokens: 100, secs_per_token: 0.04, start_secs: 0.0 }],
            ..Provenance::default()
        }
    }

    fn map(video: [f32; 6], audio: impl Fn(usize) -> f32) -> HeatMap {
        HeatMap { videos: vec![video.to_vec()], audios: vec![(0..100).map(audio).collect()], words: Vec::new() }
    }

    #[test]
    fn a_token_stands_where_most_of_its_attention_per_second_lies() {
        let near = |map: &HeatMap, secs: f64| {
            let found = peak_secs(map, &provenance()).unwrap();
            assert!((found - secs).abs() < 0.03, "{found}, not {secs}");
        };
        // The middle of the step that has it; a step twice as long needs twice as much.
        near(&map([0.1, 0.1, 0.0, 0.0, 0.0, 0.0], |_| 0.0), 0.5);
        near(&map([0.1, 0.1, 0.1, 0.2, 0.0, 0.0], |_| 0.0), 0.5);
        near(&map([0.1, 0.1, 0.3, 0.2, 0.0, 0.0], |_| 0.0), 2.0);
        // A short sound is denser than a long picture.
        near(&map([0.2; 6], |i| if i == 50 { 0.05 } else { 0.0 }), 2.02);
        // Together: of two equal sounds the one whose picture is looked at, too.
        near(&map([0.0, 0.0, 0.0, 0.0, 0.1, 0.1], |i| if i == 10 || i == 90 { 0.05 } else { 0.0 }), 3.62);
    }

    #[test]
    fn crowded_chips_never_lie_over_each_other_and_what_has_no_room_is_told_apart() {
        let within = egui::Rangef::new(100.0, 400.0);
        let shown = |wanted: &[(f32, f32)], rows| {
            let arranged = arrange(wanted, within, rows);
            assert_eq!(arranged.len(), wanted.len());
            for (i, (left, row)) in arranged.iter().enumerate().filter(|(_, a)| a.1.is_some()) {
                assert!(row.is_some_and(|row| row < rows));
                assert!(*left >= within.min && (left + wanted[i].1 <= within.max || *left == within.min));
                for (other, _) in
                    arranged[..i].iter().enumerate().filter(|(_, a)| a.1 == *row).map(|(k, a)| (a.0 + wanted[k].1, k))
                {
                    assert!(*left >= other + BETWEEN, "{i} at {left} lies over one that ends at {other}");
                }
            }
            arranged.iter().filter(|a| a.1.is_some()).count()
        };
        // Side by side; all at one place; at both ends, where they are moved inwards; wider than the lane.
        let spread: Vec<_> = (0..6).map(|i| (125.0 + 50.0 * i as f32, 40.0)).collect();
        assert_eq!(shown(&spread, 1), 6);
        let heap = vec![(250.0, 40.0); 20];
        assert_eq!((shown(&heap, 1), shown(&heap, 2)), (1, 2));
        assert_eq!(shown(&[(100.0, 60.0), (130.0, 20.0), (175.0, 20.0), (399.0, 60.0)], 1), 3);
        assert_eq!(shown(&[(250.0, 500.0), (260.0, 20.0)], 1), 1);
        // As many as fit, whatever their widths.
        let many: Vec<_> = (0..300).map(|i| (100.0 + i as f32, 10.0 + (i * 7 % 13) as f32)).collect();
        let (one, two) = (shown(&many, 1), shown(&many, 2));
        assert!(one >= 12 && two > one, "{one} and {two}");
        assert_eq!(shown(&[], 2), 0);
    }

    #[test]
    fn a_token_that_looks_at_words_only_stands_nowhere() {
        assert_eq!(peak_secs(&map([0.0; 6], |_| 0.0), &provenance()), None);
        assert_eq!(peak_secs(&HeatMap::default(), &Provenance::default()), None);
    }
}
