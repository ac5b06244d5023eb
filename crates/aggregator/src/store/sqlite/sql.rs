//! Every SQL statement of the outbox, and how rows become values.
//!
//! For: `store::sqlite`. Conditions on `state` are literals, so that the partial indexes serve them.

use std::collections::BTreeSet;
use std::error::Error;

use birthmark_core::batch::Assurance;
use birthmark_core::submission::Submission;
use birthmark_core::time::UnixSeconds;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::keys::{Slot, TokenKeys};
use crate::pipeline::state::{Reason, State};
use crate::store::columns::{self, Keys, RowError, StateColumns, state_number};
use crate::store::{Backlog, Move, NewRow, RequestId, RowId, ToPost, ToValidate, token};

/// Writes a row under a number that none has had.
pub(super) fn insert(
    connection: &Connection,
    token_keys: &TokenKeys,
    id: i64,
    row: &NewRow,
    keys: &Keys,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO submission
             (id, receipt, idempotency_key, authority, body, body_digest, token, key_slot, assurance, received_at, state)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    let NewRow { receipt, request_id, received_at, submission } = row;
    let (slot, sealed) = match submission {
        Submission::Camera(camera) => {
            let token = token::encode(&camera.token, camera.binding.as_ref());
            let secret = Zeroizing::new([request_id.0.as_slice(), &token].concat());
            token_keys.seal(*receipt, &secret).map(|(slot, sealed)| (Some(slot), Some(sealed))).map_err(no_key)?
        }
        Submission::Software(_) => (None, None),
    };
    statement.execute(params![
        id,
        receipt.as_bytes(),
        keys.idempotency.as_bytes(),
        submission.body().authority.as_str(),
        keys.body,
        keys.digest.as_bytes(),
        sealed,
        slot,
        row.aim() as u8,
        received_at.0.cast_signed(),
        state_number(&row.state()),
    ])?;
    Ok(())
}

/// Takes a rejected edit up again, as one that came in now.
pub(super) fn take_up_again(connection: &Connection, id: i64, now: UnixSeconds) -> rusqlite::Result<()> {
    let sql = "UPDATE submission SET state = 1, reason = NULL, received_at = ?2 WHERE id = ?1 AND state = 3";
    connection.prepare_cached(sql)?.execute(params![id, now.0.cast_signed()])?;
    Ok(())
}

/// Every move leaves state 0, so the token goes with the first of them, and its key's slot is returned. An
/// endorsement comes with a move to state 1 and goes with the next.
pub(super) fn advance(connection: &Connection, change: &Move) -> rusqlite::Result<(bool, Option<Slot>)> {
    let StateColumns { state, endorsement, tx_id, block_height, reason } = StateColumns::of(&change.to);
    let from = state_number(&change.from);
    let slot = if change.from == State::Received {
        connection
            .prepare_cached("SELECT key_slot FROM submission WHERE id = ?1 AND state = 0")?
            .query_row([change.id.0], |row| row.get::<_, Option<Slot>>(0))
            .optional()?
            .flatten()
    } else {
        None
    };
    let mut statement = connection.prepare_cached(
        "UPDATE submission
         SET state = ?1, token = NULL, key_slot = NULL, endorsement = ?2, tx_id = ?3, block_height = ?4, reason = ?5
         WHERE id = ?6 AND state = ?7",
    )?;
    let changed = statement.execute(params![state, endorsement, tx_id, block_height, reason, change.id.0, from])?;
    Ok((changed == 1, slot))
}

/// The keys of rows that wait for their verdict.
pub(super) fn slots(connection: &Connection) -> rusqlite::Result<BTreeSet<Slot>> {
    let mut statement =
        connection.prepare("SELECT key_slot FROM submission WHERE state = 0 AND key_slot IS NOT NULL")?;
    statement.query_map([], |row| row.get(0))?.collect()
}

/// Ends all rows whose token is sealed and has no verdict; says how many.
pub(super) fn give_up(connection: &Connection, reason: &Reason) -> rusqlite::Result<usize> {
    let sql = "UPDATE submission SET state = 3, token = NULL, key_slot = NULL, reason = ?1
               WHERE state = 0 AND key_slot IS NOT NULL";
    connection.execute(sql, [reason.as_str()])
}

/// Seals tokens that an earlier version left in the clear; says how many.
pub(super) fn seal_all(connection: &Connection, keys: &TokenKeys) -> rusqlite::Result<usize> {
    let sql = "SELECT id, receipt, token FROM submission WHERE state = 0 AND key_slot IS NULL";
    let mut open = connection.prepare(sql)?;
    let open = open.query_map([], |row| Ok((row.get::<_, i64>(0)?, uuid(row, 1)?, row.get::<_, Vec<u8>>(2)?)))?;
    let open = open.collect::<rusqlite::Result<Vec<_>>>()?;
    for (id, receipt, token) in &open {
        let (slot, sealed) = keys.seal(*receipt, token).map_err(no_key)?;
        connection
            .prepare_cached("UPDATE submission SET token = ?1, key_slot = ?2 WHERE id = ?3")?
            .execute(params![sealed, slot, id])?;
    }
    Ok(open.len())
}

