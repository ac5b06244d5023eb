//! Certificates before or soon after their end: the device gets a new one for the same key.
//!
//! For: asking the registry whether the device may. Not for: whether the request is the device's
//! (`certificate::renewal`).

use birthmark_service::random::OsRng;

use super::{Inner, Sma};
use crate::certificate::authority::{IssueError, IssuedCertificate, Lifetime, Subject};
use crate::certificate::device_signing_key;
use crate::certificate::renewal::{RenewalError, RenewalRequest};
use crate::devices::Status;
use crate::store::StoreError;

/// Why a certificate was not renewed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotIssued {
    /// The request is not the device's.
    #[error(transparent)]
    Request(#[from] RenewalError),
    /// It is, but the device is revoked, or was provisioned anew and has another key.
    #[error("the device gets no certificate for this key any more")]
    Refused,
    /// The registry could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The CA's fault.
    #[error(transparent)]
    Issue(#[from] IssueError),
}

impl Sma {
    /// Issues another certificate to an active device that asks with its present key.
    pub(crate) async fn renew_certificate(&self, request: &RenewalRequest) -> Result<IssuedCertificate, NotIssued> {
        let Inner { keys, certificates, store, .. } = &*self.0;
        let now = self.now();
        let asking = request.check(certificates.anchor(), now)?;
        let device = store.device(asking.serial).await?.ok_or(NotIssued::Refused)?;
        let key = device_signing_key(&keys.device_key(device.generation, device.nuc_digest)).public_key();
        if device.status != Status::Active || asking.key != key {
            return Err(NotIssued::Refused);
        }
        let subject = Subject { serial: &device.serial, family: &device.family, key };
        Ok(certificates.issue(&subject, Lifetime::DEFAULT, now, &mut OsRng)?)
    }
}
