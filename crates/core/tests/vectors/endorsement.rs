//! `endorsement.json`: what a capture becomes on its way to an endorsement, keys that count, and what is refused.

use birthmark_core::endorsement::{CaptureDigest, Endorsement, EndorsementError, FinishError, PublicKey};
use birthmark_core::hash::Digest;
use birthmark_core::hex;
use birthmark_core::ids::NetworkId;
use birthmark_core::network::EndorsementKeyId;
use birthmark_core::token::v2::Commitment;
use serde_json::{Value, json};

use crate::authority::{Vouched, spki, vouch};
use crate::frame::{Vectors, bytes, digest, patched};
use crate::records::{body, capture, full_capture};

fn network() -> NetworkId {
    NetworkId(digest("network"))
}

fn body_of(entries: &Value) -> Vec<u8> {
    let fields = json!({"authority_id": "SIMULATED_MFG_001", "entries": entries, "owner_hash": null, "gps_hash": null});
    body(&fields).encode()
}

fn case(name: &str, key: u8, entries: &Value) -> Value {
    let body = body_of(entries);
    let Vouched { key: public, digest, blinded, blind_signature, endorsement } = vouch(key, network(), &body, name);
    let id = public.id();
    // D put together here a second time.
    let parts = [b"birthmark/capture/v1".as_slice(), network().as_bytes(), id.as_bytes(), &body].concat();
    assert_eq!(digest.as_bytes(), Digest::of_parts(&[&parts]).as_bytes());
    assert_eq!(public.verify(&digest, &endorsement.signature), Ok(()));
    assert_eq!(Endorsement::decode(&endorsement.encode()), Ok(endorsement.clone()));
    json!({
        "name": name, "network_id": network().to_string(), "spki": hex::encode(spki(key)), "key_id": id.to_string(),
        "modulus_len": public.modulus_len(), "body": hex::encode(&body), "digest": hex::encode(digest.as_bytes()),
        "randomness": crate::frame::hash(name), "blinded_message": hex::encode(&blinded.blinded_message),
        "inverse": hex::encode(&blinded.inverse),
        "commitment": hex::encode(Commitment::of(id, &blinded.blinded_message).as_bytes()),
        "blind_signature": hex::encode(&blind_signature), "endorsement": hex::encode(endorsement.encode()),
    })
}

/// The first case with other fields, which must not verify.
fn forged(good: &Value) -> Vec<Value> {
    let endorsement = bytes(good, "endorsement");
    let public = PublicKey::from_spki(&bytes(good, "spki")).unwrap();
    let modulus = public_modulus(1);
    let flipped = |at: usize| patched(&endorsement, at, &[endorsement[at] ^ 1]);
    let with = |name: &str, field: &str, value: String| {
        let mut fields = good.clone();
        fields[field] = value.into();
        let shown =
            ["network_id", "spki", "body", "endorsement"].map(|field| (field.to_owned(), fields[field].clone()));
        let mut case: Value = Value::Object(shown.into_iter().collect());
        case["name"] = name.into();
        let key = PublicKey::from_spki(&bytes(&case, "spki")).unwrap();
        let network = NetworkId(Digest::from_hex(case["network_id"].as_str().unwrap()).unwrap());
        let held = Endorsement::decode(&bytes(&case, "endorsement")).and_then(|endorsement| {
            key.verify(&CaptureDigest::of(network, endorsement.key_id, &bytes(&case, "body")), &endorsement.signature)
        });
        assert!(matches!(held, Err(EndorsementError::Length | EndorsementError::Signature)), "{name}");
        case
    };
    let hex = |bytes: &[u8]| hex::encode(bytes);
    let id = public.id();
    vec![
        with("another network", "network_id", crate::frame::hash("another network")),
        with("another body", "body", hex(&body_of(&full_capture()))),
        with("another key", "spki", hex(&spki(2))),
        with("another key's id", "endorsement", hex(&[&[0; 8], &endorsement[8..]].concat())),
        with("the first bit", "endorsement", hex(&flipped(8))),
        with("the last bit", "endorsement", hex(&flipped(endorsement.len() - 1))),
        with("the blind signature", "endorsement", hex(&[id.as_bytes(), &bytes(good, "blind_signature")[..]].concat())),
        with("zero", "endorsement", hex(&[id.as_bytes(), &[0; 256][..]].concat())),
        with("one", "endorsement", hex(&[id.as_bytes(), &[0; 255][..], &[1]].concat())),
        with("the modulus", "endorsement", hex(&[id.as_bytes(), &modulus[..]].concat())),
        with("a leading zero", "endorsement", hex(&[&endorsement[..8], &[0], &endorsement[8..]].concat())),
        with("a byte short", "endorsement", hex(&endorsement[..endorsement.len() - 1])),
        with("the id alone", "endorsement", hex(&endorsement[..8])),
        with("nothing", "endorsement", String::new()),
    ]
}

