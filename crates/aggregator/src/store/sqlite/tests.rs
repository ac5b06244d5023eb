use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use birthmark_core::batch::Assurance;
use birthmark_core::ids::{Height, TxId};
use tempfile::TempDir;

use super::*;
use crate::pipeline::state::State;
use crate::pipeline::state::{Recorded, Voucher};
use crate::store::conformance::{self, Place};
use crate::store::testing::{AUTHORITY, bound_row, camera, go, id_of, put_all, row, waiting};
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
async fn queues_and_recorded_bodies_are_found_by_index() {
    let file = File::new();
    let store = file.open();
    put_all(&store, [row(1)]).await;
    for (sql, index) in [
        ("SELECT id FROM submission WHERE state = 0 AND authority = 'A' ORDER BY id LIMIT 9", "submission_to_validate"),
        ("SELECT id FROM submission WHERE state = 1 ORDER BY id LIMIT 9", "submission_to_post"),
        ("SELECT tx_id FROM submission WHERE body_digest = x'00' AND state = 2 LIMIT 1", "submission_recorded"),
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
