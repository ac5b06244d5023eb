//! Taking submissions in: a batch with one statement, and two look-ups for those that were there before.
//!
//! For: the store's pipelines, and receipts. Not for: gathering (`birthmark_service::gather`).
//!
//! A row is inserted unless its idempotency key is there by then, whoever wrote it: the constraint decides. Keys are
//! inserted in their order, so that two batches never wait for each other in a circle.

use std::collections::{BTreeMap, BTreeSet};

use birthmark_core::batch::Assurance;
use birthmark_core::submission::Submission;
use birthmark_core::time::UnixSeconds;
use birthmark_service::gather::Job;
use birthmark_service::postgres::{connection, patiently};
use deadpool_postgres::{Object, Pool};
use tokio_postgres::Row;
use uuid::Uuid;

use super::members::Owner;
use crate::pipeline::state::Recorded;
use crate::store::columns::{self, Keys, RowError, StateColumns};
use crate::store::{Arrival, Intake, NewRow, Receipt, StoreError, token};

type IntakeJob = Job<Vec<Arrival>, Result<Vec<Intake>, StoreError>>;

/// Takes the jobs' submissions in and answers each job.
pub(super) async fn settle(pool: &Pool, owner: Owner, jobs: Vec<IntakeJob>) {
    let arrivals: Vec<_> = jobs.iter().flat_map(|job| &job.work).map(|arrival| (arrival.row.keys(), arrival)).collect();
    let answers = patiently(async {
        let client = connection(pool).await?;
        take_in(&client, owner, &arrivals).await
    });
    match answers.await {
        Ok(answers) => {
            let mut answers = answers.into_iter();
            for job in jobs {
                let own = answers.by_ref().take(job.work.len()).collect();
                job.settle(Ok(own));
            }
        }
        Err(error) => {
            for job in jobs {
                job.settle(Err(error.clone()));
            }
        }
    }
}

/// The submission with this receipt.
pub(super) async fn by_receipt(client: &Object, owner: Owner, id: Uuid) -> Result<Option<Receipt>, StoreError> {
    let sql = format!("SELECT {RECEIPT} FROM submission WHERE receipt = $1");
    let statement = client.prepare_cached(&sql).await?;
    let row = client.query_opt(&statement, &[&id.as_bytes().as_slice()]).await?;
    row.map(|row| receipt(&row, owner)).transpose()
}

/// One answer for each, in their order. What was written is durable.
async fn take_in(client: &Object, owner: Owner, arrivals: &[(Keys, &Arrival)]) -> Result<Vec<Intake>, StoreError> {
    let mut fresh = BTreeMap::new();
    for (keys, arrival) in arrivals.iter().filter(|(_, arrival)| arrival.place) {
        // Of the same submission twice, the first is the one.
        fresh.entry(keys.idempotency.as_bytes().as_slice()).or_insert((keys, *arrival));
    }
    let written = insert(client, owner, &fresh).await?;
    let is_written = |arrival: &Arrival| written.contains(&arrival.row.receipt);
    // Nearly all are new. Of the others this tells why.
    let others = || arrivals.iter().filter(|(_, arrival)| !is_written(arrival)).map(|(keys, _)| keys);
    let (known, recorded) = futures::try_join!(by_keys(client, owner, others()), recorded(client, others()))?;
    let again = arrivals.iter().filter_map(|(keys, arrival)| {
        let known = known.get(keys.idempotency.as_bytes().as_slice())?;
        (arrival.place && arrival.row.is_taken_up_again(&known.state)).then_some((known.id, arrival.row.received_at))
    });
    let mut taken_up_again = take_up_again(client, owner, again).await?;
    arrivals
        .iter()
        .map(|(keys, arrival)| {
            let row = &arrival.row;
            if is_written(arrival) {
                let (id, state, body) = (row.receipt, row.state(), row.submission.body().clone());
                return Ok(Intake::New(Receipt { id, state, body, elsewhere: false }));
            }
            if let Some(known) = known.get(keys.idempotency.as_bytes().as_slice()) {
                if !row.is_taken_up_again(&known.state) {
                    return Ok(Intake::Repeat(known.clone()));
                }
                let begun = Receipt { state: row.state(), elsewhere: false, ..known.clone() };
                return Ok(match (arrival.place, taken_up_again.remove(&known.id)) {
                    (true, true) => Intake::New(begun),
                    // Twice in one batch, or at once at another aggregator.
                    (true, false) => Intake::Repeat(begun),
                    (false, _) => Intake::NoPlace,
                });
            }
            let recorded = recorded.get(keys.digest.as_bytes().as_slice()).copied();
            match recorded.filter(|recorded| recorded.assurance >= arrival.row.aim()) {
                Some(recorded) => Ok(Intake::OnRecord(recorded)),
                None if !arrival.place => Ok(Intake::NoPlace),
                // It was forgotten between the two statements.
                None => Ok(Intake::Gone),
            }
        })
        .collect()
}

