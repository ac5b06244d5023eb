//! Rows that an authority has passed without an endorsement that we could use.
//!
//! For: asking about each of them again after a delay of its own, so that they hold up no others, and
//! showing operators that they are there. Not for: a counterparty that fails altogether (`gate`).
//!
//! A failed endorsement is asked for again after a growing delay. One under a key that our network file
//! does not have waits for the next start: the file is read then, and until then nothing can change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use birthmark_service::backoff::Backoff;
use rand_core::Rng;
use tokio::time::Instant;

use super::stage::Outcome;
use super::state::Withheld;
use crate::store::RowId;

/// The rows of one stage. Their number is bounded by that of all unfinished submissions.
#[derive(Debug)]
pub(super) struct Holds {
    rows: BTreeMap<RowId, Hold>,
    delay: Backoff,
    figures: Arc<HoldFigures>,
    logged: Option<Instant>,
}

/// How many rows are held, for those who look at it from outside.
#[derive(Debug, Default)]
pub(crate) struct HoldFigures {
    endorsement_failed: AtomicUsize,
    unknown_key: AtomicUsize,
}

#[derive(Debug)]
struct Hold {
    cause: Withheld,
    /// None: not before the next start.
    due: Option<Instant>,
    delay: Backoff,
}

impl Holds {
    pub(super) fn new(base: Duration, figures: Arc<HoldFigures>) -> Self {
        Self { rows: BTreeMap::new(), delay: Backoff::new(base, LONGEST_DELAY), figures, logged: None }
    }

    /// Adds the rows that are not to be asked about now.
    pub(super) fn skip(&self, skip: &mut BTreeSet<RowId>, now: Instant) {
        skip.extend(self.rows.iter().filter(|(_, hold)| hold.due.is_none_or(|due| due > now)).map(|(id, _)| *id));
    }

    /// When the next of them may be asked about.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        self.rows.values().filter_map(|hold| hold.due).filter(|due| *due > now).min()
    }

    /// Takes note of an outcome: holds what was withheld, lets go of what has moved.
    pub(super) fn settle(&mut self, outcome: &Outcome, now: Instant, rng: &mut impl Rng) {
        let again: BTreeSet<_> = outcome.again.iter().collect();
        for id in outcome.rows.iter().filter(|id| !again.contains(id)) {
            self.rows.remove(id);
        }
        for (id, cause) in &outcome.withheld {
            let hold =
                self.rows.entry(*id).or_insert_with(|| Hold { cause: *cause, due: None, delay: self.delay.clone() });
            hold.cause = *cause;
            hold.due = match cause {
                Withheld::EndorsementFailed => Some(now + hold.delay.next(rng)),
                Withheld::UnknownKey => None,
            };
        }
        self.show(now);
    }

    fn show(&mut self, now: Instant) {
        let unknown_key = self.rows.values().filter(|hold| hold.cause == Withheld::UnknownKey).count();
        self.figures.unknown_key.store(unknown_key, Ordering::Relaxed);
        self.figures.endorsement_failed.store(self.rows.len() - unknown_key, Ordering::Relaxed);
        if self.rows.is_empty() {
            self.logged = None;
        } else if self.logged.is_none_or(|logged| now.duration_since(logged) >= LOG_EVERY) {
            self.logged = Some(now);
            for (cause, submissions) in self.figures.all().filter(|(_, submissions)| *submissions > 0) {
                let (cause, what) = (cause.name(), advice(cause));
                tracing::warn!(cause, submissions, "passed by the authority and held back: {what}");
            }
        }
    }
}

impl HoldFigures {
    /// Rows held for each cause.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Withheld, usize)> {
        [
            (Withheld::EndorsementFailed, self.endorsement_failed.load(Ordering::Relaxed)),
            (Withheld::UnknownKey, self.unknown_key.load(Ordering::Relaxed)),
        ]
        .into_iter()
    }

    pub(crate) fn any(&self) -> bool {
        self.all().any(|(_, rows)| rows > 0)
    }
}

