//! A ledger with the rules that matter to consensus: a transaction is recorded once, a block's time neither goes back
//! nor lies ahead, what is applied is durable at once.
//!
//! ```text
//! header      = be64 height ‖ be64 milliseconds
//! payload     = n × be64 transaction
//! cosignature = be64 height ‖ digest (32)
//! ```

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, OnceLock},
    time::{Duration, UNIX_EPOCH},
};

use bytes::{Buf as _, BufMut as _, Bytes};
use commonware_runtime::{Clock as _, deterministic::Context};
use futures::future::{BoxFuture, Either, select};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::sync::Notify;

use super::truth::{Transaction, Truth};
use crate::{Chain, ChainError, Gossip, Judgement, OrderedBlock, Proposal, Topic};

/// What survives a crash.
#[derive(Default)]
pub(super) struct Disk(Mutex<Durable>);

#[derive(Default)]
struct Durable {
    blocks: Vec<OrderedBlock>,
    recorded: BTreeMap<Transaction, u64>,
}

/// Who a ledger belongs to.
pub(super) struct Owner {
    pub(super) number: usize,
    /// Milliseconds by which its clock is ahead.
    pub(super) skew: i64,
    /// How long it takes to apply a batch of blocks.
    pub(super) apply_delay: Duration,
    pub(super) character: Character,
}

/// Whether a validator's ledger keeps the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Character {
    Honest,
    /// Proposes what is invalid for others, and finds everything valid.
    Liar,
    /// One of two that share a key; judges honestly, but what it applies is not looked at.
    Twin,
}

/// One validator's ledger between two crashes.
pub(super) struct SimLedger(Arc<Shared>);

struct Shared {
    owner: Owner,
    disk: Arc<Disk>,
    truth: Arc<Truth>,
    runtime: Context,
    mempool: Mutex<VecDeque<Transaction>>,
    work: Arc<Notify>,
    gossip: OnceLock<Gossip>,
    lies: Mutex<StdRng>,
}

impl Disk {
    /// Puts an older state in place, as a restored backup does.
    pub(super) fn roll_back(&self, lost: usize) {
        let mut durable = self.state();
        let left = durable.blocks.len().saturating_sub(lost);
        durable.blocks.truncate(left);
        let left = left as u64;
        durable.recorded.retain(|_, height| *height <= left);
    }

    pub(super) fn height(&self) -> u64 {
        self.state().blocks.len() as u64
    }

    pub(super) fn height_of(&self, transaction: Transaction) -> Option<u64> {
        self.state().recorded.get(&transaction).copied()
    }

    fn state(&self) -> MutexGuard<'_, Durable> {
        self.0.lock().unwrap()
    }
}

impl SimLedger {
    pub(super) fn new(owner: Owner, disk: Arc<Disk>, truth: Arc<Truth>, runtime: Context, seed: u64) -> Arc<Self> {
        Arc::new(Self(Arc::new(Shared {
            owner,
            disk,
            truth,
            runtime,
            mempool: Mutex::default(),
            work: Arc::default(),
            gossip: OnceLock::new(),
            lies: Mutex::new(StdRng::seed_from_u64(seed)),
        })))
    }

    /// A client hands in a transaction; false if there is no room.
    pub(super) fn submit(&self, transaction: Transaction) -> bool {
        let shared = &self.0;
        if !shared.hold(transaction) {
            return false;
        }
        if shared.owner.character == Character::Honest {
            shared.truth.accept(transaction);
        }
        if let Some(gossip) = shared.gossip.get() {
            let _busy =
                gossip.broadcast(Topic::Transactions, Bytes::copy_from_slice(&transaction.to_be_bytes())).is_err();
        }
        true
    }
}

impl Shared {
    fn is_honest(&self) -> bool {
        self.owner.character == Character::Honest
    }

    fn now(&self) -> u64 {
        let now = self.runtime.current().duration_since(UNIX_EPOCH).unwrap().as_millis();
        u64::try_from(now).unwrap().saturating_add_signed(self.owner.skew)
    }

    /// Keeps a transaction until it is recorded; false if there is no room.
    fn hold(&self, transaction: Transaction) -> bool {
        let mut mempool = self.mempool.lock().unwrap();
        if mempool.contains(&transaction) || self.disk.height_of(transaction).is_some() {
            return true;
        }
        if mempool.len() >= MEMPOOL {
            return false;
        }
        mempool.push_back(transaction);
        drop(mempool);
        self.work.notify_waiters();
        true
    }

