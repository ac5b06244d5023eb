//! Several aggregators on one PostgreSQL, one of which dies, and a server that goes away.

use std::sync::Arc;
use std::time::Duration;

use birthmark_aggregator::{Aggregator, AggregatorConfig, AggregatorError, SIGNING_KEY_FILE, StoreOpenError};
use birthmark_service::postgres::cluster::Cluster;
use birthmark_service::secret_file;
use serde_json::json;

use crate::camera::bound;
use crate::script::Act;
use crate::sma::BAD;
use crate::world::{Running, SEED, World, submission, submission_of};

/// A world whose aggregators share a database.
struct Shared {
    world: World,
    cluster: Arc<Cluster>,
    url: String,
    folders: [tempfile::TempDir; 2],
}

impl Shared {
    async fn new() -> Self {
        let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
        let url = cluster.database("aggregator");
        let folders = [0, 1].map(|_| {
            let folder = tempfile::tempdir().unwrap();
            secret_file::create(&folder.path().join(SIGNING_KEY_FILE), &SEED).unwrap();
            folder
        });
        Self { world: World::new().await, cluster: Arc::new(cluster), url, folders }
    }

    fn configure(&self, number: usize, config: &mut AggregatorConfig) {
        config.data_dir = self.folders[number].path().to_owned();
        config.database_url = Some(self.url.clone());
        config.lease = Duration::from_millis(300);
    }

    async fn start(&self, number: usize) -> Running {
        self.world.start_with(|config| self.configure(number, config)).await
    }

    fn count(&self, condition: &str) -> String {
        self.cluster.sql("aggregator", &format!("SELECT count(*) FROM submission WHERE {condition}"))
    }

