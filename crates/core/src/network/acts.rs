//! What acts of governance make of a network, and how whoever holds an old file follows them.
//!
//! For: [`Network::check_act`], by which a node admits an act; [`Network::enact`], the network after it; and
//! [`with_acts`], which adds to a network file the proofs that acts are in the log. Not for: an act's bytes
//! (`governance`), nor for when it takes effect (`birthmark_ledger`).
//!
//! An act names the one before it, so acts form one chain from the document on, and none fits twice. A
//! verifier believes an act if a quorum of the validators that it knows at that point has approved it, and if
//! it is in the log by a checkpoint that they have signed. The change that ends an epoch must be shown by
//! the epoch's very last checkpoint, whose size is that of the act's leaf and its block's own: from the
//! next size on, the next epoch's validators sign.

use std::sync::Arc;

use super::check::{self, MAX_SUBMITTERS, MAX_VALIDATORS};
use super::document::{Authority, Submitter, Validator};
use super::genesis::{keys_are_distinct, policy_of};
use super::revision::{AuthorityStatement, check_successor};
use super::{File, MAX_FILE_LEN, Network, NetworkEpoch, NetworkError};
use crate::governance::{Act, ApprovedAct, Change};
use crate::ids::{AuthorityNumber, Epoch, Height, SubmitterNumber};
use crate::json;
use crate::leaf::{Leaf, LeafError};
use crate::merkle::TreeHash;
use crate::network::TrustError;
use crate::note::PublicKey;
use crate::policy::quorum_size;
use crate::proof::{ProofBundle, ProofError};

/// Most acts of a network file.
pub const MAX_ACTS: usize = 256;

/// Where an act took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enactment {
    /// The block at whose end it did.
    pub height: Height,
    /// Leaves in the log after that block.
    pub size: u64,
    /// The log's root then.
    pub root: TreeHash,
}

/// Why an act may not be enacted in a network as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActRefusal {
    /// It is another network's.
    #[error("the act is for another network")]
    OtherNetwork,
    /// It was enacted before, or others come before it.
    #[error("it is act {got}, and the network's next one is act {expected}")]
    Number {
        /// The next one.
        expected: u32,
        /// The one given.
        got: u32,
    },
    /// It continues another history.
    #[error("the act does not follow the one before it")]
    Previous,
    /// It is for the validators of another epoch.
    #[error("the act is for the validators of epoch {got}, and epoch {expected} is current", expected = .expected.0, got = .got.0)]
    Epoch {
        /// The current one.
        expected: Epoch,
        /// The one given.
        got: Epoch,
    },
    /// Somebody approved it who is no validator now.
    #[error("the act is approved by a key that is no current validator's log key")]
    Stranger,
    /// An approval is not its key's signature.
    #[error("an approval of the act is not its key's signature")]
    Signature,
    /// Too few validators have approved it.
    #[error("{got} of the {needed} approvals that the act needs")]
    TooFew {
        /// Approvals there.
        got: usize,
        /// A quorum.
        needed: usize,
    },
    /// One of its keys is a validator's already, or two are the same.
    #[error("a key of the new validator serves already")]
    ValidatorKey,
    /// No validator has that key.
    #[error("no validator has that consensus key")]
    UnknownValidator,
    /// Nobody would be left to decide.
    #[error("the last validator cannot be removed")]
    LastValidator,
    /// More validators than a checkpoint has room for.
    #[error("a network has at most {MAX_VALIDATORS} validators")]
    TooManyValidators,
    /// The origin is too long for another cosigner's name, or its policy has no room.
    #[error("no policy follows from the validators")]
    Policy,
    /// Its number is neither a known one's nor the next.
    #[error("the number of a new authority or submitter must be the next that was never used")]
    EntryNumber,
    /// The entry contradicts itself or another one.
    #[error("the authority's entry contradicts itself or another's")]
    AuthorityEntry,
    /// Keys that were used must stay as they were.
    #[error("the authority's entry drops a key, revives one, or has another token key")]
    AuthorityKeys,
    /// No authority of that number, or it was removed.
    #[error("there is no such authority, or it was removed")]
    UnknownAuthority,
    /// Another submitter has that name or key.
    #[error("a submitter has that name or key already")]
    KnownSubmitter,
    /// No submitter of that number, or it was removed.
    #[error("there is no such submitter, or it was removed")]
    UnknownSubmitter,
    /// The list is full.
    #[error("there is no room for another authority or submitter")]
    Full,
}

