//! A sealed token at rest, from intake to its verdict.
//!
//! For: the `token` column. Not for: the token on the wire (`birthmark_core::token`).
//!
//! ```text
//! be16 table ‖ be16 index ‖ nonce (12) ‖ auth_tag (16) ‖ be16 len ‖ ciphertext
//!     ‖ [enc (32) ‖ key_id (8) ‖ be16 len ‖ blinded_message ‖ be16 len ‖ inverse]
//! ```
//! The bracketed part is the binding of a version 2 token; it is kept for the unblinding and goes with
//! the token.

use birthmark_core::codec::{DecodeError, Reader, put_prefixed16};
use birthmark_core::ids::{KeyIndex, TableId};
use birthmark_core::token::{Binding, MAX_CIPHERTEXT, SealedToken};

pub(super) fn encode(token: &SealedToken, binding: Option<&Binding>) -> Vec<u8> {
    let mut out = Vec::with_capacity(80);
    out.extend_from_slice(&token.table_id.value().to_be_bytes());
    out.extend_from_slice(&token.key_index.value().to_be_bytes());
    out.extend_from_slice(&token.nonce);
    out.extend_from_slice(&token.auth_tag);
    put_prefixed16(&mut out, &token.ciphertext);
    if let Some(binding) = binding {
        out.extend_from_slice(&binding.blinding.enc);
        out.extend_from_slice(binding.blinding.key_id.as_bytes());
        put_prefixed16(&mut out, &binding.blinding.blinded_message);
        put_prefixed16(&mut out, &binding.inverse);
    }
    out
}

/// The token alone: version 1, the only one that an authority is asked about so far, has no binding.
pub(super) fn decode(bytes: &[u8]) -> Result<SealedToken, DecodeError> {
    let mut reader = Reader::new(bytes);
    let (table, index) = (reader.be16("table_id")?, reader.be16("key_index")?);
    Ok(SealedToken {
        table_id: TableId::new(table).map_err(|_| DecodeError::Value { field: "table_id", value: table.into() })?,
        key_index: KeyIndex::new(index).map_err(|_| DecodeError::Value { field: "key_index", value: index.into() })?,
        nonce: reader.array("nonce")?,
        auth_tag: reader.array("auth_tag")?,
        ciphertext: reader.prefixed16("ciphertext", MAX_CIPHERTEXT)?.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use birthmark_core::network::EndorsementKeyId;
    use birthmark_core::token::Blinding;

    use super::*;

    fn token(len: usize) -> SealedToken {
        SealedToken {
            table_id: TableId::new(2499).unwrap(),
            key_index: KeyIndex::new(999).unwrap(),
            nonce: [1; 12],
            ciphertext: vec![2; len],
            auth_tag: [3; 16],
        }
    }

    #[test]
    fn what_is_encoded_is_decoded_with_a_binding_or_without() {
        for len in [1, 32, 56, 128] {
            assert_eq!(decode(&encode(&token(len), None)), Ok(token(len)));
        }
        let key_id = EndorsementKeyId::from_bytes([5; 8]);
        let binding = Binding {
            blinding: Blinding { enc: [4; 32], key_id, blinded_message: vec![6; 256] },
            inverse: vec![7; 256],
        };
        assert_eq!(decode(&encode(&token(56), Some(&binding))), Ok(token(56)));
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let good = encode(&token(32), None);
        for len in 0..good.len() {
            assert!(decode(&good[..len]).is_err(), "{len} bytes");
        }
        let mut bad = good;
        bad[0] = 0xff;
        assert!(decode(&bad).is_err());
    }
}
