//! Messages that stay until dismissed and can be copied. Knows nothing of where they come from.

use egui::{Frame, Label, Layout, Margin, RichText, Stroke, Ui};

use super::icons::{self, Icon};
use super::theme;
use crate::command::{Command, ModelsCommand};
use crate::state::State;

/// All notices, newest first.
pub fn show(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    for notice in state.notices.iter().rev() {
        let color = if notice.error { theme::ERROR } else { theme::ACCENT };
        let frame = Frame::new()
            .fill(theme::CARD)
            .stroke(Stroke::new(1.0, color.gamma_multiply(0.6)))
            .corner_radius(6)
            .inner_margin(Margin { left: 14, right: 6, top: 5, bottom: 5 })
            .outer_margin(Margin { left: 0, right: 0, top: 0, bottom: 6 });
        let shown = frame.show(ui, |ui| {
            ui.horizontal(|ui| {
                ui.with_layout(Layout::right_to_left(egui::Align::Center), |ui| {
                    if icons::button(ui, Icon::Close, "Dismiss", None, true).clicked() {
                        commands.push(Command::Dismiss(notice.id));
                    }
                    if ui.button("Copy").clicked() {
                        commands.push(Command::Copy(notice.text.clone()));
                    }
                    if let Some(dtype) = notice.smaller {
                        let load = ui.button(format!("Hold the model as {}", dtype.name()));
                        if load.on_hover_text(format!("Load it again: {}", dtype.about())).clicked() {
                            commands.push(Command::Models(ModelsCommand::Hold(dtype)));
                            commands.push(Command::Dismiss(notice.id));
                        }
                    }
                    ui.with_layout(Layout::left_to_right(egui::Align::Center), |ui| {
                        let text = RichText::new(&notice.text).color(theme::TEXT);
                        ui.add(Label::new(text).wrap().selectable(true));
                    });
                });
            });
        });
        let edge = shown.response.rect;
        let bar = egui::Rect::from_min_max(edge.min, egui::pos2(edge.left() + 4.0, edge.bottom() - 6.0));
        ui.painter().rect_filled(bar, 2, color);
    }
}
