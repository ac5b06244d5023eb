//! How much one client may submit, and submitting much at once.

use std::time::Duration;

use birthmark_service::rate_limit::Quota;
use http::{HeaderMap, Method};
use serde_json::{Value, json};

use crate::camera::bound;
use crate::script::Act;
use crate::sma::BAD;
use crate::world::{Reply, Running, World, resealed, submission, submission_of};

fn quota(requests: u32) -> Quota {
    Quota { requests, window: Duration::from_mins(10) }
}

async fn submit_as(running: &Running, client: &str, body: &Value) -> Reply {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "application/json".parse().unwrap());
    headers.insert("x-forwarded-for", client.parse().unwrap());
    running.send_with(Method::POST, "/api/v1/submit", headers, body.to_string()).await
}

async fn submit_all(running: &Running, submissions: &[Value]) -> Reply {
    let body = json!({"submissions": submissions}).to_string();
    running.send(Method::POST, "/api/v1/submit/batch", None, body).await
}

fn statuses(reply: &Reply) -> Vec<u64> {
    reply.body["results"].as_array().unwrap().iter().map(|result| result["http_status"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn client_is_told_where_it_stands_and_then_to_come_back() {
    let world = World::new().await;
    let running = world.start_with(|config| config.rate_limit = Some(quota(3))).await;
    for (number, left) in [(1, 2), (1, 1), (2, 0)] {
        let reply = running.submit(&submission(number)).await;
        assert!(reply.status < 300, "{reply:?}");
        assert_eq!(reply.headers["ratelimit-policy"], "\"default\";q=3;w=600");
        assert!(reply.headers["ratelimit"].to_str().unwrap().starts_with(&format!("\"default\";r={left};t=")));
    }
    let refused = running.submit(&submission(3)).await;
    assert_eq!((refused.status, refused.code.as_deref()), (429, Some("rate_limited")));
    assert!((590..=600).contains(&refused.retry_after.unwrap().as_secs()));
    // Asking is not limited, nor is the same client's share used up by what is not JSON.
    assert_eq!(running.get("/api/v1/status").await.status, 200);
}

#[tokio::test]
async fn forwarded_address_counts_from_a_trusted_proxy_only() {
    let world = World::new().await;
    let trusting = world
        .start_with(|config| {
            config.rate_limit = Some(quota(1));
            config.trusted_proxies = ["127.0.0.1".parse().unwrap()].into_iter().collect();
        })
        .await;
    assert_eq!(submit_as(&trusting, "203.0.113.1", &submission(1)).await.status, 202);
    assert_eq!(submit_as(&trusting, "203.0.113.2", &submission(2)).await.status, 202);
    assert_eq!(submit_as(&trusting, "198.51.100.1, 203.0.113.2", &submission(3)).await.status, 429);
    trusting.stop().await;
    let strict = world.start_with(|config| config.rate_limit = Some(quota(1))).await;
    assert_eq!(submit_as(&strict, "203.0.113.1", &submission(4)).await.status, 202);
    assert_eq!(submit_as(&strict, "203.0.113.2", &submission(5)).await.status, 429);
}

#[tokio::test]
async fn batch_counts_as_many_as_it_holds_and_is_taken_as_a_whole_or_not_at_all() {
    let world = World::new().await;
    let running = world.start_with(|config| config.rate_limit = Some(quota(6))).await;
    assert_eq!(statuses(&submit_all(&running, &[submission(1), submission(2), submission(3)]).await), [202; 3]);
    let refused = submit_all(&running, &[submission(4), submission(5), submission(6), submission(7)]).await;
    assert_eq!((refused.status, refused.code.as_deref()), (429, Some("rate_limited")), "which itself counts for one");
    assert_eq!(statuses(&submit_all(&running, &[submission(4), submission(5)]).await), [202; 2]);
}

#[tokio::test]
async fn what_is_malformed_counts_too() {
    let world = World::new().await;
    for path in ["/api/v1/submit", "/api/v1/submit/batch"] {
        let running = world.start_with(|config| config.rate_limit = Some(quota(2))).await;
        for (body, status) in [("{", 400), ("7", 422), ("{", 429)] {
            assert_eq!(running.send(Method::POST, path, None, body).await.status, status, "{path} {body}");
        }
        running.stop().await;
    }
}

#[tokio::test]
async fn one_of_a_batch_is_no_longer_than_it_may_be_alone() {
    let world = World::new().await;
    let running = world.start().await;
    let mut long = submission(1);
    long["padding"] = json!("x".repeat(64 * 1024));
    let alone = running.submit(&long).await;
    let reply = submit_all(&running, &[long, submission(2)]).await;
    assert_eq!((alone.status, statuses(&reply)), (413, vec![413, 202]));
    assert_eq!(reply.body["results"][0]["problem"]["code"].as_str(), alone.code.as_deref());
}

#[tokio::test]
async fn each_of_a_batch_is_answered_as_if_it_came_alone() {
    let world = World::new().await;
    let running = world.start().await;
    let known = running.submit(&submission(1)).await;
    running.end_of(&submission(1)).await;
    let mut malformed = submission(3);
    malformed["camera_token"]["nonce"] = json!("xyz");
    let mut stranger = submission(4);
    stranger["manufacturer_cert"]["authority_id"] = json!("NOBODY");
    let batch = [
        bound(&world, 2),
        submission(1),
        malformed,
        resealed(&submission(1), 99, BAD),
        stranger,
        json!(7),
        submission(5),
        submission(5),
        submission_of(6, BAD),
    ];
    let reply = submit_all(&running, &batch).await;
    assert_eq!(reply.status, 200);
    assert_eq!(statuses(&reply), [202, 200, 422, 200, 422, 422, 202, 200, 202]);
    let results = reply.body["results"].as_array().unwrap();
    assert_eq!(results[1]["receipt_id"], known.body["receipt_id"]);
    let codes: Vec<_> = [2, 4, 5].iter().map(|at| results[*at]["problem"]["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["wrong_token", "unknown_authority", "wrong_field"]);
    assert_eq!((&results[3]["status"], &results[3]["tx_id"]), (&json!("confirmed"), &json!(0)));
    assert_eq!(results[6]["receipt_id"], results[7]["receipt_id"]);
    for (body, status) in [(&batch[0], "confirmed"), (&batch[6], "confirmed"), (&batch[8], "rejected")] {
        assert_eq!(running.end_of(body).await["status"], status);
    }
}

#[tokio::test]
async fn batch_of_a_hundred_is_taken_and_other_sizes_are_refused() {
    let world = World::new().await;
    world.sma.script.always(Act::Status(503));
    let running = world.start().await;
    let hundred: Vec<_> = (1..=100).map(|number| bound(&world, number)).collect();
    assert_eq!(statuses(&submit_all(&running, &hundred).await), [202; 100]);
    let more: Vec<_> = (1..=101).map(submission).collect();
    for (batch, code) in [(&more[..], "wrong_batch"), (&[], "wrong_batch")] {
        let refused = submit_all(&running, batch).await;
        assert_eq!((refused.status, refused.code.as_deref()), (422, Some(code)));
    }
    for (body, status) in [("{}", 422), ("[]", 422), ("{\"submissions\": [", 400), ("{\"submissions\": 1}", 422)] {
        assert_eq!(running.send(Method::POST, "/api/v1/submit/batch", None, body).await.status, status, "{body}");
    }
}
