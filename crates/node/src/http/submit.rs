//! From a decoded batch to its results: what both posting endpoints share.
//!
//! Every transaction is judged by the ledger's own rules before it may wait for a block, so that what
//! is accepted can be recorded.

use std::sync::Arc;
use std::time::Duration;

use birthmark_core::api::transactions::TransactionResult;
use birthmark_core::batch::{Batch, Transaction};
use birthmark_core::body::BodyDigest;
use birthmark_ledger::rules::Refusal;
use birthmark_ledger::{LedgerError, Reading};
use birthmark_service::problem::Problem;
use http::StatusCode;

use super::{published, unreadable};
use crate::admission;
use crate::mempool::Origin;
use crate::node::Shared;
use crate::offer::Offer;
use crate::relay;

/// Checks, enqueues, waits at most `wait` for the record, and gives a result for each transaction.
pub(super) async fn submit(
    shared: &Arc<Shared>,
    batch: Batch,
    wait: Duration,
) -> Result<Vec<TransactionResult>, Problem> {
    let offer = Arc::new(Offer::new(batch));
    let refused = judge(shared, &offer).await?;
    // One signature covers the batch: what is refused in it would make a block invalid, so the rest
    // waits only if all of it may be recorded.
    if refused.iter().all(Option::is_none) {
        let known = state_of(shared, &offer)?;
        let recorded: Vec<_> = known.iter().map(Option::is_some).collect();
        if recorded.contains(&false) {
            let chain = &shared.chain;
            let message = (!chain.committee().is_alone()).then(|| offer.batch().encode());
            chain.mempool.add(Arc::clone(&offer), &recorded, Origin::Client).map_err(|_| Problem::busy())?;
            if let Some(message) = message {
                relay::tell(chain, message.into());
            }
            admission::settle_late(&chain.ledger, &chain.mempool, &offer).map_err(|cause| unreadable(&cause))?;
            wait_until_recorded(shared, &offer, wait).await?;
        }
    }
    let known = state_of(shared, &offer)?;
    let results = refused.into_iter().zip(known).map(|(refused, known)| match (refused, known) {
        (_, Some(recorded)) => recorded,
        (Some(refusal), None) => TransactionResult::Refused { code: refusal.code().to_owned() },
        (None, None) => TransactionResult::Accepted,
    });
    Ok(results.collect())
}

/// On a blocking thread: a batch of endorsements takes as long as a flush.
async fn judge(shared: &Arc<Shared>, offer: &Arc<Offer>) -> Result<Vec<Option<Refusal>>, Problem> {
    let (shared, offer) = (Arc::clone(shared), Arc::clone(offer));
    let judged =
        tokio::task::spawn_blocking(move || admission::refusals(&shared.chain.ledger, &offer.batch().transactions));
    judged.await.map_err(|_| Problem::internal())?.map_err(|cause| unreadable(&cause))
}

/// What of a batch is on record under the published checkpoint.
fn state_of(shared: &Shared, offer: &Offer) -> Result<Vec<Option<TransactionResult>>, Problem> {
    let published = published(&shared.chain.publisher)?;
    offer.each().map(|each| recorded(&published.reading, each).map_err(|cause| unreadable(&cause))).collect()
}

fn recorded(
    reading: &Reading,
    (transaction, digest): (&Transaction, &BodyDigest),
) -> Result<Option<TransactionResult>, LedgerError> {
    let known = reading.record_of(transaction.body(), digest)?;
    let known = known.filter(|(_, assurance, _)| *assurance >= transaction.assurance());
    Ok(known.map(|(tx_id, _, block_height)| TransactionResult::Recorded { tx_id, block_height }))
}

async fn wait_until_recorded(shared: &Shared, offer: &Offer, wait: Duration) -> Result<(), Problem> {
    let mut sizes = shared.chain.publisher.subscribe();
    let all_recorded = async {
        // A batch is mostly recorded in one piece, so only the first that is missing is looked up.
        let mut left = offer.each();
        let mut next = left.next();
        while let Some(each) = next {
            sizes.mark_unchanged();
            if recorded(&published(&shared.chain.publisher)?.reading, each)
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
