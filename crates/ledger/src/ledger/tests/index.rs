//! The index root in block leaves, proofs of presence and absence, and a damaged index.

use std::collections::BTreeMap;

use birthmark_core::absence::AbsenceProof;
use birthmark_core::checkpoint::Checkpoint;
use birthmark_core::index::encode_value;
use birthmark_core::index::trie::{
    EMPTY, End, Leaf as TrieLeaf, root_of as trie_root, verify_inclusion as verify_path,
};
use birthmark_core::leaf::BlockLeaf;
use birthmark_core::network::{Trust, cosigner_name};
use birthmark_core::note::NoteSigner;

use super::*;
use crate::store::pack_list;
use crate::trie::Trie;

/// The index by its definition, out of all of the log's leaves.
fn model(leaves: &[Vec<u8>]) -> BTreeMap<Digest, Vec<IndexRecord>> {
    let mut all: BTreeMap<Digest, Vec<(SubmitterNumber, IndexRecord)>> = BTreeMap::new();
    for (tx_id, leaf) in (0..).map(TxId).zip(leaves) {
        let Leaf::Record(record) = Leaf::decode(leaf).unwrap() else { continue };
        for (entry, image) in (1..).zip(record.entries.as_slice()) {
            let filed = IndexRecord { tx_id, entry, assurance: record.assurance };
            all.entry(image.hash.index_key()).or_default().push((record.submitter, filed));
        }
    }
    let best_first = |record: &IndexRecord| (2 - record.assurance as u8, record.tx_id, record.entry);
    let listed = |records: Vec<(SubmitterNumber, IndexRecord)>| {
        let (endorsed, others): (Vec<_>, Vec<_>) =
            records.into_iter().partition(|(_, record)| record.assurance == Assurance::Endorsed);
        let mut best: BTreeMap<SubmitterNumber, IndexRecord> = BTreeMap::new();
        for (submitter, record) in others {
            let kept = best.entry(submitter).or_insert(record);
            *kept = std::cmp::min_by_key(*kept, record, best_first);
        }
        let mut list: Vec<_> = endorsed.into_iter().map(|(_, record)| record).chain(best.into_values()).collect();
        list.sort_by_key(best_first);
        list.truncate(16);
        list
    };
    all.into_iter().map(|(key, records)| (key, listed(records))).collect()
}

fn root_of_model(model: &BTreeMap<Digest, Vec<IndexRecord>>) -> Digest {
    let leaf = |(key, records): (&Digest, &Vec<IndexRecord>)| TrieLeaf {
        key: *key,
        value_hash: Digest::of_parts(&[&encode_value(records)]),
    };
    trie_root(&model.iter().map(leaf).collect::<Vec<_>>(), 0)
}

pub(super) fn all_leaves(ledger: &Ledger) -> Vec<Vec<u8>> {
    let (size, reading) = (ledger.head().size, ledger.reading().unwrap());
    let bundle = |index| {
        let tile = Tile::in_tree(TileKind::Entries, index, size).unwrap();
        let bundle = reading.tile(&tile).unwrap().unwrap();
        decode_entries(&bundle, tile.width()).unwrap().into_iter().map(<[u8]>::to_vec).collect::<Vec<_>>()
    };
    (0..size.div_ceil(256)).flat_map(bundle).collect()
}

pub(super) fn last_block(ledger: &Ledger) -> BlockLeaf {
    match Leaf::decode(all_leaves(ledger).last().unwrap()).unwrap() {
        Leaf::Block(block) => block,
        Leaf::Record(_) | Leaf::Act(_) => panic!("the log ends in a record"),
    }
}

