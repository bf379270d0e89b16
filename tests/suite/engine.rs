//! The engine on a small random checkpoint: reuse equals a fresh run, cancelling leaves nothing behind, the newest
//! request wins.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};

use modalens::capture::{Share, project};
use modalens::clip::ClipSpec;
use modalens::engine::session::{Run, Session, Update};
use modalens::engine::{Engine, LoadOptions};
use modalens::event::{Answer, Event, Finish, Request};
use modalens::frame::RgbImage;
use modalens::model::nn::edit::{Edit, HeadSet, TokenSet};
use modalens::model::qwen2_5_omni::processor::Inputs;
use modalens::prompt::Prompt;
use modalens::provenance::{Kind, Source};
use modalens::sampled::{SampledAudio, SampledClip, SampledVideo};
use modalens::settings::{Decoding, Sampling};
use proptest::prelude::*;

use crate::checkpoint::fixture;

const DECODING: Decoding = Decoding { max_new_tokens: 5, temperature: 0.0, seed: 0 };

fn session() -> Session {
    Session::open(&LoadOptions::new(fixture())).unwrap()
}

/// A picture that differs in every frame and for every `look`.
fn video(frames: usize, look: usize) -> SampledVideo {
    let (width, height) = (84, 56);
    let picture = |t: usize| RgbImage {
        width,
        height,
        data: (0..width * height * 3).map(|i| (i * (3 + look) / 7 + t * 31 + i % 5 * look) as u8).collect(),
    };
    SampledVideo {
        frames: (0..frames).map(picture).collect(),
        pts_secs: (0..frames).map(|t| t as f64 * 0.5).collect(),
        fps: 2.0,
    }
}

/// A tone of `hertz` under a fixed loudest moment, so that the log-mel floor is that of every other tone.
fn sound(seconds: f64, hertz: f64) -> SampledAudio {
    let n = (seconds * 16_000.0) as usize;
    let tone = |i: usize| (0.4 * (i as f64 / 16_000.0 * hertz * std::f64::consts::TAU).sin()) as f32;
    SampledAudio { samples: (0..n).map(tone).collect(), start_secs: 0.0 }
}

fn inputs(session: &Session, clip: SampledClip, question: &str) -> Inputs {
    let processor = session.processor().unwrap();
    let sampling = Sampling { min_pixels: Some(56 * 56), ..Sampling::default() };
    processor.process(&processor.case_messages(clip, &Prompt::question(question)), &sampling).unwrap()
}

fn ask(session: &mut Session, inputs: &Inputs) -> Answer {
    let cancel = AtomicBool::new(false);
    let mut ignore = |_| {};
    let run = Run { until_length: true, ..Run::new(&cancel, &mut ignore) };
    session.generate(inputs, &DECODING, &mut { run }).unwrap()
}

/// The same answer up to the rounding that another number of rows per product brings.
#[track_caller]
fn same(reused: &Answer, fresh: &Answer) {
    assert_eq!(reused.tokens.len(), fresh.tokens.len());
    for (a, b) in reused.tokens.iter().zip(&fresh.tokens) {
        assert_eq!(a.id, b.id);
        assert!((a.logprob - b.logprob).abs() < 1e-4, "{} and {}", a.logprob, b.logprob);
        let worst = a.row.probs.iter().zip(&b.row.probs).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
        assert!(a.row.keys == b.row.keys && worst < 1e-4, "attention differs by {worst}");
    }
}

