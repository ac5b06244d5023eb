//! The durable outbox, behind one trait: every submission from intake to its end.
//!
//! For: [`Store`], which SQLite (one machine, the default) and PostgreSQL (several aggregators at once)
//! implement alike; `conformance` holds both to it. Not for: deciding what a row's next state is
//! (`pipeline/state`).
//!
//! Every answer of success was durable before it was given. An error is never a verdict: nothing was
//! stored, or it is not known whether it was; the same may be asked again and changes nothing.

mod columns;
#[cfg(test)]
mod conformance;
mod error;
mod open;
mod postgres;
mod sqlite;
#[cfg(test)]
mod testing;
mod token;

use std::collections::BTreeSet;
use std::time::Duration;

use birthmark_core::body::Body;
use birthmark_core::submission::Submission;
use birthmark_core::time::UnixSeconds;
use birthmark_core::token::{Binding, SealedToken};
use futures::future::BoxFuture;
use uuid::Uuid;

use crate::pipeline::state::{Recorded, State, Voucher};

pub use error::{StoreError, StoreOpenError};
pub(crate) use open::open;

/// A store's answer, which comes later.
pub(crate) type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// The aggregator's database.
pub(crate) trait Store: std::fmt::Debug + Send + Sync {
    /// Looks submissions up and writes those that are new and have a place: one answer for each, in their
    /// order, all durable with one flush. [`StoreError::Busy`] at once if too much waits. An edit waits for nobody's
    /// verdict; one that was rejected is taken up again when it comes again, for its parent may be on record now.
    fn take_in(&self, arrivals: Vec<Arrival>) -> Answer<'_, Vec<Intake>>;

    /// Stores moves in one transaction, each row in at most one of them; a token goes with its row's first
    /// move, and an endorsement comes with it. Says of each whether the row was still in the state that it
    /// was to leave.
    fn advance(&self, moves: Vec<Move>) -> Answer<'_, Vec<bool>>;

    /// At most `limit` of our rows of this authority that wait for a verdict, oldest first, without those in
    /// `skip`.
    fn to_validate(&self, authority: String, skip: BTreeSet<RowId>, limit: usize) -> Answer<'_, Vec<ToValidate>>;

    /// At most `limit` of our rows that wait for their record, oldest first, without those in `skip`.
    fn to_post(&self, skip: BTreeSet<RowId>, limit: usize) -> Answer<'_, Vec<ToPost>>;

    /// The submission with this receipt.
    fn receipt(&self, id: Uuid) -> Answer<'_, Option<Receipt>>;

    /// Counts what of ours is unfinished; reads all of it.
    fn backlog(&self) -> Answer<'_, Backlog>;

    /// Names of the authorities from which we await a verdict; reads all that pends.
    fn awaited_authorities(&self) -> Answer<'_, Vec<String>>;

    /// When the oldest unfinished submission of ours came in, looking at those of `authorities`.
    fn oldest_unfinished(&self, authorities: Vec<String>) -> Answer<'_, Option<UnixSeconds>>;

    /// Forgets ended submissions that came in before this time: of at most [`FORGOTTEN_AT_ONCE`] rows after
    /// `after`, in the order of arrival. Returns where to go on; `None` once all are younger.
    fn forget(&self, before: UnixSeconds, after: RowId) -> Answer<'_, Option<RowId>>;

    /// How often [`Store::tend`] must be called; `None` where nobody else uses the database.
    fn lease(&self) -> Option<Duration> {
        None
    }

    /// Says that we live, and takes over the work of those who do not any more.
    fn tend(&self) -> Answer<'_, Tended> {
        Box::pin(async { Ok(Tended::default()) })
    }

    /// Whether it works: an error says why not.
    fn health(&self) -> Answer<'_, ()>;

    /// Finishes what waits and closes. Later calls fail with [`StoreError::Closed`].
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// A row's number, in the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RowId(i64);

impl RowId {
    /// Before the first.
    pub(crate) const START: Self = Self(0);

    /// Any number will do where no row is looked up.
    #[cfg(test)]
    pub(crate) const fn for_test(number: i64) -> Self {
        Self(number)
    }
}

/// A submission, and whether there is a place for it if it is new.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) row: NewRow,
    pub(crate) place: bool,
}

/// A submission that has just come in.
#[derive(Clone, Debug)]
pub(crate) struct NewRow {
    pub(crate) receipt: Uuid,
    pub(crate) request_id: RequestId,
    pub(crate) received_at: UnixSeconds,
    pub(crate) submission: Submission,
}

/// By which an authority recognises a repeated question: random, stored before the first call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestId(pub(crate) [u8; 16]);

/// What intake found or did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Intake {
    /// A row was written, or an edit's taken up again.
    New(Receipt),
    /// The same submission came before.
    Repeat(Receipt),
    /// Another submission of the same body is on record, at the assurance that this one aims at or a
    /// higher one.
    OnRecord(Recorded),
    /// There is no place for another row; nothing was written.
    NoPlace,
    /// What stood in its way is there no longer; nothing was written, and it may be sent again.
    Gone,
}

/// What the holder of a receipt may know, with the body, by which its proof is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) id: Uuid,
    pub(crate) state: State,
    pub(crate) body: Body,
    /// Another aggregator works on it: we hear of its end only by looking.
    pub(crate) elsewhere: bool,
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

/// What changed hands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tended {
    /// Rows that were another's and are ours now.
    pub(crate) adopted: Backlog,
    /// For a while we passed for dead: others may have taken rows of ours.
    pub(crate) lapsed: bool,
}

/// How many rows are unfinished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backlog {
    pub(crate) pending: u64,
    pub(crate) validated: u64,
}

/// Rows that one step of forgetting looks at.
const FORGOTTEN_AT_ONCE: i64 = 1000;
