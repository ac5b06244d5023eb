//! Acts of governance as this node can prove them: the network file that it serves.
//!
//! For: [`Acts::network_file`]. Not for: enacting (`birthmark-ledger`) or taking acts (`http::governance`).
//!
//! Each act is proven by a checkpoint that the validators of its own epoch have signed, since that is whom a
//! reader knows who follows the acts in their order: the epoch's last one, or the published one in the
//! epoch that goes on.

use birthmark_core::network::{self, Network};
use birthmark_core::proof::ProofBundle;
use birthmark_ledger::{Ledger, LedgerError};
use bytes::Bytes;
use parking_lot::Mutex;
use tracing::debug;

use crate::publisher::Published;

/// The network file, with as many acts as can be proven.
#[derive(Debug)]
pub(crate) struct Acts {
    /// As it was given to the node.
    given: Bytes,
    /// How many acts it had when it was put together last.
    newest: Mutex<(usize, Bytes)>,
}

impl Acts {
    pub(crate) fn new(given: Bytes) -> Self {
        let count = network::acts_of(&given).map_or(0, |acts| acts.len());
        Self { newest: Mutex::new((count, given.clone())), given }
    }

    /// The file as of this checkpoint.
    pub(crate) fn network_file(&self, ledger: &Ledger, published: &Published) -> Result<Bytes, LedgerError> {
        let mut newest = self.newest.lock();
        let count = usize::try_from(ledger.network().act_count()).unwrap_or(usize::MAX);
        if count <= newest.0 {
            return Ok(newest.1.clone());
        }
        let proofs = proofs(ledger, published)?;
        if proofs.len() > newest.0 {
            match network::with_acts(&self.given, &proofs) {
                Ok((file, _)) => *newest = (proofs.len(), file.into()),
                Err(cause) => debug!(%cause, "the network file cannot be extended"),
            }
        }
        Ok(newest.1.clone())
    }
}

/// The proof of each act, up to the first that cannot be proven yet.
fn proofs(ledger: &Ledger, published: &Published) -> Result<Vec<String>, LedgerError> {
    let network = ledger.network();
    let mut places = Vec::new();
    for number in 1..=network.act_count() {
        places.push(ledger.act(number)?);
    }
    let mut proofs = Vec::new();
    for (at, (tx_id, _)) in places.iter().enumerate() {
        // The next act that ended an epoch has ended this one's.
        let closing = places.iter().skip(at).find(|(end, _)| ends_epoch(&network, end.0));
        let (note, size) = match closing {
            Some((end, Some(note))) => (note.as_str(), end.0.saturating_add(2)),
            Some((_, None)) => break,
            None => (published.note.as_str(), published.checkpoint.size),
        };
        if tx_id.0 >= size {
            break;
        }
        let (leaf, path) = ledger.proven_leaf(*tx_id, size)?;
        let proof = ProofBundle { leaf, endorsement: None, index: tx_id.0, path, checkpoint: note.to_owned() };
        proofs.push(proof.to_string());
    }
    Ok(proofs)
}

/// Whether the act whose leaf is at this place ended an epoch: its block's own leaf was then the last one.
fn ends_epoch(network: &Network, tx_id: u64) -> bool {
    let size = tx_id.saturating_add(2);
    network.epochs().any(|epoch| epoch.last_checkpoint().is_some_and(|(last, _)| last == size))
}
