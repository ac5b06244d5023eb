//! Acts of administrators, over HTTP and on the command line alike.
//!
//! For: [`Control`], which carries them out in somebody's name. Not for: who may (`http`), or rows
//! (`store`, which writes each act together with its row of the audit log).

use birthmark_core::api::provision::{DeviceConfig, TpmAttestation};
use birthmark_core::ids::{DeviceFamily, DeviceSerial};
use birthmark_core::network::EndorsementKeyId;
use birthmark_core::token::NucHash;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Sma;
use crate::audit;
use crate::devices::{Changed, NotRenewed, Renewal, Status, TokenVersion};
use crate::endorsement_keys::KeySize;
use crate::endorser::{self, KeyError};
use crate::provision::ProvisionError;
use crate::quota::QuotaOverride;
use crate::store::StoreError;
use crate::views::{AuditCheck, AuditPage, DeviceView, KeyChangeView};

/// An administrator at work. Each act stands in the audit log under the actor's name.
#[derive(Debug)]
pub struct Control {
    sma: Sma,
    actor: String,
}

/// A camera to be provisioned once more: it gets new secrets, and the old ones become worthless.
#[derive(Clone, Serialize, Deserialize)]
pub struct ReprovisionRequest {
    /// 64 hex digits: the fingerprint that it was registered with.
    pub nuc_hash: String,
    /// 1 or 2; as it was if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_token_version: Option<u8>,
}

/// Why nothing was done to a device.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No such device.
    #[error("no camera of this serial is registered")]
    Unknown,
    /// Nothing was stored, or it is not known whether it was.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a camera got no new secrets.
#[derive(Debug, thiserror::Error)]
pub enum ReprovisionError {
    /// No such device.
    #[error("no camera of this serial is registered")]
    Unknown,
    /// Nothing is handed out for it any more.
    #[error("the camera is revoked; restore it first")]
    Revoked,
    /// The fingerprint is not the registered one.
    #[error("the camera was registered with another nuc_hash")]
    OtherSensor,
    /// As at provisioning.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
}

impl Sma {
    /// Acts on this machine, without a credential: `local` in the audit log.
    pub fn control(&self) -> Control {
        self.control_by(audit::LOCAL)
    }

    /// Acts of a credential.
    pub(crate) fn control_by(&self, actor: &str) -> Control {
        Control { sma: self.clone(), actor: actor.to_owned() }
    }
}

impl Control {
    /// A device's status.
    pub async fn device(&self, serial: DeviceSerial) -> Result<DeviceView, ControlError> {
        let device = self.sma.store().device(serial).await?.ok_or(ControlError::Unknown)?;
        Ok(DeviceView::of(device, self.sma.0.quota, self.sma.now().minute()))
    }

    /// What its TPM showed when it was provisioned; nothing if its keys are in no TPM.
    pub async fn tpm_evidence(&self, serial: DeviceSerial) -> Result<Option<TpmAttestation>, ControlError> {
        let device = self.sma.store().device(serial).await?.ok_or(ControlError::Unknown)?;
        let Some(text) = self.sma.store().tpm_evidence(device.id).await? else { return Ok(None) };
        Ok(Some(serde_json::from_str(&text).map_err(|_| StoreError::Damaged("the evidence of a TPM"))?))
    }

    /// No token of the device passes that is judged after the answer.
    pub async fn revoke(&self, serial: DeviceSerial) -> Result<DeviceView, ControlError> {
        self.set_status(serial, Status::Revoked).await
    }

    /// Takes a revocation back.
    pub async fn restore(&self, serial: DeviceSerial) -> Result<DeviceView, ControlError> {
        self.set_status(serial, Status::Active).await
    }

    async fn set_status(&self, serial: DeviceSerial, status: Status) -> Result<DeviceView, ControlError> {
        let changed = self.sma.store().set_status(serial.clone(), status, self.sma.act(&self.actor)).await?;
        self.sma.0.revocations.forget();
        self.changed(serial, changed).await
    }

    /// Sets a device's own limits.
    pub async fn set_quota(&self, serial: DeviceSerial, quota: QuotaOverride) -> Result<DeviceView, ControlError> {
        let changed = self.sma.store().set_quota(serial.clone(), quota, self.sma.act(&self.actor)).await?;
        self.changed(serial, changed).await
    }

