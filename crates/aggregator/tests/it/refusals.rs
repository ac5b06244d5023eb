//! Malformed and unwelcome submissions.

use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};

use crate::world::{Running, World, column, submission};

/// A change to a good submission, and the status and code that it gets.
type Case = (&'static str, fn(&mut Value), u16, &'static str);

const CASES: &[Case] = &[
    ("other type", |s| s["submission_type"] = json!("drone"), 422, "wrong_submission_type"),
    ("type of another type", |s| s["submission_type"] = json!(1), 422, "wrong_field"),
    ("short hash", |s| s["image_hashes"][0]["image_hash"] = json!("ab"), 422, "wrong_image"),
    ("hash in Unicode digits", |s| s["image_hashes"][0]["image_hash"] = json!("٣".repeat(64)), 422, "wrong_image"),
    ("level 3", |s| s["image_hashes"][0]["modification_level"] = json!(3), 422, "wrong_image"),
    ("level as float", |s| s["image_hashes"][0]["modification_level"] = json!(0.0), 422, "wrong_field"),
    ("level as text", |s| s["image_hashes"][0]["modification_level"] = json!("0"), 422, "wrong_field"),
    ("other kind", |s| s["image_hashes"][1]["kind"] = json!("thumbnail"), 422, "wrong_image"),
    ("no hashes", |s| s["image_hashes"] = json!([]), 422, "wrong_entries"),
    ("same hash twice", |s| s["image_hashes"][1] = s["image_hashes"][0].clone(), 422, "wrong_entries"),
    ("parent outside", |s| s["image_hashes"][1]["parent_image_hash"] = json!("77".repeat(32)), 422, "wrong_capture"),
    ("processed alone", |s| drop(s["image_hashes"].as_array_mut().unwrap().remove(0)), 422, "wrong_capture"),
    ("owner_hash", |s| s["owner_hash"] = json!("x"), 422, "wrong_commitment"),
    ("gps_hash", |s| s["gps_hash"] = json!("0x"), 422, "wrong_commitment"),
    ("no certificate", |s| s["manufacturer_cert"] = Value::Null, 422, "wrong_authority"),
    ("authority of 65", |s| s["manufacturer_cert"]["authority_id"] = json!("a".repeat(65)), 422, "wrong_authority"),
    ("authority with NUL", |s| s["manufacturer_cert"]["authority_id"] = json!("a\0"), 422, "wrong_authority"),
    ("stranger", |s| s["manufacturer_cert"]["authority_id"] = json!("NOBODY"), 422, "unknown_authority"),
    ("not asked here", |s| s["manufacturer_cert"]["authority_id"] = json!("ANOTHER_MFG"), 422, "unknown_authority"),
    ("reserved", |s| s["manufacturer_cert"]["authority_id"] = json!("unattested"), 422, "unknown_authority"),
    ("no token", |s| s["camera_token"] = Value::Null, 422, "wrong_token"),
    ("two tokens", |s| s["manufacturer_cert"]["camera_token"] = s["camera_token"].clone(), 422, "wrong_token"),
    ("table 2500", |s| s["camera_token"]["table_id"] = json!(2500), 422, "wrong_token"),
    ("index 1000", |s| s["camera_token"]["key_index"] = json!(1000), 422, "wrong_token"),
    ("index -1", |s| s["camera_token"]["key_index"] = json!(-1), 422, "wrong_field"),
    ("short nonce", |s| s["camera_token"]["nonce"] = json!("00"), 422, "wrong_token"),
    ("ciphertext of 129", |s| s["camera_token"]["ciphertext"] = json!("00".repeat(129)), 422, "wrong_token"),
    ("version 2 unbound", |s| s["camera_token"]["ciphertext"] = json!("00".repeat(56)), 422, "wrong_token"),
    ("time 0", |s| s["timestamp"] = json!(0), 422, "wrong_timestamp"),
    ("milliseconds", |s| s["timestamp"] = json!(1_733_259_600_000_u64), 422, "timestamp_in_milliseconds"),
    ("edit with a token", to_edit, 422, "wrong_token"),
    ("edit of level 1", |s| s["submission_type"] = json!("software"), 422, "wrong_edit"),
    ("edit", to_edit_without_token, 403, "software_authority_required"),
];

fn to_edit(submission: &mut Value) {
    submission["submission_type"] = json!("software");
    submission["image_hashes"] =
        json!([{"image_hash": "05".repeat(32), "modification_level": 2, "parent_image_hash": "06".repeat(32)}]);
}

fn to_edit_without_token(submission: &mut Value) {
    to_edit(submission);
    submission.as_object_mut().unwrap().remove("camera_token");
}

async fn post(running: &Running, body: impl Into<bytes::Bytes>) -> (u16, Option<String>) {
    let reply = running.send(Method::POST, "/api/v1/submit", None, body).await;
    (reply.status, reply.code)
}

#[tokio::test]
async fn each_fault_has_its_status_and_code_and_leaves_no_row() {
    let world = World::new().await;
    let running = world.start().await;
    for (what, change, status, code) in CASES {
        let mut body = submission(1);
        change(&mut body);
        assert_eq!(post(&running, body.to_string()).await, (*status, Some((*code).to_owned())), "{what}");
    }
    assert!(column::<i64>(world.folder.path(), "id").is_empty());
    assert_eq!(world.sma.script.calls(), 0);
}

#[tokio::test]
async fn what_is_not_json_is_refused_as_such() {
    let world = World::new().await;
    let running = world.start().await;
    let good = submission(1).to_string();
    let twice = good.replacen('{', r#"{"timestamp":1,"#, 1);
    for (body, code) in [
        (String::new(), "malformed_json"),
        (good.trim_end_matches('}').to_owned(), "malformed_json"),
        (format!("{good} x"), "malformed_json"),
        ("[".repeat(60_000), "malformed_json"),
        (twice, "duplicate_key"),
    ] {
        assert_eq!(post(&running, body).await, (400, Some(code.to_owned())));
    }
}

#[tokio::test]
async fn bodies_are_bounded_to_64_kib_exactly() {
    let world = World::new().await;
    let running = world.start().await;
    let good = submission(1).to_string();
    let padded = |len: usize| format!("{}{good}", " ".repeat(len - good.len()));
    assert_eq!(post(&running, padded(65_536)).await.0, 202);
    assert_eq!(post(&running, padded(65_537)).await, (413, Some("too_large".to_owned())));
    assert_eq!(post(&running, padded(1 << 20)).await, (413, Some("too_large".to_owned())));
}

#[tokio::test]
async fn other_content_types_are_refused() {
    let world = World::new().await;
    let running = world.start().await;
    for (content_type, status) in [
        (None, 415),
        (Some("text/plain"), 415),
        (Some("application/x-www-form-urlencoded"), 415),
        (Some("application/json; charset=utf-8"), 202),
    ] {
        let mut headers = HeaderMap::new();
        if let Some(content_type) = content_type {
            headers.insert("content-type", HeaderValue::from_static(content_type));
        }
        let reply = running.send_with(Method::POST, "/api/v1/submit", headers, submission(1).to_string()).await;
        assert_eq!(reply.status, status, "{content_type:?}");
    }
}

#[tokio::test]
async fn other_methods_and_addresses_are_refused() {
    let world = World::new().await;
    let running = world.start().await;
    assert_eq!(running.get("/api/v1/submit").await.status, 405);
    assert_eq!(running.get("/api/v1/nothing").await.status, 404);
}
