//! The rows of `queue.db`: reading, adding, and their changes.
//!
//! For: `queue`. Not for: who holds a row (`claim`).

use std::path::{Path, PathBuf};

use birthmark_core::ImageHash;
use birthmark_core::ids::{Height, TxId};
use birthmark_core::time::UnixSeconds;
use birthmark_core::token::TokenJson;
use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::whole::Whole;
use super::{Counts, NewPhoto, Photo, PhotoHashes, PhotoId, PhotoState, Recorded};
use crate::device::Sealed;
use crate::exif::TimeSource;

/// What became of a row that was tried. All of them let go of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The aggregator has it; ask again about it after `next_try`.
    Sent { receipt: Uuid, next_try: UnixSeconds },
    /// It is on record; the proof, if it came along, is on disk at this path relative to the data folder.
    Confirmed { recorded: Recorded, proof: Option<PathBuf> },
    /// The receipt asks for a new token.
    Resealed { token: Sealed, reason: String },
    /// The aggregator does not know the receipt: to be sent again, with the same token.
    Forgotten,
    /// Refused for good.
    Parked { reason: String },
    /// No answer that settles anything.
    Failed { error: String, next_try: UnixSeconds },
    /// The same, and it is certain that nobody has taken the token in.
    NotTaken { error: String, next_try: UnixSeconds },
    /// Whoever gave the receipt cannot be asked any more: to be sent to another, with the same token.
    Moved { reason: String },
}

pub(super) fn insert(conn: &Connection, photo: &NewPhoto) -> rusqlite::Result<PhotoId> {
    conn.prepare_cached(
        "INSERT INTO photo (frame, taken_at, time_source, jpeg, dng, raw_hash, processed_hash, image_data_hash)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        Whole(photo.frame),
        Whole(photo.taken_at.0),
        photo.time_source.as_str(),
        photo.jpeg.to_str(),
        photo.dng.to_str(),
        photo.hashes.raw.as_bytes(),
        photo.hashes.processed.as_bytes(),
        photo.hashes.image_data.as_bytes(),
    ])?;
    Ok(PhotoId(conn.last_insert_rowid()))
}

pub(super) fn by_id(conn: &Connection, id: PhotoId) -> rusqlite::Result<Photo> {
    conn.prepare_cached(&format!("SELECT {COLUMNS} FROM photo WHERE id = ?1"))?.query_row([id.0], read)
}

pub(super) fn list(conn: &Connection, state: Option<PhotoState>) -> rusqlite::Result<Vec<Photo>> {
    let sql = format!("SELECT {COLUMNS} FROM photo WHERE ?1 IS NULL OR state = ?1 ORDER BY id");
    conn.prepare_cached(&sql)?.query_map([state.map(number)], read)?.collect()
}

pub(super) fn counts(conn: &Connection) -> rusqlite::Result<Counts> {
    let sql = "SELECT count(*) FILTER (WHERE state = 0), count(*) FILTER (WHERE state = 1),
                      count(*) FILTER (WHERE state = 2), count(*) FILTER (WHERE state = 3),
                      count(*) FILTER (WHERE state = 2 AND proof IS NULL) FROM photo";
    conn.query_row(sql, [], |row| {
        Ok(Counts {
            queued: whole(row, 0)?,
            sent: whole(row, 1)?,
            confirmed: whole(row, 2)?,
            parked: whole(row, 3)?,
            without_proof: whole(row, 4)?,
        })
    })
}

pub(super) fn unpark(conn: &Connection, id: PhotoId) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "UPDATE photo SET state = 0, receipt = NULL, aggregator = NULL, seals = 0, attempts = 0, next_try = 0 WHERE id = ?1 AND state = 3",
    )?
    .execute([id.0])
    .map(drop)
}

