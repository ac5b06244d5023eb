//! An open TPM: cleaned up, with its storage key and a session that nobody on the bus can read.
//!
//! For: whatever else is done with it. Not for: what is sealed (`sealed`), counted (`numbers`) or signed
//! (`attest`).

use std::fmt;

use tss_esapi::abstraction::{AsymmetricAlgorithmSelection, ek};
use tss_esapi::attributes::SessionAttributesBuilder;
use tss_esapi::constants::{CapabilityType, PropertyTag, SessionType};
use tss_esapi::handles::{KeyHandle, ObjectHandle, TpmHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{CapabilityData, CreatePrimaryKeyResult, Public, SymmetricDefinition};
use tss_esapi::{Context, Error, WrapperErrorKind};

use super::Tpm;
use super::refusal::refused;
use super::template;
use crate::device::TpmError;

/// Everything that is loaded is flushed when this goes.
pub(super) struct Chip {
    context: Context,
    session: AuthSession,
    storage: KeyHandle,
    storage_public: Public,
    storage_name: Vec<u8>,
}

impl Chip {
    /// Opens the TPM. What killed programs left loaded in it is flushed first: without a resource manager
    /// it would never go, and a TPM has room for three keys.
    pub(super) fn open(tpm: &Tpm) -> Result<Self, TpmError> {
        let absent = |error: Error| TpmError::Absent { tcti: tpm.tcti.clone(), cause: error.to_string() };
        let mut context = Context::new(tpm.address.clone()).map_err(absent)?;
        flush(&mut context)?;
        let made = primary(&mut context, Hierarchy::Owner, template::storage())?;
        let (storage, storage_public) = (made.key_handle, made.out_public);
        let name = context.tr_get_name(ObjectHandle::from(storage)).map_err(refused("name its storage key"))?;
        let session = session(&mut context, storage).map_err(refused("start a session"))?;
        Ok(Self { context, session, storage, storage_public, storage_name: name.value().to_vec() })
    }

    /// Whether it is the TPM under whose storage key something was sealed; both names in hex.
    pub(super) fn require(&mut self, storage: &str, endorsement: &str) -> Result<(), TpmError> {
        if birthmark_core::hex::encode(&self.storage_name) == storage {
            return Ok(());
        }
        // A TPM that is cleared gets a new storage seed, but keeps the seed of its endorsement key.
        let same_chip = birthmark_core::hex::encode(self.endorsement_name()?) == endorsement;
        Err(if same_chip { TpmError::Cleared } else { TpmError::Other })
    }

    /// The storage key.
    pub(super) const fn storage(&self) -> KeyHandle {
        self.storage
    }

    /// Its public area.
    pub(super) const fn storage_public(&self) -> &Public {
        &self.storage_public
    }

    /// Its name.
    pub(super) fn storage_name(&self) -> &[u8] {
        &self.storage_name
    }

    /// By this a TPM is told from another. The P-256 key serves whether it has a certificate or not.
    pub(super) fn endorsement_name(&mut self) -> Result<Vec<u8>, TpmError> {
        let curve = AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP256);
        let template = ek::create_ek_public_from_default_template_2(curve, None);
        let key = self.primary(Hierarchy::Endorsement, template)?.key_handle;
        let name = self.context.tr_get_name(ObjectHandle::from(key)).map_err(refused("name its endorsement key"))?;
        self.flush(key)?;
        Ok(name.value().to_vec())
    }

    /// Whether wrong passwords have locked it, for all keys that take part in that.
    pub(super) fn is_locked_out(&mut self) -> Result<bool, TpmError> {
        let state = self.context.get_tpm_property(PropertyTag::Permanent).map_err(refused("say how it is"))?;
        Ok(state.is_some_and(|state| state & IN_LOCKOUT != 0))
    }

    /// The places in its memory that are in use; none if it does not say.
    pub(super) fn nv_indices(&mut self) -> Vec<u32> {
        match self.context.get_capability(CapabilityType::Handles, NV_INDICES, MOST_HANDLES) {
            Ok((CapabilityData::Handles(indices), _)) => indices.iter().map(|index| u32::from(*index)).collect(),
            Ok(_) | Err(_) => Vec::new(),
        }
    }

    /// Makes a primary key; flush it when it is not needed any more.
    pub(super) fn primary(
        &mut self,
        hierarchy: Hierarchy,
        template: Result<Public, Error>,
    ) -> Result<CreatePrimaryKeyResult, TpmError> {
        primary(&mut self.context, hierarchy, template)
    }

    pub(super) fn flush(&mut self, key: impl Into<ObjectHandle>) -> Result<(), TpmError> {
        self.context.flush_context(key.into()).map_err(refused("flush a key"))
    }

    /// Carries something out in the encrypted session, which also stands for the empty password.
    pub(super) fn privately<T>(
        &mut self,
        doing: &'static str,
        work: impl FnOnce(&mut Context) -> Result<T, Error>,
    ) -> Result<T, TpmError> {
        let session = self.session;
        self.context.execute_with_session(Some(session), work).map_err(refused(doing))
    }

    /// Carries something out that holds no secret, with several authorisations.
    pub(super) fn with_sessions<T>(
        &mut self,
        sessions: (Option<AuthSession>, Option<AuthSession>, Option<AuthSession>),
        work: impl FnOnce(&mut Context) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.context.execute_with_sessions(sessions, work)
    }

    /// Carries something out that holds no secret, without a session.
    pub(super) fn openly<T>(&mut self, work: impl FnOnce(&mut Context) -> Result<T, Error>) -> Result<T, Error> {
        self.context.execute_without_session(work)
    }
}

