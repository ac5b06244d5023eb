//! Reading a snapshot, bounded and in order.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use birthmark_core::checkpoint::VerifiedCheckpoint;
use birthmark_core::codec::Reader;
use birthmark_core::network::Network;
use birthmark_ledger::WholeBlock;
use birthmark_ledger::transfer::{OVERHEAD, len_after};
use sha2::{Digest as _, Sha256};

use super::{MAGIC, SnapshotError};
use crate::config::NodeError;
use crate::staging::io;

/// A snapshot whose beginning has been checked.
pub(super) struct Input {
    path: PathBuf,
    file: BufReader<File>,
    hash: Sha256,
    pub(super) note: String,
    pub(super) verified: VerifiedCheckpoint,
    /// Height of its last block.
    pub(super) last: u64,
}

impl Input {
    pub(super) fn open(path: &Path, network: &Network) -> Result<Self, NodeError> {
        let file = File::open(path).map_err(|cause| io(path, cause))?;
        let mut file = BufReader::with_capacity(1 << 20, file);
        let mut hash = Sha256::new();
        let mut take = |len: usize| -> Result<Vec<u8>, NodeError> {
            let bytes = read(path, &mut file, len)?.ok_or(SnapshotError::NotASnapshot)?;
            hash.update(&bytes);
            Ok(bytes)
        };
        if take(MAGIC.len())? != MAGIC {
            return Err(SnapshotError::NotASnapshot.into());
        }
        if take(32)? != network.network_id().as_bytes() {
            return Err(SnapshotError::OtherNetwork.into());
        }
        let length = u32::from_be_bytes(take(4)?.try_into().unwrap_or_default());
        let length = usize::try_from(length).ok().filter(|length| *length <= MAX_NOTE);
        let note = take(length.ok_or(SnapshotError::NotASnapshot)?)?;
        let note = String::from_utf8(note).map_err(|_| SnapshotError::NotASnapshot)?;
        let verified = network.verify_checkpoint(&note).map_err(SnapshotError::from)?;
        let last = u64::from_be_bytes(take(8)?.try_into().unwrap_or_default());
        Ok(Self { path: path.to_owned(), file, hash, note, verified, last })
    }

    pub(super) fn block(&mut self) -> Result<WholeBlock, NodeError> {
        let mut bytes = self.take(OVERHEAD)?;
        let start: &[u8; OVERHEAD] = bytes.first_chunk().ok_or(SnapshotError::Length)?;
        let length = len_after(start).map_err(SnapshotError::from)?;
        bytes.extend(self.take(length)?);
        Ok(WholeBlock::decode_from(&mut Reader::new(&bytes)).map_err(SnapshotError::from)?)
    }

    /// What must come after the last block.
    pub(super) fn end(&mut self) -> Result<(), NodeError> {
        let should: [u8; 32] = self.hash.clone().finalize().into();
        if self.take(32)? != should {
            return Err(SnapshotError::Checksum.into());
        }
        match read(&self.path, &mut self.file, 1)? {
            None => Ok(()),
            Some(_) => Err(SnapshotError::Length.into()),
        }
    }

    fn take(&mut self, len: usize) -> Result<Vec<u8>, NodeError> {
        let bytes = read(&self.path, &mut self.file, len)?.ok_or(SnapshotError::Length)?;
        self.hash.update(&bytes);
        Ok(bytes)
    }
}

/// So many bytes; nothing if the file ends before.
fn read(path: &Path, file: &mut BufReader<File>, len: usize) -> Result<Option<Vec<u8>>, NodeError> {
    let mut bytes = vec![0; len];
    match file.read_exact(&mut bytes) {
        Ok(()) => Ok(Some(bytes)),
        Err(cause) if cause.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(cause) => Err(io(path, cause)),
    }
}

const MAX_NOTE: usize = 64 * 1024;
