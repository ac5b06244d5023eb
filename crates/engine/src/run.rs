//! Starts the engine's parts in the right order inside their runtime, and stops them so that their data is synced.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use commonware_broadcast::buffered;
use commonware_consensus::{
    marshal::{core::Actor, resolver::p2p as backfill, standard::Deferred},
    simplex::{Engine, scheme::ed25519::Scheme},
};
use commonware_cryptography::Digestible as _;
use commonware_runtime::{Handle, Runner as _, Spawner as _, Supervisor as _, tokio as runtime};
use futures::future::pending;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::{
    application::{Deliverer, Orderer, Runtime},
    applier::Applier,
    chain::{Chain, Topic},
    config::{Setup, Timing},
    error::EngineError,
    network,
    progress::Progress,
    settings, storage,
};

/// What the handle and the engine's thread share.
pub(crate) struct Controls {
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) gossip: mpsc::Receiver<(Topic, Bytes)>,
    pub(crate) running: Box<dyn Fn() + Send>,
}

/// Runs until told to stop or until a part fails. Blocks the calling thread.
///
/// A validator that was killed between casting a vote and collecting it waits out that turn after the restart. Others
/// help it on; alone it would wait for `certification_timeout`, which is long there. So a lone validator that gets no
/// turn soon is started once with short time-outs, until its turn comes, and then again with its own. Time-outs are
/// each validator's own affair, and its votes are on disk.
pub(crate) fn run(setup: &Setup, chain: &Arc<dyn Chain>, controls: Controls) -> Result<(), EngineError> {
    let Controls { stop, gossip, running } = controls;
    let phase = |phase, gossip| {
        let config = runtime::Config::new()
            .with_worker_threads(setup.config.worker_threads)
            .with_max_blocking_threads(BLOCKING_THREADS)
            .with_tcp_nodelay(Some(true))
            .with_storage_directory(&setup.config.storage_dir);
        let (stop, running) = (stop.clone(), &running);
        runtime::Runner::new(config)
            .start(|context| async move { orchestrate(context, setup, chain, phase, stop, gossip, running).await })
    };
    if !setup.is_alone() {
        return phase(Phase::Normal, Some(gossip)).map(|_| ());
    }
    if phase(Phase::Watched, None)? == Outcome::Stuck {
        info!("skipping the turn in which this validator was interrupted");
        if phase(Phase::Unlock, None)? == Outcome::Moving {
            phase(Phase::Normal, None)?;
        }
    }
    Ok(())
}

/// How the engine is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Until told to stop.
    Normal,
    /// The same, but ends if no turn comes soon.
    Watched,
    /// With short time-outs and without proposing, until a turn comes.
    Unlock,
}

/// Why a phase has ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Told,
    Stuck,
    Moving,
}

impl Phase {
    async fn end(self, progress: &Progress) -> Outcome {
        match self {
            Self::Normal => pending().await,
            Self::Watched => match tokio::time::timeout(STUCK_AFTER, progress.turn()).await {
                Ok(()) => pending().await,
                Err(_) => Outcome::Stuck,
            },
            Self::Unlock => {
                progress.turn().await;
                Outcome::Moving
            }
        }
    }
}

async fn orchestrate(
    context: Runtime,
    setup: &Setup,
    chain: &Arc<dyn Chain>,
    phase: Phase,
    mut stop: watch::Receiver<bool>,
    gossip: Option<mpsc::Receiver<(Topic, Bytes)>>,
    running: &(dyn Fn() + Send),
) -> Result<Outcome, EngineError> {
    let (stop_applier, applier_stop) = watch::channel(false);
    let mut parts = assemble(&context, setup, chain, phase, gossip, applier_stop).await?;
    info!(height = chain.applied_height(), validators = setup.peers.len(), "consensus runs");
    running();

    let mut kept = None;
    let reason = tokio::select! {
        // An error means that the handle was dropped, which asks to stop as well.
        _ = stop.wait_for(|stop| *stop) => Ok(Outcome::Told),
        outcome = phase.end(&parts.progress) => Ok(outcome),
        end = &mut parts.applier => {
            let (applier, result) = end.map_err(|_| EngineError::Stopped("applier"))?;
            kept = Some(applier);
            Err(result.err().unwrap_or(EngineError::Stopped("applier")))
        }
        _ = &mut parts.network => Err(EngineError::Stopped("network")),
        _ = &mut parts.blocks => Err(EngineError::Stopped("block exchange")),
        _ = &mut parts.archive => Err(EngineError::Stopped("archive")),
        _ = &mut parts.consensus => Err(EngineError::Stopped("consensus")),
    };

    // First let the ledger finish what it has begun, then let the engine's parts sync and leave.
    if kept.is_none() {
        stop_applier.send_replace(true);
        kept = tokio::time::timeout(PARTING, &mut parts.applier).await.ok().and_then(Result::ok).map(|(a, _)| a);
    }
    if let Err(error) = context.child("stop").stop(0, Some(PARTING)).await {
        warn!(%error, "the engine's parts did not leave in time; they recover at the next start");
    }
    // Only now: it holds acknowledgements, and dropping one stops the archive in the middle of its work.
    drop(kept);
    reason
}

