//! What the processor promises for any clip: sizes, frame counts, positions, order, and text that is never cut inside
//! a character.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use modalens::frame::RgbImage;
use modalens::model::qwen2_5_omni::config::{Config, audio_tokens};
use modalens::model::qwen2_5_omni::processor::mel::{LogMel, MelSpec};
use modalens::model::qwen2_5_omni::processor::pixels::smart_resize;
use modalens::model::qwen2_5_omni::processor::positions::{Media, rope_positions, step_times};
use modalens::model::qwen2_5_omni::processor::{Inputs, Message, Piece, PixelLimits, Processor, ProcessorError, Role};
use modalens::prompt::{Part, Prompt};
use modalens::provenance::Source;
use modalens::sampled::{SampledAudio, SampledClip, SampledVideo};
use modalens::settings::Sampling;
use proptest::prelude::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn load(dir: &Path) -> Result<Processor, ProcessorError> {
    Processor::load(dir, &Config::load(dir).unwrap())
}

static CONFIG: LazyLock<Config> = LazyLock::new(|| Config::load(&fixture("tiny/ckpt")).unwrap());
static PROCESSOR: LazyLock<Processor> = LazyLock::new(|| load(&fixture("tiny/ckpt")).unwrap());

fn frame(width: usize, height: usize, seed: usize) -> RgbImage {
    let data = (0..width * height * 3).map(|i| ((i * 31 + seed * 77) % 251) as u8).collect();
    RgbImage { width, height, data }
}

fn video(frames: usize, [width, height]: [usize; 2], fps: f64) -> SampledVideo {
    let frames: Vec<_> = (0..frames).map(|i| frame(width, height, i)).collect();
    SampledVideo { pts_secs: (0..frames.len()).map(|i| i as f64 / fps).collect(), frames, fps }
}

fn sound(samples: usize) -> SampledAudio {
    SampledAudio { samples: (0..samples).map(|i| (i as f32 * 0.05).sin() * 0.3).collect(), start_secs: 0.0 }
}

/// Small grids, whatever the frame.
const SMALL: Sampling = Sampling { fps: None, min_pixels: Some(784), max_pixels: Some(6 * 784) };

