//! When a counterparty that failed is asked again, and by how many batches at a time.
//!
//! For: one authority or the node. After an error it is left alone for a jittered, growing delay; then
//! a single batch tries, and only its success opens the gate fully. Not for: whether an answer is an
//! error (`authority`, `registry`).

use std::time::Duration;

use birthmark_service::backoff::Backoff;
use rand_core::Rng;
use tokio::time::Instant;

/// The state of one counterparty.
#[derive(Debug)]
pub(super) struct Gate {
    backoff: Backoff,
    places: usize,
    trouble: Option<Trouble>,
}

#[derive(Debug)]
struct Trouble {
    since: Instant,
    failures: u64,
    closed_until: Instant,
    logged: Instant,
}

/// What came to an end with a success.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Recovery {
    pub(super) after: Duration,
    pub(super) failures: u64,
}

impl Gate {
    pub(super) const fn new(backoff: Backoff, places: usize) -> Self {
        Self { backoff, places, trouble: None }
    }

    /// Batches that may be under way now.
    pub(super) fn places(&self, now: Instant) -> usize {
        match &self.trouble {
            None => self.places,
            Some(trouble) if now < trouble.closed_until => 0,
            Some(_) => 1,
        }
    }

    /// When the gate opens for its next trial.
    pub(super) fn opens_at(&self, now: Instant) -> Option<Instant> {
        self.trouble.as_ref().map(|trouble| trouble.closed_until).filter(|opens| *opens > now)
    }

    /// A batch met an error; the other side may have named a delay. Says whether to log it: the first
    /// of a row of failures, then one in [`LOG_EVERY`].
    pub(super) fn failed(&mut self, now: Instant, asked: Option<Duration>, rng: &mut impl Rng) -> bool {
        if let Some(trouble) = &mut self.trouble {
            trouble.failures += 1;
            // Batches that were under way when it closed fail with the same outage.
            if now < trouble.closed_until {
                return false;
            }
        }
        let delay = self.backoff.next(rng).max(asked.unwrap_or_default().min(LONGEST_ASKED));
        let closed_until = now + delay;
        if let Some(trouble) = &mut self.trouble {
            trouble.closed_until = closed_until;
            let log = now.duration_since(trouble.logged) >= LOG_EVERY;
            if log {
                trouble.logged = now;
            }
            log
        } else {
            self.trouble = Some(Trouble { since: now, failures: 1, closed_until, logged: now });
            true
        }
    }

    /// A batch went through.
    pub(super) fn succeeded(&mut self, now: Instant) -> Option<Recovery> {
        self.backoff.reset();
        let trouble = self.trouble.take()?;
        Some(Recovery { after: now.duration_since(trouble.since), failures: trouble.failures })
    }

    /// Errors since the last success.
    pub(super) fn failures(&self) -> u64 {
        self.trouble.as_ref().map_or(0, |trouble| trouble.failures)
    }
}

/// While a counterparty stays away.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// A `Retry-After` beyond this is cut: a wrong header must not stop the pipeline for a day.
const LONGEST_ASKED: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use birthmark_service::random::OsRng;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn gate() -> Gate {
        Gate::new(Backoff::new(SECOND, 8 * SECOND), 4)
    }

    #[tokio::test]
    async fn after_an_error_one_batch_tries_and_its_success_opens_the_gate() {
        let (mut gate, start) = (gate(), Instant::now());
        assert_eq!(gate.places(start), 4);
        gate.failed(start, Some(SECOND), &mut OsRng);
        assert_eq!(gate.places(start), 0);
        let opens = gate.opens_at(start).unwrap();
        assert_eq!(gate.places(opens), 1);
        assert_eq!(gate.succeeded(opens), Some(Recovery { after: opens - start, failures: 1 }));
        assert_eq!(gate.places(opens), 4);
        assert_eq!(gate.succeeded(opens), None);
    }

    #[tokio::test]
    async fn batches_failing_in_the_same_outage_do_not_lengthen_the_delay() {
        let (mut gate, start) = (gate(), Instant::now());
        gate.failed(start, Some(SECOND), &mut OsRng);
        let opens = gate.opens_at(start);
        for _ in 0..3 {
            gate.failed(start, Some(9 * SECOND), &mut OsRng);
        }
        assert_eq!(gate.opens_at(start), opens);
        assert_eq!(gate.failures(), 4);
    }

    #[tokio::test]
    async fn asked_delay_is_granted_up_to_a_minute() {
        let (mut gate, start) = (gate(), Instant::now());
        gate.failed(start, Some(86_400 * SECOND), &mut OsRng);
        assert_eq!(gate.opens_at(start), Some(start + 60 * SECOND));
    }

    #[tokio::test]
    async fn failures_are_logged_first_and_then_twice_a_minute() {
        let (mut gate, start) = (gate(), Instant::now());
        let logged = (0..120u32).filter(|i| gate.failed(start + *i * SECOND, None, &mut OsRng)).count();
        assert!((3..=5).contains(&logged), "{logged}");
    }
}
