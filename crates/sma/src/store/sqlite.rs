//! The store of one machine: SQLite in the authority's folder.
//!
//! For: [`SqliteStore`]: each operation is one job of the writer thread, which shares its commits
//! (`birthmark_service::sqlite`). Not for: the statements (`devices`, `judge`, `keys`, `audit` below).
//!
//! Schema: `migrations/V*.sql`. One process has the file; the folder's lock sees to that, and so what it
//! holds may be kept in memory.
//! ```text
//! questions ─► gatherer ─► judge: registry and tail (memory), tables ─► journal, commit ─► answers
//!                                                         merge: journal ─► tables, now and then
//! ```

mod audit;
mod devices;
mod journal;
mod judge;
mod keys;
mod merge;
mod part;
mod registry;
mod rows;
mod seen;
mod state;
mod tail;
mod work;

use std::path::Path;
use std::sync::Arc;

use birthmark_core::ids::{AuthorityId, DeviceSerial};
use birthmark_core::time::Minute;
use birthmark_service::random::OsRng;
use birthmark_service::sqlite::{Database, Migration, OpenError, Options};
use futures::future::BoxFuture;
use rusqlite::types::Type;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use tokio_util::task::TaskTracker;

use super::{
    Answer, Asked, Counts, Installation, Installed, Judged, KeyChange, KeysChanged, Store, StoreError, StoreOpenError,
    StoredKey,
};
use crate::audit::{Act, AuditRow, AuditState, Deed};
use crate::devices::{Changed, Device, DeviceId, Duplicate, NewDevice, NotRenewed, Page, Registered, Renewal, Status};
use crate::quota::QuotaOverride;
use crate::rules::Rules;
use state::State;
use work::{Shared, Tuning};

/// A database file and what judges over it.
#[derive(Debug)]
pub(crate) struct SqliteStore {
    shared: Arc<Shared>,
    threads: TaskTracker,
}

impl SqliteStore {
    /// Opens the file, which is made if missing. Blocks.
    pub(crate) fn open(path: &Path, rules: Arc<Rules>) -> Result<Self, StoreOpenError> {
        Self::open_tuned(path, rules, Tuning::default(), Options::default())
    }

    fn open_tuned(path: &Path, rules: Arc<Rules>, tuning: Tuning, options: Options) -> Result<Self, StoreOpenError> {
        refuse_aggregators(path)?;
        let database = Database::open(path, MIGRATIONS, options)?;
        let unreadable = |cause: StoreError| StoreOpenError::Unreadable { path: path.to_owned(), cause };
        let state = database
            .write_blocking(move |connection| {
                connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
                State::load(connection, tuning)
            })
            .map_err(|error| unreadable(error.into()))?;
        let threads = TaskTracker::new();
        let shared = Shared::start(database, state, rules, tuning, &threads).map_err(StoreOpenError::Threads)?;
        Ok(Self { shared, threads })
    }

    /// A change of the database, answered when it is on disk.
    fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection, &Rules) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'_, T> {
        let rules = Arc::clone(&self.shared.rules);
        Box::pin(async move { Ok(self.shared.database.write(move |connection| job(connection, &rules)).await?) })
    }

    /// What is read, with the passes that are not merged yet; `None` if some were merged meanwhile, so that
    /// they may be in neither.
    fn with_usage(&self, version: u64, devices: Vec<Device>) -> Option<Vec<Device>> {
        let state = self.shared.state.lock();
        let usage = |device: Device| match state.usage(device.id) {
            Some((tally, highest)) => Device { tally, highest, ..device },
            None => device,
        };
        (state.version() == version).then(|| devices.into_iter().map(usage).collect())
    }

    fn version(&self) -> u64 {
        self.shared.state.lock().version()
    }

    /// On this thread: look-ups by key take less time than handing them to another.
    fn look_up<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Answer<'_, T> {
        Box::pin(async move { Ok(self.shared.database.read_blocking(query)?) })
    }
}

