//! Where the ledger lies on disk: one `fjall` database, one atomic batch for each block.
//!
//! For: keys and values, the atomic commit, consistent snapshots.
//!
//! Not for: what the values mean (`apply`, `index`) or how they are proven (`Ledger`).
//!
//! ```text
//! leaves        be64 tx_id              → leaf
//! tiles         u8 level ‖ be64 index   → 1 to 256 hashes; the last of a level grows in place;
//!                                          256 are followed by the 16 hashes four levels above them
//! index         index key               → list of records (`pack`)
//! bodies        body digest, 16 bytes   → where it is recorded, and at what (`pack`)
//! blocks        be64 height             → digest 32 ‖ parent 32 ‖ be32 minute ‖ be64 first ‖ be32 count
//! frames        be64 height             → what of the block does not follow from its leaves (`frame`); none of genesis
//! starts        be64 first tx_id        → be64 height, for blocks with leaves
//! endorsements  be64 tx_id              → endorsement
//! meta          "head"                  → be64 height ‖ digest 32 ‖ be32 minute ‖ be64 size ‖ root 32
//!               "network", "format", "checkpoint"; "rebuilding" while the index is
//!               "acts"                  → be32 count ‖ [be64 height ‖ approved act], one that waits
//!               "act" ‖ be32 number     → be64 tx_id
//!               "closing" ‖ be32 number → the last checkpoint of the epoch that the act ended
//! ```

mod acts;
mod edge;
mod pack;
mod reader;

use std::path::Path;
use std::sync::Arc;

use birthmark_core::codec::{DecodeError, Reader};
use birthmark_core::hash::Digest;
use birthmark_core::ids::{Height, NetworkId};
use birthmark_core::index::IndexRecord;
use birthmark_core::merkle::{MerkleError, TreeHash};
use birthmark_core::tile::TileError;
use birthmark_core::time::Minute;
use fjall::config::CompressionPolicy;
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};

pub(crate) use self::acts::{ACT, ACTS, CLOSING, act_key};
pub(crate) use self::edge::Edge;
pub(crate) use self::edge::tile_key;
pub(crate) use self::pack::pack_list;
use self::pack::pack_place;
pub(crate) use self::reader::StoreReader;

use crate::apply::Changes;
use crate::governance::{ActChange, Scheduled};
use crate::ledger::Head;

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
    #[error(
        "the ledger in this folder has format {0} and this program's is {FORMAT}: another version of the program made it"
    )]
    OtherFormat(u8),
    /// Index and log do not belong together.
    #[error(
        "the index does not give the root in the leaf of block {}: the store is damaged; the index can be rebuilt \
         from the log",
        .height.0
    )]
    IndexRoot {
        /// The block whose leaf has another root.
        height: Height,
    },
    /// The acts in the log do not continue the network file's document.
    #[error(
        "the acts of governance in the ledger do not continue the document of the network file: it is another \
         version of it than the validators' when they enacted the first one"
    )]
    OtherActs,
    /// A rebuild of the index was interrupted.
    #[error("the index is being rebuilt from the log, and that has not come to its end: rebuild it again")]
    IndexUnfinished,
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
    frames: Keyspace,
    starts: Keyspace,
    endorsements: Keyspace,
}

/// A keyspace, for whoever goes through all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Meta,
    Leaves,
    Tiles,
    Index,
    Bodies,
    Blocks,
    Frames,
    Starts,
    Endorsements,
}

impl Section {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Leaves => "leaves",
            Self::Tiles => "tiles",
            Self::Index => "index",
            Self::Bodies => "bodies",
            Self::Blocks => "blocks",
            Self::Frames => "frames",
            Self::Starts => "starts",
            Self::Endorsements => "endorsements",
        }
    }
}

/// What of a block that is committed its changes do not say.
pub(crate) struct BlockId {
    pub(crate) digest: [u8; 32],
    pub(crate) parent: [u8; 32],
    /// What of it does not follow from its leaves; nothing at genesis, which follows from the network file.
    pub(crate) frame: Vec<u8>,
}

