//! `/health` and `/ready`.
//!
//! For: supervisors and load balancers. `/health` says that the process runs and answers; `/ready` that
//! it may be sent work. Not for: figures (metrics).
//!
//! ```text
//! GET /health  200 {"status":"alive"}
//! GET /ready   200 {"status":"ready"}  or  503 {"status":503,"code":"not_ready",…,"detail":"<reason>"}
//! ```

use std::borrow::Cow;
use std::future::Future;
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderValue, StatusCode, header};

use crate::problem::Problem;

/// Whether work may be sent here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Yes.
    Ready,
    /// Not now, for a reason that anyone may read.
    NotReady(Cow<'static, str>),
}

/// Routes for `/health`, and for `/ready` as the closure decides at each request.
pub fn health_routes<S, F, Fut>(ready: F) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    F: Fn() -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Readiness> + Send,
{
    Router::new().route("/health", get(async || status("alive"))).route(
        "/ready",
        get(async move || match ready().await {
            Readiness::Ready => status("ready"),
            Readiness::NotReady(reason) => not_ready(reason).into_response(),
        }),
    )
}

fn status(word: &str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, format!(r#"{{"status":"{word}"}}"#)).into_response()
}

fn not_ready(reason: Cow<'static, str>) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "not ready to serve")
        .with_detail(reason)
        .with_retry_after(Duration::from_secs(1))
}
