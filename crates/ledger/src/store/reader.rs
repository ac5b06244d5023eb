//! Reading one consistent state of the store, while the writer goes on.

use std::sync::Arc;

use birthmark_core::batch::Assurance;
use birthmark_core::body::BodyDigest;
use birthmark_core::codec::Reader;
use birthmark_core::hash::Digest;
use birthmark_core::ids::{Height, TxId};
use birthmark_core::index::{IndexRecord, decode_value};
use birthmark_core::merkle::TreeHash;
use birthmark_core::tile::SubtreePlace;
use birthmark_core::time::Minute;
use fjall::{Keyspace, Readable, Snapshot};

use super::edge::{HASH_LEN, tile_key};
use super::{Store, StoreError};
use crate::ledger::{BlockInfo, Head};

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

    /// The last committed block; nothing in a fresh store.
    pub(crate) fn head(&self) -> Result<Option<Head>, StoreError> {
        self.get(&self.store.meta, "head")?.map(|bytes| Head::decode(&bytes)).transpose()
    }

    pub(crate) fn checkpoint(&self) -> Result<Option<String>, StoreError> {
        let Some(bytes) = self.get(&self.store.meta, "checkpoint")? else { return Ok(None) };
        String::from_utf8(bytes.to_vec()).map(Some).map_err(|_| StoreError::Damaged { what: "the checkpoint" })
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
            Some(bytes) => Ok(decode_value(&bytes)?),
            None => Ok(Vec::new()),
        }
    }

    pub(crate) fn body(&self, digest: &BodyDigest) -> Result<Option<(TxId, Assurance)>, StoreError> {
        let Some(bytes) = self.get(&self.store.bodies, digest.as_bytes())? else { return Ok(None) };
        let mut reader = Reader::new(&bytes);
        Ok(Some((TxId(reader.be64("tx_id")?), Assurance::from_number(reader.u8("assurance")?)?)))
    }

    pub(crate) fn endorsement(&self, tx_id: TxId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.get(&self.store.endorsements, tx_id.0.to_be_bytes())?.map(|bytes| bytes.to_vec()))
    }

    pub(crate) fn block(&self, height: Height) -> Result<Option<BlockInfo>, StoreError> {
        let Some(bytes) = self.get(&self.store.blocks, height.0.to_be_bytes())? else { return Ok(None) };
        let mut reader = Reader::new(&bytes);
        Ok(Some(BlockInfo {
            height,
            digest: reader.array("digest")?,
            parent: reader.array("parent")?,
            minute: Minute(reader.be32("minute")?),
            first: TxId(reader.be64("first")?),
            count: reader.be32("count")?,
        }))
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
        let hashes = self.tile(place.tile_level, place.tile_index, 1)?;
        Ok(place.hash_in(&hashes)?)
    }
}