    /// How many captures are on record, each of them once.
    fn recorded(&self) -> usize {
        let mut log: Vec<_> = self.world.node.log().iter().map(birthmark_core::body::Body::encode).collect();
        let all = log.len();
        log.sort();
        log.dedup();
        assert_eq!(log.len(), all, "a capture was recorded twice");
        all
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_take_in_side_by_side_and_each_capture_is_recorded_once() {
    let shared = Shared::new().await;
    let both = [shared.start(0).await, shared.start(1).await];
    for number in 1..=30u8 {
        let body = if number % 3 == 0 { bound(&shared.world, number) } else { submission(number) };
        // The same at both, as a camera does that heard nothing of the first.
        let (one, two) = tokio::join!(both[0].submit(&body), both[1].submit(&body));
        assert!(matches!((one.status, two.status), (202, 200) | (200, 202)), "{one:?} {two:?}");
        assert_eq!(one.body["receipt_id"], two.body["receipt_id"]);
        // Whoever works on it, the other hears of its end.
        for aggregator in &both {
            assert_eq!(aggregator.end_of(&body).await["status"], "confirmed");
        }
    }
    let refused = both[0].end_of(&submission_of(99, BAD)).await;
    assert_eq!((&refused["status"], &refused["reason"]), (&json!("rejected"), &json!("token_invalid")));
    assert_eq!(shared.recorded(), 30);
    assert_eq!(shared.count("token IS NOT NULL OR request_id IS NOT NULL OR endorsement IS NOT NULL"), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_of_a_killed_one_is_finished_by_the_other_under_the_same_request_ids() {
    let shared = Shared::new().await;
    let (dying, other) = (shared.start(0).await, shared.start(1).await);
    // Judged and not answered: the verdict is lost with its asker.
    shared.world.sma.script.always(Act::ServeAndCut);
    for number in 1..=10 {
        assert_eq!(dying.submit(&submission(number)).await.status, 202);
    }
    shared.world.sma.script.called(1).await;
    dying.kill().await;
    shared.world.sma.script.always(Act::Serve);
    for number in 1..=10 {
        assert_eq!(other.end_of(&submission(number)).await["status"], "confirmed");
    }
    assert_eq!((shared.recorded(), shared.count("state = 2")), (10, "10".to_owned()));
    let mut asked = shared.world.sma.asked();
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked.len(), 10, "each submission was asked about under one id");
    let figures = other.get("/api/v1/status").await.body;
    assert_eq!((&figures["pending"], &figures["validated"]), (&json!(0), &json!(0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn validated_submissions_of_a_killed_one_are_recorded_by_the_other() {
    let shared = Shared::new().await;
    let (dying, other) = (shared.start(0).await, shared.start(1).await);
    shared.world.node.script.always(Act::ServeAndCut);
    for number in 1..=10 {
        assert_eq!(dying.submit(&bound(&shared.world, number)).await.status, 202);
    }
    dying.until(|figures| figures["validated"] == 10).await;
    dying.kill().await;
    shared.world.node.script.always(Act::Serve);
    other.until(|figures| figures["confirmed_since_start"] == 10).await;
    assert_eq!((shared.recorded(), shared.count("state = 2 AND assurance = 2")), (10, "10".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_server_is_away_nothing_is_accepted_and_nothing_is_judged_and_then_all_goes_on() {
    let shared = Shared::new().await;
    let running = shared.start(0).await;
    shared.world.sma.script.always(Act::Hold);
    for number in 1..=5 {
        assert_eq!(running.submit(&submission(number)).await.status, 202);
    }
    shared.world.sma.script.called(1).await;
    shared.cluster.stop_at_once();
    // The authority judges meanwhile, and its verdicts cannot be stored.
    shared.world.sma.script.release();
    shared.world.sma.script.always(Act::Serve);
    let refused = running.submit(&submission(6)).await;
    assert_eq!((refused.status, refused.code.as_deref()), (503, Some("database_unavailable")));
    assert!(refused.retry_after.is_some());
    assert_eq!(running.get("/ready").await.code.as_deref(), Some("not_ready"));
    assert_eq!(running.get("/health").await.status, 200);
    let cluster = Arc::clone(&shared.cluster);
    tokio::task::spawn_blocking(move || cluster.resume()).await.unwrap();
    for number in 1..=6 {
        let body = submission(number);
        let ended = async {
            loop {
                let reply = running.submit_and_wait(&body, 30).await;
                if reply.status == 200 {
                    return reply.body;
                }
                assert_eq!(reply.status, 503, "{reply:?}");
            }
        };
        let end = tokio::time::timeout(crate::world::DEADLINE, ended).await.unwrap();
        assert_eq!(end["status"], "confirmed");
    }
    assert_eq!((shared.recorded(), shared.count("state = 2")), (6, "6".to_owned()));
    assert_eq!(running.get("/ready").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_submissions_survive_aggregators_and_servers_that_die_in_turn() {
    let shared = Shared::new().await;
    let mut running = [Some(shared.start(0).await), Some(shared.start(1).await)];
    for number in 1..=36u8 {
        if number % 4 == 0 {
            shared.world.sma.script.first(&[Act::ServeAndCut]);
            shared.world.node.script.first(&[Act::ServeAndCut, Act::OnlyAccept]);
        }
        let at = usize::from(number % 2);
        let body = bound(&shared.world, number);
        let submitted = async { while running[at].as_ref().unwrap().submit(&body).await.status >= 500 {} };
        tokio::time::timeout(crate::world::DEADLINE, submitted).await.unwrap();
        if number % 6 == 0 {
            running[at].take().unwrap().kill().await;
            running[at] = Some(shared.start(at).await);
        }
        if number % 12 == 0 {
            let cluster = Arc::clone(&shared.cluster);
            let restarted = tokio::task::spawn_blocking(move || {
                cluster.stop_at_once();
                cluster.resume();
            });
            restarted.await.unwrap();
        }
    }
    let done = async { while shared.count("state = 2") != "36" {} };
    tokio::time::timeout(crate::world::DEADLINE, done).await.unwrap();
    assert_eq!(shared.recorded(), 36);
    assert_eq!(shared.count("state = 3"), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn address_that_cannot_be_used_keeps_it_from_starting_and_its_password_to_itself() {
    let shared = Shared::new().await;
    let refusal = |url: &str| {
        let mut config = shared.world.config();
        shared.configure(0, &mut config);
        config.database_url = Some(url.to_owned());
        assert!(!format!("{config:?}").contains("hunter2"));
        Aggregator::open(config, Arc::new(shared.world.clock.clone())).unwrap_err()
    };
    for url in ["", "mysql://root:hunter2@localhost/x", "postgresql://birthmark:hunter2@localhost:1/none"] {
        let error = refusal(url);
        assert!(matches!(error, AggregatorError::Database(StoreOpenError::Postgres(_))), "{url}: {error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    let authority = shared.cluster.database("sma");
    shared.cluster.sql("sma", "CREATE TABLE device_registry (id bigint)");
    let error = refusal(&authority);
    assert!(error.to_string().contains("authority's database"), "{error}");
}
