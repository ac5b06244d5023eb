//! How much of something a peer may have in a while.
//!
//! For: bounding what another validator can make this one do. Not for: HTTP clients (`birthmark-service`).

use std::time::Duration;

use tokio::time::Instant;

/// A bucket that fills with time and is emptied by use.
#[derive(Debug)]
pub(crate) struct Allowance {
    most: u32,
    per_second: u32,
    left: u32,
    since: Option<Instant>,
}

impl Allowance {
    /// `most` at once, `per_second` in the long run.
    pub(crate) const fn new(most: u32, per_second: u32) -> Self {
        Self { most, per_second, left: most, since: None }
    }

    /// Uses one up; false if there is none.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let earned = now.saturating_duration_since(since).as_millis() * u128::from(self.per_second) / 1_000;
        if earned > 0 {
            let room = self.most.saturating_sub(self.left);
            self.left += u32::try_from(earned).unwrap_or(u32::MAX).min(room);
            // What is left of a second counts on, so that a slow rate is not rounded to nothing.
            let paid = Duration::from_millis(u64::try_from(earned * 1_000 / u128::from(self.per_second)).unwrap_or(0));
            self.since = since.checked_add(paid).or(Some(now));
        }
        let taken = self.left > 0;
        self.left = self.left.saturating_sub(1);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_burst_and_then_the_rate() {
        let start = Instant::now();
        let mut allowance = Allowance::new(3, 10);
        let at = |millis: u64| start + Duration::from_millis(millis);
        assert_eq!([(); 4].map(|()| allowance.take(at(0))), [true, true, true, false]);
        assert!(!allowance.take(at(99)));
        assert!(allowance.take(at(100)));
        assert!(!allowance.take(at(199)));
        assert!(allowance.take(at(200)));
        assert_eq!([(); 4].map(|()| allowance.take(at(60_000))), [true, true, true, false], "never more than the most");
    }
}
