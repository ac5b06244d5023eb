use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use birthmark_core::batch::Assurance;
use birthmark_core::hash::Digest;
use birthmark_core::ids::{Height, TxId};
use birthmark_core::submission::Submission;
use tempfile::TempDir;

use super::*;
use crate::pipeline::state::State;
use crate::pipeline::state::{Recorded, Voucher};
use crate::store::NewRow;
use crate::store::conformance::{self, Place};
use crate::store::testing::{AUTHORITY, bound_row, camera, go, id_of, put, put_all, row, sealed_anew, waiting};
use crate::store::token;

struct File(TempDir);

impl File {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join(DATABASE_FILE)
    }
}

impl Place for File {
    fn open(&self) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(&self.path()).unwrap())
    }

    fn number(&self, query: &str) -> i64 {
        Connection::open(self.path()).unwrap().query_row(query, [], |row| row.get(0)).unwrap()
    }
}

#[tokio::test]
async fn sqlite_does_all_that_a_store_must() {
    conformance::run(|_| Box::new(File::new())).await;
}

/// Without its index each of these would read the whole table at every wake.
#[tokio::test]
async fn queues_are_found_by_index() {
    let file = File::new();
    let store = file.open();
    put_all(&store, [row(1)]).await;
    for (sql, index) in [
        ("SELECT id FROM submission WHERE state = 0 AND authority = 'A' ORDER BY id LIMIT 9", "submission_to_validate"),
        ("SELECT id FROM submission WHERE state = 1 ORDER BY id LIMIT 9", "submission_to_post"),
    ] {
        let explain = format!("EXPLAIN QUERY PLAN {sql}");
        let connection = Connection::open(file.path()).unwrap();
        let plan: String = connection.query_row(&explain, [], |row| row.get(3)).unwrap();
        assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{plan}");
    }
}

#[tokio::test]
async fn database_of_the_first_version_is_taken_over() {
    let file = File::new();
    let old = Database::open(&file.path(), &MIGRATIONS[..1], Options::default()).unwrap();
    let tokens = [row(1), bound_row(2)].map(|new| token::encode(&camera(&new).token, camera(&new).binding.as_ref()));
    let bodies = [1, 2, 3].map(|number| row(number).submission.body().encode());
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

    let store = file.open();
    let [first, second] =
        store.to_validate(AUTHORITY.to_owned(), BTreeSet::new(), 9).await.unwrap().try_into().unwrap();
    assert!(first.bound.is_none());
    assert_eq!(second.bound.map(|bound| bound.binding), camera(&bound_row(2)).binding);
    let third = store.receipt(Uuid::from_bytes([3; 16])).await.unwrap().unwrap();
    let recorded = Recorded { tx_id: TxId(5), block_height: Height(5), assurance: Assurance::Attested };
    assert_eq!(third.state, State::Confirmed(recorded));
}

/// As after a restore from a backup, which holds no keys.
#[tokio::test]
async fn without_its_keys_what_waits_ends_so_that_cameras_seal_anew_and_what_was_judged_goes_on() {
    let file = File::new();
    let store = file.open();
    put_all(&store, [row(1), row(2)]).await;
    let id = id_of(&store, row(2).receipt).await;
    assert!(go(&store, id, State::Received, State::Validated(Voucher::Word)).await.unwrap());
    store.close().await;
    std::fs::remove_file(file.path().with_file_name(KEYS_FILE)).unwrap();

    let store = file.open();
    let state = store.receipt(row(1).receipt).await.unwrap().unwrap().state;
    assert!(matches!(&state, State::Rejected(reason) if reason.as_str() == "token_stale" && reason.asks_to_reseal()));
    assert_eq!(store.to_post(BTreeSet::new(), 9).await.unwrap().len(), 1);
    put_all(&store, [row(3)]).await;
}

#[tokio::test]
async fn keys_of_another_database_are_refused_and_no_row_is_touched() {
    let (file, other) = (File::new(), File::new());
    for place in [&file, &other] {
        let store = place.open();
        put_all(&store, [row(1), row(2)]).await;
        store.close().await;
    }
    let keys = |file: &File| file.path().with_file_name(KEYS_FILE);
    let own = std::fs::read(keys(&file)).unwrap();
    std::fs::copy(keys(&other), keys(&file)).unwrap();
    let error = SqliteStore::open(&file.path()).unwrap_err();
    assert!(matches!(error, StoreOpenError::WrongKeys { lost: 2, .. }), "{error}");
    std::fs::write(keys(&file), own).unwrap();
    assert_eq!(waiting(&file.open(), &[], 9).await.len(), 2);
}

/// A photo of its own for each number.
fn photo(number: u32) -> NewRow {
    let hash = Digest::of_parts(&[&number.to_be_bytes()]);
    let json = format!(
        r#"{{"submission_type": "camera", "image_hashes": [{{"image_hash": "{hash}", "modification_level": 0}}],
            "camera_token": {{"ciphertext": "{}", "auth_tag": "{}", "nonce": "{}", "table_id": 1, "key_index": 2}},
            "manufacturer_cert": {{"authority_id": "{AUTHORITY}"}}}}"#,
        "c1".repeat(32),
        "0b".repeat(16),
        "0c".repeat(12)
    );
    let receipt = Uuid::from_u128(u128::from_be_bytes(hash.as_bytes()[..16].try_into().unwrap()));
    NewRow { receipt, submission: Submission::from_json(json.as_bytes()).unwrap(), ..row(1) }
}

