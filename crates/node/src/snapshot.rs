//! A ledger as one file: to start a node from, and to keep.
//!
//! For: [`export`] from a stopped node, [`import`] into an empty one. Not for: keys, `cosign.state` and
//! `consensus/`, which belong to one validator and are never copied.
//!
//! Nothing in a snapshot is believed. All blocks are applied by the ledger's rules, and their log must be that of
//! the checkpoint, which must have a quorum of the network file that the importer has.
//!
//! Format: `docs/PROTOCOL.md` section 12:
//! ```text
//! snapshot = "birthmark/snapshot/v1\n" ‖ network_id 32 ‖ be32 len ‖ checkpoint ‖ be64 height ‖ blocks 1 to height ‖ SHA-256 of all that
//! ```

mod reading;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use birthmark_core::checkpoint::VerifiedCheckpoint;
use birthmark_core::codec::DecodeError;
use birthmark_core::ids::{Height, TxId};
use birthmark_core::network::{Network, TrustError};
use birthmark_ledger::fsck::Progress;
use birthmark_ledger::{Head, Ledger, LedgerError, WholeBlock};
use birthmark_service::lock::FolderLock;
use birthmark_service::secret_file;
use sha2::{Digest as _, Sha256};

use self::reading::Input;
use crate::config::NodeError;
use crate::fsck::{is_validator, ledger_of};
use crate::staging::{Staging, io};

/// Why a snapshot is not made or not taken.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The node has shown no checkpoint that its ledger covers.
    #[error("this node has published no checkpoint yet, so nobody could check a snapshot of it")]
    NoCheckpoint,
    /// An endorsement is not kept any more.
    #[error("block {0} is not kept whole here: a snapshot needs a node that keeps all endorsements")]
    Pruned(u64),
    /// It does not begin as a snapshot does.
    #[error("the file is no snapshot")]
    NotASnapshot,
    /// It is another network's.
    #[error("the snapshot is of another network")]
    OtherNetwork,
    /// Its checkpoint is refused.
    #[error("the snapshot's checkpoint is refused: {0}")]
    Checkpoint(#[from] TrustError),
    /// It ends too early, or does not end where it should.
    #[error("the snapshot is cut short or goes on after its end")]
    Length,
    /// A block in it does not decode.
    #[error("a block of the snapshot does not decode: {0}")]
    Malformed(#[from] DecodeError),
    /// Its blocks are refused.
    #[error("the snapshot's blocks are refused: {0}")]
    Blocks(LedgerError),
    /// Its blocks give another log than its checkpoint's.
    #[error("the snapshot's blocks give another log than its checkpoint's")]
    OtherLog,
    /// It was changed since it was made.
    #[error("the snapshot does not have its checksum")]
    Checksum,
    /// The node has a ledger already.
    #[error("{0} holds a ledger already")]
    LedgerThere(PathBuf),
}

/// What was written or put in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The last block and its log, which the checkpoint is of.
    pub head: Head,
}

