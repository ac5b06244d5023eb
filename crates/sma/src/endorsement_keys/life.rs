//! The life of endorsement keys: pure functions from the list of all keys and the time to the next list.

use birthmark_core::endorsement::{KeyError, PublicKey};
use birthmark_core::network::{EndorsementKey, EndorsementKeyId, EndorsementKeyState, MAX_ENDORSEMENT_KEYS};
use birthmark_core::time::Minute;

/// What is known of one key, besides its private half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyRecord {
    /// The first 8 bytes of SHA-256(`spki`).
    pub(crate) key_id: EndorsementKeyId,
    /// The public half in DER.
    pub(crate) spki: Vec<u8>,
    /// As stored; a previous key whose time is over is retired by [`KeyList::expire`].
    pub(crate) state: EndorsementKeyState,
    /// When it was made.
    pub(crate) created: Minute,
    /// When it stopped being current.
    pub(crate) replaced: Option<Minute>,
}

/// All keys that the authority has ever had, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyList(Vec<KeyRecord>);

/// Why a list of records is none that this authority can have written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyListError {
    /// More than the network file takes.
    #[error("{got} endorsement keys, and a network file lists at most {MAX_ENDORSEMENT_KEYS}")]
    TooMany {
        /// How many there are.
        got: usize,
    },
    /// One key in two rows.
    #[error("endorsement key {0} is listed twice")]
    Twice(EndorsementKeyId),
    /// Two keys would sign.
    #[error("more than one endorsement key is current")]
    SeveralCurrent,
    /// The id is not the public half's.
    #[error("endorsement key {0} has another key's id")]
    ForeignId(EndorsementKeyId),
    /// The public half cannot be used.
    #[error("endorsement key {0} is {1}")]
    Unusable(EndorsementKeyId, KeyError),
    /// A current key that was replaced, or a previous or retired one that never was.
    #[error("endorsement key {0}: its state and the minute of its replacement contradict each other")]
    Contradiction(EndorsementKeyId),
}

/// Why a key did not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChangeError {
    /// It was current before, or still is: keys never come back.
    #[error("endorsement key {0} is listed already, and no key becomes current twice")]
    Known(EndorsementKeyId),
    /// No such key.
    #[error("there is no endorsement key {0}")]
    Unknown(EndorsementKeyId),
    /// Nothing left to do.
    #[error("endorsement key {0} is revoked already")]
    Revoked(EndorsementKeyId),
    /// The network file has no room for another.
    #[error(
        "a network file lists at most {MAX_ENDORSEMENT_KEYS} endorsement keys of an authority, and there are as many"
    )]
    Full,
    /// The key cannot be used.
    #[error("the new endorsement key is {0}")]
    Unusable(#[from] KeyError),
}

impl KeyList {
    /// Checks what was stored.
    pub(crate) fn new(records: Vec<KeyRecord>) -> Result<Self, KeyListError> {
        if records.len() > MAX_ENDORSEMENT_KEYS {
            return Err(KeyListError::TooMany { got: records.len() });
        }
        for (at, record) in records.iter().enumerate() {
            let id = record.key_id;
            let key = PublicKey::from_spki(&record.spki).map_err(|cause| KeyListError::Unusable(id, cause))?;
            if key.id() != id {
                return Err(KeyListError::ForeignId(id));
            }
            if records.iter().take(at).any(|earlier| earlier.key_id == id) {
                return Err(KeyListError::Twice(id));
            }
            let replaced = match record.state {
                EndorsementKeyState::Current => false,
                EndorsementKeyState::Previous | EndorsementKeyState::Retired | EndorsementKeyState::Revoked => true,
            };
            if replaced != record.replaced.is_some() {
                return Err(KeyListError::Contradiction(id));
            }
        }
        if records.iter().filter(|record| record.state == EndorsementKeyState::Current).count() > 1 {
            return Err(KeyListError::SeveralCurrent);
        }
        Ok(Self(records))
    }

    /// All keys, oldest first.
    pub(crate) fn records(&self) -> &[KeyRecord] {
        &self.0
    }

    /// The key that cameras are to use.
    pub(crate) fn current(&self) -> Option<&KeyRecord> {
        self.0.iter().find(|record| record.state == EndorsementKeyState::Current)
    }

    /// Makes a key current that was never listed. The one that was current signs for 90 more days.
    pub(crate) fn rotate(&self, spki: &[u8], now: Minute) -> Result<Self, ChangeError> {
        let key_id = PublicKey::from_spki(spki)?.id();
        if self.find(key_id).is_some() {
            return Err(ChangeError::Known(key_id));
        }
        if self.0.len() >= MAX_ENDORSEMENT_KEYS {
            return Err(ChangeError::Full);
        }
        let mut next = self.expire(now);
        for record in next.0.iter_mut().filter(|record| record.state == EndorsementKeyState::Current) {
            record.state = EndorsementKeyState::Previous;
            record.replaced = Some(now);
        }
        let state = EndorsementKeyState::Current;
        next.0.push(KeyRecord { key_id, spki: spki.to_vec(), state, created: now, replaced: None });
        Ok(next)
    }

    /// Retires previous keys whose 90 days are over.
    pub(crate) fn expire(&self, now: Minute) -> Self {
        let mut next = self.clone();
        for record in &mut next.0 {
            if record.state == EndorsementKeyState::Previous && !record.signs_at(now) {
                record.state = EndorsementKeyState::Retired;
            }
        }
        next
    }

    /// Takes a compromised key out of use at once and for ever. If it was the current one, nothing is
    /// endorsed under a current key until [`Self::rotate`].
    pub(crate) fn revoke(&self, id: EndorsementKeyId, now: Minute) -> Result<Self, ChangeError> {
        let mut next = self.clone();
        let record = next.0.iter_mut().find(|record| record.key_id == id).ok_or(ChangeError::Unknown(id))?;
        if record.state == EndorsementKeyState::Revoked {
            return Err(ChangeError::Revoked(id));
        }
        record.state = EndorsementKeyState::Revoked;
        record.replaced = record.replaced.or(Some(now));
        Ok(next)
    }

    /// As the network file lists them.
    pub(crate) fn public(&self, now: Minute) -> Vec<EndorsementKey> {
        let entry =
            |record: KeyRecord| EndorsementKey { key_id: record.key_id, spki: record.spki, state: record.state };
        self.expire(now).0.into_iter().map(entry).collect()
    }

    fn find(&self, id: EndorsementKeyId) -> Option<&KeyRecord> {
        self.0.iter().find(|record| record.key_id == id)
    }
}

impl KeyRecord {
    /// Whether there can be a time at which it signs: else nobody needs its private half any more.
    pub(crate) const fn may_sign(&self) -> bool {
        match self.state {
            EndorsementKeyState::Current | EndorsementKeyState::Previous => true,
            EndorsementKeyState::Retired | EndorsementKeyState::Revoked => false,
        }
    }

    pub(crate) fn signs_at(&self, now: Minute) -> bool {
        match self.state {
            EndorsementKeyState::Current => true,
            EndorsementKeyState::Previous => {
                self.replaced.is_some_and(|replaced| now.0 < replaced.0.saturating_add(PREVIOUS_MINUTES))
            }
            EndorsementKeyState::Retired | EndorsementKeyState::Revoked => false,
        }
    }
}

/// How long a replaced key still signs: 90 days.
const PREVIOUS_MINUTES: u32 = 90 * 24 * 60;

#[cfg(test)]
pub(crate) mod tests;
