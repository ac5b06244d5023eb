//! `GET /api/v1/blocks/{from}`: final blocks from this height on, whole, for followers and for the repair of a
//! damaged node.
//!
//! As many as fit into a megabyte, at least one, at most 8,192; none above the published checkpoint. `404` where
//! there is none or this node does not keep it whole, `422` for a malformed height.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use birthmark_core::ids::Height;
use birthmark_ledger::LedgerError;
use birthmark_ledger::transfer::VERSION;
use birthmark_service::problem::Problem;
use http::{StatusCode, header};

use super::block::height_in;
use super::{published, unreadable};
use crate::reads::Reads;
use crate::source::ANSWER_BYTES;

pub(super) async fn get(
    State(reads): State<Arc<Reads>>,
    Path(from): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let from = height_in(&from)?;
    // Thousands of reads: not on a thread that answers others.
    let blocks =
        tokio::task::spawn_blocking(move || encoded(&reads, from)).await.map_err(|_| Problem::internal())??;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream"), (header::CACHE_CONTROL, "no-store")], blocks))
}

fn encoded(reads: &Reads, from: Height) -> Result<Vec<u8>, Problem> {
    let published = published(&reads.publisher)?;
    let last = published.reading.head().height.0.min(from.0.saturating_add(MAX_BLOCKS - 1));
    let (network, mut out) = (reads.ledger.network(), vec![VERSION]);
    for height in from.0..=last {
        let block = published.reading.whole_block(&network, Height(height));
        let Some(block) = block.map_err(|cause: LedgerError| unreadable(&cause))? else { break };
        block.encode_into(&mut out);
        if out.len() >= ANSWER_BYTES {
            break;
        }
    }
    if out.len() > 1 {
        return Ok(out);
    }
    Err(Problem::new(StatusCode::NOT_FOUND, "no_such_block", "this node has no whole block of this height"))
}

const MAX_BLOCKS: u64 = 8_192;
