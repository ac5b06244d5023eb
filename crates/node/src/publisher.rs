//! The checkpoint that everyone is answered from.
//!
//! For: assembling a quorum's signatures into one note, and telling whoever waits for it.
//!
//! Not for: when to sign (`cosigner`). Nothing beyond the published size is ever shown to a client,
//! so every answer can be proven.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use birthmark_core::checkpoint::Checkpoint;
use birthmark_core::time::UnixSeconds;
use birthmark_ledger::{Ledger, LedgerError, Reading};
use tokio::sync::watch;

use crate::config::NodeError;
use crate::cosigner::Signed;

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
}

impl Publisher {
    pub(crate) fn new() -> Self {
        Self { newest: ArcSwapOption::empty(), size: watch::Sender::new(0) }
    }

    /// The newest checkpoint; none until the first one is signed after a start.
    pub(crate) fn newest(&self) -> Option<Arc<Published>> {
        self.newest.load_full()
    }

    /// Tells of each new size.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.size.subscribe()
    }

    /// Publishes what a quorum of one has signed; the note is checked by the network's own policy first,
    /// so that nothing is ever shown that a client would refuse.
    pub(crate) fn publish(&self, ledger: &Ledger, reading: Reading, signed: Signed) -> Result<(), NodeError> {
        let note = signed
            .checkpoint
            .assemble(signed.log, &[signed.cosignature])
            .map_err(crate::cosigner::CosignerError::from)?
            .to_string();
        let verified = birthmark_core::checkpoint::verify(&note, ledger.network().current_policy())
            .map_err(crate::cosigner::CosignerError::from)?;
        let time = verified.time.unwrap_or(UnixSeconds(0));
        let size = verified.checkpoint.size;
        ledger.keep_checkpoint(&note)?;
        self.newest.store(Some(Arc::new(Published { note, checkpoint: verified.checkpoint, time, reading })));
        self.size.send_if_modified(|known| std::mem::replace(known, size) != size);
        Ok(())
    }
}

/// The size of the newest checkpoint that the store kept from an earlier run.
pub(crate) fn kept_size(ledger: &Ledger) -> Result<u64, LedgerError> {
    let note = ledger.checkpoint()?;
    let size = note.and_then(|note| birthmark_core::checkpoint::parse_unverified(&note).ok());
    Ok(size.map_or(0, |(_, checkpoint)| checkpoint.size))
}
