//! Errors over HTTP: RFC 9457 problem details.
//!
//! For: the one shape of every error answer. Not for: deciding which error has which status; that is
//! one `match` beside each endpoint. See `docs/PROTOCOL.md` section 1.
//!
//! ```text
//! HTTP/1.1 422 Unprocessable Content
//! content-type: application/problem+json
//!
//! {"status":422,"code":"wrong_field","title":"a field is missing or wrong","detail":"line 1, …"}
//! ```
//!
//! `code` is stable and for machines, `title` is the same for every answer of one code, `detail` is for
//! people. None of them ever repeats what the client sent.

use std::borrow::Cow;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use birthmark_core::json::JsonError;
use http::{HeaderValue, StatusCode, header};
use serde::{Serialize, Serializer};

/// One refused or failed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: Option<Cow<'static, str>>,
    retry_after: Option<Duration>,
}

impl Problem {
    /// A problem without further detail.
    pub const fn new(status: StatusCode, code: &'static str, title: &'static str) -> Self {
        Self { status, code, title, detail: None, retry_after: None }
    }

    /// Adds what would help a person to mend the request. Must not repeat input.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Says when to try again (`Retry-After`, in whole seconds, at least 1).
    #[must_use]
    pub const fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// `500 internal`: the cause goes to the log, never to the client.
    pub const fn internal() -> Self {
        Self::of_status(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// `503` with `Retry-After`: too much work is waiting; nothing was stored.
    pub const fn busy() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too much work is waiting")
            .with_retry_after(Duration::from_secs(1))
    }

    /// The generic problem of a status, for answers that nobody gave a code.
    pub(crate) const fn of_status(status: StatusCode) -> Self {
        let (code, title) = match status {
            StatusCode::BAD_REQUEST => ("bad_request", "the request is malformed"),
            StatusCode::UNAUTHORIZED => ("unauthorized", "a valid bearer token is needed"),
            StatusCode::FORBIDDEN => ("forbidden", "this credential may not do that"),
            StatusCode::NOT_FOUND => ("not_found", "nothing is served at this address"),
            StatusCode::METHOD_NOT_ALLOWED => ("method_not_allowed", "this address does not take this method"),
            StatusCode::PAYLOAD_TOO_LARGE => ("too_large", "the body is too large"),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                ("unsupported_media_type", "the content type must be application/json")
            }
            StatusCode::UNPROCESSABLE_ENTITY => ("unprocessable", "the request is well-formed but wrong"),
            StatusCode::TOO_MANY_REQUESTS => ("too_many_requests", "too many requests"),
            StatusCode::SERVICE_UNAVAILABLE => ("unavailable", "the service cannot answer now"),
            status if status.as_u16() < 500 => ("refused", "the request was refused"),
            _ => ("internal", "an internal error; the log has its cause"),
        };
        Self::new(status, code, title)
    }

    /// The HTTP status.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable code.
    pub const fn code(&self) -> &'static str {
        self.code
    }
}

/// Malformed text is `400`; a value of the wrong type or range is `422`.
impl From<JsonError> for Problem {
    fn from(error: JsonError) -> Self {
        let problem = match &error {
            JsonError::Syntax { .. } => {
                Self::new(StatusCode::BAD_REQUEST, "malformed_json", "the body is not valid JSON")
            }
            JsonError::DuplicateKey { .. } => {
                Self::new(StatusCode::BAD_REQUEST, "duplicate_key", "a key stands twice in one object")
            }
            JsonError::Data { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "wrong_field", "a field is missing or wrong")
            }
        };
        problem.with_detail(error.to_string())
    }
}

/// Why a request was refused or failed (RFC 9457).
#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = Problem))]
struct Body<'a> {
    /// The HTTP status.
    #[cfg_attr(feature = "openapi", schema(minimum = 400, maximum = 599))]
    status: u16,
    /// Stable, for machines.
    #[cfg_attr(feature = "openapi", schema(pattern = "^[a-z0-9_]+$"))]
    code: &'a str,
    /// The same for every answer of one code.
    title: &'a str,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    detail: Option<&'a str>,
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Problem {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        Body::schema()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Problem {}

/// As within the answer to several requests at once.
impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let detail = self.detail.as_deref();
        Body { status: self.status.as_u16(), code: self.code, title: self.title, detail }.serialize(serializer)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // Strings and a number always serialise; an empty body would still carry the status.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (self.status, [(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response();
        if let Some(after) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// RFC 9457 section 3.
pub(crate) const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

#[cfg(test)]
mod tests {
    use super::*;

    async fn parts(problem: Problem) -> (http::response::Parts, serde_json::Value) {
        let (parts, body) = problem.into_response().into_parts();
        let body = axum::body::to_bytes(body, 4096).await.unwrap();
        (parts, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn problem_has_the_shape_of_rfc_9457() {
        let problem = Problem::new(StatusCode::CONFLICT, "in_use", "it is in use")
            .with_detail("try another")
            .with_retry_after(Duration::from_millis(1));
        let (parts, body) = parts(problem).await;
        assert_eq!(parts.status, 409);
        assert_eq!(parts.headers["content-type"], "application/problem+json");
        assert_eq!(parts.headers["retry-after"], "1");
        let expected = r#"{"status":409,"code":"in_use","title":"it is in use","detail":"try another"}"#;
        assert_eq!(body, serde_json::from_str::<serde_json::Value>(expected).unwrap());
    }

    #[tokio::test]
    async fn unauthorized_names_the_scheme() {
        let (parts, _) = parts(Problem::of_status(StatusCode::UNAUTHORIZED)).await;
        assert_eq!(parts.headers["www-authenticate"], "Bearer");
    }

    #[test]
    fn json_errors_map_to_400_and_422_without_their_input() {
        for (text, status, code) in [
            ("{", 400, "malformed_json"),
            (r#"{"a":1,"a":2}"#, 400, "duplicate_key"),
            (r#""hunter2""#, 422, "wrong_field"),
        ] {
            let problem = Problem::from(birthmark_core::json::from_slice::<u32>(text.as_bytes()).unwrap_err());
            assert_eq!((problem.status().as_u16(), problem.code()), (status, code));
            assert!(!format!("{problem:?}").contains("hunter2"));
        }
    }
}
