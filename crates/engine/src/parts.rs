//! The engine's parts, put together in the order in which they must start.
//!
//! For: [`assemble`], the one wiring of voting, archive, block exchange, applying and gossip. It is generic over the
//! runtime and the connections, so that the simulated runs of the tests drive exactly what runs in earnest.
//! Not for: the real runtime and its end (`run.rs`), or the real connections (`network.rs`).

use std::sync::Arc;

use commonware_broadcast::buffered;
use commonware_consensus::{
    marshal::{core::Actor, resolver::p2p as backfill, standard::Deferred},
    simplex::{Engine, scheme::ed25519::Scheme},
};
use commonware_cryptography::{Digestible as _, ed25519::PublicKey};
use commonware_p2p::{Blocker, Provider, Receiver, Sender};
use commonware_runtime::{Clock, Handle, Metrics, Quota, Spawner, Storage};
use commonware_utils::NZU32;
use rand_core::CryptoRng;
use tokio::sync::{mpsc, watch};

use crate::{
    application::{Deliverer, Orderer, Patience},
    applier::Applier,
    calls,
    chain::{Chain, Topic},
    config::{Setup, Timing},
    epoch::Schemes,
    error::EngineError,
    gossip::{self, Outboxes},
    pace::{Pace, Paced, Watcher},
    progress::Progress,
    settings, storage, transition,
};

/// What the engine needs of a runtime: the real one, or the simulated one of the tests.
pub(crate) trait Platform: Clock + CryptoRng + Metrics + Spawner + Storage {}

impl<E: Clock + CryptoRng + Metrics + Spawner + Storage> Platform for E {}

/// Connections to the other validators.
pub(crate) trait Fabric {
    /// Sends on one channel.
    type Sender: Sender<PublicKey = PublicKey>;
    /// Receives on one channel.
    type Receiver: Receiver<PublicKey = PublicKey>;
    /// Knows who the peers are.
    type Peers: Provider<PublicKey = PublicKey>;
    /// Cuts off a peer that was proven to misbehave.
    type Blocker: Blocker<PublicKey = PublicKey>;
}

/// Both ends of a channel.
pub(crate) type Channel<F> = (<F as Fabric>::Sender, <F as Fabric>::Receiver);

/// The channels, and who is on them.
pub(crate) struct Links<F: Fabric> {
    pub(crate) peers: F::Peers,
    pub(crate) blocker: F::Blocker,
    pub(crate) votes: Channel<F>,
    pub(crate) certificates: Channel<F>,
    pub(crate) certificate_requests: Channel<F>,
    pub(crate) blocks: Channel<F>,
    pub(crate) block_requests: Channel<F>,
    pub(crate) transactions: Channel<F>,
    pub(crate) cosignatures: Channel<F>,
    pub(crate) calls: Channel<F>,
}

impl<F: Fabric> Links<F> {
    /// `channels` in the order of [`CHANNELS`].
    pub(crate) fn new(peers: F::Peers, blocker: F::Blocker, channels: [Channel<F>; CHANNELS.len()]) -> Self {
        let [votes, certificates, certificate_requests, blocks, block_requests, transactions, cosignatures, calls] =
            channels;
        Self {
            peers,
            blocker,
            votes,
            certificates,
            certificate_requests,
            blocks,
            block_requests,
            transactions,
            cosignatures,
            calls,
        }
    }
}

/// How this run differs from others of the same validator.
pub(crate) struct Mode {
    pub(crate) timing: Timing,
    /// Whether to propose at all.
    pub(crate) proposes: bool,
    /// What the node says to others; none if there are no others.
    pub(crate) outboxes: Option<Outboxes>,
    /// Tells the applier to stop after its batch.
    pub(crate) stop_applier: watch::Receiver<bool>,
}

/// Tasks whose end is the engine's end.
pub(crate) struct Parts {
    pub(crate) progress: Arc<Progress>,
    pub(crate) applier: Handle<(Applier, Result<(), EngineError>)>,
    pub(crate) blocks: Handle<()>,
    pub(crate) archive: Handle<()>,
    pub(crate) consensus: Handle<()>,
}

