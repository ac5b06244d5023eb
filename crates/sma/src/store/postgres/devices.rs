//! The device registry in PostgreSQL.
//!
//! For: the store. Not for: judging (`judge`), or deciding on a registration (`devices`).

use birthmark_core::ids::DeviceSerial;
use deadpool_postgres::{GenericClient, Transaction};
use rand_core::CryptoRng;

use super::audit;
use super::rows::{self, IDENTITY, STANDING};
use crate::audit::{Act, Deed};
use crate::devices::{
    Admission, Admitted, Changed, Device, DeviceId, Duplicate, Known, NewDevice, NotRenewed, Page, Registered, Renewal,
    Status, Which,
};
use crate::quota::QuotaOverride;
use crate::store::StoreError;
use crate::tables::{self, TableOrder};

/// Draws tables for the cameras and stores their rows. Nothing is changed for a duplicate.
pub(super) async fn register(
    transaction: &Transaction<'_>,
    devices: Vec<NewDevice>,
    act: Act,
    order: &TableOrder,
    mut rng: impl CryptoRng,
) -> Result<Vec<Result<Registered, Duplicate>>, StoreError> {
    let known = known(transaction, &devices).await?;
    let mut admission = Admission::new(known, count(transaction).await?, order);
    let decided: Vec<_> = devices.into_iter().map(|device| admission.admit(device, &mut rng)).collect();
    let admitted: Vec<_> = decided.iter().filter_map(|decision| decision.as_ref().ok()).collect();
    if !admitted.is_empty() {
        insert(transaction, &admitted).await?;
        let deeds = admitted.iter().map(|admitted| Deed::provisioned(&admitted.device)).collect();
        audit::append(transaction, act, deeds).await?;
    }
    Ok(decided.iter().map(|decision| decision.as_ref().map(Registered::from).map_err(|duplicate| *duplicate)).collect())
}

/// Redraws the tables and makes the keys of before worthless.
pub(super) async fn renew(
    transaction: &Transaction<'_>,
    renewal: Renewal,
    act: Act,
    order: &TableOrder,
    mut rng: impl CryptoRng,
) -> Result<Result<Registered, NotRenewed>, StoreError> {
    let found = by_serial(transaction, &renewal.serial).await?;
    let mut device = match found.map(|device| device.renewable(&renewal)) {
        None => return Ok(Err(NotRenewed::Unknown)),
        Some(Err(refused)) => return Ok(Err(refused)),
        Some(Ok(device)) => device,
    };
    let devices = u64::try_from(count(transaction).await?).unwrap_or(0);
    device.tables = tables::draw(order.active(devices), &mut rng);
    let update = "UPDATE device_registry SET tables = $2, key_generation = $3, min_token_version = $4 WHERE id = $1";
    let (generation, version) = (i64::from(device.generation.0), i16::from(device.min_token_version.number()));
    transaction.execute(update, &[&device.id.0, &device.tables.to_bytes(), &generation, &version]).await?;
    // It showed where the keys of before were.
    let dropped = transaction.execute("DELETE FROM device_tpm WHERE device_id = $1", &[&device.id.0]).await?;
    audit::append(transaction, act, vec![Deed::reprovisioned(&device, dropped > 0)]).await?;
    Ok(Ok(Registered { tables: device.tables, generation: device.generation }))
}

/// Waits for those that are judging a token of this device; who judges later sees the new status.
pub(super) async fn set_status(
    transaction: &Transaction<'_>,
    serial: DeviceSerial,
    status: Status,
    act: Act,
) -> Result<Changed, StoreError> {
    let Some(device) = by_serial(transaction, &serial).await? else { return Ok(Changed::Unknown) };
    if device.status == status {
        return Ok(Changed::Already);
    }
    let update = "UPDATE device_registry SET status = $2 WHERE id = $1";
    transaction.execute(update, &[&device.id.0, &status.text()]).await?;
    audit::append(transaction, act, vec![Deed::status(serial.as_str(), status)]).await?;
    Ok(Changed::Yes)
}

pub(super) async fn set_quota(
    transaction: &Transaction<'_>,
    serial: DeviceSerial,
    quota: QuotaOverride,
    act: Act,
) -> Result<Changed, StoreError> {
    let Some(device) = by_serial(transaction, &serial).await? else { return Ok(Changed::Unknown) };
    if device.quota == quota {
        return Ok(Changed::Already);
    }
    let update = "UPDATE device_registry SET quota_warn = $2, quota_stop = $3 WHERE id = $1";
    let (warn, stop) = (quota.warn.map(i64::from), quota.stop.map(i64::from));
    transaction.execute(update, &[&device.id.0, &warn, &stop]).await?;
    audit::append(transaction, act, vec![Deed::quota(serial.as_str(), quota)]).await?;
    Ok(Changed::Yes)
}

