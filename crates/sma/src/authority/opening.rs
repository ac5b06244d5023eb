//! Opening an installation: its master key and its database, which must belong together.

use std::io;
use std::path::Path;
use std::sync::Arc;

use birthmark_service::secret_file::{self, SecretFileError};

use super::SmaError;
use crate::config::SmaConfig;
use crate::keys::MasterKey;
use crate::rules::Rules;
use crate::sealed::{self, MasterFileError, MasterForm};
use crate::store::{self, Installation, Location, Store};

pub(super) fn read_master_key(data_dir: &Path, config: &SmaConfig) -> Result<MasterKey, SmaError> {
    let path = store::master_key_path(data_dir);
    // One byte more than it has, so that a longer file is told from a right one.
    let file = match secret_file::read(&path, sealed::MAX_MASTER_FILE + 1) {
        Ok(file) => file,
        Err(SecretFileError::TooLong { .. }) => {
            return Err(SmaError::MasterFile { path, cause: MasterFileError::Damaged });
        }
        Err(SecretFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Err(SmaError::NotInstalled { path: data_dir.to_owned() });
        }
        Err(error) => return Err(SmaError::MasterKey(error)),
    };
    let wrapping = config.wrapping.read()?;
    match sealed::open_master(&file, wrapping.as_ref()) {
        Ok((master, form)) => {
            if form == MasterForm::Raw && wrapping.is_some() {
                tracing::warn!(file = %path.display(), "a wrapping key is given, but the master key lies there unsealed");
            }
            Ok(master)
        }
        Err(cause) => Err(SmaError::MasterFile { path, cause }),
    }
}

/// The database, which must exist (an empty one in its place would let used tokens pass again) and
/// belong to the key.
pub(super) fn open_store(
    data_dir: &Path,
    location: &Location,
    rules: Arc<Rules>,
    master: &MasterKey,
) -> Result<(Arc<dyn Store>, Installation), SmaError> {
    let missing = || SmaError::NoDatabase { path: data_dir.to_owned() };
    if location.is_missing() {
        return Err(missing());
    }
    let store = location.open(rules)?;
    let installation = store::block_on(store.installation())?.ok_or_else(missing)?;
    if !installation.belongs_to(master) {
        return Err(SmaError::ForeignMasterKey { path: data_dir.to_owned() });
    }
    Ok((store, installation))
}
