//! `genesis.json` and `network.json`: which network it is, and who may speak in it.

use birthmark_core::hex;
use birthmark_core::ids::Epoch;
use birthmark_core::network::{Genesis, GenesisError, Network, NetworkError, validator_set_hash};
use birthmark_core::note::KeyName;
use birthmark_core::time::Minute;
use birthmark_core::{base64, network};
use serde_json::{Value, json};

use crate::endorsement::refused_spkis;
use crate::frame::{Vectors, bytes, decode_code, hash, patched};
use crate::world::{
    MINUTE, ORIGIN, authorities, network_file, origin, policy_of, secret, signed, submitters, validator,
};

fn genesis(origin: &str, minute: u32, numbers: &[usize]) -> Genesis {
    let validators = numbers.iter().map(|number| validator(*number)).collect();
    Genesis::new(KeyName::new(origin).unwrap(), Minute(minute), validators).unwrap()
}

const fn genesis_code(error: &GenesisError) -> &'static str {
    match error {
        GenesisError::Decode(cause) => decode_code(cause),
        GenesisError::Domain => "domain",
        GenesisError::Key(_) => "key",
        GenesisError::ValidatorCount(_) => "count",
        GenesisError::ValidatorOrder => "order",
    }
}

#[test]
fn genesis_json() {
    let all: Vec<usize> = (0..22).collect();
    let cases: Vec<Value> = [
        ("one validator", ORIGIN, MINUTE, &all[..1]),
        ("four validators", ORIGIN, MINUTE, &all[..4]),
        ("as many as can be", "ö.example", u32::MAX, &all[..]),
    ]
    .into_iter()
    .map(|(name, origin, minute, numbers)| {
        let genesis = genesis(origin, minute, numbers);
        assert_eq!(Genesis::decode(&genesis.encode()).unwrap(), genesis);
        // Given here in the order of their numbers; the format sorts them.
        let validators: Vec<network::Validator> = numbers.iter().map(|number| validator(*number)).collect();
        json!({
            "name": name, "origin": origin, "minute": minute, "validators": validators,
            "genesis": hex::encode(genesis.encode()), "network_id": genesis.network_id(),
            "validator_set_hashes": [
                {"epoch": 0, "hash": validator_set_hash(Epoch(0), &validators)},
                {"epoch": 258, "hash": validator_set_hash(Epoch(258), &validators)},
            ],
        })
    })
    .collect();
    let good = bytes(&cases[1], "genesis");
    let (at_origin, at_minute) = (20, 22 + ORIGIN.len());
    let first = at_minute + 6;
    let swapped =
        [&good[..first], &good[first + 96..first + 192], &good[first..first + 96], &good[first + 192..]].concat();
    let refused = [
        ("nothing", vec![], "truncated"),
        ("another domain", patched(&good, 19, b"2"), "domain"),
        ("no origin", [&good[..at_origin], &[0, 0], &good[at_minute..]].concat(), "key"),
        ("a plus in the origin", patched(&good, at_origin + 2, b"+"), "key"),
        ("an origin that is not UTF-8", patched(&good, at_origin + 2, &[0xff]), "key"),
        ("an origin of 201", [&good[..at_origin], &[0, 201], &[b'o'; 201], &good[at_minute..]].concat(), "value"),
        ("no validators", [&good[..at_minute + 4], &[0, 0]].concat(), "count"),
        ("23 validators", patched(&good, at_minute + 4, &[0, 23]), "count"),
        ("out of order", swapped, "order"),
        ("a key for two purposes", patched(&good, first + 32, &good[first..first + 32]), "order"),
        ("a key of small order", patched(&good, first + 32, &[&[1][..], &[0; 31]].concat()), "key"),
        ("one byte short", good[..good.len() - 1].to_vec(), "truncated"),
        ("one byte over", [good.as_slice(), &[0]].concat(), "trailing"),
    ]
    .map(|(name, bad, reason)| {
        assert_eq!(genesis_code(&Genesis::decode(&bad).expect_err(name)), reason, "{name}");
        json!({"name": name, "genesis": hex::encode(bad), "reason": reason})
    });
    Vectors::new("genesis.json", "1: genesis, network_id, validator set hash")
        .with("cases", cases.into())
        .with("refused", refused.to_vec().into())
        .check();
}

