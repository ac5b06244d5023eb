//! The durable outbox: every submission from intake to its end.
//!
//! For: all reading and writing of `aggregator.db`. Not for: deciding what a row's next state is
//! (`pipeline/state`), or how commits are grouped (`birthmark_service::sqlite`).
//!
//! The SQL is in `store/sql.rs`, the schema in `migrations/`.

mod sql;
mod token;

use std::collections::BTreeSet;
use std::path::Path;

use birthmark_core::batch::Assurance;
use birthmark_core::body::Body;
use birthmark_core::hash::Digest;
use birthmark_core::submission::CameraSubmission;
use birthmark_core::time::UnixSeconds;
use birthmark_core::token::{Binding, SealedToken};
use birthmark_service::sqlite::{Database, Migration, OpenError, Options, ReadError, WriteError};
use uuid::Uuid;

use crate::pipeline::state::{Recorded, State, Voucher};

/// The file's name in the data folder.
pub(crate) const DATABASE_FILE: &str = "aggregator.db";

const MIGRATIONS: &[Migration] = &[
    Migration { name: "V1__submissions", sql: include_str!("../migrations/V1__submissions.sql") },
    Migration { name: "V2__endorsements", sql: include_str!("../migrations/V2__endorsements.sql") },
];

/// A row's number, in the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RowId(i64);

impl RowId {
    /// Any number will do where no row is looked up.
    #[cfg(test)]
    pub(crate) const fn for_test(number: i64) -> Self {
        Self(number)
    }
}

/// The open database. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    database: Database,
}

/// A submission that has just come in.
#[derive(Debug)]
pub(crate) struct NewRow {
    pub(crate) receipt: Uuid,
    pub(crate) request_id: RequestId,
    pub(crate) received_at: UnixSeconds,
    pub(crate) submission: CameraSubmission,
}

/// By which an authority recognises a repeated question: random, stored before the first call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestId(pub(crate) [u8; 16]);

/// What intake found or did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Intake {
    /// A row was written.
    New(Receipt),
    /// The same submission came before.
    Repeat(Receipt),
    /// Another submission of the same body is on record, at the assurance that this one aims at or a
    /// higher one.
    OnRecord(Recorded),
    /// There is no place for another row; nothing was written.
    NoPlace,
}

/// What the holder of a receipt may know, with the body, by which its proof is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) id: Uuid,
    pub(crate) state: State,
    pub(crate) body: Body,
}

/// A row that waits for its verdict.
#[derive(Clone, Debug)]
pub(crate) struct ToValidate {
    pub(crate) id: RowId,
    pub(crate) receipt: Uuid,
    pub(crate) request_id: RequestId,
    pub(crate) token: SealedToken,
    /// Given exactly for a version 2 token.
    pub(crate) bound: Option<Bound>,
}

/// What a version 2 token is bound to, and how to show it. The authority sees `binding.blinding` only.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub(crate) binding: Binding,
    /// The encoded body.
    pub(crate) body: Vec<u8>,
}

/// A row that waits for its record.
#[derive(Clone, Debug)]
pub(crate) struct ToPost {
    pub(crate) id: RowId,
    pub(crate) receipt: Uuid,
    pub(crate) body: Body,
    pub(crate) voucher: Voucher,
}

/// One row's move from a state to another.
#[derive(Clone, Debug)]
pub(crate) struct Move {
    pub(crate) id: RowId,
    pub(crate) from: State,
    pub(crate) to: State,
}

/// How many rows are unfinished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backlog {
    pub(crate) pending: u64,
    pub(crate) validated: u64,
}

/// Why a write left nothing behind.
pub(crate) type StoreError = WriteError<rusqlite::Error>;

impl Store {
    /// Opens or creates the database in this folder. Blocks.
    pub(crate) fn open(folder: &Path) -> Result<Self, OpenError> {
        let database = Database::open(&folder.join(DATABASE_FILE), MIGRATIONS, Options::default())?;
        Ok(Self { database })
    }

