//! Questions about a clip in several wordings, and their true answers. Knows nothing of tokens or scoring.

use serde::{Deserialize, Serialize};

use crate::prompt::Prompt;
use crate::world::cast::{Class, Condition, Position, When};
use crate::world::clip::{Truth, caption};
use crate::world::rng::Rng;

/// The answer when the sense that is asked for has nothing to say.
pub const NONE_OF_THE_ABOVE: &str = "None of the above";

/// What a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// What the picture shows.
    See,
    /// What the sound is.
    Hear,
    /// Whether picture and sound agree.
    Match,
    /// In which third of the picture.
    Where,
    /// In which third of the clip.
    When,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::See, Self::Hear, Self::Match, Self::Where, Self::When];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::See => "see",
            Self::Hear => "hear",
            Self::Match => "match",
            Self::Where => "where",
            Self::When => "when",
        }
    }

    /// The wordings of this question; the first is the plainest.
    pub fn wordings(self) -> &'static [&'static str] {
        match self {
            Self::See => &[
                "What do you see?",
                "What is in the picture?",
                "What does the video show?",
                "Which object is shown?",
                "What can be seen here?",
                "Which class best describes the visual content of this video?",
            ],
            Self::Hear => &[
                "What do you hear?",
                "What is that sound?",
                "Which sound is this?",
                "What makes the sound?",
                "What can be heard here?",
                "Which class best describes the audio content of this video?",
            ],
            Self::Match => &[
                "Do the picture and the sound match?",
                "Does the sound fit the picture?",
                "Do you hear what you see?",
                "Is the sound made by what is shown?",
            ],
            Self::Where => &[
                "Where is it?",
                "Where is the object?",
                "On which side of the picture is it?",
                "In which part of the picture is the object?",
            ],
            Self::When => &[
                "When does it sound?",
                "When do you hear it?",
                "In which part of the video is the sound?",
                "At what time is there a sound?",
            ],
        }
    }

    /// Every answer it can have, `None of the above` apart.
    pub fn answers(self) -> Vec<&'static str> {
        match self {
            Self::See | Self::Hear => Class::ALL.map(Class::name).to_vec(),
            Self::Match => vec!["yes", "no"],
            Self::Where => Position::ALL.map(Position::name).to_vec(),
            Self::When => When::ALL.map(When::name).to_vec(),
        }
    }

    /// The true answer; `None` when the question makes no sense of this clip.
    pub fn answer(self, truth: &Truth) -> Option<&'static str> {
        match self {
            Self::See => Some(truth.visual_class.map_or(NONE_OF_THE_ABOVE, Class::name)),
            Self::Hear => Some(truth.audio_class.map_or(NONE_OF_THE_ABOVE, Class::name)),
            Self::Match => match (truth.visual_class, truth.audio_class) {
                (Some(seen), Some(heard)) => Some(if seen == heard { "yes" } else { "no" }),
                _ => None,
            },
            Self::Where => Some(truth.position.map_or(NONE_OF_THE_ABOVE, Position::name)),
            Self::When => Some(truth.when.map_or(NONE_OF_THE_ABOVE, When::name)),
        }
    }
}

/// Which captions questions may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Captions {
    /// None.
    Never,
    /// Half of the questions carry a true one.
    True,
    /// Every question carries one that names classes which are neither seen nor heard.
    Misleading,
}

/// A question with its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What it is about.
    pub kind: Kind,
    /// The words.
    pub prompt: Prompt,
    /// The true answer.
    pub answer: String,
}

impl Question {
    /// A question of `kind` in a random wording, with options for one in two; `None` when it makes no sense of
    /// this clip. Where the asked sense is absent, the options hold [`NONE_OF_THE_ABOVE`].
    pub fn random(kind: Kind, truth: &Truth, captions: Captions, rng: &mut Rng) -> Option<Self> {
        let answer = kind.answer(truth)?;
        let mut prompt = Prompt::question(*rng.pick(kind.wordings()));
        if rng.chance(0.5) {
            let mut options: Vec<_> = kind.answers().into_iter().filter(|a| *a != answer).collect();
            rng.shuffle(&mut options);
            if matches!(kind, Kind::See | Kind::Hear) {
                options.truncate(1 + rng.below(Class::ALL.len() - 1));
            }
            if answer != NONE_OF_THE_ABOVE {
                options.insert(rng.below(options.len() + 1), answer);
            }
            if answer == NONE_OF_THE_ABOVE || rng.chance(0.5) {
                options.push(NONE_OF_THE_ABOVE);
            }
            prompt.options = options.into_iter().map(str::to_owned).collect();
        }
        prompt.caption = match captions {
            Captions::Never => None,
            Captions::True => rng.chance(0.5).then(|| true_caption(truth, rng)).flatten(),
            Captions::Misleading => Some(misleading_caption(truth, rng)),
        };
        Some(Self { kind, prompt, answer: answer.to_owned() })
    }

    /// The plainest form of a question.
    pub fn plain(kind: Kind, truth: &Truth) -> Option<Self> {
        let answer = kind.answer(truth)?.to_owned();
        Some(Self { kind, prompt: Prompt::question(kind.wordings()[0]), answer })
    }
}

fn true_caption(truth: &Truth, rng: &mut Rng) -> Option<String> {
    let seen = truth.visual_class.or(truth.audio_class)?;
    let heard = truth.audio_class.unwrap_or(seen);
    Some(caption(rng, truth.condition, seen, heard))
}

fn misleading_caption(truth: &Truth, rng: &mut Rng) -> String {
    let wrong: Vec<_> =
        Class::ALL.into_iter().filter(|c| Some(*c) != truth.visual_class && Some(*c) != truth.audio_class).collect();
    let class = *rng.pick(&wrong);
    caption(rng, Condition::Aligned, class, class)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::clip::Clip;
    use crate::world::rng::Stream;

    #[test]
    fn options_hold_the_answer_once() {
        for index in 0..200 {
            let condition = Condition::ALL[index as usize % 4];
            let truth = Clip::new(9, index, condition).truth(Vec::new());
            let mut rng = Rng::new(9, index, Stream::Words);
            for kind in Kind::ALL {
                let Some(q) = Question::random(kind, &truth, Captions::True, &mut rng) else {
                    assert!(kind == Kind::Match && matches!(condition, Condition::SoundOnly | Condition::PictureOnly));
                    continue;
                };
                if !q.prompt.options.is_empty() {
                    assert_eq!(q.prompt.options.iter().filter(|o| **o == q.answer).count(), 1, "{q:?}");
                    assert!(q.prompt.options.len() >= 2 || q.answer == NONE_OF_THE_ABOVE);
                }
                let absent = match kind {
                    Kind::See | Kind::Where => condition == Condition::SoundOnly,
                    Kind::Hear | Kind::When => condition == Condition::PictureOnly,
                    Kind::Match => false,
                };
                assert_eq!(q.answer == NONE_OF_THE_ABOVE, absent);
            }
        }
    }
}
