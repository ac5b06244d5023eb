//! What a person at a terminal sees: progress while waiting, marks for steps, errors with their causes.
//!
//! Results go to stdout, everything else to stderr, so that output can be piped.

use std::io::Write as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// One line on stdout. A reader that went away is no error worth dying for.
pub(crate) fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// One line on stderr.
pub(crate) fn note(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
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
        let spinner = ProgressBar::new_spinner().with_message(text.into());
        spinner.enable_steady_tick(Duration::from_millis(120));
        Self(spinner)
    }

    /// A bar for work whose amount is known.
    pub(crate) fn with_length(text: impl Into<String>, length: u64) -> Self {
        let bar = ProgressBar::new(length).with_message(text.into());
        if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}") {
            bar.set_style(style);
        }
        Self(bar)
    }

    pub(crate) fn advance(&self) {
        self.0.inc(1);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
