//! A state to judge the next block by: what is on disk, and blocks above it that are not final yet.
//!
//! Not for: answering clients, who are told what is durable and published (`reading`).

use std::sync::Arc;

use birthmark_core::batch::{Assurance, Transaction};
use birthmark_core::body::{Body, BodyDigest};
use birthmark_core::governance::ApprovedAct;
use birthmark_core::hash::{Digest, ImageHash};
use birthmark_core::ids::{Height, SubmitterNumber, TxId};
use birthmark_core::index::IndexRecord;
use birthmark_core::merkle::TreeHash;
use birthmark_core::time::Minute;

use super::judged::{Judged, StateId};
use super::{Block, Head, LedgerError, record_leaf};
use crate::apply::{self, Changes, InvalidBlock, State};
use crate::endorsements::Endorsements;
use crate::governance::Constitution;
use crate::rules::{Rules, Stage};
use crate::store::{StoreError, StoreReader};
use crate::trie::Trie;

/// A consistent state: what is on disk, and blocks above it that are not final yet.
pub struct View<'a> {
    endorsements: &'a Endorsements,
    judged: &'a Judged,
    constitution: Constitution,
    pub(super) base: Base,
    overlays: Vec<Arc<Changes>>,
    /// This state, if what it gives is to be remembered.
    state: Option<StateId>,
}

/// What a view stands on: one state of the store.
pub(super) struct Base {
    pub(super) store: StoreReader,
    pub(super) head: Head,
    /// The index of the same state, if it could be had.
    pub(super) trie: Option<Trie>,
}

impl<'a> View<'a> {
    pub(super) fn new(
        endorsements: &'a Endorsements,
        judged: &'a Judged,
        constitution: Constitution,
        base: Base,
    ) -> Self {
        let state = judged.state_at(base.head.height);
        Self { endorsements, judged, constitution, base, overlays: Vec::new(), state }
    }

    /// The same, for blocks that nobody has decided on: nothing of them is remembered.
    pub(super) fn of_strangers(mut self) -> Self {
        self.state = None;
        self
    }

    /// Takes up one more block, after which the log is as `log` says, if that is known.
    ///
    /// Of blocks without leaves in a row, the last one says all that they say together.
    pub(super) fn push(
        &mut self,
        block: &Block<'_>,
        changes: Arc<Changes>,
        log: Option<(u64, TreeHash)>,
    ) -> Result<(), InvalidBlock> {
        self.state = self.state.map(|state| state.after(block.header, block.payload));
        if let Some(act) = &changes.act {
            self.constitution = self.constitution.after(changes.height, act, log)?;
        }
        if self.overlays.last().is_some_and(|last| last.leaf_count() == 0) {
            self.overlays.pop();
        }
        self.overlays.push(changes);
        Ok(())
    }

