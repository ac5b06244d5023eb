//! Where an administrator's commands are carried out: in the authority's folder while no server runs, or
//! at a running server.
//!
//! For: one set of acts for both. Not for: printing (each command's file).

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use birthmark_core::api::provision::{DeviceConfig, ProvisionRequest};
use birthmark_core::ids::DeviceSerial;
use birthmark_core::network::{AuthorityStatement, EndorsementKeyId};
use birthmark_service::client::{BearerToken, ClientOptions, HttpClient};
use birthmark_service::clock::SystemClock;
use birthmark_service::secret_file;
use birthmark_sma::{
    AuditChain, AuditCheck, AuditPage, DeviceView, KeyChangeView, KeySize, QuotaOverride, ReprovisionRequest, Sma,
    SmaConfig,
};
use bytes::Bytes;
use clap::Args;
use serde::de::DeserializeOwned;

use super::{DEFAULT_PORT, Demands, Kept, Told};

/// A running authority.
#[derive(Debug, Args)]
pub(super) struct Remote {
    /// Work at the authority that runs there, instead of in its folder: `http://localhost:8001`.
    #[arg(long, value_name = "URL", requires = "token_file")]
    url: Option<String>,
    /// File with the bearer token of role `admin`, mode 0600, as `birthmark credential` printed it.
    #[arg(long, value_name = "FILE", requires = "url")]
    token_file: Option<PathBuf>,
}

/// The authority's folder, or a running authority.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// Folder of the authority. No server may run on it.
    #[arg(long, env = "SMA_DATA_DIR", default_value = "/var/lib/birthmark/sma", value_name = "DIR")]
    data: PathBuf,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    kept: Kept,
    #[command(flatten)]
    demands: Demands,
}

/// Carries out acts.
pub(super) enum Desk {
    Here(Sma),
    There(HttpClient),
}

impl Remote {
    /// Whether a server is named.
    pub(super) const fn is_given(&self) -> bool {
        self.url.is_some()
    }

    /// The client, if a server is named.
    pub(super) fn client(&self) -> anyhow::Result<Option<HttpClient>> {
        let Some(url) = &self.url else { return Ok(None) };
        let mut options = ClientOptions::default();
        if let Some(file) = &self.token_file {
            let token = secret_file::read(file, MAX_TOKEN_FILE)?;
            let token = std::str::from_utf8(&token).with_context(|| format!("{} is no token", file.display()))?;
            options.bearer = Some(BearerToken::new(token.trim()));
        }
        Ok(Some(HttpClient::new(url.trim_end_matches('/'), &options)?))
    }
}

impl Place {
    pub(super) async fn open(self) -> anyhow::Result<Desk> {
        match self.remote.client()? {
            Some(client) => Ok(Desk::There(client)),
            None => self.open_here().await.map(Desk::Here),
        }
    }

    /// For what never leaves the machine.
    pub(super) async fn open_here(self) -> anyhow::Result<Sma> {
        anyhow::ensure!(self.remote.url.is_none(), "this works in the authority's folder only: secrets do not travel");
        // No camera is told anything here.
        let unused = format!("http://localhost:{DEFAULT_PORT}");
        let config = SmaConfig {
            database_url: self.kept.database_url.clone(),
            accept_version_1: !self.demands.refuse_version_1,
            wrapping: self.kept.wrapping(),
            ..SmaConfig::new(unused.clone(), unused)
        };
        let data = self.data;
        let folder = data.display().to_string();
        let opened = tokio::task::spawn_blocking(move || Sma::open(&data, config, Arc::new(SystemClock))).await?;
        opened.with_context(|| format!("cannot work on {folder} (--url and --token-file work at a running authority)"))
    }
}

impl Desk {
    /// As [`Place::open`], for acts that tell a camera something.
    pub(super) async fn telling(told: Told, remote: &Remote) -> anyhow::Result<Self> {
        if let Some(client) = remote.client()? {
            return Ok(Self::There(client));
        }
        let folder = told.data.display().to_string();
        let opened = told.open(format!("http://localhost:{DEFAULT_PORT}")).await;
        opened
            .map(Self::Here)
            .with_context(|| format!("cannot work on {folder} (--url and --token-file work at a running authority)"))
    }

    /// To be called in the end.
    pub(super) async fn close(&self) {
        if let Self::Here(sma) = self {
            sma.close().await;
        }
    }

    pub(super) async fn device(&self, serial: DeviceSerial) -> anyhow::Result<DeviceView> {
        match self {
            Self::Here(sma) => Ok(sma.control().device(serial).await?),
            Self::There(client) => Ok(client.get_json(&device_path(&serial, "")).await?.body),
        }
    }

