//! `submission.json`: what a camera or an editor may send, and what is refused.

use birthmark_core::hex;
use birthmark_core::json::JsonError;
use birthmark_core::submission::{Submission, SubmissionError};
use serde_json::{Value, json};

use crate::frame::{Vectors, hash};

fn image(name: &str, level: u8, parent: Option<&str>) -> Value {
    json!({"image_hash": hash(name), "modification_level": level, "parent_image_hash": parent.map(hash)})
}

fn picture(name: &str, parent: &str) -> Value {
    let mut image = image(name, 1, Some(parent));
    image["kind"] = "image_data".into();
    image
}

/// The seed's own submission.
fn seed() -> Value {
    json!({
        "submission_type": "camera",
        "image_hashes": [image("raw", 0, None), image("processed", 1, Some("raw"))],
        "camera_token": {
            "ciphertext": hash("ciphertext"), "auth_tag": "0b".repeat(16), "nonce": "0c".repeat(12),
            "table_id": 42, "key_index": 7,
        },
        "manufacturer_cert": {
            "authority_id": "SIMULATED_MFG_001", "validation_endpoint": "http://localhost:8001/validate",
        },
        "timestamp": 1_733_259_600,
    })
}

fn with(change: impl FnOnce(&mut Value)) -> String {
    let mut value = seed();
    change(&mut value);
    value.sort_all_objects();
    value.to_string()
}

fn images(list: Vec<Value>) -> String {
    with(|v| v["image_hashes"] = list.into())
}

fn remove(value: &mut Value, field: &str) -> Value {
    value.as_object_mut().unwrap().remove(field).unwrap()
}

fn gps() -> Vec<Value> {
    vec![
        image("raw", 0, None),
        image("processed", 1, Some("raw")),
        image("raw with gps", 0, None),
        image("processed with gps", 1, Some("raw with gps")),
    ]
}

fn software(list: Vec<Value>) -> String {
    with(|v| {
        v["submission_type"] = "software".into();
        v["image_hashes"] = list.into();
        remove(v, "camera_token");
    })
}

fn version_2(value: &mut Value) {
    value["camera_token"]["ciphertext"] = "2a".repeat(56).into();
    value["camera_token"]["binding"] = json!({
        "enc": hash("enc"), "key_id": "01".repeat(8), "blinded_message": "02".repeat(256), "inverse": "03".repeat(256),
    });
}

