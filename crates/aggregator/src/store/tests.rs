use birthmark_core::endorsement::Endorsement;
use birthmark_core::ids::{Height, TxId};
use birthmark_core::network::EndorsementKeyId;
use birthmark_core::submission::Submission;

use super::*;
use crate::pipeline::state::{Reason, Recorded};

fn row(number: u8) -> NewRow {
    row_with(number, &"c1".repeat(32), "")
}

/// Another submission of the body of [`row`], with a version 2 token.
fn bound_row(number: u8) -> NewRow {
    let [key_id, enc] = ["05".repeat(8), "04".repeat(32)];
    let [message, inverse] = ["06".repeat(256), "07".repeat(256)];
    let binding = format!(
        r#", "binding": {{"enc": "{enc}", "key_id": "{key_id}", "blinded_message": "{message}", "inverse": "{inverse}"}}"#
    );
    NewRow { receipt: Uuid::from_u128(1000 + u128::from(number)), ..row_with(number, &"c2".repeat(56), &binding) }
}

fn row_with(number: u8, ciphertext: &str, binding: &str) -> NewRow {
    let hash = format!("{number:02x}").repeat(32);
    let json = format!(
        r#"{{"submission_type": "camera", "image_hashes": [{{"image_hash": "{hash}", "modification_level": 0}}],
            "camera_token": {{"ciphertext": "{ciphertext}", "auth_tag": "{}", "nonce": "{}", "table_id": 1,
                              "key_index": 2{binding}}},
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

fn at(tx_id: u64, assurance: Assurance) -> Recorded {
    Recorded { tx_id: TxId(tx_id), block_height: Height(tx_id - 1), assurance }
}

fn endorsed() -> Voucher {
    Voucher::Endorsement(Endorsement { key_id: EndorsementKeyId::from_bytes([5; 8]), signature: vec![8; 256] })
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
    let pass = Move { id, from: State::Received, to: State::Validated(Voucher::Word) };
    assert_eq!(store.advance(vec![reject.clone(), pass]).await.unwrap(), [true, false]);
    let receipt = store.receipt(Uuid::from_u128(1)).unwrap().unwrap();
    assert_eq!(receipt.state, reject.to);
}

#[tokio::test]
async fn greatest_numbers_come_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_rows(folder.path(), 1..=1).await;
    let id = waiting(&store, &[], 1).await[0];
    let end = State::Confirmed(at(u64::MAX, Assurance::Attested));
    let moves = vec![
        Move { id, from: State::Received, to: State::Validated(Voucher::Word) },
        Move { id, from: State::Validated(Voucher::Word), to: end.clone() },
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
    store.advance(vec![Move { id: ids[0], from: State::Received, to: State::Validated(Voucher::Word) }]).await.unwrap();
    assert_eq!(oldest().await, Some(UnixSeconds(1001)));
    assert_eq!(store.backlog().unwrap(), Backlog { pending: 1, validated: 1 });
    let end = State::Rejected(Reason::of_text("x", ""));
    store.advance(vec![Move { id: ids[0], from: State::Validated(Voucher::Word), to: end }]).await.unwrap();
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

#[tokio::test]
async fn endorsement_is_stored_with_the_verdict_outlives_a_restart_and_goes_with_the_record() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    assert!(matches!(store.take_in(bound_row(1), true).await, Ok(Intake::New(_))));
    let [row] = store.to_validate("A".to_owned(), BTreeSet::new(), 9).await.unwrap().try_into().unwrap();
    let (bound, submission) = (row.bound.unwrap(), bound_row(1).submission);
    assert_eq!((Some(bound.binding), bound.body), (submission.binding, submission.body.encode()));
    let validated = State::Validated(endorsed());
    let verdict = Move { id: row.id, from: State::Received, to: validated.clone() };
    assert_eq!(store.advance(vec![verdict]).await.unwrap(), [true]);
    store.close().await;

    let store = Store::open(folder.path()).unwrap();
    let [waiting] = store.to_post(BTreeSet::new(), 9).await.unwrap().try_into().unwrap();
    assert_eq!(waiting.voucher, endorsed());
    assert_eq!(store.receipt(waiting.receipt).unwrap().unwrap().state, validated);
    let end = State::Confirmed(at(7, Assurance::Endorsed));
    store.advance(vec![Move { id: row.id, from: validated, to: end.clone() }]).await.unwrap();
    assert_eq!(store.receipt(waiting.receipt).unwrap().unwrap().state, end);
    let left: Option<Vec<u8>> = store
        .database
        .read(|connection| connection.query_row("SELECT endorsement FROM submission", [], |row| row.get(0)))
        .await
        .unwrap();
    assert_eq!(left, None);
}

/// The last line of defence: whatever the program does, the database takes no such row.
#[tokio::test]
async fn version_2_row_cannot_be_validated_without_an_endorsement_nor_version_1_with_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    for (new, voucher) in [(row(1), endorsed()), (bound_row(2), Voucher::Word)] {
        let receipt = new.receipt;
        assert!(matches!(store.take_in(new, true).await, Ok(Intake::New(_))));
        let id = *waiting(&store, &[], 9).await.last().unwrap();
        let verdict = Move { id, from: State::Received, to: State::Validated(voucher) };
        assert!(matches!(store.advance(vec![verdict]).await, Err(StoreError::Job(_))));
        assert_eq!(store.receipt(receipt).unwrap().unwrap().state, State::Received);
    }
}

async fn confirm(store: &Store, new: NewRow, voucher: Voucher, tx_id: u64) {
    let assurance = voucher.assurance();
    assert!(matches!(store.take_in(new, true).await, Ok(Intake::New(_))));
    let id = *waiting(store, &[], 9).await.last().unwrap();
    let validated = State::Validated(voucher);
    let moves = vec![
        Move { id, from: State::Received, to: validated.clone() },
        Move { id, from: validated, to: State::Confirmed(at(tx_id, assurance)) },
    ];
    assert_eq!(store.advance(moves).await.unwrap(), [true, true]);
}

#[tokio::test]
async fn record_answers_for_what_aims_no_higher() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let sealed_anew = |mut new: NewRow, receipt: u128| {
        new.submission.token.nonce = [1; 12];
        NewRow { receipt: Uuid::from_u128(receipt), ..new }
    };
    confirm(&store, row(1), Voucher::Word, 5).await;
    let attested = Intake::OnRecord(at(5, Assurance::Attested));
    assert_eq!(store.take_in(sealed_anew(row(1), 77), true).await.unwrap(), attested);
    confirm(&store, bound_row(1), endorsed(), 9).await;
    let better = Intake::OnRecord(at(9, Assurance::Endorsed));
    assert_eq!(store.take_in(sealed_anew(row(1), 78), true).await.unwrap(), better);
    assert_eq!(store.take_in(sealed_anew(bound_row(1), 79), true).await.unwrap(), better);
}

