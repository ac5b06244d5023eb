use commonware_codec::{Decode as _, Encode as _};
use commonware_cryptography::{Signer as _, ed25519::PrivateKey};
use proptest::prelude::*;

use super::*;

const LIMITS: BlockLimits = BlockLimits { header: 64, payload: 256 };

fn block(view: u64, height: u64, header: &[u8], payload: &[u8]) -> Block {
    let context = Context {
        round: Round::new(Epoch::new(3), View::new(view)),
        leader: PrivateKey::from_seed(7).public_key(),
        parent: (View::new(view.saturating_sub(1)), Sha256::hash(&[b"parent"])),
    };
    let proposal = Proposal { header: Bytes::copy_from_slice(header), payload: Bytes::copy_from_slice(payload) };
    Block::new(context, Height::new(height), proposal)
}

fn decode(bytes: impl Into<Bytes>) -> Result<Block, Error> {
    Block::decode_cfg(bytes.into(), &LIMITS)
}

proptest! {
    #[test]
    fn a_block_survives_encoding(
        view in 0..u64::MAX, height in 0..u64::MAX,
        header in prop::collection::vec(any::<u8>(), 0..=64), payload in prop::collection::vec(any::<u8>(), 0..=256),
    ) {
        let block = block(view, height, &header, &payload);
        let bytes = block.encode();
        prop_assert_eq!(bytes.len(), block.encode_size());
        prop_assert!(bytes.len() <= Block::max_encode_size(&LIMITS));
        prop_assert_eq!(decode(bytes).unwrap(), block);
    }

    #[test]
    fn what_decodes_encodes_to_the_same_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(block) = decode(bytes.clone()) {
            prop_assert_eq!(&block.encode()[..], &bytes[..]);
        }
    }

    #[test]
    fn every_flipped_bit_changes_the_digest_or_is_refused(at in 0usize..164, bit in 0u8..8) {
        let original = block(5, 9, &[1; 10], &[2; 50]);
        let mut bytes = original.encode().to_vec();
        prop_assert_eq!(bytes.len(), 164);
        bytes[at] ^= 1 << bit;
        if let Ok(changed) = decode(bytes) {
            prop_assert_ne!(changed.digest(), original.digest());
        }
    }
}

#[test]
fn every_truncation_and_any_trailing_byte_is_refused() {
    let bytes = block(5, 9, b"head", b"payload").encode();
    for len in 0..bytes.len() {
        assert!(decode(bytes.slice(..len)).is_err(), "{len}");
    }
    let mut longer = bytes.to_vec();
    longer.push(0);
    assert!(matches!(decode(longer), Err(Error::ExtraData(1))));
}

#[test]
fn oversize_parts_are_refused_by_their_length_alone() {
    // Only the claimed length is there, none of the bytes: the bound must come first.
    let whole = block(5, 9, b"", b"").encode();
    let mut header = whole[..PREFIX].to_vec();
    header.extend_from_slice(&65u32.to_be_bytes());
    assert!(matches!(decode(header), Err(Error::Invalid("Block", "header too long"))));
    let mut payload = whole[..PREFIX + 4].to_vec();
    payload.extend_from_slice(&u32::MAX.to_be_bytes());
    assert!(matches!(decode(payload), Err(Error::Invalid("Block", "payload too long"))));
}

#[test]
fn limits_admit_exactly_what_decodes() {
    let content = |header, payload| Proposal { header: vec![0; header].into(), payload: vec![0; payload].into() };
    assert!(LIMITS.admit(&content(64, 256)));
    assert!(!LIMITS.admit(&content(65, 0)));
    assert!(!LIMITS.admit(&content(0, 257)));
    assert!(decode(block(1, 1, &[0; 64], &[0; 256]).encode()).is_ok());
}

#[test]
fn the_digest_is_the_documented_hash() {
    let block = block(5, 9, b"head", b"payload");
    let bytes = block.encode();
    let expected = Sha256::hash(&[
        b"birthmark/block/v1",
        &bytes[..PREFIX],
        &4u32.to_be_bytes(),
        b"head",
        &Sha256::hash(&[b"payload"]),
    ]);
    assert_eq!(block.digest(), expected);
    assert_eq!(block.ordered().digest, expected.0);
}

#[test]
fn header_and_payload_cannot_be_shifted_into_each_other() {
    assert_ne!(block(5, 9, b"ab", b"c").digest(), block(5, 9, b"a", b"bc").digest());
}
