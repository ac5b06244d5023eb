//! Provisioning: a camera is registered and handed its secrets, once.
//!
//! For: checking the request and putting together `device_config.json`.
//! Not for: who may ask (`http`), the draw (`tables`) or the row (`devices`).
//!
//! Format: `docs/PROTOCOL.md` section 4.

use birthmark_core::api::provision::{AuthorityReference, DeviceConfig, ProvisionRequest, SecretBase64, TableGrant};
use birthmark_core::base64;
use birthmark_core::hex::HexError;
use birthmark_core::ids::{AuthorityId, TableId};
use birthmark_core::time::Minute;
use birthmark_core::token::NucHash;
use birthmark_core::token::v2::DeviceKey;
use zeroize::Zeroizing;

use crate::certificate::authority::{CaExpired, IssueError};
use crate::config::Endpoints;
use crate::devices::{Duplicate, NewDevice, TokenVersion};
use crate::keys::Keys;
use crate::store::StoreError;
use crate::tables::AssignedTables;
use crate::tpm::{self, TpmEvidenceError};

/// Why a camera was not provisioned. The text carries no input.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// Not 64 hex digits.
    #[error("nuc_hash: {0}")]
    NucHash(HexError),
    /// Neither 1 nor 2.
    #[error("min_token_version must be 1 or 2")]
    TokenVersion,
    /// The TPM that is to have the camera's keys did not show itself.
    #[error("tpm: {0}")]
    Tpm(#[from] TpmEvidenceError),
    /// A camera of this serial exists.
    #[error("a camera with this serial is provisioned already")]
    DuplicateSerial,
    /// Another camera has this sensor.
    #[error("a camera of another serial has this nuc_hash")]
    DuplicateNucHash,
    /// Nothing was registered.
    #[error("no device certificate can be issued: {0}")]
    NotIssuing(#[from] CaExpired),
    /// The camera is registered, but got no certificate; it can be provisioned again.
    #[error("no device certificate could be issued: {0}")]
    Certificate(#[from] IssueError),
    /// Nothing was stored, or it is not known whether it was.
    #[error("the device registry could not be written: {0}")]
    Store(#[from] StoreError),
}

/// Checks the request. The fingerprint's text is wiped; only its digest goes on.
pub(crate) fn parse(request: ProvisionRequest, keys: &Keys, created: Minute) -> Result<NewDevice, ProvisionError> {
    let nuc_hash = Zeroizing::new(request.nuc_hash);
    let nuc_hash = NucHash::from_hex(&nuc_hash).map_err(ProvisionError::NucHash)?;
    let tpm = match &request.tpm {
        Some(evidence) => {
            tpm::check(evidence, &request.device_serial)?;
            Some(serde_json::to_string(evidence).map_err(|_| TpmEvidenceError::Encoding("the evidence"))?)
        }
        None => None,
    };
    Ok(NewDevice {
        serial: request.device_serial,
        family: request.device_family,
        nuc_digest: keys.nuc_digest(&nuc_hash),
        min_token_version: TokenVersion::from_number(request.min_token_version).ok_or(ProvisionError::TokenVersion)?,
        created,
        tables: None,
        tpm,
    })
}

/// What one camera shares with its authority.
pub(crate) struct Secrets<'a> {
    pub(crate) tables: &'a AssignedTables,
    pub(crate) device_key: &'a DeviceKey,
    pub(crate) keys: &'a Keys,
}

/// What the camera needs to know, its secrets included.
pub(crate) fn device_config(
    device_serial: birthmark_core::ids::DeviceSerial,
    &Secrets { tables: assigned, device_key, keys }: &Secrets<'_>,
    authority_id: &AuthorityId,
    endpoints: &Endpoints,
    network: Option<&serde_json::Value>,
) -> DeviceConfig {
    DeviceConfig {
        device_serial,
        table_id: assigned.first(),
        encryption_key: key_text(keys, assigned.first()),
        aggregator_url: endpoints.aggregator.clone(),
        manufacturer_cert: AuthorityReference {
            authority_id: authority_id.clone(),
            validation_endpoint: endpoints.validation.clone(),
        },
        tables: assigned
            .iter()
            .map(|table_id| TableGrant { table_id, encryption_key: key_text(keys, table_id) })
            .collect(),
        device_key: Some(SecretBase64(base64::encode(device_key.expose()))),
        network: network.cloned(),
        device_certificate: None,
    }
}

impl From<Duplicate> for ProvisionError {
    fn from(duplicate: Duplicate) -> Self {
        match duplicate {
            Duplicate::Serial => Self::DuplicateSerial,
            Duplicate::NucHash => Self::DuplicateNucHash,
        }
    }
}

fn key_text(keys: &Keys, table: TableId) -> SecretBase64 {
    SecretBase64(keys.table(table).map(|key| base64::encode(key.expose())).unwrap_or_default())
}
