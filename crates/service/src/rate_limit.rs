//! How much one client may ask for in a span of time.
//!
//! For: counting per client with bounded memory, and telling the client where it stands. Not for: who the
//! client is (`peer`), or what is counted (each role's own).
//!
//! ```text
//! RateLimit-Policy: "default";q=500;w=600        draft-ietf-httpapi-ratelimit-headers
//! RateLimit: "default";r=499;t=600
//! ```
//! A client's window begins with its first request and ends after its time, whatever happened in it: what the
//! header fields say is then exactly so. Buckets that refill (the crate `governor` has them) allow up to twice
//! the quota in one window, and keep a row for each client until they are swept; here the oldest window makes
//! way once there are too many.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::problem::Problem;

/// So many in so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Requests of one window.
    pub requests: u32,
    /// How long a window is, in whole seconds.
    pub window: Duration,
}

/// Who is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// Whoever comes from there.
    Address(IpAddr),
    /// The holder of a credential, wherever it comes from.
    Named(Arc<str>),
}

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        Self::Address(address)
    }
}

/// Counts for each client.
#[derive(Debug)]
pub struct RateLimiter {
    name: &'static str,
    quota: Quota,
    clients: Mutex<Clients>,
    capacity: usize,
}

/// Where a client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    name: &'static str,
    quota: Quota,
    remaining: u32,
    reset: Duration,
}

/// Nothing was counted: there was no room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded(pub Standing);

#[derive(Debug, Default)]
struct Clients {
    windows: HashMap<Client, Window>,
    /// In the order of their beginnings, and so of their ends.
    begun: VecDeque<(Instant, Client)>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    began: Instant,
    used: u32,
}

impl RateLimiter {
    /// At most `capacity` clients are remembered at one time. The name is what the header fields call the limit.
    pub fn new(name: &'static str, quota: Quota, capacity: usize) -> Self {
        Self { name, quota, clients: Mutex::default(), capacity: capacity.max(1) }
    }

    /// Counts `requests` of a client if they all fit.
    pub fn take(&self, client: Client, requests: u32, now: Instant) -> Result<Standing, Exceeded> {
        self.take_of(self.quota.requests, client, requests, now)
    }

    /// The same for a client who may ask for so many in a window.
    pub fn take_of(&self, allowed: u32, client: Client, requests: u32, now: Instant) -> Result<Standing, Exceeded> {
        let quota = Quota { requests: allowed, ..self.quota };
        let mut clients = self.clients.lock();
        clients.forget_ended(now, self.quota.window);
        let known = clients.windows.get(&client).copied();
        let mut window = known.unwrap_or(Window { began: now, used: 0 });
        let used = window.used.saturating_add(requests);
        if used > allowed {
            return Err(Exceeded(self.standing(quota, window, now)));
        }
        window.used = used;
        if known.is_none() {
            while clients.windows.len() >= self.capacity && clients.forget_oldest() {}
            clients.begun.push_back((now, client.clone()));
        }
        clients.windows.insert(client, window);
        Ok(self.standing(quota, window, now))
    }

    fn standing(&self, quota: Quota, window: Window, now: Instant) -> Standing {
        let passed = now.saturating_duration_since(window.began);
        let reset = quota.window.saturating_sub(passed);
        Standing { name: self.name, quota, remaining: quota.requests.saturating_sub(window.used), reset }
    }
}

impl Clients {
    fn forget_ended(&mut self, now: Instant, window: Duration) {
        while self.begun.front().is_some_and(|(began, _)| now.saturating_duration_since(*began) >= window) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) -> bool {
        let Some((_, client)) = self.begun.pop_front() else { return false };
        self.windows.remove(&client);
        true
    }
}

impl Standing {
    /// Adds the two header fields, unless they are there: what was counted last says where the client stands.
    pub fn apply(&self, headers: &mut HeaderMap) {
        let Quota { requests, window } = self.quota;
        let seconds = whole(self.reset);
        let policy = format!("\"{}\";q={requests};w={}", self.name, window.as_secs());
        let standing = format!("\"{}\";r={};t={seconds}", self.name, self.remaining);
        for (name, value) in [("ratelimit-policy", policy), ("ratelimit", standing)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.entry(HeaderName::from_static(name)).or_insert(value);
            }
        }
    }
}

impl From<Exceeded> for Problem {
    fn from(Exceeded(standing): Exceeded) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "this client has asked for more than it may for now")
            .with_retry_after(Duration::from_secs(whole(standing.reset)))
    }
}

