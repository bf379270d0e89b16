//! The toy world: the same everywhere, true to its metadata, written whole or not at all.

use std::sync::atomic::AtomicBool;

use modalens::clip::ClipSpec;
use modalens::media::{self, EncodeSpeed, VideoReader};
use modalens::settings::Sampling;
use modalens::world::clip::{Clip, FRAMES};
use modalens::world::{Class, Condition, Options, WorldError, read_metadata, write_dataset};
use sha2::{Digest, Sha256};

fn short_hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(8).fold(String::new(), |s, b| format!("{s}{b:02x}"))
}

#[allow(clippy::unwrap_used, reason = "a helper of tests")]
/// Hashes of one frame in action and of the whole sound, for the first clip of every class.
fn fingerprints() -> Vec<(Class, String, String)> {
    (0..12)
        .map(|index| {
            let clip = Clip::new(2026, index, Condition::Aligned);
            let truth = clip.truth(Vec::new());
            let (image, bounds) = clip.frame(truth.sounding[0][0] + 0.05).unwrap();
            let mut pixels = image.data;
            pixels.extend(bounds.unwrap().iter().flat_map(|b| b.to_le_bytes()));
            let samples: Vec<u8> = clip.pcm().unwrap().iter().flat_map(|x| x.to_le_bytes()).collect();
            (truth.visual_class.unwrap(), short_hash(&pixels), short_hash(&samples))
        })
        .collect()
}

/// Pixels and samples before encoding are part of the contract: a data set is named by its seed alone.
#[test]
fn pixels_and_samples_are_the_same_on_every_platform() {
    let found: Vec<String> = fingerprints()
        .into_iter()
        .map(|(class, pixels, samples)| format!("{} {pixels} {samples}", class.name()))
        .collect();
    let want: Vec<&str> = include_str!("world_fingerprints.txt").lines().collect();
    assert_eq!(found, want, "the world changed:\n{}", found.join("\n"));
}

#[test]
fn a_data_set_is_what_its_metadata_says() {
    let folder = tempfile::tempdir().unwrap();
    let cycle = Options { out: "x".into(), count: 48, seed: 77, condition: None, speed: EncodeSpeed::Fastest };
    let conditions: Vec<_> = (0..48).step_by(12).map(|index| cycle.condition_of(index)).collect();
    assert_eq!(conditions, Condition::ALL);
    for condition in conditions {
        let options = Options {
            out: folder.path().join(condition.name()),
            count: 2,
            condition: Some(condition),
            ..cycle.clone()
        };
        let report = write_dataset(&options, &|_, _| {}, &AtomicBool::new(false)).unwrap();
        let rows = read_metadata(&options.out).unwrap();
        assert_eq!((report.clips, rows.len()), (2, 2));
        let row = &rows[1];
        assert_eq!(row.truth.condition, condition);
        let path = options.out.join(&row.file_name);
        let (sampled, notes) = media::sample_clip(&ClipSpec::original(&path), &Sampling::default(), &|| false).unwrap();
        let video = sampled.video.unwrap();
        assert_eq!(video.frames.len(), 8, "{notes:?}");
        let light = |image: &modalens::frame::RgbImage| {
            image.data.iter().map(|b| f64::from(*b)).sum::<f64>() / image.data.len() as f64
        };
        if condition == Condition::SoundOnly {
            assert!(video.frames.iter().all(|f| light(f) < 3.0));
            assert!(row.truth.boxes.is_empty() && row.truth.visual_class.is_none());
        } else {
            assert_eq!(row.truth.boxes.len(), FRAMES);
            assert!(row.truth.boxes.iter().all(|b| b[0] < b[2] && b[1] < b[3] && b[0] >= 0.0 && b[3] <= 1.0));
            let center = f64::midpoint(row.truth.boxes[0][0], row.truth.boxes[0][2]);
            assert_eq!((center * 3.0) as usize, row.truth.position.unwrap() as usize);
            // What was drawn is what comes back, up to the codec.
            let mut reader = VideoReader::open(&path).unwrap();
            assert!(reader.next_frame().unwrap().is_some());
            let (drawn, _) = Clip::new(77, row.truth.index, row.truth.condition).frame(0.0).unwrap();
            let error =
                drawn.data.iter().zip(&video.frames[0].data).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>()
                    / drawn.data.len() as f64;
            assert!(error < 6.0, "{error} levels apart on average");
        }
        match (&sampled.audio, row.truth.condition) {
            (None, Condition::PictureOnly) => {
                assert!(row.truth.sounding.is_empty() && row.answers.hear.as_deref() == Some("None of the above"));
            }
            (Some(audio), _) => {
                let loud = |t: f64| row.truth.sounding.iter().any(|s| (s[0] - 0.03..s[1] + 0.06).contains(&t));
                let (mut inside, mut outside) = (0.0f32, 0.0f32);
                for (i, x) in audio.samples.iter().enumerate() {
                    let peak = if loud(audio.start_secs + i as f64 / 16_000.0) { &mut inside } else { &mut outside };
                    *peak = peak.max(x.abs());
                }
                assert!(inside > 2.0 * outside, "{:?}: {inside} inside, {outside} outside", row.truth);
            }
            (None, condition) => panic!("{condition:?} lost its sound"),
        }
    }
}

#[test]
fn a_data_set_appears_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("set");
    let mut options = Options {
        out: out.clone(),
        count: 3,
        seed: 1,
        condition: Some(Condition::Aligned),
        speed: EncodeSpeed::Fastest,
    };
    let cancelled = write_dataset(&options, &|_, _| {}, &AtomicBool::new(true));
    assert!(matches!(cancelled, Err(WorldError::Cancelled)));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "something was left behind");

    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("mine.txt"), "keep").unwrap();
    assert!(matches!(write_dataset(&options, &|_, _| {}, &AtomicBool::new(false)), Err(WorldError::Exists(_))));
    assert_eq!(std::fs::read_to_string(out.join("mine.txt")).unwrap(), "keep");

    options.count = 0;
    assert!(matches!(write_dataset(&options, &|_, _| {}, &AtomicBool::new(false)), Err(WorldError::Options(_))));
}
