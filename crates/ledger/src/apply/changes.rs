//! What one block does to the log, the index and the other tables, as values.
//!
//! Not for: how it comes about (`apply`), or writing it (`store`).

use birthmark_core::batch::Assurance;
use birthmark_core::body::BodyDigest;
use birthmark_core::hash::Digest;
use birthmark_core::ids::{Epoch, Height, TxId};
use birthmark_core::index::{IndexRecord, encode_value, trie};
use birthmark_core::leaf::{BlockLeaf, Leaf};
use birthmark_core::time::Minute;

use crate::block::Header;
use crate::governance::ActChange;

/// Everything that one block changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// The block's height.
    pub height: Height,
    /// The block's minute.
    pub minute: Minute,
    /// Index in the log of the first new leaf.
    pub first: TxId,
    /// The new records' leaves in order, and behind them that of an act that takes effect.
    pub leaves: Vec<Vec<u8>>,
    /// The block's own leaf, which comes after them; none without other leaves, unless an epoch begins.
    pub end: Option<BlockEnd>,
    /// New best records of bodies.
    pub bodies: Vec<(BodyDigest, TxId, Assurance)>,
    /// New lists of records by index key, sorted.
    pub index: Vec<(Digest, Vec<IndexRecord>)>,
    /// Endorsements by the record that they belong to.
    pub endorsements: Vec<(TxId, Vec<u8>)>,
    /// What it does about acts of governance.
    pub act: Option<ActChange>,
}

/// The leaf that ends a block, but for the index root. That root follows from [`Changes::index`] and the
/// whole index before it, and is no part of the block: only whoever keeps the index has to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockEnd {
    /// Which validator set decided the block.
    pub epoch: Epoch,
    /// That set's hash.
    pub validator_set_hash: Digest,
}

impl Changes {
    /// How many leaves the log grows by.
    pub fn leaf_count(&self) -> u64 {
        self.leaves.len() as u64 + u64::from(self.end.is_some())
    }

    /// What changes in the index trie, sorted by key.
    pub fn index_leaves(&self) -> Vec<trie::Leaf> {
        let leaf = |(key, records): &(Digest, Vec<IndexRecord>)| trie::Leaf {
            key: *key,
            value_hash: Digest::of_parts(&[&encode_value(records)]),
        };
        self.index.iter().map(leaf).collect()
    }

    /// The block's own leaf with the root of the index after it.
    pub fn end_leaf(&self, index_root: Digest) -> Option<Vec<u8>> {
        let BlockEnd { epoch, validator_set_hash } = self.end?;
        let (minute, height) = (self.minute, self.height);
        Some(Leaf::Block(BlockLeaf { minute, height, epoch, validator_set_hash, index_root }).encode())
    }
}

impl From<&Header> for BlockEnd {
    fn from(header: &Header) -> Self {
        Self { epoch: header.epoch, validator_set_hash: header.validator_set_hash }
    }
}
