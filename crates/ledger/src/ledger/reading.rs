//! Finding and proving what is recorded, in one durable state.

mod by_prefix;

use std::sync::OnceLock;

use birthmark_core::absence::AbsenceProof;
use birthmark_core::batch::Assurance;
use birthmark_core::body::{Body, BodyDigest};
use birthmark_core::hash::{Digest, ImageHash};
use birthmark_core::ids::{Height, TxId};
use birthmark_core::index::IndexRecord;
use birthmark_core::index::trie::{self, End};
use birthmark_core::leaf::{Leaf, RecordLeaf};
use birthmark_core::merkle::{self, Frontier, TreeHash};
use birthmark_core::network::Network;
use birthmark_core::tile::{Tile, TileKind, encode_entries};

use super::{BlockInfo, Head, LedgerError, record_leaf};
use crate::frame;
use crate::store::{StoreError, StoreReader};
use crate::transfer::WholeBlock;
use crate::trie::Trie;

/// A record that was looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// All records of the hash, best first.
    pub records: Vec<IndexRecord>,
    /// The best one's leaf as it stands in the log.
    pub leaf_bytes: Vec<u8>,
    /// The same, decoded.
    pub leaf: RecordLeaf,
    /// The best one's block.
    pub height: Height,
    /// The best one's endorsement, if it is kept.
    pub endorsement: Option<Vec<u8>>,
}

/// One durable state of the ledger, which stays as it is while blocks go on being applied.
///
/// A node keeps the one that its published checkpoint covers, so that every answer fits that checkpoint.
pub struct Reading {
    store: StoreReader,
    head: Head,
    trie: Trie,
    /// The complete subtrees that make up the log: every proof needs some, and the last ones lie in
    /// unfinished tiles.
    peaks: Vec<((u8, u64), TreeHash)>,
    /// The log's last leaf, a block's, and its inclusion: the same for every proof from the index.
    last: OnceLock<(Vec<u8>, Vec<TreeHash>)>,
}

/// What the index holds about an image, shown to whoever holds the log's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexProof {
    /// Leaves in the log.
    pub size: u64,
    /// The last of them, a block's, which carries the index root.
    pub leaf: Vec<u8>,
    /// From that leaf's sibling to the child of the log's root.
    pub inclusion: Vec<TreeHash>,
    /// From the child of the index root down to the image's key, or to where it would be.
    pub path: trie::Path,
}

impl Reading {
    pub(super) fn new(store: StoreReader, head: Head, frontier: &Frontier, trie: Trie) -> Self {
        let peaks = merkle::peak_nodes(head.size).zip(frontier.peaks().iter().copied()).collect();
        Self { store, head, trie, peaks, last: OnceLock::new() }
    }

    /// The block that this is the state after.
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// The best record of this body, with its block.
    pub fn record_of(
        &self,
        body: &Body,
        digest: &BodyDigest,
    ) -> Result<Option<(TxId, Assurance, Height)>, LedgerError> {
        // Each hash of a recorded body has a record, so the first may be asked for all.
        if body.entries.as_slice().first().is_some_and(|image| self.lacks(&image.hash.index_key())) {
            return Ok(None);
        }
        let Some((tx_id, assurance)) = self.store.body(digest)? else { return Ok(None) };
        Ok(Some((tx_id, assurance, self.store.height_of(tx_id)?)))
    }

    /// True if it is known without asking the store that nothing stands under this key.
    fn lacks(&self, key: &Digest) -> bool {
        self.trie.has(key) == Some(false)
    }

    /// What the log holds about an image.
    pub fn find(&self, hash: &ImageHash) -> Result<Option<Found>, LedgerError> {
        let key = hash.index_key();
        if self.lacks(&key) {
            return Ok(None);
        }
        let records = self.store.records(&key)?;
        let Some(best) = records.first().copied() else { return Ok(None) };
        let leaf_bytes = self.store.leaf(best.tx_id)?;
        let leaf = record_leaf(&leaf_bytes)?;
        // Most records have none, and then there is nothing to look up.
        let endorsement = match leaf.endorsement_hash {
            Some(_) => self.store.endorsement(best.tx_id)?,
            None => None,
        };
        let height = self.store.height_of(best.tx_id)?;
        Ok(Some(Found { records, leaf_bytes, leaf, height, endorsement }))
    }

    /// A record's endorsement: `key_id ‖ signature`, if it has one and this store keeps it.
    pub fn endorsement(&self, tx_id: TxId) -> Result<Option<Vec<u8>>, LedgerError> {
        Ok(self.store.endorsement(tx_id)?)
    }

