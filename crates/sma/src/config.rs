//! What an authority is told at its start.
//!
//! For: the options of `sma init` and `sma serve`, and the addresses that go into a camera's
//! configuration. Not for: reading flags, environment or files (the binary), or secrets (`keys`).

use std::path::PathBuf;
use std::sync::Arc;

use axum::http::Uri;
use birthmark_core::ids::{AuthorityId, NetworkId};

use crate::endorsement_keys::KeySize;
use crate::quota::Quota;
use crate::sealed::{WrappingKey, wrapping_key::WrappingKeyError};
use crate::signer::Signer;

/// What `init` needs to know.
#[derive(Clone)]
pub struct InitOptions {
    /// The authority's name in the network file. It stays with the installation.
    pub authority_id: AuthorityId,
    /// PostgreSQL's URL (`postgresql://user@host/database`); SQLite in the folder if there is none.
    pub database_url: Option<String>,
    /// What the master key is sealed under; without it, only the file's mode protects the key.
    pub wrapping: WrappingKeySource,
    /// Bits of the first endorsement key.
    pub endorsement_key: KeySize,
    /// False is stated to the network, so that nobody takes version 1 tokens of this authority's cameras.
    pub accept_version_1: bool,
}

/// Where the key comes from under which `master.key` is sealed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WrappingKeySource {
    /// A file of 32 bytes or 64 hex digits, private to this user.
    pub file: Option<PathBuf>,
    /// systemd's `$CREDENTIALS_DIRECTORY`, which may hold the credential `sma-key`.
    pub credentials: Option<PathBuf>,
}

impl InitOptions {
    /// With SQLite, a key file that only its mode protects, and an endorsement key of 2048 bits.
    pub fn new(authority_id: AuthorityId) -> Self {
        Self {
            authority_id,
            database_url: None,
            wrapping: WrappingKeySource::default(),
            endorsement_key: KeySize::default(),
            accept_version_1: true,
        }
    }
}

/// How an authority is run.
#[derive(Clone)]
pub struct SmaConfig {
    /// As given to `init`.
    pub database_url: Option<String>,
    /// If given, it must be the installation's own.
    pub authority_id: Option<AuthorityId>,
    /// Where provisioned cameras submit: `https://aggregator.example`.
    pub aggregator_url: String,
    /// Where this authority is reached: `https://sma.example`. Cameras are told this plus `/validate`.
    pub public_url: String,
    /// Handed to each camera as `network`: the network file, or its URL and SHA-256.
    pub network: Option<serde_json::Value>,
    /// The network whose version 2 tokens are opened; without it none of them passes.
    pub network_id: Option<NetworkId>,
    /// False refuses every version 1 token.
    pub accept_version_1: bool,
    /// As at `init`.
    pub wrapping: WrappingKeySource,
    /// Signers of endorsement keys that are not in the database: a hardware module's.
    pub signers: Vec<Arc<dyn Signer>>,
    /// Passes of one device and day, where the device has no limits of its own.
    pub quota: Quota,
}

/// Why an address of the configuration was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Cameras would not know what to do with it.
    #[error("{0} must be an http or https URL without query")]
    NotHttp(&'static str),
    /// A camera reads it into a bounded buffer.
    #[error("{0} must have at most {MAX_URL} characters")]
    TooLong(&'static str),
}

/// The addresses that a camera is told.
#[derive(Clone, Debug)]
pub(crate) struct Endpoints {
    pub(crate) aggregator: String,
    pub(crate) validation: String,
}

impl SmaConfig {
    /// With SQLite, without a network, and both versions of tokens.
    pub fn new(aggregator_url: String, public_url: String) -> Self {
        Self {
            database_url: None,
            authority_id: None,
            aggregator_url,
            public_url,
            network: None,
            network_id: None,
            accept_version_1: true,
            quota: Quota::default(),
            wrapping: WrappingKeySource::default(),
            signers: Vec::new(),
        }
    }
}

impl WrappingKeySource {
    /// The file if it is named, else the credential if there is one.
    pub(crate) fn read(&self) -> Result<Option<WrappingKey>, WrappingKeyError> {
        match (&self.file, &self.credentials) {
            (Some(file), _) => WrappingKey::read(file).map(Some),
            (None, Some(folder)) => WrappingKey::read_credential(folder),
            (None, None) => Ok(None),
        }
    }
}

impl Endpoints {
    pub(crate) fn parse(config: &SmaConfig) -> Result<Self, UrlError> {
        let public = http_url("public_url", &config.public_url)?;
        Ok(Self {
            aggregator: http_url("aggregator_url", &config.aggregator_url)?.to_owned(),
            validation: format!("{public}/validate"),
        })
    }
}

// A database's URL may hold a password.

impl std::fmt::Debug for InitOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InitOptions").field("authority_id", &self.authority_id).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for SmaConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SmaConfig")
            .field("authority_id", &self.authority_id)
            .field("aggregator_url", &self.aggregator_url)
            .field("public_url", &self.public_url)
            .field("network_id", &self.network_id)
            .field("accept_version_1", &self.accept_version_1)
            .field("quota", &self.quota)
            .finish_non_exhaustive()
    }
}

/// The URL without trailing slashes.
fn http_url<'a>(what: &'static str, text: &'a str) -> Result<&'a str, UrlError> {
    if text.len() > MAX_URL {
        return Err(UrlError::TooLong(what));
    }
    let uri: Uri = text.parse().map_err(|_| UrlError::NotHttp(what))?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    // A fragment is not part of `Uri`; it would swallow the path appended to it.
    if !is_http || uri.host().is_none_or(str::is_empty) || uri.query().is_some() || text.contains('#') {
        return Err(UrlError::NotHttp(what));
    }
    Ok(text.trim_end_matches('/'))
}

const MAX_URL: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_urls_that_a_path_can_be_appended_to_are_taken() {
        assert_eq!(http_url("x", "http://127.0.0.1:8545"), Ok("http://127.0.0.1:8545"));
        assert_eq!(http_url("x", "https://sma.example/a/"), Ok("https://sma.example/a"));
        for bad in
            ["", "sma.example", "/validate", "ftp://sma.example", "http://", "http://a?b=c", "http://a#b", "http://a b"]
        {
            assert_eq!(http_url("x", bad), Err(UrlError::NotHttp("x")), "{bad}");
        }
        assert_eq!(http_url("x", &format!("http://{}", "a".repeat(MAX_URL))), Err(UrlError::TooLong("x")));
    }
}
