//! What a process that was killed had answered, the next one remembers.
//!
//! For: both stores, in a real process killed by a signal that it cannot see. The process is this test's
//! own program, started again with a variable that tells it to work instead of to watch.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use birthmark_core::api::validate::Message;
use birthmark_service::postgres::cluster::Cluster;
use futures::future::join_all;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::{Location, Store};
use crate::question::{AskedToken, Question};
use crate::rules::Verdict;
use crate::testing::desk::{self, Camera, Desk, KEY, asked_anew};

const CAMERAS: u32 = 5;
const AT_ONCE: u64 = 8;
const KILLS: u64 = 3;
/// Questions of one process, more than it lives to ask.
const MOST: u64 = 100_000;
/// Where the next one starts: near enough for its counters to be in one window with the first's.
const NEXT: u64 = 1_500;
const VARIABLE: &str = "BIRTHMARK_KILLED_STORE";
const USED: Verdict = Verdict::Failed(Message::Used);

#[tokio::test]
async fn killed_on_sqlite_forgets_nothing_that_was_answered() {
    let test = "store::killed::killed_on_sqlite_forgets_nothing_that_was_answered";
    if let Ok(work) = std::env::var(VARIABLE) {
        return be_killed(&work).await;
    }
    let folder = tempfile::tempdir().unwrap();
    watch(test, &format!("sqlite {}", folder.path().join("sma.db").display())).await;
}

#[tokio::test]
async fn killed_while_merging_forgets_nothing_that_was_answered() {
    let test = "store::killed::killed_while_merging_forgets_nothing_that_was_answered";
    if let Ok(work) = std::env::var(VARIABLE) {
        return be_killed(&work).await;
    }
    let folder = tempfile::tempdir().unwrap();
    watch(test, &format!("restless {}", folder.path().join("sma.db").display())).await;
}

#[tokio::test]
async fn killed_on_postgres_forgets_nothing_that_was_answered() {
    let test = "store::killed::killed_on_postgres_forgets_nothing_that_was_answered";
    if let Ok(work) = std::env::var(VARIABLE) {
        return be_killed(&work).await;
    }
    let cluster = Cluster::start();
    watch(test, &format!("postgres {}", cluster.database("killed"))).await;
}

fn open(place: &str) -> Arc<dyn Store> {
    let location = match place.split_once(' ').unwrap() {
        ("restless", path) => return super::sqlite::tests::restless(Path::new(path)),
        ("sqlite", path) => Location::Sqlite(Path::new(path).to_owned()),
        (_, url) => Location::Postgres(url.to_owned()),
    };
    location.open(desk::rules()).unwrap()
}

/// The same question for the same number, in every process: half of them version 1, half version 2.
fn question(cameras: &[Camera], number: u64) -> Question {
    let (turn, rest) = (number / u64::from(CAMERAS), number % u64::from(CAMERAS));
    let camera = &cameras[usize::try_from(rest).unwrap()];
    let rng = &mut StdRng::seed_from_u64(number);
    if turn.is_multiple_of(2) {
        camera.version_1_by(camera.tables.first(), rng)
    } else {
        camera.version_2_by(KEY, turn + 1, rng)
    }
}

async fn cameras(desk: &Desk) -> Vec<Camera> {
    let mut cameras = Vec::new();
    for number in 1..=CAMERAS {
        let device = desk.store.device(desk::serial(number)).await.unwrap().unwrap();
        let (tables, generation) = (device.tables, device.generation);
        cameras.push(Camera::of(number, crate::devices::Registered { tables, generation }));
    }
    cameras
}

/// Asks question after question and says which are answered, until it is no more.
async fn be_killed(work: &str) {
    let (start, place) = work.split_once(' ').unwrap();
    let start: u64 = start.parse().unwrap();
    let desk = Desk::reopen(open(place));
    let cameras = cameras(&desk).await;
    let ask = async |lane: u64| {
        for number in (start + lane..start + MOST).step_by(usize::try_from(AT_ONCE).unwrap()) {
            let verdict = desk.ask(&question(&cameras, number)).await;
            assert!(!matches!(verdict, Verdict::Failed(_)), "question {number}: {verdict:?}");
            println!("answered {number}");
        }
    };
    join_all((0..AT_ONCE).map(ask)).await;
}

/// Kills process after process over one database, and asks everything again.
async fn watch(test: &str, place: &str) {
    let desk = Desk::open(open(place)).await;
    for number in 1..=CAMERAS {
        desk.camera(number).await;
    }
    desk.store.close().await;
    let mut answered = Vec::new();
    for kill in 0..KILLS {
        let (mut child, lines) = start(test, &format!("{} {place}", kill * NEXT));
        let mut numbers = lines.lines().map_while(Result::ok).filter_map(|line| answer(&line));
        answered.extend(numbers.by_ref().take(300));
        child.kill().unwrap();
        child.wait().unwrap();
        // What it had said when it was killed counts too.
        answered.extend(numbers);
    }
    assert!(answered.len() >= 900, "{}", answered.len());
    let desk = Desk::reopen(open(place));
    let cameras = cameras(&desk).await;
    for number in &answered {
        let question = question(&cameras, *number);
        let (again, rival) = match &question.token {
            AskedToken::Unbound(_) => (Verdict::Passed, asked_anew(&question)),
            AskedToken::Bound(..) => {
                let camera = &cameras[usize::try_from(number % u64::from(CAMERAS)).unwrap()];
                (Verdict::PassedToSign, camera.version_2(number / u64::from(CAMERAS) + 1))
            }
        };
        assert_eq!(desk.ask(&rival).await, USED, "question {number}");
        assert_eq!(desk.ask(&question).await, again, "question {number}");
    }
    // And those that nobody was answered pass once.
    let last = answered.iter().max().unwrap();
    for number in last + 1..last + 20 {
        let question = question(&cameras, number);
        assert!(!matches!(desk.ask(&question).await, Verdict::Failed(_)), "question {number}");
    }
    desk.store.close().await;
}

fn start(test: &str, work: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(VARIABLE, work)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}

fn answer(line: &str) -> Option<u64> {
    // The test runner's own words may stand before it.
    line.split_once("answered ")?.1.parse().ok()
}
