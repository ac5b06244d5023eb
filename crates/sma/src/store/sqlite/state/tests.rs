use std::path::PathBuf;
use std::time::Duration;

use birthmark_service::random::OsRng;
use birthmark_service::sqlite::{Database, Options};
use rusqlite::Connection;
use tempfile::TempDir;

use super::super::{MIGRATIONS, devices as rows};
use super::*;
use crate::counters::{Counter, CounterDigest, UsedCounter};
use crate::devices::{NewDevice, Renewal, Status, TokenVersion};
use crate::quota::QuotaOverride;
use crate::replay::{Day, FirstUse, UseId};
use crate::rules::Used;
use crate::tables::AssignedTables;
use crate::testing::desk::{act, keys, new_device, serial};

/// A database whose transactions are begun and ended by hand, as the writer's thread does.
struct Scene {
    folder: TempDir,
    connection: Connection,
    state: State,
}

impl Scene {
    fn new(cameras: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&path(&folder), MIGRATIONS, Options::default()).unwrap();
        crate::store::block_on(database.close());
        let connection = Connection::open(path(&folder)).unwrap();
        rows::register(&connection, (1..=cameras).map(new_device).collect(), &act(), keys().order(), &mut OsRng)
            .unwrap();
        let state = State::load(&connection, TUNING).unwrap();
        Self { folder, connection, state }
    }

    fn sql(&self, sql: &str) {
        self.connection.execute_batch(sql).unwrap();
    }

    /// A job of questions enough to read `TUNING.read_at_once`, of which these pass.
    fn job(&mut self, passes: &[Pass]) {
        self.state.begin(&self.connection).unwrap();
        self.state.read_more(&self.connection, TUNING.read_at_once).unwrap();
        self.state.pass(&self.connection, passes).unwrap();
        self.state.end();
    }

    /// A job that only looks.
    fn look(&mut self) {
        self.state.begin(&self.connection).unwrap();
        self.state.end();
    }

    fn standing(&self, camera: u32) -> Standing {
        self.state.standing(&self.connection, &fingerprint(camera)).unwrap().unwrap()
    }

    fn restarted(self) -> Self {
        let state = State::load(&self.connection, TUNING).unwrap();
        Self { state, ..self }
    }
}

fn fingerprint(camera: u32) -> NucDigest {
    new_device(camera).nuc_digest
}

fn path(folder: &TempDir) -> PathBuf {
    folder.path().join("sma.db")
}

fn token(device: i64, count: u32) -> Pass {
    let mut id = UseId([u8::try_from(count).unwrap(); 16]);
    id.0[0] = u8::try_from(device).unwrap();
    let used = Used::Token { id, first: FirstUse(None), day: Day(7) };
    Pass {
        device: DeviceId(device),
        tally: Tally { day: Day(7), count },
        highest: Highest::default(),
        used,
        notice: None,
    }
}

fn counter(device: i64, count: u32, counter: u64) -> Pass {
    let used = UsedCounter { counter: Counter::new(counter).unwrap(), digest: CounterDigest::from_bytes([1; 8]) };
    let highest = Highest::from_value(counter).unwrap();
    Pass { used: Used::Counter(used), highest, ..token(device, count) }
}

fn knows(state: &State, pass: &Pass) -> bool {
    match pass.used {
        Used::Token { id, .. } => state.tail.first_use(id).is_some(),
        Used::Counter(used) => state.tail.counter(pass.device, used.counter.slot()) == Some(used),
    }
}

#[test]
fn passes_are_known_at_once_and_after_a_restart() {
    let mut scene = Scene::new(2);
    let passes = [token(1, 1), counter(2, 1, 5), token(1, 2)];
    scene.job(&passes[..2]);
    scene.job(&passes[2..]);
    let mut scenes = [scene.restarted()];
    for scene in &mut scenes {
        assert!(passes.iter().all(|pass| knows(&scene.state, pass)));
        assert_eq!(scene.standing(1).tally.count, 2);
        assert_eq!((scene.standing(2).tally.count, scene.standing(2).highest.value()), (1, 5));
        scene.look();
        assert!(passes.iter().all(|pass| knows(&scene.state, pass)));
    }
}

