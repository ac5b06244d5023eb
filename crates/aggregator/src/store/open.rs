//! Which database an aggregator has, and opening it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::sqlite::{DATABASE_FILE, SqliteStore};
use super::{Store, StoreOpenError};

/// Where a database is.
#[derive(Clone)]
pub(crate) enum Location {
    /// A file in the aggregator's folder.
    Sqlite(PathBuf),
}

impl Location {
    pub(crate) fn of(data_dir: &Path) -> Self {
        Self::Sqlite(data_dir.join(DATABASE_FILE))
    }

    /// Opens it and brings its schema up to date. Blocks.
    pub(crate) fn open(&self) -> Result<Arc<dyn Store>, StoreOpenError> {
        Ok(match self {
            Self::Sqlite(path) => Arc::new(SqliteStore::open(path)?),
        })
    }
}
