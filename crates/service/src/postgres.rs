//! PostgreSQL: connections in a pool that mends itself, a schema's history, work with an end.
//!
//! For: roles that share one database between several machines. Not for: the tables and statements (each
//! role's own), or one machine alone (`sqlite`).
//!
//! It runs on threads of its own, so its callers need no runtime and may stop waiting at any time. An answer
//! of success means that the server has flushed it, whatever the server's default is. An error never says
//! that nothing was stored: a connection may be lost between a commit and its answer.

#[cfg(feature = "cluster")]
pub mod cluster;
mod connect;
mod error;
mod migrate;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use deadpool_postgres::{Object, Pool, Transaction};
use futures::future::BoxFuture;
use tokio::runtime::Runtime;
use tokio_postgres::IsolationLevel;
use tokio_util::task::TaskTracker;

pub use error::{PostgresError, PostgresOpenError, StatementError};

/// What a role keeps in its database.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// How its connections are called in the server's lists.
    pub application: &'static str,
    /// A table that only another role's database has.
    pub foreign: &'static str,
    /// Settings of its connections, beside those that all have; may be empty.
    pub session: &'static str,
    /// Its steps in order. They never change once they were released.
    pub steps: &'static [Step],
}

/// One step of a schema's history.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// A word or two.
    pub name: &'static str,
    /// One or more statements.
    pub sql: &'static str,
}

/// Connections to one database and the threads that they run on.
#[derive(Debug)]
pub struct Postgres {
    pool: Pool,
    tasks: TaskTracker,
    closed: AtomicBool,
    /// None only while being dropped.
    runtime: Option<Runtime>,
}

impl Postgres {
    /// Connects and brings the schema up to date. Blocks.
    pub fn open(url: &str, schema: Schema, connections: usize) -> Result<Self, PostgresOpenError> {
        let target = connect::Target::parse(url, schema.application)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("postgres")
            .enable_all()
            .build()
            .map_err(PostgresOpenError::Runtime)?;
        let name = target.name();
        let pool = target.pool(connections, schema.session)?;
        let this = Self { pool, tasks: TaskTracker::new(), closed: AtomicBool::new(false), runtime: Some(runtime) };
        let pool = this.pool.clone();
        match block_on(this.spawn(async move { migrate::run(&pool, schema).await })) {
            Ok(Ok(())) => Ok(this),
            Ok(Err(refused)) => Err(refused.of(name, schema.foreign)),
            Err(cause) => Err(PostgresOpenError::Postgres { database: name, cause }),
        }
    }

    /// The connections, for work within [`Postgres::spawn`].
    pub fn pool(&self) -> Pool {
        self.pool.clone()
    }

    /// Runs on the threads of this database, to its end even if the caller stops waiting.
    pub fn spawn<T, E>(&self, work: impl Future<Output = Result<T, E>> + Send + 'static) -> BoxFuture<'_, Result<T, E>>
    where
        T: Send + 'static,
        E: From<PostgresError> + Send + 'static,
    {
        let task = match &self.runtime {
            Some(runtime) if !self.is_closed() => self.tasks.spawn_on(patiently(work), runtime.handle()),
            _ => return Box::pin(async { Err(error::closed().into()) }),
        };
        Box::pin(async move {
            match task.await {
                Ok(answer) => answer,
                Err(error) if error.is_panic() => Err(PostgresError::Panicked.into()),
                Err(_) => Err(error::closed().into()),
            }
        })
    }

    /// Runs until it ends by itself, which it must when the database is being closed.
    pub fn spawn_pipeline(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            self.tasks.spawn_on(work, runtime.handle());
        }
    }

    /// True from [`Postgres::close`] on.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Finishes what runs and closes all connections.
    pub async fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.tasks.close();
        self.tasks.wait().await;
        self.pool.close();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Not by its own drop, which would wait, and must not within another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A connection that works, or worked a moment ago.
pub async fn connection(pool: &Pool) -> Result<Object, PostgresError> {
    connect::get(pool).await
}

/// Each statement sees what was committed before it, whatever the server's default: rows that were waited
/// for are seen as they are then.
pub async fn begin(client: &mut Object) -> Result<Transaction<'_>, PostgresError> {
    Ok(client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start().await?)
}

/// An error once the server has said nothing for too long.
pub async fn patiently<T, E: From<PostgresError>>(work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(PostgresError::TimedOut(PATIENCE).into()))
}

/// Waits on this thread for an answer of a store, which works on threads of its own.
///
/// Not an executor of `futures`, which refuses to wait within another, as SQLite's look-ups do.
/// Unconstrained, because tokio makes a future pretend to be pending when its task has done much in a
/// row, until the task yields: which a blocked thread never does.
pub fn block_on<F: Future>(answer: F) -> F::Output {
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

const WORKERS: usize = 2;
/// A server that says nothing for so long is taken for dead.
const PATIENCE: Duration = Duration::from_secs(20);
