//! Who can appear: the classes, the conditions under which clips are made, and where and when.
//! Knows nothing of drawing, sound or wording.

use serde::{Deserialize, Serialize};

/// A thing that has a look and a sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it all")]
pub enum Class {
    Dog,
    Cat,
    Bird,
    Frog,
    Bell,
    Drum,
    Clock,
    Car,
    Train,
    Rain,
    Fire,
    Whistle,
}

impl Class {
    /// Every class, in a fixed order.
    pub const ALL: [Self; 12] = [
        Self::Dog,
        Self::Cat,
        Self::Bird,
        Self::Frog,
        Self::Bell,
        Self::Drum,
        Self::Clock,
        Self::Car,
        Self::Train,
        Self::Rain,
        Self::Fire,
        Self::Whistle,
    ];

    /// The class's name, as answers spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dog => "dog",
            Self::Cat => "cat",
            Self::Bird => "bird",
            Self::Frog => "frog",
            Self::Bell => "bell",
            Self::Drum => "drum",
            Self::Clock => "clock",
            Self::Car => "car",
            Self::Train => "train",
            Self::Rain => "rain",
            Self::Fire => "fire",
            Self::Whistle => "whistle",
        }
    }

    /// The class with its article, for captions.
    pub fn noun_phrase(self) -> &'static str {
        match self {
            Self::Dog => "a dog",
            Self::Cat => "a cat",
            Self::Bird => "a bird",
            Self::Frog => "a frog",
            Self::Bell => "a bell",
            Self::Drum => "a drum",
            Self::Clock => "a clock",
            Self::Car => "a car",
            Self::Train => "a train",
            Self::Rain => "rain",
            Self::Fire => "a fire",
            Self::Whistle => "a whistle",
        }
    }

    /// What it does when it sounds: "a dog barks".
    pub fn verb(self) -> &'static str {
        match self {
            Self::Dog => "barks",
            Self::Cat => "meows",
            Self::Bird => "sings",
            Self::Frog => "croaks",
            Self::Bell => "rings",
            Self::Drum => "is beaten",
            Self::Clock => "ticks",
            Self::Car => "honks",
            Self::Train => "puffs",
            Self::Rain => "falls",
            Self::Fire => "crackles",
            Self::Whistle => "blows",
        }
    }
}

/// What a clip offers to the senses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Picture and sound show the same thing.
    Aligned,
    /// The sound is another class's.
    Swapped,
    /// Every frame is black.
    SoundOnly,
    /// There is no sound.
    PictureOnly,
}

impl Condition {
    /// Every condition, in the order in which `all` cycles through them.
    pub const ALL: [Self; 4] = [Self::Aligned, Self::Swapped, Self::SoundOnly, Self::PictureOnly];

    /// The name on the command line and in `metadata.jsonl`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aligned => "aligned",
            Self::Swapped => "swapped",
            Self::SoundOnly => "sound-only",
            Self::PictureOnly => "picture-only",
        }
    }
}

/// The third of the picture an object stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it all")]
pub enum Position {
    Left,
    Middle,
    Right,
}

impl Position {
    /// From left to right.
    pub const ALL: [Self; 3] = [Self::Left, Self::Middle, Self::Right];

    /// As answers spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Middle => "middle",
            Self::Right => "right",
        }
    }

    /// Where it is in a mirror.
    pub fn mirrored(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Middle => Self::Middle,
            Self::Right => Self::Left,
        }
    }
}

/// The third of the clip in which it sounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it all")]
pub enum When {
    Beginning,
    Middle,
    End,
}

impl When {
    /// In time order.
    pub const ALL: [Self; 3] = [Self::Beginning, Self::Middle, Self::End];

    /// As answers spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Beginning => "beginning",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}
