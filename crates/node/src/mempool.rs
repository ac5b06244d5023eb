//! Batches that wait to be recorded.
//!
//! For: bounded, deduplicated keeping in memory until every transaction of a batch is on record, and
//! [`Mempool::fill`], which turns what waits into the batches of the next block.
//!
//! Not for: durability. Whoever submits keeps a transaction until it is recorded.

use std::collections::{BTreeMap, HashMap, HashSet};

use birthmark_core::batch::{Assurance, Batch, BlockBatch, Place};
use birthmark_core::body::BodyDigest;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The waiting batches.
#[derive(Debug)]
pub(crate) struct Mempool {
    inner: Mutex<Inner>,
    changed: Notify,
    max_bytes: usize,
}

/// The mempool is full; the sender should try again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    bytes: usize,
    batches: BTreeMap<u64, Pending>,
    waiting: HashMap<BodyDigest, Vec<(u64, Assurance)>>,
}

#[derive(Debug)]
struct Pending {
    batch: Batch,
    bodies: Vec<BodyDigest>,
    bytes: usize,
    left: usize,
}

impl Mempool {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { inner: Mutex::default(), changed: Notify::new(), max_bytes }
    }

    /// Takes a batch whose signature and rules have been checked. `recorded` says for each of its
    /// transactions whether it is on record already.
    pub(crate) fn add(&self, batch: Batch, recorded: &[bool]) -> Result<(), Full> {
        let bodies: Vec<_> = batch.transactions.iter().map(|transaction| transaction.body().digest()).collect();
        let mut inner = self.inner.lock();
        let news =
            bodies.iter().zip(&batch.transactions).zip(recorded).any(|((digest, transaction), recorded)| {
                !recorded && !inner.is_waiting(digest, transaction.assurance())
            });
        if !news {
            return Ok(());
        }
        let bytes = batch.encode().len();
        if inner.bytes + bytes > self.max_bytes {
            return Err(Full);
        }
        let id = inner.next;
        inner.next += 1;
        inner.bytes += bytes;
        let mut left = 0;
        for ((digest, transaction), recorded) in bodies.iter().zip(&batch.transactions).zip(recorded) {
            if !recorded {
                inner.waiting.entry(*digest).or_default().push((id, transaction.assurance()));
                left += 1;
            }
        }
        inner.batches.insert(id, Pending { batch, bodies, bytes, left });
        drop(inner);
        self.changed.notify_waiters();
        Ok(())
    }

    /// Resolves at the next change after this call: a batch that came, or one that is on record.
    pub(crate) fn changed(&self) -> impl Future<Output = ()> + '_ {
        let mut changed = Box::pin(self.changed.notified());
        // From now on, not from the first poll, so that nothing changes unseen in between.
        changed.as_mut().enable();
        changed
    }

    /// True if nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.inner.lock().batches.is_empty()
    }

    /// What waits, oldest first, as a block would carry it, within `max_bytes`. `recorded` answers for the
    /// state that the block builds on; what it has, and what would stand twice, is left out.
    pub(crate) fn fill<E>(
        &self,
        max_bytes: usize,
        mut recorded: impl FnMut(&BodyDigest, Assurance) -> Result<bool, E>,
    ) -> Result<Vec<BlockBatch>, E> {
        let inner = self.inner.lock();
        let mut included = HashSet::new();
        let mut block = Vec::new();
        // Count of batches in front of all.
        let mut bytes = 2;
        for pending in inner.batches.values() {
            // In a block a batch is never longer than on the wire.
            if bytes + pending.bytes > max_bytes {
                break;
            }
            let mut places = Vec::with_capacity(pending.bodies.len());
            let mut records = false;
            for (digest, transaction) in pending.bodies.iter().zip(&pending.batch.transactions) {
                if !included.contains(digest) && !recorded(digest, transaction.assurance())? {
                    included.insert(*digest);
                    records = true;
                    places.push(Place::Record(transaction.clone()));
                } else {
                    places.push(Place::Omitted(transaction.digest()));
                }
            }
            if records {
                bytes += pending.bytes;
                let (submitter, signature) = (pending.batch.submitter, pending.batch.signature);
                block.push(BlockBatch { submitter, places, signature });
            }
        }
        Ok(block)
    }

    /// Lets go of what is on record now.
    pub(crate) fn recorded(&self, bodies: &[(BodyDigest, Assurance)]) {
        let mut inner = self.inner.lock();
        for (digest, assurance) in bodies {
            inner.settle(digest, *assurance);
        }
        drop(inner);
        self.changed.notify_waiters();
    }

    /// Drops a batch that can never be recorded.
    pub(crate) fn discard(&self, signature: &[u8; 64]) {
        let mut inner = self.inner.lock();
        let found = inner.batches.iter().find(|(_, pending)| pending.batch.signature == *signature);
        let Some(id) = found.map(|(id, _)| *id) else { return };
        let Some(pending) = inner.batches.remove(&id) else { return };
        inner.bytes = inner.bytes.saturating_sub(pending.bytes);
        for digest in &pending.bodies {
            if let Some(waiting) = inner.waiting.get_mut(digest) {
                waiting.retain(|(other, _)| *other != id);
                if waiting.is_empty() {
                    inner.waiting.remove(digest);
                }
            }
        }
    }

    /// Batches and bytes that wait.
    pub(crate) fn backlog(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        (inner.batches.len(), inner.bytes)
    }
}

impl Inner {
    fn is_waiting(&self, digest: &BodyDigest, assurance: Assurance) -> bool {
        self.waiting.get(digest).is_some_and(|waiting| waiting.iter().any(|(_, other)| *other >= assurance))
    }

    fn settle(&mut self, digest: &BodyDigest, assurance: Assurance) {
        let Some(mut waiting) = self.waiting.remove(digest) else { return };
        waiting.retain(|(id, wanted)| {
            let settled = *wanted <= assurance;
            if settled && let Some(pending) = self.batches.get_mut(id) {
                pending.left = pending.left.saturating_sub(1);
                if pending.left == 0 {
                    self.bytes = self.bytes.saturating_sub(pending.bytes);
                    self.batches.remove(id);
                }
            }
            !settled
        });
        if !waiting.is_empty() {
            self.waiting.insert(*digest, waiting);
        }
    }
}

#[cfg(test)]
mod tests;
