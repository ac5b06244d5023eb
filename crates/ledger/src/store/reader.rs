//! Reading one consistent state of the store, while the writer goes on.

use std::path::Path;
use std::sync::Arc;

use birthmark_core::batch::Assurance;
use birthmark_core::body::BodyDigest;
use birthmark_core::codec::Reader;
use birthmark_core::governance::ApprovedAct;
use birthmark_core::hash::Digest;
use birthmark_core::ids::{Height, TxId};
use birthmark_core::index::IndexRecord;
use birthmark_core::index::trie;
use birthmark_core::leaf::Leaf;
use birthmark_core::merkle::{self, TreeHash};
use birthmark_core::tile::SubtreePlace;
use birthmark_core::time::Minute;
use fjall::{Keyspace, Readable, Snapshot};

use super::edge::{HASH_LEN, hash_in, tile_key};
use super::pack::{unpack_list, unpack_place, value_hash};
use super::{ACT, ACTS, CLOSING, REBUILDING, Section, Store, StoreError, act_key, body_key};
use crate::governance::Scheduled;
use crate::ledger::{BlockInfo, Head};
use crate::trie::{Prefix, Trie};

/// A consistent state of the store.
pub(crate) struct StoreReader {
    store: Arc<Store>,
    snapshot: Snapshot,
}

impl StoreReader {
    pub(super) const fn new(store: Arc<Store>, snapshot: Snapshot) -> Self {
        Self { store, snapshot }
    }

    fn get(&self, keyspace: &Keyspace, key: impl AsRef<[u8]>) -> Result<Option<fjall::UserValue>, StoreError> {
        Ok(self.snapshot.get(keyspace, key)?)
    }

    /// A value as it is stored.
    pub(crate) fn raw(&self, section: Section, key: &[u8]) -> Result<Option<fjall::UserValue>, StoreError> {
        self.get(self.store.keyspace(section), key)
    }

    /// All of a keyspace in order.
    pub(crate) fn all(&self, section: Section) -> impl Iterator<Item = Result<Entry, StoreError>> + use<> {
        self.from(section, &[])
    }

    /// All of a keyspace from a key on.
    pub(crate) fn from(
        &self,
        section: Section,
        first: &[u8],
    ) -> impl Iterator<Item = Result<Entry, StoreError>> + use<> {
        let entries = self.snapshot.range(self.store.keyspace(section), first.to_vec()..);
        entries.map(|entry| Ok(entry.into_inner()?))
    }

    /// The folder of a keyspace's files.
    pub(crate) fn path(&self, section: Section) -> &Path {
        self.store.keyspace(section).path()
    }

    /// The last committed block; nothing in a fresh store.
    pub(crate) fn head(&self) -> Result<Option<Head>, StoreError> {
        self.get(&self.store.meta, "head")?.map(|bytes| Head::decode(&bytes)).transpose()
    }

    pub(crate) fn checkpoint(&self) -> Result<Option<String>, StoreError> {
        let Some(bytes) = self.get(&self.store.meta, "checkpoint")? else { return Ok(None) };
        String::from_utf8(bytes.to_vec()).map(Some).map_err(|_| StoreError::Damaged { what: "the checkpoint" })
    }

    /// How many acts have taken effect, and the one that waits.
    pub(crate) fn acts(&self) -> Result<(u32, Option<Scheduled>), StoreError> {
        let Some(bytes) = self.get(&self.store.meta, ACTS)? else { return Ok((0, None)) };
        let mut reader = Reader::new(&bytes);
        let count = reader.be32("acts")?;
        if reader.rest().is_empty() {
            return Ok((count, None));
        }
        let height = Height(reader.be64("height")?);
        let approved = ApprovedAct::decode(reader.rest());
        let approved = approved.map_err(|_| StoreError::Damaged { what: "the act that waits" })?;
        Ok((count, Some(Scheduled { height, approved })))
    }

    /// Where an act's leaf is.
    pub(crate) fn act(&self, number: u32) -> Result<TxId, StoreError> {
        let place = self.get(&self.store.meta, act_key(ACT, number.to_be_bytes()))?;
        let place = place.ok_or(StoreError::Damaged { what: "an act is missing" })?;
        Ok(TxId(Reader::new(&place).be64("tx_id")?))
    }

    /// The last checkpoint of the epoch that the act ended.
    pub(crate) fn closing(&self, number: u32) -> Result<Option<String>, StoreError> {
        let Some(bytes) = self.get(&self.store.meta, act_key(CLOSING, number.to_be_bytes()))? else {
            return Ok(None);
        };
        String::from_utf8(bytes.to_vec()).map(Some).map_err(|_| StoreError::Damaged { what: "a closing checkpoint" })
    }

    pub(crate) fn leaf(&self, tx_id: TxId) -> Result<Vec<u8>, StoreError> {
        let leaf = self.get(&self.store.leaves, tx_id.0.to_be_bytes())?;
        leaf.map(|bytes| bytes.to_vec()).ok_or(StoreError::Damaged { what: "a leaf is missing" })
    }

    /// The leaves `first..first + count`, all of them.
    pub(crate) fn leaves(&self, first: u64, count: u64) -> Result<Vec<Vec<u8>>, StoreError> {
        let range = first.to_be_bytes()..(first.saturating_add(count)).to_be_bytes();
        let leaves = self
            .snapshot
            .range(&self.store.leaves, range)
            .map(|guard| Ok(guard.value()?.to_vec()))
            .collect::<Result<Vec<_>, StoreError>>()?;
        if leaves.len() as u64 == count { Ok(leaves) } else { Err(StoreError::Damaged { what: "a leaf is missing" }) }
    }

