//! Endorsements: the authority's signature under a capture that it has never seen.
//!
//! For: what a camera has signed ([`CaptureDigest`]), blinding it, unblinding the answer, and checking
//! the result, in aggregators, validators and verifiers alike.
//!
//! Not for: the private key and when it is used (`birthmark-sma`), or which keys count (`network`).
//!
//! Format: `docs/PROTOCOL.md` section 6; RFC 9474, RSABSSA-SHA384-PSS-Deterministic:
//! ```text
//! D           = SHA-256("birthmark/capture/v1" ‖ network_id (32) ‖ key_id (8) ‖ body)
//! signed      = the 32 bytes of D, EMSA-PSS with SHA-384 and 48 bytes of salt
//! key_id      = first 8 bytes of SHA-256(SPKI)     SPKI: rsaEncryption, 2048 to 4096 bits, e = 65537
//! endorsement = key_id (8) ‖ signature (as long as the modulus)
//! ```
//! It covers neither a time nor who submits: whoever holds it may publish it later.

use blind_rsa_signatures::{
    BlindMessage, BlindSignature, BlindingResult, PublicKeySha384PSSDeterministic, Secret, Signature,
};
use rand_core::CryptoRng;
use rsa::BoxedUint;
use rsa::traits::PublicKeyParts as _;
use zeroize::Zeroizing;

use crate::hash::Digest;
use crate::ids::NetworkId;
use crate::network::EndorsementKeyId;

/// Shortest modulus, in bytes: 2048 bits.
pub const MIN_MODULUS: usize = 256;
/// Longest modulus, in bytes: 4096 bits.
pub const MAX_MODULUS: usize = 512;
/// Longest endorsement.
pub const MAX_ENDORSEMENT: usize = KEY_ID + MAX_MODULUS;

/// D: what the authority signs for one body, without seeing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureDigest(Digest);

/// One of an authority's public keys.
#[derive(Clone)]
pub struct PublicKey {
    id: EndorsementKeyId,
    inner: PublicKeySha384PSSDeterministic,
    modulus: Vec<u8>,
}

/// A digest made ready for the authority.
#[derive(Clone, PartialEq, Eq)]
pub struct Blinded {
    /// What the authority signs; as long as the modulus.
    pub blinded_message: Vec<u8>,
    /// r^-1 mod n: undoes the blinding. The authority must not have it.
    pub inverse: Vec<u8>,
}

/// A signature with the id of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endorsement {
    /// Whose it is.
    pub key_id: EndorsementKeyId,
    /// As long as that key's modulus.
    pub signature: Vec<u8>,
}

/// Why bytes are no endorsement key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the SPKI in DER of an RSA key (rsaEncryption, 2048 to 4096 bits in whole bytes, e = 65537)")]
pub struct KeyError;

/// Why a digest was not blinded. Has a chance of about 2^-1000 with a real key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the capture cannot be blinded for this endorsement key")]
pub struct BlindError;

/// Why no endorsement came out of a blind signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FinishError {
    /// The authority erred: its signature is not one of the blinded message.
    #[error("the blind signature is not the authority's for the blinded message")]
    BlindSignature,
    /// The camera erred: message and inverse do not belong to this capture.
    #[error("the blinded message is not of this capture")]
    Binding,
}

/// Why an endorsement does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndorsementError {
    /// Neither 8 bytes and a signature of 2048 to 4096 bits.
    #[error("an endorsement must have 8 bytes of key id and a signature of 256 to 512 bytes")]
    Length,
    /// The signature is not this key's for this capture.
    #[error("the endorsement is not the authority's for this capture")]
    Signature,
}

impl CaptureDigest {
    /// Of an encoded body (`docs/PROTOCOL.md` section 7) under a key.
    pub fn of(network: NetworkId, key: EndorsementKeyId, body: &[u8]) -> Self {
        Self(Digest::of_parts(&[b"birthmark/capture/v1", network.as_bytes(), key.as_bytes(), body]))
    }

    /// The 32 bytes that are signed.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

impl PublicKey {
    /// Reads a key strictly: one key has one SPKI, and so one id.
    pub fn from_spki(spki: &[u8]) -> Result<Self, KeyError> {
        let inner = PublicKeySha384PSSDeterministic::from_der(spki).map_err(|_| KeyError)?;
        let key: &rsa::RsaPublicKey = inner.as_ref();
        let modulus = key.n().as_ref().to_be_bytes_trimmed_vartime().into_vec();
        let exponent = key.e().to_be_bytes_trimmed_vartime();
        let whole_bytes = modulus.first().is_some_and(|byte| *byte >= 0x80);
        let allowed = (MIN_MODULUS..=MAX_MODULUS).contains(&modulus.len()) && *exponent == *E;
        if !whole_bytes || !allowed || inner.to_der().ok().as_deref() != Some(spki) {
            return Err(KeyError);
        }
        Ok(Self { id: EndorsementKeyId::of_spki(spki), inner, modulus })
    }

