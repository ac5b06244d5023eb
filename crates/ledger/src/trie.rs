//! The index trie as far as it is kept in memory: the hash of each small subtree, and all above them.
//!
//! For: the root after a block, before that block is committed; the path to a key; building the whole
//! anew from the store.
//!
//! Not for: the rules of the hashes (`birthmark_core::index::trie`), nor for keys and values, which lie
//! in the store alone: a subtree of at most [`FEW`] keys is read whenever it is needed. So all this is
//! derived data, 112 bytes for about sixteen keys, that can be lost at any time.
//!
//! A trie never changes; a block makes a new one that shares what it did not touch. A reader's snapshot
//! of the store and the trie of the same block therefore fit each other for as long as the reader wants,
//! and a commit that fails has changed nothing.
//!
//! It deepens where it has to: a subtree that outgrows [`FEW`] is split by the update that made it grow,
//! which has read all its keys anyway. There is no step at which the whole is made deeper. The shape
//! follows from the set of keys, as the hashes do; it is this node's own affair and no part of a format.

use std::ops::RangeInclusive;
use std::sync::{Arc, LazyLock};
use std::thread;

use birthmark_core::hash::Digest;
use birthmark_core::index::trie::{self, End, Leaf, Path};
use birthmark_core::prefix::KeyPrefix;

use crate::store::StoreError;

/// One version of the trie. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trie {
    root: Node,
}

/// A subtree.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    hash: Digest,
    /// Keys in it.
    keys: u64,
    /// Its left and right half; none if it has at most [`FEW`] keys.
    halves: Option<Arc<[Self; 2]>>,
}

/// The first bits of a key: where a subtree stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    /// The bits, then zeros.
    bits: [u8; 32],
    len: usize,
}

/// Reads all leaves under a prefix, sorted by key, from a state of the store that does not change.
pub(crate) trait Source: Fn(&Prefix) -> Result<Vec<Leaf>, StoreError> + Sync {}
impl<F: Fn(&Prefix) -> Result<Vec<Leaf>, StoreError> + Sync> Source for F {}

impl Trie {
    /// The trie without keys.
    pub(crate) const fn empty() -> Self {
        Self { root: Node::EMPTY }
    }

    /// The trie of all keys in the store. `about` is how many they may be; it decides only how much is
    /// read at once.
    pub(crate) fn build(about: u64, read: &impl Source) -> Result<Self, StoreError> {
        let depth = (about / READ_AT_ONCE).checked_ilog2().map_or(0, |depth| depth.min(MAX_READS_DEPTH));
        let depth = usize::try_from(depth).unwrap_or_default();
        Ok(Self { root: build(&Prefix::ALL, depth, read)? })
    }

    /// The trie after these keys have got new values; sorted, each key once. `read` gives the state
    /// before, which is this trie's.
    pub(crate) fn updated(&self, changed: &[Leaf], read: &impl Source) -> Result<Self, StoreError> {
        Ok(Self { root: self.root.updated(&Prefix::ALL, changed, read)? })
    }

    /// The root as block leaves carry it.
    pub(crate) const fn root(&self) -> Digest {
        self.root.hash
    }

    /// How many keys there are.
    pub(crate) const fn keys(&self) -> u64 {
        self.root.keys
    }

    /// The way down to a key, which `read` must be of the same state for. It is checked before it is
    /// given out, so that a damaged store does not turn into a wrong proof.
    pub(crate) fn path(&self, key: &Digest, read: &impl Source) -> Result<Path, StoreError> {
        let (mut node, mut prefix, mut siblings) = (&self.root, Prefix::ALL, Vec::with_capacity(32));
        while let Some([left, right]) = node.halves.as_deref() {
            let (own, other) = if trie::is_right(key, prefix.len) { (right, left) } else { (left, right) };
            siblings.push(other.hash);
            prefix = prefix.below(key);
            node = own;
        }
        let rest = trie::path_of(&node.read(&prefix, read)?, prefix.len, key);
        siblings.extend(rest.siblings);
        let checked = match rest.end {
            End::Here { value_hash } => trie::verify_inclusion(key, &value_hash, &siblings, &self.root.hash),
            End::Empty => trie::verify_absence(key, &siblings, None, &self.root.hash),
            End::Other(other) => trie::verify_absence(key, &siblings, Some(&other), &self.root.hash),
        };
        checked.map_err(|_| DAMAGED)?;
        Ok(Path { siblings, end: rest.end })
    }

    /// The largest subtree under `prefix` that begins at `from` and has at most `most` keys; where the trie has no
    /// node so deep, the smallest that holds all of the prefix. Nothing if no subtree begins there.
    pub(crate) fn part(&self, prefix: &KeyPrefix, from: &Digest, most: usize) -> Option<Part> {
        let (mut node, mut at, mut siblings) = (&self.root, Prefix::ALL, Vec::new());
        loop {
            let begins_here = at.bits == *from.as_bytes();
            match node.halves.as_deref() {
                Some([left, right]) if at.len < prefix.bits() || node.keys > most as u64 || !begins_here => {
                    let (own, other) = if trie::is_right(from, at.len) { (right, left) } else { (left, right) };
                    siblings.push(other.hash);
                    at = at.below(from);
                    node = own;
                }
                _ if begins_here || (at.len < prefix.bits() && *from == prefix.first()) => {
                    return Some(Part { at, siblings, hash: node.hash });
                }
                _ => return None,
            }
        }
    }
}

