//! Validators that come and go while a network of real nodes is running.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use birthmark_core::governance::{ActFile, ApprovedAct, Change};
use birthmark_core::ids::Height;
use birthmark_core::network::{acts_of, with_acts};
use birthmark_service::server::{Limits, Server};
use tokio::task::JoinSet;

use super::*;
use crate::follower::{Follower, FollowerConfig};
use crate::snapshot::{self, SnapshotError};
use crate::testing::{batch, free_addresses, image, install, log_key, member, network_file};

struct Fleet {
    folder: TempDir,
    addresses: Vec<SocketAddr>,
    /// The first file, and the newest that was followed from it.
    file: Bytes,
    network: Arc<Network>,
    clock: ManualClock,
    running: BTreeMap<u8, One>,
    next: AtomicU16,
}

struct One {
    running: Running,
    stop: CancellationToken,
    task: JoinSet<Result<(), NodeError>>,
}

impl Fleet {
    /// A network of so many validators, and places for one more.
    async fn start(validators: u8) -> Self {
        let addresses = free_addresses(validators + 1);
        let (file, network) = network_file(validators, &addresses);
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(NOW);
        let mut fleet =
            Self { folder, addresses, file, network, clock, running: BTreeMap::new(), next: AtomicU16::new(0) };
        for node in 0..validators {
            fleet.up(node).await;
        }
        fleet
    }

    async fn up(&mut self, node: u8) {
        let folder = self.folder.path().join(format!("node-{node}"));
        let listen = self.addresses[usize::from(node)];
        if !folder.exists() {
            install(self.folder.path(), &self.network, node, listen);
        }
        let config = NodeConfig {
            data_dir: folder,
            network: Arc::clone(&self.network),
            network_file: self.file.clone(),
            submitter: SubmitterName::new(format!("node-{node}")).unwrap(),
            p2p_listen: listen,
            p2p_network: PeerNetwork::Local,
            p2p_addresses: BTreeMap::new(),
            mempool_bytes: 8 << 20,
        };
        let started = Arc::new(Node::start(config, Arc::new(self.clock.clone())).await.unwrap());
        let router = started.router(Authenticator::open("127.0.0.1:1".parse().unwrap()).unwrap());
        let (stop, mut task) = (CancellationToken::new(), JoinSet::new());
        let (own, own_stop) = (Arc::clone(&started), stop.clone());
        task.spawn(async move { own.run(own_stop).await });
        let running = Running { node: started, router, network: Arc::clone(&self.network) };
        self.running.insert(node, One { running, stop, task });
    }

    async fn down(&mut self, node: u8) {
        let mut one = self.running.remove(&node).unwrap();
        one.stop.cancel();
        one.task.join_next().await.unwrap().unwrap().unwrap();
    }

    fn node(&self, node: u8) -> &Running {
        &self.running[&node].running
    }

