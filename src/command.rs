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
    /// Use what is selected only.
    UseSelection,
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
    /// Louder (or quieter) by a step.
    StepVolume(bool),
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
    /// Show a shorter (or longer) part of the time axis, around the playhead.
    ZoomTime(bool),
    /// Show all of the time axis.
    ShowAllTime,
    /// Show the selection and little else.
    ShowSelection,
    /// The filmstrip shows another part of the video, or the same in another detail.
    LookAtFilm(FilmView),
    /// Show or hide the heat maps.
    ToggleHeat,
    /// Show what the model saw in the place of the video, or the video again.
    ToggleModelView,
    /// Show or hide the list of keys.
    ToggleKeySheet,
    /// Show or hide the list of commands that is searched by typing.
    TogglePalette,
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
    /// Cursor up.
    Up,
    /// Cursor down.
    Down,
    /// `+`, wherever the layout has it.
    Plus,
    /// `-`
    Minus,
    /// `0`
    Zero,
    /// A.
    A,
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
    /// R.
    R,
    /// S.
    S,
    /// V.
    V,
    /// X.
    X,
    /// Y.
    Y,
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

/// What an action is about: a heading of the key sheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Time and how it runs.
    Playing,
    /// The selection and the time axis.
    Time,
    /// What is heard.
    Sound,
    /// What is seen.
    Picture,
    /// Questions and answers.
    Asking,
    /// Files, models and the window.
    Window,
}

impl Group {
    /// All of them, in the order of the key sheet.
    pub const ALL: [Self; 6] = [Self::Playing, Self::Time, Self::Sound, Self::Picture, Self::Asking, Self::Window];

    /// Its heading.
    pub fn name(self) -> &'static str {
        match self {
            Self::Playing => "Playing",
            Self::Time => "Selection and time axis",
            Self::Sound => "Sound",
            Self::Picture => "Picture",
            Self::Asking => "Words and answer",
            Self::Window => "Window and files",
        }
    }
}

