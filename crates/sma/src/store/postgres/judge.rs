//! Judging over PostgreSQL: a batch in one transaction.
//!
//! For: the store's pipelines. Not for: the rules (`rules`), or gathering (`gather`).
//!
//! The rows of the devices asked about are locked first, in the order of their numbers; everything that is
//! read afterwards is as those left it who held the locks before. A version 1 token that two devices claim
//! at the same moment meets the primary key of `used_token`, and the batch is judged again.

use birthmark_service::postgres::{PostgresError, begin, connection, patiently};
use deadpool_postgres::{Object, Pool, Transaction};
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use super::rows::{self, STANDING, bytes, signed};
use super::{AskedJob, devices, keys};
use crate::counters::UsedCounter;
use crate::devices::DeviceId;
use crate::keys::NucDigest;
use crate::quota::Notice;
use crate::replay::{FirstUse, RepeatDigest, UseId};
use crate::rules::{self, Loaded, Pass, Prepared, PreparedToken, Rules, SigningKey};
use crate::store::{Judged, StoreError};

/// Judges the jobs and answers each.
pub(super) async fn settle(pool: &Pool, rules: &Rules, jobs: Vec<AskedJob>) {
    match patiently(judge(pool, rules, &jobs)).await {
        Ok(answers) => {
            for (job, answer) in jobs.into_iter().zip(answers) {
                job.settle(Ok(answer));
            }
        }
        // A row that cannot be read must not take the whole batch with it, time after time.
        Err(StoreError::Damaged(_)) if jobs.len() > 1 => {
            for job in jobs {
                Box::pin(settle(pool, rules, vec![job])).await;
            }
        }
        Err(error) => {
            for job in jobs {
                job.settle(Err(error.clone()));
            }
        }
    }
}

/// Again if others were in between; nothing was committed then.
async fn judge(pool: &Pool, rules: &Rules, jobs: &[AskedJob]) -> Result<Vec<Judged>, StoreError> {
    let mut client = connection(pool).await?;
    for _ in 0..ATTEMPTS {
        match attempt(&mut client, rules, jobs).await {
            Err(error) if is_contention(&error) => tracing::debug!(%error, "a batch is judged again"),
            answer => return answer,
        }
    }
    Err(StoreError::Contended)
}

async fn attempt(client: &mut Object, rules: &Rules, jobs: &[AskedJob]) -> Result<Vec<Judged>, StoreError> {
    let transaction = begin(client).await?;
    let questions: Vec<&Prepared> = jobs.iter().flat_map(|job| &job.work.questions).collect();
    let mut loaded = load(&transaction, &questions).await?;
    let mut judged = Vec::with_capacity(jobs.len());
    let mut passes = Vec::new();
    for job in jobs {
        let before = passes.len();
        let verdicts = rules.judge(&job.work.questions, job.work.now, &mut loaded, &mut passes);
        judged.push((verdicts, notices(passes.get(before..).unwrap_or_default())));
    }
    write(&transaction, &passes).await?;
    let told: Vec<_> = judged.iter().flat_map(|(_, notices)| notices).map(|(id, _)| *id).collect();
    let serials = if told.is_empty() { Vec::new() } else { devices::serials(&transaction, &told).await? };
    transaction.commit().await?;
    let serial = |id| serials.iter().find(|(known, _)| *known == id).map(|(_, serial)| serial.clone());
    let named = |notices: Vec<(DeviceId, Notice)>| {
        notices.into_iter().filter_map(|(id, notice)| Some((serial(id)?, notice))).collect()
    };
    Ok(judged.into_iter().map(|(verdicts, notices)| Judged { verdicts, notices: named(notices) }).collect())
}

fn notices(passes: &[Pass]) -> Vec<(DeviceId, Notice)> {
    passes.iter().filter_map(|pass| Some((pass.device, pass.notice?))).collect()
}

