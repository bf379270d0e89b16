//! Shortcuts as egui sees them, and the sheet that lists them. Knows nothing of what commands do.

use egui::{Context, Event, Ui};

use super::theme;
use crate::command::{ACTIONS, Action, Chord, Command, GESTURES, Group, Key};
use crate::state::State;

fn egui_key(key: Key) -> egui::Key {
    match key {
        Key::Space => egui::Key::Space,
        Key::Left => egui::Key::ArrowLeft,
        Key::Right => egui::Key::ArrowRight,
        Key::Up => egui::Key::ArrowUp,
        Key::Down => egui::Key::ArrowDown,
        Key::Plus => egui::Key::Plus,
        Key::Minus => egui::Key::Minus,
        Key::Zero => egui::Key::Num0,
        Key::A => egui::Key::A,
        Key::R => egui::Key::R,
        Key::Y => egui::Key::Y,
        Key::Comma => egui::Key::Comma,
        Key::Period => egui::Key::Period,
        Key::Home => egui::Key::Home,
        Key::End => egui::Key::End,
        Key::OpenBracket => egui::Key::OpenBracket,
        Key::CloseBracket => egui::Key::CloseBracket,
        Key::Backspace => egui::Key::Backspace,
        Key::B => egui::Key::B,
        Key::E => egui::Key::E,
        Key::F => egui::Key::F,
        Key::H => egui::Key::H,
        Key::I => egui::Key::I,
        Key::J => egui::Key::J,
        Key::K => egui::Key::K,
        Key::L => egui::Key::L,
        Key::M => egui::Key::M,
        Key::O => egui::Key::O,
        Key::S => egui::Key::S,
        Key::V => egui::Key::V,
        Key::X => egui::Key::X,
        Key::Z => egui::Key::Z,
        Key::Question => egui::Key::Questionmark,
        Key::Escape => egui::Key::Escape,
        Key::Enter => egui::Key::Enter,
    }
}

/// The character of a key that layouts put in different places, with or without Shift or AltGr.
fn character(key: Key) -> Option<&'static str> {
    match key {
        Key::Question => Some("?"),
        Key::OpenBracket => Some("["),
        Key::CloseBracket => Some("]"),
        Key::Plus => Some("+"),
        _ => None,
    }
}

/// How often a chord was pressed in this frame, by the modifiers of the very key events: they may have been released
/// since. Where a key that is held does not do it again and again, only the first of them counts.
fn pressed(ctx: &Context, chord: Chord, repeats: bool) -> usize {
    let wanted = egui_key(chord.key);
    let is_text = |event: &Event| matches!(event, Event::Text(text) if character(chord.key) == Some(text));
    ctx.input_mut(|i| {
        let mut times = 0;
        let mut held = false;
        let mut keys = 0;
        i.events.retain(|event| {
            let Event::Key { key, pressed: true, repeat, modifiers, .. } = event else { return true };
            // Of a key with its own character, only the character counts.
            let shift = modifiers.shift == chord.shift || character(chord.key).is_some();
            let meant = *key == wanted && shift && modifiers.command == chord.ctrl && !modifiers.alt;
            held |= *repeat;
            keys += usize::from(meant);
            times += usize::from(meant && (repeats || !*repeat));
            !meant
        });
        // A key and its text come as two events of one frame: one press is one command. Some layouts have the character
        // on another key.
        let texts = i.events.iter().filter(|event| is_text(event)).count();
        i.events.retain(|event| !is_text(event));
        times + if repeats || !held { texts.saturating_sub(keys) } else { 0 }
    })
}

