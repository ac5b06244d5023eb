//! Four validators as processes of their own, as operators run them: `network init`, `node serve
//! --config`, SIGKILL.
//!
//! Whatever a node has answered as recorded is final: it must be found at the same place of the same log
//! on every node, whoever was killed when. Every validator leads every fourth block, so under load a killed
//! one is a leader, or about to be.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use birthmark_core::ImageHash;
use birthmark_core::api::transactions::{TransactionResult, TransactionsAnswer};
use birthmark_core::api::verify::VerifyAnswer;
use birthmark_core::batch::{Assurance, Batch, SubmitterKey, Transaction};
use birthmark_core::body::{Body, Entries, Entry, Kind, Level, Parent};
use birthmark_core::checkpoint::{self, VerifiedCheckpoint};
use birthmark_core::ids::{AuthorityId, SubmitterNumber};
use birthmark_core::network::{Network, Trust};
use birthmark_core::note::SecretKey;
use birthmark_core::proof::ProofBundle;
use birthmark_core::tile::{Tile, TileKind};
use birthmark_core::verify::{Candidate, Verdict, verify};
use birthmark_service::client::{ClientOptions, HttpClient};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::installation::{Demo, birthmark};
use crate::operator::done;
use crate::submissions::{Device, raw_hash, send};

pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// A network of four, laid out by the command line.
pub(crate) struct Four {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) nodes: Vec<NodeProcess>,
    pub(crate) network: Arc<Network>,
    signing: SubmitterKey,
    next: AtomicU64,
    /// What nodes have answered as recorded.
    recorded: Mutex<BTreeMap<ImageHash, u64>>,
}

pub(crate) struct NodeProcess {
    pub(crate) folder: PathBuf,
    pub(crate) client: HttpClient,
    /// Where other validators connect to.
    pub(crate) p2p_port: u16,
    pub(crate) child: Option<Child>,
}

impl NodeProcess {
    pub(crate) fn start(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.join("log")).unwrap();
        let config = self.folder.join("node.toml");
        let mut command = birthmark(&["node", "serve", "--config", config.to_str().unwrap()]);
        self.child = Some(command.stdin(Stdio::null()).stderr(log).spawn().unwrap());
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// What it has published, if it answers.
    pub(crate) async fn checkpoint(&self, network: &Network) -> Option<VerifiedCheckpoint> {
        let note = self.client.get_bytes("/checkpoint").await.ok()?.body;
        let note = std::str::from_utf8(&note).unwrap().to_owned();
        let verified = checkpoint::verify(&note, network.current_policy()).expect("what is shown has a quorum");
        assert_eq!(verified.cosigners.len(), 3, "exactly a quorum");
        Some(verified)
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            let from = log.len().saturating_sub(3_000);
            println!("{}:\n{}", self.folder.display(), log.get(from..).unwrap_or_default());
        }
    }
}