    /// By which the next block's transactions are judged before they are in one.
    pub fn rules(&self) -> Rules<'_> {
        Rules { network: self.constitution.network(), endorsements: self.endorsements, stage: Stage::Proposed }
    }

    /// Whether the next block may hold this act.
    pub fn check_act(&self, approved: &ApprovedAct) -> Result<(), InvalidBlock> {
        self.constitution.check(approved)
    }

    /// The last block of the epoch, if that follows from a block which is not applied yet.
    pub fn unapplied_end(&self) -> Option<Height> {
        let scheduled = self.constitution.scheduled()?;
        (scheduled.height > self.base.head.height).then(|| scheduled.last_height())
    }

    /// What the next block changes, whose validators have decided already.
    pub(super) fn decided(&self, block: &Block<'_>) -> Result<Result<Arc<Changes>, InvalidBlock>, StoreError> {
        let after = self.state.map(|state| state.after(block.header, block.payload));
        match after.and_then(|after| self.judged.get(&after)) {
            Some(changes) => Ok(Ok(changes)),
            None => self.apply(Stage::Decided, block.header, block.payload),
        }
    }

    /// Judges the next block on this state.
    pub fn judge(&self, header: &[u8], payload: &[u8]) -> Result<Result<(), InvalidBlock>, LedgerError> {
        Ok(self.apply(Stage::Proposed, header, payload)?.map(drop))
    }

    fn apply(
        &self,
        stage: Stage,
        header: &[u8],
        payload: &[u8],
    ) -> Result<Result<Arc<Changes>, InvalidBlock>, StoreError> {
        let changes = apply::apply(self.endorsements, stage, self, header, payload)?.map(Arc::new);
        if let (Some(state), Ok(changes)) = (self.state, &changes) {
            self.judged.keep(state.after(header, payload), Arc::clone(changes));
        }
        Ok(changes)
    }

    /// The best record of this body. It is mostly told from memory that a new one has none.
    pub fn record_of(&self, body: &Body, digest: &BodyDigest) -> Result<Option<(TxId, Assurance)>, LedgerError> {
        // Each hash of a recorded body has a record, so the first may be asked for all.
        let is_new = body.entries.as_slice().first().is_some_and(|image| {
            let key = image.hash.index_key();
            self.base.lacks(&key) && self.overlaid(&key).is_none()
        });
        if is_new { Ok(None) } else { Ok(self.recorded(digest)?) }
    }

    /// Whether the body of this transaction is on record, at its assurance at least.
    pub fn has(&self, transaction: &Transaction, digest: &BodyDigest) -> Result<bool, LedgerError> {
        let known = self.record_of(transaction.body(), digest)?;
        Ok(known.is_some_and(|(_, assurance)| assurance >= transaction.assurance()))
    }

    /// The list that blocks above the store give to a key.
    fn overlaid(&self, key: &Digest) -> Option<&[IndexRecord]> {
        self.overlays.iter().rev().find_map(|changes| {
            let at = changes.index.binary_search_by_key(key, |(key, _)| *key).ok()?;
            changes.index.get(at).map(|(_, records)| records.as_slice())
        })
    }

    /// The digest of a block that is on disk already.
    pub fn applied(&self, height: Height) -> Result<Option<[u8; 32]>, LedgerError> {
        Ok(self.base.store.block(height)?.map(|block| block.digest))
    }
}

impl Base {
    /// True if it is known without asking the store that nothing stands under this key.
    fn lacks(&self, key: &Digest) -> bool {
        self.trie.as_ref().and_then(|trie| trie.has(key)) == Some(false)
    }
}

impl State for View<'_> {
    type Error = StoreError;

    fn constitution(&self) -> &Constitution {
        &self.constitution
    }

    fn size(&self) -> u64 {
        self.base.head.size + self.overlays.iter().map(|changes| changes.leaf_count()).sum::<u64>()
    }

    fn minute(&self) -> Minute {
        self.overlays.last().map_or(self.base.head.minute, |changes| changes.minute)
    }

    fn height(&self) -> Height {
        self.overlays.last().map_or(self.base.head.height, |changes| changes.height)
    }

    fn recorded(&self, body: &BodyDigest) -> Result<Option<(TxId, Assurance)>, StoreError> {
        for changes in self.overlays.iter().rev() {
            if let Ok(at) = changes.bodies.binary_search_by_key(body, |(digest, ..)| *digest) {
                return Ok(changes.bodies.get(at).map(|(_, tx_id, assurance)| (*tx_id, *assurance)));
            }
        }
        self.base.store.body(body)
    }

    fn records_of(&self, hash: &ImageHash) -> Result<Vec<IndexRecord>, StoreError> {
        let key = hash.index_key();
        match self.overlaid(&key) {
            Some(records) => Ok(records.to_vec()),
            None if self.base.lacks(&key) => Ok(Vec::new()),
            None => self.base.store.records(&key),
        }
    }

    fn submitter_of(&self, tx_id: TxId) -> Result<SubmitterNumber, StoreError> {
        for changes in &self.overlays {
            let at = tx_id.0.checked_sub(changes.first.0).and_then(|at| usize::try_from(at).ok());
            if let Some(leaf) = at.and_then(|at| changes.leaves.get(at)) {
                return Ok(record_leaf(leaf)?.submitter);
            }
        }
        Ok(record_leaf(&self.base.store.leaf(tx_id)?)?.submitter)
    }
}

impl std::fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View")
            .field("base", &self.base.head)
            .field("overlays", &self.overlays.len())
            .finish_non_exhaustive()
    }
}
