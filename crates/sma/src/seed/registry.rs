//! `device_registry.json`.

use std::collections::{BTreeMap, HashMap};

use birthmark_core::hex;
use birthmark_core::ids::{DeviceFamily, DeviceSerial, TableId};
use birthmark_core::json::JsonError;
use birthmark_core::token::NucHash;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::devices::{Device, Status, TokenVersion};
use crate::tables::AssignedTables;

/// One device of the file.
#[derive(Debug)]
pub(crate) struct SeedDevice {
    pub(crate) serial: DeviceSerial,
    pub(crate) family: DeviceFamily,
    pub(crate) fingerprint: Fingerprint,
    /// None where the file has none.
    pub(crate) tables: Option<AssignedTables>,
    pub(crate) min_token_version: TokenVersion,
    pub(crate) status: Status,
}

/// What tells a device's sensor.
pub(crate) enum Fingerprint {
    /// In the clear.
    Hash(NucHash),
    /// Under the master key of the authority that wrote the file.
    Digest([u8; 32]),
}

/// Why a registry's file was refused as a whole.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Not the seed's JSON.
    #[error("not the seed's device_registry.json: {0}")]
    Json(#[from] JsonError),
    /// One of its devices.
    #[error("device {entry}: {cause}")]
    Device {
        /// 1-based.
        entry: usize,
        /// What is wrong with it.
        cause: RowError,
    },
}

/// What is wrong with a device of the file. Carries no fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// Another length or alphabet.
    #[error("device_serial must be 1 to 64 printable ASCII characters")]
    Serial,
    /// Another length or alphabet.
    #[error("device_family must be 1 to 128 printable ASCII characters")]
    Family,
    /// None, or none that this authority can read.
    #[error("it has no nuc_hash of 64 hex digits, and no nuc_digest under this authority's master key")]
    Fingerprint,
    /// The file does not say which generation's keys would have to be derived anew.
    #[error("it was provisioned anew since, which only a copy of the database carries over")]
    Generation,
    /// Not a few distinct numbers below 2,500.
    #[error("its tables are not 1 to 64 distinct numbers from 0 to 2499")]
    Tables,
    /// Neither 1 nor 2.
    #[error("min_token_version must be 1 or 2")]
    TokenVersion,
    /// Which camera would it be?
    #[error("its serial or its fingerprint is there already, as that of device {0}")]
    Twice(usize),
}

#[derive(Serialize, Deserialize)]
struct File {
    devices: Vec<Entry>,
    #[serde(default)]
    total_devices: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    birthmark: Option<Ours>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    device_serial: String,
    #[serde(default)]
    table_assignments: Vec<u64>,
    device_family: String,
    #[serde(default)]
    provisioned_at: String,
    #[serde(default)]
    device_secret: Option<String>,
    #[serde(default)]
    key_table_indices: Option<Vec<u64>>,
    #[serde(default)]
    is_blacklisted: bool,
    #[serde(default)]
    blacklisted_at: Option<String>,
    #[serde(default)]
    nuc_hash: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Ours {
    key_check: String,
    devices: BTreeMap<String, OurEntry>,
}

#[derive(Serialize, Deserialize)]
struct OurEntry {
    nuc_digest: String,
    min_token_version: u8,
    key_generation: u32,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.device_secret.zeroize();
        self.nuc_hash.zeroize();
    }
}

/// Reads `device_registry.json`. `key_check`: this authority's.
pub(crate) fn read_registry(json: &[u8], key_check: &[u8; 16]) -> Result<Vec<SeedDevice>, RegistryError> {
    let file: File = birthmark_core::json::from_slice(json)?;
    let ours = file.birthmark.filter(|ours| hex::decode_array(&ours.key_check).as_ref() == Ok(key_check));
    let (mut serials, mut fingerprints) = (HashMap::new(), HashMap::new());
    let mut devices = Vec::with_capacity(file.devices.len());
    for (at, entry) in file.devices.iter().enumerate() {
        let entry_number = at + 1;
        let failed = |cause| RegistryError::Device { entry: entry_number, cause };
        let own = ours.as_ref().and_then(|ours| ours.devices.get(&entry.device_serial));
        let device = device(entry, own).map_err(failed)?;
        let fingerprint = match &device.fingerprint {
            Fingerprint::Hash(hash) => (false, *hash.expose()),
            Fingerprint::Digest(digest) => (true, *digest),
        };
        let first = serials.insert(device.serial.clone(), entry_number);
        if let Some(first) = first.or(fingerprints.insert(fingerprint, entry_number)) {
            return Err(failed(RowError::Twice(first)));
        }
        devices.push(device);
    }
    Ok(devices)
}

