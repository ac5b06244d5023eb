//! What a person at a terminal sees: progress while waiting, marks for steps, errors with their causes.
//!
//! Results go to stdout, everything else to stderr, so that output can be piped.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// One line on stdout. That it could not be written shows in the exit code ([`settle`]).
pub(crate) fn say(line: impl std::fmt::Display) {
    let said = BARS.suspend(|| writeln!(std::io::stdout().lock(), "{line}"));
    if let Err(error) = said {
        UNSAID.get_or_init(|| error);
    }
}

/// One line on stderr.
pub(crate) fn note(line: impl std::fmt::Display) {
    let _ = BARS.suspend(|| writeln!(std::io::stderr().lock(), "{line}"));
}

/// A success whose result nobody could read is a failure.
pub(crate) fn settle(code: ExitCode, failure: ExitCode) -> ExitCode {
    match UNSAID.get() {
        Some(error) if code == ExitCode::SUCCESS => {
            note(format_args!("error: standard output: {error}"));
            failure
        }
        Some(_) | None => code,
    }
}

/// An error with all its causes on stderr, in one line.
pub(crate) fn complain(error: &anyhow::Error) {
    let mut line = String::from("error: ");
    let mut last = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        // Many errors already quote their cause.
        if !last.ends_with(&text) {
            if !last.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&text);
            last = text;
        }
    }
    note(line);
}

/// A spinner on stderr that appears only on a terminal and goes when dropped.
#[derive(Debug)]
pub(crate) struct Waiting(ProgressBar);

impl Waiting {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        let spinner = BARS.add(ProgressBar::new_spinner().with_message(text.into()));
        spinner.enable_steady_tick(Duration::from_millis(120));
        Self(spinner)
    }

    /// A bar for work whose amount is known.
    pub(crate) fn with_length(text: impl Into<String>, length: u64) -> Self {
        let bar = BARS.add(ProgressBar::new(length).with_message(text.into()));
        if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}") {
            bar.set_style(style);
        }
        Self(bar)
    }

    pub(crate) fn advance(&self) {
        self.advance_by(1);
    }

    pub(crate) fn advance_by(&self, done: u64) {
        self.0.inc(done);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.finish_and_clear();
        BARS.remove(&self.0);
    }
}

/// All bars, so that a line can be written between them and not over them.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);
/// The first error of standard output.
static UNSAID: OnceLock<std::io::Error> = OnceLock::new();