impl Store {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let database = Database::builder(path)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES)
            .worker_threads(1)
            .open()?;
        let options = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(MEMTABLE_BYTES)
                .data_block_compression_policy(CompressionPolicy::disabled())
        };
        let keyspace = |name| database.keyspace(name, options);
        // Hashes do not compress; a leaf has as much around them as can be saved.
        let lz4 = || options().data_block_compression_policy(CompressionPolicy::all(CompressionType::Lz4));
        Ok(Self {
            meta: keyspace("meta")?,
            leaves: database.keyspace("leaves", lz4)?,
            tiles: keyspace("tiles")?,
            index: keyspace("index")?,
            bodies: keyspace("bodies")?,
            blocks: keyspace("blocks")?,
            frames: keyspace("frames")?,
            starts: keyspace("starts")?,
            endorsements: keyspace("endorsements")?,
            database,
        })
    }

    /// Checks that the store is this network's and of this format; claims a fresh one.
    pub(crate) fn claim(&self, network: NetworkId) -> Result<(), StoreError> {
        match (self.meta.get("format")?, self.meta.get("network")?) {
            (Some(format), _) if *format != [FORMAT] => {
                Err(StoreError::OtherFormat(format.first().copied().unwrap_or_default()))
            }
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

    const fn keyspace(&self, section: Section) -> &Keyspace {
        match section {
            Section::Meta => &self.meta,
            Section::Leaves => &self.leaves,
            Section::Tiles => &self.tiles,
            Section::Index => &self.index,
            Section::Bodies => &self.bodies,
            Section::Blocks => &self.blocks,
            Section::Frames => &self.frames,
            Section::Starts => &self.starts,
            Section::Endorsements => &self.endorsements,
        }
    }

    /// A state in which nothing changes.
    pub(crate) fn reader(self: &Arc<Self>) -> StoreReader {
        StoreReader::new(Arc::clone(self), self.database.snapshot())
    }

    /// Commits one block atomically, its own leaf with this index root. Durable only after [`Self::sync`].
    /// After a failure the edge is of no more use, for what is on disk is unknown.
    pub(crate) fn commit(
        &self,
        edge: &mut Edge,
        changes: &Changes,
        index_root: Digest,
        block: &BlockId,
    ) -> Result<Head, StoreError> {
        let mut batch = self.database.batch();
        let end = changes.end_leaf(index_root);
        let leaves = || changes.leaves.iter().chain(&end).map(Vec::as_slice);
        for (tx_id, leaf) in (changes.first.0..).zip(leaves()) {
            batch.insert(&self.leaves, tx_id.to_be_bytes(), leaf);
        }
        edge.append(leaves(), |level, index, hashes| {
            batch.insert(&self.tiles, tile_key(level, index), hashes);
        })?;
        for (key, records) in &changes.index {
            batch.insert(&self.index, *key.as_bytes(), pack_list(records));
        }
        for (digest, tx_id, assurance) in &changes.bodies {
            batch.insert(&self.bodies, body_key(digest.as_bytes()), pack_place(*tx_id, *assurance));
        }
        for (tx_id, endorsement) in &changes.endorsements {
            batch.insert(&self.endorsements, tx_id.0.to_be_bytes(), endorsement.as_slice());
        }
        let height = changes.height.0.to_be_bytes();
        let count = u32::try_from(changes.leaf_count()).unwrap_or(u32::MAX).to_be_bytes();
        let first = changes.first.0.to_be_bytes();
        let row = [&block.digest, &block.parent, changes.minute.0.to_be_bytes().as_slice(), &first, &count].concat();
        batch.insert(&self.blocks, height, row);
        if !block.frame.is_empty() {
            batch.insert(&self.frames, height, block.frame.as_slice());
        }
        if changes.leaf_count() > 0 {
            batch.insert(&self.starts, first, height);
        }
        match &changes.act {
            Some(ActChange::Enacted { tx_id, approved }) => {
                let number = approved.act().number.to_be_bytes();
                batch.insert(&self.meta, act_key(ACT, number), tx_id.0.to_be_bytes());
                batch.insert(&self.meta, ACTS, number);
            }
            Some(ActChange::Scheduled(Scheduled { height, approved })) => {
                let count = approved.act().number.saturating_sub(1).to_be_bytes();
                let value = [count.as_slice(), &height.0.to_be_bytes(), &approved.encode()].concat();
                batch.insert(&self.meta, ACTS, value);
            }
            None => {}
        }
        let head = Head {
            height: changes.height,
            digest: block.digest,
            minute: changes.minute,
            size: edge.frontier().size(),
            root: edge.frontier().root(),
        };
        batch.insert(&self.meta, "head", head.encode());
        batch.commit()?;
        Ok(head)
    }

    /// Makes everything committed so far durable.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }

    /// Empties the index. From now on the ledger does not open until [`Self::end_rebuild`].
    pub(crate) fn begin_rebuild(&self) -> Result<(), StoreError> {
        self.meta.insert(REBUILDING, [])?;
        self.sync()?;
        self.index.clear()?;
        self.sync()
    }

    /// Lists of records by key, new or in the place of others.
    pub(crate) fn put_lists<'a>(
        &self,
        lists: impl IntoIterator<Item = (&'a Digest, &'a Vec<IndexRecord>)>,
    ) -> Result<(), StoreError> {
        let mut batch = self.database.batch();
        for (key, records) in lists {
            batch.insert(&self.index, *key.as_bytes(), pack_list(records));
        }
        Ok(batch.commit()?)
    }

    /// The index is whole again.
    pub(crate) fn end_rebuild(&self) -> Result<(), StoreError> {
        self.sync()?;
        self.meta.remove(REBUILDING)?;
        self.sync()
    }

    /// Keeps an epoch's last checkpoint, durably: without it nobody outside can follow into the next one.
    pub(crate) fn put_closing(&self, number: u32, note: &str) -> Result<(), StoreError> {
        self.meta.insert(act_key(CLOSING, number.to_be_bytes()), note)?;
        self.sync()
    }

    /// Keeps the newest published checkpoint. Losing it costs nothing: it is signed again.
    pub(crate) fn put_checkpoint(&self, note: &str) -> Result<(), StoreError> {
        Ok(self.meta.insert("checkpoint", note)?)
    }
}

