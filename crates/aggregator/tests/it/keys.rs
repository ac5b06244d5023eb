//! Which endorsement keys and token versions count: the network file's word, before anybody is asked.

use birthmark_core::network::EndorsementKeyState::{Current, Previous, Retired, Revoked};
use birthmark_core::network::MinTokenVersion;
use serde_json::{Value, json};

use crate::camera::{bound, sealed_for};
use crate::sma::{BAD, GOOD};
use crate::world::{AUTHORITY, SETTING, Setting, World, submission};

/// A file from before key 2.
const OLDER: Setting = Setting { theirs: &[], ..SETTING };
/// The file after it.
const NEWER: Setting = Setting { ours: &[(1, Previous), (2, Current)], ..OLDER };

fn is_rejected(end: &Value, reason: &str, reseal: bool) {
    assert_eq!((&end["status"], &end["reason"], &end["reseal"]), (&json!("rejected"), &json!(reason), &json!(reseal)));
}

#[tokio::test]
async fn keys_count_until_they_are_revoked() {
    for state in [Current, Previous, Retired] {
        let ours: &[_] = match state {
            Current => &[(1, Current)],
            Previous => &[(1, Previous)],
            _ => &[(1, Retired)],
        };
        let world = World::with(Setting { ours, ..SETTING }).await;
        let running = world.start().await;
        assert_eq!(running.end_of(&bound(&world, 1)).await["assurance"], "endorsed", "{state:?}");
    }
}

#[tokio::test]
async fn revoked_key_needs_another_token_and_no_authority() {
    let world = World::with(Setting { ours: &[(1, Revoked), (2, Current)], theirs: &[], ..SETTING }).await;
    let running = world.start().await;
    let stale = bound(&world, 1);
    is_rejected(&running.end_of(&stale).await, "rekey", true);
    assert_eq!(world.sma.script.calls(), 0);
    let sealed_anew = sealed_for(&world, &stale, GOOD, 2);
    assert_eq!(running.end_of(&sealed_anew).await["assurance"], "endorsed");
}

#[tokio::test]
async fn key_of_another_authority_needs_another_token_and_no_authority() {
    let world = World::new().await;
    let running = world.start().await;
    is_rejected(&running.end_of(&sealed_for(&world, &submission(1), GOOD, 2)).await, "rekey", true);
    assert_eq!(world.sma.script.calls(), 0);
}

#[tokio::test]
async fn key_that_only_a_newer_file_has_is_waited_for() {
    let world = World::with(NEWER).await;
    let running = world.start_in(OLDER).await;
    let ahead = sealed_for(&world, &submission(1), GOOD, 2);
    let reply = running.submit(&ahead).await;
    let held = json!([{"authority": AUTHORITY, "cause": "unknown_endorsement_key", "submissions": 1}]);
    let figures = running.until(|figures| figures["held"] == held).await;
    assert_eq!((&figures["pending"], &figures["troubled"]), (&json!(1), &json!([AUTHORITY])));
    // Others go on, and the one that waits is not asked about again.
    assert_eq!(running.end_of(&bound(&world, 2)).await["assurance"], "endorsed");
    assert_eq!(running.end_of(&submission(3)).await["assurance"], "attested");
    assert_eq!(running.receipt(&reply).await["status"], "pending_validation");
    assert_eq!(world.sma.asked().len(), 3);
    running.stop().await;

    let running = world.start_in(NEWER).await;
    assert_eq!(running.end_of(&ahead).await["assurance"], "endorsed");
    assert_eq!(running.receipt(&reply).await["status"], "confirmed");
    assert_eq!(running.get("/api/v1/status").await.body["held"], json!([]));
}

/// Or anybody could leave rows that wait for ever.
#[tokio::test]
async fn forged_token_under_an_unknown_key_is_rejected_by_the_authority() {
    let world = World::with(OLDER).await;
    let running = world.start().await;
    is_rejected(&running.end_of(&sealed_for(&world, &submission(1), BAD, 2)).await, "token_invalid", false);
    let mut made_up = bound(&world, 2);
    made_up["camera_token"]["binding"]["key_id"] = json!("0123456789abcdef");
    is_rejected(&running.end_of(&made_up).await, "token_invalid", false);
}

#[tokio::test]
async fn message_that_its_key_cannot_sign_is_malformed() {
    let world = World::new().await;
    let running = world.start().await;
    for (number, message) in [(1, "ff".repeat(256)), (2, "00".repeat(257)), (3, "11".repeat(512))] {
        let mut wrong = bound(&world, number);
        wrong["camera_token"]["binding"]["inverse"] = json!("01".repeat(message.len() / 2));
        wrong["camera_token"]["binding"]["blinded_message"] = json!(message);
        is_rejected(&running.end_of(&wrong).await, "malformed_token", false);
    }
    assert_eq!(world.sma.script.calls(), 0);
}

#[tokio::test]
async fn where_the_network_demands_version_2_a_version_1_token_is_taken_and_rejected() {
    let world = World::with(Setting { min_token_version: MinTokenVersion::V2, ..SETTING }).await;
    let running = world.start().await;
    let reply = running.submit(&submission(1)).await;
    assert_eq!((reply.status, &reply.body["status"]), (202, &json!("pending_validation")));
    is_rejected(&running.end_of(&submission(1)).await, "token_invalid", false);
    assert_eq!(world.sma.script.calls(), 0);
    assert_eq!(running.end_of(&bound(&world, 1)).await["assurance"], "endorsed");
}

#[tokio::test]
async fn key_that_the_node_does_not_take_needs_another_token() {
    for setting in [Setting { ours: &[(1, Revoked)], ..SETTING }, Setting { ours: &[], ..SETTING }] {
        let world = World::with(setting).await;
        let running = world.start_in(SETTING).await;
        is_rejected(&running.end_of(&bound(&world, 1)).await, "rekey", true);
        assert_eq!(world.sma.asked().len(), 1);
        assert!(world.node.log().is_empty());
    }
}
