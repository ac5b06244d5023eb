use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use birthmark_core::api::validate::Message;
use birthmark_service::postgres::PostgresOpenError;
use birthmark_service::postgres::cluster::Cluster;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::sync::watch;

use super::*;
use crate::question::Question;
use crate::rules::Verdict;
use crate::store::conformance::{self, Place};
use crate::testing::desk::{self, Desk, NOW, asked_anew};

const USED: Verdict = Verdict::Failed(Message::Used);
const SIGN: Verdict = Verdict::PassedToSign;

struct Database {
    cluster: Arc<Cluster>,
    name: String,
    url: String,
}

impl Database {
    fn new(cluster: &Arc<Cluster>, name: &str) -> Self {
        Self { cluster: Arc::clone(cluster), name: name.to_owned(), url: cluster.database(name) }
    }
}

impl Place for Database {
    fn open(&self) -> Arc<dyn Store> {
        Arc::new(PostgresStore::open(&self.url, desk::rules()).unwrap())
    }

    fn sql(&self, statements: &str) -> Result<(), String> {
        self.cluster.try_sql(&self.name, statements).map(drop)
    }

    fn bytes(&self, hex: &str) -> String {
        format!("'\\x{hex}'::bytea")
    }

    fn unguard_audit(&self) -> &'static str {
        "ALTER TABLE audit DISABLE TRIGGER ALL"
    }
}

#[tokio::test]
async fn postgres_does_all_that_a_store_must() {
    let cluster = Arc::new(Cluster::start());
    conformance::run(|number| Box::new(Database::new(&cluster, &format!("case_{number}")))).await;
}

