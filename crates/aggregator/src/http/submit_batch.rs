//! `POST /api/v1/submit/batch`: takes up to 100 submissions in, with one flush.
//!
//! For: cameras that were offline, and whoever collects for several. Not for: waiting; each receipt is asked
//! about by itself.
//!
//! `docs/PROTOCOL.md` section 2:
//! ```text
//! {"submissions": [{…}, …]}
//! 200 {"results": [{"http_status": 202, "receipt_id", "status": "pending_validation", "message"},
//!                  {"http_status": 200, "status": "confirmed", "assurance", "tx_id", "block_height"},
//!                  {"http_status": 422, "problem": {"status": 422, "code": "wrong_token", "title", "detail"}}, …]}
//! ```
//! One result for each, in their order, as it would be answered alone; a bad one holds up no other. An error
//! of the whole (`429`, `503`) says that none was taken, or that it is not known which: all may be sent again.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use axum::response::{IntoResponse, Response};
use birthmark_core::json;
use birthmark_service::extract::BoundedBytes;
use birthmark_service::problem::Problem;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AllOfBuilder, AnyOfBuilder, ObjectBuilder, Ref, Schema, Type};

use super::intake::{Admitted, Told, admit, require_json, take_in, told};
use super::openapi;
use super::who::{Counted, Who};
use crate::aggregator::Inner;
use crate::store::Intake;

/// Up to a hundred submissions.
#[derive(Deserialize, ToSchema)]
#[schema(as = SubmissionBatch)]
pub(super) struct Batch {
    /// Each as for `submit`, and judged by itself: what is wrong with one is said in its own result.
    #[schema(value_type = Vec<serde_json::Value>, min_items = 1, max_items = 100)]
    submissions: Vec<Box<RawValue>>,
}

/// One result for each submission, in their order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BatchAnswers)]
pub(super) struct Answers {
    results: Vec<Answer>,
}

#[derive(Debug, Serialize)]
struct Answer {
    http_status: u16,
    #[serde(flatten)]
    told: Option<Told>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
}

/// A submission's own answer with its status, or a problem.
impl utoipa::PartialSchema for Answer {
    fn schema() -> RefOr<Schema> {
        let status = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(200)).maximum(Some(599));
        let outline = ObjectBuilder::new().property("http_status", status).required("http_status");
        let problem = ObjectBuilder::new().property("problem", Ref::from_schema_name("Problem")).required("problem");
        let either = AnyOfBuilder::new()
            .item(Ref::from_schema_name("SubmitAnswer"))
            .item(Ref::from_schema_name("AlreadyRecorded"))
            .item(problem);
        AllOfBuilder::new().item(outline).item(either).into()
    }
}

impl ToSchema for Answer {
    fn name() -> Cow<'static, str> {
        "BatchAnswer".into()
    }
}

/// Takes up to a hundred submissions in, made durable together.
///
/// A bad one holds up no other. After `429` or `503` all may be sent again.
#[utoipa::path(post, path = "/api/v1/submit/batch", operation_id = "submit_batch", tag = openapi::SUBMITTING,
    request_body(content = Batch, description = "At most 1 MiB.",
        example = json!({"submissions": [openapi::example()]})),
    responses((status = 200, description = "One result for each, in their order.", body = Answers),
              (status = 422, description = "`wrong_field`, `wrong_batch`."),
              (status = 503, description = "`busy`, `database_unavailable`.")))]
pub(super) async fn handle(State(inner): State<Arc<Inner>>, who: Who, request: Request) -> Response {
    // One is counted before anything is read, so that what is malformed is not for nothing.
    let work = async {
        let batch = match batch(request).await {
            Ok(batch) => batch,
            Err(problem) => return problem.into_response(),
        };
        let others = Counted::Submissions(batch.submissions.len() - 1);
        who.counted(&inner, others, async { submit(&inner, &who, &batch).await.into_response() }).await
    };
    who.counted(&inner, Counted::Submissions(1), work).await
}

async fn batch(request: Request) -> Result<Batch, Problem> {
    require_json(request.headers())?;
    let BoundedBytes(body) = BoundedBytes::<MAX_BYTES>::from_request(request, &()).await?;
    let batch: Batch = json::from_slice(&body)?;
    if !(1..=MAX_SUBMISSIONS).contains(&batch.submissions.len()) {
        let title = "a batch has 1 to 100 submissions";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "wrong_batch", title));
    }
    Ok(batch)
}

async fn submit(inner: &Arc<Inner>, who: &Who, Batch { submissions }: &Batch) -> Result<Json<Answers>, Problem> {
    let all: Vec<_> = submissions.iter().map(|json| json.get().as_bytes()).collect();
    let read = admit(inner, who, &all).await;
    let refused: Vec<Option<Problem>> = read.iter().map(|read| read.as_ref().err().cloned()).collect();
    let admitted: Vec<Admitted> = read.into_iter().filter_map(Result::ok).collect();
    let taken = if admitted.is_empty() { Vec::new() } else { take_in(inner, admitted).await? };
    let mut taken = taken.into_iter();
    let results = refused.into_iter().map(|refused| match refused {
        Some(problem) => Ok(problem.into()),
        None => taken.next().map(Answer::from).ok_or_else(Problem::internal),
    });
    Ok(Json(Answers { results: results.collect::<Result<_, _>>()? }))
}

impl From<Intake> for Answer {
    fn from(intake: Intake) -> Self {
        match told(intake) {
            Ok((status, Json(told))) => Self { http_status: status.as_u16(), told: Some(told), problem: None },
            Err(problem) => problem.into(),
        }
    }
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        Self { http_status: problem.status().as_u16(), told: None, problem: Some(problem) }
    }
}

const MAX_SUBMISSIONS: usize = 100;
/// A hundred of the longest tokens take some 600 KiB.
const MAX_BYTES: usize = 1024 * 1024;
