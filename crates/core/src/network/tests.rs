use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::checkpoint::Checkpoint;
use crate::ids::Epoch;
use crate::merkle::{TreeHash, leaf_hash};
use crate::note::{NoteSigner, PublicKey, SecretKey};
use crate::time::{Minute, UnixSeconds};

pub(super) fn secret(kind: u8, i: u8) -> SecretKey {
    let mut seed = [kind; 32];
    seed[31] = i;
    SecretKey::from_seed(&seed)
}

pub(super) const CONSENSUS: u8 = 1;
pub(super) const LOG: u8 = 2;
pub(super) const COSIGN: u8 = 3;

pub(super) fn validator(i: u8) -> Validator {
    Validator {
        consensus_key: secret(CONSENSUS, i).public_key(),
        log_key: secret(LOG, i).public_key(),
        cosigning_key: secret(COSIGN, i).public_key(),
        p2p_address: Some(format!("node-{i}.example:8547")),
    }
}

pub(super) fn origin() -> KeyName {
    KeyName::new("birthmark.example/log").unwrap()
}

pub(super) fn endorsement_key(number: u8, state: EndorsementKeyState) -> EndorsementKey {
    let spki = endorsement::testing::secret_key(number).public_key().unwrap().to_der().unwrap();
    EndorsementKey { key_id: EndorsementKeyId::of_spki(&spki), spki, state }
}

pub(super) fn builder(n: u8) -> NetworkBuilder {
    let mut builder = NetworkBuilder::new(origin(), Minute(28_887_660));
    builder.validators = (1..=n).map(validator).collect();
    builder.authorities = vec![Authority {
        number: AuthorityNumber(1),
        id: AuthorityId::new("SIMULATED_MFG_001").unwrap(),
        token_key: Some(TokenKey::from_bytes([7; 32])),
        rules: Rules { min_token_version: MinTokenVersion::V2 },
        endorsement_keys: vec![
            endorsement_key(1, EndorsementKeyState::Current),
            endorsement_key(2, EndorsementKeyState::Revoked),
        ],
    }];
    builder.submitters = vec![Submitter {
        number: SubmitterNumber(1),
        name: SubmitterName::new("aggregator_node_001").unwrap(),
        key: secret(9, 1).public_key(),
    }];
    builder
}

pub(super) fn log_keys(n: u8) -> Vec<SecretKey> {
    (1..=n).map(|i| secret(LOG, i)).collect()
}

pub(super) fn file(n: u8) -> (Vec<u8>, Network) {
    let keys = log_keys(n);
    builder(n).build().unwrap().sign(&keys.iter().collect::<Vec<_>>()).unwrap()
}

/// The document of a network of `n`, changed, and signed by `keys`.
fn changed(n: u8, keys: &[SecretKey], change: impl FnOnce(&mut Value)) -> Result<Network, NetworkError> {
    let outer: Value = serde_json::from_slice(&file(n).0).unwrap();
    let inner = base64::decode_bounded(outer["network"].as_str().unwrap(), MAX_FILE_LEN).unwrap();
    let mut document: Value = serde_json::from_slice(&inner).unwrap();
    change(&mut document);
    let document = serde_json::to_vec(&document).unwrap();
    let signatures: Vec<_> = keys.iter().map(|key| FileSignature::new(&document, key)).collect();
    let file = json!({"network": base64::encode(document), "signatures": signatures});
    Network::parse(&serde_json::to_vec(&file).unwrap())
}

/// A second epoch with validators 11, 12, 13 and 14 after one of 1 to 4 that ended at size 100.
fn second_epoch(document: &mut Value) {
    let mut validators: Vec<_> = (11..=14).map(validator).collect();
    validators.sort_by_key(|validator| validator.consensus_key);
    let policy = genesis::policy_of(&origin(), &validators).unwrap().to_string();
    document["epochs"][0]["last_size"] = json!(100);
    document["epochs"][0]["last_root"] = json!("ab".repeat(32));
    document["epochs"]
        .as_array_mut()
        .unwrap()
        .push(json!({"epoch": 1, "first_height": 50, "policy": policy, "validators": validators}));
}

