//! The filmstrip: small pictures of the video side by side on the time axis. Asks for what is in view and draws what is
//! there. Knows nothing of how pictures are made.

use std::collections::HashMap;
use std::sync::Arc;

use egui::{
    Align2, Color32, ColorImage, FontId, Pos2, Rect, Role, Sense, Stroke, StrokeKind, TextureHandle, TextureOptions,
    Ui, WidgetInfo,
};

use super::theme;
use crate::clip::FrameEdit;
use crate::command::Command;
use crate::film::{FilmPicture, FilmView};
use crate::state::State;
use crate::time::Span;

/// What is said where the frames that the model gets are not the file's.
const OWN: &str = "The file's own pictures, unedited";

/// What is said where there are none.
const UNREADABLE: &str = "The video's pictures cannot be read";

/// The strip's height in lanes of a height; 0 where there is no room or no picture.
pub fn height(lanes: f32, picture: bool) -> f32 {
    if picture && lanes >= 140.0 { (lanes * 0.2).clamp(34.0, 52.0).round() } else { 0.0 }
}

/// Textures of the pictures on screen; all others are freed.
#[derive(Default)]
pub struct Textures(HashMap<u64, (Arc<FilmPicture>, TextureHandle)>);

impl Textures {
    fn of(&mut self, ui: &Ui, picture: &Arc<FilmPicture>) -> egui::TextureId {
        if let Some((_, texture)) = self.0.get(&picture.slot).filter(|(p, _)| Arc::ptr_eq(p, picture)) {
            return texture.id();
        }
        let image = ColorImage::from_rgb([picture.width, picture.height], &picture.rgb);
        let texture = ui.ctx().load_texture("filmstrip", image, TextureOptions::LINEAR);
        let id = texture.id();
        self.0.insert(picture.slot, (Arc::clone(picture), texture));
        id
    }
}

/// Draws the part of the strip that `view` shows over `rect`, and asks for what is missing.
pub fn show(ui: &Ui, state: &State, rect: Rect, view: Span, textures: &mut Textures, commands: &mut Vec<Command>) {
    let film = &state.film;
    let response = ui.interact(rect, ui.scope_id().with("filmstrip"), Sense::hover());
    let own = state.clip.frames != FrameEdit::Keep;
    let about = match (&film.failed, own) {
        (Some(_), _) => UNREADABLE,
        (None, true) => OWN,
        (None, false) => "The video's pictures over time",
    };
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, format!("Filmstrip: {about}")));
    // Pictures side by side, each of what is shown in its middle; they stay where they are in time while the view pans.
    let width = (rect.height() * film.aspect()).clamp(10.0, rect.width().max(10.0));
    let secs_per_point = view.duration_secs() / f64::from(rect.width().max(1.0));
    let pitch_secs = secs_per_point * f64::from(width);
    let wanted = FilmView::of(view, pitch_secs);
    if film.view != Some(wanted) {
        commands.push(Command::LookAtFilm(wanted));
    }
    let painter = ui.painter().with_clip_rect(rect.intersect(ui.clip_rect()));
    let first = (view.start_secs / pitch_secs).floor();
    let tiles = (rect.width() / width).ceil() as usize + 1;
    let mut drawn = Vec::with_capacity(tiles);
    for tile in 0..tiles {
        let start_secs = (first + tile as f64) * pitch_secs;
        let middle = (start_secs + pitch_secs / 2.0).min(state.duration_secs().unwrap_or(f64::MAX));
        let Some((picture, itself)) = film.at(wanted.nearest(middle)) else { continue };
        let left = rect.left() + ((start_secs - view.start_secs) / secs_per_point) as f32;
        let place = Rect::from_min_max(Pos2::new(left, rect.top()), Pos2::new(left + width - 1.0, rect.bottom()));
        let whole = Rect::from_min_max(Pos2::ZERO, Pos2::new(1.0, 1.0));
        // A stand-in is dim until the picture itself is there.
        let tint = if itself { Color32::WHITE } else { Color32::from_gray(110) };
        painter.image(textures.of(ui, picture), place, whole, tint);
        drawn.push(picture.slot);
        let under = response.hover_pos().filter(|at| place.contains(*at));
        if let Some(at) = under.filter(|_| itself && !ui.input(|i| i.pointer.any_down())) {
            enlarge(ui, rect, at.x, picture, textures.of(ui, picture));
        }
    }
    textures.0.retain(|slot, _| drawn.contains(slot));
    let hint = match (&film.failed, drawn.is_empty()) {
        (Some(_), true) => Some(UNREADABLE),
        (None, true) => Some("Reading the pictures…"),
        _ => None,
    };
    if let Some(hint) = hint {
        painter.text(rect.center(), Align2::CENTER_CENTER, hint, FontId::proportional(11.0), theme::WEAK);
    } else if own {
        let galley = painter.layout_no_wrap(OWN.to_owned(), FontId::proportional(10.5), theme::TEXT);
        let at = rect.right_bottom() - galley.size() - egui::vec2(8.0, 4.0);
        let back = Rect::from_min_size(at, galley.size()).expand2(egui::vec2(5.0, 2.0));
        painter.rect_filled(back, 3, Color32::from_black_alpha(200));
        painter.galley(at, galley, theme::TEXT);
    }
}

/// The picture under the pointer in all of its pixels, above the strip.
fn enlarge(ui: &Ui, rect: Rect, x: f32, picture: &FilmPicture, texture: egui::TextureId) {
    /// Clear of the ruler.
    const ABOVE: f32 = 20.0;
    let size = egui::vec2(picture.width as f32, picture.height as f32);
    let left = (x - size.x / 2.0).clamp(rect.left(), (rect.right() - size.x).max(rect.left()));
    let place = Rect::from_min_size(Pos2::new(left, rect.top() - ABOVE - size.y), size);
    let layer = egui::LayerId::new(egui::Order::Tooltip, ui.scope_id().with("enlarged"));
    let painter = ui.ctx().layer_painter(layer);
    painter.rect_filled(place.expand(3.0), 4, theme::GROUND);
    painter.rect_stroke(place.expand(3.0), 4, Stroke::new(1.0, theme::LINE), StrokeKind::Outside);
    painter.image(texture, place, Rect::from_min_max(Pos2::ZERO, Pos2::new(1.0, 1.0)), Color32::WHITE);
}
