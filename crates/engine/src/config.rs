//! What an operator or the node decides about the engine.
//!
//! For: keys, peers, limits and time-outs, and the checks that give a clear error before anything starts.
//! Not for: reading files or flags (the node).

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use bytes::Bytes;
use commonware_codec::{Copying, DecodeExt as _};
use commonware_consensus::types::{Epoch, Height};
use commonware_cryptography::{
    Signer as _,
    ed25519::{PrivateKey, PublicKey},
};
use commonware_utils::{ordered::Set, vec::NonEmptyVec};
use zeroize::Zeroizing;

use crate::{
    block::{Block, BlockLimits},
    connections::Network,
    epoch::Spans,
    error::EngineError,
    network::Addresses,
};

/// More validators than this do not fit into a checkpoint that other tools accept (`docs/PROTOCOL.md` section 8).
pub const MAX_VALIDATORS: usize = 22;

/// Everything that [`Engine::start`](crate::Engine::start) needs besides the chain.
#[derive(Clone)]
pub struct EngineConfig {
    /// Folder of votes, blocks and certificates; created if missing, owned by one process.
    pub storage_dir: PathBuf,
    /// Sets this network's signatures apart from those of others: the network id.
    pub namespace: Vec<u8>,
    /// Seed of the own Ed25519 consensus key.
    pub validator_seed: Zeroizing<[u8; 32]>,
    /// All validators, the own one too, in any order.
    pub validators: Vec<Validator>,
    /// Where other validators connect to.
    pub listen: SocketAddr,
    /// Header of block 0, equal on all validators.
    pub genesis_header: Bytes,
    /// Number of the epoch in which this set of validators decides.
    pub epoch: u64,
    /// The height of its first block; 0 in the first one.
    pub first_height: u64,
    /// All epochs before it, in order.
    pub past: Vec<PastEpoch>,
    /// Bound of [`Proposal::header`](crate::Proposal::header); equal everywhere, must never shrink.
    pub max_header_bytes: u32,
    /// Bound of [`Proposal::payload`](crate::Proposal::payload); equal everywhere, must never shrink.
    pub max_payload_bytes: u32,
    /// Bound of a gossip message; equal everywhere.
    pub max_gossip_bytes: u32,
    /// Time-outs.
    pub timing: Timing,
    /// What connections to expect.
    pub network: Network,
    /// Threads of the engine's runtime, at least 1.
    pub worker_threads: usize,
}

/// Another validator, or the own one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validator {
    /// Ed25519 consensus key.
    pub key: [u8; 32],
    /// Where it listens and from which address it connects. Unspecified (`0.0.0.0:0`) while it is not known:
    /// [`Engine::set_addresses`](crate::Engine::set_addresses) tells it later.
    pub address: SocketAddr,
}

/// An epoch that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastEpoch {
    /// Its number.
    pub epoch: u64,
    /// The height of its first block.
    pub first_height: u64,
    /// Consensus keys of those who decided.
    pub validators: Vec<[u8; 32]>,
}

/// How long to wait for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long a leader waits for work before it proposes an empty block, while anything waits or a turn is not
    /// decided. Less than `leader_timeout`.
    pub patience: Duration,
    /// The same while nothing waits anywhere; all other time-outs stand still meanwhile. More than `patience`.
    pub idle: Duration,
    /// How long to wait for a leader's block before voting to skip its turn.
    pub leader_timeout: Duration,
    /// How long to wait for a turn to be certified. More than `leader_timeout`. When a quorum was
    /// killed in the middle of a vote, the next block comes this much later.
    pub certification_timeout: Duration,
    /// How often to repeat the vote to skip.
    pub retry: Duration,
    /// Silence after which a leader's turns are skipped at once. More than `certification_timeout` and `retry`.
    pub skip: Option<Duration>,
    /// How long a peer may take to answer a request for a block or certificate.
    pub fetch: Duration,
}

impl Timing {
    /// For a single validator: nobody else waits for it.
    pub const fn single() -> Self {
        Self {
            patience: Duration::from_secs(8),
            idle: IDLE,
            leader_timeout: Duration::from_secs(10),
            certification_timeout: Duration::from_secs(11),
            retry: Duration::from_secs(2),
            skip: None,
            fetch: Duration::from_secs(2),
        }
    }