/// A checkpoint note of validators `from` to `from + 2`, which are a quorum of four.
fn note(size: u64, root: TreeHash, from: u8) -> String {
    let checkpoint = Checkpoint { origin: origin(), size, root };
    let log = checkpoint.log_signature(&NoteSigner::log(origin(), secret(LOG, from))).unwrap();
    let cosignatures: Vec<_> = (from..from + 3)
        .map(|i| {
            let name = cosigner_name(&origin(), &secret(CONSENSUS, i).public_key()).unwrap();
            checkpoint.cosign(&NoteSigner::cosigner(name, secret(COSIGN, i)), UnixSeconds(60)).unwrap()
        })
        .collect();
    checkpoint.assemble(log, &cosignatures).unwrap().to_string()
}

#[test]
fn what_is_built_is_read_again() {
    let (bytes, built) = file(4);
    let network = Network::parse(&bytes).unwrap();
    assert_eq!(network.network_id(), built.network_id());
    assert_eq!(network.origin(), &origin());
    assert_eq!(network.genesis().minute(), Minute(28_887_660));
    assert_eq!(network.max_age(), DEFAULT_MAX_AGE);
    assert_eq!(network.epochs().count(), 1);
    assert_eq!(network.current_epoch().validators().len(), 4);
    assert!(network.current_epoch().validators().iter().all(|v| v.p2p_address.is_some()));
    let authority = network.authority_by_id(&AuthorityId::new("SIMULATED_MFG_001").unwrap()).unwrap();
    assert_eq!(network.authority(AuthorityNumber(1)), Some(authority));
    let (new, old) =
        (endorsement_key(1, EndorsementKeyState::Current), endorsement_key(2, EndorsementKeyState::Revoked));
    assert_eq!(authority.current_endorsement_key(), Some(&new));
    assert_eq!(authority.endorsement_key(old.key_id), Some(&old));
    let known = network.endorsement_key(old.key_id).unwrap();
    assert_eq!((known.authority, known.state), (AuthorityNumber(1), EndorsementKeyState::Revoked));
    assert_eq!(known.key.id(), old.key_id);
    assert_eq!(authority.rules.min_token_version, MinTokenVersion::V2);
    let submitter = network.submitter(SubmitterNumber(1)).unwrap();
    assert_eq!(network.submitter_by_name(&submitter.name), Some(submitter));
    assert_eq!(network.authority_name(AuthorityNumber(0)), Some("unattested"));
    assert_eq!(network.authority_name(AuthorityNumber(2)), None);
    assert!(network.authority(AuthorityNumber(0)).is_none());
    assert!(network.authority_by_id(&AuthorityId::new(UNATTESTED).unwrap()).is_none());
}

#[test]
fn network_id_and_validator_set_hash_are_computed_as_documented() {
    let (_, network) = file(2);
    let mut keys: Vec<[[u8; 32]; 3]> = (1..=2).map(|i| validator(i).key_bytes()).collect();
    keys.sort_unstable();
    let keys = keys.concat().concat();
    let origin = b"birthmark.example/log";
    let genesis =
        [b"birthmark/genesis/v1", &[0, 21][..], origin, &28_887_660u32.to_be_bytes(), &[0, 2], &keys].concat();
    assert_eq!(network.genesis().encode(), genesis);
    assert_eq!(network.network_id().0, Digest::of_parts(&[&genesis]));
    let set = [b"birthmark/validators/v1", &[0, 0, 0, 5, 0, 2][..], &keys].concat();
    for validators in [[validator(1), validator(2)], [validator(2), validator(1)]] {
        assert_eq!(validator_set_hash(Epoch(5), &validators), Digest::of_parts(&[&set]));
    }
}

