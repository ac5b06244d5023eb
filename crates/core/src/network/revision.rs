//! Writing the next file of a running network: an authority's keys change.
//!
//! For: [`Revision`], which takes a network file and an authority's new entry and gives a document for
//! the validators to sign again.
//!
//! Not for: changes of validators, nor for agreeing on a revision among operators.
//!
//! Numbers are never reused and keys never disappear: whoever holds an older file finds everything of
//! it in a newer one. So a verifier can tell which of two files is the later.

use super::check;
use super::document::{Authority, Document, EndorsementKey, EndorsementKeyState, TokenKey};
use super::{File, Network, NetworkError, Rules, UnsignedNetwork};
use crate::base64;
use crate::ids::{AuthorityId, AuthorityNumber};
use crate::json;

/// What an authority says of itself for the network file: all of its entry but the number.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AuthorityStatement {
    /// Its name.
    pub id: AuthorityId,
    /// To which version 2 tokens are sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_key: Option<TokenKey>,
    /// What it wants demanded of submissions in its name.
    #[serde(default)]
    pub rules: Rules,
    /// Every endorsement key that it has ever used.
    #[serde(default)]
    pub endorsement_keys: Vec<EndorsementKey>,
}

/// A network file that is being changed.
#[derive(Debug)]
pub struct Revision {
    document: Document,
}

/// Why a change was refused.
#[derive(Debug, thiserror::Error)]
pub enum RevisionError {
    /// The file to change is none, or the changed one would be none.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Tokens that wait in cameras could not be opened any more.
    #[error("the token key of \"{0}\" cannot change: cameras have sealed tokens to the old one")]
    TokenKey(AuthorityId),
    /// What the key signed could not be checked any more.
    #[error("\"{0}\" does not list an endorsement key that it used: keys are never removed")]
    KeyRemoved(AuthorityId),
    /// A key that stopped signing does not start again.
    #[error("an endorsement key of \"{0}\" would go back to an earlier state")]
    KeyRevived(AuthorityId),
    /// Its first act is bound to the document as it is.
    #[error("this network changes by acts of governance: its document cannot change any more")]
    HasActs,
    /// All numbers are taken.
    #[error("no number is left for another authority")]
    NoNumber,
}

impl AuthorityStatement {
    /// Of one that has no keys: its cameras use tokens of version 1.
    pub fn named(id: AuthorityId) -> Self {
        Self { id, token_key: None, rules: Rules::default(), endorsement_keys: Vec::new() }
    }

    /// The entry that it becomes.
    pub fn numbered(self, number: AuthorityNumber) -> Authority {
        let Self { id, token_key, rules, endorsement_keys } = self;
        Authority { number, id, token_key, rules, endorsement_keys }
    }
}

impl Revision {
    /// Starts from a network file, which is checked in full.
    pub fn of(file: &[u8]) -> Result<Self, RevisionError> {
        if Network::parse(file)?.act_count() > 0 {
            return Err(RevisionError::HasActs);
        }
        let file: File = json::from_slice(file).map_err(NetworkError::File)?;
        let document = base64::decode_bounded(&file.network, super::MAX_DOCUMENT_LEN)
            .map_err(|cause| NetworkError::Base64 { field: "network", cause })?;
        Ok(Self { document: json::from_slice(&document).map_err(NetworkError::Document)? })
    }

    /// Puts in what an authority says of itself now; one that is not listed yet gets the next number.
    pub fn set_authority(&mut self, statement: AuthorityStatement) -> Result<AuthorityNumber, RevisionError> {
        let authorities = &mut self.document.authorities;
        if let Some(known) = authorities.iter_mut().find(|known| known.id == statement.id) {
            check_successor(known, &statement)?;
            *known = statement.numbered(known.number);
            return Ok(known.number);
        }
        let number = authorities.iter().map(|authority| authority.number.0).max().unwrap_or(0).checked_add(1);
        let number = AuthorityNumber(number.ok_or(RevisionError::NoNumber)?);
        authorities.push(statement.numbered(number));
        Ok(number)
    }

    /// Fixes the content, for the validators to sign.
    pub fn finish(self) -> Result<UnsignedNetwork, NetworkError> {
        check::check_authorities(&self.document.authorities)?;
        UnsignedNetwork::new(&self.document)
    }
}

impl Network {
    /// Whether `newer` may take the place of this file: the same network, with everything of this file
    /// still in it and no key back in an earlier state. True of the same file too.
    pub fn is_succeeded_by(&self, newer: &Self) -> bool {
        let successor = |known: &Authority| {
            newer.authority(known.number).is_some_and(|next| {
                let Authority { id, token_key, rules, endorsement_keys, .. } = next.clone();
                next.id == known.id
                    && check_successor(known, &AuthorityStatement { id, token_key, rules, endorsement_keys }).is_ok()
            })
        };
        self.id == newer.id
            && self.epochs().count() <= newer.epochs().count()
            && (self.act_count() == 0 || newer.history.starts_with(&self.history))
            && self.authorities.iter().all(successor)
            && self.submitters.iter().all(|known| newer.submitter(known.number) == Some(known))
    }
}

pub(super) fn check_successor(known: &Authority, next: &AuthorityStatement) -> Result<(), RevisionError> {
    if known.token_key.is_some() && known.token_key != next.token_key {
        return Err(RevisionError::TokenKey(known.id.clone()));
    }
    for key in &known.endorsement_keys {
        let kept = next.endorsement_keys.iter().find(|kept| kept.key_id == key.key_id);
        let kept = kept.ok_or_else(|| RevisionError::KeyRemoved(known.id.clone()))?;
        if age(kept.state) < age(key.state) {
            return Err(RevisionError::KeyRevived(known.id.clone()));
        }
    }
    Ok(())
}

/// States in the order in which a key goes through them.
const fn age(state: EndorsementKeyState) -> u8 {
    match state {
        EndorsementKeyState::Current => 0,
        EndorsementKeyState::Previous => 1,
        EndorsementKeyState::Retired => 2,
        EndorsementKeyState::Revoked => 3,
    }
}

#[cfg(test)]
mod tests;
