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
mod devices;
mod judge;
mod keys;
mod rows;

use std::sync::Arc;

use birthmark_core::ids::DeviceSerial;
use birthmark_service::gather::{Batches, Gatherer, Job, gatherer};
use birthmark_service::postgres::{Postgres, Schema, Step, begin, connection};
use birthmark_service::random::OsRng;
use deadpool_postgres::{Object, Transaction};
use futures::future::BoxFuture;

use super::{
    Answer, Asked, Counts, Installation, Installed, Judged, KeyChange, KeysChanged, Store, StoreError, StoreOpenError,
    StoredKey,
};
use crate::audit::{Act, AuditRow, AuditState, Deed};
use crate::devices::{Changed, Device, DeviceId, Duplicate, NewDevice, NotRenewed, Page, Registered, Renewal, Status};
use crate::quota::QuotaOverride;
use crate::rules::Rules;

type AskedJob = Job<Asked, Result<Judged, StoreError>>;

/// Connections to one database and what judges over it.
#[derive(Debug)]
pub(crate) struct PostgresStore {
    database: Postgres,
    rules: Arc<Rules>,
    gatherer: Gatherer<Asked, Result<Judged, StoreError>>,
}

impl PostgresStore {
    /// Connects and brings the schema up to date. Blocks.
    pub(crate) fn open(url: &str, rules: Arc<Rules>) -> Result<Self, StoreOpenError> {
        let database = Postgres::open(url, SCHEMA, PIPELINES + CONNECTIONS)?;
        let (gatherer, batches) = gatherer(BATCH, PLACES);
        let store = Self { database, rules, gatherer };
        store.start_pipelines(batches);
        Ok(store)
    }

    fn start_pipelines(&self, batches: Batches<Asked, Result<Judged, StoreError>>) {
        let batches = Arc::new(batches);
        for _ in 0..PIPELINES {
            let (pool, rules, batches) = (self.database.pool(), Arc::clone(&self.rules), Arc::clone(&batches));
            self.database.spawn_pipeline(async move {
                while let Some(jobs) = batches.next().await {
                    judge::settle(&pool, &rules, jobs).await;
                }
            });
        }
    }

    /// A transaction in which an admin acts: alone among acts, and with its audit rows.
    fn act<T, W>(&self, work: W) -> Answer<'_, T>
    where
        T: Send + 'static,
        W: for<'a> FnOnce(&'a Transaction<'a>, &'a Rules) -> Answer<'a, T> + Send + 'static,
    {
        let (pool, rules) = (self.database.pool(), Arc::clone(&self.rules));
        self.database.spawn(async move {
            let mut client = connection(&pool).await?;
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
        let pool = self.database.pool();
        self.database.spawn(async move {
            let client = connection(&pool).await?;
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

    fn judge(&self, asked: Asked) -> Answer<'_, Judged> {
        let count = asked.questions.len();
        if count == 0 {
            return Box::pin(async { Ok(Judged::default()) });
        }
        Box::pin(async move { self.gatherer.put(asked, count).await? })
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

    fn tpm_evidence(&self, device: DeviceId) -> Answer<'_, Option<String>> {
        self.read(move |client| Box::pin(devices::tpm_evidence(client, device)))
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
            self.gatherer.close();
            self.database.close().await;
        })
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.gatherer.close();
    }
}

/// Batches of questions under way at once: one flushes while another is being judged.
const PIPELINES: usize = 4;
/// Further connections, for everything else.
const CONNECTIONS: usize = 4;
/// Questions judged in one transaction.
const BATCH: usize = 256;
/// Questions that may wait: about 20 MB of version 2.
const PLACES: usize = 16 * 1024;

const SCHEMA: Schema = Schema {
    application: "birthmark-sma",
    // The aggregator's: devices and image hashes never share a database.
    foreign: "submission",
    session: "",
    steps: &[
        Step { name: "authority", sql: include_str!("../../migrations/postgres/V1__authority.sql") },
        Step { name: "device_tpm", sql: include_str!("../../migrations/postgres/V2__device_tpm.sql") },
    ],
};

#[cfg(test)]
mod tests;
