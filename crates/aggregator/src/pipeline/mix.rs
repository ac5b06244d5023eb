//! When validated submissions are released to the registry, and in what order.
//!
//! For: hiding which token vouched for which record. The authority sees when a token is judged; if each
//! record followed at once, time alone would join the two. Records are therefore released together and
//! shuffled. Unlinkability holds within one release, against an authority that does not collude with
//! this aggregator. Not for: hiding anything from the aggregator itself.
//!
//! `docs/PROTOCOL.md` section 6: once `mix_min` have gathered or `mix_delay` has passed; zero releases
//! at once. Captures of each authority gather by themselves, and edits too: an authority that knows which
//! records are its cameras' has to find `mix_min` of those.

use std::collections::BTreeMap;
use std::time::Duration;

use birthmark_core::body::{Body, Level};
use birthmark_core::ids::AuthorityId;
use rand_core::Rng;
use tokio::time::Instant;

/// Those among whom one is hidden.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Crowd {
    authority: AuthorityId,
    is_edit: bool,
}

/// What gathers, of all crowds.
#[derive(Debug)]
pub(super) struct Mixers {
    min: usize,
    delay: Duration,
    /// Of crowds in which somebody waits.
    gathering: BTreeMap<Crowd, Mixer>,
}

impl Crowd {
    pub(super) fn of(body: &Body) -> Self {
        let is_edit = body.entries.as_slice().iter().any(|entry| entry.level == Level::Modified);
        Self { authority: body.authority.clone(), is_edit }
    }
}

impl Mixers {
    pub(super) const fn new(min: usize, delay: Duration) -> Self {
        Self { min, delay, gathering: BTreeMap::new() }
    }

    /// Those that may go, and when the next may.
    pub(super) fn release<T>(
        &mut self,
        waiting: Vec<T>,
        crowd: impl Fn(&T) -> Crowd,
        now: Instant,
    ) -> (Vec<T>, Option<Instant>) {
        let mut crowds: BTreeMap<Crowd, Vec<T>> = BTreeMap::new();
        for one in waiting {
            crowds.entry(crowd(&one)).or_default().push(one);
        }
        self.gathering.retain(|crowd, _| crowds.contains_key(crowd));
        let (mut released, mut next) = (Vec::new(), None);
        for (crowd, members) in crowds {
            let mixer = self.gathering.entry(crowd).or_insert_with(|| Mixer::new(self.min, self.delay));
            match mixer.release(members.len(), now) {
                Release::Now => released.extend(members),
                Release::At(ripe) => next = next.into_iter().chain([ripe]).min(),
            }
        }
        (released, next)
    }
}

/// What gathers of one crowd.
#[derive(Debug)]
struct Mixer {
    min: usize,
    delay: Duration,
    gathering_since: Option<Instant>,
}

/// Whether those that wait may go.
#[derive(Debug, PartialEq, Eq)]
enum Release {
    /// All of them.
    Now,
    /// Not before this time, unless more come.
    At(Instant),
}

impl Mixer {
    const fn new(min: usize, delay: Duration) -> Self {
        Self { min, delay, gathering_since: None }
    }

    /// Decides for `waiting` submissions, at least one. Those released must not be counted again.
    fn release(&mut self, waiting: usize, now: Instant) -> Release {
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
        assert_eq!(mixer.release(1, start), Release::At(start + DELAY));
        assert_eq!(mixer.release(2, start + DELAY / 2), Release::At(start + DELAY));
        assert_eq!(mixer.release(3, start + DELAY / 2), Release::Now);
        let later = start + 2 * DELAY;
        assert_eq!(mixer.release(1, later), Release::At(later + DELAY));
        assert_eq!(mixer.release(1, later + DELAY), Release::Now);
    }

    #[tokio::test]
    async fn edits_and_other_authorities_captures_release_nobody() {
        let crowd = |(authority, is_edit): &(&str, bool)| Crowd {
            authority: AuthorityId::new(*authority).unwrap(),
            is_edit: *is_edit,
        };
        let (mut mixers, start) = (Mixers::new(3, DELAY), Instant::now());
        let waiting = vec![("A", false), ("A", false), ("B", false), ("A", true), ("E", true), ("E", true)];
        assert_eq!(mixers.release(waiting.clone(), crowd, start), (vec![], Some(start + DELAY)));
        let more = [waiting.clone(), vec![("E", true)]].concat();
        let (released, next) = mixers.release(more, crowd, start + DELAY / 2);
        assert_eq!((released, next), (vec![("E", true); 3], Some(start + DELAY)), "the captures still wait");
        let (released, next) = mixers.release([&waiting[..4], &[("A", false)]].concat(), crowd, start + DELAY / 2);
        assert_eq!((released, next), (vec![("A", false); 3], Some(start + DELAY)));
        let (released, next) = mixers.release(vec![("B", false), ("A", true)], crowd, start + DELAY);
        assert_eq!((released.len(), next), (2, None));
        assert_eq!(mixers.release(vec![("B", false)], crowd, start + DELAY), (vec![], Some(start + 2 * DELAY)));
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
