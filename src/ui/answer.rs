//! The answer: stages with times, the tokens as they come (point at one for its maps, click to keep them), the bar of
//! the three senses, the prompt's words shaded by attention, and the legend with numbers. Knows nothing of models.

use std::sync::Arc;

use egui::text::{LayoutJob, TextFormat};
use egui::{
    Align, Align2, Color32, CornerRadius, FontId, Galley, Layout, Pos2, Rect, RichText, Role, ScrollArea, Sense,
    Stroke, StrokeKind, Ui, Vec2, WidgetInfo,
};

use super::player::overlay_style;
use super::theme;
use crate::capture::Share;
use crate::command::Command;
use crate::event::{AnswerToken, Finish, Stage};
use crate::gpu::colormap::{ColorMap, Modality};
use crate::provenance::{Kind, Source};
use crate::settings::View;
use crate::state::{End, Run, State};

/// Most prompt tokens laid out as words; a longer prompt says how many are left out.
const MOST_WORDS: usize = 1_500;

/// All cards under the question.
pub fn show(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    answer_card(ui, state, commands);
    share_card(ui, state);
    words_card(ui, state);
    map_card(ui, state, commands);
}

fn card<R>(ui: &mut Ui, title: &str, aside: Option<String>, contents: impl FnOnce(&mut Ui) -> R) -> R {
    theme::card()
        .show(ui, |ui| {
            ui.set_width(ui.available_width());
            ui.horizontal(|ui| {
                ui.label(RichText::new(title).font(theme::semibold(12.5)).color(theme::STRONG));
                if let Some(aside) = aside {
                    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                        ui.add(egui::Label::new(RichText::new(aside).small().color(theme::WEAK)).truncate());
                    });
                }
            });
            contents(ui)
        })
        .inner
}

fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Decode => "decode",
        Stage::Vision => "vision",
        Stage::Audio => "audio",
        Stage::Prefill => "prefill",
        Stage::Answer => "tokens",
    }
}

fn seconds(secs: f64) -> String {
    if secs < 9.95 { format!("{secs:.1} s") } else { format!("{secs:.0} s") }
}

/// Stages with their times; the running one counts up.
pub fn stage_line(run: &Run, now_secs: f64) -> String {
    let mut parts: Vec<String> = Vec::new();
    for (i, (stage, at)) in run.stages.iter().enumerate() {
        let last = i + 1 == run.stages.len();
        if last && run.end.is_some() {
            break; // The end mark.
        }
        let until = run.stages.get(i + 1).map_or(now_secs, |next| next.1);
        let what = match (stage, run.tokens.len()) {
            (Stage::Answer, 1) => "1 token".to_owned(),
            (Stage::Answer, n) => format!("{n} tokens"),
            (stage, _) => stage_name(*stage).to_owned(),
        };
        let mark = if last { "…" } else { "" };
        parts.push(format!("{what}{mark} {}", seconds(until - at)));
    }
    match &run.end {
        Some(End::Answered(answer)) => {
            if answer.tokens_per_s > 0.0 {
                parts.push(format!("{:.1} tokens/s", answer.tokens_per_s));
            }
            if answer.reuse.prefix_tokens > 0 {
                parts.push(format!("{} prompt tokens reused", answer.reuse.prefix_tokens));
            }
        }
        Some(End::Stopped) => parts.push("stopped".to_owned()),
        Some(End::Failed) => parts.push("failed".to_owned()),
        None if parts.is_empty() => parts.push(format!("waiting… {}", seconds(now_secs - run.started_secs))),
        None => {}
    }
    // A line breaks between parts, never within one.
    parts.iter().map(|part| part.replace(' ', "\u{a0}")).collect::<Vec<_>>().join("  · ")
}

fn answer_card(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    let aside = match state.run.as_ref().and_then(|r| r.end.as_ref()) {
        Some(End::Answered(a)) if a.finish == Finish::Cancelled => Some("stopped".to_owned()),
        Some(End::Answered(a)) if a.tokens.is_empty() => Some("the model ended it at once, without a word".to_owned()),
        Some(End::Answered(a)) if a.finish == Finish::Length => Some("cut at the token limit".to_owned()),
        _ if state.locked.is_some() => Some("token kept — Esc lets go".to_owned()),
        _ => None,
    };
    card(ui, "Answer", aside, |ui| {
        let Some(run) = &state.run else {
            let text = "The answer streams in here, token by token. Each token can show what it attended to.";
            ui.label(RichText::new(text).small().color(theme::WEAK));
            return;
        };
        let line = RichText::new(stage_line(run, state.now_secs)).small().color(theme::WEAK);
        ui.add(egui::Label::new(line).wrap());
        if state.changed_since_asked() {
            let hint = "Words, sound, picture or model have changed since: ask again";
            ui.label(RichText::new(hint).small().color(theme::ACCENT));
        }
        ScrollArea::vertical().id_salt("answer").max_height(150.0).stick_to_bottom(run.running()).show(ui, |ui| {
            tokens(ui, state, run, commands);
        });
    });
}