/// How many tokens do not open with their keys.
pub(super) fn unopenable(connection: &Connection, keys: &TokenKeys) -> rusqlite::Result<u64> {
    let sql = "SELECT key_slot, receipt, token FROM submission WHERE state = 0";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut lost = 0;
    while let Some(row) = rows.next()? {
        let sealed: Vec<u8> = row.get(2)?;
        lost += u64::from(keys.open_token(row.get(0)?, uuid(row, 1)?, &sealed).is_err());
    }
    Ok(lost)
}

pub(super) fn to_validate(
    connection: &Connection,
    keys: &TokenKeys,
    authority: &str,
    skip: &BTreeSet<RowId>,
    limit: usize,
) -> rusqlite::Result<Vec<ToValidate>> {
    // A body is needed for unblinding only, so that of version 1 is not read.
    let mut statement = connection.prepare_cached(
        "SELECT id, receipt, key_slot, token, iif(assurance = 2, body, NULL) FROM submission
         WHERE state = 0 AND authority = ?1 ORDER BY id LIMIT ?2",
    )?;
    let rows = statement.query(params![authority, window(skip, limit)])?;
    collect(rows, skip, limit, |id, row| {
        let (receipt, sealed) = (uuid(row, 1)?, row.get::<_, Vec<u8>>(3)?);
        let secret = keys.open_token(row.get(2)?, receipt, &sealed).map_err(|error| damaged(3, error))?;
        let cut = || damaged(3, RowError::Part("token"));
        let (request_id, token) = secret.split_first_chunk().ok_or_else(cut)?;
        let (token, bound) = columns::token_of(token, row.get(4)?).map_err(|error| damaged(3, error))?;
        Ok(ToValidate { id, receipt, request_id: RequestId(*request_id), token, bound })
    })
}

pub(super) fn to_post(connection: &Connection, skip: &BTreeSet<RowId>, limit: usize) -> rusqlite::Result<Vec<ToPost>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, receipt, body, assurance, endorsement FROM submission WHERE state = 1 ORDER BY id LIMIT ?1",
    )?;
    let rows = statement.query([window(skip, limit)])?;
    collect(rows, skip, limit, |id, row| {
        Ok(ToPost {
            id,
            receipt: uuid(row, 1)?,
            body: body(row, 2)?,
            voucher: columns::voucher(assurance(row, 3)?, row.get(4)?).map_err(|error| damaged(4, error))?,
        })
    })
}

pub(super) fn backlog(connection: &Connection) -> rusqlite::Result<Backlog> {
    let count = |sql| connection.query_row(sql, [], |row| row.get(0)).map(i64::cast_unsigned);
    Ok(Backlog {
        pending: count("SELECT count(*) FROM submission WHERE state = 0")?,
        validated: count("SELECT count(*) FROM submission WHERE state = 1")?,
    })
}

pub(super) fn awaited_authorities(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare_cached("SELECT DISTINCT authority FROM submission WHERE state = 0")?;
    statement.query_map([], |row| row.get(0))?.collect()
}

pub(super) fn oldest_unfinished(
    connection: &Connection,
    authorities: &[String],
) -> rusqlite::Result<Option<UnixSeconds>> {
    let mut pending = connection
        .prepare_cached("SELECT received_at FROM submission WHERE state = 0 AND authority = ?1 ORDER BY id LIMIT 1")?;
    let mut validated =
        connection.prepare_cached("SELECT received_at FROM submission WHERE state = 1 ORDER BY id LIMIT 1")?;
    let mut oldest = validated.query_row([], |row| row.get::<_, i64>(0)).optional()?;
    for authority in authorities {
        let of_authority = pending.query_row([authority], |row| row.get::<_, i64>(0)).optional()?;
        oldest = oldest.into_iter().chain(of_authority).min();
    }
    Ok(oldest.map(|seconds| UnixSeconds(seconds.cast_unsigned())))
}

/// Rows to read so that `limit` remain after those in `skip` are left out.
fn window(skip: &BTreeSet<RowId>, limit: usize) -> i64 {
    i64::try_from(limit.saturating_add(skip.len())).unwrap_or(i64::MAX)
}

/// Reads rows whose first column is their number.
fn collect<T>(
    mut rows: rusqlite::Rows<'_>,
    skip: &BTreeSet<RowId>,
    limit: usize,
    read: impl Fn(RowId, &Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let id = RowId(row.get(0)?);
        if !skip.contains(&id) {
            all.push(read(id, row)?);
            if all.len() == limit {
                break;
            }
        }
    }
    Ok(all)
}

pub(super) fn assurance(row: &Row<'_>, column: usize) -> rusqlite::Result<Assurance> {
    columns::assurance(row.get(column)?).map_err(|error| damaged(column, error))
}

pub(super) fn uuid(row: &Row<'_>, column: usize) -> rusqlite::Result<Uuid> {
    row.get(column).map(Uuid::from_bytes)
}

pub(super) fn body(row: &Row<'_>, column: usize) -> rusqlite::Result<birthmark_core::body::Body> {
    columns::body(&row.get::<_, Vec<u8>>(column)?).map_err(|error| damaged(column, error))
}

/// No key could be made for a token.
fn no_key(error: std::io::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}

pub(super) fn damaged(column: usize, error: impl Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, Box::new(error))
}
