//! `GET /api/v1/verify/prefix/{1..8 hex}[?from=<64 hex>]`: a page of all images whose key in the index begins so, each
//! with its proof; what is not there is thereby proven absent.
//!
//! `200` also where there is none; `422` for a malformed prefix, or a `from` at which no page begins; `503` when this
//! node cannot tell, or is making as many pages as it may at one time.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse;
use birthmark_core::hash::Digest;
use birthmark_core::prefix::KeyPrefix;
use birthmark_service::held;
use birthmark_service::problem::Problem;
use http::{StatusCode, header};
use serde::Deserialize;

use super::{published, unreadable};
use crate::reads::Reads;

#[derive(Debug, Deserialize)]
pub(super) struct Options {
    from: Option<String>,
}

pub(super) async fn get(
    State(reads): State<Arc<Reads>>,
    Path(prefix): Path<String>,
    options: Result<Query<Options>, QueryRejection>,
) -> Result<impl IntoResponse, Problem> {
    let prefix: KeyPrefix = prefix.parse().map_err(|_| malformed_prefix())?;
    let from = match options.as_ref().map(|Query(options)| options.from.as_deref().map(Digest::from_hex)) {
        Ok(None) => None,
        Ok(Some(Ok(from))) => Some(from),
        Ok(Some(Err(_))) | Err(_) => return Err(malformed_query()),
    };
    let place = Arc::clone(&reads.pages).try_acquire_owned().map_err(|_| Problem::busy())?;
    let published = published(&reads.publisher)?;
    // A page takes hundreds of reads: too long for a thread that others wait for.
    let page = tokio::task::spawn_blocking(move || {
        let page = published.reading.page(&prefix, from.as_ref(), &published.note)?;
        // Hex, base64 and numbers always serialise.
        Ok(page.map(|page| serde_json::to_vec(&page).unwrap_or_default()))
    });
    let page = page.await.map_err(|_| Problem::internal())?.map_err(|cause| unreadable(&cause))?;
    let page = page.ok_or_else(malformed_query)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], held::body(page.into(), place)))
}

fn malformed_prefix() -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "malformed_prefix", "the prefix must be 1 to 8 hex digits")
}

fn malformed_query() -> Problem {
    let title = "from must be the `next` of an earlier page of this prefix";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "malformed_query", title)
}
