//! The stage that has passed bodies recorded.
//!
//! For: rows in state validated. They are released together (`mix`); once released, a row that the
//! node has not decided about is handed over again after a short pause, without gathering once more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use birthmark_core::batch::MAX_BATCH;
use birthmark_service::backoff::Backoff;
use birthmark_service::random::OsRng;
use tokio::time::Instant;

use super::mix::{Crowd, Mixers, shuffle};
use super::progress::{News, Progress};
use super::size::BatchSize;
use super::stage::{Outcome, Pick, StageSettings, Work};
use super::state::State;
use crate::registry::Registry;
use crate::store::{RowId, StoreError, ToPost};

/// The work of posting.
#[derive(Debug)]
pub(crate) struct Posting {
    registry: Arc<Registry>,
    progress: Progress,
    mixers: Mixers,
    size: BatchSize,
    /// Released rows that are not under way, and when to hand them over again.
    released: BTreeMap<RowId, Instant>,
    /// For rows that the node took but has not recorded.
    pause: Backoff,
}

impl Posting {
    pub(crate) fn new(
        registry: Arc<Registry>,
        progress: Progress,
        (mix_min, mix_delay): (usize, Duration),
        settings: StageSettings,
    ) -> Self {
        Self {
            registry,
            progress,
            mixers: Mixers::new(mix_min, mix_delay),
            size: BatchSize::new(MAX_BATCH),
            released: BTreeMap::new(),
            pause: Backoff::new(settings.retry_base, settings.retry_max.min(LONGEST_PAUSE)),
        }
    }

    /// Parts the rows that were released before from those that are to gather first.
    fn part(&mut self, rows: Vec<ToPost>, now: Instant) -> (Vec<ToPost>, Option<Instant>) {
        let (mut go, fresh): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| self.released.contains_key(&row.id));
        let (ripe_rows, ripe) = self.mixers.release(fresh, |row| Crowd::of(&row.body), now);
        go.extend(ripe_rows);
        for row in &go {
            self.released.remove(&row.id);
        }
        (go, ripe)
    }
}

impl Work for Posting {
    type Batch = Vec<ToPost>;

    async fn pick(&mut self, busy: &BTreeSet<RowId>) -> Result<Pick<Self::Batch>, StoreError> {
        let now = Instant::now();
        let paused: BTreeSet<_> = self.released.iter().filter(|(_, due)| **due > now).map(|(id, _)| *id).collect();
        let next_due = self.released.values().copied().filter(|due| *due > now).min();
        if paused.len() >= MAX_RELEASED {
            return Ok(Pick { batch: None, look_again: next_due });
        }
        let skip = busy | &paused;
        let rows = self.progress.store.to_post(skip, MAX_BATCH).await?;
        let (mut rows, ripe) = self.part(rows, now);
        shuffle(&mut rows, &mut OsRng);
        self.released.extend(self.size.cut(&mut rows).iter().map(|row| (row.id, now)));
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        let look_again = next_due.into_iter().chain(ripe).min();
        Ok(Pick { batch: (!rows.is_empty()).then_some((rows, ids)), look_again })
    }

    fn carry_out(&self, rows: Self::Batch) -> impl Future<Output = Outcome> + Send + 'static {
        let (registry, progress) = (Arc::clone(&self.registry), self.progress.clone());
        async move {
            let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
            let withheld = Vec::new();
            let events = match registry.record(&rows).await {
                Ok(events) => events,
                Err(trouble) => return Outcome { again: ids.clone(), rows: ids, withheld, trouble: Some(trouble) },
            };
            let news = rows
                .into_iter()
                .zip(events)
                .map(|(row, event)| {
                    let (id, receipt, state) = (row.id, row.receipt, State::Validated(row.voucher));
                    News { id, receipt, state, event }
                })
                .collect();
            match progress.apply(news).await {
                Ok(again) => Outcome { rows: ids, again, withheld, trouble: None },
                Err(error) => Outcome { again: ids.clone(), rows: ids, withheld, trouble: Some(error.into()) },
            }
        }
    }

    fn settle(&mut self, outcome: &Outcome) {
        self.size.settle(outcome);
        let now = Instant::now();
        // After an error the gate decides when; the node's "not yet" is no error.
        let due = match (&outcome.trouble, outcome.again.is_empty()) {
            (Some(_), _) => now,
            (None, false) => now + self.pause.next(&mut OsRng),
            (None, true) => {
                self.pause.reset();
                return;
            }
        };
        self.released.extend(outcome.again.iter().map(|id| (*id, due)));
    }
}

/// Between two attempts at rows that the node took but has not recorded: it has waited itself already.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Released rows in memory. While the node takes so many and records none, handing it more is no help.
const MAX_RELEASED: usize = 4096;
