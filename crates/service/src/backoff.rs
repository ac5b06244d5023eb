//! How long to wait before trying again: exponential back-off with full jitter.
//!
//! For: the arithmetic alone. Not for: the waiting, or the decision whether to try again
//! (`client::ClientError::is_retryable`).
//!
//! The n-th delay is uniform in `0..=min(max, base * 2^n)`. Jitter over the whole range spreads the
//! returning clients of a server that was down; jitter over a part would let them come back together.

use std::time::Duration;

use rand_core::Rng;

/// The state of one sequence of attempts.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    max: Duration,
    cap: Duration,
}

impl Backoff {
    /// Delays start below `base`, double, and never exceed `max`.
    pub fn new(base: Duration, max: Duration) -> Self {
        Self { base, max, cap: base.min(max) }
    }

    /// The next delay.
    pub fn next(&mut self, rng: &mut impl Rng) -> Duration {
        let cap = self.cap;
        self.cap = cap.saturating_mul(2).min(self.max);
        let nanos = u64::try_from(cap.as_nanos()).unwrap_or(u64::MAX);
        // The high half of a 128-bit product maps a random u64 evenly onto 0..=nanos.
        let product = u128::from(rng.next_u64()) * (u128::from(nanos) + 1);
        Duration::from_nanos(u64::try_from(product >> 64).unwrap_or(nanos))
    }

    /// Starts over, after a success.
    pub fn reset(&mut self) {
        self.cap = self.base.min(self.max);
    }
}

#[cfg(test)]
mod tests {
    use core::convert::Infallible;

    use rand_core::TryRng;

    use super::*;

    /// Always the same number.
    struct Constant(u64);

    impl TryRng for Constant {
        type Error = Infallible;
        fn try_next_u32(&mut self) -> Result<u32, Infallible> {
            Ok(u32::try_from(self.0 >> 32).unwrap())
        }
        fn try_next_u64(&mut self) -> Result<u64, Infallible> {
            Ok(self.0)
        }
        fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
            dst.fill(0);
            Ok(())
        }
    }

    fn millis(backoff: &mut Backoff, rng: u64, n: usize) -> Vec<u128> {
        (0..n).map(|_| backoff.next(&mut Constant(rng)).as_millis()).collect()
    }

    #[test]
    fn upper_bound_doubles_to_the_maximum_and_starts_over() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(500));
        assert_eq!(millis(&mut backoff, u64::MAX, 5), [100, 200, 400, 500, 500]);
        backoff.reset();
        assert_eq!(millis(&mut backoff, u64::MAX, 2), [100, 200]);
    }

    #[test]
    fn jitter_covers_the_whole_range() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(500));
        assert_eq!(millis(&mut backoff, 0, 2), [0, 0]);
        assert_eq!(millis(&mut backoff, 1 << 63, 1), [200]);
    }

    #[test]
    fn extreme_durations_do_not_overflow() {
        let mut backoff = Backoff::new(Duration::MAX, Duration::MAX);
        assert_eq!(backoff.next(&mut Constant(u64::MAX)), Duration::from_nanos(u64::MAX));
        let mut backoff = Backoff::new(Duration::from_secs(9), Duration::ZERO);
        assert_eq!(backoff.next(&mut Constant(u64::MAX)), Duration::ZERO);
    }
}
