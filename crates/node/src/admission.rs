//! Whether transactions may wait for a block: the ledger's own rules, asked early.
//!
//! For: what clients post and what other validators pass on, acts of governance too. Not for: the rules (`birthmark-ledger`), or
//! keeping what was let in (`mempool`).

use birthmark_core::batch::{Batch, Transaction};
use birthmark_ledger::apply::State as _;
use birthmark_ledger::rules::Refusal;
use birthmark_ledger::{Ledger, LedgerError, View};

use crate::mempool::Mempool;
use crate::offer::Offer;

/// The batch is no known submitter's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unsigned;

/// Checks that a known submitter signed the batch.
pub(crate) fn check_signature(ledger: &Ledger, batch: &Batch) -> Result<(), Unsigned> {
    let network = ledger.network();
    let submitter = network.active_submitter(batch.submitter).ok_or(Unsigned)?;
    batch.verify(network.network_id(), submitter.key.as_bytes()).map_err(|_| Unsigned)
}

/// For each transaction why it may not be recorded, if so.
pub(crate) fn refusals(ledger: &Ledger, transactions: &[Transaction]) -> Result<Vec<Option<Refusal>>, LedgerError> {
    // Readable here means recorded in some block, final or not; parents cannot vanish.
    let view = applied(ledger)?;
    let rules = view.rules();
    let judge = |transaction| {
        let recorded = |hash: &_| view.records_of(hash).map(|records| !records.is_empty());
        Ok(rules.check(transaction, recorded)?.err())
    };
    transactions.iter().map(judge).collect()
}

/// For each transaction whether it is on record in the applied state, published or not.
pub(crate) fn recorded(ledger: &Ledger, offer: &Offer) -> Result<Vec<bool>, LedgerError> {
    let view = applied(ledger)?;
    offer.each().map(|(transaction, digest)| view.has(transaction, digest)).collect()
}

/// What was applied between the look at the ledger and the entry into the mempool would wait for ever: the
/// mempool hears of each block once. Applied is earlier than heard of, so one more look finds it.
pub(crate) fn settle_late(ledger: &Ledger, mempool: &Mempool, offer: &Offer) -> Result<(), LedgerError> {
    let view = applied(ledger)?;
    let mut late = Vec::new();
    for (transaction, digest) in offer.each() {
        if let Some((_, assurance)) = view.record_of(transaction.body(), digest)? {
            late.push((*digest, assurance));
        }
    }
    if !late.is_empty() {
        mempool.recorded(&late);
    }
    Ok(())
}

fn applied(ledger: &Ledger) -> Result<View<'_>, LedgerError> {
    let height = ledger.head().height.0;
    ledger.view_after(&[])?.map_err(|cause| LedgerError::Invalid { height, cause })
}
