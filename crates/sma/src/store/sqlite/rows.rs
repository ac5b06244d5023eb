//! Values of this crate as SQLite's.
//!
//! For: the store. A row that cannot be read is an error, never a verdict: each of these fails for what
//! the schema does not allow. Not for: statements.

use birthmark_core::ids::{DeviceFamily, DeviceSerial};
use birthmark_core::time::Minute;
use rusqlite::Row;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use crate::counters::{Counter, CounterDigest, Highest};
use crate::devices::{Device, DeviceId, Standing, Status, TokenVersion};
use crate::keys::{KeyGeneration, NucDigest};
use crate::quota::{QuotaOverride, Tally};
use crate::replay::Day;
use crate::tables::AssignedTables;

/// The columns of [`standing`], of `device_registry AS d LEFT JOIN device_use AS u`.
pub(super) const STANDING: &str = "d.id, d.status, d.tables, d.min_token_version, d.key_generation, d.quota_warn, \
                                   d.quota_stop, u.day, u.day_count, u.highest_counter";
/// The columns of [`device`] are these after those.
pub(super) const IDENTITY: &str = "d.serial, d.family, d.nuc_digest, d.created_minute";

pub(super) fn standing(row: &Row<'_>) -> rusqlite::Result<Standing> {
    Ok(Standing {
        id: DeviceId(row.get(0)?),
        status: row.get(1)?,
        tables: row.get(2)?,
        min_token_version: row.get(3)?,
        generation: KeyGeneration(row.get(4)?),
        quota: QuotaOverride { warn: row.get(5)?, stop: row.get(6)? },
        // A device that has never passed has no row of uses.
        tally: Tally {
            day: Day(row.get::<_, Option<u32>>(7)?.unwrap_or(0)),
            count: row.get::<_, Option<u32>>(8)?.unwrap_or(0),
        },
        highest: row.get::<_, Option<Highest>>(9)?.unwrap_or_default(),
    })
}

pub(super) fn device(row: &Row<'_>) -> rusqlite::Result<Device> {
    let Standing { id, status, tables, min_token_version, generation, quota, tally, highest } = standing(row)?;
    Ok(Device {
        id,
        serial: row.get::<_, Text<DeviceSerial>>(10)?.0,
        family: row.get::<_, Text<DeviceFamily>>(11)?.0,
        nuc_digest: NucDigest(row.get(12)?),
        created: Minute(row.get(13)?),
        tables,
        min_token_version,
        status,
        generation,
        quota,
        tally,
        highest,
    })
}

/// An identifier, parsed as at the edge.
struct Text<T>(T);

impl<T: std::str::FromStr> FromSql for Text<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map(Self).map_err(|_| FromSqlError::InvalidType)
    }
}

impl FromSql for AssignedTables {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::from_bytes(value.as_blob()?).ok_or(FromSqlError::InvalidType)
    }
}

impl FromSql for Status {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::from_text(value.as_str()?).ok_or(FromSqlError::InvalidType)
    }
}

impl ToSql for Status {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.text().into())
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

/// A number of ours that fits SQLite's signed ones.
pub(super) struct Number(pub(super) u64);

impl FromSql for Number {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let value = value.as_i64()?;
        u64::try_from(value).map(Self).map_err(|_| FromSqlError::OutOfRange(value))
    }
}

impl ToSql for Number {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = i64::try_from(self.0).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        Ok(value.into())
    }
}

impl FromSql for Counter {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::new(Number::column_result(value)?.0).ok_or(FromSqlError::OutOfRange(0))
    }
}

impl FromSql for Highest {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::from_value(Number::column_result(value)?.0).ok_or(FromSqlError::OutOfRange(0))
    }
}

impl FromSql for CounterDigest {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        <[u8; 8]>::column_result(value).map(Self::from_bytes)
    }
}
