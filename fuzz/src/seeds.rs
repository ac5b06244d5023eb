//! What each target begins with: the golden vectors, good and bad.

use std::path::Path;

use birthmark_core::hex;
use birthmark_core::tile::encode_entries;
use serde_json::{Value, json};

fn vectors(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).expect("vectors are JSON")
}

/// A field of every case in some lists of a file.
fn texts(file: &str, lists: &[&str], field: &str) -> Vec<String> {
    let file = vectors(file);
    let cases = lists.iter().flat_map(|list| file[list].as_array().into_iter().flatten());
    cases.filter_map(|case| case[field].as_str().map(str::to_owned)).collect()
}

fn utf8(file: &str, lists: &[&str], field: &str) -> Vec<Vec<u8>> {
    texts(file, lists, field).into_iter().map(String::into_bytes).collect()
}

fn bytes(file: &str, lists: &[&str], field: &str) -> Vec<Vec<u8>> {
    texts(file, lists, field).iter().map(|text| hex::decode_bounded(text, 1 << 20).expect("hex")).collect()
}

/// The network files and policies by which `proof.json` is judged.
pub(crate) fn trusts() -> Vec<String> {
    let file = vectors("proof.json");
    file["trust"].as_object().into_iter().flatten().filter_map(|(_, text)| text.as_str().map(str::to_owned)).collect()
}

pub(crate) fn absence() -> Vec<Vec<u8>> {
    utf8("absence.json", &["cases", "altered"], "absence")
}

/// A page for each proof of absence, with an image that a proof of inclusion is about.
pub(crate) fn prefix() -> Vec<Vec<u8>> {
    let pages = texts("absence.json", &["cases"], "absence").into_iter().filter_map(|text| {
        let absence: Value = serde_json::from_str(&text).ok()?;
        let page = json!({
            "prefix": "ab3", "from": "ab3".to_owned() + &"0".repeat(61), "checkpoint": absence["checkpoint"],
            "leaf": absence["leaf"], "inclusion": absence["inclusion"], "siblings": absence["siblings"],
            "images": [{
                "key": "ab3".to_owned() + &"1".repeat(61),
                "records": [{"tx_id": 1, "entry": 1, "assurance": "attested"}], "extra": "AQABAQAA", "path": "",
            }],
            "next": "ab3".to_owned() + &"8".repeat(61),
        });
        Some(page.to_string().into_bytes())
    });
    pages.collect()
}

pub(crate) fn answers() -> Vec<Vec<u8>> {
    let hash = "ab".repeat(32);
    let receipt = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    [
        json!({"receipt_id": receipt, "status": "pending_validation", "message": "…"}),
        json!({"receipt_id": receipt, "status": "rejected", "message": "…", "reason": "token_used", "reseal": true}),
        json!({"results": [{"status": "accepted"}, {"status": "recorded", "tx_id": 4, "block_height": 2},
                           {"status": "refused", "code": "bad_endorsement"}]}),
        json!({"valid": true, "message": "token_valid", "endorsement": "00".repeat(256)}),
        json!({"results": [{"valid": false, "message": "rekey"}]}),
        json!({"verified": false, "recorded": false, "image_hash": hash, "as_of": {"size": 7, "time": 60}}),
        json!({"verified": true, "recorded": true, "image_hash": hash, "timestamp": 60, "block_height": 1, "tx_id": 2,
               "modification_level": 1, "modification_display": "Validated", "parent_image_hash": hash,
               "authority_id": "A", "aggregator": "B", "assurance": "endorsed",
               "provenance_chain": [{"image_hash": hash, "modification_level": 0}],
               "other_records": [{"tx_id": 1, "assurance": "attested"}], "proof": "c2sp.org/tlog-proof@v1"}),
    ]
    .map(|answer| answer.to_string().into_bytes())
    .to_vec()
}

pub(crate) fn batch() -> Vec<Vec<u8>> {
    [bytes("batch.json", &["cases", "refused", "forged"], "wire"), bytes("batch.json", &["cases"], "block")].concat()
}

pub(crate) fn block() -> Vec<Vec<u8>> {
    let in_payload = |batch: Vec<u8>| [[0, 1].as_slice(), &batch].concat();
    let mut seeds: Vec<_> = bytes("batch.json", &["cases"], "block").into_iter().map(in_payload).collect();
    seeds.push([&[1][..], &[0; 8], &[7; 32]].concat());
    seeds
}

pub(crate) fn body() -> Vec<Vec<u8>> {
    bytes("body.json", &["cases", "refused"], "body")
}

pub(crate) fn checkpoint() -> Vec<Vec<u8>> {
    utf8("checkpoint.json", &["cases", "refused"], "note")
}

pub(crate) fn device_config() -> Vec<Vec<u8>> {
    let config = json!({
        "device_serial": "PI_CAMERA_001", "table_id": 42, "encryption_key": "AAAA", "aggregator_url": "http://a:8545",
        "manufacturer_cert": {"authority_id": "SIMULATED_MFG_001", "validation_endpoint": "http://a:8001/validate"},
        "tables": [{"table_id": 42, "encryption_key": "AAAA"}], "device_key": "AAAA", "network": {"url": "…"},
        "device_certificate": "-----BEGIN CERTIFICATE-----\n",
    });
    vec![config.to_string().into_bytes()]
}

pub(crate) fn endorsement() -> Vec<Vec<u8>> {
    bytes("endorsement.json", &["cases", "forged"], "endorsement")
}

pub(crate) fn endorsement_key() -> Vec<Vec<u8>> {
    bytes("endorsement.json", &["keys", "refused_keys"], "spki")
}

