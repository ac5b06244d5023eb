//! SHA-256 values with a meaning.
//!
//! For: [`ImageHash`], the only thing about a photograph that ever leaves its owner's hands, and
//! [`Digest`], a SHA-256 value whose meaning its context gives.
//!
//! Not for: tree hashes over the log (`merkle`), which add RFC 6962's prefixes.
//!
//! Format: `docs/PROTOCOL.md` section 1: 64 hex digits, lower case out, either case in.

use sha2::{Digest as _, Sha256};

/// SHA-256 of an image: of a file's bytes, of the canonical raw samples, or of the picture data.
///
/// The manufacturer authority must never handle this type; its crate's `clippy.toml` forbids it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageHash([u8; 32]);

/// A SHA-256 value that is no image's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl ImageHash {
    /// Hashes the bytes of an image.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The record key under which the index files this hash (`docs/PROTOCOL.md` section 9).
    ///
    /// Hashed once more so that nobody can choose where in the index an entry lands.
    pub fn index_key(&self) -> Digest {
        Digest::of_parts(&[b"birthmark/index/v1", &self.0])
    }
}

impl Digest {
    /// Hashes the concatenation of `parts`.
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }
}

crate::hex::value!(ImageHash, 32);
crate::hex::value!(Digest, 32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_case_is_read_and_lower_case_is_written() {
        let upper = "AB".repeat(32);
        assert_eq!(ImageHash::from_hex(&upper).unwrap().to_string(), "ab".repeat(32));
    }

    #[test]
    fn other_lengths_and_digits_are_refused() {
        for bad in ["", "ab", &"ab".repeat(33), &"zz".repeat(32), &"٣".repeat(64), &format!("0x{}", "ab".repeat(31))] {
            assert!(ImageHash::from_hex(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn known_answer_of_sha256() {
        assert_eq!(
            ImageHash::of(b"abc").to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
