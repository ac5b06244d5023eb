//! Why a store did not do what it was asked, or could not be opened.
//!
//! For: both stores. Not for: refusals (a duplicate serial, a used token), which are values.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use birthmark_service::sqlite::{OpenError, ReadError, WriteError};

/// Why nothing was done, or it is not known what was. Never a verdict: the same question may be asked
/// again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// As much is waiting as may wait.
    #[error("too much is waiting for the database")]
    Busy,
    /// Closed by us, or by itself after a failed write.
    #[error("the database is closed: {0}")]
    Closed(Arc<str>),
    /// A statement or a commit failed.
    #[error("SQLite: {0}")]
    Sqlite(Arc<rusqlite::Error>),
    /// A statement or a commit failed, or the connection was lost.
    #[error("PostgreSQL: {0}")]
    Postgres(PostgresError),
    /// There is no connection to be had.
    #[error("PostgreSQL cannot be reached: {0}")]
    Unreachable(Arc<str>),
    /// It neither answered nor failed.
    #[error("PostgreSQL has not answered for {} seconds", .0.as_secs())]
    TimedOut(Duration),
    /// Others changed the same rows, again and again.
    #[error("others kept changing the same rows")]
    Contended,
    /// A row holds what this program never writes.
    #[error("the database is damaged: {0} cannot be read")]
    Damaged(&'static str),
    /// A bug of ours; nothing was stored.
    #[error("the work on the database panicked")]
    Panicked,
}

/// PostgreSQL's error with its causes in one line: its own text is only "db error".
#[derive(Clone, Debug)]
pub struct PostgresError(Arc<tokio_postgres::Error>);

/// Why a store could not be opened. Names the file or the server, never a password.
#[derive(Debug, thiserror::Error)]
pub enum StoreOpenError {
    /// The file.
    #[error(transparent)]
    Sqlite(#[from] OpenError),
    /// Devices and image hashes never share a database.
    #[error("{database} is an aggregator's database; the authority needs one of its own")]
    Aggregators {
        /// The file or the server.
        database: String,
    },
    /// Not a URL that PostgreSQL's own programs would take.
    #[error("the database URL is none of PostgreSQL's (postgresql://user@host/database): {0}")]
    Url(String),
    /// Encryption on the way is not built in.
    #[error(
        "connections to PostgreSQL are not encrypted here, so sslmode=require cannot be met: use its Unix socket, \
         loopback or a tunnel"
    )]
    TlsRequired,
    /// Passwords and digests would cross the network in the clear.
    #[error(
        "connections to PostgreSQL are not encrypted here: reach {host} through a tunnel, or add sslmode=disable if \
         the network between is trusted"
    )]
    NotLocal {
        /// The server.
        host: String,
    },
    /// No connection, or a failed statement.
    #[error("{database}: {cause}")]
    Postgres {
        /// The server and the database.
        database: String,
        /// Why.
        cause: StoreError,
    },
    /// A later program's, or another's.
    #[error("{database} has a schema that this program does not know: step {version} \"{name}\"")]
    Schema {
        /// The server and the database.
        database: String,
        /// The first step that differs.
        version: i64,
        /// Its name there.
        name: String,
    },
    /// The system gave no thread or timer for the connections.
    #[error("cannot start the threads for PostgreSQL: {0}")]
    Runtime(std::io::Error),
}

impl PostgresError {
    /// The five-character code, where the server gave one.
    pub(super) fn code(&self) -> Option<&tokio_postgres::error::SqlState> {
        self.0.code()
    }
}

impl fmt::Display for PostgresError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&postgres_text(&self.0))
    }
}

/// The error with its causes in one line.
pub(super) fn postgres_text(error: &tokio_postgres::Error) -> String {
    // The server's detail and hint may quote a row's values; its message names only columns and rules.
    if let Some(error) = error.as_db_error() {
        return format!("{} ({})", error.message(), error.code().code());
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(PostgresError(Arc::new(error)))
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(Arc::new(error))
    }
}

impl From<WriteError<Self>> for StoreError {
    fn from(error: WriteError<Self>) -> Self {
        match error {
            WriteError::Job(error) => error,
            WriteError::Busy => Self::Busy,
            WriteError::Panicked => Self::Panicked,
            WriteError::Commit(error) => Self::Sqlite(error),
            WriteError::Closed(reason) => Self::Closed(reason),
        }
    }
}

impl From<ReadError> for StoreError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Sqlite(error) => error.into(),
            ReadError::Panicked => Self::Panicked,
            ReadError::Closed => Self::Closed(Arc::from("it was closed")),
        }
    }
}