impl Fixture {
    /// What this network's one validator would publish of a log.
    pub(super) fn note(&self, head: &Head) -> String {
        let origin = self.network.origin().clone();
        let name = cosigner_name(&origin, &secret(1).public_key()).unwrap();
        let tree = Checkpoint { origin: origin.clone(), size: head.size, root: head.root };
        let cosignature = tree.cosign(&NoteSigner::cosigner(name, secret(3)), Minute(MINUTE).start()).unwrap();
        let log = tree.log_signature(&NoteSigner::log(origin, secret(2))).unwrap();
        tree.assemble(log, &[cosignature]).unwrap().to_string()
    }

    /// The proof that an image is absent, after the check that every verifier makes of its text.
    fn absence(&self, reading: &Reading, image: &ImageHash) -> Option<AbsenceProof> {
        let proof = reading.prove_absence(image, &self.note(reading.head())).unwrap()?;
        let trust = Trust::Network(Box::new((*self.network).clone()));
        let said = proof.verify(&trust, Minute(MINUTE).start()).unwrap();
        assert_eq!((said.image_hash, said.checkpoint_size), (*image, reading.head().size));
        Some(proof)
    }

    pub(super) fn apply(&self, ledger: &Ledger, height: u64, batches: &[BlockBatch]) {
        ledger.apply_final(&[block(height, &self.header(MINUTE), &encode_payload(batches))]).unwrap();
    }
}

fn image(seed: u8) -> ImageHash {
    ImageHash::from_bytes([seed; 32])
}

/// Checks what a verifier would, down from the log's root.
fn assert_present(reading: &Reading, image: &ImageHash) {
    let proof = reading.prove_index(image).unwrap();
    let head = reading.head();
    assert_eq!(proof.size, head.size);
    verify_inclusion(&leaf_hash(&proof.leaf), head.size - 1, head.size, &proof.inclusion, &head.root).unwrap();
    let Leaf::Block(BlockLeaf { index_root, .. }) = Leaf::decode(&proof.leaf).unwrap() else { panic!() };
    let End::Here { value_hash } = proof.path.end else { panic!("{image} is not there") };
    verify_path(&image.index_key(), &value_hash, &proof.path.siblings, &index_root).unwrap();
    let records = reading.find(image).unwrap().unwrap().records;
    assert_eq!(value_hash, Digest::of_parts(&[&encode_value(&records)]));
}

#[test]
fn before_the_first_record_everything_is_absent() {
    let fixture = Fixture::new();
    let ledger = fixture.open();
    assert_eq!(last_block(&ledger).index_root, EMPTY);
    let reading = ledger.reading().unwrap();
    assert!(fixture.absence(&reading, &image(1)).unwrap().siblings.is_empty());
    assert_eq!(reading.image_count(), 0);
}

#[test]
fn an_image_is_absent_until_it_is_recorded_and_present_from_then_on() {
    let fixture = Fixture::new();
    let ledger = fixture.open();
    fixture.apply(&ledger, 1, &[fixture.batch(1, &attested([1, 2, 3]))]);
    let before = ledger.reading().unwrap();
    assert!(fixture.absence(&before, &image(8)).is_some());
    fixture.apply(&ledger, 2, &[fixture.batch(1, &attested([4]))]);
    let after = ledger.reading().unwrap();
    assert!(fixture.absence(&after, &image(8)).is_none());
    assert_present(&after, &image(8));
    assert!(fixture.absence(&before, &image(8)).is_some(), "the earlier state still speaks for itself");
    assert_eq!((before.image_count(), after.image_count()), (6, 8));
}

#[test]
fn an_empty_block_leaves_the_root_as_it_is() {
    let fixture = Fixture::new();
    let ledger = fixture.open();
    fixture.apply(&ledger, 1, &[fixture.batch(1, &attested([1]))]);
    let before = last_block(&ledger);
    ledger.apply_final(&[block(2, &fixture.header(MINUTE), &[])]).unwrap();
    assert_eq!(last_block(&ledger), before);
    assert!(fixture.absence(&ledger.reading().unwrap(), &image(99)).is_some());
}

