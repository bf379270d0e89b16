//! The models: what is here, what can be fetched, and how far a download is. Knows nothing of hubs, files or memory; what a
//! model needs is a line that comes with it.

use egui::{
    Align, Button, Frame, Label, Layout, Margin, Modal, ProgressBar, RichText, ScrollArea, Stroke, TextEdit, Ui,
};

use super::icons::{self, Icon};
use super::theme;
use crate::command::{Command, ModelsCommand};
use crate::download::{Choice, ChoiceKind, Step, bytes_text};
use crate::event::FileUse;
use crate::settings::Dtype;
use crate::state::{Download, DownloadStage, Model, State};

/// Width of the sheet in points.
const WIDTH: f32 = 580.0;

/// The sheet's distance from the window's upper edge in points. It hangs there instead of sitting in the middle, so that
/// nothing moves from under the pointer when the list of models arrives or grows.
const TOP: f32 = 60.0;

/// The sheet over everything else.
pub fn show(ui: &Ui, state: &State, commands: &mut Vec<Command>) {
    let frame = theme::card().inner_margin(20).stroke(Stroke::new(1.0, theme::LINE));
    let height = ui.ctx().content_rect().height();
    let id = egui::Id::unique("models");
    let modal = Modal::new(id)
        .area(Modal::default_area(id).anchor(egui::Align2::CENTER_TOP, [0.0, TOP]))
        .backdrop_color(egui::Color32::from_black_alpha(150))
        .frame(frame)
        .show(ui.ctx(), |ui| {
            ui.set_width(WIDTH);
            ui.horizontal(|ui| {
                ui.heading("Models");
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    if icons::button(ui, Icon::Close, "Close models", Some("Esc"), true).clicked() {
                        commands.push(Command::Models(ModelsCommand::Toggle));
                    }
                    form(ui, state.models.dtype, commands);
                });
            });
            ui.add_space(4.0);
            if let Some(download) = &state.models.download {
                card(ui, download, commands);
                ui.add_space(6.0);
            }
            let card_height = if state.models.download.is_some() { 180.0 } else { 0.0 };
            let list_height = (height - 250.0 - card_height).max(120.0);
            let list = ScrollArea::vertical().max_height(list_height).min_scrolled_height(list_height);
            list.show(ui, |ui| match &state.models.choices {
                Some(choices) => {
                    for choice in choices {
                        row(ui, state, choice, commands);
                    }
                }
                None => {
                    ui.label(RichText::new("Looking for models").color(theme::WEAK));
                }
            });
            ui.add_space(8.0);
            others(ui, state, commands);
        });
    if modal.should_close() {
        commands.push(Command::Models(ModelsCommand::Toggle));
    }
}

/// How weights are held. Right to left.
fn form(ui: &mut Ui, now: Dtype, commands: &mut Vec<Command>) {
    let label = RichText::new("Weights as").small().color(theme::WEAK);
    let mut chosen = now;
    let list = egui::ComboBox::from_id_salt("weights").selected_text(now.name()).width(64.0).show_ui(ui, |ui| {
        for dtype in Dtype::ALL {
            ui.selectable_value(&mut chosen, dtype, dtype.name()).on_hover_text(dtype.about());
        }
    });
    let label = ui.label(label);
    list.response.labelled_by(label.id).on_hover_text(now.about());
    if chosen != now {
        commands.push(Command::Models(ModelsCommand::Hold(chosen)));
    }
}

/// Width that a row keeps for what can be done with it.
const ACTION: f32 = 96.0;

/// A button that is called otherwise for who does not see what it stands beside.
fn button(ui: &mut Ui, enabled: bool, text: &str, called: &str) -> bool {
    let response = ui.add_enabled(enabled, Button::new(text));
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, enabled, called));
    response.clicked()
}

