//! A state to judge the next block by: what is on disk, and blocks above it that are not final yet.
//!
//! Not for: answering clients, who are told what is durable and published (`reading`).

use std::sync::Arc;

use birthmark_core::batch::Assurance;
use birthmark_core::body::BodyDigest;
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

/// A consistent state: what is on disk, and blocks above it that are not final yet.
pub struct View<'a> {
    endorsements: &'a Endorsements,
    judged: &'a Judged,
    constitution: Constitution,
    pub(super) store: StoreReader,
    pub(super) base: Head,
    overlays: Vec<Arc<Changes>>,
    /// This state, if what it gives is to be remembered.
    state: Option<StateId>,
}

impl<'a> View<'a> {
    pub(super) fn new(
        endorsements: &'a Endorsements,
        judged: &'a Judged,
        constitution: Constitution,
        store: StoreReader,
    ) -> Result<Self, StoreError> {
        let base = store.head()?.ok_or(StoreError::Damaged { what: "the head is missing" })?;
        let state = judged.state_at(base.height);
        Ok(Self { endorsements, judged, constitution, store, base, overlays: Vec::new(), state })
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
        (scheduled.height > self.base.height).then(|| scheduled.last_height())
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

    /// The digest of a block that is on disk already.
    pub fn applied(&self, height: Height) -> Result<Option<[u8; 32]>, LedgerError> {
        Ok(self.store.block(height)?.map(|block| block.digest))
    }
}

impl State for View<'_> {
    type Error = StoreError;

    fn constitution(&self) -> &Constitution {
        &self.constitution
    }

    fn size(&self) -> u64 {
        self.base.size + self.overlays.iter().map(|changes| changes.leaf_count()).sum::<u64>()
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
