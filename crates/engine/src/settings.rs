//! How the engine's parts are set up: sizes, namespaces, time-outs.
//!
//! Not for: what an operator decides (`config.rs`) or the sizes of files (`storage.rs`).

use std::{num::NonZeroUsize, time::Duration};

use commonware_broadcast::buffered;
use commonware_consensus::{
    marshal::{self, resolver::p2p as backfill, standard::Deferred},
    simplex::{self, Floor, ForwardPolicy, SkipBudget, SkipPolicy, elector::RoundRobin, scheme::ed25519::Scheme},
    types::{Epoch, ViewDelta},
};
use commonware_cryptography::{Digested, Digestible as _, Sha256, ed25519::PublicKey, sha256::Digest};
use commonware_p2p::{Blocker, Provider};
use commonware_parallel::Sequential;
use commonware_runtime::buffer::paged::CacheRef;
use commonware_utils::{NZU64, NZUsize, NonZeroDuration, union};

use crate::{
    application::Orderer,
    block::{Block, BlockLimits},
    config::{Setup, Timing},
    epoch::{Schemes, Spans},
    pace::Watcher,
    parts::Platform,
    storage,
};

type Automaton<E> = Deferred<E, Scheme, Orderer, Block, Spans>;
type ConsensusConfig<E, B> = simplex::Config<
    Scheme,
    RoundRobin<Sha256>,
    B,
    Digest,
    Automaton<E>,
    Automaton<E>,
    Watcher<Automaton<E>>,
    Sequential,
>;
type ArchiveConfig = marshal::Config<Schemes, Spans, Sequential, Block, Digested<Block>>;

/// Sets votes apart from everything else that the same keys sign.
pub(crate) fn votes_namespace(setup: &Setup) -> Vec<u8> {
    union(&setup.config.namespace, b"_CONSENSUS")
}

/// Block 0.
pub(crate) fn genesis(setup: &Setup) -> Block {
    let first = setup.past.first().map_or(&setup.validators, |(_, validators)| validators);
    Block::genesis(Epoch::zero(), first[0].clone(), setup.config.genesis_header.clone())
}

/// Exchange of new blocks.
pub(crate) fn exchange<P: Provider<PublicKey = PublicKey>>(
    setup: &Setup,
    peers: &P,
) -> buffered::Config<PublicKey, BlockLimits, P, Sequential> {
    buffered::Config {
        public_key: setup.public_key.clone(),
        mailbox_size: MAILBOX,
        deque_size: BLOCKS_BUFFERED,
        priority: true,
        codec_config: setup.limits,
        peer_provider: peers.clone(),
        strategy: Sequential,
    }
}

/// Fetching of blocks that were missed.
pub(crate) fn backfill<P: Provider<PublicKey = PublicKey>, B: Blocker<PublicKey = PublicKey>>(
    setup: &Setup,
    peers: &P,
    blocker: &B,
) -> backfill::Config<PublicKey, P, B> {
    backfill::Config {
        public_key: setup.public_key.clone(),
        peer_provider: peers.clone(),
        blocker: blocker.clone(),
        mailbox_size: MAILBOX,
        fetch_timeout: fetch_timeout(setup),
        fetch_retry_delay: RETRY_DELAY,
        priority_requests: false,
        priority_responses: false,
    }
}

/// The archive of blocks and certificates.
pub(crate) fn archive(setup: &Setup, schemes: Schemes, genesis: Block, pages: &CacheRef) -> ArchiveConfig {
    let digest = genesis.digest();
    marshal::Config {
        provider: schemes,
        epocher: setup.spans.clone(),
        start: marshal::Start::Genesis(Digested::precomputed(genesis, digest)),
        partition_prefix: setup.partition("marshal"),
        mailbox_size: MAILBOX,
        view_retention: ViewDelta::new(VIEWS_KEPT),
        prunable_items_per_section: NZU64!(VIEWS_KEPT),
        page_cache: pages.clone(),
        replay_buffer: storage::REPLAY_BUFFER,
        key_write_buffer: storage::WRITE_BUFFER,
        value_write_buffer: storage::WRITE_BUFFER,
        block_codec_config: setup.limits,
        max_repair: NZUsize!(16),
        max_pending_acks: NZUsize!(16),
        strategy: Sequential,
    }
}

/// Voting.
pub(crate) fn consensus<E: Platform, B: Blocker<PublicKey = PublicKey>>(
    setup: &Setup,
    timing: Timing,
    scheme: Scheme,
    anchor: Digest,
    pages: CacheRef,
    blocker: &B,
    watcher: Watcher<Automaton<E>>,
) -> ConsensusConfig<E, B> {
    let epoch = setup.spans.running();
    simplex::Config {
        scheme,
        elector: RoundRobin::default(),
        blocker: blocker.clone(),
        automaton: watcher.inner.clone(),
        relay: watcher.inner.clone(),
        reporter: watcher,
        track_historical_votes: false,
        strategy: Sequential,
        // A journal belongs to one epoch.
        partition: setup.partition(&format!("votes-{epoch}")),
        mailbox_size: MAILBOX,
        epoch,
        floor: Floor::Genesis(anchor),
        replay_buffer: storage::REPLAY_BUFFER,
        write_buffer: storage::WRITE_BUFFER,
        page_cache: pages,
        leader_timeout: timing.leader_timeout,
        certification_timeout: timing.certification_timeout,
        timeout_retry: timing.retry,
        view_retention: ViewDelta::new(VIEWS_KEPT),
        skip: skip_policy(timing),
        fetch_timeout: fetch_timeout(setup),
        fetch_retry_delay: RETRY_DELAY,
        forward: ForwardPolicy::SilentVoters,
    }
}

const fn skip_policy(timing: Timing) -> SkipPolicy {
    match timing.skip {
        Some(timeout) => SkipPolicy::Enabled { timeout, budget: SkipBudget::Participants },
        None => SkipPolicy::Disabled,
    }
}

// `Setup` admits no zero.
fn fetch_timeout(setup: &Setup) -> NonZeroDuration {
    NonZeroDuration::new_panic(setup.config.timing.fetch)
}

const MAILBOX: NonZeroUsize = NZUsize!(512);
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// Recent blocks of each validator that are held in memory.
const BLOCKS_BUFFERED: usize = 8;
/// Views whose votes and candidate blocks are kept behind the last final one; each keeps copies of blocks on disk.
const VIEWS_KEPT: u64 = 16;
