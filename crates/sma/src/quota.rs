//! How many tokens of one camera may pass a day.
//!
//! For: the limits and the count of the day. Not for: when a camera was used: of each day only the number
//! of passes is kept, and only until the next day with one.

use serde::{Deserialize, Serialize};

use crate::replay::Day;

/// Passes of one device and day: at `warn` the operator is told, and at `stop`, from which on none passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Told once, at this pass of the day.
    pub warn: u32,
    /// Most passes a day.
    pub stop: u32,
}

/// One device's own limits, where it has any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuotaOverride {
    /// As [`Quota::warn`]; the general one if there is none.
    #[serde(default)]
    pub warn: Option<u32>,
    /// As [`Quota::stop`]; the general one if there is none.
    #[serde(default)]
    pub stop: Option<u32>,
}

/// What an operator is told of a camera at one of its passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// It has come near its quota.
    Near,
    /// This was the last pass of the day.
    Last,
}

/// Passes of the latest day with any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) day: Day,
    pub(crate) count: u32,
}

impl Default for Quota {
    /// More than a photographer makes of a day, less than a thief would need.
    fn default() -> Self {
        Self { warn: 8_000, stop: 10_000 }
    }
}

impl Quota {
    /// What is to be told at this pass of the day.
    pub(crate) const fn notice(self, count: u32) -> Option<Notice> {
        if count == self.stop {
            Some(Notice::Last)
        } else if count == self.warn {
            Some(Notice::Near)
        } else {
            None
        }
    }

    pub(crate) fn of_device(self, own: QuotaOverride) -> Self {
        Self { warn: own.warn.unwrap_or(self.warn), stop: own.stop.unwrap_or(self.stop) }
    }
}

impl Tally {
    /// The count as it stands today.
    ///
    /// A row of tomorrow still counts: of two authorities one may have passed midnight first, and the other
    /// must not start anew. One from further ahead was written under a wrong clock and does not.
    pub(crate) fn on(self, today: Day) -> Self {
        let same = self.day == today || self.day == today.next();
        if same { self } else { Self { day: today, count: 0 } }
    }

    /// One pass more.
    pub(crate) const fn plus_one(self) -> Self {
        Self { day: self.day, count: self.count.saturating_add(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_limits_replace_the_general_ones_one_by_one() {
        let general = Quota::default();
        assert_eq!(general.of_device(QuotaOverride::default()), Quota { warn: 8_000, stop: 10_000 });
        assert_eq!(general.of_device(QuotaOverride { warn: None, stop: Some(5) }), Quota { warn: 8_000, stop: 5 });
        assert_eq!(general.of_device(QuotaOverride { warn: Some(0), stop: None }), Quota { warn: 0, stop: 10_000 });
    }

    #[test]
    fn count_starts_anew_each_day_and_forgives_a_wrong_clock() {
        let tally = |day, count| Tally { day: Day(day), count };
        assert_eq!(tally(100, 7).on(Day(100)), tally(100, 7));
        assert_eq!(tally(100, 7).on(Day(101)), tally(101, 0));
        assert_eq!(tally(101, 7).on(Day(100)), tally(101, 7));
        assert_eq!(tally(102, 7).on(Day(100)), tally(100, 0));
        assert_eq!(tally(0, 0).on(Day(100)), tally(100, 0));
        assert_eq!(tally(100, u32::MAX).plus_one(), tally(100, u32::MAX));
    }
}