/// Each is known by receipt and as a repeat.
async fn all_are_found(store: &Arc<dyn Store>, photos: std::ops::Range<u32>) {
    for number in photos {
        let receipt = photo(number).receipt;
        assert_eq!(store.receipt(receipt).await.unwrap().unwrap().id, receipt, "{number}");
        let again = NewRow { receipt: Uuid::from_u128(1), ..photo(number) };
        assert!(matches!(put(store, again).await, Intake::Repeat(known) if known.id == receipt), "{number}");
    }
}

fn open_merging_at(file: &File, rows: usize) -> Arc<dyn Store> {
    let store = SqliteStore::open(&file.path()).unwrap();
    let mut recent = store.recent.write();
    let through = file.number("SELECT through FROM indexed");
    *recent = std::mem::replace(&mut *recent, Recent::new(through, [])).merge_at(rows);
    drop(recent);
    Arc::new(store)
}

#[tokio::test]
async fn rows_are_found_while_the_leads_to_them_are_filed_and_after_a_restart_at_any_moment() {
    let file = File::new();
    let mut last = 0;
    for stop_after in [30, 90, 130, 10, 200, 170] {
        let store = open_merging_at(&file, 64);
        let first = last;
        while last < first + stop_after {
            put_all(&store, (last..last + 10).map(photo)).await;
            last += 10;
        }
        all_are_found(&store, 0..last).await;
        store.close().await;
    }
    assert_eq!(file.number("SELECT count(*) FROM submission"), i64::from(last));
    let (through, filed) = (file.number("SELECT through FROM indexed"), file.number("SELECT count(*) FROM by_body"));
    assert!(through >= 400 && filed >= through, "{through} of {last}, {filed} filed");
}

/// A full disk: what was not stored is not remembered, and its number is given to what comes next.
#[tokio::test]
async fn submissions_that_were_not_stored_leave_no_lead() {
    let file = File::new();
    let store = SqliteStore::open(&file.path()).unwrap();
    let limit = |pages: u32| {
        store.database.write_blocking(move |connection| {
            connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |row| row.get::<_, i64>(0))
        })
    };
    let pages = store.database.read_blocking(|c| c.query_row("PRAGMA page_count", [], |row| row.get(0))).unwrap();
    limit(pages).unwrap();
    let placed: Vec<_> = (0..50).map(|number| Arrival { row: photo(number), place: true }).collect();
    let error = store.take_in(placed.clone()).await.unwrap_err();
    assert!(!error.is_final(), "{error}");
    assert_eq!(store.receipt(photo(0).receipt).await.unwrap(), None);
    limit(10_000).unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    put_all(&store, (100..150).map(photo)).await;
    put_all(&store, (0..50).map(photo)).await;
    all_are_found(&store, 0..50).await;
    all_are_found(&store, 100..150).await;
}

/// More tokens for a photo than are looked at: the record may be overlooked, the repeat may not.
#[tokio::test]
async fn poisoned_photo_is_known_again_among_any_number_of_tokens() {
    let file = File::new();
    for receipts in [100..200_u128, 200..201] {
        let store = file.open();
        put_all(&store, receipts.clone().map(|receipt| sealed_anew(row(1), receipt))).await;
        for receipt in 100..receipts.end {
            let again = NewRow { receipt: Uuid::from_u128(9), ..sealed_anew(row(1), receipt) };
            let answer = put(&store, again).await;
            assert!(matches!(answer, Intake::Repeat(known) if known.id == Uuid::from_u128(receipt)), "{receipt}");
        }
        store.close().await;
    }
    let store = open_merging_at(&file, 2);
    put_all(&store, (0..80).map(photo)).await;
    put_all(&store, (80..160).map(photo)).await;
    let again = NewRow { receipt: Uuid::from_u128(9), ..sealed_anew(row(1), 199) };
    assert!(matches!(put(&store, again).await, Intake::Repeat(_)));
}

#[tokio::test]
async fn what_is_forgotten_leaves_nothing_in_the_tables() {
    let file = File::new();
    let store = open_merging_at(&file, 20);
    for first in [0, 20, 40] {
        put_all(&store, (first..first + 20).map(photo)).await;
    }
    for row in store.to_validate(AUTHORITY.to_owned(), BTreeSet::new(), 99).await.unwrap() {
        assert!(go(&store, row.id, State::Received, State::Rejected(Reason::malformed_token())).await.unwrap());
    }
    assert!(file.number("SELECT count(*) FROM by_receipt") > 0);
    crate::retention::forget(&*store, UnixSeconds(9999)).await;
    for table in ["submission", "by_receipt", "by_body"] {
        assert_eq!(file.number(&format!("SELECT count(*) FROM {table}")), 0, "{table}");
    }
    assert_eq!(store.receipt(photo(1).receipt).await.unwrap(), None);
    put_all(&store, (0..60).map(photo)).await;
    all_are_found(&store, 0..60).await;
}
