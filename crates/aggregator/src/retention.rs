//! Forgetting submissions that ended long ago.
//!
//! For: receipts, hashes and times that nobody asks for any more. Not for: anything unfinished, which is
//! never forgotten, or tokens, which are gone with their verdict.

use std::sync::Arc;
use std::time::Duration;

use birthmark_core::time::{Clock, UnixSeconds};
use tokio_util::sync::CancellationToken;

use crate::store::{RowId, Store, StoreError};

/// Ended submissions are kept for so long, from their arrival on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// At least 1; by default 90.
    pub days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { days: 90 }
    }
}

/// Forgets once an hour until cancelled.
pub(crate) async fn run(
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    retention: Retention,
    token: CancellationToken,
) -> Result<(), StoreError> {
    loop {
        let before = UnixSeconds(clock.now().0.saturating_sub(u64::from(retention.days.max(1)) * DAY));
        tokio::select! {
            () = token.cancelled() => return Ok(()),
            () = forget(&*store, before) => {}
        }
        tokio::select! {
            () = token.cancelled() => return Ok(()),
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Step by step, so that intake never waits for long. What fails is tried again in an hour.
pub(crate) async fn forget(store: &dyn Store, before: UnixSeconds) {
    let mut after = RowId::START;
    loop {
        match store.forget(before, after).await {
            Ok(Some(last)) => after = last,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "old submissions were not forgotten");
                return;
            }
        }
    }
}

const DAY: u64 = 86_400;
const EVERY: Duration = Duration::from_hours(1);
