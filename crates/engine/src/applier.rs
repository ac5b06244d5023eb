//! Hands finalized blocks to the [`Chain`] in order, without a gap, and acknowledges them to the engine.
//!
//! For: batches, what is delivered twice, and a ledger that is behind the archive (rebuilt or restored): it is given
//! the missing blocks first. Not for: deciding what is final.

use std::sync::Arc;

use commonware_consensus::types::Height;
use commonware_utils::Acknowledgement as _;
use tokio::sync::{mpsc, watch};
use tracing::info;

use crate::{
    application::{Archive, Delivery},
    block::Block,
    chain::{Chain, OrderedBlock},
    epoch::Spans,
    error::EngineError,
    progress::Progress,
};

/// The one task that calls [`Chain::finalized`].
///
/// It is kept until the engine has ended, also after a failure: dropping an acknowledgement tells the engine that a
/// block will never be applied.
pub(crate) struct Applier {
    pub(crate) chain: Arc<dyn Chain>,
    pub(crate) archive: Archive,
    pub(crate) progress: Arc<Progress>,
    pub(crate) deliveries: mpsc::UnboundedReceiver<Delivery>,
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) spans: Spans,
    pub(crate) batch: Vec<Delivery>,
    /// Of later epochs.
    pub(crate) later: Vec<Delivery>,
}

impl Applier {
    /// Applies until told to stop; a batch that has begun is finished.
    pub(crate) async fn run(mut self) -> (Self, Result<(), EngineError>) {
        let result = self.work().await;
        (self, result)
    }

    async fn work(&mut self) -> Result<(), EngineError> {
        self.learn_end();
        self.compare_with_archive().await?;
        self.replay(u64::MAX).await?;
        self.progress.ready();
        loop {
            tokio::select! {
                biased;
                _ = self.stop.wait_for(|stop| *stop) => return Ok(()),
                taken = self.deliveries.recv_many(&mut self.batch, LARGEST_BATCH) => {
                    if taken == 0 {
                        return Err(EngineError::Stopped("archive"));
                    }
                }
            }
            self.apply_batch().await?;
        }
    }

    /// Refuses to work on a ledger that belongs to another history than the archive.
    async fn compare_with_archive(&self) -> Result<(), EngineError> {
        let applied = self.chain.applied_height();
        let Some((_, digest)) = self.archive.get_info(Height::new(applied)).await else {
            return Err(EngineError::ArchiveBehind { applied });
        };
        match self.chain.applied_digest() {
            Some(own) if own != digest.0 => Err(EngineError::Diverged { height: applied }),
            _ => Ok(()),
        }
    }

    /// Applies what the archive holds above the ledger, at most up to `last`.
    async fn replay(&mut self, last: u64) -> Result<(), EngineError> {
        while !*self.stop.borrow() {
            let mut next = self.chain.applied_height().saturating_add(1);
            let mut blocks = Vec::new();
            let mut bytes = 0usize;
            while next <= last && blocks.len() < LARGEST_BATCH && bytes < REPLAY_BYTES {
                let Some(block) = self.archive.get_block(Height::new(next)).await else { break };
                if self.is_for_a_later_engine(block.inner()) {
                    break;
                }
                bytes = bytes.saturating_add(block.inner().ordered().payload.len());
                blocks.push(block.inner().ordered());
                next = next.saturating_add(1);
            }
            if blocks.is_empty() {
                return Ok(());
            }
            info!(
                from = blocks.first().map(|block| block.height),
                count = blocks.len(),
                "ledger is behind the archive"
            );
            self.apply(blocks).await?;
        }
        Ok(())
    }

    async fn apply_batch(&mut self) -> Result<(), EngineError> {
        // Not acknowledged, so they come again when the next epoch's engine starts.
        let later = self.batch.iter().position(|(block, _)| self.is_for_a_later_engine(block.inner()));
        let later = later.map_or_else(Vec::new, |first| self.batch.split_off(first));
        self.later.extend(later);
        let applied = self.chain.applied_height();
        let blocks: Vec<_> = self
            .batch
            .iter()
            .map(|(block, _)| block.inner().ordered())
            .filter(|block| block.height > applied)
            .collect();
        if let Some(first) = blocks.first() {
            let found = first.height;
            if found > applied.saturating_add(1) {
                self.replay(found.saturating_sub(1)).await?;
            }
            let wanted = self.chain.applied_height().saturating_add(1);
            if found != wanted {
                // A replay that was told to stop is no gap: the blocks come again after the next start.
                return if *self.stop.borrow() { Ok(()) } else { Err(EngineError::Gap { wanted, found }) };
            }
            self.apply(blocks).await?;
        }
        for (_, acknowledgement) in self.batch.drain(..) {
            acknowledgement.acknowledge();
        }
        Ok(())
    }

    async fn apply(&self, blocks: Vec<OrderedBlock>) -> Result<(), EngineError> {
        let expected = blocks.last().map_or(0, |block| block.height);
        self.chain.finalized(blocks).await.map_err(EngineError::Chain)?;
        let applied = self.chain.applied_height();
        if applied < expected {
            return Err(EngineError::NotApplied { expected, applied });
        }
        self.learn_end();
        self.progress.applied(applied);
        Ok(())
    }

    /// Whether a block belongs to a later epoch than this engine's. An archive holds such blocks when the ledger is older
    /// than it; a ledger that ran ahead of its engine would never be told how the engine's epoch has ended.
    fn is_for_a_later_engine(&self, block: &Block) -> bool {
        block.epoch() > self.spans.running()
    }

    /// The ledger may have learnt where the epoch ends.
    fn learn_end(&self) {
        if let Some(last) = self.chain.epoch_end(self.spans.running().get()) {
            self.spans.ends(last);
        }
    }
}

const LARGEST_BATCH: usize = 64;
const REPLAY_BYTES: usize = 8 << 20;
