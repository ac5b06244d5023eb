use std::collections::BTreeMap;

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::*;

/// A second way to the root, straight from the protocol's sentence: keys are strings of bits.
fn naive(keys: &BTreeMap<String, Leaf>, prefix: &str) -> [u8; 32] {
    let below: Vec<_> = keys.iter().filter(|(bits, _)| bits.starts_with(prefix)).collect();
    let hashed = |parts: [&[u8]; 3]| Sha256::digest(parts.concat()).into();
    match below.as_slice() {
        [] => [0; 32],
        [(_, leaf)] => hashed([&[0], leaf.key.as_bytes(), leaf.value_hash.as_bytes()]),
        _ => {
            let half = |bit: char| naive(keys, &format!("{prefix}{bit}"));
            hashed([&[1], &half('0'), &half('1')])
        }
    }
}

fn bits(key: &Digest) -> String {
    let digit = |at: usize| if key.as_bytes()[at / 8] << (at % 8) & 0x80 == 0 { '0' } else { '1' };
    (0..256).map(digit).collect()
}

fn by_bits(leaves: &[Leaf]) -> BTreeMap<String, Leaf> {
    leaves.iter().map(|leaf| (bits(&leaf.key), *leaf)).collect()
}

/// Key `base` with one bit of it turned: any two of one base share a prefix of any length.
fn key(base: u8, turned: u8) -> Digest {
    let mut bytes = *Digest::of_parts(&[&[base]]).as_bytes();
    bytes[usize::from(turned / 8)] ^= 0x80 >> (turned % 8);
    Digest::from_bytes(bytes)
}

fn any_leaves() -> impl Strategy<Value = Vec<Leaf>> {
    let any_key = prop_oneof![(0u8..3, any::<u8>()).prop_map(|(base, turned)| key(base, turned)), any_digest()];
    prop::collection::btree_map(any_key, any_digest(), 0..24)
        .prop_map(|keys| keys.into_iter().map(|(key, value_hash)| Leaf { key, value_hash }).collect())
}

fn any_digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::from_bytes)
}

fn leaf(key: Digest) -> Leaf {
    Leaf { key, value_hash: Digest::of_parts(&[b"value", key.as_bytes()]) }
}

#[test]
fn keys_that_differ_in_the_last_bit_stand_256_steps_down() {
    let (mut low, mut high) = ([0xa5; 32], [0xa5; 32]);
    (low[31], high[31]) = (4, 5);
    let leaves = [low, high].map(|bytes| leaf(Digest::from_bytes(bytes)));
    let root = root_of(&leaves, 0);
    let path = path_of(&leaves, 0, &leaves[1].key);
    assert_eq!(path.siblings.len(), 256);
    assert!(path.siblings[..255].iter().all(|sibling| *sibling == EMPTY));
    assert_eq!(path.siblings[255], leaves[0].hash());
    verify_inclusion(&leaves[1].key, &leaves[1].value_hash, &path.siblings, &root).unwrap();
    let longer = [path.siblings.as_slice(), &[EMPTY]].concat();
    assert_eq!(verify_inclusion(&leaves[1].key, &leaves[1].value_hash, &longer, &root), Err(TrieError::TooLong(257)));
    assert_eq!(verify_absence(&Digest::from_bytes([1; 32]), &longer, None, &root), Err(TrieError::TooLong(257)));
}

#[test]
fn nothing_is_absent_from_a_trie_by_its_own_leaf_or_by_one_that_stands_elsewhere() {
    let leaves: Vec<_> = {
        let mut keys: Vec<_> = (0..8).map(|seed| key(seed, 255)).collect();
        keys.sort_unstable();
        keys.into_iter().map(leaf).collect()
    };
    let root = root_of(&leaves, 0);
    let here = path_of(&leaves, 0, &leaves[0].key);
    let other = OtherKey { key: leaves[0].key, value_hash: leaves[0].value_hash };
    assert_eq!(verify_absence(&leaves[0].key, &here.siblings, Some(&other), &root), Err(TrieError::SameKey));
    assert_eq!(verify_absence(&leaves[0].key, &here.siblings, None, &root), Err(TrieError::RootMismatch));
    // The path of one key says nothing about a key on another path.
    let refused = verify_absence(&leaves[7].key, &here.siblings, Some(&other), &root);
    assert_eq!(refused, Err(TrieError::OtherPath(here.siblings.len())));
}

