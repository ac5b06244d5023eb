//! What can go wrong with a call, and who may try it again.
//!
//! For: `client`. No message holds a path, a header or a body: paths may be private.

use std::time::Duration;

use http::StatusCode;

/// Why a call gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection was made: nothing was sent.
    #[error("cannot connect to {origin}: {cause}")]
    Connect {
        /// Scheme, host and port.
        origin: String,
        /// The cause, without the address.
        cause: String,
    },
    /// No complete answer in time. The request may have been carried out.
    #[error("{origin} did not answer in time")]
    Timeout {
        /// Scheme, host and port.
        origin: String,
    },
    /// The connection broke. The request may have been carried out.
    #[error("the connection to {origin} broke: {cause}")]
    Broken {
        /// Scheme, host and port.
        origin: String,
        /// The cause, without the address.
        cause: String,
    },
    /// An answer that is no success.
    #[error("{origin} answered {status}{}", code.as_ref().map_or(String::new(), |code| format!(" ({code})")))]
    Status {
        /// Scheme, host and port.
        origin: String,
        /// The HTTP status.
        status: StatusCode,
        /// The problem's code, if it had one.
        code: Option<String>,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
    /// The answer is longer than this client takes.
    #[error("{origin} answered with more than {max} bytes")]
    TooLarge {
        /// Scheme, host and port.
        origin: String,
        /// The limit in bytes.
        max: usize,
    },
    /// A success whose body is not what was expected.
    #[error("{origin} answered with malformed content: {cause}")]
    Malformed {
        /// Scheme, host and port.
        origin: String,
        /// Where and why, without the content.
        cause: String,
    },
    /// The request could not be built; a fault on this side.
    #[error("malformed request to {origin}: {cause}")]
    Request {
        /// Scheme, host and port.
        origin: String,
        /// What is wrong with it.
        cause: String,
    },
}

impl ClientError {
    /// Whether the same request may succeed later without a change on this side.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Timeout { .. } | Self::Broken { .. }
            // These two are faults of the server's, which may be mended there.
            | Self::TooLarge { .. } | Self::Malformed { .. } => true,
            Self::Status { status, .. } => status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429),
            Self::Request { .. } => false,
        }
    }

    /// The status of an unsuccessful answer.
    pub const fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The problem's code of an unsuccessful answer.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Status { code, .. } => code.as_deref(),
            _ => None,
        }
    }

    /// How long the server asked to wait, at most an hour.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// An origin or a token that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientSetupError {
    /// Not `http://host[:port]` or `https://host[:port]`.
    #[error("{0:?} is not an address such as http://127.0.0.1:8000 (no path, no user, no query)")]
    Origin(String),
    /// A bearer token has characters that no header can carry.
    #[error("the bearer token has characters that a header cannot carry")]
    Token,
    /// TLS could not be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[source] reqwest::Error),
}
