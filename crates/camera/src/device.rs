//! What makes this camera this camera: its configuration with its secrets, and the tokens it seals.
//!
//! For: reading `device_config.json`, strictly and only if nobody else could have read it; deciding which
//! version of the token it seals ([`Sealer`] then does); the simulated sensor's seed.
//!
//! Not for: obtaining a configuration ([`provision`](crate::device::provision())), or what a token means
//! (`birthmark_core::token`).
//!
//! Format: `docs/PROTOCOL.md` section 4. The first five fields suffice for version 1:
//! ```text
//! {"device_serial", "table_id", "encryption_key": "<base64, 32 bytes>", "aggregator_url",
//!  "manufacturer_cert": {"authority_id", "validation_endpoint"},
//!  "tables": [{"table_id", "encryption_key"}], "device_key": "<base64, 32 bytes>",
//!  "network": {"network", "signatures"} or {"url", "sha256"}, "device_certificate": "<PEM>"}
//! ```
//! A configuration with a `device_key` seals version 2, or nothing: a missing piece is an error that names
//! it, never version 1 in silence. So is a network file that takes version 2 only, where there is no
//! `device_key`. Version 1 is sealed with a `device_key` only if the caller asks for it.

pub mod element;
mod error;
mod fetch;
mod network_file;
mod provision;
mod sealer;
mod succession;
#[cfg(feature = "tpm")]
pub mod tpm;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use birthmark_core::api::provision::{AuthorityReference, DeviceConfig, SecretBase64};
use birthmark_core::base64;
use birthmark_core::ids::{DeviceSerial, TableId};
use birthmark_core::keytable::TableKey;
use birthmark_core::network::MinTokenVersion;
use birthmark_core::token::NucHash;
use birthmark_core::token::v2::DeviceKey;
use birthmark_service::secret_file::{self, SecretFileError};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::counter::TokenNumbers;
use crate::sensor::simulated::DeviceSeed;
use element::Opened;
use network_file::NetworkSource;

pub use element::{ElementChoice, ElementError, ElementKind, Health, SecureElement, Stored, TpmError};
pub use error::{ConfigError, DeviceError, Missing};
pub use fetch::{FetchError, NetworkPlace, fetch_network};
pub use network_file::{NetworkFile, NetworkFileError, RenewalError};
pub use provision::{
    History, IfProvisioned, ProvisionError, keep_config, provision, provision_request, read_handed_out,
    restore_numbers, write_config,
};
pub use sealer::{SealError, Sealed, Sealer};
pub use succession::{Refusal, Succession};

/// What a camera knows about itself and its authority. Shows no secret.
#[derive(Clone)]
pub struct Credentials {
    serial: DeviceSerial,
    tables: Vec<(TableId, TableKey)>,
    authority: AuthorityReference,
    aggregator_url: String,
    nuc_hash: NucHash,
    element: ElementKind,
    sealing: Sealing,
}

/// A version of the camera token. This client asks to be provisioned for the second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenVersion {
    /// The seed's, bound to no photo.
    V1,
    /// Bound to one photo and one device.
    #[default]
    V2,
}

impl TokenVersion {
    /// As it is counted.
    pub const fn number(self) -> u8 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }
}

/// Which tokens are sealed, and what that takes beyond the tables.
#[derive(Clone)]
enum Sealing {
    V1,
    V2(Arc<V2>),
}

/// Shared, so that all that seal by one configuration see a renewed network file and use up one block.
struct V2 {
    device_key: DeviceKey,
    network: NetworkFile,
    numbers: TokenNumbers,
}

impl Credentials {
    /// Reads and checks the configuration. `nuc_hash` is the sensor's: it is in no file.
    pub fn load(path: &Path, nuc_hash: NucHash) -> Result<Self, DeviceError> {
        Self::load_for(path, nuc_hash, None)
    }

    /// As [`Credentials::load`], for one version of the token and no other.
    pub fn load_for(path: &Path, nuc_hash: NucHash, version: Option<TokenVersion>) -> Result<Self, DeviceError> {
        Self::open(path, nuc_hash, version, &ElementChoice::default())
    }

    /// As [`Credentials::load_for`], with the keys in this secure element.
    pub fn open(
        path: &Path,
        nuc_hash: NucHash,
        version: Option<TokenVersion>,
        element: &ElementChoice,
    ) -> Result<Self, DeviceError> {
        let stored = Stored::read(path)?;
        let opened = element.for_stored(&stored)?.open(path, stored)?;
        Self::of_opened(path, opened, nuc_hash, version)
    }

    /// Checks a configuration that belongs to `path`, whether it is written there already or not: its
    /// counter and its network file lie beside it.
    pub fn at(
        path: &Path,
        config: DeviceConfig,
        nuc_hash: NucHash,
        version: Option<TokenVersion>,
    ) -> Result<Self, DeviceError> {
        Self::of_opened(path, Opened::software(path, config), nuc_hash, version)
    }

