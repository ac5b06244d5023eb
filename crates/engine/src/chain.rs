//! What the engine orders: the interface that the ledger's side implements.
//!
//! Not for: anything that knows the engine's own types; they stay inside this crate.

use std::fmt;

use bytes::Bytes;
use futures::future::{BoxFuture, pending};

use crate::gossip::Gossip;

/// A block as the ledger sees it.
#[derive(Clone, PartialEq, Eq)]
pub struct OrderedBlock {
    /// Place in the sequence; genesis is 0.
    pub height: u64,
    /// What the validators vote on: covers all of the block.
    pub digest: [u8; 32],
    /// Digest of the block at `height - 1`; zeros for genesis.
    pub parent: [u8; 32],
    /// The ledger's header, at most [`EngineConfig::max_header_bytes`](crate::EngineConfig::max_header_bytes).
    pub header: Bytes,
    /// The ledger's payload, at most [`EngineConfig::max_payload_bytes`](crate::EngineConfig::max_payload_bytes).
    pub payload: Bytes,
}

impl fmt::Debug for OrderedBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrderedBlock")
            .field("height", &self.height)
            .field("digest", &format_args!("{:02x?}", &self.digest[..4]))
            .field("header_bytes", &self.header.len())
            .field("payload_bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// What a leader wants to be the next block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Becomes [`OrderedBlock::header`].
    pub header: Bytes,
    /// Becomes [`OrderedBlock::payload`].
    pub payload: Bytes,
}

/// The ledger's opinion of another validator's block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// May be voted for.
    Valid,
    /// Invalid for everyone and for ever. Never for something that may still change.
    Invalid,
}

/// Which kind of gossip a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Transactions on their way into a block (channel 0).
    Transactions,
    /// Cosignatures of checkpoints (channel 1).
    Cosignatures,
}

/// Why the ledger could not apply a finalized block. Ends the engine.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ChainError(#[from] Box<dyn std::error::Error + Send + Sync>);

impl ChainError {
    /// Wraps the ledger's own error.
    pub fn new(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}

/// What is ordered. All calls come from the engine's own runtime, which has timers; a call must not block a thread.
pub trait Chain: Send + Sync + 'static {
    /// Height up to which blocks are durably applied; 0 when only genesis is.
    fn applied_height(&self) -> u64;

    /// Digest of the block at [`applied_height`](Self::applied_height) if it is known, so that a ledger which belongs
    /// to another history is found at the start. `None` skips that check.
    fn applied_digest(&self) -> Option<[u8; 32]> {
        None
    }

    /// The last height of this epoch, once that follows from blocks that are durably applied. It must be known before
    /// any block at that height is proposed or judged valid. `None` while the epoch goes on.
    fn epoch_end(&self, _epoch: u64) -> Option<u64> {
        None
    }

    /// Builds the next block on `parent`.
    ///
    /// `unapplied` are the ancestors that were not yet applied when the engine looked, oldest first; the last one is
    /// `parent`, which is there even if it is applied already. The ledger may have applied some of them meanwhile.
    /// What they hold must not be proposed again. Waits for work until `patience` ends, then returns an empty block;
    /// `None` gives the turn away, which costs the leader's time-out. May be cancelled at any await: no side effects.
    fn propose(
        &self,
        parent: OrderedBlock,
        unapplied: Vec<OrderedBlock>,
        patience: BoxFuture<'static, ()>,
    ) -> BoxFuture<'static, Option<Proposal>>;

    /// Judges `block`, with the same ancestors as [`propose`](Self::propose).
    ///
    /// What may still change (a clock that is behind, data that may come) is waited for inside the future. May be
    /// cancelled at any await.
    fn verify(
        &self,
        block: OrderedBlock,
        parent: OrderedBlock,
        unapplied: Vec<OrderedBlock>,
    ) -> BoxFuture<'static, Judgement>;

    /// Applies finalized blocks: consecutive, the first one at `applied_height() + 1`, all durable in the engine's
    /// archive. Returns when they are durably applied, which `applied_height` must then show; several can share one
    /// commit. An error ends the engine, which never skips a block; they come again after a restart.
    fn finalized(&self, blocks: Vec<OrderedBlock>) -> BoxFuture<'static, Result<(), ChainError>>;

    /// Whether anything waits to be ordered, and a future that ends when that may have changed after this call.
    ///
    /// While nothing waits anywhere, nobody votes and nothing is written: so what waits at one validator must be told to
    /// all. Without an answer of its own a chain counts as one that always has work.
    fn work(&self) -> (bool, BoxFuture<'static, ()>) {
        (true, Box::pin(pending()))
    }

    /// Gives the sending end of gossip, once and before anything else. A chain that has nothing to tell ignores it.
    fn connect(&self, _gossip: Gossip) {}

    /// Takes a gossip message of another validator. Unordered, may be lost or repeated, at most
    /// [`EngineConfig::max_gossip_bytes`](crate::EngineConfig::max_gossip_bytes). Must return at once.
    fn gossip(&self, topic: Topic, from: [u8; 32], message: Bytes);
}
