//! The store of several aggregators: one PostgreSQL.
//!
//! For: [`PostgresStore`]: submissions gathered into batches, moves of a batch in one statement, work that
//! passes on when an aggregator dies. Not for: the statements (`intake`, `queues`, `members` below), or
//! connections and migrations (`birthmark_service::postgres`).
//!
//! Schema: `migrations/postgres`. Each row belongs to the aggregator that took it in, which alone works on
//! it: what is under way needs no mark in the database. Each aggregator holds a lease on itself. Whose lease
//! has run out is taken for dead, and the others share its rows between them (`FOR UPDATE SKIP LOCKED`). One
//! that was only slow does no harm: the authority and the registry recognise what is repeated, and a row
//! moves once.

mod intake;
mod members;
mod queues;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use birthmark_core::time::UnixSeconds;
use birthmark_service::gather::{Gatherer, gatherer};
use birthmark_service::postgres::{Postgres, Schema, Step, block_on, connection};
use deadpool_postgres::Object;
use futures::future::BoxFuture;
use uuid::Uuid;

use super::{
    Answer, Arrival, Backlog, Intake, Move, Receipt, RowId, Store, StoreError, StoreOpenError, Tended, ToPost,
    ToValidate,
};
use members::Owner;
pub(super) use members::{Member, Scope};

/// Connections to one database and what goes over them.
#[derive(Debug)]
pub(crate) struct PostgresStore {
    database: Postgres,
    gatherer: Gatherer<Vec<Arrival>, Result<Vec<Intake>, StoreError>>,
    owner: Owner,
    member: Arc<Member>,
}

impl PostgresStore {
    /// Connects, brings the schema up to date and takes its place among the aggregators. Blocks.
    pub(crate) fn open(url: &str, member: Member) -> Result<Self, StoreOpenError> {
        let database = Postgres::open(url, SCHEMA, PIPELINES + CONNECTIONS)?;
        let (pool, member) = (database.pool(), Arc::new(member));
        let this = Arc::clone(&member);
        let registered = database.spawn(async move {
            let client = connection(&pool).await?;
            members::register(&client, &this).await
        });
        let owner = block_on(registered)?.ok_or(StoreOpenError::OtherNetwork)?;
        let (gatherer, batches) = gatherer(BATCH, PLACES);
        let batches = Arc::new(batches);
        for _ in 0..PIPELINES {
            let (pool, batches) = (database.pool(), Arc::clone(&batches));
            database.spawn_pipeline(async move {
                while let Some(jobs) = batches.next().await {
                    intake::settle(&pool, owner, jobs).await;
                }
            });
        }
        Ok(Self { database, gatherer, owner, member })
    }

    /// Statements on a connection of their own.
    fn ask<T, W>(&self, work: W) -> Answer<'_, T>
    where
        T: Send + 'static,
        W: for<'a> FnOnce(&'a Object) -> Answer<'a, T> + Send + 'static,
    {
        let pool = self.database.pool();
        self.database.spawn(async move {
            let client = connection(&pool).await?;
            work(&client).await
        })
    }
}

impl Store for PostgresStore {
    fn take_in(&self, arrivals: Vec<Arrival>) -> Answer<'_, Vec<Intake>> {
        let count = arrivals.len();
        Box::pin(async move { self.gatherer.put(arrivals, count).await? })
    }

    fn advance(&self, moves: Vec<Move>) -> Answer<'_, Vec<bool>> {
        self.ask(move |client| Box::pin(queues::advance(client, moves)))
    }

    fn to_validate(&self, authority: String, skip: BTreeSet<RowId>, limit: usize) -> Answer<'_, Vec<ToValidate>> {
        let owner = self.owner;
        self.ask(move |client| Box::pin(queues::to_validate(client, owner, authority, skip, limit)))
    }

    fn to_post(&self, skip: BTreeSet<RowId>, limit: usize) -> Answer<'_, Vec<ToPost>> {
        let owner = self.owner;
        self.ask(move |client| Box::pin(queues::to_post(client, owner, skip, limit)))
    }

    fn receipt(&self, id: Uuid) -> Answer<'_, Option<Receipt>> {
        let owner = self.owner;
        self.ask(move |client| Box::pin(intake::by_receipt(client, owner, id)))
    }

    fn backlog(&self) -> Answer<'_, Backlog> {
        let owner = self.owner;
        self.ask(move |client| Box::pin(queues::backlog(client, owner)))
    }

    fn awaited_authorities(&self) -> Answer<'_, Vec<String>> {
        let owner = self.owner;
        self.ask(move |client| Box::pin(queues::awaited_authorities(client, owner)))
    }

    fn oldest_unfinished(&self, authorities: Vec<String>) -> Answer<'_, Option<UnixSeconds>> {
        let owner = self.owner;
        self.ask(move |client| Box::pin(queues::oldest_unfinished(client, owner, authorities)))
    }

    fn forget(&self, before: UnixSeconds, _after: RowId) -> Answer<'_, Option<RowId>> {
        self.ask(move |client| Box::pin(queues::forget(client, before)))
    }

    fn lease(&self) -> Option<Duration> {
        Some(self.member.beat())
    }

    fn tend(&self) -> Answer<'_, Tended> {
        let (owner, member) = (self.owner, Arc::clone(&self.member));
        self.ask(move |client| Box::pin(async move { members::tend(client, owner, &member).await }))
    }

    fn health(&self) -> Answer<'_, ()> {
        self.ask(|client| Box::pin(async move { Ok(client.batch_execute("SELECT 1").await?) }))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.gatherer.close();
            let (owner, member) = (self.owner, Arc::clone(&self.member));
            // The others need not wait for our lease to run out. If this fails, they do.
            let left = self.ask(move |client| Box::pin(async move { members::leave(client, owner, &member).await }));
            if let Err(error) = left.await {
                tracing::debug!(%error, "left the database without a word");
            }
            self.database.close().await;
        })
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.gatherer.close();
    }
}

/// Batches of submissions under way at once: one flushes while another is being written.
const PIPELINES: usize = 2;
/// Further connections, for everything else.
const CONNECTIONS: usize = 8;
/// Submissions of one transaction.
const BATCH: usize = 512;
/// Submissions that may wait: about 20 MB of version 2.
const PLACES: usize = 16 * 1024;

const SCHEMA: Schema = Schema {
    application: "birthmark-aggregator",
    // The authority's: devices and image hashes never share a database.
    foreign: "device_registry",
    // Each statement has its index. What the planner makes of a table that was empty a minute ago would be
    // kept until the next ANALYZE. And it would make it anew for each array of keys, for the price of some twenty rows.
    session:
        "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
              SET plan_cache_mode = force_generic_plan;",
    steps: &[Step { name: "submissions", sql: include_str!("../../migrations/postgres/V1__submissions.sql") }],
};

#[cfg(test)]
mod tests;
