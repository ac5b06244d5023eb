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
use birthmark_core::endorsement::MAX_MODULUS;
use birthmark_core::ids::{KeyIndex, TableId};
use birthmark_core::network::EndorsementKeyId;
use birthmark_core::token::{Binding, Blinding, MAX_CIPHERTEXT, SealedToken, V2_CIPHERTEXT};

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

pub(super) fn decode(bytes: &[u8]) -> Result<(SealedToken, Option<Binding>), DecodeError> {
    let mut reader = Reader::new(bytes);
    let (table, index) = (reader.be16("table_id")?, reader.be16("key_index")?);
    let token = SealedToken {
        table_id: TableId::new(table).map_err(|_| DecodeError::Value { field: "table_id", value: table.into() })?,
        key_index: KeyIndex::new(index).map_err(|_| DecodeError::Value { field: "key_index", value: index.into() })?,
        nonce: reader.array("nonce")?,
        auth_tag: reader.array("auth_tag")?,
        ciphertext: reader.prefixed16("ciphertext", MAX_CIPHERTEXT)?.to_vec(),
    };
    let binding = if token.ciphertext.len() == V2_CIPHERTEXT { Some(decode_binding(&mut reader)?) } else { None };
    reader.finish()?;
    Ok((token, binding))
}

fn decode_binding(reader: &mut Reader<'_>) -> Result<Binding, DecodeError> {
    let blinding = Blinding {
        enc: reader.array("enc")?,
        key_id: EndorsementKeyId::from_bytes(reader.array("key_id")?),
        blinded_message: reader.prefixed16("blinded_message", MAX_MODULUS)?.to_vec(),
    };
    Ok(Binding { blinding, inverse: reader.prefixed16("inverse", MAX_MODULUS)?.to_vec() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    fn binding(len: usize) -> Binding {
        let key_id = EndorsementKeyId::from_bytes([5; 8]);
        Binding { blinding: Blinding { enc: [4; 32], key_id, blinded_message: vec![6; len] }, inverse: vec![7; len] }
    }

    #[test]
    fn version_2_is_laid_out_as_the_head_says() {
        let mut expected = vec![0x09, 0xc3, 0x03, 0xe7];
        expected.extend([[1; 12].as_slice(), &[3; 16], &[0, 56], &[2; 56], &[4; 32], &[5; 8]].concat());
        expected.extend([[1, 0].as_slice(), &[6; 256], &[1, 0], &[7; 256]].concat());
        assert_eq!(encode(&token(56), Some(&binding(256))), expected);
    }

    #[test]
    fn the_bytes_tell_which_version_it_is() {
        // The lengths by which migration V2 tells them apart.
        assert_eq!(encode(&token(MAX_CIPHERTEXT), None).len(), 162);
        assert_eq!(encode(&token(V2_CIPHERTEXT), Some(&binding(256))).len(), 646);
        // Neither is ever taken in; taken for the other version, assurance would be lost.
        assert!(decode(&encode(&token(V2_CIPHERTEXT), None)).is_err());
        assert!(decode(&encode(&token(32), Some(&binding(256)))).is_err());
    }

    #[test]
    fn damaged_bytes_are_refused() {
        for good in [encode(&token(32), None), encode(&token(56), Some(&binding(512)))] {
            for len in 0..good.len() {
                assert!(decode(&good[..len]).is_err(), "{len} bytes");
            }
            assert!(decode(&[good.as_slice(), &[0]].concat()).is_err());
            let mut bad = good;
            bad[0] = 0xff;
            assert!(decode(&bad).is_err());
        }
        assert!(decode(&encode(&token(56), Some(&binding(513)))).is_err());
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            table in 0u16..=TableId::MAX, index in 0u16..=KeyIndex::MAX, nonce: [u8; 12], auth_tag: [u8; 16],
            ciphertext in prop::collection::vec(any::<u8>(), 1..=MAX_CIPHERTEXT),
            enc: [u8; 32], key_id: [u8; 8], message in prop::collection::vec(any::<u8>(), 256..=512), bound: bool,
        ) {
            let inverse = message.iter().map(|byte| !byte).collect();
            let key_id = EndorsementKeyId::from_bytes(key_id);
            let binding = Binding { blinding: Blinding { enc, key_id, blinded_message: message }, inverse };
            let mut token = SealedToken {
                table_id: TableId::new(table).unwrap(), key_index: KeyIndex::new(index).unwrap(),
                nonce, ciphertext, auth_tag,
            };
            if bound {
                token.ciphertext.resize(V2_CIPHERTEXT, 0);
            } else if token.ciphertext.len() == V2_CIPHERTEXT {
                token.ciphertext.push(0);
            }
            let binding = bound.then_some(binding);
            prop_assert_eq!(decode(&encode(&token, binding.as_ref())), Ok((token, binding)));
        }
    }
}
