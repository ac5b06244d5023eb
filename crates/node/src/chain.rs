//! The node's side of consensus: builds, judges and applies blocks for the engine.
//!
//! Not for: the rules themselves (`birthmark-ledger`). This only waits where waiting is right, keeps
//! blocking work off the engine's threads, and after each applied group has the log signed.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use birthmark_core::batch::Transaction;
use birthmark_core::body::BodyDigest;
use birthmark_core::governance::MAX_APPROVED;
use birthmark_core::ids::{Epoch, Height};
use birthmark_core::time::{Clock, Minute};
use birthmark_engine::{Chain, ChainError, Gossip, Judgement, OrderedBlock, Proposal, Topic};
use birthmark_ledger::apply::State as _;
use birthmark_ledger::block::{Header, MAX_PAYLOAD, Payload};
use birthmark_ledger::{Block, Head, Ledger, View};
use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tracing::{debug, error, warn};

use crate::committee::Committee;
use crate::config::NodeError;
use crate::cosigner::Cosigner;
use crate::mempool::Mempool;
use crate::publisher::Publisher;
use crate::relay::Relay;
use crate::statement::Statement;

/// What the engine's callbacks work on. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct NodeChain {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) mempool: Arc<Mempool>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) cosigner: Arc<Mutex<Cosigner>>,
    /// The validators of the epoch that this node decides in.
    pub(crate) committee: Arc<ArcSwap<Committee>>,
    pub(crate) relay: Arc<Relay>,
    /// Of the engine that runs; set before anything else happens in it.
    pub(crate) gossip: Arc<ArcSwapOption<Gossip>>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl NodeChain {
    /// Signs the log as it stands, and at the `earlier` ends of blocks that were applied with its last one;
    /// publishes it when a quorum has.
    pub(crate) fn sign(&self, earlier: &[u64]) -> Result<(), NodeError> {
        // Held across the state file's fsync on purpose: two signatures at once must not be.
        let mut cosigner = self.cosigner.lock();
        let reading = self.ledger.reading()?;
        let committee = self.committee();
        // Where an epoch has ended, only its own validators sign. The next one's begin with their first block.
        if reading.head().size <= committee.first_size() {
            return Ok(());
        }
        let earlier: Vec<_> = earlier.iter().copied().filter(|end| *end > committee.first_size()).collect();
        // A ledger that was lost is applied anew from the engine's archive; until it has caught up with
        // what was signed before, nothing is signed.
        let signed = cosigner.sign(&self.ledger, reading.head(), &earlier, self.clock.now())?;
        committee.deposit(signed, reading, self.gossip.load().as_deref());
        if committee.is_alone() {
            committee.settle(&self.ledger, &self.publisher)?;
        }
        Ok(())
    }

    /// The validators of the epoch that this node decides in.
    pub(crate) fn committee(&self) -> Arc<Committee> {
        self.committee.load_full()
    }

    /// Whether blocks should follow each other without waiting for work: an epoch is to end, or this one has just begun.
    /// It changes with an applied block only, and then the mempool's [`Mempool::changed`] ends.
    fn hurries(&self) -> bool {
        let constitution = self.ledger.constitution();
        let epoch = constitution.network().current_epoch();
        let begins = epoch.number().0 > 0
            && epoch.number() == self.committee().epoch()
            && self.ledger.head().height.0.saturating_add(1) == epoch.first_height().0;
        begins || constitution.scheduled().is_some()
    }

    /// Hears about cosignatures: a statement, or how an epoch has ended.
    fn hear(&self, from: [u8; 32], message: &Bytes) -> Result<(), NodeError> {
        let committee = self.committee();
        if let Some((&CLOSING, note)) = message.split_first() {
            // Whoever has it already does not look.
            let waits = self.ledger.network().epochs().any(|epoch| epoch.number() == committee.epoch().next());
            if let (true, Ok(note)) = (waits, std::str::from_utf8(note)) {
                self.publisher.keep_closing(&self.ledger, note)?;
            }
            return Ok(());
        }
        let gossip = self.gossip.load();
        let late = Statement::decode(message).is_ok_and(|statement| statement.size <= committee.first_size());
        if !late {
            committee.hear(&from, message, gossip.as_deref());
            return Ok(());
        }
        if committee.may_tell_closing(&from)
            && let Some(before) =
                self.ledger.network().epochs().find(|epoch| epoch.number().next() == committee.epoch())
            && let Some(number) = before.ended_by()
            && let (Some(note), Some(gossip)) = (self.ledger.closing(number)?, gossip.as_deref())
        {
            let told = gossip.tell(from, Topic::Cosignatures, [&[CLOSING], note.as_bytes()].concat().into());
            if let Err(error) = told {
                debug!(%error, "the end of an epoch was not told");
            }
        }
        Ok(())
    }

    /// Where the last blocks up to `head` end, without its own end and those without leaves.
    fn ends_between(&self, before: &Head, head: &Head) -> Result<Vec<u64>, NodeError> {
        if self.committee().is_alone() {
            return Ok(Vec::new());
        }
        let first = head.height.0.saturating_sub(MAX_ENDS).max(before.height.0) + 1;
        let reading = self.ledger.reading()?;
        let blocks = (first..head.height.0).map(|height| Ok(reading.block(Height(height))?));
        let blocks = blocks.collect::<Result<Vec<_>, NodeError>>()?;
        let ends = blocks.into_iter().flatten().filter(|block| block.count > 0);
        Ok(ends.map(|block| block.first.0.saturating_add(block.count.into())).collect())
    }

    fn build(&self, unapplied: &[OrderedBlock]) -> Option<Proposal> {
        let ancestors: Vec<_> = unapplied.iter().map(as_block).collect();
        let view = match self.ledger.view_after(&ancestors) {
            Ok(Ok(view)) => view,
            Ok(Err(invalid)) => {
                warn!(%invalid, "an ancestor of the block to propose is invalid");
                return None;
            }
            Err(failed) => {
                error!(error = %failed, "the ledger cannot be read for a proposal");
                return None;
            }
        };
        if view.unapplied_end().is_some_and(|end| view.height().0.saturating_add(1) >= end.0) {
            debug!("the epoch's last block waits until its end is final");
            return None;
        }
        let recorded = |transaction: &Transaction, digest: &BodyDigest| view.has(transaction, digest);
        let batches = match self.mempool.fill(MAX_PAYLOAD - MAX_APPROVED, recorded) {
            Ok(batches) => batches,
            Err(failed) => {
                error!(error = %failed, "the ledger cannot be read for a proposal");
                return None;
            }
        };
        let act = self.mempool.act().filter(|act| view.check_act(act).is_ok());
        let network = view.rules().network;
        let epoch = network.current_epoch();
        let header = Header {
            minute: self.clock.now().minute().max(view.minute()),
            epoch: epoch.number(),
            validator_set_hash: epoch.validator_set_hash(),
        };
        let header = header.encode();
        let payload = self.only_valid(&view, &header, Payload { batches, act })?;
        Some(Proposal { header: Bytes::copy_from_slice(&header), payload: payload.encode().into() })
    }

    /// What is to be proposed, after the same judgement that others will pass on it. A validator that stands
    /// alone would otherwise finalize a block that it cannot apply, and could never go on.
    fn only_valid(&self, view: &View<'_>, header: &[u8], payload: Payload) -> Option<Payload> {
        let judge = |payload: &Payload| view.judge(header, &payload.encode());
        let verdict = judge(&payload).and_then(|verdict| match verdict {
            Ok(()) => Ok(payload),
            Err(invalid) => {
                error!(%invalid, "the mempool gave an invalid block; its bad batches are dropped");
                for batch in payload.batches {
                    let signature = batch.signature;
                    if judge(&Payload { batches: vec![batch], act: None })?.is_err() {
                        self.mempool.discard(&signature);
                    }
                }
                Ok(Payload::default())
            }
        });
        verdict.map_err(|failed| error!(error = %failed, "the ledger cannot be read for a proposal")).ok()
    }

    /// The verdict, or nothing if the ledger could not be read: that must never count against a block.
    /// Neither if it may be the last one of an epoch, and that is not final yet.
    fn judge(&self, block: &OrderedBlock, unapplied: &[OrderedBlock]) -> Option<Judgement> {
        let ancestors: Vec<_> = unapplied.iter().map(as_block).collect();
        let view = self.ledger.view_after(&ancestors);
        if let Ok(Ok(view)) = &view
            && view.unapplied_end().is_some_and(|end| block.height >= end.0)
        {
            return None;
        }
        let judged = view.and_then(|view| match view {
            Ok(view) => match view.applied(Height(block.height))? {
                Some(digest) => {
                    Ok((digest == block.digest).then_some(()).ok_or_else(|| "another block is final".to_owned()))
                }
                None => Ok(view.judge(&block.header, &block.payload)?.map_err(|invalid| invalid.to_string())),
            },
            Err(invalid) => Ok(Err(invalid.to_string())),
        });
        match judged {
            Ok(Ok(())) => Some(Judgement::Valid),
            Ok(Err(invalid)) => {
                warn!(height = block.height, %invalid, "refused a proposed block");
                Some(Judgement::Invalid)
            }
            Err(failed) => {
                error!(error = %failed, "the ledger cannot be read to judge a block");
                None
            }
        }
    }

    fn apply(&self, blocks: &[OrderedBlock]) -> Result<(), NodeError> {
        let before = self.ledger.head();
        let blocks: Vec<_> = blocks.iter().map(as_block).collect();
        let recorded = self.ledger.apply_final(&blocks)?;
        let head = self.ledger.head();
        debug!(height = head.height.0, size = head.size, transactions = recorded.len(), "applied");
        if head.size != before.size {
            self.sign(&self.ends_between(&before, &head)?)?;
        }
        let constitution = self.ledger.constitution();
        self.mempool.retain_act(|act| constitution.check(act).is_ok());
        self.mempool.recorded(&recorded);
        Ok(())
    }
}

