//! Several aggregators: the next one is used when one fails, and no photograph gets two receipts.

use std::time::Duration;

use birthmark_camera::queue::PhotoState;
use birthmark_camera::upload::{DrainReport, Outcome, UploadOptions};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::aggregator::{Act, Aggregator};
use super::field::{DEADLINE, Field};

/// Tries a photograph again at once, but leaves an aggregator alone that has failed.
fn patient() -> UploadOptions {
    UploadOptions { retry_base: Duration::from_millis(20), poll_base: Duration::ZERO, ..UploadOptions::default() }
}

/// Gives up an aggregator at once.
fn fickle() -> UploadOptions {
    UploadOptions { move_after: Duration::ZERO, answer_time: Duration::from_millis(200), ..patient() }
}

async fn drained(field: &Field, urls: &[&str], options: UploadOptions) -> DrainReport {
    let uploader = field.uploader_to(urls, options);
    let until = CancellationToken::new();
    let on_step = field.on_step();
    let ticking = async {
        // Times in the queue have whole seconds.
        loop {
            field.clock.advance(1);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        report = timeout(DEADLINE, uploader.drain(&until, &on_step)) => report.expect("an end in time").unwrap(),
        () = ticking => unreachable!(),
    }
}

/// An address at which nobody listens.
async fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_down_makes_way_at_once_and_the_next_is_kept() {
    let (field, b) = (Field::new(), Aggregator::start([]).await);
    let id = field.photo(1);
    let down = nowhere().await;
    // Even one try asks both.
    let uploader = field.uploader_to(&[&down, &b.url()], patient());
    let outcome = uploader.submit_one(id, None, &field.on_step()).await.unwrap();
    assert!(matches!(outcome, Outcome::Confirmed { .. }), "{outcome:?}");
    for frame in 2..=20 {
        field.photo(frame);
    }
    let back = Aggregator::start_at(down.strip_prefix("http://").unwrap().parse().unwrap(), []).await;
    let (until, on_step) = (CancellationToken::new(), field.on_step());
    let report = timeout(DEADLINE, uploader.drain(&until, &on_step)).await.unwrap().unwrap();
    assert_eq!(report.confirmed, 19);
    assert_eq!((back.receipts(), b.receipts()), (0, 20), "the second one answers, so it is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_takes_nothing_now_is_left_alone_and_the_next_has_the_same_token() {
    for act in [Act::Fail(429, Some(77)), Act::Fail(503, Some(3)), Act::Fail(404, None), Act::Fail(301, None)] {
        let (field, a) = (Field::new(), Aggregator::start([act.clone()]).await);
        let b = Aggregator::start([]).await;
        field.photo(1);
        assert_eq!(drained(&field, &[&a.url(), &b.url()], patient()).await.confirmed, 1, "{act:?}");
        assert_eq!((a.receipts(), b.receipts()), (0, 1), "{act:?}");
        assert_eq!(a.nonces(), b.nonces(), "{act:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_may_have_it_is_asked_again_and_nobody_else() {
    for act in [Act::Cut, Act::Fail(500, None), Act::Fail(502, None), Act::Garbage, Act::Hang] {
        let (field, a) = (Field::new(), Aggregator::start([act.clone(), act.clone()]).await);
        let b = Aggregator::start([]).await;
        field.photo(1);
        let options = UploadOptions { answer_time: Duration::from_millis(200), ..patient() };
        let hasty = UploadOptions { client: options.client.clone(), ..options };
        let uploader = field.uploader_to(&[&a.url(), &b.url()], hasty);
        let id = field.queue.photos(None).await.unwrap()[0].id;
        // One process after the other: what is in the queue decides.
        for _ in 0..2 {
            let outcome = uploader.submit_one(id, None, &field.on_step()).await.unwrap();
            assert!(matches!(outcome, Outcome::Pending { receipt: None, .. }), "{act:?} {outcome:?}");
        }
        let row = field.queue.photo(id).await.unwrap();
        assert_eq!(row.aggregator.as_deref(), Some(a.url().as_str()), "{act:?}");
        let again = field.uploader_to(&[&b.url(), &a.url()], patient());
        let outcome = again.submit_one(id, Some(DEADLINE), &field.on_step()).await.unwrap();
        assert!(matches!(outcome, Outcome::Confirmed { .. }), "{act:?} {outcome:?}");
        assert_eq!((a.receipts(), b.receipts()), (1, 0), "{act:?}");
        let nonces = a.nonces();
        assert!(nonces.len() == 3 && nonces.iter().all(|nonce| *nonce == nonces[0]), "{act:?} {nonces:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_have_it_and_is_gone_for_long_makes_way() {
    let (field, a) = (Field::new(), Aggregator::start([Act::Cut, Act::Hang, Act::Hang]).await);
    // The registry has it by way of the first one: there is nothing to be had a receipt for.
    let b = Aggregator::start([Act::OnRecord]).await;
    let id = field.photo(1);
    assert_eq!(drained(&field, &[&a.url(), &b.url()], fickle()).await.confirmed, 1);
    assert_eq!(b.nonces().first(), a.nonces().first(), "with the same token");
    let row = field.queue.photo(id).await.unwrap();
    assert_eq!((row.state, row.seals), (PhotoState::Confirmed, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn receipt_of_one_that_is_gone_for_long_is_given_up() {
    let (field, a) = (Field::new(), Aggregator::start([Act::Pend]).await);
    let b = Aggregator::start([]).await;
    let id = field.photo(1);
    let (a_url, b_url) = (a.url(), b.url());
    let uploader = field.uploader_to(&[&a_url, &b_url], patient());
    let outcome = uploader.submit_one(id, None, &field.on_step()).await.unwrap();
    assert!(matches!(outcome, Outcome::Pending { receipt: Some(_), .. }), "{outcome:?}");
    a.stop().await;
    // As long as it may come back, it alone is asked.
    field.clock.advance(60);
    for _ in 0..3 {
        uploader.submit_one(id, None, &field.on_step()).await.unwrap();
    }
    assert_eq!(b.receipts(), 0);
    assert_eq!(drained(&field, &[&a_url, &b_url], fickle()).await.confirmed, 1);
    assert_eq!(b.receipts(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_fail_photographs_wait_and_none_is_lost() {
    let (field, downs) = (Field::new(), [nowhere().await, nowhere().await]);
    let ids: Vec<_> = (1..=5).map(|frame| field.photo(frame)).collect();
    let urls = [downs[0].as_str(), downs[1].as_str()];
    for id in &ids {
        let outcome = field.uploader_to(&urls, UploadOptions::default()).submit_one(*id, None, &field.on_step()).await;
        assert!(matches!(outcome.unwrap(), Outcome::Pending { receipt: None, last_error: Some(_) }));
    }
    assert_eq!(field.queue.counts().await.unwrap().queued, 5);
    let back = Aggregator::start_at(downs[1].strip_prefix("http://").unwrap().parse().unwrap(), []).await;
    assert_eq!(drained(&field, &urls, patient()).await, DrainReport { confirmed: 5, parked: 0, pending: 0 });
    assert_eq!(back.receipts(), 5);
}
