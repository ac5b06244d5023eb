//! Acts of governance in blocks.

use birthmark_core::governance::{ApprovedAct, Change, NOTICE};
use birthmark_core::leaf::BlockLeaf;
use birthmark_core::network::ActRefusal;

use super::*;
use crate::block::Payload;
use crate::fsck;
use crate::store::Store;
use crate::transfer::WholeBlock;

fn act(network: &Network, change: Change, by: &[u8]) -> ApprovedAct {
    let mut approved = ApprovedAct::new(network.next_act(change), Vec::new());
    for seed in by {
        approved.approve(&secret(*seed));
    }
    approved
}

fn new_submitter(number: u16) -> Change {
    Change::AddSubmitter(Submitter {
        number: SubmitterNumber(number),
        name: SubmitterName::new(format!("submitter {number}")).unwrap(),
        key: PublicKey::from_bytes(&submitter_key(number).public()).unwrap(),
    })
}

fn new_validator() -> Change {
    Change::AddValidator(Box::new(Validator {
        consensus_key: secret(11).public_key(),
        log_key: secret(12).public_key(),
        cosigning_key: secret(13).public_key(),
        p2p_address: Some("new.example:8547".to_owned()),
    }))
}

/// The header that the next block must have.
fn header(ledger: &Ledger) -> Vec<u8> {
    let network = ledger.network();
    let epoch = network.current_epoch();
    let validator_set_hash = epoch.validator_set_hash();
    Header { minute: Minute(MINUTE), epoch: epoch.number(), validator_set_hash }.encode().to_vec()
}

fn apply(ledger: &Ledger, payload: &[u8]) {
    let height = ledger.head().height.0 + 1;
    ledger.apply_final(&[block(height, &header(ledger), payload)]).unwrap();
}

fn with_act(act: ApprovedAct) -> Vec<u8> {
    Payload { batches: Vec::new(), act: Some(act) }.encode()
}

fn judged(ledger: &Ledger, payload: &[u8]) -> Result<(), InvalidBlock> {
    ledger.view_after(&[]).unwrap().unwrap().judge(&header(ledger), payload).unwrap()
}

fn last_leaves(ledger: &Ledger, count: u64) -> Vec<Leaf> {
    let size = ledger.head().size;
    let leaf = |at| Leaf::decode(&ledger.proven_leaf(TxId(at), size).unwrap().0).unwrap();
    (size - count..size).map(leaf).collect()
}

#[test]
fn a_submitter_speaks_from_the_block_after_its_act_until_it_is_removed() {
    let fixture = Fixture::new();
    let ledger = fixture.open();
    let third = || encode_payload(&[fixture.batch(3, &attested([3]))]);
    assert_eq!(judged(&ledger, &third()), Err(InvalidBlock::Submitter(0)));
    let same_block = Payload {
        batches: vec![fixture.batch(3, &attested([3]))],
        act: Some(act(&ledger.network(), new_submitter(3), &[2])),
    };
    assert_eq!(judged(&ledger, &same_block.encode()), Err(InvalidBlock::Submitter(0)), "not in the act's own block");

    let added = act(&ledger.network(), new_submitter(3), &[2]);
    let both = Payload { batches: vec![fixture.batch(1, &attested([1]))], act: Some(added.clone()) };
    apply(&ledger, &both.encode());
    let leaves = last_leaves(&ledger, 3);
    assert!(matches!(&leaves[0], Leaf::Record(_)));
    assert!(matches!(&leaves[1], Leaf::Act(leaf) if leaf.approved == added && leaf.height == Height(1)));
    assert!(matches!(&leaves[2], Leaf::Block(_)));
    assert_eq!(judged(&ledger, &third()), Ok(()));
    assert!(matches!(
        judged(&ledger, &with_act(added)),
        Err(InvalidBlock::Act(ActRefusal::Number { expected: 2, got: 1 }))
    ));
    drop(ledger);

    let ledger = fixture.open();
    assert_eq!(ledger.network().act_count(), 1, "after reopening");
    apply(&ledger, &third());
    apply(&ledger, &with_act(act(&ledger.network(), Change::RemoveSubmitter(SubmitterNumber(3)), &[2])));
    let fourth = encode_payload(&[fixture.batch(3, &attested([4]))]);
    assert_eq!(judged(&ledger, &fourth), Err(InvalidBlock::Submitter(0)));
    assert!(ledger.reading().unwrap().find(&ImageHash::from_bytes([6; 32])).unwrap().is_some(), "its records stay");
}