#[test]
fn a_checkpoint_is_judged_by_the_policy_of_its_epoch() {
    let network = changed(4, &log_keys(3), second_epoch).unwrap();
    assert_eq!(network.current_epoch().number(), Epoch(1));
    let last_root = TreeHash::from_bytes([0xab; 32]);
    let other_root = leaf_hash(b"");
    for (size, root, from, holds) in [
        (99, other_root, 1, true),
        (100, last_root, 1, true),
        (100, other_root, 1, false),
        (101, other_root, 1, false),
        (99, other_root, 11, false),
        (101, other_root, 11, true),
    ] {
        let verified = network.verify_checkpoint(&note(size, root, from));
        assert_eq!(verified.is_ok(), holds, "{size} by {from}: {verified:?}");
    }
    let end = network.verify_checkpoint(&note(100, other_root, 1));
    assert_eq!(end, Err(TrustError::EpochEnd));
}

#[test]
fn another_logs_checkpoint_is_refused() {
    let (_, network) = file(4);
    let text = note(5, leaf_hash(b""), 1).replace("birthmark.example/log\n5", "other.example/log\n5");
    assert_eq!(network.verify_checkpoint(&text), Err(TrustError::OtherOrigin));
}

#[test]
fn every_genesis_validator_must_have_signed_the_first_epochs_file() {
    let all = changed(4, &log_keys(4), |_| ());
    assert!(all.is_ok());
    let three = changed(4, &log_keys(3), |_| ());
    assert!(matches!(three, Err(NetworkError::TooFewSignatures { got: 3, needed: 4 })));
    let twice: Vec<_> = [1, 2, 3, 3].map(|i| secret(LOG, i)).into();
    assert!(matches!(changed(4, &twice, |_| ()), Err(NetworkError::Duplicate("a signature"))));
    let strangers: Vec<_> = [1, 2, 3, 77].map(|i| secret(LOG, i)).into();
    assert!(matches!(changed(4, &strangers, |_| ()), Err(NetworkError::TooFewSignatures { got: 3, .. })));
    // Consensus and cosigning keys do not sign files.
    let consensus: Vec<_> = (1..=4).map(|i| secret(CONSENSUS, i)).collect();
    assert!(matches!(changed(4, &consensus, |_| ()), Err(NetworkError::TooFewSignatures { got: 0, .. })));
}

#[test]
fn later_epochs_files_need_a_quorum_of_the_epoch_before() {
    assert!(changed(4, &log_keys(3), second_epoch).is_ok());
    let two = changed(4, &log_keys(2), second_epoch);
    assert!(matches!(two, Err(NetworkError::TooFewSignatures { got: 2, needed: 3 })));
    let own: Vec<_> = (11..=14).map(|i| secret(LOG, i)).collect();
    assert!(matches!(changed(4, &own, second_epoch), Err(NetworkError::TooFewSignatures { got: 0, .. })));
}

#[test]
fn a_wrong_signature_of_a_validator_refuses_the_file() {
    let mut outer: Value = serde_json::from_slice(&file(2).0).unwrap();
    outer["signatures"][1]["signature"] = outer["signatures"][0]["signature"].clone();
    let text = serde_json::to_vec(&outer).unwrap();
    assert!(matches!(Network::parse(&text), Err(NetworkError::BadSignature(2))));
}

