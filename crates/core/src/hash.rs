//! SHA-256 values with a meaning.
//!
//! For: [`ImageHash`], the only thing about a photograph that ever leaves its owner's hands, and
//! [`Digest`], a SHA-256 value whose meaning its context gives.
//!
//! Not for: tree hashes over the log (`merkle`), which add RFC 6962's prefixes.
//!
//! Format: `docs/PROTOCOL.md` section 1: 64 hex digits, lower case out, either case in.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::hex::{self, HexError};

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

macro_rules! sha256_value {
    ($name:ident) => {
        impl $name {
            /// Takes 32 bytes that are already such a hash.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Reads exactly 64 ASCII hex digits of either case.
            pub fn from_hex(text: &str) -> Result<Self, HexError> {
                hex::decode_array(text).map(Self)
            }

            /// The 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl std::str::FromStr for $name {
            type Err = HexError;
            fn from_str(text: &str) -> Result<Self, HexError> {
                Self::from_hex(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                hex::deserialize_array(deserializer).map(Self)
            }
        }
    };
}

sha256_value!(ImageHash);
sha256_value!(Digest);

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
