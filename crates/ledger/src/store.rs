//! Where the ledger lies on disk: one `fjall` database, one atomic batch for each block.
//!
//! For: keys and values, the atomic commit, consistent snapshots.
//!
//! Not for: what the values mean (`apply`, `index`) or how they are proven (`Ledger`).
//!
//! ```text
//! leaves        be64 tx_id              → leaf
//! tiles         u8 level ‖ be64 index   → 1 to 256 hashes; the last of a level grows in place
//! index         index key               → list of records (`index`)
//! bodies        body digest             → be64 tx_id ‖ u8 assurance
//! blocks        be64 height             → digest 32 ‖ parent 32 ‖ be32 minute ‖ be64 first ‖ be32 count
//! starts        be64 first tx_id        → be64 height, for blocks with leaves
//! endorsements  be64 tx_id              → endorsement
//! meta          "head"                  → be64 height ‖ digest 32 ‖ be32 minute ‖ be64 size ‖ root 32
//!               "network", "format", "checkpoint"
//! ```

use std::path::Path;
use std::sync::Arc;

use birthmark_core::batch::Assurance;
use birthmark_core::body::BodyDigest;
use birthmark_core::codec::{DecodeError, Reader};
use birthmark_core::hash::Digest;
use birthmark_core::ids::{Height, NetworkId, TxId};
use birthmark_core::index::{IndexRecord, decode_value, encode_value};
use birthmark_core::merkle::{Frontier, MerkleError, TreeHash};
use birthmark_core::tile::{SubtreePlace, TileError};
use birthmark_core::time::Minute;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};

use crate::apply::Changes;
use crate::ledger::{BlockInfo, Head};

/// Why the store cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed.
    #[error("the ledger's database failed: {0}")]
    Database(#[from] fjall::Error),
    /// A value is missing or does not decode.
    #[error("the ledger's store is damaged: {what}")]
    Damaged {
        /// What was being read.
        what: &'static str,
    },
    /// It belongs to another network.
    #[error("the ledger in this folder belongs to another network")]
    OtherNetwork,
    /// It was written by another version of this program.
    #[error("the ledger in this folder has another format")]
    OtherFormat,
}

impl From<DecodeError> for StoreError {
    fn from(_: DecodeError) -> Self {
        Self::Damaged { what: "a value does not decode" }
    }
}

impl From<MerkleError> for StoreError {
    fn from(_: MerkleError) -> Self {
        Self::Damaged { what: "the tree does not fit its size" }
    }
}

impl From<TileError> for StoreError {
    fn from(_: TileError) -> Self {
        Self::Damaged { what: "a tile is too short" }
    }
}

/// The open database.
pub(crate) struct Store {
    database: Database,
    meta: Keyspace,
    leaves: Keyspace,
    tiles: Keyspace,
    index: Keyspace,
    bodies: Keyspace,
    blocks: Keyspace,
    starts: Keyspace,
    endorsements: Keyspace,
}

/// The growing right edge of the tree, which only the writer holds.
#[derive(Debug)]
pub(crate) struct Edge {
    frontier: Frontier,
    /// Hashes of the last, unfinished tile of each level.
    tiles: Vec<Vec<u8>>,
}

/// The identity of a block that is committed.
pub(crate) struct BlockId {
    pub(crate) digest: [u8; 32],
    pub(crate) parent: [u8; 32],
}

impl Store {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let database = Database::builder(path).cache_size(CACHE_BYTES).worker_threads(1).open()?;
        let keyspace =
            |name| database.keyspace(name, || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES));
        Ok(Self {
            meta: keyspace("meta")?,
            leaves: keyspace("leaves")?,
            tiles: keyspace("tiles")?,
            index: keyspace("index")?,
            bodies: keyspace("bodies")?,
            blocks: keyspace("blocks")?,
            starts: keyspace("starts")?,
            endorsements: keyspace("endorsements")?,
            database,
        })
    }

    /// Checks that the store is this network's and of this format; claims a fresh one.
    pub(crate) fn claim(&self, network: NetworkId) -> Result<(), StoreError> {
        match (self.meta.get("format")?, self.meta.get("network")?) {
            (Some(format), _) if *format != [FORMAT] => Err(StoreError::OtherFormat),
            (Some(_), Some(id)) if *id == *network.as_bytes() => Ok(()),
            (None, None) => {
                let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
                batch.insert(&self.meta, "format", [FORMAT]);
                batch.insert(&self.meta, "network", *network.as_bytes());
                Ok(batch.commit()?)
            }
            _ => Err(StoreError::OtherNetwork),
        }
    }

    /// A state in which nothing changes.
    pub(crate) fn reader(self: &Arc<Self>) -> StoreReader {
        StoreReader { store: Arc::clone(self), snapshot: self.database.snapshot() }
    }

    /// Commits one block atomically. Durable only after [`Self::sync`].
    pub(crate) fn commit(&self, edge: &mut Edge, changes: &Changes, block: &BlockId) -> Result<Head, StoreError> {
        let mut batch = self.database.batch();
        for (tx_id, leaf) in (changes.first.0..).zip(&changes.leaves) {
            batch.insert(&self.leaves, tx_id.to_be_bytes(), leaf.as_slice());
        }
        edge.append(&changes.leaves, |level, index, hashes| {
            batch.insert(&self.tiles, tile_key(level, index), hashes);
        })?;
        for (key, records) in &changes.index {
            batch.insert(&self.index, *key.as_bytes(), encode_value(records));
        }
        for (digest, tx_id, assurance) in &changes.bodies {
            let value = [tx_id.0.to_be_bytes().as_slice(), &[*assurance as u8]].concat();
            batch.insert(&self.bodies, *digest.as_bytes(), value);
        }
        for (tx_id, endorsement) in &changes.endorsements {
            batch.insert(&self.endorsements, tx_id.0.to_be_bytes(), endorsement.as_slice());
        }
        let height = changes.height.0.to_be_bytes();
        let count = u32::try_from(changes.leaves.len()).unwrap_or(u32::MAX).to_be_bytes();
        let first = changes.first.0.to_be_bytes();
        let row = [&block.digest, &block.parent, changes.minute.0.to_be_bytes().as_slice(), &first, &count].concat();
        batch.insert(&self.blocks, height, row);
        if !changes.leaves.is_empty() {
            batch.insert(&self.starts, first, height);
        }
        let head = Head {
            height: changes.height,
            digest: block.digest,
            minute: changes.minute,
            size: edge.frontier.size(),
            root: edge.frontier.root(),
        };
        batch.insert(&self.meta, "head", head.encode());
        batch.commit()?;
        Ok(head)
    }

    /// Makes everything committed so far durable.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }

    /// Keeps the newest published checkpoint. Losing it costs nothing: it is signed again.
    pub(crate) fn put_checkpoint(&self, note: &str) -> Result<(), StoreError> {
        Ok(self.meta.insert("checkpoint", note)?)
    }
}

