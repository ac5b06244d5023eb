//! The deterministic step of the registry: state and block give changes, or the block is invalid for
//! everyone.
//!
//! For: [`apply`], used alike to judge a proposal and to apply a finalized block. Signatures come first,
//! of batches and of endorsements, and only then the state.
//!
//! Not for: reading or writing a store; the state comes as [`State`], the changes go out as values.
//! Nor for clocks: a block whose minute lies ahead is waited for by the node, not refused here.

mod changes;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use birthmark_core::batch::{Assurance, BlockBatch, Place, SignatureError, Transaction};
use birthmark_core::body::{Body, BodyDigest};
use birthmark_core::governance::ApprovedAct;
use birthmark_core::hash::ImageHash;
use birthmark_core::ids::{Epoch, Height, SubmitterNumber, TxId};
use birthmark_core::index::IndexRecord;
use birthmark_core::leaf::{ActLeaf, Leaf, RecordLeaf};
use birthmark_core::network::{ActRefusal, Network, validator_set_hash};
use birthmark_core::time::Minute;

use crate::block::{BlockError, Header, Payload};
use crate::endorsements::Endorsements;
use crate::governance::{ActChange, Constitution, Scheduled};
use crate::index;
use crate::rules::{Refusal, Rules, Stage};

pub use self::changes::{BlockEnd, Changes};

/// What a step needs to know of the state before it.
pub trait State {
    /// Why the state cannot be read: a damaged or failing store.
    type Error;
    /// Who runs the network and may speak in it.
    fn constitution(&self) -> &Constitution;
    /// Leaves in the log.
    fn size(&self) -> u64;
    /// The last block's minute.
    fn minute(&self) -> Minute;
    /// The last block's height.
    fn height(&self) -> Height;
    /// The best record of exactly this body.
    fn recorded(&self, body: &BodyDigest) -> Result<Option<(TxId, Assurance)>, Self::Error>;
    /// The records of an image hash.
    fn records_of(&self, hash: &ImageHash) -> Result<Vec<IndexRecord>, Self::Error>;
    /// Who submitted a record.
    fn submitter_of(&self, tx_id: TxId) -> Result<SubmitterNumber, Self::Error>;
}

