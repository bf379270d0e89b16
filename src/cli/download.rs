//! Fetching a checkpoint on the command line: first what it costs, then how far it is. Knows nothing of how it is done.
//!
//! Ctrl-C needs no handling: what was fetched is in the cache as it comes, and the next call goes on from there.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::download::{Progress, Step, bytes_text};
use crate::model::hub::{Control, Hub, HubId};

/// How often a line is printed where nobody watches a terminal.
const PLAIN: Duration = Duration::from_secs(15);

/// Longest line that is rewritten.
const LONGEST: usize = 100;

/// Fetches a checkpoint into the hub's cache and returns its folder. Nothing is asked: the user named it.
pub fn fetch(hub: &Hub, id: &HubId) -> Result<PathBuf> {
    let stop = AtomicBool::new(false);
    let mut line = Line::new();
    let mut notify = |progress: Progress| line.show(&progress);
    let mut control = Control { stop: &stop, notify: &mut notify };
    let plan = hub.plan(id, &mut control)?;
    let offer = hub.offer(&plan);
    line.end();
    let mut err = std::io::stderr().lock();
    // Nobody reading stderr is no reason to stop.
    let _ = writeln!(err, "{}: {}", offer.id, offer.summary());
    for file in &offer.files {
        let here = if file.done_bytes == 0 {
            String::new()
        } else if file.done_bytes == file.bytes {
            ", here".to_owned()
        } else {
            format!(", {} here", bytes_text(file.done_bytes))
        };
        let _ = writeln!(err, "  {} ({}{here})", file.name, bytes_text(file.bytes));
    }
    let _ = writeln!(err, "  into {} (Ctrl-C stops; the same command goes on)", offer.place.display());
    drop(err);
    let mut notify = |progress: Progress| line.show(&progress);
    let fetched = hub.download(&plan, &mut Control { stop: &stop, notify: &mut notify });
    line.end();
    Ok(fetched?)
}

/// A line on stderr that is rewritten on a terminal, and printed now and then elsewhere.
struct Line {
    terminal: bool,
    width: usize,
    printed: Option<(Instant, u32)>,
}

impl Line {
    fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), width: 0, printed: None }
    }

    fn show(&mut self, progress: &Progress) {
        let mut err = std::io::stderr().lock();
        if self.terminal {
            // A line that wraps could not be rewritten.
            let text: String = progress.line().chars().take(LONGEST).collect();
            // Blanks over what the last line had more.
            let _ = write!(err, "\r{text:width$}", width = self.width);
            let _ = err.flush();
            self.width = text.chars().count();
            return;
        }
        // A retry is always said; progress every tenth and every quarter of a minute.
        let waits = matches!(progress.step, Step::Waiting { .. });
        let tenth = (progress.share() * 10.0) as u32;
        let news = self.printed.is_none_or(|(at, last)| at.elapsed() >= PLAIN || tenth > last);
        if waits || progress.total_bytes > 0 && news {
            let _ = writeln!(err, "  {}", progress.line());
            self.printed = Some((Instant::now(), tenth));
        }
    }

    fn end(&mut self) {
        if self.terminal && self.width > 0 {
            eprintln!();
            self.width = 0;
        }
    }
}