#[test]
fn nothing_is_recorded_under_a_removed_authority() {
    let fixture = Fixture::new();
    let ledger = fixture.open();
    apply(&ledger, &with_act(act(&ledger.network(), Change::RemoveAuthority(AuthorityNumber(1)), &[2])));
    let refused = judged(&ledger, &encode_payload(&[fixture.batch(1, &attested([1]))]));
    let refusal = Refusal::UnknownAuthority;
    assert_eq!(refused, Err(InvalidBlock::Refused { batch: 0, at: 0, refusal }));
}

#[test]
fn an_unapplied_act_counts_for_the_blocks_built_on_it() {
    let fixture = Fixture::new();
    let ledger = fixture.open();
    let (head, payload) = (header(&ledger), with_act(act(&ledger.network(), new_submitter(3), &[2])));
    let parent = [block(1, &head, &payload)];
    let view = ledger.view_after(&parent).unwrap().unwrap();
    let third = encode_payload(&[fixture.batch(3, &attested([3]))]);
    assert_eq!(view.judge(&head, &third).unwrap(), Ok(()));
    assert!(view.judge(&head, &payload).unwrap().is_err(), "the same act again");
    assert_eq!(judged(&ledger, &third), Err(InvalidBlock::Submitter(0)), "on another branch");
}

#[test]
fn a_change_of_validators_ends_the_epoch_after_its_notice_and_the_next_one_says_so() {
    let fixture = Fixture::new();
    let mut ledger = fixture.open();
    let added = act(&ledger.network(), new_validator(), &[2]);
    let view_end = {
        let (head, payload) = (header(&ledger), with_act(added.clone()));
        let parent = [block(1, &head, &payload)];
        ledger.view_after(&parent).unwrap().unwrap().unapplied_end()
    };
    assert_eq!(view_end, Some(Height(1 + NOTICE)));
    apply(&ledger, &with_act(added.clone()));
    assert_eq!(ledger.head().size, 1, "no leaf yet");
    assert_eq!(ledger.view_after(&[]).unwrap().unwrap().unapplied_end(), None, "it is final");
    let other = with_act(act(&ledger.network(), new_submitter(3), &[2]));
    assert_eq!(judged(&ledger, &other), Err(InvalidBlock::ActWaits));
    for height in 2..=NOTICE {
        if height == 10 {
            drop(ledger);
            ledger = fixture.open();
            assert_eq!(ledger.constitution().scheduled().unwrap().last_height(), Height(1 + NOTICE));
        }
        let seed = u8::try_from(height).unwrap();
        apply(&ledger, &encode_payload(&[fixture.batch(1, &attested([seed]))]));
        assert_eq!(ledger.network().current_epoch().number(), Epoch(0));
    }

    // The last block of the epoch: nothing is built on it before it is applied.
    let (last_header, last) = (header(&ledger), encode_payload(&[]));
    let unapplied = [block(1 + NOTICE, &last_header, &last)];
    let view = ledger.view_after(&unapplied).unwrap().unwrap();
    assert_eq!(view.judge(&last_header, &[]).unwrap(), Err(InvalidBlock::AfterTheEnd));
    drop(view);
    apply(&ledger, &last);
    let head = ledger.head();
    let leaves = last_leaves(&ledger, 2);
    assert!(matches!(&leaves[0], Leaf::Act(leaf) if leaf.approved == added && leaf.height == head.height));
    assert!(matches!(&leaves[1], Leaf::Block(BlockLeaf { epoch: Epoch(0), .. })));
    let network = ledger.network();
    let ended = network.epochs().next().unwrap();
    assert_eq!(ended.last_checkpoint(), Some((head.size, head.root)));
    assert_eq!((network.current_epoch().number(), network.current_epoch().first_height()), (Epoch(1), Height(34)));
    assert_eq!(network.current_epoch().validators().len(), 2);

    let old = ledger.view_after(&[]).unwrap().unwrap().judge(&last_header, &[]).unwrap();
    assert_eq!(old, Err(InvalidBlock::Epoch), "the old validators decide no more");
    apply(&ledger, &[]);
    assert_eq!(ledger.head().size, head.size + 1, "an empty first block says that the epoch has begun");
    assert!(matches!(&last_leaves(&ledger, 1)[0], Leaf::Block(BlockLeaf { epoch: Epoch(1), .. })));
    apply(&ledger, &[]);
    assert_eq!(ledger.head().size, head.size + 1, "a later empty one adds nothing");
    let one = act(&ledger.network(), new_submitter(3), &[2]);
    assert_eq!(judged(&ledger, &with_act(one)), Err(InvalidBlock::Act(ActRefusal::TooFew { got: 1, needed: 2 })));
    let two = act(&ledger.network(), new_submitter(3), &[2, 12]);
    assert_eq!(judged(&ledger, &with_act(two)), Ok(()));

    drop(ledger);
    let sound = fsck::check(fixture.folder.path(), &fixture.network, &[], &mut |_| ()).unwrap().unwrap();
    assert_eq!(sound.head.height, Height(35));
    Ledger::rebuild_index(fixture.folder.path(), fixture.network.network_id()).unwrap();
    let ledger = fixture.open();
    assert_eq!(ledger.network().current_epoch().number(), Epoch(1));
    assert_eq!(ledger.network().epochs().next().unwrap().last_checkpoint(), Some((head.size, head.root)));

    // Another node takes all of it at once, from the document alone.
    let (reading, network) = (ledger.reading().unwrap(), ledger.network());
    let blocks: Vec<_> =
        (1..=35).map(|height| reading.whole_block(&network, Height(height)).unwrap().unwrap()).collect();
    let folder = tempfile::tempdir().unwrap();
    let other = Ledger::open(folder.path(), Arc::clone(&fixture.network)).unwrap();
    let trees = other.foresee(&blocks).unwrap().unwrap();
    assert!(trees.iter().any(|tree| (tree.size, tree.root) == (head.size, head.root)));
    other.apply_final(&blocks.iter().map(WholeBlock::as_block).collect::<Vec<_>>()).unwrap();
    assert_eq!(other.head(), ledger.head());
    let last = trees.last().unwrap();
    assert_eq!((last.size, last.root), (other.head().size, other.head().root));
    assert_eq!(other.network().current_epoch().first_height(), Height(34));
}

