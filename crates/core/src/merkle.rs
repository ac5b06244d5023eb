//! The RFC 6962 Merkle tree over the log: hashes, and the checking of proofs.
//!
//! For: whoever holds a root and wants to know whether a leaf is in the tree, or whether one tree
//! extends another. [`prove_inclusion`] and [`prove_consistency`] make the proofs out of the hashes
//! of complete subtrees, wherever those are kept; [`Frontier`] grows a tree leaf by leaf.
//!
//! Not for: storing hashes (`birthmark_ledger`), their layout in files (`tile`), or the question
//! whether a root deserves trust (`checkpoint`).
//!
//! Format: RFC 6962 section 2.1 with SHA-256; `docs/PROTOCOL.md` section 8.
//!
//! ```text
//! leaf hash = SHA-256(0x00 ‖ leaf)
//! node hash = SHA-256(0x01 ‖ left ‖ right)
//! empty     = SHA-256()
//! ```
//!
//! A complete subtree is named by `(level, index)`: it covers leaves `index << level` up to but
//! without `(index + 1) << level`; level 0 are the leaf hashes.

mod frontier;
mod prove;

use std::fmt;

use sha2::{Digest as _, Sha256};

pub use self::frontier::{Frontier, peak_nodes};
pub use self::prove::{inclusion_nodes, prove_consistency, prove_inclusion, root};
use crate::base64::{self, Base64Error};

/// The greatest number of hashes in a proof: one for each bit of a 64-bit tree size.
pub const MAX_PROOF_LEN: usize = 64;

/// The root of the tree without leaves.
pub const EMPTY_ROOT: TreeHash = TreeHash([
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41,
    0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
]);

/// The hash of a leaf, of a node, or of a whole tree. Written as base64, as C2SP has it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeHash([u8; 32]);

/// Why a proof does not hold, or why none can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MerkleError {
    /// The leaf would lie outside the tree.
    #[error("leaf {index} is not in a tree of {size} leaves")]
    IndexOutOfRange {
        /// The leaf's index.
        index: u64,
        /// Leaves in the tree.
        size: u64,
    },
    /// The older tree would be empty or larger than the newer one.
    #[error("a tree of {new} leaves cannot be shown to extend one of {old}")]
    SizesOutOfOrder {
        /// Leaves in the older tree.
        old: u64,
        /// Leaves in the newer tree.
        new: u64,
    },
    /// Fewer or more hashes than these sizes call for.
    #[error("the proof has the wrong number of hashes: {0}")]
    ProofLength(usize),
    /// The hashes lead to another root.
    #[error("the proof leads to another root")]
    RootMismatch,
    /// A stored frontier has the wrong number of hashes for its size.
    #[error("a tree of {size} leaves has {expected} complete subtrees on its edge, not {got}")]
    FrontierLength {
        /// Leaves in the tree.
        size: u64,
        /// Hashes wanted.
        expected: usize,
        /// Hashes given.
        got: usize,
    },
    /// The tree cannot grow beyond 2^64 - 1 leaves.
    #[error("the tree is full")]
    Full,
}

impl TreeHash {
    /// Takes 32 bytes that are already such a hash.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads 44 characters of canonical base64.
    pub fn from_base64(text: &str) -> Result<Self, Base64Error> {
        base64::decode_array(text).map(Self)
    }
}

impl fmt::Display for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64::encode(self.0))
    }
}

impl fmt::Debug for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TreeHash({self})")
    }
}

/// The hash of a leaf's bytes.
pub fn leaf_hash(leaf: &[u8]) -> TreeHash {
    TreeHash(Sha256::new().chain_update([0]).chain_update(leaf).finalize().into())
}

