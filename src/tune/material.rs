//! What a model learns from: clips as they come through the codec, and batches of questions about them.
//! Knows nothing of losses or steps.

use std::path::Path;

use rayon::prelude::*;

use crate::clip::ClipSpec;
use crate::frame::RgbImage;
use crate::media;
use crate::model::qwen2_5_omni::processor::{Inputs, Processor};
use crate::sampled::{SAMPLE_RATE, SampledAudio, SampledClip, SampledVideo};
use crate::settings::Sampling;
use crate::tune::TuneError;
use crate::world::rng::{Noise, Rng};
use crate::world::{Captions, Class, Condition, Kind, Position, Question, Row, Truth, read_metadata};

/// A decoded clip at the model's picture size.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Frames and sound.
    pub clip: SampledClip,
    /// What is true of it.
    pub truth: Truth,
}

/// The clips of a `VideoFolder`, none decoded yet.
///
/// Fails where there are not two aligned clips or any other: the other conditions are made from aligned ones.
pub fn rows(folder: &Path) -> Result<Vec<Row>, TuneError> {
    let rows = read_metadata(folder)?;
    if rows.len() < 2 || rows.iter().any(|row| row.truth.condition != Condition::Aligned) {
        return Err(TuneError::Options(format!(
            "this needs aligned clips, at least two; other conditions are made from them ({})",
            folder.display()
        )));
    }
    Ok(rows)
}

/// Decodes every clip of a `VideoFolder` ([`rows`]) as a model would be given it.
pub fn load(folder: &Path, processor: &Processor) -> Result<Vec<Sample>, TuneError> {
    rows(folder)?
        .par_iter()
        .map(|row| {
            let path = folder.join(&row.file_name);
            let sampling = Sampling::default();
            let (clip, _) =
                media::sample_clip_with(&ClipSpec::original(&path), &sampling, &|| false, &mut |image, frames| {
                    Ok(processor.shrink(&image, frames, &sampling)?)
                })?;
            Ok(Sample { clip, truth: row.truth.clone() })
        })
        .collect()
}

/// A clip as it is shown in one step, and the questions asked about it.
#[derive(Debug)]
pub struct Case {
    /// What it offers to the senses.
    pub condition: Condition,
    /// What the picture shows.
    pub seen: Option<Class>,
    /// What the sound is.
    pub heard: Option<Class>,
    /// The questions.
    pub questions: Vec<Question>,
    /// The model's inputs for each question; media are those of the first.
    pub inputs: Vec<Inputs>,
}

/// Which clips and questions a batch is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// The base model's diet: class questions never meet a conflict.
    Base,
    /// Every question about clips of one condition, in its plainest wording.
    Plain(Condition),
    /// As [`Mix::Plain`], with a caption that names another class.
    Misled(Condition),
}

/// Makes a case of `sample`; another clip's sound stands in where the mix wants a mismatch.
pub fn case(
    sample: &Sample,
    other: &Sample,
    mix: Mix,
    questions: usize,
    processor: &Processor,
    rng: &mut Rng,
) -> Result<Case, TuneError> {
    let condition = match mix {
        Mix::Plain(condition) | Mix::Misled(condition) => condition,
        // One sense alone more often than both: where both agree, the easier one (sound) answers every question and
        // the other is never learnt.
        Mix::Base => match rng.below(20) {
            0..5 => Condition::Aligned,
            5..9 => Condition::Swapped,
            9..13 => Condition::SoundOnly,
            _ => Condition::PictureOnly,
        },
    };
    let (mut clip, mut truth) = stage(sample, other, condition, mix == Mix::Base, rng);
    if mix == Mix::Base {
        augment(&mut clip, &mut truth, rng);
    }
    let truth = &truth;
    let mut kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|k| k.answer(truth).is_some()).collect();
    let questions: Vec<Question> = if mix == Mix::Base {
        if condition == Condition::Swapped {
            // Disagreement is only ever met where it is asked for, or where class plays no part.
            kinds.retain(|k| matches!(k, Kind::Match | Kind::Where | Kind::When));
        }
        rng.shuffle(&mut kinds);
        if let Some(at) = kinds.iter().position(|k| *k == Kind::Match).filter(|_| condition == Condition::Swapped) {
            kinds.swap(0, at);
        }
        kinds.truncate(questions);
        kinds.iter().filter_map(|k| Question::random(*k, truth, Captions::True, rng)).collect()
    } else {
        kinds
            .iter()
            .filter_map(|k| {
                let mut question = Question::plain(*k, truth)?;
                if let Mix::Misled(_) = mix {
                    question.prompt.caption = Question::random(*k, truth, Captions::Misleading, rng)?.prompt.caption;
                }
                Some(question)
            })
            .collect()
    };
    let inputs = questions
        .iter()
        .map(|q| Ok(processor.process(&processor.case_messages(clip.clone(), &q.prompt), &Sampling::default())?))
        .collect::<Result<_, TuneError>>()?;
    Ok(Case { condition, seen: truth.visual_class, heard: truth.audio_class, questions, inputs })
}

