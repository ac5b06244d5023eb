//! The audit log in SQLite.
//!
//! For: the store; rows are appended within the act's own job. Not for: the chain's arithmetic (`audit`).

use birthmark_core::time::Minute;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::rows::Number;
use crate::audit::{Act, AuditRow, AuditState, Chain, Deed};

pub(super) fn append(
    connection: &Connection,
    act: &Act,
    deeds: impl IntoIterator<Item = Deed>,
) -> rusqlite::Result<()> {
    let mut chain = newest(connection)?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO audit (sequence, minute, actor, act, subject, detail, digest) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for deed in deeds {
        let row = chain.append(act, deed);
        insert.execute(params![
            Number(row.sequence),
            row.minute.0,
            row.actor,
            row.act,
            row.subject,
            row.detail,
            row.digest
        ])?;
    }
    Ok(())
}

/// The end of the chain.
pub(super) fn newest(connection: &Connection) -> rusqlite::Result<Chain> {
    let query = "SELECT sequence, digest FROM audit ORDER BY sequence DESC LIMIT 1";
    Ok(connection.prepare_cached(query)?.query_row([], link).optional()?.unwrap_or_default())
}

/// The chain as it ended with this row, or before the first.
pub(super) fn at(connection: &Connection, sequence: u64) -> rusqlite::Result<Chain> {
    let query = "SELECT sequence, digest FROM audit WHERE sequence = ?1";
    Ok(connection.prepare_cached(query)?.query_row([Number(sequence)], link).optional()?.unwrap_or_default())
}

fn link(row: &Row<'_>) -> rusqlite::Result<Chain> {
    Ok(Chain { sequence: row.get::<_, Number>(0)?.0, digest: row.get(1)? })
}

pub(super) fn page(connection: &Connection, after: u64, limit: u32) -> rusqlite::Result<Vec<AuditRow>> {
    connection.prepare_cached(PAGE)?.query_map(params![Number(after), limit], audit_row)?.collect()
}

pub(super) fn check(connection: &Connection) -> rusqlite::Result<AuditState> {
    let mut chain = Chain::default();
    // All of one state, a row at a time; -1 is no limit.
    let mut statement = connection.prepare_cached(PAGE)?;
    for row in statement.query_map(params![0, -1], audit_row)? {
        if let Err(broken) = chain.follow(&row?) {
            return Ok(broken);
        }
    }
    Ok(AuditState::Intact(chain))
}

fn audit_row(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    Ok(AuditRow {
        sequence: row.get::<_, Number>(0)?.0,
        minute: Minute(row.get(1)?),
        actor: row.get(2)?,
        act: row.get(3)?,
        subject: row.get(4)?,
        detail: row.get(5)?,
        digest: row.get(6)?,
    })
}

const PAGE: &str = "SELECT sequence, minute, actor, act, subject, detail, digest FROM audit WHERE sequence > ?1
                    ORDER BY sequence LIMIT ?2";
