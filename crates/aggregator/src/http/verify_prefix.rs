//! `GET /api/v1/verify/prefix/{prefix}` and `GET /checkpoint`: looking up without telling which image, asked of the
//! node.
//!
//! For: clients that know the aggregator's address only. Not for: judging the answer, as in `verify`.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use birthmark_core::hash::Digest;
use birthmark_core::prefix::{KeyPrefix, PrefixPage};
use birthmark_service::held;
use birthmark_service::problem::Problem;
use http::StatusCode;

use super::openapi;
use super::verify::unavailable;
use super::who::{Counted, Who};
use crate::aggregator::Inner;
use crate::registry::{AskError, Question};

/// A page of all images whose key in the index begins so.
///
/// The key is SHA-256 of `birthmark/index/v1` and the image hash, so the server need not learn which image is asked
/// about. Each image comes with its proof, and what is not on the page is proven absent.
#[utoipa::path(get, path = "/api/v1/verify/prefix/{prefix}", operation_id = "verify_prefix", tag = openapi::VERIFYING,
    params(("prefix" = String, Path, pattern = "^[0-9a-fA-F]{1,8}$", description = "The key's first digits, in hex."),
           ("from" = Option<String>, Query, pattern = "^[0-9a-fA-F]{64}$",
            description = "`next` of the page before.")),
    responses((status = 200, description = "A page.", body = PrefixPage),
              (status = 422, description = "`malformed_prefix`, `malformed_query`."),
              (status = 503, description = "`busy`, `registry_unavailable`.")))]
pub(super) async fn handle(
    State(inner): State<Arc<Inner>>,
    who: Who,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Response {
    let work = async { page(&inner, &who, path, query.as_deref()).await.into_response() };
    who.counted(&inner, Counted::Lookups(PAGE_COUNTS), work).await
}

async fn page(
    inner: &Inner,
    who: &Who,
    path: Result<Path<String>, PathRejection>,
    query: Option<&str>,
) -> Result<impl IntoResponse + use<>, Problem> {
    let prefix = path.ok().and_then(|Path(text)| text.parse::<KeyPrefix>().ok()).ok_or_else(malformed_prefix)?;
    let from = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("from="));
    let from = from.map(Digest::from_hex).transpose().map_err(|_| malformed_query())?;
    let place = inner.pages.take(who.client()).ok_or_else(Problem::busy)?;
    let page = inner.registry.ask(&Question::Page(prefix, from)).await.map_err(|error| match error {
        AskError::NoSuchPage => malformed_query(),
        AskError::Call(_) | AskError::OffTopic | AskError::Nobody => unavailable(&error),
    })?;
    Ok(([(header::CONTENT_TYPE, "application/json")], held::body(page, place)))
}

/// The registry's newest checkpoint.
#[utoipa::path(get, path = "/checkpoint", operation_id = "checkpoint", tag = openapi::VERIFYING,
    responses((status = 200, description = "A C2SP signed note.", body = String, content_type = "text/plain"),
              (status = 503, description = "`registry_unavailable`.")))]
pub(super) async fn checkpoint(State(inner): State<Arc<Inner>>, who: Who) -> Response {
    who.counted(&inner, Counted::Lookups(1), async { newest(&inner).await.into_response() }).await
}

async fn newest(inner: &Inner) -> Result<impl IntoResponse + use<>, Problem> {
    let note = inner.registry.ask(&Question::Checkpoint).await.map_err(|error| unavailable(&error))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")], note))
}

/// Look-ups that a page counts for: it is as long as a hundred answers about one hash.
const PAGE_COUNTS: u32 = 10;

fn malformed_prefix() -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "malformed_prefix", "the prefix must be 1 to 8 hex digits")
}

fn malformed_query() -> Problem {
    let title = "from must be the `next` of an earlier page of this prefix";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "malformed_query", title)
}
