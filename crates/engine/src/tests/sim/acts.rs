//! Governance in simulated networks: acts that exchange the validators, and where epochs end by them.
//!
//! The rules are the node's (ADR 0009): an act stands in a block like a transaction, the next one fits only when the
//! change before it has taken place, and the epoch ends [`NOTICE`] blocks behind it.

use std::collections::BTreeMap;

use super::truth::Transaction;

/// Acts are transactions from this number on.
const ACTS: Transaction = 1 << 32;
/// How many blocks behind the act its epoch ends: as in earnest.
pub(super) const NOTICE: u64 = 32;

/// The act that ends `epoch`.
pub(super) const fn act(epoch: u64) -> Transaction {
    ACTS + epoch
}

/// The epoch that this transaction ends, if it is an act.
pub(super) const fn epoch_of_act(transaction: Transaction) -> Option<u64> {
    transaction.checked_sub(ACTS)
}

/// How many of `validators` must agree.
pub(super) const fn quorum(validators: usize) -> usize {
    validators - (validators - 1) / 3
}

/// The heights of all acts so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Acts(Vec<u64>);

impl Acts {
    /// Those on record.
    pub(super) fn of(recorded: &BTreeMap<Transaction, u64>) -> Self {
        Self(recorded.range(ACTS..).map(|(_, height)| *height).collect())
    }

    /// The last height of `epoch`, if an act has set it.
    pub(super) fn end(&self, epoch: u64) -> Option<u64> {
        self.0.get(usize::try_from(epoch).unwrap()).map(|height| height + NOTICE)
    }

    /// All ends.
    pub(super) fn ends(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().map(|height| height + NOTICE)
    }

    /// The epoch that a block at `height` belongs to.
    pub(super) fn epoch_at(&self, height: u64) -> u64 {
        self.ends().filter(|end| *end < height).count() as u64
    }

    /// Whether a block at `height` may hold the act that ends `epoch`.
    pub(super) fn admit(&self, epoch: u64, height: u64) -> bool {
        epoch == self.0.len() as u64 && self.ends().all(|end| end < height)
    }

    /// The end that is set but not reached at `height`.
    pub(super) fn scheduled(&self, height: u64) -> Option<u64> {
        self.ends().last().filter(|end| *end > height)
    }

    pub(super) fn push(&mut self, height: u64) {
        self.0.push(height);
    }
}
