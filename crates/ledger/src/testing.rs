//! An authority's side for this crate's tests: keys that are published and protect nothing.

use birthmark_core::body::Body;
use birthmark_core::endorsement::{CaptureDigest, PublicKey};
use birthmark_core::network::{EndorsementKey, EndorsementKeyId, EndorsementKeyState, Network};
use blind_rsa_signatures::SecretKeySha384PSSDeterministic;
use rand::SeedableRng;
use rand::rngs::StdRng;

/// Key 1 or 2 of `vectors/keys`.
fn secret(number: u8) -> SecretKeySha384PSSDeterministic {
    let pem = match number {
        1 => include_str!("../../../vectors/keys/endorsement-1.pem"),
        _ => include_str!("../../../vectors/keys/endorsement-2.pem"),
    };
    SecretKeySha384PSSDeterministic::from_pem(pem).unwrap()
}

fn spki(number: u8) -> Vec<u8> {
    secret(number).public_key().unwrap().to_der().unwrap()
}

/// A key's entry in the network file.
pub(crate) fn endorsement_key(number: u8, state: EndorsementKeyState) -> EndorsementKey {
    let spki = spki(number);
    EndorsementKey { key_id: EndorsementKeyId::of_spki(&spki), spki, state }
}

/// What an authority with this key vouches for a body, by way of camera and aggregator.
pub(crate) fn endorse(network: &Network, number: u8, body: &Body) -> Vec<u8> {
    let key = PublicKey::from_spki(&spki(number)).unwrap();
    let digest = CaptureDigest::of(network.network_id(), key.id(), &body.encode());
    let blinded = key.blind(&digest, &mut StdRng::seed_from_u64(1)).unwrap();
    let signature = secret(number).blind_sign(&blinded.blinded_message).unwrap().0;
    key.finish(&digest, &blinded.blinded_message, &blinded.inverse, &signature).unwrap().encode()
}
