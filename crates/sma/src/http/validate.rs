//! `POST /validate`: does this token pass?
//!
//! Request and answer: `docs/PROTOCOL.md` section 3.
//! ```text
//! {"camera_token": {…}, "manufacturer_authority_id": "…", "request_id": "<32 hex>"}
//!  and for version 2 also "enc", "key_id", "blinded_message"
//! 200 {"valid": true | false, "message": "token_valid" | "token_invalid" | "token_used" | "token_stale" | "rekey",
//!      "endorsement": "<the blind signature, where a version 2 token passed>"}
//! 422 malformed_token, wrong_authority, wrong_field     400 malformed_json, duplicate_key
//! 401, 403, 413, 415 as everywhere                      500, 503: no verdict, try again
//! ```

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use birthmark_core::api::validate::{ValidateAnswer, ValidateRequest};
use birthmark_service::auth::Caller;
use birthmark_service::extract::StrictJson;
use birthmark_service::problem::Problem;

use super::{AGGREGATOR, endorse_problem};
use crate::authority::Sma;
use crate::question::{FormError, Question};

/// A version 2 request with a 4096-bit message has about 1,700 bytes.
const MAX_BODY: usize = 8 * 1024;

pub(super) async fn handle(
    State(sma): State<Sma>,
    caller: Caller,
    StrictJson(request): StrictJson<ValidateRequest, MAX_BODY>,
) -> Result<Json<ValidateAnswer>, Problem> {
    caller.require(&[AGGREGATOR])?;
    let question = question(&sma, &request).map_err(|error| form_problem(&error))?;
    let answers = sma.answer(caller.name(), &[question]).await.map_err(|error| endorse_problem(&error))?;
    // One question, one answer.
    answers.into_iter().next().map(Json).ok_or_else(Problem::internal)
}

/// The question, if it is one that can be answered.
pub(super) fn question(sma: &Sma, request: &ValidateRequest) -> Result<Question, FormError> {
    let question = Question::parse(request, sma.authority_id())?;
    sma.admit(&question)?;
    Ok(question)
}

fn form_problem(error: &FormError) -> Problem {
    let title = match error {
        FormError::Authority => "this is not the authority that was asked",
        FormError::Token(_)
        | FormError::Binding
        | FormError::RequestId(_)
        | FormError::Version
        | FormError::Residue => "the token or what goes with it is malformed",
    };
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.code(), title).with_detail(error.to_string())
}

#[cfg(test)]
mod tests;