fn row(ui: &mut Ui, state: &State, choice: &Choice, commands: &mut Vec<Command>) {
    let loaded = matches!(&state.model, Model::Ready(info) if info.id == choice.id);
    let edge = if loaded { theme::ACCENT } else { theme::LINE };
    let frame = Frame::new()
        .fill(theme::INSET)
        .stroke(Stroke::new(1.0, edge))
        .corner_radius(6)
        .inner_margin(Margin::symmetric(12, 8))
        .outer_margin(Margin { left: 0, right: 0, top: 0, bottom: 6 });
    frame.show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.horizontal(|ui| {
            // About as tall as it will be, so that it sits in the middle.
            let words = egui::vec2(ui.available_width() - ACTION, if choice.fit.is_some() { 50.0 } else { 35.0 });
            ui.allocate_ui_with_layout(words, Layout::top_down(Align::Min), |ui| {
                ui.set_width(words.x);
                ui.spacing_mut().item_spacing.y = 2.0;
                let name = if choice.kind == ChoiceKind::Bundled { "Bundled toy model" } else { &choice.id };
                ui.label(RichText::new(name).font(theme::semibold(13.5)).color(theme::STRONG));
                let size = bytes_text(choice.bytes);
                let where_from = match choice.kind {
                    ChoiceKind::Bundled => format!("{size}, knows the toy world only"),
                    ChoiceKind::Complete => format!("{size}, in the hub's cache"),
                    ChoiceKind::Partial => format!("not complete, {size} are here"),
                    ChoiceKind::Suggested => format!("{size} or more to fetch; the size is shown before it starts"),
                };
                ui.add(Label::new(RichText::new(where_from).small().color(theme::WEAK)).truncate());
                // What it needs, and whether that fits.
                if let Some(fit) = &choice.fit {
                    let mut fit = fit.clone();
                    if let Some(first) = fit.get_mut(..1) {
                        first.make_ascii_uppercase();
                    }
                    ui.add(Label::new(RichText::new(fit).small().color(theme::TEXT)).wrap());
                }
            });
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| action(ui, state, choice, loaded, commands));
        });
    });
}

fn action(ui: &mut Ui, state: &State, choice: &Choice, loaded: bool, commands: &mut Vec<Command>) {
    let id = &choice.id;
    let busy = state.models.busy();
    match (&choice.dir, choice.kind) {
        _ if loaded => {
            ui.label(RichText::new("In use").color(theme::ACCENT));
        }
        (Some(dir), _) => {
            if button(ui, true, "Load", &format!("Load {id}")) {
                commands.push(Command::Models(ModelsCommand::Load(id.clone(), dir.clone())));
            }
        }
        (None, kind) => {
            let text = if kind == ChoiceKind::Partial { "Resume…" } else { "Fetch…" };
            if button(ui, !busy, text, &format!("{text} {id}")) {
                commands.push(Command::Models(ModelsCommand::LookUp(id.clone())));
            }
        }
    }
}

/// The download: what it costs, how far it is, what went wrong.
fn card(ui: &mut Ui, download: &Download, commands: &mut Vec<Command>) {
    let failed = matches!(download.stage, DownloadStage::Failed(_));
    let color = if failed { theme::ERROR } else { theme::ACCENT };
    let frame = Frame::new()
        .fill(theme::INSET)
        .stroke(Stroke::new(1.0, color.gamma_multiply(0.7)))
        .corner_radius(6)
        .inner_margin(Margin::symmetric(12, 10));
    frame.show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.label(RichText::new(&download.id).font(theme::semibold(13.5)).color(theme::STRONG));
        let line = |ui: &mut Ui, text: String, color| {
            ui.add(Label::new(RichText::new(text).small().color(color)).wrap().selectable(true));
        };
        let mut room = true;
        if let Some(offer) = &download.offer {
            line(ui, offer.summary(), theme::TEXT);
            line(ui, format!("into {}", offer.place.display()), theme::WEAK);
            if let Some(need) = offer.lacks_room() {
                room = false;
                let text = format!("{} must be free: make room, or set HF_HOME to a larger disk", bytes_text(need));
                line(ui, text, theme::ERROR);
            }
        }
        let started = !matches!(download.stage, DownloadStage::Asking | DownloadStage::Offered);
        if let Some(progress) = download.progress.as_ref().filter(|p| started && p.total_bytes > 0) {
            let bar = ProgressBar::new(progress.share()).desired_height(8.0).fill(color).corner_radius(4);
            // The way that is left can be seen too.
            let bar = ui.scope(|ui| {
                ui.visuals_mut().extreme_bg_color = theme::LINE;
                ui.add(bar)
            });
            let bar = bar.inner;
            let percent = format!("{:.0} % fetched", progress.share() * 100.0);
            bar.widget_info(|| egui::WidgetInfo::labeled(egui::Role::ProgressIndicator, true, &percent));
            let waits = matches!(progress.step, Step::Waiting { .. });
            if !failed {
                line(ui, progress.line(), if waits { theme::ERROR } else { theme::TEXT });
            }
        }
        match &download.stage {
            DownloadStage::Asking => line(ui, "Asking for files and sizes".to_owned(), theme::WEAK),
            DownloadStage::Failed(why) => line(ui, why.clone(), theme::ERROR),
            _ => {}
        }
        ui.add_space(2.0);
        ui.horizontal(|ui| buttons(ui, download, room, commands));
    });
}

