//! Proofs and roots out of the hashes of complete subtrees.
//!
//! The source of hashes is any closure: tiles on disk, an array in memory, a recorder. Its error
//! type carries [`MerkleError`] too, so that one `?` serves both.

use super::{EMPTY_ROOT, MAX_PROOF_LEN, MerkleError, TreeHash, node_hash};

/// The hashes from the sibling of leaf `index` up to the child of the root of the tree of `size`.
///
/// `source` gives the hash of the complete subtree `(level, index)`.
pub fn prove_inclusion<E: From<MerkleError>>(
    index: u64,
    size: u64,
    source: &mut impl FnMut(u8, u64) -> Result<TreeHash, E>,
) -> Result<Vec<TreeHash>, E> {
    if index >= size {
        return Err(MerkleError::IndexOutOfRange { index, size }.into());
    }
    let mut siblings = Vec::with_capacity(MAX_PROOF_LEN);
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = start + split(end - start);
        siblings.push(if index < middle {
            let sibling = subtree(middle, end, source)?;
            end = middle;
            sibling
        } else {
            let sibling = subtree(start, middle, source)?;
            start = middle;
            sibling
        });
    }
    siblings.reverse();
    Ok(siblings)
}

/// The complete subtrees whose hashes [`prove_inclusion`] will ask for, for reading them ahead.
pub fn inclusion_nodes(index: u64, size: u64) -> Result<Vec<(u8, u64)>, MerkleError> {
    let mut nodes = Vec::with_capacity(MAX_PROOF_LEN);
    prove_inclusion(index, size, &mut |level, at| {
        nodes.push((level, at));
        Ok::<_, MerkleError>(EMPTY_ROOT)
    })?;
    Ok(nodes)
}

/// The hashes that show the tree of `new_size` to extend the tree of `old_size`.
///
/// Empty for equal sizes; refused from the empty tree, as in [`super::verify_consistency`].
pub fn prove_consistency<E: From<MerkleError>>(
    old_size: u64,
    new_size: u64,
    source: &mut impl FnMut(u8, u64) -> Result<TreeHash, E>,
) -> Result<Vec<TreeHash>, E> {
    if old_size == new_size {
        return Ok(Vec::new());
    }
    if old_size == 0 || old_size > new_size {
        return Err(MerkleError::SizesOutOfOrder { old: old_size, new: new_size }.into());
    }
    let mut hashes = Vec::with_capacity(MAX_PROOF_LEN);
    let (mut start, mut end) = (0, new_size);
    while old_size != end {
        let middle = start + split(end - start);
        if old_size <= middle {
            hashes.push(subtree(middle, end, source)?);
            end = middle;
        } else {
            hashes.push(subtree(start, middle, source)?);
            start = middle;
        }
    }
    // From leaf 0 this subtree is the whole older tree, whose root the checker has.
    if start != 0 {
        hashes.push(subtree(start, end, source)?);
    }
    hashes.reverse();
    Ok(hashes)
}

/// The root of the tree of `size` leaves.
pub fn root<E>(size: u64, source: &mut impl FnMut(u8, u64) -> Result<TreeHash, E>) -> Result<TreeHash, E> {
    if size == 0 { Ok(EMPTY_ROOT) } else { subtree(0, size, source) }
}

/// The hash over leaves `start..end`, a range that RFC 6962's splitting of a tree arrives at.
fn subtree<E>(start: u64, end: u64, source: &mut impl FnMut(u8, u64) -> Result<TreeHash, E>) -> Result<TreeHash, E> {
    let len = end - start;
    if len.is_power_of_two() {
        let level = len.trailing_zeros();
        return source(level.to_le_bytes()[0], start >> level);
    }
    let middle = start + split(len);
    let left = subtree(start, middle, source)?;
    let right = subtree(middle, end, source)?;
    Ok(node_hash(&left, &right))
}

/// The greatest power of two below `len`, for `len` of 2 or more.
const fn split(len: u64) -> u64 {
    1 << (len - 1).ilog2()
}