/// Takes rejected edits up again, as ours and as if they came now; says which, each once.
async fn take_up_again(
    client: &Object,
    owner: Owner,
    receipts: impl Iterator<Item = (Uuid, UnixSeconds)>,
) -> Result<BTreeSet<Uuid>, StoreError> {
    let (receipts, times): (Vec<_>, Vec<_>) =
        receipts.map(|(id, received_at)| (id.as_bytes().to_vec(), received_at.0.cast_signed())).unzip();
    if receipts.is_empty() {
        return Ok(BTreeSet::new());
    }
    let sql = "UPDATE submission SET state = 1, reason = NULL, owner = $1, received_at = again.received_at
               FROM unnest($2::bytea[], $3::bigint[]) AS again (receipt, received_at)
               WHERE submission.receipt = again.receipt AND state = 3 RETURNING submission.receipt";
    let statement = client.prepare_cached(sql).await?;
    let rows = client.query(&statement, &[&owner.0, &receipts, &times]).await?;
    rows.iter().map(|row| uuid(row, 0)).collect()
}

/// What is there under these idempotency keys.
async fn by_keys(
    client: &Object,
    owner: Owner,
    keys: impl Iterator<Item = &Keys>,
) -> Result<BTreeMap<Vec<u8>, Receipt>, StoreError> {
    let keys: Vec<&[u8]> = keys.map(|keys| keys.idempotency.as_bytes().as_slice()).collect();
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let sql = format!("SELECT {RECEIPT}, idempotency_key FROM submission WHERE idempotency_key = ANY($1)");
    let statement = client.prepare_cached(&sql).await?;
    let rows = client.query(&statement, &[&keys]).await?;
    rows.iter().map(|row| Ok((row.try_get(9)?, receipt(row, owner)?))).collect()
}

/// The best record of each body that is on record.
async fn recorded(
    client: &Object,
    keys: impl Iterator<Item = &Keys>,
) -> Result<BTreeMap<Vec<u8>, Recorded>, StoreError> {
    let digests: Vec<&[u8]> = keys.map(|keys| keys.digest.as_bytes().as_slice()).collect();
    if digests.is_empty() {
        return Ok(BTreeMap::new());
    }
    let sql = "SELECT body_digest, tx_id, block_height, assurance FROM submission
               WHERE body_digest = ANY($1) AND state = 2 ORDER BY assurance";
    let statement = client.prepare_cached(sql).await?;
    let rows = client.query(&statement, &[&digests]).await?;
    let record =
        |row: &Row| Ok((row.try_get(0)?, columns::recorded(row.try_get(1)?, row.try_get(2)?, assurance(row, 3)?)));
    // Of several the last stays, which is the best.
    rows.iter().map(record).collect()
}

