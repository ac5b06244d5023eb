//! Why a store did not do what it was asked, or could not be opened.
//!
//! For: both stores. Not for: findings (a repeated submission, no place), which are values.

use std::sync::Arc;

use birthmark_service::sqlite::{OpenError, ReadError, WriteError};

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
}

impl StoreError {
    /// True where no later attempt of this process can succeed: it must not go on as if nothing had
    /// happened.
    pub(crate) const fn is_final(&self) -> bool {
        match self {
            Self::Closed(_) | Self::Unreadable(_) => true,
            Self::Busy | Self::Sqlite(_) | Self::Panicked => false,
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
