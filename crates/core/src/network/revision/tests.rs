use super::super::tests::{builder, endorsement_key, file, log_keys};
use super::*;
use crate::network::EndorsementKeyState::{Current, Previous, Retired, Revoked};
use crate::note::SecretKey;

fn statement(keys: &[(u8, EndorsementKeyState)]) -> AuthorityStatement {
    let authority = builder(1).authorities.remove(0);
    AuthorityStatement {
        id: authority.id,
        token_key: authority.token_key,
        rules: authority.rules,
        endorsement_keys: keys.iter().map(|(number, state)| endorsement_key(*number, *state)).collect(),
    }
}

/// The file after a revision, signed by `n` validators.
fn revised(bytes: &[u8], statement: AuthorityStatement, n: u8) -> (Vec<u8>, Network) {
    let mut revision = Revision::of(bytes).unwrap();
    revision.set_authority(statement).unwrap();
    let keys = log_keys(n);
    revision.finish().unwrap().sign(&keys.iter().collect::<Vec<&SecretKey>>()).unwrap()
}

#[test]
fn rotated_keys_are_in_the_next_file_and_the_network_stays_the_same() {
    let (bytes, before) = file(4);
    let (_, after) = revised(&bytes, statement(&[(1, Previous), (2, Revoked)]), 4);
    assert_eq!(after.network_id(), before.network_id());
    let key = endorsement_key(1, Current).key_id;
    assert_eq!(before.endorsement_key(key).unwrap().state, Current);
    assert_eq!(after.endorsement_key(key).unwrap().state, Previous);
    assert!(before.is_succeeded_by(&after) && before.is_succeeded_by(&before));
    assert!(!after.is_succeeded_by(&before));
}

#[test]
fn new_authority_gets_the_next_number() {
    let (bytes, before) = file(1);
    let other = AuthorityStatement::named(AuthorityId::new("OTHER_MFG").unwrap());
    let (_, after) = revised(&bytes, other.clone(), 1);
    assert_eq!(after.authority_by_id(&other.id).unwrap().number, AuthorityNumber(2));
    assert!(before.is_succeeded_by(&after));
    assert!(!after.is_succeeded_by(&before));
}

#[test]
fn keys_neither_disappear_nor_come_back_to_life() {
    let (bytes, _) = file(1);
    let refuse = |statement| Revision::of(&bytes).unwrap().set_authority(statement).unwrap_err();
    assert!(matches!(refuse(statement(&[(1, Current)])), RevisionError::KeyRemoved(_)));
    assert!(matches!(refuse(statement(&[(1, Current), (2, Retired)])), RevisionError::KeyRevived(_)));
    let moved = AuthorityStatement { token_key: None, ..statement(&[(1, Current), (2, Revoked)]) };
    assert!(matches!(refuse(moved), RevisionError::TokenKey(_)));
}

#[test]
fn revision_needs_the_validators_signatures_again() {
    let (bytes, _) = file(4);
    let mut revision = Revision::of(&bytes).unwrap();
    revision.set_authority(statement(&[(1, Retired), (2, Revoked)])).unwrap();
    let keys = log_keys(3);
    let signed = revision.finish().unwrap().sign(&keys.iter().collect::<Vec<_>>());
    assert!(matches!(signed, Err(NetworkError::TooFewSignatures { got: 3, needed: 4 })));
}

#[test]
fn other_network_is_no_successor() {
    let (_, one) = file(1);
    let (_, four) = file(4);
    assert!(!one.is_succeeded_by(&four));
}
