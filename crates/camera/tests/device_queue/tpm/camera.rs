//! A provisioned camera whose keys are in a TPM.

use std::path::{Path, PathBuf};

use birthmark_camera::counter::TokenNumbers;
use birthmark_camera::device::tpm::Tpm;
use birthmark_camera::device::{
    Credentials, DeviceError, ElementChoice, ElementError, ElementKind, History, SecureElement as _, Stored, TpmError,
    keep_config,
};
use birthmark_core::network::EndorsementKeyState;
use birthmark_core::token::NucHash;

use super::swtpm::Swtpm;
use crate::world::{as_value, device_config, network};

pub(crate) const NUC: [u8; 32] = [9; 32];

/// Its folder; the TPM is elsewhere.
pub(crate) struct Camera(pub(crate) tempfile::TempDir);

impl Camera {
    /// Provisions it: the keys go into the TPM.
    pub(crate) fn provision(tpm: &Swtpm) -> Self {
        let camera = Self(tempfile::tempdir().unwrap());
        let config = device_config(as_value(&network(&[(1, EndorsementKeyState::Current)])));
        keep_config(
            &camera.path(),
            serde_json::from_value(config).unwrap(),
            &Tpm::at(&tpm.tcti()).unwrap(),
            History::New,
        )
        .unwrap();
        camera
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("device_config.json")
    }

    pub(crate) fn credentials(&self, tpm: &Swtpm) -> Result<Credentials, DeviceError> {
        let element = ElementChoice { kind: Some(ElementKind::Tpm), tcti: Some(tpm.tcti()) };
        Credentials::open(&self.path(), NucHash::from_bytes(NUC), None, &element)
    }

    pub(crate) fn numbers(&self, tpm: &Swtpm) -> TokenNumbers {
        open_numbers(&self.path(), &tpm.tcti())
    }

    /// Why its keys cannot be used.
    pub(crate) fn trouble(&self, tpm: &Swtpm) -> TpmError {
        match self.credentials(tpm).unwrap_err() {
            DeviceError::Element(ElementError::Tpm(error)) => error,
            other => panic!("{other}"),
        }
    }
}

pub(crate) fn open_numbers(config: &Path, tcti: &str) -> TokenNumbers {
    Tpm::at(tcti).unwrap().open(config, Stored::read(config).unwrap()).unwrap().numbers
}