#[test]
fn every_kind_of_change_reuses_what_it_can_and_answers_as_a_fresh_run() {
    let mut warm = session();
    let clip = |frames, look, hertz| SampledClip {
        video: Some(video(frames, look)),
        audio: Some(sound(frames as f64 / 2.0, hertz)),
    };
    let first = inputs(&warm, clip(12, 0, 300.0), "What do you hear?");
    let media_end = first.provenance.tokens.iter().rposition(|t| t.source.kind() == Kind::Audio).unwrap();
    let base = ask(&mut warm, &first);
    assert_eq!((base.reuse.prefix_tokens, base.reuse.video_blocks, base.reuse.audio_blocks), (0, 0, 0));

    // The same again: everything but the last token, which must run to be seen.
    let again = ask(&mut warm, &first);
    assert_eq!(again.reuse.prefix_tokens, first.ids.len() - 1);
    same(&again, &base);

    // Another question re-runs the words behind the media only.
    let question = inputs(&warm, clip(12, 0, 300.0), "Describe the picture.");
    let asked = ask(&mut warm, &question);
    assert!(asked.reuse.prefix_tokens > media_end, "{:?}", asked.reuse);
    same(&asked, &ask(&mut session(), &question));

    // Another sound keeps every picture block; the language model starts at the first changed token.
    let swapped = inputs(&warm, clip(12, 0, 900.0), "Describe the picture.");
    assert_eq!(swapped.videos, question.videos, "swapping the sound changes no pixel");
    let heard = ask(&mut warm, &swapped);
    let first_sound = swapped.provenance.tokens.iter().position(|t| t.source.kind() == Kind::Audio).unwrap();
    assert_eq!(heard.reuse.prefix_tokens, first_sound);
    let steps_behind = swapped.provenance.videos[0].steps.len() - steps_before(&swapped, first_sound);
    assert_eq!(heard.reuse.video_blocks, steps_behind);
    same(&heard, &ask(&mut session(), &swapped));

    // Other pictures keep the sound's blocks.
    let seen = inputs(&warm, clip(12, 3, 900.0), "Describe the picture.");
    let other = ask(&mut warm, &seen);
    assert!(other.reuse.audio_blocks > 0 && other.reuse.video_blocks == 0, "{:?}", other.reuse);
    same(&other, &ask(&mut session(), &seen));

    // Playing on: frames on the same grid, more of them; the first chunk is as it was.
    let longer = inputs(&warm, clip(16, 3, 900.0), "Describe the picture.");
    let grown = ask(&mut warm, &longer);
    assert!(grown.reuse.prefix_tokens > first_sound && grown.reuse.audio_blocks > 0, "{:?}", grown.reuse);
    same(&grown, &ask(&mut session(), &longer));
}

/// Grid steps whose tokens all stand before sequence position `at`.
fn steps_before(inputs: &Inputs, at: usize) -> usize {
    let step = |s: &Source| match s {
        Source::Video { step, .. } => Some(*step),
        _ => None,
    };
    inputs.provenance.tokens[at..].iter().find_map(|t| step(&t.source)).unwrap()
}

#[test]
fn capture_changes_no_bit_of_an_answer() {
    let mut session = session();
    let inputs = inputs(&session, SampledClip { video: Some(video(4, 1)), audio: None }, "What is this?");
    let cancel = AtomicBool::new(false);
    let mut run = |capture| {
        session.forget();
        let mut ignore = |_| {};
        let run = Run { capture, until_length: true, ..Run::new(&cancel, &mut ignore) };
        let answer = session.generate(&inputs, &DECODING, &mut { run }).unwrap();
        answer.tokens.iter().map(|t| (t.id, t.logprob.to_bits())).collect::<Vec<_>>()
    };
    assert_eq!(run(true), run(false));
}

#[test]
fn cancelling_keeps_what_there_is_and_harms_nothing_that_follows() {
    let mut warm = session();
    let clip = SampledClip { video: Some(video(8, 2)), audio: Some(sound(4.0, 500.0)) };
    let inputs = inputs(&warm, clip, "What do you hear?");
    let whole = ask(&mut session(), &inputs);
    for stop_after in 0..4 {
        let cancel = AtomicBool::new(false);
        let mut seen = 0;
        let mut notify = |update| {
            match update {
                Update::Token(_) => seen += 1,
                // Before the first token: inside the prefill.
                Update::Stage(modalens::event::Stage::Prefill) if stop_after == 0 => {
                    cancel.store(true, Ordering::Relaxed);
                }
                _ => {}
            }
            if stop_after > 0 && seen == stop_after {
                cancel.store(true, Ordering::Relaxed);
            }
        };
        let run = Run { until_length: true, ..Run::new(&cancel, &mut notify) };
        let answer = warm.generate(&inputs, &DECODING, &mut { run }).unwrap();
        assert_eq!(answer.finish, Finish::Cancelled);
        assert_eq!(answer.tokens.len(), stop_after);
        let text: String = answer.tokens.iter().map(|t| t.text.as_str()).collect();
        assert_eq!(answer.text, text);
        same(&ask(&mut warm, &inputs), &whole);
    }
}