/// The clip under a condition, and what is then true.
fn stage(sample: &Sample, other: &Sample, condition: Condition, vary: bool, rng: &mut Rng) -> (SampledClip, Truth) {
    if condition == sample.truth.condition {
        return (sample.clip.clone(), sample.truth.clone());
    }
    let mut clip = sample.clip.clone();
    let mut truth = Truth { condition, ..sample.truth.clone() };
    match condition {
        Condition::Aligned => {}
        Condition::Swapped => {
            clip.audio.clone_from(&other.clip.audio);
            truth.audio_class = other.truth.audio_class;
            truth.when = other.truth.when;
            truth.sounding.clone_from(&other.truth.sounding);
        }
        Condition::SoundOnly => {
            if vary && rng.chance(0.15) {
                clip.video = None;
            } else if let Some(video) = &mut clip.video {
                blacken(video);
            }
            (truth.visual_class, truth.position) = (None, None);
            truth.boxes.clear();
        }
        Condition::PictureOnly => {
            clip.audio = (vary && rng.chance(0.3)).then(|| silence(rng));
            (truth.audio_class, truth.when) = (None, None);
            truth.sounding.clear();
        }
    }
    (clip, truth)
}

/// The same clip seen in a mirror, or louder or softer: clips cost more to make than to learn from twice.
fn augment(clip: &mut SampledClip, truth: &mut Truth, rng: &mut Rng) {
    if rng.chance(0.5) {
        for frame in clip.video.iter_mut().flat_map(|video| &mut video.frames) {
            mirror(frame);
        }
        truth.position = truth.position.map(Position::mirrored);
        for [x0, _, x1, _] in &mut truth.boxes {
            (*x0, *x1) = (1.0 - *x1, 1.0 - *x0);
        }
    }
    if let Some(sound) = &mut clip.audio {
        let gain = rng.range(0.5, 1.3) as f32;
        for sample in &mut sound.samples {
            *sample = (*sample * gain).clamp(-1.0, 1.0);
        }
    }
}

fn mirror(frame: &mut RgbImage) {
    for row in frame.data.chunks_exact_mut(3 * frame.width.max(1)) {
        let (pixels, _) = row.as_chunks_mut::<3>();
        pixels.reverse();
    }
}

fn blacken(video: &mut SampledVideo) {
    for frame in &mut video.frames {
        *frame = RgbImage { data: vec![0; frame.data.len()], ..*frame };
    }
}

/// Four seconds in which nothing sounds: nothing at all, or faint noise.
fn silence(rng: &mut Rng) -> SampledAudio {
    let level = if rng.chance(0.5) { 0.0 } else { rng.range(1e-4, 6e-3) };
    let mut noise = Noise::new(rng);
    let samples = (0..4 * SAMPLE_RATE).map(|_| (level * noise.sample()) as f32).collect();
    SampledAudio { samples, start_secs: 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::clip::Clip;

    #[test]
    fn a_mirrored_clip_stays_true() {
        let (image, bounds) = Clip::new(3, 1, Condition::Aligned).frame(1.0).unwrap();
        let audio = Some(SampledAudio { samples: vec![0.9, -0.9], start_secs: 0.0 });
        let video = Some(SampledVideo { frames: vec![image.clone()], pts_secs: vec![1.0], fps: 2.0 });
        let clip = SampledClip { video, audio };
        let truth = Truth {
            position: Some(Position::Left),
            ..Clip::new(3, 1, Condition::Aligned).truth(vec![bounds.unwrap()])
        };
        let (mut mirrored, mut louder) = (0, 0);
        for index in 0..40 {
            let (mut clip, mut truth) = (clip.clone(), truth.clone());
            augment(&mut clip, &mut truth, &mut Rng::new(1, index, crate::world::rng::Stream::Batch));
            let frame = &clip.video.unwrap().frames[0];
            let [x0, y0, x1, y1] = truth.boxes[0];
            assert!(x0 < x1 && y0 < y1);
            let pixel = |image: &RgbImage, x: usize, y: usize| image.data[3 * (y * image.width + x)..][..3].to_vec();
            if truth.position == Some(Position::Right) {
                mirrored += 1;
                let [left, _, right, _] = bounds.unwrap();
                assert!((1.0 - x1 - left).abs() < 1e-12 && (1.0 - x0 - right).abs() < 1e-12);
                assert_eq!(pixel(frame, 10, 7), pixel(&image, image.width - 11, 7));
            } else {
                assert_eq!(*frame, image);
            }
            let samples = clip.audio.unwrap().samples;
            assert!(samples[0] <= 1.0 && samples[0] == -samples[1]);
            louder += usize::from(samples[0] > 0.9);
        }
        assert!((5..35).contains(&mirrored) && (3..35).contains(&louder));
    }
}
