//! Edits by software with a credential, and limits that go with credentials.

use std::time::Duration;

use birthmark_core::batch::Assurance;
use birthmark_service::auth::issue_token_with;
use birthmark_service::rate_limit::Quota;
use http::{HeaderMap, Method};
use serde_json::{Value, json};

use crate::script::Act;
use crate::world::{AUTHORITY, Reply, Running, World, submission};

/// An authority of the network file that no tokens are asked about here.
const EDITOR: &str = "ANOTHER_MFG";

fn credential(world: &World, name: &str, role: &str, attributes: &[(&str, &str)]) -> String {
    issue_token_with(&world.folder.path().join("credentials"), name, role, attributes).unwrap().to_string()
}

async fn start(world: &World) -> Running {
    world.start_with(|config| config.credentials = Some(world.folder.path().join("credentials"))).await
}

async fn send(running: &Running, token: Option<&str>, path: &str, body: &Value) -> Reply {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "application/json".parse().unwrap());
    headers.insert("prefer", "wait=20".parse().unwrap());
    if let Some(token) = token {
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    let method = if body.is_null() { Method::GET } else { Method::POST };
    running.send_with(method, path, headers, body.to_string()).await
}

async fn submit(running: &Running, token: Option<&str>, body: &Value) -> Reply {
    send(running, token, "/api/v1/submit", body).await
}

fn refusal(reply: &Reply) -> (u16, Option<&str>) {
    (reply.status, reply.code.as_deref())
}

/// An edit of a photo's processed picture, and a smaller copy of that edit.
fn edit_of(photo: &Value, number: u8) -> Value {
    let [large, small] = [0xa0, 0xb0].map(|kind: u8| format!("{kind:02x}{}", format!("{number:02x}").repeat(31)));
    json!({
        "submission_type": "software",
        "image_hashes": [
            {"image_hash": large, "modification_level": 2, "parent_image_hash": photo["image_hashes"][1]["image_hash"]},
            {"image_hash": small, "modification_level": 2, "parent_image_hash": large},
        ],
        "manufacturer_cert": {"authority_id": EDITOR},
    })
}

