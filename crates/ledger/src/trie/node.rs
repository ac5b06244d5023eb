//! A subtree of the index trie.
//!
//! It deepens where it has to: a subtree that outgrows [`FEW`] keys is split by the update that made it grow, which
//! has all its keys at hand anyway. There is no step at which the whole is made deeper.

use std::sync::{Arc, LazyLock};
use std::thread;

use birthmark_core::hash::Digest;
use birthmark_core::index::trie::{self, HashedLeaf, Leaf};

use super::room::SharedRoom;
use super::{DAMAGED, Prefix, Source};
use crate::store::StoreError;

/// A subtree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) hash: Digest,
    /// Keys in it.
    pub(super) keys: u64,
    pub(super) below: Below,
}

/// What is below a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Below {
    /// Its left and its right half, which have more than [`FEW`] keys together.
    Halves(Arc<[Node; 2]>),
    /// At most [`FEW`] keys.
    Held(Arc<[HashedLeaf]>),
    /// The same, to be read from the store whenever they are needed.
    Stored,
}

impl Node {
    pub(super) const EMPTY: Self = Self { hash: trie::EMPTY, keys: 0, below: Below::Stored };

    /// Reads what stands `depth` bits below the root piece by piece, and puts it together.
    pub(super) fn build(
        prefix: &Prefix,
        depth: usize,
        read: &impl Source,
        room: &SharedRoom,
    ) -> Result<Self, StoreError> {
        if prefix.len == depth {
            return Ok(Self::of(&hashed(&read(prefix)?), depth, room));
        }
        let [left, right] = prefix.halves();
        let (left, right) = join(
            prefix.len < *FORKS,
            || Self::build(&left, depth, read, room),
            || Self::build(&right, depth, read, room),
        );
        Ok(Self::above(left?, right?, room))
    }

    /// The subtree of these leaves, all of its keys.
    fn of(leaves: &[HashedLeaf], depth: usize, room: &SharedRoom) -> Self {
        if leaves.len() > FEW {
            let (left, right) = trie::halves(leaves, depth);
            return Self::above(Self::of(left, depth + 1, room), Self::of(right, depth + 1, room), room);
        }
        let keys = leaves.len() as u64;
        let below = if keys > 0 && room.take(keys) { Below::Held(leaves.into()) } else { Below::Stored };
        Self { hash: trie::root_of(leaves, depth), keys, below }
    }

    /// The subtree of two halves.
    fn above(left: Self, right: Self, room: &SharedRoom) -> Self {
        let keys = left.keys + right.keys;
        let hash = match (left.keys, right.keys) {
            (0, 0) => trie::EMPTY,
            // One key alone has the same hash at any depth.
            (1, 0) => left.hash,
            (0, 1) => right.hash,
            _ => trie::inner_hash(&left.hash, &right.hash),
        };
        let below =
            if keys > FEW as u64 { Below::Halves(Arc::new([left, right])) } else { Below::joined(&left, &right, room) };
        Self { hash, keys, below }
    }

    pub(super) fn updated(
        &self,
        prefix: &Prefix,
        changed: &[HashedLeaf],
        read: &impl Source,
        room: &SharedRoom,
    ) -> Result<Self, StoreError> {
        if changed.is_empty() {
            return Ok(self.clone());
        }
        match &self.below {
            Below::Halves(halves) => {
                let [left, right] = &**halves;
                let (to_left, to_right) = trie::halves(changed, prefix.len);
                let [at_left, at_right] = prefix.halves();
                let (left, right) = join(
                    prefix.len < *FORKS && changed.len() >= WORTH_A_THREAD,
                    || left.updated(&at_left, to_left, read, room),
                    || right.updated(&at_right, to_right, read, room),
                );
                Ok(Self::above(left?, right?, room))
            }
            Below::Held(held) => {
                room.give(self.keys);
                Ok(Self::of(&merged(held, changed), prefix.len, room))
            }
            Below::Stored => {
                let stored = hashed(&self.stored(prefix, read)?);
                Ok(Self::of(&merged(&stored, changed), prefix.len, room))
            }
        }
    }

    /// The leaves of a subtree without halves, from the store.
    pub(super) fn stored(&self, prefix: &Prefix, read: &impl Source) -> Result<Vec<Leaf>, StoreError> {
        if self.keys == 0 {
            return Ok(Vec::new());
        }
        let leaves = read(prefix)?;
        if leaves.len() as u64 == self.keys { Ok(leaves) } else { Err(DAMAGED) }
    }
}

impl Below {
    /// What is below a node of few keys whose halves were made apart.
    fn joined(left: &Node, right: &Node, room: &SharedRoom) -> Self {
        let held = |node: &Node| match &node.below {
            Self::Held(leaves) => Some(Arc::clone(leaves)),
            Self::Stored | Self::Halves(_) => (node.keys == 0).then(|| Arc::from([])),
        };
        match (held(left), held(right)) {
            (Some(left), Some(right)) if !(left.is_empty() && right.is_empty()) => {
                Self::Held(left.iter().chain(&*right).copied().collect())
            }
            (left, right) => {
                for given_up in [left, right].into_iter().flatten() {
                    room.give(given_up.len() as u64);
                }
                Self::Stored
            }
        }
    }
}

fn hashed(leaves: &[Leaf]) -> Vec<HashedLeaf> {
    leaves.iter().map(HashedLeaf::from).collect()
}

/// Runs both, at once if it is worth it.
fn join<T: Send>(at_once: bool, left: impl FnOnce() -> T + Send, right: impl FnOnce() -> T) -> (T, T) {
    if !at_once {
        return (left(), right());
    }
    thread::scope(|scope| {
        let left = scope.spawn(left);
        let right = right();
        (left.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), right)
    })
}

/// What was there, with the changed ones in their places.
fn merged(kept: &[HashedLeaf], changed: &[HashedLeaf]) -> Vec<HashedLeaf> {
    let mut all = Vec::with_capacity(kept.len() + changed.len());
    let mut kept = kept.iter().copied().peekable();
    for new in changed {
        while let Some(old) = kept.next_if(|old| old.key < new.key) {
            all.push(old);
        }
        kept.next_if(|old| old.key == new.key);
        all.push(*new);
    }
    all.extend(kept);
    all
}

/// Most keys of a subtree without halves: sixteen on average. More would save memory, fewer time, since all are hashed
/// together, and read unless they are held, for each key that changes.
pub(super) const FEW: usize = 24;
/// Changes below which a second thread costs more than it saves.
const WORTH_A_THREAD: usize = 256;
/// Levels at which the work is divided: one thread for each core.
static FORKS: LazyLock<usize> = LazyLock::new(|| {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    usize::try_from(cores.next_power_of_two().ilog2()).unwrap_or_default().min(4)
});
