//! The aggregators that a camera may submit to, and which one is asked next.
//!
//! For: staying with one as long as it answers, going on to the next when it does not, and not asking one that
//! has just failed. Not for: what an answer means (`verdict`), or when a photograph is tried again (its row).
//!
//! A photograph that an aggregator may have taken in is asked for there again, and nowhere else, until that
//! aggregator has failed for `UploadOptions::move_after`. Then it is better registered by another, which
//! is harmless: a token passes once and a body is recorded once, whoever brings it.

use std::time::Duration;

use birthmark_service::client::{ClientOptions, ClientSetupError, HttpClient};
use parking_lot::Mutex;
use tokio::time::Instant;

/// All of them, in the order of preference.
#[derive(Debug)]
pub(super) struct Aggregators {
    all: Vec<Aggregator>,
    state: Mutex<State>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Aggregator {
    number: usize,
    /// As it was given.
    pub(super) url: String,
    pub(super) client: HttpClient,
}

#[derive(Debug)]
struct State {
    current: usize,
    healths: Vec<Health>,
}

/// What is known of one since this process began.
#[derive(Clone, Copy, Debug)]
struct Health {
    /// Failures in a row, those at the same time counted once.
    failures: u32,
    failing_since: Option<Instant>,
    not_before: Instant,
}

impl Aggregators {
    /// Checks their addresses; there must be one.
    pub(super) fn new(urls: &[String], client: &ClientOptions, now: Instant) -> Result<Self, ClientSetupError> {
        // Without any, this says that an empty address is none.
        let urls = if urls.is_empty() { &[String::new()] } else { urls };
        let all: Vec<_> = (urls.iter().enumerate())
            .map(|(number, url)| Ok(Aggregator { number, url: url.clone(), client: HttpClient::new(url, client)? }))
            .collect::<Result<_, ClientSetupError>>()?;
        let healths = vec![Health { failures: 0, failing_since: None, not_before: now }; all.len()];
        Ok(Self { all, state: Mutex::new(State { current: 0, healths }) })
    }

    /// Who is asked about a photograph that nobody has, or that `holder` may have.
    pub(super) fn choose(&self, holder: Option<&str>, move_after: Duration, now: Instant) -> &Aggregator {
        let mut state = self.state.lock();
        let holder = holder.and_then(|origin| self.all.iter().find(|one| one.client.origin() == origin));
        match holder {
            Some(holder) if !state.is_given_up(holder.number, move_after, now) => holder,
            Some(_) | None => {
                state.current = state.next_ready(state.current, now);
                self.at(state.current)
            }
        }
    }

    /// Who is asked about what anybody may know.
    pub(super) fn current(&self) -> &Aggregator {
        self.at(self.state.lock().current)
    }

    /// It has answered.
    pub(super) fn answered(&self, aggregator: &Aggregator, now: Instant) {
        if let Some(health) = self.state.lock().healths.get_mut(aggregator.number) {
            *health = Health { failures: 0, failing_since: None, not_before: now };
        }
    }

    /// It has not, or could not; `pause` says how long to leave it alone after so many failures. True if
    /// another one can be asked at once.
    pub(super) fn failed(&self, aggregator: &Aggregator, now: Instant, pause: impl FnOnce(u32) -> Duration) -> bool {
        let mut state = self.state.lock();
        if let Some(health) = state.healths.get_mut(aggregator.number) {
            health.failing_since.get_or_insert(now);
            if health.failures == 0 || health.not_before <= now {
                health.not_before = now + pause(health.failures);
                health.failures = health.failures.saturating_add(1);
            }
        }
        if state.current == aggregator.number {
            state.current = state.next_ready((aggregator.number + 1) % self.all.len(), now);
        }
        let is_ready = |(number, health): (usize, &Health)| number != aggregator.number && health.not_before <= now;
        state.healths.iter().enumerate().any(is_ready)
    }