    /// Approves by these validators and hands it to a node, until that one has it in a block.
    async fn enact(&self, node: u8, change: Change, by: &[u8]) {
        let network = self.node(node).node.shared.chain.ledger.network();
        let mut approved = ApprovedAct::new(network.next_act(change), Vec::new());
        for validator in by {
            approved.approve(&log_key(*validator));
        }
        let number = approved.act().number;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let request = Request::post("/api/v1/governance/acts")
                .header("content-type", "application/json")
                .header("prefer", "wait=1")
                .body(HttpBody::from(serde_json::to_vec(&ActFile::from(&approved)).unwrap()))
                .unwrap();
            let (status, answer) = self.node(node).ask::<serde_json::Value>(request).await;
            assert!(status.is_success(), "{answer:?}");
            if self.node(node).node.shared.chain.ledger.network().act_count() >= number {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "not enacted: {answer:?}");
        }
    }

    /// Waits until a node decides in this epoch.
    async fn decides_in(&self, node: u8, epoch: u32) {
        let chain = &self.node(node).node.shared.chain;
        let mut closed = chain.publisher.closed();
        let reached = async {
            while chain.committee().epoch().0 < epoch {
                let _ = tokio::time::timeout(Duration::from_millis(100), closed.changed()).await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("node {node} is not in epoch {epoch}"));
    }

    /// Follows the acts that a node proves, from the file as it is.
    async fn follow(&mut self, node: u8) {
        let request = Request::get("/network.json").body(HttpBody::empty()).unwrap();
        let response = self.node(node).router.clone().oneshot(request).await.unwrap();
        let theirs = axum::body::to_bytes(response.into_body(), 4 << 20).await.unwrap();
        let (file, network) = with_acts(&self.file, &acts_of(&theirs).unwrap()).unwrap();
        (self.file, self.network) = (file.into(), Arc::new(network));
    }

    /// Posts new images to a node until they are recorded.
    async fn record(&self, node: u8, count: u16) {
        let first = self.next.fetch_add(count, Ordering::Relaxed);
        post(self.node(node), first..first + count).await;
    }

    /// What all these nodes must have in common once they have published a tree of this size.
    async fn agree(&self, nodes: &[u8]) {
        let size = nodes.iter().map(|node| self.node(*node).node.shared.chain.ledger.head().size).max().unwrap();
        for node in nodes {
            let mut sizes = self.node(*node).node.shared.chain.publisher.subscribe();
            let reached = sizes.wait_for(|known| *known >= size);
            let in_time = tokio::time::timeout(PATIENCE, reached).await;
            assert!(in_time.is_ok(), "node {node} has not published size {size}");
        }
        let chain = |node: &u8| self.node(*node).node.shared.chain.clone();
        let lowest = nodes.iter().map(|node| chain(node).ledger.head().height.0).min().unwrap();
        let blocks = |node: &u8| {
            let reading = chain(node).ledger.reading().unwrap();
            (0..=lowest).map(|height| reading.block(Height(height)).unwrap().unwrap()).collect::<Vec<_>>()
        };
        let first = blocks(&nodes[0]);
        assert!(first.windows(2).skip(1).all(|pair| pair[0].digest == pair[1].parent), "one chain");
        for node in nodes {
            assert_eq!(blocks(node), first, "node {node} has other blocks");
            let root = chain(node).ledger.root(size).unwrap();
            assert_eq!(root, chain(&nodes[0]).ledger.root(size).unwrap(), "one tree");
        }
        // Each image is in exactly one record.
        let reading = chain(&nodes[0]).ledger.reading().unwrap();
        for seed in 0..self.next.load(Ordering::Relaxed) {
            let found = reading.find(&image(seed)).unwrap().unwrap_or_else(|| panic!("image {seed} is lost"));
            assert_eq!(found.records.len(), 1, "image {seed} is recorded twice");
        }
    }

    async fn end(mut self) {
        for node in self.running.keys().copied().collect::<Vec<_>>() {
            self.down(node).await;
        }
    }
}

async fn post(node: &Running, seeds: impl IntoIterator<Item = u16>) {
    let bytes = batch(&node.network, seeds).encode();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let (status, results) = node.post(bytes.clone()).await;
        if !results.is_empty() && results.iter().all(|result| matches!(result, TransactionResult::Recorded { .. })) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "not recorded: {status} {results:?}");
    }
}

fn add(fleet: &Fleet, node: u8) -> Change {
    Change::AddValidator(Box::new(member(node, Some(fleet.addresses[usize::from(node)]))))
}

