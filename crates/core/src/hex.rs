//! Hex as the protocol has it: ASCII digits of either case in, lower case out, exact lengths.

use serde::{Deserializer, de};

/// Why a hex string was refused. Carries no part of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HexError {
    /// Not the number of digits that the field has.
    #[error("expected {expected} hex digits, got {got}")]
    Length {
        /// Digits wanted.
        expected: usize,
        /// Bytes of text given.
        got: usize,
    },
    /// More digits than the field may have, or an odd number.
    #[error("expected an even number of at most {max} hex digits, got {got}")]
    Range {
        /// Most digits allowed.
        max: usize,
        /// Bytes of text given.
        got: usize,
    },
    /// A character that is no ASCII hex digit.
    #[error("character {at} is not a hex digit")]
    Digit {
        /// Byte offset of the offender.
        at: usize,
    },
}

/// Lower-case hex.
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    const_hex::encode(bytes.as_ref())
}

/// Exactly `2 * N` digits.
pub fn decode_array<const N: usize>(text: &str) -> Result<[u8; N], HexError> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return Err(HexError::Length { expected: 2 * N, got: digits.len() });
    }
    check_digits(digits)?;
    let mut out = [0u8; N];
    const_hex::decode_to_slice(digits, &mut out).map_err(|_| HexError::Digit { at: 0 })?;
    Ok(out)
}

/// Any whole number of bytes up to `max_bytes`.
pub fn decode_bounded(text: &str, max_bytes: usize) -> Result<Vec<u8>, HexError> {
    let digits = text.as_bytes();
    if digits.len() > 2 * max_bytes || !digits.len().is_multiple_of(2) {
        return Err(HexError::Range { max: 2 * max_bytes, got: digits.len() });
    }
    check_digits(digits)?;
    const_hex::decode(digits).map_err(|_| HexError::Digit { at: 0 })
}

/// `const_hex` skips a leading `0x`; the protocol does not, so every character is looked at first.
fn check_digits(digits: &[u8]) -> Result<(), HexError> {
    match digits.iter().position(|b| !b.is_ascii_hexdigit()) {
        Some(at) => Err(HexError::Digit { at }),
        None => Ok(()),
    }
}

/// For `#[serde(with)]`-like use in newtypes: a string of exactly `2 * N` digits.
pub fn deserialize_array<'de, D: Deserializer<'de>, const N: usize>(deserializer: D) -> Result<[u8; N], D::Error> {
    struct Visitor<const N: usize>;
    impl<const N: usize> de::Visitor<'_> for Visitor<N> {
        type Value = [u8; N];
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "a string of {} hex digits", 2 * N)
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<[u8; N], E> {
            decode_array(text).map_err(E::custom)
        }
    }
    deserializer.deserialize_str(Visitor::<N>)
}

/// What all fixed-length values share that are written in hex: bytes in and out, text, JSON.
macro_rules! value {
    ($name:ident, $len:literal) => {
        impl $name {
            /// Takes the bytes as they are.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// Reads exactly two ASCII hex digits of either case a byte.
            pub fn from_hex(text: &str) -> Result<Self, $crate::hex::HexError> {
                $crate::hex::decode_array(text).map(Self)
            }

            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&$crate::hex::encode(self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::hex::HexError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::from_hex(text)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::hex::deserialize_array(deserializer).map(Self)
            }
        }
    };
}

pub(crate) use value;