fn accepted() -> Vec<(&'static str, String)> {
    let usual = with(|_| {});
    vec![
        ("the seed's form", usual.clone()),
        ("white space", serde_json::to_string_pretty(&serde_json::from_str::<Value>(&usual).unwrap()).unwrap()),
        (
            "the token and its key_reference inside manufacturer_cert",
            with(|v| {
                let mut token = remove(v, "camera_token");
                let (table, index) = (remove(&mut token, "table_id"), remove(&mut token, "key_index"));
                v["manufacturer_cert"]["camera_token"] = token;
                v["manufacturer_cert"]["key_reference"] = json!({"table_id": table, "key_index": index});
            }),
        ),
        (
            "auth_tag appended to the ciphertext",
            with(|v| {
                let tag = remove(&mut v["camera_token"], "auth_tag");
                v["camera_token"]["ciphertext"] = (hash("ciphertext") + tag.as_str().unwrap()).into();
            }),
        ),
        ("upper case hex", with(|v| v["image_hashes"][1]["image_hash"] = hash("processed").to_uppercase().into())),
        ("unknown fields", with(|v| v["camera_token"]["more"] = json!({"x": [1.5, true, null]}))),
        ("escapes", usual.replace("camera_token", "camera\\u005ftoken")),
        ("kind spelled out", with(|v| v["image_hashes"][0]["kind"] = "file".into())),
        ("no claim of time", with(|v| v["timestamp"] = Value::Null)),
        ("the last second that can be claimed", with(|v| v["timestamp"] = u32::MAX.into())),
        (
            "parent left out",
            with(|v| {
                remove(&mut v["image_hashes"][0], "parent_image_hash");
            }),
        ),
        ("raw alone", images(vec![image("raw", 0, None)])),
        ("with GPS bar", images(gps())),
        (
            "with GPS bar and image data",
            images([gps(), vec![picture("picture", "raw"), picture("picture with gps", "raw with gps")]].concat()),
        ),
        (
            "owner and place",
            with(|v| {
                v["owner_hash"] = hash("owner").into();
                v["gps_hash"] = hash("gps").into();
            }),
        ),
        ("the seed's mock token of 64 bytes", with(|v| v["camera_token"]["ciphertext"] = "aa".repeat(64).into())),
        (
            "the shortest and the last of all numbers",
            with(|v| {
                v["camera_token"]["ciphertext"] = "ff".into();
                v["camera_token"]["table_id"] = 2499.into();
                v["camera_token"]["key_index"] = 999.into();
            }),
        ),
        ("version 2", with(version_2)),
        ("edits", software(vec![image("edited", 2, Some("processed")), image("edited again", 2, Some("edited"))])),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn refused() -> Vec<(&'static str, String, &'static str)> {
    let usual = with(|_| {});
    let token = |field: &'static str, value: Value| with(|v| v["camera_token"][field] = value);
    vec![
        ("nothing", String::new(), "syntax"),
        ("cut short", usual.strip_suffix('}').unwrap().to_owned(), "syntax"),
        ("something behind", usual.clone() + "{}", "syntax"),
        ("a byte order mark", "\u{feff}".to_owned() + &usual, "syntax"),
        ("a comma too many", usual.replace(']', ",]"), "syntax"),
        ("a leading zero", usual.replace(":42", ":042"), "syntax"),
        ("an unpaired surrogate", usual.replace("\"camera\"", "\"\\ud800\""), "syntax"),
        (
            "deep nesting",
            with(|v| v["x"] = 0.into()).replace("\"x\":0", &format!("\"x\":{}{}", "[".repeat(130), "]".repeat(130))),
            "syntax",
        ),
        ("a list", "[]".to_owned(), "field"),
        ("a known key twice", usual.replacen('{', "{\"timestamp\":1,", 1), "duplicate_key"),
        ("an unknown key twice", usual.replacen('{', "{\"x\":1,\"x\":1,", 1), "duplicate_key"),
        ("a key twice, once escaped", usual.replacen('{', "{\"x\":1,\"\\u0078\":1,", 1), "duplicate_key"),
        ("a key twice in an ignored object", usual.replacen('{', "{\"x\":[{\"y\":1,\"y\":1}],", 1), "duplicate_key"),
        ("a number as text", token("table_id", json!("42")), "field"),
        ("a float", usual.replace(":42", ":42.0"), "field"),
        ("an exponent", usual.replace(":42", ":42e0"), "field"),
        ("minus zero", usual.replace(":42", ":-0"), "field"),
        ("a boolean", token("table_id", json!(true)), "field"),
        ("a negative time", with(|v| v["timestamp"] = json!(-1)), "field"),
        (
            "no submission_type",
            with(|v| {
                remove(v, "submission_type");
            }),
            "field",
        ),
        ("another submission_type", with(|v| v["submission_type"] = "phone".into()), "type"),
        ("no hashes", images(vec![]), "entries"),
        ("nine hashes", images((0..9).map(|i| image(&format!("{i}"), 0, None)).collect()), "entries"),
        ("the same hash twice", images(vec![image("raw", 0, None), image("raw", 1, Some("raw"))]), "entries"),
        ("63 digits", with(|v| v["image_hashes"][0]["image_hash"] = hash("raw").get(1..).unwrap().into()), "image"),
        (
            "0x",
            with(|v| v["image_hashes"][0]["image_hash"] = format!("0x{}", hash("raw").get(2..).unwrap()).into()),
            "image",
        ),
        ("Unicode digits", with(|v| v["image_hashes"][0]["image_hash"] = "٠".repeat(64).into()), "image"),
        ("an empty parent", with(|v| v["image_hashes"][1]["parent_image_hash"] = "".into()), "image"),
        ("level 3", with(|v| v["image_hashes"][1]["modification_level"] = 3.into()), "image"),
        ("another kind", with(|v| v["image_hashes"][1]["kind"] = "thumbnail".into()), "image"),
        ("raw with a parent", images(vec![image("raw", 0, Some("before"))]), "entries"),
        ("processed first", images(vec![image("processed", 1, Some("raw")), image("raw", 0, None)]), "entries"),
        ("processed alone", images(vec![image("processed", 1, Some("raw"))]), "capture_shape"),
        ("three files", images(gps()[..3].to_vec()), "capture_shape"),
        ("two raws", images(vec![image("raw", 0, None), image("another", 0, None)]), "capture_shape"),
        ("a parent outside", images(vec![image("raw", 0, None), image("processed", 1, Some("x"))]), "capture_shape"),
        (
            "GPS processed from the other raw",
            images([&gps()[..3], &[image("processed with gps", 1, Some("raw"))]].concat()),
            "capture_shape",
        ),
        (
            "image data before the files",
            images(vec![image("raw", 0, None), picture("p", "raw"), image("q", 1, Some("raw"))]),
            "capture_shape",
        ),
        (
            "image data out of the files' order",
            images([gps(), vec![picture("p", "raw with gps"), picture("q", "raw")]].concat()),
            "capture_shape",
        ),
        (
            "image data with a processed parent",
            images([gps(), vec![picture("p", "processed")]].concat()),
            "capture_shape",
        ),
        (
            "an edit from a camera",
            images(vec![image("raw", 0, None), image("edited", 2, Some("raw"))]),
            "capture_shape",
        ),
        ("owner_hash of 62 digits", with(|v| v["owner_hash"] = "00".repeat(31).into()), "commitment"),
        (
            "no manufacturer_cert",
            with(|v| {
                remove(v, "manufacturer_cert");
            }),
            "no_authority",
        ),
        (
            "no authority_id",
            with(|v| {
                remove(&mut v["manufacturer_cert"], "authority_id");
            }),
            "field",
        ),
        ("an empty authority_id", with(|v| v["manufacturer_cert"]["authority_id"] = "".into()), "authority"),
        (
            "an authority_id of 65",
            with(|v| v["manufacturer_cert"]["authority_id"] = "Z".repeat(65).into()),
            "authority",
        ),
        ("an authority_id beyond ASCII", with(|v| v["manufacturer_cert"]["authority_id"] = "é".into()), "authority"),
        (
            "no token",
            with(|v| {
                remove(v, "camera_token");
            }),
            "one_token",
        ),
        ("two tokens", with(|v| v["manufacturer_cert"]["camera_token"] = v["camera_token"].clone()), "one_token"),
        ("table 2500", token("table_id", 2500.into()), "token"),
        ("key 1000", token("key_index", 1000.into()), "token"),
        ("no table", token("table_id", Value::Null), "token"),
        (
            "numbers that contradict each other",
            with(|v| {
                v["manufacturer_cert"]["key_reference"] = json!({"table_id": 41, "key_index": 7});
            }),
            "token",
        ),
        ("no ciphertext", token("ciphertext", "".into()), "token"),
        (
            "nothing but a tag",
            with(|v| {
                v["camera_token"]["ciphertext"] = "00".repeat(16).into();
                remove(&mut v["camera_token"], "auth_tag");
            }),
            "token",
        ),
        ("a ciphertext of 129 bytes", token("ciphertext", "00".repeat(129).into()), "token"),
        ("half a byte", token("ciphertext", "000".into()), "token"),
        ("a tag of 15 bytes", token("auth_tag", "00".repeat(15).into()), "token"),
        ("a nonce of 13 bytes", token("nonce", "00".repeat(13).into()), "token"),
        ("version 2 without binding", token("ciphertext", "00".repeat(56).into()), "token"),
        (
            "version 1 with binding",
            with(|v| {
                version_2(v);
                v["camera_token"]["ciphertext"] = hash("ciphertext").into();
            }),
            "token",
        ),
        (
            "an inverse of another length",
            with(|v| {
                version_2(v);
                v["camera_token"]["binding"]["inverse"] = "03".repeat(255).into();
            }),
            "token",
        ),
        (
            "RSA below 2048 bits",
            with(|v| {
                version_2(v);
                v["camera_token"]["binding"]["inverse"] = "03".repeat(255).into();
                v["camera_token"]["binding"]["blinded_message"] = "02".repeat(255).into();
            }),
            "token",
        ),
        ("time 0", with(|v| v["timestamp"] = 0.into()), "timestamp"),
        ("time 2^32", with(|v| v["timestamp"] = (1_u64 << 32).into()), "timestamp"),
        ("milliseconds", with(|v| v["timestamp"] = 1_733_259_600_000_u64.into()), "milliseconds"),
        (
            "software with a token",
            with(|v| {
                v["submission_type"] = "software".into();
                v["image_hashes"] = json!([image("edited", 2, Some("processed"))]);
            }),
            "token_with_software",
        ),
        ("software with a raw", software(vec![image("raw", 0, None)]), "edit_shape"),
        ("an edit of nothing", software(vec![image("edited", 2, None)]), "edit_shape"),
    ]
}

const fn code(error: &SubmissionError) -> &'static str {
    match error {
        SubmissionError::Json(JsonError::Syntax { .. }) => "syntax",
        SubmissionError::Json(JsonError::DuplicateKey { .. }) => "duplicate_key",
        SubmissionError::Json(JsonError::Data { .. }) => "field",
        SubmissionError::Type => "type",
        SubmissionError::Image { .. } => "image",
        SubmissionError::Commitment(_) => "commitment",
        SubmissionError::Entries(_) => "entries",
        SubmissionError::CaptureShape(_) => "capture_shape",
        SubmissionError::EditShape(_) => "edit_shape",
        SubmissionError::Authority(_) => "authority",
        SubmissionError::NoAuthority => "no_authority",
        SubmissionError::OneToken => "one_token",
        SubmissionError::TokenWithSoftware => "token_with_software",
        SubmissionError::Token(_) => "token",
        SubmissionError::Timestamp => "timestamp",
        SubmissionError::Milliseconds => "milliseconds",
    }
}

#[test]
fn submission_json() {
    let cases: Vec<Value> = accepted()
        .into_iter()
        .map(|(name, text)| {
            let read = Submission::from_json(text.as_bytes()).unwrap_or_else(|e| panic!("{name}: {e}"));
            let (key, time) = match &read {
                Submission::Camera(camera) => (Some(camera.idempotency_key()), camera.claimed_time),
                Submission::Software(_) => (None, None),
            };
            let body = hex::encode(read.body().encode());
            json!({"name": name, "text": text, "body": body, "idempotency_key": key, "claimed_time": time})
        })
        .collect();
    // The same photo and token in whatever form are the same submission.
    for same in 1..8 {
        assert_eq!(cases[same]["idempotency_key"], cases[0]["idempotency_key"], "{}", cases[same]["name"]);
    }
    let refused: Vec<Value> = refused()
        .into_iter()
        .map(|(name, text, reason)| {
            let error = Submission::from_json(text.as_bytes()).expect_err(name);
            assert_eq!(code(&error), reason, "{name}: {error}");
            json!({"name": name, "text": text, "reason": reason})
        })
        .collect();
    Vectors::new("submission.json", "2: submission and idempotency key")
        .with("cases", cases.into())
        .with("refused", refused.into())
        .check();
}