fn tokens(ui: &mut Ui, state: &State, run: &Run, commands: &mut Vec<Command>) {
    let mut hovered = None;
    let lock = state.locked;
    ui.scope(|ui| {
        ui.spacing_mut().item_spacing = Vec2::new(1.0, 4.0);
        ui.horizontal_wrapped(|ui| {
            for (i, token) in run.tokens.iter().enumerate() {
                if token.text.is_empty() {
                    continue;
                }
                let galley = token_galley(ui, token);
                let size = Vec2::new(galley.size().x + 2.0, 25.0);
                let (rect, response) = ui.allocate_exact_size(size, Sense::click());
                response.widget_info(|| {
                    WidgetInfo::selected(
                        Role::Button,
                        true,
                        lock == Some(i),
                        format!("Answer token {}: {}", i + 1, token.text),
                    )
                });
                if response.hovered() || response.has_focus() {
                    hovered = Some(i);
                }
                if response.clicked() {
                    commands.push(Command::Lock((lock != Some(i)).then_some(i)));
                }
                let focus = state.focus() == Some(i);
                if ui.is_rect_visible(rect) {
                    if focus {
                        ui.painter().rect_filled(rect, 3, theme::ACCENT.gamma_multiply(0.30));
                    }
                    if lock == Some(i) {
                        ui.painter().rect_stroke(rect, 3, Stroke::new(1.0, theme::ACCENT), StrokeKind::Inside);
                    }
                    ui.painter().galley(
                        Pos2::new(rect.left() + 1.0, rect.bottom() - 6.0 - galley.size().y),
                        galley,
                        theme::STRONG,
                    );
                    let bar = Rect::from_min_max(
                        Pos2::new(rect.left() + 1.0, rect.bottom() - 3.0),
                        rect.max - Vec2::new(1.0, 0.0),
                    );
                    segments(ui, bar, token.share, 0);
                }
                response.on_hover_ui(|ui| {
                    let p = token.logprob.exp() * 100.0;
                    let text = token.text.escape_debug();
                    ui.label(format!("“{text}”   token {}   p = {p:.1} %   ln p = {:.3}", token.id, token.logprob));
                    ui.label(RichText::new(share_text(token.share)).small().color(theme::WEAK));
                });
                if token.text.ends_with('\n') {
                    ui.end_row();
                }
            }
            if run.running() {
                let (rect, _) = ui.allocate_exact_size(Vec2::new(9.0, 19.0), Sense::hover());
                let on = (state.now_secs * 2.0) as i64 % 2 == 0;
                if on {
                    let caret = Rect::from_center_size(rect.center(), Vec2::new(7.0, 15.0));
                    ui.painter().rect_filled(caret, 1, theme::ACCENT);
                }
            }
        });
    });
    if hovered != state.hovered {
        commands.push(Command::Hover(hovered));
    }
}

/// A token as it is written; one that no face can write stands as its number.
fn token_galley(ui: &Ui, token: &AnswerToken) -> Arc<Galley> {
    let writable = |c: char| !(c.is_control() || c == char::REPLACEMENT_CHARACTER);
    if token.text.chars().any(writable) {
        let text: String = token.text.chars().filter(|c| writable(*c)).collect();
        ui.painter().layout_no_wrap(text, FontId::proportional(15.0), theme::STRONG)
    } else {
        ui.painter().layout_no_wrap(format!("#{}", token.id), FontId::proportional(10.0), theme::WEAK)
    }
}

fn share_text(share: Share) -> String {
    format!(
        "Video {:.1} %   Audio {:.1} %   Text {:.1} %",
        share.video * 100.0,
        share.audio * 100.0,
        share.text * 100.0
    )
}

fn parts(share: Share) -> [(Modality, f64); 3] {
    [(Modality::Video, share.video), (Modality::Audio, share.audio), (Modality::Text, share.text)]
}

/// A bar of the three senses, hues side by side.
fn segments(ui: &Ui, rect: Rect, share: Share, radius: u8) {
    let mut x = rect.left();
    let total = (share.video + share.audio + share.text).max(1e-9);
    for (i, (modality, part)) in parts(share).into_iter().enumerate() {
        let width = rect.width() * (part / total) as f32;
        let r = Rect::from_min_max(Pos2::new(x, rect.top()), Pos2::new(x + width, rect.bottom()));
        let corners = CornerRadius {
            nw: if i == 0 { radius } else { 0 },
            sw: if i == 0 { radius } else { 0 },
            ne: if i == 2 { radius } else { 0 },
            se: if i == 2 { radius } else { 0 },
        };
        ui.painter().rect_filled(r, corners, theme::hue(modality));
        x += width;
    }
}

