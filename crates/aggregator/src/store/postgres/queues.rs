//! What waits, and how it moves.
//!
//! For: the store. Conditions on `state` are literals, so that the partial indexes serve them. Not for:
//! taking in (`intake`), or whose work it is (`members`).

use std::collections::BTreeSet;

use birthmark_core::time::UnixSeconds;
use deadpool_postgres::Object;

use super::intake::{assurance, uuid};
use super::members::Owner;
use crate::store::columns::{self, RowError, StateColumns, state_number};
use crate::store::{Backlog, FORGOTTEN_AT_ONCE, Move, RequestId, RowId, StoreError, ToPost, ToValidate};

/// Every move leaves state 0, so token and request id go with the first of them. An endorsement comes with
/// a move to state 1 and goes with the next.
pub(super) async fn advance(client: &Object, moves: Vec<Move>) -> Result<Vec<bool>, StoreError> {
    let ids: Vec<i64> = moves.iter().map(|change| change.id.0).collect();
    let from: Vec<i64> = moves.iter().map(|change| state_number(&change.from)).collect();
    let columns: Vec<_> = moves.iter().map(|change| StateColumns::of(&change.to)).collect();
    let to: Vec<i64> = columns.iter().map(|to| to.state).collect();
    let endorsements: Vec<Option<&[u8]>> = columns.iter().map(|to| to.endorsement.as_deref()).collect();
    let tx_ids: Vec<Option<i64>> = columns.iter().map(|to| to.tx_id).collect();
    let heights: Vec<Option<i64>> = columns.iter().map(|to| to.block_height).collect();
    let reasons: Vec<Option<&str>> = columns.iter().map(|to| to.reason.as_deref()).collect();
    let sql = "UPDATE submission AS s
               SET state = new.state, token = NULL, request_id = NULL, endorsement = new.endorsement,
                   tx_id = new.tx_id, block_height = new.block_height, reason = new.reason
               FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bigint[], $6::bigint[],
                           $7::text[])
                    AS new (id, old_state, state, endorsement, tx_id, block_height, reason)
               WHERE s.id = new.id AND s.state = new.old_state
               RETURNING s.id";
    let statement = client.prepare_cached(sql).await?;
    let rows = client.query(&statement, &[&ids, &from, &to, &endorsements, &tx_ids, &heights, &reasons]).await?;
    let done = rows.iter().map(|row| row.try_get(0)).collect::<Result<BTreeSet<i64>, _>>()?;
    Ok(ids.iter().map(|id| done.contains(id)).collect())
}

pub(super) async fn to_validate(
    client: &Object,
    owner: Owner,
    authority: String,
    skip: BTreeSet<RowId>,
    limit: usize,
) -> Result<Vec<ToValidate>, StoreError> {
    // A body is needed for unblinding only, so that of version 1 is not read.
    let sql = "SELECT id, receipt, request_id, token, CASE WHEN assurance = 2 THEN body END FROM submission
               WHERE state = 0 AND owner = $1 AND authority = $2 AND id <> ALL($3) ORDER BY id LIMIT $4";
    let statement = client.prepare_cached(sql).await?;
    let rows = client.query(&statement, &[&owner.0, &authority, &numbers(&skip), &count(limit)]).await?;
    let read = |row: &tokio_postgres::Row| {
        let (token, bound) = columns::token_of(row.try_get(3)?, row.try_get(4)?)?;
        let request_id: &[u8] = row.try_get(2)?;
        let request_id = RequestId(request_id.try_into().map_err(|_| RowError::Part("request id"))?);
        Ok(ToValidate { id: RowId(row.try_get(0)?), receipt: uuid(row, 1)?, request_id, token, bound })
    };
    rows.iter().map(read).collect()
}

pub(super) async fn to_post(
    client: &Object,
    owner: Owner,
    skip: BTreeSet<RowId>,
    limit: usize,
) -> Result<Vec<ToPost>, StoreError> {
    let sql = "SELECT id, receipt, body, assurance, endorsement FROM submission
               WHERE state = 1 AND owner = $1 AND id <> ALL($2) ORDER BY id LIMIT $3";
    let statement = client.prepare_cached(sql).await?;
    let rows = client.query(&statement, &[&owner.0, &numbers(&skip), &count(limit)]).await?;
    let read = |row: &tokio_postgres::Row| {
        let voucher = columns::voucher(assurance(row, 3)?, row.try_get(4)?)?;
        let body = columns::body(row.try_get(2)?)?;
        Ok(ToPost { id: RowId(row.try_get(0)?), receipt: uuid(row, 1)?, body, voucher })
    };
    rows.iter().map(read).collect()
}

pub(super) async fn backlog(client: &Object, owner: Owner) -> Result<Backlog, StoreError> {
    let sql = "SELECT (SELECT count(*) FROM submission WHERE state = 0 AND owner = $1),
                      (SELECT count(*) FROM submission WHERE state = 1 AND owner = $1)";
    let row = client.query_one(sql, &[&owner.0]).await?;
    let count = |column| row.try_get::<_, i64>(column).map(i64::cast_unsigned);
    Ok(Backlog { pending: count(0)?, validated: count(1)? })
}

pub(super) async fn awaited_authorities(client: &Object, owner: Owner) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT DISTINCT authority FROM submission WHERE state = 0 AND owner = $1";
    let rows = client.query(sql, &[&owner.0]).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

pub(super) async fn oldest_unfinished(
    client: &Object,
    owner: Owner,
    authorities: Vec<String>,
) -> Result<Option<UnixSeconds>, StoreError> {
    let sql = "SELECT min(first) FROM (
                   SELECT (SELECT received_at FROM submission
                           WHERE state = 0 AND owner = $1 AND authority = asked.name ORDER BY id LIMIT 1) AS first
                   FROM unnest($2::text[]) AS asked (name)
                   UNION ALL
                   (SELECT received_at FROM submission WHERE state = 1 AND owner = $1 ORDER BY id LIMIT 1)
               ) AS each";
    let statement = client.prepare_cached(sql).await?;
    let row = client.query_one(&statement, &[&owner.0, &authorities]).await?;
    Ok(row.try_get::<_, Option<i64>>(0)?.map(|seconds| UnixSeconds(seconds.cast_unsigned())))
}

/// Any of them: those that are deleted are not found again. Rows that another deletes are left to it.
pub(super) async fn forget(client: &Object, before: UnixSeconds) -> Result<Option<RowId>, StoreError> {
    let sql = "DELETE FROM submission WHERE receipt IN (
                   SELECT receipt FROM submission WHERE state >= 2 AND received_at < $1 ORDER BY received_at LIMIT $2
                   FOR UPDATE SKIP LOCKED)";
    let statement = client.prepare_cached(sql).await?;
    let forgotten = client.execute(&statement, &[&before.0.cast_signed(), &FORGOTTEN_AT_ONCE]).await?;
    Ok((forgotten > 0).then_some(RowId::START))
}

fn numbers(rows: &BTreeSet<RowId>) -> Vec<i64> {
    rows.iter().map(|row| row.0).collect()
}

fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
