//! The network file that a camera seals by.
//!
//! For: reading it from where the configuration says it is, and putting a newer one in its place.
//!
//! Not for: fetching it (`fetch`, once, at provisioning; `upload`, when the authority's key has changed),
//! or what makes a file newer (`succession`).
//!
//! Format: `docs/PROTOCOL.md` sections 1 and 4. In the configuration, `network` is one of
//! ```text
//! {"network": "<base64>", "signatures": […]}      the file itself
//! {"url": "http://…", "sha256": "<64 hex>"}       network.json beside the configuration, with that hash
//! ```
//! A newer file is kept as `network.json` beside the configuration, changed under `network.lock`; the one
//! whose hash the configuration gives then moves to `network.provisioned.json`, so that a newer one can
//! still be held against it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use birthmark_core::hash::Digest;
use birthmark_core::network::{MAX_FILE_LEN, Network, NetworkError};
use birthmark_service::lock::{FileLock, LockError};
use birthmark_service::secret_file::{self, FileMode, SecretFileError};
use serde_json::Value;

use super::succession::{Refusal, Succession, succession};

/// Where a configuration has its network file.
#[derive(Clone, Debug)]
pub(super) enum NetworkSource {
    /// In itself; not checked yet.
    Embedded(Value),
    /// Beside itself.
    Beside(NetworkReference),
}

/// A network file by its hash.
#[derive(Clone, Debug)]
pub(super) struct NetworkReference {
    /// Where to fetch it.
    pub(super) url: String,
    /// Which bytes it must have.
    pub(super) sha256: Digest,
}

/// The newest network file that a camera has, and its place beside the configuration.
#[derive(Debug)]
pub struct NetworkFile {
    path: PathBuf,
    pinned: Option<Digest>,
    provisioned: Arc<Network>,
    current: RwLock<Arc<Network>>,
}

/// Why a camera has no network file.
#[derive(Debug, thiserror::Error)]
pub enum NetworkFileError {
    /// Not readable.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's cause.
        source: io::Error,
    },
    /// The configuration names it by its hash, and it has not been fetched.
    #[error("{}: not there yet; `birthmark camera provision` fetches the network file that the configuration names", path.display())]
    Absent {
        /// Where it should be.
        path: PathBuf,
    },
    /// The configuration names another by its hash.
    #[error("{}: not the file whose SHA-256 the configuration gives, nor beside that file as {PINNED_FILE}", path.display())]
    OtherHash {
        /// The file.
        path: PathBuf,
    },
    /// It does not hold.
    #[error("{}: {cause}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: NetworkError,
    },
    /// The one in the configuration does not hold.
    #[error("network in the configuration: {0}")]
    Embedded(#[source] NetworkError),
}

