use serde_json::{Value, json};

use super::*;

fn image(seed: u8, level: u8, parent: Option<u8>) -> Value {
    let hash = |seed: u8| format!("{seed:02x}").repeat(32);
    json!({"image_hash": hash(seed), "modification_level": level, "parent_image_hash": parent.map(hash)})
}

fn data(seed: u8, parent: u8) -> Value {
    let mut image = image(seed, 1, Some(parent));
    image["kind"] = json!("image_data");
    image
}

/// The seed's submission.
fn seed() -> Value {
    json!({
        "submission_type": "camera",
        "image_hashes": [image(1, 0, None), image(2, 1, Some(1))],
        "camera_token": {
            "ciphertext": "0a".repeat(32), "auth_tag": "0b".repeat(16), "nonce": "0c".repeat(12),
            "table_id": 42, "key_index": 7
        },
        "manufacturer_cert": {
            "authority_id": "SIMULATED_MFG_001", "validation_endpoint": "http://aggregator:8001/validate"
        },
        "timestamp": 1_733_259_600
    })
}

fn parse(value: &Value) -> Result<Submission, SubmissionError> {
    Submission::from_json(value.to_string().as_bytes())
}

fn camera(value: &Value) -> CameraSubmission {
    match parse(value).unwrap() {
        Submission::Camera(camera) => camera,
        Submission::Software(_) => panic!("a camera's was given"),
    }
}

fn with_images(images: Vec<Value>) -> Value {
    let mut value = seed();
    value["image_hashes"] = Value::Array(images);
    value
}

#[test]
fn the_seeds_submission_is_read() {
    let camera = camera(&seed());
    assert_eq!(camera.body.authority.as_str(), "SIMULATED_MFG_001");
    assert_eq!(camera.claimed_time, Some(1_733_259_600));
    assert_eq!(camera.body.entries.as_slice()[1].parent, Parent::Entry(1));
    assert_eq!((camera.token.table_id.value(), camera.token.key_index.value()), (42, 7));
}

#[test]
fn every_accepted_form_of_the_token_means_the_same() {
    let usual = camera(&seed());
    let mut older = seed();
    let mut token = older["camera_token"].take();
    older.as_object_mut().unwrap().remove("camera_token");
    token.as_object_mut().unwrap().retain(|key, _| key != "table_id" && key != "key_index");
    older["manufacturer_cert"]["camera_token"] = token;
    older["manufacturer_cert"]["key_reference"] = json!({"table_id": 42, "key_index": 7});
    assert_eq!(camera(&older), usual);

    let mut joined = seed();
    joined["camera_token"]["ciphertext"] = json!("0a".repeat(32) + &"0b".repeat(16));
    joined["camera_token"].as_object_mut().unwrap().remove("auth_tag");
    assert_eq!(camera(&joined), usual);

    let mut upper = seed();
    upper["camera_token"]["ciphertext"] = json!("0A".repeat(32));
    upper["unknown"] = json!({"ignored": [1.5, null]});
    assert_eq!(camera(&upper), usual);
    assert_eq!(camera(&upper).idempotency_key(), usual.idempotency_key());
}

#[test]
fn idempotency_key_depends_on_photo_and_token_but_not_on_the_claimed_time() {
    let key = |value: &Value| camera(value).idempotency_key();
    let mut later = seed();
    later["timestamp"] = json!(null);
    assert_eq!(key(&later), key(&seed()));
    let mut other_token = seed();
    other_token["camera_token"]["nonce"] = json!("0d".repeat(12));
    assert_ne!(key(&other_token), key(&seed()));
    assert_ne!(key(&with_images(vec![image(1, 0, None)])), key(&seed()));
}