/// Why a proof does not continue a network's history.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The proof cannot be read or does not hold.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// Its checkpoint is not accepted.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// What is proven is no leaf.
    #[error("the proven leaf does not decode: {0}")]
    Leaf(#[from] LeafError),
    /// What is proven is no act.
    #[error("the proven leaf is no act of governance")]
    NotAnAct,
    /// A change of validators is not shown by the last checkpoint of its epoch.
    #[error("the act ends an epoch, and its checkpoint is not the epoch's last")]
    NotTheEnd,
    /// The act may not be enacted.
    #[error(transparent)]
    Refused(#[from] ActRefusal),
    /// More than [`MAX_ACTS`].
    #[error("a network file has at most {MAX_ACTS} acts")]
    TooMany,
}

impl ActRefusal {
    /// Stable name of the rule, for `POST /api/v1/governance/acts`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::OtherNetwork => "other_network",
            Self::Number { .. } => "act_number",
            Self::Previous => "previous_act",
            Self::Epoch { .. } => "epoch",
            Self::Stranger => "unknown_approver",
            Self::Signature => "approval_signature",
            Self::TooFew { .. } => "too_few_approvals",
            Self::ValidatorKey => "validator_key",
            Self::UnknownValidator => "unknown_validator",
            Self::LastValidator => "last_validator",
            Self::TooManyValidators => "too_many_validators",
            Self::Policy => "policy",
            Self::EntryNumber => "entry_number",
            Self::AuthorityEntry => "authority_entry",
            Self::AuthorityKeys => "authority_keys",
            Self::UnknownAuthority => "unknown_authority",
            Self::KnownSubmitter => "known_submitter",
            Self::UnknownSubmitter => "unknown_submitter",
            Self::Full => "full",
        }
    }
}

impl Network {
    /// How many acts have been enacted.
    pub fn act_count(&self) -> u32 {
        u32::try_from(self.history.len().saturating_sub(1)).unwrap_or(u32::MAX)
    }

    /// What the network was before its first act.
    pub fn before_acts(&self) -> &Self {
        self.base.as_deref().unwrap_or(self)
    }

    /// The next act, for the validators to approve.
    pub fn next_act(&self, change: Change) -> Act {
        Act {
            network: self.id,
            number: self.act_count().saturating_add(1),
            previous: self.history.last().copied().unwrap_or(self.id.0),
            epoch: self.current.number,
            change,
        }
    }

    /// Whether the act may be enacted now.
    pub fn check_act(&self, approved: &ApprovedAct) -> Result<(), ActRefusal> {
        self.check_place(approved.act())?;
        self.check_approvals(approved)?;
        self.check_change(&approved.act().change)
    }

    /// Whether the change may be made now, whoever approves it.
    pub fn check_change(&self, change: &Change) -> Result<(), ActRefusal> {
        let anywhere = Enactment { height: self.current.first_height, size: 0, root: TreeHash::from_bytes([0; 32]) };
        self.clone().change(change, anywhere).map(drop)
    }

    /// The network after the act.
    pub fn enact(&self, approved: &ApprovedAct, at: Enactment) -> Result<Self, ActRefusal> {
        self.check_place(approved.act())?;
        self.check_approvals(approved)?;
        let mut next = self.clone().change(&approved.act().change, at)?;
        next.history.push(approved.act().digest());
        next.base = self.base.clone().or_else(|| Some(Arc::new(self.clone())));
        Ok(next)
    }

