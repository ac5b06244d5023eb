//! Endorsement keys in SQLite.
//!
//! For: the store. Not for: when a key is replaced (the authority), or what is inside the sealed half.

use birthmark_core::network::EndorsementKeyId;
use birthmark_core::time::Minute;
use rusqlite::types::{FromSqlError, Type};
use rusqlite::{Connection, Row, params};

use super::audit;
use crate::audit::Act;
use crate::endorsement_keys::life::KeyRecord;
use crate::rules::SigningKey;
use crate::store::{KeyChange, KeysChanged, StoreError, StoredKey, state_from_text, state_text};

pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<StoredKey>> {
    connection
        .prepare_cached(
            "SELECT key_id, state, replaced_minute, spki, sealed, created_minute FROM endorsement_key ORDER BY id",
        )?
        .query_map([], |row| {
            let SigningKey { key_id, state, replaced } = signing_key(row)?;
            let record = KeyRecord { key_id, spki: row.get(3)?, state, created: Minute(row.get(5)?), replaced };
            Ok(StoredKey { record, sealed: row.get(4)? })
        })?
        .collect()
}

/// Those that may sign: one or two.
pub(super) fn signing(connection: &Connection) -> rusqlite::Result<Vec<SigningKey>> {
    connection
        .prepare_cached(
            "SELECT key_id, state, replaced_minute FROM endorsement_key WHERE state IN ('current', 'previous')",
        )?
        .query_map([], signing_key)?
        .collect()
}

pub(super) fn change(connection: &Connection, change: KeyChange, act: &Act) -> Result<KeysChanged, StoreError> {
    if !all(connection)?.into_iter().map(|key| key.record).eq(change.before) {
        return Ok(KeysChanged::Conflict);
    }
    // What is destroyed here must not stay behind in the file's free space.
    connection.pragma_update(None, "secure_delete", true)?;
    let mut update = connection.prepare_cached(
        "UPDATE endorsement_key SET state = ?2, replaced_minute = ?3, sealed = iif(?4, sealed, x'') WHERE key_id = ?1",
    )?;
    for key in &change.changed {
        let replaced = key.replaced.map(|minute| minute.0);
        update.execute(params![key.key_id.as_bytes(), state_text(key.state), replaced, key.may_sign()])?;
    }
    if let Some(StoredKey { record, sealed }) = change.new {
        connection
            .prepare_cached(
                "INSERT INTO endorsement_key (key_id, spki, sealed, state, created_minute, replaced_minute)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                record.key_id.as_bytes(),
                record.spki,
                sealed,
                state_text(record.state),
                record.created.0,
                record.replaced.map(|minute| minute.0)
            ])?;
    }
    audit::append(connection, act, [change.deed])?;
    Ok(KeysChanged::Yes)
}

fn signing_key(row: &Row<'_>) -> rusqlite::Result<SigningKey> {
    let state = |text: String| {
        state_from_text(&text).ok_or_else(|| {
            rusqlite::Error::FromSqlConversionFailure(1, Type::Text, Box::new(FromSqlError::InvalidType))
        })
    };
    Ok(SigningKey {
        key_id: EndorsementKeyId::from_bytes(row.get(0)?),
        state: state(row.get(1)?)?,
        replaced: row.get::<_, Option<u32>>(2)?.map(Minute),
    })
}