#[test]
fn captures_of_one_two_and_four_files_with_image_data_are_read() {
    let gps = vec![image(1, 0, None), image(2, 1, Some(1)), image(3, 0, None), image(4, 1, Some(3))];
    for images in [
        vec![image(1, 0, None)],
        gps.clone(),
        [gps.clone(), vec![data(5, 1), data(6, 3)]].concat(),
        vec![image(1, 0, None), image(2, 1, Some(1)), data(5, 1)],
    ] {
        assert!(parse(&with_images(images.clone())).is_ok(), "{images:?}");
    }
    for images in [
        vec![image(1, 1, None)],
        vec![image(1, 0, None), image(2, 0, None)],
        vec![image(2, 1, Some(1)), image(1, 0, None)],
        vec![image(1, 0, None), image(2, 1, Some(9))],
        gps[..3].to_vec(),
        vec![image(1, 0, None), image(2, 2, Some(1))],
        [gps.clone(), vec![data(5, 3), data(6, 1)]].concat(),
        vec![image(1, 0, None), data(5, 1), image(2, 1, Some(1))],
        vec![data(5, 1)],
        [gps, vec![data(5, 2)]].concat(),
    ] {
        let error = parse(&with_images(images.clone())).unwrap_err();
        assert!(matches!(error, SubmissionError::CaptureShape(_) | SubmissionError::Entries(_)), "{images:?}: {error}");
    }
}

#[test]
fn edits_carry_parents_and_no_token() {
    let mut edit = with_images(vec![image(1, 2, Some(9)), image(2, 2, Some(1))]);
    edit["submission_type"] = json!("software");
    assert!(matches!(parse(&edit), Err(SubmissionError::TokenWithSoftware)));
    edit.as_object_mut().unwrap().remove("camera_token");
    let Submission::Software(body) = parse(&edit).unwrap() else { panic!("an edit was given") };
    assert_eq!(body.entries.as_slice()[1].parent, Parent::Entry(1));
    edit["image_hashes"][0]["parent_image_hash"] = json!(null);
    assert!(matches!(parse(&edit), Err(SubmissionError::EditShape(1))));
}

#[test]
fn malformed_submissions_are_refused_by_name() {
    type Change = fn(&mut Value);
    let cases: [(&str, Change); 17] = [
        ("submission_type", |v| v["submission_type"] = json!("phone")),
        ("1 to 8", |v| v["image_hashes"] = json!([])),
        ("1 to 8", |v| v["image_hashes"] = Value::Array(vec![v["image_hashes"][0].clone(); 9])),
        ("image_hashes[0].image_hash", |v| v["image_hashes"][0]["image_hash"] = json!("zz")),
        ("image_hashes[0].image_hash", |v| v["image_hashes"][0]["image_hash"] = json!("٠".repeat(64))),
        ("image_hashes[1].parent_image_hash", |v| v["image_hashes"][1]["parent_image_hash"] = json!("")),
        ("modification_level", |v| v["image_hashes"][0]["modification_level"] = json!(3)),
        ("kind", |v| v["image_hashes"][0]["kind"] = json!("thumbnail")),
        ("repeats", |v| v["image_hashes"][1] = v["image_hashes"][0].clone()),
        ("owner_hash", |v| v["owner_hash"] = json!("00")),
        ("manufacturer_cert", |v| v["manufacturer_cert"] = json!(null)),
        ("authority_id", |v| v["manufacturer_cert"]["authority_id"] = json!("")),
        ("authority_id", |v| v["manufacturer_cert"]["authority_id"] = json!("a\u{0}b")),
        ("camera_token", |v| v["camera_token"] = json!(null)),
        ("seconds from 1", |v| v["timestamp"] = json!(0)),
        ("milliseconds", |v| v["timestamp"] = json!(1_733_259_600_000_u64)),
        ("expected", |v| v["timestamp"] = json!(1.5)),
    ];
    for (named, change) in cases {
        let mut value = seed();
        change(&mut value);
        let error = parse(&value).unwrap_err().to_string();
        assert!(error.contains(named), "expected {named}, got {error}");
    }
}

#[test]
fn a_token_in_two_places_is_refused() {
    let mut value = seed();
    value["manufacturer_cert"]["camera_token"] = value["camera_token"].clone();
    assert!(matches!(parse(&value), Err(SubmissionError::OneToken)));
}
