//! `modalens bench`: prefill and decode on prepared inputs, for the comparison with the reference.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::cli::{Outcome, checkpoint, print_json};
use crate::engine::LoadOptions;
use crate::engine::fit::Load;
use crate::engine::session::{Run, Session};
use crate::engine::{options, worker};
use crate::settings::Decoding;

/// Arguments of `modalens bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    checkpoint: checkpoint::ModelArgs,
    /// Prepared inputs: ids, pixels, mel frames [default: the model is only loaded]
    #[arg(long, value_name = "FILE")]
    inputs: Option<PathBuf>,
    /// Draw the weights on the device: only config.json of the model is read
    #[arg(long)]
    random: bool,
    /// Tokens to generate
    #[arg(long, value_name = "N", default_value_t = 32)]
    new: usize,
    /// Runs
    #[arg(long, value_name = "N", default_value_t = 3)]
    repeat: usize,
    /// Capture every attention row of every generated token
    #[arg(long)]
    capture: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    tokens: usize,
    new: usize,
    capture: bool,
    load_s: f64,
    /// What the estimate says the weights take, and how much more than before loading was ever resident.
    weights_mib: f64,
    load_peak_mib: u64,
    /// What the estimate says all of it takes.
    estimate_mib: f64,
    prefill_s: f64,
    prefill_cpu_s: f64,
    decode_s: f64,
    decode_cpu_s: f64,
    decode_tok_s: f64,
    peak_rss_mib: u64,
    runs: Vec<RunReport>,
    ids: Vec<u32>,
}

/// What loading alone says.
#[derive(Debug, Serialize)]
struct LoadReport {
    load_s: f64,
    weights_mib: f64,
    load_peak_mib: u64,
}

#[derive(Debug, Clone, Serialize)]
#[allow(clippy::struct_field_names, reason = "the postfix is the unit")]
struct RunReport {
    vision_s: f64,
    audio_s: f64,
    lm_s: f64,
    prefill_s: f64,
    prefill_cpu_s: f64,
    decode_s: f64,
    decode_cpu_s: f64,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Outcome> {
    let options = LoadOptions { random: args.random, ..args.checkpoint.load_options()? };
    let pool = worker::thread_pool(options.threads, false)?;
    let before = options::peak_without_code_kib();
    let mut session = pool.install(|| Session::open_bare(&options))?;
    let load_peak_mib = options::peak_without_code_kib().saturating_sub(before) / 1024;
    let need = *session.need();
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let Some(inputs) = &args.inputs else {
        let report = LoadReport { load_s: session.load_ms() / 1e3, weights_mib: mib(need.weights), load_peak_mib };
        print_json(&report)?;
        return Ok(Outcome::Fine);
    };
    let inputs = crate::verify::inputs_of_file(inputs, session.thinker().config())?;
    let load = Load { prompt: inputs.ids.len(), answer: args.new };
    let decoding = Decoding { max_new_tokens: args.new, ..Decoding::default() };
    let cancel = AtomicBool::new(false);
    let mut runs = Vec::new();
    let mut ids = Vec::new();
    for _ in 0..args.repeat.max(1) {
        session.forget();
        let (started, cpu) = (Instant::now(), cpu_seconds());
        let mut first = None;
        let answer = pool.install(|| {
            let mut notify = |update| {
                if let crate::engine::session::Update::Token(_) = update {
                    first.get_or_insert_with(|| (started.elapsed().as_secs_f64(), cpu_seconds()));
                }
            };
            let run = Run::new(&cancel, &mut notify);
            session.generate(&inputs, &decoding, &mut Run { capture: args.capture, until_length: true, ..run })
        })?;
        let (prefill_s, first_cpu) = first.context("the model stopped before its first token")?;
        runs.push(RunReport {
            vision_s: answer.timing.vision / 1e3,
            audio_s: answer.timing.audio / 1e3,
            lm_s: answer.timing.prefill / 1e3,
            prefill_s,
            prefill_cpu_s: first_cpu - cpu,
            decode_s: started.elapsed().as_secs_f64() - prefill_s,
            decode_cpu_s: cpu_seconds() - first_cpu,
        });
        ids = answer.tokens.iter().map(|t| t.id).collect();
    }
    let median = |f: fn(&RunReport) -> f64| {
        let mut values: Vec<f64> = runs.iter().map(f).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let decode_s = median(|r| r.decode_s);
    let report = Report {
        tokens: inputs.ids.len(),
        new: args.new,
        capture: args.capture,
        load_s: session.load_ms() / 1e3,
        weights_mib: mib(need.weights),
        load_peak_mib,
        estimate_mib: mib(need.total(load, session.thinker().device())),
        prefill_s: median(|r| r.prefill_s),
        prefill_cpu_s: median(|r| r.prefill_cpu_s),
        decode_s,
        decode_cpu_s: median(|r| r.decode_cpu_s),
        decode_tok_s: ids.len().saturating_sub(1) as f64 / decode_s,
        peak_rss_mib: options::peak_rss_mib(),
        runs: runs.clone(),
        ids,
    };
    if args.json {
        print_json(&report)?;
    } else {
        say!(
            "{} tokens: prefill {:.2} s ({:.2} CPU s), decode {:.2} tok/s ({:.2} CPU s), peak {} MiB",
            report.tokens,
            report.prefill_s,
            report.prefill_cpu_s,
            report.decode_tok_s,
            report.decode_cpu_s,
            report.peak_rss_mib
        );
    }
    Ok(Outcome::Fine)
}

/// CPU seconds that all threads of this process have used.
pub(super) fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    #[allow(unsafe_code, reason = "the process CPU clock has no safe binding")]
    // SAFETY: clock_gettime only writes the timespec it is given, which outlives the call.
    unsafe {
        libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time);
    }
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
