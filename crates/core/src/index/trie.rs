//! The compact sparse Merkle trie over the index: hashes, and the checking of paths.
//!
//! For: whoever holds an index root and wants to know what stands under a key, or that nothing does.
//! [`root_of`] and [`path_of`] make root and path out of a sorted list of leaves; a store uses them for
//! the small subtrees that it reads at once.
//!
//! Not for: growing a large trie and keeping it (`birthmark_ledger`), nor for the question whether a
//! root deserves trust (`absence`).
//!
//! Format: `docs/PROTOCOL.md` section 9. Bits count from the most significant one of the first byte:
//! ```text
//! empty subtree                      = 32 zero bytes
//! subtree of one key, at any depth   = SHA-256(0x00 ‖ key ‖ SHA-256(value))
//! any other subtree                  = SHA-256(0x01 ‖ left ‖ right)
//! ```
//! The shape follows from the set of keys alone, so the root does not depend on the order in which they
//! came. A path is the siblings from the root down, at most 256, and what stands at its end.

use serde::{Deserialize, Serialize};

use crate::hash::Digest;

/// The root of the trie without keys.
pub const EMPTY: Digest = Digest::from_bytes([0; 32]);

/// Most siblings of a path: one for each bit of a key.
pub const MAX_SIBLINGS: usize = 256;

/// A key with the hash of its subtree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The index key.
    pub key: Digest,
    /// SHA-256 of the value's encoding.
    pub value_hash: Digest,
}

/// What stands at the end of the way down to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The key itself.
    Here {
        /// SHA-256 of its value.
        value_hash: Digest,
    },
    /// No key at all.
    Empty,
    /// Another key, alone under the prefix that it shares with the one looked for.
    Other(OtherKey),
}

/// A key that stands where the one looked for would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OtherKey {
    /// The key.
    #[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[0-9a-f]{64}$"))]
    pub key: Digest,
    /// SHA-256 of its value.
    #[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[0-9a-f]{64}$"))]
    pub value_hash: Digest,
}

/// The way down to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The sibling of each node on the way, from the root down.
    pub siblings: Vec<Digest>,
    /// Where it ends.
    pub end: End,
}

/// Why a path does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrieError {
    /// Longer than a key has bits.
    #[error("a path of {0} siblings is longer than a key")]
    TooLong(usize),
    /// The key said to stand in the place of the one looked for is that one.
    #[error("the other key is the one that is said to be absent")]
    SameKey,
    /// The key said to stand there would stand elsewhere.
    #[error("the other key does not share the path's {0} bits")]
    OtherPath(usize),
    /// The hashes lead to another root.
    #[error("the path leads to another root")]
    RootMismatch,
}

impl Leaf {
    /// The hash of the subtree that holds this key alone.
    pub fn hash(&self) -> Digest {
        Digest::of_parts(&[&[0], self.key.as_bytes(), self.value_hash.as_bytes()])
    }
}

impl From<OtherKey> for Leaf {
    fn from(OtherKey { key, value_hash }: OtherKey) -> Self {
        Self { key, value_hash }
    }
}

/// The hash of a subtree of two or more keys.
pub fn inner_hash(left: &Digest, right: &Digest) -> Digest {
    Digest::of_parts(&[&[1], left.as_bytes(), right.as_bytes()])
}

/// Whether a key lies in the right half of a subtree whose root is `depth` steps down; of 256 and more none does.
pub fn is_right(key: &Digest, depth: usize) -> bool {
    key.as_bytes().get(depth / 8).is_some_and(|byte| byte >> (7 - depth % 8) & 1 == 1)
}

/// A key by which a subtree can be told that holds it alone.
pub trait OneKey {
    /// The key.
    fn key(&self) -> &Digest;
    /// The hash of the subtree that holds this key alone.
    fn hash(&self) -> Digest;
}

impl OneKey for Leaf {
    fn key(&self) -> &Digest {
        &self.key
    }

    fn hash(&self) -> Digest {
        Self::hash(self)
    }
}

