//! Base64 with one text for one value: the standard alphabet, canonical padding, no stray bits.
//!
//! For: every base64 field of notes, proofs, policies and the network file, in both directions.
//! The padding and the unused bits of the last digit are checked, so two different texts never
//! decode to the same bytes and nobody can change a proof's text without changing its meaning.
//!
//! Not for: hex fields (`hex`).
//!
//! Format: RFC 4648 section 4; `docs/PROTOCOL.md` section 10.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Why a base64 text was refused. Carries no part of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Base64Error {
    /// More characters than the field can need.
    #[error("expected at most {max} bytes of base64 content, got {got} characters")]
    TooLong {
        /// Most bytes allowed after decoding.
        max: usize,
        /// Characters given.
        got: usize,
    },
    /// Decodes to another number of bytes than the field has.
    #[error("expected {expected} bytes of base64 content, got {got}")]
    Length {
        /// Bytes wanted.
        expected: usize,
        /// Bytes decoded.
        got: usize,
    },
    /// A foreign character, missing or superfluous padding, or bits that should be zero.
    #[error("not canonical standard base64")]
    Malformed,
}

/// Standard base64 with padding.
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

/// At most `max` bytes. The length is checked before anything is decoded.
pub fn decode_bounded(text: &str, max: usize) -> Result<Vec<u8>, Base64Error> {
    if text.len() > max.div_ceil(3).saturating_mul(4) {
        return Err(Base64Error::TooLong { max, got: text.len() });
    }
    let bytes = STANDARD.decode(text).map_err(|_| Base64Error::Malformed)?;
    if bytes.len() > max {
        return Err(Base64Error::TooLong { max, got: text.len() });
    }
    Ok(bytes)
}

/// Exactly `N` bytes.
pub fn decode_array<const N: usize>(text: &str) -> Result<[u8; N], Base64Error> {
    let bytes = decode_bounded(text, N)?;
    <[u8; N]>::try_from(bytes.as_slice()).map_err(|_| Base64Error::Length { expected: N, got: bytes.len() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_other_spelling_of_the_same_bytes_is_refused() {
        assert_eq!(decode_bounded("QQ==", 8).unwrap(), b"A");
        for bad in ["QQ", "QQ=", "QR==", "QQ==\n", " QQ==", "QQ===", "Q Q==", "QQ==QQ==", "====", "_w==", "Q٣=="] {
            assert_eq!(decode_bounded(bad, 64), Err(Base64Error::Malformed), "{bad:?}");
        }
    }

    #[test]
    fn other_lengths_are_refused() {
        assert!(matches!(decode_bounded("QUFBQQ==", 3), Err(Base64Error::TooLong { .. })));
        assert!(matches!(decode_bounded("QUFBQQ==", 2), Err(Base64Error::TooLong { .. })));
        assert!(matches!(decode_bounded("QUFB", 2), Err(Base64Error::TooLong { .. })));
        assert_eq!(decode_array::<4>("QUFB"), Err(Base64Error::Length { expected: 4, got: 3 }));
    }

    proptest! {
        #[test]
        fn one_text_for_one_value(bytes: Vec<u8>, text in "[A-Za-z0-9+/]{0,10}={0,3}") {
            prop_assert_eq!(decode_bounded(&encode(&bytes), bytes.len()), Ok(bytes));
            if let Ok(value) = decode_bounded(&text, 64) {
                prop_assert_eq!(encode(value), text);
            }
        }
    }
}
