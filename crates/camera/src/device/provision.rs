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
use birthmark_core::time::UnixSeconds;
use birthmark_core::token::NucHash;
use birthmark_service::client::{BearerToken, ClientError, ClientOptions, ClientSetupError, HttpClient};
use birthmark_service::clock::EARLIEST;
use birthmark_service::secret_file::{self, FileMode, SecretFileError};

use super::{ConfigError, Credentials, DeviceError, ElementChoice, ElementError, SecureElement, Stored, TokenVersion};

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
    ProvisionRequest { device_serial, device_family, nuc_hash, min_token_version, tpm: None }
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

/// Writes a configuration with its keys, as [`keep_config`] does with [`Software`](super::element::Software).
pub fn write_config(path: &Path, config: &DeviceConfig, if_provisioned: IfProvisioned) -> Result<(), DeviceError> {
    let bytes = Stored::Clear(Box::new(config.clone())).to_json()?;
    match if_provisioned {
        IfProvisioned::Refuse => Ok(secret_file::create(path, &bytes)?),
        IfProvisioned::ReplaceSameSerial => {
            match std::fs::symlink_metadata(path) {
                Ok(_) if *Stored::read(path)?.serial() != config.device_serial => {
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

/// Whether tokens of a camera may have been sealed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// Its authority knows it since now.
    New,
    /// Its authority knew it before. It is this late.
    Used(UnixSeconds),
}

/// The milliseconds since 1970: more than any camera has reached by counting its tokens.
const fn beyond_counting(now: UnixSeconds) -> u64 {
    now.0.saturating_mul(1000)
}

/// A configuration that an authority handed out as a file.
pub fn read_handed_out(path: &Path) -> Result<DeviceConfig, DeviceError> {
    match Stored::read(path)? {
        Stored::Clear(config) => Ok(*config),
        Stored::Sealed(_) => Err(ElementError::InTpm.into()),
    }
}

/// Makes the counter of tokens in a TPM anew if it is gone; says whether it was. Its numbers go on above all
/// that were ever used. Blocks.
pub fn restore_numbers(path: &Path, element: &ElementChoice, now: UnixSeconds) -> Result<bool, DeviceError> {
    let stored = Stored::read(path)?;
    if now < EARLIEST {
        return Ok(false);
    }
    Ok(element.for_stored(&stored)?.restore_numbers(path, &stored, beyond_counting(now))?)
}

/// Gives the keys of a configuration into the keeping of this element and writes what remains, with mode
/// 0600, durably and all at once. Refuses where a configuration stands already. Blocks.
pub fn keep_config(
    path: &Path,
    config: DeviceConfig,
    element: &dyn SecureElement,
    history: History,
) -> Result<(), DeviceError> {
    let above = match history {
        History::New => 0,
        History::Used(now) => beyond_counting(now),
    };
    // What a place that is taken would waste in a TPM is not made at all.
    let place = secret_file::reserve(path)?;
    Ok(place.fill(&element.keep(path, config, above)?.to_json()?)?)
}
