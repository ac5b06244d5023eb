//! An open authority: its keys, its database and what can be asked of it.
//!
//! For: [`Sma`], used by the HTTP endpoints and directly by the command line.
//! Not for: the rules themselves (`rules`, `provision`), the database (`store`) or HTTP (`http`).

mod answering;
pub(crate) mod control;
mod error;
pub(crate) mod importing;
mod opening;
mod provisioning;
pub(crate) mod renewing;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use birthmark_core::hash::Digest;
use birthmark_core::ids::AuthorityId;
use birthmark_core::network::{AuthorityStatement, EndorsementKeyId, EndorsementKeyState, MinTokenVersion, Network};
use birthmark_core::time::{Clock, UnixSeconds};
use birthmark_service::auth::Authenticator;
use birthmark_service::lock::FolderLock;
use parking_lot::Mutex;

use crate::audit::{self, Act};
use crate::certificate::authority::CertificateAuthority;
use crate::config::{Endpoints, SmaConfig};
use crate::endorsement_keys::KeySize;
use crate::endorser::{EndorseError, Endorser, KeyError};
use crate::keys::Keys;
use crate::quota::Quota;
use crate::revocations::{RevocationPage, Revocations};
use crate::rules::{Policy, Rules};
use crate::signer::Signer;
use crate::store::{self, Location, Store, StoreError};
use crate::validation::Opening;
use crate::{http, statement};

pub use error::SmaError;

/// A manufacturer authority. Clones share it; the folder is free again after [`Sma::close`] or when the
/// last clone is gone.
#[derive(Clone)]
pub struct Sma(Arc<Inner>);

struct Inner {
    data_dir: PathBuf,
    authority_id: AuthorityId,
    endpoints: Endpoints,
    network: Option<serde_json::Value>,
    accept_version_1: bool,
    quota: Quota,
    keys: Arc<Keys>,
    certificates: CertificateAuthority,
    opening: Opening,
    endorser: Endorser,
    revocations: Revocations,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    lock: Mutex<Option<FolderLock>>,
}

impl Sma {
    /// Opens the installation in the folder and keeps every other process out of it. Blocks.
    ///
    /// Several may be open on one PostgreSQL, each in a folder of its own with the same `master.key`.
    pub fn open(data_dir: &Path, config: SmaConfig, clock: Arc<dyn Clock>) -> Result<Self, SmaError> {
        let endpoints = Endpoints::parse(&config)?;
        if !data_dir.is_dir() {
            return Err(SmaError::NotInstalled { path: data_dir.to_owned() });
        }
        let lock = FolderLock::acquire(data_dir)?;
        let master = opening::read_master_key(data_dir, &config)?;
        let keys = Arc::new(Keys::derive(&master));
        let policy = Policy { accept_version_1: config.accept_version_1, quota: config.quota };
        let rules = Arc::new(Rules { keys: Arc::clone(&keys), policy });
        let location = Location::of(data_dir, config.database_url.as_deref());
        let (store, installation) = opening::open_store(data_dir, &location, rules, &master)?;
        importing::adopt_tables(data_dir, &keys, &*store)?;
        let authority_id = installation.authority_id;
        if let Some(configured) = config.authority_id.filter(|configured| *configured != authority_id) {
            return Err(SmaError::WrongAuthority { configured, installed: authority_id });
        }
        let certificates = CertificateAuthority::new(keys.ca_seed(), &authority_id, installation.created)?;
        let endorser = Endorser::new(Arc::clone(&store), Arc::clone(&keys), config.signers);
        let sma = Self(Arc::new(Inner {
            data_dir: data_dir.to_owned(),
            authority_id,
            endpoints,
            network: config.network,
            accept_version_1: config.accept_version_1,
            quota: config.quota,
            certificates,
            opening: Opening::new(Arc::clone(&keys), config.network_id),
            keys,
            endorser,
            revocations: Revocations::default(),
            store,
            clock,
            lock: Mutex::new(Some(lock)),
        }));
        // An installation from before there were endorsement keys, or an `init` that was interrupted.
        store::block_on(sma.0.endorser.ensure_current(KeySize::default(), sma.act(audit::LOCAL)))?;
        store::block_on(sma.look_after_keys())?;
        store::block_on(sma.0.endorser.warm_up())?;
        if let Err(error) = sma.can_issue() {
            tracing::error!(%error, "no camera can be provisioned, and no certificate renewed");
        }
        Ok(sma)
    }

