//! What a restart finds, and what keeps an aggregator from starting.

use std::sync::Arc;

use birthmark_aggregator::{Aggregator, AggregatorConfig, AggregatorError, SIGNING_KEY_FILE};
use birthmark_core::ids::{AuthorityId, SubmitterName};
use birthmark_service::secret_file;
use serde_json::json;

use crate::script::Act;
use crate::sma::BAD;
use crate::world::{World, submission, submission_of};

#[tokio::test]
async fn unjudged_submissions_are_judged_after_a_restart() {
    let world = World::new().await;
    world.sma.script.always(Act::Status(503));
    let running = world.start().await;
    let reply = running.submit(&submission(1)).await;
    world.sma.script.called(1).await;
    running.kill().await;

    world.sma.script.always(Act::Serve);
    let running = world.start().await;
    running.until(|figures| figures["confirmed_since_start"] == 1).await;
    assert_eq!(running.receipt(&reply).await["status"], "confirmed");
}

#[tokio::test]
async fn verdict_that_was_lost_on_its_way_is_asked_for_under_the_same_request_id() {
    let world = World::new().await;
    world.sma.script.always(Act::ServeAndCut);
    let running = world.start().await;
    running.submit(&submission(1)).await;
    world.sma.script.called(1).await;
    running.kill().await;

    world.sma.script.always(Act::Serve);
    let running = world.start().await;
    assert_eq!(running.end_of(&submission(1)).await["status"], "confirmed");
    let asked = world.sma.asked();
    assert!(asked.len() >= 2 && asked.iter().all(|id| *id == asked[0]), "{asked:?}");
}

#[tokio::test]
async fn validated_submissions_are_recorded_after_a_restart_without_asking_the_authority_again() {
    let world = World::new().await;
    world.node.script.always(Act::Status(503));
    let running = world.start().await;
    let reply = running.submit(&submission(1)).await;
    world.node.script.called(1).await;
    running.kill().await;

    world.node.script.always(Act::Serve);
    let running = world.start().await;
    running.until(|figures| figures["confirmed_since_start"] == 1).await;
    assert_eq!(running.receipt(&reply).await["status"], "confirmed");
    assert_eq!(world.sma.asked().len(), 1);
}

#[tokio::test]
async fn record_whose_answer_was_lost_is_found_and_not_made_twice() {
    let world = World::new().await;
    world.node.script.always(Act::ServeAndCut);
    let running = world.start().await;
    running.submit(&submission(1)).await;
    world.node.script.called(1).await;
    running.kill().await;
    assert_eq!(world.node.log().len(), 1);

    world.node.script.always(Act::Serve);
    let running = world.start().await;
    assert_eq!(running.end_of(&submission(1)).await["tx_id"], 0);
    assert_eq!(world.node.log().len(), 1);
}

#[tokio::test]
async fn ends_are_remembered_and_nothing_is_asked_again() {
    let world = World::new().await;
    let running = world.start().await;
    running.end_of(&submission(1)).await;
    running.end_of(&submission_of(2, BAD)).await;
    let calls = (world.sma.script.calls(), world.node.script.calls());
    running.stop().await;

    let running = world.start().await;
    assert_eq!(running.end_of(&submission(1)).await["tx_id"], 0);
    assert_eq!(running.end_of(&submission_of(2, BAD)).await["reason"], "token_invalid");
    let recorded = running.submit(&crate::world::resealed(&submission(1), 99, BAD)).await;
    assert_eq!(recorded.body, json!({"status": "confirmed", "assurance": "attested", "tx_id": 0, "block_height": 100}));
    assert_eq!((world.sma.script.calls(), world.node.script.calls()), calls);
}

#[tokio::test]
async fn many_submissions_survive_many_deaths() {
    let world = World::new().await;
    let mut running = world.start().await;
    for number in 1..=40 {
        if number % 2 == 0 {
            world.sma.script.first(&[Act::ServeAndCut]);
        }
        if number % 3 == 0 {
            world.node.script.first(&[Act::ServeAndCut, Act::OnlyAccept]);
        }
        assert_eq!(running.submit(&submission(number)).await.status, 202);
        if number % 5 == 0 {
            running.kill().await;
            running = world.start().await;
        }
    }
    for number in 1..=40 {
        assert_eq!(running.end_of(&submission(number)).await["status"], "confirmed");
    }
    let mut log: Vec<_> = world.node.log().iter().map(birthmark_core::body::Body::encode).collect();
    log.sort();
    log.dedup();
    assert_eq!((log.len(), world.node.log().len()), (40, 40));
}

fn refusal(world: &World, change: impl FnOnce(&mut AggregatorConfig)) -> AggregatorError {
    let mut config = world.config();
    change(&mut config);
    Aggregator::open(config, Arc::new(world.clock.clone())).unwrap_err()
}

#[tokio::test]
async fn folder_is_used_by_one_at_a_time() {
    let world = World::new().await;
    let running = world.start().await;
    let error = refusal(&world, |_| {});
    assert!(matches!(error, AggregatorError::Lock(_)));
    assert!(error.to_string().contains(&world.folder.path().display().to_string()), "{error}");
    running.stop().await;
    world.start().await.stop().await;
}

#[tokio::test]
async fn missing_folder_is_named() {
    let world = World::new().await;
    let error = refusal(&world, |config| config.data_dir = "/nonexistent/aggregator".into());
    assert!(error.to_string().contains("/nonexistent/aggregator"), "{error}");
}

#[tokio::test]
async fn key_must_be_there_private_whole_and_the_network_files() {
    let world = World::new().await;
    let path = world.folder.path().join(SIGNING_KEY_FILE);
    for key in [None, Some(vec![7; 32]), Some(vec![9; 31]), Some(vec![9; 33]), Some(Vec::new())] {
        std::fs::remove_file(&path).unwrap_or_default();
        if let Some(key) = &key {
            secret_file::create(&path, key).unwrap();
        }
        let error = refusal(&world, |_| {});
        let expected = match key.as_ref().map(Vec::len) {
            Some(32) => matches!(error, AggregatorError::KeyMismatch { .. }),
            Some(0 | 31) => matches!(error, AggregatorError::KeyLength { .. }),
            None | Some(_) => matches!(error, AggregatorError::Key(_)),
        };
        assert!(expected, "{key:?}: {error}");
        assert!(error.to_string().contains("signing.key"), "{error}");
    }
}

#[tokio::test]
async fn configuration_that_cannot_work_is_refused_at_the_start() {
    let world = World::new().await;
    let name = |text: &str| AuthorityId::new(text).unwrap();
    let stranger = SubmitterName::new("stranger").unwrap();
    let cases: [(AggregatorError, &str); 8] = [
        (refusal(&world, |config| config.mix_min = 0), "mix_min must be 1 to 256, not 0"),
        (refusal(&world, |config| config.mix_min = 257), "mix_min must be 1 to 256, not 257"),
        (refusal(&world, |config| config.node_urls.clear()), "no registry node is configured"),
        (refusal(&world, |config| config.sma.clear()), "no authority is configured"),
        (refusal(&world, |config| config.sma[0].authority = name("NOBODY")), "NOBODY"),
        (refusal(&world, |config| config.sma.push(config.sma[0].clone())), "configured twice"),
        (refusal(&world, |config| config.submitter = stranger), "stranger"),
        (refusal(&world, |config| config.node_urls = vec!["ftp://node".to_owned()]), "node: "),
    ];
    for (error, text) in cases {
        assert!(error.to_string().contains(text), "{error}");
    }
}
