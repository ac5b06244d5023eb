use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use birthmark_camera::queue::{PhotoState, Recorded};
use birthmark_camera::upload::{DrainReport, Outcome, UploadOptions};
use birthmark_core::ids::{Height, TxId};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::aggregator::{Act, Aggregator, TX_ID};
use super::field::{DEADLINE, Field};

/// Whether a task may move between threads.
fn can_be_spawned<T: Send>(_: &T) {}

const RECORDED: Recorded = Recorded { tx_id: TxId(TX_ID), block_height: Height(3) };

async fn drained(field: &Field, url: &str) -> DrainReport {
    let uploader = field.uploader(url);
    let until = CancellationToken::new();
    timeout(DEADLINE, uploader.drain(&until, &field.on_step())).await.expect("an end in time").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn queued_photo_is_confirmed_with_its_proof_and_every_step_is_told() {
    let (field, aggregator) = (Field::new(), Aggregator::start([]).await);
    let id = field.photo(1);
    let outcome = field.uploader(&aggregator.url()).submit_one(id, Some(DEADLINE), &field.on_step()).await.unwrap();
    let proof = "photos/IMG_000001.jpg.tlog-proof";
    assert_eq!(outcome, Outcome::Confirmed { recorded: RECORDED, proof: Some(proof.into()) });
    let text = fs::read_to_string(field.path().join(proof)).unwrap();
    assert!(text.starts_with("c2sp.org/tlog-proof@v1\n"), "{text}");
    let steps = ["TokenSealed", "Submitted", "SmaPassed", "Recorded", "ReceiptId", "ProofStored"];
    assert_eq!(field.step_names(), steps);
    assert_eq!(aggregator.waits(), [Some("wait=30".to_owned())]);
    let kinds: Vec<_> = aggregator.bodies()[0]["image_hashes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| (image["modification_level"].as_u64().unwrap(), image["kind"].as_str().map(str::to_owned)))
        .collect();
    assert_eq!(kinds, [(0, None), (1, None), (1, Some("image_data".to_owned()))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_waiting_one_call_is_made_and_the_photo_stays_queued() {
    let (field, aggregator) = (Field::new(), Aggregator::start([Act::Fail(503, None)]).await);
    let id = field.photo(1);
    let outcome = field.uploader(&aggregator.url()).submit_one(id, None, &field.on_step()).await.unwrap();
    assert!(
        matches!(&outcome, Outcome::Pending { receipt: None, last_error: Some(e) } if e.contains("503")),
        "{outcome:?}"
    );
    assert_eq!(aggregator.waits(), [None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_is_down_keeps_photos_queued_and_they_are_drained_later() {
    let (field, aggregator) = (Field::new(), Aggregator::start([]).await);
    let (address, url) = (aggregator.address, aggregator.url());
    aggregator.stop().await;
    let ids: Vec<_> = (1..=3).map(|frame| field.photo(frame)).collect();
    let uploader = field.uploader(&url);
    for id in &ids {
        let outcome = uploader.submit_one(*id, None, &field.on_step()).await.unwrap();
        assert!(matches!(outcome, Outcome::Pending { receipt: None, last_error: Some(_) }), "{outcome:?}");
    }
    assert_eq!(field.queue.counts().await.unwrap().queued, 3);
    let back = Aggregator::start_at(address, []).await;
    assert_eq!(drained(&field, &url).await, DrainReport { confirmed: 3, parked: 0, pending: 0 });
    assert_eq!(back.receipts(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_no_verdict_and_one_token_is_repeated_through_all_of_them() {
    let errors = [401, 404, 408, 429, 500, 502, 503, 301].map(|status| Act::Fail(status, None));
    let (field, aggregator) =
        (Field::new(), Aggregator::start(errors.into_iter().chain([Act::Garbage, Act::Cut, Act::Confirm])).await);
    field.photo(1);
    assert_eq!(drained(&field, &aggregator.url()).await, DrainReport { confirmed: 1, parked: 0, pending: 0 });
    let nonces = aggregator.nonces();
    assert_eq!((nonces.len(), nonces.iter().collect::<BTreeSet<_>>().len()), (11, 1));
    assert_eq!(aggregator.receipts(), 1, "the cut one and the last are one submission");
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_never_answers_is_given_up_and_tried_again() {
    let (field, aggregator) = (Field::new(), Aggregator::start([Act::Hang, Act::Confirm]).await);
    let id = field.photo(1);
    let impatient = UploadOptions { answer_time: Duration::from_millis(30), ..UploadOptions::default() };
    let uploader = field.uploader_with(&aggregator.url(), impatient);
    let outcome = uploader.submit_one(id, None, &field.on_step()).await.unwrap();
    assert!(matches!(&outcome, Outcome::Pending { last_error: Some(e), .. } if e.contains("in time")), "{outcome:?}");
    field.clock.advance(10);
    assert_eq!(drained(&field, &aggregator.url()).await.confirmed, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_honoured() {
    let (field, aggregator) = (Field::new(), Aggregator::start([Act::Fail(429, Some(77))]).await);
    let id = field.photo(1);
    field.uploader(&aggregator.url()).submit_one(id, None, &field.on_step()).await.unwrap();
    let row = field.queue.photo(id).await.unwrap();
    assert_eq!((row.next_try.0, row.attempts), (1_733_259_677, 1));

    let uploader = field.uploader(&aggregator.url());
    let stop = CancellationToken::new();
    let on_step = field.on_step();
    let run = uploader.drain(&stop, &on_step);
    let after = async {
        field.clock.advance(77);
        // Another photo wakes the queue; by then both are due.
        field.photo(2);
    };
    let (report, ()) = tokio::join!(timeout(DEADLINE, run), after);
    assert_eq!(report.unwrap().unwrap().confirmed, 2);
    assert_eq!(aggregator.nonces().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn permanent_refusals_are_parked_with_their_code_and_never_deleted() {
    for status in [400, 403, 413, 415, 422] {
        let (field, aggregator) = (Field::new(), Aggregator::start([Act::Fail(status, None)]).await);
        let id = field.photo(1);
        assert_eq!(drained(&field, &aggregator.url()).await, DrainReport { confirmed: 0, parked: 1, pending: 0 });
        let row = field.queue.photo(id).await.unwrap();
        let reason = row.last_error.unwrap();
        assert!(row.state == PhotoState::Parked && reason.contains("scripted"), "{reason}");
        assert_eq!(aggregator.nonces().len(), 1);
        field.queue.retry(id).await.unwrap();
        assert_eq!(drained(&field, &aggregator.url()).await.confirmed, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn used_token_is_replaced_by_a_new_one_that_is_never_the_old() {
    let (field, aggregator) = (Field::new(), Aggregator::start([Act::Reseal, Act::Reseal, Act::Confirm]).await);
    let id = field.photo(1);
    assert_eq!(drained(&field, &aggregator.url()).await.confirmed, 1);
    let nonces = aggregator.nonces();
    assert_eq!((nonces.len(), nonces.iter().collect::<BTreeSet<_>>().len()), (3, 3));
    assert_eq!(field.queue.photo(id).await.unwrap().seals, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_not_burnt_for_ever() {
    let (field, aggregator) = (Field::new(), Aggregator::start([const { Act::Reseal }; 9]).await);
    let id = field.photo(1);
    assert_eq!(drained(&field, &aggregator.url()).await, DrainReport { confirmed: 0, parked: 1, pending: 0 });
    assert_eq!(aggregator.nonces().len(), 3);
    assert!(field.queue.photo(id).await.unwrap().last_error.unwrap().contains("token_used"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_photo_is_parked_with_the_reason() {
    let (field, aggregator) = (Field::new(), Aggregator::start([Act::Reject]).await);
    let id = field.photo(1);
    let outcome = field.uploader(&aggregator.url()).submit_one(id, Some(DEADLINE), &field.on_step()).await.unwrap();
    assert_eq!(outcome, Outcome::Parked { reason: "token_invalid".to_owned() });
}

#[tokio::test(flavor = "multi_thread")]
async fn receipt_is_followed_and_an_unknown_one_is_submitted_again_with_the_same_token() {
    let (field, aggregator) = (Field::new(), Aggregator::start([Act::Pend, Act::Pend]).await);
    let id = field.photo(1);
    let uploader = field.uploader(&aggregator.url());
    let outcome = uploader.submit_one(id, None, &field.on_step()).await.unwrap();
    assert!(matches!(outcome, Outcome::Pending { receipt: Some(_), .. }), "{outcome:?}");
    assert_eq!(field.queue.photo(id).await.unwrap().state, PhotoState::Sent);
    aggregator.forget();
    assert_eq!(drained(&field, &aggregator.url()).await.confirmed, 1);
    let nonces = aggregator.nonces();
    assert_eq!((nonces.len(), nonces.iter().collect::<BTreeSet<_>>().len()), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_or_foreign_proofs_are_fetched_on_their_own() {
    for act in [Act::ConfirmWithoutProof, Act::ConfirmWithForeignProof] {
        let (field, aggregator) = (Field::new(), Aggregator::start([act.clone()]).await);
        let id = field.photo(1);
        let outcome = field.uploader(&aggregator.url()).submit_one(id, Some(DEADLINE), &field.on_step()).await.unwrap();
        assert!(matches!(outcome, Outcome::Confirmed { recorded: RECORDED, proof: Some(_) }), "{act:?} {outcome:?}");
        let text = fs::read_to_string(field.path().join("photos/IMG_000001.jpg.tlog-proof")).unwrap();
        assert!(text.contains(&format!("\nindex {TX_ID}\n")), "{act:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn photo_that_is_on_record_already_needs_no_receipt() {
    let (field, aggregator) = (Field::new(), Aggregator::start([Act::OnRecord]).await);
    let id = field.photo(1);
    let outcome = field.uploader(&aggregator.url()).submit_one(id, Some(DEADLINE), &field.on_step()).await.unwrap();
    assert!(matches!(outcome, Outcome::Confirmed { recorded: RECORDED, proof: Some(_) }), "{outcome:?}");
    assert_eq!(field.step_names(), ["TokenSealed", "Recorded", "ProofStored"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_uploaders_of_one_queue_submit_every_photo_once() {
    let (field, aggregator) = (Field::new(), Aggregator::start([]).await);
    for frame in 1..=40 {
        field.photo(frame);
    }
    let url = aggregator.url();
    let (one, other) = tokio::join!(drained(&field, &url), drained(&field, &url));
    assert_eq!((one.confirmed + other.confirmed, one.pending + other.pending), (40, 0));
    assert_eq!((aggregator.nonces().len(), aggregator.receipts()), (40, 40));
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_run_lets_go_of_what_it_holds() {
    let (field, aggregator) = (Field::new(), Aggregator::start([Act::Hang]).await);
    field.photo(1);
    let (uploader, stop) = (field.uploader(&aggregator.url()), CancellationToken::new());
    let on_step = |step: birthmark_camera::capture::Step| {
        if matches!(step, birthmark_camera::capture::Step::TokenSealed { .. }) {
            stop.cancel();
        }
    };
    let run = uploader.run(&stop, &on_step);
    can_be_spawned(&run);
    let report = timeout(DEADLINE, run).await.unwrap().unwrap();
    assert_eq!(report, DrainReport { confirmed: 0, parked: 0, pending: 1 });
    assert_eq!(drained(&field, &Aggregator::start([]).await.url()).await.confirmed, 1);
}