/// The token is the one that the change was made under: see [`super::Queue::apply`].
pub(super) fn apply(conn: &Connection, id: PhotoId, token: Option<&str>, change: &Change) -> rusqlite::Result<()> {
    let run = |set: &str, values: &[&dyn rusqlite::ToSql]| {
        let sql = format!(
            "UPDATE photo SET {set}, holder = NULL, held_until = NULL WHERE id = ?1 AND token IS ?2 AND state != 3"
        );
        let mut all: Vec<&dyn rusqlite::ToSql> = vec![&id.0, &token];
        all.extend(values);
        conn.prepare_cached(&sql)?.execute(all.as_slice()).map(drop)
    };
    match change {
        Change::Sent { receipt, next_try } => {
            let set = "attempts = CASE WHEN state = 0 THEN 0 ELSE attempts + 1 END, \
                       state = 1, receipt = ?3, next_try = ?4, last_error = NULL";
            run(set, &[&receipt.hyphenated().to_string(), &Whole(next_try.0)])
        }
        Change::Confirmed { recorded: Recorded { tx_id, block_height }, proof } => {
            let set = "state = 2, token = NULL, tx_id = ?3, block_height = ?4, proof = ?5, \
                       attempts = 0, next_try = 0, last_error = NULL";
            run(set, &[&Whole(tx_id.0), &Whole(block_height.0), &proof.as_deref().and_then(Path::to_str)])
        }
        Change::Resealed { token, reason } => {
            // The old token has ended, and nobody has the new one.
            let set = "state = 0, receipt = NULL, aggregator = NULL, token = ?3, seals = seals + 1, \
                       attempts = 0, next_try = 0, last_error = ?4";
            run(set, &[&text_of(&TokenJson::from(token))?, reason])
        }
        Change::Forgotten => run("state = 0, receipt = NULL, next_try = 0, attempts = attempts + 1", &[]),
        Change::Parked { reason } => run("state = 3, token = NULL, last_error = ?3", &[reason]),
        Change::Failed { error, next_try } => {
            run("attempts = attempts + 1, last_error = ?3, next_try = ?4", &[error, &Whole(next_try.0)])
        }
        Change::NotTaken { error, next_try } => {
            let set = "aggregator = NULL, attempts = attempts + 1, last_error = ?3, next_try = ?4";
            run(set, &[error, &Whole(next_try.0)])
        }
        Change::Moved { reason } => {
            let set = "state = 0, receipt = NULL, aggregator = NULL, attempts = 0, next_try = 0, last_error = ?3";
            run(set, &[reason])
        }
    }
}

/// All that a [`Photo`] has, in the order that [`read`] takes it in.
const COLUMNS: &str = "id, frame, taken_at, time_source, jpeg, dng, raw_hash, processed_hash, \
     image_data_hash, state, receipt, tx_id, block_height, proof, last_error, attempts, next_try, seals, aggregator";

fn read(row: &Row<'_>) -> rusqlite::Result<Photo> {
    let hash = |at| row.get::<_, [u8; 32]>(at).map(ImageHash::from_bytes);
    let path = |at| row.get::<_, String>(at).map(PathBuf::from);
    let recorded = match (row.get(11)?, row.get(12)?) {
        (Some(Whole(tx_id)), Some(Whole(height))) => {
            Some(Recorded { tx_id: TxId(tx_id), block_height: Height(height) })
        }
        _ => None,
    };
    let receipt = row.get::<_, Option<String>>(10)?;
    Ok(Photo {
        id: PhotoId(row.get(0)?),
        photo: NewPhoto {
            frame: whole(row, 1)?,
            taken_at: UnixSeconds(whole(row, 2)?),
            time_source: time_source(&row.get::<_, String>(3)?),
            jpeg: path(4)?,
            dng: path(5)?,
            hashes: PhotoHashes { raw: hash(6)?, processed: hash(7)?, image_data: hash(8)? },
        },
        state: state(row.get(9)?),
        receipt: receipt.map(|text| Uuid::parse_str(&text).map_err(|error| damaged(10, error))).transpose()?,
        recorded,
        proof: row.get::<_, Option<String>>(13)?.map(PathBuf::from),
        last_error: row.get(14)?,
        attempts: row.get(15)?,
        next_try: UnixSeconds(whole(row, 16)?),
        seals: row.get(17)?,
        aggregator: row.get(18)?,
    })
}

pub(super) fn whole(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get(column).map(|Whole(number)| number)
}

/// A token as the row keeps it, with its binding: both are stored, compared and erased as one.
pub(super) fn text_of(token: &TokenJson) -> rusqlite::Result<String> {
    serde_json::to_string(token).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// A column that does not hold what this program writes there.
pub(super) fn damaged(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.into())
}

const fn number(state: PhotoState) -> u8 {
    match state {
        PhotoState::Queued => 0,
        PhotoState::Sent => 1,
        PhotoState::Confirmed => 2,
        PhotoState::Parked => 3,
    }
}

/// The schema allows no other numbers.
const fn state(number: u8) -> PhotoState {
    match number {
        0 => PhotoState::Queued,
        1 => PhotoState::Sent,
        2 => PhotoState::Confirmed,
        _ => PhotoState::Parked,
    }
}

/// The schema allows no other words.
fn time_source(word: &str) -> TimeSource {
    [TimeSource::Ntp, TimeSource::Rtc].into_iter().find(|s| s.as_str() == word).unwrap_or(TimeSource::Unsynced)
}
