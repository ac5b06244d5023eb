use std::path::Path;
use std::process::{Command, Output};

use birthmark_core::hex;
use birthmark_core::ids::{AuthorityId, DeviceFamily};
use birthmark_core::time::{Minute, UnixSeconds};
use birthmark_service::random::OsRng;

use super::authority::{CertificateAuthority, Lifetime, Subject};
use super::*;

/// 3 December 2024, 21:00 UTC.
pub(super) const NOW: UnixSeconds = UnixSeconds(1_733_259_600);

/// The CA of Python's known answers: master key 32 × 7.
pub(super) fn ca() -> CertificateAuthority {
    let seed = hex::decode_array("3c7d743e02cf29ad4950ddcc58b2b243242e0b7b5f9aa931e700acd623c0d6d0").unwrap();
    CertificateAuthority::new(&seed, &authority("SIMULATED_MFG_001"), NOW.minute()).unwrap()
}

/// Another authority of the same name, installed at the same time.
pub(super) fn impostor() -> CertificateAuthority {
    CertificateAuthority::new(&[1; 32], &authority("SIMULATED_MFG_001"), NOW.minute()).unwrap()
}

pub(super) fn authority(name: &str) -> AuthorityId {
    AuthorityId::new(name).unwrap()
}

/// A device's key, which is also of Python's known answers.
pub(super) fn device_key() -> SecretKey {
    let key = hex::decode_array("fd9d771afb5f0fab00bf68907923c6d606c93c2d4b51e12fde39e9a39f6d33ad").unwrap();
    device_signing_key(&DeviceKey::from_bytes(key))
}

pub(super) struct Device {
    pub(super) serial: DeviceSerial,
    pub(super) family: DeviceFamily,
}

impl Device {
    pub(super) fn new(serial: &str, family: &str) -> Self {
        Self { serial: DeviceSerial::new(serial).unwrap(), family: DeviceFamily::new(family).unwrap() }
    }

    pub(super) fn subject(&self) -> Subject<'_> {
        Subject { serial: &self.serial, family: &self.family, key: device_key().public_key() }
    }
}

pub(super) fn camera() -> Device {
    Device::new("PI_CAMERA_001", "Raspberry Pi HQ Camera")
}

/// A chain for [`camera`], issued at [`NOW`].
pub(super) fn chain() -> String {
    ca().issue(&camera().subject(), Lifetime::DEFAULT, NOW, &mut OsRng).unwrap().chain
}

/// By Python's `hmac` and `cryptography`.
#[test]
fn signing_key_has_its_known_answer() {
    assert_eq!(
        hex::encode(device_key().seed().as_slice()),
        "d7f9bf4e4ea97bd8368b1de9c2becef39e1312bf5435008ae039cb8643a545bb"
    );
    assert_eq!(
        device_key().public_key().to_string(),
        "c6155465c1cb027a4ade166db90052b2c713f54779eeff6c8fb092076d9610ce"
    );
}

#[test]
fn urn_encodes_all_but_unreserved_characters() {
    for (serial, urn) in [
        ("PI_CAMERA-001.a~", "urn:birthmark:device:PI_CAMERA-001.a~"),
        ("a b/c?d#e%f:g", "urn:birthmark:device:a%20b%2Fc%3Fd%23e%25f%3Ag"),
    ] {
        assert_eq!(device_urn(&DeviceSerial::new(serial).unwrap()), urn);
    }
}

#[test]
fn numbers_are_positive_and_of_full_length() {
    for bytes in [[0; 16], [0xff; 16], [0x80; 16]] {
        let number = CertificateNumber::from_random(bytes);
        assert!((0x40..0x80).contains(&number.as_bytes()[0]));
        assert_eq!(number.as_bytes()[1..], bytes[1..]);
    }
}

/// OpenSSL is the independent implementation that these tests compare with.
fn openssl(folder: &Path, arguments: &[&str]) -> Output {
    match Command::new("openssl").args(arguments).current_dir(folder).output() {
        Ok(output) => output,
        Err(error) => panic!("this test needs the `openssl` command (OpenSSL 3), which did not start: {error}"),
    }
}

