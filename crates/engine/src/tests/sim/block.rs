//! What simulated blocks hold.
//!
//! ```text
//! header  = be64 height ‖ be64 milliseconds ‖ be64 epoch
//! payload = n × be64 transaction
//! ```

use bytes::{Buf as _, Bytes};

use super::{acts::epoch_of_act, truth::Transaction};
use crate::{OrderedBlock, Proposal};

/// A header's parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) height: u64,
    pub(super) time: u64,
    pub(super) epoch: u64,
}

impl Header {
    /// Of a block, if it has one.
    pub(super) fn of(block: &OrderedBlock) -> Option<Self> {
        let mut bytes = block.header.clone();
        let mut next = || bytes.try_get_u64().ok();
        let header = Self { height: next()?, time: next()?, epoch: next()? };
        bytes.is_empty().then_some(header)
    }

    /// A proposal with this header.
    pub(super) fn with(self, contents: &[Transaction]) -> Proposal {
        let header = [self.height, self.time, self.epoch].map(u64::to_be_bytes).concat();
        let payload: Vec<_> = contents.iter().flat_map(|t| t.to_be_bytes()).collect();
        Proposal { header: header.into(), payload: payload.into() }
    }
}

/// Genesis is at the beginning of time.
pub(super) fn time_of(block: &OrderedBlock) -> u64 {
    Header::of(block).map_or(0, |header| header.time)
}

pub(super) fn transactions(block: &OrderedBlock) -> Vec<Transaction> {
    block.payload.chunks_exact(8).map(|mut t| t.get_u64()).collect()
}

/// The epoch that a block ends by an act, if it holds one.
pub(super) fn act_in(block: &OrderedBlock) -> Option<u64> {
    transactions(block).into_iter().find_map(epoch_of_act)
}

/// No header at all.
pub(super) const fn headless() -> Proposal {
    Proposal { header: Bytes::from_static(b"no header"), payload: Bytes::new() }
}
