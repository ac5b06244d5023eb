//! The ledger as a node uses it: apply what is final, judge what is proposed, and give a state to answer
//! from.

mod foresee;
mod reading;
mod rebuild;

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use birthmark_core::batch::Assurance;
use birthmark_core::body::BodyDigest;
use birthmark_core::hash::{Digest, ImageHash};
use birthmark_core::ids::{Height, SubmitterNumber, TxId};
use birthmark_core::index::IndexRecord;
use birthmark_core::leaf::{Leaf, RecordLeaf};
use birthmark_core::merkle::{self, TreeHash};
use birthmark_core::network::Network;
use birthmark_core::time::Minute;
use parking_lot::Mutex;

pub use self::foresee::{BadBlocks, Tree};
pub use self::reading::{Found, IndexProof, Reading};
pub use self::rebuild::Rebuilt;
use crate::apply::{self, Changes, InvalidBlock, State};
use crate::endorsements::Endorsements;
use crate::frame;
use crate::rules::{Rules, Stage};
use crate::store::{BlockId, Edge, Store, StoreError, StoreReader};
use crate::trie::Trie;

/// A registry's state on disk. Cheap to read from many threads; blocks are applied one at a time.
#[derive(Debug)]
pub struct Ledger {
    network: Arc<Network>,
    endorsements: Endorsements,
    store: Arc<Store>,
    /// None after a commit that failed: what is on disk is unknown then.
    writer: Mutex<Option<Writer>>,
    head: ArcSwap<Head>,
}

/// What has to be known to apply the next block, besides what is on disk.
#[derive(Debug)]
struct Writer {
    edge: Edge,
    trie: Trie,
}

/// The last applied block and the log that it led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its height.
    pub height: Height,
    /// Its digest as the engine knows it; zeros at genesis.
    pub digest: [u8; 32],
    /// Its minute.
    pub minute: Minute,
    /// Leaves in the log.
    pub size: u64,
    /// The log's root.
    pub root: TreeHash,
}

/// One block as the ledger remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockInfo {
    /// Its height.
    pub height: Height,
    /// Its digest as the engine knows it; zeros at genesis.
    pub digest: [u8; 32],
    /// Its parent's digest.
    pub parent: [u8; 32],
    /// Its minute.
    pub minute: Minute,
    /// Its first leaf.
    pub first: TxId,
    /// Its leaves, the block leaf included; 0 for an empty block.
    pub count: u32,
}

/// A block in the order of the engine.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// Its height.
    pub height: Height,
    /// Its digest.
    pub digest: [u8; 32],
    /// Its parent's digest.
    pub parent: [u8; 32],
    /// Encoded header.
    pub header: &'a [u8],
    /// Encoded payload.
    pub payload: &'a [u8],
}

/// Why the ledger cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The store failed or is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A finalized block does not follow the last one.
    #[error("block {got} is final, but block {expected} was never applied")]
    Gap {
        /// The next height.
        expected: u64,
        /// The height given.
        got: u64,
    },
    /// Another block was applied at a height that is now final.
    #[error("another block than the final one was applied at height {0}: this store belongs to another history")]
    Fork(u64),
    /// A quorum finalized a block that is against the rules.
    #[error("block {height} is final but invalid: {cause}")]
    Invalid {
        /// Its height.
        height: u64,
        /// The rule that it breaks.
        cause: InvalidBlock,
    },
    /// The index that follows from the log's records is not the one that a block's leaf names.
    #[error("the log's records up to block {} do not give the index root in its leaf: the log is damaged", .height.0)]
    LogRoot {
        /// The first such block.
        height: Height,
    },
    /// A block could not be written, so nobody knows what is on disk.
    #[error("an earlier block could not be written: the ledger must be opened again")]
    Broken,
}

impl Ledger {
    /// Opens the ledger in `folder`, or starts it with genesis.
    ///
    /// Reads the whole index and holds it against the root in the last block's leaf.
    pub fn open(folder: &Path, network: Arc<Network>) -> Result<Self, LedgerError> {
        let store = Arc::new(Store::open(folder)?);
        store.claim(network.network_id())?;
        let reader = store.reader();
        let (writer, head) = if let Some(head) = reader.head()? {
            let edge = Edge::load(&reader, head.size)?;
            if edge.frontier().root() != head.root {
                return Err(StoreError::Damaged { what: "the tree does not give the head's root" }.into());
            }
            (Writer { edge, trie: reader.checked_trie(&head)? }, head)
        } else {
            let mut writer = Writer { edge: Edge::empty(), trie: Trie::empty() };
            let none = BlockId { digest: [0; 32], parent: [0; 32], frame: Vec::new() };
            let head = writer.commit(&store, &reader, &apply::genesis(&network), &none)?;
            store.sync()?;
            (writer, head)
        };
        let (endorsements, writer) = (Endorsements::default(), Mutex::new(Some(writer)));
        Ok(Self { network, endorsements, store, writer, head: ArcSwap::from_pointee(head) })
    }

