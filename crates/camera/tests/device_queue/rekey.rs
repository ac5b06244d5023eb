//! The authority's endorsement key has changed: which network files a camera goes on with, and which not.

use std::fs;

use birthmark_camera::queue::{PhotoId, PhotoState};
use birthmark_camera::upload::Outcome;
use birthmark_core::network::EndorsementKeyState::{Current, Previous};
use birthmark_core::network::MAX_FILE_LEN;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::aggregator::{Act, Aggregator};
use super::authority::Authority;
use super::field::{DEADLINE, Field};
use super::world::{as_value, authority, device_config, endorsement_key, network, network_of, rewritten};

fn before() -> Vec<u8> {
    network(&[(1, Current)])
}

fn after() -> Vec<u8> {
    network(&[(1, Previous), (2, Current)])
}

/// A camera that knows key 1, and an aggregator whose authority signs with key 2 only.
async fn rekeyed() -> (Field, Aggregator) {
    let field = Field::with(device_config(as_value(&before())));
    (field, Aggregator::start_with(Authority::signing(&[2]), []).await)
}

async fn drain(field: &Field, url: &str) -> usize {
    let uploader = field.uploader(url);
    let until = CancellationToken::new();
    timeout(DEADLINE, uploader.drain(&until, &field.on_step())).await.expect("an end in time").unwrap().confirmed
}

/// One try, and what is then said of the photograph.
async fn refusal(field: &Field, aggregator: &Aggregator, id: PhotoId) -> String {
    let outcome = field.uploader(&aggregator.url()).submit_one(id, None, &field.on_step()).await.unwrap();
    let Outcome::Pending { last_error: Some(error), .. } = outcome else { panic!("{outcome:?}") };
    error
}

fn key_ids(aggregator: &Aggregator) -> Vec<String> {
    let id = |token: &Value| token["binding"]["key_id"].as_str().unwrap().to_owned();
    aggregator.tokens().iter().map(id).collect()
}