/// Rounded up: who comes back then is not too early.
fn whole(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn client(number: u32) -> Client {
        IpAddr::from(Ipv4Addr::from_bits(number)).into()
    }

    fn limiter(requests: u32, capacity: usize) -> RateLimiter {
        RateLimiter::new("default", Quota { requests, window: MINUTE }, capacity)
    }

    fn headers(standing: Standing) -> [String; 2] {
        let mut headers = HeaderMap::new();
        standing.apply(&mut headers);
        ["ratelimit-policy", "ratelimit"].map(|name| headers[name].to_str().unwrap().to_owned())
    }

    #[tokio::test]
    async fn quota_is_each_clients_own_and_comes_back_with_the_next_window() {
        let (limiter, start) = (limiter(3, 9), Instant::now());
        let first = limiter.take(client(1), 1, start).unwrap();
        assert_eq!(headers(first), ["\"default\";q=3;w=60", "\"default\";r=2;t=60"]);
        let later = start + Duration::from_millis(500);
        assert_eq!(headers(limiter.take(client(1), 2, later).unwrap())[1], "\"default\";r=0;t=60");
        let Exceeded(refused) = limiter.take(client(1), 1, start + MINUTE / 2).unwrap_err();
        assert_eq!(headers(refused)[1], "\"default\";r=0;t=30");
        assert_eq!(Problem::from(Exceeded(refused)).status(), 429);
        limiter.take(client(2), 3, start + MINUTE / 2).unwrap();
        limiter.take(client(1), 3, start + MINUTE).unwrap();
        limiter.take(client(2), 1, start + MINUTE).unwrap_err();
    }

    #[tokio::test]
    async fn credential_has_its_own_quota_wherever_its_holder_comes_from() {
        let (limiter, start) = (limiter(1, 9), Instant::now());
        let gate = || Client::Named("gate-7".into());
        let standing = limiter.take_of(5, gate(), 4, start).unwrap();
        assert_eq!(headers(standing), ["\"default\";q=5;w=60", "\"default\";r=1;t=60"]);
        limiter.take_of(5, gate(), 2, start).unwrap_err();
        limiter.take_of(6, gate(), 2, start).unwrap();
        limiter.take(client(1), 1, start).unwrap();
        limiter.take(client(1), 1, start).unwrap_err();
    }

    #[tokio::test]
    async fn what_does_not_fit_as_a_whole_is_not_counted() {
        let (limiter, start) = (limiter(10, 9), Instant::now());
        limiter.take(client(1), 11, start).unwrap_err();
        limiter.take(client(1), 6, start).unwrap();
        limiter.take(client(1), 5, start).unwrap_err();
        limiter.take(client(1), 4, start).unwrap();
        limiter.take(client(1), u32::MAX, start).unwrap_err();
    }

    #[tokio::test]
    async fn beyond_the_capacity_the_oldest_window_makes_way() {
        let (limiter, start) = (limiter(1, 3), Instant::now());
        for number in 1..=4 {
            limiter.take(client(number), 1, start + Duration::from_secs(number.into())).unwrap();
        }
        let now = start + Duration::from_secs(9);
        for number in 2..=4 {
            limiter.take(client(number), 1, now).unwrap_err();
        }
        limiter.take(client(1), 1, now).unwrap();
    }

    proptest! {
        #[test]
        fn no_client_gets_more_than_its_quota_in_its_window_and_memory_is_bounded(
            asked in prop::collection::vec((0u32..4, 0u32..5, 0u64..20), 1..200),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _guard = runtime.enter();
            let limiter = limiter(7, 3);
            let mut now = Instant::now();
            let mut model: HashMap<u32, (Instant, u32)> = HashMap::new();
            for (number, requests, seconds) in asked {
                now += Duration::from_secs(seconds);
                let granted = limiter.take(client(number), requests, now).is_ok();
                let entry = model.entry(number).or_insert((now, 0));
                if now - entry.0 >= MINUTE {
                    *entry = (now, 0);
                }
                if granted {
                    entry.1 += requests;
                    // One whose window made way for others' begins a new one.
                    let known = limiter.clients.lock().windows[&client(number)];
                    *entry = (known.began, known.used);
                    prop_assert!(known.used <= 7);
                } else {
                    prop_assert!(entry.1 + requests > 7);
                }
                let clients = limiter.clients.lock();
                prop_assert!(clients.windows.len() <= 3);
                prop_assert_eq!(clients.windows.len(), clients.begun.len());
            }
        }
    }
}