impl Chain for NodeChain {
    fn applied_height(&self) -> u64 {
        self.ledger.head().height.0
    }

    fn epoch_end(&self, epoch: u64) -> Option<u64> {
        let constitution = self.ledger.constitution();
        let network = constitution.network();
        let of = |known: Epoch| u64::from(known.0);
        if of(network.current_epoch().number()) == epoch {
            return constitution.scheduled().map(|scheduled| scheduled.last_height().0);
        }
        let next = network.epochs().find(|known| of(known.number()) == epoch.saturating_add(1))?;
        next.first_height().0.checked_sub(1)
    }

    fn applied_digest(&self) -> Option<[u8; 32]> {
        let head = self.ledger.head();
        // The engine's own genesis has no digest that the ledger could know.
        (head.height.0 > 0).then_some(head.digest)
    }

    fn propose(
        &self,
        _parent: OrderedBlock,
        unapplied: Vec<OrderedBlock>,
        patience: BoxFuture<'static, ()>,
    ) -> BoxFuture<'static, Option<Proposal>> {
        let chain = self.clone();
        Box::pin(async move {
            let (mut patience, mut in_time) = (patience, true);
            loop {
                let changed = chain.mempool.changed();
                in_time &= !chain.hurries();
                if !in_time || !chain.mempool.is_empty() {
                    let (builder, unapplied) = (chain.clone(), unapplied.clone());
                    let built = tokio::task::spawn_blocking(move || builder.build(&unapplied)).await.ok().flatten();
                    // What waits may all be in blocks that are not applied yet: then there is no work either.
                    if !in_time || built.as_ref().is_none_or(|proposal| !proposal.payload.is_empty()) {
                        return built;
                    }
                }
                tokio::select! {
                    () = changed => {}
                    // The next round builds whatever there is, an empty block mostly.
                    () = &mut patience => in_time = false,
                }
            }
        })
    }

    fn work(&self) -> (bool, BoxFuture<'static, ()>) {
        let changed = self.mempool.changed();
        (self.hurries() || !self.mempool.is_empty(), Box::pin(changed))
    }

    fn verify(
        &self,
        block: OrderedBlock,
        _parent: OrderedBlock,
        unapplied: Vec<OrderedBlock>,
    ) -> BoxFuture<'static, Judgement> {
        let chain = self.clone();
        Box::pin(async move {
            let Ok(header) = Header::decode(&block.header) else { return Judgement::Invalid };
            while ahead_of(&*chain.clock, header.minute) {
                tokio::time::sleep(CLOCK_STEP).await;
            }
            loop {
                let (chain, block, unapplied) = (chain.clone(), block.clone(), unapplied.clone());
                let judged = tokio::task::spawn_blocking(move || chain.judge(&block, &unapplied)).await;
                if let Ok(Some(judgement)) = judged {
                    return judgement;
                }
                tokio::time::sleep(CLOCK_STEP).await;
            }
        })
    }

    fn finalized(&self, blocks: Vec<OrderedBlock>) -> BoxFuture<'static, Result<(), ChainError>> {
        let chain = self.clone();
        Box::pin(async move {
            tokio::task::spawn_blocking(move || chain.apply(&blocks))
                .await
                .map_err(NodeError::from)
                .and_then(|applied| applied)
                .map_err(ChainError::new)
        })
    }

    fn connect(&self, gossip: Gossip) {
        self.gossip.store(Some(Arc::new(gossip)));
    }

    fn gossip(&self, topic: Topic, from: [u8; 32], message: Bytes) {
        match topic {
            Topic::Cosignatures => {
                if let Err(failed) = self.hear(from, &message) {
                    error!(error = %failed, "the end of an epoch cannot be kept");
                }
            }
            Topic::Transactions => self.relay.hear(from, message),
        }
    }
}

fn as_block(block: &OrderedBlock) -> Block<'_> {
    Block {
        height: Height(block.height),
        digest: block.digest,
        parent: block.parent,
        header: &block.header,
        payload: &block.payload,
    }
}

/// True while a block's minute lies more than one ahead of our clock.
fn ahead_of(clock: &dyn Clock, minute: Minute) -> bool {
    minute.0 > clock.now().minute().0.saturating_add(1)
}

const CLOCK_STEP: Duration = Duration::from_millis(200);
/// What a message with the last checkpoint of an epoch begins with, behind which the note stands.
const CLOSING: u8 = 2;
/// Blocks of one group whose ends are signed. Earlier ones have long been published when so many are behind.
const MAX_ENDS: u64 = 16;
