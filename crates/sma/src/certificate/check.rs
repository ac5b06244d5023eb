//! Checking a certificate that somebody presents.
//!
//! Everything here is hostile until the CA's signature is found good; after it, the certificate is one
//! that this authority wrote, and its fields are checked all the same: the CA's own certificate bears
//! that signature too.

use birthmark_core::ids::DeviceSerial;
use birthmark_core::note::PublicKey;
use birthmark_core::time::UnixSeconds;
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{
    OID_SIG_ED25519, OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER, OID_X509_EXT_BASIC_CONSTRAINTS,
    OID_X509_EXT_EXTENDED_KEY_USAGE, OID_X509_EXT_KEY_USAGE, OID_X509_EXT_SUBJECT_ALT_NAME,
    OID_X509_EXT_SUBJECT_KEY_IDENTIFIER, OID_X509_SERIALNUMBER,
};
use x509_parser::parse_x509_certificate;
use x509_parser::time::ASN1Time;
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo, X509Version};

#[cfg(test)]
use super::pem;
use super::pem::{MAX_DER, PemError};
use super::{CertificateNumber, device_urn};

/// A CA's certificate, found sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Anchor {
    der: Vec<u8>,
    /// Its subject in DER.
    name: Vec<u8>,
    key: PublicKey,
    valid: Validity,
}

/// Whom a certificate names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviceIdentity {
    /// The device.
    pub(crate) serial: DeviceSerial,
    /// Its signing key. It may be of an earlier generation: the registry knows.
    pub(crate) key: PublicKey,
    /// The certificate's number.
    pub(crate) number: CertificateNumber,
    /// The certificate's last second.
    pub(crate) not_after: UnixSeconds,
}