    fn of_opened(
        path: &Path,
        opened: Opened,
        nuc_hash: NucHash,
        version: Option<TokenVersion>,
    ) -> Result<Self, DeviceError> {
        let Opened { element, config, numbers } = opened;
        let wrong = |cause| DeviceError::Config { path: path.to_owned(), cause };
        let device_key = device_key(&config).map_err(wrong)?;
        let network = config.network.clone();
        let credentials = Self { element, ..Self::version_1(config, nuc_hash).map_err(wrong)? };
        let source = network.as_ref().and_then(NetworkSource::parse);
        let wanted = match (version, &device_key) {
            (Some(TokenVersion::V1), _) => false,
            (Some(TokenVersion::V2), _) | (None, Some(_)) => true,
            (None, None) => source.as_ref().is_some_and(|source| credentials.is_refused_version_1(path, source)),
        };
        if !wanted {
            return Ok(credentials);
        }
        let device_key = device_key.ok_or_else(|| wrong(Missing::DeviceKey.into()))?;
        let source = source
            .ok_or_else(|| wrong(if network.is_some() { ConfigError::NetworkForm } else { Missing::Network.into() }))?;
        let network = NetworkFile::open(path, &source)?;
        // An authority may be between two keys: then photographs wait for the second one. One that never had
        // any was provisioned wrongly.
        let authority = &credentials.authority.authority_id;
        sealer::keys(&network.current(), authority)
            .or_else(|_| sealer::keys(network.provisioned(), authority))
            .map_err(|cause| wrong(cause.into()))?;
        let v2 = V2 { device_key, network, numbers };
        Ok(Self { sealing: Sealing::V2(Arc::new(v2)), ..credentials })
    }

    /// Checks a configuration that is in no file. It seals version 1; one with a `device_key` is refused.
    pub fn new(config: DeviceConfig, nuc_hash: NucHash) -> Result<Self, ConfigError> {
        match device_key(&config)? {
            Some(_) => Err(Missing::Folder.into()),
            None => Self::version_1(config, nuc_hash),
        }
    }

    /// Checks a configuration that has just been handed out, as far as that can be done before it is
    /// written: the network file may still have to be fetched.
    fn check(config: DeviceConfig, nuc_hash: NucHash, asked_for: TokenVersion) -> Result<(), ConfigError> {
        if device_key(&config)?.is_none() && asked_for == TokenVersion::V2 {
            return Err(Missing::DeviceKey.into());
        }
        Self::version_1(config, nuc_hash).map(drop)
    }

    /// As [`Credentials::new`], for callers that ask for version 1 even where there is a `device_key`.
    pub fn version_1(mut config: DeviceConfig, nuc_hash: NucHash) -> Result<Self, ConfigError> {
        // It is for the authority alone, and nothing here speaks to the authority.
        drop(config.device_certificate.take().map(Zeroizing::new));
        let own = (config.table_id, key(config.table_id, &config.encryption_key)?);
        let tables = if config.tables.is_empty() { vec![own] } else { tables(&config, &own)? };
        Ok(Self {
            serial: config.device_serial,
            tables,
            authority: config.manufacturer_cert,
            aggregator_url: config.aggregator_url,
            nuc_hash,
            element: ElementKind::Software,
            sealing: Sealing::V1,
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

    /// Where its keys are kept.
    pub const fn element(&self) -> ElementKind {
        self.element
    }

    /// Where to submit, unless told otherwise.
    pub fn aggregator_url(&self) -> &str {
        &self.aggregator_url
    }

    /// The tables that tokens are sealed under.
    pub fn tables(&self) -> impl Iterator<Item = TableId> {
        self.tables.iter().map(|(id, _)| *id)
    }

    /// The version of the tokens that are sealed.
    pub const fn token_version(&self) -> TokenVersion {
        match self.sealing {
            Sealing::V1 => TokenVersion::V1,
            Sealing::V2(_) => TokenVersion::V2,
        }
    }

    fn v2(&self) -> Option<&V2> {
        match &self.sealing {
            Sealing::V1 => None,
            Sealing::V2(v2) => Some(v2),
        }
    }

    /// Whether a network file that can be read says that version 1 is not taken from this authority. Of
    /// one that cannot be read nothing is known, and version 1 needs none.
    fn is_refused_version_1(&self, path: &Path, source: &NetworkSource) -> bool {
        let Ok(network) = NetworkFile::open(path, source) else { return false };
        let network = network.current();
        let authority = network.authority_by_id(&self.authority.authority_id);
        authority.is_some_and(|authority| authority.rules.min_token_version == MinTokenVersion::V2)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("serial", &self.serial)
            .field("authority", &self.authority)
            .field("token_version", &self.token_version())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for TokenVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number())
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

fn device_key(config: &DeviceConfig) -> Result<Option<DeviceKey>, ConfigError> {
    let Some(text) = &config.device_key else { return Ok(None) };
    let bytes = base64::decode_array(&text.0).map(Zeroizing::new).map_err(ConfigError::DeviceKey)?;
    Ok(Some(DeviceKey::from_bytes(*bytes)))
}

fn key(table: TableId, text: &SecretBase64) -> Result<TableKey, ConfigError> {
    let bytes = base64::decode_array(&text.0).map(Zeroizing::new);
    bytes.map(|bytes| TableKey::from_bytes(*bytes)).map_err(|cause| ConfigError::Key { table, cause })
}

/// The configuration may hold a network file.
const MAX_CONFIG: usize = 2 * birthmark_core::network::MAX_FILE_LEN;
/// Divides 256, so that a byte's remainder is even.
const MAX_TABLES: usize = 64;
const SEED_FILE: &str = "sensor_seed";

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
