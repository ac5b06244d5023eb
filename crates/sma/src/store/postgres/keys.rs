//! Endorsement keys in PostgreSQL.
//!
//! For: the store. Not for: when a key is replaced (the authority), or what is inside the sealed half.

use birthmark_core::network::EndorsementKeyId;
use birthmark_core::time::Minute;
use deadpool_postgres::{GenericClient, Transaction};
use tokio_postgres::Row;

use super::audit;
use super::rows::{bytes, optional, unsigned};
use crate::audit::Act;
use crate::rules::SigningKey;
use crate::store::{KeyChange, KeysChanged, StoreError, StoredKey, state_from_text, state_text};

pub(super) async fn all(client: &impl GenericClient) -> Result<Vec<StoredKey>, StoreError> {
    let query = "SELECT key_id, state, until_minute, spki, sealed, created_minute FROM endorsement_key ORDER BY id";
    let rows = client.query(query, &[]).await?;
    let stored = |row: &Row| {
        let SigningKey { key_id, state, until } = signing_key(row)?;
        let created = Minute(unsigned(row, 5)?);
        Ok(StoredKey { key_id, spki: row.try_get(3)?, sealed: row.try_get(4)?, state, created, until })
    };
    rows.iter().map(stored).collect()
}

/// Those that may sign: one or two.
pub(super) async fn signing(client: &impl GenericClient) -> Result<Vec<SigningKey>, StoreError> {
    let query = "SELECT key_id, state, until_minute FROM endorsement_key WHERE state IN ('current', 'previous')";
    let statement = client.prepare_cached(query).await?;
    client.query(&statement, &[]).await?.iter().map(signing_key).collect()
}

/// All of it, or nothing. The lock that every act holds keeps others from doing the same.
pub(super) async fn change(
    transaction: &Transaction<'_>,
    change: KeyChange,
    act: Act,
) -> Result<KeysChanged, StoreError> {
    let rows = transaction.query("SELECT key_id, state FROM endorsement_key", &[]).await?;
    let mut keys = Vec::with_capacity(rows.len());
    for row in &rows {
        keys.push((EndorsementKeyId::from_bytes(bytes(row, 0)?), row.try_get::<_, &str>(1)?));
    }
    let as_expected = change.transitions.iter().all(|step| keys.contains(&(step.key_id, state_text(step.from))));
    let inserted = change.insert.as_ref().map(|key| key.key_id);
    let in_question = |(id, state): &&(EndorsementKeyId, &str)| *state == "current" || Some(*id) == inserted;
    let known: Vec<_> = keys.iter().filter(in_question).map(|(id, _)| *id).collect();
    if !as_expected || !change.leaves_one_current(&known) {
        return Ok(KeysChanged::Conflict);
    }
    for step in &change.transitions {
        let until = step.until.map(|minute| i64::from(minute.0));
        let update = "UPDATE endorsement_key SET state = $2, until_minute = $3 WHERE key_id = $1";
        transaction.execute(update, &[&step.key_id.as_bytes().as_slice(), &state_text(step.to), &until]).await?;
    }
    if let Some(key) = change.insert {
        let insert = "INSERT INTO endorsement_key (key_id, spki, sealed, state, created_minute, until_minute)
                      VALUES ($1, $2, $3, $4, $5, $6)";
        let (created, until) = (i64::from(key.created.0), key.until.map(|minute| i64::from(minute.0)));
        let key_id = key.key_id.as_bytes().as_slice();
        transaction
            .execute(insert, &[&key_id, &key.spki, &key.sealed, &state_text(key.state), &created, &until])
            .await?;
    }
    audit::append(transaction, act, vec![change.deed]).await?;
    Ok(KeysChanged::Yes)
}

fn signing_key(row: &Row) -> Result<SigningKey, StoreError> {
    Ok(SigningKey {
        key_id: EndorsementKeyId::from_bytes(bytes(row, 0)?),
        state: state_from_text(row.try_get(1)?).ok_or(StoreError::Damaged("the state of an endorsement key"))?,
        until: optional(row, 2)?.map(Minute),
    })
}
