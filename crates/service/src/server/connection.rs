//! One connection, one request: the limits and the safety net around the router.
//!
//! For: `server`. This is one function rather than a stack of layers because it stands on the path of
//! every request: each layer would box the body or the future once more.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::future::poll_fn;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, Stream};
use http::{HeaderValue, StatusCode, header};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::Limits;
use super::seats::{Room, Seats};
use super::watch::{Watch, Watched};
use crate::extract::{declared_length, discard, too_large};
use crate::peer::Peer;
use crate::problem::{self, Problem};
use crate::shutdown::panic_text;

pub(super) fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // Time is `Watch`'s.
        .header_read_timeout(None)
        .max_headers(limits.max_headers)
        // hyper panics below 8 KiB.
        .max_buf_size(limits.max_header_bytes.max(8 * 1024));
    builder
}

/// What requests of a connection need.
pub(super) struct Served {
    pub(super) router: Router,
    pub(super) seats: Arc<Seats>,
    pub(super) watch: Arc<Watch>,
}

/// Serves one connection until it ends, or until `limits.drain` after shutdown began.
pub(super) async fn run(
    stream: TcpStream,
    served: Served,
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
    let Served { router, seats, watch } = served;
    let service = service_fn(|mut request: Request<Incoming>| {
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        let request = if request.body().is_end_stream() {
            request.map(Body::new)
        } else {
            request.extensions_mut().insert(Room { seats: Arc::clone(&seats), watch: Arc::clone(&watch) });
            request.map(|incoming| Body::new(Owed { incoming, watch: Arc::clone(&watch) }))
        };
        answer(router.clone(), request, limits.max_body, &watch)
    });
    let stream = Watched { stream, watch: &watch };
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // Polled only when they have something to say, unlike the branches of a `select!`.
    let mut events = FuturesUnordered::new();
    events.push(shutdown.cancelled().map(|()| Event::Shutdown).boxed());
    events.push(watch.silence().map(|()| Event::Silence).boxed());
    let next = poll_fn(|context| match pin!(&mut events).poll_next(context) {
        Poll::Ready(Some(event)) => Poll::Ready(Err(event)),
        Poll::Ready(None) | Poll::Pending => connection.as_mut().poll(context).map(Ok),
    });
    let ended = match next.await {
        Ok(ended) => Some(ended),
        Err(Event::Silence) => {
            tracing::debug!("connection closed: no request came in time");
            return;
        }
        Err(Event::Shutdown) => {
            connection.as_mut().graceful_shutdown();
            let both = poll_fn(|context| {
                // Requests under way keep their own time.
                let _ = pin!(&mut events).poll_next(context);
                connection.as_mut().poll(context)
            });
            tokio::time::timeout(limits.drain, both).await.ok()
        }
    };
    match ended {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(%error, "connection ended early"),
        None => tracing::warn!("a connection was cut: it did not finish in time at shutdown"),
    }
}

/// What ends a connection from this side.
enum Event {
    /// The server is to end.
    Shutdown,
    /// No request came in time.
    Silence,
}

async fn answer(mut router: Router, request: Request, max_body: u64, watch: &Watch) -> Result<Response, Infallible> {
    let started = Instant::now();
    watch.request_begins(started);
    let (method, path) = if tracing::enabled!(tracing::Level::DEBUG) {
        (Some(request.method().clone()), Some(request.uri().path().to_owned()))
    } else {
        (None, None)
    };
    let response = if declared_length(request.headers()).is_some_and(|length| length > max_body) {
        Box::pin(discard(request)).await;
        too_large(max_body).into_response()
    } else {
        let handled = async move { router.call(request).await };
        match watch.in_time(AssertUnwindSafe(handled).catch_unwind()).await {
            Some(Ok(Ok(response))) => as_problem(response),
            Some(Err(panic)) => {
                tracing::error!(panic = panic_text(&*panic), "a request handler panicked");
                Problem::internal().into_response()
            }
            None => timed_out().into_response(),
        }
    };
    let ended = Instant::now();
    watch.request_ends(ended);
    if let (Some(method), Some(path)) = (method, path) {
        let micros = u64::try_from(ended.duration_since(started).as_micros()).unwrap_or(u64::MAX);
        tracing::debug!(%method, path, status = response.status().as_u16(), micros, "answered");
    }
    Ok(response)
}

/// A body that tells the watch while more of it is waited for.
struct Owed {
    incoming: Incoming,
    watch: Arc<Watch>,
}

impl HttpBody for Owed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(context);
        self.watch.is_owed(polled.is_pending());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        self.watch.is_owed(false);
    }
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
