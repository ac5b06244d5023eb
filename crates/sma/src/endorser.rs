//! The authority's endorsement keys at work: which there are, and signing with them.
//!
//! For: [`Endorser`], which signs what a passed version 2 token came with, and carries out an
//! administrator's changes of keys.
//! Not for: whether a token passes (`rules`, which look into the same table within the same
//! transaction), the private operation (`signer`), or the life of a key (`endorsement_keys::life`).
//!
//! Keys lie in the database, so several authorities share them; each loads what it is asked for. A key in
//! a hardware module has its row there too, and its signer is given at the start.

use std::collections::HashMap;
use std::sync::Arc;

use birthmark_core::network::{EndorsementKeyId, EndorsementKeyState};
use birthmark_core::token::Blinding;
use birthmark_service::random::OsRng;
use parking_lot::RwLock;

use crate::audit::{Act, Deed};
use crate::endorsement_keys::life::{ChangeError, KeyList, KeyListError};
use crate::endorsement_keys::{self, GenerateError, KeySize, NewKey, OpenKeyError};
use crate::keys::Keys;
use crate::signer::pool::{PoolError, SigningPool};
use crate::signer::{SignError, Signer};
use crate::store::{KeyChange, KeysChanged, Store, StoreError, StoredKey};

/// Signs, and looks after the keys.
pub(crate) struct Endorser {
    store: Arc<dyn Store>,
    keys: Arc<Keys>,
    /// Of keys that live elsewhere.
    given: Vec<Arc<dyn Signer>>,
    loaded: RwLock<HashMap<EndorsementKeyId, Arc<dyn Signer>>>,
    pool: SigningPool,
}

/// Why nothing was endorsed. None of these is a verdict.
#[derive(Debug, thiserror::Error)]
pub enum EndorseError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key's row does not open.
    #[error(transparent)]
    Open(#[from] OpenKeyError),
    /// There was a key when the token was judged, and there is none now.
    #[error("endorsement key {0} is not in the database any more")]
    Gone(EndorsementKeyId),
    /// The signer, or too many waiting for it.
    #[error(transparent)]
    Sign(#[from] PoolError),
}

/// Why endorsement keys did not change.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is in the database cannot have been written by an authority.
    #[error("the database's endorsement keys contradict each other: {0}")]
    Damaged(String),
    /// Not allowed.
    #[error("{0}")]
    Refused(String),
    /// Nothing left to do.
    #[error("the endorsement key is revoked already")]
    AlreadyRevoked,
    /// The network file has no room for another.
    #[error("a network file lists no more endorsement keys of an authority than there are already")]
    Full,
    /// There is no key with this id.
    #[error("there is no endorsement key with this id")]
    Unknown,
    /// Another authority of the same database changed keys meanwhile.
    #[error("the endorsement keys were changed by somebody else at the same moment; look again")]
    Conflict,
    /// No key could be made.
    #[error("no usable endorsement key could be made")]
    Generate,
}

impl Endorser {
    pub(crate) fn new(store: Arc<dyn Store>, keys: Arc<Keys>, given: Vec<Arc<dyn Signer>>) -> Self {
        Self { store, keys, given, loaded: RwLock::default(), pool: SigningPool::for_this_machine() }
    }

    /// Whether a blinded message fits the key that it names, as far as that key is loaded. Asked before a
    /// token is spent.
    pub(crate) fn admit(&self, blinding: &Blinding) -> Result<(), SignError> {
        self.signer_at_hand(blinding.key_id).map_or(Ok(()), |signer| signer.admit(&blinding.blinded_message))
    }

    /// The signer of a key, wherever it lives.
    pub(crate) async fn signer(&self, id: EndorsementKeyId) -> Result<Arc<dyn Signer>, EndorseError> {
        match self.signer_at_hand(id) {
            Some(signer) => Ok(signer),
            None => self.load(id).await,
        }
    }

    /// Signs. The token has passed, and that is on disk.
    pub(crate) async fn sign(&self, blinding: &Blinding) -> Result<Vec<u8>, EndorseError> {
        let signer = self.signer(blinding.key_id).await?;
        Ok(self.pool.sign(signer, blinding.blinded_message.clone()).await?)
    }

    /// Whether a signature that is asked for a little later would be there no later.
    pub(crate) fn is_far_behind(&self) -> bool {
        self.pool.is_far_behind()
    }

    /// Loads the key that is current, so that the first request need not wait for it.
    pub(crate) async fn warm_up(&self) -> Result<(), EndorseError> {
        for key in self.store.endorsement_keys().await? {
            if key.record.state == EndorsementKeyState::Current && self.signer_at_hand(key.record.key_id).is_none() {
                self.keep(&key)?;
            }
        }
        Ok(())
    }