    /// The hashes that show leaf `tx_id` to be in the log.
    pub fn prove_inclusion(&self, tx_id: TxId) -> Result<Vec<TreeHash>, LedgerError> {
        Ok(merkle::prove_inclusion(tx_id.0, self.head.size, &mut |level, index| {
            let peak = self.peaks.iter().find(|(place, _)| *place == (level, index));
            peak.map_or_else(|| self.store.subtree(level, index), |(_, hash)| Ok(*hash))
        })?)
    }

    /// How many image hashes are recorded.
    pub const fn image_count(&self) -> u64 {
        self.trie.keys()
    }

    /// What the index holds about an image, or that it holds nothing.
    pub fn prove_index(&self, hash: &ImageHash) -> Result<IndexProof, LedgerError> {
        let path = self.trie.path(&hash.index_key(), &|prefix: &_| self.store.index_leaves(prefix))?;
        let (leaf, inclusion) = self.last_leaf()?.clone();
        Ok(IndexProof { size: self.head.size, leaf, inclusion, path })
    }

    /// The proof that an image is not recorded, under the checkpoint that covers this state and no more;
    /// nothing if it is recorded.
    pub fn prove_absence(&self, hash: &ImageHash, checkpoint: &str) -> Result<Option<AbsenceProof>, LedgerError> {
        let IndexProof { leaf, inclusion, path: trie::Path { siblings, end }, .. } = self.prove_index(hash)?;
        let other = match end {
            End::Here { .. } => return Ok(None),
            End::Empty => None,
            End::Other(other) => Some(other),
        };
        let (image_hash, checkpoint) = (*hash, checkpoint.to_owned());
        Ok(Some(AbsenceProof { image_hash, checkpoint, leaf, inclusion, siblings, other }))
    }

    fn last_leaf(&self) -> Result<&(Vec<u8>, Vec<TreeHash>), LedgerError> {
        if let Some(known) = self.last.get() {
            return Ok(known);
        }
        let last = TxId(self.head.size.saturating_sub(1));
        let found = (self.store.leaf(last)?, self.prove_inclusion(last)?);
        Ok(self.last.get_or_init(|| found))
    }

    /// The bytes of a tile; nothing if the log has no such tile.
    pub fn tile(&self, tile: &Tile) -> Result<Option<Vec<u8>>, LedgerError> {
        if !tile.exists_in(self.head.size) {
            return Ok(None);
        }
        let bytes = match tile.kind() {
            TileKind::Hashes { level } => {
                let mut hashes = self.store.tile(level, tile.index(), tile.width())?.to_vec();
                hashes.truncate(usize::from(tile.width()) * 32);
                hashes
            }
            TileKind::Entries => {
                let leaves = self.store.leaves(tile.first_item(), tile.width().into())?;
                encode_entries(leaves.iter().map(Vec::as_slice)).map_err(StoreError::from)?
            }
        };
        Ok(Some(bytes))
    }

    /// A block by its height.
    pub fn block(&self, height: Height) -> Result<Option<BlockInfo>, LedgerError> {
        Ok(self.store.block(height)?)
    }

    /// The block that a leaf came with.
    pub fn height_of(&self, tx_id: TxId) -> Result<Height, LedgerError> {
        Ok(self.store.height_of(tx_id)?)
    }

    /// A block as it was ordered, whole. Nothing for genesis, which follows from the network file, for blocks that
    /// are not there yet, and for those of which an endorsement is not kept any more.
    pub fn whole_block(&self, network: &Network, height: Height) -> Result<Option<WholeBlock>, LedgerError> {
        let Some(block) = self.store.block(height)?.filter(|_| height.0 > 0) else { return Ok(None) };
        let frame = self.store.frame(height)?;
        let leaves = self.store.leaves(block.first.0, block.count.into())?;
        let index_root = match leaves.last().map(|leaf| Leaf::decode(leaf)) {
            None => Digest::from_bytes([0; 32]),
            Some(Ok(Leaf::Block(end))) => end.index_root,
            Some(_) => return Err(StoreError::Damaged { what: "a block does not end in its own leaf" }.into()),
        };
        let leaf = |tx_id: TxId| {
            let at = tx_id.0.checked_sub(block.first.0).and_then(|at| usize::try_from(at).ok());
            at.and_then(|at| leaves.get(at)).cloned().ok_or(StoreError::Damaged { what: "a leaf is missing" })
        };
        let payload = frame::payload_of(network, &frame, block.first, leaf, |tx_id| self.store.endorsement(tx_id))?;
        let (digest, parent, header) = (block.digest, block.parent, frame::header_of(&frame)?);
        Ok(payload.map(|payload| WholeBlock { height, digest, parent, index_root, header, payload }))
    }
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").field("head", &self.head).finish_non_exhaustive()
    }
}