async fn load(transaction: &Transaction<'_>, questions: &[&Prepared]) -> Result<Loaded, StoreError> {
    let mut loaded = Loaded::default();
    let digests: Vec<&[u8]> = questions.iter().map(|question| question.nuc_digest.0.as_slice()).collect();
    let query =
        format!("SELECT {STANDING}, nuc_digest FROM device_registry WHERE nuc_digest = ANY($1) ORDER BY id FOR UPDATE");
    let statement = transaction.prepare_cached(&query).await?;
    for row in transaction.query(&statement, &[&digests]).await? {
        loaded.add_device(&NucDigest(bytes(&row, 10)?), rows::standing(&row)?);
    }
    // Only now: a statement sees what was committed before it began. All at once: they wait for each
    // other at the server, not for us.
    let (uses, counters, signing) = futures::try_join!(
        load_uses(transaction, questions),
        load_counters(transaction, questions, &loaded),
        load_signing_keys(transaction, questions),
    )?;
    for (id, first) in uses {
        loaded.add_use(id, first);
    }
    for (device, used) in counters {
        loaded.add_slot(device, used);
    }
    loaded.set_signing_keys(signing);
    Ok(loaded)
}

async fn load_uses(
    transaction: &Transaction<'_>,
    questions: &[&Prepared],
) -> Result<Vec<(UseId, FirstUse)>, StoreError> {
    let token = |question: &&Prepared| match &question.token {
        PreparedToken::One { use_id, .. } => Some(use_id.0.to_vec()),
        PreparedToken::Two(_) => None,
    };
    let tokens: Vec<Vec<u8>> = questions.iter().filter_map(token).collect();
    if tokens.is_empty() {
        return Ok(Vec::new());
    }
    let query = "SELECT token, repeat_digest FROM used_token WHERE token = ANY($1)";
    let statement = transaction.prepare_cached(query).await?;
    let used = |row: &Row| {
        let repeat = match row.try_get::<_, Option<&[u8]>>(1)? {
            Some(_) => Some(RepeatDigest(bytes(row, 1)?)),
            None => None,
        };
        Ok((UseId(bytes(row, 0)?), FirstUse(repeat)))
    };
    transaction.query(&statement, &[&tokens]).await?.iter().map(used).collect()
}

async fn load_counters(
    transaction: &Transaction<'_>,
    questions: &[&Prepared],
    loaded: &Loaded,
) -> Result<Vec<(DeviceId, UsedCounter)>, StoreError> {
    let slot = |question: &&Prepared| match &question.token {
        // Looked up also for no device.
        PreparedToken::Two(token) => {
            let device = loaded.device(&question.nuc_digest).map_or(0, |device| device.id.0);
            Some((device, token.slot().number().cast_signed()))
        }
        PreparedToken::One { .. } => None,
    };
    let (devices, slots): (Vec<i64>, Vec<i16>) = questions.iter().filter_map(slot).unzip();
    if devices.is_empty() {
        return Ok(Vec::new());
    }
    let query = "SELECT device_id, counter, digest FROM used_counter
                 JOIN unnest($1::bigint[], $2::smallint[]) AS asked (device_id, slot) USING (device_id, slot)";
    let statement = transaction.prepare_cached(query).await?;
    let used = |row: &Row| Ok((DeviceId(row.try_get(0)?), rows::used_counter(row, 1, 2)?));
    transaction.query(&statement, &[&devices, &slots]).await?.iter().map(used).collect()
}

async fn load_signing_keys(
    transaction: &Transaction<'_>,
    questions: &[&Prepared],
) -> Result<Vec<SigningKey>, StoreError> {
    if questions.iter().any(|question| matches!(question.token, PreparedToken::Two(_))) {
        keys::signing(transaction).await
    } else {
        Ok(Vec::new())
    }
}

