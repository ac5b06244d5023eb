//! The store of one machine: SQLite in the aggregator's folder.
//!
//! For: [`SqliteStore`]: each operation is one job of the writer thread, which shares its commits
//! (`birthmark_service::sqlite`). Not for: the statements (`sql`, `leads`), or the schema (`migrations/V*.sql`). One
//! process has the file; the folder's lock sees to that, and so what it holds may be kept in memory.
//!
//! ```text
//! submissions ─► intake ─► rows ─► leads to them: recent (memory), by and by the tables by_receipt, by_body
//! ```

mod intake;
mod keys;
mod leads;
mod recent;
mod sql;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use birthmark_core::api::validate::Message;
use birthmark_core::time::UnixSeconds;
use birthmark_service::postgres::block_on;
use birthmark_service::sqlite::{Database, Migration, Options};
use futures::future::BoxFuture;
use parking_lot::RwLock;
use rusqlite::Connection;
use uuid::Uuid;

use self::intake::{Entrance, Outbox};
use self::keys::{KEYS_FILE, TokenKeys};
use self::recent::Recent;
use super::{
    Answer, Arrival, Backlog, Intake, Move, Receipt, RowId, Store, StoreError, StoreOpenError, ToPost, ToValidate,
};
use crate::pipeline::state::Reason;

/// The file's name in the data folder.
pub(super) const DATABASE_FILE: &str = "aggregator.db";

/// A database file, the keys of its tokens, and the way in.
#[derive(Debug)]
pub(crate) struct SqliteStore {
    database: Database,
    keys: Arc<TokenKeys>,
    recent: Arc<RwLock<Recent>>,
    entrance: Entrance,
}

impl SqliteStore {
    /// Opens the file, which is made if missing. Blocks.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreOpenError> {
        let database = Database::open(path, MIGRATIONS, Options::default())?;
        let keys_path = path.with_file_name(KEYS_FILE);
        let unreadable = |source| StoreOpenError::Keys { path: keys_path.clone(), source };
        let has_keys = keys_path.try_exists().map_err(unreadable)?;
        if !has_keys {
            give_up_tokens(&database)?;
        }
        let in_use = database.read_blocking(sql::slots).map_err(StoreError::from)?;
        let keys = Arc::new(TokenKeys::open(&keys_path, &in_use).map_err(unreadable)?);
        let recent = Arc::new(RwLock::new(database.read_blocking(leads::recent).map_err(StoreError::from)?));
        let outbox = Outbox { database: database.clone(), keys: Arc::clone(&keys), recent: Arc::clone(&recent) };
        let entrance = Entrance::open(outbox).map_err(StoreOpenError::Thread)?;
        let this = Self { database, keys, recent, entrance };
        this.seal_tokens_in_the_clear()?;
        this.check_keys(&keys_path)?;
        Ok(this)
    }

    /// Rows of earlier versions, and what their copies left in log and file.
    fn seal_tokens_in_the_clear(&self) -> Result<(), StoreError> {
        let keys = Arc::clone(&self.keys);
        let sealed = self.database.write_blocking(move |connection| sql::seal_all(connection, &keys))?;
        if sealed > 0 {
            tracing::info!(sealed, "tokens of an earlier version are sealed now");
            block_on(self.database.checkpoint())?;
        }
        Ok(())
    }

    /// Wrong keys must not be found out one by one, at each token's turn.
    fn check_keys(&self, path: &Path) -> Result<(), StoreOpenError> {
        let keys = Arc::clone(&self.keys);
        let lost = self.database.read_blocking(move |connection| sql::unopenable(connection, &keys));
        match lost.map_err(StoreError::from)? {
            0 => Ok(()),
            lost => Err(StoreOpenError::WrongKeys { path: path.to_owned(), lost }),
        }
    }

    /// On a thread for blocking work.
    fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Answer<'_, T> {
        Box::pin(async move { Ok(self.database.read(query).await?) })
    }

    /// On this thread: look-ups by key take less time than handing them to another.
    fn look_up<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Answer<'_, T> {
        Box::pin(async move { Ok(self.database.read_blocking(query)?) })
    }
}

