use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::rules::Verdict;
use crate::store::conformance::{self, Place};
use crate::testing::desk;

struct File(TempDir);

impl File {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("sma.db")
    }
}

impl Place for File {
    fn open(&self) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(&self.path(), desk::rules()).unwrap())
    }

    fn sql(&self, statements: &str) -> Result<(), String> {
        Connection::open(self.path()).unwrap().execute_batch(statements).map_err(|error| error.to_string())
    }

    fn bytes(&self, hex: &str) -> String {
        format!("x'{hex}'")
    }

    fn unguard_audit(&self) -> &'static str {
        "DROP TRIGGER audit_no_update; DROP TRIGGER audit_no_delete;"
    }
}

#[tokio::test]
async fn sqlite_does_all_that_a_store_must() {
    conformance::run(|_| Box::new(File::new())).await;
}

#[test]
fn row_put_over_another_of_the_audit_log_is_refused() {
    let file = File::new();
    let store = file.open();
    let deed = Deed { act: "x", subject: String::new(), detail: String::new() };
    crate::store::block_on(store.record(deed, desk::act())).unwrap();
    for sequence in ["1", "3", "0", "NULL"] {
        let error = file
            .sql(&format!("INSERT OR REPLACE INTO audit VALUES ({sequence}, 1, 'a', 'b', 'c', 'd', zeroblob(32))"))
            .unwrap_err();
        assert!(error.contains("append-only"), "{sequence}: {error}");
    }
}

#[test]
fn aggregators_file_is_refused_and_left_as_it_is() {
    let file = File::new();
    file.sql("CREATE TABLE submission (id INTEGER PRIMARY KEY)").unwrap();
    let before = std::fs::read(file.path()).unwrap();
    let error = SqliteStore::open(&file.path(), desk::rules()).unwrap_err();
    assert!(matches!(error, StoreOpenError::Aggregators { .. }));
    assert!(error.to_string().contains(file.path().to_str().unwrap()), "{error}");
    assert_eq!(std::fs::read(file.path()).unwrap(), before);
}

/// As the program of before left it, with devices and used tokens.
#[tokio::test]
async fn database_of_the_first_version_is_taken_over_with_all_that_it_remembers() {
    let file = File::new();
    let database = Database::open(&file.path(), &MIGRATIONS[..1], Options::default()).unwrap();
    database.close().await;
    let camera = desk::Camera {
        serial: desk::serial(1),
        nuc_hash: desk::nuc_hash(1),
        tables: crate::tables::AssignedTables::from_bytes(&[0, 1, 0, 2, 0, 3]).unwrap(),
        generation: crate::keys::KeyGeneration(0),
    };
    let digest = birthmark_core::hex::encode(desk::keys().nuc_digest(&camera.nuc_hash).0);
    let (passed, fresh) = (camera.version_1(), camera.version_1());
    let crate::question::AskedToken::Unbound(token) = &passed.token else { panic!("not version 1") };
    let used = birthmark_core::hex::encode(crate::replay::UseId::of(token).0);
    file.sql(&format!(
        "INSERT INTO device_registry VALUES (1, 'CAM_1', 'F', x'{digest}', x'000100020003', 1, 'active', 5);
         INSERT INTO used_token VALUES (x'{used}', NULL, 20000);"
    ))
    .unwrap();

    let desk = desk::Desk::open(file.open()).await;
    let used = Verdict::Failed(birthmark_core::api::validate::Message::Used);
    assert_eq!(desk.ask(&passed).await, used);
    assert_eq!(desk.ask(&fresh).await, Verdict::Passed);
    assert_eq!(desk.ask(&camera.version_2(1)).await, Verdict::PassedToSign);
    assert_eq!(desk.camera(2).await.generation.0, 0);
}
