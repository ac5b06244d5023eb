//! `authority.json` in the data folder: what the authority tells those who write the network file; and
//! `ca.pem`, against which its list of revocations is checked.
//!
//! For: writing them whenever they are not as they should be. Not for: its content
//! (`endorsement_keys::document`).

use std::io;
use std::path::Path;

use birthmark_core::ids::AuthorityId;
use birthmark_core::network::{AuthorityStatement, MinTokenVersion, Rules};
use birthmark_core::time::Minute;
use birthmark_service::secret_file::{self, FileMode};

use crate::authority::SmaError;
use crate::endorsement_keys::document;
use crate::endorsement_keys::life::KeyList;
use crate::keys::Keys;

/// What is true at this time.
pub(crate) fn of(
    id: &AuthorityId,
    keys: &Keys,
    list: &KeyList,
    accept_version_1: bool,
    now: Minute,
) -> AuthorityStatement {
    let min_token_version = if accept_version_1 { MinTokenVersion::V1 } else { MinTokenVersion::V2 };
    document::statement(id.clone(), keys.token_secret().public(), Rules { min_token_version }, list, now)
}

/// Brings the file up to date and gives its content.
pub(crate) fn write(
    data_dir: &Path,
    id: &AuthorityId,
    keys: &Keys,
    list: &KeyList,
    accept_version_1: bool,
    now: Minute,
) -> Result<AuthorityStatement, SmaError> {
    let path = data_dir.join(FILE);
    let statement = of(id, keys, list, accept_version_1, now);
    let failed = |source| SmaError::Folder { path: path.clone(), source };
    let text = document::to_json(&statement).map_err(|error| failed(io::Error::other(error)))?;
    bring_up_to_date(&path, &text)?;
    Ok(statement)
}

/// Brings the CA's certificate up to date.
pub(crate) fn write_ca(data_dir: &Path, pem: &str) -> Result<(), SmaError> {
    bring_up_to_date(&data_dir.join(CA_FILE), pem.as_bytes())
}

fn bring_up_to_date(path: &Path, text: &[u8]) -> Result<(), SmaError> {
    if std::fs::read(path).ok().as_deref() != Some(text) {
        secret_file::replace(path, text, FileMode::Public).map_err(SmaError::Statement)?;
    }
    Ok(())
}

const FILE: &str = "authority.json";
const CA_FILE: &str = "ca.pem";