#[cfg(test)]
impl Store {
    /// What a disk or a program that has gone wrong would do behind the ledger's back.
    pub(crate) fn damage(&self, keyspace: &str, key: &[u8], value: Option<&[u8]>) {
        let keyspace = self.database.keyspace(keyspace, KeyspaceCreateOptions::default).unwrap();
        match value {
            Some(value) => keyspace.insert(key, value).unwrap(),
            None => keyspace.remove(key).unwrap(),
        }
        self.sync().unwrap();
    }

    /// Has a keyspace moved into its tables, without waiting for it.
    pub(crate) fn begin_flush(&self, section: Section) {
        self.keyspace(section).rotate_memtable().unwrap();
    }

    /// Moves all of a keyspace from the journal into its tables; gives the folder with them.
    pub(crate) fn flush(&self, section: Section) -> std::path::PathBuf {
        self.keyspace(section).rotate_memtable_and_wait().unwrap();
        self.keyspace(section).path().to_owned()
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

/// Half a digest: whoever finds two bodies with the same one, in 2^64 steps, has two of his own of which one can be recorded.
pub(crate) fn body_key(digest: &[u8; 32]) -> [u8; 16] {
    let mut key = [0; 16];
    key.iter_mut().zip(digest).for_each(|(to, from)| *to = *from);
    key
}

const REBUILDING: &str = "rebuilding";
/// 2: block leaves carry the root of the index, and tiles their middle hashes. 3: packed lists and places, half digests.
/// 4: blocks have frames, so that they can be given again as they were ordered. 5: acts of governance.
pub(crate) const FORMAT: u8 = 5;
/// Block cache for reads.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;
/// The least that `fjall` takes. Whatever is in the journals is read again at the start.
const JOURNAL_BYTES: u64 = 64 * 1024 * 1024;
/// Of each keyspace, of which there are nine.
const MEMTABLE_BYTES: u64 = 8 * 1024 * 1024;