/// Why a certificate is not taken. Carries no part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// Not PEM.
    #[error("not PEM of a certificate: {0}")]
    Pem(#[from] PemError),
    /// Not one X.509 certificate of version 3 with Ed25519 keys in DER.
    #[error("not a certificate in DER as this authority writes them")]
    Malformed,
    /// The second certificate of the chain is not the CA's.
    #[error("the chain leads to another authority")]
    AnotherAuthority,
    /// Another CA issued it, or nobody did.
    #[error("not issued by this authority")]
    NotOurs,
    /// It begins later.
    #[error("not valid yet")]
    NotYetValid,
    /// It, or the CA's certificate, is over.
    #[error("expired")]
    Expired,
    /// It is issued for another use: the CA's own, for instance.
    #[error("not a certificate of a device")]
    Usage,
    /// Serial and alternative name do not fit each other.
    #[error("the certificate's names contradict each other")]
    Names,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Validity {
    from: UnixSeconds,
    to: UnixSeconds,
}

impl Anchor {
    /// Reads a CA's own certificate, which must be as `authority` writes it.
    pub(crate) fn parse(der: &[u8]) -> Result<Self, CheckError> {
        let certificate = parse(der)?;
        let key = public_key(certificate.public_key())?;
        if certificate.issuer().as_raw() != certificate.subject().as_raw() || !is_signed_by(&certificate, &key) {
            return Err(CheckError::NotOurs);
        }
        let constraints = certificate.basic_constraints()?.ok_or(CheckError::Usage)?;
        let usage = certificate.key_usage()?.ok_or(CheckError::Usage)?;
        let is_ca = constraints.critical && constraints.value.ca && constraints.value.path_len_constraint == Some(0);
        if !is_ca || !usage.critical || usage.value.flags != KEY_CERT_SIGN || !all_critical_known(&certificate) {
            return Err(CheckError::Usage);
        }
        let valid = Validity::of(&certificate)?;
        Ok(Self { der: der.to_vec(), name: certificate.subject().as_raw().to_vec(), key, valid })
    }

    /// The CA's public key.
    #[cfg(test)]
    pub(crate) const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Its last second.
    pub(crate) const fn not_after(&self) -> UnixSeconds {
        self.valid.to
    }

    /// Checks PEM of a device's certificate, alone or followed by this CA's.
    #[cfg(test)]
    pub(crate) fn check_chain(&self, chain: &str, now: UnixSeconds) -> Result<DeviceIdentity, CheckError> {
        match pem::decode(chain)?.as_slice() {
            [leaf] => self.check(leaf, now, 0),
            [leaf, ca] if *ca == self.der => self.check(leaf, now, 0),
            _ => Err(CheckError::AnotherAuthority),
        }
    }

    /// Checks a device's certificate in DER; `grace` is for how many seconds after its end it is still taken.
    pub(super) fn check(&self, leaf: &[u8], now: UnixSeconds, grace: u64) -> Result<DeviceIdentity, CheckError> {
        self.valid.check(now, 0)?;
        let certificate = parse(leaf)?;
        if certificate.issuer().as_raw() != self.name || !is_signed_by(&certificate, &self.key) {
            return Err(CheckError::NotOurs);
        }
        check_usage(&certificate)?;
        let valid = Validity::of(&certificate)?;
        valid.check(now, grace)?;
        let number = certificate.tbs_certificate.raw_serial().try_into().map_err(|_| CheckError::Malformed)?;
        Ok(DeviceIdentity {
            serial: names(&certificate)?,
            key: public_key(certificate.public_key())?,
            number: CertificateNumber(number),
            not_after: valid.to,
        })
    }
}

impl Validity {
    fn of(certificate: &X509Certificate<'_>) -> Result<Self, CheckError> {
        let seconds = |time: ASN1Time| u64::try_from(time.timestamp()).map(UnixSeconds);
        let validity = certificate.validity();
        match (seconds(validity.not_before), seconds(validity.not_after)) {
            (Ok(from), Ok(to)) => Ok(Self { from, to }),
            _ => Err(CheckError::Malformed),
        }
    }

    fn check(self, now: UnixSeconds, grace: u64) -> Result<(), CheckError> {
        if now < self.from {
            return Err(CheckError::NotYetValid);
        }
        if now.0 > self.to.0.saturating_add(grace) { Err(CheckError::Expired) } else { Ok(()) }
    }
}

impl From<X509Error> for CheckError {
    fn from(_: X509Error) -> Self {
        Self::Malformed
    }
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CheckError> {
    if der.len() > MAX_DER {
        return Err(CheckError::Malformed);
    }
    match parse_x509_certificate(der) {
        Ok(([], certificate)) if certificate.version() == X509Version::V3 && is_canonical(&certificate) => {
            Ok(certificate)
        }
        _ => Err(CheckError::Malformed),
    }
}

/// Whether all around the signed part is as DER and RFC 8410 have it. The parser takes other forms too
/// (a SEQUENCE that is marked as primitive), which no signature covers: one certificate, many texts.
fn is_canonical(certificate: &X509Certificate<'_>) -> bool {
    let signed = certificate.tbs_certificate.as_ref();
    let signature: &[u8] = &certificate.signature_value.data;
    let content = [signed, &SIGNATURE_HEAD, signature].concat();
    let Ok(length) = u16::try_from(content.len()) else {
        return false;
    };
    // Of 256 bytes or more, as all of ours: shorter ones have another head.
    let head = [&[0x30, 0x82], length.to_be_bytes().as_slice()].concat();
    length >= 256 && signature.len() == 64 && *certificate.as_raw() == [head, content].concat()
}

fn is_signed_by(certificate: &X509Certificate<'_>, key: &PublicKey) -> bool {
    is_ed25519(&certificate.tbs_certificate.signature)
        && key.verifies(certificate.tbs_certificate.as_ref(), &certificate.signature_value.data)
}

/// RFC 8410 section 3: no parameters, not even NULL.
fn is_ed25519(algorithm: &AlgorithmIdentifier<'_>) -> bool {
    algorithm.algorithm == OID_SIG_ED25519 && algorithm.parameters.is_none()
}

fn public_key(spki: &SubjectPublicKeyInfo<'_>) -> Result<PublicKey, CheckError> {
    let bits = &spki.subject_public_key;
    if !is_ed25519(&spki.algorithm) || bits.unused_bits != 0 {
        return Err(CheckError::Malformed);
    }
    let bytes = bits.data.as_ref().try_into().map_err(|_| CheckError::Malformed)?;
    PublicKey::from_bytes(bytes).map_err(|_| CheckError::Malformed)
}

fn check_usage(certificate: &X509Certificate<'_>) -> Result<(), CheckError> {
    let constraints = certificate.basic_constraints()?.ok_or(CheckError::Usage)?;
    let usage = certificate.key_usage()?.ok_or(CheckError::Usage)?;
    let extended = certificate.extended_key_usage()?.ok_or(CheckError::Usage)?;
    let is_device = !constraints.value.ca && usage.value.flags == DIGITAL_SIGNATURE && extended.value.client_auth;
    if is_device && all_critical_known(certificate) { Ok(()) } else { Err(CheckError::Usage) }
}

/// RFC 5280 section 4.2: who does not know a critical extension must refuse.
fn all_critical_known(certificate: &X509Certificate<'_>) -> bool {
    let known = [
        OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER,
        OID_X509_EXT_BASIC_CONSTRAINTS,
        OID_X509_EXT_EXTENDED_KEY_USAGE,
        OID_X509_EXT_KEY_USAGE,
        OID_X509_EXT_SUBJECT_ALT_NAME,
        OID_X509_EXT_SUBJECT_KEY_IDENTIFIER,
    ];
    certificate.extensions().iter().all(|extension| {
        let parsed = !matches!(extension.parsed_extension(), ParsedExtension::ParseError { .. });
        parsed && (!extension.critical || known.contains(&extension.oid))
    })
}

/// The serial, if subject and alternative name both name it and nothing else.
fn names(certificate: &X509Certificate<'_>) -> Result<DeviceSerial, CheckError> {
    let mut serials = certificate.subject().iter_by_oid(&OID_X509_SERIALNUMBER);
    let (Some(serial), None) = (serials.next(), serials.next()) else {
        return Err(CheckError::Names);
    };
    let serial = DeviceSerial::new(serial.as_str()?).map_err(|_| CheckError::Names)?;
    let alternative = certificate.subject_alternative_name()?.ok_or(CheckError::Names)?;
    match alternative.value.general_names.as_slice() {
        [GeneralName::URI(uri)] if **uri == *device_urn(&serial) => Ok(serial),
        _ => Err(CheckError::Names),
    }
}

/// The algorithm Ed25519 without parameters, and the head of a BIT STRING of 64 whole bytes.
const SIGNATURE_HEAD: [u8; 10] = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x41, 0x00];

/// RFC 5280 section 4.2.1.3: bit 0 and bit 5.
const DIGITAL_SIGNATURE: u16 = 1;
const KEY_CERT_SIGN: u16 = 1 << 5;

#[cfg(test)]
mod tests;
