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
use birthmark_core::api::submit::{AlreadyRecorded, SubmissionStatus};
use birthmark_core::submission::{CameraSubmission, MAX_SUBMISSION, Submission, SubmissionError};
use birthmark_service::extract::BoundedBytes;
use birthmark_service::prefer::PreferWait;
use birthmark_service::problem::Problem;
use birthmark_service::random::OsRng;
use http::{HeaderMap, StatusCode, header};
use rand_core::Rng;
use uuid::Uuid;

use super::{Valued, answer, unavailable};
use crate::aggregator::Inner;
use crate::pipeline::Stage;
use crate::pipeline::state::State as Stand;
use crate::store::{Arrival, Intake, NewRow, Receipt, RequestId, StoreError};
use crate::waiters::Waiter;

pub(super) async fn handle(
    State(inner): State<Arc<Inner>>,
    wish: PreferWait,
    request: Request,
) -> Result<Response, Problem> {
    require_json(request.headers())?;
    let BoundedBytes(body) = BoundedBytes::<MAX_SUBMISSION>::from_request(request, &()).await?;
    let submission = match Submission::from_json(&body).map_err(problem)? {
        Submission::Camera(camera) => camera,
        Submission::Software(_) => return Err(software()),
    };
    let stage = inner.stage_of(&submission.body.authority).cloned().ok_or_else(unknown_authority)?;
    let (known, at_once) = match take_in(&inner, submission, stage).await? {
        Intake::New(receipt) => (receipt, StatusCode::ACCEPTED),
        Intake::Repeat(receipt) => (receipt, StatusCode::OK),
        Intake::OnRecord(recorded) => {
            let status = SubmissionStatus::Confirmed;
            let (tx_id, block_height) = (recorded.tx_id, recorded.block_height);
            let answer = AlreadyRecorded { status, tx_id, block_height };
            return Ok(Json(Valued { answer, assurance: Some(recorded.assurance) }).into_response());
        }
        Intake::NoPlace => return Err(no_place()),
    };
    let Some(wait) = wish.0 else {
        return Ok((at_once, Json(answer(known, None))).into_response());
    };
    let Some(waiter) = inner.waiters.register(known.id) else {
        return Ok((at_once, Json(answer(known, None))).into_response());
    };
    let known = ended_within(&inner, known.id, waiter, wait).await?;
    let status = if known.state.is_end() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let proof = match known.state {
        Stand::Confirmed(recorded) => inner.registry.proof(&known.body, recorded).await,
        Stand::Received | Stand::Validated(_) | Stand::Rejected(_) => None,
    };
    let mut response = (status, Json(answer(known, proof))).into_response();
    response.headers_mut().extend(wish.applied());
    Ok(response)
}

/// Stores the submission and wakes its authority's stage, whether or not the client is still there: a
/// row that nobody heard of would lie until the next one comes.
async fn take_in(inner: &Arc<Inner>, submission: CameraSubmission, stage: Stage) -> Result<Intake, Problem> {
    let this = Arc::clone(inner);
    let stored = inner.intakes.spawn(async move {
        let row = NewRow { receipt: random_v4(), request_id: random_id(), received_at: this.clock.now(), submission };
        let place = this.figures.reserve();
        let stored = this.store.take_in(vec![Arrival { row, place }]).await;
        let stored = stored.and_then(|mut all| all.pop().ok_or(StoreError::Panicked));
        // After an error the row may be there all the same, unless nothing can be stored any more.
        let may_be_there = match &stored {
            Ok(intake) => matches!(intake, Intake::New(_)),
            Err(error) => !error.is_final(),
        };
        if may_be_there {
            stage.wake.notify_one();
        }
        if place && !matches!(stored, Ok(Intake::New(_))) {
            this.figures.release();
        }
        stored
    });
    match stored.await {
        Ok(Ok(intake)) => Ok(intake),
        Ok(Err(error)) => Err(unavailable(&error)),
        Err(error) => {
            tracing::error!(%error, "storing a submission broke off");
            Err(Problem::internal())
        }
    }
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

/// Version 4: random, so that a receipt tells nothing about when, and cannot be guessed.
fn random_v4() -> Uuid {
    uuid::Builder::from_random_bytes(random_id().0).into_uuid()
}

fn random_id() -> RequestId {
    let mut bytes = [0; 16];
    OsRng.fill_bytes(&mut bytes);
    RequestId(bytes)
}

fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let essence = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(str::trim);
    if essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
        return Ok(());
    }
    let title = "the content type must be application/json";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", title))
}

fn problem(error: SubmissionError) -> Problem {
    let (code, title) = match error {
        SubmissionError::Json(error) => return error.into(),
        SubmissionError::Type => ("wrong_submission_type", "the submission_type is not one of the two"),
        SubmissionError::Image { .. } => ("wrong_image", "an image hash or its description is wrong"),
        SubmissionError::Commitment(_) => ("wrong_commitment", "owner_hash or gps_hash is wrong"),
        SubmissionError::Entries(_) => ("wrong_entries", "the image hashes do not fit together"),
        SubmissionError::CaptureShape(_) => ("wrong_capture", "the image hashes are not those of one capture"),
        SubmissionError::EditShape(_) => ("wrong_edit", "the image hashes are not those of an edit"),
        SubmissionError::Authority(_) | SubmissionError::NoAuthority => {
            ("wrong_authority", "manufacturer_cert names no authority")
        }
        SubmissionError::OneToken | SubmissionError::TokenWithSoftware | SubmissionError::Token(_) => {
            ("wrong_token", "the camera_token is missing, misplaced or malformed")
        }
        SubmissionError::Timestamp => ("wrong_timestamp", "the timestamp is no Unix time in seconds"),
        SubmissionError::Milliseconds => ("timestamp_in_milliseconds", "the timestamp must be in seconds"),
    };
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, title).with_detail(error.to_string())
}

fn software() -> Problem {
    let title = "edits need the credential of a registered software authority";
    Problem::new(StatusCode::FORBIDDEN, "software_authority_required", title)
}

fn unknown_authority() -> Problem {
    let title = "the authority is not known here";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown_authority", title)
}

fn no_place() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "backlog_full", "too many submissions are unfinished")
        .with_retry_after(BACKLOG_RETRY)
}

/// At what another aggregator works on, which cannot wake us.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// A backlog that is full does not empty within a second.
const BACKLOG_RETRY: Duration = Duration::from_secs(30);
