//! The camera token: proof to the authority, and to nobody else, that a provisioned sensor speaks.
//!
//! For: what both versions share. [`v1`] is the seed's and bound to no photo, [`v2`] is bound to one and
//! to its device.
//!
//! Not for: whether a token may be used again (the authority remembers), or which device a sensor
//! fingerprint belongs to (the authority's registry).
//!
//! Format: `docs/PROTOCOL.md` section 5. The length of the ciphertext tells the version.

mod json;
pub mod v1;
pub mod v2;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::hex::{self, HexError};
use crate::ids::{KeyIndex, TableId};

pub use json::{Binding, BindingJson, Blinding, KeyReference, TokenFieldError, TokenJson};

/// Most bytes of ciphertext, without the tag, that any party takes in.
pub const MAX_CIPHERTEXT: usize = 128;
/// Bytes of a version 1 ciphertext.
pub const V1_CIPHERTEXT: usize = 32;
/// Bytes of a version 2 ciphertext.
pub const V2_CIPHERTEXT: usize = 56;

/// The sensor's fingerprint: SHA-256 of its non-uniformity map. A secret between camera and authority.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct NucHash([u8; 32]);

/// A sealed token as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedToken {
    /// The table whose key was used.
    pub table_id: TableId,
    /// The key of that table.
    pub key_index: KeyIndex,
    /// Random, never repeated under one key.
    pub nonce: [u8; 12],
    /// 1 to [`MAX_CIPHERTEXT`] bytes; its length tells the version.
    pub ciphertext: Vec<u8>,
    /// GCM's authentication tag.
    pub auth_tag: [u8; 16],
}

/// Why a token does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The ciphertext has not the length of its version.
    #[error("the ciphertext has not the length of its version")]
    Length,
    /// The tag does not fit: another key, another photo, or changed bytes.
    #[error("the token does not authenticate")]
    Forged,
}

impl NucHash {
    /// Takes the 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads exactly 64 hex digits.
    pub fn from_hex(text: &str) -> Result<Self, HexError> {
        hex::decode_array(text).map(Self)
    }

    /// The secret bytes, for storing or look-up.
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for NucHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for NucHash {}

impl std::fmt::Debug for NucHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NucHash(redacted)")
    }
}

#[cfg(test)]
mod tests;