#[test]
fn documents_that_contradict_themselves_are_refused_by_cause() {
    type Change = fn(&mut Value);
    let cases: [(&str, Change); 32] = [
        ("version 2", |d| d["version"] = json!(2)),
        ("wrong field", |d| d["version"] = json!("1")),
        ("contradicts its genesis", |d| d["origin"] = json!("other")),
        ("genesis in the network file", |d| d["genesis"] = json!("AAA")),
        ("genesis: truncated", |d| d["genesis"] = json!("AAAA")),
        ("genesis: not a genesis", |d| d["genesis"] = json!(base64::encode([0; 40]))),
        ("epochs has 0", |d| d["epochs"] = json!([])),
        ("epochs has 3", |d| {
            second_epoch(d);
            let last = d["epochs"][1].clone();
            d["epochs"].as_array_mut().unwrap().push(last);
        }),
        ("epoch 1 is out of order", |d| d["epochs"][0]["epoch"] = json!(1)),
        ("epoch 0 is out of order", |d| d["epochs"][0]["first_height"] = json!(1)),
        ("epoch 0 must not have an end", |d| d["epochs"][0]["last_size"] = json!(1)),
        ("epoch 0 must have an end", |d| {
            second_epoch(d);
            d["epochs"][0]["last_size"] = Value::Null;
        }),
        ("epoch 0 must have an end", |d| {
            second_epoch(d);
            d["epochs"][0].as_object_mut().unwrap().remove("last_root");
        }),
        ("epoch 1 must not have an end", |d| {
            second_epoch(d);
            d["epochs"][1]["last_size"] = json!(200);
        }),
        ("epoch 2 is out of order", |d| {
            second_epoch(d);
            d["epochs"][1]["epoch"] = json!(2);
        }),
        ("epoch 1 is out of order", |d| {
            second_epoch(d);
            d["epochs"][1]["first_height"] = json!(0);
        }),
        ("validators has 0", |d| d["epochs"][0]["validators"] = json!([])),
        ("contradicts its genesis", |d| {
            second_epoch(d);
            let second = d["epochs"][1].clone();
            d["epochs"][0]["validators"] = second["validators"].clone();
            d["epochs"][0]["policy"] = second["policy"].clone();
        }),
        ("validator key of epoch 0", |d| {
            d["epochs"][0]["validators"][0]["log_key"] = d["epochs"][0]["validators"][1]["cosigning_key"].clone();
        }),
        ("wrong field", |d| d["epochs"][0]["validators"][0]["log_key"] = json!("00".repeat(32))),
        ("p2p_address", |d| d["epochs"][0]["validators"][0]["p2p_address"] = json!("a".repeat(256))),
        ("policy of epoch 0", |d| d["epochs"][0]["policy"] = json!("log\n")),
        ("not that of its validators", |d| d["epochs"][0]["policy"] = json!("quorum none\n")),
        ("not that of its validators", |d| {
            let policy = d["epochs"][0]["policy"].as_str().unwrap().replace("group validators 3", "group validators 2");
            d["epochs"][0]["policy"] = json!(policy);
        }),
        ("reserved", |d| d["authorities"][0]["number"] = json!(0)),
        ("reserved", |d| d["authorities"][0]["id"] = json!("unattested")),
        ("another key's id", |d| d["authorities"][0]["endorsement_keys"][0]["key_id"] = json!("00".repeat(8))),
        ("several current", |d| d["authorities"][0]["endorsement_keys"][1]["state"] = json!("current")),
        ("an authority's number occurs twice", |d| {
            let again = d["authorities"][0].clone();
            d["authorities"].as_array_mut().unwrap().push(again);
        }),
        ("a submitter's key occurs twice", |d| {
            let mut again = d["submitters"][0].clone();
            again["number"] = json!(2);
            again["name"] = json!("other");
            d["submitters"].as_array_mut().unwrap().push(again);
        }),
        ("min_token_version", |d| d["authorities"][0]["rules"]["min_token_version"] = json!(3)),
        ("base64", |d| d["authorities"][0]["endorsement_keys"][0]["spki"] = json!("A")),
    ];
    for (cause, change) in cases {
        let error = changed(4, &log_keys(4), change).unwrap_err().to_string();
        assert!(error.contains(cause), "wanted {cause:?}, got {error:?}");
    }
}

#[test]
fn comments_in_a_policy_do_not_matter() {
    let commented = |d: &mut Value| {
        d["epochs"][0]["policy"] = json!(format!("# ours\n{}", d["epochs"][0]["policy"].as_str().unwrap()));
    };
    assert!(changed(4, &log_keys(4), commented).is_ok());
}

#[test]
fn files_that_are_none_are_refused() {
    assert!(matches!(Network::parse(&vec![b' '; MAX_FILE_LEN + 1]), Err(NetworkError::TooLong(_))));
    for bad in [
        "",
        "{}",
        "[]",
        "{\"network\": \"\"}",
        "{\"network\": \"e30=\", \"network\": \"e30=\", \"signatures\": []}",
        "{\"network\": \"e30=\", \"signatures\": [{\"key\": \"\", \"signature\": \"\"}]}",
    ] {
        assert!(matches!(Network::parse(bad.as_bytes()), Err(NetworkError::File(_))), "{bad}");
    }
    for (bad, cause) in [("", "document"), ("e30=", "document"), ("e30", "base64")] {
        let file = json!({"network": bad, "signatures": []}).to_string();
        let error = Network::parse(file.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(cause), "{error}");
    }
    assert!(matches!(changed(1, &[], |_| ()), Err(NetworkError::ListLength { list: "signatures", .. })));
}

