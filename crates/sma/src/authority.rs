//! An open authority: its keys, its database and what can be asked of it.
//!
//! For: [`Sma`], used by the HTTP endpoints and directly by the command line.
//! Not for: the rules themselves (`rules`, `provision`), the database (`store`) or HTTP (`http`).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use birthmark_core::api::provision::{DeviceConfig, ProvisionRequest};
use birthmark_core::ids::AuthorityId;
use birthmark_core::time::Clock;
use birthmark_service::auth::Authenticator;
use birthmark_service::lock::{FolderLock, LockError};
use birthmark_service::secret_file::{self, SecretFileError};
use parking_lot::Mutex;

use crate::audit::{self, Act};
use crate::config::{Endpoints, SmaConfig, UrlError};
use crate::http;
use crate::keys::{Keys, MasterKey};
use crate::provision::{self, ProvisionError};
use crate::question::{AskedToken, Question};
use crate::rules::{Policy, Rules, Verdict};
use crate::store::{self, Location, Store, StoreError, StoreOpenError};
use crate::validation::Opening;

/// Why an authority could not be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum SmaError {
    /// The data folder could not be made.
    #[error("data folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's cause.
        source: io::Error,
    },
    /// Another process has it, or it cannot be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// `init` is for new ones.
    #[error("{}: an authority is installed here already", path.display())]
    AlreadyInstalled {
        /// The folder.
        path: PathBuf,
    },
    /// `init` was never run here.
    #[error("{}: no authority is installed here; run `birthmark sma init`", path.display())]
    NotInstalled {
        /// The folder.
        path: PathBuf,
    },
    /// Without the key, no camera of this database can ever pass again.
    #[error("{}: sma.db is in use but master.key is missing; restore the key from a backup", path.display())]
    NoMasterKey {
        /// The folder.
        path: PathBuf,
    },
    /// A second key would make all that the database holds worthless.
    #[error(
        "the database is another authority's already; to run one more server of that authority, copy its master.key to \
         {}", path.display()
    )]
    DatabaseInUse {
        /// The folder.
        path: PathBuf,
    },
    /// Without the database, used tokens would pass again.
    #[error(
        "{}: master.key is there but its database is missing or empty; restore it from a backup, or give the URL that \
         init was given", path.display()
    )]
    NoDatabase {
        /// The folder.
        path: PathBuf,
    },
    /// The key file.
    #[error("master key: {0}")]
    MasterKey(#[from] SecretFileError),
    /// It was cut or is another file.
    #[error("{}: not a master key, which has {} bytes", path.display(), MasterKey::BYTES)]
    MasterKeyLength {
        /// The file.
        path: PathBuf,
    },
    /// Every token would fail, and a verdict is final; so nothing is served.
    #[error("{}: master.key and the database are of different installations", path.display())]
    ForeignMasterKey {
        /// The folder.
        path: PathBuf,
    },
    /// The configuration names another authority than the installation is.
    #[error("configured for authority \"{configured}\", but \"{installed}\" is installed")]
    WrongAuthority {
        /// As configured.
        configured: AuthorityId,
        /// As installed.
        installed: AuthorityId,
    },
    /// An address that cameras are to be told.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The database could not be opened.
    #[error(transparent)]
    Open(#[from] StoreOpenError),
    /// The database could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A manufacturer authority. Clones share it; the folder is free again after [`Sma::close`] or when the
/// last clone is gone.
#[derive(Clone)]
pub struct Sma(Arc<Inner>);

struct Inner {
    authority_id: AuthorityId,
    endpoints: Endpoints,
    network: Option<serde_json::Value>,
    keys: Arc<Keys>,
    opening: Opening,
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
        let master = read_master_key(data_dir)?;
        let keys = Arc::new(Keys::derive(&master));
        let policy = Policy { accept_version_1: config.accept_version_1, quota: config.quota };
        let rules = Arc::new(Rules { keys: Arc::clone(&keys), policy });
        let location = Location::of(data_dir, config.database_url.as_deref());
        let (store, authority_id) = open_store(data_dir, &location, rules, &master)?;
        if let Some(configured) = config.authority_id.filter(|configured| *configured != authority_id) {
            return Err(SmaError::WrongAuthority { configured, installed: authority_id });
        }
        Ok(Self(Arc::new(Inner {
            authority_id,
            endpoints,
            network: config.network,
            opening: Opening::new(Arc::clone(&keys), config.network_id),
            keys,
            store,
            clock,
            lock: Mutex::new(Some(lock)),
        })))
    }

    /// The authority's name, given at `init`.
    pub fn authority_id(&self) -> &AuthorityId {
        &self.0.authority_id
    }

    /// `POST /validate`, `POST /validate/batch`, `POST /api/v1/devices/provision`, `/health`, `/ready`.
    ///
    /// Callers with role `aggregator` may have tokens validated, those with role `admin` may provision.
    pub fn router(&self, authenticator: Authenticator) -> Router {
        http::router(self.clone(), authenticator)
    }

    /// Registers a camera and returns its configuration, secrets included, for the only time.
    ///
    /// The row is on disk before the answer. After [`ProvisionError::Store`] it may or may not be; the
    /// next try tells by [`ProvisionError::DuplicateSerial`].
    pub async fn provision(&self, request: ProvisionRequest) -> Result<DeviceConfig, ProvisionError> {
        self.provision_by(audit::LOCAL, request).await
    }

    /// As [`Sma::provision`], on behalf of a credential.
    pub(crate) async fn provision_by(
        &self,
        actor: &str,
        request: ProvisionRequest,
    ) -> Result<DeviceConfig, ProvisionError> {
        let Inner { authority_id, endpoints, network, keys, store, .. } = &*self.0;
        let act = self.act(actor);
        let device = provision::parse(request, keys, act.minute)?;
        let (serial, nuc_digest) = (device.serial.clone(), device.nuc_digest);
        let mut answers = store.register(vec![device], act).await?;
        // One camera, one answer.
        let registered = answers.pop().ok_or(StoreError::Panicked)??;
        tracing::info!(%serial, "camera provisioned");
        let device_key = keys.device_key(registered.generation, nuc_digest);
        let secrets = provision::Secrets { tables: &registered.tables, device_key: &device_key, keys };
        Ok(provision::device_config(serial, &secrets, authority_id, endpoints, network.as_ref()))
    }

    /// Judges questions of one caller in their order, in one transaction. What passes is on disk before
    /// the answer; after an error nothing was judged, or what passed passes again when asked again.
    pub(crate) async fn judge(&self, caller: &str, questions: &[Question]) -> Result<Vec<Verdict>, StoreError> {
        let Inner { opening, store, clock, .. } = &*self.0;
        let mut prepared = Vec::with_capacity(questions.len());
        for (number, question) in questions.iter().enumerate() {
            // Opening one takes 70 microseconds; other requests get their turn between.
            if matches!(question.token, AskedToken::Bound(..)) && number % PREPARED_AT_ONCE == PREPARED_AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            prepared.push(opening.prepare(caller, question));
        }
        let judged = store.judge(prepared, clock.now().minute()).await?;
        for serial in judged.warned {
            tracing::warn!(%serial, "a camera nears its quota of the day; nothing else is known of its use");
        }
        Ok(judged.verdicts)
    }

    /// Finishes the writes that wait, closes the database and frees the folder. Requests that come
    /// later fail.
    pub async fn close(&self) {
        self.0.store.close().await;
        self.0.lock.lock().take();
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.0.store
    }

    /// What this actor does now.
    pub(crate) fn act(&self, actor: &str) -> Act {
        Act { actor: actor.to_owned(), minute: self.0.clock.now().minute() }
    }
}

/// About a millisecond's worth of version 2 tokens.
const PREPARED_AT_ONCE: usize = 16;

impl std::fmt::Debug for Sma {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sma").field("authority_id", &self.0.authority_id).finish_non_exhaustive()
    }
}

