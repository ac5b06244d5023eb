//! `POST /api/v1/devices/provision`, and the camera's `device_config.json`, which is its answer.

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::hash::Digest;
use crate::ids::{AuthorityId, DeviceFamily, DeviceSerial, TableId};

/// A camera to provision.
#[derive(Clone, Serialize, Deserialize)]
pub struct ProvisionRequest {
    /// Its serial.
    pub device_serial: DeviceSerial,
    /// Its family.
    pub device_family: DeviceFamily,
    /// 64 hex digits: its sensor's fingerprint.
    pub nuc_hash: String,
    /// 1 or 2: the oldest token that is accepted from it.
    #[serde(default = "one")]
    pub min_token_version: u8,
    /// In which TPM its keys will be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm: Option<TpmAttestation>,
}

/// A TPM's evidence that a camera's keys will be in it: structures of the TPM 2.0 Library Specification,
/// part 2, marshalled, in base64. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmAttestation {
    /// The maker's X.509 certificate of the endorsement key, DER, where the TPM has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endorsement_certificate: Option<String>,
    /// `TPMT_PUBLIC` of the endorsement key.
    pub endorsement_key: String,
    /// `TPMT_PUBLIC` of the restricted key that signs.
    pub attestation_key: String,
    /// `TPMT_PUBLIC` of the key under which the camera's keys are sealed.
    pub storage_key: String,
    /// `TPMS_ATTEST` of type `TPM_ST_ATTEST_CERTIFY` over the storage key.
    pub certify_info: String,
    /// ECDSA P-256 with SHA-256 over `certify_info` by the attestation key: r ‖ s, 64 bytes.
    pub signature: String,
}

impl TpmAttestation {
    /// What the TPM is to say together with `certify_info`'s facts, so that they serve for this camera alone:
    /// `SHA-256("birthmark/tpm-provision/v1" ‖ u8 len ‖ serial)`.
    pub fn statement(serial: &DeviceSerial) -> Digest {
        let serial = serial.as_str().as_bytes();
        // A serial has 64 characters at most.
        let length = [u8::try_from(serial.len()).unwrap_or(u8::MAX)];
        Digest::of_parts(&[b"birthmark/tpm-provision/v1", &length, serial])
    }
}

/// Everything that a camera needs, secrets included. Handed out once.
#[derive(Clone, Serialize, Deserialize)]
pub struct DeviceConfig {
    /// The camera's serial.
    pub device_serial: DeviceSerial,
    /// The table of `encryption_key`.
    pub table_id: TableId,
    /// That table's key.
    pub encryption_key: SecretBase64,
    /// Where to submit.
    pub aggregator_url: String,
    /// Who vouches.
    pub manufacturer_cert: AuthorityReference,
    /// All tables assigned to the device, that of `table_id` among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<TableGrant>,
    /// What the device alone shares with its authority, for version 2 tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_key: Option<SecretBase64>,
    /// The network file, or where to get it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<serde_json::Value>,
    /// X.509 in PEM, the device's own first. For the authority alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_certificate: Option<String>,
}

/// An authority and its endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityReference {
    /// A name in the network file.
    pub authority_id: AuthorityId,
    /// Where the authority believes to be reached; aggregators use their own configuration.
    pub validation_endpoint: String,
}

/// One table with its key.
#[derive(Clone, Serialize, Deserialize)]
pub struct TableGrant {
    /// The table.
    pub table_id: TableId,
    /// Its key.
    pub encryption_key: SecretBase64,
}

/// Secret bytes in base64. Wiped when dropped, never shown.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretBase64(pub String);

impl std::fmt::Debug for SecretBase64 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretBase64(redacted)")
    }
}

/// The fingerprint is a secret between camera and authority.
impl std::fmt::Debug for ProvisionRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProvisionRequest")
            .field("device_serial", &self.device_serial)
            .field("device_family", &self.device_family)
            .field("min_token_version", &self.min_token_version)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for DeviceConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceConfig").field("device_serial", &self.device_serial).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for TableGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TableGrant").field("table_id", &self.table_id).finish_non_exhaustive()
    }
}

const fn one() -> u8 {
    1
}