    fn recorded(&self, transaction: Transaction, unapplied: &[OrderedBlock]) -> bool {
        self.disk.height_of(transaction).is_some() || unapplied.iter().any(|b| transactions(b).contains(&transaction))
    }

    fn waiting(&self, unapplied: &[OrderedBlock]) -> Vec<Transaction> {
        let mempool = self.mempool.lock().unwrap();
        mempool.iter().copied().filter(|t| !self.recorded(*t, unapplied)).take(LARGEST_BLOCK).collect()
    }

    async fn propose(
        self: Arc<Self>,
        parent: OrderedBlock,
        unapplied: Vec<OrderedBlock>,
        mut until: BoxFuture<'static, ()>,
    ) -> Proposal {
        let contents = loop {
            let woken = self.work.notified();
            let contents = self.waiting(&unapplied);
            if !contents.is_empty() {
                break contents;
            }
            match select(until, Box::pin(woken)).await {
                Either::Left(_) => break Vec::new(),
                Either::Right(((), left)) => until = left,
            }
        };
        let time = self.now().max(time_of(&parent));
        match self.owner.character {
            Character::Honest | Character::Twin => proposal(parent.height + 1, time, &contents),
            Character::Liar => self.lie(&parent, time, &contents),
        }
    }

    /// Something that others must refuse or wait out, or now and then a good block.
    fn lie(&self, parent: &OrderedBlock, time: u64, contents: &[Transaction]) -> Proposal {
        let height = parent.height + 1;
        let old: Vec<_> = self.disk.state().recorded.keys().copied().take(2).collect();
        let twice = [contents, contents].concat();
        let mut lies = self.lies.lock().unwrap();
        match lies.random_range(0..9) {
            0 => proposal(height, time, &old),
            1 => proposal(height, time, &twice),
            2 => proposal(height, time, &[transactions(parent), contents.to_vec()].concat()),
            3 => proposal(height, time + 600_000, contents),
            4 => proposal(height, time_of(parent).saturating_sub(1), contents),
            5 => proposal(height + 1, time, contents),
            6 => Proposal { header: Bytes::from_static(b"no header"), payload: Bytes::new() },
            7 => Proposal { payload: Bytes::from_static(b"seven b"), ..proposal(height, time, contents) },
            _ => proposal(height, time, contents),
        }
    }

    async fn judge(
        self: Arc<Self>,
        block: OrderedBlock,
        parent: OrderedBlock,
        unapplied: Vec<OrderedBlock>,
    ) -> Judgement {
        if self.owner.character == Character::Liar {
            return Judgement::Valid;
        }
        let Some((height, time)) = header(&block) else { return self.refuse() };
        if time > self.now().saturating_add(TOLERANCE) {
            self.truth.saw(|seen| seen.early += usize::from(self.is_honest()));
        }
        while time > self.now().saturating_add(TOLERANCE) {
            self.runtime.sleep(CLOCK_STEP).await;
        }
        let contents = transactions(&block);
        let whole = block.payload.len().is_multiple_of(8) && contents.len() <= LARGEST_BLOCK;
        let unique = contents.iter().enumerate().all(|(at, t)| !contents[..at].contains(t));
        let new = contents.iter().all(|t| !self.recorded(*t, &unapplied));
        if height == parent.height + 1 && time >= time_of(&parent) && whole && unique && new {
            Judgement::Valid
        } else {
            self.refuse()
        }
    }

    fn refuse(&self) -> Judgement {
        self.truth.saw(|seen| seen.refused += usize::from(self.is_honest()));
        Judgement::Invalid
    }

    fn apply(&self, blocks: Vec<OrderedBlock>) {
        let mut durable = self.disk.state();
        for block in blocks {
            assert_eq!(block.height, durable.blocks.len() as u64 + 1, "blocks come in order and without a gap");
            let contents = transactions(&block);
            for transaction in &contents {
                let before = durable.recorded.insert(*transaction, block.height);
                assert_eq!(before, None, "transaction {transaction} is applied twice");
            }
            if self.is_honest() {
                self.truth.applied(self.owner.number, &block, &contents);
            }
            self.mempool.lock().unwrap().retain(|t| !contents.contains(t));
            durable.blocks.push(block);
        }
        self.work.notify_waiters();
    }