fn epoch(number: u32, first_height: u64, validators: &[usize], last: Option<(u64, &str)>) -> Value {
    let mut epoch = json!({
        "epoch": number, "first_height": first_height, "policy": policy_of(validators),
        "validators": validators.iter().map(|number| validator(*number)).collect::<Vec<_>>(),
    });
    if let Some((size, root)) = last {
        epoch["last_size"] = size.into();
        epoch["last_root"] = hash(root).into();
    }
    epoch
}

fn document(epochs: &[Value]) -> Value {
    json!({
        "version": 1, "genesis": base64::encode(genesis(ORIGIN, MINUTE, &[0, 1, 2, 3]).encode()), "origin": origin(),
        "epochs": epochs, "authorities": authorities(), "submitters": submitters(), "max_age": 60,
    })
}

/// A network whose validators 2 and 3 have given way to 4 after 100 leaves.
pub(crate) fn two_epochs() -> String {
    signed(&document(&two_epoch_list()), &[3, 0, 2])
}

fn two_epoch_list() -> Vec<Value> {
    vec![epoch(0, 0, &[0, 1, 2, 3], Some((100, "root of epoch 0"))), epoch(1, 40, &[0, 1, 4], None)]
}

const fn code(error: &NetworkError) -> &'static str {
    match error {
        NetworkError::TooLong(_) => "too_long",
        NetworkError::File(_) => "file",
        NetworkError::Document(_) => "document",
        NetworkError::Base64 { .. } => "base64",
        NetworkError::Encode(_) => "encode",
        NetworkError::Version(_) => "version",
        NetworkError::Genesis(_) => "genesis",
        NetworkError::ContradictsGenesis => "contradicts_genesis",
        NetworkError::ListLength { .. } => "list_length",
        NetworkError::EpochOrder(_) => "epoch_order",
        NetworkError::EpochEnd(..) => "epoch_end",
        NetworkError::ValidatorKeyTwice(_) => "validator_key_twice",
        NetworkError::Policy { .. } => "policy",
        NetworkError::PolicyMismatch(_) => "policy_mismatch",
        NetworkError::Origin(_) => "origin",
        NetworkError::Duplicate(_) => "duplicate",
        NetworkError::ReservedAuthority => "reserved_authority",
        NetworkError::EndorsementKeyId(_) => "endorsement_key_id",
        NetworkError::EndorsementKey(..) => "endorsement_key",
        NetworkError::SeveralCurrentKeys(_) => "several_current_keys",
        NetworkError::BadSignature(_) => "bad_signature",
        NetworkError::Act(..) => "act",
        NetworkError::TooFewSignatures { .. } => "too_few_signatures",
    }
}

/// Changes the document of one epoch and has all validators sign it.
fn changed(change: impl FnOnce(&mut Value)) -> String {
    let mut document = document(&[epoch(0, 0, &[0, 1, 2, 3], None)]);
    change(&mut document);
    signed(&document, &[0, 1, 2, 3])
}

fn file_with(change: impl FnOnce(&mut Value)) -> String {
    let mut file: Value = serde_json::from_str(&changed(|_| {})).unwrap();
    change(&mut file);
    file.sort_all_objects();
    file.to_string()
}