impl Store for SqliteStore {
    fn installation(&self) -> Answer<'_, Option<Installation>> {
        self.look_up(read_installation)
    }

    fn install(&self, installation: Installation) -> Answer<'_, Installed> {
        self.write(move |connection, _| install(connection, &installation))
    }

    fn judge(&self, asked: Asked) -> Answer<'_, Judged> {
        let count = asked.questions.len();
        if count == 0 {
            return Box::pin(async { Ok(Judged::default()) });
        }
        Box::pin(async move { self.shared.gatherer.put(asked, count).await? })
    }

    fn register(&self, devices: Vec<NewDevice>, act: Act) -> Answer<'_, Vec<Result<Registered, Duplicate>>> {
        self.write(move |connection, rules| {
            devices::register(connection, devices, &act, rules.keys.order(), &mut OsRng)
        })
    }

    fn renew(&self, renewal: Renewal, act: Act) -> Answer<'_, Result<Registered, NotRenewed>> {
        self.write(move |connection, rules| devices::renew(connection, &renewal, &act, rules.keys.order(), &mut OsRng))
    }

    fn set_status(&self, serial: DeviceSerial, status: Status, act: Act) -> Answer<'_, Changed> {
        self.write(move |connection, _| devices::set_status(connection, &serial, status, &act))
    }

    fn set_quota(&self, serial: DeviceSerial, quota: QuotaOverride, act: Act) -> Answer<'_, Changed> {
        self.write(move |connection, _| devices::set_quota(connection, &serial, quota, &act))
    }

    fn device(&self, serial: DeviceSerial) -> Answer<'_, Option<Device>> {
        Box::pin(async move {
            loop {
                let (version, serial) = (self.version(), serial.clone());
                let found = self.look_up(move |connection| devices::by_serial(connection, &serial)).await?;
                if let Some(devices) = self.with_usage(version, found.into_iter().collect()) {
                    return Ok(devices.into_iter().next());
                }
            }
        })
    }

    fn tpm_evidence(&self, device: DeviceId) -> Answer<'_, Option<String>> {
        self.look_up(move |connection| devices::tpm_evidence(connection, device))
    }

    fn devices(&self, page: Page) -> Answer<'_, Vec<Device>> {
        Box::pin(async move {
            loop {
                let version = self.version();
                let found = self.shared.database.read(move |connection| devices::page(connection, page)).await?;
                if let Some(devices) = self.with_usage(version, found) {
                    return Ok(devices);
                }
            }
        })
    }

    fn endorsement_keys(&self) -> Answer<'_, Vec<StoredKey>> {
        self.look_up(keys::all)
    }

    fn change_keys(&self, change: KeyChange, act: Act) -> Answer<'_, KeysChanged> {
        self.write(move |connection, _| keys::change(connection, change, &act))
    }

    fn record(&self, deed: Deed, act: Act) -> Answer<'_, ()> {
        self.write(move |connection, _| Ok(audit::append(connection, &act, [deed])?))
    }

    fn audit(&self, after: u64, limit: u32) -> Answer<'_, Vec<AuditRow>> {
        Box::pin(async move {
            Ok(self.shared.database.read(move |connection| audit::page(connection, after, limit)).await?)
        })
    }

    fn check_audit(&self) -> Answer<'_, AuditState> {
        Box::pin(async move { Ok(self.shared.database.read(audit::check).await?) })
    }

    fn counts(&self) -> Answer<'_, Counts> {
        self.look_up(counts)
    }

    fn health(&self) -> Answer<'_, ()> {
        Box::pin(async move { self.shared.database.closed().map_or(Ok(()), |reason| Err(StoreError::Closed(reason))) })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.shared.stop();
            self.threads.close();
            self.threads.wait().await;
            self.shared.database.close().await;
        })
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

/// Refuses an aggregator's file before anything in it is touched.
fn refuse_aggregators(path: &Path) -> Result<(), StoreOpenError> {
    if !path.exists() {
        return Ok(());
    }
    let has_submissions = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).and_then(|connection| {
        let query = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'submission')";
        connection.query_row(query, [], |row| row.get::<_, bool>(0))
    });
    match has_submissions {
        Ok(false) => Ok(()),
        Ok(true) => Err(StoreOpenError::Aggregators { database: path.display().to_string() }),
        Err(source) => Err(OpenError::Sqlite { path: path.to_owned(), source }.into()),
    }
}

fn read_installation(connection: &Connection) -> rusqlite::Result<Option<Installation>> {
    connection
        .prepare_cached("SELECT authority_id, key_check, created_minute FROM authority WHERE id = 1")?
        .query_row([], |row| {
            let authority_id = AuthorityId::new(row.get::<_, String>(0)?)
                .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error)))?;
            Ok(Installation { authority_id, key_check: row.get(1)?, created: Minute(row.get(2)?) })
        })
        .optional()
}

/// Over what an interrupted `init` may have left: without its key file nobody else has the database.
fn install(connection: &Connection, installation: &Installation) -> Result<Installed, StoreError> {
    let in_use = connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM device_registry) OR EXISTS (SELECT 1 FROM used_token) OR EXISTS (SELECT 1 FROM pass)
                 OR EXISTS (SELECT 1 FROM endorsement_key) OR EXISTS (SELECT 1 FROM audit)",
        )?
        .query_row([], |row| row.get(0))?;
    if in_use {
        return Ok(Installed::InUse);
    }
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO authority (id, authority_id, key_check, created_minute) VALUES (1, ?1, ?2, ?3)",
        )?
        .execute(params![installation.authority_id.as_str(), installation.key_check, installation.created.0])?;
    Ok(Installed::Yes)
}

fn counts(connection: &Connection) -> rusqlite::Result<Counts> {
    let query = "SELECT (SELECT coalesce(max(id), 0) FROM device_registry),
                        (SELECT count(*) FROM device_registry WHERE status = 'revoked'),
                        (SELECT coalesce(max(sequence), 0) FROM audit)";
    let number = |row: &rusqlite::Row<'_>, column| row.get::<_, rows::Number>(column).map(|number| number.0);
    connection.prepare_cached(query)?.query_row([], |row| {
        Ok(Counts { devices: number(row, 0)?, revoked: number(row, 1)?, audit_rows: number(row, 2)? })
    })
}

/// For the writer, as far as it is used: the upper levels of all tables, and what is being merged.
const CACHE_KIB: i64 = 32 * 1024;

const MIGRATIONS: &[Migration] = &[
    Migration { name: "V1__authority", sql: include_str!("../../migrations/V1__authority.sql") },
    Migration { name: "V2__bound_tokens", sql: include_str!("../../migrations/V2__bound_tokens.sql") },
    Migration { name: "V3__journal", sql: include_str!("../../migrations/V3__journal.sql") },
    Migration { name: "V4__device_tpm", sql: include_str!("../../migrations/V4__device_tpm.sql") },
];

#[cfg(test)]
pub(super) mod tests;