/// Who erred when nothing comes of a blind signature: fields of the first case with one of them changed.
fn unfinished(good: &Value) -> Vec<Value> {
    let key = PublicKey::from_spki(&bytes(good, "spki")).unwrap();
    let other = case("another blinding", 1, &capture());
    let changed = |name: &str, field: &str, value: String, expected: FinishError| {
        let mut fields = good.clone();
        fields[field] = value.into();
        let digest = CaptureDigest::of(network(), key.id(), &bytes(&fields, "body"));
        let [message, inverse, signature] =
            ["blinded_message", "inverse", "blind_signature"].map(|field| bytes(&fields, field));
        assert_eq!(key.finish(&digest, &message, &inverse, &signature), Err(expected), "{name}");
        let reason = match expected {
            FinishError::Binding => "binding_mismatch",
            FinishError::BlindSignature => "endorsement_failed",
        };
        let shown = ["spki", "body", "network_id", "blinded_message", "inverse", "blind_signature"];
        let mut case: Value =
            Value::Object(shown.map(|field| (field.to_owned(), fields[field].clone())).into_iter().collect());
        case["name"] = name.into();
        case["reason"] = reason.into();
        case
    };
    let theirs = |field: &str| other[field].as_str().unwrap().to_owned();
    let mut flipped = bytes(good, "blind_signature");
    flipped[100] ^= 1;
    vec![
        changed("the camera's body is another", "body", hex::encode(body_of(&full_capture())), FinishError::Binding),
        changed("the camera's inverse is another's", "inverse", theirs("inverse"), FinishError::Binding),
        changed("the inverse is zero", "inverse", "00".repeat(256), FinishError::Binding),
        changed("the inverse is beyond the modulus", "inverse", "ff".repeat(256), FinishError::Binding),
        changed(
            "the authority signed another message",
            "blind_signature",
            theirs("blind_signature"),
            FinishError::BlindSignature,
        ),
        changed("a flipped bit", "blind_signature", hex::encode(&flipped), FinishError::BlindSignature),
        changed("no signature", "blind_signature", String::new(), FinishError::BlindSignature),
        changed("a signature beyond the modulus", "blind_signature", "ff".repeat(256), FinishError::BlindSignature),
    ]
}

/// The modulus of one of our keys: 2048 bits begin at byte 33 of the SPKI.
fn public_modulus(key: u8) -> Vec<u8> {
    spki(key)[33..33 + 256].to_vec()
}

fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let len = u16::try_from(content.len()).unwrap();
    let head = match len {
        0..=127 => vec![u8::try_from(len).unwrap()],
        128..=255 => vec![0x81, u8::try_from(len).unwrap()],
        _ => [&[0x82][..], &len.to_be_bytes()].concat(),
    };
    [&[tag][..], &head, &content].concat()
}

const RSA_ENCRYPTION: &str = "06092a864886f70d0101010500";
const F4: &[u8] = &[1, 0, 1];

/// An SPKI with everything as it should be but for what is given.
fn key_of(algorithm: &str, unused_bits: u8, modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let numbers = der(0x30, &[&der(2, &[modulus]), &der(2, &[exponent])]);
    let algorithm = der(0x30, &[&hex::decode_bounded(algorithm, 64).unwrap()]);
    der(0x30, &[&algorithm, &der(3, &[&[unused_bits], &numbers])])
}

/// A modulus of so many bits, as the content of an INTEGER. Nobody knows its factors, and nobody needs to.
fn modulus_of(bits: usize) -> Vec<u8> {
    let mut modulus: Vec<u8> = (0..bits.div_ceil(8))
        .map(|at| Digest::of_parts(&[b"modulus", &bits.to_be_bytes(), &at.to_be_bytes()]).as_bytes()[0])
        .collect();
    let top = (bits - 1) % 8;
    modulus[0] = modulus[0] & ((1 << top) - 1) | 1 << top;
    *modulus.last_mut().unwrap() |= 1;
    if modulus[0] >= 0x80 {
        modulus.insert(0, 0);
    }
    modulus
}