    pub(crate) fn records(&self, key: &Digest) -> Result<Vec<IndexRecord>, StoreError> {
        match self.get(&self.store.index, key.as_bytes())? {
            Some(bytes) => unpack_list(&bytes),
            None => Ok(Vec::new()),
        }
    }

    /// The trie over the whole index, if it gives the root that the log's last leaf has.
    pub(crate) fn checked_trie(&self, head: &Head) -> Result<Trie, StoreError> {
        if self.get(&self.store.meta, REBUILDING)?.is_some() {
            return Err(StoreError::IndexUnfinished);
        }
        let last = head.size.checked_sub(1).ok_or(StoreError::Damaged { what: "the log is empty" })?;
        let leaf = self.leaf(TxId(last))?;
        if merkle::leaf_hash(&leaf) != self.subtree(0, last)? {
            return Err(StoreError::Damaged { what: "the last leaf is not the one in the tree" });
        }
        let Ok(Leaf::Block(block)) = Leaf::decode(&leaf) else {
            return Err(StoreError::Damaged { what: "the last leaf is not a block's" });
        };
        let trie = Trie::build(self.about_keys(), &|prefix: &_| self.index_leaves(prefix))?;
        if trie.root() == block.index_root { Ok(trie) } else { Err(StoreError::IndexRoot { height: block.height }) }
    }

    /// About how many keys the index has: those that got new values count more than once for a while.
    pub(crate) fn about_keys(&self) -> u64 {
        self.store.index.approximate_len() as u64
    }

    /// What the index holds under a prefix, sorted by key.
    pub(crate) fn index_leaves(&self, prefix: &Prefix) -> Result<Vec<trie::Leaf>, StoreError> {
        let entries = self.snapshot.range(&self.store.index, prefix.range());
        let leaf = |entry: fjall::Guard| {
            let (key, value) = entry.into_inner()?;
            let key = <[u8; 32]>::try_from(&*key).map_err(|_| StoreError::Damaged { what: "an index key" })?;
            Ok(trie::Leaf { key: Digest::from_bytes(key), value_hash: value_hash(&value)? })
        };
        entries.map(leaf).collect()
    }

    /// The same with the records themselves.
    pub(crate) fn index_records(&self, prefix: &Prefix) -> Result<Vec<(Digest, Vec<IndexRecord>)>, StoreError> {
        let entries = self.snapshot.range(&self.store.index, prefix.range());
        let listed = |entry: fjall::Guard| {
            let (key, value) = entry.into_inner()?;
            let key = <[u8; 32]>::try_from(&*key).map_err(|_| StoreError::Damaged { what: "an index key" })?;
            Ok((Digest::from_bytes(key), unpack_list(&value)?))
        };
        entries.map(listed).collect()
    }

    pub(crate) fn body(&self, digest: &BodyDigest) -> Result<Option<(TxId, Assurance)>, StoreError> {
        self.body_at(&body_key(digest.as_bytes()))
    }

    /// By its key in the store.
    pub(crate) fn body_at(&self, key: &[u8]) -> Result<Option<(TxId, Assurance)>, StoreError> {
        self.get(&self.store.bodies, key)?.map(|place| unpack_place(&place)).transpose()
    }

    pub(crate) fn endorsement(&self, tx_id: TxId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.get(&self.store.endorsements, tx_id.0.to_be_bytes())?.map(|bytes| bytes.to_vec()))
    }

    pub(crate) fn block(&self, height: Height) -> Result<Option<BlockInfo>, StoreError> {
        let Some(bytes) = self.get(&self.store.blocks, height.0.to_be_bytes())? else { return Ok(None) };
        BlockInfo::decode(height, &bytes).map(Some)
    }

    /// What of a block does not follow from its leaves.
    pub(crate) fn frame(&self, height: Height) -> Result<fjall::UserValue, StoreError> {
        let frame = self.get(&self.store.frames, height.0.to_be_bytes())?;
        frame.ok_or(StoreError::Damaged { what: "a block's frame is missing" })
    }

    /// The block that a leaf came with.
    pub(crate) fn height_of(&self, tx_id: TxId) -> Result<Height, StoreError> {
        let start = self.snapshot.range(&self.store.starts, ..=tx_id.0.to_be_bytes()).next_back();
        let height = start.ok_or(StoreError::Damaged { what: "a leaf's block is missing" })?.value()?;
        Ok(Height(Reader::new(&height).be64("height")?))
    }

    /// At least the first `width` hashes of a tile.
    pub(crate) fn tile(&self, level: u8, index: u64, width: u16) -> Result<fjall::UserValue, StoreError> {
        self.get(&self.store.tiles, tile_key(level, index))?
            .filter(|hashes| hashes.len() >= usize::from(width) * HASH_LEN)
            .ok_or(StoreError::Damaged { what: "a tile is missing" })
    }

    /// The hash of a complete subtree, for proofs.
    pub(crate) fn subtree(&self, level: u8, index: u64) -> Result<TreeHash, StoreError> {
        let place = SubtreePlace::of(level, index)?;
        let tile = self.tile(place.tile_level, place.tile_index, 1)?;
        Ok(hash_in(&tile, &place, level, index)?)
    }
}

/// A key and its value.
type Entry = (fjall::UserKey, fjall::UserValue);

impl BlockInfo {
    /// Reads a row of `blocks`.
    pub(crate) fn decode(height: Height, row: &[u8]) -> Result<Self, StoreError> {
        let mut reader = Reader::new(row);
        let block = Self {
            height,
            digest: reader.array("digest")?,
            parent: reader.array("parent")?,
            minute: Minute(reader.be32("minute")?),
            first: TxId(reader.be64("first")?),
            count: reader.be32("count")?,
        };
        Ok(block)
    }
}
