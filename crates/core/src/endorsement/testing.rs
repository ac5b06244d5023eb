//! An authority's side for this crate's tests: keys that are published and protect nothing.

use blind_rsa_signatures::SecretKeySha384PSSDeterministic;

use super::PublicKey;

/// Key 1 or 2 of `vectors/keys`.
pub(crate) fn secret_key(number: u8) -> SecretKeySha384PSSDeterministic {
    let pem = match number {
        1 => include_str!("../../../../vectors/keys/endorsement-1.pem"),
        _ => include_str!("../../../../vectors/keys/endorsement-2.pem"),
    };
    SecretKeySha384PSSDeterministic::from_pem(pem).unwrap()
}

pub(crate) fn public_key(number: u8) -> PublicKey {
    PublicKey::from_spki(&secret_key(number).public_key().unwrap().to_der().unwrap()).unwrap()
}

/// What the authority answers.
pub(crate) fn sign(number: u8, blinded_message: &[u8]) -> Vec<u8> {
    secret_key(number).blind_sign(blinded_message).unwrap().0
}