impl fmt::Debug for Chip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chip").finish_non_exhaustive()
    }
}

/// Behind a resource manager, programs see their own handles alone, and there is nothing to flush.
fn flush(context: &mut Context) -> Result<(), TpmError> {
    for first in [TRANSIENT, LOADED_SESSIONS, SAVED_SESSIONS] {
        let asked = context.get_capability(CapabilityType::Handles, first, MOST_HANDLES);
        let (CapabilityData::Handles(stale), _) = asked.map_err(refused("list what is loaded"))? else { continue };
        for handle in stale.iter() {
            let handle = TpmHandle::try_from(u32::from(*handle));
            let flushed = handle
                .and_then(|handle| context.tr_from_tpm_public(handle))
                .and_then(|object| context.flush_context(object));
            // What cannot be flushed may be in nobody's way.
            if let Err(error) = flushed {
                tracing::debug!(%error, "a stale handle stays in the TPM");
            }
        }
    }
    Ok(())
}

fn primary(
    context: &mut Context,
    hierarchy: Hierarchy,
    template: Result<Public, Error>,
) -> Result<CreatePrimaryKeyResult, TpmError> {
    let make = |context: &mut Context| context.create_primary(hierarchy, template?, None, None, None, None);
    context.execute_with_session(Some(AuthSession::Password), make).map_err(refused("make a primary key"))
}

/// Salted with a secret that only the storage key can read; both directions are encrypted.
fn session(context: &mut Context, storage: KeyHandle) -> Result<AuthSession, Error> {
    let cipher = SymmetricDefinition::AES_128_CFB;
    let session =
        context.start_auth_session(Some(storage), None, None, SessionType::Hmac, cipher, HashingAlgorithm::Sha256)?;
    let session = session.ok_or(Error::WrapperError(WrapperErrorKind::WrongValueFromTpm))?;
    let (attributes, mask) =
        SessionAttributesBuilder::new().with_decrypt(true).with_encrypt(true).with_continue_session(true).build();
    context.tr_sess_set_attributes(session, attributes, mask)?;
    Ok(session)
}

/// TPM 2.0 part 2, section 7.2: the first handles of their kinds.
const NV_INDICES: u32 = 0x0100_0000;
const TRANSIENT: u32 = 0x8000_0000;
const LOADED_SESSIONS: u32 = 0x0200_0000;
const SAVED_SESSIONS: u32 = 0x0300_0000;
/// `inLockout` of `TPMA_PERMANENT` (part 2, section 8.6).
const IN_LOCKOUT: u32 = 1 << 9;
/// More than any TPM has.
const MOST_HANDLES: u32 = 254;
