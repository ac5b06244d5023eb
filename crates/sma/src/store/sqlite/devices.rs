//! The device registry in SQLite.
//!
//! For: the store. Not for: judging (`judge`), or deciding on a registration (`devices`).

use birthmark_core::ids::DeviceSerial;
use rand_core::CryptoRng;
use rusqlite::types::{FromSqlError, Type};
use rusqlite::{Connection, OptionalExtension, params};

use super::audit;
use super::rows::{self, IDENTITY, STANDING};
use crate::audit::{Act, Deed};
use crate::devices::{
    Admission, Admitted, Changed, Device, DeviceId, Duplicate, Known, NewDevice, NotRenewed, Page, Registered, Renewal,
    Standing, Status, Which,
};
use crate::keys::NucDigest;
use crate::quota::QuotaOverride;
use crate::store::StoreError;
use crate::tables::{self, TableOrder};

/// Draws tables for the cameras and stores their rows. Nothing is changed for a duplicate.
pub(super) fn register(
    connection: &Connection,
    devices: Vec<NewDevice>,
    act: &Act,
    order: &TableOrder,
    rng: &mut impl CryptoRng,
) -> Result<Vec<Result<Registered, Duplicate>>, StoreError> {
    let mut admission = Admission::new(known(connection, &devices)?, count(connection)?, order);
    let mut deeds = Vec::new();
    let mut answers = Vec::with_capacity(devices.len());
    for device in devices {
        let admitted = admission.admit(device, rng);
        answers.push(admitted.as_ref().map(Registered::from).map_err(|duplicate| *duplicate));
        if let Ok(admitted) = admitted {
            insert(connection, &admitted)?;
            deeds.push(Deed::provisioned(&admitted.device));
        }
    }
    audit::append(connection, act, deeds)?;
    Ok(answers)
}

/// Redraws the tables and makes the keys of before worthless.
pub(super) fn renew(
    connection: &Connection,
    renewal: &Renewal,
    act: &Act,
    order: &TableOrder,
    rng: &mut impl CryptoRng,
) -> Result<Result<Registered, NotRenewed>, StoreError> {
    let mut device = match by_serial(connection, &renewal.serial)?.map(|device| device.renewable(renewal)) {
        None => return Ok(Err(NotRenewed::Unknown)),
        Some(Err(refused)) => return Ok(Err(refused)),
        Some(Ok(device)) => device,
    };
    device.tables = tables::draw(order.active(u64::try_from(count(connection)?).unwrap_or(0)), rng);
    connection
        .prepare_cached(
            "UPDATE device_registry SET tables = ?2, key_generation = ?3, min_token_version = ?4 WHERE id = ?1",
        )?
        .execute(params![device.id.0, device.tables.to_bytes(), device.generation.0, device.min_token_version])?;
    // It showed where the keys of before were.
    let dropped = connection.prepare_cached("DELETE FROM device_tpm WHERE device_id = ?1")?.execute([device.id.0])?;
    audit::append(connection, act, [Deed::reprovisioned(&device, dropped > 0)])?;
    Ok(Ok(Registered { tables: device.tables, generation: device.generation }))
}

pub(super) fn set_status(
    connection: &Connection,
    serial: &DeviceSerial,
    status: Status,
    act: &Act,
) -> Result<Changed, StoreError> {
    let Some(device) = by_serial(connection, serial)? else { return Ok(Changed::Unknown) };
    if device.status == status {
        return Ok(Changed::Already);
    }
    connection
        .prepare_cached("UPDATE device_registry SET status = ?2 WHERE id = ?1")?
        .execute(params![device.id.0, status])?;
    audit::append(connection, act, [Deed::status(serial.as_str(), status)])?;
    Ok(Changed::Yes)
}

pub(super) fn set_quota(
    connection: &Connection,
    serial: &DeviceSerial,
    quota: QuotaOverride,
    act: &Act,
) -> Result<Changed, StoreError> {
    let Some(device) = by_serial(connection, serial)? else { return Ok(Changed::Unknown) };
    if device.quota == quota {
        return Ok(Changed::Already);
    }
    connection
        .prepare_cached("UPDATE device_registry SET quota_warn = ?2, quota_stop = ?3 WHERE id = ?1")?
        .execute(params![device.id.0, quota.warn, quota.stop])?;
    audit::append(connection, act, [Deed::quota(serial.as_str(), quota)])?;
    Ok(Changed::Yes)
}

