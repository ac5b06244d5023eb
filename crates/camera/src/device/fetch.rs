//! Fetching the network file that a configuration names, once, at provisioning.
//!
//! For: `camera provision` and whoever else provisions cameras.
//!
//! Not for: newer network files (`upload` fetches those, when the authority's key has changed). Here the
//! SHA-256 in the configuration decides, and whoever answers is not trusted.

use std::path::Path;

use birthmark_core::hash::Digest;
use birthmark_core::network::{MAX_FILE_LEN, Network, NetworkError};
use birthmark_service::client::{ClientError, ClientOptions, ClientSetupError, HttpClient};
use reqwest::Url;

use super::network_file::{NetworkSource, pinned_bytes, store_pinned};
use super::{ConfigError, DeviceError, NetworkFileError, RenewalError, Stored};

/// Where a configuration's network file is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkPlace {
    /// Nowhere: the configuration speaks of none.
    Nowhere,
    /// In the configuration.
    Embedded,
    /// Beside the configuration, where it was before.
    Beside,
    /// Beside the configuration, fetched just now.
    Fetched,
}

/// Why a network file was not fetched. Trying again does no harm.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The configuration cannot be read.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// What lies beside the configuration cannot be read.
    #[error(transparent)]
    File(NetworkFileError),
    /// The address in the configuration is none.
    #[error("the url of the network file is no http or https address")]
    Address,
    /// The client could not be made.
    #[error(transparent)]
    Setup(#[from] ClientSetupError),
    /// Nothing came.
    #[error("the network file was not fetched: {0}")]
    Call(#[from] ClientError),
    /// Something else came.
    #[error("{origin} gave another file than the one whose SHA-256 the configuration gives")]
    OtherHash {
        /// Scheme, host and port.
        origin: String,
    },
    /// The right file came, and does not hold.
    #[error("the network file that the configuration names does not hold: {0}")]
    Unusable(#[from] NetworkError),
    /// It was not stored.
    #[error(transparent)]
    Store(#[from] RenewalError),
}

/// Puts the network file that the configuration at `config` names by `url` and `sha256` beside it, unless
/// it is there already.
pub async fn fetch_network(config: &Path) -> Result<NetworkPlace, FetchError> {
    let stored = Stored::read(config)?;
    let Some(network) = stored.network() else { return Ok(NetworkPlace::Nowhere) };
    let source = NetworkSource::parse(network);
    let source =
        source.ok_or_else(|| DeviceError::Config { path: config.to_owned(), cause: ConfigError::NetworkForm })?;
    let NetworkSource::Beside(reference) = source else { return Ok(NetworkPlace::Embedded) };
    match pinned_bytes(config, reference.sha256) {
        Ok(_) => return Ok(NetworkPlace::Beside),
        Err(NetworkFileError::Absent { .. } | NetworkFileError::OtherHash { .. }) => {}
        Err(error) => return Err(FetchError::File(error)),
    }
    let url = Url::parse(&reference.url).map_err(|_| FetchError::Address)?;
    let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let options = ClientOptions { max_response: MAX_FILE_LEN, ..ClientOptions::default() };
    let client = HttpClient::new(&url.origin().ascii_serialization(), &options)?;
    let bytes = client.get_bytes(&path).await?.body;
    if Digest::of_parts(&[&bytes]) != reference.sha256 {
        return Err(FetchError::OtherHash { origin: client.origin().to_owned() });
    }
    let network = Network::parse(&bytes)?;
    store_pinned(config, &bytes, &network)?;
    Ok(NetworkPlace::Fetched)
}