    /// Tells the others what was applied last.
    fn cosign(&self, block: &OrderedBlock) {
        let mut message = block.height.to_be_bytes().to_vec();
        message.extend_from_slice(&block.digest);
        if let Some(gossip) = self.gossip.get() {
            let _busy = gossip.broadcast(Topic::Cosignatures, message.into()).is_err();
        }
    }
}

impl Chain for SimLedger {
    fn applied_height(&self) -> u64 {
        self.0.disk.height()
    }

    fn applied_digest(&self) -> Option<[u8; 32]> {
        self.0.disk.state().blocks.last().map(|block| block.digest)
    }

    fn propose(
        &self,
        parent: OrderedBlock,
        unapplied: Vec<OrderedBlock>,
        patience: BoxFuture<'static, ()>,
    ) -> BoxFuture<'static, Option<Proposal>> {
        assert_eq!(unapplied.last(), Some(&parent));
        assert!(unapplied.is_sorted_by(|a, b| a.height + 1 == b.height && a.digest == b.parent));
        let shared = Arc::clone(&self.0);
        Box::pin(async move { Some(shared.propose(parent, unapplied, patience).await) })
    }

    fn work(&self) -> (bool, BoxFuture<'static, ()>) {
        let changed = Arc::clone(&self.0.work).notified_owned();
        (!self.0.mempool.lock().unwrap().is_empty(), Box::pin(changed))
    }

    fn verify(
        &self,
        block: OrderedBlock,
        parent: OrderedBlock,
        unapplied: Vec<OrderedBlock>,
    ) -> BoxFuture<'static, Judgement> {
        assert_eq!(block.parent, parent.digest);
        Box::pin(Arc::clone(&self.0).judge(block, parent, unapplied))
    }

    fn finalized(&self, blocks: Vec<OrderedBlock>) -> BoxFuture<'static, Result<(), ChainError>> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            // A crash in here loses the batch; behind it, nothing.
            shared.runtime.sleep(shared.owner.apply_delay).await;
            let last = blocks.last().cloned();
            shared.apply(blocks);
            if let Some(block) = last {
                shared.cosign(&block);
            }
            Ok(())
        })
    }

    fn connect(&self, gossip: Gossip) {
        assert!(self.0.gossip.set(gossip).is_ok(), "connected once");
    }

    fn gossip(&self, topic: Topic, from: [u8; 32], mut message: Bytes) {
        let shared = &self.0;
        shared.truth.saw(|seen| seen.heard += usize::from(shared.is_honest()));
        match topic {
            Topic::Transactions => {
                if message.len() == 8 {
                    let _full = shared.hold(message.get_u64());
                }
            }
            Topic::Cosignatures => {
                if let (Some(who), 40) = (shared.truth.honest(from), message.len()) {
                    let height = message.get_u64();
                    shared.truth.claimed(who, height, message[..].try_into().unwrap());
                }
            }
        }
    }
}

fn proposal(height: u64, time: u64, contents: &[Transaction]) -> Proposal {
    let mut header = Vec::new();
    header.put_u64(height);
    header.put_u64(time);
    let payload: Vec<_> = contents.iter().flat_map(|t| t.to_be_bytes()).collect();
    Proposal { header: header.into(), payload: payload.into() }
}

/// Height and time of a block's header, if it is one.
fn header(block: &OrderedBlock) -> Option<(u64, u64)> {
    let mut header = block.header.clone();
    let read = Some((header.try_get_u64().ok()?, header.try_get_u64().ok()?));
    read.filter(|_| header.is_empty())
}

/// Genesis is at the beginning of time.
fn time_of(block: &OrderedBlock) -> u64 {
    header(block).map_or(0, |(_, time)| time)
}

fn transactions(block: &OrderedBlock) -> Vec<Transaction> {
    block.payload.chunks_exact(8).map(|mut t| t.get_u64()).collect()
}

/// Transactions that wait.
const MEMPOOL: usize = 48;
/// Transactions in a block.
pub(super) const LARGEST_BLOCK: usize = 4;
/// Milliseconds by which a block may be ahead of the clock.
const TOLERANCE: u64 = 2_000;
const CLOCK_STEP: Duration = Duration::from_millis(200);
