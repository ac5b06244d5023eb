//! What a verifier believes in: a network file, or a bare C2SP policy.

use super::{Network, NetworkError};
use crate::checkpoint::{self, CheckpointError, VerifiedCheckpoint};
use crate::policy::{Policy, PolicyError};

/// What `--policy FILE` holds.
#[derive(Clone, Debug)]
pub enum Trust {
    /// A network file: checkpoints by epoch, authorities and their endorsement keys.
    Network(Box<Network>),
    /// A C2SP policy: checkpoints only; endorsements cannot be checked.
    Policy(Policy),
}

/// Why such a file was refused.
#[derive(Debug, thiserror::Error)]
pub enum TrustFileError {
    /// It starts like JSON and is no network file.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// It is no policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

/// Why a checkpoint is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// By the policy of its epoch.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// It is another log's.
    #[error("the checkpoint is of another log than the network's")]
    OtherOrigin,
    /// It has the size at which an epoch ended and another root than the network file gives.
    #[error("the checkpoint contradicts the end of its epoch")]
    EpochEnd,
}

/// Reads either: a file whose first character is a brace is a network file.
pub fn parse_policy_or_network(bytes: &[u8]) -> Result<Trust, TrustFileError> {
    match bytes.iter().find(|b| !b.is_ascii_whitespace()) {
        Some(b'{') => Ok(Trust::Network(Box::new(Network::parse(bytes)?))),
        _ => Ok(Trust::Policy(Policy::parse(bytes)?)),
    }
}

impl Trust {
    /// Checks a checkpoint's note.
    pub fn verify_checkpoint(&self, note: &str) -> Result<VerifiedCheckpoint, TrustError> {
        match self {
            Self::Network(network) => network.verify_checkpoint(note),
            Self::Policy(policy) => Ok(checkpoint::verify(note, policy)?),
        }
    }

    /// The network file, where it is one.
    pub fn network(&self) -> Option<&Network> {
        match self {
            Self::Network(network) => Some(network),
            Self::Policy(_) => None,
        }
    }
}

impl Network {
    /// Checks a checkpoint's note by the policy of the epoch that its size lies in.
    pub fn verify_checkpoint(&self, note: &str) -> Result<VerifiedCheckpoint, TrustError> {
        let (note, checkpoint) = checkpoint::parse_unverified(note)?;
        if checkpoint.origin != *self.origin() {
            return Err(TrustError::OtherOrigin);
        }
        let epoch = self.epoch_for_size(checkpoint.size);
        let verified = checkpoint::verify_parsed(&note, checkpoint, epoch.policy())?;
        match epoch.last_checkpoint() {
            Some((size, root)) if size == verified.checkpoint.size && root != verified.checkpoint.root => {
                Err(TrustError::EpochEnd)
            }
            _ => Ok(verified),
        }
    }
}
