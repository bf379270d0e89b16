//! Colours, type and spacing of the interface, in one place. Knows nothing of what is shown.

use std::sync::Arc;

use egui::{
    Color32, Context, CornerRadius, FontData, FontDefinitions, FontFamily, FontId, Frame, Margin, Stroke, TextStyle,
    Theme, Vec2, Visuals,
};

use crate::gpu::colormap::Modality;

/// Behind everything.
pub const GROUND: Color32 = Color32::from_rgb(13, 15, 18);
/// Bars and side panels.
pub const PANEL: Color32 = Color32::from_rgb(19, 22, 26);
/// Cards on panels.
pub const CARD: Color32 = Color32::from_rgb(26, 30, 35);
/// Wells: text fields, lanes, the picture's surround.
pub const INSET: Color32 = Color32::from_rgb(9, 11, 13);
/// Hairlines.
pub const LINE: Color32 = Color32::from_rgb(41, 46, 54);
/// Body text.
pub const TEXT: Color32 = Color32::from_rgb(209, 215, 224);
/// Labels and secondary text.
pub const WEAK: Color32 = Color32::from_rgb(140, 149, 162);
/// Headings and values.
pub const STRONG: Color32 = Color32::from_rgb(244, 246, 249);
/// The one accent: focus, the main button, the playhead.
pub const ACCENT: Color32 = Color32::from_rgb(167, 139, 250);
/// What failed.
pub const ERROR: Color32 = Color32::from_rgb(240, 113, 120);

/// Space between unrelated things.
pub const GAP: f32 = 10.0;

const SEMIBOLD: &str = "semibold";

/// A modality's hue.
pub fn hue(modality: Modality) -> Color32 {
    rgb(modality.hue())
}

/// Gamma-encoded RGB in 0…1 as a colour of the interface.
pub fn rgb(c: [f32; 3]) -> Color32 {
    let [r, g, b] = c.map(|x| (x.clamp(0.0, 1.0) * 255.0).round() as u8);
    Color32::from_rgb(r, g, b)
}

/// A colour of the interface as gamma-encoded RGB in 0…1, for the shaders.
pub fn to_rgb(c: Color32) -> [f32; 3] {
    [c.r(), c.g(), c.b()].map(|x| f32::from(x) / 255.0)
}

/// The heavier face at `size` points.
pub fn semibold(size: f32) -> FontId {
    FontId::new(size, FontFamily::Name(SEMIBOLD.into()))
}

/// A card.
pub fn card() -> Frame {
    Frame::new().fill(CARD).corner_radius(8).inner_margin(Margin::symmetric(12, 10))
}

/// Installs fonts, sizes and colours.
pub fn install(ctx: &Context) {
    ctx.set_fonts(fonts());
    ctx.set_theme(Theme::Dark);
    ctx.all_styles_mut(|style| {
        let regular = |size| FontId::new(size, FontFamily::Proportional);
        style.text_styles = [
            (TextStyle::Heading, semibold(16.0)),
            (TextStyle::Body, regular(13.0)),
            (TextStyle::Button, regular(13.0)),
            (TextStyle::Small, regular(11.0)),
            (TextStyle::Monospace, FontId::new(12.0, FontFamily::Monospace)),
        ]
        .into();
        style.spacing.item_spacing = Vec2::new(8.0, 6.0);
        style.spacing.button_padding = Vec2::new(10.0, 5.0);
        style.spacing.interact_size = Vec2::new(28.0, 26.0);
        style.spacing.text_edit_width = 120.0;
        style.spacing.scroll = egui::style::ScrollStyle::thin();
        style.interaction.tooltip_delay = 0.4;
        style.interaction.selectable_labels = false;
        style.visuals = visuals();
    });
}

fn visuals() -> Visuals {
    let mut v = Visuals::dark();
    let radius = CornerRadius::same(6);
    v.panel_fill = PANEL;
    v.window_fill = CARD;
    v.window_stroke = Stroke::new(1.0, LINE);
    v.window_corner_radius = CornerRadius::same(10);
    v.menu_corner_radius = CornerRadius::same(8);
    v.extreme_bg_color = INSET;
    v.text_edit_bg_color = Some(INSET);
    v.faint_bg_color = CARD;
    v.code_bg_color = INSET;
    v.error_fg_color = ERROR;
    v.hyperlink_color = ACCENT;
    v.weak_text_color = Some(WEAK);
    v.slider_trailing_fill = true;
    v.handle_shape = egui::style::HandleShape::Circle;
    v.selection.bg_fill = Color32::from_rgb(76, 62, 128);
    v.selection.stroke = Stroke::new(1.0, STRONG);
    let set = |w: &mut egui::style::WidgetVisuals, fill: Color32, line: Color32, text: Color32| {
        w.bg_fill = fill;
        w.weak_bg_fill = fill;
        w.bg_stroke = Stroke::new(1.0, line);
        w.fg_stroke = Stroke::new(1.0, text);
        w.corner_radius = radius;
        w.expansion = 0.0;
    };
    set(&mut v.widgets.noninteractive, PANEL, LINE, TEXT);
    set(&mut v.widgets.inactive, Color32::from_rgb(38, 43, 50), Color32::from_rgb(54, 60, 70), TEXT);
    set(&mut v.widgets.hovered, Color32::from_rgb(48, 54, 63), Color32::from_rgb(62, 69, 80), STRONG);
    set(&mut v.widgets.active, Color32::from_rgb(58, 65, 76), ACCENT, STRONG);
    set(&mut v.widgets.open, Color32::from_rgb(48, 54, 63), Color32::from_rgb(62, 69, 80), STRONG);
    v
}

/// Inter in two weights before egui's own faces, which have the symbols. For Chinese, Japanese and Korean a font of the
/// system is added behind them when it is needed (`app/fonts.rs`).
fn fonts() -> FontDefinitions {
    let mut fonts = FontDefinitions::default();
    let mut add = |name: &str, bytes: &'static [u8]| {
        fonts.font_data.insert(name.to_owned(), Arc::new(FontData::from_static(bytes)));
    };
    add("Inter", include_bytes!("../../assets/fonts/Inter-Regular.ttf"));
    add("Inter SemiBold", include_bytes!("../../assets/fonts/Inter-SemiBold.ttf"));
    let others = fonts.families.get(&FontFamily::Proportional).cloned().unwrap_or_default();
    let with = |first: &str| std::iter::once(first.to_owned()).chain(others.iter().cloned()).collect();
    fonts.families.insert(FontFamily::Proportional, with("Inter"));
    fonts.families.insert(FontFamily::Name(SEMIBOLD.into()), with("Inter SemiBold"));
    fonts
}