/// A consistent state of the store.
pub(crate) struct StoreReader {
    store: Arc<Store>,
    snapshot: Snapshot,
}

impl StoreReader {
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

    /// The right edge of the tree of `size` leaves, to go on from.
    pub(crate) fn edge(&self, size: u64) -> Result<Edge, StoreError> {
        let frontier = Frontier::load(size, &mut |level, index| self.subtree(level, index))?;
        let mut tiles = Vec::new();
        let mut items = size;
        for level in 0u8.. {
            if items == 0 {
                break;
            }
            let (index, width) = (items / TILE_WIDTH, items % TILE_WIDTH);
            let mut hashes = Vec::new();
            if width > 0 {
                let width = u16::try_from(width).unwrap_or(u16::MAX);
                let stored = self.tile(level, index, width)?;
                hashes.extend_from_slice(stored.get(..usize::from(width) * HASH_LEN).unwrap_or_default());
            }
            tiles.push(hashes);
            items /= TILE_WIDTH;
        }
        Ok(Edge { frontier, tiles })
    }
}

impl Edge {
    /// The edge of the tree without leaves.
    pub(crate) const fn empty() -> Self {
        Self { frontier: Frontier::new(), tiles: Vec::new() }
    }

    pub(crate) const fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// Appends leaves and tells `write` of each tile that changed.
    fn append(&mut self, leaves: &[Vec<u8>], mut write: impl FnMut(u8, u64, &[u8])) -> Result<(), MerkleError> {
        let tiles = &mut self.tiles;
        let mut unfinished: Vec<Option<u64>> = Vec::new();
        for leaf in leaves {
            let hash = birthmark_core::merkle::leaf_hash(leaf);
            self.frontier.append(hash, |level, index, hash| {
                if level % 8 != 0 {
                    return;
                }
                let at = usize::from(level / 8);
                if tiles.len() <= at {
                    tiles.resize_with(at + 1, Vec::new);
                }
                if unfinished.len() <= at {
                    unfinished.resize(at + 1, None);
                }
                let (Some(tile), Some(changed)) = (tiles.get_mut(at), unfinished.get_mut(at)) else { return };
                tile.extend_from_slice(hash.as_bytes());
                *changed = Some(index / TILE_WIDTH);
                if index % TILE_WIDTH == TILE_WIDTH - 1 {
                    write(level / 8, index / TILE_WIDTH, tile);
                    tile.clear();
                    *changed = None;
                }
            })?;
        }
        for (level, (tile, changed)) in (0u8..).zip(tiles.iter().zip(unfinished)) {
            if let Some(index) = changed {
                write(level, index, tile);
            }
        }
        Ok(())
    }
}

impl Head {
    fn encode(&self) -> Vec<u8> {
        let (height, size) = (self.height.0.to_be_bytes(), self.size.to_be_bytes());
        [height.as_slice(), &self.digest, &self.minute.0.to_be_bytes(), &size, self.root.as_bytes()].concat()
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let mut reader = Reader::new(bytes);
        Ok(Self {
            height: Height(reader.be64("height")?),
            digest: reader.array("digest")?,
            minute: Minute(reader.be32("minute")?),
            size: reader.be64("size")?,
            root: TreeHash::from_bytes(reader.array("root")?),
        })
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

fn tile_key(level: u8, index: u64) -> [u8; 9] {
    let mut key = [level; 9];
    if let Some(rest) = key.last_chunk_mut() {
        *rest = index.to_be_bytes();
    }
    key
}

const FORMAT: u8 = 1;
const HASH_LEN: usize = 32;
const TILE_WIDTH: u64 = 256;
/// Block cache for reads.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;
/// Eight keyspaces; what they hold in memory together stays well below a node's allowance.
const MEMTABLE_BYTES: u64 = 8 * 1024 * 1024;
