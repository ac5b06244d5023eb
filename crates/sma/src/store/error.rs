//! Why a store did not do what it was asked, or could not be opened.
//!
//! For: both stores. Not for: refusals (a duplicate serial, a used token), which are values.

use std::path::PathBuf;
use std::sync::Arc;

use birthmark_service::gather::GatherError;
use birthmark_service::postgres::{PostgresError, PostgresOpenError};
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
    /// PostgreSQL failed, or was away.
    #[error(transparent)]
    Postgres(PostgresError),
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

/// Why a store could not be opened. Names the file or the server, never a password.
#[derive(Debug, thiserror::Error)]
pub enum StoreOpenError {
    /// The file.
    #[error(transparent)]
    Sqlite(#[from] OpenError),
    /// A row that cannot be done without.
    #[error("database {}: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: StoreError,
    },
    /// The system gave no thread.
    #[error("cannot start the threads for the database: {0}")]
    Threads(std::io::Error),
    /// Devices and image hashes never share a database.
    #[error("{database} is an aggregator's database; the authority needs one of its own")]
    Aggregators {
        /// The file or the server.
        database: String,
    },
    /// The server.
    #[error(transparent)]
    Postgres(PostgresOpenError),
}

impl From<PostgresOpenError> for StoreOpenError {
    fn from(error: PostgresOpenError) -> Self {
        match error {
            PostgresOpenError::Foreign { database, .. } => Self::Aggregators { database },
            other => Self::Postgres(other),
        }
    }
}

impl From<PostgresError> for StoreError {
    fn from(error: PostgresError) -> Self {
        match error {
            PostgresError::Closed(reason) => Self::Closed(reason),
            PostgresError::Panicked => Self::Panicked,
            PostgresError::Statement(_) | PostgresError::Unreachable(_) | PostgresError::TimedOut(_) => {
                Self::Postgres(error)
            }
        }
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        PostgresError::from(error).into()
    }
}

impl From<GatherError> for StoreError {
    fn from(error: GatherError) -> Self {
        match error {
            GatherError::Busy => Self::Busy,
            GatherError::Closed => Self::Closed(Arc::from("it was closed")),
            GatherError::Dropped => Self::Panicked,
        }
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
