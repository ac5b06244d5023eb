//! The CA: its own certificate, and those that it issues.
//!
//! Its key and certificate follow from the master key, the authority's name and the minute of its
//! installation, and are the same bytes after every restart and at every machine of the authority:
//! nothing needs keeping.

use birthmark_core::hash::Digest;
use birthmark_core::ids::{AuthorityId, DeviceFamily, DeviceSerial};
use birthmark_core::note::{PublicKey, SecretKey};
use birthmark_core::time::{Minute, UnixSeconds};
use rand_core::CryptoRng;
use rcgen::string::{Ia5String, PrintableString};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm, SigningKey,
};
use x509_parser::error::X509Error;
use x509_parser::time::ASN1Time;

use super::check::{Anchor, CheckError};
use super::{CertificateNumber, device_urn};

/// Issues device certificates.
pub(crate) struct CertificateAuthority {
    params: CertificateParams,
    key: CaKey,
    pem: String,
    anchor: Anchor,
}

/// Whom a certificate is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    /// Its serial.
    pub(crate) serial: &'a DeviceSerial,
    /// Its family.
    pub(crate) family: &'a DeviceFamily,
    /// The public half of [`super::device_signing_key`].
    pub(crate) key: PublicKey,
}

/// How long device certificates hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetime(u32);

/// A device's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IssuedCertificate {
    /// PEM: the device's certificate, then the CA's.
    pub(crate) chain: String,
    /// Its number.
    pub(crate) number: CertificateNumber,
    /// Its last second.
    pub(crate) not_after: UnixSeconds,
}

/// The CA's own certificate is over, or was installed with a clock that was years behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certificate of the authority's CA (ca.pem) has expired")]
pub struct CaExpired;

/// Why no certificate was made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// 20 years have passed.
    #[error(transparent)]
    CaExpired(#[from] CaExpired),
    /// The year is beyond 9999.
    #[error("a certificate cannot have this time: {0}")]
    Time(#[from] X509Error),
    /// The library refused.
    #[error("a certificate cannot be written: {0}")]
    Write(#[from] rcgen::Error),
    /// The CA's own certificate does not pass our check.
    #[error("the CA's own certificate is not sound: {0}")]
    Unsound(#[from] CheckError),
}

impl Lifetime {
    /// 5 years.
    pub(crate) const DEFAULT: Self = Self(5 * 365 + 1);

    /// 1 day to 20 years.
    #[cfg(test)]
    pub(crate) const fn from_days(days: u32) -> Option<Self> {
        if 1 <= days && days <= CA_DAYS { Some(Self(days)) } else { None }
    }

    const fn seconds(self) -> u64 {
        // Lossless: `u64::from` is not const.
        self.0 as u64 * DAY
    }
}

impl CertificateAuthority {
    /// The CA of an authority.
    pub(crate) fn new(seed: &[u8; 32], authority: &AuthorityId, installed: Minute) -> Result<Self, IssueError> {
        let key = CaKey::new(seed);
        let mut params = CertificateParams::default();
        let from = installed.start().0;
        params.not_before = time(from)?.to_datetime();
        params.not_after = time(from.saturating_add(u64::from(CA_DAYS) * DAY))?.to_datetime();
        params.serial_number = Some(number_of_ca(&key.public));
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, ca_name(authority));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key)?;
        let anchor = Anchor::parse(certificate.der())?;
        Ok(Self { pem: certificate.pem(), params, key, anchor })
    }

    /// Its certificate in PEM.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// What presented certificates are checked against.
    pub(crate) const fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    /// Signs what the authority states of its devices. Never a certificate: those begin with 0x30.
    pub(crate) const fn key(&self) -> &SecretKey {
        &self.key.secret
    }

    /// Whether a certificate can be issued now.
    pub(crate) fn can_issue(&self, now: UnixSeconds) -> Result<(), CaExpired> {
        if now < self.anchor.not_after() { Ok(()) } else { Err(CaExpired) }
    }

    /// Issues a certificate that holds from now, and 5 minutes back for clocks that are slow.
    pub(crate) fn issue(
        &self,
        subject: &Subject<'_>,
        lifetime: Lifetime,
        now: UnixSeconds,
        rng: &mut impl CryptoRng,
    ) -> Result<IssuedCertificate, IssueError> {
        self.can_issue(now)?;
        let mut number = [0; CertificateNumber::BYTES];
        rng.fill_bytes(&mut number);
        let number = CertificateNumber::from_random(number);
        let not_after = UnixSeconds(now.0.saturating_add(lifetime.seconds()).min(self.anchor.not_after().0));
        let params = device_params(subject, number, now, not_after)?;
        let leaf = self.sign(&params, subject.key)?;
        Ok(IssuedCertificate { chain: [leaf.pem().as_str(), &self.pem].concat(), number, not_after })
    }

    fn sign(&self, params: &CertificateParams, key: PublicKey) -> Result<rcgen::Certificate, rcgen::Error> {
        params.signed_by(&DevicePublicKey(key), &Issuer::from_params(&self.params, &self.key))
    }
}

impl std::fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CertificateAuthority({})", self.key.secret.public_key())
    }
}

