//! Which database an authority has, and opening it.
//!
//! For: `init` and `Sma::open`. Not for: whether it is the right one (`authority` compares its
//! installation with the master key).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::postgres::PostgresStore;
use super::sqlite::SqliteStore;
use super::{Store, StoreOpenError};
use crate::rules::Rules;

/// Where a database is.
#[derive(Clone)]
pub(crate) enum Location {
    /// A file in the authority's folder.
    Sqlite(PathBuf),
    /// A URL, which may hold a password.
    Postgres(String),
}

impl Location {
    pub(crate) fn of(data_dir: &Path, database_url: Option<&str>) -> Self {
        match database_url {
            None => Self::Sqlite(database_path(data_dir)),
            Some(url) => Self::Postgres(url.to_owned()),
        }
    }

    /// True if it is known without looking further that there is no database.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Sqlite(path) if !path.exists())
    }

    /// Whether other machines may use it too.
    pub(crate) const fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Opens it and brings its schema up to date. Blocks.
    pub(crate) fn open(&self, rules: Arc<Rules>) -> Result<Arc<dyn Store>, StoreOpenError> {
        Ok(match self {
            Self::Sqlite(path) => Arc::new(SqliteStore::open(path, rules)?),
            Self::Postgres(url) => Arc::new(PostgresStore::open(url, rules)?),
        })
    }
}

pub(crate) fn database_path(data_dir: &Path) -> PathBuf {
    data_dir.join("sma.db")
}

pub(crate) fn master_key_path(data_dir: &Path) -> PathBuf {
    data_dir.join("master.key")
}
