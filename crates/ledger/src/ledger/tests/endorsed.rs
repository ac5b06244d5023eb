//! Records at assurance 2: what is refused, and what becomes of the same body at both assurances.

use super::*;

fn endorsed(fixture: &Fixture, endorsement: &[u8]) -> BlockBatch {
    let transaction = Transaction::new(Assurance::Endorsed, endorsement.to_vec(), capture(1)).unwrap();
    fixture.batch_of(1, vec![transaction])
}

fn refused(refusal: Refusal) -> Result<(), InvalidBlock> {
    Err(InvalidBlock::Refused { batch: 0, at: 0, refusal })
}

#[test]
fn endorsements_are_refused_by_cause() {
    let fixture = Fixture::new();
    let ledger = fixture.open();
    let good = endorse(&fixture.network, 1, &capture(1));
    let judge = |endorsement: &[u8]| judged(&fixture, &ledger, &[endorsed(&fixture, endorsement)]);
    assert_eq!(judge(&good), Ok(()));

    let unknown = |endorsement: &[u8]| assert_eq!(judge(endorsement), refused(Refusal::UnknownEndorsementKey));
    unknown(&endorse(&fixture.network, 2, &capture(1)));
    unknown(&[&[0; 8], &good[8..]].concat());

    let bad = |endorsement: &[u8]| assert_eq!(judge(endorsement), refused(Refusal::BadEndorsement));
    bad(&endorse(&fixture.network, 1, &capture(2)));
    let elsewhere = NetworkBuilder::new(KeyName::new("other.example/log").unwrap(), Minute(MINUTE));
    let elsewhere =
        NetworkBuilder { validators: fixture.network.genesis().validators().to_vec(), ..elsewhere }.build().unwrap();
    bad(&endorse(&elsewhere.sign(&[&secret(2)]).unwrap().1, 1, &capture(1)));
    for at in [8, 100, good.len() - 1] {
        let mut changed = good.clone();
        changed[at] ^= 1;
        bad(&changed);
    }
    // Longer and shorter than the key's modulus, and too short for any key.
    bad(&[good.as_slice(), &[0]].concat());
    bad(&good[..good.len() - 1]);
    bad(&[good[..8].to_vec(), vec![0xff; 256]].concat());
    bad(&[7]);
}

#[test]
fn revoked_keys_vouch_for_nothing_and_all_others_do() {
    use EndorsementKeyState::{Current, Previous, Retired, Revoked};
    for (state, expected) in
        [(Current, Ok(())), (Previous, Ok(())), (Retired, Ok(())), (Revoked, refused(Refusal::RevokedEndorsementKey))]
    {
        let fixture = Fixture::with_key_state(state);
        let ledger = fixture.open();
        let endorsement = endorse(&fixture.network, 1, &capture(1));
        assert_eq!(judged(&fixture, &ledger, &[endorsed(&fixture, &endorsement)]), expected, "{state:?}");
    }
}

#[test]
fn what_was_decided_before_a_key_was_revoked_stands_when_a_lost_ledger_is_applied_anew() {
    let before = Fixture::new();
    let header = before.header(MINUTE);
    let payloads = [1, 2].map(|seed| encode_payload(&[before.batch(1, &[(Assurance::Endorsed, capture(seed))])]));
    let blocks = [block(1, &header, &payloads[0]), block(2, &header, &payloads[1])];
    let first = before.open();
    first.apply_final(&blocks).unwrap();

    let after = Fixture::with_key_state(EndorsementKeyState::Revoked);
    let anew = after.open();
    anew.apply_final(&blocks[..1]).unwrap();
    let view = anew.view_after(&blocks).unwrap().unwrap();
    assert_eq!(view.judge(&header, &[]).unwrap(), Ok(()), "an ancestor stands too");
    anew.apply_final(&blocks).unwrap();
    assert_eq!(anew.head(), first.head());
    let new = endorse(&before.network, 1, &capture(1));
    let again = after.batch_of(1, vec![Transaction::new(Assurance::Endorsed, new, capture(1)).unwrap()]);
    assert_eq!(judged(&after, &anew, &[again]), refused(Refusal::RevokedEndorsementKey));
}

#[test]
fn one_bad_endorsement_makes_the_block_invalid_before_anything_else_is_looked_at() {
    let fixture = Fixture::new();
    let ledger = fixture.open();
    let mut transactions: Vec<_> = [1, 2]
        .map(|seed| {
            Transaction::new(Assurance::Endorsed, endorse(&fixture.network, 1, &capture(seed)), capture(seed)).unwrap()
        })
        .to_vec();
    transactions.push(Transaction::new(Assurance::Endorsed, vec![1; 264], capture(3)).unwrap());
    let batches = [fixture.batch(1, &attested([9])), fixture.batch_of(2, transactions)];
    let refusal = Refusal::UnknownEndorsementKey;
    assert_eq!(judged(&fixture, &ledger, &batches), Err(InvalidBlock::Refused { batch: 1, at: 2, refusal }));
    let payload = encode_payload(&batches);
    let final_block = ledger.apply_final(&[block(1, &fixture.header(MINUTE), &payload)]);
    assert!(matches!(final_block, Err(LedgerError::Invalid { height: 1, .. })), "{final_block:?}");
    assert_eq!(ledger.head().height, Height(0));
}

