//! How many rows are handed over together: fewer after an error, more after a success.
//!
//! For: getting past what a counterparty cannot stomach. A batch that is too slow to answer in time, or
//! one row that makes the other side fail, would otherwise fail for ever and hold up all others. Halving
//! ends at single rows, drawn at random from those that wait, so that the others get through.
//! Not for: when to try again (`gate`).

use birthmark_service::random::OsRng;

use super::mix::shuffle;
use super::stage::Outcome;

/// The present size.
#[derive(Debug)]
pub(super) struct BatchSize {
    now: usize,
    max: usize,
}

impl BatchSize {
    pub(super) const fn new(max: usize) -> Self {
        Self { now: max, max }
    }

    /// Takes as many rows as may go together, at random where there are more, and returns the others.
    pub(super) fn cut<T>(&self, rows: &mut Vec<T>) -> Vec<T> {
        if rows.len() <= self.now {
            return Vec::new();
        }
        shuffle(rows, &mut OsRng);
        rows.split_off(self.now)
    }

    pub(super) fn settle(&mut self, outcome: &Outcome) {
        self.now = if outcome.trouble.is_some() {
            (outcome.rows.len() / 2).clamp(1, self.now)
        } else {
            self.now.saturating_mul(2).min(self.max)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::trouble::Trouble;
    use crate::store::RowId;

    fn outcome(rows: usize, good: bool) -> Outcome {
        let trouble = (!good).then_some(Trouble::Count { got: 0, wanted: rows });
        Outcome { rows: vec![RowId::for_test(1); rows], again: Vec::new(), withheld: Vec::new(), trouble }
    }

    #[test]
    fn errors_halve_down_to_one_and_successes_double_up_to_the_maximum() {
        let mut size = BatchSize::new(256);
        let mut sizes = Vec::new();
        for (rows, good) in [(256, false), (128, false), (3, false), (1, false), (1, true), (2, true), (2, true)] {
            size.settle(&outcome(rows, good));
            sizes.push(size.now);
        }
        assert_eq!(sizes, [128, 64, 1, 1, 2, 4, 8]);
        for _ in 0..9 {
            size.settle(&outcome(1, true));
        }
        assert_eq!(size.now, 256);
    }

    #[test]
    fn late_error_of_a_larger_batch_does_not_raise_the_size() {
        let mut size = BatchSize::new(256);
        size.settle(&outcome(2, false));
        size.settle(&outcome(256, false));
        assert_eq!(size.now, 1);
    }

    #[test]
    fn what_is_cut_off_is_returned() {
        let mut size = BatchSize::new(4);
        let mut rows = vec![1, 2, 3];
        assert!(size.cut(&mut rows).is_empty());
        size.settle(&outcome(2, false));
        let mut all = size.cut(&mut rows);
        assert_eq!(rows.len(), 1);
        all.extend(rows);
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3]);
    }
}
