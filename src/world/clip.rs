//! One clip of the toy world: its picture at any instant, its sound, and the truth about both.
//! Knows nothing of files or codecs.

use serde::{Deserialize, Serialize};

use crate::frame::RgbImage;
use crate::world::cast::{Class, Condition, Position, When};
use crate::world::rng::{Rng, Stream};
use crate::world::scene::{SIZE, Scene};
use crate::world::score::{DURATION_SECS, Score};
use crate::world::sound::{RATE, Sound};

/// Frames per second of every clip.
pub const FPS: u32 = 12;
/// Frames of every clip.
pub const FRAMES: usize = (DURATION_SECS * FPS as f64) as usize;

/// What is true of a clip: a line of `metadata.jsonl` without the file's name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// Seed of the data set.
    pub seed: u64,
    /// Number of the clip in it.
    pub index: u64,
    /// What it offers to the senses.
    pub condition: Condition,
    /// What the picture shows; `None` for black frames.
    pub visual_class: Option<Class>,
    /// What the sound is; `None` for silence.
    pub audio_class: Option<Class>,
    /// The third of the picture in which it stands.
    pub position: Option<Position>,
    /// The third of the clip in which it sounds.
    pub when: Option<When>,
    /// x0, y0, x1, y1 in 0…1 of the actor, per frame; empty for black frames.
    pub boxes: Vec<[f64; 4]>,
    /// Start and end in seconds of each stretch that sounds; empty for silence.
    pub sounding: Vec<[f64; 2]>,
    /// A caption, for about two clips in three.
    pub caption: Option<String>,
    /// Whether the caption is true; `None` without one.
    pub caption_is_true: Option<bool>,
    /// Frames per second.
    pub fps: u32,
    /// Length in seconds.
    pub duration_secs: f64,
}

/// A clip, not yet rendered.
#[derive(Debug, Clone)]
pub struct Clip {
    scene: Scene,
    sound: Sound,
    condition: Condition,
    seed: u64,
    index: u64,
    caption: Option<(String, bool)>,
}

impl Clip {
    /// Clip `index` of the data set `seed` under `condition`. Classes take turns in shuffled rounds, so that any
    /// stretch of a data set is balanced.
    pub fn new(seed: u64, index: u64, condition: Condition) -> Self {
        let classes = Class::ALL.len() as u64;
        let mut round = Class::ALL;
        Rng::new(seed, index / classes, Stream::Round).shuffle(&mut round);
        let seen = round[(index % classes) as usize];
        let mut cast = Rng::new(seed, index, Stream::Cast);
        let other = |cast: &mut Rng, not: &[Class]| {
            let left: Vec<_> = Class::ALL.into_iter().filter(|c| !not.contains(c)).collect();
            *cast.pick(&left)
        };
        let heard = if condition == Condition::Swapped { other(&mut cast, &[seen]) } else { seen };
        let score = Score::compose(seen, &mut Rng::new(seed, index, Stream::Score));
        let sound_score = if condition == Condition::Swapped {
            Score::compose(heard, &mut Rng::new(seed, index, Stream::SwapScore))
        } else {
            score.clone()
        };
        let scene = Scene::compose(score, &mut Rng::new(seed, index, Stream::Picture));
        let sound = Sound::compose(sound_score, &mut Rng::new(seed, index, Stream::Sound));
        let caption = match cast.below(3) {
            0 => None,
            1 => Some((caption(&mut cast, condition, seen, heard), true)),
            _ => {
                let wrong = other(&mut cast, &[seen, heard]);
                let also_wrong =
                    if condition == Condition::Swapped { other(&mut cast, &[seen, heard, wrong]) } else { wrong };
                Some((caption(&mut cast, condition, wrong, also_wrong), false))
            }
        };
        Self { scene, sound, condition, seed, index, caption }
    }

    /// The frame that is shown from `t` seconds, and the actor's box; black frames have no box. `None` only when
    /// no canvas of this size can be had.
    pub fn frame(&self, t: f64) -> Option<(RgbImage, Option<[f64; 4]>)> {
        if self.condition == Condition::SoundOnly {
            return Some((RgbImage { width: SIZE, height: SIZE, data: vec![0; SIZE * SIZE * 3] }, None));
        }
        self.scene.draw(t).map(|(image, bounds)| (image, Some(bounds)))
    }

