//! Who decides in a span of heights.
//!
//! Not for: how one epoch follows another (`acts`), or whether a file's epochs fit together (`check`).

use super::document::Validator;
use super::genesis::{cosigner_name, validator_set_hash};
use crate::hash::Digest;
use crate::ids::{Epoch, Height};
use crate::merkle::TreeHash;
use crate::note::{KeyError, KeyName, PublicKey, SignatureType, VerifierKey};
use crate::policy::Policy;

/// A span of heights with one validator set.
#[derive(Clone, Debug)]
pub struct NetworkEpoch {
    pub(super) number: Epoch,
    pub(super) first_height: Height,
    pub(super) validators: Vec<Validator>,
    pub(super) policy: Policy,
    pub(super) last: Option<(u64, TreeHash)>,
    pub(super) ended_by: Option<u32>,
}

impl NetworkEpoch {
    /// Its number, from 0.
    pub const fn number(&self) -> Epoch {
        self.number
    }

    /// The height of its first block; 0 where the file does not say.
    pub const fn first_height(&self) -> Height {
        self.first_height
    }

    /// Its validators, sorted by consensus key.
    pub fn validators(&self) -> &[Validator] {
        &self.validators
    }

    /// Each validator's consensus key, and the key by which it cosigns a log of this name.
    pub fn cosigners(&self, origin: &KeyName) -> Result<Vec<(PublicKey, VerifierKey)>, KeyError> {
        let cosigner = |validator: &Validator| {
            let name = cosigner_name(origin, &validator.consensus_key)?;
            let key = VerifierKey::new(name, SignatureType::CosignatureV1, validator.cosigning_key);
            Ok((validator.consensus_key, key))
        };
        self.validators.iter().map(cosigner).collect()
    }

    /// Whose signatures make a checkpoint of this epoch count.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Size and root of its last checkpoint, once it has ended.
    pub const fn last_checkpoint(&self) -> Option<(u64, TreeHash)> {
        self.last
    }

    /// The act of governance that ended it.
    pub const fn ended_by(&self) -> Option<u32> {
        self.ended_by
    }

    /// What block leaves of this epoch carry.
    pub fn validator_set_hash(&self) -> Digest {
        validator_set_hash(self.number, &self.validators)
    }
}
