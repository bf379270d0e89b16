//! Exporting: the button, the strip that says how far a video is, and the question for a path where the desktop has no
//! file dialog. Knows nothing of files or encoders.

use std::path::PathBuf;

use egui::{
    Align, Button, Frame, Key, Label, Layout, Margin, Modal, ProgressBar, RichText, Role, Stroke, TextEdit, Ui,
    WidgetInfo,
};

use super::theme;
use crate::command::Command;
use crate::exports::{ExportsCommand, Saving};
use crate::state::{Asked, State, file_name};

/// Writes the clip with the map on show as a video.
pub fn button(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    let why_not = state.why_not_export();
    let response = ui.add_enabled(why_not.is_none(), Button::new("Export video…"));
    let response = if let Some(why) = why_not {
        response.on_disabled_hover_text(why)
    } else {
        let part = if state.export_span().is_some() { "the selection" } else { "the clip" };
        let heat = if state.view.heat { "with the heat map on show" } else { "without the heat map, which is hidden" };
        response.on_hover_text(format!("Write {part} {heat}, and its sound, as MP4  (Ctrl+E)"))
    };
    if response.clicked() {
        commands.push(Command::Exports(ExportsCommand::Video(None)));
    }
}

/// How far the video is that is being written, with a way to stop it.
pub fn strip(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    let Some(job) = &state.exports.job else { return };
    let frame = Frame::new()
        .fill(theme::CARD)
        .stroke(Stroke::new(1.0, theme::LINE))
        .corner_radius(6)
        .inner_margin(Margin { left: 12, right: 6, top: 5, bottom: 5 })
        .outer_margin(Margin { left: 0, right: 0, top: 0, bottom: 6 });
    frame.show(ui, |ui| {
        ui.horizontal(|ui| {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                let stop = ui.add_enabled(!job.stopping, Button::new("Stop"));
                stop.widget_info(|| WidgetInfo::labeled(Role::Button, !job.stopping, "Stop the export"));
                if stop.on_hover_text("Stop writing the video; nothing is left behind").clicked() {
                    commands.push(Command::Exports(ExportsCommand::Stop));
                }
                ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                    let Some(path) = &job.path else {
                        ui.label("Choose where to put the video in the dialog");
                        return;
                    };
                    let line = job.line(state.now_secs);
                    let wide = ui.available_width() > 620.0;
                    let bar = ProgressBar::new(job.share()).desired_height(8.0).fill(theme::ACCENT).corner_radius(4);
                    let bar = bar.desired_width(if wide { 180.0 } else { 90.0 });
                    let response = ui.add(bar);
                    response
                        .widget_info(|| WidgetInfo::labeled(Role::ProgressIndicator, true, format!("Export: {line}")));
                    ui.add_space(4.0);
                    ui.label(RichText::new(&line).color(theme::TEXT));
                    ui.add_space(4.0);
                    ui.add(Label::new(RichText::new(file_name(path)).color(theme::WEAK)).truncate());
                });
            });
        });
    });
}

/// Asks for a path where no dialog can.
pub fn ask(ui: &Ui, state: &State, commands: &mut Vec<Command>) {
    let Some(asked) = &state.exports.asked else { return };
    let modal = Modal::new(egui::Id::unique("save as"))
        .backdrop_color(egui::Color32::from_black_alpha(150))
        .frame(theme::card().inner_margin(20).stroke(Stroke::new(1.0, theme::LINE)))
        .show(ui.ctx(), |ui| question(ui, asked, commands));
    if modal.should_close() {
        commands.push(Command::Exports(ExportsCommand::PutAway));
    }
}

fn question(ui: &mut Ui, asked: &Asked, commands: &mut Vec<Command>) {
    ui.set_width(620.0);
    ui.heading(if asked.what == Saving::Frame { "Save the frame" } else { "Export the video" });
    ui.add_space(4.0);
    let why = "This desktop offers no file dialog (it would take xdg-desktop-portal with a backend such as \
               xdg-desktop-portal-gtk, or zenity). So type where to put the file; one of that name is replaced.";
    ui.add(Label::new(RichText::new(why).color(theme::WEAK)).wrap());
    ui.add_space(8.0);
    let mut path = asked.path.clone();
    let field = ui.add(TextEdit::singleline(&mut path).desired_width(f32::INFINITY).margin(Margin::symmetric(8, 6)));
    let field = field.accessible_name("Path");
    if ui.memory(|m| m.focused().is_none()) && !field.lost_focus() {
        field.request_focus();
    }
    if field.changed() {
        commands.push(Command::Exports(ExportsCommand::Type(path.clone())));
    }
    let entered = field.lost_focus() && ui.input(|i| i.key_pressed(Key::Enter));
    ui.add_space(10.0);
    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
        let name = PathBuf::from(path.trim());
        let text = RichText::new("Save").color(theme::GROUND).font(theme::semibold(13.0));
        let save = ui.add_enabled(!path.trim().is_empty(), Button::new(text).fill(theme::ACCENT));
        if save.clicked() || (entered && !path.trim().is_empty()) {
            commands.push(match asked.what {
                Saving::Frame => Command::SaveFrame(Some(name)),
                Saving::Video => Command::Exports(ExportsCommand::Video(Some(name))),
            });
        }
        if ui.button("Cancel").clicked() {
            commands.push(Command::Exports(ExportsCommand::PutAway));
        }
    });
}
