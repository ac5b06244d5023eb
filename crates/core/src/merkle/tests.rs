use proptest::prelude::*;
use serde::Deserialize;

use super::*;

/// RFC 6962 section 2.1, word for word.
fn naive_root(leaves: &[TreeHash]) -> TreeHash {
    match leaves.len() {
        0 => EMPTY_ROOT,
        1 => leaves[0],
        n => {
            let k = naive_split(n);
            node_hash(&naive_root(&leaves[..k]), &naive_root(&leaves[k..]))
        }
    }
}

/// RFC 6962 section 2.1.1, `PATH(m, D[n])`.
fn naive_path(m: usize, leaves: &[TreeHash]) -> Vec<TreeHash> {
    if leaves.len() <= 1 {
        return Vec::new();
    }
    let k = naive_split(leaves.len());
    let (mut path, sibling) = if m < k {
        (naive_path(m, &leaves[..k]), naive_root(&leaves[k..]))
    } else {
        (naive_path(m - k, &leaves[k..]), naive_root(&leaves[..k]))
    };
    path.push(sibling);
    path
}

/// RFC 6962 section 2.1.2, `SUBPROOF(m, D[n], b)`.
fn naive_subproof(m: usize, leaves: &[TreeHash], complete: bool) -> Vec<TreeHash> {
    if m == leaves.len() {
        return if complete { Vec::new() } else { vec![naive_root(leaves)] };
    }
    let k = naive_split(leaves.len());
    let (mut proof, sibling) = if m <= k {
        (naive_subproof(m, &leaves[..k], complete), naive_root(&leaves[k..]))
    } else {
        (naive_subproof(m - k, &leaves[k..], false), naive_root(&leaves[..k]))
    };
    proof.push(sibling);
    proof
}

fn naive_split(n: usize) -> usize {
    let mut k = 1;
    while k * 2 < n {
        k *= 2;
    }
    k
}

fn leaves(n: usize) -> Vec<TreeHash> {
    (0..n).map(|i| leaf_hash(&i.to_be_bytes())).collect()
}

/// Complete subtrees over `leaves`; asking for any other is an error.
fn source(leaves: &[TreeHash]) -> impl FnMut(u8, u64) -> Result<TreeHash, MerkleError> + '_ {
    |level, index| {
        let start = usize::try_from(index << level).unwrap();
        leaves.get(start..start + (1 << level)).map(naive_root).ok_or(MerkleError::RootMismatch)
    }
}

