//! The camera's durable queue: every photograph from "captured" to its proof.
//!
//! For: all reading and writing of `queue.db`. A row is on disk when a call returns, and none is ever
//! deleted. Several processes may share the queue: a row is held by one of them while it is submitted.
//!
//! A row's token, with the binding of a version 2 token, is there before it is first sent, stays the same
//! until the receipt ends, and is erased then.
//!
//! Not for: files ([`capture`](crate::capture) writes them before their row), deciding what an answer
//! means, or talking to anybody ([`upload`](crate::upload)).
//!
//! ```text
//! queued ──► sent ──► confirmed (then its proof is fetched)
//!    ▲  └──────┴────► parked: refused for good, waits for a person
//!    └── the receipt is unknown, or asks for a new token
//! ```

mod claim;
mod row;
mod whole;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use birthmark_core::ImageHash;
use birthmark_core::ids::{Height, TxId};
use birthmark_core::time::UnixSeconds;
use birthmark_core::token::TokenJson;
use birthmark_service::lock::{FileLock, LockError};
use birthmark_service::sqlite::{Database, Migration, OpenError, Options, ReadError, WriteError};
use rusqlite::{Connection, OptionalExtension};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::device::Sealed;
use crate::exif::TimeSource;

pub(crate) use claim::{Claimed, Hold};
pub(crate) use row::Change;
use whole::Whole;

/// The open queue. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Queue {
    database: Database,
    changed: Arc<Notify>,
}

/// A row's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhotoId(pub(crate) i64);

/// What the registry is to hold about one photograph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhotoHashes {
    /// Of the canonical raw, which is the DNG's strip.
    pub raw: ImageHash,
    /// Of the JPEG file's bytes.
    pub processed: ImageHash,
    /// Of the JPEG without its metadata segments.
    pub image_data: ImageHash,
}

/// A photograph whose files are on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPhoto {
    /// Its number, which its files are named by.
    pub frame: u64,
    /// When it was taken, as far as the camera knew.
    pub taken_at: UnixSeconds,
    /// How far to trust that.
    pub time_source: TimeSource,
    /// The JPEG, relative to the data folder.
    pub jpeg: PathBuf,
    /// The DNG, relative to the data folder.
    pub dng: PathBuf,
    /// Its hashes.
    pub hashes: PhotoHashes,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Photo {
    /// Its number in the queue.
    pub id: PhotoId,
    /// What was captured.
    pub photo: NewPhoto,
    /// How far it is.
    pub state: PhotoState,
    /// By which the aggregator is asked about it.
    pub receipt: Option<Uuid>,
    /// Who has it or may have it: scheme, host and port.
    pub aggregator: Option<String>,
    /// Where the registry has it, once confirmed.
    pub recorded: Option<Recorded>,
    /// The proof, relative to the data folder, once it is there.
    pub proof: Option<PathBuf>,
    /// What went wrong last, for a person.
    pub last_error: Option<String>,
    /// Attempts since the last progress.
    pub attempts: u32,
    /// Before this it is not tried again.
    pub next_try: UnixSeconds,
    /// Tokens sealed for it so far.
    pub seals: u32,
}

/// How far a photograph is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PhotoState {
    /// The aggregator has not answered yet.
    Queued,
    /// The aggregator has it and has given a receipt.
    Sent,
    /// It is on record for good.
    Confirmed,
    /// It was refused for good; `last_error` says why.
    Parked,
}

/// Where the registry has a photograph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The record's index in the log.
    pub tx_id: TxId,
    /// The record's block.
    pub block_height: Height,
}

/// How many photographs are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// See [`PhotoState::Queued`].
    pub queued: u64,
    /// See [`PhotoState::Sent`].
    pub sent: u64,
    /// See [`PhotoState::Confirmed`].
    pub confirmed: u64,
    /// See [`PhotoState::Parked`].
    pub parked: u64,
    /// Of the confirmed ones, those whose proof is not there yet.
    pub without_proof: u64,
}

