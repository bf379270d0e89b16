//! The conditions that a case is tried under, each one change away from the aligned clip, and the questions of the
//! benchmark that has them (MMA-Bench, arXiv 2511.22826). Knows nothing of how they are scored.

use super::{End, State};
use crate::clip::{AudioSource, FrameEdit, SoundEdit};
use crate::command::Case;

/// A condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// The clip as it is.
    Aligned,
    /// No sound.
    SoundRemoved,
    /// Silence in place of the sound: it is there, and nothing is heard.
    Silence,
    /// Noise in place of the sound.
    Noise,
    /// Black frames.
    FramesBlack,
    /// The frames in another order.
    FramesShuffled,
    /// A caption that names another class.
    MisleadingCaption,
    /// Random letters after the question, so many.
    LongContext(usize),
    /// "None of the above" is among the options.
    Abstention,
}

/// A class that no clip at hand is likely to show.
const UNLIKELY: &str = "Whale_vocalization";
/// What a model can choose when what it is asked about is not there.
const ABSTAIN: &str = "None of the above";

/// The benchmark's classes in the order of its prompt.
const CLASSES: &str = "Accordion, Applause, Basketball_bounce, Bird, Blender, Bowed_string_instrument, \
Brass_instrument, Breaking, Canidae, Caprine, Cash_register, Cat, Chopping_food, Clapping, Clock, Coin_dropping, Cough, \
Cupboard_open_or_close, Didgeridoo, Door, Drawer_open_or_close, Explosions, Fire, Flap, Fowl, Frog, Frying_food, Gears, \
Glass, Hair_dryer, Horse, Insect, Keyboard_musical, Keys_jangling, Laughter, Mechanical_fan, Microwave_oven, Pig, \
Printer, Pulleys, Rain, Scissors, Sewing_machine, Shout, Shuffling_cards, Singing, Singing_bowl, Sneeze, Spray, Stir, \
Theremin, Tools, Typing, Utility_Liquid_Sounds, Vacuum_cleaner, Vehicle, Waterfall, Whale_vocalization, Whip, Writing, \
Zipper_clothing";

/// The benchmark's two questions, with what they ask about.
pub const QUESTIONS: [(&str, &str); 2] = [
    ("What is seen, of 61 classes", "Which class best describes the visual content of this video?"),
    ("What is heard, of 61 classes", "Which class best describes the audio content of this video?"),
];

impl Condition {
    /// All of them, in the order of the menu.
    pub const ALL: [Self; 10] = [
        Self::Aligned,
        Self::SoundRemoved,
        Self::Silence,
        Self::Noise,
        Self::FramesBlack,
        Self::FramesShuffled,
        Self::MisleadingCaption,
        Self::LongContext(1_000),
        Self::LongContext(10_000),
        Self::Abstention,
    ];

    /// Its name.
    pub fn name(self) -> String {
        match self {
            Self::Aligned => "Aligned: the clip as it is".to_owned(),
            Self::SoundRemoved => "Sound removed".to_owned(),
            Self::Silence => "Silence for sound".to_owned(),
            Self::Noise => "Noise for sound".to_owned(),
            Self::FramesBlack => "Frames black".to_owned(),
            Self::FramesShuffled => "Frames shuffled".to_owned(),
            Self::MisleadingCaption => "Misleading caption".to_owned(),
            Self::LongContext(n) => format!("Long context: {n} letters"),
            Self::Abstention => format!("Options with “{ABSTAIN}”"),
        }
    }
}

