//! What all honest validators of a run must agree on, checked at the moment a block is applied.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::AddAssign,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use super::{
    acts::{Acts, epoch_of_act},
    disk::Tip,
};
use crate::OrderedBlock;

/// Number of a transaction.
pub(super) type Transaction = u64;

/// One chain, and the transactions that clients have handed in.
pub(super) struct Truth {
    honest: BTreeMap<[u8; 32], usize>,
    facts: Mutex<Facts>,
}

#[derive(Default)]
struct Facts {
    /// Digest and parent of the one block at each height.
    chain: BTreeMap<u64, ([u8; 32], [u8; 32])>,
    /// Where each transaction is recorded.
    recorded: BTreeMap<Transaction, u64>,
    accepted: BTreeSet<Transaction>,
    /// What each validator has applied last.
    highest: BTreeMap<usize, u64>,
    /// When each height was applied first.
    times: BTreeMap<u64, Duration>,
    /// What was published at each height.
    published: BTreeMap<u64, [u8; 32]>,
    seen: Seen,
}

/// What honest validators met with, summed up over a run: whether the trouble took place at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Blocks that were found invalid.
    pub(super) refused: usize,
    /// Blocks that were ahead of the clock.
    pub(super) early: usize,
    /// Times that a validator came back after a crash.
    pub(super) restarts: usize,
    /// Blocks that were applied again because the ledger was older than the archive.
    pub(super) replayed: usize,
    /// Transactions and cosignatures that others told.
    pub(super) heard: usize,
    /// Validators that an honest one has cut off.
    pub(super) cut_off: usize,
    /// Times that a validator went from one epoch into the next.
    pub(super) exchanged: usize,
    /// Times that a validator came to a moment at which trouble waited.
    pub(super) sprung: usize,
}

impl Truth {
    /// `honest` are the keys and numbers of those whose word counts.
    pub(super) fn new(honest: BTreeMap<[u8; 32], usize>) -> Self {
        Self { honest, facts: Mutex::default() }
    }

    /// The number of the honest validator with this key.
    pub(super) fn honest(&self, key: [u8; 32]) -> Option<usize> {
        self.honest.get(&key).copied()
    }

    /// An honest validator applies `block` with `transactions`.
    pub(super) fn applied(&self, who: usize, block: &OrderedBlock, transactions: &[Transaction], now: Duration) {
        let mut facts = self.facts();
        if facts.highest.insert(who, block.height).is_some_and(|before| before >= block.height) {
            facts.seen.replayed += 1;
        }
        let (digest, parent) = *facts.chain.entry(block.height).or_insert((block.digest, block.parent));
        assert_eq!(
            (digest, parent),
            (block.digest, block.parent),
            "validator {who} applies another block at {}",
            block.height
        );
        facts.times.entry(block.height).or_insert(now);
        if block.height > 1 {
            let below = facts.chain.get(&(block.height - 1)).map(|(digest, _)| *digest);
            assert_eq!(below, Some(block.parent), "block {} does not build on the one below", block.height);
        }
        for transaction in transactions {
            let height = *facts.recorded.entry(*transaction).or_insert(block.height);
            assert_eq!(height, block.height, "transaction {transaction} is recorded twice");
        }
    }

    /// An honest validator claims that `digest` is at `height`.
    pub(super) fn claimed(&self, who: usize, (height, digest): Tip) {
        let facts = self.facts();
        let known = facts.chain.get(&height).map(|(digest, _)| *digest);
        assert_eq!(known, Some(digest), "validator {who} claims another block at {height}");
    }

    /// An honest validator publishes what a quorum of `epoch` has signed.
    pub(super) fn published(&self, epoch: u64, (height, digest): Tip) {
        let mut facts = self.facts();
        let first = *facts.published.entry(height).or_insert(digest);
        assert_eq!(first, digest, "two roots are published at {height}");
        assert_eq!(
            facts.chain.get(&height).map(|(known, _)| *known),
            Some(digest),
            "what is published is not on record"
        );
        let rightful = Acts::of(&facts.recorded).epoch_at(height);
        assert_eq!(rightful, epoch, "validators of epoch {epoch} publish {height}, which belongs to {rightful}");
    }

    /// How `epoch` has ended, once a quorum has signed that.
    pub(super) fn closing(&self, epoch: u64) -> Option<Tip> {
        let facts = self.facts();
        let end = Acts::of(&facts.recorded).end(epoch)?;
        facts.published.get(&end).map(|digest| (end, *digest))
    }

    /// Whether a client may hand it in: an act only when the epoch that it ends has begun.
    pub(super) fn may_come(&self, transaction: Transaction) -> bool {
        let before = epoch_of_act(transaction).and_then(|epoch| epoch.checked_sub(1));
        before.is_none_or(|before| self.closing(before).is_some())
    }

    /// How long nothing was applied anywhere between an epoch's last block and the next one's first.
    pub(super) fn pauses(&self) -> Vec<Duration> {
        let facts = self.facts();
        let between = |end: u64| Some(facts.times.get(&(end + 1))?.saturating_sub(*facts.times.get(&end)?));
        Acts::of(&facts.recorded).ends().filter_map(between).collect()
    }

    /// An honest validator takes a transaction.
    pub(super) fn accept(&self, transaction: Transaction) {
        self.facts().accepted.insert(transaction);
    }

    /// Where a transaction is recorded, if any honest validator has applied it.
    pub(super) fn height_of(&self, transaction: Transaction) -> Option<u64> {
        self.facts().recorded.get(&transaction).copied()
    }

    /// All transactions that honest validators have taken.
    pub(super) fn accepted(&self) -> BTreeSet<Transaction> {
        self.facts().accepted.clone()
    }

    /// The last height that any honest validator has applied.
    pub(super) fn height(&self) -> u64 {
        self.facts().chain.keys().next_back().copied().unwrap_or(0)
    }

    /// Counts what was met with.
    pub(super) fn saw(&self, what: impl FnOnce(&mut Seen)) {
        what(&mut self.facts().seen);
    }

    pub(super) fn seen(&self) -> Seen {
        self.facts().seen
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap()
    }
}

impl AddAssign for Seen {
    fn add_assign(&mut self, other: Self) {
        self.refused += other.refused;
        self.early += other.early;
        self.restarts += other.restarts;
        self.replayed += other.replayed;
        self.heard += other.heard;
        self.cut_off += other.cut_off;
        self.exchanged += other.exchanged;
        self.sprung += other.sprung;
    }
}
