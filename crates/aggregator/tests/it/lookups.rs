//! What can be asked: receipts, hashes, the network file.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::script::Act;
use crate::world::{World, submission};

#[tokio::test]
async fn confirmed_receipt_comes_with_its_proof_unless_declined() {
    let world = World::new().await;
    let running = world.start().await;
    let reply = running.submit(&submission(1)).await;
    running.end_of(&submission(1)).await;
    let receipt = running.receipt(&reply).await;
    assert_eq!((&receipt["status"], &receipt["proof"]), (&json!("confirmed"), &json!("proof of 0")));
    let path = format!("/api/v1/submission/{}", reply.body["receipt_id"].as_str().unwrap());
    assert!(running.get(&format!("{path}?proof=0")).await.body.get("proof").is_none());
    assert_eq!(running.get(&format!("{path}?proof=yes")).await.code.as_deref(), Some("malformed_query"));
}

#[tokio::test]
async fn receipt_is_answered_without_its_proof_while_the_node_is_away() {
    let world = World::new().await;
    let running = world.start().await;
    world.node.verify.always(Act::Status(503));
    let reply = running.submit_and_hear(&submission(1)).await;
    assert_eq!((reply.status, &reply.body["status"]), (200, &json!("confirmed")));
    assert!(reply.body.get("proof").is_none());
    world.node.verify.always(Act::Serve);
    assert_eq!(running.receipt(&reply).await["proof"], "proof of 0");
}

#[tokio::test]
async fn proof_of_another_record_is_not_passed_off_as_ours() {
    let world = World::new().await;
    let running = world.start().await;
    running.end_of(&submission(1)).await;
    // The same raw with another picture made of it: the node shows the raw's first record.
    let mut other = submission(2);
    let raw = submission(1)["image_hashes"][0]["image_hash"].clone();
    other["image_hashes"][0]["image_hash"] = raw.clone();
    other["image_hashes"][1]["parent_image_hash"] = raw;
    let end = running.end_of(&other).await;
    assert_eq!((&end["tx_id"], &end["proof"]), (&json!(1), &json!("proof of 1")));
}

#[tokio::test]
async fn unknown_and_malformed_receipts_are_told_apart() {
    let world = World::new().await;
    let running = world.start().await;
    let unknown = running.get(&format!("/api/v1/submission/{}", Uuid::from_u128(1))).await;
    assert_eq!((unknown.status, unknown.code.as_deref()), (404, Some("unknown_receipt")));
    for bad in ["x", "123", "%00", "%ff", "00000000000000000000000000000001"] {
        let reply = running.get(&format!("/api/v1/submission/{bad}")).await;
        assert_eq!((reply.status, reply.code.as_deref()), (422, Some("wrong_receipt")), "{bad}");
    }
}

#[tokio::test]
async fn verify_passes_the_nodes_answer_on() {
    let world = World::new().await;
    let running = world.start().await;
    running.end_of(&submission(1)).await;
    let hash = submission(1)["image_hashes"][1]["image_hash"].as_str().unwrap().to_owned();
    let reply = running.get(&format!("/api/v1/verify/{}", hash.to_uppercase())).await;
    assert_eq!((reply.status, &reply.body["verified"], &reply.body["tx_id"]), (200, &json!(true), &json!(0)));
    assert_eq!(reply.headers["content-type"], "application/json");

    let miss = "77".repeat(32);
    for (query, passed) in [("", ""), ("?proof=1", "proof=1"), ("?proof=0", "proof=0"), ("?x=1", "")] {
        let reply = running.get(&format!("/api/v1/verify/{miss}{query}")).await;
        assert_eq!((&reply.body["recorded"], &reply.body["query"]), (&json!(false), &json!(passed)));
    }
}

#[tokio::test]
async fn malformed_hash_is_refused_without_asking_the_node() {
    let world = World::new().await;
    let running = world.start().await;
    for bad in ["x".to_owned(), "ab".repeat(31), "ab".repeat(33), "zz".repeat(32), "%D9%A3".repeat(64)] {
        let reply = running.get(&format!("/api/v1/verify/{bad}")).await;
        assert_eq!((reply.status, reply.code.as_deref()), (422, Some("malformed_hash")), "{bad}");
    }
    assert_eq!(world.node.verify.calls(), 0);
}

#[tokio::test]
async fn node_that_cannot_be_asked_is_never_taken_for_a_miss() {
    let world = World::new().await;
    let running = world.start().await;
    let path = format!("/api/v1/verify/{}", "77".repeat(32));
    for act in [
        Act::Status(503),
        Act::Status(404),
        Act::Status(500),
        Act::Garbage,
        Act::NoResults,
        Act::OffTopic,
        Act::RetryAfter(7),
    ] {
        world.node.verify.first(&[act]);
        let reply = running.get(&path).await;
        assert_eq!((reply.status, reply.code.as_deref()), (503, Some("registry_unavailable")), "{act:?}");
        let expected = if act == Act::RetryAfter(7) { 7 } else { 2 };
        assert_eq!(reply.retry_after.map(|after| after.as_secs()), Some(expected));
    }
}

#[tokio::test]
async fn network_file_is_served_as_it_was_read() {
    let world = World::new().await;
    let running = world.start().await;
    let reply = running.get("/network.json").await;
    assert_eq!(reply.body, serde_json::from_slice::<Value>(&world.network_file).unwrap());
    assert_eq!(running.get("/ready").await.body, json!({"status": "ready"}));
}

#[tokio::test]
async fn description_and_its_page_are_served_with_all_that_the_page_needs() {
    let world = World::new().await;
    let running = world.start().await;
    let described = running.get("/openapi.json").await.body;
    for path in described["paths"].as_object().unwrap().keys().filter(|path| !path.contains('{')) {
        assert_ne!(running.get(path).await.status, 404, "{path}");
    }
    let (headers, page) = running.fetch("/docs").await;
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"), "{policy}");
    let page = String::from_utf8(page.to_vec()).unwrap();
    let mut files = 0;
    for path in page.split('"').filter(|text| text.starts_with('/')) {
        let (headers, content) = running.fetch(path).await;
        assert!(!content.is_empty());
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        files += 1;
    }
    assert_eq!(files, 8);
}
