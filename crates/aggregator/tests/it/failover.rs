//! Several nodes: the next is used when one fails, and nothing is lost on the way.

use std::sync::Arc;

use serde_json::json;

use crate::node::Node;
use crate::script::Act;
use crate::world::{Running, World, nowhere, submission};

async fn two(world: &World) -> (Running, Arc<Node>) {
    let second = Node::new(Arc::clone(&world.network));
    let url = world.serve_node(&second).await;
    let running = world.start_with(|config| config.node_urls = vec![world.node_url(), url]).await;
    (running, second)
}

async fn verified(running: &Running, number: u8) -> serde_json::Value {
    let hash = submission(number)["image_hashes"][0]["image_hash"].as_str().unwrap().to_owned();
    running.get(&format!("/api/v1/verify/{hash}")).await.body["verified"].clone()
}

#[tokio::test]
async fn a_node_that_is_not_there_is_passed_over_for_posts_and_for_look_ups() {
    let world = World::new().await;
    let urls = vec![format!("http://{}", nowhere()), world.node_url()];
    let running = world.start_with(|config| config.node_urls = urls).await;
    assert_eq!(verified(&running, 1).await, json!(false), "an answer, from the second");
    assert_eq!(running.end_of(&submission(1)).await["status"], "confirmed");
    assert_eq!(verified(&running, 1).await, json!(true));
    assert_eq!(world.node.log().len(), 1);
}

#[tokio::test]
async fn a_node_that_begins_to_fail_is_left_and_the_other_one_stays_in_use() {
    let world = World::new().await;
    let (running, second) = two(&world).await;
    running.end_of(&submission(1)).await;
    world.node.script.always(Act::Status(503));
    world.node.verify.always(Act::Garbage);
    assert_eq!(running.end_of(&submission(2)).await["status"], "confirmed");
    assert_eq!(verified(&running, 2).await, json!(true));
    world.node.script.always(Act::Serve);
    running.end_of(&submission(3)).await;
    assert_eq!(
        (world.node.log().len(), second.log().len()),
        (1, 2),
        "once left, it is not asked while the other works"
    );
}

#[tokio::test]
async fn look_ups_that_a_node_is_too_busy_for_do_not_move_the_posts() {
    let world = World::new().await;
    let (running, second) = two(&world).await;
    running.end_of(&submission(1)).await;
    world.node.verify.always(Act::Busy);
    assert_eq!(verified(&running, 1).await, json!(false), "an answer, from the second");
    running.end_of(&submission(2)).await;
    assert_eq!((world.node.log().len(), second.log().len()), (2, 0));
}

#[tokio::test]
async fn a_node_that_takes_and_never_records_is_left() {
    let world = World::new().await;
    let (running, second) = two(&world).await;
    world.node.script.always(Act::OnlyAccept);
    assert_eq!(running.end_of(&submission(1)).await["status"], "confirmed");
    assert_eq!(second.log().len(), 1);
}

#[tokio::test]
async fn while_all_are_away_everything_waits_and_then_is_recorded_once() {
    let world = World::new().await;
    let (running, second) = two(&world).await;
    for node in [&world.node, &second] {
        node.script.always(Act::Status(500));
        node.verify.always(Act::Status(500));
    }
    let reply = running.submit(&submission(1)).await;
    assert_eq!(reply.status, 202);
    running.until(|figures| figures["validated"] == 1).await;
    let hash = submission(1)["image_hashes"][0]["image_hash"].as_str().unwrap().to_owned();
    let asked = running.get(&format!("/api/v1/verify/{hash}")).await;
    assert_eq!((asked.status, asked.code.as_deref()), (503, Some("registry_unavailable")), "an error is no verdict");
    second.script.always(Act::Serve);
    assert_eq!(running.end_of(&submission(1)).await["status"], "confirmed");
    assert_eq!((world.node.log().len(), second.log().len()), (0, 1));
}
