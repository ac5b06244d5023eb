//! Which transactions may be recorded: every rule, once.
//!
//! For: the mempool, which refuses early, and `apply`, which refuses for good. Both ask here, so that
//! what is accepted can be recorded.
//!
//! Not for: signatures of batches and the form of blocks (`apply`), nor the arithmetic of endorsements
//! (`endorsements`).
//!
//! The same table stands in `ARCHITECTURE.md`.

use birthmark_core::batch::{Assurance, Transaction};
use birthmark_core::body::{Entry, Level, Parent};
use birthmark_core::hash::ImageHash;
use birthmark_core::ids::{AuthorityNumber, UNATTESTED};
use birthmark_core::network::Network;

use crate::endorsements::Endorsements;

/// The rules as they stand in one network.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Who may speak.
    pub network: &'a Network,
    /// What is known of endorsements.
    pub endorsements: &'a Endorsements,
    /// What is being judged.
    pub stage: Stage,
}

/// Whether there is anything left to decide.
///
/// The state of an endorsement key is the one thing in the rules that changes while a network runs: its
/// operators sign a file that revokes the key, and take it up one after the other. Were final blocks
/// judged by it, two nodes would disagree about the same block, and a ledger that is applied anew would
/// stop at the first record of a key that was revoked since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A transaction at the door, or a proposal: a revoked key counts for nothing.
    Proposed,
    /// A block that the validators decided on: whether its keys counted was theirs to say.
    Decided,
}

/// Why a transaction may not be recorded, now or ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No authority of that name in the network file.
    #[error("the authority is not in the network file")]
    UnknownAuthority,
    /// More than `asserted` under the authority that vouches for nothing.
    #[error("what nobody vouches for can only be asserted")]
    UnattestedAssurance,
    /// Several hashes under the authority that vouches for nothing.
    #[error("what nobody vouches for is recorded one hash at a time")]
    UnattestedCount,
    /// No endorsement key of the authority with that id.
    #[error("the endorsement names a key that its authority does not have")]
    UnknownEndorsementKey,
    /// The endorsement is not that key's signature under the body.
    #[error("the endorsement is not its authority's for this body")]
    BadEndorsement,
    /// The key counts no longer.
    #[error("the endorsement is by a key that was revoked")]
    RevokedEndorsementKey,
    /// The entries are neither a capture nor edits.
    #[error("the entries are neither one capture nor edits with parents")]
    Shape,
    /// An edit's parent is not on record.
    #[error("the parent of an edit is not on record")]
    UnknownParent,
}

impl Refusal {
    /// Stable name of the rule, for `POST /api/v1/transactions`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::UnknownAuthority => "unknown_authority",
            Self::UnattestedAssurance => "unattested_assurance",
            Self::UnattestedCount => "unattested_count",
            Self::UnknownEndorsementKey => "unknown_endorsement_key",
            Self::BadEndorsement => "bad_endorsement",
            Self::RevokedEndorsementKey => "revoked_endorsement_key",
            Self::Shape => "shape",
            Self::UnknownParent => "unknown_parent",
        }
    }
}

impl Rules<'_> {
    /// Judges one transaction; gives its authority's number. `recorded` answers for the state before it.
    pub fn check<E>(
        &self,
        transaction: &Transaction,
        recorded: impl FnMut(&ImageHash) -> Result<bool, E>,
    ) -> Result<Result<AuthorityNumber, Refusal>, E> {
        let authority = match self.check_form(transaction) {
            Ok(authority) => authority,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if authority == AuthorityNumber::UNATTESTED || all(&outside_parents(transaction), recorded)? {
            return Ok(Ok(authority));
        }
        Ok(Err(Refusal::UnknownParent))
    }

    /// All that does not depend on what is on record; what costs most comes last.
    fn check_form(&self, transaction: &Transaction) -> Result<AuthorityNumber, Refusal> {
        let body = transaction.body();
        if body.authority.as_str() == UNATTESTED {
            return check_unattested(transaction).map(|()| AuthorityNumber::UNATTESTED);
        }
        let authority = self.network.authority_by_id(&body.authority).ok_or(Refusal::UnknownAuthority)?.number;
        let entries = &body.entries;
        if entries.has_edit() {
            let is_edit = |entry: &Entry| entry.level == Level::Modified && entry.parent != Parent::None;
            if !entries.as_slice().iter().all(is_edit) {
                return Err(Refusal::Shape);
            }
        } else {
            entries.check_capture().map_err(|_| Refusal::Shape)?;
        }
        self.endorsements.check(self.network, self.stage, transaction)?;
        Ok(authority)
    }
}

/// The parents of edits that are not in the same body; a capture has none.
fn outside_parents(transaction: &Transaction) -> Vec<ImageHash> {
    let outside = |entry: &Entry| match entry.parent {
        Parent::Explicit(hash) => Some(hash),
        Parent::None | Parent::Entry(_) => None,
    };
    transaction.body().entries.as_slice().iter().filter_map(outside).collect()
}

fn check_unattested(transaction: &Transaction) -> Result<(), Refusal> {
    if transaction.assurance() != Assurance::Asserted {
        return Err(Refusal::UnattestedAssurance);
    }
    if transaction.body().entries.as_slice().len() != 1 {
        return Err(Refusal::UnattestedCount);
    }
    Ok(())
}

fn all<E>(hashes: &[ImageHash], mut recorded: impl FnMut(&ImageHash) -> Result<bool, E>) -> Result<bool, E> {
    for hash in hashes {
        if !recorded(hash)? {
            return Ok(false);
        }
    }
    Ok(true)
}
