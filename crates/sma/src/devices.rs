//! The device registry: which cameras there are and what they were given.
//!
//! For: registering a camera once and finding it by its sensor's fingerprint.
//! Not for: judging tokens (`validation`), or fingerprints in the clear: rows hold keyed digests
//! (`keys`), so a stolen database neither names a sensor nor lets a guess be tested.
//!
//! Schema: `migrations/V1__authority.sql`, table `device_registry`.

use birthmark_core::ids::{DeviceFamily, DeviceSerial};
use birthmark_core::time::Minute;
use rand_core::CryptoRng;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, params};

use crate::keys::NucDigest;
use crate::tables::{self, AssignedTables, TableOrder};

/// The oldest token that is accepted from a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TokenVersion {
    One,
    Two,
}

/// Whether a device's tokens may pass at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Active,
    Revoked,
}

/// A camera to register.
pub(crate) struct NewDevice {
    pub(crate) serial: DeviceSerial,
    pub(crate) family: DeviceFamily,
    pub(crate) nuc_digest: NucDigest,
    pub(crate) min_token_version: TokenVersion,
    pub(crate) created: Minute,
}

/// What a token's verdict depends on. Does not say which camera it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) status: Status,
    pub(crate) tables: AssignedTables,
    pub(crate) min_token_version: TokenVersion,
}

/// Why a camera was not registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duplicate {
    Serial,
    NucHash,
}

/// Draws tables for the camera and stores its row. Nothing is changed for a duplicate.
pub(crate) fn register(
    connection: &Connection,
    device: &NewDevice,
    order: &TableOrder,
    rng: &mut impl CryptoRng,
) -> rusqlite::Result<Result<AssignedTables, Duplicate>> {
    if exists(connection, "SELECT EXISTS (SELECT 1 FROM device_registry WHERE serial = ?1)", device.serial.as_str())? {
        return Ok(Err(Duplicate::Serial));
    }
    if exists(connection, "SELECT EXISTS (SELECT 1 FROM device_registry WHERE nuc_digest = ?1)", device.nuc_digest.0)? {
        return Ok(Err(Duplicate::NucHash));
    }
    let assigned = tables::draw(order.active(count(connection)?), rng);
    connection
        .prepare_cached(
            "INSERT INTO device_registry (serial, family, nuc_digest, tables, min_token_version, status, created_minute)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            device.serial.as_str(),
            device.family.as_str(),
            device.nuc_digest.0,
            assigned.to_bytes(),
            device.min_token_version,
            Status::Active,
            device.created.0,
        ])?;
    Ok(Ok(assigned))
}

/// The device with this fingerprint.
pub(crate) fn find(connection: &Connection, digest: &NucDigest) -> rusqlite::Result<Option<Standing>> {
    connection
        .prepare_cached("SELECT status, tables, min_token_version FROM device_registry WHERE nuc_digest = ?1")?
        .query_row([digest.0], |row| {
            Ok(Standing { status: row.get(0)?, tables: row.get(1)?, min_token_version: row.get(2)? })
        })
        .optional()
}

/// Devices registered so far. Rows are never deleted, so the last one's number is their count.
pub(crate) fn count(connection: &Connection) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT coalesce(max(id), 0) FROM device_registry")?
        .query_row([], |row| row.get::<_, i64>(0))
        .map(|count| u64::try_from(count).unwrap_or(0))
}

fn exists(connection: &Connection, query: &str, key: impl ToSql) -> rusqlite::Result<bool> {
    connection.prepare_cached(query)?.query_row([key], |row| row.get(0))
}

// A row that cannot be read is an error, never a verdict: each of these fails for values that the
// schema does not allow.

impl FromSql for AssignedTables {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::from_bytes(value.as_blob()?).ok_or(FromSqlError::InvalidType)
    }
}

impl FromSql for Status {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_str()? {
            "active" => Ok(Self::Active),
            "revoked" => Ok(Self::Revoked),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

impl ToSql for Status {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Active => "active",
            Self::Revoked => "revoked",
        }
        .into())
    }
}

impl TokenVersion {
    /// None for a version that does not exist.
    pub(crate) const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            _ => None,
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }
}

impl FromSql for TokenVersion {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = u8::column_result(value)?;
        Self::from_number(number).ok_or(FromSqlError::OutOfRange(i64::from(number)))
    }
}

impl ToSql for TokenVersion {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.number().into())
    }
}
