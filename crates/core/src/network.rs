//! The network file: which network this is, who runs it, and who may speak in it.
//!
//! For: everyone who must know keys before believing anything: verifiers, nodes, aggregators,
//! cameras. [`Network`] is the checked view; nothing else gives access to the file's content.
//!
//! Not for: fetching the file. Nobody takes it from the server that is to be checked by it. The
//! signatures show that the genesis validators, later the quorum of the epoch before the current
//! one, agreed to the content; whether this is the network that is *meant* is shown by
//! [`Network::network_id`] or by how the file came.
//!
//! Format: `docs/PROTOCOL.md` section 1. At most 4 MiB.
//!
//! ```text
//! {"network": "<base64 of the document>", "signatures": [{"key": "<hex>", "signature": "<hex>"}],
//!  "acts": ["<tlog-proof of an act's leaf>", …]}
//! ```
//! `key` is a validator's *log* key; it signs `"birthmark/network/v1" ‖ the document's bytes`.
//!
//! ```text
//! {"version": 1, "genesis": "<base64>", "origin": "…",
//!  "epochs": [{"epoch": 0, "first_height": 0, "policy": "<C2SP tlog-policy>",
//!    "validators": [{"consensus_key": "<hex>", "log_key": "<hex>", "cosigning_key": "<hex>", "p2p_address": "…"}],
//!    "last_size": 1234, "last_root": "<hex>"}],
//!  "authorities": [{"number": 1, "id": "…", "token_key": "<hex>", "rules": {"min_token_version": 1},
//!    "endorsement_keys": [{"key_id": "<16 hex>", "spki": "<base64>", "state": "current"}]}],
//!  "submitters": [{"number": 1, "name": "…", "key": "<hex>"}], "max_age": 300}
//! ```
//! `acts`, beside `network`, are optional: proofs that acts of governance are in the log, each a change
//! to what the document and the acts before it say (`acts`).
//! `first_height`, `p2p_address`, `token_key` and `max_age` are optional; `last_size` and
//! `last_root` stand in every epoch but the last, which is the current one.

mod acts;
mod builder;
mod check;
mod document;
mod epoch;
mod genesis;
mod revision;
mod trust;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::acts::{ActRefusal, Enactment, FollowError, MAX_ACTS, acts_of, with_acts};
pub use self::builder::{NetworkBuilder, UnsignedNetwork};
pub use self::check::{MAX_AUTHORITIES, MAX_ENDORSEMENT_KEYS, MAX_EPOCHS, MAX_SUBMITTERS, MAX_VALIDATORS};
pub(crate) use self::document::MAX_SPKI_LEN;
pub use self::document::{
    Authority, EndorsementKey, EndorsementKeyId, EndorsementKeyState, FileSignature, MinTokenVersion, Rules, Submitter,
    TokenKey, Validator,
};
pub use self::epoch::NetworkEpoch;
pub use self::genesis::{Genesis, GenesisError, cosigner_name, validator_set_hash};
pub use self::revision::{AuthorityStatement, Revision, RevisionError};
pub use self::trust::{Trust, TrustError, TrustFileError, parse_policy_or_network};
use crate::base64::{self, Base64Error};
use crate::endorsement::{self, CaptureDigest, Endorsement, EndorsementError};
use crate::hash::Digest;
use crate::ids::{AuthorityId, AuthorityNumber, NetworkId, SubmitterName, SubmitterNumber, UNATTESTED};
use crate::json::{self, JsonError};
use crate::note::{KeyError, KeyName};
use crate::policy::{Policy, PolicyError};

/// Longest network file that is read.
pub const MAX_FILE_LEN: usize = 4 * 1024 * 1024;

/// Longest document in it.
const MAX_DOCUMENT_LEN: usize = 1024 * 1024;

/// Seconds after which an absence proof is too old, where the file does not say.
pub const DEFAULT_MAX_AGE: u64 = 300;

/// A network file that has been checked in full.
#[derive(Clone, Debug)]
pub struct Network {
    id: NetworkId,
    genesis: Genesis,
    ended: Vec<NetworkEpoch>,
    current: NetworkEpoch,
    authorities: Vec<Authority>,
    endorsement_keys: BTreeMap<EndorsementKeyId, KnownKey>,
    submitters: Vec<Submitter>,
    max_age: u64,
    /// What it was before its first act; none before that.
    base: Option<Arc<Self>>,
    /// SHA-256 of the document, and of each act since.
    history: Vec<Digest>,
    removed_authorities: BTreeSet<AuthorityNumber>,
    removed_submitters: BTreeSet<SubmitterNumber>,
}

/// An endorsement key, ready to check with.
#[derive(Clone, Debug)]
pub struct KnownKey {
    /// Whose it is.
    pub authority: AuthorityNumber,
    /// Whether it still counts.
    pub state: EndorsementKeyState,
    /// The key.
    pub key: endorsement::PublicKey,
}