    /// The network that this is the ledger of.
    pub const fn network(&self) -> &Arc<Network> {
        &self.network
    }

    /// By which transactions and proposals are judged.
    pub fn rules(&self) -> Rules<'_> {
        Rules { network: &self.network, endorsements: &self.endorsements, stage: Stage::Proposed }
    }

    fn view(&self) -> Result<View<'_>, StoreError> {
        View::new(self.rules(), self.store.reader())
    }

    /// The last durably applied block.
    pub fn head(&self) -> Head {
        **self.head.load()
    }

    /// Applies final blocks and makes them durable together. Those applied before are passed over.
    ///
    /// Gives the bodies that were recorded, each with its assurance. If a block cannot be applied, those
    /// before it are nevertheless.
    pub fn apply_final(&self, blocks: &[Block<'_>]) -> Result<Vec<(BodyDigest, Assurance)>, LedgerError> {
        let mut writer = self.writer.lock();
        let mut recorded = Vec::new();
        let mut applied = None;
        let outcome = blocks.iter().try_for_each(|block| {
            if let Some((head, changes)) = self.apply_one(&mut writer, block)? {
                applied = Some(head);
                recorded.extend(changes.bodies.iter().map(|(digest, _, assurance)| (*digest, *assurance)));
            }
            Ok(())
        });
        if let Some(head) = applied {
            self.store.sync().inspect_err(|_| *writer = None)?;
            self.head.store(Arc::new(head));
        }
        outcome.map(|()| recorded)
    }

    /// Commits one final block, without making it durable; nothing if that was done before.
    fn apply_one(&self, place: &mut Option<Writer>, block: &Block<'_>) -> Result<Option<(Head, Changes)>, LedgerError> {
        let writer = place.as_mut().ok_or(LedgerError::Broken)?;
        let view = self.view()?;
        let expected = view.base.height.0 + 1;
        if block.height.0 < expected {
            let known = view.store.block(block.height)?;
            if known.is_some_and(|known| known.digest != block.digest) {
                return Err(LedgerError::Fork(block.height.0));
            }
            return Ok(None);
        }
        if block.height.0 > expected {
            return Err(LedgerError::Gap { expected, got: block.height.0 });
        }
        let changes = view.decided(block)?.map_err(|cause| LedgerError::Invalid { height: block.height.0, cause })?;
        let frame = frame::of(&self.network, block.header, block.payload, &changes);
        let id = BlockId { digest: block.digest, parent: block.parent, frame };
        let head = writer.commit(&self.store, &view.store, &changes, &id).inspect_err(|_| *place = None)?;
        Ok(Some((head, changes)))
    }

    /// The state after `ancestors`, consecutive blocks of which the first ones may be applied already.
    pub fn view_after(&self, ancestors: &[Block<'_>]) -> Result<Result<View<'_>, InvalidBlock>, LedgerError> {
        let mut view = self.view()?;
        for block in ancestors {
            if block.height.0 <= view.base.height.0 {
                continue;
            }
            match view.decided(block)? {
                Ok(changes) => view.extend(changes),
                Err(invalid) => return Ok(Err(invalid)),
            }
        }
        Ok(Ok(view))
    }

    /// The last durably applied state, to answer from.
    pub fn reading(&self) -> Result<Reading, LedgerError> {
        // Applying holds this lock from the first write to the fsync.
        let writer = self.writer.lock();
        let Writer { edge, trie } = writer.as_ref().ok_or(LedgerError::Broken)?;
        let store = self.store.reader();
        let head = store.head()?.ok_or(StoreError::Damaged { what: "the head is missing" })?;
        Ok(Reading::new(store, head, edge.frontier(), trie.clone()))
    }

    /// The root of the log when it had `size` leaves.
    pub fn root(&self, size: u64) -> Result<TreeHash, LedgerError> {
        let store = self.store.reader();
        Ok(merkle::root(size, &mut |level, index| store.subtree(level, index))?)
    }

    /// The newest checkpoint that was kept.
    pub fn checkpoint(&self) -> Result<Option<String>, LedgerError> {
        Ok(self.store.reader().checkpoint()?)
    }

    /// Keeps a published checkpoint.
    pub fn keep_checkpoint(&self, note: &str) -> Result<(), LedgerError> {
        Ok(self.store.put_checkpoint(note)?)
    }
}

impl Writer {
    /// Commits one block: `before` is the state that it is applied to. The writer is of no more use after
    /// a failure.
    fn commit(
        &mut self,
        store: &Store,
        before: &StoreReader,
        changes: &Changes,
        id: &BlockId,
    ) -> Result<Head, StoreError> {
        // The block's leaf has the root after the block, and is committed with it.
        let trie = self.trie.updated(&changes.index_leaves(), &|prefix: &_| before.index_leaves(prefix))?;
        let head = store.commit(&mut self.edge, changes, trie.root(), id)?;
        self.trie = trie;
        Ok(head)
    }
}

/// A consistent state: what is on disk, and blocks above it that are not final yet.
pub struct View<'a> {
    rules: Rules<'a>,
    store: StoreReader,
    base: Head,
    overlays: Vec<Changes>,
}

impl<'a> View<'a> {
    fn new(rules: Rules<'a>, store: StoreReader) -> Result<Self, StoreError> {
        let base = store.head()?.ok_or(StoreError::Damaged { what: "the head is missing" })?;
        Ok(Self { rules, store, base, overlays: Vec::new() })
    }

    /// What the next block changes, whose validators have decided already.
    fn decided(&self, block: &Block<'_>) -> Result<Result<Changes, InvalidBlock>, StoreError> {
        let rules = Rules { stage: Stage::Decided, ..self.rules };
        apply::apply(rules, self, block.header, block.payload)
    }

    /// Judges the next block on this state.
    pub fn judge(&self, header: &[u8], payload: &[u8]) -> Result<Result<(), InvalidBlock>, LedgerError> {
        Ok(apply::apply(self.rules, self, header, payload)?.map(drop))
    }

    /// The digest of a block that is on disk already.
    pub fn applied(&self, height: Height) -> Result<Option<[u8; 32]>, LedgerError> {
        Ok(self.store.block(height)?.map(|block| block.digest))
    }
}

impl State for View<'_> {
    type Error = StoreError;

    fn size(&self) -> u64 {
        self.base.size + self.overlays.iter().map(Changes::leaf_count).sum::<u64>()
    }

    fn minute(&self) -> Minute {
        self.overlays.last().map_or(self.base.minute, |changes| changes.minute)
    }

    fn height(&self) -> Height {
        self.overlays.last().map_or(self.base.height, |changes| changes.height)
    }

    fn recorded(&self, body: &BodyDigest) -> Result<Option<(TxId, Assurance)>, StoreError> {
        for changes in self.overlays.iter().rev() {
            if let Ok(at) = changes.bodies.binary_search_by_key(body, |(digest, ..)| *digest) {
                return Ok(changes.bodies.get(at).map(|(_, tx_id, assurance)| (*tx_id, *assurance)));
            }
        }
        self.store.body(body)
    }

    fn records_of(&self, hash: &ImageHash) -> Result<Vec<IndexRecord>, StoreError> {
        let key: Digest = hash.index_key();
        for changes in self.overlays.iter().rev() {
            if let Ok(at) = changes.index.binary_search_by_key(&key, |(key, _)| *key) {
                return Ok(changes.index.get(at).map(|(_, records)| records.clone()).unwrap_or_default());
            }
        }
        self.store.records(&key)
    }

    fn submitter_of(&self, tx_id: TxId) -> Result<SubmitterNumber, StoreError> {
        for changes in &self.overlays {
            let at = tx_id.0.checked_sub(changes.first.0).and_then(|at| usize::try_from(at).ok());
            if let Some(leaf) = at.and_then(|at| changes.leaves.get(at)) {
                return Ok(record_leaf(leaf)?.submitter);
            }
        }
        Ok(record_leaf(&self.store.leaf(tx_id)?)?.submitter)
    }
}

impl std::fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("base", &self.base).field("overlays", &self.overlays.len()).finish_non_exhaustive()
    }
}

pub(crate) fn record_leaf(bytes: &[u8]) -> Result<RecordLeaf, StoreError> {
    match Leaf::decode(bytes) {
        Ok(Leaf::Record(record)) => Ok(record),
        Ok(Leaf::Block(_)) | Err(_) => Err(StoreError::Damaged { what: "what should be a record's leaf is none" }),
    }
}

#[cfg(test)]
mod tests;