/// Writes what the stopped node in `data_dir` has published into `out`, which must not exist.
pub fn export(
    data_dir: &Path,
    network: &Arc<Network>,
    out: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Snapshot, NodeError> {
    let folder = ledger_of(data_dir)?;
    let _lock = FolderLock::acquire(data_dir)?;
    let ledger = Ledger::open(&folder, Arc::clone(network))?;
    let note = ledger.checkpoint()?.ok_or(SnapshotError::NoCheckpoint)?;
    let VerifiedCheckpoint { checkpoint, .. } =
        ledger.network().verify_checkpoint(&note).map_err(SnapshotError::from)?;
    if checkpoint.size > ledger.head().size || ledger.root(checkpoint.size)? != checkpoint.root {
        return Err(SnapshotError::NoCheckpoint.into());
    }
    let (reading, own) = (ledger.reading()?, ledger.network());
    let last = reading.height_of(TxId(checkpoint.size.saturating_sub(1)))?;
    if out.exists() {
        let exists = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        return Err(io(out, exists));
    }
    let mut name = out.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    let mut write = || -> Result<(), NodeError> {
        let failed = |cause| io(&part, cause);
        let mut file = Output { file: BufWriter::new(File::create(&part).map_err(failed)?), hash: Sha256::new() };
        let length = u32::try_from(note.len()).unwrap_or(u32::MAX).to_be_bytes();
        for start in [MAGIC, network.network_id().as_bytes(), &length, note.as_bytes(), &last.0.to_be_bytes()] {
            file.put(start).map_err(failed)?;
        }
        for height in 1..=last.0 {
            let block = reading.whole_block(&own, Height(height))?.ok_or(SnapshotError::Pruned(height))?;
            let mut bytes = Vec::new();
            block.encode_into(&mut bytes);
            file.put(&bytes).map_err(failed)?;
            progress(Progress { stage: "blocks", done: height, total: last.0 });
        }
        let hash: [u8; 32] = file.hash.clone().finalize().into();
        file.put(&hash).map_err(failed)?;
        let file = file.file.into_inner().map_err(|cause| failed(cause.into_error()))?;
        file.sync_all().map_err(failed)?;
        std::fs::rename(&part, out).map_err(failed)?;
        Ok(secret_file::sync_folder_of(out)?)
    };
    if let Err(cause) = write() {
        // Half a snapshot is of no use; that it cannot be deleted either is not what went wrong.
        let _ = std::fs::remove_file(&part);
        return Err(cause);
    }
    let block = reading.block(last)?.ok_or(SnapshotError::NoCheckpoint)?;
    let (size, root) = (checkpoint.size, checkpoint.root);
    Ok(Snapshot { head: Head { height: last, digest: block.digest, minute: block.minute, size, root } })
}

/// Applies a snapshot and puts the ledger into `data_dir`, which must have none, once all of it is checked.
pub fn import(
    data_dir: &Path,
    network: &Arc<Network>,
    file: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Snapshot, NodeError> {
    std::fs::create_dir_all(data_dir).map_err(|cause| io(data_dir, cause))?;
    let _lock = FolderLock::acquire(data_dir)?;
    if let Ok(ledger) = ledger_of(data_dir) {
        return Err(SnapshotError::LedgerThere(ledger).into());
    }
    let mut input = Input::open(file, network)?;
    let staging = Staging::begin(data_dir)?;
    let ledger = staging.open(network)?;
    let (last, checkpoint) = (input.last, input.verified.checkpoint.clone());
    let mut next = 1;
    while next <= last {
        let mut blocks: Vec<WholeBlock> = Vec::new();
        let mut bytes = 0;
        while next <= last && blocks.len() < AT_ONCE && bytes < BYTES_AT_ONCE {
            let block = input.block()?;
            bytes += block.payload.len();
            blocks.push(block);
            next += 1;
        }
        let blocks: Vec<_> = blocks.iter().map(WholeBlock::as_block).collect();
        ledger.apply_final(&blocks).map_err(SnapshotError::Blocks)?;
        progress(Progress { stage: "blocks", done: next - 1, total: last });
    }
    input.end()?;
    let head = ledger.head();
    if (head.height.0, head.size, head.root) != (last, checkpoint.size, checkpoint.root) {
        return Err(SnapshotError::OtherLog.into());
    }
    // A validator's would say that it has published, and so signed, what others have.
    if !is_validator(data_dir) {
        ledger.keep_checkpoint(&input.note)?;
    }
    drop(ledger);
    let empty = data_dir.join("ledger");
    if empty.exists() {
        std::fs::remove_dir(&empty).map_err(|cause| io(&empty, cause))?;
    }
    staging.put()?;
    secret_file::sync_folder(data_dir)?;
    Ok(Snapshot { head })
}

/// A file whose bytes are hashed on their way.
struct Output {
    file: BufWriter<File>,
    hash: Sha256,
}

impl Output {
    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.hash.update(bytes);
        self.file.write_all(bytes)
    }
}

const MAGIC: &[u8] = b"birthmark/snapshot/v1\n";
/// Blocks that are made durable together.
const AT_ONCE: usize = 512;
const BYTES_AT_ONCE: usize = 8 << 20;

#[cfg(test)]
mod tests;
