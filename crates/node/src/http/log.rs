//! The log for any C2SP tlog-tiles client: `/checkpoint`, `/tile/<L>/<N>[.p/<W>]` and
//! `/tile/entries/<N>[.p/<W>]`.
//!
//! Tiles never change, so they may be cached for ever; the checkpoint may not be cached at all. Bundles of leaves are
//! given in gzip to whoever takes that.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use birthmark_core::tile::Tile;
use birthmark_service::problem::Problem;
use http::{StatusCode, header};

use super::{published, unreadable};
use crate::reads::Reads;

pub(super) async fn checkpoint(State(reads): State<Arc<Reads>>) -> Result<impl IntoResponse, Problem> {
    let note = published(&reads.publisher)?.note.clone();
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")], note))
}

pub(super) async fn tile(
    State(reads): State<Arc<Reads>>,
    Path(path): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    at(&reads, &path)
}

pub(super) async fn entries(
    State(reads): State<Arc<Reads>>,
    Path(path): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    at(&reads, &format!("entries/{path}"))
}

fn at(reads: &Reads, path: &str) -> Result<impl IntoResponse + use<>, Problem> {
    let missing = || Problem::new(StatusCode::NOT_FOUND, "no_such_tile", "the log has no such tile");
    let tile: Tile = format!("tile/{path}").parse().map_err(|_| missing())?;
    let bytes = published(&reads.publisher)?.reading.tile(&tile).map_err(|cause| unreadable(&cause))?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    Ok((headers, bytes.ok_or_else(missing)?))
}
