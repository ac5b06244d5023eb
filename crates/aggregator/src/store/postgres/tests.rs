use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use birthmark_core::hash::Digest;
use birthmark_core::ids::NetworkId;
use birthmark_service::postgres::PostgresOpenError;
use birthmark_service::postgres::cluster::Cluster;
use futures::{StreamExt as _, stream};
use tempfile::TempDir;
use tokio::sync::watch;

use super::*;
use crate::pipeline::state::{State, Voucher};
use crate::store::conformance::{self, Place};
use crate::store::testing::{
    AUTHORITY, at, bound_row, camera, endorsed, go, id_of, placed, put, put_all, row, sealed_anew, waiting,
};

/// A database and an aggregator's folder.
struct Database {
    cluster: Arc<Cluster>,
    name: String,
    url: String,
    folder: TempDir,
}

impl Database {
    fn new(cluster: &Arc<Cluster>, name: &str) -> Self {
        let (cluster, url) = (Arc::clone(cluster), cluster.database(name));
        Self { cluster, name: name.to_owned(), url, folder: tempfile::tempdir().unwrap() }
    }

    /// Another aggregator's folder for the same database.
    fn beside(&self) -> Self {
        let (cluster, name, url) = (Arc::clone(&self.cluster), self.name.clone(), self.url.clone());
        Self { cluster, name, url, folder: tempfile::tempdir().unwrap() }
    }

    fn open_with(&self, lease: Duration) -> Arc<dyn Store> {
        Arc::new(self.try_open(scope(lease)).unwrap())
    }

    fn try_open(&self, scope: Scope) -> Result<PostgresStore, StoreOpenError> {
        PostgresStore::open(&self.url, Member::of_folder(self.folder.path(), scope).unwrap())
    }

    fn sql(&self, statements: &str) -> String {
        self.cluster.sql(&self.name, statements)
    }

    /// As if so much time had passed for the leases of all that hold less than a minute's.
    fn run_out(&self) {
        self.sql("UPDATE aggregator SET alive_until = now() - interval '1 second' WHERE alive_until < now() + interval '1 minute'");
    }
}

impl Place for Database {
    fn open(&self) -> Arc<dyn Store> {
        self.open_with(LONG)
    }

    fn number(&self, query: &str) -> i64 {
        self.sql(query).parse().unwrap()
    }
}

fn scope(lease: Duration) -> Scope {
    Scope { network: NetworkId(Digest::from_bytes([7; 32])), authorities: vec![AUTHORITY.to_owned()], lease }
}

const LONG: Duration = Duration::from_hours(1);
const SHORT: Duration = Duration::from_secs(10);

fn adopted(pending: u64, validated: u64) -> Tended {
    Tended { adopted: Backlog { pending, validated }, lapsed: false }
}

