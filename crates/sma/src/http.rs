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

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use axum::routing::post;
use birthmark_service::auth::Authenticator;
use birthmark_service::problem::Problem;
use birthmark_service::server::{Readiness, health_routes};

use crate::authority::Sma;
use crate::endorser::EndorseError;
use crate::signer::pool::PoolError;
use crate::store::StoreError;

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
    let store = Arc::clone(sma.store());
    let ready = move || {
        let store = Arc::clone(&store);
        async move {
            match store.health().await {
                Ok(()) => Readiness::Ready,
                Err(error) => {
                    // The cause is the operator's business.
                    tracing::warn!(%error, "not ready");
                    Readiness::NotReady("the database does not work".into())
                }
            }
        }
    };
    Router::new()
        .route("/validate", post(validate::handle))
        .route("/validate/batch", post(validate_batch::handle))
        .route("/api/v1/devices/provision", post(provision::handle))
        .with_state(AppState { sma, authenticator })
        .merge(health_routes(ready))
}

/// Errors that are ours: retried by the caller, never a verdict.
fn store_problem(error: &StoreError) -> Problem {
    match error {
        StoreError::Busy => Problem::busy(),
        StoreError::Unreachable(_) | StoreError::TimedOut(_) | StoreError::Contended => {
            tracing::warn!(%error, "the database is away; the request was answered with an error");
            Problem::busy()
        }
        StoreError::Closed(_)
        | StoreError::Sqlite(_)
        | StoreError::Postgres(_)
        | StoreError::Damaged(_)
        | StoreError::Panicked => {
            tracing::error!(%error, "the database failed; the request was answered with an error");
            Problem::internal()
        }
    }
}

/// As [`store_problem`]: no verdict, to be asked again.
fn endorse_problem(error: &EndorseError) -> Problem {
    match error {
        EndorseError::Store(error) => store_problem(error),
        EndorseError::Sign(PoolError::Busy | PoolError::Stopped) => Problem::busy(),
        EndorseError::Open(_)
        | EndorseError::Gone(_)
        | EndorseError::Sign(PoolError::Sign(_) | PoolError::Panicked) => {
            tracing::error!(%error, "a token passed and could not be endorsed; the request was answered with an error");
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