impl Four {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        done(folder.path(), &["network", "init", "--validators", "4", "--out", "net", "--origin", "log.example/4"]);
        let net = folder.path().join("net");
        let ports = free_ports(8);
        let keys: Vec<_> = (0..4).map(|node| public_key(&net.join(format!("node-{node}")))).collect();
        let nodes = (0..4).map(|node| prepare(&net.join(format!("node-{node}")), node, &ports, &keys));
        let mut nodes: Vec<_> = nodes.collect();
        nodes.iter_mut().for_each(NodeProcess::start);
        let network = Arc::new(Network::parse(&std::fs::read(net.join("network.json")).unwrap()).unwrap());
        let signing = SubmitterKey::from_seed(seed(&net.join("aggregator/signing.key")));
        Self { folder, nodes, network, signing, next: AtomicU64::new(0), recorded: Mutex::default() }
    }

    pub(crate) fn clients(&self) -> Vec<HttpClient> {
        self.nodes.iter().map(|node| node.client.clone()).collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.recorded.lock().unwrap().len()
    }

    /// What nodes have answered as recorded, each with its place in the log.
    pub(crate) fn recorded(&self) -> BTreeMap<ImageHash, u64> {
        self.recorded.lock().unwrap().clone()
    }

    /// Posts a new batch to one node after the other until one says that all of it is recorded.
    async fn record(&self, clients: &[HttpClient], first: usize) {
        let numbers = self.next.fetch_add(5, Ordering::Relaxed);
        let hashes: Vec<_> = (numbers..numbers + 5).map(raw_hash).collect();
        let transactions = hashes.iter().map(|hash| attested(*hash)).collect();
        let batch = Batch::sign(self.network.network_id(), SubmitterNumber(1), &self.signing, transactions).encode();
        let mut headers = axum::http::HeaderMap::new();
        headers.insert("content-type", "application/octet-stream".parse().unwrap());
        headers.insert("prefer", "wait=2".parse().unwrap());
        for client in clients.iter().cycle().skip(first) {
            let path = "/api/v1/transactions";
            let answer = client.send(axum::http::Method::POST, path, headers.clone(), batch.clone().into()).await;
            let Ok(answer) = answer else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let TransactionsAnswer { results } = serde_json::from_slice(&answer.body).unwrap();
            let places = results.iter().map(|result| match result {
                TransactionResult::Recorded { tx_id, .. } => Some(tx_id.0),
                TransactionResult::Accepted => None,
                TransactionResult::Refused { code } => panic!("refused: {code}"),
            });
            if let Some(places) = places.collect::<Option<Vec<_>>>() {
                self.recorded.lock().unwrap().extend(hashes.into_iter().zip(places));
                return;
            }
        }
    }

    /// Keeps three batches under way until `more` further records are final.
    pub(crate) async fn load_until(self: &Arc<Self>, load: &mut JoinSet<()>, more: usize) {
        let (goal, deadline) = (self.count() + more, Instant::now() + PATIENCE);
        while self.count() < goal {
            assert!(Instant::now() < deadline, "{} of {goal} records are final", self.count());
            while load.len() < 3 {
                let (four, first) = (Arc::clone(self), self.next.load(Ordering::Relaxed) / 5 % 4);
                let clients = self.clients();
                load.spawn(async move { four.record(&clients, usize::try_from(first).unwrap()).await });
            }
            load.join_next().await.unwrap().unwrap();
        }
    }

    /// Waits until all four show the same tree, of everything that is recorded.
    pub(crate) async fn settle(&self) -> VerifiedCheckpoint {
        let least = self.recorded.lock().unwrap().values().max().copied().unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut trees = Vec::new();
            for node in &self.nodes {
                trees.extend(node.checkpoint(&self.network).await.map(|verified| verified.checkpoint));
            }
            if trees.len() == 4 && trees[0].size > least && trees.windows(2).all(|pair| pair[0] == pair[1]) {
                return self.nodes[0].checkpoint(&self.network).await.unwrap();
            }
            assert!(Instant::now() < deadline, "no common tree: {trees:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Everything recorded is on every node where it was said to be, with a proof that holds; all serve the
    /// same tiles.
    pub(crate) async fn check(&self) {
        let size = self.settle().await.checkpoint.size;
        let trust = Trust::Network(Box::new(Network::clone(&self.network)));
        let recorded = self.recorded();
        for (hash, tx_id) in &recorded {
            for node in &self.nodes {
                let answer = node.client.get_json::<VerifyAnswer>(&format!("/api/v1/verify/{hash}")).await.unwrap();
                let record = answer.body.record.unwrap_or_else(|| panic!("{hash} was recorded as {tx_id} and is lost"));
                assert_eq!(record.tx_id.0, *tx_id, "{hash}");
                let proof = ProofBundle::parse(&record.proof.unwrap()).unwrap();
                let verdict = verify(&[Candidate { kind: Kind::File, hash: *hash }], &proof, &trust).unwrap();
                assert!(matches!(verdict, Verdict::Match(_)), "{hash}: {verdict:?}");
            }
        }
        for kind in [TileKind::Entries, TileKind::Hashes { level: 0 }] {
            for index in 0..size.div_ceil(256) {
                let tile = Tile::in_tree(kind, index, size).unwrap();
                let mut bytes = Vec::new();
                for node in &self.nodes {
                    bytes.push(node.client.get_bytes(&format!("/{tile}")).await.unwrap().body);
                }
                assert!(bytes.windows(2).all(|pair| pair[0] == pair[1]), "{tile} differs between nodes");
            }
        }
    }
}

/// Settings as an operator would change them: ports of this test's own.
fn prepare(folder: &Path, node: usize, ports: &[u16], keys: &[String]) -> NodeProcess {
    let path = folder.join("node.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let (http, p2p) = (ports[node], ports[4 + node]);
    let usual = [(8546 + 10 * node, http), (8547 + 10 * node, p2p)];
    let mut text = usual.iter().fold(text, |text, (usual, own)| {
        assert!(text.contains(&format!("127.0.0.1:{usual}")));
        text.replace(&format!("127.0.0.1:{usual}"), &format!("127.0.0.1:{own}"))
    });
    text = text.replace("# credentials", "credentials");
    for (key, port) in keys.iter().zip(&ports[4..]) {
        writeln!(text, "\"{key}\" = \"127.0.0.1:{port}\"").unwrap();
    }
    std::fs::write(&path, text).unwrap();
    done(folder, &["credential", "--file", "credentials", "--name", "client", "--role", "submitter"]);
    let options = ClientOptions { request_timeout: Duration::from_secs(10), ..ClientOptions::default() };
    let client = HttpClient::new(&format!("http://127.0.0.1:{http}"), &options).unwrap();
    NodeProcess { folder: folder.to_owned(), client, p2p_port: p2p, child: None }
}

fn seed(path: &Path) -> [u8; 32] {
    std::fs::read(path).unwrap().try_into().unwrap()
}

fn public_key(folder: &Path) -> String {
    SecretKey::from_seed(&seed(&folder.join("validator.key"))).public_key().to_string()
}

/// Below the ports that the system gives to outgoing connections; each process begins elsewhere.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    let first = std::process::id().wrapping_mul(97);
    let tried = (0..20_000u32).filter_map(|number| {
        let port = 10_000 + (first.wrapping_add(number)) % 20_000;
        TcpListener::bind((Ipv4Addr::LOCALHOST, u16::try_from(port).unwrap())).ok()
    });
    let held: Vec<_> = tried.take(count).collect();
    held.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

fn attested(hash: ImageHash) -> Transaction {
    let entry = Entry { level: Level::Raw, kind: Kind::File, hash, parent: Parent::None };
    let entries = Entries::new(vec![entry], None, None).unwrap();
    let authority = AuthorityId::new("SIMULATED_MFG_001").unwrap();
    Transaction::new(Assurance::Attested, vec![], Body { authority, entries }).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn validators_killed_under_load_catch_up_and_nothing_final_is_lost() {
    let mut four = Arc::new(Four::start());
    let mut load = JoinSet::new();
    four.load_until(&mut load, 50).await;
    for victim in [1, 2] {
        // Nobody else holds it between two loads.
        while load.join_next().await.is_some() {}
        Arc::get_mut(&mut four).unwrap().nodes[victim].kill();
        let begun = Instant::now();
        four.load_until(&mut load, 50).await;
        println!("50 records with validator {victim} killed: {:?}", begun.elapsed());
        while load.join_next().await.is_some() {}
        Arc::get_mut(&mut four).unwrap().nodes[victim].start();
        let begun = Instant::now();
        four.settle().await;
        println!("caught up {:?} after its start", begun.elapsed());
    }
    four.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_four_killed_at_once_under_load_go_on_where_they_stood() {
    let mut four = Arc::new(Four::start());
    let mut load = JoinSet::new();
    for _ in 0..2 {
        four.load_until(&mut load, 50).await;
        // Batches are under way at this moment; whoever waits for them gives up.
        load.abort_all();
        let mut pids = Vec::new();
        for node in &four.nodes {
            pids.push(node.child.as_ref().unwrap().id().to_string());
        }
        let killed = std::process::Command::new("kill").arg("-KILL").args(&pids).status().unwrap();
        assert!(killed.success());
        while load.join_next().await.is_some() {}
        let nodes = &mut Arc::get_mut(&mut four).unwrap().nodes;
        nodes.iter_mut().for_each(NodeProcess::kill);
        nodes.iter_mut().for_each(NodeProcess::start);
        let begun = Instant::now();
        four.load_until(&mut load, 5).await;
        println!("the first records after all four were killed: {:?}", begun.elapsed());
    }
    while load.join_next().await.is_some() {}
    four.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_of_four_validators_goes_on_when_any_one_is_killed() {
    // The first is the one that the aggregator talks to.
    for victim in [0, 2] {
        let folder = tempfile::tempdir().unwrap();
        let mut demo = Demo::start(&folder.path().join("demo"), &["--validators", "4"]);
        assert_eq!(demo.result()["verified"], true);
        let device = Device::provision(&demo.client("sma"), "KILL_TEST").await;
        let aggregator = demo.client("aggregator");
        assert_eq!(send(&aggregator, &device.submission(1), 30).await.unwrap().status, 200);
        let pid = demo.ready["nodes"][victim]["pid"].to_string();
        let killed = std::process::Command::new("kill").args(["-KILL", &pid]).status().unwrap();
        assert!(killed.success());
        for number in 2..6 {
            let begun = Instant::now();
            let answer = send(&aggregator, &device.submission(number), 30).await.unwrap();
            assert_eq!((answer.status.as_u16(), &answer.body["status"]), (200, &"confirmed".into()), "{number}");
            println!("submission {number} after the kill: {:?}", begun.elapsed());
            let proof = ProofBundle::parse(answer.body["proof"].as_str().unwrap()).unwrap();
            let file = [Candidate { kind: Kind::File, hash: raw_hash(number) }];
            assert!(matches!(verify(&file, &proof, &demo.trust()).unwrap(), Verdict::Match(_)));
            let path = format!("/api/v1/verify/{}", raw_hash(number));
            assert!(aggregator.get_json::<VerifyAnswer>(&path).await.unwrap().body.verified);
        }
        assert_eq!(demo.event("validator_ended")["name"], format!("node-{victim}"));
        assert!(demo.interrupt().success());
    }
}
