//! The window's contents: panels that read [`State`] and return [`Command`]s. Nothing here changes anything, waits for
//! anything, or knows media, models or the engine; frames come in as planes and leave through `gpu`.

pub mod answer;
mod ask;
mod export;
mod filmstrip;
mod icons;
mod keys;
pub mod lanes;
mod notices;
mod palette;
mod picker;
pub mod player;
mod saw;
mod selection;
mod sources;
pub mod theme;
mod words;

use std::sync::Arc;

use egui::{Align, CentralPanel, Frame, Layout, Margin, Panel, RichText, ScrollArea, Stroke, Ui};

use crate::command::{Command, ModelsCommand, keys_of};
use crate::event::FileUse;
use crate::frame::Planes;
use crate::state::{Media, Model, State, file_name};

/// What is drawn besides the state.
#[derive(Clone, Default)]
pub struct Scene {
    /// The frame on screen.
    pub frame: Option<Arc<dyn Planes>>,
    /// What is drawn in its place: a smaller picture that is nearer to where a hand moves.
    pub stand_in: Option<Arc<dyn Planes>>,
}

/// What panels keep between frames: nothing but reductions of what the state holds.
#[derive(Default)]
pub struct Memory {
    lanes: lanes::Cache,
    saw: saw::Cache,
    palette: palette::Search,
    screen: player::Screen,
}

/// Draws everything and returns what the user wants, in order.
pub fn show(ui: &mut Ui, state: &State, scene: &Scene, memory: &mut Memory) -> Vec<Command> {
    let mut commands = keys::commands(ui.ctx(), state);
    let dropped = ui.ctx().input(|i| i.raw.dropped_files.iter().map(|file| file.path().to_owned()).collect::<Vec<_>>());
    if !dropped.is_empty() {
        commands.push(Command::Use(FileUse::ByContent, dropped));
    }
    if state.fullscreen {
        CentralPanel::default().frame(Frame::new().fill(theme::GROUND)).show(ui, |ui| {
            export::strip(ui, state, &mut commands);
            notices::show(ui, state, &mut commands);
            view(ui, state, scene, memory, &mut commands);
            player::over_picture(ui, state, &mut memory.screen, &mut commands);
        });
    } else {
        windowed(ui, state, scene, memory, &mut commands);
    }
    if state.models.open {
        picker::show(ui, state, &mut commands);
    }
    if state.key_sheet && keys::sheet(ui) {
        commands.push(Command::ToggleKeySheet);
    }
    export::ask(ui, state, &mut commands);
    palette::show(ui, state, &mut memory.palette, &mut commands);
    player::drag_hint(ui, state);
    commands
}

fn windowed(ui: &mut Ui, state: &State, scene: &Scene, memory: &mut Memory, commands: &mut Vec<Command>) {
    let size = ui.available_size();
    let bar = Frame::new().fill(theme::PANEL).inner_margin(Margin::symmetric(14, 0));
    Panel::top("top bar").exact_size(42.0).frame(bar.stroke(Stroke::NONE)).show(ui, |ui| top_bar(ui, state, commands));
    let side = Frame::new().fill(theme::PANEL).inner_margin(Margin { left: 10, right: 4, top: 2, bottom: 10 });
    Panel::right("question and answer")
        .exact_size((size.x * 0.31).clamp(380.0, 520.0))
        .resizable(false)
        .show_separator_line(false)
        .frame(side)
        .show(ui, |ui| {
            // As wide with a scroll bar as without.
            let width = ui.available_width() - ui.spacing().scroll.floating_allocated_width - 4.0;
            ScrollArea::vertical().id_salt("side").auto_shrink([false, false]).show(ui, |ui| {
                ui.set_max_width(width);
                ui.spacing_mut().item_spacing.y = 6.0;
                ask::show(ui, state, commands);
                answer::show(ui, state, commands);
            });
        });
    let picture = Frame::new().fill(theme::GROUND).inner_margin(Margin { left: 12, right: 12, top: 2, bottom: 2 });
    if state.media == Media::Empty {
        CentralPanel::default().frame(picture.inner_margin(12)).show(ui, |ui| {
            export::strip(ui, state, commands);
            notices::show(ui, state, commands);
            player::picture(ui, state, scene, commands);
        });
        return;
    }
    let lanes_frame = Frame::new().fill(theme::GROUND).inner_margin(Margin { left: 14, right: 12, top: 4, bottom: 10 });
    Panel::bottom("time lanes")
        .exact_size((size.y * 0.31).clamp(170.0, 360.0))
        .resizable(false)
        .show_separator_line(false)
        .frame(lanes_frame)
        .show(ui, |ui| lanes::show(ui, state, &mut memory.lanes, commands));
    let transport = Frame::new().fill(theme::GROUND).inner_margin(Margin::symmetric(12, 0));
    Panel::bottom("transport")
        .exact_size(38.0)
        .show_separator_line(false)
        .frame(transport)
        .show(ui, |ui| player::transport(ui, state, commands));
    CentralPanel::default().frame(picture).show(ui, |ui| {
        export::strip(ui, state, commands);
        notices::show(ui, state, commands);
        view(ui, state, scene, memory, commands);
    });
}

