//! From a decoded batch to its results: what both posting endpoints share.
//!
//! Every transaction is judged by the ledger's own rules before it may wait for a block, so that what
//! is accepted can be recorded.

use std::sync::Arc;
use std::time::Duration;

use birthmark_core::api::transactions::TransactionResult;
use birthmark_core::batch::{Assurance, Batch, Transaction};
use birthmark_core::body::BodyDigest;
use birthmark_ledger::apply::State as _;
use birthmark_ledger::rules::Refusal;
use birthmark_ledger::{LedgerError, Reading};
use birthmark_service::problem::Problem;
use http::StatusCode;

use super::{published, unreadable};
use crate::node::Shared;

/// Checks, enqueues, waits at most `wait` for the record, and gives a result for each transaction.
pub(super) async fn submit(
    shared: &Arc<Shared>,
    batch: Batch,
    wait: Duration,
) -> Result<Vec<TransactionResult>, Problem> {
    let wanted: Vec<_> = batch.transactions.iter().map(|t| (t.body().digest(), t.assurance())).collect();
    let (batch, refused) = judge(shared, batch).await?;
    // One signature covers the batch: what is refused in it would make a block invalid, so the rest
    // waits only if all of it may be recorded.
    if refused.iter().all(Option::is_none) {
        let known = state_of(shared, &wanted)?;
        let recorded: Vec<_> = known.iter().map(Option::is_some).collect();
        if recorded.contains(&false) {
            shared.chain.mempool.add(batch, &recorded).map_err(|_| Problem::busy())?;
            settle_late(shared, &wanted).map_err(|cause| unreadable(&cause))?;
            wait_until_recorded(shared, &wanted, wait).await?;
        }
    }
    let known = state_of(shared, &wanted)?;
    let results = refused.into_iter().zip(known).map(|(refused, known)| match (refused, known) {
        (_, Some(recorded)) => recorded,
        (Some(refusal), None) => TransactionResult::Refused { code: refusal.code().to_owned() },
        (None, None) => TransactionResult::Accepted,
    });
    Ok(results.collect())
}

/// On a blocking thread: a batch of endorsements takes as long as a flush.
async fn judge(shared: &Arc<Shared>, batch: Batch) -> Result<(Batch, Vec<Option<Refusal>>), Problem> {
    let shared = Arc::clone(shared);
    let judged = tokio::task::spawn_blocking(move || {
        let refused = refusals(&shared, &batch.transactions)?;
        Ok((batch, refused))
    });
    judged.await.map_err(|_| Problem::internal())?.map_err(|cause| unreadable(&cause))
}

fn refusals(shared: &Shared, transactions: &[Transaction]) -> Result<Vec<Option<Refusal>>, LedgerError> {
    let ledger = &shared.chain.ledger;
    // Readable here means recorded in some block, final or not; parents cannot vanish.
    let view = match ledger.view_after(&[])? {
        Ok(view) => view,
        Err(cause) => return Err(LedgerError::Invalid { height: ledger.head().height.0, cause }),
    };
    transactions
        .iter()
        .map(|transaction| {
            let recorded = |hash: &_| view.records_of(hash).map(|records| !records.is_empty());
            Ok(ledger.rules().check(transaction, recorded)?.err())
        })
        .collect()
}

/// What of a batch is on record under the published checkpoint.
fn state_of(shared: &Shared, wanted: &[(BodyDigest, Assurance)]) -> Result<Vec<Option<TransactionResult>>, Problem> {
    let published = published(shared)?;
    wanted.iter().map(|want| recorded(&published.reading, want).map_err(|cause| unreadable(&cause))).collect()
}

fn recorded(
    reading: &Reading,
    (digest, wanted): &(BodyDigest, Assurance),
) -> Result<Option<TransactionResult>, LedgerError> {
    let known = reading.recorded(digest)?.filter(|(_, assurance, _)| assurance >= wanted);
    Ok(known.map(|(tx_id, _, block_height)| TransactionResult::Recorded { tx_id, block_height }))
}

/// What was applied between the look at the ledger and the entry into the mempool would wait for ever: the
/// mempool hears of each block once. Applied is earlier than heard of, so one more look finds it.
fn settle_late(shared: &Shared, wanted: &[(BodyDigest, Assurance)]) -> Result<(), LedgerError> {
    let ledger = &shared.chain.ledger;
    let Ok(view) = ledger.view_after(&[])? else { return Ok(()) };
    let mut late = Vec::new();
    for (digest, _) in wanted {
        if let Some((_, assurance)) = view.recorded(digest)? {
            late.push((*digest, assurance));
        }
    }
    if !late.is_empty() {
        shared.chain.mempool.recorded(&late);
    }
    Ok(())
}

async fn wait_until_recorded(
    shared: &Shared,
    wanted: &[(BodyDigest, Assurance)],
    wait: Duration,
) -> Result<(), Problem> {
    let mut sizes = shared.chain.publisher.subscribe();
    let all_recorded = async {
        // A batch is mostly recorded in one piece, so only the first that is missing is looked up.
        let mut left = wanted.iter();
        let mut next = left.next();
        while let Some(want) = next {
            sizes.mark_unchanged();
            if recorded(&published(shared)?.reading, want).map_err(|cause| unreadable(&cause))?.is_some() {
                next = left.next();
            } else if sizes.changed().await.is_err() {
                break;
            }
        }
        Ok(())
    };
    tokio::time::timeout(wait, all_recorded).await.unwrap_or(Ok(()))
}

/// The refusal of a batch that is not its submitter's.
pub(super) const fn unsigned() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "batch_signature", "the batch is not signed by a known submitter")
}
