//! The nodes of a network as processes, as `demo` starts them.
//!
//! For: starting, killing and starting again. They end with this program, however it ends.
//! Not for: what is asked of them.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use birthmark_core::ImageHash;
use birthmark_core::api::verify::VerifyAnswer;
use birthmark_service::client::{ClientOptions, HttpClient};
use futures::future::try_join_all;
use serde::Deserialize;
use tokio::time::Instant;

use crate::processes::{self, NodePorts};

/// All nodes of a network.
#[derive(Debug)]
pub(in crate::bench) struct Nodes(Vec<NodeProcess>);

/// One of them. It is killed when dropped.
#[derive(Debug)]
pub(in crate::bench) struct NodeProcess {
    folder: PathBuf,
    log: PathBuf,
    command: Command,
    child: Child,
    pub(in crate::bench) client: HttpClient,
}

#[derive(Deserialize)]
struct Ready {
    url: String,
}

impl Nodes {
    /// Starts all nodes of the network in `folder`, on free ports.
    pub(in crate::bench) fn start(folder: &Path, count: usize) -> anyhow::Result<Self> {
        let commands = processes::nodes(folder, count, NodePorts { http: 0, p2p: 0 })?;
        let nodes = commands.into_iter().map(|(name, mut command)| {
            let (own, log) = (folder.join(&name), folder.join(format!("{name}.log")));
            command.current_dir(folder);
            let (child, client) = spawn(&mut command, &log)?;
            Ok(NodeProcess { folder: own, log, command, child, client })
        });
        Ok(Self(nodes.collect::<anyhow::Result<_>>()?))
    }

    /// Waits until all can answer.
    pub(in crate::bench) async fn ready(&self) -> anyhow::Result<()> {
        try_join_all(self.0.iter().map(|node| node.ask(ImageHash::of(b"")))).await?;
        Ok(())
    }

    pub(in crate::bench) fn clients(&self) -> Vec<HttpClient> {
        self.0.iter().map(|node| node.client.clone()).collect()
    }

    /// The first one, which is asked where one is enough.
    pub(in crate::bench) fn first(&self) -> anyhow::Result<&NodeProcess> {
        self.0.first().context("a network without nodes")
    }

    /// The last one, which is killed.
    pub(in crate::bench) fn last(&mut self) -> anyhow::Result<&mut NodeProcess> {
        self.0.last_mut().context("a network without nodes")
    }
}

impl NodeProcess {
    pub(in crate::bench) fn folder(&self) -> &Path {
        &self.folder
    }

    /// SIGKILL, and a new start.
    pub(in crate::bench) fn start_again(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        (self.child, self.client) = spawn(&mut self.command, &self.log)?;
        Ok(())
    }

    /// What it answers about a hash. A node that has just started refuses until it can show a checkpoint.
    pub(in crate::bench) async fn ask(&self, hash: ImageHash) -> anyhow::Result<VerifyAnswer> {
        let path = format!("/api/v1/verify/{hash}?proof=1");
        let deadline = Instant::now() + START;
        loop {
            match self.client.get_json(&path).await {
                Ok(answer) => return Ok(answer.body),
                Err(error) if Instant::now() >= deadline => return Err(error.into()),
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        }
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        // One that has ended already needs no end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a process and waits until it says where it answers; its own end is the bound of that.
fn spawn(command: &mut Command, log: &Path) -> anyhow::Result<(Child, HttpClient)> {
    let stderr = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
    let mut child = command.spawn().context("cannot start a node")?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    let client = serde_json::from_str::<Ready>(&line)
        .map_err(anyhow::Error::from)
        .and_then(|ready| Ok(HttpClient::new(&ready.url, &ClientOptions::default())?));
    client.map(|client| (child, client)).map_err(|_| {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        anyhow::anyhow!("a node did not start: {}", text.lines().next_back().unwrap_or_default())
    })
}

const START: Duration = Duration::from_mins(1);
const AGAIN: Duration = Duration::from_millis(2);