#[test]
fn judging_needs_no_root_and_ancestors_that_are_not_applied_count_their_leaf() {
    let fixture = Fixture::new();
    let ledger = fixture.open();
    let header = fixture.header(MINUTE);
    let payloads = [1, 2].map(|seed| encode_payload(&[fixture.batch(1, &attested([seed]))]));
    let blocks = [block(1, &header, &payloads[0]), block(2, &header, &payloads[1])];
    let view = ledger.view_after(&blocks).unwrap().unwrap();
    assert_eq!(view.size(), 5, "genesis, and a record and a leaf of each block");
    ledger.apply_final(&blocks).unwrap();
    assert_eq!(ledger.head().size, 5);
}

#[test]
fn a_damaged_index_is_refused_and_can_be_rebuilt() {
    let fixture = Fixture::new();
    let ledger = fixture.open();
    fixture.apply(&ledger, 1, &[fixture.batch(1, &attested([1, 2, 3])), fixture.batch(2, &attested([4]))]);
    fixture.apply(
        &ledger,
        2,
        &[fixture.batch(2, &[(Assurance::Asserted, body("MFG", vec![entry(Level::Raw, 2, Parent::None)]))])],
    );
    let head = ledger.head();
    let key = *image(2).index_key().as_bytes();
    let value = pack_list(&ledger.reading().unwrap().find(&image(2)).unwrap().unwrap().records);
    drop(ledger);
    let other = pack_list(&[IndexRecord { tx_id: TxId(3), entry: 1, assurance: Assurance::Endorsed }]);
    for (key, damage, undo) in [
        (key, None, Some(value.as_slice())),
        (key, Some(other.as_slice()), Some(&value)),
        (*image(99).index_key().as_bytes(), Some(&other), None),
    ] {
        let store = Store::open(fixture.folder.path()).unwrap();
        store.damage("index", &key, damage);
        drop(store);
        let refused = Ledger::open(fixture.folder.path(), Arc::clone(&fixture.network)).unwrap_err();
        assert!(matches!(refused, LedgerError::Store(StoreError::IndexRoot { height: Height(2) })), "{refused}");
        let rebuilt = Ledger::rebuild_index(fixture.folder.path(), fixture.network.network_id()).unwrap();
        assert_eq!(rebuilt, Rebuilt { blocks: 3, images: 8 });
        let ledger = fixture.open();
        assert_eq!(ledger.head(), head);
        assert_present(&ledger.reading().unwrap(), &image(2));
        let stored = ledger.store.reader().records(&Digest::from_bytes(key)).unwrap();
        assert_eq!((!stored.is_empty()).then(|| pack_list(&stored)).as_deref(), undo, "as it was");
    }
    let ledger = fixture.open();
    fixture.apply(&ledger, 3, &[fixture.batch(1, &attested([5]))]);
    assert_eq!(last_block(&ledger).index_root, root_of_model(&model(&all_leaves(&ledger))));
}

#[test]
fn a_rebuild_that_is_cut_short_has_to_come_to_its_end() {
    let fixture = Fixture::new();
    let ledger = fixture.open();
    fixture.apply(&ledger, 1, &[fixture.batch(1, &attested([1, 2, 3]))]);
    let head = ledger.head();
    drop(ledger);
    Store::open(fixture.folder.path()).unwrap().begin_rebuild().unwrap();
    let refused = Ledger::open(fixture.folder.path(), Arc::clone(&fixture.network)).unwrap_err();
    assert!(matches!(refused, LedgerError::Store(StoreError::IndexUnfinished)), "{refused}");
    Ledger::rebuild_index(fixture.folder.path(), fixture.network.network_id()).unwrap();
    assert_eq!(fixture.open().head(), head);
}

