//! The ledger as a node uses it: apply what is final, judge what is proposed, and give a state to answer
//! from.

mod foresee;
mod judged;
mod reading;
mod rebuild;
mod view;

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use birthmark_core::batch::Assurance;
use birthmark_core::body::BodyDigest;
use birthmark_core::ids::{Height, TxId};
use birthmark_core::leaf::{Leaf, RecordLeaf};
use birthmark_core::merkle::{self, TreeHash};
use birthmark_core::network::Network;
use birthmark_core::time::Minute;
use parking_lot::Mutex;

pub use self::foresee::{BadBlocks, Tree};
use self::judged::{Judged, StateId};
pub use self::reading::{Found, IndexProof, Reading};
pub use self::rebuild::Rebuilt;
use self::view::Base;
pub use self::view::View;
use crate::apply::{self, Changes, InvalidBlock};
use crate::endorsements::Endorsements;
use crate::frame;
use crate::governance::Constitution;
use crate::store::{BlockId, Edge, Store, StoreError, StoreReader};
use crate::trie::Trie;

/// A registry's state on disk. Cheap to read from many threads; blocks are applied one at a time.
#[derive(Debug)]
pub struct Ledger {
    /// What the network was before its first act.
    base: Arc<Network>,
    constitution: ArcSwap<Constitution>,
    endorsements: Endorsements,
    judged: Judged,
    store: Arc<Store>,
    /// None after a commit that failed: what is on disk is unknown then.
    writer: Mutex<Option<Writer>>,
    /// The index after the last committed block, for those who do not write.
    index: ArcSwap<(Height, Trie)>,
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
    /// Opens the ledger in `folder`, or starts it with genesis. Of the network's acts those count that
    /// the ledger itself holds.
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
        let base = if network.act_count() == 0 { network } else { Arc::new(network.before_acts().clone()) };
        let constitution = Constitution::load(&Constitution::new(Arc::clone(&base)), &store.reader())?;
        let index = ArcSwap::from_pointee((head.height, writer.trie.clone()));
        let (endorsements, writer) = (Endorsements::default(), Mutex::new(Some(writer)));
        let judged = Judged::new(head.height, StateId::opened(&head));
        let (constitution, head) = (ArcSwap::from_pointee(constitution), ArcSwap::from_pointee(head));
        Ok(Self { base, constitution, endorsements, judged, store, writer, index, head })
    }

    /// The network that this is the ledger of, as it is after the last durably applied block.
    pub fn network(&self) -> Arc<Network> {
        Arc::clone(self.constitution.load().network())
    }

    /// What the network was before its first act.
    pub const fn base(&self) -> &Arc<Network> {
        &self.base
    }

    /// The same with the change of validators that waits.
    pub fn constitution(&self) -> Arc<Constitution> {
        self.constitution.load_full()
    }

    fn view(&self) -> Result<View<'_>, StoreError> {
        // First what is known, then the store, which may be ahead of what is durable and shown.
        let known = self.constitution.load_full();
        let store = self.store.reader();
        let constitution = Constitution::load(&known, &store)?;
        let base = store.head()?.ok_or(StoreError::Damaged { what: "the head is missing" })?;
        // The store's state and the index are taken one after the other, and may be of different blocks.
        let index = self.index.load();
        let trie = (index.0 == base.height).then(|| index.1.clone());
        Ok(View::new(&self.endorsements, &self.judged, constitution, Base { store, head: base, trie }))
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
            let constitution = Constitution::load(&self.constitution.load(), &self.store.reader())?;
            self.constitution.store(Arc::new(constitution));
            self.head.store(Arc::new(head));
        }
        outcome.map(|()| recorded)
    }

    /// Commits one final block, without making it durable; nothing if that was done before.
    fn apply_one(
        &self,
        place: &mut Option<Writer>,
        block: &Block<'_>,
    ) -> Result<Option<(Head, Arc<Changes>)>, LedgerError> {
        let writer = place.as_mut().ok_or(LedgerError::Broken)?;
        let view = self.view()?;
        let expected = view.base.head.height.0 + 1;
        if block.height.0 < expected {
            let known = view.base.store.block(block.height)?;
            if known.is_some_and(|known| known.digest != block.digest) {
                return Err(LedgerError::Fork(block.height.0));
            }
            return Ok(None);
        }
        if block.height.0 > expected {
            return Err(LedgerError::Gap { expected, got: block.height.0 });
        }
        let changes = view.decided(block)?.map_err(|cause| LedgerError::Invalid { height: block.height.0, cause })?;
        let frame = frame::of(view.rules().network, block.header, block.payload, &changes);
        let id = BlockId { digest: block.digest, parent: block.parent, frame };
        let committed = writer.commit(&self.store, &view.base.store, &changes, &id);
        let index = (block.height, writer.trie.clone());
        let head = committed.inspect_err(|_| *place = None)?;
        self.index.store(Arc::new(index));
        self.judged.applied(block.height, block.header, block.payload);
        Ok(Some((head, changes)))
    }

    /// The state after `ancestors`, consecutive blocks of which the first ones may be applied already.
    pub fn view_after(&self, ancestors: &[Block<'_>]) -> Result<Result<View<'_>, InvalidBlock>, LedgerError> {
        let mut view = self.view()?;
        for block in ancestors {
            if block.height.0 <= view.base.head.height.0 {
                continue;
            }
            match view.decided(block)? {
                Ok(changes) => {
                    if let Err(invalid) = view.push(block, changes, None) {
                        return Ok(Err(invalid));
                    }
                }
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

    /// A leaf, and the hashes that show it to be in the log of `size` leaves.
    pub fn proven_leaf(&self, tx_id: TxId, size: u64) -> Result<(Vec<u8>, Vec<TreeHash>), LedgerError> {
        let store = self.store.reader();
        let path = merkle::prove_inclusion(tx_id.0, size, &mut |level, index| store.subtree(level, index))?;
        Ok((store.leaf(tx_id)?, path))
    }

    /// The leaf of each act so far, and the checkpoint that closed the epoch which an act ended, if kept.
    pub fn act(&self, number: u32) -> Result<(TxId, Option<String>), LedgerError> {
        let store = self.store.reader();
        Ok((store.act(number)?, store.closing(number)?))
    }

    /// The checkpoint that closed the epoch which this act ended, if kept.
    pub fn closing(&self, number: u32) -> Result<Option<String>, LedgerError> {
        Ok(self.store.reader().closing(number)?)
    }

    /// Keeps the checkpoint that closed the epoch which this act ended.
    pub fn keep_closing(&self, number: u32, note: &str) -> Result<(), LedgerError> {
        Ok(self.store.put_closing(number, note)?)
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

pub(crate) fn record_leaf(bytes: &[u8]) -> Result<RecordLeaf, StoreError> {
    match Leaf::decode(bytes) {
        Ok(Leaf::Record(record)) => Ok(record),
        Ok(Leaf::Act(_) | Leaf::Block(_)) | Err(_) => {
            Err(StoreError::Damaged { what: "what should be a record's leaf is none" })
        }
    }
}

#[cfg(test)]
mod tests;
