//! A running node: its parts tied together, from start to a clean end.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use birthmark_core::batch::{MAX_WIRE, SubmitterKey};
use birthmark_core::ids::{Epoch, SubmitterNumber};
use birthmark_core::network::validator_set_hash;
use birthmark_core::time::Clock;
use birthmark_engine::{Engine, EngineConfig, Timing, Validator};
use birthmark_ledger::Ledger;
use birthmark_ledger::block::{HEADER_LEN, Header, MAX_PAYLOAD};
use birthmark_service::auth::Authenticator;
use birthmark_service::lock::FolderLock;
use birthmark_service::secret_file::SecretFileError;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::chain::NodeChain;
use crate::committee::Committee;
use crate::config::{Keys, NodeConfig, NodeError};
use crate::cosigner::Cosigner;
use crate::http;
use crate::mempool::Mempool;
use crate::peers::{PeerNetwork, Peers};
use crate::publisher::{Publisher, kept_size};
use crate::reads::Reads;
use crate::relay::Relay;

/// A node with its engine running.
#[derive(Debug)]
pub struct Node {
    shared: Arc<Shared>,
    engine: Engine,
    peers: Peers,
    _lock: FolderLock,
}

/// What the HTTP handlers work on.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) chain: NodeChain,
    pub(crate) network_file: Bytes,
    pub(crate) submitter: (SubmitterNumber, SubmitterKey),
}

impl Shared {
    /// What the read side answers from.
    pub(crate) fn reads(&self) -> Arc<Reads> {
        let chain = &self.chain;
        Arc::new(Reads {
            ledger: Arc::clone(&chain.ledger),
            publisher: Arc::clone(&chain.publisher),
            network_file: self.network_file.clone(),
            mempool: Some(Arc::clone(&chain.mempool)),
        })
    }
}

impl Node {
    /// Opens the folder, publishes the log as it stands, and joins consensus.
    pub async fn start(config: NodeConfig, clock: Arc<dyn Clock>) -> Result<Self, NodeError> {
        let lock = FolderLock::acquire(&config.data_dir)?;
        let keys = Keys::load(&config)?;
        let peers = Peers::new(&config, &keys)?;
        let engine_config = engine_config(&config, &keys, peers.resolve().await);
        let shared = Arc::new(tokio::task::spawn_blocking(move || open(&config, keys, clock)).await??);
        let chain = &shared.chain;
        let engine = Engine::start(engine_config, Arc::new(chain.clone())).map_err(Arc::new)?;
        engine.ready().await?;
        Ok(Self { shared, engine, peers, _lock: lock })
    }

    /// The node's HTTP interface.
    pub fn router(&self, authenticator: Authenticator) -> Router {
        http::router(Arc::clone(&self.shared), authenticator)
    }

    /// Runs until `stop`, then ends consensus cleanly; an error if a part ended by itself.
    pub async fn run(&self, stop: CancellationToken) -> Result<(), NodeError> {
        let chain = &self.shared.chain;
        let (ledger, publisher) = (Arc::clone(&chain.ledger), Arc::clone(&chain.publisher));
        tokio::select! {
            () = stop.cancelled() => Ok(self.engine.shutdown().await?),
            ended = self.engine.wait() => Ok(ended?),
            ended = Arc::clone(&chain.committee).run(ledger, publisher, chain.gossip.get().cloned()) => ended,
            ended = chain.relay.run(chain.clone()) => ended,
            ended = self.sign_each_minute() => ended,
            () = self.follow_addresses() => Ok(()),
        }
    }

    async fn sign_each_minute(&self) -> Result<(), NodeError> {
        let mut minute = tokio::time::interval(RECOSIGN);
        // The first tick comes at once, and the start has just signed.
        minute.tick().await;
        loop {
            minute.tick().await;
            let chain = self.shared.chain.clone();
            tokio::task::spawn_blocking(move || chain.sign(&[])).await??;
        }
    }

    /// Looks names up again, which may take its time. Never ends.
    async fn follow_addresses(&self) {
        if !self.peers.are_named() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(LOOK_UP_AGAIN).await;
            self.engine.set_addresses(&self.peers.resolve_again().await);
        }
    }
}

/// The parts without the engine, with the log as it stands signed.
pub(crate) fn open(config: &NodeConfig, keys: Keys, clock: Arc<dyn Clock>) -> Result<Shared, NodeError> {
    let folder = config.data_dir.join("ledger");
    std::fs::create_dir_all(&folder).map_err(|source| SecretFileError::Io { path: folder.clone(), source })?;
    let ledger = Arc::new(Ledger::open(&folder, Arc::clone(&config.network))?);
    let cosigner = Cosigner::open(&config.data_dir, keys.log, keys.cosign, kept_size(&ledger)?)?;
    let registered = config.network.submitter_by_name(&config.submitter);
    let number = registered.ok_or_else(|| NodeError::Submitter(config.submitter.clone()))?.number;
    let validators = config.network.current_epoch().validators().len();
    let publisher = Publisher::new();
    let committee = Committee::new(&config.network, &keys.validator)?;
    if let Some((size, time)) = publisher.resume(&ledger)? {
        committee.resume(size, time);
    }
    let chain = NodeChain {
        ledger,
        mempool: Arc::new(Mempool::new(config.mempool_bytes, validators)),
        publisher: Arc::new(publisher),
        cosigner: Arc::new(Mutex::new(cosigner)),
        committee: Arc::new(committee),
        relay: Arc::new(Relay::new()),
        gossip: Arc::default(),
        clock,
    };
    chain.sign(&[])?;
    Ok(Shared { chain, network_file: config.network_file.clone(), submitter: (number, keys.submitter) })
}

fn engine_config(config: &NodeConfig, keys: &Keys, validators: Vec<Validator>) -> EngineConfig {
    let (network, epoch) = (&config.network, config.network.current_epoch());
    let genesis = network.genesis();
    let genesis_header = Header {
        minute: genesis.minute(),
        epoch: Epoch(0),
        validator_set_hash: validator_set_hash(Epoch(0), genesis.validators()),
    };
    let peers = config.p2p_network.connections();
    let timing = Timing::for_validators(validators.len(), &peers);
    // Validators on one machine share its cores.
    let worker_threads = if validators.len() == 1 || config.p2p_network == PeerNetwork::Local { 1 } else { 2 };
    EngineConfig {
        storage_dir: config.data_dir.join("consensus"),
        namespace: network.network_id().as_bytes().to_vec(),
        validator_seed: keys.validator_seed.clone(),
        validators,
        listen: config.p2p_listen,
        genesis_header: Bytes::copy_from_slice(&genesis_header.encode()),
        epoch: epoch.number().0.into(),
        first_height: 0,
        past: Vec::new(),
        max_header_bytes: u32::try_from(HEADER_LEN).unwrap_or(u32::MAX),
        max_payload_bytes: u32::try_from(MAX_PAYLOAD).unwrap_or(u32::MAX),
        max_gossip_bytes: MAX_GOSSIP,
        timing,
        network: peers,
        worker_threads,
    }
}

/// How often an idle network's checkpoint is signed anew (`docs/PROTOCOL.md` section 8).
const RECOSIGN: Duration = Duration::from_mins(1);
/// How often names of validators are looked up again.
const LOOK_UP_AGAIN: Duration = Duration::from_mins(1);
const MAX_GOSSIP: u32 = 1024 * 1024;
const _: () = assert!(MAX_WIRE < MAX_GOSSIP as usize);

#[cfg(test)]
mod tests;
