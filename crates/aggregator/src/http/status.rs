//! `GET /api/v1/status`: figures for operators.
//!
//! For: seeing at a glance whether work piles up, and on whose account. Not for: single submissions.
//!
//! ```text
//! {"submitter": "aggregator_node_001", "pending": 0, "validated": 0, "backlog_oldest_seconds": 0,
//!  "confirmed_since_start": 20, "rejected_since_start": 0, "troubled": ["SIMULATED_MFG_001"],
//!  "held": [{"authority": "SIMULATED_MFG_001", "cause": "endorsement_failed", "submissions": 3}]}
//! ```
//! `backlog_oldest_seconds` is 0 without a backlog; `troubled` names those whose last answer was an error
//! and those in `held`. `held` counts the submissions that an authority passed and that wait all the same:
//! `endorsement_failed` (its blind signature is missing or wrong), `unknown_endorsement_key` (the network
//! file does not have the key).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use birthmark_core::api::submit::SubmissionStatus;
use birthmark_core::ids::SubmitterName;
use birthmark_service::problem::Problem;
use serde::Serialize;
use utoipa::ToSchema;

use super::{openapi, unavailable};
use crate::aggregator::Inner;

/// Figures of this aggregator.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Status {
    /// Its name in the network file.
    #[schema(value_type = String)]
    submitter: SubmitterName,
    pending: u64,
    validated: u64,
    backlog_oldest_seconds: u64,
    confirmed_since_start: u64,
    rejected_since_start: u64,
    troubled: Vec<String>,
    held: Vec<Held>,
}

/// What an authority passed and what waits all the same.
#[derive(Debug, Serialize, ToSchema)]
struct Held {
    authority: String,
    cause: &'static str,
    submissions: usize,
}

/// How much work waits, and on whose account.
#[utoipa::path(get, path = "/api/v1/status", operation_id = "status", tag = openapi::OPERATION,
    responses((status = 200, description = "Figures.", body = Status),
              (status = 503, description = "`busy`, `database_unavailable`.")))]
pub(super) async fn handle(State(inner): State<Arc<Inner>>) -> Result<Json<Status>, Problem> {
    let count = |status| inner.figures.count(status);
    let mut status = Status {
        submitter: inner.submitter.clone(),
        pending: count(SubmissionStatus::PendingValidation),
        validated: count(SubmissionStatus::Validated),
        backlog_oldest_seconds: 0,
        confirmed_since_start: count(SubmissionStatus::Confirmed),
        rejected_since_start: count(SubmissionStatus::Rejected),
        troubled: inner.troubled(),
        held: inner
            .held()
            .into_iter()
            .map(|(authority, cause, submissions)| Held { authority, cause: cause.name(), submissions })
            .collect(),
    };
    // After the counts: no age is shown for a backlog that they show as gone.
    let oldest = inner.store.oldest_unfinished(inner.authority_names()).await.map_err(|error| unavailable(&error))?;
    if let Some(oldest) = oldest {
        status.backlog_oldest_seconds = inner.clock.now().0.saturating_sub(oldest.0);
    }
    Ok(Json(status))
}