/// Why a file that was offered was not taken. The known one stays.
#[derive(Debug, thiserror::Error)]
pub enum RenewalError {
    /// It does not hold.
    #[error("the network file that was offered does not hold: {0}")]
    Unusable(#[from] NetworkError),
    /// It holds, and does not continue the known one.
    #[error("the network file that was offered is refused: {0}")]
    Refused(#[from] Refusal),
    /// What stands in its place is no earlier file of this network.
    #[error("{}: stands in the way of a newer network file, and is not of this network; it was left as it is", path.display())]
    Occupied {
        /// The file.
        path: PathBuf,
    },
    /// What stands in its place cannot be read.
    #[error(transparent)]
    File(#[from] NetworkFileError),
    /// The lock was not had.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// It could not be stored.
    #[error(transparent)]
    Write(#[from] SecretFileError),
}

impl NetworkSource {
    /// Reads the configuration's `network`; none if it is neither of the two forms.
    pub(super) fn parse(value: &Value) -> Option<Self> {
        if value.get("network").is_some() {
            return Some(Self::Embedded(value.clone()));
        }
        let url = value.get("url")?.as_str()?.to_owned();
        let sha256 = Digest::from_hex(value.get("sha256")?.as_str()?).ok()?;
        Some(Self::Beside(NetworkReference { url, sha256 }))
    }
}

impl NetworkFile {
    /// Reads the file that a configuration at `config` speaks of, or the newer one beside it.
    pub(super) fn open(config: &Path, source: &NetworkSource) -> Result<Self, NetworkFileError> {
        let path = config.with_file_name(FILE);
        let (provisioned, pinned) = match source {
            NetworkSource::Embedded(value) => (embedded(value)?, None),
            NetworkSource::Beside(reference) => (pinned(config, reference.sha256)?, Some(reference.sha256)),
        };
        let provisioned = Arc::new(provisioned);
        let file = Self { path, pinned, current: RwLock::new(Arc::clone(&provisioned)), provisioned };
        if let Err(error) = file.reread() {
            // The camera has a file that it was given, and can work.
            tracing::warn!(%error, "the network file beside the configuration is not used");
        }
        Ok(file)
    }

    /// The newest that is known.
    pub fn current(&self) -> Arc<Network> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The one that the configuration speaks of.
    pub(super) fn provisioned(&self) -> &Network {
        &self.provisioned
    }

    /// Looks at the file beside the configuration, which another process or a person may have renewed.
    pub fn reread(&self) -> Result<(), RenewalError> {
        match read(&self.path)? {
            Some(bytes) => self.adopt(Network::parse(&bytes)?),
            None => Ok(()),
        }
    }

    /// Takes a file that was offered, if it is newer, and stores it. Blocks.
    pub fn renew(&self, bytes: &[u8]) -> Result<Succession, RenewalError> {
        let candidate = Network::parse(bytes)?;
        let _lock = FileLock::wait(&self.path.with_file_name(LOCK_FILE))?;
        let stored = read(&self.path)?;
        if let Some(stored) = &stored {
            let occupied = || RenewalError::Occupied { path: self.path.clone() };
            let network = Network::parse(stored).map_err(|_| occupied())?;
            // Any other file of this network that is no successor of ours is not used, and replaced.
            if let Err(RenewalError::Refused(Refusal::OtherNetwork)) = self.adopt(network) {
                return Err(occupied());
            }
        }
        if succession(&self.current(), &candidate)? == Succession::Same {
            return Ok(Succession::Same);
        }
        if let Some(stored) = stored.filter(|stored| self.pinned == Some(Digest::of_parts(&[stored]))) {
            secret_file::replace(&self.path.with_file_name(PINNED_FILE), &stored, FileMode::Public)?;
        }
        secret_file::replace(&self.path, bytes, FileMode::Public)?;
        self.adopt(candidate)?;
        Ok(Succession::Newer)
    }

    /// Goes on with a network that is newer than the known one; an older one changes nothing.
    fn adopt(&self, network: Network) -> Result<(), RenewalError> {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        match succession(&current, &network) {
            Ok(Succession::Newer) => *current = Arc::new(network),
            Ok(Succession::Same) => {}
            Err(_) if succession(&network, &current).is_ok() => {}
            Err(refusal) => return Err(refusal.into()),
        }
        Ok(())
    }
}

/// The bytes that have the configuration's hash, wherever they lie.
pub(super) fn pinned_bytes(config: &Path, sha256: Digest) -> Result<(PathBuf, Vec<u8>), NetworkFileError> {
    let path = config.with_file_name(FILE);
    let mut absent = true;
    for path in [path.clone(), config.with_file_name(PINNED_FILE)] {
        match read(&path)? {
            Some(bytes) if Digest::of_parts(&[&bytes]) == sha256 => return Ok((path, bytes)),
            Some(_) => absent = false,
            None => {}
        }
    }
    Err(if absent { NetworkFileError::Absent { path } } else { NetworkFileError::OtherHash { path } })
}

/// Puts the file that a configuration names by its hash beside it.
pub(super) fn store_pinned(config: &Path, bytes: &[u8], network: &Network) -> Result<(), RenewalError> {
    let path = config.with_file_name(FILE);
    let _lock = FileLock::wait(&path.with_file_name(LOCK_FILE))?;
    let there = match read(&path)? {
        Some(stored) => Some(Network::parse(&stored).map_err(|_| RenewalError::Occupied { path: path.clone() })?),
        None => None,
    };
    let name = match there {
        Some(there) if there.network_id() != network.network_id() => return Err(RenewalError::Occupied { path }),
        Some(there) if succession(network, &there).is_ok() => PINNED_FILE,
        None | Some(_) => FILE,
    };
    Ok(secret_file::replace(&path.with_file_name(name), bytes, FileMode::Public)?)
}

fn pinned(config: &Path, sha256: Digest) -> Result<Network, NetworkFileError> {
    let (path, bytes) = pinned_bytes(config, sha256)?;
    Network::parse(&bytes).map_err(|cause| NetworkFileError::Unusable { path, cause })
}

/// The signatures are over the document inside, so that writing the outer object anew changes nothing.
fn embedded(value: &Value) -> Result<Network, NetworkFileError> {
    let bytes = serde_json::to_vec(value).map_err(|error| NetworkFileError::Embedded(NetworkError::Encode(error)))?;
    Network::parse(&bytes).map_err(NetworkFileError::Embedded)
}

/// The file's bytes, or none where there is no file. What is too long is cut off one byte beyond the
/// limit, and refused when it is parsed.
fn read(path: &Path) -> Result<Option<Vec<u8>>, NetworkFileError> {
    let error = |source: io::Error| NetworkFileError::Read { path: path.to_owned(), source };
    match std::fs::metadata(path) {
        // A pipe would block when it is opened.
        Ok(metadata) if !metadata.is_file() => return Err(error(io::Error::other("not a regular file"))),
        Ok(_) => {}
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(error(source)),
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(error)?;
    file.take(MAX_FILE_LEN as u64 + 1).read_to_end(&mut bytes).map_err(error)?;
    Ok(Some(bytes))
}

const FILE: &str = "network.json";
const PINNED_FILE: &str = "network.provisioned.json";
const LOCK_FILE: &str = "network.lock";

#[cfg(test)]
mod tests;