#[test]
fn a_damaged_log_does_not_give_an_index() {
    let fixture = Fixture::new();
    let ledger = fixture.open();
    for (height, seed) in (1..).zip([1, 2]) {
        fixture.apply(&ledger, height, &[fixture.batch(1, &attested([seed]))]);
    }
    let leaf = all_leaves(&ledger).swap_remove(1);
    drop(ledger);
    let damaged = |key: u64, value: Option<&[u8]>| {
        Store::open(fixture.folder.path()).unwrap().damage("leaves", &key.to_be_bytes(), value);
        Ledger::rebuild_index(fixture.folder.path(), fixture.network.network_id()).unwrap_err()
    };
    // The first entry's hash.
    let mut other = leaf.clone();
    other[14..46].copy_from_slice(&[99; 32]);
    let refused = damaged(1, Some(&other));
    assert!(matches!(refused, LedgerError::LogRoot { height: Height(1) }), "{refused}");
    for value in [Some(&leaf[..5]), None] {
        let refused = damaged(1, value);
        assert!(matches!(refused, LedgerError::Store(StoreError::Damaged { .. })), "{refused}");
    }
    let refused = Ledger::open(fixture.folder.path(), Arc::clone(&fixture.network)).unwrap_err();
    assert!(matches!(refused, LedgerError::Store(StoreError::IndexUnfinished)), "{refused}");
}

#[test]
fn a_last_leaf_that_is_not_in_the_tree_is_refused() {
    let fixture = Fixture::new();
    let ledger = fixture.open();
    fixture.apply(&ledger, 1, &[fixture.batch(1, &attested([1]))]);
    let mut end = all_leaves(&ledger).pop().unwrap();
    drop(ledger);
    end[20] ^= 1;
    Store::open(fixture.folder.path()).unwrap().damage("leaves", &2u64.to_be_bytes(), Some(&end));
    let refused = Ledger::open(fixture.folder.path(), Arc::clone(&fixture.network)).unwrap_err();
    assert!(matches!(refused, LedgerError::Store(StoreError::Damaged { .. })), "{refused}");
}

#[test]
fn a_ledger_of_the_format_without_index_roots_is_refused_by_name() {
    let fixture = Fixture::new();
    drop(fixture.open());
    Store::open(fixture.folder.path()).unwrap().damage("meta", b"format", Some(&[1]));
    let refused = Ledger::open(fixture.folder.path(), Arc::clone(&fixture.network)).unwrap_err();
    assert!(matches!(refused, LedgerError::Store(StoreError::OtherFormat(1))));
    assert!(refused.to_string().contains("format 1"), "{refused}");
}

#[test]
fn after_a_block_that_could_not_be_written_nothing_more_is_applied_or_answered() {
    let fixture = Fixture::new();
    let ledger = fixture.open();
    fixture.apply(&ledger, 1, &[fixture.batch(1, &attested([1, 2]))]);
    let (head, reading) = (ledger.head(), ledger.reading().unwrap());
    // As in a registry so large that its keys are read from the store.
    let store = ledger.store.reader();
    ledger.writer.lock().as_mut().unwrap().trie = Trie::build_unheld(&|prefix: &_| store.index_leaves(prefix)).unwrap();
    ledger.store.damage("index", image(2).index_key().as_bytes(), None);
    let (header, payload) = (fixture.header(MINUTE), encode_payload(&[fixture.batch(1, &attested([3]))]));
    let next = [block(2, &header, &payload)];
    let failed = ledger.apply_final(&next).unwrap_err();
    assert!(matches!(failed, LedgerError::Store(StoreError::Damaged { .. })), "{failed}");
    assert!(matches!(ledger.apply_final(&next), Err(LedgerError::Broken)));
    assert!(matches!(ledger.reading(), Err(LedgerError::Broken)));
    assert_eq!(ledger.head(), head);
    assert_present(&reading, &image(4));
    drop((ledger, reading, store));
    Ledger::rebuild_index(fixture.folder.path(), fixture.network.network_id()).unwrap();
    let ledger = fixture.open();
    assert_eq!(ledger.head(), head);
    ledger.apply_final(&next).unwrap();
    assert_eq!(last_block(&ledger).index_root, root_of_model(&model(&all_leaves(&ledger))));
}

