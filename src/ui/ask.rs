//! The words of the case: caption, question, options, context and system prompt as separate fields, and the button
//! that asks. Knows nothing of models.

use egui::{
    Align, Button, Color32, Frame, Key, KeyboardShortcut, Layout, Margin, Modifiers, RichText, ScrollArea, Stroke,
    TextEdit, Ui, Vec2,
};

use super::{theme, words};
use crate::command::Command;
use crate::event::FileUse;
use crate::prompt::{Draft, Part, PromptText};
use crate::state::{Condition, QUESTIONS, Run, State};

/// The question card.
pub fn show(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    let mut draft = state.draft.clone();
    let mut entered = false;
    theme::card().show(ui, |ui| {
        ui.set_width(ui.available_width());
        conditions(ui, state, commands);
        entered = fields(ui, &mut draft, state.words.as_deref());
        words::show(ui, state.words.as_deref());
        ui.add_space(2.0);
        ask_button(ui, state, commands);
    });
    if draft != state.draft {
        commands.push(Command::Edit(Box::new(draft)));
    }
    if entered {
        commands.push(Command::Ask);
    }
}

/// What the case can be tried under, and the benchmark's questions.
fn conditions(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    ui.horizontal(|ui| {
        ui.label(RichText::new("Words").font(theme::semibold(12.5)).color(theme::STRONG));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let button = ui.button("Try…").on_hover_text("Conditions in which the senses disagree or one is missing");
            egui::Popup::menu(&button).show(|ui| {
                ui.set_min_width(230.0);
                ui.label(RichText::new("Conditions").small().color(theme::WEAK));
                for condition in Condition::ALL {
                    if ui.button(condition.name()).clicked() {
                        commands.push(Command::SetCase(Box::new(state.under(condition))));
                    }
                }
                if state.clip.video.is_some() && ui.button("Another clip’s sound…").clicked() {
                    commands.push(Command::Choose(FileUse::Sound));
                }
                ui.separator();
                ui.label(RichText::new("Questions").small().color(theme::WEAK));
                for (name, question) in QUESTIONS {
                    if ui.button(name).clicked() {
                        commands.push(Command::SetCase(Box::new(state.asked(question))));
                    }
                }
            });
        });
    });
}

/// The fields; returns whether Return was pressed in one that asks.
fn fields(ui: &mut Ui, draft: &mut Draft, words: Option<&PromptText>) -> bool {
    let count = |of: fn(&PromptText) -> usize| words.map(of).filter(|n| *n > 0);
    let part = |part, count| Counted { color: words::color(part), tokens: count };
    let caption = part(Part::Caption, count(|w| w.caption));
    let question = part(Part::Question, count(|w| w.question));
    let options = part(Part::Question, count(|w| w.options));
    let mut entered = field(ui, "Caption", &mut draft.caption, "Told to the model, true or not", 1, caption);
    entered |= field(ui, "Question", &mut draft.question, "What do you want to know?", 2, question);
    entered |= field(ui, "Options", &mut draft.options, "cat, dog, rain (none: an open question)", 1, options);
    let (system, context) = (part(Part::System, count(|w| w.system)), part(Part::Context, count(|w| w.context)));
    let mut title = "System prompt and context".to_owned();
    for (name, tokens) in [("system", system.tokens), ("context", context.tokens)] {
        if let Some(tokens) = tokens {
            title.extend(["  ·  ", name, " ", &tokens.to_string()]);
        }
    }
    let title = RichText::new(title).small().color(theme::WEAK);
    egui::CollapsingHeader::new(title).id_salt("more words").show_unindented(ui, |ui| {
        field(ui, "System", &mut draft.system, "The model's own", 3, system);
        field(ui, "Context", &mut draft.context, "Text put after the question", 3, context);
    });
    entered
}

/// A field's colour in the whole prompt, and how many tokens it takes there.
#[derive(Clone, Copy)]
struct Counted {
    color: Color32,
    tokens: Option<usize>,
}

/// Rows from which on Return begins a new line, as in a letter; in shorter fields it asks, as in a chat.
const LETTER_ROWS: usize = 3;

fn field(ui: &mut Ui, label: &str, text: &mut String, hint: &str, rows: usize, counted: Counted) -> bool {
    let mut entered = false;
    ui.horizontal_top(|ui| {
        let size = Vec2::new(76.0, 26.0);
        let name = ui.allocate_ui_with_layout(size, Layout::left_to_right(Align::Center), |ui| {
            ui.set_min_size(size);
            ui.spacing_mut().item_spacing.x = 4.0;
            let name = ui.label(RichText::new(label).small().color(theme::WEAK));
            if let Some(tokens) = counted.tokens {
                let count = RichText::new(tokens.to_string()).small().color(counted.color);
                ui.label(count).on_hover_text(format!("{label}: {tokens} tokens in the prompt"));
            }
            name
        });
        let hint = RichText::new(hint).color(theme::WEAK.gamma_multiply(0.6));
        let asks = rows < LETTER_ROWS;
        let mut edit =
            if rows == 1 { TextEdit::singleline(text) } else { TextEdit::multiline(text).desired_rows(rows) };
        if rows > 1 && asks {
            edit = edit.return_key(KeyboardShortcut::new(Modifiers::SHIFT, Key::Enter));
        }
        let frame = Frame::new().fill(theme::INSET).corner_radius(6).stroke(Stroke::new(1.0, theme::LINE));
        let frame = frame.inner_margin(Margin::symmetric(8, 5));
        let edit = edit.hint_text(hint).desired_width(f32::INFINITY).frame(frame).char_limit(200_000);
        let response = if asks {
            ui.add(edit)
        } else {
            // Thousands of letters are scrolled in their field.
            let scroll = ScrollArea::vertical().id_salt(label).max_height(96.0);
            scroll.show(ui, |ui| ui.add(edit)).inner
        };
        let response = response.labelled_by(name.inner.id);
        let enter = |i: &egui::InputState| i.key_pressed(Key::Enter) && i.modifiers.is_none();
        entered = asks && (response.has_focus() || response.lost_focus()) && ui.ctx().input(enter);
    });
    entered
}

fn ask_button(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    let running = state.run.as_ref().is_some_and(Run::running);
    let size = Vec2::new(ui.available_width(), 32.0);
    if running {
        let text = RichText::new("Stop").font(theme::semibold(13.5)).color(theme::STRONG);
        let button = Button::new(text).fill(theme::LINE).corner_radius(6);
        if ui.add_sized(size, button).on_hover_text("Stop the answer; what there is stays").clicked() {
            commands.push(Command::Stop);
        }
        return;
    }
    let why_not = state.why_not_ask();
    let color = if why_not.is_some() { theme::WEAK } else { theme::GROUND };
    let fill = if why_not.is_some() { theme::LINE } else { theme::ACCENT };
    let button = Button::new(RichText::new("Ask").font(theme::semibold(13.5)).color(color)).fill(fill).corner_radius(6);
    let response = ui.add_enabled_ui(why_not.is_none(), |ui| ui.add_sized(size, button)).inner;
    if response.on_hover_text("Ask the question about the clip  (Enter)").clicked() {
        commands.push(Command::Ask);
    }
    if let Some(why) = why_not {
        let mut line = why.to_owned();
        line[..1].make_ascii_uppercase();
        ui.label(RichText::new(line).small().color(theme::WEAK));
    }
}
