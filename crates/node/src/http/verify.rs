//! `GET /api/v1/verify/{image_hash}`: what is recorded about a hash, with its proof unless `?proof=0`, and
//! under `?proof=1` with the proof that nothing is recorded.
//!
//! `200` for a well-formed hash, found or not; `422` for a malformed one; `503` when this node cannot
//! tell. `GET /api/v1/blockchain/verify/{hash}` is the same under the seed's name.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use birthmark_core::ImageHash;
use birthmark_core::api::verify::VerifyAnswer;
use birthmark_service::problem::Problem;
use http::StatusCode;
use serde::Deserialize;

use super::{published, unreadable};
use crate::lookup::{self, Proof};
use crate::reads::Reads;

#[derive(Debug, Deserialize)]
pub(super) struct Options {
    proof: Option<String>,
}

pub(super) async fn get(
    State(reads): State<Arc<Reads>>,
    Path(hash): Path<String>,
    options: Result<Query<Options>, QueryRejection>,
) -> Result<Json<VerifyAnswer>, Problem> {
    let hash = ImageHash::from_hex(&hash).map_err(|_| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "malformed_hash", "the hash must be 64 hex digits")
    })?;
    let proof = match options.as_ref().map(|Query(options)| options.proof.as_deref()) {
        Ok(None) => Proof::OfRecord,
        Ok(Some("1")) => Proof::Any,
        Ok(Some("0")) => Proof::None,
        Ok(Some(_)) | Err(_) => {
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "malformed_query", "proof must be 0 or 1"));
        }
    };
    let published = published(&reads.publisher)?;
    let answer =
        lookup::answer(&reads.ledger.network(), &published, hash, proof).map_err(|cause| unreadable(&cause))?;
    Ok(Json(answer))
}