    /// There is always one: see [`Aggregators::new`].
    fn at(&self, number: usize) -> &Aggregator {
        self.all.get(number).unwrap_or(&self.all[0])
    }
}

impl State {
    /// The first that may be asked now, from `start` on; if none may, the one that may be first.
    fn next_ready(&self, start: usize, now: Instant) -> usize {
        let count = self.healths.len();
        let mut order = (0..count).map(|step| (start + step) % count);
        let not_before = |number: usize| self.healths.get(number).map_or(now, |health| health.not_before);
        order
            .clone()
            .find(|number| not_before(*number) <= now)
            .or_else(|| order.by_ref().min_by_key(|number| not_before(*number)))
            .unwrap_or(0)
    }

    fn is_given_up(&self, number: usize, move_after: Duration, now: Instant) -> bool {
        let others = self.healths.len() > 1;
        let failing_since = self.healths.get(number).and_then(|health| health.failing_since);
        others && failing_since.is_some_and(|since| now.saturating_duration_since(since) >= move_after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_mins(5);

    fn three(now: Instant) -> Aggregators {
        let urls = ["http://a.example", "http://b.example", "http://c.example"].map(str::to_owned);
        Aggregators::new(&urls, &ClientOptions::default(), now).unwrap()
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn one_that_answers_is_kept_and_one_that_fails_makes_way() {
        let now = Instant::now();
        let three = three(now);
        let choose = |now| three.choose(None, PATIENCE, now);
        let a = choose(now);
        assert_eq!(a.url, "http://a.example");
        assert!(three.failed(a, now, |_| seconds(10)), "another can be asked at once");
        let b = choose(now);
        assert_eq!(b.url, "http://b.example");
        three.answered(b, now);
        assert_eq!(choose(now + seconds(60)).url, "http://b.example", "though the first one is ready again");
        assert!(three.failed(b, now + seconds(60), |_| seconds(10)));
        assert_eq!(choose(now + seconds(60)).url, "http://c.example");
    }

    #[test]
    fn when_all_have_failed_the_one_is_asked_that_may_be_first() {
        let now = Instant::now();
        let three = three(now);
        let all: Vec<_> = three.all.iter().collect();
        three.failed(all[0], now, |_| seconds(30));
        three.failed(all[1], now, |_| seconds(10));
        assert!(!three.failed(all[2], now, |_| seconds(20)), "nobody is left");
        assert_eq!(three.choose(None, PATIENCE, now).url, "http://b.example");
    }

    #[test]
    fn failures_at_the_same_time_count_once() {
        let now = Instant::now();
        let three = three(now);
        let a = three.choose(None, PATIENCE, now);
        let mut asked = Vec::new();
        for after in [0, 0, 0, 5, 6] {
            three.failed(a, now + seconds(after), |failures| {
                asked.push((after, failures));
                seconds(5)
            });
        }
        assert_eq!(asked, [(0, 0), (5, 1)]);
    }

    #[test]
    fn who_may_have_a_photograph_is_asked_again_until_it_is_given_up() {
        let now = Instant::now();
        let three = three(now);
        let choose = |now| three.choose(Some("http://a.example"), PATIENCE, now);
        let a = choose(now);
        three.failed(a, now, |_| seconds(10));
        assert_eq!(choose(now + seconds(299)).url, "http://a.example");
        assert_eq!(choose(now + seconds(300)).url, "http://b.example");
        three.answered(a, now + seconds(300));
        assert_eq!(choose(now + seconds(999)).url, "http://a.example");
        assert_eq!(three.choose(Some("http://gone.example"), PATIENCE, now).url, "http://b.example");
    }

    #[test]
    fn the_only_one_is_never_given_up() {
        let now = Instant::now();
        let one = Aggregators::new(&["http://a.example".to_owned()], &ClientOptions::default(), now).unwrap();
        let a = one.choose(None, PATIENCE, now);
        assert!(!one.failed(a, now, |_| seconds(900)));
        assert_eq!(one.choose(None, PATIENCE, now).url, "http://a.example");
        assert_eq!(one.choose(Some("http://a.example"), PATIENCE, now + PATIENCE).url, "http://a.example");
        assert!(Aggregators::new(&[], &ClientOptions::default(), now).is_err());
    }
}
