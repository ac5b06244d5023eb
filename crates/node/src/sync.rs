//! Bringing a ledger up to a checkpoint that a quorum has signed, with the blocks of a node that is not believed.
//!
//! For: followers, and the repair of a damaged ledger. Not for: choosing among nodes or waiting (`follower`,
//! `repair`), nor for validators that run: they have their blocks from consensus.
//!
//! Before a block is applied, the tree that it leads to is shown to be the checkpoint's or one that the
//! checkpoint's extends. Blocks without leaves are in no tree: they are applied together with the next one that
//! has some. What such blocks say of themselves (digest, minute) is the other node's word.

use std::sync::Arc;

use birthmark_core::checkpoint::VerifiedCheckpoint;
use birthmark_core::leaf::Leaf;
use birthmark_core::merkle;
use birthmark_core::network::{Network, NetworkEpoch};
use birthmark_ledger::block::Header;
use birthmark_ledger::{Ledger, LedgerError, Tree, WholeBlock};
use tracing::debug;

use crate::epochs;
use crate::source::{Source, SourceError};

/// Why a ledger was not brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The node that was asked: another one may do better.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A quorum has signed another tree than the one of this ledger, whose blocks a quorum had signed too; or
    /// this ledger is damaged.
    #[error("a quorum has signed a tree of {0} leaves that is not this ledger's: stop and find out why")]
    Forked(u64),
    /// The index that follows from proven blocks is not the one that the validators have.
    #[error("block {0} gives another index root here than at the validators: this ledger's index is damaged")]
    OwnIndex(u64),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The blocking thread of a task ended.
    #[error("an internal task ended: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// A checkpoint that a quorum has signed.
#[derive(Debug)]
pub(crate) struct Proven {
    pub(crate) note: String,
    pub(crate) verified: VerifiedCheckpoint,
}