#[test]
fn edits_reach_the_answer_and_leave_no_trace_in_the_cache() {
    let mut warm = session();
    let clip = SampledClip { video: Some(video(4, 2)), audio: Some(sound(2.0, 500.0)) };
    let inputs = inputs(&warm, clip, "What do you hear?");
    let plain = ask(&mut warm, &inputs);
    let tokens = inputs.provenance.tokens.iter().enumerate();
    let sounds: TokenSet = tokens.filter(|(_, t)| t.source.kind() == Kind::Audio).map(|(i, _)| i).collect();
    let edits = [Edit {
        keys: sounds,
        queries: TokenSet::all(),
        layers: 0..99,
        heads: HeadSet::All,
        log_gain: f32::NEG_INFINITY,
    }];
    let cancel = AtomicBool::new(false);
    let mut ignore = |_| {};
    let run = Run { edits: &edits, until_length: true, ..Run::new(&cancel, &mut ignore) };
    let deaf = warm.generate(&inputs, &DECODING, &mut { run }).unwrap();
    assert_eq!(deaf.share.audio, 0.0);
    assert!(plain.share.audio > 0.01);
    same(&ask(&mut warm, &inputs), &plain);
}

#[test]
fn shares_sum_to_one_and_projection_loses_nothing() {
    let mut warm = session();
    let clip = SampledClip { video: Some(video(6, 2)), audio: Some(sound(3.0, 500.0)) };
    let inputs = inputs(&warm, clip, "What do you hear?");
    let answer = ask(&mut warm, &inputs);
    for share in answer.tokens.iter().map(|t| t.share).chain([answer.share]) {
        assert!((share.video + share.audio + share.text - 1.0).abs() < 1e-5, "{share:?}");
    }
    let d = answer.share_detail;
    let parts = d.system + d.caption + d.context + d.question + d.special + d.answer;
    assert!((parts - answer.share.text).abs() < 1e-6);
    let mean = answer.tokens[0].row.mean();
    let map = project(&mean, &answer.provenance);
    assert!((map.total() - 1.0).abs() < 1e-5);
    let share = Share::of(&mean, &answer.provenance);
    let on_video: f64 = map.videos.iter().flatten().map(|w| f64::from(*w)).sum();
    assert!((on_video - share.video).abs() < 1e-6);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is asked about whatever clip, every token has one origin, in order, and every origin one token.
    #[test]
    fn provenance_covers_every_token_once(
        frames in 0..20usize, seconds in prop::option::of(0.0..12.0f64), question in ".{0,40}", caption in ".{0,20}",
        fps in 0.3..9.0f64,
    ) {
        thread_local! {
            static SESSION: Session = session();
        }
        SESSION.with(|session| -> Result<(), TestCaseError> {
            let clip = SampledClip {
                video: (frames > 0).then(|| SampledVideo { fps, ..video(frames, 1) }),
                audio: seconds.map(|s| sound(s, 440.0)),
            };
            let prompt = Prompt { caption: Some(caption), question, options: vec!["<|im_end|>".into()], ..Prompt::default() };
            let processor = session.processor().unwrap();
            let sampling = Sampling { min_pixels: Some(56 * 56), ..Sampling::default() };
            let inputs = processor.process(&processor.case_messages(clip, &prompt), &sampling).unwrap();
            let n = inputs.ids.len();
            prop_assert_eq!(inputs.provenance.tokens.len(), n);
            prop_assert!(inputs.positions.iter().all(|axis| axis.len() == n));
            let mut cells: Vec<Vec<usize>> = inputs.provenance.videos.iter().map(|g| vec![0; g.tokens()]).collect();
            let mut sounds: Vec<Vec<usize>> = inputs.provenance.audios.iter().map(|a| vec![0; a.tokens]).collect();
            let ends = inputs.ids.iter().filter(|id| Some(**id) == session.thinker().config().eos_token_id).count();
            prop_assert_eq!(ends, 2, "what a user types is never a control token");
            for (token, id) in inputs.provenance.tokens.iter().zip(&inputs.ids) {
                prop_assert_eq!(token.id, *id);
                match &token.source {
                    Source::Video { medium, step, row, col } => {
                        let g = &inputs.provenance.videos[*medium];
                        cells[*medium][(step * g.rows + row) * g.cols + col] += 1;
                    }
                    Source::Audio { medium, index } => sounds[*medium][*index] += 1,
                    Source::Text { bytes, .. } => prop_assert!(bytes.start <= bytes.end),
                    Source::Special => {}
                }
            }
            prop_assert!(cells.iter().chain(&sounds).flatten().all(|n| *n == 1));
            Ok(())
        })?;
    }
}

