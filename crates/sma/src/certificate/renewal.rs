//! Renewing a device's certificate: the device asks, with the key that is in the old one.
//!
//! For: deciding whether a request is the device's. Not for: whether the device is active and the key its
//! present one; the registry knows, and is asked before anything is issued.
//!
//! Format:
//! ```text
//! {"certificate": "<PEM of the device's certificate alone>", "time": 1733259600, "signature": "<128 hex>"}
//! signature = Ed25519 over "birthmark/renew/v1" ‖ be64(time) ‖ SHA-256(certificate in DER)
//! ```
//! `time` is within 5 minutes of the authority's. Asking twice with the same request gives two
//! certificates of one key, which harms nobody. A certificate is taken up to a year after its end: a camera
//! may have lain in a drawer.

use birthmark_core::hash::Digest;
use birthmark_core::hex;
use birthmark_core::time::UnixSeconds;
use serde::{Deserialize, Serialize};

use super::check::{Anchor, CheckError, DeviceIdentity};
use super::pem;

/// A request as it stands in JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RenewalRequest {
    /// PEM of the certificate to renew.
    pub(crate) certificate: String,
    /// When it was asked.
    pub(crate) time: UnixSeconds,
    /// 128 hex digits.
    pub(crate) signature: String,
}

/// Why a request is refused. All the caller's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RenewalError {
    /// The certificate is none of ours, or over for more than a year.
    #[error(transparent)]
    Certificate(#[from] CheckError),
    /// Two certificates, where one is asked for.
    #[error("a renewal request has the device's certificate alone")]
    Chain,
    /// Too old, or from a clock that is wrong.
    #[error("the request's time is more than 5 minutes from the authority's")]
    Time,
    /// Not by the certificate's key.
    #[error("the request is not signed by the certificate's key")]
    Signature,
}

impl RenewalRequest {
    /// Whose certificate is to be renewed, if the holder of its key asks now.
    pub(crate) fn check(&self, anchor: &Anchor, now: UnixSeconds) -> Result<DeviceIdentity, RenewalError> {
        if now.0.abs_diff(self.time.0) > WINDOW {
            return Err(RenewalError::Time);
        }
        let signature = hex::decode_array::<64>(&self.signature).map_err(|_| RenewalError::Signature)?;
        let certificates = pem::decode(&self.certificate).map_err(CheckError::Pem)?;
        let [leaf] = certificates.as_slice() else {
            return Err(RenewalError::Chain);
        };
        let device = anchor.check(leaf, now, GRACE)?;
        if device.key.verifies(&message(self.time, leaf), &signature) {
            Ok(device)
        } else {
            Err(RenewalError::Signature)
        }
    }
}

/// What the device signs.
pub(crate) fn message(time: UnixSeconds, leaf: &[u8]) -> Vec<u8> {
    let digest = Digest::of_parts(&[leaf]);
    [b"birthmark/renew/v1".as_slice(), &time.0.to_be_bytes(), digest.as_bytes()].concat()
}

/// 5 minutes.
const WINDOW: u64 = 5 * 60;

/// A year.
const GRACE: u64 = 365 * 24 * 60 * 60;

#[cfg(test)]
mod tests;
