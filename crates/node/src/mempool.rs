//! Batches that wait to be recorded, and the act of governance that waits to be enacted.
//!
//! For: bounded, deduplicated keeping in memory until every transaction of a batch is on record, and
//! [`Mempool::fill`], which turns what waits into the batches of the next block.
//!
//! Not for: durability. Whoever submits keeps a transaction until it is recorded.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use birthmark_core::batch::{Assurance, BlockBatch, Place, Transaction};
use birthmark_core::body::BodyDigest;
use birthmark_core::governance::ApprovedAct;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::offer::Offer;

/// The waiting batches.
#[derive(Debug)]
pub(crate) struct Mempool {
    inner: Mutex<Inner>,
    changed: Arc<Notify>,
    max_bytes: usize,
    max_peer_bytes: usize,
}

/// The mempool is full; the sender should try again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// From whom a batch came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A client of this node.
    Client,
    /// Another validator.
    Peer([u8; 32]),
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    bytes: usize,
    /// Of each validator that passed anything on.
    peers: HashMap<[u8; 32], usize>,
    signatures: HashMap<[u8; 64], u64>,
    batches: BTreeMap<u64, Pending>,
    waiting: HashMap<BodyDigest, Vec<(u64, Assurance)>>,
    act: Option<WaitingAct>,
}

/// The next act of governance. There is never more than one that may be enacted.
#[derive(Debug)]
struct WaitingAct {
    approved: ApprovedAct,
    origin: Origin,
    told: Instant,
}

#[derive(Debug)]
struct Pending {
    offer: Arc<Offer>,
    left: usize,
    origin: Origin,
    /// When the other validators were told of it.
    told: Instant,
}

impl Mempool {
    /// For so many bytes. What peers pass on, of which each validator keeps its own until it is recorded,
    /// gets half of them at most, in equal shares.
    pub(crate) fn new(max_bytes: usize, validators: usize) -> Self {
        let max_peer_bytes = max_bytes / (2 * validators.max(1));
        Self { inner: Mutex::default(), changed: Arc::default(), max_bytes, max_peer_bytes }
    }

    /// Takes a batch whose signature and rules have been checked. `recorded` says for each of its
    /// transactions whether it is on record already.
    pub(crate) fn add(&self, offer: Arc<Offer>, recorded: &[bool], origin: Origin) -> Result<(), Full> {
        let mut inner = self.inner.lock();
        let missing = || offer.each().zip(recorded).filter(|(_, recorded)| !**recorded).map(|(each, _)| each);
        if !missing().any(|(transaction, digest)| !inner.is_waiting(digest, transaction.assurance())) {
            return Ok(());
        }
        let bytes = offer.encoded_len();
        if inner.bytes + bytes > self.max_bytes {
            return Err(Full);
        }
        if let Origin::Peer(peer) = origin {
            let used = inner.peers.entry(peer).or_default();
            if *used + bytes > self.max_peer_bytes {
                return Err(Full);
            }
            *used += bytes;
        }
        let id = inner.next;
        inner.next += 1;
        inner.bytes += bytes;
        let mut left = 0;
        for (transaction, digest) in missing() {
            inner.waiting.entry(*digest).or_default().push((id, transaction.assurance()));
            left += 1;
        }
        inner.signatures.insert(offer.batch().signature, id);
        inner.batches.insert(id, Pending { offer, left, origin, told: Instant::now() });
        drop(inner);
        self.changed.notify_waiters();
        Ok(())
    }

    /// Whether the batch with this signature waits.
    pub(crate) fn holds(&self, signature: &[u8; 64]) -> bool {
        self.inner.lock().signatures.contains_key(signature)
    }

    /// Batches of own clients that the others were told of longer than `after` ago, oldest first, about
    /// `max_bytes` of them. They count as told at `now`.
    pub(crate) fn to_tell_again(&self, now: Instant, after: Duration, max_bytes: usize) -> Vec<Arc<Offer>> {
        let mut inner = self.inner.lock();
        let mut bytes = 0;
        let own = inner.batches.values_mut().filter(|pending| pending.origin == Origin::Client);
        let late = own.filter(|pending| now.saturating_duration_since(pending.told) >= after);
        late.take_while(|pending| {
            bytes += pending.offer.encoded_len();
            bytes <= max_bytes
        })
        .map(|pending| {
            pending.told = now;
            Arc::clone(&pending.offer)
        })
        .collect()
    }