fn device(entry: &Entry, own: Option<&OurEntry>) -> Result<SeedDevice, RowError> {
    let serial = DeviceSerial::new(&entry.device_serial).map_err(|_| RowError::Serial)?;
    let family = DeviceFamily::new(&entry.device_family).map_err(|_| RowError::Family)?;
    let given = [&entry.nuc_hash, &entry.device_secret].into_iter().flatten().find(|text| !text.is_empty());
    let fingerprint = match (given, own) {
        (Some(text), _) => Fingerprint::Hash(NucHash::from_hex(text).map_err(|_| RowError::Fingerprint)?),
        (None, Some(own)) if own.key_generation > 0 => return Err(RowError::Generation),
        (None, Some(own)) => {
            Fingerprint::Digest(hex::decode_array(&own.nuc_digest).map_err(|_| RowError::Fingerprint)?)
        }
        (None, None) => return Err(RowError::Fingerprint),
    };
    let newer = entry.key_table_indices.as_ref().filter(|tables| !tables.is_empty());
    let version = own.map_or(1, |own| own.min_token_version);
    Ok(SeedDevice {
        serial,
        family,
        fingerprint,
        tables: assigned(newer.unwrap_or(&entry.table_assignments))?,
        min_token_version: TokenVersion::from_number(version).ok_or(RowError::TokenVersion)?,
        status: if entry.is_blacklisted { Status::Revoked } else { Status::Active },
    })
}

fn assigned(numbers: &[u64]) -> Result<Option<AssignedTables>, RowError> {
    if numbers.is_empty() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    for (at, number) in numbers.iter().enumerate() {
        let id = u16::try_from(*number).ok().and_then(|id| TableId::new(id).ok()).ok_or(RowError::Tables)?;
        if at >= MAX_TABLES || numbers.iter().take(at).any(|earlier| earlier == number) {
            return Err(RowError::Tables);
        }
        bytes.extend_from_slice(&id.value().to_be_bytes());
    }
    AssignedTables::from_bytes(&bytes).map(Some).ok_or(RowError::Tables)
}

/// The devices as `device_registry.json` has them.
pub(crate) fn write_registry(devices: &[Device], key_check: &[u8; 16]) -> Result<Vec<u8>, serde_json::Error> {
    let entry = |device: &Device| {
        let tables: Vec<u64> = device.tables.iter().map(|id| u64::from(id.value())).collect();
        let revoked = device.status == Status::Revoked;
        let provisioned_at = timestamp(device.created.start().0);
        Entry {
            device_serial: device.serial.to_string(),
            table_assignments: tables.clone(),
            device_family: device.family.to_string(),
            // When it was revoked stands in the audit log; the seed's program wants some time here.
            blacklisted_at: revoked.then(|| provisioned_at.clone()),
            provisioned_at,
            device_secret: Some(String::new()),
            key_table_indices: Some(tables),
            is_blacklisted: revoked,
            nuc_hash: None,
        }
    };
    let own = |device: &Device| {
        let own = OurEntry {
            nuc_digest: hex::encode(device.nuc_digest.0),
            min_token_version: device.min_token_version.number(),
            key_generation: device.generation.0,
        };
        (device.serial.to_string(), own)
    };
    let ours = Ours { key_check: hex::encode(key_check), devices: devices.iter().map(own).collect() };
    let file =
        File { devices: devices.iter().map(entry).collect(), total_devices: devices.len(), birthmark: Some(ours) };
    serde_json::to_vec_pretty(&file)
}

/// ISO 8601 in UTC without a zone, as Python's `isoformat` writes it.
fn timestamp(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map(|time| time.strftime("%Y-%m-%dT%H:%M:%S").to_string()).unwrap_or_default()
}

