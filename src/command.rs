//! Everything a user can do, as values: the panels return them, keys map to them, the key sheet lists them.
//! Knows nothing of how they are carried out or of any toolkit's key codes.

use std::path::PathBuf;

use crate::clip::{AudioSource, FrameEdit, SoundEdit};
use crate::event::FileUse;
use crate::exports::ExportsCommand;
use crate::film::FilmView;
use crate::prompt::Draft;
use crate::settings::{Dtype, View};
use crate::time::Span;

/// One thing the user wants.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Ask for a file (or a checkpoint folder) in a dialog.
    Choose(FileUse),
    /// Look into files and use them: of several, those with a picture before those with sound alone.
    Use(FileUse, Vec<PathBuf>),
    /// Change the sound of the clip.
    SetAudio(AudioSource),
    /// What is done to the sound.
    SetSound(SoundEdit),
    /// What is done to the frames.
    SetFrames(FrameEdit),
    /// Use this part of the clip only, or all of it.
    UsePart(Option<Span>),
    /// Another case about the same file: words, sound, frames and part at once.
    SetCase(Box<Case>),
    /// Take the last change of the case back.
    Undo,
    /// Make it again.
    Redo,
    /// Play or pause.
    TogglePlay,
    /// Stop playing, whichever way it went.
    Halt,
    /// Play forwards (or backwards), and faster when it does already.
    Shuttle(bool),
    /// The next speed up (or down).
    StepSpeed(bool),
    /// How fast time runs when it plays, in seconds of the clip per second.
    SetSpeed(f64),
    /// Go to a time in seconds.
    Seek(f64),
    /// Go to a time in seconds while a hand moves: what is near is shown first.
    Scrub(f64),
    /// The selection begins here.
    SelectFrom,
    /// The selection ends here.
    SelectTo,
    /// Select a part of the time axis, or nothing.
    Select(Option<Span>),
    /// Stay in the selection while playing, or not.
    ToggleLoop,
    /// Hear the video's own sound for as long as this holds.
    HearOwnSound(bool),
    /// Go on by seconds, back when negative.
    Skip(f64),
    /// Show the next (1) or the previous (−1) frame.
    StepFrame(i32),
    /// Go to the start.
    Home,
    /// Go to the end.
    End,
    /// Silence the sound, or not.
    ToggleMute,
    /// Loudness, 0…1.
    SetVolume(f32),
    /// Fill the screen, or not.
    ToggleFullscreen,
    /// The words changed.
    Edit(Box<Draft>),
    /// Ask the model.
    Ask,
    /// Stop the answer.
    Stop,
    /// The pointer is over an answer token (or over none).
    Hover(Option<usize>),
    /// Keep an answer token's maps (or no token's).
    Lock(Option<usize>),
    /// How maps and lanes are shown changed.
    SetView(Box<View>),
    /// The filmstrip shows another part of the video, or the same in another detail.
    LookAtFilm(FilmView),
    /// Show or hide the heat maps.
    ToggleHeat,
    /// Show what the model saw in the place of the video, or the video again.
    ToggleModelView,
    /// Show or hide the list of keys.
    ToggleKeySheet,
    /// Close, leave or clear whatever is uppermost.
    Escape,
    /// Save the frame on screen as a PNG, here or where a dialog says.
    SaveFrame(Option<PathBuf>),
    /// Write a video, or stop writing it.
    Exports(ExportsCommand),
    /// Remove a notice.
    Dismiss(u64),
    /// Choose, fetch or stop fetching a model.
    Models(ModelsCommand),
    /// Put text on the clipboard.
    Copy(String),
}

/// What an experiment is, apart from the file it is about.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Case {
    /// The words.
    pub draft: Draft,
    /// Where the sound comes from.
    pub audio: AudioSource,
    /// What is done to it.
    pub sound: SoundEdit,
    /// What is done to the frames.
    pub frames: FrameEdit,
    /// Start of the part that is used, in seconds.
    pub start_secs: Option<f64>,
    /// End of the part that is used, in seconds.
    pub end_secs: Option<f64>,
}

/// What the user wants of the models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelsCommand {
    /// Show or hide the models.
    Toggle,
    /// The hub id that is being typed changed.
    Type(String),
    /// Hold weights in this form: the loaded model is loaded again, later ones follow.
    Hold(Dtype),
    /// Load a checkpoint folder under a name.
    Load(String, PathBuf),
    /// Ask the hub what a checkpoint consists of.
    LookUp(String),
    /// Fetch what was looked up, or go on with it.
    Start,
    /// Stop fetching; it can go on later.
    Pause,
    /// Put the download away; what came is kept.
    Cancel,
}

/// A key of the keyboard, as far as shortcuts need them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// The space bar.
    Space,
    /// Cursor left.
    Left,
    /// Cursor right.
    Right,
    /// `,`
    Comma,
    /// `.`
    Period,
    /// Home.
    Home,
    /// End.
    End,
    /// `[`, wherever the layout has it.
    OpenBracket,
    /// `]`, wherever the layout has it.
    CloseBracket,
    /// Backspace.
    Backspace,
    /// B.
    B,
    /// E.
    E,
    /// F.
    F,
    /// H.
    H,
    /// I.
    I,
    /// J.
    J,
    /// K.
    K,
    /// L.
    L,
    /// M.
    M,
    /// O.
    O,
    /// S.
    S,
    /// V.
    V,
    /// X.
    X,
    /// Z.
    Z,
    /// `?`, wherever the layout has it.
    Question,
    /// Escape.
    Escape,
    /// Return.
    Enter,
}

