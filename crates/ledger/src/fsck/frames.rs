//! Whole blocks, as their frames and leaves give them, against the signatures of those who submitted them.

use birthmark_core::batch::Place;
use birthmark_core::hex;
use birthmark_core::ids::{Height, TxId};

use super::log::{due, nothing_left};
use super::{Check, Progress, Stop, damage};
use crate::block::{Header, decode_payload};
use crate::frame;
use crate::ledger::{BlockInfo, Head};
use crate::store::{Section, StoreError};

impl Check<'_> {
    /// Every block but genesis has a frame. Index, bodies and endorsements have been checked.
    pub(super) fn frames(&self, head: &Head, progress: &mut dyn FnMut(Progress)) -> Result<(), Stop> {
        let mut frames = self.all(Section::Frames);
        for height in 1..=head.height.0 {
            let key = height.to_be_bytes();
            let frame = due(Section::Frames, &key, frames.next())?;
            let block = self.in_place(Section::Blocks, &key, self.reader.block(Height(height)))?;
            let Some(block) = block else { continue };
            let leaves = self.reader.leaves(block.first.0, block.count.into());
            let leaves = self.in_place(Section::Leaves, &block.first.0.to_be_bytes(), leaves)?;
            self.frame(&block, &frame, &leaves)?;
            progress(Progress { stage: "blocks", done: height, total: head.height.0 });
        }
        nothing_left(Section::Frames, frames.next())
    }

    /// The block that the frame gives is one that its submitters signed, with exactly these leaves.
    fn frame(&self, block: &BlockInfo, frame: &[u8], leaves: &[Vec<u8>]) -> Result<(), Stop> {
        let key = block.height.0.to_be_bytes();
        let fits = match self.given(block, frame, leaves) {
            Ok(fits) => fits,
            Err(StoreError::Damaged { .. }) => false,
            Err(cause) => self.in_place(Section::Frames, &key, Err(cause))?,
        };
        let should = "what gives the block that its submitters signed";
        if fits { Ok(()) } else { Err(damage(Section::Frames, &key, hex::encode(frame), should)) }
    }

    fn given(&self, block: &BlockInfo, bytes: &[u8], leaves: &[Vec<u8>]) -> Result<bool, StoreError> {
        let Ok(header) = Header::decode(&frame::header_of(bytes)?) else { return Ok(false) };
        let leaf = |tx_id: TxId| {
            let at = tx_id.0.checked_sub(block.first.0).and_then(|at| usize::try_from(at).ok());
            // The block's own leaf is no record.
            let records = leaves.split_last().map_or_else(Default::default, |(_, records)| records);
            at.and_then(|at| records.get(at)).cloned().ok_or(StoreError::Damaged { what: "a leaf is missing" })
        };
        let endorsement = |tx_id| self.reader.endorsement(tx_id);
        let payload = frame::payload_of(self.network, bytes, block.first, leaf, endorsement)?;
        // Without an endorsement that is not kept any more, the rest of the block cannot be given either.
        let Some(payload) = payload else { return Ok(header.minute == block.minute) };
        let Ok(batches) = decode_payload(&payload) else { return Ok(false) };
        let records = batches.iter().flat_map(|batch| &batch.places).filter(|p| matches!(p, Place::Record(_))).count();
        let signed = batches.iter().all(|batch| {
            let submitter = self.network.submitter(batch.submitter);
            submitter.is_some_and(|known| batch.verify(self.network.network_id(), known.key.as_bytes()).is_ok())
        });
        Ok(signed && header.minute == block.minute && records == leaves.len().saturating_sub(1))
    }
}
