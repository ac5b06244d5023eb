//! How many submissions stand where, kept in memory.
//!
//! For: the limit on unfinished submissions, and `/api/v1/status`. Counting rows at each request would
//! read the whole backlog just when it is long. Not for: any decision about a single submission.

use std::sync::atomic::{AtomicU64, Ordering};

use birthmark_core::api::submit::SubmissionStatus;

use crate::store::Backlog;

/// The counters. Unfinished ones are exact where nobody else uses the database; ended ones count from this process's start.
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
    pub(crate) const fn new(backlog: Backlog, max_unfinished: u64) -> Self {
        let Backlog { pending, validated } = backlog;
        Self {
            pending: AtomicU64::new(pending),
            validated: AtomicU64::new(validated),
            confirmed: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            unfinished: AtomicU64::new(pending.saturating_add(validated)),
            max_unfinished,
        }
    }

    /// Takes a place for one more submission, if one is free. It counts from here on as what it begins as, pending
    /// or validated: once its row is written, a stage may move it before the writer hears that it was.
    pub(crate) fn reserve(&self, begins: SubmissionStatus) -> bool {
        let taken = self.unfinished.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |unfinished| {
            (unfinished < self.max_unfinished).then_some(unfinished + 1)
        });
        if taken.is_ok() {
            self.counter(begins).fetch_add(1, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    /// Gives back a place that no row came to fill.
    pub(crate) fn release(&self, begins: SubmissionStatus) {
        lower(self.counter(begins));
        lower(&self.unfinished);
    }

    /// Rows of another are ours now, beyond the limit if need be.
    pub(crate) fn adopted(&self, rows: Backlog) {
        self.pending.fetch_add(rows.pending, Ordering::Relaxed);
        self.validated.fetch_add(rows.validated, Ordering::Relaxed);
        self.unfinished.fetch_add(rows.pending.saturating_add(rows.validated), Ordering::Relaxed);
    }

    /// A row of ours was moved by another.
    pub(crate) fn lost(&self, from: SubmissionStatus) {
        lower(self.counter(from));
        lower(&self.unfinished);
    }

    /// Counted anew, after others may have taken rows of ours. Off by what is being written meanwhile.
    pub(crate) fn recount(&self, rows: Backlog) {
        self.pending.store(rows.pending, Ordering::Relaxed);
        self.validated.store(rows.validated, Ordering::Relaxed);
        self.unfinished.store(rows.pending.saturating_add(rows.validated), Ordering::Relaxed);
    }

    /// A row has moved on.
    pub(crate) fn moved(&self, from: SubmissionStatus, to: SubmissionStatus) {
        lower(self.counter(from));
        self.counter(to).fetch_add(1, Ordering::Relaxed);
        if matches!(to, SubmissionStatus::Confirmed | SubmissionStatus::Rejected) {
            lower(&self.unfinished);
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

/// By one, not below none: after a recount a row may be counted off twice.
fn lower(counter: &AtomicU64) {
    let _ = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_and_come_free_at_the_end_only() {
        let figures = Figures::new(Backlog { pending: 1, validated: 0 }, 2);
        assert!(figures.reserve(SubmissionStatus::PendingValidation));
        assert!(!figures.reserve(SubmissionStatus::PendingValidation));
        figures.moved(SubmissionStatus::PendingValidation, SubmissionStatus::Validated);
        assert!(!figures.reserve(SubmissionStatus::PendingValidation));
        figures.moved(SubmissionStatus::Validated, SubmissionStatus::Confirmed);
        assert_eq!(figures.count(SubmissionStatus::PendingValidation), 1);
        assert!(figures.reserve(SubmissionStatus::PendingValidation));
        assert_eq!(figures.count(SubmissionStatus::Confirmed), 1);
    }

    #[test]
    fn place_that_was_not_filled_is_free_again() {
        let figures = Figures::new(Backlog::default(), 1);
        assert!(figures.reserve(SubmissionStatus::PendingValidation));
        figures.release(SubmissionStatus::PendingValidation);
        assert_eq!(figures.count(SubmissionStatus::PendingValidation), 0);
        assert!(figures.reserve(SubmissionStatus::PendingValidation));
    }

    #[test]
    fn rows_come_from_others_and_go_to_them_and_no_count_falls_below_none() {
        let figures = Figures::new(Backlog::default(), 3);
        figures.adopted(Backlog { pending: 2, validated: 1 });
        assert!(!figures.reserve(SubmissionStatus::PendingValidation));
        figures.lost(SubmissionStatus::Validated);
        assert!(figures.reserve(SubmissionStatus::PendingValidation));
        figures.recount(Backlog { pending: 1, validated: 0 });
        for _ in 0..3 {
            figures.moved(SubmissionStatus::PendingValidation, SubmissionStatus::Rejected);
        }
        assert_eq!(figures.count(SubmissionStatus::PendingValidation), 0);
        assert!(figures.reserve(SubmissionStatus::PendingValidation));
    }
}
