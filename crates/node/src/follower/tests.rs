//! A follower of a real validator, and of nodes that lie.

use std::net::{Ipv4Addr, SocketAddr};

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use birthmark_core::api::transactions::TransactionsAnswer;
use birthmark_core::api::verify::VerifyAnswer;
use birthmark_core::batch::{BlockBatch, Place};
use birthmark_ledger::block::encode_payload;
use birthmark_ledger::transfer::{VERSION, decode};
use birthmark_ledger::{BadBlocks, WholeBlock};
use birthmark_service::auth::Authenticator;
use birthmark_service::client::{ClientError, ClientOptions, HttpClient};
use birthmark_service::clock::ManualClock;
use birthmark_service::server::{Limits, Server};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use super::*;
use crate::node::Node;
use crate::testing::{NOW, batch, image, install, network};

mod idle;

/// A validator that stands alone, and whatever else serves.
struct World {
    folder: TempDir,
    network: Arc<Network>,
    router: Router,
    tasks: JoinSet<()>,
}

impl World {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let network = network(1, &[]);
        let config = install(folder.path(), &network, 0, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let node = Arc::new(Node::start(config, Arc::new(ManualClock::at(NOW))).await.unwrap());
        let router = node.router(Authenticator::open("127.0.0.1:1".parse().unwrap()).unwrap());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { node.run(CancellationToken::new()).await.unwrap() });
        Self { folder, network, router, tasks }
    }

    /// Records these images; gives the size of the log.
    async fn record(&self, seeds: std::ops::Range<u16>) -> u64 {
        for seeds in seeds.collect::<Vec<_>>().chunks(50) {
            let batch = batch(&self.network, seeds.iter().copied()).encode();
            let request = Request::post("/api/v1/transactions").header("prefer", "wait=30");
            let request = request.header("content-type", "application/octet-stream").body(Body::from(batch)).unwrap();
            let answer = self.router.clone().oneshot(request).await.unwrap();
            let answer = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
            let answer: TransactionsAnswer = serde_json::from_slice(&answer).unwrap();
            assert!(answer.results.iter().all(|result| serde_json::to_value(result).unwrap()["status"] == "recorded"));
        }
        let status = Request::get("/api/v1/status").body(Body::empty()).unwrap();
        let status = self.router.clone().oneshot(status).await.unwrap();
        let status = axum::body::to_bytes(status.into_body(), usize::MAX).await.unwrap();
        serde_json::from_slice::<Value>(&status).unwrap()["checkpoint_size"].as_u64().unwrap()
    }

    /// Serves on a port of its own; gives the origin.
    async fn serve(&mut self, router: Router) -> String {
        let bound = Server::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
        let origin = format!("http://{}", bound.local_addr());
        self.tasks.spawn(async move { bound.serve(router, Limits::default(), CancellationToken::new()).await });
        origin
    }

    async fn honest(&mut self) -> String {
        self.serve(self.router.clone()).await
    }

    /// The validator's answers, with blocks changed on their way.
    async fn lying(&mut self, lie: impl Fn(&mut Vec<WholeBlock>) + Clone + Send + Sync + 'static) -> String {
        let changed = move |request: Request, next: Next| {
            let lie = lie.clone();
            async move {
                let is_blocks = request.uri().path().starts_with("/api/v1/blocks/");
                let answer = next.run(request).await;
                if !is_blocks || !answer.status().is_success() {
                    return answer;
                }
                let mut blocks = decode(&axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap()).unwrap();
                lie(&mut blocks);
                let mut out = vec![VERSION];
                for block in &blocks {
                    block.encode_into(&mut out);
                }
                out.into_response()
            }
        };
        self.serve(self.router.clone().layer(from_fn(changed))).await
    }

    /// The validator's answers, but this one at paths that begin so.
    async fn instead(
        &mut self,
        start: &'static str,
        answer: impl Fn() -> Response + Clone + Send + Sync + 'static,
    ) -> String {
        let changed = move |request: Request, next: Next| {
            let answer = answer.clone();
            async move { if request.uri().path().starts_with(start) { answer() } else { next.run(request).await } }
        };
        self.serve(self.router.clone().layer(from_fn(changed))).await
    }

    fn follower(&self, sources: &[&str]) -> Arc<Follower> {
        let config = FollowerConfig {
            data_dir: self.folder.path().join("follower"),
            network: Arc::clone(&self.network),
            network_file: Bytes::new(),
            sources: sources.iter().map(|&source| source.to_owned()).collect(),
        };
        Arc::new(Follower::start(config).unwrap())
    }

    /// Asks once, with a ledger of its own; why it was refused.
    async fn refused(&self, source: &str) -> SourceError {
        let follower = self.follower(&[source]);
        let before = follower.reads.ledger.head();
        let refused = follower.step(&follower.sources[0]).await;
        assert_eq!(follower.reads.ledger.head(), before, "nothing of it was applied");
        match refused {
            Err(SyncError::Source(cause)) => cause,
            other => panic!("{other:?}"),
        }
    }
}

