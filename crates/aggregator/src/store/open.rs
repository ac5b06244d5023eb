//! Which database an aggregator has, and opening it.

use std::sync::Arc;

use super::postgres::{Member, PostgresStore, Scope};
use super::sqlite::{DATABASE_FILE, SqliteStore};
use super::{Store, StoreOpenError};
use crate::config::AggregatorConfig;

/// Opens it and brings its schema up to date. Blocks.
pub(crate) fn open(config: &AggregatorConfig) -> Result<Arc<dyn Store>, StoreOpenError> {
    let Some(url) = &config.database_url else {
        return Ok(Arc::new(SqliteStore::open(&config.data_dir.join(DATABASE_FILE))?));
    };
    let authorities = config.sma.iter().map(|sma| sma.authority.as_str().to_owned()).collect();
    let scope = Scope { network: config.network.network_id(), authorities, lease: config.lease };
    Ok(Arc::new(PostgresStore::open(url, Member::of_folder(&config.data_dir, scope)?)?))
}
