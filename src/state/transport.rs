//! Speeds, loops and the selection on the time axis: how keys and hands change them. Knows nothing of playing itself.

use super::State;
use crate::command::Command;
use crate::time::Span;

/// Speeds that `[` and `]` step through.
pub const SPEEDS: [f64; 9] = [0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0];
/// The fastest that L or J, pressed again and again, get.
const FASTEST: f64 = 4.0;
/// A selection shorter than this is a click.
const SHORTEST_SECS: f64 = 0.02;

/// A part of the time axis: an object that is looped, asked about or cleared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Selection {
    /// Where it lies.
    pub span: Span,
    /// Whether playing stays in it.
    pub looping: bool,
}

/// The shortest part of the time axis that is shown, in seconds.
const SHORTEST_VIEW_SECS: f64 = 0.05;

/// The part of an axis of `end_secs` that shows `span` as well as it can be; `None` for all of it.
pub fn fit_time(span: Span, end_secs: f64) -> Option<Span> {
    let length = span.duration_secs().clamp(SHORTEST_VIEW_SECS.min(end_secs), end_secs);
    let middle = f64::midpoint(span.start_secs, span.end_secs);
    let start = (middle - length / 2.0).clamp(0.0, (end_secs - length).max(0.0));
    (length < end_secs * 0.999).then(|| Span::new(start, start + length))
}

/// The next speed of [`SPEEDS`] above or below one.
pub fn step_speed(speed: f64, up: bool) -> f64 {
    let speed = speed.abs();
    if up {
        SPEEDS.into_iter().find(|s| *s > speed + 1e-9).unwrap_or(SPEEDS[SPEEDS.len() - 1])
    } else {
        SPEEDS.into_iter().rev().find(|s| *s < speed - 1e-9).unwrap_or(SPEEDS[0])
    }
}

/// `1×`, `0.25×`, `−2×`.
pub fn speed_text(speed: f64) -> String {
    let sign = if speed < 0.0 { "−" } else { "" };
    format!("{sign}{}×", speed.abs())
}

impl State {
    /// How fast time runs after L (forwards) or J (backwards): the chosen speed, and twice as fast when it runs that way
    /// already.
    pub fn shuttle_speed(&self, forwards: bool) -> f64 {
        let now = self.playback.speed;
        if !self.playback.playing || (now < 0.0) == forwards {
            let chosen = self.playback.chosen_speed;
            return if forwards { chosen } else { -1.0 };
        }
        (now * 2.0).clamp(-FASTEST, FASTEST)
    }

    /// The span that playing stays in.
    pub fn repeat(&self) -> Option<Span> {
        self.selection.filter(|s| s.looping).map(|s| s.span)
    }

    pub(super) fn perform_transport(&mut self, command: &Command) {
        let at = self.playback.position_secs;
        let end = self.duration_secs().unwrap_or(0.0);
        let now = self.selection.map(|s| s.span);
        match command {
            Command::StepSpeed(up) => {
                // From what runs, where L or J made it faster.
                let running = Some(self.playback.speed.abs()).filter(|_| self.playback.playing);
                self.playback.chosen_speed = step_speed(running.unwrap_or(self.playback.chosen_speed), *up);
            }
            Command::SetSpeed(speed) => self.playback.chosen_speed = speed.abs().clamp(SPEEDS[0], FASTEST),
            // Where it ends is not known yet.
            Command::SelectFrom if self.duration_secs().is_none() => {}
            Command::SelectFrom => {
                let until = now.map(|s| s.end_secs).filter(|e| *e > at + SHORTEST_SECS).unwrap_or(end);
                self.select(Some(Span::new(at, until)));
            }
            Command::SelectTo => {
                let from = now.map(|s| s.start_secs).filter(|s| *s < at - SHORTEST_SECS).unwrap_or(0.0);
                self.select(Some(Span::new(from, at)));
            }
            Command::Select(span) => self.select(*span),
            Command::ToggleLoop => {
                if let Some(selection) = &mut self.selection {
                    selection.looping = !selection.looping;
                }
            }
            Command::ZoomTime(closer) => self.zoom_time(*closer),
            Command::ShowAllTime => self.view.timeline = None,
            Command::ShowSelection => {
                if let Some(span) = now {
                    let margin = span.duration_secs() * 0.05;
                    let start = (span.start_secs - margin).max(0.0);
                    self.show_time(Span::new(start, (span.end_secs + margin).min(end)));
                }
            }
            _ => {}
        }
    }

