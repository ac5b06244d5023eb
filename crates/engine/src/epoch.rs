//! Which heights an epoch spans, and who decides in it.
//!
//! For: the archive, which holds blocks of all epochs, and the rule that nothing is built behind an epoch's last block.
//! Not for: deciding where an epoch ends; the ledger says so, once it knows for good
//! ([`Chain::epoch_end`](crate::Chain::epoch_end)).
//!
//! Each engine runs one epoch. Of earlier ones it knows everything; the end of its own comes to be known while it
//! runs, some blocks before it is reached.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use commonware_consensus::{
    simplex::scheme::ed25519::Scheme,
    types::{Epoch, EpochInfo, Epocher, Height},
};
use commonware_cryptography::certificate::{Provider, Scoped};

/// Spans of heights.
#[derive(Clone, Debug)]
pub(crate) struct Spans(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// First heights of all epochs, the running one last.
    firsts: BTreeMap<Epoch, Height>,
    running: Epoch,
    /// Of the running epoch.
    last: AtomicU64,
}

/// One below the largest height: an epoch's length must fit into a `u64`.
const NEVER: u64 = u64::MAX - 1;

impl Spans {
    /// Of the running epoch and those before it, each with its first height.
    pub(crate) fn new(firsts: BTreeMap<Epoch, Height>, running: Epoch) -> Self {
        Self(Arc::new(Inner { firsts, running, last: AtomicU64::new(NEVER) }))
    }

    /// The running epoch.
    pub(crate) fn running(&self) -> Epoch {
        self.0.running
    }

    /// The first height of the running epoch.
    pub(crate) fn begins(&self) -> Height {
        self.first(self.0.running).unwrap_or(Height::zero())
    }

    /// The running epoch's last height is known from now on.
    pub(crate) fn ends(&self, last: u64) {
        self.0.last.store(last, Ordering::Release);
    }
}

impl Epocher for Spans {
    fn containing(&self, height: Height) -> Option<EpochInfo> {
        let (epoch, first) = self.0.firsts.iter().rev().find(|(_, first)| **first <= height)?;
        let last = self.last(*epoch)?;
        (height <= last).then(|| EpochInfo::new(*epoch, height, *first, last))
    }

    fn first(&self, epoch: Epoch) -> Option<Height> {
        self.0.firsts.get(&epoch).copied()
    }

    fn last(&self, epoch: Epoch) -> Option<Height> {
        if epoch == self.0.running {
            return Some(Height::new(self.0.last.load(Ordering::Acquire)));
        }
        let next = self.first(epoch.next())?;
        next.get().checked_sub(1).map(Height::new)
    }
}

/// Whose signatures count in which epoch.
#[derive(Clone)]
pub(crate) struct Schemes(Arc<BTreeMap<Epoch, Arc<Scheme>>>);

impl Schemes {
    /// One for each epoch.
    pub(crate) fn new(schemes: impl IntoIterator<Item = (Epoch, Scheme)>) -> Self {
        Self(Arc::new(schemes.into_iter().map(|(epoch, scheme)| (epoch, Arc::new(scheme))).collect()))
    }
}

impl Provider for Schemes {
    type Scope = Epoch;
    type Scheme = Scheme;

    fn scoped(&self, epoch: Epoch) -> Option<Scoped<Scheme>> {
        self.0.get(&epoch).map(|scheme| Scoped::scheme(Arc::clone(scheme)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heights_belong_to_one_epoch_each_and_the_last_one_ends_when_it_is_known() {
        let firsts = [(0, 0), (1, 10), (2, 25)].map(|(epoch, first)| (Epoch::new(epoch), Height::new(first)));
        let spans = Spans::new(firsts.into(), Epoch::new(2));
        let of = |height| spans.containing(Height::new(height)).map(|info| (info.epoch().get(), info.last().get()));
        assert_eq!([0, 9, 10, 24].map(of), [Some((0, 9)), Some((0, 9)), Some((1, 24)), Some((1, 24))]);
        assert_eq!([25, 1_000].map(of), [Some((2, NEVER)), Some((2, NEVER))]);
        assert_eq!(of(u64::MAX), None);
        assert_eq!((spans.running(), spans.begins()), (Epoch::new(2), Height::new(25)));
        spans.ends(40);
        assert_eq!([40, 41].map(of), [Some((2, 40)), None], "the next epoch is for another engine");
        assert_eq!(spans.last(Epoch::new(2)), Some(Height::new(40)));
        assert_eq!((spans.first(Epoch::new(3)), spans.last(Epoch::new(3))), (None, None));
    }
}
