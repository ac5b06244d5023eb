//! `birthmark node serve`, `follow`, and what is done with a node that is stopped (`upkeep`).

mod file;
mod follow;
mod snapshot;
pub(crate) mod upkeep;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;

use birthmark_core::ids::SubmitterName;
use birthmark_core::note::PublicKey;
use birthmark_node::{Node, NodeConfig, PeerNetwork};
use birthmark_service::clock::SystemClock;
use clap::{Args, Subcommand};

use self::file::NodeFile;
use super::read_network;
use crate::network;
use crate::runtime::block_on;
use crate::serve::{CallerArgs, ServeArgs};

/// A registry node.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Order, record and prove.
    Serve(Box<NodeServeArgs>),
    /// Follow other nodes without validating, and answer all that is read.
    Follow(follow::FollowArgs),
    /// Check a stopped node's ledger: compute everything again and name the first damaged place.
    Fsck(upkeep::FsckArgs),
    /// A stopped node's ledger as one file, and a ledger out of one.
    #[command(subcommand)]
    Snapshot(snapshot::Command),
    /// Compute a stopped node's index anew from its log.
    RebuildIndex(upkeep::UpkeepArgs),
}

/// Flags of `node serve`. What a flag does not say, the file says, else the default.
#[derive(Debug, Args)]
pub(crate) struct NodeServeArgs {
    /// The node's settings, as `network init` writes them; flags beat them.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder with the node's keys; its ledger and consensus state are kept there too
    /// [default: /var/lib/birthmark/node].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The network file [default: /etc/birthmark/network.json].
    #[arg(long, value_name = "FILE")]
    network: Option<PathBuf>,
    /// This node's name among the network's submitters, for hashes that come without an aggregator
    /// [default: node-0].
    #[arg(long, value_name = "NAME")]
    submitter: Option<SubmitterName>,
    /// Where other validators connect to [default: 127.0.0.1:8547].
    #[arg(long, value_name = "ADDRESS:PORT")]
    p2p_listen: Option<SocketAddr>,
    /// What connections to other validators are like: local, lan or public [default: lan].
    #[arg(long, value_name = "KIND")]
    p2p_network: Option<PeerNetwork>,
    /// Where a validator is, by its consensus key, if elsewhere than the network file says; repeatable.
    #[arg(long = "peer", value_name = "KEY=HOST:PORT")]
    peers: Vec<Peer>,
    /// Most megabytes of transactions that may wait for a block [default: 64].
    #[arg(long, value_name = "MB")]
    mempool_mb: Option<usize>,
    /// File of bearer tokens, made by `birthmark credential`. Callers without one are refused.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["child_of_demo", "config"])]
    credentials: Option<PathBuf>,
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

/// Runs one of them; `fsck` says by its exit code more than success.
pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => block_on(serve(*args)).map(|()| ExitCode::SUCCESS),
        Command::Follow(args) => follow::follow(args).map(|()| ExitCode::SUCCESS),
        Command::Fsck(args) => Ok(upkeep::fsck(&args)),
        Command::Snapshot(command) => snapshot::run(&command).map(|()| ExitCode::SUCCESS),
        Command::RebuildIndex(args) => upkeep::rebuild_index(&args).map(|()| ExitCode::SUCCESS),
    }
}

async fn serve(args: NodeServeArgs) -> anyhow::Result<()> {
    let file = args.config.as_deref().map(NodeFile::read).transpose()?.unwrap_or_default();
    let credentials = args.credentials.or(file.credentials);
    anyhow::ensure!(
        credentials.is_some() || args.serve.child_of_demo,
        "nobody may call: give --credentials FILE, or `credentials` in the node's settings"
    );
    let mut serve = args.serve;
    serve.listen = serve.listen.or(file.listen);
    let listening = serve.bind(8546).await?;
    let authenticator = CallerArgs::of(credentials).authenticator(&listening)?;
    let network = args.network.or(file.network).unwrap_or_else(|| "/etc/birthmark/network.json".into());
    let (network, network_file) = read_network(&network)?;
    let mut p2p_addresses = file.peers;
    p2p_addresses.extend(args.peers.into_iter().map(|peer| (peer.key, peer.address)));
    let submitter = args.submitter.or(file.submitter);
    let config = NodeConfig {
        data_dir: args.data.or(file.data).unwrap_or_else(|| "/var/lib/birthmark/node".into()),
        network,
        network_file,
        submitter: submitter.map_or_else(|| SubmitterName::new(network::NODE), Ok)?,
        p2p_listen: args.p2p_listen.or(file.p2p_listen).unwrap_or_else(|| ([127, 0, 0, 1], 8547).into()),
        p2p_network: args.p2p_network.or(file.p2p_network).unwrap_or_default(),
        p2p_addresses,
        mempool_bytes: args.mempool_mb.or(file.mempool_mb).unwrap_or(64).saturating_mul(1024 * 1024),
    };
    let node = Arc::new(Node::start(config, Arc::new(SystemClock)).await?);
    let router = node.router(authenticator);
    let (running, stop) = (Arc::clone(&node), listening.tasks.token().clone());
    listening.tasks.spawn("consensus", async move { running.run(stop).await });
    listening.serve("node", router).await
}
