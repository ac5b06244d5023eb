//! `Prefer: wait=N`: how long a client would wait for a result (RFC 7240 section 4.3).
//!
//! For: reading the preference and saying that it was honoured. Not for: the waiting, which the
//! endpoint does, with a bounded number of waiters. See `docs/PROTOCOL.md` section 2.
//!
//! ```text
//! Prefer: respond-async, wait=10
//! Preference-Applied: wait=10
//! ```

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The longest wait that is granted, in seconds; a longer wish is cut to it.
pub const MAX_WAIT_SECONDS: u64 = 30;

/// The wait that the client prefers, at most [`MAX_WAIT_SECONDS`]; `None` if it named none.
///
/// As an extractor it refuses nothing: RFC 7240 has malformed and unknown preferences ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreferWait(pub Option<Duration>);

impl PreferWait {
    /// Reads the headers. Of several `wait` the first counts (RFC 7240 section 2).
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let seconds = headers
            .get_all("prefer")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .find_map(wait_seconds);
        Self(seconds.map(|seconds| Duration::from_secs(seconds.min(MAX_WAIT_SECONDS))))
    }

    /// The header that says that the wait was granted; `None` if none was asked for.
    pub fn applied(self) -> Option<(HeaderName, HeaderValue)> {
        let seconds = self.0?.as_secs();
        let value = HeaderValue::from_str(&format!("wait={seconds}")).ok()?;
        Some((HeaderName::from_static("preference-applied"), value))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PreferWait {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::from_headers(&parts.headers))
    }
}

/// The seconds of one preference, if it is a well-formed `wait`. Parameters after `;` are ignored.
fn wait_seconds(preference: &str) -> Option<u64> {
    let (name, value) = preference.split(';').next()?.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("wait") {
        return None;
    }
    let value = value.trim();
    let digits = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(values: &[&str]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("prefer", value.parse().unwrap());
        }
        PreferWait::from_headers(&headers).0.map(|wait| wait.as_secs())
    }

    #[test]
    fn waits_are_read_and_cut_to_the_maximum() {
        assert_eq!(parse(&["wait=5"]), Some(5));
        assert_eq!(parse(&["Wait = \"7\" ; x=1"]), Some(7));
        assert_eq!(parse(&["respond-async, wait=10"]), Some(10));
        assert_eq!(parse(&["handling=lenient", "wait=10, wait=20"]), Some(10));
        assert_eq!(parse(&["wait=0"]), Some(0));
        assert_eq!(parse(&["wait=31"]), Some(30));
        assert_eq!(parse(&["wait=99999999999999999999999"]), Some(30));
    }

    #[test]
    fn malformed_and_other_preferences_are_ignored() {
        for other in ["", "wait", "wait=", "wait=-1", "wait=1.5", "wait=+1", "await=5", "return=minimal", "x=1;wait=5"]
        {
            assert_eq!(parse(&[other]), None, "{other}");
        }
    }

    #[test]
    fn applied_header_names_the_granted_wait() {
        let (name, value) = PreferWait(Some(Duration::from_secs(30))).applied().unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("preference-applied", "wait=30"));
        assert_eq!(PreferWait(None).applied(), None);
    }
}