    /// For so many validators on such a network.
    pub const fn for_validators(count: usize, network: &Network) -> Self {
        match network {
            _ if count <= 1 => Self::single(),
            Network::Local | Network::Lan => Self::lan(),
            Network::Public | Network::Custom(_) => Self::wan(),
        }
    }

    /// For several validators near each other: a dead one costs half a second a turn until it is skipped.
    pub const fn lan() -> Self {
        Self {
            patience: Duration::from_millis(350),
            idle: IDLE,
            leader_timeout: Duration::from_millis(500),
            certification_timeout: Duration::from_secs(1),
            retry: Duration::from_secs(2),
            skip: Some(Duration::from_millis(2_500)),
            fetch: Duration::from_secs(2),
        }
    }

    /// For several validators far apart: room for a few journeys around the world within a turn.
    pub const fn wan() -> Self {
        Self {
            patience: Duration::from_secs(1),
            idle: IDLE,
            leader_timeout: Duration::from_secs(2),
            certification_timeout: Duration::from_secs(4),
            retry: Duration::from_secs(5),
            skip: Some(Duration::from_secs(10)),
            fetch: Duration::from_secs(5),
        }
    }

    /// For getting past a turn that nobody will complete.
    pub(crate) const fn unlock() -> Self {
        Self {
            patience: Duration::from_millis(50),
            idle: IDLE,
            leader_timeout: Duration::from_millis(100),
            certification_timeout: Duration::from_millis(150),
            retry: Duration::from_millis(100),
            skip: None,
            fetch: Duration::from_secs(2),
        }
    }

    fn check(&self) -> Result<(), EngineError> {
        let fault = if self.patience >= self.leader_timeout {
            "patience must be shorter than the leader's time-out"
        } else if self.idle <= self.patience {
            "an idle leader must wait longer than one with work at hand"
        } else if self.certification_timeout <= self.leader_timeout {
            "certification must be given more time than the leader"
        } else if self.retry.is_zero() || self.fetch.is_zero() {
            "the intervals of retry and fetch must not be zero"
        } else if self.skip.is_some_and(|skip| skip <= self.certification_timeout || skip <= self.retry) {
            "skipping must come after certification and retry"
        } else {
            return Ok(());
        };
        Err(EngineError::Timing(fault))
    }
}

impl fmt::Debug for EngineConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineConfig")
            .field("storage_dir", &self.storage_dir)
            .field("validators", &self.validators.len())
            .field("listen", &self.listen)
            .field("epoch", &self.epoch)
            .field("timing", &self.timing)
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

/// The public key that belongs to a validator's seed.
pub fn public_key_of(seed: &[u8; 32]) -> [u8; 32] {
    // Zeros are no validator's key; any 32 bytes are a seed, so this never happens.
    signer_of(seed).map_or([0; 32], |signer| raw(&signer.public_key()))
}

/// Who decided in which earlier epoch.
type Past = Vec<(Epoch, Set<PublicKey>)>;

/// A configuration that has been checked.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) config: EngineConfig,
    pub(crate) signer: PrivateKey,
    pub(crate) public_key: PublicKey,
    pub(crate) validators: Set<PublicKey>,
    pub(crate) peers: Addresses,
    pub(crate) limits: BlockLimits,
    /// Those of earlier epochs.
    pub(crate) past: Past,
    pub(crate) spans: Spans,
    /// In front of every name in storage. Empty, but for validators that share a simulated disk.
    pub(crate) prefix: &'static str,
}

