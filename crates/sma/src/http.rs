//! The authority over HTTP.
//!
//! For: the routes and the roles that may use them. Not for: what the endpoints do (one file each), or
//! the listening socket (`birthmark_service::server`, bound by the binary).
//!
//! ```text
//! POST /validate                             aggregator   one token
//! POST /validate/batch                       aggregator   up to 256 tokens
//! POST /api/v1/devices/provision             admin        a camera
//! GET  /api/v1/devices/{serial}              admin        its status
//! GET  /api/v1/devices/{serial}/tpm          admin        what its TPM showed
//! POST /api/v1/devices/{serial}/revoke       admin
//! POST /api/v1/devices/{serial}/restore      admin
//! PUT  /api/v1/devices/{serial}/quota        admin        its own limits
//! POST /api/v1/devices/{serial}/reprovision  admin        new secrets
//! GET  /api/v1/audit                         admin        the audit log
//! POST /api/v1/keys/rotate                   admin        a new endorsement key
//! POST /api/v1/keys/{key_id}/revoke          admin
//! POST /api/v1/devices/renew                 anyone       a certificate, for its key's holder
//! GET  /api/v1/revocations                   anyone       the signed list
//! GET  /authority.json                       anyone       the public keys
//! GET  /health, /ready                       anyone
//! ```

mod administered;
mod audit;
mod authority;
mod device;
mod device_tpm;
mod keys_revoke;
mod keys_rotate;
mod path;
mod provision;
mod quota;
mod renew;
mod reprovision;
mod restore;
mod revocations;
mod revoke;
mod validate;
mod validate_batch;

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use birthmark_service::auth::Authenticator;
use birthmark_service::postgres::PostgresError;
use birthmark_service::problem::Problem;
use birthmark_service::server::{Readiness, health_routes};

use crate::authority::Sma;
use crate::authority::control::ControlError;
use crate::endorser::{EndorseError, KeyError};
use crate::signer::pool::PoolError;
use crate::store::StoreError;

/// May have tokens validated.
const AGGREGATOR: &str = "aggregator";
/// May provision cameras, and change and see what the authority has of them.
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
        .route("/api/v1/devices/renew", post(renew::handle))
        .route("/api/v1/devices/{serial}", get(device::handle))
        .route("/api/v1/devices/{serial}/tpm", get(device_tpm::handle))
        .route("/api/v1/devices/{serial}/revoke", post(revoke::handle))
        .route("/api/v1/devices/{serial}/restore", post(restore::handle))
        .route("/api/v1/devices/{serial}/quota", put(quota::handle))
        .route("/api/v1/devices/{serial}/reprovision", post(reprovision::handle))
        .route("/api/v1/audit", get(audit::handle))
        .route("/api/v1/keys/rotate", post(keys_rotate::handle))
        .route("/api/v1/keys/{key_id}/revoke", post(keys_revoke::handle))
        .route("/api/v1/revocations", get(revocations::handle))
        .route("/authority.json", get(authority::handle))
        .with_state(AppState { sma, authenticator })
        .merge(health_routes(ready))
}

/// Errors that are ours: retried by the caller, never a verdict.
fn store_problem(error: &StoreError) -> Problem {
    match error {
        StoreError::Busy => Problem::busy(),
        StoreError::Postgres(PostgresError::Unreachable(_) | PostgresError::TimedOut(_)) | StoreError::Contended => {
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

/// Why nothing was done to a device.
fn control_problem(error: &ControlError) -> Problem {
    match error {
        ControlError::Unknown => unknown_device(),
        ControlError::Store(error) => store_problem(error),
    }
}

fn unknown_device() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown_device", "no camera of this serial is registered")
}

/// Why endorsement keys did not change.
fn key_problem(error: &KeyError) -> Problem {
    match error {
        KeyError::Store(error) => store_problem(error),
        KeyError::Unknown => {
            Problem::new(StatusCode::NOT_FOUND, "unknown_key", "there is no endorsement key with this id")
        }
        KeyError::AlreadyRevoked => {
            Problem::new(StatusCode::CONFLICT, "key_revoked", "the endorsement key is revoked already")
        }
        KeyError::Full => Problem::new(
            StatusCode::CONFLICT,
            "too_many_keys",
            "a network file lists no more endorsement keys than there are already",
        ),
        KeyError::Conflict => Problem::new(
            StatusCode::CONFLICT,
            "keys_changed",
            "somebody else changed the endorsement keys at the same moment",
        ),
        KeyError::Damaged(_) | KeyError::Refused(_) | KeyError::Generate => {
            tracing::error!(%error, "the endorsement keys could not be changed");
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
