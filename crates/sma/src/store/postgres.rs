//! The store of several authorities: one PostgreSQL.
//!
//! For: [`PostgresStore`]: connections in a pool that mends itself, questions gathered into batches, every
//! act one transaction. Not for: the statements (`devices`, `judge`, `keys`, `audit` below).
//!
//! Schema: `migrations/postgres`. Locks are taken in one order, so nobody waits in a circle:
//! ```text
//! judging: rows of device_registry by id, then used_token by its bytes, then rows of those devices alone
//! acts   : the table audit (one act at a time), then rows as above
//! ```
//! It runs on threads of its own, so its callers need no runtime and may stop waiting at any time.

mod audit;
mod connect;
mod devices;
mod judge;
mod keys;
mod migrate;
mod rows;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use birthmark_core::ids::DeviceSerial;
use birthmark_core::time::Minute;
use birthmark_service::random::OsRng;
use deadpool_postgres::{Object, Pool, Transaction};
use futures::future::BoxFuture;
use tokio::runtime::Runtime;
use tokio_postgres::IsolationLevel;
use tokio_util::task::TaskTracker;

use super::gather::{self, Batches, Gatherer};
use super::{
    Answer, Counts, Installation, Installed, Judged, KeyChange, KeysChanged, Store, StoreError, StoreOpenError,
    StoredKey,
};
use crate::audit::{Act, AuditRow, AuditState, Deed};
use crate::devices::{Changed, Device, Duplicate, NewDevice, NotRenewed, Page, Registered, Renewal, Status};
use crate::quota::QuotaOverride;
use crate::rules::{Prepared, Rules};

/// Connections to one database and what judges over it.
#[derive(Debug)]
pub(crate) struct PostgresStore {
    pool: Pool,
    rules: Arc<Rules>,
    gatherer: Gatherer,
    tasks: TaskTracker,
    closed: AtomicBool,
    /// None only while being dropped.
    runtime: Option<Runtime>,
}

impl PostgresStore {
    /// Connects and brings the schema up to date. Blocks.
    pub(crate) fn open(url: &str, rules: Arc<Rules>) -> Result<Self, StoreOpenError> {
        let target = connect::Target::parse(url)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("postgres")
            .enable_all()
            .build()
            .map_err(StoreOpenError::Runtime)?;
        let (gatherer, batches) = gather::gatherer();
        let name = target.name();
        let pool = target.pool(PIPELINES + CONNECTIONS)?;
        let tasks = TaskTracker::new();
        let store = Self { pool, rules, gatherer, tasks, closed: AtomicBool::new(false), runtime: Some(runtime) };
        let pool = store.pool.clone();
        let opened = super::block_on(store.spawn(async move { migrate::run(&pool).await }));
        match opened {
            Ok(Ok(())) => {}
            Ok(Err(refused)) => return Err(refused.of(name)),
            Err(cause) => return Err(StoreOpenError::Postgres { database: name, cause }),
        }
        store.start_pipelines(batches);
        Ok(store)
    }

    fn start_pipelines(&self, batches: Batches) {
        let batches = Arc::new(batches);
        for _ in 0..PIPELINES {
            let (pool, rules, batches) = (self.pool.clone(), Arc::clone(&self.rules), Arc::clone(&batches));
            let pipeline = async move {
                while let Some(jobs) = batches.next().await {
                    judge::settle(&pool, &rules, jobs).await;
                }
            };
            if let Some(runtime) = &self.runtime {
                self.tasks.spawn_on(pipeline, runtime.handle());
            }
        }
    }

    /// Runs on the threads of this store, to its end even if the caller stops waiting.
    fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Answer<'_, T> {
        let task = match &self.runtime {
            Some(runtime) if !self.closed.load(Ordering::SeqCst) => {
                let work = async move { patiently(work).await };
                self.tasks.spawn_on(work, runtime.handle())
            }
            _ => return Box::pin(async { Err(closed()) }),
        };
        Box::pin(async move {
            match task.await {
                Ok(answer) => answer,
                Err(error) if error.is_panic() => Err(StoreError::Panicked),
                Err(_) => Err(closed()),
            }
        })
    }

    /// A transaction in which an admin acts: alone among acts, and with its audit rows.
    fn act<T, W>(&self, work: W) -> Answer<'_, T>
    where
        T: Send + 'static,
        W: for<'a> FnOnce(&'a Transaction<'a>, &'a Rules) -> Answer<'a, T> + Send + 'static,
    {
        let (pool, rules) = (self.pool.clone(), Arc::clone(&self.rules));
        self.spawn(async move {
            let mut client = connect::get(&pool).await?;
            let transaction = begin(&mut client).await?;
            transaction.batch_execute("LOCK TABLE audit IN SHARE ROW EXCLUSIVE MODE").await?;
            let answer = work(&transaction, &rules).await?;
            transaction.commit().await?;
            Ok(answer)
        })
    }

    /// A question that changes nothing.
    fn read<T, R>(&self, read: R) -> Answer<'_, T>
    where
        T: Send + 'static,
        R: for<'a> FnOnce(&'a Object) -> Answer<'a, T> + Send + 'static,
    {
        let pool = self.pool.clone();
        self.spawn(async move {
            let client = connect::get(&pool).await?;
            read(&client).await
        })
    }
}

