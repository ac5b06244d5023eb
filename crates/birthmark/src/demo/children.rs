//! The services as processes of this same binary.
//!
//! They end when the demo does, however it ends: each watches the pipe that is its standard input,
//! which the system closes even after SIGKILL. Their logs go to files in `logs/`.

use std::fs::OpenOptions;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use birthmark_core::policy::quorum_size;
use birthmark_service::lock::{FolderLock, LockError};
use futures::future::select_all;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio_util::sync::CancellationToken;

use super::folder::Folder;
use super::report::Report;
use crate::network::places;
use crate::processes::{self, NodePorts, free_port, loopback, service};
use crate::terminal::Waiting;

/// Where the services are to listen; 0 is any free port. For nodes, the first one's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) sma: u16,
    pub(super) aggregator: u16,
    pub(super) node: u16,
    pub(super) p2p: u16,
}

/// What the demo's own flags say of the aggregator.
pub(super) struct AggregatorArgs {
    /// PostgreSQL's, which may hold a password.
    pub(super) database_url: Option<String>,
    pub(super) rate_limit: u32,
}

/// The running services.
#[derive(Debug)]
pub(super) struct Children {
    services: Vec<Service>,
    pub(super) addresses: Addresses,
}

/// Where the services answer, as `http://address:port`.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    pub(super) sma: String,
    pub(super) aggregator: String,
    pub(super) nodes: Vec<NodeAt>,
}

/// A running node.
#[derive(Clone, Debug)]
pub(super) struct NodeAt {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) pid: Option<u32>,
}

impl Addresses {
    /// The first node's.
    pub(super) fn node(&self) -> &str {
        self.nodes.first().map_or("", |node| &node.url)
    }
}

#[derive(Debug)]
struct Service {
    /// `sma`, `aggregator`, `node`, or a validator's own name where there are several.
    role: String,
    kind: Kind,
    child: Child,
    /// Its end is the request to end; kept apart, because waiting for a child closes what it still holds.
    stdin: Option<ChildStdin>,
    log: PathBuf,
}

/// What becomes of the demo when a service ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Indispensable,
    /// Goes on while a quorum is left.
    Validator,
}

#[derive(Deserialize)]
struct Ready {
    url: String,
}

/// Starts all, the ones that others need first.
pub(super) async fn start(
    folder: &Folder,
    ports: Ports,
    aggregator_args: &AggregatorArgs,
    stop: &CancellationToken,
) -> anyhow::Result<Children> {
    let roles = (0..folder.validators()).map(places::name).chain(["sma".to_owned(), "aggregator".to_owned()]);
    for role in roles {
        wait_for_earlier(&folder.role(&role)).await?;
    }
    for (flag, port) in [
        ("--sma-port", ports.sma),
        ("--aggregator-port", ports.aggregator),
        ("--node-port", ports.node),
        ("--p2p-port", ports.p2p),
    ] {
        check_free(flag, port)?;
    }
    let _waiting = Waiting::new("starting the services");
    let mut services = Vec::new();
    let started = async {
        let nodes = launch_nodes(&mut services, folder, ports).await?;

        // The authority tells cameras where the aggregator is, and the aggregator asks the authority: one
        // of the two addresses has to be known before its process runs.
        let aggregator_port = if ports.aggregator == 0 { free_port()? } else { ports.aggregator };
        let mut sma = Command::from(service("sma", &folder.role("sma"), ports.sma));
        sma.arg("--aggregator-url").arg(format!("http://{}", loopback(aggregator_port)));
        sma.arg("--network").arg(folder.network_file());
        let sma = launch(&mut services, folder, ("sma", Kind::Indispensable), sma).await?.0;

        let mut aggregator = Command::from(service("aggregator", &folder.role("aggregator"), aggregator_port));
        aggregator.arg("--network").arg(folder.network_file());
        aggregator.args(["--sma-url", &sma, "--mix-delay", "0"]);
        for node in &nodes {
            aggregator.args(["--node-url", &node.url]);
        }
        aggregator.arg("--rate-limit").arg(aggregator_args.rate_limit.to_string());
        // All look-ups come from this machine.
        aggregator.args(["--lookup-limit", "0"]);
        if let Some(url) = &aggregator_args.database_url {
            // Not as an argument, which everyone on the machine can read.
            aggregator.env("DATABASE_URL", url);
        }
        let aggregator = launch(&mut services, folder, ("aggregator", Kind::Indispensable), aggregator).await?.0;
        Ok(Addresses { sma, aggregator, nodes })
    };
    let started = tokio::select! {
        started = started => started,
        () = stop.cancelled() => Err(anyhow::anyhow!("interrupted")),
    };
    // On an error, dropping the services ends them.
    let addresses = started?;
    Ok(Children { services, addresses })
}

