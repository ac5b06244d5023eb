//! The authority's database: its schema and the row that says whose it is.
//!
//! For: opening it and checking that it and the master key belong together.
//! Not for: devices (`devices`), used tokens (`replay`).

use std::path::{Path, PathBuf};

use birthmark_core::ids::AuthorityId;
use birthmark_core::time::Minute;
use birthmark_service::sqlite::{Database, Migration, OpenError, Options};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, params};

use crate::keys::MasterKey;

/// Whose installation a database is.
pub(crate) struct Installation {
    pub(crate) authority_id: AuthorityId,
    pub(crate) key_check: [u8; 16],
}

pub(crate) fn database_path(data_dir: &Path) -> PathBuf {
    data_dir.join("sma.db")
}

pub(crate) fn master_key_path(data_dir: &Path) -> PathBuf {
    data_dir.join("master.key")
}

pub(crate) fn open(data_dir: &Path) -> Result<Database, OpenError> {
    Database::open(&database_path(data_dir), MIGRATIONS, Options::default())
}

/// Writes whose installation this is, over what an interrupted `init` may have left.
pub(crate) fn write_installation(
    connection: &Connection,
    authority_id: &AuthorityId,
    master: [u8; 16],
    created: Minute,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO authority (id, authority_id, key_check, created_minute) VALUES (1, ?1, ?2, ?3)",
        )?
        .execute(params![authority_id.as_str(), master, created.0])
        .map(drop)
}

/// None if `init` never finished.
pub(crate) fn read_installation(connection: &Connection) -> rusqlite::Result<Option<Installation>> {
    connection
        .prepare_cached("SELECT authority_id, key_check FROM authority WHERE id = 1")?
        .query_row([], |row| {
            let authority_id = AuthorityId::new(row.get::<_, String>(0)?)
                .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error)))?;
            Ok(Installation { authority_id, key_check: row.get(1)? })
        })
        .optional()
}

/// True if no camera was provisioned and no token passed: nothing would be lost with this database.
pub(crate) fn is_unused(connection: &Connection) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT NOT EXISTS (SELECT 1 FROM device_registry) AND NOT EXISTS (SELECT 1 FROM used_token)")?
        .query_row([], |row| row.get(0))
}

impl Installation {
    pub(crate) fn belongs_to(&self, master: &MasterKey) -> bool {
        self.key_check == master.check()
    }
}

const MIGRATIONS: &[Migration] =
    &[Migration { name: "V1__authority", sql: include_str!("../migrations/V1__authority.sql") }];