#[test]
fn genesis_bytes_are_strict() {
    let genesis = Genesis::new(origin(), Minute(1), vec![validator(2), validator(1)]).unwrap();
    let bytes = genesis.encode();
    assert_eq!(Genesis::decode(&bytes), Ok(genesis));
    for cut in 0..bytes.len() {
        assert!(Genesis::decode(&bytes[..cut]).is_err(), "{cut}");
    }
    let trailing = [&bytes[..], &[0]].concat();
    assert!(matches!(Genesis::decode(&trailing), Err(GenesisError::Decode(_))));
    let (head, sets) = bytes.split_at(bytes.len() - 192);
    let swapped = [head, &sets[96..], &sets[..96]].concat();
    assert_eq!(Genesis::decode(&swapped), Err(GenesisError::ValidatorOrder));
    let twice = [head, &sets[..96], &sets[..96]].concat();
    assert_eq!(Genesis::decode(&twice), Err(GenesisError::ValidatorOrder));
    assert_eq!(Genesis::new(origin(), Minute(1), Vec::new()), Err(GenesisError::ValidatorCount(0)));
    let many = (1..=23).map(validator).collect();
    assert_eq!(Genesis::new(origin(), Minute(1), many), Err(GenesisError::ValidatorCount(23)));
    let long = KeyName::new("o".repeat(201)).unwrap();
    assert!(matches!(Genesis::new(long, Minute(1), vec![validator(1)]), Err(GenesisError::Key(_))));
}

#[test]
fn a_verifiers_file_may_be_either_kind() {
    let (bytes, network) = file(4);
    let policy = network.current_policy().to_string();
    let good = note(7, leaf_hash(b""), 1);
    let spaced = [b" \n", &bytes[..]].concat();
    let trust = parse_policy_or_network(&spaced).unwrap();
    assert!(trust.network().is_some());
    trust.verify_checkpoint(&good).unwrap();
    let trust = parse_policy_or_network(policy.as_bytes()).unwrap();
    assert!(trust.network().is_none());
    trust.verify_checkpoint(&good).unwrap();
    assert!(matches!(parse_policy_or_network(b"{"), Err(TrustFileError::Network(_))));
    assert!(matches!(parse_policy_or_network(b""), Err(TrustFileError::Policy(_))));
}

#[test]
fn the_largest_network_keeps_within_sixteen_signature_lines() {
    let (_, network) = file(22);
    let quorum = crate::policy::quorum_size(network.current_epoch().validators().len());
    assert_eq!(quorum + 1, 16);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn genesis_round_trips(minute: u32, name in "[a-z./]{1,200}", seeds in prop::collection::btree_set(any::<u8>(), 1..6)) {
        let validators = seeds.into_iter().map(validator).collect();
        let genesis = Genesis::new(KeyName::new(name).unwrap(), Minute(minute), validators).unwrap();
        prop_assert_eq!(Genesis::decode(&genesis.encode()), Ok(genesis));
    }

    #[test]
    fn a_changed_byte_of_the_file_never_changes_what_it_says(at: prop::sample::Index, byte: u8) {
        let (mut bytes, network) = file(1);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(read) = Network::parse(&bytes) {
            prop_assert_eq!(read.network_id(), network.network_id());
            prop_assert_eq!(read.authorities(), network.authorities());
            prop_assert_eq!(read.submitters(), network.submitters());
        }
    }

    #[test]
    fn public_keys_in_json_are_hex(seed: [u8; 32]) {
        let key = SecretKey::from_seed(&seed).public_key();
        let text = serde_json::to_string(&key).unwrap();
        prop_assert_eq!(&text, &format!("\"{}\"", crate::hex::encode(key.as_bytes())));
        prop_assert_eq!(serde_json::from_str::<PublicKey>(&text).unwrap(), key);
    }
}