#[tokio::test]
async fn edit_of_what_is_on_record_is_recorded_in_the_softwares_name_and_once() {
    let world = World::new().await;
    let token = credential(&world, "editor-1", "software", &[("authority", EDITOR)]);
    let running = start(&world).await;
    running.end_of(&submission(1)).await;
    let edit = edit_of(&submission(1), 1);
    let reply = submit(&running, Some(&token), &edit).await;
    assert_eq!((reply.status, &reply.body["status"]), (200, &json!("confirmed")), "{reply:?}");
    assert_eq!(reply.body["assurance"], "attested");
    let again = submit(&running, Some(&token), &edit).await;
    assert_eq!((again.status, &again.body["receipt_id"]), (200, &reply.body["receipt_id"]));
    let records = world.node.records();
    let body = records[1].body();
    assert_eq!((records.len(), body.authority.as_str(), records[1].assurance()), (2, EDITOR, Assurance::Attested));
    assert_eq!(world.sma.script.calls(), 1, "nobody was asked about the edit");
    let figures = running.get("/api/v1/status").await.body;
    assert_eq!((&figures["pending"], &figures["validated"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn edits_of_others_than_the_authoritys_software_are_refused() {
    let world = World::new().await;
    let good = credential(&world, "editor-1", "software", &[("authority", EDITOR)]);
    let other = credential(&world, "editor-2", "software", &[("authority", AUTHORITY)]);
    let unbound = credential(&world, "editor-3", "software", &[]);
    let unlisted = credential(&world, "editor-4", "software", &[("authority", "NOBODY")]);
    let client = credential(&world, "gate-7", "client", &[("authority", EDITOR)]);
    let running = start(&world).await;
    running.end_of(&submission(1)).await;
    let edit = edit_of(&submission(1), 1);
    let forbidden = (403, Some("software_authority_required"));
    for token in [None, Some(&other), Some(&unbound), Some(&client)] {
        assert_eq!(refusal(&submit(&running, token.map(String::as_str), &edit).await), forbidden);
    }
    assert_eq!(refusal(&submit(&running, Some("x"), &edit).await), (401, Some("unauthorized")));
    assert_eq!(refusal(&submit(&running, Some("x"), &submission(2)).await), (401, Some("unauthorized")));
    let mut stranger = edit.clone();
    stranger["manufacturer_cert"]["authority_id"] = json!("NOBODY");
    assert_eq!(refusal(&submit(&running, Some(&unlisted), &stranger).await), (422, Some("unknown_authority")));
    let orphan = edit_of(&submission(9), 1);
    assert_eq!(refusal(&submit(&running, Some(&good), &orphan).await), (422, Some("unknown_parent")));
    let batch = json!({"submissions": [orphan, edit, submission(3)]});
    let reply = send(&running, Some(&good), "/api/v1/submit/batch", &batch).await;
    let statuses: Vec<_> = reply.body["results"].as_array().unwrap().iter().map(|one| &one["http_status"]).collect();
    assert_eq!(statuses, [422, 202, 202]);
    running.stop().await;
    let without = world.start().await;
    assert_eq!(refusal(&submit(&without, Some(&good), &edit).await), forbidden, "none are kept");
}

#[tokio::test]
async fn edit_is_accepted_while_the_registry_is_away_and_recorded_when_it_is_back() {
    let world = World::new().await;
    let token = credential(&world, "editor-1", "software", &[("authority", EDITOR)]);
    let running = start(&world).await;
    running.end_of(&submission(1)).await;
    world.node.verify.always(Act::Status(503));
    world.node.script.always(Act::Status(503));
    let edit = edit_of(&submission(1), 1);
    let batch = json!({"submissions": [edit]});
    let reply = send(&running, Some(&token), "/api/v1/submit/batch", &batch).await;
    let accepted = &reply.body["results"][0];
    assert_eq!((&accepted["http_status"], &accepted["status"]), (&json!(202), &json!("validated")));
    world.node.script.always(Act::Serve);
    assert_eq!(submit(&running, Some(&token), &edit).await.body["status"], "confirmed");
}

#[tokio::test]
async fn edits_of_many_parents_are_accepted_at_once_while_the_registry_hangs() {
    let world = World::new().await;
    let token = credential(&world, "editor-1", "software", &[("authority", EDITOR)]);
    let running = start(&world).await;
    world.node.verify.always(Act::Hang);
    world.node.script.always(Act::Status(503));
    let edits: Vec<_> = (1..=20).map(|number| edit_of(&submission(number), number)).collect();
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "application/json".parse().unwrap());
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    let body = json!({"submissions": edits}).to_string();
    let sent = running.send_with(Method::POST, "/api/v1/submit/batch", headers, body);
    let reply = tokio::time::timeout(Duration::from_secs(9), sent).await.expect("one budget for all of them");
    let results = reply.body["results"].as_array().unwrap();
    assert!(results.iter().all(|one| one["http_status"] == 202), "{results:?}");
}

#[tokio::test]
async fn limits_of_credentials_hold_where_addresses_have_none() {
    let world = World::new().await;
    let small = credential(&world, "gate-7", "client", &[("limit", "1"), ("lookups", "1")]);
    let running = start(&world).await;
    let look_up = format!("/api/v1/verify/{}", "77".repeat(32));
    for status in [200, 429] {
        let reply = submit(&running, Some(&small), &submission(1)).await;
        assert_eq!(reply.status, status);
    }
    for status in [200, 429] {
        assert_eq!(send(&running, Some(&small), &look_up, &Value::Null).await.status, status);
    }
    for _ in 0..3 {
        let reply = send(&running, None, &look_up, &Value::Null).await;
        assert_eq!((reply.status, reply.headers.contains_key("ratelimit")), (200, false));
    }
}

#[tokio::test]
async fn limit_of_a_credential_is_its_own_and_that_of_an_address_holds_for_all_others() {
    let world = World::new().await;
    let large = credential(&world, "gate-7", "client", &[("limit", "3"), ("lookups", "2")]);
    let endless = credential(&world, "gate-8", "client", &[("limit", "0"), ("lookups", "0")]);
    let plain = credential(&world, "gate-9", "client", &[]);
    let quota = |requests| Some(Quota { requests, window: Duration::from_mins(10) });
    let running = world
        .start_with(|config| {
            config.credentials = Some(world.folder.path().join("credentials"));
            (config.rate_limit, config.lookup_limit) = (quota(1), quota(1));
        })
        .await;
    let look_up = format!("/api/v1/verify/{}", "77".repeat(32));
    for (token, submissions, lookups) in [(Some(&large), 3, 2), (Some(&plain), 1, 1), (None, 1, 1)] {
        let token = token.map(String::as_str);
        for left in (0..submissions).rev() {
            let reply = submit(&running, token, &submission(1)).await;
            assert_eq!(reply.headers["ratelimit-policy"], format!("\"default\";q={submissions};w=600"));
            assert!(reply.headers["ratelimit"].to_str().unwrap().starts_with(&format!("\"default\";r={left};t=")));
        }
        assert_eq!(refusal(&submit(&running, token, &submission(1)).await), (429, Some("rate_limited")));
        for _ in 0..lookups {
            let reply = send(&running, token, &look_up, &Value::Null).await;
            assert_eq!(reply.headers["ratelimit-policy"], format!("\"lookups\";q={lookups};w=600"));
        }
        let receipt = "/api/v1/submission/00000000-0000-4000-8000-000000000000";
        for path in [look_up.as_str(), receipt, "/checkpoint", "/api/v1/verify/prefix/ab"] {
            let refused = send(&running, token, path, &Value::Null).await;
            assert_eq!(refusal(&refused), (429, Some("rate_limited")), "{path}");
            assert!((590..=600).contains(&refused.retry_after.unwrap().as_secs()));
        }
    }
    for _ in 0..5 {
        let reply = submit(&running, Some(&endless), &submission(1)).await;
        assert_eq!((reply.status, reply.headers.contains_key("ratelimit")), (200, false));
        assert_eq!(send(&running, Some(&endless), &look_up, &Value::Null).await.status, 200);
    }
}