    /// The network after the act whose leaf this text proves.
    pub fn follow(&self, proof: &str) -> Result<Self, FollowError> {
        let proof = ProofBundle::parse(proof)?;
        let verified = proof.included_in(self.verify_checkpoint(&proof.checkpoint)?)?;
        let Leaf::Act(leaf) = Leaf::decode(&proof.leaf)? else { return Err(FollowError::NotAnAct) };
        let tree = verified.checkpoint;
        if leaf.approved.act().change.ends_epoch() && proof.index.checked_add(2) != Some(tree.size) {
            return Err(FollowError::NotTheEnd);
        }
        let at = Enactment { height: leaf.height, size: tree.size, root: tree.root };
        Ok(self.enact(&leaf.approved, at)?)
    }

    /// The network after all of these.
    pub(super) fn following(mut self, acts: &[String]) -> Result<Self, NetworkError> {
        for (at, proof) in acts.iter().enumerate() {
            let room = if at < MAX_ACTS { Ok(()) } else { Err(FollowError::TooMany) };
            let next = room.and_then(|()| self.follow(proof));
            self = next.map_err(|cause| NetworkError::Act(at + 1, Box::new(cause)))?;
        }
        Ok(self)
    }

    fn check_place(&self, act: &Act) -> Result<(), ActRefusal> {
        let next = self.next_act(act.change.clone());
        if act.network != next.network {
            return Err(ActRefusal::OtherNetwork);
        }
        if act.number != next.number {
            return Err(ActRefusal::Number { expected: next.number, got: act.number });
        }
        if act.previous != next.previous {
            return Err(ActRefusal::Previous);
        }
        if act.epoch != next.epoch {
            return Err(ActRefusal::Epoch { expected: next.epoch, got: act.epoch });
        }
        Ok(())
    }

    /// Every approval must be a current validator's and hold: one that does not is nobody's mistake.
    fn check_approvals(&self, approved: &ApprovedAct) -> Result<(), ActRefusal> {
        let validators = &self.current.validators;
        for approval in approved.approvals() {
            if !validators.iter().any(|validator| validator.log_key == approval.key) {
                return Err(ActRefusal::Stranger);
            }
            if !approval.holds_for(approved.act()) {
                return Err(ActRefusal::Signature);
            }
        }
        let (got, needed) = (approved.approvals().len(), quorum_size(validators.len()));
        if got < needed { Err(ActRefusal::TooFew { got, needed }) } else { Ok(()) }
    }

    fn change(mut self, change: &Change, at: Enactment) -> Result<Self, ActRefusal> {
        match change {
            Change::AddValidator(validator) => self.add_validator(validator, at)?,
            Change::RemoveValidator(key) => self.remove_validator(key, at)?,
            Change::SetAuthority(authority) => self.set_authority(authority)?,
            Change::RemoveAuthority(number) => self.remove_authority(*number)?,
            Change::AddSubmitter(submitter) => self.add_submitter(submitter)?,
            Change::RemoveSubmitter(number) => self.remove_submitter(*number)?,
        }
        Ok(self)
    }

    fn add_validator(&mut self, validator: &Validator, at: Enactment) -> Result<(), ActRefusal> {
        let mut validators = self.current.validators.clone();
        if validators.len() >= MAX_VALIDATORS {
            return Err(ActRefusal::TooManyValidators);
        }
        validators.push(validator.clone());
        validators.sort_by_key(|validator| validator.consensus_key);
        if !keys_are_distinct(&validators) {
            return Err(ActRefusal::ValidatorKey);
        }
        self.begin_epoch(validators, at)
    }

    fn remove_validator(&mut self, key: &PublicKey, at: Enactment) -> Result<(), ActRefusal> {
        let mut validators = self.current.validators.clone();
        let place = validators.iter().position(|validator| validator.consensus_key == *key);
        validators.remove(place.ok_or(ActRefusal::UnknownValidator)?);
        if validators.is_empty() {
            return Err(ActRefusal::LastValidator);
        }
        self.begin_epoch(validators, at)
    }