#[test]
fn passes_of_a_commit_that_failed_are_forgotten_and_those_before_it_are_not() {
    let mut scene = Scene::new(2);
    let (kept, lost) = ([counter(1, 1, 5), token(2, 1)], [counter(1, 2, 6), token(2, 2), counter(2, 3, 9)]);
    scene.job(&kept);
    let version = scene.state.version;
    scene.sql("BEGIN");
    scene.job(&lost[..1]);
    scene.job(&lost[1..]);
    assert_eq!(scene.standing(2).highest.value(), 9);
    scene.sql("ROLLBACK");
    scene.look();
    assert!(kept.iter().all(|pass| knows(&scene.state, pass)));
    assert!(!lost.iter().any(|pass| knows(&scene.state, pass)));
    assert_eq!((scene.standing(1).tally.count, scene.standing(1).highest.value()), (1, 5));
    assert_eq!((scene.standing(2).tally.count, scene.standing(2).highest.value()), (1, 0));
    assert_ne!(scene.state.version, version, "what was frozen is no more");
    // The next ones do not take the place of those lost.
    scene.job(&[token(1, 2)]);
    scene.look();
    assert!(knows(&scene.state, &token(1, 2)));
    assert_eq!(scene.restarted().standing(1).tally.count, 2);
}

#[test]
fn first_passes_of_all_are_forgotten_too() {
    let mut scene = Scene::new(1);
    scene.sql("BEGIN");
    scene.job(&[token(1, 1)]);
    scene.sql("ROLLBACK");
    scene.look();
    assert!(!knows(&scene.state, &token(1, 1)));
    assert_eq!(scene.standing(1).tally, Tally::default());
}

#[test]
fn acts_are_seen_by_the_next_job_and_keep_the_counts() {
    let mut scene = Scene::new(2);
    scene.job(&[counter(1, 3, 8)]);
    rows::set_status(&scene.connection, &serial(1), Status::Revoked, &act()).unwrap();
    scene.look();
    let standing = scene.standing(1);
    assert_eq!((standing.status, standing.tally.count, standing.highest.value()), (Status::Revoked, 3, 8));
    rows::set_status(&scene.connection, &serial(1), Status::Active, &act()).unwrap();
    let quota = QuotaOverride { warn: None, stop: Some(4) };
    rows::set_quota(&scene.connection, &serial(1), quota, &act()).unwrap();
    let renewal =
        Renewal { serial: serial(1), nuc_digest: new_device(1).nuc_digest, min_token_version: TokenVersion::Two };
    rows::renew(&scene.connection, &renewal, &act(), keys().order(), &mut OsRng).unwrap().unwrap();
    rows::register(&scene.connection, vec![new_device(3)], &act(), keys().order(), &mut OsRng).unwrap();
    scene.look();
    let standing = scene.standing(1);
    assert_eq!((standing.status, standing.quota, standing.generation.0), (Status::Active, quota, 1));
    assert_eq!((standing.min_token_version, standing.highest.value()), (TokenVersion::Two, 8));
    assert_eq!(scene.standing(3).id, DeviceId(3));
    rows::set_quota(&scene.connection, &serial(1), QuotaOverride::default(), &act()).unwrap();
    scene.look();
    assert_eq!(scene.standing(1).quota, QuotaOverride::default());
}

#[test]
fn acts_of_a_commit_that_failed_are_forgotten_even_if_others_take_their_place() {
    let mut scene = Scene::new(2);
    scene.job(&[token(2, 1)]);
    rows::set_status(&scene.connection, &serial(1), Status::Revoked, &act()).unwrap();
    scene.look();
    scene.sql("BEGIN");
    rows::set_status(&scene.connection, &serial(1), Status::Active, &act()).unwrap();
    rows::register(&scene.connection, vec![new_device(3)], &act(), keys().order(), &mut OsRng).unwrap();
    scene.job(&[token(1, 1)]);
    assert_eq!(scene.standing(1).status, Status::Active);
    scene.sql("ROLLBACK");
    // As many rows of the log as there were.
    rows::set_status(&scene.connection, &serial(2), Status::Revoked, &act()).unwrap();
    rows::set_status(&scene.connection, &serial(2), Status::Active, &act()).unwrap();
    scene.look();
    assert_eq!(scene.standing(1).status, Status::Revoked);
    assert!(scene.state.standing(&scene.connection, &fingerprint(3)).unwrap().is_none());
    assert!(!knows(&scene.state, &token(1, 1)) && knows(&scene.state, &token(2, 1)));
    assert_eq!((scene.standing(1).tally.count, scene.standing(2).tally.count), (0, 1));
}

#[test]
fn job_that_broke_off_leaves_nothing() {
    let mut scene = Scene::new(1);
    scene.sql("BEGIN");
    scene.state.begin(&scene.connection).unwrap();
    scene.state.read_more(&scene.connection, 1).unwrap();
    scene.state.registry.set_usage(DeviceId(1), Tally { day: Day(1), count: 99 }, Highest::default());
    scene.sql("ROLLBACK");
    scene.look();
    assert_eq!(scene.standing(1).tally.count, 0);
}