/// A subtree, and the way to it.
pub(crate) struct Part {
    pub(crate) at: Prefix,
    pub(crate) siblings: Vec<Digest>,
    pub(crate) hash: Digest,
}

impl Node {
    const EMPTY: Self = Self { hash: trie::EMPTY, keys: 0, halves: None };

    /// The subtree of these leaves, all of its keys.
    fn of(leaves: &[Leaf], depth: usize) -> Self {
        if leaves.len() <= FEW {
            return Self { hash: trie::root_of(leaves, depth), keys: leaves.len() as u64, halves: None };
        }
        let (left, right) = trie::halves(leaves, depth);
        Self::above(Self::of(left, depth + 1), Self::of(right, depth + 1))
    }

    /// The subtree of two halves.
    fn above(left: Self, right: Self) -> Self {
        let keys = left.keys + right.keys;
        let hash = match (left.keys, right.keys) {
            (0, 0) => trie::EMPTY,
            // One key alone has the same hash at any depth.
            (1, 0) => left.hash,
            (0, 1) => right.hash,
            _ => trie::inner_hash(&left.hash, &right.hash),
        };
        Self { hash, keys, halves: (keys > FEW as u64).then(|| Arc::new([left, right])) }
    }

    fn updated(&self, prefix: &Prefix, changed: &[Leaf], read: &impl Source) -> Result<Self, StoreError> {
        if changed.is_empty() {
            return Ok(self.clone());
        }
        let Some([left, right]) = self.halves.as_deref() else {
            return Ok(Self::of(&merged(&self.read(prefix, read)?, changed), prefix.len));
        };
        let (to_left, to_right) = trie::halves(changed, prefix.len);
        let [at_left, at_right] = prefix.halves();
        let (left, right) = join(
            prefix.len < *FORKS && changed.len() >= WORTH_A_THREAD,
            || left.updated(&at_left, to_left, read),
            || right.updated(&at_right, to_right, read),
        );
        Ok(Self::above(left?, right?))
    }

    /// The leaves of a subtree without halves.
    fn read(&self, prefix: &Prefix, read: &impl Source) -> Result<Vec<Leaf>, StoreError> {
        if self.keys == 0 {
            return Ok(Vec::new());
        }
        let leaves = read(prefix)?;
        if leaves.len() as u64 == self.keys { Ok(leaves) } else { Err(DAMAGED) }
    }
}

impl Prefix {
    const ALL: Self = Self { bits: [0; 32], len: 0 };

    /// From the first to the last key that may stand there.
    pub(crate) fn range(&self) -> RangeInclusive<[u8; 32]> {
        let mut last = self.bits;
        for (at, byte) in last.iter_mut().enumerate() {
            let fixed = self.len.saturating_sub(8 * at).min(8);
            *byte |= u8::try_from(0xff_u16 >> fixed).unwrap_or_default();
        }
        self.bits..=last
    }

    /// The first key that may stand there.
    pub(crate) const fn first(&self) -> Digest {
        Digest::from_bytes(self.bits)
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// The first key behind all that may stand there.
    pub(crate) fn next(&self) -> Option<Digest> {
        let (mut next, mut at) = (self.bits, self.len);
        // Adds one to the last of its bits.
        while let Some(before) = at.checked_sub(1) {
            at = before;
            let (byte, bit) = (next.get_mut(at / 8)?, 0x80 >> (at % 8));
            *byte ^= bit;
            if *byte & bit != 0 {
                return Some(Digest::from_bytes(next));
            }
        }
        None
    }

    /// One bit more, that of a key below.
    fn below(self, key: &Digest) -> Self {
        let [left, right] = self.halves();
        if trie::is_right(key, self.len) { right } else { left }
    }

    fn halves(self) -> [Self; 2] {
        let left = Self { bits: self.bits, len: self.len + 1 };
        let mut right = left;
        if let Some(byte) = right.bits.get_mut(self.len / 8) {
            *byte |= 0x80 >> (self.len % 8);
        }
        [left, right]
    }
}

/// Reads what stands `depth` bits below the root piece by piece, and puts it together.
fn build(prefix: &Prefix, depth: usize, read: &impl Source) -> Result<Node, StoreError> {
    if prefix.len == depth {
        return Ok(Node::of(&read(prefix)?, depth));
    }
    let [left, right] = prefix.halves();
    let (left, right) = join(prefix.len < *FORKS, || build(&left, depth, read), || build(&right, depth, read));
    Ok(Node::above(left?, right?))
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
fn merged(kept: &[Leaf], changed: &[Leaf]) -> Vec<Leaf> {
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

/// Most keys of a subtree that is read from the store whenever it is needed: sixteen on average. More
/// would save memory, fewer time, since all are read and hashed for each key that changes and each proof.
const FEW: usize = 24;
/// Keys that a rebuild reads at once, so that it needs little memory whatever the size.
const READ_AT_ONCE: u64 = 1024;
const MAX_READS_DEPTH: u32 = 20;
/// Changes below which a second thread costs more than it saves.
const WORTH_A_THREAD: usize = 256;
/// Levels at which the work is divided: one thread for each core.
static FORKS: LazyLock<usize> = LazyLock::new(|| {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    usize::try_from(cores.next_power_of_two().ilog2()).unwrap_or_default().min(4)
});

const DAMAGED: StoreError = StoreError::Damaged { what: "the index is not the one that its root was made of" };

#[cfg(test)]
mod tests;
