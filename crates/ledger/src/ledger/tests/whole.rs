//! Blocks as they were ordered, given again by the ledger that applied them, and foreseen by another.

use super::*;
use crate::transfer::{self, WholeBlock};

/// A ledger with blocks of every kind: several batches, a place left out, an endorsement, no batch at all.
fn recorded() -> (Fixture, Vec<Vec<u8>>) {
    let fixture = Fixture::new();
    let ledger = fixture.open();
    let mut late = fixture.batch(2, &attested([1, 7]));
    let Place::Record(known) = late.places[0].clone() else { panic!() };
    late.places[0] = Place::Omitted(known.digest());
    let unattested = (Assurance::Asserted, body(UNATTESTED, vec![entry(Level::Modified, 99, Parent::None)]));
    let payloads = vec![
        encode_payload(&[fixture.batch(1, &attested([1, 2])), fixture.batch(2, &attested([3]))]),
        encode_payload(&[]),
        encode_payload(&[late, fixture.batch(1, &[unattested])]),
        encode_payload(&[fixture.batch(1, &[(Assurance::Endorsed, capture(5))])]),
        encode_payload(&[]),
    ];
    let header = fixture.header(MINUTE);
    for (height, payload) in (1..).zip(&payloads) {
        ledger.apply_final(&[block(height, &header, payload)]).unwrap();
    }
    (fixture, payloads)
}

fn whole(fixture: &Fixture) -> Vec<WholeBlock> {
    let reading = fixture.open().reading().unwrap();
    (1..=5).map(|height| reading.whole_block(&fixture.network, Height(height)).unwrap().unwrap()).collect()
}

#[test]
fn blocks_are_given_again_byte_for_byte() {
    let (fixture, payloads) = recorded();
    let blocks = whole(&fixture);
    for (block, payload) in blocks.iter().zip(&payloads) {
        assert_eq!((&block.payload, block.header.to_vec()), (payload, fixture.header(MINUTE)), "{:?}", block.height);
    }
    let reading = fixture.open().reading().unwrap();
    for height in [0, 6] {
        assert_eq!(reading.whole_block(&fixture.network, Height(height)).unwrap(), None);
    }
    let mut bytes = vec![transfer::VERSION];
    for block in &blocks {
        block.encode_into(&mut bytes);
    }
    assert_eq!(transfer::decode(&bytes), Ok(blocks));
}

#[test]
fn a_block_without_its_endorsement_is_not_given() {
    let (fixture, _) = recorded();
    let tx_id = fixture.open().reading().unwrap().block(Height(4)).unwrap().unwrap().first;
    Store::open(fixture.folder.path()).unwrap().damage("endorsements", &tx_id.0.to_be_bytes(), None);
    let reading = fixture.open().reading().unwrap();
    assert_eq!(reading.whole_block(&fixture.network, Height(4)).unwrap(), None);
    assert!(reading.whole_block(&fixture.network, Height(3)).unwrap().is_some());
}

#[test]
fn what_is_foreseen_is_what_applying_leads_to() {
    let (fixture, _) = recorded();
    let blocks = whole(&fixture);
    let folder = tempfile::tempdir().unwrap();
    let other = Ledger::open(folder.path(), Arc::clone(&fixture.network)).unwrap();
    let trees = other.foresee(&blocks).unwrap().unwrap();
    assert_eq!(other.head().height, Height(0), "nothing was applied");
    let mut seen = Vec::new();
    for block in &blocks {
        let before = other.head().size;
        other.apply_final(&[block.as_block()]).unwrap();
        let head = other.head();
        if head.size > before {
            seen.push(Tree { height: head.height, size: head.size, root: head.root });
        }
    }
    assert_eq!(trees, seen);
    assert_eq!(other.head(), fixture.open().head());
    assert_eq!(other.foresee(&[]).unwrap().unwrap(), []);
}

#[test]
fn blocks_that_cannot_be_the_next_ones_are_refused_by_cause() {
    let (fixture, _) = recorded();
    let blocks = whole(&fixture);
    let folder = tempfile::tempdir().unwrap();
    let other = Ledger::open(folder.path(), Arc::clone(&fixture.network)).unwrap();
    let refusal = |change: &dyn Fn(&mut Vec<WholeBlock>)| {
        let mut blocks = blocks.clone();
        change(&mut blocks);
        other.foresee(&blocks).unwrap().unwrap_err()
    };
    assert_eq!(refusal(&|blocks| drop(blocks.remove(1))), BadBlocks::Gap { expected: 2, got: 3 });
    assert_eq!(refusal(&|blocks| blocks[2].parent = [9; 32]), BadBlocks::Unlinked(3));
    let invalid = |cause| BadBlocks::Invalid { height: 3, cause };
    let earlier: [u8; 41] = fixture.header(MINUTE - 1).try_into().unwrap();
    assert_eq!(refusal(&|blocks| blocks[2].header = earlier), invalid(InvalidBlock::Minute));
    let twice = blocks[0].payload.clone();
    assert_eq!(
        refusal(&|blocks| blocks[2].payload.clone_from(&twice)),
        invalid(InvalidBlock::Duplicate { batch: 0, at: 0 })
    );
    // Another index root, or a record that was left out, gives another tree.
    let honest = other.foresee(&blocks).unwrap().unwrap();
    let mut changed = blocks.clone();
    changed[0].index_root = Digest::from_bytes([1; 32]);
    let trees = other.foresee(&changed).unwrap().unwrap();
    assert_eq!(trees[0].size, honest[0].size);
    assert!(trees.iter().zip(&honest).all(|(changed, honest)| changed.root != honest.root));
}
