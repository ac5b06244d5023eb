use birthmark_core::batch::{Batch, BlockBatch, Place, SubmitterKey, Transaction};
use birthmark_core::body::{Body, Entries, Entry, Kind, Level, Parent};
use birthmark_core::hash::{Digest, ImageHash};
use birthmark_core::ids::{AuthorityId, AuthorityNumber, Epoch, SubmitterName, SubmitterNumber, UNATTESTED};
use birthmark_core::index::IndexRecord;
use birthmark_core::merkle::{leaf_hash, root_of, verify_inclusion};
use birthmark_core::network::{
    Authority, EndorsementKeyState, NetworkBuilder, Rules as AuthorityRules, Submitter, Validator,
};
use birthmark_core::note::{KeyName, PublicKey, SecretKey};
use birthmark_core::tile::{Tile, TileKind, decode_entries};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::apply::State as _;
use crate::block::{Header, encode_payload};
use crate::rules::Refusal;
use crate::testing::{endorse, endorsement_key};

mod by_prefix;
mod endorsed;

mod crash;
#[cfg(target_os = "linux")]
mod faults;
mod fsck;
mod governance;
mod index;
mod whole;

const MINUTE: u32 = 29_000_000;

struct Fixture {
    folder: TempDir,
    network: Arc<Network>,
}

