//! Requests that wait for their submission's end (`Prefer: wait`).
//!
//! For: a bounded number of them, each woken once its submission has ended. Not for: saying how it
//! ended; the woken one reads that from the store, so that there is one source for it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use uuid::Uuid;

/// All that wait. A sender that is dropped wakes everyone who holds its receiver.
#[derive(Clone, Debug)]
pub(crate) struct Waiters {
    waiting: Arc<Mutex<HashMap<Uuid, watch::Sender<()>>>>,
    places: Arc<Semaphore>,
}

/// One request's place. Take it before the state is read, or the end may be missed.
#[derive(Debug)]
pub(crate) struct Waiter {
    receipt: Uuid,
    end: watch::Receiver<()>,
    waiting: Arc<Mutex<HashMap<Uuid, watch::Sender<()>>>>,
    _place: OwnedSemaphorePermit,
}

impl Waiters {
    pub(crate) fn new(places: usize) -> Self {
        let places = places.min(Semaphore::MAX_PERMITS);
        Self { waiting: Arc::default(), places: Arc::new(Semaphore::new(places)) }
    }

    /// A place to wait for this receipt's end, if one is free.
    pub(crate) fn register(&self, receipt: Uuid) -> Option<Waiter> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let end = self.waiting.lock().entry(receipt).or_insert_with(|| watch::Sender::new(())).subscribe();
        Some(Waiter { receipt, end, waiting: Arc::clone(&self.waiting), _place: place })
    }

    /// Wakes everyone who waits for this receipt.
    pub(crate) fn wake(&self, receipt: Uuid) {
        self.waiting.lock().remove(&receipt);
    }
}

impl Waiter {
    /// Returns once the submission has ended.
    pub(crate) async fn ended(&mut self) {
        // Nothing is ever sent: the only change is the sender's end.
        let _ = self.end.changed().await;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock();
        // An entry of the same receipt may be a newer one; it then has receivers beside this one's.
        if waiting
            .get(&self.receipt)
            .is_some_and(|sender| sender.receiver_count() <= 1 && self.end.has_changed().is_ok())
        {
            waiting.remove(&self.receipt);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const RECEIPT: Uuid = Uuid::from_u128(1);

    #[tokio::test]
    async fn everyone_who_waits_for_a_receipt_is_woken_and_no_one_else() {
        let waiters = Waiters::new(3);
        let (mut a, mut b) = (waiters.register(RECEIPT).unwrap(), waiters.register(RECEIPT).unwrap());
        let other = waiters.register(Uuid::from_u128(2)).unwrap();
        waiters.wake(RECEIPT);
        let woken = async {
            a.ended().await;
            b.ended().await;
        };
        tokio::time::timeout(Duration::from_secs(10), woken).await.unwrap();
        assert!(other.end.has_changed().is_ok(), "the other's sender must still be there");
    }

    #[test]
    fn places_are_bounded_and_given_back() {
        let waiters = Waiters::new(1);
        let first = waiters.register(RECEIPT).unwrap();
        assert!(waiters.register(RECEIPT).is_none());
        drop(first);
        assert!(waiters.register(RECEIPT).is_some());
    }

    #[test]
    fn nothing_is_kept_of_those_who_stopped_waiting() {
        let waiters = Waiters::new(3);
        let (a, b) = (waiters.register(RECEIPT).unwrap(), waiters.register(RECEIPT).unwrap());
        drop(a);
        assert_eq!(waiters.waiting.lock().len(), 1);
        drop(b);
        assert!(waiters.waiting.lock().is_empty());
    }

    #[test]
    fn late_drop_of_a_woken_waiter_leaves_its_successor_alone() {
        let waiters = Waiters::new(3);
        let old = waiters.register(RECEIPT).unwrap();
        waiters.wake(RECEIPT);
        let _new = waiters.register(RECEIPT).unwrap();
        drop(old);
        assert_eq!(waiters.waiting.lock().len(), 1);
    }
}