/// The hash of the node above `left` and `right`.
pub fn node_hash(left: &TreeHash, right: &TreeHash) -> TreeHash {
    TreeHash(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// The root over these leaf hashes.
pub fn root_of(leaf_hashes: &[TreeHash]) -> TreeHash {
    match leaf_hashes {
        [] => EMPTY_ROOT,
        [one] => *one,
        many => {
            let (left, right) = many.split_at(1 << (many.len() - 1).ilog2());
            node_hash(&root_of(left), &root_of(right))
        }
    }
}

/// Checks that the leaf with this hash is leaf `index` of the tree of `size` leaves with this root.
///
/// RFC 9162 section 2.1.3.2.
pub fn verify_inclusion(
    leaf_hash: &TreeHash,
    index: u64,
    size: u64,
    proof: &[TreeHash],
    root: &TreeHash,
) -> Result<(), MerkleError> {
    if index >= size {
        return Err(MerkleError::IndexOutOfRange { index, size });
    }
    let mut climb = Climb { node: index, last: size - 1 };
    let mut hash = *leaf_hash;
    for sibling in proof {
        hash = match climb.step().ok_or(MerkleError::ProofLength(proof.len()))? {
            Side::Left => node_hash(sibling, &hash),
            Side::Right => node_hash(&hash, sibling),
        };
    }
    climb.finish(proof.len())?;
    if hash == *root { Ok(()) } else { Err(MerkleError::RootMismatch) }
}

/// Checks that the first `old_size` leaves of the newer tree are the older tree.
///
/// Trees of equal size need equal roots and no hashes. From the empty tree nothing can be shown,
/// since every tree extends it; asking is refused. RFC 9162 section 2.1.4.2.
pub fn verify_consistency(
    old_size: u64,
    new_size: u64,
    proof: &[TreeHash],
    old_root: &TreeHash,
    new_root: &TreeHash,
) -> Result<(), MerkleError> {
    if old_size == new_size {
        return match (proof, old_root == new_root) {
            ([], true) => Ok(()),
            ([], false) => Err(MerkleError::RootMismatch),
            _ => Err(MerkleError::ProofLength(proof.len())),
        };
    }
    if old_size == 0 || old_size > new_size {
        return Err(MerkleError::SizesOutOfOrder { old: old_size, new: new_size });
    }
    // A complete older tree is itself a node of the newer one, and the proof leaves it out.
    let (start, rest) = match proof.split_first() {
        _ if old_size.is_power_of_two() => (old_root, proof),
        Some(split) => split,
        None => return Err(MerkleError::ProofLength(0)),
    };
    let right_edge = old_size.trailing_zeros();
    let mut climb = Climb { node: (old_size - 1) >> right_edge, last: (new_size - 1) >> right_edge };
    let (mut old, mut new) = (*start, *start);
    for sibling in rest {
        match climb.step().ok_or(MerkleError::ProofLength(proof.len()))? {
            Side::Left => {
                old = node_hash(sibling, &old);
                new = node_hash(sibling, &new);
            }
            Side::Right => new = node_hash(&new, sibling),
        }
    }
    climb.finish(proof.len())?;
    if old == *old_root && new == *new_root { Ok(()) } else { Err(MerkleError::RootMismatch) }
}

/// The way from a node up to the root: where it stands among the nodes of its level.
struct Climb {
    node: u64,
    last: u64,
}

/// On which side of the present node the sibling stands.
enum Side {
    Left,
    Right,
}

impl Climb {
    /// Goes up past one sibling; `None` if the root has been reached already.
    fn step(&mut self) -> Option<Side> {
        if self.last == 0 {
            return None;
        }
        let side = if self.node & 1 == 1 || self.node == self.last {
            // The last node of a level may lack siblings for several levels: it moves up unchanged.
            let unpaired = self.node.trailing_zeros().min(63);
            self.node >>= unpaired;
            self.last >>= unpaired;
            Side::Left
        } else {
            Side::Right
        };
        self.node >>= 1;
        self.last >>= 1;
        Some(side)
    }

    /// The root must have been reached.
    const fn finish(self, len: usize) -> Result<(), MerkleError> {
        if self.last == 0 { Ok(()) } else { Err(MerkleError::ProofLength(len)) }
    }
}

#[cfg(test)]
mod tests;
