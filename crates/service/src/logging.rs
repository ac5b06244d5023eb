//! Log lines on standard error.
//!
//! For: setting up `tracing` once, in the binary. Not for: metrics, or output for people (standard
//! output is the commands' own).
//!
//! `BIRTHMARK_LOG` holds a filter (`info`, `debug`, `info,birthmark_service=trace`). Unset means what the
//! program chose: libraries only ever warn.

use std::io::{self, IsTerminal};
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// How a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// How much is logged where `BIRTHMARK_LOG` is unset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// A server tells what it does.
    Server,
    /// A command at a terminal only warns; what it does it says itself.
    Command,
}

impl Verbosity {
    const fn filter(self) -> &'static str {
        match self {
            Self::Server => "warn,birthmark=info",
            // That library tells each refusal of a TPM as an error of its own; its callers say what it means.
            Self::Command => "warn,tss_esapi=off",
        }
    }
}

/// The name of no log format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a log format is \"text\" or \"json\"")]
pub struct UnknownLogFormat;

impl FromStr for LogFormat {
    type Err = UnknownLogFormat;

    fn from_str(text: &str) -> Result<Self, UnknownLogFormat> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(UnknownLogFormat),
        }
    }
}

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `BIRTHMARK_LOG` is no filter.
    #[error("BIRTHMARK_LOG is not a log filter such as \"info\" or \"debug\": {0}")]
    Filter(#[from] ParseError),
    /// Called twice in one process.
    #[error("logging was already started")]
    Started,
}

/// Starts logging to standard error, filtered by `BIRTHMARK_LOG`.
pub fn init(format: LogFormat, verbosity: Verbosity) -> Result<(), LogError> {
    let filter = filter(std::env::var("BIRTHMARK_LOG").ok().as_deref(), verbosity)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        // A log that cannot be written (its reader is gone, its disk is full) is no reason to stop serving;
        // the default prints that to standard error, which then panics.
        .log_internal_errors(false);
    match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(|_| LogError::Started)
}

fn filter(text: Option<&str>, verbosity: Verbosity) -> Result<EnvFilter, ParseError> {
    match text.map(str::trim) {
        None | Some("") => EnvFilter::try_new(verbosity.filter()),
        Some(text) => EnvFilter::try_new(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unset_and_empty_filters_mean_what_the_program_chose() {
        for text in [None, Some(""), Some("  ")] {
            let server = filter(text, Verbosity::Server).unwrap().to_string();
            assert!(server.contains("birthmark=info") && server.contains("warn"), "{server}");
            let command = filter(text, Verbosity::Command).unwrap().to_string();
            assert!(command.contains("warn") && command.contains("tss_esapi=off"), "{command}");
        }
        assert_eq!(filter(Some("debug"), Verbosity::Server).unwrap().to_string(), "debug");
    }

    #[test]
    fn malformed_filters_and_formats_are_refused() {
        assert!(filter(Some("info,=,x=loud"), Verbosity::Server).is_err());
        assert_eq!("xml".parse::<LogFormat>(), Err(UnknownLogFormat));
        assert_eq!("json".parse(), Ok(LogFormat::Json));
    }

    #[test]
    fn second_start_is_an_error_not_a_panic() {
        init(LogFormat::Json, Verbosity::Command).unwrap();
        assert!(matches!(init(LogFormat::Text, Verbosity::Command), Err(LogError::Started)));
    }
}
