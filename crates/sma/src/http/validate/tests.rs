use birthmark_core::api::provision::ProvisionRequest;
use birthmark_core::ids::{KeyIndex, TableId};
use birthmark_core::keytable::TableKey;
use birthmark_core::token::{self, NucHash};
use birthmark_service::random::OsRng;
use serde_json::{Value, json};

use crate::devices::Status;
use crate::keys::{Keys, MasterKey};
use crate::testing::{self, AUTHORITY, Authority, question};

fn with_request_id(mut question: Value, id: u8) -> Value {
    question["request_id"] = json!(birthmark_core::hex::encode([id; 16]));
    question
}

#[tokio::test]
async fn seed_shaped_token_passes_once() {
    let authority = Authority::new();
    let camera = authority.camera(1).await;
    let question = camera.question();
    assert_eq!(question["camera_token"].as_object().unwrap().len(), 5);
    assert_eq!(authority.verdict(&question).await, "token_valid");
    assert_eq!(authority.verdict(&question).await, "token_used");
    assert_eq!(authority.verdict(&camera.question()).await, "token_valid");
}

#[tokio::test]
async fn each_assigned_table_passes() {
    let authority = Authority::new();
    let camera = authority.camera(1).await;
    for (id, key) in camera.table_keys() {
        let token = token::v1::seal((id, &key), KeyIndex::new(999).unwrap(), &camera.nuc_hash, &mut OsRng);
        assert_eq!(authority.verdict(&question(&token)).await, "token_valid", "table {id}");
    }
}

#[tokio::test]
async fn a_repeated_request_gets_its_first_verdict_and_nobody_elses() {
    let authority = Authority::with_tokens();
    let camera = authority.camera(1).await;
    let (one, two) = (Some("aggregator-1"), Some("aggregator-2"));
    let asked = with_request_id(camera.question(), 1);
    assert_eq!(authority.verdict_for(one, &asked).await, "token_valid");
    assert_eq!(authority.verdict_for(one, &asked).await, "token_valid");
    assert_eq!(authority.verdict_for(two, &asked).await, "token_used");
    assert_eq!(authority.verdict_for(one, &with_request_id(asked.clone(), 2)).await, "token_used");
    let mut anonymous = asked.clone();
    anonymous.as_object_mut().unwrap().remove("request_id");
    assert_eq!(authority.verdict_for(one, &anonymous).await, "token_used");
    // The right one still gets its own.
    assert_eq!(authority.verdict_for(one, &asked).await, "token_valid");
    assert_eq!(authority.uses(), 1);
}

#[tokio::test]
async fn a_request_id_taken_over_by_another_token_repeats_nothing() {
    let authority = Authority::new();
    let camera = authority.camera(1).await;
    let token = camera.seal();
    assert_eq!(authority.verdict(&with_request_id(question(&token), 1)).await, "token_valid");
    // Another camera of the table that copies number and nonce: it opens, but is not the same token.
    let other = authority.camera(2).await;
    let key = camera.table_keys().into_iter().find(|(id, _)| *id == token.table_id).unwrap().1;
    let forged = resealed(&token, &key, &other.nuc_hash);
    assert_eq!(authority.verdict(&with_request_id(question(&forged), 1)).await, "token_used");
}

/// Another fingerprint under the same table, index and nonce.
fn resealed(like: &token::SealedToken, key: &TableKey, nuc_hash: &NucHash) -> token::SealedToken {
    struct Fixed([u8; 12]);
    impl rand_core::TryRng for Fixed {
        type Error = std::convert::Infallible;
        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            Ok(0)
        }
        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            Ok(0)
        }
        fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
            out.copy_from_slice(&self.0);
            Ok(())
        }
    }
    impl rand_core::TryCryptoRng for Fixed {}
    token::v1::seal((like.table_id, key), like.key_index, nuc_hash, &mut Fixed(like.nonce))
}

async fn concurrent(authority: &Authority, asked: Value) -> String {
    authority.verdict(&asked).await
}

#[tokio::test]
async fn of_concurrent_requests_for_one_token_exactly_one_passes() {
    let authority = Authority::new();
    let camera = authority.camera(1).await;
    let asked = camera.question();
    let answers =
        futures::future::join_all((0..50).map(|id| concurrent(&authority, with_request_id(asked.clone(), id)))).await;
    assert_eq!(answers.iter().filter(|message| *message == "token_valid").count(), 1);
    assert_eq!(answers.iter().filter(|message| *message == "token_used").count(), 49);
}

#[tokio::test]
async fn a_restart_forgets_no_use() {
    let authority = Authority::new();
    let camera = authority.camera(1).await;
    let (first, second) = (with_request_id(camera.question(), 1), camera.question());
    assert_eq!(authority.verdict(&first).await, "token_valid");
    assert_eq!(authority.verdict(&second).await, "token_valid");
    let authority = authority.restarted(testing::config()).await;
    assert_eq!(authority.verdict(&first).await, "token_valid");
    assert_eq!(authority.verdict(&with_request_id(first, 2)).await, "token_used");
    assert_eq!(authority.verdict(&second).await, "token_used");
    assert_eq!(authority.verdict(&camera.question()).await, "token_valid");
}

