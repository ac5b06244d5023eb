//! The processes of an installation whose parts die and stand still.
//!
//! For: an authority, a node, two aggregators on one PostgreSQL, each behind a link. Laid out by `demo`, and started
//! as it does, but one by one.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use birthmark_service::client::{ClientOptions, HttpClient};
use birthmark_service::postgres::cluster::Cluster;

use super::link::{Link, Upstream, Weather};
use crate::installation::{birthmark, signal};
use crate::validators::free_ports;

/// A process that can be started again as it was.
pub(super) struct Part {
    name: &'static str,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    log: PathBuf,
    child: Option<Child>,
}

impl Part {
    pub(super) fn start(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let arguments: Vec<_> = self.arguments.iter().map(String::as_str).collect();
        let mut command: Command = birthmark(&arguments);
        // It ends when its standard input does, with this process.
        command.envs(self.environment.clone()).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self) {
        self.supervise();
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGSTOP or SIGCONT.
    pub(super) fn signal(&mut self, name: &str) {
        self.supervise();
        signal(name, &self.child.as_ref().unwrap().id().to_string());
    }

    /// Starts it again, as an operator's supervisor does, if it could not begin its work without a database.
    /// Nothing else that happens to others ends a process.
    pub(super) fn supervise(&mut self) {
        let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().unwrap()) else { return };
        let words = self.last_words();
        let began_without = words.lines().last().is_some_and(|line| line.starts_with("error: PostgreSQL at"));
        assert!(began_without, "{} ended by itself with {status}:\n{words}", self.name);
        self.start();
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(15).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may stand still.
            child.kill().unwrap();
            child.wait().unwrap();
        }
        if std::thread::panicking() {
            println!("{}:\n{}", self.name, self.last_words());
        }
    }
}

/// What things can happen to. The order is that of `Installation::parts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Victim {
    Authority,
    Node,
    AggregatorA,
    AggregatorB,
    Postgres,
}

pub(super) const VICTIMS: [Victim; 5] =
    [Victim::Authority, Victim::Node, Victim::AggregatorA, Victim::AggregatorB, Victim::Postgres];

/// All of them.
pub(super) struct Installation {
    parts: [Part; 4],
    cluster: Arc<Cluster>,
    /// The way to each, in the order of `VICTIMS`.
    links: [Link; 5],
    node: String,
}

impl Installation {
    /// Starts what `demo` has laid out in `folder`.
    pub(super) async fn start(folder: &Path) -> Self {
        let cluster = Arc::new(tokio::task::spawn_blocking(Cluster::start).await.unwrap());
        cluster.database("chaos");
        let places = free_ports(5);
        let links = [
            Link::to(Upstream::Tcp(places[0])).await,
            Link::to(Upstream::Tcp(places[1])).await,
            Link::to(Upstream::Tcp(places[2])).await,
            Link::to(Upstream::Tcp(places[3])).await,
            Link::to(Upstream::Unix(cluster.socket())).await,
        ];
        let second = folder.join("aggregator-b");
        std::fs::create_dir(&second).unwrap();
        std::fs::copy(folder.join("aggregator/signing.key"), second.join("signing.key")).unwrap();
        let network = folder.join("network.json").display().to_string();
        let part = |name, data: &Path, port: u16, more: &[&str]| {
            let listen = format!("127.0.0.1:{port}");
            let (data, role) = (data.to_str().unwrap(), *more.first().unwrap());
            let usual = [role, "serve", "--child-of-demo", "--data", data, "--listen", &listen, "--network", &network];
            let arguments = usual.iter().chain(&more[1..]).map(|argument| (*argument).to_owned()).collect();
            Part { name, arguments, environment: Vec::new(), log: folder.join(format!("{name}.log")), child: None }
        };
        let p2p = format!("127.0.0.1:{}", places[4]);
        let node = ["node", "--submitter", "node-0", "--p2p-network", "local", "--p2p-listen", &p2p];
        let (sma_url, node_url) = (links[0].url(), links[1].url());
        let aggregator = ["aggregator", "--sma-url", &sma_url, "--node-url", &node_url, "--mix-delay", "0"];
        let aggregator = [&aggregator[..], &["--rate-limit", "0"]].concat();
        let mut parts = [
            part("authority", &folder.join("sma"), places[0], &["sma", "--aggregator-url", &links[2].url()]),
            part("node", &folder.join("node-0"), places[1], &node),
            part("aggregator-a", &folder.join("aggregator"), places[2], &aggregator),
            part("aggregator-b", &second, places[3], &aggregator),
        ];
        let database = format!("postgresql://birthmark@127.0.0.1:{}/chaos", links[4].port);
        for aggregator in &mut parts[2..] {
            aggregator.environment.push(("DATABASE_URL", database.clone()));
        }
        parts.iter_mut().for_each(Part::start);
        Self { parts, cluster, links, node: format!("http://127.0.0.1:{}", places[1]) }
    }

    pub(super) fn link(&self, victim: Victim) -> &Link {
        &self.links[victim as usize]
    }

    /// The node itself, for looking at what came of it all.
    pub(super) fn node(&self) -> HttpClient {
        HttpClient::new(&self.node, &ClientOptions::default()).unwrap()
    }

    pub(super) async fn kill(&mut self, victim: Victim) {
        match self.parts.get_mut(victim as usize) {
            Some(part) => part.kill(),
            None => self.on_cluster(Cluster::stop_at_once).await,
        }
    }

    pub(super) async fn restart(&mut self, victim: Victim) {
        match self.parts.get_mut(victim as usize) {
            Some(part) => part.start(),
            None => self.on_cluster(Cluster::resume).await,
        }
    }

    pub(super) async fn pause(&mut self, victim: Victim) {
        match self.parts.get_mut(victim as usize) {
            Some(part) => part.signal("-STOP"),
            None => self.on_cluster(|cluster| cluster.signal("-STOP")).await,
        }
    }

    pub(super) async fn go_on(&mut self, victim: Victim) {
        match self.parts.get_mut(victim as usize) {
            Some(part) => part.signal("-CONT"),
            None => self.on_cluster(|cluster| cluster.signal("-CONT")).await,
        }
    }

    pub(super) fn weather(&self, victim: Victim, weather: Weather) {
        self.link(victim).set(weather);
    }

    /// All that had to end runs again.
    pub(super) fn supervise(&mut self) {
        self.parts.iter_mut().for_each(Part::supervise);
    }

    /// What was stored of submissions that ended.
    pub(super) fn count(&self, condition: &str) -> u64 {
        let query = format!("SELECT count(*) FROM submission WHERE {condition}");
        self.cluster.sql("chaos", &query).parse().unwrap()
    }

    async fn on_cluster(&self, act: impl FnOnce(&Cluster) + Send + 'static) {
        let cluster = Arc::clone(&self.cluster);
        tokio::task::spawn_blocking(move || act(&cluster)).await.unwrap();
    }
}
