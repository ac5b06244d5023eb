//! `GET /api/v1/verify/{image_hash}`: what the registry holds about a hash, asked of the node.
//!
//! For: clients that know the aggregator's address only. Not for: judging the answer, whose proof the
//! client checks itself; nor for pending submissions, which only the holder of a receipt sees.
//!
//! `docs/PROTOCOL.md` section 11. A node that cannot be asked is `503`, never "not on record".

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use birthmark_core::ImageHash;
use birthmark_core::api::verify::VerifyAnswer;
use birthmark_service::problem::Problem;
use http::StatusCode;

use super::who::{Counted, Who};
use super::{openapi, proof_wish};
use crate::aggregator::Inner;
use crate::registry::{AskError, Question};

/// What the registry holds about a hash.
///
/// No word of it is to be believed: `proof` is checked by the client, against a policy of its own. A registry that
/// cannot be asked is `503`, never "not on record".
#[utoipa::path(get, path = "/api/v1/verify/{image_hash}", operation_id = "verify", tag = openapi::VERIFYING,
    params(("image_hash" = String, Path, pattern = "^[0-9a-fA-F]{64}$",
            description = "SHA-256 of a file, of its picture data or of its sensor samples, in hex."),
           ("proof" = Option<String>, Query, pattern = "^[01]$",
            description = "`0` leaves proofs out; `1` adds the proof that nothing is on record.")),
    responses((status = 200, description = "On record or not.", body = VerifyAnswer),
              (status = 422, description = "`malformed_hash`, `malformed_query`."),
              (status = 503, description = "`registry_unavailable`.")))]
pub(super) async fn handle(
    State(inner): State<Arc<Inner>>,
    who: Who,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Response {
    let work = async { look_up(&inner, path, query.as_deref()).await.into_response() };
    who.counted(&inner, Counted::Lookups(1), work).await
}

async fn look_up(
    inner: &Inner,
    path: Result<Path<String>, PathRejection>,
    query: Option<&str>,
) -> Result<impl IntoResponse + use<>, Problem> {
    let hash = path.ok().and_then(|Path(text)| ImageHash::from_hex(&text).ok()).ok_or_else(malformed)?;
    let wish = proof_wish(query)?;
    let body = inner.registry.ask(&Question::Hash(hash, wish)).await.map_err(|error| unavailable(&error))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body))
}

fn malformed() -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "malformed_hash", "the image hash must be 64 hex digits")
}

/// A registry that cannot be asked is `503`, never "not on record".
pub(super) fn unavailable(error: &AskError) -> Problem {
    // Debug: a client can cause as many of these as it likes while the node is away.
    tracing::debug!(%error, "the node could not be asked about a hash");
    let retry_after = match error {
        AskError::Call(error) => error.retry_after().unwrap_or(RETRY),
        AskError::OffTopic | AskError::Nobody | AskError::NoSuchPage => RETRY,
    };
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "registry_unavailable", "the registry cannot be asked now")
        .with_retry_after(retry_after.min(LONGEST_RETRY))
}

const RETRY: Duration = Duration::from_secs(2);
const LONGEST_RETRY: Duration = Duration::from_mins(1);
