//! What can be wrong with a configuration, and who is to mend it.

use std::path::PathBuf;

use birthmark_core::base64::Base64Error;
use birthmark_core::ids::TableId;
use birthmark_core::json::JsonError;
use birthmark_service::secret_file::SecretFileError;

use super::MAX_TABLES;
use super::element::ElementError;
use super::network_file::NetworkFileError;

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
    /// Its keys cannot be had.
    #[error(transparent)]
    Element(#[from] ElementError),
    /// It has no usable network file.
    #[error(transparent)]
    Network(#[from] NetworkFileError),
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
    /// The device's own key is not base64 of 32 bytes.
    #[error("device_key: {0}")]
    DeviceKey(Base64Error),
    /// `network` is neither a file nor where to find one.
    #[error("network is neither a network file nor its url and sha256")]
    NetworkForm,
    /// Version 2 is to be sealed, and something for it is missing.
    #[error("{0}")]
    Missing(#[from] Missing),
}

/// What is missing for sealing version 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// The device's own key.
    #[error("version 2 tokens are demanded and device_key is missing; provision this camera for version 2")]
    DeviceKey,
    /// The network file.
    #[error(
        "version 2 tokens need the network file, and network is missing; the authority hands it out if it is given one"
    )]
    Network,
    /// The authority's entry in it.
    #[error("version 2 tokens need the authority's keys, and the network file does not list this camera's authority")]
    Authority,
    /// The key that tokens are sealed to.
    #[error("version 2 tokens need the authority's token_key, and the network file gives none")]
    TokenKey,
    /// The key that endorses.
    #[error("version 2 tokens need the authority's current endorsement key, and the network file gives none")]
    EndorsementKey,
    /// A folder to count in.
    #[error("version 2 tokens are counted beside the configuration's file, and this configuration is in none")]
    Folder,
}
