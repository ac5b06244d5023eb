//! What is taken in, and what its sender is told.

use serde_json::json;
use uuid::Uuid;

use crate::script::Act;
use crate::sma::{BAD, USED};
use crate::world::{World, column, resealed, submission, submission_of};

#[tokio::test]
async fn accepted_submission_is_on_disk_before_its_answer() {
    let world = World::new().await;
    world.sma.script.always(Act::Hang);
    let running = world.start().await;
    let reply = running.submit(&submission(1)).await;
    assert_eq!(reply.status, 202);

    // What a crash at this moment would leave: the files as they are, without anybody closing them.
    let image = tempfile::tempdir().unwrap();
    for file in ["signing.key", "token.keys", "aggregator.db", "aggregator.db-wal"] {
        std::fs::copy(world.folder.path().join(file), image.path().join(file)).unwrap();
    }
    world.sma.script.always(Act::Serve);
    let restarted = world.start_with(|config| config.data_dir = image.path().to_owned()).await;
    restarted.until(|figures| figures["confirmed_since_start"] == 1).await;
    assert_eq!(restarted.receipt(&reply).await["status"], "confirmed");
    assert_eq!(world.node.log().len(), 1);
}

#[tokio::test]
async fn answer_is_a_random_receipt_and_pending() {
    let world = World::new().await;
    let running = world.start().await;
    let (a, b) = (running.submit(&submission(1)).await, running.submit(&submission(2)).await);
    assert_eq!((a.status, a.body["status"].as_str()), (202, Some("pending_validation")));
    let id = |reply: &crate::world::Reply| Uuid::parse_str(reply.body["receipt_id"].as_str().unwrap()).unwrap();
    assert_eq!(id(&a).get_version_num(), 4);
    assert_ne!(id(&a), id(&b));
    assert!(a.body.get("tx_id").is_none() && a.body.get("reason").is_none());
}

#[tokio::test]
async fn same_submission_again_gets_its_receipt_and_present_status() {
    let world = World::new().await;
    world.sma.script.always(Act::Status(503));
    let running = world.start().await;
    let first = running.submit(&submission(1)).await;
    let again = running.submit(&submission(1)).await;
    assert_eq!((first.status, again.status), (202, 200));
    assert_eq!(again.body, first.body);

    world.sma.script.always(Act::Serve);
    let end = running.end_of(&submission(1)).await;
    assert_eq!((&end["receipt_id"], &end["status"]), (&first.body["receipt_id"], &json!("confirmed")));
    let last = running.submit(&submission(1)).await;
    assert_eq!((last.status, &last.body["status"], &last.body["tx_id"]), (200, &json!("confirmed"), &json!(0)));
    assert_eq!(column::<i64>(world.folder.path(), "id").len(), 1);
}

#[tokio::test]
async fn same_submission_sent_many_times_at_once_is_one() {
    let world = World::new().await;
    let running = world.start().await;
    let body = submission(1);
    let replies = futures::future::join_all((0..20).map(|_| running.submit(&body))).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 202).count(), 1);
    assert!(replies.iter().all(|reply| reply.body["receipt_id"] == replies[0].body["receipt_id"]));
    running.end_of(&body).await;
    assert_eq!((world.node.log().len(), world.sma.asked().len()), (1, 1));
}

#[tokio::test]
async fn pending_submission_does_not_block_another_token_for_the_same_photo() {
    let world = World::new().await;
    world.sma.script.first(&[Act::Hang]);
    let running = world.start().await;
    let poisoned = running.submit(&submission_of(1, BAD)).await;
    world.sma.script.called(1).await;
    let genuine = running.submit_and_hear(&resealed(&submission(1), 99, 0)).await;
    assert_eq!((genuine.status, &genuine.body["status"]), (200, &json!("confirmed")));
    assert_eq!(running.receipt(&poisoned).await["status"], "pending_validation");
}

#[tokio::test]
async fn rejected_submission_does_not_block_another_token_for_the_same_photo() {
    let world = World::new().await;
    let running = world.start().await;
    assert_eq!(running.end_of(&submission_of(1, USED)).await["status"], "rejected");
    let sealed_anew = running.submit_and_hear(&resealed(&submission(1), 99, 0)).await;
    assert_eq!((sealed_anew.status, &sealed_anew.body["status"]), (200, &json!("confirmed")));
    assert_eq!(running.end_of(&submission_of(1, USED)).await["status"], "rejected");
}

