//! `device_config.json` as it lies on disk: with its keys, or with keys that only one TPM can open.
//!
//! For: reading and writing both forms. Not for: sealing (`tpm`), or what a configuration must hold (`device`).
//!
//! Format of the second form, `docs/PROTOCOL.md` section 4:
//! ```text
//! {"device_serial", "table_id", "aggregator_url", "manufacturer_cert", "tables": [42, …],
//!  "network", "device_certificate",
//!  "sealed": {"element": "tpm", "version": 1, "storage_key": "<name, hex>", "endorsement_key": "<name, hex>",
//!             "counter": "<NV index, 8 hex>" or null, "device_key": true,
//!             "objects": [{"public": "<base64 TPMT_PUBLIC>", "private": "<base64 TPM2B_PRIVATE's buffer>"}, …]}}
//! ```
//! The objects hold, in order and at most 128 bytes each: the device key, if `device_key`, then the keys of
//! `tables` in their order, 32 bytes each.

use std::io;
use std::path::Path;

use birthmark_core::api::provision::{AuthorityReference, DeviceConfig};
use birthmark_core::ids::{DeviceSerial, TableId};
use birthmark_core::json;
use birthmark_service::secret_file::{self, SecretFileError};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::ElementKind;
use crate::device::{DeviceError, MAX_CONFIG};

/// A configuration in one of its two forms.
#[derive(Clone, Debug)]
pub enum Stored {
    /// As the authority handed it out.
    Clear(Box<DeviceConfig>),
    /// Without its keys, which are in `sealed`.
    Sealed(Box<SealedConfig>),
}

/// A configuration without its keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedConfig {
    /// The camera's serial.
    pub device_serial: DeviceSerial,
    /// The table that stands first.
    pub table_id: TableId,
    /// Where to submit.
    pub aggregator_url: String,
    /// Who vouches.
    pub manufacturer_cert: AuthorityReference,
    /// All tables of the camera, in the order of their sealed keys.
    pub tables: Vec<TableId>,
    /// As handed out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<serde_json::Value>,
    /// As handed out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_certificate: Option<String>,
    /// The keys.
    pub sealed: SealedKeys,
}

/// Keys that one TPM can open, and which one that is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedKeys {
    /// `tpm`.
    pub element: String,
    /// 1.
    pub version: u8,
    /// The TPM's name (TPM 2.0 part 1, section 16) of the key under which the objects are sealed: the
    /// storage primary key, gone when the TPM is cleared.
    pub storage_key: String,
    /// The name of its endorsement key, which stays: by it a TPM is told from another.
    pub endorsement_key: String,
    /// The NV index that counts tokens, if version 2 is sealed.
    pub counter: Option<String>,
    /// Whether the first 32 bytes are the device key.
    pub device_key: bool,
    /// What the TPM opens.
    pub objects: Vec<SealedObject>,
}

/// One sealed object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedObject {
    /// Its public area.
    pub public: String,
    /// Its sensitive area, encrypted by the TPM.
    pub private: String,
}

/// Tells the two forms apart.
#[derive(Deserialize)]
struct Probe {
    sealed: Option<IgnoredAny>,
}

impl Stored {
    /// Reads the file as far as JSON goes.
    pub fn read(path: &Path) -> Result<Self, DeviceError> {
        let bytes = secret_file::read(path, MAX_CONFIG).map_err(|error| match error {
            SecretFileError::Io { path, source } if source.kind() == io::ErrorKind::NotFound => {
                DeviceError::NotProvisioned { path }
            }
            other => other.into(),
        })?;
        Self::parse(&bytes).map_err(|cause| DeviceError::Json { path: path.to_owned(), cause })
    }

    fn parse(bytes: &[u8]) -> Result<Self, json::JsonError> {
        let probe: Probe = json::from_slice(bytes)?;
        if probe.sealed.is_some() {
            json::from_slice(bytes).map(Box::new).map(Self::Sealed)
        } else {
            json::from_slice(bytes).map(Box::new).map(Self::Clear)
        }
    }

    /// As it is written.
    pub fn to_json(&self) -> Result<Zeroizing<Vec<u8>>, DeviceError> {
        let bytes = match self {
            Self::Clear(config) => serde_json::to_vec_pretty(config),
            Self::Sealed(config) => serde_json::to_vec_pretty(config),
        };
        bytes.map(Zeroizing::new).map_err(DeviceError::Encode)
    }

    /// Where its keys are.
    pub const fn element(&self) -> ElementKind {
        match self {
            Self::Clear(_) => ElementKind::Software,
            Self::Sealed(_) => ElementKind::Tpm,
        }
    }

    /// Whose it is.
    pub const fn serial(&self) -> &DeviceSerial {
        match self {
            Self::Clear(config) => &config.device_serial,
            Self::Sealed(config) => &config.device_serial,
        }
    }

    /// Where to submit.
    pub fn aggregator_url(&self) -> &str {
        match self {
            Self::Clear(config) => &config.aggregator_url,
            Self::Sealed(config) => &config.aggregator_url,
        }
    }

    /// What it says of its network file.
    pub const fn network(&self) -> Option<&serde_json::Value> {
        match self {
            Self::Clear(config) => config.network.as_ref(),
            Self::Sealed(config) => config.network.as_ref(),
        }
    }
}
