//! A TPM's evidence, for the authority, that a camera's keys will be in it.
//!
//! For: putting it together once, when the camera is provisioned, and seeing that the TPM still signs. Not
//! for: judging it (`birthmark-sma`).
//!
//! Format: `docs/PROTOCOL.md` section 4. The attestation key is restricted: it signs only what the TPM itself
//! says, here that the storage key of this name is loaded in it, for the camera of this serial.

use birthmark_core::api::provision::TpmAttestation;
use birthmark_core::base64;
use birthmark_core::ids::DeviceSerial;
use tss_esapi::abstraction::{AsymmetricAlgorithmSelection, ek};
use tss_esapi::handles::{KeyHandle, ObjectHandle};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::key_bits::RsaKeyBits;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{Data, EccParameter, Public, Signature, SignatureScheme};
use tss_esapi::traits::Marshall as _;

use super::chip::Chip;
use super::refusal::refused;
use super::template;
use crate::device::TpmError;

/// What the TPM says about itself and this camera.
pub(super) fn attest(chip: &mut Chip, serial: &DeviceSerial) -> Result<TpmAttestation, TpmError> {
    let (endorsement_certificate, algorithm) = endorsement(chip);
    let template = ek::create_ek_public_from_default_template_2(algorithm, None);
    let endorsement = chip.primary(Hierarchy::Endorsement, template)?;
    chip.flush(endorsement.key_handle)?;
    let (key, certify_info, signature) = certified(chip, serial)?;
    Ok(TpmAttestation {
        endorsement_certificate: endorsement_certificate.map(base64::encode),
        endorsement_key: encode(&endorsement.out_public)?,
        attestation_key: encode(&key)?,
        storage_key: encode(chip.storage_public())?,
        certify_info: base64::encode(certify_info),
        signature: base64::encode(signature),
    })
}

/// Has the TPM sign, for nobody: it could vouch for this camera now.
pub(super) fn check(chip: &mut Chip, serial: &DeviceSerial) -> Result<(), TpmError> {
    certified(chip, serial).map(drop)
}

/// The attestation key, what it signs and its signature.
fn certified(chip: &mut Chip, serial: &DeviceSerial) -> Result<(Public, Vec<u8>, [u8; 64]), TpmError> {
    let key = chip.primary(Hierarchy::Owner, template::attestation(serial.as_str()))?;
    let certified = certify(chip, key.key_handle, serial);
    chip.flush(key.key_handle)?;
    certified.map(|(info, signature)| (key.out_public, info, signature))
}

/// Has the storage key certified.
fn certify(chip: &mut Chip, key: KeyHandle, serial: &DeviceSerial) -> Result<(Vec<u8>, [u8; 64]), TpmError> {
    let doing = "certify its storage key";
    let storage = ObjectHandle::from(chip.storage());
    let statement = TpmAttestation::statement(serial);
    // Neither holds a secret, and both have the empty password.
    let passwords = (Some(AuthSession::Password), Some(AuthSession::Password), None);
    let certified = chip.with_sessions(passwords, |context| {
        context.certify(storage, key, Data::try_from(statement.as_bytes().as_slice())?, SignatureScheme::Null)
    });
    let (info, signature) = certified.map_err(refused(doing))?;
    let info = info.marshall().map_err(refused(doing))?;
    let odd = || TpmError::Refused { doing, cause: "its signature is none of ECDSA P-256".to_owned() };
    let Signature::EcDsa(signature) = signature else { return Err(odd()) };
    let mut bytes = [0; 64];
    let (r, s) = bytes.split_at_mut(32);
    pad(signature.signature_r(), r).and_then(|()| pad(signature.signature_s(), s)).ok_or_else(odd)?;
    Ok((info, bytes))
}

/// A TPM may leave out leading zeros.
fn pad(number: &EccParameter, into: &mut [u8]) -> Option<()> {
    let start = into.len().checked_sub(number.value().len())?;
    into.get_mut(start..)?.copy_from_slice(number.value());
    Some(())
}

/// The maker's certificate, and the algorithm of the endorsement key that it is for.
fn endorsement(chip: &mut Chip) -> (Option<Vec<u8>>, AsymmetricAlgorithmSelection) {
    let p256 = AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP256);
    let others =
        [AsymmetricAlgorithmSelection::Rsa(RsaKeyBits::Rsa2048), AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP384)];
    let there = chip.nv_indices();
    for (algorithm, index) in [p256].into_iter().chain(others).zip(CERTIFICATES) {
        if !there.contains(&index) {
            continue;
        }
        if let Ok(certificate) = chip.openly(|context| ek::retrieve_ek_pubcert(context, algorithm)) {
            return (Some(certificate), algorithm);
        }
    }
    (None, p256)
}

/// Where the TCG's EK Credential Profile has the certificates of these keys.
const CERTIFICATES: [u32; 3] = [0x01c0_000a, 0x01c0_0002, 0x01c0_0016];

fn encode(public: &Public) -> Result<String, TpmError> {
    public.marshall().map(base64::encode).map_err(refused("show a public key"))
}
