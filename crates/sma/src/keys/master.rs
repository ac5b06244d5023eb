//! The root secret itself.

use hkdf::Hkdf;
use rand_core::CryptoRng;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::expand;

/// The authority's one root secret.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct MasterKey([u8; Self::BYTES]);

impl MasterKey {
    pub(crate) const BYTES: usize = 32;

    pub(crate) fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = [0; Self::BYTES];
        rng.fill_bytes(&mut bytes);
        let key = Self(bytes);
        bytes.zeroize();
        key
    }

    /// None if it has another length.
    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(crate) const fn expose(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// Tells in the database which master key it belongs to, and nothing else about it.
    pub(crate) fn check(&self) -> [u8; 16] {
        let mut check = [0; 16];
        expand(&Hkdf::<Sha256>::new(None, &self.0), &[b"birthmark/key-check/v1"], &mut check);
        check
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(redacted)")
    }
}