#[tokio::test]
async fn body_on_record_is_answered_with_its_record_whatever_the_token() {
    let world = World::new().await;
    let running = world.start().await;
    running.end_of(&submission(1)).await;
    let again = running.submit(&resealed(&submission(1), 99, BAD)).await;
    assert_eq!(again.status, 200);
    assert_eq!(again.body, json!({"status": "confirmed", "assurance": "attested", "tx_id": 0, "block_height": 100}));
    assert_eq!(column::<i64>(world.folder.path(), "id").len(), 1);
}

#[tokio::test]
async fn waiting_ends_with_the_record_and_its_proof() {
    let world = World::new().await;
    let running = world.start().await;
    let reply = running.submit_and_hear(&submission(1)).await;
    assert_eq!((reply.status, reply.headers["preference-applied"].to_str().unwrap()), (200, "wait=30"));
    assert_eq!(reply.body["status"], "confirmed");
    assert_eq!((&reply.body["tx_id"], &reply.body["block_height"]), (&json!(0), &json!(100)));
    assert_eq!(reply.body["proof"], "proof of 0");
}

#[tokio::test]
async fn waiting_ends_with_a_rejection() {
    let world = World::new().await;
    let running = world.start().await;
    let reply = running.submit_and_hear(&submission_of(1, USED)).await;
    assert_eq!((reply.status, reply.headers["preference-applied"].to_str().unwrap()), (200, "wait=30"));
    assert_eq!((&reply.body["status"], &reply.body["reason"]), (&json!("rejected"), &json!("token_used")));
    assert_eq!(reply.body["reseal"], true);
}

#[tokio::test]
async fn waiting_in_vain_ends_with_202_and_the_receipt() {
    let world = World::new().await;
    world.sma.script.always(Act::Hang);
    let running = world.start().await;
    for seconds in [1, 0] {
        let reply = running.submit_and_wait(&submission(1), seconds).await;
        assert_eq!(reply.status, 202);
        assert_eq!(reply.headers["preference-applied"].to_str().unwrap(), format!("wait={seconds}"));
        assert_eq!(reply.body["status"], "pending_validation");
    }
}

#[tokio::test]
async fn without_a_place_to_wait_the_answer_comes_at_once() {
    let world = World::new().await;
    world.sma.script.always(Act::Hang);
    let running = world.start_with(|config| config.max_waiters = 0).await;
    let reply = running.submit_and_wait(&submission(1), 30).await;
    assert_eq!(reply.status, 202);
    assert!(!reply.headers.contains_key("preference-applied"));
}

#[tokio::test]
async fn shutdown_ends_the_waiting() {
    let world = World::new().await;
    world.sma.script.always(Act::Hang);
    let running = world.start().await;
    let body = submission(1);
    let stopped = async {
        world.sma.script.called(1).await;
        running.cancel();
    };
    let (reply, ()) = tokio::join!(running.submit_and_wait(&body, 30), stopped);
    assert_eq!((reply.status, &reply.body["status"]), (202, &json!("pending_validation")));
    running.stop().await;
}

#[tokio::test]
async fn unfinished_submissions_are_bounded_and_repeats_are_still_answered() {
    let world = World::new().await;
    world.sma.script.always(Act::Status(503));
    let running = world.start_with(|config| config.max_unfinished = 2).await;
    assert_eq!(running.submit(&submission(1)).await.status, 202);
    for _ in 0..5 {
        assert_eq!(running.submit(&submission(1)).await.status, 200, "a repeat takes no place");
    }
    assert_eq!(running.submit(&submission(2)).await.status, 202);
    let refused = running.submit(&submission(3)).await;
    assert_eq!((refused.status, refused.code.as_deref()), (503, Some("backlog_full")));
    assert!(refused.retry_after.is_some());
    assert_eq!(running.submit(&submission(1)).await.status, 200);

    world.sma.script.always(Act::Serve);
    running.end_of(&submission(1)).await;
    assert_eq!(running.end_of(&submission(3)).await["status"], "confirmed");
}

#[tokio::test]
async fn without_its_database_nothing_is_accepted() {
    let world = World::new().await;
    let running = world.start().await;
    // The stages are idle after this; one that found the database closed would end the process.
    running.end_of(&submission(2)).await;
    running.close_database().await;
    let refused = running.submit(&submission(1)).await;
    assert_eq!((refused.status, refused.code.as_deref()), (503, Some("busy")));
    let ready = running.get("/ready").await;
    assert_eq!((ready.status, ready.code.as_deref()), (503, Some("not_ready")));
    assert_eq!(running.get("/health").await.status, 200);
}
