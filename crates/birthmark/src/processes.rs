//! Commands that run services on this machine, each a process of this same binary, on loopback.
//!
//! For: `demo` and `bench`, which start them and wait for their `ready` line. Such a service ends when its
//! standard input does, and lets everybody on loopback in.
//! Not for: production, where an operator's own supervisor runs `node serve --config`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use crate::network::{self, places};

/// Where nodes are to listen: the first one's ports, the next ones above each other; 0 is any free ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodePorts {
    pub(crate) http: u16,
    pub(crate) p2p: u16,
}

/// How to start one service. It writes where it answers in one line on standard output.
pub(crate) fn service(role: &str, data: &Path, port: u16) -> Command {
    // This very binary, even if the file it came from has been replaced meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command.arg(role).arg("serve").arg("--child-of-demo").arg("--data").arg(data);
    command.arg("--listen").arg(loopback(port).to_string());
    // Settings of other installations must not reach into this one.
    for name in SETTINGS {
        command.env_remove(name);
    }
    command
}

/// How to start all validators of the network in `folder`, by their names. Each is told where the others
/// are in this run.
pub(crate) fn nodes(folder: &Path, count: usize, ports: NodePorts) -> anyhow::Result<Vec<(String, Command)>> {
    let p2p = match ports.p2p {
        0 => free_ports(count)?,
        base => (0..count).map(|number| places::port_of(base, number)).collect::<anyhow::Result<_>>()?,
    };
    let peers = (0..count).zip(&p2p).map(|(number, port)| {
        let key = network::consensus_key(&folder.join(places::name(number)))?;
        Ok(format!("{key}={}", loopback(*port)))
    });
    let peers = if count > 1 { peers.collect::<anyhow::Result<Vec<_>>>()? } else { Vec::new() };
    let node = |(number, port): (usize, &u16)| {
        let name = places::name(number);
        let mut node = service("node", &folder.join(&name), places::port_of(ports.http, number)?);
        node.arg("--network").arg(folder.join("network.json"));
        node.args(["--submitter", &name, "--p2p-network", "local", "--p2p-listen", &loopback(*port).to_string()]);
        for peer in &peers {
            node.args(["--peer", peer]);
        }
        Ok((name, node))
    };
    p2p.iter().enumerate().map(node).collect()
}

/// A port that nobody listens on at this moment.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind(loopback(0)).context("there is no free port")?;
    Ok(listener.local_addr()?.port())
}

/// Ports for connections between validators, which must be known before any of them listens. They lie below
/// those that the system gives to outgoing connections; each process begins elsewhere, and all are held
/// until the last one is known.
fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    let first = std::process::id().wrapping_mul(89);
    let tried = (0..FREE_PORTS).filter_map(|number| {
        let above = first.wrapping_add(number) % FREE_PORTS;
        TcpListener::bind(loopback(u16::try_from(LEAST_FREE_PORT + above).ok()?)).ok()
    });
    let held: Vec<_> = tried.take(count).collect();
    anyhow::ensure!(held.len() == count, "there are no free ports for the validators");
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

pub(crate) const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

const LEAST_FREE_PORT: u32 = 10_000;
const FREE_PORTS: u32 = 20_000;
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
