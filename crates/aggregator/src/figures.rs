//! How many submissions stand where, kept in memory.
//!
//! For: the limit on unfinished submissions, and `/api/v1/status`. Counting rows at each request would
//! read the whole backlog just when it is long. Not for: any decision about a single submission.

use std::sync::atomic::{AtomicU64, Ordering};

use birthmark_core::api::submit::SubmissionStatus;

/// The counters. Unfinished ones are exact; ended ones count from this process's start.
#[derive(Debug)]
pub(crate) struct Figures {
    pending: AtomicU64,
    validated: AtomicU64,
    confirmed: AtomicU64,
    rejected: AtomicU64,
    /// Places for unfinished submissions, taken before the row is written.
    unfinished: AtomicU64,
    max_unfinished: u64,
}

impl Figures {
    pub(crate) const fn new(pending: u64, validated: u64, max_unfinished: u64) -> Self {
        Self {
            pending: AtomicU64::new(pending),
            validated: AtomicU64::new(validated),
            confirmed: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            unfinished: AtomicU64::new(pending.saturating_add(validated)),
            max_unfinished,
        }
    }

    /// Takes a place for one more submission, if one is free. It counts as pending from here on: once
    /// its row is written, a stage may move it before the writer hears that it was.
    pub(crate) fn reserve(&self) -> bool {
        let taken = self.unfinished.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |unfinished| {
            (unfinished < self.max_unfinished).then_some(unfinished + 1)
        });
        if taken.is_ok() {
            self.pending.fetch_add(1, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    /// Gives back a place that no row came to fill.
    pub(crate) fn release(&self) {
        self.pending.fetch_sub(1, Ordering::Relaxed);
        self.unfinished.fetch_sub(1, Ordering::Relaxed);
    }

    /// A row has moved on.
    pub(crate) fn moved(&self, from: SubmissionStatus, to: SubmissionStatus) {
        self.counter(from).fetch_sub(1, Ordering::Relaxed);
        self.counter(to).fetch_add(1, Ordering::Relaxed);
        if matches!(to, SubmissionStatus::Confirmed | SubmissionStatus::Rejected) {
            self.unfinished.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn count(&self, status: SubmissionStatus) -> u64 {
        self.counter(status).load(Ordering::Relaxed)
    }

    const fn counter(&self, status: SubmissionStatus) -> &AtomicU64 {
        match status {
            SubmissionStatus::PendingValidation => &self.pending,
            SubmissionStatus::Validated => &self.validated,
            SubmissionStatus::Confirmed => &self.confirmed,
            SubmissionStatus::Rejected => &self.rejected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_and_come_free_at_the_end_only() {
        let figures = Figures::new(1, 0, 2);
        assert!(figures.reserve());
        assert!(!figures.reserve());
        figures.moved(SubmissionStatus::PendingValidation, SubmissionStatus::Validated);
        assert!(!figures.reserve());
        figures.moved(SubmissionStatus::Validated, SubmissionStatus::Confirmed);
        assert_eq!(figures.count(SubmissionStatus::PendingValidation), 1);
        assert!(figures.reserve());
        assert_eq!(figures.count(SubmissionStatus::Confirmed), 1);
    }

    #[test]
    fn place_that_was_not_filled_is_free_again() {
        let figures = Figures::new(0, 0, 1);
        assert!(figures.reserve());
        figures.release();
        assert_eq!(figures.count(SubmissionStatus::PendingValidation), 0);
        assert!(figures.reserve());
    }
}