    /// Shows half as much of the time axis, or twice as much; the playhead stays where it is on screen.
    fn zoom_time(&mut self, closer: bool) {
        let Some(end) = self.duration_secs().filter(|end| *end > 0.0) else { return };
        let view = self.view.timeline.unwrap_or(Span::new(0.0, end));
        let at = self.playback.position_secs;
        let around = if view.contains(at) { at } else { f64::midpoint(view.start_secs, view.end_secs) };
        let factor = if closer { 0.5 } else { 2.0 };
        let span = |t: f64| around + (t - around) * factor;
        self.show_time(Span::new(span(view.start_secs), span(view.end_secs)));
    }

    /// Shows a part of the time axis, moved to where there is something and no shorter than can be told apart.
    pub fn show_time(&mut self, span: Span) {
        self.view.timeline = fit_time(span, self.duration_secs().unwrap_or(0.0));
    }

    /// While time runs, the part of the axis that is shown goes on with it, page by page. Not while a hand moves.
    pub fn follow_time(&mut self, before_secs: f64) {
        let Some(view) = self.view.timeline else { return };
        // What is left of a clip that has become shorter.
        let end = self.duration_secs().filter(|end| view.end_secs > end + 1e-6);
        if end.is_some() {
            return self.show_time(view);
        }
        let at = self.playback.position_secs;
        // Who looks at another part on purpose stays there.
        if self.playback.playing && view.contains(before_secs) && !view.contains(at) {
            let length = view.duration_secs();
            let start = if at > before_secs { at } else { at - length };
            self.show_time(Span::new(start, start + length));
        }
    }

    fn select(&mut self, span: Option<Span>) {
        let end = self.duration_secs().unwrap_or(f64::INFINITY);
        let looping = self.selection.is_none_or(|s| s.looping);
        let span = span.map(|s| {
            let (a, b) = (s.start_secs.min(s.end_secs), s.start_secs.max(s.end_secs));
            Span::new(a.clamp(0.0, end), b.clamp(0.0, end))
        });
        self.selection = span.filter(|s| s.duration_secs() >= SHORTEST_SECS).map(|span| Selection { span, looping });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Media;

    #[test]
    fn speeds_step_through_the_ladder_and_stay_on_it() {
        assert_eq!(step_speed(1.0, true), 1.25);
        assert_eq!(step_speed(1.1, true), 1.25);
        assert_eq!(step_speed(1.0, false), 0.75);
        assert_eq!(step_speed(4.0, true), 4.0);
        assert_eq!(step_speed(0.25, false), 0.25);
        assert_eq!((speed_text(0.25), speed_text(-2.0)), ("0.25×".to_owned(), "−2×".to_owned()));
    }

    #[test]
    fn l_and_j_double_what_runs_and_turn_what_does_not() {
        let mut state = State::default();
        assert_eq!(state.shuttle_speed(true), 1.0);
        assert_eq!(state.shuttle_speed(false), -1.0);
        state.playback.playing = true;
        let mut seen = Vec::new();
        for forwards in [true, true, true, false, false, false, true] {
            state.playback.speed = state.shuttle_speed(forwards);
            seen.push(state.playback.speed);
        }
        assert_eq!(seen, [2.0, 4.0, 4.0, -1.0, -2.0, -4.0, 1.0]);
    }

    #[test]
    fn in_and_out_make_a_selection_whichever_comes_first() {
        let mut state = State { media: Media::Open { duration_secs: Some(10.0), picture: true }, ..State::default() };
        let mut at = |t: f64, command: Command| {
            state.playback.position_secs = t;
            state.perform(&command);
            state.selection.map(|s| [s.span.start_secs, s.span.end_secs])
        };
        assert_eq!(at(4.0, Command::SelectTo), Some([0.0, 4.0]));
        assert_eq!(at(1.0, Command::SelectFrom), Some([1.0, 4.0]));
        assert_eq!(at(6.0, Command::SelectFrom), Some([6.0, 10.0]), "an end before the start is none");
        assert_eq!(at(2.0, Command::SelectTo), Some([0.0, 2.0]));
        assert_eq!(at(0.0, Command::Select(Some(Span::new(9.0, -3.0)))), Some([0.0, 9.0]));
        assert_eq!(at(0.0, Command::Select(Some(Span::new(3.0, 3.001)))), None, "a click is no selection");
        assert_eq!(at(3.0, Command::SelectFrom), Some([3.0, 10.0]));
        assert!(at(3.0, Command::ToggleLoop).is_some());
        assert_eq!(state.repeat(), None);
        state.perform(&Command::Select(None));
        assert_eq!(state.selection, None);
    }
}
