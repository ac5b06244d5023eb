//! The three services as processes of this same binary.
//!
//! They end when the demo does, however it ends: each watches the pipe that is its standard input,
//! which the system closes even after SIGKILL. Their logs go to files in `logs/`.

use std::fs::OpenOptions;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use birthmark_service::lock::{FolderLock, LockError};
use futures::future::select_all;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio_util::sync::CancellationToken;

use super::folder::Folder;
use crate::network;
use crate::terminal::Waiting;

/// Where the services are to listen; 0 is any free port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) sma: u16,
    pub(super) aggregator: u16,
    pub(super) node: u16,
    pub(super) p2p: u16,
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
    pub(super) node: String,
}

#[derive(Debug)]
struct Service {
    role: &'static str,
    child: Child,
    /// Its end is the request to end; kept apart, because waiting for a child closes what it still holds.
    stdin: Option<ChildStdin>,
    log: PathBuf,
}

#[derive(Deserialize)]
struct Ready {
    url: String,
}

/// Starts all three, the ones that others need first.
pub(super) async fn start(folder: &Folder, ports: Ports, stop: &CancellationToken) -> anyhow::Result<Children> {
    for role in [network::NODE, "sma", "aggregator"] {
        wait_for_earlier(&folder.role(role)).await?;
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
        let mut node = command("node", &folder.role(network::NODE), ports.node);
        node.arg("--network").arg(folder.network_file()).arg("--p2p-listen").arg(loopback(ports.p2p).to_string());
        let node = launch(&mut services, folder, "node", node).await?;

        // The authority tells cameras where the aggregator is, and the aggregator asks the authority: one
        // of the two addresses has to be known before its process runs.
        let aggregator_port = if ports.aggregator == 0 { free_port()? } else { ports.aggregator };
        let mut sma = command("sma", &folder.role("sma"), ports.sma);
        sma.arg("--aggregator-url").arg(format!("http://{}", loopback(aggregator_port)));
        sma.arg("--network").arg(folder.network_file());
        let sma = launch(&mut services, folder, "sma", sma).await?;

        let mut aggregator = command("aggregator", &folder.role("aggregator"), aggregator_port);
        aggregator.arg("--network").arg(folder.network_file());
        aggregator.args(["--sma-url", &sma, "--node-url", &node, "--mix-delay", "0"]);
        let aggregator = launch(&mut services, folder, "aggregator", aggregator).await?;
        Ok(Addresses { sma, aggregator, node })
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
    /// Waits until a service ends, which none should: gives the reason.
    pub(super) async fn first_to_end(&mut self) -> anyhow::Error {
        let ends = self.services.iter_mut().map(|service| Box::pin(service.ended()));
        select_all(ends).await.0
    }

    /// Asks all to end, the aggregator first, and ends those that do not within `deadline`.
    pub(super) async fn stop(mut self, deadline: Duration) {
        while let Some(mut service) = self.services.pop() {
            // Closing its standard input is the request.
            drop(service.stdin.take());
            if tokio::time::timeout(deadline, service.child.wait()).await.is_err() {
                tracing::warn!(role = service.role, "did not end in time");
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

fn command(role: &str, data: &Path, port: u16) -> Command {
    // This very binary, even if the file it came from has been replaced meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command.arg(role).arg("serve").arg("--child-of-demo").arg("--data").arg(data);
    command.arg("--listen").arg(loopback(port).to_string());
    // Settings of other installations must not reach into the demo.
    for name in SETTINGS {
        command.env_remove(name);
    }
    command
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

/// Starts one service and waits for its address.
async fn launch(
    services: &mut Vec<Service>,
    folder: &Folder,
    role: &'static str,
    mut command: Command,
) -> anyhow::Result<String> {
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
    let mut service = Service { role, child, stdin, log };
    let mut lines = BufReader::new(stdout).lines();
    let ready = tokio::time::timeout(START, lines.next_line()).await;
    let ready = match ready {
        Ok(Ok(Some(line))) => serde_json::from_str::<Ready>(&line).ok(),
        Ok(Ok(None) | Err(_)) => return Err(service.ended().await),
        Err(_) => anyhow::bail!("the {role} did not start within {} s: {}", START.as_secs(), reason(&service.log)),
    };
    services.push(service);
    Ok(ready.with_context(|| format!("the {role} did not say where it listens"))?.url)
}

fn check_free(flag: &str, port: u16) -> anyhow::Result<()> {
    let bound = TcpListener::bind(loopback(port));
    bound
        .map(drop)
        .with_context(|| format!("port {port} cannot be used; choose another with {flag}, or {flag} 0 for any"))
}

fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind(loopback(0)).context("there is no free port")?;
    Ok(listener.local_addr()?.port())
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
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
const SETTINGS: [&str; 9] = [
    "AGGREGATOR_URL",
    "AGGREGATOR_NODE_ID",
    "SMA_URL",
    "SMA_PUBLIC_URL",
    "SMA_VALIDATION_ENDPOINT",
    "SMA_DATA_DIR",
    "BLOCKCHAIN_URL",
    "BLOCKCHAIN_ENDPOINT",
    "DATABASE_URL",
];