/// The commands of the keys pressed (or let go) in this frame. Keys that type are left to a text field that has the
/// keyboard.
pub fn commands(ctx: &Context, state: &State) -> Vec<Command> {
    let typing = ctx.text_edit_focused();
    let released = state.playback.own_sound && !ctx.input(|i| i.key_down(egui::Key::B));
    let focused = ctx.memory(|m| m.focused().is_some());
    // A menu that is open closes itself, and nothing else with it.
    let menu = egui::Popup::is_any_open(ctx);
    let is_arrow = |key| matches!(key, Key::Left | Key::Right | Key::Up | Key::Down);
    let mut commands = Vec::new();
    for Action { keys, command, .. } in ACTIONS {
        let Some((chord, _)) = keys else { continue };
        let command = command();
        // A button that has the focus is pressed by Space, a slider moved by the arrows.
        let taken = focused && !chord.ctrl && !chord.shift && (chord.key == Key::Space || is_arrow(chord.key));
        let typed = typing && !chord.in_text;
        let closes_menu = menu && chord.key == Key::Escape;
        if !(typed || taken || closes_menu || state.is_covered() && !command.reaches_under_sheets()) {
            let times = pressed(ctx, *chord, command.repeats());
            commands.extend(std::iter::repeat_n(command, times));
        }
    }
    commands.extend(released.then_some(Command::HearOwnSound(false)));
    commands
}

/// The sheet of all keys and of what hands do elsewhere; returns whether it was closed.
pub fn sheet(ui: &Ui) -> bool {
    let room = ui.ctx().content_rect().size();
    let modal = egui::Modal::new(egui::Id::unique("key sheet"))
        .backdrop_color(egui::Color32::from_black_alpha(150))
        .frame(theme::card().inner_margin(20).stroke(egui::Stroke::new(1.0, theme::LINE)))
        .show(ui.ctx(), |ui| {
            ui.set_width((room.x - 80.0).min(1_120.0));
            ui.horizontal(|ui| {
                ui.heading("Keys");
                ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| ui.button("Close").clicked())
                    .inner
            })
            .inner
                | egui::ScrollArea::vertical()
                    .max_height(room.y - 130.0)
                    .min_scrolled_height(room.y - 130.0)
                    .show(ui, |ui| {
                        let most = if room.x < 1_150.0 { 2 } else { 3 };
                        ui.columns(most, |columns| {
                            for (i, groups) in COLUMNS.into_iter().enumerate() {
                                for group in groups {
                                    list(&mut columns[i % most], *group);
                                }
                            }
                        });
                        false
                    })
                    .inner
        });
    modal.inner || modal.should_close()
}

/// The groups beside each other, about equally long.
const COLUMNS: [&[Group]; 3] =
    [&[Group::Playing, Group::Asking], &[Group::Time, Group::Window], &[Group::Sound, Group::Picture]];

/// One group: its keys, then its gestures, then what only the palette has keys for.
fn list(ui: &mut Ui, group: Group) {
    ui.add_space(8.0);
    ui.label(egui::RichText::new(group.name()).font(theme::semibold(12.5)).color(theme::STRONG));
    ui.add_space(2.0);
    ui.spacing_mut().interact_size.y = 14.0;
    egui::Grid::new(group.name()).num_columns(2).spacing([12.0, 4.0]).show(ui, |ui| {
        let mut line = |keys: &str, color, label: &str| {
            ui.label(egui::RichText::new(keys).size(11.5).color(color));
            ui.label(egui::RichText::new(label).size(11.5));
            ui.end_row();
        };
        let actions = || ACTIONS.iter().filter(|a| a.group == group);
        let mut keyed: Vec<(String, &str)> = Vec::new();
        for (keys, label) in actions().filter_map(|a| Some((a.keys?.1, a.label))) {
            // What two keys do is said once.
            match keyed.iter_mut().find(|(_, known)| *known == label) {
                Some((known, _)) => known.extend(["  ", keys]),
                None => keyed.push((keys.to_owned(), label)),
            }
        }
        for (keys, label) in keyed {
            line(&keys, theme::STRONG, label);
        }
        for (_, hand, label) in GESTURES.iter().filter(|(g, ..)| *g == group) {
            line(hand, theme::TEXT, label);
        }
        for action in actions().filter(|a| a.keys.is_none()) {
            line("Ctrl+K", theme::WEAK, action.label);
        }
    });
}