/// Signs with our own Ed25519, so that no other library holds a copy of the key.
struct CaKey {
    secret: SecretKey,
    public: [u8; 32],
}

impl CaKey {
    fn new(seed: &[u8; 32]) -> Self {
        let secret = SecretKey::from_seed(seed);
        let public = *secret.public_key().as_bytes();
        Self { secret, public }
    }
}

impl PublicKeyData for CaKey {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl SigningKey for CaKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.secret.sign(message).to_vec())
    }
}

struct DevicePublicKey(PublicKey);

impl PublicKeyData for DevicePublicKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

fn device_params(
    subject: &Subject<'_>,
    number: CertificateNumber,
    now: UnixSeconds,
    not_after: UnixSeconds,
) -> Result<CertificateParams, IssueError> {
    let mut params = CertificateParams::default();
    params.not_before = time(now.0.saturating_sub(SLOW_CLOCK))?.to_datetime();
    params.not_after = time(not_after.0)?.to_datetime();
    params.serial_number = Some(SerialNumber::from_slice(number.as_bytes()));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CustomDnType(SERIAL_NUMBER.to_vec()), text(subject.serial.as_str()));
    params.distinguished_name.push(DnType::OrganizationName, text(&cut(subject.family.as_str(), MAX_NAME)));
    params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(device_urn(subject.serial))?)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn time(seconds: u64) -> Result<ASN1Time, X509Error> {
    ASN1Time::from_timestamp(i64::try_from(seconds).map_err(|_| X509Error::InvalidDate)?)
}

/// Fixed by the key, so that the certificate is always the same.
fn number_of_ca(public: &[u8; 32]) -> SerialNumber {
    let digest = Digest::of_parts(&[b"birthmark/ca-number/v1", public]);
    let mut number = [0; CertificateNumber::BYTES];
    number.iter_mut().zip(digest.as_bytes()).for_each(|(to, from)| *to = *from);
    SerialNumber::from_slice(CertificateNumber::from_random(number).as_bytes())
}

fn ca_name(authority: &AuthorityId) -> String {
    [&*cut(authority.as_str(), MAX_NAME - CA_SUFFIX.len()), CA_SUFFIX].concat()
}

/// The first characters of an ASCII text.
fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// As RFC 5280 wants it where the alphabet allows, else as UTF-8.
fn text(text: &str) -> DnValue {
    // A question mark belongs to the alphabet, but the encoder under rcgen 0.14 (yasna 0.6) panics at it.
    match PrintableString::try_from(text) {
        Ok(printable) if !text.contains('?') => DnValue::PrintableString(printable),
        _ => DnValue::Utf8String(text.to_owned()),
    }
}

const CA_SUFFIX: &str = " device CA";
/// `id-at-serialNumber`.
const SERIAL_NUMBER: [u64; 4] = [2, 5, 4, 5];
/// RFC 5280 appendix A.1: `ub-common-name`, `ub-organization-name`.
const MAX_NAME: usize = 64;
const DAY: u64 = 24 * 60 * 60;
/// 20 years.
const CA_DAYS: u32 = 20 * 365 + 5;
/// How far behind a reader's clock may be when it first sees a new certificate.
const SLOW_CLOCK: u64 = 5 * 60;

#[cfg(test)]
mod tests;
