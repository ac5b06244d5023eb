//! From a decoded batch to its results: what both posting endpoints share.
//!
//! Every transaction is judged by the ledger's own rules before it may wait for a block, so that what
//! is accepted can be recorded.

use std::sync::Arc;
use std::time::Duration;

use birthmark_core::api::transactions::TransactionResult;
use birthmark_core::batch::Batch;
use birthmark_ledger::rules::Refusal;
use birthmark_ledger::{LedgerError, Reading};
use birthmark_service::problem::Problem;
use http::StatusCode;

use super::{published, unreadable};
use crate::admission::{self, Wanted};
use crate::mempool::Origin;
use crate::node::Shared;
use crate::relay;

/// Checks, enqueues, waits at most `wait` for the record, and gives a result for each transaction.
pub(super) async fn submit(
    shared: &Arc<Shared>,
    batch: Batch,
    wait: Duration,
) -> Result<Vec<TransactionResult>, Problem> {
    let wanted = admission::wanted(&batch);
    let (batch, refused) = judge(shared, batch).await?;
    // One signature covers the batch: what is refused in it would make a block invalid, so the rest
    // waits only if all of it may be recorded.
    if refused.iter().all(Option::is_none) {
        let known = state_of(shared, &wanted)?;
        let recorded: Vec<_> = known.iter().map(Option::is_some).collect();
        if recorded.contains(&false) {
            let chain = &shared.chain;
            let message = (!chain.committee().is_alone()).then(|| batch.encode());
            chain.mempool.add(batch, &recorded, Origin::Client).map_err(|_| Problem::busy())?;
            if let Some(message) = message {
                relay::tell(chain, message.into());
            }
            admission::settle_late(&chain.ledger, &chain.mempool, &wanted).map_err(|cause| unreadable(&cause))?;
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
        let refused = admission::refusals(&shared.chain.ledger, &batch.transactions)?;
        Ok((batch, refused))
    });
    judged.await.map_err(|_| Problem::internal())?.map_err(|cause| unreadable(&cause))
}

/// What of a batch is on record under the published checkpoint.
fn state_of(shared: &Shared, wanted: &[Wanted]) -> Result<Vec<Option<TransactionResult>>, Problem> {
    let published = published(&shared.chain.publisher)?;
    wanted.iter().map(|want| recorded(&published.reading, want).map_err(|cause| unreadable(&cause))).collect()
}

fn recorded(reading: &Reading, (digest, wanted): &Wanted) -> Result<Option<TransactionResult>, LedgerError> {
    let known = reading.recorded(digest)?.filter(|(_, assurance, _)| assurance >= wanted);
    Ok(known.map(|(tx_id, _, block_height)| TransactionResult::Recorded { tx_id, block_height }))
}

async fn wait_until_recorded(shared: &Shared, wanted: &[Wanted], wait: Duration) -> Result<(), Problem> {
    let mut sizes = shared.chain.publisher.subscribe();
    let all_recorded = async {
        // A batch is mostly recorded in one piece, so only the first that is missing is looked up.
        let mut left = wanted.iter();
        let mut next = left.next();
        while let Some(want) = next {
            sizes.mark_unchanged();
            if recorded(&published(&shared.chain.publisher)?.reading, want)
                .map_err(|cause| unreadable(&cause))?
                .is_some()
            {
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
