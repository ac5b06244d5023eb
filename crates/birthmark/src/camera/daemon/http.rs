//! The trigger over HTTP, for programs of this machine.
//!
//! For: taking a photograph and telling how things stand. It is bound to loopback, asks for no credential, and
//! thus trusts every account of this machine; `--http` is an option for that reason.
//!
//! Not for: the network, or a browser: a page of some server must not take photographs, so a request that
//! names another host (DNS rebinding) or comes from a page is refused.
//!
//! ```text
//! POST /api/v1/capture   200 {"frame","jpeg","dng","raw_hash","processed_hash"}: captured, files and row on disk
//!                        500 not_captured · 503 busy: too many wait · 503 stopping
//! GET  /api/v1/status    200 {"queued","sent","confirmed","parked","without_proof",
//!                             "photographing","captured","failed","last_error"}
//! both                   403 wrong_host · 403 from_a_page · 413 a body of more than 1 KiB
//! ```

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State as Shared};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use birthmark_service::problem::Problem;
use birthmark_service::server::Limits;
use serde_json::Value;
use tokio::sync::mpsc;

use super::state::State;
use super::trigger::{self, Trigger};

/// Enough for a person and a few programs.
pub(super) const LIMITS: Limits = Limits {
    max_connections: 16,
    max_body_bytes: 16 * 1024,
    max_headers: 32,
    max_header_bytes: 8 * 1024,
    max_body: 1024,
    header_timeout: Duration::from_secs(10),
    // A line of photographs before this one, each of which may need the camera program anew.
    request_timeout: Duration::from_mins(2),
    drain: Duration::from_secs(30),
};

#[derive(Clone)]
struct Daemon {
    asks: mpsc::Sender<Trigger>,
    state: Arc<State>,
}

pub(super) fn router(asks: mpsc::Sender<Trigger>, state: Arc<State>) -> Router {
    Router::new()
        .route("/api/v1/capture", post(capture))
        .route("/api/v1/status", get(status))
        .with_state(Daemon { asks, state })
        .layer(middleware::from_fn(only_this_machine))
}

async fn capture(Shared(daemon): Shared<Daemon>) -> Result<Json<Value>, Problem> {
    let (trigger, answer) = Trigger::answered();
    daemon.asks.try_send(trigger).map_err(|_| Problem::busy())?;
    match answer.await {
        Ok(Ok(captured)) => Ok(Json(trigger::shown(&captured))),
        // The cause may hold paths; it stands in the log and in the status.
        Ok(Err(_)) => Err(Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "not_captured",
            "no photograph was taken; the log has the cause",
        )),
        Err(_) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the camera is being stopped")),
    }
}

async fn status(Shared(daemon): Shared<Daemon>) -> Result<Json<Value>, Problem> {
    daemon.state.json().await.map(Json).map_err(|error| {
        tracing::error!(%error, "the queue cannot be read");
        Problem::internal()
    })
}

async fn only_this_machine(request: Request, next: Next) -> Response {
    match refusal(request.headers()) {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    }
}

fn refusal(headers: &HeaderMap) -> Option<Problem> {
    let mut hosts = headers.get_all(header::HOST).into_iter();
    let host = hosts.next().and_then(|host| host.to_str().ok()).filter(|_| hosts.next().is_none());
    if !host.is_some_and(is_loopback) {
        return Some(Problem::new(
            StatusCode::FORBIDDEN,
            "wrong_host",
            "only this machine may ask, by a loopback name",
        ));
    }
    let from_a_page = headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site");
    from_a_page.then(|| Problem::new(StatusCode::FORBIDDEN, "from_a_page", "a web page may not take photographs"))
}

/// `localhost`, `127.x.x.x` or `[::1]`, with a port or without.
fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let is_plain = !authority.as_str().contains('@');
    is_plain && (name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_are_taken() {
        for host in ["localhost", "LOCALHOST:1", "127.0.0.1:8547", "127.8.9.1", "[::1]:8547"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "192.168.1.5:8547"] {
            assert!(!is_loopback(host), "{host}");
        }
        for host in ["0.0.0.0:8547", "[::]:8547", "x@localhost", "[::ffff:192.168.0.1]", "2130706433"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
