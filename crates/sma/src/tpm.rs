//! A TPM's evidence, as a camera brings it when it is provisioned.
//!
//! For: judging by pure functions whether it holds together, and the one text in which it is kept. What it
//! shows: a key that signs only what a TPM says has signed that the camera's storage key is in the same TPM,
//! for the camera of this serial; and the certificate is of the endorsement key that it came with.
//!
//! Not for: whether that signing key and the certified endorsement key are in one TPM, which only credential
//! activation shows, or whether the certificate's issuer makes TPMs. An administrator judges that; the
//! evidence stays.
//!
//! Format: `docs/PROTOCOL.md` section 4; the structures are those of the TPM 2.0 Library Specification, part 2:
//! ```text
//! TPMT_PUBLIC  be16 type ‖ be16 nameAlg ‖ be32 objectAttributes ‖ TPM2B authPolicy ‖ parameters ‖ unique
//! TPMS_ATTEST  be32 0xff544347 ‖ be16 0x8017 ‖ TPM2B qualifiedSigner ‖ TPM2B extraData ‖ clock 17 ‖ firmware 8
//!              ‖ TPM2B name ‖ TPM2B qualifiedName
//! TPM2B        be16 length ‖ bytes
//! name         be16 nameAlg ‖ SHA-256 of TPMT_PUBLIC; qualified: be16 nameAlg ‖ SHA-256 of (be32 owner ‖ name)
//! ```

mod public;

use birthmark_core::api::provision::TpmAttestation;
use birthmark_core::base64;
use birthmark_core::ids::DeviceSerial;
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use x509_parser::parse_x509_certificate;
use x509_parser::public_key::PublicKey;

use public::{Attributes, Public, Reader, Unique};

/// Why evidence does not hold. The text carries no input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TpmEvidenceError {
    /// No base64, or longer than such a thing can be.
    #[error("{0} is no base64 of a bounded length")]
    Encoding(&'static str),
    /// No structure of that kind.
    #[error("{0} is not the TPM structure that it should be")]
    Structure(&'static str),
    /// A key that could leave the TPM, or signs what anybody gives it.
    #[error("{0} has other attributes than such a key of a TPM")]
    Attributes(&'static str),
    /// It speaks of something else.
    #[error("certify_info does not certify the storage key for this camera")]
    Statement,
    /// The signature does not hold.
    #[error("the attestation key did not sign certify_info")]
    Signature,
    /// The certificate is another key's.
    #[error("the certificate is not the endorsement key's")]
    Certificate,
}

/// Whether the evidence holds for the camera of this serial.
pub(crate) fn check(evidence: &TpmAttestation, serial: &DeviceSerial) -> Result<(), TpmEvidenceError> {
    let endorsement = key("endorsement_key", &evidence.endorsement_key, Attributes::is_endorsement)?.0;
    let (attestation, signer) = key("attestation_key", &evidence.attestation_key, Attributes::is_attestation)?;
    let (_, storage_name) = key("storage_key", &evidence.storage_key, Attributes::is_storage)?;
    let info = decode("certify_info", &evidence.certify_info)?;
    let signature = decode("signature", &evidence.signature)?;
    verify(&attestation, &info, &signature)?;
    let said = CertifyInfo::parse(&info).ok_or(TpmEvidenceError::Structure("certify_info"))?;
    let statement = TpmAttestation::statement(serial);
    let expected = CertifyInfo {
        signer: &public::qualified_by_owner(&signer),
        statement: statement.as_bytes(),
        name: &storage_name,
        qualified_name: &public::qualified_by_owner(&storage_name),
    };
    if said != expected {
        return Err(TpmEvidenceError::Statement);
    }
    match &evidence.endorsement_certificate {
        Some(certificate) => certifies(&decode("endorsement_certificate", certificate)?, &endorsement),
        None => Ok(()),
    }
}

/// A key with its name.
fn key(
    what: &'static str,
    text: &str,
    holds: impl FnOnce(Attributes) -> bool,
) -> Result<(Public, Vec<u8>), TpmEvidenceError> {
    let bytes = decode(what, text)?;
    let key = Public::parse(&bytes).ok_or(TpmEvidenceError::Structure(what))?;
    if !holds(key.attributes) {
        return Err(TpmEvidenceError::Attributes(what));
    }
    Ok((key, public::name(&bytes)))
}

fn decode(what: &'static str, text: &str) -> Result<Vec<u8>, TpmEvidenceError> {
    base64::decode_bounded(text, MAX_PART).map_err(|_| TpmEvidenceError::Encoding(what))
}

fn verify(key: &Public, message: &[u8], signature: &[u8]) -> Result<(), TpmEvidenceError> {
    let Unique::P256(point) = &key.unique else { return Err(TpmEvidenceError::Structure("attestation_key")) };
    let key = VerifyingKey::from_sec1_bytes(point).map_err(|_| TpmEvidenceError::Structure("attestation_key"))?;
    let signature = Signature::from_slice(signature).map_err(|_| TpmEvidenceError::Signature)?;
    key.verify(message, &signature).map_err(|_| TpmEvidenceError::Signature)
}

/// What the TPM says, but for its clock and its firmware.
#[derive(Debug, PartialEq, Eq)]
struct CertifyInfo<'a> {
    signer: &'a [u8],
    /// What was given to be signed along.
    statement: &'a [u8],
    /// Of the key that is certified.
    name: &'a [u8],
    qualified_name: &'a [u8],
}

impl<'a> CertifyInfo<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        if reader.u32()? != GENERATED_BY_A_TPM || reader.u16()? != CERTIFY {
            return None;
        }
        let (signer, statement) = (reader.sized()?, reader.sized()?);
        reader.take(CLOCK_AND_FIRMWARE)?;
        let (name, qualified_name) = (reader.sized()?, reader.sized()?);
        reader.0.is_empty().then_some(Self { signer, statement, name, qualified_name })
    }
}

fn certifies(certificate: &[u8], key: &Public) -> Result<(), TpmEvidenceError> {
    // A TPM's memory may hold more than the certificate.
    let (_, certificate) = parse_x509_certificate(certificate).map_err(|_| TpmEvidenceError::Certificate)?;
    let certified = certificate.public_key().parsed().map_err(|_| TpmEvidenceError::Certificate)?;
    let same = match (&key.unique, &certified) {
        (Unique::Rsa(modulus), PublicKey::RSA(rsa)) => strip(rsa.modulus) == strip(modulus),
        (Unique::P256(point) | Unique::OtherCurve(point), PublicKey::EC(ec)) => ec.data() == point.as_slice(),
        _ => false,
    };
    if same { Ok(()) } else { Err(TpmEvidenceError::Certificate) }
}

/// A number without leading zeros: DER sets one before a high bit.
fn strip(mut number: &[u8]) -> &[u8] {
    while let [0, rest @ ..] = number {
        number = rest;
    }
    number
}

/// Longer than any certificate that a TPM has room for.
const MAX_PART: usize = 4096;
/// `TPM_GENERATED_VALUE`, and `TPM_ST_ATTEST_CERTIFY`.
const GENERATED_BY_A_TPM: u32 = 0xff54_4347;
const CERTIFY: u16 = 0x8017;
const CLOCK_AND_FIRMWARE: usize = 17 + 8;

#[cfg(test)]
mod tests;
