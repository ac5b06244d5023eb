//! Who makes way when all places are taken: the connections that have been waiting for their clients the longest, first
//! those by which no request has ever come.
//!
//! For: thousands of connections that send nothing, or a byte now and then. They must keep nobody out. Not for: how
//! long a client may take where there is room (`watch`).
//!
//! Connections whose client waits for an answer never make way. Whoever opens as many connections as there are places
//! shortens the patience with all of them, and no more: a client that sends what it has to is served.
//!
//! The same holds for memory: what bodies take that are still on their way is bounded for all connections together.
//! There those make way that hold the most.

use std::cmp::Reverse;
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

/// What a connection's request takes room from for its body.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    pub(super) seats: Arc<Seats>,
    pub(super) watch: Arc<Watch>,
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
        // Who has never asked for anything goes before those who may be reading their answer.
        let rank = |watch: &Watch| Some((watch.was_asked(), watch.waiting_since()?));
        self.obtain(&self.connections, 1, usize::MAX, rank).await
    }

    pub(super) fn sit(self: &Arc<Self>, place: OwnedSemaphorePermit, watch: Watch) -> Seat {
        let (number, watch) = (self.next.fetch_add(1, Ordering::Relaxed), Arc::new(watch));
        self.taken.lock().insert(number, Arc::clone(&watch));
        Seat { seats: Arc::clone(self), number, watch, _place: place }
    }

    async fn obtain<Rank: Ord + Copy>(
        &self,
        of: &Arc<Semaphore>,
        number: u32,
        tries: usize,
        rank: impl Fn(&Watch) -> Option<Rank>,
    ) -> Option<OwnedSemaphorePermit> {
        for _ in 0..tries {
            if let Ok(place) = Arc::clone(of).try_acquire_many_owned(number) {
                return Some(place);
            }
            if self.may_look_again() {
                for watch in self.first_to_go(&rank) {
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
    fn first_to_go<Rank: Ord + Copy>(&self, rank: impl Fn(&Watch) -> Option<Rank>) -> Vec<Arc<Watch>> {
        let taken = self.taken.lock();
        let mut ranked: Vec<_> = taken.values().filter_map(|watch| Some((rank(watch)?, watch))).collect();
        let enough = (taken.len() / 16).max(1);
        if enough < ranked.len() {
            ranked.select_nth_unstable_by_key(enough, |(rank, _)| *rank);
        }
        ranked.into_iter().take(enough).map(|(_, watch)| Arc::clone(watch)).collect()
    }
}

impl Room {
    /// Room for so many more bytes of the body; none after a second in which nobody made way.
    pub(crate) async fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let number = u32::try_from(bytes).ok()?;
        // Who holds nothing would make way for nothing.
        let rank = |watch: &Watch| Some(Reverse(watch.held_bytes())).filter(|Reverse(held)| *held > 0);
        let taken = self.seats.obtain(&self.seats.body_bytes, number, PATIENT_TRIES, rank).await?;
        self.watch.holds(bytes);
        Some(taken)
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
