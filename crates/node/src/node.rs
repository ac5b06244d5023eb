//! A running node: its parts tied together, from start to a clean end.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use axum::Router;
use birthmark_core::batch::{MAX_WIRE, SubmitterKey};
use birthmark_core::ids::Epoch;
use birthmark_core::network::acts_of;
use birthmark_core::time::Clock;
use birthmark_engine::{Engine, Gossip};
use birthmark_ledger::Ledger;
use birthmark_service::auth::Authenticator;
use birthmark_service::lock::FolderLock;
use birthmark_service::secret_file::SecretFileError;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::acts::Acts;
use crate::chain::NodeChain;
use crate::committee::Committee;
use crate::config::{Identity, Keys, NodeConfig, NodeError};
use crate::cosigner::{Cosigner, last_signed};
use crate::epochs::{self, CONSENSUS};
use crate::http;
use crate::mempool::Mempool;
use crate::peers::Peers;
use crate::publisher::{Publisher, kept_size};
use crate::reads::Reads;
use crate::relay::Relay;

/// A node with its engine running.
#[derive(Debug)]
pub struct Node {
    shared: Arc<Shared>,
    config: NodeConfig,
    identity: Identity,
    /// Exchanged at the end of an epoch.
    deciding: tokio::sync::Mutex<Deciding>,
    _lock: FolderLock,
}

/// The engine of an epoch.
#[derive(Debug)]
struct Deciding {
    epoch: Epoch,
    engine: Engine,
    peers: Peers,
}

/// What the HTTP handlers work on.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) chain: NodeChain,
    pub(crate) submitter: SubmitterKey,
    pub(crate) acts: Arc<Acts>,
    pub(crate) pages: Arc<tokio::sync::Semaphore>,
}

impl Shared {
    /// What the read side answers from.
    pub(crate) fn reads(&self) -> Arc<Reads> {
        let chain = &self.chain;
        Arc::new(Reads {
            ledger: Arc::clone(&chain.ledger),
            publisher: Arc::clone(&chain.publisher),
            acts: Arc::clone(&self.acts),
            mempool: Some(Arc::clone(&chain.mempool)),
            pages: Arc::clone(&self.pages),
        })
    }
}

impl Node {
    /// Opens the folder, publishes the log as it stands, and joins consensus.
    pub async fn start(config: NodeConfig, clock: Arc<dyn Clock>) -> Result<Self, NodeError> {
        let lock = FolderLock::acquire(&config.data_dir)?;
        let keys = Keys::load(&config)?;
        let identity = keys.identity.clone();
        let opening = config.clone();
        let shared = Arc::new(tokio::task::spawn_blocking(move || open(&opening, keys, clock)).await??);
        let deciding = begin(&config, &identity, &shared.chain).await?;
        Ok(Self { shared, config, identity, deciding: deciding.into(), _lock: lock })
    }

    /// The node's HTTP interface.
    pub fn router(&self, authenticator: Authenticator) -> Router {
        http::router(Arc::clone(&self.shared), authenticator)
    }

    /// Runs until `stop`, then ends consensus cleanly; an error if a part ended by itself. At the end of an
    /// epoch the engine of the next one takes over.
    pub async fn run(&self, stop: CancellationToken) -> Result<(), NodeError> {
        let chain = &self.shared.chain;
        let mut deciding = self.deciding.lock().await;
        loop {
            let (ledger, publisher) = (Arc::clone(&chain.ledger), Arc::clone(&chain.publisher));
            let gossip = chain.gossip.load_full().map(|gossip| Gossip::clone(&gossip));
            tokio::select! {
                () = stop.cancelled() => return Ok(deciding.engine.shutdown().await?),
                ended = deciding.engine.wait() => return Ok(ended?),
                ended = chain.committee().run(ledger, publisher, gossip) => return ended,
                ended = chain.relay.run(chain.clone()) => return ended,
                ended = self.sign_each_minute() => return ended,
                () = follow_addresses(&deciding) => return Ok(()),
                over = self.epoch_over(deciding.epoch) => over?,
            }
            info!(epoch = deciding.epoch.0, "the epoch is over; its engine ends");
            deciding.engine.shutdown().await?;
            *deciding = begin(&self.config, &self.identity, chain).await?;
            info!(epoch = deciding.epoch.0, "the next epoch has begun");
            let chain = chain.clone();
            tokio::task::spawn_blocking(move || chain.sign(&[])).await??;
        }
    }

