//! `birthmark node serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use birthmark_core::ids::SubmitterName;
use birthmark_core::note::PublicKey;
use birthmark_node::{Node, NodeConfig, PeerNetwork};
use birthmark_service::clock::SystemClock;
use clap::{Args, Subcommand};

use super::read_network;
use crate::serve::{CallerArgs, ServeArgs, block_on};

/// A registry node.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Order, record and prove.
    Serve(Box<NodeServeArgs>),
}

/// Flags of `node serve`.
#[derive(Debug, Args)]
pub(crate) struct NodeServeArgs {
    /// Folder with the node's keys; its ledger and consensus state are kept there too.
    #[arg(long, default_value = "/var/lib/birthmark/node", value_name = "DIR")]
    data: PathBuf,
    /// The network file.
    #[arg(long, default_value = "/etc/birthmark/network.json", value_name = "FILE")]
    network: PathBuf,
    /// This node's name among the network's submitters, for hashes that come without an aggregator.
    #[arg(long, default_value = "node-0", value_name = "NAME")]
    submitter: SubmitterName,
    /// Where other validators connect to.
    #[arg(long, default_value = "127.0.0.1:8547", value_name = "ADDRESS:PORT")]
    p2p_listen: SocketAddr,
    /// What connections to other validators are like: local, lan or public.
    #[arg(long, default_value = "lan", value_name = "KIND")]
    p2p_network: PeerNetwork,
    /// Where a validator is, by its consensus key, if elsewhere than the network file says; repeatable.
    #[arg(long = "peer", value_name = "KEY=HOST:PORT")]
    peers: Vec<Peer>,
    /// Most megabytes of transactions that may wait for a block.
    #[arg(long, default_value_t = 64, value_name = "MB")]
    mempool_mb: usize,
    #[command(flatten)]
    callers: CallerArgs,
    #[command(flatten)]
    serve: ServeArgs,
}

/// Another validator's address.
#[derive(Clone, Debug)]
struct Peer {
    key: PublicKey,
    address: String,
}

impl FromStr for Peer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, address) = text.split_once('=').ok_or("must be KEY=HOST:PORT")?;
        let key =
            PublicKey::from_hex(key).map_err(|_| "the key must be a consensus key of the network file, in hex")?;
        Ok(Self { key, address: address.to_owned() })
    }
}

pub(crate) fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(args) => block_on(serve(*args)),
    }
}

async fn serve(args: NodeServeArgs) -> anyhow::Result<()> {
    let listening = args.serve.bind(8546).await?;
    let authenticator = args.callers.authenticator(&listening)?;
    let (network, network_file) = read_network(&args.network)?;
    let config = NodeConfig {
        data_dir: args.data,
        network,
        network_file,
        submitter: args.submitter,
        p2p_listen: args.p2p_listen,
        p2p_network: args.p2p_network,
        p2p_addresses: args.peers.into_iter().map(|peer| (peer.key, peer.address)).collect(),
        mempool_bytes: args.mempool_mb * 1024 * 1024,
    };
    let node = Arc::new(Node::start(config, Arc::new(SystemClock)).await?);
    let router = node.router(authenticator);
    let (running, stop) = (Arc::clone(&node), listening.tasks.token().clone());
    listening.tasks.spawn("consensus", async move { running.run(stop).await });
    listening.serve("node", router).await
}
