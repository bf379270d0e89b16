//! Where sound and frames come from and what is done to them: the choice in the transport bar, its details, and the
//! badges on the picture that say so. Knows nothing of files or decoding.

use egui::{Button, Color32, DragValue, Popup, PopupCloseBehavior, Rect, RichText, Ui, Vec2};

use super::icons::{self, Icon};
use super::{player, theme};
use crate::clip::{AudioSource, FrameEdit, SoundEdit};
use crate::command::Command;
use crate::event::FileUse;
use crate::gpu::colormap::Modality;
use crate::state::{Media, State, file_name, sound_file};

/// How far a sound can be moved, in seconds.
const FARTHEST_SECS: f64 = 3_600.0;
/// How much louder or quieter a sound can be made, in decibels.
const MOST_DB: f64 = 40.0;

/// Original, none, or another file; behind the last button everything else. Right to left.
pub fn choice(ui: &mut Ui, state: &State, narrow: bool, commands: &mut Vec<Command>) {
    let open = !matches!(state.media, Media::Empty | Media::Broken);
    // A sound alone has its own details, and no picture that another could be swapped in for.
    let enabled = state.clip.video.is_some() && open;
    let audio = &state.clip.audio;
    ui.spacing_mut().item_spacing.x = 3.0;
    let frames = details_button(ui, Icon::Film, "Frames", state.clip.frames != FrameEdit::Keep, enabled);
    let close = PopupCloseBehavior::CloseOnClickOutside;
    Popup::from_toggle_button_response(&frames).close_behavior(close).show(|ui| frame_details(ui, state, commands));
    let changed = state.clip.sound != SoundEdit::default() || audio.is_made_up();
    let sound = details_button(ui, Icon::Sliders, "Sound details", changed, open);
    Popup::from_toggle_button_response(&sound).close_behavior(close).show(|ui| sound_details(ui, state, commands));
    ui.add_enabled_ui(enabled, |ui| {
        let name = match (audio, sound_file(audio)) {
            (AudioSource::Noise { .. }, _) => "Noise".to_owned(),
            (AudioSource::Silence, _) => "Silence".to_owned(),
            (_, Some(file)) => player::shorten(&file_name(file), if narrow { 8 } else { 16 }),
            _ => "File…".to_owned(),
        };
        let other = matches!(audio, AudioSource::File { .. }) || audio.is_made_up();
        let other = ui.add(Button::selectable(other, name)).on_hover_text("Hear another file's sound");
        if other.clicked() {
            commands.push(Command::Choose(FileUse::Sound));
        }
        let none = ui.add(Button::selectable(enabled && *audio == AudioSource::None, "None"));
        if none.on_hover_text("No sound: the model gets the picture alone").clicked() {
            commands.push(Command::SetAudio(AudioSource::None));
        }
        let is_original = matches!(audio, AudioSource::Original { .. });
        let mute = state.facts.as_ref().is_some_and(|f| !f.sound);
        let original = ui.add_enabled(!mute, Button::selectable(is_original, "Original"));
        let original = original.on_disabled_hover_text("The video has no sound of its own");
        if original.on_hover_text("The video's own sound  (hold B to hear it)").clicked() && !is_original {
            commands.push(Command::SetAudio(AudioSource::Original { track: None }));
        }
        if !narrow {
            ui.label(RichText::new("Sound").color(theme::WEAK));
        }
    });
}

/// A button whose icon shows that something behind it is not as it was.
fn details_button(ui: &mut Ui, icon: Icon, label: &str, changed: bool, enabled: bool) -> egui::Response {
    let response = icons::button(ui, icon, label, None, enabled);
    if changed {
        icons::paint(ui.painter(), icon, response.rect.shrink(7.0), theme::ACCENT);
    }
    response
}

fn heading(ui: &mut Ui, text: &str) {
    ui.label(RichText::new(text).font(theme::semibold(12.5)).color(theme::STRONG));
}

