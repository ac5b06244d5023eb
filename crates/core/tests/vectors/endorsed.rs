//! Part of `proof.json`: the endorsement of a record, and others that do not hold.

use birthmark_core::hash::Digest;
use birthmark_core::ids::NetworkId;
use birthmark_core::proof::ProofBundle;
use serde_json::{Value, json};

use crate::authority::vouch;
use crate::proof::{Tree, leaves, with_picture};
use crate::records::{body, capture, leaf, record};
use crate::world::network_id;

/// What an authority's key gives for a capture, encoded.
fn endorsement(key: u8, network: NetworkId, authority: &str, entries: &Value) -> Vec<u8> {
    let body = body(&json!({"authority_id": authority, "entries": entries, "owner_hash": null, "gps_hash": null}));
    vouch(key, network, &body.encode(), "proof").endorsement.encode()
}

/// What belongs to leaf 3.
pub(crate) fn genuine() -> Vec<u8> {
    endorsement(1, network_id(), "SIMULATED_MFG_001", &with_picture())
}

/// A leaf that names this endorsement, in the log with it. Validators would not have let it in.
fn endorsed_with(endorsement: &[u8]) -> String {
    let mut list = leaves();
    let hash = Digest::of_parts(&[endorsement]).to_string();
    list[3] = leaf(&record(1, 2, Some(&hash), &with_picture())).encode();
    ProofBundle { endorsement: Some(endorsement.to_vec()), ..Tree::new(list).prove(3) }.to_string()
}

/// Endorsements that do not hold, though the leaf names them.
pub(crate) fn forged() -> Vec<(&'static str, &'static str, String, &'static str)> {
    let (good, id) = (genuine(), network_id());
    let other_network = NetworkId(Digest::of_parts(&[b"another network"]));
    let mfg = "SIMULATED_MFG_001";
    let (bad, unknown) = ("bad_endorsement", "unknown_endorsement_key");
    let flip = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        endorsed_with(&bytes)
    };
    vec![
        ("a flipped bit in the endorsement", "network", flip(263), bad),
        ("a flipped bit in the endorsement's key id", "network", flip(0), unknown),
        ("another capture's endorsement", "network", endorsed_with(&endorsement(1, id, mfg, &capture())), bad),
        (
            "an endorsement for another network",
            "network",
            endorsed_with(&endorsement(1, other_network, mfg, &with_picture())),
            bad,
        ),
        (
            "an endorsement in another authority's name",
            "network",
            endorsed_with(&endorsement(1, id, "SOFTWARE_001", &with_picture())),
            bad,
        ),
        (
            "another authority's endorsement",
            "network",
            endorsed_with(&endorsement(2, id, mfg, &with_picture())),
            unknown,
        ),
        (
            "an endorsement by a key that this file does not have yet",
            "network",
            endorsed_with(&endorsement(3, id, mfg, &with_picture())),
            unknown,
        ),
        ("an endorsement a byte short", "network", endorsed_with(&good[..good.len() - 1]), bad),
        ("an endorsement a byte long", "network", endorsed_with(&[good.as_slice(), &[0]].concat()), bad),
        ("a revoked key's wrong endorsement", "revoked", flip(263), bad),
        (
            "the same by a bare policy, which names another",
            "policy",
            {
                let proof = ProofBundle::parse(&endorsed_with(&good)).unwrap();
                ProofBundle { endorsement: Some(good[..263].to_vec()), ..proof }.to_string()
            },
            "endorsement",
        ),
    ]
}