/// The authority with an endorsement key that is none, under the id that it would have.
fn with_spki(name: &str) -> String {
    let spki = refused_spkis().into_iter().find(|(listed, _)| *listed == name).unwrap().1;
    changed(|d| {
        let key_id = network::EndorsementKeyId::of_spki(&spki);
        d["authorities"][0]["endorsement_keys"][0] =
            json!({"key_id": key_id, "spki": base64::encode(&spki), "state": "current"});
    })
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn refused() -> Vec<(&'static str, String, &'static str)> {
    let two = |change: fn(&mut Vec<Value>)| {
        let mut epochs = two_epoch_list();
        change(&mut epochs);
        signed(&document(&epochs), &[0, 1, 2, 3])
    };
    let again = |list: &'static str, field: &'static str| {
        move |d: &mut Value| {
            let mut entry = d[list][0].clone();
            for other in ["number", "id", "name"] {
                if !entry[other].is_null() && other != field {
                    entry[other] = if other == "number" { json!(99) } else { json!("ANOTHER") };
                }
            }
            entry.as_object_mut().unwrap().remove("endorsement_keys");
            if field != "key" && !entry["key"].is_null() {
                entry["key"] = json!(secret("submitter", 2).public_key());
            }
            d[list].as_array_mut().unwrap().push(entry);
        }
    };
    vec![
        ("nothing", String::new(), "file"),
        ("the document alone", document(&[]).to_string(), "file"),
        (
            "base64 that lacks its first character",
            file_with(|f| f["network"] = f["network"].as_str().map(|text| text.get(1..)).into()),
            "base64",
        ),
        ("a document that is no JSON", file_with(|f| f["network"] = base64::encode("[").into()), "document"),
        (
            "one signature short",
            signed(&document(&[epoch(0, 0, &[0, 1, 2, 3], None)]), &[0, 1, 2]),
            "too_few_signatures",
        ),
        ("a signature twice", signed(&document(&[epoch(0, 0, &[0, 1, 2, 3], None)]), &[0, 1, 2, 3, 0]), "duplicate"),
        ("no signatures", file_with(|f| f["signatures"] = json!([])), "list_length"),
        (
            "a flipped bit in a signature",
            file_with(|f| f["signatures"][1]["signature"] = "00".repeat(64).into()),
            "bad_signature",
        ),
        (
            "a changed document",
            file_with(|f| {
                let other: Value = serde_json::from_str(&changed(|d| d["max_age"] = 61.into())).unwrap();
                f["network"] = other["network"].clone();
            }),
            "bad_signature",
        ),
        ("version 2", changed(|d| d["version"] = 2.into()), "version"),
        ("another origin", changed(|d| d["origin"] = "birthmark.example/another".into()), "contradicts_genesis"),
        (
            "other first validators",
            signed(&document(&[epoch(0, 0, &[0, 1, 2, 4], None)]), &[0, 1, 2, 3, 4]),
            "contradicts_genesis",
        ),
        ("a genesis that is none", changed(|d| d["genesis"] = base64::encode("no").into()), "genesis"),
        ("no epochs", changed(|d| d["epochs"] = json!([])), "list_length"),
        ("a policy of fewer", changed(|d| d["epochs"][0]["policy"] = policy_of(&[0, 1, 2]).into()), "policy_mismatch"),
        (
            "a lower quorum",
            changed(|d| {
                let text = d["epochs"][0]["policy"].as_str().unwrap().replace("validators 3", "validators 2");
                d["epochs"][0]["policy"] = text.into();
            }),
            "policy_mismatch",
        ),
        ("no quorum line", changed(|d| d["epochs"][0]["policy"] = "".into()), "policy"),
        (
            "a key for two purposes",
            changed(|d| {
                d["epochs"][0]["validators"][0]["log_key"] = d["epochs"][0]["validators"][0]["cosigning_key"].clone();
            }),
            "validator_key_twice",
        ),
        (
            "a current epoch with an end",
            changed(|d| d["epochs"][0] = epoch(0, 0, &[0, 1, 2, 3], Some((9, "r")))),
            "epoch_end",
        ),
        ("an ended epoch without an end", two(|e| e[0] = epoch(0, 0, &[0, 1, 2, 3], None)), "epoch_end"),
        ("epoch 2 after epoch 0", two(|e| e[1]["epoch"] = 2.into()), "epoch_order"),
        ("heights that do not rise", two(|e| e[1]["first_height"] = 0.into()), "epoch_order"),
        ("the new epoch's signatures alone", signed(&document(&two_epoch_list()), &[0, 1, 4]), "too_few_signatures"),
        ("authority 0", changed(|d| d["authorities"][0]["number"] = 0.into()), "reserved_authority"),
        ("authority unattested", changed(|d| d["authorities"][0]["id"] = "unattested".into()), "reserved_authority"),
        ("an authority's number twice", changed(again("authorities", "number")), "duplicate"),
        ("an authority's id twice", changed(again("authorities", "id")), "duplicate"),
        ("a submitter's number twice", changed(again("submitters", "number")), "duplicate"),
        ("a submitter's name twice", changed(again("submitters", "name")), "duplicate"),
        ("a submitter's key twice", changed(again("submitters", "key")), "duplicate"),
        (
            "another endorsement key's id",
            changed(|d| d["authorities"][0]["endorsement_keys"][0]["key_id"] = "00".repeat(8).into()),
            "endorsement_key_id",
        ),
        ("an endorsement key of exponent 3", with_spki("exponent 3"), "endorsement_key"),
        ("an endorsement key of 2047 bits", with_spki("2047 bits"), "endorsement_key"),
        ("an endorsement key for RSASSA-PSS", with_spki("RSASSA-PSS"), "endorsement_key"),
        ("an endorsement key with a byte more", with_spki("a byte over"), "endorsement_key"),
        (
            "an endorsement key of two authorities",
            changed(|d| {
                d["authorities"][1]["endorsement_keys"][0] = d["authorities"][0]["endorsement_keys"][0].clone();
            }),
            "duplicate",
        ),
        (
            "two current endorsement keys",
            changed(|d| {
                let other = d["authorities"][1]["endorsement_keys"].take();
                d["authorities"][1]["endorsement_keys"] = json!([]);
                d["authorities"][0]["endorsement_keys"].as_array_mut().unwrap().push(other[0].clone());
            }),
            "several_current_keys",
        ),
        (
            "an unknown state of an endorsement key",
            changed(|d| d["authorities"][0]["endorsement_keys"][0]["state"] = "lost".into()),
            "document",
        ),
        ("a token key of 31 bytes", changed(|d| d["authorities"][0]["token_key"] = "00".repeat(31).into()), "document"),
        (
            "three epochs",
            two(|e| {
                e.push(e[1].clone());
            }),
            "list_length",
        ),
        ("min_token_version 3", changed(|d| d["authorities"][0]["rules"]["min_token_version"] = 3.into()), "document"),
    ]
}

#[test]
fn network_json() {
    let cases: Vec<Value> = [
        ("begun", network_file()),
        ("put together by hand, with an unknown signer", signed(&document(&[epoch(0, 0, &[3, 1, 0, 2], None)]), &[0, 1, 2, 3, 9])),
        ("two epochs, signed by a quorum of the first", two_epochs()),
    ]
    .into_iter()
    .map(|(name, file)| {
        let network = Network::parse(file.as_bytes()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let epochs: Vec<Value> = network
            .epochs()
            .map(|epoch| json!({"epoch": epoch.number(), "validator_set_hash": epoch.validator_set_hash(), "policy": epoch.policy().to_string()}))
            .collect();
        let sizes: Vec<Value> = [0, 100, 101].map(|size| json!([size, network.epoch_for_size(size).number()])).to_vec();
        let names: Vec<Value> = network.authorities().iter().map(|a| json!([a.number, a.id])).collect();
        json!({
            "name": name, "file": file, "network_id": network.network_id(), "origin": network.origin(),
            "epochs": epochs, "epoch_for_size": sizes, "authorities": names, "max_age": network.max_age(),
        })
    })
    .collect();
    let refused: Vec<Value> = refused()
        .into_iter()
        .map(|(name, file, reason)| {
            let error = Network::parse(file.as_bytes()).expect_err(name);
            assert_eq!(code(&error), reason, "{name}: {error}");
            json!({"name": name, "file": file, "reason": reason})
        })
        .collect();
    Vectors::new("network.json", "1: network file").with("cases", cases.into()).with("refused", refused.into()).check();
}