    /// Presentation time of frame `i` in seconds.
    pub fn frame_time(i: usize) -> f64 {
        i as f64 / f64::from(FPS)
    }

    /// Mono samples at [`RATE`]; `None` when the clip has no sound.
    pub fn pcm(&self) -> Option<Vec<f32>> {
        self.pcm_at(RATE)
    }

    /// Mono samples at another rate; `None` when the clip has no sound.
    pub fn pcm_at(&self, rate: u32) -> Option<Vec<f32>> {
        (self.condition != Condition::PictureOnly).then(|| self.sound.render(rate))
    }

    /// What is true of the clip. `boxes` are those that [`Self::frame`] returned, in frame order.
    pub fn truth(&self, boxes: Vec<[f64; 4]>) -> Truth {
        let sees = self.condition != Condition::SoundOnly;
        let hears = self.condition != Condition::PictureOnly;
        Truth {
            seed: self.seed,
            index: self.index,
            condition: self.condition,
            visual_class: sees.then_some(self.scene.class),
            audio_class: hears.then(|| self.sound.score().class),
            position: sees.then_some(self.scene.position),
            when: hears.then(|| self.sound.score().when),
            boxes,
            sounding: if hears { self.sound.score().sounding() } else { Vec::new() },
            caption: self.caption.as_ref().map(|(text, _)| text.clone()),
            caption_is_true: self.caption.as_ref().map(|(_, truth)| *truth),
            fps: FPS,
            duration_secs: DURATION_SECS,
        }
    }
}

/// A sentence about what is seen and heard.
pub fn caption(rng: &mut Rng, condition: Condition, seen: Class, heard: Class) -> String {
    let (see, hear) = (seen.noun_phrase(), heard.noun_phrase());
    let choice = rng.below(3);
    let text = match condition {
        Condition::Aligned => match choice {
            0 => format!("{see} {}", seen.verb()),
            1 => format!("a video of {see}"),
            _ => format!("{see} that {}", seen.verb()),
        },
        Condition::Swapped => match choice {
            0 => format!("{see}, and the sound of {hear}"),
            1 => format!("{see} is shown while {hear} {}", heard.verb()),
            _ => format!("the picture shows {see}, the sound is {hear}"),
        },
        Condition::SoundOnly => match choice {
            0 => format!("the sound of {hear}"),
            1 => format!("{hear} {} in the dark", heard.verb()),
            _ => format!("{hear} that {}", heard.verb()),
        },
        Condition::PictureOnly => match choice {
            0 => format!("a silent video of {see}"),
            1 => format!("{see} without a sound"),
            _ => format!("a picture of {see}"),
        },
    };
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_has_every_class_and_a_swap_is_a_swap() {
        for condition in Condition::ALL {
            let mut seen = Vec::new();
            for index in 24..36 {
                let truth = Clip::new(7, index, condition).truth(Vec::new());
                seen.extend(truth.visual_class.or(truth.audio_class));
                match condition {
                    Condition::Swapped => assert_ne!(truth.visual_class, truth.audio_class),
                    Condition::Aligned => assert_eq!(truth.visual_class, truth.audio_class),
                    Condition::SoundOnly => assert!(truth.visual_class.is_none() && truth.audio_class.is_some()),
                    Condition::PictureOnly => assert!(truth.audio_class.is_none() && truth.sounding.is_empty()),
                }
            }
            seen.sort();
            assert_eq!(seen, Class::ALL);
        }
    }

    #[test]
    fn captions_are_true_or_false_as_stated() {
        let (mut right, mut wrong) = (0, 0);
        for index in 0..60 {
            let truth = Clip::new(8, index, Condition::Aligned).truth(Vec::new());
            let (Some(caption), Some(is_true), Some(class)) =
                (truth.caption, truth.caption_is_true, truth.visual_class)
            else {
                continue;
            };
            let names_it = caption.to_lowercase().split(' ').any(|w| w == class.name());
            assert_eq!(names_it, is_true, "{caption}");
            *(if is_true { &mut right } else { &mut wrong }) += 1;
        }
        assert!(right > 10 && wrong > 10);
    }
}
