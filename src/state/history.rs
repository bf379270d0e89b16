//! Undo and redo of everything that makes a case: the words, the sound, the frames, the part. A case is small, so whole
//! cases are kept. Knows nothing of how a case is played or asked.

use super::State;
use crate::clip::{AudioSource, SoundEdit};
use crate::command::{Case, Command};
use crate::prompt::Draft;

/// Cases kept; older ones are forgotten.
const MOST: usize = 200;
/// Changes of one thing that follow each other within this time are one change.
const ONE_CHANGE_SECS: f64 = 1.0;

/// What a change is about: changes of the same thing in quick succession are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Topic {
    System,
    Caption,
    Question,
    Options,
    Context,
    SoundOffset,
    SoundGain,
    /// Never the same as the one before.
    Step,
}

/// Earlier and later cases.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    past: Vec<Case>,
    future: Vec<Case>,
    last: Option<(Topic, f64)>,
}

impl State {
    /// The case as it is.
    pub fn case(&self) -> Case {
        Case {
            draft: self.draft.clone(),
            audio: self.clip.audio.clone(),
            sound: self.clip.sound,
            frames: self.clip.frames,
            start_secs: self.clip.start_secs,
            end_secs: self.clip.end_secs,
        }
    }

    /// Whether there is something to undo, and something to redo.
    pub fn can_undo(&self) -> [bool; 2] {
        [!self.history.past.is_empty(), !self.history.future.is_empty()]
    }