fn text_of(output: &Output) -> String {
    [output.stdout.as_slice(), &output.stderr].concat().escape_ascii().to_string().replace("\\n", "\n")
}

fn folder_with(ca: &CertificateAuthority, chain: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
    std::fs::write(folder.path().join("chain.pem"), chain).unwrap();
    folder
}

fn verify(folder: &Path, purpose: &str, at: u64) -> Output {
    let at = at.to_string();
    openssl(folder, &["verify", "-x509_strict", "-purpose", purpose, "-attime", &at, "-CAfile", "ca.pem", "chain.pem"])
}

#[test]
fn openssl_takes_the_chain_for_a_client_while_it_is_valid() {
    let ca = ca();
    for device in [camera(), Device::new(&"%_ ~".repeat(16), &"long family ".repeat(10))] {
        let issued = ca.issue(&device.subject(), Lifetime::DEFAULT, NOW, &mut OsRng).unwrap();
        let folder = folder_with(&ca, &issued.chain);
        // OpenSSL takes a certificate for expired in its last second, RFC 5280 and we only after it.
        for at in [NOW.0, issued.not_after.0 - 1] {
            let output = verify(folder.path(), "sslclient", at);
            assert!(output.status.success(), "{}", text_of(&output));
        }
        for (purpose, at) in [("sslclient", NOW.0 - 301), ("sslclient", issued.not_after.0 + 1), ("sslserver", NOW.0)] {
            assert!(!verify(folder.path(), purpose, at).status.success(), "{purpose} at {at}");
        }
        let impostor = folder_with(&impostor(), &issued.chain);
        assert!(!verify(impostor.path(), "sslclient", NOW.0).status.success());
    }
}

#[test]
fn openssl_reads_what_was_meant() {
    let ca = ca();
    let issued = ca.issue(&camera().subject(), Lifetime::DEFAULT, NOW, &mut OsRng).unwrap();
    let folder = folder_with(&ca, &issued.chain);
    let show = |file: &str| {
        let output = openssl(folder.path(), &["x509", "-in", file, "-noout", "-text", "-nameopt", "RFC2253"]);
        assert!(output.status.success(), "{}", text_of(&output));
        text_of(&output).lines().map(str::trim).collect::<Vec<_>>().join("\n")
    };
    let number = issued.number.to_string().into_bytes();
    let number = number.chunks(2).map(|pair| String::from_utf8(pair.to_vec()).unwrap()).collect::<Vec<_>>().join(":");
    for part in [
        "Version: 3 (0x2)",
        &number,
        "Issuer: CN=SIMULATED_MFG_001 device CA\n",
        "Subject: O=Raspberry Pi HQ Camera,serialNumber=PI_CAMERA_001\n",
        "Not Before: Dec  3 20:55:00 2024 GMT",
        "Not After : Dec  3 21:00:00 2029 GMT",
        "URI:urn:birthmark:device:PI_CAMERA_001\n",
        "X509v3 Key Usage: critical\nDigital Signature\n",
        "X509v3 Extended Key Usage:\nTLS Web Client Authentication\n",
        "X509v3 Basic Constraints: critical\nCA:FALSE\n",
        "Public Key Algorithm: ED25519",
        "c6:15:54:65:c1:cb:02:7a:4a:de:16:6d:b9:00:52:",
    ] {
        assert!(show("chain.pem").contains(part), "{part:?} in\n{}", show("chain.pem"));
    }
    for part in [
        "Issuer: CN=SIMULATED_MFG_001 device CA\n",
        "Subject: CN=SIMULATED_MFG_001 device CA\n",
        "Not Before: Dec  3 21:00:00 2024 GMT",
        "Not After : Dec  3 21:00:00 2044 GMT",
        "X509v3 Key Usage: critical\nCertificate Sign\n",
        "X509v3 Basic Constraints: critical\nCA:TRUE, pathlen:0\n",
        "ff:1e:82:57:16:cd:f9:e7:28:62:e3:45:79:99:af:",
    ] {
        assert!(show("ca.pem").contains(part), "{part:?} in\n{}", show("ca.pem"));
    }
    assert_eq!(Minute(28_887_660).start(), NOW);
}
