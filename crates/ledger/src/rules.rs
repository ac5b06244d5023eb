//! Which transactions may be recorded: every rule, once.
//!
//! For: the mempool, which refuses early, and `apply`, which refuses for good. Both ask here, so that
//! what is accepted can be recorded.
//!
//! Not for: signatures of batches and the form of blocks (`apply`).
//!
//! The same table stands in `ARCHITECTURE.md`.

use birthmark_core::batch::{Assurance, Transaction};
use birthmark_core::body::{Level, Parent};
use birthmark_core::hash::ImageHash;
use birthmark_core::ids::{AuthorityNumber, UNATTESTED};
use birthmark_core::network::Network;

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
            Self::Shape => "shape",
            Self::UnknownParent => "unknown_parent",
        }
    }
}

/// Judges one transaction; gives its authority's number. `recorded` answers for the state before it.
pub fn check<E>(
    network: &Network,
    transaction: &Transaction,
    recorded: impl FnMut(&ImageHash) -> Result<bool, E>,
) -> Result<Result<AuthorityNumber, Refusal>, E> {
    let body = transaction.body();
    if body.authority.as_str() == UNATTESTED {
        return Ok(check_unattested(transaction).map(|()| AuthorityNumber::UNATTESTED));
    }
    let Some(authority) = network.authority_by_id(&body.authority).map(|authority| authority.number) else {
        return Ok(Err(Refusal::UnknownAuthority));
    };
    if transaction.assurance() == Assurance::Endorsed {
        // Endorsements cannot be checked here yet, and what is not checked is not recorded.
        return Ok(Err(Refusal::UnknownEndorsementKey));
    }
    let entries = &body.entries;
    if !entries.has_edit() {
        return Ok(entries.check_capture().map(|()| authority).map_err(|_| Refusal::Shape));
    }
    let mut parents = Vec::new();
    for entry in entries.as_slice() {
        match (entry.level, entry.parent) {
            (Level::Modified, Parent::Entry(_)) => {}
            (Level::Modified, Parent::Explicit(hash)) => parents.push(hash),
            _ => return Ok(Err(Refusal::Shape)),
        }
    }
    let all_known = all(&parents, recorded)?;
    Ok(if all_known { Ok(authority) } else { Err(Refusal::UnknownParent) })
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
