//! The node's side of consensus: builds, judges and applies blocks for the engine.
//!
//! Not for: the rules themselves (`birthmark-ledger`). This only waits where waiting is right, keeps
//! blocking work off the engine's threads, and after each applied group has the log signed.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use birthmark_core::batch::{Assurance, BlockBatch};
use birthmark_core::body::BodyDigest;
use birthmark_core::ids::Height;
use birthmark_core::time::{Clock, Minute};
use birthmark_engine::{Chain, ChainError, Gossip, Judgement, OrderedBlock, Proposal, Topic};
use birthmark_ledger::apply::State as _;
use birthmark_ledger::block::{Header, MAX_PAYLOAD, encode_payload};
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

/// What the engine's callbacks work on. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct NodeChain {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) mempool: Arc<Mempool>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) cosigner: Arc<Mutex<Cosigner>>,
    pub(crate) committee: Arc<Committee>,
    pub(crate) relay: Arc<Relay>,
    /// Set before anything else happens in the engine.
    pub(crate) gossip: Arc<OnceLock<Gossip>>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl NodeChain {
    /// Signs the log as it stands, and at the `earlier` ends of blocks that were applied with its last one;
    /// publishes it when a quorum has.
    pub(crate) fn sign(&self, earlier: &[u64]) -> Result<(), NodeError> {
        // Held across the state file's fsync on purpose: two signatures at once must not be.
        let mut cosigner = self.cosigner.lock();
        let reading = self.ledger.reading()?;
        // A ledger that was lost is applied anew from the engine's archive; until it has caught up with
        // what was signed before, nothing is signed.
        let signed = cosigner.sign(&self.ledger, reading.head(), earlier, self.clock.now())?;
        self.committee.deposit(signed, reading, self.gossip.get());
        if self.committee.is_alone() {
            self.committee.settle(&self.ledger, &self.publisher)?;
        }
        Ok(())
    }

    /// Where the last blocks up to `head` end, without its own end and those without leaves.
    fn ends_between(&self, before: &Head, head: &Head) -> Result<Vec<u64>, NodeError> {
        if self.committee.is_alone() {
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
        let recorded = |digest: &BodyDigest, assurance: Assurance| {
            view.recorded(digest).map(|known| known.is_some_and(|(_, has)| has >= assurance))
        };
        let batches = match self.mempool.fill(MAX_PAYLOAD, recorded) {
            Ok(batches) => batches,
            Err(failed) => {
                error!(error = %failed, "the ledger cannot be read for a proposal");
                return None;
            }
        };
        let epoch = self.ledger.network().current_epoch();
        let header = Header {
            minute: self.clock.now().minute().max(view.minute()),
            epoch: epoch.number(),
            validator_set_hash: epoch.validator_set_hash(),
        };
        let header = header.encode();
        let batches = self.only_valid(&view, &header, batches)?;
        Some(Proposal { header: Bytes::copy_from_slice(&header), payload: encode_payload(&batches).into() })
    }

    /// The batches, after the same judgement that others will pass on them. A validator that stands
    /// alone would otherwise finalize a block that it cannot apply, and could never go on.
    fn only_valid(&self, view: &View<'_>, header: &[u8], batches: Vec<BlockBatch>) -> Option<Vec<BlockBatch>> {
        let judge = |batches: &[BlockBatch]| view.judge(header, &encode_payload(batches));
        let verdict = judge(&batches).and_then(|verdict| match verdict {
            Ok(()) => Ok(batches),
            Err(invalid) => {
                error!(%invalid, "the mempool gave an invalid block; its bad batches are dropped");
                for batch in &batches {
                    if judge(std::slice::from_ref(batch))?.is_err() {
                        self.mempool.discard(&batch.signature);
                    }
                }
                Ok(Vec::new())
            }
        });
        verdict.map_err(|failed| error!(error = %failed, "the ledger cannot be read for a proposal")).ok()
    }

    /// The verdict, or nothing if the ledger could not be read: that must never count against a block.
    fn judge(&self, block: &OrderedBlock, unapplied: &[OrderedBlock]) -> Option<Judgement> {
        let ancestors: Vec<_> = unapplied.iter().map(as_block).collect();
        let judged = self.ledger.view_after(&ancestors).and_then(|view| match view {
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
        self.mempool.recorded(&recorded);
        Ok(())
    }
}

impl Chain for NodeChain {
    fn applied_height(&self) -> u64 {
        self.ledger.head().height.0
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
        (!self.mempool.is_empty(), Box::pin(changed))
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
        // The engine calls this once.
        let _ = self.gossip.set(gossip);
    }

    fn gossip(&self, topic: Topic, from: [u8; 32], message: Bytes) {
        match topic {
            Topic::Cosignatures => self.committee.hear(&from, &message, self.gossip.get()),
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
/// Blocks of one group whose ends are signed. Earlier ones have long been published when so many are behind.
const MAX_ENDS: u64 = 16;
