//! Endorsement keys in SQLite.
//!
//! For: the store. Not for: when a key is replaced (the authority), or what is inside the sealed half.

use birthmark_core::network::EndorsementKeyId;
use birthmark_core::time::Minute;
use rusqlite::types::{FromSqlError, Type};
use rusqlite::{Connection, Row, params};

use super::audit;
use crate::audit::Act;
use crate::rules::SigningKey;
use crate::store::{KeyChange, KeysChanged, StoreError, StoredKey, state_from_text, state_text};

pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<StoredKey>> {
    connection
        .prepare_cached(
            "SELECT key_id, state, until_minute, spki, sealed, created_minute FROM endorsement_key ORDER BY id",
        )?
        .query_map([], |row| {
            let SigningKey { key_id, state, until } = signing_key(row)?;
            let (spki, sealed, created) = (row.get(3)?, row.get(4)?, Minute(row.get(5)?));
            Ok(StoredKey { key_id, spki, sealed, state, created, until })
        })?
        .collect()
}

/// Those that may sign: one or two.
pub(super) fn signing(connection: &Connection) -> rusqlite::Result<Vec<SigningKey>> {
    connection
        .prepare_cached(
            "SELECT key_id, state, until_minute FROM endorsement_key WHERE state IN ('current', 'previous')",
        )?
        .query_map([], signing_key)?
        .collect()
}

/// All of it, or nothing: an error undoes the job.
pub(super) fn change(connection: &Connection, change: KeyChange, act: &Act) -> Result<KeysChanged, StoreError> {
    let mut is_as_expected =
        connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM endorsement_key WHERE key_id = ?1 AND state = ?2)")?;
    for step in &change.transitions {
        let params = params![step.key_id.as_bytes(), state_text(step.from)];
        if !is_as_expected.query_row(params, |row| row.get(0))? {
            return Ok(KeysChanged::Conflict);
        }
    }
    if !leaves_one_current(connection, &change)? {
        return Ok(KeysChanged::Conflict);
    }
    let mut update =
        connection.prepare_cached("UPDATE endorsement_key SET state = ?2, until_minute = ?3 WHERE key_id = ?1")?;
    for step in &change.transitions {
        let until = step.until.map(|minute| minute.0);
        update.execute(params![step.key_id.as_bytes(), state_text(step.to), until])?;
    }
    if let Some(key) = change.insert {
        connection
            .prepare_cached(
                "INSERT INTO endorsement_key (key_id, spki, sealed, state, created_minute, until_minute)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                key.key_id.as_bytes(),
                key.spki,
                key.sealed,
                state_text(key.state),
                key.created.0,
                key.until.map(|minute| minute.0)
            ])?;
    }
    audit::append(connection, act, [change.deed])?;
    Ok(KeysChanged::Yes)
}

/// False where a key becomes current beside one that the change does not know of, or is there already.
fn leaves_one_current(connection: &Connection, change: &KeyChange) -> rusqlite::Result<bool> {
    let current = connection
        .prepare_cached("SELECT key_id FROM endorsement_key WHERE state = 'current' OR key_id = ?1")?
        .query_map([change.insert.as_ref().map(|key| *key.key_id.as_bytes())], |row| {
            row.get(0).map(EndorsementKeyId::from_bytes)
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(change.leaves_one_current(&current))
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
        until: row.get::<_, Option<u32>>(2)?.map(Minute),
    })
}
