//! SQLite with one writer thread and group commit.
//!
//! For: durable writes at the rate of a batch, not of a disk's flushes: jobs that arrive while one
//! commit is being flushed share the next. A job's answer is given only after the commit that holds it.
//! Not for: the tables (each role's own), or writing from several processes at once.
//!
//! ```text
//! write(job) ──► bounded queue ──► BEGIN IMMEDIATE
//!                                  SAVEPOINT job 1 RELEASE      (or ROLLBACK TO: fails alone)
//!                                  SAVEPOINT job 2 RELEASE
//!                                  COMMIT  (one flush)  ──► every answer of the group
//! ```
//! If COMMIT fails, every job of the group fails and nothing of it remains. After an I/O error or
//! damage the database closes itself: once a flush has failed, a later one that succeeds proves nothing
//! about the pages of the first, and only reopening reads what the disk really holds.

mod open;
mod reader;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

pub use reader::ReadError;

use reader::Readers;
use writer::{Counters, Fate, Message};

/// One step of a schema's history. Names are `V<number>__<words>`; applied steps never change.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Such as `V1__devices`.
    pub name: &'static str,
    /// One or more statements.
    pub sql: &'static str,
}

/// How a database is run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long to wait for a lock that another process holds.
    pub busy_timeout: Duration,
    /// Connections for reading at the same time.
    pub readers: usize,
    /// Jobs that may wait for the writer.
    pub queue: usize,
    /// Jobs of one commit at most.
    pub group: usize,
    /// Pages that the database may have at most (4 KiB each); `None` for SQLite's own limit.
    pub max_pages: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self { busy_timeout: Duration::from_secs(5), readers: 4, queue: 4096, group: 512, max_pages: None }
    }
}

/// Why a database could not be opened. The file's path is named.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file could not be created or made private.
    #[error("database {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's cause.
        source: std::io::Error,
    },
    /// SQLite refused it: not a database, damaged, locked.
    #[error("database {}: {source}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// SQLite's cause.
        source: rusqlite::Error,
    },
    /// It has another history than this program expects: a newer program's, or another's.
    #[error("database {}: {source}", path.display())]
    Migration {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        source: Box<refinery::Error>,
    },
}

/// Why a job left nothing behind. `E` is the job's own error.
#[derive(Debug, thiserror::Error)]
pub enum WriteError<E> {
    /// The job itself failed; its changes were undone, those of its neighbours were not.
    #[error("{0}")]
    Job(E),
    /// The queue is full. Only from [`Database::try_write`].
    #[error("too many writes are waiting")]
    Busy,
    /// The job panicked; its changes were undone.
    #[error("a write to the database panicked")]
    Panicked,
    /// The commit failed; nothing of the group is stored. May be tried again.
    #[error("the database could not commit: {0}")]
    Commit(Arc<rusqlite::Error>),
    /// The database is closed. The job was not run, or what it did was not stored.
    #[error("the database is closed: {0}")]
    Closed(Arc<str>),
}

/// A database with its writer thread and its readers. Cheap to clone; it closes when the last clone is
/// dropped, or by [`Database::close`].
#[derive(Clone, Debug)]
pub struct Database {
    path: Arc<Path>,
    writer: mpsc::Sender<Message>,
    readers: Arc<Readers>,
    counters: Arc<Counters>,
}

impl Database {
    /// Opens the file (created with mode 0600 if missing; its folder must exist), brings its schema up
    /// to date and starts the writer. Blocks for that long.
    pub fn open(path: &Path, migrations: &[Migration], options: Options) -> Result<Self, OpenError> {
        let connection = open::writer(path, migrations, &options)?;
        let readers = Arc::new(Readers::open(path, &options)?);
        let counters = Arc::new(Counters::default());
        let (sender, receiver) = mpsc::channel(options.queue.max(1));
        writer::start(connection, receiver, options.group.max(1), Arc::clone(&counters))
            .map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        Ok(Self { path: path.into(), writer: sender, readers, counters })
    }

