//! Provisioning: cameras are registered and handed their secrets.
//!
//! For: one camera or thousands, with one row of the audit log for each. Not for: the request's form and
//! the configuration's (`provision`).

use birthmark_core::api::provision::{DeviceConfig, ProvisionRequest};
use birthmark_core::ids::{DeviceFamily, DeviceSerial};
use birthmark_service::random::OsRng;

use super::{Inner, Sma};
use crate::audit;
use crate::certificate::{
    self,
    authority::{CaExpired, Lifetime, Subject},
};
use crate::devices::Registered;
use crate::keys::NucDigest;
use crate::provision::{self, ProvisionError, Secrets};
use crate::store::StoreError;

impl Sma {
    /// Registers a camera and returns its configuration, secrets included, for the only time.
    ///
    /// The row is on disk before the answer. After [`ProvisionError::Store`] it may or may not be; the
    /// next try tells by [`ProvisionError::DuplicateSerial`].
    pub async fn provision(&self, request: ProvisionRequest) -> Result<DeviceConfig, ProvisionError> {
        self.provision_by(audit::LOCAL, request).await
    }

    /// As [`Sma::provision`], on behalf of a credential.
    pub(crate) async fn provision_by(
        &self,
        actor: &str,
        request: ProvisionRequest,
    ) -> Result<DeviceConfig, ProvisionError> {
        let mut answers = self.provision_many_by(actor, vec![request]).await?;
        // One camera, one answer.
        answers.pop().ok_or(StoreError::Panicked)?
    }

    /// Registers cameras in one transaction: an answer for each, in their order.
    pub async fn provision_many(
        &self,
        requests: Vec<ProvisionRequest>,
    ) -> Result<Vec<Result<DeviceConfig, ProvisionError>>, StoreError> {
        self.provision_many_by(audit::LOCAL, requests).await
    }

    async fn provision_many_by(
        &self,
        actor: &str,
        requests: Vec<ProvisionRequest>,
    ) -> Result<Vec<Result<DeviceConfig, ProvisionError>>, StoreError> {
        let (keys, act) = (&self.0.keys, self.act(actor));
        if let Err(error) = self.can_issue() {
            return Ok(requests.iter().map(|_| Err(error.into())).collect());
        }
        let parsed: Vec<_> = requests.into_iter().map(|request| provision::parse(request, keys, act.minute)).collect();
        let devices: Vec<_> = parsed.iter().filter_map(|device| device.as_ref().ok().cloned()).collect();
        let mut registered = self.store().register(devices, act).await?.into_iter();
        let mut answers = Vec::with_capacity(parsed.len());
        for device in parsed {
            let answer = match device {
                Err(error) => Err(error),
                // One answer for each that was asked.
                Ok(device) => match registered.next().ok_or(StoreError::Panicked)? {
                    Err(duplicate) => Err(duplicate.into()),
                    Ok(registered) => self.hand_out(device.serial, &device.family, device.nuc_digest, &registered),
                },
            };
            answers.push(answer);
        }
        let provisioned = answers.iter().filter_map(|answer| answer.as_ref().ok()).collect::<Vec<_>>();
        if let Some(first) = provisioned.first() {
            tracing::info!(first = %first.device_serial, cameras = provisioned.len(), "cameras provisioned");
        }
        Ok(answers)
    }

    /// Whether certificates can be issued now: asked before a camera is registered, which would else have
    /// secrets that nobody hands out.
    pub(super) fn can_issue(&self) -> Result<(), CaExpired> {
        self.0.certificates.can_issue(self.now())
    }

    /// What a camera was given in its last registration, secrets included.
    pub(super) fn hand_out(
        &self,
        serial: DeviceSerial,
        family: &DeviceFamily,
        nuc: NucDigest,
        registered: &Registered,
    ) -> Result<DeviceConfig, ProvisionError> {
        let Inner { authority_id, endpoints, network, keys, certificates, .. } = &*self.0;
        let device_key = keys.device_key(registered.generation, nuc);
        let signing = certificate::device_signing_key(&device_key);
        let subject = Subject { serial: &serial, family, key: signing.public_key() };
        let issued = certificates.issue(&subject, Lifetime::DEFAULT, self.now(), &mut OsRng)?;
        tracing::debug!(%serial, "camera provisioned");
        let secrets = Secrets { tables: &registered.tables, device_key: &device_key, keys };
        let mut config = provision::device_config(serial, &secrets, authority_id, endpoints, network.as_ref());
        config.device_certificate = Some(issued.chain);
        Ok(config)
    }
}