fn share_card(ui: &mut Ui, state: &State) {
    let Some(shown) = state.shown() else { return };
    let Some(run) = &state.run else { return };
    let aside = match shown.token {
        Some(t) => format!("token {} “{}”", t + 1, run.tokens[t].text.trim()),
        None => "mean over the answer".to_owned(),
    };
    card(ui, "Attention share", Some(aside), |ui| {
        let (rect, response) = ui.allocate_exact_size(Vec2::new(ui.available_width(), 22.0), Sense::hover());
        response.widget_info(|| {
            WidgetInfo::labeled(Role::Meter, true, format!("Attention share: {}", share_text(shown.share)))
        });
        segments(ui, rect, shown.share, 5);
        let mut x = rect.left();
        for (modality, part) in parts(shown.share) {
            let width = rect.width() * part as f32;
            if width > 18.0 {
                let at = Pos2::new(x + width / 2.0, rect.center().y);
                let ink = Color32::from_rgb(10, 12, 14);
                ui.painter().text(at, Align2::CENTER_CENTER, modality.letter(), theme::semibold(12.0), ink);
            }
            x += width;
        }
        let counts = run.counts();
        let density = shown.share.density(counts);
        ui.columns_const(|columns: &mut [Ui; 3]| {
            let rows = parts(shown.share).into_iter().zip(parts(density)).zip(counts);
            for (ui, (((modality, part), (_, per_token)), count)) in columns.iter_mut().zip(rows) {
                ui.spacing_mut().item_spacing = Vec2::new(5.0, 1.0);
                ui.horizontal(|ui| {
                    let (dot, _) = ui.allocate_exact_size(Vec2::splat(8.0), Sense::hover());
                    ui.painter().rect_filled(dot, 2, theme::hue(modality));
                    ui.label(RichText::new(modality.label()).small().color(theme::WEAK));
                });
                let value = format!("{:.1} %", part * 100.0);
                ui.label(RichText::new(value).font(theme::semibold(15.0)).color(theme::STRONG));
                let note = RichText::new(format!("{per_token:.2}× per token")).small().color(theme::WEAK);
                ui.label(note).on_hover_text(format!(
                    "Share of attention ÷ share of tokens: 1 is an even spread. {count} prompt tokens."
                ));
            }
        });
    });
}

fn words_card(ui: &mut Ui, state: &State) {
    let Some(run) = &state.run else { return };
    let Some(provenance) = &run.provenance else { return };
    let [video, audio, text] = run.counts();
    let aside = format!("{video} video · {audio} audio · {text} text tokens");
    card(ui, "Prompt", Some(aside), |ui| {
        let weights = state.shown().filter(|_| state.view.heat).map(|s| &s.map.words[..]).unwrap_or_default();
        let is_word = |i: usize| matches!(provenance.tokens.get(i).map(|t| &t.source), Some(Source::Text { .. }));
        let scale = weights.iter().enumerate().filter(|(i, _)| is_word(*i)).map(|(_, w)| *w).fold(0.0, f32::max);
        let map = overlay_style(&state.view).map;
        let mut job = LayoutJob::default();
        job.wrap.max_width = ui.available_width();
        let font = FontId::proportional(12.5);
        let mut words = 0;
        let mut left_out = 0;
        let mut medium: Option<(Kind, usize)> = None;
        let flush = |job: &mut LayoutJob, medium: &mut Option<(Kind, usize)>| {
            if let Some((kind, count)) = medium.take() {
                let (modality, name) =
                    if kind == Kind::Video { (Modality::Video, "video") } else { (Modality::Audio, "audio") };
                let format =
                    TextFormat { color: theme::hue(modality), ..TextFormat::simple(font.clone(), theme::TEXT) };
                job.append(&format!(" [{count} {name}] "), 0.0, format);
            }
        };
        for (i, token) in provenance.tokens.iter().enumerate() {
            match token.source.kind() {
                kind @ (Kind::Video | Kind::Audio) => {
                    if medium.is_some_and(|(k, _)| k != kind) {
                        flush(&mut job, &mut medium);
                    }
                    medium = Some((kind, medium.map_or(0, |(_, n)| n) + 1));
                }
                kind => {
                    flush(&mut job, &mut medium);
                    words += 1;
                    if words > MOST_WORDS {
                        left_out += 1;
                        continue;
                    }
                    let mut format = TextFormat::simple(font.clone(), theme::TEXT);
                    if kind == Kind::Special {
                        format.color = theme::WEAK.gamma_multiply(0.6);
                        format.font_id = FontId::proportional(10.5);
                    } else if let (Some(w), true) = (weights.get(i), scale > 0.0) {
                        let level = (w / scale).clamp(0.0, 1.0).powf(state.view.gamma);
                        format.background = theme::rgb(map.rgb(level)).gamma_multiply(0.15 + 0.75 * level);
                        format.color = if level > 0.6 { theme::GROUND } else { theme::TEXT };
                    }
                    job.append(&token.text.replace('\n', " "), 0.0, format);
                }
            }
        }
        flush(&mut job, &mut medium);
        ScrollArea::vertical().id_salt("prompt").max_height(96.0).show(ui, |ui| {
            ui.add(egui::Label::new(job).wrap());
        });
        if left_out > 0 {
            ui.label(RichText::new(format!("{left_out} more tokens")).small().color(theme::WEAK));
        }
    });
}