fn buttons(ui: &mut Ui, download: &Download, room: bool, commands: &mut Vec<Command>) {
    if download.stage == DownloadStage::Offered {
        let left = download.offer.as_ref().map_or(0, crate::download::Offer::left_bytes);
        let text = format!("Fetch {}", bytes_text(left));
        let (color, fill) = if room { (theme::GROUND, theme::ACCENT) } else { (theme::WEAK, theme::LINE) };
        let button = Button::new(RichText::new(text).font(theme::semibold(13.0)).color(color)).fill(fill);
        if ui.add_enabled(room, button).clicked() {
            commands.push(Command::Models(ModelsCommand::Start));
        }
    }
    let mut offer = |ui: &mut Ui, enabled: bool, text: &str, command: ModelsCommand| {
        if ui.add_enabled(enabled, Button::new(text)).clicked() {
            commands.push(Command::Models(command));
        }
    };
    match &download.stage {
        DownloadStage::Asking | DownloadStage::Offered => offer(ui, true, "Cancel", ModelsCommand::Cancel),
        DownloadStage::Running => {
            offer(ui, true, "Pause", ModelsCommand::Pause);
            offer(ui, true, "Cancel", ModelsCommand::Cancel);
            ui.label(RichText::new("What came is kept either way").small().color(theme::WEAK));
        }
        DownloadStage::Stopping => offer(ui, false, "Pausing", ModelsCommand::Pause),
        DownloadStage::Paused => {
            offer(ui, true, "Resume", ModelsCommand::Start);
            offer(ui, true, "Cancel", ModelsCommand::Cancel);
        }
        DownloadStage::Failed(why) => {
            offer(ui, true, "Try again", ModelsCommand::LookUp(download.id.clone()));
            if ui.button("Copy").clicked() {
                commands.push(Command::Copy(why.clone()));
            }
            if ui.button("Dismiss").clicked() {
                commands.push(Command::Models(ModelsCommand::Cancel));
            }
        }
    }
}

/// Any other checkpoint: by its name, or from a folder.
fn others(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    let mut typed = state.models.typed.clone();
    ui.horizontal(|ui| {
        let name = ui.label(RichText::new("Hub id").small().color(theme::WEAK));
        let hint = RichText::new("organisation/name, or with @revision").color(theme::WEAK.gamma_multiply(0.6));
        let frame = Frame::new().fill(theme::INSET).corner_radius(6).stroke(Stroke::new(1.0, theme::LINE));
        let edit = TextEdit::singleline(&mut typed)
            .hint_text(hint)
            .char_limit(300)
            .desired_width(ui.available_width() - 188.0)
            .frame(frame.inner_margin(Margin::symmetric(8, 5)));
        let response = ui.add(edit).labelled_by(name.id);
        let entered = response.lost_focus() && ui.input(|i| i.key_pressed(egui::Key::Enter));
        let free = !state.models.busy() && !typed.trim().is_empty();
        let clicked = ui.add_enabled(free, Button::new("Look up")).clicked();
        if (entered && free) || clicked {
            commands.push(Command::Models(ModelsCommand::LookUp(typed.trim().to_owned())));
        }
        if ui.button("Open folder…").on_hover_text("Load a checkpoint from a folder").clicked() {
            commands.push(Command::Choose(FileUse::Model));
        }
    });
    if typed != state.models.typed {
        commands.push(Command::Models(ModelsCommand::Type(typed)));
    }
}
