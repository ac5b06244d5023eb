//! A growing tree, kept as the roots of the complete subtrees along its right edge.

use super::{EMPTY_ROOT, MerkleError, TreeHash, node_hash};

/// A tree of any size in at most 64 hashes: enough to append leaves and to know the root.
///
/// One hash for each bit that is set in the size, the largest subtree first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    peaks: Vec<TreeHash>,
}

impl Frontier {
    /// The tree without leaves.
    pub const fn new() -> Self {
        Self { size: 0, peaks: Vec::new() }
    }

    /// Takes up a stored tree: `peaks` as [`Self::peaks`] gave them.
    pub fn from_peaks(size: u64, peaks: Vec<TreeHash>) -> Result<Self, MerkleError> {
        let expected = usize::try_from(size.count_ones()).unwrap_or(usize::MAX);
        if peaks.len() != expected {
            return Err(MerkleError::FrontierLength { size, expected, got: peaks.len() });
        }
        Ok(Self { size, peaks })
    }

    /// Takes up the tree of `size` leaves out of the hashes of its complete subtrees.
    pub fn load<E>(size: u64, source: &mut impl FnMut(u8, u64) -> Result<TreeHash, E>) -> Result<Self, E> {
        let peaks = peak_nodes(size).map(|(level, index)| source(level, index)).collect::<Result<_, E>>()?;
        Ok(Self { size, peaks })
    }

    /// Adds one leaf by its hash, and tells `completed` of each complete subtree that now exists as
    /// `(level, index, hash)`, the leaf itself first.
    pub fn append(
        &mut self,
        leaf_hash: TreeHash,
        mut completed: impl FnMut(u8, u64, &TreeHash),
    ) -> Result<(), MerkleError> {
        let new_size = self.size.checked_add(1).ok_or(MerkleError::Full)?;
        let (mut level, mut index, mut hash) = (0u8, self.size, leaf_hash);
        completed(level, index, &hash);
        // While the new subtree is a right child, its left sibling is the smallest peak.
        while index & 1 == 1 {
            let Some(left) = self.peaks.pop() else { break };
            hash = node_hash(&left, &hash);
            level += 1;
            index >>= 1;
            completed(level, index, &hash);
        }
        self.peaks.push(hash);
        self.size = new_size;
        Ok(())
    }

    /// The tree's root.
    pub fn root(&self) -> TreeHash {
        let mut from_smallest = self.peaks.iter().rev();
        let smallest = from_smallest.next().copied().unwrap_or(EMPTY_ROOT);
        from_smallest.fold(smallest, |right, left| node_hash(left, &right))
    }

    /// Leaves in the tree.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the complete subtrees along the right edge, the largest first.
    pub fn peaks(&self) -> &[TreeHash] {
        &self.peaks
    }
}

/// The complete subtrees along the right edge of a tree of `size` leaves as `(level, index)`, the
/// largest first.
pub fn peak_nodes(size: u64) -> impl Iterator<Item = (u8, u64)> {
    (0..64u8).rev().filter(move |level| size >> level & 1 == 1).map(move |level| {
        // All of the size above this bit lies to the left; the bit itself is this subtree.
        (level, (size >> level) - 1)
    })
}
