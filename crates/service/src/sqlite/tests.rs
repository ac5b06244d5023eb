use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::mpsc as std_mpsc;

use futures::future::join_all;
use tempfile::TempDir;

use super::*;

const SCHEMA: &[Migration] =
    &[Migration { name: "V1__numbers", sql: "CREATE TABLE number (n INTEGER PRIMARY KEY, pad BLOB) STRICT;" }];

const DEADLINE: Duration = Duration::from_secs(20);

fn open_in(folder: &TempDir, options: Options) -> Database {
    Database::open(&folder.path().join("a.db"), SCHEMA, options).unwrap()
}

fn insert(n: i64) -> impl FnOnce(&Connection) -> rusqlite::Result<i64> + Send + 'static {
    move |connection| {
        connection.prepare_cached("INSERT INTO number (n) VALUES (?1)")?.execute([n])?;
        Ok(n)
    }
}

fn numbers(database: &Database) -> Vec<i64> {
    database
        .read_blocking(|c| {
            c.prepare_cached("SELECT n FROM number ORDER BY n")?.query_map([], |row| row.get(0))?.collect()
        })
        .unwrap()
}

/// Keeps the writer inside a job until the sender is used or dropped; the next jobs then form a group.
fn hold_writer(database: &Database) -> (std_mpsc::Sender<()>, std::thread::JoinHandle<()>) {
    let (release, held) = std_mpsc::channel();
    let (entered, inside) = std_mpsc::channel();
    let database = database.clone();
    let holder = std::thread::spawn(move || {
        let held = database.write_blocking(move |_| {
            entered.send(()).unwrap();
            let _ = held.recv_timeout(DEADLINE);
            Ok::<(), rusqlite::Error>(())
        });
        held.unwrap();
    });
    inside.recv_timeout(DEADLINE).unwrap();
    (release, holder)
}

/// Polls a write once, so that its job is in the queue.
async fn enqueue<F: Future>(future: std::pin::Pin<&mut F>) {
    let mut future = future;
    let poll_once = futures::future::poll_fn(|context| {
        assert!(future.as_mut().poll(context).is_pending());
        std::task::Poll::Ready(())
    });
    // Else tokio has a task that polls much in a row do nothing at times.
    tokio::task::unconstrained(poll_once).await;
}

#[tokio::test]
async fn concurrent_writers_share_commits() {
    let folder = tempfile::tempdir().unwrap();
    let database = open_in(&folder, Options::default());
    let (release, holder) = hold_writer(&database);
    let before = database.commits();
    let mut writes: Vec<_> = (0..500).map(|n| Box::pin(database.write(insert(n)))).collect();
    for write in &mut writes {
        enqueue(write.as_mut()).await;
    }
    release.send(()).unwrap();
    for result in join_all(writes).await {
        result.unwrap();
    }
    holder.join().unwrap();
    // One for the job that held the writer, one for the five hundred.
    assert_eq!(database.commits() - before, 2);
    assert_eq!(database.jobs(), 501);
    assert_eq!(numbers(&database), (0..500).collect::<Vec<_>>());
}

#[tokio::test]
async fn failed_and_panicking_jobs_are_undone_alone() {
    let folder = tempfile::tempdir().unwrap();
    let database = open_in(&folder, Options::default());
    let (release, holder) = hold_writer(&database);
    let mut first = Box::pin(database.write(insert(1)));
    let mut failing = Box::pin(database.write(|c| {
        insert(2)(c).unwrap();
        Err::<(), _>("changed its mind")
    }));
    let mut panicking = Box::pin(database.write(|c| -> Result<(), rusqlite::Error> {
        insert(3)(c)?;
        panic!("boom")
    }));
    let mut duplicate = Box::pin(database.write(insert(1)));
    let mut last = Box::pin(database.write(insert(4)));
    enqueue(first.as_mut()).await;
    enqueue(failing.as_mut()).await;
    enqueue(panicking.as_mut()).await;
    enqueue(duplicate.as_mut()).await;
    enqueue(last.as_mut()).await;
    let before = database.commits();
    release.send(()).unwrap();
    assert_eq!(first.await.unwrap(), 1);
    assert!(matches!(failing.await, Err(WriteError::Job("changed its mind"))));
    assert!(matches!(panicking.await, Err(WriteError::Panicked)));
    assert!(matches!(duplicate.await, Err(WriteError::Job(e)) if e.sqlite_error_code().is_some()));
    assert_eq!(last.await.unwrap(), 4);
    holder.join().unwrap();
    assert_eq!(numbers(&database), [1, 4]);
    assert_eq!(database.commits() - before, 2, "the five jobs were one group");
}

