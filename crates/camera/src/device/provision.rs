//! Provisioning, the camera's side: asks the authority for secrets and keeps them.
//!
//! For: one call to `POST /api/v1/devices/provision`, and writing its answer to a private file.
//! Not for: who may ask, or what is handed out (`birthmark-sma`).
//!
//! Format: `docs/PROTOCOL.md` section 4.

use std::io;
use std::path::Path;

use birthmark_core::api::provision::{DeviceConfig, ProvisionRequest};
use birthmark_core::hex::HexError;
use birthmark_core::ids::{DeviceFamily, DeviceSerial};
use birthmark_core::token::NucHash;
use birthmark_service::client::{BearerToken, ClientError, ClientOptions, ClientSetupError, HttpClient};
use birthmark_service::secret_file::{self, FileMode, SecretFileError};
use zeroize::Zeroizing;

use super::{ConfigError, Credentials, DeviceError, TokenVersion, read_config};

/// Why a camera was not provisioned.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The authority's address or the credential cannot be used.
    #[error(transparent)]
    Setup(#[from] ClientSetupError),
    /// The request names no sensor fingerprint.
    #[error("nuc_hash: {0}")]
    NucHash(HexError),
    /// The authority was not reached, or refused.
    #[error("the authority did not provision this camera: {0}")]
    Call(#[from] ClientError),
    /// The authority's answer cannot be used.
    #[error("the authority answered with a configuration that cannot be used: {0}")]
    Config(#[from] ConfigError),
    /// The authority's answer is another camera's.
    #[error("the authority answered with the configuration of another camera")]
    OtherSerial,
}

impl ProvisionError {
    /// True if the authority knows this serial or this sensor already, and has handed out its credentials.
    pub fn is_duplicate(&self) -> bool {
        matches!(self, Self::Call(call) if matches!(call.code(), Some("duplicate_serial" | "duplicate_nuc_hash")))
    }
}

/// What to do where a configuration stands already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfProvisioned {
    /// Leave it: its keys may be the only ones there are.
    Refuse,
    /// Replace it if it is the same camera's.
    ReplaceSameSerial,
}

/// What this client asks for: a camera whose tokens are accepted from `version` on. Version 1 is for those
/// who want the seed's tokens.
pub fn provision_request(
    device_serial: DeviceSerial,
    device_family: DeviceFamily,
    nuc_hash: String,
    version: TokenVersion,
) -> ProvisionRequest {
    let min_token_version = match version {
        TokenVersion::V1 => 1,
        TokenVersion::V2 => 2,
    };
    ProvisionRequest { device_serial, device_family, nuc_hash, min_token_version }
}

/// Asks the authority at `sma_url` (`http://host[:port]`) for the camera's configuration and checks it.
/// The authority hands it out once: write it down before anything else, then fetch the network file that
/// it may name ([`fetch_network`](super::fetch_network)).
pub async fn provision(
    sma_url: &str,
    request: &ProvisionRequest,
    bearer: Option<BearerToken>,
) -> Result<DeviceConfig, ProvisionError> {
    let nuc_hash = NucHash::from_hex(&request.nuc_hash).map_err(ProvisionError::NucHash)?;
    let client = HttpClient::new(sma_url, &ClientOptions { bearer, ..ClientOptions::default() })?;
    let config: DeviceConfig = client.post_json("/api/v1/devices/provision", request).await?.body;
    if config.device_serial != request.device_serial {
        return Err(ProvisionError::OtherSerial);
    }
    let asked_for = if request.min_token_version < 2 { TokenVersion::V1 } else { TokenVersion::V2 };
    Credentials::check(config.clone(), nuc_hash, asked_for)?;
    Ok(config)
}

/// Writes a configuration with mode 0600, durably and all at once.
pub fn write_config(path: &Path, config: &DeviceConfig, if_provisioned: IfProvisioned) -> Result<(), DeviceError> {
    let bytes = Zeroizing::new(serde_json::to_vec_pretty(config).map_err(DeviceError::Encode)?);
    match if_provisioned {
        IfProvisioned::Refuse => Ok(secret_file::create(path, &bytes)?),
        IfProvisioned::ReplaceSameSerial => {
            match std::fs::symlink_metadata(path) {
                Ok(_) if read_config(path)?.device_serial != config.device_serial => {
                    return Err(DeviceError::OtherSerial { path: path.to_owned() });
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(SecretFileError::Io { path: path.to_owned(), source }.into()),
            }
            Ok(secret_file::replace(path, &bytes, FileMode::Secret)?)
        }
    }
}
