//! `POST /api/v1/submit`: takes a submission in.
//!
//! For: everything between the request's first byte and its answer. Not for: the verdict; a well-formed
//! submission is taken however bad its token.
//!
//! `docs/PROTOCOL.md` section 2:
//! ```text
//! 202 {"receipt_id", "status": "pending_validation", "message"}      stored, on disk
//! 200 the same with the present status                               came before, or ended within Prefer: wait
//! 200 {"status": "confirmed", "assurance", "tx_id", "block_height"}  this body is on record already, at the
//!                                                                    assurance aimed at or a higher one
//! ```

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use axum::response::{IntoResponse, Response};
use birthmark_core::api::submit::SubmitAnswer;
use birthmark_core::submission::{MAX_SUBMISSION, SubmissionJson};
use birthmark_service::extract::BoundedBytes;
use birthmark_service::prefer::PreferWait;
use birthmark_service::problem::Problem;
use bytes::Bytes;
use http::StatusCode;
use uuid::Uuid;

use super::intake::{Told, admit, require_json, take_in, told};
use super::who::{Counted, Who};
use super::{answer, openapi, unavailable};
use crate::aggregator::Inner;
use crate::pipeline::state::State as Stand;
use crate::store::{Intake, Receipt};
use crate::waiters::Waiter;

/// Takes a submission in.
///
/// The answer comes once it is on disk; the verdict is the authority's. Sending the same again changes nothing and
/// is answered with the same receipt.
#[utoipa::path(post, path = "/api/v1/submit", operation_id = "submit", tag = openapi::SUBMITTING,
    params(("Prefer" = Option<String>, Header, example = "wait=10",
            description = "`wait=N` holds the answer back until the submission has ended, for at most N seconds \
                (30). RFC 7240.")),
    request_body(content = SubmissionJson, description = "At most 64 KiB. Unknown fields are ignored.",
        example = json!(openapi::example())),
    responses((status = 200, body = inline(Told),
               description = "Came before; is on record already; or ended within `Prefer: wait`.",
               headers(("Preference-Applied" = String, description = "With `Prefer: wait` that was honoured.")),
               links(("receipt" = (operation_id = "submission",
                                   parameters(("receipt_id" = "$response.body#/receipt_id")))))),
              (status = 202, description = "Stored, on disk. It has not ended yet.", body = SubmitAnswer,
               headers(("Preference-Applied" = String, description = "With `Prefer: wait` that was honoured.")),
               links(("receipt" = (operation_id = "submission",
                                   parameters(("receipt_id" = "$response.body#/receipt_id")))))),
              (status = 403, description = "`software_authority_required`."),
              (status = 422, description = "`wrong_field`, `wrong_submission_type`, `wrong_image`, \
                  `wrong_commitment`, `wrong_entries`, `wrong_capture`, `wrong_edit`, `wrong_authority`, \
                  `unknown_authority`, `unknown_parent`, `wrong_token`, `wrong_timestamp`, `timestamp_in_milliseconds`."),
              (status = 503, description = "`busy`, `backlog_full`, `database_unavailable`.")))]
pub(super) async fn handle(State(inner): State<Arc<Inner>>, who: Who, wish: PreferWait, request: Request) -> Response {
    // Counted before it is read: what is malformed costs as much as what is not.
    let work = async {
        let body = match body(request).await {
            Ok(body) => body,
            Err(problem) => return problem.into_response(),
        };
        submit(&inner, &who, wish, &body).await.into_response()
    };
    who.counted(&inner, Counted::Submissions(1), work).await
}

async fn body(request: Request) -> Result<Bytes, Problem> {
    require_json(request.headers())?;
    let BoundedBytes(body) = BoundedBytes::<MAX_SUBMISSION>::from_request(request, &()).await?;
    Ok(body)
}

async fn submit(inner: &Arc<Inner>, who: &Who, wish: PreferWait, body: &[u8]) -> Result<Response, Problem> {
    let admitted = admit(inner, who, &[body]).await.pop().ok_or_else(Problem::internal)??;
    let intake = take_in(inner, vec![admitted]).await?.pop().ok_or_else(Problem::internal)?;
    let known = match intake {
        Intake::New(ref receipt) | Intake::Repeat(ref receipt) => receipt.clone(),
        Intake::OnRecord(_) | Intake::NoPlace | Intake::Gone => return told(intake).map(IntoResponse::into_response),
    };
    let Some((wait, waiter)) = wish.0.and_then(|wait| Some((wait, inner.waiters.register(known.id)?))) else {
        return told(intake).map(IntoResponse::into_response);
    };
    let known = ended_within(inner, known.id, waiter, wait).await?;
    let status = if known.state.is_end() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let proof = match known.state {
        Stand::Confirmed(recorded) => inner.registry.proof(&known.body, recorded).await,
        Stand::Received | Stand::Validated(_) | Stand::Rejected(_) => None,
    };
    let mut response = (status, Json(answer(known, proof))).into_response();
    response.headers_mut().extend(wish.applied());
    Ok(response)
}

/// Waits for the end of a submission, at most so long. The waiter was registered before the state is
/// read here, so that no end is missed.
async fn ended_within(inner: &Inner, receipt: Uuid, mut waiter: Waiter, wait: Duration) -> Result<Receipt, Problem> {
    let over = tokio::time::sleep(wait);
    tokio::pin!(over);
    loop {
        let known = look_up(inner, receipt).await?;
        if known.state.is_end() || over.is_elapsed() || inner.stopping.is_cancelled() {
            return Ok(known);
        }
        tokio::select! {
            () = waiter.ended() => return look_up(inner, receipt).await,
            () = &mut over => {}
            () = inner.stopping.cancelled() => {}
            () = tokio::time::sleep(LOOK_AGAIN), if known.elsewhere => {}
        }
    }
}

async fn look_up(inner: &Inner, receipt: Uuid) -> Result<Receipt, Problem> {
    match inner.store.receipt(receipt).await {
        Ok(Some(known)) => Ok(known),
        Ok(None) => {
            tracing::error!("a submission that was just stored cannot be found");
            Err(Problem::internal())
        }
        Err(error) => Err(unavailable(&error)),
    }
}

/// At what another aggregator works on, which cannot wake us.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
