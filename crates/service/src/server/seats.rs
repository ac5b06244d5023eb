//! Who makes way when all places are taken: the connections that have been waiting for their clients the longest.
//!
//! For: thousands of connections that send nothing, or a byte now and then. They must keep nobody out. Not for: how
//! long a client may take where there is room (`watch`).
//!
//! Connections whose client waits for an answer never make way. Whoever opens as many connections as there are places
//! shortens the patience with all of them, and no more: a client that sends what it has to is served.
//!
//! The same holds for memory: what bodies take that are still on their way is bounded for all connections together.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::watch::Watch;

/// The connections of a server.
#[derive(Debug)]
pub(crate) struct Seats {
    connections: Arc<Semaphore>,
    body_bytes: Arc<Semaphore>,
    taken: Mutex<HashMap<u64, Arc<Watch>>>,
    next: AtomicU64,
    looked: Mutex<Option<Instant>>,
}

/// One connection's place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    number: u64,
    pub(super) watch: Arc<Watch>,
    _place: OwnedSemaphorePermit,
}

impl Seats {
    pub(super) fn new(connections: usize, body_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            connections: Arc::new(Semaphore::new(connections)),
            body_bytes: Arc::new(Semaphore::new(body_bytes.min(Semaphore::MAX_PERMITS))),
            taken: Mutex::default(),
            next: AtomicU64::new(0),
            looked: Mutex::default(),
        })
    }

    /// A place for a new connection; waits where everybody is being served.
    pub(super) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.obtain(&self.connections, 1, usize::MAX, |_| true).await
    }

    pub(super) fn sit(self: &Arc<Self>, place: OwnedSemaphorePermit, watch: Watch) -> Seat {
        let (number, watch) = (self.next.fetch_add(1, Ordering::Relaxed), Arc::new(watch));
        self.taken.lock().insert(number, Arc::clone(&watch));
        Seat { seats: Arc::clone(self), number, watch, _place: place }
    }

    /// Room for so many more bytes of a body; none after a second in which nobody made way.
    pub(crate) async fn body_bytes(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes).ok()?;
        self.obtain(&self.body_bytes, bytes, PATIENT_TRIES, Watch::reads_a_body).await
    }

    async fn obtain(
        &self,
        of: &Arc<Semaphore>,
        number: u32,
        tries: usize,
        may_give_way: impl Fn(&Watch) -> bool,
    ) -> Option<OwnedSemaphorePermit> {
        for _ in 0..tries {
            if let Ok(place) = Arc::clone(of).try_acquire_many_owned(number) {
                return Some(place);
            }
            if self.may_look_again() {
                for watch in self.longest_waiting(&may_give_way) {
                    watch.give_up();
                }
            }
            // All may have been served after all: then others have to.
            let freed = Arc::clone(of).acquire_many_owned(number);
            if let Ok(place) = tokio::time::timeout(NEXT_TRY, freed).await {
                return place.ok();
            }
        }
        None
    }

    /// Looking through all connections is for one of those who need room at a time, not for each of thousands.
    fn may_look_again(&self) -> bool {
        let (mut looked, now) = (self.looked.lock(), Instant::now());
        let may = looked.is_none_or(|looked| now.duration_since(looked) >= LOOK_AGAIN);
        if may {
            *looked = Some(now);
        }
        may
    }

    /// A sixteenth of all, so that looking through them costs little for each that comes.
    fn longest_waiting(&self, may_give_way: impl Fn(&Watch) -> bool) -> Vec<Arc<Watch>> {
        let taken = self.taken.lock();
        let waiting = taken.values().filter(|watch| may_give_way(watch));
        let mut waiting: Vec<_> = waiting.filter_map(|watch| Some((watch.waiting_since()?, watch))).collect();
        let enough = (taken.len() / 16).max(1);
        if enough < waiting.len() {
            waiting.select_nth_unstable_by_key(enough, |(since, _)| *since);
        }
        waiting.into_iter().take(enough).map(|(_, watch)| Arc::clone(watch)).collect()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.taken.lock().remove(&self.number);
    }
}

const NEXT_TRY: Duration = Duration::from_millis(20);
const LOOK_AGAIN: Duration = Duration::from_millis(5);
const PATIENT_TRIES: usize = 50;
