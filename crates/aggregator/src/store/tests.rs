use birthmark_core::submission::Submission;

use super::*;
use crate::pipeline::state::{Reason, Recorded};
use birthmark_core::ids::{Height, TxId};

fn row(number: u8) -> NewRow {
    let hash = format!("{number:02x}").repeat(32);
    let json = format!(
        r#"{{"submission_type": "camera", "image_hashes": [{{"image_hash": "{hash}", "modification_level": 0}}],
            "camera_token": {{"ciphertext": "{hash}", "auth_tag": "{}", "nonce": "{}", "table_id": 1, "key_index": 2}},
            "manufacturer_cert": {{"authority_id": "A"}}}}"#,
        "0b".repeat(16),
        "0c".repeat(12)
    );
    let Ok(Submission::Camera(submission)) = Submission::from_json(json.as_bytes()) else {
        panic!("a camera's submission was given")
    };
    NewRow {
        receipt: Uuid::from_u128(number.into()),
        request_id: RequestId([number; 16]),
        received_at: UnixSeconds(1000 + u64::from(number)),
        submission,
    }
}

async fn with_rows(folder: &Path, rows: std::ops::RangeInclusive<u8>) -> Store {
    let store = Store::open(folder).unwrap();
    for number in rows {
        assert!(matches!(store.take_in(row(number), true).await, Ok(Intake::New(_))));
    }
    store
}

async fn waiting(store: &Store, skip: &[RowId], limit: usize) -> Vec<RowId> {
    let rows = store.to_validate("A".to_owned(), skip.iter().copied().collect(), limit).await.unwrap();
    rows.iter().map(|row| row.id).collect()
}

#[tokio::test]
async fn rows_under_way_are_skipped_and_the_limit_counts_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_rows(folder.path(), 1..=5).await;
    let all = waiting(&store, &[], 9).await;
    assert_eq!(all.len(), 5);
    assert_eq!(waiting(&store, &all[..2], 2).await, all[2..4]);
    assert_eq!(waiting(&store, &all, 9).await, []);
    assert!(store.to_validate("B".to_owned(), BTreeSet::new(), 9).await.unwrap().is_empty());
}

#[tokio::test]
async fn move_from_a_state_that_a_row_has_left_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_rows(folder.path(), 1..=1).await;
    let id = waiting(&store, &[], 1).await[0];
    let reject = Move { id, from: State::Received, to: State::Rejected(Reason::of_text("token_invalid", "")) };
    let pass = Move { id, from: State::Received, to: State::Validated };
    assert_eq!(store.advance(vec![reject.clone(), pass]).await.unwrap(), [true, false]);
    let receipt = store.receipt(Uuid::from_u128(1)).unwrap().unwrap();
    assert_eq!(receipt.state, reject.to);
}

#[tokio::test]
async fn greatest_numbers_come_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_rows(folder.path(), 1..=1).await;
    let id = waiting(&store, &[], 1).await[0];
    let end = State::Confirmed(Recorded { tx_id: TxId(u64::MAX), block_height: Height(u64::MAX - 1) });
    let moves = vec![
        Move { id, from: State::Received, to: State::Validated },
        Move { id, from: State::Validated, to: end.clone() },
    ];
    store.advance(moves).await.unwrap();
    assert_eq!(store.receipt(Uuid::from_u128(1)).unwrap().unwrap().state, end);
}

#[tokio::test]
async fn oldest_unfinished_is_that_of_either_queue() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_rows(folder.path(), 1..=2).await;
    let oldest = async || store.oldest_unfinished(vec!["A".to_owned(), "B".to_owned()]).await.unwrap();
    let ids = waiting(&store, &[], 2).await;
    assert_eq!(oldest().await, Some(UnixSeconds(1001)));
    store.advance(vec![Move { id: ids[0], from: State::Received, to: State::Validated }]).await.unwrap();
    assert_eq!(oldest().await, Some(UnixSeconds(1001)));
    assert_eq!(store.backlog().unwrap(), Backlog { pending: 1, validated: 1 });
    let end = State::Rejected(Reason::of_text("x", ""));
    store.advance(vec![Move { id: ids[0], from: State::Validated, to: end }]).await.unwrap();
    assert_eq!(oldest().await, Some(UnixSeconds(1002)));
}

/// Without its index each of these would read the whole table at every wake.
#[tokio::test]
async fn queues_and_recorded_bodies_are_found_by_index() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_rows(folder.path(), 1..=1).await;
    for (sql, index) in [
        ("SELECT id FROM submission WHERE state = 0 AND authority = 'A' ORDER BY id LIMIT 9", "submission_to_validate"),
        ("SELECT id FROM submission WHERE state = 1 ORDER BY id LIMIT 9", "submission_to_post"),
        ("SELECT tx_id FROM submission WHERE body_digest = x'00' AND state = 2 LIMIT 1", "submission_recorded"),
    ] {
        let explain = format!("EXPLAIN QUERY PLAN {sql}");
        let plan: String =
            store.database.read(move |connection| connection.query_row(&explain, [], |row| row.get(3))).await.unwrap();
        assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{plan}");
    }
}
