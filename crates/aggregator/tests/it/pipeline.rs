//! From receipt to record, with counterparties that fail in every way on the way.

use std::time::Duration;

use birthmark_aggregator::SmaConfig;
use birthmark_core::ids::AuthorityId;
use serde_json::{Value, json};

use crate::node::{self, REFUSED};
use crate::script::Act;
use crate::sma::{self, BAD, GOOD, MALFORMED, SPOILER, USED};
use crate::world::{AUTHORITY, Running, World, column, nowhere, submission, submission_of};

/// Every way to fail without a verdict.
const ERRORS: &[Act] = &[
    Act::Status(500),
    Act::Status(502),
    Act::Status(503),
    Act::Status(401),
    Act::Status(403),
    Act::Status(404),
    Act::Status(408),
    Act::Status(429),
    Act::Status(302),
    Act::Garbage,
    Act::NoResults,
    Act::ServeAndCut,
    Act::Hang,
];

#[tokio::test]
async fn no_error_of_the_authority_is_a_verdict() {
    let world = World::new().await;
    world.sma.script.first(ERRORS);
    let running = world.start_with(|config| config.call_timeout = Duration::from_millis(300)).await;
    let end = running.end_of(&submission(1)).await;
    assert_eq!(end["status"], "confirmed", "{end}");
    assert_eq!(world.sma.script.calls(), ERRORS.len() + 1);
    let asked = world.sma.asked();
    assert!(asked.len() == 2 && asked[0] == asked[1], "a repeat must carry the first request id: {asked:?}");
}

#[tokio::test]
async fn no_error_of_the_node_is_a_verdict() {
    let world = World::new().await;
    // The node's time limit is longer by what it is asked to wait; hanging has a test of its own kind above.
    let errors: Vec<_> = ERRORS.iter().copied().filter(|act| *act != Act::Hang).collect();
    world.node.script.first(&errors);
    world.node.script.first(&[Act::Status(400), Act::Status(422)]);
    let running = world.start().await;
    let end = running.end_of(&submission(1)).await;
    assert_eq!((&end["status"], &end["tx_id"]), (&json!("confirmed"), &json!(0)), "{end}");
    assert_eq!((world.node.log().len(), world.sma.asked().len()), (1, 1));
}

#[tokio::test]
async fn while_the_authority_is_away_submissions_pend_and_afterwards_all_are_confirmed() {
    let world = World::new().await;
    let address = nowhere();
    let running = world.start_with(|config| config.sma[0].url = format!("http://{address}")).await;
    for number in 1..=20 {
        assert_eq!(running.submit(&submission(number)).await.status, 202);
    }
    let figures = running.until(|figures| figures["troubled"] == json!([AUTHORITY])).await;
    assert_eq!((&figures["pending"], &figures["rejected_since_start"]), (&json!(20), &json!(0)));
    world.clock.advance(3600);
    assert_eq!(running.get("/api/v1/status").await.body["backlog_oldest_seconds"], 3600);

    world.serve_sma_at(address).await;
    let figures = running.until(|figures| figures["confirmed_since_start"] == 20).await;
    let quiet = json!({
        "submitter": "aggregator_node_001", "pending": 0, "validated": 0, "backlog_oldest_seconds": 0,
        "confirmed_since_start": 20, "rejected_since_start": 0, "troubled": [], "held": [],
    });
    assert_eq!(figures, quiet);
    assert_eq!(world.node.log().len(), 20);
}

#[tokio::test]
async fn address_of_another_authority_rejects_nothing() {
    let world = World::new().await;
    world.sma.rename("ANOTHER_MFG");
    let running = world.start_with(|config| config.in_flight = 1).await;
    submit_together(&world, &running, &[GOOD, GOOD, GOOD]).await;
    world.sma.script.release();
    // Alone, together, and alone again.
    world.sma.script.called(8).await;
    let figures = running.get("/api/v1/status").await.body;
    assert_eq!((&figures["pending"], &figures["troubled"]), (&json!(4), &json!([AUTHORITY])));
    world.sma.rename(AUTHORITY);
    running.until(|figures| figures["confirmed_since_start"] == 4).await;
}

#[tokio::test]
async fn authority_that_is_away_holds_up_no_other() {
    let world = World::new().await;
    let another = AuthorityId::new("ANOTHER_MFG").unwrap();
    let away = SmaConfig { authority: another, url: format!("http://{}", nowhere()), bearer: None };
    let running = world.start_with(|config| config.sma.push(away)).await;
    let mut theirs = submission(1);
    theirs["manufacturer_cert"]["authority_id"] = json!("ANOTHER_MFG");
    let pending = running.submit(&theirs).await;
    assert_eq!(running.end_of(&submission(2)).await["status"], "confirmed");
    assert_eq!(running.receipt(&pending).await["status"], "pending_validation");
}

