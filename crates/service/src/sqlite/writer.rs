//! The writer thread: groups of jobs, one transaction each.
//!
//! For: `sqlite`. The order within a job's life: run in a savepoint, commit of its group, answer.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot};

use super::WriteError;
use crate::shutdown::panic_text;

/// What the writer is asked.
pub(super) enum Message {
    Job(Box<dyn Job>),
    Checkpoint(oneshot::Sender<Fate<(), rusqlite::Error>>),
    Close(oneshot::Sender<()>),
}

/// What a caller gets.
pub(super) type Fate<T, E> = Result<T, WriteError<E>>;

/// A job whose types are hidden.
pub(super) trait Job: Send {
    /// Runs it, and says whether to keep its changes.
    fn run(&mut self, connection: &Connection) -> bool;
    /// Answers its caller: with its own result if the group was stored, else with the group's error.
    fn settle(self: Box<Self>, group: &Result<(), GroupError>);
}

/// Why a whole group left nothing.
#[derive(Clone, Debug)]
pub(super) enum GroupError {
    Commit(Arc<rusqlite::Error>),
    Closed(Arc<str>),
}

/// A job and the end of its caller's channel.
pub(super) fn job<T, E, F>(f: F) -> (Box<dyn Job>, oneshot::Receiver<Fate<T, E>>)
where
    F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    let (sender, receiver) = oneshot::channel();
    (Box::new(Call { f: Some(f), outcome: None, sender }), receiver)
}

struct Call<F, T, E> {
    f: Option<F>,
    /// None if it was not run.
    outcome: Option<Fate<T, E>>,
    sender: oneshot::Sender<Fate<T, E>>,
}

impl<F, T, E> Job for Call<F, T, E>
where
    F: FnOnce(&Connection) -> Result<T, E> + Send,
    T: Send,
    E: Send,
{
    fn run(&mut self, connection: &Connection) -> bool {
        let Some(f) = self.f.take() else { return false };
        let outcome = match catch_unwind(AssertUnwindSafe(|| f(connection))) {
            Ok(result) => result.map_err(WriteError::Job),
            Err(panic) => {
                tracing::error!(panic = panic_text(&*panic), "a write to the database panicked; it was undone");
                Err(WriteError::Panicked)
            }
        };
        self.outcome.insert(outcome).is_ok()
    }

    fn settle(self: Box<Self>, group: &Result<(), GroupError>) {
        let fate = match (self.outcome, group) {
            (Some(outcome), Ok(())) => outcome,
            (Some(Err(own)), Err(_)) => Err(own),
            (_, Err(GroupError::Commit(error))) => Err(WriteError::Commit(Arc::clone(error))),
            (_, Err(GroupError::Closed(reason))) => Err(WriteError::Closed(Arc::clone(reason))),
            (None, Ok(())) => Err(WriteError::Panicked),
        };
        // A caller that stopped waiting does not matter.
        let _ = self.sender.send(fate);
    }
}

/// What the writer tells others.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) commits: AtomicU64,
    pub(super) jobs: AtomicU64,
    closed: Mutex<Option<Arc<str>>>,
}

impl Counters {
    pub(super) fn closed(&self) -> Option<Arc<str>> {
        self.closed.lock().clone()
    }

    pub(super) fn reason(&self) -> Arc<str> {
        self.closed().unwrap_or_else(|| Arc::from("its writer has ended"))
    }

    fn close(&self, reason: &str) -> Arc<str> {
        Arc::clone(self.closed.lock().get_or_insert_with(|| Arc::from(reason)))
    }
}

/// Starts the thread. It ends when asked to, when no sender is left, or after an error that leaves the
/// file's state in doubt.
pub(super) fn start(
    connection: Connection,
    receiver: mpsc::Receiver<Message>,
    group: usize,
    counters: Arc<Counters>,
) -> io::Result<()> {
    let ended = Ended(Arc::clone(&counters));
    let writer = Writer { connection, receiver, group, counters, failed: None };
    let run = move || {
        let _ended = ended;
        writer.run();
    };
    std::thread::Builder::new().name("sqlite-writer".to_owned()).spawn(run).map(drop)
}

/// However the thread ends, the database counts as closed from then on.
struct Ended(Arc<Counters>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.close("its writer has ended");
    }
}

struct Writer {
    connection: Connection,
    receiver: mpsc::Receiver<Message>,
    group: usize,
    counters: Arc<Counters>,
    /// Why nothing is written any more.
    failed: Option<Arc<str>>,
}

