//! `token-v2.json`: tokens sealed with known randomness, and why others do not open.

use birthmark_core::hash::Digest;
use birthmark_core::hex;
use birthmark_core::ids::{KeyIndex, NetworkId, TableId};
use birthmark_core::keytable::TableKey;
use birthmark_core::network::EndorsementKeyId;
use birthmark_core::token::v2::{Commitment, DeviceKey, OpenedToken, Opener, Seal, TokenSecretKey};
use birthmark_core::token::{NucHash, OpenError, SealedToken};
use rand_core::{Rng as _, TryRng as _};
use serde_json::{Value, json};

use crate::authority::{Stream, spki, token_secret, token_seed, vouch};
use crate::frame::{Vectors, bytes, digest, hash, patched, text};
use crate::records::{body, capture};

/// What camera and authority each know, and what the camera draws.
fn inputs(table_id: u16, key_index: u16, counter: u64, label: &str) -> Value {
    let fields =
        json!({"authority_id": "SIMULATED_MFG_001", "entries": capture(), "owner_hash": null, "gps_hash": null});
    let vouched = vouch(1, NetworkId(digest("network")), &body(&fields).encode(), label);
    let mut nonce = [0; 12];
    let mut ikm = [0; 32];
    let mut stream = Stream::new(label);
    stream.fill_bytes(&mut nonce);
    stream.fill_bytes(&mut ikm);
    json!({
        "name": label, "network_id": hash("network"), "token_seed": hex::encode(token_seed()),
        "token_key": token_secret().public(), "table_id": table_id, "key_index": key_index,
        "table_key": hash(&format!("table {table_id}")), "nuc_hash": hash("sensor"), "device_key": hash("device"),
        // Text, because JavaScript's numbers end at 2^53.
        "counter": counter.to_string(), "key_id": EndorsementKeyId::of_spki(&spki(1)),
        "blinded_message": hex::encode(&vouched.blinded.blinded_message),
        "nonce": hex::encode(nonce), "ephemeral_ikm": hex::encode(ikm),
    })
}

fn array<const N: usize>(case: &Value, field: &str) -> [u8; N] {
    hex::decode_array(text(case, field)).unwrap()
}

fn small(case: &Value, field: &str) -> u16 {
    u16::try_from(case[field].as_u64().unwrap()).unwrap()
}

fn network(case: &Value) -> NetworkId {
    NetworkId(Digest::from_hex(text(case, "network_id")).unwrap())
}

fn commitment(case: &Value) -> Commitment {
    Commitment::of(EndorsementKeyId::from_bytes(array(case, "key_id")), &bytes(case, "blinded_message"))
}

fn table_id(case: &Value) -> TableId {
    TableId::new(small(case, "table_id")).unwrap()
}

fn key_index(case: &Value) -> KeyIndex {
    KeyIndex::new(small(case, "key_index")).unwrap()
}

/// Adds what the camera sends and what its tag is over.
fn sealed(table: u16, index: u16, counter: u64, label: &str) -> Value {
    let mut case = inputs(table, index, counter, label);
    let (table_key, nuc_hash) = (TableKey::from_bytes(array(&case, "table_key")), array(&case, "nuc_hash"));
    let seal = Seal {
        network: network(&case),
        token_key: serde_json::from_value(case["token_key"].clone()).unwrap(),
        table: (table_id(&case), &table_key),
        key_index: key_index(&case),
        commitment: &commitment(&case),
        nuc_hash: &NucHash::from_bytes(nuc_hash),
        device_key: &DeviceKey::from_bytes(array(&case, "device_key")),
        counter,
    };
    let mut stream = Stream::new(label);
    let (token, enc) = seal.seal(&mut stream).unwrap();
    // Nothing else was drawn than what the case gives.
    let mut after = Stream::new(label);
    after.fill_bytes(&mut [0; 44]);
    assert_eq!(stream.try_next_u64(), after.try_next_u64());
    assert_eq!(token.nonce, array(&case, "nonce"));
    case["commitment"] = hex::encode(commitment(&case).as_bytes()).into();
    case["enc"] = hex::encode(enc).into();
    case["ciphertext"] = hex::encode(&token.ciphertext).into();
    case["auth_tag"] = hex::encode(token.auth_tag).into();
    let opened = open(&case).unwrap();
    assert_eq!((*opened.nuc_hash.expose(), opened.counter), (nuc_hash, counter));
    assert!(opened.is_from(&DeviceKey::from_bytes(array(&case, "device_key"))));
    case
}