fn sound_details(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    ui.set_width(290.0);
    heading(ui, "Sound");
    let picture = state.clip.video.is_some() && state.facts.as_ref().is_none_or(|f| !f.still);
    if let Some((tracks, now)) = state.tracks().filter(|(tracks, _)| tracks.about.len() > 1) {
        for (i, about) in tracks.about.iter().enumerate() {
            if ui.radio(now == i, format!("Track {}: {about}", i + 1)).clicked() && now != i {
                let track = Some(i);
                commands.push(Command::SetAudio(match &state.clip.audio {
                    AudioSource::File { path, .. } => AudioSource::File { path: path.clone(), track },
                    _ => AudioSource::Original { track },
                }));
            }
        }
    }
    let noise = match state.clip.audio {
        AudioSource::Noise { seed, level_db } => Some((seed, level_db)),
        _ => None,
    };
    ui.add_enabled_ui(picture, |ui| {
        let silence = ui.radio(state.clip.audio == AudioSource::Silence, "Silence");
        if silence.on_hover_text("As long as the video: the model gets sound in which nothing is heard").clicked() {
            commands.push(Command::SetAudio(AudioSource::Silence));
        }
        ui.horizontal(|ui| {
            let set = |seed, level_db| Command::SetAudio(AudioSource::Noise { seed, level_db });
            if ui.radio(noise.is_some(), "Noise").on_hover_text("White, as long as the video").clicked()
                && noise.is_none()
            {
                commands.push(Command::SetAudio(AudioSource::NOISE));
            }
            if let Some((seed, mut level)) = noise {
                let value = DragValue::new(&mut level).range(-120..=0).suffix(" dB");
                if ui.add(value).accessible_name("Noise level").changed() {
                    commands.push(set(seed, level));
                }
                if ui.button(format!("Seed {seed}")).on_hover_text("Other noise").clicked() {
                    commands.push(set(seed + 1, level));
                }
            }
        });
    });
    ui.separator();
    let mut sound = state.clip.sound;
    ui.add_enabled_ui(state.clip.audio != AudioSource::None, |ui| {
        egui::Grid::new("sound details").num_columns(2).spacing([12.0, 6.0]).show(ui, |ui| {
            ui.label("Starts later by");
            let range = -FARTHEST_SECS..=FARTHEST_SECS;
            let value = DragValue::new(&mut sound.offset_secs).range(range).speed(0.01).fixed_decimals(2).suffix(" s");
            ui.add(value).accessible_name("Sound offset");
            ui.end_row();
            ui.label("Louder by");
            let range = -MOST_DB..=MOST_DB;
            let value = DragValue::new(&mut sound.gain_db).range(range).speed(0.1).fixed_decimals(1).suffix(" dB");
            ui.add(value).accessible_name("Sound gain");
            ui.end_row();
        });
        ui.checkbox(&mut sound.repeat, "Repeat it when it is shorter than the video");
    });
    if ui.add_enabled(sound != SoundEdit::default(), Button::new("As it is")).clicked() {
        sound = SoundEdit::default();
    }
    if sound != state.clip.sound {
        commands.push(Command::SetSound(sound));
    }
    ui.label(
        RichText::new("What you hear is what the model gets. Hold B for the original.").small().color(theme::WEAK),
    );
}

