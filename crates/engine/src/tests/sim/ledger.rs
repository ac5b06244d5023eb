//! A ledger with the rules that matter to consensus: a transaction is recorded once, a block's time neither goes back
//! nor lies ahead, an epoch ends where its act says, what is applied is durable at once.

use std::{
    collections::VecDeque,
    ops::RangeInclusive,
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, UNIX_EPOCH},
};

use bytes::{Buf as _, Bytes};
use commonware_runtime::{Clock as _, deterministic::Context};
use futures::future::{BoxFuture, Either, pending, select};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::sync::Notify;

use super::{
    acts::{Acts, epoch_of_act},
    block::{Header, act_in, headless, time_of, transactions},
    cosigning::Cosignatures,
    disk::Disk,
    traps::{Lookout, Moment},
    truth::{Transaction, Truth},
};
use crate::{Chain, ChainError, Gossip, Judgement, OrderedBlock, Proposal, Topic};

/// Who a ledger belongs to.
pub(super) struct Owner {
    pub(super) number: usize,
    /// Milliseconds by which its clock is ahead.
    pub(super) skew: i64,
    /// How long it takes to apply a batch of blocks.
    pub(super) apply_delay: Duration,
    pub(super) character: Character,
    /// The epoch in which it decides, its first height, and those who decide with it.
    pub(super) epoch: u64,
    pub(super) first_height: u64,
    pub(super) members: Vec<usize>,
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

pub(super) struct Shared {
    pub(super) owner: Owner,
    pub(super) disk: Arc<Disk>,
    pub(super) truth: Arc<Truth>,
    pub(super) stage: Arc<Lookout>,
    pub(super) gossip: OnceLock<Gossip>,
    pub(super) cosigned: Cosignatures,
    runtime: Context,
    mempool: Mutex<VecDeque<Transaction>>,
    work: Arc<Notify>,
    lies: Mutex<StdRng>,
}

impl SimLedger {
    pub(super) fn new(
        owner: Owner,
        disk: Arc<Disk>,
        truth: Arc<Truth>,
        stage: Arc<Lookout>,
        runtime: Context,
        seed: u64,
    ) -> Arc<Self> {
        Arc::new(Self(Arc::new(Shared {
            owner,
            disk,
            truth,
            stage,
            gossip: OnceLock::new(),
            cosigned: Cosignatures::default(),
            runtime,
            mempool: Mutex::default(),
            work: Arc::default(),
            lies: Mutex::new(StdRng::seed_from_u64(seed)),
        })))
    }

    /// A client hands in a transaction; false if there is no room.
    pub(super) fn submit(&self, transaction: Transaction) -> bool {
        let shared = &self.0;
        if !shared.hold(transaction) {
            return false;
        }
        if shared.is_honest() {
            shared.truth.accept(transaction);
        }
        shared.broadcast(Topic::Transactions, Bytes::copy_from_slice(&transaction.to_be_bytes()));
        true
    }

    /// Signs what is applied, and repeats it until it has a quorum. Never ends.
    pub(super) async fn cosign(self: Arc<Self>) {
        self.0.cosign();
        loop {
            self.0.runtime.sleep(REPEAT).await;
            self.0.repeat();
        }
    }
}

impl Shared {
    pub(super) fn is_honest(&self) -> bool {
        self.owner.character == Character::Honest
    }

    pub(super) fn broadcast(&self, topic: Topic, message: Bytes) {
        let _busy = self.gossip.get().is_some_and(|gossip| gossip.broadcast(topic, message).is_err());
    }

    fn now(&self) -> u64 {
        let now = self.runtime.current().duration_since(UNIX_EPOCH).unwrap().as_millis();
        u64::try_from(now).unwrap().saturating_add_signed(self.owner.skew)
    }