#[tokio::test]
async fn a_table_that_is_not_the_cameras_fails() {
    let authority = Authority::new();
    let camera = authority.camera(1).await;
    let master = std::fs::read(authority.folder.path().join("master.key")).unwrap();
    let keys = Keys::derive(&MasterKey::from_slice(&master).unwrap());
    let assigned: Vec<TableId> = camera.config.tables.iter().map(|grant| grant.table_id).collect();
    let foreign = (0..2500).map(|id| TableId::new(id).unwrap()).find(|id| !assigned.contains(id)).unwrap();
    let seal = |id| {
        let index = KeyIndex::new(7).unwrap();
        question(&token::v1::seal((id, keys.table(id).unwrap()), index, &camera.nuc_hash, &mut OsRng))
    };
    assert_eq!(authority.verdict(&seal(foreign)).await, "token_invalid");
    // What was derived here are the real keys.
    assert_eq!(authority.verdict(&seal(assigned[2])).await, "token_valid");
}

#[tokio::test]
async fn an_unknown_sensor_fails() {
    let authority = Authority::new();
    let camera = authority.camera(1).await;
    let (id, key) = camera.table_keys().remove(0);
    let stranger = NucHash::from_bytes([0x77; 32]);
    let token = token::v1::seal((id, &key), KeyIndex::new(7).unwrap(), &stranger, &mut OsRng);
    assert_eq!(authority.verdict(&question(&token)).await, "token_invalid");
    assert_eq!(authority.uses(), 0);
}

#[tokio::test]
async fn a_device_of_version_2_never_passes_with_version_1() {
    let authority = Authority::new();
    let request = ProvisionRequest { min_token_version: 2, ..testing::camera_request(1) };
    let camera = authority.camera_with(request).await;
    assert_eq!(authority.verdict(&camera.question()).await, "token_invalid");
}

#[tokio::test]
async fn a_network_without_version_1_passes_none_of_them() {
    let config = crate::SmaConfig { accept_version_1: false, ..testing::config() };
    let authority = Authority::configured(config);
    let question = authority.camera(1).await.question();
    assert_eq!(authority.verdict(&question).await, "token_invalid");
    let authority = authority.restarted(testing::config()).await;
    assert_eq!(authority.verdict(&question).await, "token_valid");
}

#[tokio::test]
async fn a_revoked_device_fails_at_once_and_passes_when_restored() {
    let authority = Authority::new();
    let camera = authority.camera(1).await;
    let passed = with_request_id(camera.question(), 1);
    assert_eq!(authority.verdict(&passed).await, "token_valid");
    authority.set_status(&camera, Status::Revoked).await;
    let question = camera.question();
    assert_eq!(authority.verdict(&question).await, "token_invalid");
    // An answer that was lost is given again: that pass was before the revocation.
    assert_eq!(authority.verdict(&passed).await, "token_valid");
    assert_eq!(authority.verdict(&with_request_id(passed, 2)).await, "token_invalid");
    authority.set_status(&camera, Status::Active).await;
    assert_eq!(authority.verdict(&question).await, "token_valid");
}

#[tokio::test]
async fn a_forgery_fails_and_does_not_use_up_the_real_token() {
    let authority = Authority::new();
    let camera = authority.camera(1).await;
    let real = camera.seal();
    for byte in 0..48 {
        let mut forged = real.clone();
        match forged.ciphertext.get_mut(byte) {
            Some(byte) => *byte ^= 1,
            None => forged.auth_tag[byte - 32] ^= 0x80,
        }
        assert_eq!(authority.verdict(&question(&forged)).await, "token_invalid", "byte {byte}");
    }
    for byte in 0..12 {
        let mut forged = real.clone();
        forged.nonce[byte] ^= 1;
        assert_eq!(authority.verdict(&question(&forged)).await, "token_invalid", "nonce byte {byte}");
    }
    let index = KeyIndex::new(8).unwrap();
    assert_eq!(
        authority.verdict(&question(&token::SealedToken { key_index: index, ..real.clone() })).await,
        "token_invalid"
    );
    assert_eq!(authority.uses(), 0);
    assert_eq!(authority.verdict(&question(&real)).await, "token_valid");
}