/// Two authorities over one database, each with its own connections.
async fn two(database: &Database) -> [Desk; 2] {
    [Desk::open(database.open()).await, Desk::reopen(database.open())]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_token_at_two_authorities_at_the_same_moment_passes_at_one() {
    let cluster = Arc::new(Cluster::start());
    let desks = two(&Database::new(&cluster, "two")).await;
    let (camera, other) = (desks[0].camera(1).await, desks[0].camera(2).await);
    let mut where_passed = [0, 0];
    for round in 1..=150 {
        let token = camera.version_1();
        let shared = camera.tables.first();
        let copied = || StdRng::seed_from_u64(round);
        let pairs = [
            // The same version 1 token for two requests.
            [asked_anew(&token), token],
            // Two version 2 tokens under one counter.
            [camera.version_2(2 * round), camera.version_2(2 * round)],
            // Two cameras under one table, index and nonce: no row of a device stands between them.
            [camera.version_1_by(shared, &mut copied()), other.version_1_by(shared, &mut copied())],
        ];
        for pair in &pairs {
            let verdicts = tokio::join!(desks[0].ask(&pair[0]), desks[1].ask(&pair[1]));
            match verdicts {
                (Verdict::Passed | Verdict::PassedToSign, USED) => where_passed[0] += 1,
                (USED, Verdict::Passed | Verdict::PassedToSign) => where_passed[1] += 1,
                other => panic!("round {round}: {other:?}"),
            }
        }
        // The same version 2 token is the same everywhere, and used up once.
        let bound = camera.version_2(2 * round + 1);
        assert_eq!(tokio::join!(desks[0].ask(&bound), desks[1].ask(&bound)), (SIGN, SIGN));
    }
    assert!(where_passed.iter().all(|passed| *passed > 0), "never at once: {where_passed:?}");
    let tally = desks[0].store.device(camera.serial).await.unwrap().unwrap().tally.count;
    let others = desks[0].store.device(other.serial).await.unwrap().unwrap().tally.count;
    assert_eq!(tally + others, 150 * 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acts_at_one_authority_hold_at_the_other_at_once() {
    let cluster = Arc::new(Cluster::start());
    let desks = two(&Database::new(&cluster, "acts")).await;
    let camera = desks[0].camera(1).await;
    for counter in 1..=30 {
        let status = if counter % 2 == 1 { Status::Revoked } else { Status::Active };
        let expected = if counter % 2 == 1 { Verdict::Failed(Message::Invalid) } else { SIGN };
        let (here, there) = (&desks[counter % 2], &desks[1 - counter % 2]);
        // While tokens of the very device are being judged.
        let asked: Vec<_> = (0..8).map(|_| camera.version_1()).collect();
        let asking = futures::future::join_all(asked.iter().map(|question| there.ask(question)));
        let (changed, _) = tokio::join!(here.store.set_status(camera.serial.clone(), status, desk::act()), asking);
        assert_eq!(changed.unwrap(), Changed::Yes);
        assert_eq!(there.ask(&camera.version_2(counter as u64)).await, expected, "{counter}");
    }
    let register = async |desk: &Desk, nuc| {
        let nuc_digest = desk::keys().nuc_digest(&desk::nuc_hash(nuc));
        desk.store.register(vec![NewDevice { nuc_digest, ..desk::new_device(7) }], desk::act()).await
    };
    let (one, two) = tokio::join!(register(&desks[0], 7), register(&desks[1], 8));
    assert_eq!([one, two].iter().filter(|answer| answer.as_ref().unwrap()[0].is_ok()).count(), 1);
    let chain = desks[1].store.check_audit().await.unwrap();
    assert!(matches!(chain, AuditState::Intact(chain) if chain.sequence == 1 + 1 + 30 + 1), "{chain:?}");
}

/// A server that comes and goes, and those who ask meanwhile.
struct Outage {
    desk: Desk,
    cameras: Vec<desk::Camera>,
    up: watch::Sender<bool>,
    /// Pairs answered.
    done: watch::Sender<usize>,
    failures: AtomicUsize,
    over: AtomicBool,
    /// The one that passed, the one that did not, and the pass.
    passed: parking_lot::Mutex<Vec<(Question, Question, Verdict)>>,
}

impl Outage {
    /// Asks until there is an answer.
    async fn ask(&self, question: &Question) -> Verdict {
        loop {
            match self.desk.ask_as("gate-1", question, NOW).await {
                Ok(verdict) => return verdict,
                Err(error) => {
                    assert!(matches!(error, StoreError::Postgres(_)), "{error}");
                    self.failures.fetch_add(1, Ordering::SeqCst);
                    self.up.subscribe().wait_for(|up| *up).await.unwrap();
                }
            }
        }
    }

    /// Pair after pair of questions that exclude each other.
    async fn ask_pairs(&self, lane: u64) {
        let camera = &self.cameras[usize::try_from(lane).unwrap() % self.cameras.len()];
        for counter in (lane + 1..).step_by(LANES) {
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            let (one, two) = if counter.is_multiple_of(2) {
                (camera.version_2(counter), camera.version_2(counter))
            } else {
                let one = camera.version_1();
                (asked_anew(&one), one)
            };
            let pair = match tokio::join!(self.ask(&one), self.ask(&two)) {
                (passed @ (Verdict::Passed | SIGN), USED) => (one, two, passed),
                (USED, passed @ (Verdict::Passed | SIGN)) => (two, one, passed),
                other => panic!("{other:?}"),
            };
            self.passed.lock().push(pair);
            self.done.send_modify(|done| *done += 1);
        }
    }

    async fn until_done(&self, pairs: usize) {
        self.done.subscribe().wait_for(|done| *done >= pairs).await.unwrap();
    }
}

const LANES: usize = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_lost_under_load_loses_no_pass_and_gives_none_twice() {
    let cluster = Arc::new(Cluster::start());
    let desk = Desk::open(Database::new(&cluster, "lost").open()).await;
    let mut cameras = Vec::new();
    for number in 1..=4 {
        cameras.push(desk.camera(number).await);
    }
    let outage = Outage {
        desk,
        cameras,
        up: watch::Sender::new(true),
        done: watch::Sender::new(0),
        failures: AtomicUsize::new(0),
        over: AtomicBool::new(false),
        passed: parking_lot::Mutex::default(),
    };
    let lose = async {
        for round in 1..=3 {
            outage.until_done(round * 100).await;
            outage.up.send_replace(false);
            let cluster = Arc::clone(&cluster);
            let lost = tokio::task::spawn_blocking(move || {
                cluster.stop_at_once();
                cluster.resume();
            });
            lost.await.unwrap();
            outage.up.send_replace(true);
        }
        outage.until_done(400).await;
        outage.over.store(true, Ordering::SeqCst);
    };
    let asking = futures::future::join_all((0..LANES as u64).map(|lane| outage.ask_pairs(lane)));
    tokio::join!(asking, lose);
    assert!(outage.failures.load(Ordering::SeqCst) > 0, "the server was never missed");
    let passed = std::mem::take(&mut *outage.passed.lock());
    for (winner, loser, verdict) in &passed {
        assert_eq!(outage.ask(loser).await, USED);
        assert_eq!(outage.ask(winner).await, *verdict);
    }
    outage.desk.store.health().await.unwrap();
}

#[tokio::test]
async fn schema_is_made_once_and_an_unknown_one_is_refused() {
    let cluster = Arc::new(Cluster::start());
    let database = Database::new(&cluster, "schema");
    // Several at once, as when all servers start together.
    let open = || PostgresStore::open(&database.url, desk::rules());
    let opened: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(opened.iter().all(Result::is_ok));
    assert_eq!(cluster.sql("schema", "SELECT count(*) FROM schema_history"), "2");
    let refused = |version| {
        let error = open().unwrap_err();
        assert!(
            matches!(&error, StoreOpenError::Postgres(PostgresOpenError::Schema { version: found, .. }) if *found == version),
            "{error}"
        );
        assert!(error.to_string().contains("schema"), "{error}");
    };
    cluster.sql("schema", "INSERT INTO schema_history VALUES (3, 'from the future', '\\x00')");
    refused(3);
    cluster.sql("schema", "DELETE FROM schema_history WHERE version = 3");
    open().unwrap();
    cluster.sql("schema", "UPDATE schema_history SET digest = '\\x00' WHERE version = 1");
    refused(1);

    let aggregator = Database::new(&cluster, "aggregator");
    cluster.sql("aggregator", "CREATE TABLE submission (id bigint)");
    let error = PostgresStore::open(&aggregator.url, desk::rules()).unwrap_err();
    assert!(matches!(error, StoreOpenError::Aggregators { .. }), "{error}");
    assert_eq!(cluster.sql("aggregator", "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "1");
    let error = PostgresStore::open("postgresql://nobody@localhost:1/none", desk::rules()).unwrap_err();
    assert!(error.to_string().contains("PostgreSQL at localhost, none"), "{error}");
}

#[tokio::test]
async fn audit_log_cannot_be_emptied_and_commits_are_flushed() {
    let cluster = Arc::new(Cluster::start());
    cluster.sql("postgres", "ALTER SYSTEM SET synchronous_commit = off");
    cluster.sql("postgres", "SELECT pg_reload_conf()");
    let database = Database::new(&cluster, "guards");
    let store = PostgresStore::open(&database.url, desk::rules()).unwrap();
    let error = database.sql("TRUNCATE audit").unwrap_err();
    assert!(error.contains("append-only"), "{error}");
    let setting: String = store
        .read(|client| Box::pin(async move { Ok(client.query_one("SHOW synchronous_commit", &[]).await?.try_get(0)?) }))
        .await
        .unwrap();
    assert_eq!(setting, "on");
    assert_eq!(cluster.sql("guards", "SHOW synchronous_commit"), "off");
}