    fn begin_epoch(&mut self, validators: Vec<Validator>, at: Enactment) -> Result<(), ActRefusal> {
        let policy = policy_of(&self.genesis.origin().clone(), &validators).map_err(|_| ActRefusal::Policy)?;
        let number = Epoch(self.current.number.0.checked_add(1).ok_or(ActRefusal::Policy)?);
        let first_height = Height(at.height.0.saturating_add(1));
        let next = NetworkEpoch { number, first_height, validators, policy, last: None, ended_by: None };
        let mut ended = std::mem::replace(&mut self.current, next);
        ended.last = Some((at.size, at.root));
        ended.ended_by = Some(self.act_count().saturating_add(1));
        self.ended.push(ended);
        Ok(())
    }

    fn set_authority(&mut self, entry: &Authority) -> Result<(), ActRefusal> {
        let known = self.authorities.iter_mut().find(|known| known.number == entry.number);
        if let Some(known) = known {
            if self.removed_authorities.contains(&entry.number) {
                return Err(ActRefusal::UnknownAuthority);
            }
            let Authority { id, token_key, rules, endorsement_keys, .. } = entry.clone();
            if id != known.id {
                return Err(ActRefusal::AuthorityEntry);
            }
            let next = AuthorityStatement { id, token_key, rules, endorsement_keys };
            check_successor(known, &next).map_err(|_| ActRefusal::AuthorityKeys)?;
            *known = entry.clone();
        } else {
            let last = self.authorities.iter().map(|known| known.number.0).max().unwrap_or(0);
            if last.checked_add(1) != Some(entry.number.0) {
                return Err(ActRefusal::EntryNumber);
            }
            self.authorities.push(entry.clone());
        }
        if self.authorities.len() > check::MAX_AUTHORITIES {
            return Err(ActRefusal::Full);
        }
        self.endorsement_keys = check::check_authorities(&self.authorities).map_err(|_| ActRefusal::AuthorityEntry)?;
        Ok(())
    }

    fn remove_authority(&mut self, number: AuthorityNumber) -> Result<(), ActRefusal> {
        let known = self.authority(number).is_some();
        if known && self.removed_authorities.insert(number) { Ok(()) } else { Err(ActRefusal::UnknownAuthority) }
    }

    fn add_submitter(&mut self, new: &Submitter) -> Result<(), ActRefusal> {
        if self.submitters.len() >= MAX_SUBMITTERS {
            return Err(ActRefusal::Full);
        }
        // The key of one that was removed may have been stolen: it never comes back.
        if self.submitters.iter().any(|known| known.key == new.key) || self.submitter_by_name(&new.name).is_some() {
            return Err(ActRefusal::KnownSubmitter);
        }
        let last = self.submitters.iter().map(|known| known.number.0).max().unwrap_or(0);
        if last.checked_add(1) != Some(new.number.0) {
            return Err(ActRefusal::EntryNumber);
        }
        self.submitters.push(new.clone());
        Ok(())
    }

    fn remove_submitter(&mut self, number: SubmitterNumber) -> Result<(), ActRefusal> {
        let known = self.submitter(number).is_some();
        if known && self.removed_submitters.insert(number) { Ok(()) } else { Err(ActRefusal::UnknownSubmitter) }
    }
}

/// The proofs of acts that a network file holds, as they stand in it.
pub fn acts_of(file: &[u8]) -> Result<Vec<String>, NetworkError> {
    if file.len() > MAX_FILE_LEN {
        return Err(NetworkError::TooLong(file.len()));
    }
    Ok(json::from_slice::<File>(file).map_err(NetworkError::File)?.acts)
}

/// A network file with these proofs in the place of its own, and what it says then: checked as any reader
/// would.
pub fn with_acts(file: &[u8], proofs: &[String]) -> Result<(Vec<u8>, Network), NetworkError> {
    let mut file: File = json::from_slice(file).map_err(NetworkError::File)?;
    file.acts = proofs.to_vec();
    let mut bytes = serde_json::to_vec_pretty(&file).map_err(NetworkError::Encode)?;
    bytes.push(b'\n');
    let network = Network::parse(&bytes)?;
    Ok((bytes, network))
}

#[cfg(test)]
mod tests;
