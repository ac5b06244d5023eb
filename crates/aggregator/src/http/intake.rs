//! What both ways of submitting share: the form, the writing.
//!
//! For: `submit` and `submit_batch`. Not for: their answers, or limits (`who`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use birthmark_core::ImageHash;
use birthmark_core::api::submit::{AlreadyRecorded, SubmissionStatus, SubmitAnswer};
use birthmark_core::submission::{MAX_SUBMISSION, Submission, SubmissionError};
use birthmark_service::extract::{is_json, too_large};
use birthmark_service::problem::Problem;
use birthmark_service::random::OsRng;
use http::{HeaderMap, StatusCode};
use rand_core::Rng;
use serde::Serialize;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AnyOfBuilder, Ref, Schema};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;

use super::who::Who;
use super::{answer, edits, unavailable};
use crate::aggregator::Inner;
use crate::pipeline::Stage;
use crate::pipeline::state::Recorded;
use crate::store::{Arrival, Intake, NewRow, RequestId, StoreError};

/// A well-formed submission, and the stage that goes on with it.
pub(super) struct Admitted {
    submission: Submission,
    begins: SubmissionStatus,
    stage: Stage,
}

/// What a client is told at once about one submission.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Told {
    Receipt(SubmitAnswer),
    OnRecord(AlreadyRecorded),
}

/// Any of the two: what has a receipt and is on record keeps to both.
impl PartialSchema for Told {
    fn schema() -> RefOr<Schema> {
        let either = AnyOfBuilder::new().item(Ref::from_schema_name("SubmitAnswer"));
        either.item(Ref::from_schema_name("AlreadyRecorded")).into()
    }
}

impl ToSchema for Told {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.extend([
            (SubmitAnswer::name().into_owned(), SubmitAnswer::schema()),
            (AlreadyRecorded::name().into_owned(), AlreadyRecorded::schema()),
        ]);
        SubmitAnswer::schemas(schemas);
    }
}

/// Reads submissions of this caller, and asks about all that their edits were made from at once. One outcome for each.
pub(super) async fn admit(inner: &Inner, who: &Who, all: &[&[u8]]) -> Vec<Result<Admitted, Problem>> {
    let mut read: Vec<_> = all.iter().map(|json| admit_one(inner, who, json)).collect();
    let parents: BTreeSet<_> = read.iter().flatten().flat_map(Admitted::outside_parents).collect();
    if !parents.is_empty() {
        let missing = edits::not_recorded(inner, parents).await;
        for one in &mut read {
            let misses = |admitted: &Admitted| admitted.outside_parents().any(|parent| missing.contains(&parent));
            if one.as_ref().is_ok_and(misses) {
                *one = Err(edits::unknown_parent());
            }
        }
    }
    read
}

fn admit_one(inner: &Inner, who: &Who, json: &[u8]) -> Result<Admitted, Problem> {
    if json.len() > MAX_SUBMISSION {
        return Err(too_large(MAX_SUBMISSION));
    }
    let submission = Submission::from_json(json).map_err(problem)?;
    match &submission {
        Submission::Camera(camera) => {
            let stage = inner.stage_of(&camera.body.authority).cloned().ok_or_else(unknown_authority)?;
            Ok(Admitted { submission, begins: SubmissionStatus::PendingValidation, stage })
        }
        Submission::Software(body) => {
            edits::check(inner, who, body)?;
            let stage = inner.posting().clone();
            Ok(Admitted { submission, begins: SubmissionStatus::Validated, stage })
        }
    }
}

impl Admitted {
    fn outside_parents(&self) -> impl Iterator<Item = ImageHash> {
        let edit = match &self.submission {
            Submission::Camera(_) => None,
            Submission::Software(body) => Some(body),
        };
        edit.into_iter().flat_map(edits::outside_parents)
    }
}

/// Stores the submissions and wakes their stages, whether or not the client is still there: rows that nobody
/// heard of would lie until the next one comes. One answer for each, in their order.
pub(super) async fn take_in(inner: &Arc<Inner>, admitted: Vec<Admitted>) -> Result<Vec<Intake>, Problem> {
    let this = Arc::clone(inner);
    let stored = inner.intakes.spawn(async move {
        let now = this.clock.now();
        let (arrivals, stages): (Vec<_>, Vec<_>) = admitted
            .into_iter()
            .map(|Admitted { submission, begins, stage }| {
                let row = NewRow { receipt: random_v4(), request_id: random_id(), received_at: now, submission };
                (Arrival { row, place: this.figures.reserve(begins) }, (begins, stage))
            })
            .unzip();
        let places: Vec<_> = arrivals.iter().map(|arrival| arrival.place).collect();
        let stored = this.store.take_in(arrivals).await;
        let stored = stored.and_then(|all| if all.len() == places.len() { Ok(all) } else { Err(StoreError::Panicked) });
        for (at, (place, (begins, stage))) in places.into_iter().zip(stages).enumerate() {
            let is_new = stored.as_ref().ok().and_then(|all| all.get(at)).is_some_and(|i| matches!(i, Intake::New(_)));
            // After an error the row may be there all the same, unless nothing can be stored any more.
            if is_new || stored.as_ref().is_err_and(|error| !error.is_final()) {
                stage.wake.notify_one();
            }
            if place && !is_new {
                this.figures.release(begins);
            }
        }
        stored
    });
    match stored.await {
        Ok(stored) => stored.map_err(|error| unavailable(&error)),
        Err(error) => {
            tracing::error!(%error, "storing a submission broke off");
            Err(Problem::internal())
        }
    }
}

/// The status and the answer to what was stored or found.
pub(super) fn told(intake: Intake) -> Result<(StatusCode, Json<Told>), Problem> {
    let (status, told) = match intake {
        Intake::New(receipt) => (StatusCode::ACCEPTED, Told::Receipt(answer(receipt, None))),
        Intake::Repeat(receipt) => (StatusCode::OK, Told::Receipt(answer(receipt, None))),
        Intake::OnRecord(Recorded { tx_id, block_height, assurance }) => {
            let status = SubmissionStatus::Confirmed;
            (StatusCode::OK, Told::OnRecord(AlreadyRecorded { status, assurance, tx_id, block_height }))
        }
        Intake::NoPlace => return Err(no_place()),
        Intake::Gone => return Err(Problem::busy()),
    };
    Ok((status, Json(told)))
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

pub(super) fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    if is_json(headers) {
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

pub(super) fn unknown_authority() -> Problem {
    let title = "the authority is not known here";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown_authority", title)
}

fn no_place() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "backlog_full", "too many submissions are unfinished")
        .with_retry_after(BACKLOG_RETRY)
}

/// A backlog that is full does not empty within a second.
const BACKLOG_RETRY: Duration = Duration::from_secs(30);