#[test]
fn attested_bodies_rise_to_endorsed_once_and_never_fall() {
    let fixture = Fixture::new();
    let ledger = fixture.open();
    let header = fixture.header(MINUTE);
    let attested = encode_payload(&[fixture.batch(1, &attested([1]))]);
    let endorsed = encode_payload(&[fixture.batch(2, &[(Assurance::Endorsed, capture(1))])]);
    ledger.apply_final(&[block(1, &header, &attested)]).unwrap();
    let recorded = ledger.apply_final(&[block(2, &header, &endorsed)]).unwrap();
    assert_eq!(recorded, [(capture(1).digest(), Assurance::Endorsed)]);

    let reading = ledger.reading().unwrap();
    let (tx_id, assurance, height) = reading.record_of(&capture(1), &capture(1).digest()).unwrap().unwrap();
    assert_eq!((assurance, height), (Assurance::Endorsed, Height(2)));
    let found = reading.find(&ImageHash::from_bytes([2; 32])).unwrap().unwrap();
    let listed: Vec<_> = found.records.iter().map(|record| record.assurance).collect();
    assert_eq!(listed, [Assurance::Endorsed, Assurance::Attested], "both stay, the better one first");
    assert_eq!(found.records[0].tx_id, tx_id);
    let endorsement = endorse(&fixture.network, 1, &capture(1));
    assert_eq!(found.endorsement.as_deref(), Some(endorsement.as_slice()));
    assert_eq!(found.leaf.endorsement_hash, Some(Digest::of_parts(&[&endorsement])));
    assert_eq!(reading.endorsement(tx_id).unwrap(), Some(endorsement));
    assert_eq!(reading.endorsement(found.records[1].tx_id).unwrap(), None);

    for again in [&attested, &endorsed] {
        let view = ledger.view_after(&[]).unwrap().unwrap();
        assert_eq!(view.judge(&header, again).unwrap(), Err(InvalidBlock::Duplicate { batch: 0, at: 0 }));
    }
}

#[test]
fn what_was_endorsed_first_is_found_first_and_kept_over_a_restart() {
    let fixture = Fixture::new();
    let ledger = fixture.open();
    let header = fixture.header(MINUTE);
    // Another capture with the same raw, and so two records of one hash.
    let raw = || entry(Level::Raw, 2, Parent::None);
    let other = body("MFG", vec![raw(), entry(Level::Validated, 77, Parent::Entry(1))]);
    let first = encode_payload(&[fixture.batch(1, &[(Assurance::Endorsed, capture(1))])]);
    let second = encode_payload(&[fixture.batch(1, &[(Assurance::Attested, other.clone())])]);
    ledger.apply_final(&[block(1, &header, &first), block(2, &header, &second)]).unwrap();
    drop(ledger);
    let ledger = fixture.open();
    let found = ledger.reading().unwrap().find(&ImageHash::from_bytes([2; 32])).unwrap().unwrap();
    let listed: Vec<_> = found.records.iter().map(|record| record.assurance).collect();
    assert_eq!(listed, [Assurance::Endorsed, Assurance::Attested]);
    assert!(found.endorsement.is_some());
    // The second record's own endorsement comes after, and behind the first.
    let third = encode_payload(&[fixture.batch(2, &[(Assurance::Endorsed, other)])]);
    ledger.apply_final(&[block(3, &header, &third)]).unwrap();
    let again = ledger.reading().unwrap().find(&ImageHash::from_bytes([2; 32])).unwrap().unwrap();
    assert_eq!(again.records[0], found.records[0]);
    let listed: Vec<_> = again.records.iter().map(|record| record.assurance).collect();
    assert_eq!(listed, [Assurance::Endorsed, Assurance::Endorsed, Assurance::Attested]);
}

#[test]
fn a_body_may_rise_within_a_block_and_never_fall() {
    let fixture = Fixture::new();
    let ledger = fixture.open();
    let (lesser, better) = (attested([1]), vec![(Assurance::Endorsed, capture(1))]);
    let rising = [fixture.batch(1, &lesser), fixture.batch(2, &better)];
    assert_eq!(judged(&fixture, &ledger, &rising), Ok(()), "rising");
    let falling = [fixture.batch(2, &better), fixture.batch(1, &lesser)];
    assert_eq!(judged(&fixture, &ledger, &falling), Err(InvalidBlock::Duplicate { batch: 1, at: 0 }));
}