impl Children {
    /// Waits until a service ends that the others cannot do without; gives the reason. Validators are only
    /// reported while a quorum of them is left.
    pub(super) async fn first_to_be_missed(&mut self, report: Report) -> anyhow::Error {
        loop {
            let ends = self.services.iter_mut().map(|service| Box::pin(service.ended()));
            let (reason, at, others) = select_all(ends).await;
            drop(others);
            let ended = self.services.remove(at);
            let left = self.services.iter().filter(|service| service.kind == Kind::Validator).count();
            if ended.kind == Kind::Indispensable || left < quorum_size(self.addresses.nodes.len()) {
                return reason;
            }
            report.validator_ended(&ended.role, &reason);
        }
    }

    /// Asks all to end, the aggregator first, and ends those that do not within `deadline`.
    pub(super) async fn stop(mut self, deadline: Duration) {
        while let Some(mut service) = self.services.pop() {
            // Closing its standard input is the request.
            drop(service.stdin.take());
            if tokio::time::timeout(deadline, service.child.wait()).await.is_err() {
                tracing::warn!(role = %service.role, "did not end in time");
                let _ = service.child.kill().await;
            }
        }
    }
}

impl Service {
    async fn ended(&mut self) -> anyhow::Error {
        let status = self.child.wait().await;
        let status = status.map_or_else(|cause| cause.to_string(), |status| status.to_string());
        anyhow::anyhow!("the {} ended ({status}): {}", self.role, reason(&self.log))
    }
}

/// The services of a demo that was killed notice it and end, but not at once; until then they hold their
/// folders and ports.
async fn wait_for_earlier(folder: &Path) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + EARLIER;
    loop {
        match FolderLock::acquire(folder) {
            Ok(_) => return Ok(()),
            Err(LockError::Held { .. }) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Starts all validators.
async fn launch_nodes(services: &mut Vec<Service>, folder: &Folder, ports: Ports) -> anyhow::Result<Vec<NodeAt>> {
    let ports = NodePorts { http: ports.node, p2p: ports.p2p };
    let commands = processes::nodes(folder.path(), folder.validators(), ports)?;
    let alone = commands.len() == 1;
    let mut nodes = Vec::with_capacity(commands.len());
    for (name, command) in commands {
        let (role, kind) = if alone { ("node", Kind::Indispensable) } else { (name.as_str(), Kind::Validator) };
        let (url, pid) = launch(services, folder, (role, kind), command.into()).await?;
        nodes.push(NodeAt { name, url, pid });
    }
    Ok(nodes)
}

/// Starts one service and waits for its address; gives that and its process.
async fn launch(
    services: &mut Vec<Service>,
    folder: &Folder,
    (role, kind): (&str, Kind),
    mut command: Command,
) -> anyhow::Result<(String, Option<u32>)> {
    let log = folder.log(role);
    let stderr = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log)
        .with_context(|| format!("cannot write {}", log.display()))?;
    // The working folder may hold a `.env` of somebody else's.
    command.current_dir(folder.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("cannot start the {role}"))?;
    let stdout = child.stdout.take().context("the service has no output")?;
    let stdin = child.stdin.take();
    let pid = child.id();
    let mut service = Service { role: role.to_owned(), kind, child, stdin, log };
    let mut lines = BufReader::new(stdout).lines();
    let ready = tokio::time::timeout(START, lines.next_line()).await;
    let ready = match ready {
        Ok(Ok(Some(line))) => serde_json::from_str::<Ready>(&line).ok(),
        Ok(Ok(None) | Err(_)) => return Err(service.ended().await),
        Err(_) => anyhow::bail!("the {role} did not start within {} s: {}", START.as_secs(), reason(&service.log)),
    };
    services.push(service);
    Ok((ready.with_context(|| format!("the {role} did not say where it listens"))?.url, pid))
}

fn check_free(flag: &str, port: u16) -> anyhow::Result<()> {
    let bound = TcpListener::bind(loopback(port));
    bound
        .map(drop)
        .with_context(|| format!("port {port} cannot be used; choose another with {flag}, or {flag} 0 for any"))
}

/// Why a service ended, if the end of its log says so.
fn reason(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    last.and_then(|line| line.strip_prefix("error: ")).map_or_else(
        || {
            format!(
                "no reason is in its log {} (is the disk full?); what was registered stays so, start again",
                log.display()
            )
        },
        str::to_owned,
    )
}

/// A little more than the services give themselves to drain.
const EARLIER: Duration = Duration::from_secs(15);
const START: Duration = Duration::from_mins(1);
