//! The connections for reading.
//!
//! For: `sqlite`. Reads never wait for the writer (WAL), only for a free connection.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{OpenError, Options, block_on, open};

/// Why a read gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// SQLite's cause; "no rows" too, where the query asked for one.
    #[error("the database could not be read: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The query panicked.
    #[error("a read of the database panicked")]
    Panicked,
    /// The database is closed.
    #[error("the database is closed")]
    Closed,
}

/// Free connections, with one permit for each.
#[derive(Debug)]
pub(super) struct Readers {
    free: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn open(path: &Path, options: &Options) -> Result<Self, OpenError> {
        let n = options.readers.max(1);
        let free = (0..n).map(|_| open::reader(path, options)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { free: Arc::new(Mutex::new(free)), permits: Arc::new(Semaphore::new(n)) })
    }

    pub(super) async fn run<T, F>(&self, query: F) -> Result<T, ReadError>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let borrowed = self.borrow().await?;
        match tokio::task::spawn_blocking(move || borrowed.run(query)).await {
            Ok(result) => result,
            Err(error) if error.is_panic() => Err(ReadError::Panicked),
            Err(_) => Err(ReadError::Closed),
        }
    }

    pub(super) fn run_here<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, ReadError> {
        block_on(self.borrow())?.run(query)
    }

    /// No further reads; those under way finish.
    pub(super) fn close(&self) {
        self.permits.close();
        self.free.lock().clear();
    }

    async fn borrow(&self) -> Result<Borrowed, ReadError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| ReadError::Closed)?;
        let connection = self.free.lock().pop().ok_or(ReadError::Closed)?;
        Ok(Borrowed { connection: Some(connection), free: Arc::clone(&self.free), permit })
    }
}

/// A connection that goes back to the others when dropped, also by a panic.
struct Borrowed {
    connection: Option<Connection>,
    free: Arc<Mutex<Vec<Connection>>>,
    permit: OwnedSemaphorePermit,
}

impl Borrowed {
    fn run<T>(self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, ReadError> {
        let connection = self.connection.as_ref().ok_or(ReadError::Closed)?;
        Ok(query(connection)?)
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        // A transaction left open would keep the log from ever being emptied.
        if !connection.is_autocommit() && connection.execute_batch("ROLLBACK").is_err() {
            tracing::error!("a reading connection could not be reset; it is given up");
            return;
        }
        // Looked at under the lock: `close` empties the list after it has closed the semaphore.
        let mut free = self.free.lock();
        if !self.permit.semaphore().is_closed() {
            free.push(connection);
        }
    }
}
