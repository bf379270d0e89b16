//! The text that the words become, with the parts coloured, as the checkpoint's template has it. Knows nothing of
//! templates or tokenizers: it gets the pieces.

use egui::text::{LayoutJob, TextFormat};
use egui::{Color32, FontId, RichText, ScrollArea, Ui};

use super::theme;
use crate::gpu::colormap::Modality;
use crate::prompt::{Part, PromptPiece, PromptText};

/// Characters of a piece that are laid out; a longer one says how many are left out.
const MOST_CHARS: usize = 1_200;

/// A field's colour in the whole text, for its name as well.
pub fn color(part: Part) -> Color32 {
    match part {
        Part::System => Color32::from_rgb(148, 163, 184),
        Part::Caption => Color32::from_rgb(230, 159, 130),
        Part::Question => theme::STRONG,
        Part::Context => Color32::from_rgb(150, 200, 170),
        Part::Answer => theme::ACCENT,
        Part::Template => theme::WEAK.gamma_multiply(0.75),
    }
}

/// The disclosure that shows all of it. It stands there before the text is known: what is below stays where it is.
pub fn show(ui: &mut Ui, text: Option<&PromptText>) {
    let title = match text {
        Some(text) => format!("The whole prompt: {} tokens and the media’s", text.tokens()),
        None => "The whole prompt".to_owned(),
    };
    let title = RichText::new(title).small().color(theme::WEAK);
    egui::CollapsingHeader::new(title).id_salt("whole prompt").show_unindented(ui, |ui| {
        let Some(text) = text else {
            ui.label(RichText::new("A model lays it out once it is loaded.").small().color(theme::WEAK));
            return;
        };
        theme::card().fill(theme::INSET).show(ui, |ui| {
            ui.set_width(ui.available_width());
            ScrollArea::vertical().id_salt("prompt text").max_height(200.0).show(ui, |ui| {
                let mut job = LayoutJob::default();
                job.wrap.max_width = ui.available_width();
                for piece in &text.pieces {
                    add(&mut job, piece);
                }
                ui.add(egui::Label::new(job).selectable(true).wrap());
            });
        });
        let most = format!("The model takes {} tokens, media among them.", text.most);
        ui.label(RichText::new(most).small().color(theme::WEAK));
    });
}

fn add(job: &mut LayoutJob, piece: &PromptPiece) {
    let font = FontId::monospace(11.0);
    let color = match piece.part {
        Some(part) => color(part),
        None if piece.medium && piece.text.to_lowercase().contains("audio") => theme::hue(Modality::Audio),
        None if piece.medium => theme::hue(Modality::Video),
        None => theme::WEAK.gamma_multiply(0.6),
    };
    let mut format = TextFormat::simple(font, color);
    if piece.part == Some(Part::Caption) || piece.part == Some(Part::Context) {
        format.background = color.gamma_multiply(0.12);
    }
    let shown: String = piece.text.chars().take(MOST_CHARS).collect();
    let left_out = piece.text.chars().count().saturating_sub(MOST_CHARS);
    job.append(&shown, 0.0, format.clone());
    if left_out > 0 {
        let more = format!(" … {left_out} more characters ");
        job.append(&more, 0.0, TextFormat { italics: true, ..format.clone() });
    }
    if piece.medium {
        job.append(" × tokens ", 0.0, format);
    }
}
