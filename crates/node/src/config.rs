//! What a node is given: its folder, its network, its addresses; and why it cannot start.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use birthmark_core::batch::SubmitterKey;
use birthmark_core::ids::SubmitterName;
use birthmark_core::network::{Network, NetworkEpoch, TrustError};
use birthmark_core::note::{KeyError, KeyName, NoteSigner, PublicKey, SecretKey};
use birthmark_engine::EngineError;
use birthmark_ledger::LedgerError;
use birthmark_ledger::fsck::Damage;
use birthmark_service::client::ClientSetupError;
use birthmark_service::lock::LockError;
use birthmark_service::secret_file::{self, SecretFileError};
use bytes::Bytes;
use tracing::warn;
use zeroize::Zeroizing;

use crate::cosigner::CosignerError;
use crate::peers::PeerNetwork;
use crate::snapshot::SnapshotError;
use crate::sync::SyncError;

/// Everything a node needs to start.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// `validator.key`, `log.key`, `cosign.key`, `submitter.key`, `cosign.state`, `consensus/`, `ledger/`.
    pub data_dir: PathBuf,
    /// The checked network file.
    pub network: Arc<Network>,
    /// The same file's bytes, for serving.
    pub network_file: Bytes,
    /// Under which name this node submits for the seed's clients.
    pub submitter: SubmitterName,
    /// Where other validators connect to.
    pub p2p_listen: SocketAddr,
    /// What connections between validators are like.
    pub p2p_network: PeerNetwork,
    /// `host:port` of validators, by consensus key, where it is another than the network file's.
    pub p2p_addresses: BTreeMap<PublicKey, String>,
    /// Most bytes of transactions that wait for a block.
    pub mempool_bytes: usize,
}

/// The names of a node's keys within its folder, 32 secret bytes each.
#[derive(Clone, Copy, Debug)]
pub struct KeyFiles;

impl KeyFiles {
    /// Votes in consensus.
    pub const VALIDATOR: &str = "validator.key";
    /// Signs checkpoints as the log.
    pub const LOG: &str = "log.key";
    /// Cosigns checkpoints.
    pub const COSIGN: &str = "cosign.key";
    /// Signs batches for the seed's clients.
    pub const SUBMITTER: &str = "submitter.key";
}

/// Why a node cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The folder is in use.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// There is nothing to check or to mend.
    #[error("{0} holds no ledger")]
    NoLedger(PathBuf),
    /// A key cannot be read.
    #[error(transparent)]
    Key(#[from] SecretFileError),
    /// A key file has not 32 bytes.
    #[error("{0} does not hold a key of 32 bytes")]
    KeyLength(&'static str),
    /// A key is not the one that the network file names for this validator.
    #[error("{0} is not the key that the network file names for this validator")]
    OtherKey(&'static str),
    /// The network file does not name this validator.
    #[error(
        "validator.key belongs to no validator of the network file: bring the file up to date if it was added since"
    )]
    NotAValidator,
    /// Nothing says where another validator is.
    #[error("the network file has no p2p_address for the validator {0}, and no other is given")]
    NoAddress(Box<PublicKey>),
    /// The network's name cannot be part of its cosigners' names.
    #[error("the network's origin: {0}")]
    Origin(#[from] KeyError),
    /// The network file names another key for this node's submitter.
    #[error("the network file names another key for submitter {0} than the one in submitter.key")]
    Submitter(SubmitterName),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A checkpoint that a quorum has signed is not accepted by the network's own policy.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The cosigner.
    #[error(transparent)]
    Cosigner(#[from] CosignerError),
    /// How this validator has voted is forgotten.
    #[error(
        "the folder consensus is gone, but this validator has signed a tree of size {0}: it no longer knows how it has voted and must not vote again. Bring the folder back as it was, or have this validator removed and another one added"
    )]
    VotesLost(u64),
    /// Consensus.
    #[error(transparent)]
    Engine(#[from] Arc<EngineError>),
    /// A follower has nobody to follow.
    #[error("no node to fetch from is given")]
    NoSource,
    /// An address to fetch from is unusable.
    #[error("an address to fetch from is refused: {0}")]
    Address(ClientSetupError),
    /// What others say cannot be followed.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// A snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// What others gave is no sound ledger either.
    #[error("the ledger that was made anew is not sound: {0}")]
    StillDamaged(Box<Damage>),
    /// The blocking thread of a task ended.
    #[error("an internal task ended: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Who votes. Needed again whenever an epoch begins.
#[derive(Clone)]
pub(crate) struct Identity {
    /// The public half of the seed.
    pub(crate) validator: [u8; 32],
    pub(crate) validator_seed: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity(…)")
    }
}

/// A node's keys, checked against the network file.
pub(crate) struct Keys {
    pub(crate) identity: Identity,
    pub(crate) log: NoteSigner,
    pub(crate) cosign: NoteSigner,
    pub(crate) submitter: SubmitterKey,
}

impl Keys {
    /// Reads the keys; they must be those of a validator of some epoch.
    pub(crate) fn load(config: &NodeConfig) -> Result<Self, NodeError> {
        let seed = |name: &'static str| -> Result<Zeroizing<[u8; 32]>, NodeError> {
            let bytes = secret_file::read(&config.data_dir.join(name), 32)?;
            let seed: [u8; 32] = bytes.as_slice().try_into().map_err(|_| NodeError::KeyLength(name))?;
            Ok(Zeroizing::new(seed))
        };
        let validator_seed = seed(KeyFiles::VALIDATOR)?;
        let public = birthmark_engine::public_key_of(&validator_seed);
        let mut validators = config.network.epochs().flat_map(NetworkEpoch::validators);
        let own = validators.find(|validator| *validator.consensus_key.as_bytes() == public);
        let own = own.ok_or(NodeError::NotAValidator)?;
        let log = SecretKey::from_seed(&*seed(KeyFiles::LOG)?);
        if log.public_key() != own.log_key {
            return Err(NodeError::OtherKey(KeyFiles::LOG));
        }
        let cosign = SecretKey::from_seed(&*seed(KeyFiles::COSIGN)?);
        if cosign.public_key() != own.cosigning_key {
            return Err(NodeError::OtherKey(KeyFiles::COSIGN));
        }
        let submitter = SubmitterKey::from_seed(*seed(KeyFiles::SUBMITTER)?);
        let registered = config.network.submitter_by_name(&config.submitter);
        match registered {
            Some(known) if *known.key.as_bytes() != submitter.public() => {
                return Err(NodeError::Submitter(config.submitter.clone()));
            }
            Some(_) => {}
            // Acts of governance may list it later; until then it takes no single hashes.
            None => warn!(submitter = %config.submitter, "the network file does not list this node's submitter"),
        }
        let origin: KeyName = config.network.origin().clone();
        let cosigner = birthmark_core::network::cosigner_name(&origin, &own.consensus_key)?;
        Ok(Self {
            identity: Identity { validator: public, validator_seed },
            log: NoteSigner::log(origin, log),
            cosign: NoteSigner::cosigner(cosigner, cosign),
            submitter,
        })
    }
}