    async fn changed(&self, serial: DeviceSerial, changed: Changed) -> Result<DeviceView, ControlError> {
        match changed {
            Changed::Unknown => Err(ControlError::Unknown),
            Changed::Yes | Changed::Already => self.device(serial).await,
        }
    }

    /// Gives a camera new tables, a new key and a new certificate, for the only time.
    ///
    /// After an error of the database it may have lost the old ones; provision it once more then.
    pub async fn reprovision(
        &self,
        serial: DeviceSerial,
        request: ReprovisionRequest,
    ) -> Result<DeviceConfig, ReprovisionError> {
        let nuc_hash = Zeroizing::new(request.nuc_hash);
        let nuc_hash = NucHash::from_hex(&nuc_hash).map_err(ProvisionError::NucHash)?;
        let nuc_digest = self.sma.0.keys.nuc_digest(&nuc_hash);
        let wanted = match request.min_token_version {
            Some(number) => Some(TokenVersion::from_number(number).ok_or(ProvisionError::TokenVersion)?),
            None => None,
        };
        self.sma.can_issue().map_err(ProvisionError::from)?;
        let store = self.sma.store();
        let device = store.device(serial.clone()).await.map_err(ProvisionError::from)?;
        let device = device.ok_or(ReprovisionError::Unknown)?;
        let min_token_version = wanted.unwrap_or(device.min_token_version);
        let family: DeviceFamily = device.family;
        let renewal = Renewal { serial: serial.clone(), nuc_digest, min_token_version };
        let renewed = store.renew(renewal, self.sma.act(&self.actor)).await.map_err(ProvisionError::from)?;
        let registered = renewed.map_err(|refused| match refused {
            NotRenewed::Unknown => ReprovisionError::Unknown,
            NotRenewed::OtherSensor => ReprovisionError::OtherSensor,
            NotRenewed::Revoked => ReprovisionError::Revoked,
        })?;
        Ok(self.sma.hand_out(serial, &family, nuc_digest, &registered)?)
    }

    /// Makes a new endorsement key the current one; the one before signs for 90 more days. Takes a good
    /// part of a second. `authority.json` is written anew.
    pub async fn rotate_key(&self, size: KeySize) -> Result<KeyChangeView, KeyError> {
        let made = tokio::task::spawn_blocking(move || endorser::new_key(size)).await;
        let key = made.map_err(|_| KeyError::Generate)??;
        let key_id = self.sma.0.endorser.rotate(&key, self.sma.act(&self.actor)).await?;
        self.restated(key_id).await
    }

    /// Takes an endorsement key out of use at once and for ever. If it was the current one, rotate next:
    /// until then no version 2 token is endorsed.
    pub async fn revoke_key(&self, key_id: EndorsementKeyId) -> Result<KeyChangeView, KeyError> {
        self.sma.0.endorser.revoke(key_id, self.sma.act(&self.actor)).await?;
        self.restated(key_id).await
    }

    async fn restated(&self, key_id: EndorsementKeyId) -> Result<KeyChangeView, KeyError> {
        if let Err(error) = self.sma.state().await {
            // The keys have changed, and the next start writes the file.
            tracing::error!(%error, "the endorsement keys changed, but authority.json was not written");
        }
        Ok(KeyChangeView { key_id, authority: self.sma.statement().await? })
    }

    /// The audit log after this row, at most 1,000 rows of it.
    pub async fn audit(&self, after: u64, limit: u32) -> Result<AuditPage, StoreError> {
        let limit = limit.clamp(1, MAX_AUDIT_ROWS);
        Ok(AuditPage::of(self.sma.store().audit(after, limit).await?, limit))
    }

    /// Follows the audit log's chain from its first row to its last.
    pub async fn check_audit(&self) -> Result<AuditCheck, StoreError> {
        Ok(self.sma.store().check_audit().await?.into())
    }
}

/// The fingerprint is a secret between camera and authority.
impl std::fmt::Debug for ReprovisionRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReprovisionRequest").field("min_token_version", &self.min_token_version).finish_non_exhaustive()
    }
}

/// Most rows of the audit log in one answer.
pub(crate) const MAX_AUDIT_ROWS: u32 = 1000;