fn map_card(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    let mut view = state.view;
    card(ui, "Heat map", None, |ui| {
        if let Some(shown) = state.shown() {
            legend(ui, &view, shown.video_scale, shown.audio_scale);
        }
        ui.horizontal(|ui| {
            ui.checkbox(&mut view.heat, "Show");
            ui.checkbox(&mut view.smooth, "Smooth").on_hover_text(
                "Interpolate between cells. It looks finer than what the model has: one value per cell.",
            );
            ui.checkbox(&mut view.lines, "Grid");
            let label = ColorMap::ALL[view.map.min(2)].label();
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                let combo = egui::ComboBox::from_id_salt("colour map").selected_text(label).width(86.0);
                let response = combo.show_ui(ui, |ui| {
                    for (i, map) in ColorMap::ALL.iter().enumerate() {
                        ui.selectable_value(&mut view.map, i, map.label());
                    }
                });
                response.response.accessible_name("Colour map");
            });
        });
        let slider = |ui: &mut Ui, name: &str, value: &mut f32, range: std::ops::RangeInclusive<f32>| {
            ui.horizontal(|ui| {
                let label = ui.allocate_ui(Vec2::new(64.0, 18.0), |ui| {
                    ui.set_min_width(64.0);
                    ui.label(RichText::new(name).small().color(theme::WEAK))
                });
                ui.spacing_mut().interact_size.y = 20.0;
                ui.spacing_mut().slider_width = (ui.available_width() - 60.0).max(60.0);
                ui.add(egui::Slider::new(value, range).fixed_decimals(2)).labelled_by(label.inner.id);
            });
        };
        slider(ui, "Opacity", &mut view.opacity, 0.0..=1.0);
        slider(ui, "Gamma", &mut view.gamma, 0.3..=3.0);
        slider(ui, "Clip at", &mut view.clip_quantile, 0.9..=1.0);
    });
    if view != state.view {
        commands.push(Command::SetView(Box::new(view)));
    }
}

/// The colour map with the numbers at its ends and the name of its normalisation.
fn legend(ui: &mut Ui, view: &View, video_scale: f32, audio_scale: f32) {
    let map = overlay_style(view).map;
    let (rect, response) = ui.allocate_exact_size(Vec2::new(ui.available_width(), 10.0), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, "Colour scale"));
    let columns = 48;
    for i in 0..columns {
        let x = |i: usize| rect.left() + rect.width() * i as f32 / columns as f32;
        let cell = Rect::from_min_max(Pos2::new(x(i), rect.top()), Pos2::new(x(i + 1) + 0.5, rect.bottom()));
        let level = ((i as f32 + 0.5) / columns as f32).powf(view.gamma);
        ui.painter().rect_filled(cell, 0, theme::rgb(map.rgb(level)));
    }
    let small = |text: String| RichText::new(text).small().color(theme::WEAK);
    ui.horizontal(|ui| {
        ui.label(small("0".to_owned()));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.label(small(format!("V ≥ {}   A ≥ {}", percent(video_scale), percent(audio_scale))));
        });
    });
    let quantile = if view.clip_quantile >= 1.0 {
        "the largest cell".to_owned()
    } else {
        format!("the {:.1}th percentile of cells", view.clip_quantile * 100.0)
    };
    let text = format!("Attention share per token, mean over layers and heads, scaled to {quantile}");
    ui.add(egui::Label::new(small(text)).wrap());
}

fn percent(weight: f32) -> String {
    let p = weight * 100.0;
    if p >= 1.0 { format!("{p:.1} %") } else { format!("{p:.3} %") }
}
