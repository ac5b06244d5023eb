//! The checkpoint that everyone is answered from.
//!
//! For: assembling a quorum's signatures into one note, and telling whoever waits for it.
//!
//! Not for: when to sign (`cosigner`), or who is a quorum (`committee`). Nothing beyond the published size is ever shown to a client,
//! so every answer can be proven.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use birthmark_core::checkpoint::{self, Checkpoint, VerifiedCheckpoint};
use birthmark_core::network::NetworkEpoch;
use birthmark_core::note::NoteSignature;
use birthmark_core::time::UnixSeconds;
use birthmark_ledger::{Ledger, LedgerError, Reading};
use tokio::sync::watch;

use crate::committee::Standing;
use crate::config::NodeError;
use crate::cosigner::CosignerError;
use crate::sync::SyncError;

/// A checkpoint with a quorum's cosignatures.
#[derive(Debug)]
pub(crate) struct Published {
    /// The signed note, as clients get it.
    pub(crate) note: String,
    /// What it says.
    pub(crate) checkpoint: Checkpoint,
    /// The least time among its cosignatures.
    pub(crate) time: UnixSeconds,
    /// The ledger as it covers it.
    pub(crate) reading: Reading,
}

/// Where the newest published checkpoint stands.
#[derive(Debug)]
pub(crate) struct Publisher {
    newest: ArcSwapOption<Published>,
    size: watch::Sender<u64>,
    /// Counts the ends of epochs that are kept.
    closed: watch::Sender<u64>,
}

impl Publisher {
    pub(crate) fn new() -> Self {
        Self { newest: ArcSwapOption::empty(), size: watch::Sender::new(0), closed: watch::Sender::new(0) }
    }

    /// The newest checkpoint; none until the first one is signed after a start.
    pub(crate) fn newest(&self) -> Option<Arc<Published>> {
        self.newest.load_full()
    }

    /// Tells of each new size.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.size.subscribe()
    }

    /// Changes whenever the last checkpoint of an epoch is kept.
    pub(crate) fn closed(&self) -> watch::Receiver<u64> {
        self.closed.subscribe()
    }

    /// Keeps a checkpoint that a quorum has signed if it is the last one of an epoch.
    pub(crate) fn keep_closing(&self, ledger: &Ledger, note: &str) -> Result<(), LedgerError> {
        let network = ledger.network();
        let Ok(verified) = network.verify_checkpoint(note) else { return Ok(()) };
        let tree = (verified.checkpoint.size, verified.checkpoint.root);
        let ended = network.epochs().find(|epoch| epoch.last_checkpoint() == Some(tree));
        if let Some(number) = ended.and_then(NetworkEpoch::ended_by)
            && ledger.closing(number)?.is_none()
        {
            ledger.keep_closing(number, note)?;
            self.closed.send_modify(|count| *count = count.wrapping_add(1));
        }
        Ok(())
    }

    /// Publishes what a quorum has signed; the note is checked by the network's own policy first, so that
    /// nothing is ever shown that a client would refuse.
    pub(crate) fn publish(
        &self,
        ledger: &Ledger,
        standing: Standing,
        cosignatures: &[NoteSignature],
    ) -> Result<(), NodeError> {
        let Standing { checkpoint, log, reading } = standing;
        let note = checkpoint.assemble(log, cosignatures).map_err(CosignerError::from)?.to_string();
        let verified = ledger.network().verify_checkpoint(&note)?;
        ledger.keep_checkpoint(&note)?;
        self.keep_closing(ledger, &note)?;
        self.show(note, verified, reading);
        Ok(())
    }

    /// Publishes a checked checkpoint that came from elsewhere, of exactly the tree that the ledger stands at.
    pub(crate) fn adopt(&self, ledger: &Ledger, note: String, verified: VerifiedCheckpoint) -> Result<(), SyncError> {
        let reading = ledger.reading()?;
        let (size, root) = (verified.checkpoint.size, verified.checkpoint.root);
        if (reading.head().size, reading.head().root) != (size, root) {
            return Err(SyncError::Forked(size));
        }
        ledger.keep_checkpoint(&note)?;
        self.keep_closing(ledger, &note)?;
        self.show(note, verified, reading);
        Ok(())
    }

    /// Shows the checkpoint that an earlier run has kept, if the ledger stands where it did. Gives its size
    /// and time.
    pub(crate) fn resume(&self, ledger: &Ledger) -> Result<Option<(u64, UnixSeconds)>, LedgerError> {
        let Some(note) = ledger.checkpoint()? else { return Ok(None) };
        let reading = ledger.reading()?;
        let (size, root) = (reading.head().size, reading.head().root);
        let verified = ledger.network().verify_checkpoint(&note).ok();
        let tree = |known: &VerifiedCheckpoint| (known.checkpoint.size, known.checkpoint.root) == (size, root);
        let Some(verified) = verified.filter(tree) else { return Ok(None) };
        Ok(Some((size, self.show(note, verified, reading))))
    }

    fn show(&self, note: String, verified: VerifiedCheckpoint, reading: Reading) -> UnixSeconds {
        let (time, size) = (verified.time.unwrap_or(UnixSeconds(0)), verified.checkpoint.size);
        self.newest.store(Some(Arc::new(Published { note, checkpoint: verified.checkpoint, time, reading })));
        self.size.send_if_modified(|known| std::mem::replace(known, size) != size);
        time
    }
}

/// The size of the newest checkpoint that the store kept from an earlier run.
pub(crate) fn kept_size(ledger: &Ledger) -> Result<u64, LedgerError> {
    let note = ledger.checkpoint()?;
    let size = note.and_then(|note| checkpoint::parse_unverified(&note).ok());
    Ok(size.map_or(0, |(_, checkpoint)| checkpoint.size))
}