fn remove(node: u8) -> Change {
    Change::RemoveValidator(member(node, None).consensus_key)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_validator_becomes_two_and_the_first_one_leaves() {
    let mut fleet = Fleet::start(1).await;
    fleet.record(0, 2).await;
    fleet.enact(0, add(&fleet, 1), &[0]).await;
    fleet.decides_in(0, 1).await;
    fleet.follow(0).await;
    assert_eq!(fleet.network.current_epoch().validators().len(), 2);
    fleet.up(1).await;
    fleet.record(1, 2).await;
    fleet.agree(&[0, 1]).await;

    fleet.enact(1, remove(0), &[0, 1]).await;
    fleet.decides_in(1, 2).await;
    fleet.record(1, 2).await;
    fleet.agree(&[1]).await;
    let first = fleet.node(0).node.shared.chain.committee().epoch();
    assert_eq!(first.0, 1, "who was removed stays where it was, and answers");
    fleet.follow(1).await;
    assert_eq!(fleet.network.current_epoch().validators().len(), 1);

    // Both ends of the log are judged by those who decided then.
    let note = fleet.node(1).node.shared.chain.publisher.newest().unwrap().note.clone();
    fleet.network.verify_checkpoint(&note).unwrap();
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fifth_validator_joins_four_under_load_and_one_leaves() {
    let mut fleet = Fleet::start(4).await;
    fleet.record(0, 3).await;
    let (done, recorded) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU16::new(10_000)));
    let mut load = JoinSet::new();
    for node in [1, 2] {
        let running = fleet.node(node);
        let (router, network, node) = (running.router.clone(), Arc::clone(&running.network), Arc::clone(&running.node));
        let (done, recorded) = (Arc::clone(&done), Arc::clone(&recorded));
        load.spawn(async move {
            let running = Running { node, router, network };
            while !done.load(Ordering::Relaxed) {
                let first = recorded.fetch_add(2, Ordering::Relaxed);
                post(&running, first..first + 2).await;
            }
        });
    }
    fleet.enact(0, add(&fleet, 4), &[0, 1, 2]).await;
    for node in 0..4 {
        fleet.decides_in(node, 1).await;
    }
    fleet.follow(0).await;
    fleet.up(4).await;
    fleet.record(4, 3).await;
    fleet.enact(4, remove(3), &[1, 2, 4, 0]).await;
    for node in [0, 1, 2, 4] {
        fleet.decides_in(node, 2).await;
    }
    done.store(true, Ordering::Relaxed);
    while let Some(ended) = load.join_next().await {
        ended.unwrap();
    }
    fleet.record(2, 3).await;
    fleet.agree(&[0, 1, 2, 4]).await;
    let reading = fleet.node(4).node.shared.chain.ledger.reading().unwrap();
    for seed in 10_000..recorded.load(Ordering::Relaxed) {
        assert_eq!(reading.find(&image(seed)).unwrap().unwrap().records.len(), 1, "image {seed}");
    }
    drop(reading);

    // All begin again in the epoch where they were, with the first file.
    for node in [0, 1, 2, 4] {
        fleet.down(node).await;
    }
    fleet.follow(3).await;
    for node in [0, 1, 2, 4] {
        fleet.up(node).await;
    }
    fleet.record(4, 3).await;
    fleet.agree(&[0, 1, 2, 4]).await;
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_away_at_the_end_of_an_epoch_goes_on_with_the_others() {
    let mut fleet = Fleet::start(4).await;
    fleet.record(0, 2).await;
    fleet.down(3).await;
    fleet.enact(0, add(&fleet, 4), &[0, 1, 2]).await;
    for node in 0..3 {
        fleet.decides_in(node, 1).await;
    }
    // With the file that it has always had: it hears from the others that the epoch is over.
    fleet.up(3).await;
    fleet.decides_in(3, 1).await;
    fleet.record(3, 2).await;
    fleet.agree(&[0, 1, 2, 3]).await;
    fleet.end().await;
}

/// Serves a router on a port of its own; gives the origin.
async fn serve(router: Router, tasks: &mut JoinSet<()>) -> String {
    let bound = Server::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let origin = format!("http://{}", bound.local_addr());
    tasks.spawn(async move { bound.serve(router, Limits::default(), CancellationToken::new()).await });
    origin
}

impl Fleet {
    /// A follower that knows the network by the file as it is.
    fn follower(&self, name: &str, source: &str, tasks: &mut JoinSet<()>) -> Arc<Follower> {
        let config = FollowerConfig {
            data_dir: self.folder.path().join(name),
            network: Arc::clone(&self.network),
            network_file: self.file.clone(),
            sources: vec![source.to_owned()],
        };
        let follower = Arc::new(Follower::start(config).unwrap());
        let own = Arc::clone(&follower);
        tasks.spawn(async move { own.run(CancellationToken::new()).await.unwrap() });
        follower
    }
}

/// Waits until a follower shows the checkpoint of so many leaves or more, in this epoch.
async fn shows(follower: &Follower, size: u64, epoch: u64) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let request = Request::get("/api/v1/status").body(HttpBody::empty()).unwrap();
        let answer = follower.router().oneshot(request).await.unwrap();
        let answer = axum::body::to_bytes(answer.into_body(), 4 << 20).await.unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        if answer["checkpoint_size"].as_u64() >= Some(size) && answer["epoch"] == epoch {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{answer}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_and_snapshots_go_along_into_the_next_epochs_with_the_first_file() {
    let mut fleet = Fleet::start(1).await;
    let (first, first_network) = (fleet.file.clone(), Arc::clone(&fleet.network));
    let mut tasks = JoinSet::new();
    let source = serve(fleet.node(0).router.clone(), &mut tasks).await;
    fleet.record(0, 2).await;
    let follower = fleet.follower("follower", &source, &mut tasks);
    let size = |fleet: &Fleet, node| fleet.node(node).node.shared.chain.ledger.head().size;
    shows(&follower, size(&fleet, 0), 0).await;

    fleet.enact(0, add(&fleet, 1), &[0]).await;
    fleet.decides_in(0, 1).await;
    fleet.follow(0).await;
    fleet.up(1).await;
    fleet.record(1, 2).await;
    fleet.agree(&[0, 1]).await;
    shows(&follower, size(&fleet, 0), 1).await;

    // Nobody whom the first file names signs any more.
    fleet.enact(1, remove(0), &[0, 1]).await;
    fleet.decides_in(1, 2).await;
    fleet.follow(1).await;
    fleet.record(1, 2).await;
    fleet.agree(&[1]).await;
    let newest = Arc::clone(&fleet.network);
    (fleet.file, fleet.network) = (first, Arc::clone(&first_network));
    let source = serve(fleet.node(1).router.clone(), &mut tasks).await;
    let late = fleet.follower("late", &source, &mut tasks);
    shows(&late, size(&fleet, 1), 2).await;
    // It can show the next one the way.
    let origin = serve(late.router(), &mut tasks).await;
    let second = fleet.follower("second", &origin, &mut tasks);
    shows(&second, size(&fleet, 1), 2).await;

    // Its ledger is sound, and goes into a snapshot that whoever has followed the acts can take.
    tasks.shutdown().await;
    drop((follower, late, second));
    let folder = fleet.folder.path().to_owned();
    crate::fsck(&folder.join("second"), &first_network, &mut |_| ()).unwrap().unwrap();
    let out = folder.join("snapshot");
    let made = snapshot::export(&folder.join("second"), &first_network, &out, &mut |_| ()).unwrap();
    let old = snapshot::import(&folder.join("third"), &first_network, &out, &mut |_| ()).unwrap_err();
    assert!(matches!(old, NodeError::Snapshot(SnapshotError::Checkpoint(_))), "{old}");
    let taken = snapshot::import(&folder.join("third"), &newest, &out, &mut |_| ()).unwrap();
    assert_eq!(taken.head, made.head);
    crate::fsck(&folder.join("third"), &first_network, &mut |_| ()).unwrap().unwrap();
    fleet.end().await;
}

const PATIENCE: Duration = Duration::from_mins(1);