#[test]
fn fsck_finds_acts_that_are_not_counted_and_such_as_stand_elsewhere() {
    let changes: [(&[u8], Option<&[u8]>); 3] =
        [(b"acts", None), (b"acts", Some(&[0, 0, 0, 1])), (b"act\0\0\0\x01", Some(&[0, 0, 0, 0, 0, 0, 0, 3]))];
    for (key, value) in changes {
        let fixture = Fixture::new();
        let ledger = fixture.open();
        apply(&ledger, &with_act(act(&ledger.network(), new_submitter(3), &[2])));
        apply(&ledger, &encode_payload(&[fixture.batch(3, &attested([3]))]));
        apply(&ledger, &with_act(act(&ledger.network(), new_submitter(4), &[2])));
        drop(ledger);
        let check =
            || fsck::check(fixture.folder.path(), &fixture.network, &[], &mut |_| ()).unwrap().map_err(Box::new);
        check().unwrap();
        Store::open(fixture.folder.path()).unwrap().damage("meta", key, value);
        let damage = check().unwrap_err();
        assert!(["meta", "frames"].contains(&damage.keyspace), "{damage}");
    }
}

#[test]
fn acts_that_do_not_continue_the_document_are_found_at_the_start() {
    let fixture = Fixture::new();
    let ledger = fixture.open();
    apply(&ledger, &with_act(act(&ledger.network(), new_submitter(3), &[2])));
    drop(ledger);
    let revised = Fixture::with_key_state(EndorsementKeyState::Revoked).network;
    let refused = Ledger::open(fixture.folder.path(), revised).unwrap_err();
    assert!(matches!(refused, LedgerError::Store(StoreError::OtherActs)), "{refused}");
}