    pub(super) async fn revoke(&self, serial: DeviceSerial) -> anyhow::Result<DeviceView> {
        match self {
            Self::Here(sma) => Ok(sma.control().revoke(serial).await?),
            Self::There(client) => Ok(client.post_json(&device_path(&serial, "/revoke"), &()).await?.body),
        }
    }

    pub(super) async fn restore(&self, serial: DeviceSerial) -> anyhow::Result<DeviceView> {
        match self {
            Self::Here(sma) => Ok(sma.control().restore(serial).await?),
            Self::There(client) => Ok(client.post_json(&device_path(&serial, "/restore"), &()).await?.body),
        }
    }

    pub(super) async fn set_quota(&self, serial: DeviceSerial, quota: QuotaOverride) -> anyhow::Result<DeviceView> {
        match self {
            Self::Here(sma) => Ok(sma.control().set_quota(serial, quota).await?),
            Self::There(client) => put_json(client, &device_path(&serial, "/quota"), &quota).await,
        }
    }

    pub(super) async fn provision(&self, request: ProvisionRequest) -> anyhow::Result<DeviceConfig> {
        match self {
            Self::Here(sma) => Ok(sma.provision(request).await?),
            Self::There(client) => Ok(client.post_json("/api/v1/devices/provision", &request).await?.body),
        }
    }

    pub(super) async fn reprovision(
        &self,
        serial: DeviceSerial,
        request: ReprovisionRequest,
    ) -> anyhow::Result<DeviceConfig> {
        match self {
            Self::Here(sma) => Ok(sma.control().reprovision(serial, request).await?),
            Self::There(client) => Ok(client.post_json(&device_path(&serial, "/reprovision"), &request).await?.body),
        }
    }

    pub(super) async fn rotate_key(&self, size: KeySize) -> anyhow::Result<KeyChangeView> {
        match self {
            Self::Here(sma) => Ok(sma.control().rotate_key(size).await?),
            Self::There(client) => {
                let request = serde_json::json!({"bits": size.bits()});
                Ok(client.post_json("/api/v1/keys/rotate", &request).await?.body)
            }
        }
    }

    pub(super) async fn revoke_key(&self, id: EndorsementKeyId) -> anyhow::Result<KeyChangeView> {
        match self {
            Self::Here(sma) => Ok(sma.control().revoke_key(id).await?),
            Self::There(client) => Ok(client.post_json(&format!("/api/v1/keys/{id}/revoke"), &()).await?.body),
        }
    }

    pub(super) async fn statement(&self) -> anyhow::Result<AuthorityStatement> {
        match self {
            Self::Here(sma) => Ok(sma.statement().await?),
            Self::There(client) => Ok(client.get_json("/authority.json").await?.body),
        }
    }

    pub(super) async fn audit(&self, after: u64, limit: u32) -> anyhow::Result<AuditPage> {
        match self {
            Self::Here(sma) => Ok(sma.control().audit(after, limit).await?),
            Self::There(client) => {
                let path = format!("/api/v1/audit?after={after}&limit={limit}");
                Ok(client.get_json(&path).await?.body)
            }
        }
    }

    /// Follows the chain; at a server by its rows, not by its word.
    pub(super) async fn check_audit(&self) -> anyhow::Result<AuditCheck> {
        if let Self::Here(sma) = self {
            return Ok(sma.control().check_audit().await?);
        }
        let (mut chain, mut after) = (AuditChain::default(), 0);
        loop {
            let page = self.audit(after, 1000).await?;
            for entry in &page.rows {
                if let Err(broken) = chain.follow(entry) {
                    return Ok(broken);
                }
            }
            match page.next {
                Some(next) => after = next,
                None => return Ok(chain.end()),
            }
        }
    }
}

async fn put_json<T: DeserializeOwned>(
    client: &HttpClient,
    path: &str,
    body: &impl serde::Serialize,
) -> anyhow::Result<T> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let answer = client.send(Method::PUT, path, headers, Bytes::from(serde_json::to_vec(body)?)).await?;
    Ok(birthmark_core::json::from_slice(&answer.body)?)
}

fn device_path(serial: &DeviceSerial, act: &str) -> String {
    format!("/api/v1/devices/{}{act}", percent_encoded(serial))
}

/// Everything but RFC 3986's unreserved characters encoded; `.` and `..` alone too, which URLs swallow.
pub(super) fn percent_encoded(serial: &DeviceSerial) -> String {
    let text = serial.as_str();
    let dots = matches!(text, "." | "..");
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) || byte == b'.' && !dots {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// 64 hex digits and some white space.
const MAX_TOKEN_FILE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_become_one_segment_of_a_path() {
        for (serial, encoded) in
            [("PI_CAMERA-001.b~", "PI_CAMERA-001.b~"), ("A/B %?#", "A%2FB%20%25%3F%23"), (".", "%2E")]
        {
            assert_eq!(percent_encoded(&DeviceSerial::new(serial).unwrap()), encoded);
        }
    }
}