/// Why the queue did not do it.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// It could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The lock for opening it was not had.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Nothing was stored.
    #[error("the queue could not be written: {0}")]
    Write(#[from] WriteError<rusqlite::Error>),
    /// Nothing was read.
    #[error("the queue could not be read: {0}")]
    Read(#[from] ReadError),
    /// There is no such row.
    #[error("there is no photo {} in the queue", .0.0)]
    Unknown(PhotoId),
}

impl Queue {
    /// Opens or creates `queue.db` in the data folder, which must exist. Blocks.
    pub fn open(data: &Path) -> Result<Self, QueueError> {
        // Two processes that bring a new file's schema up to date at once would trip over each other.
        let _lock = FileLock::wait(&data.join(LOCK_FILE))?;
        let options = Options { readers: 2, queue: 256, ..Options::default() };
        let database = Database::open(&data.join(DATABASE_FILE), MIGRATIONS, options)?;
        Ok(Self { database, changed: Arc::new(Notify::new()) })
    }

    /// Adds a photograph; it is on disk when this returns. Blocks.
    pub fn insert(&self, photo: NewPhoto) -> Result<PhotoId, QueueError> {
        let id = self.database.write_blocking(move |conn| row::insert(conn, &photo))?;
        self.changed.notify_waiters();
        Ok(id)
    }

    /// One row.
    pub async fn photo(&self, id: PhotoId) -> Result<Photo, QueueError> {
        let found = self.database.read(move |conn| row::by_id(conn, id).optional()).await?;
        found.ok_or(QueueError::Unknown(id))
    }

    /// All rows, or those in one state, the oldest first.
    pub async fn photos(&self, state: Option<PhotoState>) -> Result<Vec<Photo>, QueueError> {
        Ok(self.database.read(move |conn| row::list(conn, state)).await?)
    }

    /// How many photographs are in which state.
    pub async fn counts(&self) -> Result<Counts, QueueError> {
        Ok(self.database.read(row::counts).await?)
    }

    /// The lowest number above all photographs' in the queue. Blocks for a moment.
    pub fn next_frame(&self) -> Result<u64, QueueError> {
        let sql = "SELECT coalesce(max(frame) + 1, 0) FROM photo";
        let Whole(next) = self.database.read_blocking(|conn| conn.query_row(sql, [], |row| row.get(0)))?;
        Ok(next)
    }

    /// Whether a photograph of this number is in the queue. Blocks for a moment.
    pub fn has_frame(&self, frame: u64) -> Result<bool, QueueError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM photo WHERE frame = ?1)";
        Ok(self.database.read_blocking(|conn| conn.query_row(sql, [Whole(frame)], |row| row.get(0)))?)
    }

    /// Queues a parked photograph again, with a new token. Any other is left as it is.
    pub async fn retry(&self, id: PhotoId) -> Result<(), QueueError> {
        self.write(move |conn| row::unpark(conn, id)).await
    }

    /// Finishes what is being written and closes the file.
    pub async fn close(&self) {
        self.database.close().await;
    }

    /// Takes hold of rows with something left to do, at most `limit`.
    pub(crate) async fn claim(&self, hold: Hold, limit: usize) -> Result<Vec<Claimed>, QueueError> {
        Ok(self.database.write(move |conn| claim::due(conn, hold, limit)).await?)
    }

    /// Takes hold of one row, due or not, unless somebody else has it or nothing is left to do.
    pub(crate) async fn claim_one(&self, hold: Hold, id: PhotoId) -> Result<Option<Claimed>, QueueError> {
        Ok(self.database.write(move |conn| claim::one(conn, hold, id)).await?)
    }

    /// Lets go of a row, unchanged.
    pub(crate) async fn release(&self, id: PhotoId) -> Result<(), QueueError> {
        self.write(move |conn| claim::release(conn, id)).await
    }

    /// Stores a row's first token and to whom it is going to be sent. If it has one already, that one is given
    /// back instead.
    pub(crate) async fn first_token(&self, id: PhotoId, token: &Sealed, to: &str) -> Result<Claimed, QueueError> {
        let (token, to) = (TokenJson::from(token), to.to_owned());
        Ok(self.database.write(move |conn| claim::first_token(conn, id, &token, &to)).await?)
    }

    /// Stores to whom a claimed row's token is going to be sent.
    pub(crate) async fn send_to(&self, claimed: &Claimed, to: &str) -> Result<(), QueueError> {
        let (id, token, to) = (claimed.photo.id, claimed.token_text.clone(), to.to_owned());
        Ok(self.database.write(move |conn| claim::send_to(conn, id, token.as_deref(), &to)).await?)
    }

    /// Applies what became of a claimed row and lets go of it. Nothing happens if its token has been
    /// replaced or has ended since: then somebody else has dealt with the row.
    pub(crate) async fn apply(&self, claimed: &Claimed, change: Change) -> Result<(), QueueError> {
        let (id, token) = (claimed.photo.id, claimed.token_text.clone());
        self.write(move |conn| row::apply(conn, id, token.as_deref(), &change)).await
    }

    /// How many rows have something left to do.
    pub(crate) async fn unfinished(&self) -> Result<u64, QueueError> {
        Ok(self.database.read(claim::unfinished).await?)
    }

    /// Wakes when a row has been added or changed by this process.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    async fn write<F>(&self, job: F) -> Result<(), QueueError>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<()> + Send + 'static,
    {
        self.database.write(job).await?;
        self.changed.notify_waiters();
        Ok(())
    }
}

const DATABASE_FILE: &str = "queue.db";
const LOCK_FILE: &str = "queue.lock";
const MIGRATIONS: &[Migration] = &[
    Migration { name: "V1__photos", sql: include_str!("../migrations/V1__photos.sql") },
    Migration { name: "V2__aggregator", sql: include_str!("../migrations/V2__aggregator.sql") },
];

#[cfg(test)]
mod tests;