/// The video, or what the model saw of it, and the switch between the two.
fn view(ui: &mut Ui, state: &State, scene: &Scene, memory: &mut Memory, commands: &mut Vec<Command>) {
    let area = ui.available_rect_before_wrap();
    if state.view.model_view {
        saw::show(ui, state, &mut memory.saw, commands);
    } else {
        player::picture(ui, state, scene, commands);
    }
    if matches!(state.media, Media::Open { .. }) {
        saw::switch(ui, state, area, commands);
    }
}

fn top_bar(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    ui.horizontal_centered(|ui| {
        ui.label(RichText::new("Modalens").font(theme::semibold(15.0)).color(theme::STRONG));
        ui.add_space(6.0);
        let open = ui.button("Open video…");
        if open
            .on_hover_text(tooltip("Open a video, a picture or a sound file", &Command::Choose(FileUse::Clip)))
            .clicked()
        {
            commands.push(Command::Choose(FileUse::Clip));
        }
        export::button(ui, state, commands);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let help = Command::ToggleKeySheet;
            if icons::button(ui, icons::Icon::Help, "Keys", keys_of(&help), true).clicked() {
                commands.push(help);
            }
            let [undo, redo] = state.can_undo();
            for (icon, label, command, enabled) in
                [(icons::Icon::Redo, "Redo", Command::Redo, redo), (icons::Icon::Undo, "Undo", Command::Undo, undo)]
            {
                if icons::button(ui, icon, label, keys_of(&command), enabled).clicked() {
                    commands.push(command);
                }
            }
            model(ui, state, commands);
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                if let Some(title) = state.title() {
                    ui.add_space(4.0);
                    ui.label(RichText::new(player::shorten(&title, 48)).color(theme::STRONG));
                    if let Some(facts) = &state.facts {
                        let summary = RichText::new(&facts.summary).small().color(theme::WEAK);
                        ui.add(egui::Label::new(summary).truncate());
                    }
                }
            });
        });
    });
}

/// The model's name, which opens the choice of models, its badges, and a download on its way. Right to left.
fn model(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    let toggle = Command::Models(ModelsCommand::Toggle);
    let name = match &state.model {
        Model::None | Model::Failed => "none".to_owned(),
        Model::Loading { id } => short_id(id),
        Model::Ready(info) => short_id(&info.id),
    };
    let button = ui.button(format!("Model: {name}"));
    if button.on_hover_text(tooltip("Choose, fetch or open a model", &toggle)).clicked() {
        commands.push(toggle);
    }
    match &state.model {
        Model::None => {}
        Model::Failed => badge(ui, "not loaded", theme::ERROR),
        Model::Loading { .. } => {
            badge(ui, "loading", theme::ACCENT);
            ui.add(egui::Spinner::new().size(13.0).color(theme::ACCENT));
        }
        Model::Ready(info) => {
            badge(ui, &info.device, theme::WEAK);
            badge(ui, &info.dtype, theme::WEAK);
        }
    }
    if let Some((text, failed)) = state.models.badge() {
        badge(ui, &text, if failed { theme::ERROR } else { theme::ACCENT });
    }
}

fn short_id(id: &str) -> String {
    let name = if id.split('/').count() > 2 { file_name(std::path::Path::new(id)) } else { id.to_owned() };
    player::shorten(&name, 28)
}

/// A word in a rounded outline.
fn badge(ui: &mut Ui, text: &str, color: egui::Color32) {
    let galley = ui.painter().layout_no_wrap(text.to_owned(), egui::FontId::proportional(11.0), color);
    let size = galley.size() + egui::vec2(16.0, 6.0);
    let (rect, response) = ui.allocate_exact_size(size, egui::Sense::hover());
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, text));
    let stroke = Stroke::new(1.0, theme::LINE);
    ui.painter().rect_stroke(rect, rect.height() / 2.0, stroke, egui::StrokeKind::Inside);
    ui.painter().galley(rect.center() - galley.size() / 2.0, galley, color);
}

/// A tooltip with the keys that do the same.
fn tooltip(text: &str, command: &Command) -> String {
    keys_of(command).map_or_else(|| text.to_owned(), |keys| format!("{text}  ({keys})"))
}
