//! Shortcuts as egui sees them, and the sheet that lists them. Knows nothing of what commands do.

use egui::{Context, Event, Ui};

use super::theme;
use crate::command::{Chord, Command, Key, SHORTCUTS};

fn egui_key(key: Key) -> egui::Key {
    match key {
        Key::Space => egui::Key::Space,
        Key::Left => egui::Key::ArrowLeft,
        Key::Right => egui::Key::ArrowRight,
        Key::Comma => egui::Key::Comma,
        Key::Period => egui::Key::Period,
        Key::Home => egui::Key::Home,
        Key::End => egui::Key::End,
        Key::F => egui::Key::F,
        Key::H => egui::Key::H,
        Key::M => egui::Key::M,
        Key::O => egui::Key::O,
        Key::Question => egui::Key::Questionmark,
        Key::Escape => egui::Key::Escape,
        Key::Enter => egui::Key::Enter,
    }
}

/// Whether a chord was pressed in this frame, by the modifiers of the very key event: they may have been released since.
fn pressed(ctx: &Context, chord: Chord) -> bool {
    let wanted = egui_key(chord.key);
    ctx.input_mut(|i| {
        let found = i.events.iter().position(|event| match event {
            // Layouts differ in whether `?` needs Shift: only the character counts, as text or as the key of that name.
            Event::Text(text) => chord.key == Key::Question && text == "?",
            Event::Key { key, pressed: true, .. } if chord.key == Key::Question => *key == wanted,
            Event::Key { key, pressed: true, modifiers, .. } => {
                *key == wanted && modifiers.shift == chord.shift && modifiers.command == chord.ctrl && !modifiers.alt
            }
            _ => false,
        });
        found.map(|at| i.events.remove(at)).is_some()
    })
}

/// The commands of the keys pressed in this frame. Keys that type are left to a text field that has the keyboard.
pub fn commands(ctx: &Context) -> Vec<Command> {
    let typing = ctx.text_edit_focused();
    // A button that has the focus is pressed by Space or Return itself.
    let focused = ctx.memory(|m| m.focused().is_some());
    SHORTCUTS
        .iter()
        .filter(|s| s.chord.in_text || !typing)
        .filter(|s| !(focused && !s.chord.ctrl && s.chord.key == Key::Space))
        .filter(|s| pressed(ctx, s.chord))
        .map(|s| (s.command)())
        .collect()
}

/// The sheet of all keys; returns whether it was closed.
pub fn sheet(ui: &Ui) -> bool {
    let modal = egui::Modal::new(egui::Id::unique("key sheet"))
        .backdrop_color(egui::Color32::from_black_alpha(150))
        .frame(theme::card().inner_margin(20).stroke(egui::Stroke::new(1.0, theme::LINE)))
        .show(ui.ctx(), |ui| {
            ui.set_width(430.0);
            ui.spacing_mut().interact_size.y = 16.0;
            ui.heading("Keys");
            ui.add_space(6.0);
            egui::Grid::new("keys").num_columns(2).spacing([24.0, 7.0]).show(ui, |ui| {
                for shortcut in SHORTCUTS {
                    let keys = egui::RichText::new(shortcut.keys).monospace().color(theme::STRONG);
                    ui.label(keys);
                    ui.label(shortcut.label);
                    ui.end_row();
                }
            });
            ui.add_space(8.0);
            ui.label(
                egui::RichText::new(
                    "Timeline: click or drag to seek, wheel to zoom, Shift+wheel to pan. \
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
