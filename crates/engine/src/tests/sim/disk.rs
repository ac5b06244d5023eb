//! What survives a validator's crash, but for what the engine itself keeps.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use super::{acts::Acts, block::transactions, truth::Transaction};
use crate::OrderedBlock;

/// A block's place and digest.
pub(super) type Tip = (u64, [u8; 32]);

/// A ledger, and the ends of epochs that were published.
#[derive(Default)]
pub(super) struct Disk(Mutex<Durable>);

#[derive(Default)]
struct Durable {
    blocks: Vec<OrderedBlock>,
    recorded: BTreeMap<Transaction, u64>,
    /// Last blocks of epochs, as a quorum has signed them.
    closings: BTreeMap<u64, Tip>,
}

impl Disk {
    /// Puts an older state in place, as a restored backup does.
    pub(super) fn roll_back(&self, lost: usize) {
        let mut durable = self.state();
        let left = durable.blocks.len().saturating_sub(lost);
        durable.blocks.truncate(left);
        let left = left as u64;
        durable.recorded.retain(|_, height| *height <= left);
        if lost > 0 {
            durable.closings.retain(|_, (height, _)| *height <= left);
        }
    }

    pub(super) fn height(&self) -> u64 {
        self.state().blocks.len() as u64
    }

    pub(super) fn last(&self) -> Option<Tip> {
        self.state().blocks.last().map(|block| (block.height, block.digest))
    }

    /// Whether `tip` is one of the blocks.
    pub(super) fn has(&self, (height, digest): Tip) -> bool {
        let at = usize::try_from(height).unwrap().checked_sub(1);
        at.and_then(|at| self.state().blocks.get(at).map(|block| block.digest == digest)).unwrap_or(false)
    }

    pub(super) fn height_of(&self, transaction: Transaction) -> Option<u64> {
        self.state().recorded.get(&transaction).copied()
    }

    /// Some that are recorded.
    pub(super) fn some_recorded(&self, count: usize) -> Vec<Transaction> {
        self.state().recorded.keys().copied().take(count).collect()
    }

    pub(super) fn acts(&self) -> Acts {
        Acts::of(&self.state().recorded)
    }

    /// How an epoch has ended, if that is known here.
    pub(super) fn closing(&self, epoch: u64) -> Option<Tip> {
        self.state().closings.get(&epoch).copied()
    }

    /// Keeps how an epoch has ended; true if that is new.
    pub(super) fn keep_closing(&self, epoch: u64, tip: Tip) -> bool {
        self.state().closings.insert(epoch, tip).is_none()
    }

    /// Applies a block durably.
    pub(super) fn push(&self, block: OrderedBlock) {
        let mut durable = self.state();
        assert_eq!(block.height, durable.blocks.len() as u64 + 1, "blocks come in order and without a gap");
        for transaction in transactions(&block) {
            let before = durable.recorded.insert(transaction, block.height);
            assert_eq!(before, None, "transaction {transaction} is applied twice");
        }
        durable.blocks.push(block);
    }

    fn state(&self) -> MutexGuard<'_, Durable> {
        self.0.lock().unwrap()
    }
}
