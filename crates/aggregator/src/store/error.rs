//! Why a store did not do what it was asked, or could not be opened.
//!
//! For: both stores. Not for: findings (a repeated submission, no place), which are values.

use std::path::PathBuf;
use std::sync::Arc;

use birthmark_service::gather::GatherError;
use birthmark_service::postgres::{PostgresError, PostgresOpenError};
use birthmark_service::secret_file::SecretFileError;
use birthmark_service::sqlite::{OpenError, ReadError, WriteError};

use super::columns::RowError;

/// Why nothing was stored, or it is not known whether it was. Never a verdict.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// As much is waiting as may wait.
    #[error("too much is waiting for the database")]
    Busy,
    /// Closed by us, or by itself after a failed write.
    #[error("the database is closed: {0}")]
    Closed(Arc<str>),
    /// A statement or a commit failed; nothing of it remains.
    #[error("SQLite: {0}")]
    Sqlite(Arc<rusqlite::Error>),
    /// PostgreSQL failed, or was away: unless it could not be reached, it may have been stored.
    #[error(transparent)]
    Postgres(PostgresError),
    /// What is stored cannot be read.
    #[error("the database could not be read: {0}")]
    Unreadable(Arc<str>),
    /// A bug of ours; nothing was stored.
    #[error("the work on the database panicked")]
    Panicked,
}

/// Why a store could not be opened. Names the file.
#[derive(Debug, thiserror::Error)]
pub enum StoreOpenError {
    /// The file.
    #[error(transparent)]
    Sqlite(#[from] OpenError),
    /// The file of keys cannot be used.
    #[error("token keys: {}: {source}", path.display())]
    Keys {
        /// The file.
        path: PathBuf,
        /// The system's cause.
        source: std::io::Error,
    },
    /// The keys are others than those of this database.
    #[error(
        "token keys: {}: does not hold the keys of {lost} submissions that wait; restore the file, or remove it to \
         have them end and their cameras seal anew",
        path.display()
    )]
    WrongKeys {
        /// The file.
        path: PathBuf,
        /// Submissions that could never be judged.
        lost: u64,
    },
    /// The system gave no thread.
    #[error("the store's thread could not be started: {0}")]
    Thread(std::io::Error),
    /// The server.
    #[error(transparent)]
    Postgres(PostgresOpenError),
    /// Devices and image hashes never share a database.
    #[error("{database} is an authority's database; the aggregator needs one of its own")]
    Authoritys {
        /// The server and the database.
        database: String,
    },
    /// What waits in it was submitted to authorities of other rules and keys.
    #[error("the PostgreSQL database belongs to aggregators of another network; choose another")]
    OtherNetwork,
    /// The file by which this aggregator is told from others.
    #[error("instance: {0}")]
    Instance(#[from] SecretFileError),
    /// It holds something else.
    #[error("instance: {}: is not 32 hex digits", path.display())]
    InstanceForm {
        /// The file.
        path: PathBuf,
    },
    /// The first statements failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl StoreError {
    /// True where no later attempt of this process can succeed: it must not go on as if nothing had
    /// happened.
    pub(crate) const fn is_final(&self) -> bool {
        match self {
            Self::Closed(_) | Self::Unreadable(_) => true,
            Self::Busy | Self::Sqlite(_) | Self::Postgres(_) | Self::Panicked => false,
        }
    }

    /// For rows that hold what this program never writes.
    pub(super) fn damaged(error: &(impl std::error::Error + ?Sized)) -> Self {
        Self::Unreadable(Arc::from(error.to_string()))
    }
}

impl From<WriteError<rusqlite::Error>> for StoreError {
    fn from(error: WriteError<rusqlite::Error>) -> Self {
        match error {
            WriteError::Job(error) => Self::Sqlite(Arc::new(error)),
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
            ReadError::Sqlite(error) => Self::damaged(&error),
            ReadError::Panicked => Self::Panicked,
            ReadError::Closed => Self::Closed(Arc::from("it was closed")),
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

impl From<RowError> for StoreError {
    fn from(error: RowError) -> Self {
        Self::damaged(&error)
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

impl From<PostgresOpenError> for StoreOpenError {
    fn from(error: PostgresOpenError) -> Self {
        match error {
            PostgresOpenError::Foreign { database, .. } => Self::Authoritys { database },
            other => Self::Postgres(other),
        }
    }
}