    /// Whether the network file is one that this authority's cameras can use: it must not list another
    /// token key, and should list the endorsement key that is current here.
    pub async fn check_network(&self, network: &Network) -> Result<(), SmaError> {
        let statement = self.statement().await?;
        let Some(listed) = network.authority_by_id(self.authority_id()) else {
            tracing::warn!("the network file does not list this authority: nobody takes what its cameras submit");
            return Ok(());
        };
        if listed.token_key.is_some() && listed.token_key != statement.token_key {
            return Err(SmaError::ForeignTokenKey(self.authority_id().clone()));
        }
        if self.0.accept_version_1 && listed.rules.min_token_version == MinTokenVersion::V2 {
            return Err(SmaError::WeakerRules(self.authority_id().clone()));
        }
        let current = statement.endorsement_keys.iter().find(|key| key.state == EndorsementKeyState::Current);
        if listed.token_key.is_none() || current.is_some_and(|key| listed.endorsement_key(key.key_id).is_none()) {
            tracing::warn!(
                "the network file lacks keys of this authority: put authority.json into it with `birthmark network update`"
            );
        }
        Ok(())
    }

    /// What this authority tells those who write the network file; also in `authority.json`.
    pub async fn statement(&self) -> Result<AuthorityStatement, KeyError> {
        let Inner { authority_id, keys, endorser, accept_version_1, .. } = &*self.0;
        let list = endorser.list().await?;
        Ok(statement::of(authority_id, keys, &list, *accept_version_1, self.now().minute()))
    }

    /// The signer in use for a key, for measuring it alone.
    pub async fn signer(&self, id: EndorsementKeyId) -> Result<Arc<dyn Signer>, EndorseError> {
        self.0.endorser.signer(id).await
    }

    /// Destroys the private halves of endorsement keys whose 90 days are over, and brings `authority.json` up
    /// to date, for another server of the same database may have changed keys. To be done now and then.
    pub async fn look_after_keys(&self) -> Result<(), SmaError> {
        if self.0.endorser.retire(self.act(audit::LOCAL)).await? {
            tracing::info!("an endorsement key's 90 days are over: its private half is destroyed");
        }
        self.state().await
    }

    async fn state(&self) -> Result<(), SmaError> {
        let Inner { data_dir, authority_id, keys, endorser, accept_version_1, certificates, .. } = &*self.0;
        statement::write_ca(data_dir, certificates.pem())?;
        let list = endorser.list().await?;
        statement::write(data_dir, authority_id, keys, &list, *accept_version_1, self.now().minute()).map(drop)
    }

    /// The authority's name, given at `init`.
    pub fn authority_id(&self) -> &AuthorityId {
        &self.0.authority_id
    }

    /// The endpoints that `http` lists.
    ///
    /// Callers with role `aggregator` may have tokens validated, those with role `admin` do all else that takes a
    /// credential.
    pub fn router(&self, authenticator: Authenticator) -> Router {
        http::router(self.clone(), authenticator)
    }

    /// Finishes the writes that wait, closes the database and frees the folder. Requests that come
    /// later fail.
    pub async fn close(&self) {
        self.0.store.close().await;
        self.0.lock.lock().take();
    }

    /// A page of the public list of revoked devices: the entries above `after`.
    pub(crate) async fn revocations(&self, after: Option<Digest>) -> Result<RevocationPage, StoreError> {
        let Inner { revocations, store, clock, authority_id, certificates, .. } = &*self.0;
        let list = revocations.list(&**store, &**clock).await?;
        Ok(list.page(after, authority_id, certificates.key()))
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.0.store
    }

    /// What this actor does now.
    pub(crate) fn act(&self, actor: &str) -> Act {
        Act { actor: actor.to_owned(), minute: self.now().minute() }
    }

    fn now(&self) -> UnixSeconds {
        self.0.clock.now()
    }
}

impl std::fmt::Debug for Sma {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sma").field("authority_id", &self.0.authority_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
