//! Whether transactions may wait for a block: the ledger's own rules, asked early.
//!
//! For: what clients post and what other validators pass on, acts of governance too. Not for: the rules (`birthmark-ledger`), or
//! keeping what was let in (`mempool`).

use birthmark_core::batch::{Assurance, Batch, Transaction};
use birthmark_core::body::BodyDigest;
use birthmark_ledger::apply::State as _;
use birthmark_ledger::rules::Refusal;
use birthmark_ledger::{Ledger, LedgerError, View};

use crate::mempool::Mempool;

/// A body, and the assurance at which it is to be recorded.
pub(crate) type Wanted = (BodyDigest, Assurance);

/// What a batch asks for, in its order.
pub(crate) fn wanted(batch: &Batch) -> Vec<Wanted> {
    batch.transactions.iter().map(|t| (t.body().digest(), t.assurance())).collect()
}

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

/// For each whether it is on record in the applied state, published or not.
pub(crate) fn recorded(ledger: &Ledger, wanted: &[Wanted]) -> Result<Vec<bool>, LedgerError> {
    let view = applied(ledger)?;
    let known = |(digest, wanted): &Wanted| Ok(view.recorded(digest)?.is_some_and(|(_, has)| has >= *wanted));
    wanted.iter().map(known).collect()
}

/// What was applied between the look at the ledger and the entry into the mempool would wait for ever: the
/// mempool hears of each block once. Applied is earlier than heard of, so one more look finds it.
pub(crate) fn settle_late(ledger: &Ledger, mempool: &Mempool, wanted: &[Wanted]) -> Result<(), LedgerError> {
    let view = applied(ledger)?;
    let mut late = Vec::new();
    for (digest, _) in wanted {
        if let Some((_, assurance)) = view.recorded(digest)? {
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
