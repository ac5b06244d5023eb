//! What makes this camera this camera: its configuration with its secrets, and the tokens it seals.
//!
//! For: reading `device_config.json`, strictly and only if nobody else could have read it; sealing
//! version 1 tokens; the simulated sensor's seed.
//!
//! Not for: obtaining a configuration ([`provision`](crate::device::provision())), or what a token means
//! (`birthmark_core::token`).
//!
//! Format: `docs/PROTOCOL.md` section 4. The first five fields suffice:
//! ```text
//! {"device_serial", "table_id", "encryption_key": "<base64, 32 bytes>", "aggregator_url",
//!  "manufacturer_cert": {"authority_id", "validation_endpoint"},
//!  "tables": [{"table_id", "encryption_key"}], "network": …}
//! ```

mod provision;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use birthmark_core::api::provision::{AuthorityReference, DeviceConfig, SecretBase64};
use birthmark_core::base64::{self, Base64Error};
use birthmark_core::ids::{DeviceSerial, KeyIndex, TableId};
use birthmark_core::json::{self, JsonError};
use birthmark_core::keytable::TableKey;
use birthmark_core::token::{self, NucHash, SealedToken};
use birthmark_service::random::OsRng;
use birthmark_service::secret_file::{self, SecretFileError};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::sensor::simulated::DeviceSeed;

pub use provision::{IfProvisioned, ProvisionError, provision, write_config};

/// What a camera knows about itself and its authority. Shows no secret.
#[derive(Clone)]
pub struct Credentials {
    serial: DeviceSerial,
    tables: Vec<(TableId, TableKey)>,
    authority: AuthorityReference,
    aggregator_url: String,
    nuc_hash: NucHash,
}

/// Why a configuration cannot be used. The file is named, its content is not shown.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// No such file.
    #[error("{}: no such file; provision this camera first", path.display())]
    NotProvisioned {
        /// The file.
        path: PathBuf,
    },
    /// Not there, not private (the remedy is `chmod 600`), not a file, too long, or not writable.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// Not JSON of the form above.
    #[error("{}: {cause}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        cause: JsonError,
    },
    /// A value in it is wrong.
    #[error("{}: {cause}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: ConfigError,
    },
    /// The file of the simulated sensor's seed is damaged.
    #[error("{}: not the 32 bytes of a sensor seed; the camera that it belonged to must be provisioned anew", path.display())]
    Seed {
        /// The file.
        path: PathBuf,
    },
    /// The configuration cannot be written as JSON.
    #[error("the configuration cannot be written: {0}")]
    Encode(#[source] serde_json::Error),
    /// Another camera's configuration stands where this one should go.
    #[error("{}: holds the configuration of another camera; it was left as it is", path.display())]
    OtherSerial {
        /// The file.
        path: PathBuf,
    },
}

/// What is wrong with a well-formed configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A key is not base64 of 32 bytes.
    #[error("encryption_key of table {table}: {cause}")]
    Key {
        /// Whose.
        table: TableId,
        /// What is wrong with it.
        cause: Base64Error,
    },
    /// A table stands in `tables` twice.
    #[error("table {0} is listed twice in tables")]
    TableTwice(TableId),
    /// `tables` is given and `table_id` is not in it, or with another key.
    #[error("tables does not list table {0}, which table_id names, with the same key")]
    TableMissing(TableId),
    /// More tables than a device is ever given.
    #[error("{0} tables are more than the {MAX_TABLES} that a camera may have")]
    TooManyTables(usize),
}

impl Credentials {
    /// Reads and checks the configuration. `nuc_hash` is the sensor's: it is in no file.
    pub fn load(path: &Path, nuc_hash: NucHash) -> Result<Self, DeviceError> {
        let config = read_config(path)?;
        Self::new(config, nuc_hash).map_err(|cause| DeviceError::Config { path: path.to_owned(), cause })
    }

    /// Checks a configuration that has been read or has just been handed out.
    pub fn new(config: DeviceConfig, nuc_hash: NucHash) -> Result<Self, ConfigError> {
        let own = (config.table_id, key(config.table_id, &config.encryption_key)?);
        let tables = if config.tables.is_empty() { vec![own] } else { tables(&config, &own)? };
        Ok(Self {
            serial: config.device_serial,
            tables,
            authority: config.manufacturer_cert,
            aggregator_url: config.aggregator_url,
            nuc_hash,
        })
    }

    /// The camera's name with its authority.
    pub const fn serial(&self) -> &DeviceSerial {
        &self.serial
    }

    /// Who vouches for it.
    pub const fn authority(&self) -> &AuthorityReference {
        &self.authority
    }

    /// Where to submit, unless told otherwise.
    pub fn aggregator_url(&self) -> &str {
        &self.aggregator_url
    }

    /// The tables that tokens are sealed under.
    pub fn tables(&self) -> impl Iterator<Item = TableId> {
        self.tables.iter().map(|(id, _)| *id)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("serial", &self.serial)
            .field("authority", &self.authority)
            .finish_non_exhaustive()
    }
}