fn laid(clip: SampledClip) -> Inputs {
    let prompt = Prompt { question: "What do you hear?".into(), ..Prompt::default() };
    PROCESSOR.process(&PROCESSOR.case_messages(clip, &prompt), &SMALL).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Multiples of the factor, within the limits as far as a single row or column allows, stable when done again.
    #[test]
    fn sizes_are_whole_tokens_within_the_limits(
        (height, width) in (1..4000usize, 1..4000usize), factor in 1..60usize, min in 1..500_000usize, room in 4..40usize,
    ) {
        let max = min * room;
        let Some([h, w]) = smart_resize(height, width, factor, min, max) else {
            prop_assert!(height.max(width) > 200 * height.min(width));
            return Ok(());
        };
        prop_assert!(height.max(width) <= 200 * height.min(width));
        prop_assert!(h > 0 && w > 0 && h.is_multiple_of(factor) && w.is_multiple_of(factor), "{h}×{w}");
        prop_assert!(h * w >= min, "{h}×{w} is less than {min}");
        prop_assert!(h * w <= max || h == factor || w == factor, "{h}×{w} is more than {max}");
        if h * w <= max && h.max(w) <= 200 * h.min(w) {
            prop_assert_eq!(smart_resize(h, w, factor, min, max), Some([h, w]));
        }
    }

    /// A prompt and grids that have nothing to do with each other are refused or laid out, never a panic, and what is
    /// laid out has a position for every token.
    #[test]
    fn any_ids_and_grids_give_a_position_for_each_or_an_error(
        kinds in prop::collection::vec(0..7usize, 0..40),
        grids in prop::collection::vec(prop::array::uniform3(0..6usize), 0..3),
        wild in prop::option::of(prop::array::uniform3(prop_oneof![0..6usize, any::<usize>()])),
        seconds in prop::collection::vec(prop_oneof![0.1..9.0, any::<f64>()], 0..3),
        audio_frames in prop::collection::vec(prop_oneof![0..40usize, any::<usize>()], 0..3),
        audio_in_video in any::<bool>(),
    ) {
        let c = &*CONFIG;
        let alphabet = [
            7, c.audio_token_index, c.image_token_index, c.video_token_index, c.audio_start_token_id,
            c.vision_start_token_id, c.vision_end_token_id,
        ];
        let ids: Vec<u32> = kinds.into_iter().map(|k| alphabet[k]).collect();
        let mut videos = grids.clone();
        videos.extend(wild);
        let media = Media {
            images: &grids, videos: &videos, second_per_grid: &seconds, audio_frames: &audio_frames, audio_in_video,
        };
        if let Ok((axes, next)) = rope_positions(c, &ids, &media) {
            prop_assert!(axes.iter().all(|axis| axis.len() == ids.len()));
            prop_assert!(next < 1 << 31);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// One frame per started hop of what is heard, all of them within eight decades of power.
    #[test]
    fn mel_frames_count_the_hops(
        samples in 0..3000usize, hop in 1..300usize, window in 16..600usize, padded in 600..2400usize,
    ) {
        let mel = LogMel::new(MelSpec { rate: 16_000, window, hop, bins: 20, padded });
        let frames = samples.min(padded).div_ceil(hop);
        prop_assert_eq!(mel.frames(samples), frames);
        let values = mel.compute(&sound(samples).samples);
        prop_assert_eq!(values.len(), 20 * frames);
        let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let least = values.iter().copied().fold(f32::INFINITY, f32::min);
        prop_assert!(values.iter().all(|v| v.is_finite()) && (frames == 0 || most - least <= 2.001));
    }

    /// Every token has a position on three axes, and media tokens have those of their cell or moment.
    #[test]
    fn positions_follow_what_the_tokens_stand_for(
        frames in 2..9usize, size in prop::array::uniform2(20..120usize), samples in prop::option::of(0..70_000usize),
        fps in prop_oneof![Just(0.5), Just(1.0), Just(2.0), Just(3.0), Just(7.3), 0.3..30.0],
    ) {
        let clip = SampledClip { video: Some(video(frames, size, fps)), audio: samples.map(sound) };
        let inputs = laid(clip);
        let n = inputs.ids.len();
        prop_assert_eq!(inputs.provenance.tokens.len(), n);
        prop_assert!(inputs.positions.iter().all(|axis| axis.len() == n));
        let at = |i: usize| inputs.positions.each_ref().map(|axis| axis[i]);
        prop_assert_eq!(at(n - 1), [inputs.next_position - 1; 3]);
        let grid = inputs.videos[0].grid;
        prop_assert_eq!(grid[0], frames.div_ceil(2));
        let times = step_times(grid[0], 2.0 / fps, 25.0).unwrap();
        let first = inputs.provenance.tokens.iter().position(|t| matches!(t.source, Source::Video { .. })).unwrap();
        let start = inputs.positions[1][first];
        let (mut cells, mut moments) = (0, 0);
        for (i, token) in inputs.provenance.tokens.iter().enumerate() {
            prop_assert_eq!(token.id, inputs.ids[i]);
            match token.source {
                Source::Video { step, row, col, .. } => {
                    cells += 1;
                    prop_assert_eq!(at(i), [start + times[step], start + row as u32, start + col as u32]);
                }
                Source::Audio { index, .. } => {
                    moments += 1;
                    prop_assert_eq!(at(i), [start + index as u32; 3]);
                }
                _ => prop_assert!(at(i)[0] == at(i)[1] && at(i)[1] == at(i)[2]),
            }
            // Before the clip, words count on one by one.
            if i + 2 < first {
                prop_assert_eq!(at(i), [i as u32; 3]);
            }
        }
        prop_assert_eq!(cells, grid.iter().product::<usize>() / 4);
        prop_assert_eq!(moments, samples.map_or(0, |s| audio_tokens(s.div_ceil(160))));
    }

    /// Picture and sound take turns by the clock: within two seconds the picture first, each in its own order.
    #[test]
    fn picture_and_sound_interleave_by_the_clock(
        frames in 2..14usize, samples in 0..90_000usize, fps in prop_oneof![Just(1.0), Just(2.0), 1.0..20.0],
    ) {
        let clip = SampledClip { video: Some(video(frames, [56, 84], fps)), audio: Some(sound(samples)) };
        let inputs = laid(clip);
        let order: Vec<(usize, u8, [usize; 3])> = inputs.provenance.tokens.iter().filter_map(|t| match t.source {
            Source::Video { step, row, col, .. } => {
                Some(((step as f64 * (2.0 / fps) * 25.0 / 50.0) as usize, 0, [step, row, col]))
            }
            Source::Audio { index, .. } => Some((index / 50, 1, [index, 0, 0])),
            _ => None,
        }).collect();
        prop_assert!(order.is_sorted(), "{order:?}");
    }

    /// Words of any script come back as they were, and never with half a character.
    #[test]
    fn streamed_text_never_splits_a_character(text in "[a-z 日本語の音楽ñé한국🔔🎺👩‍👧ЖЯ…]{0,40}") {
        let ids: Vec<u32> = PROCESSOR.tokenizer().encode(&text).unwrap().into_iter().map(|t| t.id).collect();
        let mut stream = PROCESSOR.stream_decoder();
        let mut said = String::new();
        for id in ids {
            let piece = stream.push(id);
            prop_assert!(!piece.contains(char::REPLACEMENT_CHARACTER));
            said.push_str(&piece);
            prop_assert!(text.starts_with(&said), "{said:?}");
        }
        prop_assert_eq!(stream.finish(), "");
        prop_assert_eq!(said, text);
    }
}

/// Characters that the vocabulary has no token for arrive when their last byte does, and not before.
#[test]
fn a_character_comes_with_its_last_byte() {
    for (text, bytes) in [("語", 3), ("🔔", 4), ("é", 2)] {
        let ids: Vec<u32> = PROCESSOR.tokenizer().encode(text).unwrap().into_iter().map(|t| t.id).collect();
        assert_eq!(ids.len(), bytes, "{text} is split over tokens");
        let mut stream = PROCESSOR.stream_decoder();
        let pieces: Vec<String> = ids.iter().map(|id| stream.push(*id)).collect();
        assert!(pieces[..bytes - 1].iter().all(String::is_empty), "{pieces:?}");
        assert_eq!(pieces[bytes - 1], text);

        // An answer that ends inside says that something is missing; one that goes on with a letter loses only that.
        let mut cut = PROCESSOR.stream_decoder();
        assert_eq!(cut.push(ids[0]), "");
        assert_eq!(cut.finish(), "\u{fffd}");
        let mut broken = PROCESSOR.stream_decoder();
        broken.push(ids[0]);
        let a = PROCESSOR.tokenizer().encode("a").unwrap()[0].id;
        assert_eq!(broken.push(a), "\u{fffd}a");
        // A special token in between is no text and completes nothing.
        let mut special = PROCESSOR.stream_decoder();
        special.push(ids[0]);
        assert_eq!(special.push(CONFIG.video_token_index), "");
        assert_eq!(special.finish(), "\u{fffd}");
    }
}

/// What is fed can be read off again, to the last bit: frames, the one that fills a step up, and the log-mel.
#[test]
fn what_is_fed_is_told_as_it_is() {
    let clip = SampledClip { video: Some(video(3, [90, 60], 2.0)), audio: Some(sound(20_000)) };
    let frames: Vec<_> =
        clip.video.as_ref().unwrap().frames.iter().map(|f| PROCESSOR.shrink(f, 3, &SMALL).unwrap()).collect();
    let inputs = laid(clip);
    let fed = PROCESSOR.fed(&inputs);
    let told = &fed.videos[0];
    assert_eq!((told.per_step, told.frames.len(), fed.audios.len()), (2, 4, 1));
    assert_eq!(told.frames[..3], frames);
    assert_eq!(told.frames[3], frames[2], "the last frame fills its step up");
    assert_eq!(fed.audios[0].log_mel, inputs.audios[0].mel);
    assert_eq!(fed.audios[0].frames(), inputs.audios[0].frames);
    // A sample that is one off is another picture.
    let mut other = inputs.clone();
    other.videos[0].pixels[5] = inputs.videos[0].pixels[5] + 1.0 / 64.0;
    assert_ne!(PROCESSOR.fed(&other).videos[0].frames, told.frames);
    // A still is one frame that was fed twice.
    let still = SampledClip { video: Some(video(1, [56, 28], 2.0)), audio: None };
    let inputs = laid(still);
    let fed = PROCESSOR.fed(&inputs);
    assert_eq!((fed.videos.len(), inputs.images.len(), inputs.videos.len()), (1, 1, 0));
    assert_eq!(fed.videos[0].frames[0], fed.videos[0].frames[1]);
    assert!(PROCESSOR.fed(&laid(SampledClip::default())).videos.is_empty());
}

/// Limits that ask for more than the model takes are refused before a pixel is made, also while a clip is sampled.
#[test]
fn pixel_limits_that_no_prompt_fits_are_refused_at_once() {
    let huge = Sampling { fps: None, min_pixels: Some(1 << 40), max_pixels: Some(usize::MAX) };
    let small = frame(56, 28, 1);
    assert!(matches!(PROCESSOR.shrink(&small, 1, &huge), Err(ProcessorError::TooLong { .. })));
    let clips = [Piece::Image(small.clone()), Piece::Video(video(4, [56, 28], 2.0), None)];
    for piece in clips {
        let message = Message { role: Role::User, pieces: vec![piece] };
        let error = PROCESSOR.process(&[message], &huge).unwrap_err();
        assert!(matches!(error, ProcessorError::TooLong { tokens, .. } if tokens > 1 << 20), "{error}");
    }
    // Many frames that fit one by one do not fit together.
    let most = CONFIG.text.max_position_embeddings;
    let each = Sampling { fps: None, min_pixels: Some(784 * (most - 1000)), max_pixels: None };
    assert!(PROCESSOR.shrink(&small, 2, &each).is_ok());
    assert!(matches!(PROCESSOR.shrink(&small, 4, &each), Err(ProcessorError::TooLong { .. })));
    let message = Message { role: Role::User, pieces: vec![Piece::Video(video(4, [56, 28], 2.0), None)] };
    assert!(matches!(PROCESSOR.process(&[message], &each), Err(ProcessorError::TooLong { .. })));

    for arguments in [["--min-pixels", "0"], ["--max-pixels", "999999999999999"], ["--min-pixels", "-3"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_modalens"));
        let out = command.args(["ask", "--question", "?"]).args(arguments).output().unwrap();
        let said = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(2), "{said}");
        assert!(said.contains(arguments[0]) || said.contains("unexpected argument"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    let crossed = ["ask", "--question", "?", "--min-pixels", "2000", "--max-pixels", "1000"];
    let out = Command::new(env!("CARGO_BIN_EXE_modalens")).args(crossed).output().unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!((out.status.code(), said.lines().count()), (Some(2), 1), "{said}");
    assert!(said.contains("--min-pixels 2000 is more than --max-pixels 1000"), "{said}");
}

/// A checkpoint that the reference saved again holds its preprocessing in one nested file, and means the same by it.
#[test]
fn a_checkpoint_saved_again_means_the_same() {
    let stills = |processor: &Processor| processor.pixel_limits(false, &Sampling::default());
    let videos = |processor: &Processor| processor.pixel_limits(true, &Sampling::default());
    for set in ["tiny", "alt"] {
        let dir = tempfile::tempdir().unwrap();
        for name in ["config.json", "tokenizer.json", "generation_config.json"] {
            std::fs::copy(fixture(set).join("ckpt").join(name), dir.path().join(name)).unwrap();
        }
        let error = load(dir.path()).unwrap_err().to_string();
        assert!(error.contains("preprocessor_config.json") && error.contains("processor_config.json"), "{error}");

        let path = dir.path().join("processor_config.json");
        std::fs::copy(fixture(set).join("processor_config.json"), &path).unwrap();
        let (released, saved) = (load(&fixture(set).join("ckpt")).unwrap(), load(dir.path()).unwrap());
        assert_eq!(stills(&released), stills(&saved));
        assert_eq!(videos(&released), videos(&saved));
        assert_eq!(videos(&saved), PixelLimits { min: 100_352, max: 602_112 });
        let pieces =
            vec![Piece::Image(frame(50, 40, 1)), Piece::Audio(sound(5000)), Piece::Text(Part::Question, "?".into())];
        let messages = [Message { role: Role::User, pieces }];
        let run = |processor: &Processor| processor.process(&messages, &Sampling::default()).unwrap();
        assert_eq!(run(&released), run(&saved));

        let good: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let changed = |pointer: &str, value: serde_json::Value| {
            let mut json = good.clone();
            *json.pointer_mut(pointer).unwrap() = value;
            std::fs::write(&path, json.to_string()).unwrap();
            load(dir.path())
        };
        // Limits of its own for videos, apart from those for stills, are meant.
        let own = serde_json::json!({"shortest_edge": 1000, "longest_edge": 2000});
        assert_eq!(videos(&changed("/video_processor/size", own).unwrap()), PixelLimits { min: 1000, max: 2000 });
        for (pointer, value, word) in [
            ("/image_processor/patch_size", serde_json::json!(9), "patch_size"),
            ("/image_processor/size/shortest_edge", serde_json::json!(0), "pixel limits"),
            ("/image_processor/image_std", serde_json::json!([0, 1, 1]), "image_std"),
            ("/feature_extractor/hop_length", serde_json::json!(0), "hop_length"),
            ("/feature_extractor", serde_json::json!({}), "feature_size"),
            ("/image_processor", serde_json::json!(null), "image_processor: "),
            ("/image_processor/merge_size", serde_json::json!("two"), "image_processor.merge_size: "),
        ] {
            let error = changed(pointer, value).unwrap_err().to_string();
            let right = error.contains(word) && error.contains("/processor_config.json");
            assert!(right && error.lines().count() == 1, "{pointer}: {error}");
        }
    }
}
