use birthmark_core::ids::{AuthorityId, AuthorityNumber};
use birthmark_core::network::EndorsementKeyState::{Current, Previous, Retired, Revoked};
use birthmark_core::network::{MinTokenVersion, TokenKey};
use serde_json::{Value, json};

use super::super::testing::*;
use super::*;

/// A second epoch of validator 2 after the first one's end.
fn add_epoch(document: &mut Value) {
    let second = Network::parse(&network_of(2, |_| ())).unwrap();
    let epoch = second.current_epoch();
    document["epochs"][0]["last_size"] = json!(100);
    document["epochs"][0]["last_root"] = json!("ab".repeat(32));
    document["epochs"].as_array_mut().unwrap().push(json!({
        "epoch": 1, "first_height": 50, "policy": epoch.policy().to_string(), "validators": epoch.validators()
    }));
}

fn parse(file: &[u8]) -> Network {
    Network::parse(file).unwrap()
}

fn between(known: &[u8], candidate: &[u8]) -> Result<Succession, Refusal> {
    succession(&parse(known), &parse(candidate))
}

#[test]
fn every_step_of_a_keys_life_is_newer_and_no_step_back_is() {
    let states = [Current, Previous, Retired, Revoked];
    for (from, known) in states.into_iter().enumerate() {
        for (to, candidate) in states.into_iter().enumerate() {
            let got = between(&network(&[(1, known)]), &network(&[(1, candidate)]));
            let expected = match from.cmp(&to) {
                std::cmp::Ordering::Less => Ok(Succession::Newer),
                std::cmp::Ordering::Equal => Ok(Succession::Same),
                std::cmp::Ordering::Greater => Err(Refusal::KeyState(endorsement_key(1, Current).key_id)),
            };
            assert_eq!(got, expected, "{known:?} to {candidate:?}");
        }
    }
}

#[test]
fn rotation_is_newer_and_its_undoing_is_refused() {
    let (before, after) = (network(&[(1, Current)]), network(&[(1, Previous), (2, Current)]));
    assert_eq!(between(&before, &after), Ok(Succession::Newer));
    assert_eq!(between(&after, &before), Err(Refusal::KeyState(endorsement_key(1, Current).key_id)));
    let swapped = network(&[(2, Current)]);
    assert_eq!(between(&before, &swapped), Err(Refusal::KeyMissing(endorsement_key(1, Current).key_id)));
}

#[test]
fn another_network_is_refused_whatever_it_lists() {
    assert_eq!(between(&network(&[(1, Current)]), &network_of(2, |_| ())), Err(Refusal::OtherNetwork));
}

#[test]
fn authorities_are_added_and_never_lost_or_renamed() {
    let known = network(&[(1, Current)]);
    let second = |builder: &mut birthmark_core::network::NetworkBuilder| {
        let mut other = authority(&[(2, Current)]);
        other.number = AuthorityNumber(2);
        other.id = AuthorityId::new("OTHER").unwrap();
        builder.authorities.push(other);
    };
    let more = network_of(1, second);
    assert_eq!(between(&known, &more), Ok(Succession::Newer));
    assert_eq!(between(&more, &known), Err(Refusal::Authority(2)));
    let renamed = network_of(1, |builder| builder.authorities[0].id = AuthorityId::new("OTHER").unwrap());
    assert_eq!(between(&known, &renamed), Err(Refusal::Authority(1)));
    // The key is there, but as another authority's.
    let moved = network_of(1, |builder| {
        second(builder);
        builder.authorities[0].endorsement_keys = vec![endorsement_key(2, Current)];
        builder.authorities[1].endorsement_keys = vec![endorsement_key(1, Current)];
    });
    assert_eq!(between(&known, &moved), Err(Refusal::KeyMissing(endorsement_key(1, Current).key_id)));
}

#[test]
fn token_key_may_come_and_never_change_or_go() {
    let known = network(&[(1, Current)]);
    let without = network_of(1, |builder| builder.authorities[0].token_key = None);
    let other = network_of(1, |builder| {
        builder.authorities[0].token_key = Some(TokenKey::from_bytes([9; 32]));
    });
    assert_eq!(between(&without, &known), Ok(Succession::Newer));
    assert_eq!(between(&known, &without), Err(Refusal::TokenKey(1)));
    assert_eq!(between(&known, &other), Err(Refusal::TokenKey(1)));
}

#[test]
fn epochs_end_and_follow_and_are_never_rewritten() {
    let first = network(&[(1, Current)]);
    let second = rewritten(&first, 1, add_epoch);
    assert_eq!(between(&first, &second), Ok(Succession::Newer));
    assert_eq!(between(&second, &first), Err(Refusal::Epoch));
    let otherwise = rewritten(&second, 1, |document| document["epochs"][0]["last_size"] = json!(99));
    assert_eq!(between(&second, &otherwise), Err(Refusal::Epoch));
    let later = rewritten(&second, 1, |document| document["epochs"][1]["first_height"] = json!(51));
    assert_eq!(between(&second, &later), Err(Refusal::Epoch));
}

#[test]
fn what_no_token_depends_on_makes_no_difference() {
    let known = network(&[(1, Current)]);
    let stricter = network_of(1, |builder| {
        builder.authorities[0].rules.min_token_version = MinTokenVersion::V2;
        builder.max_age = Some(7);
    });
    assert_eq!(between(&known, &stricter), Ok(Succession::Same));
}
