//! X.509 certificates of devices, from this authority's own certificate authority (CA).
//!
//! For: the CA and the certificates that it issues ([`authority`]), checking one that is presented
//! ([`check`]), and renewing one before or soon after it ends ([`renewal`]).
//! Not for: whether a device is provisioned or revoked (the registry; a certificate is taken for no more
//! than a name and a key), or camera tokens, which need no certificate. Aggregators never see one.
//!
//! Format: RFC 5280 and RFC 8410, all keys and signatures Ed25519; `docs/PROTOCOL.md` section 4:
//! ```text
//! CA      subject = issuer = CN "<authority id> device CA"; key from the master key; 20 years from the minute
//!         of installation; basicConstraints CA, pathlen 0; keyUsage keyCertSign; subjectKeyIdentifier
//! device  subject = serialNumber "<device serial>", O "<device family>"; 16 random bytes as serial number;
//!         from 5 minutes before it is issued, 5 years, never longer than the CA's; basicConstraints not CA;
//!         keyUsage digitalSignature; extKeyUsage clientAuth; both key identifiers;
//!         subjectAltName URI "urn:birthmark:device:<serial, percent-encoded>"
//! chain   = PEM of the device's certificate, then PEM of the CA's
//! device's signing key = Ed25519, seed = HKDF-SHA256(ikm = device key, salt = empty,
//!         info = "birthmark/device-signing/v1", 32 bytes): computed by camera and authority alike
//! ```
//! CN and O are cut at the 64 characters that RFC 5280 allows them; a serial with characters that a
//! `PrintableString` does not have (`_`) is written as `UTF8String`, which all readers take.

pub(crate) mod authority;
pub(crate) mod check;
pub(crate) mod pem;
pub(crate) mod renewal;

use birthmark_core::ids::DeviceSerial;
use birthmark_core::note::SecretKey;
use birthmark_core::token::v2::DeviceKey;
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

/// The number in a device's certificate: random, so that it tells nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CertificateNumber([u8; Self::BYTES]);

impl CertificateNumber {
    const BYTES: usize = 16;

    /// Its 16 bytes, of which the first is 0x40 to 0x7f: positive, and never shorter.
    pub(crate) const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// From 16 bytes, of which 126 bits are kept.
    fn from_random(mut bytes: [u8; Self::BYTES]) -> Self {
        let [first, ..] = &mut bytes;
        *first = *first & 0x3f | 0x40;
        Self(bytes)
    }
}

impl std::fmt::Display for CertificateNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&birthmark_core::hex::encode(self.0))
    }
}

impl std::fmt::Debug for CertificateNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CertificateNumber({self})")
    }
}

/// The key whose public half is in a device's certificate.
pub(crate) fn device_signing_key(device_key: &DeviceKey) -> SecretKey {
    let mut seed = Zeroizing::new([0; 32]);
    // Fails only above 255 hash lengths. Should that change, the seed stays zero, and the known answer fails.
    let _ = Hkdf::<Sha256>::new(None, device_key.expose()).expand(b"birthmark/device-signing/v1", seed.as_mut_slice());
    SecretKey::from_seed(&seed)
}

/// `urn:birthmark:device:` and the serial, in which everything but RFC 3986's unreserved characters is
/// percent-encoded.
fn device_urn(serial: &DeviceSerial) -> String {
    let mut urn = "urn:birthmark:device:".to_owned();
    for byte in serial.as_str().bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            urn.push(char::from(byte));
        } else {
            urn.push('%');
            urn.extend([byte >> 4, byte & 15].map(|digit| char::from(HEX[usize::from(digit)])));
        }
    }
    urn
}

/// RFC 3986 section 2.1 wants upper case.
const HEX: &[u8; 16] = b"0123456789ABCDEF";

#[cfg(test)]
mod tests;
