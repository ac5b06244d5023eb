//! The HTTP interface: one endpoint, one file.
//!
//! ```text
//! POST /api/v1/submit                  submit       GET /network.json      the file, as it was read
//! POST /api/v1/submit/batch            submit_batch
//! GET  /api/v1/submission/{receipt_id} submission   GET /health, /ready    birthmark_service
//! GET  /api/v1/verify/{image_hash}     verify       GET /openapi.json      openapi
//! GET  /api/v1/verify/prefix/{prefix}  verify_prefix
//! GET  /checkpoint                     verify_prefix
//! GET  /api/v1/status                  status       GET /docs              docs
//! ```

mod docs;
mod edits;
mod intake;
mod openapi;
mod status;
mod submission;
mod submit;
mod submit_batch;
mod verify;
mod verify_prefix;
mod who;

pub(crate) use who::Limit;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use birthmark_core::api::submit::SubmitAnswer;
use birthmark_service::problem::Problem;
use birthmark_service::server::{Readiness, health_routes};
use http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::aggregator::Inner;
use crate::pipeline::state::State as Stand;
use crate::registry::ProofWish;
use crate::store::{Receipt, StoreError};

/// All routes.
pub(crate) fn router(inner: Arc<Inner>) -> Router {
    let readiness = {
        let inner = Arc::clone(&inner);
        move || {
            let inner = Arc::clone(&inner);
            async move {
                match inner.store.health().await {
                    Ok(()) => Readiness::Ready,
                    Err(StoreError::Closed(_)) => Readiness::NotReady("the database is closed".into()),
                    Err(error) => {
                        // The cause is for the log; it may name files.
                        tracing::debug!(%error, "not ready");
                        Readiness::NotReady("the database does not answer".into())
                    }
                }
            }
        }
    };
    let (router, _) = described().split_for_parts();
    router.merge(docs::routes()).merge(health_routes(readiness)).with_state(inner)
}

/// The endpoints together with what is said of them.
fn described() -> OpenApiRouter<Arc<Inner>> {
    OpenApiRouter::with_openapi(openapi::frame())
        .routes(routes!(submit::handle))
        .routes(routes!(submit_batch::handle))
        .routes(routes!(submission::handle))
        .routes(routes!(verify::handle))
        .routes(routes!(verify_prefix::handle))
        .routes(routes!(verify_prefix::checkpoint))
        .routes(routes!(status::handle))
        .routes(routes!(network_file))
}

/// The network file that this aggregator was started with.
///
/// For lookers-on. A verifier takes its own from elsewhere, never from the server that it checks.
#[utoipa::path(get, path = "/network.json", operation_id = "network_file", tag = openapi::OPERATION,
    responses((status = 200, description = "The file, byte for byte.", body = Object)))]
async fn network_file(State(inner): State<Arc<Inner>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], inner.network_file.clone())
}

/// What the holder of a receipt is told.
fn answer(receipt: Receipt, proof: Option<String>) -> SubmitAnswer {
    let mut answer = SubmitAnswer {
        receipt_id: receipt.id,
        status: receipt.state.status(),
        message: String::new(),
        assurance: receipt.state.assurance(),
        tx_id: None,
        block_height: None,
        reason: None,
        reseal: None,
        proof,
    };
    let message = match receipt.state {
        Stand::Received => "stored; the authority has not judged the token yet",
        Stand::Validated(_) => "vouched for; the registry has not recorded it yet",
        Stand::Confirmed(recorded) => {
            answer.tx_id = Some(recorded.tx_id);
            answer.block_height = Some(recorded.block_height);
            "on record"
        }
        Stand::Rejected(reason) => {
            answer.reseal = Some(reason.asks_to_reseal());
            answer.reason = Some(reason.as_str().to_owned());
            if reason.asks_to_reseal() { "refused; submit the photo again with a new token" } else { "refused" }
        }
    };
    message.clone_into(&mut answer.message);
    answer
}

/// `proof=0` or `proof=1` in a query; other names are ignored, other values refused.
fn proof_wish(query: Option<&str>) -> Result<ProofWish, Problem> {
    let value = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("proof="));
    match value {
        None => Ok(ProofWish::Unsaid),
        Some("0") => Ok(ProofWish::Without),
        Some("1") => Ok(ProofWish::With),
        Some(_) => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "malformed_query",
            "the query parameter proof is 0 or 1",
        )),
    }
}

/// The store could not be asked: nothing was stored, as far as is known, and the cause is ours.
fn unavailable(error: &StoreError) -> Problem {
    match error {
        StoreError::Busy | StoreError::Closed(_) => Problem::busy(),
        StoreError::Postgres(_) => {
            // Debug: while the server is away, every request brings one. The stages say it aloud.
            tracing::debug!(%error, "the database does not answer");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "database_unavailable", "the database does not answer now")
                .with_retry_after(DATABASE_RETRY)
        }
        StoreError::Sqlite(_) | StoreError::Unreadable(_) | StoreError::Panicked => {
            tracing::error!(%error, "the database failed a request");
            Problem::internal()
        }
    }
}

const DATABASE_RETRY: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proof_is_wished_by_0_and_1_only() {
        assert_eq!(proof_wish(None), Ok(ProofWish::Unsaid));
        assert_eq!(proof_wish(Some("")), Ok(ProofWish::Unsaid));
        assert_eq!(proof_wish(Some("x=1&proof=0")), Ok(ProofWish::Without));
        assert_eq!(proof_wish(Some("proof=1")), Ok(ProofWish::With));
        for bad in ["proof=", "proof=2", "proof=true", "proof=01"] {
            assert_eq!(proof_wish(Some(bad)).unwrap_err().code(), "malformed_query", "{bad}");
        }
    }
}