/// A leaf that was hashed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashedLeaf {
    /// The index key.
    pub key: Digest,
    /// The hash of the subtree that holds this key alone.
    pub hash: Digest,
}

impl OneKey for HashedLeaf {
    fn key(&self) -> &Digest {
        &self.key
    }

    fn hash(&self) -> Digest {
        self.hash
    }
}

impl From<&Leaf> for HashedLeaf {
    fn from(leaf: &Leaf) -> Self {
        Self { key: leaf.key, hash: leaf.hash() }
    }
}

/// The root of a subtree whose root is `depth` steps down; all its keys, sorted.
pub fn root_of<L: OneKey>(leaves: &[L], depth: usize) -> Digest {
    match leaves {
        [] => EMPTY,
        [one] => one.hash(),
        // Equal keys never part; no sorted set has any.
        [one, ..] if depth >= MAX_SIBLINGS => one.hash(),
        many => {
            let (left, right) = halves(many, depth);
            inner_hash(&root_of(left, depth + 1), &root_of(right, depth + 1))
        }
    }
}

/// The way down to `key` within a subtree whose root is `depth` steps down; all its keys, sorted.
pub fn path_of(leaves: &[Leaf], depth: usize, key: &Digest) -> Path {
    let (mut leaves, mut siblings) = (leaves, Vec::new());
    for depth in depth..MAX_SIBLINGS {
        if leaves.len() < 2 {
            break;
        }
        let (left, right) = halves(leaves, depth);
        let (own, other) = if is_right(key, depth) { (right, left) } else { (left, right) };
        siblings.push(root_of(other, depth + 1));
        leaves = own;
    }
    let end = match leaves.first() {
        None => End::Empty,
        Some(leaf) if leaf.key == *key => End::Here { value_hash: leaf.value_hash },
        Some(Leaf { key, value_hash }) => End::Other(OtherKey { key: *key, value_hash: *value_hash }),
    };
    Path { siblings, end }
}

/// Checks that `key` stands in the trie with this root, with a value of this hash.
pub fn verify_inclusion(
    key: &Digest,
    value_hash: &Digest,
    siblings: &[Digest],
    root: &Digest,
) -> Result<(), TrieError> {
    let leaf = Leaf { key: *key, value_hash: *value_hash };
    climb(key, leaf.hash(), siblings, root)
}

/// Checks that `key` does not stand in the trie with this root: its path ends empty, or at `other`.
pub fn verify_absence(
    key: &Digest,
    siblings: &[Digest],
    other: Option<&OtherKey>,
    root: &Digest,
) -> Result<(), TrieError> {
    let end = match other {
        None => EMPTY,
        Some(other) if other.key == *key => return Err(TrieError::SameKey),
        Some(other) if (0..siblings.len()).any(|depth| is_right(&other.key, depth) != is_right(key, depth)) => {
            return Err(TrieError::OtherPath(siblings.len()));
        }
        Some(other) => Leaf::from(*other).hash(),
    };
    climb(key, end, siblings, root)
}

/// From the hash at the end of the path back up to the root.
fn climb(key: &Digest, end: Digest, siblings: &[Digest], root: &Digest) -> Result<(), TrieError> {
    if siblings.len() > MAX_SIBLINGS {
        return Err(TrieError::TooLong(siblings.len()));
    }
    let hash = siblings.iter().enumerate().rev().fold(end, |hash, (depth, sibling)| {
        if is_right(key, depth) { inner_hash(sibling, &hash) } else { inner_hash(&hash, sibling) }
    });
    if hash == *root { Ok(()) } else { Err(TrieError::RootMismatch) }
}

/// Those of a subtree's keys, sorted, that lie in its left and in its right half; its root is `depth` steps down.
pub fn halves<L: OneKey>(leaves: &[L], depth: usize) -> (&[L], &[L]) {
    leaves.split_at(leaves.partition_point(|leaf| !is_right(leaf.key(), depth)))
}

#[cfg(test)]
mod tests;