impl Writer {
    fn run(mut self) {
        let mut close = None;
        let mut messages = Vec::with_capacity(self.group);
        let mut jobs = Vec::with_capacity(self.group);
        while self.receiver.blocking_recv_many(&mut messages, self.group) > 0 {
            for message in messages.drain(..) {
                match message {
                    Message::Job(job) => jobs.push(job),
                    Message::Checkpoint(sender) => {
                        self.store(&mut jobs);
                        let _ = sender.send(self.checkpoint());
                    }
                    Message::Close(sender) => {
                        self.counters.close("it was closed");
                        // What is in the queue already is still carried out.
                        self.receiver.close();
                        close = Some(sender);
                    }
                }
            }
            self.store(&mut jobs);
        }
        if self.failed.is_none()
            && let Err(error) = self.checkpoint()
        {
            tracing::warn!(%error, "the write-ahead log was not emptied at closing; the next start does it");
        }
        drop(self.connection);
        if let Some(sender) = close {
            let _ = sender.send(());
        }
    }

    /// Runs and answers all jobs, in one transaction unless that breaks off on the way.
    fn store(&mut self, jobs: &mut Vec<Box<dyn Job>>) {
        let mut waiting = jobs.drain(..);
        while waiting.len() > 0 {
            let mut ran = Vec::with_capacity(waiting.len());
            let group = match &self.failed {
                Some(reason) => Err(GroupError::Closed(Arc::clone(reason))),
                None => self.transaction(&mut waiting, &mut ran).map_err(|error| self.undo(error)),
            };
            if ran.is_empty() {
                // Not even begun, and the next attempt would not begin either.
                ran.extend(&mut waiting);
            }
            for job in ran {
                job.settle(&group);
            }
        }
    }

    /// Returns `Ok` only when the changes of all jobs in `ran` that succeeded are on disk.
    fn transaction(
        &self,
        waiting: &mut impl ExactSizeIterator<Item = Box<dyn Job>>,
        ran: &mut Vec<Box<dyn Job>>,
    ) -> rusqlite::Result<()> {
        self.execute("BEGIN IMMEDIATE")?;
        let mut kept = 0;
        // A job that is alone is undone with its transaction.
        let alone = waiting.len() == 1;
        for mut job in waiting {
            let savepoint = if alone { Ok(()) } else { self.execute("SAVEPOINT job") };
            let keep = savepoint.is_ok() && job.run(&self.connection);
            ran.push(job);
            savepoint?;
            // On a full disk and the like SQLite may have rolled everything back (its documentation
            // of ROLLBACK, "Response To Errors Within A Transaction"). What follows would then be
            // stored statement by statement.
            if self.connection.is_autocommit() {
                return Err(rolled_back());
            }
            if !alone {
                if !keep {
                    self.execute("ROLLBACK TO job")?;
                }
                self.execute("RELEASE job")?;
            }
            kept += u64::from(keep);
        }
        if kept == 0 {
            return self.execute("ROLLBACK");
        }
        self.execute("COMMIT")?;
        self.counters.commits.fetch_add(1, Ordering::Relaxed);
        self.counters.jobs.fetch_add(kept, Ordering::Relaxed);
        Ok(())
    }

    /// After a failed transaction: none is open, or the database closes.
    fn undo(&mut self, error: rusqlite::Error) -> GroupError {
        let rolled_back = self.connection.is_autocommit() || self.execute("ROLLBACK").is_ok();
        if rolled_back && !leaves_doubt(&error) {
            tracing::warn!(%error, "a group of writes failed and was undone");
            return GroupError::Commit(Arc::new(error));
        }
        let reason =
            self.counters.close(&format!("a write failed and left the file in doubt ({error}); restart to recover"));
        tracing::error!(%reason, "the database closed itself");
        self.receiver.close();
        self.failed = Some(Arc::clone(&reason));
        GroupError::Closed(reason)
    }

    fn checkpoint(&self) -> Fate<(), rusqlite::Error> {
        if let Some(reason) = &self.failed {
            return Err(WriteError::Closed(Arc::clone(reason)));
        }
        let busy = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        match busy {
            Ok(0) => Ok(()),
            Ok(_) => Err(WriteError::Job(failure(rusqlite::ffi::SQLITE_BUSY, "a read holds the write-ahead log"))),
            Err(error) => Err(WriteError::Job(error)),
        }
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(drop)
    }
}

/// Whether what is on disk may differ from what SQLite believes.
fn leaves_doubt(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

fn rolled_back() -> rusqlite::Error {
    failure(rusqlite::ffi::SQLITE_ABORT, "another write of the same group made SQLite roll it back")
}

fn failure(code: i32, text: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), Some(text.to_owned()))
}
