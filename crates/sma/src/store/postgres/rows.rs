//! Values of this crate as PostgreSQL's, and the rows that stand alone.
//!
//! For: the store. A row that cannot be read is an error, never a verdict. Not for: devices and keys.

use birthmark_core::ids::AuthorityId;
use birthmark_core::time::Minute;
use deadpool_postgres::{GenericClient, Transaction};
use tokio_postgres::Row;

use crate::counters::{Counter, CounterDigest, Highest, UsedCounter};
use crate::devices::{Device, DeviceId, Standing, Status, TokenVersion};
use crate::keys::{KeyGeneration, NucDigest};
use crate::quota::{QuotaOverride, Tally};
use crate::replay::Day;
use crate::store::{Counts, Installation, Installed, StoreError};
use crate::tables::AssignedTables;

/// The columns of [`standing`].
pub(super) const STANDING: &str = "id, status, tables, min_token_version, key_generation, quota_warn, quota_stop, day, \
                                   day_count, highest_counter";
/// The columns of [`device`] are these after those.
pub(super) const IDENTITY: &str = "serial, family, nuc_digest, created_minute";

pub(super) fn standing(row: &Row) -> Result<Standing, StoreError> {
    Ok(Standing {
        id: DeviceId(row.try_get(0)?),
        status: Status::from_text(row.try_get(1)?).ok_or(StoreError::Damaged("the status of a device"))?,
        tables: AssignedTables::from_bytes(row.try_get(2)?).ok_or(StoreError::Damaged("the tables of a device"))?,
        min_token_version: u8::try_from(row.try_get::<_, i16>(3)?)
            .ok()
            .and_then(TokenVersion::from_number)
            .ok_or(StoreError::Damaged("the token version of a device"))?,
        generation: KeyGeneration(unsigned(row, 4)?),
        quota: QuotaOverride { warn: optional(row, 5)?, stop: optional(row, 6)? },
        tally: Tally { day: Day(unsigned(row, 7)?), count: unsigned(row, 8)? },
        highest: Highest::from_value(unsigned(row, 9)?).ok_or(StoreError::Damaged("the counter of a device"))?,
    })
}

pub(super) fn device(row: &Row) -> Result<Device, StoreError> {
    let Standing { id, status, tables, min_token_version, generation, quota, tally, highest } = standing(row)?;
    Ok(Device {
        id,
        serial: row.try_get::<_, &str>(10)?.parse().map_err(|_| StoreError::Damaged("the serial of a device"))?,
        family: row.try_get::<_, &str>(11)?.parse().map_err(|_| StoreError::Damaged("the family of a device"))?,
        nuc_digest: NucDigest(bytes(row, 12)?),
        created: Minute(unsigned(row, 13)?),
        tables,
        min_token_version,
        status,
        generation,
        quota,
        tally,
        highest,
    })
}

/// Counter and digest from these columns.
pub(super) fn used_counter(row: &Row, counter: usize, digest: usize) -> Result<UsedCounter, StoreError> {
    Ok(UsedCounter {
        counter: Counter::new(unsigned(row, counter)?).ok_or(StoreError::Damaged("a used counter"))?,
        digest: CounterDigest::from_bytes(bytes(row, digest)?),
    })
}

pub(super) fn bytes<const N: usize>(row: &Row, column: usize) -> Result<[u8; N], StoreError> {
    row.try_get::<_, &[u8]>(column)?.try_into().map_err(|_| StoreError::Damaged("a value of fixed length"))
}

pub(super) fn unsigned<T: TryFrom<i64>>(row: &Row, column: usize) -> Result<T, StoreError> {
    T::try_from(row.try_get(column)?).map_err(|_| StoreError::Damaged("a number"))
}

pub(super) fn optional<T: TryFrom<i64>>(row: &Row, column: usize) -> Result<Option<T>, StoreError> {
    let number: Option<i64> = row.try_get(column)?;
    number.map(|number| T::try_from(number).map_err(|_| StoreError::Damaged("a number"))).transpose()
}

/// As the database's signed integer; what does not fit is nothing that this program has.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) async fn installation(client: &impl GenericClient) -> Result<Option<Installation>, StoreError> {
    let row =
        client.query_opt("SELECT authority_id, key_check, created_minute FROM authority WHERE id = 1", &[]).await?;
    row.map(|row| {
        let authority_id = AuthorityId::new(row.try_get::<_, String>(0)?);
        let authority_id = authority_id.map_err(|_| StoreError::Damaged("the authority's name"))?;
        Ok(Installation { authority_id, key_check: bytes(&row, 1)?, created: Minute(unsigned(&row, 2)?) })
    })
    .transpose()
}

/// Never over another, be it unused: its key may be in use elsewhere.
pub(super) async fn install(
    transaction: &Transaction<'_>,
    installation: Installation,
) -> Result<Installed, StoreError> {
    let insert = "INSERT INTO authority (id, authority_id, key_check, created_minute) VALUES (1, $1, $2, $3)
                  ON CONFLICT (id) DO NOTHING";
    let Installation { authority_id, key_check, created } = installation;
    let created = i64::from(created.0);
    let inserted = transaction.execute(insert, &[&authority_id.as_str(), &key_check.as_slice(), &created]).await?;
    Ok(if inserted == 1 { Installed::Yes } else { Installed::InUse })
}

pub(super) async fn counts(client: &impl GenericClient) -> Result<Counts, StoreError> {
    let query = "SELECT (SELECT coalesce(max(id), 0) FROM device_registry),
                        (SELECT count(*) FROM device_registry WHERE status = 'revoked'),
                        (SELECT coalesce(max(sequence), 0) FROM audit)";
    let statement = client.prepare_cached(query).await?;
    let row = client.query_one(&statement, &[]).await?;
    Ok(Counts { devices: unsigned(&row, 0)?, revoked: unsigned(&row, 1)?, audit_rows: unsigned(&row, 2)? })
}
