//! Signers with published keys, for tests.

use std::sync::Arc;

use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey};

use super::Signer;
use super::software::SoftwareSigner;

/// Key 1 or 2 of `vectors/keys`: published, and protects nothing.
pub(crate) fn pkcs8(number: u8) -> Vec<u8> {
    let pem = match number {
        1 => include_str!("../../../../vectors/keys/endorsement-1.pem"),
        _ => include_str!("../../../../vectors/keys/endorsement-2.pem"),
    };
    rsa::RsaPrivateKey::from_pkcs8_pem(pem).unwrap().to_pkcs8_der().unwrap().as_bytes().to_vec()
}

pub(crate) fn software(number: u8) -> Arc<dyn Signer> {
    Arc::new(SoftwareSigner::from_pkcs8(&pkcs8(number)).unwrap())
}
