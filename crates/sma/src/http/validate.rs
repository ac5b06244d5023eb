//! `POST /validate`: does this token pass?
//!
//! Request and answer: `docs/PROTOCOL.md` section 3.
//! ```text
//! {"camera_token": {…}, "manufacturer_authority_id": "…", "request_id": "<32 hex>"}
//! 200 {"valid": true | false, "message": "token_valid" | "token_invalid" | "token_used" | "token_stale" | "rekey"}
//! 422 malformed_token, wrong_authority, wrong_field     400 malformed_json, duplicate_key
//! 401, 403, 413, 415 as everywhere                      500, 503: no verdict, try again
//! ```

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use birthmark_core::api::validate::{Message, ValidateAnswer, ValidateRequest};
use birthmark_service::auth::Caller;
use birthmark_service::extract::StrictJson;
use birthmark_service::problem::Problem;

use super::{AGGREGATOR, store_problem};
use crate::authority::Sma;
use crate::question::{FormError, Question};
use crate::rules::Verdict;

/// A version 2 request with a 4096-bit message has about 1,700 bytes.
const MAX_BODY: usize = 8 * 1024;

pub(super) async fn handle(
    State(sma): State<Sma>,
    caller: Caller,
    StrictJson(request): StrictJson<ValidateRequest, MAX_BODY>,
) -> Result<Json<ValidateAnswer>, Problem> {
    caller.require(&[AGGREGATOR])?;
    let question = Question::parse(&request, sma.authority_id()).map_err(|error| form_problem(&error))?;
    let verdicts = sma.judge(caller.name(), &[question]).await.map_err(|error| store_problem(&error))?;
    // One question, one verdict.
    verdicts.first().map(|verdict| Json(answer(*verdict))).ok_or_else(Problem::internal)
}

pub(super) fn answer(verdict: Verdict) -> ValidateAnswer {
    let message = match verdict {
        Verdict::Failed(message) => message,
        Verdict::Passed | Verdict::PassedToSign => Message::Valid,
    };
    ValidateAnswer { valid: message == Message::Valid, message: message.text().to_owned(), endorsement: None }
}

fn form_problem(error: &FormError) -> Problem {
    let title = match error {
        FormError::Authority => "this is not the authority that was asked",
        FormError::Token(_) | FormError::Binding | FormError::RequestId(_) | FormError::Version => {
            "the token or what goes with it is malformed"
        }
    };
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.code(), title).with_detail(error.to_string())
}

#[cfg(test)]
mod tests;