#[tokio::test]
async fn database_of_the_first_version_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let old = Database::open(&folder.path().join(DATABASE_FILE), &MIGRATIONS[..1], Options::default()).unwrap();
    let tokens =
        [row(1), bound_row(2)].map(|new| token::encode(&new.submission.token, new.submission.binding.as_ref()));
    let bodies = [1, 2, 3].map(|number| row(number).submission.body.encode());
    old.write(move |connection| {
        let sql = "INSERT INTO submission (id, receipt, idempotency_key, request_id, authority, body, body_digest,
                                           token, state, received_at, tx_id, block_height)
                   VALUES (?1, ?2, ?3, ?2, 'A', ?4, ?3, ?5, ?6, 1000, ?7, ?7)";
        for (id, token, state, tx_id) in
            [(1u8, Some(&tokens[0]), 0, None), (2, Some(&tokens[1]), 0, None), (3, None, 2, Some(5))]
        {
            let body = &bodies[usize::from(id) - 1];
            connection.execute(sql, rusqlite::params![id, [id; 16], [id; 32], body, token, state, tx_id])?;
        }
        Ok::<_, rusqlite::Error>(())
    })
    .await
    .unwrap();
    old.close().await;

    let store = Store::open(folder.path()).unwrap();
    let [first, second] = store.to_validate("A".to_owned(), BTreeSet::new(), 9).await.unwrap().try_into().unwrap();
    assert!(first.bound.is_none());
    assert_eq!(second.bound.map(|bound| bound.binding), bound_row(2).submission.binding);
    let third = store.receipt(Uuid::from_bytes([3; 16])).unwrap().unwrap();
    let recorded = Recorded { tx_id: TxId(5), block_height: Height(5), assurance: Assurance::Attested };
    assert_eq!(third.state, State::Confirmed(recorded));
}