    /// All keys that there ever were, oldest first.
    pub(crate) async fn list(&self) -> Result<KeyList, KeyError> {
        let stored = self.store.endorsement_keys().await?;
        KeyList::new(stored.into_iter().map(|key| key.record).collect()).map_err(|error| damaged(&error))
    }

    /// Makes a key where there is no current one; blocks for it. Of several authorities one makes it.
    pub(crate) async fn ensure_current(&self, size: KeySize, act: Act) -> Result<(), KeyError> {
        if self.list().await?.current().is_some() {
            return Ok(());
        }
        match self.rotate(&new_key(size)?, act).await {
            Err(KeyError::Conflict) if self.list().await?.current().is_some() => Ok(()),
            made => made.map(drop),
        }
    }

    /// Makes a new key the current one; the one before signs for 90 more days.
    pub(crate) async fn rotate(&self, key: &NewKey, act: Act) -> Result<EndorsementKeyId, KeyError> {
        let before = self.list().await?;
        let after = before.rotate(&key.spki, act.minute).map_err(|error| refused(&error))?;
        let sealed = key.seal(self.keys.row_seal(), &mut OsRng);
        let deed = Deed {
            act: "key.rotate",
            subject: key.id().to_string(),
            detail: format!("{} bits", 8 * key.public.modulus_len()),
        };
        self.change(KeyChange::between(&before, &after, Some(sealed), deed), act).await?;
        Ok(key.id())
    }

    /// Takes a key out of use at once and for ever.
    pub(crate) async fn revoke(&self, id: EndorsementKeyId, act: Act) -> Result<(), KeyError> {
        let before = self.list().await?;
        let after = before.revoke(id, act.minute).map_err(|error| refused(&error))?;
        let deed = Deed { act: "key.revoke", subject: id.to_string(), detail: String::new() };
        self.change(KeyChange::between(&before, &after, None, deed), act).await
    }

    /// Retires keys whose 90 days are over: their private halves are destroyed. True if there were any.
    pub(crate) async fn retire(&self, act: Act) -> Result<bool, KeyError> {
        let before = self.list().await?;
        let after = before.expire(act.minute);
        let retired = || after.records().iter().filter(|record| !before.records().contains(record));
        if retired().next().is_none() {
            return Ok(false);
        }
        let subject = retired().map(|record| record.key_id.to_string()).collect::<Vec<_>>().join(" ");
        let deed = Deed { act: "key.retire", subject, detail: String::new() };
        match self.change(KeyChange::between(&before, &after, None, deed), act).await {
            // Another authority of the same database does the same at the same time.
            Err(KeyError::Conflict) => Ok(false),
            changed => changed.map(|()| true),
        }
    }

    async fn change(&self, change: KeyChange, act: Act) -> Result<(), KeyError> {
        let over: Vec<_> = change.changed.iter().filter(|key| !key.may_sign()).map(|record| record.key_id).collect();
        match self.store.change_keys(change, act).await? {
            KeysChanged::Yes => {
                self.loaded.write().retain(|id, _| !over.contains(id));
                Ok(())
            }
            KeysChanged::Conflict => Err(KeyError::Conflict),
        }
    }

    fn signer_at_hand(&self, id: EndorsementKeyId) -> Option<Arc<dyn Signer>> {
        let given = self.given.iter().find(|signer| signer.key_id() == id);
        given.cloned().or_else(|| self.loaded.read().get(&id).cloned())
    }

    async fn load(&self, id: EndorsementKeyId) -> Result<Arc<dyn Signer>, EndorseError> {
        let stored = self.store.endorsement_keys().await?;
        let key = stored.into_iter().find(|key| key.record.key_id == id && key.record.may_sign());
        self.keep(&key.ok_or(EndorseError::Gone(id))?)
    }

    fn keep(&self, key: &StoredKey) -> Result<Arc<dyn Signer>, EndorseError> {
        let signer = endorsement_keys::open(key.record.key_id, &key.sealed, self.keys.row_seal())?;
        self.loaded.write().insert(key.record.key_id, Arc::clone(&signer));
        Ok(signer)
    }
}

/// Makes a key; blocks for a good part of a second.
pub(crate) fn new_key(size: KeySize) -> Result<NewKey, KeyError> {
    NewKey::generate(size, &mut OsRng).map_err(|GenerateError| KeyError::Generate)
}

fn damaged(error: &KeyListError) -> KeyError {
    KeyError::Damaged(error.to_string())
}

fn refused(error: &ChangeError) -> KeyError {
    match error {
        ChangeError::Unknown(_) => KeyError::Unknown,
        ChangeError::Revoked(_) => KeyError::AlreadyRevoked,
        ChangeError::Full => KeyError::Full,
        ChangeError::Known(_) | ChangeError::Unusable(_) => KeyError::Refused(error.to_string()),
    }
}

impl std::fmt::Debug for Endorser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endorser").field("pool", &self.pool).finish_non_exhaustive()
    }
}
