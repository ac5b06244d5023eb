//! A ledger that is made beside the one in use, and takes its place only when it is whole.
//!
//! For: import and repair. Not for: what goes into it, or whether that may be believed (`snapshot`, `repair`).
//!
//! It grows in `ledger.new`, which no program takes for a ledger and the next attempt deletes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use birthmark_core::network::Network;
use birthmark_ledger::Ledger;
use birthmark_service::secret_file::{self, SecretFileError};

use crate::config::NodeError;

/// A node's folder while its ledger is being made; the caller holds the folder's lock.
#[derive(Debug)]
pub(crate) struct Staging {
    data_dir: PathBuf,
}

impl Staging {
    /// An empty place beside the ledger.
    pub(crate) fn begin(data_dir: &Path) -> Result<Self, NodeError> {
        let staging = Self { data_dir: data_dir.to_owned() };
        let folder = staging.folder();
        match std::fs::remove_dir_all(&folder) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => return Err(io(&folder, cause)),
            Ok(()) | Err(_) => {}
        }
        std::fs::create_dir_all(&folder).map_err(|cause| io(&folder, cause))?;
        Ok(staging)
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.data_dir.join("ledger.new")
    }

    pub(crate) fn open(&self, network: &Arc<Network>) -> Result<Ledger, NodeError> {
        Ok(Ledger::open(&self.folder(), Arc::clone(network))?)
    }

    /// Puts the ledger, which must be closed, in place. One that was there is kept under another name, which is
    /// given.
    pub(crate) fn put(self) -> Result<Option<PathBuf>, NodeError> {
        let ledger = self.data_dir.join("ledger");
        let mut kept = None;
        if ledger.exists() {
            let names = (1..).map(|number: u32| self.data_dir.join(format!("ledger.damaged-{number}")));
            let Some(aside) = names.into_iter().find(|name| !name.exists()) else { return Ok(None) };
            std::fs::rename(&ledger, &aside).map_err(|cause| io(&ledger, cause))?;
            kept = Some(aside);
        }
        let folder = self.folder();
        std::fs::rename(&folder, &ledger).map_err(|cause| io(&folder, cause))?;
        secret_file::sync_folder(&self.data_dir)?;
        Ok(kept)
    }
}

pub(crate) fn io(path: &Path, source: std::io::Error) -> NodeError {
    SecretFileError::Io { path: path.to_owned(), source }.into()
}
