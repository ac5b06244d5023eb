//! Carrying out what `state::next` decides: store first, then tell those whom it concerns.
//!
//! For: both stages. Not for: deciding anything.

use std::sync::Arc;

use tokio::sync::Notify;
use uuid::Uuid;

use super::state::{Effect, Event, State, next};
use crate::figures::Figures;
use crate::store::{Move, RowId, Store, StoreError};
use crate::waiters::Waiters;

/// Whom a move may concern.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) figures: Arc<Figures>,
    pub(crate) waiters: Waiters,
    /// Wakes the posting stage.
    pub(crate) poster: Arc<Notify>,
}

/// What was learnt about a row in a given state.
#[derive(Debug)]
pub(super) struct News {
    pub(super) id: RowId,
    pub(super) receipt: Uuid,
    pub(super) state: State,
    pub(super) event: Event,
}

impl Progress {
    /// Moves the rows, durably, and returns those about which nothing was decided. On an error no row
    /// has moved.
    pub(super) async fn apply(&self, news: Vec<News>) -> Result<Vec<RowId>, StoreError> {
        let mut again = Vec::new();
        let mut moves = Vec::with_capacity(news.len());
        let mut followed_by = Vec::with_capacity(news.len());
        for News { id, receipt, state, event } in news {
            let (to, effects) = next(state.clone(), event);
            if effects.contains(&Effect::TryAgain) {
                again.push(id);
            }
            if to != state {
                moves.push(Move { id, from: state, to });
                followed_by.push((receipt, effects));
            }
        }
        if moves.is_empty() {
            return Ok(again);
        }
        let statuses: Vec<_> = moves.iter().map(|change| (change.from.status(), change.to.status())).collect();
        let stored = self.store.advance(moves).await?;
        for ((stored, (from, to)), (receipt, effects)) in stored.into_iter().zip(statuses).zip(followed_by) {
            if !stored {
                // Another aggregator, which took us for dead, was faster.
                self.figures.lost(from);
                self.waiters.wake(receipt);
                continue;
            }
            self.figures.moved(from, to);
            for effect in effects {
                match effect {
                    Effect::WakePoster => self.poster.notify_one(),
                    Effect::WakeWaiters => self.waiters.wake(receipt),
                    // The first is part of storing the move, the second is the answer to the caller.
                    Effect::EraseToken | Effect::TryAgain => {}
                }
            }
        }
        Ok(again)
    }
}