#[tokio::test]
async fn postgres_does_all_that_a_store_must() {
    let cluster = Arc::new(Cluster::start());
    conformance::run(|number| Box::new(Database::new(&cluster, &format!("case_{number}")))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn same_submission_at_two_aggregators_at_once_is_one_row_of_one_of_them() {
    let cluster = Arc::new(Cluster::start());
    let database = Database::new(&cluster, "two");
    let stores = [database.open(), database.beside().open()];
    // From both ends, so that they meet in the middle.
    let one = stream::iter(1..=200u8).map(|number| put(&stores[0], row(number))).buffered(8).collect();
    let copy = |number| crate::store::NewRow { receipt: Uuid::from_u128(1000 + u128::from(number)), ..row(number) };
    let two = stream::iter((1..=200u8).rev()).map(|number| put(&stores[1], copy(number))).buffered(8).collect();
    let (one, mut two): (Vec<_>, Vec<_>) = tokio::join!(one, two);
    two.reverse();
    let mut taken = [0, 0];
    for pair in one.iter().zip(&two) {
        let (new, known) = match pair {
            (Intake::New(new), Intake::Repeat(known)) => {
                taken[0] += 1;
                (new, known)
            }
            (Intake::Repeat(known), Intake::New(new)) => {
                taken[1] += 1;
                (new, known)
            }
            other => panic!("{other:?}"),
        };
        assert_eq!((new.id, known.elsewhere), (known.id, true));
    }
    assert!(taken.iter().all(|taken| *taken > 0), "they never met: {taken:?}");
    for (store, taken) in stores.iter().zip(taken) {
        assert_eq!(store.backlog().await.unwrap(), Backlog { pending: taken, validated: 0 });
        assert_eq!(waiting(store, &[], 999).await.len() as u64, taken);
    }
}

#[tokio::test]
async fn row_that_is_forgotten_while_it_is_looked_for_fails_no_other() {
    let cluster = Arc::new(Cluster::start());
    let database = Database::new(&cluster, "gone");
    let store = database.open();
    // As if what stood in its way had gone by then: it is not written, and nothing is found.
    database.sql(
        "CREATE FUNCTION vanish() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER vanish BEFORE INSERT ON submission FOR EACH ROW WHEN (NEW.received_at = 1002)
             EXECUTE FUNCTION vanish()",
    );
    let answers = store.take_in([1, 2, 3].map(|number| placed(row(number))).to_vec()).await.unwrap();
    assert!(matches!(answers[..], [Intake::New(_), Intake::Gone, Intake::New(_)]), "{answers:?}");
    database.sql("DROP TRIGGER vanish ON submission");
    put_all(&store, [row(2)]).await;
}

#[tokio::test]
async fn work_of_the_dead_passes_to_one_of_the_others_and_nobody_takes_that_of_the_living() {
    let cluster = Arc::new(Cluster::start());
    let database = Database::new(&cluster, "death");
    let (dying, others) = (database.open_with(SHORT), [database.beside().open(), database.beside().open()]);
    put_all(&dying, (1..=40).map(row)).await;
    for id in waiting(&dying, &[], 15).await {
        assert!(go(&dying, id, State::Received, State::Validated(Voucher::Word)).await.unwrap());
    }
    put_all(&dying, [bound_row(50)]).await;
    let under_way = id_of(&dying, bound_row(50).receipt).await;
    put_all(&others[0], [row(60)]).await;
    for other in &others {
        assert_eq!(other.tend().await.unwrap(), adopted(0, 0));
    }
    drop(dying);
    assert_eq!(others[1].tend().await.unwrap(), adopted(0, 0), "its lease has not run out");
    database.run_out();
    let (one, two) = tokio::join!(others[0].tend(), others[1].tend());
    let total = |tended: Tended| (tended.adopted.pending, tended.adopted.validated);
    let (one, two) = (total(one.unwrap()), total(two.unwrap()));
    assert_eq!((one.0 + two.0, one.1 + two.1), (26, 15));
    let mut backlog = 0;
    for other in &others {
        backlog += other.backlog().await.unwrap().pending;
        // The request id and the token came along, by which a repeated question is the same.
        let rows = other.to_validate(AUTHORITY.to_owned(), BTreeSet::new(), 999).await.unwrap();
        for found in rows.iter().filter(|found| found.id == under_way) {
            assert_eq!((found.request_id.0, &found.token), ([50; 16], &camera(&bound_row(50)).token));
        }
    }
    assert_eq!(backlog, 27);
    assert_eq!(others[0].tend().await.unwrap(), adopted(0, 0));
}

#[tokio::test]
async fn one_that_was_only_slow_finds_its_moves_refused_and_hears_that_it_passed_for_dead() {
    let cluster = Arc::new(Cluster::start());
    let database = Database::new(&cluster, "slow");
    let (slow, other) = (database.open_with(SHORT), database.beside().open());
    put_all(&slow, [row(1), row(2)]).await;
    let ids = waiting(&slow, &[], 9).await;
    database.run_out();
    assert_eq!(other.tend().await.unwrap(), adopted(2, 0));
    let validated = State::Validated(Voucher::Word);
    // The slow one hears of its verdict first: it counts, whoever has the row now.
    assert!(go(&slow, ids[0], State::Received, validated.clone()).await.unwrap());
    assert!(!go(&other, ids[0], State::Received, validated.clone()).await.unwrap());
    assert!(go(&other, ids[1], State::Received, validated.clone()).await.unwrap());
    assert!(!go(&slow, ids[1], State::Received, validated).await.unwrap());
    assert_eq!(slow.tend().await.unwrap(), Tended { adopted: Backlog::default(), lapsed: true });
    assert_eq!(slow.tend().await.unwrap(), adopted(0, 0));
    assert_eq!(slow.backlog().await.unwrap(), Backlog::default());
    assert_eq!(other.to_post(BTreeSet::new(), 9).await.unwrap().len(), 2);
}

#[tokio::test]
async fn restarted_one_has_its_rows_at_once_and_one_that_closed_leaves_them_at_once() {
    let cluster = Arc::new(Cluster::start());
    let database = Database::new(&cluster, "restart");
    let (store, other) = (database.open(), database.beside().open());
    put_all(&store, [row(1), row(2)]).await;
    drop(store);
    let store = database.open();
    assert_eq!(store.backlog().await.unwrap(), Backlog { pending: 2, validated: 0 });
    store.close().await;
    assert_eq!(other.tend().await.unwrap(), adopted(2, 0));
}

#[tokio::test]
async fn second_process_with_a_copy_of_the_folder_ends_the_first() {
    let cluster = Arc::new(Cluster::start());
    let database = Database::new(&cluster, "copy");
    let (first, second) = (database.open(), database.open());
    let error = first.tend().await.unwrap_err();
    assert!(matches!(&error, StoreError::Closed(cause) if cause.contains("copy")), "{error}");
    assert_eq!(second.tend().await.unwrap(), adopted(0, 0));
}

/// A server that comes and goes, and those who submit meanwhile.
struct Outage {
    store: Arc<dyn Store>,
    up: watch::Sender<bool>,
    done: watch::Sender<u64>,
    failures: AtomicUsize,
    over: AtomicBool,
}

impl Outage {
    /// Submits one after another, each until it has an answer, and moves it on.
    async fn submit(&self, lane: u128) {
        for number in (lane..).step_by(LANES) {
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            let new = sealed_anew(row(1), 10_000 + number);
            let receipt = self.until_known(async || self.store.take_in(vec![placed(new.clone())]).await).await;
            let [Intake::New(known) | Intake::Repeat(known)] = &receipt[..] else { panic!("{receipt:?}") };
            assert_eq!(known.id, new.receipt);
            self.done.send_modify(|done| *done += 1);
        }
    }

    async fn until_known<T>(&self, ask: impl AsyncFn() -> Result<T, StoreError>) -> T {
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(error) => {
                    assert!(!error.is_final(), "{error}");
                    self.failures.fetch_add(1, Ordering::SeqCst);
                    self.up.subscribe().wait_for(|up| *up).await.unwrap();
                }
            }
        }
    }
}

