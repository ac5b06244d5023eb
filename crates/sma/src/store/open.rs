//! Which database an authority has, and opening it.
//!
//! For: `init` and `Sma::open`. Not for: whether it is the right one (`authority` compares its
//! installation with the master key).

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use super::postgres::PostgresStore;
use super::sqlite::SqliteStore;
use super::{Store, StoreOpenError};
use crate::rules::Rules;

/// Where a database is.
#[derive(Clone)]
pub(crate) enum Location {
    /// A file in the authority's folder.
    Sqlite(PathBuf),
    /// A URL, which may hold a password.
    Postgres(String),
}

impl Location {
    pub(crate) fn of(data_dir: &Path, database_url: Option<&str>) -> Self {
        match database_url {
            None => Self::Sqlite(database_path(data_dir)),
            Some(url) => Self::Postgres(url.to_owned()),
        }
    }

    /// True if it is known without looking further that there is no database.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Sqlite(path) if !path.exists())
    }

    /// Whether other machines may use it too.
    pub(crate) const fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Opens it and brings its schema up to date. Blocks.
    pub(crate) fn open(&self, rules: Arc<Rules>) -> Result<Arc<dyn Store>, StoreOpenError> {
        Ok(match self {
            Self::Sqlite(path) => Arc::new(SqliteStore::open(path, rules)?),
            Self::Postgres(url) => Arc::new(PostgresStore::open(url, rules)?),
        })
    }
}

pub(crate) fn database_path(data_dir: &Path) -> PathBuf {
    data_dir.join("sma.db")
}

pub(crate) fn master_key_path(data_dir: &Path) -> PathBuf {
    data_dir.join("master.key")
}

/// Waits on this thread for an answer: both stores work on threads of their own.
///
/// Not an executor of `futures`, which refuses to wait within another, as SQLite's look-ups do.
/// Unconstrained, because tokio makes a future pretend to be pending when its task has done much in a
/// row, until the task yields: which a blocked thread never does.
pub(crate) fn block_on<F: Future>(answer: F) -> F::Output {
    let waker = Waker::from(Arc::new(ThisThread(thread::current())));
    let mut answer = pin!(tokio::task::unconstrained(answer));
    loop {
        match answer.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

struct ThisThread(Thread);

impl Wake for ThisThread {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
