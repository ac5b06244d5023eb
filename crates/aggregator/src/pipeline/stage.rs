//! The loop that both stages share: pick rows, hand them to a counterparty, settle what came of it.
//!
//! For: keeping a bounded number of batches under way, never a row in two of them, and leaving a
//! counterparty that fails alone for a while (`gate`). Not for: what is picked or how it is handed over
//! (`validate`, `post`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use birthmark_service::backoff::Backoff;
use birthmark_service::random::OsRng;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::gate::Gate;
use super::hold::HoldFigures;
use super::state::Withheld;
use super::trouble::Trouble;
use crate::store::{RowId, StoreError};

/// What differs between the stages.
pub(crate) trait Work: Send + 'static {
    /// One piece of work, with what is needed to carry it out.
    type Batch: Send + 'static;

    /// The next batch, without the rows in `busy`, which are under way.
    fn pick(&mut self, busy: &BTreeSet<RowId>) -> impl Future<Output = Result<Pick<Self::Batch>, StoreError>> + Send;

    /// Hands a batch over and stores what was learnt.
    fn carry_out(&self, batch: Self::Batch) -> impl Future<Output = Outcome> + Send + 'static;

    /// Hears of every outcome, before its rows can be picked again.
    fn settle(&mut self, outcome: &Outcome);
}

/// What there is to do.
#[derive(Debug)]
pub(crate) struct Pick<B> {
    /// A batch and its rows.
    pub(crate) batch: Option<(B, Vec<RowId>)>,
    /// When there may be work although nothing new happened.
    pub(crate) look_again: Option<Instant>,
}

/// What came of a batch.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// All its rows.
    pub(crate) rows: Vec<RowId>,
    /// Those that have not moved.
    pub(crate) again: Vec<RowId>,
    /// Of those, the ones that were answered in a way that cannot be used.
    pub(crate) withheld: Vec<(RowId, Withheld)>,
    /// Why not, if that was an error.
    pub(crate) trouble: Option<Trouble>,
}

/// Why a stage ended although nobody asked it to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StageError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Final(Trouble),
    #[error("a batch broke off: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}

/// How a stage is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StageSettings {
    pub(crate) in_flight: usize,
    pub(crate) retry_base: Duration,
    pub(crate) retry_max: Duration,
}

/// What others see of a stage.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    /// The counterparty.
    pub(crate) name: Arc<str>,
    /// Wakes it: there is work.
    pub(crate) wake: Arc<Notify>,
    /// True from an error to the next success.
    pub(crate) troubled: Arc<AtomicBool>,
    /// Rows that wait although it answers.
    pub(crate) held: Arc<HoldFigures>,
}

impl Stage {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.into(), wake: Arc::default(), troubled: Arc::default(), held: Arc::default() }
    }

    /// Works until cancelled. What is under way then is given up: it can be repeated.
    pub(crate) async fn run<W: Work>(
        self,
        mut work: W,
        settings: StageSettings,
        token: CancellationToken,
    ) -> Result<(), StageError> {
        let mut gate = Gate::new(Backoff::new(settings.retry_base, settings.retry_max), settings.in_flight);
        let mut database = Gate::new(Backoff::new(settings.retry_base, settings.retry_max), 1);
        let mut running = JoinSet::new();
        let mut busy = BTreeSet::new();
        loop {
            let now = Instant::now();
            let mut look_again = gate.opens_at(now).max(database.opens_at(now));
            while database.places(Instant::now()) > 0 && running.len() < gate.places(Instant::now()) {
                let pick = match work.pick(&busy).await {
                    Ok(pick) => pick,
                    Err(error) => {
                        look_again = unread(&mut database, error)?;
                        break;
                    }
                };
                if let Some(recovery) = database.succeeded(Instant::now()) {
                    let seconds = recovery.after.as_secs();
                    tracing::info!(failures = recovery.failures, seconds, "the database answers again");
                }
                look_again = pick.look_again;
                let Some((batch, rows)) = pick.batch else { break };
                busy.extend(rows);
                running.spawn(work.carry_out(batch));
            }
            tokio::select! {
                biased;
                () = token.cancelled() => return Ok(()),
                Some(outcome) = running.join_next() => {
                    let outcome = outcome?;
                    for row in &outcome.rows {
                        busy.remove(row);
                    }
                    work.settle(&outcome);
                    self.note(&mut gate, outcome)?;
                }
                () = self.wake.notified() => {}
                () = sleep_until(look_again) => {}
            }
        }
    }

    /// Opens or closes the gate, visibly.
    fn note(&self, gate: &mut Gate, outcome: Outcome) -> Result<(), StageError> {
        let now = Instant::now();
        match outcome.trouble {
            Some(trouble) if trouble.is_final() => return Err(StageError::Final(trouble)),
            Some(trouble) => {
                self.troubled.store(true, Ordering::Relaxed);
                if gate.failed(now, trouble.retry_after(), &mut OsRng) {
                    let failures = gate.failures();
                    tracing::warn!(counterparty = %self.name, failures, error = %trouble, "no decision; it will be tried again");
                }
            }
            None => {
                self.troubled.store(false, Ordering::Relaxed);
                if let Some(recovery) = gate.succeeded(now) {
                    let seconds = recovery.after.as_secs();
                    tracing::info!(counterparty = %self.name, failures = recovery.failures, seconds, "answers again");
                }
            }
        }
        Ok(())
    }
}

/// The database did not say what there is to do: it is asked again when its gate opens, unless it never will.
fn unread(database: &mut Gate, error: StoreError) -> Result<Option<Instant>, StoreError> {
    if error.is_final() {
        return Err(error);
    }
    let now = Instant::now();
    if database.failed(now, None, &mut OsRng) {
        let failures = database.failures();
        tracing::warn!(failures, %error, "the database does not answer; it will be asked again");
    }
    Ok(database.opens_at(now))
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