/// Tasks whose end is the engine's end.
struct Parts {
    progress: Arc<Progress>,
    applier: Handle<(Applier, Result<(), EngineError>)>,
    network: Handle<()>,
    blocks: Handle<()>,
    archive: Handle<()>,
    consensus: Handle<()>,
}

async fn assemble(
    context: &Runtime,
    setup: &Setup,
    chain: &Arc<dyn Chain>,
    phase: Phase,
    gossip: Option<mpsc::Receiver<(Topic, Bytes)>>,
    applier_stop: watch::Receiver<bool>,
) -> Result<Parts, EngineError> {
    let scheme = Scheme::signer(&settings::votes_namespace(setup), setup.validators.clone(), setup.signer.clone())
        .ok_or(EngineError::NotAValidator)?;
    let genesis = settings::genesis(setup);
    let anchor = genesis.digest();
    let stores = storage::open(context, &scheme, setup.limits, &genesis).await?;
    let links = network::open(context, setup);
    let oracle = &links.oracle;

    let (exchange, exchange_mailbox) =
        buffered::Engine::new(context.child("exchange"), settings::exchange(setup, oracle));
    let backfill = backfill::init(context.child("backfill"), settings::backfill(setup, oracle), links.block_requests);
    let (archive, archive_mailbox, _) = Actor::init(
        context.child("archive"),
        stores.certificates,
        stores.blocks,
        settings::archive(setup, &scheme, genesis, &stores.pages),
    )
    .await;

    let timing = if phase == Phase::Unlock { Timing::unlock() } else { setup.config.timing };
    let progress = Arc::new(Progress::new(chain.applied_height()));
    let orderer = Orderer {
        chain: Arc::clone(chain),
        archive: archive_mailbox.clone(),
        progress: Arc::clone(&progress),
        limits: setup.limits,
        patience: (phase != Phase::Unlock).then_some(timing.patience),
    };
    let automaton = Deferred::new(context.child("automaton"), orderer, archive_mailbox.clone(), settings::epoch(setup));
    let consensus = Engine::new(
        context.child("consensus"),
        settings::consensus(setup, timing, scheme, anchor, stores.pages, oracle, automaton),
    );

    let (deliver, deliveries) = mpsc::unbounded_channel();
    let blocks = exchange.start(links.blocks);
    let deliverer = Deliverer { progress: Arc::clone(&progress), deliveries: deliver };
    let archive = archive.start(deliverer, exchange_mailbox, backfill);
    let applier = Applier {
        chain: Arc::clone(chain),
        archive: archive_mailbox,
        progress: Arc::clone(&progress),
        deliveries,
        stop: applier_stop,
        batch: Vec::new(),
    };
    let applier = context.child("applier").spawn(|_| applier.run());
    let consensus = consensus.start(links.votes, links.certificates, links.certificate_requests);

    let (transactions_out, transactions_in) = links.transactions;
    let (cosignatures_out, cosignatures_in) = links.cosignatures;
    let bound = network::gossip_bound(setup);
    for (incoming, topic) in [(transactions_in, Topic::Transactions), (cosignatures_in, Topic::Cosignatures)] {
        let chain = Arc::clone(chain);
        context.child("hear").spawn(move |_| network::receive_gossip(incoming, topic, bound, chain));
    }
    if let Some(gossip) = gossip {
        context.child("tell").spawn(move |_| network::send_gossip(gossip, transactions_out, cosignatures_out));
    }
    Ok(Parts { progress, applier, network: links.task, blocks, archive, consensus })
}

/// For file operations; the library's default of 512 would cost memory under load.
const BLOCKING_THREADS: usize = 16;
/// Time for the ledger, and then for the engine's parts, to finish.
const PARTING: Duration = Duration::from_secs(20);
/// A lone validator has its turn a few milliseconds after its votes are read.
const STUCK_AFTER: Duration = Duration::from_millis(500);