    /// Takes an act that may be enacted, unless one waits already. The first one stays: validators that get
    /// several in another order each propose one, and the others go with [`Self::retain_act`].
    pub(crate) fn offer_act(&self, approved: ApprovedAct, origin: Origin) {
        let mut inner = self.inner.lock();
        if inner.act.is_none() {
            inner.act = Some(WaitingAct { approved, origin, told: Instant::now() });
            drop(inner);
            self.changed.notify_waiters();
        }
    }

    /// The act that waits.
    pub(crate) fn act(&self) -> Option<ApprovedAct> {
        self.inner.lock().act.as_ref().map(|waiting| waiting.approved.clone())
    }

    /// The act of an own client that the others were told of longer than `after` ago.
    pub(crate) fn act_to_tell_again(&self, now: Instant, after: Duration) -> Option<ApprovedAct> {
        let mut inner = self.inner.lock();
        let waiting = inner.act.as_mut().filter(|waiting| waiting.origin == Origin::Client)?;
        if now.saturating_duration_since(waiting.told) < after {
            return None;
        }
        waiting.told = now;
        Some(waiting.approved.clone())
    }

    /// Lets go of an act that may not be enacted any more.
    pub(crate) fn retain_act(&self, may: impl FnOnce(&ApprovedAct) -> bool) {
        let mut inner = self.inner.lock();
        inner.act = inner.act.take().filter(|waiting| may(&waiting.approved));
    }

    /// Resolves at the next change after this call: a batch that came, or one that is on record.
    pub(crate) fn changed(&self) -> impl Future<Output = ()> + Send + 'static {
        Arc::clone(&self.changed).notified_owned()
    }

    /// True if nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        let inner = self.inner.lock();
        inner.batches.is_empty() && inner.act.is_none()
    }

    /// What waits, oldest first, as a block would carry it, within `max_bytes`. `recorded` answers for the
    /// state that the block builds on; what it has, and what would stand twice, is left out.
    pub(crate) fn fill<E>(
        &self,
        max_bytes: usize,
        mut recorded: impl FnMut(&Transaction, &BodyDigest) -> Result<bool, E>,
    ) -> Result<Vec<BlockBatch>, E> {
        // The ledger is not asked while others wait for the lock.
        let waiting: Vec<_> = self.inner.lock().batches.values().map(|pending| Arc::clone(&pending.offer)).collect();
        let mut included = HashSet::new();
        let mut block = Vec::new();
        // Count of batches in front of all.
        let mut bytes = 2;
        for offer in waiting {
            if bytes + offer.encoded_len() > max_bytes {
                break;
            }
            let batch = offer.batch();
            let mut places = Vec::with_capacity(batch.transactions.len());
            let mut records = false;
            for (transaction, digest) in offer.each() {
                if !included.contains(digest) && !recorded(transaction, digest)? {
                    included.insert(*digest);
                    records = true;
                    places.push(Place::Record(transaction.clone()));
                } else {
                    places.push(Place::Omitted(transaction.digest()));
                }
            }
            if records {
                bytes += offer.encoded_len();
                block.push(BlockBatch { submitter: batch.submitter, places, signature: batch.signature });
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
        let Some(id) = inner.signatures.get(signature).copied() else { return };
        let Some(pending) = inner.remove(id) else { return };
        self.changed.notify_waiters();
        for (_, digest) in pending.offer.each() {
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

    /// Takes a batch out, but for its bodies in `waiting`.
    fn remove(&mut self, id: u64) -> Option<Pending> {
        let pending = self.batches.remove(&id)?;
        self.bytes = self.bytes.saturating_sub(pending.offer.encoded_len());
        self.signatures.remove(&pending.offer.batch().signature);
        if let Origin::Peer(peer) = pending.origin
            && let Some(used) = self.peers.get_mut(&peer)
        {
            *used = used.saturating_sub(pending.offer.encoded_len());
        }
        Some(pending)
    }

    fn settle(&mut self, digest: &BodyDigest, assurance: Assurance) {
        let Some(mut waiting) = self.waiting.remove(digest) else { return };
        let mut settled_batches = Vec::new();
        waiting.retain(|(id, wanted)| {
            let settled = *wanted <= assurance;
            if settled && let Some(pending) = self.batches.get_mut(id) {
                pending.left = pending.left.saturating_sub(1);
                if pending.left == 0 {
                    settled_batches.push(*id);
                }
            }
            !settled
        });
        for id in settled_batches {
            self.remove(id);
        }
        if !waiting.is_empty() {
            self.waiting.insert(*digest, waiting);
        }
    }
}

#[cfg(test)]
mod tests;
