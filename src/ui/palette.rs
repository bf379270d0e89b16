//! Every command, found by typing a part of its name. Knows nothing of what they do.

use egui::{
    Align, Button, Color32, Id, Key, Layout, Modal, Modifiers, RichText, ScrollArea, Stroke, TextEdit, Ui, Vec2,
};

use super::theme;
use crate::command::{ACTIONS, Command, Group};
use crate::state::{Condition, QUESTIONS, State};

/// What is being looked for.
#[derive(Default)]
pub struct Search {
    text: String,
    /// The line that Return takes.
    chosen: usize,
    open: bool,
}

/// A line of the list.
struct Line {
    label: String,
    keys: &'static str,
    does: Does,
}

/// What a line does; cases are made when they are chosen.
#[derive(Clone)]
enum Does {
    Command(Command),
    Try(Condition),
    Question(&'static str),
}

impl Does {
    fn command(&self, state: &State) -> Command {
        match self {
            Self::Command(command) => command.clone(),
            Self::Try(condition) => Command::SetCase(Box::new(state.under(*condition))),
            Self::Question(question) => Command::SetCase(Box::new(state.asked(question))),
        }
    }
}

/// The list over the window, while it is open.
pub fn show(ui: &Ui, state: &State, search: &mut Search, commands: &mut Vec<Command>) {
    if !state.palette {
        search.open = false;
        return;
    }
    if !search.open {
        *search = Search { open: true, ..Search::default() };
    }
    let moved = [(Key::ArrowDown, 1), (Key::ArrowUp, -1)].map(|(key, by)| {
        let times = ui.ctx().input_mut(|i| i.count_and_consume_key(Modifiers::NONE, key));
        times as isize * by
    });
    let entered = ui.ctx().input_mut(|i| i.consume_key(Modifiers::NONE, Key::Enter));
    let mut given = None;
    let modal = Modal::new(Id::unique("palette"))
        .backdrop_color(Color32::from_black_alpha(110))
        .frame(theme::card().inner_margin(12).stroke(Stroke::new(1.0, theme::LINE)))
        .show(ui.ctx(), |ui| {
            ui.set_width(520.0);
            let edit = TextEdit::singleline(&mut search.text).hint_text("What do you want to do?");
            let response = ui.add(edit.desired_width(f32::INFINITY)).accessible_name("Search commands");
            response.request_focus();
            if response.changed() {
                search.chosen = 0;
            }
            // What was typed in this very frame counts, also where Return follows at once.
            let lines = matching(state, &search.text);
            let last = lines.len().saturating_sub(1);
            search.chosen = search.chosen.min(last).saturating_add_signed(moved[0] + moved[1]).min(last);
            given = lines.get(search.chosen).filter(|_| entered).map(|line| line.does.clone());
            ui.add_space(6.0);
            // As high whatever is found: what is under the pointer stays.
            ScrollArea::vertical().max_height(330.0).auto_shrink([false, false]).show(ui, |ui| {
                ui.spacing_mut().item_spacing.y = 1.0;
                if lines.is_empty() {
                    ui.label(RichText::new("There is no such command").color(theme::WEAK));
                }
                for (i, line) in lines.iter().enumerate() {
                    let chosen = i == search.chosen;
                    let response = entry(ui, line, chosen);
                    if chosen && (moved != [0, 0] || response.gained_focus()) {
                        response.scroll_to_me(None);
                    }
                    if response.clicked() {
                        given = Some(line.does.clone());
                    }
                }
            });
        });
    if given.is_some() || modal.should_close() {
        commands.push(Command::TogglePalette);
    }
    commands.extend(given.map(|does| does.command(state)));
}

fn entry(ui: &mut Ui, line: &Line, chosen: bool) -> egui::Response {
    let size = Vec2::new(ui.available_width(), 24.0);
    let keys = RichText::new(line.keys).small().color(theme::WEAK);
    let button = Button::selectable(chosen, line.label.as_str()).min_size(size).right_text(keys);
    ui.with_layout(Layout::top_down_justified(Align::LEFT), |ui| ui.add(button)).inner
}

/// The commands whose names have every word of `text`, those whose name begins with it first.
fn matching(state: &State, text: &str) -> Vec<Line> {
    let text = text.trim().to_lowercase();
    let mut lines: Vec<Line> = all(state)
        .into_iter()
        .filter(|line| {
            let name = line.label.to_lowercase();
            text.split_whitespace().all(|word| name.contains(word))
        })
        .collect();
    lines.sort_by_key(|line| !line.label.to_lowercase().starts_with(&text));
    lines
}

fn all(state: &State) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for group in Group::ALL {
        for action in ACTIONS.iter().filter(|a| a.group == group) {
            let command = (action.command)();
            // Two keys for one thing are one thing, and what holds as long as a key does is nothing to choose.
            let again = lines.iter().any(|line| matches!(&line.does, Does::Command(known) if *known == command));
            let choice = !matches!(command, Command::HearOwnSound(_) | Command::TogglePalette | Command::Escape);
            if !again && choice && state.can(&command) {
                let keys = action.keys.map_or("", |(_, keys)| keys);
                lines.push(Line { label: action.label.to_owned(), keys, does: Does::Command(command) });
            }
        }
    }
    let line = |label, does| Line { label, keys: "", does };
    if state.clip.video.is_some() {
        lines.extend(Condition::ALL.map(|c| line(format!("Try: {}", c.name()), Does::Try(c))));
    }
    lines.extend(QUESTIONS.map(|(name, question)| line(format!("Question: {name}"), Does::Question(question))));
    lines
}
