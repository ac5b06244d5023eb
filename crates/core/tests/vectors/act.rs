//! `act.json`: acts of governance, approved, and as leaves of the log.

use birthmark_core::governance::{Act, ActError, ApprovedAct, Change};
use birthmark_core::hex;
use birthmark_core::ids::{AuthorityId, AuthorityNumber, Epoch, Height, SubmitterName, SubmitterNumber};
use birthmark_core::leaf::{ActLeaf, Leaf};
use birthmark_core::merkle::leaf_hash;
use birthmark_core::network::{
    Authority, EndorsementKey, EndorsementKeyId, EndorsementKeyState, MinTokenVersion, Rules, Submitter, Validator,
};
use birthmark_core::time::Minute;
use serde_json::{Value, json};

use crate::authority::{spki, token_secret};
use crate::frame::{Vectors, bytes, decode_code, digest, patched};
use crate::world::{MINUTE, network_id, secret, validator};

fn authority(keys: &[(u8, EndorsementKeyState)]) -> Authority {
    let endorsement_keys = keys.iter().map(|(number, state)| {
        let spki = spki(*number);
        EndorsementKey { key_id: EndorsementKeyId::of_spki(&spki), spki, state: *state }
    });
    Authority {
        number: AuthorityNumber(8),
        id: AuthorityId::new("SIMULATED_MFG_002").unwrap(),
        token_key: (!keys.is_empty()).then(|| token_secret().public()),
        rules: Rules { min_token_version: if keys.is_empty() { MinTokenVersion::V1 } else { MinTokenVersion::V2 } },
        endorsement_keys: endorsement_keys.collect(),
    }
}

/// The change as JSON fields, beside the change itself.
fn changes() -> Vec<(&'static str, Value, Change)> {
    let added = Validator { p2p_address: Some("node-4.example:8547".to_owned()), ..validator(4) };
    let keys = |v: &Validator| json!([v.consensus_key, v.log_key, v.cosigning_key]);
    let submitter = Submitter {
        number: SubmitterNumber(2),
        name: SubmitterName::new("aggregator_node_002").unwrap(),
        key: secret("submitter", 2).public_key(),
    };
    let rotated = [(1, EndorsementKeyState::Current), (2, EndorsementKeyState::Revoked)];
    let listed: Vec<Value> = [(1, 0), (2, 3)].map(|(n, s)| json!({"state": s, "spki": hex::encode(spki(n))})).to_vec();
    vec![
        (
            "add validator",
            json!({"kind": 1, "keys": keys(&added), "p2p_address": "node-4.example:8547"}),
            Change::AddValidator(Box::new(added)),
        ),
        (
            "add validator without address",
            json!({"kind": 1, "keys": keys(&validator(4)), "p2p_address": ""}),
            Change::AddValidator(Box::new(validator(4))),
        ),
        (
            "remove validator",
            json!({"kind": 2, "key": validator(3).consensus_key}),
            Change::RemoveValidator(validator(3).consensus_key),
        ),
        (
            "authority without keys",
            json!({"kind": 3, "number": 8, "id": "SIMULATED_MFG_002", "min_token_version": 1, "token_key": null, "endorsement_keys": []}),
            Change::SetAuthority(Box::new(authority(&[]))),
        ),
        (
            "authority with keys",
            json!({
                "kind": 3, "number": 8, "id": "SIMULATED_MFG_002", "min_token_version": 2,
                "token_key": token_secret().public(), "endorsement_keys": listed,
            }),
            Change::SetAuthority(Box::new(authority(&rotated))),
        ),
        ("remove authority", json!({"kind": 4, "number": 7}), Change::RemoveAuthority(AuthorityNumber(7))),
        (
            "add submitter",
            json!({"kind": 5, "number": 2, "name": submitter.name, "key": submitter.key}),
            Change::AddSubmitter(submitter),
        ),
        ("remove submitter", json!({"kind": 6, "number": 1}), Change::RemoveSubmitter(SubmitterNumber(1))),
    ]
}

const fn code(error: &ActError) -> &'static str {
    match error {
        ActError::Decode(cause) => decode_code(cause),
        ActError::Key(_) => "key",
        ActError::Name(_) => "name",
        ActError::TooLong(_) => "too_long",
        ActError::Order => "order",
    }
}

#[test]
fn act_json() {
    let cases: Vec<Value> = (1u32..)
        .zip(changes())
        .map(|(number, (name, fields, change))| {
            let (previous, epoch) = (digest("previous act"), Epoch(3));
            let act = Act { network: network_id(), number, previous, epoch, change };
            assert_eq!(Act::decode(&act.encode()).unwrap(), act, "{name}");
            let mut approved = ApprovedAct::new(act.clone(), Vec::new());
            for validator in 0..3 {
                approved.approve(&secret("log", validator));
            }
            let leaf = ActLeaf { minute: Minute(MINUTE), height: Height(41), approved: approved.clone() };
            let leaf = Leaf::Act(Box::new(leaf)).encode();
            json!({
                "name": name, "network_id": network_id(), "number": number, "previous": previous, "epoch": 3,
                "change": fields, "act": hex::encode(act.encode()), "digest": act.digest(),
                "approved": hex::encode(approved.encode()), "minute": MINUTE, "height": 41,
                "leaf": hex::encode(&leaf), "leaf_hash": hex::encode(leaf_hash(&leaf).as_bytes()),
            })
        })
        .collect();
    let (removal, named) = (bytes(&cases[5], "act"), bytes(&cases[6], "act"));
    let key = named.len() - 32;
    let refused = [
        ("nothing", vec![], "truncated"),
        ("version 2", patched(&removal, 0, &[2]), "value"),
        ("kind 0", patched(&removal, 73, &[0]), "value"),
        ("kind 7", patched(&removal, 73, &[7]), "value"),
        ("one byte short", removal[..removal.len() - 1].to_vec(), "truncated"),
        ("one byte over", [removal.as_slice(), &[0]].concat(), "trailing"),
        ("a name with a newline", patched(&named, 77, b"\n"), "text"),
        ("a key of small order", patched(&named, key, &[0; 32]), "key"),
        ("min_token_version 3", patched(&bytes(&cases[3], "act"), 94, &[3]), "value"),
    ]
    .map(|(name, bad, reason)| {
        assert_eq!(code(&Act::decode(&bad).expect_err(name)), reason, "{name}");
        json!({"name": name, "act": hex::encode(bad), "reason": reason})
    });
    Vectors::new("act.json", "14: acts of governance")
        .with("cases", cases.into())
        .with("refused", refused.to_vec().into())
        .check();
}