async fn write(transaction: &Transaction<'_>, passes: &[Pass]) -> Result<(), StoreError> {
    if passes.is_empty() {
        // Something to flush all the same: a failure is not to be told from a pass by its delay.
        transaction.query_one("SELECT pg_logical_emit_message(true, 'birthmark', '')", &[]).await?;
        return Ok(());
    }
    futures::try_join!(write_tokens(transaction, passes), write_counters(transaction, passes))?;
    write_devices(transaction, passes).await
}

async fn write_tokens(transaction: &Transaction<'_>, passes: &[Pass]) -> Result<(), StoreError> {
    // In the order of their bytes, so that two authorities never wait for each other in a circle.
    let tokens = rules::tokens(passes);
    if tokens.is_empty() {
        return Ok(());
    }
    let ids: Vec<&[u8]> = tokens.keys().map(|id| id.0.as_slice()).collect();
    let repeats: Vec<Option<&[u8]>> =
        tokens.values().map(|(first, _)| first.0.as_ref().map(|digest| digest.0.as_slice())).collect();
    let days: Vec<i64> = tokens.values().map(|(_, day)| i64::from(day.0)).collect();
    let insert = "INSERT INTO used_token (token, repeat_digest, day)
                  SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bigint[])";
    let statement = transaction.prepare_cached(insert).await?;
    transaction.execute(&statement, &[&ids, &repeats, &days]).await?;
    Ok(())
}

async fn write_counters(transaction: &Transaction<'_>, passes: &[Pass]) -> Result<(), StoreError> {
    let slots = rules::last_of_each_slot(passes);
    if slots.is_empty() {
        return Ok(());
    }
    let devices: Vec<i64> = slots.keys().map(|(device, _)| device.0).collect();
    let numbers: Vec<i16> = slots.keys().map(|(_, slot)| slot.number().cast_signed()).collect();
    let counters: Vec<i64> = slots.values().map(|used| signed(used.counter.value())).collect();
    let digests: Vec<&[u8]> = slots.values().map(|used| used.digest.as_bytes().as_slice()).collect();
    let upsert = "INSERT INTO used_counter (device_id, slot, counter, digest)
                  SELECT * FROM unnest($1::bigint[], $2::smallint[], $3::bigint[], $4::bytea[])
                  ON CONFLICT (device_id, slot) DO UPDATE SET counter = excluded.counter, digest = excluded.digest";
    let statement = transaction.prepare_cached(upsert).await?;
    transaction.execute(&statement, &[&devices, &numbers, &counters, &digests]).await?;
    Ok(())
}

async fn write_devices(transaction: &Transaction<'_>, passes: &[Pass]) -> Result<(), StoreError> {
    let devices = rules::last_of_each_device(passes);
    let ids: Vec<i64> = devices.keys().map(|id| id.0).collect();
    let days: Vec<i64> = devices.values().map(|(tally, _)| i64::from(tally.day.0)).collect();
    let counts: Vec<i64> = devices.values().map(|(tally, _)| i64::from(tally.count)).collect();
    let highest: Vec<i64> = devices.values().map(|(_, highest)| signed(highest.value())).collect();
    let update = "UPDATE device_registry AS d
                  SET day = new.day, day_count = new.count, highest_counter = new.highest
                  FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) AS new (id, day, count, highest)
                  WHERE d.id = new.id";
    let statement = transaction.prepare_cached(update).await?;
    transaction.execute(&statement, &[&ids, &days, &counts, &highest]).await?;
    Ok(())
}

/// Whether others did the same at the same moment.
fn is_contention(error: &StoreError) -> bool {
    let StoreError::Postgres(PostgresError::Statement(error)) = error else { return false };
    [&SqlState::UNIQUE_VIOLATION, &SqlState::T_R_SERIALIZATION_FAILURE, &SqlState::T_R_DEADLOCK_DETECTED]
        .iter()
        .any(|code| error.code() == Some(*code))
}

const ATTEMPTS: usize = 5;