fn keys() -> Vec<Value> {
    let listed = |name: &str, spki: Vec<u8>, modulus_len: usize| {
        let key = PublicKey::from_spki(&spki).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((key.modulus_len(), key.id()), (modulus_len, EndorsementKeyId::of_spki(&spki)), "{name}");
        json!({"name": name, "key_id": key.id(), "modulus_len": modulus_len, "spki": hex::encode(spki)})
    };
    let made = |bits| key_of(RSA_ENCRYPTION, 0, &modulus_of(bits), F4);
    vec![
        listed("2048 bits, as OpenSSL writes it", spki(1), 256),
        listed("3072 bits, as OpenSSL writes it", spki(3), 384),
        listed("2048 bits", made(2048), 256),
        listed("2056 bits", made(2056), 257),
        listed("4096 bits", made(4096), 512),
    ]
}

/// SPKIs that are no endorsement keys, by what is wrong with them.
pub(crate) fn refused_spkis() -> Vec<(&'static str, Vec<u8>)> {
    let good = spki(1);
    let n = modulus_of(2048);
    let made = |bits| key_of(RSA_ENCRYPTION, 0, &modulus_of(bits), F4);
    let mut even = n.clone();
    *even.last_mut().unwrap() &= 0xfe;
    let with = |algorithm, exponent: &[u8]| key_of(algorithm, 0, &n, exponent);
    vec![
        ("nothing", vec![]),
        ("text", b"-----BEGIN PUBLIC KEY-----".to_vec()),
        ("PKCS#1 alone", good[24..].to_vec()),
        ("a byte short", good[..good.len() - 1].to_vec()),
        ("a byte over", [good.as_slice(), &[0]].concat()),
        ("exponent 3", with(RSA_ENCRYPTION, &[3])),
        ("exponent 65539", with(RSA_ENCRYPTION, &[1, 0, 3])),
        ("exponent with a leading zero", with(RSA_ENCRYPTION, &[0, 1, 0, 1])),
        ("RSASSA-PSS", with("06092a864886f70d01010a0500", F4)),
        ("RSASSA-PSS without parameters", with("06092a864886f70d01010a", F4)),
        ("rsaEncryption without NULL", with("06092a864886f70d010101", F4)),
        ("an elliptic curve's identifier", with("06072a8648ce3d0201", F4)),
        ("unused bits", key_of(RSA_ENCRYPTION, 1, &n, F4)),
        ("1024 bits", made(1024)),
        ("2040 bits", made(2040)),
        ("2047 bits", made(2047)),
        ("2049 bits", made(2049)),
        ("4104 bits", made(4104)),
        ("an even modulus", key_of(RSA_ENCRYPTION, 0, &even, F4)),
        ("a negative modulus", key_of(RSA_ENCRYPTION, 0, &n[1..], F4)),
        ("a modulus with a zero too many", key_of(RSA_ENCRYPTION, 0, &[&[0], &n[..]].concat(), F4)),
        ("a modulus of no bytes", key_of(RSA_ENCRYPTION, 0, &[], F4)),
        ("a length in three bytes", [&[0x30, 0x83, 0], &good[2..]].concat()),
        ("a length without end", [&[0x30, 0x80], &good[4..], &[0, 0]].concat()),
        ("a set in place of a sequence", patched(&good, 0, &[0x31])),
    ]
}

fn refused_keys() -> Vec<Value> {
    let refused = |(name, spki): (&str, Vec<u8>)| {
        assert!(PublicKey::from_spki(&spki).is_err(), "{name}");
        json!({"name": name, "spki": hex::encode(spki), "reason": "endorsement_key"})
    };
    refused_spkis().into_iter().map(refused).collect()
}

#[test]
fn endorsement_json() {
    assert_eq!(public_modulus(1).len(), spki(1).len() - 33 - 5);
    let cases = vec![
        case("2048 bits", 1, &capture()),
        case("2048 bits, blinded again", 1, &capture()),
        case("2048 bits, another key and body", 2, &full_capture()),
        case("3072 bits", 3, &capture()),
    ];
    let (forged, unfinished) = (forged(&cases[0]), unfinished(&cases[0]));
    Vectors::new("endorsement.json", "6: capture digest, blinding, endorsement, keys")
        .with("cases", cases.into())
        .with("forged", forged.into())
        .with("unfinished", unfinished.into())
        .with("keys", keys().into())
        .with("refused_keys", refused_keys().into())
        .check();
}
