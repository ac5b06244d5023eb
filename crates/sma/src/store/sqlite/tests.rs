use std::sync::Arc;
use std::time::Duration;

use birthmark_core::api::validate::Message;
use tempfile::TempDir;

use super::*;
use crate::rules::Verdict;
use crate::store::conformance::{self, Place};
use crate::testing::desk;

const USED: Verdict = Verdict::Failed(Message::Used);

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
    assert_eq!(desk.ask(&passed).await, USED);
    assert_eq!(desk.ask(&fresh).await, Verdict::Passed);
    assert_eq!(desk.ask(&camera.version_2(1)).await, Verdict::PassedToSign);
    assert_eq!(desk.camera(2).await.generation.0, 0);
}

/// One that merges after every batch, in slices of one row.
struct Restless(File);

pub(in crate::store) fn restless(path: &Path) -> Arc<dyn Store> {
    let tuning = Tuning { merged_at: 1, slice: 1, known_from: 10, read_at_once: 1, ..Tuning::default() };
    Arc::new(SqliteStore::open_tuned(path, desk::rules(), tuning, Options::default()).unwrap())
}

impl Place for Restless {
    fn open(&self) -> Arc<dyn Store> {
        restless(&self.0.path())
    }

    fn sql(&self, statements: &str) -> Result<(), String> {
        self.0.sql(statements)
    }

    fn bytes(&self, hex: &str) -> String {
        self.0.bytes(hex)
    }

    fn unguard_audit(&self) -> &'static str {
        self.0.unguard_audit()
    }
}

#[tokio::test]
async fn store_that_merges_all_the_time_does_the_same() {
    conformance::run(|_| Box::new(Restless(File::new()))).await;
}

fn count(file: &File, table: &str) -> i64 {
    let query = format!("SELECT count(*) FROM {table}");
    Connection::open(file.path()).unwrap().query_row(&query, [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn merge_moves_everything_and_leaves_no_journal() {
    let file = File::new();
    let tuning = Tuning { merged_at: 300, slice: 7, ..Tuning::default() };
    let store = SqliteStore::open_tuned(&file.path(), desk::rules(), tuning, Options::default()).unwrap();
    let desk = desk::Desk::open(Arc::new(store)).await;
    let cameras = [desk.camera(1).await, desk.camera(2).await];
    let mut questions = Vec::new();
    for counter in 1..=200 {
        for camera in &cameras {
            questions.extend([camera.version_1(), camera.version_2(counter)]);
        }
        let asked = questions.len() - 4;
        desk.ask_batch(&questions[asked..].iter().collect::<Vec<_>>()).await;
    }
    desk.store.close().await;
    assert_eq!(count(&file, "pass"), 0);
    let merged = (count(&file, "used_token"), count(&file, "used_counter"), count(&file, "device_use"));
    assert!(merged.0 >= 200 && merged.1 >= 200 && merged.2 == 2, "{merged:?}");

    let desk = desk::Desk::reopen(file.open());
    for question in &questions {
        assert!(!matches!(desk.ask(question).await, Verdict::Failed(_)));
        if matches!(question.token, crate::question::AskedToken::Unbound(_)) {
            assert_eq!(desk.ask(&desk::asked_anew(question)).await, USED);
        }
    }
    for camera in cameras {
        let device = desk.store.device(camera.serial).await.unwrap().unwrap();
        assert_eq!((device.tally.count, device.highest.value()), (400, 200));
    }
}

#[tokio::test]
async fn few_passes_do_not_stay_in_the_journal() {
    let file = File::new();
    let tuning = Tuning { merged_after: Duration::from_millis(10), ..Tuning::default() };
    let store = SqliteStore::open_tuned(&file.path(), desk::rules(), tuning, Options::default()).unwrap();
    let desk = desk::Desk::open(Arc::new(store)).await;
    let question = desk.camera(1).await.version_1();
    assert_eq!(desk.ask(&question).await, Verdict::Passed);
    let merged = async {
        while count(&file, "pass") > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), merged).await.unwrap();
    assert_eq!((count(&file, "used_token"), count(&file, "device_use")), (1, 1));
    assert_eq!(desk.ask(&desk::asked_anew(&question)).await, USED);
}

#[tokio::test]
async fn more_than_may_be_unmerged_is_refused_and_not_judged() {
    let file = File::new();
    let tuning = Tuning { merged_at: 1_000_000, most: 10, ..Tuning::default() };
    let store = SqliteStore::open_tuned(&file.path(), desk::rules(), tuning, Options::default()).unwrap();
    let desk = desk::Desk::open(Arc::new(store)).await;
    let camera = desk.camera(1).await;
    let mut passed = 0;
    let error = loop {
        match desk.ask_as("gate-1", &camera.version_1(), desk::NOW).await {
            Ok(verdict) => passed += u32::from(verdict == Verdict::Passed),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Busy), "{error}");
    assert_eq!(passed, 5, "a pass and a row each");
    assert_eq!(desk.store.device(camera.serial).await.unwrap().unwrap().tally.count, 5);
}

#[tokio::test]
async fn full_disk_is_an_error_and_no_verdict() {
    let file = File::new();
    let desk = desk::Desk::open(file.open()).await;
    let camera = desk.camera(1).await;
    desk.store.close().await;
    // The journal has no room for all that follows.
    let pages = std::fs::metadata(file.path()).unwrap().len() / 4096 + 3;
    let options = Options { max_pages: Some(u32::try_from(pages).unwrap()), ..Options::default() };
    let store = SqliteStore::open_tuned(&file.path(), desk::rules(), Tuning::default(), options).unwrap();
    let desk = desk::Desk::reopen(Arc::new(store));
    let (mut passed, mut failed) = (Vec::new(), Vec::new());
    while failed.len() < 20 {
        let batch: Vec<_> = (0..20).map(|_| camera.version_1()).collect();
        let prepared = batch.iter().map(|question| desk.opening.prepare("gate-1", question)).collect();
        match desk.store.judge(desk::asked(prepared, desk::NOW)).await {
            Ok(judged) => passed.extend(batch.into_iter().zip(judged.verdicts)),
            Err(error) => {
                assert!(matches!(error, StoreError::Sqlite(_)), "{error}");
                failed.extend(batch);
            }
        }
    }
    let count = desk.store.device(camera.serial.clone()).await.unwrap().unwrap().tally.count;
    assert_eq!(count as usize, passed.len());
    desk.store.close().await;

    // With room again, those that got an error pass once.
    let desk = desk::Desk::reopen(file.open());
    for question in &failed {
        assert_eq!(desk.ask(&desk::asked_anew(question)).await, Verdict::Passed);
        assert_eq!(desk.ask(question).await, USED);
    }
    for (question, _) in &passed {
        assert_eq!(desk.ask(&desk::asked_anew(question)).await, USED);
    }
}