const LANES: usize = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_lost_under_load_loses_nothing_that_was_answered() {
    let cluster = Arc::new(Cluster::start());
    let database = Database::new(&cluster, "lost");
    let outage = Outage {
        store: database.open(),
        up: watch::Sender::new(true),
        done: watch::Sender::new(0),
        failures: AtomicUsize::new(0),
        over: AtomicBool::new(false),
    };
    let lose = async {
        for round in 1..=3 {
            outage.done.subscribe().wait_for(|done| *done >= round * 300).await.unwrap();
            outage.up.send_replace(false);
            let cluster = Arc::clone(&cluster);
            let lost = tokio::task::spawn_blocking(move || {
                cluster.stop_at_once();
                cluster.resume();
            });
            lost.await.unwrap();
            outage.up.send_replace(true);
        }
        outage.done.subscribe().wait_for(|done| *done >= 1200).await.unwrap();
        outage.over.store(true, Ordering::SeqCst);
    };
    let submitting = futures::future::join_all((0..LANES as u128).map(|lane| outage.submit(lane)));
    tokio::join!(submitting, lose);
    assert!(outage.failures.load(Ordering::SeqCst) > 0, "the server was never missed");
    let answered = *outage.done.borrow();
    assert_eq!(outage.store.backlog().await.unwrap(), Backlog { pending: answered, validated: 0 });
    outage.store.health().await.unwrap();
}

#[tokio::test]
async fn authoritys_database_and_an_unknown_schema_are_refused() {
    let cluster = Arc::new(Cluster::start());
    let open = |database: &Database| database.try_open(scope(LONG));
    let authority = Database::new(&cluster, "authority");
    authority.sql("CREATE TABLE device_registry (id bigint)");
    let error = open(&authority).unwrap_err();
    assert!(matches!(error, StoreOpenError::Authoritys { .. }), "{error}");
    assert!(error.to_string().contains("authority's database"), "{error}");
    assert_eq!(authority.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "1");

    let newer = Database::new(&cluster, "newer");
    open(&newer).unwrap();
    newer.sql("INSERT INTO schema_history VALUES (2, 'from the future', '\\x00')");
    let error = open(&newer).unwrap_err();
    assert!(matches!(error, StoreOpenError::Postgres(PostgresOpenError::Schema { version: 2, .. })), "{error}");
}

