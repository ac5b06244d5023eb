//! The statements that find rows by receipt or by body, and keep the tables for it.
//!
//! For: `store::sqlite`. A lead may come to a row that is gone, so each row that is read is held against what was
//! asked for. Not for: leads that are in no table yet (`recent`), or rows that a stage asks for (`sql`).

use birthmark_core::batch::Assurance;
use birthmark_core::hash::Digest;
use birthmark_core::time::UnixSeconds;
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::recent::{Lead, Recent, Slice};
use super::sql::{assurance, body, damaged, uuid};
use crate::pipeline::state::Recorded;
use crate::store::columns::{self, StateColumns};
use crate::store::{FORGOTTEN_AT_ONCE, Receipt, RowId};

/// What the tables do not lead to yet.
pub(super) fn recent(connection: &Connection) -> rusqlite::Result<Recent> {
    let through = connection.query_row("SELECT through FROM indexed", [], |row| row.get(0))?;
    let sql = "SELECT id, receipt, body_digest, idempotency_key FROM submission WHERE id > ?1";
    let mut statement = connection.prepare(sql)?;
    let leads = statement.query_map([through], lead)?.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(Recent::new(through, leads))
}

/// Files leads in the tables. Doing so twice changes nothing.
pub(super) fn file(connection: &Connection, slice: &Slice) -> rusqlite::Result<()> {
    let mut by_receipt =
        connection.prepare_cached("INSERT OR REPLACE INTO by_receipt (receipt, id) VALUES (?1, ?2)")?;
    for (receipt, id) in &slice.receipts {
        by_receipt.execute(params![receipt, id])?;
    }
    let sql = "INSERT OR REPLACE INTO by_body (body_digest, idempotency_key, id) VALUES (?1, ?2, ?3)";
    let mut by_body = connection.prepare_cached(sql)?;
    for ((body, own), id) in &slice.bodies {
        by_body.execute(params![body.as_bytes(), own.as_bytes(), id])?;
    }
    if let Some(through) = slice.through {
        connection.prepare_cached("UPDATE indexed SET through = ?1")?.execute([through])?;
    }
    Ok(())
}

/// The submission with this receipt; its row's number is given if it is known.
pub(super) fn by_receipt(connection: &Connection, number: Option<i64>, id: Uuid) -> rusqlite::Result<Option<Receipt>> {
    let number = match number {
        Some(number) => Some(number),
        None => connection
            .prepare_cached("SELECT id FROM by_receipt WHERE receipt = ?1")?
            .query_row([id.as_bytes()], |row| row.get(0))
            .optional()?,
    };
    let Some(number) = number else { return Ok(None) };
    connection
        .prepare_cached(
            "SELECT state, tx_id, block_height, reason, receipt, body, assurance, endorsement
             FROM submission WHERE id = ?1 AND receipt = ?2",
        )?
        .query_row(params![number, id.as_bytes()], receipt)
        .optional()
}

/// The row of exactly this submission.
pub(super) fn submission(connection: &Connection, body: Digest, own: Digest) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT id FROM by_body WHERE body_digest = ?1 AND idempotency_key = ?2")?
        .query_row([body.as_bytes(), own.as_bytes()], |row| row.get(0))
        .optional()
}

/// At most `limit` rows of this body.
pub(super) fn of_body(connection: &Connection, body: Digest, limit: usize) -> rusqlite::Result<Vec<i64>> {
    let mut statement = connection.prepare_cached("SELECT id FROM by_body WHERE body_digest = ?1 LIMIT ?2")?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    statement.query_map(params![body.as_bytes(), limit], |row| row.get(0))?.collect()
}

/// The row of this number, if it is that of this submission.
pub(super) fn by_number(connection: &Connection, id: i64, own: Digest) -> rusqlite::Result<Option<Receipt>> {
    connection
        .prepare_cached(
            "SELECT state, tx_id, block_height, reason, receipt, body, assurance, endorsement
             FROM submission WHERE id = ?1 AND idempotency_key = ?2",
        )?
        .query_row(params![id, own.as_bytes()], receipt)
        .optional()
}

/// The best record among these rows of this body, if it is of this assurance or a higher one.
pub(super) fn best_record(
    connection: &Connection,
    rows: &[i64],
    body: Digest,
    aim: Assurance,
) -> rusqlite::Result<Option<Recorded>> {
    let mut best: Option<Recorded> = None;
    for id in rows {
        let found = connection
            .prepare_cached(
                "SELECT tx_id, block_height, assurance FROM submission
                 WHERE id = ?1 AND body_digest = ?2 AND state = 2 AND assurance >= ?3",
            )?
            .query_row(params![id, body.as_bytes(), aim as u8], |row| {
                Ok(columns::recorded(row.get(0)?, row.get(1)?, assurance(row, 2)?))
            })
            .optional()?;
        best = best.into_iter().chain(found).max_by_key(|recorded| recorded.assurance);
    }
    Ok(best)
}

/// Rows arrive in the order of their numbers, so that no index by time is needed. Returns what is gone, and where to
/// go on.
pub(super) fn forget(
    connection: &Connection,
    before: UnixSeconds,
    after: RowId,
) -> rusqlite::Result<(Vec<Lead>, Option<RowId>)> {
    let before = before.0.cast_signed();
    let last = connection
        .prepare_cached(
            "SELECT max(id) FROM (SELECT id, received_at FROM submission WHERE id > ?1 ORDER BY id LIMIT ?2)
             WHERE received_at < ?3",
        )?
        .query_row(params![after.0, FORGOTTEN_AT_ONCE, before], |row| row.get::<_, Option<i64>>(0))?;
    let Some(last) = last else { return Ok((Vec::new(), None)) };
    let gone = connection
        .prepare_cached(
            "DELETE FROM submission WHERE id > ?1 AND id <= ?2 AND state >= 2 AND received_at < ?3
             RETURNING id, receipt, body_digest, idempotency_key",
        )?
        .query_map(params![after.0, last, before], lead)?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let mut by_receipt = connection.prepare_cached("DELETE FROM by_receipt WHERE receipt = ?1 AND id = ?2")?;
    let sql = "DELETE FROM by_body WHERE body_digest = ?1 AND idempotency_key = ?2 AND id = ?3";
    let mut by_body = connection.prepare_cached(sql)?;
    for Lead { id, receipt, digest, idempotency } in &gone {
        by_receipt.execute(params![receipt, id])?;
        by_body.execute(params![digest.as_bytes(), idempotency.as_bytes(), id])?;
    }
    Ok((gone, Some(RowId(last))))
}

/// `id, receipt, body_digest, idempotency_key`.
fn lead(row: &Row<'_>) -> rusqlite::Result<Lead> {
    let digest = |column| row.get(column).map(Digest::from_bytes);
    Ok(Lead { id: row.get(0)?, receipt: row.get(1)?, digest: digest(2)?, idempotency: digest(3)? })
}

/// `state, tx_id, block_height, reason, receipt, body, assurance, endorsement`.
fn receipt(row: &Row<'_>) -> rusqlite::Result<Receipt> {
    let columns = StateColumns {
        state: row.get(0)?,
        tx_id: row.get(1)?,
        block_height: row.get(2)?,
        reason: row.get(3)?,
        endorsement: row.get(7)?,
    };
    let state = columns.into_state(assurance(row, 6)?).map_err(|error| damaged(0, error))?;
    Ok(Receipt { id: uuid(row, 4)?, state, body: body(row, 5)?, elsewhere: false })
}