#[tokio::test]
async fn asked_delay_is_granted() {
    let world = World::new().await;
    world.sma.script.first(&[Act::RetryAfter(1)]);
    let running = world.start().await;
    let start = tokio::time::Instant::now();
    running.end_of(&submission(1)).await;
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn backlog_is_judged_and_posted_in_batches() {
    let world = World::new().await;
    world.sma.script.first(&[Act::Hold]);
    world.node.script.first(&[Act::Hold]);
    let running = world.start_with(|config| config.in_flight = 1).await;
    // 255 photos, and 45 of them again under another token.
    let again = (1..=45).map(|number| crate::world::resealed(&submission(number), number + 100, 9));
    let all: Vec<_> = (1..=255).map(submission).chain(again).collect();
    running.submit(&all[0]).await;
    world.sma.script.called(1).await;
    for body in &all[1..] {
        assert_eq!(running.submit(body).await.status, 202);
    }
    world.sma.script.release();
    running.until(|figures| figures["validated"] == 300).await;
    assert_eq!(world.sma.sizes(), [1, 256, 43]);
    world.node.script.release();
    running.until(|figures| figures["confirmed_since_start"] == 300).await;
    assert_eq!(world.node.sizes().iter().sum::<usize>(), 300);
    assert_eq!(world.node.sizes().iter().max(), Some(&256));
    assert_eq!(world.node.log().len(), 255);
}

#[tokio::test]
async fn failed_token_is_rejected_with_its_reason_and_whether_to_seal_anew() {
    let world = World::new().await;
    let running = world.start().await;
    for (number, table, reason, reseal) in
        [(1, BAD, "token_invalid", false), (2, USED, "token_used", true), (3, MALFORMED, "malformed_token", false)]
    {
        let end = running.end_of(&submission_of(number, table)).await;
        assert_eq!((&end["status"], &end["reason"]), (&json!("rejected"), &json!(reason)));
        assert_eq!(end["reseal"], reseal);
    }
    assert_eq!(world.node.script.calls(), 0);
}

#[tokio::test]
async fn calls_that_are_refused_as_malformed_are_verdicts() {
    let world = World::new().await;
    let running = world.start().await;
    for (number, status) in [(1, 400), (2, 413), (3, 422)] {
        world.sma.script.first(&[Act::Status(status)]);
        let end = running.end_of(&submission(number)).await;
        assert_eq!((&end["status"], &end["reason"]), (&json!("rejected"), &json!("malformed_token")), "{status}");
    }
}

/// Submits these, each of its table, so that the authority is asked about all of them together, after a
/// first one of which it was asked alone.
async fn submit_together(world: &World, running: &Running, tables: &[u64]) {
    world.sma.script.first(&[Act::Hold]);
    running.submit(&submission(100)).await;
    world.sma.script.called(1).await;
    for (number, table) in (1..).zip(tables) {
        running.submit(&submission_of(number, *table)).await;
    }
}

#[tokio::test]
async fn one_malformed_token_spoils_no_batch() {
    let world = World::new().await;
    let running = world.start_with(|config| config.in_flight = 1).await;
    let tables = [GOOD, GOOD, SPOILER, BAD, MALFORMED, GOOD];
    submit_together(&world, &running, &tables).await;
    world.sma.script.release();
    for (number, table) in (1..).zip(tables) {
        let end = running.end_of(&submission_of(number, table)).await;
        let expected = if table == GOOD { "confirmed" } else { "rejected" };
        assert_eq!(end["status"], expected, "table {table}");
    }
    assert_eq!(world.sma.sizes(), [1, 6, 1, 1, 1, 1, 1, 1]);
}

#[tokio::test]
async fn error_in_the_middle_keeps_the_verdicts_before_it() {
    let world = World::new().await;
    let running = world.start_with(|config| config.in_flight = 1).await;
    submit_together(&world, &running, &[BAD, SPOILER, GOOD]).await;
    // All together, the first alone, and an error at the second.
    world.sma.script.first(&[Act::Serve, Act::Serve, Act::Status(500)]);
    world.sma.script.release();
    assert_eq!(running.end_of(&submission_of(3, GOOD)).await["status"], "confirmed");
    assert_eq!(running.end_of(&submission_of(2, SPOILER)).await["reason"], "malformed_token");
    assert_eq!(running.end_of(&submission_of(1, BAD)).await["reason"], "token_invalid");
    // After an error of three, one at a time.
    assert_eq!(world.sma.sizes(), [1, 3, 1, 1, 1]);
}

#[tokio::test]
async fn token_is_gone_with_its_verdict_and_not_before() {
    let world = World::new().await;
    world.sma.script.always(Act::Status(503));
    world.node.script.always(Act::Status(503));
    let running = world.start().await;
    running.submit(&submission(1)).await;
    running.submit(&submission_of(2, BAD)).await;
    world.sma.script.called(1).await;
    let tokens = || column::<Option<Vec<u8>>>(world.folder.path(), "token");
    assert!(tokens().iter().all(Option::is_some));
    world.sma.script.always(Act::Serve);
    running.until(|figures| figures["validated"] == 1 && figures["rejected_since_start"] == 1).await;
    assert_eq!(tokens(), [None, None]);
    running.stop().await;
    // Not in the closed file either: deleted bytes are overwritten.
    let file = std::fs::read(world.folder.path().join("aggregator.db")).unwrap();
    assert!(!file.windows(32).any(|window| window == [0xc1; 32]));
    assert!(
        file.windows(AUTHORITY.len()).any(|window| window == AUTHORITY.as_bytes()),
        "the search must be able to find"
    );
}

#[tokio::test]
async fn while_the_node_is_away_submissions_stay_validated() {
    let world = World::new().await;
    world.node.script.always(Act::Status(503));
    let running = world.start().await;
    let reply = running.submit(&submission(1)).await;
    world.node.script.called(5).await;
    assert_eq!(running.receipt(&reply).await["status"], "validated");
    let figures = running.get("/api/v1/status").await.body;
    assert_eq!((&figures["validated"], &figures["troubled"]), (&json!(1), &json!(["registry node"])));
    world.node.script.always(Act::Serve);
    assert_eq!(running.end_of(&submission(1)).await["status"], "confirmed");
}

#[tokio::test]
async fn what_the_node_took_but_has_not_recorded_is_handed_over_again() {
    let world = World::new().await;
    world.node.script.first(&[Act::OnlyAccept, Act::OnlyAccept, Act::OnlyAccept]);
    let running = world.start().await;
    let end = running.end_of(&submission(1)).await;
    assert_eq!((&end["status"], &end["tx_id"]), (&json!("confirmed"), &json!(0)));
    assert_eq!((world.node.sizes(), world.node.log().len()), (vec![1; 4], 1));
}

fn with_raw(byte: u8) -> Value {
    let mut submission = submission(byte);
    let hash = json!(format!("{byte:02x}").repeat(32));
    submission["image_hashes"][0]["image_hash"] = hash.clone();
    submission["image_hashes"][1]["parent_image_hash"] = hash;
    submission
}

#[tokio::test]
async fn token_that_the_authority_cannot_stomach_holds_up_no_other() {
    let world = World::new().await;
    let running = world.start().await;
    let crasher = running.submit(&submission_of(200, sma::CRASHER)).await;
    world.sma.script.called(1).await;
    for number in 1..=30 {
        running.submit(&submission(number)).await;
    }
    running.until(|figures| figures["confirmed_since_start"] == 30).await;
    assert_eq!(running.receipt(&crasher).await["status"], "pending_validation");
}

#[tokio::test]
async fn body_that_the_node_cannot_stomach_holds_up_no_other() {
    let world = World::new().await;
    let running = world.start().await;
    let crasher = running.submit(&with_raw(node::CRASHER)).await;
    world.node.script.called(1).await;
    for number in 1..=30 {
        running.submit(&submission(number)).await;
    }
    running.until(|figures| figures["confirmed_since_start"] == 30).await;
    assert_eq!(running.receipt(&crasher).await["status"], "validated");
}

#[tokio::test]
async fn what_the_registry_refuses_is_rejected_and_its_neighbours_are_not() {
    let world = World::new().await;
    let running = world
        .start_with(|config| {
            config.mix_min = 2;
            config.mix_delay = Duration::from_hours(1);
        })
        .await;
    let refused = with_raw(REFUSED);
    running.submit(&refused).await;
    assert_eq!(running.end_of(&submission(2)).await["status"], "confirmed");
    let end = running.end_of(&refused).await;
    assert_eq!((&end["status"], &end["reason"]), (&json!("rejected"), &json!("unknown_authority")));
    assert_eq!(end["reseal"], false);
}

#[tokio::test]
async fn validated_submissions_are_released_together_once_enough_have_gathered() {
    let world = World::new().await;
    let running = world
        .start_with(|config| {
            config.mix_min = 3;
            config.mix_delay = Duration::from_hours(1);
        })
        .await;
    running.submit(&submission(1)).await;
    running.submit(&submission(2)).await;
    running.until(|figures| figures["validated"] == 2).await;
    assert_eq!(world.node.script.calls(), 0);
    assert_eq!(running.end_of(&submission(3)).await["status"], "confirmed");
    assert_eq!(world.node.sizes(), [3]);
}

#[tokio::test]
async fn fewer_are_released_after_the_delay() {
    let world = World::new().await;
    let running = world
        .start_with(|config| {
            config.mix_min = 3;
            config.mix_delay = Duration::from_millis(300);
        })
        .await;
    let start = tokio::time::Instant::now();
    assert_eq!(running.end_of(&submission(1)).await["status"], "confirmed");
    assert!(start.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn records_are_not_in_the_order_of_their_submission() {
    let world = World::new().await;
    world.node.script.always(Act::Status(503));
    let running = world.start_with(|config| config.in_flight = 1).await;
    for number in 1..=60 {
        running.submit(&submission(number)).await;
    }
    running.until(|figures| figures["validated"] == 60).await;
    world.node.script.always(Act::Serve);
    running.until(|figures| figures["confirmed_since_start"] == 60).await;
    let order: Vec<_> = world.node.log().iter().map(|body| body.entries.as_slice()[0].hash).collect();
    // 60 shuffled items are in order once in 60! times.
    assert!(!order.is_sorted(), "{order:?}");
}
