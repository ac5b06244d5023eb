//! What the database does when the disk fails under it.
//!
//! In a file of its own because the failure is made by a limit on the whole process.

use birthmark_service::sqlite::{Database, Migration, Options, WriteError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

const SCHEMA: &[Migration] =
    &[Migration { name: "V1__numbers", sql: "CREATE TABLE number (n INTEGER PRIMARY KEY, pad BLOB) STRICT;" }];

/// Linux's number of the signal that comes with a write beyond the limit; unhandled it would kill.
const SIGXFSZ: i32 = 25;

#[tokio::test]
async fn database_closes_itself_after_an_io_error_and_reopens_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let database = Database::open(&path, SCHEMA, Options::default()).unwrap();
    let insert = |n: i64, pad: i64| {
        move |c: &rusqlite::Connection| c.execute("INSERT INTO number VALUES (?1, zeroblob(?2))", (n, pad))
    };
    database.write(insert(1, 10)).await.unwrap();

    let _handled = signal(SignalKind::from_raw(SIGXFSZ)).unwrap();
    let Rlimit { maximum, .. } = getrlimit(Resource::Fsize);
    let length = std::fs::metadata(folder.path().join("a.db-wal")).unwrap().len();
    setrlimit(Resource::Fsize, Rlimit { current: Some(length + 100), maximum }).unwrap();
    let failed = database.write(insert(2, 100_000)).await;
    setrlimit(Resource::Fsize, Rlimit { current: maximum, maximum }).unwrap();

    assert!(matches!(&failed, Err(WriteError::Closed(reason)) if reason.contains("in doubt")), "{failed:?}");
    // Not even a write that could succeed now, because what the disk holds is unknown.
    assert!(matches!(database.write(insert(3, 10)).await, Err(WriteError::Closed(_))));
    assert!(database.closed().is_some());
    drop(database);

    let reopened = Database::open(&path, SCHEMA, Options::default()).unwrap();
    let numbers: Vec<i64> =
        reopened.read(|c| c.prepare("SELECT n FROM number")?.query_map([], |row| row.get(0))?.collect()).await.unwrap();
    assert_eq!(numbers, [1]);
}
