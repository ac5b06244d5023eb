//! The index trie as far as it is kept in memory: the hash of each small subtree, and all above them.
//!
//! For: the root after a block, before that block is committed; the path to a key; whether a key is there
//! at all; building the whole anew from the store.
//!
//! Not for: the rules of the hashes (`birthmark_core::index::trie`), nor for values, which lie in the
//! store alone, as do most keys of a large registry. All this is derived data that can be lost at any time.
//!
//! A trie never changes; a block makes a new one that shares what it did not touch. A reader's snapshot
//! of the store and the trie of the same block therefore fit each other for as long as the reader wants,
//! and a commit that fails has changed nothing.
//!
//! The shape follows from the set of keys, as the hashes do; which keys are held in memory follows from the
//! order in which they came. Both are this node's own affair and no part of a format.
//!
//! - `node`: a subtree: made, changed, looked into.
//! - `prefix`: where a subtree stands.
//! - `room`: how many keys may be held in memory.

mod node;
mod prefix;
mod room;

use birthmark_core::hash::Digest;
use birthmark_core::index::trie::{self, End, HashedLeaf, Leaf, Path};
use birthmark_core::prefix::KeyPrefix;

use self::node::{Below, Node};
pub(crate) use self::prefix::Prefix;
use self::room::Room;
use crate::store::StoreError;

/// One version of the trie. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trie {
    root: Node,
    room: Room,
}

/// Reads all leaves under a prefix, sorted by key, from a state of the store that does not change.
pub(crate) trait Source: Fn(&Prefix) -> Result<Vec<Leaf>, StoreError> + Sync {}
impl<F: Fn(&Prefix) -> Result<Vec<Leaf>, StoreError> + Sync> Source for F {}

impl Trie {
    /// The trie without keys.
    pub(crate) const fn empty() -> Self {
        Self { root: Node::EMPTY, room: Room::of(HELD_KEYS) }
    }

    /// The trie of all keys in the store. `about` is how many they may be; it decides only how much is
    /// read at once.
    pub(crate) fn build(about: u64, read: &impl Source) -> Result<Self, StoreError> {
        Self::build_within(Room::of(HELD_KEYS), about, read)
    }

    /// The same without a key in memory.
    #[cfg(test)]
    pub(crate) fn build_unheld(read: &impl Source) -> Result<Self, StoreError> {
        Self::build_within(Room::of(0), 0, read)
    }

    fn build_within(within: Room, about: u64, read: &impl Source) -> Result<Self, StoreError> {
        let depth = (about / READ_AT_ONCE).checked_ilog2().map_or(0, |depth| depth.min(MAX_READS_DEPTH));
        let depth = usize::try_from(depth).unwrap_or_default();
        let (root, left) = within.shared(|room| Node::build(&Prefix::ALL, depth, read, room));
        Ok(Self { root: root?, room: left })
    }

    /// The trie after these keys have got new values; sorted, each key once. `read` gives the state
    /// before, which is this trie's.
    pub(crate) fn updated(&self, changed: &[Leaf], read: &impl Source) -> Result<Self, StoreError> {
        let changed: Vec<_> = changed.iter().map(HashedLeaf::from).collect();
        let (root, left) = self.room.shared(|room| self.root.updated(&Prefix::ALL, &changed, read, room));
        Ok(Self { root: root?, room: left })
    }

    /// The root as block leaves carry it.
    pub(crate) const fn root(&self) -> Digest {
        self.root.hash
    }

    /// How many keys there are.
    pub(crate) const fn keys(&self) -> u64 {
        self.root.keys
    }

    /// Whether a key is there; nothing if only the store can tell.
    pub(crate) fn has(&self, key: &Digest) -> Option<bool> {
        let (mut node, mut depth) = (&self.root, 0);
        while let Below::Halves(halves) = &node.below {
            let [left, right] = &**halves;
            node = if trie::is_right(key, depth) { right } else { left };
            depth += 1;
        }
        match &node.below {
            _ if node.keys == 0 => Some(false),
            Below::Held(leaves) => Some(leaves.binary_search_by_key(key, |leaf| leaf.key).is_ok()),
            Below::Stored | Below::Halves(_) => None,
        }
    }

    /// The way down to a key, which `read` must be of the same state for. It is checked before it is
    /// given out, so that a damaged store does not turn into a wrong proof.
    pub(crate) fn path(&self, key: &Digest, read: &impl Source) -> Result<Path, StoreError> {
        let (mut node, mut prefix, mut siblings) = (&self.root, Prefix::ALL, Vec::with_capacity(32));
        while let Below::Halves(halves) = &node.below {
            let [left, right] = &**halves;
            let (own, other) = if trie::is_right(key, prefix.len) { (right, left) } else { (left, right) };
            siblings.push(other.hash);
            prefix = prefix.below(key);
            node = own;
        }
        let rest = trie::path_of(&node.stored(&prefix, read)?, prefix.len, key);
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
            match &node.below {
                Below::Halves(halves) if at.len < prefix.bits() || node.keys > most as u64 || !begins_here => {
                    let [left, right] = &**halves;
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

/// Keys that a rebuild reads at once, so that it needs little memory whatever the size.
const READ_AT_ONCE: u64 = 1024;
const MAX_READS_DEPTH: u32 = 20;
/// Keys held in memory, 64 bytes each. As keys are hashes, none is likelier to be needed than another: those that came
/// first stay.
const HELD_KEYS: u64 = 1 << 20;

const DAMAGED: StoreError = StoreError::Damaged { what: "the index is not the one that its root was made of" };

#[cfg(test)]
mod tests;