impl Store for PostgresStore {
    fn installation(&self) -> Answer<'_, Option<Installation>> {
        self.read(|client| Box::pin(rows::installation(client)))
    }

    fn install(&self, installation: Installation) -> Answer<'_, Installed> {
        self.act(move |transaction, _| Box::pin(rows::install(transaction, installation)))
    }

    fn judge(&self, questions: Vec<Prepared>, now: Minute) -> Answer<'_, Judged> {
        Box::pin(self.gatherer.judge(questions, now))
    }

    fn register(&self, devices: Vec<NewDevice>, act: Act) -> Answer<'_, Vec<Result<Registered, Duplicate>>> {
        self.act(move |transaction, rules| {
            Box::pin(devices::register(transaction, devices, act, rules.keys.order(), OsRng))
        })
    }

    fn renew(&self, renewal: Renewal, act: Act) -> Answer<'_, Result<Registered, NotRenewed>> {
        self.act(move |transaction, rules| {
            Box::pin(devices::renew(transaction, renewal, act, rules.keys.order(), OsRng))
        })
    }

    fn set_status(&self, serial: DeviceSerial, status: Status, act: Act) -> Answer<'_, Changed> {
        self.act(move |transaction, _| Box::pin(devices::set_status(transaction, serial, status, act)))
    }

    fn set_quota(&self, serial: DeviceSerial, quota: QuotaOverride, act: Act) -> Answer<'_, Changed> {
        self.act(move |transaction, _| Box::pin(devices::set_quota(transaction, serial, quota, act)))
    }

    fn device(&self, serial: DeviceSerial) -> Answer<'_, Option<Device>> {
        self.read(move |client| Box::pin(async move { devices::by_serial(client, &serial).await }))
    }

    fn devices(&self, page: Page) -> Answer<'_, Vec<Device>> {
        self.read(move |client| Box::pin(devices::page(client, page)))
    }

    fn endorsement_keys(&self) -> Answer<'_, Vec<StoredKey>> {
        self.read(|client| Box::pin(keys::all(client)))
    }

    fn change_keys(&self, change: KeyChange, act: Act) -> Answer<'_, KeysChanged> {
        self.act(move |transaction, _| Box::pin(keys::change(transaction, change, act)))
    }

    fn record(&self, deed: Deed, act: Act) -> Answer<'_, ()> {
        self.act(move |transaction, _| Box::pin(audit::append(transaction, act, vec![deed])))
    }

    fn audit(&self, after: u64, limit: u32) -> Answer<'_, Vec<AuditRow>> {
        self.read(move |client| Box::pin(audit::page(client, after, limit)))
    }

    fn check_audit(&self) -> Answer<'_, AuditState> {
        self.read(|client| Box::pin(audit::check(client)))
    }

    fn counts(&self) -> Answer<'_, Counts> {
        self.read(|client| Box::pin(rows::counts(client)))
    }

    fn health(&self) -> Answer<'_, ()> {
        self.read(|client| Box::pin(async move { Ok(client.batch_execute("SELECT 1").await?) }))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.closed.store(true, Ordering::SeqCst);
            self.gatherer.close();
            self.tasks.close();
            self.tasks.wait().await;
            self.pool.close();
        })
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.gatherer.close();
        // Not by its own drop, which would wait, and must not within another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Each statement sees what was committed before it, whatever the server's default: rows that were waited
/// for are seen as they are then.
async fn begin(client: &mut Object) -> Result<Transaction<'_>, StoreError> {
    Ok(client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start().await?)
}

async fn patiently<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or(Err(StoreError::TimedOut(PATIENCE)))
}

fn closed() -> StoreError {
    StoreError::Closed(Arc::from("it was closed"))
}

/// Batches of questions under way at once: one flushes while another is being judged.
const PIPELINES: usize = 4;
/// Further connections, for everything else.
const CONNECTIONS: usize = 4;
const WORKERS: usize = 2;
/// A server that says nothing for so long is taken for dead.
const PATIENCE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests;
