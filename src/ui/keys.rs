//! Shortcuts as egui sees them, and the sheet that lists them. Knows nothing of what commands do.

use egui::{Context, Event, Ui};

use super::theme;
use crate::command::{Chord, Command, Key, SHORTCUTS};
use crate::state::State;

fn egui_key(key: Key) -> egui::Key {
    match key {
        Key::Space => egui::Key::Space,
        Key::Left => egui::Key::ArrowLeft,
        Key::Right => egui::Key::ArrowRight,
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
        _ => None,
    }
}

/// Whether a chord was pressed in this frame, by the modifiers of the very key event: they may have been released since.
fn pressed(ctx: &Context, chord: Chord) -> bool {
    let wanted = egui_key(chord.key);
    ctx.input_mut(|i| {
        let found = i.events.iter().position(|event| match event {
            // Only the character counts, as text or as the key of that name.
            Event::Text(text) => character(chord.key) == Some(text),
            Event::Key { key, pressed: true, .. } if character(chord.key).is_some() => *key == wanted,
            // A key that is held does once what it does for as long as it is held.
            Event::Key { key: egui::Key::B, repeat: true, .. } => false,
            Event::Key { key, pressed: true, modifiers, .. } => {
                *key == wanted && modifiers.shift == chord.shift && modifiers.command == chord.ctrl && !modifiers.alt
            }
            _ => false,
        });
        let Some(at) = found else { return false };
        i.events.remove(at);
        // A key and its text come as two events of one frame: one press is one command.
        i.events.retain(|e| !matches!(e, Event::Text(text) if character(chord.key) == Some(text)));
        true
    })
}

/// The commands of the keys pressed (or let go) in this frame. Keys that type are left to a text field that has the
/// keyboard.
pub fn commands(ctx: &Context, state: &State) -> Vec<Command> {
    let typing = ctx.text_edit_focused();
    let released = state.playback.own_sound && !ctx.input(|i| i.key_down(egui::Key::B));
    // A button that has the focus is pressed by Space or Return itself.
    let focused = ctx.memory(|m| m.focused().is_some());
    // A menu that is open closes itself, and nothing else with it.
    let menu = egui::Popup::is_any_open(ctx);
    SHORTCUTS
        .iter()
        .filter(|s| s.chord.in_text || !typing)
        .filter(|s| !(focused && !s.chord.ctrl && s.chord.key == Key::Space))
        .filter(|s| !(menu && s.chord.key == Key::Escape))
        .filter(|s| pressed(ctx, s.chord))
        .map(|s| (s.command)())
        .chain(released.then_some(Command::HearOwnSound(false)))
        .collect()
}

/// The sheet of all keys; returns whether it was closed.
pub fn sheet(ui: &Ui) -> bool {
    let modal = egui::Modal::new(egui::Id::unique("key sheet"))
        .backdrop_color(egui::Color32::from_black_alpha(150))
        .frame(theme::card().inner_margin(20).stroke(egui::Stroke::new(1.0, theme::LINE)))
        .show(ui.ctx(), |ui| {
            ui.set_width(820.0);
            ui.spacing_mut().interact_size.y = 16.0;
            ui.heading("Keys");
            ui.add_space(6.0);
            // Two halves beside each other: the sheet fits the smallest window.
            let half = SHORTCUTS.len().div_ceil(2);
            egui::Grid::new("keys").num_columns(4).spacing([18.0, 7.0]).show(ui, |ui| {
                for row in 0..half {
                    for shortcut in [row, row + half].into_iter().filter_map(|i| SHORTCUTS.get(i)) {
                        ui.label(egui::RichText::new(shortcut.keys).monospace().color(theme::STRONG));
                        ui.label(shortcut.label);
                    }
                    ui.end_row();
                }
            });
            ui.add_space(8.0);
            ui.label(
                egui::RichText::new(
                    "Timeline: click or drag to seek, Shift+drag to select, wheel to zoom, Shift+wheel to pan. \
                     Answer: point at a token for its maps, click to keep them.",
                )
                .small()
                .color(theme::WEAK),
            );
            ui.add_space(6.0);
            ui.button("Close").clicked()
        });
    modal.inner || modal.should_close()
}