/// What a camera takes.
const MAX_TABLES: usize = 64;

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprint(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use birthmark_core::time::Minute;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::counters::Highest;
    use crate::devices::DeviceId;
    use crate::keys::{KeyGeneration, NucDigest};
    use crate::quota::{QuotaOverride, Tally};

    const CHECK: [u8; 16] = [9; 16];

    /// As the seed's program writes it.
    fn seeds() -> Value {
        json!({"device_serial": "TEST-CAMERA-001", "table_assignments": [4, 5, 7], "device_family": "Raspberry Pi",
               "provisioned_at": "2025-11-15T20:24:41.201985", "device_secret": "53".repeat(32),
               "key_table_indices": [], "device_certificate": "-----BEGIN", "device_public_key": "",
               "is_blacklisted": false, "blacklisted_at": null, "blacklist_reason": null, "nuc_hash": "53".repeat(32)})
    }

    fn read(devices: &[Value]) -> Result<Vec<SeedDevice>, RegistryError> {
        let file = json!({"devices": devices, "total_devices": devices.len(), "last_updated": "2025-11-20T18:56:48"});
        read_registry(file.to_string().as_bytes(), &CHECK)
    }

    fn tables(device: &SeedDevice) -> Vec<u16> {
        device.tables.iter().flat_map(AssignedTables::iter).map(TableId::value).collect()
    }

    fn registered(number: u32, generation: u32, status: Status) -> Device {
        Device {
            id: DeviceId(i64::from(number)),
            serial: DeviceSerial::new(format!("CAM \"{number}")).unwrap(),
            family: DeviceFamily::new("Raspberry Pi HQ Camera").unwrap(),
            nuc_digest: NucDigest([u8::try_from(number).unwrap(); 32]),
            tables: AssignedTables::from_bytes(&[0, 5, 9, 1, 0, 2]).unwrap(),
            min_token_version: TokenVersion::Two,
            status,
            created: Minute(28_887_660),
            generation: KeyGeneration(generation),
            quota: QuotaOverride::default(),
            tally: Tally::default(),
            highest: Highest::default(),
        }
    }

    #[test]
    fn seeds_devices_of_both_phases_are_read() {
        let (mut second, mut third) = (seeds(), seeds());
        second["device_serial"] = json!("TEST-iOS-1");
        second["nuc_hash"] = Value::Null;
        second["device_secret"] = json!("52".repeat(32));
        second["key_table_indices"] = json!([471, 1094, 2186]);
        second["is_blacklisted"] = json!(true);
        third["device_serial"] = json!("BARE");
        third["nuc_hash"] = json!("51".repeat(32));
        third["table_assignments"] = json!([]);
        let devices = read(&[seeds(), second, third]).unwrap();
        let [first, second, third] = devices.as_slice() else { panic!("{devices:?}") };
        assert_eq!((first.serial.as_str(), first.family.as_str()), ("TEST-CAMERA-001", "Raspberry Pi"));
        assert_eq!(
            (tables(first), first.status, first.min_token_version),
            (vec![4, 5, 7], Status::Active, TokenVersion::One)
        );
        assert!(matches!(&first.fingerprint, Fingerprint::Hash(hash) if *hash.expose() == [0x53; 32]));
        assert!(matches!(&second.fingerprint, Fingerprint::Hash(hash) if *hash.expose() == [0x52; 32]));
        assert_eq!((tables(second), second.status), (vec![471, 1094, 2186], Status::Revoked));
        assert!(third.tables.is_none());
    }

    #[test]
    fn other_devices_are_refused_and_the_place_is_named() {
        let is = |field: &str, value: Value, cause: RowError| {
            let (mut bad, mut first) = (seeds(), seeds());
            first["device_serial"] = json!("FIRST");
            first["nuc_hash"] = json!("01".repeat(32));
            bad[field] = value.clone();
            match read(&[first, bad]) {
                Err(RegistryError::Device { entry: 2, cause: got }) => assert_eq!(got, cause, "{field}: {value}"),
                other => panic!("{field}: {value}: {other:?}"),
            }
        };
        is("device_serial", json!(""), RowError::Serial);
        is("device_serial", json!("S".repeat(65)), RowError::Serial);
        is("device_serial", json!("FIRST"), RowError::Twice(1));
        is("device_family", json!(""), RowError::Family);
        is("nuc_hash", json!("zz"), RowError::Fingerprint);
        is("nuc_hash", json!("01".repeat(32)), RowError::Twice(1));
        is("table_assignments", json!([1, 2, 2500]), RowError::Tables);
        is("table_assignments", json!([1, 2, 1]), RowError::Tables);
        is("key_table_indices", json!((0..65).collect::<Vec<_>>()), RowError::Tables);
        let mut none = seeds();
        none["nuc_hash"] = Value::Null;
        none["device_secret"] = json!("");
        assert!(matches!(read(&[none]), Err(RegistryError::Device { entry: 1, cause: RowError::Fingerprint })));
        for bad in ["", "[]", "{}", r#"{"devices": [{}]}"#, r#"{"devices": [], "devices": []}"#] {
            assert!(matches!(read_registry(bad.as_bytes(), &CHECK), Err(RegistryError::Json(_))), "{bad}");
        }
    }

    #[test]
    fn written_registry_reads_under_its_master_key_and_no_other() {
        let devices = [registered(1, 0, Status::Active), registered(2, 0, Status::Revoked)];
        let written = write_registry(&devices, &CHECK).unwrap();
        let read = read_registry(&written, &CHECK).unwrap();
        for (device, read) in devices.iter().zip(&read) {
            assert_eq!((&read.serial, &read.family, read.status), (&device.serial, &device.family, device.status));
            assert_eq!((read.tables.as_ref(), read.min_token_version), (Some(&device.tables), TokenVersion::Two));
            assert!(matches!(read.fingerprint, Fingerprint::Digest(digest) if digest == device.nuc_digest.0));
        }
        let other = read_registry(&written, &[8; 16]);
        assert!(matches!(other, Err(RegistryError::Device { entry: 1, cause: RowError::Fingerprint })));
        let anew = write_registry(&[registered(1, 1, Status::Active)], &CHECK).unwrap();
        let anew = read_registry(&anew, &CHECK);
        assert!(matches!(anew, Err(RegistryError::Device { entry: 1, cause: RowError::Generation })));
        let text = String::from_utf8(written).unwrap();
        assert!(text.contains("\"provisioned_at\": \"2024-12-03T21:00:00\""), "{text}");
    }

    proptest! {
        #[test]
        fn no_content_panics(text in r#"[{}\[\]",:a-z0-9_ ]{0,60}"#, value in any::<i64>()) {
            let _ = read_registry(text.as_bytes(), &CHECK);
            let mut device = seeds();
            device["table_assignments"] = json!([value]);
            let expected = (0..2500).contains(&value);
            prop_assert_eq!(read(&[device]).is_ok(), expected);
        }
    }
}