/// A record as some submitter might send it: of a few images, in bodies that overlap.
#[derive(Clone, Copy, Debug)]
struct Wish {
    submitter: u16,
    assurance: Assurance,
    seed: u8,
    variant: u8,
}

fn any_wish() -> impl Strategy<Value = Wish> {
    (1u16..=2, 0u8..2, 1u8..12, 0u8..4).prop_map(|(submitter, assurance, seed, variant)| Wish {
        submitter,
        assurance: Assurance::from_number(assurance).unwrap(),
        seed,
        variant,
    })
}

impl Wish {
    fn body(self) -> Body {
        let raw = entry(Level::Raw, 2 * self.seed, Parent::None);
        match self.variant {
            0 => capture(self.seed),
            1 => body("MFG", vec![raw]),
            2 => body("MFG", vec![raw, entry(Level::Validated, 2 * self.seed + 3, Parent::Entry(1))]),
            _ => body("MFG", vec![raw, entry(Level::Validated, 50, Parent::Entry(1))]),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Duplicates are left out as a proposer does; what rises in assurance is recorded again.
    #[test]
    fn the_root_in_every_block_is_that_of_the_model(
        blocks in prop::collection::vec((prop::collection::vec(any_wish(), 0..12), any::<bool>()), 1..10),
        group in 1usize..4,
    ) {
        let fixture = Fixture::new();
        let mut ledger = fixture.open();
        let header = fixture.header(MINUTE);
        let mut known: BTreeMap<BodyDigest, Assurance> = BTreeMap::new();
        let payloads: Vec<_> = blocks.iter().map(|(wishes, _)| {
            let mut batches = vec![];
            for wish in wishes {
                let body = wish.body();
                if known.get(&body.digest()).is_none_or(|has| *has < wish.assurance) {
                    known.insert(body.digest(), wish.assurance);
                    batches.push(fixture.batch(wish.submitter, &[(wish.assurance, body)]));
                }
            }
            if batches.is_empty() { vec![] } else { encode_payload(&batches) }
        }).collect();
        let all: Vec<_> = (1u64..).zip(&payloads).map(|(height, payload)| block(height, &header, payload)).collect();
        for (blocks, (_, reopen)) in all.chunks(group).zip(&blocks) {
            ledger.apply_final(blocks).unwrap();
            if *reopen {
                drop(ledger);
                ledger = fixture.open();
            }
            let leaves = all_leaves(&ledger);
            let expected = model(&leaves);
            prop_assert_eq!(last_block(&ledger).index_root, root_of_model(&expected));
            let reading = ledger.reading().unwrap();
            prop_assert_eq!(reading.image_count(), expected.len() as u64);
            for seed in 0..60 {
                let image = image(seed);
                let listed = reading.find(&image).unwrap().map(|found| found.records);
                prop_assert_eq!(listed.as_ref(), expected.get(&image.index_key()));
                if listed.is_some() {
                    assert_present(&reading, &image);
                } else {
                    let end = reading.prove_index(&image).unwrap().path.end;
                    prop_assert!(matches!(end, End::Empty | End::Other(_)));
                }
            }
        }
        let (head, leaves) = (ledger.head(), all_leaves(&ledger));
        for (at, leaf) in leaves.iter().enumerate() {
            if let Leaf::Block(block) = Leaf::decode(leaf).unwrap() {
                prop_assert_eq!(block.index_root, root_of_model(&model(&leaves[..at])));
            }
        }
        prop_assert!(fixture.absence(&ledger.reading().unwrap(), &image(59)).is_some());
        drop(ledger);
        let rebuilt = Ledger::rebuild_index(fixture.folder.path(), fixture.network.network_id()).unwrap();
        prop_assert_eq!(rebuilt.images, model(&leaves).len() as u64);
        prop_assert_eq!(fixture.open().head(), head);
    }
}