impl State {
    /// The case under a condition: question, options and system prompt as they are, everything else as the condition
    /// has it.
    pub fn under(&self, condition: Condition) -> Case {
        let mut case = self.case();
        case.draft.caption.clear();
        case.draft.context.clear();
        let mut options: Vec<&str> =
            case.draft.options.split(',').map(str::trim).filter(|o| !o.is_empty() && *o != ABSTAIN).collect();
        if condition == Condition::Abstention {
            options.push(ABSTAIN);
        }
        let wrong = options.iter().find(|o| !self.answer_names(o)).map_or(UNLIKELY, |o| *o).to_owned();
        case.draft.options = options.join(", ");
        if self.clip.video.is_some() {
            let sound = self.facts.as_ref().is_some_and(|f| f.sound);
            case.audio = if sound { AudioSource::Original { track: None } } else { AudioSource::None };
        }
        (case.sound, case.frames) = (SoundEdit::default(), FrameEdit::Keep);
        (case.start_secs, case.end_secs) = (None, None);
        let video = self.clip.video.is_some();
        match condition {
            Condition::SoundRemoved if video => case.audio = AudioSource::None,
            Condition::Silence if video => case.audio = AudioSource::Silence,
            Condition::Noise if video => case.audio = AudioSource::NOISE,
            Condition::FramesBlack => case.frames = FrameEdit::Black,
            Condition::FramesShuffled => case.frames = FrameEdit::Shuffle { seed: 0 },
            Condition::MisleadingCaption => case.draft.caption = wrong,
            Condition::LongContext(letters) => case.draft.context = random_letters(letters),
            _ => {}
        }
        case
    }

    /// The case with one of the benchmark's questions.
    pub fn asked(&self, question: &str) -> Case {
        let mut case = self.case();
        question.clone_into(&mut case.draft.question);
        CLASSES.clone_into(&mut case.draft.options);
        case
    }

    /// Whether the newest answer names a class.
    fn answer_names(&self, class: &str) -> bool {
        let Some(End::Answered(answer)) = self.run.as_ref().and_then(|r| r.end.as_ref()) else { return false };
        answer.text.to_lowercase().contains(&class.to_lowercase())
    }
}

/// Single letters with spaces between, always the same.
fn random_letters(count: usize) -> String {
    let mut state = 0x6d6f_6461_6c65_6e73_u64;
    let mut text = String::with_capacity(count * 2);
    for i in 0..count {
        // Knuth's MMIX generator; its high bits are random enough for letters.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if i > 0 {
            text.push(' ');
        }
        text.push(char::from(b'a' + ((state >> 33) % 26) as u8));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clip::ClipSpec;
    use crate::command::Command;
    use crate::event::{FileFacts, Tracks};
    use crate::state::Media;

    #[test]
    fn every_condition_is_one_change_away_from_the_aligned_clip() {
        let mut state = State { clip: ClipSpec::original("a.mp4"), ..State::default() };
        state.facts = Some(FileFacts {
            path: "a.mp4".into(),
            picture: true,
            sound: true,
            tracks: Tracks { about: vec!["aac".into()], played: 0 },
            still: false,
            summary: String::new(),
        });
        // What another sound needs is not offered where it is missing.
        let silence = Command::SetAudio(AudioSource::Silence);
        assert!(!state.can(&silence) && !state.can(&Command::StepFrame(1)), "nothing is open");
        state.media = Media::Open { duration_secs: Some(4.0), picture: true };
        assert!(state.can(&silence) && state.can(&Command::StepFrame(1)) && !state.can(&Command::UseSelection));
        let sound_alone = ClipSpec { audio: state.clip.audio.clone(), ..ClipSpec::default() };
        let video = std::mem::replace(&mut state.clip, sound_alone);
        assert!(!state.can(&silence) && !state.can(&Command::SetAudio(AudioSource::None)), "it is all there is");
        state.clip = video;
        state.draft.options = "cat, dog".to_owned();
        let aligned = state.under(Condition::Aligned);
        assert_eq!(aligned, state.case());
        for condition in Condition::ALL {
            // Whatever was there before, the condition is the same.
            let case = state.under(condition);
            state.perform(&Command::SetCase(Box::new(case.clone())));
            assert_eq!(state.case(), case);
            assert_eq!(state.under(condition), case, "{condition:?}");
            assert_eq!(state.under(Condition::Aligned), aligned, "{condition:?}");
            assert_eq!(case == aligned, condition == Condition::Aligned);
        }
        assert_eq!(state.under(Condition::MisleadingCaption).draft.caption, "cat");
        assert_eq!(state.under(Condition::LongContext(1_000)).draft.context.split(' ').count(), 1_000);
        assert_eq!(state.under(Condition::Abstention).draft.options, "cat, dog, None of the above");
        assert_eq!(CLASSES.split(", ").count(), 61);
        assert_eq!(state.asked(QUESTIONS[1].1).draft.prompt().options.len(), 61);
    }
}
