use proptest::prelude::*;

use super::*;
use crate::body::tests::{any_entries, capture};

const NETWORK: NetworkId = NetworkId(Digest::from_bytes([8; 32]));

fn signed(count: usize) -> (Batch, [u8; 32]) {
    let key = SubmitterKey::from_seed([5; 32]);
    let transaction = Transaction::new(Assurance::Attested, vec![], capture()).unwrap();
    (Batch::sign(NETWORK, SubmitterNumber(1), &key, vec![transaction; count]), key.public())
}

#[test]
fn signature_binds_network_submitter_order_and_content() {
    let (batch, key) = signed(2);
    assert_eq!(batch.verify(NETWORK, &key), Ok(()));
    assert!(batch.verify(NetworkId(Digest::from_bytes([9; 32])), &key).is_err());
    assert!(Batch { submitter: SubmitterNumber(2), ..batch.clone() }.verify(NETWORK, &key).is_err());
    let asserted = Transaction::new(Assurance::Asserted, vec![], capture()).unwrap();
    let changed = Batch { transactions: vec![asserted, batch.transactions[1].clone()], ..batch.clone() };
    assert!(changed.verify(NETWORK, &key).is_err());
    let cut = Batch { transactions: batch.transactions[..1].to_vec(), ..batch };
    assert!(cut.verify(NETWORK, &key).is_err());
}

#[test]
fn a_place_left_out_keeps_the_signature_whole() {
    let (batch, key) = signed(2);
    let [first, second] = batch.transactions.try_into().unwrap();
    let places = vec![Place::Omitted(first.digest()), Place::Record(second)];
    let block = BlockBatch { submitter: batch.submitter, places, signature: batch.signature };
    assert_eq!(block.verify(NETWORK, &key), Ok(()));
    let mut bytes = vec![];
    block.encode_into(&mut bytes);
    let mut reader = Reader::new(&bytes);
    assert_eq!(BlockBatch::decode_from(&mut reader).unwrap(), block);
    assert_eq!(reader.finish(), Ok(()));
}

#[test]
fn endorsement_is_given_exactly_at_assurance_2() {
    for (assurance, endorsement, allowed) in [
        (Assurance::Asserted, vec![1], false),
        (Assurance::Attested, vec![1], false),
        (Assurance::Endorsed, vec![], false),
        (Assurance::Endorsed, vec![0; MAX_ENDORSEMENT + 1], false),
        (Assurance::Endorsed, vec![0; 264], true),
    ] {
        assert_eq!(Transaction::new(assurance, endorsement, capture()).is_some(), allowed);
    }
}

#[test]
fn truncated_extended_and_out_of_range_bytes_are_refused() {
    let good = signed(2).0.encode();
    for cut in 0..good.len() {
        assert!(Batch::decode(&good[..cut]).is_err(), "cut at {cut}");
    }
    assert!(Batch::decode(&[good.as_slice(), &[0]].concat()).is_err());
    for (at, value) in [(0, 2), (3, 2), (4, 0), (5, 3), (6, 9)] {
        let mut bad = good.clone();
        bad[at] = value;
        assert!(Batch::decode(&bad).is_err(), "byte {at} = {value}");
    }
}

proptest! {
    #[test]
    fn every_batch_round_trips(
        lists in prop::collection::vec((any_entries(), any::<bool>()), 1..5),
        submitter: u16,
    ) {
        let transactions = lists.into_iter().map(|(entries, endorsed)| {
            let body = Body { entries, ..capture() };
            let (assurance, endorsement) =
                if endorsed { (Assurance::Endorsed, vec![3; 264]) } else { (Assurance::Asserted, vec![]) };
            Transaction::new(assurance, endorsement, body).unwrap()
        }).collect();
        let batch =
            Batch::sign(NETWORK, SubmitterNumber(submitter), &SubmitterKey::from_seed([1; 32]), transactions);
        prop_assert_eq!(Batch::decode(&batch.encode()).unwrap(), batch);
    }
}
