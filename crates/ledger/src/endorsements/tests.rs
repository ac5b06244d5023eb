use std::collections::BTreeSet;

use birthmark_core::ImageHash;
use birthmark_core::body::{Body, Entries, Entry, Kind, Level, Parent};
use birthmark_core::ids::{AuthorityId, AuthorityNumber};
use birthmark_core::network::{Authority, NetworkBuilder, Rules, Validator};
use birthmark_core::note::{KeyName, SecretKey};
use birthmark_core::time::Minute;
use proptest::prelude::*;

use super::*;
use crate::testing::{endorse, endorsement_key};

fn network(state: EndorsementKeyState) -> Network {
    let secret = |seed| SecretKey::from_seed(&[seed; 32]);
    let mut network = NetworkBuilder::new(KeyName::new("test.example/log").unwrap(), Minute(1));
    network.validators = vec![Validator {
        consensus_key: secret(1).public_key(),
        log_key: secret(2).public_key(),
        cosigning_key: secret(3).public_key(),
        p2p_address: None,
    }];
    network.authorities = vec![Authority {
        number: AuthorityNumber(1),
        id: AuthorityId::new("MFG").unwrap(),
        token_key: None,
        rules: Rules::default(),
        endorsement_keys: vec![endorsement_key(1, state)],
    }];
    network.build().unwrap().sign(&[&secret(2)]).unwrap().1
}

fn body(number: usize) -> Body {
    let hash = ImageHash::of(&number.to_be_bytes());
    let raw = Entry { level: Level::Raw, kind: Kind::File, hash, parent: Parent::None };
    Body { authority: AuthorityId::new("MFG").unwrap(), entries: Entries::new(vec![raw], None, None).unwrap() }
}

fn transaction(network: &Network, number: usize) -> Transaction {
    let body = body(number);
    Transaction::new(Assurance::Endorsed, endorse(network, 1, &body), body).unwrap()
}

fn forged(number: usize) -> Transaction {
    let network = network(EndorsementKeyState::Current);
    Transaction::new(Assurance::Endorsed, endorse(&network, 1, &body(number + 1_000)), body(number)).unwrap()
}

fn remembered(endorsements: &Endorsements) -> usize {
    let held = endorsements.held.lock();
    held.young.len() + held.old.len()
}

#[test]
fn only_what_held_is_remembered_and_only_for_its_own_body() {
    let (network, endorsements) = (network(EndorsementKeyState::Current), Endorsements::default());
    let good = transaction(&network, 1);
    assert_eq!(endorsements.check(&network, Stage::Proposed, &forged(2)), Err(Refusal::BadEndorsement));
    assert_eq!(remembered(&endorsements), 0);
    for _ in 0..2 {
        assert_eq!(endorsements.check(&network, Stage::Proposed, &good), Ok(()));
        assert_eq!(remembered(&endorsements), 1);
    }
    let stolen = Transaction::new(Assurance::Endorsed, good.endorsement().to_vec(), body(3)).unwrap();
    assert_eq!(endorsements.check(&network, Stage::Proposed, &stolen), Err(Refusal::BadEndorsement));
    let attested = Transaction::new(Assurance::Attested, vec![], body(4)).unwrap();
    assert_eq!(endorsements.check(&network, Stage::Proposed, &attested), Ok(()));
    assert_eq!(remembered(&endorsements), 1);
}

#[test]
fn a_revoked_keys_signature_is_refused_though_it_is_remembered() {
    let endorsements = Endorsements::default();
    let before = network(EndorsementKeyState::Current);
    let good = transaction(&before, 1);
    assert_eq!(endorsements.check(&before, Stage::Proposed, &good), Ok(()));
    let after = network(EndorsementKeyState::Revoked);
    assert_eq!(before.network_id(), after.network_id(), "the same network, a later file");
    assert_eq!(endorsements.check(&after, Stage::Proposed, &good), Err(Refusal::RevokedEndorsementKey));
    assert_eq!(endorsements.check(&after, Stage::Decided, &good), Ok(()));
    let forged = Endorsements::default().check(&after, Stage::Decided, &forged(1));
    assert_eq!(forged, Err(Refusal::BadEndorsement), "what is decided must hold all the same");
}

#[test]
fn memory_is_bounded_and_keeps_the_latest() {
    let mut held = Held::default();
    let digest = |number: usize| Digest::of_parts(&[&number.to_be_bytes()]);
    let most = 3 * GENERATION + 7;
    for number in 0..most {
        held.insert(digest(number));
        assert!(held.young.len() <= GENERATION && held.old.len() <= GENERATION);
    }
    assert!((most - GENERATION..most).all(|number| held.contains(&digest(number))), "a whole block's worth");
    assert!(!held.contains(&digest(0)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    /// However many threads share the work, it is the first bad one that is named.
    #[test]
    fn first_refused_is_the_first_in_order(bad in prop::collection::btree_set(0usize..160, 0..4)) {
        let network = network(EndorsementKeyState::Current);
        let good = transaction(&network, 5_000);
        // Copies of one signature are unknown until the first of them was checked, and cheap to make.
        let list: Vec<_> = (0..160).map(|at| if bad.contains(&at) { forged(at) } else { good.clone() }).collect();
        let list: Vec<_> = list.iter().collect();
        let expected = first(&bad).map(|at| (at, Refusal::BadEndorsement));
        prop_assert_eq!(Endorsements::default().first_refused(&network, Stage::Proposed, &list), expected);
    }
}

fn first(set: &BTreeSet<usize>) -> Option<usize> {
    set.first().copied()
}
