//! What a network starts from. Its hash is the network's identity, so it has one encoding.
//!
//! ```text
//! "birthmark/genesis/v1" ‖ be16 len ‖ origin ‖ be32 minute
//!   ‖ be16 n ‖ n × (consensus key 32 ‖ log key 32 ‖ cosigning key 32)      strictly rising by consensus key
//! ```

use super::MAX_VALIDATORS;
use super::document::Validator;
use crate::codec::{DecodeError, Reader, put_prefixed16};
use crate::hash::Digest;
use crate::hex;
use crate::ids::{Epoch, NetworkId};
use crate::note::{KeyError, KeyName, PublicKey, SignatureType, VerifierKey};
use crate::policy::{Policy, PolicyMember};
use crate::time::Minute;

const DOMAIN: &[u8] = b"birthmark/genesis/v1";

/// Longest origin: cosigners' names start with it and have 255 bytes at most.
const MAX_ORIGIN_LEN: usize = 200;

/// What a network starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    origin: KeyName,
    minute: Minute,
    validators: Vec<Validator>,
}

/// Why genesis bytes were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// Not of the form above.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// They are for another protocol or version.
    #[error("not a genesis of version 1")]
    Domain,
    /// The origin is no key name, or a validator's key no key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// None, or more than 22.
    #[error("a network has 1 to 22 validators, not {0}")]
    ValidatorCount(usize),
    /// The validators are not in strictly rising order, or a key occurs twice.
    #[error("the validators are out of order or share a key")]
    ValidatorOrder,
}

impl Genesis {
    /// Puts a genesis together; the validators in any order.
    pub fn new(origin: KeyName, minute: Minute, mut validators: Vec<Validator>) -> Result<Self, GenesisError> {
        if origin.as_str().len() > MAX_ORIGIN_LEN {
            return Err(KeyError::Name.into());
        }
        if validators.is_empty() || validators.len() > MAX_VALIDATORS {
            return Err(GenesisError::ValidatorCount(validators.len()));
        }
        validators.sort_by_key(|validator| validator.consensus_key);
        if !keys_are_distinct(&validators) {
            return Err(GenesisError::ValidatorOrder);
        }
        for validator in &mut validators {
            validator.p2p_address = None;
        }
        Ok(Self { origin, minute, validators })
    }

    /// Reads genesis bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, GenesisError> {
        let mut reader = Reader::new(bytes);
        if reader.take("domain", DOMAIN.len())? != DOMAIN {
            return Err(GenesisError::Domain);
        }
        let origin = reader.prefixed16("origin", MAX_ORIGIN_LEN)?;
        let origin = KeyName::new(std::str::from_utf8(origin).map_err(|_| KeyError::Name)?)?;
        let minute = Minute(reader.be32("minute")?);
        let count = usize::from(reader.be16("validator count")?);
        if count > MAX_VALIDATORS {
            return Err(GenesisError::ValidatorCount(count));
        }
        let mut validators = Vec::with_capacity(count);
        for _ in 0..count {
            let mut key = |field| Ok::<_, GenesisError>(PublicKey::from_bytes(&reader.array(field)?)?);
            validators.push(Validator {
                consensus_key: key("consensus key")?,
                log_key: key("log key")?,
                cosigning_key: key("cosigning key")?,
                p2p_address: None,
            });
        }
        reader.finish()?;
        if !validators.is_sorted_by_key(|validator| validator.consensus_key) {
            return Err(GenesisError::ValidatorOrder);
        }
        Self::new(origin, minute, validators)
    }

    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = DOMAIN.to_vec();
        put_prefixed16(&mut out, self.origin.as_str().as_bytes());
        out.extend_from_slice(&self.minute.0.to_be_bytes());
        put_validators(&mut out, &self.validators);
        out
    }

    /// SHA-256 of the bytes.
    pub fn network_id(&self) -> NetworkId {
        NetworkId(Digest::of_parts(&[&self.encode()]))
    }

    /// The log's name.
    pub const fn origin(&self) -> &KeyName {
        &self.origin
    }

    /// The genesis block's minute.
    pub const fn minute(&self) -> Minute {
        self.minute
    }

    /// The validators of epoch 0, sorted by consensus key, without addresses.
    pub fn validators(&self) -> &[Validator] {
        &self.validators
    }
}

/// SHA-256(`"birthmark/validators/v1" ‖ be32 epoch ‖ be16 n ‖ n × keys`), sorted by consensus key.
pub fn validator_set_hash(epoch: Epoch, validators: &[Validator]) -> Digest {
    let mut sorted = validators.to_vec();
    sorted.sort_by_key(|validator| validator.consensus_key);
    let mut bytes = b"birthmark/validators/v1".to_vec();
    bytes.extend_from_slice(&epoch.0.to_be_bytes());
    put_validators(&mut bytes, &sorted);
    Digest::of_parts(&[&bytes])
}

/// The name under which a validator cosigns: `<origin>/validator/<16 hex digits of its consensus key>`.
pub fn cosigner_name(origin: &KeyName, consensus_key: &PublicKey) -> Result<KeyName, KeyError> {
    KeyName::new(format!("{origin}/validator/{}", short_name(consensus_key)))
}

/// The policy that follows from a set of validators.
pub(super) fn policy_of(origin: &KeyName, validators: &[Validator]) -> Result<Policy, super::NetworkError> {
    let mut members = Vec::with_capacity(validators.len());
    for validator in validators {
        let cosigner = cosigner_name(origin, &validator.consensus_key)?;
        members.push(PolicyMember {
            name: format!("validator-{}", short_name(&validator.consensus_key)),
            log: VerifierKey::new(origin.clone(), SignatureType::Ed25519, validator.log_key),
            cosigner: VerifierKey::new(cosigner, SignatureType::CosignatureV1, validator.cosigning_key),
        });
    }
    Policy::of_validators(&members).map_err(|cause| super::NetworkError::Policy { epoch: 0, cause })
}

/// Whether no key serves twice, for whatever purpose.
pub(super) fn keys_are_distinct(validators: &[Validator]) -> bool {
    let mut keys: Vec<[u8; 32]> = validators.iter().flat_map(Validator::key_bytes).collect();
    keys.sort_unstable();
    keys.is_sorted_by(|a, b| a < b)
}

fn short_name(consensus_key: &PublicKey) -> String {
    hex::encode(consensus_key.as_bytes().first_chunk::<8>().unwrap_or(&[0; 8]))
}

fn put_validators(out: &mut Vec<u8>, validators: &[Validator]) {
    let count = u16::try_from(validators.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&count.to_be_bytes());
    out.extend(validators.iter().flat_map(Validator::key_bytes).flatten());
}
