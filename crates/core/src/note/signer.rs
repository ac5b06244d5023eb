//! The secret side: Ed25519 keys that sign, wiped from memory when dropped and never shown.

use std::fmt;

use ed25519_dalek::{Signer as _, SigningKey};
use zeroize::Zeroizing;

use super::key::{MAX_TIME, cosigned_message};
use super::{KeyName, NoteSignature, PublicKey, SignatureType, VerifierKey};
use crate::time::UnixSeconds;

/// An Ed25519 secret key.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// Takes the 32 secret bytes of RFC 8032, which the caller drew at random.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The 32 secret bytes, for keeping.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The key by which others check.
    pub fn public_key(&self) -> PublicKey {
        PublicKey::of_secret(self.0.verifying_key())
    }

    /// Signs a message as it is. The caller sees to it that it cannot be taken for another kind.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public_key())
    }
}

/// A secret key with the name and type under which it signs notes.
#[derive(Debug)]
pub struct NoteSigner {
    verifier: VerifierKey,
    secret: SecretKey,
}

impl NoteSigner {
    /// A log's signer. Its name is the log's origin.
    pub fn log(origin: KeyName, secret: SecretKey) -> Self {
        Self { verifier: VerifierKey::new(origin, SignatureType::Ed25519, secret.public_key()), secret }
    }

    /// A cosigner. Its key must sign nothing else.
    pub fn cosigner(name: KeyName, secret: SecretKey) -> Self {
        Self { verifier: VerifierKey::new(name, SignatureType::CosignatureV1, secret.public_key()), secret }
    }

    /// The public side.
    pub const fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The bare secret key.
    pub const fn secret(&self) -> &SecretKey {
        &self.secret
    }

    /// The line over a note's text. A cosigner states `time`, a log does not use it.
    pub(crate) fn line(&self, text: &str, time: UnixSeconds) -> NoteSignature {
        let signature = match self.verifier.kind() {
            SignatureType::Ed25519 => self.secret.sign(text.as_bytes()).to_vec(),
            SignatureType::CosignatureV1 => {
                let time = UnixSeconds(time.0.min(MAX_TIME));
                let signature = self.secret.sign(cosigned_message(text, time).as_bytes());
                [&time.0.to_be_bytes()[..], &signature].concat()
            }
        };
        NoteSignature::new(self.verifier.name().clone(), self.verifier.id(), signature)
    }
}