const fn advice(cause: Withheld) -> &'static str {
    match cause {
        Withheld::EndorsementFailed => "its blind signatures are missing or wrong; it will be asked again",
        Withheld::UnknownKey => "the endorsement key is not in the network file; start again with a newer one",
    }
}

/// Between two attempts at one row.
const LONGEST_DELAY: Duration = Duration::from_mins(1);

/// While rows are held.
const LOG_EVERY: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use birthmark_service::random::OsRng;

    use super::*;

    const BASE: Duration = Duration::from_secs(1);
    const A: RowId = RowId::for_test(1);
    const B: RowId = RowId::for_test(2);

    fn holds() -> Holds {
        Holds::new(BASE, Arc::default())
    }

    fn outcome(rows: &[RowId], withheld: &[(RowId, Withheld)]) -> Outcome {
        let again = withheld.iter().map(|(id, _)| *id).collect();
        Outcome { rows: rows.to_vec(), again, withheld: withheld.to_vec(), trouble: None }
    }

    fn skipped(holds: &Holds, now: Instant) -> Vec<RowId> {
        let mut skip = BTreeSet::new();
        holds.skip(&mut skip, now);
        skip.into_iter().collect()
    }

    fn figures(holds: &Holds) -> Vec<usize> {
        holds.figures.all().map(|(_, rows)| rows).collect()
    }

    #[tokio::test]
    async fn failed_endorsement_is_asked_for_again_at_its_time_and_let_go_once_it_has_moved() {
        let (mut holds, now) = (holds(), Instant::now());
        holds.settle(&outcome(&[A, B], &[(A, Withheld::EndorsementFailed)]), now, &mut OsRng);
        let due = holds.next_due(now).unwrap();
        assert!(due <= now + BASE);
        assert_eq!((skipped(&holds, now), skipped(&holds, due)), (vec![A], vec![]));
        assert_eq!((figures(&holds), holds.figures.any()), (vec![1, 0], true));
        holds.settle(&outcome(&[A], &[]), due, &mut OsRng);
        assert_eq!((figures(&holds), holds.figures.any()), (vec![0, 0], false));
        assert_eq!(holds.next_due(now), None);
    }

    #[tokio::test]
    async fn delays_grow_for_each_row_and_never_exceed_a_minute() {
        let (mut holds, now) = (holds(), Instant::now());
        let mut longest = Duration::ZERO;
        for _ in 0..200 {
            holds.settle(&outcome(&[A], &[(A, Withheld::EndorsementFailed)]), now, &mut OsRng);
            longest = longest.max(holds.rows[&A].due.unwrap() - now);
        }
        // Of 190 draws from a minute, one in 2^190 times none is above half of it.
        assert!(longest > LONGEST_DELAY / 2 && longest <= LONGEST_DELAY, "{longest:?}");
        holds.settle(&outcome(&[B], &[(B, Withheld::EndorsementFailed)]), now, &mut OsRng);
        assert!(holds.rows[&B].due.unwrap() <= now + BASE);
    }

    #[tokio::test]
    async fn unknown_key_waits_for_the_next_start() {
        let (mut holds, now) = (holds(), Instant::now());
        holds.settle(&outcome(&[A], &[(A, Withheld::UnknownKey)]), now, &mut OsRng);
        assert_eq!(holds.next_due(now), None);
        assert_eq!(skipped(&holds, now + Duration::from_hours(24)), [A]);
        assert_eq!(figures(&holds), [0, 1]);
    }

    #[tokio::test]
    async fn error_in_between_lets_go_of_nothing() {
        let (mut holds, now) = (holds(), Instant::now());
        holds.settle(&outcome(&[A], &[(A, Withheld::EndorsementFailed)]), now, &mut OsRng);
        let error = Outcome { rows: vec![A], again: vec![A], withheld: Vec::new(), trouble: None };
        holds.settle(&error, now, &mut OsRng);
        assert_eq!(figures(&holds), [1, 0]);
    }
}
