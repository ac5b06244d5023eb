//! The store of one machine: SQLite in the aggregator's folder.
//!
//! For: [`SqliteStore`]: each operation is one job of the writer thread, which shares its commits
//! (`birthmark_service::sqlite`). Not for: the statements (`sqlite/sql.rs`), or the schema
//! (`migrations/V*.sql`). One process has the file; the folder's lock sees to that.

mod sql;

use std::collections::BTreeSet;
use std::path::Path;

use birthmark_core::time::UnixSeconds;
use birthmark_service::sqlite::{Database, Migration, Options};
use futures::future::BoxFuture;
use rusqlite::Connection;
use uuid::Uuid;

use super::columns::Keys;
use super::{
    Answer, Arrival, Backlog, Intake, Move, NewRow, Receipt, RowId, Store, StoreError, StoreOpenError, ToPost,
    ToValidate,
};
use crate::pipeline::state::State;

/// The file's name in the data folder.
pub(super) const DATABASE_FILE: &str = "aggregator.db";

/// A database file.
#[derive(Debug)]
pub(crate) struct SqliteStore {
    database: Database,
}

impl SqliteStore {
    /// Opens the file, which is made if missing. Blocks.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreOpenError> {
        Ok(Self { database: Database::open(path, MIGRATIONS, Options::default())? })
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
        let arrivals: Vec<_> = arrivals.into_iter().map(|arrival| (arrival.row.keys(), arrival)).collect();
        let job = move |connection: &Connection| {
            arrivals.into_iter().map(|(keys, arrival)| take_in(connection, &keys, arrival)).collect()
        };
        Box::pin(async move { Ok(self.database.try_write(job).await?) })
    }

    fn advance(&self, moves: Vec<Move>) -> Answer<'_, Vec<bool>> {
        let job = move |connection: &Connection| {
            moves.iter().map(|change| sql::advance(connection, change)).collect::<rusqlite::Result<Vec<_>>>()
        };
        Box::pin(async move { Ok(self.database.write(job).await?) })
    }

    fn to_validate(&self, authority: String, skip: BTreeSet<RowId>, limit: usize) -> Answer<'_, Vec<ToValidate>> {
        self.read(move |connection| sql::to_validate(connection, &authority, &skip, limit))
    }

    fn to_post(&self, skip: BTreeSet<RowId>, limit: usize) -> Answer<'_, Vec<ToPost>> {
        self.read(move |connection| sql::to_post(connection, &skip, limit))
    }

    fn receipt(&self, id: Uuid) -> Answer<'_, Option<Receipt>> {
        self.look_up(move |connection| sql::by_receipt(connection, id))
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

    fn health(&self) -> Answer<'_, ()> {
        let closed = self.database.closed();
        Box::pin(async { closed.map_or(Ok(()), |reason| Err(StoreError::Closed(reason))) })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.database.close())
    }
}

fn take_in(connection: &Connection, keys: &Keys, Arrival { row, place }: Arrival) -> rusqlite::Result<Intake> {
    if let Some(known) = sql::by_idempotency_key(connection, &keys.idempotency)? {
        return Ok(Intake::Repeat(known));
    }
    if let Some(recorded) = sql::recorded(connection, &keys.digest, row.aim())? {
        return Ok(Intake::OnRecord(recorded));
    }
    if !place {
        return Ok(Intake::NoPlace);
    }
    sql::insert(connection, &row, keys)?;
    let NewRow { receipt, submission, .. } = row;
    Ok(Intake::New(Receipt { id: receipt, state: State::Received, body: submission.body, elsewhere: false }))
}

const MIGRATIONS: &[Migration] = &[
    Migration { name: "V1__submissions", sql: include_str!("../../migrations/V1__submissions.sql") },
    Migration { name: "V2__endorsements", sql: include_str!("../../migrations/V2__endorsements.sql") },
];

#[cfg(test)]
mod tests;
