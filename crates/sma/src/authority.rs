//! An open authority: its keys, its database and what can be asked of it.
//!
//! For: [`Sma`], used by the HTTP endpoints and directly by the command line.
//! Not for: the rules themselves (`validation`, `provision`) or HTTP (`http`).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use birthmark_core::api::provision::{DeviceConfig, ProvisionRequest};
use birthmark_core::api::validate::Message;
use birthmark_core::ids::AuthorityId;
use birthmark_core::time::Clock;
use birthmark_service::auth::Authenticator;
use birthmark_service::lock::{FolderLock, LockError};
use birthmark_service::random::OsRng;
use birthmark_service::secret_file::{self, SecretFileError};
use birthmark_service::sqlite::{Database, OpenError, ReadError, WriteError};
use parking_lot::Mutex;

use crate::config::{Endpoints, SmaConfig, UrlError};
use crate::keys::{Keys, MasterKey};
use crate::provision::{self, ProvisionError};
use crate::question::Question;
use crate::replay::Day;
use crate::store::Installation;
use crate::validation::{self, Policy};
use crate::{devices, http, store};

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
    /// Without the database, used tokens would pass again.
    #[error("{}: master.key is there but sma.db is missing or empty; restore it from a backup", path.display())]
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
    #[error("{}: master.key and sma.db are of different installations", path.display())]
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
    Open(#[from] OpenError),
    /// The database could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The database could not be written.
    #[error(transparent)]
    Write(#[from] WriteError<rusqlite::Error>),
}

/// A manufacturer authority. Clones share it; the folder is free again after [`Sma::close`] or when the
/// last clone is gone.
#[derive(Clone)]
pub struct Sma(Arc<Inner>);

struct Inner {
    authority_id: AuthorityId,
    endpoints: Endpoints,
    network: Option<serde_json::Value>,
    policy: Policy,
    keys: Arc<Keys>,
    database: Database,
    clock: Arc<dyn Clock>,
    lock: Mutex<Option<FolderLock>>,
}

impl Sma {
    /// Opens the installation in the folder and keeps every other process out of it. Blocks.
    pub fn open(data_dir: &Path, config: SmaConfig, clock: Arc<dyn Clock>) -> Result<Self, SmaError> {
        let endpoints = Endpoints::parse(&config)?;
        if !data_dir.is_dir() {
            return Err(SmaError::NotInstalled { path: data_dir.to_owned() });
        }
        let lock = FolderLock::acquire(data_dir)?;
        let master = read_master_key(data_dir)?;
        let (database, installation) = open_database(data_dir)?;
        if !installation.belongs_to(&master) {
            return Err(SmaError::ForeignMasterKey { path: data_dir.to_owned() });
        }
        let authority_id = installation.authority_id;
        if let Some(configured) = config.authority_id.filter(|configured| *configured != authority_id) {
            return Err(SmaError::WrongAuthority { configured, installed: authority_id });
        }
        Ok(Self(Arc::new(Inner {
            authority_id,
            endpoints,
            network: config.network,
            policy: Policy { accept_version_1: config.accept_version_1 },
            keys: Arc::new(Keys::derive(&master)),
            database,
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
        let Inner { authority_id, endpoints, network, keys, database, clock, .. } = &*self.0;
        let device = provision::parse(request, keys, clock.now().minute())?;
        let serial = device.serial.clone();
        let order = Arc::clone(keys);
        let assigned = database
            .try_write(move |connection| devices::register(connection, &device, order.order(), &mut OsRng))
            .await??;
        tracing::info!(%serial, "camera provisioned");
        Ok(provision::device_config(serial, &assigned, keys, authority_id, endpoints, network.as_ref()))
    }

    /// Judges questions of one caller in their order, in one transaction. What passes is on disk before
    /// the answer; after an error nothing was judged.
    pub(crate) async fn judge(
        &self,
        caller: &str,
        questions: &[Question],
    ) -> Result<Vec<Message>, WriteError<rusqlite::Error>> {
        let Inner { policy, keys, database, clock, .. } = &*self.0;
        let prepared: Vec<_> = questions.iter().map(|question| validation::prepare(keys, caller, question)).collect();
        let (policy, day) = (*policy, Day::of(clock.now()));
        database
            .try_write(move |connection| {
                prepared.iter().map(|prepared| validation::decide(connection, prepared, policy, day)).collect()
            })
            .await
    }

    /// Finishes the writes that wait, closes the database and frees the folder. Requests that come
    /// later fail.
    pub async fn close(&self) {
        self.0.database.close().await;
        self.0.lock.lock().take();
    }

    pub(crate) fn database(&self) -> &Database {
        &self.0.database
    }
}

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

/// The database, which must exist: an empty one in its place would let used tokens pass again.
fn open_database(data_dir: &Path) -> Result<(Database, Installation), SmaError> {
    let missing = || SmaError::NoDatabase { path: data_dir.to_owned() };
    if !store::database_path(data_dir).exists() {
        return Err(missing());
    }
    let database = store::open(data_dir)?;
    let installation = database.read_blocking(store::read_installation)?.ok_or_else(missing)?;
    Ok((database, installation))
}

#[cfg(test)]
mod tests;