#[tokio::test]
async fn answered_writes_survive_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let database = open_in(&folder, Options::default());
    for result in join_all((0..50).map(|n| database.write(insert(n)))).await {
        result.unwrap();
    }
    // What a crash leaves: the files as they are now, without the shared memory.
    let crashed = tempfile::tempdir().unwrap();
    for name in ["a.db", "a.db-wal"] {
        std::fs::copy(folder.path().join(name), crashed.path().join(name)).unwrap();
    }
    assert_eq!(numbers(&open_in(&crashed, Options::default())), (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn dropped_database_reopens_with_everything() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..3 {
        let database = open_in(&folder, Options::default());
        database.write(insert(n)).await.unwrap();
    }
    assert_eq!(numbers(&open_in(&folder, Options::default())), [0, 1, 2]);
}

#[tokio::test]
async fn full_database_fails_the_write_and_claims_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let database = open_in(&folder, Options { max_pages: Some(40), ..Options::default() });
    let fill = |n: i64| {
        move |c: &Connection| {
            c.prepare_cached("INSERT INTO number (n, pad) VALUES (?1, zeroblob(3000))")?.execute([n])?;
            Ok::<_, rusqlite::Error>(n)
        }
    };
    let results = join_all((0..200).map(|n| database.write(fill(n)))).await;
    let stored: Vec<i64> = results.iter().filter_map(|r| r.as_ref().ok().copied()).collect();
    let refused = results.iter().filter(|r| match r {
        Err(WriteError::Job(e)) => e.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull),
        Err(WriteError::Commit(_)) => true,
        _ => false,
    });
    assert_eq!(refused.count() + stored.len(), 200);
    assert!(stored.len() < 40);
    assert_eq!(numbers(&database), stored, "exactly what was answered with success is stored");
    assert_eq!(database.closed(), None);
    database.write(|c| c.execute("DELETE FROM number", [])).await.unwrap();
    database.write(fill(1000)).await.unwrap();
}

#[tokio::test]
async fn failing_commit_fails_every_job_of_its_group() {
    let folder = tempfile::tempdir().unwrap();
    let schema = &[Migration {
        name: "V1__family",
        sql: "CREATE TABLE person (n INTEGER PRIMARY KEY, parent INTEGER REFERENCES person DEFERRABLE INITIALLY DEFERRED);",
    }];
    let database = Database::open(&folder.path().join("a.db"), schema, Options::default()).unwrap();
    let person = |n: i64, parent: Option<i64>| {
        move |c: &Connection| c.execute("INSERT INTO person VALUES (?1, ?2)", (n, parent))
    };
    let (release, holder) = hold_writer(&database);
    let mut fine = Box::pin(database.write(person(1, None)));
    let mut orphan = Box::pin(database.write(person(2, Some(99))));
    enqueue(fine.as_mut()).await;
    enqueue(orphan.as_mut()).await;
    release.send(()).unwrap();
    assert!(matches!(fine.await, Err(WriteError::Commit(_))));
    assert!(matches!(orphan.await, Err(WriteError::Commit(_))));
    holder.join().unwrap();
    let count = |c: &Connection| c.query_row("SELECT count(*) FROM person", [], |row| row.get::<_, i64>(0));
    assert_eq!(database.read(count).await.unwrap(), 0);
    database.write(person(1, None)).await.unwrap();
    assert_eq!(database.read(count).await.unwrap(), 1);
}

#[tokio::test]
async fn job_that_ends_the_transaction_fails_and_later_jobs_still_work() {
    let folder = tempfile::tempdir().unwrap();
    let database = open_in(&folder, Options::default());
    let rogue = database.write(|c| {
        insert(1)(c)?;
        c.execute_batch("ROLLBACK")
    });
    assert!(matches!(rogue.await, Err(WriteError::Commit(_))));
    database.write(insert(2)).await.unwrap();
    assert_eq!(numbers(&database), [2]);
}

#[tokio::test]
async fn full_queue_is_busy_and_its_job_is_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let database = open_in(&folder, Options { queue: 1, ..Options::default() });
    let (release, holder) = hold_writer(&database);
    let mut queued = Box::pin(database.try_write(insert(1)));
    enqueue(queued.as_mut()).await;
    assert!(matches!(database.try_write(insert(2)).await, Err(WriteError::Busy)));
    release.send(()).unwrap();
    queued.await.unwrap();
    holder.join().unwrap();
    assert_eq!(numbers(&database), [1]);
}

#[tokio::test]
async fn abandoned_write_is_still_stored() {
    let folder = tempfile::tempdir().unwrap();
    let database = open_in(&folder, Options::default());
    let (release, holder) = hold_writer(&database);
    let mut abandoned = Box::pin(database.write(insert(1)));
    enqueue(abandoned.as_mut()).await;
    drop(abandoned);
    release.send(()).unwrap();
    holder.join().unwrap();
    database.write(insert(2)).await.unwrap();
    assert_eq!(numbers(&database), [1, 2]);
}

#[tokio::test]
async fn closing_stores_what_waits_then_refuses_and_empties_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let database = open_in(&folder, Options::default());
    let (release, holder) = hold_writer(&database);
    let mut waiting = Box::pin(database.write(insert(1)));
    enqueue(waiting.as_mut()).await;
    let mut closing = Box::pin(database.close());
    enqueue(closing.as_mut()).await;
    release.send(()).unwrap();
    closing.await;
    waiting.await.unwrap();
    holder.join().unwrap();
    assert!(matches!(database.write(insert(2)).await, Err(WriteError::Closed(_))));
    assert!(matches!(database.read(|_| Ok(())).await, Err(ReadError::Closed)));
    assert_eq!(&*database.closed().unwrap(), "it was closed");
    assert!(!folder.path().join("a.db-wal").exists());
    assert_eq!(numbers(&open_in(&folder, Options::default())), [1]);
}

