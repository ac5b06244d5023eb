//! Whole blocks, as their frames and leaves give them, against the signatures of those who submitted them; and the
//! acts of governance in them against those that the store counts. Their approvals were checked with the first step.

use birthmark_core::batch::Place;
use birthmark_core::governance::ApprovedAct;
use birthmark_core::hex;
use birthmark_core::ids::{Height, TxId};
use birthmark_core::leaf::Leaf;

use super::log::{due, nothing_left};
use super::{Check, Progress, Stop, damage};
use crate::block::{Header, Payload};
use crate::frame;
use crate::governance::Scheduled;
use crate::ledger::{BlockInfo, Head};
use crate::store::{ACTS, Section, StoreError};

impl Check {
    /// Every block but genesis has a frame. Index, bodies and endorsements have been checked.
    pub(super) fn frames(&self, head: &Head, progress: &mut dyn FnMut(Progress)) -> Result<(), Stop> {
        let mut frames = self.all(Section::Frames);
        let mut acts = Acts::default();
        for height in 1..=head.height.0 {
            let key = height.to_be_bytes();
            let frame = due(Section::Frames, &key, frames.next())?;
            let block = self.in_place(Section::Blocks, &key, self.reader.block(Height(height)))?;
            let Some(block) = block else { continue };
            let leaves = self.reader.leaves(block.first.0, block.count.into());
            let leaves = self.in_place(Section::Leaves, &block.first.0.to_be_bytes(), leaves)?;
            self.frame(&mut acts, &block, &frame, &leaves)?;
            progress(Progress { stage: "blocks", done: height, total: head.height.0 });
        }
        nothing_left(Section::Frames, frames.next())?;
        let (count, scheduled) = self.in_place(Section::Meta, ACTS.as_bytes(), self.reader.acts())?;
        if (count, &scheduled) == (acts.enacted, &acts.scheduled) {
            return Ok(());
        }
        let text = |count: u32, scheduled: Option<Scheduled>| {
            format!("{count} acts, {} that waits", scheduled.map_or("none", |_| "one"))
        };
        Err(damage(Section::Meta, ACTS.as_bytes(), text(count, scheduled), text(acts.enacted, acts.scheduled)))
    }

    /// The block that the frame gives is one that its submitters signed, with exactly these leaves.
    fn frame(&self, acts: &mut Acts, block: &BlockInfo, frame: &[u8], leaves: &[Vec<u8>]) -> Result<(), Stop> {
        let key = block.height.0.to_be_bytes();
        let fits = match self.given(acts, block, frame, leaves) {
            Ok(fits) => fits,
            Err(StoreError::Damaged { .. }) => false,
            Err(cause) => self.in_place(Section::Frames, &key, Err(cause))?,
        };
        let should = "what gives the block that its submitters signed";
        if fits { Ok(()) } else { Err(damage(Section::Frames, &key, hex::encode(frame), should)) }
    }

    fn given(&self, acts: &mut Acts, block: &BlockInfo, bytes: &[u8], leaves: &[Vec<u8>]) -> Result<bool, StoreError> {
        let Ok(header) = Header::decode(&frame::header_of(bytes)?) else { return Ok(false) };
        // The block's own leaf is no record.
        let mut records = leaves.split_last().map_or_else(Default::default, |(_, records)| records);
        let found = match records.split_last().map(|(last, before)| (Leaf::decode(last), before)) {
            Some((Ok(Leaf::Act(act)), before)) => {
                records = before;
                Some(act.approved)
            }
            _ => None,
        };
        let leaf = |tx_id: TxId| {
            let at = tx_id.0.checked_sub(block.first.0).and_then(|at| usize::try_from(at).ok());
            at.and_then(|at| records.get(at)).cloned().ok_or(StoreError::Damaged { what: "a leaf is missing" })
        };
        let endorsement = |tx_id| self.reader.endorsement(tx_id);
        let payload = frame::payload_of(&self.network, bytes, block.first, leaf, endorsement)?;
        // Without an endorsement that is not kept any more, the rest of the block cannot be given either. It has no
        // act then: a block with one is kept whole.
        let is_whole = payload.is_some();
        let Ok(Payload { batches, act }) = Payload::decode(&payload.unwrap_or_default()) else { return Ok(false) };
        if found != acts.due(block.height, act) {
            return Ok(false);
        }
        if found.is_some() {
            acts.enacted = acts.enacted.saturating_add(1);
            let place = TxId(block.first.0.saturating_add(records.len() as u64));
            if self.reader.act(acts.enacted)? != place {
                return Ok(false);
            }
        }
        let epoch = self.network.epochs().filter(|epoch| epoch.first_height() <= block.height).last();
        let of_epoch = epoch.is_some_and(|epoch| {
            (header.epoch, header.validator_set_hash) == (epoch.number(), epoch.validator_set_hash())
        });
        let count = batches.iter().flat_map(|batch| &batch.places).filter(|p| matches!(p, Place::Record(_))).count();
        let signed = batches.iter().all(|batch| {
            let submitter = self.network.submitter(batch.submitter);
            submitter.is_some_and(|known| batch.verify(self.network.network_id(), known.key.as_bytes()).is_ok())
        });
        let complete = !is_whole || count == records.len();
        Ok(of_epoch && signed && complete && header.minute == block.minute)
    }
}

/// The acts of governance in the blocks so far.
#[derive(Default)]
struct Acts {
    /// Those that took effect.
    enacted: u32,
    /// The change of validators that waits.
    scheduled: Option<Scheduled>,
}

impl Acts {
    /// The act whose leaf a block must have, where its payload holds `act`.
    fn due(&mut self, height: Height, act: Option<ApprovedAct>) -> Option<ApprovedAct> {
        match act {
            Some(approved) if approved.act().change.ends_epoch() => {
                self.scheduled = Some(Scheduled { height, approved });
                None
            }
            Some(approved) => Some(approved),
            None => self.scheduled.take_if(|scheduled| scheduled.last_height() == height).map(|due| due.approved),
        }
    }
}
