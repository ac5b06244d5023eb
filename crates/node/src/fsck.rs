//! Checking and mending the ledger of a node that is stopped.
//!
//! For: the folder's lock, and what the folder knows of its ledger besides: `cosign.state`.
//! Not for: the checks themselves (`birthmark_ledger::fsck`).

use std::path::{Path, PathBuf};

use birthmark_core::network::Network;
use birthmark_ledger::fsck::{self, Damage, Progress, SignedTree, Sound};
use birthmark_ledger::{Ledger, Rebuilt};
use birthmark_service::lock::FolderLock;
use birthmark_service::secret_file::SecretFileError;

use crate::config::{KeyFiles, NodeError};
use crate::cosigner::{self, CosignerError, STATE_FILE};

/// Checks the ledger of the node in `data_dir`. The outer error means that it could not be checked.
pub fn fsck(
    data_dir: &Path,
    network: &Network,
    progress: &mut dyn FnMut(Progress),
) -> Result<Result<Sound, Damage>, NodeError> {
    let ledger = ledger_of(data_dir)?;
    let _lock = FolderLock::acquire(data_dir)?;
    let (size, root) = match cosigner::last_signed(data_dir) {
        Ok(last) => last,
        // A follower signs nothing.
        Err(_) if !is_validator(data_dir) => return Ok(fsck::check(&ledger, network, &[], progress)?),
        Err(cause @ CosignerError::Damaged) => return Ok(Err(damaged_state(&cause))),
        Err(cause @ CosignerError::State { source: SecretFileError::Io { .. } })
            if !data_dir.join(STATE_FILE).exists() =>
        {
            return Ok(Err(damaged_state(&cause)));
        }
        Err(cause) => return Err(cause.into()),
    };
    let signed = [SignedTree { place: STATE_FILE, size, root }];
    Ok(fsck::check(&ledger, network, &signed, progress)?)
}

/// Whether this folder has any of what only validators have.
pub(crate) fn is_validator(data_dir: &Path) -> bool {
    [KeyFiles::VALIDATOR, STATE_FILE].iter().any(|name| data_dir.join(name).exists())
}

/// Computes the index of the node in `data_dir` anew out of its log.
pub fn rebuild_index(data_dir: &Path, network: &Network) -> Result<Rebuilt, NodeError> {
    let ledger = ledger_of(data_dir)?;
    let _lock = FolderLock::acquire(data_dir)?;
    Ok(Ledger::rebuild_index(&ledger, network.network_id())?)
}

/// Opening a store would make one where there is none.
pub(crate) fn ledger_of(data_dir: &Path) -> Result<PathBuf, NodeError> {
    let folder = data_dir.join("ledger");
    let holds_any = std::fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some());
    if holds_any { Ok(folder) } else { Err(NodeError::NoLedger(folder)) }
}

fn damaged_state(cause: &CosignerError) -> Damage {
    Damage {
        keyspace: STATE_FILE,
        key: Vec::new(),
        found: cause.to_string(),
        should: "the tree that this validator has signed last".to_owned(),
        location: None,
    }
}
