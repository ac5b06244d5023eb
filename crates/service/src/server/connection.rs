//! One connection, one request: the limits and the safety net around the router.
//!
//! For: `server`. This is one function rather than a stack of layers because it stands on the path of
//! every request: each layer would box the body or the future once more.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::pin;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use http::{HeaderValue, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::Limits;
use crate::extract::{declared_length, discard, too_large};
use crate::peer::Peer;
use crate::problem::{self, Problem};
use crate::shutdown::panic_text;

pub(super) fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(limits.max_headers)
        // hyper panics below 8 KiB.
        .max_buf_size(limits.max_header_bytes.max(8 * 1024));
    builder
}

/// Serves one connection until it ends, or until `limits.drain` after shutdown began.
pub(super) async fn run(
    stream: TcpStream,
    router: Router,
    builder: &http1::Builder,
    limits: Limits,
    shutdown: CancellationToken,
) {
    // Without this an answer in two segments waits 40 ms for the client's delayed acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "connection lost before its first request");
        return;
    }
    let peer = stream.peer_addr().ok().map(Peer);
    let service = service_fn(move |mut request: Request<Incoming>| {
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        answer(router.clone(), request, limits)
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(limits.drain, connection.as_mut()).await.ok()
        }
    };
    match ended {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(%error, "connection ended early"),
        None => tracing::warn!("a connection was cut: it did not finish in time at shutdown"),
    }
}

async fn answer(mut router: Router, request: Request<Incoming>, limits: Limits) -> Result<Response, Infallible> {
    let started = Instant::now();
    let (method, path) = if tracing::enabled!(tracing::Level::DEBUG) {
        (Some(request.method().clone()), Some(request.uri().path().to_owned()))
    } else {
        (None, None)
    };
    let response = if declared_length(request.headers()).is_some_and(|length| length > limits.max_body) {
        discard(request.map(Body::new)).await;
        too_large(limits.max_body).into_response()
    } else {
        let handled = async move { router.call(request.map(Body::new)).await };
        match tokio::time::timeout(limits.request_timeout, AssertUnwindSafe(handled).catch_unwind()).await {
            Ok(Ok(Ok(response))) => as_problem(response),
            Ok(Err(panic)) => {
                tracing::error!(panic = panic_text(&*panic), "a request handler panicked");
                Problem::internal().into_response()
            }
            Err(_) => timed_out().into_response(),
        }
    };
    if let (Some(method), Some(path)) = (method, path) {
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        tracing::debug!(%method, path, status = response.status().as_u16(), micros, "answered");
    }
    Ok(response)
}

fn timed_out() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "timed_out", "the request took too long")
        .with_retry_after(std::time::Duration::from_secs(1))
}

/// Turns an error answer without a body of ours into a problem; its headers (`Allow`) stay.
fn as_problem(response: Response) -> Response {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error())
        || !is_foreign(response.headers().get(header::CONTENT_TYPE))
    {
        return response;
    }
    let (mut parts, body) = Problem::of_status(status).into_response().into_parts();
    let (foreign, _) = response.into_parts();
    for (name, value) in &foreign.headers {
        if ![header::CONTENT_TYPE, header::CONTENT_LENGTH, header::WWW_AUTHENTICATE].contains(name) {
            parts.headers.append(name, value.clone());
        }
    }
    Response::from_parts(parts, body)
}

/// Plain text and nothing are what libraries answer with; problems, JSON and pages are somebody's own.
fn is_foreign(content_type: Option<&HeaderValue>) -> bool {
    content_type.is_none_or(|value| value != problem::CONTENT_TYPE && value.as_bytes().starts_with(b"text/plain"))
}
