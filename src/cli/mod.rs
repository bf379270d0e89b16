//! The command line: a contract that tests and users script. Knows how to read arguments and print results;
//! everything else is done by the parts it calls.

/// Prints a line for whoever reads our output, and ends the function with an error where nobody does any more (see
/// [`is_closed_pipe`]).
macro_rules! say {
    ($($what:tt)*) => {{
        use std::io::Write as _;
        writeln!(std::io::stdout(), $($what)*)?;
    }};
}

mod ask;
mod bench;
mod bench_media;
pub(crate) mod checkpoint;
mod compare;
mod doctor;
mod download;
mod probe;
mod snapshot;
mod train;
mod verify;
mod window;
mod world;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::model::ModelError;

/// Shows which sense drove a multimodal model's answer.
#[derive(Debug, Parser)]
#[command(name = "modalens", version, about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    window: window::Args,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Ask a question about a clip and see which sense the answer attended to
    Ask(Box<ask::Args>),
    /// Compare this build with reference tensors, tensor by tensor
    Verify(verify::Args),
    /// Show what is in a media file
    Probe(probe::Args),
    /// Draw one frame of a video through the real shaders, off screen
    Snapshot(snapshot::Args),
    /// Make clips of the toy world, with ground truth, as a VideoFolder
    World(world::Args),
    /// Train a small model on clips of the toy world
    Train(train::Args),
    /// Show what this machine offers: devices, memory, sound, display, caches
    Doctor(doctor::Args),
    /// Time prefill and decode on prepared inputs
    #[command(hide = true)]
    Bench(bench::Args),
    /// Time decoding and seeking beside ffmpeg
    #[command(hide = true)]
    BenchMedia(bench_media::Args),
    /// What another form of the weights changes
    #[command(hide = true)]
    Compare(compare::Args),
}

/// How a command ended when it ended well.
enum Outcome {
    /// It did what it was asked.
    Fine,
    /// It did, and the answer is "no".
    No,
}

/// Exit codes of the contract.
const CODE_NO: u8 = 1;
const CODE_BAD_INPUT: u8 = 2;
const CODE_FAULT: u8 = 3;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    quiet_libraries();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn"))
        .format_timestamp(None)
        .format_target(false)
        .init();
    // A fault is one line with a way out, not a dump: the hook prints it, the code says it.
    std::panic::set_hook(Box::new(|info| {
        eprintln!("modalens: internal fault: {info}; please report this with the command that caused it");
    }));
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            eprintln!("modalens: {}", one_line(&error));
            return ExitCode::from(CODE_BAD_INPUT);
        }
        Err(help) => help.exit(),
    };
    let result = std::panic::catch_unwind(|| match cli.command {
        None => window::run(&cli.window),
        Some(Command::Ask(args)) => ask::run(&args),
        Some(Command::Verify(args)) => verify::run(&args),
        Some(Command::Probe(args)) => probe::run(&args),
        Some(Command::Snapshot(args)) => snapshot::run(&args),
        Some(Command::World(args)) => world::run(&args),
        Some(Command::Train(args)) => train::run(&args),
        Some(Command::Doctor(args)) => doctor::run(&args),
        Some(Command::Bench(args)) => bench::run(&args),
        Some(Command::BenchMedia(args)) => bench_media::run(&args),
        Some(Command::Compare(args)) => compare::run(&args),
    });
    match result {
        Ok(Ok(Outcome::Fine)) => ExitCode::SUCCESS,
        Ok(Ok(Outcome::No)) => ExitCode::from(CODE_NO),
        Ok(Err(error)) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("modalens: {error:#}");
            let fault = matches!(error.downcast_ref(), Some(ModelError::Tensor(_)));
            ExitCode::from(if fault { CODE_FAULT } else { CODE_BAD_INPUT })
        }
        Err(_) => ExitCode::from(CODE_FAULT),
    }
}

/// What is wrong with the arguments, as the one line that every bad input gets.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    // Behind an empty line come tips, usage and where to find help.
    let said: Vec<&str> = text.lines().take_while(|line| !line.trim().is_empty()).map(str::trim).collect();
    let said = said.join(" ");
    format!("{} (--help lists what there is)", said.strip_prefix("error: ").unwrap_or(&said))
}

/// Keeps Mesa's Vulkan layer from complaining on stderr that there is no desktop session to ask for its GPU.
fn quiet_libraries() {
    let session = ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
    if !session {
        #[allow(unsafe_code, reason = "changing the environment is unsafe once there are threads")]
        // SAFETY: called first thing in main, before any thread is started.
        unsafe {
            std::env::set_var("NODEVICE_SELECT", "1");
        }
    }
}

/// Whether the reader of our output went away (`modalens … | head`), which is no error of ours.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Prints a value as one line of JSON on stdout.
fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, value).map_err(std::io::Error::from)?;
    writeln!(out)?;
    Ok(())
}

/// A line on stderr that counts up, where a person is watching.
fn progress(what: &str, done: u64, all: u64) {
    use std::io::IsTerminal;
    if std::io::stderr().is_terminal() {
        eprint!("\r{what} {done}/{all}{}", if done == all { "\n" } else { "" });
    }
}

/// A number on the command line.
fn number(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| "not a number".to_owned())
}

/// A time on the command line, in seconds.
fn seconds(text: &str) -> Result<f64, String> {
    let s = number(text)?;
    if s.is_finite() && s >= 0.0 { Ok(s) } else { Err("not a time in seconds".into()) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        super::Cli::command().debug_assert();
    }
}
