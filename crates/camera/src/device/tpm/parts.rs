//! A camera's keys in parts that a TPM can seal, and back.
//!
//! For: the order that `element::stored` documents. Pure. Not for: sealing.

use birthmark_core::api::provision::{DeviceConfig, SecretBase64, TableGrant};
use birthmark_core::base64;
use birthmark_core::ids::TableId;
use zeroize::Zeroizing;

use crate::device::MAX_TABLES;
use crate::device::element::{ElementError, ElementKind, SealedConfig};

/// Refuses what this program cannot have written.
pub(super) fn check(config: &SealedConfig) -> Result<(), ElementError> {
    let sealed = &config.sealed;
    let keys = config.tables.len() + usize::from(sealed.device_key);
    let form = |holds: bool, what| if holds { Ok(()) } else { Err(ElementError::Form(what)) };
    form(sealed.element == ElementKind::Tpm.as_str(), "they are not in a TPM")?;
    form(sealed.version == VERSION, "their form is of a later version than this program knows")?;
    form((1..=MAX_TABLES).contains(&config.tables.len()), "no table, or too many")?;
    form(config.tables.contains(&config.table_id), "the camera's first table is missing")?;
    form(sealed.objects.len() == keys.div_ceil(KEYS_A_PART), "the number of objects is not that of the keys")
}

/// The tables in the order of their keys.
pub(super) fn tables(config: &DeviceConfig) -> Vec<TableId> {
    match config.tables.as_slice() {
        [] => vec![config.table_id],
        tables => tables.iter().map(|table| table.table_id).collect(),
    }
}

/// The keys.
pub(super) fn split(config: &DeviceConfig) -> Result<Vec<Zeroizing<Vec<u8>>>, ElementError> {
    let own = [&config.encryption_key];
    let tables = config.tables.iter().map(|table| &table.encryption_key);
    let keys = config.device_key.iter().chain(own.into_iter().filter(|_| config.tables.is_empty())).chain(tables);
    let keys =
        keys.map(|key| base64::decode_array::<KEY>(&key.0).map(Zeroizing::new)).collect::<Result<Vec<_>, _>>()?;
    let part = |keys: &[Zeroizing<[u8; KEY]>]| {
        // Of its full size at once: growing would leave unwiped copies behind.
        let mut part = Zeroizing::new(Vec::with_capacity(KEYS_A_PART * KEY));
        for key in keys {
            part.extend_from_slice(key.as_slice());
        }
        part
    };
    Ok(keys.chunks(KEYS_A_PART).map(part).collect())
}

/// The configuration with its keys.
pub(super) fn join(config: SealedConfig, parts: &[Zeroizing<Vec<u8>>]) -> Result<DeviceConfig, ElementError> {
    let mut keys = parts.iter().flat_map(|part| part.chunks(KEY));
    let mut next = || {
        let key = keys.next().filter(|key| key.len() == KEY).ok_or(ElementError::Form("a key is missing"))?;
        Ok::<_, ElementError>(SecretBase64(base64::encode(key)))
    };
    let device_key = if config.sealed.device_key { Some(next()?) } else { None };
    let grants = config.tables.iter().map(|table_id| Ok(TableGrant { table_id: *table_id, encryption_key: next()? }));
    let tables = grants.collect::<Result<Vec<_>, ElementError>>()?;
    if keys.next().is_some() {
        return Err(ElementError::Form("a key too many"));
    }
    let own = tables.iter().find(|table| table.table_id == config.table_id);
    let encryption_key = own.ok_or(ElementError::Form("the camera's first table is missing"))?.encryption_key.clone();
    Ok(DeviceConfig {
        device_serial: config.device_serial,
        table_id: config.table_id,
        encryption_key,
        aggregator_url: config.aggregator_url,
        manufacturer_cert: config.manufacturer_cert,
        tables,
        device_key,
        network: config.network,
        device_certificate: config.device_certificate,
    })
}

pub(super) const VERSION: u8 = 1;
const KEY: usize = 32;
/// A TPM seals 128 bytes at least and often at most.
const KEYS_A_PART: usize = 4;

#[cfg(test)]
mod tests;
