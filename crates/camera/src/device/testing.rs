//! A small network and its authority, for tests: their keys are published and protect nothing.
//!
//! For: the tests here, and those in `tests/`, which include this file.

use std::fmt::Write as _;

use birthmark_core::base64;
use birthmark_core::ids::{AuthorityId, AuthorityNumber};
use birthmark_core::network::{
    Authority, EndorsementKey, EndorsementKeyId, EndorsementKeyState, MinTokenVersion, NetworkBuilder, Rules, Validator,
};
use birthmark_core::note::{KeyName, SecretKey};
use birthmark_core::time::Minute;
use birthmark_core::token::v2::TokenSecretKey;
use blind_rsa_signatures::SecretKeySha384PSSDeterministic;
use serde_json::{Value, json};

pub(crate) const AUTHORITY: &str = "SIMULATED_MFG_001";
/// What the device shares with its authority.
pub(crate) const DEVICE_KEY: [u8; 32] = [0x5d; 32];
/// The key of table 42.
pub(crate) const TABLE_KEY: [u8; 32] = [1; 32];

/// Key 1 or 2 of `vectors/keys`.
pub(crate) fn rsa(number: u8) -> SecretKeySha384PSSDeterministic {
    let pem = match number {
        1 => include_str!("../../../../vectors/keys/endorsement-1.pem"),
        _ => include_str!("../../../../vectors/keys/endorsement-2.pem"),
    };
    SecretKeySha384PSSDeterministic::from_pem(pem).unwrap()
}

pub(crate) fn endorsement_key(number: u8, state: EndorsementKeyState) -> EndorsementKey {
    let spki = rsa(number).public_key().unwrap().to_der().unwrap();
    EndorsementKey { key_id: EndorsementKeyId::of_spki(&spki), spki, state }
}

pub(crate) fn token_secret() -> TokenSecretKey {
    TokenSecretKey::from_seed(&[0x77; 32])
}

/// The authority's entry with these endorsement keys.
pub(crate) fn authority(keys: &[(u8, EndorsementKeyState)]) -> Authority {
    Authority {
        number: AuthorityNumber(1),
        id: AuthorityId::new(AUTHORITY).unwrap(),
        token_key: Some(token_secret().public()),
        rules: Rules { min_token_version: MinTokenVersion::V1 },
        endorsement_keys: keys.iter().map(|(number, state)| endorsement_key(*number, *state)).collect(),
    }
}

/// Validator `i`'s keys differ by what they are for.
fn secret(purpose: u8, i: u8) -> SecretKey {
    let mut seed = [purpose; 32];
    seed[31] = i;
    SecretKey::from_seed(&seed)
}

fn validator(i: u8) -> Validator {
    Validator {
        consensus_key: secret(1, i).public_key(),
        log_key: secret(2, i).public_key(),
        cosigning_key: secret(3, i).public_key(),
        p2p_address: None,
    }
}

/// A network file of one validator, changed before it is signed. Its network is told by the validator.
pub(crate) fn network_of(validator_number: u8, change: impl FnOnce(&mut NetworkBuilder)) -> Vec<u8> {
    let mut builder = NetworkBuilder::new(KeyName::new("birthmark.example/log").unwrap(), Minute(28_887_660));
    builder.validators = vec![validator(validator_number)];
    builder.authorities = vec![authority(&[(1, EndorsementKeyState::Current)])];
    change(&mut builder);
    builder.build().unwrap().sign(&[&secret(2, validator_number)]).unwrap().0
}

/// The usual network's file with these endorsement keys.
pub(crate) fn network(keys: &[(u8, EndorsementKeyState)]) -> Vec<u8> {
    network_of(1, |builder| builder.authorities = vec![authority(keys)])
}

/// The file with its document changed, signed by validator `signer`.
pub(crate) fn rewritten(file: &[u8], signer: u8, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let outer: Value = serde_json::from_slice(file).unwrap();
    let document = base64::decode_bounded(outer["network"].as_str().unwrap(), file.len()).unwrap();
    let mut document: Value = serde_json::from_slice(&document).unwrap();
    change(&mut document);
    let document = serde_json::to_vec(&document).unwrap();
    let key = secret(2, signer);
    let mut signature = String::new();
    for byte in key.sign(&[b"birthmark/network/v1", document.as_slice()].concat()) {
        write!(signature, "{byte:02x}").unwrap();
    }
    let signatures = json!([{"key": key.public_key().to_string(), "signature": signature}]);
    json!({"network": base64::encode(document), "signatures": signatures}).to_string().into_bytes()
}

/// `device_config.json`: the seed's five fields, a device key and, unless it is null, a network.
pub(crate) fn device_config(network: Value) -> Value {
    let mut config = json!({
        "device_serial": "PI_CAMERA_001", "table_id": 42, "encryption_key": base64::encode(TABLE_KEY),
        "aggregator_url": "http://127.0.0.1:8545",
        "manufacturer_cert": {"authority_id": AUTHORITY, "validation_endpoint": "http://127.0.0.1:8001/validate"},
        "device_key": base64::encode(DEVICE_KEY),
        "device_certificate": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    });
    if !network.is_null() {
        config["network"] = network;
    }
    config
}

/// A network file as the configuration has it.
pub(crate) fn as_value(file: &[u8]) -> Value {
    serde_json::from_slice(file).unwrap()
}