/// Receipts of the rows that were written: those whose key nobody had, and whose body is not on record yet.
async fn insert(
    client: &Object,
    owner: Owner,
    fresh: &BTreeMap<&[u8], (&Keys, &Arrival)>,
) -> Result<BTreeSet<Uuid>, StoreError> {
    if fresh.is_empty() {
        return Ok(BTreeSet::new());
    }
    let rows = || fresh.values().map(|(keys, arrival)| (*keys, &arrival.row));
    let receipts: Vec<&[u8]> = rows().map(|(_, row)| row.receipt.as_bytes().as_slice()).collect();
    let keys: Vec<&[u8]> = fresh.keys().copied().collect();
    let is_camera = |row: &NewRow| matches!(row.submission, Submission::Camera(_));
    let request_ids: Vec<Option<&[u8]>> =
        rows().map(|(_, row)| is_camera(row).then_some(row.request_id.0.as_slice())).collect();
    let authorities: Vec<&str> = rows().map(|(_, row)| row.submission.body().authority.as_str()).collect();
    let bodies: Vec<&[u8]> = rows().map(|(keys, _)| keys.body.as_slice()).collect();
    let digests: Vec<&[u8]> = rows().map(|(keys, _)| keys.digest.as_bytes().as_slice()).collect();
    let encode = |row: &NewRow| match &row.submission {
        Submission::Camera(camera) => Some(token::encode(&camera.token, camera.binding.as_ref())),
        Submission::Software(_) => None,
    };
    let tokens: Vec<Option<Vec<u8>>> = rows().map(|(_, row)| encode(row)).collect();
    let states: Vec<i16> = rows().map(|(_, row)| i16::from(!is_camera(row))).collect();
    let aims: Vec<i16> = rows().map(|(_, row)| i16::from(row.aim() as u8)).collect();
    let times: Vec<i64> = rows().map(|(_, row)| row.received_at.0.cast_signed()).collect();
    let sql = "INSERT INTO submission (owner, receipt, idempotency_key, request_id, authority, body, body_digest, token,
                                       assurance, received_at, state)
               SELECT $1::integer, * FROM unnest($2::bytea[], $3::bytea[], $4::bytea[], $5::text[], $6::bytea[], $7::bytea[],
                                        $8::bytea[], $9::smallint[], $10::bigint[], $11::smallint[])
                   AS fresh (receipt, idempotency_key, request_id, authority, body, body_digest, token, aim, received_at,
                             state)
               WHERE NOT EXISTS (SELECT FROM submission AS earlier
                   WHERE earlier.body_digest = fresh.body_digest AND earlier.state = 2 AND earlier.assurance >= fresh.aim)
               ON CONFLICT (idempotency_key) DO NOTHING RETURNING receipt";
    let statement = client.prepare_cached(sql).await?;
    let written = client
        .query(
            &statement,
            &[
                &owner.0,
                &receipts,
                &keys,
                &request_ids,
                &authorities,
                &bodies,
                &digests,
                &tokens,
                &aims,
                &times,
                &states,
            ],
        )
        .await?;
    written.iter().map(|row| uuid(row, 0)).collect()
}

/// The columns of [`receipt`].
const RECEIPT: &str = "state, tx_id, block_height, reason, receipt, body, assurance, endorsement, owner";

fn receipt(row: &Row, owner: Owner) -> Result<Receipt, StoreError> {
    let columns = StateColumns {
        state: row.try_get::<_, i16>(0)?.into(),
        tx_id: row.try_get(1)?,
        block_height: row.try_get(2)?,
        reason: row.try_get(3)?,
        endorsement: row.try_get(7)?,
    };
    let state = columns.into_state(assurance(row, 6)?)?;
    let elsewhere = row.try_get::<_, i32>(8)? != owner.0;
    Ok(Receipt { id: uuid(row, 4)?, state, body: columns::body(row.try_get(5)?)?, elsewhere })
}

pub(super) fn assurance(row: &Row, column: usize) -> Result<Assurance, StoreError> {
    let number = u8::try_from(row.try_get::<_, i16>(column)?).map_err(|_| RowError::Part("assurance"))?;
    Ok(columns::assurance(number)?)
}

pub(super) fn uuid(row: &Row, column: usize) -> Result<Uuid, StoreError> {
    Ok(Uuid::from_slice(row.try_get(column)?).map_err(|_| RowError::Part("receipt"))?)
}
