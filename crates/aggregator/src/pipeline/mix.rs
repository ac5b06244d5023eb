//! When validated submissions are released to the registry, and in what order.
//!
//! For: hiding which token vouched for which record. The authority sees when a token is judged; if each
//! record followed at once, time alone would join the two. Records are therefore released together and
//! shuffled. Unlinkability holds within one release, against an authority that does not collude with
//! this aggregator. Not for: hiding anything from the aggregator itself.
//!
//! `docs/PROTOCOL.md` section 6: once `mix_min` have gathered or `mix_delay` has passed; zero releases
//! at once.

use std::time::Duration;

use rand_core::Rng;
use tokio::time::Instant;

/// What gathers.
#[derive(Debug)]
pub(super) struct Mixer {
    min: usize,
    delay: Duration,
    gathering_since: Option<Instant>,
}

/// Whether those that wait may go.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Release {
    /// All of them.
    Now,
    /// Not before this time, unless more come.
    At(Instant),
    /// There is nobody.
    Nobody,
}

impl Mixer {
    pub(super) const fn new(min: usize, delay: Duration) -> Self {
        Self { min, delay, gathering_since: None }
    }

    /// Decides for `waiting` submissions. Those released must not be counted again.
    pub(super) fn release(&mut self, waiting: usize, now: Instant) -> Release {
        if waiting == 0 {
            self.gathering_since = None;
            return Release::Nobody;
        }
        let ripe = *self.gathering_since.get_or_insert(now) + self.delay;
        if waiting < self.min && now < ripe {
            return Release::At(ripe);
        }
        self.gathering_since = None;
        Release::Now
    }
}

/// Puts the items into an order of which all are equally likely (Fisher and Yates, 1938).
pub(super) fn shuffle<T>(items: &mut [T], rng: &mut impl Rng) {
    for at in (1..items.len()).rev() {
        let choices = u128::try_from(at).unwrap_or(0) + 1;
        // The high half of the product maps a random u64 evenly onto 0..=at.
        let other = usize::try_from((u128::from(rng.next_u64()) * choices) >> 64).unwrap_or(at);
        items.swap(at, other);
    }
}

#[cfg(test)]
mod tests {
    use birthmark_service::random::OsRng;

    use super::*;

    const DELAY: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn enough_are_released_at_once_and_fewer_after_the_delay() {
        let (mut mixer, start) = (Mixer::new(3, DELAY), Instant::now());
        assert_eq!(mixer.release(0, start), Release::Nobody);
        assert_eq!(mixer.release(1, start), Release::At(start + DELAY));
        assert_eq!(mixer.release(2, start + DELAY / 2), Release::At(start + DELAY));
        assert_eq!(mixer.release(3, start + DELAY / 2), Release::Now);
        let later = start + 2 * DELAY;
        assert_eq!(mixer.release(1, later), Release::At(later + DELAY));
        assert_eq!(mixer.release(1, later + DELAY), Release::Now);
    }

    #[tokio::test]
    async fn zero_delay_releases_at_once() {
        assert_eq!(Mixer::new(16, Duration::ZERO).release(1, Instant::now()), Release::Now);
    }

    #[test]
    fn every_order_of_three_comes_up() {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            let mut items = [0, 1, 2];
            shuffle(&mut items, &mut OsRng);
            seen.insert(items);
        }
        assert_eq!(seen.len(), 6);
    }
}
