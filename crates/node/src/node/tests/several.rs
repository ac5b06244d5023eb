//! Four real nodes with real engines, files and connections, in one process.

use std::net::SocketAddr;

use birthmark_core::checkpoint;
use tokio::task::JoinSet;

use super::*;
use crate::testing::{batch, free_addresses, image, install, network};

/// Four validators, some of which run.
struct Four {
    _folder: TempDir,
    network: Arc<Network>,
    configs: Vec<NodeConfig>,
    clock: ManualClock,
    running: [Option<One>; 4],
}

struct One {
    running: Running,
    stop: CancellationToken,
    task: JoinSet<Result<(), NodeError>>,
}

impl Four {
    async fn start() -> Self {
        Self::start_on(PeerNetwork::Local).await
    }

    async fn start_on(mode: PeerNetwork) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let addresses: Vec<SocketAddr> = free_addresses(4);
        let network = network(4, &addresses);
        let configs = (0..4).map(|node| {
            let config = install(folder.path(), &network, node, addresses[usize::from(node)]);
            NodeConfig { p2p_network: mode, ..config }
        });
        let configs = configs.collect();
        let clock = ManualClock::at(NOW);
        let mut four = Self { _folder: folder, network, configs, clock, running: Default::default() };
        for node in 0..4 {
            four.up(node).await;
        }
        four
    }

    async fn up(&mut self, node: usize) {
        let started = Node::start(self.configs[node].clone(), Arc::new(self.clock.clone())).await.unwrap();
        let node_of = Arc::new(started);
        let router = node_of.router(Authenticator::open("127.0.0.1:1".parse().unwrap()).unwrap());
        let (stop, mut task) = (CancellationToken::new(), JoinSet::new());
        let (own, own_stop) = (Arc::clone(&node_of), stop.clone());
        task.spawn(async move { own.run(own_stop).await });
        let running = Running { node: node_of, router, network: Arc::clone(&self.network) };
        self.running[node] = Some(One { running, stop, task });
    }

    async fn down(&mut self, node: usize) {
        let mut one = self.running[node].take().unwrap();
        one.stop.cancel();
        one.task.join_next().await.unwrap().unwrap().unwrap();
    }

    fn node(&self, node: usize) -> &Running {
        &self.running[node].as_ref().unwrap().running
    }

    fn up_ones(&self) -> impl Iterator<Item = &Running> {
        self.running.iter().flatten().map(|one| &one.running)
    }

    /// Posts to a node until all of it is recorded there, as an aggregator does.
    async fn record(&self, node: usize, seeds: impl IntoIterator<Item = u16>) -> Vec<TransactionResult> {
        let bytes = batch(&self.network, seeds).encode();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let (_, results) = self.node(node).post(bytes.clone()).await;
            if !results.is_empty() && results.iter().all(|result| matches!(result, TransactionResult::Recorded { .. }))
            {
                return results;
            }
            assert!(tokio::time::Instant::now() < deadline, "not recorded: {results:?}");
        }
    }

    /// Waits until all running nodes have published a tree of at least this size; gives the notes.
    async fn published(&self, size: u64) -> Vec<String> {
        let mut notes = Vec::new();
        for node in self.up_ones() {
            let publisher = &node.node.shared.chain.publisher;
            let mut sizes = publisher.subscribe();
            let reached = sizes.wait_for(|known| *known >= size);
            tokio::time::timeout(PATIENCE, reached).await.expect("published in time").unwrap();
            notes.push(publisher.newest().unwrap().note.clone());
        }
        notes
    }

    async fn end(mut self) {
        for node in 0..4 {
            if self.running[node].is_some() {
                self.down(node).await;
            }
        }
    }
}

fn size_of(results: &[TransactionResult]) -> u64 {
    let Some(TransactionResult::Recorded { tx_id, .. }) = results.last() else { panic!("{results:?}") };
    // The block's own leaf comes behind its records.
    tx_id.0 + 2
}

