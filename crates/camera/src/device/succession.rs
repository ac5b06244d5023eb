//! Whether one network file may take another's place.
//!
//! For: [`NetworkFile`](super::NetworkFile). Pure. A camera that is handed a file by its aggregator must
//! never be led to another network, to keys of an earlier time, or to fewer keys than it knows.
//!
//! Not for: signatures, which `Network::parse` has checked before, or whether the file serves for sealing.
//!
//! What may change from one file to the next: epochs are added, authorities are added, authorities gain
//! keys, and a key goes on in the order current, previous, retired, revoked. Nothing is taken away.
//! Rules, submitters and ages are not compared: no token depends on them.

use birthmark_core::network::{Authority, EndorsementKeyId, EndorsementKeyState, Network, NetworkEpoch};

/// How a file stands to the one that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Succession {
    /// It says more.
    Newer,
    /// It says the same.
    Same,
}

/// Why a file may not take the known one's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another genesis.
    #[error("it is another network's")]
    OtherNetwork,
    /// An epoch that is known is missing, or not the same.
    #[error("it lacks or changes an epoch that is known")]
    Epoch,
    /// An authority that is known is missing, or its number is another's.
    #[error("it lacks or renames authority {0}")]
    Authority(u16),
    /// An authority's token key is missing or another one.
    #[error("it lacks or changes the token key of authority {0}")]
    TokenKey(u16),
    /// A key that is known is missing.
    #[error("it lacks endorsement key {0}")]
    KeyMissing(EndorsementKeyId),
    /// A key stands where it stood before.
    #[error("it is older: it gives endorsement key {0} an earlier state")]
    KeyState(EndorsementKeyId),
}

/// Compares a candidate with the file that is known.
pub(super) fn succession(known: &Network, candidate: &Network) -> Result<Succession, Refusal> {
    follows(known, candidate)?;
    Ok(if follows(candidate, known).is_ok() { Succession::Same } else { Succession::Newer })
}

/// Whether all that `known` says holds in `candidate` too.
fn follows(known: &Network, candidate: &Network) -> Result<(), Refusal> {
    if known.network_id() != candidate.network_id() {
        return Err(Refusal::OtherNetwork);
    }
    let mut theirs = candidate.epochs();
    for epoch in known.epochs() {
        theirs.next().filter(|theirs| continues(epoch, theirs)).ok_or(Refusal::Epoch)?;
    }
    known.authorities().iter().try_for_each(|authority| authority_follows(authority, candidate))
}

/// An epoch may only end.
fn continues(known: &NetworkEpoch, candidate: &NetworkEpoch) -> bool {
    known.validator_set_hash() == candidate.validator_set_hash()
        && known.first_height() == candidate.first_height()
        && (known.last_checkpoint().is_none() || known.last_checkpoint() == candidate.last_checkpoint())
}

fn authority_follows(known: &Authority, candidate: &Network) -> Result<(), Refusal> {
    let number = known.number.0;
    let theirs = candidate.authority(known.number).filter(|theirs| theirs.id == known.id);
    let theirs = theirs.ok_or(Refusal::Authority(number))?;
    if known.token_key.is_some() && known.token_key != theirs.token_key {
        return Err(Refusal::TokenKey(number));
    }
    for key in &known.endorsement_keys {
        let later = theirs.endorsement_key(key.key_id).ok_or(Refusal::KeyMissing(key.key_id))?;
        if age(later.state) < age(key.state) {
            return Err(Refusal::KeyState(key.key_id));
        }
    }
    Ok(())
}

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