/// Applies what `source` has above the ledger: up to its checkpoint or, if that is given, up to the tree of
/// `target` leaves. `told` hears of the leaves so far and in all.
///
/// Whom to believe is what `given` or the ledger says, whichever has more acts of governance. If validators of a later
/// epoch have signed, the source's network file must lead there by the signatures of those before.
pub(crate) async fn catch_up(
    ledger: &Arc<Ledger>,
    given: &Arc<Network>,
    source: &Source,
    target: Option<u64>,
    told: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Proven, SyncError> {
    let note = source.checkpoint().await?;
    let mut network = epochs::newest(given, ledger);
    let mut verified = network.verify_checkpoint(&note);
    if verified.is_err() {
        let (followed, proofs) = source.followed(&network).await?;
        epochs::keep_proven(&proofs, ledger)?;
        network = Arc::new(followed);
        verified = network.verify_checkpoint(&note);
    }
    let verified = verified.map_err(SourceError::from)?;
    keep_ends(ledger, source).await?;
    let (size, root) = (verified.checkpoint.size, verified.checkpoint.root);
    let own = ledger.head().size;
    let wanted = target.unwrap_or(own).max(own);
    if size <= own && ledger.root(size)? != root {
        return Err(SyncError::Forked(size));
    }
    if size < wanted {
        return Err(SourceError::Stale { got: size, wanted }.into());
    }
    let target = target.unwrap_or(size);
    let mut pending = Vec::new();
    while ledger.head().size < target {
        let next = pending.last().map_or_else(|| ledger.head().height.0, |last: &WholeBlock| last.height.0);
        let got = source.blocks(next.saturating_add(1)).await?;
        pending.extend(got);
        let (blocks, trees) = foresee(ledger, pending).await?;
        pending = blocks;
        let tree = match trees.iter().rfind(|tree| tree.size <= target) {
            Some(tree) => *tree,
            None if trees.is_empty() && pending.len() < MAX_EMPTY => continue,
            None if trees.is_empty() => {
                until_leaves(ledger, source, &pending, &verified).await?;
                apply(ledger, std::mem::take(&mut pending)).await?;
                continue;
            }
            None => return Err(other_log(&trees)),
        };
        prove(source, &tree, &verified).await?;
        let rest = pending.iter().position(|block| block.height > tree.height).unwrap_or(pending.len());
        let rest = pending.split_off(rest);
        apply(ledger, std::mem::replace(&mut pending, rest)).await?;
        let head = ledger.head();
        if (head.size, head.root) != (tree.size, tree.root) {
            return Err(SyncError::OwnIndex(tree.height.0));
        }
        same_ends(&ledger.network(), &network)?;
        told(head.size, target);
    }
    Ok(Proven { note, verified })
}

/// Keeps the last checkpoints of ended epochs, without which this node could not show others the way. They may have
/// been seen by nobody here, and a source that does not have them either is no worse for it.
async fn keep_ends(ledger: &Ledger, source: &Source) -> Result<(), LedgerError> {
    let network = ledger.network();
    for number in network.epochs().filter_map(NetworkEpoch::ended_by) {
        if ledger.closing(number)?.is_none() {
            match source.followed(ledger.base()).await {
                Ok((_, proofs)) => epochs::keep_proven(&proofs, ledger)?,
                Err(cause) => debug!(%cause, "the end of an epoch is not proven by this node"),
            }
            break;
        }
    }
    Ok(())
}

/// Epochs have ended in the ledger where their own validators have signed that they did.
fn same_ends(own: &Network, signed: &Network) -> Result<(), SyncError> {
    let differs = own.epochs().zip(signed.epochs()).find_map(|(own, signed)| {
        let (own, signed) = (own.last_checkpoint()?, signed.last_checkpoint()?);
        (own != signed).then_some(signed.0)
    });
    differs.map_or(Ok(()), |size| Err(SyncError::Forked(size)))
}

async fn foresee(ledger: &Arc<Ledger>, blocks: Vec<WholeBlock>) -> Result<(Vec<WholeBlock>, Vec<Tree>), SyncError> {
    let ledger = Arc::clone(ledger);
    tokio::task::spawn_blocking(move || {
        let trees = ledger.foresee(&blocks)?.map_err(SourceError::from)?;
        Ok((blocks, trees))
    })
    .await?
}

async fn apply(ledger: &Arc<Ledger>, blocks: Vec<WholeBlock>) -> Result<(), SyncError> {
    let ledger = Arc::clone(ledger);
    tokio::task::spawn_blocking(move || {
        ledger.apply_final(&blocks.iter().map(WholeBlock::as_block).collect::<Vec<_>>())?;
        Ok(())
    })
    .await?
}

/// Shows that the checkpoint's tree is this one, or extends it.
async fn prove(source: &Source, tree: &Tree, verified: &VerifiedCheckpoint) -> Result<(), SyncError> {
    let (size, root) = (verified.checkpoint.size, verified.checkpoint.root);
    let proof = if tree.size == size { Vec::new() } else { source.consistency(tree.size, size).await? };
    merkle::verify_consistency(tree.size, size, &proof, &tree.root, &root)
        .map_err(|_| SourceError::OtherLog { height: tree.height.0 }.into())
}

fn other_log(trees: &[Tree]) -> SyncError {
    SourceError::OtherLog { height: trees.first().map_or(0, |tree| tree.height.0) }.into()
}

/// So many blocks without leaves that they cannot wait for the next one with some. That one's own leaf, which the
/// checkpoint covers, says how many there can be and until when: more, or later ones, would keep it out.
async fn until_leaves(
    ledger: &Arc<Ledger>,
    source: &Source,
    blocks: &[WholeBlock],
    verified: &VerifiedCheckpoint,
) -> Result<(), SourceError> {
    let (size, root) = (verified.checkpoint.size, verified.checkpoint.root);
    let (at, leaf, proof) = source.block_leaf(ledger.head().size, size).await?;
    let Some(last) = blocks.last() else { return Ok(()) };
    let other_log = |_| SourceError::OtherLog { height: last.height.0 };
    merkle::verify_inclusion(&merkle::leaf_hash(&leaf), at, size, &proof, &root).map_err(other_log)?;
    let header = Header::decode(&last.header).ok();
    match (Leaf::decode(&leaf), header) {
        (Ok(Leaf::Block(next)), Some(header)) if last.height < next.height && header.minute <= next.minute => Ok(()),
        _ => Err(SourceError::Empty(last.height.0)),
    }
}

/// Blocks without leaves that wait for one with some: ten megabytes.
const MAX_EMPTY: usize = if cfg!(test) { 8 } else { 1 << 16 };