    pub(super) fn perform_edit(&mut self, command: &Command) {
        let mut case = self.case();
        let topic = match command {
            Command::Edit(draft) => {
                let topic = topic(&case.draft, draft);
                case.draft.clone_from(draft);
                topic
            }
            Command::SetAudio(audio) => {
                let same = match (&case.audio, audio) {
                    (AudioSource::File { path: a, .. }, AudioSource::File { path: b, .. }) => a == b,
                    (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
                };
                case.audio.clone_from(audio);
                if !same {
                    // What was done to one sound is not done to another: the original is the original.
                    case.sound = SoundEdit::default();
                }
                Topic::Step
            }
            Command::SetSound(sound) => {
                let topic = match (case.sound, *sound) {
                    (a, b) if a.repeat != b.repeat => Topic::Step,
                    (a, b) if a.gain_db != b.gain_db => Topic::SoundGain,
                    _ => Topic::SoundOffset,
                };
                case.sound = *sound;
                topic
            }
            Command::SetFrames(frames) => {
                case.frames = *frames;
                Topic::Step
            }
            Command::UseSelection => {
                let Some(span) = self.selection.map(|s| s.span) else { return };
                return self.perform_edit(&Command::UsePart(Some(span)));
            }
            Command::UsePart(part) => {
                (case.start_secs, case.end_secs) = (part.map(|p| p.start_secs), part.map(|p| p.end_secs));
                Topic::Step
            }
            Command::SetCase(new) => {
                case.clone_from(new);
                Topic::Step
            }
            Command::Undo | Command::Redo => return self.travel(*command == Command::Undo),
            _ => return,
        };
        self.change(case, topic);
    }

    fn change(&mut self, case: Case, topic: Topic) {
        let before = self.case();
        if before == case {
            return;
        }
        let history = &mut self.history;
        let now = self.now_secs;
        let goes_on = history.last.is_some_and(|(t, at)| t == topic && now - at < ONE_CHANGE_SECS);
        if !goes_on || topic == Topic::Step || !history.future.is_empty() {
            history.past.push(before);
            let over = history.past.len().saturating_sub(MOST);
            history.past.drain(..over);
        }
        history.future.clear();
        history.last = Some((topic, now));
        self.put(case);
    }

    fn travel(&mut self, back: bool) {
        let now = self.case();
        let History { past, future, last } = &mut self.history;
        *last = None;
        let (from, to) = if back { (past, future) } else { (future, past) };
        if let Some(case) = from.pop() {
            to.push(now);
            self.put(case);
        }
    }

    /// Makes a case the one that is shown; what depends on its sound is computed anew.
    fn put(&mut self, case: Case) {
        let clip = &mut self.clip;
        let heard = |c: &crate::clip::ClipSpec| (c.audio.clone(), c.sound, c.start_secs, c.end_secs);
        let before = heard(clip);
        let another = clip.audio != case.audio;
        self.draft = case.draft;
        clip.audio = case.audio;
        clip.sound = case.sound;
        clip.frames = case.frames;
        clip.start_secs = case.start_secs;
        clip.end_secs = case.end_secs;
        if heard(clip) != before {
            self.sound_id += 1;
            if another {
                // Else what there is stands until what was made of it is there.
                self.lanes = None;
                self.outlines = [None, None];
                self.spectrum = None;
            }
            self.lanes_pending = true;
        }
    }

    pub(super) fn forget_history(&mut self) {
        self.history = History::default();
    }
}

/// The field in which two drafts differ.
fn topic(a: &Draft, b: &Draft) -> Topic {
    let fields = [
        (a.system != b.system, Topic::System),
        (a.caption != b.caption, Topic::Caption),
        (a.question != b.question, Topic::Question),
        (a.options != b.options, Topic::Options),
        (a.context != b.context, Topic::Context),
    ];
    let mut changed = fields.iter().filter(|(changed, _)| *changed);
    match (changed.next(), changed.next()) {
        (Some((_, topic)), None) => *topic,
        _ => Topic::Step,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clip::{AudioSource, FrameEdit, SoundEdit};
    use crate::time::Span;

    fn edit() -> impl Strategy<Value = Command> {
        let text = "[a-c]{0,3}";
        let draft = (text, text, text, text, text).prop_map(|(system, caption, question, options, context)| {
            Command::Edit(Box::new(Draft { system, caption, question, options, context }))
        });
        let audio = prop_oneof![
            Just(AudioSource::None),
            Just(AudioSource::Original { track: None }),
            (0u64..3, -40i32..0).prop_map(|(seed, level_db)| AudioSource::Noise { seed, level_db }),
            (0usize..3).prop_map(|n| AudioSource::File { path: format!("{n}.wav").into(), track: None }),
        ];
        let sound = (-3i32..3, -3i32..3, any::<bool>()).prop_map(|(offset, gain, repeat)| SoundEdit {
            offset_secs: f64::from(offset),
            gain_db: f64::from(gain),
            repeat,
        });
        let frames = prop_oneof![
            Just(FrameEdit::Keep),
            Just(FrameEdit::Black),
            Just(FrameEdit::Reverse),
            (0u64..3).prop_map(|seed| FrameEdit::Shuffle { seed }),
        ];
        prop_oneof![
            draft,
            audio.prop_map(Command::SetAudio),
            sound.prop_map(Command::SetSound),
            frames.prop_map(Command::SetFrames),
            proptest::option::of(0i32..5)
                .prop_map(|p| Command::UsePart(p.map(|p| Span::new(f64::from(p), f64::from(p) + 1.0)))),
        ]
    }

    proptest! {
        #[test]
        fn whatever_is_done_and_undone_leaves_the_start(
            edits in proptest::collection::vec((edit(), 0.0f64..2.0), 0..40),
            back in 0usize..40,
        ) {
            let mut state = State::default();
            let start = state.case();
            for (command, pause) in &edits {
                state.now_secs += pause;
                state.perform(command);
            }
            let end = state.case();
            // Some steps back and forth first.
            for _ in 0..back {
                state.perform(&Command::Undo);
            }
            while state.can_undo()[1] {
                state.perform(&Command::Redo);
            }
            prop_assert_eq!(&state.case(), &end);
            while state.can_undo()[0] {
                state.perform(&Command::Undo);
            }
            prop_assert_eq!(state.case(), start);
            while state.can_undo()[1] {
                state.perform(&Command::Redo);
            }
            prop_assert_eq!(state.case(), end);
        }
    }

    #[test]
    fn typing_is_one_change_and_a_new_change_ends_what_could_be_redone() {
        let mut state = State::default();
        let type_in = |state: &mut State, text: &str, at: f64| {
            state.now_secs = at;
            let draft = Draft { caption: text.to_owned(), ..state.draft.clone() };
            state.perform(&Command::Edit(Box::new(draft)));
        };
        for (i, text) in ["a", "a c", "a ca", "a cat"].into_iter().enumerate() {
            type_in(&mut state, text, i as f64 * 0.3);
        }
        type_in(&mut state, "a cat sings", 10.0);
        state.perform(&Command::Undo);
        assert_eq!(state.draft.caption, "a cat");
        state.perform(&Command::Undo);
        assert_eq!((state.draft.caption.as_str(), state.can_undo()), ("", [false, true]));
        state.perform(&Command::Redo);
        type_in(&mut state, "a dog", 10.1);
        assert_eq!(state.can_undo(), [true, false]);
        state.perform(&Command::Undo);
        assert_eq!(state.draft.caption, "a cat");
        // Another sound is computed anew, the same words are not.
        let sound = state.sound_id;
        state.perform(&Command::SetAudio(AudioSource::Noise { seed: 1, level_db: -20 }));
        assert_eq!(state.sound_id, sound + 1);
        state.perform(&Command::SetFrames(FrameEdit::Black));
        assert_eq!(state.sound_id, sound + 1);
        state.perform(&Command::Undo);
        state.perform(&Command::Undo);
        assert_eq!((state.sound_id, &state.clip.audio), (sound + 2, &AudioSource::None));
    }
}
