//! The engine's questions, put to the [`Chain`].
//!
//! For: collecting *all* unapplied ancestors of a proposal, keeping proposals within the limits, and never giving the
//! verdict "invalid" about a block that is final. Not for: applying blocks (`applier.rs`) or any rule of the ledger.

use std::{sync::Arc, time::Duration};

use commonware_actor::Feedback;
use commonware_consensus::{
    Application, Heightable as _, Reporter,
    marshal::{Update, ancestry::Ancestry, core::Mailbox, standard::Standard},
    simplex::scheme::ed25519::Scheme,
    types::Height,
};
use commonware_cryptography::{Digested, Digestible as _};
use commonware_parallel::Sequential;
use commonware_utils::acknowledgement::Exact;
use futures::{
    FutureExt as _, StreamExt as _,
    future::{pending, select},
};
use tokio::sync::mpsc;
use tracing::{debug, error};

use crate::{
    block::{Block, BlockLimits, Context},
    chain::{Chain, Judgement, OrderedBlock},
    pace::Pace,
    parts::Platform,
    progress::Progress,
};

/// Asks the archive of finalized blocks.
pub(crate) type Archive = Mailbox<Scheme, Standard<Block>>;

/// A finalized block and the acknowledgement that it is applied.
pub(crate) type Delivery = (Digested<Block>, Exact);

/// Proposes and judges for the engine.
#[derive(Clone)]
pub(crate) struct Orderer {
    pub(crate) chain: Arc<dyn Chain>,
    pub(crate) archive: Archive,
    pub(crate) progress: Arc<Progress>,
    pub(crate) limits: BlockLimits,
    /// `None` withholds every proposal.
    pub(crate) patience: Option<Patience>,
    pub(crate) pace: Arc<Pace>,
}

/// How long to wait for work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Of the time that counts.
    pub(crate) busy: Duration,
    /// Of all time.
    pub(crate) idle: Duration,
}

impl Orderer {
    /// The unapplied ancestors up to the parent, oldest first; the parent in any case.
    ///
    /// `None` if an ancestor cannot be had any more.
    async fn unapplied(&self, mut ancestry: impl Ancestry<Block>) -> Option<Vec<OrderedBlock>> {
        let applied = self.chain.applied_height();
        let mut blocks = Vec::new();
        loop {
            let block = ancestry.next().await?.inner().ordered();
            let oldest = block.height <= applied.saturating_add(1);
            blocks.push(block);
            if oldest {
                break;
            }
        }
        blocks.reverse();
        Some(blocks)
    }

    /// The verdict on a block whose height is applied already; `None` if it is above.
    ///
    /// The ledger has then moved on and would take the block's contents for duplicates.
    async fn settled(&self, block: &Digested<Block>) -> Option<bool> {
        if self.chain.applied_height() < block.height().get() {
            return None;
        }
        match self.archive.get_info(block.height()).await {
            Some((_, digest)) => Some(digest == block.digest()),
            None => pending().await,
        }
    }
}

impl<E: Platform> Application<E> for Orderer {
    type SigningScheme = Scheme;
    type Context = Context;
    type Block = Block;
    type Input = ();

    async fn propose(
        &mut self,
        (runtime, context): (E, Context),
        ancestry: impl Ancestry<Block>,
        (): (),
    ) -> Option<Digested<Block>> {
        self.progress.has_turn();
        let Some(patience) = self.patience else { return pending().await };
        // From now on, so that waiting for the ledger counts.
        let busy = Box::pin(Arc::clone(&self.pace).sleep(patience.busy));
        let patience = select(busy, Box::pin(runtime.sleep(patience.idle)));
        self.progress.near_tip().await;
        let unapplied = self.unapplied(ancestry).await?;
        let parent = unapplied.last()?.clone();
        let height = parent.height.checked_add(1)?;
        if self.chain.applied_height() > parent.height {
            debug!(height, "gave a turn away: its height is final already");
            return None;
        }
        let proposal = self.chain.propose(parent, unapplied, Box::pin(patience.map(drop))).await?;
        if !self.limits.admit(&proposal) {
            // Sending more than the bound would bring the engine down.
            error!(
                height,
                header = proposal.header.len(),
                payload = proposal.payload.len(),
                "gave a turn away: the ledger proposed more than a block may hold"
            );
            return None;
        }
        let block = Block::new(context, Height::new(height), proposal);
        Some(Digested::compute(block, &Sequential).await)
    }

    async fn verify(&mut self, _: (E, Context), mut ancestry: impl Ancestry<Block>) -> bool {
        // Without the block or its ancestors nothing can be said, and `false` would be for ever: abstain by waiting.
        let Some(block) = ancestry.next().await else { return pending().await };
        self.progress.near_tip().await;
        if let Some(verdict) = self.settled(&block).await {
            return verdict;
        }
        let Some(unapplied) = self.unapplied(ancestry).await else { return pending().await };
        let Some(parent) = unapplied.last().cloned() else { return pending().await };
        match self.chain.verify(block.inner().ordered(), parent, unapplied).await {
            Judgement::Valid => true,
            // It may have become final and been applied while it was judged.
            Judgement::Invalid => self.settled(&block).await.unwrap_or(false),
        }
    }
}

/// Takes finalized blocks from the engine without holding it up.
#[derive(Clone)]
pub(crate) struct Deliverer {
    pub(crate) progress: Arc<Progress>,
    // Unbounded in type only: the engine hands out `max_pending_acks` blocks and then waits for acknowledgements.
    pub(crate) deliveries: mpsc::UnboundedSender<Delivery>,
}

impl Reporter for Deliverer {
    type Activity = Update<Block>;

    fn report(&mut self, update: Self::Activity) -> Feedback {
        match update {
            Update::Tip(_, height, _) => {
                self.progress.final_at(height.get());
                Feedback::Ok
            }
            Update::Block(block, acknowledgement) => match self.deliveries.send((block, acknowledgement)) {
                Ok(()) => Feedback::Ok,
                Err(_) => Feedback::Closed,
            },
        }
    }
}