/// As the authority opens it.
fn open(case: &Value) -> Result<OpenedToken, OpenError> {
    let token = SealedToken {
        table_id: table_id(case),
        key_index: key_index(case),
        nonce: array(case, "nonce"),
        ciphertext: bytes(case, "ciphertext"),
        auth_tag: array(case, "auth_tag"),
    };
    let secret = TokenSecretKey::from_seed(&array(case, "token_seed"));
    let table_key = TableKey::from_bytes(array(case, "table_key"));
    Opener::new(network(case), &secret).open(&token, &array(case, "enc"), &commitment(case), &table_key)
}

/// The first case as somebody else might use or change it.
fn refused(good: &Value) -> Vec<Value> {
    let flipped = |field: &str, at: usize| {
        let good = bytes(good, field);
        hex::encode(patched(&good, at, &[good[at] ^ 1]))
    };
    let cut = |len: usize| hex::encode(&[&bytes(good, "ciphertext")[..], &[0; 8]].concat()[..len]);
    let other = sealed(42, 7, 1, "another photograph of the same camera");
    let theirs = |field: &str| text(&other, field).to_owned();
    let changes: Vec<(&str, &str, Value, &str)> = vec![
        ("another photo's blinded message", "blinded_message", theirs("blinded_message").into(), "forged"),
        ("another endorsement key", "key_id", "00".repeat(8).into(), "forged"),
        ("another network", "network_id", hash("another network").into(), "forged"),
        ("another authority", "token_seed", hash("another token key").into(), "forged"),
        ("another table key", "table_key", hash("table 43").into(), "forged"),
        ("another table", "table_id", 43.into(), "forged"),
        ("another key of the table", "key_index", 8.into(), "forged"),
        ("another token's enc", "enc", theirs("enc").into(), "forged"),
        ("enc of low order", "enc", "00".repeat(32).into(), "forged"),
        ("enc of low order, the point 1", "enc", ("01".to_owned() + &"00".repeat(31)).into(), "forged"),
        ("a flipped bit in enc", "enc", flipped("enc", 0).into(), "forged"),
        ("another nonce", "nonce", theirs("nonce").into(), "forged"),
        ("a flipped bit in the nonce", "nonce", flipped("nonce", 11).into(), "forged"),
        ("a flipped bit in the fingerprint", "ciphertext", flipped("ciphertext", 0).into(), "forged"),
        ("a flipped bit in the counter", "ciphertext", flipped("ciphertext", 39).into(), "forged"),
        ("a flipped bit in the mac", "ciphertext", flipped("ciphertext", 55).into(), "forged"),
        ("a flipped bit in the tag", "auth_tag", flipped("auth_tag", 15).into(), "forged"),
        ("a byte short", "ciphertext", cut(55).into(), "length"),
        ("a byte long", "ciphertext", cut(57).into(), "length"),
        ("version 1's length", "ciphertext", cut(32).into(), "length"),
        ("nothing", "ciphertext", "".into(), "length"),
    ];
    let case = |(name, field, value, reason): (&str, &str, Value, &str)| {
        let mut case = good.clone();
        case[field] = value;
        case["name"] = name.into();
        let expected = if reason == "length" { OpenError::Length } else { OpenError::Forged };
        assert_eq!(open(&case).unwrap_err(), expected, "{name}");
        case["reason"] = reason.into();
        case
    };
    changes.into_iter().map(case).collect()
}

/// Opens, but another device made it: whoever shares the table knows all but the device's key.
fn impostors(good: &Value) -> Vec<Value> {
    let mut case = good.clone();
    case["name"] = "the first token, under another device's key".into();
    case["device_key"] = hash("another device").into();
    assert!(!open(&case).unwrap().is_from(&DeviceKey::from_bytes(array(&case, "device_key"))));
    vec![case]
}

#[test]
fn token_v2_json() {
    let cases = vec![
        sealed(42, 7, 1, "the first token"),
        sealed(42, 7, 1, "the first token sealed again"),
        sealed(0, 0, 0x0102_0304_0506_0708, "table 0, key 0"),
        sealed(2499, 999, (1 << 63) - 1, "the last table, key and counter"),
    ];
    let (refused, impostors) = (refused(&cases[0]), impostors(&cases[0]));
    Vectors::new("token-v2.json", "5: camera token, version 2; 6: commitment")
        .with("cases", cases.into())
        .with("refused", refused.into())
        .with("impostors", impostors.into())
        .check();
}