/// Why a block is invalid for everyone and for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBlock {
    /// Header or payload do not decode.
    #[error(transparent)]
    Malformed(#[from] BlockError),
    /// Its minute is before its parent's.
    #[error("the block's minute is before its parent's")]
    Minute,
    /// It names another epoch or validator set.
    #[error("the block is of another epoch or validator set")]
    Epoch,
    /// It builds on the last block of an epoch, which is not final yet.
    #[error("the block follows the last one of its epoch")]
    AfterTheEnd,
    /// It holds an act while another one waits to take effect.
    #[error("the block holds an act of governance, and another one waits for the end of the epoch")]
    ActWaits,
    /// The act that it holds may not be enacted.
    #[error("act of governance: {0}")]
    Act(#[from] ActRefusal),
    /// A batch's submitter is unknown or was removed.
    #[error("batch {0} is of an unknown submitter")]
    Submitter(usize),
    /// A batch's signature does not count.
    #[error("batch {0}: {1}")]
    Signature(usize, SignatureError),
    /// A batch that records nothing.
    #[error("batch {0} records nothing")]
    Nothing(usize),
    /// A transaction against the rules.
    #[error("batch {batch}, transaction {at}: {refusal}")]
    Refused {
        /// Counted from 0.
        batch: usize,
        /// Counted from 0.
        at: usize,
        /// The rule.
        refusal: Refusal,
    },
    /// A body that is recorded already, or stands twice in the block.
    #[error("batch {batch}, transaction {at} is a duplicate")]
    Duplicate {
        /// Counted from 0.
        batch: usize,
        /// Counted from 0.
        at: usize,
    },
}

/// Applies one block. The outer error is the store's, never a verdict.
pub fn apply<S: State>(
    endorsements: &Endorsements,
    at: Stage,
    state: &S,
    header: &[u8],
    payload: &[u8],
) -> Result<Result<Changes, InvalidBlock>, S::Error> {
    let network = Arc::clone(state.constitution().network());
    let rules = Rules { network: &network, endorsements, stage: at };
    let checked = decode(state, header, payload)
        .and_then(|(header, payload)| check_endorsements(rules, &payload.batches).map(|()| (header, payload)));
    let (header, Payload { batches, act }) = match checked {
        Ok(decoded) => decoded,
        Err(invalid) => return Ok(Err(invalid)),
    };
    let mut step = Step::new(state, header.minute, &batches);
    for (batch_at, batch) in batches.iter().enumerate() {
        for (at, place) in batch.places.iter().enumerate() {
            let Place::Record(transaction) = place else { continue };
            if let Err(reason) = step.record(rules, batch.submitter, transaction)? {
                return Ok(Err(reason.at(batch_at, at)));
            }
        }
    }
    Ok(Ok(step.finish(&header, act)))
}

fn decode<S: State>(state: &S, header: &[u8], payload: &[u8]) -> Result<(Header, Payload), InvalidBlock> {
    let header = Header::decode(header)?;
    if header.minute < state.minute() {
        return Err(InvalidBlock::Minute);
    }
    let constitution = state.constitution();
    let (network, epoch) = (constitution.network(), constitution.network().current_epoch());
    if header.epoch != epoch.number() || header.validator_set_hash != epoch.validator_set_hash() {
        return Err(InvalidBlock::Epoch);
    }
    if constitution.is_over() {
        return Err(InvalidBlock::AfterTheEnd);
    }
    let payload = Payload::decode(payload)?;
    for (at, batch) in payload.batches.iter().enumerate() {
        let submitter = network.active_submitter(batch.submitter).ok_or(InvalidBlock::Submitter(at))?;
        if !batch.places.iter().any(|place| matches!(place, Place::Record(_))) {
            return Err(InvalidBlock::Nothing(at));
        }
        batch
            .verify(network.network_id(), submitter.key.as_bytes())
            .map_err(|cause| InvalidBlock::Signature(at, cause))?;
    }
    if let Some(act) = &payload.act {
        constitution.check(act)?;
    }
    Ok((header, payload))
}

/// All of a block's endorsements at once. `Rules::check` asks for each again, and is then answered from memory.
fn check_endorsements(rules: Rules<'_>, batches: &[BlockBatch]) -> Result<(), InvalidBlock> {
    let (mut places, mut transactions) = (Vec::new(), Vec::new());
    for (batch_at, batch) in batches.iter().enumerate() {
        for (at, place) in batch.places.iter().enumerate() {
            if let Place::Record(transaction) = place
                && transaction.assurance() == Assurance::Endorsed
            {
                places.push((batch_at, at));
                transactions.push(transaction);
            }
        }
    }
    let refused = rules.endorsements.first_refused(rules.network, rules.stage, &transactions);
    match refused.and_then(|(number, refusal)| Some((places.get(number)?, refusal))) {
        Some(((batch, at), refusal)) => Err(InvalidBlock::Refused { batch: *batch, at: *at, refusal }),
        None => Ok(()),
    }
}

/// The state while a block's transactions are taken up one after another.
struct Step<'a, S> {
    state: &'a S,
    minute: Minute,
    leaves: Vec<Vec<u8>>,
    bodies: HashMap<BodyDigest, (TxId, Assurance)>,
    index: HashMap<ImageHash, Vec<IndexRecord>>,
    submitters: Vec<SubmitterNumber>,
    endorsements: Vec<(TxId, Vec<u8>)>,
}

enum Reason {
    Refused(Refusal),
    Duplicate,
}

impl Reason {
    const fn at(self, batch: usize, at: usize) -> InvalidBlock {
        match self {
            Self::Refused(refusal) => InvalidBlock::Refused { batch, at, refusal },
            Self::Duplicate => InvalidBlock::Duplicate { batch, at },
        }
    }
}

impl<'a, S: State> Step<'a, S> {
    fn new(state: &'a S, minute: Minute, batches: &[BlockBatch]) -> Self {
        let records = batches.iter().map(|batch| batch.places.len()).sum();
        Self {
            state,
            minute,
            leaves: Vec::with_capacity(records),
            bodies: HashMap::with_capacity(records),
            // A capture has two hashes.
            index: HashMap::with_capacity(2 * records),
            submitters: Vec::with_capacity(records),
            endorsements: Vec::new(),
        }
    }