fn frame_details(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    ui.set_width(290.0);
    heading(ui, "Frames");
    let now = state.clip.frames;
    for (edit, name) in [
        (FrameEdit::Keep, "As they are"),
        (FrameEdit::Black, "Black"),
        (FrameEdit::Freeze, "The first one, all the time"),
        (FrameEdit::Reverse, "From the last to the first"),
    ] {
        if ui.radio(now == edit, name).clicked() && now != edit {
            commands.push(Command::SetFrames(edit));
        }
    }
    ui.horizontal(|ui| {
        let seed = if let FrameEdit::Shuffle { seed } = now { Some(seed) } else { None };
        if ui.radio(seed.is_some(), "Shuffled").clicked() && seed.is_none() {
            commands.push(Command::SetFrames(FrameEdit::Shuffle { seed: 0 }));
        }
        if let Some(seed) = seed
            && ui.button(format!("Seed {seed}")).on_hover_text("Another order").clicked()
        {
            commands.push(Command::SetFrames(FrameEdit::Shuffle { seed: seed + 1 }));
        }
    });
    let text = "Shuffled and reversed are the frames that the model samples; each is shown until the next.";
    ui.label(RichText::new(text).small().color(theme::WEAK));
}

/// What is not as the file has it, as short lines.
fn changes(state: &State) -> Vec<(Color32, String)> {
    let mut lines = Vec::new();
    let clip = &state.clip;
    if clip.start_secs.is_some() || clip.end_secs.is_some() {
        let end = clip.end_secs.or_else(|| state.duration_secs()).unwrap_or_default();
        let [start, end] = [clip.start_secs.unwrap_or_default(), end].map(player::clock);
        lines.push((theme::STRONG, format!("Asked about {start} – {end}")));
    }
    let [video, audio] = [Modality::Video, Modality::Audio].map(theme::hue);
    match clip.frames {
        FrameEdit::Keep => {}
        FrameEdit::Black => lines.push((video, "Frames black".to_owned())),
        FrameEdit::Freeze => lines.push((video, "First frame only".to_owned())),
        FrameEdit::Shuffle { .. } => lines.push((video, "Frames shuffled".to_owned())),
        FrameEdit::Reverse => lines.push((video, "Frames reversed".to_owned())),
    }
    let own = matches!(clip.audio, AudioSource::Original { .. });
    if state.playback.own_sound && (!own || clip.sound != SoundEdit::default()) {
        lines.push((audio, "The video's own sound, while B is held".to_owned()));
        return lines;
    }
    let mut sound = match &clip.audio {
        AudioSource::Noise { level_db, .. } => vec![format!("Noise at {level_db} dB")],
        AudioSource::Silence => vec!["Silence".to_owned()],
        AudioSource::None if state.facts.as_ref().is_some_and(|f| f.sound) => vec!["No sound".to_owned()],
        AudioSource::File { path, .. } if clip.video.is_some() => {
            vec![format!("Sound of {}", player::shorten(&file_name(path), 24))]
        }
        _ => Vec::new(),
    };
    let SoundEdit { offset_secs, gain_db, repeat } = clip.sound;
    if clip.audio != AudioSource::None {
        if offset_secs != 0.0 {
            sound.push(format!("{offset_secs:+.2} s"));
        }
        if gain_db != 0.0 {
            sound.push(format!("{gain_db:+.1} dB"));
        }
        if repeat {
            sound.push("repeated".to_owned());
        }
    }
    if !sound.is_empty() {
        lines.push((audio, sound.join("  ")));
    }
    lines
}

/// Says on the picture what is not as the file has it.
pub fn badges(ui: &Ui, state: &State, rect: Rect) {
    let mut at = rect.left_top() + Vec2::splat(12.0);
    for (hue, text) in changes(state) {
        let galley = ui.painter().layout_no_wrap(text, egui::FontId::proportional(12.0), theme::STRONG);
        let size = galley.size();
        let back = Rect::from_min_size(at, size + Vec2::new(10.0, 0.0)).expand2(Vec2::new(6.0, 4.0));
        ui.painter().rect_filled(back, 4, Color32::from_black_alpha(190));
        let mark = Rect::from_min_size(back.min, Vec2::new(4.0, back.height()));
        ui.painter().rect_filled(mark, 2, hue);
        ui.painter().galley(at + Vec2::new(6.0, 0.0), galley, theme::STRONG);
        at.y += size.y + 14.0;
    }
}