/// Follows until its checkpoint has this size.
async fn until(follower: &Arc<Follower>, size: u64) -> CancellationToken {
    let stop = CancellationToken::new();
    let (running, ended) = (Arc::clone(follower), stop.clone());
    let mut sizes = follower.reads.publisher.subscribe();
    let mut task = JoinSet::new();
    task.spawn(async move { running.run(ended).await.unwrap() });
    let reached = async { sizes.wait_for(|known| *known >= size).await.map(|size| *size) };
    assert_eq!(tokio::time::timeout(Duration::from_mins(1), reached).await.expect("in time").unwrap(), size);
    stop.cancel();
    task.join_all().await;
    stop
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_catches_up_answers_all_that_is_read_and_takes_nothing() {
    let mut world = World::start().await;
    world.record(0..120).await;
    let honest = world.honest().await;
    let follower = world.follower(&[&honest]);
    assert!(follower.reads.publisher.newest().is_none());
    let size = world.record(120..130).await;
    until(&follower, size).await;
    let origin = world.serve(follower.router()).await;
    let [follows, validates] = [&origin, &honest].map(|url| HttpClient::new(url, &ClientOptions::default()).unwrap());
    let notes = [follows.get_bytes("/checkpoint").await.unwrap(), validates.get_bytes("/checkpoint").await.unwrap()];
    assert_eq!(notes[0].body, notes[1].body);
    for seed in [0, 77, 129] {
        let path = format!("/api/v1/verify/{}", image(seed));
        let [one, other] = [&follows, &validates].map(|client| client.get_json::<VerifyAnswer>(&path));
        let (one, other) = (one.await.unwrap().body, other.await.unwrap().body);
        assert!(one.verified);
        assert_eq!(serde_json::to_value(&one).unwrap(), serde_json::to_value(&other).unwrap());
    }
    let absent = follows.get_json::<Value>(&format!("/api/v1/verify/{}?proof=1", image(999))).await.unwrap().body;
    assert!(absent["absence"].is_object(), "{absent}");
    for path in ["/tile/entries/000.p/100", "/tile/0/000.p/7", "/api/v1/block/3", "/api/v1/blocks/2"] {
        assert_eq!(
            follows.get_bytes(path).await.unwrap().body,
            validates.get_bytes(path).await.unwrap().body,
            "{path}"
        );
    }
    let batch = batch(&world.network, [500]).encode();
    let refused = follows.post_bytes::<Value>("/api/v1/transactions", batch).await.unwrap_err();
    assert!(
        matches!(&refused, ClientError::Status { status, code: Some(code), .. } if *status == 503 && code == "follower"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_of_a_follower_and_one_that_starts_again_show_the_same() {
    let mut world = World::start().await;
    let honest = world.honest().await;
    let size = world.record(0..10).await;
    let follower = world.follower(&[&honest]);
    until(&follower, size).await;
    let note = follower.reads.publisher.newest().unwrap().note.clone();
    drop(follower);
    let again = world.follower(&["http://127.0.0.1:1"]);
    assert_eq!(again.reads.publisher.newest().unwrap().note, note, "before anyone is asked");
    let origin = world.serve(again.router()).await;
    let folder = world.folder.path().join("second");
    let config = FollowerConfig {
        data_dir: folder,
        network: Arc::clone(&world.network),
        network_file: Bytes::new(),
        sources: vec![origin],
    };
    let second = Arc::new(Follower::start(config).unwrap());
    until(&second, size).await;
    assert_eq!(second.reads.publisher.newest().unwrap().note, note);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_lies_is_refused_by_cause_and_nothing_of_it_is_applied() {
    let mut world = World::start().await;
    world.record(0..10).await;
    let batch_of = |seed: u16, network: &Network| {
        let Ok(batch) = birthmark_core::batch::Batch::decode(&batch(network, [seed]).encode()) else { panic!() };
        let places = batch.transactions.into_iter().map(Place::Record).collect();
        encode_payload(&[BlockBatch { submitter: batch.submitter, places, signature: batch.signature }])
    };
    let other = batch_of(700, &world.network);
    let with_leaves = |blocks: &mut Vec<WholeBlock>| blocks.iter().position(|block| !block.payload.is_empty());

    // A record that was never recorded, properly signed by its submitter.
    let invented = world.lying(move |blocks| {
        let at = with_leaves(blocks).unwrap();
        blocks[at].payload.clone_from(&other);
    });
    let invented = invented.await;
    assert!(matches!(world.refused(&invented).await, SourceError::OtherLog { .. }));

    let root = world.lying(move |blocks| {
        let at = with_leaves(blocks).unwrap();
        blocks[at].index_root = birthmark_core::hash::Digest::from_bytes([1; 32]);
    });
    let root = root.await;
    assert!(matches!(world.refused(&root).await, SourceError::OtherLog { .. }));

    let signature = world.lying(move |blocks| {
        let at = with_leaves(blocks).unwrap();
        *blocks[at].payload.last_mut().unwrap() ^= 1;
    });
    let signature = signature.await;
    assert!(matches!(world.refused(&signature).await, SourceError::Blocks(BadBlocks::Invalid { .. })));

    let gap = world.lying(|blocks| blocks[0].height.0 += 1).await;
    assert!(matches!(world.refused(&gap).await, SourceError::Blocks(BadBlocks::Gap { .. })));
    let none = world.lying(Vec::clear).await;
    assert!(matches!(world.refused(&none).await, SourceError::Withheld(1)));
    let malformed = world.instead("/api/v1/blocks/", || vec![VERSION, 7].into_response()).await;
    assert!(matches!(world.refused(&malformed).await, SourceError::Malformed(_)));
    let endless = world.instead("/api/v1/blocks/", || {
        let chunk = Bytes::from(vec![0; 1 << 16]);
        let chunks = futures::stream::repeat_with(move || Ok::<_, std::convert::Infallible>(chunk.clone()));
        Body::from_stream(chunks).into_response()
    });
    let endless = endless.await;
    assert!(matches!(world.refused(&endless).await, SourceError::Client(ClientError::TooLarge { .. })));
    let unsigned = world.instead("/checkpoint", || "test.example/log\n5\n".into_response()).await;
    assert!(matches!(world.refused(&unsigned).await, SourceError::Checkpoint(_)));
    let bytes = world.instead("/checkpoint", || vec![0xff, 0xfe].into_response()).await;
    assert!(matches!(world.refused(&bytes).await, SourceError::NotText));
    let silent = world.refused("http://127.0.0.1:1").await;
    assert!(matches!(silent, SourceError::Client(ClientError::Connect { .. })), "{silent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_goes_on_to_the_next_node_and_past_one_that_is_behind() {
    let mut world = World::start().await;
    let early = world.record(0..3).await;
    let honest = world.honest().await;
    // A node that shows what was true once.
    let note =
        HttpClient::new(&honest, &ClientOptions::default()).unwrap().get_bytes("/checkpoint").await.unwrap().body;
    let behind = world.instead("/checkpoint", move || note.clone().into_response()).await;
    let size = world.record(3..40).await;
    let lying = world.lying(Vec::clear).await;
    let follower = world.follower(&[&lying, "http://127.0.0.1:1", &honest]);
    until(&follower, size).await;
    let stale = follower.step(&Source::new(&behind).unwrap()).await.unwrap_err();
    assert!(
        matches!(stale, SyncError::Source(SourceError::Stale { got, wanted }) if (got, wanted) == (early, size)),
        "{stale}"
    );
    assert!(!follower.step(&follower.sources[2]).await.unwrap(), "nothing newer");
}

#[tokio::test(flavor = "multi_thread")]
async fn tiles_may_be_kept_for_ever_and_only_leaves_are_compressed() {
    let world = World::start().await;
    world.record(0..20).await;
    let get = async |path: &str, encoding: &str| {
        let request = Request::get(path).header("accept-encoding", encoding).body(Body::empty()).unwrap();
        let answer = world.router.clone().oneshot(request).await.unwrap();
        let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let seen = ["content-type", "cache-control", "content-encoding"].map(header);
        (seen, axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap())
    };
    let for_ever = Some("public, max-age=31536000, immutable".to_owned());
    let bytes = Some("application/octet-stream".to_owned());
    for path in ["/tile/0/000.p/20", "/tile/entries/000.p/20"] {
        let (headers, plain) = get(path, "identity").await;
        assert_eq!(headers, [bytes.clone(), for_ever.clone(), None], "{path}");
        let (headers, packed) = get(path, "gzip, identity").await;
        let gzip = path.contains("entries").then(|| "gzip".to_owned());
        assert_eq!(headers, [bytes.clone(), for_ever.clone(), gzip.clone()], "{path}");
        assert_eq!((packed.len() < plain.len(), packed == plain), (gzip.is_some(), gzip.is_none()), "{path}");
    }
    let (headers, _) = get("/checkpoint", "gzip").await;
    assert_eq!(headers, [Some("text/plain; charset=utf-8".to_owned()), Some("no-store".to_owned()), None]);
    for path in ["/tile/entries/000", "/tile/entries/x", "/tile/entries/000.p/256"] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        assert_eq!(world.router.clone().oneshot(request).await.unwrap().status(), 404, "{path}");
    }
}
