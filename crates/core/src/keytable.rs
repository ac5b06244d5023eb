//! The authority's key tables and the keys used once from them.
//!
//! For: [`TableKey`], one secret of 2,500 that a camera shares with its authority, and [`UseKey`],
//! the key of one token, derived from it.
//!
//! Not for: how the authority derives or stores its tables (`birthmark-sma`).
//!
//! Format: `docs/PROTOCOL.md` section 5:
//! ```text
//! K = HKDF-SHA256(ikm = table key, salt = empty, info = be32(key_index) ‖ "Birthmark", 32 bytes)
//! ```

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::ids::KeyIndex;

/// The secret of one key table: 32 bytes.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct TableKey([u8; 32]);

/// The key that seals one token.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct UseKey([u8; 32]);

impl TableKey {
    /// Takes the 32 secret bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret bytes, for storing or handing out.
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Derives the key for one index of the table (RFC 5869).
    pub fn use_key(&self, index: KeyIndex) -> UseKey {
        let mut info = [0u8; 13];
        let (number, label) = info.split_at_mut(4);
        number.copy_from_slice(&u32::from(index.value()).to_be_bytes());
        label.copy_from_slice(b"Birthmark");
        let mut key = [0u8; 32];
        // HKDF fails only above 255 hash lengths; 32 bytes are one. Should that ever change, the
        // key stays zero and no token opens, which the known answers below would show.
        let _ = Hkdf::<Sha256>::new(None, &self.0).expand(&info, &mut key);
        UseKey(key)
    }
}

impl UseKey {
    /// The secret bytes, for the cipher.
    pub(crate) const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for TableKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TableKey(redacted)")
    }
}

impl std::fmt::Debug for UseKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UseKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let key = TableKey::from_bytes([0x5a; 32]);
        assert_eq!(format!("{key:?}"), "TableKey(redacted)");
        assert_eq!(format!("{:?}", key.use_key(KeyIndex::new(1).unwrap())), "UseKey(redacted)");
    }
}
