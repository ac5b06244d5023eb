//! Making a damaged ledger anew from other nodes, none of which is believed.
//!
//! For: a node that is stopped. Not for: finding the damage (`fsck`), or `cosign.state` and `consensus/`: what a
//! validator has signed and voted is known to itself alone.
//!
//! A validator's ledger is made up to the tree that it signed last: what comes above is in its own consensus
//! folder, and a ledger ahead of that would not be its own. A follower's is made up to the newest checkpoint.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use birthmark_core::network::Network;
use birthmark_ledger::fsck::{self, Progress, SignedTree, Sound};
use birthmark_service::lock::FolderLock;

use crate::config::NodeError;
use crate::cosigner::{self, STATE_FILE};
use crate::fsck::is_validator;
use crate::source::Source;
use crate::staging::Staging;
use crate::sync::{SyncError, catch_up};

/// What a repair has done.
#[derive(Debug)]
pub struct Repaired {
    /// The new ledger, checked.
    pub sound: Sound,
    /// Which node its last blocks came from.
    pub source: String,
    /// Where the old one is kept.
    pub kept: Option<PathBuf>,
}

/// Makes the ledger in `data_dir` anew from the first of these nodes that has what is needed.
pub async fn repair(
    data_dir: &Path,
    network: &Arc<Network>,
    sources: &[String],
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Repaired, NodeError> {
    let _lock = FolderLock::acquire(data_dir)?;
    let sources = sources.iter().map(|origin| Source::new(origin)).collect::<Result<Vec<_>, _>>()?;
    let signed = is_validator(data_dir).then(|| cosigner::last_signed(data_dir)).transpose()?;
    let staging = Staging::begin(data_dir)?;
    let ledger = Arc::new(staging.open(network)?);
    let target = signed.map(|(size, _)| size.max(ledger.head().size));
    let mut told = |done, total| progress(Progress { stage: "blocks of others", done, total });
    let mut refused = NodeError::NoSource;
    let mut served = None;
    for source in &sources {
        match catch_up(&ledger, network, source, target, &mut told).await {
            Ok(proven) => {
                served = Some((source, proven));
                break;
            }
            Err(SyncError::Source(cause)) => {
                tracing::warn!(source = source.origin(), %cause, "a node cannot serve for a repair");
                refused = cause.into();
            }
            Err(fatal) => return Err(fatal.into()),
        }
    }
    let (source, proven) = served.ok_or(refused)?;
    let mut trees = Vec::new();
    if let Some((size, root)) = signed {
        trees.push(SignedTree { place: STATE_FILE, size, root });
    } else {
        // A validator's would say that this node has published it, and that it has signed less than that.
        ledger.keep_checkpoint(&proven.note)?;
    }
    drop(ledger);
    let (folder, checked_by) = (staging.folder(), Arc::clone(network));
    let checked = tokio::task::spawn_blocking(move || fsck::check(&folder, &checked_by, &trees, &mut |_| ())).await??;
    let sound = checked.map_err(|damage| NodeError::StillDamaged(Box::new(damage)))?;
    Ok(Repaired { sound, source: source.origin().to_owned(), kept: staging.put()? })
}