/// A command that needs nothing but to be given: a line of the key sheet and of the palette.
pub struct Action {
    /// Where it stands.
    pub group: Group,
    /// The keys that do it, and how they are written; those of `None` are found in the palette.
    pub keys: Option<(Chord, &'static str)>,
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

macro_rules! actions {
    ($($group:ident { $($label:literal $(, $chord:expr, $keys:literal)? => $command:expr;)+ })+) => {
        /// All actions, group by group.
        pub const ACTIONS: &[Action] = &[$($(Action {
            group: Group::$group,
            keys: actions!(@keys $($chord, $keys)?),
            label: $label,
            command: || $command,
        }),+),+];
    };
    (@keys) => { None };
    (@keys $chord:expr, $keys:literal) => { Some(($chord, $keys)) };
}

actions! {
    Playing {
        "Play or pause", chord(Key::Space), "Space" => Command::TogglePlay;
        "Play or pause, also while typing", ctrl(Key::Space), "Ctrl+Space" => Command::TogglePlay;
        "Play; again: faster", chord(Key::L), "L" => Command::Shuttle(true);
        "Play backwards, silently; again: faster", chord(Key::J), "J" => Command::Shuttle(false);
        "Stop", chord(Key::K), "K" => Command::Halt;
        "Slower, at the same pitch", chord(Key::OpenBracket), "[" => Command::StepSpeed(false);
        "Faster, at the same pitch", chord(Key::CloseBracket), "]" => Command::StepSpeed(true);
        "Normal speed", chord(Key::Backspace), "Backspace" => Command::SetSpeed(1.0);
        "Previous frame", chord(Key::Left), "←" => Command::StepFrame(-1);
        "Next frame", chord(Key::Right), "→" => Command::StepFrame(1);
        "Previous frame", chord(Key::Comma), "," => Command::StepFrame(-1);
        "Next frame", chord(Key::Period), "." => Command::StepFrame(1);
        "Back 1 second", shift(Key::Left), "Shift+←" => Command::Skip(-1.0);
        "Forward 1 second", shift(Key::Right), "Shift+→" => Command::Skip(1.0);
        "Go to the start", chord(Key::Home), "Home" => Command::Home;
        "Go to the end", chord(Key::End), "End" => Command::End;
    }
    Time {
        "Selection begins here", chord(Key::I), "I" => Command::SelectFrom;
        "Selection ends here", chord(Key::O), "O" => Command::SelectTo;
        "Loop the selection, or not", chord(Key::R), "R" => Command::ToggleLoop;
        "Ask about the selection only", chord(Key::A), "A" => Command::UseSelection;
        "Ask about the whole clip", shift(Key::A), "Shift+A" => Command::UsePart(None);
        "Clear the selection", chord(Key::X), "X" => Command::Select(None);
        "Zoom in on the time axis", chord(Key::Plus), "+" => Command::ZoomTime(true);
        "Zoom out", chord(Key::Minus), "-" => Command::ZoomTime(false);
        "Zoom to the selection" => Command::ShowSelection;
        "Show all of the time axis", chord(Key::Zero), "0" => Command::ShowAllTime;
    }
    Sound {
        "Hear the video's own sound", chord(Key::B), "B (hold)" => Command::HearOwnSound(true);
        "Mute or unmute", chord(Key::M), "M" => Command::ToggleMute;
        "Louder", chord(Key::Up), "↑" => Command::StepVolume(true);
        "Quieter", chord(Key::Down), "↓" => Command::StepVolume(false);
        "Sound: the video's own" => Command::SetAudio(AudioSource::Original { track: None });
        "Sound: another file's…" => Command::Choose(FileUse::Sound);
        "Sound: silence" => Command::SetAudio(AudioSource::Silence);
        "Sound: noise" => Command::SetAudio(AudioSource::NOISE);
        "Sound: none at all" => Command::SetAudio(AudioSource::None);
    }
    Picture {
        "Show or hide the heat maps", chord(Key::H), "H" => Command::ToggleHeat;
        "The video, or what the model saw of it", chord(Key::V), "V" => Command::ToggleModelView;
        "Save the frame as a PNG", chord(Key::S), "S" => Command::SaveFrame(None);
        "Frames: as they are" => Command::SetFrames(FrameEdit::Keep);
        "Frames: black" => Command::SetFrames(FrameEdit::Black);
        "Frames: the first one, all the time" => Command::SetFrames(FrameEdit::Freeze);
        "Frames: from the last to the first" => Command::SetFrames(FrameEdit::Reverse);
        "Frames: shuffled" => Command::SetFrames(FrameEdit::Shuffle { seed: 0 });
    }
    Asking {
        "Ask the question (in its field, Enter does)", ctrl(Key::Enter), "Ctrl+Enter" => Command::Ask;
        "Stop the answer" => Command::Stop;
        "Undo a change of words, sound or frames", ctrl(Key::Z), "Ctrl+Z" => Command::Undo;
        "Redo it", Chord { shift: true, ..ctrl(Key::Z) }, "Ctrl+Shift+Z" => Command::Redo;
        "Redo it", ctrl(Key::Y), "Ctrl+Y" => Command::Redo;
    }
    Window {
        "Open a video", ctrl(Key::O), "Ctrl+O" => Command::Choose(FileUse::Clip);
        "Export the clip with its heat map as a video", ctrl(Key::E), "Ctrl+E"
            => Command::Exports(ExportsCommand::Video(None));
        "Choose or fetch a model", ctrl(Key::L), "Ctrl+L" => Command::Models(ModelsCommand::Toggle);
        "Full screen", chord(Key::F), "F" => Command::ToggleFullscreen;
        "Search these commands", ctrl(Key::K), "Ctrl+K" => Command::TogglePalette;
        "Close, leave full screen, clear the locked token", Chord { in_text: true, ..chord(Key::Escape) }, "Esc"
            => Command::Escape;
        "This list", chord(Key::Question), "?" => Command::ToggleKeySheet;
    }
}

/// What hands do elsewhere than on keys: the other half of the key sheet.
pub const GESTURES: &[(Group, &str, &str)] = &[
    (Group::Playing, "Click the picture", "Play or pause"),
    (Group::Playing, "Click or drag time", "Go there; the exact frame on release"),
    (Group::Time, "Shift+drag", "Select"),
    (Group::Time, "Right click", "What can be done with the selection"),
    (Group::Time, "Wheel", "Zoom the time axis"),
    (Group::Time, "Shift+wheel", "Move along it"),
    (Group::Time, "Double-click ruler", "Show all of it"),
    (Group::Picture, "Ctrl+wheel", "Enlarge what the model saw"),
    (Group::Asking, "Point at a token", "Its maps; click to keep them"),
    (Group::Asking, "Drop a text file", "It becomes the question"),
    (Group::Window, "Drop a file", "A video opens; a sound is swapped in"),
    (Group::Window, "Double-click picture", "Full screen"),
    (Group::Window, "Ctrl +, Ctrl -", "Larger or smaller interface"),
];

impl Command {
    /// Whether a key that is held does it again and again.
    pub fn repeats(&self) -> bool {
        matches!(
            self,
            Self::StepFrame(_)
                | Self::Skip(_)
                | Self::StepSpeed(_)
                | Self::StepVolume(_)
                | Self::ZoomTime(_)
                | Self::Undo
                | Self::Redo
        )
    }

    /// Whether its keys work while a sheet lies over the window.
    pub fn reaches_under_sheets(&self) -> bool {
        matches!(self, Self::Escape | Self::ToggleKeySheet | Self::TogglePalette | Self::Models(ModelsCommand::Toggle))
    }
}

/// How a command's keys are written, for tooltips.
pub fn keys_of(command: &Command) -> Option<&'static str> {
    ACTIONS.iter().filter(|a| (a.command)() == *command).find_map(|a| a.keys.map(|(_, keys)| keys))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_actions_share_their_keys_or_their_label() {
        let keyed: Vec<_> = ACTIONS.iter().filter_map(|a| a.keys.map(|(chord, _)| (chord, a))).collect();
        for (i, (a, about)) in keyed.iter().enumerate() {
            for (b, other) in &keyed[i + 1..] {
                let same = (a.key, a.ctrl, a.shift) == (b.key, b.ctrl, b.shift);
                assert!(!same, "{} and {}", about.label, other.label);
            }
        }
        for (i, a) in ACTIONS.iter().enumerate() {
            for b in &ACTIONS[i + 1..] {
                assert!(a.label != b.label || (a.command)() == (b.command)(), "{} does two things", a.label);
            }
        }
        assert_eq!(keys_of(&Command::ToggleMute), Some("M"));
        assert_eq!(keys_of(&Command::SetFrames(FrameEdit::Black)), None);
    }
}
