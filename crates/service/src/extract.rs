//! Request bodies, bounded before they are parsed.
//!
//! For: [`StrictJson`] and [`BoundedBytes`], the only ways in which a handler takes a body.
//! Not for: what the values mean. Refusals are problems (`problem`): another content type `415`, too
//! large `413`, malformed `400`, wrong values `422`. See `docs/PROTOCOL.md` section 1.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::{FromRequest, Request};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

use crate::problem::Problem;
use crate::server::Room;

/// A JSON body of at most `MAX` bytes: content type `application/json`, no duplicate keys, nothing
/// after the value.
#[derive(Clone, Copy, Debug)]
pub struct StrictJson<T, const MAX: usize = { 64 * 1024 }>(pub T);

impl<S: Send + Sync, T: DeserializeOwned, const MAX: usize> FromRequest<S> for StrictJson<T, MAX> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::of_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        let body = read_bounded(request, MAX).await?;
        Ok(Self(birthmark_core::json::from_slice(&body)?))
    }
}

/// A body of any type of at most `MAX` bytes.
#[derive(Clone, Debug)]
pub struct BoundedBytes<const MAX: usize = { 64 * 1024 }>(pub Bytes);

impl<S: Send + Sync, const MAX: usize> FromRequest<S> for BoundedBytes<MAX> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        read_bounded(request, MAX).await.map(Self)
    }
}

/// Whether the content type is `application/json`, with parameters or without.
pub fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

/// The whole body, or `413` as soon as it is known to be longer, before any of it is read if the
/// client said so.
pub(crate) async fn read_bounded(request: Request, max: usize) -> Result<Bytes, Problem> {
    if declared_length(request.headers()).is_some_and(|length| length > max as u64) {
        Box::pin(discard(request)).await;
        return Err(too_large(max));
    }
    let room = request.extensions().get::<Room>().cloned();
    collect(request.into_body(), max, room.as_ref()).await
}

/// Reads a refused body to nowhere, within limits. To be boxed: its timer makes the future of every request large. A connection that is closed while its client still
/// writes is reset, and the client would see that instead of the refusal (RFC 9112 section 9.6).
pub(crate) async fn discard(request: Request) {
    // This client waits to hear whether it should send at all.
    if request.headers().contains_key(header::EXPECT) {
        return;
    }
    discard_body(request.into_body().into_data_stream()).await;
}

async fn discard_body(mut stream: BodyDataStream) {
    let mut left = DISCARDED_BYTES;
    let all = async {
        while let Some(Ok(chunk)) = stream.next().await {
            match left.checked_sub(chunk.len()) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // Out of time or bytes, the client has only itself to thank for the reset.
    let _ = tokio::time::timeout(DISCARD_TIME, all).await;
}

pub(crate) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// What a body of more than so many bytes is answered with.
pub fn too_large(max: impl std::fmt::Display) -> Problem {
    Problem::of_status(StatusCode::PAYLOAD_TOO_LARGE).with_detail(format!("at most {max} bytes are taken here"))
}

/// What is held of a body that is still on its way is counted against what the server has for all of them.
async fn collect(body: Body, max: usize, room: Option<&Room>) -> Result<Bytes, Problem> {
    let mut held = Vec::new();
    let mut stream = body.into_data_stream();
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| {
            Problem::new(StatusCode::BAD_REQUEST, "broken_body", "the body ended early or was malformed")
        })?;
        if chunk.len() > max - first.len() - all.len() {
            Box::pin(discard_body(stream)).await;
            return Err(too_large(max));
        }
        if let Some(room) = room {
            held.push(room.take(chunk.len()).await.ok_or_else(Problem::busy)?);
        }
        // Nearly every body is one chunk; it is passed on without a copy.
        if first.is_empty() && all.is_empty() {
            first = chunk;
        } else {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&chunk);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// More than any client sends by mistake, less than would hurt to read.
const DISCARDED_BYTES: usize = 16 * 1024 * 1024;
const DISCARD_TIME: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn request(content_type: Option<&str>, body: Body) -> Request {
        let mut builder = Request::builder().method("POST");
        if let Some(content_type) = content_type {
            builder = builder.header("content-type", content_type);
        }
        builder.body(body).unwrap()
    }

    #[derive(serde::Deserialize)]
    struct Number {
        n: u32,
    }

    async fn json(content_type: Option<&str>, body: &str) -> Result<u32, u16> {
        StrictJson::<Number, 8>::from_request(request(content_type, Body::from(body.to_owned())), &())
            .await
            .map(|StrictJson(value)| value.n)
            .map_err(|problem| problem.status().as_u16())
    }

    fn chunks(sizes: &[usize]) -> Body {
        let chunks: Vec<_> = sizes.iter().map(|n| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; *n]))).collect();
        Body::from_stream(futures::stream::iter(chunks))
    }

    #[tokio::test]
    async fn content_type_size_syntax_and_values_are_refused_by_status() {
        let plain = Some("application/json");
        assert_eq!(json(plain, r#"{"n":1}"#).await, Ok(1));
        assert_eq!(json(Some("Application/JSON; charset=utf-8"), r#"{"n":12}"#).await, Ok(12));
        assert_eq!(json(None, r#"{"n":1}"#).await, Err(415));
        assert_eq!(json(Some("text/plain"), r#"{"n":1}"#).await, Err(415));
        assert_eq!(json(Some("application/jsonx"), r#"{"n":1}"#).await, Err(415));
        assert_eq!(json(plain, r#"{"n":123}"#).await, Err(413));
        assert_eq!(json(plain, "{} {}").await, Err(400));
        assert_eq!(json(plain, "").await, Err(400));
        assert_eq!(json(plain, "[1]").await, Err(422), "an array is no object, field by field");
        assert_eq!(json(plain, "\"x\"").await, Err(422));
    }

    #[tokio::test]
    async fn chunked_bodies_are_bounded_by_what_arrives() {
        for (sizes, expected) in [
            (&[][..], Ok(0)),
            (&[8], Ok(8)),
            (&[3, 0, 5], Ok(8)),
            (&[9], Err(413)),
            (&[3, 6], Err(413)),
            (&[3, 3, 3], Err(413)),
        ] {
            let got = BoundedBytes::<8>::from_request(request(None, chunks(sizes)), &()).await;
            assert_eq!(got.map(|b| b.0.len()).map_err(|p| p.status().as_u16()), expected, "{sizes:?}");
        }
    }

    #[tokio::test]
    async fn declared_length_is_refused_before_the_body_is_read() {
        let body = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let mut request = request(None, body);
        request.headers_mut().insert(header::CONTENT_LENGTH, 9.into());
        let refused = BoundedBytes::<8>::from_request(request, &()).await.unwrap_err();
        assert_eq!(refused.status(), 413);
    }

    #[tokio::test]
    async fn broken_body_is_a_client_error() {
        let parts = vec![Ok(Bytes::from_static(b"12")), Err(std::io::Error::other("cut"))];
        let request = request(None, Body::from_stream(futures::stream::iter(parts)));
        let refused = BoundedBytes::<8>::from_request(request, &()).await.unwrap_err();
        assert_eq!((refused.status().as_u16(), refused.code()), (400, "broken_body"));
    }
}
