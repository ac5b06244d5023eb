//! The log that blocks from outside would lead to, before any of them is applied.
//!
//! For: a node that follows others and believes none of them: it compares these trees with checkpoints that a
//! quorum has signed, and applies only what is under one.
//!
//! Not for: deciding which tree is right (the node), or writing (`Ledger::apply_final`).

use birthmark_core::ids::Height;
use birthmark_core::merkle::{self, TreeHash};

use super::{Ledger, LedgerError};
use crate::apply::InvalidBlock;
use crate::store::StoreError;
use crate::transfer::WholeBlock;

/// The log at the end of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tree {
    /// The block, which has leaves.
    pub height: Height,
    /// Leaves in the log.
    pub size: u64,
    /// The log's root.
    pub root: TreeHash,
}

/// Why blocks cannot be the next ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBlocks {
    /// A height is missing, or comes twice.
    #[error("block {got} came where block {expected} should")]
    Gap {
        /// The next height.
        expected: u64,
        /// The height given.
        got: u64,
    },
    /// A block's parent is another than the block before it.
    #[error("block {0} names another parent than the block before it")]
    Unlinked(u64),
    /// A block is against the rules.
    #[error("block {height} is invalid: {cause}")]
    Invalid {
        /// Its height.
        height: u64,
        /// The rule that it breaks.
        cause: InvalidBlock,
    },
}

impl Ledger {
    /// The trees after each of these blocks that has leaves, if the index roots in them are right: those are
    /// taken as they are given, and are proven together with the trees.
    pub fn foresee(&self, blocks: &[WholeBlock]) -> Result<Result<Vec<Tree>, BadBlocks>, LedgerError> {
        let writer = self.writer.lock();
        let mut frontier = writer.as_ref().ok_or(LedgerError::Broken)?.edge.frontier().clone();
        let mut view = self.view()?.of_strangers();
        drop(writer);
        let (mut before, mut digest) = (view.base.head.height.0, view.base.head.digest);
        let mut trees = Vec::new();
        for block in blocks {
            let (height, expected) = (block.height.0, before.saturating_add(1));
            if height != expected {
                return Ok(Err(BadBlocks::Gap { expected, got: height }));
            }
            // The engine's own genesis has a digest that the ledger does not know.
            if before > 0 && block.parent != digest {
                return Ok(Err(BadBlocks::Unlinked(height)));
            }
            let changes = match view.decided(&block.as_block())? {
                Ok(changes) => changes,
                Err(cause) => return Ok(Err(BadBlocks::Invalid { height, cause })),
            };
            for leaf in changes.leaves.iter().cloned().chain(changes.end_leaf(block.index_root)) {
                frontier.append(merkle::leaf_hash(&leaf), |_, _, _| ()).map_err(StoreError::from)?;
            }
            if changes.leaf_count() > 0 {
                trees.push(Tree { height: block.height, size: frontier.size(), root: frontier.root() });
            }
            if let Err(cause) = view.push(&block.as_block(), changes, Some((frontier.size(), frontier.root()))) {
                return Ok(Err(BadBlocks::Invalid { height, cause }));
            }
            (before, digest) = (height, block.digest);
        }
        Ok(Ok(trees))
    }
}