/// Seals tokens for one camera.
pub struct Sealer<R = OsRng> {
    credentials: Arc<Credentials>,
    rng: Mutex<R>,
}

impl<R: CryptoRng> Sealer<R> {
    /// `rng` gives nonces and draws: it must be the system's outside tests.
    pub const fn new(credentials: Arc<Credentials>, rng: R) -> Self {
        Self { credentials, rng: Mutex::new(rng) }
    }

    /// A new token under a table and a key drawn evenly from those that the camera has.
    pub fn seal(&self) -> SealedToken {
        self.with_rng(|rng| {
            let Credentials { tables, nuc_hash, .. } = &*self.credentials;
            let (id, key) = draw_table(tables, rng);
            token::v1::seal((*id, key), draw_index(rng), nuc_hash, rng)
        })
    }

    /// Whose tokens they are.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    pub(crate) fn with_rng<T>(&self, work: impl FnOnce(&mut R) -> T) -> T {
        // A generator has no state that a panic could leave half changed and dangerous.
        work(&mut self.rng.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<R> fmt::Debug for Sealer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("credentials", &self.credentials).finish_non_exhaustive()
    }
}

/// Where the simulated sensor's seed lies that belongs to a configuration.
pub fn seed_path(config: &Path) -> PathBuf {
    config.with_file_name(SEED_FILE)
}

/// The simulated sensor's seed in `sensor_seed` beside the configuration: drawn once, the same ever
/// after, so that the same configuration always means the same sensor.
pub fn simulated_seed(config: &Path, rng: &mut impl CryptoRng) -> Result<DeviceSeed, DeviceError> {
    let path = seed_path(config);
    let mut seed = Zeroizing::new([0; 32]);
    rng.fill_bytes(&mut *seed);
    match secret_file::create(&path, &*seed) {
        Ok(()) => return Ok(DeviceSeed::from_bytes(*seed)),
        Err(SecretFileError::Exists { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let kept = secret_file::read(&path, 32)?;
    <[u8; 32]>::try_from(kept.as_slice()).map(DeviceSeed::from_bytes).map_err(|_| DeviceError::Seed { path })
}

/// Reads the file as far as JSON goes.
fn read_config(path: &Path) -> Result<DeviceConfig, DeviceError> {
    let bytes = secret_file::read(path, MAX_CONFIG).map_err(|error| match error {
        SecretFileError::Io { path, source } if source.kind() == io::ErrorKind::NotFound => {
            DeviceError::NotProvisioned { path }
        }
        other => other.into(),
    })?;
    json::from_slice(&bytes).map_err(|cause| DeviceError::Json { path: path.to_owned(), cause })
}

fn tables(config: &DeviceConfig, own: &(TableId, TableKey)) -> Result<Vec<(TableId, TableKey)>, ConfigError> {
    if config.tables.len() > MAX_TABLES {
        return Err(ConfigError::TooManyTables(config.tables.len()));
    }
    let mut seen = BTreeSet::new();
    let mut tables = Vec::with_capacity(config.tables.len());
    for grant in &config.tables {
        if !seen.insert(grant.table_id) {
            return Err(ConfigError::TableTwice(grant.table_id));
        }
        tables.push((grant.table_id, key(grant.table_id, &grant.encryption_key)?));
    }
    if tables.contains(own) { Ok(tables) } else { Err(ConfigError::TableMissing(own.0)) }
}

fn key(table: TableId, text: &SecretBase64) -> Result<TableKey, ConfigError> {
    let bytes = base64::decode_array(&text.0).map(Zeroizing::new);
    bytes.map(|bytes| TableKey::from_bytes(*bytes)).map_err(|cause| ConfigError::Key { table, cause })
}

/// Evenly: draws beyond the last table are drawn again. There is at least one table.
fn draw_table<'a>(tables: &'a [(TableId, TableKey)], rng: &mut impl CryptoRng) -> &'a (TableId, TableKey) {
    loop {
        let [byte, ..] = rng.next_u32().to_le_bytes();
        if let Some(table) = tables.get(usize::from(byte) % MAX_TABLES) {
            return table;
        }
    }
}

/// Evenly from 0 to 999: the ten bits that go beyond are drawn again.
fn draw_index(rng: &mut impl CryptoRng) -> KeyIndex {
    loop {
        let [low, high, ..] = rng.next_u32().to_le_bytes();
        if let Ok(index) = KeyIndex::new(u16::from_le_bytes([low, high]) % 1024) {
            return index;
        }
    }
}

/// The configuration may hold a network file.
const MAX_CONFIG: usize = 2 * birthmark_core::network::MAX_FILE_LEN;
/// Divides 256, so that a byte's remainder is even.
const MAX_TABLES: usize = 64;
const SEED_FILE: &str = "sensor_seed";

#[cfg(test)]
mod tests;