    /// Its id.
    pub const fn id(&self) -> EndorsementKeyId {
        self.id
    }

    /// Bytes of its modulus, and of all that is computed with it.
    pub const fn modulus_len(&self) -> usize {
        self.modulus.len()
    }

    /// RFC 9474 section 4.2. `rng` must be the system's outside tests.
    pub fn blind(&self, digest: &CaptureDigest, rng: &mut impl CryptoRng) -> Result<Blinded, BlindError> {
        let result = self.inner.blind(rng, digest.as_bytes()).map_err(|_| BlindError)?;
        Ok(Blinded { blinded_message: result.blind_message.0, inverse: result.secret.0 })
    }

    /// RFC 9474 section 4.4, and whose fault it is if nothing comes of it.
    pub fn finish(
        &self,
        digest: &CaptureDigest,
        blinded_message: &[u8],
        inverse: &[u8],
        blind_signature: &[u8],
    ) -> Result<Endorsement, FinishError> {
        let signature = self.finish_message(digest.as_bytes(), blinded_message, inverse, blind_signature)?;
        Ok(Endorsement { key_id: self.id, signature })
    }

    /// Checks a signature under a capture (RSASSA-PSS-VERIFY with SHA-384 and 48 bytes of salt).
    pub fn verify(&self, digest: &CaptureDigest, signature: &[u8]) -> Result<(), EndorsementError> {
        self.verify_message(digest.as_bytes(), signature)
    }

    fn finish_message(
        &self,
        message: &[u8],
        blinded_message: &[u8],
        inverse: &[u8],
        blind_signature: &[u8],
    ) -> Result<Vec<u8>, FinishError> {
        if !self.is_residue(blind_signature) {
            return Err(FinishError::BlindSignature);
        }
        if !self.is_residue(inverse) {
            return Err(FinishError::Binding);
        }
        let result = BlindingResult {
            blind_message: BlindMessage(blinded_message.to_vec()),
            secret: Secret(inverse.to_vec()),
            msg_randomizer: None,
        };
        match self.inner.finalize(&BlindSignature(blind_signature.to_vec()), &result, message) {
            Ok(Signature(signature)) => Ok(signature),
            Err(_) if self.undo(blind_signature).as_deref() == Some(blinded_message) => Err(FinishError::Binding),
            Err(_) => Err(FinishError::BlindSignature),
        }
    }

    fn verify_message(&self, message: &[u8], signature: &[u8]) -> Result<(), EndorsementError> {
        if !self.is_residue(signature) {
            return Err(EndorsementError::Signature);
        }
        self.inner.verify(&Signature(signature.to_vec()), None, message).map_err(|_| EndorsementError::Signature)
    }

    /// Whether a blinded message is one that the key can sign: as long as the modulus and below it.
    pub fn is_residue(&self, value: &[u8]) -> bool {
        value.len() == self.modulus.len() && *value < *self.modulus
    }

    /// s^e mod n.
    fn undo(&self, signature: &[u8]) -> Option<Vec<u8>> {
        let key: &rsa::RsaPublicKey = self.inner.as_ref();
        let signature = BoxedUint::from_be_slice(signature, key.n_bits_precision()).ok()?;
        let message = rsa::hazmat::rsa_encrypt(key, &signature).ok()?;
        let bytes = message.to_be_bytes();
        bytes.len().checked_sub(self.modulus.len()).and_then(|from| bytes.get(from..)).map(<[u8]>::to_vec)
    }
}

impl Endorsement {
    /// `key_id ‖ signature`, as it is stored, hashed and sent.
    pub fn encode(&self) -> Vec<u8> {
        [self.key_id.as_bytes().as_slice(), &self.signature].concat()
    }

    /// Reads `key_id ‖ signature`.
    pub fn decode(bytes: &[u8]) -> Result<Self, EndorsementError> {
        let (key_id, signature) = bytes.split_first_chunk::<KEY_ID>().ok_or(EndorsementError::Length)?;
        if !(MIN_MODULUS..=MAX_MODULUS).contains(&signature.len()) {
            return Err(EndorsementError::Length);
        }
        Ok(Self { key_id: EndorsementKeyId::from_bytes(*key_id), signature: signature.to_vec() })
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.modulus == other.modulus
    }
}

impl Eq for PublicKey {}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "endorsement::PublicKey({})", self.id)
    }
}

impl std::fmt::Debug for Blinded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Blinded(redacted)")
    }
}

impl Drop for Blinded {
    fn drop(&mut self) {
        // The inverse links the signature to the photo.
        drop(Zeroizing::new(std::mem::take(&mut self.inverse)));
    }
}

const KEY_ID: usize = 8;
/// 65537.
const E: &[u8] = &[1, 0, 1];

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