#[test]
fn the_empty_trie_has_no_keys() {
    assert_eq!(root_of::<Leaf>(&[], 0), EMPTY);
    let key = Digest::of_parts(&[b"any"]);
    assert_eq!(path_of(&[], 0, &key), Path { siblings: vec![], end: End::Empty });
    assert_eq!(verify_absence(&key, &[], None, &EMPTY), Ok(()));
    assert_eq!(verify_inclusion(&key, &key, &[], &EMPTY), Err(TrieError::RootMismatch));
}

fn verify(key: &Digest, path: &Path, root: &Digest) -> Result<(), TrieError> {
    match &path.end {
        End::Here { value_hash } => verify_inclusion(key, value_hash, &path.siblings, root),
        End::Empty => verify_absence(key, &path.siblings, None, root),
        End::Other(other) => verify_absence(key, &path.siblings, Some(other), root),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_root_is_that_of_the_naive_model(leaves in any_leaves()) {
        prop_assert_eq!(*root_of(&leaves, 0).as_bytes(), naive(&by_bits(&leaves), ""));
    }

    #[test]
    fn each_key_is_proven_present_or_absent_and_never_both(leaves in any_leaves(), others in prop::collection::vec((0u8..3, any::<u8>()), 8)) {
        let root = root_of(&leaves, 0);
        let asked = others.into_iter().map(|(base, turned)| key(base, turned));
        for key in leaves.iter().map(|leaf| leaf.key).chain(asked) {
            let path = path_of(&leaves, 0, &key);
            let present = leaves.iter().find(|leaf| leaf.key == key).map(|leaf| leaf.value_hash);
            prop_assert_eq!(verify(&key, &path, &root), Ok(()));
            match path.end {
                End::Here { value_hash } => {
                    prop_assert_eq!(present, Some(value_hash));
                    prop_assert!(verify_absence(&key, &path.siblings, None, &root).is_err());
                }
                End::Empty | End::Other(_) => {
                    prop_assert_eq!(present, None);
                    prop_assert!(verify_inclusion(&key, &EMPTY, &path.siblings, &root).is_err());
                }
            }
        }
    }

    #[test]
    fn a_path_that_is_tampered_with_is_refused(
        leaves in any_leaves(),
        asked in (0u8..3, any::<u8>()),
        at in any::<prop::sample::Index>(),
        bit in 0usize..256,
    ) {
        let root = root_of(&leaves, 0);
        let key = key(asked.0, asked.1);
        let good = path_of(&leaves, 0, &key);
        let turned = |digest: &Digest| {
            let mut bytes = *digest.as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            Digest::from_bytes(bytes)
        };
        let mut bad = vec![];
        if !good.siblings.is_empty() {
            let at = at.index(good.siblings.len());
            let mut changed = good.clone();
            changed.siblings[at] = turned(&changed.siblings[at]);
            let mut shorter = good.clone();
            shorter.siblings.remove(at);
            bad.extend([changed, shorter]);
        }
        let mut longer = good.clone();
        longer.siblings.push(EMPTY);
        bad.push(longer);
        let ends = match good.end {
            End::Here { value_hash } => vec![End::Empty, End::Here { value_hash: turned(&value_hash) }],
            End::Other(OtherKey { key, value_hash }) => vec![
                End::Empty,
                End::Here { value_hash },
                End::Other(OtherKey { key: turned(&key), value_hash }),
                End::Other(OtherKey { key, value_hash: turned(&value_hash) }),
            ],
            End::Empty => vec![End::Here { value_hash: EMPTY }, End::Other(OtherKey { key: turned(&key), value_hash: EMPTY })],
        };
        bad.extend(ends.into_iter().map(|end| Path { siblings: good.siblings.clone(), end }));
        for path in bad {
            prop_assert!(verify(&key, &path, &root).is_err(), "{path:?}");
        }
        prop_assert!(verify(&key, &good, &turned(&root)).is_err());
    }

    #[test]
    fn a_subtree_has_the_hash_that_stands_on_the_paths_beside_it(leaves in any_leaves(), depth in 0usize..8) {
        let root = root_of(&leaves, 0);
        // The same path in two steps, as a store with roots of prefixes makes it.
        for leaf in &leaves {
            let whole = path_of(&leaves, 0, &leaf.key);
            let same = |other: &&Leaf| (0..depth).all(|at| is_right(&other.key, at) == is_right(&leaf.key, at));
            let below: Vec<_> = leaves.iter().filter(same).copied().collect();
            let lower = path_of(&below, depth, &leaf.key);
            let upper = whole.siblings.len().min(depth);
            prop_assert_eq!(&whole.siblings[upper..], lower.siblings.as_slice());
            prop_assert_eq!(verify(&leaf.key, &whole, &root), Ok(()));
        }
    }
}
