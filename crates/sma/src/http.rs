//! The authority over HTTP.
//!
//! For: the routes and the roles that may use them. Not for: what the endpoints do (one file each), or
//! the listening socket (`birthmark_service::server`, bound by the binary).
//!
//! ```text
//! POST /validate                      aggregator   one token
//! POST /validate/batch                aggregator   up to 256 tokens
//! POST /api/v1/devices/provision      admin        a camera
//! GET  /health, /ready                anyone
//! ```

mod provision;
mod validate;
mod validate_batch;

use axum::Router;
use axum::extract::FromRef;
use axum::routing::post;
use birthmark_service::auth::Authenticator;
use birthmark_service::problem::Problem;
use birthmark_service::server::{Readiness, health_routes};
use birthmark_service::sqlite::WriteError;

use crate::authority::Sma;

/// May have tokens validated.
const AGGREGATOR: &str = "aggregator";
/// May provision cameras.
const ADMIN: &str = "admin";

#[derive(Clone, Debug)]
struct AppState {
    sma: Sma,
    authenticator: Authenticator,
}

pub(crate) fn router(sma: Sma, authenticator: Authenticator) -> Router {
    let database = sma.database().clone();
    let ready = move || {
        // The cause is the operator's business; the log has it.
        let closed = database.closed().is_some();
        async move { if closed { Readiness::NotReady("the database is closed".into()) } else { Readiness::Ready } }
    };
    Router::new()
        .route("/validate", post(validate::handle))
        .route("/validate/batch", post(validate_batch::handle))
        .route("/api/v1/devices/provision", post(provision::handle))
        .with_state(AppState { sma, authenticator })
        .merge(health_routes(ready))
}

/// Errors that are ours: retried by the caller, never a verdict.
fn store_problem(error: &WriteError<rusqlite::Error>) -> Problem {
    match error {
        WriteError::Busy => Problem::busy(),
        WriteError::Job(_) | WriteError::Panicked | WriteError::Commit(_) | WriteError::Closed(_) => {
            tracing::error!(%error, "the database failed; the request was answered with an error");
            Problem::internal()
        }
    }
}

impl FromRef<AppState> for Sma {
    fn from_ref(state: &AppState) -> Self {
        state.sma.clone()
    }
}

impl FromRef<AppState> for Authenticator {
    fn from_ref(state: &AppState) -> Self {
        state.authenticator.clone()
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Authority;

    #[tokio::test]
    async fn health_and_readiness_need_no_credential_and_follow_the_database() {
        let authority = Authority::new();
        assert_eq!(authority.get("/health").await, 200);
        assert_eq!(authority.get("/ready").await, 200);
        authority.sma.close().await;
        assert_eq!(authority.get("/health").await, 200);
        assert_eq!(authority.get("/ready").await, 503);
    }
}