fn id_of(number: u8) -> String {
    endorsement_key(number, Current).key_id.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn newer_network_file_is_fetched_once_kept_and_sealed_by() {
    let (mut field, aggregator) = rekeyed().await;
    aggregator.offer(after());
    for frame in 1..=16 {
        field.photo(frame);
    }
    assert_eq!(drain(&field, &aggregator.url()).await, 16);
    assert_eq!(aggregator.network_asked(), 1);
    assert_eq!(fs::read(field.path().join("network.json")).unwrap(), after());
    let ids = key_ids(&aggregator);
    assert_eq!(ids.iter().filter(|id| **id == id_of(2)).count(), 16);
    let passed = aggregator.authority(|authority| authority.passed());
    assert_eq!(passed.len(), 16);

    field.restart().await;
    field.photo(17);
    assert_eq!(drain(&field, &aggregator.url()).await, 1);
    assert_eq!((aggregator.network_asked(), key_ids(&aggregator).pop()), (1, Some(id_of(2))));
    let steps = field.steps.lock().unwrap();
    let reasons = steps.iter().map(ToString::to_string).filter(|step| step.contains("(rekey)")).count();
    assert!((1..=16).contains(&reasons), "{reasons}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_network_file_the_photograph_waits_with_its_token_and_says_why() {
    let (field, aggregator) = rekeyed().await;
    let id = field.photo(1);
    let error = refusal(&field, &aggregator, id).await;
    assert!(error.contains("key has changed") && error.contains("404"), "{error}");
    let error = refusal(&field, &aggregator, id).await;
    assert!(error.contains("404"), "{error}");
    aggregator.offer(before());
    let error = refusal(&field, &aggregator, id).await;
    assert!(error.contains("does not say so yet"), "{error}");
    let row = field.queue.photo(id).await.unwrap();
    assert_eq!((row.state, row.seals), (PhotoState::Queued, 1));
    assert_eq!(key_ids(&aggregator), [id_of(1), id_of(1), id_of(1)]);

    aggregator.offer(after());
    assert_eq!(drain(&field, &aggregator.url()).await, 1);
    assert_eq!(field.queue.photo(id).await.unwrap().seals, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn key_that_is_refused_for_a_while_is_tried_again_and_never_parks_a_photograph() {
    // Nodes that hear of a new key later than the camera refuse it in the same words.
    const TRIES: usize = 12;
    let (field, aggregator) = rekeyed().await;
    let id = field.photo(1);
    for token in 1..=5 {
        assert_eq!(field.queue.photo(id).await.unwrap().seals, token - 1);
        for _ in 0..TRIES {
            refusal(&field, &aggregator, id).await;
        }
        assert_eq!(field.queue.photo(id).await.unwrap().seals, token);
    }
    aggregator.authority(|authority| authority.sign_with(&[1]));
    assert_eq!(drain(&field, &aggregator.url()).await, 1);
    assert!(key_ids(&aggregator).iter().all(|key| *key == id_of(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn receipt_that_is_followed_ends_in_rekey_too() {
    let field = Field::with(device_config(as_value(&before())));
    let aggregator = Aggregator::start_with(Authority::signing(&[2]), [Act::Pend]).await;
    let id = field.photo(1);
    let outcome = field.uploader(&aggregator.url()).submit_one(id, None, &field.on_step()).await.unwrap();
    assert!(matches!(outcome, Outcome::Pending { receipt: Some(_), .. }), "{outcome:?}");
    let error = refusal(&field, &aggregator, id).await;
    assert!(error.contains("404"), "{error}");
    assert_eq!(field.queue.photo(id).await.unwrap().state, PhotoState::Sent, "asked about again");
    aggregator.offer(after());
    assert_eq!(drain(&field, &aggregator.url()).await, 1);
    assert_eq!(key_ids(&aggregator), [id_of(1), id_of(2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn malicious_network_files_are_refused_and_nothing_is_sealed_by_them() {
    let (field, aggregator) = rekeyed().await;
    let id = field.photo(1);
    let mut forged = as_value(&after());
    forged["signatures"][0]["signature"] = json!("00".repeat(64));
    let both = || vec![authority(&[(1, Previous), (2, Current)])];
    let cases = [
        ("another network's", network_of(2, |builder| builder.authorities = both())),
        ("lacks endorsement key", network(&[(2, Current)])),
        ("signature 1", forged.to_string().into_bytes()),
        ("signatures", rewritten(&after(), 2, |_| ())),
        ("authority 1", network_of(1, |builder| builder.authorities.clear())),
        (
            "token key",
            network_of(1, |builder| {
                builder.authorities = both();
                builder.authorities[0].token_key = Some(birthmark_core::network::TokenKey::from_bytes([9; 32]));
            }),
        ),
        ("malformed", b"<html>".to_vec()),
        ("more than", vec![b' '; MAX_FILE_LEN + 1]),
    ];
    for (named, file) in cases {
        aggregator.offer(file);
        let error = refusal(&field, &aggregator, id).await;
        assert!(error.contains(named), "{named}: {error}");
        assert!(!field.path().join("network.json").exists(), "{named}");
    }
    assert_eq!(field.queue.photo(id).await.unwrap().seals, 1);
    assert!(key_ids(&aggregator).iter().all(|id| *id == id_of(1)));
    assert!(aggregator.authority(|authority| authority.passed()).is_empty());

    // The key that the camera knows signs again: its own token passes.
    aggregator.authority(|authority| authority.sign_with(&[1, 2]));
    aggregator.forget();
    assert_eq!(drain(&field, &aggregator.url()).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn file_that_a_person_puts_beside_the_configuration_serves_without_asking() {
    let (field, aggregator) = rekeyed().await;
    let id = field.photo(1);
    let uploader = field.uploader(&aggregator.url());
    let outcome = uploader.submit_one(id, None, &field.on_step()).await.unwrap();
    assert!(matches!(outcome, Outcome::Pending { .. }), "{outcome:?}");
    fs::write(field.path().join("network.json"), after()).unwrap();
    let outcome = uploader.submit_one(id, Some(DEADLINE), &field.on_step()).await.unwrap();
    assert!(matches!(outcome, Outcome::Confirmed { .. }), "{outcome:?}");
    assert_eq!(aggregator.network_asked(), 1, "only before it was there");
}

#[tokio::test(flavor = "multi_thread")]
async fn authority_between_two_keys_makes_photographs_wait_for_the_second() {
    let (field, aggregator) = rekeyed().await;
    fs::write(field.path().join("network.json"), network(&[(1, Previous)])).unwrap();
    let id = field.photo(1);
    let error = refusal(&field, &aggregator, id).await;
    assert!(error.contains("current endorsement key"), "{error}");
    assert!(aggregator.tokens().is_empty());
    aggregator.offer(after());
    assert_eq!(drain(&field, &aggregator.url()).await, 1);
    assert_eq!(key_ids(&aggregator), [id_of(2)]);
}