#[tokio::test]
async fn checkpoint_removes_deleted_bytes_from_both_files() {
    let folder = tempfile::tempdir().unwrap();
    let database = open_in(&folder, Options::default());
    let secret = b"a secret that must be gone";
    let found = |folder: &Path| {
        ["a.db", "a.db-wal"].iter().any(|name| {
            let bytes = std::fs::read(folder.join(name)).unwrap();
            bytes.windows(secret.len()).any(|window| window == secret)
        })
    };
    database.write(move |c| c.execute("INSERT INTO number VALUES (1, ?1)", [secret])).await.unwrap();
    assert!(found(folder.path()));
    database.write(|c| c.execute("DELETE FROM number", [])).await.unwrap();
    database.checkpoint().await.unwrap();
    assert!(!found(folder.path()));
}

#[tokio::test]
async fn readers_cannot_write_and_leave_no_transaction_behind() {
    let folder = tempfile::tempdir().unwrap();
    let database = open_in(&folder, Options { readers: 1, ..Options::default() });
    assert!(matches!(database.read(|c| c.execute("DELETE FROM number", [])).await, Err(ReadError::Sqlite(_))));
    database.read(|c| c.execute_batch("BEGIN; SELECT count(*) FROM number;")).await.unwrap();
    database.write(insert(1)).await.unwrap();
    assert_eq!(numbers(&database), [1], "not the state that the forgotten transaction saw");
    database.checkpoint().await.unwrap();
    assert!(matches!(database.read(|_| -> rusqlite::Result<()> { panic!("boom") }).await, Err(ReadError::Panicked)));
    assert_eq!(numbers(&database), [1]);
}

#[tokio::test]
async fn files_are_private_also_if_they_were_not() {
    let folder = tempfile::tempdir().unwrap();
    let modes = || {
        ["a.db", "a.db-wal", "a.db-shm"]
            .map(|name| std::fs::metadata(folder.path().join(name)).unwrap().mode() & 0o7777)
    };
    let database = open_in(&folder, Options::default());
    database.write(insert(1)).await.unwrap();
    assert_eq!(modes(), [0o600; 3]);
    database.close().await;
    std::fs::set_permissions(database.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let database = open_in(&folder, Options::default());
    database.write(insert(2)).await.unwrap();
    assert_eq!(modes(), [0o600; 3]);
}

#[test]
fn unusable_paths_and_foreign_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "no database, but long enough to be taken for one by its length alone".repeat(20)).unwrap();
    for path in [file.join("a.db"), "/proc/a.db".into(), folder.path().to_owned(), file] {
        let error = Database::open(&path, SCHEMA, Options::default()).unwrap_err();
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
}

#[test]
fn changed_or_newer_history_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    drop(Database::open(&path, SCHEMA, Options::default()).unwrap());
    for other in [
        &[Migration { name: "V1__numbers", sql: "CREATE TABLE number (n INTEGER);" }][..],
        &[Migration { name: "numbers", sql: "" }],
        &[],
    ] {
        let refused = Database::open(&path, other, Options::default());
        assert!(matches!(refused, Err(OpenError::Migration { .. })), "{other:?}");
    }
    let longer = [SCHEMA[0], Migration { name: "V2__more", sql: "CREATE TABLE more (n INTEGER);" }];
    Database::open(&path, &longer, Options::default()).unwrap();
}

#[tokio::test]
async fn blocking_calls_in_a_task_do_not_starve_it() {
    let folder = tempfile::tempdir().unwrap();
    let database = open_in(&folder, Options::default());
    // More than tokio lets a task do before it must yield (128).
    for n in 0..300 {
        database.write_blocking(insert(n)).unwrap();
        database.read_blocking(|_| Ok(())).unwrap();
    }
    assert_eq!(numbers(&database).len(), 300);
}

#[test]
fn works_without_a_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let database = open_in(&folder, Options::default());
    assert_eq!(database.write_blocking(insert(7)).unwrap(), 7);
    assert_eq!(numbers(&database), [7]);
}

#[tokio::test]
async fn every_answer_of_success_came_after_a_flush() {
    let folder = tempfile::tempdir().unwrap();
    let database = open_in(&folder, Options::default());
    let setting =
        |name: &'static str| move |c: &Connection| c.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    assert_eq!(database.write(setting("synchronous")).await.unwrap(), 2, "FULL");
    assert_eq!(database.write(setting("secure_delete")).await.unwrap(), 1);
    assert_eq!(database.write(setting("foreign_keys")).await.unwrap(), 1);
    let mode = |c: &Connection| c.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0));
    assert_eq!(database.read(mode).await.unwrap(), "wal");
}