    /// Waits until this node is to decide in a later epoch than this one.
    async fn epoch_over(&self, epoch: Epoch) -> Result<(), NodeError> {
        let (ledger, publisher) = (&self.shared.chain.ledger, &self.shared.chain.publisher);
        let mut closed = publisher.closed();
        loop {
            closed.mark_unchanged();
            if epochs::running(&epochs::newest(&self.config.network, ledger), ledger, &self.identity.validator)? > epoch
            {
                return Ok(());
            }
            if closed.changed().await.is_err() {
                return std::future::pending().await;
            }
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
}

/// Looks names up again, which may take its time. Never ends.
async fn follow_addresses(deciding: &Deciding) {
    if !deciding.peers.are_named() {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(LOOK_UP_AGAIN).await;
        deciding.engine.set_addresses(&deciding.peers.resolve_again().await);
    }
}

/// Starts the engine of the epoch that this node is to decide in.
async fn begin(config: &NodeConfig, identity: &Identity, chain: &NodeChain) -> Result<Deciding, NodeError> {
    let network = epochs::newest(&config.network, &chain.ledger);
    let number = epochs::running(&network, &chain.ledger, &identity.validator)?;
    let epoch = epochs::of(&network, number)?;
    if chain.committee().epoch() != number {
        chain.committee.store(Arc::new(Committee::new(&network, number, &identity.validator)?));
    }
    let peers = Peers::new(config, &identity.validator, epoch)?;
    let addresses = peers.resolve().await;
    let config = epochs::engine_config(config, identity.validator_seed.clone(), &network, epoch, addresses);
    let engine = Engine::start(config, Arc::new(chain.clone())).map_err(Arc::new)?;
    engine.ready().await?;
    Ok(Deciding { epoch: number, engine, peers })
}

/// The parts without the engine, with the log as it stands signed.
pub(crate) fn open(config: &NodeConfig, keys: Keys, clock: Arc<dyn Clock>) -> Result<Shared, NodeError> {
    let folder = config.data_dir.join("ledger");
    std::fs::create_dir_all(&folder).map_err(|source| SecretFileError::Io { path: folder.clone(), source })?;
    remembers_votes(&config.data_dir)?;
    let ledger = Arc::new(Ledger::open(&folder, Arc::clone(&config.network))?);
    let cosigner = Cosigner::open(&config.data_dir, keys.log, keys.cosign, kept_size(&ledger)?)?;
    epochs::keep_proven(&acts_of(&config.network_file).unwrap_or_default(), &ledger)?;
    let publisher = Publisher::new();
    // It may have been published as the last act of an earlier run.
    if let Some(note) = ledger.checkpoint()? {
        publisher.keep_closing(&ledger, &note)?;
    }
    let network = epochs::newest(&config.network, &ledger);
    let own = &keys.identity.validator;
    let committee = Committee::new(&network, epochs::running(&network, &ledger, own)?, own)?;
    let validators = network.current_epoch().validators().len();
    if let Some((size, time)) = publisher.resume(&ledger)? {
        committee.resume(size, time);
    }
    let chain = NodeChain {
        ledger,
        mempool: Arc::new(Mempool::new(config.mempool_bytes, validators)),
        publisher: Arc::new(publisher),
        cosigner: Arc::new(Mutex::new(cosigner)),
        committee: Arc::new(ArcSwap::from_pointee(committee)),
        relay: Arc::new(Relay::new()),
        gossip: Arc::new(ArcSwapOption::empty()),
        clock,
    };
    chain.sign(&[])?;
    let acts = Arc::new(Acts::new(config.network_file.clone()));
    Ok(Shared { chain, submitter: keys.submitter, acts, pages: Reads::pages() })
}

/// Refuses a validator that has taken part and whose votes are gone. Where the ledger is gone too nothing else would tell:
/// it would begin anew, and vote a second time on what it has voted on before.
fn remembers_votes(data_dir: &Path) -> Result<(), NodeError> {
    let votes = std::fs::read_dir(data_dir.join(CONSENSUS)).is_ok_and(|mut entries| entries.next().is_some());
    let (signed, _) = last_signed(data_dir)?;
    if signed > 0 && !votes { Err(NodeError::VotesLost(signed)) } else { Ok(()) }
}

/// How often an idle network's checkpoint is signed anew (`docs/PROTOCOL.md` section 8).
const RECOSIGN: Duration = Duration::from_mins(1);
/// How often names of validators are looked up again.
const LOOK_UP_AGAIN: Duration = Duration::from_mins(1);
const _: () = assert!(MAX_WIRE < epochs::MAX_GOSSIP as usize);

#[cfg(test)]
mod tests;
