//! The stage that has tokens judged, one for each authority.
//!
//! For: rows in state received. A row that is not judged because of an error stays in the store as it
//! is; the next pick finds it again, with its token and its request id.

use std::collections::BTreeSet;

use birthmark_service::sqlite::ReadError;

use super::progress::{News, Progress};
use super::size::BatchSize;
use super::stage::{Outcome, Pick, Work};
use super::state::State;
use crate::authority::{Authority, Judgement, MAX_QUESTIONS};
use crate::store::{RowId, ToValidate};

/// The work of validating.
#[derive(Debug)]
pub(crate) struct Validation {
    authority: Authority,
    progress: Progress,
    size: BatchSize,
}

impl Validation {
    pub(crate) const fn new(authority: Authority, progress: Progress) -> Self {
        Self { authority, progress, size: BatchSize::new(MAX_QUESTIONS) }
    }
}

impl Work for Validation {
    type Batch = Vec<ToValidate>;

    async fn pick(&mut self, busy: &BTreeSet<RowId>) -> Result<Pick<Self::Batch>, ReadError> {
        let authority = self.authority.id().as_str().to_owned();
        let mut rows = self.progress.store.to_validate(authority, busy.clone(), MAX_QUESTIONS).await?;
        self.size.cut(&mut rows);
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        Ok(Pick { batch: (!rows.is_empty()).then_some((rows, ids)), look_again: None })
    }

    fn carry_out(&self, rows: Self::Batch) -> impl Future<Output = Outcome> + Send + 'static {
        let (authority, progress) = (self.authority.clone(), self.progress.clone());
        async move {
            let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
            let Judgement { events, trouble } = authority.judge(&rows).await;
            let news = rows
                .into_iter()
                .zip(events)
                .map(|(row, event)| News { id: row.id, receipt: row.receipt, state: State::Received, event })
                .collect();
            match progress.apply(news).await {
                Ok(again) => Outcome { rows: ids, again, trouble },
                Err(error) => Outcome { again: ids.clone(), rows: ids, trouble: Some(error.into()) },
            }
        }
    }

    fn settle(&mut self, outcome: &Outcome) {
        self.size.settle(outcome);
    }
}