#[tokio::test(flavor = "multi_thread")]
async fn four_nodes_publish_one_log_each_with_exactly_a_quorum_of_cosignatures() {
    let four = Four::start().await;
    let mut size = 0;
    for node in 0..4 {
        let first = u16::try_from(node).unwrap() * 10;
        size = size_of(&four.record(node, first..first + 3).await);
    }
    let mut trees = std::collections::BTreeSet::new();
    for note in four.published(size).await {
        let verified = checkpoint::verify(&note, four.network.current_policy()).unwrap();
        assert_eq!(note.lines().filter(|line| line.starts_with('—')).count(), 1 + 3, "{note}");
        assert_eq!(verified.cosigners.len(), 3);
        trees.insert(verified.checkpoint.root);
    }
    assert_eq!(trees.len(), 1, "one root at one size");
    let mut found = std::collections::BTreeSet::new();
    for node in four.up_ones() {
        let (answer, proof) = node.answer(image(12)).await;
        let file = [Candidate { kind: Kind::File, hash: image(12) }];
        let verdict = verify(&file, &proof, &Trust::Network(Box::new(Network::clone(&four.network)))).unwrap();
        assert!(matches!(verdict, Verdict::Match(_)), "{verdict:?}");
        found.insert(answer.record.unwrap().tx_id);
    }
    assert_eq!(found.len(), 1, "the same record everywhere");
    four.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_one_of_four_down_all_goes_on_and_it_catches_up_when_it_returns() {
    let mut four = Four::start().await;
    four.record(0, 0..2).await;
    four.down(3).await;
    let size = size_of(&four.record(1, 10..12).await);
    four.published(size).await;
    four.up(3).await;
    // Nothing new happens: what it missed has to be repeated for it.
    let notes = four.published(size).await;
    assert_eq!(notes.len(), 4);
    let size = size_of(&four.record(3, 20..22).await);
    four.published(size).await;
    four.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_four_begin_again_where_they_stood_and_lose_nothing() {
    let mut four = Four::start().await;
    let first = four.record(0, 0..5).await;
    for node in 0..4 {
        four.down(node).await;
    }
    for node in 0..4 {
        four.up(node).await;
    }
    four.published(size_of(&first)).await;
    assert_eq!(four.record(2, 0..5).await, first);
    let size = size_of(&four.record(3, 5..8).await);
    four.published(size).await;
    four.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_for_other_networks_than_one_machine_work_as_well() {
    for mode in [PeerNetwork::Lan, PeerNetwork::Public] {
        let four = Four::start_on(mode).await;
        let size = size_of(&four.record(0, 0..2).await);
        four.published(size).await;
        four.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_posted_to_one_waits_at_the_others_until_a_quorum_is_there() {
    let mut four = Four::start().await;
    four.record(0, 0..2).await;
    for node in [2, 3] {
        four.down(node).await;
    }
    let batch = batch(&four.network, 10..13);
    let request = Request::post("/api/v1/transactions").body(HttpBody::from(batch.encode())).unwrap();
    let (status, answer) = four.node(0).ask::<TransactionsAnswer>(request).await;
    assert_eq!((status, answer.unwrap().results), (StatusCode::OK, vec![TransactionResult::Accepted; 3]));
    let mempool = &four.node(1).node.shared.chain.mempool;
    tokio::time::timeout(PATIENCE, async {
        loop {
            let changed = mempool.changed();
            if mempool.holds(&batch.signature) {
                return;
            }
            changed.await;
        }
    })
    .await
    .expect("the other one hears of it");
    // Whoever posted it is gone, and so is the node that took it; the batch is not.
    four.down(0).await;
    four.up(2).await;
    four.up(3).await;
    let size = size_of(&four.record(3, 10..13).await);
    four.published(size).await;
    four.end().await;
}

const PATIENCE: Duration = Duration::from_mins(1);