/// A key with what must be held down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Chord {
    /// The key.
    pub key: Key,
    /// With Ctrl (⌘ on a Mac).
    pub ctrl: bool,
    /// With Shift.
    pub shift: bool,
    /// Also while a text field has the keyboard.
    pub in_text: bool,
}

/// A line of the key sheet.
pub struct Shortcut {
    /// The keys that do it.
    pub chord: Chord,
    /// How the keys are written.
    pub keys: &'static str,
    /// What it does, sentence case.
    pub label: &'static str,
    /// The command.
    pub command: fn() -> Command,
}

const fn chord(key: Key) -> Chord {
    Chord { key, ctrl: false, shift: false, in_text: false }
}

const fn ctrl(key: Key) -> Chord {
    Chord { ctrl: true, in_text: true, ..chord(key) }
}

const fn shift(key: Key) -> Chord {
    Chord { shift: true, ..chord(key) }
}

macro_rules! shortcuts {
    ($($chord:expr, $keys:literal, $label:literal => $command:expr;)+) => {
        /// All shortcuts, in the order of the key sheet.
        pub const SHORTCUTS: &[Shortcut] =
            &[$(Shortcut { chord: $chord, keys: $keys, label: $label, command: || $command }),+];
    };
}

shortcuts! {
    chord(Key::Space), "Space", "Play or pause" => Command::TogglePlay;
    ctrl(Key::Space), "Ctrl+Space", "Play or pause, also while typing" => Command::TogglePlay;
    chord(Key::L), "L", "Play; again: faster" => Command::Shuttle(true);
    chord(Key::J), "J", "Play backwards, silently; again: faster" => Command::Shuttle(false);
    chord(Key::K), "K", "Stop" => Command::Halt;
    chord(Key::OpenBracket), "[", "Slower, at the same pitch" => Command::StepSpeed(false);
    chord(Key::CloseBracket), "]", "Faster, at the same pitch" => Command::StepSpeed(true);
    chord(Key::Backspace), "Backspace", "Normal speed" => Command::SetSpeed(1.0);
    chord(Key::Left), "←", "Previous frame" => Command::StepFrame(-1);
    chord(Key::Right), "→", "Next frame" => Command::StepFrame(1);
    chord(Key::Comma), ",", "Previous frame" => Command::StepFrame(-1);
    chord(Key::Period), ".", "Next frame" => Command::StepFrame(1);
    shift(Key::Left), "Shift+←", "Back 1 second" => Command::Skip(-1.0);
    shift(Key::Right), "Shift+→", "Forward 1 second" => Command::Skip(1.0);
    chord(Key::Home), "Home", "Go to the start" => Command::Home;
    chord(Key::End), "End", "Go to the end" => Command::End;
    chord(Key::I), "I", "Selection begins here" => Command::SelectFrom;
    chord(Key::O), "O", "Selection ends here" => Command::SelectTo;
    chord(Key::X), "X", "Clear the selection" => Command::Select(None);
    chord(Key::B), "B (hold)", "Hear the video's own sound" => Command::HearOwnSound(true);
    chord(Key::M), "M", "Mute or unmute" => Command::ToggleMute;
    chord(Key::H), "H", "Show or hide the heat maps" => Command::ToggleHeat;
    chord(Key::V), "V", "The video, or what the model saw of it" => Command::ToggleModelView;
    chord(Key::S), "S", "Save the frame as a PNG" => Command::SaveFrame(None);
    ctrl(Key::E), "Ctrl+E", "Export the clip with its heat map as a video" => Command::Exports(ExportsCommand::Video(None));
    chord(Key::F), "F", "Full screen" => Command::ToggleFullscreen;
    ctrl(Key::Enter), "Ctrl+Enter", "Ask the question (in its field, Enter does)" => Command::Ask;
    ctrl(Key::Z), "Ctrl+Z", "Undo a change of words, sound or frames" => Command::Undo;
    Chord { shift: true, ..ctrl(Key::Z) }, "Ctrl+Shift+Z", "Redo it" => Command::Redo;
    ctrl(Key::O), "Ctrl+O", "Open a video" => Command::Choose(FileUse::Clip);
    ctrl(Key::L), "Ctrl+L", "Choose or fetch a model" => Command::Models(ModelsCommand::Toggle);
    Chord { in_text: true, ..chord(Key::Escape) }, "Esc", "Close, leave full screen, clear the locked token"
        => Command::Escape;
    chord(Key::Question), "?", "This list" => Command::ToggleKeySheet;
}

/// How a command's keys are written, for tooltips.
pub fn keys_of(command: &Command) -> Option<&'static str> {
    SHORTCUTS.iter().find(|s| (s.command)() == *command).map(|s| s.keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_shortcuts_share_their_keys() {
        for (i, a) in SHORTCUTS.iter().enumerate() {
            for b in &SHORTCUTS[i + 1..] {
                let same = (a.chord.key, a.chord.ctrl, a.chord.shift) == (b.chord.key, b.chord.ctrl, b.chord.shift);
                assert!(!same, "{} and {}", a.label, b.label);
            }
        }
        assert_eq!(keys_of(&Command::ToggleMute), Some("M"));
    }
}
