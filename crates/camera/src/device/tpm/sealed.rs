//! Sealing: bytes that only this TPM gives back.
//!
//! For: at most 128 bytes at a time, under the storage key. Not for: what they are (`parts`).

use birthmark_core::base64;
use tss_esapi::handles::ObjectHandle;
use tss_esapi::structures::{Private, Public, SensitiveData};
use tss_esapi::traits::{Marshall as _, UnMarshall as _};
use zeroize::Zeroizing;

use super::chip::Chip;
use super::refusal::refused;
use super::template;
use crate::device::TpmError;
use crate::device::element::SealedObject;

impl Chip {
    /// Seals bytes.
    pub(super) fn seal(&mut self, secret: &[u8]) -> Result<SealedObject, TpmError> {
        let storage = self.storage();
        let created = self.privately("seal keys", |context| {
            context.create(storage, template::sealed()?, None, Some(SensitiveData::try_from(secret)?), None, None)
        })?;
        let public = created.out_public.marshall().map_err(refused("seal keys"))?;
        Ok(SealedObject { public: base64::encode(public), private: base64::encode(created.out_private.value()) })
    }

    /// Gives back what was sealed.
    pub(super) fn unseal(&mut self, object: &SealedObject) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let decode = |text: &str| base64::decode_bounded(text, MOST).map_err(|_| TpmError::Damaged);
        let public = Public::unmarshall(&decode(&object.public)?).map_err(|_| TpmError::Damaged)?;
        let private = Private::try_from(decode(&object.private)?).map_err(|_| TpmError::Damaged)?;
        let storage = self.storage();
        let key = self.privately("load sealed keys", |context| context.load(storage, private, public))?;
        let secret = self.privately("unseal keys", |context| context.unseal(ObjectHandle::from(key)));
        self.flush(key)?;
        // Copied once, into memory that is wiped; the library wipes its own.
        secret.map(|secret| Zeroizing::new(secret.value().to_vec()))
    }
}

/// Longer than either half of an object of 128 bytes.
const MOST: usize = 1024;