/// Opens the storage and starts everything. Storage comes first: it may refuse, and then nothing has been sent.
pub(crate) async fn assemble<E: Platform, F: Fabric>(
    context: &E,
    setup: &Setup,
    chain: &Arc<dyn Chain>,
    connect: impl FnOnce() -> Links<F>,
    mode: Mode,
) -> Result<Parts, EngineError> {
    let namespace = settings::votes_namespace(setup);
    let scheme =
        Scheme::signer(&namespace, setup.validators.clone(), setup.signer.clone()).ok_or(EngineError::NotAValidator)?;
    let past = setup.past.iter().map(|(epoch, set)| (*epoch, Scheme::verifier(&namespace, set.clone())));
    let schemes = Schemes::new(past.chain([(setup.spans.running(), scheme.clone())]));
    let genesis = settings::genesis(setup);
    let first_anchor = genesis.digest();
    let stores = storage::open(context, setup, &genesis).await?;
    let links = connect();
    let (votes, elsewhere) = transition::split::<E, F>(context.child("votes"), &setup.spans, links.votes).await?;
    let (certificates, _) =
        transition::split::<E, F>(context.child("certificates"), &setup.spans, links.certificates).await?;
    let (certificate_requests, _) =
        transition::split::<E, F>(context.child("requests"), &setup.spans, links.certificate_requests).await?;

    let (exchange, exchange_mailbox) =
        buffered::Engine::new(context.child("exchange"), settings::exchange(setup, &links.peers));
    let backfill = backfill::init(
        context.child("backfill"),
        settings::backfill(setup, &links.peers, &links.blocker),
        links.block_requests,
    );
    let (archive, archive_mailbox, _) = Actor::init(
        context.child("archive"),
        stores.certificates,
        stores.blocks,
        settings::archive(setup, schemes, genesis, &stores.pages),
    )
    .await;

    let progress = Arc::new(Progress::new(chain.applied_height()));
    let pace = Arc::new(Pace::new(context.child("pace")));
    let orderer = Orderer {
        chain: Arc::clone(chain),
        archive: archive_mailbox.clone(),
        progress: Arc::clone(&progress),
        limits: setup.limits,
        patience: mode.proposes.then_some(Patience { busy: mode.timing.patience, idle: mode.timing.idle }),
        pace: Arc::clone(&pace),
    };
    let automaton = Deferred::new(context.child("automaton"), orderer, archive_mailbox.clone(), setup.spans.clone());
    let watcher = Watcher { inner: automaton, pace: Arc::clone(&pace) };

    let (deliver, deliveries) = mpsc::unbounded_channel();
    let blocks = exchange.start(links.blocks);
    let deliverer = Deliverer { progress: Arc::clone(&progress), deliveries: deliver };
    let archive = archive.start(deliverer, exchange_mailbox, backfill);
    let applier = Applier {
        chain: Arc::clone(chain),
        archive: archive_mailbox.clone(),
        progress: Arc::clone(&progress),
        deliveries,
        stop: mode.stop_applier,
        spans: setup.spans.clone(),
        batch: Vec::new(),
        later: Vec::new(),
    };
    let applier = context.child("applier").spawn(|_| applier.run());
    start_pace(context, chain, &pace);
    let follow =
        |elsewhere| transition::follow(elsewhere, setup.spans.clone(), archive_mailbox.clone(), Arc::clone(chain));
    let votes_elsewhere = follow(elsewhere);
    context.child("follow").spawn(|_| votes_elsewhere);
    if mode.outboxes.is_some() {
        let (calls, elsewhere) = transition::split::<E, F>(context.child("calls"), &setup.spans, links.calls).await?;
        start_calls::<E, F>(context, &pace, calls);
        // Of an idle epoch nothing else is heard.
        let calls_elsewhere = follow(elsewhere);
        context.child("follow_calls").spawn(|_| calls_elsewhere);
    }
    let voting = {
        let (setup, timing, blocker) = (setup.clone(), mode.timing, links.blocker.clone());
        move |runtime: E| async move {
            let anchor = match setup.spans.begins().previous() {
                Some(last) => transition::anchor(&runtime, &archive_mailbox, last, setup.others()).await,
                None => first_anchor,
            };
            let config = settings::consensus(&setup, timing, scheme, anchor, stores.pages, &blocker, watcher);
            let engine = Engine::new(Paced { runtime: runtime.child("consensus"), pace }, config);
            let _ended = engine.start(votes, certificates, certificate_requests).await;
        }
    };
    let consensus = context.child("voting").spawn(voting);
    start_gossip::<E, F>(context, setup, chain, links.transactions, links.cosignatures, mode.outboxes);
    Ok(Parts { progress, applier, blocks, archive, consensus })
}

fn start_pace<E: Platform>(context: &E, chain: &Arc<dyn Chain>, pace: &Arc<Pace>) {
    let (chain, own) = (Arc::clone(chain), Arc::clone(pace));
    context.child("work").spawn(move |_| async move { own.follow(&*chain).await });
}

fn start_calls<E: Platform, F: Fabric>(context: &E, pace: &Arc<Pace>, (sender, incoming): transition::Part<F>) {
    let (teller, hearer) = (Arc::clone(pace), Arc::clone(pace));
    context.child("call").spawn(move |runtime| calls::tell(runtime, teller, sender));
    context.child("called").spawn(move |runtime| calls::hear(runtime, hearer, incoming));
}

fn start_gossip<E: Platform, F: Fabric>(
    context: &E,
    setup: &Setup,
    chain: &Arc<dyn Chain>,
    (transactions_out, transactions_in): Channel<F>,
    (cosignatures_out, cosignatures_in): Channel<F>,
    outboxes: Option<Outboxes>,
) {
    let Some(outboxes) = outboxes else { return };
    let bound = setup.gossip_bound();
    let topics = [
        (Topic::Transactions, transactions_in, transactions_out, outboxes.transactions),
        (Topic::Cosignatures, cosignatures_in, cosignatures_out, outboxes.cosignatures),
    ];
    for (topic, incoming, sender, outbox) in topics {
        let chain = Arc::clone(chain);
        context.child("hear").spawn(move |_| gossip::receive(incoming, topic, bound, chain));
        context.child("tell").spawn(move |runtime| gossip::send(runtime, topic, bound, outbox, sender));
    }
}

/// How many messages a second each channel carries to and from each peer, and at once; a channel's number is its place.
/// More than these would only fill memory: a peer's messages wait in a queue of this length.
pub(crate) const CHANNELS: [Quota; 8] = [
    // Votes, certificates and requests for certificates: a few per view and validator.
    Quota::per_second(NZU32!(1_024)),
    Quota::per_second(NZU32!(1_024)),
    Quota::per_second(NZU32!(1_024)),
    // Blocks and requests for them; each may be as large as a block.
    Quota::per_second(NZU32!(128)),
    Quota::per_second(NZU32!(128)),
    // Packets of transactions: one in 10 ms, each as large as the largest batch.
    Quota::per_second(NZU32!(100)),
    // Packets of cosignatures.
    Quota::per_second(NZU32!(100)),
    // One call each 2 s.
    Quota::per_second(NZU32!(4)),
];