pub(crate) fn entries() -> Vec<Vec<u8>> {
    let leaves = bytes("leaf.json", &["cases"], "leaf");
    let count = u8::try_from(leaves.len()).expect("few leaves");
    let bundle = encode_entries(leaves.iter().map(Vec::as_slice)).expect("short leaves");
    vec![[&[count][..], &bundle].concat(), vec![0]]
}

pub(crate) fn genesis() -> Vec<Vec<u8>> {
    bytes("genesis.json", &["cases", "refused"], "genesis")
}

pub(crate) fn image_data() -> Vec<Vec<u8>> {
    bytes("image-data.json", &["cases"], "file")
}

pub(crate) fn index_value() -> Vec<Vec<u8>> {
    bytes("index.json", &["values"], "value")
}

pub(crate) fn act() -> Vec<Vec<u8>> {
    [bytes("act.json", &["cases", "refused"], "act"), bytes("act.json", &["cases"], "approved")].concat()
}

pub(crate) fn leaf() -> Vec<Vec<u8>> {
    bytes("leaf.json", &["cases", "refused"], "leaf")
}

pub(crate) fn network() -> Vec<Vec<u8>> {
    utf8("network.json", &["cases", "refused"], "file")
}

pub(crate) fn policy() -> Vec<Vec<u8>> {
    utf8("policy.json", &["cases", "refused"], "policy")
}

pub(crate) fn proof() -> Vec<Vec<u8>> {
    utf8("proof.json", &["cases", "altered"], "proof")
}

pub(crate) fn statement() -> Vec<Vec<u8>> {
    let keys = vectors("endorsement.json");
    let keys: Vec<Value> = keys["keys"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|key| {
            let spki = hex::decode_bounded(key["spki"].as_str().unwrap_or_default(), 1024).expect("hex");
            json!({"key_id": key["key_id"], "spki": birthmark_core::base64::encode(spki), "state": "retired"})
        })
        .collect();
    let statement = json!({
        "id": "SIMULATED_MFG_001", "token_key": "07".repeat(32), "rules": {"min_token_version": 2},
        "endorsement_keys": keys,
    });
    vec![statement.to_string().into_bytes(), br#"{"id": "A"}"#.to_vec()]
}

pub(crate) fn submission() -> Vec<Vec<u8>> {
    utf8("submission.json", &["cases", "refused"], "text")
}

pub(crate) fn tile() -> Vec<Vec<u8>> {
    [
        "tile/0/000",
        "tile/entries/x001/x234/067.p/8",
        "tile/7/000.p/255",
        "tile/1/x256/001",
        "tile/8/000",
        "tile/entries/1",
    ]
    .map(|path| path.as_bytes().to_vec())
    .to_vec()
}

/// The tokens of both versions, as a submission has them.
fn tokens() -> Vec<Value> {
    let token = |case: &Value| {
        json!({
            "ciphertext": case["ciphertext"], "auth_tag": case["auth_tag"], "nonce": case["nonce"],
            "table_id": case["table_id"], "key_index": case["key_index"],
        })
    };
    let (first, second) = (vectors("token-v1.json"), vectors("token-v2.json"));
    let first = first["cases"].as_array().into_iter().flatten().map(token);
    let lists = ["cases", "refused"].iter().flat_map(|list| second[list].as_array().into_iter().flatten());
    let second = lists.map(|case| {
        let mut bound = token(case);
        bound["binding"] = json!({
            "enc": case["enc"], "key_id": case["key_id"], "blinded_message": case["blinded_message"],
            "inverse": case["blinded_message"],
        });
        bound
    });
    first.chain(second).collect()
}

pub(crate) fn token() -> Vec<Vec<u8>> {
    tokens().iter().map(|token| token.to_string().into_bytes()).collect()
}

pub(crate) fn validate() -> Vec<Vec<u8>> {
    let asked = |mut token: Value| {
        let binding = token.as_object_mut().and_then(|token| token.remove("binding"));
        let mut asked = json!({
            "camera_token": token, "manufacturer_authority_id": "SIMULATED_MFG_001", "request_id": "09".repeat(16),
        });
        for field in ["enc", "key_id", "blinded_message"] {
            if let Some(binding) = &binding {
                asked[field] = binding[field].clone();
            }
        }
        asked
    };
    let questions: Vec<_> = tokens().into_iter().map(asked).collect();
    let batch = json!({"requests": questions}).to_string().into_bytes();
    questions.iter().map(|asked| asked.to_string().into_bytes()).chain([batch]).collect()
}

pub(crate) fn whole_blocks() -> Vec<Vec<u8>> {
    let start = [&7u64.to_be_bytes()[..], &[1; 32], &[2; 32], &[3; 32], &[4; 41]].concat();
    let block =
        |payload: &[u8]| [&start, &u32::try_from(payload.len()).expect("short").to_be_bytes()[..], payload].concat();
    let payloads: Vec<_> = self::block().iter().map(|payload| block(payload)).collect();
    vec![[1].to_vec(), [&[1][..], &block(&[])].concat(), [&[1][..], &payloads.concat()].concat()]
}

pub(crate) fn witness() -> Vec<Vec<u8>> {
    let notes = utf8("checkpoint.json", &["cases", "refused"], "note");
    let hash = "A".repeat(43) + "=\n";
    let request = |(number, note): (usize, Vec<u8>)| {
        [format!("old {number}\n{}\n", hash.repeat(number % 3)).into_bytes(), note].concat()
    };
    notes.into_iter().enumerate().map(request).collect()
}
