//! The node's HTTP interface, one file for each endpoint.
//!
//! Shapes: `docs/PROTOCOL.md` sections 7, 8, 11, 12 and 14.

mod block;
mod blockchain_submit;
mod blocks;
mod governance;
mod log;
mod refuse;
mod status;
mod submit;
mod transactions;
mod verify;
mod verify_prefix;

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use axum::routing::{get, post};
use birthmark_ledger::LedgerError;
use birthmark_service::auth::Authenticator;
use birthmark_service::problem::Problem;
use birthmark_service::server::{Readiness, health_routes};
use http::StatusCode;
use tower_http::compression::CompressionLayer;
use tracing::error;

use crate::node::Shared;
use crate::publisher::{Published, Publisher};
use crate::reads::Reads;

/// What every handler gets.
#[derive(Clone, Debug)]
pub(crate) struct App {
    shared: Arc<Shared>,
    authenticator: Authenticator,
}

impl FromRef<App> for Arc<Shared> {
    fn from_ref(app: &App) -> Self {
        Self::clone(&app.shared)
    }
}

impl FromRef<App> for Authenticator {
    fn from_ref(app: &App) -> Self {
        app.authenticator.clone()
    }
}

pub(crate) fn router(shared: Arc<Shared>, authenticator: Authenticator) -> Router {
    let reads = read_routes(shared.reads());
    Router::new()
        .route("/api/v1/transactions", post(transactions::post))
        .route("/api/v1/blockchain/submit", post(blockchain_submit::post))
        .route("/api/v1/governance/acts", post(governance::post))
        .with_state(App { shared, authenticator })
        .merge(reads)
}

/// The interface of a node that takes nothing.
pub(crate) fn follower_router(reads: Arc<Reads>) -> Router {
    Router::new()
        .route("/api/v1/transactions", post(refuse::post))
        .route("/api/v1/blockchain/submit", post(refuse::post))
        .route("/api/v1/governance/acts", post(refuse::post))
        .merge(read_routes(reads))
}

fn read_routes(reads: Arc<Reads>) -> Router {
    let for_readiness = Arc::clone(&reads);
    let is_ready = move || {
        let published = for_readiness.publisher.newest();
        async move {
            if published.is_some() {
                Readiness::Ready
            } else {
                Readiness::NotReady("no checkpoint is published yet".into())
            }
        }
    };
    Router::new()
        .route("/api/v1/blockchain/verify/{hash}", get(verify::get))
        .route("/api/v1/blockchain/status", get(status::get))
        .route("/api/v1/verify/{hash}", get(verify::get))
        .route("/api/v1/verify/prefix/{prefix}", get(verify_prefix::get))
        .route("/api/v1/block/latest", get(block::latest))
        .route("/api/v1/block/{height}", get(block::at))
        .route("/api/v1/blocks/{from}", get(blocks::get))
        .route("/api/v1/status", get(status::get))
        .route("/api/v1/governance", get(governance::get))
        .route("/checkpoint", get(log::checkpoint))
        .route("/tile/{*path}", get(log::tile))
        // Hashes do not compress; leaves do.
        .route("/tile/entries/{*path}", get(log::entries).layer(CompressionLayer::new()))
        .route("/network.json", get(governance::network_file))
        .with_state(reads)
        .merge(health_routes(is_ready))
}

/// The published checkpoint, or `503` until there is one.
fn published(publisher: &Publisher) -> Result<Arc<Published>, Problem> {
    publisher.newest().ok_or_else(|| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no_checkpoint", "no checkpoint is published yet")
            .with_retry_after(std::time::Duration::from_secs(1))
    })
}

/// A ledger that cannot be read is never a verdict: the client should ask again, or ask another node.
fn unreadable(cause: &LedgerError) -> Problem {
    error!(error = %cause, "the ledger cannot be read");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "ledger_unreadable", "this node cannot read its ledger")
}