pub(super) fn by_serial(connection: &Connection, serial: &DeviceSerial) -> rusqlite::Result<Option<Device>> {
    connection.prepare_cached(&select("d.serial = ?1"))?.query_row([serial.as_str()], rows::device).optional()
}

/// What a verdict depends on, of the device with this fingerprint, as of the last merge.
pub(super) fn standing(connection: &Connection, digest: &NucDigest) -> rusqlite::Result<Option<Standing>> {
    let query = format!(
        "SELECT {STANDING} FROM device_registry AS d LEFT JOIN device_use AS u ON u.device_id = d.id
         WHERE d.nuc_digest = ?1"
    );
    connection.prepare_cached(&query)?.query_row([digest.0], rows::standing).optional()
}

/// The devices that acts after this row of the audit log have registered or changed.
pub(super) fn changed_since(connection: &Connection, sequence: u64) -> rusqlite::Result<Vec<DeviceId>> {
    connection
        .prepare_cached(
            "SELECT d.id FROM audit AS a JOIN device_registry AS d ON d.serial = a.subject
             WHERE a.sequence > ?1 AND a.act LIKE 'device.%'",
        )?
        .query_map([rows::Number(sequence)], |row| row.get(0).map(DeviceId))?
        .collect()
}

pub(super) fn page(connection: &Connection, page: Page) -> rusqlite::Result<Vec<Device>> {
    let condition = match page.which {
        Which::All => "d.id > ?1 ORDER BY d.id LIMIT ?2",
        Which::Revoked => "d.id > ?1 AND d.status = 'revoked' ORDER BY d.id LIMIT ?2",
    };
    let after = page.after.map_or(0, |id| id.0);
    connection.prepare_cached(&select(condition))?.query_map(params![after, page.limit], rows::device)?.collect()
}

pub(super) fn serial(connection: &Connection, id: DeviceId) -> rusqlite::Result<DeviceSerial> {
    connection.prepare_cached("SELECT serial FROM device_registry WHERE id = ?1")?.query_row([id.0], |row| {
        DeviceSerial::new(row.get::<_, String>(0)?)
            .map_err(|_| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(FromSqlError::InvalidType)))
    })
}

fn select(condition: &str) -> String {
    format!(
        "SELECT {STANDING}, {IDENTITY} FROM device_registry AS d LEFT JOIN device_use AS u ON u.device_id = d.id
         WHERE {condition}"
    )
}

/// Which of the serials and fingerprints asked for are there.
fn known(connection: &Connection, devices: &[NewDevice]) -> rusqlite::Result<Known> {
    let mut serial = connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM device_registry WHERE serial = ?1)")?;
    let mut digest =
        connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM device_registry WHERE nuc_digest = ?1)")?;
    let mut known = Known::default();
    for device in devices {
        if serial.query_row([device.serial.as_str()], |row| row.get(0))? {
            known.serials.insert(device.serial.clone());
        }
        if digest.query_row([device.nuc_digest.0], |row| row.get(0))? {
            known.nuc_digests.insert(device.nuc_digest.0);
        }
    }
    Ok(known)
}

fn insert(connection: &Connection, Admitted { id, device, tables }: &Admitted) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO device_registry
                 (id, serial, family, nuc_digest, tables, min_token_version, status, created_minute)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            id.0,
            device.serial.as_str(),
            device.family.as_str(),
            device.nuc_digest.0,
            tables.to_bytes(),
            device.min_token_version,
            Status::Active,
            device.created.0,
        ])?;
    if let Some(evidence) = &device.tpm {
        connection
            .prepare_cached("INSERT INTO device_tpm (device_id, evidence) VALUES (?1, ?2)")?
            .execute(params![id.0, evidence])?;
    }
    Ok(())
}

/// What a device's TPM showed.
pub(super) fn tpm_evidence(connection: &Connection, device: DeviceId) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("SELECT evidence FROM device_tpm WHERE device_id = ?1")?
        .query_row([device.0], |row| row.get(0))
        .optional()
}

/// Devices registered so far. Rows are never deleted, so the last one's number is their count.
fn count(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("SELECT coalesce(max(id), 0) FROM device_registry")?.query_row([], |row| row.get(0))
}