    /// Keeps a transaction until it is recorded; false if there is no room, or an act that does not fit now.
    fn hold(&self, transaction: Transaction) -> bool {
        let mut mempool = self.mempool.lock().unwrap();
        if mempool.contains(&transaction) || self.disk.height_of(transaction).is_some() {
            return true;
        }
        let fits = epoch_of_act(transaction).is_none_or(|e| self.disk.acts().admit(e, self.disk.height() + 1));
        if mempool.len() >= MEMPOOL || !fits {
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

    /// All acts up to the parent; and the end of the epoch, if what sets it is not final yet.
    fn acts(&self, unapplied: &[OrderedBlock]) -> (Acts, Option<u64>) {
        let (mut acts, applied) = (self.disk.acts(), self.disk.height());
        let mut unsure = None;
        for block in unapplied.iter().filter(|block| block.height > applied) {
            if let Some(epoch) = act_in(block) {
                acts.push(block.height);
                unsure = acts.end(epoch);
            }
        }
        (acts, unsure)
    }

    fn waiting(&self, unapplied: &[OrderedBlock], acts: &Acts, height: u64) -> Vec<Transaction> {
        let fits = |t: Transaction| epoch_of_act(t).is_none_or(|epoch| acts.admit(epoch, height));
        let mempool = self.mempool.lock().unwrap();
        let new = mempool.iter().copied().filter(|t| fits(*t) && !self.recorded(*t, unapplied));
        new.take(LARGEST_BLOCK).collect()
    }

    /// Whether blocks follow each other without work: an epoch is to end, or has just begun.
    fn hurries(&self) -> bool {
        let (acts, height) = (self.disk.acts(), self.disk.height());
        let begins = self.owner.epoch > 0 && height + 1 == self.owner.first_height;
        begins || acts.scheduled(height).is_some()
    }

    async fn propose(
        self: Arc<Self>,
        parent: OrderedBlock,
        unapplied: Vec<OrderedBlock>,
        mut until: BoxFuture<'static, ()>,
    ) -> Option<Proposal> {
        let height = parent.height + 1;
        let contents = loop {
            let woken = self.work.notified();
            let (acts, unsure) = self.acts(&unapplied);
            if unsure.is_some_and(|end| height >= end) {
                return None;
            }
            let contents = self.waiting(&unapplied, &acts, height);
            if !contents.is_empty() || self.hurries() {
                break contents;
            }
            match select(until, Box::pin(woken)).await {
                Either::Left(_) => break Vec::new(),
                Either::Right(((), left)) => until = left,
            }
        };
        let header = Header { height, time: self.now().max(time_of(&parent)), epoch: self.owner.epoch };
        Some(match self.owner.character {
            Character::Honest | Character::Twin => header.with(&contents),
            Character::Liar => self.lie(&parent, header, &contents),
        })
    }

    /// Something that others must refuse or wait out, or now and then a good block.
    fn lie(&self, parent: &OrderedBlock, header: Header, contents: &[Transaction]) -> Proposal {
        let old = self.disk.some_recorded(2);
        let twice = [contents, contents].concat();
        let mut lies = self.lies.lock().unwrap();
        match lies.random_range(0..10) {
            0 => header.with(&old),
            1 => header.with(&twice),
            2 => header.with(&[transactions(parent), contents.to_vec()].concat()),
            3 => Header { time: header.time + 600_000, ..header }.with(contents),
            4 => Header { time: time_of(parent).saturating_sub(1), ..header }.with(contents),
            5 => Header { height: header.height + 1, ..header }.with(contents),
            6 => headless(),
            7 => Proposal { payload: Bytes::from_static(b"seven b"), ..header.with(contents) },
            8 => Header { epoch: header.epoch + 1, ..header }.with(contents),
            _ => header.with(contents),
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
        let Some(header) = Header::of(&block) else { return self.refuse() };
        if header.time > self.now().saturating_add(TOLERANCE) {
            self.truth.saw(|seen| seen.early += usize::from(self.is_honest()));
        }
        while header.time > self.now().saturating_add(TOLERANCE) {
            self.runtime.sleep(CLOCK_STEP).await;
        }
        // Whether it is the last one of the epoch must be beyond doubt.
        let acts = loop {
            match self.acts(&unapplied) {
                (_, Some(end)) if block.height >= end => self.runtime.sleep(CLOCK_STEP).await,
                (acts, _) => break acts,
            }
        };
        let contents = transactions(&block);
        let whole = block.payload.len().is_multiple_of(8) && contents.len() <= LARGEST_BLOCK;
        let unique = contents.iter().enumerate().all(|(at, t)| !contents[..at].contains(t));
        let new = contents.iter().all(|t| !self.recorded(*t, &unapplied));
        let placed = header.height == parent.height + 1 && header.epoch == acts.epoch_at(block.height);
        let fits = contents.iter().filter_map(|t| epoch_of_act(*t)).all(|epoch| acts.admit(epoch, block.height));
        if placed && header.time >= time_of(&parent) && whole && unique && new && fits {
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
        let now = self.runtime.current().duration_since(UNIX_EPOCH).unwrap();
        for block in blocks {
            let contents = transactions(&block);
            self.disk.push(block.clone());
            if self.is_honest() {
                self.truth.applied(self.owner.number, &block, &contents, now);
            }
            let (acts, next) = (self.disk.acts(), block.height + 1);
            let stays = |t: &Transaction| epoch_of_act(*t).is_none_or(|epoch| acts.admit(epoch, next));
            self.mempool.lock().unwrap().retain(|t| !contents.contains(t) && stays(t));
        }
        self.work.notify_waiters();
    }

    /// Comes to a moment of each epoch whose end, less `before`, is among `heights`. Goes no further if that is fatal.
    async fn reach(&self, heights: &RangeInclusive<u64>, offset: i64, moment: Moment) {
        for (epoch, end) in (0..).zip(self.disk.acts().ends()) {
            let there = heights.contains(&end.saturating_add_signed(offset));
            if there && self.is_honest() && self.stage.reach(self.owner.number, epoch, moment) {
                pending::<()>().await;
            }
        }
    }
}

impl Chain for SimLedger {
    fn applied_height(&self) -> u64 {
        self.0.disk.height()
    }

    fn applied_digest(&self) -> Option<[u8; 32]> {
        self.0.disk.last().map(|(_, digest)| digest)
    }

    fn epoch_end(&self, epoch: u64) -> Option<u64> {
        self.0.disk.acts().end(epoch)
    }

    fn propose(
        &self,
        parent: OrderedBlock,
        unapplied: Vec<OrderedBlock>,
        patience: BoxFuture<'static, ()>,
    ) -> BoxFuture<'static, Option<Proposal>> {
        assert_eq!(unapplied.last(), Some(&parent));
        assert!(unapplied.is_sorted_by(|a, b| a.height + 1 == b.height && a.digest == b.parent));
        Box::pin(Arc::clone(&self.0).propose(parent, unapplied, patience))
    }

    fn work(&self) -> (bool, BoxFuture<'static, ()>) {
        let changed = Arc::clone(&self.0.work).notified_owned();
        let waits = !self.0.mempool.lock().unwrap().is_empty();
        (waits || self.0.hurries(), Box::pin(changed))
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
            let heights = blocks[0].height..=blocks[blocks.len() - 1].height;
            shared.reach(&heights, 0, Moment::Applying).await;
            shared.reach(&heights, 1, Moment::Beginning).await;
            shared.apply(blocks);
            shared.reach(&heights, -NOTICE, Moment::Scheduled).await;
            shared.reach(&heights, -1, Moment::Eve).await;
            shared.reach(&heights, 0, Moment::Applied).await;
            shared.reach(&heights, 1, Moment::Begun).await;
            shared.cosign();
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
            Topic::Cosignatures => shared.hear_cosignature(from, message),
        }
    }
}

/// Transactions that wait.
const MEMPOOL: usize = 48;
/// Transactions in a block.
pub(super) const LARGEST_BLOCK: usize = 4;
/// Milliseconds by which a block may be ahead of the clock.
const TOLERANCE: u64 = 2_000;
const CLOCK_STEP: Duration = Duration::from_millis(200);
/// How often a signature without a quorum is told again.
const REPEAT: Duration = Duration::from_millis(500);
const NOTICE: i64 = super::acts::NOTICE.cast_signed();