pub(super) async fn by_serial(
    client: &impl GenericClient,
    serial: &DeviceSerial,
) -> Result<Option<Device>, StoreError> {
    let statement = client.prepare_cached(&select("serial = $1")).await?;
    client.query_opt(&statement, &[&serial.as_str()]).await?.as_ref().map(rows::device).transpose()
}

pub(super) async fn page(client: &impl GenericClient, page: Page) -> Result<Vec<Device>, StoreError> {
    let condition = match page.which {
        Which::All => "id > $1 ORDER BY id LIMIT $2",
        Which::Revoked => "id > $1 AND status = 'revoked' ORDER BY id LIMIT $2",
    };
    let after = page.after.map_or(0, |id| id.0);
    let statement = client.prepare_cached(&select(condition)).await?;
    client.query(&statement, &[&after, &i64::from(page.limit)]).await?.iter().map(rows::device).collect()
}

/// Their serials, in no order.
pub(super) async fn serials(
    client: &impl GenericClient,
    ids: &[DeviceId],
) -> Result<Vec<(DeviceId, DeviceSerial)>, StoreError> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let rows = client.query("SELECT id, serial FROM device_registry WHERE id = ANY($1)", &[&ids]).await?;
    rows.iter()
        .map(|row| {
            let serial = row.try_get::<_, &str>(1)?.parse();
            Ok((DeviceId(row.try_get(0)?), serial.map_err(|_| StoreError::Damaged("the serial of a device"))?))
        })
        .collect()
}

fn select(condition: &str) -> String {
    format!("SELECT {STANDING}, {IDENTITY} FROM device_registry WHERE {condition}")
}

/// Which of the serials and fingerprints asked for are there.
async fn known(transaction: &Transaction<'_>, devices: &[NewDevice]) -> Result<Known, StoreError> {
    let serials: Vec<&str> = devices.iter().map(|device| device.serial.as_str()).collect();
    let digests: Vec<&[u8]> = devices.iter().map(|device| device.nuc_digest.0.as_slice()).collect();
    let mut known = Known::default();
    for row in transaction.query("SELECT serial FROM device_registry WHERE serial = ANY($1)", &[&serials]).await? {
        let serial = row.try_get::<_, &str>(0)?.parse();
        known.serials.insert(serial.map_err(|_| StoreError::Damaged("the serial of a device"))?);
    }
    let query = "SELECT nuc_digest FROM device_registry WHERE nuc_digest = ANY($1)";
    for row in transaction.query(query, &[&digests]).await? {
        known.nuc_digests.insert(rows::bytes(&row, 0)?);
    }
    Ok(known)
}

async fn insert(transaction: &Transaction<'_>, admitted: &[&Admitted]) -> Result<(), StoreError> {
    let devices = || admitted.iter().map(|admitted| &admitted.device);
    let ids: Vec<i64> = admitted.iter().map(|admitted| admitted.id.0).collect();
    let serials: Vec<&str> = devices().map(|device| device.serial.as_str()).collect();
    let families: Vec<&str> = devices().map(|device| device.family.as_str()).collect();
    let digests: Vec<&[u8]> = devices().map(|device| device.nuc_digest.0.as_slice()).collect();
    let tables: Vec<Vec<u8>> = admitted.iter().map(|admitted| admitted.tables.to_bytes()).collect();
    let versions: Vec<i16> = devices().map(|device| i16::from(device.min_token_version.number())).collect();
    let created: Vec<i64> = devices().map(|device| i64::from(device.created.0)).collect();
    let insert = "INSERT INTO device_registry
                      (id, serial, family, nuc_digest, tables, min_token_version, status, created_minute)
                  SELECT id, serial, family, nuc_digest, tables, version, 'active', created
                  FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bytea[], $5::bytea[], $6::smallint[],
                              $7::bigint[]) AS new (id, serial, family, nuc_digest, tables, version, created)";
    let statement = transaction.prepare_cached(insert).await?;
    transaction.execute(&statement, &[&ids, &serials, &families, &digests, &tables, &versions, &created]).await?;
    for Admitted { id, device, .. } in admitted {
        if let Some(evidence) = &device.tpm {
            let insert = "INSERT INTO device_tpm (device_id, evidence) VALUES ($1, $2)";
            transaction.execute(insert, &[&id.0, evidence]).await?;
        }
    }
    Ok(())
}

/// What a device's TPM showed.
pub(super) async fn tpm_evidence(client: &impl GenericClient, device: DeviceId) -> Result<Option<String>, StoreError> {
    let found = client.query_opt("SELECT evidence FROM device_tpm WHERE device_id = $1", &[&device.0]).await?;
    Ok(found.map(|row| row.try_get(0)).transpose()?)
}

/// Devices registered so far. Rows are never deleted, so the last one's number is their count.
async fn count(transaction: &Transaction<'_>) -> Result<i64, StoreError> {
    Ok(transaction.query_one("SELECT coalesce(max(id), 0) FROM device_registry", &[]).await?.try_get(0)?)
}
