//! `POST /add-checkpoint` (C2SP tlog-witness): a log's new checkpoint, and the proof that it extends the last one.
//!
//! `200` with the cosignature's line; `400` malformed, or the old size above the new one; `403` not signed by the
//! log; `404` a log that this witness does not know; `409` with the size that was signed last, as
//! `text/x.tlog.size`; `422` a proof that does not hold.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use birthmark_core::witness::{AddCheckpoint, MAX_REQUEST, Refusal};
use birthmark_service::extract::BoundedBytes;
use birthmark_service::problem::Problem;
use birthmark_service::server::{Readiness, health_routes};
use http::{StatusCode, header};
use tracing::error;

use super::{Unsigned, Witness};

pub(super) fn router(witness: Arc<Witness>) -> Router {
    Router::new()
        .route("/add-checkpoint", post(add_checkpoint))
        .with_state(witness)
        .merge(health_routes(|| async { Readiness::Ready }))
}

async fn add_checkpoint(
    State(witness): State<Arc<Witness>>,
    BoundedBytes(body): BoundedBytes<MAX_REQUEST>,
) -> Result<Response, Problem> {
    let malformed = || Problem::new(StatusCode::BAD_REQUEST, "malformed_request", "the body is no add-checkpoint");
    let text = std::str::from_utf8(&body).map_err(|_| malformed())?;
    let request = AddCheckpoint::parse(text).map_err(|cause| malformed().with_detail(cause.to_string()))?;
    let added = tokio::task::spawn_blocking(move || witness.add(&request)).await.map_err(|_| Problem::internal())?;
    match added {
        Ok(line) => Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{line}\n")).into_response()),
        Err(unsigned) => refusal(&unsigned),
    }
}

fn refusal(unsigned: &Unsigned) -> Result<Response, Problem> {
    let (status, code, title) = match unsigned {
        Unsigned::UnknownLog => (StatusCode::NOT_FOUND, "unknown_log", "this witness does not know the log"),
        Unsigned::NotTheLogs => (StatusCode::FORBIDDEN, "log_signature", "the log has not signed the checkpoint"),
        Unsigned::Refused(Refusal::OldAboveNew) => {
            (StatusCode::BAD_REQUEST, "old_above_new", "the old size is above the checkpoint's")
        }
        Unsigned::Refused(Refusal::BadProof) => {
            (StatusCode::UNPROCESSABLE_ENTITY, "bad_proof", "the consistency proof does not hold")
        }
        Unsigned::Refused(Refusal::Stale(size) | Refusal::OtherRoot(size)) => {
            let headers = [(header::CONTENT_TYPE, "text/x.tlog.size")];
            return Ok((StatusCode::CONFLICT, headers, format!("{size}\n")).into_response());
        }
        Unsigned::Failed(cause) => {
            error!(error = %cause, "what is to be signed could not be kept");
            return Err(Problem::internal());
        }
    };
    Err(Problem::new(status, code, title))
}
