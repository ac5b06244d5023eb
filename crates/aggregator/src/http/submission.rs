//! `GET /api/v1/submission/{receipt_id}`: how far a submission is, for the holder of its receipt.
//!
//! For: cameras that did not wait. Not for: anybody else; a receipt is random and nobody can list them.
//!
//! `docs/PROTOCOL.md` section 2:
//! ```text
//! 200 {"receipt_id", "status": "pending_validation", "message"}
//! 200 {…, "status": "validated", "assurance": "endorsed" | "attested"}
//! 200 {…, "status": "confirmed", "assurance", "tx_id", "block_height", "proof"}    no proof under ?proof=0
//! 200 {…, "status": "rejected", "reason": "token_used", "reseal": true}
//! 404 unknown_receipt    422 wrong_receipt
//! ```

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use birthmark_core::api::submit::SubmitAnswer;
use birthmark_service::problem::Problem;
use http::StatusCode;
use uuid::Uuid;

use super::who::{Counted, Who};
use super::{answer, openapi, proof_wish, unavailable};
use crate::aggregator::Inner;
use crate::pipeline::state::State as Stand;
use crate::registry::ProofWish;

/// How far a submission is, for the holder of its receipt.
#[utoipa::path(get, path = "/api/v1/submission/{receipt_id}", operation_id = "submission", tag = openapi::SUBMITTING,
    params(("receipt_id" = String, Path, description = "A UUID with hyphens.", format = "uuid"),
           ("proof" = Option<String>, Query, pattern = "^[01]$", description = "`0` leaves the proof out.")),
    responses((status = 200, description = "Where it stands. With the proof, once confirmed.", body = SubmitAnswer),
              (status = 404, description = "`unknown_receipt`."),
              (status = 422, description = "`wrong_receipt`, `malformed_query`."),
              (status = 503, description = "`busy`, `database_unavailable`.")))]
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
) -> Result<Json<SubmitAnswer>, Problem> {
    let id = path.ok().and_then(|Path(text)| receipt_id(&text)).ok_or_else(malformed)?;
    let wish = proof_wish(query)?;
    let receipt = inner.store.receipt(id).await.map_err(|error| unavailable(&error))?.ok_or_else(unknown)?;
    let proof = match (&receipt.state, wish) {
        (Stand::Confirmed(recorded), ProofWish::Unsaid | ProofWish::With) => {
            inner.registry.proof(&receipt.body, *recorded).await
        }
        (Stand::Confirmed(_), ProofWish::Without) | (Stand::Received | Stand::Validated(_) | Stand::Rejected(_), _) => {
            None
        }
    };
    Ok(Json(answer(receipt, proof)))
}

/// The usual form with hyphens only: one text for one receipt.
fn receipt_id(text: &str) -> Option<Uuid> {
    (text.len() == uuid::fmt::Hyphenated::LENGTH).then(|| Uuid::try_parse(text).ok()).flatten()
}

fn malformed() -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "wrong_receipt", "the receipt is no UUID with hyphens")
}

fn unknown() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown_receipt", "there is no submission with this receipt")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hyphenated_form_is_a_receipt() {
        let id = Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef);
        assert_eq!(receipt_id(&id.hyphenated().to_string()), Some(id));
        assert_eq!(receipt_id(&id.hyphenated().to_string().to_uppercase()), Some(id));
        for bad in [id.simple().to_string(), id.urn().to_string(), id.braced().to_string(), "x".repeat(36)] {
            assert_eq!(receipt_id(&bad), None, "{bad}");
        }
    }
}
