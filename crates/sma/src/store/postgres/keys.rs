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
use crate::endorsement_keys::life::KeyRecord;
use crate::rules::SigningKey;
use crate::store::{KeyChange, KeysChanged, StoreError, StoredKey, state_from_text, state_text};

pub(super) async fn all(client: &impl GenericClient) -> Result<Vec<StoredKey>, StoreError> {
    let query = "SELECT key_id, state, replaced_minute, spki, sealed, created_minute FROM endorsement_key ORDER BY id";
    let rows = client.query(query, &[]).await?;
    let stored = |row: &Row| {
        let SigningKey { key_id, state, replaced } = signing_key(row)?;
        let record = KeyRecord { key_id, spki: row.try_get(3)?, state, created: Minute(unsigned(row, 5)?), replaced };
        Ok(StoredKey { record, sealed: row.try_get(4)? })
    };
    rows.iter().map(stored).collect()
}

/// Those that may sign: one or two.
pub(super) async fn signing(client: &impl GenericClient) -> Result<Vec<SigningKey>, StoreError> {
    let query = "SELECT key_id, state, replaced_minute FROM endorsement_key WHERE state IN ('current', 'previous')";
    let statement = client.prepare_cached(query).await?;
    client.query(&statement, &[]).await?.iter().map(signing_key).collect()
}

/// The lock that every act holds keeps others from changing them in between.
pub(super) async fn change(
    transaction: &Transaction<'_>,
    change: KeyChange,
    act: Act,
) -> Result<KeysChanged, StoreError> {
    if !all(transaction).await?.into_iter().map(|key| key.record).eq(change.before) {
        return Ok(KeysChanged::Conflict);
    }
    for key in &change.changed {
        let replaced = key.replaced.map(|minute| i64::from(minute.0));
        let update = "UPDATE endorsement_key SET state = $2, replaced_minute = $3,
                      sealed = CASE WHEN $4 THEN sealed ELSE ''::bytea END WHERE key_id = $1";
        let (key_id, state) = (key.key_id.as_bytes().as_slice(), state_text(key.state));
        transaction.execute(update, &[&key_id, &state, &replaced, &key.may_sign()]).await?;
    }
    if let Some(StoredKey { record, sealed }) = change.new {
        let insert = "INSERT INTO endorsement_key (key_id, spki, sealed, state, created_minute, replaced_minute)
                      VALUES ($1, $2, $3, $4, $5, $6)";
        let (key_id, state) = (record.key_id.as_bytes().as_slice(), state_text(record.state));
        let (created, replaced) = (i64::from(record.created.0), record.replaced.map(|minute| i64::from(minute.0)));
        transaction.execute(insert, &[&key_id, &record.spki, &sealed, &state, &created, &replaced]).await?;
    }
    audit::append(transaction, act, vec![change.deed]).await?;
    Ok(KeysChanged::Yes)
}

fn signing_key(row: &Row) -> Result<SigningKey, StoreError> {
    Ok(SigningKey {
        key_id: EndorsementKeyId::from_bytes(bytes(row, 0)?),
        state: state_from_text(row.try_get(1)?).ok_or(StoreError::Damaged("the state of an endorsement key"))?,
        replaced: optional(row, 2)?.map(Minute),
    })
}
