//! Calls to other services over HTTP.
//!
//! For: a client bound to one origin from our configuration, with time limits and bounded answers.
//! Not for: addresses that arrive in a request (they are never dialled), following redirects, or
//! trying again (`backoff` and the caller do that).

mod error;

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::Url;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

pub use error::{ClientError, ClientSetupError};

/// The limits of a client.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// For the connection alone.
    pub connect_timeout: Duration,
    /// From the start of a call to the last byte of its answer.
    pub request_timeout: Duration,
    /// The longest answer that is read, in bytes.
    pub max_response: usize,
    /// Connections kept open between calls.
    pub idle_connections: usize,
    /// Sent as `Authorization: Bearer …`.
    pub bearer: Option<BearerToken>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            // Longer than the longest `Prefer: wait`.
            request_timeout: Duration::from_secs(40),
            max_response: 4 * 1024 * 1024,
            idle_connections: 64,
            bearer: None,
        }
    }
}

/// A bearer token, wiped when dropped and never shown.
#[derive(Clone)]
pub struct BearerToken(Zeroizing<String>);

impl BearerToken {
    /// Takes it over.
    pub fn new(token: impl Into<String>) -> Self {
        Self(Zeroizing::new(token.into()))
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(…)")
    }
}

/// A successful answer.
#[derive(Clone, Debug)]
pub struct Answer<T> {
    /// 200..=299.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: T,
}

/// A client of one origin. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct HttpClient {
    client: reqwest::Client,
    base: Url,
    origin: String,
    max_response: usize,
}

impl HttpClient {
    /// A client of `http://host[:port]` or `https://host[:port]`. Connects when first used.
    pub fn new(origin: &str, options: &ClientOptions) -> Result<Self, ClientSetupError> {
        let base = parse_origin(origin).ok_or_else(|| ClientSetupError::Origin(origin.to_owned()))?;
        let mut headers = HeaderMap::new();
        if let Some(BearerToken(token)) = &options.bearer {
            let value = Zeroizing::new(format!("Bearer {}", token.as_str()));
            let mut value = HeaderValue::from_str(&value).map_err(|_| ClientSetupError::Token)?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let mut builder = reqwest::Client::builder()
            .http1_only()
            .tcp_nodelay(true)
            .connect_timeout(options.connect_timeout)
            .timeout(options.request_timeout)
            .pool_max_idle_per_host(options.idle_connections)
            .pool_idle_timeout(POOL_IDLE)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            // Addresses come from our configuration; a proxy variable must not divert them.
            .no_proxy()
            .default_headers(headers);
        if base.scheme() == "http" {
            // The system's certificates are not needed, take memory, and may be missing altogether.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(ClientSetupError::Tls)?;
        let origin = base.origin().ascii_serialization();
        Ok(Self { client, base, origin, max_response: options.max_response })
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// `GET`, with a JSON answer. `path` starts with `/` and may have a query.
    pub async fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>, ClientError> {
        let answer = self.send(Method::GET, path, HeaderMap::new(), Bytes::new()).await?;
        self.parse(answer)
    }

    /// `POST` of JSON, with a JSON answer.
    pub async fn post_json<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Answer<T>, ClientError> {
        self.post_json_with(path, HeaderMap::new(), body).await
    }

    /// `POST` of JSON with further headers, with a JSON answer.
    pub async fn post_json_with<T: DeserializeOwned>(
        &self,
        path: &str,
        mut headers: HeaderMap,
        body: &impl Serialize,
    ) -> Result<Answer<T>, ClientError> {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = serde_json::to_vec(body).map_err(|error| self.bad_request(&error))?;
        let answer = self.send(Method::POST, path, headers, body.into()).await?;
        self.parse(answer)
    }

    /// `GET` of bytes.
    pub async fn get_bytes(&self, path: &str) -> Result<Answer<Bytes>, ClientError> {
        self.send(Method::GET, path, HeaderMap::new(), Bytes::new()).await
    }

    /// `POST` of bytes (`application/octet-stream`), with a JSON answer.
    pub async fn post_bytes<T: DeserializeOwned>(
        &self,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Result<Answer<T>, ClientError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        let answer = self.send(Method::POST, path, headers, body.into()).await?;
        self.parse(answer)
    }

    /// Any request; a status other than 2xx is an error. `path` starts with `/` and may have a query.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer<Bytes>, ClientError> {
        let url = self.url(path)?;
        let mut request = self.client.request(method.clone(), url).headers(headers);
        if method != Method::GET && method != Method::HEAD {
            request = request.body(body);
        }
        let response = request.send().await.map_err(|error| self.transport(&error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        if !status.is_success() {
            let code = self.collect(response, MAX_PROBLEM).await.ok().and_then(|body| problem_code(&body));
            let retry_after = retry_after(&headers);
            return Err(ClientError::Status { origin: self.origin.clone(), status, code, retry_after });
        }
        let body = self.collect(response, self.max_response).await?;
        Ok(Answer { status, headers, body })
    }

    /// Reads at most `max` bytes of the body, and nothing if it is declared longer.
    async fn collect(&self, mut response: reqwest::Response, max: usize) -> Result<Bytes, ClientError> {
        let too_large = || ClientError::TooLarge { origin: self.origin.clone(), max };
        if response.content_length().is_some_and(|length| length > max as u64) {
            return Err(too_large());
        }
        let mut all = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.transport(&error))? {
            if chunk.len() > max - all.len() {
                return Err(too_large());
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }

    fn url(&self, path: &str) -> Result<Url, ClientError> {
        // "//host" and "http://host" would leave the origin.
        self.base
            .join(path)
            .ok()
            .filter(|url| path.starts_with('/') && url.origin() == self.base.origin())
            .ok_or_else(|| self.bad_request(&"the path does not start with one slash"))
    }

    fn parse<T: DeserializeOwned>(&self, answer: Answer<Bytes>) -> Result<Answer<T>, ClientError> {
        let Answer { status, headers, body } = answer;
        let body = birthmark_core::json::from_slice(&body)
            .map_err(|error| ClientError::Malformed { origin: self.origin.clone(), cause: error.to_string() })?;
        Ok(Answer { status, headers, body })
    }

    fn bad_request(&self, cause: &dyn fmt::Display) -> ClientError {
        ClientError::Request { origin: self.origin.clone(), cause: cause.to_string() }
    }

    fn transport(&self, error: &reqwest::Error) -> ClientError {
        let origin = self.origin.clone();
        if error.is_connect() {
            ClientError::Connect { origin, cause: root_cause(error) }
        } else if error.is_timeout() {
            ClientError::Timeout { origin }
        } else if error.is_builder() {
            ClientError::Request { origin, cause: root_cause(error) }
        } else {
            ClientError::Broken { origin, cause: root_cause(error) }
        }
    }
}

fn parse_origin(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none();
    plain.then_some(url)
}

/// The innermost error: the outer ones repeat the address, whose path may be private.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// The code of a problem, if it looks like one: it goes into logs.
fn problem_code(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Problem {
        code: String,
    }
    let Problem { code } = birthmark_core::json::from_slice(body).ok()?;
    let plain = (1..=64).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    plain.then_some(code)
}

/// `Retry-After` in seconds, at most an hour; the form with a date is not used by our servers.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

/// Shorter than our servers keep an idle connection (`server::Limits::header_timeout`), so that a call
/// is not sent into a connection that is just being closed.
const POOL_IDLE: Duration = Duration::from_secs(15);

/// A server must not be able to silence its clients for good.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// The longest error answer that is read.
const MAX_PROBLEM: usize = 16 * 1024;

#[cfg(test)]
mod tests;