#[tokio::test]
async fn work_for_an_authority_that_nobody_else_can_ask_is_left_where_it_is() {
    let cluster = Arc::new(Cluster::start());
    let database = Database::new(&cluster, "authorities");
    let dying = database.open_with(SHORT);
    put_all(&dying, [row(1), row(2)]).await;
    let id = id_of(&dying, row(2).receipt).await;
    assert!(go(&dying, id, State::Received, State::Validated(Voucher::Word)).await.unwrap());
    drop(dying);
    let beside = database.beside();
    let other = beside.try_open(Scope { authorities: vec!["B".to_owned()], ..scope(LONG) }).unwrap();
    database.run_out();
    assert_eq!(other.tend().await.unwrap(), adopted(0, 1));
    assert_eq!(database.open().backlog().await.unwrap(), Backlog { pending: 1, validated: 0 });
}

#[tokio::test]
async fn database_of_another_network_is_refused() {
    let cluster = Arc::new(Cluster::start());
    let database = Database::new(&cluster, "networks");
    put_all(&database.open(), [row(1)]).await;
    let network = NetworkId(Digest::from_bytes([8; 32]));
    let error = database.beside().try_open(Scope { network, ..scope(LONG) }).unwrap_err();
    assert!(matches!(error, StoreOpenError::OtherNetwork), "{error}");
    assert_eq!(database.sql("SELECT count(*) FROM aggregator"), "1");
}

/// Without its index each of these would read the whole table at every wake.
#[tokio::test]
async fn queues_are_found_by_index_and_the_oldest_first_without_sorting() {
    let cluster = Arc::new(Cluster::start());
    let database = Database::new(&cluster, "plans");
    let store = database.open();
    let statements = [
        (
            "SELECT id FROM submission WHERE state = 0 AND owner = 1 AND authority = 'A' AND id <> ALL('{1,2}') \
             ORDER BY id LIMIT 9",
            "submission_to_validate",
        ),
        ("SELECT id FROM submission WHERE state = 1 AND owner = 1 ORDER BY id LIMIT 9", "submission_to_post"),
        ("SELECT id FROM submission WHERE state = 1 AND owner = ANY('{3,4}') LIMIT 9", "submission_to_post"),
        ("SELECT tx_id FROM submission WHERE body_digest = ANY('{\"\\\\x00\"}') AND state = 2", "submission_recorded"),
        (
            "UPDATE submission AS s SET state = 1 FROM unnest('{1,2}'::bigint[]) AS new (id) WHERE s.id = new.id",
            "submission_id",
        ),
    ];
    // Planned for an empty table, for one that waits, and for one that has grown since it was looked at.
    for batch in 0..3u128 {
        for (sql, index) in statements {
            let plan = database.sql(&format!("{}; EXPLAIN {sql}", SCHEMA.session));
            assert!(plan.contains(index) && !plan.contains("Sort"), "{sql}: {plan}");
        }
        let rows = (0..500).map(|number| sealed_anew(row(1), 10_000 + batch * 500 + number));
        put_all(&store, rows).await;
        if batch == 0 {
            database.sql("ANALYZE submission");
        }
    }
}

#[tokio::test]
async fn endorsed_row_ends_without_any_of_its_secrets() {
    let cluster = Arc::new(Cluster::start());
    let database = Database::new(&cluster, "secrets");
    let store = database.open();
    put_all(&store, [bound_row(1)]).await;
    let id = id_of(&store, bound_row(1).receipt).await;
    let validated = State::Validated(endorsed());
    assert!(go(&store, id, State::Received, validated.clone()).await.unwrap());
    let secrets = || database.sql("SELECT count(*) FROM submission WHERE token IS NOT NULL OR request_id IS NOT NULL");
    assert_eq!(secrets(), "0");
    let end = State::Confirmed(at(7, birthmark_core::batch::Assurance::Endorsed));
    assert!(go(&store, id, validated, end).await.unwrap());
    assert_eq!(database.sql("SELECT count(*) FROM submission WHERE endorsement IS NOT NULL"), "0");
}
