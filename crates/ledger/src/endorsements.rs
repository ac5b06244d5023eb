//! Which endorsements hold, each found out once.
//!
//! For: [`Endorsements::check`], the rule for one transaction, and [`Endorsements::first_refused`], the
//! same for all of a block at once, before the state is looked at.
//!
//! Not for: what else a transaction must keep to (`rules`).
//!
//! One signature costs some 0.1 ms, and the same one is asked about when a batch comes, when a block is
//! proposed, judged and built upon, and when it is final. So what held is remembered, by a digest of
//! network, endorsement and body. That a signature holds depends on nothing else, so the memory changes
//! no verdict, only its cost: a node that has just started decides as one that remembers everything.
//! What a key's state allows is looked up every time, and what failed is not remembered, so that nobody
//! can fill the memory with rubbish.
//!
//! What is not remembered is computed on several threads, since a full block may hold thousands: plain
//! scoped ones, which need no pool, and which the result does not depend on.

use std::collections::HashSet;
use std::thread;

use birthmark_core::batch::{Assurance, Transaction};
use birthmark_core::endorsement::Endorsement;
use birthmark_core::hash::Digest;
use birthmark_core::network::{EndorsementKeyState, EndorsementRefusal, Network};
use parking_lot::Mutex;

use crate::rules::{Refusal, Stage};

/// What was checked and held.
#[derive(Debug, Default)]
pub struct Endorsements {
    held: Mutex<Held>,
}

/// Two generations, so that the oldest half goes at once and nothing has to be ordered.
#[derive(Debug, Default)]
struct Held {
    young: HashSet<Digest>,
    old: HashSet<Digest>,
}

impl Endorsements {
    /// Whether a transaction's endorsement, if it has one, is its authority's and by a key that counts.
    pub fn check(&self, network: &Network, stage: Stage, transaction: &Transaction) -> Result<(), Refusal> {
        if transaction.assurance() != Assurance::Endorsed {
            return Ok(());
        }
        let body = transaction.body();
        let authority = network.authority_by_id(&body.authority).ok_or(Refusal::UnknownAuthority)?.number;
        let key_id = Endorsement::decode(transaction.endorsement()).map_err(|_| Refusal::BadEndorsement)?.key_id;
        let known = network.endorsement_key(key_id).filter(|known| known.authority == authority);
        let known = known.ok_or(Refusal::UnknownEndorsementKey)?;
        if stage == Stage::Proposed && known.state == EndorsementKeyState::Revoked {
            return Err(Refusal::RevokedEndorsementKey);
        }
        let body = body.encode();
        let digest = digest(network, transaction.endorsement(), &body);
        if self.held.lock().contains(&digest) {
            return Ok(());
        }
        network.check_endorsement(authority, transaction.endorsement(), &body).map_err(|cause| match cause {
            EndorsementRefusal::UnknownKey => Refusal::UnknownEndorsementKey,
            EndorsementRefusal::Endorsement(_) => Refusal::BadEndorsement,
        })?;
        self.held.lock().insert(digest);
        Ok(())
    }

    /// The first of these whose endorsement is refused, by its place among them.
    pub fn first_refused(
        &self,
        network: &Network,
        stage: Stage,
        transactions: &[&Transaction],
    ) -> Option<(usize, Refusal)> {
        let unknown = transactions.iter().filter(|transaction| !self.holds(network, transaction)).count();
        let threads = if unknown < 2 * SHARE { 1 } else { threads().min(unknown / SHARE) };
        let first_of = |part: &[&Transaction]| {
            let mut refusals = part.iter().map(|transaction| self.check(network, stage, transaction).err()).enumerate();
            refusals.find_map(|(at, refusal)| Some((at, refusal?)))
        };
        if threads < 2 {
            return first_of(transactions);
        }
        let share = transactions.len().div_ceil(threads);
        let parts: Vec<_> = transactions.chunks(share).collect();
        let found: Vec<_> = thread::scope(|scope| {
            let running: Vec<_> = parts.iter().map(|part| scope.spawn(|| first_of(part))).collect();
            // All are waited for, so that the first one counts as it would with one thread.
            let joined = running.into_iter().zip(&parts);
            joined.map(|(thread, part)| thread.join().unwrap_or_else(|_| first_of(part))).collect()
        });
        found.into_iter().enumerate().find_map(|(part, first)| {
            let (at, refusal) = first?;
            Some((part * share + at, refusal))
        })
    }

    fn holds(&self, network: &Network, transaction: &Transaction) -> bool {
        transaction.assurance() != Assurance::Endorsed
            || self.held.lock().contains(&digest(network, transaction.endorsement(), &transaction.body().encode()))
    }
}

impl Held {
    fn contains(&self, digest: &Digest) -> bool {
        self.young.contains(digest) || self.old.contains(digest)
    }

    fn insert(&mut self, digest: Digest) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest);
    }
}

/// The body's length follows from the whole, and the endorsement's is written down.
fn digest(network: &Network, endorsement: &[u8], body: &[u8]) -> Digest {
    let len = u64::try_from(endorsement.len()).unwrap_or(u64::MAX).to_be_bytes();
    Digest::of_parts(&[network.network_id().as_bytes(), &len, endorsement, body])
}

fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS)
}

/// More than a block can hold at most, so that what was checked for one is there when it is judged.
const GENERATION: usize = 16 * 1024;
/// Fewest signatures for which a thread is worth starting.
const SHARE: usize = 32;
/// The engine and the servers need cores too.
const MOST_THREADS: usize = 8;

#[cfg(test)]
mod tests;
