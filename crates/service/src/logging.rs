//! Log lines on standard error.
//!
//! For: setting up `tracing` once, in the binary. Not for: metrics, or output for people (standard
//! output is the commands' own).
//!
//! `BIRTHMARK_LOG` holds a filter (`info`, `debug`, `info,birthmark_service=trace`); unset means `info`.

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
pub fn init(format: LogFormat) -> Result<(), LogError> {
    let filter = filter(std::env::var("BIRTHMARK_LOG").ok().as_deref())?;
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(|_| LogError::Started)
}

fn filter(text: Option<&str>) -> Result<EnvFilter, ParseError> {
    match text.map(str::trim) {
        None | Some("") => EnvFilter::try_new(DEFAULT_FILTER),
        Some(text) => EnvFilter::try_new(text),
    }
}

/// The migration library reports every statement at `info`.
const DEFAULT_FILTER: &str = "info,refinery_core=warn";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unset_and_empty_filters_mean_info() {
        for text in [None, Some(""), Some("  ")] {
            let filter = filter(text).unwrap().to_string();
            assert!(filter.contains("info") && filter.contains("refinery_core=warn"), "{filter}");
        }
        assert_eq!(filter(Some("debug")).unwrap().to_string(), "debug");
    }

    #[test]
    fn malformed_filters_and_formats_are_refused() {
        assert!(filter(Some("info,=,x=loud")).is_err());
        assert_eq!("xml".parse::<LogFormat>(), Err(UnknownLogFormat));
        assert_eq!("json".parse(), Ok(LogFormat::Json));
    }

    #[test]
    fn second_start_is_an_error_not_a_panic() {
        init(LogFormat::Json).unwrap();
        assert!(matches!(init(LogFormat::Text), Err(LogError::Started)));
    }
}
