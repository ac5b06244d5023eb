//! Blocks as they go from node to node, and into snapshots.
//!
//! For: the one encoding. Not for: whether a block is valid (`apply`) or the log's (`Ledger::foresee`): whoever
//! reads one believes nothing in it.
//!
//! Format: `docs/PROTOCOL.md` section 12:
//! ```text
//! blocks = u8 1 ‖ block ‖ block …                                          to the end of the bytes
//! block  = be64 height ‖ digest 32 ‖ parent 32 ‖ index root 32 ‖ header 41 ‖ be32 len ‖ payload
//! ```
//! The index root is that in the block's own leaf; zeros for a block without leaves.

use birthmark_core::codec::{DecodeError, Reader};
use birthmark_core::hash::Digest;
use birthmark_core::ids::Height;

use crate::block::{HEADER_LEN, MAX_PAYLOAD};
use crate::ledger::Block;

/// A block with all that another node needs in order to apply and check it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WholeBlock {
    /// Its height.
    pub height: Height,
    /// Its digest as the engine knows it. Nothing in the log says what it should be.
    pub digest: [u8; 32],
    /// Its parent's digest.
    pub parent: [u8; 32],
    /// Root of the index after it; zeros for a block without leaves.
    pub index_root: Digest,
    /// Encoded header.
    pub header: [u8; HEADER_LEN],
    /// Encoded payload.
    pub payload: Vec<u8>,
}

/// The version of [`decode`]'s format, its first byte.
pub const VERSION: u8 = 1;
/// Bytes of a block besides its payload.
pub const OVERHEAD: usize = 8 + 3 * 32 + HEADER_LEN + 4;
/// Most bytes of one block.
pub const MAX_BLOCK: usize = OVERHEAD + MAX_PAYLOAD;

impl WholeBlock {
    /// As the ledger takes it.
    pub fn as_block(&self) -> Block<'_> {
        let Self { height, digest, parent, header, payload, .. } = self;
        Block { height: *height, digest: *digest, parent: *parent, header, payload }
    }

    /// Appends its encoding.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.height.0.to_be_bytes());
        out.extend_from_slice(&self.digest);
        out.extend_from_slice(&self.parent);
        out.extend_from_slice(self.index_root.as_bytes());
        out.extend_from_slice(&self.header);
        // Payloads of blocks are within MAX_PAYLOAD.
        out.extend_from_slice(&u32::try_from(self.payload.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(&self.payload);
    }

    /// Takes one block off a reader.
    pub fn decode_from(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (height, digest) = (Height(reader.be64("height")?), reader.array("digest")?);
        let (parent, index_root) = (reader.array("parent")?, Digest::from_bytes(reader.array("index root")?));
        let header = reader.array("header")?;
        let len = payload_len(reader.be32("payload length")?)?;
        let payload = reader.take("payload", len)?.to_vec();
        Ok(Self { height, digest, parent, index_root, header, payload })
    }
}

/// How many bytes follow the `OVERHEAD` first ones of a block, for whoever reads it off a file.
pub fn len_after(overhead: &[u8; OVERHEAD]) -> Result<usize, DecodeError> {
    let [.., a, b, c, d] = *overhead;
    payload_len(u32::from_be_bytes([a, b, c, d]))
}

fn payload_len(len: u32) -> Result<usize, DecodeError> {
    let too_long = DecodeError::Value { field: "payload length", value: len.into() };
    usize::try_from(len).ok().filter(|len| *len <= MAX_PAYLOAD).ok_or(too_long)
}

/// Reads a whole answer: its blocks, of which there may be none.
pub fn decode(bytes: &[u8]) -> Result<Vec<WholeBlock>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = reader.u8("version")?;
    if version != VERSION {
        return Err(DecodeError::Value { field: "version", value: version.into() });
    }
    let mut blocks = Vec::new();
    while !reader.rest().is_empty() {
        blocks.push(WholeBlock::decode_from(&mut reader)?);
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(height: u64, payload: Vec<u8>) -> WholeBlock {
        let index_root = Digest::from_bytes([3; 32]);
        WholeBlock { height: Height(height), digest: [1; 32], parent: [2; 32], index_root, header: [4; 41], payload }
    }

    fn encode(blocks: &[WholeBlock]) -> Vec<u8> {
        let mut out = vec![VERSION];
        for block in blocks {
            block.encode_into(&mut out);
        }
        out
    }

    #[test]
    fn the_layout_is_the_written_one() {
        let bytes = encode(&[block(5, vec![9, 8])]);
        let expected =
            [&[1][..], &5u64.to_be_bytes(), &[1; 32], &[2; 32], &[3; 32], &[4; 41], &[0, 0, 0, 2, 9, 8]].concat();
        assert_eq!(bytes, expected);
        let head: [u8; OVERHEAD] = bytes[1..=OVERHEAD].try_into().unwrap();
        assert_eq!(len_after(&head), Ok(2));
    }

    #[test]
    fn other_versions_cut_blocks_and_too_long_payloads_are_refused() {
        let bytes = encode(&[block(5, vec![9, 8])]);
        assert!(decode(&[]).is_err());
        assert!(decode(&[&[2], &bytes[1..]].concat()).is_err());
        for end in 2..bytes.len() {
            assert!(decode(&bytes[..end]).is_err(), "{end}");
        }
        let mut long = bytes;
        long[1 + OVERHEAD - 4..=OVERHEAD].copy_from_slice(&u32::try_from(MAX_PAYLOAD + 1).unwrap().to_be_bytes());
        assert_eq!(decode(&long), Err(DecodeError::Value { field: "payload length", value: MAX_PAYLOAD as u64 + 1 }));
    }

    proptest! {
        #[test]
        fn blocks_round_trip(heights in prop::collection::vec((any::<u64>(), 0usize..300), 0..5)) {
            let blocks: Vec<_> = heights.into_iter().map(|(height, len)| block(height, vec![7; len])).collect();
            prop_assert_eq!(decode(&encode(&blocks)), Ok(blocks));
        }

        #[test]
        fn no_bytes_crash_it(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(blocks) = decode(&bytes) {
                prop_assert_eq!(encode(&blocks), bytes);
            }
        }
    }
}
