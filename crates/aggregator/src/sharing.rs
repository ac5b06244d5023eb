//! Living beside other aggregators on one database.
//!
//! For: saying that this one lives, and starting work on what it took over from the dead. Not for: who is
//! dead and whose a row is (`store`).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::figures::Figures;
use crate::store::{Store, StoreError, Tended};

/// What changes when work changes hands.
#[derive(Debug)]
pub(crate) struct Sharing {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) figures: Arc<Figures>,
    /// All stages.
    pub(crate) wake: Vec<Arc<Notify>>,
}

impl Sharing {
    /// Tends the store until cancelled. While it does not answer, our lease may run out: others then do our
    /// work, which does no harm.
    pub(crate) async fn run(self, every: Duration, token: CancellationToken) -> Result<(), StoreError> {
        loop {
            match self.store.tend().await {
                Ok(tended) => self.note(tended).await,
                Err(error) if error.is_final() && !token.is_cancelled() => return Err(error),
                Err(error) => tracing::debug!(%error, "could not say that this aggregator lives"),
            }
            tokio::select! {
                () = token.cancelled() => return Ok(()),
                () = tokio::time::sleep(every) => {}
            }
        }
    }

    async fn note(&self, Tended { adopted, lapsed }: Tended) {
        if adopted.pending + adopted.validated > 0 {
            let (pending, validated) = (adopted.pending, adopted.validated);
            tracing::warn!(pending, validated, "taking over the submissions of an aggregator that has died");
            self.figures.adopted(adopted);
            for stage in &self.wake {
                stage.notify_one();
            }
        }
        if lapsed {
            tracing::warn!("this aggregator was not heard of for a while; others may have taken over its submissions");
            if let Ok(backlog) = self.store.backlog().await {
                self.figures.recount(backlog);
            }
        }
    }
}