/// An engine, its events in order, and what lets it go on where it begins to load a model.
fn engine() -> (Engine, mpsc::Receiver<Event>, mpsc::Sender<()>) {
    let (sender, receiver) = mpsc::channel();
    let (load, may_load) = mpsc::channel();
    let may_load = Mutex::new(may_load);
    let engine = Engine::spawn(move |event| {
        let loading = matches!(event, Event::ModelLoading { .. });
        let _ = sender.send(event);
        if loading {
            let _ = may_load.lock().unwrap().recv();
        }
    })
    .unwrap();
    (engine, receiver, load)
}

fn request(epoch: u64, question: &str, new: usize) -> Request {
    Request {
        epoch,
        clip: ClipSpec::default(),
        prompt: Prompt::question(question),
        sampling: Sampling::default(),
        decoding: Decoding { max_new_tokens: new, ..Decoding::default() },
    }
}

#[test]
fn the_newest_request_wins_and_faults_are_survived() {
    let (engine, events, load) = engine();
    engine.ask(request(1, "too early", 1));
    assert!(
        matches!(events.recv().unwrap(), Event::AskFailed { epoch: 1, message, .. } if message.contains("no model"))
    );

    engine.load(LoadOptions::new(PathBuf::from("/nowhere")));
    assert!(matches!(events.recv().unwrap(), Event::ModelLoading { .. }));
    load.send(()).unwrap();
    assert!(matches!(events.recv().unwrap(), Event::ModelFailed { message } if message.contains("/nowhere")));

    engine.load(LoadOptions::new(fixture()));
    // Asked while the model loads: only the newest is answered.
    for epoch in 2..6 {
        engine.ask(request(epoch, "What do you hear?", 20_000));
    }
    load.send(()).unwrap();
    let mut answered = Vec::new();
    let mut tokens = 0;
    let mut cut = false;
    while answered.last() != Some(&7) {
        match events.recv().unwrap() {
            Event::Answered { epoch, answer } => {
                if epoch == 5 {
                    assert_eq!(answer.finish, Finish::Cancelled, "a newer request cuts an answer short");
                }
                answered.push(epoch);
            }
            Event::Token { epoch, .. } => {
                tokens += 1;
                if epoch == 5 && !cut {
                    cut = true;
                    let mut broken = request(6, "?", 1);
                    broken.clip = ClipSpec::original("/no/such/clip.mp4");
                    engine.ask(broken);
                }
            }
            Event::AskFailed { epoch, message, .. } => {
                assert_eq!(epoch, 6);
                assert!(message.contains("/no/such/clip.mp4"), "{message}");
                engine.ask(request(7, "And now?", 3));
            }
            _ => {}
        }
    }
    assert!(tokens > 0);
    assert_eq!(answered, [5, 7]);

    // A model takes the place of a question that waits behind another: both end, before the model is there.
    engine.ask(request(8, "What do you hear?", 20_000));
    while !matches!(events.recv().unwrap(), Event::Token { epoch: 8, .. }) {}
    engine.ask(request(9, "And now?", 20_000));
    engine.load(LoadOptions::new(fixture()));
    load.send(()).unwrap();
    let mut ended = Vec::new();
    loop {
        match events.recv().unwrap() {
            Event::Answered { epoch, answer } => {
                assert_eq!(answer.finish, Finish::Cancelled);
                ended.push(epoch);
            }
            Event::AskStopped { epoch } => ended.push(epoch),
            Event::AskFailed { message, .. } => panic!("{message}"),
            Event::ModelReady(_) => break,
            _ => {}
        }
    }
    ended.sort_unstable();
    assert_eq!(ended, [8, 9]);

    // Stopped while its frames are read: nothing is wrong with it.
    let clips = crate::media::Clips::new();
    let film =
        clips.make("film.mp4", "-f lavfi -i testsrc2=size=640x480:rate=25:duration=8 -c:v libx264 -preset ultrafast");
    let mut of_film = request(10, "What do you see?", 1);
    of_film.clip = ClipSpec::original(film);
    engine.ask(of_film);
    while !matches!(events.recv().unwrap(), Event::Stage { epoch: 10, .. }) {}
    engine.cancel();
    loop {
        match events.recv().unwrap() {
            Event::AskStopped { epoch: 10 } => break,
            Event::Answered { epoch: 10, answer } => {
                assert_eq!(answer.finish, Finish::Cancelled);
                break;
            }
            Event::AskFailed { message, .. } => panic!("{message}"),
            _ => {}
        }
    }
}