fn read_master_key(data_dir: &Path) -> Result<MasterKey, SmaError> {
    let path = store::master_key_path(data_dir);
    // One byte more than it has, so that a longer file is told from a right one.
    match secret_file::read(&path, MasterKey::BYTES + 1) {
        Ok(bytes) => MasterKey::from_slice(&bytes).ok_or(SmaError::MasterKeyLength { path }),
        Err(SecretFileError::TooLong { .. }) => Err(SmaError::MasterKeyLength { path }),
        Err(SecretFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Err(SmaError::NotInstalled { path: data_dir.to_owned() })
        }
        Err(error) => Err(SmaError::MasterKey(error)),
    }
}

/// The database, which must exist (an empty one in its place would let used tokens pass again) and
/// belong to the key.
fn open_store(
    data_dir: &Path,
    location: &Location,
    rules: Arc<Rules>,
    master: &MasterKey,
) -> Result<(Arc<dyn Store>, AuthorityId), SmaError> {
    let missing = || SmaError::NoDatabase { path: data_dir.to_owned() };
    if location.is_missing() {
        return Err(missing());
    }
    let store = location.open(rules)?;
    let installation = store::block_on(store.installation())?.ok_or_else(missing)?;
    if !installation.belongs_to(master) {
        return Err(SmaError::ForeignMasterKey { path: data_dir.to_owned() });
    }
    Ok((store, installation.authority_id))
}

#[cfg(test)]
mod tests;
