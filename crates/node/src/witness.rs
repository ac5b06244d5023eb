//! A witness of other logs (C2SP tlog-witness): signs that a log has only ever grown.
//!
//! For: `POST /add-checkpoint`, for logs that the operator has named. It has a key of its own, a folder of its own
//! and a process of its own: what a validator's keys sign has nothing to do with it.
//!
//! Not for: the rule itself (`birthmark_core::witness`), cosigning this network's log (`cosigner`), or watching what
//! is in a log.
//!
//! ```text
//! DIR/witness.key  witness.name  logs/<SHA-256 of the origin in hex>
//! ```

mod http;
mod log;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use birthmark_core::checkpoint::CheckpointError;
use birthmark_core::note::{KeyError, KeyName, NoteSignature, NoteSigner, SecretKey, VerifierKey};
use birthmark_core::time::Clock;
use birthmark_core::witness::{AddCheckpoint, Refusal};
use birthmark_service::lock::{FolderLock, LockError};
use birthmark_service::secret_file::{self, SecretFileError};
use parking_lot::Mutex;
use tracing::error;

use self::log::WitnessedLog;

/// Why a witness is not made, or does not start or sign.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// A file.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// The folder is in use.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// `witness.key` has not 32 bytes.
    #[error("witness.key does not hold a key of 32 bytes")]
    KeyLength,
    /// The name cannot be a key's.
    #[error("the witness's name: {0}")]
    Name(#[from] KeyError),
    /// What is known of a log does not decode.
    #[error("{0} is damaged; without it this witness must not sign for that log again")]
    Damaged(PathBuf),
    /// A log's keys are not one log's.
    #[error("the keys must be those of one log: of type 1, with its origin as their name")]
    Keys,
    /// The log is known already.
    #[error("this witness knows the log {0} already")]
    Known(KeyName),
    /// A signature could not be made.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// Why a checkpoint is not signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsigned {
    /// Nobody has told this witness of the log.
    #[error("this witness does not know the log")]
    UnknownLog,
    /// None of the log's keys has signed.
    #[error("the log has not signed the checkpoint")]
    NotTheLogs,
    /// The rule.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The state could not be kept, so nothing is signed.
    #[error(transparent)]
    Failed(#[from] WitnessError),
}

/// A witness that runs.
#[derive(Debug)]
pub struct Witness {
    signer: NoteSigner,
    logs: HashMap<KeyName, Mutex<WitnessedLog>>,
    clock: Arc<dyn Clock>,
    _lock: FolderLock,
}

/// Makes a witness's folder: its key and its name, under which it signs. Gives its verifier key.
pub fn init(data_dir: &Path, name: &str, seed: &[u8; 32]) -> Result<VerifierKey, WitnessError> {
    let name = KeyName::new(name)?;
    let logs = data_dir.join(LOGS);
    std::fs::create_dir_all(&logs).map_err(|source| SecretFileError::Io { path: logs, source })?;
    let _lock = FolderLock::acquire(data_dir)?;
    // The key comes last: where it is, all else is complete.
    let key = secret_file::reserve(&data_dir.join(KEY))?;
    secret_file::replace(&data_dir.join(NAME), format!("{name}\n").as_bytes(), secret_file::FileMode::Public)?;
    key.fill(seed)?;
    Ok(NoteSigner::cosigner(name, SecretKey::from_seed(seed)).verifier().clone())
}

/// Makes a log known to the stopped witness in `data_dir`, by all its keys. Its origin is their name.
pub fn add_log(data_dir: &Path, keys: Vec<VerifierKey>) -> Result<KeyName, WitnessError> {
    let _lock = FolderLock::acquire(data_dir)?;
    signer(data_dir)?;
    let log = WitnessedLog::new(data_dir, keys)?;
    match log.create() {
        Err(WitnessError::File(SecretFileError::Exists { .. })) => Err(WitnessError::Known(log.origin().clone())),
        created => created.map(|()| log.origin().clone()),
    }
}

impl Witness {
    /// Opens the folder and reads what was signed last of each log.
    pub fn open(data_dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, WitnessError> {
        let lock = FolderLock::acquire(data_dir)?;
        let signer = signer(data_dir)?;
        let folder = data_dir.join(LOGS);
        let io = |source| SecretFileError::Io { path: folder.clone(), source };
        let mut logs = HashMap::new();
        for entry in std::fs::read_dir(&folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            // What a crash left of a file that was being replaced.
            if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
                continue;
            }
            let log = WitnessedLog::read(&path)?;
            logs.insert(log.origin().clone(), Mutex::new(log));
        }
        Ok(Self { signer, logs, clock, _lock: lock })
    }

    /// The key by which others know this witness.
    pub fn verifier(&self) -> &VerifierKey {
        self.signer.verifier()
    }

    /// How many logs it signs for.
    pub fn log_count(&self) -> usize {
        self.logs.len()
    }

    /// The witness's HTTP interface.
    pub fn router(self: Arc<Self>) -> Router {
        http::router(self)
    }

    /// Signs the checkpoint if it extends what was signed last. That is durable before the signature leaves.
    pub(crate) fn add(&self, request: &AddCheckpoint) -> Result<NoteSignature, Unsigned> {
        let new = &request.checkpoint;
        let log = self.logs.get(&new.origin).ok_or(Unsigned::UnknownLog)?;
        // Held across the fsync on purpose: two requests must not both follow the same tree.
        let mut log = log.lock();
        if !request.is_signed_by(log.keys()) {
            return Err(Unsigned::NotTheLogs);
        }
        request.follows(log.last()).inspect_err(|refusal| {
            if matches!(refusal, Refusal::OtherRoot(_) | Refusal::BadProof) {
                let (size, root) = log.last();
                error!(
                    origin = %new.origin, %refusal, size, %root, new_size = new.size, new_root = %new.root,
                    "a log has signed a checkpoint that is not shown to extend the one signed last"
                );
            }
        })?;
        log.advance((new.size, new.root))?;
        Ok(new.cosign(&self.signer, self.clock.now()).map_err(WitnessError::from)?)
    }
}

fn signer(data_dir: &Path) -> Result<NoteSigner, WitnessError> {
    let seed = secret_file::read(&data_dir.join(KEY), 32)?;
    let seed = seed.as_slice().try_into().map_err(|_| WitnessError::KeyLength)?;
    let path = data_dir.join(NAME);
    let name = std::fs::read_to_string(&path).map_err(|source| SecretFileError::Io { path, source })?;
    Ok(NoteSigner::cosigner(KeyName::new(name.trim_end())?, SecretKey::from_seed(seed)))
}

const KEY: &str = "witness.key";
const NAME: &str = "witness.name";
const LOGS: &str = "logs";

#[cfg(test)]
mod tests;