    fn record(
        &mut self,
        rules: Rules<'_>,
        submitter: SubmitterNumber,
        transaction: &Transaction,
    ) -> Result<Result<(), Reason>, S::Error> {
        let recorded = |hash: &ImageHash| match self.index.get(hash) {
            Some(_) => Ok(true),
            None => self.state.records_of(hash).map(|records| !records.is_empty()),
        };
        let authority = match rules.check(transaction, recorded)? {
            Ok(authority) => authority,
            Err(refusal) => return Ok(Err(Reason::Refused(refusal))),
        };
        let body = transaction.body();
        let digest = body.digest();
        let known = match self.bodies.get(&digest).copied() {
            Some(known) => Some(known),
            // Each hash of a recorded body has a record.
            None if self.has_new_hash(body)? => None,
            None => self.state.recorded(&digest)?,
        };
        if known.is_some_and(|(_, assurance)| assurance >= transaction.assurance()) {
            return Ok(Err(Reason::Duplicate));
        }
        let tx_id = TxId(self.state.size() + self.leaves.len() as u64);
        let leaf = Leaf::Record(RecordLeaf {
            minute: self.minute,
            authority,
            submitter,
            assurance: transaction.assurance(),
            endorsement_hash: transaction.endorsement_hash(),
            entries: body.entries.clone(),
        });
        for (entry, image) in (1u8..).zip(body.entries.as_slice()) {
            let record = IndexRecord { tx_id, entry, assurance: transaction.assurance() };
            self.file(image.hash, record, submitter)?;
        }
        self.bodies.insert(digest, (tx_id, transaction.assurance()));
        self.leaves.push(leaf.encode());
        self.submitters.push(submitter);
        if !transaction.endorsement().is_empty() {
            self.endorsements.push((tx_id, transaction.endorsement().to_vec()));
        }
        Ok(Ok(()))
    }

    /// Whether a hash of this body has no record yet. What is looked up for it is kept for `file`.
    fn has_new_hash(&mut self, body: &Body) -> Result<bool, S::Error> {
        for image in body.entries.as_slice() {
            let records = match self.index.entry(image.hash) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(self.state.records_of(&image.hash)?),
            };
            if records.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn file(&mut self, hash: ImageHash, record: IndexRecord, submitter: SubmitterNumber) -> Result<(), S::Error> {
        let (state, submitters) = (self.state, &self.submitters);
        let submitter_of = |tx_id: TxId| {
            let in_block = tx_id.0.checked_sub(state.size()).and_then(|at| usize::try_from(at).ok());
            match in_block.and_then(|at| submitters.get(at)) {
                Some(submitter) => Ok(*submitter),
                None => state.submitter_of(tx_id),
            }
        };
        let mut records = match self.index.remove(&hash) {
            Some(records) => records,
            None => state.records_of(&hash)?,
        };
        index::insert(&mut records, record, submitter, submitter_of)?;
        self.index.insert(hash, records);
        Ok(())
    }

    /// The leaf of the act that takes effect, or a note of the one that will.
    fn act(&mut self, height: Height, act: Option<ApprovedAct>) -> Option<ActChange> {
        let approved = match (act, self.state.constitution().due(height)) {
            (Some(approved), _) if approved.act().change.ends_epoch() => {
                return Some(ActChange::Scheduled(Scheduled { height, approved }));
            }
            (Some(approved), _) => approved,
            (None, Some(due)) => due.clone(),
            (None, None) => return None,
        };
        let tx_id = TxId(self.state.size() + self.leaves.len() as u64);
        let leaf = ActLeaf { minute: self.minute, height, approved: approved.clone() };
        self.leaves.push(Leaf::Act(Box::new(leaf)).encode());
        Some(ActChange::Enacted { tx_id, approved })
    }

    fn finish(mut self, header: &Header, act: Option<ApprovedAct>) -> Changes {
        let height = Height(self.state.height().0 + 1);
        let act = self.act(height, act);
        let says_so = !self.leaves.is_empty() || self.state.constitution().begins_at(height);
        let end = says_so.then(|| header.into());
        let mut index: Vec<_> = self.index.into_iter().map(|(hash, records)| (hash.index_key(), records)).collect();
        index.sort_unstable_by_key(|(key, _)| *key);
        let mut bodies: Vec<_> =
            self.bodies.into_iter().map(|(digest, (tx_id, assurance))| (digest, tx_id, assurance)).collect();
        bodies.sort_unstable_by_key(|(digest, ..)| *digest);
        Changes {
            height,
            minute: header.minute,
            first: TxId(self.state.size()),
            leaves: self.leaves,
            end,
            bodies,
            index,
            endorsements: self.endorsements,
            act,
        }
    }
}

/// What genesis changes: one leaf, so that the log is never empty.
pub fn genesis(network: &Network) -> Changes {
    let header = Header {
        minute: network.genesis().minute(),
        epoch: Epoch(0),
        validator_set_hash: validator_set_hash(Epoch(0), network.genesis().validators()),
    };
    Changes {
        height: Height(0),
        minute: header.minute,
        first: TxId(0),
        leaves: Vec::new(),
        end: Some((&header).into()),
        bodies: Vec::new(),
        index: Vec::new(),
        endorsements: Vec::new(),
        act: None,
    }
}