    /// Runs a job in the writer's next transaction and answers once that is on disk. Waits for a place
    /// in the queue.
    ///
    /// The job must not begin, commit or roll back. If the caller stops waiting, the job still runs.
    /// A deferred constraint is checked at COMMIT, where it fails the whole group: use immediate ones.
    pub async fn write<T, E, F>(&self, job: F) -> Result<T, WriteError<E>>
    where
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let (job, answer) = writer::job(job);
        if self.writer.send(Message::Job(job)).await.is_err() {
            return Err(WriteError::Closed(self.counters.reason()));
        }
        self.answer(answer).await
    }

    /// As [`Database::write`], but `Busy` at once if the queue is full: for callers that can be told to
    /// come back.
    pub async fn try_write<T, E, F>(&self, job: F) -> Result<T, WriteError<E>>
    where
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let (job, answer) = writer::job(job);
        match self.writer.try_send(Message::Job(job)) {
            Ok(()) => self.answer(answer).await,
            Err(mpsc::error::TrySendError::Full(_)) => Err(WriteError::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(WriteError::Closed(self.counters.reason())),
        }
    }

    /// As [`Database::write`], blocking this thread: for programs without a runtime.
    pub fn write_blocking<T, E, F>(&self, job: F) -> Result<T, WriteError<E>>
    where
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        block_on(self.write(job))
    }

    /// Runs a query on a connection of its own, on a thread for blocking work; needs a tokio
    /// runtime. It sees every write that was answered before. Several statements see one state only
    /// within a transaction.
    pub async fn read<T, F>(&self, query: F) -> Result<T, ReadError>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.readers.run(query).await
    }

    /// As [`Database::read`], on this thread: for programs without a runtime, and for look-ups by key,
    /// which take less time than handing them to another thread.
    pub fn read_blocking<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, ReadError> {
        self.readers.run_here(query)
    }

    /// Moves the write-ahead log into the database file and empties it, so that what was deleted or
    /// overwritten is gone from both.
    pub async fn checkpoint(&self) -> Result<(), WriteError<rusqlite::Error>> {
        let (sender, answer) = oneshot::channel();
        if self.writer.send(Message::Checkpoint(sender)).await.is_err() {
            return Err(WriteError::Closed(self.counters.reason()));
        }
        self.answer(answer).await
    }

    /// Finishes the writes that wait, empties the write-ahead log and closes the file. Later calls on
    /// any clone fail with `Closed`.
    pub async fn close(&self) {
        self.readers.close();
        let (sender, closed) = oneshot::channel();
        if self.writer.send(Message::Close(sender)).await.is_ok() {
            // An error means that the writer has ended already.
            let _ = closed.await;
        }
    }

    /// Why the database closed itself or was closed; `None` while it works. For `/ready`.
    pub fn closed(&self) -> Option<Arc<str>> {
        self.counters.closed()
    }

    /// Commits so far, each with one flush.
    pub fn commits(&self) -> u64 {
        self.counters.commits.load(Ordering::Relaxed)
    }

    /// Jobs stored so far; over [`Database::commits`] that is the mean size of a group.
    pub fn jobs(&self) -> u64 {
        self.counters.jobs.load(Ordering::Relaxed)
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    async fn answer<T, E>(&self, answer: oneshot::Receiver<Fate<T, E>>) -> Result<T, WriteError<E>> {
        match answer.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(WriteError::Closed(self.counters.reason())),
        }
    }
}

/// Waits on this thread. Unconstrained, because tokio makes a future pretend to be pending when its
/// task has done much in a row, until the task yields: which a blocked thread never does.
fn block_on<F: Future>(future: F) -> F::Output {
    futures::executor::block_on(tokio::task::unconstrained(future))
}

#[cfg(test)]
mod tests;