#[tokio::test]
async fn other_lengths_fail_alike() {
    let authority = Authority::new();
    let camera = authority.camera(1).await;
    for length in [1, 31, 33, 55, 57, 64, 128] {
        let mut token = camera.seal();
        token.ciphertext.resize(length, 0);
        assert_eq!(authority.verdict(&question(&token)).await, "token_invalid", "{length} bytes");
    }
    let mut version_2 = camera.question();
    version_2["camera_token"]["ciphertext"] = json!("00".repeat(56));
    version_2["enc"] = json!("11".repeat(32));
    version_2["key_id"] = json!("22".repeat(8));
    version_2["blinded_message"] = json!("33".repeat(256));
    assert_eq!(authority.verdict(&version_2).await, "token_invalid");
    assert_eq!(authority.uses(), 0);
}

#[tokio::test]
async fn tag_at_the_end_of_the_ciphertext_is_taken() {
    let authority = Authority::new();
    let camera = authority.camera(1).await;
    let mut asked = camera.question();
    let token = asked["camera_token"].as_object_mut().unwrap();
    let tag = token.remove("auth_tag").unwrap();
    let joined = format!("{}{}", token["ciphertext"].as_str().unwrap(), tag.as_str().unwrap());
    token.insert("ciphertext".to_owned(), json!(joined));
    assert_eq!(authority.verdict(&asked).await, "token_valid");
}

#[tokio::test]
async fn malformed_requests_have_their_status_and_code() {
    let authority = Authority::new();
    let camera = authority.camera(1).await;
    let good = camera.question().to_string();
    let changed = |pointer: &str, value: Value| {
        let mut asked = camera.question();
        *asked.pointer_mut(pointer).unwrap() = value;
        asked.to_string()
    };
    for (body, status, code) in [
        (String::new(), 400, "malformed_json"),
        (good.strip_suffix('}').unwrap().to_owned(), 400, "malformed_json"),
        (format!("{good} {good}"), 400, "malformed_json"),
        (good.replacen('{', r#"{"manufacturer_authority_id":"x","#, 1), 400, "duplicate_key"),
        ("[]".to_owned(), 422, "wrong_field"),
        ("{}".to_owned(), 422, "wrong_field"),
        (changed("/camera_token/table_id", json!(1.0)), 422, "wrong_field"),
        (changed("/camera_token/table_id", json!("1")), 422, "wrong_field"),
        (changed("/camera_token/table_id", json!(-1)), 422, "wrong_field"),
        (changed("/camera_token/nonce", json!([1])), 422, "wrong_field"),
        (changed("/camera_token/table_id", json!(2500)), 422, "malformed_token"),
        (changed("/camera_token/table_id", json!(u64::MAX)), 422, "malformed_token"),
        (changed("/camera_token/key_index", Value::Null), 422, "malformed_token"),
        (changed("/camera_token/nonce", json!("zz".repeat(12))), 422, "malformed_token"),
        (changed("/camera_token/ciphertext", json!("00".repeat(56))), 422, "malformed_token"),
        (changed("/manufacturer_authority_id", json!("OTHER_MFG")), 422, "wrong_authority"),
        (changed("/manufacturer_authority_id", json!("")), 422, "wrong_authority"),
        (format!("{}{}", good, " ".repeat(8 * 1024)), 413, "too_large"),
    ] {
        let (answered, problem) = authority.post_bytes(None, "/validate", body.clone().into()).await;
        assert_eq!((answered, problem["code"].as_str()), (status, Some(code)), "{body:.200}");
        assert_eq!(problem.get("valid"), None);
    }
    assert_eq!(authority.uses(), 0);
}

#[tokio::test]
async fn only_an_aggregator_may_ask() {
    let authority = Authority::with_tokens();
    let asked = authority.camera(1).await.question();
    assert_eq!(authority.post_as(None, "/validate", &asked).await.0, 401);
    assert_eq!(authority.post_as(Some("admin"), "/validate", &asked).await.0, 403);
    assert_eq!(authority.uses(), 0);
    assert_eq!(authority.verdict_for(Some("aggregator-1"), &asked).await, "token_valid");
}

#[tokio::test]
async fn an_error_of_ours_is_no_verdict() {
    let authority = Authority::new();
    let camera = authority.camera(1).await;
    authority.sql(|connection| {
        connection.execute_batch("PRAGMA ignore_check_constraints = 1; UPDATE device_registry SET tables = x'ffff';")
    });
    let (status, problem) = authority.post("/validate", &camera.question()).await;
    assert_eq!((status, problem["code"].as_str()), (500, Some("internal")));
    assert_eq!(problem.get("valid"), None);
    authority.sma.close().await;
    assert_eq!(authority.post("/validate", &camera.question()).await.0, 500);
}

#[tokio::test]
async fn the_seeds_mock_token_is_invalid_and_not_refused() {
    let authority = Authority::new();
    let asked = json!({
        "camera_token": {"ciphertext": "5a".repeat(64), "auth_tag": "5a".repeat(16), "nonce": "5a".repeat(12),
                         "table_id": 0, "key_index": 0},
        "manufacturer_authority_id": AUTHORITY,
    });
    assert_eq!(authority.verdict(&asked).await, "token_invalid");
}
