//! `POST /api/v1/transactions`: a submitter's signed batch, as `application/octet-stream`.
//!
//! With `Prefer: wait=N` the answer comes when all of it is recorded and covered by the published
//! checkpoint, or after N seconds. `403` if the signature is no known submitter's, `422` if the bytes
//! are no batch, `503` when too much waits already.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use birthmark_core::api::transactions::TransactionsAnswer;
use birthmark_core::batch::{Batch, MAX_WIRE};
use birthmark_service::extract::BoundedBytes;
use birthmark_service::prefer::PreferWait;
use birthmark_service::problem::Problem;
use http::StatusCode;

use super::submit::{submit, unsigned};
use crate::admission;
use crate::node::Shared;

pub(super) async fn post(
    State(shared): State<Arc<Shared>>,
    prefer: PreferWait,
    BoundedBytes(bytes): BoundedBytes<MAX_WIRE>,
) -> Result<Response, Problem> {
    let batch = Batch::decode(&bytes).map_err(|cause| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "malformed_batch", "the bytes are no batch")
            .with_detail(cause.to_string())
    })?;
    admission::check_signature(&shared.chain.ledger, &batch).map_err(|_| unsigned())?;
    let results = submit(&shared, batch, prefer.0.unwrap_or_default()).await?;
    let mut response = Json(TransactionsAnswer { results }).into_response();
    response.headers_mut().extend(prefer.applied());
    Ok(response)
}
