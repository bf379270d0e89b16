//! Shortcuts as egui sees them, and the sheet that lists them. Knows nothing of what commands do.

use egui::{Context, Modifiers, Ui};

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

fn pressed(ctx: &Context, chord: Chord) -> bool {
    let wanted = Modifiers { shift: chord.shift, ctrl: chord.ctrl, command: chord.ctrl, ..Modifiers::NONE };
    ctx.input_mut(|i| {
        let key = egui_key(chord.key);
        if chord.key == Key::Question {
            // Layouts differ in whether `?` needs Shift: only the character counts.
            return i.events.iter().any(|e| matches!(e, egui::Event::Text(t) if t == "?"))
                || i.key_pressed(egui::Key::Questionmark);
        }
        i.modifiers.shift == wanted.shift && i.modifiers.command == wanted.command && !i.modifiers.alt && {
            let found = i.key_pressed(key);
            if found {
                i.consume_key(i.modifiers, key);
            }
            found
        }
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