#[derive(Deserialize)]
struct Vectors<T> {
    cases: Vec<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InclusionCase {
    leaf_idx: u64,
    tree_size: u64,
    root: String,
    leaf_hash: String,
    proof: Option<Vec<String>>,
    want_err: bool,
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConsistencyCase {
    size1: u64,
    size2: u64,
    root1: String,
    root2: String,
    proof: Option<Vec<String>>,
    want_err: bool,
    name: String,
}

fn hash(text: &str) -> Option<TreeHash> {
    TreeHash::from_base64(text).ok()
}

fn hashes(texts: Option<&Vec<String>>) -> Option<Vec<TreeHash>> {
    texts.into_iter().flatten().map(|text| hash(text)).collect()
}

#[test]
fn published_inclusion_vectors_hold_and_fail_as_they_say() {
    let text = include_str!("../../../../vectors/rfc6962-inclusion.json");
    let vectors: Vectors<InclusionCase> = serde_json::from_str(text).unwrap();
    assert_eq!(vectors.cases.len(), 49);
    for case in vectors.cases {
        let holds = (|| {
            let (leaf, root) = (hash(&case.leaf_hash)?, hash(&case.root)?);
            verify_inclusion(&leaf, case.leaf_idx, case.tree_size, &hashes(case.proof.as_ref())?, &root).ok()
        })();
        assert_eq!(holds.is_none(), case.want_err, "{}", case.name);
    }
}

#[test]
fn published_consistency_vectors_hold_and_fail_as_they_say() {
    let text = include_str!("../../../../vectors/rfc6962-consistency.json");
    let vectors: Vectors<ConsistencyCase> = serde_json::from_str(text).unwrap();
    assert_eq!(vectors.cases.len(), 49);
    for case in vectors.cases {
        let holds = (|| {
            let (old, new) = (hash(&case.root1)?, hash(&case.root2)?);
            verify_consistency(case.size1, case.size2, &hashes(case.proof.as_ref())?, &old, &new).ok()
        })();
        assert_eq!(holds.is_none(), case.want_err, "{}", case.name);
    }
}

#[test]
fn empty_tree_has_the_hash_of_nothing() {
    assert_eq!(EMPTY_ROOT.to_string(), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    assert_eq!(root_of(&[]), EMPTY_ROOT);
    assert_eq!(Frontier::new().root(), EMPTY_ROOT);
    assert_eq!(root(0, &mut source(&[])), Ok(EMPTY_ROOT));
}

#[test]
fn every_proof_of_small_trees_equals_the_textbook_and_verifies() {
    for n in 0..=35 {
        let leaves = leaves(n);
        let size = n as u64;
        let top = naive_root(&leaves);
        assert_eq!(root_of(&leaves), top);
        assert_eq!(root(size, &mut source(&leaves)), Ok(top));
        for m in 0..n {
            let proof = prove_inclusion(m as u64, size, &mut source(&leaves)).unwrap();
            assert_eq!(proof, naive_path(m, &leaves));
            verify_inclusion(&leaves[m], m as u64, size, &proof, &top).unwrap();
        }
        for m in 1..=n {
            let proof = prove_consistency(m as u64, size, &mut source(&leaves)).unwrap();
            assert_eq!(proof, naive_subproof(m, &leaves, true));
            verify_consistency(m as u64, size, &proof, &naive_root(&leaves[..m]), &top).unwrap();
        }
    }
}

#[test]
fn the_largest_sizes_neither_overflow_nor_loop() {
    // All leaves alike, so all complete subtrees of a level are.
    let by_level: Vec<_> =
        std::iter::successors(Some(EMPTY_ROOT), |hash| Some(node_hash(hash, hash))).take(64).collect();
    let mut any = |level: u8, _: u64| Ok::<_, MerkleError>(by_level[usize::from(level)]);
    for size in [u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) + 1, (1 << 63) - 1] {
        let top = root(size, &mut any).unwrap();
        for index in [0, 1, size / 2, size - 2, size - 1] {
            let proof = prove_inclusion(index, size, &mut any).unwrap();
            assert!(proof.len() <= MAX_PROOF_LEN);
            verify_inclusion(&EMPTY_ROOT, index, size, &proof, &top).unwrap();
            let old = root(index.max(1), &mut any).unwrap();
            let proof = prove_consistency(index.max(1), size, &mut any).unwrap();
            assert!(proof.len() <= MAX_PROOF_LEN + 1);
            verify_consistency(index.max(1), size, &proof, &old, &top).unwrap();
        }
        assert_eq!(Frontier::load(size, &mut any).unwrap().root(), top);
    }
    let mut full = Frontier::load(u64::MAX, &mut any).unwrap();
    assert_eq!(full.append(EMPTY_ROOT, |_, _, _| {}), Err(MerkleError::Full));
}

#[test]
fn sizes_and_indices_that_make_no_sense_are_refused() {
    let leaves = leaves(4);
    let top = naive_root(&leaves);
    let mut from = source(&leaves);
    for (index, size) in [(0, 0), (4, 4), (u64::MAX, 4), (u64::MAX, u64::MAX)] {
        let expected = MerkleError::IndexOutOfRange { index, size };
        assert_eq!(prove_inclusion(index, size, &mut from), Err(expected));
        assert_eq!(verify_inclusion(&leaves[0], index, size, &[], &top), Err(expected));
    }
    for (old, new) in [(0, 1), (0, 4), (5, 4), (u64::MAX, 4)] {
        let expected = MerkleError::SizesOutOfOrder { old, new };
        assert_eq!(prove_consistency(old, new, &mut from), Err(expected));
        assert_eq!(verify_consistency(old, new, &[], &top, &top), Err(expected));
    }
    assert_eq!(verify_consistency(3, 4, &[], &top, &top), Err(MerkleError::ProofLength(0)));
    assert_eq!(verify_consistency(4, 4, &[top], &top, &top), Err(MerkleError::ProofLength(1)));
    assert!(matches!(Frontier::from_peaks(3, vec![top]), Err(MerkleError::FrontierLength { expected: 2, .. })));
}

proptest! {
    #[test]
    fn proofs_of_any_tree_verify_and_no_change_of_them_does(
        n in 1usize..600, a: prop::sample::Index, b: prop::sample::Index, spot: prop::sample::Index, bit in 0u8..8,
    ) {
        let leaves = leaves(n);
        let (size, at, old) = (n as u64, a.index(n), b.index(n) + 1);
        let top = naive_root(&leaves);
        let proof = prove_inclusion(at as u64, size, &mut source(&leaves)).unwrap();
        prop_assert_eq!(&proof, &naive_path(at, &leaves));
        prop_assert!(verify_inclusion(&leaves[at], at as u64, size, &proof, &top).is_ok());
        prop_assert!(verify_inclusion(&leaf_hash(b"other"), at as u64, size, &proof, &top).is_err());
        if let Some(i) = (!proof.is_empty()).then(|| spot.index(proof.len())) {
            let mut changed = proof.clone();
            changed[i].0[usize::from(bit)] ^= 1 << bit;
            prop_assert!(verify_inclusion(&leaves[at], at as u64, size, &changed, &top).is_err());
            prop_assert!(verify_inclusion(&leaves[at], at as u64, size, &proof[1..], &top).is_err());
        }
        let old_root = naive_root(&leaves[..old]);
        let proof = prove_consistency(old as u64, size, &mut source(&leaves)).unwrap();
        prop_assert_eq!(&proof, &naive_subproof(old, &leaves, true));
        prop_assert!(verify_consistency(old as u64, size, &proof, &old_root, &top).is_ok());
        prop_assert!(verify_consistency(old as u64, size, &proof, &leaf_hash(b"other"), &top).is_err());
        let longer = [&proof[..], &[top]].concat();
        prop_assert!(verify_consistency(old as u64, size, &longer, &old_root, &top).is_err());
    }

    #[test]
    fn a_frontier_has_the_root_and_reports_every_complete_subtree_once(n in 0usize..300, cut: prop::sample::Index) {
        let leaves = leaves(n);
        let mut frontier = Frontier::new();
        let mut nodes = std::collections::BTreeMap::new();
        let cut = cut.index(n + 1);
        for (i, leaf) in leaves.iter().enumerate() {
            if i == cut {
                let stored = Frontier::from_peaks(frontier.size(), frontier.peaks().to_vec()).unwrap();
                let read = Frontier::load(i as u64, &mut |level, at| nodes.get(&(level, at)).copied().ok_or(())).unwrap();
                prop_assert_eq!(&stored, &read);
                frontier = stored;
            }
            frontier.append(*leaf, |level, at, hash| assert!(nodes.insert((level, at), *hash).is_none())).unwrap();
            prop_assert_eq!(frontier.root(), naive_root(&leaves[..=i]));
        }
        let complete: usize = (0..10).map(|level| n >> level).sum();
        prop_assert_eq!(nodes.len(), complete);
        for ((level, at), hash) in nodes {
            prop_assert_eq!(source(&leaves)(level, at).unwrap(), hash);
        }
    }

    #[test]
    fn nodes_read_ahead_are_the_nodes_asked_for(n in 1u64..100_000, a: prop::sample::Index) {
        let index = a.index(usize::try_from(n).unwrap()) as u64;
        let mut asked = Vec::new();
        prove_inclusion(index, n, &mut |level, at| { asked.push((level, at)); Ok::<_, MerkleError>(EMPTY_ROOT) }).unwrap();
        prop_assert_eq!(inclusion_nodes(index, n).unwrap(), asked);
    }
}
