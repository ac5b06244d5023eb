//! The audit log in PostgreSQL.
//!
//! For: the store; rows are appended within the act's own transaction, which holds the table's lock. Not
//! for: the chain's arithmetic (`audit`).

use birthmark_core::time::Minute;
use deadpool_postgres::{GenericClient, Transaction};
use tokio_postgres::Row;

use super::rows::{bytes, signed, unsigned};
use crate::audit::{Act, AuditRow, AuditState, Chain, Deed};
use crate::store::StoreError;

pub(super) async fn append(transaction: &Transaction<'_>, act: Act, deeds: Vec<Deed>) -> Result<(), StoreError> {
    let last = transaction.query_opt("SELECT sequence, digest FROM audit ORDER BY sequence DESC LIMIT 1", &[]).await?;
    let mut chain = match last {
        Some(row) => Chain { sequence: unsigned(&row, 0)?, digest: bytes(&row, 1)? },
        None => Chain::default(),
    };
    let rows: Vec<_> = deeds.into_iter().map(|deed| chain.append(&act, deed)).collect();
    let sequences: Vec<i64> = rows.iter().map(|row| signed(row.sequence)).collect();
    let acts: Vec<&str> = rows.iter().map(|row| row.act.as_str()).collect();
    let subjects: Vec<&str> = rows.iter().map(|row| row.subject.as_str()).collect();
    let details: Vec<&str> = rows.iter().map(|row| row.detail.as_str()).collect();
    let digests: Vec<&[u8]> = rows.iter().map(|row| row.digest.as_slice()).collect();
    let insert = "INSERT INTO audit (sequence, minute, actor, act, subject, detail, digest)
                  SELECT sequence, $6, $7, act, subject, detail, digest
                  FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bytea[])
                      AS new (sequence, act, subject, detail, digest)";
    let minute = i64::from(act.minute.0);
    let statement = transaction.prepare_cached(insert).await?;
    transaction
        .execute(&statement, &[&sequences, &acts, &subjects, &details, &digests, &minute, &act.actor.as_str()])
        .await?;
    Ok(())
}

pub(super) async fn page(client: &impl GenericClient, after: u64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
    let query = "SELECT sequence, minute, actor, act, subject, detail, digest FROM audit WHERE sequence > $1
                 ORDER BY sequence LIMIT $2";
    let statement = client.prepare_cached(query).await?;
    let rows = client.query(&statement, &[&signed(after), &i64::from(limit)]).await?;
    rows.iter().map(audit_row).collect()
}

/// Page by page: rows that are there do not change, so one state is seen all the same.
pub(super) async fn check(client: &impl GenericClient) -> Result<AuditState, StoreError> {
    let mut chain = Chain::default();
    loop {
        let rows = page(client, chain.sequence, PAGE).await?;
        if rows.is_empty() {
            return Ok(AuditState::Intact(chain));
        }
        for row in &rows {
            if let Err(broken) = chain.follow(row) {
                return Ok(broken);
            }
        }
    }
}

fn audit_row(row: &Row) -> Result<AuditRow, StoreError> {
    Ok(AuditRow {
        sequence: unsigned(row, 0)?,
        minute: Minute(unsigned(row, 1)?),
        actor: row.try_get(2)?,
        act: row.try_get(3)?,
        subject: row.try_get(4)?,
        detail: row.try_get(5)?,
        digest: bytes(row, 6)?,
    })
}

const PAGE: u32 = 10_000;
