//! The authority's side: its keys, which are published and protect nothing, and what it vouches for.

use std::convert::Infallible;

use birthmark_core::endorsement::{Blinded, CaptureDigest, Endorsement, PublicKey};
use birthmark_core::hash::Digest;
use birthmark_core::ids::NetworkId;
use birthmark_core::token::v2::TokenSecretKey;
use blind_rsa_signatures::SecretKeySha384PSSDeterministic;
use rand_core::{TryCryptoRng, TryRng};

use crate::frame::digest;

/// One body with all that passes between camera, authority and aggregator.
pub(crate) struct Vouched {
    pub(crate) key: PublicKey,
    pub(crate) digest: CaptureDigest,
    pub(crate) blinded: Blinded,
    pub(crate) blind_signature: Vec<u8>,
    pub(crate) endorsement: Endorsement,
}

/// Key 1, 2 (2048 bits each) or 3 (3072 bits) of `vectors/keys`.
pub(crate) fn secret(number: u8) -> SecretKeySha384PSSDeterministic {
    let pem = match number {
        1 => include_str!("../../../../vectors/keys/endorsement-1.pem"),
        2 => include_str!("../../../../vectors/keys/endorsement-2.pem"),
        _ => include_str!("../../../../vectors/keys/endorsement-3.pem"),
    };
    SecretKeySha384PSSDeterministic::from_pem(pem).unwrap()
}

pub(crate) fn spki(number: u8) -> Vec<u8> {
    secret(number).public_key().unwrap().to_der().unwrap()
}

/// Vouches for an encoded body with a key; `label` names the camera's randomness.
pub(crate) fn vouch(number: u8, network: NetworkId, body: &[u8], label: &str) -> Vouched {
    let key = PublicKey::from_spki(&spki(number)).unwrap();
    let digest = CaptureDigest::of(network, key.id(), body);
    let blinded = key.blind(&digest, &mut Stream::new(label)).unwrap();
    let blind_signature = secret(number).blind_sign(&blinded.blinded_message).unwrap().0;
    let endorsement = key.finish(&digest, &blinded.blinded_message, &blinded.inverse, &blind_signature).unwrap();
    Vouched { key, digest, blinded, blind_signature, endorsement }
}

/// The seed of the secret key to which version 2 tokens are sealed.
pub(crate) fn token_seed() -> [u8; 32] {
    *digest("token key").as_bytes()
}

pub(crate) fn token_secret() -> TokenSecretKey {
    TokenSecretKey::from_seed(&token_seed())
}

/// Randomness that nobody chose and that is the same in each run: SHA-256(seed ‖ be64 number) for number 0, 1, …
pub(crate) struct Stream {
    seed: Digest,
    number: u64,
    left: Vec<u8>,
}

impl Stream {
    pub(crate) fn new(label: &str) -> Self {
        Self { seed: digest(label), number: 0, left: Vec::new() }
    }

    fn next<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        let Ok(()) = self.try_fill_bytes(&mut out);
        out
    }
}

impl TryRng for Stream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.next()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.next()))
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
        for byte in to {
            if self.left.is_empty() {
                let block = Digest::of_parts(&[self.seed.as_bytes(), &self.number.to_be_bytes()]);
                self.left = block.as_bytes().iter().rev().copied().collect();
                self.number += 1;
            }
            *byte = self.left.pop().unwrap();
        }
        Ok(())
    }
}

impl TryCryptoRng for Stream {}