    /// Looks the submission up and, if it is new and there is a place for it, writes it. On disk when
    /// answered; [`WriteError::Busy`] at once if too many writes wait.
    pub(crate) async fn take_in(&self, row: NewRow, place: bool) -> Result<Intake, StoreError> {
        let NewRow { receipt, request_id, received_at, submission } = row;
        let key = submission.idempotency_key();
        let encoded = submission.body.encode();
        let digest = Digest::of_parts(&[&encoded]);
        let token = token::encode(&submission.token, submission.binding.as_ref());
        let aim = if submission.binding.is_some() { Assurance::Endorsed } else { Assurance::Attested };
        let body = submission.body;
        let job = move |connection: &rusqlite::Connection| {
            if let Some(known) = sql::by_idempotency_key(connection, &key)? {
                return Ok(Intake::Repeat(known));
            }
            if let Some(recorded) = sql::recorded(connection, &digest, aim)? {
                return Ok(Intake::OnRecord(recorded));
            }
            if !place {
                return Ok(Intake::NoPlace);
            }
            let row = sql::Insert {
                receipt,
                key: &key,
                request_id,
                authority: body.authority.as_str(),
                body: &encoded,
                digest: &digest,
                token: &token,
                assurance: aim,
                received_at,
            };
            sql::insert(connection, &row)?;
            Ok(Intake::New(Receipt { id: receipt, state: State::Received, body }))
        };
        self.database.try_write(job).await
    }

    /// Stores moves in one transaction; a token goes with its row's first move, and an endorsement comes
    /// with it. Says of each whether the row was still in the state that it was to leave.
    pub(crate) async fn advance(&self, moves: Vec<Move>) -> Result<Vec<bool>, StoreError> {
        let job = move |connection: &rusqlite::Connection| {
            moves.iter().map(|change| sql::advance(connection, change)).collect::<Result<Vec<_>, _>>()
        };
        self.database.write(job).await
    }

    /// At most `limit` rows of this authority that wait for a verdict, oldest first, without those in
    /// `skip`.
    pub(crate) async fn to_validate(
        &self,
        authority: String,
        skip: BTreeSet<RowId>,
        limit: usize,
    ) -> Result<Vec<ToValidate>, ReadError> {
        self.database.read(move |connection| sql::to_validate(connection, &authority, &skip, limit)).await
    }

    /// At most `limit` rows that wait for their record, oldest first, without those in `skip`.
    pub(crate) async fn to_post(&self, skip: BTreeSet<RowId>, limit: usize) -> Result<Vec<ToPost>, ReadError> {
        self.database.read(move |connection| sql::to_post(connection, &skip, limit)).await
    }

    /// The submission with this receipt.
    pub(crate) fn receipt(&self, id: Uuid) -> Result<Option<Receipt>, ReadError> {
        self.database.read_blocking(|connection| sql::by_receipt(connection, id))
    }

    /// Counts what is unfinished; reads all of it.
    pub(crate) fn backlog(&self) -> Result<Backlog, ReadError> {
        self.database.read_blocking(sql::backlog)
    }

    /// Names of the authorities from which a verdict is awaited; reads all that pends.
    pub(crate) fn awaited_authorities(&self) -> Result<Vec<String>, ReadError> {
        self.database.read_blocking(sql::awaited_authorities)
    }

    /// When the oldest unfinished submission came in, looking at those of `authorities`.
    pub(crate) async fn oldest_unfinished(&self, authorities: Vec<String>) -> Result<Option<UnixSeconds>, ReadError> {
        self.database.read(move |connection| sql::oldest_unfinished(connection, &authorities)).await
    }

    /// Why the database is closed; `None` while it works.
    pub(crate) fn closed(&self) -> Option<std::sync::Arc<str>> {
        self.database.closed()
    }

    /// Finishes the writes that wait and closes the file.
    pub(crate) async fn close(&self) {
        self.database.close().await;
    }
}

#[cfg(test)]
mod tests;
