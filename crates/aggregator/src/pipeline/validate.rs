//! The stage that has tokens judged, one for each authority.
//!
//! For: rows in state received. A row that is not judged because of an error stays in the store as it
//! is; the next pick finds it again, with its token and its request id. A row that was passed without a
//! usable endorsement waits in `hold`.

use std::collections::BTreeSet;
use std::sync::Arc;

use birthmark_core::api::validate::MAX_QUESTIONS;
use birthmark_service::random::OsRng;
use tokio::time::Instant;

use super::hold::Holds;
use super::progress::{News, Progress};
use super::size::BatchSize;
use super::stage::{Outcome, Pick, Stage, StageSettings, Work};
use super::state::{Event, State};
use crate::authority::{Authority, Judgement};
use crate::store::{RowId, StoreError, ToValidate};

/// The work of validating.
#[derive(Debug)]
pub(crate) struct Validation {
    authority: Authority,
    progress: Progress,
    size: BatchSize,
    holds: Holds,
}

impl Validation {
    pub(crate) fn new(authority: Authority, progress: Progress, stage: &Stage, settings: StageSettings) -> Self {
        let holds = Holds::new(settings.retry_base, Arc::clone(&stage.held));
        Self { authority, progress, size: BatchSize::new(MAX_QUESTIONS), holds }
    }
}

impl Work for Validation {
    type Batch = Vec<ToValidate>;

    async fn pick(&mut self, busy: &BTreeSet<RowId>) -> Result<Pick<Self::Batch>, StoreError> {
        let authority = self.authority.id().as_str().to_owned();
        let (mut skip, now) = (busy.clone(), Instant::now());
        self.holds.skip(&mut skip, now);
        let mut rows = self.progress.store.to_validate(authority, skip, MAX_QUESTIONS).await?;
        self.size.cut(&mut rows);
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        Ok(Pick { batch: (!rows.is_empty()).then_some((rows, ids)), look_again: self.holds.next_due(now) })
    }

    fn carry_out(&self, rows: Self::Batch) -> impl Future<Output = Outcome> + Send + 'static {
        let (authority, progress) = (self.authority.clone(), self.progress.clone());
        async move {
            let known: Vec<_> = rows.iter().map(|row| (row.id, row.receipt)).collect();
            let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
            let Judgement { events, trouble } = authority.judge(rows).await;
            let withheld = ids.iter().zip(&events).filter_map(|(id, event)| match event {
                Event::Withheld(cause) => Some((*id, *cause)),
                _ => None,
            });
            let withheld = withheld.collect();
            let news = known
                .into_iter()
                .zip(events)
                .map(|((id, receipt), event)| News { id, receipt, state: State::Received, event })
                .collect();
            match progress.apply(news).await {
                Ok(again) => Outcome { rows: ids, again, withheld, trouble },
                Err(error) => Outcome { again: ids.clone(), rows: ids, withheld, trouble: Some(error.into()) },
            }
        }
    }

    fn settle(&mut self, outcome: &Outcome) {
        self.size.settle(outcome);
        self.holds.settle(outcome, Instant::now(), &mut OsRng);
    }
}
