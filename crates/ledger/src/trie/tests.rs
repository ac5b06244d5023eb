use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::node::FEW;
use super::*;

/// A store in memory that counts how often it is read.
#[derive(Default)]
struct Keys {
    all: BTreeMap<[u8; 32], Digest>,
    reads: AtomicUsize,
}

impl Keys {
    fn leaves(&self) -> Vec<Leaf> {
        self.all.iter().map(|(key, value)| leaf(*key, *value)).collect()
    }

    fn source(&self) -> impl Source {
        |prefix: &Prefix| {
            self.reads.fetch_add(1, Ordering::Relaxed);
            Ok(self.all.range(prefix.range()).map(|(key, value)| leaf(*key, *value)).collect())
        }
    }

    fn take(&mut self, changed: &[Leaf]) {
        self.all.extend(changed.iter().map(|leaf| (*leaf.key.as_bytes(), leaf.value_hash)));
    }
}

fn leaf(key: [u8; 32], value_hash: Digest) -> Leaf {
    Leaf { key: Digest::from_bytes(key), value_hash }
}

/// Keys as they come in a block: hashes, and some that share long prefixes.
fn changed(seeds: impl IntoIterator<Item = (u32, u8)>, value: u32) -> Vec<Leaf> {
    let keys: BTreeMap<_, _> = seeds
        .into_iter()
        .map(|(seed, turned)| {
            // Half of the seeds come down to a few keys with one bit turned.
            let base = if seed % 2 == 0 { seed } else { seed % 8 };
            let mut key = *Digest::of_parts(&[&base.to_be_bytes()]).as_bytes();
            if seed % 2 == 1 {
                key[usize::from(turned / 8)] ^= 0x80 >> (turned % 8);
            }
            (key, Digest::of_parts(&[&value.to_be_bytes(), &key]))
        })
        .collect();
    keys.into_iter().map(|(key, value)| leaf(key, value)).collect()
}

#[test]
fn a_prefix_covers_the_keys_that_begin_with_it() {
    let key = Digest::of_parts(&[b"key"]);
    let mut prefix = Prefix::ALL;
    for depth in 0..=256 {
        let range = prefix.range();
        assert!(range.contains(key.as_bytes()));
        let begins = |other: &[u8; 32]| {
            (0..depth).all(|at| trie::is_right(&Digest::from_bytes(*other), at) == trie::is_right(&key, at))
        };
        let (first, last) = range.into_inner();
        assert!(begins(&first) && begins(&last));
        assert_eq!(first == last, depth == 256);
        if depth < 256 {
            let [left, right] = prefix.halves().map(|half| half.range().into_inner());
            assert_eq!((left.0, right.1), (first, last), "the halves cover all of it");
            assert!(left.1 < right.0);
        }
        prefix = prefix.below(&key);
    }
}

#[test]
fn a_large_block_divides_the_work_and_gives_the_same_root() {
    let mut keys = Keys::default();
    let first = changed((0..3000).map(|seed| (2 * seed, 0)), 0);
    let trie = Trie::empty().updated(&first, &keys.source()).unwrap();
    assert_eq!(keys.reads.swap(0, Ordering::Relaxed), 0, "there was nothing to read");
    keys.take(&first);
    let second = changed((2000..4000).map(|seed| (2 * seed, 0)), 1);
    let after = trie.updated(&second, &keys.source()).unwrap();
    keys.take(&second);
    let leaves = keys.leaves();
    assert_eq!((after.root(), after.keys()), (trie::root_of(&leaves, 0), 4000));
    assert_eq!(after, Trie::build(u64::MAX, &keys.source()).unwrap());
}

#[test]
fn a_block_reads_only_what_it_touches() {
    let mut keys = Keys::default();
    let all = changed((0..5000).map(|seed| (2 * seed, 0)), 0);
    let trie = Trie::empty().updated(&all, &keys.source()).unwrap();
    keys.take(&all);
    let few = changed([(0, 0), (2, 0), (4, 0)], 1);
    trie.updated(&few, &keys.source()).unwrap();
    assert!(keys.reads.load(Ordering::Relaxed) <= 3);
    assert!(all.iter().all(|leaf| trie.path(&leaf.key, &keys.source()).unwrap().siblings.len() < 30));
}

/// A trie that holds so many keys in memory.
fn holding(most: u64) -> Trie {
    Trie { room: Room::of(most), ..Trie::empty() }
}

#[test]
fn what_is_held_is_not_read_and_what_is_not_is_asked_of_the_store() {
    let mut keys = Keys::default();
    let all = changed((0..5000).map(|seed| (2 * seed, 0)), 0);
    let first = holding(1000).updated(&all, &keys.source()).unwrap();
    keys.take(&all);
    let count = |trie: &Trie, has| all.iter().filter(|leaf| trie.has(&leaf.key) == has).count();
    let held = count(&first, Some(true));
    assert!((900..=1000).contains(&held), "{held}");
    assert_eq!(count(&first, None), 5000 - held);
    // Changed over and over, none is held twice and none forgotten.
    let mut trie = first;
    for value in 1..20 {
        let some = changed((0..2000).map(|seed| (2 * seed, 0)), value);
        trie = trie.updated(&some, &keys.source()).unwrap();
        keys.take(&some);
    }
    assert_eq!(trie.root(), trie::root_of(&keys.leaves(), 0));
    let held = count(&trie, Some(true));
    assert!((900..=1000).contains(&held), "{held}");
    let held: Vec<_> = all.iter().filter(|leaf| trie.has(&leaf.key) == Some(true)).copied().collect();
    keys.reads.store(0, Ordering::Relaxed);
    trie.updated(&held, &keys.source()).unwrap();
    assert_eq!(keys.reads.load(Ordering::Relaxed), 0);
    // With room for all nothing is read any more, and everything is known.
    let whole = Trie::build(5000, &keys.source()).unwrap();
    keys.reads.store(0, Ordering::Relaxed);
    let new = changed((5000..6000).map(|seed| (2 * seed, 0)), 0);
    let after = whole.updated(&new, &keys.source()).unwrap();
    assert_eq!(keys.reads.load(Ordering::Relaxed), 0);
    assert!(new.iter().all(|leaf| whole.has(&leaf.key) == Some(false) && after.has(&leaf.key) == Some(true)));
    assert_eq!((whole.root(), whole.room), (trie.root(), Room::of(HELD_KEYS - 5000)));
    assert_eq!(after.room, Room::of(HELD_KEYS - 6000));
}

