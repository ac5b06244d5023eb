//! Runs the engine's parts inside the real runtime, and stops them so that their data is synced.
//!
//! Not for: which parts there are (`parts.rs`).

use std::{sync::Arc, time::Duration};

use commonware_runtime::{Runner as _, Spawner as _, Supervisor as _, tokio as runtime};
use futures::future::pending;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::{
    chain::Chain,
    config::{Setup, Timing},
    error::EngineError,
    gossip::Outboxes,
    network::{self, Addresses},
    parts::{Mode, assemble},
    progress::Progress,
};

/// What the handle and the engine's thread share.
pub(crate) struct Controls {
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) addresses: watch::Receiver<Addresses>,
    pub(crate) running: Box<dyn Fn() + Send>,
}

/// Runs until told to stop or until a part fails. Blocks the calling thread. `outboxes` is none for a validator that is
/// alone.
///
/// A validator that was killed between casting a vote and collecting it waits out that turn after the restart. Others
/// help it on; alone it would wait for `certification_timeout`, which is long there. So a lone validator that gets no
/// turn soon is started once with short time-outs, until its turn comes, and then again with its own. Time-outs are
/// each validator's own affair, and its votes are on disk.
pub(crate) fn run(
    setup: &Setup,
    chain: &Arc<dyn Chain>,
    controls: &Controls,
    outboxes: Option<Outboxes>,
) -> Result<(), EngineError> {
    let phase = |phase, outboxes| {
        let config = runtime::Config::new()
            .with_worker_threads(setup.config.worker_threads)
            .with_max_blocking_threads(BLOCKING_THREADS)
            .with_tcp_nodelay(Some(true))
            .with_storage_directory(&setup.config.storage_dir);
        runtime::Runner::new(config).start(|context| orchestrate(context, setup, chain, phase, controls, outboxes))
    };
    if !setup.is_alone() {
        return phase(Phase::Normal, outboxes).map(|_| ());
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
    context: runtime::Context,
    setup: &Setup,
    chain: &Arc<dyn Chain>,
    phase: Phase,
    controls: &Controls,
    outboxes: Option<Outboxes>,
) -> Result<Outcome, EngineError> {
    let mut stop = controls.stop.clone();
    let (stop_applier, applier_stop) = watch::channel(false);
    let timing = if phase == Phase::Unlock { Timing::unlock() } else { setup.config.timing };
    let mode = Mode { timing, proposes: phase != Phase::Unlock, outboxes, stop_applier: applier_stop };
    let mut network = None;
    let connect = || {
        let (links, task) = network::open(&context, setup);
        let (addresses, peers) = (controls.addresses.clone(), links.peers.clone());
        context.child("addresses").spawn(|_| network::follow(addresses, peers));
        network = Some(task);
        links
    };
    let mut parts = assemble(&context, setup, chain, connect, mode).await?;
    let mut network = network.ok_or(EngineError::Stopped("network"))?;
    info!(height = chain.applied_height(), validators = setup.peers.len(), "consensus runs");
    (controls.running)();

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
        _ = &mut network => Err(EngineError::Stopped("network")),
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

/// For file operations; the library's default of 512 would cost memory under load.
const BLOCKING_THREADS: usize = 16;
/// Time for the ledger, and then for the engine's parts, to finish.
const PARTING: Duration = Duration::from_secs(20);
/// A lone validator has its turn a few milliseconds after its votes are read.
const STUCK_AFTER: Duration = Duration::from_millis(500);