/// Why an endorsement beside a record does not count. An error of whoever submitted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndorsementRefusal {
    /// Its authority has no such key in the network file.
    #[error("the endorsement names a key that its authority does not have")]
    UnknownKey,
    /// The signature does not hold.
    #[error(transparent)]
    Endorsement(#[from] EndorsementError),
}

/// Why a network file was refused. Names and numbers of the file's own may appear, no more of it.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// Longer than [`MAX_FILE_LEN`].
    #[error("a network file of {0} bytes is too long")]
    TooLong(usize),
    /// The file is not JSON of the form above.
    #[error("network file: {0}")]
    File(#[source] JsonError),
    /// The document inside is not JSON of the form above.
    #[error("document in the network file: {0}")]
    Document(#[source] JsonError),
    /// A base64 field is malformed.
    #[error("{field} in the network file: {cause}")]
    Base64 {
        /// Which.
        field: &'static str,
        /// What is wrong.
        cause: Base64Error,
    },
    /// The document cannot be written as JSON.
    #[error("the network file cannot be written: {0}")]
    Encode(#[source] serde_json::Error),
    /// Written by a later protocol.
    #[error("network file version {0} is not known")]
    Version(u64),
    /// The genesis bytes do not decode.
    #[error("genesis: {0}")]
    Genesis(#[from] GenesisError),
    /// The document's origin or first validators are not those of the genesis.
    #[error("the document contradicts its genesis")]
    ContradictsGenesis,
    /// A list has no entry, or more than it may.
    #[error("{list} has {got} entries, not 1 to {max}")]
    ListLength {
        /// Which.
        list: &'static str,
        /// Entries there.
        got: usize,
        /// Most allowed.
        max: usize,
    },
    /// Epochs are not numbered from 0 in order, or their heights or sizes do not rise.
    #[error("epoch {0} is out of order")]
    EpochOrder(u32),
    /// An epoch before the last has no end, or the last has one: exactly one epoch is current.
    #[error("epoch {0} must {end} an end", end = if *.1 { "have" } else { "not have" })]
    EpochEnd(u32, bool),
    /// Two of an epoch's keys are the same.
    #[error("a validator key of epoch {0} occurs twice")]
    ValidatorKeyTwice(u32),
    /// An epoch's policy cannot be read.
    #[error("policy of epoch {epoch}: {cause}")]
    Policy {
        /// Whose.
        epoch: u32,
        /// What is wrong.
        cause: PolicyError,
    },
    /// An epoch's policy is not the one that follows from its validators.
    #[error("the policy of epoch {0} is not that of its validators")]
    PolicyMismatch(u32),
    /// The origin is too long to name cosigners after it.
    #[error("origin: {0}")]
    Origin(#[from] KeyError),
    /// A number, name or key of an authority or submitter occurs twice.
    #[error("{0} occurs twice")]
    Duplicate(&'static str),
    /// Number 0 or the name `unattested` is listed.
    #[error("authority 0, `unattested`, is reserved and never listed")]
    ReservedAuthority,
    /// An endorsement key's id is not that of its SPKI.
    #[error("an endorsement key of authority {0} has another key's id")]
    EndorsementKeyId(u16),
    /// An endorsement key cannot be used.
    #[error("an endorsement key of authority {0} is {1}")]
    EndorsementKey(u16, endorsement::KeyError),
    /// An authority has more than one current endorsement key.
    #[error("authority {0} has several current endorsement keys")]
    SeveralCurrentKeys(u16),
    /// A signature names a key of a validator whose signature counts and is not that key's.
    #[error("signature {0} of the network file is wrong")]
    BadSignature(usize),
    /// An act does not continue what stands before it.
    #[error("act {0} of the network file: {1}")]
    Act(usize, #[source] Box<FollowError>),
    /// Too few signatures.
    #[error("{got} of the {needed} signatures that the network file needs")]
    TooFewSignatures {
        /// Valid ones there.
        got: usize,
        /// Needed.
        needed: usize,
    },
}

/// The outer form of the file.
#[derive(Serialize, Deserialize)]
struct File {
    network: String,
    signatures: Vec<FileSignature>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    acts: Vec<String>,
}

impl Network {
    /// Reads and checks a network file.
    pub fn parse(bytes: &[u8]) -> Result<Self, NetworkError> {
        if bytes.len() > MAX_FILE_LEN {
            return Err(NetworkError::TooLong(bytes.len()));
        }
        let file: File = json::from_slice(bytes).map_err(NetworkError::File)?;
        Self::base_of(&file)?.following(&file.acts)
    }

    /// The same as [`Self::parse`], without the acts: what the network was before the first of them.
    pub fn parse_base(bytes: &[u8]) -> Result<Self, NetworkError> {
        if bytes.len() > MAX_FILE_LEN {
            return Err(NetworkError::TooLong(bytes.len()));
        }
        Self::base_of(&json::from_slice(bytes).map_err(NetworkError::File)?)
    }

    fn base_of(file: &File) -> Result<Self, NetworkError> {
        let document = base64::decode_bounded(&file.network, MAX_DOCUMENT_LEN)
            .map_err(|cause| NetworkError::Base64 { field: "network", cause })?;
        check::check(&document, &file.signatures)
    }

    /// SHA-256 of the genesis bytes.
    pub const fn network_id(&self) -> NetworkId {
        self.id
    }

    /// The log's name.
    pub const fn origin(&self) -> &KeyName {
        self.genesis.origin()
    }

    /// What the network started from.
    pub const fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// All epochs, the current one last.
    pub fn epochs(&self) -> impl Iterator<Item = &NetworkEpoch> {
        self.ended.iter().chain([&self.current])
    }

    /// The epoch that has not ended.
    pub const fn current_epoch(&self) -> &NetworkEpoch {
        &self.current
    }

    /// The policy of the epoch that has not ended.
    pub const fn current_policy(&self) -> &Policy {
        &self.current.policy
    }

    /// The epoch whose validators sign checkpoints of this size.
    pub fn epoch_for_size(&self, size: u64) -> &NetworkEpoch {
        let until = |epoch: &&NetworkEpoch| epoch.last.is_none_or(|(last, _)| size <= last);
        self.ended.iter().find(until).unwrap_or(&self.current)
    }

    /// The policy by which a checkpoint of this size is judged.
    pub fn policy_for_size(&self, size: u64) -> &Policy {
        &self.epoch_for_size(size).policy
    }

    /// The authority with this number; none for the reserved 0.
    pub fn authority(&self, number: AuthorityNumber) -> Option<&Authority> {
        self.authorities.iter().find(|authority| authority.number == number)
    }

    /// The authority with this name under which something may be recorded; none for the reserved
    /// `unattested`, nor for one that was removed.
    pub fn authority_by_id(&self, id: &AuthorityId) -> Option<&Authority> {
        let found = self.authorities.iter().find(|authority| authority.id == *id);
        found.filter(|authority| self.is_authority_active(authority.number))
    }

    /// Whether something may still be recorded under this authority.
    pub fn is_authority_active(&self, number: AuthorityNumber) -> bool {
        self.authority(number).is_some() && !self.removed_authorities.contains(&number)
    }

    /// The name that goes with a number, `unattested` for 0.
    pub fn authority_name(&self, number: AuthorityNumber) -> Option<&str> {
        if number == AuthorityNumber::UNATTESTED {
            return Some(UNATTESTED);
        }
        self.authority(number).map(|authority| authority.id.as_str())
    }

    /// All listed authorities, removed ones too: their records stay.
    pub fn authorities(&self) -> &[Authority] {
        &self.authorities
    }

    /// The endorsement key with this id, whosever it is.
    pub fn endorsement_key(&self, id: EndorsementKeyId) -> Option<&KnownKey> {
        self.endorsement_keys.get(&id)
    }

    /// Checks `key_id ‖ signature` of an authority under an encoded body, and gives the key's state now.
    /// What a revoked key means is the caller's to say.
    pub fn check_endorsement(
        &self,
        authority: AuthorityNumber,
        endorsement: &[u8],
        body: &[u8],
    ) -> Result<EndorsementKeyState, EndorsementRefusal> {
        let Endorsement { key_id, signature } = Endorsement::decode(endorsement)?;
        let known = self.endorsement_keys.get(&key_id).filter(|known| known.authority == authority);
        let known = known.ok_or(EndorsementRefusal::UnknownKey)?;
        known.key.verify(&CaptureDigest::of(self.id, key_id, body), &signature)?;
        Ok(known.state)
    }

    /// The submitter with this number, also one that was removed.
    pub fn submitter(&self, number: SubmitterNumber) -> Option<&Submitter> {
        self.submitters.iter().find(|submitter| submitter.number == number)
    }

    /// The submitter with this number, if its batches are taken.
    pub fn active_submitter(&self, number: SubmitterNumber) -> Option<&Submitter> {
        self.submitter(number).filter(|_| !self.removed_submitters.contains(&number))
    }

    /// The submitter with this name, if its batches are taken.
    pub fn submitter_by_name(&self, name: &SubmitterName) -> Option<&Submitter> {
        self.submitters.iter().find(|known| known.name == *name && !self.removed_submitters.contains(&known.number))
    }

    /// All submitters, removed ones too: their records stay.
    pub fn submitters(&self) -> &[Submitter] {
        &self.submitters
    }

    /// Seconds after which an absence proof is too old.
    pub const fn max_age(&self) -> u64 {
        self.max_age
    }
}

#[cfg(test)]
mod tests;