#[test]
fn keys_that_appear_or_vanish_behind_its_back_are_noticed() {
    let mut keys = Keys::default();
    let all = changed((0..200).map(|seed| (2 * seed, 0)), 0);
    let trie = holding(0).updated(&all, &keys.source()).unwrap();
    keys.take(&all);
    let again = &all[7..8];
    keys.all.remove(all[7].key.as_bytes());
    let damaged = |result: Result<(), StoreError>| matches!(result, Err(StoreError::Damaged { .. }));
    assert!(damaged(trie.updated(again, &keys.source()).map(drop)));
    assert!(damaged(trie.path(&all[7].key, &keys.source()).map(drop)), "never a proof that it is absent");
    keys.take(&[leaf(*all[7].key.as_bytes(), Digest::from_bytes([1; 32]))]);
    assert!(damaged(trie.path(&all[7].key, &keys.source()).map(drop)), "nor that it has another value");
    keys.take(again);
    assert!(trie.path(&all[7].key, &keys.source()).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_trie_depends_on_the_keys_and_not_on_the_blocks_they_came_in(
        blocks in prop::collection::vec(prop::collection::vec((0u32..400, any::<u8>()), 0..120), 1..8),
        asked in prop::collection::vec((0u32..600, any::<u8>()), 20),
        about in 0u64..1 << 14,
        held in prop_oneof![Just(0), 1u64..200, Just(u64::MAX)],
    ) {
        let mut keys = Keys::default();
        let mut trie = holding(held);
        let mut earlier = vec![];
        for (value, seeds) in (0..).zip(blocks) {
            let changed = changed(seeds, value);
            let after = trie.updated(&changed, &keys.source()).unwrap();
            earlier.push((trie, keys.leaves()));
            keys.take(&changed);
            trie = after;
            let leaves = keys.leaves();
            prop_assert_eq!((trie.root(), trie.keys()), (trie::root_of(&leaves, 0), leaves.len() as u64));
            let built = Trie::build_within(Room::of(held), about, &keys.source()).unwrap();
            prop_assert_eq!((built.root(), built.keys()), (trie.root(), trie.keys()));
            prop_assert!(held > 0 && held < 200 || built == trie, "it depends on their order only which are held");
        }
        for asked in asked {
            let key = changed([asked], 0)[0].key;
            let leaves = keys.leaves();
            prop_assert_eq!(trie.path(&key, &keys.source()).unwrap(), trie::path_of(&leaves, 0, &key));
            let there = keys.all.contains_key(key.as_bytes());
            prop_assert!(trie.has(&key).unwrap_or(there) == there);
        }
        for (trie, leaves) in earlier {
            prop_assert_eq!(trie.root(), trie::root_of(&leaves, 0), "an earlier version stays what it was");
        }
    }
}

#[test]
fn parts_of_a_prefix_follow_each_other_without_gap_and_are_no_larger_than_asked() {
    for (keys, most) in [(0, 25), (1, 25), (20, 25), (400, 25), (3000, 25), (3000, 100), (3000, 5000)] {
        let mut store = Keys::default();
        store.take(&changed((0..keys).map(|seed| (2 * seed, 0)), 1));
        let trie = Trie::build(u64::from(keys), &store.source()).unwrap();
        for digit in 0..16_u8 {
            let prefix = KeyPrefix::of(&Digest::from_bytes([digit << 4; 32]), 1);
            let (mut from, mut listed, mut parts) = (prefix.first(), Vec::new(), 0);
            loop {
                let Part { at, siblings, hash } = trie.part(&prefix, &from, most).unwrap();
                let leaves = store.source()(&at).unwrap();
                assert_eq!(trie::root_of(&leaves, at.len()), hash);
                assert_eq!(siblings.len(), at.len());
                if let Some(leaf) = leaves.first() {
                    assert!(trie.path(&leaf.key, &store.source()).unwrap().siblings.starts_with(&siblings));
                }
                assert!(leaves.len() <= most.max(FEW));
                listed.extend(leaves.into_iter().filter(|leaf| prefix.covers(&leaf.key)));
                parts += 1;
                match at.next().filter(|next| at.len() >= prefix.bits() && prefix.covers(next)) {
                    Some(next) => from = next,
                    None => break,
                }
            }
            let expected: Vec<_> = store.leaves().into_iter().filter(|leaf| prefix.covers(&leaf.key)).collect();
            assert_eq!(listed, expected);
            assert!(parts == 1 || parts > expected.len() / most);
        }
        let within = Digest::from_bytes([0xa7; 32]);
        assert!(keys < 400 || trie.part(&KeyPrefix::of(&within, 1), &within, most).is_none(), "no part begins there");
    }
}