#[test]
fn what_was_frozen_is_known_until_it_is_merged_and_deleted() {
    let mut scene = Scene::new(1);
    assert!(scene.state.freeze().is_none());
    scene.job(&[token(1, 1)]);
    scene.job(&[token(1, 2)]);
    let frozen = scene.state.freeze().unwrap();
    assert_eq!(frozen.part.tokens.len(), 2);
    scene.job(&[token(1, 3)]);
    let again = scene.state.freeze().unwrap();
    assert_eq!((again.part.tokens.len(), again.through), (2, frozen.through), "one after the other");
    assert!((1..=3).all(|count| knows(&scene.state, &token(1, count))));
    assert!(!scene.state.forget(&scene.connection, &frozen, 1).unwrap());
    scene.look();
    assert!(knows(&scene.state, &token(1, 1)));
    assert!(scene.state.forget(&scene.connection, &frozen, 1).unwrap());
    scene.look();
    assert!(!knows(&scene.state, &token(1, 1)) && knows(&scene.state, &token(1, 3)));
    assert!(!scene.state.is_frozen(&frozen), "what is read now may be in neither");
    assert!(knows(&scene.restarted().state, &token(1, 3)));
}

#[test]
fn damaged_journal_is_an_error_and_not_forgotten() {
    let mut scene = Scene::new(1);
    scene.job(&[token(1, 1)]);
    scene.sql("UPDATE pass SET passes = x'07'");
    assert!(matches!(State::load(&scene.connection, TUNING), Err(StoreError::Damaged(_))));
    drop(scene.folder);
}

#[test]
fn devices_come_into_memory_by_and_by_and_go_again() {
    let mut scene = Scene::new(5);
    let one = AssignedTables::from_bytes(&[0, 9]).unwrap();
    let others = (6..=300).map(|number| NewDevice { tables: (number == 7).then(|| one.clone()), ..new_device(number) });
    rows::register(&scene.connection, others.collect(), &act(), keys().order(), &mut OsRng).unwrap();
    scene.job(&[counter(1, 3, 8)]);
    let mut jobs = 0;
    while !scene.state.registry.is_complete() {
        for number in [1, 5, 7, 300] {
            assert_eq!(scene.standing(number).id, DeviceId(i64::from(number)), "after {jobs} jobs");
        }
        scene.job(&[]);
        jobs += 1;
    }
    assert_eq!(jobs, 300 / TUNING.read_at_once);
    // From memory alone.
    scene.sql("ALTER TABLE device_registry RENAME TO away");
    for number in 1..=300 {
        assert_eq!(scene.standing(number).id, DeviceId(i64::from(number)));
    }
    assert_eq!((scene.standing(1).tally.count, scene.standing(1).highest.value()), (3, 8));
    assert_eq!(scene.standing(7).tables, one);
    assert!(scene.state.standing(&scene.connection, &fingerprint(301)).unwrap().is_none());
    assert!(scene.state.standing(&scene.connection, &keys().no_nuc_digest()).unwrap().is_none());
    scene.sql("ALTER TABLE away RENAME TO device_registry");

    scene.state.forget_known();
    assert!(scene.state.registry.is_complete(), "it was asked enough");
    scene.state.forget_known();
    assert!(scene.state.registry.is_empty());
    assert_eq!((scene.standing(1).tally.count, scene.standing(1).highest.value()), (3, 8));
}

#[test]
fn damaged_row_is_an_error_for_its_device_alone() {
    let mut scene = Scene::new(2);
    scene.sql("PRAGMA ignore_check_constraints = 1; UPDATE device_registry SET status = 'lost' WHERE id = 1");
    for _ in 0..2 {
        let damaged = scene.state.standing(&scene.connection, &fingerprint(1));
        assert!(matches!(damaged, Err(StoreError::Sqlite(_) | StoreError::Damaged(_))), "{damaged:?}");
        assert_eq!(scene.standing(2).id, DeviceId(2));
        scene.job(&[token(2, 1)]);
    }
    assert!(scene.state.registry.is_complete());
}

/// All devices of most tests are in memory after their first job.
const TUNING: Tuning = Tuning {
    merged_at: 1_000_000,
    merged_after: Duration::from_hours(1),
    slice: 1,
    most: 1_000_000,
    known_from: 1,
    most_blocks: 64 * 1024,
    read_at_once: 100,
    company: Duration::ZERO,
};