fn secret(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn submitter_key(number: u16) -> SubmitterKey {
    SubmitterKey::from_seed([u8::try_from(100 + number).unwrap(); 32])
}

impl Fixture {
    fn new() -> Self {
        Self::with_key_state(EndorsementKeyState::Current)
    }

    /// `MFG` has key 1 in this state, `OTHER` has key 2.
    fn with_key_state(state: EndorsementKeyState) -> Self {
        let mut network = NetworkBuilder::new(KeyName::new("test.example/log").unwrap(), Minute(MINUTE));
        network.validators = vec![Validator {
            consensus_key: secret(1).public_key(),
            log_key: secret(2).public_key(),
            cosigning_key: secret(3).public_key(),
            p2p_address: None,
        }];
        let authority = |number, id: &str, key| Authority {
            number: AuthorityNumber(number),
            id: AuthorityId::new(id).unwrap(),
            token_key: None,
            rules: AuthorityRules::default(),
            endorsement_keys: vec![key],
        };
        network.authorities = vec![
            authority(1, "MFG", endorsement_key(1, state)),
            authority(2, "OTHER", endorsement_key(2, EndorsementKeyState::Current)),
        ];
        network.submitters = [1, 2]
            .map(|number| Submitter {
                number: SubmitterNumber(number),
                name: SubmitterName::new(format!("submitter {number}")).unwrap(),
                key: PublicKey::from_bytes(&submitter_key(number).public()).unwrap(),
            })
            .into();
        let (_, network) = network.build().unwrap().sign(&[&secret(2)]).unwrap();
        Self { folder: tempfile::tempdir().unwrap(), network: Arc::new(network) }
    }

    fn open(&self) -> Ledger {
        Ledger::open(self.folder.path(), Arc::clone(&self.network)).unwrap()
    }

    /// Endorsed ones with the endorsement that `MFG` gives.
    fn batch(&self, submitter: u16, bodies: &[(Assurance, Body)]) -> BlockBatch {
        let transactions = bodies.iter().map(|(assurance, body)| {
            let endorsed = *assurance == Assurance::Endorsed;
            let endorsement = if endorsed { endorse(&self.network, 1, body) } else { vec![] };
            Transaction::new(*assurance, endorsement, body.clone()).unwrap()
        });
        self.batch_of(submitter, transactions.collect())
    }

    fn batch_of(&self, submitter: u16, transactions: Vec<Transaction>) -> BlockBatch {
        let number = SubmitterNumber(submitter);
        let batch = Batch::sign(self.network.network_id(), number, &submitter_key(submitter), transactions);
        let places = batch.transactions.into_iter().map(Place::Record).collect();
        BlockBatch { submitter: number, places, signature: batch.signature }
    }

    fn header(&self, minute: u32) -> Vec<u8> {
        let epoch = self.network.current_epoch();
        let validator_set_hash = epoch.validator_set_hash();
        Header { minute: Minute(minute), epoch: Epoch(0), validator_set_hash }.encode().to_vec()
    }
}

fn entry(level: Level, seed: u8, parent: Parent) -> Entry {
    Entry { level, kind: Kind::File, hash: ImageHash::from_bytes([seed; 32]), parent }
}

fn body(authority: &str, entries: Vec<Entry>) -> Body {
    Body { authority: AuthorityId::new(authority).unwrap(), entries: Entries::new(entries, None, None).unwrap() }
}

fn capture(seed: u8) -> Body {
    let entries =
        vec![entry(Level::Raw, 2 * seed, Parent::None), entry(Level::Validated, 2 * seed + 1, Parent::Entry(1))];
    body("MFG", entries)
}

fn attested(bodies: impl IntoIterator<Item = u8>) -> Vec<(Assurance, Body)> {
    bodies.into_iter().map(|seed| (Assurance::Attested, capture(seed))).collect()
}

fn block<'a>(height: u64, header: &'a [u8], payload: &'a [u8]) -> Block<'a> {
    let digest = |height: u64| [u8::try_from(height).unwrap(); 32];
    Block { height: Height(height), digest: digest(height), parent: digest(height - 1), header, payload }
}

fn judged(fixture: &Fixture, ledger: &Ledger, batches: &[BlockBatch]) -> Result<(), InvalidBlock> {
    let view = ledger.view_after(&[]).unwrap().unwrap();
    view.judge(&fixture.header(MINUTE), &encode_payload(batches)).unwrap()
}

#[test]
fn genesis_is_one_leaf_and_the_network_is_remembered() {
    let fixture = Fixture::new();
    let head = fixture.open().head();
    assert_eq!((head.height, head.size, head.minute), (Height(0), 1, Minute(MINUTE)));
    assert_eq!(fixture.open().head(), head);
    let other = Fixture::new();
    let mut changed = NetworkBuilder::new(KeyName::new("other.example/log").unwrap(), Minute(MINUTE));
    changed.validators = other.network.genesis().validators().to_vec();
    let (_, changed) = changed.build().unwrap().sign(&[&secret(2)]).unwrap();
    let refused = Ledger::open(fixture.folder.path(), Arc::new(changed)).unwrap_err();
    assert!(matches!(refused, LedgerError::Store(StoreError::OtherNetwork)), "{refused}");
}

#[test]
fn what_is_applied_is_found_and_proven_also_after_reopening() {
    let fixture = Fixture::new();
    let payload = encode_payload(&[fixture.batch(1, &attested([1, 2])), fixture.batch(2, &attested([3]))]);
    let header = fixture.header(MINUTE + 1);
    let ledger = fixture.open();
    let recorded = ledger.apply_final(&[block(1, &header, &payload)]).unwrap();
    assert_eq!(recorded.len(), 3);
    drop(ledger);
    let ledger = fixture.open();
    let (head, reading) = (ledger.head(), ledger.reading().unwrap());
    assert_eq!((head.height, head.size), (Height(1), 5), "genesis, three records, the block's leaf");
    for seed in 1..=3u8 {
        let (tx_id, assurance, height) = reading.record_of(&capture(seed), &capture(seed).digest()).unwrap().unwrap();
        assert_eq!((assurance, height), (Assurance::Attested, Height(1)));
        let found = reading.find(&ImageHash::from_bytes([2 * seed; 32])).unwrap().unwrap();
        assert_eq!((found.records[0].tx_id, found.height), (tx_id, Height(1)));
        assert_eq!(found.leaf.minute, Minute(MINUTE + 1));
        let path = reading.prove_inclusion(tx_id).unwrap();
        verify_inclusion(&leaf_hash(&found.leaf_bytes), tx_id.0, head.size, &path, &head.root).unwrap();
    }
    assert!(reading.find(&ImageHash::from_bytes([99; 32])).unwrap().is_none());
    let info = reading.block(Height(1)).unwrap().unwrap();
    assert_eq!((info.first, info.count), (TxId(1), 4));
}

#[test]
fn a_block_is_applied_once_however_often_it_comes() {
    let fixture = Fixture::new();
    let ledger = fixture.open();
    let (header, payload) = (fixture.header(MINUTE), encode_payload(&[fixture.batch(1, &attested([1]))]));
    ledger.apply_final(&[block(1, &header, &payload)]).unwrap();
    let head = ledger.head();
    assert_eq!(ledger.apply_final(&[block(1, &header, &payload)]).unwrap(), []);
    assert_eq!(ledger.head(), head);
    let gap = ledger.apply_final(&[block(3, &header, &[])]).unwrap_err();
    assert!(matches!(gap, LedgerError::Gap { expected: 2, got: 3 }));
    let fork = Block { digest: [9; 32], ..block(1, &header, &payload) };
    assert!(matches!(ledger.apply_final(&[fork]), Err(LedgerError::Fork(1))));
    ledger.apply_final(&[block(2, &header, &[])]).unwrap();
    assert_eq!((ledger.head().height, ledger.head().size), (Height(2), head.size), "an empty block adds no leaf");
}

#[test]
fn blocks_against_the_rules_are_invalid() {
    use Assurance::{Asserted, Attested};
    let fixture = Fixture::new();
    let ledger = fixture.open();
    let judge = |batches: &[BlockBatch]| judged(&fixture, &ledger, batches);
    assert_eq!(judge(&[fixture.batch(1, &attested([1]))]), Ok(()));
    let refused = |assurance, body: Body| judge(&[fixture.batch(1, &[(assurance, body)])]);
    let refusal = |refusal| Err(InvalidBlock::Refused { batch: 0, at: 0, refusal });
    let raw = || entry(Level::Raw, 1, Parent::None);
    let outside = Parent::Explicit(ImageHash::from_bytes([77; 32]));
    for (assurance, body, expected) in [
        (Attested, body("NOBODY", vec![raw()]), Refusal::UnknownAuthority),
        (Attested, body(UNATTESTED, vec![raw()]), Refusal::UnattestedAssurance),
        (Asserted, body(UNATTESTED, vec![raw(), entry(Level::Raw, 2, Parent::None)]), Refusal::UnattestedCount),
        (Attested, body("MFG", vec![entry(Level::Validated, 1, outside)]), Refusal::Shape),
        (Attested, body("MFG", vec![raw(), entry(Level::Modified, 2, Parent::Entry(1))]), Refusal::Shape),
        (Attested, body("MFG", vec![entry(Level::Modified, 2, outside)]), Refusal::UnknownParent),
    ] {
        assert_eq!(refused(assurance, body), refusal(expected));
    }
    assert_eq!(refused(Asserted, body(UNATTESTED, vec![entry(Level::Modified, 2, outside)])), Ok(()));

    let mut stranger = fixture.batch(1, &attested([1]));
    stranger.submitter = SubmitterNumber(7);
    assert_eq!(judge(&[stranger]), Err(InvalidBlock::Submitter(0)));
    let mut forged = fixture.batch(1, &attested([1]));
    forged.submitter = SubmitterNumber(2);
    assert!(matches!(judge(&[forged]), Err(InvalidBlock::Signature(0, _))));
    let mut hollow = fixture.batch(1, &attested([1]));
    hollow.places = vec![Place::Omitted(hollow.places[0].digest())];
    assert_eq!(judge(&[hollow]), Err(InvalidBlock::Nothing(0)));

    let view = ledger.view_after(&[]).unwrap().unwrap();
    assert_eq!(view.judge(&fixture.header(MINUTE - 1), &[]).unwrap(), Err(InvalidBlock::Minute));
    let mut epoch = fixture.header(MINUTE);
    epoch[8] = 1;
    assert_eq!(view.judge(&epoch, &[]).unwrap(), Err(InvalidBlock::Epoch));
    assert!(matches!(view.judge(&[], &[]).unwrap(), Err(InvalidBlock::Malformed(_))));
    assert!(matches!(view.judge(&fixture.header(MINUTE), &[0, 1, 2]).unwrap(), Err(InvalidBlock::Malformed(_))));
}

/// Of several proposals of a height one is decided, and its children were judged before it was applied.
#[test]
fn what_was_judged_before_leads_to_the_ledger_of_one_who_judged_nothing() {
    let (fixture, other) = (Fixture::new(), Fixture::new());
    let (ledger, plain) = (fixture.open(), other.open());
    let header = fixture.header(MINUTE);
    let payload = |bodies: std::ops::Range<u8>| encode_payload(&[fixture.batch(1, &attested(bodies))]);
    let [lost, first, second] = [payload(1..4), payload(2..7), payload(8..11)];
    let judge = |ancestors: &[Block<'_>], payload: &[u8]| {
        ledger.view_after(ancestors).unwrap().unwrap().judge(&header, payload).unwrap()
    };
    assert_eq!((judge(&[], &lost), judge(&[], &first)), (Ok(()), Ok(())));
    let blocks = [block(1, &header, &first), block(2, &header, &second)];
    // What blocks call themselves is nothing to go by: this one takes the other's name.
    let liar = Block { digest: blocks[0].digest, ..block(1, &header, &lost) };
    assert_eq!((judge(&[liar], &second), judge(&blocks[..1], &second)), (Ok(()), Ok(())));
    assert!(judge(&blocks[..1], &lost).is_err());
    for one in &blocks {
        assert_eq!(ledger.apply_final(&[*one]).unwrap(), plain.apply_final(&[*one]).unwrap());
        assert_eq!(ledger.head(), plain.head());
    }
    let again = payload(20..22);
    assert_eq!(judge(&blocks, &again), Ok(()));
    assert_eq!(judge(&blocks, &second), Err(InvalidBlock::Duplicate { batch: 0, at: 0 }));
    let third = block(3, &header, &again);
    ledger.apply_final(&[third]).unwrap();
    plain.apply_final(&[third]).unwrap();
    assert_eq!(ledger.head(), plain.head());
}

#[test]
fn a_body_is_recorded_once_at_an_assurance_and_may_rise() {
    let fixture = Fixture::new();
    let ledger = fixture.open();
    let header = fixture.header(MINUTE);
    let duplicate = Err(InvalidBlock::Duplicate { batch: 1, at: 0 });
    let one = || fixture.batch(1, &attested([1]));
    let again = || fixture.batch(2, &attested([1]));
    assert_eq!(judged(&fixture, &ledger, &[one(), again()]), duplicate, "twice in one block");
    let asserted = encode_payload(&[fixture.batch(1, &[(Assurance::Asserted, capture(1))])]);
    let attested = encode_payload(&[one()]);
    let ancestors = [block(1, &header, &asserted), block(2, &header, &attested)];
    let view = ledger.view_after(&ancestors).unwrap().unwrap();
    assert_eq!(
        view.judge(&header, &encode_payload(&[again()])).unwrap(),
        Err(InvalidBlock::Duplicate { batch: 0, at: 0 }),
        "in an ancestor that is not applied yet"
    );
    ledger.apply_final(&ancestors[..1]).unwrap();
    let view = ledger.view_after(&ancestors).unwrap().unwrap();
    assert!(view.judge(&header, &encode_payload(&[again()])).unwrap().is_err(), "half of the ancestors applied");
    ledger.apply_final(&ancestors).unwrap();
    let found = ledger.reading().unwrap().find(&ImageHash::from_bytes([2; 32])).unwrap().unwrap();
    assert_eq!(found.records.len(), 1, "of one submitter's records only the best is listed");
    assert_eq!(found.leaf.assurance, Assurance::Attested);
}

#[test]
fn a_reading_stays_as_it_is_while_better_records_come() {
    let fixture = Fixture::new();
    let ledger = fixture.open();
    let header = fixture.header(MINUTE);
    let asserted = encode_payload(&[fixture.batch(1, &[(Assurance::Asserted, capture(1))])]);
    ledger.apply_final(&[block(1, &header, &asserted)]).unwrap();
    let before = ledger.reading().unwrap();
    ledger.apply_final(&[block(2, &header, &encode_payload(&[fixture.batch(1, &attested([1]))]))]).unwrap();
    let found = |reading: &Reading| reading.find(&ImageHash::from_bytes([2; 32])).unwrap().unwrap().leaf.assurance;
    assert_eq!(found(&before), Assurance::Asserted);
    assert_eq!(found(&ledger.reading().unwrap()), Assurance::Attested);
    assert_eq!(before.head().height, Height(1));
}

#[test]
fn an_edit_may_name_a_parent_of_the_same_block() {
    let fixture = Fixture::new();
    let ledger = fixture.open();
    let parent = Parent::Explicit(ImageHash::from_bytes([2; 32]));
    let edit = body("MFG", vec![entry(Level::Modified, 50, parent)]);
    let both = [(Assurance::Attested, capture(1)), (Assurance::Attested, edit)];
    assert_eq!(judged(&fixture, &ledger, &[fixture.batch(1, &both)]), Ok(()));
}

#[test]
fn tiles_of_every_size_give_the_root_and_the_leaves() {
    let fixture = Fixture::new();
    let ledger = fixture.open();
    let header = fixture.header(MINUTE);
    let mut leaves = Vec::new();
    // Crosses the first full tile of 256.
    for height in 1..=9u64 {
        let bodies: Vec<_> = (0..40u8)
            .map(|at| {
                let hash = ImageHash::of(&[u8::try_from(height).unwrap(), at]);
                let raw = Entry { level: Level::Raw, kind: Kind::File, hash, parent: Parent::None };
                (Assurance::Attested, body("MFG", vec![raw]))
            })
            .collect();
        let payload = encode_payload(&[fixture.batch(1, &bodies)]);
        ledger.apply_final(&[block(height, &header, &payload)]).unwrap();
        let (head, reading) = (ledger.head(), ledger.reading().unwrap());
        leaves.clear();
        for index in 0..head.size.div_ceil(256) {
            let tile = Tile::in_tree(TileKind::Entries, index, head.size).unwrap();
            let bundle = reading.tile(&tile).unwrap().unwrap();
            leaves.extend(decode_entries(&bundle, tile.width()).unwrap().into_iter().map(leaf_hash));
            let hashes = Tile::in_tree(TileKind::Hashes { level: 0 }, index, head.size).unwrap();
            let bytes = reading.tile(&hashes).unwrap().unwrap();
            assert_eq!(bytes.len(), usize::from(hashes.width()) * 32);
        }
        assert_eq!(leaves.len() as u64, head.size);
        assert_eq!(root_of(&leaves), head.root);
        assert_eq!(ledger.root(head.size).unwrap(), head.root);
        let beyond = Tile::new(TileKind::Entries, head.size / 256 + 1, 1).unwrap();
        assert_eq!(reading.tile(&beyond).unwrap(), None);
    }
    drop(ledger);
    assert_eq!(fixture.open().head().root, root_of(&leaves));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// However the same batches are cut into blocks and groups, each body is recorded once and provable.
    #[test]
    fn any_cut_into_blocks_records_each_body_once(
        seeds in prop::collection::vec(prop::collection::vec(0u8..100, 1..4), 1..8),
        group in 1usize..4,
    ) {
        let fixture = Fixture::new();
        let ledger = fixture.open();
        let header = fixture.header(MINUTE);
        let mut known = std::collections::BTreeSet::new();
        let payloads: Vec<_> = seeds.iter().map(|seeds| {
            let fresh: Vec<_> = seeds.iter().copied().filter(|seed| known.insert(*seed)).collect();
            if fresh.is_empty() { vec![] } else { encode_payload(&[fixture.batch(1, &attested(fresh))]) }
        }).collect();
        let blocks: Vec<_> = (1u64..).zip(&payloads).map(|(height, payload)| block(height, &header, payload)).collect();
        for blocks in blocks.chunks(group) {
            ledger.apply_final(blocks).unwrap();
        }
        let (head, reading) = (ledger.head(), ledger.reading().unwrap());
        for seed in known {
            let (tx_id, ..) = reading.record_of(&capture(seed), &capture(seed).digest()).unwrap().unwrap();
            let found = reading.find(&ImageHash::from_bytes([2 * seed; 32])).unwrap().unwrap();
            prop_assert_eq!(found.records.len(), 1);
            let path = reading.prove_inclusion(tx_id).unwrap();
            prop_assert!(verify_inclusion(&leaf_hash(&found.leaf_bytes), tx_id.0, head.size, &path, &head.root).is_ok());
        }
    }
}