impl Setup {
    /// Checks everything that can be checked without touching disk or network.
    pub(crate) fn new(config: EngineConfig) -> Result<Self, EngineError> {
        let count = config.validators.len();
        if count == 0 || count > MAX_VALIDATORS {
            return Err(EngineError::ValidatorCount(count));
        }
        config.timing.check()?;
        let limits = check_limits(&config)?;
        let peers = config
            .validators
            .iter()
            .enumerate()
            .map(|(place, validator)| match key_from(&validator.key) {
                Some(key) => Ok((key, validator.address)),
                None => Err(EngineError::ValidatorKey(place)),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let validators = Set::from_iter_dedup(peers.iter().map(|(key, _)| key.clone()));
        if validators.len() != count {
            return Err(EngineError::DuplicateValidator);
        }
        let mut addresses = HashSet::new();
        let known = config.validators.iter().map(|validator| validator.address).filter(|a| !a.ip().is_unspecified());
        if let Some(address) = known.into_iter().find(|address| !addresses.insert(*address)) {
            return Err(EngineError::DuplicateAddress(address));
        }
        config.network.connections().check().map_err(EngineError::Connections)?;
        let signer = signer_of(&config.validator_seed).ok_or(EngineError::NotAValidator)?;
        let public_key = signer.public_key();
        if validators.position(&public_key).is_none() {
            return Err(EngineError::NotAValidator);
        }
        let (past, spans) = check_epochs(&config)?;
        Ok(Self { config, signer, public_key, validators, peers, limits, past, spans, prefix: "" })
    }

    /// A name in storage.
    pub(crate) fn partition(&self, name: &str) -> String {
        [self.prefix, name].concat()
    }

    /// The largest gossip message.
    pub(crate) fn gossip_bound(&self) -> usize {
        usize::try_from(self.config.max_gossip_bytes).unwrap_or(usize::MAX)
    }

    /// The other validators.
    pub(crate) fn others(&self) -> Option<NonEmptyVec<PublicKey>> {
        let others = self.validators.iter().filter(|key| **key != self.public_key).cloned();
        NonEmptyVec::try_from(others.collect::<Vec<_>>()).ok()
    }

    /// Whether there is nobody to talk to.
    pub(crate) fn is_alone(&self) -> bool {
        self.peers.len() == 1
    }
}

fn check_limits(config: &EngineConfig) -> Result<BlockLimits, EngineError> {
    let limits = BlockLimits { header: config.max_header_bytes, payload: config.max_payload_bytes };
    let fault = if <Block as commonware_consensus::BoundedBlock>::max_encode_size(&limits) > LARGEST_BLOCK {
        "a block must not exceed 64 MiB"
    } else if config.genesis_header.len() > usize::try_from(limits.header).unwrap_or(usize::MAX) {
        "the genesis header is larger than a header may be"
    } else if config.max_gossip_bytes > LARGEST_GOSSIP {
        "a gossip message must not exceed 16 MiB"
    } else if config.worker_threads == 0 {
        "at least one worker thread is needed"
    } else {
        return Ok(limits);
    };
    Err(EngineError::Limits(fault))
}

fn check_epochs(config: &EngineConfig) -> Result<(Past, Spans), EngineError> {
    let mut firsts: BTreeMap<_, _> =
        config.past.iter().map(|past| (Epoch::new(past.epoch), Height::new(past.first_height))).collect();
    firsts.insert(Epoch::new(config.epoch), Height::new(config.first_height));
    let numbered = firsts.keys().zip(0..).all(|(epoch, number)| epoch.get() == number);
    let rising = firsts.values().is_sorted_by(|a, b| a < b);
    if firsts.len() != config.past.len().saturating_add(1)
        || !numbered
        || !rising
        || firsts.values().next() != Some(&Height::zero())
    {
        return Err(EngineError::Epochs);
    }
    let set = |past: &PastEpoch| {
        let keys = past.validators.iter().map(key_from).collect::<Option<Vec<_>>>()?;
        Some((Epoch::new(past.epoch), Set::from_iter_dedup(keys)))
    };
    let past = config.past.iter().map(set).collect::<Option<Vec<_>>>().ok_or(EngineError::Epochs)?;
    Ok((past, Spans::new(firsts, Epoch::new(config.epoch))))
}

// Not `PrivateKey::from_seed`: that one is for demonstrations and takes a number.
fn signer_of(seed: &[u8; 32]) -> Option<PrivateKey> {
    PrivateKey::decode(Copying(seed)).ok()
}

/// The key of these 32 bytes, if they are one.
pub(crate) fn key_from(bytes: &[u8; 32]) -> Option<PublicKey> {
    PublicKey::decode(Copying(bytes)).ok()
}

/// A key's 32 bytes.
pub(crate) fn raw(key: &PublicKey) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(key);
    bytes
}

/// Twelve empty blocks an hour, so that a validator which was away is called back to the present even if it does not ask.
const IDLE: Duration = Duration::from_mins(5);
const LARGEST_BLOCK: usize = 64 << 20;
const LARGEST_GOSSIP: u32 = 16 << 20;