impl Store for SqliteStore {
    fn take_in(&self, arrivals: Vec<Arrival>) -> Answer<'_, Vec<Intake>> {
        self.entrance.take_in(arrivals)
    }

    fn advance(&self, moves: Vec<Move>) -> Answer<'_, Vec<bool>> {
        let job = move |connection: &Connection| {
            moves.iter().map(|change| sql::advance(connection, change)).collect::<rusqlite::Result<Vec<_>>>()
        };
        Box::pin(async move {
            let (done, slots) = self.database.write(job).await?.into_iter().unzip::<_, _, _, Vec<_>>();
            // Only now that the verdicts are durable.
            self.keys.destroy(slots.into_iter().flatten().collect());
            Ok(done)
        })
    }

    fn to_validate(&self, authority: String, skip: BTreeSet<RowId>, limit: usize) -> Answer<'_, Vec<ToValidate>> {
        let keys = Arc::clone(&self.keys);
        self.read(move |connection| sql::to_validate(connection, &keys, &authority, &skip, limit))
    }

    fn to_post(&self, skip: BTreeSet<RowId>, limit: usize) -> Answer<'_, Vec<ToPost>> {
        self.read(move |connection| sql::to_post(connection, &skip, limit))
    }

    fn receipt(&self, id: Uuid) -> Answer<'_, Option<Receipt>> {
        let number = self.recent.read().receipt(id.as_bytes());
        self.look_up(move |connection| leads::by_receipt(connection, number, id))
    }

    fn backlog(&self) -> Answer<'_, Backlog> {
        self.look_up(sql::backlog)
    }

    fn awaited_authorities(&self) -> Answer<'_, Vec<String>> {
        self.look_up(sql::awaited_authorities)
    }

    fn oldest_unfinished(&self, authorities: Vec<String>) -> Answer<'_, Option<UnixSeconds>> {
        self.read(move |connection| sql::oldest_unfinished(connection, &authorities))
    }

    fn forget(&self, before: UnixSeconds, after: RowId) -> Answer<'_, Option<RowId>> {
        let job = move |connection: &Connection| leads::forget(connection, before, after);
        Box::pin(async move {
            let (gone, next) = self.database.write(job).await?;
            self.recent.write().forget(&gone);
            Ok(next)
        })
    }

    fn health(&self) -> Answer<'_, ()> {
        let closed = self.database.closed();
        Box::pin(async { closed.map_or(Ok(()), |reason| Err(StoreError::Closed(reason))) })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.entrance.close();
            self.database.close().await;
            // Its thread ends with the keys that wait: a flush or two.
            self.keys.close();
        })
    }
}

/// The file of keys is gone, as after a restore: what is sealed can never be judged. Their cameras are told
/// to seal the photographs anew.
fn give_up_tokens(database: &Database) -> Result<(), StoreError> {
    let reason = Reason::of(Message::Stale);
    let given_up = database.write_blocking(move |connection| sql::give_up(connection, &reason))?;
    if given_up > 0 {
        tracing::warn!(given_up, "{KEYS_FILE} is missing: submissions without a verdict end as token_stale");
    }
    Ok(())
}

const MIGRATIONS: &[Migration] = &[
    Migration { name: "V1__submissions", sql: include_str!("../../migrations/V1__submissions.sql") },
    Migration { name: "V2__endorsements", sql: include_str!("../../migrations/V2__endorsements.sql") },
    Migration { name: "V3__sealed_tokens", sql: include_str!("../../migrations/V3__sealed_tokens.sql") },
    Migration { name: "V4__late_indexes", sql: include_str!("../../migrations/V4__late_indexes.sql") },
];

#[cfg(test)]
mod tests;
